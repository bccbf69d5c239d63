"""How users and items are numbered, and in which order rows stand, is nobody's taste."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from recsweep.data.interactions import Part
from recsweep.data.readers import InteractionFile
from recsweep.models.base import Recommender
from recsweep.models.ials import IALS

from .conftest import MODELS, build, part

BASELINES = [name for name in MODELS if build(name).role == "baseline"]

CUTS = {"knn": "num_neighbors", "item_knn": "num_neighbors", "rp3beta": "top_k"}
"""Settings that keep the first of what may be equal."""


def drawn(seed: int, rarest: float = 0.1) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    """A 0/1 matrix with items from rare ones to those that half like, and which cells are known."""
    rng = np.random.default_rng(seed)
    matrix = (rng.random((24, 18)) < rng.uniform(rarest, 0.5, 18)).astype(np.uint8)
    matrix[:2, 0] = 0, 1  # one of both at least
    known = rng.random(matrix.shape) < 0.8
    known[:2, 0] = True
    return matrix * known, known, rng


def in_any_order(cells: Part, rng: np.random.Generator) -> Part:
    order = rng.permutation(len(cells))
    columns = (cells.users[order], cells.items[order], cells.targets[order])
    return Part(*columns, cells.num_users, cells.num_items, cells.enumerates_cells)


def scores_of(model: Recommender, cells: Part) -> np.ndarray:
    model.fit(cells)
    return model.score(np.arange(cells.num_users))


def tolerance(name: str) -> dict[str, float]:
    """A minimum that is searched for is found to fewer digits."""
    return {"atol": 1e-3 if name == "logistic" else 1e-5}


@pytest.mark.parametrize("name", [name for name in BASELINES if name != "ials"])
@given(seed=st.integers(0, 10**6), enumerates=st.booleans())
@settings(max_examples=10, deadline=None, derandomize=True)
def test_scores_follow_another_numbering(name: str, seed: int, enumerates: bool) -> None:
    matrix, known, rng = drawn(seed)
    users, items = rng.permutation(24), rng.permutation(18)
    renumbered = np.ix_(users, items)
    model, other = build(name), build(name)
    scores = scores_of(model, part(matrix, known if enumerates else None))
    cells = part(matrix[renumbered], known[renumbered] if enumerates else None)
    others = scores_of(other, in_any_order(cells, rng))
    np.testing.assert_allclose(others, scores[renumbered], **tolerance(name))
    if enumerates:  # of positives alone the zeros that calibrate are drawn
        pairs = np.indices((24, 18)).reshape(2, -1)
        np.testing.assert_allclose(
            other.predict(*pairs).reshape(24, 18),
            model.predict(*pairs).reshape(24, 18)[renumbered],
            **tolerance(name),
        )


@given(seed=st.integers(0, 10**6))
@settings(max_examples=4, deadline=None, derandomize=True)
def test_ials_ends_at_one_minimum_from_any_numbering(seed: int) -> None:
    matrix, _, rng = drawn(seed)
    users, items = rng.permutation(24), rng.permutation(18)
    models = [IALS(dim=18, unobserved_weight=0.3, reg=0.05, iterations=40) for _ in range(2)]
    scores = scores_of(models[0], part(matrix))
    others = scores_of(models[1], in_any_order(part(matrix[np.ix_(users, items)]), rng))
    np.testing.assert_allclose(others, scores[np.ix_(users, items)], atol=2e-3)


@pytest.mark.parametrize("name", CUTS)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=10, deadline=None, derandomize=True)
def test_a_cut_hangs_on_the_numbering_at_ties_alone(name: str, seed: int) -> None:
    matrix, _, rng = drawn(seed, rarest=0.3)
    users, items = rng.permutation(24), rng.permutation(18)
    overrides = ["model.normalize=false"]
    whole, cut, other = (
        build(name, *overrides, f"model.{CUTS[name]}={size}") for size in (100, 4, 4)
    )
    for model in (whole, cut):
        model.fit(part(matrix))
    other.fit(in_any_order(part(matrix[np.ix_(users, items)]), rng))
    renumbered = users if name == "knn" else items
    kept, others = (model._weights.toarray() for model in (cut, other))
    kept = kept[np.ix_(renumbered, renumbered)]
    weights = whole._weights.toarray()[np.ix_(renumbered, renumbered)]
    expected, certain = untied(weights)
    if name == "rp3beta":  # its columns are cut too, of what the rows have left
        assume(certain.all())
        expected, certain = untied(expected.T)
        kept, others = kept.T, others.T
    assert certain.any()
    np.testing.assert_allclose(others[certain], expected[certain], atol=1e-6)
    np.testing.assert_allclose(kept[certain], expected[certain], atol=1e-6)


def untied(weights: np.ndarray, size: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """The `size` largest of each row, others 0, and in which rows the cut meets no tie."""
    ordered = -np.sort(-weights, axis=1)
    certain = (ordered[:, size - 1] > ordered[:, size] * (1 + 1e-5)) | (ordered[:, size] == 0)
    return np.where(weights >= ordered[:, size - 1 : size], weights, 0), certain


def test_rows_that_stand_twice_and_in_any_order_are_the_same_data(tmp_path: Path) -> None:
    matrix, _, rng = drawn(3)
    pairs = np.argwhere(matrix)
    files = {"once": pairs, "twice": rng.permutation(np.concatenate([pairs, pairs[::2]]))}
    digests = set()
    for name, rows in files.items():
        path = tmp_path / f"{name}.csv"
        path.write_text("user,item\n" + "".join(f"u{u},i{i}\n" for u, i in rows))
        digests.add(InteractionFile(name="likes", path=str(path)).load().digest)
    assert len(digests) == 1
