"""The HTTP application: what it answers, byte for byte as MLflow's server, and what it refuses."""

import argparse
import asyncio
import json
import os
import shutil
import socket
import threading
from dataclasses import asdict, replace
from http.client import HTTPResponse

import numpy as np
import pytest

from recsweep import __version__, pipeline
from recsweep.cli import serve
from recsweep.data.interactions import IdMap, Interactions
from recsweep.errors import ConfigError, SavedModelError
from recsweep.run import plan as run_plan
from recsweep.serving import http
from recsweep.serving.http import Limits, Served, Serving, application
from recsweep.serving.service import service_of
from recsweep.tracking import Tracker, TrackingOptions, finished_runs

GOOD = b'{"inputs": [{"user_id": "1", "k": 3}]}'
JSON = (b"content-type", b"application/json")
EXAMPLE = [{"user_id": "1", "k": 2}]


class Counting:
    """Ranks items by their place, for anybody, and counts how often it is asked."""

    label = "counting"
    asked = 0

    def score(self, users):
        self.asked += 1
        return np.tile(np.arange(6, dtype=np.float32), (len(users), 1))


@pytest.fixture
def model() -> Counting:
    return Counting()


@pytest.fixture
def made(model):
    """made(**settings): the application with these settings of `Serving`, and a token."""
    interactions = Interactions(
        "small",
        np.array([0, 1]),
        np.array([5, 0]),
        IdMap(np.array([1, 2]), "user"),
        IdMap(np.arange(1, 7), "item"),
    )
    served = Served("folder", EXAMPLE, "abc", "recsweep", "3")
    return lambda **settings: application(
        service_of(model, interactions),
        Serving(served, **{name: value for name, value in settings.items() if name != "token"}),
        settings.get("token"),
    )


@pytest.fixture
def app(made):
    return made()


def _ask(
    app, body=GOOD, headers=(JSON,), path="/invocations", method="POST", cut=10
) -> tuple[int, bytes]:
    """Status and body of the answer to a request that arrives in two pieces."""
    arriving = [
        {"type": "http.request", "body": body[:cut], "more_body": True},
        {"type": "http.request", "body": body[cut:], "more_body": False},
    ]
    sent = []

    async def receive():
        return arriving.pop(0) if arriving else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": list(headers),
    }
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


def _post(app, requests) -> tuple[int, dict]:
    status, answer = _ask(app, json.dumps({"inputs": requests}).encode())
    return status, json.loads(answer)


@pytest.fixture(scope="module", params=["plain", "with titles"])
def both(request, compose_into, database, tmp_path_factory):
    """(MLflow's application, ours) of an item kNN: 60 users 1…60, 50 items 1…50, without titles and
    with those of the even ones."""
    import mlflow
    from mlflow.pyfunc import scoring_server

    from recsweep.serving.service import RecommenderService

    folder = tmp_path_factory.mktemp("both")
    shutil.copy(database, folder / "mlflow.db")
    cfg = compose_into(folder, "model=item_knn")
    if request.param == "with titles":
        plan = run_plan.plan_data(cfg)
        data = run_plan.prepare(plan)
        titles = {str(item): f"Dish {item}" for item in range(2, 51, 2)}
        titled = replace(data.interactions, item_titles=titles)
        run_plan._prepared[plan.settings] = replace(data, interactions=titled)
    pipeline.run(cfg)
    run_plan._prepared.clear()
    options = TrackingOptions(uri=cfg.tracking.uri, experiment=cfg.tracking.experiment)
    (record,) = finished_runs(options)
    store = Tracker(options)
    location, example = store.servable(record.model_id)
    with pytest.MonkeyPatch.context() as environment:  # which MLflow's application sets
        environment.setenv("MLFLOW_IS_IN_SERVING_ENVIRONMENT", "false")
        theirs = scoring_server.init(mlflow.pyfunc.load_model(location))
        with store.saved_model(record.model_id) as saved:
            service = RecommenderService.load(saved)
        yield theirs, application(service, Serving(Served("folder", example, record.id)))


