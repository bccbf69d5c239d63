"""A whole study from the command to the leaderboard: the parent run, workers, signals, what is
printed."""

import logging
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from recsweep.errors import StudyError, TrackingError
from recsweep.interrupts import signals_ignored, terminate_as_interrupt
from recsweep.terminal import tell
from recsweep.tracking import stop_waiting
from recsweep.tuning.conclusion import Conclusion, awaiting, confirmed, first_look, stored, within
from recsweep.tuning.confirm import Confirmation, confirmation_of, greatest_seed
from recsweep.tuning.live import Live
from recsweep.tuning.options import SecondLook, StudyOptions
from recsweep.tuning.progress import Progress, print_result
from recsweep.tuning.records import MissingPointsError, StudyRecord, again, missing_words
from recsweep.tuning.sweep import Job, Sweep, work
from recsweep.tuning.verdict import verdict_of
from recsweep.tuning.warming import asked_for, trains_nets
from recsweep.workers import warm_up

if TYPE_CHECKING:
    from recsweep.tuning.publish import ParentRun

log = logging.getLogger(__name__)


def conduct(options: StudyOptions, job: Job) -> StudyRecord:
    """Create, join or resume a study, work on it until it is done or a budget is spent, look again
    at its best where that is asked for, and print its leaderboard and winner.

    Raises:
        MissingPointsError: It came to its end with gaps, and says so.
        RecsweepError: What a user can mend; the study can be resumed by the same command.
        KeyboardInterrupt: Ctrl-C or a terminating signal, after all that ran was ended cleanly.
    """
    with terminate_as_interrupt(), _engine(options):
        sweep = Sweep.open(options, job)
        log.info("%s", sweep.words())
        record = _finish(sweep)
        conclusion = _conclude(sweep, record)
        print_result(record, conclusion)
        if record.is_used_up:
            tell(f"All {record.size} settings of the space are tried: the search ends.")
        if sweep.time_is_up:
            tell(f"{_time_is_up(options)}: the same command goes on with the study.")
        elif left := sweep.untried():
            tell(
                f"the budget of {options.max_epochs} epochs is spent, and {left} of "
                f"{record.planned} were not tried: the same command with a higher "
                "hydra.sweeper.max_epochs goes on with the study."
            )
        _check(sweep, record)
        for looked in (record, sweep.second_look):
            if looked is not None and looked.missing:
                words = missing_words(looked)
                raise MissingPointsError(
                    f"The study {looked.name!r} is not finished: {words}", record
                )
        return record


def _engine(options: StudyOptions) -> AbstractContextManager[None]:
    """What holds the engine as long as the study is worked on."""
    if options.engine != "ray":
        return nullcontext()
    from recsweep.tuning.ray_engine import left_at_the_end

    return left_at_the_end()


def _finish(sweep: Sweep, above: str | None = None) -> StudyRecord:
    """Work on a study to its end or to that of its budget.

    Args:
        above: Id of the run that the study's own stands under; None for the first look.
    """
    study, options = sweep.study, sweep.options
    study.keep("planned", sweep.planned)
    if options.retry_failed:
        study.reopen_failed()
    study.settle(thoroughly=True)
    record = _record(sweep)
    killed = [trial.slot for trial in record.missing if trial.state == "died"]
    is_closed = study.notes().get("closed") == _closed(sweep, record)
    if is_closed and not killed and not record.of_state("running"):
        return record
    sweep.check_failures(record)
    return _work(sweep, killed, above)


def _record(sweep: Sweep) -> StudyRecord:
    """The study as it is, after what is missing of it was noted."""
    missing = [trial.number for trial in sweep.missing(sweep.study.record())]
    if missing or sweep.study.notes().get("missing"):
        sweep.study.keep("missing", missing)
    return sweep.study.record()


def _confirmation(sweep: Sweep, record: StudyRecord) -> Confirmation | None:
    """What of the study is to be looked at again; None where nothing is."""
    return confirmation_of(record, sweep.options.confirm, greatest_seed(record, sweep.dimensions))


def _conclusion_so_far(sweep: Sweep, record: StudyRecord) -> Conclusion:
    """What the study concludes as long as no second look at it is finished."""
    if sweep.job.confirmation is not None:
        return within(sweep.job.confirmation.study)
    confirmation = _confirmation(sweep, record)
    return first_look(record) if confirmation is None else awaiting(confirmation)


def _conclude(sweep: Sweep, record: StudyRecord) -> Conclusion:
    """What the study concludes now, after its second look where one is asked for; published."""
    confirmation = _confirmation(sweep, record)
    if confirmation is None:
        conclusion = stored(record, sweep.study.notes())
        if conclusion is None:
            conclusion = first_look(record)
            _publish(sweep, record, conclusion)
        return conclusion
    if sweep.time_is_up:
        return awaiting(confirmation)
    sweep.check_failures(record)
    conclusion = _look_again(sweep, record, confirmation)
    _publish(sweep, record, conclusion)
    return conclusion


def _look_again(sweep: Sweep, record: StudyRecord, confirmation: Confirmation) -> Conclusion:
    """Run the best again with other seeds, as a study under the study."""
    notes = sweep.study.notes()
    if notes.get("second_look") != confirmation.stored():
        _publish(sweep, record, awaiting(confirmation))
    if notes.get("winner") is None:
        tell(f"second look: {confirmation.words()}")
    timeout = sweep.options.timeout
    if sweep.deadline is not None:
        timeout = max(sweep.deadline - time.time(), 1e-9)
    options = replace(
        sweep.options,
        confirm=SecondLook(),
        n_trials=None,
        max_epochs=None,
        retry_failed=False,
        timeout=timeout,
    )
    second = Sweep.open(options, replace(sweep.job, confirmation=confirmation))
    confirming = _finish(second, record.parent_run)
    sweep.second_look = confirming
    if second.time_is_up:
        sweep.deadline = second.deadline
        return awaiting(confirmation)
    if any(trial.state == "died" for trial in confirming.missing):
        return awaiting(confirmation)
    _check(second, confirming)
    return confirmed(confirmation, verdict_of(confirmation, confirming))


