"""Optuna Dashboard on studies of ours: what it shows of them, and that it changes nothing."""

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from recsweep.errors import StudyError
from recsweep.tuning.dashboard import Shown
from recsweep.tuning.storage import open_storage, storage_url

STUDY = ("model=popularity,knn", "hydra.sweeper.study_name=two models")
IS_THERE = importlib.util.find_spec("optuna_dashboard") is not None


class TestWhatIsShown:
    def test_attributes_are_those_that_a_person_reads(self, sweep: Callable, store: Path):
        record = sweep(*STUDY)
        stored = open_storage(storage_url(None)).optuna
        shown = optuna.load_study(
            study_name="two models", storage=Shown(stored, "http://here/#/runs/")
        )
        assert shown.metric_names == ["validation/average_precision"]
        assert shown.user_attrs["varied"] == "model: popularity, knn"
        assert shown.user_attrs["run in MLflow"] == record.parent_run
        assert not {"token", "points", "fixed", "space", "joining"} & set(shown.user_attrs)
        for trial, own in zip(shown.trials, record.trials, strict=True):
            assert trial.value == own.values[0]
            assert trial.user_attrs["model"] == own.name
            assert trial.user_attrs["page"] == f"http://here/#/runs/{own.run_id}"
            assert not {"slot", "worker", "overrides", "run"} & set(trial.user_attrs)
        assert shown.best_trial.number == record.best.number
        (study,) = Shown(stored).get_all_studies()
        assert study.user_attrs == shown.user_attrs
        # stored it is as it was
        assert "slot" in stored.get_all_trials(study._study_id)[0].user_attrs

    def test_nothing_can_be_changed(self, sweep: Callable, store: Path):
        sweep(*STUDY)
        stored = open_storage(storage_url(None)).optuna
        shown = optuna.load_study(study_name="two models", storage=Shown(stored))
        for change in (
            lambda: shown.set_user_attr("token", "mine"),
            shown.ask,
            lambda: Shown(stored).delete_study(1),
            lambda: optuna.create_study(storage=Shown(stored)),
        ):
            with pytest.raises(StudyError, match="can't change"):
                change()
        assert len(stored.get_all_studies()) == 1

    def test_a_study_of_others_is_shown_as_it_is(self, store: Path):
        stored = open_storage(storage_url(None)).optuna
        study = optuna.create_study(study_name="theirs", storage=stored)
        study.set_user_attr("who", "they")
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
        (shown,) = Shown(stored).get_all_studies()
        assert shown.user_attrs == {"who": "they"}
        assert Shown(stored).get_all_trials(shown._study_id) == study.trials


@pytest.mark.skipif(IS_THERE, reason="Optuna Dashboard is installed")
def test_without_it_one_line_says_how_to_get_it(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "recsweep", "ui", "--optuna"],
        env={**os.environ, "RECSWEEP_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == (
        "error: recsweep ui --optuna needs Optuna Dashboard, which isn't installed: "
        "pip install 'recsweep[dashboard]'\n"
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _arguments_of_children(pid: int) -> str:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return " ".join(Path(f"/proc/{child}/cmdline").read_text() for child in children)


@pytest.mark.team
@pytest.mark.skipif(not IS_THERE, reason="no Optuna Dashboard: pip install 'recsweep[dashboard]'")
class TestServed:
    def test_it_answers_with_the_studies_and_ends_quietly(
        self, sweep: Callable, store: Path, request: pytest.FixtureRequest
    ):
        record = sweep(*STUDY)
        self._serves(record, {})

    def test_of_postgresql_without_its_password_anywhere(
        self, sweep: Callable, store: Path, postgresql, monkeypatch: pytest.MonkeyPatch
    ):
        url = postgresql.new_database()
        monkeypatch.setenv("RECSWEEP_STUDIES", url)
        record = sweep(*STUDY)
        self._serves(record, {"RECSWEEP_STUDIES": url}, hidden=url)

    def _serves(self, record, more: dict[str, str], hidden: str = "no secret") -> None:
        port = _free_port()
        process = subprocess.Popen(
            [sys.executable, "-m", "recsweep", "ui", "--optuna", "--port", str(port)],
            env={**os.environ, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            lines = [process.stdout.readline() for _ in range(3)]
            root = f"http://127.0.0.1:{port}"
            assert lines[1] == f"{root}/dashboard\n", lines
            shown = json.load(urllib.request.urlopen(f"{root}/api/studies"))
            assert [each["study_name"] for each in shown["study_summaries"]] == ["two models"]
            study = json.load(urllib.request.urlopen(f"{root}/api/studies/1"))
            assert study["objective_names"] == ["validation/average_precision"]
            attributes = {each["key"]: each["value"] for each in study["trials"][0]["user_attrs"]}
            assert attributes["model"] == record.trials[0].name
            delete = urllib.request.Request(f"{root}/api/studies/1", method="DELETE")
            with pytest.raises(urllib.error.HTTPError):
                urllib.request.urlopen(delete)
            assert len(open_storage(storage_url(None)).names()) == 1
            assert hidden not in _arguments_of_children(process.pid)
            second = subprocess.run(
                [sys.executable, "-m", "recsweep", "ui", "--optuna", "--port", str(port)],
                capture_output=True,
                text=True,
                check=False,
            )
            assert f"{port}" in second.stderr, "the port is taken, in words"
            assert second.returncode == 1
        finally:
            process.send_signal(signal.SIGINT)
            rest = process.communicate(timeout=30)[0]
        assert process.returncode == 0
        assert rest == "The server of Optuna Dashboard ends.\n"
        assert hidden not in "".join([*lines, rest])
