"""What signals that end a process come to."""

import os
import signal
import weakref

import pytest

from recsweep.interrupts import (
    exits_as_interrupts,
    interrupt_is_pending,
    interrupts_wait,
    signals_ignored,
    terminate_as_interrupt,
)
from recsweep.libraries import quick_imports


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_terminating_signals_are_interrupts(number):
    outside = signal.signal(number, signal.SIG_DFL)  # the tests may run under nohup
    try:
        with pytest.raises(KeyboardInterrupt), terminate_as_interrupt():
            os.kill(os.getpid(), number)
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, outside)


def test_what_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with terminate_as_interrupt(), interrupts_wait():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_signals_come_to_nothing_for_a_moment():
    before = signal.getsignal(signal.SIGTERM)
    with signals_ignored():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_exit_after_ctrl_c_is_an_interrupt_and_the_next_one_counts():
    before = signal.getsignal(signal.SIGINT)

    def exit_deaf():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise SystemExit

    with pytest.raises(KeyboardInterrupt), exits_as_interrupts():
        exit_deaf()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_signal_that_is_ignored_is_not_the_first_of_two():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    done = []

    def interrupted():
        with interrupts_wait():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("to its end")

    try:
        with terminate_as_interrupt(), pytest.raises(KeyboardInterrupt):
            interrupted()
    finally:
        signal.signal(signal.SIGINT, before)
    assert done == ["to its end"]


def test_an_interrupt_is_pending_until_all_have_ended() -> None:
    def interrupted() -> None:
        with interrupts_wait():
            with interrupts_wait():
                assert not interrupt_is_pending()
                signal.raise_signal(signal.SIGINT)
                assert interrupt_is_pending()
            assert interrupt_is_pending(), "the outer one has it now"

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with interrupts_wait():
        assert not interrupt_is_pending()


def test_an_interrupt_in_a_callback_of_an_import_is_not_lost() -> None:
    """Python prints what is raised in a callback of a weak reference, as importlib has for the lock
    of each module, and goes on."""

    class Lock:
        pass

    done = []

    def interrupted() -> None:
        with quick_imports("no.module.of.this.name"):
            lock = Lock()
            reference = weakref.ref(lock, lambda _: signal.raise_signal(signal.SIGINT))
            del lock
            done.append(reference())

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert done == [None]
