"""The door for notebooks: it does what the commands do, in the same store, and shows itself."""

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas
import polars
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

import recsweep as rs
from recsweep.config import override
from recsweep.errors import ConfigError, DataError, RecsweepError, TrackingError
from recsweep.notebook import Dataset, Study
from recsweep.promotion.registry import Registry
from recsweep.tracking import TrackingOptions, finished_runs, tracker

REPOSITORY = Path(__file__).parents[1]
OPTIONS = TrackingOptions(uri=None, experiment="recsweep")
SMALL_NET = {"model": "recipe_net", "trainer.max_epochs": 1}


@pytest.fixture(scope="module")
def likes() -> pandas.DataFrame:
    """Who liked which dish, a thousand rows, popular dishes more often."""
    rng = np.random.default_rng(0)
    people, dishes = rng.integers(40, size=1000), (40 * rng.random(1000) ** 2).astype(int)
    return pandas.DataFrame(
        {
            "person": [f"ann {number}" for number in people],
            "dish": [f"dish {number}" for number in dishes],
            "stars": rng.integers(1, 6, size=1000),
            "day": pandas.date_range("2020-01-01", periods=1000),
        }
    )


@pytest.fixture
def data(likes, store) -> Dataset:
    return rs.read_interactions(likes, user="person", item="dish")