class TestAsMLflowAnswers:
    """The same logged model in MLflow's scoring server and in ours."""

    @pytest.mark.parametrize(
        "requests",
        [
            [{"user_id": "7", "k": 3}],
            [{"user_id": "7"}],
            [{"history": ["1", "2"], "k": 5}, {"user_id": "7", "history": ["3", "x"], "k": 50}],
            [{"history": ["1", "1", "é", "\u2028", "\U0001f35c"], "k": 4}],
            [{"user_id": "\ud800"}, {"history": ["1", "\udfff"]}],
            [{"user_id": "nobody ü", "k": 1}, {"history": [], "k": 2}, {"history": ["x"]}],
            [{"user_id": None, "history": ["4"], "k": None}, {"user_id": "9", "history": None}],
            [{"user_id": str(user), "k": 1 + user % 50} for user in range(70)],
        ],
    )
    def test_valid_queries_byte_for_byte(self, both, requests):
        body = json.dumps({"inputs": requests}).encode()
        theirs, ours = (_ask(app, body) for app in both)
        assert theirs[0] == 200, theirs
        assert ours == theirs

    def test_titles_beside_ids_where_the_data_have_some(self, both, request):
        _, answers = _post(both[1], [{"user_id": "7", "k": 9}, {"history": ["3"]}])
        for answer in answers["predictions"]:
            known = [f"Dish {item}" if int(item) % 2 == 0 else None for item in answer["item_ids"]]
            titled = {"titles": known} if "with titles" in request.node.name else {}
            assert {name: answer[name] for name in answer if name == "titles"} == titled

    @pytest.mark.parametrize(
        "body",
        [
            b'{"inputs": [{"user_id": "7", "k": 2}], "params": {"a": 1}, "other": 3}',
            b'\xef\xbb\xbf{"inputs": [{"user_id": "7", "k": 2}]}',
            '{"inputs": [{"user_id": "7", "k": 2}]}'.encode("utf-16"),
        ],
    )
    def test_what_else_json_may_be(self, both, body):
        theirs, ours = (_ask(app, body) for app in both)
        assert theirs[0] == 200, theirs
        assert ours == theirs

    @pytest.mark.parametrize(
        "request_",
        [
            {},
            {"k": 3},
            {"user_id": "1", "k": 0},
            {"user_id": "1", "k": 51},
            {"user_id": 1},
            {"user_id": "1", "k": True},
            {"user_id": "1", "k": "3"},
            {"history": "1,2"},
            {"history": [None]},
            {"user": "1"},
        ],
    )
    def test_a_refusal_has_the_same_reason(self, both, request_):
        theirs, ours = (_post(app, [request_]) for app in both)
        assert ours[0] == theirs[0] == 400
        assert ours[1]["message"] == theirs[1]["message"].rpartition("\nError: ")[2]

    @pytest.mark.parametrize("path", ["/ping", "/health"])
    def test_that_it_is_up(self, both, path):
        theirs, ours = (_ask(app, b"", [], path, "GET") for app in both)
        assert ours == theirs == (200, b"\n")


class TestABatch:
    def test_a_wrong_query_has_its_error_in_its_place(self, app):
        status, answer = _post(
            app,
            [
                {"user_id": "1", "k": 2},
                {"user_id": "1", "k": 7},
                {"k": 1},
                {"history": [1]},
                {"user": "1"},
                {"history": ["2"], "k": 1},
            ],
        )
        assert status == 200
        right, *wrong, last = answer["predictions"]
        assert right["item_ids"] == ["5", "4"]
        assert last["item_ids"] == ["1"]
        assert [list(each) for each in wrong] == [["error"]] * 4
        assert [each["error"] for each in wrong] == [
            "k must be at most 6, as many as the catalogue has items, not 7.",
            "A request needs a user_id, or a history of item ids that somebody new liked.",
            'history must be a list of texts, as ["2886"], not [1].',
            "A request has the fields user_id, history, k, features, and not 'user'.",
        ]

    def test_features_are_for_a_model_that_knows_them(self, app, model):
        _, answer = _post(app, [{"features": {"age": 25}}, {"features": ["age"]}, {"user_id": "1"}])
        unknown, wrong, right = answer["predictions"]
        assert unknown["error"].startswith("counting has learnt from no features of users: leave")
        assert wrong["error"] == (
            'features must be names with values, as {"age": 25, "gender": "F"}, not [\'age\'].'
        )
        assert right["fallback"] is None

    def test_the_others_have_what_they_have_alone(self, app):
        requests = [{"user_id": "1"}, {"user_id": "1", "k": 0}, {"user_id": "2", "k": 2}]
        _, together = _post(app, requests)
        _, apart = _post(app, requests[::2])
        assert together["predictions"][::2] == apart["predictions"]

    def test_all_of_several_may_be_wrong(self, app):
        status, answer = _post(app, [{"user_id": "1", "k": 0}, {}])
        assert status == 200
        assert [list(each) for each in answer["predictions"]] == [["error"]] * 2

    def test_one_alone_is_refused(self, app):
        status, answer = _post(app, [{"user_id": "1", "k": 7}])
        assert status == 400
        assert answer == {
            "error_code": "BAD_REQUEST",
            "message": "k must be at most 6, as many as the catalogue has items, not 7.",
        }


