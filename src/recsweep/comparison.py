"""Which differences are more than noise: numbers and words, no tracker."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsweep.errors import ConfigError


@dataclass(frozen=True)
class SeedComparison:
    """Several settings, each run with the same seeds.

    Attributes:
        means: (n,) mean over the seeds of each setting.
        deviations: (n,) standard deviation over the seeds, with n - 1 in the divisor.
        p_values: (n,) of the difference from the best, corrected by Holm; nan for the best itself.
        best: Index of the setting with the best mean.
        tied: Indices that can't be told from the best, the best among them, best mean first.
    """

    means: np.ndarray
    deviations: np.ndarray
    p_values: np.ndarray
    best: int
    tied: tuple[int, ...]


def compare_over_seeds(values: np.ndarray, *, maximise: bool, level: float = 0.05) -> SeedComparison:
    """Find what can't be told from the best mean.

    A setting is tied with the best unless a paired t-test over the seeds (the same seed is the same split and order of
    batches in both) rejects equality at `level` after Holm's correction for the number of settings (S. Holm, "A simple
    sequentially rejective multiple test procedure", Scand. J. Statist. 6, 1979). The best was chosen by the same
    values, which favours it: a tie is sure, a lead is at most as sure as the level says.

    Args:
        values: (n, num_seeds), finite.
        maximise: More is better.
        level: Of the whole family of tests.

    Raises:
        ConfigError: Fewer than two seeds, which leave no noise to compare with.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] < 2:
        raise ConfigError(f"Comparing over seeds takes at least two seeds a setting, not {values.shape[-1]}.")
    means, deviations = values.mean(axis=1), values.std(axis=1, ddof=1)
    best = int(np.argmax(means if maximise else -means))
    others = [place for place in range(len(values)) if place != best]
    p_values = np.full(len(values), np.nan)
    p_values[others] = holm([_paired_p(values[best] - values[place]) for place in others])
    tied = [best, *(place for place in others if p_values[place] > level)]
    tied.sort(key=lambda place: (-means[place] if maximise else means[place], place != best))
    return SeedComparison(means, deviations, p_values, best, tuple(tied))


def _paired_p(differences: np.ndarray) -> float:
    """Two-sided p of a mean difference of zero by Student's t; differences that are all the same non-zero value give 0.
    """
    from scipy import stats

    spread = differences.std(ddof=1) / np.sqrt(len(differences))
    if spread == 0:
        return 1.0 if differences[0] == 0 else 0.0
    return float(2 * stats.t.sf(abs(differences.mean()) / spread, df=len(differences) - 1))


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's step-down adjusted p-values, (n,) in the order given, each at most 1."""
    p_values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p_values, kind="stable")
    adjusted = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    result = np.empty_like(p_values)
    result[order] = np.minimum(adjusted, 1)
    return result
