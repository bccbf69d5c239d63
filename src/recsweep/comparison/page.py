"""A comparison as one HTML page that needs nothing else: it opens from a disk, in the MLflow UI,
and prints."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from recsweep.comparison.contrasts import Contrast
from recsweep.comparison.plots import Plot
from recsweep.comparison.resampling import SOURCES, method
from recsweep.comparison.tables import HANGS, largest_change, mark, no_verdict, p_value
from recsweep.evaluation import candidates_in_words
from recsweep.measures import COMPARED, GROUPS
from recsweep.measures import measure as measure_of
from recsweep.rendering import page, shown


@dataclass(frozen=True)
class Section:
    """The models on one data set and split: their numbers, what these say, and plots."""

    contrast: Contrast
    words: Sequence[str]
    plots: Sequence[Plot]


def comparison_page(sections: Sequence[Section], part: str) -> str:
    """The page, the same for the same runs."""
    replicates = max(section.contrast.replicates for section in sections)
    return page(
        "comparison.html",
        title=f"Comparison on {part}",
        method=method(replicates),
        sources=SOURCES,
        sections=[_section(section) for section in sections],
        hangs=HANGS,
        measures={name: measure.title for name, measure in COMPARED.items()},
        shown=shown,
        short=_short,
        mark=mark,
        largest_change=largest_change,
        no_verdict=no_verdict,
        p_value=p_value,
    )


def _section(section: Section) -> dict[str, Any]:
    """Values that the template takes of a section, beside the numbers themselves."""
    contrast = section.contrast
    groups: dict[str, dict[str, str]] = {title: {} for title in GROUPS}
    for measure in map(measure_of, contrast.measures):
        if measure.group is not None:
            groups[measure.group][measure.column] = measure.name
    columns = [name for named in groups.values() for name in named.values()]
    compared = [
        name
        for name in contrast.shown_in("differences")
        if name in contrast.versus and contrast.versus[name].differences
    ]
    return {
        "contrast": contrast,
        "words": section.words,
        "groups": [(title, named) for title, named in groups.items() if named],
        "columns": columns,
        "compared": compared,
        "candidates": candidates_in_words(contrast.candidates),
        "leaders": contrast.leaders(columns),
        "any_hangs": any(
            interval.hangs for row in contrast.rows for interval in row.intervals.values()
        ),
        "without_interval": [
            measure_of(name).title
            for name in contrast.measures
            if any(name in row.values and name not in row.intervals for row in contrast.rows)
        ],
        "chosen_on": sorted({contrast.versus[name].chosen_on for name in compared}),
        "plots": section.plots,
    }


def _short(value: float) -> str:
    """`.0312`: many columns have to stand side by side."""
    return f"{value:.4f}".removeprefix("0")
