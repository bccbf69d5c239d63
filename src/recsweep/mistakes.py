"""What people mistype in settings, said in one sentence: which word, what is wrong with it, and the
form that works."""

import errno
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from omegaconf import DictConfig, OmegaConf

from recsweep.checks import meant, nearest, short
from recsweep.config import CHOSEN, conf_dir, flat, option, override, plain
from recsweep.errors import ConfigError, RecsweepError


@contextmanager
def composed_in_words(overrides: Sequence[str] = ()) -> Iterator[None]:
    """Turn what Hydra raises while it composes a config into a ConfigError.

    Args:
        overrides: The overrides of the command line, in its order.
    """
    try:
        yield
    except (RecsweepError, BrokenPipeError):  # the latter of `--help | head`
        raise
    # beside its own, what its parser and the files raise: ValueError for digits without end,
    # RecursionError, OSError, YAMLError
    except Exception as error:
        raise ConfigError(words(error, overrides)) from error


def words(error: BaseException, overrides: Sequence[str]) -> str:
    """One sentence of ours for what Hydra says of these overrides in several lines."""
    from hydra.errors import MissingConfigException, OverrideParseException

    if isinstance(error, OverrideParseException):
        return _unreadable(error.override, overrides)
    if isinstance(error, MissingConfigException):
        return _missing(error)
    said = " ".join(str(error).split("\n\n")[0].split()) or type(error).__name__
    for pattern, sentence in (
        (r"Could not override '([^']*)'", _unknown),
        (r"Ambiguous value for argument '(.*?)' 1\.", _several),
        (r"Sweep parameters '(.*)' requires --multirun", _several),
        (r"Sweeping over Hydra's configuration is not supported : '(.*)'", _hydra_varied),
        (r"Could not append to config. An item is already at '([^']*)'", _there_already),
        (r"Could not delete (?:from config. )?'([^']*)'", _not_there),
    ):
        if found := re.search(pattern, said):
            # within a mapping it is not the mapping that is unknown
            full = getattr(error.__cause__, "full_key", None) if sentence is _unknown else None
            return sentence(full or found[1], overrides)
    if said.startswith("Config group override must be"):
        return "A group takes the name of one of its options, as model=knn: not a number, not null."
    reasons = [said, *([str(error.__cause__)] if error.__cause__ else [])]
    reason = " ".join(" ".join(text.splitlines()[0].split()) for text in reasons if text.strip())
    if isinstance(error, ValueError) and "integer string conversion" in reason:
        reason = f"the value of {_longest(overrides)} has more digits than a number may have"
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        reason = f"the name {_longest(overrides, of_names=True)} is too long"
    if type(error).__module__.startswith("yaml."):
        reason = f"a file of settings is no YAML: {' '.join(said.split())}"
    if isinstance(error, RecursionError):
        reason = f"the value of {_longest(overrides)} is nested too deeply"
    return f"The settings can't be used: {reason.rstrip('.')}. Correct them, or leave them out."


def in_shell(line: str) -> str:
    """A word of a command line, quoted as a shell takes it for one."""
    if not set(line) & set('"$`\\!'):
        return f'"{line}"'
    return shlex.quote(line)


def refuse_unused(cfg: DictConfig, varied: Iterable[str] = ()) -> None:
    """Raise ConfigError for a setting at the top that nothing reads: a mistyped one would count for
    nothing.

    Args:
        varied: Overrides that a study varies, which the config does not have yet.
    """
    known = _at_the_top()
    written = OmegaConf.to_yaml(cfg)
    added = [re.split(r"[.=@/]", line.lstrip("+"))[0] for line in varied if line[:1] == "+"]
    for name in [*sorted(map(str, cfg)), *added]:
        if name not in (*known, "hydra", CHOSEN) and not re.search(
            rf"\${{{re.escape(name)}\b", written
        ):
            raise ConfigError(
                f"Nothing reads the setting {short(name)}. {meant(name, known)} A note of your own "
                f"on the run is a tag: +tags.{name if name.isidentifier() else 'name'}=value"
            )


def _at_the_top() -> list[str]:
    """Names of the nodes of a config and of the settings beside them."""
    primary = _read("config.yaml")
    return [*_defaults(primary), *(name for name in primary if name not in ("defaults", "hydra"))]


