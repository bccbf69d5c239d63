"""Plots of a study: one HTML page that needs no network, and an SVG each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from recsweep.drawing import COLORS, GREY, Axis, Panel, color_of, parallel, svg
from recsweep.rendering import Table, page
from recsweep.tuning.importance import ImportanceNote, importances
from recsweep.tuning.state import State

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

OF_SETTINGS = ("param_importances", "parallel_coordinate", "slice")
"""Plots of settings: where options are tried each by itself, there is one of each."""

MAX_MARKS = 6
"""Number of different values of a setting of which each is written at its axis."""

RELOAD_SECONDS = 15
"""Time after which the page of a study that is worked on reads itself anew."""

COMPARING = ("optimization_history", "param_importances", "pareto_front")
"""Plots that say which trials are better."""


def write_plots(
    study: "Study",
    folder: Path,
    *,
    objectives: Sequence[str],
    baselines: Mapping[str, float],
    heading: str,
    state: State,
    words: Sequence[str],
    tables: Sequence[Table],
    importance: ImportanceNote,
    comparable: bool = True,
    options: Mapping[str, tuple["Study", ImportanceNote]] = MappingProxyType({}),
) -> None:
    """Write `study.html` with each plot that the study's trials allow, and `<plot>.svg` of it where
    the study has ended.

    Args:
        study: A study with at least one finished trial.
        folder: The folder, which is made where it does not exist.
        objectives: Names of its objectives.
        baselines: Name of a baseline to its value of the objective: the lines to beat in the
            history.
        heading: Title of the page.
        state: How far the study is.
        words: Sentences on what the study has found, the plainest first.
        tables: Tables above the plots.
        importance: Note beside the plot of importances.
        comparable: Whether the trials were measured alike; else no plot says which are better.
        options: The trials of each option that is tried by itself, and the note on importances.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = _drawn(_Drawn.of(study, objectives, baselines), importance)
    if options:
        drawn = {name: plot for name, plot in drawn.items() if name not in OF_SETTINGS}
    if not comparable:
        drawn = {name: plot for name, plot in drawn.items() if name not in COMPARING}
    for option, (own, note) in options.items():
        possible = {}
        if comparable and len(own.directions) == 1:
            possible = _drawn(_Drawn.of(own, objectives, {}, option), note)
        drawn |= {f"{name}_{option}": possible[name] for name in OF_SETTINGS if name in possible}
    for file, plot in drawn.items() if not state.is_running else ():
        (folder / f"{file}.svg").write_text(plot["svg"], encoding="utf-8")
    plots = list(drawn.values())
    text = page(
        "study.html",
        heading=heading,
        state=state,
        words=words or [state.words],
        tables=tables,
        plots=plots,
        reload_seconds=RELOAD_SECONDS,
    )
    (folder / "study.html").write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class _Drawn:
    """What the plots are drawn from.

    Attributes:
        finished: The trials that have a value.
        reporting: The trials that have values of epochs.
        option: The option that all of them are of, where each is tried by itself.
    """

    finished: Sequence["FrozenTrial"]
    reporting: Sequence["FrozenTrial"]
    maximise: Sequence[bool]
    objectives: Sequence[str]
    baselines: Mapping[str, float]
    importances: Mapping[str, float]
    option: str

    @classmethod
    def of(
        cls,
        study: "Study",
        objectives: Sequence[str],
        baselines: Mapping[str, float],
        option: str = "",
    ) -> "_Drawn":
        from optuna.trial import TrialState

        trials = study.get_trials(deepcopy=False)
        finished = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        maximise = [direction.name == "MAXIMIZE" for direction in study.directions]
        several = len(maximise) == 1 and len({trial.value for trial in finished}) > 1
        return cls(
            finished,
            [trial for trial in trials if trial.intermediate_values],
            maximise,
            objectives,
            baselines,
            importances(study) if several else {},
            option,
        )

    @property
    def values(self) -> np.ndarray:
        """(number of finished trials,) of the first objective."""
        return np.array([trial.values[0] for trial in self.finished], dtype=np.float64)

    @property
    def shares(self) -> np.ndarray:
        """(number of finished trials,) from 0 for the worst to 1 for the best."""
        values = self.values if self.maximise[0] else -self.values
        low, high = values.min(), values.max()
        return (values - low) / (high - low) if high > low else np.ones(len(values))

    @property
    def titles(self) -> list[str]:
        """What is shown of each finished trial under the mouse."""
        return [_title(trial, self.objectives) for trial in self.finished]

    def settings(self) -> list[str]:
        """The settings that a finished trial has, by name."""
        return sorted({name for trial in self.finished for name in trial.params})

    def titled(self, title: str = "") -> str:
        """A title, after the option."""
        return ": ".join(words for words in (self.option, title) if words)


