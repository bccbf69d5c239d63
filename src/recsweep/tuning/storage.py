"""The database of studies: opened within seconds or refused in words."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from recsweep.causes import cause_of, shortened
from recsweep.databases import (
    held_words,
    home,
    is_held,
    make_whole,
    one_at_a_time,
    open_database,
    patiently,
    sqlite_path,
    sqlite_uri,
    with_patience,
    with_tables,
)
from recsweep.errors import RecsweepError, StudyError
from recsweep.masking import mask
from recsweep.processes import interrupts_wait
from recsweep.tuning.claims import ClaimTable

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage


def storage_url(url: str | None) -> str:
    """The URL in force: the store's own `optuna.db` where none is given; absolute for sqlite."""
    url = url or sqlite_uri(home() / "optuna.db")
    path = sqlite_path(url)
    return url if path is None else sqlite_uri(path)


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

    Raises:
        StudyError: It can't be opened; said within seconds.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        with self.guard(), one_at_a_time(url):
            make_whole(url, _tables)
            if (database := open_database(url)) is not None:
                database.prepare_to_write()
            self.optuna: BaseStorage
            self.optuna, self.claims = _tables(url)
            self.known: dict[str, KnownStudy] = {}

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

    def load(self, name: str) -> "optuna.Study":
        """Optuna's view of a study, which remembers the trials that have ended.

        Raises:
            KeyError: There is no study of this name.
        """
        import optuna

        return patiently(
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


def _tables(url: str) -> "tuple[BaseStorage, ClaimTable]":
    """Optuna's part of a database and our own, each with its tables, which are made where they are
    missing: what a kill has left of them is completed."""
    import optuna
    from sqlalchemy import create_engine

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    template = url.replace("{", "{{").replace("}", "}}")  # Optuna formats its URLs
    try:
        rdb = with_tables(lambda: patiently(optuna.storages.RDBStorage, template))
    except RuntimeError as error:  # another version's tables
        raise StudyError(f"The database of studies {mask(url)} can't be used: {error}") from error
    return with_patience(rdb), ClaimTable(create_engine(url))


@cache
def open_storage(url: str) -> Storage:
    """The open database, one a process."""
    return Storage(url)
