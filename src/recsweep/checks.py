"""Checks of single settings, shared by all that is built from a config: each says rule, value and
remedy."""

import difflib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence

from recsweep.errors import ConfigError

GREATEST = 2**63 - 1
"""The greatest whole number that databases, numpy and torch hold."""

LONGEST_NAME = 500
"""Characters that MLflow takes for the name of an experiment or a data set."""

SHOWN = 200
"""Characters that an error shows of a value."""


def check_integer(
    name: str, value: object, *, minimum: int, maximum: int = GREATEST, optional: bool = False
) -> None:
    """Raise ConfigError unless `value` is an integer with minimum <= value <= maximum (or None,
    where `optional`)."""
    if optional and value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
        alternative = " or null" if optional else ""
        is_large = isinstance(value, int) and value > maximum
        bounds = f"from {minimum} to {maximum}" if is_large else f"of at least {minimum}"
        raise ConfigError(
            f"{name} must be a whole number {bounds}{alternative}, not {as_said(value)}."
        )


def check_number(
    name: str,
    value: object,
    *,
    above: float = -math.inf,
    minimum: float = -math.inf,
    below: float = math.inf,
    maximum: float = math.inf,
) -> None:
    """Raise ConfigError unless `value` is a finite number with above < value < below, minimum <=
    value <= maximum."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not _is_finite(value)
        or not (above < value < below and minimum <= value <= maximum)
    ):
        bounds = {"above": above, "at least": minimum, "below": below, "at most": maximum}
        set_bounds = [f"{word} {bound:g}" for word, bound in bounds.items() if math.isfinite(bound)]
        rule = " " + " and ".join(set_bounds) if set_bounds else ""
        raise ConfigError(f"{name} must be a number{rule}, not {as_said(value)}.")


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Raise ConfigError unless `value` is one of `choices`."""
    # a list is no member of a mapping, and can't be asked for
    if not isinstance(value, str) or value not in choices:
        near = nearest(value, choices) if isinstance(value, str) else None
        raise ConfigError(
            f"{name} must be one of {', '.join(choices)}, not {as_said(value)}."
            f"{f' Did you mean {near}?' if near else ''}"
        )


def check_flag(name: str, value: object) -> None:
    """Raise ConfigError unless `value` is true or false."""
    if not isinstance(value, bool):
        raise ConfigError(f"{name} must be true or false, not {as_said(value)}.")


def check_text(
    name: str, value: object, *, maximum: int | None = None, optional: bool = False
) -> None:
    """Raise ConfigError unless `value` is a text that is not empty, of at most `maximum` characters
    (or None, where `optional`)."""
    if maximum is not None and isinstance(value, str) and len(value) > maximum:
        raise ConfigError(
            f"{name} must have at most {maximum} characters, not {len(value):,}. Shorten it."
        )
    if optional and value is None:
        return
    if not isinstance(value, str) or not value:
        raise ConfigError(
            f"{name} must be a text that is not empty{' or null' if optional else ''}, not "
            f"{as_said(value)}."
        )


def check_part(name: str, value: object) -> None:
    """Raise ConfigError where a value is plain or none, and not an object that a node with a
    `_target_` makes."""
    if isinstance(value, bool | int | float | str | Mapping | Sequence | None):
        group = name.rpartition(".")[2]
        raise ConfigError(
            f"{name} must be what an option of {group} makes, not {as_said(value)}. Choose one as "
            f"{group}=..., and set what is in it as {group}.name=value."
        )


def as_said(value: object, length: int = SHOWN) -> str:
    """A value in a sentence, cut where it is longer than that."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "a number of thousands of digits"
    return short(text, length)


def short(text: str, length: int = SHOWN) -> str:
    """A text in a sentence, cut where it is longer than that."""
    return text if len(text) <= length else f"{text[:length]}… ({len(text):,} characters)"


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # of a whole number beyond all floats
        return False


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was most likely meant; None where none is near."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def meant(word: str, known: Collection[str]) -> str:
    """A sentence after a word that is none of `known`: the nearest, or all of them."""
    if (found := nearest(word, known)) is not None:
        return f"Did you mean {found}?"
    return f"There {'is' if len(known) == 1 else 'are'} {', '.join(known) or 'none'}."
