"""Who wins a second look: against scipy, by hand and by simulation."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from recsweep.evaluation import cell_metrics
from recsweep.measures import MEASURES
from recsweep.tuning.confirm import Confirmation, confirmation_of
from recsweep.tuning.options import SecondLook
from recsweep.tuning.records import StudyRecord, TrialRecord
from recsweep.tuning.tables import second_look_table
from recsweep.tuning.verdict import Verdict, compare_over_seeds, margin_of, verdict_of

PREVALENCE = 0.05
CONSTANT_PREDICTIONS = {
    name: each.constant for name, each in MEASURES.items() if each.constant is not None
}


def trial(number: int, value: float, *, size: int = 100) -> TrialRecord:
    return TrialRecord(
        number=number,
        state="complete",
        params={"loss": "mse"},
        overrides=(),
        values=(value,),
        name=f"net {number}",
        num_parameters=size,
        seed=0,
        run_id=f"first {number}",
    )


def study(
    trials: list[TrialRecord], objective: str = "average_precision", direction: str = "maximize"
) -> StudyRecord:
    return StudyRecord(
        name="dims",
        objectives=(f"validation/{objective}",),
        directions=(direction,),
        space={},
        fixed={},
        trials=tuple(trials),
        planned=len(trials),
        sampler="grid",
        pruner="none",
    )


def confirmed(confirmation: Confirmation, values: np.ndarray, **more: str) -> StudyRecord:
    """The confirming study with these values, (trials, seeds)."""
    found = [
        replace(
            trial(0, float(values[place, column])),
            prevalence=PREVALENCE,
            run_id=f"{each.number}/{seed}",
            params={"trial": each.number, "seed": seed},
        )
        for place, each in enumerate(confirmation.trials)
        for column, seed in enumerate(confirmation.seeds)
    ]
    return study(found, **more)


def judge(values: np.ndarray, sizes: list[int], **more: str) -> Verdict:
    """The verdict on trials 0, 1, ... with these values, (trials, seeds)."""
    values = np.asarray(values, dtype=float)
    sign = -1 if more.get("direction") == "minimize" else 1
    first = [trial(number, -sign * number, size=size) for number, size in enumerate(sizes)]
    confirmation = confirmation_of(
        study(first, **more), SecondLook(top=len(sizes), seeds=values.shape[1]), used=0
    )
    return verdict_of(confirmation, confirmed(confirmation, values, **more))


class TestComparison:
    @pytest.mark.parametrize("maximise", [True, False])
    def test_is_a_paired_t_test_and_its_one_sided_interval(self, maximise: bool) -> None:
        values = np.random.default_rng(0).normal(size=(2, 6))
        found = compare_over_seeds(values, maximise=maximise)
        better, other = (values[0], values[1]) if maximise else (values[1], values[0])
        one_sided = stats.ttest_rel(better, other, alternative="less")
        assert found.behind[1] == pytest.approx((better - other).mean())
        assert found.at_most[1] == pytest.approx(one_sided.confidence_interval(0.95).high)
        assert found.p_values[1] == pytest.approx(stats.ttest_rel(values[0], values[1]).pvalue)
        assert np.isnan(found.p_values[0])
        np.testing.assert_allclose(found.deviations, np.std(values, axis=1, ddof=1))

    def test_several_are_corrected_by_holm(self) -> None:
        values = np.random.default_rng(1).normal(size=(3, 5)) + np.array([[1.0], [0.5], [0.0]])
        raw = [stats.ttest_rel(values[0], values[place]).pvalue for place in (1, 2)]
        by_holm = [min(1, 2 * p) if p == min(raw) else max(2 * min(raw), p) for p in raw]
        np.testing.assert_allclose(compare_over_seeds(values, maximise=True).p_values[1:], by_holm)

    def test_differences_without_spread(self) -> None:
        same = np.tile([[0.1, 0.2, 0.3]], (2, 1))
        assert compare_over_seeds(same, maximise=True).p_values[1] == 1
        found = compare_over_seeds(same - np.array([[0.0], [0.25]]), maximise=True)
        assert found.p_values[1] == 0
        assert found.at_most[1] == pytest.approx(0.25)


class TestMargin:
    def test_of_values_that_begin_at_zero_is_a_share_of_the_value(self) -> None:
        for objective in ("average_precision", "f1_at_threshold", "ndcg_at_10"):
            assert margin_of(f"validation/{objective}", 0.25, PREVALENCE).value == pytest.approx(
                0.0025
            )

    @pytest.mark.parametrize(
        ("objective", "best", "constant"),
        [
            ("mse", 0.04, 0.0475),
            ("log_loss", 0.16, -0.05 * np.log(0.05) - 0.95 * np.log(0.95)),
            ("accuracy_at_half", 0.96, 0.95),
            ("accuracy_at_threshold", 0.96, 0.95),
        ],
    )
    def test_of_losses_and_accuracies_is_a_share_of_the_gain(
        self, objective: str, best: float, constant: float
    ) -> None:
        margin = margin_of(f"validation/{objective}", best, PREVALENCE)
        assert margin.value == pytest.approx(0.05 * abs(best - constant))
        assert f"{constant:.4f}" in margin.words

    @pytest.mark.parametrize("name", sorted(CONSTANT_PREDICTIONS))
    def test_the_constant_prediction_is_what_evaluation_measures_of_one(self, name: str) -> None:
        targets = (np.arange(1000) < 300).astype(np.uint8)
        measured = cell_metrics(targets, np.full(1000, 0.3), threshold=0.5)
        assert CONSTANT_PREDICTIONS[name](0.3) == pytest.approx(measured[name])

    def test_without_a_gain_or_a_prevalence_nothing_is_given_up(self) -> None:
        worse = margin_of("validation/mse", 0.05, PREVALENCE)
        assert worse.value == 0
        assert "gains nothing over the constant prediction" in worse.words
        assert margin_of("validation/mse", 0.04, None).value == 0


class TestWinner:
    NOISE = np.array([0.0004, -0.0004, 0.0002, -0.0002, 0.0])

    def test_absence_of_proof_is_no_equality(self) -> None:
        """.2511 against .2380, p = .056: not told apart, and far from shown to be no worse."""
        noise = np.array([0.5, 1.5, -1.0, -0.5, -0.5]) * 0.0111
        verdict = judge(np.stack([0.2511 + noise, np.full(5, 0.2380)]), sizes=[900, 100])
        assert 0.05 < verdict.comparison.p_values[1] < 0.07
        assert verdict.winner.number == 0
        words = verdict.words()
        assert "within the noise" in words
        assert (
            "No smaller model is shown to be no worse: trial 1 is 0.0131 behind, at most 0.0"
            in words
        )
        assert "the margin is 0.0025, 1 % of 0.2511" in words

    @pytest.mark.parametrize("direction", ["maximize", "minimize"])
    def test_a_smaller_one_that_is_shown_no_worse_wins(self, direction: str) -> None:
        sign = 1 if direction == "maximize" else -1
        values = sign * (
            0.5 + sign * np.stack([self.NOISE + 0.001, self.NOISE[::-1], self.NOISE - 0.1])
        )
        verdict = judge(
            sign * values, sizes=[900, 300, 1], direction=direction
        )  # the smallest of all is clearly worse
        assert verdict.winner.number == 1
        one_sided = stats.ttest_rel(values[0], values[1], alternative="less")
        upper = one_sided.confidence_interval(0.975).high  # two are smaller: half the level each
        assert (
            f"it is 0.0010 behind, at most {upper:.4f} (one-sided 95 % over 5 paired seeds, for 2 "
            "smaller models together)" in verdict.words()
        )
        assert "the smallest that is shown to be no worse than the best mean" in verdict.words()
        assert verdict.value == pytest.approx(0.5)

    def test_of_several_the_smallest(self) -> None:
        values = np.stack([0.501 + self.NOISE, 0.5 + self.NOISE[::-1], 0.4995 + self.NOISE])
        assert judge(values, sizes=[900, 300, 200]).winner.number == 2
        assert judge(values, sizes=[900, 200, 300]).winner.number == 1

    def test_a_larger_one_never_wins_by_being_no_worse(self) -> None:
        verdict = judge(np.stack([0.501 + self.NOISE, 0.5 + self.NOISE]), sizes=[100, 300])
        assert verdict.winner.number == 0
        assert "None of the others is smaller" in verdict.words()

    def test_a_loss_is_judged_by_its_gain(self) -> None:
        """A hundredth of the loss itself, 0.0004, would let the smaller one win."""
        values = np.stack([0.0430 + self.NOISE / 100, 0.0433 + self.NOISE / 100])
        verdict = judge(values, sizes=[900, 100], objective="mse", direction="minimize")
        assert verdict.margin.value == pytest.approx(0.05 * (0.0475 - 0.0430))
        assert verdict.winner.number == 0

    def test_a_clear_lead_is_said(self) -> None:
        verdict = judge(np.stack([0.3 + self.NOISE, 0.2 - self.NOISE]), sizes=[100, 100])
        assert "more than the noise" in verdict.words()
        table = second_look_table(verdict)
        header, rows = table.headings(), table.cells()
        assert len(header) == len(rows[0])
        assert rows[0][:4] == ["0", "net 0", "0.0000", "0.3000"]
        assert verdict.winners_runs == ["0/1", "0/3", "0/5", "0/4", "0/2"]  # best value first

    @pytest.mark.parametrize("several", [1, 4])
    def test_few_that_are_a_margin_worse_are_taken_for_no_worse(self, several: int) -> None:
        rng, rounds = np.random.default_rng(3), 600
        wrong = 0
        for _ in range(rounds):
            noise = rng.normal(scale=0.002, size=(several + 1, 5))
            values = np.append([[1.0]], np.full((several, 1), 0.99), axis=0) + noise
            wrong += judge(values, sizes=[900, *range(several, 0, -1)]).winner.number != 0
        assert 0.02 < wrong / rounds < 0.07  # the level of all together is 0.05

    def test_equal_ones_are_mostly_shown(self) -> None:
        rng = np.random.default_rng(4)
        values = [1.0 + rng.normal(scale=0.002, size=(2, 5)) for _ in range(300)]
        smallest = [judge(each, sizes=[900, 100]).winner.number == 1 for each in values]
        assert np.mean(smallest) > 0.95


class TestConvergence:
    def test_a_best_epoch_that_is_the_last_is_said(self) -> None:
        values = np.array([[0.30, 0.31], [0.20, 0.21]])
        confirmation = confirmation_of(
            study([trial(0, 0.3), trial(1, 0.2)]), SecondLook(top=2, seeds=2), used=0
        )
        record = confirmed(confirmation, values)
        epochs = {
            (0, 1): (60, 60),
            (0, 2): (52, 60),
            (1, 1): (60, 60),
            (1, 2): (60, 60),
        }  # best, trained
        record = replace(
            record,
            trials=tuple(
                replace(
                    each,
                    best_epoch=epochs[each.params["trial"], each.params["seed"]][0],
                    max_epochs=60,
                    epochs=epochs[each.params["trial"], each.params["seed"]][1],
                )
                for each in record.trials
            ),
        )
        verdict = verdict_of(confirmation, record)
        assert verdict.words().endswith(
            "The best epoch is the last: not converged, trial 0 in 1 of 2 seeds (limit 60), "
            "trial 1 in 2 of 2 seeds (limit 60)."
        )
        assert [row[-1] for row in second_look_table(verdict).cells()] == [
            "60, 52 of 60: not converged in 1",
            "60, 60 of 60: not converged in 2",
        ]

    def test_one_that_stopped_before_its_limit_has_converged(self) -> None:
        stopped = replace(trial(0, 0.3), best_epoch=12, epochs=20, max_epochs=60)
        assert not stopped.is_unconverged
        assert not replace(
            stopped, best_epoch=20
        ).is_unconverged  # ended by patience after its limit would have
        assert replace(stopped, best_epoch=60, epochs=60).is_unconverged
        assert not replace(
            trial(0, 0.3), best_epoch=1, epochs=1
        ).is_unconverged  # not trained in epochs


def test_trials_that_lack_a_seed_are_left_out() -> None:
    first = [trial(0, 0.3), trial(1, 0.2), trial(2, 0.1)]
    confirmation = confirmation_of(study(first), SecondLook(top=3, seeds=2), used=0)
    whole = confirmed(confirmation, np.array([[0.3, 0.31], [0.2, 0.21], [0.1, 0.12]]))
    cut = replace(
        whole,
        trials=tuple(
            replace(each, state="failed") if each.params == {"trial": 0, "seed": 2} else each
            for each in whole.trials
        ),
    )
    assert [each.number for each in verdict_of(confirmation, cut).trials] == [1, 2]
    without = confirmed(confirmation, np.array([[0.3, -np.inf], [0.2, 0.21], [0.1, 0.12]]))
    assert [each.number for each in verdict_of(confirmation, without).trials] == [1, 2]
    assert verdict_of(confirmation, replace(whole, trials=whole.trials[:2])) is None
