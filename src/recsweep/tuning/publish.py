"""A study in MLflow: one parent run, under which each trial is a child run."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from recsweep.comparison.models import best_baselines
from recsweep.rendering import Table
from recsweep.scratch import scratch_folder
from recsweep.tracking import STUDY_TAG, Run, Tracker, TrackingOptions, tracker
from recsweep.tuning.conclusion import Conclusion
from recsweep.tuning.records import StudyRecord, counts, missing_words, planned
from recsweep.tuning.tables import leaderboard_table, second_look_table

if TYPE_CHECKING:
    import optuna

    from recsweep.tuning.importance import ImportanceNote
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

NAMING_TAGS = (
    "best_trial",
    "best_run",
    "best_runs",
    "best_model",
    "winner_trial",
    "winner_run",
    "winner_runs",
    "verdict",
)
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
            tags = {
                STUDY_TAG: notes["token"],
                "study": study.name,
                "sampler": notes["sampler"]["kind"],
                "pruner": notes["pruner"]["kind"],
            }
            run_id = self._tracker.start(study.name, tags, parent=above).id
        kept = study.note_first("parent_run", run_id)
        if kept != run_id:  # another process was first
            self._tracker.discard(run_id)
        self.run: Run = self._tracker.reopen(kept)
        known = self.run.params
        new = {name: value for name, value in _params(notes).items() if name not in known}
        self.run.log(params=new)

    def end_orphans(self) -> None:
        """End the runs that are RUNNING in MLflow, though their trials have ended in the study.

        A trial ends the run that it names, and no other one: who began it a second time, as a
        scheduler does after a node's death, has left a run that nobody will finish.
        """
        running = self._tracker.orphaned_trials(self.run.id)
        if not running:
            return
        trials = {trial.number: trial for trial in self._study.record().trials}
        for number, run in running:
            trial = trials.get(number)
            if trial is None or trial.state == "running":
                continue
            status, state, reason = ENDINGS[trial.state]
            if trial.run_id in (None, run.id):
                run.end(status, trial.reason or reason, trial_state=state)
            else:
                reason = f"the trial was begun again, as the run {trial.run_id}"
                run.end("KILLED", reason, trial_state="died")

    def end(
        self, record: StudyRecord, conclusion: Conclusion, status: str, reason: str = ""
    ) -> None:
        """Publish what the study concludes, in all its artifacts, and close its run."""
        for tag in NAMING_TAGS:
            if tag not in _naming_tags(conclusion):
                self._tracker.untag(self.run.id, tag)
        publish(record, conclusion, self.run)
        self._plot(record, conclusion)
        self.run.end(status, reason)
        for name, value in conclusion.notes.items():  # last: what is noted has been published
            self._study.keep(name, value)

    def _plot(self, record: StudyRecord, conclusion: Conclusion) -> None:
        first = next(iter(record.leaderboard), None)
        if first is None or first.run_id is None:
            return
        comparable = len(record.groups) == 1
        from recsweep.tuning.importance import importance_note
        from recsweep.tuning.plots import write_plots

        objective = record.objectives[0]
        baselines = self._baselines(first.run_id, record.name, objective) if comparable else {}
        with self.run.guarded(), scratch_folder() as scratch:
            write_plots(
                self._study.optuna(),
                scratch / "plots",
                objectives=record.objectives,
                baselines=baselines,
                heading=record.name,
                words=f"{counts(record)}. {conclusion.words}",
                leaderboard=replace(_leaderboard(record).head(SHOWN_ROWS), title=""),
                importance=importance_note(record, conclusion.verdict),
                comparable=comparable,
                options=self._options(record),
            )
            self.run.log_folder(scratch)

    def _options(self, record: StudyRecord) -> dict[str, tuple["optuna.Study", "ImportanceNote"]]:
        """Optuna's view of each option that is tried by itself, and what is said beside it."""
        from recsweep.tuning.importance import importance_note

        if record.each is None:
            return {}
        return {
            option: (self._study.optuna(option), importance_note(record.of_option(option), None))
            for option in dict.fromkeys(trial.params[record.each] for trial in record.leaderboard)
        }

    def _baselines(self, run_id: str, study: str, objective: str) -> dict[str, float]:
        """Values of the best baseline of each family on a run's data and split, by label; the
        study's own trials are none.
        """
        tags = self._tracker.record(run_id).tags
        names = ("data_digest", "split_digest")
        same = " and ".join(f"tags.{name} = '{tags[name]}'" for name in names)
        runs = self._tracker.search(f"attributes.status = 'FINISHED' and {same}")
        others = [run for run in runs if run.tags.get("study") != study]
        best = best_baselines(others, objective)
        return {run.label: run.metrics[objective] for run in best}


