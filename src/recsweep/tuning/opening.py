"""The door to a study: created where there is none, else joined, with the settings it has."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from recsweep.errors import ConfigError, StudyError
from recsweep.masking import mask_value
from recsweep.tuning.storage import Storage
from recsweep.tuning.study import Definition, Study

StoredPoints = Sequence[tuple[str, int, Sequence[str]]]
"""A grid as it is stored: for each point its slot's name, its place in the product of the space,
and the settings that mean nothing there."""

MakePoints = Callable[[], StoredPoints | None]


def open_study(
    storage: Storage, definition: Definition, make_points: MakePoints, *, allow_changes: bool
) -> Study:
    """The study of this definition: the one that is stored, else a new one.

    The new one appears at once with all that is known of it, or not at all: of two processes at the
    same moment one creates it and the other one joins.

    Args:
        make_points: Called by the creator alone, as composing every point takes a while; None for a
            search.
        allow_changes: Whether a stored study may take over another space or other settings.

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
    }
    notes = mask_value("", settings)
    if not storage.has(definition.name):
        storage.known.pop(definition.name, None)  # it was deleted since
        token = f"{time.time_ns():x}"
        _create(storage, definition.name, notes | {"token": token, "points": make_points()})
    study = Study(storage, definition.name)
    _join(study, notes, make_points, allow_changes)
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
    study: Study, notes: Mapping[str, Any], make_points: MakePoints, allow_changes: bool
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
    if not allow_changes:
        raise ConfigError(
            f"The study {study.name!r} exists with other settings: {words} (stored -> given). Give "
            "it another hydra.sweeper.study_name, or hydra.sweeper.allow_changes=true to go on "
            "with the new ones."
        )
    fixed_for_good = [name for name in ("objectives", "directions") if stored[name] != notes[name]]
    if fixed_for_good:
        raise ConfigError(
            f"The {fixed_for_good[0]} of a study can't change ({words}): its trials could not be "
            f"compared. Give it another hydra.sweeper.study_name."
        )
    for key, value in {**notes, "points": make_points(), "closed": None}.items():
        study.note(key, value)


def _differences(stored: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Every setting that differs, as `trainer.max_epochs: 3 -> 20`."""
    differences = [
        f"{name}: {stored[name]} -> {given[name]}"
        for name in ("objectives", "directions")
        if stored[name] != given[name]
    ]
    for part in ("space", "sampler", "pruner", "fixed"):
        before, after = stored[part], json.loads(json.dumps(given[part]))
        for name in sorted({*before, *after}, key=lambda name: (name not in before, name)):
            old, new = before.get(name, "(not there)"), after.get(name, "(not there)")
            if old != new:
                prefix = f"{part} " if part != "fixed" else ""
                differences.append(f"{prefix}{name}: {old} -> {new}")
    return differences
