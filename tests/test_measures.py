"""The entries of the measures, new ones against references; nothing else names a measure."""

import ast
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from recsweep.comparison.resampling import Resampling
from recsweep.measures import (
    COMPARED,
    ENTRIES,
    GROUPS,
    MEASURES,
    TRAIN_LOSS,
    available,
    measure,
    shown,
)
from recsweep.measures.forms import AllLists
from recsweep.measures.of_cells import bins_of, expected_calibration_error, rank_cells
from recsweep.measures.of_lists import Lists, gini, novelty, self_information
from tests.test_metrics import random_cells
from tests.test_resampling import _measured, _report

PACKAGE = Path(__file__).parents[1] / "src" / "recsweep"

NAMES_OF_OTHERS = {"losses": {"mse"}, "models.saved": {"mse"}}
"""Words that are names of measures too, by module: the loss of a net."""


def _words(tree: ast.Module) -> list[str]:
    """String literals of a module, those of f-strings among them, without docstrings."""
    told = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in told
    ]


def test_nothing_else_names_a_measure() -> None:
    families = tuple(each.name.removesuffix("{k}") for each in ENTRIES if each.length is not None)
    named: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        if not module.startswith("measures"):
            words = {
                word.removeprefix("validation/").removeprefix("test/")
                for word in _words(ast.parse(path.read_text(encoding="utf-8")))
            }
            found = {
                word
                for word in words & (set(MEASURES) | {TRAIN_LOSS.logged})
                if not word.startswith(("fit/", "model/", "memory/"))
            }
            found |= {word for word in words if word.startswith(families)}
            named |= {module: found} if found else {}
    assert named == NAMES_OF_OTHERS


class TestEntries:
    def test_a_name_finds_its_measure_whatever_its_form(self) -> None:
        assert [measure(name).name for name in MEASURES] == list(MEASURES)
        assert (measure("validation/ndcg_at_7").title, measure("ndcg_at_7").length) == ("NDCG@7", 7)
        assert measure("test/average_precision_per_user").title == "average precision per user"
        assert measure("train/loss") is measure("train_loss") is TRAIN_LOSS
        assert (TRAIN_LOSS.on_validation, measure("mse").on_validation) == (
            "train/loss",
            "validation/mse",
        )

    def test_less_is_better_of_losses_costs_and_inequality(self) -> None:
        assert {name for name, each in MEASURES.items() if not each.maximise} == {
            "mse",
            "log_loss",
            "ece",
            "mse_per_user",
            "log_loss_per_user",
            "gini_at_10",
            "train_loss",
            "fit/seconds",
            "fit/watch_seconds",
            "fit/epochs",
            "model/num_parameters",
            "memory/peak_mb",
        }
        assert measure("something/of_ones_own").maximise

    def test_a_measure_of_lists_has_any_length(self) -> None:
        assert measure("recall_at_20").at(5).name == "recall_at_5"
        assert measure("mse").at(5) is measure("mse")
        assert [each.name for each in available("guard", cells=False, lengths=[5, 20])] == [
            "ndcg_at_5",
            "recall_at_5",
        ]

    def test_what_is_shown_can_be_shown(self) -> None:
        assert all(each.group in GROUPS and each.column for each in COMPARED.values() if each.group)
        assert [each.heading for each in shown("intervals")] == [
            "F1 at .5",
            "F1 tuned",
            "avg prec.",
            "MSE",
            "NDCG @10",
        ]
        assert all(
            each.compared
            for view in ("leading", "paid", "spoken", "differences")
            for each in shown(view)
        )

    def test_all_but_what_is_of_all_lists_together_has_an_interval(self) -> None:
        assert {name for name, each in COMPARED.items() if isinstance(each.form, AllLists)} == {
            "gini_at_10"
        }


