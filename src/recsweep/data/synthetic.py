"""Interactions drawn from known probabilities: what the best possible model would know is known."""

from dataclasses import dataclass

import numpy as np

from recsweep.checks import LONGEST_NAME, check_integer, check_number, check_text
from recsweep.data.interactions import IdMap, Interactions
from recsweep.errors import ConfigError, DataError
from recsweep.memory import check_memory

MAX_CELLS = 100_000_000  # the probabilities are kept: 4 bytes a cell


@dataclass(frozen=True, kw_only=True)
class Synthetic:
    """Users and items with long tails, tastes, and liking that no sum of a user's and an item's
    effect expresses.

    probability[u, i] = sigmoid(intercept + activity[u] + popularity[i] + affinity[u, i]), where
    affinity[u, i] = tastes[taste[u], kind[i]] + factor_scale / sqrt(rank) * sum_f p[u, f] * q[i, f]

    - activity ~ Normal(0, activity_scale²) and popularity ~ Normal(0, popularity_scale²): odds with
      log-normal tails;
    - taste[u] and kind[i] ~ uniform on 0 … num_tastes - 1, tastes[t, k] ~ Normal(0, taste_scale²);
    - p[u, f] and q[i, f] ~ Normal(0, 1), f = 0 … rank - 1;
    - intercept: found by bisection, so that the mean probability is `density`.

    Each cell is then positive with its probability, independently; timestamps are a random order of
    the positives. Raw ids run from 1.

    Attributes:
        name: Name of the data in runs and reports.
        num_users: Height of the matrix.
        num_items: Width of the matrix.
        density: Expected share of positives.
        activity_scale: Spread of the users' activity, in log-odds.
        popularity_scale: Spread of the items' popularity, in log-odds.
        num_tastes: Clusters of users, and as many kinds of items.
        taste_scale: Strength with which a cluster likes or dislikes a kind, in log-odds.
        rank: Dimensions of the product of user and item factors.
        factor_scale: Spread of that product, in log-odds.
        seed: Seed of PCG64, from which everything drawn comes.
    """

    name: str
    num_users: int
    num_items: int
    density: float
    activity_scale: float
    popularity_scale: float
    num_tastes: int
    taste_scale: float
    rank: int
    factor_scale: float
    seed: int

    def __post_init__(self) -> None:
        check_text("data.name", self.name, maximum=LONGEST_NAME)
        for setting in ("num_users", "num_items", "num_tastes", "rank"):
            check_integer(f"data.{setting}", getattr(self, setting), minimum=1)
        for setting in ("activity_scale", "popularity_scale", "taste_scale", "factor_scale"):
            check_number(f"data.{setting}", getattr(self, setting), minimum=0, maximum=10)
        check_number("data.density", self.density, above=0, below=1)
        check_integer("data.seed", self.seed, minimum=0)
        if (cells := self.num_users * self.num_items) > MAX_CELLS:
            raise ConfigError(
                f"data.num_users x data.num_items must be at most {MAX_CELLS:,} cells, not "
                f"{cells:,}."
            )

    def load(self) -> Interactions:
        """Draw the interactions.

        Raises:
            DataError: No cell came out positive.
        """
        sides = (self.num_users + self.num_items) * self.rank
        check_memory(
            8 * (4 * self.num_users * self.num_items + sides + 2 * self.num_tastes**2),
            f"Drawing the synthetic data (data.num_users={self.num_users}, data.num_items="
            f"{self.num_items}, data.rank={self.rank}, data.num_tastes={self.num_tastes})",
            "Lower those settings.",
        )
        rng = np.random.Generator(np.random.PCG64(self.seed))
        probabilities = self._probabilities(rng)
        users, items = np.nonzero(rng.random(probabilities.shape, dtype=np.float32) < probabilities)
        if len(users) == 0:
            raise DataError(
                f"None of the {probabilities.size:,} synthetic cells is positive at data.density="
                f"{self.density:g}. Raise data.density, data.num_users or data.num_items."
            )
        return Interactions(
            name=self.name,
            users=users,
            items=items,
            timestamps=rng.permutation(len(users)),
            user_ids=IdMap(np.arange(1, self.num_users + 1), "user"),
            item_ids=IdMap(np.arange(1, self.num_items + 1), "item"),
            probabilities=probabilities,
            source=repr(self),
        )

    def _probabilities(self, rng: np.random.Generator) -> np.ndarray:
        activity = self.activity_scale * rng.standard_normal(self.num_users)
        popularity = self.popularity_scale * rng.standard_normal(self.num_items)
        taste = rng.integers(self.num_tastes, size=self.num_users)
        kind = rng.integers(self.num_tastes, size=self.num_items)
        tastes = self.taste_scale * rng.standard_normal((self.num_tastes, self.num_tastes))
        p = rng.standard_normal((self.num_users, self.rank))
        q = rng.standard_normal((self.num_items, self.rank))
        factors = self.factor_scale / np.sqrt(self.rank) * (p @ q.T)
        affinity = tastes[taste][:, kind] + factors  # (num_users, num_items)
        log_odds = (activity[:, None] + popularity + affinity).astype(np.float32)
        return _sigmoid(log_odds + _intercept(log_odds, self.density))


def _intercept(log_odds: np.ndarray, density: float) -> np.float32:
    """What to add to the log-odds for a mean probability of `density`, to about 1e-6."""
    base = np.log(density / (1 - density))
    low, high = base - float(log_odds.max()), base - float(log_odds.min())
    while high - low > 1e-6:
        middle = (low + high) / 2
        too_low = _sigmoid(log_odds + np.float32(middle)).mean(dtype=np.float64) < density
        low, high = (middle, high) if too_low else (low, middle)
    return np.float32((low + high) / 2)


def _sigmoid(log_odds: np.ndarray) -> np.ndarray:
    """The sigmoid, by tanh, which never overflows. Another way rounds otherwise, and draws other
    data from the same seed."""
    return 0.5 + 0.5 * np.tanh(0.5 * log_odds)
