"""New users and new items of a trained net: the properties of all methods, and each by hand."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.sparse import csr_matrix

from recsweep.config import conf_dir
from recsweep.errors import ConfigError, NotFittedError
from recsweep.evaluation import top_k
from recsweep.models import fold_in
from recsweep.models.base import FitOptions
from recsweep.models.fold_in import NeighborScores, NeighborVectors, RowMap, RowSteps, Side
from recsweep.models.neighbors import NeighborIndex
from recsweep.models.nets import Net
from recsweep.models.neural import NeuralModel
from recsweep.models.saved import load_model

from .conftest import build, part, tastes

METHODS = {
    "neighbor_scores": NeighborScores(num_neighbors=10),
    "neighbor_vectors": NeighborVectors(num_neighbors=10),
    "row_map": RowMap(map_l2=0.1),
    "row_steps": RowSteps(map_l2=0.1, steps=20, lr=0.03, l2=0.03, shrink=1.0, num_zeros=20),
}
SIDES = {"users": "score_histories", "items": "score_new_items"}


@pytest.fixture(scope="module")
def trained() -> NeuralModel:
    """A net that knows the two tastes of the data well."""
    model = build("recipe_net", "trainer.max_epochs=15", "optimizer.lr=0.01")
    model.fit(part(tastes()), FitOptions(seed=1))
    return model


@pytest.fixture(params=METHODS)
def model(request: pytest.FixtureRequest, trained: NeuralModel) -> NeuralModel:
    trained.fold_in = METHODS[request.param]
    return trained


@pytest.fixture(params=SIDES)
def side(request: pytest.FixtureRequest) -> str:
    return request.param


def known(side: str) -> csr_matrix:
    """The histories of the trained rows of a side; the last one is empty."""
    positives = part(tastes()).positives
    return positives if side == "users" else positives.T.tocsr()


def ask(model: NeuralModel, side: str, histories: csr_matrix) -> np.ndarray:
    return getattr(model, SIDES[side])(histories)


def test_every_method_is_tested_and_has_a_file(trained: NeuralModel) -> None:
    assert set(METHODS) == {path.stem for path in (conf_dir() / "fold_in").glob("*.yaml")}
    for name in METHODS:
        assert type(build("recipe_net", f"fold_in={name}").fold_in) is type(METHODS[name])


def test_scores_are_a_row_of_finite_numbers_each(model: NeuralModel, side: str) -> None:
    histories = known(side)
    scores = ask(model, side, histories)
    assert (scores.shape, scores.dtype) == (histories.shape, np.float32)
    assert np.all(np.isfinite(scores))
    assert ask(model, side, histories[:0]).shape == (0, histories.shape[1])


def test_the_history_of_somebody_trained_ranks_close_to_his_own_scores(
    model: NeuralModel, side: str
) -> None:
    own = model.score(np.arange(40))
    own = own[:-1, :-1] if side == "users" else own[:-1, :-1].T
    scores = ask(model, side, known(side))[:-1, :-1]
    correlations = [stats.spearmanr(*pair).statistic for pair in zip(own, scores, strict=True)]
    others = [
        stats.spearmanr(own[row], scores[row - 1]).statistic for row in range(len(own))
    ]  # the other taste
    assert np.median(correlations) > 0.8
    assert np.median(others) < 0.4


def test_the_order_of_a_history_changes_nothing(model: NeuralModel, side: str) -> None:
    histories = known(side)
    rng = np.random.default_rng(0)
    indices = histories.indices.copy()
    for start, end in zip(histories.indptr[:-1], histories.indptr[1:], strict=True):
        indices[start:end] = rng.permutation(indices[start:end])
    permuted = csr_matrix((histories.data, indices, histories.indptr), histories.shape)
    assert (indices != histories.indices).any()
    np.testing.assert_array_equal(ask(model, side, permuted), ask(model, side, histories))
    np.testing.assert_array_equal(permuted.indices, indices)  # the caller's matrix stays as it was


def test_liking_something_twice_is_liking_it(model: NeuralModel, side: str) -> None:
    histories = known(side)
    np.testing.assert_array_equal(ask(model, side, histories * 2), ask(model, side, histories))


def test_the_others_of_a_batch_change_nothing(
    model: NeuralModel, side: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    histories = known(side)
    together = ask(model, side, histories)
    monkeypatch.setattr(fold_in, "CELLS_AT_ONCE", 100)  # a few rows at once
    monkeypatch.setattr(fold_in, "SCORES_AT_ONCE", 100)
    np.testing.assert_allclose(ask(model, side, histories), together, atol=1e-4)
    alone = np.concatenate([ask(model, side, histories[row]) for row in range(histories.shape[0])])
    np.testing.assert_allclose(alone, together, atol=1e-4)


def test_the_net_is_bit_for_bit_as_it_was(model: NeuralModel, side: str) -> None:
    before = {name: weight.clone() for name, weight in model._net.state_dict().items()}
    assert not any(weight.requires_grad for weight in model._net.parameters())
    state = torch.get_rng_state()
    scores = model.score(np.arange(40))
    ask(model, side, known(side))
    for name, weight in model._net.state_dict().items():
        assert weight.numpy().tobytes() == before[name].numpy().tobytes(), name
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(model.score(np.arange(40)), scores)


def test_answers_alike_twice_and_after_loading(
    model: NeuralModel, side: str, tmp_path: Path
) -> None:
    histories = known(side)
    scores = ask(model, side, histories)
    model.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert loaded.fold_in == model.fold_in
    np.testing.assert_array_equal(ask(model, side, histories), scores)
    np.testing.assert_array_equal(ask(loaded, side, histories), scores)


def test_works_where_gradients_are_off(model: NeuralModel, side: str) -> None:
    expected = ask(model, side, known(side))
    with torch.no_grad():
        np.testing.assert_array_equal(ask(model, side, known(side)), expected)


def test_no_history_gets_the_share_of_positives(model: NeuralModel, side: str) -> None:
    histories = known(side)
    unknown = csr_matrix(
        ([1.0], ([1], [histories.shape[1] - 1])), (2, histories.shape[1])
    )  # what nobody else likes
    np.testing.assert_allclose(
        ask(model, side, unknown), np.tile(histories.toarray().mean(axis=0), (2, 1)), atol=1e-6
    )


@pytest.mark.parametrize("method", ["row_map", "row_steps"])
def test_a_dislike_takes_the_disliked_down(trained: NeuralModel, method: str) -> None:
    trained.fold_in = METHODS[method]
    liked = csr_matrix(([1.0, 1.0], ([0, 0], [0, 1])), (1, 30))
    disliked = csr_matrix(([1.0, 1.0, -1.0, -1.0, -1.0], ([0] * 5, [0, 1, 2, 4, 6])), (1, 30))
    before, after = (trained.score_histories(histories)[0] for histories in (liked, disliked))
    assert (after[[2, 4, 6]] - after.mean()).mean() < (
        before[[2, 4, 6]] - before.mean()
    ).mean() - 0.01


def test_new_users_are_told_apart_by_their_taste(model: NeuralModel) -> None:
    """A few likes are enough to recommend mostly items of that taste."""
    histories = csr_matrix(([1.0] * 8, ([0] * 4 + [1] * 4, [2, 4, 8, 10, 3, 5, 7, 9])), (2, 30))
    items, _ = top_k(model.score_histories(histories), 8, histories)
    shares = (items % 2 == np.array([[0], [1]])).mean(axis=1)
    assert shares.min() >= 0.75


def test_neighbor_methods_by_hand(trained: NeuralModel) -> None:
    positives = part(tastes()).positives
    history = positives[3] + positives[5]
    history.data[:] = 1
    X = positives.toarray()[:-1]
    cosines = X @ history.toarray()[0] / np.linalg.norm(X, axis=1) / np.sqrt(history.nnz)
    best = np.argsort(-cosines, kind="stable")[:4]
    weights = cosines[best] / cosines[best].sum()
    trained.fold_in = NeighborScores(num_neighbors=4)
    np.testing.assert_allclose(
        trained.score_histories(history)[0], weights @ trained.score(best), atol=1e-5
    )
    trained.fold_in = NeighborVectors(num_neighbors=4)
    net = trained._net
    row = torch.from_numpy(weights).float() @ net.user_embedding.weight.detach()[best]
    expected = net.head(row.expand(30, -1), net.item_embedding.weight).detach()
    np.testing.assert_allclose(trained.score_histories(history)[0], expected, atol=1e-5)


def test_the_map_is_the_ridge_regression_of_vectors_on_histories(trained: NeuralModel) -> None:
    histories = known("users")
    X = histories.toarray()[:-1]
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    vectors = trained._net.user_embedding.weight.detach().numpy()[:-1]
    mean = vectors.mean(axis=0)
    weights = np.linalg.solve(X.T @ X + 0.1 * np.eye(30), X.T @ (vectors - mean))
    trained.fold_in = RowMap(map_l2=0.1)
    with torch.no_grad():
        expected = trained._net.score_items(torch.from_numpy(mean + X @ weights).float())
    np.testing.assert_allclose(trained.score_histories(histories)[:-1], expected, atol=1e-4)


def test_row_steps_take_the_loss_of_the_whole_row_down(trained: NeuralModel) -> None:
    """Many steps on every cell end where no direction lowers the row's loss."""
    histories = known("users")[:6]
    targets = torch.from_numpy(histories.toarray())
    losses = []
    for steps in (1, 10, 400):
        trained.fold_in = RowSteps(
            map_l2=0.1, steps=steps, lr=0.02, l2=0.0, shrink=0.0, num_zeros=30
        )
        losses.append(
            float(trained.loss(torch.from_numpy(trained.score_histories(histories)), targets))
        )
    assert losses[0] > losses[1] > losses[2]
    own = trained.loss(torch.from_numpy(trained.score(np.arange(6))), targets)
    assert losses[2] <= float(own) + 1e-4


