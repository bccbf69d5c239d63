"""What signals that end a process come to: Ctrl-C, SIGTERM, SIGHUP."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

TERMINATING = (signal.SIGTERM, signal.SIGHUP)
"""Signals by which a system, or a terminal that is closed, ends a process."""


@contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """Let a terminating signal end runs as cleanly as Ctrl-C does; one that is ignored, as under
    nohup, stays so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    handlers = {
        number: signal.signal(number, interrupt)
        for number in TERMINATING
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


_waiting: list[list[int]] = []
"""Signals that have arrived while `interrupts_wait`, of each of those that are in force."""


def interrupt_is_pending() -> bool:
    """Whether an interrupt has arrived that counts as soon as `interrupts_wait` ends: what could
    wait for long must not."""
    return any(_waiting)


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Undo what a library makes of the handlers of signals as it starts."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, *TERMINATING)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Let what must not be torn apart end first: Ctrl-C and terminating signals count afterwards,
    a second one at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    handlers: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {
        number: handler
        for number in (signal.SIGINT, *TERMINATING)
        if (handler := signal.getsignal(number)) is not signal.SIG_IGN
    }  # which counts as no first

    def note(number: int, frame: FrameType | None) -> None:
        arrived.append(number)
        handler = handlers[number]
        if len(arrived) > 1 and callable(handler):
            handler(number, frame)

    for number in handlers:
        signal.signal(number, note)
    _waiting.append(arrived)
    try:
        yield
    finally:
        _waiting[:] = [each for each in _waiting if each is not arrived]  # all of them are alike
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in arrived[:1]:
            signal.raise_signal(number)


@contextmanager
def signals_ignored() -> Iterator[None]:
    """Let nothing interrupt what is done now: Ctrl-C and terminating signals come to nothing for a
    moment."""
    if threading.current_thread() is not threading.main_thread():  # where no signal arrives
        yield
        return
    numbers = (signal.SIGINT, *TERMINATING)
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextmanager
def exits_as_interrupts() -> Iterator[None]:
    """Undo that a library turns Ctrl-C into an exit and ignores every later one: whoever owns what
    is running sees them all, as KeyboardInterrupt."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from error
