"""What lies behind an error of a disk, a database or a server: its real cause in words, and the
remedy for that one."""

import errno
import os
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

LONGEST = 300
"""Characters of a reason or a place that are shown."""


MLFLOW_STATUS = re.compile(r"failed with error code (\d{3})\b")
"""How MLflow's client says which status a server answered with."""

MLFLOW_CODES = {"UNAUTHENTICATED": 401, "CUSTOMER_UNAUTHORIZED": 401, "PERMISSION_DENIED": 403}
"""What MLflow's client makes of a refusal that a server has put into words -> its status."""

RUST_ERRNO = re.compile(r"\(os error (\d+)\)$")
"""How what is written in Rust, as safetensors, says the system's own number of an error."""


@dataclass(frozen=True)
class Cause:
    """Why something can't be used.

    Attributes:
        reason: The rest of a sentence, without its full stop.
        remedy: Sentence on what to do about it, without its full stop.
    """

    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.reason}. {self.remedy}."


FULL = Cause("the disk is full", "Free some of it")
NOT_ALLOWED = "Give this user the right to read and write it and its folder"

OF_SQLITE = {
    sqlite3.SQLITE_FULL: (FULL.reason, FULL.remedy),
    sqlite3.SQLITE_READONLY: ("it can't be written", "Make it and its folder writable"),
    sqlite3.SQLITE_PERM: ("access was denied", NOT_ALLOWED),
    sqlite3.SQLITE_AUTH: ("access was denied", NOT_ALLOWED),
    sqlite3.SQLITE_CANTOPEN: (
        "it can't be opened",
        "Make sure that it is a file, that its folder exists, and that this user may read and "
        "write both",
    ),
    sqlite3.SQLITE_CORRUPT: ("the file is damaged", "Bring back a backup of it"),
    sqlite3.SQLITE_NOTADB: ("it is no sqlite file", "Move it away, or bring back a backup"),
    sqlite3.SQLITE_IOERR: (
        "the disk could not be read or written",
        "Look for the limit on the size of files (ulimit -f), a quota or a fault of the disk",
    ),
    sqlite3.SQLITE_NOMEM: ("there is not enough memory", "End other programs"),
}
"""Primary result code -> what it says, before SQLite's own words, and the remedy."""

OF_SYSTEM = {
    errno.ENOSPC: FULL,
    errno.EDQUOT: Cause("the disk quota is used up", "Free some of it"),
    errno.EFBIG: Cause(
        "a file would be larger than it may be", "Raise the limit on the size of files (ulimit -f)"
    ),
    errno.EROFS: Cause("the disk is mounted read-only", "Mount it so that it can be written"),
    errno.EACCES: Cause("permission denied", NOT_ALLOWED),
    errno.EPERM: Cause("permission denied", NOT_ALLOWED),
    errno.ENAMETOOLONG: Cause("its path is longer than the system allows", "Choose a shorter one"),
    errno.EIO: Cause("the disk could not be read or written", "Look for a fault of the disk"),
    errno.EMFILE: Cause(
        "this process has too many files open", "Raise the limit on them (ulimit -n)"
    ),
    errno.ENOENT: Cause("a file or folder is missing", "Bring it back"),
    errno.ENOTDIR: Cause("what should be a folder is a file", "Move that file away"),
    errno.EEXIST: Cause("what should be a folder is a file", "Move that file away"),
    errno.ECONNREFUSED: Cause("nothing listens there (Connection refused)", "Start the server"),
}
"""What the system's own number of an error says. One of a file names it besides."""


def cause_of(error: BaseException) -> Cause:
    """The real cause of an error, which libraries may have wrapped."""
    chain = list(_chain(error))
    for inner in chain:
        if (code := getattr(inner, "sqlite_errorcode", None)) is not None:
            return _of_sqlite(code & 0xFF, _first_line(inner))  # the rest of it are details
        if (status := _status(inner)) is not None:
            return _of_server(status, _first_line(inner))
    for inner in chain:
        if (lock := getattr(inner, "lock_file", None)) is not None:  # of filelock
            return Cause(
                f"another process is opening it, and holds {lock} (`fuser {lock}` names it)",
                "Try again when that one has ended",
            )
    if any(type(inner).__module__.startswith(("requests", "urllib3")) for inner in chain):
        return _of_connection(chain)
    for inner in chain:
        if (number := _errno(inner)) in OF_SYSTEM:
            known, filename = OF_SYSTEM[number], getattr(inner, "filename", None)
            named = "" if filename is None else f" ({os.fspath(filename)!s})"
            words = os.strerror(number)
            said = "" if words.lower() in known.reason.lower() else f": {words}"
            return Cause(shortened(f"{known.reason}{said}{named}"), known.remedy)
    for inner in reversed(chain):
        if type(inner).__module__.partition(".")[0] in DRIVERS:
            remedies = (remedy for words, remedy in REFUSING.items() if words in str(inner))
            return Cause(_first_line(inner), next(remedies, "Make it reachable and writable"))
    if any(isinstance(inner, ImportError) for inner in chain):
        remedy = "Install the package that is missing"
        if any(driver in str(inner) for inner in chain for driver in DRIVERS):
            remedy = "Install the driver: pip install 'recsweep[postgres]'"
        return Cause(_first_line(error), remedy)
    return Cause(_first_line(error), "Make it reachable and writable")


