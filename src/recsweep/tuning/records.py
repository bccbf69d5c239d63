"""What a study has found, as plain records for tables, plots and reports: no tracker and no Optuna
in sight."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from recsweep.config import SAME
from recsweep.errors import StudyError
from recsweep.tuning.repeats import Repeats, point_and_repeat
from recsweep.tuning.space import OF_OPTION, setting_of


@dataclass(frozen=True)
class TrialRecord:
    """A trial of a study, as it is stored.

    Attributes:
        number: Its number within its study, from 0, in the order of claims.
        state: `complete`, `pruned`, `failed`, `died` (its process was killed), `interrupted`
            (Ctrl-C) or `running`.
        params: Varied settings, as `model.user_dim` -> 15; without settings that mean nothing to
            the chosen options.
        overrides: Overrides that compose its config, besides the study's fixed overrides.
        values: One value per objective; empty unless complete.
        intermediate: Value of the objective on validation by epoch.
        run_id: The id of its MLflow run; None where it never came to a run.
        name: The run's readable name without the number, as `recipe_net 15/25/128 mse adam`.
        reason: Why it was pruned, failed or ended, in words.
        seconds: Wall time from claim to end.
        epochs: Number of epochs that were trained.
        best_epoch: The best epoch by the objective; None unless complete.
        max_epochs: Number of epochs that it was allowed; None for a model that is not trained in
            epochs.
        num_parameters: Number of parameters of the model; None unless complete.
        attempt: Number of times that its slot was tried before.
        seed: The config's seed.
        slot: Its place in the budget: of several trials of one slot the last one counts.
        prevalence: Share of positives among the cells of validation; None where it is not known.
        objectives: Logged names of what its values are; empty unless complete.
        digests: Digests of the data and the split that they were measured on, of a point those of
            each repeat; None where an earlier version did not keep them.
        repeated: The complete repeats of a point whose mean its values are, in their order; empty
            of a single trial.
    """

    number: int
    state: str
    params: Mapping[str, Any]
    overrides: tuple[str, ...]
    values: tuple[float, ...] = ()
    intermediate: Mapping[int, float] = field(default_factory=dict)
    run_id: str | None = None
    name: str = ""
    reason: str = ""
    seconds: float | None = None
    epochs: int = 0
    num_parameters: int | None = None
    attempt: int = 0
    seed: int | None = None
    slot: str = ""
    best_epoch: int | None = None
    max_epochs: int | None = None
    prevalence: float | None = None
    objectives: tuple[str, ...] = ()
    digests: tuple[str, ...] | None = None
    repeated: "tuple[TrialRecord, ...]" = ()

    @property
    def runs(self) -> tuple["TrialRecord", ...]:
        """The trials that it stands for: its repeats, or itself."""
        return self.repeated or (self,)

    @property
    def point(self) -> str:
        """Name of the point of which it is a repeat."""
        return point_and_repeat(self.slot)[0]

    @property
    def repeat(self) -> str:
        """The seed that it is the repeat with; empty for none."""
        return point_and_repeat(self.slot)[1]

    @property
    def deviations(self) -> tuple[float, ...]:
        """Standard deviation of each objective over the repeats, with n - 1 in the divisor; nan
        where there are fewer than two."""
        if len(self.repeated) < 2:
            return (math.nan,) * len(self.values)
        columns = zip(*(trial.values for trial in self.repeated), strict=True)
        return tuple(_deviation(column) for column in columns)

    @property
    def measured(self) -> dict[str, Any]:
        """Those of its params that decide the data, the split, or what is measured."""
        return {
            name: value for name, value in self.params.items() if decides_what_is_measured(name)
        }

    def is_measured_like(self, other: "TrialRecord") -> bool:
        """Whether their values can be compared: they are of the same measures, on the same data and
        split."""
        if self.objectives != other.objectives or _protocol(self) != _protocol(other):
            return False
        if self.digests is None or other.digests is None:
            return self.measured == other.measured
        return self.digests == other.digests

    @property
    def is_unconverged(self) -> bool:
        """Whether the best epoch is the last that was allowed: more of them may be better still."""
        return self.best_epoch is not None and self.best_epoch == self.epochs == self.max_epochs


def _deviation(values: Sequence[float]) -> float:
    return statistics.stdev(values) if all(map(math.isfinite, values)) else math.nan


def mean_of(trials: Sequence[TrialRecord]) -> TrialRecord:
    """A point as one record: the means of its complete repeats, under the number of the first."""
    columns = zip(*(trial.values for trial in trials), strict=True)
    known = [trial.digests for trial in trials if trial.digests is not None]
    seconds = [trial.seconds for trial in trials if trial.seconds is not None]
    return replace(
        trials[0],
        values=tuple(sum(column) / len(column) for column in columns),
        seconds=sum(seconds) if seconds else None,
        epochs=sum(trial.epochs for trial in trials),
        digests=sum(known, ()) if len(known) == len(trials) else None,
        repeated=tuple(trials),
    )


def decides_what_is_measured(setting: str) -> bool:
    """Whether values of trials that differ by this setting can't be compared."""
    name = setting.replace("/", ".")
    return SAME["data"].counts(name) or SAME["measured"].counts(name)


