"""Tables for a terminal and plots for MLflow, of one run or of several."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recsweep import metrics as of
from recsweep.evaluation import MINIMISED, EvaluationReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.columns import Columns
    from rich.table import Table

COMPARED = (
    ("f1_at_half", "F1 at .5"),
    ("precision_at_half", "prec. at .5"),
    ("recall_at_half", "recall at .5"),
    ("f1_at_threshold", "F1 tuned"),
    ("accuracy_at_half", "acc. at .5"),
    ("mse", "MSE"),
    ("average_precision", "avg prec."),
    ("ndcg_at_10", "NDCG @10"),
    ("recall_at_20", "recall @20"),
)
"""Metrics of the table that puts runs side by side, with their headings."""

MAX_CURVE_POINTS = 2000
"""More points than a plot has pixels across only cost time."""


def comparison_table(rows: Sequence[tuple[str, Mapping[str, float]]], part: str) -> "Table":
    """Runs side by side, the best value of each metric in bold. A metric that no run has gets no column.

    Args:
        rows: Name of a run and its metrics, as `validation/mse` and `fit/seconds`.
        part: Which part's metrics to show.
    """
    from rich.table import Table

    table = Table()
    table.add_column("model", no_wrap=True)
    shown = [(f"{part}/{name}", heading) for name, heading in COMPARED if any(f"{part}/{name}" in m for _, m in rows)]
    for heading in [*(heading for _, heading in shown), "epoch", "seconds", "parameters"]:
        table.add_column(heading, justify="right")
    best = {}
    for name, _ in shown:
        choose = min if name.partition("/")[2] in MINIMISED else max
        best[name] = choose(f"{metrics[name]:.4f}" for _, metrics in rows if name in metrics)
    for label, metrics in rows:
        cells = [f"{metrics[name]:.4f}" if name in metrics else "–" for name, _ in shown]
        cells = [f"[bold]{cell}[/]" if cell == best[name] and len(rows) > 1 else cell
                 for cell, (name, _) in zip(cells, shown, strict=True)]
        epochs = f"{metrics.get('fit/kept_epoch', 0):.0f} of {metrics.get('fit/epochs', 0):.0f}"
        size = f"{metrics.get('model/num_parameters', 0):,.0f}"
        table.add_row(label, *cells, epochs, f"{metrics.get('fit/seconds', 0):.1f}", size)
    truth = next((m for _, m in rows if f"{part}/average_precision_of_truth" in m), None)
    if truth is not None:
        known = [f"{truth[f'{name}_of_truth']:.4f}" if f"{name}_of_truth" in truth else "" for name, _ in shown]
        table.add_section()
        table.add_row("the true probabilities", *known)
    return table


def report_tables(report: EvaluationReport) -> "Columns":
    """Every metric of one report: of cells and of rankings."""
    from rich.columns import Columns
    from rich.table import Table

    metrics = report.metrics
    rankings = Table(title=f"{report.part}: rankings", title_justify="left")
    rankings.add_column("mean over users")
    lengths = report.protocol["k"]
    for k in lengths:
        rankings.add_column(f"k = {k}", justify="right")
    for name in dict.fromkeys(name.rpartition("_at_")[0] for name in metrics if name.rpartition("_")[2].isdigit()):
        rankings.add_row(name.replace("_", " "), *(f"{metrics[f'{name}_at_{k}']:.4f}" for k in lengths))
    if "threshold" not in metrics:
        return Columns([rankings])
    cells = Table(title=f"{report.part}: cells", title_justify="left")
    cells.add_column("metric")
    cells.add_column("at 0.5", justify="right")
    cells.add_column(f"at {metrics['threshold']:.4f}", justify="right")
    for name in (name.removesuffix("_at_half") for name in metrics if name.endswith("_at_half")):
        cells.add_row(name.replace("_", " "), *(f"{metrics[f'{name}_at_{at}']:.4f}" for at in ("half", "threshold")))
    cells.add_section()
    for name in ("prevalence", "average_precision", "roc_auc", "mse", "log_loss"):
        if name in metrics:
            cells.add_row(name.replace("_", " "), f"{metrics[name]:.4f}")
    return Columns([cells, rankings])


def plot_precision_recall(report: EvaluationReport, label: str) -> "Figure":
    """Precision against recall at every threshold, with 0.5 and the chosen threshold marked. Needs stored cells."""
    figure, axes = _figure()
    ranked = of.rank_cells(report.cells["targets"], report.cells["probabilities"])
    precision, recall, _ = of.precision_recall_curve(ranked)
    if len(recall) > MAX_CURVE_POINTS:
        shown = np.linspace(0, len(recall) - 1, MAX_CURVE_POINTS).astype(int)
        precision, recall = precision[shown], recall[shown]
    axes.step(recall, precision, where="post", label=f"{label}: AP {report.metrics['average_precision']:.3f}")
    axes.axhline(report.metrics["prevalence"], color="grey", lw=0.8, ls=":", label="prevalence")
    for suffix, marker, name in (("half", "s", "0.5"), ("threshold", "o", f"{report.metrics['threshold']:.3f}")):
        point = report.metrics[f"recall_at_{suffix}"], report.metrics[f"precision_at_{suffix}"]
        axes.plot(*point, marker, label=f"threshold {name}: F1 {report.metrics[f'f1_at_{suffix}']:.3f}")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1), title=f"{report.part}: precision–recall")
    axes.legend()
    return figure


def plot_training_curves(train_losses: Sequence[float], history: Mapping[str, Sequence[float]], objective: str,
                         kept_epoch: int | None) -> "Figure":
    """Training loss and the validation metrics that matter, an epoch a point.

    Args:
        train_losses: One value an epoch.
        history: Validation metrics by plain name, one value an epoch each.
        objective: Plain name of the metric that chose the kept epoch.
        kept_epoch: Marked by a line.
    """
    figure, (left, right) = _figure(columns=2)
    epochs = np.arange(1, len(train_losses) + 1)
    left.plot(epochs, train_losses, "o-", ms=3, label="training loss")
    for name in ("mse", "log_loss"):
        if name in history:
            left.plot(epochs, history[name], "o-", ms=3, label=f"validation {name.replace('_', ' ')}")
    for name in dict.fromkeys([objective, "f1_at_half", "f1_at_threshold", "ndcg_at_10"]):
        if name in history:
            right.plot(epochs, history[name], "o-", ms=3, label=name.replace("_", " "))
    for axes, title in ((left, "losses"), (right, "validation metrics")):
        if kept_epoch is not None:
            axes.axvline(kept_epoch, color="grey", lw=0.8, ls=":", label=f"kept epoch {kept_epoch}")
        axes.set(xlabel="epoch", title=title)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(fontsize=8)
    return figure


def save_plot(figure: "Figure", path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100, pil_kwargs={"compress_level": 1})  # a tenth larger, in two thirds of the time


def _figure(columns: int = 1) -> tuple["Figure", object]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5 * columns, 4))  # fixed margins: measuring them costs as much as drawing
    figure.subplots_adjust(left=0.13 / columns, right=1 - 0.03 / columns, bottom=0.12, top=0.92, wspace=0.16)
    FigureCanvasAgg(figure)  # no pyplot: it keeps every figure, and asks for a screen
    return figure, figure.subplots(1, columns)
