"""From a config to objects, and to the data they are trained on."""

import logging
from dataclasses import dataclass

from omegaconf import DictConfig, OmegaConf

from recsweep.checks import check_integer
from recsweep.config import build, data_settings
from recsweep.data.interactions import Interactions, Split
from recsweep.errors import ConfigError
from recsweep.evaluation import EvaluationProtocol
from recsweep.models.base import Recommender
from recsweep.tracking import TrackingOptions

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """One config made into objects, before any data is read: an impossible setting ends here."""

    cfg: DictConfig
    model: Recommender
    evaluation: EvaluationProtocol
    tracking: TrackingOptions
    seed: int


def plan(cfg: DictConfig) -> Plan:
    """Raises ConfigError for a setting that is impossible, unknown or missing."""
    from omegaconf.errors import OmegaConfBaseException

    try:
        OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"The setting {error.full_key} can't be used: {str(error).splitlines()[0]}.") from error
    check_integer("seed", cfg.seed, minimum=0)
    for node in ("data", "split"):
        build(cfg, node)
    return Plan(cfg, build(cfg, "model"), build(cfg, "evaluation"), build(cfg, "tracking"), cfg.seed)


@dataclass(frozen=True)
class Data:
    """What `prepare` reads."""

    interactions: Interactions
    split: Split

    @property
    def digests(self) -> dict[str, str]:
        return {"data_digest": self.interactions.digest, "split_digest": self.split.digest}


_prepared: dict[str, Data] = {}


def prepare(cfg: DictConfig) -> Data:
    """Read the data and split it: once a process for the same settings, the latest kept."""
    key = data_settings(cfg)
    if key not in _prepared:
        interactions = build(cfg, "data").load()
        split = build(cfg, "split").split(interactions)
        log.info(
            "%s: %s users x %s items, %s positives (density %.2f %%), split %s, digest %s",
            interactions.name, f"{interactions.num_users:,}", f"{interactions.num_items:,}", f"{len(interactions):,}",
            100 * interactions.density, split.kind, interactions.digest,
        )
        _prepared.clear()
        _prepared[key] = Data(interactions, split)
    return _prepared[key]
