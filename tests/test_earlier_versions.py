"""What earlier versions have stored is read, resumed and served by this one.

The stores are made by the code of those versions, taken from the history of the repository; one of
them drew with plotly, which `dev` has for that alone.
"""

import json
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from recsweep import cli, tracking
from recsweep.promotion.decide import lineage
from recsweep.tracking import TrackingOptions, finished_runs, tracker
from tests.conftest import REPOSITORY

OPTIONS = TrackingOptions(uri=None, experiment="recsweep")

STUDIES = {"grid": "model.user_dim=2,3", "baselines": "model=popularity,knn"}

COMMANDS = """
import json, sys
from recsweep import cli
from recsweep.promotion import contest

if hasattr(contest, "GRIDS"):  # the real ones take a minute
    contest.GRIDS = {"popularity": [{}], "knn": [{}]}
for words in json.loads(sys.argv[1]):
    if words[0] == "promote" and hasattr(contest, "GRIDS"):
        words += ["--seeds", "1", "--splits", "1"]
    sys.argv = ["recsweep", *words]
    try:
        cli.main()
    except SystemExit as ended:
        if ended.code:
            raise
"""

TINY = ("data.num_users=60", "data.num_items=50", "data.density=0.15", "trainer.max_epochs=1")

TRAIN = [
    ["train", "-m", *TINY, varied, f"hydra.sweeper.study_name={name}"]
    for name, varied in STUDIES.items()
]

pytestmark = pytest.mark.slow


def _run(commands: list[list[str]], source: Path, home: Path) -> str:
    """Run the commands by the code in a folder, in one process; what they print."""
    environ = {
        **os.environ,
        "RECSWEEP_HOME": str(home),
        "PYTHONPATH": str(source),
        "OMP_NUM_THREADS": "1",
    }
    environ.pop("MLFLOW_TRACKING_URI", None)
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, json.dumps(commands)],
        cwd=home,
        env=environ,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module", params=["7a14e07", "f2ffba7"])
def made(request, tmp_path_factory) -> Path:
    """A store with a run, two studies and a champion, and the champion's answers."""
    commit = request.param
    folder = tmp_path_factory.mktemp(commit)
    archive = subprocess.run(
        ["git", "archive", commit, "src", "conf"], cwd=REPOSITORY, capture_output=True
    )
    if archive.returncode != 0:
        pytest.skip(f"no commit {commit} in the history: {archive.stderr.decode().strip()}")
    (folder / "code").mkdir()
    subprocess.run(["tar", "x"], cwd=folder / "code", input=archive.stdout, check=True)
    (folder / "store").mkdir()
    answers = str(folder / "answers.csv")
    _run(
        [
            ["train", *TINY, "model=logistic"],
            *TRAIN,
            ["promote", "logistic C=1", "--force", "--reason", "to begin with"],
            ["recommend", "--all-users", "--out", answers, "-k", "5"],
        ],
        folder / "code" / "src",
        folder / "store",
    )
    return folder


@pytest.fixture
def said(made, monkeypatch, capsys):
    """said(*arguments): what a command of this version prints on that store."""
    monkeypatch.setenv("RECSWEEP_HOME", str(made / "store"))
    monkeypatch.setattr(logging.root, "handlers", [])
    tracking.tracker.cache_clear()

    def said(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["recsweep", *arguments])
        cli.main()
        return capsys.readouterr().out

    return said


def test_its_runs_are_listed_by_what_they_are(said):
    shown = said("runs")
    for name in ("logistic C=1", "popularity", "knn user 50", "recipe_net 2/25/128"):
        assert name in shown
    roles = {record.label: (record.kind, record.role) for record in finished_runs(OPTIONS)}
    assert roles["logistic C=1"] == ("logistic", "baseline")
    (net,) = {role for label, role in roles.items() if label.startswith("recipe_net 3/25/128")}
    assert net == ("recipe_net", "net")


def test_its_runs_compare(said):
    shown = said("compare", "--no-log", "--on", "validation")
    for name in ("logistic C=1", "popularity", "knn user 50", "recipe_net 2/25/128"):
        assert name in shown


def test_its_champion_is_shown_with_its_decision(said):
    shown = said("champion")
    assert "recsweep version 1: logistic C=1" in shown
    for words in ("forced by", "to begin with", "f1_at_threshold", "model.C=1.0"):
        assert words in shown
    assert lineage(OPTIONS).made_by["reason"] == "to begin with"


def test_its_champion_answers_the_same(made, said, tmp_path):
    said("recommend", "--all-users", "--out", str(tmp_path / "answers.csv"), "-k", "5")
    answers = (made / "answers.csv").read_text()
    assert answers.count("\n") == 60 * 5 + 1
    assert (tmp_path / "answers.csv").read_text() == answers


def test_its_logged_model_is_loaded_by_mlflow(said, made):
    from mlflow import pyfunc

    store = tracker(OPTIONS)
    location, example = store.servable(lineage(OPTIONS).version.model_id)
    (answer,) = pyfunc.load_model(location).predict([{"user_id": "1", "k": 5}])
    answers = (made / "answers.csv").read_text().splitlines()
    assert len(example) == 2
    assert [line.split(",")[2] for line in answers if line.startswith("1,")] == answer["item_ids"]


def _counts(store: Path) -> tuple[int, int]:
    """Trials of all studies, and runs."""
    with (
        closing(sqlite3.connect(store / "optuna.db")) as studies,
        closing(sqlite3.connect(store / "mlflow.db")) as runs,
    ):
        return (
            studies.execute("select count(*) from trials").fetchone()[0],
            runs.execute("select count(*) from runs").fetchone()[0],
        )


def test_this_version_goes_on_with_its_store(made, tmp_path):
    store = tmp_path / "store"  # a copy: the other tests look at what was made
    shutil.copytree(made / "store", store)
    trials, runs = _counts(store)
    shown = _run(
        [
            ["relocate"],
            *TRAIN,
            ["refit", "baselines", "--trial", "0"],
            ["promote", "#1 knn user 50", "--force", "--reason", "next"],
            ["rollback"],
        ],
        REPOSITORY / "src",
        store,
    )
    assert shown.count("best: trial") == 2
    assert _counts(store)[0] == trials, "the studies had ended, and have nothing to do"
    assert _counts(store)[1] >= runs + 3, "a refit and two decisions"
    assert "as version 2 of recsweep" in shown
    assert "Version 1 of recsweep is the champion again, after version 2." in shown
