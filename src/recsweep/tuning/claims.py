"""The tables of claims: which slots of a study are open, held and done; a change is a transaction.

They stand beside Optuna's, which hold the trials, in one database that all processes of a study
share. A slot goes from `open` to `running` together with its trial, and ends with it `complete`,
`pruned`, `failed` or `died`; one that was interrupted is `open` again. Earlier versions had claims
without a trial, which are `claimed`.

Where a connection is lost at a commit, nobody knows whether that was done. The transaction is
repeated, and looks first for what it would have left: a claim for its token, an end for its note.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from recsweep.databases import patiently, with_tables
from recsweep.tuning.patience import Patience
from recsweep.tuning.trial_rows import TrialRows

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from sqlalchemy import Connection, Engine, MetaData, Row, Select, Table
    from sqlalchemy.sql.elements import ColumnElement

OPEN, CLAIMED, RUNNING = "open", "claimed", "running"
COMPLETE, PRUNED, FAILED, DIED = "complete", "pruned", "failed", "died"

DRAW = "draw "
"""Beginning of the name of a note that holds what a point has drawn."""

CHANGES = "changes"
"""Key of the notes that a study has in place of those that it was made with."""

T = TypeVar("T")


@cache
def _metadata() -> "MetaData":
    from sqlalchemy import Column, DateTime, Index, Integer, MetaData, String, Table, Text

    metadata = MetaData()
    Table(
        "recsweep_studies",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("name", String(512), unique=True, nullable=False),
        # tells a study from an earlier one of its name
        Column("token", String(64), nullable=False),
        Column("mark", String(32), nullable=False),  # on the trials that are claimed here
        Column("notes", Text),  # what a study is made or changed with, until Optuna has it
    )
    Table(
        "recsweep_slots",
        metadata,
        Column("study", Integer, primary_key=True, autoincrement=False),
        Column("slot", String(255), primary_key=True),
        Column("place", Integer),  # in the plan
        Column("state", String(16), nullable=False),
        Column("attempt", Integer, nullable=False),  # the present one; of an open slot the next one
        Column("deaths", Integer, nullable=False),
        Column("epochs", Integer, nullable=False),  # of all attempts that have ended
        Column("number", Integer),  # of the latest trial
        Column("trial_id", Integer),
        Column("worker", Text),
        Column("beat", DateTime(timezone=True)),
        Column("untold", Text),  # how the trial ended, until Optuna was told
        Index("recsweep_slots_by_state", "study", "state", "place"),
        Index("recsweep_slots_by_number", "study", "number"),
    )
    Table(
        "recsweep_notes",
        metadata,
        Column("study", Integer, primary_key=True, autoincrement=False),
        Column("name", String(255), primary_key=True),
        Column("value", Text, nullable=False),
    )
    return metadata


@dataclass(frozen=True)
class StudyRow:
    """A study as these tables know it.

    Attributes:
        key: Number of the study in these tables.
        token: Text that tells it from an earlier study of the same name.
        mark: Mark on its trials that were claimed in these tables.
        notes: Notes that it is made with, or under CHANGES those that take their place; None once
            Optuna has them.
    """

    key: int
    token: str
    mark: str
    notes: Mapping[str, Any] | None


@dataclass(frozen=True)
class SlotRow:
    """A slot as it is stored.

    Attributes:
        attempt: The present attempt; of an open slot the next one.
        deaths: Number of processes that died of it.
        epochs: Epochs of all attempts that have ended.
        number: Number of the latest trial; of a claimed slot that of the attempt before; None
            before the first.
        trial_id: Optuna's id of that trial.
        worker: The process that claimed it, as JSON.
        silence: Seconds since its last heartbeat, by the database's clock.
        beat: Its last heartbeat, by that clock, in words.
        untold: The end of its trial, where an earlier version may not have told Optuna.
        place: Its place in the plan; None where no plan names it.
    """

    slot: str
    state: str
    attempt: int
    deaths: int = 0
    epochs: int = 0
    number: int | None = None
    trial_id: int | None = None
    worker: str = ""
    silence: float = 0.0
    beat: str = ""
    untold: Mapping[str, Any] | None = None
    place: int | None = None

    @property
    def trial(self) -> tuple[int, int]:
        """Number and Optuna's id of the trial, of a slot that has one."""
        assert self.number is not None
        assert self.trial_id is not None
        return self.number, self.trial_id


