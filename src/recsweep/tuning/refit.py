"""Retrain what a study has chosen, and evaluate the test part: once, counted, and linked to the
study."""

import copy
import hashlib
import json
import logging
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf, open_dict

from recsweep.checks import check_integer
from recsweep.config import build, composed, effective_config, primary_of
from recsweep.errors import ConfigError, StudyError
from recsweep.masking import MASK, mask
from recsweep.measures import shown
from recsweep.mistakes import composed_in_words
from recsweep.models.base import Fit
from recsweep.pipeline import run_each
from recsweep.run.record import PARENT, Outcome
from recsweep.tracking import TrackingOptions, finished_runs
from recsweep.trust import check_stored
from recsweep.tuning.compose import has
from recsweep.tuning.earlier import as_begun
from recsweep.tuning.records import StudyRecord, TrialRecord, decides_what_is_measured
from recsweep.tuning.space import plain_key
from recsweep.tuning.storage import open_storage, storage_url
from recsweep.tuning.stored_lines import said_in, stored_lines
from recsweep.tuning.study import Study

log = logging.getLogger(__name__)

SETTINGS_TAG = "refit_settings"
"""A digest of all that makes a refit over splits what it is, by which it is found again."""


@dataclass(frozen=True, kw_only=True)
class RefitOptions:
    """What to retrain.

    Args:
        study: Name of the study.
        storage: SQLAlchemy URL of the database of studies; None for the store's own.
        trial: Number of the trial; None for the winner.
        top: Number of trials from the top of the leaderboard, in place of one trial.
        best_of: Name of a setting, as `model`: the best trial for each of its values, in place of
            those.
        seeds: Number of seeds that each is trained with: the study's and those after it, or, where
            the study has a second look, those after the seeds of that one.
        splits: Number of splits that each is trained on, from the study's on, by the seeds of
            their rule; a model that no seed changes is then trained once on each, and what is there
            already is not trained again. None for the study's own split.
        workers: Number of processes that train; None for one a core, where the memory holds them.
        overrides: Settings that differ from the study's and from those of its second look, as
            `trainer.max_epochs=20`.
    """

    study: str
    storage: str | None = None
    trial: int | None = None
    top: int | None = None
    best_of: str | None = None
    seeds: int = 1
    splits: int | None = None
    workers: int | None = None
    overrides: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_integer("--trial", self.trial, minimum=0, optional=True)
        check_integer("--top", self.top, minimum=1, optional=True)
        check_integer("--seeds", self.seeds, minimum=1, maximum=1000)
        check_integer("--splits", self.splits, minimum=1, maximum=1000, optional=True)
        check_integer("--workers", self.workers, minimum=1, optional=True)
        if sum(choice is not None for choice in (self.trial, self.top, self.best_of)) > 1:
            raise ConfigError(
                "--trial, --top and --best-of each say what to refit: give one of them."
            )


def refit(options: RefitOptions, conf: Path) -> list[Outcome]:
    """Train the chosen trials anew with the test part evaluated; one outcome a trial and seed,
    failures among them.

    Args:
        options: What to retrain.
        conf: The folder of config groups.

    Raises:
        StudyError: There is no such study or trial, or the study has no finished one.
        RecsweepError: What a user can mend.
    """
    study = Study(open_storage(storage_url(options.storage)), options.study)
    record, notes = study.record(), study.notes()
    chosen = _chosen(options, record, notes)
    look = notes.get("second_look") or {}
    if look:
        stored_lines(look["overrides"], f"The study {record.name!r}")
        log.info("%s", _like_second_look(look, options))
    trained = []
    for trial in chosen:
        first = max(look["seeds"]) + 1 if look else trial.seed or 0
        seeds = range(first, first + options.seeds)
        own = _notes_for(options, conf, record, notes, trial)
        trained.append(
            (trial, [_config(options, conf, record, own, trial, seed) for seed in seeds])
        )
    if options.splits is not None:
        return _over_splits(options, study, trained)
    cfgs = [cfg for _, own in trained for cfg in own]
    return run_each(cfgs, workers=options.workers, tell=partial(_count, study))


