"""Who becomes champion: the rule, the contest it judges, and what a decision leaves behind."""

import json
import logging
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recsweep import cli, pipeline, tracking
from recsweep.cli.promote import REFUSED_STATUS, guards
from recsweep.comparison.resampling import Measured
from recsweep.config import conf_dir, effective_config
from recsweep.errors import ConfigError, DataError, FitError, RegistryError, TrackingError
from recsweep.evaluation import EvaluationReport, cell_metrics, read_report
from recsweep.processes import Worker
from recsweep.promotion import audit, contest
from recsweep.promotion.audit import PROMOTION_TAG
from recsweep.promotion.contest import choose, time_in_turns
from recsweep.promotion.decide import CHAMPION_TAG, PromotionOptions, lineage, promote, rollback
from recsweep.promotion.registry import Change, Registry
from recsweep.promotion.rule import Contestant, Rule, judge
from recsweep.run import plan as run_plan
from recsweep.serving.service import RecommenderService
from recsweep.tracking import RunRecord, TrackingOptions, finished_runs, tracker
from tests.conftest import copy_database

OPTIONS = TrackingOptions(uri=None, experiment="recsweep")
DATA = ("data.num_users=150", "data.num_items=100", "data.density=0.15", "data.activity_scale=1.5",
        "data.taste_scale=0", "data.factor_scale=0")
"""Nothing but activity and popularity: a logistic regression is the truth, and beats neighbours beyond doubt."""

GOOD, WEAK = "logistic C=1", "knn user 1"

GRIDS = {"popularity": [{}], "knn": [{}], "item_knn": [{}], "logistic": [{}]}
"""In place of the real ones: a setting a family, so that nothing has to be trained beside what the store has."""


@pytest.fixture(autouse=True)
def _small_grids():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contest, "GRIDS", GRIDS)
        yield


# ---------------------------------------------------------------------------------------------------------------- rule


def _report(skill: float, *, seed: int = 0, coverage: float = 0.5, cells: bool = True) -> EvaluationReport:
    """Of a model that tells positives from zeros the better, the more skill it has; the same cells for all."""
    rng = np.random.default_rng(5)
    users = np.repeat(np.arange(80), 40).astype(np.int32)
    targets = (rng.random(len(users)) < 0.2).astype(np.uint8)
    noise = np.random.default_rng([seed, 7]).normal(size=len(users))
    probabilities = (1 / (1 + np.exp(-(skill * (2 * targets - 1.0) + noise)))).astype(np.float32)
    ranked = np.clip(0.3 + skill / 5 + np.random.default_rng([seed, 8]).normal(0, 0.1, 80), 0, 1).astype(np.float32)
    metrics = {"ndcg_at_10": float(ranked.mean()), "recall_at_10": float(ranked.mean()), "coverage_at_10": coverage}
    return EvaluationReport(
        part="test", metrics=metrics | (cell_metrics(targets, probabilities, 0.5) if cells else {}),
        protocol={"k": [5, 10], "split_digest": "of all"}, counts={"cells": len(users) if cells else 0},
        users=np.arange(80), per_user={"ndcg_at_10": ranked, "recall_at_10": ranked},
        cells={"users": users, "items": users, "targets": targets, "probabilities": probabilities} if cells else None,
        user_counts=None, collapsed=False,
    )


def _contestant(role: str, name: str, skill: float, **settings) -> Contestant:
    return Contestant(role, Measured(name, {("of all", 0): _report(skill, **settings)}, is_random=False))


def _candidate(skill: float = 1.0, **settings) -> Contestant:
    return _contestant("candidate", "new", skill, **settings)


