"""`kill -9` while an empty home is opened for the first time: the next opening finds it whole."""

import multiprocessing
import os
import random
import sqlite3
import time
from contextlib import closing
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["mlflow.store.tracking.sqlalchemy_store", "optuna"])

LAST_FILE = "optuna.db"
"""The file that appears last."""


def _open(home: str) -> None:
    """What a training and a study do first."""
    from recsweep.tracking import TrackingOptions, tracker
    from recsweep.tuning.storage import open_storage, storage_url

    os.environ["RECSWEEP_HOME"] = home
    tracker(TrackingOptions(uri=None, experiment="recsweep")).start("run").end("FINISHED")
    open_storage(storage_url(None)).has("study")


def _opening(home: Path) -> BaseProcess:
    process = PROCESSES.Process(target=_open, args=(str(home),))
    process.start()
    return process


def _kill_while_it_opens(home: Path, delay: float) -> bool:
    """Whether a process was killed, so many seconds after it had begun to fill the home."""
    process = _opening(home)
    while not home.exists() and process.is_alive():
        time.sleep(0.001)
    time.sleep(delay)
    process.kill()
    process.join()
    return process.exitcode != 0


def kill_first_openings(number: int, seed: int, folder: Path) -> dict[str, int]:
    """Figures of first openings, each of a home of its own: how many were `killed`, how many of
    them before the home was `finished`, and how many homes the next opening `recovered`.

    Args:
        number: Number of kills.
        seed: Seed of the moments.
        folder: An empty folder, for the homes.
    """
    draws = random.Random(seed)
    figures = {"killed": 0, "unfinished": 0, "recovered": 0}
    homes = (folder / str(place) for place in range(10 * number))
    while figures["killed"] < number:
        home = next(homes)
        if not _kill_while_it_opens(home, draws.uniform(0, 2)):
            continue  # it was done before
        figures["killed"] += 1
        figures["unfinished"] += not (home / LAST_FILE).exists()
        process = _opening(home)
        process.join(120)
        figures["recovered"] += process.exitcode == 0 and _is_whole(home)
    return figures


def _is_whole(home: Path) -> bool:
    with closing(sqlite3.connect(home / "mlflow.db")) as connection:
        statuses = connection.execute("select status from runs order by start_time").fetchall()
        (intact,) = connection.execute("pragma integrity_check").fetchone()
    left = {path.name.partition(".db")[2] for path in home.iterdir()}
    return (
        statuses[-1:] == [("FINISHED",)]
        and intact == "ok"
        and left <= {"", "-wal", "-shm", ".lock"}
    )


@pytest.mark.slow
def test_each_is_recovered(request, tmp_path):
    number = 40 if request.config.getoption("--full", False) else 6
    figures = kill_first_openings(number, 11, tmp_path)
    print(f"\nfirst openings: {figures}")
    assert figures["killed"] == figures["recovered"] == number
    assert figures["unfinished"] > 0, "no kill came in the middle"
