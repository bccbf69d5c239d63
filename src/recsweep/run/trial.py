"""What a run tells of itself, where it is a trial of a study."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol


@dataclass(frozen=True, kw_only=True)
class Ending:
    """The end of a trial.

    Attributes:
        state: Whether it was trained to its end, pruned, failed of an error, or given up, so that
            another trial will do the same.
        reason: Reason why it did not come to its end.
        epochs: Number of epochs it was trained.
        metrics: All metrics that were logged, as `validation/mse` and `fit/seconds`.
        chosen_by: Plain name of the measure that chose the epoch.
        num_parameters: Number of numbers that the model learnt.
        max_epochs: Number of epochs it was allowed; None for a model that is not trained in epochs.
    """

    state: Literal["complete", "pruned", "failed", "interrupted"]
    reason: str = ""
    epochs: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    chosen_by: str = ""
    num_parameters: int | None = None
    max_epochs: int | None = None


class Trial(Protocol):
    """A trial of a study, as the run that it is sees it.

    Attributes:
        number: Number of the trial in the study.
        study_name: Name of the study.
        parent_run: Run of the study in MLflow; None where it has none.
    """

    number: int
    study_name: str
    parent_run: str | None

    def started(self, run_id: str, name: str, seed: int, digests: Mapping[str, str]) -> None:
        """Take note of the run, and of the data and the split that it is measured on."""

    def report(self, epoch: int, value: float) -> bool:
        """Take note of the objective after an epoch; whether the trial shall be pruned."""

    def ended(self, ending: Ending) -> None:
        """Take note of the end: told before the run's own, when it came to its end or was pruned.

        Everything else that ends a run is raised, to whoever holds the trial.
        """
