"""Files of every supported shape, each way they can be wrong, and downloads from a server on this
machine."""

import functools
import gzip
import hashlib
import http.server
import io
import re
import subprocess
import sys
import threading
import types
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from recsweep import config
from recsweep.data import download
from recsweep.data.door import sources
from recsweep.data.interactions import Interactions
from recsweep.data.readers import InteractionFile
from recsweep.errors import ConfigError, DataError


def configured(option: str, **changes) -> InteractionFile:
    """What conf/data/OPTION.yaml makes, with `data.key=value` changes."""
    return instantiate(OmegaConf.merge(config.option("data", option), changes))


def reader(file, **changes) -> InteractionFile:
    settings = {
        "name": "test",
        "path": str(file),
        "separator": ",",
        "user_column": "user_id",
        "item_column": "item_id",
        "rating_column": "rating",
        "timestamp_column": None,
        "positive_rating": 4,
    }
    return InteractionFile(**settings | changes)


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def pairs(interactions: Interactions) -> set[tuple]:
    """Raw (user, item) pairs."""
    users, items = (
        interactions.user_ids.ids[interactions.users],
        interactions.item_ids.ids[interactions.items],
    )
    return set(zip(users.tolist(), items.tolist(), strict=True))


RATINGS = "user_id,item_id,rating,time\n7,30,5,100\n7,10,3,101\n-2,30,4,102\n5,20,4.5,103\n"
POSITIVE = {(7, 30), (-2, 30), (5, 20)}


@pytest.fixture
def ratings(tmp_path) -> Path:
    return write(tmp_path / "ratings.csv", RATINGS)


# Shapes of files


def test_csv(ratings):
    interactions = reader(ratings, timestamp_column="time").load()
    assert pairs(interactions) == POSITIVE
    assert interactions.user_ids.ids.tolist() == [-2, 5, 7]
    assert interactions.item_ids.ids.tolist() == [10, 20, 30]
    assert interactions.timestamps.tolist() == [102, 103, 100]
    assert dict(interactions.dropped) == {"rated below 4": 1}
    assert interactions.source == str(ratings)


def test_every_row_is_positive_without_a_rating_column(ratings):
    interactions = reader(ratings, rating_column=None).load()
    assert pairs(interactions) == POSITIVE | {(7, 10)}
    assert interactions.timestamps is None
    assert not interactions.dropped


@pytest.mark.parametrize(
    "pack",
    [
        gzip.compress,
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: b"\n" + data,
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: data.replace(b",", b", "),
    ],
    ids=["gzip", "byte order mark", "blank line", "windows", "blanks after commas"],
)
def test_same_content_in_another_dress(ratings, pack):
    expected = reader(ratings, timestamp_column="time").load()
    ratings.write_bytes(
        pack(ratings.read_bytes())
    )  # also a .csv that is gzipped: the name says nothing
    assert reader(ratings, timestamp_column="time").load().digest == expected.digest


def test_parquet_equals_csv_also_with_row_groups_floats_and_dates(tmp_path):
    frame = pandas.read_csv(io.StringIO(RATINGS)).astype({"user_id": "float64", "item_id": "int16"})
    frame["date"] = pandas.to_datetime(["2017-08-18", "2017-08-19", "2017-08-20", "2017-08-21"])
    frame["text"] = "not needed"
    frame.to_parquet(tmp_path / "p.dat", row_group_size=2)
    frame.to_csv(tmp_path / "c.dat", index=False)
    for column in ("time", "date"):
        parquet, csv = (
            reader(tmp_path / f"{kind}.dat", timestamp_column=column).load() for kind in "pc"
        )
        assert pairs(parquet) == POSITIVE
        assert parquet.digest == csv.digest
        assert parquet.user_ids.ids.dtype == np.int64


def test_parquet_with_missing_values_is_refused(tmp_path):
    frame = pandas.DataFrame({"user_id": [1.0, None], "item_id": [1, 2], "rating": [5.0, 4.0]})
    frame.to_parquet(tmp_path / "p.parquet")
    with pytest.raises(DataError, match="'user_id' has no id, not '', in row 2"):
        reader(tmp_path / "p.parquet").load()