@pytest.mark.parametrize(
    "kind",
    [b"application/json", b"application/json; charset=utf-8", b'Application/JSON;charset="UTF-8";'],
)
def test_a_good_request_is_answered(app, kind):
    status, answer = _ask(app, headers=[(b"content-type", kind)])
    assert status == 200
    assert json.loads(answer)["predictions"][0]["item_ids"] == ["5", "4", "3"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/invocations", 405), ("POST", "/elsewhere", 404), ("POST", "/version", 405)],
)
def test_other_paths_are_refused_in_the_same_shape(app, method, path, status):
    found, answer = _ask(app, b"no json at all", [], path, method)
    assert found == status
    assert json.loads(answer).keys() == {"error_code", "message"}
    assert f"{method} {path}" in json.loads(answer)["message"]


@pytest.mark.parametrize(
    ("headers", "shown"),
    [
        ([], "none"),
        ([(b"content-type", b"text/csv")], "text/csv"),
        ([(b"content-type", b"\xff")], "ÿ"),
    ],
)
def test_another_content_type(app, model, headers, shown):
    status, answer = _ask(app, headers=headers)
    assert status == 415
    assert f"must be application/json, not {shown}." in json.loads(answer)["message"]
    assert model.asked == 0


@pytest.mark.parametrize("parameter", [b"charset=latin-1", b"profile=x"])
def test_another_encoding(app, parameter):
    status, answer = _ask(app, headers=[(b"content-type", b"application/json; " + parameter)])
    assert status == 415
    assert f"without {parameter.decode()}." in json.loads(answer)["message"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 200_000, "not JSON"),
        (b'{"inputs": [{"k": ' + b"9" * 5000 + b"}]}", "not JSON"),
        (b"[]", "a list of requests under `inputs`"),
        (b"null", "a list of"),
        (b'"x"', "a list of"),
        (b"{}", "a list of"),
        (b'{"instances": []}', "a list of"),
        (b'{"inputs": {"user_id": "1"}}', "a list of"),
        (b'{"inputs": null}', "a list of"),
        (b'{"inputs": []}', "is empty"),
        (b'{"inputs": [1]}', "must be an object"),
        (b'{"inputs": [{}, null]}', "must be an object"),
    ],
)
def test_a_body_that_cannot_be_read(app, model, body, reason):
    status, answer = _ask(app, body)
    assert status == 400
    message = json.loads(answer)["message"]
    assert reason in message
    assert "Send {" in message
    assert "\n" not in message
    assert len(message) < 400
    assert model.asked == 0


def test_half_a_character_as_a_name(app):
    status, answer = _post(app, [{"\ud800": "1"}])
    assert status == 400
    assert answer["message"].endswith("no name that is not Unicode.")


@pytest.mark.parametrize("depth", [500, 900, 990])
def test_a_value_that_is_nested_deeply(app, depth):
    body = b'{"inputs": [{"history": ' + b"[" * depth + b"]" * depth + b"}]}"
    status, answer = _ask(app, body)
    assert status == 400
    assert "\n" not in json.loads(answer)["message"]


