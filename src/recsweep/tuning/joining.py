"""A study's command, composed again on a machine that knows nothing but the database of studies."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from recsweep.config import multirun, override, plain
from recsweep.errors import ConfigError, StudyError, UntrustedError
from recsweep.masking import MASK
from recsweep.mistakes import composed_in_words
from recsweep.trust import check_stored
from recsweep.tuning.options import StudyOptions
from recsweep.tuning.space import plain_key
from recsweep.tuning.storage import open_storage, storage_url
from recsweep.tuning.stored_lines import said_in, stored_lines
from recsweep.tuning.study import Study
from recsweep.tuning.sweep import JOINING, Job

SWEEPER = ("hydra.sweeper.", "hydra/sweeper/")
"""Beginnings of the settings of a study itself."""


def join(
    name: str, overrides: Sequence[str] = (), n_jobs: int | None = None
) -> tuple[StudyOptions, Job]:
    """What conducts a study on this machine too.

    Args:
        name: Name of the study.
        overrides: Settings that are otherwise here, as `data.path=...`.
        n_jobs: Trials at once; None for what the study's sampler bears.

    Raises:
        StudyError: There is no such study, or an earlier version has not stored its command.
        ConfigError: Its command can't be composed here.
        UntrustedError: What is stored would run something that is not recsweep's own.
    """
    study = Study(open_storage(storage_url(None)), name)
    notes, what = study.notes(), f"The study {name!r}"
    command = notes.get(JOINING)
    if command is None:
        raise StudyError(
            f"{what} was begun by an earlier version, which did not store all that a worker needs. "
            f"Run its command here instead, which joins it: {_command_line(name, notes)}"
        )
    given = {plain_key(line.partition("=")[0]) for line in overrides}
    lines = [
        each for each in command["overrides"] if plain_key(each.partition("=")[0]) not in given
    ]
    for line in (line for line in lines if MASK in line):
        raise ConfigError(
            f"{what} was stored without the secret in {line}. Give it again: recsweep worker "
            f"{shlex.quote(name)} '{line.partition('=')[0]}=...'"
        )
    own = [line for line in lines if plain_key(line).startswith(SWEEPER)]
    arguments = [*stored_lines([line for line in lines if line not in own], what), *overrides]
    if "data.path" in given and not any(plain_key(each).startswith("data=") for each in arguments):
        arguments.insert(0, "data=file")
    settings = [*own, override("hydra.sweeper.study_name", name)]
    if n_jobs is not None:
        settings.append(override("hydra.sweeper.n_jobs", n_jobs))
    folders = command["config_dirs"]
    if missing := [path for path in folders if not Path(path).is_dir()]:
        raise ConfigError(
            f"{what} has a config of its own in {missing[0]}, which is not there on this machine. "
            "Copy that folder, or run its command here instead, which joins it: "
            f"{_command_line(name, notes)}"
        )
    with composed_in_words([*arguments, *settings]):
        loader, master = multirun([*arguments, *settings], command["config_name"], folders)
    sweeper = plain(master.hydra.sweeper)
    for key in ("_target_", "_recursive_", "_convert_"):
        sweeper.pop(key, None)
    _check(sweeper, what)
    options = StudyOptions.of(sweeper)
    check_stored(_without_hydra(master), what, said_in(overrides))
    return options, Job(loader, master, tuple(map(str, master.hydra.overrides.task)))


def _check(sweeper: Mapping[str, Any], what: str) -> None:
    """Raise UntrustedError where a stored sampler or pruner is none that a store may name."""
    if sweeper.get("storage") is not None:
        raise UntrustedError(f"{what} stores hydra.sweeper.storage, which no study does.")
    parts = {name: sweeper[name] for name in ("sampler", "pruner")}
    check_stored(OmegaConf.create(parts), what)


def _without_hydra(master: Any) -> Any:
    content = plain(master, resolve=False)
    content.pop("hydra", None)
    return OmegaConf.create(content)


def _command_line(name: str, notes: Mapping[str, Any]) -> str:
    """The command that a study was made by, as far as it is stored."""
    varied = [f"{key}='{words}'" for key, words in (notes.get("space") or {}).items()]
    lines = [shlex.quote(line) for line in (notes.get("command") or {}).get("overrides", ())]
    words = ["python train.py -m", *lines, *varied]
    return " ".join([*words, f"hydra.sweeper.study_name={shlex.quote(name)}"])
