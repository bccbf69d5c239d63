"""The search space of a study, from Hydra's sweep overrides: what is varied, over which values."""

import itertools
import math
import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from recsweep.errors import ConfigError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

Scalar = None | bool | int | float | str

MOST_SHOWN = 10
"""So many values of a range are all written out."""

MOST_VALUES = 100_000
"""A range may have so many values: a search takes an interval for more."""

MOST_POINTS = 10_000
"""A grid may have so many points: each is composed and checked before the first is trained."""


@dataclass(frozen=True)
class Dimension:
    """A setting that is varied.

    Attributes:
        key: Name in Hydra's overrides, as `model.user_dim` or `+new.setting`.
        options: Each value of a list or a range as an override writes it; empty for an interval.
        values: The same values as Optuna records them.
        low: Least value of a range or an interval.
        high: Greatest value, which is among those of a range where it lies on the steps.
        step: Distance between the values of a range.
        log: Whether an interval is searched on a logarithmic scale.
        whole: Whether an interval holds whole numbers only.
        cast: Whether that is so because its settings do, though its bounds don't say it.
    """

    key: str
    options: tuple[str, ...] = ()
    values: tuple[Scalar, ...] = ()
    low: float | None = None
    high: float | None = None
    step: float | None = None
    log: bool = False
    whole: bool = False
    cast: bool = False

    @property
    def name(self) -> str:
        """The key without Hydra's signs for adding and without a package."""
        return plain_key(self.key)

    def override(self, value: Scalar) -> str:
        """The override that gives the setting one of its values."""
        return f"{self.key}={self.options[self.values.index(value)] if self.options else value}"

    def words(self) -> str:
        """What it is varied over, as a person writes it."""
        if self.step is not None:
            return f"range({_short(self.low)}, {_short(self.high)}, {_short(self.step)})"
        if self.options:
            return ", ".join(self.options)
        interval = f"interval({_short(self.low)}, {_short(self.high)})"
        interval = f"int({interval})" if self.cast else interval
        return f"log {interval}" if self.log else interval

    def values_in_words(self) -> str:
        """What it is varied over, where a range shows that its end is in it."""
        if self.step is None:
            return self.words()
        shown = self.options
        if len(shown) > MOST_SHOWN:
            shown = (*shown[:2], "...", shown[-1])
        return f"{self.words()}: {', '.join(shown)}"

    def for_present(self, values: Collection[Any]) -> "Dimension":
        """An interval between whole bounds over whole numbers alone, where all the present values
        of its setting are: one of each option of a varied group."""
        is_interval = not self.options and not self.whole
        bounds = [float(bound) for bound in (self.low, self.high) if bound is not None]
        if not is_interval or not all(bound.is_integer() for bound in bounds):
            return self
        if not values or any(type(value) is not int for value in values):
            return self
        low, high = map(int, bounds)
        return replace(self, low=low, high=high, whole=True, cast=True)

    @property
    def fraction(self) -> float | None:
        """A value between two whole numbers that may be drawn; None where there is none."""
        if self.options or self.whole or self.low is None or self.high is None:
            return None
        inside = self.low + (self.high - self.low) * 0.377
        return None if float(inside).is_integer() else inside

    @property
    def as_whole(self) -> str:
        """The override of the interval over the whole numbers in it."""
        assert self.low is not None
        assert self.high is not None
        interval = f"int(interval({math.ceil(self.low)},{math.floor(self.high)}))"
        return f"{self.key}='{f'tag(log,{interval})' if self.log else interval}'"

    def grid_distribution(self) -> "BaseDistribution":
        """The distribution in Optuna's records of a grid: numbers as numbers, so that a list may
        grow and plots have an axis."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        whole = [value for value in self.values if type(value) is int]
        numbers = [
            value
            for value in self.values
            if isinstance(value, int | float) and type(value) is not bool
        ]
        finite = [float(value) for value in numbers if math.isfinite(value)]
        if len(whole) == len(self.values):
            return IntDistribution(min(whole), max(whole))
        if len(finite) == len(self.values):
            return FloatDistribution(min(finite), max(finite))
        return CategoricalDistribution(self.values)

    def drawn_distribution(self) -> "BaseDistribution":
        """The distribution from which `draw` lets a sampler choose."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.options and self.step is None:
            return CategoricalDistribution(self.values)
        assert self.low is not None
        assert self.high is not None
        if self.whole:
            step = int(self.step or 1)
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=step)
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def draw(self, trial: "Trial") -> Scalar:
        """Let the study's sampler choose a value for the trial."""
        if self.options and self.step is None:
            return trial.suggest_categorical(self.name, self.values)
        assert self.low is not None, "it is a range or an interval"
        assert self.high is not None
        if self.whole:
            low, high, step = int(self.low), int(self.high), int(self.step or 1)
            return trial.suggest_int(self.name, low, high, step=step, log=self.log)
        drawn = trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)
        if self.step is None:
            return drawn
        numbers = [value for value in self.values if isinstance(value, int | float)]
        # 0.1 + 0.2 is no value of the range
        return min(numbers, key=lambda value: abs(value - drawn))