def _over_splits(
    options: RefitOptions, study: Study, trained: Sequence[tuple[TrialRecord, Sequence[DictConfig]]]
) -> list[Outcome]:
    """Train trials on several splits, split after split; what is there already is taken.

    Args:
        trained: Trials with their configs, one a seed.
    """
    splits, wanted = options.splits or 1, []
    for trial, cfgs in trained:
        first = OmegaConf.select(cfgs[0], "split.seed")
        if type(first) is not int:
            raise ConfigError(
                f"--splits {splits}: the rule of the split of trial {trial.number} draws nothing, "
                f"as its seed is {first}. Leave --splits out."
            )
        is_random = build(cfgs[0], "model").is_random
        for place, cfg in product(range(splits), cfgs if is_random else cfgs[:1]):
            cfg = copy.deepcopy(cfg)
            cfg.split.seed = first + place
            settings = json.dumps(effective_config(cfg), sort_keys=True, default=str)
            with open_dict(cfg):
                cfg.tags[SETTINGS_TAG] = hashlib.sha256(settings.encode()).hexdigest()[:16]
            wanted.append((place, trial, cfg))
    tracking = wanted[0][2].tracking
    store = TrackingOptions(uri=tracking.uri, experiment=tracking.experiment)
    there = {
        (run.tags.get(SETTINGS_TAG), run.measured_on[1]): run
        for run in finished_runs(store, study=study.name)
    }
    wanted.sort(key=lambda each: each[0])
    found: dict[int, Outcome] = {}
    for place, (_, trial, cfg) in enumerate(wanted):
        run = trial.digests and there.get((cfg.tags[SETTINGS_TAG], trial.digests[0]))
        if run:
            log.info("%s with seed %d, split %d is there", run.name, cfg.seed, cfg.split.seed)
            fit = Fit(int(run.metrics["fit/epochs"]), seconds=run.metrics["fit/seconds"])
            found[place] = Outcome(run.id, run.name, fit, metrics=run.metrics)
    missing = [place for place in range(len(wanted)) if place not in found]
    cfgs = [wanted[place][2] for place in missing]
    outcomes = run_each(cfgs, workers=options.workers, tell=partial(_count, study))
    found |= dict(zip(missing, outcomes, strict=True))
    return [found[place] for place in range(len(wanted))]


def _like_second_look(look: Mapping[str, Any], options: RefitOptions) -> str:
    """What a refit takes over from a study's second look, in words."""
    seeds = f"fresh seeds from {max(look['seeds']) + 1} on, after those that chose the winner"
    settings = " ".join(look["overrides"])
    if not settings:
        return f"refit with {seeds}"
    given = f", then {' '.join(options.overrides)}" if options.overrides else ""
    return f"refit with the settings of the second look, {settings}{given}; {seeds}"


def _chosen(
    options: RefitOptions, record: StudyRecord, notes: Mapping[str, Any]
) -> list[TrialRecord]:
    board = record.leaderboard
    if not board:
        raise StudyError(f"The study {record.name!r} has no finished trial to refit.")
    if options.top is not None:
        if len(record.groups) > 1:
            raise StudyError(_no_winner(record))
        return board[: options.top]
    if options.best_of is not None:
        best = record.best_of_each(options.best_of)
        if all(options.best_of not in trial.params for trial in best):
            varied = ", ".join(record.settings) or "nothing"
            raise StudyError(
                f"--best-of {options.best_of}: the study {record.name!r} varies {varied}."
            )
        return best
    number = options.trial if options.trial is not None else _winner(record, notes)
    trials = [trial for trial in board if number in [run.number for run in trial.runs]]
    if not trials:
        numbers = ", ".join(str(trial.number) for trial in board[:10])
        raise StudyError(
            f"The study {record.name!r} has no finished trial {number}. Finished, best first: "
            f"{numbers}."
        )
    return trials


def _winner(record: StudyRecord, notes: Mapping[str, Any]) -> int:
    """Number of the second look's winner, or of the best trial where the study has none."""
    if len(record.groups) > 1:
        raise StudyError(_no_winner(record))
    if notes.get("winner") is not None:
        return notes["winner"]
    if notes.get("second_look"):
        raise StudyError(
            f"The study {record.name!r} has no winner. {notes['verdict']} Or choose "
            "with --trial, --top or --best-of."
        )
    return record.leaderboard[0].number


def _no_winner(record: StudyRecord) -> str:
    apart = [name for name in record.settings if decides_what_is_measured(name)]
    way = f"--best-of {apart[0]} or --trial" if apart else "--trial"
    return (
        f"The study {record.name!r} has no winner: its trials were measured on different data, "
        f"splits or measures. Choose with {way}."
    )


def _notes_for(
    options: RefitOptions,
    conf: Path,
    record: StudyRecord,
    notes: Mapping[str, Any],
    trial: TrialRecord,
) -> Mapping[str, Any]:
    """The study's notes with the command as it is for one trial: without settings that only other
    options of a varied group have."""
    command, what = notes["command"], f"The study {record.name!r}"
    lines = stored_lines([*command["overrides"], *trial.overrides], what)
    keys = {line: line.partition("=")[0] for line in lines}
    groups = tuple(f"{keys[line].replace('/', '.')}." for line in trial.overrides)
    loose = [line for line in command["overrides"] if keys[line].startswith(groups or ("\0",))]
    if not loose:
        return notes

    def without(lines: Sequence[str]) -> Mapping[str, Any]:
        overrides = [line for line in command["overrides"] if line not in lines]
        return {**notes, "command": {**command, "overrides": overrides}}

    cfg = _config(options, conf, record, without(loose), trial, trial.seed or 0)
    return without([line for line in loose if not has(cfg, keys[line])])


