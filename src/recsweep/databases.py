"""The home folder, and sqlite files in it: opened so that readers and writers don't wait for each
other, with patience where another process holds one."""

import inspect
import logging
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, unquote

from recsweep.causes import shortened, sqlite_code
from recsweep.masking import mask
from recsweep.scratch import scratch_folder

log = logging.getLogger(__name__)

T = TypeVar("T")

CONNECT_SECONDS = 5
"""How long a store may take to answer before it counts as away."""

OPEN_SECONDS = 60
"""How long another process may take to create the same store."""

BUSY_SECONDS = 60
"""How long SQLite itself waits for another connection to end its transaction."""

HELD_SECONDS = 180
"""How long a call is repeated that SQLite has given up, as another process holds the file."""

HELD = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
"""Primary result codes by which SQLite says that another connection is in the way."""

SUFFIXES = ("", "-journal", "-wal", "-shm")
"""Ends of the names of the files that a sqlite database consists of."""

NETWORK_FILE_SYSTEMS = """
    9p acfs afpfs afs beegfs ceph cifs coda davfs fakeowner fuse gfs gfs2 glusterfs gpfs lustre
    ncpfs nfs nfs3 nfs4 ocfs2 orangefs prl_fs pvfs2 smb smb2 smb3 smbfs vboxsf virtiofs
    vmhgfs webdav
""".split()  # noqa: SIM905 - a list would take a line each
"""Types of file systems that several machines may write at once, as the mount table names them;
those of FUSE besides."""


def home() -> Path:
    """The folder of the store: `$RECSWEEP_HOME`, else `mlruns` in the current directory."""
    return Path(os.environ.get("RECSWEEP_HOME") or "mlruns").absolute()


def sqlite_path(uri: str) -> Path | None:
    """The file of a sqlite URI, absolute; None for any other URI and for a database in memory."""
    if not uri.startswith("sqlite:///") or "?" in uri or ":memory:" in uri:
        return None
    return Path(unquote(uri.removeprefix("sqlite:///"))).absolute()


def sqlite_uri(path: Path) -> str:
    """The URI of a sqlite file, whatever its path: SQLAlchemy ends the path of one at `?`, and
    decodes what follows `%`."""
    return f"sqlite:///{str(path).replace('%', '%25').replace('?', '%3F')}"


# --- opening ---


@contextmanager
def one_at_a_time(uri: str) -> Iterator[None]:
    """Let one process after another open a sqlite store: MLflow can't create one twice at once.

    One that exists where this process may not write needs no lock, as nothing will be created.
    """
    from filelock import FileLock

    path = sqlite_path(uri)
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file() and not _may_write(path.parent):
        yield
        return
    with open(f"{path}.lock", "a"):  # a folder that takes no file: the lock would be waited for
        pass
    with FileLock(f"{path}.lock", timeout=OPEN_SECONDS):
        yield


def make_whole(uri: str, build: Callable[[str], object]) -> None:
    """Make the sqlite file of a URI where there is none: it is built elsewhere, and moved to its
    place once it is whole, so that a kill leaves none that is half made.

    To be called under `one_at_a_time`.

    Args:
        build: Opens the URI that it is given, and creates its tables.
    """
    path = sqlite_path(uri)
    if path is None or (path.exists() and (not path.is_file() or _size(path))):
        return
    whole = Path(f"{path}.whole")
    _remove(whole)  # of a process that was killed
    with scratch_folder() as folder:
        unfinished = folder / path.name
        open_database(sqlite_uri(unfinished))
        build(sqlite_uri(unfinished))
        # a copy, as whoever has built it may hold connections to it
        with (
            closing(sqlite3.connect(unfinished)) as source,
            closing(sqlite3.connect(whole)) as target,
        ):
            source.backup(target)
    _remove(path)  # an empty file, and what lies beside it of one that was deleted
    os.replace(whole, path)