def conflict(before: "BaseDistribution", now: "BaseDistribution") -> str | None:
    """What of two distributions would have to be the same, for Optuna to record trials of one study
    with both; None where they go together."""
    from optuna.distributions import CategoricalDistribution, check_distribution_compatibility

    try:
        check_distribution_compatibility(before, now)
    except ValueError:
        if type(before) is not type(now):
            return "kind of values: a list, whole numbers or numbers"
        return "list" if isinstance(before, CategoricalDistribution) else "scale, log or linear"
    return None


def accepting(distribution: "BaseDistribution", value: Scalar) -> "BaseDistribution | None":
    """A distribution that goes together with another one and has a value, for a record of a grid;
    None where there is none."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        choices = distribution.choices
        same = (type(choice) is type(value) and choice == value for choice in choices)
        return distribution if any(same) else None
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    log = distribution.log
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return None
    if log and value <= 0:
        return None
    if isinstance(distribution, FloatDistribution):
        low, high = min(distribution.low, value), max(distribution.high, value)
        return FloatDistribution(low, high, log=log)
    if not isinstance(value, int):
        return None
    return IntDistribution(min(distribution.low, value), max(distribution.high, value), log=log)


def plain_key(key: str) -> str:
    """`+model.user_dim@package` -> `model.user_dim`."""
    return key.lstrip("+~").partition("@")[0]


def canonical(value: Any) -> tuple[str, Any]:
    """What two values have in common that are one: 0 and 0.0 are, 1 and true are not, and a text
    is the same with quotes or without."""
    if isinstance(value, int | float) and type(value) is not bool:
        return "number", value if math.isfinite(value) else str(value)
    return type(value).__name__, value if isinstance(value, str) else str(value)


def parse_space(
    params: Mapping[str, Any],
    arguments: Sequence[str],
    *,
    config_loader: Any,
    current: Any,
    seed: int,
) -> tuple[list["Override"], list[Dimension]]:
    """Read overrides: which settings are fixed, and which are varied.

    Lists, `choice`, `glob` and `range(start, stop, step)` are varied over their values; a range
    includes its stop where that lies on the steps: range(10,20,5) is 10, 15, 20. `interval(low,
    high)` is searched in between, over whole numbers where the bounds and the setting's present
    value are whole; `tag(log, interval(...))` on a logarithmic scale. `sort` and `shuffle` order a
    list; a shuffle is the same for the same seed.

    Args:
        params: Values of hydra.sweeper.params by their keys, as overrides write them.
        arguments: Overrides of the command line, which go before those of the same key in `params`.
        config_loader: Hydra's loader of configs, for the names of groups.
        current: The composed config, for the present value of a setting.
        seed: Seed of shuffles.

    Raises:
        ConfigError: An override can't be read, or can't be varied over.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create(config_loader=config_loader)
    lines = [f"{key}={_written(value)}" for key, value in params.items()] + list(arguments)
    try:
        overrides = {
            override.get_key_element(): override for override in parser.parse_overrides(lines)
        }
    except HydraException as error:
        raise ConfigError(f"An override can't be read: {str(error).splitlines()[0]}.") from error
    fixed = [override for override in overrides.values() if not override.is_sweep_override()]
    swept = [override for override in overrides.values() if override.is_sweep_override()]
    return fixed, [_dimension(override, current, seed) for override in swept]


def _written(value: Any) -> str:
    return "null" if value is None else str(value)


def _dimension(override: "Override", current: Any, seed: int) -> Dimension:
    key = override.get_key_element()
    sweep: Any = override.value()  # of a type for each kind of sweep
    log = "log" in getattr(sweep, "tags", ())
    if override.is_interval_sweep():
        return _interval(key, sweep.start, sweep.end, log, current)
    if override.is_range_sweep():
        return _range(override, log, seed)
    if log:
        raise ConfigError(
            f"{key}: a list has no logarithmic scale. Take tag(log, interval(low, high))."
        )
    if not getattr(sweep, "shuffle", False):
        return _list(key, list(override.sweep_iterator()))
    elements = list(sweep.list)
    random.Random(seed).shuffle(elements)
    return _list(key, elements)


