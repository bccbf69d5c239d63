"""A PostgreSQL server of the tests' own: Debian's programs, a free port, a folder for a while."""

import importlib.util
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from shutil import which


class PostgreSQL:
    """A server on 127.0.0.1 and on a socket, that trusts whoever asks as `postgres`.

    Attributes:
        port: The port of 127.0.0.1 that it listens to; the same after a restart.
        driver: The driver of SQLAlchemy's URLs.
    """

    def __init__(self) -> None:
        self._programs = programs()
        self.driver = _driver()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        # a socket's path may only be short
        self.folder = Path(tempfile.mkdtemp(prefix="recsweep-pg-"))
        self._user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
        if self._user is not None:
            shutil.chown(self.folder, self._user)
        self._numbers = itertools.count()
        data = f"{self.folder}/data"
        self.run("initdb", "-D", data, "-A", "trust", "-U", "postgres", "--no-sync")
        self.start()

    def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs to its end."""
        subprocess.run(
            [self._programs / program, *arguments],
            check=True,
            stdout=subprocess.DEVNULL,  # a pipe would be held open by the server
            timeout=120,
            user=self._user,
            cwd=self.folder,
        )

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = (
            f"-k {self.folder} -p {self.port} -c listen_addresses=127.0.0.1 -c fsync=off "
            "-c max_connections=200"
        )
        log, data = f"{self.folder}/log", f"{self.folder}/data"
        self.run("pg_ctl", "-D", data, "-o", options, "-l", log, "-w", "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop it.

        Args:
            mode: `immediate` as a crash would, `fast` as an administrator does.
        """
        self.run("pg_ctl", "-D", f"{self.folder}/data", "-m", mode, "-w", "stop")

    def new_database(self) -> str:
        """The URL of a new, empty database, by its port."""
        name = f"db{next(self._numbers)}"
        self.run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", name)
        return f"postgresql+{self.driver}://postgres@127.0.0.1:{self.port}/{name}"

    def remove(self) -> None:
        """Stop it for good."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def programs() -> Path | None:
    """The folder of PostgreSQL's programs; None where it is not installed."""
    initdb = which("initdb")
    folders = [
        *Path("/usr/lib/postgresql").glob("*/bin"),
        *([Path(initdb).parent] if initdb else []),
    ]
    return next(iter(folders), None)


def _driver() -> str | None:
    names = ("psycopg2", "psycopg")
    return next((name for name in names if importlib.util.find_spec(name)), None)


def reason_for_none() -> str | None:
    """Why no server can be had here; None where it can."""
    if programs() is None:
        return "no PostgreSQL server (apt install postgresql)"
    return None if _driver() else "no driver for PostgreSQL (psycopg)"