def test_quoted_fields_hold_separators_and_line_breaks(tmp_path):
    path = write(
        tmp_path / "q.csv",
        'item_id,review,user_id,rating\n1,"Good, ""very""\n\nindeed, 5",2,4\n3,x,4,5\n',
    )
    assert pairs(reader(path).load()) == {(2, 1), (4, 3)}


def test_text_ids_keep_zeros_and_words_that_mean_missing_elsewhere(tmp_path):
    path = write(tmp_path / "t.csv", "user_id,item_id,rating\n007,NA,5\nx,null,5\nnan,y,5\n")
    interactions = reader(path).load()
    assert pairs(interactions) == {("007", "NA"), ("x", "null"), ("nan", "y")}
    path = write(tmp_path / "n.csv", "user_id,item_id,rating\n1,NA,5\n2,7,5\n3,8,5\n")
    with pytest.raises(DataError, match="'item_id' has no id, not 'NA', in row 1"):
        reader(path).load()  # among numbers such a word is none
    zeros = write(tmp_path / "z.csv", "user_id,item_id,rating\n007,1,5\n7,1,5\n")
    assert pairs(reader(zeros).load()) == {("007", 1), ("7", 1)}


def test_digits_of_another_script_are_text(tmp_path):
    path = write(tmp_path / "t.csv", "user_id,item_id,rating\n7,1,5\n٧,1,5\n")
    assert pairs(reader(path).load()) == {("7", 1), ("٧", 1)}


def test_an_id_that_an_array_would_cut_is_refused(tmp_path):
    path = write(tmp_path / "t.csv", "user_id,item_id,rating\na\0,1,5\na,1,5\n")
    with pytest.raises(DataError, match="holds a NUL character in line 2"):
        reader(path).load()


def test_floats_of_parquet_are_one_id_whatever_else_the_batch_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "ROWS_PER_BATCH", 2)
    users = [1e16, 2.0, 1e16, 2.5, 1e19, 2e19]
    frame = pandas.DataFrame({"user_id": users, "item_id": range(6), "rating": 5})
    frame.to_parquet(tmp_path / "p.parquet")
    ids = reader(tmp_path / "p.parquet").load().user_ids.ids.tolist()
    assert ids == ["10000000000000000", "1e+19", "2", "2.5", "2e+19"]


def test_ids_too_long_for_64_bits_are_text(tmp_path):
    path = write(
        tmp_path / "t.csv", "user_id,item_id,rating\n99999999999999999999,1.0,5\n1,2.0,5\n"
    )
    assert pairs(reader(path).load()) == {("99999999999999999999", 1), ("1", 2)}


def test_latin_1_and_utf_8(tmp_path):
    text = "user_id,item_id,rating\né,1,5\nè,2,5\n"
    expected = {("é", 1), ("è", 2)}
    for encoding in ("utf-8", "latin-1"):
        assert pairs(reader(write(tmp_path / "e.csv", text, encoding)).load()) == expected


def test_batches_and_several_files_make_one_whole(tmp_path, monkeypatch, ratings):
    whole = reader(ratings, timestamp_column="time").load()
    monkeypatch.setattr(sources, "ROWS_PER_BATCH", 1)
    assert reader(ratings, timestamp_column="time").load().digest == whole.digest
    header, *lines = RATINGS.splitlines(keepends=True)
    halves = [write(tmp_path / f"{n}.csv", header + "".join(lines[n : n + 2])) for n in (0, 2)]
    both = reader(halves[0], path=[str(half) for half in halves], timestamp_column="time").load()
    assert both.digest == whole.digest
    assert both.source == f"{halves[0]}, {halves[1]}"


