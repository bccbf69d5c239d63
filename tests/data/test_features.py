"""Features: kinds that columns are taken for, the matrix, bins of the training part, and what of a
table is kept."""

import gzip
import json
from dataclasses import replace

import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsweep.data.feature_files import (
    check_ignored,
    described_features,
    feature_table,
    read_features,
    with_features,
)
from recsweep.data.features import FeatureTable, Field, training_features
from recsweep.data.interactions import IdMap, Interactions, Part
from recsweep.data.readers import InteractionFile
from recsweep.errors import ConfigError, DataError

IDS = IdMap(np.arange(1, 7), "item")
FILMS = {
    "item_id": ["1", "2", "3", "4", "5", "6"],
    "genres": ["war|drama", "drama", "", "war", "drama|comedy|war", "comedy"],
    "country": ["fr", "de", "fr", "nan", "de", "fr"],
    "stars": ["3", "3.0", "5", "NA", "5", "4"],
    "minutes": ["80.5", "90", "100", "110", "120", ""],
    "title": ["A", "B", "C", "D", "E", "F"],
}


def _table(columns=FILMS, ids=IDS, **settings) -> FeatureTable:
    return feature_table(columns, ids, source="films.csv", **settings)


def _dense(table: FeatureTable, name: str) -> list[list[float]]:
    start = 0
    for field in table.fields:
        if field.name == name:
            block = table.matrix[:, start : start + field.size].toarray()
            return np.round(block.astype(float), 3).tolist()
        start += field.size
    raise AssertionError(name)