def test_a_body_that_never_ends(made, model):
    status, answer = _ask(made(limits=Limits(body=20)))
    assert status == 413
    assert "at most 20 bytes" in json.loads(answer)["message"]
    assert model.asked == 0


class TestLimits:
    """What takes more than an answer is made of is refused before it takes it."""

    @pytest.fixture(autouse=True)
    def _not_parsed(self, monkeypatch):
        monkeypatch.setattr(http, "read_requests", lambda body: pytest.fail("it was parsed"))

    def _refusal(self, app, body=GOOD, headers=(JSON,)) -> tuple[int, str]:
        status, answer = _ask(app, body, headers)
        return status, json.loads(answer)["message"]

    @pytest.mark.parametrize(
        "body", [b'{"inputs": [' + b"{}," * 3_300_000 + b"{}]}", b"{" * 10_002, b'{"":{},' * 11_000]
    )
    def test_queries(self, app, body):
        status, message = self._refusal(app, body)
        assert status == 413
        assert message == "A request holds at most 10,000 queries. Send fewer at once."

    @pytest.mark.parametrize("piece", [b"[],", b'"",', b"1,", b"[", b'["a",'])
    def test_values(self, app, piece):
        body = b'{"inputs": [' + piece * 1_000_001 + b"1]}"
        status, message = self._refusal(app, body)
        assert status == 413
        assert "at most 1,000,000 values" in message

    def test_bytes_that_are_announced(self, made):
        length = (b"content-length", b"21")
        status, message = self._refusal(made(limits=Limits(body=20)), headers=(JSON, length))
        assert (status, message) == (413, "A request has at most 20 bytes. Send fewer at once.")

    def test_bytes_of_all_together(self, app, monkeypatch):
        monkeypatch.setattr(http, "MAX_HELD_BYTES", 20)
        status, message = self._refusal(app)
        assert (status, message) == (503, "The server has its hands full. Try again.")
        monkeypatch.setattr(http, "MAX_HELD_BYTES", 40)  # what is refused is not held any more
        monkeypatch.undo()
        assert _ask(app)[0] == 200

    def test_time(self, made, model):
        async def receive():
            await asyncio.sleep(60)

        sent = []

        async def send(message):
            sent.append(message)

        app = made(limits=Limits(seconds=0.01))
        scope = {"type": "http", "method": "POST", "path": "/invocations", "headers": [JSON]}
        scope |= {"raw_path": b"/invocations", "query_string": b""}
        asyncio.run(app(scope, receive, send))
        assert sent[0]["status"] == 408
        assert (b"connection", b"close") in sent[0]["headers"]
        assert b"must arrive within 0.01 s" in sent[1]["body"]


def test_what_is_part_of_an_id_does_not_count(made):
    id_ = '{[,"\\' * 10
    app = made(limits=Limits(queries=2))
    assert _post(app, [{"user_id": id_}, {"user_id": id_}])[0] == 200
    status, answer = _post(app, [{"user_id": id_}] * 3)
    assert (status, answer["message"]) == (
        413,
        "A request holds at most 2 queries. Send fewer at once.",
    )


def test_an_answer_that_would_be_too_long(app, model, monkeypatch):
    monkeypatch.setattr(http, "MAX_LISTED", 11)
    status, answer = _post(app, [{"user_id": "1"}] * 2)
    assert status == 413
    assert "at most 11 items, and this one would hold 12" in answer["message"]
    assert model.asked == 0


