"""The main path on tiny data: configs in, runs in MLflow out, whatever becomes of them."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hydra.utils import instantiate
from safetensors.numpy import load_file

from recsweep import evaluation, pipeline
from recsweep.data.feature_files import feature_table
from recsweep.data.synthetic import Synthetic
from recsweep.errors import ConfigError, DataError, FitError, TrackingError
from recsweep.evaluation import read_report, top_k
from recsweep.models.base import FitOptions
from recsweep.models.knn import KNN
from recsweep.run import plan as run_plan
from recsweep.run import record, watch
from recsweep.serving.service import RecommenderService
from recsweep.tracking import tracker

REPOSITORY = Path(__file__).parents[1]
OVERFITTED = ("trainer.max_epochs=4", "optimizer.lr=0.03", "evaluation.objective=mse", "seed=3")
TIMES = {"fit/seconds", "fit/watch_seconds", "memory/peak_mb"}


class Logged:
    """A run as MLflow tells it."""

    def __init__(self, cfg, run_id: str) -> None:
        self.client = tracker(instantiate(cfg.tracking)).client
        self.run = self.client.get_run(run_id)
        self.status = self.run.info.status
        self.tags, self.params, self.metrics = (
            self.run.data.tags,
            self.run.data.params,
            self.run.data.metrics,
        )
        self.artifacts = Path(self.run.info.artifact_uri.removeprefix("file://"))

    def steps(self, metric: str) -> list[tuple[int, float]]:
        return [
            (each.step, each.value)
            for each in self.client.get_metric_history(self.run.info.run_id, metric)
        ]

    def model(self):
        return self.client.get_logged_model(self.run.outputs.model_outputs[0].model_id)

    @property
    def model_folder(self) -> Path:
        return Path(self.model().artifact_location.removeprefix("file://"))


def _all_runs(cfg) -> dict[str, str]:
    """Names to statuses of every run in the store."""
    opened = tracker(instantiate(cfg.tracking))
    return {
        run.info.run_name: run.info.status
        for run in opened.client.search_runs([opened.experiment_id])
    }


@pytest.fixture(scope="module")
def finished(compose_into, database, tmp_path_factory):
    """A net after four epochs that overfits from the first one on; evaluated on test too. (cfg,
    outcome, run)"""
    folder = tmp_path_factory.mktemp("finished")
    shutil.copy(database, folder / "mlflow.db")
    cfg = compose_into(folder, *OVERFITTED, "evaluation.test=true")
    outcome = pipeline.run(cfg)
    assert outcome.fit.kept_epoch < 4, (
        "the last epoch is the best: these settings no longer overfit"
    )
    return cfg, outcome, Logged(cfg, outcome.run_id)


class _SilentRun:
    """Takes the place of an MLflow run."""

    name = "silent"

    def log(self, **_) -> None:
        pass


@pytest.fixture(scope="module")
def trained(finished):
    """The model of `finished`, trained once more without MLflow, the data, and the users without a
    positive in the training part. (model, interactions, users)"""
    cfg, _, _ = finished
    data, plan = run_plan.prepare(run_plan.plan_data(cfg)), run_plan.plan(cfg)
    plan.model.fit(
        data.split.train, FitOptions(plan.seed, pipeline.Watch(_SilentRun(), plan, data))
    )
    positives = data.split.train.positives
    return plan.model, data.interactions, np.flatnonzero(np.diff(positives.indptr) == 0).tolist()


class TestAFinishedRun:
    def test_status_and_name(self, finished):
        _, outcome, logged = finished
        assert logged.status == "FINISHED"
        assert logged.run.info.run_name == outcome.name == "recipe_net 15/25/128 mse adam"
        assert logged.run.info.end_time >= logged.run.info.start_time

    def test_flat_params(self, finished):
        _, _, logged = finished
        expected = {
            "seed": "3",
            "model.user_dim": "15",
            "model.item_dim": "25",
            "model.hidden_dim": "128",
            "model.loss._target_": "recsweep.losses.MeanSquaredError",
            "model.optimizer.lr": "0.03",
            "model.trainer.max_epochs": "4",
            "split.seed": "0",
            "data.num_users": "60",
            "data.num_items": "50",
            "evaluation.k": "[5, 10, 20]",
        }
        assert {name: logged.params.get(name) for name in expected} == expected
        assert "tracking.uri" not in logged.params

    def test_choices_are_params(self, finished):
        _, _, logged = finished
        assert {name: value for name, value in logged.params.items() if "." not in name} == {
            "data": "synthetic",
            "split": "random_cells",
            "model": "recipe_net",
            "loss": "mse",
            "optimizer": "adam",
            "examples": "all_cells",
            "trainer": "default",
            "fold_in": "row_steps",
            "seed": "3",
        }

    def test_sizes_and_digests_of_the_data_are_params(self, finished):
        cfg, _, logged = finished
        data = run_plan.prepare(run_plan.plan_data(cfg))
        expected = {
            "data.data_digest": data.interactions.digest,
            "data.split_digest": data.split.digest,
            "data.num_positives": str(len(data.interactions)),
            "data.num_train": str(len(data.split.train)),
            "data.num_validation": str(len(data.split.validation)),
            "data.num_test": str(len(data.split.test)),
        }
        assert {name: logged.params.get(name) for name in expected} == expected
        assert (
            sum(int(logged.params[f"data.num_{part}"]) for part in ("train", "validation", "test"))
            == 60 * 50
        )

    def test_tags(self, finished):
        cfg, outcome, logged = finished
        data = run_plan.prepare(run_plan.plan_data(cfg))
        expected = {
            "model_kind": "recipe_net",
            "loss": "mse",
            "seed": "3",
            "data": "synthetic",
            "data_digest": data.interactions.digest,
            "split_digest": data.split.digest,
            "collapsed": str(outcome.validation.collapsed).lower(),
            "objective": "validation/mse",
        }
        assert {name: logged.tags.get(name) for name in expected} == expected
        assert (
            f"weights of epoch {outcome.fit.kept_epoch} kept" in logged.tags["mlflow.note.content"]
        )

    def test_datasets(self, finished):
        cfg, _, logged = finished
        data = run_plan.prepare(run_plan.plan_data(cfg))
        inputs = {each.tags[0].value: each.dataset for each in logged.run.inputs.dataset_inputs}
        assert {context: dataset.digest for context, dataset in inputs.items()} == {
            "data": data.interactions.digest,
            "split": data.split.digest,
        }
        assert json.loads(inputs["split"].profile)["num_train"] == len(data.split.train)

    def test_every_epoch_has_its_step(self, finished):
        _, outcome, logged = finished
        assert logged.steps("train/loss") == [
            (epoch, pytest.approx(loss))
            for epoch, loss in enumerate(outcome.fit.train_losses, start=1)
        ]
        for name in ("f1_at_half", "average_precision", "ndcg_at_10"):
            steps = [step for step, _ in logged.steps(f"validation_epochs/{name}")]
            assert steps == [1, 2, 3, 4]

    def test_validation_metrics_are_those_of_the_kept_epoch_and_of_no_step(self, finished):
        _, outcome, logged = finished
        kept = outcome.fit.kept_epoch
        for name, value in outcome.validation.metrics.items():
            ((step, final),) = logged.steps(f"validation/{name}")
            assert (step, final) == (0, pytest.approx(value))
            assert dict(logged.steps(f"validation_epochs/{name}"))[kept] == final
        epochs = dict(logged.steps("validation_epochs/mse"))
        assert epochs[kept] < epochs[4]
        last = max(step for each in logged.metrics for step, _ in logged.steps(each))
        assert last == 4, "no step that was never trained"

    def test_metrics_of_the_fit(self, finished):
        _, outcome, logged = finished
        kept = str(outcome.fit.kept_epoch)
        expected = {"epochs": "4", "best_epoch": kept, "kept_epoch": kept}
        assert {name: logged.tags.get(name) for name in expected} == expected
        assert not any("epoch" in name.partition("/")[2] for name in logged.metrics)
        dims = 60 * 15 + 50 * 25 + (15 + 25 + 1) * 128 + 128 + 1
        assert logged.metrics["model/num_parameters"] == dims
        assert logged.metrics["memory/peak_mb"] > 50
        assert 0 < logged.metrics["fit/seconds"] < 60

    def test_the_best_reachable_score_stands_beside_the_models(self, finished):
        cfg, _, logged = finished
        from sklearn.metrics import average_precision_score

        data = run_plan.prepare(run_plan.plan_data(cfg))
        for part in ("validation", "test"):
            cells = getattr(data.split, part)
            truth = data.interactions.probabilities[cells.users, cells.items]
            reachable = average_precision_score(cells.targets, truth)
            assert logged.metrics[f"{part}/average_precision_of_truth"] == pytest.approx(
                reachable, abs=1e-6
            )

    def test_the_stored_reports_are_the_outcome(self, finished):
        _, outcome, logged = finished
        for part in ("validation", "test"):
            stored, told = (
                read_report(logged.artifacts / "evaluation", part),
                getattr(outcome, part),
            )
            assert stored.to_dict() == told.to_dict()
            np.testing.assert_array_equal(stored.users, told.users)
            for table in ("per_user", "cells"):
                columns = getattr(told, table)
                assert getattr(stored, table).keys() == columns.keys()
                for name, column in columns.items():
                    np.testing.assert_array_equal(getattr(stored, table)[name], column)

    def test_the_test_part_takes_the_threshold_of_validation(self, finished):
        _, outcome, logged = finished
        assert outcome.test.metrics["threshold"] == outcome.validation.metrics["threshold"]
        assert logged.metrics["test/ndcg_at_10"] == pytest.approx(
            outcome.test.metrics["ndcg_at_10"]
        )

    def test_the_config_is_stored_resolved(self, finished):
        from omegaconf import OmegaConf

        cfg, _, logged = finished
        text = (logged.artifacts / "config.yaml").read_text()
        assert "${" not in text
        assert OmegaConf.create(text) == OmegaConf.to_container(cfg, resolve=True)

    def test_the_environment_is_stored(self, finished):
        _, _, logged = finished
        found = json.loads((logged.artifacts / "environment.json").read_text())
        assert {"torch", "mlflow", "recsweep"} <= found["packages"].keys()
        assert {"git_commit", "git_dirty"} <= found.keys()

    def test_plots_show_something(self, finished):
        _, outcome, logged = finished
        names = {"training_curves", "validation_precision_recall", "test_precision_recall"}
        plots = {path.stem: path.read_text() for path in (logged.artifacts / "plots").iterdir()}
        assert plots.keys() == names
        for drawing in plots.values():
            root = ElementTree.fromstring(drawing)
            lines = [
                line.get("points", "").split()
                for line in root.iter("{http://www.w3.org/2000/svg}polyline")
            ]
            assert max(map(len, lines)) >= 2
        assert "AP 0." in plots["test_precision_recall"]
        assert f"kept epoch {outcome.fit.kept_epoch}" in plots["training_curves"]

    def test_the_model_folder_holds_no_pickle(self, finished):
        _, _, logged = finished
        files = sorted(path for path in logged.model_folder.rglob("*") if path.is_file())
        assert {path.name for path in files} >= {
            "MLmodel",
            "served_model.py",
            "arrays.safetensors",
            "model.json",
        }
        for path in files:
            if path.suffix == ".safetensors":
                assert load_file(path)
            else:
                assert "\0" not in path.read_text(encoding="utf-8")  # text: a pickle is none

    def test_the_model_names_what_it_needs(self, finished):
        _, outcome, logged = finished
        requirements = (logged.model_folder / "requirements.txt").read_text().split()
        packages = {line.partition("==")[0] for line in requirements if "==" in line}
        assert {"recsweep", "mlflow", "torch", "numpy"} <= packages
        assert "signature" in (logged.model_folder / "MLmodel").read_text()
        assert logged.run.outputs.model_outputs[0].step == outcome.fit.kept_epoch
        assert logged.model().status == "READY"


class TestTheLoggedModel:
    """What MLflow loads answers as the trained model does, without what the user has already
    liked."""

    def _expected(self, trained, users: list[int], k: int) -> list[dict]:
        model, interactions, _ = trained
        from scipy.sparse import csr_matrix

        seen = csr_matrix(
            (np.ones(len(interactions)), (interactions.users, interactions.items)), (60, 50)
        )
        items, scores = top_k(model.score(np.array(users)), k, seen[users])
        return [
            {
                "user_id": str(user + 1),
                "item_ids": [str(item + 1) for item in row if item >= 0],
                "scores": pytest.approx([s for s in ranked if s > -np.inf], rel=1e-5),
                "fallback": None,
                "unknown_items": [],
            }
            for user, row, ranked in zip(users, items, scores, strict=True)
        ]

    def test_it_answers_as_the_trained_model_does(self, finished, trained):
        import mlflow

        _, _, logged = finished
        loaded = mlflow.pyfunc.load_model(logged.model().artifact_location)
        _, interactions, untrained = trained
        users = [user for user in range(60) if user not in untrained]
        answers = loaded.predict([{"user_id": str(user + 1), "k": 7} for user in users])
        assert answers == self._expected(trained, users, 7)

        assert untrained, "the case below is in the data"
        for user in untrained:  # of whom the model has learnt nothing: as somebody new
            liked = interactions.items[interactions.users == user]
            history = [str(item + 1) for item in liked]
            ranked, new = loaded.predict(
                [{"user_id": str(user + 1), "k": 7}, {"history": history, "k": 7}]
            )
            assert ranked["item_ids"] == new["item_ids"]
            assert ranked["scores"] == pytest.approx(new["scores"], rel=1e-5)

    def test_it_never_offers_what_the_user_liked(self, finished, trained):
        import mlflow

        _, _, logged = finished
        _, interactions, _ = trained
        loaded = mlflow.pyfunc.load_model(logged.model().artifact_location)
        for user, answer in enumerate(
            loaded.predict([{"user_id": str(user + 1), "k": 50} for user in range(60)])
        ):
            liked = {str(item + 1) for item in interactions.items[interactions.users == user]}
            assert set(answer["item_ids"]) == {str(item + 1) for item in range(50)} - liked

    def test_ten_items_unless_told(self, finished):
        import mlflow

        _, _, logged = finished
        (answer,) = mlflow.pyfunc.load_model(logged.model().artifact_location).predict(
            [{"user_id": "1"}]
        )
        assert len(answer["item_ids"]) == len(answer["scores"]) == 10

    @pytest.mark.slow
    def test_by_its_id_in_another_process_and_folder(self, finished, trained, tmp_path):
        cfg, _, logged = finished
        code = (
            "import json, sys, mlflow\n"
            "loaded = mlflow.pyfunc.load_model(sys.argv[1])\n"
            "print(json.dumps(loaded.predict(json.loads(sys.argv[2]))))"
        )
        request = json.dumps([{"user_id": "1", "k": 5}, {"user_id": "60", "k": 5}])
        done = subprocess.run(
            [sys.executable, "-c", code, f"models:/{logged.model().model_id}", request],
            cwd=tmp_path,
            timeout=120,
            env={**os.environ, "MLFLOW_TRACKING_URI": cfg.tracking.uri},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == self._expected(trained, [0, 59], 5)


class TestSettings:
    def test_keep_last_keeps_the_last_epoch(self, compose, store):
        cfg = compose(*OVERFITTED, "trainer.keep=last")
        outcome = pipeline.run(cfg)
        logged = Logged(cfg, outcome.run_id)
        assert outcome.fit.kept_epoch == 4
        assert int(logged.tags["best_epoch"]) < 4
        history = logged.steps("validation_epochs/average_precision")
        assert {step for step, _ in history} == {1, 2, 3, 4}
        assert logged.metrics["validation/average_precision"] == pytest.approx(
            outcome.validation.metrics["average_precision"]
        )

    def test_the_test_part_is_measured_only_when_asked(self, compose, store):
        cfg = compose("model=popularity")
        outcome = pipeline.run(cfg)
        logged = Logged(cfg, outcome.run_id)
        assert outcome.test is None
        assert [name for name in logged.metrics if name.startswith("test/")] == []
        assert list(logged.artifacts.rglob("test*")) == []

    def test_the_same_settings_give_the_same_metrics(self, compose, store):
        cfg = compose("seed=5", "examples=sampled")
        first, second = pipeline.run(cfg), pipeline.run(cfg)
        assert first.run_id != second.run_id
        assert first.validation.metrics == second.validation.metrics
        assert first.fit.train_losses == second.fit.train_losses
        one, other = (Logged(cfg, run_id).metrics for run_id in (first.run_id, second.run_id))
        assert {k: v for k, v in one.items() if k not in TIMES} == {
            k: v for k, v in other.items() if k not in TIMES
        }

    def test_seed_changes_the_training_and_split_seed_the_parts(self, compose, store):
        base, seed, split = (compose(*extra) for extra in ([], ["seed=1"], ["split.seed=1"]))
        digests = {
            name: run_plan.prepare(run_plan.plan_data(cfg)).digests
            for name, cfg in (("base", base), ("seed", seed), ("split", split))
        }
        assert digests["base"] == digests["seed"]
        assert digests["base"]["data_digest"] == digests["split"]["data_digest"]
        assert digests["base"]["split_digest"] != digests["split"]["split_digest"]
        losses = [outcome.fit.train_losses for outcome in pipeline.run_many([base, seed])]
        assert losses[0] != losses[1]

    def test_a_file_says_its_sizes_where_the_settings_leave_them_open(
        self, compose, store, tmp_path
    ):
        path = tmp_path / "likes.csv"
        rows = [
            f"u{user},{item}" for user in range(20) for item in range(15) if (user * item) % 4 == 0
        ]
        path.write_text("\n".join(["user_id,item_id", *rows]) + "\n")
        cfg = compose(
            "data=csv", f"data.path={path}", "data.rating_column=null", "model=popularity"
        )
        logged = Logged(cfg, pipeline.run(cfg).run_id)
        assert (logged.params["data.num_users"], logged.params["data.num_items"]) == ("20", "15")
        assert json.loads(logged.run.inputs.dataset_inputs[0].dataset.source) == {"uri": str(path)}

    @pytest.mark.parametrize("model", ["knn", "logistic", "popularity_by_activity"])
    def test_a_baseline_is_a_run_like_the_net(self, model, compose, store):
        cfg = compose(f"model={model}")
        outcome = pipeline.run(cfg)
        logged = Logged(cfg, outcome.run_id)
        assert logged.status == "FINISHED"
        assert logged.metrics["validation/f1_at_half"] == pytest.approx(
            outcome.validation.metrics["f1_at_half"]
        )
        assert "train/loss" not in logged.metrics
        assert "loss" not in logged.tags
        assert {path.name for path in logged.artifacts.iterdir()} == {
            "config.yaml",
            "environment.json",
            "evaluation",
            "plots",
        }
        assert logged.model().status == "READY"

    @pytest.mark.parametrize("model", ["knn", "item_knn", "ease"])
    def test_what_is_calibrated_says_so(self, model, compose, store):
        cfg = compose(f"model={model}")
        logged = Logged(cfg, pipeline.run(cfg).run_id)
        assert logged.tags["calibrated"] == "validation"
        note = logged.tags["mlflow.note.content"]
        assert re.search(r"Probabilities calibrated on \d+ validation cells: sigmoid\(", note)

    def test_other_notes_of_a_fit(self, compose, store):
        cfg = compose("model=logistic")
        logged = Logged(cfg, pipeline.run(cfg).run_id)
        assert "calibrated" not in logged.tags
        assert "Converged in " in logged.tags["mlflow.note.content"]

    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ("model.user_dim=0", "model.user_dim must be a whole number of at least 1, not 0."),
            ("seed=-1", "seed must be a whole number of at least 0, not -1."),
            (
                "seed=${nowhere}",
                "The setting seed can't be used: Interpolation key 'nowhere' not found.",
            ),
            ("loss.name=???", "The setting loss.name can't be used: Missing mandatory value"),
            (
                "tracking.experiment=''",
                "tracking.experiment must be a text that is not empty, not ''.",
            ),
            ("evaluation.k=[0]", "evaluation.k must be a whole number of at least 1, not 0."),
            ("~model", "The setting model must be there."),
        ],
    )
    def test_an_impossible_setting_ends_before_any_data_is_read(
        self, override, message, compose, monkeypatch
    ):
        monkeypatch.setattr(pipeline, "prepare", lambda cfg: pytest.fail("read the data"))
        cfg = compose(override if override != "loss.name=???" else "+loss.name=???")
        with pytest.raises(ConfigError, match=re.escape(message)):
            pipeline.run(cfg)


class TestManyRuns:
    def test_they_share_one_reading_and_one_split(self, compose, store, monkeypatch):
        loads = []
        load = Synthetic.load
        monkeypatch.setattr(Synthetic, "load", lambda self: loads.append(self) or load(self))
        cfgs = [
            compose("model=knn"),
            compose("model=popularity"),
            compose("seed=1"),
            compose("loss=bce"),
        ]
        outcomes = pipeline.run_many(cfgs)
        pipeline.run(cfgs[0])
        assert len(loads) == 1
        assert [outcome.name for outcome in outcomes] == [
            "knn user 50",
            "popularity",
            "recipe_net 15/25/128 mse adam",
            "recipe_net 15/25/128 bce adam",
        ]
        assert (
            len({Logged(cfgs[0], outcome.run_id).tags["split_digest"] for outcome in outcomes}) == 1
        )

    def test_in_a_group_each_trains_as_it_does_alone(self, compose, store):
        cfgs = [compose("seed=1"), compose("loss=bce", "optimizer=sgd", "trainer.max_epochs=3")]
        together = pipeline.run_many(cfgs)
        for outcome, cfg in zip(together, cfgs, strict=True):
            alone = pipeline.run(cfg)
            assert outcome.fit.train_losses == pytest.approx(alone.fit.train_losses, rel=1e-6)
            assert outcome.validation.metrics == pytest.approx(alone.validation.metrics, rel=1e-5)

    def test_configs_on_different_data_are_refused(self, compose, store):
        with pytest.raises(ConfigError, match="must have the same data and split"):
            pipeline.run_many([compose("model=knn"), compose("model=knn", "split.seed=1")])
        assert _all_runs(compose()) == {}


class TestWhatGoesWrong:
    def test_a_loss_that_is_no_number(self, compose, store):
        cfg = compose("optimizer=sgd", "optimizer.lr=1e9")
        with pytest.raises(
            FitError, match=r"training loss became (nan|inf) in epoch 1, .* Lower optimizer.lr"
        ):
            pipeline.run(cfg)
        opened = tracker(instantiate(cfg.tracking))
        (run,) = opened.client.search_runs([opened.experiment_id])
        assert run.info.status == "FAILED"
        assert run.data.tags["reason"].startswith("FitError: The training loss became")
        assert opened.client.list_artifacts(run.info.run_id) == []

    def test_the_others_of_the_group_go_on(self, compose, store):
        cfgs = [compose("optimizer=sgd", "optimizer.lr=1e9"), compose(), compose("model=knn")]
        bad, good, knn = pipeline.run_many(cfgs)
        assert isinstance(bad.fit.error, FitError)
        assert bad.validation is None
        assert good.validation.metrics == pipeline.run(cfgs[1]).validation.metrics
        assert knn.fit.error is None
        assert [Logged(cfgs[0], each.run_id).status for each in (bad, good, knn)] == [
            "FAILED",
            "FINISHED",
            "FINISHED",
        ]

    @pytest.mark.parametrize("part", ["validation", "test"])
    def test_an_unexpected_error_is_one_runs_alone(self, part, compose, store, monkeypatch):
        evaluate = evaluation.evaluate

        def broken(model, split, which, **options):
            if isinstance(model, KNN) and which == part:
                raise ZeroDivisionError("a slip of ours")
            return evaluate(model, split, which, **options)

        monkeypatch.setattr(watch, "evaluate", broken)
        monkeypatch.setattr(record, "evaluate", broken)
        cfgs = [
            compose(f"model={model}", "evaluation.test=true") for model in ("knn", "popularity")
        ]
        knn, popularity = pipeline.run_many(cfgs)
        logged = Logged(cfgs[0], knn.run_id)
        assert (logged.status, logged.tags["reason"]) == (
            "FAILED",
            "ZeroDivisionError: a slip of ours",
        )
        assert "in broken\n" in (logged.artifacts / "traceback.txt").read_text()
        assert Logged(cfgs[1], popularity.run_id).status == "FINISHED"
        with pytest.raises(ZeroDivisionError, match="a slip of ours"):
            pipeline.run(cfgs[0])

    @pytest.fixture
    def _signals(self):
        """Lightning leaves Ctrl-C ignored after an interrupt."""
        before = signal.getsignal(signal.SIGINT)
        yield
        signal.signal(signal.SIGINT, before)

    @pytest.mark.usefixtures("_signals")
    def test_an_interrupt_kills_every_run_that_is_open(self, compose, store, monkeypatch):
        evaluate, calls = evaluation.evaluate, []

        def interrupted(*arguments, **options):
            calls.append(1)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return evaluate(*arguments, **options)

        monkeypatch.setattr(watch, "evaluate", interrupted)
        cfgs = [compose("model=knn"), compose()]
        with pytest.raises(KeyboardInterrupt):
            pipeline.run_many(cfgs)
        assert _all_runs(cfgs[0]) == {
            "knn user 50": "KILLED",
            "recipe_net 15/25/128 mse adam": "KILLED",
        }

    def test_no_run_is_left_running_where_its_first_entries_fail(self, compose, store, monkeypatch):
        def full(*_):
            raise TrackingError("the disk is full")

        monkeypatch.setattr("recsweep.tracking.mlflow_run.MlflowRun.log_datasets", full)
        with pytest.raises(TrackingError, match="the disk is full"):
            pipeline.run(compose("model=popularity"))
        assert _all_runs(compose()) == {"popularity": "FAILED"}

    def test_a_model_is_named_and_has_its_settings_and_what_it_reached_on_its_data(self, finished):
        _, outcome, logged = finished
        model = logged.model()
        assert model.name == "recipe_net 15-25-128 mse adam"
        expected = {"model": "recipe_net", "loss": "mse", "seed": "3", "model.user_dim": "15"}
        assert {name: model.params.get(name) for name in expected} == expected
        assert not any(name.endswith("_target_") for name in model.params)
        metrics = {metric.key: metric for metric in model.metrics}
        reached = metrics["test/ndcg_at_10"]
        assert reached.value == pytest.approx(outcome.test.metrics["ndcg_at_10"])
        assert (reached.dataset_name, reached.dataset_digest) == (
            "synthetic random_cells",
            logged.tags["split_digest"],
        )
        assert not any(name.startswith("validation_epochs/") for name in metrics)

    @pytest.mark.parametrize("place", ["write_artifacts", "log_model"])
    def test_a_disk_that_fills_up_is_said_in_words(self, place, compose, store, monkeypatch):
        def full(*_, **__):
            raise OSError(28, "No space left on device")

        target = (
            "recsweep.run.record.write_artifacts"
            if place == "write_artifacts"
            else ("recsweep.serving.service.RecommenderService.save")
        )
        monkeypatch.setattr(target, full)
        with pytest.raises(
            TrackingError, match=r"the disk is full: No space left on device\. Free some"
        ):
            pipeline.run(compose("model=popularity"))
        assert _all_runs(compose()) == {"popularity": "FAILED"}
        opened = tracker(instantiate(compose().tracking))
        models = opened.client.search_logged_models([opened.experiment_id])
        assert [(model.name, model.status) for model in models] == [("popularity", "FAILED")]

    def test_no_run_is_started_for_data_that_cannot_be_read(self, compose, store):
        cfg = compose("data=csv", "data.path=nowhere.csv")
        with pytest.raises(DataError, match="There is no file"):
            pipeline.run(cfg)
        assert _all_runs(cfg) == {}

    def test_a_secret_in_the_tracking_uri_appears_nowhere(
        self, compose, store, caplog, tmp_path, monkeypatch
    ):
        monkeypatch.chdir(tmp_path)  # MLflow makes a folder "file:" for such a URI
        uri = f"sqlite:///file:{store}/mlflow.db?uri=true&token=s3cret"
        cfg = compose("model=popularity", f"tracking.uri='{uri}'")
        with caplog.at_level("DEBUG", logger="recsweep"):
            outcome = pipeline.run(cfg)
        logged = Logged(cfg, outcome.run_id)
        assert "token=***" in (logged.artifacts / "config.yaml").read_text()
        written = [
            path
            for path in [
                *logged.artifacts.rglob("*"),
                *logged.model_folder.rglob("*"),
                store / "mlflow.db",
            ]
            if path.is_file()
        ]
        assert len(written) > 10
        assert [path for path in written if b"s3cret" in path.read_bytes()] == []
        assert "s3cret" not in caplog.text


class TestInterruptedProcesses:
    @pytest.mark.slow
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_a_signal_in_mid_training_kills_the_run(self, number, compose, store, tmp_path):
        command = [
            sys.executable,
            REPOSITORY / "train.py",
            "data.num_users=60",
            "data.num_items=50",
            "data.density=0.15",
            "trainer.max_epochs=1000000",
        ]
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # as without nohup
        )
        shown = []
        for line in process.stderr:
            shown.append(line)
            if "epoch 3 " in line:
                process.send_signal(number)
        process.wait(timeout=60)
        assert process.returncode not in (0, None)
        assert "interrupted: the run is marked KILLED" in "".join(shown[-3:])
        assert "Traceback" not in "".join(shown)
        opened = tracker(instantiate(compose().tracking))
        (run,) = opened.client.search_runs([opened.experiment_id])
        assert (run.info.status, run.data.tags["reason"]) == ("KILLED", "interrupted")
        assert run.data.metrics["train/loss"] > 0


class TestFeatures:
    """Data with features of users: what a model is told of them."""

    @pytest.fixture
    def cfg(self, compose, store):
        """A config whose data, read already, say how old each user is."""
        cfg = compose("model=item_knn")
        plan = run_plan.plan_data(cfg)
        data = run_plan.prepare(plan)
        ids = data.interactions.user_ids
        ages = [f"{20 + user}.5" for user in range(len(ids))]
        columns = {"user": [*map(str, ids.ids)], "age": ages}
        table = feature_table(columns, ids, source="users.csv")
        described = replace(data.interactions, user_features=table)
        run_plan._prepared[plan.settings] = replace(data, interactions=described)
        run_plan._say_unused.cache_clear()
        return cfg

    @pytest.fixture
    def told(self, monkeypatch) -> list[FitOptions]:
        """The options of each fit."""
        told, fit = [], KNN.fit

        def noted(model, train, options):
            told.append(options)
            return fit(model, train, options)

        monkeypatch.setattr(KNN, "fit", noted)
        return told

    def test_a_model_that_takes_none_says_so_once(self, cfg, told, caplog):
        pipeline.run(cfg)
        pipeline.run(cfg)
        said = [line for line in caplog.messages if "features" in line]
        assert said == ["knn takes no features: data.user_features is not used."]
        assert [each.user_features for each in told] == [None, None]

    def test_a_model_that_takes_them_has_those_of_its_training_part(
        self, cfg, told, caplog, monkeypatch
    ):
        monkeypatch.setattr(KNN, "takes_features", True, raising=False)
        outcome = pipeline.run(cfg)
        assert not [line for line in caplog.messages if "takes no features" in line]
        (options,) = told
        assert options.item_features is None
        data = run_plan.prepare(run_plan.plan_data(cfg))
        trained = np.diff(data.split.train.positives.indptr) > 0
        expected = data.interactions.user_features.of_training(trained)
        assert options.user_features.digest == expected.digest
        run = Logged(cfg, outcome.run_id)
        folder = run.model_folder / "artifacts" / "model"
        assert RecommenderService.load(folder).user_features.digest == expected.digest
        assert run.tags["data_digest"] == data.interactions.digest
        profile = json.loads(run.run.inputs.dataset_inputs[0].dataset.profile)
        assert profile["user_features"] == "age (number, 10 bins)"


class TestEachInItsProcess:
    """Runs that don't depend on each other, in workers."""

    def settled(self, outcomes):
        return [
            {name: value for name, value in outcome.metrics.items() if name not in TIMES}
            for outcome in outcomes
        ]

    def test_reaches_what_one_process_does(self, compose, store):
        cfgs = [compose("trainer.max_epochs=2", f"seed={seed}") for seed in range(3)]
        cfgs.append(compose("model=popularity", "split.seed=4"))
        told = []
        there = pipeline.run_each(cfgs, workers=2, tell=lambda *one: told.append(one))
        here = pipeline.run_each(cfgs, workers=1)
        assert self.settled(there) == self.settled(here)
        assert [outcome.name for outcome in there] == [outcome.name for outcome in here]
        assert sorted(id(cfg) for cfg, _ in told) == sorted(map(id, cfgs))
        assert all(
            Logged(cfg, outcome.run_id).status == "FINISHED"
            for cfg, outcome in zip(cfgs, there, strict=True)
        )

    def test_what_is_impossible_ends_all_in_its_words(self, compose, store):
        cfgs = [compose(), compose("data.density=2")]
        with pytest.raises(ConfigError, match="density"):
            pipeline.run_each(cfgs, workers=2)

    def test_what_diverges_is_its_own_outcome(self, compose, store):
        cfgs = [compose("model=popularity"), compose("optimizer.lr=1e30", "optimizer=sgd")]
        fine, diverged = pipeline.run_each(cfgs, workers=2)
        assert fine.fit.error is None
        assert isinstance(diverged.fit.error, FitError)

    def test_a_killed_one_leaves_the_others(self, compose, store):
        dying = compose("model=popularity", "model._target_=tests.toy_models.Dying", "seed=7")
        killed, *others = pipeline.run_each([dying, *[compose("model=popularity")] * 3], workers=2)
        assert [outcome.fit.error for outcome in others] == [None] * 3
        assert (killed.name, str(killed.fit.error)) == (
            "run 1 of 4, seed 7",
            "its process ended with status -9",
        )
