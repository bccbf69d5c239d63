"""What is found in the first lines of files in the shapes that people have, and what is asked where
they could mean two things."""

import re

import pandas
import pytest

from recsweep.data.files import File, find
from recsweep.data.forms import BLANKS, Asked, Format, Found, typed
from recsweep.data.forms.guess import guess, guess_table, threshold
from recsweep.errors import DataError


@pytest.fixture
def found(tmp_path):
    """found(text, **asked): what is found in a file that holds the text."""

    def found(text: str, **asked) -> Found:
        path = tmp_path / "interactions.txt"
        path.write_text(text, encoding="utf-8")
        return guess(find(str(path)), Asked(**asked))

    return found


def settings(error: pytest.ExceptionInfo) -> list[str]:
    """The settings that a question offers, as a shell takes them."""
    words = re.findall(r'"(data\.[^"]+)"|(data\.\w+=\S+?)(?=[.,;]?(?:\s|$))', str(error.value))
    return [quoted or plain for quoted, plain in words]


def of_roles(form: Format) -> tuple:
    return form.user, form.item, form.rating, form.time


ROWS = [
    ("anna", "7", "4.5", "978300760"),
    ("ben", "8", "3", "978300761"),
    ("anna", "9", "5", "978300762"),
]


# Separators and quotes


@pytest.mark.parametrize("separator", [",", "\t", ";", "|", "::"])
def test_separators(found, separator):
    lines = [("user", "item", "rating", "time"), *ROWS]
    form = found("".join(f"{separator.join(line)}\n" for line in lines)).format
    assert (form.separator, form.header) == (separator, True)
    assert of_roles(form) == ("user", "item", "rating", "time")
    bare = found("".join(f"{separator.join(line)}\n" for line in ROWS)).format
    assert (bare.separator, bare.header) == (separator, False)
    assert of_roles(bare) == ("column_1", "column_2", "column_3", "column_4")


def test_blanks_of_any_number(found):
    form = found("1 10  5\t978300760\n2  11 3 978300761\n").format
    assert (form.separator, form.header) == (BLANKS, False)
    assert of_roles(form) == ("column_1", "column_2", "column_3", "column_4")


def test_a_blank_within_a_date_separates_nothing(found):
    form = found("1\t7\t2010-12-01 08:26:00\n2\t8\t2010-12-02 08:26:00\n").format
    assert (form.separator, form.time, form.dates) == ("\t", "column_3", "iso")


def test_a_separator_within_texts_is_none(found):
    text = "".join(f"u{n},{n % 7},{n % 5},a;b;c|d\n" for n in range(20))
    assert found(text).format.separator == ","


@pytest.mark.parametrize(
    ("text", "separator"),
    [
        ("user;item;rating\n1;2;3,5\n2;3;4,0\n", ";"),
        ("1;2;3,5\n2;3;4,0\n", ";"),
        ("1 2 3,5\n2 3 4,0\n", BLANKS),
        ("user\titem\trating\n1\t2\t3,5\n2\t3\t4\n", "\t"),
    ],
)
def test_decimal_commas(found, text, separator):
    form = found(text).format
    assert (form.separator, form.decimal) == (separator, ",")
    assert form.rating is not None


def test_a_comma_of_thousands_is_asked_about(found):
    text = 'user;item;plays\n1;2;"13,883"\n2;3;"1,200"\n'
    with pytest.raises(DataError, match="1,234") as error:
        found(text)
    assert settings(error) == ["data.decimal=','", "data.rating_column=null"]
    assert found(text, decimal=",").format.rating == "plays"


def test_quotes(found):
    assert found('user,item,rating\n"a","b, c",5\n"d","e ""f""",3\n').format.quote == '"'
    text = 'user,item,rating,review\na,b,5,"two\nlines, and more"\nc,d,4,"x"\n'
    form = found(text).format
    assert (form.quote, form.columns) == ('"', ("user", "item", "rating", "review"))


