"""The HTTP application of `recsweep serve`: requests in, ranked lists out.

What is right is answered byte for byte as `mlflow models serve` answers it. A wrong request among
several gets `{"error": …}` in its place, and whatever can't be read is refused in one sentence.
"""

import asyncio
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsweep import __version__
from recsweep.errors import RecsweepError
from recsweep.serving.messages import Answers, Mistake, Refusal, Request, answer
from recsweep.serving.service import EXAMPLE, Query, RecommenderService

if TYPE_CHECKING:
    from fastapi import FastAPI

SERVED_VARIABLE = "RECSWEEP_SERVED_MODEL"
"""Environment variable with a `Served` as JSON, by which each worker knows what to serve."""

MAX_BODY_BYTES = 10_000_000
"""Length of a request above which it is refused."""

THREADS = 2
"""Threads that compute answers: a long batch shall not hold up short ones, and more would only take
the interpreter from each other."""


@dataclass(frozen=True)
class Served:
    """The model that is served, and where it comes from.

    Attributes:
        folder: Folder with the saved files of the model.
        example: Requests that the model can answer.
        run: Id of the run that trained it.
        model: Name of the registered model; None where the run was chosen and not a version.
        version: Number of the registered version, as text.
    """

    folder: str
    example: list[dict[str, Any]]
    run: str
    model: str | None = None
    version: str | None = None


class RefusedError(RecsweepError):
    """A request of which nothing can be answered, with the HTTP status that says so."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def app() -> "FastAPI":
    """What uvicorn runs: `uvicorn --factory recsweep.serving.http:app`."""
    served = Served(**json.loads(os.environ[SERVED_VARIABLE]))
    service = RecommenderService.load(Path(served.folder))
    predictions(service, served.example)  # imports and builds now what the first answer needs
    return application(service, served)


def application(service: RecommenderService, served: Served) -> "FastAPI":
    """The application that answers by this service."""
    from fastapi import FastAPI, Response
    from fastapi import Request as HttpRequest
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect

    computing = ThreadPoolExecutor(THREADS, thread_name_prefix="answers")
    application = FastAPI(
        title="recsweep",
        version=__version__,
        description=f"Items somebody has not seen, by {service.model.label}.",
    )

    async def refuse(request: HttpRequest, error: Exception) -> Response:
        headers = None
        if isinstance(error, RefusedError):
            status, reason = error.status, str(error)
        elif isinstance(error, HTTPException):
            status, headers = error.status_code, error.headers
            reason = f"{error.detail}: {request.method} {request.url.path:.60}. See /docs."
        elif isinstance(error, ClientDisconnect):
            status, reason = 400, "The request ended before it was whole."
        else:
            status, reason = 500, "The server failed at this request, and its log says where."
        code = "BAD_REQUEST" if status < 500 else "INTERNAL_ERROR"  # names that MLflow uses
        body = Refusal(error_code=code, message=reason).model_dump()
        return Response(json.dumps(body), status, headers, "application/json")

    for kind in (RefusedError, HTTPException, ClientDisconnect, Exception):
        application.add_exception_handler(kind, refuse)

    @application.get("/ping")
    @application.get("/health")
    async def health() -> Response:
        """200 while the server runs. It listens only once the model is loaded."""
        return Response("\n", media_type="application/json")

    @application.get("/version")
    async def version() -> dict[str, str | None]:
        """What is served: the registered model and its version (null where a run was chosen), the
        run that trained it, the model in words, and the version of recsweep."""
        return {
            "model": served.model,
            "version": served.version,
            "run": served.run,
            "label": service.model.label,
            "recsweep": __version__,
        }

    inputs = {"type": "array", "minItems": 1, "items": Request.model_json_schema()}
    content = {
        "schema": {"type": "object", "required": ["inputs"], "properties": {"inputs": inputs}},
        "example": {"inputs": served.example},
    }
    responses: dict[int | str, dict[str, Any]] = {200: {"model": Answers}}
    responses |= {status: {"model": Refusal} for status in (400, 413, 415)}

    @application.post(
        "/invocations",
        responses=responses,
        openapi_extra={"requestBody": {"required": True, "content": {"application/json": content}}},
    )
    async def invocations(request: HttpRequest) -> Response:
        """A list for each request under `inputs`: for a user, or for somebody with a history.

        A wrong request among several gets `{"error": …}` in its place, and the others their lists;
        a single one that is wrong is refused.
        """
        check_content_type(request.headers.get("content-type", ""))
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > MAX_BODY_BYTES:
                raise RefusedError(
                    413, f"A request has at most {MAX_BODY_BYTES:,} bytes. Send fewer at once."
                )
        answers = await asyncio.get_running_loop().run_in_executor(
            computing, answered, service, bytes(body)
        )
        return Response(answers, media_type="application/json")

    return application


def check_content_type(header: str) -> None:
    """Raise RefusedError for anything but JSON in UTF-8."""
    kind, *parameters = (part.strip().lower() for part in header.split(";"))
    rule = "The content type must be application/json"
    if kind != "application/json":
        raise RefusedError(415, f"{rule}, not {kind or 'none':.60}. Send {EXAMPLE}.")
    for parameter in filter(None, parameters):
        if parameter.replace('"', "") != "charset=utf-8":
            raise RefusedError(415, f"{rule} in UTF-8, without {parameter:.60}. Send {EXAMPLE}.")


def answered(service: RecommenderService, body: bytes) -> bytes:
    """The answer to the body of a request.

    Raises:
        RefusedError: The body holds no list of requests, or a single one that is wrong.
    """
    answers = predictions(service, read_requests(body))
    if len(answers) == 1 and "error" in answers[0]:
        raise RefusedError(400, answers[0]["error"])
    return json.dumps({"predictions": answers}).encode()


def read_requests(body: bytes) -> list[dict[str, Any]]:
    """The objects that a body holds under `inputs`.

    Raises:
        RefusedError: There is no JSON, or it holds no list of objects there, or an empty one.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:  # the first also at a number too long
        raise RefusedError(
            400, f"The request is not JSON that can be read ({error}). Send {EXAMPLE}."
        ) from error
    requests = content.get("inputs") if isinstance(content, dict) else None
    if not isinstance(requests, list):
        raise RefusedError(
            400,
            "The request must be a JSON object with a list of requests under "
            f"`inputs`. Send {EXAMPLE}.",
        )
    if not requests:
        raise RefusedError(400, f"The list of requests is empty. Send {EXAMPLE}.")
    if not all(isinstance(request, dict) for request in requests):
        raise RefusedError(400, f"Each request under `inputs` must be an object. Send {EXAMPLE}.")
    return requests


def predictions(
    service: RecommenderService, requests: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """An answer for each request, in their order; one that is wrong gets its error."""
    answers: dict[int, dict[str, Any]] = {}
    queries: dict[int, Query] = {}
    for place, request in enumerate(requests):
        try:
            query = Request.read(request).query(service.default_k)
            service.check(query)
        except RecsweepError as error:
            answers[place] = Mistake(error=str(error)).model_dump()
        else:
            queries[place] = query
    recommendations = service.recommend(list(queries.values()))
    for (place, query), recommendation in zip(queries.items(), recommendations, strict=True):
        answers[place] = answer(query, recommendation)
    return [answers[place] for place in range(len(requests))]
