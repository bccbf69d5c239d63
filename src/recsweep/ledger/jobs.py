"""The runs of rows: each an ordinary run of the main path, one by one or in several processes."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

from omegaconf import DictConfig, open_dict

from recsweep.config import composed, effective_config, flat, override
from recsweep.errors import RecsweepError
from recsweep.ledger.rows import Row
from recsweep.mistakes import composed_in_words
from recsweep.pipeline import run
from recsweep.run.plan import plan_data, prepare
from recsweep.run.record import PARENT
from recsweep.tracking import RunRecord, TrackingOptions, environment, tracker
from recsweep.workers import Died, in_workers

log = logging.getLogger(__name__)

ROW_TAG = "ledger_row"
DIGEST_TAG = "ledger_digest"
"""Says what a run's numbers depend on: settings, files, code and versions of packages."""

CPU_METRIC = "ledger/cpu_seconds"

LONG_MINUTES = 2.0
"""CPU minutes from which on a run is worth reading its data again in a process of its own."""

ABOVE = ("cli", "notebook", "promotion", "tuning", "ledger", "comparison")
"""Packages above the main path: no number of a run depends on them."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run of a row.

    Attributes:
        row: The row.
        seed: The one of its seeds.
        overrides: All settings of the run.
        files: Setting to the digest of the file that it names.
    """

    row: Row
    seed: int
    overrides: Sequence[str]
    files: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """What all jobs of a command have in common.

    Attributes:
        tracking: Where the runs are logged.
        parent: Id of the run that they stand under.
        code: Digest of the code and its packages.
        again: Whether to run also what is in the store already.
    """

    tracking: TrackingOptions
    parent: str
    code: str
    again: bool


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What became of a job.

    Attributes:
        metrics: All that the run logged.
        error: Why there are none; empty where there are.
        reused: Whether the run was in the store before.
    """

    job: Job
    run_id: str | None = None
    metrics: Mapping[str, float]
    error: str = ""
    reused: bool = False


def code_digest() -> str:
    """A digest of what a number depends on beside settings and data: this package's code as it lies
    on the disk, and the versions of what it computes with."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256(json.dumps(environment()["packages"], sort_keys=True).encode())
    for path in sorted(package.rglob("*.py")):
        if path.relative_to(package).parts[0] not in ABOVE:
            digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def file_digest(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def measure(job: Job, circumstances: Circumstances) -> Measured:
    """Run a job, or take the run of the store that can't differ from it; what goes wrong becomes
    its error."""
    try:
        overrides = [
            *job.overrides,
            override("tracking.experiment", circumstances.tracking.experiment),
            override("tracking.uri", circumstances.tracking.uri),
        ]
        with composed_in_words(overrides):
            cfg = composed(overrides)
        key = _key(cfg, job, circumstances)
        if not circumstances.again and (record := _stored(circumstances, key)) is not None:
            return Measured(job=job, run_id=record.id, metrics=record.metrics, reused=True)
        with open_dict(cfg):
            cfg.tags = tags_of(job.row) | {DIGEST_TAG: key, PARENT: circumstances.parent}
        prepare(plan_data(cfg))  # which the rows of a protocol share, and none of them pays for
        begun = time.process_time()
        outcome = run(cfg)
        spent = {CPU_METRIC: time.process_time() - begun}
        store = tracker(circumstances.tracking)
        store.add_to(store.record(outcome.run_id)).log(metrics=spent)
        return Measured(job=job, run_id=outcome.run_id, metrics={**outcome.metrics, **spent})
    except RecsweepError as error:
        return Measured(job=job, metrics={}, error=" ".join(str(error).split()))
    except Exception as error:  # a mistake of the program ends its row alone
        log.exception("%s, seed %s", job.row.id, job.seed)
        return Measured(job=job, metrics={}, error=f"{type(error).__name__}: {error}")


def _key(cfg: DictConfig, job: Job, circumstances: Circumstances) -> str:
    settings = {**flat(effective_config(cfg)), **job.files}  # where the files lie changes nothing
    content = [job.row.id, settings, circumstances.code]
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _stored(circumstances: Circumstances, key: str) -> RunRecord | None:
    """The latest run of the store with the key that came to its end."""
    condition = f"attributes.status = 'FINISHED' and tags.{DIGEST_TAG} = '{key}'"
    records = tracker(circumstances.tracking).search(condition, 1)
    return next((record for record in records if CPU_METRIC in record.metrics), None)


def tags_of(row: Row) -> dict[str, str]:
    """The tags by which the runs of a row are found."""
    bands = [(target.metric, *target.band) for target in row.targets]
    return {
        ROW_TAG: row.id,
        "published": ", ".join(f"{target.metric} {target.published:g}" for target in row.targets),
        "band": ", ".join(f"{metric} {low:g} to {high:g}" for metric, low, high in bands),
    }


def run_jobs(
    jobs: Sequence[Job],
    circumstances: Circumstances,
    workers: int,
    tell: Callable[[Measured], None],
) -> None:
    """Run jobs, those of the same data after each other.

    Args:
        workers: Number of processes beside this one, each of one thread; 1 runs them in this one.
        tell: Called with each as soon as it is known: a later one may be interrupted.
    """
    ordered = sorted(jobs, key=lambda job: (job.row.protocol, job.seed))
    if workers == 1:
        for job in ordered:
            tell(measure(job, circumstances))
        return
    run_one = partial(measure, circumstances=circumstances)
    for job, measured in in_workers(run_one, _pieces(ordered), workers):
        if isinstance(measured, Died):
            measured = Measured(job=job, metrics={}, error=measured.words)
        tell(measured)


def _pieces(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs in the order of their data as what a process does at a time: a long one by itself, the
    short ones of a protocol together. The longest piece first, so that none is left for the end."""
    pieces = [[job] for job in jobs if job.row.seed_minutes >= LONG_MINUTES]
    short = (job for job in jobs if job.row.seed_minutes < LONG_MINUTES)
    pieces += [list(together) for _, together in groupby(short, lambda job: job.row.protocol)]
    return sorted(pieces, key=lambda piece: -sum(job.row.seed_minutes for job in piece))
