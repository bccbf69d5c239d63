"""Versions of the registered model, which of them is the champion, and the lock under which that changes."""

import random
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from recsweep.errors import ConfigError, RegistryError
from recsweep.masking import mask
from recsweep.processes import Worker
from recsweep.tracking import RunRecord, Tracker

MODEL = "recsweep"
"""Name of the registered model unless another is asked for."""

ALIAS = "champion"

PREVIOUS_TAG = "previous_champion"
"""On a version: the version that was champion when it was registered to become one; empty for the first."""

RUNS_TAG = "runs"
"""On a version: ids of the runs that it was judged by, with commas between; they differ in their seed alone."""

SINCE_TAG = "champion_since"
"""On a version: when the alias last moved to it, in milliseconds since 1970."""

DESCRIPTION = (
    f"The version with the alias `{ALIAS}` is the one that is served. `recsweep promote` registers a version and moves "
    "the alias where its rule holds, `recsweep rollback` moves it back, and `recsweep champion` tells where the "
    "champion comes from. Every decision is a run with the tag `promotion`."
)

WAIT_SECONDS = 30
"""How long to wait for another change of the champion, which takes well under a second."""

SILENCE_SECONDS = 600
"""After so long the lock of a process on another machine counts as left behind; on this one it is known at once."""


