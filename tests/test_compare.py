"""`recsweep compare` as people meet it: the table, the words, the page and what MLflow keeps."""

import json
import logging
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from recsweep import __version__, cli
from recsweep.comparison.compare import COMPARISON_TAG, CompareOptions, compare, note
from recsweep.comparison.contrasts import contrast
from recsweep.comparison.models import standings
from recsweep.evaluation import EvaluationReport
from recsweep.measures.of_cells import calibration, rank_cells
from recsweep.tracking import Tracker, finished_runs, tracker
from tests.stored_runs import OPTIONS, made_report, store_run

NET, RIVAL, KNN = "recipe_net 15/25/128 mse adam", "recipe_net 15/25/128 bce adam", "knn user 50"


@pytest.fixture
def opened(store: Path) -> Tracker:
    return tracker(OPTIONS)


@pytest.fixture
def filled(opened: Tracker) -> Tracker:
    """A store with a net of two seeds, one of another loss that has collapsed, and two
    baselines."""
    for seed in (0, 1):
        store_run(
            opened,
            NET,
            made_report(1.2, seed=seed),
            made_report(1.2, part="test", seed=seed),
            loss="mse",
            seed=seed,
        )
    store_run(
        opened,
        RIVAL,
        made_report(1.0, shift=-9),
        made_report(1.0, part="test", shift=-9),
        loss="bce",
    )
    store_run(opened, KNN, made_report(0.5), made_report(0.5, part="test"))
    store_run(opened, "popularity", made_report(0.1), made_report(0.1, part="test"))
    return opened


@pytest.fixture
def said(monkeypatch, capsys) -> Callable[..., str]:
    """said(*arguments): what `recsweep compare` prints."""
    monkeypatch.setattr(logging.root, "handlers", [])

    def said(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["recsweep", "compare", *map(str, arguments)])
        cli.main()
        return capsys.readouterr().out

    return said


@pytest.fixture
def error(said, capsys) -> Callable[..., str]:
    """error(*arguments): the one error in words that it ends with."""

    def error(*arguments: object) -> str:
        with pytest.raises(SystemExit) as stopped:
            said(*arguments)
        assert stopped.value.code == 1
        (line,) = [
            line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")
        ]
        return line

    return error


