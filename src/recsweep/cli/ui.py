"""`recsweep ui`: the MLflow UI on the right store, or Optuna's dashboard on its studies."""

import argparse
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from recsweep.cli.server_process import conduct_server
from recsweep.cli.store import add_store_options, store_options
from recsweep.errors import ConfigError, StudyError, TrackingError
from recsweep.masking import mask
from recsweep.scratch import scratch_folder
from recsweep.terminal import tell
from recsweep.tracking import UI_HOST, UI_PORT

if TYPE_CHECKING:
    from recsweep.tracking import RunRecord, Tracker

OPTUNA_PORT = 8080

LATEST = 200
"""Number of the latest runs by whose measures the first page is chosen."""


def add_to(commands: argparse._SubParsersAction) -> None:
    ui = commands.add_parser("ui", help="open the runs in a browser")
    ui.add_argument(
        "--port", type=int, help=f"default {UI_PORT}, of Optuna Dashboard {OPTUNA_PORT}"
    )
    ui.add_argument(
        "--optuna", action="store_true", help="the studies in Optuna Dashboard, in place of MLflow"
    )
    ui.add_argument(
        "--storage",
        help="with --optuna: database of studies (default: $RECSWEEP_STUDIES, else the store's "
        "optuna.db)",
    )
    add_store_options(ui)
    ui.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    if arguments.optuna:
        _show_studies(arguments)
    elif arguments.storage is not None:
        raise ConfigError("--storage is for `recsweep ui --optuna`: MLflow shows no studies of it.")
    else:
        _show_runs(arguments)


def _show_runs(arguments: argparse.Namespace) -> None:
    from recsweep.cli.serve import check_free
    from recsweep.tracking import tracker

    port = arguments.port or UI_PORT
    # opened once here, so that a store that is away is said in words
    store = tracker(store_options(arguments))
    page = f"#/experiments/{store.experiment_id}/runs?workflowType=machine_learning{_shown(store)}"
    if store.uri.startswith(("http://", "https://")):  # it has a UI of its own
        tell(f"{mask(store.uri.rstrip('/'))}/{page}")
        return
    check_free(UI_HOST, port)
    tell("starting MLflow …")
    address = f"http://{UI_HOST}:{port}"
    # not as an argument: the list of processes shows those to everybody, and it may hold a password
    environment = {
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": store.server_uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    words = ["mlflow", "ui", "--host", UI_HOST, "--port", str(port), "--workers", "1"]
    with scratch_folder() as folder:  # MLflow makes a folder beside a file that can't be written
        conduct_server(
            "MLflow server",
            words,
            environment,
            folder=Path(folder),
            address=address,
            ready=lambda: tell(f"{address}/{page}\nCtrl-C ends it."),
        )


def _show_studies(arguments: argparse.Namespace) -> None:
    """Optuna's dashboard on the studies, by a process that reads alone."""
    from recsweep.cli.serve import check_free
    from recsweep.databases import sqlite_path
    from recsweep.rendering import train_line
    from recsweep.tuning.storage import STUDIES, open_storage, storage_url

    if find_spec("optuna_dashboard") is None:
        raise ConfigError(
            "recsweep ui --optuna needs Optuna Dashboard, which isn't installed: "
            "pip install 'recsweep[dashboard]'"
        )
    port = arguments.port or OPTUNA_PORT
    check_free(UI_HOST, port)
    url = storage_url(arguments.storage)
    path = sqlite_path(url)
    # opened once here, so that a database that is away is said in words
    if (path is not None and not path.exists()) or not open_storage(url).names():
        raise StudyError(
            f"There are no studies in {mask(url)}. Start one with: {train_line('-m ...')}"
        )
    tell("starting Optuna Dashboard …")
    address = f"http://{UI_HOST}:{port}"
    # the database may hold a password, as above
    environment = {**os.environ, STUDIES: url, "RECSWEEP_RUN_PAGES": _pages(arguments)}
    words = ["recsweep.tuning.dashboard", UI_HOST, str(port)]
    with scratch_folder() as folder:
        conduct_server(
            "server of Optuna Dashboard",
            words,
            environment,
            folder=Path(folder),
            address=address,
            ready=lambda: tell(
                f"{address}/dashboard\nIt shows, and changes nothing. Ctrl-C ends it."
            ),
        )


def _pages(arguments: argparse.Namespace) -> str:
    """Beginning of the address of a run's page, where the runs are on a server; else empty."""
    from recsweep.tracking import tracker, tracking_uri

    if not tracking_uri(arguments.tracking_uri).startswith(("http://", "https://")):
        return ""
    store = tracker(store_options(arguments))
    return f"{mask(store.uri.rstrip('/'))}/#/experiments/{store.experiment_id}/runs/"


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
