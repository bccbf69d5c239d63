"""The settings at which baselines are tried, so that the best of each on validation is what a model
must beat.

They are those of experiments/baselines.yaml: 63 fits, a minute and a half on a block of 1000 by
1000.
"""

from itertools import product

NEIGHBORS = [
    {"num_neighbors": num_neighbors, "weighting": weighting, "normalize": normalize}
    for num_neighbors, weighting, normalize in product(
        (50, 100, 200, 400), ("none", "tfidf"), (True, False)
    )
]

GRIDS: dict[str, list[dict[str, object]]] = {
    "popularity": [{}],
    "popularity_by_activity": [{}],
    "knn": NEIGHBORS,
    "item_knn": NEIGHBORS,
    "ease": [{"l2": l2} for l2 in (50.0, 100.0, 200.0, 400.0, 800.0, 1600.0, 3200.0)],
    "rp3beta": [
        {"beta": beta, "top_k": top_k} for beta, top_k in product((0.0, 0.2, 0.4), (100, 200, 400))
    ],
    "ials": [
        {"reg": reg, "unobserved_weight": weight}
        for reg, weight in product((0.01, 0.03), (0.03, 0.1, 0.3, 1.0))
    ],
    "logistic": [{"C": C} for C in (0.01, 0.03, 0.1, 0.3, 1.0)],
}
"""Option of conf/model of each baseline to what replaces settings of that file, one fit each."""
