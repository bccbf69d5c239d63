"""top_k against plain Python, and evaluations of small hand-made splits."""

import inspect
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from recsweep.data.feature_files import feature_table
from recsweep.data.interactions import IdMap, Part, Split
from recsweep.errors import ConfigError, DataError, FitError
from recsweep.evaluation import (
    CANDIDATES,
    EvaluationProtocol,
    EvaluationReport,
    cell_metrics,
    evaluate,
    objective_of,
    read_report,
    top_k,
    truth_metrics,
)
from recsweep.measures import ENTRIES

RANKING_METRICS = [
    each.name.removesuffix("_at_{k}") for each in ENTRIES if each.needs == "user lists"
]
DEFAULTS = Path(__file__).parents[1] / "conf" / "evaluation" / "default.yaml"


def protocol(**changes) -> EvaluationProtocol:
    settings = {
        "k": [2, 3],
        "candidates": "not_liked",
        "objective": None,
        "test": False,
        "max_stored_cells": 1000,
        "batch_users": 256,
        "num_candidates": 1,
        "candidates_seed": 0,
        "validation_users": None,
        "validation_seed": 0,
    }
    return EvaluationProtocol(**settings | changes)


def part_of(
    cells: dict[tuple[int, int], int], shape: tuple[int, int], enumerates_cells: bool = True
) -> Part:
    users, items = np.array(list(cells), dtype=np.int32).reshape(-1, 2).T
    return Part(users, items, np.array(list(cells.values()), np.uint8), *shape, enumerates_cells)


def positives_of(pairs: list[tuple[int, int]], shape: tuple[int, int]) -> Part:
    return part_of(dict.fromkeys(pairs, 1), shape, enumerates_cells=False)


class TableModel:
    """Answers from a table of probabilities, (num_users, num_items)."""

    def __init__(self, table: np.ndarray) -> None:
        self.table = np.asarray(table, dtype=np.float32)
        self.asked: list[list[int]] = []

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        return self.table[users, items]

    def score(self, users: np.ndarray) -> np.ndarray:
        self.asked.append(users.tolist())
        return self.table[users]


