"""The HTTP application of `recsweep serve`: requests in, ranked lists out.

What is right is answered byte for byte as `mlflow models serve` answers it. A wrong request among
several gets `{"error": …}` in its place, and whatever can't be read is refused in one sentence.
"""

import asyncio
import hmac
import ipaddress
import json
import logging
import multiprocessing
import os
import re
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import thread_time
from typing import TYPE_CHECKING, Any

from recsweep import __version__
from recsweep.errors import RecsweepError
from recsweep.logs import log_to_stderr
from recsweep.processes import live_as_worker
from recsweep.serving.messages import Answers, Mistake, Refusal, Request, answer
from recsweep.serving.service import EXAMPLE, Query, RecommenderService

if TYPE_CHECKING:
    from fastapi import FastAPI, Response

log = logging.getLogger(__name__)

SERVED_VARIABLE = "RECSWEEP_SERVED_MODEL"
"""Environment variable with a `Served` as JSON, by which each worker knows what to serve."""

TOKEN_VARIABLE = "RECSWEEP_TOKEN"
"""Environment variable with the token that every request must carry, where it is set."""

OPEN_PATHS = ("/ping", "/health", "/docs")
"""Paths that need no token: they tell nothing of the model or its data."""

MAX_VALUES = 1_000_000
"""Values in the JSON of a request, counted before it is parsed: each takes memory."""

MAX_LISTED = 500_000
"""Items in all lists of an answer together."""

MAX_HELD_BYTES = 100_000_000
"""Bytes of all requests together that are being received and answered."""

THREADS = 2
"""Threads that compute long answers, which shall not hold up short ones; more would only take the
interpreter from each other."""

QUICK_SECONDS = 0.01
"""Processor seconds below which an answer is computed where requests are received: a thread, and
whoever waits for it, would have to wait for the interpreter, up to 5 ms each time."""

SHORT_BYTES = 4096
"""Bytes of a request that may be answered so quickly."""

LOOK_SECONDS = 1.0
"""Seconds between two looks at what `recsweep serve` has found out about the champion."""


@dataclass(frozen=True)
class Limits:
    """What a client may ask for.

    Attributes:
        queries: Queries in a request.
        body: Bytes of a request.
        seconds: Seconds that a request's body may take to arrive.
        connections: Connections to a worker; a request beyond them gets 503.
    """

    queries: int = 10_000
    body: int = 10_000_000
    seconds: float = 30
    connections: int = 200


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


@dataclass(frozen=True)
class Serving:
    """How a model is served.

    Attributes:
        served: The model, at first.
        limits: What a client may ask for.
        hosts: Names by which a request may call the server, beside addresses; None for any.
        news: File in which a `Served` of the present champion appears, written anew when it
            changes; None where nobody looks.
        follows: Whether a new champion takes over.
        workers: Folder in which each worker that is ready leaves a file named by its process, and
            one that can't serve leaves FAILED with the reason; None where nobody looks.
    """

    served: Served
    limits: Limits = field(default_factory=Limits)
    hosts: Collection[str] | None = None
    news: str | None = None
    follows: bool = False
    workers: str | None = None

    @classmethod
    def read(cls, text: str) -> "Serving":
        """What `json.dumps(asdict(...))` wrote."""
        content = json.loads(text)
        parts = {"served": Served(**content["served"]), "limits": Limits(**content["limits"])}
        return cls(**content | parts)


@dataclass
class _Current:
    """What answers now: both are replaced together, and a request keeps what it began with.

    Attributes:
        champion: Version of the champion as last seen; None where that is not known.
    """

    service: RecommenderService
    served: Served
    champion: str | None


