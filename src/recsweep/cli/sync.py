"""`recsweep sync`: send what was logged while an MLflow server was away."""

import argparse

from recsweep.cli.output import hint
from recsweep.cli.store import add_store_options, next_here, store_options
from recsweep.errors import TrackingError
from recsweep.terminal import tell


def add_to(commands: argparse._SubParsersAction) -> None:
    sync = commands.add_parser(
        "sync",
        help="send what was logged while an MLflow server was away",
        description="Send the runs that are kept in the folder spool of $RECSWEEP_HOME (else "
        "./mlruns), because their MLflow server was away when their command ended. Those of "
        "processes that still run are left to them. Nothing is sent twice.",
    )
    add_store_options(sync)
    sync.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from recsweep.tracking import sync, tracking_uri

    synced = sync(tracking_uri(store_options(arguments).uri))
    for name in synced.sent:
        tell(f"sent: {name}")
    for name in synced.held:
        tell(f"left to the process that writes it: {name}")
    for name, uri in synced.elsewhere.items():
        tell(f"not sent: {name}, of another store: recsweep sync --tracking-uri {uri}")
    if synced.refused:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in synced.refused.items())
        raise TrackingError(f"What was kept of these runs can't be sent: {reasons}")
    if synced.sent:
        hint(next_here("runs", arguments))
    if not (synced.sent or synced.held or synced.elsewhere):
        tell("Nothing is waiting to be sent.")
