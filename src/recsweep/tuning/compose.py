"""From a trial's overrides to its config, as Hydra composes it but without reading the files for
each trial again."""

import copy
import itertools
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from recsweep.config import note_choices
from recsweep.errors import ConfigError
from recsweep.mistakes import composed_in_words
from recsweep.tuning.space import Dimension, belonging, plain_key

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override


class Composer:
    """Composes the config of trial after trial.

    Where a group is varied (`model=knn,logistic`), a setting below it (`model.C=0.1,1`) belongs to
    some of its options and means nothing to the others: those are composed without it.

    Args:
        config_loader: Hydra's loader of configs.
        master: Hydra's config of the whole multirun.
        fixed: Overrides that are the same for all trials.
        dimensions: The settings that are varied.
    """

    def __init__(
        self,
        config_loader: Any,
        master: DictConfig,
        fixed: Sequence["Override"],
        dimensions: Sequence[Dimension],
    ) -> None:
        self._loader = config_loader
        self._master = master
        self._fixed = list(fixed)
        self._dimensions = list(dimensions)
        self._bases: dict[tuple[str, ...], DictConfig] = {}
        self._options: dict[tuple[str, ...], DictConfig] = {}
        self._groups: dict[str, bool] = {}
        self._loose = tuple(f"{_node(group)}." for group in self.groups)

    @property
    def groups(self) -> list[Dimension]:
        """The dimensions that choose an option of a config group."""
        return [dimension for dimension in self._dimensions if self._is_group(dimension.key)]

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """The config of one trial, without Hydra's own node.

        Raises:
            ConfigError: Hydra can't compose it.
        """
        parsed = [*self._fixed, *self.parse(overrides)]
        groups = self._of_groups(parsed)
        cfg = copy.deepcopy(self._base(groups))
        values = [override for override in parsed if override not in groups]
        with composed_in_words(overrides):
            for override in values:
                if self._applies(override, cfg):
                    _set(cfg, override)
        return cfg

    def to_run(self, overrides: Sequence[str]) -> DictConfig:
        """The config of one trial with a note of the options that it is composed of."""
        cfg = self.compose(overrides)
        groups = self._of_groups([*self._fixed, *self.parse(overrides)])
        note_choices(cfg, self._options[tuple(map(_line, groups))])
        return cfg

    def applying(self, overrides: Sequence[str]) -> list[str]:
        """The overrides of a trial that mean something to the options it chooses."""
        if not self._loose:
            return list(overrides)
        parsed = self.parse(overrides)
        fixed = [override for override in self._fixed if override.input_line not in overrides]
        groups = self._of_groups([*fixed, *parsed])
        base = self._base(groups)
        return [
            line
            for line, override in zip(overrides, parsed, strict=True)
            if override in groups or self._applies(override, base)
        ]

    def lines(self, overrides: Sequence[str]) -> list[str]:
        """All overrides that compose a trial's config, for a process that composes it itself."""
        return self.applying([*map(_line, self._fixed), *overrides])

    def combinations(self) -> Iterator[list[str]]:
        """Every choice of options for the groups that are varied; one empty choice where none
        is."""
        groups = self.groups
        shared = [_choices(group) for group in groups if not group.of]
        for chosen in itertools.product(*shared):
            belong = belonging(groups, chosen)
            own = [_choices(group) for group in belong if group.of]
            keys = tuple(f"{group.key}=" for group in belong if not group.of)
            kept = [line for line in chosen if line.startswith(keys)]
            yield from ([*kept, *more] for more in itertools.product(*own))

    def present(self, dimension: Dimension) -> list[Any]:
        """The values that conf/ gives a setting, one for each choice of options that has it."""
        key, values = dimension.name, []
        for chosen in self.combinations():
            base = self._base(self._of_groups([*self._fixed, *self.parse(chosen)]))
            if has(base, key) and dimension in belonging([dimension], chosen):
                with suppress(OmegaConfBaseException):  # an interpolation that fails now
                    values.append(OmegaConf.select(base, key))
        return values

    def check(self) -> None:
        """Raise ConfigError where a setting below a varied group belongs to none of its options."""
        self._check_own()
        keys = {dimension.name: dimension.key for dimension in self._dimensions if not dimension.of}
        changed = [line.key_or_group for line in self._fixed if line.type.name == "CHANGE"]
        keys |= {key: key for key in changed}
        loose = [
            plain
            for plain, key in keys.items()
            if plain.startswith(self._loose) and not key.startswith("+")
        ]
        if not self._loose or not loose:
            return
        for chosen in self.combinations():
            base = self._base(self._of_groups([*self._fixed, *self.parse(chosen)]))
            loose = [plain for plain in loose if not has(base, plain)]
        for plain in loose:
            group = next(group for group in self.groups if plain.startswith(f"{_node(group)}."))
            options = ",".join(group.options)
            raise ConfigError(f"{plain} is a setting of none of {_node(group)}={options}.")

    def _check_own(self) -> None:
        """Raise ConfigError where an option has a range of its own of a setting that it lacks."""
        own = [each for each in self._dimensions if each.of and not each.key.startswith("+")]
        for chosen in self.combinations() if own else ():
            base = self._base(self._of_groups([*self._fixed, *self.parse(chosen)]))
            own = [
                each
                for each in own
                if not (each.of in chosen and (self._is_group(each.key) or has(base, each.name)))
            ]
        for dimension in own[:1]:
            raise ConfigError(
                f"hydra.sweeper.params_of: {dimension.name} is no setting of {dimension.of}."
            )

    def _of_groups(self, overrides: Sequence["Override"]) -> list["Override"]:
        return [override for override in overrides if self._is_group(override.key_or_group)]

    def _base(self, groups: Sequence["Override"]) -> DictConfig:
        """The config of these options of groups, with the values that conf/ gives them."""
        lines = tuple(map(_line, groups))
        if lines not in self._bases:
            with composed_in_words(lines):
                cfg = self._loader.load_sweep_config(self._master, list(lines))
            self._options[lines] = cfg.hydra.runtime.choices
            with open_dict(cfg):
                del cfg["hydra"]
            self._bases[lines] = cfg
        return self._bases[lines]

    def _applies(self, override: "Override", cfg: DictConfig) -> bool:
        key = override.key_or_group
        return (
            override.type.name != "CHANGE"
            or not key.startswith(self._loose or ("\0",))
            or has(cfg, key)
        )

    def _is_group(self, key: str) -> bool:
        if key not in self._groups:  # the loader lists folders to answer
            self._groups[key] = bool(self._loader.get_group_options(plain_key(key)))
        return self._groups[key]

    def parse(self, lines: Sequence[str]) -> list["Override"]:
        """Lines of the command line as Hydra's overrides."""
        from hydra.core.override_parser.overrides_parser import OverridesParser

        return OverridesParser.create(config_loader=self._loader).parse_overrides(list(lines))