@dataclass(frozen=True)
class RegisteredVersion:
    """One version of a registered model.

    Attributes:
        version: A number as text, as MLflow has it.
        run_id: Of the run that trained it.
        model_id: Of MLflow's logged model; empty where somebody registered it by other means.
        tags: What was noted when it was registered.
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
        """When it became champion, in milliseconds since 1970."""
        return int(self.tags.get(SINCE_TAG, self.created))

    @property
    def previous(self) -> str | None:
        """The version that was champion before it."""
        return self.tags.get(PREVIOUS_TAG) or None


class Registry:
    """The registered model of one name in an open store.

    Raises:
        ConfigError: The name is not one that MLflow takes.
    """

    def __init__(self, opened: Tracker, name: str = MODEL) -> None:
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 ._-]*", name):
            raise ConfigError(f"The name of a registered model must begin with a letter or digit and go on with "
                              f"letters, digits, spaces, '.', '_' and '-', not {name!r}.")
        self._opened, self.name = opened, name

    def champion(self) -> RegisteredVersion | None:
        """The version with the alias `champion`; None where there is none."""
        return self._found(lambda client: client.get_model_version_by_alias(self.name, ALIAS))

    def version(self, number: str) -> RegisteredVersion | None:
        """The version of this number; None where it was deleted or never was."""
        return self._found(lambda client: client.get_model_version(self.name, number))

    def _found(self, ask: Any) -> RegisteredVersion | None:
        from mlflow.exceptions import MlflowException

        with self._opened.guarded():
            try:
                found = ask(self._opened.client)
            except MlflowException as error:
                # MLflow calls a missing alias an invalid parameter; the name and the alias are valid here
                if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    return None
                raise
        return RegisteredVersion(self.name, str(found.version), found.run_id or "", found.tags.get("model_id", ""),
                                 dict(found.tags), found.creation_timestamp)

    def register(self, record: RunRecord, *, tags: Mapping[str, Any], description: str) -> RegisteredVersion:
        """Make a version of the logged model that a run has; the champion stays who it is."""
        tags = {"model_id": record.model_id, **tags}
        with self._opened.guarded():
            self._create(self.name, description=DESCRIPTION)
            logged = self._opened.client.get_logged_model(record.model_id)
            # not models:/<id>: a database opened without a server would look that up in MLflow's global store
            made = self._opened.client.create_model_version(
                self.name, logged.artifact_location, run_id=record.id, model_id=record.model_id,
                tags={name: mask(str(value)) for name, value in tags.items()}, description=mask(description),
                await_creation_for=0,  # databases and MLflow servers have it ready at once
            )
        return self.version(made.version)

    def _create(self, name: str, **settings: Any) -> bool:
        """Whether this call made the registered model: of several at once one does."""
        from mlflow.exceptions import MlflowException

        try:
            self._opened.client.create_registered_model(name, **settings)
        except MlflowException as error:
            # it exists, or existed a moment ago: MLflow looks at what it collided with
            if error.error_code in ("RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"):
                return False
            raise
        return True

    def _delete(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        with self._opened.guarded():
            try:
                self._opened.client.delete_registered_model(name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise

    @contextmanager
    def only_one(self, *, wait: float = WAIT_SECONDS) -> Iterator["Lock"]:
        """Hold the lock for a change of the champion: of all processes and machines that use the store, one at a time.

        MLflow's aliases have no compare-and-set, but of several that create a registered model of one name, one does.
        So a lock is a registered model `<name>.lock.<n>`. A left one is taken over by making the next number, which
        one taker can, and never by deleting it first: somebody else may have taken it over since. Each taker then
        looks again, and gives way where another living lock stands: of two, the later one is sure to see the other.

        Raises:
            RegistryError: Another process held it all the time.
        """
        deadline = time.monotonic() + wait
        while (lock := self._take()) is None:
            if time.monotonic() > deadline:
                held = next(iter(self._held()), None)
                raise RegistryError(f"Another process is changing the champion of {self.name!r}"
                                    f"{f', {held.words}' if held else ''}. Try again when it has ended.")
            time.sleep(random.uniform(0.02, 0.2))  # two that gave way to each other shall not meet again
        try:
            yield lock
        finally:
            self._delete(lock.model)

    def _take(self) -> "Lock | None":
        held = self._held()
        if any(each.living for each in held):
            return None
        number = max((each.number for each in held), default=0) + 1
        mine = Lock(self, number, Worker.here(), time.time(), uuid4().hex)
        with self._opened.guarded():
            made = self._create(mine.model, tags=mine.stored(), description=(
                f"Held for the moment in which the champion of {self.name} changes. Left behind by a process that "
                "died, it is taken over by the next one."))
        if not made:
            return None
        others = [each for each in self._held() if each.token != mine.token]
        if any(each.living for each in others):
            self._delete(mine.model)
            return None
        for each in others:
            self._delete(each.model)
        return mine

    def _held(self) -> list["Lock"]:
        prefix = f"{self.name}.lock."
        with self._opened.guarded():
            found = self._opened.client.search_registered_models(f"name LIKE '{prefix}%'", max_results=1000)
        return [Lock.of(self, int(number), each) for each in found
                if (number := each.name.removeprefix(prefix)).isdigit()]

    def _move(self, version: RegisteredVersion) -> RegisteredVersion:
        now = str(int(time.time() * 1000))
        with self._opened.guarded():
            self._opened.client.set_registered_model_alias(self.name, ALIAS, version.version)
            self._opened.client.set_model_version_tag(self.name, version.version, SINCE_TAG, now)
        return self.version(version.version)


@dataclass(frozen=True)
class Lock:
    """Of a registry: a process that changes the champion.

    Attributes:
        number: In its name.
        worker: The process; None where its tags don't say.
        started: Seconds since 1970.
        token: Its own, as numbers are used again.
    """

    registry: Registry
    number: int
    worker: Worker | None
    started: float
    token: str

    @property
    def model(self) -> str:
        """Name of the registered model that stands for it."""
        return f"{self.registry.name}.lock.{self.number}"

    @property
    def words(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.started))
        return f"since {since}" if self.worker is None else (
            f"process {self.worker.pid} on {self.worker.host} since {since}")

    def stored(self) -> dict[str, str]:
        return {**{name: str(value) for name, value in self.worker.stored().items()}, "token": self.token}

    @classmethod
    def of(cls, registry: Registry, number: int, found: Any) -> "Lock":
        tags = found.tags
        try:
            worker = Worker(tags["host"], tags["space"], int(tags["pid"]), tags["started"])
        except (KeyError, ValueError):  # made by hand
            worker = None
        return cls(registry, number, worker, found.creation_timestamp / 1000, tags.get("token", ""))

    @property
    def living(self) -> bool:
        alive = None if self.worker is None else self.worker.alive
        return time.time() - self.started < SILENCE_SECONDS if alive is None else alive

    def check(self, expected: RegisteredVersion | None) -> None:
        """Make sure that this process still holds the lock, and that the champion is still the expected one.

        Raises:
            RegistryError: Something else came first.
        """
        held = self.registry._held()
        others = [each for each in held if each.token != self.token and each.living]
        if others or all(each.token != self.token for each in held):
            raise RegistryError(f"This process waited so long that its lock on {self.registry.name!r} was taken over. "
                                "Nothing was changed: run it again.")
        now = self.registry.champion()
        if (now and now.version) != (expected and expected.version):
            told = "there is none any more" if now is None else f"it is version {now.version} (run {now.run_id})"
            before = "there was none" if expected is None else f"it was version {expected.version}"
            raise RegistryError(f"The champion of {self.registry.name!r} changed meanwhile: {before}, and {told}. "
                                "Nothing was changed: run it again.")

    def move_champion(self, version: RegisteredVersion, expected: RegisteredVersion | None) -> RegisteredVersion:
        """Give a version the alias; it is the champion from then on.

        Raises:
            RegistryError: As `check` does.
        """
        self.check(expected)
        return self.registry._move(version)
