"""Workers of a study that a Ray cluster places."""

import importlib.util
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from tests.secret_forms import SECRET
from tests.tuning.conftest import runs

from recsweep.errors import ConfigError
from recsweep.processes import Worker, note_death
from recsweep.tuning import ray_engine
from recsweep.tuning.options import Resources, StudyOptions
from recsweep.tuning.records import StudyRecord
from recsweep.tuning.storage import Storage
from recsweep.tuning.study import Study

REPOSITORY = Path(__file__).parents[2]
TINY = ("data.num_users=60", "data.num_items=50", "data.density=0.15")
GRID = (
    *TINY,
    "model=recipe_net",
    "model.user_dim=2,3,4,5,6,7,8,9",
    "model.hidden_dim=8,12,16",
    "hydra.sweeper.study_name=grid",
    "hydra.sweeper.engine=ray",
)
THERE = importlib.util.find_spec("ray") is not None


class TestOptions:
    def test_resources_are_those_of_a_task_of_ray(self) -> None:
        asked = Resources.of({"num_cpus": 2, "num_gpus": 0.25, "resources": {"big": 1}})
        assert asked.by_name == {"CPU": 2, "GPU": 0.25, "big": 1}
        assert asked.threads == 2
        assert Resources.of(None).by_name == {"CPU": 1}
        assert Resources.of({"num_cpus": 0.5}).threads == 1

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"engine": "rai"}, r"hydra.sweeper.engine must be one of local, ray, not 'rai'"),
            ({"engine": "ray", "resources": {"num_cpu": 1}}, "num_cpu. Did you mean num_cpus?"),
            ({"engine": "ray", "resources": {"num_gpus": 1.5}}, "a whole number where it is above"),
            ({"engine": "ray", "resources": {"memory": -1}}, "memory must be a number at least 0"),
            ({"engine": "ray", "resources": {"resources": {"CPU": 1}}}, "set .*resources.num_cpus"),
            ({"engine": "ray", "resources": 3}, "resources must be a mapping"),
            ({"resources": {"num_gpus": 1}}, "resources is for workers on a Ray cluster"),
            ({"ray_address": "10.0.0.1:6379"}, "ray_address is for workers on a Ray cluster"),
            ({"engine": "ray", "ray_address": "ray://h:10001"}, "which is Ray's client"),
        ],
    )
    def test_what_can_not_be_meant(self, settings: dict, words: str) -> None:
        with pytest.raises(ConfigError, match=words):
            StudyOptions(sampler={}, pruner={}, **settings)


def test_a_process_that_was_seen_to_end_is_dead_wherever_it_ran() -> None:
    elsewhere = Worker("elsewhere", "a start", 7, "1")
    assert elsewhere.alive is None
    note_death(elsewhere)
    assert elsewhere.alive is False


def _node(host: str, **resources: float) -> dict[str, Any]:
    return {"NodeManagerHostname": host, "Resources": resources, "Alive": True}


def test_as_many_workers_as_the_nodes_hold() -> None:
    nodes = [_node("a", CPU=4, GPU=1), _node("b", CPU=3)]
    assert ray_engine._room(nodes, Resources()) == 7
    assert ray_engine._room(nodes, Resources(num_cpus=2)) == 3
    assert ray_engine._room(nodes, Resources(num_gpus=0.25)) == 4
    assert ray_engine._room(nodes, Resources(num_cpus=0.1)) == 70
    assert ray_engine._room(nodes, Resources(num_cpus=0)) is None


class TestReach:
    """What workers on other machines can't reach is refused."""

    def check(self, *hosts: str, storage: str, tracking: str | None, cpus: int = 1) -> None:
        from recsweep.tracking import TrackingOptions

        options = TrackingOptions(uri=tracking, experiment="a")
        sweep: Any = SimpleNamespace(
            options=SimpleNamespace(resources=Resources()),
            study=SimpleNamespace(storage=SimpleNamespace(url=storage)),
            tracking_options=lambda: options,
        )
        ray_engine._check_reach(sweep, [_node(host, CPU=cpus) for host in hosts])

    def test_of_this_machine_all(self) -> None:
        self.check(socket.gethostname(), storage="sqlite:////a/b.db", tracking=None)

    def test_of_others_no_file(self) -> None:
        with pytest.raises(ConfigError, match=r"Workers on b can't reach the study's database"):
            self.check("b", storage="sqlite:////a/b.db", tracking="http://h")
        for tracking in (None, "sqlite:////a/mlflow.db", "file:///a", "/a"):
            with pytest.raises(ConfigError, match=r"Workers on b can't reach the place of runs"):
                self.check("b", storage="postgresql://h/d", tracking=tracking)
        self.check("b", storage="postgresql://h/d", tracking="http://h")

    def test_a_node_that_holds_no_worker_reaches_nothing(self) -> None:
        hosts = (socket.gethostname(), "b")
        self.check(hosts[0], storage="sqlite:////a/b.db", tracking=None)
        self.check("b", storage="sqlite:////a/b.db", tracking=None, cpus=0)