class TestTheRule:
    def test_a_clear_lead_over_everybody_is_enough(self):
        others = [_contestant("champion", "old", 0.5), _contestant("baseline", "simple", 0.4)]
        found = judge(Rule(), _candidate(), others, (1.0, 1.0))
        assert found.measure == "f1_at_threshold"
        assert found.met
        assert [(line.role, line.measure) for line in found.lines] == [
            ("champion", "f1_at_threshold"), ("baseline", "f1_at_threshold"), ("champion", "coverage_at_10"),
            ("champion", "latency"), ("champion", "average_precision")]
        lead = found.lines[0]
        assert 0 < lead.difference.low < lead.difference.value < lead.difference.high
        assert lead.difference.value == pytest.approx(lead.candidate - lead.other)
        assert found.value.value == lead.candidate

    def test_one_baseline_that_is_not_beaten_is_enough_to_refuse(self):
        others = [_contestant("champion", "old", 0.5), _contestant("baseline", "simple", 1.01, seed=3)]
        found = judge(Rule(), _candidate(), others, (1.0, 1.0))
        assert [line.other_name for line in found.lines if not line.met] == ["simple"]
        assert not found.met

    def test_the_same_model_does_not_beat_itself(self):
        (line,) = judge(Rule(), _candidate(), [_contestant("baseline", "twin", 1.0)], None).lines
        assert line.difference.value == 0
        assert not line.met

    def test_a_lead_within_the_noise_is_no_lead(self):
        (line,) = judge(Rule(), _candidate(1.02), [_contestant("baseline", "near", 1.0, seed=1)], None).lines
        assert line.difference.low < 0 < line.difference.high
        assert not line.met

    def test_less_of_a_loss_is_better(self):
        others = [_contestant("baseline", "simple", 0.4)]
        assert judge(Rule(measure="mse"), _candidate(), others, None).met
        assert not judge(Rule(measure="mse"), _candidate(0.2), others, None).met

    def test_without_cells_rankings_decide(self):
        others = [_contestant("champion", "old", 0.2, cells=False)]
        found = judge(Rule(), _candidate(cells=False), others, (1.0, 1.0))
        assert found.measure == "ndcg_at_10"
        assert found.met
        assert found.lines[-1].measure == "recall_at_10"

    def test_guard_rails_need_a_champion(self):
        found = judge(Rule(), _candidate(), [_contestant("baseline", "simple", 0.4)], None)
        assert {line.measure for line in found.lines} == {"f1_at_threshold"}

    @pytest.mark.parametrize(("coverage", "margin", "met"), [
        (0.46, None, True), (0.44, None, False), (0.44, 0.2, True), (0.5, 0.0, True), (0.49, 0.0, False)])
    def test_coverage_may_shrink_by_a_share(self, coverage, margin, met):
        rule = Rule(guards={} if margin is None else {"coverage": margin})
        found = judge(rule, _candidate(coverage=coverage), [_contestant("champion", "old", 0.5)], (1.0, 1.0))
        assert [line.met for line in found.lines if line.measure == "coverage_at_10"] == [met]

    @pytest.mark.parametrize(("latency", "margin", "met"), [
        ((14.0, 10.0), None, True), ((16.0, 10.0), None, False), ((16.0, 10.0), 2.0, True), ((4.9, 0.1), None, True)])
    def test_latency_may_grow_by_a_ratio_but_quick_is_quick(self, latency, margin, met):
        rule = Rule(guards={} if margin is None else {"latency": margin})
        found = judge(rule, _candidate(), [_contestant("champion", "old", 0.5)], latency)
        assert [line.met for line in found.lines if line.measure == "latency"] == [met]

    def test_the_second_measure_counts_by_the_end_of_its_interval(self):
        champion = [_contestant("champion", "old", 1.0, seed=1)]
        for margin, met in ((1.0, True), (0.0, False)):
            rule = Rule(measure="ndcg_at_10", guards={"average_precision": margin})
            (line,) = (each for each in judge(rule, _candidate(), champion, (1.0, 1.0)).lines
                       if each.measure == "average_precision")
            assert line.met is met is (line.difference.low > -margin)

    def test_a_guard_of_a_loss_looks_at_its_upper_end(self):
        rule = Rule(guards={"mse": 0.001})
        (line,) = (each for each in judge(rule, _candidate(0.4), [_contestant("champion", "old", 1.0)], None).lines
                   if each.measure == "mse")
        assert line.difference.high > 0.001
        assert not line.met

    def test_a_guard_that_is_left_out(self):
        rule = Rule(guards={"coverage": None, "latency": None})
        found = judge(rule, _candidate(coverage=0.1), [_contestant("champion", "old", 0.5)], (900.0, 1.0))
        assert found.met
        assert {line.measure for line in found.lines} == {"f1_at_threshold", "average_precision"}

    @pytest.mark.parametrize(("guard", "margin"), [("coverage", -0.1), ("coverage", 1.1), ("latency", 0.5),
                                                   ("average_precision", -0.01), ("mse", float("nan"))])
    def test_an_impossible_margin(self, guard, margin):
        with pytest.raises(ConfigError, match=rf"--guard {guard} must be a number"):
            Rule(guards={guard: margin})

    def test_an_unknown_part(self):
        with pytest.raises(ConfigError, match="--on must be one of validation, test, not 'train'"):
            Rule(part="train")

    def test_a_measure_that_the_reports_do_not_have(self):
        with pytest.raises(DataError, match="The measure 'beauty' of new can't be resampled"):
            judge(Rule(measure="beauty"), _candidate(), [_contestant("baseline", "simple", 0.4)], None)

    def test_there_must_be_somebody_to_compare_with(self):
        with pytest.raises(ConfigError, match="compares with the champion or with baselines"):
            judge(Rule(), _candidate(), [], None)

    def test_several_seeds_count_by_their_mean(self):
        several = Contestant("candidate", Measured("new", {
            ("of all", seed): _report(1.0, seed=seed) for seed in range(3)}))
        found = judge(Rule(), several, [_contestant("baseline", "simple", 0.4)], None)
        assert found.levels == "80 users, 3 seeds, 1 split"
        assert found.value.value == pytest.approx(several.mean("f1_at_threshold"))
        assert found.met


    def test_one_seed_of_a_random_model_meets_no_demand(self):
        single = Contestant("candidate", Measured("new", {("of all", 0): _report(1.0)}))
        found = judge(Rule(), single, [_contestant("champion", "old", 0.2)], (1.0, 1.0))
        compared = [line for line in found.lines if line.difference is not None]
        assert [line.met for line in compared] == [False, False]
        assert {line.note for line in compared} == {"no verdict: one seed: run two more"}

    @pytest.mark.parametrize(("alone", "met"), [(True, False), (False, True)])
    def test_a_lead_that_hangs_on_one_user_has_to_stand_without_them(self, alone, met):
        """One of 80 users with 30 times as many cells; only they are better served by the candidate, or all are."""
        rng = np.random.default_rng(6)
        users = np.append(np.repeat(np.arange(80), 40), np.full(1200, 3)).astype(np.int32)
        order = np.argsort(users, kind="stable")
        users, targets = users[order], (rng.random(len(users)) < 0.2).astype(np.uint8)
        noise = rng.normal(size=len(users))
        better = np.where(users == 3, 3.0, 0.0 if alone else 0.4)

        def contestant(role: str, name: str, skill: np.ndarray) -> Contestant:
            probabilities = (1 / (1 + np.exp(-(skill * (2 * targets - 1.0) + noise)))).astype(np.float32)
            report = replace(_report(1.0), metrics=cell_metrics(targets, probabilities, 0.5), cells={
                "users": users, "items": users, "targets": targets, "probabilities": probabilities})
            return Contestant(role, Measured(name, {("of all", 0): report}, is_random=False))

        others = [contestant("baseline", "simple", np.full(len(users), 0.5))]
        found = judge(Rule(measure="average_precision"), contestant("candidate", "new", 0.5 + better), others, None)
        first, second = found.lines
        assert first.difference.value > 0
        assert second.measure == "average_precision without user 3"
        assert "hangs on one user (index 3" in second.note
        assert second.note.endswith("without this user it turns") is not met
        assert (second.met, found.met) == (met, first.met and met)
        assert abs(second.difference.value) < first.difference.value
        assert second.difference.value == pytest.approx(second.candidate - second.other)


# ------------------------------------------------------------------------------------------------------------- fixtures


