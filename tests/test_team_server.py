"""A team's MLflow server as `recsweep server` starts it, on a real PostgreSQL: users, machines that
share no disk, and what nobody may find."""

import importlib.util
import multiprocessing
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

from recsweep.tracking import DatasetNote, Tracker, TrackingOptions
from tests.faults.conftest import TINY, Home, kill
from tests.faults.test_server import wait_for
from tests.postgres import PostgreSQL
from tests.secret_forms import SECRET

pytestmark = pytest.mark.team

RECSWEEP = Path(sys.executable).with_name("recsweep")

PASSWORDS = {name: f"{SECRET}-{name}" for name in ("admin", "anna", "bert", "database")}
"""Of each user of MLflow's, and of the database."""

KNN = ("train", "model=knn", *TINY)


def _as(name: str) -> dict[str, str]:
    return {"MLFLOW_TRACKING_USERNAME": name, "MLFLOW_TRACKING_PASSWORD": PASSWORDS[name]}


class TeamServer:
    """`recsweep server` on a database of its own, with the users anna and bert.

    Args:
        database: One that holds all of that already; None for a new one.
    """

    def __init__(self, postgresql: PostgreSQL, folder: Path, database: str | None = None) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        self.database = database or postgresql.new_database()
        self._first = {} if database else {"MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORDS["admin"]}
        self.process: subprocess.Popen | None = None
        self.said = ""
        self.start()
        if database:
            return
        admin = Home(folder / "admin", {"MLFLOW_TRACKING_URI": self.uri, **_as("admin")})
        for name in ("anna", "bert"):
            done = admin.run("user", name, RECSWEEP_USER_PASSWORD=PASSWORDS[name])
            assert done.stdout.startswith(f"{name} is a user of {self.uri}."), done.stderr

    def start(self) -> None:
        given = self.database.replace("postgres@", f"postgres:{PASSWORDS['database']}@")
        words = ["--artifacts", str(self.folder / "artifacts"), "--port", str(self.port)]
        self.process = subprocess.Popen(
            [RECSWEEP, "server", *words],
            env={
                **os.environ,
                "RECSWEEP_HOME": str(self.folder / "home"),
                "MLFLOW_BACKEND_STORE_URI": given,
                **self._first,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        while "recsweep user NAME" not in self.said:
            line = self.process.stdout.readline()
            assert line, self.said
            self.said += line

    def end(self) -> int:
        """Ask it to end, as a service manager does; its status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def kill(self) -> None:
        """As a machine that is switched off."""
        for child in _below(self.process.pid):
            os.kill(child, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        self.said = ""

    def rows(self, query: str) -> list[tuple]:
        from sqlalchemy import create_engine, text

        engine = create_engine(self.database)
        with engine.connect() as connection:
            found = [tuple(row) for row in connection.execute(text(query))]
        engine.dispose()
        return found


def _below(pid: int) -> list[int]:
    import psutil

    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


@pytest.fixture(scope="module")
def server(
    postgresql: PostgreSQL, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TeamServer]:
    if importlib.util.find_spec("flask_wtf") is None:
        pytest.skip("no Flask-WTF (pip install 'recsweep[server]', as make test-team does)")
    started = TeamServer(postgresql, tmp_path_factory.mktemp("server"))
    yield started
    below = _below(started.process.pid)
    assert started.end() == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in below)


@pytest.fixture
def home(server: TeamServer, tmp_path: Path) -> Callable[[str], Home]:
    """home(user): a machine's home of that user."""

    def home(user: str) -> Home:
        (tmp_path / user).mkdir()
        (tmp_path / user / "person").mkdir()
        person = {"HOME": str(tmp_path / user / "person")}
        return Home(
            tmp_path / user / "home", {"MLFLOW_TRACKING_URI": server.uri, **person, **_as(user)}
        )

    return home


def _elsewhere(home: Home, *words: str, hidden: Path | None = None) -> subprocess.CompletedProcess:
    """`recsweep` on another machine: with its own name, process ids and disk.

    Args:
        hidden: A folder that is an empty one there.
    """
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("another machine needs root and unshare")
    script = 'hostname elsewhere && mount -t proc proc /proc && "$@"'
    if hidden is not None:
        script = f"mount -t tmpfs none {hidden} && {script}"
    return subprocess.run(
        [
            *["unshare", "--uts", "--pid", "--mount", "--fork", "--kill-child", "sh", "-c"],
            script,
            "sh",
            RECSWEEP,
            *words,
        ],
        cwd=home.folder.parent,
        env={**os.environ, "RECSWEEP_HOME": str(home.folder), **home.environment},
        capture_output=True,
        text=True,
        timeout=180,
    )


class TestAServerForTwo:
    def test_each_sees_what_the_other_has_logged_with_its_artifacts(self, server, home):
        anna, bert = home("anna"), home("bert")
        for seed in (0, 1):
            there = _elsewhere(anna, *KNN, f"split.seed={seed}", hidden=server.folder / "artifacts")
            assert there.returncode == 0, there.stderr
        own = bert.run("train", "model=popularity", *TINY)
        assert own.returncode == 0, own.stderr

        compared = bert.run("compare")
        assert compared.returncode == 0, compared.stderr
        assert "knn user 50" in compared.stdout
        assert "popularity" in compared.stdout
        listed = bert.run("recommend", "--run", "knn user 50", "--user", "1")
        assert listed.returncode == 0, listed.stderr
        users = server.rows("select value from tags where key = 'mlflow.user' order by value")
        assert users[:2] == [("anna",), ("anna",)]
        assert users[-1] == ("bert",)
        worker = "select value from tags where key = 'recsweep.worker' and value like '%elsewhere%'"
        assert len(server.rows(worker)) == 2
        assert not (anna.folder.parent / "mlruns").exists()

    def test_a_decision_names_who_was_let_in(self, server, monkeypatch):
        from recsweep.promotion import decide

        for name, value in _as("bert").items():
            monkeypatch.setenv(name, value)
        store = Tracker(TrackingOptions(uri=server.uri, experiment="decisions"))
        run = store.start("a", {"data": "toy", "data_digest": "d", "split_digest": "s"})
        run.end("FINISHED")
        case = decide._case(store, "m", None, [store.record(run.id)], "")
        assert case.who == store.record(run.id).who == "bert"

    def test_a_wrong_password_and_a_lack_of_permission_are_said_as_such(self, server, home):
        anna = home("anna")
        wrong = anna.run("runs", MLFLOW_TRACKING_PASSWORD="something else")
        assert wrong.returncode == 1
        assert "it does not take 'anna' (401). Set MLFLOW_TRACKING_USERNAME" in wrong.stderr
        unknown = anna.run("runs", MLFLOW_TRACKING_USERNAME="", MLFLOW_TRACKING_PASSWORD="")
        assert "(401)" in unknown.stderr
        denied = anna.run("user", "carl", RECSWEEP_USER_PASSWORD="of-twelve-or-more")
        assert denied.returncode == 1
        assert "knows the user 'anna', who lacks the permission for this (403)" in denied.stderr
        for said in (wrong, unknown, denied):
            assert "disk" not in said.stderr
            assert "Traceback" not in said.stderr

    def test_no_password_is_found_anywhere(self, server, home, postgresql):
        anna = home("anna")
        process = anna.start("train", *TINY, "trainer.max_epochs=400")
        wait_for(lambda: re.search(r"epoch 2\b", process.stderr.readline()) is not None)
        words = b"".join(path.read_bytes() for path in _cmdlines())
        assert b"mlflow" in words
        assert SECRET.encode() not in words
        kill(process, signal.SIGTERM)
        places = [server.folder, anna.folder.parent]
        files = [path for place in places for path in place.rglob("*") if path.is_file()]
        assert any(path.name == "auth.ini" for path in files)
        assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
        (postgresql.folder / "dump").touch()
        os.chmod(postgresql.folder / "dump", 0o666)
        dump = postgresql.folder / "dump"
        postgresql.run("pg_dump", "-f", str(dump), server.database.replace("+psycopg", ""))
        text = dump.read_text(encoding="utf-8")
        assert "recipe_net" in text
        assert SECRET not in text
        assert SECRET not in server.said
        private = [server.folder / "home" / "server" / name for name in ("auth.ini", "key")]
        assert [oct(path.stat().st_mode & 0o777) for path in private] == ["0o600", "0o600"]

    def test_a_backup_is_the_whole_store_on_another_machine(
        self, server, home, postgresql, tmp_path
    ):
        anna = home("anna")
        assert anna.run(*KNN, "split.seed=7").returncode == 0
        dump, database = str(postgresql.folder / "backup"), postgresql.new_database()
        for program, url in (("pg_dump", server.database), ("psql", database)):
            quiet = ["-q"] if program == "psql" else []
            postgresql.run(program, *quiet, "-f", dump, url.replace("+psycopg", ""))
        (tmp_path / "moved").mkdir()
        shutil.copytree(server.folder / "artifacts", tmp_path / "moved" / "artifacts")
        moved = TeamServer(postgresql, tmp_path / "moved", database)
        there = {"MLFLOW_TRACKING_URI": moved.uri}
        listed = anna.run("recommend", "--run", "knn user 50", "--user", "1", **there)
        again = anna.run(*KNN, "split.seed=8", **there)
        assert moved.end() == 0
        assert listed.returncode == 0, listed.stderr
        assert again.returncode == 0, again.stderr

    def test_a_server_that_dies_while_a_run_logs_to_it_gets_all_of_it(self, server, home):
        anna = home("anna")
        process = anna.start("train", *TINY, "trainer.max_epochs=300", "tracking.wait_seconds=90")
        wait_for(lambda: re.search(r"epoch 2\b", process.stderr.readline()) is not None)
        server.kill()
        time.sleep(1)
        server.start()
        _, err = process.communicate(timeout=150)
        assert process.returncode == 0, err
        ((run, status),) = server.rows(
            "select run_uuid, status from runs where name like 'recipe_net%' "
            "order by start_time desc limit 1"
        )
        assert status == "FINISHED"
        query = f"select step from metrics where key = 'train/loss' and run_uuid = '{run}'"
        assert sorted(step for (step,) in server.rows(query)) == list(range(1, 301))


def _cmdlines() -> Iterator[Path]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            path.read_bytes()
        except OSError:  # it has ended
            continue
        yield path


class TestTheServersOwnWords:
    def test_without_a_password_for_its_administrator(self, postgresql, tmp_path):
        if importlib.util.find_spec("flask_wtf") is None:
            pytest.skip("no Flask-WTF")
        home = Home(tmp_path / "home")
        url = postgresql.new_database().replace("+psycopg", "")
        words = ("server", "--postgres", url, "--artifacts", str(tmp_path / "a"), "--port", "5999")
        assert "MLFLOW_AUTH_ADMIN_PASSWORD must hold the password" in home.run(*words).stderr
        shown = words[2].replace("postgres@", f"postgres:{SECRET}@")
        said = home.run(*words[:2], shown, *words[3:]).stderr
        assert "would be shown to everybody on this machine by `ps`" in said
        assert SECRET not in said
        away = home.run(*words[:2], "postgresql://a@127.0.0.1:1/b", *words[3:]).stderr
        assert "can't be reached" in away
        assert away.count("\n") == 1


class TestADatabaseWithoutAServer:
    def test_is_refused_where_each_machine_would_keep_its_own_artifacts(self, postgresql, tmp_path):
        (tmp_path / "here").mkdir()
        home = Home(tmp_path / "here" / "home", {"MLFLOW_TRACKING_URI": postgresql.new_database()})
        refused = home.run(*KNN)
        assert refused.returncode == 1
        assert "recsweep server --postgres URL --artifacts DIR" in refused.stderr
        assert "tracking.artifacts=/shared/folder" in refused.stderr
        assert not (tmp_path / "here" / "mlruns").exists()

        shared = tmp_path / "shared"
        named = home.run(*KNN, f"tracking.artifacts={shared}")
        assert named.returncode == 0, named.stderr
        assert home.run("train", "model=popularity", *TINY).returncode == 0
        compared = home.run("compare")
        assert "popularity" in compared.stdout, compared.stderr

        there = _elsewhere(home, *KNN, hidden=shared)
        assert there.returncode == 1
        assert "lie in a folder that is another one on this machine" in there.stderr


def _log_at_once(task: tuple) -> list[str]:
    uri, artifacts, barrier = task
    options = TrackingOptions(uri=uri, experiment="race", artifacts=artifacts)
    store, outcomes = Tracker(options), []
    for number in range(4):
        run = store.start(f"run {number}")
        notes = [DatasetNote("toy", f"{kind}{number}", "toy.csv", {}, kind) for kind in ("a", "b")]
        barrier.wait(60)
        try:
            run.log_datasets(notes)
            outcomes.append("")
        except Exception as error:
            outcomes.append(str(error))
        run.end("FINISHED")
    return outcomes


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "server"])
def test_data_of_a_new_experiment_is_named_by_32_runs_at_once(kind, request, tmp_path, monkeypatch):
    uri, artifacts = f"sqlite:///{tmp_path}/mlflow.db", None
    if kind == "postgresql":
        uri, artifacts = request.getfixturevalue("postgresql").new_database(), str(tmp_path / "a")
    if kind == "server":
        uri = request.getfixturevalue("server").uri
        for name, value in _as("anna").items():
            monkeypatch.setenv(name, value)
    Tracker(TrackingOptions(uri=uri, experiment="race", artifacts=artifacts))
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, context.Pool(8) as pool:
        barrier = manager.Barrier(8)
        done = pool.map(_log_at_once, [(uri, artifacts, barrier)] * 8, chunksize=1)
    assert [words for outcomes in done for words in outcomes if words] == []


def test_its_address_asks_for_a_password(server):
    answer = requests.get(f"{server.uri}/api/2.0/mlflow/experiments/get?experiment_id=0")
    assert answer.status_code == 401
