"""Processes: which one works on a trial and whether it still lives, and the signals that end
one."""

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsweep.errors import ConfigError

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

END_SECONDS = 30
"""How long a worker may take to end its run after Ctrl-C."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def cores() -> int:
    """The number of cores that this process may use: $RECSWEEP_CORES, else those that it is bound
    to, else all.

    Raises:
        ConfigError: $RECSWEEP_CORES is no number of cores.
    """
    asked = os.environ.get("RECSWEEP_CORES")
    if asked:
        if not asked.isdecimal() or int(asked) < 1:
            raise ConfigError(
                f"RECSWEEP_CORES must be a whole number of at least 1, not {asked!r}. Set it to "
                "the number of cores that studies may take, or unset it to take all."
            )
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads() -> int:
    """The number of threads that this process may compute in: $OMP_NUM_THREADS, which workers are
    started with, and at most one for each of its cores."""
    asked = os.environ.get(THREAD_VARIABLES[0], "").partition(",")[0]
    return min(cores(), int(asked)) if asked.isdecimal() and int(asked) else cores()


@contextmanager
def threads_for(number: int) -> Iterator[ThreadPoolExecutor | None]:
    """So many threads to compute in, in each of which torch takes one; None where it is but one:
    then nothing is gained by another.

    Two levels of threads would take each other's cores.
    """
    if number == 1:
        yield None
        return
    # where nothing has imported it, nothing computes by it
    torch = sys.modules.get("torch")
    before = None if torch is None else torch.get_num_threads()
    take_one = None if torch is None else partial(torch.set_num_threads, 1)
    pool = ThreadPoolExecutor(number, "recsweep", take_one)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)  # after an error, or Ctrl-C, nothing else begins
        if torch is not None:
            torch.set_num_threads(before)


@dataclass(frozen=True)
class Worker:
    """A process, so that another one can tell for certain whether it has died.

    Attributes:
        host: The machine's name.
        space: Scope in which the pid means something: this start of this machine, and the
            container's own processes.
        pid: Its number there, which the system gives to another process some day.
        started: Time of its start, so that such another one is told apart.
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
    def of(cls, stored: Mapping[str, Any]) -> "Worker":
        """The process that is stored so, with whatever else is stored beside it."""
        return cls(**{each.name: stored[each.name] for each in fields(cls)})

    def stored(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def read(cls, text: str) -> "Worker":
        return cls.of(json.loads(text))

    @property
    def text(self) -> str:
        """The process in one line, which `read` takes."""
        return json.dumps(self.stored(), sort_keys=True)

    @property
    def alive(self) -> bool | None:
        """Whether it lives; None where only heartbeats can tell, because it runs elsewhere."""
        if self in _dead:
            return False
        if (self.host, self.space) != (socket.gethostname(), _pid_space()):
            return None
        if not self.space and self.started[:1].isalpha():  # of an earlier version, without /proc
            return None
        return _birth(self.pid) == self.started


_dead: set[Worker] = set()


def note_death(worker: Worker) -> None:
    """Let a process count as dead, wherever it ran: whoever placed it there has seen its end."""
    _dead.add(worker)


@cache
def _pid_space() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # no Linux: the host's name must do
        return ""


def _birth(pid: int) -> str | None:
    """The time when a process was started; None where it runs no more, as a zombie does not.

    On Linux it is in clock ticks since the machine's start, which no correction of its clock moves.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return None
        if not psutil.LINUX:
            return str(process.create_time())
        boot = psutil.boot_time()
        while True:  # both are told by the clock: they go together where it wasn't set in between
            since, before = psutil.Process(pid).create_time() - boot, boot
            if (boot := psutil.boot_time()) == before:
                return str(round(since * os.sysconf("SC_CLK_TCK")))
    except psutil.NoSuchProcess:
        return None


def live_as_worker() -> None:
    """Let this process end with the one that started it, and by that one alone.

    Ctrl-C in a terminal reaches both: the parent ends its workers. Where it was killed, nobody
    would tell what is found, or could end this process.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def threads_of_children(number: int) -> Iterator[None]:
    """Set the threads of processes to be started, which read them before their first import; what
    the user has set stays."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update({name: value or str(number) for name, value in before.items()})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]


def end_processes(processes: "Sequence[BaseProcess]") -> None:
    """End processes as Ctrl-C does, and those that take longer than END_SECONDS at once."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(END_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()