@pytest.fixture(scope="module")
def trained(compose_into, database, tmp_path_factory) -> Path:
    """A store with baselines that were evaluated on test, and two models that were not: a good and a weak one."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copy(database, folder / "mlflow.db")
    run_plan._prepared.clear()
    baselines = [compose_into(folder, *DATA, f"model={model}", "evaluation.test=true")
                 for model in ("popularity", "knn", "item_knn")]
    pipeline.run_many(baselines)
    pipeline.run_many([compose_into(folder, *DATA, *model) for model in
                       (["model=logistic"], ["model=knn", "model.num_neighbors=1"])])
    return folder


@pytest.fixture
def opened(trained, store):
    """A copy of that store; the artifacts of its runs stay where they are."""
    copy_database(trained / "mlflow.db", store / "mlflow.db")
    return tracker(OPTIONS)


@pytest.fixture
def promoting(opened):
    """promoting(*runs, **options): what `recsweep promote` does, without the guard-rail of time, on one split."""

    def promoting(*runs: str, guards=None, **options):
        rule = Rule(measure=options.pop("measure", None), part=options.pop("part", "test"),
                    guards={"latency": None, **(guards or {})})
        options = {"seeds": 1, "splits": 1, **options}
        return promote(PromotionOptions(tracking=OPTIONS, runs=runs, rule=rule, **options), conf_dir())

    return promoting


def _champion(opened):
    return Registry(opened).champion()


def _audits(opened) -> list[RunRecord]:
    """The latest first."""
    return opened.search(f"tags.{PROMOTION_TAG} LIKE '%'")


def _outcomes(opened) -> list[str]:
    return [each.tags[PROMOTION_TAG] for each in _audits(opened)][::-1]


def _run(name: str) -> RunRecord:
    return finished_runs(OPTIONS, ids=[name])[0]


@pytest.fixture
def on_data(compose):
    """on_data(*overrides): a config on the module's data."""
    return lambda *overrides: compose(*DATA, *overrides)


# ------------------------------------------------------------------------------------------------------------ candidate


class TestTheCandidate:
    def test_of_several_seeds_the_best_on_validation_is_first(self, on_data, opened):
        pipeline.run_many([on_data("loss=bce", f"seed={seed}") for seed in (3, 4, 5)])
        ids = [each.id for each in finished_runs(OPTIONS, last=3)]
        found = choose(opened, OPTIONS, runs=ids)
        values = [each.metrics["validation/average_precision"] for each in found]
        assert sorted(each.id for each in found) == sorted(ids)
        assert values == sorted(values, reverse=True)

    def test_a_loss_as_the_objective_counts_the_other_way(self, on_data, opened):
        pipeline.run_many([on_data("evaluation.objective=log_loss", f"seed={seed}") for seed in (3, 4)])
        found = choose(opened, OPTIONS, runs=[each.id for each in finished_runs(OPTIONS, last=2)])
        assert found[0].metrics["validation/log_loss"] < found[1].metrics["validation/log_loss"]

    def test_runs_of_several_models_are_none(self, opened):
        with pytest.raises(ConfigError, match=r"must differ in their seed alone, not .*knn user 50.*popularity"):
            choose(opened, OPTIONS, runs=["knn user 50", "popularity"])

    @pytest.mark.parametrize(("runs", "study"), [((), None), (("popularity",), "s")])
    def test_runs_or_a_study(self, runs, study, opened):
        with pytest.raises(ConfigError, match="runs by their ids, or the best of a study by --study NAME"):
            choose(opened, OPTIONS, runs=runs, study=study)

    def test_a_run_that_is_not_there(self, opened):
        with pytest.raises(TrackingError, match="has no finished run 'nobody'"):
            choose(opened, OPTIONS, runs=["nobody"])


class TestTheWinnerOfAStudy:
    @pytest.fixture
    def study(self, on_data, opened):
        """A study's own run and its two trials, as `tuning` tags them."""
        run = opened.start("mine", {"study_token": "t", "study": "mine"})
        cfgs = [on_data("model=logistic", f"model.C={C}", "+tags.study=mine", f"+tags.trial_number={number}")
                for number, C in enumerate((0.5, 2.0))]
        return run, pipeline.run_many(cfgs)

    def test_is_the_run_of_the_best_trial(self, study, opened):
        run, outcomes = study
        run.log(tags={"best_trial": 1})
        assert [each.id for each in choose(opened, OPTIONS, study="mine")] == [outcomes[1].run_id]

    def test_a_second_look_at_the_best_counts_more(self, study, opened):
        run, outcomes = study
        run.log(tags={"best_trial": 1, "winner_trial": 0})
        assert [each.id for each in choose(opened, OPTIONS, study="mine")] == [outcomes[0].run_id]

    def test_the_runs_of_the_second_look_are_longer(self, study, on_data, opened):
        run, _ = study
        looks = pipeline.run_many([on_data("loss=bce", f"seed={seed}") for seed in (5, 6)])
        run.log(tags={"best_trial": 1, "winner_trial": 1, "winner_runs": ",".join(each.run_id for each in looks)})
        assert {each.id for each in choose(opened, OPTIONS, study="mine")} == {each.run_id for each in looks}

    def test_its_refits_take_its_place(self, study, on_data, opened):
        run, _ = study
        run.log(tags={"best_trial": 1})
        refits = pipeline.run_many([on_data("model=logistic", "model.C=2.0", f"seed={seed}", "+tags.study=mine",
                                            "+tags.refit_of=1") for seed in (0, 1)])
        found = choose(opened, OPTIONS, study="mine")
        assert {each.id for each in found} == {each.run_id for each in refits}

    def test_a_study_without_a_winner(self, study, opened):
        with pytest.raises(RegistryError, match="The study 'mine' has no winner yet"):
            choose(opened, OPTIONS, study="mine")

    def test_a_winner_whose_run_is_gone(self, study, opened):
        run, _ = study
        run.log(tags={"best_trial": 7})
        with pytest.raises(RegistryError, match=r"trial 7, is not in .*recsweep refit mine"):
            choose(opened, OPTIONS, study="mine")

    def test_an_unknown_study(self, opened):
        with pytest.raises(TrackingError, match="has no finished run of the study 'nothing'"):
            choose(opened, OPTIONS, study="nothing")


# -------------------------------------------------------------------------------------------------------------- promote


