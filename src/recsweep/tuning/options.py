"""The settings of a study: the node `hydra.sweeper`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from recsweep.checks import check_flag, check_integer, check_number, check_text
from recsweep.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """What `hydra.sweeper` says; conf/hydra/sweeper/study.yaml explains each.

    Raises:
        ConfigError: A setting is impossible.
    """

    sampler: Mapping[str, Any]
    pruner: Mapping[str, Any]
    objectives: str | Sequence[str] | None = None
    direction: str | Sequence[str] | None = None
    storage: str | None = None
    study_name: str | None = None
    n_trials: int | None = None
    n_jobs: int = 1
    params: Mapping[str, Any] | None = None
    timeout: float | None = None
    max_epochs: int | None = None
    max_failures: int | None = None
    retries: int = 2
    retry_failed: bool = False
    allow_changes: bool = False
    confirm: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("n_trials", "max_epochs", "max_failures"):
            check_integer(f"hydra.sweeper.{name}", getattr(self, name), minimum=1, optional=True)
        check_integer("hydra.sweeper.n_jobs", self.n_jobs, minimum=1)
        check_integer("hydra.sweeper.retries", self.retries, minimum=0)
        if self.timeout is not None:
            check_number("hydra.sweeper.timeout", self.timeout, above=0)
        for name, minimum in (("top", 0), ("seeds", 2)):
            if name in self.confirm:
                check_integer(f"hydra.sweeper.confirm.{name}", self.confirm[name], minimum=minimum)
        for name in ("retry_failed", "allow_changes"):
            check_flag(f"hydra.sweeper.{name}", getattr(self, name))
        check_text("hydra.sweeper.storage", self.storage, optional=True)
        if self.study_name is not None:
            object.__setattr__(self, "study_name", str(self.study_name))  # YAML reads 2026 as a number
            check_text("hydra.sweeper.study_name", self.study_name)
            if len(self.study_name) > 200:
                raise ConfigError("hydra.sweeper.study_name must have at most 200 characters.")
        for name in ("objectives", "direction"):
            given = getattr(self, name)
            listed = None if given is None else (given,) if isinstance(given, str) else tuple(given)
            object.__setattr__(self, name, listed or None)
        if self.objectives and len(set(self.objectives)) < len(self.objectives):
            raise ConfigError(f"hydra.sweeper.objectives must be different metrics, not {list(self.objectives)}.")
        for name in self.objectives or ():
            check_text("hydra.sweeper.objectives", name)
            if name.startswith("test/"):
                raise ConfigError(f"hydra.sweeper.objectives must not name a metric of the test part ({name}): what "
                                  f"chooses there can't be measured there.")
        for each in self.direction or ():
            if each not in ("maximize", "minimize"):
                raise ConfigError(f"hydra.sweeper.direction must be maximize or minimize, not {each!r}.")
        if self.confirm.get("top") and len(self.objectives or ()) > 1:
            raise ConfigError("hydra.sweeper.confirm looks again at the best by one objective: there are several.")
        if self.direction and len(self.direction) != len(self.objectives or (None,)):
            raise ConfigError("hydra.sweeper.direction must give one direction for each of hydra.sweeper.objectives.")
