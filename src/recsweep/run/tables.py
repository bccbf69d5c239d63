"""Tables for a terminal: of one run, and of runs side by side."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from recsweep.evaluation import MINIMISED, EvaluationReport

if TYPE_CHECKING:
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