def _config(
    options: RefitOptions,
    conf: Path,
    record: StudyRecord,
    notes: Mapping[str, Any],
    trial: TrialRecord,
    seed: int,
) -> DictConfig:
    """The trial's config with the overrides of the second look and of the refit, and the test part
    switched on."""
    what = f"The study {record.name!r}"
    command, look = notes["command"], notes.get("second_look") or {}
    name = command["config_name"]
    folder, searched = primary_of(name, [conf, *command["config_dirs"]])
    stored = [*command["overrides"], *trial.overrides, *look.get("overrides", ())]
    lines = [
        *_whole(stored_lines(stored, what), options),
        f"seed={seed}",
        *options.overrides,
        "evaluation.test=true",
        *searched,
    ]
    with composed_in_words([*options.overrides, *lines]):
        said = said_in(options.overrides)
        cfg = composed(lines, name, folder)
    check_stored(cfg, what, said)
    as_begun(cfg, notes, lines)
    with open_dict(cfg):
        cfg.tags = {**(cfg.get("tags") or {}), "study": record.name, "refit_of": trial.number}
        if record.parent_run is not None:
            cfg.tags[PARENT] = record.parent_run
    return cfg


def _whole(stored: Sequence[str], options: RefitOptions) -> list[str]:
    """The stored overrides that a config can be composed of.

    Raises:
        ConfigError: One was stored without its secret, and is not given again.
    """
    given = {plain_key(line.partition("=")[0]) for line in options.overrides}
    whole = []
    for line in stored:
        key = plain_key(line.partition("=")[0])
        if MASK not in line:
            whole.append(line)
        elif key not in given:
            raise ConfigError(
                f"The study {options.study!r} was stored without the secret in {line}. Give it "
                f"again: recsweep refit {shlex.quote(options.study)} '{line.partition('=')[0]}=...'"
            )
    return whole


def _count(study: Study, cfg: DictConfig, outcome: Outcome) -> None:
    """Note a look at the test part with the study: the more there were, the less the next one
    proves."""
    if outcome.test is not None:
        use = {
            "time": time.time(),
            "trial": cfg.tags.refit_of,
            "seed": cfg.seed,
            "run": outcome.run_id,
        }
        study.note("test_uses", [*study.notes().get("test_uses", []), use])


def count_test_uses(name: str, storage: str | None) -> int:
    """The number of looks at the test part for a study."""
    return len(Study(open_storage(storage_url(storage)), name).notes().get("test_uses", []))


def rows_of(
    outcomes: Sequence[Outcome], kind: str = "seeds"
) -> list[tuple[str, Mapping[str, float]]]:
    """Name and metrics of each outcome that finished, or their mean where one model has several.

    Args:
        kind: What these differ by.
    """
    finished = [outcome for outcome in outcomes if outcome.fit.error is None]
    rows: list[tuple[str, Mapping[str, float]]] = []
    for name in dict.fromkeys(outcome.name for outcome in finished):
        same = [outcome.metrics for outcome in finished if outcome.name == name]
        if len(same) == 1:
            rows.append((name, same[0]))
        else:
            shared = set.intersection(*(set(metrics) for metrics in same))
            mean = {
                metric: sum(metrics[metric] for metrics in same) / len(same) for metric in shared
            }
            rows.append((f"{name}, mean of {len(same)} {kind}", mean))
    return rows


def spreads_of(outcomes: Sequence[Outcome], kind: str = "seeds") -> list[str]:
    """Mean and standard deviation of what was trained several times, in words.

    Args:
        kind: What these differ by.
    """
    lines = []
    tested: dict[str, list[Mapping[str, float]]] = {}
    for outcome in outcomes:
        if outcome.fit.error is None:
            tested.setdefault(outcome.name, []).append(outcome.metrics)
    for name, same in tested.items():
        if len(same) > 1:
            measures = [each.name for each in shown("spread") if f"test/{each.name}" in same[0]]
            spreads = []
            for measure in measures:
                values = [metrics[f"test/{measure}"] for metrics in same]
                spreads.append(f"{measure} {np.mean(values):.4f} (SD {np.std(values, ddof=1):.4f})")
            lines.append(f"{name}, {len(same)} {kind}: " + ", ".join(spreads))
    return lines


def failures(outcomes: Sequence[Outcome]) -> list[str]:
    """What went wrong, in words."""
    return [
        f"{outcome.name}: {mask(str(outcome.fit.error))}"
        for outcome in outcomes
        if outcome.fit.error is not None
    ]