class TestPromoting:
    def test_the_first_champion_has_to_beat_the_baselines(self, promoting, opened):
        decision = promoting(GOOD)
        assert (decision.outcome, decision.before, decision.after) == ("promoted", None, "1")
        assert {line.other_name for line in decision.lines} == {"popularity", "knn user 50", "knn item 50"}
        champion = _champion(opened)
        run = _run(GOOD)
        assert (champion.version, champion.run_id, champion.model_id) == ("1", run.id, run.model_id)
        assert champion.tags["measure"] == "f1_at_threshold"
        assert float(champion.tags["value"]) == pytest.approx(run.metrics["test/f1_at_threshold"])
        assert champion.tags["data_digest"] == run.tags["data_digest"]
        described = opened.client.get_model_version("recsweep", "1").description
        assert "Registered to become champion on" in described
        assert "against baseline popularity" in described
        assert "recsweep rollback" in opened.client.get_registered_model("recsweep").description
        assert run.tags[CHAMPION_TAG] == "recsweep"

    def test_the_decision_is_a_run_with_its_figures(self, promoting, opened):
        decision = promoting(GOOD, reason="the first one")
        (logged,) = _audits(opened)
        assert logged.tags.items() >= {
            PROMOTION_TAG: "promoted", "registered_model": "recsweep", "to_version": "1", "measure": "f1_at_threshold",
            "candidate_run": _run(GOOD).id, "reason": "the first one", "split_digest": _run(GOOD).tags["split_digest"],
        }.items()
        assert "from_version" not in logged.tags
        assert logged.tags["mlflow.user"] == tracking.person()
        lead = decision.lines[0]
        place = f"{lead.other_name}/f1_at_threshold"
        assert logged.metrics[f"{place}/difference"] == pytest.approx(lead.difference.value)
        assert logged.metrics[f"{place}/low"] == pytest.approx(lead.difference.low)
        assert logged.metrics["test_uses_before"] == 3  # the baselines; the candidate's is made by this very look
        with opened.artifact(logged, "decision.json") as path:
            stored = json.loads(path.read_text())
        assert stored["outcome"] == "promoted"
        assert stored["judgement"]["lines"][0]["met"] is True
        with opened.artifact(logged, "decision.md") as path:
            assert path.read_text().strip() == logged.tags["mlflow.note.content"]
        assert "Reason: the first one" in logged.tags["mlflow.note.content"]
        assert "Before this, 3 runs had been evaluated on the test part" in logged.tags["mlflow.note.content"]

    def test_a_decision_is_no_models_run(self, promoting, opened):
        before = [each.id for each in finished_runs(OPTIONS)]
        promoting(GOOD)
        promoting("popularity")
        assert [each.id for each in finished_runs(OPTIONS)] == before

    def test_a_refusal_changes_nothing_and_is_kept(self, promoting, opened):
        decision = promoting("popularity")
        assert decision.outcome == "refused"
        assert "does not meet" in decision.words
        assert _champion(opened) is None
        assert opened.client.search_registered_models() == []
        (logged,) = _audits(opened)
        assert (logged.tags[PROMOTION_TAG], logged.tags.get("to_version")) == ("refused", None)
        assert CHAMPION_TAG not in _run("popularity").tags

    def test_the_champion_itself_needs_no_decision(self, promoting, opened):
        promoting(GOOD)
        decision = promoting(GOOD)
        assert decision.outcome == "unchanged"
        assert "already, as version 1" in decision.words
        assert _outcomes(opened) == ["promoted"]

    def test_a_better_one_follows_the_champion(self, promoting, opened):
        promoting(WEAK, force=True, reason="to begin with")
        decision = promoting(GOOD, guards={"coverage": None})
        assert (decision.outcome, decision.before, decision.after) == ("promoted", "1", "2")
        assert (decision.lines[0].role, decision.lines[0].other_name) == ("champion", f"{WEAK} (version 1)")
        assert _champion(opened).previous == "1"
        assert CHAMPION_TAG not in _run(WEAK).tags

    def test_a_worse_one_does_not(self, promoting, opened):
        promoting(GOOD)
        assert promoting(WEAK).outcome == "refused"
        assert _champion(opened).version == "1"

    def test_force_asks_for_a_reason_and_is_recorded(self, promoting, opened):
        with pytest.raises(ConfigError, match="say why, with --reason"):
            promoting("popularity", force=True)
        decision = promoting("popularity", force=True, reason="everybody likes it")
        assert decision.outcome == "forced"
        assert _champion(opened).tags["promotion"] == "forced"
        (logged,) = _audits(opened)
        assert (logged.tags[PROMOTION_TAG], logged.tags["reason"]) == ("forced", "everybody likes it")

    def test_several_seeds_are_one_candidate(self, on_data, promoting, opened):
        pipeline.run_many([on_data("loss=bce", f"seed={seed}") for seed in (3, 4)])
        ids = [each.id for each in finished_runs(OPTIONS, last=2)]
        promoting(*ids, force=True, reason="seeds")
        champion = _champion(opened)
        best = max((_run(each) for each in ids), key=lambda each: each.metrics["validation/average_precision"])
        assert champion.run_id == best.id
        assert sorted(champion.tags["runs"].split(",")) == sorted(ids)
        assert promoting(*ids).outcome == "unchanged"
        decision = promoting(GOOD, measure="mse")  # the champion is compared with by both of its seeds
        values = [_run(each).metrics["test/mse"] for each in ids]
        assert decision.lines[0].other == pytest.approx(np.mean(values))

    def test_validation_can_be_compared_on_too(self, promoting, opened):
        decision = promoting(GOOD, part="validation")
        run = _run(GOOD)
        assert decision.lines[0].candidate == pytest.approx(run.metrics["validation/f1_at_threshold"])
        assert not any(name.startswith("test/") for name in run.metrics)

    def test_a_run_without_a_model_is_refused(self, promoting, opened):
        same = {name: _run(GOOD).tags[name] for name in ("data", "data_digest", "split_digest", "seed")}
        record = opened.start("bare", {**same, "model_kind": "bare"})
        with opened.artifact(_run(GOOD), "evaluation") as folder:
            record.log_folder(folder.parent)
        record.log(metrics={"validation/average_precision": 1.0})
        record.end("FINISHED")
        with pytest.raises(RegistryError, match=r"has no logged model to register\. Train it again\."):
            promoting("bare")

    def test_a_champion_that_somebody_else_registered(self, promoting, opened):
        opened.client.create_registered_model("recsweep")
        opened.client.create_model_version("recsweep", "/somewhere")
        opened.client.set_registered_model_alias("recsweep", "champion", "1")
        for change in (lambda: promoting(GOOD), lambda: rollback(OPTIONS), lambda: lineage(OPTIONS)):
            with pytest.raises(RegistryError, match="Version 1 of 'recsweep' was registered by other means"):
                change()

    def test_other_names_have_their_own_champions(self, promoting, opened):
        promoting(GOOD, name="shop a")
        promoting(WEAK, name="shop b", force=True, reason="try")
        assert Registry(opened, "shop a").champion().run_id == _run(GOOD).id
        assert Registry(opened, "shop b").champion().run_id == _run(WEAK).id
        assert _champion(opened) is None