def _errno(error: BaseException) -> int:
    """The system's number of an error; 0 where it has none."""
    if isinstance(error, OSError):
        return error.errno or 0
    said = RUST_ERRNO.search(_first_line(error))
    return 0 if said is None else int(said[1])


def shortened(text: str) -> str:
    """A text that is not longer than a few lines."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def sqlite_code(error: BaseException | None) -> int | None:
    """SQLite's primary result code among the causes of an error: MLflow and SQLAlchemy wrap it."""
    codes = (getattr(inner, "sqlite_errorcode", None) for inner in _chain(error))
    code = next((code for code in codes if code is not None), None)
    return None if code is None else code & 0xFF


AWAY = ("08", "57P01", "57P02", "57P03", "53300", "40001", "40P01")
"""Beginnings of SQLSTATEs by which PostgreSQL says that it is shut down or not yet up, that a
connection is lost, or that the transaction has to be repeated (its manual, appendix A)."""

DRIVERS = ("psycopg", "psycopg2")
"""Modules of PostgreSQL's drivers."""

REFUSING = {
    "authentication failed": "Set PGPASSWORD to its password, or write that into ~/.pgpass",
    "no password": "Set PGPASSWORD to its password, or write that into ~/.pgpass",
    "does not exist": "Make it on the server: createuser, createdb",
    "no pg_hba.conf entry": "Let its administrator add this machine to pg_hba.conf",
}
"""What PostgreSQL says to somebody who may not come in, whenever he comes, and what helps."""


def is_away(error: BaseException) -> bool:
    """Whether a database server was away, or has given a transaction up, so that it may be
    repeated."""
    for inner in _chain(error):
        state = getattr(inner, "sqlstate", None) or getattr(inner, "pgcode", None)
        if state is not None:
            return str(state).startswith(AWAY)
        if getattr(inner, "connection_invalidated", False):
            return True
        is_driver = type(inner).__module__.partition(".")[0] in DRIVERS
        # at a connect it has no SQLSTATE
        if is_driver and type(inner).__name__ in ("OperationalError", "ConnectionTimeout"):
            return not any(words in str(inner) for words in REFUSING)
    return False


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _first_line(error: BaseException) -> str:
    words = str(getattr(error, "orig", None) or error).strip() or type(error).__name__
    return shortened(words.splitlines()[0].rstrip("."))


def _of_sqlite(code: int, words: str) -> Cause:
    if code in OF_SQLITE:
        reason, remedy = OF_SQLITE[code]
        return Cause(f"{reason} ({words})", remedy)
    if words.startswith("no such table"):
        return Cause(
            f"a table is missing ({words})", "It is no whole database: bring back a backup of it"
        )
    if words.startswith("duplicate column name") or words.endswith("already exists"):
        return Cause(
            f"its tables were left in the middle of a change ({words})",
            "Bring back the backup that was taken before that",
        )
    return Cause(words, "Make it reachable and writable")


def _status(error: BaseException) -> int | None:
    """The HTTP status that a server answered with, where that is what went wrong."""
    answer = getattr(error, "response", None)
    status = getattr(answer, "status_code", None)
    if status is None and (said := MLFLOW_STATUS.search(str(error))):
        status = int(said[1])
    if status is None:
        status = MLFLOW_CODES.get(str(getattr(error, "error_code", "")))
    return status if isinstance(status, int) and status >= 400 else None


def _of_server(status: int, words: str) -> Cause:
    name = os.environ.get("MLFLOW_TRACKING_USERNAME")
    if status == 401:
        given = "no name and password were given" if name is None else f"it does not take {name!r}"
        return Cause(
            f"the server asks for a user's name and password, and {given} (401)",
            "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, "
            "to what its administrator gave you",
        )
    if status == 403:
        who = "who asks" if name is None else f"the user {name!r}"
        return Cause(
            f"the server knows {who}, who lacks the permission for this (403)",
            "Ask its administrator for the permission, to write EDIT, or set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to another user's",
        )
    if status >= 500:
        return Cause(
            f"the server is in trouble ({words})", "Look into its log, and try again later"
        )
    return Cause(words, "Make sure that it is an MLflow server, and of a version that fits")


def _of_connection(chain: list[BaseException]) -> Cause:
    """Why no server answered: the innermost error says it in words."""
    refused = any(isinstance(inner, ConnectionRefusedError) for inner in chain)
    if refused or "Connection refused" in str(chain[0]):
        return OF_SYSTEM[errno.ECONNREFUSED]
    name = type(chain[0]).__name__
    if "Timeout" in name:
        return Cause("no server answers there in time", "Start it, or look at the network")
    return Cause(_first_line(chain[0]), "Start the server, or look at its address and the network")
