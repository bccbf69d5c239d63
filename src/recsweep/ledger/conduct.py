"""The ledger as one command: rows chosen, run, judged, and logged with their page."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from recsweep.checks import check_integer, check_number
from recsweep.errors import ConfigError, LedgerError
from recsweep.ledger.jobs import (
    Circumstances,
    Job,
    Measured,
    code_digest,
    file_digest,
    run_jobs,
    tags_of,
)
from recsweep.ledger.lines import Entry, in_words, outside, remarks, summary
from recsweep.ledger.page import PAGE_FILE, page
from recsweep.ledger.rows import Protocol, Row, chosen, protocols
from recsweep.scratch import scratch_folder
from recsweep.tracking import Tracker, TrackingOptions, open_runs, tracker

log = logging.getLogger(__name__)

EXPERIMENT = "ledger"
WITHIN = 10.0
"""CPU minutes that a row may take where nothing else is said."""


@dataclass(frozen=True, kw_only=True)
class LedgerOptions:
    """What to run, and on what.

    Args:
        rows: Names of rows; none for all that are not watched.
        protocol: The only protocol whose rows are run; None for all.
        within: CPU minutes that a row may take; None for WITHIN, or any where rows are named.
        data: The folder of data.
        workers: Number of processes.
        watched: Run the watched rows, too.
        again: Run also what is in the store already.
        uri: MLflow's tracking URI; None for the one in force.
    """

    rows: tuple[str, ...] = ()
    protocol: str | None = None
    within: float | None = None
    data: Path | None = None
    workers: int = 1
    watched: bool = False
    again: bool = False
    uri: str | None = None

    def __post_init__(self) -> None:
        if self.within is not None:
            check_number("--within", self.within, above=0)
        check_integer("--workers", self.workers, minimum=1, maximum=1000)

    @property
    def longest(self) -> float:
        """CPU minutes that a row may take."""
        if self.within is not None:
            return self.within
        return float("inf") if self.rows else WITHIN

    @property
    def command(self) -> str:
        """The command that does the same, without this machine's paths."""
        words = ["recsweep ledger", *self.rows]
        words += [f"--protocol {self.protocol}"] if self.protocol else []
        words += [f"--within {self.within:g}"] if self.within is not None else []
        words += ["--watched"] if self.watched else []
        words += [f"--workers {self.workers}"] if self.workers > 1 else []
        return " ".join([*words, "--data DIR"])


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """What came of it.

    Attributes:
        options: What was asked for.
        protocols: All protocols.
        entries: The rows that were asked for.
        digests: Name of each protocol that was run to the sha256 of its files, by setting.
        seconds: Wall time.
    """

    options: LedgerOptions
    protocols: Sequence[Protocol]
    entries: Sequence[Entry]
    digests: Mapping[str, Mapping[str, str]]
    seconds: float

    @property
    def page(self) -> str:
        """The ledger as a page in Markdown."""
        return page(self.entries, self.protocols, self.options.command, self.digests, self.seconds)

    @property
    def summary(self) -> str:
        """How many rows hold, in one sentence."""
        return summary(self.entries)

    def check(self) -> None:
        """Raise LedgerError where a row does not hold, or nothing was run that could."""
        if found := outside(self.entries):
            raise LedgerError(
                f"Outside of their bands, or failed: {', '.join(found)}. The source of each, and "
                "the settings of its run, say what to look into."
            )
        if not self.is_run:
            raise LedgerError(
                "No row was run, so nothing is shown to hold. Name rows, more minutes with "
                "--within, or another folder with --data."
            )

    @property
    def is_run(self) -> bool:
        """Whether any row was run."""
        return any(entry.is_run for entry in self.entries)

    @property
    def remarks(self) -> list[str]:
        """What the table has no room for, in sentences."""
        return remarks(self.entries, self.protocols)


def rows_of(options: LedgerOptions) -> tuple[list[Protocol], list[Row]]:
    """All protocols, and the rows that are asked for.

    Raises:
        ConfigError: There is no such row or protocol.
    """
    known = protocols()
    return known, chosen(known, options.rows, options.protocol, watched=options.watched)


def checked_folder(folder: Path | None) -> Path:
    """The folder of data, which must be there."""
    if folder is None:
        raise ConfigError(
            "The ledger downloads nothing, and no folder of data is named. Name it with --data DIR "
            "or in RECSWEEP_DATA; `recsweep ledger --list` says what must lie there."
        )
    if not folder.is_dir():
        raise ConfigError(
            f"There is no folder {folder}. Name the one that holds the data with --data."
        )
    return folder


def conduct(options: LedgerOptions) -> Ledger:
    """Run the rows that were asked for, and log them with their page.

    Raises:
        ConfigError: There is no such row, protocol or folder.
        TrackingError: The store can't be used.
    """
    begun = time.monotonic()
    known, rows = rows_of(options)
    folder = checked_folder(options.data)
    found = {each.name: each.found(folder) for each in known}
    short = [row for row in rows if row.minutes <= options.longest]
    jobs = [job for protocol in known for job in _jobs(protocol, short, found[protocol.name])]
    done: dict[str, list[Measured]] = {row.id: [] for row in rows}

    def ledger() -> Ledger:
        missing = {name: each for name, each in found.items() if isinstance(each, str)}
        return Ledger(
            options=options,
            protocols=known,
            entries=[
                Entry(row=row, measured=done[row.id], missing=missing.get(row.protocol, ""))
                for row in rows
            ],
            digests={job.row.protocol: job.files for job in jobs},
            seconds=time.monotonic() - begun,
        )

    if not jobs:
        return ledger()
    tracking = TrackingOptions(uri=options.uri, experiment=EXPERIMENT)
    store = tracker(tracking)
    with open_runs([lambda: store.start("ledger", {"ledger": options.command})]) as (run,):
        circumstances = Circumstances(
            tracking=tracking, parent=run.id, code=code_digest(), again=options.again
        )
        try:
            run_jobs(jobs, circumstances, options.workers, partial(_note, done, store))
        except KeyboardInterrupt:
            log.warning("What is done is kept: the same command goes on from there.")
            raise
        written = ledger()
        run.log(note=written.summary)
        with run.guarded(), scratch_folder() as scratch:
            (scratch / PAGE_FILE).write_text(written.page, encoding="utf-8")
            run.log_folder(scratch)
        run.end("FINISHED")
    return written


def _jobs(protocol: Protocol, rows: Sequence[Row], found: Mapping[str, Path] | str) -> list[Job]:
    """The runs of those of the rows that are the protocol's, where its data are there."""
    own = [row for row in rows if row.protocol == protocol.name]
    if isinstance(found, str) or not own:
        return []
    files = {setting: file_digest(path) for setting, path in found.items()}
    return [
        Job(row=row, seed=seed, overrides=protocol.settings(row, seed, found), files=files)
        for row in own
        for seed in row.seeds
    ]


def _note(done: dict[str, list[Measured]], store: Tracker, measured: Measured) -> None:
    """Keep what became of a run; with the last one of its row, say the verdict and tag the runs
    with it."""
    row = measured.job.row
    runs = done[row.id]
    runs.append(measured)
    if len(runs) < len(row.seeds):
        return
    runs.sort(key=lambda each: each.job.seed)
    entry = Entry(row=row, measured=runs)
    log.info("%s", in_words(entry))
    for each in runs:
        if each.run_id is not None:
            tags = tags_of(row) | {"verdict": ", ".join(entry.verdicts)}
            store.add_to(store.record(each.run_id)).log(tags=tags)
