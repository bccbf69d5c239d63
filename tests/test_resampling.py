"""Intervals over users and seeds: exact where that can be checked, and as wide as they have to be."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, log_loss, roc_auc_score

from recsweep.comparison import Measured, Resampling
from recsweep.errors import DataError
from recsweep.evaluation import EvaluationReport, cell_metrics

USERS, CELLS_A_USER = 120, 25


def _report(users: np.ndarray, targets: np.ndarray, probabilities: np.ndarray, *, ranking: np.ndarray | None = None,
            threshold: float = 0.3, split: str = "s", part: str = "test") -> EvaluationReport:
    cells = {"users": users, "items": np.arange(len(users)), "targets": targets.astype(np.uint8),
             "probabilities": probabilities.astype(np.float32)}
    ranked = np.unique(users)
    ranking = np.zeros(len(ranked)) if ranking is None else ranking
    metrics = cell_metrics(cells["targets"], cells["probabilities"], threshold) | {"ndcg_at_10": float(ranking.mean())}
    return EvaluationReport(
        part=part, metrics=metrics, protocol={"split_digest": split}, counts={}, users=ranked,
        per_user={"ndcg_at_10": ranking.astype(np.float32)}, cells=cells, user_counts=None, collapsed=False,
    )


class _World:
    """Users of a population, each with a density of positives and a taste that is easier or harder to predict."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.users = np.repeat(np.arange(USERS), CELLS_A_USER)
        self.targets = rng.random(len(self.users)) < np.repeat(rng.beta(2, 8, USERS), CELLS_A_USER)
        self.ease = np.repeat(rng.normal(1.5, 0.7, USERS), CELLS_A_USER)

    def fit(self, spread: float = 0.7) -> np.ndarray:
        """(num_cells,): that a model suits some users more than others."""
        return np.repeat(self.rng.normal(0, spread, USERS), CELLS_A_USER)

    def model(self, quality: float = 0.0, own: np.ndarray | None = None) -> EvaluationReport:
        """A model of this quality, which differs from another one of the same by chance alone."""
        own = self.fit() if own is None else own
        noise = self.rng.normal(size=len(self.users))
        logits = (self.ease + own + quality) * self.targets + noise - 2
        ranking = np.clip(0.4 + 0.2 * own[::CELLS_A_USER] + quality / 4 + self.rng.normal(0, 0.1, USERS), 0, 1)
        return _report(self.users, self.targets, 1 / (1 + np.exp(-logits)), ranking=ranking)


@pytest.fixture(scope="module")
def world() -> _World:
    return _World(np.random.default_rng(0))


class TestValues:
    @pytest.mark.parametrize("decimals", [7, 1], ids=["distinct", "ties"])
    def test_each_resample_is_what_scikit_learn_computes_of_its_cells(self, world, decimals):
        report = world.model()
        cells = report.cells
        report = _report(cells["users"], cells["targets"], np.round(cells["probabilities"], decimals))
        cells = report.cells
        resampling = Resampling([Measured("a", {0: report})], replicates=5)
        for place in range(6):
            weights = resampling._weights[cells["users"], place]
            arguments = cells["targets"], cells["probabilities"]
            predicted = cells["probabilities"] >= 0.3
            expected = {
                "average_precision": average_precision_score(*arguments, sample_weight=weights),
                "roc_auc": roc_auc_score(*arguments, sample_weight=weights),
                "log_loss": log_loss(cells["targets"], np.clip(cells["probabilities"].astype(float), 1e-7, 1 - 1e-7),
                                     sample_weight=weights),
                "mse": np.average((cells["targets"] - cells["probabilities"].astype(float)) ** 2, weights=weights),
                "f1_at_threshold": f1_score(cells["targets"], predicted, sample_weight=weights),
                "accuracy_at_threshold": np.average(cells["targets"] == predicted, weights=weights),
            }
            for measure, value in expected.items():
                assert resampling.values("a", measure)[0, place] == pytest.approx(value, abs=1e-6), measure

    def test_the_first_value_is_the_one_that_was_measured(self, world):
        report = world.model()
        resampling = Resampling([Measured("a", {0: report})], replicates=3)
        measures = resampling.measures("a")
        assert {"f1_at_half", "average_precision", "roc_auc", "mse", "log_loss", "ndcg_at_10"} <= set(measures)
        assert not {"threshold", "prevalence"} & set(measures)
        for measure in measures:
            assert resampling.values("a", measure)[0, 0] == pytest.approx(report.metrics[measure], abs=1e-6)

    def test_counts_a_user_stand_in_for_too_many_cells(self, world):
        whole = world.model()
        cells = whole.cells
        positive = cells["targets"] == 1
        counts = {"users": np.arange(USERS, dtype=np.int32)}
        for at, threshold in (("half", 0.5), ("threshold", 0.3)):
            predicted = cells["probabilities"] >= threshold
            chosen = {"true_positives": predicted & positive, "false_positives": predicted & ~positive,
                      "false_negatives": ~predicted & positive, "true_negatives": ~predicted & ~positive}
            counts |= {f"{name}_at_{at}": np.bincount(cells["users"][which], minlength=USERS)
                       for name, which in chosen.items()}
        short = EvaluationReport(**{**vars(whole), "cells": None, "user_counts": counts})
        both = Resampling([Measured("whole", {0: whole}), Measured("short", {0: short})], replicates=20)
        for measure in ("f1_at_half", "precision_at_threshold", "accuracy_at_half", "ndcg_at_10"):
            np.testing.assert_allclose(both.values("whole", measure), both.values("short", measure))
        assert "average_precision" not in both.measures("short")
        with pytest.raises(DataError, match="'average_precision' of short can't be resampled"):
            both.interval("short", "average_precision")

    def test_no_positive_drawn_is_no_division_by_zero(self):
        users = np.arange(30)
        targets = users == 7
        resampling = Resampling([Measured("a", {0: _report(users, targets, users / 30)})])
        for measure in resampling.measures("a"):
            assert np.isfinite(resampling.values("a", measure)).all()


