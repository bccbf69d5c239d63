"""Tables for a terminal: of one run, of runs side by side, of models with their intervals."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from recsweep.comparison import Difference, Interval
from recsweep.contrasts import MEASURES, Contrast, Row
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

INTERVALS_SHOWN = ("f1_at_half", "f1_at_threshold", "average_precision", "mse", "ndcg_at_10")
"""Measures that a terminal has room for with their intervals; a page has all."""

HANGS = "†"
"""Marks an interval that is not covered, as it hangs on one user."""

SHOWN_MODELS = 25
"""Rows of a table of models; a page has all."""


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


def contrast_table(found: Contrast) -> "Table":
    """The best models with their 95 % intervals, and how far each is from the best baseline by the measure."""
    from rich.table import Table

    headings = dict(COMPARED)
    rows = found.top(SHOWN_MODELS)
    splits = "" if len(found.splits) == 1 else f" of {len(found.splits)} splits"
    title = f"{found.part}{splits}, best by {MEASURES[found.measure]} first; ± half a 95 % interval"
    if any(interval.hangs for row in rows for interval in row.intervals.values()):
        title += f", {HANGS} not covered: hangs on one user"
    table = Table(title=title, title_justify="left")
    table.add_column("model", no_wrap=True)
    table.add_column("seeds", justify="right")
    shown = [measure for measure in dict.fromkeys([found.measure, *INTERVALS_SHOWN]) if measure in found.measures]
    for measure in shown:
        table.add_column(headings.get(measure, MEASURES[measure]), justify="right")
    versus = found.versus.get(found.measure)
    if versus is not None and versus.differences:
        table.add_column(f"{headings.get(found.measure, MEASURES[found.measure])} less best baseline's"
                         if found[versus.reference].is_baseline else "less the best's", justify="right")
        table.add_column("p (Holm)", justify="right")
        table.add_column("one user changes it by", justify="right")
    table.add_column("seconds", justify="right")
    table.add_column("parameters", justify="right")
    leaders = {measure: found.leader(measure).name for measure in shown} if len(rows) > 1 else {}
    for row in rows:
        cells = [f"[bold]{cell}[/]" if leaders.get(measure) == row.name else cell
                 for measure, cell in ((measure, with_margin(row, measure)) for measure in shown)]
        if versus is not None and versus.differences:
            difference = versus.differences.get(row.name)
            reference = "reference" if row.name == versus.reference else "–"
            cells += [reference, "", ""] if difference is None else [
                f"{difference.low:+.4f} to {difference.high:+.4f}{mark(difference)}",
                no_verdict(difference) or p_value(versus.corrected[row.name]), largest_change(difference)]
        table.add_row(row.name.replace("[", r"\["), str(row.num_seeds), *cells, number(row.seconds, ".1f"),
                      number(row.num_parameters, ",.0f"))
    if found.of_truth:
        table.add_section()
        table.add_row("the true probabilities", "", *(number(found.of_truth.get(measure), ".4f") for measure in shown))
    return table


def with_margin(row: Row, measure: str) -> str:
    """`0.3312 ±.0051`: a value, and half the width of its interval where there is one."""
    if measure not in row.values:
        return "–"
    interval = row.intervals.get(measure)
    margin = "" if interval is None else " ±" + f"{(interval.high - interval.low) / 2:.4f}".removeprefix("0")
    return f"{row.values[measure]:.4f}{margin}{mark(interval)}"


def mark(interval: Interval | None) -> str:
    """HANGS where the interval hangs on one user."""
    return f" {HANGS}" if interval is not None and interval.hangs else ""


def no_verdict(difference: Difference) -> str:
    """`one seed` where that leaves no verdict; empty where there is one."""
    return (difference.no_verdict or "").partition(":")[0]


def largest_change(difference: Difference) -> str:
    """`-0.0041 (93 %)`: the largest change when one user is left out, and the share of the variance that is theirs."""
    influence = difference.influence
    return "–" if influence is None else f"{influence.change:+.4f} ({100 * influence.share:.0f} %)"


def p_value(value: float) -> str:
    return "–" if value != value else "<.0001" if value < 1e-4 else f"{value:.4f}"  # nan is not itself


def number(value: float | None, form: str) -> str:
    return "–" if value is None or value != value else format(value, form)  # nan is not itself
