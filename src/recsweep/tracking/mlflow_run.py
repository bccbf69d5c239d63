"""A run in MLflow, written by client and run id, never by MLflow's global state."""

import json
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsweep.errors import RecsweepError
from recsweep.masking import mask, mask_files, mask_value
from recsweep.scratch import scratch_folder
from recsweep.tracking.access import guard, silenced
from recsweep.tracking.protocols import DatasetNote

if TYPE_CHECKING:
    from mlflow import MlflowClient

NOTE_TAG = "mlflow.note.content"
"""Holds what MLflow shows as a run's description, in Markdown."""

TRIAL_STATES = {"FINISHED": "complete", "FAILED": "failed", "KILLED": "interrupted"}
"""What became of a trial, by the status of its run; a pruned or a dead one says so itself."""


class MlflowRun:
    """A run in MLflow, which offers what `protocols.Run` says.

    Args:
        outdated: Tags that it has, and that its end takes off unless it sets them anew.

    Attributes:
        is_trial: Whether it is the run of a study's trial.
    """

    def __init__(
        self,
        client: "MlflowClient",
        uri: str,
        experiment_id: str,
        run_id: str,
        name: str,
        *,
        is_trial: bool = False,
        outdated: Sequence[str] = (),
    ) -> None:
        self._client = client
        self._uri = uri
        self._experiment_id = experiment_id
        self.id = run_id
        self.name = name
        self.is_trial = is_trial
        self._outdated = outdated
        self.metrics: dict[str, float] = {}
        self.params: dict[str, Any] = {}
        self.ended = False

    def log(
        self,
        *,
        metrics: Mapping[str, float] = {},
        step: int = 0,
        params: Mapping[str, Any] = {},
        tags: Mapping[str, Any] = {},
        note: str | None = None,
    ) -> None:
        """Log in one transaction. Values of params and tags are masked."""
        from mlflow.entities import Metric, Param, RunTag

        now = int(time.time() * 1000)
        self.metrics.update(metrics)
        self.params.update(params)
        if note is not None:
            tags = {**tags, NOTE_TAG: note}
        with guard(self._uri):
            self._client.log_batch(
                self.id,
                metrics=[Metric(name, float(value), now, step) for name, value in metrics.items()],
                params=[
                    Param(name, mask_value(name, str(value))) for name, value in params.items()
                ],
                tags=[RunTag(name, mask(str(value))) for name, value in tags.items()],
            )

    def log_datasets(self, datasets: Sequence[DatasetNote]) -> None:
        """Name the data in MLflow's dataset column."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = [
            DatasetInput(
                Dataset(
                    name=mask(data.name),
                    digest=data.digest,
                    source_type="local",
                    source=json.dumps({"uri": mask(data.source)}),
                    profile=json.dumps(dict(data.profile)),
                ),
                [InputTag("mlflow.data.context", data.context)],
            )
            for data in datasets
        ]
        with guard(self._uri):
            self._client.log_inputs(self.id, inputs)

    def guarded(self) -> AbstractContextManager[None]:
        return guard(self._uri)

    def log_folder(self, folder: Path) -> None:
        mask_files(folder)
        with guard(self._uri):
            self._client.log_artifacts(self.id, str(folder))

    def log_model(
        self,
        folder: Path,
        *,
        entry: Path,
        input_example: Any,
        requirements: Sequence[str],
        step: int,
    ) -> str:
        """Log saved files behind a models-from-code pyfunc; the id of MLflow's logged model."""
        from mlflow import pyfunc
        from mlflow.entities import LoggedModelOutput
        from mlflow.models import Model

        with guard(self._uri), scratch_folder() as scratch:
            logged = self._client.create_logged_model(
                self._experiment_id, name="model", source_run_id=self.id
            )
            model_id, location = logged.model_id, logged.artifact_location
            path = Path(scratch) / "model"
            description = Model(location, self.id, model_uuid=model_id, model_id=model_id)
            try:
                with silenced("mlflow"):
                    pyfunc.save_model(
                        str(path),
                        python_model=str(entry),
                        artifacts={"model": str(folder)},
                        input_example=input_example,
                        pip_requirements=list(requirements),
                        mlflow_model=description,
                    )
                self._client.log_model_artifacts(model_id, str(path))
            except BaseException:
                self._client.finalize_logged_model(model_id, "FAILED")
                raise
            self._client.finalize_logged_model(model_id, "READY")
            self._client.log_outputs(self.id, [LoggedModelOutput(model_id, step=step)])
        return model_id

    def end(self, status: str, reason: str = "", *, trial_state: str | None = None) -> None:
        if self.ended:
            return
        tags = {"reason": reason} if reason else {}
        if self.is_trial:
            tags["trial_state"] = trial_state or TRIAL_STATES[status]
        if tags:
            self.log(tags=tags)
        with guard(self._uri):
            self._client.set_terminated(self.id, status)
            for tag in self._outdated:
                if tag not in tags:
                    self._client.delete_tag(self.id, tag)
        self.ended = True

    def fail(self, error: BaseException) -> None:
        """Close the run as FAILED; the traceback is the artifact `traceback.txt`."""
        if not isinstance(error, RecsweepError):
            with scratch_folder() as scratch:
                path = Path(scratch) / "traceback.txt"
                text = "".join(traceback.format_exception(error))
                path.write_text(mask(text), encoding="utf-8")
                self.log_folder(Path(scratch))
        self.end("FAILED", f"{type(error).__name__}: {error}")
