"""The numbers of a comparison: each model's measures with their intervals, and how far it is from
the best baseline."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np

from recsweep.comparison.models import Model, Standing
from recsweep.comparison.resampling import (
    FEWER_REPLICATES,
    REPLICATES,
    Difference,
    Interval,
    Resampling,
)
from recsweep.errors import ConfigError, SavedModelError, TrackingError
from recsweep.evaluation import EvaluationReport, candidates_in_words
from recsweep.measures import COMPARED, SHARE_PREDICTED_POSITIVE, View, shown
from recsweep.measures import measure as measure_of
from recsweep.models.base import Folds
from recsweep.models.saved import saved_kind
from recsweep.processes import cores
from recsweep.statistics import holm, mean_of_means
from recsweep.tracking import Tracker

MANY_REPORTS = 50
"""Number of reports above which each is compared with fewer resamples, so that a table of a hundred
takes seconds."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model's numbers on one part.

    Attributes:
        name: Name of the model.
        role: `net` or `baseline`.
        loss: Name of the loss that it is trained with; None where none is chosen for it.
        measured_on: Split digest and seed of each run.
        runs: Ids of its runs, in the same order.
        values: Mean over seeds and splits of each of COMPARED that it has.
        intervals: Intervals of those that can be resampled.
        on_validation: Means of the same measures on validation, where all its runs logged them.
        seconds: Seconds of a fit, mean over the runs.
        num_parameters: Numbers that were learnt and are kept.
        num_collapsed: Runs that predict no cell of the part positive at 0.5.
        share_predicted: Share of the cells predicted positive at 0.5, mean over the runs; nan
            without cells, and where probabilities are calibrated: a low one is then no collapse.
        takes_new_users: Whether it answers for users it was not trained on; None where that is not
            known.
    """

    name: str
    role: str
    loss: str | None
    measured_on: Sequence[tuple[str, int]]
    runs: Sequence[str]
    values: Mapping[str, float]
    intervals: Mapping[str, Interval]
    on_validation: Mapping[str, float] = field(default_factory=dict)
    seconds: float = float("nan")
    num_parameters: float = float("nan")
    num_collapsed: int = 0
    share_predicted: float = float("nan")
    takes_new_users: bool | None = None

    @property
    def is_baseline(self) -> bool:
        return self.role == "baseline"

    @property
    def num_seeds(self) -> int:
        """Number of seeds on the split that has most."""
        splits = [split for split, _ in self.measured_on]
        return max(map(splits.count, splits))


@dataclass(frozen=True)
class Versus:
    """The other models against the best baseline by one measure; without a baseline, against the
    best model.

    Attributes:
        reference: Name of the model that the others stand against.
        chosen_on: The part by which it is the best one.
        differences: Name of a model to the model less the reference.
        corrected: p-values after Holm's correction for the models with a verdict; nan for the
            others.
        without: Name of a model that sentences speak of to its difference without the user that
            the difference hangs on.
    """

    reference: str
    chosen_on: str
    differences: Mapping[str, Difference]
    corrected: Mapping[str, float]
    without: Mapping[str, Difference] = field(default_factory=dict)

    @property
    def num_tested(self) -> int:
        """Number of models with a verdict."""
        return sum(difference.no_verdict is None for difference in self.differences.values())


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """All numbers of the models that stand on the same part of the same splits.

    Attributes:
        splits: Digests of the splits.
        candidates: What lists were chosen from, as `EvaluationProtocol.tag_of` says it.
        num_users: Users that are resampled.
        split_is_random: Whether another seed of the split makes other parts; None where the reports
            do not tell.
        measure: Name of the one of COMPARED that orders the models.
        rows: A row a model, the best by that measure first.
        versus: Each measure that can be resampled to the other models against the best baseline.
        best_net: Name of the net that is the best by the measure, on validation where that is
            known; None without.
        paid: Each measure to the best net less the best baseline, both by `measure`; empty where
            one of them is absent.
        prevalence: Share of the part's cells that are positive; None without cells.
        of_truth: Synthetic data: measures of the true probabilities themselves, which no model can
            expect to beat.
        replicates: Resamples behind each interval; 0 before there are any.
        left_out: Reasons why runs are not among them.
    """

    data: str
    data_digest: str
    splits: Sequence[str]
    part: str
    measure: str
    rows: Sequence[Row]
    num_users: int = 0
    split_is_random: bool | None = None
    candidates: str = "not_liked"
    versus: Mapping[str, Versus] = field(default_factory=dict)
    best_net: str | None = None
    paid: Mapping[str, Difference] = field(default_factory=dict)
    prevalence: float | None = None
    of_truth: Mapping[str, float] = field(default_factory=dict)
    replicates: int = REPLICATES
    left_out: Sequence[str] = ()

    def __getitem__(self, name: str) -> Row:
        return next(row for row in self.rows if row.name == name)

    @property
    def where(self) -> str:
        """Words on what the models were measured on."""
        splits = f"split{'s' if len(self.splits) > 1 else ''} {', '.join(self.splits)}"
        return (
            f"{self.data} (data {self.data_digest}, {splits}; lists are chosen from "
            f"{candidates_in_words(self.candidates)})"
        )

    @property
    def measures(self) -> list[str]:
        """Names of those of COMPARED that a model has."""
        return [measure for measure in COMPARED if any(measure in row.values for row in self.rows)]

    def shown_in(self, view: View) -> list[str]:
        """Names of the measure that orders the models and of those that a view shows, as far as a
        model has them."""
        names = dict.fromkeys([self.measure, *(measure.name for measure in shown(view))])
        return [name for name in names if name in self.measures]

    @property
    def reference(self) -> str | None:
        """Name of the best baseline by the measure; without a baseline, of the best model."""
        return self.versus[self.measure].reference if self.measure in self.versus else None

    def leader(self, measure: str) -> Row:
        """The model with the best mean on the part; of equal ones the first."""
        return best_of([row for row in self.rows if measure in row.values], measure)

    def leaders(self, measures: Sequence[str]) -> dict[str, str]:
        """Measure to the name of its best model; nothing where there is one model alone."""
        return {name: self.leader(name).name for name in measures} if len(self.rows) > 1 else {}

    def top(self, number: int) -> list[Row]:
        """The first rows, and the best baseline and the best net even where they are not among
        them."""
        always = (self.reference, self.best_net)
        return [row for place, row in enumerate(self.rows) if place < number or row.name in always]


def worth(row: Row, measure: str, *, on_validation: bool = False) -> float:
    """Number of which more is better; -inf where the model has no value of the measure."""
    values = row.on_validation if on_validation else row.values
    return measure_of(measure).worth(values.get(measure, np.nan))


def best_of(rows: Sequence[Row], measure: str, *, on_validation: bool = False) -> Row:
    return max(rows, key=lambda row: worth(row, measure, on_validation=on_validation))


def best_beforehand(rows: Sequence[Row], measure: str, part: str) -> tuple[Row, str]:
    """The best row by validation where all rows have the measure there, else by the part itself;
    and that part.

    What is chosen on the part that it is then compared on looks better than it is.
    """
    on_validation = all(measure in row.on_validation for row in rows)
    best = best_of(rows, measure, on_validation=on_validation)
    return best, "validation" if on_validation else part


def chosen_measure(standing: Standing, asked: str | None) -> str:
    """The measure that orders the models of a standing.

    Raises:
        ConfigError: No model has the one that was asked for, or any at all.
    """
    reports = [report for model in standing.models for report in model.reports.values()]
    known = [name for name in COMPARED if any(name in report.metrics for report in reports)]
    if asked is None:
        defaults = (measure.name for measure in shown("deciding"))
        return next((name for name in (*defaults, *known) if name in known), "")
    if asked not in known:
        remedy = ", ".join(known) or "none: their reports have no known measure"
        raise ConfigError(
            f"The models on {standing.data} ({standing.part}) can't be compared by {asked!r}. Set "
            f"--measure to one of {remedy}."
        )
    return asked


def contrast(standing: Standing, measure: str, *, replicates: int | None = None) -> Contrast:
    """Resample the users and compare; the models' tables are filled on all cores.

    Args:
        standing: The models, on one part of the same splits.
        measure: The measure that `chosen_measure` gives.
        replicates: Number of resamples; None takes half as many where more than MANY_REPORTS are
            compared.
    """
    if replicates is None:
        many = sum(len(model.reports) for model in standing.models) > MANY_REPORTS
        replicates = FEWER_REPLICATES if many else REPLICATES
    from threadpoolctl import threadpool_limits

    models = {model.name: model for model in standing.models}
    resampling = Resampling([model.measured for model in standing.models], replicates=replicates)
    possible = {
        name: [measure for measure in resampling.measures(name) if measure in COMPARED]
        for name in models
    }

    def row(model: Model) -> Row:
        return _row(model, standing.part, resampling, possible[model.name])

    # numpy and scipy release the lock; threads of BLAS besides would only wait for each other
    with threadpool_limits(1), ThreadPoolExecutor(cores()) as pool:
        rows = sorted(pool.map(row, standing.models), key=lambda row: -worth(row, measure))
    contrasts = {name: _versus(rows, name, standing.part, resampling) for name in COMPARED}
    nets = [row for row in rows if not row.is_baseline]
    best_net = best_beforehand(nets, measure, standing.part)[0].name if nets else None
    spoken_of = {measure, *(known.name for known in shown("spoken"))}
    versus = {
        name: _with_without(against, {best_net, rows[0].name}, name, resampling)
        if name in spoken_of
        else against
        for name, against in contrasts.items()
        if against is not None
    }
    paid = {}
    if best_net and measure in versus and models[versus[measure].reference].is_baseline:
        baseline = versus[measure].reference
        paid = {
            name: resampling.difference(best_net, baseline, name)
            for name in COMPARED
            if name in possible[best_net] and name in possible[baseline]
        }
    first = next(iter(standing.models[0].reports.values()))
    truth = {name: standing.models[0].mean(f"{standing.part}/{name}_of_truth") for name in COMPARED}
    return Contrast(
        data=standing.data,
        data_digest=standing.data_digest,
        splits=resampling.splits,
        part=standing.part,
        measure=measure,
        rows=rows,
        versus=versus,
        best_net=best_net,
        paid=paid,
        prevalence=first.metrics.get("prevalence"),
        of_truth=_defined(truth),
        replicates=replicates,
        left_out=standing.left_out,
        candidates=standing.candidates,
        num_users=resampling.num_users,
        split_is_random=_is_random(first),
    )


def _is_random(report: EvaluationReport) -> bool | None:
    """Whether the split was drawn by a seed; None where the report does not say."""
    return report.protocol["split_seed"] is not None if "split_seed" in report.protocol else None


def _row(model: Model, part: str, resampling: Resampling, possible: Sequence[str]) -> Row:
    reports = list(model.reports.values())
    values = {
        name: _mean(model, name)
        for name in COMPARED
        if all(name in report.metrics for report in reports)
    }
    shares = [report.metrics.get(SHARE_PREDICTED_POSITIVE.name, np.nan) for report in reports]
    if any("calibrated" in record.tags for record in model.records.values()):
        shares = [np.nan]
    on_validation = {name: model.mean(f"validation/{name}") for name in values}
    return Row(
        name=model.name,
        role=model.role,
        loss=model.loss,
        measured_on=list(model.records),
        runs=[record.id for record in model.records.values()],
        values=values,
        intervals={measure: resampling.interval(model.name, measure) for measure in possible},
        on_validation=_defined(on_validation),
        seconds=model.mean("fit/seconds"),
        num_parameters=model.mean("model/num_parameters"),
        num_collapsed=sum(share == 0 for share in shares),
        share_predicted=float(np.mean(shares)),
    )


def _defined(values: Mapping[str, float]) -> dict[str, float]:
    """The values that are not nan."""
    return {name: value for name, value in values.items() if not np.isnan(value)}


def _mean(model: Model, measure: str) -> float:
    """Mean of a measure of the reports, as `Resampling` takes it."""
    return mean_of_means(
        [report.metrics[measure] for (of, _), report in model.reports.items() if of == split]
        for split in model.splits
    )


def _versus(rows: Sequence[Row], measure: str, part: str, resampling: Resampling) -> Versus | None:
    compared = [row for row in rows if measure in row.intervals]
    if not compared:
        return None
    reference, chosen_on = best_beforehand(
        [row for row in compared if row.is_baseline] or compared, measure, part
    )
    differences = {
        row.name: resampling.difference(row.name, reference.name, measure)
        for row in compared
        if row is not reference
    }
    corrected = holm([difference.p_value for difference in differences.values()])
    corrected_of = dict(zip(differences, corrected.tolist(), strict=True))
    return Versus(reference.name, chosen_on, differences, corrected_of)


def _with_without(
    versus: Versus, names: set[str | None], measure: str, resampling: Resampling
) -> Versus:
    """Compare again, without the user that a difference hangs on."""
    without = {
        name: resampling.without(difference.influence.user, [name, versus.reference]).difference(
            name, versus.reference, measure
        )
        for name, difference in versus.differences.items()
        if name in names and difference.hangs and difference.influence is not None
    }
    return replace(versus, without=without)


def with_new_users(contrast: Contrast, standing: Standing, store: Tracker) -> Contrast:
    """Say of the best net and of the best baseline whether they answer for new users: their logged
    models tell."""
    models = {model.name: model for model in standing.models}
    rows = [
        replace(row, takes_new_users=_takes_new_users(models[row.name], store))
        if row.name in (contrast.best_net, contrast.reference)
        else row
        for row in contrast.rows
    ]
    return replace(contrast, rows=rows)


def _takes_new_users(model: Model, store: Tracker) -> bool | None:
    model_id = next(iter(model.records.values())).model_id
    if model_id is None:
        return None
    try:
        with store.saved_model(model_id) as folder:
            return issubclass(saved_kind(folder), Folds)
    except (TrackingError, SavedModelError):  # the model is gone, its numbers are not
        return None
