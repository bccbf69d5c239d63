"""`kill -9` at any moment: nothing lost, nothing twice, nothing left RUNNING, no home broken."""

import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tests.faults.conftest import TINY, Home, kill

pytestmark = pytest.mark.slow

STUDY_NAME = "hydra.sweeper.study_name=s"
STUDY = (
    "train",
    "-m",
    *TINY,
    "model=knn",
    "model.num_neighbors=5,10,20",
    STUDY_NAME,
    "hydra.sweeper.retries=1000",
)
BASELINES = ("popularity", "knn user 50")
PENDING = 1
"""Status of a logged model in MLflow's table that nobody has finished."""


@dataclass(frozen=True)
class Command:
    """A command that is killed.

    Attributes:
        words: Of the command line.
        short, full: How many kills each form has.
        next: The command after it, by which all is whole again; None for the same one.
        statuses: Exit statuses of that one.
        on_new_home: Whether each kill has a home of its own, which does not exist yet.
        before: Commands that its home has seen, unkilled.
    """

    words: tuple[str, ...]
    short: int
    full: int
    next: tuple[str, ...] | None = None
    statuses: tuple[int, ...] = (0,)
    on_new_home: bool = False
    before: tuple[tuple[str, ...], ...] = ()


TRAINED = tuple(
    ("train", *TINY, f"model={model}", "evaluation.test=true") for model in ("popularity", "knn")
)

COMMANDS = {
    "train": Command(
        ("train", *TINY, "trainer.max_epochs=20", "evaluation.test=true"), 2, 40, ("runs",)
    ),
    "study": Command(STUDY, 1, 30),
    "refit": Command(("refit", "s"), 0, 20, ("runs",), before=(STUDY,)),
    "compare": Command(("compare", *BASELINES), 0, 15, ("runs",), before=TRAINED),
    "promote": Command(
        ("promote", "popularity", "--splits", "1"), 0, 15, statuses=(0, 3), before=TRAINED
    ),
    "first opening": Command(("train", *TINY, "model=popularity"), 0, 40, on_new_home=True),
}


@dataclass
class Tally:
    """What became of homes, over all kills of a command.

    Attributes:
        statuses: Exit statuses that the command after a kill may have.
        figures: How many kills there were, and how much was amiss after them.
        broken: What was said where that command failed.
    """

    statuses: tuple[int, ...]
    figures: Counter = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    def check(self, home: Home, before: dict[str, str], done: subprocess.CompletedProcess) -> None:
        """Count what is lost, twice, left or broken, after the command that follows a kill."""
        after = home.statuses()
        finished = {run for run, status in before.items() if status == "FINISHED"}
        self.figures["lost"] += sum(after.get(run) != "FINISHED" for run in finished)
        self.figures["twice"] += len(
            home.rows(
                "select p.value, n.value from runs r join tags p on p.run_uuid = r.run_uuid and "
                "p.key = 'mlflow.parentRunId' join tags n on n.run_uuid = r.run_uuid and "
                "n.key = 'trial_number' where r.status = 'FINISHED' group by 1, 2 having "
                "count(*) > 1"
            )
        )
        self.figures["RUNNING"] += sum(status == "RUNNING" for status in after.values())
        self.figures["PENDING"] += len(
            home.rows(f"select model_id from logged_models where status = {PENDING}")
        )
        if home.rows("pragma integrity_check") != [("ok",)] or not self._is_expected(done):
            self.figures["homes broken"] += 1
            self.broken.append(done.stderr[-2000:])

    def _is_expected(self, done: subprocess.CompletedProcess) -> bool:
        return done.returncode in self.statuses and "Traceback" not in done.stderr


def _kill_again_and_again(
    command: Command, count: int, moments: random.Random, new_home: Callable[..., Home], home: Home
) -> Tally:
    tally = Tally(command.statuses)
    seconds = _seconds((new_home() if command.on_new_home else home), command)
    while tally.figures["kills"] < count:
        if command.on_new_home:
            home = new_home()
        before = {} if command.on_new_home else home.statuses()
        words = [
            f"{word}{tally.figures['kills']}" if word == STUDY_NAME else word  # a new one each time
            for word in command.words
        ]
        process = home.start(*words)
        time.sleep(moments.uniform(0.2, 1) * seconds)
        if process.poll() is not None:  # it came to its end, and nothing is tested
            process.communicate()
            seconds *= 0.9
            continue
        kill(process)
        tally.figures["kills"] += 1
        tally.check(home, before, home.run(*(command.next or words), timeout=600))
    return tally


def _seconds(home: Home, command: Command) -> float:
    """How long a command takes that is left alone."""
    start = time.monotonic()
    done = home.run(*command.words, timeout=600)
    assert done.returncode in command.statuses, done.stderr
    return time.monotonic() - start


@pytest.mark.parametrize("name", COMMANDS)
def test_kills(name, new_home, full, capsys):
    command = COMMANDS[name]
    count = command.full if full else command.short
    if not count:
        pytest.skip("in the full form only: make faults")
    home = new_home()
    for words in command.before:
        done = home.run(*words)
        assert done.returncode == 0, done.stderr
    tally = _kill_again_and_again(command, count, random.Random(0), new_home, home)
    if full:
        with capsys.disabled():
            print(f"\n{_line(name, tally)}", flush=True)
    assert not tally.broken, tally.broken
    assert all(not figure or what == "kills" for what, figure in tally.figures.items()), tally


def _line(name: str, tally: Tally) -> str:
    names = ("kills", "lost", "twice", "RUNNING", "PENDING", "homes broken")
    return f"{name:14}" + "  ".join(f"{tally.figures[each]:3} {each}" for each in names)
