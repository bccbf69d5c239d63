"""`recsweep studies`: the studies of a database, how far each is, and its best."""

import argparse
import shlex
from typing import TYPE_CHECKING, Any

from recsweep.cli.output import Output, add_format_option
from recsweep.cli.store import next_line
from recsweep.rendering import Column, Table

if TYPE_CHECKING:
    from recsweep.tuning.records import StudyRecord


def add_to(commands: argparse._SubParsersAction) -> None:
    studies = commands.add_parser(
        "studies", help="the studies, how far each is, and its best so far"
    )
    studies.add_argument(
        "--storage",
        help="database of studies (default: $RECSWEEP_STUDIES, else optuna.db in the store)",
    )
    add_format_option(studies)
    studies.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from recsweep.databases import sqlite_path
    from recsweep.errors import StudyError
    from recsweep.masking import mask
    from recsweep.rendering import train_line
    from recsweep.tuning.storage import open_storage, storage_url
    from recsweep.tuning.study import Study

    url = storage_url(arguments.storage)
    path = sqlite_path(url)
    storage = None if path is not None and not path.exists() else open_storage(url)
    names = [] if storage is None else storage.names()
    if storage is None or not names:
        raise StudyError(
            f"There are no studies in {mask(url)}. Start one with: {train_line('-m ...')}"
        )
    rows = [_row(Study(storage, name).record()) for name in names]
    columns = [
        Column("study", "study", left=True),
        Column("state", "state", left=True),
        Column("value", "best", ".4f"),
        Column("measure", "by", left=True),
        Column("model", "model", left=True, drops=1),
        Column("data", "data", left=True, drops=3),
        Column("sampler", "sampler", left=True, drops=2),
    ]
    with Output(arguments.format, wide=arguments.wide) as output:
        output.show(Table(columns, rows))
        output.hint(next_line(f"runs --study {shlex.quote(names[0])}"))


def _row(record: "StudyRecord") -> dict[str, Any]:
    best = record.best if len(record.directions) == 1 else None
    measures = [name.removeprefix("validation/") for name in record.objectives]
    done = len({trial.slot for trial in record.of_state("complete", "pruned", "failed")})
    return {
        "study": record.name,
        "state": _state(record, done),
        "done": done,
        "planned": record.planned,
        "running": len(record.of_state("running")),
        "missing": len(record.missing),
        "value": None if best is None else best.values[0],
        "measure": ", ".join(measures),
        "model": "" if best is None else best.name,
        "data": record.fixed.get("data.name", ""),
        "sampler": record.sampler,
    }


def _state(record: "StudyRecord", done: int) -> str:
    """How far it is, in words."""
    running, left = len(record.of_state("running")), record.planned - done
    parts = [
        f"{done} of {record.planned} finished" if left > 0 else f"{done} finished",
        *([f"{running} running"] if running else []),
        *([f"{len(record.missing)} missing"] if record.missing else []),
    ]
    return ", ".join(parts)
