"""Studies in real processes, which are killed, interrupted, and started at the same moment."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.tuning.conftest import runs

from recsweep.tuning.storage import Storage
from recsweep.tuning.study import Study

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
TINY = ("data.num_users=60", "data.num_items=50", "data.density=0.15")
GRID = (
    "model.user_dim=2,3,4",
    "model.hidden_dim=8,16",
    "trainer.max_epochs=15",
    "hydra.sweeper.study_name=grid",
)


@pytest.fixture
def start(store: Path, tmp_path: Path) -> Callable:
    """start(*overrides): `python train.py -m ...` as a running process, in a process group of its
    own."""

    def start(*overrides: str) -> subprocess.Popen:
        command = [sys.executable, REPOSITORY / "train.py", "-m", *TINY, *overrides]
        return subprocess.Popen(
            command,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "RECSWEEP_HOME": str(store)},
        )

    return start


def _record(store: Path, name: str = "grid"):
    return Study(Storage(f"sqlite:///{store}/optuna.db"), name).record()


def _result(record) -> list[tuple]:
    """What must not depend on what happened on the way."""
    return sorted(
        (json.dumps(dict(trial.params)), trial.values) for trial in record.of_state("complete")
    )


def _assert_whole(store: Path, record, planned: int) -> None:
    """Every planned trial finished once, and nothing is left RUNNING."""
    complete = record.of_state("complete")
    assert len(complete) == planned
    assert len({trial.slot for trial in complete}) == planned
    assert record.of_state("running") == []
    found = runs(store)
    assert {status for status, _ in found.values()} <= {"FINISHED", "KILLED"}
    finished = [
        tags for status, tags in found.values() if status == "FINISHED" and "trial_number" in tags
    ]
    assert sorted(int(tags["trial_number"]) for tags in finished) == sorted(
        trial.number for trial in complete
    )


@pytest.fixture(scope="module")
def undisturbed(database, tmp_path_factory) -> list[tuple]:
    import shutil

    folder = tmp_path_factory.mktemp("undisturbed")
    shutil.copy(database, folder / "mlflow.db")
    subprocess.run(
        [sys.executable, REPOSITORY / "train.py", "-m", *TINY, *GRID],
        cwd=folder,
        check=True,
        timeout=300,
        capture_output=True,
        env={**os.environ, "RECSWEEP_HOME": str(folder)},
    )
    return _result(_record(folder))


def test_killed_at_any_moment_it_ends_as_if_nothing_had_happened(start, store, undisturbed):
    asked = (*GRID, "hydra.sweeper.retries=20")
    moments = random.Random(0)
    for seconds in (1.0, 2.5):  # while it starts, with or without a study yet
        _kill(start(*asked), seconds)
    for _ in range(6):  # while it trains, logs, or goes from one trial to the next
        before = _count(store)
        process = start(*asked)
        _wait_for(lambda before=before: _count(store) > before)
        _kill(process, moments.uniform(0, 1.2))
    said, errors = start(*asked).communicate(timeout=300)
    assert "best: trial" in said, errors
    record = _record(store)
    assert _result(record) == undisturbed
    assert len(record.of_state("died")) >= 5
    _assert_whole(store, record, 6)


def _kill(process: subprocess.Popen, seconds: float) -> None:
    with pytest.raises(subprocess.TimeoutExpired):  # else it came to its end, and nothing is tested
        process.wait(seconds)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.05)


def _count(store: Path, state: str = "%") -> int:
    try:
        with sqlite3.connect(store / "optuna.db") as connection:
            return connection.execute(
                "select count(*) from trials where state like ?", (state,)
            ).fetchone()[0]
    except sqlite3.Error:
        return 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_interrupted_it_says_how_to_go_on(number, n_jobs, full, start, store, undisturbed):
    if not full and (number, n_jobs) not in ((signal.SIGINT, 2), (signal.SIGTERM, 1)):
        pytest.skip("in the long form alone")
    jobs = f"hydra.sweeper.n_jobs={n_jobs}"
    process = start(*GRID, jobs)
    _wait_for(lambda: _count(store, "COMPLETE") >= 2 and _count(store, "RUNNING") >= 1)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "The same command goes on with it." in errors
    assert "Traceback" not in errors
    assert {status for status, _ in runs(store).values()} == {"FINISHED", "KILLED"}
    assert _record(store).of_state("running", "died") == []
    _, errors = start(*GRID, jobs).communicate(timeout=300)
    record = _record(store)
    assert _result(record) == undisturbed, errors
    _assert_whole(store, record, 6)


@pytest.mark.parametrize("search", [False, True])
def test_two_processes_that_start_at_the_same_moment_share_the_work(search, start, store):
    asked = (
        (
            "model=logistic",
            "model.C=interval(0.1,1)",
            "hydra.sweeper.n_trials=8",
            "hydra.sweeper.study_name=both",
        )
        if search
        else ("model=logistic", "model.C=range(0.1,0.8,0.1)", "hydra.sweeper.study_name=both")
    )
    processes = [start(*asked) for _ in range(2)]
    for process in processes:
        said, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors
        assert "study both: 8 finished" in said
    record = _record(store, "both")
    assert len(record.trials) == 8
    _assert_whole(store, record, 8)
    with sqlite3.connect(store / "mlflow.db") as connection:
        parents = connection.execute(
            "select status from runs where name = 'both' and lifecycle_stage = 'active'"
        )
        assert parents.fetchall() == [("FINISHED",)]


@pytest.mark.parametrize("asked", [2, 3, None])
def test_trials_at_once_are_those_of_one_after_another(
    asked, start, store, undisturbed, monkeypatch
):
    """As many workers as are asked for, or, where nothing is said, one for each core."""
    monkeypatch.setenv("RECSWEEP_CORES", "2")
    jobs = [] if asked is None else [f"hydra.sweeper.n_jobs={asked}"]
    said, errors = start(*GRID, *jobs).communicate(timeout=300)
    assert "6 of 6" in said, errors
    record = _record(store)
    assert _result(record) == undisturbed
    _assert_whole(store, record, 6)
    with sqlite3.connect(store / "optuna.db") as connection:
        found = connection.execute(
            "select distinct value_json from trial_user_attributes where key = 'worker'"
        )
        assert len(found.fetchall()) == (asked or 2)


def _kill_worker(store: Path) -> None:
    with sqlite3.connect(store / "optuna.db") as connection:
        (worker,) = connection.execute(
            "select a.value_json from trials t join trial_user_attributes a using (trial_id) "
            "where t.state = 'RUNNING' and a.key = 'worker' limit 1"
        ).fetchone()
    os.kill(json.loads(worker)["pid"], signal.SIGKILL)


def test_a_worker_that_is_killed_is_replaced(start, store, undisturbed):
    process = start(*GRID, "hydra.sweeper.n_jobs=2")
    _wait_for(lambda: _count(store, "COMPLETE") >= 1 and _count(store, "RUNNING") >= 1)
    _kill_worker(store)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    record = _record(store)
    assert _result(record) == undisturbed
    assert len(record.of_state("died")) == 1
    _assert_whole(store, record, 6)


def test_a_point_that_is_killed_too_often_is_missing_until_the_same_command(start, store):
    asked = ("model.user_dim=2,3", *GRID[2:], "hydra.sweeper.n_jobs=2", "hydra.sweeper.retries=0")
    process = start(*asked)
    _wait_for(lambda: _count(store, "RUNNING") >= 1)
    _kill_worker(store)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 3, errors
    assert "The study 'grid' is not finished: 1 of 2 points is missing: model.user_dim=" in errors
    assert runs(store)["grid"][0] == "FAILED"
    again = start(*asked)
    _, errors = again.communicate(timeout=300)
    assert again.returncode == 0, errors
    _assert_whole(store, _record(store), 2)
    assert runs(store)["grid"][0] == "FINISHED"
