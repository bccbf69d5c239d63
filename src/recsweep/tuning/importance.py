"""How much each setting matters for the objective, by which method, and whether that is more than chance."""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recsweep.tuning.records import StudyRecord
from recsweep.tuning.verdict import Verdict

if TYPE_CHECKING:
    from optuna.study import Study

BEST_TRIALS = 20
"""How many of the best importance looks at, where that is no more than half of the finished ones."""

LEVEL = 0.05
"""Of the test whether trials differ by more than their seeds."""


def importances(study: "Study") -> dict[str, float]:
    """Importance of each parameter for the objective, adding up to 1, most important first; {} where it is undefined.

    PED-ANOVA (Watanabe et al., "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces",
    IJCAI 2023): of 1000 trials in hundredths of a second.
    """
    from optuna.importance import get_param_importances

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return get_param_importances(study, evaluator=evaluator(study))
    except (ValueError, RuntimeError):  # too few trials, or no parameter that all of them have
        return {}


def evaluator(study: "Study") -> Any:
    """PED-ANOVA asks what sets the best trials apart; its default best tenth of a small study is a handful, and chance.
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
        source: Where it was seen, in words.
    """

    deviation: float
    degrees: int
    source: str


def seed_noise(record: StudyRecord, verdict: Verdict | None) -> SeedNoise | None:
    """From trials that differ by their seed alone, else from the second look; None where a study has neither."""
    groups: dict[tuple, dict[int | None, float]] = {}  # settings -> seed -> value
    for trial in record.of_state("complete"):
        settings = tuple(sorted((name, str(value)) for name, value in trial.params.items() if name != "seed"))
        groups.setdefault(settings, {})[trial.seed] = trial.values[0]
    found = _pooled([list(values.values()) for values in groups.values()], "trials that differ by seed alone")
    if found is None and verdict is not None:
        overrides = f" with {' '.join(verdict.confirmation.overrides)}" if verdict.confirmation.overrides else ""
        found = _pooled([[run.values[0] for run in runs] for runs in verdict.runs], f"the second look{overrides}")
    return found


def _pooled(groups: Iterable[list[float]], source: str) -> SeedNoise | None:
    several = [np.array(values) for values in groups if len(values) > 1 and np.isfinite(values).all()]
    degrees = sum(len(values) - 1 for values in several)
    if not degrees:
        return None
    squares = sum(((values - values.mean()) ** 2).sum() for values in several)
    return SeedNoise(float(np.sqrt(squares / degrees)), degrees, source)


@dataclass(frozen=True)
class ImportanceNote:
    """What is said beside a plot of importances.

    Attributes:
        title: Of the plot, which may be seen alone.
        words: The method, and whether what it shows is more than noise.
    """

    title: str
    words: str


def importance_note(record: StudyRecord, verdict: Verdict | None) -> ImportanceNote:
    """The method, and whether the trials differ by more than their seeds: by the F test of two variances, one-sided at
    5 %, as a trial's value varies by its settings and its seed, that of one setting by its seed alone."""
    values = np.array([trial.values[0] for trial in record.of_state("complete")])
    values = values[np.isfinite(values)]
    best = f"{_share_of_best(len(values)):.0%}"
    method = f"Importance is by PED-ANOVA: it tells by which settings the best {best} of the finished trials stand out."
    noise = seed_noise(record, verdict)
    if noise is None:
        doubt, words = ", may be noise", ("How far seeds alone move the objective is not known here, so it may be "
                                          "noise: a second look (hydra.sweeper.confirm.top=5) would tell.")
    else:
        doubt, words = _against(values, noise)
    return ImportanceNote(f"Importance by PED-ANOVA{doubt}", f"{method} {words}")


def _against(values: np.ndarray, noise: SeedNoise) -> tuple[str, str]:
    from scipy import stats

    spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    told = (f"The trials' values have a standard deviation of {spread:.2g}, seeds alone one of {noise.deviation:.2g} "
            f"({noise.source}; {noise.degrees} degrees of freedom)")
    ratio = (spread / noise.deviation) ** 2 if noise.deviation else np.inf
    p = float(stats.f.sf(ratio, max(len(values) - 1, 1), noise.degrees))
    if p > LEVEL:
        return ", noise", f"{told}: the spread of the trials lies within that of seeds (F test, p {p:.2g}): it is noise."
    return "", f"{told}: more than the noise between seeds (F test, p {p:.2g})."
