"""Studies: the same as the command line's, conducted in a notebook."""

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import OmegaConf

from recsweep.checks import check_choice
from recsweep.config import build, multirun, override, override_value, plain
from recsweep.errors import ConfigError
from recsweep.mistakes import composed_in_words
from recsweep.notebook.data import Dataset
from recsweep.notebook.settings import composition, options_of
from recsweep.notebook.shown import html

if TYPE_CHECKING:
    from pandas import DataFrame

    from recsweep.tuning.records import StudyRecord, TrialRecord

SWEEPS = "choice|range|interval|glob|tag|shuffle|sort|int|float|str|bool"
"""Functions of Hydra's command line that a text may call, as a regular expression."""


@dataclass(frozen=True, eq=False, repr=False)
class Study:
    """A study as it stands: its trials, best first, and what it concludes.

    Attributes:
        record: The study and its trials.
        words: Sentences on who wins and how, or why nobody does.
    """

    record: "StudyRecord"
    words: str

    @property
    def name(self) -> str:
        """Name by which the commands find it, as `recsweep refit NAME`."""
        return self.record.name

    @property
    def best(self) -> dict[str, Any]:
        """Settings that are varied, of the first of the leaderboard; empty where there is none, or
        where the trials can't be compared."""
        return {} if self.record.best is None else dict(self.record.best.params)

    def to_frame(self) -> "DataFrame":
        """The leaderboard: a row a finished trial, the best first; of trials that were measured on
        different data or splits, the best of each group first."""
        from pandas import DataFrame

        groups = self.record.groups
        rows = [
            {
                **({"measured_on": group.label} if len(groups) > 1 else {}),
                "trial": trial.number,
                "name": trial.name,
                **trial.params,
                **dict(zip(map(_plain, _measures(trial, self.record)), trial.values, strict=True)),
                **_spread(trial),
                "epochs": trial.epochs,
                "seconds": trial.seconds,
                "parameters": trial.num_parameters,
                "run": trial.run_id,
            }
            for group in groups
            for trial in group.trials
        ]
        return DataFrame(rows)

    def __repr__(self) -> str:
        from recsweep.tuning.records import counts

        return f"study {self.name}: {counts(self.record)}. {self.words}"

    def _repr_html_(self) -> str:
        return html(self.to_frame(), repr(self))


def study(
    settings: Mapping[str, Any],
    *,
    data: Dataset | None = None,
    name: str | None = None,
    n_trials: int | None = None,
    n_jobs: int | None = 1,
    verbose: bool = False,
    **options: Any,
) -> Study:
    """Conduct a study, or go on with it: the one that `python train.py -m` makes of the settings.

    Args:
        settings: Name of a setting to its value, as {"model": "recipe_net", "model.user_dim": [10,
            15, 20]}. A list, a range or an array is varied over; a tuple is one value; a text as
            "interval(1e-4, 1e-1)" is a sweep of the command line's.
        data: What the models learn from; None for what the settings say, by default
            `data=synthetic`.
        name: Name of the study; None for one that follows from the settings and the data.
        n_trials: Number of trials of a search; None for 20, or for every combination of lists and
            ranges.
        n_jobs: Trials at once, in worker processes; None for as many as `-m` takes. A worker
            imports the main module: what a script does belongs under `if __name__ == "__main__":`.
        verbose: Print each trial and the leaderboard, as the command does.
        options: Other settings of `hydra.sweeper`, as `timeout=600` or `confirm={"top": 3}`.

    Raises:
        RecsweepError: What a user can mend; the same call goes on with the study.
    """
    overrides = [] if data is None else list(data.overrides)
    _check_keys(settings, overrides)
    overrides += [f"{key}={_sweep(key, value)}" for key, value in settings.items()]
    given = {"study_name": name, "n_trials": n_trials, "n_jobs": n_jobs} | options
    known = _sweeper_settings()
    for key, value in given.items():
        if key not in known:
            raise ConfigError(
                f"A study has no setting {key!r}. Its settings are {', '.join(known)}."
            )
        if value is not None:
            overrides.append(override(f"hydra.sweeper.{key}", value))
    with warnings.catch_warnings(), nullcontext() if verbose else redirect_stdout(io.StringIO()):
        # of tqdm, whose bars are not shown
        warnings.filterwarnings("ignore", "IProgress not found")
        record, tags = _conducted(overrides)
    from recsweep.tuning.records import missing_words

    sentences = (missing_words(record), _conclusion(record, tags))
    return Study(record, " ".join(sentence for sentence in sentences if sentence))


