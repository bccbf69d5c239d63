"""The way to a store: where it is away or broken, that is said within seconds, in one sentence."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from importlib.metadata import version

from recsweep.causes import cause_of, shortened
from recsweep.databases import (
    CONNECT_SECONDS,
    Database,
    held_words,
    is_held,
    open_database,
    sqlite_path,
)
from recsweep.errors import RecsweepError, TrackingError
from recsweep.interrupts import interrupts_wait
from recsweep.masking import mask

ANOTHER = "tracking.uri=sqlite:////path/mlflow.db or RECSWEEP_HOME=/path"


DELETED = re.compile(
    r"The (?P<kind>run|experiment) '?(?P<name>\w+)'? must be in the '?active'? "
    r"(?:state|lifecycle_stage)",
    re.IGNORECASE,
)
"""What MLflow says where something is to be written that was deleted."""


def restoring(uri: str, kind: str, name: str) -> str:
    """The command that brings a deleted run or experiment back.

    Args:
        uri: The store.
        kind: `run` or `experiment`.
        name: Its id.
    """
    return f"MLFLOW_TRACKING_URI='{mask(uri)}' mlflow {kind}s restore --{kind}-id {name}"


@contextmanager
def guard(uri: str) -> Iterator[None]:
    """Turn what MLflow, the database or the disk raise into one TrackingError with its remedy.

    An interrupt counts afterwards: in the middle it could leave a lock that is held or a thread
    that nobody ends. A server holds its own locks, and may take for ever: there it counts at once.
    """
    import sqlite3

    import requests
    from alembic.util.exc import CommandError
    from mlflow.exceptions import MlflowException
    from safetensors import SafetensorError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        # it logs what it raises
        with (
            nullcontext() if is_server(uri) else interrupts_wait(),
            silenced("mlflow.store.db", "psycopg", up_to=logging.ERROR),
        ):
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
        if "out-of-date database schema" in str(error):  # said of every schema that is not its own
            raise TrackingError(
                f"The MLflow database {uri} has another schema than MLflow {version('mlflow')} "
                f"needs. If an older MLflow made it, take a backup, then run: mlflow db upgrade "
                f"'{uri}'. If a newer one did, install that one."
            ) from error
        if deleted := DELETED.search(str(error)):
            kind, name = deleted["kind"].lower(), deleted["name"]
            raise TrackingError(
                f"The {kind} {name} was deleted, as in the MLflow UI, and can't be written. "
                f"Restore it with: {restoring(uri, kind, name)}"
            ) from error
        if getattr(error, "error_code", None) == "RESOURCE_DOES_NOT_EXIST":
            raise TrackingError(
                f"{shortened(uri)} does not hold that, or no more: {cause_of(error).reason}. What "
                "`mlflow gc` has removed comes back with a backup alone; choose another, as "
                "`recsweep runs` lists them."
            ) from error
        cause = cause_of(error)
        raise TrackingError(
            f"The MLflow store {shortened(uri)} can't be used: {cause.reason}. {cause.remedy}, or "
            f"choose another with {ANOTHER}."
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
            cause = cause_of(error)
            raise TrackingError(
                f"The MLflow database {path} can't be opened: {cause.reason}. {cause.remedy}, or "
                f"choose another with {ANOTHER}."
            ) from error
    if is_server(uri):
        ask_health(uri, CONNECT_SECONDS)
    elif "://" in uri and not uri.startswith(("file:", "databricks")):
        from sqlalchemy import create_engine

        create_engine(uri).connect().close()
    return None


def is_server(uri: str) -> bool:
    """Whether a store is an MLflow server, which may go away and come back."""
    return uri.startswith(("http://", "https://"))


def ask_health(uri: str, timeout: float) -> None:
    """Raise where a server does not answer within so many seconds that it is up."""
    import requests
    from mlflow.utils.credentials import get_default_host_creds

    verify = get_default_host_creds(uri).verify
    answer = requests.get(uri.rstrip("/") + "/health", timeout=timeout, verify=verify)
    # MLflow would try again where a server is in trouble; any other answer is of one that is up
    if answer.status_code >= 500:
        answer.raise_for_status()


def authenticated_user(uri: str) -> str | None:
    """The name by which a server knows who asks; None where it asks nobody for one."""
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    credentials = get_default_host_creds(uri)
    path = "/api/2.0/mlflow/users/current"
    answer = http_request(credentials, path, "GET", raise_on_status=False)
    # one without users has no such page, or another; whom it refuses, any other call says
    with suppress(ValueError, LookupError, TypeError):
        return answer.json()["user"]["username"]
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
