"""The cell metrics of a part: of all its cells together, and of each user's own."""

import numpy as np

from recsweep.data.interactions import Part
from recsweep.evaluation.nan import refuse_nan
from recsweep.measures import MEASURES, shown
from recsweep.measures.forms import EachUser, OfCells
from recsweep.measures.of_cells import Cells
from recsweep.models.base import Recommender

_CELLS_AT_ONCE = 65_536


def cell_metrics(
    targets: np.ndarray, probabilities: np.ndarray, threshold: float | None = None
) -> dict[str, float]:
    """Every metric of at least one cell, by its plain name; nan where one is undefined.

    Args:
        targets: (n,), 0 or 1.
        probabilities: (n,), not nan.
        threshold: Threshold of what is `_at_threshold`; None takes the one that maximises F1 on
            these cells.
    """
    return metrics_of_cells(Cells(targets, probabilities, threshold))


def metrics_of_cells(cells: Cells) -> dict[str, float]:
    facts = {
        "threshold": cells.threshold,
        "prevalence": cells.ranked.num_positives / cells.ranked.num_cells,
    }
    return facts | {
        entry.name: entry.form.value(cells)
        for entry in MEASURES.values()
        if isinstance(entry.form, OfCells)
    }


def cell_metrics_per_user(
    users: np.ndarray, targets: np.ndarray, probabilities: np.ndarray, threshold: float
) -> dict[str, np.ndarray]:
    """The cell metrics of each user's own cells by name, as `f1_at_half_per_user`, of the users
    with a positive.

    Args:
        users: (n,) user of each cell.
        targets: (n,), 0 or 1.
        probabilities: (n,), not nan.
        threshold: Threshold of all users.

    Returns:
        (m,) float32 each, users ascending; ROC AUC is nan for a user without a negative.
    """
    return metrics_of_each_user(Cells(targets, probabilities, threshold, users))


def metrics_of_each_user(cells: Cells) -> dict[str, np.ndarray]:
    ranked = cells.by_user.num_positives > 0
    return {
        entry.name: entry.form.values(cells)[ranked].astype(np.float32)
        for entry in MEASURES.values()
        if isinstance(entry.form, EachUser)
    }


def probabilities_of(model: Recommender, part: Part) -> np.ndarray:
    """(n,) float32 in the order of the part's cells."""
    probabilities = np.empty(len(part), dtype=np.float32)
    for start in range(0, len(part), _CELLS_AT_ONCE):
        block = slice(start, start + _CELLS_AT_ONCE)
        probabilities[block] = model.predict(part.users[block], part.items[block])
    refuse_nan(probabilities, "probabilities")
    return probabilities


def user_counts_of(cells: Cells) -> dict[str, np.ndarray]:
    """The users with cells, and each user's confusion counts at both thresholds, int32 each."""
    columns = {"users": cells.by_user.users.astype(np.int32)}
    for at, counts in cells.counts_by_user.items():
        for name, values in vars(counts).items():
            columns[f"{name}_at_{at}"] = values.astype(np.int32)
    return columns


def truth_metrics(probabilities: np.ndarray | None, part: Part) -> dict[str, float]:
    """The most that any model can reach on synthetic data: the metrics of the true probabilities
    themselves.

    Args:
        probabilities: (num_users, num_items), the truth of each cell; None where nobody knows it.
        part: The cells to measure on.

    Returns:
        average_precision_of_truth and f1_at_threshold_of_truth, the latter with the threshold that
        is best on the same cells. Empty without the truth, or where the part has no positive or
        does not enumerate its cells.
    """
    if probabilities is None or not part.enumerates_cells or not part.num_positives:
        return {}
    metrics = cell_metrics(part.targets, probabilities[part.users, part.items])
    return {f"{entry.name}_of_truth": metrics[entry.name] for entry in shown("truth")}
