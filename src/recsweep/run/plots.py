"""Plots of one run, for MLflow."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recsweep.evaluation import EvaluationReport
from recsweep.libraries import quick_imports
from recsweep.measures import AVERAGE_PRECISION, F1, PRECISION, RECALL, of_cells
from recsweep.measures import shown as shown_in

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_CURVE_POINTS = 2000
"""Number of points above which a curve only costs time, as a plot has fewer pixels across."""


def plot_precision_recall(report: EvaluationReport, label: str) -> "Figure":
    """Precision against recall at every threshold, with 0.5 and the chosen threshold marked. Needs
    stored cells."""
    assert report.cells is not None, "a report without cells has no curve"
    figure, axes = new_figure()
    ranked = of_cells.rank_cells(report.cells["targets"], report.cells["probabilities"])
    precision, recall, _ = of_cells.precision_recall_curve(ranked)
    shown = thinned(len(recall))
    label = f"{label}: AP {report.metrics[AVERAGE_PRECISION.name]:.3f}"
    axes.step(recall[shown], precision[shown], where="post", label=label)
    axes.axhline(report.metrics["prevalence"], color="grey", lw=0.8, ls=":", label="prevalence")
    tuned = f"{report.metrics['threshold']:.3f}"
    for at, marker, name in (("half", "s", "0.5"), ("threshold", "o", tuned)):
        across, up, f1 = (report.metrics[of[at].name] for of in (RECALL, PRECISION, F1))
        axes.plot(across, up, marker, label=f"threshold {name}: F1 {f1:.3f}")
    title = f"{report.part}: precision–recall"
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1), title=title)
    axes.legend()
    return figure


def plot_training_curves(
    train_losses: Sequence[float],
    evaluated: Sequence[int],
    history: Mapping[str, Sequence[float]],
    objective: str,
    kept_epoch: int | None,
) -> "Figure":
    """Training loss and the validation metrics that matter, an epoch a point.

    Args:
        train_losses: One value an epoch.
        evaluated: The epochs that were evaluated, from 1.
        history: Validation metrics by plain name, one value an evaluated epoch each.
        objective: Plain name of the metric that chose the kept epoch; empty where none did.
        kept_epoch: Marked by a line.
    """
    figure, panels = new_figure(columns=2 if history else 1)
    left, *others = np.atleast_1d(panels)
    left.plot(range(1, len(train_losses) + 1), train_losses, "o-", ms=3, label="training loss")
    losses = [measure.name for measure in shown_in("losses")]
    curves = dict.fromkeys([objective, *(measure.name for measure in shown_in("curves"))])
    for axes, names, beginning in zip(
        (left, *others), (losses, curves), ("validation ", ""), strict=False
    ):
        for name in filter(history.__contains__, names):
            label = beginning + name.replace("_", " ")
            axes.plot(evaluated, history[name], "o-", ms=3, label=label)
    for axes, title in zip((left, *others), ("losses", "validation metrics"), strict=False):
        if kept_epoch is not None:
            axes.axvline(kept_epoch, color="grey", lw=0.8, ls=":", label=f"kept epoch {kept_epoch}")
        axes.set(xlabel="epoch", title=title)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(fontsize=8)
    return figure


def thinned(length: int) -> np.ndarray:
    """Places of at most MAX_CURVE_POINTS points of a curve, evenly spread, its ends among them."""
    return np.linspace(0, length - 1, min(length, MAX_CURVE_POINTS)).astype(int)


def save_plot(figure: "Figure", path: Path) -> None:
    """Write a plot as PNG, and make its folder where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # a tenth larger, in two thirds of the time
    figure.savefig(path, dpi=100, pil_kwargs={"compress_level": 1})


def new_figure(columns: int = 1) -> tuple["Figure", Any]:
    """A figure with one row of axes, and these."""
    with quick_imports("matplotlib.figure"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5 * columns, 4))
    # fixed margins: measuring them costs as much as drawing
    figure.subplots_adjust(
        left=0.13 / columns, right=1 - 0.03 / columns, bottom=0.12, top=0.92, wspace=0.16
    )
    FigureCanvasAgg(figure)  # no pyplot: it keeps every figure, and asks for a screen
    return figure, figure.subplots(1, columns)
