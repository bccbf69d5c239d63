"""The settings of a study: the node `hydra.sweeper`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from recsweep.checks import (
    as_said,
    check_choice,
    check_flag,
    check_integer,
    check_number,
    check_text,
)
from recsweep.errors import ConfigError
from recsweep.mistakes import meant
from recsweep.tuning.repeats import RepeatsAsked

MAX_JOBS = 1024
"""More processes than that only take each other's memory."""

ENGINES = ("local", "ray")
"""Who places the workers of a study: this machine, or a Ray cluster."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a worker takes of a node of a Ray cluster, by the names of `ray.remote`: the node
    `hydra.sweeper.resources`.

    Args:
        num_cpus: Number of CPUs, which is that of its threads, too.
        num_gpus: Number of GPUs, or the part of one.
        memory: Bytes of memory.
        resources: Amounts of resources that the cluster has by names of its own.

    Raises:
        ConfigError: A setting is impossible.
    """

    num_cpus: float = 1
    num_gpus: float = 0
    memory: float = 0
    resources: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("num_cpus", "num_gpus"):
            value = getattr(self, name)
            check_number(f"hydra.sweeper.resources.{name}", value, minimum=0)
            if value > 1 and value != int(value):
                raise ConfigError(
                    f"hydra.sweeper.resources.{name} must be a whole number where it is above 1, "
                    f"not {value}."
                )
        check_number("hydra.sweeper.resources.memory", self.memory, minimum=0)
        written = "hydra.sweeper.resources.resources.NAME="
        _check_mapping("hydra.sweeper.resources.resources", self.resources, written)
        for name, amount in self.resources.items():
            check_number(f"hydra.sweeper.resources.resources.{name}", amount, minimum=0)
            if name in ("CPU", "GPU", "memory"):
                given = {"CPU": "num_cpus", "GPU": "num_gpus"}.get(name, name)
                raise ConfigError(
                    f"hydra.sweeper.resources.resources must not name {name}: set "
                    f"hydra.sweeper.resources.{given}."
                )

    @classmethod
    def of(cls, settings: "Mapping[str, Any] | Resources | None") -> "Resources":
        """What the node asks for as Hydra gives it. ConfigError for a key that it lacks."""
        if isinstance(settings, Resources):
            return settings
        if settings is not None:
            _check_mapping("hydra.sweeper.resources", settings, "hydra.sweeper.resources.num_cpus=")
        known = [field.name for field in fields(cls)]
        for name in sorted(map(str, set(settings or {}) - set(known))):
            raise ConfigError(
                f"hydra.sweeper.resources has no setting {name}. {meant(name, known)} What the "
                "cluster has by a name of its own is hydra.sweeper.resources.resources.NAME=1."
            )
        return cls(**(settings or {}))

    @property
    def by_name(self) -> dict[str, float]:
        """What is taken, by the names of a node's resources; without what nothing is taken of."""
        asked = {"CPU": self.num_cpus, "GPU": self.num_gpus, "memory": self.memory}
        return {name: amount for name, amount in {**asked, **self.resources}.items() if amount}

    @property
    def threads(self) -> int:
        """The number of threads of a worker."""
        return max(1, int(self.num_cpus))


