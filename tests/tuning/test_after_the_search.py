"""What follows a search: plots with the lines to beat, a second look with fresh seeds, refits on
the test part."""

import csv
import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from tests.conftest import copy_database
from tests.tuning.conftest import runs

from recsweep import pipeline
from recsweep.config import conf_dir
from recsweep.errors import ConfigError, StudyError
from recsweep.tracking import tracking_uri
from recsweep.tuning import conduct
from recsweep.tuning.confirm import Confirmation
from recsweep.tuning.records import StudyRecord
from recsweep.tuning.refit import RefitOptions, count_test_uses, refit, rows_of, spreads_of
from recsweep.tuning.storage import open_storage, storage_url
from recsweep.tuning.study import Study
from recsweep.tuning.verdict import Verdict, verdict_of

NETS = ("model.user_dim=2,3", "model.hidden_dim=4", "hydra.sweeper.study_name=dims")


def artifacts(run_id: str, folder: str = "") -> dict[str, Path]:
    client = MlflowClient(tracking_uri())
    return {
        Path(each.path).name: Path(client.download_artifacts(run_id, each.path))
        for each in client.list_artifacts(run_id, folder)
    }


class TestPlots:
    def test_of_a_grid_stand_in_its_run_with_the_baselines_to_beat(
        self, sweep: Callable, store: Path
    ) -> None:
        sweep("model=popularity,logistic", "hydra.sweeper.study_name=base")
        record = sweep(*NETS)
        plots = artifacts(record.parent_run, "plots")
        assert set(plots) == {
            "study.html",
            "optimization_history.svg",
            "param_importances.svg",
            "parallel_coordinate.svg",
            "slice.svg",
            "intermediate_values.svg",
        }
        page = plots["study.html"].read_text(encoding="utf-8")
        assert "logistic C=1" in page  # a line of the history
        assert "http" not in page.replace('xmlns="http://www.w3.org/2000/svg"', "")  # no network
        drawings = [path.read_text() for name, path in plots.items() if name.endswith(".svg")]
        assert all(drawing.rstrip() in page for drawing in drawings)

    def test_of_one_trial_are_those_that_one_trial_allows(
        self, sweep: Callable, store: Path
    ) -> None:
        record = sweep("model=popularity")
        assert set(artifacts(record.parent_run, "plots")) == {
            "study.html",
            "optimization_history.svg",
        }

    def test_of_a_pareto_front(self, sweep: Callable, store: Path) -> None:
        record = sweep(
            "model=popularity,knn",
            "hydra.sweeper.objectives=[validation/average_precision,model/num_parameters]",
        )
        assert "pareto_front.svg" in artifacts(record.parent_run, "plots")


def test_importance_finds_what_matters_in_a_small_grid() -> None:
    import itertools

    import numpy as np
    import optuna

    from recsweep.tuning.importance import importances

    noise = np.random.default_rng(0)
    study = optuna.create_study(direction="maximize")
    for loss, user_dim, item_dim in itertools.product(
        ["mse", "bce"], [10, 15, 20], [15, 20, 25, 30, 35, 40]
    ):
        choices = {
            "loss": ["mse", "bce"],
            "user_dim": [10, 15, 20],
            "item_dim": [15, 20, 25, 30, 35, 40],
        }
        study.add_trial(
            optuna.trial.create_trial(
                params={"loss": loss, "user_dim": user_dim, "item_dim": item_dim},
                distributions={
                    name: optuna.distributions.CategoricalDistribution(each)
                    for name, each in choices.items()
                },
                value=(loss == "bce") * 0.05 + noise.normal(scale=0.005),
            )
        )
    found = importances(study)
    assert next(iter(found)) == "loss"
    assert found["loss"] > 0.6
    assert importances(optuna.create_study()) == {}


