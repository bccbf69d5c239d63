"""The place where runs are logged."""

import os
from dataclasses import dataclass

from recsweep.checks import LONGEST_NAME, check_text
from recsweep.databases import home, sqlite_path


@dataclass(frozen=True, kw_only=True)
class TrackingOptions:
    """The place where runs are logged.

    Args:
        uri: MLflow's tracking URI; None for MLFLOW_TRACKING_URI, else the store's own `mlflow.db`.
        experiment: Name of the MLflow experiment, made where it does not exist.
    """

    uri: str | None
    experiment: str

    def __post_init__(self) -> None:
        check_text("tracking.uri", self.uri, optional=True)
        check_text("tracking.experiment", self.experiment, maximum=LONGEST_NAME)


def tracking_uri(uri: str | None = None) -> str:
    """The tracking URI in force, absolute where it names a sqlite file."""
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home() / 'mlflow.db'}"
    path = sqlite_path(uri)
    return uri if path is None else f"sqlite:///{path}"
