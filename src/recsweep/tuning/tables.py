"""Tables of a study: its leaderboard, and its second look."""

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

from recsweep.rendering import MISSING, Column, Record, Table, shown
from recsweep.tuning.records import StudyRecord, TrialRecord, counts, end_words, short_names
from recsweep.tuning.repeats import Repeats
from recsweep.tuning.verdict import Verdict

NOT_SET = float("nan")
"""The value of a setting that means nothing to a trial: None is a value."""


def leaderboard_table(
    record: StudyRecord,
    winners: Collection[TrialRecord] = (),
    only: Collection[TrialRecord] | None = None,
) -> Table:
    """The complete trials, best first; where they were measured otherwise than each other, each
    group of them by itself.

    Args:
        record: The study.
        winners: The trials that a program finds marked, and that stand out where a person looks.
        only: The best of each option of `record.each`, where they stand alone; None for all trials.
    """
    settings = list(dict.fromkeys(name for trial in record.trials for name in trial.params))
    numbers = {trial.number for trial in winners}
    shown = None if only is None else {trial.number for trial in only}
    measures = list(dict.fromkeys([*record.objectives, *_objectives(record)]))
    several, repeats = len(record.groups) > 1, record.repeats
    ranked = [
        (group.label, rank, trial)
        for group in record.groups
        for rank, trial in enumerate(group.trials, start=1)
        if shown is None or trial.number in shown
    ]
    incomplete = record.incomplete if shown is None else ()
    rows: list[dict[str, Any]] = [
        {
            **({"measured_on": label} if several else {}),
            "rank": rank,
            "trial": trial.number,
            "run_id": trial.run_id,
            "model": trial.name,
            **{_key(name): trial.params.get(name, NOT_SET) for name in settings},
            **({} if record.each is None else {"settings": _in_words(trial, record)}),
            **dict.fromkeys(measures),
            **_values(trial, record),
            "epochs": trial.epochs,
            "seconds": trial.seconds,
            "num_parameters": trial.num_parameters,
            "winner": "yes" if rank is not None and trial.number in numbers else None,
        }
        for label, rank, trial in [*ranked, *(("", None, point) for point in incomplete)]
    ]
    columns_of_settings = [
        # beside the model's name, as it is written on a command line
        Column(
            _key(name),
            "model=" if heading == "model" else heading,
            _setting(_key(name)),
            drops=10 + place,
        )
        for place, (name, heading) in enumerate(short_names(settings).items())
    ]
    if record.each is not None:  # most settings mean nothing to most options
        columns_of_settings = [Column("settings", "settings", left=True, wraps=True, drops=10)]
    columns = [
        *([Column("measured_on", "measured on", left=True, wraps=True)] if several else []),
        Column("rank", "rank"),
        Column("trial", "trial"),
        Column("model", "model", left=True),
        *columns_of_settings,
        *(
            Column(key, heading, _number(key))
            for name in measures
            for key, heading in _columns(name, repeats)
        ),
        *([Column("repeats", repeats.kind, left=True, drops=5)] if repeats else []),
        Column("epochs", "epochs", drops=1_001),
        Column("seconds", "seconds", ".1f", drops=1_002),
        Column("num_parameters", "parameters", ",.0f", drops=1_000),
    ]
    return Table(
        columns,
        rows,
        title=f"study {record.name}: "
        + (counts(record) if only is None else f"the best of each {record.each}"),
        footer=[
            {
                **dict.fromkeys(column.key for column in columns),
                **_unranked_row(record, trial, settings),
            }
            for trial in (_unranked(record) if shown is None else ())
        ],
        styles={place: "bold" for place, row in enumerate(rows) if row["winner"]},
        names={_key(name): name for name in settings},
    )


def _columns(measure: str, repeats: Repeats | None) -> list[tuple[str, str]]:
    """Keys and headings of a measure's columns: its value, or mean and spread over repeats."""
    heading = measure.removeprefix("validation/")
    if repeats is None:
        return [(measure, heading)]
    return [(measure, f"mean {heading}"), (f"{measure}/deviation", "SD")]


def _values(trial: TrialRecord, record: StudyRecord) -> dict[str, Any]:
    """What a row says of the objectives."""
    names = trial.objectives or record.objectives
    values: dict[str, Any] = dict(zip(names, trial.values, strict=True))
    if record.repeats is None:
        return values
    for name, deviation in zip(names, trial.deviations, strict=True):
        values[f"{name}/deviation"] = deviation
    done, planned = len(trial.repeated), len(record.repeats.values)
    values["repeats"] = str(done) if done == planned else f"{done} of {planned}: incomplete"
    return values


