"""The database of studies: opened within seconds or refused in words, and one claim at a time in it."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from recsweep.databases import (
    held_words,
    home,
    is_held,
    one_at_a_time,
    open_database,
    patiently,
    sqlite_path,
    with_patience,
    with_tables,
)
from recsweep.errors import RecsweepError, StudyError
from recsweep.masking import mask
from recsweep.processes import interrupts_wait

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from optuna.storages._cached_storage import _CachedStorage
    from sqlalchemy.orm import Session


def storage_url(url: str | None) -> str:
    """The URL in force: the store's own `optuna.db` where none is given; a sqlite file's is absolute."""
    url = url or f"sqlite:///{home() / 'optuna.db'}"
    path = sqlite_path(url)
    return url if path is None else f"sqlite:///{path}"


class Storage:
    """An open database of studies.

    Raises:
        StudyError: It can't be opened; said within seconds.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        with self.guard(), one_at_a_time(url):
            if (database := open_database(url)) is not None:
                database.prepare_to_write()
            import optuna

            optuna.logging.set_verbosity(optuna.logging.WARNING)
            template = url.replace("{", "{{").replace("}", "}}")  # Optuna formats its URLs
            try:
                rdb = with_tables(lambda: patiently(optuna.storages.RDBStorage, template))
            except RuntimeError as error:  # another version's tables
                raise StudyError(f"The database of studies {mask(url)} can't be used: {error}") from error
            self.rdb: RDBStorage = with_patience(rdb)
            self.cached: _CachedStorage = with_patience(optuna.storages.get_storage(rdb))

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
        except (sqlalchemy.exc.SQLAlchemyError, StorageInternalError, sqlite3.Error, OSError, ImportError) as error:
            if is_held(error):
                raise StudyError(f"The database of studies {mask(self.url)} can't be used: "
                                 f"{held_words(sqlite_path(self.url))}") from error
            cause = error.__cause__ if isinstance(error, StorageInternalError) else error
            reason = (str(getattr(cause, "orig", None) or cause).strip() or type(error).__name__).splitlines()[0]
            raise StudyError(
                f"The database of studies {mask(self.url)} can't be used: {reason}. Make it reachable and writable "
                f"(is the disk full?), or choose another with hydra.sweeper.storage=sqlite:////path/optuna.db."
            ) from error

    @contextmanager
    def exclusive(self, study_id: int) -> Iterator["Session"]:
        """A transaction during which no other process claims or changes a trial of the study."""
        from optuna.storages._rdb.models import StudyModel
        from sqlalchemy import text
        from sqlalchemy.orm import Session

        with self.guard(), Session(self.rdb.engine) as session, session.begin():
            if self.rdb.engine.dialect.name != "sqlite":
                StudyModel.find_or_raise_by_id(study_id, session, for_update=True)
                yield session
                return
            # it has no row locks, and its driver locks at the first write
            patiently(session.execute, text("BEGIN IMMEDIATE"))
            yield session
            session.flush()
            patiently(session.execute, text("COMMIT"))  # refused, it leaves the transaction open


@cache
def open_storage(url: str) -> Storage:
    """One open database a process."""
    return Storage(url)
