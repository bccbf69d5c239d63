"""The tables of claims: which slots of a study are open, held and done; a change is a transaction.

They stand beside Optuna's, which hold the trials, or in any other database that all processes of a
study share. A slot goes from `open` to `claimed`, with its trial to `running`, and ends `complete`,
`pruned`, `failed` or `died`; one that was interrupted is `open` again.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from recsweep.databases import patiently, with_tables

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, MetaData, Row, Table
    from sqlalchemy.sql.elements import ColumnElement

OPEN, CLAIMED, RUNNING = "open", "claimed", "running"
COMPLETE, PRUNED, FAILED, DIED = "complete", "pruned", "failed", "died"

DRAW = "draw "
"""Beginning of the name of a note that holds what a point has drawn."""

CHANGES = "changes"
"""Key of the notes that a study has in place of those that it was made with."""

LOOK_AHEAD = 20
"""Number of open slots that are read at first: the first of them is nearly always one of the
plan."""


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
        untold: The end of its trial, where Optuna may not have been told.
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
    untold: Mapping[str, Any] | None = None
    place: int | None = None

    @property
    def trial(self) -> tuple[int, int]:
        """Number and Optuna's id of the trial, of a slot that has one."""
        assert self.number is not None
        assert self.trial_id is not None
        return self.number, self.trial_id


