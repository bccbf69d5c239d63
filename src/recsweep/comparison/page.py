"""A comparison as one HTML page that needs nothing else: it opens from a disk, in the MLflow UI, and prints."""

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from recsweep.comparison.contrasts import MEASURES, Contrast
from recsweep.comparison.plots import Plot
from recsweep.comparison.resampling import SOURCES, method
from recsweep.comparison.tables import HANGS, largest_change, mark, no_verdict, p_value
from recsweep.evaluation import CANDIDATES
from recsweep.rendering import page, shown

GROUPS = (
    (
        "at the chosen threshold",
        {
            "F1": "f1_at_threshold",
            "precision": "precision_at_threshold",
            "recall": "recall_at_threshold",
            "accuracy": "accuracy_at_threshold",
        },
    ),
    (
        "at 0.5",
        {
            "F1": "f1_at_half",
            "precision": "precision_at_half",
            "recall": "recall_at_half",
            "accuracy": "accuracy_at_half",
        },
    ),
    (
        "of the order",
        {
            "average precision": "average_precision",
            "ROC AUC": "roc_auc",
            "NDCG@10": "ndcg_at_10",
            "recall@20": "recall_at_20",
        },
    ),
    ("of the probabilities", {"MSE": "mse", "log loss": "log_loss"}),
    (
        "means over users",
        {
            "F1, chosen": "f1_at_threshold_per_user",
            "F1 at 0.5": "f1_at_half_per_user",
            "average precision": "average_precision_per_user",
            "ROC AUC": "roc_auc_per_user",
            "MSE": "mse_per_user",
            "log loss": "log_loss_per_user",
        },
    ),
)
"""The columns of the table of measures."""

PIXELS_AN_INCH = 110

DIFFERENCES_BY = (
    "f1_at_threshold",
    "f1_at_half",
    "average_precision",
    "average_precision_per_user",
    "ndcg_at_10",
)
"""Measures whose differences have a column, beside the one that orders the models."""


@dataclass(frozen=True)
class Section:
    """The models on one data set and split: their numbers, what these say, and plots."""

    found: Contrast
    words: Sequence[str]
    plots: Sequence[Plot]


def comparison_page(sections: Sequence[Section], part: str) -> str:
    """The page, the same for the same runs."""
    replicates = max(section.found.replicates for section in sections)
    return page(
        "comparison.html",
        title=f"Comparison on {part}",
        method=method(replicates),
        sources=SOURCES,
        sections=[_section(section) for section in sections],
        hangs=HANGS,
        measures=MEASURES,
        shown=shown,
        short=_short,
        mark=mark,
        largest_change=largest_change,
        no_verdict=no_verdict,
        p_value=p_value,
    )


def _section(section: Section) -> dict[str, Any]:
    """What the template takes of a section, beside the numbers themselves."""
    contrast = section.found
    groups = [
        (title, {heading: name for heading, name in columns.items() if name in contrast.measures})
        for title, columns in GROUPS
    ]
    groups = [(title, columns) for title, columns in groups if columns]
    columns = [name for _, named in groups for name in named.values()]
    compared = [
        name
        for name in dict.fromkeys((contrast.measure, *DIFFERENCES_BY))
        if name in contrast.versus and contrast.versus[name].differences
    ]
    return {
        "contrast": contrast,
        "words": section.words,
        "groups": groups,
        "columns": columns,
        "compared": compared,
        "candidates": CANDIDATES.get(contrast.candidates, contrast.candidates),
        "leaders": _leaders(contrast, columns),
        "any_hangs": any(
            interval.hangs for row in contrast.rows for interval in row.intervals.values()
        ),
        "without_interval": [
            MEASURES[name]
            for name in contrast.measures
            if any(name in row.values and name not in row.intervals for row in contrast.rows)
        ],
        "chosen_on": sorted({contrast.versus[name].chosen_on for name in compared}),
        "plots": [
            {
                "title": plot.title,
                "caption": plot.caption,
                "png": _png(plot),
                "is_wide": plot.figure.get_figwidth() > 6,
            }
            for plot in section.plots
        ],
    }


def _leaders(contrast: Contrast, measures: Iterable[str]) -> dict[str, str]:
    """Measure to the name of its best model; nothing where there is one model alone."""
    return {name: contrast.leader(name).name for name in measures} if len(contrast.rows) > 1 else {}


def _short(value: float) -> str:
    """`.0312`: many columns have to stand side by side."""
    return f"{value:.4f}".removeprefix("0")


def _png(plot: Plot) -> str:
    """The plot as base64."""
    buffer = io.BytesIO()
    plot.figure.savefig(
        buffer,
        format="png",
        dpi=PIXELS_AN_INCH,
        pil_kwargs={"compress_level": 1},
        metadata={"Software": None},
    )
    return base64.b64encode(buffer.getvalue()).decode()
