"""iALS against its definition: what it minimises, and that it is a minimum."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from recsweep.errors import ConfigError, FitError
from recsweep.models import ials
from recsweep.models.base import EpochDecision, FitOptions, Recommender
from recsweep.models.ials import IALS

from .conftest import build, part, tastes

A, REG = 0.3, 0.02


def model_of(**settings: object) -> IALS:
    return IALS(**{"dim": 5, "unobserved_weight": A, "reg": REG, "iterations": 4} | settings)


def penalties(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the users' and the items' squared lengths."""
    m, n = X.shape
    return REG * (X.sum(axis=1) + A * n), REG * (X.sum(axis=0) + A * m)


def loss(X: np.ndarray, W: np.ndarray, H: np.ndarray) -> float:
    """What is minimised, from the definition."""
    scores, (of_users, of_items) = W @ H.T, penalties(X)
    cells = (X * (scores - 1) ** 2).sum() + A * (scores**2).sum()
    return cells + of_users @ (W**2).sum(axis=1) + of_items @ (H**2).sum(axis=1)


def gradient_of_items(X: np.ndarray, W: np.ndarray, H: np.ndarray) -> np.ndarray:
    """Derivatives of the loss by the items' numbers, (n, dim)."""
    scores = W @ H.T
    return 2 * ((X * (scores - 1) + A * scores).T @ W + penalties(X)[1][:, None] * H)


def factors_of(model: IALS) -> tuple[np.ndarray, np.ndarray]:
    return tuple(vectors.astype(np.float64) for vectors in model._factors)


def test_the_loss_is_what_is_said_and_never_rises() -> None:
    X, told = tastes().astype(float), []

    def on_epoch(epoch: int, model: Recommender, train_loss: float | None) -> EpochDecision:
        np.testing.assert_allclose(train_loss, loss(X, *factors_of(model)) / X.sum(), rtol=1e-6)
        told.append(train_loss)
        return EpochDecision()

    model = model_of(iterations=30)
    fit = model.fit(part(tastes()), FitOptions(on_epoch=on_epoch))
    assert fit.train_losses == tuple(told)
    assert (fit.epochs, fit.kept_epoch, fit.stopped) == (30, 30, None)
    assert all(later <= earlier + 1e-7 for earlier, later in pairwise(told))
    assert told[-1] < 0.9 * told[0]


def test_a_solved_row_is_a_minimum() -> None:
    X, model = tastes().astype(float), model_of()
    model.fit(part(tastes()))
    W, H = factors_of(model)
    assert np.abs(gradient_of_items(X, W, H)).max() < 1e-4
    histories = csr_matrix(tastes(9, 30, seed=3).astype(np.float32))  # the last one is empty
    folded, _ = model._solve(histories, model._factors.items)
    others = histories.toarray().astype(float)
    scores = folded @ H.T
    of_users = REG * (others.sum(axis=1) + A * 30)[:, None]
    gradient = 2 * ((others * (scores - 1) + A * scores) @ H + of_users * folded)
    assert np.abs(gradient).max() < 1e-4
    np.testing.assert_allclose(
        model.score_histories(histories)[:-1], (folded @ H.T)[:-1], atol=1e-6
    )


def test_new_users_and_items_are_solved_as_the_trained_ones_are() -> None:
    train = part(tastes())
    model = model_of(iterations=60)
    model.fit(train)
    # at the minimum the users that belong to the items are those that are held
    np.testing.assert_allclose(
        model.score_histories(train.positives), model.score(np.arange(40)), atol=1e-3
    )
    np.testing.assert_allclose(
        model.score_new_items(train.positives.T.tocsr())[:-1, :-1],
        model.score(np.arange(39)).T[:-1],
        atol=1e-3,
    )


def test_what_is_unknown_gets_shares_of_positives() -> None:
    model = model_of()
    model.fit(part(tastes()))
    of_items, of_users = tastes().mean(axis=0), tastes().mean(axis=1)
    np.testing.assert_allclose(model.score(np.array([39]))[0], of_items, atol=1e-6)
    nobody, nothing = csr_matrix((1, 30)), csr_matrix((1, 40))
    np.testing.assert_allclose(model.score_histories(nobody)[0], of_items, atol=1e-6)
    np.testing.assert_allclose(model.score_new_items(nothing)[0], of_users, atol=1e-6)
    assert not model.score(np.arange(39))[:, 29].any()


def test_keeps_the_best_iteration_else_the_last() -> None:
    train = part(tastes())
    short, last = model_of(iterations=2), model_of()
    short.fit(train)

    def second(epoch: int, model: Recommender, train_loss: float | None) -> EpochDecision:
        return EpochDecision(keep=epoch == 2)

    best = model_of()
    fit = best.fit(train, FitOptions(on_epoch=second))
    assert (fit.epochs, fit.kept_epoch) == (4, 2)
    np.testing.assert_array_equal(best.score(np.arange(40)), short.score(np.arange(40)))
    assert best.calibration == short.calibration
    last.fit(train)
    assert not np.allclose(last.score(np.arange(40)), short.score(np.arange(40)), atol=1e-4)


def test_cells_are_scored_as_whole_rows_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ials, "CELLS_AT_ONCE", 7)
    model = model_of()
    model.fit(part(tastes()))
    users, items = np.array([3, 39, 3, *range(20)]), np.array([29, 1, 0, *range(20)])
    np.testing.assert_allclose(
        model.score_cells(users, items), model.score(np.arange(40))[users, items], atol=1e-6
    )


def test_the_seed_draws_the_start() -> None:
    models = [model_of(iterations=1), model_of(iterations=1)]
    for seed, model in enumerate(models):
        model.fit(part(tastes()), FitOptions(seed=seed))
    assert models[0].is_random
    assert not np.allclose(models[0].score(np.arange(39)), models[1].score(np.arange(39)))


def test_counts_its_numbers_and_names_itself() -> None:
    model = build("ials")
    model.fit(part(tastes()))
    assert model.num_parameters == 64 * (40 + 30)
    assert model.label == "ials 64 a=0.1 reg=0.005"
    assert model.max_epochs == 16


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"dim": 0}, r"model\.dim must be"),
        ({"unobserved_weight": 0}, r"model\.unobserved_weight must be a number above 0, not 0"),
        ({"reg": -1}, r"model\.reg must be a number above 0, not -1"),
        ({"iterations": 1.5}, r"model\.iterations must be"),
    ],
)
def test_refuses_impossible_settings(setting: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        model_of(**setting)


def test_refuses_a_penalty_that_rounding_hides() -> None:
    one = np.ones((3, 3), np.uint8)
    with pytest.raises(FitError, match=r"with model\.reg=1e-30: rounding.*Raise it"):
        model_of(reg=1e-30, dim=40, iterations=3).fit(part(one))


def test_refuses_vectors_that_memory_does_not_hold() -> None:
    with pytest.raises(ConfigError, match=r"model\.dim=10000000000; 40 users.*Lower model\.dim"):
        model_of(dim=10**10).fit(part(tastes()))
