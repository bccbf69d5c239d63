"""EASE against its definition."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from recsweep.errors import ConfigError, DataError
from recsweep.models import ease
from recsweep.models.ease import EASE

from .conftest import part, tastes


def test_each_item_is_a_ridge_regression_on_all_others() -> None:
    X = tastes().astype(np.float64)
    model = EASE(l2=7.0)
    model.fit(part(tastes()))
    for item in range(30):
        others = np.delete(np.arange(30), item)
        A = X[:, others]
        expected = np.linalg.solve(A.T @ A + 7 * np.eye(29), A.T @ X[:, item])
        np.testing.assert_allclose(model._weights[others, item], expected, atol=1e-5)
    assert not np.diag(model._weights).any()
    assert model.num_parameters == 30 * 29


def test_a_history_is_scored_as_the_user_who_has_it() -> None:
    train = part(tastes())
    model = EASE(l2=7.0)
    model.fit(train)
    np.testing.assert_array_equal(
        model.score_histories(train.positives[:10]), model.score(np.arange(10))
    )
    nobody = model.score_histories(csr_matrix((1, 30), dtype=np.float32))
    np.testing.assert_allclose(nobody[0], tastes().mean(axis=0), atol=1e-6)


def test_refuses_a_catalogue_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ease, "MAX_ITEMS", 29)
    with pytest.raises(DataError, match=r"at most 29 of them, not 30\. Set data\.num_items"):
        EASE(l2=1.0).fit(part(tastes()))


@pytest.mark.parametrize("l2", [0, -1, "1", None])
def test_refuses_an_impossible_penalty(l2: object) -> None:
    with pytest.raises(ConfigError, match=r"model\.l2 must be a number above 0"):
        EASE(l2=l2)