def _choices(group: Dimension) -> list[str]:
    return [group.override(value) for value in group.values]


def _node(group: Dimension) -> str:
    """The node of the config that a group's options fill."""
    return group.name.replace("/", ".")


def _line(override: "Override") -> str:
    """An override as it was written."""
    assert override.input_line is not None, "it was read from a line"
    return override.input_line


def _set(cfg: DictConfig, override: "Override") -> None:
    """Change, add or delete one value of a config, by the rules of Hydra's command line."""
    key, value = override.key_or_group, override.value()
    if override.package is not None:
        raise ConfigCompositionException(f"There is no config group {key!r}.")
    is_new = override.type.name != "CHANGE"
    present = OmegaConf.select(cfg, key, throw_on_missing=False) if is_new else None
    if override.is_delete():
        if present is None or value not in (None, present):
            raise ConfigCompositionException(
                f"Could not delete from config. {key!r} is {present!r}."
            )
        node, _, name = key.rpartition(".")
        with open_dict(cfg):
            del (OmegaConf.select(cfg, node) if node else cfg)[name]
    elif override.is_add() and present is not None and not isinstance(value, dict | list):
        raise ConfigCompositionException(
            f"Could not append to config. An item is already at {key!r}."
        )
    else:
        try:
            OmegaConf.update(cfg, key, value, force_add=is_new)
        except (ConfigAttributeError, ConfigKeyError) as error:
            raise ConfigCompositionException(f"Could not override {key!r}.") from error


def has(cfg: DictConfig, key: str) -> bool:
    """Whether a config has a setting, whatever its value is."""
    node: Any = cfg
    for part in key.split("."):
        if not OmegaConf.is_dict(node) or part not in node.keys():  # noqa: SIM118 - `in` is False for a missing value
            return False
        try:
            node = node[part]
        except OmegaConfBaseException:  # it is there, though it can't be resolved
            return True
    return True
