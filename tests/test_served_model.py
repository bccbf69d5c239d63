"""The logged model: its answers and refusals through MLflow, what loading it executes, and both
servers."""

import http.client
import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from safetensors.numpy import load_file

from recsweep import pipeline
from recsweep.errors import TrackingError
from recsweep.promotion.registry import Registry
from recsweep.tracking import Tracker, TrackingOptions, finished_runs

BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def logged(compose_into, database, tmp_path_factory):
    """(store, model id, folder of the logged model) of an item kNN: 60 users 1…60, 50 items
    1…50."""
    folder = tmp_path_factory.mktemp("logged")
    shutil.copy(database, folder / "mlflow.db")
    cfg = compose_into(folder, "model=item_knn")
    pipeline.run(cfg)
    options = TrackingOptions(uri=cfg.tracking.uri, experiment=cfg.tracking.experiment)
    (record,) = finished_runs(options)
    store = Tracker(options)
    location, _ = store.servable(record.model_id)
    return store, record.model_id, Path(location.removeprefix("file://"))


@pytest.fixture(scope="module")
def loaded(logged):
    import mlflow

    return mlflow.pyfunc.load_model(str(logged[2]))


class TestTheStore:
    def test_saved_model_is_where_it_lies(self, logged):
        store, model_id, folder = logged
        with store.saved_model(model_id) as found:
            assert found == folder / "artifacts" / "model"
            assert (found / "catalogue.json").is_file()

    def test_servable_names_the_place_and_an_example(self, logged):
        store, model_id, _ = logged
        _, example = store.servable(model_id)
        assert example == [{"user_id": "1", "k": 10}, {"history": ["1", "2"], "k": 10}]

    def test_an_unknown_model(self, logged):
        with pytest.raises(TrackingError, match="m-nowhere"), logged[0].saved_model("m-nowhere"):
            pass

    def test_files_that_are_gone(self, compose, store):
        cfg = compose("model=popularity")
        pipeline.run(cfg)
        options = TrackingOptions(uri=cfg.tracking.uri, experiment=cfg.tracking.experiment)
        (record,) = finished_runs(options)
        opened = Tracker(options)
        shutil.rmtree(opened.servable(record.model_id)[0].removeprefix("file://"))
        with (
            pytest.raises(TrackingError, match="is not whole"),
            opened.saved_model(record.model_id),
        ):
            pass


class TestTheFolder:
    def test_mlflow_itself_would_write_the_same(self, logged, tmp_path):
        """What differs: times, and the places of files on the way."""
        from mlflow import pyfunc
        from mlflow.models import Model

        folder = logged[2]
        described = yaml.safe_load((folder / "MLmodel").read_text())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pyfunc.save_model(
                str(tmp_path / "model"),
                python_model=described["flavors"]["python_function"]["model_code_path"],
                artifacts={"model": str(folder / "artifacts" / "model")},
                input_example=json.loads((folder / "input_example.json").read_text()),
                pip_requirements=(folder / "requirements.txt").read_text().split(),
                mlflow_model=Model(
                    run_id=described["run_id"],
                    artifact_path=described["artifact_path"],
                    model_uuid=described["model_id"],
                    model_id=described["model_id"],
                ),
            )
        own, theirs = _files(folder), _files(tmp_path / "model")
        assert own.keys() == theirs.keys()
        assert [name for name in own if own[name] != theirs[name]] == []


