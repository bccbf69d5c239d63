"""A comparison as one HTML page that needs nothing else: it opens from a disk, in the MLflow UI,
and prints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from recsweep.comparison.contrasts import Contrast
from recsweep.comparison.models import settings_of
from recsweep.comparison.plots import Plot
from recsweep.comparison.resampling import SOURCES, method
from recsweep.comparison.tables import HANGS, largest_change, mark, no_verdict, p_value
from recsweep.evaluation import candidates_in_words
from recsweep.measures import COMPARED, GROUPS
from recsweep.measures import measure as measure_of
from recsweep.rendering import MISSING, page, shown
from recsweep.tracking import RunRecord, Tracker


@dataclass(frozen=True)
class Section:
    """The models on one data set and split: their numbers, what these say, and plots.

    Attributes:
        records: Run id to the run, of all runs of the models.
    """

    contrast: Contrast
    words: Sequence[str]
    plots: Sequence[Plot]
    records: Mapping[str, RunRecord]


def comparison_page(sections: Sequence[Section], part: str, store: Tracker, *, command: str) -> str:
    """The page, the same for the same runs: its dates, versions and commits are theirs.

    Args:
        store: The store that the runs are in, to whose pages the runs' ids are links.
        command: What makes the same comparison again.
    """
    replicates = max(section.contrast.replicates for section in sections)
    return page(
        "comparison.html",
        title=f"Comparison on {part}",
        method=method(replicates),
        sources=SOURCES,
        sections=[_section(section) for section in sections],
        command=command,
        address=store.address,
        ui=store.ui,
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
        "origin": _origin(list(section.records.values())),
        "runs": [
            (row.name, split, seed, section.records[run_id])
            for row in contrast.rows
            for (split, seed), run_id in zip(row.measured_on, row.runs, strict=True)
        ],
        "when": lambda record: _date(record.started),
        **_settings({row.name: section.records[row.runs[0]] for row in contrast.rows}),
    }


def _origin(records: Sequence[RunRecord]) -> str:
    """When, by which versions and from which commits the runs were made, in a sentence."""
    dates = sorted({_date(record.started) for record in records})
    versions = _listed([record.version or "not kept" for record in records])
    commits = _listed([record.commit[:12] if record.commit else "none" for record in records])
    return (
        f"{len(records)} run{'s' if len(records) > 1 else ''} of "
        f"{' to '.join(dict.fromkeys((dates[0], dates[-1])))} (UTC); recsweep: {versions}; "
        f"commit: {commits}."
    )


def _listed(values: Sequence[str]) -> str:
    """What there is, each once in its order, with the number of runs where there are several."""
    numbers = {value: values.count(value) for value in values}
    if len(numbers) == 1:
        return values[0]
    return ", ".join(
        f"{value} ({number} run{'s' if number > 1 else ''})" for value, number in numbers.items()
    )


def _date(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M}"


def _settings(first: Mapping[str, RunRecord]) -> dict[str, Any]:
    """The settings of each model, and those that several models have at the one value, by name."""
    by_model = {model: _plain_settings(record) for model, record in first.items()}
    values: dict[str, list[str]] = {}
    for settings in by_model.values():
        for name, value in settings.items():
            values.setdefault(name, []).append(value)
    shared = {
        name: of_models[0]
        for name, of_models in values.items()
        if len(of_models) > 1 and len(set(of_models)) == 1
    }
    return {
        "shared_settings": _assigned(shared),
        "settings": {
            model: _assigned(
                {name: value for name, value in settings.items() if name not in shared}
            )
            or MISSING
            for model, settings in by_model.items()
        },
    }


def _plain_settings(record: RunRecord) -> dict[str, str]:
    """Settings as a person writes them: a class by its name alone."""
    return {
        name.removeprefix("model.").removesuffix("._target_"): (
            value.rpartition(".")[2] if name.endswith("_target_") else value
        )
        for name, value in settings_of(record).items()
        if name != "model._target_"
    }


def _assigned(settings: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in settings.items())


def _short(value: float) -> str:
    """`.0312`: many columns have to stand side by side."""
    return f"{value:.4f}".removeprefix("0")
