"""What is said of importances: the method, and whether trials differ by more than their seeds."""

import numpy as np
import pytest
from scipy import stats
from tests.tuning.test_verdict import judge

from recsweep.tuning.importance import importance_note, seed_noise
from recsweep.tuning.records import StudyRecord, TrialRecord


def study(values: np.ndarray, seeds: list[int] | None = None) -> StudyRecord:
    """Trials with these values; with seeds, (settings, seeds), each setting once with each seed."""
    params = (
        [({"dim": place}, 0) for place in range(len(values))]
        if seeds is None
        else [
            ({"dim": place, "seed": seed}, seed) for place in range(len(values)) for seed in seeds
        ]
    )
    trials = [
        TrialRecord(
            number=number,
            state="complete",
            params=given,
            overrides=(),
            values=(float(value),),
            seed=seed,
        )
        for number, ((given, seed), value) in enumerate(zip(params, np.ravel(values), strict=True))
    ]
    return StudyRecord(
        name="dims",
        objectives=("validation/average_precision",),
        directions=("maximize",),
        space={},
        fixed={},
        trials=tuple(trials),
        planned=len(trials),
        sampler="grid",
        pruner="none",
    )


def test_without_a_second_look_the_noise_of_seeds_is_not_known() -> None:
    note = importance_note(study(np.array([0.1, 0.2, 0.3])), None)
    assert "PED-ANOVA" in note.title
    assert "may be noise" in note.title
    assert "not known" in note.words


def test_the_noise_of_seeds_is_pooled_over_settings() -> None:
    values = np.random.default_rng(0).normal(size=(3, 4)) + np.arange(3)[:, None]
    noise = seed_noise(study(values, seeds=[0, 1, 2, 3]), None)
    assert noise.deviation == pytest.approx(np.sqrt(values.var(axis=1, ddof=1).mean()))
    assert noise.degrees == 9
    assert noise.source == "trials that differ by seed alone"
    again = seed_noise(study(np.arange(3)), judge(values[::-1], sizes=[1, 1, 1]))
    assert again.deviation == pytest.approx(noise.deviation)
    assert again.source == "the second look"


def test_the_same_trial_twice_tells_nothing_of_seeds() -> None:
    record = study(np.array([[0.1, 0.1]]), seeds=[3, 3])
    assert seed_noise(record, None) is None


def test_a_spread_within_that_of_seeds_is_called_noise() -> None:
    rng = np.random.default_rng(1)
    second = judge(0.3 + rng.normal(scale=0.0013, size=(2, 5)), sizes=[1, 1])
    level = importance_note(study(rng.normal(0.25, 0.0014, 18)), second)
    assert level.title == "Importance by PED-ANOVA, noise"
    assert "lies within that of seeds" in level.words
    wide = rng.normal(0.25, 0.02, 18)
    note = importance_note(study(wide), second)
    assert note.title == "Importance by PED-ANOVA"
    ratio = wide.var(ddof=1) / seed_noise(study(wide), second).deviation ** 2
    assert (
        f"more than the noise between seeds (F test, p {stats.f.sf(ratio, 17, 8):.2g})"
        in note.words
    )


def test_few_studies_of_seeds_alone_are_taken_for_more() -> None:
    rng = np.random.default_rng(2)
    noise = [judge(rng.normal(size=(2, 5)), sizes=[1, 1]) for _ in range(300)]
    wrong = [
        importance_note(study(rng.normal(size=18)), each).title == "Importance by PED-ANOVA"
        for each in noise
    ]
    assert 0.02 < np.mean(wrong) < 0.085  # the level is 0.05
