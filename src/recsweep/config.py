"""Configs: where the groups lie, composed, made into objects, and what makes two of them the
same."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from recsweep.checks import meant
from recsweep.errors import ConfigError, RecsweepError


def conf_dir() -> Path:
    """The config groups: inside the installed package, or beside `src/` in a checkout."""
    package = Path(__file__).parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


def experiments_dir() -> Path:
    """The named studies: inside the installed package, or beside `src/` in a checkout."""
    return conf_dir().parent / "experiments"


def option(group: str, name: str) -> DictConfig:
    """What the file of an option holds, with what it takes from another option of its group."""
    node = OmegaConf.load(conf_dir() / group / f"{name}.yaml")
    assert isinstance(node, DictConfig)
    bases = [
        base for base in node.pop("defaults", []) if isinstance(base, str) and base != "_self_"
    ]
    nodes = [option(group, base) for base in bases]
    merged = OmegaConf.merge(*nodes, node)
    assert isinstance(merged, DictConfig)
    return merged


def composed(
    overrides: Sequence[str] = (),
    name: str = "config",
    folder: Path | None = None,
    *,
    with_hydra: bool = False,
) -> DictConfig:
    """The config that a command line without `-m` makes of these overrides.

    Args:
        overrides: Overrides of the command line, as `model=knn`.
        name: File of the primary config, without its ending.
        folder: Folder of that file; None for the folder of the config groups.
        with_hydra: Whether Hydra's own node is in it, with the study's settings and what was chosen
            of each group.
    """
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str((folder or conf_dir()).absolute()), version_base="1.3"):
        cfg = compose(name, list(overrides), return_hydra_config=True)
    if not with_hydra:
        choices = cfg.hydra.runtime.choices
        with open_dict(cfg):
            del cfg["hydra"]
        note_choices(cfg, choices)
    return cfg


CHOSEN = "choices"
"""Node of a config with the options that Hydra composed it of, group -> option: a run names its
params by them. Nothing is made of it, and a config that was composed by other means has none."""


def note_choices(cfg: DictConfig, options: Mapping[Any, Any]) -> None:
    """Note in a config what it was composed of.

    Args:
        cfg: Changed in place.
        options: Group -> option, as Hydra knows them.
    """
    with open_dict(cfg):
        cfg[CHOSEN] = {
            group: option for group, option in options.items() if group in cfg and option
        }


def primary_of(name: str, folders: Sequence[str | Path]) -> tuple[Path, list[str]]:
    """The folder of a primary config, and the override by which the others are searched too.

    Args:
        name: Name of its file, without its ending.
        folders: The folders in which Hydra has looked for it, in that order.
    """
    paths = [Path(folder) for folder in folders]
    first = next((path for path in paths if (path / f"{name}.yaml").is_file()), paths[0])
    others = [f"file://{path.absolute()}" for path in paths if path != first]
    return first, [override("hydra.searchpath", others)] if others else []


def multirun(
    overrides: Sequence[str], name: str = "config", folders: Sequence[str | Path] = ()
) -> tuple[Any, DictConfig]:
    """Hydra's config loader, and its config of a command line with `-m`.

    Args:
        overrides: Overrides of the command line, as `model=knn,popularity`.
        name: File of the primary config, without its ending.
        folders: Folders of configs beside that of the config groups, as of `-cd`. The loader knows
            them as well, unlike one that is told by an override of `hydra.searchpath`.
    """
    from hydra import initialize_config_dir
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode

    with initialize_config_dir(str(conf_dir().absolute()), version_base="1.3"):
        path = GlobalHydra.instance().config_loader().get_search_path()
        for folder in folders:
            path.prepend("command-line", f"file://{Path(folder).absolute()}", anchor="schema")
        loader = ConfigLoaderImpl(path)
        return loader, loader.load_configuration(name, list(overrides), RunMode.MULTIRUN)


def override(key: str, value: Any) -> str:
    """The override of a command line that gives a setting this value, whatever text is in it.

    Raises:
        ConfigError: The value has no form there.
    """
    return f"{key}={override_value(key, value)}"


def override_value(key: str, value: Any) -> str:
    """A value as an override writes it: a text is quoted where it would be read as something
    else."""
    value = value.item() if hasattr(value, "item") else value  # of numpy
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str | Path):
        return _quoted(str(value))
    if isinstance(value, Mapping):
        parts = (f"{name}:{override_value(key, part)}" for name, part in value.items())
        return "{" + ",".join(parts) + "}"
    if isinstance(value, Sequence):
        return "[" + ",".join(override_value(key, part) for part in value) + "]"
    raise ConfigError(
        f"{key} must be a number, a text, true or false, null, or a list or mapping of "
        f"those, not {value!r}."
    )


def _quoted(text: str) -> str:
    plain = re.fullmatch(r"[A-Za-z_/][\w./-]*", text, re.ASCII)
    if plain and text.lower() not in ("null", "true", "false", "nan", "inf"):
        return text
    escaped = re.sub(r"(\\*)'", r"\1\1\'", text)  # a backslash counts where a quote follows it
    return "'" + re.sub(r"(\\+)$", r"\1\1", escaped) + "'"


def build(cfg: DictConfig, node: str) -> Any:
    """The object that one node of the config describes."""
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate
    from omegaconf.errors import OmegaConfBaseException

    try:
        return instantiate(cfg[node], _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, RecsweepError):
            raise cause from None
        raise ConfigError(_unusable(cfg, error)) from error
    except OmegaConfBaseException as error:
        raise ConfigError(f"The settings under {node!r} can't be used: {error}") from error


def _unusable(cfg: DictConfig, error: Exception) -> str:
    """What can't be built of a node, in words: most often a setting too much or too little."""
    said = " ".join(str(error.__cause__ or error).split())
    full_key = re.search(r"full_key: (\S+)", str(error))
    node = full_key[1] if full_key else "the config"
    if strange := re.search(r"got an unexpected keyword argument '([^']*)'", said):
        there = OmegaConf.select(cfg, node, throw_on_missing=False) or {}
        known = [name for name in there if name not in ("_target_", strange[1])]
        return f"There is no setting {node}.{strange[1]}. {meant(strange[1], known)}"
    if missing := re.search(r"missing \d+ required keyword-only arguments?: (.*)", said):
        names = ", ".join(f"{node}.{name}" for name in re.findall(r"'([^']*)'", missing[1]))
        return f"{names} must be set. Leave out what takes it away."
    if strange := re.search(r"No module named '([^']*)'", said):
        return (
            f"The settings under {node!r} name {strange[1]}, a module that is not found. Name its "
            f"folder in PYTHONPATH, as PYTHONPATH=. where {strange[1]}.py lies here."
        )
    return f"The settings under {node!r} can't be used: {said}"


