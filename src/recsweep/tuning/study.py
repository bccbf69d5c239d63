"""A study: created once, joined by many processes, each slot of its budget claimed by one.

A *slot* is one unit of the budget: a point of the grid, or one draw of a search. A trial is one
attempt at a slot. Slots wait, are claimed and end in the table of claims; Optuna holds the trials.
These are several transactions, and a process may be killed between any two of them:

- A claim is stored first, then its trial, then the claim's link to it. Where its process died
  before the link, the trial is found by its slot and process, else one that failed is stored in
  its place.
- An end is decided in the table, with all that Optuna is to be told of it, then told, then the
  table knows that it was. Where the process died in between, anybody tells it again.

So nothing can be lost, repeated or overrun.
"""

import copy
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from recsweep.databases import patiently, with_patience
from recsweep.errors import StudyError
from recsweep.masking import mask_value
from recsweep.processes import Worker
from recsweep.rendering import train_line
from recsweep.tuning import claims
from recsweep.tuning.claims import SlotRow, StudyRow, next_attempt
from recsweep.tuning.records import StudyRecord, TrialRecord
from recsweep.tuning.repeats import Repeats, option_of
from recsweep.tuning.space import Dimension, accepting, conflict, setting_of
from recsweep.tuning.storage import KnownStudy, Storage
from recsweep.tuning.view import View

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial
    from sqlalchemy import Connection

BEAT_SECONDS = 30
"""Time between two heartbeats of a trial."""

SILENCE_SECONDS = 150
"""A trial of another machine that has not beaten for so long has died."""

ENDED = {"error": "failed", "died": "died", "interrupted": "interrupted"}
"""State of a trial's record by the kind of its end, where Optuna calls it failed."""

STATES = {
    "complete": claims.COMPLETE,
    "pruned": claims.PRUNED,
    "error": claims.FAILED,
    "died": claims.DIED,
    "interrupted": claims.OPEN,
}
"""State of a slot by the kind of its trial's end."""


