"""The rule that a new champion has to meet, by made-up reports."""

from dataclasses import replace

import numpy as np
import pytest

from recsweep.comparison.resampling import Measured
from recsweep.errors import ConfigError, DataError
from recsweep.evaluation import EvaluationReport, cell_metrics
from recsweep.promotion.rule import Contestant, Rule, judge
from tests.stored_runs import report_of


def _report(
    skill: float, *, seed: int = 0, coverage: float = 0.5, cells: bool = True
) -> EvaluationReport:
    """Of a model that tells positives from zeros the better, the more skill it has; the same cells
    for all."""
    rng = np.random.default_rng(5)
    users = np.repeat(np.arange(80), 40).astype(np.int32)
    targets = (rng.random(len(users)) < 0.2).astype(np.uint8)
    noise = np.random.default_rng([seed, 7]).normal(size=len(users))
    probabilities = (1 / (1 + np.exp(-(skill * (2 * targets - 1.0) + noise)))).astype(np.float32)
    ranked = np.clip(
        0.3 + skill / 5 + np.random.default_rng([seed, 8]).normal(0, 0.1, 80), 0, 1
    ).astype(np.float32)
    report = report_of(
        users,
        targets,
        probabilities,
        threshold=0.5,
        ranking=ranked,
        cells=cells,
        metrics={"recall_at_10": float(ranked.mean()), "coverage_at_10": coverage},
        protocol={"k": [5, 10], "split_digest": "of all"},
    )
    return replace(report, per_user={**report.per_user, "recall_at_10": ranked})


def _contestant(role: str, name: str, skill: float, **settings) -> Contestant:
    return Contestant(
        role, Measured(name, {("of all", 0): _report(skill, **settings)}, is_random=False)
    )


def _candidate(skill: float = 1.0, **settings) -> Contestant:
    return _contestant("candidate", "new", skill, **settings)