class TestIntervals:
    def test_the_same_model_twice_differs_by_nothing(self, world):
        report = world.model()
        found = Resampling([Measured("a", {0: report}), Measured("b", {0: report})]).difference("a", "b", "mse")
        assert (found.value, found.low, found.high, found.p_value) == (0, 0, 0, 1)
        assert not found.excludes_zero

    def test_the_p_value_is_the_level_whose_interval_reaches_zero(self, world):
        seeds = [{seed: world.model(quality) for seed in range(3)} for quality in (0, 0.2)]
        models = [Measured(name, reports) for name, reports in zip("ab", seeds, strict=True)]
        p = Resampling(models).difference("a", "b", "ndcg_at_10").p_value
        assert 1e-6 < p < 1
        found = Resampling(models, level=1 - p).difference("a", "b", "ndcg_at_10")
        assert min(abs(found.low), abs(found.high)) == pytest.approx(0, abs=1e-9)

    def test_pairing_makes_a_difference_surer_than_the_levels_are(self, world):
        report = world.model()
        shifted = _report(report.cells["users"], report.cells["targets"], report.cells["probabilities"],
                          ranking=np.clip(report.per_user["ndcg_at_10"] + 0.02, 0, 1))
        both = Resampling([Measured("a", {0: shifted}), Measured("b", {0: report})])
        found, level = both.difference("a", "b", "ndcg_at_10"), both.interval("a", "ndcg_at_10")
        assert found.low > 0
        assert found.high - found.low < (level.high - level.low) / 4
        assert found.p_value < 1e-4

    def test_an_interval_stays_inside_what_the_measure_can_be(self):
        users = np.arange(40)
        resampling = Resampling([Measured("a", {0: _report(users, users == 3, np.linspace(0.99, 0, 40))})])
        for measure in resampling.measures("a"):
            found = resampling.interval("a", measure)
            assert found.low >= 0
            assert found.low <= found.value <= found.high
            assert found.high <= 1 or measure == "log_loss"

    def test_seeds_that_disagree_widen_it(self, world):
        same, apart = ({seed: world.model(quality) for seed, quality in enumerate(qualities)}
                       for qualities in ([0, 0, 0], [-1, 0, 1]))
        both = Resampling([Measured("same", same), Measured("apart", apart)])
        widths = [found.high - found.low for found in (both.interval(name, "ndcg_at_10") for name in both.models)]
        assert widths[1] > 4 * widths[0]

    def test_the_same_seed_gives_the_same_numbers(self, world):
        models = [Measured("a", {0: world.model(), 1: world.model()})]
        assert Resampling(models).interval("a", "mse") == Resampling(models).interval("a", "mse")
        assert Resampling(models).interval("a", "mse") != Resampling(models, seed=1).interval("a", "mse")

    @pytest.mark.parametrize("other", [{"split": "t"}, {"part": "validation"}])
    def test_other_data_is_refused(self, world, other):
        cells = world.model().cells
        reports = [_report(cells["users"], cells["targets"], cells["probabilities"], **each) for each in ({}, other)]
        with pytest.raises(DataError, match="Only reports of one part of one split compare"):
            Resampling([Measured("a", {0: reports[0]}), Measured("b", {0: reports[1]})])


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.1, 0.4], ids=["seeds alike", "seeds apart"])
@pytest.mark.parametrize("seeds", [(1, 1), (3, 3), (3, 1)], ids=["one seed", "three seeds", "three against one"])
def test_intervals_are_honest(seeds, spread):
    """Of 200 pairs of models with no true difference, the 95 % interval excludes zero in 2 to 8 %."""
    measures = ("f1_at_threshold", "average_precision", "roc_auc", "mse", "ndcg_at_10")
    wrong = dict.fromkeys(measures, 0)
    rng = np.random.default_rng(20)
    for _ in range(200):
        world = _World(rng)
        models = []
        for name, count in zip("ab", seeds, strict=True):
            own = world.fit()
            several = count > 1  # each seed is a model of its own quality, and suits other users a little more
            models.append(Measured(name, {
                seed: world.model(rng.normal(0, spread * several), own + world.fit(0.2 * several))
                for seed in range(count)
            }))
        resampling = Resampling(models, replicates=200)
        for measure in measures:
            wrong[measure] += resampling.difference("a", "b", measure).excludes_zero
    assert all(4 <= count <= 16 for count in wrong.values()), wrong
