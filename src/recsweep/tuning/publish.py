"""A study in MLflow: one parent run, under which each trial is a child run."""

import csv
import html
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from recsweep.comparison.models import best_baselines
from recsweep.tracking import STUDY_TAG, Run, RunRecord, Tracker, TrackingOptions, tracker
from recsweep.tuning.conclusion import Conclusion
from recsweep.tuning.records import StudyRecord, counts, leaderboard_rows
from recsweep.tuning.verdict import Verdict

if TYPE_CHECKING:
    from recsweep.tuning.study import Study

SHOWN_ROWS = 20
ENDINGS = {
    "complete": ("FINISHED", "complete", ""),
    "pruned": ("KILLED", "pruned", ""),
    "failed": ("FAILED", "failed", ""),
    "died": ("KILLED", "died", "its process died"),
    "interrupted": ("KILLED", "interrupted", "interrupted"),
}
"""How the run of a trial ends whose own process did not live to end it."""

NAMING_TAGS = ("best_trial", "best_run", "best_model", "winner_trial", "winner_run", "winner_runs",
               "verdict")
"""Tags that name a winner, which are taken off while there is none."""


class ParentRun:
    """The study's own run in MLflow: RUNNING while somebody works on the study.

    Args:
        above: Id of the run that it stands under; None for a study of its own.

    Raises:
        TrackingError: The store can't be opened.
    """

    def __init__(self, study: "Study", options: TrackingOptions, above: str | None = None) -> None:
        self._study = study
        self._tracker: Tracker = tracker(options)
        notes = study.notes()
        run_id = notes.get("parent_run") or self._tracker.find(STUDY_TAG, notes["token"])
        if run_id is None:
            tags = {STUDY_TAG: notes["token"], "study": study.name, "sampler": notes["sampler"]["kind"],
                    "pruner": notes["pruner"]["kind"], **({} if above is None else {"mlflow.parentRunId": above})}
            run_id = self._tracker.start(study.name, tags).id
        kept = study.note_first("parent_run", run_id)
        if kept != run_id:  # another process was first
            self._tracker.discard(run_id)
        self.run: Run = self._tracker.reopen(kept)
        self.run.log(params={name: value for name, value in _params(notes).items() if name not in self.run.params})

    def end_orphans(self) -> None:
        """End the runs that are RUNNING in MLflow, though their trials have ended in the study."""
        running = self._tracker.running_trials(self.run.id)
        if not running:
            return
        for trial in self._study.record().trials:
            if trial.number in running and trial.state != "running":
                status, state, reason = ENDINGS[trial.state]
                running[trial.number].end(status, trial.reason or reason, trial_state=state)

    def end(self, record: StudyRecord, conclusion: Conclusion, status: str,
            reason: str = "") -> None:
        """Publish what the study concludes, in all its artifacts, and close its run."""
        for tag in NAMING_TAGS:
            if tag not in _naming_tags(conclusion):
                self._tracker.untag(self.run.id, tag)
        publish(record, conclusion, self.run)
        self._plot(record, conclusion)
        self.run.end(status, reason)
        stored = self._study.notes()
        for name, value in conclusion.notes.items():  # last: what is noted has been published
            if stored.get(name) != value:
                self._study.note(name, value)

    def _plot(self, record: StudyRecord, conclusion: Conclusion) -> None:
        if record.best is None:
            return
        from recsweep.tuning.importance import importance_note
        from recsweep.tuning.plots import write_plots

        objective = record.objectives[0]
        baselines = self._baselines(record, objective)
        with self.run.guarded(), TemporaryDirectory() as scratch:
            write_plots(self._study.optuna(), Path(scratch) / "plots", objective=objective, baselines=baselines,
                        heading=_html(record, conclusion),
                        importance=importance_note(record, conclusion.verdict))
            self.run.log_folder(Path(scratch))

    def _baselines(self, record: StudyRecord, objective: str) -> dict[str, float]:
        """The best baseline of each family on the study's data and split, but for its own trials, by
        label."""
        tags = self._tracker.record(record.best.run_id).tags
        same = " and ".join(f"tags.{name} = '{tags[name]}'" for name in ("data_digest", "split_digest"))
        runs = [RunRecord.of(run) for run in self._tracker.search(f"attributes.status = 'FINISHED' and {same}")]
        best = best_baselines([run for run in runs if run.tags.get("study") != record.name], objective)
        return {run.label: run.metrics[objective] for run in best}