class TestCalibrationError:
    @pytest.mark.parametrize("seed", range(3))
    def test_equals_scikit_learn_with_bins_of_equal_mass(self, seed: int) -> None:
        targets, probabilities = random_cells(seed, decimals=7, n=15 * 40)
        assert len(np.unique(probabilities)) == 600
        observed, predicted = calibration_curve(
            targets, probabilities, n_bins=15, strategy="quantile"
        )
        expected = np.abs(observed - predicted).mean()
        assert expected_calibration_error(rank_cells(targets, probabilities)) == pytest.approx(
            expected, abs=1e-7
        )

    @pytest.mark.parametrize("decimals", [1, 2])
    def test_cells_of_the_same_probability_share_a_bin(self, decimals: int) -> None:
        targets, probabilities = random_cells(0, decimals)
        place = [0] * len(targets)
        for value in set(probabilities.tolist()):
            above, equal = (
                int((probabilities > np.float32(value)).sum()),
                probabilities == np.float32(value),
            )
            middle = above + (equal.sum() - 1) / 2
            for cell in np.flatnonzero(equal):
                place[cell] = int(15 * middle / len(targets))
        gaps = [
            abs(
                sum(
                    float(p) - y
                    for p, y, b in zip(probabilities, targets, place, strict=True)
                    if b == each
                )
            )
            for each in set(place)
        ]
        found = expected_calibration_error(rank_cells(targets, probabilities))
        assert found == pytest.approx(sum(gaps) / len(targets), abs=1e-9)
        order = np.random.default_rng(1).permutation(len(targets))
        assert expected_calibration_error(rank_cells(targets[order], probabilities[order])) == found

    def test_of_a_calibrated_constant_is_zero_and_of_a_wrong_one_the_distance(self) -> None:
        targets = (np.arange(100) < 30).astype(np.uint8)
        assert expected_calibration_error(rank_cells(targets, np.full(100, 0.3))) == pytest.approx(
            0, abs=1e-12
        )
        assert expected_calibration_error(rank_cells(targets, np.full(100, 0.5))) == pytest.approx(
            0.2
        )
        assert np.isnan(expected_calibration_error(rank_cells(targets[:0], np.empty(0))))

    @pytest.mark.parametrize("decimals", [7, 1])
    def test_each_resample_is_that_of_its_cells_in_the_same_bins(self, decimals: int) -> None:
        targets, probabilities = random_cells(2, decimals)
        users = np.sort(np.random.default_rng(0).integers(0, 12, len(targets)))
        report = _report(users, targets, probabilities)
        resampling = Resampling([_measured("a", report)], replicates=6)
        ranked = rank_cells(targets, probabilities)
        place = np.array(
            [
                bins_of(ranked.num_predicted, 15)[ranked.thresholds == value][0]
                for value in probabilities
            ]
        )
        for column, value in enumerate(resampling.values("a", "ece")[0][0]):
            weights = resampling._weights[users, column]
            gaps = [
                abs((weights * (probabilities.astype(float) - targets))[place == each].sum())
                for each in range(15)
            ]
            assert value == pytest.approx(sum(gaps) / weights.sum(), abs=1e-6)
        assert resampling.values("a", "ece")[0][0, 0] == pytest.approx(
            report.metrics["ece"], abs=1e-6
        )
        influence = resampling.interval("a", "ece").influence
        kept = users != influence.user
        gaps = [
            abs((probabilities.astype(float) - targets)[kept & (place == each)].sum())
            for each in range(15)
        ]
        assert influence.change == pytest.approx(
            sum(gaps) / kept.sum() - report.metrics["ece"], abs=1e-6
        )

    def test_an_interval_takes_the_bins_of_those_who_count(self) -> None:
        targets, probabilities = random_cells(2, 7)
        users = np.sort(np.random.default_rng(0).integers(0, 12, len(targets)))
        without = Resampling(
            [_measured("a", _report(users, targets, probabilities))], replicates=5, without=3
        )
        kept = users != 3
        expected = expected_calibration_error(rank_cells(targets[kept], probabilities[kept]))
        assert without.interval("a", "ece").value == pytest.approx(expected, abs=1e-6)


def _lists(
    items: np.ndarray, num_items: int, bits: np.ndarray | None = None, candidates: int | None = None
) -> Lists:
    bits = np.zeros(num_items) if bits is None else bits
    return Lists(items, items >= 0, np.ones(len(items)), num_items, candidates or num_items, bits)


