"""What a store may name to be called, which is little: a store is written by whoever can reach it.

A command's own settings may name any class: they are its user's. What was read from a store names
recsweep's own, what the user names again by the overrides of the command that reads it, and what
the environment variable RECSWEEP_ALLOW_TARGETS lists.
"""

import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from recsweep.config import conf_dir, plain
from recsweep.errors import ConfigError, UntrustedError

ALLOW_VARIABLE = "RECSWEEP_ALLOW_TARGETS"
"""Environment variable with classes and functions that a store may name too, as
`my_models.Mine,my_data.Source`."""

PRUNERS = tuple(
    f"optuna.pruners.{kind}Pruner"
    for kind in ("Hyperband", "Median", "Percentile", "SuccessiveHalving", "Threshold", "Wilcoxon")
)

BESIDE_CONF = {
    "model": ("recsweep.models.neural.NeuralModel",),
    "pruner": PRUNERS,
    "wrapped_pruner": PRUNERS,
}
"""Targets of a group that no file of conf/ names."""

OTHER_WAYS = ("_args_", "_partial_")
"""Keys by which a node is called otherwise than by its settings; recsweep's own have none."""


@cache
def own_targets() -> Mapping[str, frozenset[str]]:
    """What the files of each config group name as `_target_`, by the group's name."""
    targets = {group: set(beside) for group, beside in BESIDE_CONF.items()}
    for path in conf_dir().rglob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        named = re.findall(r"^_target_:\s*([\w.]+)", text, re.MULTILINE)
        targets.setdefault(path.parent.name, set()).update(named)
    return {group: frozenset(named) for group, named in targets.items()}


def is_allowed(target: str) -> bool:
    """Whether the user's environment allows a store to name a class or function."""
    return target in [each.strip() for each in os.environ.get(ALLOW_VARIABLE, "").split(",")]


def how_to_allow(target: object) -> str:
    """The remedy where a store names what is not recsweep's own."""
    is_name = isinstance(target, str) and re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", target)
    if is_name and str(target).partition(".")[0] not in sys.stdlib_module_names:
        return f"If it is your own code and you trust it, set {ALLOW_VARIABLE}={target}"
    return "Who wrote this store? Train it again"


def check_stored(cfg: DictConfig, what: str, said: Collection[str] = ()) -> None:
    """Make sure that a config out of a store makes nothing but what it may.

    Args:
        cfg: The config.
        what: The config in words, as `The config of the run 12ab`.
        said: Texts that the user has given with the command that reads it: those may be targets,
            and may look up the environment.

    Raises:
        UntrustedError: It names another target, or looks up what lies outside of it.
        ConfigError: It can't be resolved.
    """
    for place, text in _leaves(plain(cfg, resolve=False)):
        if isinstance(text, str) and looks_up(text) and text not in said:
            raise UntrustedError(
                f"{what} looks up {text!r} at {place}, which is outside of it: nothing that a "
                f"store names is looked up. Give the command the value itself, as {place}=VALUE, "
                "or train it again."
            )
    try:
        resolved = plain(cfg)
    except (OmegaConfBaseException, RecursionError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ConfigError(f"{what} can't be resolved: {reason}. Train it again.") from error
    for place, value in _leaves(resolved):
        node, _, key = place.rpartition(".")
        if key in OTHER_WAYS:
            raise UntrustedError(
                f"{what} has {key} at {node}, by which a store could call what it likes: nothing "
                "that a store names is run. Take it out, or train it again."
            )
        if key == "_target_" and not _may_stand(node, value, said):
            raise UntrustedError(
                f"{what} names {value!r} as {place}, which is not recsweep's own there: nothing "
                f"that a store names is run. {how_to_allow(value)}."
            )


def all_own(cfg: DictConfig) -> bool:
    """Whether a config names nothing but recsweep's own to be called."""
    return all(
        str(value).startswith("recsweep.")
        for place, value in _leaves(plain(cfg, resolve=False))
        if place.rpartition(".")[2] == "_target_"
    )


def _may_stand(node: str, target: object, said: Collection[str]) -> bool:
    group = node.rpartition(".")[2]
    return isinstance(target, str) and (
        target in own_targets().get(group, ()) or target in said or is_allowed(target)
    )


def looks_up(text: str) -> bool:
    """Whether a text calls a resolver, as `${oc.env:HOME}` does and `${seed}` does not."""
    return ":" in text.partition("${")[2]


def texts_of(content: Any) -> Iterator[str]:
    """Every text among plain values."""
    return (text for _, text in _leaves(content) if isinstance(text, str))


def _leaves(content: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Each value that holds no others, with its place as `model.loss._target_`, and each under a
    name of Hydra's own, whatever it holds."""
    inner: Iterable[tuple[object, Any]] = ()
    if isinstance(content, Mapping):
        inner = content.items()
    elif isinstance(content, list | tuple):
        inner = enumerate(content)
    if inner == () or place.rpartition(".")[2] in ("_target_", *OTHER_WAYS):
        yield place, content
    for key, part in inner:
        yield from _leaves(part, f"{place}.{key}" if place else str(key))
