"""A server that goes away: what is logged is kept, sent once when it is back, and in its order."""

import json
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from recsweep.errors import TrackingError
from recsweep.tracking import DatasetNote, Tracker, TrackingOptions, mlflow_run, spool, sync
from recsweep.tracking.mlflow_run import MlflowRun
from recsweep.tracking.spool import Outbox, Spool, kept, patient, send_rest, spool_folder

URI = "http://anna:s3cret@server:5000"


class Server:
    """The client of a server that can be away, with a real store behind it.

    Attributes:
        away: Whether it gives no answer.
        deaf: Name of a method that does what it is asked for, after which the answer is lost.
    """

    def __init__(self, store: Tracker) -> None:
        self.store = store
        self.away = False
        self.deaf = ""
        self.asked: list[str] = []

    def _answers(self) -> None:
        from mlflow.exceptions import MlflowException

        if self.away:
            raise MlflowException("API request to http://server:5000 failed with exception …")

    def __getattr__(self, name: str):
        def method(*arguments, **settings):
            self.asked.append(name)
            self._answers()
            result = getattr(self.store.client, name)(*arguments, **settings)
            if name == self.deaf:
                self.away, self.deaf = True, ""
                self._answers()
            return result

        return method

    def health(self, uri: str, timeout: float) -> None:
        self._answers()


