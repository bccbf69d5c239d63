"""`recsweep serve`: an HTTP server on the champion, or on the model of a run."""

import argparse
import ipaddress
import json
import logging
import os
import re
import shlex
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsweep.checks import check_integer, check_number
from recsweep.cli.chosen import add_model_options, chosen_model, compute_with_one_thread
from recsweep.errors import ConfigError, RecsweepError, SavedModelError
from recsweep.memory import available_bytes
from recsweep.processes import cores
from recsweep.scratch import scratch_folder
from recsweep.terminal import tell

if TYPE_CHECKING:
    from recsweep.serving.http import Served

log = logging.getLogger(__name__)

MAX_WORKERS = 256
"""More processes than that only take each other's memory."""

WORKER_BYTES = 400_000_000
"""What a worker takes beside its model: torch, scipy and the server."""

COPIES = 4
"""How often the bytes of a model's files stand in a worker's memory, at most: what was read, what
is made of it for the first answer, and with --follow the champion before."""

START_SECONDS = 0.1
"""Seconds between two looks whether the workers are ready."""

LOADING_SECONDS = 60
"""Seconds of silence after which a worker is replaced; loading a model must not count as that."""

LOOK_SECONDS = 5.0
"""Seconds between two looks at who is champion."""

STOP_SECONDS = 10
"""Seconds that a look under way may take at the end."""


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
        help="processes that answer, each with the model and one thread (default: one a core, as "
        "far as there is memory for them)",
    )
    add_model_options(serve)
    serve.add_argument(
        "--follow",
        action="store_true",
        help=f"serve each new champion, looked for every {LOOK_SECONDS:g} s, without dropping a "
        "request (else /version says that the server is behind)",
    )
    serve.add_argument(
        "--token",
        action="store_true",
        help="answer who sends the token in $RECSWEEP_TOKEN (as Authorization: Bearer ...) alone; "
        "so it is, too, wherever that variable is set",
    )
    serve.add_argument(
        "--insecure",
        action="store_true",
        help="answer anybody who can reach an address beyond this machine",
    )
    serve.add_argument(
        "--allowed-hosts",
        metavar="NAMES",
        default="",
        help="names by which the server may be called, with commas between (addresses, localhost "
        "and the machine's own name always may)",
    )
    serve.add_argument(
        "--max-queries", type=int, default=10_000, help="of a request (default 10,000)"
    )
    serve.add_argument(
        "--max-body", type=int, default=10_000_000, help="bytes of a request (default 10,000,000)"
    )
    serve.add_argument(
        "--max-seconds", type=float, default=30, help="for a request to arrive (default 30)"
    )
    serve.add_argument(
        "--max-connections", type=int, default=200, help="to each worker at once (default 200)"
    )
    serve.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    if arguments.workers is not None:
        check_integer("--workers", arguments.workers, minimum=1, maximum=MAX_WORKERS)
    for limit in ("queries", "body", "connections"):
        check_integer(f"--max-{limit}", getattr(arguments, f"max_{limit}"), minimum=1)
    check_number("--max-seconds", arguments.max_seconds, above=0)
    token = check_access(arguments)
    check_free(arguments.host, arguments.port)
    chosen = chosen_model(arguments)
    if arguments.follow and chosen.version is None:
        raise ConfigError("--follow serves the champion, and --run a run: give one of them.")
    _, example = chosen.store.servable(chosen.model_id)
    shown = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
    address = f"http://{shown}:{arguments.port}"
    body = shlex.quote(json.dumps({"inputs": example}))
    authorization = ' -H "Authorization: Bearer $RECSWEEP_TOKEN"' if token else ""
    trial = f"{address}/invocations{authorization} -H 'Content-Type: application/json' -d {body}"
    compute_with_one_thread()
    from recsweep.serving import connections
    from recsweep.serving.http import FAILED, SERVED_VARIABLE, Limits, Served, Serving

    with ExitStack() as held:
        held.enter_context(_ending_at_sigterm())
        folder = held.enter_context(chosen.store.saved_model(chosen.model_id))
        scratch = held.enter_context(scratch_folder())
        workers = arguments.workers or workers_for(folder)
        (ready := scratch / "workers").mkdir()
        served = Served(str(folder.resolve()), example, chosen.run_id, chosen.name, chosen.version)
        serving = Serving(
            served,
            Limits(
                arguments.max_queries,
                arguments.max_body,
                arguments.max_seconds,
                arguments.max_connections,
            ),
            sorted(own_names(arguments)),
            str(scratch / "champion.json") if chosen.version else None,
            arguments.follow,
            str(ready),
        )
        os.environ[SERVED_VARIABLE] = json.dumps(asdict(serving))
        if serving.news:
            watcher = ChampionWatch(arguments, served, Path(serving.news))
            watcher.start()
            held.callback(watcher.stop)
        by = "" if workers == 1 else f", by {workers} workers"
        words = f"{chosen.words}: {address}/invocations{by}. Try it with:\ncurl {trial}"
        start = StartWatch(arguments.host, arguments.port, workers, ready, words)
        start.start()
        held.callback(start.stop)
        # in this process; several workers are processes of their own, made anew and not forked
        # from one that holds the model, as torch's threads do not outlive a fork
        connections.run(
            "recsweep.serving.http:app",
            factory=True,
            host=arguments.host,
            port=arguments.port,
            workers=workers,
            loop="auto" if workers == 1 else "recsweep.serving.connections:SharingLoop",
            http="recsweep.serving.connections:BoundedProtocol",
            ws="none",
            limit_concurrency=arguments.max_connections,
            log_level="warning",
            timeout_worker_healthcheck=LOADING_SECONDS,
        )
        if (ready / FAILED).exists():
            raise SavedModelError((ready / FAILED).read_text(encoding="utf-8"))


