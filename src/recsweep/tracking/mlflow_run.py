"""A run in MLflow, written by client and run id, never by MLflow's global state."""

import json
import math
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsweep.errors import RecsweepError
from recsweep.masking import mask, mask_files, mask_value
from recsweep.scratch import scratch_folder
from recsweep.tracking.access import guard
from recsweep.tracking.model_folder import SAVED, describe_model
from recsweep.tracking.protocols import DatasetNote
from recsweep.tracking.spool import Outbox
from recsweep.tracking.writes import Entry, Target, merged

if TYPE_CHECKING:
    from mlflow import MlflowClient

NOTE_TAG = "mlflow.note.content"
"""Holds what MLflow shows as a run's description, in Markdown."""

TOGETHER_SECONDS = 1.0
"""Metrics that come sooner after a request than this wait for the next one."""

TRIAL_STATES = {"FINISHED": "complete", "FAILED": "failed", "KILLED": "interrupted"}
"""What became of a trial, by the status of its run; a pruned or a dead one says so itself."""


class MlflowRun:
    """A run in MLflow, which offers what `protocols.Run` says.

    Args:
        outbox: Where what is written to a server is kept as long as that is away; None where the
            store is no server.
        outdated: Tags that it has, and that its end takes off unless it sets them anew.
        artifacts: The place of its artifacts; empty where it is not known yet.

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
        artifacts: str = "",
    ) -> None:
        self._target = Target(
            client if outbox is None else outbox.client, experiment_id, run_id, artifacts=artifacts
        )
        self._outbox = outbox
        self._unsent: list[Entry] = []
        self._sent = -math.inf
        self._uri = uri
        self.id = run_id
        self.name = name
        self.is_trial = is_trial
        self._outdated = outdated
        self.metrics: dict[str, float] = {}
        self.params: dict[str, Any] = {}
        self.ended = False
        self._has_model = False

    def log(
        self,
        *,
        metrics: Mapping[str, float] = {},
        step: int = 0,
        params: Mapping[str, Any] = {},
        tags: Mapping[str, Any] = {},
        note: str | None = None,
        measured_on: tuple[str, str] | None = None,
    ) -> None:
        """Log in one transaction. Values of params and tags are masked.

        Metrics that follow others within TOGETHER_SECONDS go to a server with what is written next,
        as a request costs more than a quick epoch.
        """
        self.metrics.update(metrics)
        self.params.update(params)
        if note is not None:
            tags = {**tags, NOTE_TAG: note}
        now, of_model = _now(), measured_on or ()
        entry = {
            "do": "log",
            "metrics": [
                (name, float(value), now, step, *of_model) for name, value in metrics.items()
            ],
            "params": _masked(params),
            "tags": _masked(tags),
        }
        just_sent = time.monotonic() < self._sent + TOGETHER_SECONDS
        if self._outbox is not None and just_sent and not (params or tags):
            self._unsent.append(entry)
        else:
            self._write(entry)

    def _write(self, entry: Entry, files: Path | None = None) -> None:
        with guard(self._uri):
            if self._outbox is None:
                self._target.write(entry, files)
                return
            entries, self._unsent = [*self._unsent, entry], []
            while entries:
                whole, count = merged(entries)
                entries = entries[count:]
                try:
                    self._outbox.put(self._target, self.name, whole, None if entries else files)
                except KeyboardInterrupt:  # what it was at is kept; the rest goes with the end
                    self._unsent = [] if files else entries
                    raise
            self._sent = time.monotonic()

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

    def is_within_reach(self) -> bool:
        return self._outbox is None or self._outbox.is_within_reach(self.id)

    def guarded(self) -> AbstractContextManager[None]:
        return guard(self._uri)

    def log_folder(self, folder: Path) -> None:
        mask_files(folder)
        self._write({"do": "folder"}, folder)

    def begin_model(self, name: str, params: Mapping[str, Any]) -> None:
        self._has_model = True
        self._write({"do": "begin_model", "name": mask(name), "params": _masked(params)})

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
            self._write({"do": "model", "step": step}, folder)

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
                **({"gives_up": True} if self._has_model and status != "FINISHED" else {}),
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
