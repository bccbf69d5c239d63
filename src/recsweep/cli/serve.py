"""`recsweep serve`: an HTTP server on the champion, or on the model of a run."""

import argparse
import json
import os
import shlex
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from recsweep.checks import check_integer
from recsweep.cli.chosen import add_model_options, chosen_model, compute_with_one_thread
from recsweep.errors import ConfigError
from recsweep.terminal import tell

MAX_WORKERS = 256
"""More processes than that only take each other's memory."""

LOADING_SECONDS = 60
"""Seconds of silence after which a worker is replaced; loading a model must not count as that."""


def add_to(commands: argparse._SubParsersAction) -> None:
    serve = commands.add_parser(
        "serve",
        help="answer requests for recommendations over HTTP",
        description="Serve the champion, or the model of a run, over HTTP.",
    )
    serve.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)"
    )
    serve.add_argument("--port", type=int, default=5001, help="default 5001")
    serve.add_argument(
        "--workers",
        type=int,
        default=1,
        help="processes that answer, each with the model and one thread (default 1)",
    )
    add_model_options(serve)
    serve.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    check_integer("--workers", arguments.workers, minimum=1, maximum=MAX_WORKERS)
    check_free(arguments.host, arguments.port)
    chosen = chosen_model(arguments)
    _, example = chosen.store.servable(chosen.model_id)
    shown = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
    address = f"http://{shown}:{arguments.port}"
    body = shlex.quote(json.dumps({"inputs": example}))
    tell(
        f"{chosen.words}: {address}/invocations, and {address}/ping once it is up. Try it with:\n"
        f"curl {address}/invocations -H 'Content-Type: application/json' -d {body}"
    )
    compute_with_one_thread()
    import uvicorn

    from recsweep.serving.http import SERVED_VARIABLE, Served
    from recsweep.serving.service import RecommenderService

    with _ending_at_sigterm(), chosen.store.saved_model(chosen.model_id) as folder:
        if arguments.workers > 1:
            RecommenderService.load(folder)  # what is wrong with it is said here, once
        served = Served(str(folder.resolve()), example, chosen.run_id, chosen.name, chosen.version)
        os.environ[SERVED_VARIABLE] = json.dumps(asdict(served))
        # in this process; several workers are processes of their own
        uvicorn.run(
            "recsweep.serving.http:app",
            factory=True,
            host=arguments.host,
            port=arguments.port,
            workers=arguments.workers,
            log_level="warning",
            timeout_worker_healthcheck=LOADING_SECONDS,
        )


@contextmanager
def _ending_at_sigterm() -> Iterator[None]:
    """Make SIGTERM end the process as after its last line, so that copies of files are removed."""

    def end(number: int, frame: object) -> None:
        raise SystemExit(0)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def check_free(host: str, port: int) -> None:
    """Raise ConfigError where nothing can listen: uvicorn would say so after the model was
    loaded."""
    if not 1 <= port <= 65535:
        raise ConfigError(f"--port must be a whole number from 1 to 65535, not {port}.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        # as uvicorn: a port just left is free
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"Nothing can listen on {host}, port {port}: {error.strerror or error}. Choose "
                "another with --port or --host."
            ) from error
