"""What a study is: its objectives, fixed settings and points, and the name that follows from
them."""

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from recsweep.config import SAME, flat, plain, tells
from recsweep.errors import ConfigError, DataError
from recsweep.measures import TRAIN_LOSS, measure
from recsweep.run.plan import NO_VALIDATION, plan
from recsweep.tuning.compose import Composer
from recsweep.tuning.opening import StoredPoints
from recsweep.tuning.options import SecondLook, StudyOptions
from recsweep.tuning.records import decides_what_is_measured
from recsweep.tuning.repeats import Repeats, RepeatsAsked, slot_of
from recsweep.tuning.space import Dimension, Scalar, belonging, grid_points
from recsweep.tuning.study import Definition, Point
from recsweep.tuning.trial import build_pruner, try_out

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

MEDIAN = {
    "kind": "median",
    "_target_": "optuna.pruners.MedianPruner",
    "n_startup_trials": 5,
    "n_warmup_steps": 2,
}
NO_PRUNER = {"kind": "none", "_target_": "optuna.pruners.NopPruner"}

DATA_FILES = (
    "data.path",
    "data.validation_path",
    "data.test_path",
    "data.candidates_path",
    "data.user_features",
    "data.item_features",
)
"""Settings whose files count by what is in them."""

NO_TEST = (
    "evaluation.test=true can't be part of a study: settings that were chosen on the test part "
    "can't be measured there. Run the winner alone with it."
)


NOT_SEARCHING = ("GridSampler", "RandomSampler", "QMCSampler", "BruteForceSampler")
"""Samplers whose draws do not depend on the values of earlier trials."""


def check_comparable(
    definition: Definition, dimensions: Sequence[Dimension], look: SecondLook
) -> None:
    """Raise ConfigError where the study would have to compare what can't be compared.

    A stored study that does so goes on: its trials are grouped.
    """
    names = [dimension.name for dimension in dimensions]
    for dimension in dimensions:
        if SAME["measured"].counts(dimension.name):
            raise ConfigError(_not_varied(dimension))
    decisive = next((name for name in names if decides_what_is_measured(name)), None)
    if decisive is None:
        _check_train_loss(definition, names)
        return
    kind = definition.sampler.get("_target_", "GridSampler").rpartition(".")[2]
    if kind not in NOT_SEARCHING or definition.pruner["kind"] != "none":
        raise ConfigError(
            f"{decisive} can't be varied in a search: a sampler and a pruner compare values, and "
            "those on other data or another split can't be compared. Leave n_trials away for every "
            "combination of lists, or take hydra/sweeper/sampler=random "
            f"hydra/sweeper/pruner=none{_or_repeats(decisive)}."
        )
    if look.top:
        raise ConfigError(
            f"hydra.sweeper.confirm names one winner, and there is none where {decisive} is "
            "varied: values on other data or another split can't be compared. Run one study for "
            f"each, or take hydra.sweeper.confirm.top=0{_or_repeats(decisive)}."
        )


def _not_varied(dimension: Dimension) -> str:
    words = f"{dimension.name} can't be varied: trials are ranked, so all are measured alike."
    if dimension.name == "evaluation.objective" and dimension.options:
        objectives = ",".join(dimension.options)
        return (
            f"{words} Give one, as every run logs the others too, or search for trials that are "
            f"good by several with hydra.sweeper.objectives=[{objectives}]."
        )
    return f"{words} Give it one value, in a study for each."


def _or_repeats(name: str) -> str:
    """The remedy where seeds are varied that decide the data or the split."""
    if name.rpartition(".")[2] != "seed":
        return ""
    return f", or hydra.sweeper.repeats={name}:3 to let the mean over several decide"


def _check_train_loss(definition: Definition, names: Sequence[str]) -> None:
    """Raise ConfigError where trials would be ranked by losses that are not the same."""
    objectives = definition.objectives or (definition.fixed.get("evaluation.objective") or "",)
    if not any(name and measure(name) is TRAIN_LOSS for name in objectives):
        return
    for name in names:
        if name.partition(".")[0] in ("loss", "examples"):
            raise ConfigError(
                f"{name} can't be varied where trials are ranked by {TRAIN_LOSS.name}: it would be "
                "another measure in each. Choose a measure of validation as evaluation.objective."
            )


