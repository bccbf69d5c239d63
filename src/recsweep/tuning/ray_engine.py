"""Workers of a study on a Ray cluster: Ray finds a place for each, and what it trains there is
claimed as everywhere.

A worker is one task of Ray, which is not tried again: one that is lost is replaced by another one,
and its trial is settled as that of any process that has died.
"""

import importlib
import logging
import os
import pickle
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from recsweep.databases import CONNECT_SECONDS, home, sqlite_path
from recsweep.errors import ConfigError, RecsweepError, StudyError
from recsweep.interrupts import handlers_kept, terminate_as_interrupt
from recsweep.logs import log_to_stderr
from recsweep.masking import mask
from recsweep.processes import END_SECONDS, THREAD_VARIABLES, Worker, cores, note_death
from recsweep.terminal import tell as say
from recsweep.tracking import send_rest, tracking_uri
from recsweep.tuning.options import Resources
from recsweep.tuning.sweep import Sweep
from recsweep.tuning.workers import TELL_SECONDS, work_as_one_of_several

log = logging.getLogger(__name__)

ROOM_SECONDS = 10
"""How long workers may wait for a place before that is said."""

CANCEL_SECONDS = 10
"""Time between two words to a worker that it shall end: one may come when none counts."""

OBJECT_STORE_BYTES = 80 * 2**20
"""Memory of a cluster of our own for objects, of which there are none but a few texts: little more
than Ray's least."""

OF_OURS = ("RECSWEEP_", "MLFLOW_", "AWS_", "AZURE_", "GOOGLE_", "PG", "KAGGLE_")
"""Begin of the names of variables that say where the store is, and who asks: those of this process
count on every node."""

OF_A_NODE = ("RAY_", "CUDA_", "NVIDIA_", "ROCR_", "HIP_", "SLURM_", "LD_", "PYTHON", "XDG_", "SSH_")
"""Begin of the names of variables that say something of this machine alone."""


@dataclass(frozen=True)
class Order:
    """What a worker is sent. Ray stores neither arguments nor results of a task, and shows none:
    what is secret travels here, and nowhere else.

    Attributes:
        environment: Variables of the process that conducts the study.
        folder: Its working directory.
        path: Its search path of modules.
        threads: Values of THREAD_VARIABLES.
        arguments: Those of `work_as_one_of_several`, pickled: what is in them may be found by the
            search path alone.
    """

    environment: Mapping[str, str] = field(repr=False)
    folder: str
    path: Sequence[str]
    threads: Mapping[str, str]
    arguments: bytes = field(repr=False)

    @classmethod
    def of(cls, sweep: Sweep) -> "Order":
        arguments = (sweep.options, sweep.job, sweep.parent_run, sweep.deadline)
        number = str(sweep.options.resources.threads)
        return cls(
            environment={**os.environ, "RECSWEEP_HOME": str(home())},
            folder=os.getcwd(),
            path=[str(Path(entry).absolute()) for entry in sys.path],
            threads={name: os.environ.get(name) or number for name in THREAD_VARIABLES},
            arguments=pickle.dumps(arguments),
        )

    def take(self) -> None:
        """Let this process, on whichever node, be as the one that conducts the study."""
        for name, value in self.environment.items():
            is_ours = name.startswith(OF_OURS)
            if is_ours or not (name in os.environ or name.startswith(OF_A_NODE)):
                os.environ[name] = value
        os.environ.update(self.threads)
        sys.path += [entry for entry in self.path if entry not in sys.path and Path(entry).exists()]
        with suppress(OSError):  # of another machine
            os.chdir(self.folder)


@dataclass(frozen=True)
class Started:
    """The first word of a worker: who it is."""

    worker: Worker
    version: str


@dataclass(frozen=True)
class Ended:
    """The last word of a worker.

    Attributes:
        reason: What ended the study, in words; empty where nothing is left to be done.
        is_early: Whether only this worker was ended, as by a node that is drained.
    """

    reason: str = ""
    is_early: bool = False


@dataclass(frozen=True)
class Lost:
    """Stands for the last word of a worker whose process was killed, or its node.

    Attributes:
        is_certain: Whether the process has surely ended: a node that fell silent may only be cut
            off.
    """

    is_certain: bool


@contextmanager
def left_at_the_end() -> Iterator[None]:
    """Leave at the end the cluster that was joined meanwhile, and end it where it is our own; one
    that the caller has joined stays.

    Raises:
        ConfigError: There is no Ray here, or it would store a secret.
    """
    try:
        import ray
    except ImportError:
        raise ConfigError(
            "hydra.sweeper.engine=ray needs Ray, which isn't installed: pip install 'recsweep[ray]'"
        ) from None
    for word in sys.orig_argv:
        if (masked := mask(word)) != word:
            raise ConfigError(
                f"hydra.sweeper.engine=ray takes no secret on the command line ({masked}), which "
                "Ray stores and shows to all who can reach the cluster. Put it into an environment "
                "variable: RECSWEEP_STUDIES, MLFLOW_TRACKING_URI, or one of your own as "
                "'+data.dsn=${oc.env:DSN}'."
            )
    is_joined = ray.is_initialized()
    try:
        yield
    finally:
        if ray.is_initialized() and not is_joined:
            ray.shutdown()


