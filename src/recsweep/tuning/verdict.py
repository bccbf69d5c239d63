"""Who wins a second look: the best mean, or a smaller model that is shown to be no worse."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsweep.measures import measure
from recsweep.statistics import holm, paired_p
from recsweep.tuning.confirm import Confirmation
from recsweep.tuning.records import StudyRecord, TrialRecord

LEVEL = 0.05
"""Level of a second look: smaller models are no worse with 95 % confidence on one side, all
together."""

SHARE_OF_VALUE = 0.01
"""Margin of average precision, F1, rankings and all else, as a share of the best mean."""

SHARE_OF_GAIN = 0.05
"""Margin of losses and accuracies, most of whose value a constant prediction reaches, as a share of
the best mean's gain over that."""


@dataclass(frozen=True)
class Margin:
    """How far behind the best mean a model may be that still counts as no worse.

    Attributes:
        value: Distance in units of the objective; 0 where nothing may be given up.
        words: The value that it is a share of.
    """

    value: float
    words: str


def margin_of(objective: str, best: float, prevalence: float | None) -> Margin:
    """The margin of an objective.

    Args:
        objective: Logged name of the objective, as `validation/average_precision`.
        best: The best mean of the objective.
        prevalence: Share of positives among the cells that it is of; None where it is not known.
    """
    chosen_by = measure(objective)
    if chosen_by.constant is None:
        return Margin(SHARE_OF_VALUE * abs(best), f"{100 * SHARE_OF_VALUE:g} % of {best:.4f}")
    if prevalence is None:
        return Margin(0.0, "as the prevalence of validation was not logged")
    constant = chosen_by.constant(prevalence)
    gain = best - constant if chosen_by.maximise else constant - best
    over = f"over the constant prediction's {constant:.4f}"
    if gain <= 0:
        return Margin(0.0, f"as the best mean gains nothing {over}")
    return Margin(SHARE_OF_GAIN * gain, f"{100 * SHARE_OF_GAIN:g} % of the gain {over}")


@dataclass(frozen=True)
class SeedComparison:
    """Several settings against the first of them, each run with the same seeds.

    Attributes:
        means: (n,) mean over the seeds of each setting.
        deviations: (n,) standard deviation over the seeds, with n - 1 in the divisor.
        behind: (n,) mean difference from the first over the paired seeds, positive where the first
            is better.
        at_most: (n,) upper bound of that difference, one-sided: 95 % for all that is shown
            together.
        p_values: (n,) two-sided p of no difference, corrected by Holm; nan for the first itself.
    """

    means: np.ndarray
    deviations: np.ndarray
    behind: np.ndarray
    at_most: np.ndarray
    p_values: np.ndarray


def compare_over_seeds(values: np.ndarray, *, maximise: bool, shown: int = 1) -> SeedComparison:
    """Compare settings over paired seeds: one seed is the same order of batches in all of them.

    Student's t for paired differences. Bounds are Bonferroni's: one by one at 95 %, of four models
    that are just a margin worse one would be shown to be no worse in 16 % of second looks. The
    two-sided p are corrected by Holm for the number of settings (S. Holm, "A simple sequentially
    rejective multiple test procedure", Scand. J. Statist. 6, 1979). Where the first was chosen as
    the best mean of the same values, chance favours it: the others are shown to be no worse less
    easily, and its lead is at most as sure as the p says.

    Args:
        values: (n, num_seeds), finite, with at least two seeds.
        maximise: Whether more is better.
        shown: Number of the settings that may be shown to be no worse.
    """
    from scipy import stats

    num_seeds = values.shape[1]
    differences = (values[0] - values) * (1 if maximise else -1)  # (n, num_seeds)
    behind = differences.mean(axis=1)
    errors = differences.std(axis=1, ddof=1) / np.sqrt(num_seeds)
    at_most = behind + stats.t.ppf(1 - LEVEL / shown, df=num_seeds - 1) * errors
    p_values = np.full(len(values), np.nan)
    p_values[1:] = holm([paired_p(values[0], others) for others in values[1:]])
    deviations = values.std(axis=1, ddof=1)
    return SeedComparison(values.mean(axis=1), deviations, behind, at_most, p_values)