@pytest.mark.parametrize(
    "text", ['a\t"Weird\t5\nb\t5" pipe\t4\nc\td\t3\n', 'a::"W::5\nb::"X"::4\n']
)
def test_a_quote_where_no_field_begins_and_ends_with_it_is_a_character(found, text):
    assert found(text, columns=["user", "item", "rating"]).format.quote == ""


def test_an_open_quote_among_closed_ones_leaves_the_others_quotes(found):
    for separator in ",;|\t":
        lines = [f'"u{n}"{separator}"i{n}"{separator}5' for n in range(50)]
        lines[30] = f'"u30"{separator}"i30{separator}5'
        form = found("\n".join(["user,item,rating".replace(",", separator), *lines, ""])).format
        assert (form.separator, form.quote) == (separator, '"')
        assert of_roles(form) == ("user", "item", "rating", None)
    assert found('user,item,rating\n1,"2,5\n').format.quote == '"'


def test_quoted_fields_between_tabs(found):
    form = found('user\titem\trating\n"a\tb"\t"c"\t5\nd\te\t4\n').format
    assert (form.quote, len(form.columns)) == ('"', 3)


# Headers


def test_typed_headers(found):
    text = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t2\t3\t4\n5\t6\t4\t8\n"
    form = found(text).format
    assert of_roles(form) == ("user_id", "item_id", "rating", "timestamp")
    assert form.columns == ("user_id", "item_id", "rating", "timestamp")
    assert found(text, user_column="item_id:token", item_column="user_id").format.user == "item_id"


def test_a_header_without_a_name_for_the_numbers_of_rows(found):
    """As R writes it, and pandas."""
    r = found('"user" "item" "rating"\n"1" "a b" "b" 5\n"2" "c" "b" 4\n').format
    assert (r.separator, r.quote, r.header) == (BLANKS, '"', True)
    assert of_roles(r) == ("user", "item", "rating", None)
    assert r.columns[0] == "column_1"
    for header in ("user,item,rating", ",user,item,rating"):
        form = found(f"{header}\n1,a,b,5\n2,c,b,4\n").format
        assert form.columns == ("column_1", "user", "item", "rating")
        assert of_roles(form) == ("user", "item", "rating", None)


@pytest.mark.parametrize("header", ["user,item,rating", "user,item,rating,"])
def test_a_separator_at_the_end_of_lines(found, header):
    form = found(f"{header}\na,b,5,\nc,b,4,\n").format
    assert form.columns == ("user", "item", "rating", "column_4")
    assert of_roles(form) == ("user", "item", "rating", None)
    form = found("user,item,rating,\na,b,5\nc,b,4\n").format
    assert form.columns == ("user", "item", "rating")


def test_a_header_of_unknown_names_above_numbers(found):
    with pytest.raises(DataError, match="which column holds the users") as error:
        found("p,q,r\n1,2,3\n2,3,4\n")
    assert settings(error) == ["data.user_column=p", "data.user_column=q", "data.user_column=r"]
    form = found("p,q,r\n1,2,3\n2,3,4\n", user_column="p", item_column="q").format
    assert of_roles(form) == ("p", "q", None, None)


def test_a_first_line_that_may_be_a_header_is_asked_about(found):
    with pytest.raises(DataError, match="may name the columns") as error:
        found("hund,katze\nanna,haus\nben,stift\n")
    assert settings(error)[0] == "data.columns=null"
    assert not found("anna,haus\nben,stift\nanna,heft\n").format.header  # anna again
    assert not found("u1,b7\nu2,b9\n").format.header
    assert found("hund,katze\nanna,haus\n", columns=["u", "i"]).format.columns == ("u", "i")


def test_a_row_of_words_that_are_names_elsewhere_is_no_header(found):
    assert not found(
        "u1,click,i5\nu2,click,i7\nu1,like,i5\n", positive_values=["like"]
    ).format.header
    assert not found("1,2\n1,2,3\n2,3,4\n2,4,5\n3,3,1\n3,2,5\n").format.header  # a bad row


