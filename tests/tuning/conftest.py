"""Studies in this process, on tiny data."""

import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from recsweep.config import conf_dir

TINY = ("data.num_users=60", "data.num_items=50", "data.density=0.15", "trainer.max_epochs=1")


@pytest.fixture
def sweep(store: Path, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """sweep(*overrides): what `train.py -m` does, in this process; the study's record."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from recsweep import cli
    from recsweep.tuning.arguments import as_meant

    monkeypatch.setattr(logging.root, "handlers", [])

    def sweep(*overrides: str):
        given = {override.partition("=")[0] for override in overrides}
        tiny = [
            each
            for each in TINY
            if each.partition("=")[0] not in given
            and not ("data" in given and each.startswith("data."))
        ]
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            hydra = GlobalHydra.instance().hydra
            return hydra.multirun(
                "config", cli.train, as_meant([*tiny, *overrides]), with_log_configuration=False
            )

    return sweep


@pytest.fixture
def refused(sweep: Callable, capsys: pytest.CaptureFixture) -> Callable:
    """refused(*overrides): the error, in words, of a study that can't be had."""

    def refused(*overrides: str) -> str:
        with pytest.raises(SystemExit) as stopped:
            sweep(*overrides)
        assert stopped.value.code == 1
        (error,) = [
            line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")
        ]
        return error

    return refused


@pytest.fixture
def unfinished(sweep: Callable, capsys: pytest.CaptureFixture) -> Callable:
    """unfinished(*overrides): the record, and the error in words, of a study that ends with
    gaps."""

    def unfinished(*overrides: str) -> tuple:
        with pytest.raises(SystemExit) as stopped:
            sweep(*overrides)
        assert stopped.value.code == 3
        error = stopped.value.__context__
        assert f"error: {error}" in capsys.readouterr().err
        return error.record, str(error)

    return unfinished


def runs(store: Path) -> dict[str, tuple[str, dict[str, str]]]:
    """Name of each MLflow run -> its status and tags."""
    connection = sqlite3.connect(store / "mlflow.db")
    found = {}
    for run_id, name, status in connection.execute(
        "select run_uuid, name, status from runs"
    ).fetchall():
        tags = connection.execute(
            "select key, value from tags where run_uuid = ?", (run_id,)
        ).fetchall()
        found[name] = status, dict(tags) | {"run_id": run_id}
    connection.close()
    return found


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/optuna.db"
    return request.getfixturevalue("postgresql").new_database()
