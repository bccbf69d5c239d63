"""A run in MLflow, written by client and run id, never by MLflow's global state."""

import json
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsweep.errors import RecsweepError
from recsweep.masking import mask, mask_files, mask_value
from recsweep.scratch import scratch_folder
from recsweep.tracking.access import guard
from recsweep.tracking.model_folder import SAVED, describe_model
from recsweep.tracking.protocols import DatasetNote
from recsweep.tracking.spool import Outbox
from recsweep.tracking.writes import Entry, Target

if TYPE_CHECKING:
    from mlflow import MlflowClient

NOTE_TAG = "mlflow.note.content"
"""Holds what MLflow shows as a run's description, in Markdown."""

TRIAL_STATES = {"FINISHED": "complete", "FAILED": "failed", "KILLED": "interrupted"}
"""What became of a trial, by the status of its run; a pruned or a dead one says so itself."""


class MlflowRun:
    """A run in MLflow, which offers what `protocols.Run` says.

    Args:
        outbox: Where what is written to a server is kept as long as that is away; None where the
            store is no server.
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
        outbox: Outbox | None = None,
        is_trial: bool = False,
        outdated: Sequence[str] = (),
    ) -> None:
        self._target = Target(client if outbox is None else outbox.client, experiment_id, run_id)
        self._outbox = outbox
        self._uri = uri
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
        self.metrics.update(metrics)
        self.params.update(params)
        if note is not None:
            tags = {**tags, NOTE_TAG: note}
        now = _now()
        self._write(
            {
                "do": "log",
                "metrics": [(name, float(value), now, step) for name, value in metrics.items()],
                "params": _masked(params),
                "tags": _masked(tags),
            }
        )

    def _write(self, entry: Entry, files: Path | None = None) -> None:
        with guard(self._uri):
            if self._outbox is None:
                self._target.write(entry, files)
            else:
                self._outbox.put(self._target, self.name, entry, files)

    def log_datasets(self, datasets: Sequence[DatasetNote]) -> None:
        """Name the data in MLflow's dataset column."""
        notes = [
            {
                "name": mask(data.name),
                "digest": data.digest,
                "source_type": "local",
                "source": json.dumps({"uri": mask(data.source)}),
                "profile": json.dumps(dict(data.profile)),
                "context": data.context,
            }
            for data in datasets
        ]
        self._write({"do": "datasets", "datasets": notes})

    def guarded(self) -> AbstractContextManager[None]:
        return guard(self._uri)

    def log_folder(self, folder: Path) -> None:
        mask_files(folder)
        self._write({"do": "folder"}, folder)

    def log_model(
        self,
        save: Callable[[Path], None],
        *,
        entry: Path,
        signature: Mapping[str, Any],
        input_example: Any,
        requirements: Sequence[str],
        step: int,
    ) -> None:
        """Log saved files behind a models-from-code pyfunc."""
        with guard(self._uri), scratch_folder() as folder:
            save(folder / SAVED)
            describe_model(
                folder,
                run_id=self.id,
                entry=entry,
                signature=signature,
                input_example=input_example,
                requirements=requirements,
            )
            try:
                self._write({"do": "model", "step": step}, folder)
            except BaseException as error:
                if self._outbox is None or isinstance(error, Exception):  # else it is kept
                    with suppress(Exception):  # the error that is on its way says more
                        self._target.give_up_models()
                raise

    def end(self, status: str, reason: str = "", *, trial_state: str | None = None) -> None:
        if self.ended:
            return
        tags = {"reason": reason} if reason else {}
        if self.is_trial:
            tags["trial_state"] = trial_state or TRIAL_STATES[status]
        self._write(
            {
                "do": "end",
                "status": status,
                "time": _now(),
                "tags": _masked(tags),
                "outdated": [tag for tag in self._outdated if tag not in tags],
            }
        )
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


def _now() -> int:
    return int(time.time() * 1000)


def _masked(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: mask_value(name, str(value)) for name, value in values.items()}
