"""Factorization machines, by hand."""

import numpy as np
import pytest
import torch

from recsweep.models.nets.factorization import FM


@pytest.mark.parametrize(
    ("dim", "bias", "count"), [(16, True, 2000 * 17 + 1), (64, False, 2000 * 64)]
)
def test_has_as_many_parameters_as_by_hand(dim: int, bias: bool, count: int) -> None:
    net = FM(1000, 1000, dim=dim, bias=bias)
    assert sum(parameter.numel() for parameter in net.parameters()) == count


def test_is_a_dot_product_and_biases() -> None:
    net = FM(2, 3, dim=2, bias=True)
    net.load_state_dict(
        {
            "user_embedding.weight": torch.tensor([[1.0, 2.0, 0.5], [0.0, -1.0, 0.25]]),
            "item_embedding.weight": torch.tensor([[3.0, 1.0, 4.0], [1.0, 1.0, 0.0], [2.0, 0, 1]]),
            "bias": torch.tensor(-1.0),
        }
    )
    expected = [
        [5 + 0.5 + 4 - 1, 3 + 0.5 + 0 - 1, 2 + 0.5 + 1 - 1],
        [-1 + 0.25 + 4 - 1, -1 + 0.25 + 0 - 1, 0 + 0.25 + 1 - 1],
    ]
    everyone, items = torch.arange(2), torch.arange(3).expand(2, 3)
    np.testing.assert_allclose(net(everyone, items).detach(), expected)
    np.testing.assert_allclose(net.score_items(net.user_vectors()), expected)


@pytest.mark.parametrize("bias", [True, False])
def test_starts_as_the_papers_do(bias: bool) -> None:
    net = FM(3000, 2000, dim=16, bias=bias, generator=torch.Generator().manual_seed(0))
    for weight in (net.user_embedding.weight, net.item_embedding.weight):
        spread = 0.1 if bias else np.sqrt(2 / (len(weight) + 16))
        assert weight[:, :16].std().item() == pytest.approx(spread, rel=0.02)
        assert not weight[:, 16:].any()
