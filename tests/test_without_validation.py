"""A split without a validation part: nothing is chosen, the last epoch stays, and whoever chooses
says why it can't."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import recsweep as rs
from recsweep import cli, pipeline
from recsweep.comparison.compare import CompareOptions, compare
from recsweep.data.interactions import IdMap, Interactions
from recsweep.data.split import Given, PerUserRatio, RandomCells, Temporal
from recsweep.errors import ConfigError, RegistryError
from recsweep.evaluation import training_threshold
from recsweep.promotion import candidate
from recsweep.tracking import OBJECTIVE_TAG, TrackingOptions, finished_runs, tracker
from tests.faults.bad_inputs import SMALL, answer_here
from tests.test_pipeline import Logged

NONE = ("split.validation=0", "evaluation.test=true")


def liked(parts: np.ndarray | None = None) -> Interactions:
    users, items = np.divmod(np.arange(60), 6)
    names = IdMap(np.arange(10), "user"), IdMap(np.arange(12), "item")
    times = np.arange(60) // 20
    return Interactions("toy", users, items + users % 3, *names, timestamps=times, parts=parts)


@pytest.mark.parametrize(
    ("rule", "data"),
    [
        (RandomCells(validation=0, test=0.2, seed=0, max_cells=1000), liked()),
        (PerUserRatio(validation=0, test=0.2, seed=0), liked()),
        (Temporal(validation=0, test=0.3), liked()),
        (Given(validation=0, seed=0), liked(np.where(np.arange(60) % 6, 0, 2))),
    ],
    ids=lambda value: getattr(value, "name", type(value).__name__),
)
def test_all_that_is_no_test_trains(rule, data):
    split = rule.split(data)
    assert not split.has_validation
    assert split.validation.num_positives == 0
    assert split.train.num_positives + split.test.num_positives == 60
    assert split.test.num_positives > 0


def test_a_validation_part_that_is_given_stays():
    parts = np.array([0, 0, 0, 1, 1, 2] * 10)
    assert Given(validation=0, seed=0).split(liked(parts)).validation.num_positives == 20


@pytest.fixture(scope="module")
def runs(compose_into, database, tmp_path_factory):
    """A net with patience and a baseline without validation in one store. (folder, outcomes)"""
    folder = tmp_path_factory.mktemp("unvalidated")
    (folder / "mlflow.db").write_bytes(database.read_bytes())
    net = ("trainer.max_epochs=3", "trainer.patience=1", "optimizer.lr=0.03")
    cfgs = [compose_into(folder, *NONE, *more) for more in (net, ("model=ease",))]
    return folder, [(cfg, pipeline.run(cfg)) for cfg in cfgs]


def test_a_run_is_measured_on_test_alone(runs):
    _, ((cfg, outcome), _) = runs
    logged = Logged(cfg, outcome.run_id)
    assert (outcome.validation, outcome.fit.kept_epoch, outcome.fit.stopped) == (None, 3, None)
    assert not any(name.startswith("validation/") for name in logged.metrics)
    assert logged.metrics["test/ndcg_at_10"] == outcome.test.metrics["ndcg_at_10"]
    assert logged.tags["best_epoch"] == logged.tags["kept_epoch"] == "3"
    assert [step for step, _ in logged.steps("train/loss")] == [1, 2, 3]
    assert OBJECTIVE_TAG not in logged.tags
    note = logged.tags["mlflow.note.content"]
    assert "no validation part" in note
    assert "chosen on the training cells" in note
    assert {path.name for path in (logged.artifacts / "evaluation").iterdir()} >= {"test.json"}
    assert (logged.artifacts / "plots" / "training_curves.svg").exists()
    assert outcome.test.metrics["threshold"] == pytest.approx(logged.metrics["test/threshold"])


def test_a_run_that_is_not_tested_is_a_run(compose, store):
    cfg = compose("split.validation=0", "model=ease")
    outcome = pipeline.run(cfg)
    assert (outcome.validation, outcome.test) == (None, None)
    assert Logged(cfg, outcome.run_id).status == "FINISHED"


def test_runs_are_shown_and_compared_by_test(runs, monkeypatch, capsys):
    folder, _ = runs
    monkeypatch.setenv("RECSWEEP_HOME", str(folder))
    monkeypatch.setattr(sys, "argv", ["recsweep", "runs", "--format", "json"])
    cli.main()
    (group,) = json.loads(capsys.readouterr().out)
    assert group["part"] == "test"
    assert all(row["average_precision"] > 0 for row in group["rows"])
    compared, _ = compare(CompareOptions(tracking=options(folder)))
    assert compared.part == "test"
    (section,) = compared.sections
    assert section.contrast.versus[section.contrast.measure].chosen_on == "test"


def options(folder: Path) -> TrackingOptions:
    return TrackingOptions(uri=f"sqlite:///{folder}/mlflow.db", experiment="recsweep")


def test_none_is_promoted(runs):
    folder, ((_, outcome), _) = runs
    store = tracker(options(folder))
    with pytest.raises(RegistryError, match=r"has no validation part.*split\.validation=0\.1"):
        candidate.choose(store, options(folder), runs=[outcome.run_id])
    assert all(record.has_no_validation for record in finished_runs(options(folder)))


@pytest.mark.parametrize(
    "settings", [("split.validation=0", "model=knn,ease"), ("split.validation=0,0.1", "model=ease")]
)
def test_a_study_refuses_it_before_its_first_trial(settings, store):
    answer = answer_here(["train", "-m", *SMALL, *settings], cli.main)
    assert answer.status != 0
    assert "split.validation=0 can't be part of a study" in answer.errors
    assert not finished_runs_of(store)


def finished_runs_of(folder: Path) -> list:
    opened = tracker(options(folder))
    return opened.client.search_runs([opened.experiment_id])


class TestNotebook:
    def test_fits_and_evaluates_on_test(self):
        data = rs.read_interactions("synthetic", num_users=60, num_items=50)
        split = data.split("random_cells", validation=0)
        model = rs.model("ease", l2=100).fit(split)
        report = rs.evaluate(model, split, "test")
        assert report.metrics["threshold"] == training_threshold(model.recommender, split)
        with pytest.raises(ConfigError, match="no validation part"):
            rs.evaluate(model, split)

    def test_patience_waits_for_nothing_where_nothing_is_chosen(self):
        data = rs.read_interactions("synthetic", num_users=60, num_items=50)
        split = data.split("per_user_ratio", validation=0)
        trainer = {"max_epochs": 3, "patience": 1}
        model = rs.model("recipe_net", trainer=trainer, examples="sampled").fit(split)
        assert (model.fitted.epochs, model.fitted.kept_epoch) == (3, 3)
        alone = rs.model("recipe_net", trainer=trainer, examples="sampled").fit(split.train)
        assert (alone.fitted.epochs, alone.fitted.kept_epoch) == (3, 3)