def _files(folder: Path) -> dict[str, object]:
    """What the files of a logged model hold, by their paths in its folder."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    files: dict[str, object] = {str(path.relative_to(folder)): path.read_bytes() for path in paths}
    for name in ("MLmodel", "conda.yaml", "python_env.yaml"):
        files[name] = yaml.safe_load(files[name])
    del files["MLmodel"]["utc_time_created"]
    del files["MLmodel"]["flavors"]["python_function"]["artifacts"]["model"]["uri"]
    return files


class TestSignature:
    def test_of_a_request_and_an_answer(self, loaded):
        signature = loaded.metadata.signature.to_dict()
        (asked,), (told,) = json.loads(signature["inputs"]), json.loads(signature["outputs"])
        assert {name: each["type"] for name, each in asked["properties"].items()} == {
            "user_id": "string",
            "history": "array",
            "k": "long",
            "features": "map",
        }
        assert not any(each["required"] for each in asked["properties"].values())
        assert {name: each["type"] for name, each in told["properties"].items()} == {
            "user_id": "string",
            "item_ids": "array",
            "titles": "array",
            "scores": "array",
            "fallback": "string",
            "unknown_items": "array",
        }

    def test_the_example_is_answered(self, loaded, logged):
        _, example = logged[0].servable(logged[1])
        known, new = loaded.predict(example)
        assert len(known["item_ids"]) == len(new["item_ids"]) == 10
        assert known["fallback"] is new["fallback"] is None


class TestAnswers:
    def test_somebody_new_is_ranked_by_the_history(self, loaded):
        (answer,) = loaded.predict([{"history": ["1", "2", "x"], "k": 50}])
        assert answer["user_id"] is None
        assert answer["unknown_items"] == ["x"]
        assert answer["fallback"] is None
        assert set(answer["item_ids"]) == {str(item) for item in range(3, 51)}

    @pytest.mark.parametrize("request_", [{"user_id": "61"}, {"history": []}, {"history": ["x"]}])
    def test_a_fallback_is_marked(self, loaded, request_):
        (answer,) = loaded.predict([{**request_, "k": 3}])
        assert answer["fallback"].startswith("popularity: ")
        assert len(answer["item_ids"]) == 3

    def test_all_texts(self, loaded):
        (answer,) = loaded.predict([{"user_id": "1"}])
        assert [type(item) for item in answer["item_ids"]] == [str] * 10
        assert [type(score) for score in answer["scores"]] == [float] * 10


REFUSED = [
    ([], "The list of requests is empty"),
    ([{}], "needs a user_id, or a history"),
    ([{"k": 3}], "needs a user_id, or a history"),
    ([{"user_id": None, "history": None}], "needs a user_id, or a history"),
    ([{"user_id": "1", "k": 0}], "k must be a whole number of at least 1, not 0"),
    ([{"user_id": "1", "k": -3}], "k must be a whole number of at least 1, not -3"),
    (
        [{"user_id": "1", "k": 51}],
        "k must be at most 50, as many as the catalogue has items, not 51",
    ),
    ([{"user_id": "1", "k": 10**30}], "k must be a whole number from 1 to"),
    ([{"user_id": "1", "k": "3"}], "k must be a whole number, as 10, not '3'"),
    ([{"user_id": "1", "k": 1.5}], "k must be a whole number, as 10, not 1.5"),
    ([{"user_id": "1", "k": True}], "k must be a whole number, as 10, not True"),
    ([{"user_id": 1}], 'user_id must be a text, as "2312", not 1'),
    ([{"user_id": ["1"]}], "user_id must be a text"),
    ([{"history": "1,2"}], "history must be a list of texts, as [\"2886\"], not '1,2'"),
    ([{"history": [1]}], "history must be a list of texts"),
    ([{"history": {"1": 2}}], "history must be a list of texts"),
    ([{"features": [1]}], 'features must be names with values, as {"age": 25, "gender": "F"}'),
    ([{"features": {"age": {"years": 2}}}], "features must be names with values"),
    ([{"features": {"age": 25}}], "has learnt from no features of users: leave features out"),
    ([{"user": "1"}], "has the fields user_id, history, k, features, and not 'user'"),
    ([{"user_id": "1"}, {"user_id": "1", "k": 99}], "k must be at most 50"),
]


class TestRefusals:
    @pytest.mark.parametrize(("requests", "reason"), REFUSED)
    def test_what_becomes_400(self, loaded, requests, reason):
        from mlflow.exceptions import MlflowException

        with pytest.raises(MlflowException) as raised:
            loaded.predict(requests)
        assert raised.value.get_http_status_code() == 400
        assert raised.value.message.startswith(reason) or reason in raised.value.message
        assert "\n" not in raised.value.message

    @pytest.mark.parametrize("requests", [None, "x", {"user_id": "1"}, [1], [None], [["1"]]])
    def test_what_is_no_list_of_requests(self, loaded, requests):
        from mlflow.exceptions import MlflowException

        with pytest.raises(MlflowException) as raised:
            loaded.predict(requests)
        assert raised.value.get_http_status_code() == 400

    def test_a_long_value_is_cut(self, loaded):
        from mlflow.exceptions import MlflowException

        with pytest.raises(MlflowException) as raised:
            loaded.predict([{"user_id": "1", "k": "9" * 10_000}])
        assert len(raised.value.message) < 200


AUDIT = """
import json, sys
sys.dont_write_bytecode = True
# what is installed may run; what the folder holds is asked
import mlflow.pyfunc, recsweep.serving, recsweep.models.knn
folder, seen = sys.argv[1], []

