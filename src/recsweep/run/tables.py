"""Tables for a terminal: of one run, and of runs side by side."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from recsweep.evaluation import EvaluationReport
from recsweep.measures import MEASURES, shown

if TYPE_CHECKING:
    from rich.columns import Columns
    from rich.table import Table

def comparison_table(rows: Sequence[tuple[str, Mapping[str, float]]], part: str) -> "Table":
    """Runs side by side, the best value of each metric in bold. A metric that no run has gets no column.

    Args:
        rows: Name of a run and its metrics, as `validation/mse` and `fit/seconds`.
        part: Which part's metrics to show.
    """
    from rich.table import Table

    table = Table()
    table.add_column("model", no_wrap=True)
    measures = {name: each for each in shown("runs") if any((name := f"{part}/{each.name}") in m for _, m in rows)}
    for heading in [*(each.heading for each in measures.values()), "epoch", "seconds", "parameters"]:
        table.add_column(heading, justify="right")
    best = {name: max((metrics[name] for _, metrics in rows if name in metrics), key=each.worth)
            for name, each in measures.items()}
    for label, metrics in rows:
        cells = []
        for name in measures:
            cell = f"{metrics[name]:.4f}" if name in metrics else "–"
            leads = len(rows) > 1 and cell == f"{best[name]:.4f}"
            cells.append(f"[bold]{cell}[/]" if leads else cell)
        epochs = f"{metrics.get('fit/kept_epoch', 0):.0f} of {metrics.get('fit/epochs', 0):.0f}"
        size = f"{metrics.get('model/num_parameters', 0):,.0f}"
        table.add_row(label, *cells, epochs, f"{metrics.get('fit/seconds', 0):.1f}", size)
    truth = next((m for _, m in rows for each in shown("truth") if f"{part}/{each.name}_of_truth" in m), None)
    if truth is not None:
        known = [f"{truth[f'{name}_of_truth']:.4f}" if f"{name}_of_truth" in truth else "" for name in measures]
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
    for each in MEASURES.values():
        if each.length is not None and each.at(lengths[0]).name in metrics:
            label = each.name.rpartition("_at_")[0].replace("_", " ")
            rankings.add_row(label, *(f"{metrics[each.at(k).name]:.4f}" for k in lengths))
    if "threshold" not in metrics:
        return Columns([rankings])
    cells = Table(title=f"{report.part}: cells", title_justify="left")
    cells.add_column("metric")
    cells.add_column("at 0.5", justify="right")
    cells.add_column(f"at {metrics['threshold']:.4f}", justify="right")
    pooled = [each.name for each in MEASURES.values() if each.needs == "cells" and each.name in metrics]
    for name in (name.removesuffix("_at_half") for name in pooled if name.endswith("_at_half")):
        cells.add_row(name.replace("_", " "), *(f"{metrics[f'{name}_at_{at}']:.4f}" for at in ("half", "threshold")))
    cells.add_section()
    for name in ("prevalence", *(name for name in pooled if "_at_" not in name)):
        cells.add_row(name.replace("_", " "), f"{metrics[name]:.4f}")
    return Columns([cells, rankings])