def _publish(sweep: Sweep, record: StudyRecord, conclusion: Conclusion) -> None:
    """Write the study's artifacts anew, unless they say so already."""
    notes = sweep.study.notes()
    if any(notes.get(name) != value for name, value in conclusion.notes.items()):
        from recsweep.tuning.publish import ParentRun

        parent = ParentRun(sweep.study, sweep.tracking_options())
        parent.end(record, conclusion, *_status(record))


def _status(record: StudyRecord, unfinished: str = "") -> tuple[str, str]:
    """Status of a study's run, and why: one with gaps is not finished."""
    reasons = [words for words in (unfinished, missing_words(record)) if words]
    return "FAILED" if record.missing else "FINISHED", "; ".join(reasons)


def _time_is_up(options: StudyOptions) -> str:
    return f"the time of {options.timeout:g} s was up"


def _closed(sweep: Sweep, record: StudyRecord) -> list:
    """What a study has when it is done: as long as it is the same, there is nothing to do."""
    return [len(record.trials), sweep.planned, sweep.options.max_epochs, sweep.options.retries]


def _work(sweep: Sweep, killed: Sequence[str], above: str | None) -> StudyRecord:
    """Work on a study.

    Args:
        killed: Slots that were given up because their processes died: they are tried once more
            after all others, which they may not keep from being tried.
    """
    from recsweep.tuning.publish import ParentRun

    study, options = sweep.study, sweep.options
    if options.engine == "ray":
        from recsweep.tuning.ray_engine import join

        join(sweep)
    elif sweep.num_workers(_left(sweep)) > 1:
        asked = asked_for(options, sweep.job.arguments)
        # their server's imports go on beside those of this process
        warm_up(nets=trains_nets(sweep.job.master, asked))
    parent = ParentRun(study, sweep.tracking_options(), above)
    sweep.parent_run = parent.run.id
    if options.timeout is not None:
        sweep.deadline = time.time() + options.timeout
    try:
        parent.end_orphans()
        live = Live(study, parent, is_confirmed_later=bool(options.confirm.top))
        with Progress(study.record(), timeout=options.timeout) as progress:
            _train(sweep, progress, live)
            if killed and not sweep.time_is_up:
                study.reopen_killed(killed)
                _train(sweep, progress, live)
    except BaseException as error:
        _end_early(sweep, parent, error)
        raise
    parent.end_orphans()
    record = _record(sweep)
    unfinished = _time_is_up(options) if sweep.time_is_up else ""
    parent.end(record, _conclusion_so_far(sweep, record), *_status(record, unfinished))
    if not unfinished:
        study.note("closed", _closed(sweep, record))
    return record


def _train(sweep: Sweep, progress: Progress, live: Live) -> None:
    seen: dict = {}

    def tell() -> None:
        nonlocal seen
        if (pulse := sweep.study.pulse()) == seen:
            progress.look(sweep.study.record)
            live.look(sweep.study.record)
            return
        record, seen = sweep.study.record(pulse), pulse
        progress.update(record)
        live.look(lambda: record)
        sweep.check_failures(record)

    if sweep.options.engine == "ray":
        from recsweep.tuning.ray_engine import work_on_ray

        work_on_ray(sweep, _left(sweep), tell)
    elif (workers := sweep.num_workers(_left(sweep))) > 1:
        from recsweep.tuning.workers import work_in_processes

        work_in_processes(sweep, workers, tell)
    else:
        work(sweep, after_trial=tell, while_waiting=tell)


def _left(sweep: Sweep) -> int:
    """The number of trials that are left."""
    record = sweep.study.record()
    return record.planned - len(record.of_state("complete", "pruned", "failed"))


def _end_early(sweep: Sweep, parent: "ParentRun", error: BaseException) -> None:
    """Leave no run RUNNING of this process, whose trials have ended, and say how to go on."""
    interrupted = isinstance(error, KeyboardInterrupt | SystemExit)
    if interrupted:
        stop_waiting()
        sweep.study.storage.patience.hurry()
    with signals_ignored():
        record = sweep.study.record()
        try:
            parent.end_orphans()
            if not record.of_state("running"):  # another process may go on with the study
                status, reason = "KILLED", "interrupted"
                if not interrupted:
                    status, reason = "FAILED", f"{type(error).__name__}: {error}"
                parent.end(record, _conclusion_so_far(sweep, record), status, reason)
        except TrackingError as second:  # the store itself is what broke: show the first error
            log.error("The run of the study %s could not be ended: %s", record.name, second)
    if interrupted:
        tell(
            f"interrupted: study {record.name} has {record.done} of {record.planned} trials. "
            f"The same command goes on with it.",
            file=sys.stderr,
        )


def _check(sweep: Sweep, record: StudyRecord) -> None:
    sweep.check_failures(record)
    failures = sweep.failures(record)
    if failures and not record.of_state("complete", "pruned"):
        raise StudyError(
            f"None of the {len(failures)} trials of the study {record.name!r} finished. Trial "
            f"{failures[-1].number}: {failures[-1].reason}. {again(failures)}"
        )
