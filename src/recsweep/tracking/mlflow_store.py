"""A store of runs in MLflow, opened by client, never by MLflow's global state."""

import atexit
import json
import logging
import os
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from recsweep.databases import (
    CONNECT_SECONDS,
    one_at_a_time,
    sqlite_path,
    with_patience,
    with_tables,
)
from recsweep.errors import TrackingError
from recsweep.libraries import quick_imports
from recsweep.masking import mask
from recsweep.processes import Worker
from recsweep.rendering import command_line
from recsweep.scratch import scratch_folder
from recsweep.tracking.access import (
    ask_health,
    authenticated_user,
    guard,
    is_server,
    open_store,
    restoring,
    silenced,
)
from recsweep.tracking.environment import environment, person
from recsweep.tracking.mlflow_run import NOTE_TAG, MlflowRun
from recsweep.tracking.options import UI_HOST, UI_PORT, TrackingOptions, tracking_uri
from recsweep.tracking.places import FOLDER, Places, Relocated, local_path
from recsweep.tracking.records import (
    SETTLED_TAG,
    STUDY_TAG,
    TRIAL_TAG,
    VERSION_TAG,
    WORKER_TAG,
    RunRecord,
    with_epochs,
)
from recsweep.tracking.schema import make_tables
from recsweep.tracking.shared import SharedPlace, is_shared, place_for
from recsweep.tracking.spool import (
    SENDING_SECONDS,
    answers_within,
    is_spooled,
    kept,
    outbox,
    patient,
)
from recsweep.tracking.writes import Target

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowEntity

log = logging.getLogger(__name__)

PARENT_TAG = "mlflow.parentRunId"
USER_TAG = "mlflow.user"
COMMIT_TAG = "mlflow.source.git.commit"

EXPERIMENT_NOTE = """Recommender models of **recsweep**, baselines and networks side by side.

- A run is a model, or a study (`study` tag) with its trials under it, a comparison, or a decision
  on the champion.
- Metrics are grouped: `train/`, `validation/`, `test/` (only where it was asked for), `fit/`,
  `model/`, `memory/`. `_at_half` is at the threshold 0.5, `_at_threshold` at the one that maximises
  F1 on validation. `validation/` and `test/` are of the weights that are kept, after the epoch that
  the tag `kept_epoch` names; `validation_epochs/` are of the epochs, `validation_sample/` where
  these are evaluated on a sample of the users, as the tag `validation_users` says.
- Params are choices (`model`, `loss`, `optimizer`, ...), and the settings below each.
- Only runs with the same tags `data_digest`, `split_digest` and `candidates` compare; those with
  the same `model_digest` are one model. `role` tells networks from baselines.
- In a terminal: `recsweep compare` for intervals and words, `recsweep promote`,
  `recsweep champion`, `recsweep serve`.
"""


SHARED_VIEW, VIEW_KEY = "mlflow.sharedViewState.", "recsweep"
"""A tag of an experiment by which MLflow's UI knows what its page shows, and a key."""