def _protocol(trial: TrialRecord) -> dict[str, Any]:
    return {name: value for name, value in trial.params.items() if SAME["measured"].counts(name)}


@dataclass(frozen=True)
class Group:
    """Complete trials that were measured alike, so that one can be said to be better.

    Attributes:
        label: Settings by which they were measured otherwise than those of other groups, as
            `data.density=0.05`; else the digests of the data and the split.
        trials: The trials, best first.
        front: Those that no other one of them is better than.
    """

    label: str
    trials: tuple[TrialRecord, ...]
    front: tuple[TrialRecord, ...]


@dataclass(frozen=True)
class StudyRecord:
    """A study and its trials.

    Attributes:
        objectives: Logged names, as `validation/average_precision`.
        directions: Direction of each objective, `maximize` or `minimize`.
        space: Varied settings in words: `model.user_dim` -> `10, 15, 20`.
        fixed: All settings that are the same for its trials, flat.
        trials: The trials in the order of their numbers.
        planned: Number of finished trials that it is to have.
        sampler: The sampler's kind, `grid` for an exhaustive grid.
        pruner: The pruner's kind.
        parent_run: MLflow's id of the study's own run; None before its first trial.
        missing: The last trials of what was to be tried and came to no end: points of a grid that
            failed or were killed too often, draws of a search that were killed.
        repeats: Seeds with which each point is trained; None where each is trained once.
        size: Number of settings that the space of a search has, where it is to try them all.
        each: Group of which each option is tried by itself; None for none.
    """

    name: str
    objectives: tuple[str, ...]
    directions: tuple[str, ...]
    space: Mapping[str, str]
    fixed: Mapping[str, Any]
    trials: tuple[TrialRecord, ...]
    planned: int
    sampler: str
    pruner: str
    parent_run: str | None = None
    missing: tuple[TrialRecord, ...] = ()
    repeats: Repeats | None = None
    size: int | None = None
    each: str | None = None

    @property
    def settings(self) -> list[str]:
        """Names of the varied settings, each once."""
        return list(dict.fromkeys(map(setting_of, self.space)))

    def chosen(self, trial: TrialRecord) -> dict[str, Any]:
        """What was chosen for a trial: its params but those with one value for its option."""
        option = trial.params.get(self.each or "")
        own = f"{option}{OF_OPTION}"
        return {
            name: value
            for name, value in trial.params.items()
            if self.each is None or self.space.get(f"{own}{name}") != str(value)
        }

    def of_option(self, option: Any) -> "StudyRecord":
        """What the study has found with one option of `each`."""
        trials = (trial for trial in self.trials if trial.params.get(self.each or "") == option)
        return replace(self, trials=tuple(trials))

    def of_state(self, *states: str) -> list[TrialRecord]:
        """The trials of these states."""
        return [trial for trial in self.trials if trial.state in states]

    @property
    def done(self) -> int:
        """How much of the budget is spent: slots whose latest trial has ended for good."""
        latest = {trial.slot: trial for trial in self.trials}
        return sum(trial.state in ("complete", "pruned", "failed") for trial in latest.values())

    @property
    def is_used_up(self) -> bool:
        """Whether all settings of a search's space are tried, each once."""
        tried = {trial.point for trial in self.of_state("complete", "pruned", "failed")}
        return self.size is not None and len(tried) >= self.size

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The complete trials, by what they were measured on, in the order of their numbers; where
        points are repeated, those points that are complete.

        In each the best come first: with several objectives those of the Pareto front, each part by
        the first objective. Equal ones stand in the order of their numbers.
        """
        alike: list[list[TrialRecord]] = []
        for trial in self._points[0]:
            group = next((group for group in alike if trial.is_measured_like(group[0])), None)
            if group is None:
                alike.append([trial])
            else:
                group.append(trial)
        labels = _labels(alike)
        return tuple(self._group(*each) for each in zip(labels, alike, strict=True))

    @property
    def incomplete(self) -> tuple[TrialRecord, ...]:
        """Points that lack repeats, which can't be ranked, by those repeats that are complete."""
        return self._points[1]

    @cached_property
    def _points(self) -> tuple[tuple[TrialRecord, ...], tuple[TrialRecord, ...]]:
        """The complete points and the others; without repeats the complete trials and none."""
        complete = self.of_state("complete")
        if self.repeats is None:
            return tuple(complete), ()
        seeds = [str(value) for value in self.repeats.values]
        points: dict[str, dict[str, TrialRecord]] = {}
        for trial in complete:
            if trial.repeat in seeds:  # those of an earlier definition may be others
                points.setdefault(trial.point, {})[trial.repeat] = trial
        ranked: list[TrialRecord] = []
        others: list[TrialRecord] = []
        for by_seed in points.values():
            mean = mean_of([by_seed[seed] for seed in seeds if seed in by_seed])
            (ranked if len(by_seed) == len(seeds) else others).append(mean)
        return tuple(ranked), tuple(others)

    def _group(self, label: str, trials: Sequence[TrialRecord]) -> Group:
        if len(self.directions) == 1:
            front = sorted(trials, key=lambda trial: (self._cost(trial)[0], trial.number))[:1]
        else:
            front = [
                trial
                for trial in trials
                if not any(self._dominates(other, trial) for other in trials)
            ]
        numbers = {trial.number for trial in front}
        ranked = sorted(
            trials,
            key=lambda trial: (trial.number not in numbers, self._cost(trial)[0], trial.number),
        )
        return Group(label, tuple(ranked), tuple(front))

    @property
    def leaderboard(self) -> list[TrialRecord]:
        """The complete trials, group after group, the best of each first."""
        return [trial for group in self.groups for trial in group.trials]

    @property
    def best(self) -> TrialRecord | None:
        """The first of the leaderboard; None where there are several groups, of which none is
        better."""
        return self.groups[0].trials[0] if len(self.groups) == 1 else None

    @property
    def front(self) -> list[TrialRecord]:
        """The trials that no other one of their group is better than: the best alone where there is
        one objective."""
        return [trial for group in self.groups for trial in group.front]

    def best_of_each(self, setting: str, top: int = 1) -> list[TrialRecord]:
        """The best `top` complete trials of each group for each value of a setting, best value
        first; a trial without the setting has the value None."""
        by_value: dict[Any, list[TrialRecord]] = {}
        for place, group in enumerate(self.groups):
            for trial in group.trials:
                value = place, trial.params.get(setting)
                by_value.setdefault(value, []).append(trial)
        return [trial for trials in by_value.values() for trial in trials[:top]]

    def _cost(self, trial: TrialRecord) -> list[float]:
        return [
            -value if direction == "maximize" else value
            for value, direction in zip(trial.values, self.directions, strict=True)
        ]

    def _dominates(self, trial: TrialRecord, other: TrialRecord) -> bool:
        costs = list(zip(self._cost(trial), self._cost(other), strict=True))
        return all(a <= b for a, b in costs) and any(a < b for a, b in costs)