@dataclass(frozen=True, kw_only=True)
class SecondLook:
    """How a study's best are looked at again before one is named: the node `hydra.sweeper.confirm`.

    Args:
        top: Number of the best that run again; 0 for no second look.
        seeds: Number of fresh seeds that each of them runs with.
        each: Name of a varied setting, as `loss`: the best `top` for each of its values. None for
            those of all.
        overrides: Settings that differ in the second look, as `trainer.max_epochs=60`.

    Raises:
        ConfigError: A setting is impossible.
    """

    top: int = 0
    seeds: int = 5
    each: str | None = None
    overrides: Sequence[str] = ()

    def __post_init__(self) -> None:
        check_integer("hydra.sweeper.confirm.top", self.top, minimum=0)
        check_integer("hydra.sweeper.confirm.seeds", self.seeds, minimum=2)
        check_text("hydra.sweeper.confirm.each", self.each, optional=True)
        lines = self.overrides
        if (
            isinstance(lines, str)
            or not isinstance(lines, Sequence)
            or any("=" not in str(line) for line in lines)
        ):
            raise ConfigError(
                f"hydra.sweeper.confirm.overrides must be a list of settings as "
                f"[trainer.max_epochs=60], not {self.overrides!r}."
            )
        if any(line.lstrip("+").partition("=")[0] == "seed" for line in lines):
            raise ConfigError(
                "hydra.sweeper.confirm.overrides must not set the seed: a second "
                "look has fresh ones, as many as hydra.sweeper.confirm.seeds."
            )
        object.__setattr__(self, "overrides", tuple(lines))

    @classmethod
    def of(cls, settings: "Mapping[str, Any] | SecondLook | None") -> "SecondLook":
        """The second look of the node as Hydra gives it. ConfigError for a key that it lacks."""
        if isinstance(settings, SecondLook):
            return settings
        if settings is not None:
            _check_mapping("hydra.sweeper.confirm", settings, "hydra.sweeper.confirm.top=")
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(settings or {}) - set(known)):
            raise ConfigError(
                f"hydra.sweeper.confirm has {', '.join(known)}, not {', '.join(unknown)}."
            )
        return cls(**(settings or {}))


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """What `hydra.sweeper` says; conf/hydra/sweeper/study.yaml explains each.

    Raises:
        ConfigError: A setting is impossible.
    """

    sampler: Mapping[str, Any]
    pruner: Mapping[str, Any]
    objectives: Sequence[str] | None = None
    direction: Sequence[str] | None = None
    storage: str | None = None
    study_name: str | None = None
    n_trials: int | None = None
    n_jobs: int | None = None
    engine: str = "local"
    resources: Resources = field(default_factory=Resources)
    ray_address: str | None = None
    params: Mapping[str, Any] | None = None
    each: str | None = None
    params_of: Mapping[str, Mapping[str, Any]] | None = None
    timeout: float | None = None
    max_epochs: int | None = None
    max_failures: int | None = None
    retries: int = 2
    silence: float = 60.0
    patience: float = 600.0
    retry_failed: bool = False
    allow_changes: bool = False
    confirm: SecondLook = field(default_factory=SecondLook)
    repeats: RepeatsAsked | None = None

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "StudyOptions":
        """The options of the node as Hydra gives it. ConfigError for a key that it lacks."""
        known = [field.name for field in fields(cls)]
        for name in sorted(set(settings) - set(known)):
            raise ConfigError(f"hydra.sweeper has no setting {name}. {meant(name, known)}")
        return cls(**settings)

    def __post_init__(self) -> None:
        for name in ("sampler", "pruner"):
            given = getattr(self, name)
            _check_mapping(f"hydra.sweeper.{name}", given, f"hydra/sweeper/{name}=")
            check_text(f"hydra.sweeper.{name}.kind", given.get("kind"), optional=True)
        check_integer(
            "hydra.sweeper.sampler.seed", self.sampler.get("seed"), minimum=0, optional=True
        )
        if self.params is not None:
            _check_mapping("hydra.sweeper.params", self.params, "hydra.sweeper.params.model=")
        check_text("hydra.sweeper.each", self.each, optional=True)
        if self.params_of is not None:
            written = "hydra.sweeper.params_of.ease.model.l2="
            _check_mapping("hydra.sweeper.params_of", self.params_of, written)
            for option, params in self.params_of.items():
                _check_mapping(f"hydra.sweeper.params_of.{option}", params, written)
            if self.each is None:
                raise ConfigError(
                    "hydra.sweeper.params_of has ranges for each option of a group: name it, "
                    "as hydra.sweeper.each=model."
                )
        for name in ("n_trials", "max_epochs", "max_failures"):
            check_integer(f"hydra.sweeper.{name}", getattr(self, name), minimum=1, optional=True)
        check_integer(
            "hydra.sweeper.n_jobs", self.n_jobs, minimum=1, maximum=MAX_JOBS, optional=True
        )
        check_choice("hydra.sweeper.engine", self.engine, ENGINES)
        object.__setattr__(self, "resources", Resources.of(self.resources))
        check_text("hydra.sweeper.ray_address", self.ray_address, optional=True)
        given = {"resources": self.resources != Resources(), "ray_address": bool(self.ray_address)}
        for name in (name for name, is_given in given.items() if is_given):
            if self.engine != "ray":
                raise ConfigError(
                    f"hydra.sweeper.{name} is for workers on a Ray cluster. Set "
                    "hydra.sweeper.engine=ray, or leave it out."
                )
        if (self.ray_address or "").startswith("ray://"):
            raise ConfigError(
                "hydra.sweeper.ray_address must be that of the cluster itself, as 10.0.0.1:6379, "
                f"not {self.ray_address!r}, which is Ray's client. Start the study on a node of "
                "the cluster, or by `ray job submit`."
            )
        check_integer("hydra.sweeper.retries", self.retries, minimum=0)
        check_number("hydra.sweeper.silence", self.silence, above=0)
        check_number("hydra.sweeper.patience", self.patience, above=0)
        if self.timeout is not None:
            check_number("hydra.sweeper.timeout", self.timeout, above=0)
        object.__setattr__(self, "confirm", SecondLook.of(self.confirm))
        object.__setattr__(self, "repeats", RepeatsAsked.read(self.repeats))
        for name in ("retry_failed", "allow_changes"):
            check_flag(f"hydra.sweeper.{name}", getattr(self, name))
        check_text("hydra.sweeper.storage", self.storage, optional=True)
        if self.study_name is not None:  # YAML reads 2026 as a number
            object.__setattr__(self, "study_name", str(self.study_name))
            check_text("hydra.sweeper.study_name", self.study_name)
            if len(self.study_name) > 200:
                raise ConfigError("hydra.sweeper.study_name must have at most 200 characters.")
        for name in ("objectives", "direction"):
            given = getattr(self, name)
            if given is not None and not isinstance(given, Sequence):
                raise ConfigError(
                    f"hydra.sweeper.{name} must be a text or a list of texts, not {as_said(given)}."
                )
            listed = None if given is None else (given,) if isinstance(given, str) else tuple(given)
            object.__setattr__(self, name, listed or None)
        if self.objectives and len(set(self.objectives)) < len(self.objectives):
            raise ConfigError(
                f"hydra.sweeper.objectives must be different metrics, not {list(self.objectives)}."
            )
        for name in self.objectives or ():
            check_text("hydra.sweeper.objectives", name)
            if name.startswith("test/"):
                raise ConfigError(
                    f"hydra.sweeper.objectives must not name a metric of the test part ({name}): "
                    "what chooses there can't be measured there."
                )
        for name in self.direction or ():
            if name not in ("maximize", "minimize"):
                raise ConfigError(
                    f"hydra.sweeper.direction must be maximize or minimize, not {name!r}."
                )
        if self.confirm.top and len(self.objectives or ()) > 1:
            raise ConfigError(
                "hydra.sweeper.confirm looks again at the best by one objective: there are several."
            )
        if self.direction and len(self.direction) != len(self.objectives or (None,)):
            raise ConfigError(
                "hydra.sweeper.direction must give one direction for each of "
                "hydra.sweeper.objectives."
            )


def _check_mapping(name: str, value: object, written: str) -> None:
    if not isinstance(value, Mapping):
        raise ConfigError(
            f"{name} must be a mapping of settings, not {as_said(value)}. Set what is in it, as "
            f"{written}..."
        )
