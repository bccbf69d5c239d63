"""What a study concludes, in the words that all of its artifacts share: one winner, or why none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recsweep.measures import measure
from recsweep.tuning.confirm import Confirmation
from recsweep.tuning.records import StudyRecord, TrialRecord
from recsweep.tuning.verdict import LEVEL, Verdict, compare_over_seeds, p_in_words

SHOWN_GROUPS = 10
"""Number of groups whose best are named in a sentence."""


@dataclass(frozen=True)
class Conclusion:
    """What a study says at its end.

    Attributes:
        words: Who wins and how, or why nobody does.
        winner: The trial that wins, of a Pareto front the first; None where a second look is
            missing or no trial has finished.
        value: Value that the winner reached: in a second look its mean over the seeds; None where
            there are several objectives.
        runs: Ids of the winner's runs in MLflow, the best first.
        confirmation: The trials that are, or were, looked at again; None without a second look.
        verdict: Verdict of the second look; None as long as there is none.
        leader: The trial that is the best so far, of a study that is worked on.
    """

    words: str
    winner: TrialRecord | None = None
    value: float | None = None
    runs: tuple[str, ...] = ()
    confirmation: Confirmation | None = None
    verdict: Verdict | None = None
    leader: TrialRecord | None = None

    @property
    def notes(self) -> dict[str, Any]:
        """Notes that the study keeps of its second look; all None where it has none."""
        if self.confirmation is None:
            return {"second_look": None, "winner": None, "verdict": None}
        return {
            "second_look": self.confirmation.stored(),
            "winner": None if self.winner is None else self.winner.number,
            "verdict": self.words,
        }


def first_look(record: StudyRecord) -> Conclusion:
    """The best trial of a study that is not looked at again, or the size of a Pareto front; nobody
    where the trials can't be compared."""
    if len(record.groups) > 1:
        return Conclusion(_apart(record))
    best = record.best
    if best is None and record.incomplete:
        return Conclusion(f"No setting has finished with all {_repeats(record)}.")
    if best is None:
        return Conclusion("No trial has finished.")
    runs = tuple(run.run_id for run in best.runs if run.run_id)
    if len(record.directions) > 1:
        names = " and ".join(record.objectives)
        words = f"{len(record.front)} trials on the Pareto front of {names}, in bold."
        return Conclusion(words, best, runs=runs)
    value, objective = best.values[0], record.objectives[0]
    if record.repeats is not None:
        return Conclusion(_best_mean(record, best), best, value, runs)
    words = f"best: trial {best.number}, {best.name}, {objective} {value:.4f}, run {best.run_id}"
    if best.is_unconverged:
        words += f"; its best epoch is the last, {best.epochs} of {best.max_epochs}: not converged"
    return Conclusion(words, best, value, runs)


def _repeats(record: StudyRecord) -> str:
    assert record.repeats is not None, "it is repeated"
    return f"{len(record.repeats.values)} {record.repeats.kind}"


def _best_mean(record: StudyRecord, best: TrialRecord) -> str:
    """Who has the best mean over the repeats, and how sure its lead is."""
    assert record.repeats is not None, "it is repeated"
    kind, objective = record.repeats.kind, record.objectives[0]
    once = {"seeds": ", 1 split", "splits": ", 1 seed"}.get(kind, "")
    words = (
        f"best mean: trial {best.number}, {best.name}, {objective} {best.values[0]:.4f} over "
        f"{_repeats(record)}{once} (SD {best.deviations[0]:.4f})"
    )
    count = sum(run.is_unconverged for run in best.repeated)
    if count:
        words += f"; its best epoch is the last in {count} of them: not converged"
    if record.incomplete:
        words += f"; {len(record.incomplete)} that lack repeats are not ranked"
    lead = _lead(record.leaderboard, kind, maximise=record.directions[0] == "maximize")
    return f"{words}. {lead}".rstrip()


def _lead(board: Sequence[TrialRecord], kind: str, *, maximise: bool) -> str:
    """How sure the lead of the first is, by the paired repeats; empty where that can't be said."""
    values = np.array([[run.values[0] for run in point.repeated] for point in board])
    finite = np.isfinite(values).all(axis=1)
    if not finite[0] or finite.sum() < 2:
        return ""
    comparison = compare_over_seeds(values[finite], maximise=maximise)
    second = [point for point, is_finite in zip(board, finite, strict=True) if is_finite][1]
    p = comparison.p_values[1]
    noise = "more than the noise" if p <= LEVEL else "within the noise"
    return (
        f"Its lead of {comparison.behind[1]:.4f} over trial {second.number} ({second.name}) is "
        f"{noise} between {kind} (p {p_in_words(p)}, paired t-tests, Holm-corrected)."
    )


