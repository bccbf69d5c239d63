"""Runs in MLflow, by client and run id, never by MLflow's global state. The only door to MLflow's tracking."""

import json
import logging
import os
import platform
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote

from recsweep import __version__
from recsweep.checks import check_text
from recsweep.databases import (
    CONNECT_SECONDS,
    Database,
    held_words,
    home,
    is_held,
    one_at_a_time,
    open_database,
    sqlite_path,
    with_patience,
    with_tables,
)
from recsweep.errors import RecsweepError, TrackingError
from recsweep.masking import mask
from recsweep.processes import interrupts_wait, terminate_as_interrupt

log = logging.getLogger(__name__)

PACKAGES = ("torch", "pytorch-lightning", "scikit-learn", "numpy", "scipy", "pandas", "mlflow", "hydra-core")
"""Packages whose versions are recorded with each run."""

TRIAL_TAG = "trial_number"
"""Marks the run of a study's trial."""

STUDY_TAG = "study_token"
"""Marks the run of a study itself, which has no metrics of a model."""

EXPERIMENT_NOTE = """Recommender models of **recsweep**, baselines and networks side by side.

- A run is a model, or a study (`study` tag) with its trials under it, a comparison, or a decision on the champion.
- Metrics are grouped: `train/`, `validation/`, `test/` (only where it was asked for), `fit/`, `model/`, `memory/`.
  `_at_half` is at the threshold 0.5, `_at_threshold` at the one that maximises F1 on validation.
- Only runs with the same tags `data_digest`, `split_digest` and `candidates` compare. `role` tells networks from
  baselines.
- In a terminal: `recsweep compare` for intervals and words, `recsweep promote`, `recsweep champion`, `recsweep serve`.
"""

REFIT_TAG = "promotion_refit"
"""Marks a run that a promotion trained, to compare with: its name stands for it only where no other run has that."""

TRIAL_STATES = {"FINISHED": "complete", "FAILED": "failed", "KILLED": "interrupted"}
"""What became of a trial, by the status of its run; a pruned or a dead one says so itself."""


@dataclass(frozen=True, kw_only=True)
class TrackingOptions:
    """Where runs are logged.

    Args:
        uri: MLflow's tracking URI; None for MLFLOW_TRACKING_URI, else the store's own `mlflow.db`.
        experiment: Name of the MLflow experiment, made where it does not exist.
    """

    uri: str | None
    experiment: str

    def __post_init__(self) -> None:
        check_text("tracking.uri", self.uri, optional=True)
        check_text("tracking.experiment", self.experiment)


def tracking_uri(uri: str | None = None) -> str:
    """The tracking URI in force, absolute where it names a sqlite file."""
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home() / 'mlflow.db'}"
    path = sqlite_path(uri)
    return uri if path is None else f"sqlite:///{path}"


@contextmanager
def _guard(uri: str) -> Iterator[None]:
    """Turn what MLflow, the database or the disk raise into one TrackingError with its remedy.

    An interrupt counts afterwards: in the middle it could leave a lock that is held or a thread that nobody ends.
    """
    import sqlite3

    import requests
    from mlflow.exceptions import MlflowException
    from safetensors import SafetensorError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with interrupts_wait(), _silenced("mlflow.store.db", up_to=logging.ERROR):  # it logs what it raises
            yield
    except RecsweepError:
        raise
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError, ImportError, SafetensorError,
            requests.RequestException) as error:
        if is_held(error):
            path = sqlite_path(uri)
            raise TrackingError(f"The MLflow database {path} can't be used: {held_words(path)}") from error
        reason = (str(getattr(error, "orig", None) or error).strip() or type(error).__name__).splitlines()[0]
        if "out-of-date database schema" in reason:  # MLflow says so of every schema that is not its own
            raise TrackingError(
                f"The MLflow database {uri} has another schema than MLflow {version('mlflow')} needs. If an older "
                f"MLflow made it, take a backup, then run: mlflow db upgrade '{uri}'. If a newer one did, install "
                f"that one."
            ) from error
        raise TrackingError(
            f"The MLflow store {uri} can't be used: {reason}. Make it reachable and writable (is the disk full?), "
            f"or choose another with tracking.uri=sqlite:////path/mlflow.db or RECSWEEP_HOME=/path."
        ) from error


