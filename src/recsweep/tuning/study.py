"""A study: created once, joined by many processes, each slot of its budget claimed by one.

A *slot* is one unit of the budget: a point of the grid, or one draw of a search. A trial is one
attempt at a slot. Slots wait, are claimed and end in the table of claims; Optuna holds the trials.
A claim with its trial is one transaction, and so is an end: nothing can be lost, repeated or
overrun, whenever a process is killed. The trials of a process that has died are ended by any other
one that works on the study, at its next heartbeat.

What earlier versions have left between two transactions is taken up: a claim without a trial, and
an end that Optuna was not told of.
"""

import json
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from recsweep.checks import nearest
from recsweep.errors import StudyError
from recsweep.masking import mask_value
from recsweep.processes import Worker
from recsweep.rendering import command_line, train_line
from recsweep.tuning import claims
from recsweep.tuning.claims import NewTrial, SlotRow, StudyRow, next_attempt
from recsweep.tuning.records import StudyRecord, TrialRecord
from recsweep.tuning.repeats import Repeats, option_of
from recsweep.tuning.space import Dimension, accepting, conflict, setting_of
from recsweep.tuning.storage import KnownStudy, Storage
from recsweep.tuning.view import View

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

SILENCE_SECONDS = 60.0
"""A process of another machine that has not beaten for so long has died, unless it says otherwise
itself."""

EARLIER_SILENCE = 150.0
"""The same of an earlier version, which said nothing, and beat every 30 s."""

BEATS = 5
"""Number of heartbeats in the time after which silence means death."""

RECENT_SECONDS = 1.0
"""What others have reported is read anew after so long: an epoch may be over in less."""

CERTAIN_SECONDS = 900.0
"""After so long a silence nobody waits for the database any more: no need to look twice."""

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
        state: `running`; of an earlier version `claimed` where the trial was about to be stored, or
            how it ended where that was about to be told.
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


class Reporting:
    """A trial that reports its epochs, and is compared with others by a pruner.

    Args:
        own: The trial in memory, which the pruner is shown.
        trial: Optuna's trial, whose storage has the own one in it.
    """

    def __init__(self, own: "FrozenTrial", trial: "optuna.Trial") -> None:
        self._own = own
        self._trial = trial

    def should_prune(self, epoch: int, value: float) -> bool:
        """Whether the trial shall be pruned after this epoch."""
        self._own.intermediate_values[epoch] = value
        return self._trial.should_prune()


