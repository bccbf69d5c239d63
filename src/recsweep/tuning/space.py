"""The search space of a study, from Hydra's sweep overrides: what is varied, over which values."""

import itertools
import math
import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from recsweep.checks import meant
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

OF_OPTION = ": "
"""What stands between an option and its own setting in a name that Optuna records."""

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
        of: Override of the one option of a group that it is varied for, as `model=ials`; empty for
            all.
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
    of: str = ""

    @property
    def name(self) -> str:
        """The key without Hydra's signs for adding and without a package."""
        return plain_key(self.key)

    @property
    def recorded(self) -> str:
        """Its name among what Optuna records of a study, where each option's own range of a setting
        is a parameter of its own: `ials: model.dim`."""
        option = self.of.partition("=")[2]
        return f"{option}{OF_OPTION}{self.name}" if option else self.name

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
            return trial.suggest_categorical(self.recorded, self.values)
        assert self.low is not None, "it is a range or an interval"
        assert self.high is not None
        if self.whole:
            low, high, step = int(self.low), int(self.high), int(self.step or 1)
            return trial.suggest_int(self.recorded, low, high, step=step, log=self.log)
        drawn = trial.suggest_float(
            self.recorded, self.low, self.high, step=self.step, log=self.log
        )
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


def setting_of(recorded: str) -> str:
    """The setting that a recorded name is of: `ials: model.dim` -> `model.dim`."""
    return recorded.rpartition(OF_OPTION)[2]


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
    each: str | None = None,
    params_of: Mapping[str, Mapping[str, Any]] | None = None,
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
        each: Name of a config group; a study tries each of its options by itself.
        params_of: What is varied, or fixed, for one option of `each` alone, by the option. It goes
            before `params`, and the command line goes before it.

    Raises:
        ConfigError: An override can't be read, or can't be varied over.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create(config_loader=config_loader)

    def parsed(lines: Sequence[str]) -> dict[str, "Override"]:
        try:
            overrides = parser.parse_overrides(list(lines))
        except HydraException as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(f"An override can't be read: {reason}.") from error
        return {override.get_key_element(): override for override in overrides}

    given = parsed(arguments)
    overrides = parsed(_lines(params)) | given
    chosen = overrides.pop(each, None) if each is not None else None
    fixed = [override for override in overrides.values() if not override.is_sweep_override()]
    swept = [override for override in overrides.values() if override.is_sweep_override()]
    dimensions = [_dimension(override, current, seed) for override in swept]
    if each is None:
        return fixed, dimensions
    group = _options_of(each, chosen, config_loader, current, seed)
    own = [
        replace(_own(override, current, seed), of=f"{each}={option}")
        for option, lines in (params_of or {}).items()
        if _is_option(str(option), group, config_loader)
        for key, override in parsed(_lines(lines)).items()
        if key not in given
    ]
    return fixed, [group, *dimensions, *own]


def _lines(params: Mapping[str, Any]) -> list[str]:
    return [f"{key}={_written(value)}" for key, value in params.items()]


def _options_of(
    each: str, chosen: "Override | None", config_loader: Any, current: Any, seed: int
) -> Dimension:
    """The options of a group that a study tries each by itself; one where it is not varied.

    Raises:
        ConfigError: It is no group, or none of its options is chosen.
    """
    if chosen is None or not config_loader.get_group_options(each):
        raise ConfigError(
            f"hydra.sweeper.each must be a config group that the study varies, not {each!r}. Vary "
            "one, as model=ease,ials with hydra.sweeper.each=model."
        )
    return _own(chosen, current, seed)


def _own(override: "Override", current: Any, seed: int) -> Dimension:
    """A dimension, of one value where an override is not varied."""
    if override.is_sweep_override():
        return _dimension(override, current, seed)
    return _list(override.get_key_element(), [override.value()])


def _is_option(option: str, group: Dimension, config_loader: Any) -> bool:
    """Whether an option is among those that are tried.

    Raises:
        ConfigError: There is no such option at all.
    """
    known = config_loader.get_group_options(group.name)
    if option not in known:
        raise ConfigError(
            f"hydra.sweeper.params_of has {option}, which is no option of {group.name}. "
            f"{meant(option, known)}"
        )
    return option in group.options


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
    parts = [
        [(dimension.key, len(values)) for dimension, values in part] for part in _parts(dimensions)
    ]
    count = sum(math.prod(number for _, number in part) for part in parts)
    if count > MOST_POINTS:
        largest = max(parts, key=lambda part: math.prod(number for _, number in part))
        numbers = " x ".join(f"{number:,} of {key}" for key, number in largest)
        raise ConfigError(
            f"A grid may have {MOST_POINTS:,} points, and this one has {count:,}: "
            f"{numbers}. Set hydra.sweeper.n_trials for a search of so many of them."
        )


def grid_points(dimensions: Sequence[Dimension]) -> Iterator[tuple[tuple[Dimension, Scalar], ...]]:
    """Every combination, the last setting changing fastest, as Hydra's own sweeper orders them;
    where options have ranges of their own, those of one option after another."""
    for part in _parts(dimensions):
        yield from itertools.product(
            *([(dimension, value) for value in values] for dimension, values in part)
        )


def _parts(dimensions: Sequence[Dimension]) -> Iterator[list[tuple[Dimension, Sequence[Scalar]]]]:
    """The parts of a space, each the product of some values of some dimensions: one for each option
    of the group whose options have ranges of their own, else one."""
    groups = {dimension.of.partition("=")[0] for dimension in dimensions if dimension.of}
    group = next((dimension for dimension in dimensions if dimension.key in groups), None)
    if group is None:
        yield [(dimension, dimension.values) for dimension in dimensions]
        return
    for value in group.values:
        yield [
            (dimension, (value,) if dimension is group else dimension.values)
            for dimension in belonging(dimensions, [group.override(value)])
        ]


def belonging(dimensions: Sequence[Dimension], chosen: Collection[str]) -> list[Dimension]:
    """What is varied where these options of groups are chosen: an option's own range of a setting
    stands in for the one of all.

    Args:
        chosen: Overrides, as `model=ials`.
    """
    own = {dimension.name for dimension in dimensions if dimension.of and dimension.of in chosen}
    return [
        dimension
        for dimension in dimensions
        if (dimension.of in chosen if dimension.of else dimension.name not in own)
    ]


def _short(number: Any) -> str:
    return f"{number:g}" if isinstance(number, float) else str(number)
