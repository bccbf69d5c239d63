"""Versions of registered models in an MLflow store."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from recsweep.masking import mask
from recsweep.tracking.mlflow_store import Tracker

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

PREVIOUS_TAG = "previous_champion"
"""A version's tag with the version that was champion when it was registered to become one; the
first has none, or in earlier versions of recsweep an empty one."""

SINCE_TAG = "champion_since"
"""A version's tag with the time when the alias last moved to it, as MOMENT writes it; of earlier
versions of recsweep in milliseconds since 1970."""

MOMENT = "%Y-%m-%d %H:%M:%S.%f UTC"
"""A time for people, as the tags of a version have it."""

FORBIDDEN = 403
"""HTTP status of an answer that a user is known, and lacks the permission."""

EARLIER_LOCK = ".lock."
"""Part of the names of registered models that were a lock in earlier versions of recsweep."""


@dataclass(frozen=True)
class RegisteredVersion:
    """A version of a registered model.

    Attributes:
        name: Name of the registered model.
        version: A number as text, as MLflow has it.
        run_id: Id of the run that trained it.
        model_id: Id of MLflow's logged model; empty where somebody registered it by other means.
        tags: Notes that were made when it was registered.
        created: Milliseconds since 1970.
    """

    name: str
    version: str
    run_id: str
    model_id: str
    tags: Mapping[str, str]
    created: int = 0

    @property
    def since(self) -> int:
        """The time when it became champion, in milliseconds since 1970."""
        since = self.tags.get(SINCE_TAG, str(self.created))
        if since.isdecimal():
            return int(since)
        return int(datetime.strptime(since, MOMENT).replace(tzinfo=UTC).timestamp() * 1000)

    @property
    def previous(self) -> str | None:
        """The version that was champion before it."""
        return self.tags.get(PREVIOUS_TAG) or None


@dataclass(frozen=True)
class RegisteredModel:
    """The registered model of a name, which may have no version yet.

    Attributes:
        store: The open store.
        name: Name of the registered model.
    """

    store: Tracker
    name: str

    def with_alias(self, alias: str) -> RegisteredVersion | None:
        """The version that has an alias; None where none has."""
        return self._version(lambda client: client.get_model_version_by_alias(self.name, alias))

    def version(self, number: str) -> RegisteredVersion | None:
        """The version of this number; None where it was deleted or never was."""
        return self._version(lambda client: client.get_model_version(self.name, number))

    def _version(self, ask: "Callable[[MlflowClient], ModelVersion]") -> RegisteredVersion | None:
        from mlflow.exceptions import MlflowException

        with self.store.guarded():
            try:
                entity = ask(self.store.client)
            except MlflowException as error:
                # a missing alias is called an invalid parameter; the name and the alias are valid
                if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    return None
                # a server with users lets nobody but its administrator ask for what is not there
                if error.get_http_status_code() == FORBIDDEN and not self._is_listed():
                    return None
                raise
        return RegisteredVersion(
            self.name,
            str(entity.version),
            entity.run_id or "",
            entity.tags.get("model_id", ""),
            dict(entity.tags),
            entity.creation_timestamp,
        )

    def _is_listed(self) -> bool:
        """Whether the store says that there is such a model, and this user may read it."""
        found = self.store.client.search_registered_models(f"name = '{self.name}'")
        return any(model.name == self.name for model in found)

    def register(
        self, run_id: str, model_id: str, *, tags: Mapping[str, Any], description: str, about: str
    ) -> str:
        """Make a version of the logged model that a run has; its number.

        Args:
            run_id: Id of the run.
            model_id: Id of its logged model.
            tags: Notes on the version.
            description: Text beside the version in the UI, in Markdown.
            about: Text beside the registered model, where it is made by this.
        """
        from mlflow.exceptions import MlflowException

        client = self.store.client
        tags = {"model_id": model_id, **tags}
        self.store.prepare_to_write()
        with self.store.guarded():
            try:
                client.create_registered_model(self.name, description=about)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            logged = client.get_logged_model(model_id)
            # not models:/<id>: a database opened without a server would look that up in MLflow's
            # global store
            made = client.create_model_version(
                self.name,
                logged.artifact_location,
                run_id=run_id,
                model_id=model_id,
                tags={name: mask(str(value)) for name, value in tags.items()},
                description=mask(description),
                await_creation_for=0,  # databases and MLflow servers have it ready at once
            )
        return str(made.version)

    def give_alias(self, alias: str, number: str) -> None:
        """Let a version have the alias, instead of the one that has it now."""
        now = datetime.now(UTC).strftime(MOMENT)
        with self.store.guarded():
            self.store.client.set_registered_model_alias(self.name, alias, number)
            self.store.client.set_model_version_tag(self.name, number, SINCE_TAG, now)

    def delete_earlier_locks(self) -> None:
        """Delete the registered models by which earlier versions of recsweep kept others out, and
        which one that was killed has left behind."""
        from mlflow.exceptions import MlflowException

        prefix = f"{self.name}{EARLIER_LOCK}"
        with self.store.guarded():
            for model in self.store.client.search_registered_models(f"name LIKE '{prefix}%'"):
                if not (model.name.removeprefix(prefix).isdigit() and "token" in model.tags):
                    continue
                try:
                    self.store.client.delete_registered_model(model.name)
                except MlflowException as error:
                    if error.error_code != "RESOURCE_DOES_NOT_EXIST":  # another process was first
                        raise