class TestWhoMayAsk:
    TOKEN = "0123456789abcdef"

    @pytest.mark.parametrize(
        "host",
        ["localhost", "localhost:5001", "127.0.0.1:5001", "[::1]:5001", "10.0.0.7", "Box.:80"],
    )
    def test_a_name_of_the_server(self, made, host):
        app = made(hosts=["localhost", "box"])
        assert _ask(app, headers=(JSON, (b"host", host.encode())))[0] == 200

    @pytest.mark.parametrize(
        "host", ["evil.example.org", "localhost.evil.org:5001", "box2", "\xff"]
    )
    def test_another_name(self, made, host):
        app = made(hosts=["localhost", "box"])
        for path in ("/invocations", "/version", "/ping", "/docs"):
            status, answer = _ask(app, headers=(JSON, (b"host", host.encode())), path=path)
            assert status == 403
            assert "--allowed-hosts" in json.loads(answer)["message"]

    def test_with_the_token(self, made):
        bearer = (b"authorization", f"Bearer {self.TOKEN}".encode())
        assert _ask(made(token=self.TOKEN), headers=(JSON, bearer))[0] == 200

    @pytest.mark.parametrize(
        "header", ["", "Bearer", "Bearer 0123456789abcdeF", "Basic 0123456789abcdef", "Bearer \xff"]
    )
    def test_without_it(self, made, header, model):
        app, given = made(token=self.TOKEN), (b"authorization", header.encode())
        for path, method in (
            ("/invocations", "POST"),
            ("/version", "GET"),
            ("/openapi.json", "GET"),
            ("/elsewhere", "GET"),
        ):
            status, answer = _ask(app, headers=(JSON, given), path=path, method=method)
            assert status == 401
            assert self.TOKEN not in answer.decode()
        assert model.asked == 0
        for path in ("/ping", "/health", "/docs"):
            assert _ask(app, b"", (), path, "GET")[0] == 200

    @pytest.mark.parametrize(
        ("host", "token", "words", "said"),
        [
            ("127.0.0.1", None, [], None),
            ("localhost", None, [], None),
            ("::1", None, [], None),
            ("0.0.0.0", "0123456789abcdef", [], "token"),
            ("0.0.0.0", None, ["--insecure"], None),
            ("127.0.0.1", "0123456789abcdef", [], "token"),
            ("0.0.0.0", None, [], "--host 0.0.0.0 can be reached from other machines"),
            ("example.org", None, [], "--host example.org can be reached"),
            ("127.0.0.1", None, ["--token"], r"RECSWEEP_TOKEN=\$\(openssl rand -hex 32\)$"),
            ("127.0.0.1", "short", [], "must have at least 16 characters"),
            ("127.0.0.1", "0123456789 abcdef", ["--insecure"], "without spaces"),
        ],
    )
    def test_beyond_this_machine(self, host, token, words, said, monkeypatch):
        monkeypatch.delenv("RECSWEEP_TOKEN", raising=False)
        if token:
            monkeypatch.setenv("RECSWEEP_TOKEN", token)
        parser = argparse.ArgumentParser()
        serve.add_to(parser.add_subparsers())
        arguments = parser.parse_args(["serve", "--host", host, *words])
        if said in (None, "token"):
            assert serve.check_access(arguments) == (token if said else None)
        else:
            with pytest.raises(ConfigError, match=said):
                serve.check_access(arguments)


class TestANewChampion:
    """What the file says that `recsweep serve` writes when it sees one."""

    def _versions(self, made, monkeypatch, tmp_path, *, follows, load=None):
        """Answers to /version, one before and one after a new champion was found."""
        monkeypatch.setattr(http, "LOOK_SECONDS", 0.005)
        monkeypatch.setattr(http, "loaded", load or (lambda served: _other_service()))
        news = tmp_path / "champion.json"
        app = made(news=str(news), follows=follows)

        async def serve_and_look() -> tuple[dict, dict]:
            async with app.router.lifespan_context(app):
                before = await asyncio.to_thread(self._version, app)
                served = Served("new", EXAMPLE, "def", "recsweep", "4")
                news.write_text(json.dumps(asdict(served)))
                after = before
                wanted = {"champion": "4", "version": "4" if follows and not load else "3"}
                for _ in range(2000):
                    after = await asyncio.to_thread(self._version, app)
                    if after | wanted == after:
                        break
                    await asyncio.sleep(0.005)
                return before, after

        return asyncio.run(serve_and_look())

    def _version(self, app) -> dict:
        return json.loads(_ask(app, b"", [], "/version", "GET")[1])

    def test_is_told(self, made, monkeypatch, tmp_path):
        before, after = self._versions(made, monkeypatch, tmp_path, follows=False)
        assert (before["version"], before["champion"], before["behind"]) == ("3", "3", False)
        assert (after["version"], after["champion"], after["behind"]) == ("3", "4", True)

    def test_takes_over(self, made, monkeypatch, tmp_path):
        _, after = self._versions(made, monkeypatch, tmp_path, follows=True)
        assert (after["version"], after["champion"], after["behind"]) == ("4", "4", False)
        assert (after["run"], after["label"]) == ("def", "other")

    def test_is_served_at_once_by_a_worker_that_begins_after_it(self, made, monkeypatch, tmp_path):
        monkeypatch.setattr(http, "loaded", lambda served: _other_service())
        news, ready = tmp_path / "champion.json", tmp_path / "workers"
        ready.mkdir()
        news.write_text(json.dumps(asdict(Served("new", EXAMPLE, "def", "recsweep", "4"))))
        app = made(news=str(news), follows=True, workers=str(ready))

        async def begin() -> dict:
            async with app.router.lifespan_context(app):
                return await asyncio.to_thread(self._version, app)

        assert asyncio.run(begin())["version"] == "4"
        assert [path.name for path in ready.iterdir()] == [str(os.getpid())]

    def test_that_cannot_be_loaded_does_not(self, made, monkeypatch, tmp_path):
        def fail(served):
            raise SavedModelError("not whole")

        _, after = self._versions(made, monkeypatch, tmp_path, follows=True, load=fail)
        assert (after["version"], after["label"], after["behind"]) == ("3", "counting", True)


