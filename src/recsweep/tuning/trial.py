"""A trial as the process sees it that trains it: told how training goes, asked whether to go on."""

import math
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache, cached_property
from typing import Any

from recsweep.errors import ConfigError, ObjectiveError, StudyError, TrackingError
from recsweep.evaluation import EPOCHS_PREFIX
from recsweep.interrupts import signals_ignored
from recsweep.run.trial import Ending
from recsweep.trust import ALLOW_VARIABLE, is_allowed, texts_of
from recsweep.tuning.progress import note_epoch
from recsweep.tuning.storage import Storage
from recsweep.tuning.study import BEATS, SILENCE_SECONDS, Claim, Reporting, Study

FATAL = (TrackingError, StudyError, ObjectiveError)
"""Errors that every other trial would meet too: they end the study, and the slot stays open."""

KEEPS_PICKLES = "CmaEsSampler"
"""Optuna's sampler that unpickles what it finds among the trials of a study."""


class TrialHandle:
    """A claimed trial of a study, in the process that holds it.

    Held by `with`, it beats, and is told its end on the way out, unless its run has told it: an
    error fails the trial, and goes no further; an interrupt or an error that ends the whole study
    gives its slot back.

    Args:
        study: The study it belongs to.
        claim: The slot that this process has claimed.
        parent_run: Run of the study in MLflow.
        pruner: Settings of the study's pruner.
    """

    def __init__(
        self, study: Study, claim: Claim, parent_run: str | None, pruner: Mapping[str, Any]
    ) -> None:
        self.claim = claim
        self.number = claim.number
        self.study_name = study.name
        self.parent_run = parent_run
        self._study = study
        notes = study.settled_notes
        self.objectives: tuple[str, ...] | None = notes["objectives"] and tuple(notes["objectives"])
        self.directions = tuple(notes["directions"])
        self._prunes = pruner["kind"] != "none" and len(self.directions) == 1
        self._each = notes.get("each") if self._prunes else None
        self._pruner = pruner
        self._heartbeat = _heartbeat(study.storage)
        self._has_ended = False

    def __enter__(self) -> "TrialHandle":
        self._heartbeat.beat_for(self._study, self.number)
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        self.rest()
        if error is None or self._has_ended:
            return False
        fatal = isinstance(error, FATAL) or not isinstance(error, Exception)
        if not isinstance(error, Exception):
            self._study.storage.patience.hurry()
        with signals_ignored():
            if not fatal:
                if self.is_running():
                    self.ended(Ending(state="failed", reason=f"{type(error).__name__}: {error}"))
                return True
            with suppress(StudyError):  # the error that is on its way says more
                if self.is_running(here=True):
                    reason = str(error) if isinstance(error, Exception) else "interrupted"
                    self.ended(Ending(state="interrupted", reason=reason))
        return False

    def rest(self) -> None:
        """Leave the heartbeats to the process that trains it."""
        self._heartbeat.rest(self._study, self.number)

    def is_running(self, *, here: bool = False) -> bool:
        """Whether it has not been told its end.

        Args:
            here: Whether another process must not have taken it over either.
        """
        held = [trial for trial in self._study.running() if trial.number == self.number]
        return any(trial.is_running and (trial.is_own or not here) for trial in held)

    def started(self, run_id: str, name: str, seed: int, digests: Mapping[str, str]) -> None:
        """Record the trial's MLflow run."""
        run = {"id": run_id, "name": name, "seed": seed, **digests}
        self._study.started(self.claim.trial_id, run)

    def report(self, epoch: int, value: float) -> bool:
        """Record the objective after an epoch; whether the trial shall be pruned."""
        if len(self.directions) > 1:
            return False
        note_epoch(f"#{self.claim.number}", epoch, value)
        self._study.report(self.claim.trial_id, epoch, value)
        if not self._prunes:
            return False
        with self._study.storage.guard():
            return self._reporting.should_prune(epoch, value)

    @cached_property
    def _reporting(self) -> Reporting:
        return self._study.reporting(self.claim, build_pruner(self._pruner), self._each)

    def ended(self, ending: Ending) -> None:
        """Record the end, once.

        Raises:
            ObjectiveError: An objective is not among the metrics of a complete trial.
            StudyError: The trial was given up, because its process seemed to have died.
        """
        if self._has_ended:
            return
        values, notes = None, self._notes(ending)
        if ending.state == "complete":
            values = self._values(ending.metrics, notes["objectives"])
        self.rest()
        if not self._study.end(self.number, self.claim.trial_id, values, **notes):
            # silent for so long that it was given up
            raise StudyError(
                f"Trial {self.number} of the study {self.study_name!r} was ended by another "
                "process."
            )
        self._has_ended = True

    def _notes(self, ending: Ending) -> dict[str, Any]:
        """What the study keeps of the end."""
        kind = {"failed": "error"}.get(ending.state, ending.state)
        if ending.state == "interrupted":
            return {"kind": kind, "reason": ending.reason}
        if ending.state != "complete":
            return {"kind": kind, "reason": ending.reason, "epochs": ending.epochs}
        metrics, objectives = ending.metrics, self.objectives or (ending.chosen_by,)
        best_epoch = metrics.get("fit/best_epoch")
        return {
            "kind": kind,
            "objectives": [logged_name(name, metrics) for name in objectives],
            "epochs": ending.epochs,
            "num_parameters": ending.num_parameters,
            "max_epochs": ending.max_epochs,
            "best_epoch": None if best_epoch is None else int(best_epoch),
            "prevalence": metrics.get("validation/prevalence"),
        }

    def _values(self, metrics: Mapping[str, float], names: Sequence[str]) -> list[float]:
        """The objectives; the worst there is for one that is no number."""
        worst = {"maximize": -math.inf, "minimize": math.inf}
        return [
            worst[direction] if math.isnan(metrics[name]) else float(metrics[name])
            for name, direction in zip(names, self.directions, strict=True)
        ]