def test_tables_of_other_things(tmp_path):
    def form(text: str) -> Format:
        path = tmp_path / "table"
        path.write_text(text)
        return guess_table(find(str(path)))

    assert form("recipe_id,kinds\n56,dairy\n62,fruit|meat\n").columns == ("recipe_id", "kinds")
    assert form("artikel;farbe\na;rot\nb;blau\n").columns == ("artikel", "farbe")
    assert form("user_id:token\tage:token\n1\t20\n").columns == ("user_id:token", "age:token")
    bare = form("1|Toy Story (1995)|x\n2|Heat|y\n")
    assert (bare.separator, bare.header, len(bare.columns)) == ("|", False, 3)
    assert form("farbe,form\nrot,rund\nblau,eckig\n").header
    assert form("user_id\n7\n8\n").columns == ("user_id",)


def test_a_header_that_the_settings_repeat_is_no_row(found):
    with pytest.raises(DataError, match=re.escape("data.columns=null")):
        found("user,item\n1,2\n", columns=["user", "item"])


def test_columns_asked_for(found):
    form = found("1,2,3\n", columns=["item", "user"]).format
    assert (form.header, form.columns) == (False, ("item", "user", "column_3"))
    assert of_roles(form) == ("user", "item", None, None)
    with pytest.raises(DataError, match=r"1 fields in its first line, and data.columns names 2"):
        found("1\n2\n", columns=["item", "user"], separator=",")


def test_a_separator_that_is_not_that_of_the_file_shows_in_the_columns(found):
    text = "user;item;rating\n1;2;3\n2;3;4\n"
    with pytest.raises(DataError, match=r"columns are user;item;rating.*data.separator \(','\)"):
        found(text, separator=",", user_column="user", item_column="item")


def test_a_column_that_is_not_there(found):
    names = [f"name{n}" for n in range(30)]
    text = ",".join(["user", "item", *names]) + "\n" + ",".join(["1"] * 32) + "\n"
    with pytest.raises(DataError, match="no column 'name_29': its columns are name29, ") as error:
        found(text, user_column="name_29")
    assert "and 22 more" in str(error.value)
    with pytest.raises(DataError, match="2 columns 'a'"):
        found("a,a,item\n1,2,3\n2,3,4\n", user_column="a")


# Roles


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("userId,movieId,rating,timestamp", (0, 1, 2, 3)),
        ("User-ID,ISBN,Book-Rating,x", (0, 1, 2, None)),
        ("reviewerID,asin,overall,unixReviewTime", (0, 1, 2, 3)),
        ("product_id,customer_id,star_rating,review_date", (1, 0, 2, 3)),
        ("visitorid,itemid,view,timestamp", (0, 1, None, 3)),
        ("asin,parent_asin,user_id,rating", (2, 0, 3, None)),
        ("session_id,category_id,y,n_items", (0, 1, 2, None)),
        ("session_id,user_id,item_id,ts", (1, 2, None, 3)),
        ("member,song,playcount,u", (0, 1, 2, None)),
        ("dim_user_sk,product_sk,stars,x", (0, 1, 2, None)),
        ("CustomerID,StockCode,Quantity,InvoiceDate", (0, 1, 2, 3)),
    ],
)
def test_names_that_people_use(found, header, expected):
    rows = ["1,2,3,978300760", "2,3,4,978300761"]
    if expected[3] is None:
        rows = ["1,2,3,4", "2,3,4,5"]
    form = found("\n".join([header, *rows]) + "\n").format
    names = header.split(",")
    assert of_roles(form) == tuple(None if place is None else names[place] for place in expected)


