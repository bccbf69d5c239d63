"""A study in Optuna's storage: created once, joined by many processes, each slot of its budget claimed by one.

A *slot* is one unit of the budget: a point of the grid, or one draw of a search. A trial is one attempt at a slot.
No slot is stored by itself: it is open as long as no trial holds or has filled it, which is looked up and claimed in
one exclusive transaction. So nothing can be lost, repeated or overrun, wherever a process is killed.
"""

import json
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from recsweep.databases import patiently
from recsweep.errors import ConfigError, StudyError
from recsweep.processes import Worker
from recsweep.tuning.records import StudyRecord, TrialRecord
from recsweep.tuning.space import Dimension
from recsweep.tuning.storage import Storage

if TYPE_CHECKING:
    import optuna
    from sqlalchemy.orm import Session

BEAT_SECONDS = 30
"""Between two heartbeats of a trial."""

SILENCE_SECONDS = 150
"""A trial of another machine that has not beaten for so long has died."""

ENDED = {"error": "failed", "died": "died", "interrupted": "interrupted"}


@dataclass(frozen=True)
class Definition:
    """What makes a study the one it is.

    Attributes:
        name: Unique in its storage.
        objectives: Names of metrics; None for the one that evaluation.objective, or its default, names.
        directions: One per objective.
        space: What is varied, in words.
        fixed: The settings that are the same for all trials, flat.
        sampler: Its settings, `{"kind": "grid"}` for a grid.
        pruner: Its settings.
    """

    name: str
    objectives: tuple[str, ...] | None
    directions: tuple[str, ...]
    space: Mapping[str, str]
    fixed: Mapping[str, Any]
    sampler: Mapping[str, Any]
    pruner: Mapping[str, Any]


@dataclass(frozen=True)
class Point:
    """A point of a grid: its slot's name, and what composes and describes it."""

    slot: str
    overrides: tuple[str, ...]
    params: Mapping[str, Any]


@dataclass(frozen=True)
class Claim:
    """A slot that this process alone works on, as trial `number`.

    Attributes:
        params: Already chosen: of a grid's point, or of the attempt before. Empty for a new draw of a search.
        overrides: Of a grid's point; None for a search, which draws them.
    """

    number: int
    trial_id: int
    slot: str
    attempt: int
    params: Mapping[str, Any]
    overrides: tuple[str, ...] | None


@dataclass
class _Slot:
    """The latest trial of a slot, and how many of its processes died."""

    trial_id: int
    state: str
    kind: str = ""
    attempt: int = 0
    deaths: int = 0