class TestSecondLook:
    SECOND = ("hydra.sweeper.confirm.top=2", "hydra.sweeper.confirm.seeds=2")
    LONGER = (
        *SECOND,
        "hydra.sweeper.confirm.overrides=['trainer.max_epochs=2','trainer.keep=best']",
    )

    @pytest.fixture
    def other_wins(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The second look names another trial than the first one did."""

        def judged(confirmation: Confirmation, found: StudyRecord) -> Verdict:
            verdict = verdict_of(confirmation, found)
            first = confirmation.trials[0].number
            (place,) = [place for place in (0, 1) if verdict.trials[place].number != first]
            return replace(verdict, place=place)

        monkeypatch.setattr(conduct, "verdict_of", judged)

    def test_runs_the_best_with_fresh_seeds_and_names_a_winner(
        self, sweep: Callable, store: Path, capsys: pytest.CaptureFixture
    ) -> None:
        record = sweep(*NETS, *self.SECOND)
        told = capsys.readouterr().out
        assert "the best again, with fresh seeds" in told
        assert "winner: trial" in told
        found = runs(store)
        (confirmed,) = [tags for name, (_, tags) in found.items() if " confirmed " in name]
        assert confirmed["mlflow.parentRunId"] == record.parent_run
        below = [
            tags
            for _, tags in found.values()
            if tags.get("mlflow.parentRunId") == confirmed["run_id"]
        ]
        assert sorted(tags["seed"] for tags in below) == ["1", "1", "2", "2"]  # the study took 0
        status, tags = found["dims"]
        assert status == "FINISHED"
        assert tags["verdict"] in told.replace("\n", "")
        assert "Second look" in tags["mlflow.note.content"]
        assert "confirmed.csv" in artifacts(record.parent_run)

    @pytest.mark.usefixtures("other_wins")
    def test_every_artifact_names_its_winner_alone(
        self, sweep: Callable, store: Path, capsys: pytest.CaptureFixture
    ) -> None:
        record = sweep(*NETS, *self.SECOND)
        loser = record.best.number
        winner = 1 - loser
        told = capsys.readouterr().out
        _, tags = runs(store)["dims"]
        files, plots = artifacts(record.parent_run), artifacts(record.parent_run, "plots")
        for words in (
            told,
            tags["mlflow.note.content"],
            tags["verdict"],
            files["summary.md"].read_text(encoding="utf-8"),
            plots["study.html"].read_text(encoding="utf-8"),
        ):
            assert f"winner: trial {winner}, " in words
            assert f"winner: trial {loser}" not in words
            assert "best: trial" not in words
            assert "look is missing" not in words
        assert (tags["best_trial"], tags["winner_trial"]) == (str(winner), str(winner))
        rows = list(csv.DictReader(files["leaderboard.csv"].open(encoding="utf-8")))
        assert [row["trial"] for row in rows if row["winner"] == "yes"] == [str(winner)]
        seconds = {
            tags["run_id"]: tags
            for _, tags in runs(store).values()
            if "confirmed" in tags.get("study", "")
        }
        assert len(tags["winner_runs"].split(",")) == 2
        assert {seconds[run_id]["seed"] for run_id in tags["winner_runs"].split(",")} == {"1", "2"}
        assert tags["best_run"] == tags["winner_run"] == tags["winner_runs"].split(",")[0]
        assert Study(open_storage(storage_url(None)), "dims").notes()["winner"] == winner

    def test_cut_off_before_it_the_study_names_nobody(
        self, sweep: Callable, store: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def cut_off(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(conduct, "verdict_of", cut_off)
            with pytest.raises(SystemExit):
                sweep(*NETS, *self.SECOND)
        _, tags = runs(store)["dims"]
        record = Study(open_storage(storage_url(None)), "dims").record()
        page = artifacts(record.parent_run, "plots")["study.html"].read_text(encoding="utf-8")
        for words in (tags["mlflow.note.content"], page):
            assert "The second look is missing" in words
            assert "best: trial" not in words
        assert not {"best_trial", "winner_trial", "verdict"} & set(tags)
        with pytest.raises(StudyError, match=r"has no winner\. The second look is missing"):
            refit(RefitOptions(study="dims"), conf_dir())
        trained = len(runs(store))
        sweep(*NETS, *self.SECOND)
        _, tags = runs(store)["dims"]
        assert "winner: trial" in tags["mlflow.note.content"]
        assert len(runs(store)) == trained

    def test_that_is_asked_for_later_takes_back_what_was_named(
        self, sweep: Callable, store: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sweep(*NETS)
        assert "best_trial" in runs(store)["dims"][1]
        seen = []
        monkeypatch.setattr(conduct, "verdict_of", lambda *_: seen.append(runs(store)["dims"][1]))
        sweep(*NETS, *self.SECOND)
        assert "best_trial" not in seen[0]
        assert "Too few of the best finished" in runs(store)["dims"][1]["mlflow.note.content"]

    def test_the_same_command_says_the_same_and_runs_nothing(
        self, sweep: Callable, store: Path, capsys: pytest.CaptureFixture
    ) -> None:
        sweep(*NETS, *self.SECOND)
        first, before = capsys.readouterr().out, runs(store)
        sweep(*NETS, *self.SECOND)
        again = capsys.readouterr().out
        assert "#0" not in again
        verdict = "the best again"
        assert first.partition(verdict)[2] == again.partition(verdict)[2] != ""
        assert runs(store) == before
        sweep(*NETS)  # what has been found out stays, where no second look is asked for
        assert "winner: trial" in capsys.readouterr().out
        assert runs(store) == before

    def test_with_settings_of_its_own_which_a_refit_takes_over(
        self, sweep: Callable, store: Path, capsys: pytest.CaptureFixture
    ) -> None:
        record = sweep(*NETS, *self.LONGER)
        assert {trial.epochs for trial in record.trials} == {1}
        told = capsys.readouterr().out
        assert "over 2 fresh seeds with trainer.max_epochs=2 trainer.keep=best" in told
        (name,) = [
            name
            for name, (_, tags) in runs(store).items()
            if " confirmed " in name and "trial_number" not in tags
        ]
        second = Study(open_storage(storage_url(None)), name).record()
        assert {trial.max_epochs for trial in second.trials} == {2}
        assert {trial.epochs for trial in second.trials} == {2}
        assert ("not converged" in told) == any(trial.best_epoch == 2 for trial in second.trials)
        assert all(trial.prevalence == pytest.approx(0.15, abs=0.03) for trial in second.trials)
        (outcome,) = refit(RefitOptions(study="dims"), conf_dir())
        assert outcome.fit.epochs == 2
        assert runs(store)[outcome.name][1]["seed"] == "3"  # the second look had 1 and 2
        longer = RefitOptions(study="dims", overrides=("trainer.max_epochs=3",))
        (outcome,) = refit(longer, conf_dir())
        assert outcome.fit.epochs == 3

    def test_of_what_is_not_varied_or_impossible_ends_before_any_is_trained(
        self, refused: Callable, store: Path
    ) -> None:
        assert "that the study varies (model.user_dim)" in refused(
            "model.user_dim=2,3", *self.SECOND, "hydra.sweeper.confirm.each=loss"
        )
        for setting in ("trainer.max_epochs=0", "trainer.epochs=3", "trainer.max_epochs=2,3"):
            refused(
                "model.user_dim=2,3", *self.SECOND, f"hydra.sweeper.confirm.overrides=['{setting}']"
            )
        assert runs(store) == {}

    def test_of_several_objectives_is_refused(self, refused: Callable) -> None:
        assert "several" in refused(
            "model=popularity,knn",
            "hydra.sweeper.confirm.top=2",
            "hydra.sweeper.objectives=[average_precision,ndcg_at_10]",
        )

    def test_of_an_earlier_version_is_concluded_by_the_rule_of_this_one(
        self, sweep: Callable, store: Path
    ) -> None:
        sweep(*NETS, *self.SECOND)
        study = Study(open_storage(storage_url(None)), "dims")
        study.note("winner", 1 - study.notes()["winner"])
        study.note("verdict", "the lead lies within the noise")
        with sqlite3.connect(store / "optuna.db") as connection:  # it kept no more than these two
            connection.execute("delete from study_user_attributes where key = 'second_look'")
            ended = (
                "select trial_user_attribute_id, value_json from trial_user_attributes "
                "where key = 'ended'"
            )
            for row, value in connection.execute(ended).fetchall():
                known = {
                    name: each
                    for name, each in json.loads(value).items()
                    if name not in ("best_epoch", "max_epochs", "prevalence")
                }
                connection.execute(
                    "update trial_user_attributes set value_json = ? where "
                    "trial_user_attribute_id = ?",
                    (json.dumps(known), row),
                )
        open_storage.cache_clear()
        trained = len(runs(store))
        sweep(*NETS, *self.SECOND)
        assert len(runs(store)) == trained
        tags = runs(store)["dims"][1]
        assert tags["verdict"].startswith(f"winner: trial {tags['winner_trial']}")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("studied")


class TestRefit:
    @pytest.fixture
    def studied(self, sweep: Callable, store: Path, kept: Path) -> str:
        """A finished study, which every test finds as the first one left it."""
        databases = ("mlflow.db", "optuna.db")
        if not (kept / databases[0]).exists():
            sweep(*NETS, "loss=mse,bce")
            for name in databases:
                copy_database(store / name, kept / name)
            (kept / "artifacts").symlink_to(store / "artifacts")
            return "dims"
        for name in databases:
            copy_database(kept / name, store / name)
        (store / "artifacts").symlink_to(kept / "artifacts")  # else it would count as moved
        return "dims"

    def again(self, **options: object) -> list:
        return refit(RefitOptions(**options), conf_dir())

    def test_with_workers_is_what_it_is_with_one(self, studied: str) -> None:
        there = self.again(study=studied, seeds=3, workers=2)
        here = self.again(study=studied, seeds=3, workers=1)
        assert [outcome.test.metrics for outcome in there] == [
            outcome.test.metrics for outcome in here
        ]
        assert count_test_uses(studied, None) == 6

    def test_trains_the_winner_anew_on_test_and_counts_it(self, studied: str, store: Path) -> None:
        best = Study(open_storage(storage_url(None)), studied).record().best
        assert count_test_uses(studied, None) == 0
        (outcome,) = self.again(study=studied, overrides=("trainer.max_epochs=2",))
        assert outcome.fit.epochs == 2
        assert outcome.name == best.name
        assert {"average_precision", "f1_at_threshold"} <= set(outcome.test.metrics)
        _, tags = runs(store)[outcome.name]
        assert (tags["refit_of"], tags["study"]) == (str(best.number), studied)
        assert (
            tags["mlflow.parentRunId"]
            == Study(open_storage(storage_url(None)), studied).notes()["parent_run"]
        )
        assert count_test_uses(studied, None) == 1

    def test_a_refit_without_changes_repeats_its_trial(self, studied: str) -> None:
        best = Study(open_storage(storage_url(None)), studied).record().best
        (outcome,) = self.again(study=studied, trial=best.number)
        assert outcome.validation.metrics["average_precision"] == best.values[0]

    def test_several_trials_and_seeds(self, studied: str) -> None:
        outcomes = self.again(study=studied, top=2, seeds=2)
        assert len(outcomes) == 4
        rows = rows_of(outcomes)
        assert [name.partition(",")[2] for name, _ in rows] == [" mean of 2 seeds"] * 2
        mean = sum(outcome.test.metrics["mse"] for outcome in outcomes[:2]) / 2
        assert rows[0][1]["test/mse"] == pytest.approx(mean)
        assert all("average_precision" in line and "SD" in line for line in spreads_of(outcomes))

    def test_an_interrupted_one_counts_what_was_looked_at(
        self, studied: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looked, conclude = [], pipeline.conclude

        def interrupted(watch: object, fit: object) -> object:
            looked.append(watch)
            if len(looked) == 2:
                raise KeyboardInterrupt
            return conclude(watch, fit)

        monkeypatch.setattr(pipeline, "conclude", interrupted)
        with pytest.raises(KeyboardInterrupt):
            self.again(study=studied, seeds=3)
        assert count_test_uses(studied, None) == 1

    def test_the_best_for_each_value(self, studied: str) -> None:
        names = [outcome.name for outcome in self.again(study=studied, best_of="loss")]
        assert sorted(name.split()[2] for name in names) == ["bce", "mse"]

    def test_over_splits_goes_on_where_it_was_interrupted(
        self, studied: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looked, conclude = [], pipeline.conclude

        def interrupted(watch: object, fit: object) -> object:
            looked.append(watch)
            if len(looked) == 2:
                raise KeyboardInterrupt
            return conclude(watch, fit)

        monkeypatch.setattr(pipeline, "conclude", interrupted)
        with pytest.raises(KeyboardInterrupt):
            self.again(study=studied, seeds=2, splits=2)
        monkeypatch.setattr(pipeline, "conclude", conclude)
        assert count_test_uses(studied, None) == 1
        outcomes = self.again(study=studied, seeds=2, splits=2)
        assert count_test_uses(studied, None) == 4
        assert self.again(study=studied, seeds=2, splits=2)[0].run_id == outcomes[0].run_id
        assert count_test_uses(studied, None) == 4
        assert len({outcome.metrics["test/average_precision"] for outcome in outcomes}) == 4
        (row,) = rows_of(outcomes, "seeds and splits")
        assert row[0].endswith(", mean of 4 seeds and splits")

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"trial": 99}, "has no finished trial 99. Finished, best first: "),
            ({"best_of": "optimizer"}, "varies model.user_dim, loss"),
            (
                {"overrides": ("trainer.epochs=3",)},
                "no setting trainer.epochs. Did you mean trainer.max_epochs",
            ),
        ],
    )
    def test_what_is_not_there_is_said(self, studied: str, options: dict, says: str) -> None:
        with pytest.raises((StudyError, ConfigError), match=says.replace(".", r"\.")):
            self.again(study=studied, **options)

    def test_of_a_study_that_is_not_there(self, store: Path) -> None:
        with pytest.raises(StudyError, match="There is no study 'nope'"):
            self.again(study="nope")

    def test_two_ways_to_choose_are_one_too_many(self) -> None:
        with pytest.raises(ConfigError, match="give one of them"):
            RefitOptions(study="any", trial=1, top=2)
