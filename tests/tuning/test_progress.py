"""What is said of a study while it runs."""

import pytest

from recsweep.tuning import progress
from recsweep.tuning.progress import Progress, note_epoch
from recsweep.tuning.records import StudyRecord, TrialRecord


@pytest.fixture
def record() -> StudyRecord:
    trials = (
        TrialRecord(0, "running", {}, (), (), {1: 0.25, 2: 0.5}, name="net a", slot="0"),
        TrialRecord(1, "running", {}, (), (), {}, slot="1"),
    )
    return StudyRecord("s", ("validation/mse",), ("minimize",), {}, {}, trials, 3, "grid", "none")


def test_a_line_now_and_then_where_no_terminal_is(record, monkeypatch, capsys):
    with Progress(record) as shown:
        shown.look(lambda: pytest.fail("it is not yet time"))
        monkeypatch.setattr(progress, "SAY_SECONDS", 0)
        shown.look(lambda: record)
    assert capsys.readouterr().out == "0 of 3: running #0 net a  epoch 2  0.5000; #1\n"


def test_none_where_it_is_to_be_quiet(record, monkeypatch, capsys):
    monkeypatch.setattr(progress, "SAY_SECONDS", 0)
    monkeypatch.setenv("RECSWEEP_VERBOSITY", "quiet")
    with Progress(record) as shown:
        shown.look(lambda: record)
    assert capsys.readouterr().out == ""


def test_running_trials_stand_below_the_bar(record, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr(progress, "LOOK_SECONDS", 0)
    with Progress(record) as shown:
        shown.look(lambda: record)
        assert list(shown._bar.running) == ["#0 net a  epoch 2  0.5000", "#1"]
        note_epoch("#7", 3, 0.125)
        shown._bar.refresh()
    assert "#7  epoch 3  0.1250" in capsys.readouterr().out
    note_epoch("#8", 1, 0.5)  # nobody shows it any more