class TestTheTestPart:
    def test_is_evaluated_now_as_training_would_have_done(self, on_data, promoting, opened):
        before = len(finished_runs(OPTIONS))
        promoting(GOOD)
        record = _run(GOOD)
        assert len(finished_runs(OPTIONS)) == before  # nothing was trained
        outcome = pipeline.run(on_data("model=logistic", "evaluation.test=true"))
        expected = {name: value for name, value in outcome.metrics.items() if name.startswith("test/")}
        assert {name: record.metrics[name] for name in expected} == pytest.approx(expected)
        with opened.artifact(record, "evaluation") as folder:
            report = read_report(folder, "test")
        assert report.metrics["threshold"] == record.metrics["validation/threshold"]
        assert opened.client.get_run(record.id).info.status == "FINISHED"

    def test_data_that_are_gone(self, compose, promoting, opened, tmp_path):
        path = self._likes(tmp_path, 4)
        pipeline.run(compose("data=csv", f"data.path={path}", "data.rating_column=null", "model=popularity"))
        (record,) = finished_runs(OPTIONS, last=1)
        path.unlink()
        run_plan._prepared.clear()
        with pytest.raises(DataError, match=rf"The data of the run {record.id} .* can't be read again: There is no"):
            promoting(record.id)
        assert _outcomes(opened) == []

    def test_data_that_are_others_now(self, compose, promoting, opened, tmp_path):
        path = self._likes(tmp_path, 4)
        pipeline.run(compose("data=csv", f"data.path={path}", "data.rating_column=null", "model=popularity"))
        (record,) = finished_runs(OPTIONS, last=1)
        self._likes(tmp_path, 3)
        run_plan._prepared.clear()
        with pytest.raises(DataError, match=r"are others now: their data_digest was \w+ and is \w+\. Bring the old"):
            promoting(record.id)

    @staticmethod
    def _likes(folder: Path, every: int) -> Path:
        path = folder / "likes.csv"
        rows = [f"u{user},{item}" for user in range(20) for item in range(15) if (user * item) % every == 0]
        path.write_text("\n".join(["user_id,item_id", *rows]) + "\n")
        return path