def _sweeper_settings() -> list[str]:
    from recsweep.tuning.options import StudyOptions

    return [field.name for field in fields(StudyOptions) if field.name not in ("sampler", "pruner")]


def _check_keys(settings: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Raise ConfigError for a setting that there is not.

    Where a group is varied, the study itself looks.
    """
    groups = {key: value for key, value in settings.items() if "/" not in key and options_of(key)}
    if any(
        not isinstance(value, str) or value not in options_of(key) for key, value in groups.items()
    ):
        return
    cfg = composition([*overrides, *(override(key, value) for key, value in groups.items())])
    for key in settings:
        node, _, name = key.rpartition(".")
        content = OmegaConf.select(cfg, node) if node else cfg
        beside = content if OmegaConf.is_dict(content) else {}
        if key in groups or key.startswith(("+", "~", "hydra")) or name in beside:
            continue
        known = ", ".join(str(name) for name in beside if name != "_target_")
        raise ConfigError(
            f"There is no setting {key!r}. {node or 'The config'} has {known or 'none'}."
        )


def _sweep(key: str, value: Any) -> str:
    """The override of the command line for a setting that is fixed, or varied over values."""
    if isinstance(value, str) and re.fullmatch(rf"({SWEEPS})\(.*\)", value, re.DOTALL):
        return value
    if "/" not in key and options_of(key):
        for option in [value] if isinstance(value, str) else value:
            check_choice(key, option, options_of(key))
    if isinstance(value, list | range | np.ndarray):
        if len(value) == 0:
            raise ConfigError(f"{key} is varied over an empty list. Give it values.")
        return ",".join(override_value(key, part) for part in value)
    return override_value(key, value)


def _conducted(overrides: Sequence[str]) -> "tuple[StudyRecord, Mapping[str, str]]":
    """A study that a command line with `-m` makes, conducted to its end, and its run's tags."""
    from recsweep.tracking import existing_store
    from recsweep.tuning.arguments import as_meant
    from recsweep.tuning.conduct import conduct
    from recsweep.tuning.options import StudyOptions
    from recsweep.tuning.records import MissingPointsError
    from recsweep.tuning.sweep import Job

    with composed_in_words(overrides):
        loader, master = multirun(as_meant(overrides))
    settings = {
        key: value
        for key, value in plain(master.hydra.sweeper).items()
        if key not in ("_target_", "_recursive_", "_convert_")
    }
    job = Job(loader, master, tuple(str(line) for line in master.hydra.overrides.task))
    try:
        record = conduct(StudyOptions.of(settings), job)
    except MissingPointsError as error:
        record = error.record
    if record.parent_run is None:
        return record, {}
    return record, existing_store(build(master, "tracking")).record(record.parent_run).tags


def _conclusion(record: "StudyRecord", tags: Mapping[str, str]) -> str:
    """The conclusion of a study, as the tags of its own run say."""
    from recsweep.tuning.conclusion import first_look

    if "verdict" in tags:
        return tags["verdict"]
    if record.best is None or "best_trial" in tags:
        return first_look(record).words
    return (
        "The second look is missing: no winner is named before it. The same call goes on with it."
    )


def _measures(trial: "TrialRecord", record: "StudyRecord") -> Sequence[str]:
    return trial.objectives or record.objectives


def _spread(trial: "TrialRecord") -> dict[str, Any]:
    """What is said of a point that is repeated: standard deviations, and how many repeats."""
    if not trial.repeated:
        return {}
    names = map(_plain, trial.objectives)
    deviations = {f"{name}_sd": sd for name, sd in zip(names, trial.deviations, strict=True)}
    return {**deviations, "repeats": len(trial.repeated)}


def _plain(name: str) -> str:
    return name.removeprefix("validation/")


def asked_for(what: "Study | DataFrame | str | Sequence[str]") -> tuple[list[str], str | None]:
    """Ids of runs, and the name of a study: one of them."""
    if isinstance(what, Study):
        return [], what.name
    if isinstance(what, str):
        return [what], None
    ids: Any = what
    if hasattr(ids, "columns"):
        ids = ids.get("run", ())
        if not len(ids):
            raise ConfigError(
                "A table of runs must have rows, and their ids in the column 'run', as that of "
                "runs() has."
            )
    return [str(run_id) for run_id in ids], None
