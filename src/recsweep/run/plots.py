"""Plots of one run, for MLflow."""

from collections.abc import Mapping, Sequence

import numpy as np

from recsweep.drawing import COLORS, Axis, Marker, Panel, svg
from recsweep.evaluation import EvaluationReport, Sample
from recsweep.measures import AVERAGE_PRECISION, F1, PRECISION, RECALL, of_cells
from recsweep.measures import shown as shown_in

MAX_CURVE_POINTS = 1000
"""Number of points above which a curve only costs time, as a plot has fewer pixels across."""


def plot_precision_recall(report: EvaluationReport, label: str) -> str:
    """Precision against recall at every threshold, with 0.5 and the chosen threshold marked, as
    SVG. Needs stored cells."""
    assert report.cells is not None, "a report without cells has no curve"
    across, up = Axis("recall", (0, 1)), Axis("precision", (0, 1))
    panel = Panel(across, up, f"{report.part}: precision–recall")
    ranked = of_cells.rank_cells(report.cells["targets"], report.cells["probabilities"])
    precision, recall, _ = of_cells.precision_recall_curve(ranked)
    drawn = thinned(len(recall))
    label = f"{label}: AP {report.metrics[AVERAGE_PRECISION.name]:.3f}"
    panel.steps(recall[drawn], precision[drawn], label)
    panel.rule(report.metrics["prevalence"], "prevalence")
    tuned = f"{report.metrics['threshold']:.3f}"
    marked: list[tuple[str, Marker, str, str]] = [
        ("half", "s", "0.5", COLORS[1]),
        ("threshold", "o", tuned, COLORS[3]),
    ]
    for at, marker, name, color in marked:
        place, height, f1 = (report.metrics[of[at].name] for of in (RECALL, PRECISION, F1))
        label = f"threshold {name}: F1 {f1:.3f}"
        panel.draw([place], [height], label, color=color, width=0, marker=marker, size=8)
    return svg(panel)


def plot_training_curves(
    train_losses: Sequence[float],
    evaluated: Sequence[int],
    history: Mapping[str, Sequence[float]],
    objective: str,
    kept_epoch: int | None,
    sample: Sample | None = None,
) -> str:
    """Training loss and the validation metrics that matter, an epoch a point, as SVG.

    Args:
        train_losses: One value an epoch.
        evaluated: The epochs that were evaluated, from 1.
        history: Validation metrics by plain name, one value an evaluated epoch each.
        objective: Plain name of the metric that chose the kept epoch; empty where none did.
        kept_epoch: Marked by a line.
        sample: The users that the validation metrics are of; None for all.
    """
    users = "" if sample is None else f", {len(sample.users):,} of {sample.number_of_all:,} users"
    titles = ("losses", f"validation metrics{users}")[: 2 if history else 1]
    panels = [Panel(Axis("epoch", whole=True), title=title) for title in titles]
    epochs = range(1, len(train_losses) + 1)
    panels[0].draw(epochs, train_losses, "training loss", marker="o", size=4)
    losses = [measure.name for measure in shown_in("losses")]
    curves = dict.fromkeys([objective, *(measure.name for measure in shown_in("curves"))])
    for panel, names, beginning in zip(panels, (losses, curves), ("validation ", ""), strict=False):
        first = 1 if beginning else 0  # another colour than the training loss
        for place, name in enumerate(filter(history.__contains__, names), first):
            label, color = beginning + name.replace("_", " "), COLORS[place % len(COLORS)]
            panel.draw(evaluated, history[name], label, color=color, marker="o", size=4)
    if kept_epoch is not None:
        for panel in panels:
            panel.rule(kept_epoch, f"kept epoch {kept_epoch}", vertical=True)
    return svg(*panels)


def thinned(length: int) -> np.ndarray:
    """Places of at most MAX_CURVE_POINTS points of a curve, evenly spread, its ends among them."""
    return np.linspace(0, length - 1, min(length, MAX_CURVE_POINTS)).astype(int)
