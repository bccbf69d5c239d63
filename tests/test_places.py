"""A home that was moved or copied: read at once, written once its artifacts follow it, and what
lies at the old place is left alone."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from recsweep.errors import TrackingError
from recsweep.tracking import RegisteredModel, Tracker, TrackingOptions, finished_runs, tracker
from tests.conftest import copy_database

OPTIONS = TrackingOptions(uri=None, experiment="recsweep")


@pytest.fixture
def original(store: Path, tmp_path: Path) -> Path:
    """A home with a run, its logged model and a version of that."""
    files = tmp_path / "files" / "artifacts" / "model"
    files.mkdir(parents=True)
    (files / "weights").write_text("heavy")
    opened = Tracker(OPTIONS)
    run = opened.start("one", {"model_kind": "toy"})
    run.log_folder(tmp_path / "files" / "artifacts")
    client = opened.client
    logged = client.create_logged_model(opened.experiment_id, "model", source_run_id=run.id)
    client.log_model_artifacts(logged.model_id, str(tmp_path / "files"))
    run.end("FINISHED")
    RegisteredModel(opened, "recsweep").register(
        run.id, logged.model_id, tags={}, description="", about=""
    )
    return store


@pytest.fixture(params=["moved", "copied"])
def home(request, original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "another place"
    if request.param == "moved":
        os.rename(original, home)
    else:
        shutil.copytree(original, home)
    monkeypatch.setenv("RECSWEEP_HOME", str(home))
    tracker.cache_clear()
    return home


def _files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def _texts(database: Path) -> list[str]:
    """All texts of a database."""
    with closing(sqlite3.connect(database)) as connection:
        tables = connection.execute("select name from sqlite_master where type = 'table'")
        return [
            value
            for (table,) in tables.fetchall()
            for row in connection.execute(f'select * from "{table}"')
            for value in row
            if isinstance(value, str)
        ]


def _reads_all(opened: Tracker, below: Path) -> None:
    (record,) = finished_runs(OPTIONS)
    with opened.artifact(record, "model") as folder:
        assert folder.is_relative_to(below)
        assert (folder / "weights").read_text() == "heavy"
    version = RegisteredModel(opened, "recsweep").version("1")
    with opened.saved_model(version.model_id) as folder:
        assert folder.is_relative_to(below)
        assert (folder / "weights").read_text() == "heavy"


class TestAMovedHome:
    def test_is_read_at_once(self, home, caplog):
        _reads_all(tracker(OPTIONS), home)
        assert "was moved or copied" in caplog.text
        assert "relocate" in caplog.text

    def test_nothing_is_written_before_it_is_relocated(self, home, original):
        opened = tracker(OPTIONS)
        (record,) = finished_runs(OPTIONS)
        version = RegisteredModel(opened, "recsweep").version("1")
        before = _files(original.parent)
        for write in (
            lambda: opened.start("two"),
            lambda: opened.reopen(record.id),
            lambda: opened.add_to(record),
            lambda: RegisteredModel(opened, "recsweep").register(
                record.id, version.model_id, tags={}, description="", about=""
            ),
        ):
            with pytest.raises(TrackingError, match=r"to the old place, file:///.*relocate"):
                write()
        assert {path for path in _files(original.parent) if "artifacts" in str(path)} == {
            path for path in before if "artifacts" in str(path)
        }

    def test_relocated_it_is_as_if_it_had_always_been_there(self, home, original, caplog):
        before = _files(original)
        relocated = tracker(OPTIONS).relocate()
        assert relocated.former == ((original / "artifacts").as_uri(),)
        assert relocated.changed >= 5
        assert relocated.missing == []
        assert not [text for text in _texts(home / "mlflow.db") if str(original) in text]
        tracker.cache_clear()
        caplog.clear()
        _reads_all(tracker(OPTIONS), home)
        run = tracker(OPTIONS).start("two", {"model_kind": "toy"})
        run.log_folder(home.parent / "files")
        run.end("FINISHED")
        assert (home / "artifacts" / run.id).is_dir()
        assert "moved" not in caplog.text
        assert tracker(OPTIONS).relocate().changed == 0
        assert _files(original) == before, "the copy wrote into the original"


def test_a_copy_of_the_database_alone_reads_the_original_and_names_what_to_copy(
    original, tmp_path, monkeypatch
):
    home = tmp_path / "copy"
    home.mkdir()
    copy_database(original / "mlflow.db", home / "mlflow.db")
    monkeypatch.setenv("RECSWEEP_HOME", str(home))
    tracker.cache_clear()
    _reads_all(tracker(OPTIONS), original)
    relocated = tracker(OPTIONS).relocate()
    assert relocated.missing == [original / "artifacts"]
    assert relocated.folder == home / "artifacts"


def test_another_path_to_the_same_home_is_no_move(original, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(original)
    monkeypatch.setenv("RECSWEEP_HOME", str(tmp_path / "link"))
    tracker.cache_clear()
    tracker(OPTIONS).start("two").end("FINISHED")


def test_an_experiment_that_somebody_put_elsewhere_stays_there(store, tmp_path):
    opened = Tracker(OPTIONS)
    place = (tmp_path / "big disk" / "artifacts").as_uri()
    opened.client.create_experiment("mine", artifact_location=place)
    theirs = Tracker(TrackingOptions(uri=None, experiment="mine"))
    run = theirs.start("one")
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.txt").touch()
    run.log_folder(tmp_path / "files")
    run.end("FINISHED")
    assert (tmp_path / "big disk" / "artifacts" / run.id).is_dir()
    assert theirs.relocate().changed == 0


def test_a_store_of_a_server_is_refused_in_words(store, monkeypatch):
    opened = Tracker(OPTIONS)
    monkeypatch.setattr(opened, "_database", None)
    with pytest.raises(TrackingError, match="is for a store in a sqlite file"):
        opened.relocate()
