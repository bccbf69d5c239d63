"""Optuna's tables of trials, written in transactions of our own.

A trial begins and ends in one commit with its slot, in a few statements, so that nothing is left
between the two when a process is killed. Optuna's own storage takes a commit for each attribute,
and several statements for each commit. Everything else of Optuna's tables is left to Optuna: who
reads them, as its dashboard does, sees what its own storage would have written.
"""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from sqlalchemy import Connection, MetaData, Table
    from sqlalchemy.sql.elements import ColumnElement

VERSION = "v3.2.0.a"
"""The version of Optuna's tables that these are: RDBStorage.get_head_version of Optuna 3.2 to 5."""

RUNNING = "RUNNING"


@cache
def _metadata() -> "MetaData":
    """The columns that are written here; the tables are made by Optuna."""
    from sqlalchemy import Column, DateTime, Enum, Float, Integer, MetaData, String, Table, Text

    metadata = MetaData()
    states = Enum("RUNNING", "COMPLETE", "PRUNED", "FAIL", "WAITING", name="trialstate")
    Table("studies", metadata, Column("study_id", Integer, primary_key=True))
    Table(
        "trials",
        metadata,
        Column("trial_id", Integer, primary_key=True),
        Column("number", Integer),
        Column("study_id", Integer),
        Column("state", states),
        Column("datetime_start", DateTime),
        Column("datetime_complete", DateTime),
    )
    Table(
        "trial_user_attributes",
        metadata,
        Column("trial_id", Integer),
        Column("key", String(512)),
        Column("value_json", Text),
    )
    Table(
        "trial_params",
        metadata,
        Column("trial_id", Integer),
        Column("param_name", String(512)),
        Column("param_value", Float),
        Column("distribution_json", Text),
    )
    Table(
        "trial_values",
        metadata,
        Column("trial_id", Integer),
        Column("objective", Integer),
        Column("value", Float),
        Column("value_type", Enum("FINITE", "INF_POS", "INF_NEG", name="trialvaluetype")),
    )
    kinds = Enum("FINITE", "INF_POS", "INF_NEG", "NAN", name="trialintermediatevaluetype")
    Table(
        "trial_intermediate_values",
        metadata,
        Column("trial_id", Integer),
        Column("step", Integer),
        Column("intermediate_value", Float),
        Column("intermediate_value_type", kinds),
    )
    return metadata


