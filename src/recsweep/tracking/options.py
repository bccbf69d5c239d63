"""The place where runs are logged."""

import os
from dataclasses import dataclass

from recsweep.checks import LONGEST_NAME, check_number, check_text
from recsweep.databases import home, sqlite_path, sqlite_uri


@dataclass(frozen=True, kw_only=True)
class TrackingOptions:
    """The place where runs are logged.

    Args:
        uri: MLflow's tracking URI; None for MLFLOW_TRACKING_URI, else the store's own `mlflow.db`.
        experiment: Name of the MLflow experiment, made where it does not exist.
        wait_seconds: How long a command waits for an MLflow server that has gone away: at its end,
            with what is not sent, and where it can't go on.
    """

    uri: str | None
    experiment: str
    wait_seconds: float = 60

    def __post_init__(self) -> None:
        check_text("tracking.uri", self.uri, optional=True)
        check_text("tracking.experiment", self.experiment, maximum=LONGEST_NAME)
        check_number("tracking.wait_seconds", self.wait_seconds, minimum=0)


def tracking_uri(uri: str | None = None) -> str:
    """The tracking URI in force, absolute where it names a sqlite file."""
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or sqlite_uri(home() / "mlflow.db")
    path = sqlite_path(uri)
    return uri if path is None else sqlite_uri(path)