@pytest.mark.skipif(THERE, reason="Ray is installed")
def test_without_ray(refused: Callable, store: Path) -> None:
    assert refused("model=popularity,knn", "hydra.sweeper.engine=ray") == (
        "error: hydra.sweeper.engine=ray needs Ray, which isn't installed: pip install "
        "'recsweep[ray]'"
    )
    assert not (store / "optuna.db").exists()


def _record(store: Path) -> StudyRecord:
    return Study(Storage(f"sqlite:///{store}/optuna.db"), "grid").record()


def _count(store: Path, state: str) -> int:
    try:
        with sqlite3.connect(store / "optuna.db") as connection:
            return connection.execute(
                "select count(*) from trials where state = ?", (state,)
            ).fetchone()[0]
    except sqlite3.Error:
        return 0


def _wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.1)


@pytest.fixture
def start(store: Path, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """start(*overrides, **variables): `python train.py -m ...`, in a process group of its own."""
    started: list[subprocess.Popen] = []

    def start(*overrides: str, **variables: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, REPOSITORY / "train.py", "-m", *overrides],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "RECSWEEP_HOME": str(store), **variables},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.team
@pytest.mark.skipif(not THERE, reason="no Ray (pip install 'recsweep[ray]')")
class TestOnACluster:
    @pytest.fixture
    def cluster(self) -> Iterator[Any]:
        """A cluster of three nodes: a head without CPUs, to which the commands belong, and two that
        hold two workers each."""
        from ray.cluster_utils import Cluster

        cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "include_dashboard": False},
            shutdown_at_exit=False,
        )
        cluster.nodes = [cluster.add_node(num_cpus=2, wait=False) for _ in range(2)]
        cluster.wait_for_nodes()
        yield cluster
        cluster.shutdown()

    def test_a_node_is_killed(self, cluster: Any, start: Callable, store: Path) -> None:
        """24 trials of 24, none twice; those of the dead node are tried again elsewhere."""
        process = start(*GRID, "trainer.max_epochs=15", RAY_ADDRESS=cluster.address)
        _wait_for(lambda: _count(store, "COMPLETE") >= 4 and len(self._nodes(store)) == 2)
        cluster.remove_node(cluster.nodes[0], allow_graceful=False)  # -9
        said, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        assert "24 of 24" in said, errors
        record = _record(store)
        complete = record.of_state("complete")
        assert len(complete) == len({trial.slot for trial in complete}) == 24
        assert record.of_state("running", "failed", "interrupted") == []
        assert 1 <= len(record.of_state("died")) <= 2, "each lost one at most"
        found = runs(store)
        finished = [tags for status, tags in found.values() if status == "FINISHED"]
        numbers = [int(tags["trial_number"]) for tags in finished if "trial_number" in tags]
        assert sorted(numbers) == sorted(trial.number for trial in complete)
        assert {status for status, _ in found.values()} <= {"FINISHED", "KILLED"}

    def _nodes(self, store: Path) -> set[int]:
        """The raylets whose workers hold a trial."""
        with sqlite3.connect(store / "optuna.db") as connection:
            found = connection.execute(
                "select a.value_json from trials t join trial_user_attributes a using (trial_id) "
                "where t.state = 'RUNNING' and a.key = 'worker'"
            ).fetchall()
        pids = [json.loads(text)["pid"] for (text,) in found]
        return {psutil.Process(pid).ppid() for pid in pids if psutil.pid_exists(pid)}

    def test_workers_that_have_no_room_wait_and_that_is_said(
        self, cluster: Any, start: Callable, store: Path
    ) -> None:
        few = (*GRID[:4], "model.user_dim=2,3,4", "model.hidden_dim=8", *GRID[-2:])
        asked = ("hydra.sweeper.n_jobs=3", "hydra.sweeper.resources={num_cpus:2}")
        process = start(*few, *asked, "trainer.max_epochs=200", RAY_ADDRESS=cluster.address)
        said, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        host = socket.gethostname()
        assert (
            f"1 of 3 workers wait for room on the Ray cluster: each asks for 2 CPU; {host} has 0 "
            f"CPU; {host} has 2 CPU; {host} has 2 CPU, and free of all is 0 CPU."
        ) in said
        assert len(_record(store).of_state("complete")) == 3
        other = ("hydra.sweeper.study_name=other", "hydra.sweeper.resources={num_gpus:1}")
        never = start(*few[:-2], *GRID[-1:], *other, RAY_ADDRESS=cluster.address)
        _, errors = never.communicate(timeout=120)
        assert never.returncode == 1
        assert "No node of the Ray cluster could ever hold a worker of 1 CPU, 1 GPU" in errors


