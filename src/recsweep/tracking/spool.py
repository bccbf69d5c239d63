"""What is logged while a server is away: kept on disk beside the store, sent when it is back."""

import json
import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from recsweep.causes import cause_of
from recsweep.databases import home
from recsweep.errors import TrackingError
from recsweep.interrupts import terminate_as_interrupt
from recsweep.masking import mask
from recsweep.tracking.access import ask_health, guard
from recsweep.tracking.records import SETTLED_TAG
from recsweep.tracking.writes import Entry, Target, merged

if TYPE_CHECKING:
    from filelock import FileLock
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

T = TypeVar("T")

ENTRY_SECONDS = 5
"""How long a server may take to answer when something is logged, before it counts as away."""

SENDING_SECONDS = 30
"""The same when what was kept is sent, many entries in one request, to a server that is up."""

END_SECONDS = 3
"""The same when a run ends: whoever has pressed Ctrl-C is waiting."""

HURRY_SECONDS = 1
"""How long a command goes on sending that was interrupted."""

BYTES_PER_SECOND = 1_000_000
"""Speed below which the sending of a file counts as stuck."""

LONGEST_PAUSE = 30
"""Seconds between two looks for a server that stays away, after ever longer ones."""

REFUSED = (401, 403)
"""Statuses of a server that is there, but does not let us in (any more)."""

AWAY = (*REFUSED, 408, 429, 499, 500, 501, 502, 503, 504)
"""Statuses after which what was to be written is kept. MLflow says 500 also where there was no
answer at all; any other status says that the request itself is wrong."""


def spool_folder() -> Path:
    """The folder with a folder for each run of which something is not sent yet."""
    return home() / "spool"


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an error stands for; None where it is none of the way to a server."""
    import requests
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return error.get_http_status_code()
    if isinstance(error, requests.RequestException):
        return 503 if error.response is None else error.response.status_code
    return None


def is_away(error: BaseException) -> bool:
    """Whether an error says that a server can't take or give anything now."""
    return status_of(error) in AWAY


@contextmanager
def answers_within(seconds: float) -> Iterator[None]:
    """Let MLflow's requests fail after so many seconds without an answer, and not try again: who
    sends keeps what was not sent, and tries again later."""
    settings = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(max(1, round(seconds))),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


# --- on disk ---