@pytest.fixture
def server(store: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server(Tracker(TrackingOptions(uri=None, experiment="recsweep")))
    monkeypatch.setattr(spool, "ask_health", server.health)
    monkeypatch.setattr(spool, "_client", lambda uri: server)
    return server


@pytest.fixture
def outbox(server: Server, monkeypatch: pytest.MonkeyPatch) -> Outbox:
    outbox = Outbox(server, URI, 0.3)
    monkeypatch.setattr(spool, "_outboxes", {URI: outbox})
    return outbox


@pytest.fixture
def run(server: Server, outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> MlflowRun:
    monkeypatch.setattr(mlflow_run, "TOGETHER_SECONDS", 0)
    started = server.store.start("knn user 50")
    return MlflowRun(
        server, URI, server.store.experiment_id, started.id, started.name, outbox=outbox
    )


@pytest.fixture
def logged(server: Server, run: MlflowRun):
    """logged(): what the store has of the run."""

    def logged() -> SimpleNamespace:
        client = server.store.client
        entity = client.get_run(run.id)
        history = client.get_metric_history(run.id, "train/loss")
        return SimpleNamespace(
            status=entity.info.status,
            ended=entity.info.end_time,
            tags=entity.data.tags,
            params=entity.data.params,
            losses=[(point.step, point.value) for point in history],
            datasets=[each.dataset.name for each in entity.inputs.dataset_inputs],
            artifacts=[file.path for file in client.list_artifacts(run.id)],
            models=[output.model_id for output in entity.outputs.model_outputs],
        )

    return logged


def _train(run: MlflowRun, tmp_path: Path) -> None:
    """All that a run logs from its start to its end."""
    run.log(params={"model.name": "knn"})
    run.log_datasets([DatasetNote("toy", "d1", "toy.csv", {"num_users": 3}, "data")])
    for epoch in (1, 2):
        run.log(metrics={"train/loss": 1 / epoch}, step=epoch)
    folder = tmp_path / "artifacts"
    folder.mkdir()
    (folder / "config.yaml").write_text("seed: 0\n")
    run.log_folder(folder)
    (folder / "config.yaml").write_text("another's by now\n")
    run.end("FINISHED")


WHOLE = {
    "status": "FINISHED",
    "params": {"model.name": "knn"},
    "losses": [(1, 1.0), (2, 0.5)],
    "datasets": ["toy"],
    "artifacts": ["config.yaml"],
}


def _assert_whole(found: SimpleNamespace) -> None:
    assert {name: getattr(found, name) for name in WHOLE} == WHOLE


class TestOfOneProcess:
    def test_nothing_is_kept_while_the_server_answers(self, run, logged, tmp_path):
        _train(run, tmp_path)
        _assert_whole(logged())
        assert not spool_folder().exists()
        assert send_rest(wait=True) == []

    def test_what_is_logged_while_it_is_away_is_sent_in_the_end(
        self, server, run, logged, tmp_path, caplog
    ):
        caplog.set_level("INFO", logger="recsweep")
        server.away = True
        _train(run, tmp_path)
        assert logged().status == "RUNNING"
        assert send_rest(wait=False) == ["knn user 50"]
        server.away = False
        ended = time.time() * 1000
        time.sleep(0.01)
        assert send_rest(wait=True) == []
        _assert_whole(logged())
        assert logged().ended <= ended  # when it ended, not when that was sent
        text = server.store.client.download_artifacts(run.id, "config.yaml")
        assert Path(text).read_text() == "seed: 0\n"
        assert list(spool_folder().iterdir()) == []
        (gone,) = [line for line in caplog.messages if "is away" in line]
        (back,) = [line for line in caplog.messages if "is back after" in line]
        assert "http://anna:***@server:5000 is away: what is logged is kept until" in gone
        assert "http://anna:***@server:5000 is back after 0 s" in back
        assert "is sent: 6 entries." in caplog.text

    def test_it_is_sent_at_an_epoch_as_soon_as_the_server_is_back(
        self, server, outbox, run, logged
    ):
        server.away = True
        run.log(metrics={"train/loss": 3.0}, step=1)
        asked = len(server.asked)
        run.log(metrics={"train/loss": 2.0}, step=2)
        assert len(server.asked) == asked  # no epoch waits for a server that was just away
        server.away = False
        outbox._next_look = 0
        run.log(metrics={"train/loss": 1.0}, step=3)
        assert logged().losses == [(1, 3.0), (2, 2.0), (3, 1.0)]
        run.log(metrics={"train/loss": 0.5}, step=4)
        assert logged().losses[-1] == (4, 0.5)
        assert kept() == []

    @pytest.mark.parametrize(
        "deaf", ["log_batch", "log_inputs", "log_artifacts", "set_terminated", "delete_tag"]
    )
    def test_what_was_done_though_the_answer_was_lost_is_not_there_twice(
        self, deaf, server, run, logged, tmp_path
    ):
        run.log(tags={"reason": "interrupted"})
        run._outdated = ["reason"]
        server.deaf = deaf
        _train(run, tmp_path)
        server.away = False
        assert send_rest(wait=True) == []
        _assert_whole(logged())
        assert "reason" not in logged().tags

    @pytest.mark.parametrize(
        "deaf",
        ["create_logged_model", "log_model_artifacts", "finalize_logged_model", "log_outputs"],
    )
    def test_a_model_is_logged_once(self, deaf, server, run, logged, tmp_path):
        from mlflow.models import Model

        (tmp_path / "model").mkdir()
        Model(run_id=run.id).save(tmp_path / "model" / "MLmodel")
        server.deaf = deaf
        run._write({"do": "model", "step": 2}, tmp_path / "model")
        run.end("FINISHED")
        server.away = False
        assert send_rest(wait=True) == []
        client, experiment = server.store.client, server.store.experiment_id
        (model,) = client.search_logged_models([experiment])
        assert (model.status, logged().models) == ("READY", [model.model_id])
        with server.store._model_file(model.artifact_location, "MLmodel") as path:
            assert Model.load(path).model_id == model.model_id

    @pytest.mark.parametrize("away", ["all the time", "at first"])
    def test_a_model_that_was_begun_while_it_is_away_has_its_metrics(
        self, away, server, run, logged, outbox, tmp_path
    ):
        from mlflow.models import Model

        (tmp_path / "model").mkdir()
        Model(run_id=run.id).save(tmp_path / "model" / "MLmodel")
        server.away = True
        run.begin_model("net 8-4", {"model.user_dim": 8})
        if away == "at first":
            server.away, outbox._next_look = False, 0
        run.log(metrics={"validation/mse": 0.25}, measured_on=("likes", "d1"))
        run._write({"do": "model", "step": 2}, tmp_path / "model")
        run.end("FINISHED")
        server.away = False
        assert send_rest(wait=True) == []
        (model,) = server.store.client.search_logged_models([server.store.experiment_id])
        assert (model.name, model.status) == ("net 8-4", "READY")
        assert model.params == {"model.user_dim": "8"}
        (metric,) = model.metrics
        assert (metric.key, metric.value, metric.dataset_name) == ("validation/mse", 0.25, "likes")
        assert logged().models == [model.model_id]

    def test_a_model_that_was_begun_is_given_up_with_its_run(self, server, run):
        server.away = True
        run.begin_model("net 8-4", {})
        run.end("FAILED", "the disk is full")
        server.away = False
        assert send_rest(wait=True) == []
        (model,) = server.store.client.search_logged_models([server.store.experiment_id])
        assert model.status == "FAILED"

    def test_many_epochs_are_few_requests(self, server, run, logged):
        server.away = True
        for epoch in range(1, 301):
            run.log(metrics={"train/loss": 1 / epoch}, step=epoch)
        run.end("FINISHED")
        server.away = False
        server.asked.clear()
        send_rest(wait=True)
        assert len(logged().losses) == 300
        assert server.asked == ["log_batch", "set_terminated"]

    def test_quick_epochs_are_few_requests_too(self, server, run, logged, monkeypatch):
        monkeypatch.setattr(mlflow_run, "TOGETHER_SECONDS", 60)
        run.log(params={"model.name": "knn"})
        for epoch in range(1, 301):
            run.log(metrics={"train/loss": 1 / epoch}, step=epoch)
        run.log(metrics={"fit/epochs": 300}, tags={"collapsed": "false"})
        run.end("FINISHED")
        assert server.asked == ["log_batch", "log_batch", "set_terminated"]
        assert logged().losses == [(epoch, 1 / epoch) for epoch in range(1, 301)]
        assert logged().tags["collapsed"] == "false"

    def test_metrics_that_waited_come_before_the_end(self, server, run, logged, monkeypatch):
        monkeypatch.setattr(mlflow_run, "TOGETHER_SECONDS", 60)
        for epoch in (1, 2, 3):
            run.log(metrics={"train/loss": 1 / epoch}, step=epoch)
        run.end("KILLED", "interrupted")
        assert server.asked == ["log_batch", "log_batch", "log_batch", "set_terminated"]
        assert [step for step, _ in logged().losses] == [1, 2, 3]

    def test_an_interrupt_in_the_middle_of_a_request_keeps_what_it_was(
        self, server, run, logged, monkeypatch
    ):
        def interrupted(*_, **__):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(server, "log_batch", interrupted, raising=False)
            with pytest.raises(KeyboardInterrupt):
                run.log(metrics={"train/loss": 3.0}, step=1)
        run.end("KILLED", "interrupted")
        assert send_rest(wait=False) == []
        assert (logged().status, logged().losses) == ("KILLED", [(1, 3.0)])

    def test_whoever_was_interrupted_does_not_wait_for_files(self, server, run, tmp_path):
        server.away = True
        _train(run, tmp_path)
        server.away = False
        assert send_rest(wait=False) == ["knn user 50"]
        assert "log_inputs" in server.asked
        assert "log_artifacts" not in server.asked

    def test_what_the_server_says_is_wrong_is_an_error_at_once(self, run):
        run.log(params={"seed": 0})
        with pytest.raises(TrackingError, match="can't be used"):
            run.log(params={"seed": 1})
        assert kept() == []

    @pytest.mark.parametrize(("status", "said"), [(503, "is away"), (401, "name and password")])
    def test_files_that_it_can_not_take_now_are_kept(
        self, status, said, server, run, logged, tmp_path, caplog, monkeypatch
    ):
        """A proxy before it that is up, and a password that was changed meanwhile."""
        import requests

        answer = requests.Response()
        answer.status_code = status

        def refused(*_):
            answer.raise_for_status()

        with monkeypatch.context() as patch:
            patch.setattr(server, "log_artifacts", refused, raising=False)
            _train(run, tmp_path)
            assert send_rest(wait=False) == ["knn user 50"]
        assert said in caplog.text
        assert logged().status == "RUNNING"
        server.away = False
        assert send_rest(wait=True) == []
        _assert_whole(logged())

    def test_what_it_says_is_wrong_later_holds_nothing_up(self, server, run, caplog):
        run.log(params={"seed": 0})
        server.away = True
        run.log(params={"seed": 1})
        run.end("FINISHED")
        other = server.store.start("other")
        MlflowRun(
            server, URI, server.store.experiment_id, other.id, "other", outbox=run._outbox
        ).end("FINISHED")
        server.away = False
        assert send_rest(wait=True) == ["knn user 50"]
        assert server.store.record(other.id).status == "FINISHED"
        assert "can't be sent" in caplog.text
        assert list(sync(URI).refused) == ["knn user 50"]

    def test_no_secret_is_kept(self, server, run):
        server.away = True
        run.log(params={"data.path": "https://u:s3cret@host/x.csv"})
        run.end("FINISHED")
        kept_files = [path for path in spool_folder().rglob("*") if path.is_file()]
        assert kept_files
        assert [path for path in kept_files if b"s3cret" in path.read_bytes()] == []


class TestWhatNeedsAnAnswer:
    def test_waits_so_long_and_says_so(self, server, outbox):
        class Client:
            def get_run(self, run_id):
                return server.get_run(run_id)

        server.away = True
        with pytest.raises(TrackingError, match=r"has been away for more than 0.3 s \(tracking"):
            patient(Client(), outbox).get_run("r")

    def test_sees_what_was_kept(self, server, outbox, run):
        server.away = True
        run.log(metrics={"train/loss": 3.0}, step=1)
        server.away = False
        assert outbox.waiting(server.get_run, run.id).data.metrics == {"train/loss": 3.0}

    def test_does_not_wait_where_we_are_not_let_in(self, outbox):
        from mlflow.exceptions import MlflowException
        from mlflow.protos.databricks_pb2 import PERMISSION_DENIED

        def refuse():
            raise MlflowException("no", error_code=PERMISSION_DENIED)

        with pytest.raises(MlflowException):
            outbox.waiting(refuse)


class TestOfProcessesThatHaveEnded:
    @pytest.fixture
    def left(self, server, outbox, run, tmp_path) -> Path:
        """The folder that a killed process has left of a run that is trained, but for its end."""
        server.away = True
        run.log(metrics={"train/loss": 1.0}, step=1)
        run.log(metrics={"train/loss": 0.5}, step=2)
        outbox.spools[run.id].release()  # as its death does
        server.away = False
        return spool_folder() / run.id

    def test_sync_sends_it_and_ends_the_run_as_killed(self, left, logged):
        assert sync(URI).sent == ["knn user 50"]
        assert (logged().status, logged().losses) == ("KILLED", [(1, 1.0), (2, 0.5)])
        assert logged().tags["reason"] == "its process died while the server was away"
        assert not left.exists()
        assert sync(URI).sent == []

    def test_a_line_that_was_torn_is_left_out(self, left, logged):
        with (left / "entries.jsonl").open("ab") as lines:
            lines.write(b'\n{"do": "log", "metrics": [["train/lo')
        assert sync(URI).sent == ["knn user 50"]
        assert (logged().status, logged().losses) == ("KILLED", [(1, 1.0), (2, 0.5)])

    def test_what_was_half_sent_goes_on_there(self, server, left, logged):
        (left / "sent").write_text("1")
        sync(URI)
        assert logged().losses == [(2, 0.5)]

    def test_what_was_sent_but_not_removed_is_nothing(self, server, left, logged, run):
        server.store.add_to(server.store.record(run.id)).end("FINISHED")
        again = Spool.of(json.loads((left / "run.json").read_text()))
        again.append({"do": "end", "status": "FAILED", "time": 1})
        (left / "sent").write_text(str(len(again.entries)))
        again.release()
        assert sync(URI).sent == []
        assert logged().status == "FINISHED"
        assert not left.exists()

    def test_a_living_process_keeps_its_own(self, server, outbox, run, logged):
        server.away = True
        run.log(metrics={"train/loss": 1.0}, step=1)
        server.away = False
        synced = sync(URI)
        assert (synced.sent, synced.held) == ([], ["knn user 50"])
        assert logged().losses == []

    def test_that_of_another_store_stays(self, left):
        assert sync("http://other").elsewhere == {"knn user 50": "http://anna:***@server:5000"}
        assert left.exists()

    def test_while_the_server_is_away_nothing_is_lost(self, server, left, logged):
        server.away = True
        with pytest.raises(TrackingError):
            sync(URI)
        server.away = False
        assert sync(URI).sent == ["knn user 50"]

    def test_the_next_command_sends_it_too(self, server, left, logged, outbox, monkeypatch):
        monkeypatch.setattr(spool, "_outboxes", {URI: replace(outbox, spools={})})
        assert send_rest(wait=True) == []
        assert logged().status == "KILLED"

    def test_its_run_is_not_settled_before_it_is_sent(self, server, left, run, monkeypatch):
        monkeypatch.setattr("recsweep.processes.Worker.alive", False)
        server.store.settle()
        assert server.store.record(run.id).status == "RUNNING"


def test_data_that_another_process_adds_at_that_moment_is_looked_up_again(server, run, logged):
    """What MLflow raises, directly and through a server: its words are all that is left of it."""
    from mlflow.exceptions import MlflowException

    words = iter(
        [
            'BAD_REQUEST: (psycopg.errors.UniqueViolation) duplicate key … "dataset_pk"',
            "INTERNAL_ERROR: (sqlite3.IntegrityError) UNIQUE constraint failed: datasets.name",
        ]
    )

    class Client:
        def __getattr__(self, name):
            if name == "log_inputs" and (said := next(words, None)):
                raise MlflowException(said)
            return getattr(server, name)

    run._target = replace(run._target, client=Client())
    run.log_datasets([DatasetNote("toy", "d1", "toy.csv", {"num_users": 3}, "data")])
    assert logged().datasets == ["toy"]
    assert next(words, None) is None
