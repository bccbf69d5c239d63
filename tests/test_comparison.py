"""Statistics of settings over seeds, against scipy, by hand and by simulation."""

import numpy as np
import pytest
from scipy import stats

from recsweep.comparison import compare_over_seeds, holm
from recsweep.errors import ConfigError


def test_holm_by_hand() -> None:
    # sorted: .01 * 4, .02 * 3, .03 * 2 (lifted to the .06 before it), .5 * 1
    np.testing.assert_allclose(holm([0.03, 0.01, 0.5, 0.02]), [0.06, 0.04, 0.5, 0.06])
    np.testing.assert_allclose(holm([0.6, 0.7]), [1, 1])
    assert holm([]).shape == (0,)


@pytest.mark.parametrize("maximise", [True, False])
def test_two_settings_are_a_paired_t_test(maximise: bool) -> None:
    values = np.random.default_rng(0).normal(size=(2, 6))
    found = compare_over_seeds(values, maximise=maximise)
    assert found.best == int(values.mean(axis=1).argmax() if maximise else values.mean(axis=1).argmin())
    assert found.p_values[1 - found.best] == pytest.approx(stats.ttest_rel(values[0], values[1]).pvalue)
    assert np.isnan(found.p_values[found.best])
    np.testing.assert_allclose(found.deviations, np.std(values, axis=1, ddof=1))


def test_a_clear_lead_and_a_tie() -> None:
    noise = np.array([0.001, -0.001, 0.0005, -0.0005, 0.0])
    seeds = np.array([0.03, 0.0, -0.02, 0.01, 0.02])  # what a seed does to every setting alike
    values = np.stack([0.20 + seeds + noise, 0.2002 + seeds - noise, 0.15 + seeds + noise[::-1]])
    assert compare_over_seeds(values, maximise=True).tied == (1, 0)
    assert compare_over_seeds(values, maximise=False).tied == (2,)


def test_identical_runs_are_tied_and_a_constant_difference_is_not() -> None:
    same = np.tile([[0.1, 0.2, 0.3]], (2, 1))
    assert compare_over_seeds(same, maximise=True).tied == (0, 1)
    assert compare_over_seeds(same + np.array([[0.0], [0.25]]), maximise=True).tied == (1,)


def test_one_seed_leaves_no_noise_to_compare_with() -> None:
    with pytest.raises(ConfigError, match="at least two seeds"):
        compare_over_seeds(np.ones((3, 1)), maximise=True)


def test_of_two_equal_settings_few_are_called_different() -> None:
    rng = np.random.default_rng(1)
    lone = [len(compare_over_seeds(rng.normal(size=(2, 5)), maximise=True).tied) == 1 for _ in range(600)]
    assert 0.03 < np.mean(lone) < 0.075  # the level of one test is 0.05