def _params(notes: Mapping[str, Any]) -> dict[str, str]:
    """What the study began with, as parameters of its run. Budgets may be raised, and are tags."""
    params = {f"space.{name}": words for name, words in notes["space"].items()}
    for part in ("sampler", "pruner"):
        settings = notes[part].items()
        own = {name: value for name, value in settings if name not in ("kind", "_target_")}
        params |= {f"{part}.{name}": value for name, value in own.items()}
    return {**params, "directions": ", ".join(notes["directions"])}


def publish(record: StudyRecord, conclusion: Conclusion, parent_run: Run) -> None:
    """Write what a study concludes into its run: winner, note, leaderboard and second look."""
    text = summary(record, conclusion)
    tags = {
        "trials": counts(record),
        "n_trials": record.planned,
        "objective": ", ".join(record.objectives),
        **_naming_tags(conclusion),
    }
    metrics = {} if conclusion.value is None else {f"best/{record.objectives[0]}": conclusion.value}
    parent_run.log(tags=tags, note=text, metrics=metrics, step=len(record.of_state("complete")))
    with parent_run.guarded(), scratch_folder() as folder:
        (folder / "summary.md").write_text(text + "\n", encoding="utf-8")
        winners = [] if conclusion.winner is None else [conclusion.winner]
        tables = {"leaderboard": leaderboard_table(record, winners)}
        if conclusion.verdict is not None:
            tables["confirmed"] = second_look_table(conclusion.verdict)
        for name, table in tables.items():
            (folder / f"{name}.csv").write_text(table.csv(), encoding="utf-8")
        parent_run.log_folder(folder)


def _naming_tags(conclusion: Conclusion) -> dict[str, Any]:
    """Tags by which the winner is found; `winner_*` where a second look named it."""
    winner, runs = conclusion.winner, conclusion.runs
    if winner is None:
        return {}
    run = next(iter(runs), "")
    best = {"best_trial": winner.number, "best_run": run, "best_model": winner.name}
    if conclusion.verdict is None:
        return best if len(runs) < 2 else {**best, "best_runs": ",".join(runs)}
    return {
        **best,
        "winner_trial": winner.number,
        "winner_run": run,
        "winner_runs": ",".join(runs),
        "verdict": conclusion.words,
    }


def _leaderboard(record: StudyRecord) -> Table:
    """What a person is shown first: the trials, or the best of each option that is tried by
    itself."""
    best = None if record.each is None else record.best_of_each(record.each)
    return leaderboard_table(record, only=best)


def summary(record: StudyRecord, conclusion: Conclusion) -> str:
    """The study in Markdown: what was varied, how its trials ended, and who wins by which look."""
    space = [f"- `{name}`: {words}" for name, words in record.space.items()]
    leaderboard = _leaderboard(record)
    more = len(leaderboard.rows) - SHOWN_ROWS
    words, second_look = conclusion.words, ""
    if conclusion.verdict is not None:
        words = f"Second look: {words}"
        second_look = replace(second_look_table(conclusion.verdict), styles={}).markdown()
    lines = [
        f"**{record.name}**: {planned(record)}, pruner {record.pruner}; {counts(record)}.",
        "\n".join(space or ["- nothing is varied"]),
        words,
        missing_words(record),
        second_look,
        leaderboard.head(SHOWN_ROWS).markdown() if leaderboard.rows else "",
        f"... and {more} more in `leaderboard.csv`." if more > 0 else "",
    ]
    return "\n\n".join(line for line in lines if line)
