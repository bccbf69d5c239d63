"""An error of a disk, a database or a server is called by its real cause, and by no other."""

import errno
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from recsweep import databases, scratch
from recsweep.causes import cause_of
from recsweep.databases import held_words, sqlite_path, sqlite_uri
from recsweep.errors import TrackingError
from recsweep.scratch import scratch_folder
from recsweep.tracking import Tracker, TrackingOptions, tracker, tracking_uri


def _refused(uri: str | None = None) -> str:
    with pytest.raises(TrackingError) as refused:
        Tracker(TrackingOptions(uri=uri, experiment="recsweep"))
    return str(refused.value)


def _sqlite(code: int, words: str) -> Exception:
    """As SQLAlchemy wraps what sqlite3 raises."""
    from sqlalchemy.exc import OperationalError

    error = sqlite3.OperationalError(words)
    error.sqlite_errorcode = code
    wrapped = OperationalError("select 1", {}, error)
    wrapped.__cause__ = error
    return wrapped


class TestCauses:
    @pytest.mark.parametrize(
        ("error", "said"),
        [
            (_sqlite(sqlite3.SQLITE_FULL, "database or disk is full"), "the disk is full"),
            (_sqlite(sqlite3.SQLITE_IOERR | 3 << 8, "disk I/O error"), "could not be read or wr"),
            (_sqlite(sqlite3.SQLITE_CORRUPT, "malformed"), "the file is damaged (malformed)"),
            (_sqlite(sqlite3.SQLITE_ERROR, "no such table: runs"), "a table is missing"),
            (_sqlite(sqlite3.SQLITE_ERROR, "duplicate column name: step"), "in the middle"),
            (OSError(errno.ENOSPC, "no space", "/a"), "the disk is full: No space left on device"),
            (OSError(errno.EDQUOT, "quota", "/a"), "the disk quota is used up"),
            (PermissionError(errno.EACCES, "denied", "/a"), "permission denied (/a)"),
            (OSError(errno.EROFS, "read-only", "/a"), "mounted read-only"),
            (OSError(errno.EFBIG, "large", "/a"), "larger than it may be"),
            (ImportError("No module named 'psycopg2'"), "Install the driver: pip install"),
            (ValueError("odd"), "odd. Make it reachable and writable."),
        ],
    )
    def test_each_has_its_own_words(self, error, said):
        words = str(cause_of(error))
        assert said in words
        assert ("disk is full" in words) == ("disk is full" in said)

    @pytest.mark.parametrize(
        ("status", "said"),
        [
            (401, "no name and password were given (401)"),
            (403, "lacks the permission for this (403)"),
            (404, "that it is an MLflow server"),
            (503, "is in trouble"),
        ],
    )
    def test_of_a_server(self, status, said):
        class Answer(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_error(status)

            def log_message(self, *_):
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            words = _refused(f"http://127.0.0.1:{server.server_port}")
            server.shutdown()
        assert said in words
        assert "disk" not in words

    def test_a_lock_that_another_process_holds_is_named(self, store, monkeypatch):
        from filelock import FileLock

        monkeypatch.setattr(databases, "OPEN_SECONDS", 0)
        with FileLock(store / "mlflow.db.lock"):
            words = _refused()
        assert f"another process is opening it, and holds {store}/mlflow.db.lock" in words

    def test_a_path_that_is_too_long(self, monkeypatch):
        monkeypatch.setenv("RECSWEEP_HOME", "/tmp" + "/a" * 2100)
        words = _refused()
        assert "its path is longer than the system allows" in words
        assert len(words) < 1000

    @pytest.mark.skipif(not Path("/proc/locks").exists(), reason="no Linux")
    def test_who_holds_a_database_is_named(self, tmp_path):
        script = (
            "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('begin exclusive');"
            "print('held', flush=True); sys.stdin.read()"
        )
        path = tmp_path / "a.db"
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("create table a (b)")
        command = [sys.executable, "-c", script, str(path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            assert holder.stdout.readline() == b"held\n"
            words = held_words(path)
            holder.stdin.close()
        assert f"the process {holder.pid} ({sys.executable}" in words


@pytest.mark.parametrize("name", ["a?b", "a%20b", "a%b", "a#b", "a b;c", "ü{x}", "?mode=ro"])
class TestHomesOfAnyName:
    def test_hold_all_that_is_theirs(self, name, database, tmp_path, monkeypatch):
        home = tmp_path / "homes" / name
        home.mkdir(parents=True)
        monkeypatch.setenv("RECSWEEP_HOME", str(home))
        monkeypatch.chdir(tmp_path)
        (home / "mlflow.db").write_bytes(database.read_bytes())
        tracker.cache_clear()
        opened = tracker(TrackingOptions(uri=None, experiment="recsweep"))
        (tmp_path / "files").mkdir()
        (tmp_path / "files" / "a.txt").write_text("found")
        run = opened.start("one")
        run.log_folder(tmp_path / "files")
        run.end("FINISHED")
        with opened.artifact(opened.record(run.id), "a.txt") as path:
            assert path == home / "artifacts" / run.id / "artifacts" / "a.txt"
            assert path.read_text() == "found"
        with closing(sqlite3.connect(home / "mlflow.db")) as connection:
            assert connection.execute("select status from runs").fetchall() == [("FINISHED",)]

    def test_have_a_uri(self, name):
        path = Path("/some") / name / "a.db"
        assert sqlite_path(sqlite_uri(path)) == path
        assert tracking_uri(sqlite_uri(path)) == sqlite_uri(path)


class TestScratch:
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path, monkeypatch):
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        scratch._remove_abandoned.cache_clear()

    def test_is_gone_in_the_end(self, tmp_path):
        with scratch_folder() as folder:
            (folder / "a").touch()
            assert folder.is_relative_to(tmp_path)
        assert os.listdir(tmp_path) == []

    def test_what_a_killed_process_left_is_removed_and_what_is_held_stays(self, tmp_path):
        script = (
            "import os, sys, tempfile; tempfile.tempdir = sys.argv[1]\n"
            "from recsweep.scratch import scratch_folder\n"
            "with scratch_folder() as folder: os.kill(os.getpid(), 9)"
        )
        done = subprocess.run([sys.executable, "-c", script, tmp_path], timeout=60)
        assert done.returncode == -9
        (left,) = tmp_path.iterdir()
        with scratch_folder() as held:
            assert left.exists(), "it is young"
            hour_ago = time.time() - 3600
            for folder in (left, held.parent):
                os.utime(folder, (hour_ago, hour_ago))
            (tmp_path / "recsweep-of-somebody").mkdir()
            (tmp_path / "recsweep-of-somebody" / "file").touch()
            os.utime(tmp_path / "recsweep-of-somebody", (hour_ago, hour_ago))
            scratch._remove_abandoned.cache_clear()
            with scratch_folder():
                assert not left.exists()
                assert held.exists()
                assert (tmp_path / "recsweep-of-somebody" / "file").exists()

    def test_is_nobody_elses(self):
        with scratch_folder() as folder:
            assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
