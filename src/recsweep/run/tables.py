"""Tables of one run, and of runs side by side."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from recsweep.evaluation import MINIMISED, EvaluationReport
from recsweep.rendering import Column, Table, is_missing

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


OF_ALL_CELLS = ("prevalence", "average_precision", "roc_auc", "mse", "log_loss")
"""Metrics of cells that need no threshold."""

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
        name: heading
        for name, heading in COMPARED
        if any(f"{part}/{name}" in metrics for _, metrics in rows)
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
            Column("model", "model", left=True, wraps=False),
            *(Column(name, heading, ".4f") for name, heading in measures.items()),
            Column("epochs", "epoch", lambda run: f"{run['kept_epoch']} of {run['epochs']}"),
            Column("seconds", "seconds", ".1f"),
            Column("num_parameters", "parameters", ",.0f"),
        ],
        records,
        footer=_of_truth(rows, part),
        bold=_best(records, measures) if len(rows) > 1 else (),
    )


def _best(records: Sequence[Mapping[str, Any]], measures: Iterable[str]) -> set[tuple[int, str]]:
    """Places of the best values, equal ones among them: as far as four digits tell."""
    places = set()
    for name in measures:
        values = {
            place: round(record[name], 4)
            for place, record in enumerate(records)
            if not is_missing(record[name])
        }
        best = (min if name in MINIMISED else max)(values.values(), default=None)
        places |= {(place, name) for place, value in values.items() if value == best}
    return places


def _of_truth(rows: Sequence[tuple[str, Mapping[str, float]]], part: str) -> list[dict[str, Any]]:
    """Synthetic data: the measures of the true probabilities, in one row; else none."""
    truth = next(
        (metrics for _, metrics in rows if f"{part}/average_precision_of_truth" in metrics), {}
    )
    values = {
        name: truth[f"{part}/{name}_of_truth"]
        for name, _ in COMPARED
        if f"{part}/{name}_of_truth" in truth
    }
    return [{"model": OF_TRUTH, **values}] if truth else []


def report_tables(report: EvaluationReport) -> list[Table]:
    """Every metric of one report: of cells, where it has them, and of rankings."""
    metrics, lengths = report.metrics, report.protocol["k"]
    families = dict.fromkeys(
        name.rpartition("_at_")[0] for name in metrics if name.rpartition("_")[2].isdigit()
    )
    rankings = Table(
        [
            Column("metric", "mean over users", left=True),
            *(Column(f"at_{k}", f"k = {k}", ".4f") for k in lengths),
        ],
        [
            {
                "metric": name.replace("_", " "),
                **{f"at_{k}": metrics[f"{name}_at_{k}"] for k in lengths},
            }
            for name in families
        ],
        title=f"{report.part}: rankings",
    )
    if "threshold" not in metrics:
        return [rankings]
    families = dict.fromkeys(
        name.removesuffix("_at_half") for name in metrics if name.endswith("_at_half")
    )
    cells = Table(
        [
            Column("metric", "metric", left=True),
            Column("at_half", "at 0.5", ".4f"),
            Column("at_threshold", f"at {metrics['threshold']:.4f}", ".4f"),
        ],
        [
            {
                "metric": name.replace("_", " "),
                **{f"at_{at}": metrics[f"{name}_at_{at}"] for at in ("half", "threshold")},
            }
            for name in families
        ],
        title=f"{report.part}: cells",
        footer=[
            {"metric": name.replace("_", " "), "at_half": metrics[name]}
            for name in OF_ALL_CELLS
            if name in metrics
        ],
    )
    return [cells, rankings]
