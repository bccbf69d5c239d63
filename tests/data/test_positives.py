"""The positives among rows, held against a plain reference: ids, blocks, repeated pairs, thresholds
and the filter of those with few positives."""

import random
from collections import Counter

import duckdb
import numpy as np
import pytest

from recsweep.data import arrays
from recsweep.data.door import positives
from recsweep.data.door.positives import Positives, Rules, positives_of
from recsweep.data.ids import WHOLE_NUMBER
from recsweep.errors import DataError

TYPES = {"rating": "DOUBLE", "time": "BIGINT", "part": "UTINYINT"}


def table(rows, *, optional=("rating", "time"), user="VARCHAR", item="VARCHAR"):
    """A database with `rows` of (user, item, and values of the optional columns)."""
    connection = duckdb.connect()
    columns = [f'"user" {user}', f"item {item}", *(f"{name} {TYPES[name]}" for name in optional)]
    connection.execute(f"CREATE TABLE rows ({', '.join(columns)})")
    if rows:
        places = ", ".join("?" * (2 + len(optional)))
        connection.executemany(
            f"INSERT INTO rows VALUES ({places})", [row[: 2 + len(optional)] for row in rows]
        )
    return connection


def found(rows, optional=("rating", "time"), **rules) -> Positives:
    with table(rows, optional=optional) as connection:
        return positives_of(connection, "test", Rules(**rules))


def triples(result: Positives) -> list[tuple]:
    """Raw user and item of each positive, with its time where there are any."""
    times = [] if result.times is None else [result.times.tolist()]
    users, items = result.user_ids[result.users], result.item_ids[result.items]
    return list(zip(users.tolist(), items.tolist(), *times, strict=True))


def known(texts) -> dict:
    """The id that each text stands for, ascending."""
    numbers = {text: WHOLE_NUMBER.fullmatch(text) for text in texts}
    if all(numbers.values()):
        ids = {text: int(number[1]) for text, number in numbers.items()}
    else:
        ids = {text: text for text in numbers}
    return dict(sorted(ids.items(), key=lambda pair: pair[1]))


def expected(rows, optional, rules: Rules):
    """The same by dictionaries, row by row."""
    dropped = Counter()
    ids, chosen = [], []
    for side, wanted in ((0, rules.num_users), (1, rules.num_items)):
        of_text = known({row[side] for row in rows})
        counts = Counter(of_text[row[side]] for row in rows)
        block = sorted(sorted(counts), key=lambda raw: -counts[raw])[:wanted]
        ids.append(of_text)
        chosen.append(sorted(block))
    pairs = {}
    for place, row in enumerate(rows):
        values = dict(zip(optional, row[2:], strict=False))
        pair = ids[0][row[0]], ids[1][row[1]]
        if pair[0] not in chosen[0] or pair[1] not in chosen[1]:
            dropped["outside the block"] += 1
            continue
        rating, time = values.get("rating"), values.get("time", 0)
        first_of_all = rules.repeats in ("sum", "max")
        if first_of_all and rating is not None and rating in rules.unrated:
            dropped["without stars"] += 1
            continue
        pairs.setdefault(pair, []).append((rating, time, place))
    positive, zeros = {}, []
    for pair in sorted(pairs):
        group = sorted(pairs[pair], key=lambda row: row[1:])
        dropped["repeated pairs"] += len(group) - 1
        if rules.repeats == "sum":
            rating = sum(1 if row[0] is None else row[0] for row in group)
            kept = (rating, group[-1][1])
        elif rules.repeats == "max":
            kept = max(group, key=lambda row: (row[0] or 0, *row[1:]))
        else:
            kept = group[-1 if rules.repeats == "latest" else 0]
        if rules.repeats not in ("sum", "max") and kept[0] is not None and kept[0] in rules.unrated:
            dropped["without stars"] += 1
        elif kept[0] is not None and kept[0] < (rules.positive_rating or -np.inf):
            if rules.keep_zeros:
                zeros.append(pair)
                continue
            dropped[f"rated below {rules.positive_rating:g}"] += 1
        else:
            positive[pair] = kept[1]
    if rules.min_user_positives or rules.min_item_positives:
        before = len(positive)
        least = rules.min_user_positives or 0, rules.min_item_positives or 0
        while True:
            counts = [Counter(pair[side] for pair in positive) for side in (0, 1)]
            left = {
                pair: time
                for pair, time in positive.items()
                if all(counts[side][pair[side]] >= least[side] for side in (0, 1))
            }
            if len(left) == len(positive):
                break
            positive = left
        chosen = [
            [raw for raw in chosen[side] if counts[side][raw] >= least[side]] for side in (0, 1)
        ]
        kept = [pair for pair in zeros if pair[0] in chosen[0] and pair[1] in chosen[1]]
        dropped["rare"] = before - len(positive) + len(zeros) - len(kept)
        zeros = kept
    return positive, zeros, chosen, {reason: count for reason, count in dropped.items() if count}


