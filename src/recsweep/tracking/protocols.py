"""What a store of runs and a run in it must offer to be logged to: another tracker has these
two."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class DatasetNote:
    """A note on a data set for the store: its name, the digest of its content, where it came from,
    its sizes, and its use."""

    name: str
    digest: str
    source: str
    profile: Mapping[str, Any]
    context: str


class Run(Protocol):
    """A run, owned by whoever started it, until `end`.

    Attributes:
        metrics: The latest value of each metric that was logged here.
        params: Params that were logged here, or before the run was opened again; they never
            change.
        ended: Whether `end` was called.
    """

    id: str
    name: str
    metrics: dict[str, float]
    params: dict[str, Any]
    ended: bool

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
        """Log all of it or nothing, values of params and tags masked.

        Args:
            metrics: Numbers by name.
            step: The step that the metrics are of.
            params: Settings by name.
            tags: Text by which the run is found.
            note: Markdown that is shown with the run, in place of an earlier one.
            measured_on: Name and digest of the data set on which the model that was begun reached
                the metrics; None for metrics of the run alone.
        """

    def log_datasets(self, datasets: Sequence[DatasetNote]) -> None:
        """Name the data that the run reads."""

    def log_folder(self, folder: Path) -> None:
        """Store every file under `folder` as an artifact, those of text masked."""

    def begin_model(self, name: str, params: Mapping[str, Any]) -> None:
        """Open the model that the run will log, its only one, so that metrics can be of it. Where
        the run ends otherwise than FINISHED, it is given up.

        Args:
            name: Name that it is shown by, which others may share: without any of `/:.%"'`.
            params: Its settings by name.
        """

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
        """Log saved files as the model that was begun, which can be loaded and served.

        Args:
            save: Writes the folder that the entry file finds as its artifact `model`.
            entry: The file that is run on loading; the only code.
            signature: What it takes and gives, as MLflow reads it off the entry's annotations.
            input_example: A request.
            requirements: Packages for pip, as `torch==2.13.0`.
            step: The epoch whose weights these are.
        """

    def is_within_reach(self) -> bool:
        """Whether what is written now is in the store at once; else it is kept, and sent later."""

    def guarded(self) -> AbstractContextManager[None]:
        """A context for what is written on the way to the store: a full disk becomes a
        TrackingError there too."""

    def end(self, status: str, reason: str = "", *, trial_state: str | None = None) -> None:
        """Close the run as FINISHED, KILLED or FAILED; the reason becomes the tag `reason`.

        Args:
            status: FINISHED, KILLED or FAILED.
            reason: Why, in words.
            trial_state: The tag of that name on a trial of a study; None for the one that the
                status tells.
        """

    def fail(self, error: BaseException) -> None:
        """Close the run as FAILED with the error in words and, where it is a mistake of the
        program, its traceback."""


class Store(Protocol):
    """A place where runs are logged."""

    def start(self, name: str, tags: Mapping[str, Any] = {}, *, parent: str | None = None) -> Run:
        """A new run, RUNNING until its `end`.

        Args:
            name: Name that the run is shown by; several may share one.
            tags: Text by which the run is found.
            parent: Id of the run that it stands under; None for one of its own.
        """