class CellsModel(TableModel):
    """Scores single cells, too, and counts them."""

    cells = 0

    def score_cells(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        self.cells += len(users)
        return self.table[users, items]


class HistoryModel(TableModel):
    """Scores a history by the item after its last one."""

    def score_histories(self, histories: csr_matrix) -> np.ndarray:
        return np.roll(histories.toarray(), 1, axis=1).astype(np.float32)


class LikedByModel(TableModel):
    """A new item is for the user after the one who likes it."""

    def score_new_items(self, liked_by: csr_matrix) -> np.ndarray:
        return np.roll(liked_by.toarray(), 1, axis=1).astype(np.float32)


class FeaturesModel(TableModel):
    """Keeps what it is told of new users and items."""

    def __init__(self, table: np.ndarray) -> None:
        super().__init__(table)
        self.told: list[tuple[list, list]] = []

    def score_histories(self, given: csr_matrix, features: csr_matrix) -> np.ndarray:
        self.told.append((given.toarray().tolist(), features.toarray().tolist()))
        return np.zeros(given.shape, dtype=np.float32)

    score_new_items = score_histories


# Two users, four items. User 0 was trained on item 0, user 1 on item 3.
SHAPE = (2, 4)
SPLIT = Split(
    train=part_of({(0, 0): 1, (1, 3): 1}, SHAPE),
    validation=part_of({(0, 1): 1, (0, 2): 0, (1, 0): 0, (1, 1): 1}, SHAPE),
    test=part_of({(0, 3): 1, (1, 2): 0}, SHAPE),
    kind="random_cells",
    seed=3,
)
MODEL = TableModel([[0.9, 0.4, 0.3, 0.2], [0.1, 0.2, 0.6, 0.8]])


def random_split(seed: int, num_users: int = 60, num_items: int = 50) -> Split:
    rng = np.random.default_rng(seed)
    targets = (rng.random(num_users * num_items) < 0.1).astype(np.uint8)
    train, validation, test = np.split(rng.permutation(targets.size), [2000, 2500])
    parts = [
        Part(cells // num_items, cells % num_items, targets[cells], num_users, num_items, True)
        for cells in (train, validation, test)
    ]
    return Split(*parts, kind="random_cells", seed=seed)


def reference_top_k(scores: np.ndarray, k: int, excluded: np.ndarray) -> list[list[int]]:
    lists = []
    for row, left_out in zip(scores.tolist(), excluded, strict=True):
        candidates = [
            item for item in range(len(row)) if not left_out[item] and row[item] > -np.inf
        ]
        best = sorted(candidates, key=lambda item: (-row[item], item))[:k]
        lists.append(best + [-1] * (k - len(best)))
    return lists


class TestTopK:
    @pytest.mark.parametrize("decimals", [0, 1, 6])
    @pytest.mark.parametrize("k", [1, 7, 29, 30, 41])
    @pytest.mark.parametrize("share_excluded", [0, 0.2, 0.9, 1])
    def test_equals_plain_python(self, decimals, k, share_excluded):
        rng = np.random.default_rng(k)
        scores = np.round(rng.standard_normal((25, 30)), decimals).astype(np.float32)
        scores[rng.random(scores.shape) < 0.05] = -np.inf
        scores[rng.random(scores.shape) < 0.02] = np.inf
        excluded = rng.random(scores.shape) < share_excluded
        before = scores.copy()
        items, best = top_k(scores, k, csr_matrix(excluded, dtype=np.float32))
        assert (items.dtype, best.dtype, items.shape, best.shape) == (
            np.int32,
            np.float32,
            (25, k),
            (25, k),
        )
        assert items.tolist() == reference_top_k(scores, k, excluded)
        taken = np.take_along_axis(scores, np.minimum(np.maximum(items, 0), 29), axis=1)
        np.testing.assert_array_equal(best, np.where(items >= 0, taken, -np.inf))
        np.testing.assert_array_equal(scores, before)

    @pytest.mark.parametrize("decimals", [0, 2, 6])
    @pytest.mark.parametrize("k", [1, 3, 20])
    @pytest.mark.parametrize("share_excluded", [0, 0.5, 0.99, 0.9999])
    def test_equals_plain_python_of_many_items(self, decimals, k, share_excluded):
        rng = np.random.default_rng(k)
        scores = np.round(rng.standard_normal((12, 1483)), decimals).astype(np.float32)
        scores[0], scores[1, 7:] = 0, -np.inf
        scores[2] = np.sort(scores[2])
        excluded = rng.random(scores.shape) < share_excluded
        items, best = top_k(scores, k, csr_matrix(excluded, dtype=np.float32))
        assert items.tolist() == reference_top_k(scores, k, excluded)
        taken = np.take_along_axis(scores, np.maximum(items, 0), axis=1)
        np.testing.assert_array_equal(best, np.where(items >= 0, taken, -np.inf))

    def test_all_equal_scores_give_the_first_items(self):
        items, _ = top_k(np.zeros((3, 9), np.float32), 4)
        assert items.tolist() == [[0, 1, 2, 3]] * 3

    def test_read_only_scores_and_no_rows(self):
        scores = np.ones((2, 3), np.float32)
        scores.flags.writeable = False
        assert top_k(scores, 2, csr_matrix(([1.0], ([0], [0])), shape=(2, 3)))[0].tolist() == [
            [1, 2],
            [0, 1],
        ]
        assert top_k(np.zeros((0, 3), np.float32), 2)[0].shape == (0, 2)

    def test_what_excluded_stores_counts_whatever_its_value(self):
        excluded = csr_matrix((np.array([0.0, 2.0]), ([0, 0], [0, 2])), shape=(1, 3))
        assert top_k(np.ones((1, 3), np.float32), 3, excluded)[0].tolist() == [[1, -1, -1]]

    def test_refuses_nan(self):
        scores = np.zeros((2, 3), np.float32)
        scores[1, 2] = np.nan
        with pytest.raises(FitError, match="1 of 6 scores that are not numbers"):
            top_k(scores, 2)

    def test_refuses_k_below_one(self):
        with pytest.raises(ConfigError, match="k must be a whole number of at least 1"):
            top_k(np.zeros((2, 3), np.float32), 0)


class TestProtocol:
    def test_defaults_stand_in_the_yaml_alone(self):
        from hydra.utils import instantiate
        from omegaconf import OmegaConf

        node = OmegaConf.load(DEFAULTS)
        made = instantiate(node)
        assert (made.k, made.objective, made.test) == ((5, 10, 20), None, False)
        parameters = inspect.signature(EvaluationProtocol).parameters
        assert set(parameters) == set(node) - {"_target_"}
        assert all(parameter.default is parameter.empty for parameter in parameters.values())

    @pytest.mark.parametrize(
        "changes",
        [
            {"k": []},
            {"k": 10},
            {"k": "10"},
            {"k": [0]},
            {"k": [5, 5]},
            {"k": [2.5]},
            {"k": None},
            {"test": "yes"},
            {"batch_users": 0},
            {"max_stored_cells": -1},
            {"objective": ""},
            {"objective": 3},
            {"objective": "test/mse"},
            {"candidates": "all"},
        ],
        ids=str,
    )
    def test_refuses_impossible_settings(self, changes):
        with pytest.raises(ConfigError, match=rf"evaluation\.{next(iter(changes))} must"):
            protocol(**changes)

    def test_k_is_ascending(self):
        assert protocol(k=[20, 5]).k == (5, 20)


class TestCandidates:
    """User 0 of SPLIT has items 1 (liked) and 2 in validation and 3 (liked) in the test; user 1 has
    0 and 1 (liked) in validation and 2 in the test.
    """

    def test_part_chooses_from_the_cells_of_the_part(self):
        report = evaluate(MODEL, SPLIT, protocol=protocol(candidates="part"))
        # User 0 is asked for 1 and 2 and gets 1, 2; user 1 for 0 and 1 and gets 1, 0: item 2 is the
        # test's.
        assert report.per_user["mrr_at_2"].tolist() == [1, 1]
        assert report.metrics["coverage_at_3"] == 3 / 4
        assert report.protocol["candidates"] == "the user's cells of the part"
        tested = evaluate(MODEL, SPLIT, "test", protocol=protocol(candidates="part"), threshold=0.5)
        assert tested.per_user["mrr_at_2"].tolist() == [1]

    def test_unseen_leaves_every_cell_of_earlier_parts_out(self):
        train = part_of({(0, 0): 1, (0, 2): 0, (1, 3): 1}, SHAPE)
        split = replace(
            SPLIT, train=train, validation=part_of({(0, 1): 1, (1, 0): 0, (1, 1): 1}, SHAPE)
        )
        report = evaluate(
            TableModel([[0, 1, 9, 2], [1, 2, 3, 9]]), split, protocol=protocol(candidates="unseen")
        )
        # User 0 gets 3 and then 1: 2 is a known zero of training. User 1 gets 2, 1, 0.
        assert report.per_user["mrr_at_2"].tolist() == [1 / 2, 1 / 2]
        assert report.protocol["excluded"] == "the user's training cells"
        tested = evaluate(
            MODEL, split, "test", protocol=protocol(candidates="unseen"), threshold=0.5
        )
        assert tested.per_user["mrr_at_2"].tolist() == [1]  # only 3 is left
        assert tested.protocol["excluded"] == "the user's training cells and validation cells"

    @pytest.mark.parametrize("candidates", ["part", "unseen"])
    @pytest.mark.parametrize("part", ["validation", "test"])
    def test_a_model_that_remembers_training_cells_gains_nothing(self, candidates, part):
        split = random_split(11)
        popularity = np.tile(np.asarray(split.train.positives.sum(axis=0)), (60, 1)) / 60
        remembers = popularity.copy()
        remembers[split.train.users, split.train.items] -= 9  # their zeros come last
        remembers[split.train.users, split.train.items] += (
            18 * split.train.targets
        )  # and their positives first

        def rankings(table: np.ndarray, candidates: str) -> dict[str, list[float]]:
            told = evaluate(
                TableModel(table),
                split,
                part,
                threshold=0.5,
                protocol=protocol(candidates=candidates, k=[5, 10]),
            )
            return {name: values.tolist() for name, values in told.per_user.items()}

        assert rankings(popularity, candidates) == rankings(remembers, candidates)
        plain, known = (
            np.mean(rankings(table, "not_liked")["ndcg_at_10"]) for table in (popularity, remembers)
        )
        assert known > 1.5 * plain  # what the protocol of before rewarded

    def test_on_the_test_part_both_are_the_same_where_every_cell_lies_in_a_part(self):
        split, model = random_split(12), TableModel(np.random.default_rng(13).random((60, 50)))
        one, other = (
            evaluate(model, split, "test", threshold=0.5, protocol=protocol(candidates=candidates))
            for candidates in ("part", "unseen")
        )
        assert one.metrics == other.metrics
        one, other = (
            evaluate(model, split, protocol=protocol(candidates=candidates))
            for candidates in ("part", "unseen")
        )
        assert one.metrics["ndcg_at_3"] > other.metrics["ndcg_at_3"]  # among fewer candidates

    @pytest.mark.parametrize("candidates", ["part", "given", "sampled"])
    def test_of_few_candidates_no_more_is_scored_than_they_are(self, candidates):
        chosen = np.random.default_rng(14).random((60, 50)) < 0.1
        split = replace(random_split(15), candidates=csr_matrix(chosen))
        table = np.random.default_rng(16).random((60, 50))
        rows, cells = TableModel(table), CellsModel(table)
        one, other = (
            evaluate(each, split, protocol=protocol(candidates=candidates, num_candidates=5))
            for each in (rows, cells)
        )
        assert one.to_dict() == other.to_dict()
        assert not cells.asked
        assert rows.asked
        assert 0 < cells.cells < table.size / 2

    def test_whole_rows_are_scored_of_many_candidates(self):
        model = CellsModel(MODEL.table)
        evaluate(model, SPLIT, protocol=protocol(candidates="not_liked"))
        full = replace(SPLIT, candidates=csr_matrix(np.ones(SHAPE, dtype=bool)))
        evaluate(model, full, protocol=protocol(candidates="given"))
        assert (len(model.asked), model.cells) == (2, 0)

    def test_the_digest_tells_the_protocols_apart(self):
        given = replace(SPLIT, candidates=csr_matrix([[0, 0, 1, 0], [0, 0, 1, 0]], dtype=bool))
        other = replace(SPLIT, candidates=csr_matrix([[0, 0, 1, 0], [1, 0, 0, 0]], dtype=bool))
        reports = [
            evaluate(MODEL, given, protocol=protocol(candidates=each)) for each in CANDIDATES
        ]
        reports += [
            evaluate(MODEL, other, protocol=protocol(candidates="given")),
            evaluate(MODEL, given, protocol=protocol(candidates="sampled", candidates_seed=1)),
        ]
        assert len({report.protocol["digest"] for report in reports}) == len(CANDIDATES) + 2

    def test_a_split_without_known_zeros_has_one_protocol(self):
        split = replace(
            SPLIT,
            validation=positives_of([(0, 1), (1, 1)], SHAPE),
            train=positives_of([(0, 0)], SHAPE),
        )
        of_cells = ("part", "unseen", "not_liked")
        first, *others = (
            evaluate(MODEL, split, protocol=protocol(candidates=each)) for each in of_cells
        )
        assert first.protocol["candidates"] == "all items but the excluded"
        assert all(other.to_dict() == first.to_dict() for other in others)
        assert {protocol(candidates=each).candidates_of(split) for each in of_cells} == {
            "not_liked"
        }


class TestObjective:
    CELLS, POSITIVES = SPLIT.validation, positives_of([(0, 0)], SHAPE)

    def test_default_where_cells_are_known(self):
        assert objective_of({"average_precision": 0.2, "mse": 1}, protocol(), self.CELLS) == (
            "average_precision",
            0.2,
            True,
        )

    @pytest.mark.parametrize(("k", "expected"), [([5, 10], "ndcg_at_10"), ([20, 7], "ndcg_at_7")])
    def test_default_where_only_positives_are_known(self, k, expected):
        metrics = {f"ndcg_at_{length}": length / 100 for length in k}
        assert objective_of(metrics, protocol(k=k), self.POSITIVES) == (
            expected,
            metrics[expected],
            True,
        )

    @pytest.mark.parametrize(
        ("name", "maximise"),
        [
            ("mse", False),
            ("validation/log_loss", False),
            ("train_loss", False),
            ("validation/f1_at_half", True),
        ],
    )
    def test_direction_and_worst_value(self, name, maximise):
        plain = name.removeprefix("validation/")
        assert objective_of({plain: 0.5}, protocol(objective=name), self.CELLS) == (
            plain,
            0.5,
            maximise,
        )
        _, worst, _ = objective_of({plain: float("nan")}, protocol(objective=name), self.CELLS)
        assert worst == (-np.inf if maximise else np.inf)

    def test_names_what_there_is(self):
        with pytest.raises(ConfigError, match=r"'recall_at_7' was not computed.*mse, ndcg_at_5"):
            objective_of({"ndcg_at_5": 1, "mse": 1}, protocol(objective="recall_at_7"), self.CELLS)

    def test_refuses_the_test_part(self):
        with pytest.raises(ConfigError, match="must be a metric of validation, not 'test/mse'"):
            protocol(objective="test/mse")


class TestEvaluate:
    def test_by_hand(self):
        report = evaluate(MODEL, SPLIT, protocol=protocol())
        # Cells by probability: 0.4 (1), 0.3 (0), 0.2 (1), 0.1 (0): F1 is 2/3 at 0.4, 1/2 at 0.3,
        # 4/5 at 0.2.
        expected = {
            "f1_at_half": 0,
            "precision_at_half": 0,
            "recall_at_half": 0,
            "accuracy_at_half": 0.5,
            "share_predicted_positive_at_half": 0,
            "threshold": 0.2,
            "f1_at_threshold": 4 / 5,
            "precision_at_threshold": 2 / 3,
            "recall_at_threshold": 1,
            "accuracy_at_threshold": 3 / 4,
            "share_predicted_positive_at_threshold": 3 / 4,
            "prevalence": 0.5,
            "roc_auc": 3 / 4,
            "average_precision": (1 + 2 / 3) / 2,
            "mse": (0.36 + 0.09 + 0.01 + 0.64) / 4,
            "log_loss": -np.log([0.4, 0.7, 0.9, 0.2]).mean(),
            "ece": (0.6 + 0.3 + 0.8 + 0.1) / 4,
            # Lists: user 0 of items 1, 2, 3 gets 1, 2, 3 and likes 1; user 1 of 0, 1, 2 gets 2, 1,
            # 0 and likes 1.
            "ndcg_at_2": (1 + 1 / np.log2(3)) / 2,
            "recall_at_2": 1,
            "recall_capped_at_2": 1,
            "precision_at_2": 0.5,
            "map_at_2": 0.75,
            "mrr_at_2": 0.75,
            "hit_rate_at_2": 1,
            "coverage_at_2": 0.5,
            "ndcg_at_3": (1 + 1 / np.log2(3)) / 2,
            "recall_at_3": 1,
            "recall_capped_at_3": 1,
            "precision_at_3": 1 / 3,
            "map_at_3": 0.75,
            "mrr_at_3": 0.75,
            "hit_rate_at_3": 1,
            "coverage_at_3": 1,
            # In lists of 2 two of the four items stand twice, in lists of 3 two twice and two once.
            # Of two users in training one likes each of two items, and what nobody likes counts as
            # liked by one: a bit each.
            "gini_at_2": 0.5,
            "gini_at_3": 1 / 6,
            "novelty_at_2": 1,
            "novelty_at_3": 1,
        }
        # User 0 has the cells 0.4 (1) and 0.3 (0), user 1 0.2 (1) and 0.1 (0): at 0.2 three are
        # predicted positive.
        expected |= {
            f"{name}_per_user": value
            for name, value in {
                "average_precision": 1,
                "roc_auc": 1,
                "mse": expected["mse"],
                "log_loss": expected["log_loss"],
                "f1_at_half": 0,
                "precision_at_half": 0,
                "recall_at_half": 0,
                "accuracy_at_half": 0.5,
                "f1_at_threshold": (2 / 3 + 1) / 2,
                "precision_at_threshold": (1 / 2 + 1) / 2,
                "recall_at_threshold": 1,
                "accuracy_at_threshold": (1 / 2 + 1) / 2,
            }.items()
        }
        assert report.metrics == pytest.approx(expected)
        assert report.collapsed
        assert report.counts == {"users": 2, "items": 4, "positives": 2, "cells": 4}
        assert report.per_user["mrr_at_2"].tolist() == [1, 0.5]
        assert report.prefixed()["validation/f1_at_threshold"] == pytest.approx(0.8)
        assert report.protocol["split_digest"] == SPLIT.digest
        assert report.protocol["excluded"] == "the user's training positives"

    def test_stored_values_reproduce_the_metrics(self):
        split = random_split(0)
        table = np.random.default_rng(1).random((60, 50)).round(1)
        report = evaluate(TableModel(table), split, protocol=protocol(k=[5, 20], batch_users=7))
        assert not report.collapsed
        assert {
            f"{name}_at_{k}" for name in RANKING_METRICS for k in (5, 20)
        } < report.per_user.keys()
        for name, values in report.per_user.items():
            assert values.dtype == np.float32
            assert report.metrics[name] == np.nanmean(values, dtype=np.float64)

    def test_cell_metrics_of_each_user_stand_beside_the_pooled_ones(self):
        split = random_split(0)
        report = evaluate(
            TableModel(np.random.default_rng(1).random((60, 50)).round(1)),
            split,
            protocol=protocol(),
        )
        cells, threshold = report.cells, report.metrics["threshold"]
        own = [name for name in report.per_user if name.endswith("_per_user")]
        assert {name.removesuffix("_per_user") for name in own} == {
            name
            for name in cell_metrics(cells["targets"], cells["probabilities"])
            if name not in ("threshold", "prevalence", "ece") and not name.startswith("share_")
        }
        for place, user in enumerate(report.users):
            mine = cells["users"] == user
            expected = cell_metrics(cells["targets"][mine], cells["probabilities"][mine], threshold)
            for name in own:
                assert report.per_user[name][place] == pytest.approx(
                    expected[name.removesuffix("_per_user")], rel=1e-5, abs=1e-7, nan_ok=True
                ), (name, user)
        predicted = report.cells["probabilities"] >= report.metrics["threshold"]
        both = predicted & (report.cells["targets"] == 1)
        assert report.metrics["precision_at_threshold"] == both.sum() / predicted.sum()

    def test_batches_do_not_change_the_result(self):
        split, model = (
            random_split(2),
            TableModel(np.random.default_rng(3).random((60, 50)).round(1)),
        )
        whole, small = (
            evaluate(model, split, protocol=protocol(batch_users=size)) for size in (256, 7)
        )
        assert whole.metrics == small.metrics
        assert max(map(len, model.asked)) <= 60

    @pytest.mark.parametrize("candidates", ["part", "not_liked", "sampled"])
    def test_threads_do_not_change_the_result(self, candidates, monkeypatch):
        model = TableModel(np.random.default_rng(3).random((60, 50)).round(1))
        rules = protocol(batch_users=7, candidates=candidates, num_candidates=9)
        alone = evaluate(model, random_split(2), protocol=rules)
        monkeypatch.setattr("recsweep.evaluation.ranking.threads", lambda: 3)
        several = evaluate(model, random_split(2), protocol=rules)
        assert alone.metrics == several.metrics
        for name, values in alone.per_user.items():
            np.testing.assert_array_equal(values, several.per_user[name])

    def test_an_error_in_a_thread_is_told(self, monkeypatch):
        monkeypatch.setattr("recsweep.evaluation.ranking.threads", lambda: 3)
        table = np.zeros((60, 50), np.float32)
        table[40] = np.nan
        with pytest.raises(FitError, match="not numbers"):
            evaluate(TableModel(table), random_split(2), protocol=protocol(batch_users=7))

    def test_memory_bounds_the_users_scored_at_once(self, monkeypatch):
        monkeypatch.setattr("recsweep.evaluation.ranking._SCORES_AT_ONCE", 150)
        model = TableModel(np.zeros((60, 50)))
        evaluate(model, random_split(2), protocol=protocol())
        assert max(map(len, model.asked)) == 3

    def test_cells_are_predicted_in_blocks(self, monkeypatch):
        split, model = random_split(4), TableModel(np.random.default_rng(5).random((60, 50)))
        whole = evaluate(model, split, protocol=protocol())
        monkeypatch.setattr("recsweep.evaluation.cells._CELLS_AT_ONCE", 33)
        blocks = evaluate(model, split, protocol=protocol())
        np.testing.assert_array_equal(whole.cells["probabilities"], blocks.cells["probabilities"])

    def test_test_part_takes_the_threshold_of_validation(self):
        with pytest.raises(ConfigError, match="takes the threshold that was chosen on validation"):
            evaluate(MODEL, SPLIT, "test", protocol=protocol())
        chosen = evaluate(MODEL, SPLIT, protocol=protocol()).metrics["threshold"]
        report = evaluate(MODEL, SPLIT, "test", protocol=protocol(), threshold=chosen)
        assert report.metrics["threshold"] == chosen
        # Test cells 0.2 (1) and 0.6 (0): both predicted positive at 0.2.
        assert report.metrics["recall_at_threshold"] == 1
        assert report.metrics["precision_at_threshold"] == 0.5

    def test_test_part_leaves_out_validation_positives(self):
        report = evaluate(MODEL, SPLIT, "test", protocol=protocol(), threshold=0.5)
        # User 0 is left with items 2 and 3 and gets them in this order; user 1 has no positive in
        # the part.
        assert report.users.tolist() == [0]
        assert report.per_user["mrr_at_2"].tolist() == [0.5]
        assert report.metrics["coverage_at_3"] == 0.5  # the third place stays empty
        assert (
            report.protocol["excluded"] == "the user's training positives and validation positives"
        )

    def test_positives_only_part_has_no_cell_metrics(self):
        split = replace(SPLIT, validation=positives_of([(0, 1), (1, 1)], SHAPE))
        report = evaluate(MODEL, split, protocol=protocol())
        assert report.cells is None
        assert report.user_counts is None
        assert not report.collapsed
        assert report.counts["cells"] == 0
        of_lists = (*RANKING_METRICS, "coverage", "gini")
        assert set(report.metrics) == {f"{name}_at_{k}" for name in of_lists for k in (2, 3)}

    def test_undefined_metrics_are_left_out(self):
        report = evaluate(
            MODEL, replace(SPLIT, validation=part_of({(0, 1): 0}, SHAPE)), protocol=protocol()
        )
        assert not {"roc_auc", "average_precision", "ndcg_at_2", "coverage_at_2"} & set(
            report.metrics
        )
        assert report.metrics["mse"] == pytest.approx(0.16)
        assert not np.isnan(list(report.metrics.values())).any()

    def test_empty_part(self):
        report = evaluate(
            MODEL, replace(SPLIT, test=part_of({}, SHAPE)), "test", protocol=protocol()
        )
        assert report.metrics == {}
        assert report.users.shape == (0,)

    def test_held_out_users_are_scored_by_their_history(self):
        shape = (4, 5)  # user 0 was trained; 1 and 2 gave a history; 3 is new and gave none
        split = Split(
            train=positives_of([(0, 0), (0, 1)], shape),
            validation=positives_of([(0, 2), (1, 3), (2, 1), (3, 4)], shape),
            test=positives_of([], shape),
            kind="users",
            seed=0,
            histories=positives_of([(1, 1), (1, 2), (2, 0), (2, 4)], shape),
        )
        table = np.tile(np.array([0.9, 0.8, 0.7, 0.1, 0.2]), (4, 1))
        model = HistoryModel(table)
        report = evaluate(model, split, protocol=protocol(k=[1, 2]))
        # User 1's history scores items 2 and 3, and 2 is given; user 2's scores 1 and 0, and 0 is
        # given.
        assert report.per_user["mrr_at_2"].tolist() == [1, 1, 1, 0]
        assert model.asked == [[0]]
        assert report.protocol["excluded"] == "the user's training positives and given history"
        # A model without score_histories answers by score: user 1 gets 0, 4, 3, user 2 gets 1, user
        # 3 gets 0, 1, 2.
        by_score = evaluate(TableModel(table), split, protocol=protocol(k=[3])).per_user["mrr_at_3"]
        assert by_score == pytest.approx([1, 1 / 3, 1, 0])

    def test_held_out_items_are_ranked_among_themselves_by_who_likes_them(self):
        shape = (
            3,
            6,
        )  # items 0 and 1 were trained; 2, 3 and 4 are validation's new ones, 5 is the test's
        split = Split(
            train=positives_of([(0, 0), (1, 1), (2, 0)], shape),
            validation=positives_of([(0, 2), (1, 3), (2, 4)], shape),
            test=positives_of([(0, 5)], shape),
            kind="items",
            seed=0,
            item_histories=positives_of([(1, 2), (2, 3), (0, 4), (2, 5)], shape),
        )
        table = np.tile(np.array([0.9, 0.8, 0.1, 0.3, 0.2, 0.7]), (3, 1))
        model = LikedByModel(table)
        report = evaluate(model, split, protocol=protocol(k=[1, 2]))
        # Who comes after the one that likes it: item 2 goes to user 2, item 3 to user 0, item 4 to
        # user 1. User 0 has given 4 and is asked for 2: of 2 and 3 the latter comes first. User 1
        # has given 2: 4, then
        # 3. User 2: 2, 4.
        assert report.per_user["mrr_at_2"].tolist() == [1 / 2, 1 / 2, 1 / 2]
        assert model.asked == []
        assert report.metrics["coverage_at_1"] == 1  # of the new items
        assert report.protocol["candidates"] == "the part's new items but the excluded"
        assert report.protocol["excluded"] == "the user's training positives and given history"
        # By score the order is 3, 4, 2 for everybody: user 0 is offered 3, 2, user 1 is offered 3,
        # 4, user 2 4, 2.
        by_score = evaluate(TableModel(table), split, protocol=protocol(k=[2])).per_user["mrr_at_2"]
        assert by_score == pytest.approx([1 / 2, 1, 1])
        assert evaluate(model, split, "test", protocol=protocol(k=[2])).per_user[
            "mrr_at_2"
        ].tolist() == [1]

    def test_what_is_held_out_is_scored_by_its_features_where_they_are_told(self):
        shape = (4, 4)
        parts = {
            "train": positives_of([(0, 0), (1, 1)], shape),
            "validation": positives_of([(2, 2), (3, 3)], shape),
            "test": positives_of([], shape),
        }
        ids = [*map(str, range(4))]
        tables = {
            f"{kind}_features": feature_table(
                {"id": ids, "colour": [*"rrbb"]}, IdMap(np.arange(4), kind), source="made"
            )
            for kind in ("user", "item")
        }
        model = FeaturesModel(np.zeros(shape))
        given = positives_of([(2, 0)], shape)
        users = Split(**parts, kind="users", seed=0, histories=given)
        evaluate(model, users, protocol=protocol(), user_features=tables["user_features"])
        # users 2 and 3, of whom the former gave a history, are blue
        assert model.told == [([[1, 0, 0, 0], [0, 0, 0, 0]], [[1, 0], [1, 0]])]
        given = positives_of([(0, 3)], shape)
        items = Split(**parts, kind="items", seed=0, item_histories=given)
        evaluate(model, items, protocol=protocol(), **tables)
        assert model.told[1:] == [([[0, 0, 0, 0], [1, 0, 0, 0]], [[1, 0], [1, 0]])]
        evaluate(HistoryModel(np.zeros(shape)), users, protocol=protocol())  # without, as before

    def test_refuses_nan_probabilities_and_unknown_parts(self):
        with pytest.raises(FitError, match="4 of 4 probabilities that are not numbers"):
            evaluate(TableModel(np.full(SHAPE, np.nan)), SPLIT, protocol=protocol())
        with pytest.raises(ConfigError, match="part must be one of validation, test, not 'train'"):
            evaluate(MODEL, SPLIT, "train", protocol=protocol())

    def test_many_cells_become_counts_of_users(self):
        split, model = (
            random_split(6),
            TableModel(np.random.default_rng(7).random((60, 50)).round(2)),
        )
        stored = evaluate(model, split, protocol=protocol(max_stored_cells=500))
        counted = evaluate(model, split, protocol=protocol(max_stored_cells=499))
        assert stored.user_counts is None
        assert counted.cells is None
        assert counted.metrics == stored.metrics
        counts, cells = counted.user_counts, stored.cells
        assert counts["users"].tolist() == np.unique(split.validation.users).tolist()
        for suffix, threshold in (("half", 0.5), ("threshold", stored.metrics["threshold"])):
            predicted, positive = cells["probabilities"] >= threshold, cells["targets"] == 1
            for name, chosen in (
                ("true_positives", predicted & positive),
                ("false_positives", predicted & ~positive),
                ("false_negatives", ~predicted & positive),
                ("true_negatives", ~predicted & ~positive),
            ):
                expected = [chosen[cells["users"] == user].sum() for user in counts["users"]]
                assert counts[f"{name}_at_{suffix}"].tolist() == expected


def assert_same(first: EvaluationReport, second: EvaluationReport) -> None:
    assert first.to_dict() == second.to_dict()
    np.testing.assert_array_equal(first.users, second.users)
    for name in ("per_user", "cells", "user_counts"):
        one, other = getattr(first, name), getattr(second, name)
        assert (one is None) == (other is None)
        if one is not None:
            assert list(one) == list(other)
            for key in one:
                assert one[key].dtype == other[key].dtype
                np.testing.assert_array_equal(one[key], other[key])


class TestReport:
    @pytest.fixture
    def report(self) -> EvaluationReport:
        return evaluate(
            TableModel(np.random.default_rng(9).random((60, 50))),
            random_split(8),
            protocol=protocol(),
        )

    @pytest.mark.parametrize("max_stored_cells", [0, 1000])
    def test_write_and_read(self, tmp_path, max_stored_cells):
        model = TableModel(np.random.default_rng(9).random((60, 50)))
        report = evaluate(
            model, random_split(8), protocol=protocol(max_stored_cells=max_stored_cells)
        )
        report.write(tmp_path / "new")
        assert_same(read_report(tmp_path / "new", "validation"), report)
        assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
            "validation.json",
            f"validation_{'cells' if max_stored_cells else 'user_counts'}.parquet",
            "validation_users.parquet",
        ]

    def test_write_replaces_what_is_there(self, tmp_path, report):
        report.write(tmp_path)
        without = evaluate(
            MODEL, replace(SPLIT, validation=positives_of([(0, 1)], SHAPE)), protocol=protocol()
        )
        without.write(tmp_path)
        assert_same(read_report(tmp_path, "validation"), without)

    def test_is_frozen_json(self, report):
        assert json.loads(json.dumps(report.to_dict(), allow_nan=False)) == report.to_dict()
        with pytest.raises(ValueError, match="read-only"):
            report.per_user["ndcg_at_2"][0] = 1
        with pytest.raises(AttributeError):
            report.part = "test"

    @pytest.mark.parametrize("missing", [".json", "_users.parquet", "_cells.parquet"])
    def test_read_refuses_half_a_report(self, tmp_path, report, missing):
        report.write(tmp_path)
        (tmp_path / f"validation{missing}").unlink()
        with pytest.raises(DataError, match="holds no whole evaluation of the part 'validation'"):
            read_report(tmp_path, "validation")

    def test_read_refuses_broken_files(self, tmp_path, report):
        report.write(tmp_path)
        (tmp_path / "validation_users.parquet").write_bytes(b"PAR1")
        with pytest.raises(DataError, match="holds no whole evaluation"):
            read_report(tmp_path, "validation")
        (tmp_path / "validation.json").write_text("{}")
        with pytest.raises(DataError, match="holds no whole evaluation"):
            read_report(tmp_path, "validation")


def test_truth_is_the_best_model():
    split = random_split(10)
    rng = np.random.default_rng(11)
    truth = rng.random((60, 50)).astype(np.float32)
    targets = (rng.random(500) < truth[split.validation.users, split.validation.items]).astype(
        np.uint8
    )
    part = replace(split.validation, targets=targets)
    report = evaluate(TableModel(truth), replace(split, validation=part), protocol=protocol())
    assert truth_metrics(truth, part) == {
        "average_precision_of_truth": report.metrics["average_precision"],
        "f1_at_threshold_of_truth": report.metrics["f1_at_threshold"],
    }


def test_no_truth_where_none_is_known():
    truth = np.full(SHAPE, 0.5, np.float32)
    assert truth_metrics(None, SPLIT.validation) == {}
    assert truth_metrics(truth, positives_of([(0, 1)], SHAPE)) == {}
    assert truth_metrics(truth, part_of({(0, 1): 0}, SHAPE)) == {}
