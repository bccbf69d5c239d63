"""`recsweep ui`: the MLflow UI on the right store."""

import argparse
import os
import sys
import tempfile

from recsweep.cli.store import add_store_options, store_options
from recsweep.masking import mask
from recsweep.terminal import tell

HOST = "127.0.0.1"


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
    page = f"#/experiments/{store.experiment_id}/runs?workflowType=machine_learning"
    if store.uri.startswith(("http://", "https://")):  # it has a UI of its own
        tell(f"{mask(store.uri.rstrip('/'))}/{page}")
        return
    check_free(HOST, arguments.port)
    tell(f"http://{HOST}:{arguments.port}/{page}")
    # of a file that can't be written, for which MLflow makes a folder
    if store.server_uri != store.uri:
        os.chdir(tempfile.mkdtemp(prefix="recsweep-ui-"))
    # not as an argument: the list of processes shows those to everybody, and it may hold a password
    os.environ["MLFLOW_BACKEND_STORE_URI"] = store.server_uri
    command = f"-m mlflow ui --host {HOST} --port {arguments.port} --workers 1"
    os.execv(sys.executable, [sys.executable, *command.split()])
