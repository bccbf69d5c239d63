"""LightGCN: what it sends along the graph, against the dense A, and when it sends anew."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from recsweep.models.nets.lightgcn import LightGCN

from .conftest import part, tastes


def lightgcn(positives: csr_matrix, num_layers: int = 3, dim: int = 5) -> LightGCN:
    generator = torch.Generator().manual_seed(0)
    return LightGCN(
        *positives.shape, positives=positives, dim=dim, num_layers=num_layers, generator=generator
    )


def dense(positives: csr_matrix) -> torch.Tensor:
    """A as the paper writes it, (m + n, m + n) float64."""
    X = torch.from_numpy(positives.toarray()).double()
    m, n = X.shape
    A = torch.cat(
        [torch.cat([X.new_zeros(m, m), X], dim=1), torch.cat([X.T, X.new_zeros(n, n)], dim=1)]
    )
    roots = A.sum(dim=1).clamp(min=1).rsqrt()
    return roots[:, None] * A * roots


def embeddings(net: LightGCN) -> list[torch.Tensor]:
    return [net.user_embedding.weight, net.item_embedding.weight]


@pytest.fixture
def positives() -> csr_matrix:
    """40 x 30, with a user and an item without any."""
    return part(tastes()).positives


@pytest.mark.parametrize("num_layers", [1, 2, 4])
def test_has_the_published_number_of_parameters(num_layers: int) -> None:
    net = lightgcn(csr_matrix((1000, 1000), dtype=np.float32), num_layers, dim=64)
    assert sum(parameter.numel() for parameter in net.parameters()) == 128_000
    for weight in embeddings(net):
        assert weight.std().item() == pytest.approx(0.1, rel=0.02)


def test_two_users_and_an_item_by_hand() -> None:
    """Both like the one item: A holds 1/sqrt(2). With e = 3, 5 and 7 and one layer, the item's row
    is (7 + 8/sqrt(2))/2, and a user's (3 + 7/sqrt(2))/2."""
    net = lightgcn(csr_matrix([[1.0], [1.0]], dtype=np.float32), num_layers=1, dim=1)
    net.load_state_dict(
        {
            "user_embedding.weight": torch.tensor([[3.0], [5.0]]),
            "item_embedding.weight": torch.tensor([[7.0]]),
        }
    )
    root = 2**-0.5
    torch.testing.assert_close(
        net.user_vectors(), torch.tensor([[(3 + 7 * root) / 2], [(5 + 7 * root) / 2]])
    )
    torch.testing.assert_close(net.item_vectors(), torch.tensor([[(7 + 8 * root) / 2]]))


@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_its_gradient_is_that_of_the_dense_matrix(positives: csr_matrix, num_layers: int) -> None:
    net = lightgcn(positives, num_layers).double()
    E = E_0 = torch.cat(embeddings(net))
    A = dense(positives)
    for _ in range(num_layers):
        E = E_0 + A @ E  # Horner: the sum over all layers
    users, items = (E / (num_layers + 1)).split(positives.shape)
    rng = torch.Generator().manual_seed(1)
    asked = torch.randint(40, (50,), generator=rng), torch.randint(30, (50, 3), generator=rng)
    seed = torch.rand(50, 3, generator=rng, dtype=torch.float64)
    by_hand = torch.einsum("bd,bnd->bn", users[asked[0]], items[asked[1]])
    torch.testing.assert_close(net(*asked), by_hand, rtol=0, atol=1e-8)
    torch.testing.assert_close(net(asked[0], asked[1][:, 0]), by_hand[:, 0], rtol=0, atol=1e-8)
    ours, theirs = (
        torch.autograd.grad((seed * outputs).sum(), embeddings(net), retain_graph=True)
        for outputs in (net(*asked), by_hand)
    )
    for own, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, expected, rtol=0, atol=1e-8)


def test_scores_all_items_as_it_scores_pairs(positives: csr_matrix) -> None:
    net = lightgcn(positives)
    users, items = torch.arange(40), torch.arange(30)
    by_pair = net(users.repeat_interleave(30), items.repeat(40)).view(40, 30)
    ways = [
        net.score_items(net.user_vectors()),
        net.pairwise(net.user_vectors(), net.item_vectors()),
        net(users, items.repeat(40, 1)),
        net.lists(net.user_vectors(users), net.item_vectors(items.repeat(40, 1))),
    ]
    for way in ways:
        torch.testing.assert_close(way, by_pair, rtol=0, atol=1e-6)


def test_who_has_no_positive_keeps_the_own_row(positives: csr_matrix) -> None:
    net = lightgcn(positives)
    users, items = embeddings(net)
    torch.testing.assert_close(net.user_vectors()[-1], users[-1] / 4)
    torch.testing.assert_close(net.item_vectors()[-1], items[-1] / 4)


def test_sends_anew_after_each_training_and_with_other_weights(positives: csr_matrix) -> None:
    net = lightgcn(positives).eval()
    before = net.user_vectors()
    assert net.user_vectors() is before
    assert not before.requires_grad
    net.train()
    with torch.no_grad():
        net.item_embedding.weight.mul_(2)
    net.eval()
    after = net.user_vectors()
    assert (before[:-1] != after[:-1]).any(dim=1).all()
    weights = {name: weight.clone() for name, weight in net.state_dict().items()}
    assert set(weights) == {"user_embedding.weight", "item_embedding.weight"}
    net.load_state_dict({name: 3 * weight for name, weight in weights.items()})
    torch.testing.assert_close(net.user_vectors(), 3 * after)
    assert net.double().user_vectors().dtype == torch.float64


def test_another_numbering_is_the_same_net(positives: csr_matrix) -> None:
    rng = np.random.default_rng(0)
    users, items = rng.permutation(40), rng.permutation(30)
    net, renumbered = lightgcn(positives), lightgcn(positives[users][:, items])
    rows = zip(embeddings(net), (users, items), strict=True)
    names = ("user_embedding.weight", "item_embedding.weight")
    weights = [weight.detach()[order] for weight, order in rows]
    renumbered.load_state_dict(dict(zip(names, weights, strict=True)))
    scores = net.score_items(net.user_vectors())
    torch.testing.assert_close(
        renumbered.score_items(renumbered.user_vectors()), scores[users][:, items]
    )