class TestKinds:
    def test_each_column_is_what_it_holds(self):
        table = _table()
        assert {each.name: each.kind for each in table.fields} == {
            "genres": "list",
            "country": "category",
            "stars": "category",
            "minutes": "number",
        }
        assert table.left_out == {"title": "no category stands in two rows"}

    def test_a_list_shares_one_among_its_categories(self):
        third = 0.333
        assert _table().fields[0].categories == ("comedy", "drama", "war")
        assert _dense(_table(), "genres") == [
            [0, 0.5, 0.5],
            [0, 1, 0],
            [0, 0, 0],
            [0, 0, 1],
            [third, third, third],
            [1, 0, 0],
        ]

    def test_a_missing_value_is_no_entry(self):
        assert _dense(_table(), "country") == [[0, 1], [1, 0], [0, 1], [0, 0], [1, 0], [0, 1]]
        assert _table().fields[2].categories == ("3", "4", "5")
        assert _dense(_table(), "stars")[3] == [0, 0, 0]
        assert sum(_dense(_table(), "minutes")[5]) == 0

    def test_whole_numbers_of_many_values_fall_into_ten_bins(self):
        ids = IdMap(np.arange(100), "user")
        years = {"id": [*map(str, range(100))], "year": [str(1900 + row) for row in range(100)]}
        table = _table(years, ids)
        assert (table.fields[0].kind, table.fields[0].size) == ("number", 10)
        assert table.matrix.sum(axis=0).tolist() == [[10] * 10]
        few = {"id": years["id"], "year": [str(1900 + row // 2) for row in range(100)]}
        assert (_table(few, ids).fields[0].kind, _table(few, ids).fields[0].size) == (
            "category",
            50,
        )

    def test_equal_numbers_are_in_one_bin_and_no_bin_is_empty(self):
        ids = IdMap(np.arange(100), "user")
        sums = ["0"] * 60 + [f"{row}.5" for row in range(40)]
        table = _table({"id": [*map(str, range(100))], "spent": sums}, ids)
        in_bins = np.asarray(table.matrix.sum(axis=0)).ravel()
        assert in_bins[0] == 60
        assert (in_bins > 0).all()

    def test_decimal_commas(self):
        prices = {"id": ["1", "2", "3"], "price": ["1.200,5", "3,25", "7"]}
        assert _table(prices).numbers[:3, 0].tolist() == [1200.5, 3.25, 7]
        thousands = {"id": ["1", "2", "3"], "price": ["1,200", "1,200", "7"]}
        assert _table(thousands).fields[0].kind == "category"  # as it might be either

    def test_codes_with_leading_zeros_are_categories(self):
        codes = {"id": ["1", "2", "3"], "zip": ["02139", "02139", "10001"]}
        assert _table(codes).fields[0].categories == ("02139", "10001")

    @pytest.mark.parametrize(
        "tags", ['["war", "drama"]', "['war', 'drama']", "[war, drama]", "['war', drama]"]
    )
    def test_lists_in_brackets(self, tags):
        table = _table({"id": ["1", "2", "3"], "tags": [tags, '["war"]', "[]"]})
        assert table.fields[0].categories == ("drama", "war")
        assert _dense(table, "tags")[:3] == [[0.5, 0.5], [0, 1], [0, 0]]

    def test_recboles_types_are_no_part_of_a_name(self):
        columns = {
            "item_id:token": ["1", "2", "3"],
            "class:token_seq": ["Drama War", "War", "Children's"],
            "year:float": ["1995", "1995", "1996"],
        }
        table = _table(columns, id_column="item_id")
        assert [(each.name, each.kind) for each in table.fields] == [
            ("class", "list"),
            ("year", "number"),
        ]
        assert table.fields[0].categories == ("Children's", "Drama", "War")

    def test_names_are_left_out(self):
        ids = IdMap(np.arange(3000), "item")
        rows = [*map(str, range(3000))]
        columns = {
            "id": rows,
            "title": [f"t{row // 2}" for row in range(3000)],
            "all": ["x"] * 3000,
        }
        assert _table(columns, ids).left_out == {"title": "1,500 categories, more than 1,000"}

    def test_a_column_without_a_value_and_one_that_is_ignored(self):
        table = _table({**FILMS, "empty": [""] * 6}, ignore=["country"])
        assert table.left_out == {
            "country": "ignored",
            "title": "no category stands in two rows",
            "empty": "no value",
        }

    def test_all_rows_tell_what_a_column_is_and_the_entities_its_categories(self):
        rows = [*map(str, range(60))]
        columns = {
            "id": rows,
            "age": rows,
            "kind": [f"k{row // 10}" for row in range(60)],
            "few": ["", "", "", *rows[3:]],
            "title": rows[:3] + [f"t{row}" for row in range(57)],
        }
        table = _table(columns, IdMap(np.arange(3), "user"))
        assert [(each.name, each.kind) for each in table.fields] == [
            ("age", "number"),
            ("kind", "category"),
        ]
        assert table.fields[1].categories == ("k0",)
        assert table.left_out == {
            "few": "no value of any of the users",
            "title": "no category stands in two rows",
        }

    def test_described_and_in_words(self):
        table = _table()
        assert [tuple(row) for row in table.described()] == [
            ("genres", "list", "3 categories", "comedy"),
            ("country", "category", "2 categories", "de"),
            ("stars", "category", "3 categories", "3"),
            ("minutes", "number", "5 bins", "80.5 to 120"),
            ("title", "left out", "no category stands in two rows", ""),
        ]
        assert table.in_words() == (
            "genres (list, 3 categories), country (category, 2 categories), "
            "stars (category, 3 categories), minutes (number, 5 bins); left out title "
            "(no category stands in two rows)"
        )

    def test_of_many_columns_the_first_are_told(self):
        columns = {f"is_{place}": ["0", "1", "0"] for place in range(300)}
        words = _table({"id": ["1", "2", "3"], **columns}).in_words()
        assert words.startswith("is_0 (category, 2 categories), is_1 (category, 2 categories), ")
        assert words.endswith("is_19 (category, 2 categories), 280 more; 3 of 6 items have no row")


class TestRows:
    def test_of_unknown_entities_and_missing_ones_are_counted(self):
        columns = {"size": ["s", "s", "l", "l", "s"], "id": ["2", "9", "4.0", "x", "6"]}
        table = _table(columns, id_column="id")
        assert (table.unknown_rows, table.without_row) == (2, 3)
        assert _dense(table, "size") == [[0, 0], [0, 1], [0, 0], [1, 0], [0, 0], [0, 1]]
        assert table.in_words().endswith(
            "; 2 rows of items that the data lack left out; 3 of 6 items have no row"
        )

    @pytest.mark.parametrize("again", [["2", "1", "2"], ["1", "9", "9"], ["1", "2", "1.0"]])
    def test_an_id_in_two_rows(self, again):
        with pytest.raises(DataError, match=r"films.csv has two rows of one item, .*rows \d and 3"):
            _table({"id": again, "size": ["s", "s", "l"]})

    def test_no_id_of_the_data(self):
        with pytest.raises(DataError, match=r"a row for none of the 6 items .* as 1: .* 'id'"):
            _table({"id": ["a", "b"], "size": ["s", "s"]})

    def test_no_feature_at_all(self):
        with pytest.raises(DataError, match="one column, 'id'"):
            _table({"id": ["1", "2"]})
        with pytest.raises(DataError, match=r"no column that can be used .* title \(no category"):
            _table({"id": ["1", "2"], "title": ["a", "b"]})

    def test_ids_of_text_stay_as_they_stand(self):
        ids = IdMap(np.array(["007", "7"]), "user")
        table = _table({"id": ["7", "007"], "sex": ["f", "m"], "age": ["1", "1"]}, ids)
        assert table.matrix.toarray().tolist() == [[1], [1]]
        table = _table({"id": ["7", "007"], "age": ["1.5", "2.5"]}, ids)
        assert table.numbers.tolist() == [[2.5], [1.5]]


class TestOfTraining:
    def test_the_bins_are_those_of_the_training_part(self):
        ids = IdMap(np.arange(200), "item")
        prices = [f"{row}.5" if row < 100 else f"{10_000 + row}.5" for row in range(200)]
        countries = ["fr", "de"] * 100
        columns = {"id": [*map(str, range(200))], "price": prices, "country": countries}
        table = _table(columns, ids)
        trained = np.arange(100)
        part = Part(np.zeros(100), trained, np.ones(100), 1, 200, enumerates_cells=False)
        users, items = training_features((None, table), part)
        assert users is None
        assert [each.size for each in items.fields] == [10, 2]
        assert np.asarray(items.matrix[:100, :10].sum(axis=0)).ravel().tolist() == [10] * 10
        assert np.asarray(items.matrix[100:, :10].sum(axis=0)).ravel().tolist() == [0] * 9 + [100]
        assert (items.matrix[:, 10:] != table.matrix[:, 10:]).nnz == 0
        # whatever the others are
        other = {**columns, "price": [*prices[:100], *["3.5"] * 100]}
        assert training_features((None, _table(other, ids)), part)[1].fields == items.fields

    def test_zeros_are_no_training(self):
        part = Part(np.array([0, 1]), np.array([0, 1]), np.array([1, 0]), 2, 6, True)
        users = replace(_table(), entity="user")
        _, items = training_features((None, users), part)
        assert items.fields[3].edges == ()  # one number in all


class TestEncode:
    def test_a_new_row_is_written_as_those_of_the_file(self):
        table = _table()
        films = [
            {name: texts[row] for name, texts in FILMS.items() if name != "item_id"}
            for row in range(6)
        ]
        assert (table.encode(films) != table.matrix).nnz == 0

    def test_values_as_python_has_them(self):
        encoded = _table().encode(
            [
                {"genres": ["war", "drama"], "stars": 3, "minutes": 80.5, "country": "fr"},
                {"genres": "war|unheard of", "stars": 9.0, "minutes": None},
                {},
            ]
        )
        assert encoded.toarray().tolist() == [
            [0, 0.5, 0.5, 0, 1, 1, 0, 0, 1, 0, 0, 0, 0],
            [0, 0, 0.5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            [0] * 13,
        ]
        assert encoded.dtype == np.float32

    @pytest.mark.parametrize("texts", [("true", "false"), ("True", "False"), ("TRUE", "FALSE")])
    def test_flags(self, texts):
        yes, no = texts
        table = _table({"id": ["1", "2", "3"], "new": [yes, no, yes]})
        encoded = table.encode([{"new": True}, {"new": False}, {"new": yes}])
        place = table.fields[0].categories.index
        assert encoded.indices.tolist() == [place(yes), place(no), place(yes)]

    def test_a_number_beyond_all_is_in_the_last_bin(self):
        assert _table().encode([{"minutes": 1e9}, {"minutes": -1}]).indices.tolist() == [12, 8]

    @pytest.mark.parametrize("value", ["long", "inf", float("inf"), [3]])
    def test_no_number(self, value):
        with pytest.raises(DataError, match="The feature 'minutes' must be a number, not"):
            _table().encode([{"minutes": value}])

    def test_a_name_that_is_none(self):
        with pytest.raises(DataError, match=r"no feature minuts of items. Did you mean minutes\?"):
            _table().encode([{"minuts": 3}])


VALUES = st.text(st.sampled_from("01237.,-|[]\"' abN"), max_size=6)


@given(st.lists(st.lists(VALUES, min_size=6, max_size=6), min_size=1, max_size=3))
@settings(max_examples=150, deadline=None)
def test_any_table_is_kept_and_its_rows_are_written_alike(columns):
    texts = {f"c{place}": values for place, values in enumerate(columns)} | {"all": ["x"] * 6}
    table = _table({"id": ["1", "2", "3", "4", "5", "6"], **texts})
    assert sum(each.size for each in table.fields) == table.matrix.shape[1]
    assert {each.name for each in table.fields} | {*table.left_out} == {*texts}
    numbers = iter(table.numbers.T.tolist())
    values = {
        each.name: next(numbers) if each.kind == "number" else texts[each.name]
        for each in table.fields
    }
    rows = [{name: values[name][row] for name in values} for row in range(6)]
    assert (table.encode(rows) != table.matrix).nnz == 0
    assert table.matrix.sum(axis=1).max() <= len(table.fields) + 1e-6
    kept = json.loads(json.dumps(table.settings))
    assert FeatureTable.restore(kept, dict(table.arrays)).digest == table.digest


class TestKept:
    def test_as_json_and_arrays(self):
        table = _table()
        arrays = {name: array.copy() for name, array in table.arrays.items()}
        again = FeatureTable.restore(json.loads(json.dumps(table.settings)), arrays)
        assert again.digest == table.digest
        assert again.fields == table.fields
        assert again.described() == table.described()
        rows = [{"genres": "war", "minutes": "95"}]
        assert (again.encode(rows) != table.encode(rows)).nnz == 0

    @pytest.mark.parametrize("damage", ["index", "width", "numbers", "kind", "edges"])
    def test_what_does_not_go_together(self, damage):
        table = _table()
        settings, arrays = (
            table.settings,
            {name: each.copy() for name, each in table.arrays.items()},
        )
        if damage == "index":
            arrays["indices"][0] = 99
        elif damage == "kind":
            settings["fields"][0]["kind"] = "text"
        elif damage == "edges":
            settings["fields"][3]["edges"] = ["low"] * 4
        elif damage == "width":
            settings["fields"] = settings["fields"][1:]
        else:
            arrays["numbers"] = arrays["numbers"][1:]
        with pytest.raises(ValueError, match=r"."):
            FeatureTable.restore(settings, arrays)

    def test_nobody_changes_it(self):
        with pytest.raises(ValueError, match="read-only"):
            _table().matrix.data[0] = 7

    def test_the_digest_of_the_data_holds_them_where_there_are_any(self):
        data = Interactions("small", [0, 0], [0, 1], IdMap(np.array([1]), "user"), IDS)
        with_features = replace(data, item_features=_table())
        assert replace(data, item_titles={"1": "A"}).digest == data.digest
        assert data.digest == "fded0f84be83e8d6"
        assert with_features.digest != data.digest
        assert replace(data, item_features=_table()).digest == with_features.digest
        other = _table({**FILMS, "country": ["de", *FILMS["country"][1:]]})
        assert replace(data, item_features=other).digest != with_features.digest

    def test_an_unbinned_number_is_a_part_of_the_digest(self):
        other = {**FILMS, "minutes": ["80.25", *FILMS["minutes"][1:]]}
        assert _table(other).digest != _table().digest


def test_columns_to_ignore_must_be_there():
    check_ignored(["title"], [None, _table(ignore=["title"])])
    with pytest.raises(ConfigError, match=r"ignore_features names 'contry'.*mean country\?"):
        check_ignored(["contry"], [_table(ignore=["contry"]), None])


def test_a_number_field_without_edges_has_one_bin():
    assert Field("price", "number").encoded(["3", "", 7]).toarray().tolist() == [[1], [0], [1]]


class TestFiles:
    DATA = Interactions("small", [0, 0], [0, 1], IdMap(np.array([1]), "user"), IDS)

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("a.csv", "item_id,size\n1,s\n2,s\n6,l\n"),
            ("a.tsv", "size\titem_id\ns\t1\ns\t2\nl\t6\n"),
            ("a.dat", "item_id::size\n1::s\n2::s\n6::l\n"),
            ("a.item", "item_id:token\tsize:token\n1\ts\n2\ts\n6\tl\n"),
        ],
    )
    def test_of_each_kind(self, tmp_path, name, content):
        (tmp_path / name).write_text(content)
        table = read_features(str(tmp_path / name), IDS, id_column="item_id")
        assert [each.name for each in table.fields] == ["size"]
        assert table.matrix.toarray().tolist() == [[0, 1], [0, 1], [0, 0], [0, 0], [0, 0], [1, 0]]

    def test_a_first_line_that_begins_with_an_id_names_no_columns(self, tmp_path):
        (tmp_path / "u.item").write_text("1|a|War\n2|b|War\n3|c|Drama\n")
        table = read_features(str(tmp_path / "u.item"), IDS, id_column="column_2")
        assert [each.name for each in table.fields] == ["column_3"]
        assert table.without_row == 3

    def test_parquet_with_types(self, tmp_path):
        path = tmp_path / "a.parquet"
        frame = pandas.DataFrame({"id": [1, 2, 3], "price": [1.5, np.nan, 3.0], "new": [1, 0, 1]})
        frame.to_parquet(path)
        table = read_features(str(path), IDS)
        assert [(each.name, each.kind) for each in table.fields] == [
            ("price", "number"),
            ("new", "category"),
        ]
        assert np.isnan(table.numbers[1, 0])

    def test_it_is_told_in_one_line(self, tmp_path, caplog):
        (tmp_path / "a.csv").write_text("id,size,name\n1,s,x\n2,s,y\n9,l,z\n")
        with caplog.at_level("INFO", logger="recsweep"):
            read_features(str(tmp_path / "a.csv"), IDS, ignore=["name"])
            read_features(str(tmp_path / "a.csv"), IDS)
        asked, unasked = caplog.records
        assert asked.getMessage() == (
            f"Features of items from {tmp_path}/a.csv: size (category, 1 category); left out name "
            "(ignored); 1 row of items that the data lack left out; 4 of 6 items have no row."
        )
        assert (asked.levelname, unasked.levelname) == ("INFO", "WARNING")
        assert "left out name (no category stands in two rows)" in unasked.getMessage()

    def test_all_beside_the_interactions(self, tmp_path):
        (tmp_path / "users.csv").write_text("id,age,city\n1,30.5,x\n")
        (tmp_path / "items.csv").write_text("id,title,kind\n1,A,k\n2,B,k\n6,C,l\n")
        users, items = str(tmp_path / "users.csv"), str(tmp_path / "items.csv")
        data = with_features(
            self.DATA,
            user_features=users,
            item_features=items,
            item_titles=items,
            ignore=["title", "city"],
        )
        assert [each.name for each in data.user_features.fields] == ["age"]
        assert [each.name for each in data.item_features.fields] == ["kind"]
        assert data.item_titles == {"1": "A", "2": "B", "6": "C"}
        assert data.digest != self.DATA.digest
        assert with_features(self.DATA).digest == self.DATA.digest
        with pytest.raises(ConfigError, match="ignore_features names 'titel'"):
            with_features(self.DATA, item_features=items, ignore=["titel"])

    def test_what_is_no_file_of_features(self, tmp_path):
        with pytest.raises(DataError, match=r"no file .*Set data.item_features to one that exists"):
            read_features(str(tmp_path / "a.csv"), IDS)
        with pytest.raises(DataError, match=r"no file .*Set data.item_titles to one that exists"):
            with_features(self.DATA, item_titles=str(tmp_path / "a.csv"))
        (tmp_path / "twice.csv").write_text("id,size,size\n1,s,t\n")
        with pytest.raises(DataError, match="has two columns 'size'"):
            read_features(str(tmp_path / "twice.csv"), IDS)
        (tmp_path / "broken.csv.gz").write_bytes(gzip.compress(b"id,size\n1,s\n" * 999)[:60])
        with pytest.raises(DataError, match=r"broken.csv.gz can't be read"):
            read_features(str(tmp_path / "broken.csv.gz"), IDS)

    def test_by_the_settings_of_a_file_of_interactions(self, tmp_path):
        likes = "customer,product,stars\n" + "".join(f"{u},{i},5\n" for u in "ab" for i in "xyz")
        (tmp_path / "likes.csv").write_text(likes)
        (tmp_path / "ages.csv").write_text("age,customer,name\n3.5,b,x\n4.5,a,y\n")
        (tmp_path / "names.csv").write_text(f"product,name\nx,Tea\ny,{'u' * 5000}\nz,\n")
        data = InteractionFile(
            path=str(tmp_path / "likes.csv"),
            user_features=str(tmp_path / "ages.csv"),
            item_titles=str(tmp_path / "names.csv"),
            ignore_features=["name"],
        ).load()
        assert data.user_features.numbers.tolist() == [[4.5], [3.5]]
        assert data.item_features is None
        assert data.item_titles == {"x": "Tea", "y": f"{'u' * 200}… (5,000 characters)"}
        with pytest.raises(ConfigError, match="and both are null"):
            InteractionFile(path=str(tmp_path / "likes.csv"), ignore_features=["age"]).load()

    def test_described_without_the_data(self, tmp_path):
        (tmp_path / "a.csv").write_text("name,id,size\nx,a7,s\ny,a8,s\nz,a9,\n")
        found = described_features(str(tmp_path / "a.csv"), "item", id_column="id")
        assert [tuple(row) for row in found] == [
            ("size", "category", "1 category", "s"),
            ("name", "left out", "no category stands in two rows", ""),
        ]


class TestRealFiles:
    def test_movielens_and_food(self, real_data):
        ledger = real_data / "ledger"
        found = {}
        for name, kind in (
            ("ml-100k/ml-100k.user", "user"),
            ("ml-100k/ml-100k.item", "item"),
            ("ml-1m/users.csv", "user"),
            ("ml-1m/movies.csv", "item"),
            ("foodcom_features/recipe_features.csv.gz", "item"),
        ):
            rows = described_features(str(ledger / name), kind, ignore=["zip_code"])
            found |= {f"{name} {row.column}": row[1:3] for row in rows}
        assert found == {
            "ml-100k/ml-100k.user age": ("number", "10 bins"),
            "ml-100k/ml-100k.user gender": ("category", "2 categories"),
            "ml-100k/ml-100k.user occupation": ("category", "21 categories"),
            "ml-100k/ml-100k.user zip_code": ("left out", "ignored"),
            "ml-100k/ml-100k.item release_year": ("category", "73 categories"),
            "ml-100k/ml-100k.item class": ("list", "19 categories"),
            "ml-100k/ml-100k.item movie_title": ("left out", "2,652 categories, more than 1,000"),
            "ml-1m/users.csv gender": ("category", "2 categories"),
            "ml-1m/users.csv age": ("category", "7 categories"),
            "ml-1m/users.csv occupation": ("category", "21 categories"),
            "ml-1m/users.csv zipcode": ("left out", "3,439 categories, more than 1,000"),
            "ml-1m/movies.csv genres": ("list", "18 categories"),
            "ml-1m/movies.csv year": ("number", "10 bins"),
            "foodcom_features/recipe_features.csv.gz main_ingredients": ("list", "13 categories"),
            "foodcom_features/recipe_features.csv.gz meal_types": ("list", "11 categories"),
        }
