"""Checks of single settings, shared by all that is built from a config: each says rule, value and
remedy."""

import math
from collections.abc import Collection

from recsweep.errors import ConfigError


def check_integer(name: str, value: object, *, minimum: int, optional: bool = False) -> None:
    """Raise ConfigError unless `value` is an integer of at least `minimum` (or None, where
    `optional`)."""
    if optional and value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        alternative = " or null" if optional else ""
        raise ConfigError(
            f"{name} must be a whole number of at least {minimum}{alternative}, not {value!r}."
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
        or not math.isfinite(value)
        or not (above < value < below and minimum <= value <= maximum)
    ):
        bounds = {"above": above, "at least": minimum, "below": below, "at most": maximum}
        set_bounds = [f"{word} {bound:g}" for word, bound in bounds.items() if math.isfinite(bound)]
        rule = " " + " and ".join(set_bounds) if set_bounds else ""
        raise ConfigError(f"{name} must be a number{rule}, not {value!r}.")


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Raise ConfigError unless `value` is one of `choices`."""
    if value not in choices:
        raise ConfigError(f"{name} must be one of {', '.join(choices)}, not {value!r}.")


def check_flag(name: str, value: object) -> None:
    """Raise ConfigError unless `value` is true or false."""
    if not isinstance(value, bool):
        raise ConfigError(f"{name} must be true or false, not {value!r}.")


def check_text(name: str, value: object, *, optional: bool = False) -> None:
    """Raise ConfigError unless `value` is a text that is not empty (or None, where `optional`)."""
    if optional and value is None:
        return
    if not isinstance(value, str) or not value:
        raise ConfigError(
            f"{name} must be a text that is not empty{' or null' if optional else ''}, not "
            f"{value!r}."
        )
