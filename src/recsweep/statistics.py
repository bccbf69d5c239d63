"""Statistics of any numbers: a correction for several tests, a paired test, means of means."""

from collections.abc import Iterable, Sequence

import numpy as np


def mean_of_means(groups: Iterable[Sequence[float]]) -> float:
    """Mean over the seeds of each split, then over the splits: each split counts for one."""
    means = [sum(group) / len(group) for group in groups]
    return float(sum(means) / len(means))


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's step-down adjusted p-values, (n,) in the order given, each at most 1.

    A p that is nan stays so and counts for none.
    """
    result = np.asarray(p_values, dtype=np.float64).copy()
    tested = np.flatnonzero(~np.isnan(result))
    order = tested[np.argsort(result[tested], kind="stable")]
    adjusted = np.maximum.accumulate(result[order] * np.arange(len(order), 0, -1))
    result[order] = np.minimum(adjusted, 1)
    return result


def paired_p(first: np.ndarray, second: np.ndarray) -> float:
    """The two-sided p of no mean difference of two paired samples (n,) by Student's t.

    Differences that are all the same have no noise to be compared with: they give 0, and 1 where
    they are none.
    """
    from scipy.stats import ttest_rel

    differences = first - second
    if np.ptp(differences) <= 1e-12 * np.abs(differences).max():  # but for rounding
        return 1.0 if differences[0] == 0 else 0.0
    return float(ttest_rel(first, second).pvalue)
