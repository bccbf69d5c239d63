"""A study on two machines: workers that are killed, a database that is restarted, and nobody who
repeats a command."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from sqlalchemy import create_engine, text

from recsweep.tuning.storage import Storage
from recsweep.tuning.study import Study
from tests.faults.conftest import TINY
from tests.postgres import PostgreSQL

pytestmark = pytest.mark.team

SECRET = "hush-8d41"
"""Password of the database, which the environment alone knows."""

UNSHARE = ("unshare", "--uts", "--pid", "--mount", "--fork", "--mount-proc", "--kill-child")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Callable]:
    """machine(name, *words, **environment): a `recsweep` command on a machine of its own: another
    host name, other processes, another folder of temporary files."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("another machine takes root and unshare")
    if subprocess.run([*UNSHARE, "true"], capture_output=True).returncode:
        pytest.skip("unshare is not allowed here")
    started: list[subprocess.Popen] = []

    def machine(name: str, *words: str, **environment: str) -> subprocess.Popen:
        folder = tmp_path / name
        (folder / "tmp").mkdir(parents=True)
        command = [Path(sys.executable).with_name("recsweep"), *words]
        with (folder / "out").open("w") as out:
            process = subprocess.Popen(
                [*UNSHARE, "sh", "-c", 'hostname "$0"; exec "$@"', name, *command],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={
                    **os.environ,
                    "OMP_NUM_THREADS": "1",
                    "TMPDIR": str(folder / "tmp"),
                    "RECSWEEP_HOME": str(tmp_path / "home"),
                    **environment,
                },
            )
        started.append(process)
        return process

    yield machine
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=60)


def _states(url: str) -> Counter:
    """How many slots are in each state; nothing while the database is away."""
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            query = text("select state, count(*) from recsweep_slots group by state")
            return Counter({row[0]: row[1] for row in connection.execute(query)})
    except Exception:
        return Counter()
    finally:
        engine.dispose()


def _wait(process: subprocess.Popen, is_so: Callable[[], bool], seconds: float = 400) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert process.poll() is None, "it ended early"
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.3)


def _workers(command: subprocess.Popen) -> list[psutil.Process]:
    """The processes that train: those that the server of workers has forked."""
    family = psutil.Process(command.pid).children(recursive=True)
    servers = [each for each in family if "forkserver" in " ".join(each.cmdline()[:4])]
    return [child for server in servers for child in server.children()]


def _said(folder: Path) -> str:
    return (folder / "out").read_text()[-3000:]


def test_the_bar(
    machine: Callable, postgresql: PostgreSQL, tmp_path: Path, full: bool, capsys
) -> None:
    url = postgresql.new_database().replace("postgres@", f"postgres:{SECRET}@")
    trials, jobs, down = (200, 4, 9) if full else (36, 2, 3)
    moments = random.Random(0)
    rates = ",".join(f"{number / 1000:.3f}" for number in range(1, trials + 1))
    first = machine(
        "one",
        "train",
        "-m",
        *TINY,
        f"optimizer.lr={rates}",
        f"trainer.max_epochs={2 if full else 15}",  # time for the second machine to join
        "hydra.sweeper.study_name=bar",
        f"hydra.sweeper.n_jobs={jobs}",
        "hydra.sweeper.silence=5",
        RECSWEEP_STUDIES=url,
    )
    _wait(first, lambda: _states(url)["complete"] >= 1)
    second = machine("two", "worker", "bar", "--jobs", str(jobs), RECSWEEP_STUDIES=url)
    _wait(first, lambda: bool(_workers(second)) and _states(url)["running"] > jobs)
    events, start = [], time.monotonic()

    def tell(words: str) -> None:
        events.append(f"{time.monotonic() - start:6.1f} s  {words}, {dict(_states(url))}")

    _wait(first, lambda: _states(url)["complete"] >= trials // 4)
    tell("PostgreSQL is stopped")
    postgresql.stop("immediate")
    time.sleep(down)
    postgresql.start()
    back = time.monotonic()
    before = _states(url)["complete"]
    _wait(first, lambda: _states(url)["complete"] > before)
    tell(f"the next trial is complete {time.monotonic() - back:.1f} s after its return")
    if full:
        for share in (0.4, 0.55, 0.7):
            _wait(first, lambda share=share: _states(url)["complete"] >= share * trials)
            victim = moments.choice(_workers(moments.choice([first, second])))
            victim.kill()
            tell(f"a worker is killed ({victim.pid})")
    else:
        _wait(first, lambda: bool(_workers(second)) and _states(url)["running"] > jobs)
        os.killpg(second.pid, signal.SIGKILL)  # the whole machine, with all that it runs
        second.wait(timeout=60)
        tell("the second machine is gone")
    status = first.wait(timeout=900)
    tell("the first command has ended")
    assert status == 0, _said(tmp_path / "one")
    if full:
        assert second.wait(timeout=300) == 0, _said(tmp_path / "two")
    if full:
        with capsys.disabled():
            print("", *events, sep="\n")
    _check(Study(Storage(url), "bar"), trials, tmp_path / "home", died=3 if full else 1)
    said = (tmp_path / "one" / "out").read_text()
    assert "The database of studies does not answer" in said
    assert "The database of studies answers again" in said
    assert "Traceback" not in said
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
    with create_engine(url).connect() as connection:
        for table in ("recsweep_slots", "trial_user_attributes", "study_user_attributes"):
            rows = connection.execute(text(f"select * from {table}")).all()
            assert rows
            assert SECRET not in str(rows), table


def _check(study: Study, trials: int, home: Path, *, died: int) -> None:
    record = study.record()
    complete = Counter(trial.slot for trial in record.of_state("complete"))
    assert len(complete) == trials, "none is lost"
    assert set(complete.values()) == {1}, "none is done twice"
    assert study.running() == []
    assert record.of_state("running") == [], "none is RUNNING in Optuna"
    assert len(record.of_state("died")) >= min(died, 1)
    uri = f"{(home / 'mlflow.db').absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=30)) as connection:
        runs = connection.execute(
            "select r.status, r.artifact_uri, t.value from runs r left join tags t on "
            "t.run_uuid = r.run_uuid and t.key = 'trial_number' where "
            "r.lifecycle_stage = 'active'"
        ).fetchall()
    finished = [(uri, number) for status, uri, number in runs if status == "FINISHED"]
    assert not any(status == "RUNNING" for status, _, _ in runs), "none is RUNNING in MLflow"
    numbers = Counter(number for _, number in finished if number is not None)
    assert sorted(map(int, numbers)) == sorted(
        trial.number for trial in record.of_state("complete")
    )
    assert set(numbers.values()) == {1}
    for uri, _ in finished:
        files = [path for path in Path(uri.removeprefix("file://")).rglob("*") if path.is_file()]
        assert files, uri
        assert all(path.read_bytes() for path in files), uri
