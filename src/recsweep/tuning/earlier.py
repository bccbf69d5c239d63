"""Settings that are younger than a stored study, and what the study was begun with: it goes on with
that."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from recsweep.tuning.compose import Composer
from recsweep.tuning.definition import name_of
from recsweep.tuning.space import Dimension
from recsweep.tuning.storage import Storage
from recsweep.tuning.study import Definition, Study

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

MARK = "evaluation.candidates"
"""Every study that was begun since has this setting among its fixed ones."""

LATER = {
    MARK: "not_liked",
    "model.similarity": "cosine",
    "model.weighting": "none",
    "model.shrink": 0.0,
    "model.normalize": True,
}
"""What was meant before there was such a setting."""


def is_earlier(notes: Mapping[str, Any]) -> bool:
    """Whether a stored study is older than LATER."""
    return "fixed" in notes and MARK not in notes["fixed"] and MARK not in notes["space"]


def stored_earlier(
    storage: Storage,
    definition: Definition,
    fixed: Sequence["Override"],
    dimensions: Sequence[Dimension],
    *,
    is_named: bool,
) -> Definition | None:
    """The definition as an earlier version stored it, where it did.

    Args:
        fixed: Overrides of the command that are the same for all trials.
        is_named: Whether the command names the study; else the name follows from the settings.

    Returns:
        None where it did not, or where one of LATER is given by the command.
    """
    given = {override.key_or_group for override in fixed}
    given |= {dimension.name for dimension in dimensions}
    if given & set(LATER):
        return None
    settings = {name: value for name, value in definition.fixed.items() if name not in LATER}
    before = replace(definition, fixed=settings)
    if not is_named:
        before = replace(before, name=name_of(before))
    is_stored = storage.has(before.name) and is_earlier(Study(storage, before.name).notes())
    return before if is_stored else None


def later_overrides(composer: Composer) -> list["Override"]:
    """Overrides by which a trial is composed as an earlier version did."""
    base = composer.compose([])
    varies_model = any(group.name == "model" for group in composer.groups)
    names = [name for name in LATER if varies_model or OmegaConf.select(base, name) is not None]
    return composer.parse([f"{name}={LATER[name]}" for name in names])


def as_begun(cfg: DictConfig, notes: Mapping[str, Any], given: Sequence[str]) -> None:
    """Let the model of a refit be what it was in an earlier study, but for settings that are given.

    What it is measured by is the present protocol's.
    """
    if not is_earlier(notes):
        return
    named = {line.partition("=")[0].lstrip("+") for line in given}
    for name, value in LATER.items():
        is_meant = name.startswith("model.") and name not in named
        if is_meant and OmegaConf.select(cfg, name) is not None:
            OmegaConf.update(cfg, name, value)