def _apart(record: StudyRecord) -> str:
    """Why nobody wins where the trials were measured on different data, splits or measures."""
    groups = record.groups
    if len(record.directions) > 1:
        best = [f"{len(group.front)} on the Pareto front of {group.label}" for group in groups]
    else:
        best = [
            f"on {group.label} trial {trial.number}, {trial.name}, {name} {trial.values[0]:.4f}"
            for group in groups
            for trial in group.front
            for name in trial.objectives or record.objectives
        ]
    more = len(best) - SHOWN_GROUPS
    if more > 0:
        best[SHOWN_GROUPS:] = [f"and {more} more"]
    words = (
        f"No winner: the trials were measured in {len(groups)} ways, and values on other data, "
        f"another split or of another measure can't be compared. Best {'; '.join(best)}."
    )
    apart = {name for group in groups for trial in group.trials for name in trial.measured}
    if apart == {"split.seed"}:
        words += (
            f" hydra.sweeper.repeats=split.seed:{len(groups)} in place of the values of split.seed "
            "lets the mean over the splits decide."
        )
    return words


def so_far(record: StudyRecord, *, is_confirmed_later: bool = False) -> Conclusion:
    """What a study says as long as it is worked on: who leads, and that nobody has won.

    Args:
        is_confirmed_later: Whether a second look is asked for.
    """
    words = "A second look with fresh seeds names the winner." if is_confirmed_later else ""
    first = first_look(record)
    if len(record.directions) > 1 or first.winner is None:
        words = f"So far: {first.words}"
    return Conclusion(words, leader=first.winner)


def headline(record: StudyRecord, conclusion: Conclusion) -> str:
    """The one sentence that a page begins with: who wins, or leads so far; empty where the
    conclusion's words are no longer than that would be."""
    best = conclusion.winner or conclusion.leader
    if best is None or len(record.directions) > 1:
        return ""
    value, over = best.values[0], ""
    if record.repeats is not None:
        over = f" over {_repeats(record)}"
    if conclusion.verdict is not None and conclusion.value is not None:
        value, over = conclusion.value, f" over {len(conclusion.runs)} fresh seeds"
    objective = record.objectives[0]
    part, slash, name = objective.rpartition("/")
    mean = "a mean of " if over else ""
    reached = f"{mean}{value:.4f} {measure(name).title}{over}"
    if slash:
        reached += f" on {part}" if part in ("validation", "test") else f" ({part})"
    who = f"{best.name} (trial {best.number})"
    if conclusion.verdict is not None:
        return f"{who} wins the second look: {reached}."
    if conclusion.leader is not None:
        return f"{who} leads so far: {reached}."
    return f"{who} is the best of {len(record.leaderboard)}: {reached}."


def awaiting(confirmation: Confirmation) -> Conclusion:
    """The conclusion of a study whose second look is not finished."""
    words = (
        f"The second look is missing: {confirmation.words()}. No winner is named before it; "
        "the same command goes on with it."
    )
    return Conclusion(words, confirmation=confirmation)


def confirmed(confirmation: Confirmation, verdict: Verdict | None) -> Conclusion:
    """The conclusion of a study whose second look is finished."""
    if verdict is None:
        words = "Too few of the best finished with every seed: no winner can be confirmed."
        return Conclusion(words, confirmation=confirmation)
    runs = tuple(verdict.winners_runs)
    return Conclusion(verdict.words(), verdict.winner, verdict.value, runs, confirmation, verdict)


def within(study: str) -> Conclusion:
    """The conclusion of a second look itself, which is a study under the one it looks at."""
    return Conclusion(f"A second look at the study {study}: the winner is named there.")


def stored(record: StudyRecord, notes: Mapping[str, Any]) -> Conclusion | None:
    """What an earlier command concluded from a second look; None without one, and where that
    compared what can't be compared."""
    if len(record.groups) > 1:
        return None
    winner = next((trial for trial in record.trials if trial.number == notes.get("winner")), None)
    return Conclusion(notes["verdict"], winner) if winner and notes.get("verdict") else None