class TestTheRule:
    def test_a_clear_lead_over_everybody_is_enough(self):
        others = [_contestant("champion", "old", 0.5), _contestant("baseline", "simple", 0.4)]
        found = judge(Rule(), _candidate(), others, (1.0, 1.0))
        assert found.measure == "f1_at_threshold"
        assert found.met
        assert [(line.role, line.measure) for line in found.lines] == [
            ("champion", "f1_at_threshold"),
            ("baseline", "f1_at_threshold"),
            ("champion", "coverage_at_10"),
            ("champion", "latency"),
            ("champion", "average_precision"),
        ]
        lead = found.lines[0]
        assert 0 < lead.difference.low < lead.difference.value < lead.difference.high
        assert lead.difference.value == pytest.approx(lead.candidate - lead.other)
        assert found.value.value == lead.candidate

    def test_one_baseline_that_is_not_beaten_is_enough_to_refuse(self):
        others = [
            _contestant("champion", "old", 0.5),
            _contestant("baseline", "simple", 1.01, seed=3),
        ]
        found = judge(Rule(), _candidate(), others, (1.0, 1.0))
        assert [line.other_name for line in found.lines if not line.met] == ["simple"]
        assert not found.met

    def test_the_same_model_does_not_beat_itself(self):
        (line,) = judge(Rule(), _candidate(), [_contestant("baseline", "twin", 1.0)], None).lines
        assert line.difference.value == 0
        assert not line.met

    def test_a_lead_within_the_noise_is_no_lead(self):
        (line,) = judge(
            Rule(), _candidate(1.02), [_contestant("baseline", "near", 1.0, seed=1)], None
        ).lines
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

    @pytest.mark.parametrize(
        ("coverage", "margin", "met"),
        [
            (0.46, None, True),
            (0.44, None, False),
            (0.44, 0.2, True),
            (0.5, 0.0, True),
            (0.49, 0.0, False),
        ],
    )
    def test_coverage_may_shrink_by_a_share(self, coverage, margin, met):
        rule = Rule(guards={} if margin is None else {"coverage": margin})
        found = judge(
            rule, _candidate(coverage=coverage), [_contestant("champion", "old", 0.5)], (1.0, 1.0)
        )
        assert [line.met for line in found.lines if line.measure == "coverage_at_10"] == [met]

    @pytest.mark.parametrize(
        ("latency", "margin", "met"),
        [
            ((14.0, 10.0), None, True),
            ((16.0, 10.0), None, False),
            ((16.0, 10.0), 2.0, True),
            ((4.9, 0.1), None, True),
        ],
    )
    def test_latency_may_grow_by_a_ratio_but_quick_is_quick(self, latency, margin, met):
        rule = Rule(guards={} if margin is None else {"latency": margin})
        found = judge(rule, _candidate(), [_contestant("champion", "old", 0.5)], latency)
        assert [line.met for line in found.lines if line.measure == "latency"] == [met]

    def test_the_second_measure_counts_by_the_end_of_its_interval(self):
        champion = [_contestant("champion", "old", 1.0, seed=1)]
        for margin, met in ((1.0, True), (0.0, False)):
            rule = Rule(measure="ndcg_at_10", guards={"average_precision": margin})
            (line,) = (
                each
                for each in judge(rule, _candidate(), champion, (1.0, 1.0)).lines
                if each.measure == "average_precision"
            )
            assert line.met is met is (line.difference.low > -margin)

    def test_a_guard_of_a_loss_looks_at_its_upper_end(self):
        rule = Rule(guards={"mse": 0.001})
        (line,) = (
            each
            for each in judge(
                rule, _candidate(0.4), [_contestant("champion", "old", 1.0)], None
            ).lines
            if each.measure == "mse"
        )
        assert line.difference.high > 0.001
        assert not line.met

    def test_a_guard_that_is_left_out(self):
        rule = Rule(guards={"coverage": None, "latency": None})
        found = judge(
            rule, _candidate(coverage=0.1), [_contestant("champion", "old", 0.5)], (900.0, 1.0)
        )
        assert found.met
        assert {line.measure for line in found.lines} == {"f1_at_threshold", "average_precision"}

    @pytest.mark.parametrize(
        ("guard", "margin"),
        [
            ("coverage", -0.1),
            ("coverage", 1.1),
            ("latency", 0.5),
            ("average_precision", -0.01),
            ("mse", float("nan")),
        ],
    )
    def test_an_impossible_margin(self, guard, margin):
        with pytest.raises(ConfigError, match=rf"--guard {guard} must be a number"):
            Rule(guards={guard: margin})

    def test_an_unknown_part(self):
        with pytest.raises(ConfigError, match="--on must be one of validation, test, not 'train'"):
            Rule(part="train")

    def test_a_measure_that_the_reports_do_not_have(self):
        with pytest.raises(ConfigError, match="--measure can't be 'beauty'"):
            Rule(measure="beauty")
        with pytest.raises(DataError, match="The measure 'ndcg_at_7' of new can't be resampled"):
            judge(
                Rule(measure="ndcg_at_7"),
                _candidate(),
                [_contestant("baseline", "simple", 0.4)],
                None,
            )

    def test_there_must_be_somebody_to_compare_with(self):
        with pytest.raises(ConfigError, match="compares with the champion or with baselines"):
            judge(Rule(), _candidate(), [], None)

    def test_several_seeds_count_by_their_mean(self):
        several = Contestant(
            "candidate",
            Measured("new", {("of all", seed): _report(1.0, seed=seed) for seed in range(3)}),
        )
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
        """One of 80 users with 30 times as many cells; only they are better served by the
        candidate, or all are."""
        rng = np.random.default_rng(6)
        users = np.append(np.repeat(np.arange(80), 40), np.full(1200, 3)).astype(np.int32)
        order = np.argsort(users, kind="stable")
        users, targets = users[order], (rng.random(len(users)) < 0.2).astype(np.uint8)
        noise = rng.normal(size=len(users))
        better = np.where(users == 3, 3.0, 0.0 if alone else 0.4)

        def contestant(role: str, name: str, skill: np.ndarray) -> Contestant:
            probabilities = (1 / (1 + np.exp(-(skill * (2 * targets - 1.0) + noise)))).astype(
                np.float32
            )
            report = replace(
                _report(1.0),
                metrics=cell_metrics(targets, probabilities, 0.5),
                cells={
                    "users": users,
                    "items": users,
                    "targets": targets,
                    "probabilities": probabilities,
                },
            )
            return Contestant(role, Measured(name, {("of all", 0): report}, is_random=False))

        others = [contestant("baseline", "simple", np.full(len(users), 0.5))]
        found = judge(
            Rule(measure="average_precision"),
            contestant("candidate", "new", 0.5 + better),
            others,
            None,
        )
        first, second = found.lines
        assert first.difference.value > 0
        assert second.measure == "average_precision without user 3"
        assert "hangs on one user (index 3" in second.note
        assert second.note.endswith("without this user it turns") is not met
        assert (second.met, found.met) == (met, first.met and met)
        assert abs(second.difference.value) < first.difference.value
        assert second.difference.value == pytest.approx(second.candidate - second.other)