def _params(notes: Mapping[str, Any]) -> dict[str, str]:
    """What the study began with. Budgets may be raised, and are tags."""
    settings = {name: value for name, value in notes.items() if name in ("sampler", "pruner")}
    found = {f"{part}.{name}": value for part, values in settings.items() for name, value in values.items()
             if name not in ("kind", "_target_")}
    return {**{f"space.{name}": words for name, words in notes["space"].items()}, **found,
            "directions": ", ".join(notes["directions"])}


def publish(record: StudyRecord, conclusion: Conclusion, parent_run: Run) -> None:
    """Write what a study concludes into its run: winner, note, leaderboard and second look."""
    told = summary(record, conclusion)
    tags = {"mlflow.note.content": told, "trials": counts(record), "n_trials": record.planned,
            "objective": ", ".join(record.objectives), **_naming_tags(conclusion)}
    metrics = {} if conclusion.value is None else {f"best/{record.objectives[0]}": conclusion.value}
    parent_run.log(tags=tags, metrics=metrics, step=len(record.of_state("complete")))
    with parent_run.guarded(), TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "summary.md").write_text(told + "\n", encoding="utf-8")
        _write_csv(folder / "leaderboard.csv", _full_rows(record, conclusion))
        if conclusion.verdict is not None:
            header, rows = conclusion.verdict.rows()
            _write_csv(folder / "confirmed.csv", [header, *rows])
        parent_run.log_folder(folder)


def _write_csv(path: Path, rows: list[list[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)


def _naming_tags(conclusion: Conclusion) -> dict[str, Any]:
    """Tags by which the winner is found; `winner_*` where a second look named it."""
    winner, runs = conclusion.winner, conclusion.runs
    if winner is None:
        return {}
    run = next(iter(runs), "")
    best = {"best_trial": winner.number, "best_run": run, "best_model": winner.name}
    if conclusion.verdict is None:
        return best
    return {**best, "winner_trial": winner.number, "winner_run": run,
            "winner_runs": ",".join(runs), "verdict": conclusion.words}


def _full_rows(record: StudyRecord, conclusion: Conclusion) -> list[list[Any]]:
    """The leaderboard with full names and digits, for programs; the winner's row says so."""
    names = list(dict.fromkeys(name for trial in record.trials for name in trial.params))
    header = ["rank", "trial", "run_id", "model", *names, *record.objectives, "epochs", "seconds",
              "num_parameters", "winner"]
    winner = None if conclusion.winner is None else conclusion.winner.number
    return [header] + [
        [rank, trial.number, trial.run_id, trial.name, *(trial.params.get(name, "") for name in names), *trial.values,
         trial.epochs, trial.seconds, trial.num_parameters, "yes" if trial.number == winner else ""]
        for rank, trial in enumerate(record.leaderboard, start=1)
    ]


def _html(record: StudyRecord, conclusion: Conclusion) -> str:
    """What stands above the plots."""
    header, rows = leaderboard_rows(record)
    lines = ["<tr>" + "".join(f"<td style='padding: 2px 10px'>{html.escape(cell)}</td>" for cell in cells) + "</tr>"
             for cells in [header, *rows[:SHOWN_ROWS]]]
    words = f"{counts(record)}. {conclusion.words}"
    return (f"<h1>{html.escape(record.name)}</h1><p>{html.escape(words)}</p>"
            f"<table style='text-align: right; font-size: 85%'>{''.join(lines)}</table>")


def summary(record: StudyRecord, conclusion: Conclusion) -> str:
    """The study in Markdown: what was varied, how its trials ended, and who wins by which look."""
    space = [f"- `{name}`: {words}" for name, words in record.space.items()] or ["- nothing is varied"]
    header, rows = leaderboard_rows(record)
    table = [_markdown_row(header), _markdown_row(["---"] * len(header)), *map(_markdown_row, rows[:SHOWN_ROWS])]
    more = [f"... and {len(rows) - SHOWN_ROWS} more in `leaderboard.csv`."] if len(rows) > SHOWN_ROWS else []
    how = "every combination" if record.sampler == "grid" else f"{record.planned} trials by {record.sampler}"
    lines = [
        f"**{record.name}**: {how}, pruner {record.pruner}; {counts(record)}.",
        "\n".join(space),
        f"Second look: {conclusion.words}" if conclusion.verdict is not None else conclusion.words,
        _second_look(conclusion.verdict) if conclusion.verdict is not None else "",
        "\n".join(table) if rows else "",
        *more,
    ]
    return "\n\n".join(line for line in lines if line)


def _second_look(verdict: Verdict) -> str:
    header, rows = verdict.rows()
    return "\n".join(map(_markdown_row, [header, ["---"] * len(header), *rows]))


def _markdown_row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