def _remove(path: Path) -> None:
    """Delete a sqlite file with all that belongs to it."""
    for suffix in SUFFIXES:
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Move a sqlite file, with all that belongs to it, to the first free name `*.broken-<n>`."""
    names = (Path(f"{path}.broken-{number}") for number in count(1))
    aside = next(name for name in names if not name.exists())
    for suffix in reversed(SUFFIXES):  # the file itself last: a kill before that changes nothing
        with suppress(FileNotFoundError):
            os.rename(f"{path}{suffix}", f"{aside}{suffix}")
    return aside


def with_tables(build: Callable[[], T]) -> T:
    """What `build` returns, which opens a database and creates its tables. It is called again where
    another process was creating them at the same moment: a server has no lock file as sqlite has.
    """
    from sqlalchemy.exc import IntegrityError, ProgrammingError

    for pause in (1, 3, 10):  # seconds; MLflow's tables take several
        try:
            return build()
        except (IntegrityError, ProgrammingError):
            time.sleep(pause)
    return build()


@dataclass
class Database:
    """A sqlite file, and how this process may use it.

    Attributes:
        path: The file, absolute.
        access: `rw`; `ro` where it can't be written; `immutable` where SQLite can't even make the
            files in which readers of a WAL meet, and so reads without any lock.
        wal: Whether it is in WAL mode, in which a reader and a writer don't wait for each other.
        may_wal: Whether it may be in WAL mode. On a network file system, whose machines share no
            memory, it keeps the rollback journal (https://sqlite.org/wal.html, section 1).
    """

    path: Path
    access: str = "rw"
    wal: bool = False
    may_wal: bool = True

    def connect(self, **settings: Any) -> sqlite3.Connection:
        """A new connection.

        Args:
            settings: Arguments of `sqlite3.connect`, but for the file.
        """
        settings = {"timeout": BUSY_SECONDS, **settings}
        if self.access == "rw":
            connection = sqlite3.connect(self.path, **settings)
        else:
            mode = "immutable=1" if self.access == "immutable" else "mode=ro"
            uri = f"file:{quote(str(self.path))}?{mode}"
            connection = sqlite3.connect(uri, **settings | {"uri": True})
        if self.wal:
            # One fsync a checkpoint instead of one a transaction. A kill of the process loses
            # nothing that was logged; a power cut may take back the last transactions, no more.
            connection.execute("pragma synchronous = normal")
        return connection

    @property
    def uri(self) -> str:
        """The URI by which another program opens it as this process does."""
        if self.access == "immutable":
            # SQLAlchemy decodes it, and then SQLite
            return f"sqlite:///file:{quote(quote(str(self.path)))}?immutable=1&uri=true"
        return sqlite_uri(self.path)

    def prepare_to_write(self) -> None:
        """Wait for the readers that keep an older file from WAL mode, where none is in the way.

        Raises:
            sqlite3.OperationalError: They held it all the time, or it can't be written.
        """
        if self.access != "rw":
            error = sqlite3.OperationalError("attempt to write a readonly database")
            error.sqlite_errorcode = sqlite3.SQLITE_READONLY
            raise error
        if self.may_wal and not self.wal:
            patiently(self._switch_to_wal, BUSY_SECONDS)

    def _switch_to_wal(self, timeout: float) -> None:
        try:
            with closing(self.connect(timeout=timeout)) as connection:
                (mode,) = connection.execute("pragma journal_mode = wal").fetchone()
        except sqlite3.OperationalError as error:
            if is_held(error):
                raise
            mode = "delete"
        self.wal = self.may_wal = mode == "wal"  # refused by a file system without shared memory


@cache
def _opened() -> dict[str, Database]:
    """The sqlite files that this process has opened, by their paths, for SQLAlchemy's engines."""
    return {}


def open_database(uri: str) -> Database | None:
    """Find out how the sqlite file of a URI can be used, and make SQLAlchemy's engines use it so.

    A new file, and an older one that nobody uses at the moment, is switched to WAL mode.

    Returns:
        None for any other URI.

    Raises:
        sqlite3.Error: It can't be read, or is no database.
    """
    if (path := sqlite_path(uri)) is None:
        return None
    database = _readable(path) or _writable(path)
    _tune_engines()
    _opened()[os.path.abspath(path)] = database
    return database


def _writable(path: Path) -> Database:
    database = Database(path)
    with closing(database.connect(timeout=CONNECT_SECONDS)) as connection:
        patiently(connection.execute, "pragma schema_version")
        (mode,) = connection.execute("pragma journal_mode").fetchone()
    database.wal = mode == "wal"
    network = network_file_system(path.parent)
    database.may_wal = network is None
    if network and database.wal:
        log.warning(
            "%s is in WAL mode on %s, where only one machine at a time may use it. Where "
            "several do, first run: sqlite3 '%s' 'pragma journal_mode = delete'",
            path,
            network,
            path,
        )
    if database.may_wal and not database.wal:
        with suppress(sqlite3.OperationalError):  # held: who only reads needs not wait
            database._switch_to_wal(timeout=0)
    return database


def _readable(path: Path) -> Database | None:
    """A database that can only be read; None where it may be written, or made."""
    if not path.exists() or (_may_write(path.parent) and _takes_writes(path)):
        return None
    for access in ("ro", "immutable"):
        try:
            database = Database(path, access)
            with closing(database.connect(timeout=CONNECT_SECONDS)) as connection:
                patiently(connection.execute, "pragma schema_version")
            break
        except sqlite3.OperationalError:
            # a transaction that was left in the middle must be played back, which takes a writer
            if access == "immutable" or _size(f"{path}-journal"):
                raise
    if access == "immutable" and _size(f"{path}-wal"):
        log.warning(
            "%s can't be written, and what was logged last, in %s-wal, is left out. Open "
            "it once where it can be written, to see all of it.",
            path,
            path.name,
        )
    return database


def _takes_writes(path: Path) -> bool:
    with closing(sqlite3.connect(path, timeout=0)) as connection:
        try:
            connection.execute("begin immediate")
        except sqlite3.OperationalError as error:
            return is_held(error)  # by another process: it can be written, but not now
        connection.rollback()
    return True


def _may_write(folder: Path) -> bool:
    return os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _size(path: str | Path) -> int:
    return os.path.getsize(path) if os.path.exists(path) else 0


@cache
def _tune_engines() -> None:
    """Let all engines of this process connect to an opened file as it was found to work.

    MLflow makes engines of its own, and begins each session with a busy timeout of 20 s.
    SQLAlchemy's events of all engines are the public way to both.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    @event.listens_for(Engine, "do_connect")
    def connect(dialect: Any, record: Any, arguments: list, settings: dict) -> Any:
        database = _opened().get(arguments[0]) if dialect.name == "sqlite" and arguments else None
        return None if database is None else database.connect(**settings)  # None: as by default

    @event.listens_for(Engine, "before_cursor_execute", retval=True)
    def set_timeout(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> Any:
        file = connection.engine.url.database or ""
        if statement.startswith("PRAGMA busy_timeout") and os.path.abspath(file) in _opened():
            statement = f"PRAGMA busy_timeout = {1000 * BUSY_SECONDS:.0f}"
        return statement, parameters


# --- patience ---


def patiently(call: Callable[..., T], *arguments: Any, **settings: Any) -> T:
    """What a call returns that is repeated, for HELD_SECONDS, while another process holds its file.

    The call must be one transaction, of which a failure leaves nothing, or such that it may be
    repeated. Those of MLflow and Optuna are.
    """
    end, pause, warned = time.monotonic() + HELD_SECONDS, 0.05, False
    while True:
        try:
            return call(*arguments, **settings)
        except Exception as error:
            if not is_held(error) or time.monotonic() > end:
                raise
        if not warned:
            log.warning("Another process holds a database of the store; waiting for it.")
            warned = True
        time.sleep(random.uniform(0.5, 1) * pause)  # two that wait shall not meet again
        pause = min(2 * pause, 2)


def with_patience(target: T) -> T:
    """The same object, each of whose public methods is now called `patiently`."""
    for name, _ in inspect.getmembers(type(target), inspect.isfunction):
        if not name.startswith("_"):
            setattr(target, name, partial(patiently, getattr(target, name)))
    return target


def is_held(error: BaseException) -> bool:
    """Whether another connection to a sqlite file was in the way."""
    return sqlite_code(error) in HELD


def held_words(path: Path) -> str:
    """The rest of the sentence where another process held a file for too long."""
    return (
        f"another process has held it for more than {HELD_SECONDS:g} s (database is locked). "
        f"Wait for {_holders(path) or 'that process'} or end it (`fuser {path}` names it), then "
        "run the same command again."
    )


def _holders(path: Path) -> str:
    """The processes that hold a lock on a sqlite file, in words; empty where that is not known."""
    import psutil

    try:
        table = Path("/proc/locks").read_text(encoding="ascii")
    except OSError:  # no Linux
        return ""
    files = {str(Path(f"{path}{end}").stat().st_ino) for end in SUFFIXES if _size(f"{path}{end}")}
    # as `1: POSIX ADVISORY WRITE 4711 08:01:131 120 120` (man 5 proc)
    locks = [line.split() for line in table.splitlines() if "->" not in line]
    held = [words for words in locks if words[5].rpartition(":")[2] in files]
    writers = [words[4] for words in held if words[3] == "WRITE"]
    pids = dict.fromkeys(int(pid) for pid in writers or [words[4] for words in held])
    named = []
    for pid in pids:
        if pid <= 0 or pid == os.getpid():  # of another container
            continue
        with suppress(psutil.Error):
            command = " ".join(psutil.Process(pid).cmdline())
            named.append(f"the process {pid} ({mask(shortened(command))})")
    return " and ".join(named)


# --- file systems ---


def network_file_system(folder: Path) -> str | None:
    """The type of the network file system that a folder lies on; None on a disk of this machine."""
    kind = file_system(folder, _mounts())
    return kind if kind.startswith(("fuse.", "macfuse")) or kind in NETWORK_FILE_SYSTEMS else None


def file_system(folder: Path, mounts: list[tuple[str, str]]) -> str:
    """The type of the file system of a folder, empty where it is unknown.

    Args:
        mounts: Mount point and type of each; the last one of a mount point hides those before it.
    """
    place = folder.resolve()
    longest, nearest = -1, ""
    for point, kind in mounts:
        if place.is_relative_to(point) and len(point) >= longest:
            longest, nearest = len(point), kind.lower()
    return nearest


def _mounts() -> list[tuple[str, str]]:
    try:
        if sys.platform == "darwin":
            mount = subprocess.run(["/sbin/mount"], capture_output=True, text=True, timeout=5)
            return _mounts_of_mac(mount.stdout)
        table = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
        return _mounts_of_linux(table)
    except (OSError, subprocess.SubprocessError):
        return []


def _mounts_of_linux(table: str) -> list[tuple[str, str]]:
    """The mounts in lines as `36 35 98:0 / /mnt\\040a rw - nfs4 host:/ rw` (man 5 proc)."""
    mounts = []
    for line in table.splitlines():
        before, _, after = line.partition(" - ")
        point = before.split(" ")[4]
        for octal, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
            point = point.replace(octal, character)
        mounts.append((point, after.split(" ")[0]))
    return mounts


def _mounts_of_mac(table: str) -> list[tuple[str, str]]:
    """The mounts in lines as `//anna@host/share on /Volumes/a (smbfs, nodev)`."""
    mounts = []
    for line in table.splitlines():
        before, _, after = line.rpartition(" (")
        mounts.append((before.partition(" on ")[2], after.split(",")[0].rstrip(")")))
    return mounts
