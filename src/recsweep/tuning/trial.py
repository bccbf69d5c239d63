"""A trial as the process sees it that trains it: told how training goes, asked whether to go on."""

import math
import threading
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import Any

from recsweep.errors import ObjectiveError, StudyError
from recsweep.tuning.storage import Storage, open_storage
from recsweep.tuning.study import BEAT_SECONDS, Study


class TrialHandle:
    """A claimed trial of a study, until it is told its end.

    Args:
        settings: The config's `trial`: study, storage, id, number, parent_run.

    Raises:
        StudyError: The trial has ended: it was given up because its process seemed to have died.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.number: int = settings["number"]
        self.study_name: str = settings["study"]
        self.parent_run: str | None = settings["parent_run"]
        self._id: int = settings["id"]
        self._storage: Storage = open_storage(settings["storage"])
        self._study = Study(self._storage, self.study_name)
        notes = self._study.notes()
        self.objectives: tuple[str, ...] | None = notes["objectives"] and tuple(notes["objectives"])
        self.directions = tuple(notes["directions"])
        self._prunes = notes["pruner"]["kind"] != "none" and len(self.directions) == 1
        self._trial = self._study.attached(self.number, self._id, build_pruner(notes["pruner"]))
        self._heart = _heart(self._storage)
        self._heart.beat_for(self._study, self.number)
        self.ended = False

    def run_started(self, run_id: str, name: str, seed: int) -> None:
        """Record the trial's MLflow run."""
        self._note("run", {"id": run_id, "name": name, "seed": seed})

    def report(self, epoch: int, value: float) -> bool:
        """Record the objective after an epoch; whether the trial shall be pruned."""
        if len(self.directions) > 1:
            return False
        with self._storage.guard():
            self._trial.report(value, epoch)
            return self._prunes and self._trial.should_prune()

    def complete(self, metrics: Mapping[str, float], *, chosen_by: str, epochs: int,
                 num_parameters: int, max_epochs: int | None = None) -> None:
        """Record what the trial has reached.

        Args:
            metrics: All that were logged, as `validation/mse` and `fit/seconds`.
            chosen_by: Plain name of the metric that chose the epoch: the objective where the study names none.
            max_epochs: How many epochs it was allowed; None for a model that is not trained in
                epochs.

        Raises:
            ObjectiveError: An objective is not among the metrics.
        """
        names = [logged_name(each, metrics) for each in self.objectives or (chosen_by,)]
        worst = {"maximize": -math.inf, "minimize": math.inf}
        values = [worst[direction] if math.isnan(metrics[name]) else float(metrics[name])
                  for name, direction in zip(names, self.directions, strict=True)]
        best_epoch = metrics.get("fit/best_epoch")
        self._end(values, kind="complete", objectives=names, epochs=epochs,
                  num_parameters=num_parameters, max_epochs=max_epochs,
                  best_epoch=None if best_epoch is None else int(best_epoch),
                  prevalence=metrics.get("validation/prevalence"))

    def pruned(self, reason: str, epochs: int) -> None:
        """Record that the trial was pruned: it counts as done, and is in no leaderboard."""
        self._end(kind="pruned", reason=reason, epochs=epochs)

    def failed(self, reason: str, epochs: int = 0) -> None:
        """Record what the trial failed of; its slot is not tried again."""
        self._end(kind="error", reason=reason, epochs=epochs)

    def released(self, reason: str) -> None:
        """Give the trial's slot back, as after Ctrl-C: another trial will do the same."""
        self._end(kind="interrupted", reason=reason)

    def _note(self, name: str, value: Any) -> None:
        with self._storage.guard():
            self._trial.set_user_attr(name, value)

    def _end(self, values: list[float] | None = None, **notes: Any) -> None:
        if self.ended:
            return
        self._heart.rest(self._study, self.number)
        _attached.pop((self._storage.url, self._id), None)
        if not self._study.end(self.number, self._id, values, **notes):  # silent for so long that it was given up
            raise StudyError(f"Trial {self.number} of the study {self.study_name!r} was ended by another process.")
        self.ended = True


_attached: dict[tuple[str, int], TrialHandle] = {}


def attach(settings: Mapping[str, Any] | None) -> TrialHandle | None:
    """The trial that a config belongs to, in whatever process; None for a single run."""
    if settings is None:
        return None
    key = settings["storage"], settings["id"]
    if key not in _attached:
        _attached[key] = TrialHandle(settings)
    return _attached[key]


def logged_name(objective: str, metrics: Mapping[str, float]) -> str:
    """The logged metric that an objective names, with or without `validation/`.

    Raises:
        ObjectiveError: There is none; says which there are.
    """
    for name in (objective, f"validation/{objective}"):
        if name in metrics:
            return name
    known = ", ".join(sorted(name.removeprefix("validation/") for name in metrics if not name.startswith("test/")))
    raise ObjectiveError(f"The objective {objective!r} was never logged. Set hydra.sweeper.objectives to one of "
                         f"{known}.")


def build_pruner(settings: Mapping[str, Any]) -> Any:
    """The pruner of a study from its stored settings."""
    return _build("pruner", settings)


def build_sampler(settings: Mapping[str, Any], seed: int) -> Any:
    """The sampler of a study from its stored settings, for one draw."""
    return _build("sampler", settings if settings.get("kind") == "qmc" else {**settings, "seed": seed})


def _build(what: str, settings: Mapping[str, Any]) -> Any:
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate
    from optuna.exceptions import ExperimentalWarning

    from recsweep.errors import ConfigError

    spec = {name: value for name, value in settings.items() if name != "kind"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # of QMC and patience, which have been so for years
        try:
            return instantiate(spec, _convert_="all")
        except InstantiationException as error:
            raise ConfigError(f"hydra.sweeper.{what} can't be used: {error.__cause__ or error}") from error


class _Heart:
    """One thread a process, which beats for its trials."""

    def __init__(self) -> None:
        self._trials: dict[tuple[str, int], Study] = {}
        threading.Thread(target=self._beat, name="recsweep heartbeat", daemon=True).start()

    def beat_for(self, study: Study, number: int) -> None:
        self._trials[study.name, number] = study

    def rest(self, study: Study, number: int) -> None:
        self._trials.pop((study.name, number), None)

    def _beat(self) -> None:
        while True:
            time.sleep(BEAT_SECONDS)
            for (_, number), study in list(self._trials.items()):
                with suppress(Exception):  # the next beat may get through; training must not end of this
                    study.beat(number)


@cache
def _heart(storage: Storage) -> _Heart:
    """One a process and storage."""
    return _Heart()
