"""Logistic regression: at the minimum of what its docstring says, or an error."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

from recsweep.data.interactions import Part
from recsweep.errors import FitError
from recsweep.models.base import FitOptions
from recsweep.models.logistic import Logistic
from recsweep.models.saved import load_model

from .conftest import build, features, part, tastes


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


@pytest.mark.parametrize("C", [0.1, 10])
def test_features_are_columns_beside_the_ids(C: float) -> None:
    model, train = cells(C)
    tables = features()
    model.fit(train, FitOptions(**tables))
    assert model.num_parameters == 40 + 30 + 12 + 5 + 1
    from_users, from_items = (table.matrix.toarray() for table in tables.values())
    ids = np.eye(40)[train.users], np.eye(30)[train.items]
    X = np.hstack([*ids, from_users[train.users], from_items[train.items]])

    def loss_and_gradient(weights: np.ndarray) -> tuple[float, np.ndarray]:
        z = X @ weights[:-1] + weights[-1]
        errors = C * (1 / (1 + np.exp(-z)) - train.targets)
        loss = C * (np.logaddexp(0, z) - train.targets * z).sum() + (weights[:-1] ** 2).sum() / 2
        return loss, np.append(X.T @ errors + weights[:-1], errors.sum())

    settings = {"maxiter": 100_000, "maxfun": 100_000, "ftol": 0, "gtol": 1e-9}
    start = np.zeros(X.shape[1] + 1)
    w = minimize(loss_and_gradient, start, jac=True, method="L-BFGS-B", options=settings).x
    a, c, of_users, of_items, b = w[:40], w[40:70], w[70:82], w[82:87], w[87]
    users, items = a + from_users @ of_users, c + from_items @ of_items
    expected = b + users[:, None] + items
    np.testing.assert_allclose(model.score(np.arange(40)), expected, atol=1e-4)
    who, what = np.indices((40, 30)).reshape(2, -1)
    np.testing.assert_allclose(
        model.predict(who, what), 1 / (1 + np.exp(-expected.ravel())), atol=1e-6
    )
    told = csr_matrix(from_users[:3]), csr_matrix(from_items[:3])
    new_users = model.score_histories(csr_matrix((3, 30)), told[0])
    np.testing.assert_allclose(new_users, b + (from_users @ of_users)[:3, None] + items, atol=1e-4)
    new_items = model.score_new_items(csr_matrix((3, 40)), told[1])
    np.testing.assert_allclose(new_items, b + (from_items @ of_items)[:3, None] + users, atol=1e-4)
    assert new_users.dtype == new_items.dtype == np.float32
    unknown = model.score_new_items(csr_matrix((1, 40)))
    np.testing.assert_allclose(unknown, b + users[None], atol=1e-4)


def test_a_saved_one_answers_for_new_ones_and_one_of_before_knows_no_features(folder: Path) -> None:
    model, train = cells(1)
    tables = features()
    model.fit(train, FitOptions(**tables))
    model.save(folder)
    loaded = load_model(folder)
    histories, told = csr_matrix((2, 30)), tables["user_features"].matrix[:2]
    scores = model.score_histories(histories, told)
    np.testing.assert_array_equal(loaded.score_histories(histories, told), scores)
    assert loaded.takes_features
    assert loaded.num_parameters == model.num_parameters
    arrays = load_file(folder / "arrays.safetensors")
    save_file({name: arrays[name] for name in ("users", "items")}, folder / "arrays.safetensors")
    before = load_model(folder)
    assert not before.takes_features
    np.testing.assert_array_equal(before.score(np.arange(40)), model.score(np.arange(40)))


def test_a_fit_that_does_not_converge_is_an_error_with_its_remedy() -> None:
    _, train = cells(1)
    model = build("logistic", "model.max_iter=2")
    with pytest.raises(
        FitError,
        match=r"below 1e-06 of its start, not to .* after 2 of model\.max_iter=2 steps\. "
        r"Set model\.max_iter=20",
    ):
        model.fit(train, FitOptions(on_epoch=lambda *_: pytest.fail("told of an epoch")))