class Tracker:
    """An MLflow experiment in an open store.

    Attributes:
        uri: The tracking URI, absolute where it names a sqlite file.
        client: MLflow's client of the store, for `recsweep.tracking` alone.
        experiment_id: Id of the MLflow experiment that new runs go to.

    Raises:
        TrackingError: The store can't be opened; said within seconds.
    """

    def __init__(self, options: TrackingOptions) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        # the lines "View run … at:", which hold the URI with its password
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        self.uri = tracking_uri(options.uri)
        with (
            quick_imports("mlflow.store.tracking.sqlalchemy_store"),
            guard(self.uri),
            one_at_a_time(self.uri),
            silenced("alembic", "mlflow"),
        ):
            make_tables(self.uri)
            self._database = open_store(self.uri)
            from mlflow import MlflowClient

            self._outbox = None
            if is_server(self.uri):
                self._outbox = outbox(MlflowClient(self.uri), self.uri, options.wait_seconds)
                self.client = patient(MlflowClient(self.uri), self._outbox)
            else:
                self.client = with_patience(with_tables(lambda: MlflowClient(self.uri)))
            self._places = None if self._database is None else Places(self._database)
            if self._database is not None:
                # for the path as it stands in the URI, before `%` is decoded, MLflow makes a folder
                written = Path(self.uri.removeprefix("sqlite:///")).parent
                if written != self._database.path.parent:
                    atexit.register(_remove_empty, written)
            self._shares = is_shared(self.uri)
            self._artifacts = options.artifacts
            self.experiment_id = self._experiment(options.experiment)
        if self._places is not None and self._places.former:
            log.warning("%s (until then it is read alone)", self._moved_words(self._places))

    @property
    def ui(self) -> str:
        """Address of MLflow's UI, without the user's name and password: the server's own, else that
        of `recsweep ui`."""
        parts = urlsplit(self.uri)
        if parts.scheme not in ("http", "https"):
            return f"http://{UI_HOST}:{UI_PORT}"
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"

    def address(self, run_id: str) -> str:
        """Where the UI shows a run of the experiment."""
        return f"{self.ui}/#/experiments/{self.experiment_id}/runs/{run_id}"

    @property
    def server_uri(self) -> str:
        """The URI by which an MLflow server opens the store, also where it can't be written."""
        return self.uri if self._database is None else self._database.uri

    @cached_property
    def user(self) -> str:
        """Who writes to the store: the name that its server knows, else the system's."""
        if self._outbox is None:
            return person()
        with guard(self.uri):
            return self._outbox.waiting(authenticated_user, self.uri) or person()

    def _experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        experiment = self.client.get_experiment_by_name(name)
        if experiment is not None:
            if experiment.lifecycle_stage == "deleted":
                raise TrackingError(
                    f"The MLflow experiment {name!r} is deleted. Restore it with: "
                    f"{restoring(self.uri, 'experiment', experiment.experiment_id)}, or choose "
                    f"another with tracking.experiment=..."
                )
            return experiment.experiment_id
        if self._shares:
            artifacts = place_for(self.uri, self._artifacts)
        else:
            database = sqlite_path(self.uri)
            artifacts = None if database is None else (database.parent / FOLDER).as_uri()
        # the kind opens the run table in the UI, not the pages for language models
        tags = {"mlflow.experimentKind": "custom_model_development", NOTE_TAG: EXPERIMENT_NOTE}
        try:
            return self.client.create_experiment(name, artifact_location=artifacts, tags=tags)
        except MlflowException:
            experiment = self.client.get_experiment_by_name(name)
            if experiment is not None:  # another process was first
                return experiment.experiment_id
            raise

    def guarded(self) -> AbstractContextManager[None]:
        """A context for whoever uses `client`: its errors become one TrackingError."""
        return guard(self.uri)

    # --- writing ---

    def prepare_to_write(self) -> None:
        """Make sure that what is written stays in this store, and that other machines that share it
        find its artifacts.

        Raises:
            TrackingError: It can't be written, or it would write into the folder of another one.
        """
        with guard(self.uri):
            if self._database is not None:
                self._database.prepare_to_write()
        if self._places is not None and self._places.former:
            raise TrackingError(self._moved_words(self._places))
        if self._shares:
            self._check_place()
            self._shares = False  # once a process

    def _check_place(self) -> None:
        with guard(self.uri):
            experiment = self.client.get_experiment(self.experiment_id)
            if self._outbox is None:
                SharedPlace(self.client, self.uri, experiment, self._artifacts).check()
                return
            self._outbox.waiting(ask_health, self.uri, CONNECT_SECONDS)
            with answers_within(SENDING_SECONDS):
                SharedPlace(self._outbox.client, self.uri, experiment, self._artifacts).check()

    def _moved_words(self, places: Places) -> str:
        option = "" if self.uri == tracking_uri() else f" --tracking-uri '{mask(self.uri)}'"
        return (
            f"The store {self.uri} was moved or copied, and would write its artifacts to the old "
            f"place, {' and '.join(places.former)}. Let them follow it with: "
            f"{command_line(f'relocate{option}')}"
        )

    def relocate(self) -> Relocated:
        """Let the places of artifacts follow the store to where it lies now.

        Raises:
            TrackingError: It is no store in a sqlite file, or can't be written.
        """
        if self._database is None or self._places is None:
            raise TrackingError(
                f"relocate is for a store in a sqlite file, whose artifacts lie beside it; the "
                f"places of artifacts of {self.uri} are for whoever runs its server to change."
            )
        with guard(self.uri):
            self._database.prepare_to_write()
            return self._places.relocate()

    def start(
        self, name: str, tags: Mapping[str, Any] = {}, *, parent: str | None = None
    ) -> MlflowRun:
        name = mask(name)
        masked = {tag: mask(str(value)) for tag, value in tags.items()}
        above = {} if parent is None else {PARENT_TAG: parent}
        all_tags = {
            **_source_tags(),
            USER_TAG: self.user,
            **masked,
            **above,
            WORKER_TAG: Worker.here().text,
        }
        self.prepare_to_write()
        with guard(self.uri):
            created = self.client.create_run(self.experiment_id, run_name=name, tags=all_tags)
        return self._run(
            created.info.run_id,
            name,
            is_trial=TRIAL_TAG in tags,
            artifacts=created.info.artifact_uri,
        )

    def _run(self, run_id: str, name: str, **settings: Any) -> MlflowRun:
        return MlflowRun(
            self.client, self.uri, self.experiment_id, run_id, name, outbox=self._outbox, **settings
        )

    def reopen(self, run_id: str) -> MlflowRun:
        """A run that was started before, RUNNING until its `end`, now by this process too."""
        worker = Worker.here().text
        own_tag = f"{WORKER_TAG}.{zlib.crc32(worker.encode()):08x}"
        self.prepare_to_write()
        with guard(self.uri):
            self.client.set_tag(run_id, own_tag, worker)  # before anybody sees it RUNNING again
            self.client.update_run(run_id, status="RUNNING")
            entity = self.client.get_run(run_id)
        run = MlflowRun(
            self.client,
            self.uri,
            entity.info.experiment_id,
            run_id,
            entity.info.run_name,
            outbox=self._outbox,
            artifacts=entity.info.artifact_uri,
            outdated=[tag for tag in (own_tag, "reason", SETTLED_TAG) if tag in entity.data.tags],
        )
        run.params.update(entity.data.params)
        return run

    def settle(self) -> None:
        """End the runs of the experiment that are RUNNING, though every process that wrote them has
        died, and their logged models that are PENDING; what was kept of runs is sent before."""
        if self._outbox is not None and kept(self.uri):
            self._outbox.look(now=True)
        if self._database is not None and self._database.access != "rw":
            return
        for found in self.search("attributes.status = 'RUNNING'"):
            if not found.abandoned or is_spooled(found.id):
                continue
            with guard(self.uri):
                Target(self.client, self.experiment_id, found.id).give_up_models()
            record = self.record(found.id)
            if record.status == "RUNNING" and record.abandoned:  # nobody has gone on with it since
                worker = Worker.read(record.tags[WORKER_TAG])
                reason = f"its process {worker.pid} on {worker.host} died"
                run = self._run(record.id, record.name, is_trial=TRIAL_TAG in record.tags)
                run.log(tags={SETTLED_TAG: reason})
                run.end("KILLED", reason, trial_state="died")
                log.info("the run %s (%s) is KILLED: %s", record.id, record.name, reason)

    def share_view(
        self,
        *,
        metrics: Sequence[str],
        tags: Sequence[str],
        best_first: str,
        ascending: bool,
        choices: Sequence[str] = (),
    ) -> str:
        """Let the experiment's page in MLflow's UI show these columns; the key by which its address
        asks for them.

        Args:
            metrics: Metrics in columns of their own.
            tags: Tags in columns of their own.
            best_first: The metric that orders the runs.
            ascending: Whether its least value comes first.
            choices: Params that stand beside that metric in parallel coordinates, the first of the
                page's charts; none for no such chart.

        Raises:
            TrackingError: The store can't be written.
        """
        columns = [f"metrics.`{name}`" for name in metrics] + [f"tags.`{name}`" for name in tags]
        view: dict[str, Any] = {
            "orderByKey": f"metrics.`{best_first}`",
            "orderByAsc": ascending,
            "selectedColumns": columns,
        }
        if choices:
            view |= _parallel(choices, best_first)
        text = json.dumps(view)
        with guard(self.uri):
            experiment = self.client.get_experiment(self.experiment_id)
            if experiment.tags.get(f"{SHARED_VIEW}{VIEW_KEY}") != text:
                self.prepare_to_write()
                self.client.set_experiment_tag(self.experiment_id, f"{SHARED_VIEW}{VIEW_KEY}", text)
        return VIEW_KEY

    def add_to(self, record: RunRecord) -> MlflowRun:
        """A run that has ended, to log what was found later: its status stays."""
        self.prepare_to_write()
        return self._run(record.id, record.name, artifacts=record.artifacts)

    def untag(self, run_id: str, tag: str) -> None:
        """Take a tag off a run that may not have it."""
        with guard(self.uri):
            record = _record(self.client.get_run(run_id))
            if tag in record.tags and not record.deleted:  # which can't be changed
                self.client.delete_tag(run_id, tag)

    def discard(self, run_id: str) -> None:
        """Delete a run that was started for nothing."""
        with guard(self.uri):
            self.client.set_terminated(run_id, "KILLED")
            self.client.delete_run(run_id)

    # --- reading ---

    def record(self, run_id: str) -> RunRecord:
        """A run by its id, whatever its experiment."""
        with guard(self.uri):
            return _record(self.client.get_run(run_id))

    def restoring(self, run_id: str) -> str:
        """The command that brings a deleted run back."""
        return restoring(self.uri, "run", run_id)

    def study(self, name: str) -> RunRecord | None:
        """The run of a study itself, the latest of that name."""
        condition = f"tags.{STUDY_TAG} LIKE '%' and tags.study = {quoted(name)}"
        return next(iter(self.search(condition, 1)), None)

    def find(self, tag: str, value: str) -> str | None:
        """The id of a run with the tag, the first one that was started."""
        records = self.search(f"tags.{tag} = {quoted(value)}")
        return records[-1].id if records else None

    def search(
        self, condition: str, last: int | None = None, *, deleted: bool = False
    ) -> list[RunRecord]:
        """Runs of the experiment, the latest first.

        Args:
            condition: Condition in MLflow's language of filters.
            last: Number of the latest runs to take; None for all.
            deleted: Take the runs that were deleted, in place of the others.
        """
        from mlflow.entities import ViewType

        view = ViewType.DELETED_ONLY if deleted else ViewType.ACTIVE_ONLY
        records: list[RunRecord] = []
        token = None
        with guard(self.uri):
            while last is None or len(records) < last:
                page = self.client.search_runs(
                    [self.experiment_id],
                    condition,
                    run_view_type=view,
                    max_results=min(1000, last or 1000),
                    order_by=["attributes.start_time DESC"],
                    page_token=token,
                )
                records += map(_record, page)
                if not (token := page.token):
                    break
        return records[:last]

    def orphaned_trials(self, parent_run: str) -> list[tuple[int, MlflowRun]]:
        """Runs of a study's trials that are RUNNING in the store, or were ended there without
        asking the study, each with its trial's number."""
        of_study = f"tags.`{PARENT_TAG}` = '{parent_run}'"
        records = self.search(f"attributes.status = 'RUNNING' and {of_study}")
        records += self.search(f"tags.`{SETTLED_TAG}` LIKE '%' and {of_study}")
        return [
            (
                int(record.tags[TRIAL_TAG]),
                self._run(
                    record.id,
                    record.name,
                    is_trial=True,
                    artifacts=record.artifacts,
                    outdated=[tag for tag in ("reason", SETTLED_TAG) if tag in record.tags],
                ),
            )
            for record in records
            if TRIAL_TAG in record.tags
        ]

    def histories(
        self, record: RunRecord, names: Sequence[str]
    ) -> dict[str, list[tuple[int, float]]]:
        """(step, value) of each metric that the run logged, in the order of steps."""
        with guard(self.uri):
            return {
                name: sorted(
                    (point.step, point.value)
                    for point in self.client.get_metric_history(record.id, name)
                )
                for name in names
                if name in record.metrics
            }

    @contextmanager
    def artifact(self, record: RunRecord, path: str) -> Iterator[Path]:
        """A file or folder among a run's artifacts: where it lies, or a copy for as long as the
        context lasts.

        Raises:
            TrackingError: The run has no such artifact.
        """
        if (folder := self._local(record.artifacts)) is not None:
            local = folder / path
            if not local.exists():
                raise TrackingError(
                    f"The run {record.id} ({record.name}) has no artifact {path}: "
                    f"{local} is missing."
                )
            check_contained(local, folder)
            yield local
            return
        with scratch_folder() as scratch:
            with guard(self.uri):
                copy = self.client.download_artifacts(record.id, path, str(scratch))
            yield Path(copy)

    def saved_model(self, model_id: str) -> AbstractContextManager[Path]:
        """The saved files behind a logged model: where they lie, or a copy for as long as the
        context lasts.

        Raises:
            TrackingError: The store has no such logged model, or its files are gone.
        """
        return self._model_file(self._model_location(model_id), "artifacts/model")

    def servable(self, model_id: str) -> tuple[str, Any]:
        """The URI of a logged model from which MLflow loads it, and the example of its input.

        Raises:
            TrackingError: The store has no such logged model, or its files are gone.
        """
        location = self._model_location(model_id)
        with self._model_file(location, "input_example.json") as path:
            try:
                return location, json.loads(path.read_text(encoding="utf-8"))
            except (ValueError, RecursionError) as error:
                raise TrackingError(
                    f"The logged model in {location} is not whole: {path.name} can't be read "
                    f"({error}). Train it again, or choose another run."
                ) from error

    def _model_location(self, model_id: str) -> str:
        with guard(self.uri):
            return self.client.get_logged_model(model_id).artifact_location

    def _local(self, place: str) -> Path | None:
        """The path of a place of artifacts on this machine; None for one elsewhere."""
        return local_path(place) if self._places is None else self._places.find(place)

    @contextmanager
    def _model_file(self, location: str, path: str) -> Iterator[Path]:
        if (folder := self._local(location)) is not None:
            local = folder / path
            if not local.exists():
                raise TrackingError(
                    f"The logged model in {location} is not whole: {local} is "
                    "missing. Train it again, or choose another run."
                )
            check_contained(local, folder)
            yield local
            return
        from mlflow.artifacts import download_artifacts

        with scratch_folder() as scratch:
            with guard(self.uri):
                copy = download_artifacts(
                    f"{location}/{path}", dst_path=str(scratch), tracking_uri=self.uri
                )
            yield Path(copy)


