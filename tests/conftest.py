"""Fixtures shared by all tests."""

import copy
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache
from pathlib import Path

import pytest

from recsweep.run import plan as run_plan
from tests import postgres

REPOSITORY = Path(__file__).parents[1]
os.environ["RECSWEEP_CORES"] = "1"  # a grid trains in the process that asks, on every machine
TINY_DATA = ("data.num_users=60", "data.num_items=50", "data.density=0.15")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full", action="store_true", help="the long form, of make faults and make team"
    )


LONGEST = ("test_documented_commands.py", "test_processes.py")
"""Files that come first: beside one that comes last the other process of `-n` has nothing to do."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture
def full(request: pytest.FixtureRequest) -> bool:
    """Whether the long form was asked for (`make faults`, `make team`): every fault, not a few."""
    return request.config.getoption("--full")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real data files, `$RECSWEEP_DATA` or shared/data beside the repository; skips
    where absent."""
    folder = Path(os.environ.get("RECSWEEP_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} does not exist (set RECSWEEP_DATA)")
    return folder


@pytest.fixture(scope="session")
def postgresql() -> Iterator[postgres.PostgreSQL]:
    """A PostgreSQL server that runs for the tests; skips where it or a driver is missing."""
    if reason := postgres.reason_for_none():
        pytest.skip(reason)
    server = postgres.PostgreSQL()
    yield server
    server.remove()


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have a store of their own: leave it alone."""
    for name in ("MLFLOW_TRACKING_URI", "RECSWEEP_HOME", "HYDRA_FULL_ERROR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True, scope="session")
def _whole_libraries() -> Iterator[None]:
    """Commands run in the process of the tests too, and leave nothing out there: others load models
    by MLflow itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recsweep.libraries._left_out", dict)
        yield


@pytest.fixture(scope="session")
def compose_into() -> Callable:
    """compose_into(folder, *overrides): a config that logs to `folder`/mlflow.db; tiny data unless
    data= is given."""
    from recsweep import config

    @cache  # a composition takes Hydra a tenth of a second
    def cached(*overrides: str):
        data = () if any(override.startswith("data=") for override in overrides) else TINY_DATA
        return config.composed([*data, "trainer.max_epochs=2", *overrides])

    def compose_into(folder: Path, *overrides: str):
        cfg = copy.deepcopy(cached(*overrides))
        cfg.tracking.uri = cfg.tracking.uri or f"sqlite:///{folder}/mlflow.db"
        return cfg

    return compose_into


@pytest.fixture
def compose(compose_into: Callable, tmp_path: Path) -> Callable:
    """compose(*overrides): a config that logs to the place of the fixture `store`."""
    return lambda *overrides: compose_into(tmp_path / "store", *overrides)


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without runs: copying it takes a millisecond, creating one several
    seconds.

    It holds no experiment of recsweep's either, as that would name a folder of artifacts.
    """
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


def copy_database(source: Path, target: Path) -> None:
    """Copy a sqlite file with what lies beside it as long as it is open."""
    with closing(sqlite3.connect(source)) as opened, closing(sqlite3.connect(target)) as copy:
        opened.backup(copy)


@pytest.fixture
def store(database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of this test's own, in force by RECSWEEP_HOME."""
    from recsweep import tracking

    folder = tmp_path / "store"
    folder.mkdir()
    shutil.copy(database, folder / "mlflow.db")
    monkeypatch.setenv("RECSWEEP_HOME", str(folder))
    tracking.tracker.cache_clear()
    run_plan._prepared.clear()
    return folder


@pytest.fixture
def train(tmp_path: Path) -> Callable:
    """train(*overrides): what `python train.py` does in an empty directory, in a process of its
    own."""

    def train(*overrides: str, **options) -> subprocess.CompletedProcess:
        command = [sys.executable, REPOSITORY / "train.py", *overrides]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=120, **options
        )

    return train


@pytest.fixture
def recsweep(tmp_path: Path) -> Callable:
    """recsweep(*arguments): the installed command in an empty directory."""

    def recsweep(*arguments: str) -> subprocess.CompletedProcess:
        command = [Path(sys.executable).with_name("recsweep"), *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)

    return recsweep
