"""How often intervals cover and verdicts are wrong: real trainings over seeds and splits, fresh
samples of users."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from recsweep.comparison.resampling import LARGEST_SHARE, Measured, Resampling
from tests.stored_runs import report_of

POOLED = ("f1_at_threshold", "accuracy_at_half", "average_precision", "mse", "log_loss")
PER_USER = tuple(f"{measure}_per_user" for measure in POOLED)


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    """benchmarks/coverage.py, of which this is the short form."""
    path = Path(__file__).parents[1] / "benchmarks" / "coverage.py"
    spec = importlib.util.spec_from_file_location("coverage_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_trainings_that_differ_by_their_seeds_alone_are_seldom_told_apart(benchmark, tmp_path):
    """40 trainings leave few independent pairs, so this holds 20 %; the 200 of `make coverage` hold
    7 %."""
    trained = benchmark.pool(
        (*benchmark.SMALL, "data.num_users=120", "data.num_items=120"),
        trainings=40,
        epochs=3,
        splits=3,
        cache=tmp_path,
    )
    assert len(trained) == 39
    for seeds, splits in ((2, 1), (3, 1), (5, 1), (2, 3), (3, 3), (5, 3)):
        told = benchmark.told_apart(trained, trained, seeds, splits, 30, replicates=100)
        assert max(told.values()) <= 0.2, (seeds, splits, told)
    assert max(benchmark.told_apart(trained, trained, 1, 3, 3).values()) == 0  # no verdict
    worse = benchmark.blurred(trained, 1.0)
    assert benchmark.told_apart(trained, worse, 3, 3, 10, replicates=100)["average_precision"] > 0.8


class _People:
    """A population of users, whose fresh samples two models are compared on.

    Args:
        heavy: Cells of one user; the others have 15 to 39.
    """

    def __init__(self, rng: np.random.Generator, heavy: int = 0) -> None:
        self.rng = rng
        self.counts = rng.integers(15, 40, 500)
        self.counts[0] = heavy or self.counts[0]
        self.starts = np.cumsum(self.counts) - self.counts
        users = np.repeat(np.arange(500), self.counts)
        rates = rng.beta(8, 20, 500)
        rates[0] = 0.8 if heavy else rates[0]  # who likes nearly everything
        self.targets = rng.random(len(users)) < rates[users]
        self.targets[self.starts] = True
        base = rng.normal(1, 0.5, 500)[users] * self.targets + rng.normal(size=len(users)) - 1.5
        tastes = rng.normal(0, 0.5, (2, 500))
        tastes[:, 0] = (1.5, -1.5) if heavy else tastes[:, 0]
        self.probabilities = [
            1 / (1 + np.exp(-(base + taste[users] * self.targets))) for taste in tastes
        ]

    def models(self, drawn: np.ndarray) -> list[Measured]:
        """Both on some users, of whom one may have been drawn more than once."""
        lengths = self.counts[drawn]
        cells = np.concatenate(
            [np.arange(self.starts[user], self.starts[user] + self.counts[user]) for user in drawn]
        )
        users = np.repeat(np.arange(len(drawn)), lengths)
        reports = [
            report_of(users, self.targets[cells], probabilities[cells], per_user=True)
            for probabilities in self.probabilities
        ]
        return [
            Measured(name, {("s", 0): report}, False)
            for name, report in zip("ab", reports, strict=True)
        ]

    def coverage(self, samples: int) -> dict[str, tuple[float, float]]:
        """By measure: the share of one user in all, and how often samples of 250 cover what is true
        of all."""
        everybody = Resampling(self.models(np.arange(500)), replicates=50)
        truth = {measure: everybody.difference("a", "b", measure) for measure in POOLED + PER_USER}
        hits = dict.fromkeys(truth, 0)
        for _ in range(samples):
            drawn = Resampling(self.models(self.rng.integers(500, size=250)), replicates=200)
            for measure, true in truth.items():
                found = drawn.difference("a", "b", measure)
                hits[measure] += found.low <= true.value <= found.high
        return {
            measure: (true.influence.share, hits[measure] / samples)
            for measure, true in truth.items()
        }


@pytest.mark.slow
def test_fresh_samples_of_users_are_covered_where_no_one_is_heavy():
    found = _People(np.random.default_rng(0)).coverage(200)
    assert all(share <= LARGEST_SHARE for share, _ in found.values()), found
    assert all(0.90 <= covered <= 0.99 for _, covered in found.values()), found


@pytest.mark.slow
def test_where_one_user_decides_the_mark_says_so_and_measures_per_user_cover():
    """As with user 375 of the Food.com block: what the mark warns of are the intervals that are too
    short."""
    found = _People(np.random.default_rng(0), heavy=6000).coverage(200)
    marked = {measure for measure, (share, _) in found.items() if share > LARGEST_SHARE}
    assert {"average_precision", "mse", "log_loss"} <= marked
    assert min(found[measure][1] for measure in marked) < 0.7, found
    unmarked = {
        measure: covered for measure, (_, covered) in found.items() if measure not in marked
    }
    assert {"average_precision_per_user", "f1_at_threshold_per_user"} <= unmarked.keys()
    assert all(0.90 <= covered <= 0.99 for covered in unmarked.values()), found


@pytest.mark.slow
def test_on_the_real_block_what_is_not_marked_is_covered(benchmark, real_data):
    """Fresh samples of 300 of the 1,000 users; drawn without replacement, so that intervals are a
    little too long."""
    reports = benchmark.baselines(
        ["data=foodcom", f"data.path={real_data / 'foodcom_dense.csv.gz'}"]
    )
    found = benchmark.covered(reports, np.ones(1000, dtype=bool), 50, 300)
    marked = {place: covered for place, (share, covered) in found.items() if share > LARGEST_SHARE}
    assert ("average_precision", "logistic", "ease") in marked
    assert ("mse", "logistic", "ease") in marked
    assert min(marked.values()) < 0.7
    assert all(covered >= 0.9 for place, (_, covered) in found.items() if place not in marked), (
        found
    )
