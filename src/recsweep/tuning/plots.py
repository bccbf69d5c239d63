"""Plots of a study: one HTML page that needs no network, and a PNG each."""

import html
import warnings
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from recsweep.rendering import Table, page
from recsweep.tuning.importance import ImportanceNote, evaluator, importances

if TYPE_CHECKING:
    from optuna.study import Study

PLOTS = (
    "optimization_history",
    "param_importances",
    "parallel_coordinate",
    "slice",
    "intermediate_values",
)
PARETO_PLOTS = ("pareto_front",)
OF_SETTINGS = ("param_importances", "parallel_coordinate", "slice")
"""Plots of settings: where options are tried each by itself, there is one of each."""

COMPARING = ("optimization_history", "param_importances", "pareto_front")
"""Plots that say which trials are better."""


def write_plots(
    study: "Study",
    folder: Path,
    *,
    objective: str,
    baselines: Mapping[str, float],
    heading: str,
    words: str,
    leaderboard: Table,
    importance: ImportanceNote,
    comparable: bool = True,
    options: Mapping[str, tuple["Study", ImportanceNote]] = MappingProxyType({}),
) -> None:
    """Write `study.html` and `<plot>.png` for each plot that the study's trials allow.

    Args:
        study: A study with at least one finished trial.
        folder: The folder, which is made where it does not exist.
        objective: Name of the axis.
        baselines: Name of a baseline to its value of the objective: the lines to beat in the
            history.
        heading: Title of the page.
        words: The finding of the study.
        leaderboard: Table above the plots.
        importance: Note beside the plot of importances.
        comparable: Whether the trials were measured alike; else no plot says which are better.
        options: The trials of each option that is tried by itself, and the note on importances.
    """
    from optuna import visualization
    from optuna.visualization import matplotlib as visualization_png

    folder.mkdir(parents=True, exist_ok=True)
    names = PARETO_PLOTS if len(study.directions) > 1 else _possible(study)
    if options:
        names = [name for name in names if name not in OF_SETTINGS]
    if not comparable:
        names = [name for name in names if name not in COMPARING]
    drawn = [(name, "", study, importance) for name in names]
    for option, (own, note) in options.items():
        possible = _possible(own) if comparable and len(own.directions) == 1 else []
        drawn += [(name, option, own, note) for name in possible if name in OF_SETTINGS]
    plots: list[dict[str, str]] = []
    for name, option, source, said in drawn:
        file = f"{name}_{option}" if option else name
        title = said.title if name == "param_importances" else ""
        if option:
            title = f"{option}: {title}" if title else option
        figure = _draw(getattr(visualization, f"plot_{name}"), source, name, objective)
        if name == "optimization_history":
            for label, value in baselines.items():
                figure.add_hline(value, line_dash="dot", annotation_text=html.escape(label))
        if title:
            figure.update_layout(title=title)
        words_beside = said.words if name == "param_importances" else ""
        drawing = figure.to_html(full_html=False, include_plotlyjs=not plots)
        plots.append({"words": words_beside, "html": drawing})
        with _agg() as pyplot:
            axes = _draw(getattr(visualization_png, f"plot_{name}"), source, name, objective)
            first = axes.ravel()[0] if hasattr(axes, "ravel") else axes
            if name == "optimization_history":
                for label, value in baselines.items():
                    first.axhline(value, ls=":", color="grey")
                    place = {"xy": (0, value), "xycoords": ("axes fraction", "data")}
                    first.annotate(label, **place, fontsize=7)
            if title:
                first.set_title(title)
            first.figure.savefig(folder / f"{file}.png", bbox_inches="tight", dpi=100)
            pyplot.close(first.figure)
    text = page("study.html", heading=heading, words=words, leaderboard=leaderboard, plots=plots)
    (folder / "study.html").write_text(text, encoding="utf-8")


def _possible(study: "Study") -> list[str]:
    """The plots that have something to show: importance needs finished trials that differ in
    parameter and value, and a line from setting to setting is of those that all trials have."""
    from optuna.trial import TrialState

    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    values = {trial.value for trial in finished}
    varied = any(trial.params for trial in finished)
    names = [name for name in PLOTS if name == "optimization_history" or varied]
    if not _shared(study):
        names = [name for name in names if name != "parallel_coordinate"]
    if len(values) < 2 or not importances(study):
        names = [name for name in names if name != "param_importances"]
    if not any(trial.intermediate_values for trial in study.get_trials(deepcopy=False)):
        names = [name for name in names if name != "intermediate_values"]
    return names


def _shared(study: "Study") -> list[str]:
    """The settings that all finished trials have."""
    from optuna.trial import TrialState

    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    first = finished[0].params if finished else {}
    return [name for name in first if all(name in trial.params for trial in finished)]


def _draw(plot: Callable[..., Any], study: "Study", name: str, objective: str) -> Any:
    options: dict[str, Any] = {}
    if name == "param_importances":
        options = {"evaluator": evaluator(study)}
    elif name in ("optimization_history", "parallel_coordinate", "slice"):
        options = {"target_name": objective}
    if name == "parallel_coordinate":
        options["params"] = _shared(study)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the matplotlib plots are marked experimental
        return plot(study, **options)


@contextmanager
def _agg() -> Any:
    """Let pyplot draw on a canvas that asks for no screen, whatever the caller's backend is."""
    import matplotlib
    from matplotlib import pyplot

    before = matplotlib.get_backend()
    pyplot.switch_backend("agg")
    try:
        with warnings.catch_warnings():  # of a wide figure, which is saved with all its labels
            warnings.filterwarnings("ignore", "Tight layout not applied")
            yield pyplot
    finally:
        pyplot.switch_backend(before)