def test_two_names_of_equal_standing_are_asked_about(found):
    text = "customer_id,member_id,item\n1,2,3\n2,3,4\n"
    with pytest.raises(DataError) as error:
        found(text)
    assert settings(error) == ["data.user_column=customer_id", "data.user_column=member_id"]
    assert found(text, user_column="member_id").format.user == "member_id"
    with pytest.raises(DataError, match="several columns that may hold the ratings") as error:
        found("user,item,rating,stars\n1,2,3,4\n2,3,4,5\n")
    assert settings(error)[-1] == "data.rating_column=null"


def test_the_only_column_left_is_that_of_the_items(found):
    form = found("user_id,gadget,rating\n1,2,3\n1,3,4\n").format
    assert of_roles(form) == ("user_id", "gadget", "rating", None)


def test_a_table_of_features_is_no_table_of_interactions(found):
    with pytest.raises(DataError, match=r"Set data\.user_features to it"):
        found("user_id,age,job\n1,20,x\n2,30,y\n")


def test_a_question_shows_no_more_than_ten_names(found):
    names = [f"name{n}" for n in range(30)]
    with pytest.raises(DataError, match="and 20 more") as error:
        found(",".join(names) + "\n" + ",".join(f"{n}" for n in range(30)) + "\n")
    assert len(settings(error)) == 10


def test_order_without_names(found):
    assert of_roles(found("1\t5\n1\t6\n2\t5\n").format) == ("column_1", "column_2", None, None)
    three = "1\t5\t881250949\n1\t6\t881250950\n"
    assert of_roles(found(three).format) == ("column_1", "column_2", None, "column_3")
    pinterest = "0\t1\t1\t0\n1\t25\t1\t0\n2\t44\t1\t0\n"
    assert of_roles(found(pinterest).format) == ("column_1", "column_2", "column_3", None)
    texts = "a,x,2017-01-02,5\nb,y,2017-01-03,4\n"
    assert of_roles(found(texts).format) == ("column_1", "column_2", "column_4", "column_3")
    names = "u1\tm1\tRadiohead\t12\nu2\tm2\tBlur\t7\nu2\tm3\tPulp\t9\n"
    assert of_roles(found(names).format) == ("column_1", "column_2", "column_4", None)


def test_an_order_that_most_do_not_use_is_asked_about(found):
    swapped = "".join(f"{n % 40},{n % 5 + 1},{n * 7 % 90 + 100}\n" for n in range(200))
    with pytest.raises(DataError, match="second column holds few different numbers") as error:
        found(swapped)
    assert settings(error) == [
        "data.columns=[user_id,item_id,rating]",
        "data.columns=[user_id,rating,item_id]",
    ]
    times = "".join(f"{978300760 + n},{n % 7},{n % 11}\n" for n in range(50))
    with pytest.raises(DataError, match="grow as times do") as error:
        found(times)
    assert settings(error)[1] == "data.columns=[timestamp,user_id,item_id]"


def test_numbers_of_rows_may_be_users(found):
    text = "".join(f"{n},u{n * 7 % 31},i{n * 5 % 37},{n % 5}\n" for n in range(60))
    with pytest.raises(DataError, match="the numbers of the rows, or the users") as error:
        found(text)
    assert settings(error)[1] == "data.columns=[row,user_id,item_id,rating]"
    rated = "".join(f"{n},i{n * 5 % 37},{n % 5}\n" for n in range(60))
    assert found(rated).format.user == "column_1"


def test_the_column_that_holds_the_words_of_positives(found):
    text = "user,item,rating,kind\n1,2,3,buy\n1,3,4,look\n2,2,4,buy\n"
    assert found(text).format.rating == "rating"
    assert found(text, positive_values=["buy"]).format.rating == "kind"


def test_several_ids_in_a_cell_are_refused(found):
    text = 'user_id;item_id\n"1,234";5\n"12,345";6\n'
    assert found(text).format.user == "user_id"
    assert found("user;list\n1;2 3\n2;4 5\n", user_column="user", item_column="list").format
    for cell in ("1 2 3", "[4, 5]", "7|8"):
        with pytest.raises(DataError, match="several ids in one cell"):
            found(f"user;items\n1;{cell}\n2;{cell}\n")