def logged_name(objective: str, metrics: Mapping[str, float]) -> str:
    """The logged metric that an objective names, with or without `validation/`.

    Raises:
        ObjectiveError: There is none; says which there are.
    """
    for name in (objective, f"validation/{objective}"):
        if name in metrics:
            return name
    known = [name for name in metrics if not name.startswith(("test/", EPOCHS_PREFIX))]
    names = ", ".join(sorted(name.removeprefix("validation/") for name in known))
    raise ObjectiveError(
        f"The objective {objective!r} was never logged. Set hydra.sweeper.objectives to one of "
        f"{names}."
    )


def build_pruner(settings: Mapping[str, Any]) -> Any:
    """The pruner of a study from its stored settings."""
    return _build("pruner", settings)


def build_sampler(settings: Mapping[str, Any], seed: int) -> Any:
    """The sampler of a study from its stored settings, for one draw."""
    seeded = settings if settings.get("kind") == "qmc" else {**settings, "seed": seed}
    return _build("sampler", seeded)


def try_out(sampler: Mapping[str, Any], pruner: Mapping[str, Any]) -> None:
    """Raise ConfigError where a sampler or a pruner can't be built of its settings, or fails as it
    draws and prunes: each trial of a study would."""
    import optuna

    made = build_sampler(sampler, 0), build_pruner(pruner)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=made[0], pruner=made[1])
    try:
        for _ in range(2):
            trial = study.ask()
            trial.suggest_float("x", 0, 1)
            trial.report(0.5, 1)
            trial.should_prune()
            study.tell(trial, 0.5)
    except Exception as error:  # of another library, for whatever it was given
        raise ConfigError(
            f"hydra.sweeper.sampler or hydra.sweeper.pruner can't be used: {error}. Leave their "
            "settings as they are in conf/hydra/sweeper."
        ) from error


def _build(node: str, settings: Mapping[str, Any]) -> Any:
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate
    from optuna.exceptions import ExperimentalWarning

    spec = {name: value for name, value in settings.items() if name != "kind"}
    for name in texts_of(spec):
        if name.rpartition(".")[2] == KEEPS_PICKLES and not is_allowed(name):
            raise ConfigError(
                f"hydra.sweeper.{node}={name} keeps pickles in the database of studies, and runs "
                f"what it finds there. Take another, or, where nobody else can write that "
                f"database, set {ALLOW_VARIABLE}={name}."
            )
    with warnings.catch_warnings():
        # QMC and patience have been experimental for years
        warnings.simplefilter("ignore", ExperimentalWarning)
        try:
            return instantiate(spec, _convert_="all")
        except InstantiationException as error:
            raise ConfigError(
                f"hydra.sweeper.{node} can't be used: {error.__cause__ or error}"
            ) from error


class _Heartbeat:
    """A thread that beats for the trials of this process, and ends those of the dead."""

    def __init__(self) -> None:
        self._trials: dict[tuple[str, int], Study] = {}
        threading.Thread(target=self._live, name="recsweep heartbeat", daemon=True).start()

    def beat_for(self, study: Study, number: int) -> None:
        self._trials[study.name, number] = study

    def rest(self, study: Study, number: int) -> None:
        self._trials.pop((study.name, number), None)

    def _live(self) -> None:
        due = 0.0
        while True:
            held = dict(self._trials)
            silence = min((study.silence for study in held.values()), default=SILENCE_SECONDS)
            time.sleep(min(1.0, silence / BEATS / 2))
            if time.monotonic() < due or not held:
                continue
            due = time.monotonic() + silence / BEATS
            # the next beat may get through; training must not end of this
            with suppress(Exception):
                self._beat(held)

    def _beat(self, held: Mapping[tuple[str, int], Study]) -> None:
        studies = {name: study for (name, _), study in held.items()}
        for name, study in studies.items():
            with study.storage.patience.hurrying():
                study.beat(*(number for each, number in held if each == name))
                study.settle()


@cache
def _heartbeat(storage: Storage) -> _Heartbeat:
    """The heartbeat of this process's trials in a storage."""
    return _Heartbeat()
