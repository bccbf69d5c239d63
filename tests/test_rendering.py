"""A table in every form, templates that escape, and `--format` of every command with a table."""

import csv
import io
import json
import logging
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from recsweep import cli, logs
from recsweep.cli.output import FORMATS, Output
from recsweep.comparison.resampling import Difference, Interval
from recsweep.data.files.streams import _with_bar
from recsweep.errors import DataError
from recsweep.models.base import Fit
from recsweep.promotion.audit import Decision
from recsweep.promotion.rule import Judgement, Line
from recsweep.rendering import Column, Table, page, plain, print_tables, shown
from recsweep.run.record import Outcome
from recsweep.run.tables import comparison_table
from recsweep.terminal import ACTED_ON, printable, take_any_text, tell
from recsweep.tuning.progress import _bar
from recsweep.tuning.records import StudyRecord, TrialRecord
from recsweep.tuning.state import State
from recsweep.tuning.tables import leaderboard_table
from tests.stored_runs import OPTIONS, made_report, store_run

NAMES = ['say "hi", twice', "a|b", "two\nlines", "Čaj ☕ [bold]x[/] :smile:", "<b>&amp;"]
VALUES = [1 / 3, float("nan"), None, np.float32(0.5), 2]


@pytest.fixture
def table() -> Table:
    rows = [
        {"name": name, "value": value, "for_programs": place}
        for place, (name, value) in enumerate(zip(NAMES, VALUES, strict=True))
    ]
    columns = [Column("name", "a name", left=True), Column("value", "its | value", ".4f")]
    return Table(
        columns,
        rows,
        title="odd <things>",
        footer=[{"name": "below"}],
        bold={(0, "value")},
        styles={1: "bold red"},
    )


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """terminal(width): rich takes stdout for a terminal of so many characters."""

    def terminal(width: int) -> None:
        monkeypatch.setenv("TTY_COMPATIBLE", "1")
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", str(width))

    return terminal


