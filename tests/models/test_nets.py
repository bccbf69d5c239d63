"""What every net of conf/model must do beside being a model. A new YAML is tested without writing a
test."""

from typing import cast

import pytest
import torch

from recsweep.models.neural import NeuralModel

from .conftest import MODELS, build, part, tastes

NETS = [name for name in MODELS if isinstance(build(name), NeuralModel)]

pytestmark = pytest.mark.parametrize("name", NETS)


def trained(name: str) -> NeuralModel:
    model = cast(NeuralModel, build(name, "optimizer.lr=0.02"))
    model.fit(part(tastes()))
    return model


def test_scores_lists_and_all_items_as_it_scores_pairs(name: str) -> None:
    net = trained(name)._fitted()
    users, items = torch.arange(40), torch.arange(30)
    with torch.no_grad():
        by_pair = net(users.repeat_interleave(30), items.repeat(40)).view(40, 30)
        in_lists = net(users, items.expand(40, 30))
        vectors = net.user_vectors(), net.item_vectors()
        for outputs in (in_lists, net.pairwise(*vectors), net.score_items(vectors[0])):
            torch.testing.assert_close(outputs, by_pair, rtol=0, atol=1e-5)
        some = net.score_items(net.user_vectors(users[5:9]), net.item_vectors(items[3:5]))
        torch.testing.assert_close(some, by_pair[5:9, 3:5], rtol=0, atol=1e-5)
