"""`recsweep ui`: the MLflow UI on the right store."""

import argparse
import os
import sys
import tempfile

from recsweep.cli.store import add_store_options, store_options


def add_to(commands: argparse._SubParsersAction) -> None:
    ui = commands.add_parser("ui", help="open the runs in a browser")
    ui.add_argument("--port", type=int, default=5000, help="default 5000")
    add_store_options(ui)
    ui.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from recsweep.tracking import Tracker

    store = Tracker(
        store_options(arguments)
    )  # opened once here, so that a store that is away is said in words
    address = f"http://127.0.0.1:{arguments.port}"
    print(
        f"{address}/#/experiments/{store.experiment_id}/runs?workflowType=machine_learning",
        flush=True,
    )
    if (
        store.server_uri != store.uri
    ):  # of a file that can't be written, for which MLflow makes a folder
        os.chdir(tempfile.mkdtemp(prefix="recsweep-ui-"))
    server = [
        "--backend-store-uri",
        store.server_uri,
        "--host",
        "127.0.0.1",
        "--port",
        str(arguments.port),
        "--workers",
        "1",
    ]
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", "ui", *server])
