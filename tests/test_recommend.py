"""`recsweep recommend` and `recsweep serve` as people meet them: tables, files of lists,
mistakes."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recsweep import cli, pipeline
from recsweep.cli.chosen import compute_with_one_thread
from recsweep.data.id_files import read_user_ids
from recsweep.data.interactions import IdMap, Interactions, Part
from recsweep.errors import ConfigError, DataError
from recsweep.models.popularity import Popularity
from recsweep.promotion.chosen import ChosenModel
from recsweep.promotion.registry import Registry
from recsweep.serving.lists import distinct_users, formulas, write_rankings
from recsweep.serving.service import UNKNOWN_USER, Query, RecommenderService, service_of
from recsweep.tracking import Tracker, TrackingOptions, finished_runs, tracker


@pytest.fixture(scope="module")
def home(compose_into, database, tmp_path_factory) -> Path:
    """A store with an item kNN, a popularity model and the kNN as champion: 60 users 1…60, 50 items
    1…50."""
    folder = tmp_path_factory.mktemp("home")
    shutil.copy(database, folder / "mlflow.db")
    for model in ("item_knn", "popularity"):
        pipeline.run(compose_into(folder, f"model={model}"))
    options = TrackingOptions(uri=f"sqlite:///{folder}/mlflow.db", experiment="recsweep")
    registry = Registry(Tracker(options))
    version = registry.register(
        finished_runs(options, ids=["knn item 50"])[0], tags={}, description=""
    )
    with registry.only_one() as lock:
        lock.move_champion(version, None)
    return folder


@pytest.fixture
def service(home) -> RecommenderService:
    options = TrackingOptions(uri=f"sqlite:///{home}/mlflow.db", experiment="recsweep")
    store = tracker(options)
    with store.saved_model(finished_runs(options, ids=["knn item 50"])[0].model_id) as folder:
        return RecommenderService.load(folder)


@pytest.fixture
def command(home, tmp_path, monkeypatch, capsys):
    """command(*arguments): (exit status, stdout, stderr) of `recsweep` on the store, in an empty
    directory."""
    monkeypatch.setenv("RECSWEEP_HOME", str(home))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # the commands set it
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("logging.root.handlers", [])

    def command(*arguments: str) -> tuple[int, str, str]:
        tracker.cache_clear()  # the store by the environment may be another one than a moment ago
        monkeypatch.setattr("sys.argv", ["recsweep", *arguments])
        try:
            cli.main()
            status = 0
        except SystemExit as stopped:
            status = stopped.code
        return status, *capsys.readouterr()

    return command


def _rows(table: str) -> list[list[str]]:
    """The cells of a table as rich draws it."""
    return [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in table.splitlines()
        if line[:1] == "│"
    ]


class TestOneUser:
    def test_the_champions_list(self, command, service):
        status, shown, _ = command("recommend", "--user", "7", "-k", "4")
        assert status == 0
        assert "user 7, by knn item 50 (champion, recsweep version 1)" in shown
        (answer,) = service.recommend([Query(7, k=4)])
        assert _rows(shown) == [
            [str(rank), str(item), f"{score:.4f}"]
            for rank, (item, score) in enumerate(
                zip(answer.item_ids, answer.scores, strict=True), start=1
            )
        ]
        assert "most popular" not in shown

    def test_ten_items_unless_told(self, command):
        assert len(_rows(command("recommend", "--user", "7")[1])) == 10

    def test_the_model_of_a_run(self, command):
        status, shown, _ = command("recommend", "--user", "7", "-k", "2", "--run", "popularity")
        assert status == 0
        assert re.search(r"user 7, by popularity \(run [0-9a-f]{32} \(popularity\)\)", shown)

    def test_an_unknown_user_gets_what_is_popular_and_is_told_so(self, command):
        status, shown, _ = command("recommend", "--user", "nobody", "-k", "2")
        assert status == 0
        assert "The most popular items, not the model's choice: the user is unknown." in shown
        assert len(_rows(shown)) == 2

    def test_a_history_of_somebody_new(self, command, service):
        status, shown, _ = command("recommend", "--history", "3, x,5", "-k", "3")
        assert status == 0
        assert "somebody new, by knn item 50" in shown
        assert "Skipped, as the catalogue lacks them: x." in shown
        (answer,) = service.recommend([Query(history=["3", "5"], k=3)])
        assert [row[1] for row in _rows(shown)] == [str(item) for item in answer.item_ids]

    def test_somebody_new_by_features(self, compose, store, command, tmp_path, monkeypatch):
        monkeypatch.setenv("RECSWEEP_HOME", str(store))
        likes = [(user, item) for user in range(8) for item in range(6) if (user + item) % 2]
        rows = "".join(f"{user},{item}\n" for user, item in likes)
        (tmp_path / "likes.csv").write_text("user_id,item_id\n" + rows)
        rows = "".join(f"{user},{'left' if user % 2 else 'right'}\n" for user in range(8))
        (tmp_path / "users.csv").write_text("user_id,side\n" + rows)
        data = [f"data.path={tmp_path}/likes.csv", f"data.user_features={tmp_path}/users.csv"]
        pipeline.run(compose("data=file", "model=logistic", "split.validation=0.2", *data))
        asked = ["recommend", "--run", "logistic C=1", "-k", "2"]
        status, shown, _ = command(*asked, "--features", "side=left")
        assert status == 0
        assert "somebody new, by logistic" in shown
        assert len(_rows(shown)) == 2
        status, _, said = command(*asked, "--features", "size=left")
        assert status == 1
        assert "There is no feature size of users. Did you mean side?" in said

    def test_features_for_a_model_without(self, command):
        status, _, said = command("recommend", "--features", "age=25")
        assert status == 1
        assert "knn item 50 has learnt from no features of users" in said

    def test_fewer_than_k_are_left(self, command, service):
        _, shown, _ = command("recommend", "--user", "7", "-k", "50")
        left = 50 - service.seen[service.user_ids.find(7)].nnz
        assert len(_rows(shown)) == left
        assert f"No more than {left} items are left" in shown


class TestFormats:
    def test_a_list_for_a_program(self, command, service):
        (answer,) = service.recommend([Query(7, k=3)])
        status, shown, said = command("recommend", "--user", "7", "-k", "3", "--format", "json")
        assert status == 0
        assert "user 7, by knn item 50 (champion, recsweep version 1)" in said
        assert json.loads(shown) == {
            "user_id": "7",
            "model": "knn item 50",
            "chosen_as": "champion, recsweep version 1",
            "fallback": None,
            "unknown_items": [],
            "rows": [
                {"rank": rank, "item_id": item, "score": score}
                for rank, (item, score) in enumerate(
                    zip(answer.item_ids, answer.scores, strict=True), start=1
                )
            ],
        }
        shown = command("recommend", "--history", "3,x", "-k", "1", "--format", "csv")[1]
        assert shown.splitlines()[0] == "rank,item_id,score"
        shown = command("recommend", "--user", "7", "-k", "1", "--format", "md")[1]
        assert shown.splitlines()[2] == f"| 1 | {answer.item_ids[0]} | {answer.scores[0]:.4f} |"

    def test_the_champion_for_a_program(self, command):
        status, shown, _ = command("champion", "--format", "json")
        assert status == 0
        found = json.loads(shown)
        (row,) = found["rows"]
        assert found["decisions"] == []
        assert (row["registered_model"], row["version"], row["run_name"]) == (
            "recsweep",
            "1",
            "knn item 50",
        )
        assert (row["how"], row["previous"]) == ("alias moved by hand", [])
        header, line = command("champion", "--format", "csv")[1].splitlines()
        assert header.startswith("registered_model,version,run_name,since,how,who,reason,measure,")
        assert line.startswith("recsweep,1,knn item 50,")
        shown = command("champion", "--format", "md")[1]
        assert shown.startswith("recsweep version 1: knn item 50\n\n| since | ")

    def test_a_file_of_lists_has_its_format_by_its_name(self, command):
        status, shown, error = command(
            "recommend", "--all-users", "--out", "lists.csv", "--format", "json"
        )
        assert (status, shown) == (1, "")
        assert "--format is for the table of --user and --history" in error


class TestTitles:
    def _titled(self, command, path: Path, content: bytes) -> list[list[str]]:
        path.write_bytes(content)
        status, shown, said = command(
            "recommend", "--user", "nobody", "-k", "3", "--titles", str(path)
        )
        assert status == 0, said
        return [row[1:3] for row in _rows(shown)]

    @pytest.mark.parametrize(
        "content",
        [
            "\n".join(f"{item},Dish {item}" for item in range(1, 51)),
            "\n".join(["name,minutes,id", *(f"Dish {item},5,{item}" for item in range(1, 51))]),
            "\n".join(["item_id\ttitle", *(f"{item}\tDish {item}" for item in range(1, 51))]),
            "\n".join(f"{item}|Dish {item}|01-Jan-1995||http://a,b|0|1" for item in range(1, 51)),
            "\n".join(f"{item}::Dish {item}::Drama|War" for item in range(1, 51)),
            "\n".join(["recipe_id;Title", *(f"{item};Dish {item}" for item in range(1, 51))]),
            "\n".join(["id,title", *(f"{item}.0,Dish {item}" for item in range(1, 51))]),
        ],
        ids=["two columns", "Kaggle's", "tabs", "u.item", "movies.dat", "semicolons", "floats"],
    )
    def test_from_each_kind_of_file(self, command, tmp_path, content):
        rows = self._titled(command, tmp_path / "titles", content.encode())
        assert len(rows) == 3
        assert all(title == f"Dish {item}" for item, title in rows)

    def test_latin_1_markup_and_a_title_that_is_missing(self, command, service, tmp_path):
        first, second, third = (
            str(item) for item in service.recommend([Query("nobody", k=3)])[0].item_ids
        )
        content = f'{first},"Café, [bold]"\n{third},Tea\n'.encode("latin-1")
        rows = self._titled(command, tmp_path / "titles.csv", content)
        assert rows == [[first, "Café, [bold]"], [second, "–"], [third, "Tea"]]

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ("", "is empty"),
            ("1\n2\n", "has one column, '1'"),
            ("900,Cake\n", "has a title for none of the 3 items"),
        ],
    )
    def test_a_file_without_titles(self, command, tmp_path, content, said):
        (tmp_path / "titles.csv").write_text(content)
        status, _, error = command("recommend", "--user", "1", "-k", "3", "--titles", "titles.csv")
        assert status == 1
        assert said in error
        assert "Traceback" not in error

    def test_no_such_file(self, command):
        status, _, error = command("recommend", "--user", "1", "--titles", "nowhere.csv")
        assert (status, error) == (
            1,
            "error: There is no file nowhere.csv. Name one that exists.\n",
        )

    def test_those_of_the_models_data_unless_a_file_is_given(
        self, command, service, tmp_path, monkeypatch
    ):
        titles = {str(item): f"Dish {item}" for item in range(1, 50)}
        titled = replace(service, item_titles=titles)
        monkeypatch.setattr(ChosenModel, "service", lambda chosen: titled)
        asked = ("recommend", "--user", "nobody", "-k", "50")
        rows = _rows(command(*asked)[1])
        assert {row[1]: row[2] for row in rows} == titles | {"50": "–"}
        (tmp_path / "titles.csv").write_text("".join(f"{item},Cake\n" for item in range(1, 51)))
        rows = _rows(command(*asked, "--titles", "titles.csv")[1])
        assert {row[2] for row in rows} == {"Cake"}

    def test_movielens(self, command, real_data):
        from recsweep.data.id_files import read_titles

        assert read_titles(real_data / "ml-100k" / "u.item", [1, "543", 1682]) == {
            "1": "Toy Story (1995)",
            "543": "Misérables, Les (1995)",
            "1682": "Scream of Stone (Schrei aus Stein) (1991)",
        }


class TestManyUsers:
    def test_all_users_to_csv(self, command, service, tmp_path):
        status, shown, _ = command("recommend", "--all-users", "-k", "3", "--out", "lists.csv")
        assert status == 0
        assert re.search(r"lists.csv: lists for 60 users in [0-9.]+ s", shown)
        assert "Unknown" not in shown
        self._check(_read_csv(tmp_path / "lists.csv"), service, range(1, 61), 3)
        assert [path.name for path in tmp_path.iterdir()] == ["lists.csv"]

    def test_a_file_of_users_to_parquet(self, command, service, tmp_path):
        from pyarrow import parquet

        (tmp_path / "users.txt").write_text("7\n\nnobody\n3\n7\n")
        status, shown, _ = command(
            "recommend", "--users", "users.txt", "-k", "2", "--out", "lists.parquet"
        )
        assert status == 0
        assert (
            "The most popular items, marked in the column fallback, for 1 of them: the user is "
            "unknown." in shown
        )
        table = parquet.read_table(tmp_path / "lists.parquet")
        assert {field.name: str(field.type) for field in table.schema} == {
            "user_id": "string",
            "rank": "int32",
            "item_id": "int64",
            "score": "float",
            "fallback": "string",
        }
        self._check(table.to_pylist(), service, ["7", "nobody", "3"], 2)

    @pytest.mark.parametrize(
        "content", ["x,user_id\na,7\nb,3\n", "userid\n7\n3\n", "7\n3", "x\tUser\na\t7\nb\t3\n"]
    )
    def test_users_in_a_column(self, command, tmp_path, content):
        (tmp_path / "users.csv").write_text(content)
        assert command("recommend", "--users", "users.csv", "-k", "1", "--out", "lists.csv")[0] == 0
        assert [row["user_id"] for row in _read_csv(tmp_path / "lists.csv")] == [7, 3]

    def test_a_file_of_interactions_gives_one_list_a_user(self, command, service, tmp_path):
        (tmp_path / "likes.csv").write_text("user_id,item_id\n7.0,1\n3.0,1\n7.0,2\n")
        status, shown, _ = command(
            "recommend", "--users", "likes.csv", "-k", "2", "--out", "lists.csv"
        )
        assert status == 0
        assert "lists for 2 users" in shown
        assert "most popular" not in shown
        self._check(_read_csv(tmp_path / "lists.csv"), service, [7, 3], 2)

    def test_a_number_may_be_written_as_a_float(self, command):
        assert _rows(command("recommend", "--user", "7.0")[1]) == _rows(
            command("recommend", "--user", "7")[1]
        )
        assert (
            command("recommend", "--history", "3.0,5.0")[1]
            == (command("recommend", "--history", "3,5")[1])
        )

    def test_zeros_in_front_make_another_user(self, command, tmp_path):
        (tmp_path / "users.txt").write_text("007\n7\n07.0\n99.0\n99\n")
        status, shown, _ = command(
            "recommend", "--users", "users.txt", "-k", "1", "--out", "lists.csv"
        )
        assert status == 0
        assert "for 4 of them: the user is unknown." in shown
        lines = (tmp_path / "lists.csv").read_text().splitlines()[1:]
        written = ['"007"', '"7"', '"07.0"', '"99.0"', '"99"']
        assert [line.split(",")[0] for line in lines] == written
        again = command("recommend", "--users", "lists.csv", "-k", "1", "--out", "again.csv")
        assert again[0] == 0
        assert (tmp_path / "again.csv").read_text() == (tmp_path / "lists.csv").read_text()

    @pytest.fixture
    def odd(self) -> RecommenderService:
        """A service whose ids begin as formulas do."""
        users = np.array(["+1+1", "-5", "-5.5", "-x", "=1", "a=1"])
        items = np.array(["\tt", "\rr", "@sum", "ann", "＝1"])
        data = Interactions(
            "odd", np.arange(6) % 5, np.arange(6) % 5, IdMap(users, "user"), IdMap(items, "item")
        )
        model = Popularity(scale_by_activity=False)
        model.fit(Part(data.users, data.items, np.ones(6), 6, 5, enumerates_cells=False))
        return service_of(model, data)

    def test_formulas_are_quoted_where_a_spreadsheet_is_to_read_them(self, odd, tmp_path):
        users = distinct_users(odd, odd.user_ids.ids.tolist())
        assert formulas([*users, 7]) == ["+1+1", "-x", "=1"]
        write_rankings(odd, users, 5, tmp_path / "lists.csv", for_spreadsheets=True)
        rows = _read_csv(tmp_path / "lists.csv")
        assert list(dict.fromkeys(row["user_id"] for row in rows)) == [
            "'+1+1", "-5", "-5.5", "'-x", "'=1", "a=1"
        ]  # fmt: skip
        assert {row["item_id"] for row in rows} == {"'\tt", "'\rr", "'@sum", "ann", "'＝1"}

    def test_ids_are_exact_unless_told(self, odd, tmp_path):
        users = odd.user_ids.ids.tolist()
        write_rankings(odd, users, 5, tmp_path / "lists.csv")
        assert distinct_users(odd, read_user_ids(tmp_path / "lists.csv")) == users
        assert {row["item_id"] for row in _read_csv(tmp_path / "lists.csv")} == {
            *odd.item_ids.ids.tolist()
        }

    def test_unknown_numbers_stay_numbers(self, command, tmp_path):
        (tmp_path / "users.txt").write_text("99.0\n7.0\n99\n7\n")
        assert command("recommend", "--users", "users.txt", "-k", "1", "--out", "lists.csv")[0] == 0
        assert [row["user_id"] for row in _read_csv(tmp_path / "lists.csv")] == [99, 7]

    def _check(self, rows, service, users, k):
        expected = [
            (user, rank, item, answer.fallback)
            for user in users
            for answer in service.recommend([Query(user, k=k)])
            for rank, item in enumerate(answer.item_ids, start=1)
        ]
        assert [
            (row["user_id"], row["rank"], row["item_id"], row["fallback"]) for row in rows
        ] == expected
        assert all(np.isfinite(row["score"]) for row in rows)

    def test_in_chunks_as_all_at_once(self, service, tmp_path, monkeypatch):
        users, done = [*range(1, 61), "nobody"], []
        write_rankings(service, users, 5, tmp_path / "one.csv")
        monkeypatch.setattr("recsweep.serving.service.SCORES_AT_ONCE", 350)
        monkeypatch.setattr("recsweep.serving.lists.ROWS_PER_WRITE", 60)
        fallbacks = write_rankings(service, users, 5, tmp_path / "two.csv", done.append)
        assert fallbacks == {UNKNOWN_USER: 1}
        assert done == [7] * 8 + [5]
        assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
        assert UNKNOWN_USER in (tmp_path / "one.csv").read_text()

    @pytest.mark.parametrize("name", ["lists.csv", "lists.parquet"])
    @pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
    def test_an_interrupted_run_leaves_the_earlier_file(
        self, service, tmp_path, monkeypatch, name, error
    ):
        (tmp_path / name).write_text("earlier")
        monkeypatch.setattr("recsweep.serving.service.SCORES_AT_ONCE", 500)

        def stop(_):
            raise error

        expected = KeyboardInterrupt if error is KeyboardInterrupt else DataError
        with pytest.raises(
            expected,
            match=None if error is KeyboardInterrupt else "can't be written: .*No space left",
        ):
            write_rankings(service, list(range(1, 61)), 3, tmp_path / name, stop)
        assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: "earlier"}

    def test_a_folder_that_cannot_be_written(self, service, tmp_path):
        (tmp_path / "lists.csv").mkdir()
        with pytest.raises(DataError, match=r"lists.csv can't be written"):
            write_rankings(service, [1], 3, tmp_path / "lists.csv")
        assert [path.name for path in tmp_path.iterdir()] == ["lists.csv"]

    def test_text_ids_and_numbers_too_large_stay_text(self, service, tmp_path):
        write_rankings(service, ["7", "9" * 30], 1, tmp_path / "lists.csv")
        assert "9" * 30 in (tmp_path / "lists.csv").read_text()


class TestMistakes:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ([], "Say for whom"),
            (["--user", "1", "--all-users", "--out", "a.csv"], "Say for whom"),
            (["--all-users"], "--out names the file"),
            (["--user", "1", "--for-spreadsheets"], "--for-spreadsheets is for the file of lists"),
            (
                ["--all-users", "--out", "a.parquet", "--for-spreadsheets"],
                "--for-spreadsheets is for lists that are written as .csv",
            ),
            (["--user", "1", "--out", "a.csv"], "--out names the file"),
            (
                ["--all-users", "--out", "a.txt"],
                "written as .csv or .parquet, and a.txt is neither",
            ),
            (["--all-users", "--out", "none/a.csv"], "There is no folder none"),
            (["--all-users", "--out", "a.csv", "--titles", "t.csv"], "--titles is for the table"),
            (["--user", "1", "-k", "0"], "-k must be a whole number of at least 1, not 0"),
            (
                ["--user", "1", "-k", "51"],
                "k must be at most 50, as many as the catalogue has items, not 51",
            ),
            (["--user", "1", "--run", "nothing"], "no finished run 'nothing'"),
            (["--users", "nowhere", "--out", "a.csv"], "There is no file nowhere"),
            (["--all-users", "--out", "a.csv", "-k", "51"], "k must be at most 50"),
        ],
    )
    def test_of_recommend(self, command, tmp_path, arguments, said):
        status, shown, error = command("recommend", *arguments)
        assert (status, shown) == (1, "")
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert said in error
        assert list(tmp_path.iterdir()) == []

    def test_a_word_that_is_no_text(self, command):
        status, _, error = command("recommend", "--user", os.fsdecode(b"caf\xe9"))
        assert (status, error.count("\n")) == (1, 1)
        assert r"error: 'caf\udce9' must be text in utf-8" in error

    def test_users_in_no_known_column(self, command, tmp_path):
        (tmp_path / "users.csv").write_text("a,b\n1,2\n")
        status, _, error = command("recommend", "--users", "users.csv", "--out", "a.csv")
        assert status == 1
        assert "has the columns a, b. Name that of the users `user_id`." in error

    def test_without_a_champion(self, command, store, monkeypatch):
        Tracker(TrackingOptions(uri=None, experiment="recsweep"))
        monkeypatch.setenv("RECSWEEP_HOME", str(store))
        for words in (["recommend", "--user", "1"], ["serve", "--port", str(_free_port())]):
            status, _, error = command(*words)
            assert status == 1
            assert "has no champion yet. Promote a run with: " in error
            assert "--run ID" in error

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--port", "0"], "--port must be a whole number from 1 to 65535, not 0"),
            (["--port", "70000"], "--port must be a whole number"),
            (["--workers", "0"], "--workers must be a whole number of at least 1, not 0"),
            (["--host", "192.0.2.1", "--insecure"], "Nothing can listen on 192.0.2.1, port 5001"),
            (["--host", "no such host", "--insecure"], "Nothing can listen on no such host"),
        ],
    )
    def test_of_serve(self, command, arguments, said):
        status, shown, error = command("serve", *arguments)
        assert (status, shown) == (1, "")
        assert said in error
        assert error.count("\n") == 1

    def test_a_port_that_is_taken(self, command):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            status, _, error = command("serve", "--port", str(port))
        assert status == 1
        assert f"Nothing can listen on 127.0.0.1, port {port}: Address already in use." in error


class TestServe:
    def test_what_it_starts(self, command, monkeypatch, home):
        from recsweep.serving import connections

        started = {}

        def run(app, **settings):
            """As two workers that answer at once."""
            started.update(app=app, **settings)
            ready = Path(json.loads(os.environ["RECSWEEP_SERVED_MODEL"])["workers"])
            (ready / "1").touch()
            (ready / "2").touch()
            with socket.create_server((settings["host"], settings["port"])):
                for thread in threading.enumerate():
                    if thread.name == "start":  # which says the address
                        thread.join(30)

        monkeypatch.setattr(connections, "run", run)
        for name in ("RECSWEEP_SERVED_MODEL", "OMP_NUM_THREADS"):
            monkeypatch.setenv(name, "to be restored")
            monkeypatch.delenv(name)
        port = _free_port()
        status, shown, said = command("serve", "--port", str(port), "--workers", "2")
        assert status == 0, said
        assert started["app"] == "recsweep.serving.http:app"
        assert (started["host"], started["port"], started["workers"]) == ("127.0.0.1", port, 2)
        assert f"champion, recsweep version 1: http://127.0.0.1:{port}/invocations" in shown
        sent = json.loads(re.search(r"-d '(.*)'", shown)[1])
        assert sent == {"inputs": [{"user_id": "1", "k": 10}, {"history": ["1", "2"], "k": 10}]}
        serving = json.loads(os.environ["RECSWEEP_SERVED_MODEL"])  # by which each worker finds it
        served = serving["served"]
        assert Path(served["folder"]).is_relative_to(home)
        assert (Path(served["folder"]) / "catalogue.json").is_file()
        assert (served["model"], served["version"], served["example"]) == (
            "recsweep",
            "1",
            sent["inputs"],
        )
        assert os.environ["OMP_NUM_THREADS"] == "1"

    def test_threads_that_were_asked_for_stay(self, monkeypatch):
        monkeypatch.setenv("OMP_NUM_THREADS", "4")
        compute_with_one_thread()
        assert os.environ["OMP_NUM_THREADS"] == "4"


def test_a_model_without_torch_does_not_wait_for_it(home, tmp_path):
    code = (
        "import sys\n"
        "from recsweep.cli import main\n"
        "sys.argv = ['recsweep', 'recommend', '--user', '1']\n"
        "main()\n"
        "print('imported:', [name for name in ('torch', 'pytorch_lightning', 'sklearn', "
        "'matplotlib', 'optuna') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "RECSWEEP_HOME": str(home)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "imported: []"


def test_rankings_path_is_checked_first(service, tmp_path):
    with pytest.raises(ConfigError, match="neither"):
        write_rankings(service, [1], 3, tmp_path / "lists.json")


def _read_csv(path: Path) -> list[dict]:
    from pyarrow import csv

    return [{**row, "fallback": row["fallback"] or None} for row in csv.read_csv(path).to_pylist()]


def _free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return trial.getsockname()[1]
