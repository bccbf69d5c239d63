"""Artifacts on their way to a server: the files of a folder at the same time."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

AT_ONCE = 8
"""So many files are on their way at once: a connection waits for each."""


def is_served(place: str) -> bool:
    """Whether a place of artifacts is one that an MLflow server passes on."""
    return place.startswith("mlflow-artifacts:")


def upload(client: "MlflowClient", place: str, folder: Path) -> None:
    """Store every file under a folder at a place that a server passes on.

    MLflow's `log_artifacts` asks the server for the place first, and sends one file after another.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository = get_artifact_repository(place, tracking_uri=client.tracking_uri)

    def send(path: Path) -> None:
        above = path.relative_to(folder).parent.as_posix()
        repository.log_artifact(str(path), None if above == "." else above)

    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    with ThreadPoolExecutor(min(AT_ONCE, len(files)) or 1) as threads:
        for _ in threads.map(send, files):  # raises what one of them raised
            pass
