"""Corrections for several tests, by hand."""

import numpy as np

from recsweep.comparison.resampling import holm


def test_holm_by_hand() -> None:
    # sorted: .01 * 4, .02 * 3, .03 * 2 (lifted to the .06 before it), .5 * 1
    np.testing.assert_allclose(holm([0.03, 0.01, 0.5, 0.02]), [0.06, 0.04, 0.5, 0.06])
    np.testing.assert_allclose(holm([0.6, 0.7]), [1, 1])
    assert holm([]).shape == (0,)