def _other_service():
    other = Counting()
    other.label = "other"
    ids = IdMap(np.array([1, 2]), "user"), IdMap(np.arange(1, 7), "item")
    return service_of(other, Interactions("small", np.array([0, 1]), np.array([5, 0]), *ids))


class TestPace:
    """Where an answer is computed: beside the requests that arrive, once one was quick, else in a
    thread."""

    @pytest.fixture
    def asked_in(self, app, model):
        """asked_in(body): name of the thread in which the model is asked."""
        names = []
        score = model.score
        model.score = lambda users: names.append(threading.current_thread().name) or score(users)

        def asked_in(body=GOOD) -> str:
            assert _ask(app, body)[0] == 200
            return names[-1]

        return asked_in

    def test_a_short_one_once_one_was_quick(self, asked_in, monkeypatch):
        monkeypatch.setattr(http, "QUICK_SECONDS", 60)
        assert asked_in().startswith("answers")
        assert asked_in() == asked_in() == threading.current_thread().name

    def test_a_short_one_after_one_that_took_long(self, asked_in, monkeypatch):
        monkeypatch.setattr(http, "QUICK_SECONDS", 60)
        asked_in()
        monkeypatch.setattr(http, "QUICK_SECONDS", 0)
        assert asked_in() == threading.current_thread().name
        assert asked_in().startswith("answers")

    @pytest.mark.parametrize("many", [3, 1000])
    def test_several_and_long_ones(self, asked_in, monkeypatch, many):
        monkeypatch.setattr(http, "QUICK_SECONDS", 60)
        asked_in()
        assert asked_in(json.dumps({"inputs": [{"user_id": "1"}] * many}).encode()).startswith(
            "answers"
        )


@pytest.mark.parametrize(
    ("cores", "free", "expected"),
    [("4", 100_000_000_000, 4), ("4", 1_300_000_000, 2), ("4", 1_000_000, 1), ("999", 10**15, 256)],
)
def test_workers_by_cores_and_memory(tmp_path, monkeypatch, cores, free, expected):
    monkeypatch.setenv("RECSWEEP_CORES", cores)
    monkeypatch.setattr(serve, "available_bytes", lambda: free)
    (tmp_path / "model").write_bytes(bytes(50_000_000))  # 600 MB a worker
    assert serve.workers_for(tmp_path) == expected