def check_contained(artifact: Path, folder: Path) -> None:
    """Raise TrackingError where a file or folder among artifacts, or one below it, is a link that
    leads out of their folder, or no file at all: that would read what the store does not hold."""
    root = Path(os.path.realpath(folder))
    for path in (artifact, *artifact.rglob("*")):
        is_inside = root in Path(os.path.realpath(path)).parents
        if not is_inside or not (path.is_file() or path.is_dir()):
            raise TrackingError(
                f"{path} in the store leads to {os.path.realpath(path)}, outside of {folder}, or "
                "is no file: it is not read. Put the file itself in its place."
            )


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        os.removedirs(folder)


def quoted(value: str) -> str:
    """Text in a filter of MLflow's, which knows no escapes."""
    if '"' in value and "'" in value:
        raise TrackingError(f"MLflow can't search for a name with both kinds of quotes: {value!r}.")
    return f"'{value}'" if '"' in value else f'"{value}"'


def _parallel(params: Sequence[str], metric: str) -> dict[str, Any]:
    """Parallel coordinates as MLflow's page of charts knows them, in a section before the others,
    which it adds itself."""
    section = {
        "uuid": "choices",
        "name": "choices",
        "display": True,
        "columns": 1,
        "cardHeight": 420,
        "isReordered": False,
        "deleted": False,
        "isGenerated": False,
    }
    chart = {
        "type": "PARALLEL",
        "uuid": "choices",
        "metricSectionId": "choices",
        "isGenerated": False,
        "deleted": False,
        "showAllRuns": True,
        "selectedParams": list(params),
        "selectedMetrics": [metric],
    }
    return {
        "compareRunCharts": [chart],
        "compareRunSections": [section],
        "isAccordionReordered": True,
    }


def _record(entity: "MlflowEntity") -> RunRecord:
    info, data = entity.info, entity.data
    outputs = entity.outputs.model_outputs if entity.outputs else []
    return RunRecord(
        id=info.run_id,
        name=info.run_name,
        status=info.status,
        started=info.start_time,
        tags=data.tags,
        params=data.params,
        metrics=with_epochs(data.metrics, data.tags),
        artifacts=info.artifact_uri,
        model_id=outputs[-1].model_id if outputs else None,
        who=data.tags.get(USER_TAG, "unknown"),
        commit=data.tags.get(COMMIT_TAG),
        deleted=info.lifecycle_stage == "deleted",
    )


def _source_tags() -> dict[str, str]:
    tags = {
        "mlflow.source.name": Path(sys.argv[0]).name or "recsweep",
        "mlflow.source.type": "LOCAL",
        VERSION_TAG: environment()["packages"]["recsweep"],
    }
    if commit := environment()["git_commit"]:
        tags[COMMIT_TAG] = commit
    return tags