class ClaimTable:
    """Claims of all studies of a database.

    Args:
        engine: SQLAlchemy's engine of the database.
    """

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        metadata = _metadata()
        with_tables(lambda: patiently(metadata.create_all, engine))
        self._studies: Table = metadata.tables["recsweep_studies"]
        self._slots: Table = metadata.tables["recsweep_slots"]
        self._notes: Table = metadata.tables["recsweep_notes"]

    @contextmanager
    def exclusive(self, study: int | None = None) -> Iterator["Connection"]:
        """A transaction during which no other process claims or changes a slot of the study.

        Optuna may be read in it, but not written: in a sqlite file that would wait for itself.

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

    # --- studies ---

    def study(self, name: str) -> StudyRow | None:
        """The study of this name."""
        from sqlalchemy import select

        query = select(self._studies).where(self._studies.c.name == name)
        with self._engine.connect() as connection:
            row = patiently(connection.execute, query).first()
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
        with suppress(IntegrityError), self.exclusive() as connection:
            connection.execute(insert(self._studies).values(**row))

    def remove_study(self, study: StudyRow) -> None:
        """Forget a study that Optuna knows no more."""
        from sqlalchemy import delete

        with self.exclusive(study.key) as connection:
            connection.execute(delete(self._slots).where(self._slots.c.study == study.key))
            connection.execute(delete(self._notes).where(self._notes.c.study == study.key))
            connection.execute(delete(self._studies).where(self._studies.c.id == study.key))

    def change_study(self, study: int, notes: Mapping[str, Any]) -> None:
        """Store notes that a study has from now on, until Optuna has them."""
        from sqlalchemy import update

        stored = json.dumps({CHANGES: notes})
        query = update(self._studies).where(self._studies.c.id == study).values(notes=stored)
        with self.exclusive(study) as connection:
            connection.execute(query)

    def study_is_made(self, study: int) -> None:
        """Record that Optuna has all that a study is made with."""
        from sqlalchemy import update

        query = update(self._studies).where(self._studies.c.id == study).values(notes=None)
        with self.exclusive() as connection:
            connection.execute(query)

    def first_note(self, study: int, name: str, value: Any) -> Any:
        """Store a note unless there is one; what is stored then."""
        from sqlalchemy import insert, select

        notes = self._notes
        query = select(notes.c.value).where(notes.c.study == study, notes.c.name == name)
        with self.exclusive(study) as connection:
            stored = connection.execute(query).scalar()
            if stored is not None:
                return json.loads(stored)
            row = {"study": study, "name": name, "value": json.dumps(value)}
            connection.execute(insert(notes).values(**row))
            return value

    def draws(self, study: int, point: str | None = None) -> dict[str, dict[str, Any]]:
        """What points of a search have drawn, by their names; of one point or of all."""
        with self._engine.connect() as connection:
            return patiently(self._draws, connection, study, point)

    def _draws(
        self, connection: "Connection", study: int, point: str | None = None
    ) -> dict[str, dict[str, Any]]:
        from sqlalchemy import select

        name = self._notes.c.name
        is_asked = name.startswith(DRAW) if point is None else name == DRAW + point
        query = select(name, self._notes.c.value).where(self._notes.c.study == study, is_asked)
        rows = connection.execute(query).all()
        return {row.name.removeprefix(DRAW): json.loads(row.value) for row in rows}

    def keep_draw(self, study: int, point: str, draw: Mapping[str, Any]) -> dict[str, Any] | None:
        """Store what a point has drawn unless something is stored; what is stored then. None where
        another point has the same `settings`."""
        from sqlalchemy import insert

        with self.exclusive(study) as connection:
            draws = self._draws(connection, study)
            if point in draws:
                return draws[point]
            if any(other["settings"] == draw["settings"] for other in draws.values()):
                return None
            row = {"study": study, "name": DRAW + point, "value": json.dumps(draw)}
            connection.execute(insert(self._notes).values(**row))
            return dict(draw)

    # --- slots ---

    def slots(self, connection: "Connection", study: int) -> dict[str, SlotRow]:
        """All slots that are known."""
        return {row.slot: row for row in self._rows(connection, study)}

    def slot(self, study: int, name: str) -> SlotRow | None:
        """A slot, where it is known."""
        with self._engine.connect() as connection:
            rows = patiently(self._rows, connection, study, self._slots.c.slot == name)
        return next(iter(rows), None)

    def held(self, study: int) -> list[SlotRow]:
        """The slots that a process holds, in the order of their trials; among them those of whose
        end Optuna may not have been told."""
        from sqlalchemy import or_

        columns = self._slots.c
        is_held = or_(columns.state.in_([CLAIMED, RUNNING]), columns.untold.is_not(None))
        with self._engine.connect() as connection:
            return patiently(self._rows, connection, study, is_held)

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
        with self.exclusive(study) as connection:
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

    def take(
        self, connection: "Connection", study: int, names: Set[str], retries: int, worker: str
    ) -> SlotRow | None:
        """Claim the first slot that waits; the slot as it was before.

        Args:
            names: The slots of the plan.
            retries: Number of times that a slot's process may have died.
            worker: The process that claims, as JSON.
        """
        from sqlalchemy import func

        columns = self._slots.c
        first_open = self._first(connection, study, names, columns.state == OPEN)
        has_retries = columns.deaths <= retries
        first_died = self._first(connection, study, names, columns.state == DIED, has_retries)
        waiting = [row for row in (first_open, first_died) if row is not None]
        before = min(waiting, key=lambda row: row.place or 0, default=None)
        if before is None:
            return None
        claim = {"state": CLAIMED, "attempt": next_attempt(before), "worker": worker}
        is_slot, now = columns.slot == before.slot, func.current_timestamp()
        self._update(connection, study, is_slot, beat=now, **claim)
        return before

    def _update(
        self, connection: "Connection", study: int, *where: "ColumnElement[bool]", **values: Any
    ) -> int:
        """Change the slots of a study that meet all the conditions; how many there were."""
        from sqlalchemy import update

        query = update(self._slots).where(self._slots.c.study == study, *where)
        return connection.execute(query.values(**values)).rowcount

    def _first(
        self, connection: "Connection", study: int, names: Set[str], *where: "ColumnElement[bool]"
    ) -> SlotRow | None:
        from sqlalchemy import select

        columns = self._slots.c
        waits = (columns.study == study, columns.place.is_not(None), columns.untold.is_(None))
        query = select(self._slots).where(*waits, *where).order_by(columns.place)
        for limit in (LOOK_AHEAD, None):
            rows = connection.execute(query.limit(limit)).all()
            for row in rows:
                if row.slot in names:
                    return _slot_row(row)
            if limit is not None and len(rows) < limit:
                break
        return None

    def give_back(self, study: int, before: SlotRow, worker: str) -> None:
        """Undo a claim that never came to a trial."""
        self._change(
            study, before.slot, CLAIMED, worker, state=before.state, attempt=before.attempt
        )

    def link(self, study: int, slot: str, worker: str, number: int, trial_id: int) -> bool:
        """Record the trial of a claim; False where the claim was given to another process."""
        return self._change(
            study, slot, CLAIMED, worker, state=RUNNING, number=number, trial_id=trial_id
        )

    def bury(self, study: int, claimed: SlotRow) -> bool:
        """Record that the process of a claim died before it came to a trial; False where that isn't
        so any more."""
        return self._change(
            study, claimed.slot, CLAIMED, claimed.worker, state=DIED, deaths=claimed.deaths + 1
        )

    def name_buried(self, study: int, slot: str, number: int, trial_id: int) -> None:
        """Record the trial that stands for a claim that was buried."""
        self._change(study, slot, DIED, None, number=number, trial_id=trial_id)

    def _change(self, study: int, slot: str, was: str, worker: str | None, **values: Any) -> bool:
        columns = self._slots.c
        where = [columns.slot == slot, columns.state == was]
        if worker is not None:
            where.append(columns.worker == worker)
        with self.exclusive(study) as connection:
            return self._update(connection, study, *where, **values) == 1

    def end(
        self, study: int, number: int, state: str, *, epochs: int, untold: Mapping[str, Any] | None
    ) -> bool:
        """Record how a running trial ended, once; False where it has ended before."""
        columns = self._slots.c
        values = {
            "state": state,
            "epochs": columns.epochs + epochs,
            "deaths": columns.deaths + int(state == DIED),
            "untold": None if untold is None else json.dumps(untold),
        }
        with self.exclusive(study) as connection:
            return self._update(connection, study, *self._is_running(number), **values) == 1

    def told(self, study: int, number: int) -> None:
        """Record that Optuna knows how a trial ended."""
        with self.exclusive(study) as connection:
            self._update(connection, study, self._slots.c.number == number, untold=None)

    def take_over(self, study: int, number: int, worker: str) -> bool:
        """Record that another process works on a running trial; False where it has ended."""
        from sqlalchemy import func

        values = {"worker": worker, "beat": func.current_timestamp()}
        with self.exclusive(study) as connection:
            return self._update(connection, study, *self._is_running(number), **values) == 1

    def _is_running(self, number: int) -> "tuple[ColumnElement[bool], ...]":
        return self._slots.c.number == number, self._slots.c.state == RUNNING

    def beat(self, study: int, number: int) -> None:
        """Record that a trial's process lives."""
        from sqlalchemy import func

        is_slot, now = self._slots.c.number == number, func.current_timestamp()
        with self.exclusive() as connection:
            self._update(connection, study, is_slot, beat=now)

    def given_up(self, study: int, retries: int) -> list[SlotRow]:
        """The slots that failed, or whose processes died more often than they may, in the order of
        their trials."""
        from sqlalchemy import and_, or_

        columns = self._slots.c
        is_killed = and_(columns.state.in_([DIED, OPEN]), columns.deaths > retries)
        is_given_up = or_(columns.state == FAILED, is_killed)
        with self._engine.connect() as connection:
            return patiently(self._rows, connection, study, is_given_up)

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
        with self.exclusive(study) as connection:
            self._update(connection, study, *is_given_up, state=OPEN, attempt=attempt)

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
            del row_values["silence"], row_values["untold"]
        if values:
            connection.execute(insert(self._slots).values(beat=func.current_timestamp()), values)

    def epochs(self, connection: "Connection", study: int) -> int:
        """The epochs that the trials have trained that have ended."""
        from sqlalchemy import func, select

        total = select(func.sum(self._slots.c.epochs)).where(self._slots.c.study == study)
        return connection.execute(total).scalar() or 0

    def running(self, connection: "Connection", study: int) -> set[int]:
        """Numbers of the running trials."""
        from sqlalchemy import select

        columns = self._slots.c
        numbers = select(columns.number).where(columns.study == study, columns.state == RUNNING)
        return set(connection.execute(numbers).scalars())


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
        None if row.untold is None else json.loads(row.untold),
        row.place,
    )


def _naive(moment: Any) -> Any:
    return moment.replace(tzinfo=None)
