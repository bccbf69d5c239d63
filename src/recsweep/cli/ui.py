"""`recsweep ui`: the MLflow UI on the right store."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recsweep.cli.mlflow_process import conduct_mlflow
from recsweep.cli.store import add_store_options, store_options
from recsweep.errors import TrackingError
from recsweep.masking import mask
from recsweep.scratch import scratch_folder
from recsweep.terminal import tell

if TYPE_CHECKING:
    from recsweep.tracking import RunRecord, Tracker

HOST = "127.0.0.1"

LATEST = 200
"""Number of the latest runs by whose measures the first page is chosen."""


def add_to(commands: argparse._SubParsersAction) -> None:
    ui = commands.add_parser("ui", help="open the runs in a browser")
    ui.add_argument("--port", type=int, default=5000, help="default 5000")
    add_store_options(ui)
    ui.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from recsweep.cli.serve import check_free
    from recsweep.tracking import tracker

    # opened once here, so that a store that is away is said in words
    store = tracker(store_options(arguments))
    page = f"#/experiments/{store.experiment_id}/runs?workflowType=machine_learning{_shown(store)}"
    if store.uri.startswith(("http://", "https://")):  # it has a UI of its own
        tell(f"{mask(store.uri.rstrip('/'))}/{page}")
        return
    check_free(HOST, arguments.port)
    tell("starting MLflow …")
    address = f"http://{HOST}:{arguments.port}"
    # not as an argument: the list of processes shows those to everybody, and it may hold a password
    environment = {
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": store.server_uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    words = ["ui", "--host", HOST, "--port", str(arguments.port), "--workers", "1"]
    with scratch_folder() as folder:  # MLflow makes a folder beside a file that can't be written
        conduct_mlflow(
            words,
            environment,
            folder=Path(folder),
            address=address,
            ready=lambda: tell(f"{address}/{page}\nCtrl-C ends it."),
        )


def _shown(store: "Tracker") -> str:
    """The part of the page's address that shows measures, the best run first; empty where there
    are none, or this user may not say what is shown."""
    from recsweep.measures import measure as measure_of
    from recsweep.measures import shown
    from recsweep.run.tables import objective_in
    from recsweep.tracking import CHOICES

    runs = store.search("attributes.status = 'FINISHED' and tags.model_kind LIKE '%'", LATEST)
    objective = objective_in(runs)
    if objective is None:
        return ""
    logged = {name for run in runs for name in run.metrics}
    measures = dict.fromkeys([objective, *(measure.name for measure in shown("deciding"))])
    names = [f"{part}/{measure}" for part in ("validation", "test") for measure in measures]
    try:
        key = store.share_view(
            metrics=[name for name in names if name in logged],
            tags=["study", "loss", "seed"],
            best_first=f"validation/{objective}",
            ascending=not measure_of(objective).maximise,
            choices=[name for name in CHOICES if len(_values(runs, name)) > 1],
        )
    except TrackingError:
        return ""
    return f"&viewStateShareKey={key}"


def _values(runs: "Sequence[RunRecord]", name: str) -> set[str]:
    """What was chosen by those that had a choice."""
    return {run.params[name] for run in runs if name in run.params} - {"none"}