class RefusedError(RecsweepError):
    """A request of which nothing can be answered, with the HTTP status that says so."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.headers = headers


FAILED = "failed"

STARTUP_FAILED = 3
"""Exit status of a worker at which uvicorn starts no other one."""


def app() -> "FastAPI":
    """What uvicorn runs: `uvicorn --factory recsweep.serving.http:app`."""
    log_to_stderr()  # in a worker's process too
    is_worker = multiprocessing.parent_process() is not None
    if is_worker:
        live_as_worker()
    serving = Serving.read(os.environ[SERVED_VARIABLE])
    try:
        service = loaded(serving.served)
    except RecsweepError as error:
        if not is_worker or serving.workers is None:
            raise
        Path(serving.workers, FAILED).write_text(str(error), encoding="utf-8")
        raise SystemExit(STARTUP_FAILED) from None
    return application(service, serving, os.environ.get(TOKEN_VARIABLE))


def application(
    service: RecommenderService, serving: Serving, token: str | None = None
) -> "FastAPI":
    """The application that answers by this service.

    Args:
        token: Text that every request must carry; None where none is needed.
    """
    from fastapi import FastAPI, Response
    from fastapi import Request as HttpRequest
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect

    current = _Current(service, serving.served, serving.served.version)
    limits = serving.limits
    computing = ThreadPoolExecutor(THREADS, thread_name_prefix="answers")
    pace = _Pace()
    held = 0  # bytes of requests that are under way

    @asynccontextmanager
    async def watching(application: FastAPI) -> AsyncIterator[None]:
        task = None
        if serving.news is not None:
            news = Path(serving.news)
            # a worker in the place of one that died begins with the champion of the others
            seen = await _look(current, news, serving.follows, None)
            task = asyncio.create_task(_watch(current, news, serving.follows, seen))
        if serving.workers is not None:
            Path(serving.workers, str(os.getpid())).touch()
        yield
        if task is not None:
            task.cancel()

    application = FastAPI(
        title="recsweep",
        version=__version__,
        description=f"Items somebody has not seen, by {service.model.label}.",
        lifespan=watching,
        docs_url=None,  # its page needs the network
        redoc_url=None,
    )
    application.add_middleware(_Gate, hosts=serving.hosts, token=token)

    async def refuse(request: HttpRequest, error: Exception) -> Response:
        headers = None
        if isinstance(error, RefusedError):
            return refusal(error)
        if isinstance(error, HTTPException):
            status, headers = error.status_code, error.headers
            reason = f"{error.detail}: {request.method} {request.url.path:.60}. See /docs."
        elif isinstance(error, ClientDisconnect):
            status, reason = 400, "The request ended before it was whole."
        else:
            status, reason = 500, "The server failed at this request, and its log says where."
        return refusal(RefusedError(status, reason, headers))

    for kind in (RefusedError, HTTPException, ClientDisconnect, Exception):
        application.add_exception_handler(kind, refuse)

    @application.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        page = Path(__file__).parents[1] / "templates" / "docs.html"
        return Response(page.read_bytes(), media_type="text/html")

    @application.get("/ping")
    @application.get("/health")
    async def health() -> Response:
        """200 while the server runs. It listens only once the model is loaded."""
        return Response("\n", media_type="application/json")

    @application.get("/version")
    async def version() -> dict[str, str | bool | None]:
        """What is served: the registered model and its version (null where a run was chosen), the
        run that trained it, the model in words, the version that is champion now, whether another
        one is served, and the version of recsweep."""
        served = current.served
        return {
            "model": served.model,
            "version": served.version,
            "run": served.run,
            "label": current.service.model.label,
            "champion": current.champion,
            "behind": current.champion != served.version,
            "recsweep": __version__,
        }

    inputs = {"type": "array", "minItems": 1, "items": Request.model_json_schema()}
    content = {
        "schema": {"type": "object", "required": ["inputs"], "properties": {"inputs": inputs}},
        "example": {"inputs": serving.served.example},
    }
    responses: dict[int | str, dict[str, Any]] = {200: {"model": Answers}}
    responses |= {status: {"model": Refusal} for status in (400, 401, 408, 413, 415)}

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
        nonlocal held
        check_content_type(request.headers.get("content-type", ""))
        if int(request.headers.get("content-length", 0)) > limits.body:
            raise _too_long(limits)
        body = bytearray()
        try:
            async with asyncio.timeout(limits.seconds):
                async for piece in request.stream():
                    body += piece
                    held += len(piece)
                    if len(body) > limits.body:
                        raise _too_long(limits)
                    if held > MAX_HELD_BYTES:
                        raise RefusedError(
                            503, "The server has its hands full. Try again.", {"Retry-After": "1"}
                        )
            service, content, compute = current.service, bytes(body), answered
            if is_short := len(content) <= SHORT_BYTES and content.count(b"{") <= 3:
                compute = pace.answered
            if is_short and pace.is_quick:
                answers = compute(service, content, limits)
            else:
                answers = await asyncio.get_running_loop().run_in_executor(
                    computing, compute, service, content, limits
                )
        except TimeoutError as error:
            raise RefusedError(
                408,
                f"A request must arrive within {limits.seconds:g} s. Send fewer at once.",
                {"Connection": "close"},
            ) from error
        finally:
            held -= len(body)
        return Response(answers, media_type="application/json")

    return application


def refusal(error: RefusedError) -> "Response":
    """A refusal as a client gets it."""
    from fastapi import Response

    code = "BAD_REQUEST" if error.status < 500 else "INTERNAL_ERROR"  # names that MLflow uses
    body = Refusal(error_code=code, message=str(error)).model_dump()
    headers = dict(error.headers or {})
    return Response(json.dumps(body), error.status, headers, "application/json")


def _too_long(limits: Limits) -> RefusedError:
    return RefusedError(413, f"A request has at most {limits.body:,} bytes. Send fewer at once.")


class _Gate:
    """Lets requests in that call the server by one of its names, and carry the token.

    A page of another site, whose name was made to lead here, can't do the first.
    """

    def __init__(self, app: Any, hosts: Collection[str] | None, token: str | None) -> None:
        self._app, self._hosts, self._token = app, hosts, token

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            try:
                self._check(scope["path"], dict(scope["headers"]))
            except RefusedError as error:
                await refusal(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, path: str, headers: Mapping[bytes, bytes]) -> None:
        host = headers.get(b"host", b"").decode("latin-1")
        if self._hosts is not None and host and not _is_named(host, self._hosts):
            raise RefusedError(
                403,
                f"This server is not called {host:.60}. Call it by its address, or start it with "
                "--allowed-hosts NAME.",
            )
        if self._token is None or path in OPEN_PATHS:
            return
        given = headers.get(b"authorization", b"")
        if not hmac.compare_digest(given, f"Bearer {self._token}".encode()):
            raise RefusedError(
                401,
                "The request needs the header Authorization: Bearer with this server's token.",
                {"WWW-Authenticate": "Bearer"},
            )


def _is_named(host: str, hosts: Collection[str]) -> bool:
    """Whether a Host header holds an address, or one of these names."""
    name = re.sub(r":\d*$", "", host).strip("[]").rstrip(".").lower()
    with suppress(ValueError):
        return bool(ipaddress.ip_address(name))
    return name in hosts


class _Pace:
    """Whether short requests are answered quickly: as the last one was.

    By the processor's time, as on a busy machine the clock's says nothing of the request.
    """

    is_quick = False

    def answered(self, service: RecommenderService, body: bytes, limits: Limits) -> bytes:
        """As `answered`."""
        start = thread_time()
        try:
            return answered(service, body, limits)
        finally:
            self.is_quick = thread_time() - start < QUICK_SECONDS


async def _watch(current: _Current, news: Path, follows: bool, seen: int | None) -> None:
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        seen = await _look(current, news, follows, seen)


async def _look(current: _Current, news: Path, follows: bool, seen: int | None) -> int | None:
    """Note a new champion, and let it take over where that is wanted: once it is loaded, between
    two requests.

    Args:
        seen: When the news that were seen last were written; None before there were any.

    Returns:
        The same afterwards.
    """
    try:
        changed = news.stat().st_mtime_ns
        if changed == seen:
            return seen
        served = Served(**json.loads(news.read_text(encoding="utf-8")))
    except OSError:  # nothing has been found out yet
        return seen
    current.champion = served.version
    if not follows or served.version == current.served.version:
        return changed
    try:
        service = await asyncio.to_thread(loaded, served)
    except RecsweepError as error:
        log.error("Version %s can't be served, and the one before stays: %s", served.version, error)
        return changed
    current.service, current.served = service, served
    log.info("%s version %s is served now", served.model, served.version)
    return changed


def loaded(served: Served) -> RecommenderService:
    """The service of a model that has imported and built what its first answer needs."""
    service = RecommenderService.load(Path(served.folder))
    predictions(service, served.example)
    return service


def check_content_type(header: str) -> None:
    """Raise RefusedError for anything but JSON in UTF-8."""
    kind, *parameters = (part.strip().lower() for part in header.split(";"))
    rule = "The content type must be application/json"
    if kind != "application/json":
        raise RefusedError(415, f"{rule}, not {kind or 'none':.60}. Send {EXAMPLE}.")
    for parameter in filter(None, parameters):
        if parameter.replace('"', "") != "charset=utf-8":
            raise RefusedError(415, f"{rule} in UTF-8, without {parameter:.60}. Send {EXAMPLE}.")


def answered(service: RecommenderService, body: bytes, limits: Limits) -> bytes:
    """The answer to the body of a request.

    Raises:
        RefusedError: The body holds no list of requests, too many, or a single one that is wrong.
    """
    check_size(body, limits)
    answers = predictions(service, read_requests(body))
    if len(answers) == 1 and "error" in answers[0]:
        raise RefusedError(400, answers[0]["error"])
    return json.dumps({"predictions": answers}).encode()


def check_size(body: bytes, limits: Limits) -> None:
    """Raise RefusedError for more than an answer is made of, before memory is taken for it."""

    def counted(text: bytes) -> tuple[int, int]:
        objects = text.count(b"{")
        return objects - 1, objects + text.count(b"[") + text.count(b",")

    queries, values = counted(body)
    if queries > limits.queries or values > MAX_VALUES:
        queries, values = counted(_TEXT.sub(b"", body))  # what is part of an id does not count
    if queries > limits.queries:
        raise RefusedError(
            413, f"A request holds at most {limits.queries:,} queries. Send fewer at once."
        )
    if values > MAX_VALUES:
        raise RefusedError(413, f"A request holds at most {MAX_VALUES:,} values. Send fewer.")


_TEXT = re.compile(rb'(?s)"[^"\\]*+(?:\\.[^"\\]*+)*+"')
"""A text of JSON."""


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
    """An answer for each request, in their order; one that is wrong gets its error.

    Raises:
        RefusedError: All together ask for too many items.
    """
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
    listed = sum(query.k for query in queries.values())
    if listed > MAX_LISTED:
        raise RefusedError(
            413,
            f"An answer holds at most {MAX_LISTED:,} items, and this one would hold {listed:,}. "
            "Send fewer at once, or a smaller k.",
        )
    recommendations = service.recommend(list(queries.values()))
    for (place, query), recommendation in zip(queries.items(), recommendations, strict=True):
        answers[place] = answer(query, recommendation)
    return [answers[place] for place in range(len(requests))]
