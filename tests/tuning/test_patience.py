"""A server that is away is waited for; who is not let in is told so at once."""

import os
import signal
import threading
import time

import pytest

from recsweep.causes import is_away
from recsweep.errors import StudyError
from recsweep.interrupts import interrupts_wait
from recsweep.tuning.options import StudyOptions
from recsweep.tuning.patience import Patience
from recsweep.tuning.storage import storage_url

KINDS = {"sampler": {"kind": "grid"}, "pruner": {"kind": "none"}}


class _AwayError(Exception):
    sqlstate = "57P01"


class _Server:
    """One that is away a few times."""

    def __init__(self, times: int) -> None:
        self.left = times

    def ask(self) -> str:
        if self.left:
            self.left -= 1
            raise _AwayError("terminating connection due to administrator command")
        return "here"


def test_waits_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    patience = Patience(60)
    assert patience(_Server(3).ask) == "here"
    first, second = (record.getMessage() for record in caplog.records)
    assert "does not answer (terminating connection" in first
    assert "answers again" in second
    assert patience.outages == 1


def test_comes_to_an_end() -> None:
    patience = Patience(0.2)
    with pytest.raises(_AwayError):
        patience(_Server(100).ask)
    assert patience.seconds == 0, "what is left to be told does not wait as long again"


def test_a_heartbeat_does_not_wait() -> None:
    patience = Patience(60)
    with patience.hurrying(), pytest.raises(_AwayError):
        patience(_Server(1).ask)
    assert patience.seconds == 60


def test_an_interrupt_ends_it() -> None:
    patience, start = Patience(60), time.monotonic()
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt), interrupts_wait():
        patience(_Server(10_000).ask)
    assert time.monotonic() - start < 20


def test_what_is_no_outage() -> None:
    from sqlalchemy.exc import ProgrammingError

    assert not is_away(ProgrammingError("select", {}, Exception("no such table")))
    refused = type("OperationalError", (Exception,), {"__module__": "psycopg"})
    assert is_away(refused("connection refused"))
    assert not is_away(refused('FATAL: password authentication failed for user "me"'))
    assert not is_away(refused('FATAL: database "studies" does not exist'))


def test_the_url_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSWEEP_STUDIES", "postgresql://me@server/studies")
    assert storage_url(None).endswith("://me@server/studies")
    assert storage_url(None).startswith("postgresql+psycopg")
    assert storage_url("sqlite:////a.db") == "sqlite:////a.db"
    monkeypatch.setattr("recsweep.tuning.storage.find_spec", lambda name: None)
    assert storage_url(None).startswith("postgresql+psycopg:"), "whose lack is said where it opens"


def test_a_driver_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from recsweep.tuning import storage

    def missing(*_: object, **__: object) -> None:
        raise ImportError("Failed to import DB access module for the specified storage URL.") from (
            ModuleNotFoundError("No module named 'psycopg'", name="psycopg")
        )

    monkeypatch.setattr(storage, "_tables", missing)
    with pytest.raises(StudyError, match=r"pip install 'recsweep\[postgres\]'"):
        storage.Storage("postgresql+psycopg://me@server/studies")


@pytest.mark.parametrize("name", ["silence", "patience"])
def test_settings_that_are_no_time(name: str) -> None:
    with pytest.raises(Exception, match=rf"hydra\.sweeper\.{name}"):
        StudyOptions(**KINDS, **{name: 0})