class TestConnections:
    @pytest.fixture
    def port(self, app, monkeypatch):
        import uvicorn

        from recsweep.serving import connections

        monkeypatch.setattr(connections, "HEAD_SECONDS", 1)
        monkeypatch.setattr(connections, "SEND_SECONDS", 1)
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(
            app, http=connections.BoundedProtocol, limit_concurrency=3, log_level="critical"
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join(10)

    HEAD = b"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"

    def _whole(self) -> bytes:
        return self.HEAD + b"Content-Length: %d\r\n\r\n" % len(GOOD) + GOOD

    @pytest.mark.parametrize("first", [b"", b"P", HEAD])
    def test_a_silent_one_is_closed(self, port, first):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(first)
            assert client.recv(1000) == b""

    def test_one_that_falls_silent_after_an_answer(self, port):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(self._whole())
            answer = HTTPResponse(client)
            answer.begin()
            assert answer.status == 200
            answer.read()  # which may come in several parts
            client.sendall(b"POST ")
            assert client.recv(1000) == b""

    def test_more_than_there_may_be(self, port):
        clients = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(3)]
        clients[-1].sendall(self._whole())
        assert b" 503 " in clients[-1].recv(100_000)
        for client in clients:
            client.close()


def test_a_client_that_goes_away(app, model):
    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):  # which nobody hears
        pass

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/invocations",
        "raw_path": b"/invocations",
        "query_string": b"",
        "headers": [JSON],
    }
    asyncio.run(app(scope, receive, send))
    assert model.asked == 0


def test_a_mistake_of_the_server_is_no_stack_trace(app, model, monkeypatch):
    monkeypatch.setattr(model, "score", lambda users: 1 / 0, raising=False)
    sent = []

    async def receive():
        return {"type": "http.request", "body": GOOD, "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/invocations",
        "raw_path": b"/invocations",
        "query_string": b"",
        "headers": [JSON],
    }
    with pytest.raises(ZeroDivisionError):  # for uvicorn, which logs it
        asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 500
    assert json.loads(sent[1]["body"]) == {
        "error_code": "INTERNAL_ERROR",
        "message": "The server failed at this request, and its log says where.",
    }


def test_what_is_served(app):
    status, answer = _ask(app, b"", [], "/version", "GET")
    assert status == 200
    assert json.loads(answer) == {
        "model": "recsweep",
        "version": "3",
        "run": "abc",
        "label": "counting",
        "champion": "3",
        "behind": False,
        "recsweep": __version__,
    }


class TestDocumentation:
    @pytest.fixture
    def described(self, app) -> dict:
        status, answer = _ask(app, b"", [], "/openapi.json", "GET")
        assert status == 200
        return json.loads(answer)

    def test_page(self, app):
        status, page = _ask(app, b"", [], "/docs", "GET")
        assert status == 200
        assert b"openapi.json" in page
        assert b"//" not in page, "it needs the network"

    def test_paths(self, described):
        assert described["paths"].keys() == {"/ping", "/health", "/version", "/invocations"}
        assert described["paths"]["/invocations"]["post"]["responses"].keys() == {
            "200",
            "400",
            "401",
            "408",
            "413",
            "415",
        }

    def test_every_reference_leads_somewhere(self, described):
        text = json.dumps(described)
        for part in text.split('"$ref": "#/')[1:]:
            place = described
            for name in part.partition('"')[0].split("/"):
                place = place[name]
            assert place

    def test_the_example_is_typed_and_answered(self, app, described):
        body = described["paths"]["/invocations"]["post"]["requestBody"]["content"][
            "application/json"
        ]
        fields = body["schema"]["properties"]["inputs"]["items"]["properties"]
        assert fields.keys() == {"user_id", "history", "features", "k"}
        assert all(field["description"] for field in fields.values())
        status, answer = _post(app, body["example"]["inputs"])
        assert status == 200
        assert "error" not in answer["predictions"][0]


def test_several_workers_send_what_they_have_at_once():
    """Their socket is not of asyncio's making, which else sees to that: an answer waited 40 ms."""
    from recsweep.serving.connections import SharingLoop

    made = []

    class Connection(asyncio.Protocol):
        def connection_made(self, transport):
            made.append(transport.get_extra_info("socket"))

    async def connected():
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            server = await loop.create_server(Connection, sock=listening)
            async with server:
                _, writer = await asyncio.open_connection(*listening.getsockname())
                while not made:
                    await asyncio.sleep(0.01)
                at_once = made[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                writer.close()
                return at_once

    loop = SharingLoop()
    try:
        assert loop.run_until_complete(connected())
    finally:
        loop.close()
