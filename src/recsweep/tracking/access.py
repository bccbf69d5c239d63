"""The way to a store: where it is away or broken, that is said within seconds, in one sentence."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

from recsweep.databases import (
    CONNECT_SECONDS,
    Database,
    held_words,
    is_held,
    open_database,
    sqlite_path,
)
from recsweep.errors import RecsweepError, TrackingError
from recsweep.processes import interrupts_wait


@contextmanager
def guard(uri: str) -> Iterator[None]:
    """Turn what MLflow, the database or the disk raise into one TrackingError with its remedy.

    An interrupt counts afterwards: in the middle it could leave a lock that is held or a thread
    that nobody ends.
    """
    import sqlite3

    import requests
    from alembic.util.exc import CommandError
    from mlflow.exceptions import MlflowException
    from safetensors import SafetensorError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        # it logs what it raises
        with interrupts_wait(), silenced("mlflow.store.db", up_to=logging.ERROR):
            yield
    except RecsweepError:
        raise
    except (
        MlflowException,
        SQLAlchemyError,
        sqlite3.Error,
        OSError,
        ImportError,
        CommandError,
        SafetensorError,
        requests.RequestException,
    ) as error:
        path = sqlite_path(uri)
        if path is not None and is_held(error):
            raise TrackingError(
                f"The MLflow database {path} can't be used: {held_words(path)}"
            ) from error
        words = str(getattr(error, "orig", None) or error).strip() or type(error).__name__
        reason = words.splitlines()[0]
        if "out-of-date database schema" in reason:  # said of every schema that is not its own
            raise TrackingError(
                f"The MLflow database {uri} has another schema than MLflow {version('mlflow')} "
                f"needs. If an older MLflow made it, take a backup, then run: mlflow db upgrade "
                f"'{uri}'. If a newer one did, install that one."
            ) from error
        raise TrackingError(
            f"The MLflow store {uri} can't be used: {reason}. Make it reachable and writable (is "
            f"the disk full?), or choose another with tracking.uri=sqlite:////path/mlflow.db or "
            f"RECSWEEP_HOME=/path."
        ) from error


def open_store(uri: str) -> Database | None:
    """Fail within seconds where a store is away: MLflow itself would try for minutes.

    Returns:
        The database of a store in a sqlite file; None for any other store.
    """
    if (path := sqlite_path(uri)) is not None:
        import sqlite3

        try:
            return open_database(uri)
        except sqlite3.Error as error:
            if is_held(error):
                raise
            raise TrackingError(
                f"The MLflow database {path} can't be opened: {error}. Make it a writable sqlite "
                f"file, or choose another with tracking.uri=sqlite:////path/mlflow.db or "
                f"RECSWEEP_HOME=/path."
            ) from error
    if uri.startswith(("http://", "https://")):
        import requests

        answer = requests.get(uri.rstrip("/") + "/health", timeout=CONNECT_SECONDS)
        # MLflow would try again where a server is in trouble; any other answer is of one that is up
        if answer.status_code >= 500:
            answer.raise_for_status()
    elif "://" in uri and not uri.startswith(("file:", "databricks")):
        from sqlalchemy import create_engine

        create_engine(uri).connect().close()
    return None


@contextmanager
def silenced(*names: str, up_to: int = logging.WARNING) -> Iterator[None]:
    """Hold back the libraries' progress notes, not their errors unless asked to."""
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(up_to + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
