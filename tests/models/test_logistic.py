"""Logistic regression: at the minimum of what its docstring says, or an error."""

import numpy as np
import pytest
from scipy.optimize import minimize

from recsweep.data.interactions import Part
from recsweep.errors import FitError
from recsweep.models.base import FitOptions
from recsweep.models.logistic import Logistic

from .conftest import build, part, tastes


def cells(C: float, num_users: int = 40, num_items: int = 30) -> tuple[Logistic, Part]:
    matrix = tastes(num_users, num_items)
    train = part(matrix, np.random.default_rng(1).random(matrix.shape) < 0.75)
    return build("logistic", f"model.C={C}"), train


def loss_and_gradient(weights: np.ndarray, train: Part, C: float) -> tuple[float, np.ndarray]:
    """C * log loss + (||a||^2 + ||c||^2) / 2 at a, c and b in one array, by a dense one-hot
    matrix."""
    X = np.zeros((len(train), train.num_users + train.num_items + 1))
    rows = np.arange(len(train))
    X[rows, train.users] = X[rows, train.num_users + train.items] = X[:, -1] = 1
    z = X @ weights
    penalised = np.append(weights[:-1], 0)
    loss = C * (np.logaddexp(0, z) - train.targets * z).sum() + penalised @ penalised / 2
    return loss, C * X.T @ (1 / (1 + np.exp(-z)) - train.targets) + penalised


@pytest.mark.parametrize("C", [0.01, 1, 1000])
def test_the_gradient_at_the_end_is_below_a_millionth_of_the_start(C: float) -> None:
    model, train = cells(C)
    model.fit(train)
    weights = np.concatenate([model._users, model._items, [model._intercept]]).astype(np.float64)
    _, left = loss_and_gradient(weights, train, C)
    _, start = loss_and_gradient(np.zeros_like(weights), train, C)
    rounding = 4 * C * len(train) * np.finfo(np.float32).eps  # the model keeps float32
    assert np.linalg.norm(left) <= 1e-6 * np.linalg.norm(start) + rounding
    assert "Newton steps: gradient at " in model.details


@pytest.mark.parametrize("C", [0.01, 1, 100])
def test_the_probabilities_are_those_of_another_solver(C: float) -> None:
    model, train = cells(C)
    model.fit(train)
    found = minimize(
        loss_and_gradient,
        np.zeros(71),
        args=(train, C),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 100_000, "maxfun": 100_000, "ftol": 0, "gtol": 1e-9},
    )
    a, c, b = found.x[:40], found.x[40:70], found.x[70]
    expected = 1 / (1 + np.exp(-(a[:, None] + c + b)))
    users, items = np.indices((40, 30)).reshape(2, -1)
    np.testing.assert_allclose(model.predict(users, items).reshape(40, 30), expected, atol=1e-6)


def test_a_fit_that_does_not_converge_is_an_error_with_its_remedy() -> None:
    _, train = cells(1)
    model = build("logistic", "model.max_iter=2")
    with pytest.raises(
        FitError,
        match=r"below 1e-06 of its start, not to .* after 2 of model\.max_iter=2 steps\. "
        r"Set model\.max_iter=20",
    ):
        model.fit(train, FitOptions(on_epoch=lambda *_: pytest.fail("told of an epoch")))
