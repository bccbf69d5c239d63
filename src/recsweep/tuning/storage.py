"""The database of studies: opened within seconds or refused in words."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from recsweep.causes import cause_of, shortened
from recsweep.databases import (
    CONNECT_SECONDS,
    held_words,
    home,
    is_held,
    make_whole,
    one_at_a_time,
    open_database,
    patiently,
    sqlite_path,
    sqlite_uri,
    with_tables,
)
from recsweep.errors import RecsweepError, StudyError
from recsweep.interrupts import interrupts_wait
from recsweep.masking import mask
from recsweep.tuning.claims import ClaimTable
from recsweep.tuning.patience import Patience
from recsweep.tuning.trial_rows import VERSION

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage


STUDIES = "RECSWEEP_STUDIES"
"""Environment variable with the URL of the database of studies, which may hold a password."""

PATIENCE_SECONDS = 600.0
"""So long is a database server waited for that was there when a command began."""

DRIVERS = ("psycopg", "psycopg2")
"""Drivers for PostgreSQL, the first that is installed is taken."""


def storage_url(url: str | None) -> str:
    """The URL in force: that of $RECSWEEP_STUDIES where none is given, else the store's own
    `optuna.db`; absolute for sqlite, with the driver that is installed for PostgreSQL."""
    url = url or os.environ.get(STUDIES) or sqlite_uri(home() / "optuna.db")
    path = sqlite_path(url)
    return _with_driver(url) if path is None else sqlite_uri(path)


def _with_driver(url: str) -> str:
    kind, colon, rest = url.partition("://")
    if kind not in ("postgresql", "postgres"):
        return url
    driver = next((name for name in DRIVERS if find_spec(name) is not None), DRIVERS[0])
    return f"postgresql+{driver}{colon}{rest}"


def _engine_settings(url: str) -> dict[str, Any]:
    """How SQLAlchemy connects to a server: it looks whether a connection is still alive before it
    is used, and a machine that is gone is noticed in less than a minute."""
    if not url.startswith("postgresql"):
        return {}
    return {
        "pool_pre_ping": True,
        "connect_args": {
            "connect_timeout": CONNECT_SECONDS,
            "keepalives_idle": 15,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,
            "application_name": "recsweep",
        },
    }


@dataclass(frozen=True)
class KnownStudy:
    """A study that this process has opened.

    Attributes:
        optuna: Optuna's view of it, which remembers the trials that have ended.
        id: Optuna's id of it.
        key: Key of the study in the table of claims.
        mark: Mark on its trials that were claimed there.
    """

    optuna: "optuna.Study"
    id: int
    key: int
    mark: str


class Storage:
    """An open database of studies.

    Attributes:
        url: SQLAlchemy URL of the database.
        optuna: Optuna's part of it, with the studies and their trials.
        claims: The table that says who works on what of them.
        known: Studies that this process has opened, by their names.
        patience: How long its server is waited for, once it has been there.
        watched: Silent slots of other machines, by study and name: since when this process sees
            their silence, and what it saw.

    Raises:
        StudyError: It can't be opened; said within seconds.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.patience = Patience()
        self.watched: dict[tuple[int, str], tuple[float, tuple[str, str, int]]] = {}
        with self.guard(), one_at_a_time(url):
            make_whole(url, lambda each: _tables(each, self.patience))
            if (database := open_database(url)) is not None:
                database.prepare_to_write()
            self.optuna: BaseStorage
            self.optuna, self.claims = _tables(url, self.patience)
            self.known: dict[str, KnownStudy] = {}
        self.patience.seconds = PATIENCE_SECONDS

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Turn what Optuna, the database or the disk raise into one StudyError with its remedy.

        An interrupt counts afterwards: in the middle it could leave a transaction that is open.
        """
        import sqlalchemy.exc
        from optuna.exceptions import StorageInternalError

        try:
            with interrupts_wait():
                yield
        except RecsweepError:
            raise
        except (
            sqlalchemy.exc.SQLAlchemyError,
            StorageInternalError,
            sqlite3.Error,
            OSError,
            ImportError,
        ) as error:
            path = sqlite_path(self.url)
            if path is not None and is_held(error):
                raise StudyError(
                    f"The database of studies {mask(self.url)} can't be used: {held_words(path)}"
                ) from error
            cause = cause_of(error)
            raise StudyError(
                f"The database of studies {shortened(mask(self.url))} can't be used: "
                f"{cause.reason}. {cause.remedy}, or choose another with "
                "hydra.sweeper.storage=sqlite:////path/optuna.db."
            ) from error

    def names(self) -> list[str]:
        """Names of the studies, in the order in which they were made."""
        import optuna

        with self.guard():
            return list(self.patience(optuna.get_all_study_names, self.optuna))

    def load(self, name: str) -> "optuna.Study":
        """Optuna's view of a study, which remembers the trials that have ended.

        Raises:
            KeyError: There is no study of this name.
        """
        import optuna

        return self.patience(
            optuna.load_study,
            study_name=name,
            storage=self.optuna,
            sampler=optuna.samplers.RandomSampler(),
            pruner=optuna.pruners.NopPruner(),
        )

    def has(self, name: str) -> bool:
        """Whether there is a study of this name."""
        with self.guard():
            try:
                self.optuna.get_study_id_from_name(name)
            except KeyError:
                return False
        return True


def _tables(url: str, patience: Patience) -> "tuple[BaseStorage, ClaimTable]":
    """Optuna's part of a database and our own, each with its tables, which are made where they are
    missing: what a kill has left of them is completed."""
    import optuna
    from sqlalchemy import create_engine

    optuna.logging.set_verbosity(optuna.logging.ERROR)  # what it warns of is tried again
    template = url.replace("{", "{{").replace("}", "}}")  # Optuna formats its URLs
    settings = _engine_settings(url)
    try:
        rdb = with_tables(
            lambda: patiently(optuna.storages.RDBStorage, template, engine_kwargs=dict(settings))
        )
        version = rdb.get_current_version()
    except RuntimeError as error:  # another version's tables
        raise StudyError(f"The database of studies {mask(url)} can't be used: {error}") from error
    if version != VERSION:
        raise StudyError(
            f"The database of studies {mask(url)} has Optuna's tables of version {version}, and "
            f"trials are stored in those of {VERSION}. Install Optuna 5, or choose another "
            "database with hydra.sweeper.storage."
        )
    return patience.of(rdb), ClaimTable(create_engine(url, **settings), patience)


@cache
def open_storage(url: str) -> Storage:
    """The open database, one a process."""
    return Storage(url)


def wait_for(url: str, seconds: float) -> None:
    """Wait until a database's server answers, for who knows that it was there a moment ago; what
    else is wrong is found by opening it."""
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    if sqlite_path(url) is not None:
        return
    with suppress(SQLAlchemyError, ImportError):
        engine = create_engine(url, **_engine_settings(url))
        Patience(seconds)(lambda: engine.connect().close())
        engine.dispose()