@dataclass(frozen=True)
class Sameness:
    """The settings that two things must have in common to be the same.

    Attributes:
        nodes: Nodes of the config whose settings count; empty where all do.
        without: Settings below them that do not.
    """

    nodes: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    def counts(self, setting: str) -> bool:
        """Whether one counts, by its flat name as `model.user_dim`."""
        counts = not self.nodes or is_below(setting, self.nodes)
        return counts and not is_below(setting, self.without)


SILENT = ("data.memory_gb", "data.item_titles")
"""Settings that change no number."""

SAME: Mapping[str, Sameness] = {
    "data": Sameness(("data", "split"), without=SILENT),
    # those after `model` are what its node may take in; where it is trained makes no other model
    "model": Sameness(
        ("model", "loss", "optimizer", "trainer", "examples", "fold_in"),
        without=tuple(
            f"model.trainer.{name}" for name in ("accelerator", "threads", "devices", "strategy")
        ),
    ),
    "run": Sameness(("data", "split", "model", "evaluation", "seed")),
    # what can't vary in a ranking: the values would be of different measures
    "measured": Sameness(
        ("evaluation",),
        without=("evaluation.test", "evaluation.max_stored_cells", "evaluation.batch_users"),
    ),
    # where runs are logged makes no other study, nor where the data lie: what is in them counts
    "study": Sameness(without=("tracking",)),
}
"""Settings that make two data sets, models, runs or studies the same; nothing else decides that."""


def plain(cfg: DictConfig, *, resolve: bool = True, complete: bool = False) -> dict[str, Any]:
    """A config, or a node of one, as plain values.

    Args:
        resolve: Replace interpolations by what they stand for.
        complete: Raise omegaconf's error where a value is missing, a `???`.
    """
    content = OmegaConf.to_container(cfg, resolve=resolve, throw_on_missing=complete)
    assert isinstance(content, dict)
    return {str(name): value for name, value in content.items()}


def data_settings(cfg: DictConfig) -> str:
    """Settings that decide the data and the split, as YAML: configs with equal ones share them."""
    nodes = OmegaConf.create({name: cfg[name] for name in SAME["data"].nodes})
    return OmegaConf.to_yaml(nodes, resolve=True)


QUIET: Mapping[str, Any] = {
    "data.validation_path": None,
    "data.test_path": None,
    "data.candidates_path": None,
    "data.shape": "auto",
    "data.decimal": "auto",
    "data.date_format": "auto",
    "data.encoding": "auto",
    "data.on_bad_rows": "error",
    "data.positive_values": None,
    "data.repeats": "latest",
    "data.sum_repeats": False,
    "data.zeros": None,
    "data.min_user_positives": None,
    "data.min_item_positives": None,
    "data.user_features": None,
    "data.item_features": None,
    "data.ignore_features": [],
    "split.rounding": "nearest",
    "evaluation.num_candidates": 100,
    "evaluation.candidates_seed": 0,
    "evaluation.validation_seed": 0,
    "trainer.evaluate_every": 1,
    "model.trainer.evaluate_every": 1,
    "trainer.devices": 1,
    "model.trainer.devices": 1,
    "trainer.strategy": "auto",
    "model.trainer.strategy": "auto",
}
"""Settings at the value that means what was meant before there was such a setting: there they make
no other run or study."""


def tells(setting: str, value: Any) -> bool:
    """Whether a setting at this value says anything of what a run or a study is."""
    return setting not in SILENT and not (setting in QUIET and QUIET[setting] == value)


def effective_config(cfg: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """The resolved settings that make a run what it is."""
    resolved = plain(cfg) if isinstance(cfg, DictConfig) else cfg
    return _telling({name: resolved[name] for name in SAME["run"].nodes})


def _telling(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings without those that say nothing."""
    return {
        name: _telling(value, f"{prefix}{name}.") if isinstance(value, Mapping) else value
        for name, value in settings.items()
        if tells(f"{prefix}{name}", value)
    }


def digest_of(settings: Mapping[str, str]) -> str:
    """A digest of settings as text, whatever their order."""
    text = json.dumps(dict(settings), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_below(setting: str, nodes: Sequence[str]) -> bool:
    """Whether a setting, by its flat name, is one of these nodes of the config or below one."""
    return any(setting == node or setting.startswith(f"{node}.") for node in nodes)


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as `model.user_dim` -> 15."""
    values: dict[str, Any] = {}
    for name, content in settings.items():
        if isinstance(content, Mapping):
            values |= flat(content, f"{prefix}{name}.")
        else:
            values[f"{prefix}{name}"] = content
    return values
