"""From a config to objects, and to the data they are trained on: no config goes further."""

import logging
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Protocol

from omegaconf import DictConfig

from recsweep.checks import as_said, check_integer
from recsweep.config import build, data_settings, effective_config, flat, plain
from recsweep.data.features import FeatureTable, training_features
from recsweep.data.interactions import Interactions, Split
from recsweep.data.split import Splitter, split_by
from recsweep.errors import ConfigError
from recsweep.evaluation import EvaluationProtocol, Sample
from recsweep.masking import mask_value
from recsweep.models.base import Recommender
from recsweep.run.choices import TAKEN_IN, chosen
from recsweep.run.trial import Trial
from recsweep.tracking import TrackingOptions, identity

log = logging.getLogger(__name__)

NEEDED = ("data", "split", "model", "evaluation", "tracking", "seed")
"""Settings at the top without which nothing can be run."""

TAG_NAME = re.compile(r"[\w.\- /:]{1,250}")
"""What MLflow takes for the name of a tag."""


NO_VALIDATION = (
    "split.validation=0 can't be part of a study: its settings are chosen on validation. Leave it "
    "out, or train what is chosen already by a single run."
)


class Source(Protocol):
    """A source of interactions."""

    def load(self) -> Interactions:
        """Read them."""


@dataclass(frozen=True)
class DataPlan:
    """The data that are read, and the rule by which they are split.

    Attributes:
        settings: Settings that decide both, as text: plans with equal ones share their data.
    """

    source: Source
    splitter: Splitter
    settings: str


@dataclass(frozen=True)
class Plan:
    """One config made into objects, before any data is read: an impossible setting ends here.

    Attributes:
        settings: The whole config as plain values.
        effective: Settings that make the run what it is, see `effective_config`.
        trial: The trial of a study that the run is; None for a single run.
    """

    data_plan: DataPlan
    model: Recommender
    evaluation: EvaluationProtocol
    tracking: TrackingOptions
    seed: int
    settings: Mapping[str, Any]
    effective: Mapping[str, Any]
    trial: Trial | None = None

    @property
    def params(self) -> dict[str, Any]:
        """The effective settings as the run's params, `model.user_dim` -> 15, and what was chosen,
        as `model` -> `recipe_net`."""
        return flat(self.effective) | chosen(self.settings, self.model)

    @property
    def identity(self) -> dict[str, str]:
        """The tags by which its model and the rule of its split are known again."""
        return identity_of(self.model.kind, self.effective)

    @property
    def tags(self) -> Mapping[str, Any]:
        """The user's own tags, without secrets."""
        return mask_value("tags", self.settings.get("tags") or {})


def identity_of(kind: str, effective: Mapping[str, Any]) -> dict[str, str]:
    """The tags by which a model of this kind and these settings of a run are known again."""
    params = {name: mask_value(name, str(value)) for name, value in flat(effective).items()}
    return identity(kind, params)


def plan(cfg: DictConfig, trial: Trial | None = None) -> Plan:
    """The plan of a config; raises ConfigError for a setting that is impossible or missing."""
    from omegaconf.errors import OmegaConfBaseException

    try:
        settings = plain(cfg, complete=True)
    except OmegaConfBaseException as error:
        raise ConfigError(
            f"The setting {error.full_key} can't be used: {str(error).splitlines()[0]}."
        ) from error
    for name in NEEDED:
        if settings.get(name) is None:
            raise ConfigError(
                f"The setting {name} must be there. Leave out ~{name} and {name}=null."
            )
    check_integer("seed", settings["seed"], minimum=0)
    _check_tags(settings.get("tags"))
    for name in TAKEN_IN:  # by some models alone: what is wrong there is wrong for each
        if settings.get(name) is not None:
            build(cfg, name)
    return Plan(
        plan_data(cfg),
        build(cfg, "model"),
        build(cfg, "evaluation"),
        build(cfg, "tracking"),
        cfg.seed,
        settings,
        effective_config(settings),
        trial,
    )


def _check_tags(tags: object) -> None:
    if tags is not None and not isinstance(tags, Mapping):
        raise ConfigError(
            f"tags must hold names and values, as +tags.team=search, not {as_said(tags)}."
        )
    for name in map(str, tags or ()):
        if not TAG_NAME.fullmatch(name) or posixpath.normpath(name) != name:
            raise ConfigError(
                "The name of a tag must have at most 250 characters: letters, digits, and any of "
                f"_ - . / : and blanks within, not {as_said(name)}."
            )


def plan_data(cfg: DictConfig) -> DataPlan:
    """The part of a config that decides the data alone."""
    return DataPlan(build(cfg, "data"), build(cfg, "split"), data_settings(cfg))


@dataclass(frozen=True)
class Data:
    """Interactions and their split, as `prepare` reads them."""

    interactions: Interactions
    split: Split

    @property
    def digests(self) -> dict[str, str]:
        return {"data_digest": self.interactions.digest, "split_digest": self.split.digest}

    @property
    def split_name(self) -> str:
        """What the split is called as a data set of its own."""
        return f"{self.interactions.name} {self.split.kind}"

    @cached_property
    def features(self) -> tuple[FeatureTable | None, FeatureTable | None]:
        """Features of users and of items, as a fit gets them."""
        tables = self.interactions.user_features, self.interactions.item_features
        return training_features(tables, self.split.train)


def sample_for(plan: Plan, data: Data) -> Sample | None:
    """The users on whom the epochs of a run are evaluated; None for all of validation. A model that
    is not trained in epochs is evaluated once, on all."""
    if plan.model.max_epochs is None or not data.split.has_validation:
        return None
    return plan.evaluation.sample_of(data.split)


_prepared: dict[str, Data] = {}


def prepare(planned: DataPlan) -> Data:
    """Read the data and split it: once a process for the same settings, the latest kept."""
    if planned.settings not in _prepared:
        interactions = planned.source.load()
        split = split_by(planned.splitter, interactions)
        log.info(
            "%s: %s users x %s items, %s positives (density %.2f %%), split %s, digest %s",
            interactions.name,
            f"{interactions.num_users:,}",
            f"{interactions.num_items:,}",
            f"{len(interactions):,}",
            100 * interactions.density,
            split.kind,
            interactions.digest,
        )
        if interactions.zeros is not None:
            number = f"{len(interactions.zeros.users):,}"
            used = "" if split.kind == "random_rows" else f", not used by split={split.kind}"
            log.info("%s: %s known zeros%s", interactions.name, number, used)
        _prepared.clear()
        _prepared[planned.settings] = Data(interactions, split)
    return _prepared[planned.settings]


def features_for(model: Recommender, data: Data) -> dict[str, FeatureTable | None]:
    """What `FitOptions` tell this model of features; of one that takes none it is said that there
    are some, once a process."""
    users, items = data.features if model.takes_features else (None, None)
    if not model.takes_features:
        present = {"user": data.interactions.user_features, "item": data.interactions.item_features}
        names = [f"data.{kind}_features" for kind, table in present.items() if table is not None]
        if names:
            _say_unused(model.kind, " and ".join(names))
    return {"user_features": users, "item_features": items}


@cache
def _say_unused(kind: str, names: str) -> None:
    verb = "are" if " and " in names else "is"
    log.warning("%s takes no features: %s %s not used.", kind, names, verb)
