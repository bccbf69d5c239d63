"""A study as its sampler, its pruner and its plots see it: a trial a point, whose value is the mean
of its repeats."""

import copy
from collections.abc import Callable, Container, Sequence
from typing import TYPE_CHECKING, Any

from recsweep.tuning.repeats import Repeats, point_and_repeat

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage
    from optuna.study import StudyDirection
    from optuna.trial import FrozenTrial, TrialState


class View:
    """Optuna's storage, with other eyes.

    Args:
        storage: The storage, which answers all else.
        study_id: Optuna's id of the only study that is asked for.
        directions: Its directions.
        trials: What its trials are asked of; they are not changed.
        repeats: Repeats of each point, which are shown as one trial; None for none.
        own: Id and trial of this process, which is known here alone: what it draws is not stored,
            as it may be drawn again. None for none.
        only: A param and its value: no other trials are shown but the own one. None for all.
    """

    def __init__(
        self,
        storage: "BaseStorage",
        study_id: int,
        directions: "Sequence[StudyDirection]",
        trials: "Callable[[], Sequence[FrozenTrial]]",
        repeats: Repeats | None,
        own: "tuple[int, FrozenTrial] | None" = None,
        only: tuple[str, Any] | None = None,
    ) -> None:
        self._storage = storage
        self._study_id = study_id
        self._directions = list(directions)
        self._trials = trials
        self._repeats = repeats
        self._own_id = None if own is None else own[0]
        self._own = None if own is None else own[1]
        self._only = only

    @property
    def is_plain(self) -> bool:
        """Whether it shows what the storage holds."""
        return self._repeats is None and self._own is None and self._only is None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def get_study_id_from_name(self, study_name: str) -> int:
        return self._study_id

    def get_study_directions(self, study_id: int) -> "list[StudyDirection]":
        return self._directions

    def get_trial(self, trial_id: int) -> "FrozenTrial":
        if self._own is not None and trial_id == self._own_id:
            return self._own
        return self._storage.get_trial(trial_id)

    def set_trial_param(
        self, trial_id: int, name: str, value: float, distribution: "BaseDistribution"
    ) -> None:
        if trial_id != self._own_id:
            self._storage.set_trial_param(trial_id, name, value, distribution)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._storage.set_trial_system_attr(trial_id, key, value)
        if self._own is not None and trial_id == self._own_id:
            self._own.system_attrs[key] = value

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: "Container[TrialState] | None" = None
    ) -> "list[FrozenTrial]":
        own = self._own
        trials = [each for each in self._trials() if own is None or each.number != own.number]
        if own is not None:
            trials.append(own)
        if self._repeats is not None:
            trials = _points(trials, self._repeats)
        if self._only is not None:
            name, value = self._only
            trials = [each for each in trials if each is own or each.params.get(name) == value]
        chosen = [trial for trial in trials if states is None or trial.state in states]
        return copy.deepcopy(chosen) if deepcopy else chosen


def _points(trials: "Sequence[FrozenTrial]", repeats: Repeats) -> "list[FrozenTrial]":
    """The points: complete with the mean of all repeats, failed with one that failed, else
    running."""
    seeds = [str(value) for value in repeats.values]
    latest: dict[str, dict[str, FrozenTrial]] = {}
    for trial in trials:
        point, repeat = point_and_repeat(trial.user_attrs.get("slot", {}).get("name", ""))
        if repeat in seeds:
            latest.setdefault(point, {})[repeat] = trial
    return [_mean(list(by_seed.values()), len(seeds)) for by_seed in latest.values()]


def _mean(trials: "Sequence[FrozenTrial]", planned: int) -> "FrozenTrial":
    from optuna.trial import TrialState

    point = copy.copy(trials[0])
    states = {trial.state for trial in trials}
    if states == {TrialState.COMPLETE} and len(trials) == planned:
        columns = zip(*(trial.values for trial in trials), strict=True)
        point.values = [sum(column) / planned for column in columns]
    elif TrialState.FAIL in states:
        failed = next(trial for trial in trials if trial.state == TrialState.FAIL)
        point.values, point.state = None, TrialState.FAIL
        point.datetime_complete = failed.datetime_complete
    else:
        point.values, point.state, point.datetime_complete = None, TrialState.RUNNING, None
    return point
