"""Values that are not a number: refused, or left out of a mean."""

import numpy as np

from recsweep.errors import FitError


def refuse_nan(values: np.ndarray, what: str) -> None:
    if missing := int(np.count_nonzero(np.isnan(values))):
        raise FitError(
            f"The model gave {missing:,} of {values.size:,} {what} that are not numbers (NaN): its "
            "training has diverged. Lower the learning rate or raise the regularisation."
        )


def mean_of_defined(values: np.ndarray) -> float:
    """Mean of those that are no nan; nan where there is none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean(dtype=np.float64)) if len(defined) else float("nan")
