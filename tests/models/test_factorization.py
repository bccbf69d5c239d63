"""Factorization machines, by hand."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from sklearn.linear_model import Ridge
from sklearn.preprocessing import normalize

from recsweep.errors import ConfigError
from recsweep.models.base import FitOptions
from recsweep.models.deep import deepfm
from recsweep.models.fold_in import NeighborScores, RowMap, RowSteps
from recsweep.models.nets.factorization import FM, DeepFM, Fields
from recsweep.models.nets.tower import Dropout
from recsweep.models.saved import load_model

from .conftest import build, features, part, tastes

EVERYONE = np.arange(40)


def count(net: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_has_as_many_parameters_as_by_hand() -> None:
    assert count(FM(1000, 1000, dim=16, bias=True)) == 34_001
    assert count(FM(1000, 1000, dim=64, bias=False)) == 128_000
    deep = DeepFM(1000, 1000, dim=16, hidden=[64, 32], dropout=0.1)
    assert count(deep) == 34_000 + (32 * 64 + 64) + (64 * 32 + 32) + 33 == 38_225


def test_has_a_row_more_for_each_value_of_a_feature() -> None:
    tables = features()  # 2 sides and 10 bins of ages; 4 genres and 1 country
    assert [table.matrix.shape[1] for table in tables.values()] == [12, 5]
    net = FM(40, 30, dim=3, bias=True, **tables)
    assert count(net) == (40 + 30 + 12 + 5) * 4 + 1
    assert all(name.endswith(("weight", "bias")) for name in net.state_dict())
    deep = DeepFM(40, 30, dim=3, hidden=[5], dropout=0.0, **tables)
    assert count(deep) == (40 + 30 + 12 + 5) * 4 + (6 * 3 * 5 + 5) + 5 + 1


def test_is_a_dot_product_and_biases() -> None:
    net = FM(2, 3, dim=2, bias=True)
    net.load_state_dict(
        {
            "user_embedding.weight": torch.tensor([[1.0, 2.0, 0.5], [0.0, -1.0, 0.25]]),
            "item_embedding.weight": torch.tensor([[3.0, 1.0, 4.0], [1.0, 1.0, 0.0], [2.0, 0, 1]]),
            "bias": torch.tensor(-1.0),
        }
    )
    expected = [
        [5 + 0.5 + 4 - 1, 3 + 0.5 + 0 - 1, 2 + 0.5 + 1 - 1],
        [-1 + 0.25 + 4 - 1, -1 + 0.25 + 0 - 1, 0 + 0.25 + 1 - 1],
    ]
    everyone, items = torch.arange(2), torch.arange(3).expand(2, 3)
    np.testing.assert_allclose(net(everyone, items).detach(), expected)
    np.testing.assert_allclose(net.score_items(net.user_vectors()), expected)


@pytest.mark.parametrize("bias", [True, False])
def test_starts_as_the_papers_do(bias: bool) -> None:
    net = FM(3000, 2000, dim=16, bias=bias, generator=torch.Generator().manual_seed(0))
    for weight in (net.user_embedding.weight, net.item_embedding.weight):
        spread = 0.1 if bias else np.sqrt(2 / (len(weight) + 16))
        assert weight[:, :16].std().item() == pytest.approx(spread, rel=0.02)
        assert not weight[:, 16:].any()


def fields_of(net: FM, place: int, *, of_items: bool) -> np.ndarray:
    """The rows [v ; b] of all fields of one user or item, (num_fields, width)."""
    embedding, fields = net._side(of_items)
    rows = [embedding.weight[place].detach().numpy()]
    if fields is not None:
        table = features()["item_features" if of_items else "user_features"]
        values, start = fields.embedding.weight.detach().numpy(), 0
        for field in table.fields:
            of_field = table.matrix[place].toarray()[0, start : start + field.size]
            rows.append(of_field @ values[start : start + field.size])
            start += field.size
    return np.stack(rows)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("sides", [["user_features", "item_features"], ["item_features"]])
def test_with_features_it_sums_over_all_pairs_of_fields(sides: list[str], bias: bool) -> None:
    tables = {name: table for name, table in features().items() if name in sides}
    net = FM(40, 30, dim=3, bias=bias, **tables).double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter)
    expected = np.zeros((40, 30))
    for user, item in np.ndindex(40, 30):
        both = [fields_of(net, user, of_items=False), fields_of(net, item, of_items=True)]
        rows = np.concatenate(both)
        pairs = combinations(rows[:, :3], 2)
        expected[user, item] = sum(v @ w for v, w in pairs) + rows[:, 3:].sum()
        expected[user, item] += net.bias.item() if bias else 0.0
    outputs = net(torch.arange(40), torch.arange(30).expand(40, 30)).detach()
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(net.score_items(net.user_vectors()), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("tables", [{}, features()], ids=["alone", "with features"])
def test_deepfm_adds_a_network_on_all_fields_side_by_side(tables: dict) -> None:
    net = DeepFM(40, 30, dim=3, hidden=[6, 4], dropout=0.5, **tables).double().eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter)
    weights = {name: weight.numpy() for name, weight in net.state_dict().items()}
    for user, item in [(0, 0), (7, 3), (39, 12), (5, 29)]:
        both = [fields_of(net, user, of_items=False), fields_of(net, item, of_items=True)]
        hidden = np.concatenate([rows[:, :3].ravel() for rows in both])
        for layer in ("tower.first", "tower.rest.0"):
            hidden = weights[f"{layer}.weight"] @ hidden + weights[f"{layer}.bias"]
            hidden = np.maximum(hidden, 0)
        deep = weights["output.weight"][0] @ hidden
        pair = torch.tensor([user]), torch.tensor([item])
        shallow = FM.head(net, net.user_vectors(pair[0]), net.item_vectors(pair[1]))
        assert net(*pair).item() == pytest.approx(shallow.item() + deep)


def test_what_has_no_features_is_its_own_row_alone() -> None:
    net = FM(40, 30, dim=3, bias=True, **features())
    vectors, own = net.user_vectors(), net.user_embedding.weight
    torch.testing.assert_close(vectors[-1], own[-1])
    assert (vectors[:-1] != own[:-1]).any(dim=1).all()


def test_asked_for_many_rows_it_makes_each_once() -> None:
    net = FM(40, 30, dim=3, bias=True, **features()).double()
    few, many = torch.tensor([3, 29]), torch.arange(60).remainder(30).view(20, 3)
    torch.testing.assert_close(net.item_vectors(few), net.item_vectors()[few])
    torch.testing.assert_close(net.item_vectors(many), net.item_vectors()[many])


def test_a_longer_list_than_any_in_training_is_a_mean_too() -> None:
    table = features()["item_features"]
    net = FM(40, 30, dim=3, bias=True, item_features=table).double()
    new = table.encode([{"genres": "war|drama|comedy|romance"}, {"genres": ["war"]}, {}])
    vectors = net.item_fields.of_rows(new)
    assert vectors.shape == (3, 2, 4)
    places = table.fields[0].categories
    genres = net.item_fields.embedding.weight[: len(places)]
    torch.testing.assert_close(vectors[0, 0], genres.mean(dim=0))
    torch.testing.assert_close(vectors[1, 0], genres[places.index("war")])
    assert not vectors[2].any()


def test_dropout_draws_the_same_from_the_same_seed_and_scales_what_it_keeps() -> None:
    inputs = torch.full((300, 101), 3.0)
    once, twice = (Dropout(0.2, torch.Generator().manual_seed(4)) for _ in range(2))
    outputs = once(inputs)
    torch.testing.assert_close(twice(inputs), outputs)
    assert (once(inputs) != outputs).any()
    assert sorted(outputs.unique().tolist()) == [0.0, pytest.approx(3 / 0.8)]
    assert (outputs == 0).float().mean().item() == pytest.approx(0.2, abs=0.01)
    assert once.eval()(inputs) is inputs


@pytest.mark.parametrize("name", ["fm", "deepfm"])
class TestNewOnesWithFeatures:
    """An item of which nothing but features is known is told by them."""

    def trained(self, name: str) -> object:
        model = build(name, "trainer.max_epochs=15", "optimizer.lr=0.02")
        model.fit(part(tastes()), FitOptions(seed=1, **features()))
        return model

    def test_features_speak_where_there_is_no_history(self, name: str, tmp_path: Path) -> None:
        model = self.trained(name)
        nobody = csr_matrix((3, 40), dtype=np.float32)
        new = features()["item_features"].encode([{"genres": "comedy"}, {"genres": "war"}, {}])
        scores = model.score_new_items(nobody, new)
        net = model._net
        with torch.no_grad():
            expected = net.pairwise(net.user_vectors(), net.from_features(new, of_items=True)).T
        np.testing.assert_allclose(scores[:2], expected[:2], atol=1e-5)
        np.testing.assert_allclose(scores[2], tastes().mean(axis=1), atol=1e-6)  # the shares
        odd = np.arange(40) % 2 == 1  # who likes comedies
        assert scores[0, odd][:-1].mean() > scores[0, ~odd].mean() + 0.5
        assert scores[1, ~odd].mean() > scores[1, odd][:-1].mean() + 0.5
        np.testing.assert_array_equal(
            model.score_new_items(nobody),
            model.score_new_items(nobody, csr_matrix(new.shape, dtype=np.float32)),
        )  # without either: the shares
        model.save(tmp_path / "model")
        loaded = load_model(tmp_path / "model")
        np.testing.assert_array_equal(loaded.score_new_items(nobody, new), scores)
        np.testing.assert_array_equal(loaded.score(EVERYONE), model.score(EVERYONE))

    @pytest.mark.parametrize(
        "method",
        [
            RowMap(map_l2=0.1),
            RowSteps(map_l2=0.1, steps=20, lr=0.03, l2=0.03, shrink=1.0, num_zeros=20),
        ],
        ids=["row_map", "row_steps"],
    )
    def test_a_history_speaks_beside_them(self, name: str, method: object) -> None:
        model = self.trained(name)
        model.fold_in = method
        own, known = model.score(EVERYONE)[:-1], part(tastes()).positives[:-1]
        table = features()["user_features"].matrix[:-1]
        scores = model.score_histories(known, table)
        correlations = [np.corrcoef(*pair)[0, 1] for pair in zip(own, scores, strict=True)]
        assert np.median(correlations) > 0.9
        features_alone = model.score_histories(csr_matrix(known.shape, dtype=np.float32), table)
        assert np.abs(scores - features_alone).max() > 0.1
        # of whom no features are known, the history says it all
        nothing = csr_matrix(table.shape, dtype=np.float32)
        np.testing.assert_allclose(
            model.score_histories(known, nothing), model.score_histories(known), atol=1e-5
        )

    def test_a_map_is_the_ridge_regression_on_both(self, name: str) -> None:
        model = self.trained(name)
        model.fold_in = RowMap(map_l2=0.1)
        table, known = features()["user_features"].matrix[:-1], part(tastes()).positives[:-1]
        rows = model._net.user_vectors().detach().numpy()[:-1]
        both = np.hstack([normalize(known.toarray()), normalize(table.toarray())])
        mean = rows.mean(axis=0)
        ridge = Ridge(alpha=0.1, fit_intercept=False).fit(both, rows - mean)
        vectors = torch.from_numpy((mean + ridge.predict(both[:5])).astype(np.float32))
        np.testing.assert_allclose(
            model.score_histories(known[:5], table[:5]),
            model._net.score_items(vectors).numpy(),
            atol=1e-4,
        )

    def test_neighbours_are_found_without_them(self, name: str) -> None:
        model = self.trained(name)
        model.fold_in = NeighborScores(num_neighbors=5)
        known, table = part(tastes()).positives[:9], features()["user_features"].matrix[:9]
        np.testing.assert_array_equal(
            model.score_histories(known, table), model.score_histories(known)
        )

    def test_a_net_that_was_trained_without_leaves_them_alone(self, name: str) -> None:
        model = build(name)
        model.fit(part(tastes()))
        known, table = part(tastes()).positives[:9], features()["user_features"].matrix[:9]
        np.testing.assert_array_equal(
            model.score_histories(known, table), model.score_histories(known)
        )

    def test_weights_that_do_not_fit_are_refused_before_they_are_made(self, name: str) -> None:
        model = build(name, "model.dim=10000000000")
        with pytest.raises(ConfigError, match=f"The weights of {name} .dim=10000000000"):
            model.fit(part(tastes()), FitOptions(**features()))


def test_mf_takes_no_features() -> None:
    assert [build(name).takes_features for name in ("fm", "deepfm", "mf")] == [True, True, False]
    assert [build(name).kind for name in ("fm", "mf")] == ["fm", "mf"]
    assert build("deepfm").label == "deepfm 16/64-32/0.1 bce adam"


def test_a_field_without_any_value_is_no_vector() -> None:
    table = features()["item_features"]
    empty = Fields(table, torch.nn.Embedding(5, 4))
    assert not empty.of_rows(csr_matrix((2, 5), dtype=np.float32)).any()


@pytest.mark.parametrize("hidden", [64, [], [64, 0], "64", [1.5]])
def test_widths_are_a_list_of_whole_numbers(hidden: object) -> None:
    with pytest.raises(ConfigError, match=r"model\.hidden(=\[\] leaves| must be)"):
        deepfm(
            dim=16,
            hidden=hidden,  # type: ignore[arg-type]
            dropout=0.1,
            features=True,
            loss=None,  # type: ignore[arg-type]
            optimizer=None,  # type: ignore[arg-type]
            trainer=None,  # type: ignore[arg-type]
            examples=None,  # type: ignore[arg-type]
            fold_in=None,  # type: ignore[arg-type]
        )
