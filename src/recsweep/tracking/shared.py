"""Whether what several machines share keeps artifacts where each of them finds them: asked before
anything is logged.

MLflow puts the artifacts of an experiment that is made in a database into `mlruns` of whoever made
it, and each machine writes that path on its own disk.
"""

import multiprocessing
import platform
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from recsweep.causes import cause_of
from recsweep.errors import TrackingError
from recsweep.masking import mask
from recsweep.scratch import scratch_folder
from recsweep.tracking.access import is_server
from recsweep.tracking.places import local_path
from recsweep.tracking.uploads import is_served

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

MARK_TAG = "recsweep.artifacts"
"""An experiment's tag with the name of the file that its folder of artifacts holds: a folder of the
same path without it is another machine's own."""

PROBES = "recsweep-probes"
"""Folder among the artifacts of an experiment with a small file of each machine that writes it."""

ATTEMPTS = 5
"""How often the small file is written: another process of the machine may write it in between."""

REMEDY = (
    "Start a server that keeps them, `recsweep server --postgres URL --artifacts DIR`, and set "
    "MLFLOW_TRACKING_URI to its address, or name a folder that all machines have, or a bucket, by "
    "tracking.artifacts=/shared/folder or s3://..."
)


def is_shared(uri: str) -> bool:
    """Whether a store is one that several machines may use: a server, or a database's."""
    kind = uri.partition("://")[0].partition("+")[0]
    return is_server(uri) or kind in ("postgresql", "mysql", "mssql")


def place_for(uri: str, artifacts: str | None) -> str | None:
    """The place of artifacts of an experiment that is made now; None for a server's own.

    Raises:
        TrackingError: There is none that other machines find.
    """
    if artifacts is None:
        if not is_server(uri):
            raise TrackingError(
                f"{mask(uri)} is a database, which holds no artifacts: each machine would keep its "
                f"own on its own disk. {REMEDY}"
            )
        return None
    return Path(artifacts).as_uri() if artifacts.startswith("/") else artifacts


class SharedPlace:
    """The place of artifacts of an experiment in a store that several machines may use.

    Args:
        client: MLflow's client of the store.
        uri: The store.
        experiment: The experiment.
        artifacts: The place that the settings name; None where they name none.
    """

    def __init__(
        self, client: "MlflowClient", uri: str, experiment: "Experiment", artifacts: str | None
    ) -> None:
        self._client, self._uri, self._experiment = client, uri, experiment
        self._artifacts = artifacts
        self._location = experiment.artifact_location

    def check(self) -> None:
        """Make sure that other machines find what is written there, and that it can be written.

        Raises:
            TrackingError: They don't, or it can't.
        """
        named = None if self._artifacts is None else place_for(self._uri, self._artifacts)
        if named is not None and named.rstrip("/") != self._normal:
            raise TrackingError(
                f"The experiment {self._experiment.name!r} keeps its artifacts in "
                f"{mask(self._location)}, not in tracking.artifacts={mask(self._artifacts or '')}: "
                "leave that out, or choose another experiment by tracking.experiment=..."
            )
        if is_served(self._location) and not is_server(self._uri):
            self._refuse(
                "go through an MLflow server, and this is its database. Set MLFLOW_TRACKING_URI to "
                "the address of the server"
            )
        if (folder := local_path(self._location)) is not None:
            self._check_mark(folder)
        if multiprocessing.parent_process() is None:  # a worker's command has done it
            self._probe()

    @property
    def _normal(self) -> str:
        folder = local_path(self._location)
        return (self._location if folder is None else folder.as_uri()).rstrip("/")

    def _check_mark(self, folder: Path) -> None:
        name = self._experiment.tags.get(MARK_TAG)
        if name is None:
            if self._artifacts is None:
                self._refuse(
                    "lie in a folder that each machine would have on its own disk. If all have "
                    f"this one, say so once, by tracking.artifacts={folder}; else choose another "
                    f"by tracking.experiment=... for a new one. {REMEDY}"
                )
            name = f".recsweep-{secrets.token_hex(8)}"
            try:
                folder.mkdir(parents=True, exist_ok=True)
                (folder / name).touch()
            except OSError as error:
                self._refuse(f"can't be written: {cause_of(error)}")
            self._client.set_experiment_tag(self._experiment.experiment_id, MARK_TAG, name)
        elif not re.fullmatch(r"\.recsweep-[0-9a-f]{16}", name) or not (folder / name).exists():
            self._refuse(
                f"lie in a folder that is another one on this machine ({folder} lacks its mark "
                f"{name}). Mount the shared one there, or start a server: recsweep server"
            )

    def _probe(self) -> None:
        """Write a small file and read it back, as a run's artifacts are."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        name = f"{re.sub('[^A-Za-z0-9.-]', '_', platform.node()) or 'unknown'}.txt"
        try:
            repository = get_artifact_repository(self._location, tracking_uri=self._uri)
            for _ in range(ATTEMPTS):
                with scratch_folder() as folder:
                    text = secrets.token_hex(16)
                    (folder / name).write_text(text, encoding="ascii")
                    repository.log_artifact(str(folder / name), PROBES)
                    (back := folder / "back").mkdir()
                    found = repository.download_artifacts(f"{PROBES}/{name}", str(back))
                    if Path(found).read_text(encoding="ascii") == text:
                        return
        except Exception as error:
            cause = cause_of(error)
            self._refuse(f"can't be written and read back: {cause.reason}. {cause.remedy}")
        self._refuse("are not what was written when they are read back. Look at that place")

    def _refuse(self, words: str) -> NoReturn:
        raise TrackingError(
            f"The artifacts of the experiment {self._experiment.name!r} in "
            f"{mask(self._location)} {words.rstrip('.')}."
        )