def without_styles(printed: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", printed)


def many_columns() -> Table:
    """Twelve values of four models: more than 200 characters hold."""
    rows = [
        {
            "model": f"a long name of model {row}",
            **{str(place): float(f"0.{row}{place:03}") for place in range(12)},
        }
        for row in range(1, 5)
    ]
    values = [
        Column(str(place), f"value {place} by name", ".4f", drops=place) for place in range(12)
    ]
    return Table([Column("model", "model", left=True), *values], rows, title="many")


class _Cells(HTMLParser):
    """Texts of the cells of an HTML table."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._is_open = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        if tag in ("td", "th"):
            self._is_open = True
            self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._is_open = False

    def handle_data(self, data: str) -> None:
        if self._is_open:
            self.texts[-1] += data


class TestTerminal:
    ACTS = "\x1b[31m\x9b31m\a\b\r\t\x7f\u202e\u2066\ud800"

    def test_what_it_would_act_on_is_shown(self):
        assert printable(self.ACTS) == (r"\x1b[31m\x9b31m\x07\x08\r\t\x7f\u202e\u2066\ud800")
        assert printable("Čaj ☕, ‘é’ – ملف\n") == "Čaj ☕, ‘é’ – ملف\n"

    @pytest.mark.parametrize("form", FORMATS)
    def test_a_table_of_names_that_act(self, form, capsys, monkeypatch):
        monkeypatch.setattr("sys.stdout.isatty", lambda: form == "csv")  # no styles of rich's
        table = Table([Column("name", self.ACTS)], [{"name": self.ACTS}], title=self.ACTS)
        with Output(form) as output:
            output.say(self.ACTS)
            output.show(table, heading=self.ACTS, beside={"user_id": self.ACTS})
        printed, said = capsys.readouterr()
        assert ACTED_ON.findall(printed) == []
        assert ACTED_ON.findall(said) == []
        assert "31m" in printed
        if form == "json":
            assert json.loads(printed)["rows"] == [{"name": self.ACTS}]

    def test_a_csv_file_gets_names_as_they_are(self, capsys):
        with Output("csv") as output:
            output.show(Table([Column("name", "name")], [{"name": "\x1b[31m"}]))
        assert capsys.readouterr().out == "name\n\x1b[31m\n"

    def test_errors_and_messages(self):
        assert str(DataError(self.ACTS)) == printable(self.ACTS)
        record = logging.LogRecord("x", logging.INFO, "", 0, "of %s", ("\x1b[31m",), None)
        assert logs._MaskedFormatter("%(message)s").format(record) == r"of \x1b[31m"

    def test_one_that_writes_ascii_alone(self, table, monkeypatch):
        written = io.BytesIO()
        monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, "ascii"))
        take_any_text()
        tell("mean – se → ±")
        print_tables(table)
        with Output("json") as output:
            output.show(table)
        sys.stdout.flush()
        lines = written.getvalue().decode("ascii").splitlines()
        assert lines[0] == r"mean \u2013 se \u2192 \xb1"
        printed = "\n".join(lines)
        rows = json.loads(printed[printed.index("\n{") :])["rows"]
        assert [row["name"] for row in rows] == NAMES

    @pytest.mark.parametrize("name", ["[/x]", "[bold]", "\x1b[31m"])
    def test_names_are_no_markup_of_a_bar(self, name, capsys, monkeypatch):
        with _with_bar(io.BytesIO(b"text"), 4, f"Reading {name}") as stream:
            assert stream.read() == b"text"
        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
        bar = _bar(name, 3, 1)
        with bar:
            bar.update(bar.task_ids[0], completed=2)
        assert printable(name) in capsys.readouterr().out


class TestTable:
    def test_of_a_terminal(self, table, capsys):
        print_tables(table)
        printed = capsys.readouterr().out
        rows = [
            [cell.strip() for cell in line.strip("│").split("│")]
            for line in printed.splitlines()
            if line.startswith("│")
        ]
        assert rows == [
            [NAMES[0], "0.3333"],
            ["a|b", "–"],
            ["two", "–"],
            ["lines", ""],
            ["Čaj ☕ [bold]x[/] :smile:", "0.5000"],
            ["<b>&amp;", "2.0000"],
            ["below", ""],
        ]
        assert printed.startswith("odd <things>")

    def test_tables_stand_side_by_side(self, table, capsys):
        print_tables(table, table)
        assert capsys.readouterr().out.count("\n│ a|b") == 1

    @pytest.mark.parametrize("width", [80, 120, 200])
    def test_no_number_and_no_name_is_broken(self, width, capsys, terminal):
        table = many_columns()
        terminal(width)
        print_tables(table, more=": --wide")
        printed = without_styles(capsys.readouterr().out)
        lines = printed.splitlines()
        assert max(map(len, lines)) <= width
        assert all(row["model"] in printed for row in table.rows)
        is_card = [line.startswith("  value 0 ") for line in lines]
        if width == 80:  # a card a model has all of them
            assert sum(is_card) == len(table.rows)
            assert "more column" not in printed
        else:
            assert not any(is_card)
        dropped = 2 if width == 120 else 0
        for place in range(12):
            shown_rows = [f"0.{row}{place:03}" in printed for row in range(1, 5)]
            assert shown_rows == 4 * [place < 12 - dropped]
        assert (lines[-1] == f"{dropped} more columns: --wide") == bool(dropped)

    def test_wide_has_all_columns_in_a_line(self, capsys, terminal):
        terminal(80)
        print_tables(many_columns(), wide=True)
        printed = without_styles(capsys.readouterr().out)
        (line,) = [line for line in printed.splitlines() if "model 1" in line]
        assert all(f"0.1{place:03}" in line for place in range(12))

    def test_words_are_broken_between_them_alone(self, capsys, terminal):
        terminal(60)
        rows = [{"name": "a name", "source": "some words that are longer than a line of these"}]
        columns = [Column("name", "name"), Column("source", "where from", left=True, wraps=True)]
        print_tables(Table([columns[0], Column("no", "a value"), columns[1]], rows))
        printed = capsys.readouterr().out
        words = [word for word in without_styles(printed).split() if word.isalpha()]
        assert set(rows[0]["source"].split()) <= set(words)

    def test_of_markdown(self, table):
        assert table.markdown().splitlines() == [
            r"| a name | its \| value |",
            "| --- | ---: |",
            '| say "hi", twice | **0.3333** |',
            r"| **a\|b** | **–** |",
            "| two lines | – |",
            "| Čaj ☕ [bold]x[/] :smile: | 0.5000 |",
            "| <b>&amp; | 2.0000 |",
            "| below |  |",
        ]

    def test_of_html(self, table):
        html = table.html()
        assert table._repr_html_() == html
        assert "<b>&amp;amp;" not in html
        assert "<caption>odd &lt;things&gt;</caption>" in html
        assert "<b>0.3333</b>" in html
        assert _Cells(html).texts[:6] == ["a name", "its | value", NAMES[0], "0.3333", "a|b", "–"]
        assert _Cells(html).texts[10:] == [NAMES[4], "2.0000", "below", ""]

    def test_of_csv(self, table):
        rows = list(csv.DictReader(io.StringIO(table.csv())))
        assert [row["name"] for row in rows] == NAMES
        assert [row["value"] for row in rows] == ["0.3333333333333333", "", "", "0.5", "2"]
        assert [row["for_programs"] for row in rows] == list("01234")

    def test_of_json(self, table):
        rows = json.loads(table.json())
        assert rows == table.records()
        assert [row["value"] for row in rows] == [1 / 3, None, None, 0.5, 2]
        assert [row["name"] for row in rows] == NAMES

    def test_without_rows(self, capsys):
        empty = Table([Column("name", "a name"), Column("value", "its value")], [])
        assert (empty.csv(), empty.json()) == ("name,value\n", "[]")
        assert empty.markdown() == "| a name | its value |\n| ---: | ---: |"
        assert "<tbody>" in empty.html()
        print_tables(empty)

    def test_lists_and_truths_in_a_csv_file(self):
        table = Table(
            [],
            [{"runs": ["a", "b"], "met": True}, {"runs": [], "met": False, "more": float("inf")}],
            names={"met": "holds"},
        )
        assert table.csv() == "runs,holds,more\na b,true,\n,false,\n"

    def test_head_keeps_what_stands_out(self, table):
        assert table.head(1).markdown().splitlines()[2:] == [
            '| say "hi", twice | **0.3333** |',
            "| below |  |",
        ]

    @pytest.mark.parametrize(
        ("value", "form", "text"),
        [
            (None, ".4f", "–"),
            (float("nan"), "", "–"),
            (np.float64("nan"), ".1f", "–"),
            (0, ".4f", "0.0000"),
            (True, ".4f", "True"),
            ("–", ".4f", "–"),
            (12345.6, ",.0f", "12,346"),
            (float("inf"), ".2f", "inf"),
        ],
    )
    def test_a_value(self, value, form, text):
        assert shown(value, form) == text

    def test_what_is_not_finite_is_null(self):
        found = plain(
            {"a": [float("inf"), np.nan, np.arange(2)], "b": (np.int64(3), "x", np.bool_(True))}
        )
        assert found == {"a": [None, None, [0, 1]], "b": [3, "x", True]}
        assert json.dumps(found)


class TestPages:
    def test_a_study_with_markup_in_its_names(self):
        table = Table([Column("model", "model")], [{"model": "<i>net</i>"}])
        html = page(
            "study.html",
            heading="<script>alert(1)",
            state=State("running: <b>1", is_running=True, written=1),
            words=["a & b"],
            tables=[table],
            plots=[{"title": "<p>", "words": "<p>", "svg": "<svg></svg>"}],
            reload_seconds=15,
        )
        assert html.count("<script>") == 1, "the page's own"
        assert "<i>" not in html
        assert "<b>" not in html
        assert "<h1>&lt;script&gt;alert(1)</h1>" in html
        assert "<p>a &amp; b</p>" in html
        assert "<figcaption>&lt;p&gt;</figcaption>" in html


class TestTables:
    def test_the_best_is_found_among_numbers(self):
        rows = [
            (name, {"validation/mse": mse, "validation/ndcg_at_10": ndcg})
            for name, mse, ndcg in (
                ("a", 10.5, 9.0),
                ("b", 9.5, 10.0),
                ("c", float("nan"), 10.00001),
            )
        ]
        assert comparison_table(rows, "validation").bold == {
            (1, "mse"),
            (1, "ndcg_at_10"),
            (2, "ndcg_at_10"),
        }
        assert not comparison_table(rows[:1], "validation").bold

    def test_a_leaderboard_keeps_a_setting_that_is_none_from_one_that_is_not_there(self):
        trials = (
            TrialRecord(0, "complete", {"model": "a", "model.n": None}, (), (0.5,)),
            TrialRecord(1, "complete", {"model": "b", "model.x": 0.12345}, (), (1 / 3,)),
        )
        record = StudyRecord(
            "toy", ("validation/mse",), ("minimize",), {}, {}, trials, 2, "grid", "nop"
        )
        table = leaderboard_table(record, [trials[1]])
        assert table.headings() == [
            "rank",
            "trial",
            "model",
            "model=",
            "n",
            "x",
            "mse",
            "epochs",
            "seconds",
            "parameters",
        ]
        assert table.cells() == [
            ["1", "1", "", "b", "–", "0.1235", "0.3333", "0", "–", "–"],
            ["2", "0", "", "a", "None", "–", "0.5000", "0", "–", "–"],
        ]
        assert table.styles == {0: "bold"}
        assert table.csv().splitlines() == [
            "rank,trial,run_id,model,model,model.n,model.x,validation/mse,epochs,seconds,"
            "num_parameters,winner",
            "1,1,,,b,,0.12345,0.3333333333333333,0,,,yes",
            "2,0,,,a,,,0.5,0,,,",
        ]


@pytest.fixture
def command(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> Callable:
    """command(*arguments): stdout and stderr of `recsweep`."""
    monkeypatch.setattr(logging.root, "handlers", [])

    def command(*arguments: str) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["recsweep", *arguments])
        with suppress(SystemExit):
            cli.main()
        return capsys.readouterr()

    return command


def _records(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


class TestFormats:
    """What a program reads stands alone on stdout; sentences go to stderr."""

    @pytest.fixture
    def filled(self, store: Path) -> dict[str, str]:
        from recsweep.tracking import tracker

        opened = tracker(OPTIONS)
        made = {
            "knn <i>, |": (0.5, {}),
            "popularity": (0.1, {}),
            "logistic": (0.3, {"data": "other", "digest": "d2"}),
        }
        return {
            name: store_run(opened, name, made_report(skill), **where)
            for name, (skill, where) in made.items()
        }

    @pytest.mark.parametrize(
        "command_name", ["runs", "compare", "refit", "promote", "champion", "recommend"]
    )
    def test_another_format_is_refused(self, command, command_name):
        out, err = command(command_name, "x", "--format", "xml")
        assert out == ""
        assert err == "error: --format can't be 'xml'. There are table, json, csv, md.\n"

    def test_runs(self, command, filled):
        out, err = command("runs", "--format", "json")
        first, second = json.loads(out)
        assert {
            name: first[name]
            for name in ("data", "data_digest", "split_digest", "candidates", "part")
        } == {
            "data": "toy",
            "data_digest": "d1",
            "split_digest": "s1",
            "candidates": "not_liked",
            "part": "validation",
        }
        assert second["data"] == "other"
        value = made_report(0.5).metrics["mse"]
        (row,) = (row for row in first["rows"] if row["model"] == "knn <i>, |")
        assert (row["run_id"], row["mse"]) == (filled["knn <i>, |"], pytest.approx(value, abs=0))
        assert err.startswith("\nOpen the runs in a browser")
        rows = _records(command("runs", "--format", "csv").out)
        assert {row["model"]: row["data_digest"] for row in rows} == {
            "knn <i>, |": "d1",
            "popularity": "d1",
            "logistic": "d2",
        }
        assert {float(row["mse"]) for row in rows if row["model"] == "knn <i>, |"} == {value}
        out, _ = command("runs", "--format", "md")
        assert out.startswith("### toy (data d1, split s1), validation; lists are")
        assert "\n| model | run | F1 at .5 | " in out
        run = filled["knn <i>, |"][:8]
        assert (
            f"\n| knn <i>, \\| | {run} | **{made_report(0.5).metrics['f1_at_half']:.4f}** | " in out
        )

    def test_compare(self, command, filled):
        out, err = command("compare", "--no-log", "--format", "json")
        groups = json.loads(out)
        assert [(group["data"], group["splits"], group["measure"]) for group in groups] == [
            ("toy", ["s1"], "f1_at_threshold"),
            ("other", ["s1"], "f1_at_threshold"),
        ]
        best, other = groups[0]["rows"]
        assert (best["model"], best["baseline"], best["runs"]) == (
            "knn <i>, |",
            True,
            [filled["knn <i>, |"]],
        )
        assert best["mse_low"] < best["mse"] < best["mse_high"]
        assert best["mse"] == pytest.approx(made_report(0.5).metrics["mse"])
        assert (best["difference"], best["reference"]) == (None, "knn <i>, |")
        assert other["difference_low"] < other["difference"] < other["difference_high"] < 0
        for sentence in groups[0]["words"]:
            assert sentence in err
        rows = _records(command("compare", "--no-log", "--format", "csv").out)
        assert [(row["data"], row["model"]) for row in rows] == [
            ("toy", "knn <i>, |"),
            ("toy", "popularity"),
            ("other", "logistic"),
        ]
        out, _ = command("compare", "--no-log", "--format", "md")
        assert out.count("\n| model | seeds | ") == 2
        title = "validation, best by F1 at the chosen threshold first; ± half a 95 % interval"
        assert f"\n{title}" in out

    def test_refit(self, command, monkeypatch):
        outcomes = [
            Outcome(f"r{seed}", "net", Fit(1.0), metrics={"test/mse": 0.25 + seed, "fit/epochs": 2})
            for seed in (0, 1)
        ]
        monkeypatch.setattr("recsweep.tuning.refit.refit", lambda options, conf: outcomes)
        monkeypatch.setattr("recsweep.tuning.refit.count_test_uses", lambda study, storage: 2)
        out, err = command("refit", "dims", "--format", "json")
        found = json.loads(out)
        assert (found["study"], found["part"], found["test_uses"]) == ("dims", "test", 2)
        assert [(row["model"], row["mse"]) for row in found["rows"]] == [
            ("net, mean of 2 seeds", 0.75)
        ]
        assert "The test part has been looked at 2 times for this study." in err
        (row,) = _records(command("refit", "dims", "--format", "csv").out)
        assert (row["study"], row["mse"], row["epochs"]) == ("dims", "0.75", "2")
        assert "| net, mean of 2 seeds | 0.7500 |" in command("refit", "dims", "--format", "md").out

    def test_promote(self, command, monkeypatch):
        difference = Difference(0.1, -0.05, 0.25, 0.2)
        lines = [
            Line("baseline", "knn", "mse", 1 / 3, 0.2, difference, "interval below 0", False),
            Line("champion", "old", "latency", 1.25, 2.5, None, "quick", True),
        ]
        decision = Decision(
            outcome="refused",
            name="recsweep",
            before=None,
            after=None,
            reason="",
            candidate="net",
            run_id="r1",
            runs=["r1"],
            study="",
            part="test",
            measured_on=("toy", "d1", "s1"),
            judgement=Judgement("mse", Interval(0.3, 0.2, 0.4), lines),
            test_uses=1,
        )
        monkeypatch.setattr("recsweep.promotion.decide.promote", lambda options, conf: decision)
        out, err = command("promote", "x", "--format", "json")
        found = json.loads(out)
        assert (found["outcome"], found["candidate_model"], found["words"]) == (
            "refused",
            "net",
            decision.words,
        )
        assert found["rows"][0] == {
            "compared_with": "baseline knn",
            "measure": "mse",
            "candidate": 1 / 3,
            "other": 0.2,
            "difference": 0.1,
            "low": -0.05,
            "high": 0.25,
            "needs": "interval below 0",
            "met": False,
        }
        assert err.endswith(f"{decision.words}\n")
        first, second = _records(command("promote", "x", "--format", "csv").out)
        assert (first["met"], second["met"], second["difference"]) == ("false", "true", "")
        out, _ = command("promote", "x", "--format", "md")
        assert (
            "| **baseline knn** | **mse** | **0.3333** | **0.2000** | **+0.1000** | "
            "**-0.0500 to +0.2500** | "
            "**interval below 0** | **no** |"
        ) in out
        assert "| champion old | latency | 1.25 ms | 2.50 ms | – | – | quick | yes |" in out
        assert (
            "| champion old | latency | 1.25 ms | 2.50 ms | – | – | quick | yes |"
            in decision.markdown()
        )