def _read(name: str) -> dict:
    file = OmegaConf.load(conf_dir() / name)
    assert isinstance(file, DictConfig)
    return plain(file, resolve=False)


def _defaults(primary: Mapping) -> dict[str, str]:
    """Group -> option of the defaults list of a config."""
    chosen: dict[str, str] = {}
    for entry in primary["defaults"]:
        if isinstance(entry, dict):
            chosen |= {name: option for name, option in entry.items() if " " not in name}
    return chosen


def _unreadable(line: str, overrides: Sequence[str]) -> str:
    key, is_setting, value = line.partition("=")
    shown = short(line)
    if not is_setting:
        place = overrides.index(line) if line in overrides else 0
        before = overrides[place - 1] if place else ""
        if "=" in before and _reads(both := _quoted(f"{before} {line}")):
            return (
                f"{shown!r} is no setting, as name=value. If it belongs to the value before it, "
                f"quote both: {in_shell(both)}"
            )
        return f"{shown!r} is no setting. Write it as name=value, as model=knn."
    if not re.fullmatch(r"[+~]{0,2}[A-Za-z_$][\w$-]*([./@:][\w$-]+)*", key, re.ASCII):
        return (
            f"{short(key)!r} is no name of a setting: names are words with dots between them, as "
            "model.user_dim."
        )
    quoted = _quoted(line)
    if value[:1] in "[{('\"" or re.match(r"\w+\(", value) or not _reads(quoted):
        rule = (
            "a list is written as [1,2], a mapping as {a:1}, a range as range(1,10), each bracket "
            "and quote closed"
        )
        remedy = f", and a text with such signs as {in_shell(quoted)}" if _reads(quoted) else ""
        return f"The value of {key} can't be read, {short(value)!r}: {rule}{remedy}."
    signs = "".join(dict.fromkeys(re.sub(r"[\w./:+%@ -]", "", value, flags=re.ASCII)))
    return (
        f"The value of {key} can't be read, {short(value)!r}: a text with {signs or 'such signs'} "
        f"needs quotes of its own within those of the shell: {in_shell(quoted)}"
    )


def _quoted(line: str) -> str:
    key, _, value = line.partition("=")
    return override(key, value)