def test_l2_holds_a_row_at_its_start(trained: NeuralModel) -> None:
    histories = known("users")[:6]
    trained.fold_in = RowMap(map_l2=0.1)
    start = trained.score_histories(histories)
    distances = []
    for l2 in (0.0, 0.1, 1e6):
        trained.fold_in = RowSteps(map_l2=0.1, steps=100, lr=0.01, l2=l2, shrink=0.0, num_zeros=30)
        distances.append(np.abs(trained.score_histories(histories) - start).mean())
    assert distances[0] > distances[1] > distances[2]


def test_a_short_history_stays_nearer_to_its_start(trained: NeuralModel) -> None:
    """Of n entries n / (n + shrink) of the way is kept, which the layer before the ReLU shows."""
    histories = known("users")[:6]
    rows = {}

    def catch(row: torch.Tensor, item_vectors: torch.Tensor | None = None) -> torch.Tensor:
        rows[trained.fold_in] = row
        return row @ torch.ones(row.shape[1], 30)

    methods = [
        RowMap(map_l2=0.1),
        *(
            RowSteps(map_l2=0.1, steps=20, lr=0.03, l2=0.0, shrink=shrink, num_zeros=30)
            for shrink in (0.0, 5.0)
        ),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trained._net, "score_items", catch)
        for method in methods:
            trained.fold_in = method
            trained.score_histories(histories)
    start, whole, shrunk = (rows[method] for method in methods)
    lengths = torch.from_numpy(np.diff(histories.indptr))[:, None]
    torch.testing.assert_close(
        shrunk - start, (whole - start) * lengths / (lengths + 5), rtol=0, atol=1e-6
    )
    assert (whole - start).abs().max() > 0.1


