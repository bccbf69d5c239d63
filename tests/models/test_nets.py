"""What every net of conf/model must do beside being a model. A new YAML is tested without writing a
test."""

from dataclasses import replace
from typing import cast

import numpy as np
import pytest
import torch

from recsweep.data.features import FeatureTable
from recsweep.models.base import FitOptions
from recsweep.models.fit.flat import FlatWeights
from recsweep.models.fit.lightning_module import Member, take_steps
from recsweep.models.neural import Known, NeuralModel
from recsweep.models.optimizers import SGD

from .conftest import MODELS, build, features, part, tastes

NETS = [name for name in MODELS if isinstance(build(name), NeuralModel)]
WITH_FEATURES = [name for name in NETS if build(name).takes_features]


def net_model(name: str, *overrides: str) -> NeuralModel:
    return cast(NeuralModel, build(name, *overrides))


CASES = [(name, {}) for name in NETS] + [(name, features()) for name in WITH_FEATURES]
IDS = NETS + [f"{name} with features" for name in WITH_FEATURES]


@pytest.mark.parametrize(("name", "tables"), CASES, ids=IDS)
def test_scores_lists_and_all_items_as_it_scores_pairs(
    name: str, tables: dict[str, FeatureTable]
) -> None:
    model = net_model(name, "optimizer.lr=0.02")
    model.fit(part(tastes()), FitOptions(**tables))
    net = model._fitted()
    users, items = torch.arange(40), torch.arange(30)
    with torch.no_grad():
        by_pair = net(users.repeat_interleave(30), items.repeat(40)).view(40, 30)
        vectors = net.user_vectors(), net.item_vectors()
        in_lists = net(users, items.expand(40, 30))
        for outputs in (in_lists, net.pairwise(*vectors), net.score_items(vectors[0])):
            torch.testing.assert_close(outputs, by_pair, rtol=0, atol=1e-5)
        some = net.score_items(net.user_vectors(users[5:9]), net.item_vectors(items[3:5]))
        torch.testing.assert_close(some, by_pair[5:9, 3:5], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "tables"), CASES, ids=IDS)
def test_another_numbering_permutes_the_scores(name: str, tables: dict[str, FeatureTable]) -> None:
    """Trained from permuted weights on renumbered examples, it is the same net."""
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    permutations = rng.permutation(40), rng.permutation(30)  # [old] -> new
    olds = [np.argsort(permutation) for permutation in permutations]  # [new] -> old
    model, matrix = net_model(name), part(tastes()).positives
    sides = {"user_features": olds[0], "item_features": olds[1]}
    renumbered = {
        side: replace(table, matrix=table.matrix[sides[side]]) for side, table in tables.items()
    }
    knowns = [Known(matrix, **tables), Known(matrix[olds[0]][:, olds[1]], **renumbered)]
    first, second = (model._build(known, seed=3) for known in knowns)
    weights = {name: torch.randn(weight.shape) / 3 for name, weight in first.state_dict().items()}
    first.load_state_dict(weights)
    for name_of, old in zip(("user_embedding", "item_embedding"), olds, strict=True):
        weights[f"{name_of}.weight"] = weights[f"{name_of}.weight"][old]
    second.load_state_dict(weights)

    users = torch.from_numpy(rng.integers(40, size=(20, 16)))
    items = torch.from_numpy(rng.integers(30, size=(20, 16, 4)))
    for net, mapped in ((first, [np.arange(40), np.arange(30)]), (second, permutations)):
        optimizer, flat = SGD(lr=0.01, momentum=0.0, weight_decay=0.0), FlatWeights(net)
        steps = optimizer.build([flat.values])
        member = Member(net, model.loss, optimizer, 1, 16, False, None, lambda *_: None)
        new_users, new_items = (torch.from_numpy(mapping) for mapping in mapped)
        for of_step, lists in zip(users, items, strict=True):
            shown = new_items[lists] if model.loss.ranks else new_items[lists[:, 0]]
            targets = torch.zeros(shown.shape)
            targets.view(16, -1)[: 16 if model.loss.ranks else 8, 0] = 1
            take_steps(member, flat, steps, (new_users[of_step], shown, targets))
        net.eval()
    scores = [net.score_items(net.user_vectors()).detach().numpy() for net in (first, second)]
    assert np.ptp(scores[0]) > 0.01
    back = scores[1][permutations[0]][:, permutations[1]]
    np.testing.assert_allclose(back, scores[0], atol=1e-4)
