"""The second look: which trials run again with which seeds, and what is concluded."""

from dataclasses import replace

import numpy as np
import pytest

from recsweep.tuning.confirm import Confirmation, confirmation_of, verdict_of
from recsweep.tuning.records import StudyRecord, TrialRecord


def trial(number: int, value: float, *, size: int = 100, **more: object) -> TrialRecord:
    return TrialRecord(number=number, state="complete", params={}, overrides=(f"model.user_dim={number}",),
                       values=(value,), name=f"net {number}", num_parameters=size, seed=0, **more)


def study(trials: list[TrialRecord], name: str = "dims", direction: str = "maximize") -> StudyRecord:
    return StudyRecord(name=name, objectives=("validation/average_precision",), directions=(direction,), space={},
                       fixed={}, trials=tuple(trials), planned=len(trials), sampler="grid", pruner="none")


def confirmed(confirmation: Confirmation, values: np.ndarray, direction: str = "maximize") -> StudyRecord:
    """The confirming study with these values, (trials, seeds)."""
    cells = [(place, number, seed, values[place, column]) for place, number in
             enumerate(each.number for each in confirmation.trials) for column, seed in enumerate(confirmation.seeds)]
    found = [replace(trial(index, value), params={"trial": number, "seed": seed})
             for index, (_, number, seed, value) in enumerate(cells)]
    return study(found, confirmation.name, direction)


def test_the_best_run_again_with_seeds_that_did_not_choose_them() -> None:
    record = study([trial(0, 0.1), trial(1, 0.3), trial(2, 0.2), replace(trial(3, 0.9), state="pruned", values=())])
    confirmation = confirmation_of(record, top=2, seeds=3)
    assert [each.number for each in confirmation.trials] == [1, 2]
    assert confirmation.seeds == (1, 2, 3)
    points = confirmation.points()
    assert [point.params for point in points[:2]] == [{"trial": 1, "seed": 1}, {"trial": 2, "seed": 1}]
    assert points[0].overrides == ("model.user_dim=1", "seed=1")
    assert len({point.slot for point in points}) == len(points) == 6


def test_a_clear_lead_names_the_best() -> None:
    confirmation = confirmation_of(study([trial(0, 0.3), trial(1, 0.2)]), top=2, seeds=4)
    noise = np.array([0.001, -0.001, 0.0005, -0.0005])
    verdict = verdict_of(confirmation, confirmed(confirmation, np.stack([0.3 + noise, 0.2 - noise])))
    assert verdict.winner.number == 0
    assert "more than the noise" in verdict.words()
    header, rows = verdict.rows()
    assert len(header) == len(rows[0])
    assert rows[0][:4] == ["0", "net 0", "0.3000", "0.3000"]


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_within_the_noise_the_smallest_wins(direction: str) -> None:
    sign = 1 if direction == "maximize" else -1
    trials = [trial(0, 0.5 * sign, size=900), trial(1, 0.4 * sign, size=300), trial(2, 0.3 * sign, size=1)]
    confirmation = confirmation_of(study(trials, direction=direction), top=3, seeds=5)
    noise = np.random.default_rng(0).normal(scale=0.01, size=(3, 5))
    values = sign * (np.array([[0.502], [0.5], [0.1]]) + noise)
    verdict = verdict_of(confirmation, confirmed(confirmation, values, direction))
    assert {each.number for each in verdict.tied} == {0, 1}  # the smallest of all is clearly worse
    assert verdict.winner.number == 1
    assert "within the noise" in verdict.words()
    assert "0 (net 0)" in verdict.words()


def test_trials_that_lack_a_seed_are_left_out() -> None:
    confirmation = confirmation_of(study([trial(0, 0.3), trial(1, 0.2), trial(2, 0.1)]), top=3, seeds=2)
    whole = confirmed(confirmation, np.array([[0.3, 0.31], [0.2, 0.21], [0.1, 0.12]]))
    cut = replace(whole, trials=tuple(replace(each, state="failed") if each.params == {"trial": 0, "seed": 2} else each
                                      for each in whole.trials))
    assert [each.number for each in verdict_of(confirmation, cut).trials] == [1, 2]
    alone = replace(whole, trials=whole.trials[:2])
    assert verdict_of(confirmation, alone) is None
