"""Processes: which one works on a trial and whether it still lives, and the signals that end one."""

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Worker:
    """A process, so that another one can tell for certain whether it has died.

    Attributes:
        host: The machine's name.
        space: Where the pid means something: this start of this machine, and the container's own processes.
        pid: Its number there, which the system gives to another process some day.
        started: When it started, so that such another one is told apart.
    """

    host: str
    space: str
    pid: int
    started: str

    @classmethod
    def here(cls) -> "Worker":
        """The running process."""
        return cls(socket.gethostname(), _pid_space(), os.getpid(), _birth(os.getpid()) or "")

    @classmethod
    def of(cls, stored: dict[str, Any]) -> "Worker":
        return cls(**stored)

    def stored(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def alive(self) -> bool | None:
        """None where only heartbeats can tell, because it runs elsewhere."""
        if (self.host, self.space) != (socket.gethostname(), _pid_space()):
            return None
        return _birth(self.pid) == self.started


@cache
def _pid_space() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # no Linux: the host's name must do
        return ""


def _birth(pid: int) -> str | None:
    """When a process was started; None where it runs no more."""
    if Path("/proc/self/stat").exists():
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        state, *rest = stat.rpartition(")")[2].split()  # the name before it may hold spaces and brackets
        return None if state in "ZX" else rest[18]  # a zombie has ended; rest[18] is starttime, in ticks since boot
    found = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, started = found.stdout.strip().partition(" ")
    return started.strip() if state and not state.startswith("Z") else None


@contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """SIGTERM ends runs as cleanly as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Let what must not be torn apart end first: Ctrl-C and SIGTERM count afterwards, a second one at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def note(number: int, frame: object) -> None:
        came.append(number)
        if len(came) > 1 and callable(before[number]):
            before[number](number, frame)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in came[:1]:
            signal.raise_signal(number)