def test_words_in_the_rating_column_are_asked_about(found):
    text = "user,item,event\n1,2,view\n1,3,addtocart\n2,2,view\n"
    with pytest.raises(DataError, match="holds view, addtocart, and no ratings") as error:
        found(text)
    assert "data.positive_values=[view,addtocart]" in str(error.value)
    assert found(text, positive_values=["view"]).format.rating == "event"
    with pytest.raises(DataError, match=r"data\.positive_values=\[.true.\]"):
        found("user,item,liked\n1,2,true\n1,3,false\n")
    assert found("user,item,rating\n1,2,good\n").format.rating == "rating"  # for the reading
    with pytest.raises(DataError, match="holds texts, and no ratings") as error:
        found("user,item,rating\n1,2,Great fun for all of us together!\n1,3,Bad\n")
    assert "Great" not in str(error.value)


# Dates


@pytest.mark.parametrize(
    ("texts", "dates"),
    [
        (["978300760", "978300761.5"], "number"),
        (["2017-08-18", "2017/8/9 10:11:12.5Z"], "iso"),
        (["31/12/2017", "01/02/2017"], "%d/%m/%Y"),
        (["12/31/2017 08:26", "1/2/2017 9:05"], "%m/%d/%Y %H:%M"),
        (["24.12.2017", "01.02.2018"], "%d.%m.%Y"),
        (["01-Jan-1995", "02-Feb-1996"], "%d-%b-%Y"),
        (["Mon Jan 02 15:04:05 2006", "Tue Jan 03 15:04:05 2006"], "%a %b %d %H:%M:%S %Y"),
        (["09 13, 2009", "12 31, 2010"], "%m %d, %Y"),
        (["20170818", "20170819"], "number"),
    ],
)
def test_forms_of_dates(found, texts, dates):
    text = "user;item;date\n" + "".join(f"{n};7;{each}\n" for n, each in enumerate(texts))
    form = found(text).format
    assert (form.time, form.dates) == ("date", dates)


def test_day_and_month_that_cannot_be_told_apart_are_asked_about(found):
    text = "user,item,date\n1,2,01/02/2017\n2,3,03/04/2017\n"
    with pytest.raises(DataError, match="day or the month first") as error:
        found(text)
    assert settings(error) == [
        "data.date_format='%d/%m/%Y'",
        "data.date_format='%m/%d/%Y'",
        "data.timestamp_column=null",
    ]
    assert found(text, date_format="%m/%d/%Y").format.dates == "%m/%d/%Y"
    assert found(text, timestamp_column=None).format.time is None


# Lists


def test_lists(found):
    form = found("0 7202 114\n1 5\n2\n3 9 8 7 6\n").format
    assert (form.shape, form.separator, form.header) == ("lists", BLANKS, False)
    assert found("0,7202,114\n1,5\n2,5,6,7\n").format.separator == ","
    assert found("0\t7\t4\n1\t5\n2\t5\t6\t7\n").format.separator == BLANKS


def test_counted_lists(found):
    form = found("3 7202 114 9\n1 5\n0\n2 8 9\n").format
    assert (form.shape, form.user) == ("counted_lists", None)


def test_lists_whose_first_line_has_another_length_than_most(found):
    assert found("0 75 64\n7 17\n14 17\n").format.shape == "lists"
    assert found("0\n1,8\n1,5\n").format.shape == "counted_lists"


def test_lists_of_mostly_one_item(found):
    lines = [f"{n} {n * 7}\n" for n in range(90)] + ["90 4 5\n"] * 10
    assert found("".join(lines)).format.shape == "lists"
    lines = [f"{n} {n * 7}\n" for n in range(99)] + ["90 4 5\n"]
    with pytest.raises(DataError) as error:
        found("".join(lines))
    assert settings(error) == ["data.shape=long", "data.shape=lists"]
    assert found("".join(lines), shape="long").format.shape == "long"
    assert found("".join(lines), shape="lists").format.shape == "lists"


