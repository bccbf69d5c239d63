"""Trials at once in processes of this machine: each takes the next slot when it is done with one,
without batches."""

import multiprocessing.connection
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.process import BaseProcess
from multiprocessing.queues import SimpleQueue

from recsweep.errors import RecsweepError, StudyError
from recsweep.processes import cores
from recsweep.tuning.options import StudyOptions
from recsweep.tuning.storage import storage_url, wait_for
from recsweep.tuning.sweep import Job, Sweep, work
from recsweep.workers import end_workers, new_queue, start_worker

TELL_SECONDS = 0.5
"""Time between two looks of the parent at what its workers have finished."""


def work_in_processes(sweep: Sweep, number: int, tell: Callable[[], None]) -> None:
    """Let so many worker processes train until nothing is open, and start another one where one was
    killed.

    Raises:
        StudyError: A worker ended the study, in its words.
    """
    reasons = new_queue()

    workers: list[BaseProcess] = []
    started: list[BaseProcess] = []

    def start() -> None:
        arguments = (sweep.options, sweep.job, sweep.parent_run, sweep.deadline, reasons)
        started.append(start_worker(_worker, *arguments, threads=max(1, cores() // number)))
        workers.append(started[-1])

    try:
        for _ in range(number):
            start()
        while workers:
            sentinels = [worker.sentinel for worker in workers]
            multiprocessing.connection.wait(sentinels, timeout=TELL_SECONDS)
            tell()
            for worker in [worker for worker in workers if not worker.is_alive()]:
                workers.remove(worker)
                if not reasons.empty():
                    raise StudyError(reasons.get())
                if worker.exitcode:
                    sweep.study.settle()
                if worker.exitcode and not sweep.study.has_held(worker.pid or 0):
                    raise StudyError(
                        f"A worker process ended with status {worker.exitcode} while it held no "
                        "trial."
                    )
                if worker.exitcode:  # each death uses up a retry of its trial: this comes to an end
                    start()
    finally:
        end_workers(started)
    tell()


def _worker(
    options: StudyOptions,
    job: Job,
    parent_run: str | None,
    deadline: float | None,
    reasons: SimpleQueue[str],
) -> None:
    """Work on the study in a process of its own.

    Args:
        reasons: Takes what the study ends of, in words.
    """
    try:
        work_as_one_of_several(options, job, parent_run, deadline)
    except RecsweepError as error:
        reasons.put(str(error))


def work_as_one_of_several(
    options: StudyOptions,
    job: Job,
    parent_run: str | None,
    deadline: float | None,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Join the study that another process has opened, and work on it to its end.

    Args:
        check: Called between trials; what it raises ends the work.
    """
    from hydra.core.utils import setup_globals

    setup_globals()
    wait_for(storage_url(options.storage), options.patience)
    # what the parent has done is not done again
    sweep = Sweep.open(replace(options, retry_failed=False, allow_changes=False), job)
    sweep.parent_run, sweep.deadline = parent_run, deadline
    work(sweep, after_trial=check, while_waiting=check)