class TestBaselines:
    def test_those_that_are_missing_are_trained(self, compose, promoting, opened, caplog):
        pipeline.run(compose(*DATA, "data.seed=1", "model=logistic"))
        (record,) = finished_runs(OPTIONS, last=1)
        with caplog.at_level("INFO", logger="recsweep"):
            decision = promoting(record.id)
        assert {line.other_name for line in decision.lines} == {"popularity", "knn user 50", "knn item 50"}
        assert "baselines that are not in the store yet are trained on synthetic" in caplog.text
        made = [each for each in finished_runs(OPTIONS) if each.tags.get("promotion_refit")]
        assert {each.measured_on for each in made} == {record.measured_on}
        again = len(finished_runs(OPTIONS))
        promoting(record.id, name="another")
        assert len(finished_runs(OPTIONS)) == again

    def test_the_best_of_a_family_on_validation_stands_for_it(self, on_data, promoting, opened):
        pipeline.run(on_data("model=knn", "model.num_neighbors=100"))
        decision = promoting(GOOD)
        runs = {each.name: each.metrics["validation/average_precision"] for each in finished_runs(OPTIONS)
                if each.name.startswith("knn user")}
        (shown,) = {line.other_name for line in decision.lines if line.other_name.startswith("knn user")}
        assert shown == max(runs, key=runs.get)

    def test_the_best_of_its_own_family_has_none_of_it_to_beat(self, promoting, opened):
        for candidate, siblings in (("knn user 50", set()), (WEAK, {"knn user 50"})):
            lines = promoting(candidate).lines
            assert {line.other_name for line in lines if line.other_name.startswith("knn user")} == siblings

    def test_the_candidate_run_twice_does_not_stand_in_its_own_way(self, on_data, promoting, opened):
        pipeline.run(on_data("model=logistic"))
        assert promoting(GOOD).outcome == "promoted"

    def test_one_that_can_not_be_trained(self, compose, promoting, opened, monkeypatch):
        pipeline.run(compose(*DATA, "data.seed=1", "model=logistic"))
        (record,) = finished_runs(OPTIONS, last=1)
        monkeypatch.setattr("recsweep.models.knn.KNN.fit", lambda *_: 1 / 0)
        with pytest.raises(FitError, match=r"knn user 50 can't be trained on the data of logistic C=1"):
            promoting(record.id)
        assert _champion(opened) is None


    def test_a_family_that_the_store_has_not_tuned_is_tuned_on_validation(self, promoting, opened, monkeypatch):
        monkeypatch.setattr(contest, "GRIDS", {"knn": [{"num_neighbors": number} for number in (1, 5, 50)],
                                               "ease": [{"l2": 10.0}, {"l2": 100.0}]})
        before = {each.id for each in finished_runs(OPTIONS)}
        decision = promoting(GOOD)
        made = {each.name: each for each in finished_runs(OPTIONS) if each.id not in before}
        assert sorted(made) == ["ease 10", "ease 100", "knn user 5"]  # 1 and 50 neighbours are there
        runs = {each.name: each.metrics["validation/average_precision"] for each in finished_runs(OPTIONS)}
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
            ("knn item 50", 1), ("knn user 50", 1), (GOOD, 1), ("popularity", 1)]
        assert all(each.tags["promotion_refit"] == "true" for each in made)
        values = {each.split_seed: each.metrics["test/f1_at_threshold"] for each in finished_runs(OPTIONS)
                  if each.name == GOOD}
        assert decision.judgement.value.value == pytest.approx((values[0] + values[1]) / 2)
        assert "2 splits (seeds 0, 1)" in decision.levels
        assert "No model draws anything but its data" in decision.levels
        assert decision.over.startswith("Over 150 users, 2 splits. No model")
        assert decision.over in _audits(opened)[0].tags["mlflow.note.content"]
        promoting(GOOD, splits=2, name="again")
        assert len(finished_runs(OPTIONS)) == len(before) + 4  # all of it is used again

    def test_a_net_is_run_with_more_seeds(self, on_data, promoting, opened):
        pipeline.run(on_data("loss=bce", "seed=7"))
        (record,) = finished_runs(OPTIONS, last=1)
        decision = promoting(record.id, seeds=3, splits=2, force=True, reason="seeds")
        made = {(each.split_seed, each.tags["seed"]) for each in finished_runs(OPTIONS) if "loss" in each.tags}
        assert made == {(split, seed) for split in (0, 1) for seed in ("7", "8", "9")}
        assert "At least 3 seeds" in decision.levels
        assert _champion(opened).run_id == record.id

    def test_a_baseline_that_draws_negatives_is_run_with_more_seeds_too(self, compose, promoting, opened):
        pipeline.run(compose(*DATA, "data.seed=1", "model=logistic", "examples=sampled"))
        pipeline.run(compose(*DATA, "data.seed=1", "model=popularity"))
        (record,) = finished_runs(OPTIONS, last=1)
        decision = promoting(record.id, seeds=2)
        made = [each for each in finished_runs(OPTIONS) if each.measured_on == record.measured_on]
        assert {each.tags["seed"] for each in made if each.name == GOOD} == {"0", "1"}
        assert {each.is_random for each in made if each.name == GOOD} == {True}
        (line,) = (line for line in decision.lines if (line.other_name, line.measure) == (GOOD, "f1_at_threshold"))
        assert line.difference.no_verdict is None

    def test_one_seed_is_allowed_and_said(self, on_data, promoting, opened):
        pipeline.run(on_data("loss=bce"))
        (record,) = finished_runs(OPTIONS, last=1)
        decision = promoting(record.id)
        assert "One seed, by --seeds 1: the noise between seeds is not covered" in decision.levels
        assert "one split (seed 0), by --splits 1: another one is not covered" in decision.levels

    def test_a_split_that_draws_nothing_counts_once(self, compose, promoting, opened, tmp_path):
        path = tmp_path / "likes.csv"
        rows = [f"u{user},{item},{(user * 7 + item * 3) % 50}" for user in range(30) for item in range(12)
                if (user * item) % 3 == 0]
        path.write_text("\n".join(["user_id,item_id,time", *rows]) + "\n")
        pipeline.run(compose("data=csv", f"data.path={path}", "data.rating_column=null", "data.timestamp_column=time",
                             "split=temporal", "model=popularity"))
        (record,) = finished_runs(OPTIONS, last=1)
        assert "one split, whose rule draws nothing" in promoting(record.id, splits=3).levels

    def test_an_interrupted_promotion_goes_on(self, promoting, opened, monkeypatch):
        before, train = len(finished_runs(OPTIONS)), contest.run_many
        trained = []

        def interrupted(cfgs):
            if len(trained) == 2:
                raise KeyboardInterrupt
            trained.append(cfgs)
            return train(cfgs)

        monkeypatch.setattr(contest, "run_many", interrupted)
        with pytest.raises(KeyboardInterrupt):
            promoting(GOOD, splits=2)
        assert len(finished_runs(OPTIONS)) == before + 2
        monkeypatch.setattr(contest, "run_many", train)
        promoting(GOOD, splits=2)
        assert len(finished_runs(OPTIONS)) == before + 4

    def test_long_training_is_agreed_to(self, promoting, opened, monkeypatch):
        monkeypatch.setattr(contest, "ASK_SECONDS", 0.5)
        before = len(finished_runs(OPTIONS))
        with pytest.raises(ConfigError, match=r"has to train for about .* candidate logistic C=1: 2 runs, of which 1 "
                                              r"are there; baseline popularity: 2 runs, of which 1 .* Add --yes to go"):
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
            return {**found, "evaluation": {name: value for name, value in found["evaluation"].items()
                                            if name != "candidates"}}

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run_plan, "effective_config", without_candidates)
            made = pipeline.run(on_data("model=logistic", "model.C=0.5", "evaluation.candidates=not_liked",
                                        "evaluation.test=true"))
        opened.client.delete_tag(made.run_id, "candidates")
        with opened.artifact(opened.record(made.run_id), "config.yaml") as path:
            path.write_text(path.read_text().replace("  candidates: not_liked\n", ""))
        return opened.record(made.run_id)

    def test_a_candidate_is_evaluated_again_from_its_model(self, old, on_data, promoting, opened):
        assert old.candidates == "not_liked"
        promoting(old.id, force=True, reason="to begin with")
        now, new = opened.record(old.id), pipeline.run(on_data("model=logistic", "model.C=0.5", "evaluation.test=true"))
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
        made = finished_runs(OPTIONS)[before + 1:]
        assert {each.candidates for each in made} == {"unseen"}
        assert {each.name for each in made} == {"popularity", "knn item 50"}  # 40 neighbours are there

    def test_a_champion_too(self, old, promoting, opened):
        registry = Registry(opened)
        registry.register(old, tags={"runs": old.id}, description="")
        opened.client.set_registered_model_alias("recsweep", "champion", "1")
        decision = promoting(GOOD, measure="ndcg_at_10")
        assert decision.lines[0].other == pytest.approx(opened.record(old.id).metrics["test/ndcg_at_10"])
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
        (refit,) = (each for each in finished_runs(OPTIONS) if each.tags.get(contest.CHAMPION_REFIT_TAG))
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
        refits = [each for each in finished_runs(OPTIONS) if each.tags.get(contest.CHAMPION_REFIT_TAG)]
        assert [each.measured_on for each in refits] == [record.measured_on]


