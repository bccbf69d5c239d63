"""A server of another project as a process of a command: started, awaited, and ended with it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep

from recsweep.errors import TrackingError
from recsweep.terminal import tell

START_SECONDS = 120
"""How long it may take until it answers: MLflow makes its tables at the first start."""

STOP_SECONDS = 10
"""How long requests under way may take at the end."""


def conduct_server(
    name: str,
    words: Sequence[str],
    environment: Mapping[str, str],
    *,
    folder: Path,
    address: str,
    ready: Callable[[], None],
) -> None:
    """Run a module of Python until a signal asks for the end. What it says goes into `server.log`.

    Args:
        name: Name of the server, as `MLflow server`.
        words: The module and its arguments, which everybody on the machine can see.
        folder: Where it runs, and its log lies.
        address: Where it answers.
        ready: Called as soon as it does.

    Raises:
        TrackingError: It ends by itself, or does not answer.
    """
    log = folder / "server.log"
    with os.fdopen(private_file(log), "wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            umask=0o077,  # artifacts too are for this user alone
            start_new_session=True,  # Ctrl-C is for this process, which ends the other
        )
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _stop)
        _await(process, name, address, log)
        ready()
        while (status := process.poll()) is None:
            sleep(0.2)  # a signal that another thread takes wakes nobody who waits for a process
        raise TrackingError(_death(name, status, log))
    except _StopError:
        _ignore_signals()
        tell(f"The {name} ends.")
    finally:
        _end(process)


class _StopError(BaseException):
    """A signal asks for the end."""


def _stop(number: int, frame: object) -> None:
    raise _StopError


def _ignore_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _await(process: subprocess.Popen, name: str, address: str, log: Path) -> None:
    """Wait until it answers."""
    from recsweep.tracking import is_up

    end = monotonic() + START_SECONDS
    while not is_up(address):
        if process.poll() is not None:
            raise TrackingError(_death(name, process.returncode, log))
        if monotonic() > end:
            raise TrackingError(
                f"The {name} does not answer after {START_SECONDS} s. Look into {log}."
            )
        sleep(0.2)


def _death(name: str, status: int, log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
    return f"The {name} ended with status {status}: {last[:300]}. Its log is {log}."


def _end(process: subprocess.Popen) -> None:
    """Let it answer what it is at, and end."""
    _ignore_signals()
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def private_file(path: Path) -> int:
    """A new or emptied file, open, that only this user can read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.fchmod(descriptor, 0o600)  # also where it was there
    return descriptor
