"""Epochs on a sample of the users of validation: the same whoever asks, and never taken for all."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from recsweep import pipeline
from recsweep.comparison.compare import CompareOptions, compare
from recsweep.comparison.plots import Plot
from recsweep.comparison.resampling import Measured, Resampling
from recsweep.config import composed, conf_dir
from recsweep.data.interactions import Part, Split
from recsweep.errors import ConfigError, DataError
from recsweep.evaluation import ALL_USERS, evaluate, read_report, sampling_rule
from recsweep.models.saved import load_model
from recsweep.promotion.reruns import Reruns
from recsweep.run import plan as run_plan
from recsweep.tracking import SAMPLE_TAG, tracker
from tests.conftest import TINY_DATA
from tests.stored_runs import OPTIONS, made_report, store_run
from tests.test_evaluation import TableModel, protocol, random_split
from tests.test_pipeline import Logged

LISTS = ("split=per_user_ratio", "examples=sampled")
SAMPLED = (*LISTS, "evaluation.validation_users=20")

PROCESS = """
from recsweep.config import composed, build
from recsweep.run import plan
cfg = composed({overrides!r})
split = plan.prepare(plan.plan_data(cfg)).split
print(plan.plan(cfg).evaluation.sample_of(split).users.tolist())
"""


class TestWhoIsInIt:
    def test_nobody_is_left_out_where_there_are_few(self):
        split = random_split(0)
        number = len(np.unique(split.validation.users))
        for asked in (None, number, number + 1):
            assert protocol(validation_users=asked).sample_of(split) is None
        sample = protocol(validation_users=number - 1).sample_of(split)
        assert (len(sample.users), sample.number_of_all) == (number - 1, number)

    def test_it_is_drawn_from_the_users_of_validation_each_once(self):
        part = replace(random_split(0).validation, users=random_split(0).validation.users // 2 * 2)
        split = replace(random_split(0), validation=part)
        sample = protocol(validation_users=10).sample_of(split)
        assert len(set(sample.users.tolist())) == 10
        assert set(sample.users.tolist()) <= set(part.users.tolist())
        assert (np.diff(sample.users) > 0).all()

    def test_the_split_and_the_seed_decide(self):
        def users(split: Split, **changes) -> list[int]:
            return protocol(validation_users=20, **changes).sample_of(split).users.tolist()

        split = random_split(0)
        assert users(split) == users(random_split(0), k=[7], batch_users=3)
        assert users(split) != users(split, validation_seed=1)
        # parts of other cells, though of the same users
        other = replace(split, test=replace(split.test, targets=1 - split.test.targets))
        assert users(split) != users(other)

    def test_it_is_the_same_in_every_process_and_for_every_seed_of_training(self, tmp_path):
        overrides = [*TINY_DATA, *SAMPLED]
        printed = {
            subprocess.run(
                [sys.executable, "-c", PROCESS.format(overrides=[*overrides, f"seed={seed}"])],
                capture_output=True,
                text=True,
                check=True,
                timeout=120,
                cwd=tmp_path,
            ).stdout.strip()
            for seed in (0, 7)
        }
        cfg = composed(overrides)
        split = run_plan.prepare(run_plan.plan_data(cfg)).split
        assert printed == {str(run_plan.plan(cfg).evaluation.sample_of(split).users.tolist())}

    @pytest.mark.parametrize(
        ("setting", "said"),
        [
            ("validation_users=0", "evaluation.validation_users must be"),
            ("validation_users=many", "evaluation.validation_users must be"),
            ("validation_seed=-1", "evaluation.validation_seed must be"),
        ],
    )
    def test_what_is_impossible_is_refused(self, setting, said, compose):
        with pytest.raises(ConfigError, match=said):
            run_plan.plan(compose(f"evaluation.{setting}"))


class TestAReportOnIt:
    @pytest.mark.parametrize("candidates", ["part", "unseen", "not_liked", "sampled"])
    def test_is_that_of_the_same_users_among_all(self, candidates):
        split = random_split(3)
        model = TableModel(np.random.default_rng(1).random((60, 50)))
        rules = protocol(candidates=candidates, num_candidates=5, validation_users=20)
        sample = rules.sample_of(split)
        whole = evaluate(model, split, protocol=rules)
        report = evaluate(model, split, protocol=rules, sample=sample)
        theirs = np.isin(whole.users, sample.users)
        assert report.users.tolist() == whole.users[theirs].tolist()
        for name in ("ndcg_at_3", "recall_at_2", "average_precision_per_user"):
            values = whole.per_user[name][theirs]
            if "_at_" in name:  # the lists are chosen from the same items
                np.testing.assert_array_equal(report.per_user[name], values)
            assert report.metrics[name] == pytest.approx(np.nanmean(values), rel=1e-6)
        chosen = np.isin(split.validation.users, sample.users)
        assert report.counts["cells"] == chosen.sum()
        np.testing.assert_array_equal(report.cells["items"], split.validation.items[chosen])
        assert report.metrics["prevalence"] == split.validation.targets[chosen].mean()

    def test_says_so(self):
        split, rules = random_split(3), protocol(validation_users=20, validation_seed=4)
        model = TableModel(np.zeros((60, 50)))
        sample = rules.sample_of(split)
        whole = evaluate(model, split, protocol=rules)
        report = evaluate(model, split, protocol=rules, sample=sample)
        assert sample.tag == f"20 of {sample.number_of_all}, seed 4"
        assert whole.protocol["users"] == ALL_USERS
        assert report.protocol["users"] == f"{ALL_USERS}, of a sample of its users: {sample.tag}"
        assert report.protocol["digest"] != whole.protocol["digest"]
        for of_sample, prefix in ((True, "validation_sample"), (False, "validation_epochs")):
            logged = set(report.of_epoch(of_sample=of_sample))
            assert logged == {f"{prefix}/{name}" for name in report.metrics}

    def test_it_does_not_compare_with_one_of_all_users(self):
        split, rules = random_split(3), protocol(validation_users=20)
        model = TableModel(np.random.default_rng(1).random((60, 50)))
        on_all = evaluate(model, split, protocol=rules)
        sampled = evaluate(model, split, protocol=rules, sample=rules.sample_of(split))
        one, other = (
            Measured(name, {(split.digest, 0): report}, False)
            for name, report in (("one", on_all), ("other", sampled))
        )
        Resampling([one, one], replicates=5)
        with pytest.raises(DataError, match="Only reports on the same users compare"):
            Resampling([one, other], replicates=5)

    def test_new_items_are_those_of_the_whole_part(self):
        """Lists of a few users are not chosen from fewer items."""
        shape = (6, 8)
        cells = {(user, 5 + user % 3) for user in range(6)}
        users, items = np.array(sorted(cells), dtype=np.int32).T
        part = Part(users, items, np.ones(6), *shape, False)
        nothing = Part(users[:0], items[:0], np.ones(0), *shape, False)
        split = Split(part, part, nothing, "new_items", 0, item_histories=nothing)
        model = TableModel(np.tile(np.arange(8.0), (6, 1)))
        rules = protocol(k=[3], validation_users=2)
        sample = rules.sample_of(split)
        report = evaluate(model, split, protocol=rules, sample=sample)
        whole = evaluate(model, split, protocol=rules)
        theirs = np.isin(whole.users, sample.users)
        np.testing.assert_array_equal(
            report.per_user["mrr_at_3"], whole.per_user["mrr_at_3"][theirs]
        )


class TestARun:
    @pytest.fixture(scope="class")
    @classmethod
    def run(cls, compose_into, database, tmp_path_factory):
        folder = tmp_path_factory.mktemp("sampled")
        shutil.copy(database, folder / "mlflow.db")
        settings = ("trainer.max_epochs=3", "optimizer.lr=0.03", "evaluation.test=true")
        cfg = compose_into(folder, *SAMPLED, *settings)
        outcome = pipeline.run(cfg)
        return cfg, outcome, Logged(cfg, outcome.run_id)

    def test_epochs_are_of_the_sample_and_the_end_is_of_all(self, run):
        _, outcome, logged = run
        kept = outcome.fit.kept_epoch
        epochs = logged.steps("validation_sample/ndcg_at_10")
        assert [step for step, _ in epochs] == [1, 2, 3]
        assert kept == 1 + int(np.argmax([value for _, value in epochs]))
        ((step, value),) = logged.steps("validation/ndcg_at_10")
        assert (step, value) == (0, outcome.validation.metrics["ndcg_at_10"])
        assert logged.metrics["validation_sample/ndcg_at_10"] != value

    def test_what_is_kept_is_measured_on_all_users(self, run):
        cfg, outcome, logged = run
        data, plan = run_plan.prepare(run_plan.plan_data(cfg)), run_plan.plan(cfg)
        opened = tracker(instantiate(cfg.tracking))
        with opened.saved_model(opened.record(outcome.run_id).model_id) as folder:
            model = load_model(folder)
        expected = evaluate(model, data.split, protocol=plan.evaluation)
        stored = read_report(logged.artifacts / "evaluation", "validation")
        assert stored.metrics == pytest.approx(expected.metrics)
        assert stored.users.tolist() == expected.users.tolist()
        assert stored.protocol["users"] == ALL_USERS
        assert len(outcome.test.users) > 20

    def test_it_says_how_many_of_how_many(self, run):
        cfg, _, logged = run
        data = run_plan.prepare(run_plan.plan_data(cfg))
        number = len(np.unique(data.split.validation.users))
        assert logged.tags[SAMPLE_TAG] == f"20 of {number}, seed 0"
        assert logged.params["evaluation.validation_users"] == "20"
        assert f"on a sample of 20 of {number} users" in logged.tags["mlflow.note.content"]

    def test_another_seed_has_the_same_one(self, compose, store, monkeypatch):
        asked = []
        evaluated = pipeline.Watch.validated

        def noting(watch, sample=None):
            asked.append(None if sample is None else sample.users.tolist())
            return evaluated(watch, sample)

        monkeypatch.setattr(pipeline.Watch, "validated", noting)
        for seed in (0, 1):
            pipeline.run(compose(*SAMPLED, f"seed={seed}"))
        assert asked[:3] == asked[3:]
        assert asked[0] == asked[1] != asked[2] is None

    def test_few_users_and_a_model_without_epochs_are_as_before(self, compose, store):
        few = pipeline.run(compose(*LISTS))
        logged = Logged(compose(), few.run_id)
        assert SAMPLE_TAG not in logged.tags
        assert not any(name.startswith("validation_sample/") for name in logged.metrics)
        assert [step for step, _ in logged.steps("validation_epochs/ndcg_at_10")][:2] == [1, 2]
        all_users = pipeline.run(compose(*LISTS, "evaluation.validation_users=null"))
        assert few.validation.metrics == all_users.validation.metrics

        at_once = pipeline.run(compose(*SAMPLED, "model=ease"))
        logged = Logged(compose(), at_once.run_id)
        assert SAMPLE_TAG not in logged.tags
        assert at_once.validation.protocol["users"] == ALL_USERS


class TestReruns:
    def test_a_run_from_before_is_trained_again_with_all_users(self, compose, store):
        outcome = pipeline.run(compose("model=popularity"))
        opened = tracker(instantiate(compose().tracking))
        record = opened.record(outcome.run_id)
        reruns = Reruns(opened, "promotion", conf_dir(), "validation")
        assert reruns.config(record).evaluation.validation_users == 5000
        path = Path(record.artifacts.removeprefix("file://")) / "config.yaml"
        cfg = OmegaConf.load(path)
        del cfg.evaluation.validation_users, cfg.evaluation.validation_seed
        path.write_text(OmegaConf.to_yaml(cfg))
        assert reruns.config(record).evaluation.validation_users is None


def lines_of(plot: Plot) -> int:
    """Number of the runs that are drawn, each as a thin line in a panel."""
    return plot.svg.count('stroke-opacity="0.5"')


class TestCurvesOfAComparison:
    @pytest.fixture
    def plots(self, store):
        """plots(*tags): those of a comparison of nets whose epochs were evaluated so, by title."""

        def plots(*tags: str | None) -> dict[str, Plot]:
            opened = tracker(OPTIONS)
            for place, tag in enumerate(tags):
                store_run(
                    opened,
                    f"net_{place}",
                    made_report(1.0 + place),
                    loss=("mse", "bce")[place],
                    tags={} if tag is None else {SAMPLE_TAG: tag},
                )
            compared, _ = compare(CompareOptions(tracking=OPTIONS, part="validation"))
            (section,) = compared.sections
            return {plot.title: plot for plot in section.plots}

        return plots

    def test_epochs_on_the_same_users_are_drawn(self, plots):
        drawn = plots("20 of 60, seed 0", "20 of 60, seed 0")
        assert lines_of(drawn["Training"]) == 4
        assert "a sample of the users of validation (20, seed 0)" in drawn["Training"].caption
        assert "(20, seed 0)" in drawn["Predicted positive at 0.5"].caption

    @pytest.mark.parametrize("other", [None, "20 of 60, seed 1", "30 of 60, seed 0"])
    def test_epochs_on_others_are_not_drawn_beside_them(self, other, plots):
        drawn = plots("20 of 60, seed 0", other)
        assert lines_of(drawn["Training"]) == 2, "of the losses alone"
        assert "Curves of validation are left out" in drawn["Training"].caption
        assert "Predicted positive at 0.5" not in drawn

    def test_another_split_may_have_another_number_of_users(self):
        assert sampling_rule("20 of 60, seed 0") == sampling_rule("20 of 58, seed 0")
