"""How many processes a study takes where nobody says it."""

import os
from types import SimpleNamespace

import pytest

from recsweep import workers
from recsweep.errors import ConfigError
from recsweep.processes import cores
from recsweep.tuning.sweep import Sweep
from recsweep.workers import WORKER_BYTES


def _num_workers(left: int, *, n_jobs: int | None = None, any_order: bool = True) -> int:
    options = SimpleNamespace(n_jobs=n_jobs)
    sweep = SimpleNamespace(options=options, is_same_in_any_order=any_order)
    return Sweep.num_workers(sweep, left)


@pytest.fixture(autouse=True)
def _large_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSWEEP_CORES", "8")
    monkeypatch.setattr(workers, "available_bytes", lambda: 100 * WORKER_BYTES)


def test_one_for_each_core_and_no_more_than_trials() -> None:
    assert _num_workers(18) == 8
    assert _num_workers(3) == 3
    assert _num_workers(0) == 1


def test_no_more_than_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "available_bytes", lambda: 3 * WORKER_BYTES + 1)
    assert _num_workers(18) == 3
    monkeypatch.setattr(workers, "available_bytes", lambda: WORKER_BYTES // 2)
    assert _num_workers(18) == 1


def test_one_where_the_order_decides() -> None:
    assert _num_workers(18, any_order=False) == 1


@pytest.mark.parametrize(
    ("points", "max_epochs", "pruner", "expected"),
    [
        ([], None, "none", True),
        (None, None, "none", False),  # a search
        ([], 40, "none", False),
        ([], None, "median", False),
    ],
)
def test_where_the_order_decides(
    points: list | None, max_epochs: int | None, pruner: str, expected: bool
) -> None:
    sweep = SimpleNamespace(
        points=points,
        options=SimpleNamespace(max_epochs=max_epochs),
        definition=SimpleNamespace(pruner={"kind": pruner}),
    )
    assert Sweep.is_same_in_any_order.fget(sweep) is expected


def test_as_many_as_are_asked_for() -> None:
    assert _num_workers(2, n_jobs=5) == 5
    assert _num_workers(18, n_jobs=4, any_order=False) == 4


def test_cores_are_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cores() == 8
    monkeypatch.delenv("RECSWEEP_CORES")
    if hasattr(os, "sched_getaffinity"):
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3, 5})
        assert cores() == 3
        monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert cores() == 6


@pytest.mark.parametrize("wrong", ["0", "-1", "two", "1.5"])
def test_a_number_of_cores_that_is_none(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSWEEP_CORES", wrong)
    with pytest.raises(ConfigError, match=f"RECSWEEP_CORES must be .* not '{wrong}'"):
        cores()
