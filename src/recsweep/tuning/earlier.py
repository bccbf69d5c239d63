"""Settings that are younger than a stored study, and what the study was begun with: it goes on with
that."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from recsweep.config import override
from recsweep.evaluation import CANDIDATES
from recsweep.tuning.compose import Composer
from recsweep.tuning.definition import name_of
from recsweep.tuning.space import Dimension
from recsweep.tuning.storage import Storage
from recsweep.tuning.study import Definition, Study

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

CANDIDATES_SETTING, VALIDATION_USERS = "evaluation.candidates", "evaluation.validation_users"

GENERATIONS: Sequence[Mapping[str, Any]] = (
    {
        CANDIDATES_SETTING: "not_liked",
        "model.similarity": "cosine",
        "model.weighting": "none",
        "model.shrink": 0.0,
        "model.normalize": True,
    },
    {VALIDATION_USERS: None},
)
"""What was meant before there were such settings, of those that came first first. Every study that
was begun since has the first of each among its fixed ones, at whatever value."""

LATER: Mapping[str, Any] = {
    name: value for generation in GENERATIONS for name, value in generation.items()
}


def later_than(notes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that are younger than a stored study, and what was meant before them."""
    known = {*notes["fixed"], *notes["space"]} if "fixed" in notes else set(LATER)
    later: dict[str, Any] = {}
    for generation in GENERATIONS:
        if next(iter(generation)) not in known:
            later |= generation
    return later


def stored_earlier(
    storage: Storage,
    definition: Definition,
    fixed: Sequence["Override"],
    dimensions: Sequence[Dimension],
    *,
    is_named: bool,
) -> tuple[Definition, Mapping[str, Any]] | None:
    """The definition as an earlier version stored it, where one did, and what was meant by the
    settings that are younger.

    Args:
        fixed: Overrides of the command that are the same for all trials.
        is_named: Whether the command names the study; else the name follows from the settings.

    Returns:
        None where none did, or where one of the younger settings is given by the command.
    """
    given = {override.key_or_group for override in fixed}
    given |= {dimension.name for dimension in dimensions}
    later: dict[str, Any] = {}
    for generation in reversed(GENERATIONS):
        later = {**generation, **later}
        if given & set(later):
            return None
        settings = {name: value for name, value in definition.fixed.items() if name not in later}
        before = replace(definition, fixed=settings)
        if not is_named:
            before = replace(before, name=name_of(before))
        if storage.has(before.name) and later_than(Study(storage, before.name).notes()) == later:
            return before, later
    return None


def earlier_in_words(later: Mapping[str, Any]) -> str:
    """What an earlier study is measured by, otherwise than a new one."""
    words = []
    if CANDIDATES_SETTING in later:
        words.append(f"lists are chosen from {CANDIDATES[later[CANDIDATES_SETTING]]}")
    if VALIDATION_USERS in later:
        words.append("each epoch is evaluated on all users of validation")
    return "; ".join(words)


def later_overrides(composer: Composer, later: Mapping[str, Any]) -> list["Override"]:
    """Overrides by which a trial is composed as an earlier version did.

    Args:
        later: Settings that are younger than the study, and what was meant before them.
    """
    base = composer.compose([])
    varies_model = any(group.name == "model" for group in composer.groups)
    names = [name for name in later if varies_model or OmegaConf.select(base, name) is not None]
    return composer.parse([override(name, later[name]) for name in names])


def as_begun(cfg: DictConfig, notes: Mapping[str, Any], given: Sequence[str]) -> None:
    """Let the model of a refit be what it was in an earlier study, but for settings that are given.

    What its last evaluation is measured by is the present protocol's.
    """
    named = {line.partition("=")[0].lstrip("+") for line in given}
    for name, value in later_than(notes).items():
        is_meant = name != CANDIDATES_SETTING and name not in named
        if is_meant and OmegaConf.select(cfg, name) is not None:
            OmegaConf.update(cfg, name, value)