@dataclass(frozen=True)
class Definition:
    """What makes a study the one it is.

    Attributes:
        name: Name of the study, unique in its storage.
        objectives: Names of the measures; None for the one that evaluation.objective names, or its
            default.
        directions: Direction of each objective.
        space: What is varied, in words.
        fixed: The settings that are the same for all trials, flat.
        sampler: Settings of the sampler, `{"kind": "grid"}` for a grid.
        pruner: Settings of the pruner.
        repeats: Seeds with which each point is trained; None where each is trained once.
        each: Group of which each option is tried by itself; None for none.
    """

    name: str
    objectives: tuple[str, ...] | None
    directions: tuple[str, ...]
    space: Mapping[str, str]
    fixed: Mapping[str, Any]
    sampler: Mapping[str, Any]
    pruner: Mapping[str, Any]
    repeats: Repeats | None = None
    each: str | None = None


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
        params: Params that are chosen already, by a grid's point or the attempt before; empty for
            a new draw of a search.
        overrides: Overrides of a grid's point; None for a search, which draws them.
    """

    number: int
    trial_id: int
    slot: str
    attempt: int
    params: Mapping[str, Any]
    overrides: tuple[str, ...] | None


@dataclass(frozen=True)
class RunningTrial:
    """A trial that a process holds.

    Attributes:
        state: `claimed` where the trial is about to be stored, `running`, or how it ends where that
            is about to be told.
        slot: The slot's name.
        worker: The process that holds it.
        number: Number of the trial in its study; None, or that of the attempt before, where the
            state is `claimed`.
        trial_id: Optuna's id of that trial.
    """

    state: str
    slot: str
    worker: Worker
    number: int | None
    trial_id: int | None

    @property
    def is_running(self) -> bool:
        """Whether it is stored, and has not been told its end."""
        return self.state == claims.RUNNING

    @property
    def is_own(self) -> bool:
        """Whether this process trains it."""
        return self.is_running and self.worker == Worker.here()


@dataclass
class Study:
    """A study that exists in a storage.

    Attributes:
        storage: The open database that it is stored in.
        name: Name of the study, unique in its storage.
        seed: The samplers' seed; each slot draws with its own, so that a study that was interrupted
            goes on as it would have.
        retries: Number of times that a slot is tried again whose process died.

    Raises:
        StudyError: There is no study of this name.
    """

    storage: Storage
    name: str
    seed: int = 0
    retries: int = 0
    _distributions: Mapping[str, "optuna.distributions.BaseDistribution"] = field(
        default_factory=dict, init=False
    )
    _next_number: int = field(default=0, init=False)
    _given_slots: object = field(default=None, init=False)
    _planned: Sequence[str] = field(default=(), init=False)
    _points: Mapping[str, Point | None] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        with self.storage.guard():
            if self.name in self.storage.known:
                self._know(self.storage.known[self.name])
            else:
                self._learn()

    def _know(self, known: KnownStudy) -> None:
        self._optuna, self._id = known.optuna, known.id
        self._key, self._mark = known.key, known.mark

    def _learn(self) -> None:
        """Open the study for the first time in this process."""
        table = self.storage.claims
        row = table.study(self.name)
        if row is not None and row.notes is not None:  # who wrote them was killed, or is about to
            _complete(self.storage, self.name, row)
        try:
            study = self.storage.load(self.name)
        except KeyError:
            raise StudyError(
                f"There is no study {self.name!r} in the database of studies. "
                f"Start one with: {train_line('-m ...')}"
            ) from None
        token = patiently(lambda: study.user_attrs).get("token", "")
        if row is not None and row.token != token:
            table.remove_study(row)  # of an earlier one that was deleted
            row = None
        if row is None:
            table.add_study(self.name, token)
            row = table.study(self.name)
            assert row is not None
        study_id = self.storage.optuna.get_study_id_from_name(self.name)
        known = KnownStudy(study, study_id, row.key, row.mark)
        self._know(known)
        self._adopt()
        self.storage.known[self.name] = known

    # --- what is stored of the study itself ---

    def notes(self) -> dict[str, Any]:
        """All notes, by their names."""
        with self.storage.guard():
            return patiently(lambda: self._optuna.user_attrs)

    def note(self, name: str, value: Any) -> None:
        """Store a note, masked, in place of the one of its name."""
        with self.storage.guard():
            patiently(self._optuna.set_user_attr, name, mask_value(name, value))

    def keep(self, name: str, value: Any) -> None:
        """Store a note, unless it is stored so already."""
        if self.notes().get(name) != mask_value(name, value):
            self.note(name, value)

    def note_first(self, name: str, value: Any) -> Any:
        """Store a note unless there is one; what is stored then."""
        notes, value = self.notes(), mask_value(name, value)
        with self.storage.guard():
            kept = self.storage.claims.first_note(self._key, name, notes.get(name, value))
        if name not in notes or notes[name] != kept:
            self.note(name, kept)
        return kept

    def change(self, notes: Mapping[str, Any]) -> None:
        """Store notes in place of those of their names, all together or none."""
        table = self.storage.claims
        with self.storage.guard():
            row = table.study(self.name)
            assert row is not None, "it was opened"
            if row.notes is not None:
                _complete(self.storage, self.name, row)
            table.change_study(self._key, notes)
            row = table.study(self.name)
            assert row is not None
            _complete(self.storage, self.name, row)

    def obstacle(self, dimension: Dimension) -> str | None:
        """Why a search can't draw from a dimension after what it has drawn so far, in words; None
        where it can."""
        drawn = dimension.drawn_distribution()
        reasons = (conflict(before, drawn) for before in self._recorded(dimension.recorded))
        reason = next((reason for reason in reasons if reason is not None), None)
        return reason and f"A search has to draw {dimension.name} from the same {reason}."

    def _recorded(self, name: str) -> list["optuna.distributions.BaseDistribution"]:
        """The distributions that the trials so far have of a setting, each once."""
        with self.storage.guard():
            found = [trial.distributions.get(name) for trial in self._trials()]
        distinct: list[optuna.distributions.BaseDistribution] = []
        for distribution in found:
            if distribution is not None and distribution not in distinct:
                distinct.append(distribution)
        return distinct

    # --- claims ---

    def claim(
        self, slots: Iterable[str] | Sequence[Point], *, max_epochs: int | None = None
    ) -> Claim | None:
        """Take the first open slot, or None where none is open now.

        Args:
            slots: The planned slots: points of a grid, or the names of a search's slots.
            max_epochs: Number of epochs after which nothing is open; None for no such budget.
        """
        table, worker = self.storage.claims, _stored(Worker.here())
        with self.storage.guard():
            self._plan(slots)
            names = self._points.keys()
            while True:
                with table.exclusive(self._key) as connection:
                    if max_epochs is not None and self._epochs(connection) >= max_epochs:
                        return None
                    before = table.take(connection, self._key, names, self.retries, worker)
                if before is None:
                    return None
                if (claim := self._start(before, worker)) is not None:
                    return claim

    def _plan(self, slots: Iterable[str] | Sequence[Point]) -> None:
        """Let the slots wait in the table, unless they do already."""
        if slots is self._given_slots:
            return
        named = [(slot.slot, slot) if isinstance(slot, Point) else (slot, None) for slot in slots]
        names = [name for name, _ in named]
        if names != self._planned:
            self.storage.claims.plan(self._key, names)
            self._planned, self._points = names, dict(named)
        self._given_slots = slots

    def _epochs(self, connection: "Connection") -> int:
        """Epochs of all trials: those told at their end, else as many as were reported."""
        running = self.storage.claims.running(connection, self._key)
        trials = [trial for trial in self._running_trials() if trial.number in running]
        return self.storage.claims.epochs(connection, self._key) + sum(map(_epochs, trials))

    def _start(self, before: SlotRow, worker: str) -> Claim | None:
        """Store the trial of a slot that was claimed; None where that took so long that another
        process has the slot now."""
        from optuna.trial import TrialState, create_trial

        table, slot, attempt = self.storage.claims, before.slot, next_attempt(before)
        try:
            point, distributions, system = self._points[slot], {}, {}
            note = self._slot_note(slot, attempt)
            notes: dict[str, Any] = {"slot": note, "worker": json.loads(worker)}
            if point is None:  # an attempt after another draws the same
                params = {} if before.number is None else self._trial_of(before.number).params
                system = {"fixed_params": params} if params else {}
            else:
                params, notes["overrides"] = dict(point.params), list(point.overrides)
                for name, value in params.items():
                    distribution = accepting(self._distributions[name], value)
                    if distribution is not None:
                        distributions[name] = distribution
                if others := {name: params[name] for name in params.keys() - distributions}:
                    notes["params"] = others
            template = create_trial(
                state=TrialState.RUNNING,
                params={name: params[name] for name in distributions},
                distributions=distributions,
                user_attrs=notes,
                system_attrs=system,
            )
            trial_id = self.storage.optuna.create_new_trial(self._id, template_trial=template)
            number = self._number_of(trial_id)
        except BaseException:
            table.give_back(self._key, before, worker)
            raise
        if table.link(self._key, slot, worker, number, trial_id):
            overrides = None if point is None else point.overrides
            return Claim(number, trial_id, slot, attempt, params, overrides)
        self._disown(number, trial_id)
        return None

    def _number_of(self, trial_id: int) -> int:
        """Number of a trial that was stored just now.

        Asking whether it is the next one is cheaper than reading the trial.
        """
        with suppress(KeyError):
            if self._id_of(self._next_number) == trial_id:
                self._next_number += 1
                return self._next_number - 1
        number = self.storage.optuna.get_trial_number_from_id(trial_id)
        self._next_number = number + 1
        return number

    def _slot_note(self, slot: str, attempt: int) -> dict[str, Any]:
        """The note that a trial has of its slot; the mark says that the table of claims has it."""
        return {"name": slot, "attempt": attempt, "table": self._mark}

    def _disown(self, number: int, trial_id: int) -> None:
        """End a trial that no slot knows, as another process has its slot."""
        end = {"kind": "interrupted", "reason": "another process has its slot"}
        self._tell(number, trial_id, None, end)

    def know_grid(self, dimensions: Sequence[Dimension]) -> None:
        """Learn how Optuna records the points of the grid: as it has those that it has, where the
        grid was another before."""
        self._distributions = {}
        for dimension in dimensions:
            own, recorded = dimension.grid_distribution(), self._recorded(dimension.recorded)
            others = (before for before in recorded if conflict(before, own) is not None)
            self._distributions[dimension.recorded] = next(others, own)

    def drawing(
        self, claim: Claim, sampler: Any, pruner: Any, only: tuple[str, Any] | None = None
    ) -> "optuna.Trial":
        """The claimed trial as one that draws; what it draws is not stored.

        Args:
            sampler: The sampler, which sees a trial a point.
            pruner: The study's pruner, as Hyperband draws for each of its brackets.
            only: A param that is not drawn but has this value: no trials with another one are seen.
        """
        with self.storage.guard():
            if only is not None:
                fixed = dict([only])
                self.storage.optuna.set_trial_system_attr(claim.trial_id, "fixed_params", fixed)
            view = self._view(claim.trial_id, only)
            return self._trial(claim.trial_id, sampler, pruner, view)

    def taking(self, claim: Claim, params: Mapping[str, Any]) -> "optuna.Trial":
        """The claimed trial as one that draws these params, and stores them."""
        from optuna.samplers import RandomSampler

        with self.storage.guard():
            self.storage.optuna.set_trial_system_attr(claim.trial_id, "fixed_params", dict(params))
            return self._trial(claim.trial_id, RandomSampler(), None)

    def draws(self, point: str | None = None) -> dict[str, dict[str, Any]]:
        """The draws that points keep, by their names: `params` and `settings`, a name of what is
        trained.

        Args:
            point: The only point that is asked for; None for all.
        """
        with self.storage.guard():
            return self.storage.claims.draws(self._key, point)

    def keep_draw(
        self, point: str, params: Mapping[str, Any], settings: str
    ) -> dict[str, Any] | None:
        """Keep what a point has drawn, unless it keeps something; what it keeps then. None where
        another point has the same settings."""
        with self.storage.guard():
            draw = {"params": dict(params), "settings": settings}
            return self.storage.claims.keep_draw(self._key, point, draw)

    def _view(self, drawing: int | None = None, only: tuple[str, Any] | None = None) -> View:
        repeats = Repeats.of(patiently(lambda: self._optuna.user_attrs).get("repeats"))
        return View(self.storage.optuna, repeats, drawing, only)

    def attached(
        self, number: int, trial_id: int, pruner: Any, each: str | None = None
    ) -> "optuna.Trial":
        """A running trial as one that reports, from now on trained by this process.

        Args:
            pruner: The pruner that it is compared with others by.
            each: Param that the others have the same value of; None for all.

        Raises:
            StudyError: The trial has ended.
        """
        from optuna.samplers import RandomSampler

        with self.storage.guard():
            here = Worker.here()
            if not self.storage.claims.take_over(self._key, number, _stored(here)):
                ended = self.storage.optuna.get_trial(trial_id)
                reason = ended.user_attrs.get("ended", {}).get("reason", ended.state.name)
                raise StudyError(
                    f"Trial {number} of the study {self.name!r} has ended already: {reason}."
                )
            view = None
            if each is not None:
                known = self.storage.optuna.get_trial(trial_id)
                option = known.params.get(each, option_of(known.user_attrs["slot"]["name"]))
                view = self._view(only=(each, option))
            # the sampler has drawn before: this one only stands in its place
            trial = self._trial(trial_id, RandomSampler(), pruner, view)
            # claimed by one process, trained in another
            if trial.user_attrs["worker"] != here.stored():
                trial.set_user_attr("worker", here.stored())
            return trial

    def _trial(
        self, trial_id: int, sampler: Any, pruner: Any, view: View | None = None
    ) -> "optuna.Trial":
        import optuna

        if view is None:
            study = copy.copy(self._optuna)  # with the trials that it remembers
            study.sampler, study.pruner = sampler, pruner
        else:
            seen: Any = view
            study = patiently(
                optuna.load_study,
                study_name=self.name,
                storage=seen,
                sampler=sampler,
                pruner=pruner,
            )
        patiently(study.get_trials, deepcopy=False)  # it learns the new trial by reading
        return with_patience(patiently(optuna.Trial, study, trial_id))

    def beat(self, number: int) -> None:
        """Record that the process of a running trial lives."""
        self.storage.claims.beat(self._key, number)

    def end(
        self, number: int, trial_id: int, values: Sequence[float] | None = None, **notes: Any
    ) -> bool:
        """Record how a running trial ended; False where another process has ended it.

        Args:
            values: Value of each objective, of a complete trial.
            notes: `kind` (`complete`, `pruned`, `error`, `died` or `interrupted`), and what else is
                known of it.
        """
        state, notes = STATES[notes["kind"]], mask_value("", notes)
        with self.storage.guard():
            epochs = notes.get("epochs")
            if not epochs and state not in (claims.COMPLETE, claims.PRUNED):
                epochs = _epochs(self.storage.optuna.get_trial(trial_id))
            table, untold = self.storage.claims, {"values": values, "notes": notes}
            if not table.end(self._key, number, state, epochs=epochs or 0, untold=untold):
                return False
            self._tell(number, trial_id, values, notes)
            table.told(self._key, number)
            return True

    def _tell(
        self, number: int, trial_id: int, values: Sequence[float] | None, notes: Mapping[str, Any]
    ) -> None:
        """Tell Optuna how a trial ended; it may be told so again."""
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
        state = states.get(notes["kind"], TrialState.FAIL)
        try:
            self.storage.optuna.set_trial_user_attr(trial_id, "ended", dict(notes))
        except UpdateFinishedTrialError:
            return
        patiently(self._optuna.tell, number, values, state, skip_if_finished=True)

    # --- the dead ---

    def running(self) -> list[RunningTrial]:
        """The trials that a process holds, in the order of their numbers."""
        with self.storage.guard():
            held = self.storage.claims.held(self._key)
        return [
            RunningTrial(row.state, row.slot, _worker(row), row.number, row.trial_id)
            for row in held
        ]

    def settle(self) -> list[int]:
        """Mark the trials as failed whose process has died; their numbers. Their slots are open
        again."""
        with self.storage.guard():
            held = self.storage.claims.held(self._key)
            running = {trial.number: trial for trial in self._running_trials()}
            dead = [number for row in held if (number := self._settle(row, running)) is not None]
            known = {row.number for row in held}
            for trial in running.values():
                if trial.number not in known:
                    self._settle_unknown(trial)
        return dead

    def _settle(self, row: SlotRow, running: Mapping[int, "FrozenTrial"]) -> int | None:
        """See to a slot that may be held by a dead process; the trial's number where it is."""
        table, worker = self.storage.claims, _worker(row)
        is_dead, reason = _death(worker, row.silence)
        if row.untold is not None:
            if is_dead or worker == Worker.here():
                number, trial_id = row.trial
                self._tell(number, trial_id, row.untold["values"], row.untold["notes"])
                table.told(self._key, number)
            return None
        if row.state == claims.RUNNING:
            number, trial_id = row.trial
            if number not in running:
                self._learn_end(number)
                return None
            return self._end_dead(running[number], trial_id, reason) if is_dead else None
        if not is_dead:
            return None
        trial = self._unlinked(row, running)
        if trial is None:
            return self._bury(row, reason)
        trial_id = self._id_of(trial.number)
        if table.link(self._key, row.slot, row.worker, trial.number, trial_id):
            return self._end_dead(trial, trial_id, reason)
        return None

    def _end_dead(self, trial: "FrozenTrial", trial_id: int, reason: str) -> int | None:
        ended = self.end(
            trial.number, trial_id, None, kind="died", reason=reason, epochs=_epochs(trial)
        )
        return trial.number if ended else None

    def _learn_end(self, number: int) -> None:
        """Learn how a trial ended that Optuna was told of by other means than these."""
        trial, table = self._trial_of(number), self.storage.claims
        if trial.state.is_finished():
            table.end(self._key, number, _state_of(trial), epochs=_epochs(trial), untold=None)

    def _unlinked(self, row: SlotRow, running: Mapping[int, "FrozenTrial"]) -> "FrozenTrial | None":
        """The trial of a claim whose process stored it and came no further."""
        slot, worker = self._slot_note(row.slot, row.attempt), _worker(row).stored()
        own = (
            trial
            for trial in running.values()
            if trial.user_attrs.get("slot") == slot and trial.user_attrs["worker"] == worker
        )
        return next(own, None)

    def _bury(self, row: SlotRow, reason: str) -> int | None:
        """Store a trial that failed for a claim that never came to one."""
        from optuna.trial import TrialState, create_trial

        if not self.storage.claims.bury(self._key, row):
            return None
        params = {} if row.number is None else self._trial_of(row.number).params
        notes = {
            "slot": self._slot_note(row.slot, row.attempt),
            "worker": _worker(row).stored(),
            "ended": {"kind": "died", "reason": reason, "epochs": 0},
        }
        system = {"fixed_params": params} if params else {}
        template = create_trial(state=TrialState.FAIL, user_attrs=notes, system_attrs=system)
        trial_id = self.storage.optuna.create_new_trial(self._id, template_trial=template)
        number = self.storage.optuna.get_trial_number_from_id(trial_id)
        self.storage.claims.name_buried(self._key, row.slot, number, trial_id)
        return number

    def _settle_unknown(self, trial: "FrozenTrial") -> None:
        """End a running trial whose slot is another one's: its process was long silent before it
        was stored."""
        slot = trial.user_attrs.get("slot", {})
        if slot.get("table") != self._mark:
            return
        worker = Worker.of(trial.user_attrs["worker"])
        if worker.alive:
            return
        row = self.storage.claims.slot(self._key, slot["name"])
        is_known = row is not None and (
            row.number == trial.number
            or (row.state == claims.CLAIMED and row.worker == _stored(worker))
        )
        if not is_known:
            self._disown(trial.number, self._id_of(trial.number))

    def reopen_failed(self) -> None:
        """Let the slots be tried again that have failed so far."""
        self.note("closed", None)
        with self.storage.guard():
            self.storage.claims.reopen(self._key)

    def reopen_killed(self, names: Collection[str]) -> None:
        """Let slots be tried once more whose processes died more often than they may."""
        with self.storage.guard():
            self.storage.claims.reopen(self._key, names)

    def given_up(self) -> list[SlotRow]:
        """The slots that are not tried any more, though no trial of theirs came to an end."""
        with self.storage.guard():
            return self.storage.claims.given_up(self._key, self.retries)

    def _adopt(self) -> None:
        """Learn the slots of trials that were not claimed in the table of claims: those of an
        earlier version, or of a study that was copied."""

        def strange() -> list["FrozenTrial"]:
            return [
                trial
                for trial in self._trials()
                if trial.state.name != "WAITING"
                and trial.user_attrs.get("slot", {"table": self._mark}).get("table") != self._mark
            ]

        if not strange():
            return
        reopened = self.notes().get("reopened") or []
        with self.storage.claims.exclusive(self._key) as connection:
            rows = self.storage.claims.slots(connection, self._key)
            adopted: dict[str, SlotRow] = {}
            for trial in strange():
                name = trial.user_attrs["slot"]["name"]
                before = adopted.get(name) or rows.get(name)
                if before is not None and (
                    before.state == claims.CLAIMED
                    or (before.number is not None and before.number >= trial.number)
                ):
                    continue
                adopted[name] = self._adopted(trial, before, reopened)
            self.storage.claims.adopt(connection, self._key, list(adopted.values()))

    def _adopted(
        self, trial: "FrozenTrial", before: SlotRow | None, reopened: Sequence[int]
    ) -> SlotRow:
        """A slot as its latest trial leaves it."""
        slot, state = trial.user_attrs["slot"], _state_of(trial)
        attempt, before = slot["attempt"], before or SlotRow(slot["name"], claims.OPEN, 0)
        deaths = before.deaths + int(state == claims.DIED)
        epochs = before.epochs + (0 if state == claims.RUNNING else _epochs(trial))
        trial_id = self._id_of(trial.number) if state == claims.RUNNING or reopened else None
        if state in (claims.FAILED, claims.DIED) and trial_id in reopened:
            state, attempt = claims.OPEN, attempt + 1
        worker = json.dumps(trial.user_attrs["worker"], sort_keys=True)
        return SlotRow(
            before.slot,
            state,
            attempt,
            deaths,
            epochs,
            trial.number,
            trial_id,
            worker,
            place=before.place,
        )

    # --- records ---

    def optuna(self, option: str | None = None) -> "optuna.Study":
        """Optuna's own view of the study, for its plots and importances: a trial a point.

        Args:
            option: The only option shown where each is tried by itself, with settings by their own
                names; None for all.
        """
        notes = self.notes()
        each = notes.get("each")
        view = self._view(only=None if option is None else (str(each), option))
        if view.is_plain:
            return self._optuna
        import optuna

        trials = view.get_all_trials(self._id)
        for trial in trials if option is not None else ():
            own = {name: setting_of(name) for name in trial.params if name != each}
            trial.distributions = {own[name]: trial.distributions[name] for name in own}
            trial.params = {own[name]: trial.params[name] for name in own}
        points = optuna.create_study(directions=notes["directions"])  # in memory
        points.add_trials(trials)
        return points

    def _trials(self) -> list["FrozenTrial"]:
        """All trials, in the order of their numbers; they are not to be changed."""
        return patiently(self._optuna.get_trials, deepcopy=False)

    def _running_trials(self) -> list["FrozenTrial"]:
        from optuna.trial import TrialState

        return patiently(self._optuna.get_trials, deepcopy=False, states=(TrialState.RUNNING,))

    def _trial_of(self, number: int) -> "FrozenTrial":
        return self.storage.optuna.get_trial(self._id_of(number))

    def _id_of(self, number: int) -> int:
        return self.storage.optuna.get_trial_id_from_study_id_trial_number(self._id, number)

    def record(self) -> StudyRecord:
        """All that is known of the study now."""
        notes = self.notes()
        with self.storage.guard():
            trials = self._trials()
        records = tuple(_trial_record(trial) for trial in trials)
        missing = set(notes.get("missing") or ())
        ends = (trial.user_attrs.get("ended", {}) for trial in trials)
        logged = (ended["objectives"] for ended in ends if ended.get("objectives"))
        objectives = next(logged, notes["objectives"] or ["objective"])
        return StudyRecord(
            name=self.name,
            objectives=tuple(objectives),
            directions=tuple(notes["directions"]),
            space=notes["space"],
            fixed=notes["fixed"],
            trials=records,
            planned=notes.get("planned", 0),
            sampler=notes["sampler"]["kind"],
            pruner=notes["pruner"]["kind"],
            parent_run=notes.get("parent_run"),
            missing=tuple(trial for trial in records if trial.number in missing),
            repeats=Repeats.of(notes.get("repeats")),
            size=notes.get("size"),
            each=notes.get("each"),
        )