SPELLINGS = {
    "numbers": ["0", "-3", "3", "3.0", "17", "123456789012345678", "5.000", "8"],
    "texts": ["007", "7", "7.0", "NA", "é", "\U0001f600", "￿", "a b", "A", "b" * 300],
    "19 digits": ["1234567890123456789", "2", "10", "9"],
}


@pytest.mark.parametrize("repeats", ["latest", "first", "sum", "max"])
@pytest.mark.parametrize("optional", [("rating", "time"), ("rating",), ("time",), ()])
@pytest.mark.parametrize("seed", range(4))
def test_positives_equal_those_of_a_plain_reference(repeats, optional, seed, monkeypatch):
    monkeypatch.setattr(positives, "ROWS_AT_ONCE", 7)
    rng = random.Random(seed)
    users = SPELLINGS[rng.choice(list(SPELLINGS))]
    items = SPELLINGS[rng.choice(list(SPELLINGS))]
    rows = []
    for _ in range(120):
        values = {"rating": float(rng.randrange(6)), "time": rng.randrange(-5, 5)}
        rows.append((rng.choice(users), rng.choice(items), *(values[name] for name in optional)))
    rules = Rules(
        num_users=rng.choice([None, 2, 3]),
        num_items=rng.choice([None, 3]),
        repeats=repeats,
        unrated=rng.choice([(), (0,), (5, 1)]),
        positive_rating=rng.choice([None, 2, 3]),
        min_user_positives=rng.choice([None, 2]),
        min_item_positives=rng.choice([None, 0, 2]),
        keep_zeros="rating" in optional and rng.choice([False, True]),
    )
    pairs, zeros, ids, dropped = expected(rows, optional, rules)
    with table(rows, optional=optional) as connection:
        result = positives_of(connection, "test", rules)
    assert [triple[:2] for triple in triples(result)] == list(pairs)
    assert (result.zeros is not None) == rules.keep_zeros
    if rules.keep_zeros:
        users, items = result.user_ids[result.zeros.users], result.item_ids[result.zeros.items]
        assert list(zip(users.tolist(), items.tolist(), strict=True)) == zeros
    if "time" in optional:
        assert result.times.tolist() == list(pairs.values())
    assert [result.user_ids.tolist(), result.item_ids.tolist()] == ids
    rare = [reason for reason in result.dropped if reason.startswith("of ")]
    counted = {"rare" if reason in rare else reason: n for reason, n in result.dropped.items()}
    assert counted == dropped
    assert result.users.dtype == result.items.dtype == np.int32


ROWS = [("7", "30", 5.0, 100), ("7", "10", 3.0, 101), ("-2", "30", 4.0, 102), ("5", "20", 4.5, 103)]


def test_typed_whole_numbers_are_the_numbers_that_their_text_is():
    numbers = [(int(user), int(item), *rest) for user, item, *rest in ROWS]
    with table(numbers, user="BIGINT", item="BIGINT") as connection:
        typed = positives_of(connection, "test", Rules(positive_rating=4))
    assert triples(typed) == triples(found(ROWS, positive_rating=4))
    assert triples(typed) == [(-2, 30, 102), (5, 20, 103), (7, 30, 100)]
    assert typed.user_ids.dtype == np.int64
    long = [(10**18, 2, 5.0, 0), (7, 2, 5.0, 0)]
    with table(long, user="BIGINT", item="BIGINT") as connection:
        typed = positives_of(connection, "test", Rules())
    assert typed.user_ids.tolist() == [str(10**18), "7"]
    assert typed.item_ids.tolist() == [2]