@dataclass
class Spool:
    """The entries of one run that are not sent, in a folder of their own, in their order.

    Whoever holds it by its lock, the run's own process or `recsweep sync`, alone writes and sends.
    An entry's files are there before its line is, so that a kill leaves an entry whole or not at
    all; a line that was torn is none.

    Attributes:
        folder: Named by the id of the run.
        about: The store's URI without its secrets, and the run's experiment, id and name.
        entries: What is not sent.
        has_end: Whether the run's end was ever among them.
    """

    folder: Path
    about: Mapping[str, Any]
    entries: list[dict[str, Any]]
    has_end: bool = False
    _lock: "FileLock | None" = None

    @property
    def name(self) -> str:
        return self.about["name"]

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> "Spool":
        """A run's spool, for the process that writes the run; it goes on where one died."""
        folder = spool_folder() / about["run_id"]
        folder.mkdir(parents=True, exist_ok=True)
        lock = _locked(folder)
        if lock is None:
            raise TrackingError(
                f"Another process keeps in {folder} what is not sent of the run: wait for its end."
            )
        if not (folder / "run.json").exists():
            _write_whole(folder / "run.json", json.dumps(dict(about)))
        return cls._read(folder, lock)

    @classmethod
    def left(cls, folder: Path) -> "Spool | None":
        """What a process has left that died; None where it lives, or left nothing to send."""
        lock = _locked(folder)
        if lock is None:
            return None
        spool = None
        with suppress(OSError, json.JSONDecodeError):  # killed before it kept, or after it sent
            spool = cls._read(folder, lock)
        if spool is not None and (spool.entries or not spool.has_end):
            return spool
        cls(folder, {}, [], _lock=lock)._remove()
        return None

    @classmethod
    def _read(cls, folder: Path, lock: "FileLock") -> "Spool":
        about = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        entries = []
        with suppress(FileNotFoundError):
            for line in (folder / "entries.jsonl").read_text(encoding="utf-8").splitlines():
                with suppress(json.JSONDecodeError):  # one that was torn
                    entries.append(json.loads(line))
        has_end = any(entry["do"] == "end" for entry in entries)
        sent = _number_in(folder / "sent")
        unsent = [entry for entry in entries if entry["number"] >= sent]
        return cls(folder, about, unsent, has_end, _lock=lock)

    def append(self, entry: Entry, files: Path | None = None) -> None:
        """Keep an entry: it is on the disk when this returns."""
        following = self.entries[-1]["number"] + 1 if self.entries else 0
        number = max(following, _number_in(self.folder / "sent"))
        kept = {**entry, "number": number}
        if files is not None:
            kept["files"] = f"files{number}"
            _copy(files, self.folder / kept["files"])
        with (self.folder / "entries.jsonl").open("ab") as stream:
            # after a line that was torn, this one begins anew
            stream.write(b"\n" + json.dumps(kept).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        self.entries.append(kept)
        self.has_end = self.has_end or entry["do"] == "end"

    def send(self, client: "MlflowClient", *, hurry: float = math.inf) -> int:
        """Send all entries, one after another, and remove the folder; how many were sent.

        Args:
            hurry: Moment (`time.monotonic`) after which nothing more is sent; no files are, where
                there is one.

        Raises:
            Exception: An entry can't be sent; it and all after it are kept.
        """
        target = Target(client, self.about["experiment_id"], self.about["run_id"], again=True)
        count = 0
        while self.entries:
            entry, number = merged(self.entries)
            if hurry < math.inf and ("files" in entry or time.monotonic() > hurry):
                return count
            following, name = self.entries[number - 1]["number"] + 1, entry.pop("files", None)
            del entry["number"]
            files = None if name is None else self.folder / name
            patience = SENDING_SECONDS if hurry == math.inf else 0
            with answers_within(max(patience, seconds_for(entry, files))):
                target.write(entry, files)
            _write_whole(self.folder / "sent", str(following))
            del self.entries[:number]
            count += number
        self._remove()
        return count

    def _remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        Path(f"{self.folder}.lock").unlink(missing_ok=True)
        self.release()

    def release(self) -> None:
        """Let another process send it."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def seconds_for(entry: Entry, files: Path | None) -> float:
    """How long a server may take for one request of an entry."""
    seconds = END_SECONDS if entry["do"] == "end" else ENTRY_SECONDS
    sizes = (path.stat().st_size for path in files.rglob("*")) if files is not None else ()
    return seconds + max(sizes, default=0) / BYTES_PER_SECOND


def _locked(folder: Path) -> "FileLock | None":
    from filelock import FileLock, Timeout

    lock = FileLock(f"{folder}.lock", thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock


def _number_in(path: Path) -> int:
    with suppress(OSError, ValueError):
        return int(path.read_text(encoding="ascii"))
    return 0


def _copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    for path in [*target.rglob("*"), target]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write_whole(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


# --- in a process ---


@dataclass
class Outbox:
    """All that this process writes to a server: sent at once, or kept until that is back.

    Attributes:
        client: A client of the server, which does not wait for it.
        uri: The server's URI.
        wait_seconds: How long what can't go on without the server waits for it.
        spools: The spools of runs that have not ended, by run; those of others lie on the disk for
            whoever is the first to find the server back.
        refused: Runs of which the server does not take what was kept.
    """

    client: "MlflowClient"
    uri: str
    wait_seconds: float
    spools: dict[str, Spool] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    _keeps: bool = False
    _away_since: float | None = None
    _next_look: float = 0.0
    _pause: float = 1.0

    def put(self, target: Target, name: str, entry: Entry, files: Path | None = None) -> None:
        """Write an entry to a run, or keep it.

        Raises:
            Exception: The server says that the entry is wrong.
        """
        if target.run_id not in self.spools and self._away_since is None:
            try:
                with answers_within(seconds_for(entry, files)):
                    target.write(entry, files)
                return
            except BaseException as error:
                if isinstance(error, Exception) and not is_away(error):
                    raise
                self._keep(target, name, entry, files)
                if not isinstance(error, Exception):
                    raise
                self._note_away(error, "what is logged is kept")
                return
        self._keep(target, name, entry, files)
        if entry["do"] != "end":  # an end must not take long: `finish` sends it, or the next run
            self.look()

    def is_within_reach(self, run_id: str) -> bool:
        """Whether the server takes what is written to a run; one that was away is looked for."""
        if self._away_since is not None:
            self.look()
        return self._away_since is None and run_id not in self.spools

    def _keep(self, target: Target, name: str, entry: Entry, files: Path | None) -> None:
        spool = self.spools.get(target.run_id)
        if spool is None:
            about = {
                "uri": mask(self.uri),
                "experiment_id": target.experiment_id,
                "run_id": target.run_id,
                "name": name,
                "command": _command(),
            }
            spool = self.spools[target.run_id] = Spool.of(about)
        spool.append(entry, files)
        self._keeps = True
        if entry["do"] == "end":
            self.spools.pop(target.run_id).release()

    def _note_away(self, error: Exception, what: str) -> None:
        """Remember that the server is away, and when to look again; said once."""
        now = time.monotonic()
        if self._away_since is None:
            self._away_since, self._pause = now, 1.0
            reason = _short(cause_of(error).reason)
            if status_of(error) in REFUSED:
                log.warning("The MLflow server %s: %s; %s", mask(self.uri), reason, what)
            else:
                log.warning(
                    "The MLflow server %s is away: %s until it is back (%s)",
                    mask(self.uri),
                    what,
                    reason,
                )
        self._next_look = now + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def look(self, *, now: bool = False, hurry: float = math.inf) -> None:
        """Send what is kept, also by processes that have died, if the server is back.

        Args:
            now: Whether to look also where it was away a moment ago.
            hurry: As of `Spool.send`.
        """
        if not now and time.monotonic() < self._next_look:
            return
        left: list[Spool] = []
        count = 0
        try:
            ask_health(self.uri, END_SECONDS if hurry == math.inf else HURRY_SECONDS)
            left += left_spools()
            for spool in [*self.spools.values(), *left]:
                if spool.about["uri"] == mask(self.uri):
                    count += self._send(spool, hurry)
        except Exception as error:
            if not is_away(error):
                raise
            self._note_away(error, "what is logged is kept")
            return
        finally:
            for spool in left:
                spool.release()
        self._keeps = hurry < math.inf
        if count:
            log.info("What was kept for %s is sent: %d entries.", mask(self.uri), count)
        if self._away_since is not None:
            seconds = time.monotonic() - self._away_since
            log.info("The MLflow server %s is back after %.0f s.", mask(self.uri), seconds)
            self._away_since, self._next_look = None, 0.0

    def _send(self, spool: Spool, hurry: float) -> int:
        run_id = spool.folder.name
        if run_id in self.refused:
            return 0
        try:
            count = spool.send(self.client, hurry=hurry)
        except Exception as error:
            if is_away(error):
                raise
            self.refused.add(run_id)
            log.error(
                "What was kept of %s in %s can't be sent: %s", spool.name, spool.folder, error
            )
            return 0
        if not spool.entries:
            self.spools.pop(run_id, None)
        return count

    def waiting(self, call: Callable[..., T], *arguments: Any, **settings: Any) -> T:
        """What a call returns that has no place to be kept: it waits for the server.

        What is kept is sent first, so that the call sees it.

        Raises:
            TrackingError: The server stayed away for longer than `wait_seconds`.
        """
        end = time.monotonic() + self.wait_seconds
        while True:
            try:
                if self._away_since is not None or self._keeps:
                    self.look(now=True)
                if self._away_since is None:
                    with answers_within(max(self.wait_seconds, END_SECONDS)):
                        return call(*arguments, **settings)
            except Exception as error:
                if not is_away(error) or status_of(error) in REFUSED:
                    raise
                self._note_away(error, f"waiting up to {self.wait_seconds:g} s for it")
            left = end - time.monotonic()
            if left <= 0:
                raise TrackingError(
                    f"The MLflow server {mask(self.uri)} has been away for more than "
                    f"{self.wait_seconds:g} s (tracking.wait_seconds), and this can't go on "
                    "without it. When it is back, run the same command again."
                )
            time.sleep(min(self._pause, 5, left))

    def finish(self, *, wait: bool) -> list[str]:
        """Send what is kept; the names of this command's runs that are not all sent.

        Args:
            wait: Whether to wait for the server, for `wait_seconds`, and until all is sent, or
                until that is interrupted; else it is over in a few seconds.
        """
        for spool in self.spools.values():
            spool.release()
        self.spools.clear()
        start = time.monotonic()
        with suppress(KeyboardInterrupt), terminate_as_interrupt():
            while kept(self.uri):
                self.look(now=True, hurry=math.inf if wait else start + HURRY_SECONDS)
                left = start + self.wait_seconds - time.monotonic()
                if not wait or left <= 0 or not self._own.keys() - self.refused:
                    break
                time.sleep(min(self._pause, 5, left))
        return list(self._own.values())

    @property
    def _own(self) -> dict[str, str]:
        """Id and name of this command's runs of which something is kept."""
        abouts = [about for about in kept(self.uri) if about["command"] == _command()]
        return {about["run_id"]: about["name"] for about in abouts}


def patient(client: T, outbox: Outbox) -> T:
    """The same client, each of whose public methods now waits for the server."""
    import inspect

    for name, _ in inspect.getmembers(type(client), inspect.isfunction):
        if not name.startswith("_"):
            setattr(client, name, partial(outbox.waiting, getattr(client, name)))
    return client


def _command() -> int:
    """The process that the user started: this one, or the one that it is a worker of."""
    import multiprocessing

    parent = multiprocessing.parent_process()
    return os.getpid() if parent is None or parent.pid is None else parent.pid


def _short(text: str, length: int = 160) -> str:
    return text if len(text) <= length else f"{text[:length]}…"


_outboxes: dict[str, Outbox] = {}
"""The outbox of each server that this process writes to."""


def outbox(client: "MlflowClient", uri: str, wait_seconds: float) -> Outbox:
    """This process's outbox for a server."""
    if uri not in _outboxes:
        _outboxes[uri] = Outbox(client, uri, wait_seconds)
    _outboxes[uri].wait_seconds = wait_seconds
    return _outboxes[uri]


def send_rest(*, wait: bool) -> list[str]:
    """Send what is not sent yet, at the end of a command; names of this process's runs of which
    something is still kept.

    Args:
        wait: As of `Outbox.finish`.
    """
    return [name for box in _outboxes.values() for name in box.finish(wait=wait)]


def stop_waiting() -> None:
    """Let nothing wait for a server any more: whoever has pressed Ctrl-C does not want to."""
    for box in _outboxes.values():
        box.wait_seconds = 0


# --- of processes that have ended ---


def is_spooled(run_id: str) -> bool:
    """Whether something of a run is kept here, so that what the server says of it is old."""
    return (spool_folder() / run_id).is_dir()


def kept(uri: str | None = None) -> list[Mapping[str, Any]]:
    """What is known of each run of which something is kept, whoever writes it.

    Args:
        uri: The server of the runs; None for all.
    """
    abouts = []
    for path in sorted(spool_folder().glob("*/run.json")):
        with suppress(OSError, json.JSONDecodeError):  # sent just now
            abouts.append(json.loads(path.read_text(encoding="utf-8")))
    return [about for about in abouts if uri is None or about["uri"] == mask(uri)]


def left_spools() -> list[Spool]:
    """What processes have left that ended before all was sent; each is held until its `release`.

    The run of one that was killed ends as KILLED.
    """
    folders = sorted(path for path in spool_folder().glob("*") if path.is_dir())
    spools = [spool for folder in folders if (spool := Spool.left(folder)) is not None]
    for spool in spools:
        if not spool.has_end:
            reason = "its process died while the server was away"
            tags = {"reason": reason, SETTLED_TAG: reason}
            died = (spool.folder / "run.json").stat().st_mtime
            for path in spool.folder.glob("entries.jsonl"):
                died = path.stat().st_mtime
            spool.append({"do": "end", "status": "KILLED", "time": int(1000 * died), "tags": tags})
    return spools


@dataclass(frozen=True)
class Synced:
    """What `sync` did, in names of runs.

    Attributes:
        sent: Those all of which is in the store now.
        held: Those that a living process writes, or sends.
        elsewhere: Those of other stores -> the URI, without its secrets.
        refused: Those that can't be sent -> why.
    """

    sent: list[str]
    held: list[str]
    elsewhere: dict[str, str]
    refused: dict[str, str]


def sync(uri: str) -> Synced:
    """Send what was kept for a server; what a living process keeps is left to it.

    Raises:
        TrackingError: The server is away.
    """
    abouts = {about["run_id"]: about for about in kept()}
    elsewhere = {
        about["name"]: about["uri"] for about in abouts.values() if about["uri"] != mask(uri)
    }
    sent: list[str] = []
    refused: dict[str, str] = {}
    spools = left_spools()
    try:
        for spool in spools:
            abouts.pop(spool.folder.name, None)
            if spool.about["uri"] != mask(uri):
                continue
            with guard(uri):
                ask_health(uri, ENTRY_SECONDS)
                try:
                    spool.send(_client(uri))
                    sent.append(spool.name)
                except Exception as error:
                    if is_away(error):
                        raise
                    refused[spool.name] = str(error)
    finally:
        for spool in spools:
            spool.release()
    held = [about["name"] for about in abouts.values() if about["uri"] == mask(uri)]
    return Synced(sent, held, elsewhere, refused)


@cache
def _client(uri: str) -> "MlflowClient":
    from mlflow import MlflowClient

    return MlflowClient(uri)
