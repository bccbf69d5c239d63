"""MLflow's own scoring server for a logged model, behind a check of what its reader of requests dies of.

MLflow answers 500 to a request without a content type, to JSON that is nested too deeply and to a number of thousands
of digits; it sends its stack trace to who posts CSV; and it repeats the whole request in front of the reason. The check
refuses these with 4xx, and cuts a refusal to its reason. What a request and an answer look like stays MLflow's.
"""

import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from recsweep.serving.service import EXAMPLE

MODEL_VARIABLE = "RECSWEEP_SERVED_MODEL"
"""Environment variable with the URI of the model to serve."""

MAX_BODY_BYTES = 10_000_000

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


def app() -> App:
    """What uvicorn runs: `uvicorn --factory recsweep.serving.http:app`."""
    from mlflow import pyfunc
    from mlflow.pyfunc import scoring_server

    model = pyfunc.load_model(os.environ[MODEL_VARIABLE])
    model.predict(model.input_example)  # what a model imports or builds for its first answer, it has once it is up
    return CheckedRequests(scoring_server.init(model))


class CheckedRequests:
    """An ASGI application that hands on what `inner` can read, and refuses the rest in one sentence."""

    def __init__(self, inner: App) -> None:
        self.inner = inner

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (scope["method"], scope["path"]) != ("POST", "/invocations"):
            await self.inner(scope, receive, send)
            return
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > MAX_BODY_BYTES:
                await _refuse(send, 413, f"A request has at most {MAX_BODY_BYTES:,} bytes. Send fewer at once.")
                return
        if (refusal := _refusal(dict(scope["headers"]).get(b"content-type", b""), bytes(body))) is not None:
            await _refuse(send, *refusal)
            return
        read = False

        async def replay() -> Message:
            nonlocal read
            if read:
                return await receive()
            read = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        failed = 0
        answer = bytearray()

        async def shorten(message: Message) -> None:
            nonlocal failed
            if message["type"] == "http.response.start" and message["status"] >= 400:
                failed = message["status"]
            elif not failed:
                await send(message)
            else:
                answer.extend(message.get("body", b""))
                if not message.get("more_body", False):
                    await _refuse(send, failed, _reason(bytes(answer)))

        await self.inner(scope, replay, shorten)


def _refusal(content_type: bytes, body: bytes) -> tuple[int, str] | None:
    """Status and reason where the body is not JSON with a list of requests; None where it is."""
    kind = content_type.decode("latin-1").partition(";")[0].strip().lower()
    if kind != "application/json":
        return 415, f"The content type must be application/json, not {kind or 'none':.60}. Send {EXAMPLE}."
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:  # a ValueError is also a number with too many digits
        return 400, f"The request is not JSON that can be read ({error}). Send {EXAMPLE}."
    if not isinstance(found, dict) or not isinstance(found.get("inputs"), list):
        return 400, f"The request must be a JSON object with a list of requests under `inputs`. Send {EXAMPLE}."
    if not all(isinstance(each, dict) for each in found["inputs"]):
        return 400, f"Each request under `inputs` must be an object. Send {EXAMPLE}."
    return None


def _reason(answer: bytes) -> str:
    """The last part of MLflow's message: the reason without the request."""
    try:
        return json.loads(answer)["message"].rpartition("\nError: ")[2]
    except (ValueError, KeyError, TypeError):
        return answer.decode("utf-8", "replace")


async def _refuse(send: Send, status: int, reason: str) -> None:
    answer = json.dumps({"error_code": "BAD_REQUEST", "message": reason}).encode()  # the names that MLflow uses
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
