"""Processes that work beside this one, in short: with the functions of this file, on no model."""

import logging
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from recsweep.processes import THREAD_VARIABLES
from recsweep.run.watch import Watch
from recsweep.workers import Died, in_workers, start_worker


def _double(number: int) -> int:
    return 2 * number


def _die_of_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def _pid(number: int) -> int:
    time.sleep(0.05)
    return os.getpid()


def _surroundings(name: str) -> tuple[str | None, int, int]:
    """A variable, the threads of torch, and those of the libraries below numpy at most."""
    import torch
    from threadpoolctl import threadpool_info

    return (
        os.environ.get(name),
        torch.get_num_threads(),
        max(library["num_threads"] for library in threadpool_info()),
    )


def _write_threads(path: Path) -> None:
    import torch

    path.write_text(str(torch.get_num_threads()))


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_each_task_is_done_once(workers: int) -> None:
    done = sorted(in_workers(_double, [[1, 2], [3], [4, 5]], workers))
    assert done == [(number, 2 * number) for number in range(1, 6)]


def test_a_process_takes_the_next_piece_when_it_is_done_with_one() -> None:
    assert len({pid for _, pid in in_workers(_pid, [[number] for number in range(6)], 2)}) == 2


def test_of_a_killed_process_its_task_alone_is_lost() -> None:
    done = dict(in_workers(_die_of_three, [[1, 2, 3, 4, 5], [6]], 2))
    assert done == {1: 1, 2: 2, 3: Died(-signal.SIGKILL), 4: 4, 5: 5, 6: 6}
    assert done[3].words == "its process ended with status -9"


def test_what_workers_say_is_shown_line_by_line_and_what_data_they_read_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Also what no logger says; and the next workers don't say it again."""
    for times in (1, 0):
        list(in_workers(_talk, [[1], [2], [3]], 3))
        said = capsys.readouterr().err.splitlines()
        assert said.count("toy: 3 users") == said.count("toy: 9 known zeros") == times
        assert sorted(line for line in said if "toy" not in line) == [
            "by hand 1",
            "by hand 2",
            "by hand 3",
            "model 1",
            "model 2",
            "model 3",
        ]


def _talk(number: int) -> None:
    logging.getLogger("recsweep.run.plan").info("toy: 3 users\ntoy: 9 known zeros")
    logging.getLogger("recsweep.run.record").info("model %d", number)
    os.write(2, f"by hand {number}\n".encode())
    time.sleep(0.3)  # else one does all


@pytest.mark.skipif(sys.platform != "linux", reason="of pseudo-terminals")
def test_lines_of_workers_do_not_stick_to_a_bar() -> None:
    """On a terminal a line begins where the one before it has ended, and none has a bar in it."""
    program = "from tests.test_workers import show_a_bar; show_a_bar()"
    main, terminal = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=terminal,
        stderr=terminal,
        cwd=Path(__file__).parents[1],
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
    )
    os.close(terminal)
    said = b""
    with suppress(OSError):  # the end of a terminal
        while part := os.read(main, 65536):
            said += part
    os.close(main)
    assert process.wait() == 0
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said.decode()).replace("\r", "\n").split("\n")
    assert [line for line in lines if "by hand" in line] == ["by hand 1", "by hand 2"]
    assert lines.count("toy: 3 users") == 1
    assert any("━" in line for line in lines), "the bar is there"


def show_a_bar() -> None:
    """What a study does, with workers that talk."""
    from rich.progress import Progress

    with Progress() as bar:
        bar.add_task("study", total=2)
        for _ in in_workers(_talk, [[1], [2]], 1):
            bar.advance(bar.task_ids[0])


def test_of_several_runs_at_once_epochs_are_told_every_few_seconds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And all of a run by itself."""
    list(in_workers(_tell_epochs, [[3]], 1))
    assert capsys.readouterr().err.splitlines() == ["epoch 1"]
    assert _tell_epochs(3) == [1, 2, 3]


def _tell_epochs(number: int) -> list[int]:
    watch = Watch(None, None, None)  # type: ignore[arg-type]
    told = [epoch for epoch in range(1, number + 1) if watch._is_due()]
    for epoch in told:
        logging.getLogger("recsweep").info("epoch %d", epoch)
    return told


def test_no_process_is_left_where_the_results_are_not_waited_for() -> None:
    import psutil

    results = in_workers(_pid, [[number] for number in range(40)], 2)
    _, pid = next(results)
    results.close()
    assert not psutil.pid_exists(pid)


def test_workers_have_the_surroundings_of_this_moment_and_one_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server that they are forked from is older than what is set now."""
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    list(in_workers(_double, [[1]], 1))
    monkeypatch.setenv("RECSWEEP_TEST", "now")
    assert list(in_workers(_surroundings, [["RECSWEEP_TEST"]], 1)) == [
        ("RECSWEEP_TEST", ("now", 1, 1))
    ]
    monkeypatch.delenv("RECSWEEP_TEST")
    ((_, (value, *_)),) = in_workers(_surroundings, [["RECSWEEP_TEST"]], 1)
    assert value is None


@pytest.mark.parametrize(("of_the_user", "expected"), [(None, "3"), ("2", "2")])
def test_a_worker_takes_its_share_of_threads_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, of_the_user: str | None, expected: str
) -> None:
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        if of_the_user:
            monkeypatch.setenv(name, of_the_user)
    start_worker(_write_threads, tmp_path / "threads", threads=3).join()
    assert (tmp_path / "threads").read_text() == expected


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each process is started anew")
def test_the_server_has_done_no_work_of_torch_before_it_forks() -> None:
    """Threads of a pool would be gone in what it forks, which waits for them for ever."""
    ((_, threads),) = in_workers(_threads_of_the_server, [[""]], 1)
    assert [name for name in threads if name.startswith(("omp", "pt_", "python"))] == ["python"]


def _threads_of_the_server(_: str) -> list[str]:
    tasks = Path(f"/proc/{os.getppid()}/task").glob("*/comm")
    return ["python" if "python" in name else name for path in tasks if (name := path.read_text())]
