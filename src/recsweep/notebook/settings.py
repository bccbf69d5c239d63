"""Options of the config groups and their settings, as keyword arguments name them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recsweep import config
from recsweep.checks import check_choice
from recsweep.config import composed, conf_dir, override
from recsweep.errors import ConfigError
from recsweep.mistakes import composed_in_words

if TYPE_CHECKING:
    from omegaconf import DictConfig


def options_of(group: str) -> list[str]:
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


def choice(group: str, option: str, settings: Mapping[str, Any]) -> list[str]:
    """Overrides that choose an option of a config group, and give its settings values.

    Raises:
        ConfigError: There is no such option, or it has no such setting.
    """
    check_choice(group, option, options_of(group))
    known = [str(name) for name in config.option(group, option) if name != "_target_"]
    overrides = [f"{group}={option}"]
    for name, value in settings.items():
        if name not in known:
            raise ConfigError(
                f"{group}={option} has no setting {name!r}. Its settings are "
                f"{', '.join(known) or 'none'}."
            )
        if not options_of(name):
            overrides.append(override(f"{group}.{name}", value))
        elif isinstance(value, Mapping):
            overrides += [override(f"{name}.{setting}", part) for setting, part in value.items()]
        else:
            check_choice(name, value, options_of(name))
            overrides.append(override(name, value))
    return overrides


def composition(overrides: Sequence[str]) -> "DictConfig":
    with composed_in_words(overrides):
        return composed(overrides)
