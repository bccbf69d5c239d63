"""Calibration: two numbers against scipy's minimum, on which cells, and where scores say
nothing."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize

from recsweep.data.interactions import Part
from recsweep.models import calibration
from recsweep.models.base import FitOptions, Recommender
from recsweep.models.calibration import Calibration, _known_cells, fit_sigmoid
from recsweep.models.saved import load_model

from .conftest import build, part, tastes

CALIBRATED = ("ease", "item_knn", "knn")
PAIRS = np.indices((80, 60)).reshape(2, -1)


def parts(lists_zeros: bool) -> tuple[Part, Part]:
    """Training and validation parts of one matrix, of all their cells or of positives only."""
    matrix = tastes(80, 60, seed=4)
    place = np.random.default_rng(5).random(matrix.shape)
    chosen = place < 0.7, (place >= 0.7) & (place < 0.9)
    if lists_zeros:
        return part(matrix, chosen[0]), part(matrix, chosen[1])
    return part(matrix * chosen[0]), part(matrix * chosen[1])


def fitted(name: str, lists_zeros: bool, validation: bool = True, seed: int = 0) -> Recommender:
    train, held_out = parts(lists_zeros)
    model = build(name)
    model.fit(train, FitOptions(seed=seed, validation=held_out if validation else None))
    return model


def log_loss(
    theta: np.ndarray, scores: np.ndarray, targets: np.ndarray, weights: np.ndarray
) -> float:
    z = theta[0] * scores + theta[1]
    return weights @ (np.logaddexp(0, z) - targets * z)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 300.0])
def test_the_two_numbers_minimise_the_log_loss_of_smoothed_targets(scale: float) -> None:
    rng = np.random.default_rng(0)
    scores = rng.exponential(scale, 3000).astype(np.float32)
    targets = (rng.random(3000) < 1 / (1 + np.exp(4 - 1.5 * scores / scale))).astype(np.uint8)
    weights = np.where(targets, 1.0, 7.5)
    ones, zeros = weights[targets == 1].sum(), weights[targets == 0].sum()
    smooth = np.where(targets, (ones + 1) / (ones + 2), 1 / (zeros + 2))
    unit = scores.astype(float) / scale
    expected = minimize(
        log_loss,
        [1, -3],
        args=(unit, smooth, weights),
        method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 10_000},
    ).x
    slope, intercept = fit_sigmoid(scores, targets, weights)
    np.testing.assert_allclose([slope * scale, intercept], expected, rtol=1e-6)


def test_the_probabilities_add_up_to_the_positives() -> None:
    model = fitted("ease", lists_zeros=True)
    _, held_out = parts(lists_zeros=True)
    asked = _known_cells(held_out, parts(lists_zeros=True)[0], seed=0)
    assert model.predict(*asked[:2]).sum() == pytest.approx(asked[2].sum(), abs=0.1)
    assert asked[2].sum() > 100


@pytest.mark.parametrize(
    ("scores", "targets", "rate"),
    [
        (np.arange(50.0), np.zeros(50), 1 / 52),  # one class
        (np.arange(50.0), np.ones(50), 51 / 52),
        (np.full(50, 0.3), np.arange(50) < 10, 0.2),  # one score
        (np.zeros(50), np.arange(50) < 10, 0.2),
        (-np.arange(50.0), np.arange(50) >= 40, 0.2),  # the wrong way round
        (np.tile([1.0, 2.0], 24), np.repeat([0, 1], 24), 0.5),  # nothing to learn
        (np.array([0.3]), np.array([1]), 2 / 3),
    ],
)
def test_scores_without_a_signal_give_about_the_share_of_positives(
    scores: np.ndarray, targets: np.ndarray, rate: float
) -> None:
    slope, intercept = fit_sigmoid(scores.astype(np.float32), targets, np.ones(len(scores)))
    assert 0 < slope < 0.01
    found = Calibration(slope, intercept, "validation", 50).probabilities(scores.astype(np.float32))
    np.testing.assert_allclose(found, rate, atol=0.02)
    steps = np.diff(found[np.argsort(scores, kind="stable")])
    assert (steps >= 0).all()
    assert (steps[np.diff(np.sort(scores)) > 0] > 0).all()  # the order is kept


def test_scores_that_separate_the_cells_give_finite_numbers() -> None:
    slope, intercept = fit_sigmoid(
        np.arange(100, dtype=np.float32), np.arange(100) >= 50, np.ones(100)
    )
    found = Calibration(slope, intercept, "validation", 100).probabilities(
        np.array([0, 49, 50, 99])
    )
    assert 0 < slope < 100
    assert found[0] < 0.01 < found[1] < 0.5 < found[2] < 0.99 < found[3] <= 1


@pytest.mark.parametrize("name", CALIBRATED)
@pytest.mark.parametrize("lists_zeros", [True, False])
def test_validation_calibrates_and_orders_nothing(name: str, lists_zeros: bool) -> None:
    model, alone = (fitted(name, lists_zeros, validation) for validation in (True, False))
    assert model.calibration.fitted_on == "validation"
    assert alone.calibration.fitted_on == "train"
    assert "that the model has seen" in alone.details
    np.testing.assert_array_equal(model.score(np.arange(80)), alone.score(np.arange(80)))
    scores, found = model.score(np.arange(80)), model.predict(*PAIRS).reshape(80, 60)
    for user in range(79):
        order = np.argsort(scores[user], kind="stable")
        steps = np.diff(found[user][order])[np.diff(scores[user][order]) > 1e-5]
        assert (steps > 0).all()
    expected = 1 / (1 + np.exp(-(model.calibration.slope * scores + model.calibration.intercept)))
    np.testing.assert_allclose(found[:79], expected[:79], atol=1e-6)
    np.testing.assert_allclose(
        found[79], scores[79], atol=1e-6
    )  # no history: each item's share of positives


@pytest.mark.parametrize("name", CALIBRATED)
def test_positives_alone_are_weighed_against_all_other_cells(name: str) -> None:
    model = fitted(name, lists_zeros=False)
    train, held_out = parts(lists_zeros=False)
    known = (np.diff(train.positives.indptr) > 0)[:, None] & (
        np.diff(train.positives.tocsc().indptr) > 0
    )
    free = known & (train.positives.toarray() == 0)
    share = held_out.num_positives / free.sum()
    users, items = np.nonzero(free)
    assert model.predict(users, items).mean() == pytest.approx(share, rel=0.2)
    assert model.calibration == fitted(name, lists_zeros=False).calibration
    assert model.calibration != fitted(name, lists_zeros=False, seed=1).calibration


def test_the_drawn_zeros_are_free_known_cells_each_as_likely() -> None:
    train, held_out = parts(lists_zeros=False)
    draws = np.zeros((80, 60))
    for seed in range(300):
        users, items, targets, weights = _known_cells(held_out, train, seed)
        zeros = targets == 0
        assert zeros.sum() == targets.sum() == held_out.num_positives
        np.add.at(draws, (users[zeros], items[zeros]), 1)
    taken = (train.positives + held_out.positives).toarray() > 0
    taken[-1], taken[:, -1] = True, True  # unknown to the model
    assert draws[taken].max() == 0
    free = (~taken).sum()
    assert weights[zeros].sum() == pytest.approx(free)
    assert (weights[~zeros] == 1).all()
    expected = 300 * held_out.num_positives / free
    assert ((draws[~taken] - expected) ** 2).sum() / expected == pytest.approx(
        free, rel=0.15
    )  # chi squared


def test_a_large_part_is_thinned_to_about_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "MAX_POSITIVES", 100)
    for lists_zeros in (True, False):
        train, held_out = parts(lists_zeros)
        _, _, targets, weights = _known_cells(held_out, train, seed=0)
        assert 70 < targets.sum() < 130 < held_out.num_positives
        share = weights[targets == 1].sum() / weights.sum()
        assert share == pytest.approx(held_out.targets.mean() if lists_zeros else 0.081, rel=0.25)


def test_validation_without_known_positives_leaves_it_the_training_part() -> None:
    train, held_out = parts(lists_zeros=False)
    strangers = replace(held_out, users=np.full(len(held_out), 79))
    model = build("ease")
    model.fit(train, FitOptions(validation=strangers))
    assert model.calibration.fitted_on == "train"


@pytest.mark.parametrize("name", CALIBRATED)
def test_it_is_saved_with_the_model_and_an_older_model_clips(name: str, tmp_path: Path) -> None:
    model = fitted(name, lists_zeros=True)
    model.save(tmp_path)
    loaded = load_model(tmp_path)
    assert loaded.calibration == model.calibration
    assert loaded.details == model.details
    assert "probabilities calibrated on " in model.details
    np.testing.assert_array_equal(loaded.predict(*PAIRS), model.predict(*PAIRS))
    described = json.loads((tmp_path / "model.json").read_text())
    del described["settings"]["calibration"]
    (tmp_path / "model.json").write_text(json.dumps(described))
    old = load_model(tmp_path)
    assert old.calibration is None
    scores = model.score(np.arange(80)).ravel()
    np.testing.assert_array_equal(old.predict(*PAIRS), np.clip(scores, 0, 1))


def test_words() -> None:
    assert str(Calibration(5.2111, -4.03, "validation", 100_000)) == (
        "probabilities calibrated on 100,000 validation cells: sigmoid(5.211 s - 4.03)"
    )
    assert str(Calibration(0.5, 0.25, "train", 10)).endswith(
        "10 train cells that the model has seen: sigmoid(0.5 s + 0.25)"
    )
