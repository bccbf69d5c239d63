"""What a person sees of a study while it runs: a line a trial, a bar on a terminal, the leaderboard
at the end."""

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from recsweep.logs import is_quiet
from recsweep.rendering import print_tables, wide_console
from recsweep.terminal import printable, tell
from recsweep.tuning.records import StudyRecord, TrialRecord, decides_what_is_measured, short_names
from recsweep.tuning.tables import leaderboard_table, second_look_table

if TYPE_CHECKING:
    from recsweep.tuning.conclusion import Conclusion

SHOWN_ROWS = 20

LOOK_SECONDS = 2
"""Time between two looks at how far running trials are, where a bar is shown."""

SAY_SECONDS = 60
"""Time without a line after which one says that the study goes on, where no bar is shown."""


class Progress:
    """A printer of trials, each once when it has ended, whichever process trained it.

    Args:
        record: The study when this process started: what has ended by then is not printed.
        timeout: Seconds after which no trial starts; None where there is no such budget.
    """

    def __init__(self, record: StudyRecord, *, timeout: float | None = None) -> None:
        self._printed = {trial.number for trial in record.trials if trial.state != "running"}
        self._start = time.monotonic()
        self._done_before = record.done
        self._timeout = timeout
        self._bar = _bar(record.name, record.planned, record.done)
        self._looked = self._said = self._start

    def __enter__(self) -> "Progress":
        if self._bar:
            self._bar.start()
            _shown.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            _shown.remove(self)
            self._bar.stop()

    def look(self, read: Callable[[], StudyRecord]) -> None:
        """Show how far the running trials are, as far as there is something to say: below the bar
        every few seconds, or in a line each minute where no terminal is.

        Args:
            read: Reads the study.
        """
        now = time.monotonic()
        if self._bar and now - self._looked >= LOOK_SECONDS:
            self._looked = now
            self._bar.running = _running(read())
        elif not self._bar and not is_quiet() and now - self._said >= SAY_SECONDS:
            self._say(read())

    def _say(self, record: StudyRecord) -> None:
        running = "; ".join(_running(record))
        words = f"running {running}" if running else "nothing runs"
        self._print(f"{record.done} of {record.planned}{self._left(record)}: {words}")

    def note(self, name: str, epoch: int, value: float) -> None:
        """Show how far a trial is that this process trains."""
        if self._bar:
            self._bar.running = [f"{name}  epoch {epoch}  {value:.4f}"]

    def update(self, record: StudyRecord) -> None:
        """Print what has ended since the last time."""
        for trial in record.trials:
            if trial.state != "running" and trial.number not in self._printed:
                self._printed.add(trial.number)
                self._print(self._line(record, trial))
        if self._bar:
            self._bar.running = _running(record)
            self._bar.update(self._bar.task_ids[0], completed=record.done)

    def _line(self, record: StudyRecord, trial: TrialRecord) -> str:
        shown = short_names(record.settings)
        params = " ".join(
            f"{shown.get(name, name)}={_value(value)}"
            for name, value in record.chosen(trial).items()
        )
        if record.repeats is not None and trial.repeat:
            params += f" {record.repeats.setting}={trial.repeat}"
        parts = [f"#{trial.number} {trial.name}".rstrip(), params, _result(record, trial)]
        repeated = None if record.repeats is None else record.repeats.setting
        comparable = not any(
            decides_what_is_measured(name) for name in record.settings if name != repeated
        )
        if comparable and len(record.directions) == 1 and record.best is not None:
            parts.append(f"best {record.best.values[0]:.4f} (#{record.best.number})")
        parts.append(f"{record.done} of {record.planned}{self._left(record)}")
        return "  ".join(part for part in parts if part)

    def _left(self, record: StudyRecord) -> str:
        ended, left = record.done - self._done_before, record.planned - record.done
        if ended <= 0 or left <= 0:
            return ""
        elapsed = time.monotonic() - self._start
        seconds = elapsed / ended * left
        if self._timeout is not None:
            seconds = min(seconds, max(0.0, self._timeout - elapsed))
        return f", {duration(seconds)} left"

    def _print(self, line: str) -> None:
        self._said = time.monotonic()
        if self._bar:
            self._bar.console.print(printable(line), markup=False, highlight=False)
        else:
            tell(line)


_shown: list[Progress] = []
"""Who shows a bar in this process."""


def note_epoch(name: str, epoch: int, value: float) -> None:
    """Let who shows a bar in this process know how far a trial is that it trains."""
    for progress in _shown:
        progress.note(name, epoch, value)


def _running(record: StudyRecord) -> list[str]:
    """The running trials, each with its last epoch and what it reported then."""
    lines = []
    for trial in record.of_state("running"):
        epoch = max(trial.intermediate, default=None)
        reached = "" if epoch is None else f"  epoch {epoch}  {trial.intermediate[epoch]:.4f}"
        lines.append(f"#{trial.number} {trial.name}".rstrip() + reached)
    return lines


def _bar(name: str, planned: int, done: int) -> Any:
    if not sys.stdout.isatty() or is_quiet():
        return None
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress
    from rich.text import Text

    class Bar(RichProgress):
        """A bar, and a line below it for each running trial."""

        running: Sequence[str] = ()

        def get_renderables(self) -> Iterable[Any]:
            yield from super().get_renderables()
            for line in self.running:
                yield Text(f"  {printable(line)}", "dim", no_wrap=True, overflow="ellipsis")

    bar = Bar(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    bar.add_task(printable(name), total=planned, completed=done)
    return bar


def _result(record: StudyRecord, trial: TrialRecord) -> str:
    if trial.state != "complete":
        return trial.reason if trial.state == "pruned" else f"{trial.state}: {trial.reason}"
    objectives = (
        f"{name.removeprefix('validation/')} {_value(value)}"
        for name, value in zip(trial.objectives or record.objectives, trial.values, strict=True)
    )
    return f"{', '.join(objectives)}  {duration(trial.seconds or 0)}"


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """`8.3 s`, `4 min 10 s` or `2 h 5 min`."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def print_result(record: StudyRecord, conclusion: "Conclusion") -> None:
    """Print the leaderboard, the table of a second look, and the study's conclusion."""
    winners = _named(record, conclusion)
    leaderboard = leaderboard_table(record, winners)
    console = wide_console()
    console.print()
    if record.each is not None:
        print_tables(leaderboard_table(record, winners, record.best_of_each(record.each)))
        console.print()
    print_tables(leaderboard.head(SHOWN_ROWS))
    if (more := len(leaderboard.rows) - SHOWN_ROWS) > 0:
        console.print(f"... and {more} more: leaderboard.csv in the study's run holds all.")
    if conclusion.verdict is not None:
        console.print()
        print_tables(second_look_table(conclusion.verdict))
    console.print(printable(conclusion.words), markup=False, highlight=False, soft_wrap=True)


def _named(record: StudyRecord, conclusion: "Conclusion") -> list[TrialRecord]:
    """The trials that stand in bold: the winner, or the front of several objectives."""
    if len(record.directions) > 1:
        return record.front
    return [] if conclusion.winner is None else [conclusion.winner]
