"""Metrics against scikit-learn (cells), torchmetrics (rankings) and cases worked out by hand."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from recsweep.measures import ENTRIES, MEASURES, measure, of_lists
from recsweep.measures import of_cells as metrics

SEEDS = range(5)


def random_cells(seed: int, decimals: int, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Targets with 15 % positives and rounded float32 probabilities: one decimal makes 11 heavy
    ties."""
    rng = np.random.default_rng(seed)
    targets = (rng.random(n) < 0.15).astype(np.uint8)
    return targets, np.round(np.clip(rng.beta(1, 3, n) + 0.1 * targets, 0, 1), decimals).astype(
        np.float32
    )


@pytest.fixture(params=[(seed, decimals) for seed in SEEDS for decimals in (1, 2, 7)], ids=str)
def cells(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    return random_cells(*request.param)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 1.5])
def test_confusion_equals_scikit_learn(cells, threshold):
    targets, probabilities = cells
    counts = metrics.confusion(targets, probabilities, threshold)
    predicted = probabilities >= threshold
    reference = sklearn_metrics.confusion_matrix(targets, predicted, labels=[0, 1])
    assert [
        [counts.true_negatives, counts.false_positives],
        [counts.false_negatives, counts.true_positives],
    ] == reference.tolist()
    for name, function in (
        ("precision", sklearn_metrics.precision_score),
        ("recall", sklearn_metrics.recall_score),
        ("f1", sklearn_metrics.f1_score),
    ):
        assert getattr(counts, name) == pytest.approx(function(targets, predicted, zero_division=0))
    assert counts.accuracy == pytest.approx(sklearn_metrics.accuracy_score(targets, predicted))
    assert counts.share_predicted_positive == pytest.approx(predicted.mean())


def test_metrics_of_order_equal_scikit_learn(cells):
    targets, probabilities = cells
    ranked = metrics.rank_cells(targets, probabilities)
    assert metrics.roc_auc(ranked) == pytest.approx(
        sklearn_metrics.roc_auc_score(targets, probabilities), abs=1e-12
    )
    reference = sklearn_metrics.average_precision_score(targets, probabilities)
    assert metrics.average_precision(ranked) == pytest.approx(reference, abs=1e-12)
    precision, recall, thresholds = metrics.precision_recall_curve(ranked)
    reference = sklearn_metrics.precision_recall_curve(
        targets, probabilities
    )  # ends with a point (1, 0)
    np.testing.assert_allclose(precision, reference[0][-2::-1])
    np.testing.assert_allclose(recall, reference[1][-2::-1])
    np.testing.assert_array_equal(thresholds, reference[2][::-1])


def test_metrics_of_value_equal_scikit_learn(cells):
    targets, probabilities = cells
    expected = sklearn_metrics.brier_score_loss(targets, probabilities.astype(np.float64))
    assert metrics.mean_squared_error(targets, probabilities) == pytest.approx(expected, abs=1e-12)
    clipped = np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7)
    assert metrics.log_loss(targets, probabilities) == pytest.approx(
        sklearn_metrics.log_loss(targets, clipped)
    )


@pytest.mark.parametrize("decimals", [1, 2])
@pytest.mark.parametrize("seed", SEEDS)
def test_best_threshold_is_the_highest_of_all_maxima(seed, decimals):
    targets, probabilities = random_cells(seed, decimals, n=150)
    candidates = np.unique(probabilities)
    f1 = np.array(
        [sklearn_metrics.f1_score(targets, probabilities >= value) for value in candidates]
    )
    expected = candidates[np.isclose(f1, f1.max(), rtol=0, atol=1e-12)].max()
    chosen = metrics.best_threshold(metrics.rank_cells(targets, probabilities))
    assert chosen == expected
    assert metrics.confusion(targets, probabilities, chosen).f1 == pytest.approx(f1.max())


def test_best_threshold_breaks_ties_of_f1_upwards():
    targets, probabilities = np.array([1, 0, 0, 1], np.uint8), np.array([0.9, 0.6, 0.5, 0.4])
    # 0.9: 2/3; 0.6: 1/2; 0.5: 2/5; 0.4: 4/6 = 2/3
    assert metrics.best_threshold(metrics.rank_cells(targets, probabilities)) == 0.9


