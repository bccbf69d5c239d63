"""How much each setting matters for the objective, and whether that is more than chance."""

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from recsweep.libraries import quick_imports
from recsweep.tuning.records import StudyRecord
from recsweep.tuning.verdict import Verdict

if TYPE_CHECKING:
    from optuna.study import Study

BEST_TRIALS = 20
"""Number of the best that are looked at, where that is no more than half of the finished ones."""

LEVEL = 0.05
"""Level of the test whether trials differ by more than their seeds."""


def importances(study: "Study") -> dict[str, float]:
    """Importance of each parameter for the objective, adding up to 1, most important first.

    PED-ANOVA (Watanabe et al., "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in
    Arbitrary Subspaces", IJCAI 2023): of 1000 trials in hundredths of a second. {} where it is
    undefined.
    """
    with quick_imports("optuna.importance"):
        from optuna.importance import get_param_importances

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return get_param_importances(study, evaluator=evaluator(study))
    except (ValueError, RuntimeError):  # too few trials, or no parameter that all of them have
        return {}


def evaluator(study: "Study") -> Any:
    """PED-ANOVA asks what sets the best trials apart: here the best 20, at most the better half.

    Its default, the best tenth, is a handful of a small study, and chance.
    """
    from optuna.importance import PedAnovaImportanceEvaluator
    from optuna.trial import TrialState

    finished = len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
    return PedAnovaImportanceEvaluator(target_quantile=_share_of_best(finished))


def _share_of_best(finished: int) -> float:
    return min(0.5, max(0.1, BEST_TRIALS / max(finished, 1)))


@dataclass(frozen=True)
class SeedNoise:
    """How far seeds alone move the objective.

    Attributes:
        deviation: Standard deviation between seeds of one setting, pooled over the settings.
        degrees: Degrees of freedom that it was estimated with.
        source: Place where it was seen, in words.
    """

    deviation: float
    degrees: int
    source: str


def seed_noise(record: StudyRecord, verdict: Verdict | None) -> SeedNoise | None:
    """The noise among trials that differ by seed alone, else in the second look; None without
    either. Of points that are repeated it is that of their means."""
    if (repeats := record.repeats) is not None:
        values = [[run.values[0] for run in point.repeated] for point in record.leaderboard]
        noise = _pooled(values, f"repeats on {len(repeats.values)} {repeats.kind}")
        root = math.sqrt(len(repeats.values))
        return noise and replace(noise, deviation=noise.deviation / root)
    groups: dict[tuple, dict[int | None, float]] = {}  # settings -> seed -> value
    for trial in record.of_state("complete"):
        settings = {name: str(value) for name, value in trial.params.items() if name != "seed"}
        groups.setdefault(tuple(sorted(settings.items())), {})[trial.seed] = trial.values[0]
    values = [list(by_seed.values()) for by_seed in groups.values()]
    noise = _pooled(values, "trials that differ by seed alone")
    if noise is None and verdict is not None:
        overrides = " ".join(verdict.confirmation.overrides)
        values = [[run.values[0] for run in runs] for runs in verdict.runs]
        noise = _pooled(values, "the second look" + (f" with {overrides}" if overrides else ""))
    return noise


def _pooled(groups: Iterable[list[float]], source: str) -> SeedNoise | None:
    """The noise in groups of values that differ by seed alone; one value alone tells nothing."""
    several = [np.array(group) for group in groups if len(group) > 1 and np.isfinite(group).all()]
    degrees = sum(len(values) - 1 for values in several)
    if not degrees:
        return None
    squares = sum(((values - values.mean()) ** 2).sum() for values in several)
    return SeedNoise(float(np.sqrt(squares / degrees)), degrees, source)


@dataclass(frozen=True)
class ImportanceNote:
    """What is said beside a plot of importances.

    Attributes:
        title: Title of the plot, which may be seen alone.
        words: The method, and whether what it shows is more than noise.
    """

    title: str
    words: str


def importance_note(record: StudyRecord, verdict: Verdict | None) -> ImportanceNote:
    """The method, and whether the trials differ by more than their seeds.

    That is asked by the F test of two variances, one-sided at 5 %: the values of trials vary by
    settings and seed, those of one setting by seed alone.
    """
    values = np.array([trial.values[0] for trial in record.leaderboard])
    values = values[np.isfinite(values)]
    method = (
        f"Importance is by PED-ANOVA: it tells by which settings the best "
        f"{100 * _share_of_best(len(values)):.0f} % of the finished trials stand out."
    )
    noise = seed_noise(record, verdict)
    doubt = ", may be noise"
    words = (
        "How far seeds alone move the objective is not known here, so it may be noise: a "
        "second look (hydra.sweeper.confirm.top=5) would tell."
    )
    if noise is not None:
        doubt, words = _against(values, noise)
    return ImportanceNote(f"Importance by PED-ANOVA{doubt}", f"{method} {words}")


def _against(values: np.ndarray, noise: SeedNoise) -> tuple[str, str]:
    from scipy import stats

    spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    ratio = (spread / noise.deviation) ** 2 if noise.deviation else np.inf
    p = float(stats.f.sf(ratio, max(len(values) - 1, 1), noise.degrees))
    deviations = (
        f"The trials' values have a standard deviation of {spread:.2g}, seeds alone one of "
        f"{noise.deviation:.2g} ({noise.source}; {noise.degrees} degrees of freedom)"
    )
    if p > LEVEL:
        return ", noise", (
            f"{deviations}: the spread of the trials lies within that of seeds (F test, p "
            f"{p:.2g}): it is noise."
        )
    return "", f"{deviations}: more than the noise between seeds (F test, p {p:.2g})."
