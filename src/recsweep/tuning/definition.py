"""What a study is: its objectives, fixed settings and points, and the name that follows from
them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from recsweep.config import SAME, flat, plain
from recsweep.errors import ConfigError, DataError
from recsweep.measures import measure
from recsweep.run.plan import plan
from recsweep.tuning.compose import Composer
from recsweep.tuning.opening import StoredPoints
from recsweep.tuning.options import StudyOptions
from recsweep.tuning.space import Dimension, grid_points
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

NO_TEST = (
    "evaluation.test=true can't be part of a study: settings that were chosen on the test part "
    "can't be measured there. Run the winner alone with it."
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
    if OmegaConf.select(base, "evaluation.test"):
        raise ConfigError(NO_TEST)
    objectives = None if options.objectives is None else tuple(options.objectives)
    chosen_by = OmegaConf.select(base, "evaluation.objective")
    names = objectives or (chosen_by or "",)
    directions = tuple(options.direction or map(_direction, names))
    pruner = _kind(options.pruner)
    if pruner["kind"] == "auto":
        pruner = NO_PRUNER if is_grid or len(directions) > 1 else MEDIAN
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
    settings = _fixed_settings(base, fixed, dimensions)
    space = {dimension.name: dimension.words() for dimension in dimensions}
    definition = Definition("", objectives, directions, space, settings, sampler, pruner)
    return replace(definition, name=options.study_name or name_of(definition))


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
    ]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
    varied = "-".join(name.rpartition(".")[2] for name in definition.space) or "one"
    return f"{varied[:60]}-{digest}"


def _fixed_settings(
    base: DictConfig, fixed: Sequence["Override"], dimensions: Sequence[Dimension]
) -> dict[str, Any]:
    """All settings but those that are varied, where runs are logged, and where the data lie."""
    varied = tuple(f"{dimension.name.replace('/', '.')}." for dimension in dimensions)

    def is_varied(name: str) -> bool:
        return f"{name}.".startswith(varied)

    settings = {
        name: value
        for name, value in flat(plain(base, resolve=False)).items()
        if SAME["study"].counts(name) and not is_varied(name)
    }
    for name, value in settings.items():
        # ${oc.env:...}: what it stands for counts
        if isinstance(value, str) and "${" in value and ":" in value:
            settings[name] = str(OmegaConf.select(base, name))
    for override in fixed:  # those of some options of a varied group alone
        if is_varied(override.key_or_group):
            settings[override.key_or_group] = override.get_value_element_as_str()
    if settings.get("data.path") is not None and not is_varied("data"):
        path = plain(base.data)["path"]
        settings["data.path"] = _files_digest([path] if isinstance(path, str) else path)
    return settings


def _files_digest(paths: Sequence[str]) -> str:
    """SHA-256 of the files' bytes, of a folder's files in the order of their names; not of where
    they lie."""
    digest = hashlib.sha256()
    for path in map(Path, paths):
        files = [path]
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if file.is_file())
        for file in files:
            try:
                with file.open("rb") as stream:
                    digest.update(hashlib.file_digest(stream, "sha256").digest())
            except OSError as error:
                raise DataError(
                    f"{file} can't be read: {error.strerror}. Set data.path to your file."
                ) from error
    return f"sha256 {digest.hexdigest()[:16]}"


def make_points(
    composer: Composer, dimensions: Sequence[Dimension], is_grid: bool
) -> StoredPoints | None:
    """A grid's points, each effective config once; every one is checked before any is trained."""
    composer.check()
    if not is_grid:
        for groups in composer.combinations():
            plan(composer.compose(groups))
        return None
    product = list(grid_points(dimensions))
    places: dict[str, list[int]] = {}
    for place, point in enumerate(product):
        cfg = composer.compose([dimension.override(value) for dimension, value in point])
        if OmegaConf.select(cfg, "evaluation.test"):
            raise ConfigError(NO_TEST)
        content = json.dumps(plan(cfg).effective, sort_keys=True, default=str)
        places.setdefault(hashlib.sha256(content.encode()).hexdigest()[:12], []).append(place)
    points = []
    for slot, same in places.items():
        values = zip(*([value for _, value in product[place]] for place in same), strict=True)
        varied = zip(dimensions, values, strict=True)
        idle = [dimension.name for dimension, values in varied if len(set(values)) > 1]
        points.append((slot, same[0], idle))
    return points


def points_of(
    composer: Composer, dimensions: Sequence[Dimension], stored: StoredPoints
) -> list[Point]:
    """The stored points with what composes them."""
    product = list(grid_points(dimensions))
    points = []
    for slot, place, idle in stored:
        chosen = product[place]
        overrides = composer.applying([dimension.override(value) for dimension, value in chosen])
        params = {
            dimension.name: value
            for dimension, value in chosen
            if dimension.override(value) in overrides and dimension.name not in idle
        }
        points.append(Point(slot, tuple(overrides), params))
    return points
