"""The pages of the reference, from the parsers, the YAML files and the docstrings."""

import argparse
import inspect
import re
from collections.abc import Callable, Iterable, Sequence

from recsweep import measures
from recsweep.cli import command_parser
from recsweep.config import conf_dir, override_value
from recsweep.measures import Measure, forms
from recsweep.measures.of_cells import Confusion, expected_calibration_error
from recsweep.settings import ORDER, Group, every_option

STUDY_GROUPS = ("hydra/sweeper", "hydra/sweeper/sampler", "hydra/sweeper/pruner")

MANY = 10
"""Settings that two options share, above which the second one's table has the others alone."""

NEEDS = {
    "cells": "Of all cells of a part",
    "user lists": "Of each user's list, the mean",
    "lists": "Of all lists together",
    "training": "Of the training",
}

PYTHON = """
# Python

What notebooks use, and what a class of your own is made from. `import recsweep as rs` has the
functions of the first section.

## Notebooks

::: recsweep.notebook
    options: {show_root_heading: false, show_root_toc_entry: false, members: %s}

## Models

::: recsweep.models.base
    options:
      show_root_heading: false
      show_root_toc_entry: false
      members: [Recommender, Folds, FoldsItems, ScoresCells, FoldsFeatures, FitsTogether,
                FitOptions, Fit, EpochDecision]

::: recsweep.models.linear.LinearModel
    options: {filters: ["!^__", "!^_[^l]"]}

::: recsweep.models.neural.TrainedModel

::: recsweep.models.nets.Net

## Losses

::: recsweep.losses
    options: {show_root_heading: false, show_root_toc_entry: false}

## Measures

::: recsweep.measures.definition.Measure

::: recsweep.measures.forms
    options: {show_root_heading: false, show_root_toc_entry: false}

## Data

::: recsweep.data.interactions
    options:
      show_root_heading: false
      show_root_toc_entry: false
      members: [Interactions, Part, Split]

## Errors

::: recsweep.errors
    options: {show_root_heading: false, show_root_toc_entry: false}
"""


def commands() -> str:
    """Each command with its arguments, as its `--help`."""
    parts = [
        "# Commands",
        "What `recsweep COMMAND --help` says. `recsweep train` takes settings in place of options: "
        "they have a [page of their own](settings.md).",
    ]
    for name, parser in parsers(command_parser()).items():
        if name == "train":
            continue
        usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
        parts += [f"## {name}", f"```\n{usage}\n```", _prose(parser.description or "")]
        rows = [
            (_flags(action), _prose((action.help or "") % {**vars(action), "prog": parser.prog}))
            for action in parser._actions
            if not isinstance(action, argparse._HelpAction)
        ]
        parts += [_table(("argument", "meaning"), rows), _prose(parser.epilog or "")]
    return _joined(parts)


def parsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parser of each command, by its name."""
    (commands,) = (
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    )
    return dict(commands.choices)


def _flags(action: argparse.Action) -> str:
    value = action.metavar or (
        "|".join(map(str, action.choices)) if action.choices else action.dest.upper()
    )
    if not action.option_strings:
        return f"`{value}`"
    takes = "" if action.nargs == 0 else f" {value}"
    return ", ".join(f"`{flag}{takes}`" for flag in action.option_strings)


def settings() -> str:
    """Each config group with its options, and each option with its settings."""
    parts = [
        "# Settings",
        "Each is given as `name=value`, an option of a group as `group=option`. "
        "`recsweep train --help` shows those of the options that a command chooses, and how to "
        "quote; [what they are for](../../README.md#change-a-setting).",
        _table(
            ("setting", "value", "meaning"),
            [
                ("`seed`", "`0`", "Initial weights, order of batches, sampled negatives."),
                ("`+tags.NAME`", "", "A tag of your own on the run."),
            ],
        ),
    ]
    for name in (*ORDER, *STUDY_GROUPS):
        parts.append(f"## {name}" + (": a study" if name == STUDY_GROUPS[0] else ""))
        options = every_option(name)
        for place, option in enumerate(options):
            parts += _option(option, options[:place])
    return _joined(parts)


def _option(group: Group, earlier: Sequence[Group]) -> Iterable[str]:
    line, *_ = (conf_dir() / group.name / f"{group.option}.yaml").read_text("utf-8").splitlines()
    command = line.lstrip("# ").partition("    ")[0]
    yield f"### {group.name}={group.option}"
    yield _prose(group.words)
    yield f"```\n{command}\n```"
    rows = _rows(group)
    for other in earlier:  # of files of interactions each option has all 33
        same = set(rows).intersection(_rows(other))
        if len(same) > MANY and len(other.settings) == len(rows):
            yield f"The settings of `{other.name}={other.option}`, with these values:"
            rows = [row for row in rows if row not in same]
            break
    yield _table(("setting", "value", "meaning"), rows)


def _rows(group: Group) -> list[tuple[str, str, str]]:
    return [
        (f"`{each.name}`", f"`{_written(each.value)}`", _prose(each.words))
        for each in group.settings
    ]


def _written(value: object) -> str:
    return "null" if value is None else override_value("", value)


def measured() -> str:
    """Each measure with its definition, by what it is computed from."""
    parts = [
        "# Measures",
        "Names are those of runs, behind `validation/` or `test/`; `{k}` is a length of lists "
        "(`evaluation.k`). A measure of cells has a mean over users beside it, `NAME_per_user`, "
        "where each user's own cells have one. What an interval of one covers: "
        "[honesty](../honesty.md). One of your own: [own-measure](../own-measure.md).",
    ]
    for needs, words in NEEDS.items():
        rows = [
            (f"`{each.name}`", each.better, f"**{each.title}** {_prose(_definition(each))}")
            for each in measures.ENTRIES
            if each.needs == needs
        ]
        parts += [f"## {words}", _table(("name", "better", "definition"), rows)]
    compared = ", ".join(f"`{name}`" for name in measures.COMPARED)
    return _joined([*parts, "## What models are compared by", f"{compared}."])


def _definition(entry: Measure) -> str:
    match entry.form:
        case forms.Share(of=of):
            found: object = getattr(Confusion, of.__name__)
        case forms.MeanLoss(mean=found) | forms.Order(plain=found):
            pass
        case forms.CalibrationError():
            found = expected_calibration_error
        case forms.EachList(values=found) | forms.AllLists(value=found):
            pass
        case _:
            return ""
    words = re.sub(r"^\([^)]*\) float64: ", "", inspect.getdoc(found) or "")
    return words[:1].upper() + words[1:]


def python() -> str:
    """The doors for Python, which mkdocstrings fills from the docstrings."""
    from recsweep import notebook

    return PYTHON % notebook.__all__


def _prose(text: str) -> str:
    """Words of a terminal or a docstring on one line, without what Markdown would act on."""
    text = " ".join(text.split())
    parts = text.split("`")
    parts[::2] = [
        part.replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_") for part in parts[::2]
    ]
    return "`".join(parts)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [headings, ["---"] * len(headings), *rows]
    cells = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _joined(parts: Iterable[str]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "commands": commands,
    "settings": settings,
    "measures": measured,
    "python": python,
}
"""Name of a page to what writes it."""