@dataclass
class Study:
    """A study that exists in a storage.

    Attributes:
        storage: The open database that it is stored in.
        name: Name of the study, unique in its storage.
        seed: The samplers' seed; each slot draws with its own, so that a study that was interrupted
            goes on as it would have.
        retries: Number of times that a slot is tried again whose process died.
        silence: Seconds without a heartbeat after which others take this process for dead.

    Raises:
        StudyError: There is no study of this name.
    """

    storage: Storage
    name: str
    seed: int = 0
    retries: int = 0
    silence: float = SILENCE_SECONDS
    _distributions: Mapping[str, "optuna.distributions.BaseDistribution"] = field(
        default_factory=dict, init=False
    )
    _seen: tuple[dict[str, tuple[int, ...]], "list[FrozenTrial]"] | None = field(
        default=None, init=False
    )
    _recent: tuple[float, "list[FrozenTrial]"] | None = field(default=None, init=False)
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
            near = nearest(self.name, self.storage.names())
            remedy = f"Did you mean {near!r}? " if near else ""
            raise StudyError(
                f"There is no study {self.name!r} in the database of studies. {remedy}Start one "
                f"with: {train_line('-m ...')}, or list them with: {command_line('studies')}"
            ) from None
        token = self.storage.patience(lambda: study.user_attrs).get("token", "")
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
            return self.storage.patience(lambda: self._optuna.user_attrs)

    def note(self, name: str, value: Any) -> None:
        """Store a note, masked, in place of the one of its name."""
        with self.storage.guard():
            self.storage.patience(self._optuna.set_user_attr, name, mask_value(name, value))

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
        token = {"claim": uuid4().hex, "silence": self.silence}
        worker = Worker.here()
        with self.storage.guard():
            self._plan(slots)
            found = self.storage.claims.claim(
                self._key,
                self._points.keys(),
                lambda before: self._begin(before, worker),
                study_id=self._id,
                retries=self.retries,
                worker=json.dumps({**worker.stored(), **token}, sort_keys=True),
                max_epochs=max_epochs,
            )
            if found is None:
                return None
            before, number, trial_id = found
            point = self._points[before.slot]
            params = self._params_before(before) if point is None else dict(point.params)
            overrides = None if point is None else point.overrides
            return Claim(number, trial_id, before.slot, next_attempt(before), params, overrides)

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

    def _begin(self, before: SlotRow, worker: Worker) -> NewTrial:
        """What the trial of a slot begins with."""
        point, distributions = self._points[before.slot], {}
        notes: dict[str, Any] = {
            "slot": self._slot_note(before.slot, next_attempt(before)),
            "worker": worker.stored(),
        }
        params = {} if point is None else dict(point.params)
        if point is not None:
            notes["overrides"] = list(point.overrides)
            for name, value in params.items():
                distribution = accepting(self._distributions[name], value)
                if distribution is not None:
                    distributions[name] = distribution
            if others := {name: params[name] for name in params.keys() - distributions}:
                notes["params"] = others
        return NewTrial(notes, params, distributions)

    def _params_before(self, before: SlotRow) -> dict[str, Any]:
        """What the attempt before has drawn."""
        return {} if before.number is None else self._trial_of(before.number).params

    def _slot_note(self, slot: str, attempt: int) -> dict[str, Any]:
        """The note that a trial has of its slot; the mark says that the table of claims has it."""
        return {"name": slot, "attempt": attempt, "table": self._mark}

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
            own, trials = self._own_trial(claim), self._trials_to_draw_by()
            if only is not None:
                own.system_attrs["fixed_params"] = dict([only])
            view = self._view(lambda: trials, (claim.trial_id, own), only)
            return self._trial(view, claim.trial_id, sampler, pruner)

    def reporting(self, claim: Claim, pruner: Any, each: str | None) -> "Reporting":
        """The claimed trial as one that reports, and may be pruned.

        Args:
            pruner: The pruner that it is compared with others by.
            each: Param that the others have the same value of; None for all.
        """
        from optuna.samplers import RandomSampler

        self._recent = None  # of the trial before, which has ended since
        with self.storage.guard():
            own, only = self._own_trial(claim), None
            if each is not None:
                params = self.storage.optuna.get_trial(claim.trial_id).params
                only = each, params.get(each, option_of(claim.slot))
            view = self._view(self._recent_trials, (claim.trial_id, own), only, repeats=False)
            # the sampler has drawn before: this one only stands in its place
            return Reporting(own, self._trial(view, claim.trial_id, RandomSampler(), pruner))

    def _own_trial(self, claim: Claim) -> "FrozenTrial":
        """The claimed trial in memory, with nothing that it draws or reports."""
        from datetime import datetime

        from optuna.trial import FrozenTrial, TrialState

        return FrozenTrial(
            number=claim.number,
            state=TrialState.RUNNING,
            value=None,
            datetime_start=datetime.now(),
            datetime_complete=None,
            params={},
            distributions={},
            user_attrs={"slot": self._slot_note(claim.slot, claim.attempt)},
            system_attrs={},
            intermediate_values={},
            trial_id=claim.trial_id,
        )

    def _trials_to_draw_by(self) -> "list[FrozenTrial]":
        """All trials, but for this process's own: read anew where one has ended since, or another
        process has one that runs."""
        pulse = self.pulse()
        is_alone = pulse.get(claims.RUNNING, (0,))[0] < 2
        if self._seen is None or not is_alone or self._seen[0] != _ended(pulse):
            self._seen = _ended(pulse), self._trials()
        return self._seen[1]

    def _recent_trials(self) -> "list[FrozenTrial]":
        """All trials as they were within the last moment."""
        now = time.monotonic()
        if self._recent is None or now - self._recent[0] > RECENT_SECONDS:
            self._recent = now, self._trials_to_draw_by()
        return self._recent[1]

    def give_params(self, claim: Claim, new: NewTrial) -> None:
        """Store the params of a claimed trial, which its point keeps already."""
        with self.storage.guard():
            self.storage.claims.give_params(claim.trial_id, new)

    def draws(self, point: str | None = None) -> dict[str, dict[str, Any]]:
        """The draws that points keep, by their names: `params` and `settings`, a name of what is
        trained.

        Args:
            point: The only point that is asked for; None for all.
        """
        with self.storage.guard():
            return self.storage.claims.draws(self._key, point)

    def keep_draw(
        self,
        point: str,
        params: Mapping[str, Any],
        settings: str,
        claim: Claim | None = None,
        new: NewTrial | None = None,
    ) -> dict[str, Any] | None:
        """Keep what a point has drawn, unless it keeps something; what it keeps then. None where
        another point has the same settings.

        Args:
            claim: The claimed trial that takes what it has drawn.
            new: What that trial has of it.
        """
        with self.storage.guard():
            draw = {"params": dict(params), "settings": settings}
            trial_id = None if claim is None else claim.trial_id
            return self.storage.claims.keep_draw(self._key, point, draw, trial_id, new)

    @cached_property
    def settled_notes(self) -> dict[str, Any]:
        """Notes as they were when they were first asked for: of those that no study changes, as its
        objectives, directions and repeats, there is no need to ask at each trial."""
        return self.notes()

    def _view(
        self,
        trials: "Callable[[], Sequence[FrozenTrial]]",
        own: "tuple[int, FrozenTrial] | None" = None,
        only: tuple[str, Any] | None = None,
        *,
        repeats: bool = True,
    ) -> View:
        from optuna.study import StudyDirection

        notes = self.settled_notes
        directions = [StudyDirection[name.upper()] for name in notes["directions"]]
        shown = Repeats.of(notes.get("repeats")) if repeats else None
        return View(self.storage.optuna, self._id, directions, trials, shown, own, only)

    def take_over(self, number: int, trial_id: int) -> None:
        """Let this process train a running trial from now on.

        Raises:
            StudyError: The trial has ended.
        """
        with self.storage.guard():
            worker = Worker.here().stored()
            text, notes = json.dumps({**worker, "silence": self.silence}), {"worker": worker}
            if not self.storage.claims.take_over(self._key, number, text, trial_id, notes):
                ended = self.storage.optuna.get_trial(trial_id)
                reason = ended.user_attrs.get("ended", {}).get("reason", ended.state.name)
                raise StudyError(
                    f"Trial {number} of the study {self.name!r} has ended already: {reason}."
                )

    def _trial(self, view: View, trial_id: int, sampler: Any, pruner: Any) -> "optuna.Trial":
        import optuna

        seen: Any = view
        study = optuna.load_study(
            study_name=self.name, storage=seen, sampler=sampler, pruner=pruner
        )
        return optuna.Trial(study, trial_id)

    def started(self, trial_id: int, run: Mapping[str, Any]) -> None:
        """Record the MLflow run of a trial."""
        with self.storage.guard():
            self.storage.claims.note(trial_id, {"run": dict(run)})

    def report(self, trial_id: int, epoch: int, value: float) -> None:
        """Record the objective of a running trial after an epoch."""
        with self.storage.guard():
            self.storage.claims.report(trial_id, epoch, value)

    def beat(self, *numbers: int) -> None:
        """Record that the process of running trials lives."""
        self.storage.claims.beat(self._key, numbers)

    def end(
        self, number: int, trial_id: int, values: Sequence[float] | None = None, **notes: Any
    ) -> bool:
        """Record how a running trial ended; False where another process has ended it.

        Args:
            values: Value of each objective, of a complete trial.
            notes: `kind` (`complete`, `pruned`, `error`, `died` or `interrupted`), and what else is
                known of it.
        """
        kind, notes = notes["kind"], mask_value("", notes)
        state, epochs = STATES[kind], notes.get("epochs")
        if not epochs:  # as many as were reported, unless it came to an end without any
            epochs = 0 if state in (claims.COMPLETE, claims.PRUNED) else None
        with self.storage.guard():
            return self.storage.claims.end(
                self._key, number, trial_id, state, _told(kind), values, notes, epochs=epochs
            )

    # --- the dead ---

    def running(self) -> list[RunningTrial]:
        """The trials that a process holds, in the order of their numbers."""
        with self.storage.guard():
            held = self.storage.claims.held(self._key)
        return [
            RunningTrial(row.state, row.slot, _worker(row), row.number, row.trial_id)
            for row in held
        ]

    def has_held(self, pid: int) -> bool:
        """Whether a process of this machine has ever held a trial of the study."""
        here = replace(Worker.here(), pid=pid, started="")
        with self.storage.guard():
            workers = [trial.user_attrs.get("worker") for trial in self._trials()]
        return any(replace(Worker.of(worker), started="") == here for worker in workers if worker)

    def settle(self, *, thoroughly: bool = False) -> list[int]:
        """Mark the trials as failed whose process has died; their numbers. Their slots are open
        again.

        Args:
            thoroughly: Whether trials are looked for that no slot knows, as earlier versions may
                have left, or that ended by other means.
        """
        with self.storage.guard():
            held = self.storage.claims.held(self._key)
            dead = [number for row in held if (number := self._settle(row)) is not None]
            if thoroughly:
                self._settle_strange(held)
        return dead

    def _settle(self, row: SlotRow) -> int | None:
        """See to a slot that may be held by a dead process; the trial's number where it is."""
        table = self.storage.claims
        is_dead, reason = self._death(row)
        if row.untold is not None:
            if is_dead or _worker(row) == Worker.here():
                values, notes = row.untold["values"], row.untold["notes"]
                table.told(self._key, *row.trial, _told(notes["kind"]), values, notes)
            return None
        if not is_dead:
            return None
        if row.state == claims.CLAIMED:
            table.bury(self._key, row)
            return None
        number, trial_id = row.trial
        ended = self.end(number, trial_id, None, kind="died", reason=reason)
        return number if ended else None

    def _death(self, row: SlotRow) -> tuple[bool, str]:
        """Whether the process of a slot has died, and how.

        After an outage of the database all are silent: a silence counts where it goes on while this
        process can read.
        """
        worker = _worker(row)
        if (alive := worker.alive) is not None:
            return not alive, f"its process {worker.pid} on {worker.host} died"
        limit = json.loads(row.worker).get("silence", EARLIER_SILENCE)
        reason = f"its process {worker.pid} on {worker.host} fell silent"
        watched, now = self.storage.watched, time.monotonic()
        place = self._key, row.slot
        if row.silence < limit:
            watched.pop(place, None)
            return False, reason
        seen = row.worker, row.beat, self.storage.patience.outages
        since, before = watched.get(place, (now, seen))
        if before != seen:
            since = now
        watched[place] = since, seen
        is_dead = row.silence >= CERTAIN_SECONDS + limit or now - since >= limit / BEATS
        return is_dead, reason

    def _settle_strange(self, held: Sequence[SlotRow]) -> None:
        """See to trials whose slots and whose own rows say something else."""
        running = {trial.number: trial for trial in self._running_trials()}
        for row in held:
            if row.state == claims.RUNNING and row.untold is None and row.number not in running:
                trial = self._trial_of(row.trial[0])
                if trial.state.is_finished():  # Optuna was told of it by other means than these
                    state, epochs = _state_of(trial), _epochs(trial)
                    self.storage.claims.learn_end(self._key, trial.number, state, epochs)
        known = {row.number for row in held}
        for trial in running.values():
            if trial.number not in known:
                self._settle_unknown(trial)

    def _settle_unknown(self, trial: "FrozenTrial") -> None:
        """End a running trial whose slot does not know it: an earlier version's process died, or
        was silent for long, before it told the slot."""
        slot = trial.user_attrs.get("slot", {})
        if slot.get("table") != self._mark or Worker.of(trial.user_attrs["worker"]).alive:
            return
        row = self.storage.claims.slot(self._key, slot["name"])
        if row is None or row.number != trial.number:
            notes = {"kind": "interrupted", "reason": "another process has its slot"}
            number, trial_id = trial.number, self._id_of(trial.number)
            self.storage.claims.told(self._key, number, trial_id, "FAIL", None, notes)

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
        with self.storage.claims.exclusive(self._key) as connection:  # of before any outage
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

    # --- turns ---

    def take_turn(self, name: str, seconds: float) -> bool:
        """Take what one process of a study at a time may do, for so many seconds; False where it is
        another one's turn, or was a moment ago."""
        with self.storage.guard():
            return self.storage.claims.take_turn(self._key, name, seconds)

    def end_turn(self, name: str, pause: float) -> None:
        """Leave a turn, and let nobody take the next one before so many seconds are over."""
        with self.storage.guard():
            self.storage.claims.end_turn(self._key, name, pause)

    # --- records ---

    def optuna(self, option: str | None = None) -> "optuna.Study":
        """Optuna's own view of the study, for its plots and importances: a trial a point.

        Args:
            option: The only option shown where each is tried by itself, with settings by their own
                names; None for all.
        """
        notes = self.notes()
        each = notes.get("each")
        view = self._view(self._trials, only=None if option is None else (str(each), option))
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
        return self.storage.patience(self._optuna.get_trials, deepcopy=False)

    def _running_trials(self) -> list["FrozenTrial"]:
        from optuna.trial import TrialState

        return self.storage.patience(
            self._optuna.get_trials, deepcopy=False, states=(TrialState.RUNNING,)
        )

    def _trial_of(self, number: int) -> "FrozenTrial":
        return self.storage.optuna.get_trial(self._id_of(number))

    def _id_of(self, number: int) -> int:
        return self.storage.optuna.get_trial_id_from_study_id_trial_number(self._id, number)

    def pulse(self) -> dict[str, tuple[int, ...]]:
        """What changes whenever a trial begins or ends, in one quick question."""
        with self.storage.guard():
            return self.storage.claims.pulse(self._key)

    def record(self, pulse: Mapping[str, tuple[int, ...]] | None = None) -> StudyRecord:
        """All that is known of the study now.

        Args:
            pulse: The study's pulse just now, where that was asked for: who draws next knows by it
                whether anything has ended since.
        """
        notes = self.notes()
        with self.storage.guard():
            trials = self._trials()
            if pulse is not None:
                self._seen = _ended(pulse), trials
        records = tuple(trial_record(trial) for trial in trials)
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


def _worker(row: SlotRow) -> Worker:
    return Worker.read(row.worker)


def _told(kind: str) -> str:
    """Optuna's state of a trial by the kind of its end."""
    return {"complete": "COMPLETE", "pruned": "PRUNED"}.get(kind, "FAIL")


def _ended(pulse: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """The part of a study's pulse that changes where a trial ends."""
    ending = (claims.COMPLETE, claims.PRUNED, claims.FAILED, claims.DIED)
    return {state: counted for state, counted in pulse.items() if state in ending}


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


def trial_record(trial: "FrozenTrial") -> TrialRecord:
    """What a trial of a study of ours says, as Optuna holds it."""
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
    study = storage.patience(
        optuna.create_study,
        study_name=name,
        storage=storage.optuna,
        directions=notes["directions"],
        sampler=optuna.samplers.RandomSampler(),
        load_if_exists=True,
    )
    known = storage.patience(lambda: study.user_attrs)
    for key, value in notes.items():
        if key not in known or changes:
            storage.patience(study.set_user_attr, key, value)
    storage.claims.study_is_made(row.key)
