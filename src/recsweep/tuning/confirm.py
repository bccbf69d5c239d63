"""What of a finished study is run again with fresh seeds, before one is named the winner."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from recsweep.errors import ConfigError
from recsweep.tuning.options import SecondLook
from recsweep.tuning.records import StudyRecord, TrialRecord
from recsweep.tuning.repeats import Repeats
from recsweep.tuning.space import Dimension
from recsweep.tuning.study import Point


@dataclass(frozen=True)
class Confirmation:
    """What is run again.

    Attributes:
        study: Name of the study that is looked at again.
        trials: The best of its trials, best first.
        seeds: Fresh seeds: one that the trials were chosen by favours the chosen.
        each: Name of the setting of whose values the best were taken; None where they are the best
            of all.
        overrides: Settings that differ from those of the study.
        repeats: A fresh split, or what else the study's repeats draw, for each of the seeds; None
            where the study has none but seeds.
    """

    study: str
    trials: tuple[TrialRecord, ...]
    seeds: tuple[int, ...]
    each: str | None = None
    overrides: tuple[str, ...] = ()
    repeats: Repeats | None = None

    @property
    def name(self) -> str:
        """Name of the study that runs them: another one for other trials, seeds or overrides."""
        numbers = "-".join(str(trial.number) for trial in self.trials)
        name = f"{self.study} confirmed {numbers} x {len(self.seeds)}"
        usual = 1 + max(trial.seed or 0 for trial in self.trials)
        if not self.overrides and not self.repeats and self.seeds[0] == usual:
            return name
        drawn = [line for seed in self.seeds for line in self._lines(seed)]
        content = "\n".join([*self.overrides, *drawn, str(self.seeds[0])])
        return f"{name} {hashlib.sha256(content.encode()).hexdigest()[:6]}"

    @property
    def dimensions(self) -> list[Dimension]:
        """What is varied, for the records of the confirming study."""
        numbers = tuple(trial.number for trial in self.trials)
        varied = [("trial", numbers), ("seed", self.seeds)]
        if self.repeats is not None:
            varied.append((self.repeats.setting, self.repeats.values))
        return [Dimension(name, tuple(map(str, values)), values) for name, values in varied]

    def _beside(self, seed: int) -> dict[str, int]:
        """The setting that draws a fresh split beside a seed, and its value."""
        if self.repeats is None:
            return {}
        return {self.repeats.setting: self.repeats.values[self.seeds.index(seed)]}

    def _lines(self, seed: int) -> list[str]:
        return [f"{name}={value}" for name, value in self._beside(seed).items()]

    def points(self) -> list[Point]:
        """Every trial with every seed, all trials with one seed before the next."""
        return [
            Point(
                f"{trial.number}/{seed}",
                (*trial.overrides, *self.overrides, *self._lines(seed), f"seed={seed}"),
                {"trial": trial.number, "seed": seed, **self._beside(seed)},
            )
            for seed in self.seeds
            for trial in self.trials
        ]

    def stored(self) -> dict[str, Any]:
        """What the study keeps of its second look: refits use the same settings and later seeds."""
        return {
            "study": self.name,
            "trials": [trial.number for trial in self.trials],
            "seeds": list(self.seeds),
            "overrides": list(self.overrides),
            **({} if self.repeats is None else {"repeats": self.repeats.stored()}),
        }

    def words(self) -> str:
        """What is run again, as `the best of each loss, trials 3 and 22, with seeds 1 to 5`."""
        numbers = ", ".join(str(trial.number) for trial in self.trials)
        which = "the best" if self.each is None else f"the best of each {self.each}"
        settings = f" and {' '.join(self.overrides)}" if self.overrides else ""
        seeds = f"seeds {self.seeds[0]} to {self.seeds[-1]}"
        return f"{which}, trials {numbers}, with {seeds}{self.beside_words}{settings}"

    @property
    def beside_words(self) -> str:
        """What is drawn anew beside each seed, in words; empty for nothing."""
        if self.repeats is None:
            return ""
        first, last = self.repeats.values[0], self.repeats.values[-1]
        return f", each with a {self.repeats.setting} of its own, {first} to {last}"


def confirmation_of(record: StudyRecord, look: SecondLook, used: int) -> Confirmation | None:
    """What of a study is to be looked at again; None where that is fewer than two trials, or where
    they can't be compared.

    Args:
        record: The study, finished.
        look: Settings of the second look; a `top` of 0 looks at nothing.
        used: The greatest seed that the study has used, see `greatest_seed`.
    """
    trials = record.leaderboard[: look.top]
    if look.each is not None:
        trials = record.best_of_each(look.each, look.top)
    if not look.top or len(trials) < 2 or len(record.groups) > 1:
        return None
    seeds = tuple(range(used + 1, used + 1 + look.seeds))
    repeats = record.repeats
    beside = None if repeats is None or repeats.setting == "seed" else repeats.fresh(look.seeds)
    return Confirmation(record.name, tuple(trials), seeds, look.each, tuple(look.overrides), beside)


def greatest_seed(record: StudyRecord, dimensions: Sequence[Dimension]) -> int:
    """The greatest seed that a study has used or may yet use: that of its config, of every trial
    however it ended, and of every value where the seed itself is varied."""
    seeds: list[float] = [trial.seed for trial in record.trials if trial.seed is not None]
    for dimension in dimensions:
        if dimension.name == "seed":
            values = (*dimension.values, dimension.high)
            seeds += [value for value in values if isinstance(value, int | float)]
    fixed = record.fixed.get("seed")
    return int(max([*seeds, fixed if isinstance(fixed, int) else 0]))


def check_each(look: SecondLook, dimensions: Sequence[Dimension]) -> None:
    """Raise ConfigError where `each` names a setting that the study does not vary."""
    varied = [dimension.name for dimension in dimensions]
    if look.top and look.each is not None and look.each not in varied:
        raise ConfigError(
            f"hydra.sweeper.confirm.each must be a setting that the study varies "
            f"({', '.join(varied) or 'it varies nothing'}), not {look.each!r}."
        )