def define(
    options: StudyOptions,
    composer: Composer,
    fixed: Sequence["Override"],
    dimensions: Sequence[Dimension],
    is_grid: bool,
) -> Definition:
    """What makes the study the one it is.

    Raises:
        ConfigError: The settings go together with no study.
    """
    base = composer.compose([])
    _check_parts(base)
    objectives = None if options.objectives is None else tuple(options.objectives)
    chosen_by = OmegaConf.select(base, "evaluation.objective")
    names = objectives or (chosen_by or "",)
    directions = tuple(options.direction or map(_direction, names))
    pruner, repeats = _kind(options.pruner), _repeats(options.repeats, base, dimensions)
    if pruner["kind"] == "auto":
        pruner = NO_PRUNER if is_grid or repeats or len(directions) > 1 else MEDIAN
    elif repeats is not None and pruner["kind"] != "none":
        raise ConfigError(
            f"hydra/sweeper/pruner={pruner['kind']} can't be used with repeats: the mean of all "
            "decides, and a run that is cut off has no part in it. Take hydra/sweeper/pruner=none."
        )
    elif len(directions) > 1 and pruner["kind"] != "none":
        raise ConfigError(
            f"hydra/sweeper/pruner={pruner['kind']} can't be used with {len(directions)} "
            "objectives: a pruner compares trials by one value. Take hydra/sweeper/pruner=none, "
            "or one objective."
        )
    sampler = {"kind": "grid", "seed": 0} if is_grid else _kind(options.sampler)
    build_pruner(pruner)
    if not is_grid:
        try_out(sampler, pruner)
    space = {dimension.recorded: dimension.words() for dimension in dimensions}
    varied = [dimension.name for dimension in dimensions if not dimension.of]
    if repeats is not None:
        varied.append(repeats.setting)
        seeds = ", ".join(map(str, repeats.values))
        space[repeats.setting] = f"{seeds}, whose mean decides"
    settings = _fixed_settings(base, fixed, varied)
    definition = Definition(
        "", objectives, directions, space, settings, sampler, pruner, repeats, options.each
    )
    return replace(definition, name=options.study_name or name_of(definition))


def _check_parts(cfg: DictConfig) -> None:
    """Raise ConfigError where trials would be chosen on the test part, or on none."""
    if OmegaConf.select(cfg, "evaluation.test"):
        raise ConfigError(NO_TEST)
    is_given = OmegaConf.select(cfg, "data.validation_path") is not None
    if OmegaConf.select(cfg, "split.validation") == 0 and not is_given:
        raise ConfigError(NO_VALIDATION)


def _repeats(
    asked: RepeatsAsked | None, base: DictConfig, dimensions: Sequence[Dimension]
) -> Repeats | None:
    if asked is None:
        return None
    if any(dimension.name == asked.setting for dimension in dimensions):
        raise ConfigError(
            f"{asked.setting} is varied and repeated: with hydra.sweeper.repeats its values are "
            f"those of the repeats. Leave {asked.setting} away."
        )
    return asked.from_seed(OmegaConf.select(base, asked.setting))


def _direction(name: str) -> str:
    return "maximize" if measure(name).maximise else "minimize"