@dataclass(frozen=True)
class Verdict:
    """What the second look says.

    Attributes:
        confirmation: The trials that were run again.
        trials: The trials that finished with every seed, best mean first.
        runs: Their trials in the second look, one a seed, in the same order.
        comparison: Comparison of their values over the seeds, in the same order.
        margin: Distance behind the best mean that a smaller model may have.
        place: Place of the winner among them.
        objective: Logged name of what was measured.
        maximise: Whether more of it is better.
    """

    confirmation: Confirmation
    trials: tuple[TrialRecord, ...]
    runs: tuple[tuple[TrialRecord, ...], ...]
    comparison: SeedComparison
    margin: Margin
    place: int
    objective: str
    maximise: bool

    @property
    def winner(self) -> TrialRecord:
        """The trial of the study that wins."""
        return self.trials[self.place]

    @property
    def value(self) -> float:
        """The winner's mean over the seeds."""
        return float(self.comparison.means[self.place])

    @property
    def winners_runs(self) -> list[str]:
        """Ids of the runs in MLflow that the second look made of the winner, best value first."""
        runs = sorted(self.runs[self.place], key=lambda run: run.values[0], reverse=self.maximise)
        return [run.run_id for run in runs if run.run_id]

    def words(self) -> str:
        """Who wins, by which rule, and how sure that is."""
        settings, setting = " ".join(self.confirmation.overrides), self.confirmation.each
        over = f"{self._num_seeds} fresh seeds{self.confirmation.beside_words}"
        over += f" with {settings}" if settings else ""
        named = f"{self.winner.number}, {self.winner.name}"
        named += f" ({setting}={self.winner.params.get(setting)})" if setting else ""
        rule = self._best_mean() if self.place == 0 else self._no_worse()
        words = f"winner: trial {named}, {self.objective} {self.value:.4f} over {over}, {rule}"
        return f"{words} {unconverged}" if (unconverged := self._unconverged()) else words

    @property
    def _num_seeds(self) -> int:
        return len(self.confirmation.seeds)

    def _best_mean(self) -> str:
        p = self.comparison.p_values[1]
        noise = "more than the noise" if p <= LEVEL else "within the noise"
        lead = (
            f"the best mean. Its lead of {self.comparison.behind[1]:.4f} over trial "
            f"{_in_words(self.trials[1])} is {noise} between seeds (p {p_in_words(p)}, paired "
            "t-tests, Holm-corrected)."
        )
        if not (less := smaller(self.trials)):
            return f"{lead} None of the others is smaller."
        nearest = min(less, key=lambda place: self.comparison.at_most[place])
        return (
            f"{lead} No smaller model is shown to be no worse: trial "
            f"{self.trials[nearest].number} is {self._behind(nearest)}."
        )

    def _no_worse(self) -> str:
        return (
            f"the smallest that is shown to be no worse than the best mean, "
            f"{self.comparison.means[0]:.4f} of trial {_in_words(self.trials[0])}: it is "
            f"{self._behind(self.place)}."
        )

    def _behind(self, place: int) -> str:
        behind, at_most = self.comparison.behind[place], self.comparison.at_most[place]
        several = len(smaller(self.trials))
        together = f", for {several} smaller models together" if several > 1 else ""
        return (
            f"{behind:.4f} behind, at most {at_most:.4f} (one-sided 95 % over "
            f"{self._num_seeds} paired seeds{together}); the margin is "
            f"{self.margin.value:.4f}, {self.margin.words}"
        )

    def _unconverged(self) -> str:
        counted = [
            f"trial {trial.number} in {count} of {self._num_seeds} seeds "
            f"(limit {runs[0].max_epochs})"
            for trial, runs in zip(self.trials, self.runs, strict=True)
            if (count := sum(run.is_unconverged for run in runs))
        ]
        trials = ", ".join(counted)
        return f"The best epoch is the last: not converged, {trials}." if counted else ""


def _in_words(trial: TrialRecord) -> str:
    return f"{trial.number} ({trial.name})"


def p_in_words(value: float) -> str:
    """A p as a sentence gives it."""
    return "below .001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


def smaller(trials: Sequence[TrialRecord]) -> list[int]:
    """Places of the trials with fewer parameters than the first, as far as sizes are known."""
    sizes = [trial.num_parameters for trial in trials]
    return [
        place
        for place, size in enumerate(sizes)
        if size is not None and sizes[0] is not None and size < sizes[0]
    ]


def verdict_of(confirmation: Confirmation, confirmed: StudyRecord) -> Verdict | None:
    """Judge the trials that finished with every seed; None where fewer than two did.

    The best mean wins unless a model with fewer parameters is shown to be no worse: the upper bound
    of its distance is below the margin. Of several such, the smallest; of equally small ones, the
    better mean.
    """
    runs = {
        (run.params["trial"], run.params["seed"]): run
        for run in confirmed.of_state("complete")
        if math.isfinite(run.values[0])
    }
    trials = [
        trial
        for trial in confirmation.trials
        if all((trial.number, seed) in runs for seed in confirmation.seeds)
    ]
    if len(trials) < 2:
        return None
    maximise = confirmed.directions[0] == "maximize"
    by_trial = [tuple(runs[trial.number, seed] for seed in confirmation.seeds) for trial in trials]
    values = np.array(
        [[run.values[0] for run in of_trial] for of_trial in by_trial]
    )  # (n, num_seeds)
    order = np.argsort(values.mean(axis=1) * (-1 if maximise else 1), kind="stable")
    ranked = tuple(trials[place] for place in order)
    ranked_runs = tuple(by_trial[place] for place in order)
    less = smaller(ranked)
    comparison = compare_over_seeds(values[order], maximise=maximise, shown=max(len(less), 1))
    objective = confirmed.objectives[0]
    margin = margin_of(objective, float(comparison.means[0]), ranked_runs[0][0].prevalence)
    shown = [place for place in less if comparison.at_most[place] < margin.value]
    place = min(shown, key=lambda place: (ranked[place].num_parameters, place), default=0)
    return Verdict(
        confirmation, ranked, ranked_runs, comparison, margin, place, objective, maximise
    )
