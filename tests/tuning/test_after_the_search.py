"""What follows a search: plots with the lines to beat, a second look with fresh seeds, refits on the test part."""

from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from tests.conftest import copy_database
from tests.tuning.conftest import runs

from recsweep.cli import conf_dir
from recsweep.errors import ConfigError, StudyError
from recsweep.refit import RefitOptions, count_test_uses, refit, rows_of, spreads_of
from recsweep.tracking import tracking_uri
from recsweep.tuning.storage import open_storage, storage_url
from recsweep.tuning.study import Study

NETS = ("model.user_dim=2,3", "model.hidden_dim=4", "hydra.sweeper.study_name=dims")


def artifacts(run_id: str, folder: str = "") -> dict[str, Path]:
    client = MlflowClient(tracking_uri())
    return {Path(each.path).name: Path(client.download_artifacts(run_id, each.path))
            for each in client.list_artifacts(run_id, folder)}


class TestPlots:
    def test_of_a_grid_stand_in_its_run_with_the_baselines_to_beat(self, sweep: Callable, store: Path) -> None:
        sweep("model=popularity,logistic", "hydra.sweeper.study_name=base")
        record = sweep(*NETS)
        plots = artifacts(record.parent_run, "plots")
        assert set(plots) == {"study.html", "optimization_history.png", "param_importances.png",
                              "parallel_coordinate.png", "slice.png", "intermediate_values.png"}
        page = plots["study.html"].read_text(encoding="utf-8")
        assert "logistic C=1" in page  # a line of the history
        assert "Plotly.newPlot" in page
        assert 'src="http' not in page.replace("https://cdn.plot.ly/", "")  # it needs no network
        assert all(path.stat().st_size > 5000 for name, path in plots.items() if name.endswith(".png"))

    def test_of_one_trial_are_those_that_one_trial_allows(self, sweep: Callable, store: Path) -> None:
        record = sweep("model=popularity")
        assert set(artifacts(record.parent_run, "plots")) == {"study.html", "optimization_history.png"}

    def test_of_a_pareto_front(self, sweep: Callable, store: Path) -> None:
        record = sweep("model=popularity,knn",
                       "hydra.sweeper.objectives=[validation/average_precision,model/num_parameters]")
        assert "pareto_front.png" in artifacts(record.parent_run, "plots")


def test_importance_finds_what_matters_in_a_small_grid() -> None:
    import itertools

    import numpy as np
    import optuna

    from recsweep.tuning.plots import importances

    noise = np.random.default_rng(0)
    study = optuna.create_study(direction="maximize")
    for loss, user_dim, item_dim in itertools.product(["mse", "bce"], [10, 15, 20], [15, 20, 25, 30, 35, 40]):
        choices = {"loss": ["mse", "bce"], "user_dim": [10, 15, 20], "item_dim": [15, 20, 25, 30, 35, 40]}
        study.add_trial(optuna.trial.create_trial(
            params={"loss": loss, "user_dim": user_dim, "item_dim": item_dim},
            distributions={name: optuna.distributions.CategoricalDistribution(each) for name, each in choices.items()},
            value=(loss == "bce") * 0.05 + noise.normal(scale=0.005),
        ))
    found = importances(study)
    assert next(iter(found)) == "loss"
    assert found["loss"] > 0.6
    assert importances(optuna.create_study()) == {}


class TestSecondLook:
    SECOND = ("hydra.sweeper.confirm.top=2", "hydra.sweeper.confirm.seeds=2")

    def test_runs_the_best_with_fresh_seeds_and_names_a_winner(self, sweep: Callable, store: Path,
                                                               capsys: pytest.CaptureFixture) -> None:
        record = sweep(*NETS, *self.SECOND)
        told = capsys.readouterr().out
        assert "the best again, with fresh seeds" in told
        assert "winner: trial" in told
        found = runs(store)
        (confirmed,) = [tags for name, (_, tags) in found.items() if " confirmed " in name]
        assert confirmed["mlflow.parentRunId"] == record.parent_run
        below = [tags for _, tags in found.values() if tags.get("mlflow.parentRunId") == confirmed["run_id"]]
        assert sorted(tags["seed"] for tags in below) == ["1", "1", "2", "2"]  # the study itself took seed 0
        status, tags = found["dims"]
        assert status == "FINISHED"
        assert tags["verdict"] in told.replace("\n", "")
        assert "Second look" in tags["mlflow.note.content"]
        assert "confirmed.csv" in artifacts(record.parent_run)

    def test_the_same_command_says_the_same_and_runs_nothing(self, sweep: Callable, store: Path,
                                                             capsys: pytest.CaptureFixture) -> None:
        sweep(*NETS, *self.SECOND)
        first, before = capsys.readouterr().out, runs(store)
        sweep(*NETS, *self.SECOND)
        again = capsys.readouterr().out
        assert "#0" not in again
        verdict = "the best again"
        assert first.partition(verdict)[2] == again.partition(verdict)[2] != ""
        assert runs(store) == before

    def test_of_several_objectives_is_refused(self, refused: Callable) -> None:
        assert "several" in refused("model=popularity,knn", "hydra.sweeper.confirm.top=2",
                                    "hydra.sweeper.objectives=[average_precision,ndcg_at_10]")


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
        for name in databases:
            copy_database(kept / name, store / name)
        return "dims"

    def again(self, **options: object) -> list:
        return refit(RefitOptions(**options), conf_dir())

    def test_trains_the_winner_anew_on_test_and_counts_it(self, studied: str, store: Path) -> None:
        best = Study(open_storage(storage_url(None)), studied).record().best
        assert count_test_uses(studied, None) == 0
        (outcome,) = self.again(study=studied, overrides=("trainer.max_epochs=2",))
        assert outcome.fit.epochs == 2
        assert outcome.name == best.name
        assert {"average_precision", "f1_at_threshold"} <= set(outcome.test.metrics)
        _, tags = runs(store)[outcome.name]
        assert (tags["refit_of"], tags["study"]) == (str(best.number), studied)
        assert tags["mlflow.parentRunId"] == Study(open_storage(storage_url(None)), studied).notes()["parent_run"]
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

    def test_the_best_for_each_value(self, studied: str) -> None:
        names = [outcome.name for outcome in self.again(study=studied, best_of="loss")]
        assert sorted(name.split()[2] for name in names) == ["bce", "mse"]

    @pytest.mark.parametrize(("options", "says"), [
        ({"trial": 99}, "has no finished trial 99. Finished, best first: "),
        ({"best_of": "optimizer"}, "varies model.user_dim, loss"),
        ({"overrides": ("trainer.epochs=3",)}, "can't be composed: Could not override 'trainer.epochs'"),
    ])
    def test_what_is_not_there_is_said(self, studied: str, options: dict, says: str) -> None:
        with pytest.raises((StudyError, ConfigError), match=says.replace(".", r"\.")):
            self.again(study=studied, **options)

    def test_of_a_study_that_is_not_there(self, store: Path) -> None:
        with pytest.raises(StudyError, match="There is no study 'nope'"):
            self.again(study="nope")

    def test_two_ways_to_choose_are_one_too_many(self) -> None:
        with pytest.raises(ConfigError, match="give one of them"):
            RefitOptions(study="any", trial=1, top=2)