def join(sweep: Sweep) -> None:
    """Join the cluster, or start one of this machine's own, unless this process is in one.

    Raises:
        StudyError: It can't be reached, or started.
        ConfigError: Workers on its nodes could not work on this study.
    """
    import ray

    address = sweep.options.ray_address or os.environ.get("RAY_ADDRESS") or "local"
    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        own = {
            "num_cpus": cores(),
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
        }
        try:
            host, colon, port = address.rpartition(":")
            if colon and port.isdecimal():  # Ray itself asks for minutes
                socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
            with handlers_kept():
                ray.init(
                    address,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    **(own if address == "local" else {}),
                )
        except (OSError, OverflowError, RuntimeError, ValueError) as error:
            what = "started" if address == "local" else f"reached at {address}"
            reason = str(error).partition("\n")[0].rstrip(".")
            raise StudyError(
                f"The Ray cluster can't be {what}: {reason}. Set hydra.sweeper.ray_address or "
                "RAY_ADDRESS to that of a cluster that runs, or neither for one of this machine's "
                "own."
            ) from error
    nodes = _nodes()
    asked = sweep.options.resources
    if not any(_holds(node, asked) for node in nodes):
        raise ConfigError(
            f"No node of the Ray cluster could ever hold a worker of {_words(asked.by_name)}: "
            f"{_offered(nodes, asked)}. Ask for less with hydra.sweeper.resources, or add a node."
        )
    _check_reach(sweep, nodes)


