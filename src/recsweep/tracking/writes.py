"""What is written to a run in MLflow, as entries that can be kept on disk and written again."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsweep.tracking.model_folder import place_model
from recsweep.tracking.uploads import is_served, upload

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Metric

MOST_AT_ONCE, MOST_TAGS = 1000, 100
"""So many metrics, params and tags MLflow takes in one request."""

LONGEST = 5000
"""Characters of a logged model's param that MLflow has room for."""

TAKEN = ("uniqueviolation", "unique constraint", "duplicate key", "duplicate entry")
"""What databases say, in small letters, of a row that another process has added first; through a
server only the words are left."""

ATTEMPTS = 12
"""How often a row is added that others add too: each time at least one of them is done with it."""

Entry = Mapping[str, Any]
"""One thing to write, as JSON can hold it: `do` says what, the rest is what `Target` takes."""


@dataclass(frozen=True)
class Target:
    """A run in MLflow that entries are written to.

    Attributes:
        artifacts: The place of its artifacts; empty where it is not known yet.
        again: Whether an entry may have been written before, in part or whole: nothing is in the
            store twice then.
        begun: The run's logged model, once this has begun or found it.
    """

    client: "MlflowClient"
    experiment_id: str
    run_id: str
    again: bool = False
    artifacts: str = ""
    begun: "list[LoggedModel]" = field(default_factory=list)

    def write(self, entry: Entry, files: Path | None = None) -> None:
        """Write an entry.

        Args:
            entry: What to write.
            files: The folder of an entry that has files.
        """
        settings = dict(entry)
        if files is not None:
            settings["files"] = files
        getattr(self, settings.pop("do"))(**settings)

    def log(
        self,
        *,
        metrics: Sequence[Sequence[Any]] = (),
        params: Mapping[str, str] = {},
        tags: Mapping[str, str] = {},
    ) -> None:
        """Log in one transaction.

        Args:
            metrics: Name, value, time in milliseconds since 1970, and step of each; of those of the
                run's model also name and digest of what it was measured on.
        """
        from mlflow.entities import Param, RunTag

        model_id = self._model().model_id if any(metric[4:] for metric in metrics) else None
        self.client.log_batch(
            self.run_id,
            metrics=[_metric(model_id, *metric) for metric in metrics],
            params=[Param(name, value) for name, value in params.items()],
            tags=[RunTag(name, value) for name, value in tags.items()],
        )

    def datasets(self, *, datasets: list[Mapping[str, Any]]) -> None:
        """Name the data in MLflow's dataset column."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = [
            DatasetInput(
                Dataset(**{name: value for name, value in data.items() if name != "context"}),
                [InputTag("mlflow.data.context", data["context"])],
            )
            for data in datasets
        ]
        # MLflow looks whether the data is known, and adds it where it is not: of several processes
        # on a new experiment one is first, and the others find it when they look again
        _until_known(lambda: self.client.log_inputs(self.run_id, inputs))

    def folder(self, *, files: Path) -> None:
        """Store files as artifacts."""
        if is_served(self.artifacts):
            upload(self.client, self.artifacts, files)
        else:
            self.client.log_artifacts(self.run_id, str(files))

    def begin_model(self, *, name: str, params: Mapping[str, str]) -> None:
        """Open the run's logged model, which is PENDING until its files are there."""
        if self.again and self._found():
            return
        self.begun[:] = [
            self.client.create_logged_model(
                self.experiment_id,
                name=name,
                source_run_id=self.run_id,
                params={name: value[:LONGEST] for name, value in params.items()},
            )
        ]

    def _found(self) -> "list[LoggedModel]":
        """The run's logged model, where the store has it."""
        if not self.begun:
            models = [model for model in self._models() if model.status in ("READY", "PENDING")]
            self.begun[:] = sorted(models, key=lambda model: model.status != "READY")[:1]
        return self.begun

    def _model(self) -> "LoggedModel":
        """The run's logged model; begun now where an earlier version, which did not do that before,
        has kept the entry."""
        if not self._found():
            self.begin_model(name="model", params={})
        return self.begun[0]

    def model(self, *, files: Path, step: int) -> None:
        """Log a saved pyfunc as the run's model."""
        from mlflow.entities import LoggedModelOutput

        model = self._model()
        if model.status != "READY":
            place_model(files, model.model_id, model.artifact_location)
            if is_served(model.artifact_location):
                upload(self.client, model.artifact_location, files)
            else:
                self.client.log_model_artifacts(model.model_id, str(files))
            self.client.finalize_logged_model(model.model_id, "READY")
        outputs = self.client.get_run(self.run_id).outputs if self.again else None
        if not (outputs and outputs.model_outputs):
            self.client.log_outputs(self.run_id, [LoggedModelOutput(model.model_id, step=step)])

    def give_up_models(self) -> None:
        """Mark the run's models as FAILED that nobody will finish."""
        for model in self._models():
            if model.status == "PENDING":
                self.client.finalize_logged_model(model.model_id, "FAILED")

    def _models(self) -> list["LoggedModel"]:
        return self.client.search_logged_models(
            [self.experiment_id], f"source_run_id = '{self.run_id}'"
        )

    def end(
        self,
        *,
        status: str,
        time: int,
        tags: Mapping[str, str] = {},
        outdated: Sequence[str] = (),
        gives_up: bool = False,
    ) -> None:
        """Close the run.

        Args:
            time: Of its end, in milliseconds since 1970.
            outdated: Tags to take off.
            gives_up: Whether its logged model is given up, unless that is READY.
        """
        if gives_up:
            self.give_up_models()
        if tags:
            self.log(tags=tags)
        self.client.set_terminated(self.run_id, status, time)
        known = self.client.get_run(self.run_id).data.tags if outdated else {}
        for tag in outdated:
            if tag in known:
                self.client.delete_tag(self.run_id, tag)


def _metric(
    model_id: str | None, name: str, value: float, time: int, step: int, *measured_on: str
) -> "Metric":
    from mlflow.entities import Metric

    if not measured_on:
        return Metric(name, value, time, step)
    return Metric(name, value, time, step, model_id, *measured_on)


def _until_known(call: Callable[[], object]) -> None:
    """Repeat a call as long as another process adds the same row at the same moment."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import IntegrityError

    for attempt in range(1, ATTEMPTS + 1):
        try:
            call()
            return
        except (MlflowException, IntegrityError) as error:
            words = str(error).lower()
            if attempt == ATTEMPTS or not any(word in words for word in TAKEN):
                raise
        time.sleep(random.uniform(0, min(0.02 * 2**attempt, 1)))


def merged(entries: Sequence[Entry]) -> tuple[dict[str, Any], int]:
    """The first entry, and as many after it as the store takes in one request with it; how many
    they are."""
    whole, count = dict(entries[0]), 1
    for entry in entries[1:] if whole["do"] == "log" else ():
        if entry["do"] != "log" or entry["params"]:
            break
        metrics, tags = [*whole["metrics"], *entry["metrics"]], {**whole["tags"], **entry["tags"]}
        if len(metrics) + len(whole["params"]) + len(tags) > MOST_AT_ONCE or len(tags) > MOST_TAGS:
            break
        whole, count = {**whole, "metrics": metrics, "tags": tags}, count + 1
    return whole, count