def _title(trial: "FrozenTrial", objectives: Sequence[str]) -> str:
    values = [
        f"{name} {value:.4f}" for name, value in zip(objectives, trial.values or (), strict=False)
    ]
    params = [f"{name}={value}" for name, value in trial.params.items()]
    return "\n".join([f"trial {trial.number}", *values, *params])


def _drawn(source: _Drawn, note: ImportanceNote) -> dict[str, dict[str, str]]:
    """The plots that have something to show, by name, each with words beside it.

    Importance needs finished trials that differ in parameter and value, and a line from setting to
    setting is of those that all trials have.
    """
    plots: dict[str, dict[str, str]] = {}

    def add(name: str, drawing: str, words: str = "") -> None:
        plots[name] = {"title": name.replace("_", " "), "words": words, "svg": drawing}

    if len(source.maximise) > 1:
        add("pareto_front", _pareto_front(source))
        return plots
    add("optimization_history", _history(source))
    if source.importances:
        add("param_importances", _importances(source, note.title), note.words)
    if shared := _shared(source):
        add("parallel_coordinate", _parallel(source, shared))
    if source.settings():
        add("slice", _slices(source))
    if source.reporting and source.settings():
        add("intermediate_values", _epochs(source))
    return plots


def _history(source: _Drawn) -> str:
    panel = Panel(Axis("trial", whole=True), Axis(source.objectives[0]), width=760)
    numbers = [trial.number for trial in source.finished]
    best = np.maximum.accumulate if source.maximise[0] else np.minimum.accumulate
    panel.draw(numbers, source.values, "trial", width=0, marker="o", size=7, titles=source.titles)
    panel.steps(numbers, best(source.values), "best so far", color=COLORS[1])
    for label, value in source.baselines.items():
        panel.named_rule(value, label)
    return svg(panel, title=source.titled())


def _importances(source: _Drawn, title: str) -> str:
    shown = list(source.importances.items())[::-1]
    names = [name for name, _ in shown]
    across, up = Axis("importance", (0, None)), Axis(kind="names", names=names)
    panel = Panel(across, up, width=760, height=100 + 34 * len(names))
    for place, (_, value) in enumerate(shown):
        panel.bar(place, value, f"{value:.2f}" if value >= 0.01 else "< 0.01")
    return svg(panel, title=source.titled(title))


def _shared(source: _Drawn) -> list[str]:
    """The settings that all finished trials have."""
    first = source.finished[0].params if source.finished else {}
    return [name for name in first if all(name in trial.params for trial in source.finished)]


def _parallel(source: _Drawn, settings: Sequence[str]) -> str:
    columns = [(source.values, Axis())]
    for name in settings:
        axis, place = _axis_of(name, source.finished)
        columns.append((np.array([place(trial) for trial in source.finished]), axis))
    names = [source.objectives[0].rpartition("/")[2], *settings]
    title = source.titled("the better a trial, the stronger its line")
    return parallel(names, columns, source.shares, source.titles, title)