def test_any_net_with_two_embeddings_and_a_head_will_do() -> None:
    class Product(Net):
        def __init__(self) -> None:
            super().__init__()
            generator = torch.Generator().manual_seed(0)
            self.user_embedding, self.item_embedding = (
                torch.nn.Embedding(39, 4),
                torch.nn.Embedding(30, 4),
            )
            for embedding in (self.user_embedding, self.item_embedding):
                torch.nn.init.normal_(embedding.weight, generator=generator)

        def head(self, user_vectors: torch.Tensor, item_vectors: torch.Tensor) -> torch.Tensor:
            return (user_vectors * item_vectors).sum(dim=1)

    net = Product()
    loss = build("recipe_net").loss
    positives = known("users")[:39]
    histories = known("users")[:5]
    rows = RowSteps(map_l2=0.1, steps=2000, lr=0.02, l2=0.0, shrink=0.0, num_zeros=30)
    scores = fold_in.score_by_history(rows, Side(net, loss, NeighborIndex(positives)), histories)
    V = net.item_embedding.weight.detach().numpy()
    least_squares = histories.toarray() @ V @ np.linalg.inv(V.T @ V) @ V.T
    np.testing.assert_allclose(scores, least_squares, atol=1e-3)


def test_says_before_fit_that_it_has_learnt_nothing(side: str) -> None:
    with pytest.raises(NotFittedError, match="call fit, or load"):
        ask(build("recipe_net"), side, known(side))


def test_a_second_fit_forgets_the_neighbours_of_the_first() -> None:
    histories = known("users")
    once, twice = build("recipe_net"), build("recipe_net")
    twice.fit(part(tastes(40, 30, seed=5)))
    twice.score_histories(histories)
    for model in (once, twice):
        model.fit(part(tastes()), FitOptions(seed=3))
    np.testing.assert_array_equal(twice.score_histories(histories), once.score_histories(histories))


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (
            NeighborScores,
            {"num_neighbors": 0},
            "fold_in.num_neighbors must be a whole number of at least 1, not 0",
        ),
        (NeighborVectors, {"num_neighbors": 2.5}, "fold_in.num_neighbors"),
        (RowMap, {"map_l2": 0}, "fold_in.map_l2 must be a number above 0"),
        (RowSteps, {"map_l2": -1}, "fold_in.map_l2"),
        (RowSteps, {"steps": 0}, "fold_in.steps"),
        (RowSteps, {"lr": 0}, "fold_in.lr must be a number above 0"),
        (RowSteps, {"l2": -0.1}, "fold_in.l2 must be a number at least 0"),
        (RowSteps, {"shrink": -1}, "fold_in.shrink must be a number at least 0"),
        (RowSteps, {"num_zeros": 0}, "fold_in.num_zeros"),
    ],
)
def test_refuses_impossible_settings_by_name(kind: type, changes: dict, message: str) -> None:
    whole = {
        "num_neighbors": 10,
        "map_l2": 1.0,
        "steps": 3,
        "lr": 0.1,
        "l2": 0.0,
        "shrink": 1.0,
        "num_zeros": 100,
    }
    settings = {field.name: whole[field.name] for field in fields(kind)}
    with pytest.raises(ConfigError, match=message):
        kind(**settings | changes)