def test_lists_of_one_length_are_asked_about(found):
    text = "".join(f"{n} {n * 37 % 101} {n * 53 % 103}\n" for n in range(1, 40))
    with pytest.raises(DataError) as error:
        found(text)
    assert settings(error) == ["data.shape=long", "data.shape=lists"]


def test_lines_of_one_field_and_uneven_text(found):
    with pytest.raises(DataError, match="one field a line"):
        found("anna\nben\n")
    with pytest.raises(DataError, match="unlike numbers of fields"):
        found("What a film\nI saw it twice and more\nNo\n")


def test_a_file_of_nothing(found):
    for text in ("", "\n\n"):
        with pytest.raises(DataError, match="is empty"):
            found(text)


# Matrices


def test_a_matrix_of_users(found):
    for header in ("user_id,1,2,3,4", ",item1,item2,item3,item4", "user,a,b,c,d"):
        text = f"{header}\nanna,5,,3,1\nben,,4,4,2\n"
        form = found(text).format
        assert (form.shape, form.header) == ("users_by_items", True)
        assert form.user == (header.split(",")[0] or "column_1")
        assert form.values == tuple(header.split(",")[1:])
        assert form.rating is None


def test_a_matrix_of_items(found):
    text = "title,User_1,User_2,User_3\nDick Johnson,3.0,4.0,\nThe Kids,,3.0,1.5\n"
    form = found(text).format
    assert (form.shape, form.item, form.user) == ("items_by_users", "title", None)
    assert form.values == ("User_1", "User_2", "User_3")


def test_a_matrix_whose_names_tell_nothing_is_asked_about(found):
    text = ",a1,a2,a3,a4\nx,5,,3,1\ny,,4,4,2\n"
    with pytest.raises(DataError, match="rows may be the users or the items") as error:
        found(text)
    assert settings(error) == ["data.shape=users_by_items", "data.shape=items_by_users"]
    form = found(text, shape="items_by_users").format
    assert (form.item, form.values) == ("column_1", ("a1", "a2", "a3", "a4"))


def test_a_matrix_without_names(found):
    lines = ["74 -7.82 8.79 99 -8.16 -7.52", "100 4.08 -0.29 6.36 4.37 99", "74 99 99 99 9.5 9.25"]
    text = "".join(line.replace(" ", "\t") + "\n" for line in lines)
    what = found(text)
    form = what.format
    assert (form.shape, form.user, form.item) == ("users_by_items", None, None)
    assert form.columns == ("column_1", "1", "2", "3", "4", "5")
    assert form.values == ("1", "2", "3", "4", "5")
    assert what.unrated == 99
    ids = "".join(f"{n + 500};{n % 5};0;3;5;1\n" for n in range(9))
    assert found(ids).format.user == "column_1"
    for first in (["", "3", ""], ["99", "2", "4"], ["4", "2", "5"]):  # a rating as the others
        text = "".join(f"{each},3,99,1,5,2\n" for each in first)
        assert found(text).format.values == ("1", "2", "3", "4", "5", "6")


def test_columns_that_are_asked_for_make_no_matrix(found):
    text = ",".join(f"c{n}" for n in range(20)) + "\n" + ",".join("1234" * 5) + "\n"
    form = found(text, user_column="c1", item_column="c2", rating_column="c3").format
    assert of_roles(form) == ("c1", "c2", "c3", None)


def test_a_long_table_of_many_numbers_is_no_matrix(found):
    text = "".join(f"{n},{n * 7 % 99},{n % 5},{978300760 + n},{n % 3}\n" for n in range(30))
    with pytest.raises(DataError, match="no line that names its 5 columns") as error:
        found(text)
    assert settings(error)[0] == "data.columns=[user_id,item_id,rating,timestamp]"
    form = found(text, columns=["user_id", "item_id", "rating", "timestamp"]).format
    assert (form.shape, form.time, len(form.columns)) == ("long", "timestamp", 5)


