"""NeuMF and its two halves: sizes, starts, and every way to score against pair by pair."""

import math

import pytest
import torch

from recsweep.errors import ConfigError
from recsweep.models.base import FitOptions
from recsweep.models.nets import Net
from recsweep.models.nets.neumf import NeuMF

from .conftest import build, part, tastes

SIZES = {
    "neumf": ({"mf_dim": 8, "mlp_dim": 32, "hidden": [32, 16, 8]}, 82_761),
    "gmf": ({"mf_dim": 32, "mlp_dim": 0, "hidden": []}, 64_033),
    "ncf_mlp": ({"mf_dim": 0, "mlp_dim": 32, "hidden": [32, 16, 8]}, 66_753),
    "a large one": ({"mf_dim": 32, "mlp_dim": 128, "hidden": [128, 64, 32]}, 363_297),
}


@pytest.fixture(params=["neumf", "gmf", "ncf_mlp"])
def net(request: pytest.FixtureRequest) -> NeuMF:
    """One whose weights are far from zero, in float64."""
    net = NeuMF(7, 9, **SIZES[request.param][0], generator=torch.Generator().manual_seed(0))
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.5, generator=torch.Generator().manual_seed(1))
    return net.double()


@pytest.mark.parametrize("name", SIZES)
def test_has_the_published_number_of_parameters(name: str) -> None:
    sizes, expected = SIZES[name]
    net = NeuMF(1000, 1000, **sizes)
    assert sum(parameter.numel() for parameter in net.parameters()) == expected


def test_starts_as_the_authors_do() -> None:
    generator = torch.Generator().manual_seed(0)
    net = NeuMF(3000, 2000, mf_dim=60, mlp_dim=90, hidden=[100, 80], generator=generator)
    for embedding in (net.user_embedding, net.item_embedding):
        assert embedding.weight.std().item() == pytest.approx(0.01, rel=0.02)
        assert embedding.weight.mean().abs() < 1e-4
    first, second = net.tower.first, net.tower.rest[0]
    for weight, bound in (
        (first.weight, math.sqrt(6 / (180 + 100))),
        (second.weight, math.sqrt(6 / (100 + 80))),
        (net.output.weight, math.sqrt(3 / 140)),
    ):
        assert 0.97 * bound < weight.abs().max() <= bound
    assert not any(layer.bias.any() for layer in (first, second, net.output))


def test_one_output_by_hand() -> None:
    """p 2 and 3, q 1 and -4, one unit relu(1*1 - 0.5*(-4) + 0.5) = 3.5 -> 2*6 - 1*3.5 + 0.25."""
    net = NeuMF(1, 1, mf_dim=1, mlp_dim=1, hidden=[1])
    weights = {
        "user_embedding.weight": [[2.0, 1.0]],
        "item_embedding.weight": [[3.0, -4.0]],
        "tower.first.weight": [[1.0, -0.5]],
        "tower.first.bias": [0.5],
        "output.weight": [[2.0, -1.0]],
        "output.bias": [0.25],
    }
    net.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    zero = torch.zeros(1, dtype=torch.int64)
    assert net(zero, zero).item() == pytest.approx(2 * 6 - 3.5 + 0.25)


def test_lists_and_blocks_are_pair_by_pair(net: NeuMF, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsweep.models.nets.tower.ITEMS_AT_ONCE", 4)
    users, items = torch.arange(7), torch.arange(9)
    by_pair = net(users.repeat_interleave(9), items.repeat(7)).view(7, 9)
    vectors = net.user_vectors(), net.item_vectors()
    ways = {
        "score_items": net.score_items(net.user_vectors()),
        "pairwise": net.pairwise(*vectors),
        "lists": net(users, items.repeat(7, 1)),
        "lists of any net": Net.lists(net, vectors[0], vectors[1].repeat(7, 1, 1)),
    }
    for way in ways.values():
        torch.testing.assert_close(way, by_pair, rtol=0, atol=1e-12)
    parameters, seed = list(net.parameters()), torch.rand(7, 9, dtype=torch.float64)
    expected = torch.autograd.grad((seed * by_pair).sum(), parameters)
    for way in ("pairwise", "lists"):
        found = torch.autograd.grad((seed * ways[way]).sum(), parameters)
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("name", "overrides", "label"),
    [
        ("neumf", [], "neumf 8/32/32-16-8 bce adam"),
        ("gmf", [], "gmf 32/0 bce adam"),
        ("neumf", ["model.mf_dim=0"], "ncf_mlp 0/32/32-16-8 bce adam"),
    ],
)
def test_is_called_by_what_it_has(name: str, overrides: list[str], label: str) -> None:
    model = build(name, *overrides)
    assert (model.label, model.kind) == (label, label.split()[0])
    model.fit(part(tastes()), FitOptions(seed=1))


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.mlp_dim=0"],
        ["model.hidden=[]"],
        ["model.hidden=8"],
        ["model.hidden=[8,0]"],
        ["model.hidden=abc"],
        ["model.mf_dim=-1"],
        ["model.mf_dim=0", "model.mlp_dim=0", "model.hidden=[]"],
    ],
)
def test_says_what_is_wrong_with_sizes(overrides: list[str]) -> None:
    with pytest.raises(Exception, match=r"model\.(hidden|mf_dim|mlp_dim)") as error:
        build("neumf", *overrides)
    assert isinstance(error.value.__cause__ or error.value, ConfigError)
