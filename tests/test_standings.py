"""Runs become models, and models stand together only where they were measured on the same."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from recsweep.comparison.compare import _history
from recsweep.comparison.models import standing_of, standings
from recsweep.errors import DataError, TrackingError
from recsweep.tracking import Tracker, finished_runs, identity, tracker
from tests.stored_runs import OPTIONS, made_report, store_run


@pytest.fixture
def opened(store: Path) -> Tracker:
    return tracker(OPTIONS)


def _standings(opened: Tracker, part: str = "validation", **options: bool):
    return standings(finished_runs(OPTIONS), opened, part, **options)


def _report_folder(opened: Tracker, run_id: str) -> Path:
    return Path(opened.record(run_id).artifacts.removeprefix("file://")) / "evaluation"


def test_runs_that_differ_by_their_seed_alone_are_one_model(opened):
    for seed in (1, 0):
        store_run(opened, "net", made_report(1, seed=seed), loss="mse", seed=seed)
    store_run(opened, "knn", made_report(1))
    (standing,) = _standings(opened)
    net, knn = standing.models
    keys = [("s1", 0), ("s1", 1)]
    assert (net.name, list(net.records), list(net.reports), net.is_baseline) == (
        "net",
        keys,
        keys,
        False,
    )
    assert (net.seeds, net.splits, net.is_random, knn.is_random) == ([0, 1], ["s1"], True, False)
    assert (knn.name, knn.is_baseline) == ("knn", True)
    expected = np.mean([made_report(1, seed=seed).metrics["mse"] for seed in (0, 1)])
    assert net.mean("validation/mse") == pytest.approx(expected)
    assert np.isnan(net.mean("test/mse"))


def test_digests_in_tags_decide_what_is_one_model(opened):
    """Not the params, which people read: another name for a setting makes no other model."""
    for seed, digest in ((0, "d1"), (1, "d1"), (2, "d2")):
        tags = {"model_digest": digest, "model_family": "net"}
        store_run(
            opened,
            "net",
            made_report(1, seed=seed),
            loss="mse",
            seed=seed,
            tags=tags,
            note=f"written {seed} ways",
        )
    (standing,) = _standings(opened)
    assert [model.seeds for model in standing.models] == [[0, 1], [2]]


def test_a_run_from_before_the_digests_is_the_same_as_one_with_them(opened):
    split = {"_target_": "RandomCells", "seed": 0}
    settings = {"split_settings": split, "loss": "mse", "user_dim": 3}
    earlier = store_run(opened, "net", made_report(1), seed=0, **settings)
    record = opened.record(earlier)
    tags = identity(record.kind, record.params)
    later = store_run(opened, "net", made_report(1, seed=1), seed=1, tags=tags, **settings)
    opened.add_to(opened.record(later)).log(params={"model": "net", "optimizer": "adam"})
    assert tags["split_seed"] == "0"
    (standing,) = _standings(opened)
    (model,) = standing.models
    assert (model.seeds, standing.split_seeds) == ([0, 1], [0])


def test_the_later_of_two_runs_with_the_same_settings_and_seed_counts(opened):
    store_run(opened, "knn", made_report(0.5))
    later = store_run(opened, "knn", made_report(2))
    (standing,) = _standings(opened)
    (model,) = standing.models
    assert [record.id for record in model.records.values()] == [later]
    assert standing.left_out == ["1 run before another one of the same settings and seed"]


def test_models_of_the_same_name_are_told_apart_by_what_differs(opened):
    for weighting in ("none", "tfidf"):
        store_run(opened, "knn", made_report(1), weighting=weighting, k=50)
    assert [model.name for model in _standings(opened)[0].models] == [
        "knn, weighting none",
        "knn, weighting tfidf",
    ]


def test_other_data_or_another_split_stand_apart(opened):
    for digest, split in (("d1", "s1"), ("d2", "s1"), ("d1", "s2")):
        store_run(opened, "knn", made_report(1, split=split), digest=digest, split=split)
    found = _standings(opened)
    assert [(each.data_digest, each.split_digest) for each in found] == [
        ("d1", "s1"),
        ("d2", "s1"),
        ("d1", "s2"),
    ]
    with pytest.raises(
        DataError, match=r"Only runs on the same data and split, .* compare, not on toy \(data d1"
    ):
        standing_of(finished_runs(OPTIONS), opened, "validation")


def test_the_name_of_the_data_does_not_count(opened):
    for data in ("toy", "toy again"):
        store_run(opened, "knn", made_report(1), data=data, k=len(data))
    (standing,) = _standings(opened)
    assert (standing.data, len(standing.models)) == ("toy", 2)


def test_lists_of_other_candidates_stand_apart(opened):
    for candidates in ({}, {"candidates": "part"}):
        store_run(opened, "knn", made_report(1), tags=candidates)
    assert [each.candidates for each in _standings(opened)] == ["not_liked", "part"]
    with pytest.raises(
        DataError, match=r"lists from all items but what the user .* and .*cells of the part"
    ):
        standing_of(finished_runs(OPTIONS), opened, "validation")


class TestSplits:
    def store(self, opened: Tracker, name: str, splits: str, **settings) -> None:
        for split in splits:
            store_run(
                opened,
                name,
                made_report(1, split=split),
                split=split,
                split_settings={"_target_": "RandomCells", "seed": int(split)},
                **settings,
            )

    def test_models_on_the_same_splits_of_one_rule_stand_together_over_them(self, opened):
        self.store(opened, "net", "201", loss="mse")
        self.store(opened, "knn", "012")
        (standing,) = _standings(opened)
        assert (standing.splits, standing.split_seeds) == (["0", "1", "2"], [0, 1, 2])
        assert [list(model.records) for model in standing.models] == [
            [("0", 0), ("1", 0), ("2", 0)]
        ] * 2

    def test_splits_with_the_same_given_test_part_are_not_taken_for_several(self, opened):
        """Another seed draws another validation part there, and tells nothing of the test part."""
        for seed in (0, 1):
            settings = {"_target_": "recsweep.data.split.Given", "seed": seed, "validation": 0.1}
            report = made_report(1, split=str(seed))
            store_run(opened, "knn", report, split=str(seed), split_settings=settings)
        assert [each.split_seeds for each in _standings(opened)] == [[None], [None]]

    def test_a_split_with_a_model_of_its_own_follows(self, opened):
        self.store(opened, "net", "012", loss="mse")
        self.store(opened, "knn", "0123")
        self.store(opened, "popularity", "1")
        over, alone, last = _standings(opened)
        assert (over.splits, [model.name for model in over.models]) == (
            ["0", "1", "2"],
            ["net", "knn"],
        )
        assert (alone.splits, [model.name for model in alone.models]) == (
            ["1"],
            ["net", "knn", "popularity"],
        )
        assert (last.splits, [model.name for model in last.models]) == (["3"], ["knn"])

    def test_no_two_models_on_the_same_two_splits(self, opened):
        self.store(opened, "net", "01", loss="mse")
        self.store(opened, "knn", "1")
        assert [each.splits for each in _standings(opened)] == [["0"], ["1"]]

    def test_what_the_settings_call_a_split_does_not_count_where_the_digest_is_the_same(
        self, opened
    ):
        for bound in (10, 20):
            store_run(
                opened,
                "knn",
                made_report(1),
                split_settings={"max_cells": bound, "seed": 0},
                k=bound,
            )
        (standing,) = _standings(opened)
        assert len(standing.models) == 2

    def test_means_are_over_the_seeds_of_a_split_and_then_over_the_splits(self, opened):
        for split, seed, skill in (("0", 0, 0.5), ("0", 1, 1.0), ("1", 0, 2.0)):
            store_run(
                opened,
                "net",
                made_report(skill, seed=seed, split=split),
                seed=seed,
                split=split,
                loss="mse",
                split_settings={"_target_": "RandomCells", "seed": int(split)},
            )
        self.store(opened, "knn", "01")
        mse = [
            made_report(skill, seed=seed).metrics["mse"]
            for skill, seed in ((0.5, 0), (1.0, 1), (2.0, 0))
        ]
        net = next(model for model in _standings(opened)[0].models if model.name == "net")
        assert net.mean("validation/mse") == pytest.approx(((mse[0] + mse[1]) / 2 + mse[2]) / 2)


def test_runs_without_the_part_are_counted(opened):
    store_run(opened, "knn", made_report(1))
    store_run(opened, "net", made_report(1), made_report(1, part="test"), loss="mse")
    (standing,) = _standings(opened, "test")
    assert [model.name for model in standing.models] == ["net"]
    assert standing.left_out == ["1 run without an evaluation on test"]


def test_no_run_with_the_part(opened):
    store_run(opened, "knn", made_report(1))
    with pytest.raises(
        DataError, match=r"None of the 1 runs was evaluated on test. Set evaluation.test=true"
    ):
        _standings(opened, "test")


class TestUnreadable:
    def test_a_run_whose_report_is_gone_is_an_error_unless_it_may_be_left_out(self, opened):
        gone = store_run(opened, "net", made_report(1), loss="mse")
        store_run(opened, "net", made_report(1), loss="mse", seed=1)
        broken = store_run(opened, "knn", made_report(1))
        store_run(opened, "popularity", made_report(1))
        shutil.rmtree(_report_folder(opened, gone))
        (_report_folder(opened, broken) / "validation.json").write_text("{")
        with pytest.raises(
            TrackingError, match=rf"The run {gone} \(net\) has no artifact evaluation"
        ):
            _standings(opened)
        (standing,) = _standings(opened, without_unreadable=True)
        assert [(model.name, model.seeds) for model in standing.models] == [
            ("net", [1]),
            ("popularity", [0]),
        ]
        first, second = standing.left_out
        assert first.startswith(f"run {gone}: ")
        assert second.startswith(f"run {broken}: ")
        assert "holds no whole evaluation" in second

    def test_none_is_left(self, opened):
        shutil.rmtree(_report_folder(opened, store_run(opened, "knn", made_report(1))))
        with pytest.raises(
            DataError,
            match=r"None of the runs has a report that can be read: run .* has no artifact",
        ):
            _standings(opened, without_unreadable=True)


def test_epochs_are_read_from_runs_of_any_version(opened):
    """Epochs had the names of the final values once, and were counted in metrics."""
    earlier = opened.record(store_run(opened, "net", made_report(1), loss="mse"))
    run = opened.start("net", {"loss": "mse"})
    for epoch in (1, 2):
        run.log(metrics={"validation_epochs/average_precision": 0.1 * epoch}, step=epoch)
    run.log(
        metrics={"validation/average_precision": 0.1},
        tags={"epochs": 2, "best_epoch": 1, "kept_epoch": 1},
    )
    run.end("FINISHED")
    now = opened.record(run.id)
    for record, final_step in ((earlier, 3), (now, 0)):
        curve = _history(record, opened)["validation/average_precision"]
        assert curve == [(1, pytest.approx(0.1)), (2, pytest.approx(0.2))]
        assert (record.metrics["fit/epochs"], record.final_step) == (2, final_step)
    assert (now.metrics["fit/kept_epoch"], now.metrics["validation/average_precision"]) == (1, 0.1)
