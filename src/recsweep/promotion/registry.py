"""Versions of the registered model, which of them is the champion, and the lock under which that
changes."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from recsweep.checks import as_said
from recsweep.databases import sqlite_path
from recsweep.errors import ConfigError, RegistryError
from recsweep.tracking import RegisteredModel, RegisteredVersion, RunRecord, Tracker

MODEL = "recsweep"
"""Name of the registered model unless another is asked for."""

ALIAS = "champion"

RUNS_TAG = "runs"
"""Tag of a version: ids of the runs that it was judged by, with commas between; they differ in
their seed alone."""

DESCRIPTION = (
    f"The version with the alias `{ALIAS}` is the one that is served. `recsweep promote` registers "
    "a version and moves the alias where its rule holds, `recsweep rollback` moves it back, and "
    "`recsweep champion` tells where the champion comes from. Every decision is a run with the tag "
    "`promotion`."
)

WAIT_SECONDS = 30
"""Seconds to wait for another change of the champion, which takes well under a second."""


class Registry:
    """The registered model of one name in an open store.

    Raises:
        ConfigError: The name is not one that MLflow takes.
    """

    def __init__(self, store: Tracker, name: str = MODEL) -> None:
        if not isinstance(name, str) or not re.fullmatch(
            r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,249}", name
        ):
            raise ConfigError(
                f"The name of a registered model must begin with a letter or digit and go on with "
                f"letters, digits, spaces, '.', '_' and '-', 250 in all, not {as_said(name)}."
            )
        self.name = name
        self.store = store
        self._model = RegisteredModel(store, name)
        self._database = sqlite_path(store.uri)

    def champion(self) -> RegisteredVersion | None:
        """The version with the alias `champion`; None where there is none."""
        return self._model.with_alias(ALIAS)

    def version(self, number: str) -> RegisteredVersion | None:
        """The version of this number; None where it was deleted or never was."""
        return self._model.version(number)

    def register(
        self, record: RunRecord, *, tags: Mapping[str, Any], description: str
    ) -> RegisteredVersion:
        """Make a version of the logged model that a run has; the champion stays who it is."""
        number = self._model.register(
            record.id,
            logged_model_of(record),
            tags=tags,
            description=description,
            about=DESCRIPTION,
        )
        return self._existing(number)

    @contextmanager
    def only_one(self, *, wait: float = WAIT_SECONDS) -> Iterator["Change"]:
        """Make this process the only one that changes the champion.

        MLflow's aliases have no compare-and-set. Where the store is a sqlite file, a lock file
        beside it keeps all other processes out, and the system takes it back from one that dies. A
        server or another database has no such file: there, the champion is looked at right before
        and right after it changes.

        Raises:
            RegistryError: Another process held the lock all the time.
        """
        with self._locked(wait):
            self._model.delete_earlier_locks()
            yield Change(self)

    @contextmanager
    def _locked(self, wait: float) -> Iterator[None]:
        from filelock import FileLock, Timeout

        if self._database is None:
            yield
            return
        lock = FileLock(f"{self._database}.champion.lock", timeout=wait)
        try:
            lock.acquire()
        except Timeout:
            raise RegistryError(
                f"Another process is changing the champion of {self.name!r}, and holds "
                f"{lock.lock_file} (`fuser` names it). Try again when it has ended."
            ) from None
        except OSError as error:
            raise RegistryError(
                f"The lock file {lock.lock_file} can't be written: {error}. Make "
                "its folder writable, then run it again."
            ) from error
        try:
            yield
        finally:
            lock.release()

    def _give_alias(self, version: RegisteredVersion) -> RegisteredVersion:
        self._model.give_alias(ALIAS, version.version)
        return self._existing(version.version)

    def _existing(self, number: str) -> RegisteredVersion:
        if (version := self.version(number)) is None:
            raise RegistryError(
                f"Version {number} of {self.name!r} was deleted meanwhile. Run it again."
            )
        return version


@dataclass(frozen=True)
class Change:
    """A change of the champion, during which no other one begins.

    Attributes:
        registry: The registered model whose champion changes.
    """

    registry: Registry

    def check(self, expected: RegisteredVersion | None) -> None:
        """Make sure that the champion is still the expected one.

        Raises:
            RegistryError: Something else came first.
        """
        now = self.registry.champion()
        if _number(now) != _number(expected):
            meanwhile = "there is none any more"
            if now is not None:
                meanwhile = f"it is version {now.version} (run {now.run_id})"
            before = "there was none" if expected is None else f"it was version {expected.version}"
            raise RegistryError(
                f"The champion of {self.registry.name!r} changed meanwhile: "
                f"{before}, and {meanwhile}. Nothing was changed: run it again."
            )

    def move_champion(
        self, version: RegisteredVersion, expected: RegisteredVersion | None
    ) -> RegisteredVersion:
        """Give a version the alias; it is the champion from then on.

        Raises:
            RegistryError: As `check` does; or another process, which shares a store that has no
                lock file, made its version the champion at the same moment.
        """
        self.check(expected)
        moved = self.registry._give_alias(version)
        now = self.registry.champion()
        if _number(now) != moved.version:
            raise RegistryError(
                f"Another process changed the champion of {self.registry.name!r} at the same "
                f"moment: version {moved.version} is not it. Look with: recsweep champion"
            )
        return moved


def logged_model_of(record: RunRecord) -> str:
    """Id of the logged model of a run that is to be registered.

    Raises:
        RegistryError: The run has none.
    """
    if record.model_id is None:
        raise RegistryError(
            f"The run {record.id} ({record.name}) has no logged model to register. Train it again."
        )
    return record.model_id


def _number(version: RegisteredVersion | None) -> str | None:
    return None if version is None else version.version