class MissingPointsError(StudyError):
    """A study came to its end without some of what it was to try.

    Args:
        record: The study as it is.
    """

    exit_status = 3

    def __init__(self, message: str, record: StudyRecord) -> None:
        super().__init__(message)
        self.record = record


def _labels(groups: Sequence[Sequence[TrialRecord]]) -> list[str]:
    """What sets each group of trials apart from the others, in words."""
    names = dict.fromkeys(name for group in groups for trial in group for name in trial.params)
    values = {name: [_values(group, name) for group in groups] for name in names}
    apart = [
        name
        for name, by_group in values.items()
        if all(len(each) == 1 for each in by_group) and len({str(each) for each in by_group}) > 1
    ]
    deciding = [name for name in apart if decides_what_is_measured(name)] or apart
    by_measure = len({group[0].objectives for group in groups}) > 1
    labels = []
    for place, group in enumerate(groups):
        words = [f"{name}={values[name][place][0]}" for name in deciding]
        words += group[0].objectives if by_measure else ()
        if not words and group[0].digests is not None:
            words = ["data {:.8}, split {:.8}".format(*group[0].digests)]
        labels.append(", ".join(words))
    return labels


def _values(trials: Sequence[TrialRecord], setting: str) -> list[Any]:
    """The different values of a setting among trials that have it."""
    values = [trial.params[setting] for trial in trials if setting in trial.params]
    return [value for place, value in enumerate(values) if value not in values[:place]]