class TestTwoAtOnce:
    def test_a_champion_that_changed_meanwhile_is_not_replaced(self, promoting, opened, monkeypatch):
        check = Change.check

        def late(self, expected):
            monkeypatch.setattr(Change, "check", check)
            version = self.registry.register(_run("popularity"), tags={}, description="")
            opened.client.set_registered_model_alias("recsweep", "champion", version.version)
            check(self, expected)

        monkeypatch.setattr(Change, "check", late)
        with pytest.raises(RegistryError, match="changed meanwhile: there was none, and it is version 1"):
            promoting(GOOD)
        assert _champion(opened).run_id == _run("popularity").id
        (logged,) = _audits(opened)
        assert logged.tags[PROMOTION_TAG] == "refused"
        assert "changed meanwhile" in logged.tags["reason"]

    @pytest.mark.parametrize(("moved", "outcome"), [(False, "abandoned"), (True, "promoted")])
    def test_what_a_dead_process_left_is_settled_by_the_registry(self, moved, outcome, promoting, opened, monkeypatch):
        dead = replace(Worker.here(), started="another start")
        monkeypatch.setattr(audit.Worker, "here", classmethod(lambda cls: dead))
        run = audit.begin(opened, "recsweep")
        monkeypatch.undo()
        monkeypatch.setenv("RECSWEEP_HOME", str(Path(opened.uri.removeprefix("sqlite:///")).parent))
        version = Registry(opened).register(_run(WEAK), tags={}, description="")
        run.log(tags={"intended": "promoted", "to_version": version.version})
        if moved:
            opened.client.set_registered_model_alias("recsweep", "champion", version.version)
        audit.settle(opened, Registry(opened))
        (logged,) = _audits(opened)
        assert logged.tags[PROMOTION_TAG] == outcome
        assert opened.client.get_run(run.id).info.status == "KILLED"

    def test_what_a_living_process_decides_is_left_alone(self, opened):
        run = audit.begin(opened, "recsweep")
        audit.settle(opened, Registry(opened))
        assert opened.client.get_run(run.id).data.tags[PROMOTION_TAG] == "pending"
        run.end("FINISHED")

    def test_an_error_on_the_way_leaves_no_decision_pending(self, promoting, opened, monkeypatch):
        monkeypatch.setattr(opened.client, "create_model_version", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            promoting(GOOD)
        monkeypatch.undo()
        monkeypatch.setenv("RECSWEEP_HOME", str(Path(opened.uri.removeprefix("sqlite:///")).parent))
        assert _champion(opened) is None
        promoting(GOOD)
        assert _outcomes(opened) == ["abandoned", "promoted"]


# ------------------------------------------------------------------------------------------------- rollback and lineage


class TestRollback:
    def test_goes_back_step_by_step(self, promoting, opened):
        for name in ("popularity", "knn user 50", WEAK):
            promoting(name, force=True, reason="to begin with")
        assert rollback(OPTIONS, reason="it was bad").after == "2"
        assert _champion(opened).run_id == _run("knn user 50").id
        assert rollback(OPTIONS).after == "1"
        with pytest.raises(RegistryError, match="Version 1 is the first champion of 'recsweep'"):
            rollback(OPTIONS)
        assert _outcomes(opened) == ["forced"] * 3 + ["rolled_back"] * 2
        last_but_one = _audits(opened)[1]
        assert last_but_one.tags.items() >= {"from_version": "3", "to_version": "2", "reason": "it was bad"}.items()
        assert CHAMPION_TAG in _run("popularity").tags
        assert CHAMPION_TAG not in _run("knn user 50").tags

    def test_what_was_left_behind_is_not_returned_to(self, promoting, opened):
        """A rollback says that a version was bad: the next champion follows the one before it."""
        for name in ("popularity", "knn user 50"):
            promoting(name, force=True, reason="to begin with")
        rollback(OPTIONS)
        promoting(WEAK, force=True, reason="again")
        assert _champion(opened).version == "3"
        assert rollback(OPTIONS).after == "1"

    def test_there_must_be_a_champion(self, opened):
        with pytest.raises(RegistryError, match=r"'recsweep' has no champion yet\. Promote a run with: recsweep"):
            rollback(OPTIONS)

    def test_a_version_that_was_deleted(self, promoting, opened):
        for name in ("popularity", "knn user 50"):
            promoting(name, force=True, reason="to begin with")
        opened.client.delete_model_version("recsweep", "1")
        with pytest.raises(RegistryError, match="Version 1 of 'recsweep', the champion before version 2, was deleted"):
            rollback(OPTIONS)
        assert _champion(opened).version == "2"


class TestLineage:
    def test_tells_where_the_champion_comes_from(self, promoting, opened):
        promoting(WEAK, force=True, reason="to begin with")
        promoting(GOOD, guards={"coverage": None})
        found = lineage(OPTIONS)
        assert (found.version.version, found.record.id) == ("2", _run(GOOD).id)
        assert [each.version for each in found.previous] == ["1"]
        assert [each[PROMOTION_TAG] for each in found.decisions] == ["promoted", "forced"]
        assert found.made_by["to_version"] == "2"

    def test_after_a_rollback_the_rollback_made_it(self, promoting, opened):
        promoting(WEAK, force=True, reason="to begin with")
        promoting(GOOD, guards={"coverage": None})
        rollback(OPTIONS)
        assert lineage(OPTIONS).made_by[PROMOTION_TAG] == "rolled_back"

    def test_an_alias_that_was_moved_by_hand(self, promoting, opened):
        version = Registry(opened).register(_run(GOOD), tags={}, description="")
        opened.client.set_registered_model_alias("recsweep", "champion", version.version)
        found = lineage(OPTIONS)
        assert (found.made_by, found.previous, found.decisions) == ({}, [], [])


def test_latencies_are_measured_in_turns(opened, monkeypatch):
    with opened.saved_model(_run("popularity").model_id) as folder:
        service = RecommenderService.load(folder)
    slow = RecommenderService.load(folder)
    asked = []
    recommend = RecommenderService.recommend

    def timed(self, queries):
        asked.append(self is slow)
        if self is slow:
            time.sleep(0.002)
        return recommend(self, queries)

    monkeypatch.setattr(contest, "TIMED_USERS", 20)
    monkeypatch.setattr(RecommenderService, "recommend", timed)
    quick, slower = time_in_turns(service, slow)
    assert 0 < quick < slower
    assert slower >= 2
    assert asked == [False, True] * 25


# ------------------------------------------------------------------------------------------------------------- commands


class TestCommands:
    @pytest.fixture(autouse=True)
    def _own_handlers(self, monkeypatch):
        monkeypatch.setattr(logging.root, "handlers", [])

    @pytest.fixture
    def said(self, monkeypatch, capsys):
        """said(*arguments): the exit status and what a command prints."""

        def said(*arguments: str) -> tuple[int, str, str]:
            monkeypatch.setattr(sys, "argv", ["recsweep", *arguments])
            try:
                cli.main()
                status = 0
            except SystemExit as stopped:
                status = stopped.code
            return status, *capsys.readouterr()

        return said

    def test_from_promotion_to_rollback(self, said, opened):
        status, shown, _ = said("promote", WEAK)
        assert status == REFUSED_STATUS
        assert "baseline knn user 50" in shown
        assert f"{WEAK} does not become champion of recsweep" in shown
        assert said("promote", WEAK, "--force", "--reason", "to begin with")[0] == 0
        status, shown, _ = said("promote", GOOD, "--guard", "coverage=none", "--guard", "latency=none")
        assert (status, shown.splitlines()[-1]) == (
            0, f"{GOOD} is the champion now, as version 2 of recsweep; version 1 was champion.")
        status, shown, _ = said("champion")
        assert status == 0
        run = _run(GOOD)
        for part in (f"recsweep version 2: {GOOD}", run.id, run.tags["data_digest"], "model.C=1.0", "promoted by",
                     "f1_at_threshold", "version 1 (run", "version 1 -> 2", "models:/recsweep@champion"):
            assert part in shown
        assert said("rollback", "--reason", "a try")[1] == (
            "Version 1 of recsweep is the champion again, after version 2.\n")
        status, _, error = said("rollback")
        assert (status, error.splitlines()[-1]) == (
            1, "error: Version 1 is the first champion of 'recsweep': there is none before it to return to.")

    @pytest.mark.parametrize(("arguments", "message"), [
        (["promote"], "Say what to promote"),
        (["promote", "x", "--guard", "coverage"], "--guard must be NAME=MARGIN with a number or none"),
        (["promote", "x", "--guard", "latency=0.2"], "--guard latency must be a number at least 1, not 0.2"),
        (["promote", "x", "--force"], "say why, with --reason"),
        (["promote", "x", "--name", "a/b"], "The name of a registered model must begin"),
        (["champion"], "'recsweep' has no champion yet"),
        (["champion", "--name", "other"], "'other' has no champion yet"),
    ])
    def test_a_mistake_is_one_line(self, arguments, message, said, opened):
        status, shown, error = said(*arguments)
        assert (status, shown) == (1, "")
        assert error.startswith("error: ")
        assert message in error

    def test_guards(self):
        assert guards(["coverage=0.2", "latency=none"]) == {"coverage": 0.2, "latency": None}

    def test_champion_is_light(self, promoting, opened, tmp_path):
        promoting(GOOD)
        script = ("import sys; sys.argv = ['recsweep', 'champion']; from recsweep.cli import main; main(); "
                  "print([name for name in ('torch', 'pytorch_lightning', 'hydra') if name in sys.modules])")
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, cwd=tmp_path)
        assert done.stdout.splitlines()[-1] == "[]", done.stderr


