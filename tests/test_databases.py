"""sqlite files of the store: no reader and no other writer ends a training, and one that can't be
written is read."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from recsweep import databases
from recsweep.databases import (
    file_system,
    make_whole,
    one_at_a_time,
    open_database,
    patiently,
    set_aside,
    sqlite_path,
    with_patience,
    with_tables,
)
from recsweep.errors import StudyError, TrackingError
from recsweep.promotion.registry import Registry
from recsweep.tracking import Tracker, TrackingOptions, finished_runs, tracker
from recsweep.tracking.schema import is_half_made
from recsweep.tuning.opening import open_study
from recsweep.tuning.storage import Storage
from recsweep.tuning.study import Definition, Study
from tests.conftest import copy_database

REPOSITORY = Path(__file__).parents[1]
OPTIONS = TrackingOptions(uri=None, experiment="recsweep")
MLFLOW_SECONDS = 20
"""The busy timeout that MLflow sets in each of its sessions."""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A database as earlier versions made it: with a rollback journal."""
    return _with_rollback_journal(tmp_path / "old.db")


def _with_rollback_journal(path: Path) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create table numbers (number)")
        rows = [(number,) for number in range(5000)]
        connection.executemany("insert into numbers values (?)", rows)
        connection.commit()
    return path


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite waits for a tenth of a second, and a call is repeated for one more second."""
    monkeypatch.setattr(databases, "BUSY_SECONDS", 0.1)
    monkeypatch.setattr(databases, "CONNECT_SECONDS", 0.1)
    monkeypatch.setattr(databases, "HELD_SECONDS", 1)


@contextmanager
def _reader(path: Path) -> Iterator[sqlite3.Cursor]:
    """A query that is not read to its end: on a rollback journal nobody can commit meanwhile."""
    with closing(sqlite3.connect(path, check_same_thread=False)) as connection:
        cursor = connection.execute("select * from sqlite_master, (select 1 union select 2)")
        assert cursor.fetchone() is not None
        yield cursor


@contextmanager
def _writer(path: Path) -> Iterator[sqlite3.Connection]:
    """A transaction that no other one can write beside."""
    with closing(sqlite3.connect(path, check_same_thread=False)) as connection:
        connection.execute("begin immediate")
        yield connection


@contextmanager
def _for(seconds: float, holder: AbstractContextManager, *, at_once: bool = True) -> Iterator[None]:
    """Hold a database for so many seconds beside what happens inside: from now on, or later, once
    the holder has got it."""
    ready, done = threading.Event(), []

    def hold() -> None:
        with holder:
            ready.set()
            time.sleep(seconds)
        done.append(True)

    thread = threading.Thread(target=hold)
    thread.start()
    if at_once:
        ready.wait()
    try:
        yield
    finally:
        thread.join()
    assert done, "the holder failed"


def _mode(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("pragma journal_mode").fetchone()[0]


def _uri(path: Path) -> str:
    return f"sqlite:///{path}"


def _study(store: Path) -> Study:
    kinds = {"kind": "grid"}, {"kind": "none"}
    definition = Definition("a", ("mse",), ("minimize",), {}, {}, *kinds)
    storage = Storage(_uri(store / "optuna.db"))
    return open_study(storage, definition, lambda: None, allow_changes=False)


class TestOpening:
    def test_a_new_file_is_in_wal_mode(self, tmp_path):
        assert open_database(_uri(tmp_path / "new.db")).wal
        assert _mode(tmp_path / "new.db") == "wal"

    def test_an_older_one_becomes_so_and_keeps_its_rows(self, old):
        assert _mode(old) == "delete"
        with closing(open_database(_uri(old)).connect()) as connection:
            total = connection.execute("select sum(number) from numbers").fetchone()
        assert total == (4999 * 2500,)
        assert _mode(old) == "wal"

    def test_while_somebody_reads_an_older_one_it_opens_as_it_is_and_only_writing_waits(self, old):
        with _for(0.7, _reader(old)):
            start = time.monotonic()
            database = open_database(_uri(old))
            assert time.monotonic() - start < 0.5
            assert not database.wal
            database.prepare_to_write()
            assert 0.5 < time.monotonic() - start < 5
        assert _mode(old) == "wal"

    def test_another_uri_is_left_alone(self):
        assert open_database("postgresql://host/db") is None
        assert open_database("sqlite:///:memory:") is None

    def test_no_database(self, tmp_path):
        (tmp_path / "a.db").write_bytes(b"no database, but long enough to be taken for one" * 30)
        with pytest.raises(sqlite3.DatabaseError, match="not a database"):
            open_database(_uri(tmp_path / "a.db"))


class TestEngines:
    """What is in force on the connections that MLflow and Optuna make for themselves."""

    @pytest.fixture
    def in_force(self) -> Iterator[set]:
        from sqlalchemy import event
        from sqlalchemy.engine import Engine

        found = set()

        def look(connection, cursor, statement, *_):
            if statement.startswith(("INSERT", "UPDATE", "DELETE", "SELECT")):
                raw = connection.connection.dbapi_connection
                found.add(
                    tuple(
                        raw.execute(f"pragma {name}").fetchone()[0]
                        for name in ("journal_mode", "busy_timeout", "synchronous")
                    )
                )

        event.listen(Engine, "after_cursor_execute", look)
        yield found
        event.remove(Engine, "after_cursor_execute", look)

    def test_of_mlflows_runs_and_models(self, store, in_force):
        opened = Tracker(OPTIONS)
        run = opened.start("one")
        run.log(metrics={"train/loss": 1.0}, params={"a": 1}, tags={"b": 2})
        opened.client.create_registered_model("model")
        run.end("FINISHED")
        assert in_force == {("wal", 60_000, 1)}  # 1 is NORMAL

    def test_of_optuna(self, store, in_force):
        _study(store).note("a", 1)
        assert in_force == {("wal", 60_000, 1)}

    def test_mlflow_still_sets_less(self):
        """The statement that is replaced: should it change, this says why another test fails."""
        import inspect

        from mlflow.store.db import utils

        assert f"PRAGMA busy_timeout = {1000 * MLFLOW_SECONDS}" in inspect.getsource(utils)

    def test_of_nobody_else(self, store, tmp_path):
        from sqlalchemy import create_engine, text

        Tracker(OPTIONS)
        with create_engine(_uri(tmp_path / "theirs.db")).connect() as connection:
            connection.execute(text("PRAGMA busy_timeout = 1234"))
            assert connection.execute(text("pragma busy_timeout")).scalar() == 1234
            assert connection.execute(text("pragma journal_mode")).scalar() == "delete"


class TestHeldByAnother:
    def test_a_reader_is_not_in_the_way_and_sees_what_was_there(self, store, impatient):
        opened = Tracker(OPTIONS)
        run = opened.start("one")
        path = store / "mlflow.db"
        with closing(sqlite3.connect(path)) as connection, _reader(path):
            connection.execute("begin")
            before = connection.execute("select count(*) from metrics").fetchone()
            for step in range(5):
                run.log(metrics={"train/loss": 1.0}, step=step)
            run.end("FINISHED")
            assert connection.execute("select count(*) from metrics").fetchone() == before == (0,)
        assert opened.client.get_run(run.id).info.status == "FINISHED"
        assert len(opened.client.get_metric_history(run.id, "train/loss")) == 5

    def test_every_write_waits_for_a_writer(self, store, impatient, tmp_path, caplog):
        opened = Tracker(OPTIONS)
        (tmp_path / "folder").mkdir()
        writes = {
            "start": lambda: opened.start("one"),
            "log": lambda: run.log(metrics={"train/loss": 1.0}, params={"a": 1}, tags={"b": 2}),
            "log_folder": lambda: run.log_folder(tmp_path / "folder"),
            "register": lambda: opened.client.create_registered_model("model"),
            "alias": lambda: opened.client.set_registered_model_alias("model", "champion", "1"),
            "end": lambda: run.end("FINISHED"),
        }
        run = opened.start("another")
        opened.client.create_registered_model("model.kept")
        for name, write in writes.items():
            if name == "alias":
                opened.client.create_model_version("model", "/somewhere", await_creation_for=0)
            with _for(0.5, _writer(store / "mlflow.db")):
                write()
        assert "Another process holds a database of the store; waiting for it." in caplog.text
        found = opened.client.search_runs([opened.experiment_id])
        assert sorted((each.info.run_name, each.info.status) for each in found) == [
            ("another", "FINISHED"),
            ("one", "RUNNING"),
        ], "a repeated call made another run"
        assert len(opened.client.get_metric_history(run.id, "train/loss")) == 1
        assert opened.client.get_model_version_by_alias("model", "champion").version == 1

    def test_for_too_long_it_is_an_error_in_words_and_nothing_was_written(self, store, impatient):
        opened = Tracker(OPTIONS)
        start = time.monotonic()
        with _writer(store / "mlflow.db"), pytest.raises(TrackingError) as refused:
            opened.start("one")
        assert 1 < time.monotonic() - start < 5
        assert str(refused.value) == (
            f"The MLflow database {store}/mlflow.db can't be used: another process has held it for "
            f"more than 1 s (database is locked). Wait for that process or end it (`fuser {store}/"
            "mlflow.db` names it), then run the same command again."
        )
        assert opened.client.search_runs([opened.experiment_id]) == []

    def test_at_opening_too(self, store, impatient):
        with closing(sqlite3.connect(store / "mlflow.db")) as connection:
            connection.execute("begin exclusive")
            with pytest.raises(TrackingError, match="another process has held it"):
                Tracker(OPTIONS)

    def test_who_only_reads_waits_for_no_writer(self, store, impatient):
        run = Tracker(OPTIONS).start("one", {"model_kind": "toy"})
        run.end("FINISHED")
        tracker.cache_clear()
        with _writer(store / "mlflow.db"):
            assert [each.name for each in finished_runs(OPTIONS)] == ["one"]

    def test_the_champion_moves_after_the_wait(self, store, impatient):
        opened = Tracker(OPTIONS)
        registry = Registry(opened)
        with _for(0.5, _writer(store / "mlflow.db")), registry.only_one():
            pass
        assert opened.client.search_registered_models() == []

    def test_a_study_waits(self, store, impatient):
        Storage(_uri(store / "optuna.db"))
        with _for(0.5, _writer(store / "optuna.db")):
            study = _study(store)
        with _for(0.5, _writer(store / "optuna.db")):
            claims = [study.claim(["1"])]
        with _for(0.5, _writer(store / "optuna.db")):
            study.note("a", 1)
        claims.append(study.claim(["1"]))
        assert [each and each.slot for each in claims] == ["1", None]
        assert study.notes()["a"] == 1
        refused = pytest.raises(StudyError, match="another process has held")
        with _writer(store / "optuna.db"), refused:
            study.note("a", 2)

    def test_a_claim_on_a_rollback_journal_is_committed_after_a_reader(
        self, store, impatient, monkeypatch
    ):
        monkeypatch.setattr(databases, "_mounts", lambda: [("/", "nfs4")])
        study = _study(store)
        assert _mode(store / "optuna.db") == "delete"
        with _for(0.5, _reader(store / "optuna.db")):
            assert study.claim(["1"]).slot == "1"
        assert study.claim(["1"]) is None


class TestPatience:
    def _failing(self, failures: int, error: Exception) -> Callable[[], int]:
        calls = []

        def call() -> int:
            calls.append(1)
            if len(calls) <= failures:
                raise error
            return len(calls)

        return call

    def _locked(self) -> sqlite3.OperationalError:
        error = sqlite3.OperationalError("database is locked")
        error.sqlite_errorcode = 517  # SQLITE_BUSY_SNAPSHOT, an extended code of SQLITE_BUSY
        return error

    def test_a_call_is_repeated_until_it_gets_through(self):
        assert patiently(self._failing(3, self._locked())) == 4

    def test_also_where_mlflow_wraps_the_error_twice(self):
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import OperationalError

        wrapped, error = MlflowException("locked"), OperationalError("insert", {}, self._locked())
        wrapped.__context__, error.__cause__ = error, self._locked()
        assert patiently(self._failing(1, wrapped)) == 2

    def test_another_error_counts_at_once(self):
        full = sqlite3.OperationalError("database or disk is full")
        full.sqlite_errorcode = sqlite3.SQLITE_FULL
        for error in (full, ValueError("no")):
            call = self._failing(1, error)
            with pytest.raises(type(error), match=str(error)):
                patiently(call)
            assert call() == 2

    def test_an_error_after_the_wait_is_itself(self):
        """What was raised before must not be taken for its cause."""
        errors = [self._locked(), ValueError("no")]

        def call() -> None:
            raise errors.pop(0)

        with pytest.raises(ValueError, match="no") as raised:
            patiently(call)
        assert not databases.is_held(raised.value)

    def test_of_an_object_are_its_public_methods_alone(self):
        class Client:
            def __init__(self):
                self.calls = 0

            def write(self, value, *, also):
                self.calls += 1
                if self.calls == 1:
                    raise locked
                return self._hidden(), value, also

            def _hidden(self):
                return self.calls

        locked = self._locked()
        client = Client()
        assert with_patience(client) is client
        assert client.write(1, also=2) == (2, 1, 2)
        assert "_hidden" not in vars(client)


MOUNTS = """\
22 28 0:20 / /proc rw,nosuid shared:5 - proc proc rw
28 1 259:2 / / rw,relatime shared:1 - ext4 /dev/root rw
91 28 0:44 / /mnt/lab\\040data rw,relatime shared:50 master:2 - nfs4 host:/export rw,vers=4.2
92 91 0:45 / /mnt/lab\\040data/local rw shared:51 - xfs /dev/sdb1 rw
93 28 0:46 / /home rw - ext4 /dev/sdc1 rw
94 93 0:47 / /home rw - fuse.sshfs anna@host: rw
95 28 0:48 / /mnt/win rw - fuseblk /dev/sdd1 rw
"""
MAC_MOUNTS = """\
/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)
//anna@host/share (1) on /Volumes/share (1) (smbfs, nodev, nosuid, mounted by anna)
"""


class TestFileSystems:
    @pytest.mark.parametrize(
        ("folder", "kind"),
        [
            ("/work", "ext4"),
            ("/mnt/lab data/runs", "nfs4"),
            ("/mnt/lab data/local/runs", "xfs"),
            ("/home/anna", "fuse.sshfs"),
            ("/mnt/lab", "ext4"),
            ("/mnt/win/a", "fuseblk"),
        ],
    )
    def test_of_linux(self, folder, kind):
        assert file_system(Path(folder), databases._mounts_of_linux(MOUNTS)) == kind

    def test_of_macos(self):
        mounts = databases._mounts_of_mac(MAC_MOUNTS)
        assert mounts == [("/", "apfs"), ("/Volumes/share (1)", "smbfs")]

    def test_of_this_machine(self, tmp_path):
        assert file_system(tmp_path, databases._mounts()) != ""
        assert file_system(Path("/dev/shm"), [("/", "ext4")]) == "ext4"

    @pytest.mark.parametrize(
        ("kind", "network"),
        [
            *(
                (kind, True)
                for kind in ("nfs", "cifs", "smb3", "9p", "lustre", "ceph", "fuse.sshfs")
            ),
            *((kind, False) for kind in ("ext4", "xfs", "btrfs", "tmpfs", "overlay", "fuseblk")),
        ],
    )
    def test_several_machines_may_write_one(self, kind, network, monkeypatch, tmp_path):
        monkeypatch.setattr(databases, "_mounts", lambda: [("/", kind)])
        assert databases.network_file_system(tmp_path) == (kind if network else None)
        database = open_database(_uri(tmp_path / "new.db"))
        database.prepare_to_write()
        assert _mode(tmp_path / "new.db") == ("delete" if network else "wal")

    def test_where_the_mounts_are_unknown_the_disk_counts_as_local(self, monkeypatch, tmp_path):
        monkeypatch.setattr(databases, "_mounts", list)
        assert databases.network_file_system(tmp_path) is None

    def test_a_file_in_wal_mode_stays_so_and_is_told(self, old, monkeypatch, caplog):
        open_database(_uri(old))
        monkeypatch.setattr(databases, "_mounts", lambda: [("/", "nfs4")])
        assert open_database(_uri(old)).wal
        assert _mode(old) == "wal"
        assert f"sqlite3 '{old}' 'pragma journal_mode = delete'" in caplog.text


@contextmanager
def _unwritable(folder: Path) -> Iterator[None]:
    """A folder, and the files in it, that this process may only read: root is somebody else."""
    files = list(folder.iterdir())
    for each in files:
        each.chmod(0o444)
    folder.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)
        for each in files:
            each.chmod(0o644)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that everybody may enter."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


class TestReadOnly:
    def _count(self, path: Path) -> int:
        with closing(open_database(_uri(path)).connect()) as connection:
            return connection.execute("select count(*) from numbers").fetchone()[0]

    def _add(self, path: Path) -> sqlite3.Connection:
        """One more row, in the file beside the database alone as long as the connection is open."""
        connection = sqlite3.connect(path)
        connection.execute("insert into numbers values (0)")
        connection.commit()
        return connection

    @pytest.mark.parametrize(("wal", "access"), [(False, "ro"), (True, "immutable")])
    def test_is_read_and_no_file_is_made(self, shared, wal, access):
        path = _with_rollback_journal(shared / "a.db")
        if wal:
            open_database(_uri(path))
        with _unwritable(shared):
            with one_at_a_time(_uri(path)):
                database = open_database(_uri(path))
            assert (database.access, self._count(path)) == (access, 5000)
            assert database.uri.endswith("?immutable=1&uri=true") == (access == "immutable")
            with pytest.raises(sqlite3.OperationalError, match="readonly database"):
                database.prepare_to_write()
            assert os.listdir(shared) == ["a.db"]

    def test_what_another_process_writes_meanwhile_is_seen(self, shared):
        path = _with_rollback_journal(shared / "a.db")
        open_database(_uri(path))
        with closing(self._add(path)), _unwritable(shared):
            assert open_database(_uri(path)).access == "ro"
            assert self._count(path) == 5001

    def test_what_can_not_be_read_is_told(self, shared, caplog):
        path = _with_rollback_journal(shared / "a.db")
        open_database(_uri(path))
        (shared / "copy").mkdir()
        with closing(self._add(path)):
            for name in ("a.db", "a.db-wal"):
                shutil.copy(shared / name, shared / "copy" / name)
        with _unwritable(shared / "copy"):
            assert self._count(shared / "copy" / "a.db") == 5000
        assert "what was logged last, in a.db-wal, is left out" in caplog.text
        assert self._count(shared / "copy" / "a.db") == 5001  # once it can be written, as it says

    def test_a_transaction_in_the_middle_is_refused(self, shared):
        path = _with_rollback_journal(shared / "a.db")
        (shared / "copy").mkdir()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("pragma cache_size = 1")  # pages go to the disk before the commit
            connection.execute("update numbers set number = 0")
            for name in ("a.db", "a.db-journal"):
                shutil.copy(shared / name, shared / "copy" / name)
        with _unwritable(shared / "copy"), pytest.raises(sqlite3.OperationalError):
            open_database(_uri(shared / "copy" / "a.db"))
        with closing(open_database(_uri(shared / "copy" / "a.db")).connect()) as connection:
            total = connection.execute("select sum(number) from numbers").fetchone()
        assert total == (4999 * 2500,)

    def test_mlflow_reads_it_and_writing_is_one_error(self, store, shared, monkeypatch):
        run = Tracker(OPTIONS).start("one", {"model_kind": "toy"})
        run.log(metrics={"validation/mse": 0.5})
        run.end("FINISHED")
        copy_database(store / "mlflow.db", shared / "mlflow.db")
        monkeypatch.setenv("RECSWEEP_HOME", str(shared))
        monkeypatch.setattr(databases, "_may_write", lambda folder: False)
        tracker.cache_clear()
        (record,) = finished_runs(OPTIONS)
        record = replace(record, model_id="m-1")
        assert record.metrics == {"validation/mse": 0.5}
        opened = tracker(OPTIONS)
        for write in (
            lambda: opened.start("two"),
            lambda: opened.add_to(record).log(tags={"a": 1}),
            lambda: Registry(opened).register(record, tags={}, description=""),
        ):
            with pytest.raises(TrackingError) as refused:
                write()
            said = (
                "it can't be written (attempt to write a readonly database). Make it and its folder"
            )
            assert said in str(refused.value)
        assert not (shared / "mlflow.db.lock").exists()

    def test_a_study_is_refused_in_words(self, store, monkeypatch):
        Storage(_uri(store / "optuna.db"))
        monkeypatch.setattr(databases, "_may_write", lambda folder: False)
        with pytest.raises(StudyError, match="attempt to write a readonly database"):
            Storage(_uri(store / "optuna.db"))


class TestMakeWhole:
    def test_the_file_appears_with_all_its_tables(self, tmp_path):
        path = tmp_path / "new.db"

        def build(uri: str) -> None:
            _with_rollback_journal(sqlite_path(uri))
            assert not path.exists()

        make_whole(_uri(path), build)
        assert os.listdir(tmp_path) == ["new.db"]
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("select count(*) from numbers").fetchone() == (5000,)

    def test_what_a_kill_left_is_made_anew(self, tmp_path):
        path = tmp_path / "new.db"
        for name in ("new.db", "new.db-wal", "new.db.whole-journal"):
            (tmp_path / name).touch()
        _with_rollback_journal(tmp_path / "new.db.whole")
        make_whole(_uri(path), lambda uri: _with_rollback_journal(sqlite_path(uri)))
        assert os.listdir(tmp_path) == ["new.db"]

    def test_an_error_leaves_no_file_of_its_name(self, tmp_path):
        def fail(uri: str) -> None:
            raise RuntimeError("no tables today")

        with pytest.raises(RuntimeError, match="no tables today"):
            make_whole(_uri(tmp_path / "new.db"), fail)
        assert not (tmp_path / "new.db").exists()

    def test_one_that_exists_stays(self, old):
        make_whole(_uri(old), lambda uri: pytest.fail("built"))

    def test_one_set_aside_takes_all_its_files_along(self, tmp_path):
        for name in ("a.db", "a.db-journal", "a.db.broken-1"):
            (tmp_path / name).write_text(name)
        assert set_aside(tmp_path / "a.db") == tmp_path / "a.db.broken-2"
        assert sorted(os.listdir(tmp_path)) == [
            "a.db.broken-1",
            "a.db.broken-2",
            "a.db.broken-2-journal",
        ]


class TestHalfMade:
    """A kill during the first opening left this much to earlier versions."""

    @pytest.fixture
    def half(self, store: Path) -> Path:
        """All tables are there, and the migrations that were done are those up to the second."""
        with closing(sqlite3.connect(store / "mlflow.db")) as connection:
            connection.execute("update alembic_version set version_num = '90e64c465722'")
            connection.execute("drop table logged_models")
            connection.commit()
        return store / "mlflow.db"

    def test_is_made_anew_and_kept(self, half, caplog):
        Tracker(OPTIONS).start("one").end("FINISHED")
        assert f"The old file is {half}.broken-1." in caplog.text
        assert not is_half_made(half)
        assert is_half_made(Path(f"{half}.broken-1"))

    def test_with_a_run_in_it_nothing_is_touched(self, half):
        with closing(sqlite3.connect(half)) as connection:
            connection.execute("insert into runs (run_uuid, experiment_id) values ('r', 0)")
            connection.commit()
        before = half.read_bytes()
        with pytest.raises(TrackingError):
            Tracker(OPTIONS)
        assert not is_half_made(half)
        assert half.read_bytes()[100:] == before[100:]
        assert not Path(f"{half}.broken-1").exists()

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ("drop table alembic_version", True),
            ("delete from alembic_version", True),
            ("update alembic_version set version_num = '451aebb31d03'", True),
            ("update alembic_version set version_num = 'of a newer MLflow'", False),
            ("create table others (id); insert into others values (1)", False),
            ("insert into experiments (experiment_id, name) values (1, 'mine')", False),
        ],
    )
    def test_is_told_from_others(self, half, change, expected):
        with closing(sqlite3.connect(half)) as connection:
            connection.executescript(change)
        assert is_half_made(half) == expected

    def test_is_no_whole_one_nor_one_of_studies(self, store, old):
        Storage(_uri(store / "optuna.db"))
        for path in (store / "mlflow.db", store / "optuna.db", old, store / "none.db"):
            assert not is_half_made(path)


class TestTables:
    """A database server creates the same tables for two processes at once, and fails one."""

    def _build(self, failures: int):
        from sqlalchemy.exc import ProgrammingError

        left = [failures]

        def build() -> str:
            if left[0]:
                left[0] -= 1
                raise ProgrammingError("create table runs", {}, Exception("relation exists"))
            return "built"

        return build

    def test_are_waited_for(self, monkeypatch):
        waited = []
        monkeypatch.setattr("time.sleep", waited.append)
        assert with_tables(self._build(2)) == "built"
        assert waited == [1, 3]

    def test_not_for_ever(self, monkeypatch):
        from sqlalchemy.exc import ProgrammingError

        monkeypatch.setattr("time.sleep", lambda seconds: None)
        with pytest.raises(ProgrammingError, match="relation exists"):
            with_tables(self._build(9))


TRAINING = ("data.num_users=60", "data.num_items=50", "data.density=0.15", "trainer.max_epochs=20")


@pytest.mark.slow
class TestTrainings:
    """`python train.py` in a process of its own, while this one holds its database."""

    @pytest.fixture
    def trained(self, store: Path, train: Callable) -> Callable:
        """trained(): the training has come to its end, and all of it was logged."""

        def trained() -> None:
            done = train(*TRAINING, env={**os.environ, "RECSWEEP_HOME": str(store)})
            assert done.returncode == 0, done.stderr
            with closing(sqlite3.connect(store / "mlflow.db")) as connection:
                assert connection.execute("select status from runs").fetchall() == [("FINISHED",)]
                assert connection.execute(
                    "select count(*) from metrics where key = 'train/loss'"
                ).fetchone() == (20,)

        return trained

    def test_a_slow_reader_does_not_end_it(self, store, trained):
        Tracker(OPTIONS)
        with _reader(store / "mlflow.db"):  # all the time
            trained()

    def test_nor_one_that_reads_an_older_database_when_it_begins(self, store, trained):
        assert _mode(store / "mlflow.db") == "delete"
        with _for(MLFLOW_SECONDS + 3, _reader(store / "mlflow.db")):
            trained()
        assert _mode(store / "mlflow.db") == "wal"

    def test_nor_a_writer_that_takes_longer_than_mlflow_would_wait(self, store, trained):
        Tracker(OPTIONS)

        @contextmanager
        def writer_once_it_runs() -> Iterator[None]:
            with closing(sqlite3.connect(store / "mlflow.db")) as connection:
                while not connection.execute("select status from runs").fetchall():
                    time.sleep(0.001)
                with _writer(store / "mlflow.db"):
                    yield
                    status = connection.execute("select status from runs").fetchall()
            assert status == [("RUNNING",)]

        with _for(MLFLOW_SECONDS + 3, writer_once_it_runs(), at_once=False):
            trained()

    def test_what_was_logged_outlives_a_kill(self, store, tmp_path):
        script = (
            "import os, signal; from recsweep.tracking import TrackingOptions, tracker\n"
            "run = tracker(TrackingOptions(uri=None, experiment='recsweep')).start('one')\n"
            "run.log(metrics={'train/loss': 0.5}); os.kill(os.getpid(), signal.SIGKILL)"
        )
        environ = {**os.environ, "RECSWEEP_HOME": str(store)}
        subprocess.run([sys.executable, "-c", script], env=environ, timeout=120)
        assert (store / "mlflow.db-wal").stat().st_size > 0
        with closing(sqlite3.connect(store / "mlflow.db")) as connection:
            assert connection.execute("select value from metrics").fetchall() == [(0.5,)]


COMMANDS = """
import json, sys
from recsweep.cli import main
for command in json.loads(sys.argv[1]):
    sys.argv[1:] = command
    try:
        main()
        print("ended:", command[0], 0, flush=True)
    except SystemExit as ended:
        print("ended:", command[0], ended.code, flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="only root mounts a disk read-only"
)
def test_on_a_read_only_disk_what_reads_works_and_what_writes_is_one_error(store, train, tmp_path):
    environ = {**os.environ, "RECSWEEP_HOME": str(store)}
    for model in ("popularity", "logistic"):
        assert train(f"model={model}", *TRAINING[:-1], env=environ).returncode == 0
    champion = (
        "from recsweep.promotion.registry import Registry; from recsweep.tracking import *\n"
        "options = TrackingOptions(uri=None, experiment='recsweep')\n"
        "registry = Registry(tracker(options))\n"
        "version = registry.register(finished_runs(options)[0], tags={}, description='')\n"
        "registry._give_alias(version)"
    )
    subprocess.run([sys.executable, "-c", champion], env=environ, check=True, timeout=120)
    (store / "mlflow.db.lock").unlink()
    files = ["artifacts", "mlflow.db"]
    assert sorted(os.listdir(store)) == files, "the last one to close leaves one file"
    commands = [
        ["runs"],
        ["compare", "--no-log"],
        ["champion"],
        ["recommend", "--user", "1"],
        ["compare"],
        ["train", "model=popularity", *TRAINING],
    ]
    mount = f"mount --bind '{store}' '{store}' && mount -o remount,bind,ro '{store}' && exec \"$@\""
    done = subprocess.run(
        [
            "unshare",
            "-m",
            "sh",
            "-c",
            mount,
            "-",
            sys.executable,
            "-c",
            COMMANDS,
            json.dumps(commands),
        ],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=200,
    )
    ended = [line for line in done.stdout.splitlines() if line.startswith("ended: ")]
    assert ended == [
        "ended: runs 0",
        "ended: compare 0",
        "ended: champion 0",
        "ended: recommend 0",
        "ended: compare 1",
        "ended: train 1",
    ], done.stderr
    assert "recsweep version 1: popularity" in done.stdout
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2
    assert all("attempt to write a readonly database" in error for error in errors)
    assert "Traceback" not in done.stderr
    assert sorted(os.listdir(store)) == files
