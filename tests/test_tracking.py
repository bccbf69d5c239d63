"""The store: opened or refused within seconds, written by one owner a run, no run left RUNNING."""

import http.server
import json
import logging
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import pytest

from recsweep.errors import DataError, TrackingError
from recsweep.processes import Worker
from recsweep.tracking import (
    TRIAL_TAG,
    DatasetNote,
    RunRecord,
    Tracker,
    TrackingOptions,
    environment,
    finished_runs,
    grouped,
    open_runs,
    person,
    tracker,
    tracking_uri,
)
from recsweep.tracking.records import SETTLED_TAG, WORKER_TAG
from tests.stored_runs import log_run

PATIENCE = 15
"""Seconds within which a store that is away must be said to be: MLflow alone would take minutes."""


def _options(uri: str | None = None) -> TrackingOptions:
    return TrackingOptions(uri=uri, experiment="recsweep")


@pytest.fixture
def opened(store: Path) -> Tracker:
    return Tracker(_options())


def _refusal(uri: str) -> str:
    start = perf_counter()
    with pytest.raises(TrackingError) as refused:
        Tracker(_options(uri))
    assert perf_counter() - start < PATIENCE
    return str(refused.value)


class TestWhereTheStoreIs:
    def test_in_the_current_folder_by_default(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert tracking_uri() == f"sqlite:///{tmp_path}/mlruns/mlflow.db"

    def test_in_recsweep_home(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("RECSWEEP_HOME", "here")
        assert tracking_uri() == f"sqlite:///{tmp_path}/here/mlflow.db"

    def test_mlflows_own_setting_goes_first_and_an_explicit_one_before_it(self, monkeypatch):
        monkeypatch.setenv("RECSWEEP_HOME", "here")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host")
        assert tracking_uri() == "http://host"
        assert tracking_uri("https://other") == "https://other"

    def test_a_relative_sqlite_file_becomes_absolute(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert tracking_uri("sqlite:///a.db") == f"sqlite:///{tmp_path}/a.db"

    def test_artifacts_lie_beside_the_database(self, opened, store):
        experiment = opened.client.get_experiment(opened.experiment_id)
        assert experiment.name == "recsweep"
        assert experiment.artifact_location == (store / "artifacts").as_uri()


class TestStoresThatCannotBeOpened:
    def test_the_database_is_a_folder(self, tmp_path):
        (tmp_path / "mlflow.db").mkdir()
        assert "can't be opened: it can't be opened (unable to open database file)" in _refusal(
            f"sqlite:///{tmp_path}/mlflow.db"
        )

    def test_the_database_is_another_file(self, tmp_path):
        (tmp_path / "mlflow.db").write_bytes(b"not a database " * 100)
        assert "can't be opened: it is no sqlite file (file is not a database)" in _refusal(
            f"sqlite:///{tmp_path}/mlflow.db"
        )

    def test_its_folder_is_a_file(self, tmp_path):
        (tmp_path / "mlruns").write_text("a file")
        message = _refusal(f"sqlite:///{tmp_path}/mlruns/mlflow.db")
        assert "can't be used: what should be a folder is a file: File exists" in message
        assert "disk" not in message
        assert "choose another with tracking.uri=" in message

    def test_a_sqlite_uri_with_settings(self, tmp_path):
        assert "unable to open database file" in _refusal(
            f"sqlite:///{tmp_path}/none/mlflow.db?timeout=1"
        )

    def test_a_closed_port(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        message = _refusal(f"http://anna:s3cret@127.0.0.1:{port}")
        assert f"The MLflow store http://anna:***@127.0.0.1:{port} can't be used" in message
        assert "Connection refused" in message
        assert "s3cret" not in message

    def test_a_server_in_trouble(self):
        class Unavailable(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_error(503)

            def log_message(self, *_):
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Unavailable) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            message = _refusal(f"http://127.0.0.1:{server.server_port}")
            server.shutdown()
        assert "503 Server Error" in message

    @pytest.mark.parametrize(
        "uri", ["nonsense://anna:s3cret@host/db", "some/folder", "file:///some/folder"]
    )
    def test_no_kind_of_store_that_mlflow_writes(self, uri):
        message = _refusal(uri)
        assert "can't be used" in message
        assert "s3cret" not in message

    @pytest.mark.parametrize("revision", ["451aebb31d03", "f00f00f00f00"], ids=["older", "unknown"])
    def test_another_schema(self, store, revision):
        with sqlite3.connect(store / "mlflow.db") as connection:
            # with nobody's rows an older one would be made anew
            connection.execute("insert into runs (run_uuid, experiment_id) values ('r', 0)")
            connection.execute("update alembic_version set version_num = ?", [revision])
        connection.close()
        message = _refusal(f"sqlite:///{store}/mlflow.db")
        assert (
            f"take a backup, then run: mlflow db upgrade 'sqlite:///{store}/mlflow.db'" in message
        )
        assert "If a newer one did" in message

    def test_a_deleted_experiment(self, opened, store):
        opened.client.delete_experiment(opened.experiment_id)
        message = _refusal(f"sqlite:///{store}/mlflow.db")
        assert f"mlflow experiments restore --experiment-id {opened.experiment_id}" in message
        assert f"MLFLOW_TRACKING_URI='sqlite:///{store}/mlflow.db' mlflow" in message

    def test_a_refusal_leaves_nothing_behind(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        _refusal("some/folder")
        assert list(tmp_path.iterdir()) == []


class TestRun:
    def test_what_is_logged_is_masked(self, opened):
        run = opened.start("name", {"from": "http://anna:s3cret@host"})
        run.log(
            params={"data.path": "https://host/a.csv?token=s3cret"},
            tags={"to": "http://anna:s3cret@host"},
        )
        run.log_datasets(
            [DatasetNote("data", "digest", "https://host/a.csv?token=s3cret", {"rows": 1}, "data")]
        )
        run.fail(DataError("No file at https://host/a.csv?token=s3cret"))
        found = opened.client.get_run(run.id)
        assert "s3cret" not in json.dumps(found.to_dictionary())
        assert found.data.params["data.path"] == "https://host/a.csv?token=***"
        assert found.data.tags["to"] == found.data.tags["from"] == "http://anna:***@host"
        assert json.loads(found.inputs.dataset_inputs[0].dataset.source) == {
            "uri": "https://host/a.csv?token=***"
        }
        assert found.data.tags["reason"] == "DataError: No file at https://host/a.csv?token=***"

    def test_a_run_ends_once(self, opened):
        run = opened.start("name")
        run.end("FINISHED")
        run.end("FAILED", "too late")
        found = opened.client.get_run(run.id)
        assert found.info.status == "FINISHED"
        assert "reason" not in found.data.tags

    def test_an_error_of_the_program_leaves_its_traceback(self, opened, store):
        run = opened.start("name")
        try:
            raise ZeroDivisionError("at http://anna:s3cret@host")
        except ZeroDivisionError as error:
            run.fail(error)
        found = opened.client.get_run(run.id)
        assert (found.info.status, found.data.tags["reason"]) == (
            "FAILED",
            "ZeroDivisionError: at http://anna:***@host",
        )
        written = (store / "artifacts" / run.id / "artifacts" / "traceback.txt").read_text()
        assert written.startswith("Traceback (most recent call last):")
        assert written.endswith("ZeroDivisionError: at http://anna:***@host\n")

    def test_an_error_of_the_user_leaves_no_traceback(self, opened, store):
        run = opened.start("name")
        run.fail(DataError("no file"))
        assert opened.client.list_artifacts(run.id) == []

    def test_a_long_reason_is_kept_as_far_as_it_goes(self, opened):
        run = opened.start("name")
        run.fail(DataError("very " * 10_000 + "long"))
        found = opened.client.get_run(run.id)
        assert found.info.status == "FAILED"
        assert found.data.tags["reason"].startswith("DataError: very very")


class TestOpenRuns:
    def _statuses(self, opened: Tracker) -> dict[str, str]:
        runs = opened.client.search_runs([opened.experiment_id])
        return {
            run.info.run_name: f"{run.info.status} {run.data.tags.get('reason', '')}".strip()
            for run in runs
        }

    def test_what_is_still_open_fails_by_an_error(self, opened):
        def work():
            with open_runs([lambda: opened.start("one"), lambda: opened.start("two")]) as (one, _):
                one.end("FINISHED")
                raise DataError("broken")

        with pytest.raises(DataError, match="broken"):
            work()
        assert self._statuses(opened) == {"one": "FINISHED", "two": "FAILED DataError: broken"}

    def test_what_was_started_fails_where_the_next_does_not_start(self, opened):
        def broken():
            raise TrackingError("the disk is full")

        with pytest.raises(TrackingError), open_runs([lambda: opened.start("one"), broken]):
            pytest.fail("not reached")
        assert self._statuses(opened) == {"one": "FAILED TrackingError: the disk is full"}

    @pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
    def test_what_is_still_open_is_killed_by_an_interrupt(self, opened, interrupt):
        with (
            pytest.raises(interrupt),
            open_runs([lambda: opened.start("one"), lambda: opened.start("two")]),
        ):
            raise interrupt
        assert self._statuses(opened) == {"one": "KILLED interrupted", "two": "KILLED interrupted"}

    def test_a_terminating_signal_is_an_interrupt_and_only_inside(self, opened):
        before = signal.getsignal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt), open_runs([lambda: opened.start("one")]):
            os.kill(os.getpid(), signal.SIGTERM)
        assert self._statuses(opened) == {"one": "KILLED interrupted"}
        assert signal.getsignal(signal.SIGTERM) is before

    def test_runs_may_be_opened_in_a_thread(self, opened):
        def work():
            with open_runs([lambda: opened.start("one")]) as (run,):
                run.end("FINISHED")

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert self._statuses(opened) == {"one": "FINISHED"}

    def test_the_first_error_is_the_one_to_see_where_the_store_breaks(
        self, opened, monkeypatch, caplog
    ):
        def broken(*_, **__):
            raise OSError("No space left on device")

        def work():
            with open_runs([lambda: opened.start("one")]):
                monkeypatch.setattr(opened.client, "log_batch", broken)
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            work()
        assert "could not be ended" in caplog.text
        assert "No space left on device" in caplog.text


class TestRunsOfDeadProcesses:
    """A command that opens the store ends them, and no others."""

    @pytest.fixture
    def dead(self, monkeypatch) -> Worker:
        """A process that has died; runs that are started or opened from now on are its."""
        dead = replace(Worker.here(), started="1")
        monkeypatch.setattr("recsweep.processes.Worker.here", lambda: dead)
        return dead

    def test_are_killed_with_their_pending_models(self, opened, dead):
        run = opened.start("knn")
        model = opened.client.create_logged_model(opened.experiment_id, source_run_id=run.id)
        tracker(_options())
        record = opened.record(run.id)
        reason = f"its process {dead.pid} on {dead.host} died"
        assert (record.status, record.tags["reason"], record.tags[SETTLED_TAG]) == (
            "KILLED",
            reason,
            reason,
        )
        assert opened.client.get_logged_model(model.model_id).status == "FAILED"

    def test_of_a_trial_say_so(self, opened, dead):
        run = opened.start("#0 knn", {TRIAL_TAG: 0, "trial_state": "running"})
        opened.settle()
        assert opened.record(run.id).tags["trial_state"] == "died"

    def test_the_living_those_elsewhere_and_those_of_earlier_versions_are_left(
        self, opened, monkeypatch
    ):
        runs = [opened.start("of this process"), opened.start("of an earlier version")]
        opened.untag(runs[1].id, WORKER_TAG)
        elsewhere = replace(Worker.here(), host="elsewhere", started="1")
        monkeypatch.setattr("recsweep.processes.Worker.here", lambda: elsewhere)
        runs.append(opened.start("of another machine"))
        opened.settle()
        assert {opened.record(run.id).status for run in runs} == {"RUNNING"}

    def test_one_that_another_process_has_opened_again_is_that_ones(self, opened, monkeypatch):
        here, started = Worker.here, opened.start
        monkeypatch.setattr("recsweep.processes.Worker.here", lambda: replace(here(), started="1"))
        run = started("a study")
        opened.settle()
        monkeypatch.setattr("recsweep.processes.Worker.here", here)
        again = opened.reopen(run.id)
        opened.settle()
        assert opened.record(run.id).status == "RUNNING"
        again.end("FINISHED")
        record = opened.record(run.id)
        assert record.status == "FINISHED"
        assert {"reason", SETTLED_TAG}.isdisjoint(record.tags)
        assert [tag for tag in record.tags if tag.startswith(WORKER_TAG)] == [WORKER_TAG]

    def test_a_store_that_can_only_be_read_is_left_as_it_is(self, opened, dead, store):
        run = opened.start("knn")
        opened._database.access = "ro"
        opened.settle()
        assert opened.record(run.id).status == "RUNNING"


class TestWhatARunIs:
    def _of(self, opened: Tracker, name: str, **tags) -> RunRecord:
        return opened.record(opened.start(name, tags).id)

    def test_is_what_its_tags_say(self, opened):
        record = self._of(
            opened,
            "#3 named by hand",
            model_kind="p3alpha 0.5",
            role="net",
            model_label="p3alpha 0.5 of 50",
            trial_number=3,
        )
        assert (record.kind, record.role, record.label) == (
            "p3alpha 0.5",
            "net",
            "p3alpha 0.5 of 50",
        )

    def test_of_an_earlier_version_is_told_by_its_loss_and_its_name(self, opened):
        trial = self._of(
            opened, "#3 recipe_net 10x10", model_kind="recipe_net", loss="bce", trial_number=3
        )
        assert (trial.kind, trial.role, trial.label) == ("recipe_net", "net", "recipe_net 10x10")
        alone = self._of(opened, "knn user 50", model_kind="knn")
        assert (alone.kind, alone.role, alone.label) == ("knn", "baseline", "knn user 50")

    def test_stands_under_another_with_its_note_and_who_started_it(self, opened):
        parent = opened.start("above")
        child = opened.start("below", {"trial_number": 0}, parent=parent.id)
        child.log(note="**bold**")
        record = opened.record(child.id)
        assert record.tags["mlflow.parentRunId"] == parent.id
        assert record.tags["mlflow.note.content"] == "**bold**"
        assert (record.who, record.status) == (person(), "RUNNING")
        ((number, run),) = opened.orphaned_trials(parent.id)
        assert (number, run.id) == (0, child.id)


class TestFinishedRuns:
    def _log(
        self, opened: Tracker, name: str, status: str = "FINISHED", split: str = "s", **tags
    ) -> str:
        return log_run(
            opened, name, status, split=split, tags=tags, metrics={"validation/mse": 0.5}
        )

    def test_only_finished_ones_by_what_they_were_measured_on(self, opened):
        for name, status, split in (
            ("one", "FINISHED", "s"),
            ("two", "FAILED", "s"),
            ("three", "FINISHED", "t"),
            ("four", "FINISHED", "s"),
        ):
            self._log(opened, name, status, split)
        groups = grouped(finished_runs(_options()))
        assert {key: [each.name for each in records] for key, records in groups.items()} == {
            ("d1", "s", "not_liked"): ["one", "four"],
            ("d1", "t", "not_liked"): ["three"],
        }
        assert groups["d1", "t", "not_liked"][0].metrics == {"validation/mse": 0.5}

    def test_the_latest_so_many(self, opened):
        for name in ("one", "two", "three"):
            self._log(opened, name)
        assert [each.name for each in finished_runs(_options(), last=2)] == ["two", "three"]

    def test_what_is_no_run_of_a_model_does_not_count(self, opened):
        opened.start("a study").end("FINISHED")
        with pytest.raises(TrackingError, match="has no finished run"):
            finished_runs(_options(), last=1)

    def test_by_id_by_its_beginning_and_by_name(self, opened):
        ids = [self._log(opened, name) for name in ("one", "two", "two")]
        found = finished_runs(_options(), ids=["two", ids[0], ids[1][:8]])
        assert [each.id for each in found] == [ids[2], ids[0], ids[1]]
        with pytest.raises(
            TrackingError, match=r"no finished run 'three'\. List them with: recsweep runs"
        ):
            finished_runs(_options(), ids=["three"])

    def test_of_a_study(self, opened):
        self._log(opened, "one", study="anna's")
        self._log(opened, "two", study="b")
        assert [each.name for each in finished_runs(_options(), study="anna's")] == ["one"]
        with pytest.raises(TrackingError, match="no finished run of the study 'c'"):
            finished_runs(_options(), study="c")

    def test_none_at_all(self, opened):
        self._log(opened, "one", "FAILED")
        with pytest.raises(
            TrackingError, match=r"has no finished run. Make one with: python train.py"
        ):
            finished_runs(_options(), last=9)


class TestDeletedRuns:
    @pytest.fixture
    def deleted(self, opened) -> RunRecord:
        run = opened.start("one", {"model_kind": "toy"})
        run.end("FINISHED")
        record = opened.record(run.id)
        opened.client.delete_run(run.id)
        return record

    @pytest.mark.parametrize("wanted", ["one", "id", "beginning"])
    def test_one_that_is_asked_for_is_told_from_none(self, deleted, wanted):
        wanted = {"id": deleted.id, "beginning": deleted.id[:8]}.get(wanted, wanted)
        with pytest.raises(TrackingError, match=f"runs restore --run-id {deleted.id}"):
            finished_runs(_options(), ids=[wanted])

    def test_one_that_is_written_to_is_named(self, opened, deleted):
        for write in (
            lambda: opened.reopen(deleted.id),
            lambda: opened.add_to(deleted).log(tags={"a": 1}),
        ):
            with pytest.raises(TrackingError) as refused:
                write()
            assert str(refused.value).startswith(f"The run {deleted.id} was deleted")
            assert str(refused.value).endswith(f"mlflow runs restore --run-id {deleted.id}")

    def test_one_that_is_gone_for_good_is_no_trouble_of_the_store(self, opened):
        with pytest.raises(TrackingError, match=r"does not hold that, or no more: .*no-such-run"):
            opened.record("no-such-run")


class TestArtifacts:
    def test_where_they_lie_and_histories(self, opened, tmp_path):
        run = opened.start("one", {"model_kind": "toy"})
        (tmp_path / "folder" / "evaluation").mkdir(parents=True)
        (tmp_path / "folder" / "evaluation" / "a.txt").write_text("found")
        run.log_folder(tmp_path / "folder")
        for step in (2, 1):
            run.log(metrics={"train/loss": float(step)}, step=step)
        run.end("FINISHED")
        (record,) = finished_runs(_options())
        with opened.artifact(record, "evaluation") as folder:
            assert (folder / "a.txt").read_text() == "found"
        with (
            pytest.raises(TrackingError, match="has no artifact absent"),
            opened.artifact(record, "absent"),
        ):
            pass
        assert opened.histories(record, ["train/loss", "absent"]) == {
            "train/loss": [(1, 1.0), (2, 2.0)]
        }


def test_the_environment_names_versions_and_the_commit():
    found = environment()
    assert {"recsweep", "torch", "mlflow", "numpy", "hydra-core"} <= found["packages"].keys()
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    json.dumps(found)


def test_the_libraries_log_nothing_on_the_way(store, capfd, caplog):
    run = Tracker(_options()).start("name")
    run.log(metrics={"validation/mse": 0.5}, params={"a": 1}, tags={"b": 2}, step=1)
    run.end("FINISHED")
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


CREATE = """
from recsweep.tracking import TrackingOptions, tracker
tracker(TrackingOptions(uri=None, experiment="recsweep")).start("run").end("FINISHED")
"""


@pytest.mark.slow
def test_processes_that_create_the_same_store_at_once_all_succeed(tmp_path):
    environ = {**os.environ, "RECSWEEP_HOME": str(tmp_path / "store")}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", CREATE], env=environ, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    errors = [process.communicate(timeout=120)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], errors
    with sqlite3.connect(tmp_path / "store" / "mlflow.db") as connection:
        assert connection.execute(
            "select count(*) from runs where status = 'FINISHED'"
        ).fetchone() == (3,)
        assert connection.execute(
            "select count(*) from experiments where name = 'recsweep'"
        ).fetchone() == (1,)
    connection.close()