def _objectives(record: StudyRecord) -> list[str]:
    """The measures of all groups."""
    return [name for group in record.groups for name in group.trials[0].objectives]


def _unranked(record: StudyRecord) -> list[TrialRecord]:
    """What came to no end, or not yet."""
    return [*record.missing, *record.of_state("running")]


def _unranked_row(
    record: StudyRecord, trial: TrialRecord, settings: Sequence[str]
) -> dict[str, Any]:
    """What stands below the leaderboard: what was to be tried and came to no end, and what is
    under way, whose value so far is that of an epoch and no result."""
    words = f"missing: {end_words(record, trial)}"
    if trial.state == "running":
        epoch = max(trial.intermediate, default=None)
        reached = "" if epoch is None else f", {trial.intermediate[epoch]:.4f} in epoch {epoch}"
        words = f"{trial.name or 'begins'}: running{reached}"
    return {
        "trial": trial.number,
        "model": words,
        **{_key(name): trial.params.get(name, NOT_SET) for name in settings},
        **({} if record.each is None else {"settings": _in_words(trial, record)}),
        "epochs": trial.epochs,
    }


def _in_words(trial: TrialRecord, record: StudyRecord) -> str:
    """The settings of a trial but its option, as `dim=64 reg=0.003`."""
    params = {name: value for name, value in record.chosen(trial).items() if name != record.each}
    names = short_names(list(params))
    return " ".join(f"{names[name]}={_text(value)}" for name, value in params.items())


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) and math.isfinite(value) else str(value)


def _key(setting: str) -> str:
    """Key of a setting in a record, which has the model's name beside a setting `model`."""
    return f"settings.{setting}"


def _number(key: str) -> Callable[[Record], str]:
    """A value of a measure, and without decimals one that counts, as of parameters."""

    def text(record: Record) -> str:
        value = record[key]
        is_large = isinstance(value, float) and math.isfinite(value) and abs(value) >= 1000
        return shown(value, ",.0f" if is_large else ".4f")

    return text


def _setting(key: str) -> Callable[[Record], str]:
    def text(record: Record) -> str:
        value = record[key]
        if value is NOT_SET:
            return MISSING
        return _text(value)

    return text


def second_look_table(verdict: Verdict) -> Table:
    """The trials that were run again, best mean first."""
    comparison, first = verdict.comparison, verdict.trials[0]
    rows = [
        {
            "trial": trial.number,
            "model": trial.name,
            "first_look": trial.values[0],
            "mean": comparison.means[place],
            "deviation": comparison.deviations[place],
            "behind": comparison.behind[place] if place else None,
            "at_most": comparison.at_most[place] if place else None,
            "num_parameters": trial.num_parameters,
            "best_epochs": _best_epochs(verdict.runs[place]),
        }
        for place, trial in enumerate(verdict.trials)
    ]
    setting = verdict.confirmation.each
    columns = [
        Column("trial", "trial"),
        Column("model", "model", left=True),
        Column("first_look", "first look", ".4f"),
        Column("mean", f"mean of {len(verdict.confirmation.seeds)} seeds", ".4f"),
        Column("deviation", "SD", ".4f"),
        Column(
            "behind",
            "behind the best",
            lambda trial: (
                MISSING
                if trial["trial"] == first.number
                else f"{trial['behind']:.4f}, at most {trial['at_most']:.4f}"
            ),
        ),
        Column("num_parameters", "parameters", ",.0f", drops=2),
        Column("best_epochs", "best epochs", wraps=True, drops=1),
    ]
    return Table(
        columns,
        rows,
        title=f"the best{f' of each {setting}' if setting else ''} again, with fresh seeds",
        styles={verdict.place: "bold"},
        names={**{column.key: column.heading for column in columns}, "at_most": "at most"},
    )


def _best_epochs(runs: Sequence[TrialRecord]) -> str:
    if any(run.best_epoch is None or run.max_epochs is None for run in runs):
        return ""
    epochs = ", ".join(str(run.best_epoch) for run in runs)
    count = sum(run.is_unconverged for run in runs)
    return f"{epochs} of {runs[0].max_epochs}" + (f": not converged in {count}" if count else "")
