"""Runs that are open and runs that have finished: how commands begin, end and find them."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

from recsweep.databases import sqlite_path
from recsweep.errors import TrackingError
from recsweep.interrupts import terminate_as_interrupt
from recsweep.rendering import train_line
from recsweep.tracking.mlflow_store import Tracker, quoted
from recsweep.tracking.options import TrackingOptions, tracking_uri
from recsweep.tracking.protocols import Run
from recsweep.tracking.records import REFIT_TAG, RunRecord
from recsweep.tracking.spool import stop_waiting

log = logging.getLogger(__name__)

AnyRun = TypeVar("AnyRun", bound=Run)


@cache
def tracker(options: TrackingOptions) -> Tracker:
    """The open store, one a process: creating it takes a second or two. Runs that a process has
    left RUNNING that died are ended."""
    store = Tracker(options)
    store.settle()
    return store


def existing_store(options: TrackingOptions) -> Tracker:
    """The open store, where there is one: a command that only reads creates none."""
    path = sqlite_path(tracking_uri(options.uri))
    if path is not None and not path.exists():
        raise TrackingError(
            f"There is no MLflow store in {path} yet. Make a first run with: {train_line()}"
        )
    return tracker(options)


@contextmanager
def open_runs(starts: Sequence[Callable[[], AnyRun]]) -> Iterator[list[AnyRun]]:
    """Start the runs, and leave none of them RUNNING.

    Whoever uses them ends each. A run that is still open in the end is FAILED by an error, KILLED
    by Ctrl-C or a terminating signal.
    """
    runs: list[AnyRun] = []
    try:
        with terminate_as_interrupt():
            for start in starts:  # one by one: what was started must be known if the next fails
                runs.append(start())  # noqa: PERF401
            yield runs
    except BaseException as error:
        if not isinstance(error, Exception):
            stop_waiting()
        for run in runs:
            if not run.ended:
                _try_to_end(run, error)
        raise


def _try_to_end(run: Run, error: BaseException) -> None:
    try:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            run.end("KILLED", "interrupted")
        else:
            run.fail(error)
    except TrackingError as second:  # the store itself is what broke: show the first error
        log.error("Run %s could not be ended: %s", run.id, second)


def finished_runs(
    options: TrackingOptions,
    *,
    last: int | None = None,
    study: str | None = None,
    ids: Sequence[str] = (),
) -> list[RunRecord]:
    """FINISHED runs of models, in the order they were started.

    Args:
        options: The store and the MLflow experiment of it.
        last: Number of the latest runs to take; None for all.
        study: Name of the study whose runs are taken: its trials and what was refitted of it.
        ids: Runs to take, whatever their experiment: run ids, their unique beginnings of at least 6
            characters, or run names, of which the latest counts.

    Raises:
        TrackingError: The store can't be opened, or holds no such run.
    """
    store = existing_store(options)
    condition = "attributes.status = 'FINISHED' and tags.model_kind LIKE '%'"
    if study is not None:
        condition += f" and tags.study = {quoted(study)}"
    records = store.search(condition, None if ids else last)
    if ids:
        return [_named(records, wanted, store) for wanted in dict.fromkeys(ids)]
    if not records:
        of_study = f" of the study {study!r}" if study else ""
        raise TrackingError(
            f"The MLflow experiment {options.experiment!r} in {store.uri} has no "
            f"finished run{of_study}. Make one with: {train_line()}"
        )
    return records[::-1]


def _named(latest_first: Sequence[RunRecord], wanted: str, store: Tracker) -> RunRecord:
    by_id = [record for record in latest_first if _has_id(record, wanted)]
    if len(by_id) > 1:
        raise TrackingError(
            f"{len(by_id)} runs have an id that begins with {wanted!r}: give more of it."
        )
    by_name = [record for record in latest_first if record.name == wanted]
    own = [record for record in by_name if REFIT_TAG not in record.tags]
    named = by_id or own or by_name
    if not named:
        for record in store.search("", deleted=True):
            if record.name == wanted or _has_id(record, wanted):
                raise TrackingError(
                    f"The run {record.id} ({record.name}) was deleted, as in the MLflow UI. "
                    f"Restore it with: {store.restoring(record.id)}"
                )
        raise TrackingError(
            f"{store.uri} has no finished run {wanted!r}. List them with: recsweep runs"
        )
    return named[0]


def _has_id(record: RunRecord, wanted: str) -> bool:
    """Whether a text is a run's id, or a beginning of it that is long enough."""
    return record.id == wanted or (len(wanted) >= 6 and record.id.startswith(wanted))
