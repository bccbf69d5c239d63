"""What a candidate is compared with: evaluated, tuned and trained where the store lacks it."""

import time
from pathlib import Path

import pytest

from recsweep import pipeline
from recsweep.config import conf_dir, effective_config
from recsweep.errors import ConfigError, DataError, FitError
from recsweep.evaluation import read_report
from recsweep.promotion import contest, latency
from recsweep.promotion.latency import time_in_turns
from recsweep.promotion.registry import Registry
from recsweep.run import plan as run_plan
from recsweep.serving.service import RecommenderService
from recsweep.tracking import RunRecord, finished_runs
from tests.promotion.conftest import (
    DATA,
    GOOD,
    OPTIONS,
    WEAK,
    audits_of,
    champion_of,
    outcomes_of,
    run_named,
)


class TestTheTestPart:
    def test_is_evaluated_now_as_training_would_have_done(self, on_data, promoting, opened):
        before = len(finished_runs(OPTIONS))
        promoting(GOOD)
        record = run_named(GOOD)
        assert len(finished_runs(OPTIONS)) == before  # nothing was trained
        outcome = pipeline.run(on_data("model=logistic", "evaluation.test=true"))
        expected = {
            name: value for name, value in outcome.metrics.items() if name.startswith("test/")
        }
        assert {name: record.metrics[name] for name in expected} == pytest.approx(expected)
        with opened.artifact(record, "evaluation") as folder:
            report = read_report(folder, "test")
        assert report.metrics["threshold"] == record.metrics["validation/threshold"]
        assert opened.client.get_run(record.id).info.status == "FINISHED"

    def test_data_that_are_gone(self, compose, promoting, opened, tmp_path):
        path = self._likes(tmp_path, 4)
        pipeline.run(
            compose("data=csv", f"data.path={path}", "data.rating_column=null", "model=popularity")
        )
        (record,) = finished_runs(OPTIONS, last=1)
        path.unlink()
        run_plan._prepared.clear()
        with pytest.raises(
            DataError, match=rf"The data of the run {record.id} .* can't be read again: There is no"
        ):
            promoting(record.id)
        assert outcomes_of(opened) == []

    def test_data_that_are_others_now(self, compose, promoting, opened, tmp_path):
        path = self._likes(tmp_path, 4)
        pipeline.run(
            compose("data=csv", f"data.path={path}", "data.rating_column=null", "model=popularity")
        )
        (record,) = finished_runs(OPTIONS, last=1)
        self._likes(tmp_path, 3)
        run_plan._prepared.clear()
        with pytest.raises(
            DataError, match=r"are others now: their data_digest was \w+ and is \w+\. Bring the old"
        ):
            promoting(record.id)

    @staticmethod
    def _likes(folder: Path, every: int) -> Path:
        path = folder / "likes.csv"
        rows = [
            f"u{user},{item}"
            for user in range(20)
            for item in range(15)
            if (user * item) % every == 0
        ]
        path.write_text("\n".join(["user_id,item_id", *rows]) + "\n")
        return path


