"""Tables of one run, and of runs side by side."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from recsweep.checks import nearest, short
from recsweep.errors import ConfigError
from recsweep.evaluation import EvaluationReport
from recsweep.measures import MEASURES, Measure, shown
from recsweep.measures import measure as measure_of
from recsweep.rendering import Column, Record, Table, is_missing
from recsweep.rendering import shown as value_text
from recsweep.tracking import OBJECTIVE_TAG, RunRecord

SHORT_ID = 8
"""Characters of a run's id that a person sees, and a command takes for it."""

STARTED = "started"
"""Name of the time at which a run began."""

OF_TRUTH = "the true probabilities"
"""Name of the row of what no model can expect to beat."""


def comparison_table(rows: Sequence[tuple[str, Mapping[str, float]]], part: str) -> Table:
    """Runs side by side, the best value of each measure in bold.

    A measure that no run has gets no column.

    Args:
        rows: Name of a run and its metrics, as `validation/mse` and `fit/seconds`.
        part: The part whose metrics are shown.
    """
    measures = _measures([metrics for _, metrics in rows], part)
    records = [{"model": label, **_measured(metrics, part, measures)} for label, metrics in rows]
    return Table(
        [Column("model", "model", left=True), *_measured_columns(measures)],
        records,
        footer=_of_truth(rows, part),
        bold=_best(records, measures) if len(rows) > 1 else (),
    )


def runs_table(
    runs: Sequence[RunRecord], part: str, sort: str, columns: Sequence[str] = ()
) -> Table:
    """Runs of a store side by side, the best value of each measure in bold.

    Args:
        runs: Runs that compare, each with metrics of the part.
        part: The part whose metrics are shown.
        sort: Measure whose best value comes first, or STARTED for the order of their starts.
        columns: What is shown of each run beside its id and model, by the names of `told`; none
            for what is shown of all runs.

    Raises:
        ConfigError: No run has what is named by `sort` or `columns`.
    """
    measures = _measures([run.metrics for run in runs], part)
    if sort != STARTED:  # its column comes first
        measures = {sort: measure_of(sort), **measures}
    told_of = {run.id: told(run, part) for run in runs}
    for name in (sort, *columns):
        check_told(name, told_of.values())

    def place(run: RunRecord) -> tuple[bool, float]:
        value = run.metrics.get(f"{part}/{sort}")
        if value is None:
            return sort != STARTED, run.started
        return False, -measures[sort].worth(value)

    records = [
        {
            "model": run.name,
            "run_id": run.id,
            **_measured(run.metrics, part, measures),
            **{name: told_of[run.id].get(name) for name in ("study", "seed", "loss", STARTED)},
            **{name: told_of[run.id].get(name) for name in columns},
        }
        for run in sorted(runs, key=place)
    ]
    several = {
        name: len({record[name] for record in records}) > 1 for name in ("study", "seed", "loss")
    }
    named = [
        Column("model", "model", left=True),
        Column("run_id", "run", lambda run: run["run_id"][:SHORT_ID], left=True),
    ]
    if columns:
        shown_columns = [
            Column(name, measure_of(name).heading if name in measures else name, _told_form(name))
            for name in columns
        ]
    else:
        shown_columns = [
            *_measured_columns(measures),
            *(
                Column(name, name, left=name != "seed", drops=3 if several[name] else 1_010)
                for name in ("study", "seed", "loss")
            ),
            Column(STARTED, "started", left=True, drops=1_100),
        ]
    return Table(
        [*named, *shown_columns],
        records,
        footer=_of_truth([(run.name, run.metrics) for run in runs], part),
        bold=_best(records, measures) if len(runs) > 1 else (),
    )


def objective_in(runs: Sequence[RunRecord]) -> str | None:
    """The measure that most of the runs chose their epochs by, without its part; None where none
    says it."""
    named = [
        run.tags[OBJECTIVE_TAG].removeprefix("validation/")
        for run in runs
        if OBJECTIVE_TAG in run.tags
    ]
    return max(named, key=named.count, default=None)


def check_told(name: str, told_of: Collection[Mapping[str, Any]]) -> None:
    """Raise ConfigError where no run has what is named."""
    known = {known for values in told_of for known in values}
    if name in known or not told_of:
        return
    measures = ", ".join(sorted(known & MEASURES.keys()))
    words = f"There are {measures}, and settings, as seed and model.user_dim."
    if near := nearest(name, known):
        words = f"Did you mean {near}?"
    raise ConfigError(f"No run has {short(name)!r}. {words}")


def told(run: RunRecord, part: str) -> dict[str, Any]:
    """What is known of a run, by the names that a person calls it by: its measures on a part and
    other metrics, its settings as `model.user_dim`, and what it is."""
    metrics = {name.removeprefix(f"{part}/"): value for name, value in run.metrics.items()}
    return {
        **run.params,
        **metrics,
        "run": run.id,
        "model": run.kind,
        "name": run.name,
        "study": run.tags.get("study", ""),
        "seed": run.tags.get("seed") or run.params.get("seed"),
        "loss": run.loss or "",
        "role": run.role,
        STARTED: time.strftime("%Y-%m-%d %H:%M", time.localtime(run.started / 1000)),
    }


def _told_form(name: str) -> str | Callable[[Record], str]:
    return lambda run: words if isinstance(words := run[name], str) else value_text(words, ".4f")


def _measures(all_metrics: Sequence[Mapping[str, float]], part: str) -> dict[str, Measure]:
    """The measures that some run has."""
    return {
        measure.name: measure
        for measure in shown("runs")
        if any(f"{part}/{measure.name}" in metrics for metrics in all_metrics)
    }


def _measured(
    metrics: Mapping[str, float], part: str, measures: Mapping[str, Measure]
) -> dict[str, Any]:
    return {
        **{name: metrics.get(f"{part}/{name}") for name in measures},
        "kept_epoch": int(metrics.get("fit/kept_epoch", 0)),
        "epochs": int(metrics.get("fit/epochs", 0)),
        "seconds": metrics.get("fit/seconds", 0),
        "num_parameters": int(metrics.get("model/num_parameters", 0)),
    }


def _measured_columns(measures: Mapping[str, Measure]) -> list[Column]:
    return [
        *(
            Column(name, measure.heading, ".4f", drops=max(0, place - 2))
            for place, (name, measure) in enumerate(measures.items())
        ),
        Column(
            "epochs", "epoch", lambda run: f"{run['kept_epoch']} of {run['epochs']}", drops=1_001
        ),
        Column("seconds", "seconds", ".1f", drops=1_002),
        Column("num_parameters", "parameters", ",.0f", drops=1_000),
    ]


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
