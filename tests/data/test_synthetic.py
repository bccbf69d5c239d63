"""Synthetic data: the formula's promises, and that there is something to learn beyond sums of
effects."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from sklearn.metrics import average_precision_score

from recsweep.data.synthetic import Synthetic
from recsweep.errors import ConfigError, DataError

CONF = Path(__file__).parents[2] / "conf" / "data" / "synthetic.yaml"


def synthetic(**changes) -> Synthetic:
    return instantiate(OmegaConf.merge(OmegaConf.load(CONF), changes))


def log_odds(interactions) -> np.ndarray:
    p = interactions.probabilities.astype(np.float64)
    return np.log(p) - np.log1p(-p)


def targets(interactions) -> np.ndarray:
    matrix = np.zeros((interactions.num_users, interactions.num_items), dtype=bool)
    matrix[interactions.users, interactions.items] = True
    return matrix


@pytest.mark.parametrize("density", [0.001, 0.05, 0.5, 0.95])
def test_density_is_the_mean_probability(density):
    interactions = synthetic(num_users=300, num_items=200, density=density).load()
    assert interactions.probabilities.shape == (300, 200)
    assert interactions.probabilities.mean(dtype=np.float64) == pytest.approx(
        density, abs=1e-4 * density
    )
    assert interactions.density == pytest.approx(density, abs=5 * np.sqrt(density / 60_000))


def test_positives_follow_the_probabilities():
    interactions = synthetic().load()
    p, y = interactions.probabilities, targets(interactions)
    for low, high in ((0, 0.02), (0.02, 0.1), (0.1, 0.3), (0.3, 1)):
        inside = (p >= low) & (p < high)
        assert y[inside].mean() == pytest.approx(
            p[inside].mean(), abs=4 * np.sqrt(0.25 / inside.sum())
        )


def test_same_seed_same_data_other_seed_other_data():
    small = synthetic(num_users=50, num_items=40, density=0.2)
    assert small.load().digest == small.load().digest != replace(small, seed=1).load().digest
    assert np.array_equal(small.load().probabilities, small.load().probabilities)


def test_without_affinity_the_log_odds_are_a_sum():
    odds = log_odds(
        synthetic(num_users=60, num_items=50, density=0.3, taste_scale=0, factor_scale=0).load()
    )
    additive = odds.mean(1, keepdims=True) + odds.mean(0) - odds.mean()
    assert np.abs(odds - additive).max() < 1e-3


def test_without_factors_the_affinity_is_one_of_tastes():
    odds = log_odds(
        synthetic(num_users=60, num_items=50, density=0.3, factor_scale=0, num_tastes=3).load()
    )
    residual = odds - odds.mean(1, keepdims=True) - odds.mean(0) + odds.mean()
    assert np.linalg.matrix_rank(residual, tol=0.05) == 2  # three tastes less the means


def test_activity_and_popularity_have_long_tails():
    interactions = synthetic().load()
    for sums in (targets(interactions).sum(0), targets(interactions).sum(1)):
        assert sums.max() > 3 * np.median(sums)


@pytest.mark.parametrize("seed", range(3))
def test_there_is_much_to_learn_and_not_by_sums_alone(seed):
    interactions = synthetic(seed=seed).load()
    odds, y = log_odds(interactions), targets(interactions).ravel()
    additive = odds.mean(1, keepdims=True) + odds.mean(0)
    assert 0.34 < average_precision_score(y, odds.ravel()) < 0.43
    assert 0.14 < average_precision_score(y, additive.ravel()) < 0.24


def test_timestamps_are_a_random_order():
    interactions = synthetic().load()
    assert sorted(interactions.timestamps.tolist()) == list(range(len(interactions)))
    assert abs(np.corrcoef(interactions.timestamps, interactions.users)[0, 1]) < 0.02


def test_raw_ids_are_not_the_indices_and_the_source_names_the_settings():
    interactions = synthetic(num_users=5, num_items=4, density=0.5).load()
    assert interactions.user_ids.ids.tolist() == [1, 2, 3, 4, 5]
    assert "density=0.5" in interactions.source


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"density": 0}, "data.density must be a number above 0 and below 1"),
        ({"density": 1}, "data.density"),
        ({"num_users": 0}, "data.num_users must be a whole number of at least 1"),
        ({"num_tastes": 0}, "data.num_tastes"),
        ({"taste_scale": -1}, "data.taste_scale must be a number at least 0"),
        ({"seed": -1}, "data.seed"),
        (
            {"num_users": 100_000, "num_items": 100_000},
            "at most 100,000,000 cells, not 10,000,000,000",
        ),
    ],
)
def test_impossible_settings(changes, message):
    with pytest.raises(ConfigError, match=message):
        replace(synthetic(), **changes)


def test_no_positive_at_all():
    with pytest.raises(
        DataError, match=r"None of the 4 synthetic cells is positive at data.density=1e-09"
    ):
        synthetic(num_users=2, num_items=2, density=1e-9).load()