def _list(key: str, elements: Sequence[Any]) -> Dimension:
    from hydra.core.override_parser.types import QuotedString, Transformer

    by_value: dict[Any, tuple[str, Any]] = {}
    for element in elements:
        value = element.text if isinstance(element, QuotedString) else element
        text = Transformer.str(element)
        by_value.setdefault(canonical(value), (text, value))
    texts = [text for text, _ in by_value.values()]
    if not texts:
        raise ConfigError(f"{key} is varied over nothing.")
    values = [value for _, value in by_value.values()]
    # Optuna knows no lists, and takes 1, 1.0 and true for one value
    simple = all(value is None or isinstance(value, bool | int | float | str) for value in values)
    if not simple or len(set(values)) < len(values):
        values = texts
    return Dimension(key, tuple(texts), tuple(values))


def _interval(key: str, low: Any, high: Any, log: bool, current: Any) -> Dimension:
    from omegaconf import OmegaConf

    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ConfigError(
            f"{key}=interval({low}, {high}) must have two finite bounds, the lower one first."
        )
    if log and low <= 0:
        raise ConfigError(
            f"{key}: a logarithmic interval must start above 0, not at {_short(low)}."
        )
    try:
        present = OmegaConf.select(current, plain_key(key))
    except Exception:  # a setting of a group not present, or an interpolation that fails now
        present = None
    bounds_whole = float(low).is_integer() and float(high).is_integer()
    # int(interval(...)) has int bounds
    whole = bounds_whole and (type(low) is int or type(present) is int)
    number = int if whole else float
    return Dimension(key, low=number(low), high=number(high), log=log, whole=whole)


def _range(override: "Override", log: bool, seed: int) -> Dimension:
    key = override.get_key_element()
    sweep: Any = override.value()
    if log:
        raise ConfigError(
            f"{key}: a range has no logarithmic scale. Take tag(log, interval(low, high))."
        )
    if "sort(" in override.get_value_string():  # Hydra sorts by an end that it excludes
        raise ConfigError(
            f"{key}: write the range in the order that you want, as range(20, 10, -5), without "
            "sort."
        )
    start, stop, step = (Decimal(str(number)) for number in (sweep.start, sweep.stop, sweep.step))
    if step == 0 or (stop - start) / step < 0:
        raise ConfigError(f"{key}: {override.get_value_string()} has no values.")
    count = int((stop - start) / step) + 1
    if count > MOST_VALUES:
        raise ConfigError(
            f"{key}: {override.get_value_string()} has {count:,} values; a range may have "
            f"{MOST_VALUES:,}. Take {key}={_as_interval(sweep)} with hydra.sweeper.n_trials."
        )
    whole = all(isinstance(number, int) for number in (sweep.start, sweep.stop, sweep.step))
    values = [(int if whole else float)(start + place * step) for place in range(count)]
    low, high = min(values), max(values)
    if sweep.shuffle:
        random.Random(seed).shuffle(values)
    return Dimension(
        key, tuple(map(str, values)), tuple(values), low, high, abs(float(step)), whole=whole
    )


def _as_interval(sweep: Any) -> str:
    low, high = sorted((sweep.start, sweep.stop))
    interval = f"interval({_short(low)},{_short(high)})"
    return f"'int({interval})'" if type(low) is type(high) is int else f"'{interval}'"


def check_count(dimensions: Sequence[Dimension]) -> None:
    """Raise ConfigError where a grid has too many points to train any."""
    count = math.prod(len(dimension.values) for dimension in dimensions)
    if count > MOST_POINTS:
        numbers = (f"{len(dimension.values):,} of {dimension.key}" for dimension in dimensions)
        raise ConfigError(
            f"A grid may have {MOST_POINTS:,} points, and this one has {count:,}: "
            f"{' x '.join(numbers)}. Set hydra.sweeper.n_trials for a search of so many of them."
        )


def grid_points(dimensions: Sequence[Dimension]) -> Iterator[tuple[tuple[Dimension, Scalar], ...]]:
    """Every combination, the last setting changing fastest, as Hydra's own sweeper orders them."""
    return itertools.product(
        *([(dimension, value) for value in dimension.values] for dimension in dimensions)
    )


def _short(number: Any) -> str:
    return f"{number:g}" if isinstance(number, float) else str(number)