class TestGini:
    @pytest.mark.parametrize("seed", range(3))
    def test_is_half_the_mean_difference_of_all_pairs_over_the_mean(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        items = np.array(
            [rng.choice(30, 5, replace=False, p=rng.dirichlet(np.full(30, 0.5))) for _ in range(40)]
        )
        exposure = np.array([(items == item).sum() for item in range(30)])
        expected = np.abs(exposure[:, None] - exposure[None]).mean() / (2 * exposure.mean())
        assert gini(_lists(items, 30)) == pytest.approx(expected)

    def test_of_equal_exposure_is_zero_and_of_one_item_nearly_one(self) -> None:
        assert gini(_lists(np.array([[0, 1], [2, 3]]), 4)) == pytest.approx(0)
        assert gini(_lists(np.zeros((7, 1), int), 10)) == pytest.approx(0.9)
        assert gini(
            _lists(np.array([[8, -1], [9, 8], [9, -1]]), 10, candidates=2)
        ) == pytest.approx(0)
        assert np.isnan(gini(_lists(np.full((2, 2), -1), 4)))


class TestNovelty:
    def test_is_the_mean_of_minus_log2_of_the_share_of_users(self) -> None:
        liked_by = {0: 8, 1: 4, 2: 1, 3: 0}
        lists = [[0, 1], [2, 3], [1, -1], [-1, -1]]
        bits = self_information(np.array(list(liked_by.values())), 8)
        found = novelty(_lists(np.array(lists), 4, bits))
        assert found[:3].tolist() == [
            0.5,
            3,
            1,
        ]  # an item that nobody likes is as novel as one that one user likes
        assert np.isnan(found[3])

    def test_of_random_lists(self) -> None:
        rng = np.random.default_rng(0)
        likes = [(int(user), int(item)) for user, item in rng.integers(0, [50, 20], (300, 2))]
        likers = Counter(item for _, item in set(likes))
        items = np.array([rng.choice(20, 6, replace=False) for _ in range(9)])
        bits = self_information(np.array([likers[item] for item in range(20)]), 50)
        expected = [
            sum(np.log2(50) - np.log2(max(likers[int(item)], 1)) for item in row) / 6
            for row in items
        ]
        np.testing.assert_allclose(novelty(_lists(items, 20, bits)), expected)

    def test_without_anybody_in_training_there_is_none(self) -> None:
        assert np.isnan(self_information(np.zeros(3), 0)).all()


def test_a_report_of_before_a_measure_compares_by_what_both_have() -> None:
    targets, probabilities = random_cells(0, 7)
    users = np.sort(np.random.default_rng(0).integers(0, 12, len(targets)))
    now = _report(users, targets, probabilities)
    before = replace(
        now, metrics={name: value for name, value in now.metrics.items() if name != "ece"}
    )
    for reports in ([now, before], [before, now]):
        resampling = Resampling(
            [_measured("seeds", reports), _measured("other", [now, now])], replicates=5
        )
        assert "ece" not in resampling.measures("seeds")
        assert {"ece", "mse"} <= set(resampling.measures("other"))
        assert resampling.difference("seeds", "other", "mse").value == 0


def _calibrated_world(rng: np.random.Generator, num_users: int) -> tuple[np.ndarray, ...]:
    """Users of 30 cells each, targets, and log odds that tell the truth."""
    users = np.repeat(np.arange(num_users), 30)
    log_odds = rng.normal(0, 0.7, num_users)[users] + rng.normal(-2, 1, len(users))
    return users, (rng.random(len(users)) < 1 / (1 + np.exp(-log_odds))).astype(np.uint8), log_odds


@pytest.mark.slow
@pytest.mark.parametrize(
    ("slope", "shift", "low", "high"), [(1, 0.6, 0.85, 1), (0.7, 0, 0.85, 1), (1, 0, 0, 0.2)]
)
def test_an_interval_covers_an_error_that_is_larger_than_its_noise(
    slope: float, shift: float, low: float, high: float
) -> None:
    """Bins of a few hundred cells differ from what is predicted by chance: none measures 0."""

    def predicted(log_odds: np.ndarray) -> np.ndarray:
        return (1 / (1 + np.exp(-slope * log_odds - shift))).astype(np.float32)

    _, targets, log_odds = _calibrated_world(np.random.default_rng(99), 20_000)
    truth = expected_calibration_error(rank_cells(targets, predicted(log_odds)))
    covered = 0
    for seed in range(60):
        users, targets, log_odds = _calibrated_world(np.random.default_rng(seed), 300)
        report = _report(users, targets, predicted(log_odds))
        measured = _measured("a", report, is_random=False)
        interval = Resampling([measured], replicates=100).interval("a", "ece")
        covered += interval.low <= truth <= interval.high
    assert low <= covered / 60 <= high