def _text(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


class TestCommand:
    def test_table_words_page_and_run(self, filled, said, tmp_path):
        page_path = tmp_path / "page.html"
        printed = said("--out", page_path)
        for model in (NET, RIVAL, KNN, "popularity"):
            assert f"│ {model} " in printed
        assert "test, best by F1 at the chosen threshold first" in printed
        assert f"By F1 at the chosen threshold, {NET} has " in printed
        assert "1 of the 1 runs with bce predict no cell positive at 0.5" in printed
        assert f"The page: {page_path}\n" in printed
        (run,) = filled.search(f"tags.{COMPARISON_TAG} LIKE '%'")
        assert f"as run {run.id}" in printed
        assert f"ui --tracking-uri {filled.uri}\n" in printed
        first = next(record for record in finished_runs(OPTIONS) if record.name == NET)
        assert printed.endswith(f"recsweep promote {first.id[:8]}\n")
        assert (run.name, run.status) == ("comparison on test", "FINISHED")
        assert run.tags[COMPARISON_TAG] == "test"
        assert "model_kind" not in run.tags
        assert len(finished_runs(OPTIONS)) == 5, "a comparison counts as the run of a model"
        note = run.tags["mlflow.note.content"]
        assert f"- By F1 at the chosen threshold, {NET} has " in note
        assert f"| {KNN} | 1 | " in note
        artifacts = Path(run.artifacts.removeprefix("file://"))
        assert (artifacts / "comparison.html").read_text(encoding="utf-8") == page_path.read_text(
            encoding="utf-8"
        )
        (group,) = json.loads((artifacts / "comparison.json").read_text(encoding="utf-8"))["groups"]
        assert {row["name"] for row in group["rows"]} == {NET, RIVAL, KNN, "popularity"}
        assert group["versus"]["mse"]["corrected"][NET] < 1

    def test_the_same_runs_give_the_same_page(self, filled, said, tmp_path):
        printed = said("--out", tmp_path / "one.html", "--no-log")
        assert "Logged" not in printed
        assert filled.search(f"tags.{COMPARISON_TAG} LIKE '%'") == []
        said("--out", tmp_path / "two.html")
        assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()

    def test_runs_by_name_on_a_part_by_a_measure(self, filled, said):
        printed = said(NET, KNN, "--on", "validation", "--measure", "mse", "--no-log")
        assert "validation, best by MSE first" in printed
        assert "popularity" not in printed
        assert (
            f"There is no verdict on {NET} with one seed: run two more." in printed
        )  # a name is its latest run
        assert "only the test part decides" in printed

    def test_of_a_study_and_of_the_latest(self, filled, said):
        store_run(filled, "logistic C=1", made_report(0.3, part="test"), tags={"study": "mine"})
        assert "│ logistic C=1 " in said("--study", "mine", "--no-log")
        printed = said("--last", 2, "--no-log")
        assert "│ logistic C=1 " in printed
        assert NET not in printed

    def test_the_next_command_is_on_the_same_store(self, filled, said):
        reports = made_report(0.5), made_report(0.5, part="test")
        store_run(filled, "ease 1", *reports, tags={"study": "a b"})
        printed = said("--study", "a b", "--tracking-uri", filled.uri, "--no-log")
        assert printed.endswith(f"recsweep promote --study 'a b' --tracking-uri {filled.uri}\n")

    def test_a_study_keeps_the_baselines_of_its_split(self, opened, said):
        kinds = {"popularity": (0.1, 0.2), "knn": (0.5, 0.3)}
        for name, skills in kinds.items():
            for place, skill in enumerate(skills):
                store_run(opened, f"{name} {place}", made_report(skill), _target_=name, size=place)
        store_run(opened, "knn 9", made_report(0.9, split="s2"), split="s2", _target_="knn", size=9)
        store_run(opened, NET, made_report(1.2), loss="mse", tags={"study": "mine"})
        printed = said("--study", "mine", "--no-log")
        for model, there in {
            NET: True,
            "popularity 1": True,
            "knn 0": True,
            "popularity 0": False,
            "knn 1": False,
            "knn 9": False,
        }.items():
            assert (f"│ {model} " in printed) == there

    def test_lists_of_other_candidates_do_not_compare(self, filled, said):
        store_run(
            filled, "logistic C=1", made_report(0.3, part="test"), tags={"candidates": "part"}
        )
        printed = said("--no-log")
        assert (
            "The runs are of 2 different data sets, splits or protocols, which do not compare"
            in printed
        )
        assert "known zeros of training, which rewards a model that remembers them" in printed
        assert "lists are chosen from the user's cells of the part" in printed

    def test_without_a_run_on_test_it_is_validation(self, opened, said):
        store_run(opened, KNN, made_report(0.5))
        assert "knn user 50 stands alone" in said("--no-log")

    def test_two_data_sets_are_two_tables(self, filled, said, tmp_path):
        store_run(filled, "logistic C=1", made_report(0.3, part="test"), data="other", digest="d2")
        printed = said("--no-log", "--out", tmp_path / "page.html")
        assert (
            "The runs are of 2 different data sets or splits, which do not compare: a table for "
            "each." in printed
        )
        first, second = printed.split(
            "\nother (data d2, split s1; lists are chosen from all items but what the user liked "
            "before)\n"
        )
        assert "logistic C=1" not in first
        assert NET not in second.split("The page:")[0]
        page = (tmp_path / "page.html").read_text(encoding="utf-8")
        assert re.findall(r"<h2>(.*?)</h2>", page) == [
            "toy",
            "other",
            "How this page is made again",
            "How the intervals are made",
        ]
        assert "numbers of different tables do not compare" in page.replace("\n", " ")


class TestMistakes:
    def test_no_store(self, tmp_path, error):
        assert "There is no MLflow store in" in error(
            "--tracking-uri", f"sqlite:///{tmp_path}/none.db"
        )

    def test_no_run(self, store, error):
        assert "has no finished run. Make one with: python train.py" in error()

    def test_unknown_runs_and_studies(self, filled, error):
        assert "has no finished run 'nobody'. List them with: recsweep runs" in error("nobody")
        assert "has no finished run of the study 'none'" in error("--study", "none")

    def test_nothing_on_the_part(self, opened, error):
        store_run(opened, KNN, made_report(0.5))
        assert "None of the 1 runs was evaluated on test. Set evaluation.test=true" in error(
            "--on", "test"
        )

    def test_a_measure_that_nobody_knows_or_has(self, opened, error):
        store_run(opened, KNN, made_report(0.5, cells=False))
        assert "--measure must be one of f1_at_threshold, " in error("--measure", "beauty")
        assert (
            "The models on toy (validation) can't be compared by 'mse'. Set --measure to one of "
            "ndcg_at_10." in error("--measure", "mse")
        )

    def test_impossible_numbers_and_mixtures(self, filled, error):
        assert "--last must be a whole number of at least 1, not 0." in error("--last", 0)
        assert "Name the runs, or take the latest with --last, not both." in error(KNN, "--last", 2)

    def test_a_page_that_can_not_be_written(self, filled, error, tmp_path):
        message = error("--out", tmp_path / "nowhere" / "page.html")
        assert f"there is no folder {tmp_path / 'nowhere'}. Choose another --out." in message

    def test_runs_without_artifacts_are_left_out_as_long_as_one_is_left(self, filled, said, error):
        def lose(record) -> None:
            shutil.rmtree(record.artifacts.removeprefix("file://"))

        records = finished_runs(OPTIONS)
        (lost,) = (record for record in records if record.name == KNN)
        lose(lost)
        printed = said("--no-log")
        assert f"│ {KNN}" not in printed
        assert (
            f"Left out: run {lost.id}: The run {lost.id} ({KNN}) has no artifact evaluation"
            in printed
        )
        for record in records:
            if record is not lost:
                lose(record)
        assert "None of the runs has a report that can be read" in error("--no-log")


class TestPage:
    @pytest.fixture
    def page(self, filled) -> str:
        return compare(CompareOptions(tracking=OPTIONS))[0].page

    def test_needs_nothing_else(self, page):
        links = r'<a target="_blank" rel="noopener" href="http://127.0.0.1:5000/#[^"]*">'
        assert re.findall(r"""(?:src|href|url)\s*[=(]""", re.sub(links, "", page)) == []
        assert (
            page.count('<svg xmlns="') == page.count("<figure") == page.count("<figcaption>") == 7
        )

    def test_has_every_model_its_runs_and_the_words(self, page, filled):
        text = _text(page)
        for record in finished_runs(OPTIONS):
            assert record.id in text
            assert record.name in text
        for part in (
            "By F1 at the chosen threshold,",
            "has the best value of every measure",
            "collapsed to zeros at that threshold",
            "500 bootstrap resamples",
            "Efron",
            "Holm",
        ):
            assert part in text
        assert "(baseline)" in page

    def test_says_where_its_numbers_come_from(self, page, filled):
        text = _text(page)
        days = {f"{datetime.now(UTC) - timedelta(days=ago):%Y-%m-%d}" for ago in (0, 1)}
        found = re.search(r"5 runs of (\S+) \S+ .*?\(UTC\); recsweep: (\S+); commit: ", text)
        assert found is not None
        assert found[1] in days
        assert found[2] == __version__
        for record in finished_runs(OPTIONS):
            assert f'href="{filled.address(record.id)}"' in page
        assert "Settings of each model" in text

    def test_its_command_makes_it_again(self, page, filled, said, tmp_path):
        (words,) = re.findall(r'<code class="command">recsweep compare (.*?)</code>', page)
        assert str(tmp_path) not in page
        assert shlex.split(words)[-2:] == ["--out", "comparison.html"]
        said(*shlex.split(words)[:-1], tmp_path / "again.html", "--no-log")
        assert (tmp_path / "again.html").read_text(encoding="utf-8") == page

    def test_runs_on_a_server_are_links_to_it_without_its_password(self, page, filled, monkeypatch):
        monkeypatch.setattr(filled, "uri", "https://anna:hush@runs.example.org/mlflow/")
        of_server = compare(CompareOptions(tracking=OPTIONS))[0].page
        assert "hush" not in of_server
        for record in finished_runs(OPTIONS):
            place = f"#/experiments/{filled.experiment_id}/runs/{record.id}"
            assert f'href="https://runs.example.org/mlflow/{place}"' in of_server
        assert "--tracking-uri https://runs.example.org/mlflow --out" in of_server

    def test_runs_of_several_versions_are_counted(self, filled):
        store_run(filled, "ease", made_report(0.5), made_report(0.5, part="test"))
        (run,) = finished_runs(OPTIONS, ids=["ease"])
        filled.client.delete_tag(run.id, "recsweep_version")
        text = _text(compare(CompareOptions(tracking=OPTIONS))[0].page)
        assert f"recsweep: {__version__} (5 runs), not kept (1 run); commit: " in text
        kept = Path(run.artifacts.removeprefix("file://"), "environment.json")
        kept.write_text('{"packages": {"recsweep": "0.0.9"}}', encoding="utf-8")
        text = _text(compare(CompareOptions(tracking=OPTIONS))[0].page)
        assert f"recsweep: {__version__} (5 runs), 0.0.9 (1 run); commit: " in text

    def test_has_the_numbers_of_the_runs(self, page):
        expected = np.mean(
            [
                made_report(1.2, part="test", seed=seed).metrics["average_precision"]
                for seed in (0, 1)
            ]
        )
        assert f">{expected:.4f}<small>" in page

    def test_a_note_is_no_longer_than_mlflow_keeps(self, filled):
        (section,) = compare(CompareOptions(tracking=OPTIONS))[0].sections
        assert "…" not in note([section], "test")
        shortened = note([section] * 20, "test")
        assert len(shortened) <= 8000
        lines = shortened.removesuffix("\n\n…").splitlines()
        assert set(lines) <= set(note([section], "test").splitlines())  # none is cut in two

    def test_names_are_no_html(self, opened):
        store_run(opened, "knn <script>alert(1)</script>", made_report(0.5))
        page = compare(CompareOptions(tracking=OPTIONS))[0].page
        assert "<script" not in page
        assert "&lt;script&gt;" in page


def _contrast(opened: Tracker, measure: str, part: str = "validation"):
    (standing,) = standings(finished_runs(OPTIONS), opened, part)
    return contrast(standing, measure, replicates=50)


class TestNumbers:
    def test_the_best_baseline_is_chosen_on_validation(self, opened):
        """On test the other one is better: choosing there would favour it."""
        store_run(opened, "knn a", made_report(1), made_report(0.2, part="test"))
        store_run(opened, "knn b", made_report(0.2), made_report(1, part="test"))
        store_run(opened, NET, made_report(2), made_report(2, part="test"), loss="mse")
        versus = _contrast(opened, "average_precision", "test").versus["average_precision"]
        assert (versus.reference, versus.chosen_on) == ("knn a", "validation")
        assert set(versus.differences) == {"knn b", NET}

    def test_without_validation_it_is_chosen_on_the_part(self, opened):
        store_run(opened, "knn a", made_report(0.2, part="test"))
        store_run(opened, "knn b", made_report(1), made_report(1, part="test"))
        versus = _contrast(opened, "mse", "test").versus["mse"]
        assert (versus.reference, versus.chosen_on) == ("knn b", "test")

    def test_p_values_are_corrected_for_all_that_are_compared(self, filled):
        versus = _contrast(filled, "average_precision").versus["average_precision"]
        assert np.isnan(
            [versus.differences[RIVAL].p_value, versus.corrected[RIVAL]]
        ).all()  # one seed: no verdict
        least = min((NET, "popularity"), key=lambda name: versus.differences[name].p_value)
        assert versus.corrected[least] == pytest.approx(2 * versus.differences[least].p_value)

    def test_what_a_net_pays_is_against_the_best_baseline(self, filled):
        found = _contrast(filled, "f1_at_threshold")
        assert (found.best_net, found.reference) == (NET, KNN)
        assert found.paid["mse"].value == pytest.approx(
            found[NET].values["mse"] - found[KNN].values["mse"], abs=1e-6
        )

    def test_nets_alone_and_baselines_alone(self, opened):
        store_run(opened, KNN, made_report(0.5))
        store_run(opened, "popularity", made_report(0.1))
        found = _contrast(opened, "f1_at_threshold")
        assert (found.best_net, found.reference, found.paid) == (None, KNN, {})
        alone = replace(found, rows=[replace(row, role="net", loss="mse") for row in found.rows])
        assert alone.top(1) == [alone.rows[0]]

    def test_likes_alone_have_no_cells_to_measure(self, opened, said):
        for skill, name in ((0.5, KNN), (0.1, "popularity")):
            store_run(opened, name, made_report(skill, cells=False))
        printed = said("--no-log")
        assert "best by NDCG@10 first" in printed
        assert f"By NDCG@10, {KNN}, the best baseline, leads" in printed
        assert "F1" not in printed

    def test_what_can_not_be_resampled_has_no_interval(self, opened):
        whole = made_report(0.5)
        cells = whole.cells
        predicted, positive = cells["probabilities"] >= 0.5, cells["targets"] == 1
        chosen = {
            "true_positives": predicted & positive,
            "false_positives": predicted & ~positive,
            "false_negatives": ~predicted & positive,
            "true_negatives": ~predicted & ~positive,
        }
        counts = {
            f"{name}_at_{at}": np.bincount(
                cells["users"][which], minlength=len(whole.users)
            ).astype(np.int32)
            for at in ("half", "threshold")
            for name, which in chosen.items()
        } | {"users": whole.users}
        store_run(
            opened, KNN, EvaluationReport(**{**vars(whole), "cells": None, "user_counts": counts})
        )
        (row,) = _contrast(opened, "f1_at_half").rows
        assert "f1_at_half" in row.intervals
        assert "average_precision" not in row.intervals
        assert row.values["average_precision"] == whole.metrics["average_precision"]
        page = compare(CompareOptions(tracking=OPTIONS))[0].page
        assert "A value without an interval can&#x27;t be resampled" in page
        assert "average precision, ROC AUC, MSE, log loss, calibration error (ECE)." in _text(page)


class TestCalibration:
    def test_bins_hold_as_many_cells_each(self):
        probabilities = np.linspace(0, 1, 1000)
        predicted, observed, counts = calibration(
            rank_cells((probabilities > 0.5).astype(np.uint8), probabilities), bins=10
        )
        assert counts.tolist() == [100] * 10
        np.testing.assert_allclose(predicted, np.arange(0.05, 1, 0.1), atol=1e-3)
        assert observed.tolist() == [0] * 5 + [1] * 5

    def test_cells_of_the_same_probability_share_a_bin(self):
        probabilities = np.array([0.0] * 90 + [0.5] * 10)
        predicted, observed, counts = calibration(
            rank_cells(np.array([0] * 90 + [1] * 10), probabilities), bins=10
        )
        assert (counts.tolist(), predicted.tolist(), observed.tolist()) == (
            [90, 10],
            [0.0, 0.5],
            [0.0, 1.0],
        )
