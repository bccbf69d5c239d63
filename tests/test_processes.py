"""Who is alive, for certain, and what signals come to."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from recsweep import processes
from recsweep.processes import (
    Worker,
    exits_as_interrupts,
    interrupt_is_pending,
    interrupts_wait,
    signals_ignored,
    terminate_as_interrupt,
)


class TestWorker:
    def test_this_process_lives_and_is_read_back(self):
        here = Worker.here()
        assert here.alive
        assert Worker.of(here.stored()) == here

    def test_another_process_of_its_number_is_not_it(self):
        assert replace(Worker.here(), started="1").alive is False

    def test_one_that_has_ended_is_dead_also_before_its_parent_has_asked(self):
        process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
        worker = replace(Worker.here(), pid=process.pid)
        process.stdout.read()  # ended, and not waited for
        assert worker.alive is False
        process.wait()
        assert worker.alive is False

    @pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="earlier versions asked ps")
    def test_a_note_of_an_earlier_version_is_the_same(self):
        stat = Path(f"/proc/{os.getpid()}/stat").read_text(encoding="utf-8")
        assert Worker.here().started == stat.rpartition(")")[2].split()[19]

    def test_of_another_machine_or_in_words_only_heartbeats_can_tell(self, monkeypatch):
        assert replace(Worker.here(), host="elsewhere").alive is None
        monkeypatch.setattr(processes, "_pid_space", lambda: "")  # no Linux
        assert Worker.here().alive is True
        assert replace(Worker.here(), started="Mon Nov 30 10:00:00 2026").alive is None


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