@dataclass
class Study:
    """A study that exists in a storage.

    Attributes:
        seed: Of samplers; each slot draws with its own, so that a study that was interrupted goes on as it would have.
        retries: How often a slot is tried again whose process died.
    """

    storage: Storage
    name: str
    seed: int = 0
    retries: int = 0
    _id: int = field(init=False)
    _distributions: Mapping[str, "optuna.distributions.BaseDistribution"] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        with self.storage.guard():
            try:
                self._id = self.storage.cached.get_study_id_from_name(self.name)
            except KeyError:
                raise StudyError(f"There is no study {self.name!r} in the database of studies. "
                                 f"Start one with: python train.py -m ...") from None

    # --- what is stored of the study itself ---

    def notes(self) -> dict[str, Any]:
        with self.storage.guard():
            return self.storage.cached.get_study_user_attrs(self._id)

    def note(self, name: str, value: Any) -> None:
        with self.storage.guard():
            self.storage.cached.set_study_user_attr(self._id, name, value)

    def note_command(self, command: Mapping[str, Any]) -> None:
        """Keep what composes the study's config again, for refits."""
        if self.notes().get("command") != command:
            self.note("command", command)

    def note_first(self, name: str, value: Any) -> Any:
        """Store a note unless there is one; what is stored then."""
        from optuna.storages._rdb.models import StudyModel, StudyUserAttributeModel

        with self.storage.exclusive(self._id) as session:
            study = StudyModel.find_or_raise_by_id(self._id, session)
            found = StudyUserAttributeModel.find_by_study_and_key(study, name, session)
            if found is not None:
                return json.loads(found.value_json)
            session.add(StudyUserAttributeModel(study_id=self._id, key=name, value_json=json.dumps(value)))
            return value

    # --- claims ---

    def claim(self, slots: Iterable[str] | Sequence[Point], *, max_epochs: int | None = None) -> Claim | None:
        """Take the first open slot, or None where none is open now.

        Args:
            slots: The planned ones: points of a grid, or the names of a search's slots.
            max_epochs: Nothing is open once the trials have trained so many.
        """
        with self.storage.exclusive(self._id) as session:
            if max_epochs is not None and self._epochs(session) >= max_epochs:
                return None
            taken = self._slots(session)
            reopened = set(self._reopened(session))
            for each in slots:
                name = each.slot if isinstance(each, Point) else each
                if (attempt := self._next_attempt(taken.get(name), reopened)) is not None:
                    params, overrides = {}, None
                    if isinstance(each, Point):
                        params, overrides = each.params, each.overrides
                    elif name in taken:
                        params = self._params(taken[name].trial_id)
                    return self._insert(session, name, attempt, params, overrides)
        return None

    def _next_attempt(self, slot: _Slot | None, reopened: set[int]) -> int | None:
        """Which attempt a slot is open for; None where it is taken or given up."""
        if slot is None:
            return 0
        if slot.state != "FAIL":
            return None
        if slot.kind == "interrupted":
            return slot.attempt
        if slot.trial_id in reopened or (slot.kind == "died" and slot.deaths <= self.retries):
            return slot.attempt + 1
        return None

    def _slots(self, session: "Session") -> dict[str, _Slot]:
        from optuna.storages._rdb.models import TrialModel, TrialUserAttributeModel
        from sqlalchemy import select

        attributes = TrialUserAttributeModel
        rows = session.execute(
            select(TrialModel.trial_id, TrialModel.state, attributes.key, attributes.value_json)
            .join(attributes, attributes.trial_id == TrialModel.trial_id)
            .where(TrialModel.study_id == self._id, attributes.key.in_(["slot", "ended"]))
            .order_by(TrialModel.trial_id)
        ).all()
        trials: dict[int, dict[str, Any]] = {}
        for trial_id, state, key, value in rows:
            trials.setdefault(trial_id, {"state": state.name})[key] = json.loads(value)
        found: dict[str, _Slot] = {}
        for trial_id, each in trials.items():
            before = found.get(each["slot"]["name"])
            kind = each.get("ended", {}).get("kind", "")
            deaths = (before.deaths if before else 0) + (kind == "died")
            found[each["slot"]["name"]] = _Slot(trial_id, each["state"], kind, each["slot"]["attempt"], deaths)
        return found

    def _reopened(self, session: "Session") -> list[int]:
        from optuna.storages._rdb.models import StudyModel, StudyUserAttributeModel

        study = StudyModel.find_or_raise_by_id(self._id, session)
        found = StudyUserAttributeModel.find_by_study_and_key(study, "reopened", session)
        return [] if found is None else json.loads(found.value_json)

    def _epochs(self, session: "Session") -> int:
        """Epochs of all trials: those told at their end, else as many as were reported."""
        from optuna.storages._rdb.models import TrialIntermediateValueModel, TrialModel, TrialUserAttributeModel
        from sqlalchemy import func, select

        told = session.execute(
            select(TrialModel.trial_id, TrialUserAttributeModel.value_json)
            .join(TrialUserAttributeModel, TrialUserAttributeModel.trial_id == TrialModel.trial_id)
            .where(TrialModel.study_id == self._id, TrialUserAttributeModel.key == "ended")
        ).all()
        reported = session.execute(
            select(TrialModel.trial_id, func.max(TrialIntermediateValueModel.step))
            .join(TrialIntermediateValueModel, TrialIntermediateValueModel.trial_id == TrialModel.trial_id)
            .where(TrialModel.study_id == self._id).group_by(TrialModel.trial_id)
        ).all()
        epochs = dict(map(tuple, reported))
        epochs |= {trial_id: found for trial_id, value in told if (found := json.loads(value).get("epochs"))}
        return sum(epochs.values())

    def _params(self, trial_id: int) -> Mapping[str, Any]:
        return self.storage.rdb.get_trial(trial_id).params

    def _insert(self, session: "Session", slot: str, attempt: int, params: Mapping[str, Any],
                overrides: tuple[str, ...] | None) -> Claim:
        from optuna.storages._rdb.models import TrialHeartbeatModel
        from optuna.trial import TrialState, create_trial

        notes: dict[str, Any] = {"slot": {"name": slot, "attempt": attempt}, "worker": Worker.here().stored()}
        system, distributions = {}, {}
        if overrides is None:
            system = {"fixed_params": dict(params)} if params else {}
        else:
            notes["overrides"] = list(overrides)
            distributions = {name: self._distributions[name] for name in params}
        template = create_trial(
            state=TrialState.RUNNING, params=dict(params) if overrides is not None else {},
            distributions=distributions, user_attrs=notes, system_attrs=system,
        )
        row = self.storage.rdb._get_prepared_new_trial(self._id, template, session)
        session.add(TrialHeartbeatModel(trial_id=row.trial_id))  # a trial that never beat could never fall silent
        session.flush()
        return Claim(row.number, row.trial_id, slot, attempt, params, overrides)

    def know_grid(self, dimensions: Sequence[Dimension]) -> None:
        """How Optuna records the points of the grid."""
        self._distributions = {each.name: each.grid_distribution() for each in dimensions}

    def drawing(self, claim: Claim, sampler: Callable[[int], Any], pruner: Any) -> "optuna.Trial":
        """The claimed trial as one that draws.

        Args:
            sampler: From a seed to a sampler.
            pruner: The study's, as Hyperband draws for each of its brackets.
        """
        import optuna

        with self.storage.guard():
            study = optuna.Study(self.name, self.storage.cached,
                                 sampler=sampler(zlib.crc32(f"{self.seed}/{claim.slot}".encode())), pruner=pruner)
            study.get_trials(deepcopy=False)  # the cache in between learns the new trial by reading
            return optuna.Trial(study, claim.trial_id)

    # --- the dead ---

    def running(self) -> list["optuna.trial.FrozenTrial"]:
        from optuna.trial import TrialState

        with self.storage.guard():
            return self.storage.cached.get_all_trials(self._id, deepcopy=False, states=(TrialState.RUNNING,))

    def settle(self) -> list[int]:
        """Mark the trials as failed whose process has died; their numbers. Their slots are open again."""
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        dead = []
        for trial in self.running():
            worker = Worker.of(trial.user_attrs["worker"])
            alive = worker.alive
            if alive or (alive is None and self._silence(trial._trial_id) < SILENCE_SECONDS):
                continue
            reason = f"its process {worker.pid} on {worker.host} died" if alive is False else (
                f"its process {worker.pid} on {worker.host} fell silent")
            with self.storage.guard():
                try:
                    end = {"kind": "died", "reason": reason, "epochs": max(trial.intermediate_values, default=0)}
                    self.storage.cached.set_trial_user_attr(trial._trial_id, "ended", end)
                    self.storage.cached.set_trial_state_values(trial._trial_id, TrialState.FAIL)
                except UpdateFinishedTrialError:  # another process was quicker
                    continue
            dead.append(trial.number)
        return dead

    def _silence(self, trial_id: int) -> float:
        """Seconds since the last heartbeat, by the database's clock."""
        from optuna.storages._rdb.models import TrialHeartbeatModel
        from sqlalchemy import func, select
        from sqlalchemy.orm import Session

        with self.storage.guard(), Session(self.storage.rdb.engine) as session:
            beat = session.execute(select(TrialHeartbeatModel.heartbeat).filter_by(trial_id=trial_id)).scalar()
            now = session.execute(select(func.now())).scalar()
        if beat is None or now is None:
            return float("inf")
        return (now.replace(tzinfo=None) - beat.replace(tzinfo=None)).total_seconds()

    def reopen_failed(self) -> None:
        """Let the slots be tried again that have failed so far."""
        self.note("closed", None)
        with self.storage.exclusive(self._id) as session:
            failed = [slot.trial_id for slot in self._slots(session).values()
                      if slot.state == "FAIL" and slot.kind != "interrupted"]
        self.note("reopened", sorted({*self.notes().get("reopened", []), *failed}))

    # --- records ---

    def optuna(self) -> "optuna.Study":
        """Optuna's own view of the study, for its plots and importances."""
        import optuna

        with self.storage.guard():
            return optuna.load_study(study_name=self.name, storage=self.storage.cached)

    def record(self) -> StudyRecord:
        """All that is known of the study now."""
        notes = self.notes()
        with self.storage.guard():
            trials = self.storage.cached.get_all_trials(self._id, deepcopy=False)
        records = tuple(_trial_record(trial) for trial in trials)
        logged = (found for trial in trials if (found := trial.user_attrs.get("ended", {}).get("objectives")))
        named = next(logged, notes["objectives"] or ["objective"])
        return StudyRecord(
            name=self.name, objectives=tuple(named), directions=tuple(notes["directions"]), space=notes["space"],
            fixed=notes["fixed"], trials=records, planned=notes.get("planned", 0), sampler=notes["sampler"]["kind"],
            pruner=notes["pruner"]["kind"], parent_run=notes.get("parent_run"),
        )


