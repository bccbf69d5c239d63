"""Worker processes of this machine: forked from a server that has imported what they need, and
handed what there is to do."""

import multiprocessing
import multiprocessing.connection
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.queues import SimpleQueue
from threading import Thread
from typing import Any, Literal, TypeVar

from recsweep.interrupts import terminate_as_interrupt
from recsweep.logs import ONCE_MARK, log_to_stderr
from recsweep.memory import available_bytes
from recsweep.processes import (
    THREAD_VARIABLES,
    cores,
    end_processes,
    live_as_worker,
    threads_of_children,
)

Task = TypeVar("Task")
Result = TypeVar("Result")

LAST_WORDS_SECONDS = 2
"""How long the end of a worker waits for what it has said to be shown."""

WORKER_BYTES = 1_500_000_000
"""Memory that a worker is taken to need: 0.6 GB of libraries, and its data and its net."""


def warm_up(*, nets: bool = True) -> None:
    """Let the server of workers begin with its imports, beside what this process goes on with:
    called as soon as it is clear that there will be workers.

    Args:
        nets: Whether they train nets. One server serves this process to its end: a worker that
            trains a net, where it was begun without, imports torch by itself.
    """
    if _method() == "forkserver":
        from multiprocessing import forkserver

        preloaded = "recsweep.preloaded_nets" if nets else "recsweep.preloaded"
        multiprocessing.set_forkserver_preload([preloaded])
        with threads_of_children(1):
            forkserver.ensure_running()


def _method() -> Literal["forkserver", "spawn"]:
    """How a process is started: anew where libraries of the system don't bear a fork."""
    return "forkserver" if sys.platform == "linux" else "spawn"


def new_queue() -> SimpleQueue[str]:
    """A queue that workers can be given."""
    return multiprocessing.get_context(_method()).SimpleQueue()


def start_worker(work: Callable[..., None], *arguments: Any, threads: int) -> BaseProcess:
    """A process that lives as a worker of this one: it ends with it, takes no Ctrl-C, and a
    terminating signal ends what it does as cleanly as Ctrl-C would.

    Args:
        work: A function of a module.
        threads: Threads that torch and the libraries of numpy take there, unless the user has set
            one of the variables for them.
    """
    warm_up()
    heard, said = multiprocessing.Pipe(duplex=False)
    with threads_of_children(threads):
        environment = dict(os.environ)
        context: Any = multiprocessing.get_context(_method())
        worker: BaseProcess = context.Process(
            target=_live, args=(environment, said, work, arguments)
        )
        worker.start()
    said.close()
    _listeners[worker] = Thread(target=_show, args=(heard,), daemon=True)
    _listeners[worker].start()
    return worker


def end_workers(workers: Sequence[BaseProcess]) -> None:
    """End workers, and show the last of what they have said."""
    end_processes(workers)
    for worker in workers:
        if (listener := _listeners.pop(worker, None)) is not None:
            listener.join(LAST_WORDS_SECONDS)


_listeners: dict[BaseProcess, Thread] = {}
"""Who shows what a worker says."""

_said_once: set[str] = set()
"""Lines on the data that a worker has said for all, once a process as the data are kept."""


def _show(heard: Connection) -> None:
    """Write what a worker says to stderr line by line: above a bar, where this process shows one,
    and what all of them find for themselves once."""
    with heard, open(heard.fileno(), encoding="utf-8", errors="replace", closefd=False) as lines:
        for line in lines:
            text = line.removeprefix(ONCE_MARK)
            if text != line:
                if text in _said_once:
                    continue
                _said_once.add(text)
            sys.stderr.write(text)
            sys.stderr.flush()


def _live(
    environment: dict[str, str],
    said: Connection,
    work: Callable[..., None],
    arguments: Sequence[Any],
) -> None:
    live_as_worker()
    os.dup2(said.fileno(), 2)  # whatever says it, a library of C's too
    said.close()
    os.environ.clear()  # of the server, which is older than what has been set since
    os.environ.update(environment)
    _set_threads()
    log_to_stderr(as_worker=True)
    with suppress(KeyboardInterrupt), terminate_as_interrupt():
        work(*arguments)


def _set_threads() -> None:
    """Take the number of threads that the variables name in libraries that were imported before."""
    asked = os.environ[THREAD_VARIABLES[0]]
    if asked.isdecimal() and "torch" in sys.modules:
        import torch
        from threadpoolctl import threadpool_limits

        torch.set_num_threads(int(asked))
        threadpool_limits(int(asked))


@dataclass(frozen=True)
class Died:
    """Stands for the result of what a worker was doing when it was killed.

    Attributes:
        status: The exit status of its process.
    """

    status: int | None

    @property
    def words(self) -> str:
        return f"its process ended with status {self.status}"


def num_workers(tasks: int) -> int:
    """How many processes work on so many tasks: one for each core, where the memory holds them."""
    return max(1, min(tasks, cores(), available_bytes() // WORKER_BYTES))


def in_workers(
    work: Callable[[Task], Result], pieces: Sequence[Sequence[Task]], workers: int
) -> Iterator[tuple[Task, Result | Died]]:
    """Do tasks in worker processes of one thread each, and yield each with its result as soon as
    that is known.

    Args:
        work: Does one task; a function of a module, or a partial of one, that raises nothing.
        pieces: Tasks that one process does one after another, the first piece first. Of a process
            that is killed its task becomes `Died`, and the rest of its piece is handed out again.
        workers: Number of processes at a time, each of which takes the next piece when it is done
            with one.
    """
    waiting = [list(piece) for piece in pieces]
    processes: dict[Connection, BaseProcess] = {}
    left: dict[Connection, list[Task]] = {}

    def hand_out(connection: Connection) -> None:
        """Give a process its next piece; one for which there is none ends."""
        if not waiting:
            connection.close()
            del left[connection]
            return
        left[connection] = waiting.pop(0)
        with suppress(OSError):  # it was killed, which is seen where it answers
            connection.send(left[connection])

    try:
        while waiting or left:
            while waiting and len(left) < workers:
                connection, other = multiprocessing.Pipe()
                processes[connection] = start_worker(_do, work, other, threads=1)
                other.close()
                hand_out(connection)
            for ready in multiprocessing.connection.wait(list(left)):
                assert isinstance(ready, Connection)
                piece = left[ready]
                try:
                    result: Result | Died = ready.recv()
                except (EOFError, OSError):
                    del left[ready]
                    processes[ready].join()
                    result = Died(processes[ready].exitcode)
                    waiting[:0] = [piece[1:]] if piece[1:] else []
                    yield piece[0], result
                else:
                    yield piece.pop(0), result
                    if not piece:
                        hand_out(ready)
        for process in processes.values():
            process.join()
    finally:
        end_workers(list(processes.values()))


def _do(work: Callable[[Any], Any], orders: Connection) -> None:
    with suppress(EOFError):  # nothing more is wanted
        while True:
            for task in orders.recv():
                orders.send(work(task))