def test_spellings_of_one_number_are_one_user_of_all_their_rows():
    rows = [("3", "1"), ("3.0", "1"), ("3.00", "2"), ("4", "1"), ("4", "2")]
    result = found(rows, (), num_users=1)
    assert triples(result) == [(3, 1), (3, 2)]
    assert result.dropped == {"outside the block": 2, "repeated pairs": 1}


def test_a_long_id_stands_as_it_is():
    long = "x" * 50_000
    result = found([(long, "a"), ("y", "b"), ("y", "é" * 2_000)], ())
    assert triples(result) == [(long, "a"), ("y", "b"), ("y", "é" * 2_000)]
    assert result.user_ids.nbytes + result.item_ids.nbytes < 100


def test_an_id_that_ends_in_a_nul_is_refused():
    with pytest.raises(DataError, match="must not end in a NUL character"):
        found([("a\0", "1"), ("a", "1")], ())


def test_more_users_than_there_are_can_not_be_asked_for():
    rule = r"data.num_users=4 asks for more users than the 3 that the file holds. .* at most 3"
    with pytest.raises(DataError, match=rule):
        found([*ROWS, ("7.0", "30", 5.0, 100)], num_users=4)


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"positive_rating": 9}, "rated at least 9, and the ratings run from 3 to 5. Lower"),
        ({"num_users": 1, "num_items": 1, "positive_rating": 5.5}, "run from 5 to 5"),
        ({"min_user_positives": 3}, "but of users with fewer than 3 positives. Lower"),
        (
            {"min_user_positives": 2, "min_item_positives": 3},
            "users with fewer than 2 positives or items with fewer than 3 positives",
        ),
    ],
)
def test_nothing_positive_is_said_with_what_was_found(rules, words):
    with pytest.raises(DataError, match=f"test holds no positive.*{words}"):
        found(ROWS, **rules)


def test_a_block_without_a_row_and_a_table_without_one_are_said():
    rows = [("1", "1"), ("1", "2"), ("2", "3"), ("3", "3"), ("4", "3")]
    with pytest.raises(DataError, match="no row lies in the block of 1 users x 1 items"):
        found(rows, (), num_users=1, num_items=1)
    with pytest.raises(DataError, match=r"holds no interaction.*data.on_bad_rows=error"):
        found([], ())


def test_the_filter_of_rare_ones_repeats_until_nobody_falls_out():
    # a chain: each that falls out takes the next one below the mark
    chain = [(str(n), str(n + step)) for n in range(1, 9) for step in (0, 1)]
    square = [(user, item) for user in ("90", "91") for item in ("95", "96")]
    result = found(chain + square, (), min_user_positives=2, min_item_positives=2)
    assert triples(result) == [(90, 95), (90, 96), (91, 95), (91, 96)]
    assert (result.user_ids.tolist(), result.item_ids.tolist()) == ([90, 91], [95, 96])
    reason = "of users with fewer than 2 positives or items with fewer than 2 positives"
    assert result.dropped == {reason: 16}


def test_parts_stay_beside_their_pairs_and_none_stands_in_two():
    rows = [("1", "1", 0), ("1", "2", 2), ("2", "1", 1), ("1", "1", 0)]
    result = found(rows, ("part",))
    assert result.parts.tolist() == [0, 2, 1]
    assert result.parts.dtype == np.uint8
    assert result.dropped == {"repeated pairs": 1}
    for repeats in ("latest", "sum"):
        with pytest.raises(DataError, match=r"user 1 and item 2 .* training file .* test file"):
            found([*rows, ("1", "2", 0)], ("part",), repeats=repeats)


def test_large_arrays_are_mapped_from_a_file(monkeypatch):
    held = found(ROWS)
    monkeypatch.setattr(arrays, "MAPPED_FROM", 1)
    for one, other in zip(found(ROWS)[:3], held[:3], strict=True):
        assert isinstance(one.base, np.memmap)
        assert one.tolist() == other.tolist()
        assert one.dtype == other.dtype
