"""Corrections for several tests, paired tests and means, by hand."""

import numpy as np
import pytest

from recsweep.statistics import holm, mean_of_means, paired_p


def test_holm_by_hand() -> None:
    # sorted: .01 * 4, .02 * 3, .03 * 2 (lifted to the .06 before it), .5 * 1
    np.testing.assert_allclose(holm([0.03, 0.01, 0.5, 0.02]), [0.06, 0.04, 0.5, 0.06])
    np.testing.assert_allclose(holm([0.6, 0.7]), [1, 1])
    assert holm([]).shape == (0,)


def test_a_paired_p_by_hand() -> None:
    # differences 1, 2, 3: t is 2 / (1 / sqrt(3)) = 3.4641 with 2 degrees of freedom
    assert paired_p(np.array([2.0, 4.0, 6.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx(
        0.0741799, abs=1e-6
    )


def test_differences_without_noise_are_certain() -> None:
    values = np.array([0.25, 0.5, 0.75])
    assert (paired_p(values, values), paired_p(values + 1, values)) == (1, 0)


def test_each_split_counts_for_one_whatever_its_seeds() -> None:
    assert mean_of_means([[1.0, 3.0], [5.0]]) == 3.5
