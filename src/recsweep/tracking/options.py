"""The place where runs are logged."""

import os
import re
from dataclasses import dataclass

from recsweep.checks import LONGEST_NAME, as_said, check_number, check_text
from recsweep.databases import home, sqlite_path, sqlite_uri
from recsweep.errors import ConfigError

EXPERIMENT = "recsweep"
"""The MLflow experiment where none is named."""

UI_HOST, UI_PORT = "127.0.0.1", 5000
"""Where `recsweep ui` answers unless told otherwise."""


@dataclass(frozen=True, kw_only=True)
class TrackingOptions:
    """The place where runs are logged.

    Args:
        uri: MLflow's tracking URI; None for MLFLOW_TRACKING_URI, else the store's own `mlflow.db`.
        experiment: Name of the MLflow experiment, made where it does not exist.
        wait_seconds: How long a command waits for an MLflow server that has gone away: at its end,
            with what is not sent, and where it can't go on.
        artifacts: Place of the artifacts of a new experiment in a store that machines share: a
            folder that all of them have, or a URI as `s3://bucket/folder`; None for the place that
            a server has for them. A store in a sqlite file has them beside it.
    """

    uri: str | None
    experiment: str
    wait_seconds: float = 60
    artifacts: str | None = None

    def __post_init__(self) -> None:
        check_text("tracking.uri", self.uri, optional=True)
        check_text("tracking.experiment", self.experiment, maximum=LONGEST_NAME)
        check_number("tracking.wait_seconds", self.wait_seconds, minimum=0)
        check_text("tracking.artifacts", self.artifacts, optional=True)
        if self.artifacts is not None and not re.match(r"/|[a-z][a-z0-9+]*://", self.artifacts):
            raise ConfigError(
                "tracking.artifacts must be a folder's path from the root, which is the same on "
                f"every machine, or a URI as s3://bucket/folder, not {as_said(self.artifacts)}."
            )
        uri = tracking_uri(self.uri)
        if self.artifacts is not None and uri.startswith("sqlite:"):
            raise ConfigError(
                "tracking.artifacts is for a store that machines share: one in a sqlite file has "
                "its artifacts beside it. Leave it out, or set tracking.uri=postgresql://..."
            )


def tracking_uri(uri: str | None = None) -> str:
    """The tracking URI in force, absolute where it names a sqlite file."""
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or sqlite_uri(home() / "mlflow.db")
    path = sqlite_path(uri)
    return uri if path is None else sqlite_uri(path)
