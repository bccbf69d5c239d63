"""NeuMF and GMF, trained step by step beside Keras."""

import os
from typing import Any

import numpy as np
import pytest
import torch

from recsweep.losses import BinaryCrossEntropy
from recsweep.models.base import EpochDecision
from recsweep.models.fit.flat import FlatWeights
from recsweep.models.fit.lightning_module import Member, take_steps
from recsweep.models.nets.neumf import NeuMF
from recsweep.models.optimizers import SGD

pytestmark = pytest.mark.reference

NUM_USERS, NUM_ITEMS, STEPS, BATCH_SIZE, LR = 40, 30, 60, 16, 0.05


def keras_neumf(keras: Any, mf_dim: int, mlp_dim: int, hidden: list[int]) -> Any:
    """As the authors' code has it: two embeddings a side, and a layer's output before its sigmoid,
    which is in the loss."""
    layers = keras.layers
    user, item = (keras.Input((), dtype="int32") for _ in range(2))

    def embedded(name: str, dim: int) -> list[Any]:
        return [
            layers.Embedding(NUM_USERS, dim, name=f"{name}_user")(user),
            layers.Embedding(NUM_ITEMS, dim, name=f"{name}_item")(item),
        ]

    both = layers.Multiply()(embedded("mf", mf_dim))
    if hidden:
        last = layers.Concatenate()(embedded("mlp", mlp_dim))
        for place, width in enumerate(hidden):
            last = layers.Dense(width, activation="relu", name=f"hidden_{place}")(last)
        both = layers.Concatenate()([both, last])
    model = keras.Model([user, item], layers.Dense(1, name="output")(both))
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(LR), loss)
    return model


def by_keras_names(net: NeuMF) -> dict[str, list[np.ndarray]]:
    """The net's weights by the layers of `keras_neumf`; its kernels are (input, output)."""
    users, items = (
        embedding.weight.detach().numpy() for embedding in (net.user_embedding, net.item_embedding)
    )
    found = {"mf_user": [users[:, : net.mf_dim]], "mf_item": [items[:, : net.mf_dim]]}
    dense = {"output": net.output}
    if net.tower is not None:
        found |= {"mlp_user": [users[:, net.mf_dim :]], "mlp_item": [items[:, net.mf_dim :]]}
        towers = enumerate([net.tower.first, *net.tower.rest])
        dense |= {f"hidden_{place}": layer for place, layer in towers}
    for name, layer in dense.items():
        found[name] = [layer.weight.detach().numpy().T, layer.bias.detach().numpy()]
    return {name: [array.copy() for array in arrays] for name, arrays in found.items()}


@pytest.mark.parametrize(
    "sizes",
    [{"mf_dim": 4, "mlp_dim": 6, "hidden": [8, 5]}, {"mf_dim": 7, "mlp_dim": 0, "hidden": []}],
    ids=["neumf", "gmf"],
)
def test_ends_where_keras_does(sizes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    if "KERAS_BACKEND" not in os.environ:
        monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras", exc_type=ImportError)
    net = NeuMF(NUM_USERS, NUM_ITEMS, **sizes, generator=torch.Generator().manual_seed(0))
    for embedding in (net.user_embedding, net.item_embedding):
        torch.nn.init.normal_(
            embedding.weight, std=0.5, generator=torch.Generator().manual_seed(1)
        )  # so that 60 steps go somewhere
    theirs = keras_neumf(keras, **sizes)
    for name, arrays in by_keras_names(net).items():
        theirs.get_layer(name).set_weights(arrays)
    before = by_keras_names(net)

    rng = np.random.default_rng(0)
    users = rng.integers(NUM_USERS, size=(STEPS, BATCH_SIZE))
    items = rng.integers(NUM_ITEMS, size=(STEPS, BATCH_SIZE))
    targets = rng.integers(2, size=(STEPS, BATCH_SIZE)).astype(np.float32)
    spec, loss = SGD(lr=LR, momentum=0.0, weight_decay=0.0), BinaryCrossEntropy(positive_weight=1.0)
    member = Member(net, loss, spec, 1, BATCH_SIZE, False, None, lambda *_: EpochDecision())
    flat = FlatWeights(net)
    optimizer = spec.build([flat.values])
    for batch in zip(users, items, targets, strict=True):
        ours = take_steps(member, flat, optimizer, tuple(map(torch.from_numpy, batch)))
        expected = theirs.evaluate(list(batch[:2]), batch[2][:, None], BATCH_SIZE, verbose=0)
        assert ours == pytest.approx(expected, abs=1e-6)
        theirs.train_on_batch(list(batch[:2]), batch[2][:, None])
    for name, arrays in by_keras_names(net).items():
        for found, start, end in zip(
            arrays, before[name], theirs.get_layer(name).get_weights(), strict=True
        ):
            np.testing.assert_allclose(found, end, rtol=0, atol=1e-6)
            assert np.abs(found - start).max() > 1e-3
