"""The check in front of MLflow's scoring server: what it refuses, what it hands on, and how it shortens a refusal."""

import asyncio
import json

import pytest

from recsweep.serving import http as scoring
from recsweep.serving.http import CheckedRequests

GOOD = b'{"inputs": [{"user_id": "1", "k": 3}]}'
JSON = (b"content-type", b"application/json")


class Inner:
    """Answers as it is told, in as many pieces as it is given, and notes the bodies that reach it."""

    def __init__(self, status=200, pieces=(b"answer",)):
        self.status, self.pieces, self.bodies = status, pieces, []

    async def __call__(self, scope, receive, send):
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.bodies.append(body)
        await send({"type": "http.response.start", "status": self.status, "headers": [JSON]})
        for piece in self.pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _ask(inner, body=GOOD, headers=(JSON,), path="/invocations", method="POST", cut=10) -> tuple[int, bytes]:
    """Status and body of the answer to a request that arrives in two pieces."""
    arriving = [{"type": "http.request", "body": body[:cut], "more_body": True},
                {"type": "http.request", "body": body[cut:], "more_body": False}]
    sent = []

    async def receive():
        return arriving.pop(0) if arriving else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": list(headers)}
    asyncio.run(CheckedRequests(inner)(scope, receive, send))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


@pytest.mark.parametrize("kind", [b"application/json", b"application/json; charset=utf-8", b"Application/JSON"])
def test_a_good_request_passes_as_it_is(kind):
    inner = Inner(pieces=(b"one", b"two"))
    assert _ask(inner, headers=[(b"content-type", kind)]) == (200, b"onetwo")
    assert inner.bodies == [GOOD]


@pytest.mark.parametrize(("method", "path"), [("GET", "/ping"), ("GET", "/invocations"), ("POST", "/elsewhere")])
def test_other_paths_are_left_alone(method, path):
    inner = Inner(404, (b"nothing here",))
    assert _ask(inner, b"no json at all", [], path, method) == (404, b"nothing here")


@pytest.mark.parametrize(("headers", "shown"), [
    ([], "none"), ([(b"content-type", b"text/csv")], "text/csv"), ([(b"content-type", b"\xff")], "ÿ"),
])
def test_another_content_type(headers, shown):
    inner = Inner()
    status, answer = _ask(inner, headers=headers)
    assert status == 415
    assert f"must be application/json, not {shown}." in json.loads(answer)["message"]
    assert inner.bodies == []


@pytest.mark.parametrize(("body", "reason"), [
    (b"", "not JSON"), (b"{", "not JSON"), (b"\xff\xfe", "not JSON"), (b"[" * 200_000, "not JSON"),
    (b'{"inputs": [{"k": ' + b"9" * 5000 + b"}]}", "not JSON"),
    (b"[]", "a list of requests under `inputs`"), (b"null", "a list of"), (b'"x"', "a list of"), (b"{}", "a list of"),
    (b'{"instances": []}', "a list of"), (b'{"inputs": {"user_id": "1"}}', "a list of"),
    (b'{"inputs": null}', "a list of"), (b'{"inputs": [1]}', "must be an object"),
    (b'{"inputs": [{}, null]}', "must be an object"),
])
def test_a_body_that_mlflow_could_not_read(body, reason):
    inner = Inner()
    status, answer = _ask(inner, body)
    assert status == 400
    message = json.loads(answer)["message"]
    assert reason in message
    assert "Send {" in message
    assert "\n" not in message
    assert len(message) < 400
    assert inner.bodies == []


def test_a_body_that_never_ends(monkeypatch):
    monkeypatch.setattr(scoring, "MAX_BODY_BYTES", 20)
    inner = Inner()
    status, answer = _ask(inner)
    assert status == 413
    assert "at most 20 bytes" in json.loads(answer)["message"]
    assert inner.bodies == []


def test_a_client_that_goes_away():
    inner, sent = Inner(), []

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/invocations", "headers": [JSON]}
    asyncio.run(CheckedRequests(inner)(scope, receive, send))
    assert sent == inner.bodies == []


def test_a_refusal_is_cut_to_its_reason():
    long = json.dumps({"error_code": "INVALID_PARAMETER_VALUE", "stack_trace": "Traceback",
                       "message": "Failed to predict data '[{'k': '\nError: no'}]'. \nError: k must be at most 6."})
    half = len(long) // 2
    status, answer = _ask(Inner(400, (long[:half].encode(), long[half:].encode())))
    assert status == 400
    assert json.loads(answer) == {"error_code": "BAD_REQUEST", "message": "k must be at most 6."}


def test_a_refusal_in_plain_text():
    assert json.loads(_ask(Inner(415, (b"only UTF-8",)))[1])["message"] == "only UTF-8"