def _reads(line: str) -> bool:
    """Whether Hydra reads a line, and as the text that it quotes."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        OverridesParser.create().parse_overrides([line])
    except (HydraException, ValueError, RecursionError):
        return False
    return True


def _missing(error: Exception) -> str:
    said = " ".join(str(error).split())
    options = getattr(error, "options", None)
    if (found := re.match(r"(?:In '[^']*': )?Could not find '([^']*)/([^'/]*)'", said)) and options:
        group, option = found[1], found[2]
        shown = short(option) or "of an empty name"
        if group == "hydra/launcher" and _engine_for(option):
            return launcher_in_words(option)
        return f"{group} has no option {shown}. {meant(option, options)}"
    if found := re.match(r"Cannot find primary config '([^']*)'", said):
        return (
            f"There is no config {short(found[1])}.yaml. Name the folder that holds it with "
            "--config-dir, and the file without its ending with --config-name."
        )
    return f"The settings can't be used: {said.partition(' Config search path')[0]}"


def launcher_in_words(launcher: str) -> str:
    """Why a study takes none of Hydra's launchers, which train in batches with a barrier after each
    and write what a trial is told into files, and what does the same.

    Args:
        launcher: Name of the option, or of its class.
    """
    engine = _engine_for(launcher) or "hydra.sweeper.n_jobs or hydra.sweeper.engine=ray"
    return (
        f"A study places its own workers, without Hydra's launchers: leave out hydra/launcher, and "
        f"take {engine}."
    )


def _engine_for(launcher: str) -> str | None:
    """What of a study stands in for a launcher; None for one that is not known."""
    known = {
        "joblib": "hydra.sweeper.n_jobs=8 for eight processes of this machine",
        "ray": "hydra.sweeper.engine=ray, with hydra.sweeper.ray_address for a cluster that runs",
        "submitit": "`recsweep worker STUDY` in an array of jobs, as docs/team.md shows for SLURM",
        "rq": "`recsweep worker STUDY` on each machine",
    }
    return next((known[name] for name in known if name in launcher.lower()), None)


def _unknown(key: str, overrides: Sequence[str]) -> str:
    if not key:
        return "A setting needs a name before its =, as model=knn."
    if f"~{key}" in overrides:
        return f"~{key} leaves out {key}, and another setting is in it. Leave one of them away."
    if "/" in key:
        return f"There is no group of options {short(key)}. {meant(key, _groups())}"
    options_with, chosen = _settings(), _chosen(overrides)
    there = {name for name, options in options_with.items() if any(o in chosen for o in options)}
    said = f"There is no setting {short(key)}"
    if options := [option for option in options_with.get(key, ()) if option != ""]:
        group = options[0].partition("=")[0]
        present = next((option for option in chosen if option.startswith(f"{group}=")), group)
        return f"{said} in {present}: {_listed(options)} has it."
    if found := nearest(key, there) or nearest(key, options_with):
        return f"{said}. Did you mean {found}?"
    node = key.rpartition(".")[0]
    within = sorted(name for name in there if node and name.startswith(f"{node}."))
    if within:
        return f"{said}. There {'is' if len(within) == 1 else 'are'} {', '.join(within)}."
    return f"{said}. `recsweep train --help` shows all there are."


def _listed(options: Sequence[str]) -> str:
    return " or ".join([", ".join(options[:-1]), options[-1]] if options[1:] else options)


def _several(line: str, overrides: Sequence[str]) -> str:
    key, _, value = line.partition("=")
    as_list = re.fullmatch(r"[^\[\](){}]*", value) and key not in _groups()
    listed = f", or write a list as {in_shell(f'{key}=[{value}]')}" if as_list else ""
    return f"{short(line)} is several values, and one run has one: add -m for a study{listed}."


def _hydra_varied(line: str, overrides: Sequence[str]) -> str:
    key, _, value = line.partition("=")
    return (
        f"{short(key)} can't be varied, {short(value)!r}: the settings of a study are the same for "
        f"all its trials. Give it one value, or write a list as {in_shell(f'{key}=[{value}]')}."
    )


def _there_already(key: str, overrides: Sequence[str]) -> str:
    return f"There is a setting {short(key)} already. Leave out the + before it."


def _not_there(key: str, overrides: Sequence[str]) -> str:
    return (
        f"The setting {short(key)} can't be left out by ~: there is none of that name and value. "
        "Leave that away."
    )


def _longest(overrides: Sequence[str], *, of_names: bool = False) -> str:
    """The name of the setting whose value, or whose name, is the longest."""
    parts = [line.partition("=") for line in overrides] or [("a setting", "", "")]
    name, _, _ = max(parts, key=lambda part: len(part[0] if of_names else part[2]))
    return short(name)


def _groups() -> list[str]:
    folder = conf_dir()
    return sorted({str(path.parent.relative_to(folder)) for path in folder.glob("*/**/*.yaml")})


def _settings() -> dict[str, list[str]]:
    """The full name of each setting that the configs have, and the options it belongs to, as
    `model=knn`; an empty one for those of no group."""
    found: dict[str, list[str]] = {}
    for group in _groups():
        for path in sorted((conf_dir() / group).glob("*.yaml")):
            content = plain(option(group, path.stem), resolve=False)
            prefix = f"{group.replace('/', '.')}."
            for name in flat(content, prefix):
                if not name.rpartition(".")[2].startswith("_"):
                    found.setdefault(name, []).append(f"{group}={path.stem}")
    primary = _read("config.yaml")
    for name in [*_defaults(primary), *flat({**primary, "defaults": {}}), "tags"]:
        found.setdefault(name, []).append("")
    return found


def _chosen(overrides: Sequence[str]) -> set[str]:
    """The options that a command line chooses, as `model=knn`, and an empty one."""
    options = {**_defaults(_read("config.yaml")), "hydra/sweeper": "study"}
    of_study = _defaults(_read("hydra/sweeper/study.yaml"))
    options |= {f"hydra/sweeper/{group}": option for group, option in of_study.items()}
    for line in overrides:
        key, _, value = line.partition("=")
        if key.lstrip("+") in _groups():
            options[key.lstrip("+")] = value
    several = {f"{group}={part}" for group, value in options.items() for part in value.split(",")}
    return several | {""}
