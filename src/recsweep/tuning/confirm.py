"""A second look at a study's best: a few of them again with other seeds, before one is named the winner."""

from dataclasses import dataclass

import numpy as np

from recsweep.comparison import SeedComparison, compare_over_seeds
from recsweep.tuning.records import StudyRecord, TrialRecord
from recsweep.tuning.space import Dimension
from recsweep.tuning.study import Point

DEFAULT_SEEDS = 5


@dataclass(frozen=True)
class Confirmation:
    """What is run again.

    Attributes:
        study: Name of the study that is looked at again.
        trials: The best of it, best first.
        seeds: Fresh ones: the seed that the trials were chosen by favours the chosen.
    """

    study: str
    trials: tuple[TrialRecord, ...]
    seeds: tuple[int, ...]

    @property
    def name(self) -> str:
        """Of the study that runs them."""
        return f"{self.study} confirmed {'-'.join(str(trial.number) for trial in self.trials)} x {len(self.seeds)}"

    @property
    def dimensions(self) -> list[Dimension]:
        """What is varied, for the records of the confirming study."""
        numbers = tuple(trial.number for trial in self.trials)
        return [Dimension("trial", tuple(map(str, numbers)), numbers),
                Dimension("seed", tuple(map(str, self.seeds)), self.seeds)]

    def points(self) -> list[Point]:
        """Every trial with every seed, all trials with one seed before the next."""
        return [
            Point(f"{trial.number}/{seed}", (*trial.overrides, f"seed={seed}"), {"trial": trial.number, "seed": seed})
            for seed in self.seeds for trial in self.trials
        ]


def confirmation_of(record: StudyRecord, *, top: int, seeds: int) -> Confirmation:
    """The best `top` trials with `seeds` seeds after the one they were chosen by."""
    trials = tuple(record.leaderboard[:top])
    used = max((trial.seed or 0 for trial in trials), default=0)
    return Confirmation(record.name, trials, tuple(range(used + 1, used + 1 + seeds)))


@dataclass(frozen=True)
class Verdict:
    """What the second look says.

    Attributes:
        trials: The trials that finished with every seed, best mean first.
        comparison: Of their values over the seeds, in that order.
        winner: The smallest of those that can't be told from the best.
        objective: What was measured.
        num_seeds: How often.
    """

    trials: tuple[TrialRecord, ...]
    comparison: SeedComparison
    winner: TrialRecord
    objective: str
    num_seeds: int

    @property
    def tied(self) -> list[TrialRecord]:
        """The trials that can't be told from the best, the best first."""
        return [self.trials[place] for place in self.comparison.tied]

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of the table of the second look."""
        header = ["trial", "model", "first look", f"mean of {self.num_seeds} seeds", "SD", "p against the best",
                  "parameters"]
        rows = []
        for place, trial in enumerate(self.trials):
            p = self.comparison.p_values[place]
            rows.append([
                str(trial.number), trial.name, f"{trial.values[0]:.4f}", f"{self.comparison.means[place]:.4f}",
                f"{self.comparison.deviations[place]:.4f}", "–" if np.isnan(p) else f"{p:.3f}",
                "" if trial.num_parameters is None else f"{trial.num_parameters:,}",
            ])
        return header, rows

    def words(self) -> str:
        """Who wins, and how sure that is."""
        best = self.trials[self.comparison.best]
        test = "paired t-tests, Holm-corrected, level 0.05"
        reached = f"{self.objective} {self.comparison.means[self.comparison.best]:.4f}"
        if len(self.tied) == 1:
            return (f"winner: trial {best.number}, {best.name}, {reached} over {self.num_seeds} fresh seeds; its lead "
                    f"is more than the noise between seeds ({test}).")
        names = ", ".join(f"{trial.number} ({trial.name})" for trial in self.tied)
        return (f"the lead lies within the noise: over {self.num_seeds} fresh seeds trials {names} can't be told apart "
                f"({test}). winner: trial {self.winner.number}, {self.winner.name}, the smallest of them; the best "
                f"mean is {reached} of trial {best.number}.")


def verdict_of(confirmation: Confirmation, confirmed: StudyRecord) -> Verdict | None:
    """Compare the trials that finished with every seed; None where fewer than two did, or with fewer than two seeds."""
    values = {(trial.params["trial"], trial.params["seed"]): trial.values[0]
              for trial in confirmed.of_state("complete")}
    trials = [trial for trial in confirmation.trials
              if all((trial.number, seed) in values for seed in confirmation.seeds)]
    if len(trials) < 2 or len(confirmation.seeds) < 2:
        return None
    maximise = confirmed.directions[0] == "maximize"
    table = np.array([[values[trial.number, seed] for seed in confirmation.seeds] for trial in trials])
    order = np.argsort(-table.mean(axis=1) if maximise else table.mean(axis=1), kind="stable")
    comparison = compare_over_seeds(table[order], maximise=maximise)
    ranked = tuple(trials[place] for place in order)
    tied = [ranked[place] for place in comparison.tied]
    winner = min(tied, key=lambda trial: (trial.num_parameters or 0, ranked.index(trial)))
    return Verdict(ranked, comparison, winner, confirmed.objectives[0], len(confirmation.seeds))