# Words and thresholds


def test_notes_say_what_was_found_and_how_to_say_otherwise(found):
    what = found("userID\tartistID\tweight\n2\t51\t13883\n2\t52\t11690\n")
    assert what.in_words() == (
        "separator tab, header in the first line, users in userID, items in artistID, ratings in "
        "weight, times none"
    )
    assert [note.setting for note in what.notes] == [
        "data.separator=tab",
        "data.columns=null",
        "data.user_column=userID",
        "data.item_column=artistID",
        "data.rating_column=weight",
        "data.timestamp_column=null",
    ]
    said = {"separator": "\t", "columns": None, "user_column": "userID", "item_column": "artistID"}
    said |= {"rating_column": "weight", "timestamp_column": None}
    again = found("userID\tartistID\tweight\n2\t51\t13883\n2\t52\t11690\n", **said)
    assert again.format == what.format
    assert not again.notes


@pytest.mark.parametrize(
    ("low", "high", "whole", "name", "expected"),
    [
        (0, 1, True, "y", 1),
        (1, 1, True, "column_3", 1),
        (0.5, 5, False, "rating", 4),
        (0, 5, True, None, 4),
        (1, 10, True, "Book-Rating", 7),
        (0, 100, True, "score", 70),
        (1, 13883, True, "weight", None),
        (1, 4, True, "plays", None),
        (0, 700, True, "column_3", 1),
        (-80, 600, True, "Quantity", 1),
        (1, 700, True, None, None),
    ],
)
def test_thresholds(low, high, whole, name, expected):
    assert threshold(low, high, whole, name)[0] == expected


@pytest.mark.parametrize(
    ("low", "high", "whole", "name"),
    [
        (-10, 10, False, None),
        (-1, 1, True, "rating"),
        (0, 0.8, False, "score"),
        (1, 3, True, "rating"),
        (1, 60, True, "column_3"),
        (0, 250.5, False, "rating"),
    ],
)
def test_ranges_that_tell_no_threshold_are_asked_about(low, high, whole, name):
    with pytest.raises(DataError, match=r"Add data\.positive_rating="):
        threshold(low, high, whole, name)


# Files that name their columns themselves


@pytest.mark.parametrize("kind", ["parquet", "arrow", "json"])
def test_typed_files(tmp_path, kind):
    frame = pandas.DataFrame(
        {
            "userId": [1, 2, 2],
            "movieId": ["a", "b", "c"],
            "rating": [4.5, 3.0, None],
            "when": pandas.to_datetime(["2017-08-18", "2017-08-19", "2017-08-20"]),
        }
    ).rename(columns={"when": "date"})
    path = tmp_path / "ratings"
    if kind == "parquet":
        frame.to_parquet(path)
    elif kind == "arrow":
        frame.to_feather(path)
    else:
        frame.to_json(path, orient="records", lines=True, date_format="iso")
    what = guess(find(str(path)), Asked())
    assert of_roles(what.format) == ("userId", "movieId", "rating", "date")
    assert (what.format.kind, what.format.dates) == (kind, "iso")
    assert what.format.columns == tuple(frame.columns)


def test_a_list_of_json_objects_and_values_of_many_forms(tmp_path):
    path = tmp_path / "events.json"
    path.write_text(
        '[{"user": 18446744073709551616, "item": "007", "plays": 1.0},\n'
        '{"user": 3, "item": null, "plays": 2, "extra": {"a": [1]}}]'
    )
    names, rows = typed.first_rows(find(str(path))[0])
    assert names == ["user", "item", "plays", "extra"]
    assert rows == [["18446744073709551616", "007", "1.0", ""], ["3", "", "2", '{"a": ["1"]}']]
    assert of_roles(guess(find(str(path)), Asked()).format) == ("user", "item", "plays", None)


