"""Patience with a database of studies whose server is away: what was asked is asked again."""

import inspect
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from recsweep.causes import cause_of, is_away
from recsweep.databases import patiently
from recsweep.interrupts import interrupt_is_pending

log = logging.getLogger(__name__)

T = TypeVar("T")

LONGEST_PAUSE = 3.0
"""Seconds between two tries at most: as long after its return a server may seem away."""


class Patience:
    """How long transactions are repeated while the database's server is away, or another process
    holds its file.

    Attributes:
        seconds: So long is a server waited for, 0 for not at all.
        outages: How often it was seen to be away.
    """

    def __init__(self, seconds: float = 0) -> None:
        self.seconds = seconds
        self.outages = 0
        self._own = threading.local()

    def __call__(self, call: Callable[..., T], *arguments: Any, **settings: Any) -> T:
        """What a call returns: one transaction, of which a failure leaves nothing, or such that it
        may be repeated though it was committed."""
        start, pause = 0.0, 0.05
        while True:
            try:
                result = patiently(call, *arguments, **settings)
            except Exception as error:
                if not is_away(error):
                    raise
                if not start:
                    start = time.monotonic()
                    self.outages += 1
                    if self._may_wait():
                        log.warning(
                            "The database of studies does not answer (%s); waiting for it, at most "
                            "%.0f s.",
                            cause_of(error).reason,
                            self.seconds,
                        )
                if time.monotonic() - start >= self.seconds:
                    self.hurry()  # what is left to be told would wait as long again
                if not self._may_wait():
                    raise
            else:
                if start and self._may_wait():
                    log.warning(
                        "The database of studies answers again after %.0f s; going on.",
                        time.monotonic() - start,
                    )
                return result
            # those that wait shall not all come back at the same moment
            self._sleep(random.uniform(0.5, 1) * pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _may_wait(self) -> bool:
        return self.seconds > 0 and not getattr(self._own, "hurries", False)

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if interrupt_is_pending():
                self.hurry()
                return
            time.sleep(min(left, 0.2))

    def hurry(self) -> None:
        """Wait no more, as somebody wants this process to end."""
        self.seconds = 0

    @contextmanager
    def hurrying(self) -> Iterator[None]:
        """Let this thread wait for nothing."""
        self._own.hurries = True
        try:
            yield
        finally:
            self._own.hurries = False

    def of(self, target: T) -> T:
        """The same object, each of whose public methods is now called with this patience."""
        for name, _ in inspect.getmembers(type(target), inspect.isfunction):
            if not name.startswith("_"):
                setattr(target, name, partial(self, getattr(target, name)))
        return target