@pytest.mark.team
@pytest.mark.skipif(not THERE, reason="no Ray (pip install 'recsweep[ray]')")
class TestOnAClusterOfItsOwn:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_interrupted_it_says_how_to_go_on(
        self, number: signal.Signals, full: bool, start: Callable, store: Path
    ) -> None:
        if not full and number == signal.SIGINT:
            pytest.skip("in the long form alone")
        small = (*GRID[:4], "model.user_dim=2,3,4", "model.hidden_dim=8,16", *GRID[-2:])
        asked = ("hydra.sweeper.n_jobs=2", "trainer.max_epochs=30")
        process = start(*small, *asked, RECSWEEP_CORES="2")
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
        assert _record(store).of_state("running", "died", "failed") == []
        local = [line for line in small if line != "hydra.sweeper.engine=ray"]
        said, errors = start(*local, *asked).communicate(timeout=300)
        assert "6 of 6" in said, errors  # the other engine goes on
        record = _record(store)
        assert len({trial.slot for trial in record.of_state("complete")}) == 6
        assert len(record.of_state("complete")) == 6

    def test_no_secret_is_stored_or_logged(
        self, start: Callable, store: Path, tmp_path: Path, request: pytest.FixtureRequest
    ) -> None:
        """Of a variable of the environment and of a setting that a worker prints and fails of."""
        (tmp_path / "leaky.py").write_text(
            "import os\n"
            "from dataclasses import dataclass\n"
            "from recsweep.data.synthetic import Synthetic\n\n\n"
            "@dataclass(frozen=True, kw_only=True)\n"
            "class Leaky(Synthetic):\n"
            "    dsn: str\n\n"
            "    def load(self):\n"
            "        print(self.dsn, os.environ['LEAKY_DSN'], flush=True)\n"
            "        with open('seen.txt', 'a') as file:\n"
            "            file.write(str(os.environ['LEAKY_DSN'] == self.dsn))\n"
            "        raise RuntimeError(self.dsn)\n"
        )
        dsn = f"postgresql://anna:{SECRET}@db/likes"
        folder = tempfile.TemporaryDirectory(prefix="ray", dir="/tmp")  # sockets need short paths
        request.addfinalizer(folder.cleanup)
        process = start(
            *TINY,
            *GRID[-2:],
            "model=popularity,knn",
            "data._target_=leaky.Leaky",
            "+data.dsn=${oc.env:LEAKY_DSN}",
            RAY_TMPDIR=folder.name,
            LEAKY_DSN=dsn,
            MLFLOW_TRACKING_PASSWORD=SECRET,
            PYTHONPATH=os.pathsep.join(
                [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
            ),
        )
        said, errors = process.communicate(timeout=200)
        assert process.returncode == 1, (said, errors)
        assert "None of the 2 trials of the study 'grid' finished" in errors
        assert (tmp_path / "seen.txt").read_text() == "TrueTrue"
        logs = [path for path in Path(folder.name).rglob("*") if path.is_file()]
        assert any(b"anna:***" in path.read_bytes() for path in logs), "the check sees the logs"
        for path in [*logs, *store.rglob("*.db*")]:
            assert SECRET.encode() not in path.read_bytes(), path
        assert SECRET not in said + errors

    def test_a_cluster_that_is_not_there(self, start: Callable, store: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        process = start(*GRID, RAY_ADDRESS=f"127.0.0.1:{port}")
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        assert f"error: The Ray cluster can't be reached at 127.0.0.1:{port}: " in errors

    def test_a_secret_on_the_command_line_is_refused(self, start: Callable, store: Path) -> None:
        process = start(*GRID, f"hydra.sweeper.storage='postgresql://anna:{SECRET}@h/d'")
        said, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "hydra.sweeper.engine=ray takes no secret on the command line" in errors
        assert SECRET not in said + errors
        assert not (store / "optuna.db").exists()
