"""The page of a study while it is worked on: written now and then, by one process at a time."""

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from recsweep.errors import TrackingError
from recsweep.tuning.conclusion import so_far
from recsweep.tuning.records import StudyRecord

if TYPE_CHECKING:
    from recsweep.tuning.publish import ParentRun
    from recsweep.tuning.study import Study

log = logging.getLogger(__name__)

TURN = "live page"
"""Name of the turn that a process takes before it writes."""

FIRST_SECONDS = 10.0
"""A study that is over sooner has its page at its end alone."""

EVERY_SECONDS = 15.0
"""Least time between two writes of a study, by whichever process, where a trial has ended."""

UNDER_WAY_SECONDS = 60.0
"""The same where nothing but epochs is new."""

CPU_SHARE, SHARE = 0.02, 0.1
"""Most of its CPU time, and of its time, that a process spends on writing: it may wait for a
server."""

TURN_SECONDS = 120.0
"""A process that was killed as it wrote keeps others from writing for so long."""


class Live:
    """What a process that conducts a study writes of it, as far as there is something new.

    Args:
        parent: The study's run, which holds the page.
        is_confirmed_later: Whether a second look is asked for.
    """

    def __init__(
        self, study: "Study", parent: "ParentRun", *, is_confirmed_later: bool = False
    ) -> None:
        self._study, self._parent = study, parent
        self._is_confirmed_later = is_confirmed_later
        self._due = time.monotonic() + FIRST_SECONDS
        self._shown: list[tuple[str, int]] = []
        self._written = 0.0

    def look(self, read: Callable[[], StudyRecord]) -> None:
        """Write the page, where it is time to: never so often that it costs more than a share of
        what the process does.

        Args:
            read: Reads the study.
        """
        if time.monotonic() < self._due:
            return
        is_first, start, cpu = not self._shown, time.monotonic(), time.process_time()
        self._write(read())
        now, pause = time.monotonic(), EVERY_SECONDS
        if not is_first:  # which imports what the end has a use for too
            used = time.process_time() - cpu
            pause = max(pause, (now - start) / SHARE, used / CPU_SHARE)
        self._due = now + pause

    def _write(self, record: StudyRecord) -> None:
        """Write the page, unless it says all there is to say."""
        told = [(trial.state, max(trial.intermediate, default=0)) for trial in record.trials]
        if not record.leaderboard or told == self._shown:
            return
        is_ended = [state for state, _ in told] != [state for state, _ in self._shown]
        if not is_ended and time.monotonic() < self._written + UNDER_WAY_SECONDS:
            return
        if not self._study.take_turn(TURN, TURN_SECONDS):
            return
        pause = 0.0
        try:
            conclusion = so_far(record, is_confirmed_later=self._is_confirmed_later)
            if self._parent.show(record, conclusion):
                self._shown, self._written = told, time.monotonic()
                pause = EVERY_SECONDS
        except TrackingError as error:  # training goes on without it
            log.info("The page of the study %s could not be written: %s", record.name, error)
        finally:
            self._study.end_turn(TURN, pause)
