"""What each setting means, in the words of its YAML file, else of the docstring of what it is
passed to: for `--help` and the reference. Nothing of that is imported."""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from recsweep.config import composed, conf_dir
from recsweep.config import option as option_of

ORDER = (
    "data",
    "split",
    "examples",
    "model",
    "loss",
    "optimizer",
    "trainer",
    "fold_in",
    "evaluation",
    "tracking",
)
"""The groups as a run goes through them."""

PACKAGE = Path(__file__).parent


@dataclass(frozen=True)
class Setting:
    """A setting of a config.

    Attributes:
        name: As on the command line, `model.user_dim`.
        value: Its value in the config.
        words: What it means; empty where nobody says it.
    """

    name: str
    value: Any
    words: str


@dataclass(frozen=True)
class Group:
    """A config group, as one of its options fills it.

    Attributes:
        name: As on the command line, `model` or `hydra/sweeper/sampler`.
        option: The option that is chosen.
        options: All of them.
        words: What the chosen one is.
    """

    name: str
    option: str
    options: tuple[str, ...]
    words: str
    settings: tuple[Setting, ...]


def groups_of(overrides: list[str]) -> list[Group]:
    """The groups of the config that a command line makes, the study's at the end."""
    cfg = composed(overrides, with_hydra=True)
    choices: Mapping[str, str] = cfg.hydra.runtime.choices
    groups = []
    for name, option in choices.items():
        folder = conf_dir() / name
        if option is None or not (folder / f"{option}.yaml").is_file():
            continue
        node = OmegaConf.select(cfg, name.replace("/", "."))
        inner = [other for other in choices if other.startswith(f"{name}/")]
        groups.append(_group(name, option, node, inner))
    return sorted(groups, key=_place)


def every_option(name: str) -> list[Group]:
    """A group once for each of its options, each as its file fills it."""
    options = sorted(path.stem for path in (conf_dir() / name).glob("*.yaml"))
    return [_group(name, option, option_of(name, option), []) for option in options]


def _place(group: Group) -> tuple[int, str]:
    return ORDER.index(group.name) if group.name in ORDER else len(ORDER), group.name


def _group(name: str, option: str, node: DictConfig, inner: list[str]) -> Group:
    """A group by its node in the config, and the names of the groups that lie in it."""
    folder, key = conf_dir() / name, name.replace("/", ".")
    words = _words_of(folder, option)
    documented = words_of_target(node.get("_target_", ""))
    settings = tuple(
        Setting(f"{key}.{place}", value, _sentence(words.get(place) or documented.get(place, "")))
        for place, value in _leaves(node, [each.rpartition("/")[2] for each in inner])
    )
    options = tuple(sorted(path.stem for path in folder.glob("*.yaml")))
    return Group(name, option, options, _sentence(words.get("", "")), settings)


def _sentence(words: str) -> str:
    """Comments behind a setting have no capital and no full stop; names of settings stay."""
    first = words[:1].upper() if re.match(r"[a-z]+ ", words) else words[:1]
    return f"{first}{words[1:]}" + ("" if not words or words[-1] in ".!?" else ".")


def _leaves(node: DictConfig, without: list[str]) -> Iterator[tuple[str, Any]]:
    """Settings of a node by their names in it; what stands in another group is left out."""
    for name in map(str, node):
        is_elsewhere = OmegaConf.is_interpolation(node, name) or name in without
        if name.startswith("_") or name == "kind" or is_elsewhere:
            continue
        value = node[name]
        if isinstance(value, DictConfig) and value and name != "confirm":
            for place, leaf in _leaves(value, []):
                yield f"{name}.{place}", leaf
        else:
            yield name, OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def _words_of(folder: Path, option: str) -> dict[str, str]:
    """The comments of an option's file and of those it builds on, by setting; its own by ''."""
    text = (folder / f"{option}.yaml").read_text(encoding="utf-8")
    words: dict[str, str] = {}
    for base in re.findall(r"^defaults: \[(.*)\]$", text, flags=re.MULTILINE):
        for name in base.split(", "):
            if name != "_self_":
                words |= _words_of(folder, name)
    above: list[str] = []
    parent = last = ""
    for line in text.splitlines()[1:]:  # the first is a command
        if line.startswith("#"):
            above.append(line.lstrip("# "))
        elif line.strip().startswith("#") and last:  # goes on what stands behind a setting
            words[last] = f"{words[last]} {line.strip().lstrip('# ')}"
        elif found := re.match(r"( *)(\w+):([^#]*)(?:#\s*(.*))?$", line):
            indent, name, value, behind = found.groups()
            parent = name if not indent and not value.strip() else parent if indent else ""
            if name in ("_target_", "defaults", "kind") and not indent:
                words[""] = " ".join(above) or words.get("", "")
            elif above or behind:
                last = f"{parent}.{name}" if indent else name
                words[last] = " ".join([*above, *([behind] if behind else [])])
            above = []
    return words


@cache
def words_of_target(target: str) -> dict[str, str]:
    """What the docstring of a class or function says of its arguments, and of those of what it is
    made from."""
    found = _definition(target)
    if found is None:
        return {}
    node, module = found
    words: dict[str, str] = {}
    if isinstance(node, ast.ClassDef):
        for base in node.bases:
            if isinstance(base, ast.Name):
                words |= words_of_target(f"{module}.{base.id}")
    return words | _arguments(ast.get_docstring(node) or "")


def _definition(target: str) -> tuple[ast.ClassDef | ast.FunctionDef, str] | None:
    """The code of a dotted name of the package, and the module that it stands in."""
    module, _, name = target.rpartition(".")
    if not module.startswith("recsweep"):
        return None
    path = PACKAGE.parent / module.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not path.is_file():
        return None
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return node, module
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _definition(f"{node.module}.{alias.name}")
    return None


def _arguments(docstring: str) -> dict[str, str]:
    """The entries of the sections `Args` and `Attributes`."""
    words: dict[str, str] = {}
    for section in re.findall(
        r"^(?:Args|Attributes):\n((?:[ ]+.*\n?|\n)*)", docstring, flags=re.MULTILINE
    ):
        for entry in re.split(r"\n(?=    \S)", section.rstrip("\n")):
            name, _, text = " ".join(entry.split()).partition(": ")
            words[name] = text
    return words
