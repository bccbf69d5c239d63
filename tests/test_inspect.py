"""`recsweep inspect`: what is shown of a file, and the question where it could mean two things."""

import json
from pathlib import Path

import pytest

from recsweep import cli
from tests.test_cli import REPOSITORY, _assert_light, _probe

RATINGS = "userId\tmovieId\tstars\ttimestamp\n" + "".join(
    f"u{n}\t{n % 3}\t{n % 5 + 1}\t{978300760 + n}\n" for n in range(8)
)


@pytest.fixture
def inspect(tmp_path, monkeypatch, capsys):
    """inspect(content, *arguments): exit status, stdout and stderr of `recsweep inspect` for a file
    that holds the content."""

    def inspect(content: str | bytes, *arguments: str, name: str = "f") -> tuple[int, str, str]:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        monkeypatch.setattr("sys.argv", ["recsweep", "inspect", str(path), *arguments])
        status = 0
        try:
            cli.main()
        except SystemExit as end:
            status = end.code
        out, err = capsys.readouterr()
        return status, out, err

    return inspect


def cells(shown: str) -> list[list[str]]:
    """Cells of all tables that were drawn."""
    lines = [line for line in shown.splitlines() if line.startswith(("│", "┃"))]
    return [[cell.strip() for cell in line.replace("┃", "│").split("│")[1:-1]] for line in lines]


def test_what_was_found_the_first_rows_and_the_command(inspect, tmp_path):
    status, shown, _ = inspect(RATINGS)
    assert status == 0
    table = cells(shown)
    assert ["separator", "tab", "data.separator=tab"] in table
    assert ["users", "in userId", "data.user_column=userId"] in table
    assert ["ratings", "in stars", "data.rating_column=stars"] in table
    positives = "rated at least 4, as they run to 5 (by the first 8 rows)"
    assert ["positives", positives, "data.positive_rating=NUMBER"] in table
    assert ["u0", "0", "1", "978300760"] in table
    assert ["u4", "1", "5", "978300764"] in table
    assert ["u5", "2", "1", "978300765"] not in table
    assert f"python train.py data.path={tmp_path}/f" in shown


def test_settings_count_wherever_they_stand(inspect):
    told = ["data.rating_column=null", "data.timestamp_column=null"]
    for words in (told, [told[0], "--format", "table", told[1]]):
        status, shown, _ = inspect(RATINGS, *words)
        assert status == 0
        assert ["positives", "every row", "data.positive_rating=NUMBER"] in cells(shown)
        assert shown.rstrip().endswith(" ".join(told))


def test_for_programs(inspect):
    status, shown, _ = inspect(RATINGS, "--format", "json")
    found, rows = json.loads(shown)
    assert status == 0
    assert found["table"] == "found"
    assert {
        "what": "times",
        "found": "in timestamp",
        "setting": "data.timestamp_column=timestamp",
    } in (found["rows"])
    assert rows["rows"][0] == {
        "userId": "u0",
        "movieId": "0",
        "stars": "1",
        "timestamp": "978300760",
    }


def test_an_ambiguous_file_shows_its_lines_and_the_question(inspect):
    status, shown, error = inspect("hund,katze\nanna,haus\nben,stift\n")
    assert status == 1
    assert "anna,haus" in shown
    assert "Add to the command data.columns=null or" in error
    status, shown, _ = inspect("hund,katze\nanna,haus\nben,stift\n", "data.columns=[user,item]")
    assert status == 0
    assert ["hund", "katze"] in cells(shown)


def test_a_range_that_tells_no_threshold_ends_in_the_question(inspect):
    text = RATINGS.replace("\t5\t", "\t-9.5\t")
    status, shown, error = inspect(text)
    assert status == 1
    assert ["ratings", "in stars", "data.rating_column=stars"] in cells(shown)
    assert "Add data.positive_rating=" in error
    assert "python train.py" not in shown
    assert inspect(text, "data.positive_rating=3")[0] == 0


def test_lists_and_matrices(inspect):
    _, shown, _ = inspect("0 7202 114\n1 5\n2 9 8 7\n")
    assert ["2", "9 8 7"] in cells(shown)
    header = "title," + ",".join(f"user_{n}" for n in range(40))
    row = "Toy Story," + ",".join(f"{n % 5 + 1}" for n in range(40))
    _, shown, _ = inspect(f"{header}\n{row}\n{row}\n")
    assert "and 29 more columns" in shown


def test_features(inspect, tmp_path):
    users = tmp_path / "users.csv"
    users.write_text("userId,age,job\nu0,20,smith\nu1,30,cook\nu2,40,cook\n")
    status, shown, _ = inspect(RATINGS, f"data.user_features={users}")
    assert status == 0
    assert "features of users" in shown
    assert [row[:2] for row in cells(shown) if row[0] == "job"] == [["job", "category"]]


def test_what_a_terminal_acts_on_is_not_sent_to_it(inspect):
    _, shown, _ = inspect("user,item,rating\na\x1b[31m,1,4\nb,2,5\n")
    assert "\x1b" not in shown
    assert r"a\x1b[31m" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model=knn"], "takes settings of the data"),
        (["data.separatr=tab"], "There is no setting data.separatr. Did you mean data.separator?"),
        (["data.user_column=nobody"], "has no column 'nobody'"),
        (["--formt", "json"], "Did you mean --format?"),
    ],
)
def test_mistakes(inspect, words, said):
    status, _, error = inspect(RATINGS, *words)
    assert status > 0
    assert said in error


def test_no_such_file(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["recsweep", "inspect", "nothere.csv"])
    with pytest.raises(SystemExit):
        cli.main()
    assert "There is no file" in capsys.readouterr().err


def test_it_is_light(tmp_path):
    path = tmp_path / "ratings.tsv"
    path.write_text(RATINGS)
    script = Path(__file__).parents[1] / "train.py"
    assert script.parent == REPOSITORY
    run = tmp_path / "run.py"
    run.write_text("from recsweep.cli import main\nmain()\n")
    _assert_light(_probe(run, "inspect", path, cwd=tmp_path))