def test_movielens_shapes(tmp_path):
    """u.data in its folder, in its zip and by itself; ratings.dat with its double colons."""
    lines = ["1\t10\t5\t874965758\n", "2\t10\t3\t874965759\n", "2\t11\t4\t874965760\n"]
    folder = tmp_path / "unpacked" / "ml-100k"
    folder.mkdir(parents=True)
    data = write(folder / "u.data", "".join(lines))
    archive = tmp_path / "any name"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("ml-100k/README", "no data")
        zipped.write(data, "ml-100k/u.data")
    digests = {
        configured("movielens_100k", path=str(path)).load().digest
        for path in (data, folder, folder.parent, archive)
    }
    doubled = write(tmp_path / "ratings.dat", "".join(lines).replace("\t", "::"))
    digests.add(configured("movielens_1m", path=str(doubled)).load().digest)
    assert len(digests) == 1
    interactions = configured("movielens_100k", path=str(data)).load()
    assert pairs(interactions) == {(1, 10), (2, 11)}
    assert interactions.timestamps.tolist() == [874965758, 874965760]


def test_double_separator_with_a_header(tmp_path):
    path = write(tmp_path / "h.dat", RATINGS.replace(",", "::"))
    assert pairs(reader(path, separator="::").load()) == POSITIVE


def test_foodcom_shapes(tmp_path):
    """Kaggle's raw file, one with review ids, and the split files with their extra columns."""
    raw = write(
        tmp_path / "RAW_interactions.csv",
        'user_id,recipe_id,date,rating,review\n1,5,2017/8/18,5,"Nice,\nreally"\n2,5,2016-12-01,0,-\n'
        "2,6,2018/1/2,4,x\n",
    )
    dense = write(
        tmp_path / "dense.csv", "user_id,recipe_id,rating,review_id\n1,5,5,20\n2,5,0,10\n2,6,4,30\n"
    )
    split = write(
        tmp_path / "split.csv",
        "user_id,recipe_id,date,rating,u,i\n1,5,2017-08-18,5.0,0,0\n2,5,2016-12-01,0.0,1,0\n"
        "2,6,2018-01-02,4.0,1,1\n",
    )
    loaded = [
        configured("foodcom", path=str(path), num_users=None, num_items=None).load()
        for path in (raw, dense, split)
    ]
    for interactions in loaded:
        assert pairs(interactions) == {(1, 5), (2, 6)}
        assert dict(interactions.dropped) == {"without stars": 1}
        assert np.argsort(interactions.timestamps).tolist() == [0, 1]
    assert loaded[0].digest == loaded[2].digest
    assert loaded[0].timestamps[0] == np.datetime64("2017-08-18", "us").astype(np.int64)


# The block, repeated pairs, and what is left out

BLOCK = """user_id,item_id,rating
9,1,5
9,2,5
9,3,0
4,1,5
4,2,1
6,1,5
6,1,5
2,9,5
"""


def test_block_counts_every_row_and_prefers_lower_ids(tmp_path):
    path = write(tmp_path / "b.csv", BLOCK)
    interactions = reader(path, num_users=2, num_items=2, unrated=0).load()
    assert interactions.user_ids.ids.tolist() == [
        4,
        9,
    ]  # 9 by its row without stars; 4 before 6, which repeats itself
    assert interactions.item_ids.ids.tolist() == [1, 2]
    assert pairs(interactions) == {(9, 1), (9, 2), (4, 1)}
    assert dict(interactions.dropped) == {"outside the block": 4, "rated below 4": 1}


def test_block_keeps_users_without_positives(tmp_path):
    interactions = reader(write(tmp_path / "b.csv", BLOCK), num_items=1, unrated=0).load()
    assert interactions.user_ids.ids.tolist() == [2, 4, 6, 9]
    assert pairs(interactions) == {(9, 1), (4, 1), (6, 1)}
    assert dict(interactions.dropped) == {"outside the block": 4, "repeated pairs": 1}