# ------------------------------------------------------------------------------------------------------------ processes


def _promote_at_once(uri: str, run: str, barrier, results) -> None:
    """Force a run, all of them at the moment when each has made up its mind."""
    only_one = Registry.only_one

    def after_all(self, **options):
        barrier.wait(120)
        return only_one(self, **options)

    Registry.only_one = after_all
    contest.GRIDS = GRIDS
    tracking_options = TrackingOptions(uri=uri, experiment="recsweep")
    options = PromotionOptions(tracking=tracking_options, runs=[run], rule=Rule(guards={"latency": None}), force=True,
                               reason="at once", splits=1)
    try:
        results.put((run, promote(options, conf_dir()).outcome))
    except RegistryError as error:
        results.put((run, str(error)))


def _stop_before_the_move(uri: str, run: str, there) -> None:
    """Register a version, and never come to give it the alias."""

    def never(self, version, expected):
        there.set()
        time.sleep(600)

    Change.move_champion = never
    contest.GRIDS = GRIDS
    options = PromotionOptions(tracking=TrackingOptions(uri=uri, experiment="recsweep"), runs=[run], splits=1,
                               rule=Rule(guards={"latency": None}), force=True, reason="killed")
    promote(options, conf_dir())


@pytest.mark.slow
class TestProcesses:
    context = multiprocessing.get_context("spawn")

    def test_of_several_at_the_same_moment_one_wins(self, opened, promoting):
        promoting("popularity", force=True, reason="to begin with")
        names = ["knn user 50", "knn item 50", GOOD, WEAK]
        barrier, results = self.context.Barrier(len(names)), self.context.Queue()
        processes = [self.context.Process(target=_promote_at_once, args=(opened.uri, name, barrier, results))
                     for name in names]
        for process in processes:
            process.start()
        found = dict(results.get(timeout=180) for _ in names)
        for process in processes:
            process.join(60)
        outcome = {name: "promoted" if name == GOOD else "forced" for name in names}  # that one needs no force
        winners = [name for name, told in found.items() if told == outcome[name]]
        assert len(winners) == 1, found
        assert all("changed meanwhile: it was version 1, and it is version 2" in told
                   for name, told in found.items() if name not in winners)
        champion = _champion(opened)
        assert (champion.version, champion.run_id) == ("2", _run(winners[0]).id)
        assert sorted(_outcomes(opened)) == sorted(["forced", outcome[winners[0]], "refused", "refused", "refused"])

    def test_a_kill_between_registering_and_moving(self, opened, promoting):
        promoting("popularity", force=True, reason="to begin with")
        there = self.context.Event()
        process = self.context.Process(target=_stop_before_the_move, args=(opened.uri, WEAK, there))
        process.start()
        assert there.wait(120)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert _champion(opened).version == "1"
        assert promoting(GOOD, guards={"coverage": None}).after == "3"  # 2 was registered, and never champion
        assert _champion(opened).previous == "1"
        assert _outcomes(opened) == ["forced", "abandoned", "promoted"]