def _stored(worker: Worker) -> str:
    """A process as the table of claims names it."""
    return worker.text


def _worker(row: SlotRow) -> Worker:
    return Worker.read(row.worker)


def _death(worker: Worker, silence: float) -> tuple[bool, str]:
    """Whether a process has died, and how."""
    alive = worker.alive
    if alive is None:
        return silence >= SILENCE_SECONDS, f"its process {worker.pid} on {worker.host} fell silent"
    return not alive, f"its process {worker.pid} on {worker.host} died"


def _epochs(trial: "FrozenTrial") -> int:
    """The number of epochs of a trial: those told at its end, else as many as were reported."""
    return trial.user_attrs.get("ended", {}).get("epochs") or max(
        trial.intermediate_values, default=0
    )


def _state_of(trial: "FrozenTrial") -> str:
    """State of a slot by its trial."""
    states = {"RUNNING": claims.RUNNING, "COMPLETE": claims.COMPLETE, "PRUNED": claims.PRUNED}
    kind = trial.user_attrs.get("ended", {}).get("kind", "error")
    return states.get(trial.state.name) or STATES[kind]


def _trial_record(trial: "FrozenTrial") -> TrialRecord:
    notes, ended = trial.user_attrs, trial.user_attrs.get("ended", {})
    states = {"COMPLETE": "complete", "PRUNED": "pruned", "RUNNING": "running"}
    run = notes.get("run", {})
    duration = trial.duration
    complete = trial.state.name == "COMPLETE"
    return TrialRecord(
        number=trial.number,
        state=states.get(trial.state.name) or ENDED.get(ended.get("kind", ""), "failed"),
        params={
            setting_of(name): value
            for name, value in {**trial.params, **notes.get("params", {})}.items()
        },
        overrides=tuple(notes.get("overrides", ())),
        values=tuple(trial.values) if complete else (),
        intermediate=dict(trial.intermediate_values),
        run_id=run.get("id"),
        name=run.get("name", ""),
        seed=run.get("seed"),
        reason=ended.get("reason", ""),
        seconds=None if duration is None else duration.total_seconds(),
        epochs=_epochs(trial),
        num_parameters=ended.get("num_parameters"),
        attempt=notes["slot"]["attempt"],
        slot=notes["slot"]["name"],
        best_epoch=ended.get("best_epoch"),
        max_epochs=ended.get("max_epochs"),
        prevalence=ended.get("prevalence"),
        objectives=tuple(ended.get("objectives", ())) if complete else (),
        digests=(run["data_digest"], run["split_digest"]) if "data_digest" in run else None,
    )


def _complete(storage: Storage, name: str, row: StudyRow) -> None:
    """Store what a study is made or changed with; several processes may do so at once."""
    import optuna

    changes = (row.notes or {}).get(claims.CHANGES)
    notes = changes or row.notes or {}
    study = patiently(
        optuna.create_study,
        study_name=name,
        storage=storage.optuna,
        directions=notes["directions"],
        sampler=optuna.samplers.RandomSampler(),
        load_if_exists=True,
    )
    known = patiently(lambda: study.user_attrs)
    for key, value in notes.items():
        if key not in known or changes:
            patiently(study.set_user_attr, key, value)
    storage.claims.study_is_made(row.key)
