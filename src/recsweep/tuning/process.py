"""Which process works on a trial, and whether it still lives."""

import os
import socket
import subprocess
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
