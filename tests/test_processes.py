"""Who is alive, for certain."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from recsweep import processes
from recsweep.processes import Worker


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
