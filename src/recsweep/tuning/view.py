"""A study as its sampler and its plots see it: a trial a point, whose value is the mean of its
repeats."""

import copy
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Any

from recsweep.tuning.repeats import Repeats, point_and_repeat

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial, TrialState


class View:
    """Optuna's storage, with other eyes.

    Args:
        storage: The storage, which answers all else.
        repeats: Repeats of each point, which are shown as one trial; None for none.
        drawing: Id of a trial whose params are not stored, as they may be drawn again.
        only: A param and its value: no other trials are shown. None for all.
    """

    def __init__(
        self,
        storage: "BaseStorage",
        repeats: Repeats | None,
        drawing: int | None = None,
        only: tuple[str, Any] | None = None,
    ) -> None:
        self._storage = storage
        self._only = only
        self._repeats = repeats
        self._drawing = drawing

    @property
    def is_plain(self) -> bool:
        """Whether it shows what the storage holds."""
        return self._repeats is None and self._drawing is None and self._only is None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def set_trial_param(
        self, trial_id: int, name: str, value: float, distribution: "BaseDistribution"
    ) -> None:
        if trial_id != self._drawing:
            self._storage.set_trial_param(trial_id, name, value, distribution)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: "Container[TrialState] | None" = None
    ) -> "list[FrozenTrial]":
        trials = self._storage.get_all_trials(study_id, deepcopy=False)
        if self._repeats is not None:
            trials = _points(trials, self._repeats)
        if self._only is not None:
            name, value = self._only
            trials = [trial for trial in trials if trial.params.get(name) == value]
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
    else:
        failed = TrialState.FAIL in states
        point.values = None
        point.state = TrialState.FAIL if failed else TrialState.RUNNING
    return point