def test_folders_are_columns_too(tmp_path):
    frame = pandas.DataFrame({"user": [1, 2], "item": [2, 3]})
    parts = []
    for date in ("2020-01-01", "2020-01-02"):
        path = tmp_path / f"date={date}" / "part.parquet"
        path.parent.mkdir()
        frame.to_parquet(path)
        parts.append(File(path, "parquet", folders=(("date", date),)))
    form = guess(parts, Asked()).format
    assert form.columns == ("user", "item", "date")
    assert of_roles(form) == ("user", "item", None, "date")


# Real files

FIELD = {
    "field/lastfm_user_artists.dat": ("userID", "artistID", "weight", None),
    "field/sasrec_Video.txt": ("column_1", "column_2", None, None),
    "field/pinterest-20.test.rating": ("column_1", "column_2", "column_3", None),
    "field/ratings.csv.zip": ("userId", "movieId", "rating", "timestamp"),
    "field/movielens_small.parquet": ("userId", "movieId", "rating", "timestamp"),
    "field/book_crossing_cr.csv": ("User-ID", "ISBN", "Book-Rating", None),
    "field/yelp_train_stars.csv": ("user_id", "business_id", "stars", None),
    "field/online_retail.csv": ("CustomerID", "StockCode", "Quantity", "InvoiceDate"),
    "field/spark_parts": ("session_id", "category_id", "y", "atc_ts"),
    "ml-100k/u.data": ("column_1", "column_2", "column_3", "column_4"),
    "foodcom_dense.csv.gz": ("user_id", "recipe_id", "rating", None),
    "foodcom_raw_sample.csv.gz": ("user_id", "recipe_id", "rating", "date"),
    "foodcom_interactions_test.csv.gz": ("user_id", "recipe_id", "rating", "date"),
    "ledger/gowalla/train.csv.gz": ("user", "item", None, None),
    "ledger/ml-1m/ratings.csv.gz": ("user_id", "movie_id", "rating", None),
}


@pytest.mark.parametrize("name", FIELD)
def test_columns_of_real_files(real_data, name):
    form = guess(find(str(real_data / name)), Asked()).format
    assert (form.shape, of_roles(form)) == ("long", FIELD[name])


@pytest.mark.parametrize(
    ("name", "shape", "ids", "number"),
    [
        ("amazonbook_lightgcn_test.txt", "lists", (None, None), 0),
        ("jester.csv", "users_by_items", (None, None), 10),
        ("user_item_matrix_small.csv", "items_by_users", (None, "title"), 100),
    ],
)
def test_shapes_of_real_files(real_data, name, shape, ids, number):
    what = guess(find(str(real_data / "field" / name)), Asked())
    form = what.format
    assert (form.shape, (form.user, form.item), len(form.values)) == (shape, ids, number)
    assert what.unrated == (99 if name == "jester.csv" else None)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("ml-100k.user", "user"), ("ml-100k.item", "item"), ("../ml-1m/users.csv", "user")],
)
def test_real_tables_of_features(real_data, name, kind):
    files = find(str(real_data / "ledger" / "ml-100k" / name))
    with pytest.raises(DataError, match=rf"Set data\.{kind}_features to it"):
        guess(files, Asked())
    assert guess_table(files).header


def test_one_column_of_dates_is_the_times_however_it_is_named(tmp_path):
    def times(*names: str) -> str | None:
        rows = [
            f"u{n % 3},i{n % 4},{','.join([f'2020-01-{n:02}'] * len(names))}\n"
            for n in (1, 2, 3, 4, 5)
        ]
        path = tmp_path / "f.csv"
        path.write_text(",".join(["user", "item", *names]) + "\n" + "".join(rows))
        return guess(find(str(path)), Asked()).format.time

    assert times("when") == "when"
    assert times("begun", "ended") is None
    assert times("begun", "date") == "date"