@pytest.mark.parametrize(
    ("times", "kept"),
    [((3, 2, 1), 5), ((1, 2, 3), 1), ((3, 3, 1), 2), (None, 1)],
    ids=["the latest first", "the latest last", "a tie: the later row", "no times: the last row"],
)
def test_latest_of_repeated_pairs_stands(tmp_path, times, kept):
    rows = [
        f"1,1,{rating},{time}\n" for rating, time in zip((5, 2, 1), times or (9, 9, 9), strict=True)
    ]
    path = write(tmp_path / "d.csv", "user_id,item_id,rating,time\n" + "".join(rows) + "8,8,9,0\n")
    column = "time" if times else None
    at, above = (
        reader(path, timestamp_column=column, positive_rating=least).load()
        for least in (kept, kept + 0.5)
    )
    assert pairs(at) == {(1, 1), (8, 8)}
    assert pairs(above) == {(8, 8)}
    assert at.dropped["repeated pairs"] == 2


def test_file_order_leaves_no_trace(tmp_path):
    header, *lines = RATINGS.splitlines(keepends=True)
    forward, backward = (
        reader(write(tmp_path / f"{n}.csv", header + "".join(order))).load()
        for n, order in enumerate((lines, lines[::-1]))
    )
    assert np.array_equal(forward.users, backward.users)
    assert np.array_equal(forward.items, backward.items)


@pytest.mark.parametrize("seed", range(4))
def test_every_row_is_kept_or_accounted_for(tmp_path, seed):
    rng = np.random.default_rng(seed)
    frame = pandas.DataFrame(
        {
            "user_id": rng.integers(30, size=500),
            "item_id": rng.integers(30, size=500),
            "rating": rng.integers(6, size=500),
            "time": rng.integers(50, size=500),
        }
    )
    frame.to_csv(tmp_path / "r.csv", index=False)
    interactions = reader(
        tmp_path / "r.csv", num_users=20, num_items=10, unrated=0, timestamp_column="time"
    ).load()
    assert len(interactions) + sum(interactions.dropped.values()) == 500
    assert len(pairs(interactions)) == len(interactions)
    last = frame.sort_values("time", kind="stable").drop_duplicates(
        ["user_id", "item_id"], keep="last"
    )
    block = last[
        last.user_id.isin(interactions.user_ids.ids) & last.item_id.isin(interactions.item_ids.ids)
    ]
    liked = block[block.rating >= 4]
    assert pairs(interactions) == set(zip(liked.user_id, liked.item_id, strict=True))


@pytest.mark.parametrize("seed", range(2))
def test_low_ratings_are_known_zeros_where_they_are_asked_for(tmp_path, seed):
    rng = np.random.default_rng(seed)
    columns = {name: rng.integers(most, size=400) for name, most in RANDOM.items()}
    frame = pandas.DataFrame(columns)
    frame.to_csv(tmp_path / "r.csv", index=False)
    made = reader(
        tmp_path / "r.csv", zeros="rated", unrated=[3, 0], num_users=15, timestamp_column="time"
    )
    interactions, plain = made.load(), replace(made, zeros=None).load()
    last = frame.sort_values("time", kind="stable").drop_duplicates(
        ["user_id", "item_id"], keep="last"
    )
    low = last[last.user_id.isin(interactions.user_ids.ids) & last.rating.isin([1, 2])]
    zeros = replace(interactions, users=interactions.zeros.users, items=interactions.zeros.items)
    assert pairs(zeros) == set(zip(low.user_id, low.item_id, strict=True))
    assert pairs(interactions) == pairs(plain)
    assert interactions.digest != plain.digest
    below = {"rated below 4": len(low)}
    assert dict(interactions.dropped) | below == dict(plain.dropped)


RANDOM = {"user_id": 20, "item_id": 15, "rating": 6, "time": 50}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"zeros": "low"}, ConfigError, r"data\.zeros must be rated or null, not 'low'"),
        ({"test_path": "t.csv"}, ConfigError, r"data\.test_path names a part of its own\. Set one"),
        ({"rating_column": None}, ConfigError, r"for zeros, and data\.rating_column is null\. Set"),
        ({"positive_rating": 0}, DataError, r"finds no rating below 0 in test\. Raise data\.posit"),
        ({"unrated": []}, ConfigError, r"data\.unrated must be a rating, a list of some, as \[3\]"),
        ({"unrated": [3, "x"]}, ConfigError, r"data\.unrated must be a number, not 'x'"),
    ],
)
def test_zeros_that_can_not_be_told(ratings, changes, error, message):
    with pytest.raises(error, match=message):
        reader(ratings, **{"zeros": "rated"} | changes).load()


