"""Raw ids and back, frozen arrays, and digests that the order of rows does not change."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from recsweep.data.interactions import IdMap, Interactions, Part, Split, array_digest
from recsweep.errors import DataError


def some(order=(0, 1, 2, 3), timestamps=(5, 6, 7, 8), item_ids=(1, 2, 3)) -> Interactions:
    order = list(order)
    return Interactions(
        name="some",
        users=np.array([0, 0, 1, 2])[order],
        items=np.array([0, 2, 1, 1])[order],
        user_ids=IdMap(np.array([10, 20, 30]), "user"),
        item_ids=IdMap(np.array(item_ids), "item"),
        timestamps=None if timestamps is None else np.array(timestamps)[order],
    )


def test_whole_numbers_are_found_as_numbers_and_as_text():
    ids = IdMap(np.array([-3, 7, 12]), "user")
    assert [ids.find(raw) for raw in (-3, "-3", 7, "7", 12, 8, "x", "")] == [
        0,
        0,
        1,
        1,
        2,
        None,
        None,
        None,
    ]
    assert len(ids) == 3


def test_texts_are_found_as_text_and_as_numbers():
    ids = IdMap(np.array(["12", "ann", "é"]), "item")
    assert [ids.find(raw) for raw in ("ann", "é", 12, "12", "bob")] == [1, 2, 0, 0, None]


@pytest.mark.parametrize("raw", [3, 3.0, "3", "3.0", " 3", np.int64(3), np.float64(3)])
@pytest.mark.parametrize("ids", [[1, 3], ["ann", "3"], ["ann", "3.0"]])
def test_one_number_written_in_each_way_is_one_id(ids, raw):
    assert IdMap(np.array(ids), "user").find(raw) == 1


@pytest.mark.parametrize(
    "raw", ["007", "+7", "٧", "7.5", 7.5, "", True, None, np.nan, "9" * 5000, "-0"]
)
def test_what_is_another_id_or_none_is_not_found(raw):
    assert IdMap(np.array([0, 1, 7]), "user").find(raw) is None


def test_a_number_of_more_digits_than_python_writes_is_not_found():
    assert IdMap(np.array([0, 1, 7]), "user").find(10**5000) is None


def test_text_is_found_as_it_stands_before_a_number_that_it_means():
    ids = IdMap(np.array(["007", "3", "3.0", "5.0", "5.00", "7", "a "]), "user")
    found = [ids.find(raw) for raw in ("007", "3", 3.0, "3.0", "5.0", "5", 7, "a")]
    assert found == [0, 1, 1, 2, 3, None, 5, 6]  # 5 might be either of two


def test_one_long_text_makes_no_other_longer():
    texts = [*(f"u{place:06}" for place in range(10_000)), "x" * 50_000]
    ids = IdMap(np.array(texts, dtype=np.dtypes.StringDType()), "user")
    assert ids.ids.nbytes < 50 * len(ids)
    assert [ids.find(raw) for raw in ("u000007", texts[-1], "x", " u000007")] == [
        7,
        10_000,
        None,
        7,
    ]


def test_texts_are_named_alike_whatever_holds_them():
    fixed = np.array(["007", "ann", "é"])
    ids = IdMap(fixed, "user").ids
    assert (fixed.dtype.kind, ids.dtype.kind) == ("U", "T")
    assert array_digest([ids]) == array_digest([fixed]) == "89aa5b6297fa0844"


def test_indices_keep_order_and_repetition():
    indices = IdMap(np.array([10, 20, 30]), "user").indices([30, "10", 30])
    assert indices.tolist() == [2, 0, 2]
    assert indices.dtype == np.int32


def test_unknown_ids_are_named_with_the_range_of_known_ones():
    with pytest.raises(
        DataError, match=r"Unknown user id 99, 'x': the 3 known ids run from 10 to 30"
    ):
        IdMap(np.array([10, 20, 30]), "user").indices([10, 99, "x", 99])


def test_arrays_are_frozen_and_typed():
    interactions = some()
    for array in (
        interactions.users,
        interactions.items,
        interactions.timestamps,
        interactions.user_ids.ids,
    ):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    assert (interactions.users.dtype, interactions.timestamps.dtype) == (np.int32, np.int64)
    with pytest.raises(TypeError):
        interactions.dropped["x"] = 1


def test_density_counts_cells_of_the_whole_matrix():
    assert some().density == 4 / 9


def test_digest_ignores_the_order_of_rows_and_nothing_else():
    assert some().digest == some(order=(3, 1, 0, 2)).digest
    others = [some(timestamps=None), some(timestamps=(5, 6, 7, 9)), some(item_ids=(1, 2, 4))]
    assert len({some().digest, *(other.digest for other in others)}) == 4


def test_parts_count_in_the_digest_where_there_are_any():
    given = [replace(some(), parts=np.array(parts)) for parts in ([0, 0, 1, 2], [0, 0, 2, 1])]
    assert len({some().digest, *(data.digest for data in given)}) == 3
    shuffled = replace(some(order=(3, 1, 0, 2)), parts=np.array([2, 0, 0, 1]))
    assert shuffled.digest == given[0].digest
    assert shuffled.ordered.parts.tolist() == [0, 0, 1, 2]
    assert given[0].ordered is given[0]
    with pytest.raises(ValueError, match="read-only"):
        shuffled.parts[0] = 1


@pytest.mark.parametrize("at_once", [1, 2, 4_000_000])
def test_array_digest_is_that_of_the_whole_array_at_once(at_once, monkeypatch):
    monkeypatch.setattr("recsweep.data.arrays.VALUES_AT_ONCE", at_once)
    arrays = [np.arange(6, dtype=np.int32).reshape(2, 3).T, np.array(["a", "bc", ""]), "word"]
    digest = hashlib.sha256(b"i4(3, 2)" + np.array([0, 3, 1, 4, 2, 5], "<i4").tobytes())
    digest.update(b"text(3,)a\0bc\0word")
    assert array_digest(arrays) == digest.hexdigest()[:16]
    assert (
        array_digest([np.float64(1)])
        == hashlib.sha256(b"f8()" + np.float64(1).tobytes()).hexdigest()[:16]
    )


def test_array_digest_tells_shapes_kinds_and_texts_apart():
    arrays = [
        np.zeros(4, np.int32),
        np.zeros((2, 2), np.int32),
        np.zeros(4, np.int64),
        np.zeros(4, np.float32),
        np.array(["0", "0"]),
        np.array(["00", ""]),
    ]
    assert len({array_digest([array]) for array in arrays}) == len(arrays)


def test_split_digest_ignores_the_order_of_cells():
    def part(order):
        return Part(
            np.array([0, 1, 1])[order],
            np.array([1, 0, 1])[order],
            np.array([1, 0, 1])[order],
            2,
            2,
            True,
        )

    def split(order):
        return Split(part(order), part([0]), part([1]), kind="k", seed=0)

    assert split([0, 1, 2]).digest == split([2, 0, 1]).digest
    assert split([0, 1, 2]).digest != split([0, 1]).digest


def test_positives_of_a_part_as_a_sparse_matrix():
    part = Part(np.array([1, 0, 1]), np.array([2, 1, 0]), np.array([1, 0, 1]), 2, 3, True)
    assert part.positives.toarray().tolist() == [[0, 0, 0], [1, 0, 1]]
    assert part.positives.indices.tolist() == [0, 2]
    assert (part.num_positives, len(part)) == (2, 3)