def _trial_record(trial: "optuna.trial.FrozenTrial") -> TrialRecord:
    notes, ended = trial.user_attrs, trial.user_attrs.get("ended", {})
    states = {"COMPLETE": "complete", "PRUNED": "pruned", "RUNNING": "running"}
    run = notes.get("run", {})
    duration = trial.duration
    complete = trial.state.name == "COMPLETE"
    return TrialRecord(
        number=trial.number,
        state=states.get(trial.state.name) or ENDED.get(ended.get("kind", ""), "failed"),
        params=dict(trial.params), overrides=tuple(notes.get("overrides", ())),
        values=tuple(trial.values) if complete else (), intermediate=dict(trial.intermediate_values),
        run_id=run.get("id"), name=run.get("name", ""), seed=run.get("seed"), reason=ended.get("reason", ""),
        seconds=None if duration is None else duration.total_seconds(),
        epochs=ended.get("epochs") or max(trial.intermediate_values, default=0),
        num_parameters=ended.get("num_parameters"), attempt=notes["slot"]["attempt"], slot=notes["slot"]["name"],
        best_epoch=ended.get("best_epoch"), max_epochs=ended.get("max_epochs"),
        prevalence=ended.get("prevalence"),
    )


StoredPoints = Sequence[tuple[str, int, Sequence[str]]]
"""Of a grid: a slot's name, its place in the product of the space, and the settings that mean nothing there."""

