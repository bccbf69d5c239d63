"""Every line of inputs.tsv, a mistake that somebody may make, ends in one line of ours: the rule,
the value and the remedy, a status that a script sees, no traceback, no hang."""

import shlex
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from recsweep import cli
from recsweep.tracking import tracker
from tests.conftest import copy_database
from tests.faults.bad_inputs import (
    SMALL,
    Case,
    answer_here,
    answer_of_a_process,
    cases,
    make_things,
    ports,
)

EVERY = 13
"""Of so many lines the short form takes one, in this process."""

PROCESSES = 10
"""Lines that the short form gives to processes of their own."""


@pytest.fixture(scope="module")
def inputs(database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What the lines name, and `home`, with one run and one study."""
    folder = tmp_path_factory.mktemp("inputs")
    home = folder / "home"
    home.mkdir()
    copy_database(database, home / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSWEEP_HOME", str(home))
        tracker.cache_clear()  # the store by the environment was another one before
        study = ["-m", "model=popularity,ease", "hydra.sweeper.study_name=known"]
        for more in (["model=popularity"], study):
            made = answer_here(["train", *SMALL, *more], cli.main)
            assert made.status == 0, made.errors
    made_things = make_things(folder) | {"studies": str(home / "optuna.db"), "home": str(home)}
    with ports(made_things):
        yield made_things
    tracker.cache_clear()


@pytest.fixture
def things(inputs: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the lines name, with that home in force."""
    monkeypatch.setenv("RECSWEEP_HOME", inputs["home"])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(Path(inputs["home"]).parent)
    return inputs


def _fail(faults: list[str], asked: int) -> None:
    assert not faults, f"{len(faults)} of {asked} lines:\n" + "\n".join(faults)


def test_the_table_has_many_lines_and_each_once() -> None:
    lines = Counter(case.line for case in cases())
    assert len(lines) >= 300
    assert [line for line, times in lines.items() if times > 1] == []
    assert all(case.fragment for case in cases())


@pytest.mark.slow
def test_a_mistake_is_one_line(things: dict[str, str], request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--full", default=False):
        pytest.skip("each line has a process of its own")
    asked = cases()[::EVERY]
    faults = []
    for case in asked:
        answer = answer_here(case.words(things), cli.main)
        if fault := answer.fault(case):
            faults.append(f"{case.line}: {fault}: {answer.errors[-300:]}")
    _fail(faults, len(asked))


@pytest.mark.slow
def test_a_mistake_is_one_line_of_a_process(
    things: dict[str, str], request: pytest.FixtureRequest
) -> None:
    full = request.config.getoption("--full", default=False)
    every = cases()
    asked = every if full else every[:: len(every) // PROCESSES]

    def ask(case: Case) -> tuple[str, int]:
        answer = answer_of_a_process(case.words(things), Path.cwd())
        fault = answer.fault(case)
        return f"{case.line}: {fault}: {answer.errors[-300:]}" if fault else "", answer.status

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(ask, asked))
    faults = [fault for fault, _ in answers if fault]
    statuses = Counter(status for _, status in answers)
    tracebacks = sum("a traceback" in fault for fault in faults)
    print(
        f"\n{len(asked)} bad inputs: {len(faults)} not one line of ours, {tracebacks} tracebacks, "
        f"{statuses[-1]} hangs; exit statuses {dict(sorted(statuses.items()))}"
    )
    _fail(faults, len(asked))


QUOTED = [
    "/my likes;1.csv",
    "/a&b.csv",
    "~/a.csv",
    "/a(1).csv",
    "/a[1].csv",
    "/größe.csv",
    "/it's.csv",
    '/a"b.csv',
    "/a$b`c!.csv",
    "/a,b.csv;",
    "a\\'b;",
    "/a|b<c>d.csv",
]


@pytest.mark.parametrize("value", QUOTED)
def test_the_quoted_form_that_an_error_shows_works_in_a_shell(value: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from recsweep.errors import ConfigError
    from recsweep.mistakes import composed_in_words

    line = f"data.path={value}"
    with pytest.raises(ConfigError) as said, composed_in_words([line]):
        OverridesParser.create().parse_overrides([line])
    shown = str(said.value).partition("those of the shell: ")[2]
    typed = subprocess.run(
        ["sh", "-c", f"printf '%s\\n' {shown}"], capture_output=True, text=True, check=True
    ).stdout.removesuffix("\n")
    (override,) = OverridesParser.create().parse_overrides([typed])
    assert override.key_or_group == "data.path"
    assert override.value() == value


@pytest.mark.slow
class TestEnds:
    """How a command ends that somebody stops."""

    def test_nobody_reads_what_is_printed(self, things: dict[str, str]) -> None:
        recsweep = shlex.join([sys.executable, "-c", "from recsweep.cli import main; main()"])
        command = f"{recsweep} runs | :; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
        assert done.stderr == ""
        assert done.stdout == "141\n"

    def test_an_interrupt_is_one_line(self, things: dict[str, str]) -> None:
        program = (
            "import sys; from recsweep import cli; from recsweep.cli import compare\n"
            "def wait(arguments):\n"
            "    import time; print('waits', flush=True); time.sleep(60)\n"
            "compare._run = wait; sys.argv = ['recsweep', 'compare']; cli.main()"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "waits\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert (process.returncode, errors) == (130, "interrupted\n")
