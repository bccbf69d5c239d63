"""What was chosen of each config group, as a run names it: `model=recipe_net`, `optimizer=adam`."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from recsweep.config import CHOSEN, conf_dir
from recsweep.models.base import Recommender

TAKEN_IN = ("examples", "loss", "optimizer", "trainer", "fold_in")
"""Nodes that the model's own may take in."""

NONE = "none"
"""Stands for what a model does not take in."""


def chosen(settings: Mapping[str, Any], model: Recommender) -> dict[str, str]:
    """The model and what it takes in, by the options that they were chosen by, or else by what they
    are; NONE for what it does not take in, so that all models stand in one plot.

    Args:
        settings: A whole config as plain values.
        model: The model that it describes.
    """
    said = settings.get(CHOSEN) or {}
    own = settings["model"]
    names = {"model": _name("model", own, said.get("model"), model.kind)}
    for group in TAKEN_IN:
        node = own.get(group)
        names[group] = _name(group, node, said.get(group)) if isinstance(node, Mapping) else NONE
    return names | ({"loss": model.loss_name} if model.loss_name else {})


def _name(group: str, node: Mapping[str, Any], said: str | None, kind: str | None = None) -> str:
    """The option that was chosen, as long as the node is still of its class; else the kind, or the
    first option of this class, or the class itself."""
    target = str(node.get("_target_", ""))
    options = _targets(group)
    if said is not None and options.get(said, target) == target:
        return said
    known = [option for option, of in options.items() if of == target]
    return kind or next(iter(known), target.rpartition(".")[2])


@cache
def _targets(group: str) -> dict[str, str]:
    """Option -> its class; those that take it from another option stand last. Read as text: a
    trial has no time for a dozen YAML files."""
    own, bases = {}, {}
    for path in sorted((conf_dir() / group).glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        if target := re.search(r"^_target_: *(\S+)", text, re.MULTILINE):
            own[path.stem] = target[1]
        elif base := re.search(r"^defaults: \[(\w+)", text, re.MULTILINE):
            bases[path.stem] = base[1]
    return own | {name: own.get(base, "") for name, base in bases.items()}
