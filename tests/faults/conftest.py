"""Commands as real processes, on homes that a test may break."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

TINY = (
    "data.num_users=60",
    "data.num_items=50",
    "data.density=0.15",
    "trainer.max_epochs=1",
    "trainer.threads=1",
)
"""Overrides with which a training takes a moment."""


@dataclass(frozen=True)
class Home:
    """A home folder, and `recsweep` commands on it, each a process group of its own.

    Attributes:
        folder: The home; it need not exist yet.
        environment: What each command's environment has beside or in place of the test's.
    """

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def start(self, *words: str, **environment: str) -> subprocess.Popen:
        """`recsweep` with these words, running."""
        return subprocess.Popen(
            [Path(sys.executable).with_name("recsweep"), *words],
            cwd=self.folder.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "RECSWEEP_HOME": str(self.folder),
                **self.environment,
                **environment,
            },
        )

    def run(
        self, *words: str, timeout: float = 120, **environment: str
    ) -> subprocess.CompletedProcess:
        """`recsweep` with these words, ended: killed, and TimeoutExpired, after so many seconds."""
        process = self.start(*words, **environment)
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            kill(process)
            raise
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def rows(self, query: str, *values: str, database: str = "mlflow.db") -> list[tuple]:
        """What a query of one of the home's databases finds, read beside everything else."""
        uri = f"{(self.folder / database).absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=30)) as connection:
            return connection.execute(query, values).fetchall()

    def statuses(self) -> dict[str, str]:
        """Id of each run that is not deleted -> its status."""
        return dict(self.rows("select run_uuid, status from runs where lifecycle_stage = 'active'"))


def kill(process: subprocess.Popen, number: int = signal.SIGKILL) -> None:
    """Send a signal to a command and to all that it has started, and wait for its end."""
    if process.poll() is None:
        os.killpg(process.pid, number)
    process.communicate(timeout=60)


@pytest.fixture
def new_home(tmp_path: Path) -> Callable[..., Home]:
    """new_home(**environment): a home that does not exist yet, another one each time."""
    made = []

    def new_home(**environment: str) -> Home:
        made.append(Home(tmp_path / f"work{len(made)}" / "home", environment))
        made[-1].folder.parent.mkdir()
        return made[-1]

    return new_home