def test_zeros_need_ratings(tmp_path):
    path = write(tmp_path / "likes.csv", "user_id,item_id\n1,2\n1,3\n2,2\n")
    with pytest.raises(DataError, match=r"takes low ratings for zeros, and likes has no ratings"):
        InteractionFile(path=str(path), zeros="rated").load()


def test_what_was_left_out_is_logged(tmp_path, caplog):
    with caplog.at_level("INFO", logger="recsweep.data.readers"):
        reader(write(tmp_path / "b.csv", BLOCK), unrated=0).load()
    assert "left out 1 rows without stars" in caplog.text


# Timestamps


def test_first_present_of_several_timestamp_columns_and_none_at_all(ratings):
    assert reader(ratings, timestamp_column=["date", "time"]).load().timestamps.tolist() == [
        102,
        103,
        100,
    ]
    assert reader(ratings, timestamp_column=["date", "day"]).load().timestamps is None


def test_files_must_agree_on_the_timestamp_column(tmp_path, ratings):
    other = write(tmp_path / "o.csv", RATINGS.replace("time", "date"))
    with pytest.raises(DataError, match=r"o\.csv has no column 'time': .*data.timestamp_column"):
        reader(ratings, path=[str(ratings), str(other)], timestamp_column=["time", "date"]).load()


def test_nanoseconds_stay_exact(tmp_path):
    times = [1503014400000000001, 1503014400000000002]
    path = write(
        tmp_path / "n.csv", f"user_id,item_id,rating,time\n1,1,5,{times[0]}\n1,2,5,{times[1]}\n"
    )
    assert reader(path, timestamp_column="time").load().timestamps.tolist() == times


@pytest.mark.parametrize("value", ["", "yesterday", "inf", "1e30", "2017-08-18"])
def test_bad_timestamp_among_numbers(tmp_path, value):
    path = write(tmp_path / "t.csv", f"user_id,item_id,rating,time\n1,1,5,100\n1,2,5,{value}\n")
    with pytest.raises(DataError, match=f"'time' must be a number.*{value!r}, in row 2 of .*=null"):
        reader(path, timestamp_column="time").load()


@pytest.mark.parametrize("value", ["", "18.08.2017", "2017-13-01"])
def test_bad_timestamp_among_dates(tmp_path, value):
    path = write(
        tmp_path / "t.csv", f"user_id,item_id,rating,time\n1,1,5,2017-08-18\n1,2,5,{value}\n"
    )
    with pytest.raises(
        DataError, match=f"'time' must be a date as 2017-08-18.*, not {value!r}, in row 2"
    ):
        reader(path, timestamp_column="time").load()


# What is wrong with a file


def test_missing_file_is_named_absolutely(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=re.escape(f"no file {tmp_path}/gone.csv. Set data.path")):
        reader("gone.csv").load()