@pytest.fixture(scope="module")
def made(likes, database, tmp_path_factory) -> tuple[Path, Study]:
    """A store, and a study of two quick models in it, for tests that don't train."""
    folder = tmp_path_factory.mktemp("made")
    shutil.copy(database, folder / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSWEEP_HOME", str(folder))
        tracker.cache_clear()
        data = rs.read_interactions(likes, user="person", item="dish")
        return folder, rs.study({"model": ["ease", "popularity"]}, data=data)


@pytest.fixture
def trained(made, monkeypatch) -> Study:
    """The study of that store, which is in force."""
    folder, study = made
    monkeypatch.setenv("RECSWEEP_HOME", str(folder))
    tracker.cache_clear()
    return study


def crown(run_id: str) -> None:
    """Make the model of a run champion without a contest, unless there is one."""
    registry = Registry(tracker(OPTIONS))
    if registry.champion() is None:
        (record,) = finished_runs(OPTIONS, ids=[run_id])
        with registry.only_one() as lock:
            lock.move_champion(registry.register(record, tags={}, description="for a test"), None)


class TestImport:
    def test_the_names_are_there_and_nothing_heavy_is_imported(self):
        code = (
            "import sys, recsweep; assert set(recsweep.__all__) <= set(dir(recsweep)); "
            "print([name for name in sys.modules if name.startswith('recsweep.')], "
            "'numpy' in sys.modules)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
        )
        assert done.stdout == "[] False\n"

    def test_every_name_is_a_function_with_a_docstring(self):
        assert rs.__all__ == sorted(rs.__all__)
        for name in rs.__all__:
            assert callable(getattr(rs, name))
            assert getattr(rs, name).__doc__

    def test_another_name_is_none(self):
        with pytest.raises(AttributeError, match="no attribute 'nothing'"):
            _ = rs.nothing


class TestReadInteractions:
    def test_pandas_polars_and_a_file_hold_the_same(self, likes, store, tmp_path):
        likes.to_csv(tmp_path / "likes.csv", index=False)
        settings = {"user": "person", "item": "dish", "time": "day"}
        read = [
            rs.read_interactions(source, **settings)
            for source in (likes, polars.from_pandas(likes), tmp_path / "likes.csv")
        ]
        assert len({each.interactions.digest for each in read}) == 1
        assert read[0].overrides == read[1].overrides  # the same file, written once
        assert [path.name for path in (store / "data").iterdir()] == [
            Path(read[0].overrides[-1]).name
        ]

    def test_ratings_are_a_threshold_and_times_stay(self, likes, store):
        read = rs.read_interactions(
            likes, user="person", item="dish", rating="stars", time="day", positive_rating=5
        )
        assert 0 < len(read) < len(likes)
        assert list(read.to_frame().columns) == ["user", "item", "time"]
        assert "rated below 5" in read._repr_html_()

    def test_whole_numbers_stay_numbers(self, store):
        frame = pandas.DataFrame({"user_id": [1.0, 2.0, 2.0], "item_id": [7, 7, 9]})
        assert rs.read_interactions(frame).to_frame().to_numpy().tolist() == [
            [1, 7],
            [2, 7],
            [2, 9],
        ]

    def test_an_option_of_data_by_its_name(self, store):
        read = rs.read_interactions("synthetic", num_users=30, num_items=20, density=0.2)
        assert (read.interactions.num_users, read.interactions.num_items) == (30, 20)

    @pytest.mark.parametrize(
        ("change", "error", "said"),
        [
            (
                {"user": "who"},
                DataError,
                "has no column 'who': its columns are person, dish, stars, day",
            ),
            (
                {"rating": "day"},
                DataError,
                "Column day of .* holds texts, and no ratings. Add data.rating_column=null",
            ),
            (
                {"positive": 3},
                ConfigError,
                "data=file has no setting 'positive'. Its settings are name, path,",
            ),
            ({"num_users": 0}, ConfigError, "data.num_users must be a whole number of at least 1"),
        ],
    )
    def test_a_mistake_is_one_sentence(self, likes, store, change, error, said):
        with pytest.raises(error, match=f"^.*{said}"):
            rs.read_interactions(likes, **{"user": "person", "item": "dish"} | change)

    def test_a_frame_that_arrow_can_not_read(self, store):
        with pytest.raises(
            DataError, match=r"The DataFrame can't be read: .* Give each column values of one type"
        ):
            rs.read_interactions(pandas.DataFrame({"user_id": [1, "a"], "item_id": [1, 2]}))
        with pytest.raises(DataError, match="The DataFrame can't be read"):
            rs.read_interactions(7)


class TestModels:
    @pytest.mark.slow
    def test_a_fit_on_a_split_is_that_of_a_run(self, data):
        """Weights, calibration, chosen epoch and measures are the same as in the store."""
        settings = {
            "model": "recipe_net",
            "model.user_dim": 5,
            "trainer.max_epochs": 3,
            "optimizer.lr": 0.01,
        }
        (trial,) = rs.study(settings, data=data).record.trials
        fitted = rs.model(
            "recipe_net", user_dim=5, trainer={"max_epochs": 3}, optimizer={"lr": 0.01}
        )
        report = rs.evaluate(fitted.fit(data.split()), data.split())
        (record,) = finished_runs(OPTIONS, ids=[trial.run_id])
        assert {
            f"validation/{name}": pytest.approx(value) for name, value in report.metrics.items()
        }.items() <= record.metrics.items()

    def test_a_part_alone_will_do(self, data):
        split = data.split("per_user_ratio", seed=3)
        fitted = rs.model("ease", l2=100).fit(split.train)
        assert fitted.label == "ease 100"
        assert fitted.score([0, 1]).shape == (2, split.num_items)
        assert fitted.to_frame().loc[0, "kept_epoch"] == 1
        report = rs.evaluate(fitted, split, "test", k=(3,))
        assert list(report.to_frame().columns) == ["test"]
        assert report.to_frame().loc["ndcg_at_3", "test"] == report.metrics["ndcg_at_3"]

    def test_the_test_part_takes_the_threshold_of_validation(self, data):
        split = data.split()
        fitted = rs.model("popularity").fit(split)
        assert (
            rs.evaluate(fitted, split, "test").metrics["threshold"]
            == rs.evaluate(fitted, split).metrics["threshold"]
        )

    @pytest.mark.parametrize(
        ("call", "said"),
        [
            (
                lambda data: rs.model("easy"),
                "model must be one of bpr, deepfm, ease, fm, gmf, ials, item_knn, knn,",
            ),
            (
                lambda data: rs.model("ease", l3=1),
                "model=ease has no setting 'l3'. Its settings are l2.",
            ),
            (
                lambda data: rs.model("ease", l2="much"),
                "model.l2 must be a number above 0, not 'much'.",
            ),
            (
                lambda data: rs.model("recipe_net", loss="hinge"),
                "loss must be one of bce, bpr, mse, softmax, not 'hinge'.",
            ),
            (
                lambda data: rs.model("recipe_net", trainer={"epochs": 1}),
                "There is no setting trainer.epochs. Did you mean trainer.max_epochs?",
            ),
            (lambda data: data.split("half"), "split must be one of given, leave_last_out,"),
            (
                lambda data: rs.evaluate(rs.model("ease"), data.split(), "tests"),
                "part must be one of validation, test",
            ),
            (
                lambda data: rs.model("ease").to_frame(),
                r"ease 200 is not fitted. Call fit\(split\) first.",
            ),
        ],
    )
    def test_a_mistake_is_one_sentence(self, data, call, said):
        with pytest.raises(RecsweepError, match=said):
            call(data)


class TestStudy:
    def test_it_is_the_study_of_the_command(self, data, store, train, monkeypatch):
        ours = rs.study({"model": "ease", "model.l2": [20, 200.0]}, data=data)
        monkeypatch.setenv("RECSWEEP_HOME", str(store))
        done = train("-m", *data.overrides, "model=ease", "model.l2=20,200.0")
        assert done.returncode == 0, done.stderr
        assert f"study {ours.name}: 2 finished" in done.stdout
        assert f"run {ours.record.best.run_id}" in done.stdout  # it resumed: the run is ours

    def test_the_same_call_resumes_quietly(self, data, capfd):
        first, again = (
            rs.study({"model": "ease", "model.l2": range(20, 22)}, data=data, name="it's a [study]")
            for _ in range(2)
        )
        assert first.to_frame().equals(again.to_frame())
        assert again.name == "it's a [study]"
        assert capfd.readouterr().out == ""
        assert set(again.best) == {"model.l2"}
        assert again.words.startswith("best: trial ")

    def test_values_are_tried_as_they_are(self, data):
        found = rs.study(
            {"model": "ease", "model.l2": np.array([1.5, 20.0]), "evaluation.k": (3, 5)}, data=data
        )
        assert sorted(found.to_frame()["model.l2"]) == [1.5, 20.0]
        assert found.record.fixed["evaluation.k"] == [3, 5]

    @pytest.mark.slow
    def test_an_interval_is_searched(self, data, capsys):
        settings = {"model": "ease", "model.l2": "tag(log, interval(1, 100))"}
        assert len(rs.study(settings, data=data, n_trials=2, verbose=True).to_frame()) == 2
        assert "2 finished" in capsys.readouterr().out

    @pytest.mark.slow
    def test_a_second_look_and_workers(self, data):
        found = rs.study(
            {**SMALL_NET, "model.user_dim": [2, 3]},
            data=data,
            n_jobs=2,
            confirm={"top": 2, "seeds": 2},
        )
        assert found.words.startswith("second look") or "seeds" in found.words

    @pytest.mark.parametrize(
        ("settings", "options", "said"),
        [
            ({"model.l3": 1}, {}, "There is no setting 'model.l3'. model has user_dim, item_dim,"),
            ({"modle": "ease"}, {}, "There is no setting 'modle'. The config has data, split,"),
            (
                {"model": ["ease", "easy"]},
                {},
                "model must be one of bpr, deepfm, ease, fm, gmf, ials, item_knn, knn,",
            ),
            (
                {"model": ["ease", "knn"], "model.l3": [1, 2]},
                {},
                "model.l3 is a setting of none of model=ease,knn.",
            ),
            (
                {"model.user_dim": []},
                {},
                "model.user_dim is varied over an empty list. Give it values.",
            ),
            (
                {"model.user_dim": [object()]},
                {},
                "model.user_dim must be a number, a text, true or false, null",
            ),
            (
                {"model": "ease"},
                {"trials": 2},
                "A study has no setting 'trials'. Its settings are objectives,",
            ),
            ({"model": "ease"}, {"confirm": {"best": 2}}, "no setting hydra.sweeper.confirm.best"),
            (
                {"model": "ease", "evaluation.test": True},
                {},
                "evaluation.test=true can't be part of a study",
            ),
        ],
    )
    def test_a_mistake_is_one_sentence(self, data, settings, options, said):
        with pytest.raises(ConfigError, match=said):
            rs.study(settings, data=data, **options)


@pytest.mark.parametrize(
    "value",
    [
        "plain",
        "/a/b c.csv",
        "it's",
        'a "b"',
        "back\\",
        "back\\'",
        "null",
        "True",
        "12",
        "1e5",
        "",
        "a,b",
        "[x]",
        "{x}",
        "#",
        "x=y",
        "day (1)",
        ".5",
        "naïve",
        3,
        -2.5,
        1e-05,
        True,
        None,
        float("inf"),
        [1, "a'b", None],
        {"top": 2, "each": "x y"},
    ],
)
def test_an_override_gives_back_its_value(value):
    (parsed,) = OverridesParser.create().parse_overrides([override("some.key", value)])
    found = parsed.value()
    assert _unquoted(found) == value
    assert type(_unquoted(found)) is type(value)


def _unquoted(found):
    if isinstance(found, list):
        return [_unquoted(each) for each in found]
    if isinstance(found, dict):
        return {key: _unquoted(each) for key, each in found.items()}
    return found.text if hasattr(found, "text") else found


class TestRunsAndComparison:
    def test_without_a_store_it_says_so(self, tmp_path, monkeypatch):
        monkeypatch.setenv("RECSWEEP_HOME", str(tmp_path))
        tracker.cache_clear()
        with pytest.raises(TrackingError, match="There is no MLflow store"):
            rs.runs()

    def test_runs_are_queried_by_their_measures(self, trained):
        found = rs.runs()
        assert list(found.kind) == ["ease", "popularity"]
        assert found.query("f1_at_threshold > 0.01 and kind == 'ease'").run.tolist() == [
            found.run[0]
        ]
        assert found.query("f1_at_threshold > 1").empty
        assert (found.study == trained.name).all()
        assert len(rs.runs(last=1)) == 1
        with pytest.raises(ConfigError, match="on must be one of validation, test"):
            rs.runs(on="train")

    def test_a_study_is_compared(self, trained, tmp_path):
        found = rs.compare(trained)
        assert set(found.to_frame().model) == {"ease 200", "popularity"}
        assert set(found.to_frame().role) == {"baseline"}
        assert found.words[0].startswith("By F1 at the chosen threshold, ")
        one = found.intervals().query("model == 'ease 200' and measure == 'mse'").iloc[0]
        assert one.low < one.value < one.high
        (reference,) = set(found.differences().query("measure == 'f1_at_threshold'")["less"])
        assert reference in set(found.to_frame().model)
        page = found.save(tmp_path / "page")
        assert page.read_text(encoding="utf-8") == found.compared.page
        assert sorted(path.name for path in page.parent.iterdir()) == [
            "comparison.html",
            "comparison.json",
            "differences.csv",
            "intervals.csv",
            "models.csv",
        ]
        assert "<li>" not in found._repr_html_()
        assert found.words[0].partition(" ")[0] in found._repr_html_()

    def test_runs_are_compared_by_a_table_an_id_or_a_name(self, trained):
        ease = rs.runs().query("kind == 'ease'")
        for what in (ease, ease.run.tolist(), ease.run[0], ease.run[0][:8]):
            assert rs.compare(what).to_frame().model.tolist() == ["ease 200"]
        with pytest.raises(ConfigError, match="A table of runs must have rows"):
            rs.compare(rs.runs().query("kind == 'knn'"))
        with pytest.raises(ConfigError, match="--measure must be one of"):
            rs.compare(measure="luck")
        with pytest.raises(TrackingError, match="no finished run 'nothing'"):
            rs.compare("nothing")


class TestChampion:
    @pytest.fixture
    def crowned(self, trained):
        """The best of the study, registered without a contest."""
        crown(trained.record.best.run_id)
        return rs.champion()

    def test_there_is_none_before_a_promotion(self, trained):
        with pytest.raises(RecsweepError, match="has no champion yet"):
            rs.champion(name="another")

    def test_it_recommends(self, crowned, trained):
        found = crowned.recommend(["ann 7", "a stranger"], k=3)
        assert found.user.tolist() == ["ann 7"] * 3 + ["a stranger"] * 3
        assert found["rank"].tolist() == [1, 2, 3] * 2
        assert found.fallback.notna().tolist() == [False] * 3 + [True] * 3
        assert crowned.recommend("ann 7").user.nunique() == 1
        assert len(crowned.recommend()) == 0
        assert set(crowned.recommend(histories=[["dish 1"], ["dish 2"]], k=2).user) == {
            "history 1",
            "history 2",
        }
        assert "champion, recsweep version 1" in crowned._repr_html_()
        assert "champion, recsweep version 1" in crowned.to_frame().loc[0, "is"]

    def test_titles_stand_beside_ids(self, crowned):
        assert "title" not in crowned.recommend("ann 7", k=1)
        titled = replace(crowned.service, item_titles={"dish 1": "Soup"})
        vars(crowned)["service"] = titled
        found = crowned.recommend("a stranger", k=len(titled.item_ids))
        assert found.columns.tolist() == ["user", "rank", "item", "title", "score", "fallback"]
        named = found[found.title.notna()]
        assert (named.item.tolist(), named.title.tolist()) == (["dish 1"], ["Soup"])

    def test_a_run_answers_in_its_place(self, trained):
        found = rs.champion(run=trained.record.best.run_id)
        assert found.to_frame().loc[0, "users"] == 40
        with pytest.raises(ConfigError, match="k must be at most"):
            found.recommend("ann 7", k=1000)

    def test_it_is_champion_already(self, crowned, trained):
        decision = rs.promote(trained)
        assert decision.outcome == "unchanged"
        assert decision.words in decision._repr_html_()
        assert decision.to_frame().empty

    @pytest.mark.slow
    def test_a_promotion_by_force(self, trained):
        decision = rs.promote(
            trained, seeds=1, splits=1, force=True, reason="to see it", name="forced"
        )
        assert decision.outcome in ("forced", "promoted")
        assert len(decision.to_frame()) > 4
        assert rs.champion(name="forced").recommend("ann 7", k=2).item.notna().all()


class TestDocumentation:
    def test_the_lines_of_the_readme_work_as_they_stand(self, likes, store, tmp_path, monkeypatch):
        """The champion is made between: a promotion would tune every baseline."""
        text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
        (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        lines = [line for line in block.splitlines() if not line.startswith("import ")]
        assert len(lines) == 8
        likes.to_csv(tmp_path / "likes.csv", index=False)
        monkeypatch.chdir(tmp_path)
        names: dict = {}
        exec(block.partition("rs.champion()")[0], names)
        assert names["study"].to_frame()["model.user_dim"].tolist() != []
        crown(names["study"].record.best.run_id)
        found = eval(lines[-1], names)
        assert found.item.nunique() == 5

    def test_every_function_is_documented(self):
        text = (REPOSITORY / "docs" / "python.md").read_text(encoding="utf-8")
        for name in rs.__all__:
            assert f"rs.{name}(" in text

    @pytest.mark.slow
    def test_the_notebook_runs(self, tmp_path, monkeypatch):
        import nbformat
        from nbclient import NotebookClient

        monkeypatch.setenv("RECSWEEP_HOME", str(tmp_path / "store"))
        notebook = nbformat.read(REPOSITORY / "docs" / "notebook.ipynb", as_version=4)
        NotebookClient(
            notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}
        ).execute()
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
        assert {output.output_type for output in outputs} == {
            "execute_result"
        }  # nothing is printed on the way
        assert (tmp_path / "comparison" / "comparison.html").is_file()
