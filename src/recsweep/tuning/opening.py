"""The door to a study: created where there is none, else joined, with the settings it has."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from recsweep.config import is_below
from recsweep.errors import ConfigError, StudyError
from recsweep.masking import mask_value
from recsweep.tuning.space import Dimension
from recsweep.tuning.storage import Storage
from recsweep.tuning.study import Definition, Study

StoredPoints = Sequence[tuple[str, int, Sequence[str]]]
"""A grid as it is stored: for each point its slot's name, its place in the product of the space,
and the settings that mean nothing there."""

MEASURED = (
    "data",
    "split",
    "evaluation.candidates",
    "evaluation.objective",
    "evaluation.validation_users",
    "evaluation.validation_seed",
)
"""Settings that decide what is measured, and on what."""

MakePoints = Callable[[], StoredPoints | None]


def open_study(
    storage: Storage,
    definition: Definition,
    make_points: MakePoints,
    *,
    allow_changes: bool,
    drawn: Sequence[Dimension] = (),
) -> Study:
    """The study of this definition: the one that is stored, else a new one.

    The new one appears at once with all that is known of it, or not at all: of two processes at the
    same moment one creates it and the other one joins. A stored one takes over other settings in
    the same way.

    Args:
        make_points: Called by the creator alone, as composing every point takes a while; None for a
            search.
        allow_changes: Whether a stored study may take over another space or other settings.
        drawn: What a search draws.

    Raises:
        ConfigError: The stored study has another space or other settings, and they may not change.
    """
    settings = {
        "objectives": None if definition.objectives is None else list(definition.objectives),
        "directions": list(definition.directions),
        "space": dict(definition.space),
        "fixed": dict(definition.fixed),
        "sampler": dict(definition.sampler),
        "pruner": dict(definition.pruner),
        "repeats": None if definition.repeats is None else definition.repeats.stored(),
        "each": definition.each,
    }
    notes = mask_value("", settings)
    if not storage.has(definition.name):
        storage.known.pop(definition.name, None)  # it was deleted since
        token = f"{time.time_ns():x}"
        _create(storage, definition.name, notes | {"token": token, "points": make_points()})
    study = Study(storage, definition.name)
    _join(study, notes, make_points, allow_changes, drawn)
    return study


def _create(storage: Storage, name: str, notes: Mapping[str, Any]) -> None:
    """Store a study with its notes, unless another process was first."""
    with storage.guard():
        row = storage.claims.study(name)
        # the one of this name was deleted
        if row is not None and row.notes is None and not storage.has(name):
            storage.claims.remove_study(row)
            row = None
        if row is None:
            storage.claims.add_study(name, notes["token"], notes)


def _join(
    study: Study,
    notes: Mapping[str, Any],
    make_points: MakePoints,
    allow_changes: bool,
    drawn: Sequence[Dimension],
) -> None:
    stored = mask_value("", study.notes())  # as an earlier version may not have
    if "fixed" not in stored:
        raise StudyError(
            f"The study {study.name!r} was not made by recsweep. Choose another "
            "hydra.sweeper.study_name."
        )
    changes = _differences(stored, notes)
    if not changes:
        return
    words = "; ".join(changes[:8]) + (f"; and {len(changes) - 8} more" if len(changes) > 8 else "")
    exists = f"The study {study.name!r} exists with other settings: {words} (stored -> given)."
    if (obstacle := _obstacle(study, stored, notes, drawn)) is not None:
        raise ConfigError(f"{exists} {obstacle} Give it another hydra.sweeper.study_name.")
    if not allow_changes:
        raise ConfigError(
            f"{exists} Give it another hydra.sweeper.study_name, or "
            "hydra.sweeper.allow_changes=true to go on with the new ones."
        )
    study.change({**notes, "points": make_points(), "closed": None})


def _obstacle(
    study: Study, stored: Mapping[str, Any], given: Mapping[str, Any], drawn: Sequence[Dimension]
) -> str | None:
    """Why a study can't take over other settings, in words; None where it can."""
    for name in ("objectives", "directions"):
        if stored[name] != given[name]:
            return f"The {name} of a study can't change: its trials could not be compared."
    is_grid = stored["sampler"]["kind"] == given["sampler"]["kind"] == "grid"
    if stored.get("each") != given["each"] and not is_grid:
        return "hydra.sweeper.each of a search can't change: its budget would be another."
    before, after = stored["fixed"], json.loads(json.dumps(given["fixed"]))
    for name in sorted({*before, *after}):
        if is_below(name, MEASURED) and before.get(name) != after.get(name):
            return f"With another {name} its trials could not be compared."
    for dimension in drawn:
        if (obstacle := study.obstacle(dimension)) is not None:
            return obstacle
    return None


def _differences(stored: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Every setting that differs, as `trainer.max_epochs: 3 -> 20`."""
    differences = [
        f"{name}: {stored[name]} -> {given[name]}"
        for name in ("objectives", "directions", "each")
        if stored.get(name) != given[name]
    ]
    for part in ("space", "sampler", "pruner", "fixed"):
        before, after = stored[part], json.loads(json.dumps(given[part]))
        for name in sorted({*before, *after}, key=lambda name: (name not in before, name)):
            old, new = before.get(name, "(not there)"), after.get(name, "(not there)")
            if old != new:
                prefix = f"{part} " if part != "fixed" else ""
                differences.append(f"{prefix}{name}: {old} -> {new}")
    return differences
