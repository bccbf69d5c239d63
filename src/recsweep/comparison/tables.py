"""Tables for a terminal: of one run, of runs side by side, of models with their intervals."""

from typing import TYPE_CHECKING

from recsweep.comparison.contrasts import Contrast, Row
from recsweep.comparison.resampling import Difference, Interval
from recsweep.measures import measure as measure_of
from recsweep.measures import shown

if TYPE_CHECKING:
    from rich.table import Table


HANGS = "†"
"""Marks an interval that is not covered, as it hangs on one user."""

SHOWN_MODELS = 25
"""Rows of a table of models; a page has all."""


def contrast_table(found: Contrast) -> "Table":
    """The best models with their 95 % intervals, and how far each is from the best baseline by the measure."""
    from rich.table import Table

    rows = found.top(SHOWN_MODELS)
    splits = "" if len(found.splits) == 1 else f" of {len(found.splits)} splits"
    title = f"{found.part}{splits}, best by {measure_of(found.measure).title} first; ± half a 95 % interval"
    if any(interval.hangs for row in rows for interval in row.intervals.values()):
        title += f", {HANGS} not covered: hangs on one user"
    table = Table(title=title, title_justify="left")
    table.add_column("model", no_wrap=True)
    table.add_column("seeds", justify="right")
    columns = [measure for measure in dict.fromkeys([found.measure, *(each.name for each in shown("intervals"))])
               if measure in found.measures]
    for measure in columns:
        table.add_column(measure_of(measure).heading, justify="right")
    versus = found.versus.get(found.measure)
    if versus is not None and versus.differences:
        table.add_column(f"{measure_of(found.measure).heading} less best baseline's"
                         if found[versus.reference].is_baseline else "less the best's", justify="right")
        table.add_column("p (Holm)", justify="right")
        table.add_column("one user changes it by", justify="right")
    table.add_column("seconds", justify="right")
    table.add_column("parameters", justify="right")
    leaders = {measure: found.leader(measure).name for measure in columns} if len(rows) > 1 else {}
    for row in rows:
        cells = [f"[bold]{cell}[/]" if leaders.get(measure) == row.name else cell
                 for measure, cell in ((measure, with_margin(row, measure)) for measure in columns)]
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
        table.add_row("the true probabilities", "",
                      *(number(found.of_truth.get(measure), ".4f") for measure in columns))
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
