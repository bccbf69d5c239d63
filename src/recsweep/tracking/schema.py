"""MLflow's tables in a sqlite file: made whole, and made anew where a kill has left half of them in
a file that holds nothing else."""

import logging
import sqlite3
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from recsweep.databases import make_whole, set_aside, sqlite_path

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory

log = logging.getLogger(__name__)

SEEDED = {
    "alembic_version": "true",
    "experiments": "experiment_id = 0",
    "workspaces": "name = 'default'",
}
"""Tables that MLflow itself fills when it makes them, and which of their rows those are."""


def make_tables(uri: str) -> None:
    """Let the sqlite file of a URI, where it is one, have all tables of MLflow's or none.

    To be called under `databases.one_at_a_time`.
    """
    path = sqlite_path(uri)
    if path is not None and is_half_made(path):
        aside = set_aside(path)
        log.warning(
            "%s was left half made by a process that was killed, and holds no run: it is made "
            "anew. The old file is %s.",
            path,
            aside,
        )
    make_whole(uri, _open)


def _open(uri: str) -> None:
    from mlflow import MlflowClient

    MlflowClient(uri)


def is_half_made(path: Path) -> bool:
    """Whether a file has tables of an unfinished first opening, and no row of anybody's."""
    if not path.is_file():
        return False
    try:
        with closing(sqlite3.connect(path, timeout=0)) as connection:
            names = connection.execute("select name from sqlite_master where type = 'table'")
            tables = [name for (name,) in names if not name.startswith(("_alembic_", "sqlite_"))]
            if any(_has_rows(connection, table) for table in tables):
                return False
            if "alembic_version" not in tables:
                return "experiments" in tables
            revision = connection.execute("select version_num from alembic_version").fetchone()
    except sqlite3.Error:  # said in words by whoever opens it
        return False
    return revision is None or _is_earlier(*revision)


def _has_rows(connection: sqlite3.Connection, table: str) -> bool:
    """Whether a table has rows that MLflow did not make with it."""
    seeded = SEEDED.get(table, "false")
    query = f'select 1 from "{table}" where not ({seeded}) limit 1'
    return connection.execute(query).fetchone() is not None


def _is_earlier(revision: str) -> bool:
    """Whether a revision of the tables is one before the last that this MLflow knows."""
    from alembic.util import CommandError

    try:
        _migrations().get_revision(revision)
    except CommandError:  # of a newer MLflow
        return False
    return revision != _migrations().get_current_head()


@cache
def _migrations() -> "ScriptDirectory":
    import mlflow.store.db_migrations
    from alembic.script import ScriptDirectory

    return ScriptDirectory(str(Path(mlflow.store.db_migrations.__file__).parent))
