"""What a run costs to log: directly into a sqlite file, and through an MLflow server as
`recsweep server` starts it.

    python benchmarks/server.py [--runs 10] [--clients 4] [--workers 1 4] [--postgres URL]

A run is what a net of three quick epochs logs: 45 params, two data sets, 35 metrics an epoch, seven
artifacts and a model of eleven files. Nothing is trained. Each round logs one run to every store in
turn, so that what else the machine does falls on all alike: the ratio to sqlite is of the medians.
With passwords it needs `recsweep[server]`.
`together` is what so many clients, processes each, log at once.
"""

import argparse
import contextlib
import importlib.util
import os
import signal
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter, sleep

import requests

from recsweep.databases import sqlite_uri
from recsweep.scratch import scratch_folder
from recsweep.tracking import DatasetNote, Tracker, TrackingOptions, is_up

ENTRY = Path(sys.modules["recsweep"].__file__ or "").parent / "serving" / "served_model.py"
PASSWORD = "of-this-benchmark-alone"


class Counter:
    """Counts the requests of this process, and their time."""

    def __init__(self) -> None:
        self.number, self.seconds, self._send = 0, 0.0, requests.Session.send

    def send(self, session: requests.Session, *arguments, **settings) -> requests.Response:
        start = perf_counter()
        try:
            return self._send(session, *arguments, **settings)
        finally:
            self.number += 1
            self.seconds += perf_counter() - start


def log_run(store: Tracker, folder: Path, number: int) -> None:
    """All that one run logs."""
    tags = {"model_kind": "recipe_net", "trial_number": number, "data_digest": "d"}
    run = store.start(f"#{number} net", tags)
    run.log(params={f"model.param_{place}": place for place in range(45)})
    notes = [
        DatasetNote(name, name, "toy.csv", {"num_users": 3}, "data") for name in ("toy", "split")
    ]
    run.log_datasets(notes)
    metrics = {f"validation/metric_{place}": 0.5 * place for place in range(35)}
    for epoch in (1, 2, 3):
        run.log(metrics=metrics, step=epoch)
    run.log(metrics=metrics, step=4, tags={"collapsed": "false"}, note="x" * 500)
    run.log_folder(folder)
    run.log_model(
        _save,
        entry=ENTRY,
        signature={"inputs": [], "outputs": []},
        input_example=[{"user_id": "1", "k": 10}],
        requirements=["recsweep==0.1.0"],
        step=3,
    )
    run.end("FINISHED")


def _save(folder: Path) -> None:
    folder.mkdir(parents=True)
    for place in range(4):
        (folder / f"{place}.safetensors").write_bytes(os.urandom(20_000))


def log_many(uri: str, folder: Path, runs: int) -> None:
    """What one of several clients does."""
    store = Tracker(TrackingOptions(uri=uri, experiment="together"))
    for number in range(runs):
        log_run(store, folder, number)


@contextlib.contextmanager
def served(folder: Path, workers: int, auth: bool, postgres: str | None) -> Iterator[str]:
    """The address of a `recsweep server`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = ["--postgres", postgres] if postgres else ["--sqlite", str(folder / "runs.db")]
    words = [*store, "--artifacts", str(folder / "artifacts"), "--port", str(port)]
    words += ["--workers", str(workers), *([] if auth else ["--no-auth"])]
    process = subprocess.Popen(
        [sys.executable, "-c", "from recsweep.cli import main; main()", "server", *words],
        env={**os.environ, "RECSWEEP_HOME": str(folder), "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD},
        stdout=subprocess.DEVNULL,
    )
    try:
        while not is_up(uri := f"http://127.0.0.1:{port}"):
            if process.poll() is not None:
                raise SystemExit("the server ended")
            sleep(0.2)
        yield uri
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--workers", type=int, nargs="+", default=[1])
    parser.add_argument("--postgres", help="an empty database; each server has it in turn")
    options = parser.parse_args()
    os.environ["MLFLOW_TRACKING_USERNAME"] = "admin"
    os.environ["MLFLOW_TRACKING_PASSWORD"] = PASSWORD
    counter = Counter()
    requests.Session.send = lambda *given, **settings: counter.send(*given, **settings)
    print(f"{'':<32}   a run  ratio  requests  a request  {options.clients} clients together")
    with scratch_folder() as folder:
        (files := folder / "files").mkdir()
        for place in range(7):
            (files / f"{place}.bin").write_bytes(os.urandom(20_000))
        direct = Tracker(TrackingOptions(uri=sqlite_uri(folder / "d.db"), experiment="benchmark"))
        log_run(direct, files, 0)
        rate = together(direct.uri, files, options)
        shown = False
        for workers in options.workers:
            for auth in (True, False) if importlib.util.find_spec("flask_wtf") else (False,):
                (home := folder / f"{workers}{auth}").mkdir()
                with served(home, workers, auth, options.postgres) as uri:
                    server = Tracker(TrackingOptions(uri=uri, experiment="benchmark"))
                    log_run(server, files, 0)
                    seconds: dict[Tracker, list[float]] = {direct: [], server: []}
                    counter.number, counter.seconds = 0, 0.0
                    for number in range(options.runs):
                        for store, measured in seconds.items():
                            start = perf_counter()
                            log_run(store, files, number)
                            measured.append(perf_counter() - start)
                    own, through = (1000 * statistics.median(each) for each in seconds.values())
                    if not shown:
                        print(f"{'sqlite file':<32} {own:5.0f} ms   1.0{rate:>37.1f} runs/s")
                        shown = True
                    kind = f"server, {workers} worker{'s' * (workers > 1)}, "
                    kind += "with passwords" if auth else "without"
                    print(
                        f"{kind:<32} {through:5.0f} ms  {through / own:4.1f}  "
                        f"{counter.number / options.runs:8.0f}  "
                        f"{1000 * counter.seconds / counter.number:6.1f} ms  "
                        f"{together(uri, files, options):>6.1f} runs/s",
                        flush=True,
                    )


def together(uri: str, files: Path, options: argparse.Namespace) -> float:
    """Runs a second of several clients at once, which have all been started."""
    with ProcessPoolExecutor(options.clients, mp_context=get_context("spawn")) as pool:
        list(pool.map(log_many, *zip(*[(uri, files, 1)] * options.clients, strict=True)))
        each = max(1, options.runs // 2)
        start = perf_counter()
        list(pool.map(log_many, *zip(*[(uri, files, each)] * options.clients, strict=True)))
        return options.clients * each / (perf_counter() - start)


if __name__ == "__main__":
    main()