def test_folder_in_place_of_a_file(tmp_path):
    with pytest.raises(DataError, match=re.escape(f"{tmp_path} is a folder. Set data.path")):
        reader(tmp_path).load()
    with pytest.raises(DataError, match=re.escape("is a folder without a file u.data")):
        configured("movielens_100k", path=str(tmp_path)).load()


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", gzip.compress(b"")], ids=["no byte", "blank lines", "gzip"]
)
def test_empty_file(tmp_path, content):
    (tmp_path / "e.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"e\.csv is empty\. Set data\.path"):
        reader(tmp_path / "e.csv").load()


def test_header_without_rows(tmp_path):
    with pytest.raises(DataError, match="a header and no rows"):
        reader(write(tmp_path / "e.csv", "user_id,item_id,rating\n")).load()


@pytest.mark.parametrize(
    "setting", ["user_column", "item_column", "rating_column", "timestamp_column"]
)
def test_missing_column_lists_those_found(ratings, setting):
    found = "no column 'other': its columns are user_id, item_id, rating, time"
    with pytest.raises(DataError, match=f"{found}. Set data.{setting}="):
        reader(ratings, **{setting: "other"}).load()


def test_wrong_separator_shows_in_the_columns_found(tmp_path):
    path = write(tmp_path / "s.csv", RATINGS.replace(",", ";"))
    with pytest.raises(
        DataError, match=r"no column 'user_id': its columns are user_id;item_id;rating;time.*"
    ):
        reader(path, columns=None).load()


def test_column_named_twice(tmp_path):
    path = write(tmp_path / "c.csv", "user_id,item_id,rating,rating\n1,1,5,5\n")
    with pytest.raises(DataError, match="has 2 columns 'rating'"):
        reader(path).load()


def test_fewer_fields_than_columns_named(tmp_path):
    path = write(tmp_path / "c.csv", "1,2\n")
    with pytest.raises(
        DataError, match=r"has 2 fields in its first line, and data\.columns names 3"
    ):
        reader(path, columns=["user_id", "item_id", "rating"]).load()


@pytest.mark.parametrize("value", ["good", "", "nan", "inf", "4;5"])
def test_bad_rating_is_named_with_its_row(tmp_path, monkeypatch, value):
    monkeypatch.setattr(sources, "ROWS_PER_BATCH", 2)
    path = write(
        tmp_path / "r.csv", f'user_id,item_id,rating\n1,1,5\n1,2,4\n1,3,5\n1,4,"{value}"\n'
    )
    with pytest.raises(
        DataError, match=f"'rating' must hold a number in each row, not {value!r}, in row 4 of"
    ):
        reader(path).load()


def test_header_taken_for_a_row_is_explained(ratings):
    with pytest.raises(
        DataError, match=r"The first line .* names the columns, as data.columns does. Set data.col"
    ):
        reader(ratings, columns=["user_id", "item_id", "rating", "time"]).load()


@pytest.mark.parametrize(("row", "column"), [(",5,4", "user_id"), ("5,,4", "item_id")])
def test_missing_id(tmp_path, row, column):
    path = write(tmp_path / "i.csv", f"user_id,item_id,rating\n1,1,5\n{row}\n")
    with pytest.raises(DataError, match=f"{column!r} has no id, not '', in row 2"):
        reader(path).load()


def test_rows_with_fewer_or_more_fields_are_refused_or_left_out(tmp_path):
    rows = "user_id,item_id,rating\n1,1,5\n2,2\n3,3,5,extra\n4,4,5\n"
    path = write(tmp_path / "s.csv", rows)
    with pytest.raises(DataError, match=r"has 2 fields, where the columns are 3, in row 2 of"):
        reader(path).load()
    interactions = reader(path, on_bad_rows="skip").load()
    assert pairs(interactions) == {(1, 1), (4, 4)}
    assert sum(interactions.dropped.values()) == 2
    trailing = write(tmp_path / "t.csv", "user_id,item_id,rating\n1,8,5,\n2,9,5,\n")
    assert pairs(reader(trailing).load()) == {(1, 8), (2, 9)}


def test_threshold_above_all_ratings_says_their_range(ratings):
    with pytest.raises(
        DataError, match=r"rated at least 9, and the ratings run from 3 to 5\. Lower data.positive"
    ):
        reader(ratings, positive_rating=9).load()


def test_block_without_a_row(tmp_path):
    path = write(tmp_path / "b.csv", "user_id,item_id,rating\n1,1,5\n1,2,5\n2,3,5\n3,3,5\n4,3,5\n")
    with pytest.raises(DataError, match="no row lies in the block of 1 users x 1 items"):
        reader(path, num_users=1, num_items=1).load()


@pytest.mark.parametrize(("setting", "kind"), [("num_users", "users"), ("num_items", "items")])
def test_more_than_exist(ratings, setting, kind):
    with pytest.raises(
        DataError, match=f"data.{setting}=4 asks for more {kind} than the 3 that the file holds"
    ):
        reader(ratings, **{setting: 4}).load()


@pytest.mark.parametrize(
    "content",
    [gzip.compress(RATINGS.encode())[:-20], b"PK\x03\x04 no zip", b"PAR1 no parquet"],
    ids=["cut gzip", "zip", "parquet"],
)
def test_broken_files_are_named(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError, match="x can't be read: "):
        reader(tmp_path / "x").load()


def test_a_zip_of_one_table_is_read(tmp_path, ratings):
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("a.csv", RATINGS)
    assert reader(tmp_path / "z.zip").load().digest == reader(ratings).load().digest


# What is wrong with the settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": None}, "data.path is null.*Set data.path"),
        ({"path": 3}, "data.path must be a text or a list"),
        ({"path": []}, "data.path must be a text or a list"),
        (
            {"dataset": "netflix"},
            "data.dataset must be one of foodcom, movielens_100k, movielens_1m",
        ),
        ({"separator": ""}, "data.separator must be a text"),
        ({"separator": ", "}, "data.separator must be one character, or one repeated"),
        ({"user_column": 0}, "data.user_column must be a text"),
        ({"rating_column": ""}, "data.rating_column must be a text"),
        ({"item_column": "user_id"}, "must name a column of its own"),
        ({"columns": ["user_id", "item_id"]}, "data.rating_column must be one of user_id, item_id"),
        ({"positive_rating": "high"}, "data.positive_rating must be a number"),
        ({"unrated": "none"}, "data.unrated must be a number"),
        ({"num_users": 0}, "data.num_users must be a whole number of at least 1 or null"),
        ({"num_items": 2.5}, "data.num_items must be a whole number"),
    ],
)
def test_impossible_settings(changes, message):
    with pytest.raises(ConfigError, match=message):
        reader("any.csv", **changes)