class TestBaselines:
    def test_those_that_are_missing_are_trained(self, compose, promoting, opened, caplog):
        pipeline.run(compose(*DATA, "data.seed=1", "model=logistic"))
        (record,) = finished_runs(OPTIONS, last=1)
        with caplog.at_level("INFO", logger="recsweep"):
            decision = promoting(record.id)
        assert {line.other_name for line in decision.lines} == {
            "popularity",
            "knn user 50",
            "knn item 50",
        }
        assert "baselines that are not in the store yet are trained on synthetic" in caplog.text
        made = [each for each in finished_runs(OPTIONS) if each.tags.get("promotion_refit")]
        assert {each.measured_on for each in made} == {record.measured_on}
        again = len(finished_runs(OPTIONS))
        promoting(record.id, name="another")
        assert len(finished_runs(OPTIONS)) == again

    def test_the_best_of_a_family_on_validation_stands_for_it(self, on_data, promoting, opened):
        pipeline.run(on_data("model=knn", "model.num_neighbors=100"))
        decision = promoting(GOOD)
        runs = {
            each.name: each.metrics["validation/average_precision"]
            for each in finished_runs(OPTIONS)
            if each.name.startswith("knn user")
        }
        (shown,) = {
            line.other_name for line in decision.lines if line.other_name.startswith("knn user")
        }
        assert shown == max(runs, key=runs.get)

    def test_the_best_of_its_own_family_has_none_of_it_to_beat(self, promoting, opened):
        for candidate, siblings in (("knn user 50", set()), (WEAK, {"knn user 50"})):
            lines = promoting(candidate).lines
            assert {
                line.other_name for line in lines if line.other_name.startswith("knn user")
            } == siblings

    def test_the_candidate_run_twice_does_not_stand_in_its_own_way(
        self, on_data, promoting, opened
    ):
        pipeline.run(on_data("model=logistic"))
        assert promoting(GOOD).outcome == "promoted"

    def test_one_that_can_not_be_trained(self, compose, promoting, opened, monkeypatch):
        pipeline.run(compose(*DATA, "data.seed=1", "model=logistic"))
        (record,) = finished_runs(OPTIONS, last=1)
        monkeypatch.setattr("recsweep.models.knn.KNN.fit", lambda *_: 1 / 0)
        with pytest.raises(
            FitError, match=r"knn user 50 can't be trained on the data of logistic C=1"
        ):
            promoting(record.id)
        assert champion_of(opened) is None

    def test_a_family_that_the_store_has_not_tuned_is_tuned_on_validation(
        self, promoting, opened, monkeypatch
    ):
        monkeypatch.setattr(
            contest,
            "GRIDS",
            {
                "knn": [{"num_neighbors": number} for number in (1, 5, 50)],
                "ease": [{"l2": 10.0}, {"l2": 100.0}],
            },
        )
        before = {each.id for each in finished_runs(OPTIONS)}
        decision = promoting(GOOD)
        made = {each.name: each for each in finished_runs(OPTIONS) if each.id not in before}
        assert sorted(made) == [
            "ease 10",
            "ease 100",
            "knn user 5",
        ]  # 1 and 50 neighbours are there
        runs = {
            each.name: each.metrics["validation/average_precision"]
            for each in finished_runs(OPTIONS)
        }
        for family in ("knn user", "ease"):
            best = max((name for name in runs if name.startswith(family)), key=runs.get)
            assert best in {line.other_name for line in decision.lines}

    def test_the_grids_are_of_options_and_their_settings(self):
        from omegaconf import OmegaConf

        from recsweep.promotion import grids

        for option, grid in grids.GRIDS.items():
            node = OmegaConf.load(conf_dir() / "model" / f"{option}.yaml")
            assert grid
            assert {name for settings in grid for name in settings} <= set(node)


