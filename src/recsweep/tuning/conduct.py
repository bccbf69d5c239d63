"""A whole study from the command to the leaderboard: the parent run, workers, signals, what is printed."""

import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace

from recsweep.errors import StudyError
from recsweep.tracking import terminate_as_interrupt
from recsweep.tuning.confirm import DEFAULT_SEEDS, confirmation_of, verdict_of
from recsweep.tuning.options import StudyOptions
from recsweep.tuning.progress import Progress, print_result, print_verdict
from recsweep.tuning.records import StudyRecord
from recsweep.tuning.sweep import Job, Sweep, Tools, work, work_in_batches


def conduct(options: StudyOptions, job: Job, tools: Tools) -> StudyRecord:
    """Create, join or resume a study, work on it until it is done or a budget is spent, and print its leaderboard.

    Raises:
        RecsweepError: What a user can mend; the study can be resumed by the same command.
        KeyboardInterrupt: Ctrl-C or a terminating signal, after all that ran was ended cleanly.
    """
    with terminate_as_interrupt():
        sweep, record = _conduct(options, job, tools)
        if options.confirm.get("top") and len(record.leaderboard) > 1 and not sweep.time_is_up:
            _confirm(sweep, record, job, tools)
        return record


def _conduct(options: StudyOptions, job: Job, tools: Tools, above: str | None = None) -> tuple[Sweep, StudyRecord]:
    """One study, to its end or to that of its budget."""
    sweep = Sweep.open(options, job, tools)
    study = sweep.study
    if study.notes().get("planned") != sweep.planned:
        study.note("planned", sweep.planned)
    if options.retry_failed:
        study.reopen_failed()
    study.settle()
    record = sweep.record()
    if study.notes().get("closed") == _closed(sweep, record) and not record.of_state("running"):
        if above is None:
            print_result(record)
        _check(sweep, record)
        return sweep, record
    sweep.check_failures(record)
    return sweep, _work(sweep, job, tools, above)


def _confirm(sweep: Sweep, record: StudyRecord, job: Job, tools: Tools) -> None:
    """Run the best again with other seeds, as a study under the study, and say what can't be told apart."""
    wanted = sweep.options.confirm
    confirmation = confirmation_of(record, top=wanted["top"], seeds=wanted.get("seeds", DEFAULT_SEEDS))
    options = replace(sweep.options, confirm={}, n_trials=None, max_epochs=None, retry_failed=False)
    _, confirmed = _conduct(options, replace(job, confirmation=confirmation), tools, record.parent_run)
    verdict = verdict_of(confirmation, confirmed)
    if verdict is None:
        print("Too few of the best finished with every seed: no winner can be confirmed.")
        return
    print_verdict(verdict)
    if sweep.study.notes().get("verdict") != verdict.words():
        from recsweep.tuning.publish import ParentRun

        parent = ParentRun(sweep.study, sweep.tracking_options())
        parent.confirm(record, verdict)
        parent.run.end("FINISHED")
        sweep.study.note("winner", verdict.winner.number)
        sweep.study.note("verdict", verdict.words())


def _closed(sweep: Sweep, record: StudyRecord) -> list:
    """What a study has when it is done: as long as it is the same, there is nothing to do."""
    return [len(record.trials), sweep.planned, sweep.options.max_epochs, sweep.options.retries]


def _work(sweep: Sweep, job: Job, tools: Tools, above: str | None) -> StudyRecord:
    from recsweep.tuning.publish import ParentRun

    study, options = sweep.study, sweep.options
    parent = ParentRun(study, sweep.tracking_options(), above)
    sweep.parent_run = parent.run.id
    if options.timeout is not None:
        sweep.deadline = time.time() + options.timeout
    try:
        parent.end_orphans()
        with Progress(sweep.record(), timeout=options.timeout) as progress:
            _train(sweep, job, tools, progress)
    except BaseException as error:
        _end_early(sweep, parent, error)
        raise
    parent.end_orphans()
    record = sweep.record()
    unfinished = f"the time of {options.timeout:g} s was up" if sweep.time_is_up else ""
    parent.end(record, "FINISHED", unfinished)
    if not sweep.time_is_up:
        study.note("closed", _closed(sweep, record))
    if above is None:
        print_result(record)
    if unfinished:
        print(f"{unfinished}: the same command goes on with the study.")
    _check(sweep, record)
    return record


def _train(sweep: Sweep, job: Job, tools: Tools, progress: Progress) -> None:
    def tell() -> None:
        record = sweep.record()
        progress.update(record)
        sweep.check_failures(record)

    if job.launch is not None:
        work_in_batches(sweep, job.launch, tell)
    elif sweep.options.n_jobs > 1:
        from recsweep.tuning.workers import work_in_processes

        work_in_processes(sweep, job, tools, tell)
    else:
        work(sweep, tools.execute, after_trial=tell, while_waiting=tell)


def _end_early(sweep: Sweep, parent: "ParentRun", error: BaseException) -> None:  # noqa: F821
    """Leave nothing RUNNING of this process, and say how to go on. Nothing may interrupt this any more."""
    interrupted = isinstance(error, KeyboardInterrupt | SystemExit)
    with _deaf():
        sweep.release_own()
        parent.end_orphans()
        record = sweep.record()
        if not record.of_state("running"):  # another process may go on with the study
            status = ("KILLED", "interrupted") if interrupted else ("FAILED", f"{type(error).__name__}: {error}")
            parent.end(record, *status)
    if interrupted:
        done = len(record.of_state("complete", "pruned", "failed"))
        print(f"interrupted: study {record.name} has {done} of {record.planned} trials. "
              f"The same command goes on with it.", file=sys.stderr)


class _deaf:  # noqa: N801 - reads as a word where it is used
    """Ignore Ctrl-C and SIGTERM for a moment."""

    def __enter__(self) -> None:
        self._before: dict[int, Callable | int | None] = {}
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[number] = signal.signal(number, signal.SIG_IGN)
            except ValueError:  # not the main thread, where no signal arrives
                return

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _check(sweep: Sweep, record: StudyRecord) -> None:
    sweep.check_failures(record)
    failures = sweep.failures(record)
    if failures and not record.of_state("complete", "pruned"):
        raise StudyError(f"None of the {len(failures)} trials of the study {record.name!r} finished. Trial "
                         f"{failures[-1].number}: {failures[-1].reason}. The same command with "
                         f"hydra.sweeper.retry_failed=true tries them again.")
