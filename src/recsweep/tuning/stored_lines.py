"""Overrides that come out of a database of studies: what they may set."""

from collections.abc import Sequence
from typing import Any

from recsweep.errors import StudyError, UntrustedError
from recsweep.trust import texts_of
from recsweep.tuning.space import Dimension, plain_key

NOT_STORED = ("hydra", "tracking", "trial")
"""Nodes that no study stores: how Hydra runs, where runs go, and whose trial it is."""


def stored_lines(lines: Any, what: str) -> list[str]:
    """Overrides as a study stores them.

    Args:
        lines: What is stored.
        what: It in words, as `The study grid18`.

    Raises:
        UntrustedError: One sets what is the command's own to set.
        StudyError: They are no overrides.
    """
    if not isinstance(lines, list | tuple) or not all(isinstance(line, str) for line in lines):
        raise StudyError(f"{what} stores {lines!r:.80} for its settings. Sweep it again.")
    for line in lines:
        key = plain_key(line.partition("=")[0].strip())
        if key.replace("/", ".").partition(".")[0] in NOT_STORED:
            raise UntrustedError(
                f"{what} stores {line!r:.120}, which no study of recsweep's does: nothing that a "
                "store names is run. Sweep it again."
            )
    return list(lines)


def said_in(lines: Sequence[str]) -> frozenset[str]:
    """Texts among the values of overrides that the user gives now."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    given = OverridesParser.create().parse_overrides(list(lines))
    return frozenset(texts_of([override.value() for override in given]))


def is_of_space(line: str, dimensions: Sequence[Dimension]) -> bool:
    """Whether a stored override gives one of the values that the command itself varies: a setting
    one of its options, or a number."""
    key, _, value = line.partition("=")
    return any(
        dimension.key == key and (value in dimension.options or _is_number(value))
        for dimension in dimensions
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
