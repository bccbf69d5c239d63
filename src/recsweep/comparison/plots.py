"""Plots that set models side by side, each with a sentence on what to see in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from recsweep.comparison.contrasts import Contrast, Row
from recsweep.comparison.models import Model, Standing
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
from recsweep.run.plots import new_figure, thinned
from recsweep.tracking import SAMPLE_TAG

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN_MODELS = 25
"""Rows of a plot that has one a model."""

SHOWN_BASELINES = 3
"""Lines of baselines among those of nets."""

NETS = ("#1f5fa8", "#d1731f", "#7a3b8f", "#3f7d4e")
BASELINES = ("#444444", "#8a8a8a", "#b5b5b5")
RED = "#a01515"
DOTTED: Mapping[str, Any] = {"color": RED, "lw": 0.9, "ls": ":"}
CALIBRATION_BINS = 20

Histories = Mapping[str, Mapping[tuple[str, int], Mapping[str, Sequence[tuple[int, float]]]]]
"""(epoch, value) by name of a model, split digest and seed, and logged metric."""


@dataclass(frozen=True)
class Plot:
    """A figure, and what to see in it."""

    title: str
    figure: "Figure"
    caption: str


@dataclass(frozen=True)
class DrawnModel:
    """A model that the plots draw as a line.

    Attributes:
        report: Report of its first seed on its first split.
    """

    model: Model
    row: Row
    color: str
    style: str
    report: EvaluationReport

    @property
    def label(self) -> str:
        """Name in a legend."""
        return _shortened(self.row.name, 34)

    def draw(self, axes: Any, across: np.ndarray, up: np.ndarray, beside_label: str = "") -> None:
        """Draw a curve of at most so many points as a plot can show."""
        places = thinned(len(up))
        label = f"{self.label}{beside_label}"
        axes.plot(across[places], up[places], self.style, color=self.color, lw=1.4, label=label)

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
            "--" if row.is_baseline else "-",
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
    measures = [
        (measure.name, marker, measure.group) for measure, marker in zip(spoken, "os", strict=False)
    ]
    measures = measures or [(contrast.measure, "o", title)]
    figure, axes = new_figure(2)
    figure.set_size_inches(11, 1.2 + 0.24 * max(len(rows), 3))
    figure.subplots_adjust(
        top=1 - 0.4 / figure.get_figheight(), bottom=0.55 / figure.get_figheight()
    )
    figure.delaxes(axes[1])
    axes = axes[0]
    axes.set_position([0.36, axes.get_position().y0, 0.62, axes.get_position().height])
    for measure, marker, label in measures:
        for kind, color in (("net", NETS[0]), ("baseline", BASELINES[0])):
            places = [
                place
                for place, row in enumerate(rows)
                if measure in row.values and row.is_baseline == (kind == "baseline")
            ]
            if not places:
                continue
            values = np.array([rows[place].values[measure] for place in places])
            ends = [rows[place].intervals.get(measure) for place in places]
            margins = np.array(
                [
                    (0, 0) if end is None else (value - end.low, end.high - value)
                    for value, end in zip(values, ends, strict=True)
                ]
            ).T
            axes.errorbar(
                values,
                places,
                xerr=np.clip(margins, 0, None),
                fmt=marker,
                ms=5,
                color=color,
                lw=1.2,
                mfc=color if marker == "o" else "white",
                label=f"{kind}, {label}",
            )
    hanging = [
        (row.intervals[measure].value, place)
        for place, row in enumerate(rows)
        for measure, *_ in measures
        if measure in row.intervals and row.intervals[measure].hangs
    ]
    if hanging:
        label = "not covered: hangs on one user"
        axes.plot(*zip(*hanging, strict=True), "x", ms=9, color=RED, label=label)
    axes.set_yticks(range(len(rows)), [_shortened(row.name, 48) for row in rows], fontsize=8)
    axes.set(xlabel="F1" if spoken else title, ylim=(-0.7, len(rows) - 0.3))
    axes.grid(axis="y", lw=0.3)
    axes.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4, frameon=False)
    caption = (
        "How far the square lies left of its dot is what the threshold alone does; models whose "
        "dots' intervals overlap widely can't be told apart by eye: the paired differences in the "
        "table are sharper."
        if len(measures) == 2
        else "Intervals that overlap widely can't be told apart by eye."
    )
    if len(contrast.rows) > len(rows):
        caption += f" The best {SHOWN_MODELS} of {len(contrast.rows)} are shown."
    return Plot("F1 with 95 % intervals" if spoken else title, figure, caption)


def _f1_by_threshold(models: Sequence[DrawnModel]) -> Plot:
    figure, axes = new_figure()
    for drawn in models:
        cells = drawn.ranked
        f1 = 2 * cells.true_positives / (cells.num_predicted + cells.num_positives)
        drawn.draw(axes, cells.thresholds, f1)
        metrics = drawn.report.metrics
        axes.plot(metrics["threshold"], metrics[F1_AT_THRESHOLD.name], "o", color=drawn.color, ms=6)
    axes.axvline(0.5, **DOTTED, label="threshold 0.5")
    axes.set(xlabel="threshold", ylabel="F1", xlim=(0, 1), ylim=(0, None))
    axes.legend(fontsize=7)
    return Plot(
        "F1 against threshold",
        figure,
        "A dot marks the threshold that validation chose: where the dotted line at 0.5 cuts the "
        "curves far from their tops, F1 at 0.5 tells how bold a model's probabilities are, not "
        "how good its order is.",
    )


def _precision_recall(models: Sequence[DrawnModel]) -> Plot:
    figure, axes = new_figure()
    for drawn in models:
        precision, recall, _ = of_cells.precision_recall_curve(drawn.ranked)
        drawn.draw(axes, recall, precision, f": {drawn.report.metrics[AVERAGE_PRECISION.name]:.3f}")
    axes.axhline(models[0].report.metrics["prevalence"], **DOTTED, label="prevalence")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1))
    axes.legend(fontsize=7)
    return Plot(
        "Precision and recall",
        figure,
        "The curve that lies higher finds more of the positives at the same precision, whatever "
        "the threshold; the legend gives average precision, and the dotted line is what guessing "
        "reaches.",
    )


def _calibration(models: Sequence[DrawnModel]) -> Plot:
    figure, axes = new_figure()
    for drawn in models:
        predicted, observed, counts = of_cells.calibration(drawn.ranked, CALIBRATION_BINS)
        size = 4 + 60 * counts / counts.sum()
        axes.plot(predicted, observed, drawn.style, color=drawn.color, lw=1, label=drawn.label)
        axes.scatter(predicted, observed, size * 3, color=drawn.color, zorder=3)
    axes.plot([0, 1], [0, 1], **DOTTED, label="calibrated")
    axes.set_xscale("symlog", linthresh=0.01)
    axes.set_yscale("symlog", linthresh=0.01)
    ticks = [0, 0.01, 0.1, 1]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_yticks(ticks, [str(tick) for tick in ticks])
    axes.set(
        xlabel="predicted probability (mean of a bin)",
        ylabel="share that is positive",
        xlim=(0, 1),
        ylim=(0, 1),
    )
    axes.legend(fontsize=7)
    number = models[0].ranked.num_cells
    return Plot(
        "Calibration",
        figure,
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
    figure, (left, right) = new_figure(2)
    figure.subplots_adjust(wspace=0.22)
    for drawn in models:
        _lines(left, drawn, histories, TRAIN_LOSS.on_validation, relative=True)
        if alike:
            _lines(right, drawn, histories, ranking)
    left.set(xlabel="epoch", ylabel="training loss, as a share of the first epoch's")
    right.set(xlabel="epoch", ylabel=ranking.replace("_", " ").replace("/", ": "))
    for axes in (left, right):
        axes.xaxis.get_major_locator().set_params(integer=True)
        if axes.lines:  # a net may have no training loss
            axes.legend(fontsize=7)
    return Plot(
        "Training",
        figure,
        "Thin lines are runs, the thick one their mean. Where the curve on the right bends down "
        "while the one on the left goes on falling, the net learns its training data by heart."
        f"{users}",
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
    figure, axes = new_figure()
    for drawn in models:
        _lines(axes, drawn, histories, name)
    prevalence = models[0].report.metrics.get("prevalence")
    if prevalence:
        axes.axhline(prevalence, **DOTTED, label="share that is positive")
    axes.set(xlabel="epoch", ylabel="share predicted positive at 0.5", ylim=(0, None))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(fontsize=7)
    losses = " and ".join(sorted({drawn.row.loss.upper() for drawn in models if drawn.row.loss}))
    return Plot(
        "Predicted positive at 0.5",
        figure,
        f"Of the best net{' trained with ' if losses else ''}{losses}: a line that stays at zero "
        "has collapsed, and one that lies far below the dotted line finds few of the positives "
        f"at 0.5.{users}",
    )


def _lines(
    axes: Any, drawn: DrawnModel, histories: Histories, name: str, *, relative: bool = False
) -> None:
    """One thin line a seed, and their mean as far as all of them go."""
    seeds = [by_name[name] for by_name in histories[drawn.row.name].values() if by_name.get(name)]
    if not seeds:
        return
    curves = [np.array([value for _, value in points]) for points in seeds]
    if relative:
        curves = [curve / curve[0] if curve[0] else curve for curve in curves]
    for points, curve in zip(seeds, curves, strict=True):
        axes.plot([epoch for epoch, _ in points], curve, color=drawn.color, lw=0.6, alpha=0.5)
    length = min(len(curve) for curve in curves)
    mean = np.mean([curve[:length] for curve in curves], axis=0)
    axes.plot(
        [epoch for epoch, _ in seeds[0][:length]],
        mean,
        "-o",
        ms=2.5,
        color=drawn.color,
        lw=1.8,
        label=drawn.label,
    )


def _time(contrast: Contrast) -> Plot | None:
    measure = measure_of(contrast.measure)
    rows = [row for row in contrast.rows if measure.name in row.values and row.seconds >= 0]
    if len(rows) < 2:
        return None
    seconds = {row.name: max(row.seconds, 1e-3) for row in rows}
    figure, axes = new_figure()
    named = {contrast.best_net, contrast.reference, contrast.leader(measure.name).name}
    for baseline, color, marker in ((False, NETS[0], "o"), (True, BASELINES[0], "s")):
        group = [row for row in rows if row.is_baseline == baseline]
        if group:
            axes.plot(
                [seconds[row.name] for row in group],
                [row.values[measure.name] for row in group],
                marker,
                color=color,
                ms=5,
                mfc="white",
                label="baselines" if baseline else "nets",
            )
    middle = np.sqrt(min(seconds.values()) * max(seconds.values()))
    for place, row in enumerate(row for row in rows if row.name in named):
        axes.annotate(
            _shortened(row.name, 34),
            (seconds[row.name], row.values[measure.name]),
            fontsize=7,
            xytext=(0, (7, -13, 16)[place]),
            textcoords="offset points",
            ha="right" if row.seconds > middle else "left",
        )
    axes.set_xscale("log")
    axes.margins(x=0.2, y=0.12)
    axes.set(xlabel="seconds of training (logarithmic)", ylabel=measure.title)
    axes.legend(fontsize=8)
    better = "higher" if measure.maximise else "lower"
    return Plot(
        "Quality against training time",
        figure,
        f"Further left is quicker, {better} is better: a step to the right should buy a step "
        f"{'down' if better == 'lower' else 'up'}.",
    )


def _shortened(name: str, length: int) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"