class TestSeedsAndSplits:
    def test_what_lacks_is_trained_on_each_split(self, promoting, opened):
        before = {each.id for each in finished_runs(OPTIONS)}
        decision = promoting(GOOD, splits=2)
        made = [each for each in finished_runs(OPTIONS) if each.id not in before]
        assert sorted((each.name, each.split_seed) for each in made) == [
            ("knn item 50", 1),
            ("knn user 50", 1),
            (GOOD, 1),
            ("popularity", 1),
        ]
        assert all(each.tags["promotion_refit"] == "true" for each in made)
        values = {
            each.split_seed: each.metrics["test/f1_at_threshold"]
            for each in finished_runs(OPTIONS)
            if each.name == GOOD
        }
        assert decision.judgement.value.value == pytest.approx((values[0] + values[1]) / 2)
        assert "2 splits (seeds 0, 1)" in decision.levels
        assert "No model draws anything but its data" in decision.levels
        assert decision.over.startswith("Over 150 users, 2 splits. No model")
        assert decision.over in audits_of(opened)[0].tags["mlflow.note.content"]
        promoting(GOOD, splits=2, name="again")
        assert len(finished_runs(OPTIONS)) == len(before) + 4  # all of it is used again

    def test_a_net_is_run_with_more_seeds(self, on_data, promoting, opened):
        pipeline.run(on_data("loss=bce", "seed=7"))
        (record,) = finished_runs(OPTIONS, last=1)
        decision = promoting(record.id, seeds=3, splits=2, workers=2, force=True, reason="seeds")
        made = {
            (each.split_seed, each.tags["seed"])
            for each in finished_runs(OPTIONS)
            if "loss" in each.tags
        }
        assert made == {(split, seed) for split in (0, 1) for seed in ("7", "8", "9")}
        assert "At least 3 seeds" in decision.levels
        assert champion_of(opened).run_id == record.id

    def test_a_baseline_that_draws_negatives_is_run_with_more_seeds_too(
        self, compose, promoting, opened
    ):
        pipeline.run(compose(*DATA, "data.seed=1", "model=logistic", "examples=sampled"))
        pipeline.run(compose(*DATA, "data.seed=1", "model=popularity"))
        (record,) = finished_runs(OPTIONS, last=1)
        decision = promoting(record.id, seeds=2)
        made = [each for each in finished_runs(OPTIONS) if each.measured_on == record.measured_on]
        assert {each.tags["seed"] for each in made if each.name == GOOD} == {"0", "1"}
        assert {each.is_random for each in made if each.name == GOOD} == {True}
        (line,) = (
            line
            for line in decision.lines
            if (line.other_name, line.measure) == (GOOD, "f1_at_threshold")
        )
        assert line.difference.no_verdict is None

    def test_one_seed_is_allowed_and_said(self, on_data, promoting, opened):
        pipeline.run(on_data("loss=bce"))
        (record,) = finished_runs(OPTIONS, last=1)
        decision = promoting(record.id)
        assert "One seed, by --seeds 1: the noise between seeds is not covered" in decision.levels
        assert "one split (seed 0), by --splits 1: another one is not covered" in decision.levels

    def test_a_split_that_draws_nothing_counts_once(self, compose, promoting, opened, tmp_path):
        path = tmp_path / "likes.csv"
        rows = [
            f"u{user},{item},{(user * 7 + item * 3) % 50}"
            for user in range(30)
            for item in range(12)
            if (user * item) % 3 == 0
        ]
        path.write_text("\n".join(["user_id,item_id,time", *rows]) + "\n")
        pipeline.run(
            compose(
                "data=csv",
                f"data.path={path}",
                "data.rating_column=null",
                "data.timestamp_column=time",
                "split=temporal",
                "model=popularity",
            )
        )
        (record,) = finished_runs(OPTIONS, last=1)
        assert "one split, whose rule draws nothing" in promoting(record.id, splits=3).levels

    def test_an_interrupted_promotion_goes_on(self, promoting, opened, monkeypatch):
        before, train = len(finished_runs(OPTIONS)), pipeline.run_many
        trained = []

        def interrupted(cfgs, **options):
            if len(trained) == 2:
                raise KeyboardInterrupt
            trained.append(cfgs)
            return train(cfgs, **options)

        monkeypatch.setattr(pipeline, "run_many", interrupted)
        with pytest.raises(KeyboardInterrupt):
            promoting(GOOD, splits=2)
        assert len(finished_runs(OPTIONS)) == before + 2
        monkeypatch.setattr(pipeline, "run_many", train)
        promoting(GOOD, splits=2)
        assert len(finished_runs(OPTIONS)) == before + 4

    def test_long_training_is_agreed_to(self, promoting, opened, monkeypatch):
        monkeypatch.setattr(contest, "ASK_SECONDS", 0.5)
        before = len(finished_runs(OPTIONS))
        with pytest.raises(
            ConfigError,
            match=r"has to train for about .* candidate logistic C=1: 2 runs, of which 1 "
            r"are there; baseline popularity: 2 runs, of which 1 .* Add --yes to go",
        ):
            promoting(GOOD, splits=2)
        assert len(finished_runs(OPTIONS)) == before
        promoting(GOOD, splits=2, confirmed=True)
        assert len(finished_runs(OPTIONS)) == before + 4

    @pytest.mark.parametrize("option", ["seeds", "splits"])
    def test_none_is_impossible(self, option, promoting):
        with pytest.raises(ConfigError, match=f"--{option} must be a whole number"):
            promoting(GOOD, **{option: 0})


