"""A study in MLflow: one parent run, under which each trial is a child run."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from recsweep.comparison.models import best_baselines
from recsweep.rendering import Table
from recsweep.scratch import scratch_folder
from recsweep.tracking import STUDY_TAG, Run, Tracker, TrackingOptions, tracker
from recsweep.tuning.conclusion import Conclusion, headline
from recsweep.tuning.records import StudyRecord, counts, missing_words, planned
from recsweep.tuning.state import State, ended, running
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
        self._known_baselines: dict[str, float] | None = None

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
        state = ended(record, status, reason)
        metrics = {}
        if conclusion.value is not None:
            metrics[f"best/{record.objectives[0]}"] = conclusion.value
        self._note(record, conclusion, state, metrics)
        with self.run.guarded(), scratch_folder() as folder:
            self._write(folder, record, conclusion, state)
            self.run.log_folder(folder)
        self.run.end(status, reason)
        for name, value in conclusion.notes.items():  # last: what is noted has been published
            self._study.keep(name, value)

    def show(self, record: StudyRecord, conclusion: Conclusion) -> bool:
        """Publish what a study has found so far that is worked on; False where its store can't
        take that now: it is not kept, as the next time says it better."""
        if not self.run.is_within_reach():
            return False
        state = running(record)
        with self.run.guarded(), scratch_folder() as folder:
            self._write(folder, record, conclusion, state)
            self.run.log_folder(folder)
        self._note(record, conclusion, state)
        return True

    def _note(
        self,
        record: StudyRecord,
        conclusion: Conclusion,
        state: State,
        metrics: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        tags = {
            "trials": counts(record),
            "n_trials": record.planned,
            "objective": ", ".join(record.objectives),
            **_naming_tags(conclusion),
        }
        text = summary(record, conclusion, state)
        self.run.log(tags=tags, note=text, metrics=metrics, step=len(record.of_state("complete")))

    def _write(
        self, folder: Path, record: StudyRecord, conclusion: Conclusion, state: State
    ) -> None:
        """Write summary, tables and plots; of a study that is worked on the plots on its page
        alone."""
        text = summary(record, conclusion, state)
        (folder / "summary.md").write_text(text + "\n", encoding="utf-8")
        winners = [] if conclusion.winner is None else [conclusion.winner]
        tables = {"leaderboard": leaderboard_table(record, winners)}
        if conclusion.verdict is not None:
            tables["confirmed"] = second_look_table(conclusion.verdict)
        for name, table in tables.items():
            (folder / f"{name}.csv").write_text(table.csv(), encoding="utf-8")
        first = next(iter(record.leaderboard), None)
        if first is None or first.run_id is None:
            return
        from recsweep.tuning.importance import importance_note
        from recsweep.tuning.plots import write_plots

        comparable = len(record.groups) == 1
        write_plots(
            self._study.optuna(),
            folder / "plots",
            objectives=record.objectives,
            baselines=self._baselines(record, first.run_id, state) if comparable else {},
            heading=record.name,
            state=state,
            words=_sentences(record, conclusion),
            tables=_shown(record, conclusion),
            importance=importance_note(record, conclusion.verdict),
            comparable=comparable,
            options=self._options(record),
        )

    def _options(self, record: StudyRecord) -> dict[str, tuple["optuna.Study", "ImportanceNote"]]:
        """Optuna's view of each option that is tried by itself, and what is said beside it."""
        from recsweep.tuning.importance import importance_note

        if record.each is None:
            return {}
        return {
            option: (self._study.optuna(option), importance_note(record.of_option(option), None))
            for option in dict.fromkeys(trial.params[record.each] for trial in record.leaderboard)
        }

    def _baselines(self, record: StudyRecord, run_id: str, state: State) -> dict[str, float]:
        """Values of the best baseline of each family on a run's data and split, by label; the
        study's own trials are none. While it is worked on they are asked for once.
        """
        if state.is_running and self._known_baselines is not None:
            return self._known_baselines
        objective = record.objectives[0]
        tags = self._tracker.record(run_id).tags
        names = ("data_digest", "split_digest")
        same = " and ".join(f"tags.{name} = '{tags[name]}'" for name in names)
        runs = self._tracker.search(f"attributes.status = 'FINISHED' and {same}")
        others = [run for run in runs if run.tags.get("study") != record.name]
        best = best_baselines(others, objective)
        self._known_baselines = {run.label: run.metrics[objective] for run in best}
        return self._known_baselines


def _params(notes: Mapping[str, Any]) -> dict[str, str]:
    """What the study began with, as parameters of its run. Budgets may be raised, and are tags."""
    params = {f"space.{name}": words for name, words in notes["space"].items()}
    for part in ("sampler", "pruner"):
        settings = notes[part].items()
        own = {name: value for name, value in settings if name not in ("kind", "_target_")}
        params |= {f"{part}.{name}": value for name, value in own.items()}
    return {**params, "directions": ", ".join(notes["directions"])}


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


def _leaderboard(record: StudyRecord, conclusion: Conclusion) -> Table:
    """What a person is shown first: the trials, or the best of each option that is tried by
    itself."""
    best = None if record.each is None else record.best_of_each(record.each)
    winners = [] if conclusion.winner is None else [conclusion.winner]
    return leaderboard_table(record, record.front if len(record.directions) > 1 else winners, best)


def _shown(record: StudyRecord, conclusion: Conclusion) -> list[Table]:
    """The tables of a study's page: the second look, which decides, before the first."""
    board = _leaderboard(record, conclusion)
    more = len(board.rows) - SHOWN_ROWS
    title = f"the first {SHOWN_ROWS} of {len(board.rows)}: leaderboard.csv has all"
    board = replace(board.head(SHOWN_ROWS), title=title if more > 0 else "all trials")
    if record.each is not None:
        board = replace(board, title=f"the best of each {record.each}: leaderboard.csv has all")
    if conclusion.verdict is None:
        return [board]
    again = second_look_table(conclusion.verdict)
    return [again, replace(board, title=f"first look, {board.title}")]


def _sentences(record: StudyRecord, conclusion: Conclusion) -> list[str]:
    """What a study says of its winner: first one plain sentence."""
    words = conclusion.words
    if conclusion.verdict is not None:
        words = f"Second look: {words}"
    return [each for each in (headline(record, conclusion), words) if each]


def summary(record: StudyRecord, conclusion: Conclusion, state: State) -> str:
    """The study in Markdown: who wins by which look, how its trials ended, and what was varied."""
    space = [f"- `{name}`: {words}" for name, words in record.space.items()]
    leaderboard = _leaderboard(record, conclusion)
    more = len(leaderboard.rows) - SHOWN_ROWS
    first, *others = _sentences(record, conclusion) or [state.words]
    second_look = ""
    if conclusion.verdict is not None:
        second_look = replace(second_look_table(conclusion.verdict), styles={}).markdown()
    lines = [
        f"**{first}**" if headline(record, conclusion) else first,
        f"{state.words} (written {state.moment})",
        *others,
        missing_words(record),
        second_look,
        leaderboard.head(SHOWN_ROWS).markdown() if leaderboard.rows else "",
        f"... and {more} more in `leaderboard.csv`." if more > 0 else "",
        f"**{record.name}**: {planned(record)}, pruner {record.pruner}",
        "\n".join(space or ["- nothing is varied"]),
    ]
    return "\n\n".join(line for line in lines if line)