def _slices(source: _Drawn) -> str:
    """A panel a setting; stronger points are later trials."""
    panels = []
    latest = max(trial.number for trial in source.finished) or 1
    for name in source.settings():
        trials = [trial for trial in source.finished if name in trial.params]
        axis, place = _axis_of(name, trials)
        panel = Panel(axis, Axis(source.objectives[0]), width=380, height=330)
        panel.draw(
            [place(trial) for trial in trials],
            [trial.values[0] for trial in trials],
            width=0,
            marker="o",
            size=7,
            titles=[_title(trial, source.objectives) for trial in trials],
            colors=[color_of(trial.number / latest) for trial in trials],
        )
        panels.append(panel)
    title = source.titled("the later a trial, the stronger its point")
    return svg(*panels, columns=min(len(panels), 4), title=title)


def _axis_of(
    name: str, trials: Sequence["FrozenTrial"]
) -> tuple[Axis, Callable[["FrozenTrial"], float]]:
    """An axis for a setting, and the place of a trial on it."""
    distributions = [trial.distributions[name] for trial in trials]
    values = {trial.params[name] for trial in trials}
    if any(isinstance(value, str | bool | None) for value in values):
        named = {str(value) for each in distributions for value in getattr(each, "choices", ())}
        places = {value: place for place, value in enumerate(sorted(named, key=_by_number))}
        axis = Axis(name, kind="names", names=list(places))
        return axis, lambda trial: float(places[str(trial.params[name])])
    if any(hasattr(each, "choices") for each in distributions):
        choices = sorted(
            {value for each in distributions for value in getattr(each, "choices", ())}
        )
        axis = Axis(name, kind="names", names=[f"{value:g}" for value in choices])
        return axis, lambda trial: float(choices.index(trial.params[name]))
    is_log = all(getattr(each, "log", False) for each in distributions)
    whole = all(isinstance(value, int) for value in values)
    marks = sorted(values) if len(values) <= MAX_MARKS else ()  # of a grid, its choices
    axis = Axis(name, kind="log" if is_log else "linear", whole=whole, marks=marks)
    return axis, lambda trial: float(trial.params[name])


def _by_number(text: str) -> tuple[int, Any]:
    try:
        return 0, float(text)
    except ValueError:
        return 1, text


def _epochs(source: _Drawn) -> str:
    panel = Panel(Axis("epoch", whole=True), Axis(source.objectives[0]), width=760)
    last = [trial.intermediate_values[max(trial.intermediate_values)] for trial in source.reporting]
    order = np.argsort(last) if source.maximise[0] else np.argsort(last)[::-1]
    for rank, place in enumerate(order.tolist()):
        trial = source.reporting[place]
        epochs = sorted(trial.intermediate_values)
        color = color_of(rank / max(len(order) - 1, 1))
        if trial.state.name != "COMPLETE":
            color = GREY
        panel.draw(
            epochs,
            [trial.intermediate_values[epoch] for epoch in epochs],
            color=color,
            width=1.2,
            marker="o",
            size=4,
            titles=[_title(trial, source.objectives)] * len(epochs),
        )
    title = "the better a trial, the stronger its line; grey where it was ended early"
    return svg(panel, title=source.titled(title))


def _pareto_front(source: _Drawn) -> str:
    """A panel for each two objectives, with the trials that no other one surpasses in all."""
    values = np.array([trial.values for trial in source.finished], dtype=np.float64)
    worth = np.where(source.maximise, values, -values)
    front = np.array(
        [not ((worth >= own).all(axis=1) & (worth > own).any(axis=1)).any() for own in worth]
    )
    panels = []
    for first, second in combinations(range(values.shape[1]), 2):
        panel = Panel(Axis(source.objectives[first]), Axis(source.objectives[second]))
        for chosen, label, color in ((~front, "other trials", GREY), (front, "front", COLORS[1])):
            titles = [title for title, it in zip(source.titles, chosen, strict=True) if it]
            if titles:
                place, height = values[chosen][:, [first, second]].T
                panel.draw(
                    place, height, label, color=color, width=0, marker="o", size=7, titles=titles
                )
        panels.append(panel)
    return svg(*panels, columns=2)
