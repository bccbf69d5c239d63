"""Trials at once in processes of this machine: each takes the next slot when it is done with one, without batches."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.process import BaseProcess
from typing import Any

from recsweep.errors import RecsweepError, StudyError
from recsweep.tuning.sweep import Job, Sweep, Tools, work

TELL_SECONDS = 0.5
"""How often the parent looks what its workers have finished."""

END_SECONDS = 30
"""How long a worker may take to end its run after Ctrl-C."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def work_in_processes(sweep: Sweep, job: Job, tools: Tools, tell: Callable[[], None]) -> None:
    """Let n_jobs worker processes train until nothing is open, and start another one where one was killed.

    Raises:
        StudyError: A worker ended the study, in its words.
    """
    context = multiprocessing.get_context("spawn")
    said = context.SimpleQueue()

    def start() -> BaseProcess:
        arguments = (sweep.options, job, tools, sweep.parent_run, sweep.deadline, said)
        worker = context.Process(target=_worker, args=arguments)
        with _share_of_cores(sweep.options.n_jobs):
            worker.start()
        return worker

    workers: list[BaseProcess] = []
    try:
        workers += [start() for _ in range(sweep.options.n_jobs)]
        while workers:
            multiprocessing.connection.wait([worker.sentinel for worker in workers], timeout=TELL_SECONDS)
            tell()
            for worker in [worker for worker in workers if not worker.is_alive()]:
                workers.remove(worker)
                if not said.empty():
                    raise StudyError(said.get())
                if worker.exitcode and not sweep.study.settle():
                    raise StudyError(f"A worker process ended with status {worker.exitcode} while it held no trial.")
                if worker.exitcode:  # each death uses up a retry of the trial it held: so this comes to an end
                    workers.append(start())
    finally:
        _end(workers)
    tell()


def _end(workers: list[BaseProcess]) -> None:
    for worker in workers:
        worker.terminate()
    for worker in workers:
        worker.join(END_SECONDS)
        if worker.is_alive():
            worker.kill()
            worker.join()


@contextmanager
def _share_of_cores(n_jobs: int) -> Iterator[None]:
    """Set for a process to be started, which reads them before its first import."""
    share = str(max(1, (os.cpu_count() or 1) // n_jobs))
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update({name: value or share for name, value in before.items()})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]


def _worker(options: Any, job: Job, tools: Tools, parent_run: str, deadline: float | None, said: Any) -> None:
    """The life of a worker process."""
    from hydra.core.utils import setup_globals

    from recsweep.processes import terminate_as_interrupt

    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent ends its workers
    setup_globals()
    sweep = None
    try:
        with terminate_as_interrupt():
            # what the parent has done is not done again
            sweep = Sweep.open(replace(options, retry_failed=False, allow_changes=False), job, tools)
            sweep.parent_run, sweep.deadline = parent_run, deadline
            work(sweep, tools.execute)
    except RecsweepError as error:
        said.put(str(error))
    except KeyboardInterrupt:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if sweep is not None:
            sweep.release_own()


def _end_with_parent() -> None:
    """Where the parent was killed nobody would tell what is found, or could end this process."""
    multiprocessing.parent_process().join()
    os.kill(os.getpid(), signal.SIGTERM)