def note(event, arguments):
    if event == "exec":
        seen.append(["exec", arguments[0].co_filename])
    elif event == "pickle.find_class":
        seen.append(["unpickle", arguments[0] + "." + arguments[1]])
    elif event in ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "ctypes.dlopen"):
        seen.append([event, str(arguments[0])])

sys.addaudithook(note)
model = mlflow.pyfunc.load_model(folder)
answer = model.predict([{"user_id": "1", "k": 3}])
print(json.dumps({"seen": seen, "answer": answer}))
"""
"""Loads a model in an empty folder and prints every code object, class of a pickle and process that
it asks for."""


class TestLoading:
    def test_holds_no_pickle(self, logged):
        files = [path for path in logged[2].rglob("*") if path.is_file()]
        assert len(files) >= 10
        assert [path.name for path in files if path.suffix == ".py"] == ["served_model.py"]
        for path in files:
            if path.suffix == ".safetensors":
                assert load_file(path)
            else:
                assert "\0" not in path.read_text(encoding="utf-8"), (
                    path
                )  # text, which neither pickle nor archive is

    def test_executes_the_named_entry_file_and_nothing_else(self, logged, tmp_path):
        """Code and pickles that were planted everywhere in the folder, under the names that MLflow
        knows, stay dead."""
        folder, here = tmp_path / "model", tmp_path / "empty"
        shutil.copytree(logged[2], folder)
        here.mkdir()
        ran = tmp_path / "ran"
        code = f"open({str(ran)!r}, 'a').write(__file__)\n"
        poison = pickle.dumps(_Poison(ran))
        for place in (folder, folder / "artifacts", folder / "artifacts" / "model"):
            for name in (
                "python_model.pkl",
                "model.pkl",
                "catalogue.pkl",
                "python_model.pickle",
                "model.pt",
            ):
                (place / name).write_bytes(poison)
            for name in (
                "sitecustomize.py",
                "loader.py",
                "recsweep.py",
                "numpy.py",
                "served_model_extra.py",
                "__init__.py",
                "conftest.py",
            ):
                (place / name).write_text(code)
        done = subprocess.run(
            [sys.executable, "-c", AUDIT, folder],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "HOME": str(here)},
        )
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert len(found["answer"][0]["item_ids"]) == 3
        assert not ran.exists(), ran.read_text()
        packages = tuple(
            {str(Path(module.__file__).parents[1]) for module in (json, pytest, pipeline)}
        )
        foreign = [
            each
            for each in found["seen"]
            if each[0] == "exec" and not each[1].startswith((*packages, "<"))
        ]
        assert {Path(name) for _, name in foreign} == {folder / "served_model.py"}
        assert [each for each in found["seen"] if each[0] != "exec"] == []

    @pytest.mark.parametrize("commit", ["7a14e07", "f2ffba7"])
    def test_the_code_of_an_earlier_version_still_runs(self, logged, loaded, tmp_path, commit):
        import mlflow

        code = subprocess.run(
            ["git", "show", f"{commit}:src/recsweep/served_model.py"],
            cwd=Path(__file__).parent,
            capture_output=True,
        )
        if code.returncode:
            pytest.skip("The history is not here.")
        folder = tmp_path / "model"
        shutil.copytree(logged[2], folder)
        (folder / "served_model.py").write_bytes(code.stdout)
        requests = [{"user_id": "1", "k": 3}, {"history": ["1", "x"], "k": 2}]
        assert mlflow.pyfunc.load_model(str(folder)).predict(requests) == loaded.predict(requests)

    def test_the_check_would_see_a_pickle(self, tmp_path):
        ran = tmp_path / "ran"
        pickle.loads(pickle.dumps(_Poison(ran)))
        assert ran.exists()


class _Poison:
    """A pickle that leaves a file behind when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def _free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return trial.getsockname()[1]


