"""An MLflow server that dies in the middle of what is logged to it, and comes back."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.faults.conftest import TINY, Home, kill

pytestmark = pytest.mark.slow

READY = 2
"""Status of a logged model in MLflow's table."""


class Server:
    """`mlflow server` on a store of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.store = Home(folder)
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        folder = self.store.folder
        words = f"-m mlflow server --host 127.0.0.1 --port {self.port} --workers 1"
        self.process = subprocess.Popen(
            [
                sys.executable,
                *words.split(),
                f"--backend-store-uri=sqlite:///{folder}/mlflow.db",
                f"--artifacts-destination={folder / 'artifacts'}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for(self._answers)

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.uri}/health", timeout=1).ok
        except requests.RequestException:
            return False

    def kill(self, number: int = signal.SIGKILL) -> None:
        kill(self.process, number)

    def losses(self) -> dict[str, int]:
        """Id of each run -> how many epochs of it are in the store; each but once."""
        return dict(
            self.store.rows(
                "select run_uuid, count(*) from metrics where key = 'train/loss' group by run_uuid"
            )
        )


def wait_for(condition: Callable[[], bool], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.1)


@pytest.fixture
def server(database: Path, tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "server").mkdir()
    shutil.copy(database, tmp_path / "server" / "mlflow.db")
    server = Server(tmp_path / "server")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def home(server: Server, new_home: Callable[..., Home]) -> Home:
    return new_home(MLFLOW_TRACKING_URI=server.uri)


def _training(home: Home, *words: str) -> subprocess.Popen:
    """A training that is past its second epoch."""
    process = home.start("train", *TINY, *words)
    wait_for(lambda: re.search(r"epoch 2\b", process.stderr.readline()) is not None)
    return process


def test_training_goes_on_and_all_of_it_is_sent(home, server):
    process = _training(home, "trainer.max_epochs=200", "tracking.wait_seconds=1")
    server.kill()
    out, err = process.communicate(timeout=120)
    assert process.returncode == 75, err
    assert "of 200 kept" in out
    assert len(re.findall("is away", err)) == 1
    assert "not yet sent: recipe_net" in err
    assert "Traceback" not in err
    assert list(server.store.statuses().values()) == ["RUNNING"]

    refused = home.run("sync")
    assert refused.returncode == 1
    assert "can't be used" in refused.stderr

    server.start()
    assert "sent: recipe_net" in home.run("sync").stdout
    assert list(server.store.statuses().values()) == ["FINISHED"]
    assert list(server.losses().values()) == [200]
    assert server.store.rows("select status from logged_models") == [(READY,)]
    assert "Nothing is waiting to be sent." in home.run("sync").stdout


def test_a_signal_is_heard_while_the_server_hangs_and_the_next_command_sends_it(home, server):
    process = _training(home, "trainer.max_epochs=100000")
    os.killpg(server.process.pid, signal.SIGSTOP)
    time.sleep(1)  # now it waits for an answer
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)  # mostly 2 s
    assert process.returncode == 130, err
    assert "not yet sent: recipe_net" in err
    os.killpg(server.process.pid, signal.SIGCONT)
    assert "What was kept for" in home.run("runs").stderr
    assert list(server.store.statuses().values()) == ["KILLED"]
