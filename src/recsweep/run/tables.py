"""Tables of one run, and of runs side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

from recsweep.evaluation import EvaluationReport
from recsweep.measures import MEASURES, Measure, shown
from recsweep.rendering import Column, Table, is_missing

OF_TRUTH = "the true probabilities"
"""Name of the row of what no model can expect to beat."""


def comparison_table(
    rows: Sequence[tuple[str, Mapping[str, float]]], part: str, run_ids: Sequence[str] = ()
) -> Table:
    """Runs side by side, the best value of each measure in bold.

    A measure that no run has gets no column.

    Args:
        rows: Name of a run and its metrics, as `validation/mse` and `fit/seconds`.
        part: The part whose metrics are shown.
        run_ids: Ids of the runs, for programs.
    """
    ids = [{"run_id": run_id} for run_id in run_ids] or [{}] * len(rows)
    measures = {
        measure.name: measure
        for measure in shown("runs")
        if any(f"{part}/{measure.name}" in metrics for _, metrics in rows)
    }
    records = [
        {
            "model": label,
            **run_id,
            **{name: metrics.get(f"{part}/{name}") for name in measures},
            "kept_epoch": int(metrics.get("fit/kept_epoch", 0)),
            "epochs": int(metrics.get("fit/epochs", 0)),
            "seconds": metrics.get("fit/seconds", 0),
            "num_parameters": int(metrics.get("model/num_parameters", 0)),
        }
        for (label, metrics), run_id in zip(rows, ids, strict=True)
    ]
    return Table(
        [
            Column("model", "model", left=True),
            *(
                Column(name, measure.heading, ".4f", drops=max(0, place - 2))
                for place, (name, measure) in enumerate(measures.items())
            ),
            Column(
                "epochs",
                "epoch",
                lambda run: f"{run['kept_epoch']} of {run['epochs']}",
                drops=1_001,
            ),
            Column("seconds", "seconds", ".1f", drops=1_002),
            Column("num_parameters", "parameters", ",.0f", drops=1_000),
        ],
        records,
        footer=_of_truth(rows, part),
        bold=_best(records, measures) if len(rows) > 1 else (),
    )


def _best(
    records: Sequence[Mapping[str, Any]], measures: Mapping[str, Measure]
) -> set[tuple[int, str]]:
    """Places of the best values, equal ones among them: as far as four digits tell."""
    places = set()
    for name, measure in measures.items():
        values = {
            place: round(record[name], 4)
            for place, record in enumerate(records)
            if not is_missing(record[name])
        }
        best = max(values.values(), key=measure.worth, default=None)
        places |= {(place, name) for place, value in values.items() if value == best}
    return places


def _of_truth(rows: Sequence[tuple[str, Mapping[str, float]]], part: str) -> list[dict[str, Any]]:
    """Synthetic data: the measures of the true probabilities, in one row; else none."""
    for _, metrics in rows:
        truth = {
            measure.name: metrics[f"{part}/{measure.name}_of_truth"]
            for measure in shown("truth")
            if f"{part}/{measure.name}_of_truth" in metrics
        }
        if truth:
            return [{"model": OF_TRUTH, **truth}]
    return []


def report_tables(report: EvaluationReport) -> list[Table]:
    """Every measure of one report: of cells, where it has them, and of rankings."""
    metrics, lengths = report.metrics, report.protocol["k"]
    families = [
        measure
        for measure in MEASURES.values()
        if measure.length is not None and measure.at(lengths[0]).name in metrics
    ]
    rankings = Table(
        [
            Column("metric", "mean over users", left=True),
            *(Column(f"at_{k}", f"k = {k}", ".4f") for k in lengths),
        ],
        [
            {
                "metric": measure.name.rpartition("_at_")[0].replace("_", " "),
                **{f"at_{k}": metrics[measure.at(k).name] for k in lengths},
            }
            for measure in families
        ],
        title=f"{report.part}: rankings",
    )
    if "threshold" not in metrics:
        return [rankings]
    pooled = [
        measure.name
        for measure in MEASURES.values()
        if measure.needs == "cells" and measure.name in metrics
    ]
    shares = [name.removesuffix("_at_half") for name in pooled if name.endswith("_at_half")]
    columns = [
        Column("metric", "metric", left=True),
        Column("at_half", "at 0.5", ".4f"),
        Column("at_threshold", f"at {metrics['threshold']:.4f}", ".4f"),
    ]
    cells = Table(
        columns,
        [
            {
                "metric": name.replace("_", " "),
                **{column.key: metrics[f"{name}_{column.key}"] for column in columns[1:]},
            }
            for name in shares
        ],
        title=f"{report.part}: cells",
        footer=[
            {"metric": name.replace("_", " "), "at_half": metrics[name]}
            for name in ("prevalence", *(name for name in pooled if "_at_" not in name))
        ],
    )
    return [cells, rankings]