def _open(uri: str) -> Database | None:
    """Fail within seconds where a store is away: MLflow itself would try for minutes."""
    if (path := sqlite_path(uri)) is not None:
        import sqlite3

        try:
            return open_database(uri)
        except sqlite3.Error as error:
            if is_held(error):
                raise
            raise TrackingError(
                f"The MLflow database {path} can't be opened: {error}. Make it a writable sqlite file, or choose "
                f"another with tracking.uri=sqlite:////path/mlflow.db or RECSWEEP_HOME=/path."
            ) from error
    if uri.startswith(("http://", "https://")):
        import requests

        answer = requests.get(uri.rstrip("/") + "/health", timeout=CONNECT_SECONDS)
        if answer.status_code >= 500:  # what MLflow would try again; any other answer comes from a server that is up
            answer.raise_for_status()
    elif "://" in uri and not uri.startswith(("file:", "databricks")):
        from sqlalchemy import create_engine

        create_engine(uri).connect().close()
    return None


@dataclass(frozen=True)
class DatasetNote:
    """What MLflow is told of a data set: its name, the digest of its content, where it came from, sizes, and its use.
    """

    name: str
    digest: str
    source: str
    profile: Mapping[str, Any]
    context: str


class Run:
    """One MLflow run, owned by whoever started it, until `end`.

    Attributes:
        is_trial: Whether it is one of a study.
        metrics: The latest value of each that was logged here.
        params: Those that were logged here, or before the run was opened again: they never change.
    """

    def __init__(self, client: Any, uri: str, experiment_id: str, run_id: str, name: str, *,
                 is_trial: bool = False) -> None:
        self._client = client
        self._uri = uri
        self._experiment_id = experiment_id
        self.id = run_id
        self.name = name
        self.is_trial = is_trial
        self.metrics: dict[str, float] = {}
        self.params: dict[str, Any] = {}
        self.ended = False

    def log(self, *, metrics: Mapping[str, float] = {}, step: int = 0,
            params: Mapping[str, Any] = {}, tags: Mapping[str, Any] = {}) -> None:
        """Log in one transaction. Values of params and tags are masked."""
        from mlflow.entities import Metric, Param, RunTag

        now = int(time.time() * 1000)
        self.metrics.update(metrics)
        self.params.update(params)
        with _guard(self._uri):
            self._client.log_batch(
                self.id,
                metrics=[Metric(name, float(value), now, step) for name, value in metrics.items()],
                params=[Param(name, mask(str(value))) for name, value in params.items()],
                tags=[RunTag(name, mask(str(value))) for name, value in tags.items()],
            )

    def log_datasets(self, datasets: Sequence["DatasetNote"]) -> None:
        """Name the data in MLflow's dataset column."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = [
            DatasetInput(
                Dataset(name=each.name, digest=each.digest, source_type="local",
                        source=json.dumps({"uri": mask(each.source)}), profile=json.dumps(dict(each.profile))),
                [InputTag("mlflow.data.context", each.context)],
            )
            for each in datasets
        ]
        with _guard(self._uri):
            self._client.log_inputs(self.id, inputs)

    def guarded(self) -> AbstractContextManager[None]:
        """For what is written on the way to the store: a full disk becomes a TrackingError there too."""
        return _guard(self._uri)

    def log_folder(self, folder: Path) -> None:
        """Store every file under `folder` as an artifact."""
        with _guard(self._uri):
            self._client.log_artifacts(self.id, str(folder))

    def log_model(self, folder: Path, *, entry: Path, input_example: Any, requirements: Sequence[str],
                  step: int) -> str:
        """Log saved files behind a models-from-code pyfunc; the id of MLflow's logged model.

        Args:
            folder: What the entry file finds as its artifact `model`.
            entry: The named file that MLflow runs on loading; the only code. Its annotations are the signature.
            input_example: A request, run once to see that the model answers.
            requirements: Of pip, as `torch==2.13.0`.
            step: The epoch whose weights these are.
        """
        from mlflow import pyfunc
        from mlflow.entities import LoggedModelOutput
        from mlflow.models import Model

        with _guard(self._uri), TemporaryDirectory() as scratch:
            logged = self._client.create_logged_model(self._experiment_id, name="model", source_run_id=self.id)
            path = Path(scratch) / "model"
            described = Model(model_uuid=logged.model_id, run_id=self.id, model_id=logged.model_id,
                              artifact_path=logged.artifact_location)
            with _silenced("mlflow"):
                pyfunc.save_model(
                    str(path), python_model=str(entry), artifacts={"model": str(folder)},
                    input_example=input_example, pip_requirements=list(requirements), mlflow_model=described,
                )
            self._client.log_model_artifacts(logged.model_id, str(path))
            self._client.finalize_logged_model(logged.model_id, "READY")
            self._client.log_outputs(self.id, [LoggedModelOutput(logged.model_id, step=step)])
        return logged.model_id

    def end(self, status: str, reason: str = "", *, trial_state: str | None = None) -> None:
        """Close the run as FINISHED, KILLED or FAILED; the reason becomes the tag `reason`.

        Args:
            trial_state: The tag of that name on a trial of a study; None for the one that the status tells.
        """
        if self.ended:
            return
        tags = {"reason": reason} if reason else {}
        if self.is_trial:
            tags["trial_state"] = trial_state or TRIAL_STATES[status]
        if tags:
            self.log(tags=tags)
        with _guard(self._uri):
            self._client.set_terminated(self.id, status)
        self.ended = True

    def fail(self, error: BaseException) -> None:
        """Close the run as FAILED with the error in words, its traceback as the artifact `traceback.txt`."""
        if not isinstance(error, RecsweepError):
            with TemporaryDirectory() as scratch:
                path = Path(scratch) / "traceback.txt"
                path.write_text(mask("".join(traceback.format_exception(error))), encoding="utf-8")
                self.log_folder(Path(scratch))
        self.end("FAILED", f"{type(error).__name__}: {error}")


class Tracker:
    """An MLflow experiment in an open store.

    Raises:
        TrackingError: The store can't be opened; said within seconds.
    """

    def __init__(self, options: TrackingOptions) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        self.uri = tracking_uri(options.uri)
        with _guard(self.uri), one_at_a_time(self.uri):
            self._database = _open(self.uri)
            from mlflow import MlflowClient

            with _silenced("alembic", "mlflow"):
                self.client = with_patience(with_tables(lambda: MlflowClient(self.uri)))
                self.experiment_id = self._experiment(options.experiment)

    @property
    def server_uri(self) -> str:
        """The URI by which an MLflow server opens the store, also where it can't be written."""
        return self.uri if self._database is None else self._database.uri

    def _experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        if (found := self.client.get_experiment_by_name(name)) is not None:
            if found.lifecycle_stage == "deleted":
                raise TrackingError(
                    f"The MLflow experiment {name!r} is deleted. Restore it with: mlflow experiments restore "
                    f"--experiment-id {found.experiment_id}, or choose another with tracking.experiment=..."
                )
            return found.experiment_id
        database = sqlite_path(self.uri)
        artifacts = None if database is None else (database.parent / "artifacts").as_uri()
        try:
            # the kind opens the run table in the UI, not the pages for language models
            tags = {"mlflow.experimentKind": "custom_model_development", "mlflow.note.content": EXPERIMENT_NOTE}
            return self.client.create_experiment(name, artifact_location=artifacts, tags=tags)
        except MlflowException:
            if (found := self.client.get_experiment_by_name(name)) is not None:  # another process was first
                return found.experiment_id
            raise

    def guarded(self) -> AbstractContextManager[None]:
        """For what uses `client` itself: its errors become one TrackingError."""
        return _guard(self.uri)

    def record(self, run_id: str) -> "RunRecord":
        """A run by its id, whatever its experiment."""
        with _guard(self.uri):
            return RunRecord.of(self.client.get_run(run_id))

    def study(self, name: str) -> "RunRecord | None":
        """The run of a study itself, the latest of that name."""
        found = self.search(f"tags.{STUDY_TAG} LIKE '%' and tags.study = {_quoted(name)}", 1)
        return RunRecord.of(found[0]) if found else None

    def add_to(self, record: "RunRecord") -> Run:
        """A run that has ended, to log what was found later: its status stays."""
        return Run(self.client, self.uri, self.experiment_id, record.id, record.name)

    def untag(self, run_id: str, tag: str) -> None:
        """Take a tag off a run that may not have it."""
        with _guard(self.uri):
            if tag in self.client.get_run(run_id).data.tags:
                self.client.delete_tag(run_id, tag)

    def start(self, name: str, tags: Mapping[str, Any] = {}) -> Run:
        """A new run, RUNNING until its `end`."""
        with _guard(self.uri):
            if self._database is not None:
                self._database.prepare_to_write()
            created = self.client.create_run(
                self.experiment_id, run_name=name, tags={**_source_tags(), **{k: mask(str(v)) for k, v in tags.items()}}
            )
        return Run(self.client, self.uri, self.experiment_id, created.info.run_id, name, is_trial=TRIAL_TAG in tags)

    def find(self, tag: str, value: str) -> str | None:
        """The id of a run with the tag, the first one that was started."""
        with _guard(self.uri):
            found = self.client.search_runs([self.experiment_id], filter_string=f"tags.{tag} = '{value}'",
                                            max_results=1, order_by=["attributes.start_time ASC"])
        return found[0].info.run_id if found else None

    def search(self, condition: str, last: int | None = None) -> list[Any]:
        """MLflow's runs of the experiment, the latest first, all pages of them."""
        found: list[Any] = []
        token = None
        with _guard(self.uri):
            while last is None or len(found) < last:
                page = self.client.search_runs(
                    [self.experiment_id], condition, max_results=min(1000, last or 1000),
                    order_by=["attributes.start_time DESC"], page_token=token,
                )
                found += page
                if not (token := page.token):
                    break
        return found[:last]

    @contextmanager
    def artifact(self, record: "RunRecord", path: str) -> Iterator[Path]:
        """A file or folder among a run's artifacts: where it lies, or a copy for as long as the context lasts.

        Raises:
            TrackingError: The run has no such artifact.
        """
        if record.artifacts.startswith(("file:", "/")):
            local = Path(unquote(record.artifacts.removeprefix("file://"))) / path
            if not local.exists():
                raise TrackingError(f"The run {record.id} ({record.name}) has no artifact {path}: {local} is missing.")
            yield local
            return
        with TemporaryDirectory() as scratch:
            with _guard(self.uri):
                found = self.client.download_artifacts(record.id, path, scratch)
            yield Path(found)

    @contextmanager
    def saved_model(self, model_id: str) -> Iterator[Path]:
        """The saved files behind a logged model: where they lie, or a copy for as long as the context lasts.

        Raises:
            TrackingError: The store has no such logged model, or its files are gone.
        """
        with self._model_file(self._model_location(model_id), "artifacts/model") as folder:
            yield folder

    def servable(self, model_id: str) -> tuple[str, Any]:
        """The URI of a logged model from which MLflow loads it, and the example of its input.

        Raises:
            TrackingError: The store has no such logged model, or its files are gone.
        """
        location = self._model_location(model_id)
        with self._model_file(location, "input_example.json") as path:
            return location, json.loads(path.read_text(encoding="utf-8"))

    def _model_location(self, model_id: str) -> str:
        with _guard(self.uri):
            return self.client.get_logged_model(model_id).artifact_location

    @contextmanager
    def _model_file(self, location: str, path: str) -> Iterator[Path]:
        if location.startswith(("file:", "/")):
            local = Path(unquote(location.removeprefix("file://"))) / path
            if not local.exists():
                raise TrackingError(f"The logged model in {location} is not whole: {local} is missing. "
                                    "Train it again, or choose another run.")
            yield local
            return
        from mlflow.artifacts import download_artifacts

        with TemporaryDirectory() as scratch:
            with _guard(self.uri):
                found = download_artifacts(f"{location}/{path}", dst_path=scratch, tracking_uri=self.uri)
            yield Path(found)

    def histories(self, record: "RunRecord", names: Sequence[str]) -> dict[str, list[tuple[int, float]]]:
        """(step, value) of each metric that the run logged, in the order of steps."""
        with _guard(self.uri):
            return {name: sorted((each.step, each.value) for each in self.client.get_metric_history(record.id, name))
                    for name in names if name in record.metrics}

    def discard(self, run_id: str) -> None:
        """Delete a run that was started for nothing."""
        with _guard(self.uri):
            self.client.set_terminated(run_id, "KILLED")
            self.client.delete_run(run_id)

    def reopen(self, run_id: str) -> Run:
        """A run that was started before, RUNNING until its `end`."""
        with _guard(self.uri):
            self.client.update_run(run_id, status="RUNNING")
            found = self.client.get_run(run_id)
        run = Run(self.client, self.uri, found.info.experiment_id, run_id, found.info.run_name)
        run.params.update(found.data.params)
        return run

    def running_trials(self, parent_run: str) -> dict[int, Run]:
        """Runs of a study's trials that are RUNNING in the store, by the trial's number."""
        with _guard(self.uri):
            found = self.client.search_runs(
                [self.experiment_id], max_results=1000,
                filter_string=f"attributes.status = 'RUNNING' and tags.`mlflow.parentRunId` = '{parent_run}'",
            )
        return {int(each.data.tags[TRIAL_TAG]): Run(self.client, self.uri, self.experiment_id, each.info.run_id,
                                                    each.info.run_name, is_trial=True)
                for each in found if TRIAL_TAG in each.data.tags}