def _kind(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with a `kind`: those of Hydra's Optuna sweeper name a class only."""
    if not isinstance(settings, Mapping) or not {"kind", "_target_"} & set(settings):
        raise ConfigError(
            f"hydra.sweeper.sampler and pruner must name a class as _target_, not {settings!r}."
        )
    kind = settings.get("kind") or settings["_target_"].rpartition(".")[2].lower()
    return {"kind": {"noppruner": "none"}.get(kind, kind)} | {
        key: value for key, value in settings.items() if key != "kind"
    }


def name_of(definition: Definition) -> str:
    """A name from the content: the same question about the same data has the same one."""
    content = [
        definition.objectives,
        definition.directions,
        dict(definition.space),
        dict(definition.fixed),
        dict(definition.sampler),
        dict(definition.pruner),
        *([] if definition.each is None else [definition.each]),
    ]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
    varied = "-".join(name.rpartition(".")[2] for name in definition.space) or "one"
    return f"{varied[:60]}-{digest}"


def _fixed_settings(
    base: DictConfig, fixed: Sequence["Override"], names: Sequence[str]
) -> dict[str, Any]:
    """All settings but those that are varied, where runs are logged, and where the data lie."""
    varied = tuple(f"{name.replace('/', '.')}." for name in names)

    def is_varied(name: str) -> bool:
        return f"{name}.".startswith(varied)

    settings = {
        name: value
        for name, value in flat(plain(base, resolve=False)).items()
        if SAME["study"].counts(name) and tells(name, value) and not is_varied(name)
    }
    for name, value in settings.items():
        # ${oc.env:...}: what it stands for counts
        if isinstance(value, str) and "${" in value and ":" in value:
            settings[name] = str(OmegaConf.select(base, name))
    for override in fixed:  # those of some options of a varied group alone
        if is_varied(override.key_or_group):
            settings[override.key_or_group] = override.get_value_element_as_str()
    for name in DATA_FILES:
        if settings.get(name) is not None and not is_varied("data"):
            path = OmegaConf.select(base, name)
            settings[name] = _files_digest(name, [path] if isinstance(path, str) else path)
    return settings


def _files_digest(name: str, paths: Sequence[str]) -> str:
    """SHA-256 of the bytes of the files that a setting names, of a folder's files and those of a
    glob in the order of their names; not of where they lie."""
    digest = hashlib.sha256()
    for path in (Path(path).expanduser() for path in paths):
        for file in _files_of(path):
            try:
                with file.open("rb") as stream:
                    digest.update(hashlib.file_digest(stream, "sha256").digest())
            except OSError as error:
                raise DataError(
                    f"{file} can't be read: {error.strerror}. Set {name} to your file."
                ) from error
    return f"sha256 {digest.hexdigest()[:16]}"


def _files_of(path: Path) -> list[Path]:
    """The files under a path: those of a folder, or of the folders in it where it holds none or
    they are hive's, as `year=2020`; those of a glob; else the path."""
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file())
        if files and not any("=" in folder.name for folder in path.iterdir() if folder.is_dir()):
            return files
        return sorted(file for file in path.rglob("*") if file.is_file())
    found = [] if path.exists() else sorted(map(Path, glob(str(path), recursive=True)))
    files = [match for match in found if match.is_file()]
    return files or [file for folder in found for file in _files_of(folder)] or [path]


def make_points(
    composer: Composer, dimensions: Sequence[Dimension], is_grid: bool
) -> StoredPoints | None:
    """A grid's points, each effective config once; every one is checked before any is trained."""
    composer.check()
    if not is_grid:
        for groups in composer.combinations():
            plan(composer.compose(groups))
            for dimension in belonging(dimensions, groups):
                _check_fractions(composer, groups, dimension)
        return None
    product = list(grid_points(dimensions))
    places: dict[str, list[int]] = {}
    for place, point in enumerate(product):
        cfg = composer.compose([dimension.override(value) for dimension, value in point])
        _check_parts(cfg)
        content = json.dumps(plan(cfg).effective, sort_keys=True, default=str)
        places.setdefault(hashlib.sha256(content.encode()).hexdigest()[:12], []).append(place)
    points = []
    for slot, same in places.items():
        values: dict[str, set[Scalar]] = {}
        for dimension, value in itertools.chain.from_iterable(product[place] for place in same):
            values.setdefault(dimension.recorded, set()).add(value)
        idle = [name for name, several in values.items() if len(several) > 1]
        points.append((slot, same[0], idle))
    return points


def _check_fractions(composer: Composer, groups: Sequence[str], dimension: Dimension) -> None:
    """Raise ConfigError where fractions are drawn for a setting that takes whole numbers only."""
    fraction = dimension.fraction
    if fraction is None:
        return
    lines = [*groups, dimension.override(fraction)]
    if len(composer.applying(lines)) < len(lines):
        return
    try:
        plan(composer.compose(lines))
    except ConfigError as error:
        try:
            plan(composer.compose([*groups, dimension.override(round(fraction))]))
        except ConfigError:  # it is something else, which other settings may mend
            return
        raise ConfigError(
            f"{dimension.key}={dimension.words()} draws fractions. {error} Take "
            f"{dimension.as_whole}."
        ) from None


def points_of(
    composer: Composer,
    dimensions: Sequence[Dimension],
    stored: StoredPoints,
    repeats: Repeats | None = None,
) -> list[Point]:
    """The stored points with what composes them: all of them with one seed before the next, where
    they are repeated, so that they share the data."""
    product = list(grid_points(dimensions))
    points = []
    for slot, place, idle in stored:
        chosen = product[place]
        overrides = composer.applying([dimension.override(value) for dimension, value in chosen])
        params = {
            dimension.recorded: value
            for dimension, value in chosen
            if dimension.override(value) in overrides and dimension.recorded not in idle
        }
        points.append(Point(slot, tuple(overrides), params))
    if repeats is None:
        return points
    return [
        Point(slot_of(point.slot, value), (*point.overrides, repeats.override(value)), point.params)
        for value in repeats.values
        for point in points
    ]