class TestTheProtocolOfBefore:
    @pytest.fixture
    def old(self, on_data, opened, monkeypatch) -> RunRecord:
        """A run from before there was a choice of candidates."""
        settings = effective_config

        def without_candidates(cfg) -> dict:
            found = settings(cfg)
            return {
                **found,
                "evaluation": {
                    name: value
                    for name, value in found["evaluation"].items()
                    if name != "candidates"
                },
            }

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run_plan, "effective_config", without_candidates)
            made = pipeline.run(
                on_data(
                    "model=logistic",
                    "model.C=0.5",
                    "evaluation.candidates=not_liked",
                    "evaluation.test=true",
                )
            )
        opened.client.delete_tag(made.run_id, "candidates")
        with opened.artifact(opened.record(made.run_id), "config.yaml") as path:
            path.write_text(path.read_text().replace("  candidates: not_liked\n", ""))
        return opened.record(made.run_id)

    def test_a_candidate_is_evaluated_again_from_its_model(self, old, on_data, promoting, opened):
        assert old.candidates == "not_liked"
        promoting(old.id, force=True, reason="to begin with")
        now, new = (
            opened.record(old.id),
            pipeline.run(on_data("model=logistic", "model.C=0.5", "evaluation.test=true")),
        )
        assert now.candidates == "part"
        for part in ("validation", "test"):
            name = f"{part}/ndcg_at_10"
            assert now.metrics[name] == pytest.approx(new.metrics[name])
            assert now.metrics[name] != pytest.approx(old.metrics[name])

    def test_runs_that_were_to_be_measured_otherwise_stand_apart(self, on_data, promoting, opened):
        pipeline.run(on_data("model=knn", "model.num_neighbors=40", "evaluation.candidates=unseen"))
        assert not any("40" in line.other_name for line in promoting(GOOD).lines)
        before = len(finished_runs(OPTIONS))
        pipeline.run(on_data("model=logistic", "evaluation.candidates=unseen"))
        (record,) = finished_runs(OPTIONS, last=1)
        promoting(record.id, name="of unseen")
        made = finished_runs(OPTIONS)[before + 1 :]
        assert {each.candidates for each in made} == {"unseen"}
        assert {each.name for each in made} == {
            "popularity",
            "knn item 50",
        }  # 40 neighbours are there

    def test_a_champion_too(self, old, promoting, opened):
        registry = Registry(opened)
        registry.register(old, tags={"runs": old.id}, description="")
        opened.client.set_registered_model_alias("recsweep", "champion", "1")
        decision = promoting(GOOD, measure="ndcg_at_10")
        assert decision.lines[0].other == pytest.approx(
            opened.record(old.id).metrics["test/ndcg_at_10"]
        )
        assert opened.record(old.id).candidates == "part"


class TestOtherData:
    @pytest.fixture
    def newer(self, compose, promoting, opened) -> RunRecord:
        """A champion of the older data, and a candidate on newer ones."""
        promoting(WEAK, force=True, reason="to begin with")
        pipeline.run(compose(*DATA, "data.seed=1", "model=logistic"))
        return finished_runs(OPTIONS, last=1)[0]

    def test_the_champion_is_trained_there_and_compared_with(self, newer, promoting, opened):
        decision = promoting(newer.id, guards={"coverage": None})
        assert (decision.outcome, decision.after) == ("promoted", "2")
        (refit,) = (
            each for each in finished_runs(OPTIONS) if each.tags.get(contest.CHAMPION_REFIT_TAG)
        )
        assert refit.measured_on == newer.measured_on
        assert (refit.name, refit.params["model.num_neighbors"]) == (WEAK, "1")
        assert refit.tags[contest.CHAMPION_REFIT_TAG] == "recsweep 1"
        assert decision.lines[0].other_name == f"{WEAK} (version 1)"
        assert decision.lines[0].other == pytest.approx(refit.metrics["test/f1_at_threshold"])

    def test_what_was_trained_for_it_is_used_again(self, newer, promoting, opened):
        first = promoting(newer.id, guards={"coverage": 0.0})  # it covers less than neighbours do
        assert first.outcome == "refused"
        runs = len(finished_runs(OPTIONS))
        second = promoting(newer.id, guards={"coverage": 0.0})
        assert len(finished_runs(OPTIONS)) == runs
        assert second.judgement == first.judgement

    def test_another_split_of_the_same_data_counts_as_other_data(self, on_data, promoting, opened):
        promoting(WEAK, force=True, reason="to begin with")
        pipeline.run(on_data("split.seed=1", "model=logistic"))
        (record,) = finished_runs(OPTIONS, last=1)
        promoting(record.id)
        refits = [
            each for each in finished_runs(OPTIONS) if each.tags.get(contest.CHAMPION_REFIT_TAG)
        ]
        assert [each.measured_on for each in refits] == [record.measured_on]


def test_latencies_are_measured_in_turns(opened, monkeypatch):
    with opened.saved_model(run_named("popularity").model_id) as folder:
        service = RecommenderService.load(folder)
    slow = RecommenderService.load(folder)
    asked = []
    recommend = RecommenderService.recommend

    def timed(self, queries):
        asked.append(self is slow)
        if self is slow:
            time.sleep(0.002)
        return recommend(self, queries)

    monkeypatch.setattr(latency, "TIMED_USERS", 20)
    monkeypatch.setattr(RecommenderService, "recommend", timed)
    quick, slower = time_in_turns(service, slow)
    assert 0 < quick < slower
    assert slower >= 2
    assert asked == [False, True] * 25
