"""The settings among which a promotion tunes the baselines that a store lacks."""

from collections.abc import Mapping, Sequence
from typing import Any

GRIDS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "popularity": [{}],
    "popularity_by_activity": [{}],
    "knn": [{"num_neighbors": number} for number in (25, 50, 100, 200)],
    "item_knn": [{"num_neighbors": number} for number in (25, 50, 100, 200)],
    "ease": [{"l2": l2} for l2 in (50.0, 100.0, 200.0, 400.0, 800.0, 1600.0)],
    "logistic": [{"C": C} for C in (0.1, 1.0)],
}
"""Option of conf/model to what is changed of it, a fit each; the same as in experiments/baselines.yaml."""
