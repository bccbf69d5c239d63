"""Every measure, one entry each: what logs, shows, chooses, compares or guards reads from here."""

from collections.abc import Mapping, Sequence

from recsweep.measures.definition import GROUPS, LENGTH, Measure, View
from recsweep.measures.entries import (
    AVERAGE_PRECISION,
    COVERAGE,
    ENTRIES,
    F1,
    F1_AT_HALF,
    F1_AT_THRESHOLD,
    PRECISION,
    RECALL,
    SHARE_PREDICTED_POSITIVE,
    TRAIN_LOSS,
)

__all__ = [
    "AVERAGE_PRECISION",
    "COMPARED",
    "COVERAGE",
    "ENTRIES",
    "F1",
    "F1_AT_HALF",
    "F1_AT_THRESHOLD",
    "GROUPS",
    "LENGTH",
    "MEASURES",
    "PRECISION",
    "RECALL",
    "SHARE_PREDICTED_POSITIVE",
    "TRAIN_LOSS",
    "Measure",
    "View",
    "available",
    "lists_in",
    "measure",
    "shown",
]

_FAMILIES = {entry.name.removesuffix("{k}"): entry for entry in ENTRIES if entry.length is not None}

MEASURES: Mapping[str, Measure] = {
    entry.name: entry
    for entry in (
        *(entry.at() for entry in ENTRIES),
        *filter(None, (entry.per_user for entry in ENTRIES)),
    )
}
"""Plain name to measure in reading order, families at the length that is shown, then each user's
own."""

COMPARED: Mapping[str, Measure] = {
    name: entry for name, entry in MEASURES.items() if entry.compared
}
"""Measures that models are compared by."""


def measure(name: str) -> Measure:
    """The measure of a plain or logged name, as `mse`, `ndcg_at_7` or `validation/f1_at_half`.

    A name that is no measure's gives one of which more is better, as of what a user's code logs.
    """
    plain_name = name.removeprefix("validation/").removeprefix("test/")
    if plain_name in MEASURES:
        return MEASURES[plain_name]
    if plain_name == TRAIN_LOSS.logged:
        return TRAIN_LOSS
    family, _, length = plain_name.rpartition("_at_")
    if length.isdecimal() and f"{family}_at_" in _FAMILIES:
        return _FAMILIES[f"{family}_at_"].at(int(length))
    return Measure(
        name=plain_name, title=plain_name.replace("_", " "), better="more", compared=False
    )


def shown(view: View) -> list[Measure]:
    """The measures that a view shows, in its order."""
    return sorted(
        (entry for entry in MEASURES.values() if view in entry.views),
        key=lambda entry: entry.views[view],
    )


def available(view: View, *, cells: bool, lengths: Sequence[int]) -> list[Measure]:
    """The measures that a view shows of an evaluation, lists at LENGTH, else at the first length.

    Args:
        view: View that is asked for, as `objective`.
        cells: Whether the part enumerates its cells.
        lengths: Lengths of the lists that are evaluated; none leaves lists out.
    """
    length = LENGTH if LENGTH in lengths else next(iter(lengths), None)
    return [
        entry if entry.length is None else entry.at(length)
        for entry in shown(view)
        if (cells if entry.length is None else length is not None)
    ]


def lists_in(metrics: Mapping[str, float], prefix: str = "") -> list[int]:
    """Lengths of the lists that metrics are of, ascending; `prefix` is as `validation/`."""
    names = (name.removeprefix(prefix) for name in metrics if name.startswith(prefix))
    return sorted({known.length for known in map(measure, names) if known.length is not None})