def short_names(params: Sequence[str]) -> dict[str, str]:
    """Each setting by the shortest end of its name that no other one shares.

    So `model.user_dim` is `user_dim`.
    """

    def ending(name: str, depth: int) -> str:
        return ".".join(name.split(".")[-depth:])

    shown = {}
    for name in params:
        others, depth = [other for other in params if other != name], 1
        while any(ending(other, depth) == ending(name, depth) != name for other in others):
            depth += 1
        shown[name] = ending(name, depth)
    return shown


def counts(record: StudyRecord) -> str:
    """The numbers of trials by how they ended, in words."""
    words = {
        "complete": "finished",
        "pruned": "pruned",
        "failed": "failed",
        "died": "killed",
        "interrupted": "interrupted",
        "running": "running",
    }
    counted = [(len(record.of_state(state)), word) for state, word in words.items()]
    if record.missing:
        counted.append((len(record.missing), f"of {record.planned} missing"))
    return ", ".join(f"{count} {word}" for count, word in counted if count) or "none yet"


MOST_NAMED = 8
"""So many missing points are named one by one."""


def missing_words(record: StudyRecord) -> str:
    """What of a study is missing, why, and what tries it again; empty where nothing is."""
    missing = record.missing
    if not missing:
        return ""
    named = [
        f"{_point(record, trial)} ({end_words(record, trial)}{_reason(trial)})"
        for trial in missing[:MOST_NAMED]
    ]
    if len(missing) > MOST_NAMED:
        named.append(f"and {len(missing) - MOST_NAMED} more")
    what = "points" if record.sampler == "grid" and record.repeats is None else "trials"
    is_or_are = "is" if len(missing) == 1 else "are"
    return (
        f"{len(missing)} of {record.planned} {what} {is_or_are} missing: {'; '.join(named)}. "
        f"{again(missing)}"
    )


def again(trials: Sequence[TrialRecord]) -> str:
    """What tries the slots of trials again, in words."""
    them = "it" if len(trials) == 1 else "them"
    if all(trial.state == "died" for trial in trials):
        return f"The same command tries {them} once more."
    return f"The same command with hydra.sweeper.retry_failed=true tries {them} again."


def _point(record: StudyRecord, trial: TrialRecord) -> str:
    params = dict(trial.params)
    if trial.repeat and record.repeats is not None:
        params[record.repeats.setting] = trial.repeat
    settings = " ".join(f"{name}={value}" for name, value in params.items())
    return settings or f"trial {trial.number}"


def _reason(trial: TrialRecord) -> str:
    return "" if trial.state == "died" else f": {trial.reason.rstrip('.')}"


def end_words(record: StudyRecord, trial: TrialRecord) -> str:
    """How what is missing came to its last end: failed, or killed how often."""
    if trial.state != "died":
        return "failed"
    tries = sum(other.slot == trial.slot for other in record.of_state("died"))
    return "killed once" if tries == 1 else f"killed {tries} times"


def planned(record: StudyRecord) -> str:
    """What the study is to train, in words."""
    points, repeats = record.planned, record.repeats
    if repeats is not None:
        points //= len(repeats.values)
    search = f"{points} trials by {record.sampler}"
    if record.sampler == "grid":
        search = "every combination"
    elif record.size is not None:
        search = f"all {record.size} settings of the space by {record.sampler}"
    if record.each is not None:
        search = f"{search}, each {record.each} by itself"
    return (
        search if repeats is None else f"{search}, each with {len(repeats.values)} {repeats.kind}"
    )