def _nodes() -> list[dict[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def _holds(node: Mapping[str, Any], asked: Resources) -> bool:
    return all(node["Resources"].get(name, 0) >= part for name, part in asked.by_name.items())


def _room(nodes: Sequence[Mapping[str, Any]], asked: Resources) -> int | None:
    """The number of workers that the nodes hold at once; None where that is unlimited."""
    parts = asked.by_name.items()
    if not parts:
        return None
    return sum(
        min(
            int(node["Resources"].get(name, 0) / part + 1e-9)
            for name, part in asked.by_name.items()
        )
        for node in nodes
    )


def _check_reach(sweep: Sweep, nodes: Sequence[Mapping[str, Any]]) -> None:
    """Raise ConfigError where a worker may run on a machine from which the study or its runs can't
    be reached."""
    held = [node for node in nodes if _holds(node, sweep.options.resources)]
    others = sorted({node["NodeManagerHostname"] for node in held} - {socket.gethostname()})
    if not others:
        return
    if sqlite_path(sweep.study.storage.url) is not None:
        raise ConfigError(
            f"Workers on {', '.join(others)} can't reach the study's database, a file of this "
            "machine. Keep it in PostgreSQL: hydra.sweeper.storage=postgresql://host/studies, with "
            "the password in ~/.pgpass or PGPASSWORD."
        )
    uri = tracking_uri(sweep.tracking_options().uri)
    if uri.startswith(("sqlite:", "file:", "/", ".")) or "://" not in uri:
        raise ConfigError(
            f"Workers on {', '.join(others)} can't reach the place of runs, {mask(uri)}. Log to an "
            "MLflow server: tracking.uri=http://host:5000, which `recsweep server` starts."
        )


def _words(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in resources.items()) or "nothing"


def _offered(nodes: Sequence[Mapping[str, Any]], asked: Resources) -> str:
    """What of the resources asked for each node has."""
    parts = [
        f"{node['NodeManagerHostname']} has "
        + _words({name: node["Resources"].get(name, 0) for name in asked.by_name})
        for node in nodes
    ]
    return "; ".join(sorted(parts))


def work_on_ray(sweep: Sweep, left: int, tell: Callable[[], None]) -> None:
    """Let workers on the cluster train until nothing is open, and start another one where one is
    lost.

    Args:
        left: Number of trials that are left: there are no more workers than that.

    Raises:
        StudyError: A worker ended the study, in its words.
    """
    import ray

    asked = sweep.options.resources
    numbers = (sweep.options.n_jobs or _room(_nodes(), asked), left)
    number = max(1, min(number for number in numbers if number is not None))
    task = ray.remote(
        num_cpus=asked.num_cpus,
        num_gpus=asked.num_gpus,
        memory=asked.memory or None,
        resources=dict(asked.resources) or None,
        max_retries=0,
        max_calls=1,  # its process ends with it, and with that what it was told
        num_returns="streaming",
    )(_work)
    order = Order.of(sweep)  # of some 30 kB: below 100 it is sent to the worker itself
    workers: dict[Any, Worker | None] = {}  # None until it has a place
    lost, died = 0, _died(sweep)
    waiting_since, is_said = time.monotonic(), False
    try:
        workers.update((task.remote(order), None) for _ in range(number))
        while workers:
            ready, _ = ray.wait(list(workers), num_returns=1, timeout=TELL_SECONDS)
            tell()
            for place in ready:
                word = _next(place)
                if isinstance(word, Started):
                    workers[place] = _checked(word).worker
                    continue
                worker = workers.pop(place)
                if isinstance(word, Ended) and word.reason:
                    raise StudyError(word.reason)
                if isinstance(word, Ended) and not word.is_early:
                    _leave_unplaced(workers)
                    continue
                lost += 1
                if isinstance(word, Lost) and word.is_certain and worker is not None:
                    note_death(worker)
                sweep.study.settle()
                if lost > _died(sweep) - died + 3 * number:
                    raise StudyError(
                        f"{lost} workers were lost on the Ray cluster, most of them while they "
                        "held no trial. The logs of its nodes say why; a worker may need more "
                        "memory than hydra.sweeper.resources.memory asks for."
                    )
                workers[task.remote(order)] = None
                waiting_since, is_said = time.monotonic(), False
            if sweep.time_is_up:
                _leave_unplaced(workers)
            if not is_said and time.monotonic() - waiting_since > ROOM_SECONDS:
                is_said = True
                _say_who_waits(workers, asked)
    finally:
        _end(list(workers))
    tell()


def _died(sweep: Sweep) -> int:
    return len(sweep.study.record().of_state("died"))


def _checked(word: Started) -> Started:
    if word.version != version("recsweep"):
        raise StudyError(
            f"The node {word.worker.host} of the Ray cluster has recsweep {word.version}, and the "
            f"study is conducted by {version('recsweep')}. Install the same version on all nodes."
        )
    return word


def _next(place: Any) -> Started | Ended | Lost:
    """What a worker has said."""
    import ray
    from ray.exceptions import NodeDiedError, RayError, RayTaskError

    try:
        word: Started | Ended = ray.get(next(place))
        return word
    except StopIteration:
        return Ended()
    except RayTaskError as error:
        reason = str(error).strip().splitlines()[-1]
        raise StudyError(
            f"A worker on the Ray cluster can't begin: {reason}. Install recsweep "
            f"{version('recsweep')} on all nodes."
        ) from error
    except RayError as error:
        log.info("a worker on the Ray cluster is lost: %s", str(error).partition("\n")[0])
        return Lost(not isinstance(error, NodeDiedError))


def _say_who_waits(workers: Mapping[Any, Worker | None], asked: Resources) -> None:
    import ray

    if waiting := list(workers.values()).count(None):
        free = ray.available_resources()
        say(
            f"{waiting} of {len(workers)} workers wait for room on the Ray cluster: each asks for "
            f"{_words(asked.by_name)}; {_offered(_nodes(), asked)}, and free of all is "
            f"{_words({name: free.get(name, 0) for name in asked.by_name})}. They begin when there "
            "is room; hydra.sweeper.resources asks for less."
        )


def _leave_unplaced(workers: dict[Any, Worker | None]) -> None:
    """Want no more workers that have no place yet."""
    import ray

    for place in [place for place, worker in workers.items() if worker is None]:
        ray.cancel(place)
        del workers[place]


def _end(places: Sequence[Any]) -> None:
    """End workers as Ctrl-C does, and those that take longer than END_SECONDS at once."""
    import ray

    left, deadline, next_word = list(places), time.monotonic() + END_SECONDS, 0.0
    while left and time.monotonic() < deadline:
        if time.monotonic() >= next_word:
            for place in left:
                ray.cancel(place)
            next_word = time.monotonic() + CANCEL_SECONDS
        ready, left = ray.wait(left, num_returns=1, timeout=TELL_SECONDS)
        left += [place for place in ready if not _has_ended(place)]
    for place in left:
        ray.cancel(place, force=True)


def _has_ended(place: Any) -> bool:
    import ray

    try:
        return isinstance(ray.get(next(place)), Ended)
    except (StopIteration, ray.exceptions.RayError):
        return True


def _check_cancelled() -> None:
    """Raise KeyboardInterrupt where Ray's own came at a moment when none counts, as at the end of a
    trial."""
    import ray

    if ray.get_runtime_context().is_canceled():
        raise KeyboardInterrupt


def _work(order: Order) -> Iterator[Started | Ended]:
    """Work on a study in a task of Ray, on any node: first say who this is, in the end why it
    ended.

    Nothing is raised: Ray stores and shows what a task fails of.
    """
    log_to_stderr()
    order.take()
    yield Started(Worker.here(), version("recsweep"))
    end = Ended()
    try:
        with terminate_as_interrupt():
            importlib.import_module("recsweep.preloaded")
            options, job, parent_run, deadline = pickle.loads(order.arguments)
            work_as_one_of_several(options, job, parent_run, deadline, _check_cancelled)
            if names := send_rest(wait=True):
                log.warning("not yet sent from here: %s", ", ".join(names))
    except KeyboardInterrupt:
        end = Ended(is_early=True)
    except RecsweepError as error:
        end = Ended(str(error))
    except Exception:
        words = f"A worker on {socket.gethostname()} failed: {traceback.format_exc()}"
        end = Ended(mask(words))
    yield end
