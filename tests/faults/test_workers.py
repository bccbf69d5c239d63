"""`recsweep serve` with several workers: all answer alike, one that dies is replaced, and all end
with the server."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path

import psutil
import pytest

from recsweep.cli.serve import LOADING_SECONDS
from recsweep.serving.http import predictions
from recsweep.serving.service import RecommenderService

from .conftest import TINY, Home, kill

pytestmark = pytest.mark.slow

ASKED = [{"user_id": "7", "k": 3}, {"history": ["1", "2"], "k": 4}, {"user_id": "nobody", "k": 2}]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with a net."""
    folder = tmp_path_factory.mktemp("workers") / "home"
    home = Home(folder, {})
    ended = home.run("train", "model=recipe_net", *TINY)
    assert ended.returncode == 0, ended.stderr
    return home


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def served(made: Home, port: int) -> Iterator[Callable[..., subprocess.Popen]]:
    """served(*words): a server that has said its address."""
    servers = []

    def start(*words: str) -> subprocess.Popen:
        (run,) = made.statuses()
        server = made.start("serve", "--run", run, "--port", str(port), *words)
        servers.append(server)
        assert server.stdout is not None
        assert f"http://127.0.0.1:{port}/invocations" in server.stdout.readline()
        return server

    yield start
    for server in servers:
        kill(server)


def ask(port: int) -> list[dict]:
    """The answers to ASKED, over a connection of its own."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    body, header = json.dumps({"inputs": ASKED}), {"Content-Type": "application/json"}
    connection.request("POST", "/invocations", body, header)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer["predictions"]


def workers_of(server: subprocess.Popen) -> list[psutil.Process]:
    """The processes that answer."""
    workers = []
    for child in psutil.Process(server.pid).children():
        with suppress(psutil.Error):  # it has just ended
            if "spawn_main" in " ".join(child.cmdline()):
                workers.append(child)
    return workers


def until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_all_answer_as_one_does_and_one_that_is_killed_is_replaced(
    made: Home, port: int, served: Callable[..., subprocess.Popen]
) -> None:
    (folder,) = (path.parent for path in made.folder.rglob("catalogue.json"))
    expected = predictions(RecommenderService.load(folder), ASKED)
    server = served("--workers", "2")
    first, second = workers_of(server)
    for worker in (first, second):  # each in turn alone
        worker.suspend()
        found = ask(port)
        worker.resume()
        for ours, alone in zip(found, expected, strict=True):
            assert ours["item_ids"] == alone["item_ids"]
            assert ours["scores"] == pytest.approx(alone["scores"])
    first.kill()
    until(lambda: first not in (now := workers_of(server)) and len(now) == 2)
    assert second in workers_of(server)
    for worker in workers_of(server):
        assert ask(port)[0]["item_ids"] == expected[0]["item_ids"], worker


def test_one_that_dies_while_it_is_asked_whether_it_lives_is_replaced_at_once(
    served: Callable[..., subprocess.Popen],
) -> None:
    server = served("--workers", "2")
    first, _ = workers_of(server)
    first.suspend()
    time.sleep(2)  # every half second all are asked, and it does not answer any more
    first.kill()
    start = time.monotonic()
    until(lambda: first not in (now := workers_of(server)) and len(now) == 2)
    assert time.monotonic() - start < LOADING_SECONDS / 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_signal_to_the_server_ends_all(
    number: signal.Signals, workers: str, port: int, served: Callable[..., subprocess.Popen]
) -> None:
    server = served("--workers", workers)
    assert len(workers_of(server)) == (2 if workers == "2" else 0)
    answering = [psutil.Process(server.pid), *workers_of(server)]
    os.kill(server.pid, number)
    assert server.wait(60) == (-number if number == signal.SIGKILL else 0)
    psutil.wait_procs(answering, timeout=60)
    assert not any(process.is_running() for process in answering[1:])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_a_port_in_use(made: Home, port: int) -> None:
    (run,) = made.statuses()
    with socket.create_server(("127.0.0.1", port)):
        ended = made.run("serve", "--run", run, "--port", str(port), "--workers", "2")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"error: Nothing can listen on 127.0.0.1, port {port}: ")
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_model_that_is_not_whole(made: Home, port: int, workers: str, tmp_path: Path) -> None:
    (run,) = made.statuses()
    (whole,) = made.folder.rglob("seen.safetensors")
    shutil.copy(whole, tmp_path)
    try:
        whole.write_bytes(b"nothing")
        ended = made.run("serve", "--run", run, "--port", str(port), "--workers", workers)
    finally:
        shutil.copy(tmp_path / whole.name, whole)
    assert (ended.returncode, ended.stdout) == (1, "")
    error = ended.stderr.splitlines()[-1]
    assert error.startswith("error: The model in ")
    assert "is not whole" in error
    assert "Traceback" not in ended.stderr
