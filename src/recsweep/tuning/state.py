"""How far a study is, in the words that stand on its page and in its run."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from recsweep.tuning.records import StudyRecord, counts

ENDED = {"FINISHED": "finished", "KILLED": "interrupted", "FAILED": "not finished"}
"""The state of a study by the status of its run."""

QUIET_SECONDS = 300.0
"""So long a page that says `running` may be old before it says that it is: a trial may take long,
and three of the longest are waited for at least."""


@dataclass(frozen=True)
class State:
    """How far a study was when its page was written.

    Attributes:
        words: The state, as `running: 7 of 18 trials`, and what else is to be said of it.
        is_running: Whether somebody worked on it.
        written: Moment of writing, in whole seconds since 1970.
        quiet: Seconds after which it is no longer likely that somebody works on it.
    """

    words: str
    is_running: bool
    written: int
    quiet: float = QUIET_SECONDS

    @property
    def moment(self) -> str:
        """The moment of writing, as `2026-11-30 14:52:10 UTC`."""
        return f"{datetime.fromtimestamp(self.written, UTC):%Y-%m-%d %H:%M:%S} UTC"


def running(record: StudyRecord) -> State:
    """The state of a study that is worked on."""
    longest = max((trial.seconds or 0 for trial in record.trials), default=0)
    at_once = len(record.of_state("running"))
    words = f"running: {_done(record)}" + (f", {at_once} under way" if at_once else "")
    return State(words, True, _now(), max(QUIET_SECONDS, 3 * longest))


def ended(record: StudyRecord, status: str, reason: str = "") -> State:
    """The state of a study that nobody works on now.

    Args:
        status: Status of its run in MLflow.
        reason: Why it ended so, in words; empty where there is nothing to say.
    """
    is_whole = record.done >= record.planned or record.is_used_up
    name = ENDED[status] if is_whole or status != "FINISHED" else "stopped"
    words = f"{name}: {_done(record)}"
    if len(record.of_state("complete")) < len(record.trials):
        words += f" ({counts(record)})"
    if reason and reason != name:
        words += f"; {reason}"
    if not is_whole and "same command" not in reason:
        words += "; the same command goes on with it"
    return State(words, False, _now())


def _done(record: StudyRecord) -> str:
    return f"{record.done} of {record.planned} trials"


def _now() -> int:
    return int(time.time())