def workers_for(folder: Path) -> int:
    """One worker a core, as far as there is memory for them.

    Args:
        folder: Folder with the files of the model.
    """
    needed = WORKER_BYTES + COPIES * sum(path.stat().st_size for path in folder.rglob("*"))
    return max(1, min(cores(), MAX_WORKERS, available_bytes() // needed))


def check_access(arguments: argparse.Namespace) -> str | None:
    """The token that requests must carry; None where none is needed.

    Raises:
        ConfigError: Others could ask without one, and that was not allowed.
    """
    token = os.environ.get("RECSWEEP_TOKEN") or None
    remedy = "export RECSWEEP_TOKEN=$(openssl rand -hex 32)"
    if token is not None and not re.fullmatch(r"[!-~]{16,}", token):
        raise ConfigError(
            "RECSWEEP_TOKEN must have at least 16 characters, of ASCII and without spaces. Make "
            f"one with: {remedy}"
        )
    if token is None and arguments.token:
        raise ConfigError(f"RECSWEEP_TOKEN must be set for `--token`. Set it with: {remedy}")
    if token is None and not arguments.insecure and not is_loopback(arguments.host):
        raise ConfigError(
            f"--host {arguments.host} can be reached from other machines and would answer anybody. "
            f"Make a token with: {remedy}, or allow it with --insecure."
        )
    return token


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def own_names(arguments: argparse.Namespace) -> set[str]:
    """Names by which a request may call the server, in lower case."""
    given = [name.strip() for name in arguments.allowed_hosts.split(",")]
    names = ["localhost", arguments.host, socket.gethostname(), *given]
    return {name.lower() for name in names if name}


class StartWatch(threading.Thread):
    """Says the address once every worker answers, and ends the server where one can't serve.

    Args:
        host: The address that is listened on.
        port: The port.
        workers: Number of workers.
        ready: Folder in which each leaves a file, as in `Serving.workers`.
        words: What is said.
    """

    def __init__(self, host: str, port: int, workers: int, ready: Path, words: str) -> None:
        super().__init__(name="start", daemon=True)
        self._address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port
        self._workers, self._ready, self._words = workers, ready, words
        self._stopped = threading.Event()

    def run(self) -> None:
        from recsweep.serving.http import FAILED

        while not self._stopped.wait(START_SECONDS):
            names = [path.name for path in self._ready.iterdir()]
            if FAILED in names:
                os.kill(os.getpid(), signal.SIGTERM)  # which uvicorn takes for its end
                return
            if len(names) >= self._workers and self._listens():
                tell(self._words)
                return

    def stop(self) -> None:
        self._stopped.set()
        self.join(STOP_SECONDS)

    def _listens(self) -> bool:
        try:
            socket.create_connection(self._address, timeout=STOP_SECONDS).close()
        except OSError:
            return False
        return True


class ChampionWatch(threading.Thread):
    """Looks who is champion every few seconds, and writes that into a file, for all workers.

    Args:
        arguments: Options that say where the store is, and whether a new champion is served.
        served: What is served at first.
        news: The file.
    """

    def __init__(self, arguments: argparse.Namespace, served: "Served", news: Path) -> None:
        super().__init__(name="champion", daemon=True)
        self._arguments, self._known, self._news = arguments, served.version, news
        self._stopped = threading.Event()
        self._held = ExitStack()
        self._trouble = ""

    def run(self) -> None:
        while not self._stopped.wait(LOOK_SECONDS):
            try:
                self._look()
                self._trouble = ""
            except RecsweepError as error:
                if str(error) != self._trouble:
                    log.warning("It can't be seen who is champion now: %s", error)
                self._trouble = str(error)

    def stop(self) -> None:
        """Look no more, and remove what was fetched."""
        self._stopped.set()
        self.join(STOP_SECONDS)
        self._held.close()

    def _look(self) -> None:
        from recsweep.serving.http import Served

        chosen = chosen_model(self._arguments)
        if chosen.version == self._known:
            return
        folder, example = "", list[dict[str, Any]]()
        if self._arguments.follow:
            _, example = chosen.store.servable(chosen.model_id)
            folder = str(self._held.enter_context(chosen.store.saved_model(chosen.model_id)))
        else:
            log.warning(
                "%s is not what is served. Start the server anew, or with --follow.", chosen.words
            )
        champion = Served(folder, example, chosen.run_id, chosen.name, chosen.version)
        self._news.with_suffix(".new").write_text(json.dumps(asdict(champion)), encoding="utf-8")
        self._news.with_suffix(".new").replace(self._news)
        self._known = chosen.version


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
