"""Examples: every known cell, or positives with zeros that are drawn exactly."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from recsweep import config
from recsweep.data import examples as module
from recsweep.data.examples import AllCells, Block, Examples, Listwise, SampledNegatives
from recsweep.data.interactions import Part, array_digest
from recsweep.errors import ConfigError, DataError

CONF = Path(__file__).parents[2] / "conf"


def positives_only(matrix) -> Part:
    users, items = np.nonzero(matrix)
    return Part(users, items, np.ones(len(users)), *np.shape(matrix), enumerates_cells=False)


def enumerated(matrix, seed: int = 0) -> Part:
    """A part of the cells that are 0 or 1, in random order; cells that are -1 belong to another
    part."""
    users, items = np.nonzero(np.array(matrix) >= 0)
    order = np.random.default_rng(seed).permutation(len(users))
    users, items = users[order], items[order]
    return Part(
        users, items, np.array(matrix)[users, items], *np.shape(matrix), enumerates_cells=True
    )


def random_matrix(seed: int, low: int) -> np.ndarray:
    """Rows of every density, none and all positive among them."""
    rng = np.random.default_rng(seed)
    matrix = (rng.random((12, 17)) < np.linspace(0, 1, 12)[:, None]).astype(int)
    return np.where(rng.random(matrix.shape) < 0.3, low, matrix)


MATRIX = [[1, 0, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]]
RNG = np.random.default_rng


def drawn(examples: Examples, part: Part, rng: np.random.Generator) -> Block:
    """The blocks of one epoch put together."""
    users, items, targets = zip(*examples.draw(part, rng), strict=True)
    block = np.concatenate(users), np.concatenate(items), np.concatenate(targets)
    assert examples.num_examples(part) == len(block[0])
    return block


def test_all_cells_of_a_grid():
    users, items, targets = drawn(AllCells(max_cells=8), positives_only(MATRIX), RNG(0))
    assert (
        targets.reshape(2, 4).tolist() == MATRIX[:2]
    )  # user 2 has no positive: nothing is known of them
    assert users.tolist() == [0] * 4 + [1] * 4
    assert items.tolist() == [0, 1, 2, 3] * 2
    assert (users.dtype, items.dtype, targets.dtype) == (np.int32, np.int32, np.float32)


def test_all_cells_of_a_part_that_enumerates_them():
    part = enumerated([[1, -1, 0], [0, 1, -1]])
    users, items, targets = drawn(AllCells(max_cells=4), part, RNG(0))
    assert np.array_equal(users, part.users)
    assert np.array_equal(items, part.items)
    assert np.array_equal(targets, part.targets)
    targets[0] = 5  # the caller's own
    assert part.targets.max() == 1


@pytest.mark.parametrize(
    ("part", "cells"),
    [(positives_only(MATRIX), 8), (enumerated(MATRIX), 12)],
    ids=["grid", "enumerated"],
)
def test_all_cells_are_the_same_each_time_and_limited(part, cells):
    first, second = (drawn(AllCells(max_cells=12), part, RNG(seed)) for seed in (0, 1))
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))
    limit = cells - 1
    with pytest.raises(
        DataError,
        match=rf"on {cells} cells, and examples\.max_cells={limit}\. Take examples=sampled",
    ):
        AllCells(max_cells=limit).draw(part, RNG(0))


@pytest.mark.parametrize("make", [positives_only, enumerated])
def test_positives_first_then_negatives_of_the_same_users(make):
    users, items, targets = drawn(SampledNegatives(num_negatives=3), make(MATRIX), RNG(0))
    assert users[:6].tolist() == [0, 0, 1, 1, 1, 1]
    assert items[:6].tolist() == [0, 2, 0, 1, 2, 3]
    assert targets.tolist() == [1] * 6 + [0] * 6  # user 1 has no zeros, user 2 no positives
    assert set(users[6:].tolist()) == {0}
    assert set(items[6:].tolist()) <= {1, 3}
    assert (users.dtype, items.dtype, targets.dtype) == (np.int32, np.int32, np.float32)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("make", "low"), [(positives_only, 0), (enumerated, -1)], ids=["grid", "enumerated"]
)
def test_negatives_are_zeros_and_reach_each_of_them(make, low, seed):
    matrix = random_matrix(seed, low)
    users, items, targets = drawn(SampledNegatives(num_negatives=400), make(matrix), RNG(seed))
    negatives = set(zip(users[targets == 0].tolist(), items[targets == 0].tolist(), strict=True))
    has_positives = (matrix == 1).any(axis=1)
    zeros = {
        (user, item)
        for user, item in zip(*np.nonzero(matrix == 0), strict=True)
        if has_positives[user]
    }
    assert negatives == zeros
    positives = (matrix == 1).sum(axis=1)
    drawing = np.where((matrix == 0).any(axis=1), positives, 0)
    assert np.bincount(users[targets == 0], minlength=12).tolist() == (400 * drawing).tolist()


@pytest.mark.parametrize("make", [positives_only, enumerated])
def test_negatives_are_uniform_over_a_users_zeros(make):
    matrix = np.zeros((2, 10), dtype=int)
    matrix[0, [0, 3, 4, 9]] = 1
    matrix[1, 5] = 1
    users, items, targets = drawn(SampledNegatives(num_negatives=5000), make(matrix), RNG(0))
    for user, zeros in ((0, 6), (1, 9)):
        counts = np.bincount(items[(users == user) & (targets == 0)], minlength=10)
        draws = counts.sum()
        assert counts[matrix[user] == 1].sum() == 0
        assert np.abs(counts[matrix[user] == 0] - draws / zeros).max() < 4.5 * np.sqrt(
            draws / zeros
        )


@pytest.mark.parametrize("make", [positives_only, enumerated])
def test_a_list_is_a_positive_and_zeros_of_the_same_user(make):
    users, items, targets = drawn(Listwise(num_negatives=3), make(MATRIX), RNG(0))
    assert users.tolist() == [0, 0]  # user 1 has no zeros, user 2 no positives
    assert items[:, 0].tolist() == [0, 2]
    assert set(items[:, 1:].ravel().tolist()) <= {1, 3}
    assert targets.tolist() == [[1, 0, 0, 0]] * 2
    assert (users.dtype, items.dtype, targets.dtype) == (np.int32, np.int32, np.float32)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("make", "low"), [(positives_only, 0), (enumerated, -1)], ids=["grid", "enumerated"]
)
def test_lists_hold_every_positive_once_and_reach_each_zero(make, low, seed):
    matrix = random_matrix(seed, low)
    part = make(matrix)
    users, items, _ = drawn(Listwise(num_negatives=400), part, RNG(seed))
    asked = (matrix == 1).any(axis=1) & (matrix == 0).any(axis=1)
    positives, zeros = np.zeros((2, *matrix.shape), dtype=int)
    np.add.at(positives, (users, items[:, 0]), 1)
    np.add.at(zeros, (users[:, None], items[:, 1:]), 1)
    assert np.array_equal(positives, (matrix == 1) & asked[:, None])
    assert np.array_equal(zeros > 0, (matrix == 0) & asked[:, None])
    expected = 400 * positives.sum(axis=1) / np.maximum(1, (matrix == 0).sum(axis=1))  # each zero's
    off = np.abs(zeros - expected[:, None]) * (matrix == 0)
    assert (off <= 5 * np.sqrt(expected)[:, None]).all()


def test_no_lists_where_nobody_has_a_positive_and_a_zero():
    for part in (positives_only(np.ones((2, 3))), enumerated(np.zeros((2, 3), dtype=int))):
        with pytest.raises(DataError, match=r"no user of the training part has both\. Take exam"):
            Listwise(num_negatives=2).draw(part, RNG(0))


@pytest.mark.parametrize("kind", [SampledNegatives, Listwise])
def test_negatives_are_fresh_each_epoch_and_fixed_by_the_seed(kind):
    part, sampled = positives_only(random_matrix(0, 0)), kind(num_negatives=4)
    rng = RNG(0)
    first, second = drawn(sampled, part, rng), drawn(sampled, part, rng)
    assert not np.array_equal(first[1], second[1])
    assert np.array_equal(drawn(sampled, part, RNG(0))[1], first[1])
    assert (sampled.redrawn, AllCells(max_cells=1).redrawn) == (True, False)


def test_no_user_has_zeros():
    for part in (positives_only(np.ones((2, 3))), enumerated(np.ones((2, 3), dtype=int))):
        users, items, targets = drawn(SampledNegatives(num_negatives=2), part, RNG(0))
        assert len(users) == len(items) == 6
        assert targets.tolist() == [1] * 6


def test_keys_of_large_matrices_do_not_overflow():
    """60,000 x 60,000 cells are more than 32 bits count."""
    part = Part(
        np.array([0, 59_999]),
        np.array([59_999, 0]),
        np.ones(2),
        60_000,
        60_000,
        enumerates_cells=False,
    )
    users, items, targets = drawn(SampledNegatives(num_negatives=1000), part, RNG(0))
    last = items[(users == 59_999) & (targets == 0)]
    assert 1 <= last.min() <= last.max() <= 59_999
    assert last.mean() == pytest.approx(30_000, abs=5 * 17_321 / np.sqrt(1000))


@pytest.mark.parametrize(
    ("examples", "make", "digest"),
    [
        (AllCells(max_cells=10**6), positives_only, "10d50986b30f20a9"),
        (AllCells(max_cells=10**6), enumerated, "b4a15f766d467948"),
        (SampledNegatives(num_negatives=4), positives_only, "4b6724e6db72d33d"),
        (SampledNegatives(num_negatives=4), enumerated, "51fdd2685393b227"),
    ],
)
@pytest.mark.parametrize("drawn_at_once", [10**6, 7])
def test_one_block_is_what_it_was_before_there_were_blocks(
    examples, make, digest, drawn_at_once, monkeypatch
):
    """Of one seed each run draws the same, from version to version, however much at a time."""
    monkeypatch.setattr(module, "DRAWN_AT_ONCE", drawn_at_once)
    (block,) = examples.draw(make(random_matrix(0, 0)), RNG([3, 1, 5]))
    assert array_digest(block) == digest


@pytest.mark.parametrize("make", [positives_only, enumerated])
@pytest.mark.parametrize(
    "examples", [AllCells(max_cells=10**6), SampledNegatives(num_negatives=3)], ids=["all", "some"]
)
def test_several_blocks_hold_the_examples_of_one(examples, make, monkeypatch):
    part = make(random_matrix(0, 0))
    whole = drawn(examples, part, RNG(0))
    monkeypatch.setattr(module, "EXAMPLES_AT_ONCE", 60)
    lengths = [len(users) for users, _, _ in examples.draw(part, RNG(0))]
    assert len(lengths) > 1
    assert max(lengths) <= 100  # who is in which is drawn, and a user's grid is not parted
    several = drawn(examples, part, RNG(0))
    assert array_digest(several) == array_digest(drawn(examples, part, RNG(0)))
    assert array_digest(several) != array_digest(drawn(examples, part, RNG(1)))
    assert np.array_equal(np.bincount(whole[0]), np.bincount(several[0]))
    for target in (0, 1) if isinstance(examples, AllCells) else (1,):
        one, other = (in_order(block, target) for block in (whole, several))
        assert np.array_equal(one, other)


def in_order(block: Block, target: int) -> np.ndarray:
    users, items, targets = block
    chosen = targets == target
    return np.sort(users[chosen].astype(np.int64) * 1000 + items[chosen])


def test_negatives_of_one_positive_that_do_not_fit_are_refused(monkeypatch):
    monkeypatch.setattr("recsweep.memory.available_bytes", lambda: 10**9)
    part = positives_only(random_matrix(0, 0))
    sampled = SampledNegatives(num_negatives=1_000_000)
    assert 24 * sampled.num_examples(part) > 1e9  # in blocks that fit
    sampled.draw(part, RNG(0))
    many = SampledNegatives(num_negatives=10**9)
    with pytest.raises(ConfigError, match=r"Drawing examples\.num_negatives=10+ zeros for each of"):
        many.draw(part, RNG(0))
    with pytest.raises(ConfigError, match=r"Drawing lists with examples\.num_negatives=10+ zeros"):
        Listwise(num_negatives=10**9).draw(part, RNG(0))


def test_each_positive_is_in_a_block_at_random_with_its_negatives(monkeypatch):
    monkeypatch.setattr(module, "EXAMPLES_AT_ONCE", 60)
    part, sampled = positives_only(random_matrix(0, 0)), SampledNegatives(num_negatives=2)
    by_seed = []
    for seed in (0, 1):
        blocks = list(sampled.draw(part, RNG(seed)))
        for users, _, targets in blocks:
            zeros = np.bincount(users[targets == 0], minlength=12)
            ones = np.bincount(users[targets == 1], minlength=12)
            assert zeros[:11].tolist() == (2 * ones[:11]).tolist()  # the last one likes everything
        by_seed.append([in_order(block, 1).tolist() for block in blocks])
        positives = [cell for block in by_seed[-1] for cell in block]
        assert len(positives) == len(set(positives)) == part.num_positives
    assert by_seed[0] != by_seed[1]


@pytest.mark.parametrize("make", [positives_only, enumerated])
def test_each_list_is_in_one_block_at_random(make, monkeypatch):
    part, lists = make(random_matrix(0, 0)), Listwise(num_negatives=2)
    whole = drawn(lists, part, RNG(0))
    monkeypatch.setattr(module, "EXAMPLES_AT_ONCE", 60)
    by_seed = []
    for seed in (0, 0, 1):
        blocks = list(lists.draw(part, RNG(seed)))
        assert 1 < len(blocks) == -(-whole[1].size // 60)
        by_seed.append([list(zip(users, items[:, 0], strict=True)) for users, items, _ in blocks])
        found = sorted(pair for block in by_seed[-1] for pair in block)
        assert found == list(zip(whole[0], whole[1][:, 0], strict=True))
    assert by_seed[0] == by_seed[1] != by_seed[2]


@pytest.mark.parametrize(
    "examples",
    [AllCells(max_cells=10**8), SampledNegatives(num_negatives=49), Listwise(num_negatives=49)],
    ids=["all", "some", "lists"],
)
def test_an_epoch_in_blocks_never_stands_in_memory_whole(examples, monkeypatch):
    monkeypatch.setattr(module, "EXAMPLES_AT_ONCE", 100_000)
    monkeypatch.setattr(module, "DRAWN_AT_ONCE", 10_000)
    part = positives_only(np.tile(np.arange(1000) % 50 == 0, (1000, 1)))
    assert part.positives.nnz == 20_000
    tracemalloc.start()
    number = sum(targets.size for _, _, targets in examples.draw(part, RNG(0)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert number == 1_000_000
    assert peak < 40 * 100_000 < 12 * number / 2


@pytest.mark.parametrize(
    "make",
    [
        lambda: AllCells(max_cells=0),
        lambda: SampledNegatives(num_negatives=0),
        lambda: SampledNegatives(num_negatives=1.5),
        lambda: Listwise(num_negatives=0),
    ],
)
def test_impossible_settings(make):
    with pytest.raises(ConfigError, match=r"examples\.\w+ must be a whole number of at least 1"):
        make()


OPTIONS = sorted(
    file for group in ("data", "split", "examples") for file in CONF.glob(f"{group}/*.yaml")
)


@pytest.mark.parametrize("file", OPTIONS, ids=lambda file: f"{file.parent.name}={file.stem}")
def test_each_option_begins_with_its_command_and_can_be_made(file):
    assert file.read_text().startswith("# python train.py ")
    node = config.option(file.parent.name, file.stem)
    instantiate(OmegaConf.merge(node, {"path": "some.csv"} if "path" in node else {}))
