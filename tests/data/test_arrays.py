"""Long arrays in pieces, and in files that are mapped into memory."""

import errno
import os
import tempfile

import numpy as np
import pytest

from recsweep.data import arrays
from recsweep.data.arrays import by_pair, counted, joined, pairs_ascend, pieces, runs
from recsweep.errors import DataError


@pytest.fixture(params=[1, 3, 4_000_000], autouse=True)
def at_once(request, monkeypatch):
    monkeypatch.setattr(arrays, "VALUES_AT_ONCE", request.param)
    return request.param


@pytest.mark.parametrize("length", [0, 1, 3, 7])
def test_pieces_cover_everything_once(length, at_once):
    found = [np.arange(length)[piece] for piece in pieces(length)]
    assert np.array_equal(np.concatenate([np.arange(0), *found]), np.arange(length))
    assert all(len(piece) <= at_once for piece in found)


def test_runs_are_as_long_as_they_may_be():
    found = list(runs(np.array([2, 0, 3, 9, 1, 0, 4, 1, 0]), 5))
    assert found == [slice(0, 3), slice(3, 4), slice(4, 7), slice(7, 9)]
    assert list(runs(np.array([], dtype=np.int64), 5)) == []


def test_each_number_is_counted():
    values = np.array([3, 0, 3, 3, 1], dtype=np.int32)
    assert counted(values, 6).tolist() == [1, 1, 0, 3, 0, 0]
    assert counted(values[:0], 2).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("users", "items", "ascend"),
    [
        ([0, 0, 1, 3], [1, 2, 0, 0], True),
        ([0, 0, 1, 1], [1, 2, 0, 0], False),
        ([0, 0, 1, 0], [1, 2, 3, 4], False),
        ([0, 0, 1, 1], [2, 1, 3, 4], False),
        ([1], [1], True),
        ([], [], True),
    ],
)
def test_pairs_that_ascend_need_no_order(users, items, ascend):
    users, items = np.array(users, dtype=np.int32), np.array(items, dtype=np.int32)
    assert pairs_ascend(users, items) == ascend
    order = by_pair(users, items)
    assert isinstance(order, slice) == ascend
    assert sorted(zip(users, items, strict=True)) == list(
        zip(users[order], items[order], strict=True)
    )


@pytest.mark.parametrize("mapped_from", [0, 5, 6])
def test_arrays_are_joined_in_memory_or_in_a_file_that_vanishes(mapped_from, monkeypatch, tmp_path):
    monkeypatch.setattr(arrays, "MAPPED_FROM", mapped_from)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    parts = (np.arange(start, start + 2, dtype=np.int64)[:size] for start, size in ((0, 2), (5, 0)))
    array = joined([*parts, np.array([7, 8, 9])[::-1]], np.int32)
    assert (array.dtype, array.tolist()) == (np.int32, [0, 1, 9, 8, 7])
    assert type(array) is np.ndarray
    assert isinstance(array.base, np.memmap) == (mapped_from <= 5)
    assert not array.flags.writeable
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_named_with_the_remedy(monkeypatch):
    def full(*_args, **_settings):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(arrays, "MAPPED_FROM", 2)
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(
        DataError, match=r"^2 values can't be written to .*: the disk is full.*TMPDIR"
    ):
        joined([np.arange(2)], np.int32)
