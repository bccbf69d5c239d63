"""What one user does to a measure: against leaving users out one by one, and against fresh samples
of users."""

import numpy as np
import pytest

from recsweep.comparison.resampling import LARGEST_SHARE, Resampling
from recsweep.evaluation import EvaluationReport
from recsweep.measures import measure as measure_of
from recsweep.measures.forms import Order
from recsweep.measures.weighted import WeightedReport
from tests.test_resampling import USERS, _measured, _report, _World

MEASURES = (
    "f1_at_half",
    "f1_at_threshold",
    "precision_at_threshold",
    "recall_at_threshold",
    "accuracy_at_half",
    "average_precision",
    "roc_auc",
    "mse",
    "log_loss",
    "ndcg_at_10",
)


def _without(report: EvaluationReport, user: int) -> EvaluationReport:
    """The report as it would be if a user had never been there."""
    cells, others = report.cells, report.users != user
    kept = cells["users"] != user
    return _report(
        cells["users"][kept],
        cells["targets"][kept],
        cells["probabilities"][kept],
        ranking=report.per_user["ndcg_at_10"][others],
    )


@pytest.fixture(scope="module", params=[7, 1], ids=["distinct", "ties"])
def report(request) -> EvaluationReport:
    """Of users with very different numbers of cells."""
    rng = np.random.default_rng(4)
    users = np.sort(rng.choice(40, 2000, p=rng.dirichlet(np.full(40, 0.7))))
    targets = rng.random(len(users)) < 0.2
    probabilities = np.clip(rng.beta(2, 5, len(users)) + 0.2 * targets, 0, 1).round(request.param)
    return _report(users, targets, probabilities, ranking=rng.random(len(np.unique(users))))


class TestInfluences:
    def _influences(self, report: EvaluationReport, measure: str) -> tuple[np.ndarray, np.ndarray]:
        users = report.users
        weighted = WeightedReport(report, users, np.ones((len(users), 1), np.float32))
        found = measure_of(measure).form.weighted(measure, weighted).influences(weighted.counted)
        exact = [
            _without(report, user).metrics[measure] - report.metrics[measure] for user in users
        ]
        return found, np.array(exact)

    @pytest.mark.parametrize("measure", MEASURES)
    def test_equal_leaving_each_user_out(self, report, measure):
        found, exact = self._influences(report, measure)
        if isinstance(
            measure_of(measure).form, Order
        ):  # to first order: the smaller the change, the closer
            small = np.bincount(report.cells["users"], minlength=40)[report.users] < 60
            np.testing.assert_allclose(found[small], exact[small], atol=0.03 * np.abs(exact).max())
            assert np.corrcoef(found, exact)[0, 1] > 0.99
        else:
            np.testing.assert_allclose(found, exact, atol=2e-6)


class TestLargestChange:
    @pytest.mark.parametrize("measure", ["average_precision", "f1_at_half", "mse", "ndcg_at_10"])
    def test_is_what_the_difference_becomes_without_that_user(self, report, measure):
        rng = np.random.default_rng(5)
        cells = report.cells
        other = _report(
            cells["users"],
            cells["targets"],
            np.clip(
                cells["probabilities"]
                * np.repeat(
                    rng.lognormal(0, 1, len(report.users)),
                    np.unique(cells["users"], return_counts=True)[1],
                ),
                0,
                1,
            ),
            ranking=rng.random(len(report.users)),
        )
        both = Resampling([_measured("a", report), _measured("b", other)], replicates=50)
        found = both.difference("a", "b", measure)
        without = both.without(found.influence.user, ["a", "b"])
        assert without.num_users == both.num_users - 1
        rel = 0.25 if measure == "average_precision" else 1e-3  # to first order, but for a few
        change = without.difference("a", "b", measure).value - found.value
        assert change == pytest.approx(found.influence.change, rel=rel)
        exact = (
            np.array(
                [
                    _without(report, user).metrics[measure] - _without(other, user).metrics[measure]
                    for user in report.users
                ]
            )
            - found.value
        )
        assert np.abs(exact).max() == pytest.approx(abs(found.influence.change), rel=rel)
        squares = (exact - exact.mean()) ** 2
        assert found.influence.share == pytest.approx((squares / squares.sum()).max(), abs=0.05)

    def test_without_somebody_is_as_if_they_had_never_been_there(self):
        report = _World(np.random.default_rng(1)).model()
        once = Resampling([_measured("a", report)], replicates=30, without=3)
        never = Resampling([_measured("a", _without(report, 3))], replicates=30)
        for measure in MEASURES:
            found, expected = once.interval("a", measure), never.interval("a", measure)
            assert found.influence.user != 3
            assert (found.low, found.value, found.high) == pytest.approx(
                (expected.low, expected.value, expected.high)
            )

    def test_an_interval_hangs_on_a_user_who_makes_most_of_its_variance(self):
        ranking = np.zeros(USERS)
        ranking[7] = 1
        world = _World(np.random.default_rng(1))
        cells = world.model().cells
        report = _report(cells["users"], cells["targets"], cells["probabilities"], ranking=ranking)
        found = Resampling([_measured("a", report)], replicates=20).interval("a", "ndcg_at_10")
        assert (found.influence.user, found.influence.share > 0.9, found.hangs) == (7, True, True)
        even = Resampling([_measured("a", world.model())], replicates=20).interval(
            "a", "ndcg_at_10"
        )
        assert even.influence.share < LARGEST_SHARE
        assert not even.hangs
