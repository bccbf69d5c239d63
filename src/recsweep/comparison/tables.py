"""The table of models with their intervals."""

from collections.abc import Callable, Sequence
from typing import Any

from recsweep.comparison.contrasts import Contrast, Row
from recsweep.comparison.resampling import Difference, Interval
from recsweep.measures import measure as measure_of
from recsweep.rendering import MISSING, Column, Record, Table, shown
from recsweep.run.tables import OF_TRUTH

HANGS = "†"
"""Mark of an interval that is not covered, as it hangs on one user."""

SHOWN_MODELS = 25
"""Number of rows of a table of models; a page has all."""


def contrast_table(contrast: Contrast, number: int = SHOWN_MODELS) -> Table:
    """The best models with their 95 % intervals, and how far each is from the best baseline.

    Args:
        contrast: The numbers; a program gets all its measures.
        number: Number of models that there are rows of, beside the best baseline and the best net.
    """
    rows = contrast.top(number)
    measures = contrast.shown_in("intervals")
    leaders = contrast.leaders(measures)
    of_truth = {measure: contrast.of_truth.get(measure) for measure in measures}
    return Table(
        [
            Column("model", "model", left=True),
            Column("seeds", "seeds", drops=100),
            *(
                Column(
                    name,
                    measure_of(name).heading,
                    _with_margin(name),
                    drops=0 if name == contrast.measure else 1 + place,
                )
                for place, name in enumerate(measures)
            ),
            *_versus_columns(contrast),
            Column("seconds", "seconds", ".1f", drops=1_002),
            Column("num_parameters", "parameters", ",.0f", drops=1_001),
        ],
        [_record(contrast, row) for row in rows],
        title=_title(contrast, rows),
        footer=[{"model": OF_TRUTH, **of_truth}] if contrast.of_truth else (),
        bold={
            (place, measure)
            for place, row in enumerate(rows)
            for measure in measures
            if leaders.get(measure) == row.name
        },
    )


def _title(contrast: Contrast, rows: Sequence[Row]) -> str:
    splits = "" if len(contrast.splits) == 1 else f" of {len(contrast.splits)} splits"
    best = f"best by {measure_of(contrast.measure).title} first"
    title = f"{contrast.part}{splits}, {best}; ± half a 95 % interval"
    hangs = any(interval.hangs for row in rows for interval in row.intervals.values())
    return f"{title}, {HANGS} not covered: hangs on one user" if hangs else title


def _record(contrast: Contrast, row: Row) -> dict[str, Any]:
    """All numbers of a model: its measures with their intervals, and its difference."""
    record: dict[str, Any] = {
        "model": row.name,
        "baseline": row.is_baseline,
        "seeds": row.num_seeds,
    }
    for measure in contrast.measures:
        record[measure] = row.values.get(measure)
        record |= _ends(measure, row.intervals.get(measure))
    versus = contrast.versus.get(contrast.measure)
    if versus is not None and versus.differences:
        difference = versus.differences.get(row.name)
        influence = difference and difference.influence
        record |= {
            "reference": versus.reference,
            "difference": difference and difference.value,
            **_ends("difference", difference),
            "p_value": versus.corrected.get(row.name),
            "no_verdict": difference and difference.no_verdict,
            "one_user_changes_it_by": influence and influence.change,
            "share_of_one_user": influence and influence.share,
        }
    return {
        **record,
        "seconds": row.seconds,
        "num_parameters": row.num_parameters,
        "runs": list(row.runs),
    }


def _ends(name: str, interval: Interval | None) -> dict[str, Any]:
    return {
        f"{name}_low": interval and interval.low,
        f"{name}_high": interval and interval.high,
        f"{name}_hangs_on_one_user": interval and interval.hangs,
    }


def _versus_columns(contrast: Contrast) -> list[Column]:
    """Columns of the differences from the reference; none where there is nothing to compare."""
    versus = contrast.versus.get(contrast.measure)
    if versus is None or not versus.differences:
        return []
    reference, differences, corrected = versus.reference, versus.differences, versus.corrected

    def interval(record: Record) -> str:
        difference = differences.get(record["model"])
        if difference is None:
            return "reference" if record["model"] == reference else MISSING
        return f"{difference.low:+.4f} to {difference.high:+.4f}{mark(difference)}"

    def corrected_p(record: Record) -> str:
        difference = differences.get(record["model"])
        if difference is None:
            return ""
        return no_verdict(difference) or p_value(corrected[record["model"]])

    def one_user(record: Record) -> str:
        difference = differences.get(record["model"])
        return "" if difference is None else largest_change(difference)

    against = "less the best's"
    if contrast[reference].is_baseline:
        against = f"{measure_of(contrast.measure).heading} less best baseline's"
    return [
        Column("difference", against, interval),
        Column("p_value", "p (Holm)", corrected_p),
        Column("one_user_changes_it_by", "one user changes it by", one_user, drops=1_000),
    ]


def _with_margin(measure: str) -> Callable[[Record], str]:
    """Gives `0.3312 ±.0051`: a value, and half the width of its interval where there is one."""

    def text(record: Record) -> str:
        low, high = record.get(f"{measure}_low"), record.get(f"{measure}_high")
        hangs = f" {HANGS}" if record.get(f"{measure}_hangs_on_one_user") else ""
        margin = ""
        if low is not None and high is not None:
            margin = f" ±{(high - low) / 2:.4f}"
        return f"{shown(record[measure], '.4f')}{margin}{hangs}"

    return text


def mark(interval: Interval | None) -> str:
    """HANGS where the interval hangs on one user."""
    return f" {HANGS}" if interval is not None and interval.hangs else ""


def no_verdict(difference: Difference) -> str:
    """`one seed` where that leaves no verdict; empty where there is one."""
    return (difference.no_verdict or "").partition(":")[0]


def largest_change(difference: Difference) -> str:
    """`-0.0041 (93 %)`: the largest change when one user is left out, and the share of the variance
    that is theirs."""
    influence = difference.influence
    return "–" if influence is None else f"{influence.change:+.4f} ({100 * influence.share:.0f} %)"


def p_value(value: float) -> str:
    return "<.0001" if value < 1e-4 else shown(value, ".4f")