class TrialRows:
    """The rows of trials; each method belongs to a transaction of its caller's."""

    def __init__(self) -> None:
        tables = _metadata().tables
        self._studies: Table = tables["studies"]
        self._trials: Table = tables["trials"]
        self._notes: Table = tables["trial_user_attributes"]
        self._params: Table = tables["trial_params"]
        self._values: Table = tables["trial_values"]
        self._reports: Table = tables["trial_intermediate_values"]

    def begin(
        self,
        connection: "Connection",
        study_id: int,
        notes: Mapping[str, Any],
        params: Mapping[str, Any],
        distributions: Mapping[str, "BaseDistribution"],
        *,
        state: str = RUNNING,
    ) -> tuple[int, int]:
        """Store a new trial; its number and its id.

        The study's row is held, as Optuna does, so that no two trials have the same number.
        """
        from sqlalchemy import insert, select

        studies, trials = self._studies.c, self._trials.c
        study = select(studies.study_id).where(studies.study_id == study_id)
        connection.execute(study.with_for_update())
        latest = select(trials.number).where(trials.study_id == study_id)
        number = connection.execute(latest.order_by(trials.trial_id.desc()).limit(1)).scalar()
        number = 0 if number is None else number + 1
        row = {"study_id": study_id, "number": number, "state": state, "datetime_start": _now()}
        if state != RUNNING:
            row["datetime_complete"] = _now()
        done = connection.execute(insert(self._trials).values(**row))
        assert done.inserted_primary_key is not None
        trial_id = int(done.inserted_primary_key[0])
        self.note(connection, trial_id, notes, is_new=True)
        self.add_params(connection, trial_id, params, distributions)
        return number, trial_id

    def add_params(
        self,
        connection: "Connection",
        trial_id: int,
        params: Mapping[str, Any],
        distributions: Mapping[str, "BaseDistribution"],
    ) -> None:
        """Store the params of a trial that has none yet."""
        from optuna.distributions import distribution_to_json
        from sqlalchemy import insert

        rows = [
            {
                "trial_id": trial_id,
                "param_name": name,
                "param_value": distribution.to_internal_repr(params[name]),
                "distribution_json": distribution_to_json(distribution),
            }
            for name, distribution in distributions.items()
        ]
        if rows:
            connection.execute(insert(self._params).values(rows))

    def has_params(self, connection: "Connection", trial_id: int) -> bool:
        """Whether the params of a trial are stored."""
        from sqlalchemy import select

        query = select(self._params.c.param_name).where(self._params.c.trial_id == trial_id)
        return connection.execute(query.limit(1)).first() is not None

    def note(
        self,
        connection: "Connection",
        trial_id: int,
        notes: Mapping[str, Any],
        *,
        is_new: bool = False,
    ) -> None:
        """Store attributes of a trial, in place of those of their names.

        Args:
            is_new: Whether it has none yet.
        """
        rows = [
            {"trial_id": trial_id, "key": name, "value_json": json.dumps(value)}
            for name, value in notes.items()
        ]
        self._put(connection, self._notes, ("trial_id", "key"), rows, is_new=is_new)

    def noted(self, connection: "Connection", trial_id: int, name: str) -> Any:
        """An attribute of a trial; None where it has none of the name."""
        from sqlalchemy import select

        columns = self._notes.c
        query = select(columns.value_json).where(columns.trial_id == trial_id, columns.key == name)
        stored = connection.execute(query).scalar()
        return None if stored is None else json.loads(stored)

    def report(self, connection: "Connection", trial_id: int, step: int, value: float) -> None:
        """Store what a trial reports after a step."""
        number, kind = _stored(value)
        row = {
            "trial_id": trial_id,
            "step": step,
            "intermediate_value": number,
            "intermediate_value_type": kind,
        }
        self._put(connection, self._reports, ("trial_id", "step"), [row])

    def epochs(self, connection: "Connection", trial_ids: Sequence[int]) -> int:
        """The latest steps that trials have reported, added up."""
        from sqlalchemy import func, select

        columns = self._reports.c
        latest = select(func.max(columns.step)).where(columns.trial_id.in_(trial_ids))
        return sum(connection.execute(latest.group_by(columns.trial_id)).scalars())

    def end(
        self,
        connection: "Connection",
        trial_id: int,
        state: str,
        values: Sequence[float] | None,
        notes: Mapping[str, Any],
    ) -> None:
        """End a trial that is running; one that has ended stays as it is."""
        from sqlalchemy import insert, update

        trials = self._trials.c
        is_running = trials.trial_id == trial_id, trials.state == RUNNING
        ended = (
            update(self._trials).where(*is_running).values(state=state, datetime_complete=_now())
        )
        if not connection.execute(ended).rowcount:
            return
        if state == "PRUNED" and values is None:
            values = self._last_report(connection, trial_id)
        self.note(connection, trial_id, {"ended": dict(notes)})
        rows = [
            {"trial_id": trial_id, "objective": place, "value": number, "value_type": kind}
            for place, (number, kind) in enumerate(map(_stored, values or ()))
        ]
        if rows:
            connection.execute(insert(self._values).values(rows))

    def _last_report(self, connection: "Connection", trial_id: int) -> list[float] | None:
        """What stands for the value of a trial that was pruned, as Optuna has it."""
        from sqlalchemy import select

        columns = self._reports.c
        query = select(columns.intermediate_value).where(columns.trial_id == trial_id)
        latest = connection.execute(query.order_by(columns.step.desc()).limit(1)).scalar()
        return None if latest is None else [latest]

    def _put(
        self,
        connection: "Connection",
        table: "Table",
        key: Sequence[str],
        rows: Sequence[Mapping[str, Any]],
        *,
        is_new: bool = False,
    ) -> None:
        """Store rows in place of those of their keys."""
        from sqlalchemy import and_, delete, insert, or_

        name: Any = connection.dialect.name
        if not rows:
            return
        if is_new:
            connection.execute(insert(table).values(rows))
            return
        if name in ("postgresql", "sqlite"):
            from sqlalchemy.dialects import postgresql, sqlite

            anew: Any = {"postgresql": postgresql, "sqlite": sqlite}[name].insert(table)
            anew = anew.values(rows)
            others = {column: anew.excluded[column] for column in rows[0] if column not in key}
            connection.execute(anew.on_conflict_do_update(index_elements=list(key), set_=others))
            return
        old: list[ColumnElement[bool]] = [
            and_(*(table.c[column] == row[column] for column in key)) for row in rows
        ]
        connection.execute(delete(table).where(or_(*old)))
        connection.execute(insert(table).values(rows))


def _stored(value: float) -> tuple[float | None, str]:
    """A number as Optuna stores it."""
    if math.isfinite(value):
        return float(value), "FINITE"
    return None, "NAN" if math.isnan(value) else "INF_POS" if value > 0 else "INF_NEG"


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