@dataclass(frozen=True)
class NewTrial:
    """What a trial begins with.

    Attributes:
        notes: Its attributes.
        params: Its params; empty where they are to be drawn.
        distributions: The distribution of each of them.
    """

    notes: Mapping[str, Any]
    params: Mapping[str, Any]
    distributions: "Mapping[str, BaseDistribution]"


class ClaimTable:
    """Claims of all studies of a database.

    Args:
        engine: SQLAlchemy's engine of the database.
        patience: With a server that is away.
    """

    def __init__(self, engine: "Engine", patience: Patience) -> None:
        self._engine = engine
        self._patience = patience
        self._trials = TrialRows()
        metadata = _metadata()
        with_tables(lambda: patiently(metadata.create_all, engine))
        self._studies: Table = metadata.tables["recsweep_studies"]
        self._slots: Table = metadata.tables["recsweep_slots"]
        self._notes: Table = metadata.tables["recsweep_notes"]

    @contextmanager
    def exclusive(self, study: int | None = None) -> Iterator["Connection"]:
        """A transaction during which no other one of the same study is.

        Optuna's own storage may be read in it, but not written: in a sqlite file that would wait
        for itself.

        Args:
            study: Key of the study; None for a transaction that locks no study, where there are
                row locks.
        """
        from sqlalchemy import select

        with self._engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                # it has no row locks, and its driver locks at the first write
                patiently(connection.exec_driver_sql, "BEGIN IMMEDIATE")
                yield connection
                # refused, it leaves the transaction open
                patiently(connection.exec_driver_sql, "COMMIT")
                return
            with connection.begin():
                if study is not None:
                    row = self._studies.c.id == study
                    connection.execute(select(self._studies.c.id).where(row).with_for_update())
                yield connection

    def _transact(
        self,
        work: "Callable[[Connection], T]",
        study: int | None = None,
        *,
        done: "Callable[[Connection], T | None] | None" = None,
    ) -> T:
        """What a transaction returns, which is repeated while the server is away.

        Args:
            work: What is done in it.
            study: Key of the study that it holds, as `exclusive` does.
            done: Asked before a repetition: what the first time has returned, where it was
                committed after all; None where it was not. Not needed where `work` may be done
                twice.
        """
        is_repeated = False

        def once() -> T:
            nonlocal is_repeated
            is_first, is_repeated = not is_repeated, True
            with self.exclusive(study) as connection:
                if not is_first and done is not None and (found := done(connection)) is not None:
                    return found
                return work(connection)

        return self._patience(once)

    def _ask(self, question: "Callable[[Connection], T]") -> T:
        """What is read without holding anything."""

        def once() -> T:
            with self._engine.connect() as connection:
                return patiently(question, connection)

        return self._patience(once)

    # --- studies ---

    def study(self, name: str) -> StudyRow | None:
        """The study of this name."""
        from sqlalchemy import select

        query = select(self._studies).where(self._studies.c.name == name)
        row = self._ask(lambda connection: connection.execute(query).first())
        if row is None:
            return None
        notes = None if row.notes is None else json.loads(row.notes)
        return StudyRow(row.id, row.token, row.mark, notes)

    def add_study(self, name: str, token: str, notes: Mapping[str, Any] | None = None) -> None:
        """Store a study, unless another process was first."""
        from sqlalchemy import insert
        from sqlalchemy.exc import IntegrityError

        stored = None if notes is None else json.dumps(notes)
        row = {"name": name, "token": token, "mark": uuid4().hex, "notes": stored}
        with suppress(IntegrityError):
            self._transact(lambda each: each.execute(insert(self._studies).values(**row)))

    def remove_study(self, study: StudyRow) -> None:
        """Forget a study that Optuna knows no more."""
        from sqlalchemy import delete

        def remove(connection: "Connection") -> None:
            connection.execute(delete(self._slots).where(self._slots.c.study == study.key))
            connection.execute(delete(self._notes).where(self._notes.c.study == study.key))
            connection.execute(delete(self._studies).where(self._studies.c.id == study.key))

        self._transact(remove, study.key)

    def change_study(self, study: int, notes: Mapping[str, Any]) -> None:
        """Store notes that a study has from now on, until Optuna has them."""
        from sqlalchemy import update

        stored = json.dumps({CHANGES: notes})
        query = update(self._studies).where(self._studies.c.id == study).values(notes=stored)
        self._transact(lambda connection: connection.execute(query), study)

    def study_is_made(self, study: int) -> None:
        """Record that Optuna has all that a study is made with."""
        from sqlalchemy import update

        query = update(self._studies).where(self._studies.c.id == study).values(notes=None)
        self._transact(lambda connection: connection.execute(query))

    def first_note(self, study: int, name: str, value: Any) -> Any:
        """Store a note unless there is one; what is stored then."""
        from sqlalchemy import insert

        def keep(connection: "Connection") -> Any:
            stored = connection.execute(self._note(study, name)).scalar()
            if stored is not None:
                return json.loads(stored)
            row = {"study": study, "name": name, "value": json.dumps(value)}
            connection.execute(insert(self._notes).values(**row))
            return value

        return self._transact(keep, study)

    def take_turn(self, study: int, name: str, seconds: float) -> bool:
        """Take what one process at a time may do, for so many seconds; False where the turn of
        another one, or its pause, is not over by the database's clock."""

        def take(connection: "Connection") -> bool:
            now = self._now(connection)
            until = connection.execute(self._note(study, name)).scalar()
            if until is not None and now < datetime.fromisoformat(json.loads(until)):
                return False
            self._keep_until(connection, study, name, now + timedelta(seconds=seconds))
            return True

        return self._transact(take, study)

    def end_turn(self, study: int, name: str, pause: float) -> None:
        """Let another process, or this one, take the next turn after so many seconds."""

        def end(connection: "Connection") -> None:
            until = self._now(connection) + timedelta(seconds=pause)
            self._keep_until(connection, study, name, until)

        self._transact(end, study)

    def _keep_until(self, connection: "Connection", study: int, name: str, until: datetime) -> None:
        from sqlalchemy import delete, insert

        columns = self._notes.c
        connection.execute(delete(self._notes).where(columns.study == study, columns.name == name))
        row = {"study": study, "name": name, "value": json.dumps(until.isoformat())}
        connection.execute(insert(self._notes).values(**row))

    def _note(self, study: int, name: str) -> "Select[Any]":
        from sqlalchemy import select

        columns = self._notes.c
        return select(columns.value).where(columns.study == study, columns.name == name)

    @staticmethod
    def _now(connection: "Connection") -> datetime:
        """The database's clock, in UTC."""
        from sqlalchemy import func, select

        now: datetime = connection.execute(select(func.current_timestamp())).scalar_one()
        return now if now.tzinfo is None else now.astimezone(UTC).replace(tzinfo=None)

    def draws(self, study: int, point: str | None = None) -> dict[str, dict[str, Any]]:
        """What points of a search have drawn, by their names; of one point or of all."""
        name = self._notes.c.name
        is_asked = name.startswith(DRAW) if point is None else name == DRAW + point
        return self._ask(lambda connection: self._draws(connection, study, is_asked))

    def _draws(
        self, connection: "Connection", study: int, is_asked: "ColumnElement[bool]"
    ) -> dict[str, dict[str, Any]]:
        from sqlalchemy import select

        columns = self._notes.c
        query = select(columns.name, columns.value).where(columns.study == study, is_asked)
        rows = connection.execute(query).all()
        return {row.name.removeprefix(DRAW): json.loads(row.value) for row in rows}

    def keep_draw(
        self,
        study: int,
        point: str,
        draw: Mapping[str, Any],
        trial_id: int | None = None,
        new: NewTrial | None = None,
    ) -> dict[str, Any] | None:
        """Store what a point has drawn unless something is stored; what is stored then. None where
        another point has the same `settings`.

        Args:
            trial_id: Optuna's id of the trial that takes it; None for none.
            new: What that trial has of it, where it is this draw that is stored.
        """
        from sqlalchemy import and_, insert, or_

        columns = self._notes.c
        is_same = columns.value.contains(f'"settings": "{draw["settings"]}"', autoescape=True)
        is_point = columns.name == DRAW + point
        is_asked = or_(is_point, and_(columns.name.startswith(DRAW), is_same))

        def keep(connection: "Connection") -> dict[str, Any] | None:
            draws = self._draws(connection, study, is_asked)
            if point not in draws and draws:
                return None
            if point in draws:  # by a repetition of this, or by another repeat of the point
                kept = draws[point]
                if trial_id is not None and new is not None and kept["params"] == draw["params"]:
                    self._give_params(connection, trial_id, new)
                return kept
            row = {"study": study, "name": DRAW + point, "value": json.dumps(draw)}
            connection.execute(insert(self._notes).values(**row))
            if trial_id is not None and new is not None:
                self._trials.add_params(connection, trial_id, new.params, new.distributions)
                self._trials.note(connection, trial_id, new.notes, is_new=True)
            return dict(draw)

        return self._transact(keep, study)

    def give_params(self, trial_id: int, new: NewTrial) -> None:
        """Store the params that a trial has now, and what is noted of them."""
        self._transact(lambda connection: self._give_params(connection, trial_id, new))

    def _give_params(self, connection: "Connection", trial_id: int, new: NewTrial) -> None:
        if not self._trials.has_params(connection, trial_id):
            self._trials.add_params(connection, trial_id, new.params, new.distributions)
        self._trials.note(connection, trial_id, new.notes)

    # --- slots ---

    def slots(self, connection: "Connection", study: int) -> dict[str, SlotRow]:
        """All slots that are known."""
        return {row.slot: row for row in self._rows(connection, study)}

    def slot(self, study: int, name: str) -> SlotRow | None:
        """A slot, where it is known."""
        is_slot = self._slots.c.slot == name
        return next(iter(self._ask(lambda each: self._rows(each, study, is_slot))), None)

    def held(self, study: int) -> list[SlotRow]:
        """The slots that a process holds, in the order of their trials; among them those of whose
        end Optuna may not have been told."""
        from sqlalchemy import or_

        columns = self._slots.c
        is_held = or_(columns.state.in_([CLAIMED, RUNNING]), columns.untold.is_not(None))
        return self._ask(lambda connection: self._rows(connection, study, is_held))

    def pulse(self, study: int) -> dict[str, tuple[int, ...]]:
        """For each state how many slots are in it, and what changes where one of them does: as long
        as this is the same, nothing has happened."""
        from sqlalchemy import func, select

        columns = self._slots.c
        counted = (func.count(), func.sum(columns.attempt), func.sum(columns.deaths))
        latest = func.coalesce(func.sum(columns.number), 0)
        query = select(columns.state, *counted, latest).where(columns.study == study)
        rows = self._ask(lambda each: each.execute(query.group_by(columns.state)).all())
        return {row[0]: tuple(row[1:]) for row in rows}

    def _rows(
        self, connection: "Connection", study: int, *where: "ColumnElement[bool]"
    ) -> list[SlotRow]:
        from sqlalchemy import func, select

        columns, now = self._slots.c, func.current_timestamp().label("now")
        query = select(self._slots, now).where(columns.study == study, *where)
        rows = connection.execute(query.order_by(columns.number)).all()
        return [_slot_row(row) for row in rows]

    def plan(self, study: int, names: Sequence[str]) -> None:
        """Let slots wait in this order until they are claimed; what is known of them stays."""
        from sqlalchemy import bindparam, insert, select, update

        columns = self._slots.c

        def plan(connection: "Connection") -> None:
            query = select(columns.slot, columns.place).where(columns.study == study)
            rows = connection.execute(query).all()
            places: dict[str, int | None] = {row.slot: row.place for row in rows}
            untried = {"study": study, "state": OPEN, "attempt": 0, "deaths": 0, "epochs": 0}
            new = [
                {**untried, "slot": name, "place": place}
                for place, name in enumerate(names)
                if name not in places
            ]
            moved = [
                {"name": name, "new_place": place}
                for place, name in enumerate(names)
                if name in places and places[name] != place
            ]
            if new:
                connection.execute(insert(self._slots), new)
            if moved:
                connection.execute(
                    update(self._slots)
                    .where(columns.study == study, columns.slot == bindparam("name"))
                    .values(place=bindparam("new_place")),
                    moved,
                )

        self._transact(plan, study)

    def claim(
        self,
        study: int,
        names: Set[str],
        begin: Callable[[SlotRow], NewTrial],
        *,
        study_id: int,
        retries: int,
        worker: str,
        max_epochs: int | None = None,
    ) -> tuple[SlotRow, int, int] | None:
        """Take the first slot that waits, with its trial, in one transaction; the slot as it was
        before, and the trial's number and id.

        Args:
            names: The slots of the plan.
            begin: What the trial of a slot, as it was before, begins with.
            study_id: Optuna's id of the study.
            retries: Number of times that a slot's process may have died.
            worker: The process that claims, as JSON, with a token that no other claim has.
            max_epochs: Epochs of all trials after which nothing is claimed; None for no end.
        """
        from sqlalchemy import func

        columns = self._slots.c
        taken: SlotRow | None = None

        def take(connection: "Connection") -> tuple[SlotRow, int, int] | None:
            nonlocal taken
            if max_epochs is not None and self._epochs(connection, study) >= max_epochs:
                return None
            before = taken = self._first(connection, study, names, retries)
            if before is None:
                return None
            new = begin(before)
            number, trial_id = self._trials.begin(
                connection, study_id, new.notes, new.params, new.distributions
            )
            claim = {
                "state": RUNNING,
                "attempt": next_attempt(before),
                "worker": worker,
                "number": number,
                "trial_id": trial_id,
            }
            is_slot, now = columns.slot == before.slot, func.current_timestamp()
            self._update(connection, study, is_slot, beat=now, **claim)
            return before, number, trial_id

        def taken_before(connection: "Connection") -> tuple[SlotRow, int, int] | None:
            rows = self._rows(connection, study, columns.worker == worker)
            return (taken, *rows[0].trial) if rows and taken is not None else None

        return self._transact(take, done=taken_before)

    def _update(
        self, connection: "Connection", study: int, *where: "ColumnElement[bool]", **values: Any
    ) -> int:
        """Change the slots of a study that meet all the conditions; how many there were."""
        from sqlalchemy import update

        query = update(self._slots).where(self._slots.c.study == study, *where)
        return connection.execute(query.values(**values)).rowcount

    def _first(
        self, connection: "Connection", study: int, names: Set[str], retries: int
    ) -> SlotRow | None:
        """The first slot that waits, now held by this transaction alone: one that another holds
        is left to that."""
        from sqlalchemy import or_, select

        columns = self._slots.c
        bound = {"of_study": study, "up_to": retries}
        first = self._held(connection, self._first_query, bound)
        if first is None or first.slot in names:
            return first
        # those of another plan stand before those of this one
        is_open = or_(columns.state == OPEN, (columns.state == DIED) & (columns.deaths <= retries))
        waits = (columns.study == study, columns.place.is_not(None), columns.untold.is_(None))
        query = select(columns.slot).where(*waits, is_open).order_by(columns.place)
        for name in [row.slot for row in connection.execute(query).all() if row.slot in names]:
            own = select(self._slots).where(*waits, is_open, columns.slot == name)
            first = self._held(connection, own.with_for_update(skip_locked=True), {})
            if first is not None:
                return first
        return None

    @cached_property
    def _first_query(self) -> "Select[Any]":
        """The first slot that is open or has died, in one query: each is found by an index, however
        many slots there are."""
        from sqlalchemy import bindparam, select, union_all

        columns = self._slots.c
        waits = (
            columns.study == bindparam("of_study"),
            columns.place.is_not(None),
            columns.untold.is_(None),
        )
        firsts = [
            select(self._slots)
            .where(*waits, *where)
            .order_by(columns.place)
            .limit(1)
            .with_for_update(skip_locked=True)
            .cte(name)
            for name, where in (
                ("first_open", (columns.state == OPEN,)),
                ("first_died", (columns.state == DIED, columns.deaths <= bindparam("up_to"))),
            )
        ]
        both = union_all(*(select(each) for each in firsts)).subquery()
        return select(both).order_by(both.c.place).limit(1)

    @staticmethod
    def _held(
        connection: "Connection", query: "Select[Any]", bound: Mapping[str, Any]
    ) -> SlotRow | None:
        row = connection.execute(query, bound).first()
        return None if row is None else _slot_row(row)

    def bury(self, study: int, claimed: SlotRow) -> bool:
        """Record that the process of an earlier version's claim died before it came to a trial;
        False where that isn't so any more."""
        columns = self._slots.c
        where = columns.slot == claimed.slot, columns.state == CLAIMED
        values = {"state": DIED, "deaths": claimed.deaths + 1}
        return self._transact(
            lambda connection: (
                self._update(connection, study, *where, columns.worker == claimed.worker, **values)
                == 1
            )
        )

    def note(self, trial_id: int, notes: Mapping[str, Any]) -> None:
        """Store attributes of a trial."""
        self._transact(lambda connection: self._trials.note(connection, trial_id, notes))

    def report(self, trial_id: int, step: int, value: float) -> None:
        """Store what a trial reports after a step."""
        self._transact(lambda connection: self._trials.report(connection, trial_id, step, value))

    def end(
        self,
        study: int,
        number: int,
        trial_id: int,
        state: str,
        trial_state: str,
        values: Sequence[float] | None,
        notes: Mapping[str, Any],
        *,
        epochs: int | None,
    ) -> bool:
        """Record how a running trial ended, once, in its slot and in Optuna's tables; False where
        it has ended before.

        Args:
            epochs: The epochs it has trained; None for those that it has reported.
        """
        columns = self._slots.c

        def end(connection: "Connection") -> bool:
            trained = epochs
            if trained is None:
                trained = self._trials.epochs(connection, [trial_id])
            counted = {
                "state": state,
                "epochs": columns.epochs + trained,
                "deaths": columns.deaths + int(state == DIED),
                "untold": None,
            }
            if not self._update(connection, study, *self._is_running(number), **counted):
                return False
            told = notes if epochs is not None else {**notes, "epochs": trained}
            self._trials.end(connection, trial_id, trial_state, values, told)
            return True

        def ended_before(connection: "Connection") -> bool | None:
            found = self._trials.noted(connection, trial_id, "ended") or {}
            is_own = bool(found) and {**found, **notes} == json.loads(json.dumps(found))
            return True if is_own else None

        return self._transact(end, done=ended_before)

    def told(
        self,
        study: int,
        number: int,
        trial_id: int,
        trial_state: str,
        values: Sequence[float] | None,
        notes: Mapping[str, Any],
    ) -> None:
        """Tell Optuna's tables how a trial ended: one of an earlier version, or one that no slot
        knows."""

        def tell(connection: "Connection") -> None:
            self._trials.end(connection, trial_id, trial_state, values, notes)
            self._update(connection, study, self._slots.c.number == number, untold=None)

        self._transact(tell)

    def take_over(
        self, study: int, number: int, worker: str, trial_id: int, notes: Mapping[str, Any]
    ) -> bool:
        """Record that another process works on a running trial, and note so; False where it has
        ended."""
        from sqlalchemy import func

        values = {"worker": worker, "beat": func.current_timestamp()}

        def take(connection: "Connection") -> bool:
            if not self._update(connection, study, *self._is_running(number), **values):
                return False
            self._trials.note(connection, trial_id, notes)
            return True

        return self._transact(take)

    def learn_end(self, study: int, number: int, state: str, epochs: int) -> None:
        """Record how a running trial ended that Optuna was told of by other means than these."""
        columns = self._slots.c
        values = {
            "state": state,
            "epochs": columns.epochs + epochs,
            "deaths": columns.deaths + int(state == DIED),
        }
        is_running = self._is_running(number)
        self._transact(lambda connection: self._update(connection, study, *is_running, **values))

    def _is_running(self, number: int) -> "tuple[ColumnElement[bool], ...]":
        return self._slots.c.number == number, self._slots.c.state == RUNNING

    def beat(self, study: int, numbers: Collection[int]) -> None:
        """Record that the process of trials lives."""
        from sqlalchemy import func

        columns, now = self._slots.c, func.current_timestamp()
        is_own = columns.number.in_(list(numbers)), columns.state == RUNNING
        self._transact(lambda connection: self._update(connection, study, *is_own, beat=now))

    def given_up(self, study: int, retries: int) -> list[SlotRow]:
        """The slots that failed, or whose processes died more often than they may, in the order of
        their trials."""
        from sqlalchemy import and_, or_

        columns = self._slots.c
        is_killed = and_(columns.state.in_([DIED, OPEN]), columns.deaths > retries)
        is_given_up = or_(columns.state == FAILED, is_killed)
        return self._ask(lambda connection: self._rows(connection, study, is_given_up))

    def reopen(self, study: int, names: Collection[str] | None = None) -> None:
        """Let the slots be tried again that have failed, or whose processes died.

        Args:
            names: Names of slots whose processes died; None for all that are given up.
        """
        columns = self._slots.c
        attempt = columns.attempt + 1
        is_given_up: list[ColumnElement[bool]] = [columns.state.in_([FAILED, DIED])]
        if names is not None:
            is_given_up = [columns.state == DIED, columns.slot.in_(names)]
        self._transact(
            lambda connection: self._update(
                connection, study, *is_given_up, state=OPEN, attempt=attempt
            ),
            study,
        )

    def adopt(self, connection: "Connection", study: int, rows: Sequence[SlotRow]) -> None:
        """Store slots anew, as trials tell of them that were not claimed here."""
        from sqlalchemy import delete, func, insert

        columns = self._slots.c
        names = [row.slot for row in rows]
        for start in range(0, len(names), 500):  # SQLite takes only so many variables
            is_anew = columns.slot.in_(names[start : start + 500])
            connection.execute(delete(self._slots).where(columns.study == study, is_anew))
        values = [{"study": study, **asdict(row)} for row in rows]
        for row_values in values:
            del row_values["silence"], row_values["beat"], row_values["untold"]
        if values:
            connection.execute(insert(self._slots).values(beat=func.current_timestamp()), values)

    def _epochs(self, connection: "Connection", study: int) -> int:
        """Epochs of all trials: those of the ended, and as many as the running have reported."""
        from sqlalchemy import func, select

        columns = self._slots.c
        total = select(func.sum(columns.epochs)).where(columns.study == study)
        running = select(columns.trial_id).where(columns.study == study, columns.state == RUNNING)
        trial_ids = list(connection.execute(running).scalars())
        return (connection.execute(total).scalar() or 0) + self._trials.epochs(
            connection, trial_ids
        )


def next_attempt(slot: SlotRow) -> int:
    """The number of the attempt that a claim of a waiting slot is."""
    return slot.attempt + int(slot.state == DIED)


def _slot_row(row: "Row[Any]") -> SlotRow:
    silence = float("inf")
    now = getattr(row, "now", None)
    if now is not None and row.beat is not None:
        silence = (_naive(now) - _naive(row.beat)).total_seconds()
    return SlotRow(
        row.slot,
        row.state,
        row.attempt,
        row.deaths,
        row.epochs,
        row.number,
        row.trial_id,
        row.worker or "",
        silence,
        str(row.beat),
        None if row.untold is None else json.loads(row.untold),
        row.place,
    )


def _naive(moment: Any) -> Any:
    return moment.replace(tzinfo=None)