def test_order_of_cells_does_not_matter():
    targets, probabilities = random_cells(0, decimals=1)
    shuffled = np.random.default_rng(1).permutation(len(targets))
    first, second = (
        metrics.rank_cells(targets, probabilities),
        metrics.rank_cells(targets[shuffled], probabilities[shuffled]),
    )
    for name in ("thresholds", "num_predicted", "true_positives"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_cell_metrics_by_hand():
    targets, probabilities = np.array([1, 0, 1, 0], np.uint8), np.array([0.8, 0.8, 0.4, 0.1])
    ranked = metrics.rank_cells(targets, probabilities)
    assert ranked.thresholds.tolist() == [0.8, 0.4, 0.1]
    assert ranked.num_predicted.tolist() == [2, 3, 4]
    assert ranked.true_positives.tolist() == [1, 2, 2]
    assert metrics.average_precision(ranked) == pytest.approx(0.5 * 1 / 2 + 0.5 * 2 / 3)
    assert metrics.roc_auc(ranked) == pytest.approx((0.5 + 1 + 0 + 1) / 4)
    assert metrics.mean_squared_error(targets, probabilities) == pytest.approx(
        (0.04 + 0.64 + 0.36 + 0.01) / 4
    )
    assert metrics.confusion(targets, probabilities, 0.8) == metrics.Confusion(1, 1, 1, 1)


def test_undefined_cell_metrics():
    none, only = np.zeros(0, np.uint8), np.zeros(3, np.uint8)
    probabilities = np.array([0.2, 0.3, 0.3])
    for ranked in (metrics.rank_cells(none, np.zeros(0)), metrics.rank_cells(only, probabilities)):
        assert np.isnan(metrics.roc_auc(ranked))
        assert np.isnan(metrics.average_precision(ranked))
        assert np.isnan(metrics.precision_recall_curve(ranked)[1]).all()
    assert np.isnan(metrics.roc_auc(metrics.rank_cells(only + 1, probabilities)))
    assert metrics.average_precision(metrics.rank_cells(only + 1, probabilities)) == 1
    assert np.isnan(metrics.best_threshold(metrics.rank_cells(none, np.zeros(0))))
    assert (
        metrics.best_threshold(metrics.rank_cells(only, probabilities)) == 0.3
    )  # F1 is 0 everywhere
    assert np.isnan(metrics.mean_squared_error(none, np.zeros(0)))
    assert np.isnan(metrics.log_loss(none, np.zeros(0)))
    empty = metrics.confusion(none, np.zeros(0), 0.5)
    assert (
        empty.precision,
        empty.recall,
        empty.f1,
        empty.accuracy,
        empty.share_predicted_positive,
    ) == (0,) * 5


@pytest.mark.parametrize("decimals", [0, 1, 7])
def test_measures_of_each_user_equal_scikit_learn_on_their_own_cells(decimals):
    rng = np.random.default_rng(decimals)
    targets, probabilities = random_cells(decimals, decimals)
    probabilities[:3] = (
        -0.0,
        0.0,
        -0.25,
    )  # no probability, but a score that the sort must not turn round
    users = rng.choice([2, 3, 7, 40_000], len(targets))
    users[0], targets[0], targets[users == 7] = (
        5,
        1,
        0,
    )  # one user without a negative, one without a positive
    cells = metrics.cells_by_user(users, targets, probabilities)
    assert cells.users.tolist() == [2, 3, 5, 7, 40_000]
    found = {
        "average_precision": metrics.average_precision_per_user(cells),
        "roc_auc": metrics.roc_auc_per_user(cells),
        **{
            name.removesuffix("_at_threshold"): measure(name).form.of_each_user.values(
                metrics.Cells(targets, probabilities, 0.3, users)
            )
            for name in MEASURES
            if measure(name).needs == "cells"
            and measure(name).per_user
            and not name.endswith("_at_half")
        },
    }
    for place, user in enumerate(cells.users):
        own, given = targets[users == user], probabilities[users == user].astype(np.float64)
        assert (cells.num_cells[place], cells.num_positives[place]) == (len(own), own.sum())
        predicted = given >= np.float32(0.3)
        expected = {
            "mse": np.mean((own - given) ** 2),
            "log_loss": metrics.log_loss(own, given),
            "f1": sklearn_metrics.f1_score(own, predicted, zero_division=0),
            "accuracy": np.mean(own == predicted),
            "precision": sklearn_metrics.precision_score(own, predicted, zero_division=0),
            "recall": sklearn_metrics.recall_score(own, predicted, zero_division=0),
            "average_precision": sklearn_metrics.average_precision_score(own, given)
            if own.any()
            else np.nan,
            "roc_auc": sklearn_metrics.roc_auc_score(own, given) if 0 < own.mean() < 1 else np.nan,
        }
        for name, value in expected.items():
            assert found[name][place] == pytest.approx(value, abs=1e-12, nan_ok=True), (name, user)


def test_no_cells_have_no_users():
    cells = metrics.cells_by_user(
        *(np.empty(0, dtype) for dtype in (np.int32, np.uint8, np.float32))
    )
    assert (
        metrics.average_precision_per_user(cells).shape
        == metrics.roc_auc_per_user(cells).shape
        == (0,)
    )


def test_log_loss_of_certain_and_wrong_is_finite():
    certain = np.array([0, 1], np.float32)
    assert metrics.log_loss(np.array([1, 0], np.uint8), certain) == pytest.approx(-np.log(1e-7))
    assert metrics.log_loss(np.array([0, 1], np.uint8), certain) == pytest.approx(1e-7)


def random_rankings(
    seed: int, num_items: int = 40, batch: int = 30
) -> tuple[np.ndarray, np.ndarray]:
    """Distinct positive scores and relevance, (batch, num_items); each user has a positive."""
    rng = np.random.default_rng(seed)
    relevant = rng.random((batch, num_items)) < rng.uniform(0.02, 0.6, (batch, 1))
    relevant[np.arange(batch), rng.integers(num_items, size=batch)] = True
    return rng.permuted(
        np.tile(np.arange(1, num_items + 1, dtype=np.float32), (batch, 1)), axis=1
    ), relevant


@pytest.mark.parametrize("k", [1, 5, 10, 40])
@pytest.mark.parametrize("seed", SEEDS)
def test_ranking_metrics_equal_torchmetrics(seed, k):
    import torch
    from torchmetrics.functional import retrieval

    scores, relevant = random_rankings(seed)
    order = np.argsort(-scores, axis=1)[:, :k]
    hits, num_positives = np.take_along_axis(relevant, order, axis=1), relevant.sum(axis=1)

    def reference(function):
        pairs = zip(torch.from_numpy(scores), torch.from_numpy(relevant), strict=True)
        return np.array([function(*pair, top_k=k).item() for pair in pairs])

    for own, function in (
        (of_lists.ndcg_at_k, retrieval.retrieval_normalized_dcg),
        (of_lists.recall_at_k, retrieval.retrieval_recall),
        (of_lists.precision_at_k, retrieval.retrieval_precision),
        (of_lists.mrr_at_k, retrieval.retrieval_reciprocal_rank),
        (of_lists.hit_rate_at_k, retrieval.retrieval_hit_rate),
    ):
        np.testing.assert_allclose(
            own(hits, num_positives), reference(function), atol=1e-6, err_msg=own.__name__
        )
    # torchmetrics divides by the hits in the list, this project by min(k, positives): the same for
    # a whole ranking.
    rescaled = (
        reference(retrieval.retrieval_average_precision)
        * hits.sum(axis=1)
        / np.minimum(k, num_positives)
    )
    np.testing.assert_allclose(of_lists.map_at_k(hits, num_positives), rescaled, atol=1e-6)


def test_ranking_metrics_by_hand():
    hits = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 0, 0]], bool)
    num_positives = np.array([2, 1, 5, 0])
    ideal = 1 + 1 / np.log2(3)
    expected = {
        "ndcg": [1.5 / ideal, 0, 1, np.nan],
        "recall": [1, 0, 3 / 5, np.nan],
        "recall_capped": [1, 0, 1, np.nan],
        "precision": [2 / 3, 0, 1, np.nan],
        "map": [(1 + 2 / 3) / 2, 0, 1, np.nan],
        "mrr": [1, 0, 1, np.nan],
        "hit_rate": [1, 0, 1, np.nan],
    }
    forms = {
        each.name.removesuffix("_at_{k}"): each.form
        for each in ENTRIES
        if each.needs == "user lists"
    }
    del forms["novelty"]  # of the items, whether they are hits or not
    assert expected.keys() == forms.keys()
    for name, form in forms.items():
        lists = of_lists.Lists(
            np.zeros_like(hits, np.int32), hits, num_positives, 9, 9, np.full(9, np.nan)
        )
        np.testing.assert_allclose(form.values(lists), expected[name], err_msg=name)


def test_first_hit_below_the_top():
    assert of_lists.mrr_at_k(np.array([[0, 0, 1]], bool), np.array([4])) == pytest.approx([1 / 3])
    assert of_lists.map_at_k(np.array([[0, 0, 1]], bool), np.array([4])) == pytest.approx([1 / 9])


def test_coverage_counts_items_once_and_leaves_out_empty_places():
    assert of_lists.coverage(np.array([[0, 2], [2, -1]]), 4) == 0.5
    assert np.isnan(of_lists.coverage(np.zeros((0, 2), np.int32), 4))
