"""Plots that set models side by side, each with a sentence on what to see in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recsweep.comparison.contrasts import Contrast, Row
from recsweep.comparison.models import Model, Standing
from recsweep.drawing import COLORS, RED, Axis, Marker, Panel, svg
from recsweep.evaluation import EvaluationReport, sampling_rule
from recsweep.measures import (
    AVERAGE_PRECISION,
    F1_AT_THRESHOLD,
    SHARE_PREDICTED_POSITIVE,
    TRAIN_LOSS,
    of_cells,
)
from recsweep.measures import measure as measure_of
from recsweep.measures import shown as shown_in
from recsweep.run.plots import thinned
from recsweep.tracking import SAMPLE_TAG

SHOWN_MODELS = 40
"""Rows of a plot that has one a model."""

SHOWN_BASELINES = 3
"""Lines of baselines among those of nets."""

NETS = COLORS[:4]
BASELINES = ("#444444", "#8a8a8a", "#b5b5b5")
MARKERS: tuple[Marker, ...] = ("o", "s")
GROUPS: tuple[tuple[str, str, Marker], ...] = (
    ("nets", NETS[0], "open"),
    ("baselines", BASELINES[0], "s"),
)
CALIBRATION_BINS = 20

Histories = Mapping[str, Mapping[tuple[str, int], Mapping[str, Sequence[tuple[int, float]]]]]
"""(epoch, value) by name of a model, split digest and seed, and logged metric."""


@dataclass(frozen=True)
class Plot:
    """A drawing, and what to see in it."""

    title: str
    svg: str
    caption: str
    is_wide: bool = False


@dataclass(frozen=True)
class DrawnModel:
    """A model that the plots draw as a line.

    Attributes:
        report: Report of its first seed on its first split.
    """

    model: Model
    row: Row
    color: str
    dash: str
    report: EvaluationReport

    @property
    def label(self) -> str:
        """Name in a legend."""
        return _shortened(self.row.name, 34)

    def draw(self, panel: Panel, across: np.ndarray, up: np.ndarray, beside: str = "") -> None:
        """Draw a curve of at most so many points as a plot can show, and name it in the legend with
        words beside its name."""
        places = thinned(len(up))
        label = f"{self.label}{beside}"
        panel.draw(across[places], up[places], label, color=self.color, dash=self.dash)

    @cached_property
    def ranked(self) -> of_cells.RankedCells:
        """Cells of the report, from the most probable down."""
        assert self.report.cells is not None, "a report without cells has no curve"
        return of_cells.rank_cells(self.report.cells["targets"], self.report.cells["probabilities"])


def shown_models(contrast: Contrast, standing: Standing) -> list[DrawnModel]:
    """The best net of each loss, or of each kind where none is chosen, and the best baselines, one
    of each kind."""
    models = {model.name: model for model in standing.models}
    nets: dict[str, Row] = {}
    baselines: dict[str, Row] = {}
    for row in sorted(
        contrast.rows, key=lambda row: row.name not in (contrast.best_net, contrast.reference)
    ):
        if row.is_baseline:
            baselines.setdefault(models[row.name].kind, row)
        else:
            nets.setdefault(row.loss or models[row.name].kind, row)
    chosen = [
        *zip(list(nets.values())[: len(NETS)], NETS, strict=False),
        *zip(list(baselines.values())[:SHOWN_BASELINES], BASELINES, strict=False),
    ]
    return [
        DrawnModel(
            models[row.name],
            row,
            color,
            "6 4" if row.is_baseline else "",
            next(iter(models[row.name].reports.values())),
        )
        for row, color in chosen
    ]


HISTORY = tuple(
    measure.on_validation
    for measure in (TRAIN_LOSS, *shown_in("objective"), SHARE_PREDICTED_POSITIVE)
)
"""Logged metrics of which the plots need every epoch."""


def draw(contrast: Contrast, standing: Standing, histories: Histories) -> list[Plot]:
    """Every plot that the numbers allow."""
    models = shown_models(contrast, standing)
    with_cells = [
        drawn
        for drawn in models
        if drawn.report.cells is not None and drawn.report.metrics.get("prevalence")
    ]
    trained = [drawn for drawn in models if drawn.row.name in histories]
    plots: list[Plot | None] = [_intervals(contrast)]
    if with_cells:
        plots += [_f1_by_threshold(with_cells), _precision_recall(with_cells)]
        plots.append(_calibration(with_cells))
    plots.append(_time(contrast))
    if trained:
        plots += [_training(trained, histories), _shares(trained, histories)]
    return [plot for plot in plots if plot is not None]


def _intervals(contrast: Contrast) -> Plot:
    rows = contrast.top(SHOWN_MODELS)[::-1]
    title = measure_of(contrast.measure).title
    spoken = [measure for measure in shown_in("spoken") if measure.name in contrast.measures]
    measures: list[tuple[str, Marker, str | None]] = [
        (measure.name, marker, measure.group)
        for measure, marker in zip(spoken, MARKERS, strict=False)
    ]
    measures = measures or [(contrast.measure, "o", title)]
    names = [_shortened(row.name, 44) for row in rows]
    panel = Panel(
        Axis("F1" if spoken else title),
        Axis(kind="names", names=names),
        width=820,
        height=90 + 22 * max(len(rows), 3),
    )
    for measure, marker, label in measures:
        for kind, color in (("net", NETS[0]), ("baseline", BASELINES[0])):
            of_kind = [
                (place, row)
                for place, row in enumerate(rows)
                if measure in row.values and row.is_baseline == (kind == "baseline")
            ]
            for place, row in of_kind:
                if (interval := row.intervals.get(measure)) is not None:
                    panel.draw([interval.low, interval.high], [place, place], color=color)
            panel.draw(
                [row.values[measure] for _, row in of_kind],
                [place for place, _ in of_kind],
                f"{kind}, {label}" if of_kind else "",
                color=color,
                width=0,
                marker=marker,
                size=8,
                titles=[f"{row.name}: {row.values[measure]:.4f}" for _, row in of_kind],
            )
    hanging = [
        (row.intervals[measure].value, place)
        for place, row in enumerate(rows)
        for measure, *_ in measures
        if measure in row.intervals and row.intervals[measure].hangs
    ]
    if hanging:
        label = "not covered: hangs on one user"
        values, places = zip(*hanging, strict=True)
        panel.draw(values, places, label, color=RED, width=0, marker="x", size=10)
    caption = (
        "How far the square lies left of its dot is what the threshold alone does; models whose "
        "dots' intervals overlap widely can't be told apart by eye: the paired differences in the "
        "table are sharper."
        if len(measures) == 2
        else "Intervals that overlap widely can't be told apart by eye."
    )
    if len(contrast.rows) > len(rows):
        caption += f" The best {SHOWN_MODELS} of {len(contrast.rows)} are shown."
    title = "F1 with 95 % intervals" if spoken else title
    return Plot(title, svg(panel), caption, is_wide=True)


def _f1_by_threshold(models: Sequence[DrawnModel]) -> Plot:
    panel = Panel(Axis("threshold", (0, 1)), Axis("F1", (0, None)))
    for drawn in models:
        cells = drawn.ranked
        f1 = 2 * cells.true_positives / (cells.num_predicted + cells.num_positives)
        drawn.draw(panel, cells.thresholds, f1)
        metrics = drawn.report.metrics
        chosen = [metrics["threshold"]], [metrics[F1_AT_THRESHOLD.name]]
        panel.draw(*chosen, color=drawn.color, width=0, marker="o", size=8)
    panel.rule(0.5, "threshold 0.5", vertical=True, color=RED)
    return Plot(
        "F1 against threshold",
        svg(panel),
        "A dot marks the threshold that validation chose: where the dotted line at 0.5 cuts the "
        "curves far from their tops, F1 at 0.5 tells how bold a model's probabilities are, not "
        "how good its order is.",
    )


def _precision_recall(models: Sequence[DrawnModel]) -> Plot:
    panel = Panel(Axis("recall", (0, 1)), Axis("precision", (0, 1)))
    for drawn in models:
        precision, recall, _ = of_cells.precision_recall_curve(drawn.ranked)
        value = f": {drawn.report.metrics[AVERAGE_PRECISION.name]:.3f}"
        drawn.draw(panel, recall, precision, value)
    panel.rule(models[0].report.metrics["prevalence"], "prevalence", color=RED)
    return Plot(
        "Precision and recall",
        svg(panel),
        "The curve that lies higher finds more of the positives at the same precision, whatever "
        "the threshold; the legend gives average precision, and the dotted line is what guessing "
        "reaches.",
    )


def _calibration(models: Sequence[DrawnModel]) -> Plot:
    panel = Panel(
        Axis("predicted probability (mean of a bin)", (0, 1), "symlog"),
        Axis("share that is positive", (0, 1), "symlog"),
    )
    for drawn in models:
        predicted, observed, counts = of_cells.calibration(drawn.ranked, CALIBRATION_BINS)
        size = np.sqrt(16 + 240 * counts / counts.sum())
        panel.draw(
            predicted,
            observed,
            drawn.label,
            color=drawn.color,
            width=1,
            dash=drawn.dash,
            marker="o",
            size=size,
        )
    diagonal = np.concatenate([[0], np.geomspace(1e-3, 1, 50)])
    panel.draw(diagonal, diagonal, "calibrated", color=RED, width=1, dash="2 3")
    number = models[0].ranked.num_cells
    return Plot(
        "Calibration",
        svg(panel),
        f"A point is a bin of about {number // CALIBRATION_BINS:,} cells of similar probability "
        "(larger where equal ones make it larger): above the diagonal a model promises too "
        "little, below it too much. The axes are linear up to 0.01 and logarithmic above.",
    )


def _training(models: Sequence[DrawnModel], histories: Histories) -> Plot:
    *rankings, ranking = (measure.on_validation for measure in shown_in("objective"))
    logged = {
        name
        for drawn in models
        for by_name in histories[drawn.row.name].values()
        for name in by_name
    }
    ranking = next((name for name in rankings if name in logged), ranking)
    alike, users = _users_of_epochs(models)
    left = Panel(Axis("epoch", whole=True), Axis("training loss, as a share of the first epoch's"))
    right = Panel(Axis("epoch", whole=True), Axis(ranking.replace("_", " ").replace("/", ": ")))
    for drawn in models:
        _lines(left, drawn, histories, TRAIN_LOSS.on_validation, relative=True)
        if alike:
            _lines(right, drawn, histories, ranking)
    return Plot(
        "Training",
        svg(left, right),
        "Thin lines are runs, the thick one their mean. Where the curve on the right bends down "
        "while the one on the left goes on falling, the net learns its training data by heart."
        f"{users}",
        is_wide=True,
    )


def _users_of_epochs(models: Sequence[DrawnModel]) -> tuple[bool, str]:
    """Whether the epochs of all runs were evaluated on the same users of validation, and on whom,
    in words."""
    rules = {
        sampling_rule(record.tags.get(SAMPLE_TAG, ""))
        for drawn in models
        for record in drawn.model.records.values()
    }
    if len(rules) > 1:
        return False, (
            " Curves of validation are left out: the epochs of some nets were evaluated on all of "
            "its users and those of others on a sample, or on another one, and do not compare."
        )
    if rules <= {""}:
        return True, ""
    return True, f" The epochs are measured on a sample of the users of validation ({rules.pop()})."


def _shares(models: Sequence[DrawnModel], histories: Histories) -> Plot | None:
    name = SHARE_PREDICTED_POSITIVE.on_validation
    models = [
        drawn
        for drawn in models
        if any(name in by_name for by_name in histories[drawn.row.name].values())
    ]
    alike, users = _users_of_epochs(models)
    if not models or not alike:
        return None
    panel = Panel(Axis("epoch", whole=True), Axis("share predicted positive at 0.5", (0, None)))
    for drawn in models:
        _lines(panel, drawn, histories, name)
    prevalence = models[0].report.metrics.get("prevalence")
    if prevalence:
        panel.rule(prevalence, "share that is positive", color=RED)
    losses = " and ".join(sorted({drawn.row.loss.upper() for drawn in models if drawn.row.loss}))
    return Plot(
        "Predicted positive at 0.5",
        svg(panel),
        f"Of the best net{' trained with ' if losses else ''}{losses}: a line that stays at zero "
        "has collapsed, and one that lies far below the dotted line finds few of the positives "
        f"at 0.5.{users}",
    )


def _lines(
    panel: Panel, drawn: DrawnModel, histories: Histories, name: str, *, relative: bool = False
) -> None:
    """One thin line a seed, and their mean as far as all of them go."""
    seeds = [by_name[name] for by_name in histories[drawn.row.name].values() if by_name.get(name)]
    if not seeds:
        return
    curves = [np.array([value for _, value in points]) for points in seeds]
    if relative:
        curves = [curve / curve[0] if curve[0] else curve for curve in curves]
    for points, curve in zip(seeds, curves, strict=True):
        epochs = [epoch for epoch, _ in points]
        panel.draw(epochs, curve, color=drawn.color, width=0.7, opacity=0.5)
    length = min(len(curve) for curve in curves)
    mean = np.mean([curve[:length] for curve in curves], axis=0)
    epochs = [epoch for epoch, _ in seeds[0][:length]]
    panel.draw(epochs, mean, drawn.label, color=drawn.color, width=1.8, marker="o", size=4)


def _time(contrast: Contrast) -> Plot | None:
    measure = measure_of(contrast.measure)
    rows = [row for row in contrast.rows if measure.name in row.values and row.seconds >= 0]
    if len(rows) < 2:
        return None
    seconds = {row.name: max(row.seconds, 1e-3) for row in rows}
    panel = Panel(
        Axis("seconds of training (logarithmic)", kind="log", room=0.12),
        Axis(measure.title, room=0.12),
    )
    named = {contrast.best_net, contrast.reference, contrast.leader(measure.name).name}
    for label, color, marker in GROUPS:
        group = [row for row in rows if row.is_baseline == (label == "baselines")]
        if group:
            panel.draw(
                [seconds[row.name] for row in group],
                [row.values[measure.name] for row in group],
                label,
                color=color,
                width=0,
                marker=marker,
                size=7,
                titles=[f"{row.name}: {row.values[measure.name]:.4f}" for row in group],
            )
    for row in rows:
        if row.name in named:
            name = _shortened(row.name, 34)
            panel.note(seconds[row.name], row.values[measure.name], name)
    better = "higher" if measure.maximise else "lower"
    return Plot(
        "Quality against training time",
        svg(panel),
        f"Further left is quicker, {better} is better: a step to the right should buy a step "
        f"{'down' if better == 'lower' else 'up'}.",
    )


def _shortened(name: str, length: int) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"