@cache
def tracker(options: TrackingOptions) -> Tracker:
    """One open store a process: creating it takes a second or two."""
    return Tracker(options)


@contextmanager
def open_runs(starts: Sequence[Callable[[], Run]]) -> Iterator[list[Run]]:
    """Start the runs, and leave none of them RUNNING.

    Whoever uses them ends each. A run that is still open in the end is FAILED by an error, KILLED by Ctrl-C or a
    terminating signal.
    """
    runs: list[Run] = []
    try:
        with terminate_as_interrupt():
            for start in starts:
                runs.append(start())  # noqa: PERF401 - a run that was started must be known if the next one fails
            yield runs
    except BaseException as error:
        for run in runs:
            if not run.ended:
                _try_to_end(run, error)
        raise


def _try_to_end(run: Run, error: BaseException) -> None:
    try:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            run.end("KILLED", "interrupted")
        else:
            run.fail(error)
    except TrackingError as second:  # the store itself is what broke: the first error is the one to show
        log.error("Run %s could not be ended: %s", run.id, second)


@contextmanager
def _silenced(*names: str, up_to: int = logging.WARNING) -> Iterator[None]:
    """Hold back the libraries' progress notes, not their errors unless asked to."""
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(up_to + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


@dataclass(frozen=True)
class RunRecord:
    """A model's run as the store remembers it.

    Attributes:
        started: Milliseconds since 1970.
        metrics: The latest value of each.
        artifacts: URI of its artifacts.
        model_id: Of the logged model; None where there is none.
    """

    id: str
    name: str
    started: int
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    artifacts: str
    model_id: str | None

    @property
    def measured_on(self) -> tuple[str, str, str]:
        """Data, data digest and split digest. The digests decide what compares, the name does not."""
        return tuple(self.tags.get(name, "unknown") for name in ("data", "data_digest", "split_digest"))

    @property
    def candidates(self) -> str:
        """What its lists were chosen from, as `EvaluationProtocol.candidates` says; runs from before that setting have
        no tag."""
        return self.tags.get("candidates", "not_liked")

    @property
    def comparable(self) -> tuple[str, str, str]:
        """Data digest, split digest and candidates: runs with the same ones compare."""
        return (*self.measured_on[1:], self.candidates)

    @property
    def split_settings(self) -> dict[str, str]:
        """The rule of its split without the seed: splits of one rule differ by chance alone."""
        return {name: value for name, value in sorted(self.params.items())
                if name.startswith("split.") and name != "split.seed"}

    @property
    def split_seed(self) -> int | None:
        """The seed of its split; None where the rule draws nothing."""
        seed = self.params.get("split.seed", "None")
        return None if seed == "None" else int(seed)

    @property
    def kind(self) -> str:
        """What kind of model it is, as `recipe_net`; empty where it is none."""
        return self.tags.get("model_kind", "")

    @property
    def role(self) -> str:
        """`net` or `baseline`; of an earlier version's run a net is what a loss was chosen for."""
        return self.tags.get("role") or ("net" if "loss" in self.tags else "baseline")

    @property
    def label(self) -> str:
        """The model's readable name; of an earlier version's run the run's name, without the number
        of its trial."""
        if "model_label" in self.tags:
            return self.tags["model_label"]
        return self.name.partition(" ")[2] if TRIAL_TAG in self.tags else self.name

    @property
    def loss(self) -> str | None:
        """Name of the loss that the model was trained with; None where none was chosen for it."""
        return self.tags.get("loss")

    @property
    def is_random(self) -> bool:
        """Whether another seed makes another model of it; a run from before this was tagged is taken for random where
        it is a net's."""
        return self.tags.get("random", str(self.role == "net").lower()) == "true"

    @classmethod
    def of(cls, found: Any) -> "RunRecord":
        outputs = found.outputs.model_outputs if found.outputs else []
        data = found.data
        return cls(found.info.run_id, found.info.run_name, found.info.start_time, data.tags, data.params, data.metrics,
                   found.info.artifact_uri, outputs[-1].model_id if outputs else None)


def finished_runs(options: TrackingOptions, *, last: int | None = None, study: str | None = None,
                  ids: Sequence[str] = ()) -> list[RunRecord]:
    """FINISHED runs of models, in the order they were started.

    Args:
        last: Only the latest so many.
        study: Only those of this study: its trials and what was refitted of it.
        ids: Only these, whatever their experiment: run ids, their unique beginnings of at least 6 characters, or run
            names, of which the latest counts.

    Raises:
        TrackingError: The store can't be opened, or holds no such run.
    """
    opened = existing_store(options)
    condition = "attributes.status = 'FINISHED' and tags.model_kind LIKE '%'"
    if study is not None:
        condition += f" and tags.study = {_quoted(study)}"
    records = [RunRecord.of(each) for each in opened.search(condition, None if ids else last)]
    if ids:
        return [_named(records, each, opened) for each in dict.fromkeys(ids)]
    if not records:
        of_study = f" of the study {study!r}" if study else ""
        raise TrackingError(f"The MLflow experiment {options.experiment!r} in {opened.uri} has no finished run"
                            f"{of_study}. Make one with: python train.py")
    return records[::-1]


def _named(latest_first: Sequence[RunRecord], wanted: str, opened: Tracker) -> RunRecord:
    found = [each for each in latest_first if each.id == wanted or (len(wanted) >= 6 and each.id.startswith(wanted))]
    if len(found) > 1:
        raise TrackingError(f"{len(found)} runs have an id that begins with {wanted!r}: give more of it.")
    named = [each for each in latest_first if each.name == wanted]
    found = found or [each for each in named if REFIT_TAG not in each.tags] or named
    if not found:
        raise TrackingError(f"{opened.uri} has no finished run {wanted!r}. List them with: recsweep runs")
    return found[0]


def _quoted(value: str) -> str:
    """Text in a filter of MLflow's, which knows no escapes."""
    if '"' in value and "'" in value:
        raise TrackingError(f"MLflow can't search for a name with both kinds of quotes: {value!r}.")
    return f"'{value}'" if '"' in value else f'"{value}"'


def existing_store(options: TrackingOptions) -> Tracker:
    """The open store, where there is one: a command that only reads creates none."""
    path = sqlite_path(tracking_uri(options.uri))
    if path is not None and not path.exists():
        raise TrackingError(f"There is no MLflow store in {path} yet. Make a first run with: python train.py")
    return tracker(options)


def grouped(records: Sequence[RunRecord]) -> dict[tuple[str, str, str], list[RunRecord]]:
    """Runs that compare: by data digest, split digest and what lists are chosen from."""
    groups: dict[tuple[str, str, str], list[RunRecord]] = {}
    for each in records:
        groups.setdefault(each.comparable, []).append(each)
    return groups


@cache
def environment() -> dict[str, Any]:
    """Versions, platform and the state of the git checkout that the program was started in."""
    commit = _git("rev-parse", "HEAD")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "packages": {"recsweep": __version__, **{name: found for name in PACKAGES if (found := _version(name))}},
        "git_commit": commit,
        "git_dirty": None if commit is None else bool(_git("status", "--porcelain")),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def peak_memory_mb() -> float:
    """The process's highest resident memory so far, in 10^6 bytes."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6  # bytes on macOS, KiB on Linux


def person() -> str:
    """Who runs the program, as the system names them."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may have no name for its user
        return "unknown"


def _source_tags() -> dict[str, str]:
    tags = {"mlflow.source.name": Path(sys.argv[0]).name or "recsweep", "mlflow.source.type": "LOCAL",
            "mlflow.user": person()}
    if commit := environment()["git_commit"]:
        tags["mlflow.source.git.commit"] = commit
    return tags