@contextmanager
def _serving(command: list, port: int, log: Path, **environment: str):
    """The server while it runs; its output goes to `log`."""
    with log.open("wb") as output:
        environment = {
            **os.environ,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            **environment,
        }
        server = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=log.parent,
            env=environment,
        )
    try:
        deadline = time.monotonic() + 120
        while _get(port, "/health") != 200:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield server
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(timeout=30)


def _get(port: int, path: str) -> int | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()


def _post(
    port: int, body: bytes | str, content_type: str | None = "application/json"
) -> tuple[int, dict]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(
            "POST", "/invocations", body, {"Content-Type": content_type} if content_type else {}
        )
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def _check_answers(port: int) -> None:
    status, answer = _post(
        port, json.dumps({"inputs": [{"user_id": "1", "k": 3}, {"history": ["1"], "k": 2}]})
    )
    assert status == 200
    assert [len(each["item_ids"]) for each in answer["predictions"]] == [3, 2]


@pytest.mark.slow
def test_the_server_of_recsweep_serve(logged, tmp_path):
    store = logged[0]
    port = _free_port()
    command = [
        BIN / "recsweep",
        "serve",
        "--port",
        str(port),
        "--run",
        "knn item 50",
        "--tracking-uri",
        store.uri,
    ]
    with _serving(command, port, tmp_path / "log") as server:
        _check_answers(port)
        for requests, reason in REFUSED:
            status, answer = _post(port, json.dumps({"inputs": requests}))
            if len(requests) > 1:  # the others have their answers
                assert status == 200, answer
                assert [list(each) for each in answer["predictions"][1:]] == [["error"]]
                assert reason in answer["predictions"][1]["error"]
                continue
            assert status == 400, answer
            assert reason in answer["message"]
            assert "Failed to" not in answer["message"]
        for body in (
            "",
            "{",
            "[]",
            "null",
            '{"inputs": 3}',
            b"\xff",
            "[" * 100_000,
            '{"inputs": [' + "9" * 5000 + "]}",
            '{"inputs": [{"history": ' + "[" * 900 + "]" * 900 + "}]}",
        ):
            status, answer = _post(port, body)
            assert status == 400, answer
            assert "Traceback" not in json.dumps(answer)
        for content_type in (None, "text/csv", "application/vnd.apache.parquet"):
            assert _post(port, "a,b\n1,2", content_type)[0] == 415
        _check_answers(port)
        trial = f"curl http://127.0.0.1:{port}/invocations"
        deadline = time.monotonic() + 30
        while trial not in (shown := (tmp_path / "log").read_text()):  # said once it answers
            assert time.monotonic() < deadline, shown
            time.sleep(0.05)
        assert "Traceback" not in shown
        copied = next(line for line in shown.splitlines() if line.startswith("curl "))
        done = subprocess.run(copied, shell=True, capture_output=True, text=True, timeout=30)
        assert len(json.loads(done.stdout)["predictions"]) == 2
        again = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
        assert (again.returncode, again.stdout) == (1, "")
        assert again.stderr.startswith(
            f"error: Nothing can listen on 127.0.0.1, port {port}: Address already in use."
        )
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=30) in (0, 130, -signal.SIGINT)
    with _serving(command, port, tmp_path / "log") as server:
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=30) == 0
        assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_model_that_is_not_whole_is_said_in_one_sentence(logged, tmp_path, workers):
    store, _, folder = logged
    catalogue = folder / "artifacts" / "model" / "catalogue.json"
    kept = catalogue.read_bytes()
    catalogue.write_bytes(kept[:50])
    try:
        command = [
            BIN / "recsweep",
            "serve",
            "--port",
            str(_free_port()),
            "--workers",
            workers,
            "--run",
            "knn item 50",
            "--tracking-uri",
            store.uri,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    finally:
        catalogue.write_bytes(kept)
    assert done.returncode == 1
    assert done.stderr.startswith("error: The model in ")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_two_workers_answer_and_end(logged, tmp_path):
    port = _free_port()
    command = [
        BIN / "recsweep",
        "serve",
        "--port",
        str(port),
        "--workers",
        "2",
        "--run",
        "knn item 50",
        "--tracking-uri",
        logged[0].uri,
    ]
    with _serving(command, port, tmp_path / "log") as server:
        for _ in range(5):
            _check_answers(port)
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=30) == 0
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_new_champion_takes_over_without_dropping_a_request(logged, tmp_path, workers):
    registry, port = Registry(logged[0]), _free_port()

    def promote() -> str:
        record = logged[0].record(logged[0].search("")[0].id)
        version = registry.register(record, tags={}, description="")
        with registry.only_one() as lock:
            lock.move_champion(version, registry.champion())
        return version.version

    first = promote()
    command = [BIN / "recsweep", "serve", "--port", str(port), "--follow"]
    command += ["--workers", workers, "--tracking-uri", logged[0].uri]
    with _serving(command, port, tmp_path / "log"):
        assert _version(port)["version"] == first
        second = promote()
        end = time.monotonic() + 60
        while _version(port)["version"] != second:
            _check_answers(port)
            assert time.monotonic() < end, (tmp_path / "log").read_text()
        _check_answers(port)
    assert "Traceback" not in (tmp_path / "log").read_text()