MakePoints = Callable[[], StoredPoints | None]


def open_study(storage: Storage, definition: Definition, make_points: MakePoints, *, allow_changes: bool) -> Study:
    """The study of this definition: the one that is stored, else a new one.

    The new one appears at once with all that is known of it, or not at all: of two processes at the same moment one
    creates it and the other one joins.

    Args:
        make_points: Called by the creator alone, as composing every point takes a while; None for a search.
        allow_changes: Whether a stored study may take over another space or other settings.

    Raises:
        ConfigError: The stored study has another space or other settings, and they may not change.
    """
    notes = {
        "objectives": None if definition.objectives is None else list(definition.objectives),
        "directions": list(definition.directions), "space": dict(definition.space), "fixed": dict(definition.fixed),
        "sampler": dict(definition.sampler), "pruner": dict(definition.pruner),
    }
    if not exists(storage, definition.name):
        _create(storage, definition, notes | {"token": f"{time.time_ns():x}", "points": make_points()})
    study = Study(storage, definition.name)
    _join(study, notes, make_points, allow_changes)
    return study


def _create(storage: Storage, definition: Definition, notes: Mapping[str, Any]) -> None:
    """Store a study with its notes in one transaction, unless another process was first."""
    from optuna.storages._rdb import models
    from optuna.study import StudyDirection
    from sqlalchemy.exc import IntegrityError
    from sqlalchemy.orm import Session

    def insert() -> None:
        with Session(storage.rdb.engine) as session, session.begin():
            session.add(models.StudyModel(
                study_name=definition.name,
                directions=[models.StudyDirectionModel(objective=place, direction=StudyDirection[each.upper()])
                            for place, each in enumerate(definition.directions)],
                user_attributes=[models.StudyUserAttributeModel(key=key, value_json=json.dumps(value))
                                 for key, value in notes.items()],
            ))

    with storage.guard(), suppress(IntegrityError):  # another process was first: join its study
        patiently(insert)


def exists(storage: Storage, name: str) -> bool:
    """Whether a storage holds a study of this name."""
    with storage.guard():
        try:
            storage.cached.get_study_id_from_name(name)
        except KeyError:
            return False
    return True


def _join(study: Study, notes: Mapping[str, Any], make_points: MakePoints, allow_changes: bool) -> None:
    stored = study.notes()
    if "fixed" not in stored:
        raise StudyError(f"The study {study.name!r} was not made by recsweep. Choose another hydra.sweeper.study_name.")
    changes = _differences(stored, notes)
    if not changes:
        return
    told = "; ".join(changes[:8]) + (f"; and {len(changes) - 8} more" if len(changes) > 8 else "")
    if not allow_changes:
        raise ConfigError(
            f"The study {study.name!r} exists with other settings: {told} (stored -> given). Give it another "
            f"hydra.sweeper.study_name, or hydra.sweeper.allow_changes=true to go on with the new ones."
        )
    fixed_for_good = [name for name in ("objectives", "directions") if stored[name] != notes[name]]
    if fixed_for_good:
        raise ConfigError(f"The {fixed_for_good[0]} of a study can't change ({told}): its trials could not be "
                          f"compared. Give it another hydra.sweeper.study_name.")
    for key, value in {**notes, "points": make_points(), "closed": None}.items():
        study.note(key, value)


def _differences(stored: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Every setting that differs, as `trainer.max_epochs: 3 -> 20`."""
    told = [f"{name}: {stored[name]} -> {given[name]}" for name in ("objectives", "directions")
            if stored[name] != given[name]]
    for part in ("space", "sampler", "pruner", "fixed"):
        before, after = stored[part], json.loads(json.dumps(given[part]))
        for name in sorted({*before, *after}, key=lambda each: (each not in before, each)):
            old, new = before.get(name, "(not there)"), after.get(name, "(not there)")
            if old != new:
                prefix = f"{part} " if part != "fixed" else ""
                told.append(f"{prefix}{name}: {old} -> {new}")
    return told