def test_construction_touches_no_file_and_imports_nothing_heavy():
    code = (
        "import sys; from recsweep.data import readers, split, examples, synthetic; "
        "assert not {'pandas', 'pyarrow', 'scipy', 'pooch', 'rich', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Downloads


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A movielens_100k source on this machine: (its folder, its archive)."""
    folder = tmp_path / "served"
    folder.mkdir()
    archive = folder / "small.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("ml-100k/u.data", "1\t10\t5\t1\n2\t11\t4\t2\n")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args) -> None:
            pass

    running = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=folder)
    )
    threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
    source = replace(
        download.SOURCES["movielens_100k"],
        url=f"http://127.0.0.1:{running.server_port}/small.zip",
        checksum="md5:" + hashlib.md5(archive.read_bytes()).hexdigest(),
    )
    monkeypatch.setitem(download.SOURCES, "movielens_100k", source)
    monkeypatch.setenv("RECSWEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield archive
    running.shutdown()
    running.server_close()


def test_download_once_then_from_the_cache(server, tmp_path):
    first = configured("movielens_100k").load()
    assert pairs(first) == {(1, 10), (2, 11)}
    assert first.source == str(tmp_path / "cache" / "small.zip")
    server.unlink()
    assert configured("movielens_100k").load().digest == first.digest


def test_download_with_a_wrong_checksum(server, tmp_path):
    server.write_bytes(server.read_bytes() + b"tampered")
    with pytest.raises(
        DataError,
        match=r"isn't the file expected.*Get u.data from https://grouplens.*set data.path",
    ):
        configured("movielens_100k").load()
    assert not list((tmp_path / "cache").glob("*"))


def test_download_of_a_missing_file_or_without_a_server(server):
    server.unlink()
    with pytest.raises(DataError, match=r"can't be downloaded .*404.*set data.path"):
        configured("movielens_100k").load()


def test_download_without_a_network(server, monkeypatch):
    source = replace(download.SOURCES["movielens_100k"], url="http://127.0.0.1:9/small.zip")
    monkeypatch.setitem(download.SOURCES, "movielens_100k", source)
    with pytest.raises(DataError, match=r"movielens_100k can't be downloaded .*set data.path"):
        configured("movielens_100k").load()


def test_foodcom_comes_from_kagglehub(tmp_path, monkeypatch):
    raw = write(
        tmp_path / "RAW_interactions.csv",
        "user_id,recipe_id,date,rating,review\n1,5,2017-08-18,5,x\n",
    )
    asked = []
    fake = types.ModuleType("kagglehub")
    fake.dataset_download = lambda handle, path: asked.append((handle, path)) or str(raw)
    monkeypatch.setitem(sys.modules, "kagglehub", fake)
    assert pairs(configured("foodcom", num_users=None, num_items=None).load()) == {(1, 5)}
    assert asked == [("shuyangli94/food-com-recipes-and-user-interactions", "RAW_interactions.csv")]


def test_kagglehub_that_fails_or_is_missing(monkeypatch):
    fake = types.ModuleType("kagglehub")
    fake.dataset_download = lambda handle, path: 1 / 0
    monkeypatch.setitem(sys.modules, "kagglehub", fake)
    with pytest.raises(
        DataError,
        match=r"ZeroDivisionError.*Get RAW_interactions.csv from https://www.k.*data.path",
    ):
        configured("foodcom").load()
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(DataError, match=r"pip install 'recsweep\[kaggle\]'.*data.path"):
        configured("foodcom").load()


# Real files


def test_real_foodcom_block(real_data):
    interactions = configured("foodcom", path=str(real_data / "foodcom_dense.csv.gz")).load()
    # Ties at the block's edge go to lower ids; taken in the file's order instead, the block has
    # 52,505 rows.
    assert (
        len(interactions)
        + interactions.dropped["rated below 4"]
        + interactions.dropped["without stars"]
        == 52_509
    )
    assert len(interactions) == 49_190
    assert (interactions.num_users, interactions.num_items) == (1000, 1000)
    assert interactions.density == pytest.approx(0.049, abs=5e-4)


def test_real_foodcom_raw_sample_and_split_files(real_data):
    names = ("foodcom_raw_sample", "foodcom_interactions_validation", "foodcom_interactions_test")
    rows = []
    for name in names:
        path = str(real_data / f"{name}.csv.gz")
        interactions = configured("foodcom", path=path, num_users=None, num_items=None).load()
        rows.append(len(interactions) + sum(interactions.dropped.values()))
        assert interactions.user_ids.ids.dtype == np.int64
        years = (
            interactions.timestamps.astype("datetime64[us]").astype("datetime64[Y]").astype(int)
            + 1970
        )
        assert 1999 <= years.min() <= years.max() <= 2018
    assert rows == [13_247, 7_023, 12_455]


def test_real_movielens_100k(real_data):
    interactions = configured("movielens_100k", path=str(real_data / "ml-100k")).load()
    assert (interactions.num_users, interactions.num_items) == (943, 1682)
    assert len(interactions) + sum(interactions.dropped.values()) == 100_000
    assert len(interactions) == 55_375


# Memory


@pytest.mark.slow
def test_memory_stays_bounded_with_long_reviews(tmp_path):
    path = tmp_path / "RAW_interactions.csv"
    review = '"Loved it, ""really"".\n' + "We make it every week, with less sugar. " * 10 + '"\n'
    with path.open("w") as stream:
        stream.write("user_id,recipe_id,date,rating,review\n")
        for row in range(480_000):
            stream.write(
                f"{row * 7919 % 50_021},{row * 104_729 % 30_011},"
                f"2017-08-{row % 28 + 1:02},{row % 6},{review}"
            )
    assert path.stat().st_size > 200e6
    code = f"""
import resource, pandas
from recsweep.data.readers import InteractionFile
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
interactions = InteractionFile(name="big", path={str(path)!r}, separator=",", user_column="user_id",
    item_column="recipe_id", rating_column="rating", timestamp_column="date", positive_rating=4,
    unrated=0).load()
assert len(interactions) + sum(interactions.dropped.values()) == 480_000
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 1e9