def _version(port: int) -> dict:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/version")
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


@pytest.mark.slow
def test_mlflows_own_command_serves_the_champion_too(logged, tmp_path):
    registry = Registry(logged[0])
    version = registry.register(
        logged[0].record(logged[0].search("")[0].id), tags={}, description=""
    )
    with registry.only_one() as lock:
        lock.move_champion(version, registry.champion())
    port = _free_port()
    command = [
        BIN / "mlflow",
        "models",
        "serve",
        "-m",
        "models:/recsweep@champion",
        "--env-manager",
        "local",
        "-p",
        str(port),
    ]
    with _serving(command, port, tmp_path / "log", MLFLOW_TRACKING_URI=logged[0].uri):
        _check_answers(port)
        for requests, reason in REFUSED:
            status, answer = _post(port, json.dumps({"inputs": requests}))
            assert status == 400, answer
            assert reason in answer["message"]
        for body in ("", "{", "[]", '{"inputs": 3}'):
            assert _post(port, body)[0] == 400
        _check_answers(port)


@pytest.mark.slow
def test_behind_a_tracking_server_the_files_are_fetched(logged, compose, tmp_path):
    """A store that is reached over HTTP keeps its artifacts to itself."""
    port = _free_port()
    command = [
        BIN / "mlflow",
        "server",
        "--backend-store-uri",
        f"sqlite:///{tmp_path}/server.db",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
        "--artifacts-destination",
        str(tmp_path / "kept"),
    ]
    (tmp_path / "away").mkdir()
    with _serving(command, port, tmp_path / "log"):
        cfg = compose("model=item_knn", f"tracking.uri=http://127.0.0.1:{port}")
        pipeline.run(cfg)
        options = TrackingOptions(uri=cfg.tracking.uri, experiment=cfg.tracking.experiment)
        (record,) = finished_runs(options)
        store = Tracker(options)
        with store.saved_model(record.model_id) as folder:
            assert {path.name for path in folder.iterdir()} >= {
                "catalogue.json",
                "model.json",
                "seen.safetensors",
            }
        assert not folder.exists()
        _, example = store.servable(record.model_id)
        assert example[0] == {"user_id": "1", "k": 10}
        served = _free_port()
        command = [
            BIN / "recsweep",
            "serve",
            "--port",
            str(served),
            "--run",
            record.id,
            "--tracking-uri",
            store.uri,
        ]
        with _serving(command, served, tmp_path / "away" / "log"):
            _check_answers(served)
