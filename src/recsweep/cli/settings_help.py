"""`train.py --help`: every setting with its value and its meaning."""

import shutil
import textwrap
from collections.abc import Sequence
from typing import Any

from omegaconf import OmegaConf

from recsweep.config import conf_dir
from recsweep.rendering import train_line
from recsweep.settings import Group, groups_of

NAME_WIDTH = 34

QUOTING = """\
Quotes are the shell's: put '…' around what has brackets, spaces, quotes or a $ in it.
  'model.hidden=[64,32]'           a list
  'data.path="my likes, 2.csv"'    a text with a comma or a space
  model.l2=null                    no value
  -m 'model.hidden=[64,32],[128]'  with -m a comma separates values: two lists"""


def settings_help(overrides: Sequence[str]) -> str:
    """The help of a command line: of the options that it chooses, and of the study's settings."""
    groups = groups_of(list(overrides))
    config = OmegaConf.load(conf_dir() / "config.yaml")
    width = min(shutil.get_terminal_size((120, 50)).columns, 140)
    parts = [
        config.hydra.help.header.strip().replace("python train.py", train_line()),
        "These are the settings of the options that are chosen here: those of ease are shown by "
        f"`{train_line('model=ease --help')}`.",
        *(_group(group, width) for group in groups),
        _line("seed", config.seed, "Initial weights, order of batches, sampled negatives.", width),
        _line("+tags.NAME", "…", "A tag of your own on the run.", width),
        QUOTING,
    ]
    return "\n\n".join(parts)


def _group(group: Group, width: int) -> str:
    words = f": {group.words}" if group.words else ""
    others = f"one of {', '.join(group.options)}"
    return "\n".join(
        [
            *textwrap.wrap(f"{group.name}={group.option}{words}", width),
            *textwrap.wrap(others, width, initial_indent="  ", subsequent_indent="    "),
            *(_line(each.name, each.value, each.words, width) for each in group.settings),
        ]
    )


def _line(name: str, value: Any, words: str, width: int) -> str:
    setting = f"  {name}={_written(value)}"
    if len(setting) > NAME_WIDTH:
        indent = " " * (NAME_WIDTH + 2)
        lines = textwrap.wrap(words, width, initial_indent=indent, subsequent_indent=indent)
        return "\n".join([setting, *lines])
    return textwrap.fill(
        words,
        width,
        initial_indent=f"{setting:{NAME_WIDTH + 2}}",
        subsequent_indent=" " * (NAME_WIDTH + 2),
    )


def _written(value: Any) -> str:
    """A value as on the command line."""
    from recsweep.config import override_value

    return "null" if value is None else override_value("", value)
