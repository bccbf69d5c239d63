"""Where the artifacts of a store in a sqlite file lie: beside it, also after it was moved.

MLflow stores each place as an absolute URI. Places below the folder of artifacts of another home
are looked up beside the store first; before anything is written, `relocate` must have made them its
own.
"""

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from recsweep.databases import Database, patiently

FOLDER = "artifacts"
"""Name of the folder of artifacts, beside the database."""

COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Tables and columns in which MLflow stores places of artifacts."""

NOTE_OF_OURS = "%recsweep%"
"""The description of an experiment that recsweep made: it has put its artifacts beside the store.
Somebody else's experiment may have them anywhere."""


def local_path(place: str) -> Path | None:
    """The path of a place on this machine; None for one elsewhere."""
    if place.startswith("/"):
        return Path(place)
    parts = urlsplit(place)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        return None
    return Path(unquote(parts.path))


@dataclass(frozen=True)
class Relocated:
    """What a relocation has changed.

    Attributes:
        former: Folders of artifacts that places were in before.
        changed: Number of places that are stored anew.
        folder: The store's own folder of artifacts.
        missing: Former folders that hold what the store's own one lacks.
    """

    former: Sequence[str]
    changed: int
    folder: Path
    missing: Sequence[Path]


class Places:
    """The places of artifacts of a store in a sqlite file.

    Attributes:
        folder: The store's own folder of artifacts.
        former: Folders of artifacts as the database names them, of the home that it was in before.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.folder = database.path.parent / FOLDER
        query = (
            "select distinct artifact_location from experiments join experiment_tags"
            " using (experiment_id) where key = 'mlflow.note.content' and value like ?"
        )
        with closing(database.connect()) as connection:
            rows = patiently(connection.execute, query, [NOTE_OF_OURS]).fetchall()
        self.former = tuple(place for (place,) in rows if self._is_former(place))

    def _is_former(self, place: str) -> bool:
        path = local_path(place)
        return path is not None and path.name == FOLDER and not _is_same(path, self.folder)

    def find(self, place: str) -> Path | None:
        """The path of what lies at a place, on this machine: beside the store where it is there,
        else as the place says; None for one elsewhere."""
        for former in self.former:
            if place.startswith(f"{former}/"):
                own = self.folder / unquote(place.removeprefix(f"{former}/"))
                if own.exists():
                    return own
        return local_path(place)

    def relocate(self) -> Relocated:
        """Store all places below the former folders as places beside the store: all of them, or
        none. What the places hold is not touched."""
        changed = 0
        with closing(self._database.connect(isolation_level=None)) as connection:
            patiently(connection.execute, "begin immediate")
            for former in self.former:
                for table, column in COLUMNS:
                    update = (
                        f'update "{table}" set "{column}" = ? || substr("{column}", ?)'
                        f' where "{column}" = ? or substr("{column}", 1, ?) = ?'
                    )
                    below = f"{former}/"
                    values = (self.folder.as_uri(), len(former) + 1, former, len(below), below)
                    changed += connection.execute(update, values).rowcount
            patiently(connection.execute, "commit")
        paths = [path for place in self.former if (path := local_path(place)) is not None]
        missing = [path for path in paths if self._lacks(path)]
        relocated = Relocated(self.former, changed, self.folder, missing)
        self.former = ()
        return relocated

    def _lacks(self, other: Path) -> bool:
        """Whether another folder of artifacts holds a run's that the store knows and lacks."""
        query = "select run_uuid from runs"
        with closing(self._database.connect()) as connection:
            runs = [run for (run,) in patiently(connection.execute, query)]
        return any((other / run).exists() and not (self.folder / run).exists() for run in runs)


def _is_same(one: Path, other: Path) -> bool:
    """Whether two paths lead to the same folder, which need not exist yet."""
    if os.path.realpath(one) == os.path.realpath(other):
        return True
    try:
        return os.path.samefile(one.parent, other.parent)  # one disk, mounted at two places
    except OSError:
        return False
