"""Nets that bring their gradient in closed form, against autograd, and what trains them: weights
in one buffer, optimizers without their bookkeeping, a user's own callbacks."""

import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from scipy.sparse import csr_matrix
from sklearn.metrics import average_precision_score

from recsweep.data.examples import AllCells
from recsweep.losses import BinaryCrossEntropy, Loss, MeanSquaredError
from recsweep.models.base import EpochDecision, FitOptions
from recsweep.models.calibration import Calibration
from recsweep.models.fit.datamodule import ExamplesDataModule
from recsweep.models.fit.flat import LINE, FlatWeights
from recsweep.models.fit.lightning_module import GroupModule, Member, take_steps
from recsweep.models.fold_in import Side, _by_autograd
from recsweep.models.neighbors import NeighborIndex
from recsweep.models.nets import Net, RecipeNet
from recsweep.models.nets.recipe_gradient import Cells
from recsweep.models.optimizers import SGD, Adam, OptimizerSpec

from .conftest import build, part, tastes

LOSSES = [
    MeanSquaredError(),
    BinaryCrossEntropy(positive_weight=1.0),
    BinaryCrossEntropy(positive_weight=3.7),
]
OPTIMIZERS = {
    "adam": Adam(lr=0.01, betas=(0.9, 0.999), eps=1e-7, weight_decay=0.0),
    "adam_decay": Adam(lr=0.01, betas=(0.8, 0.99), eps=1e-8, weight_decay=0.02),
    "sgd": SGD(lr=0.05, momentum=0.0, weight_decay=0.01),
    "sgd_momentum": SGD(lr=0.01, momentum=0.9, weight_decay=0.01),
}


def member(net: Net, loss: Loss, optimizer: OptimizerSpec, batch_size: int) -> Member:
    decide = lambda epoch, train_loss: EpochDecision()  # noqa: E731
    return Member(net, loss, optimizer, 2, batch_size, False, None, decide)


def recipe_net(users: int = 40, items: int = 30, dims: tuple[int, int, int] = (3, 5, 8)) -> Net:
    sizes = dict(zip(("user_dim", "item_dim", "hidden_dim"), dims, strict=True))
    generator = torch.Generator().manual_seed(0)
    net = RecipeNet(users, items, **sizes, generator=generator).double()
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.5, generator=generator)
    return net


def batch(seed: int, size: int, users: int = 40, items: int = 30) -> tuple[torch.Tensor, ...]:
    rng = np.random.default_rng(seed)
    indices = (torch.from_numpy(rng.integers(high, size=size)) for high in (users, items))
    return *indices, torch.from_numpy(rng.integers(2, size=size).astype(float))


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@settings(deadline=None)
@given(
    users=st.integers(1, 9),
    items=st.integers(1, 9),
    dims=st.tuples(*[st.integers(1, 20)] * 3),
    size=st.integers(1, 40),
    room=st.integers(0, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_is_the_gradient_of_autograd(
    loss: Loss, users: int, items: int, dims: tuple[int, int, int], size: int, room: int, seed: int
) -> None:
    net = recipe_net(users, items, dims)
    examples = batch(seed, size, users, items)  # with users and items that stand in it repeatedly
    outputs = net(*examples[:2])
    expected = torch.autograd.grad(loss(outputs, examples[2]), list(net.parameters()))

    flat = FlatWeights(net)
    closed_form = member(net, loss, OPTIMIZERS["adam"], size).closed_form(size + room)
    assert closed_form is not None
    for _ in range(2):  # again in the same memory
        flat.clear()
        with torch.no_grad():
            found = closed_form(*examples)
        torch.testing.assert_close(found, outputs.detach(), rtol=1e-10, atol=1e-10)
        for weight, gradient in zip(net.parameters(), expected, strict=True):
            scale = gradient.abs().max().item()
            torch.testing.assert_close(weight.grad, gradient, rtol=1e-10, atol=1e-10 * scale)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_goes_where_torchs_own_optimizer_and_autograd_go(loss: Loss, name: str) -> None:
    spec, ours = OPTIMIZERS[name], recipe_net()
    theirs = copy.deepcopy(ours)
    optimizer = spec.build(theirs.parameters())
    trained, flat = member(ours, loss, spec, 16), FlatWeights(ours)
    steps = spec.build([flat.values])
    for seed in range(3):
        chunk = batch(seed, 70)  # the last batch of each is smaller
        losses = []
        for users, items, targets in zip(*(array.split(16) for array in chunk), strict=True):
            optimizer.zero_grad()
            value = loss(theirs(users, items), targets)
            value.backward()
            optimizer.step()
            losses.append(value.item() * len(users))
        mean = take_steps(trained, flat, steps, chunk)
        assert mean == pytest.approx(sum(losses) / 70, rel=1e-9)
    for found, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)


@pytest.fixture
def _in_float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("_in_float64")
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_whole_fits_end_as_by_autograd(
    loss: str, optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float64: in float32 what is rounded grows, as that of another order of summing does."""
    liked = tastes(120, 90).astype(bool)
    known = np.random.default_rng(1).random(liked.shape) < 0.7
    settings = [f"loss={loss}", f"optimizer={optimizer}", "optimizer.weight_decay=1e-5"]
    if optimizer == "sgd":
        settings += ["optimizer.momentum=0.9", f"optimizer.lr={0.05 if loss == 'mse' else 0.2}"]
    scores = []
    for gradient in (RecipeNet.gradient, Net.gradient):
        monkeypatch.setattr(RecipeNet, "gradient", gradient)
        model = build("recipe_net", *settings, "trainer.keep=last", "trainer.max_epochs=12")
        model.fit(part(liked, known), FitOptions(seed=3))
        scores.append(model.score(np.arange(120)))
    np.testing.assert_allclose(*scores, rtol=0, atol=1e-9)
    precision = average_precision_score(liked[~known], scores[0][~known])
    assert precision > np.mean(liked[~known]) + 0.1


def test_weights_in_one_buffer_are_those_of_the_net() -> None:
    net = recipe_net()
    before = {name: weight.clone() for name, weight in net.state_dict().items()}
    flat = FlatWeights(net)
    assert all(torch.equal(net.state_dict()[name], weight) for name, weight in before.items())
    assert len(flat.values) % LINE == 0
    with torch.no_grad():
        flat.values += 1
    for name, weight in net.named_parameters():
        torch.testing.assert_close(weight.detach(), before[name] + 1)
        assert weight.is_leaf
        assert weight.requires_grad
    net.zero_grad(set_to_none=True)
    flat.attach()
    net(*batch(0, 9)[:2]).sum().backward()
    assert flat.values.grad.count_nonzero() == sum(
        weight.grad.count_nonzero() for weight in net.parameters()
    )
    flat.clear()
    assert not any(weight.grad.any() for weight in net.parameters())


def test_a_callback_of_ones_own_sees_chunks_of_steps_and_a_checkpoint_goes_on(
    tmp_path: Path,
) -> None:
    """Manual optimization in chunks of 64 steps: what Lightning counts is the last of each."""

    class Watch(Callback):
        def __init__(self) -> None:
            self.batches, self.epochs, self.steps = 0, 0, []

        def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
            self.batches += 1
            self.steps.append(trainer.global_step)

        def on_train_epoch_end(self, *_: object) -> None:
            self.epochs += 1

    def fit(epochs: int, *callbacks: Callback, start: Path | None = None) -> GroupModule:
        trained = member(recipe_net().float(), LOSSES[0], OPTIMIZERS["adam"], 8)
        trained.max_epochs = epochs
        module = GroupModule([trained])
        data = ExamplesDataModule(
            part(tastes()), AllCells(max_cells=10_000), batch_size=8, seeds=[0]
        )
        trainer = pl.Trainer(
            max_epochs=epochs,
            callbacks=list(callbacks),
            logger=False,
            accelerator="cpu",
            enable_checkpointing=any(isinstance(each, ModelCheckpoint) for each in callbacks),
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, datamodule=data, ckpt_path=start)
        return module

    watch = Watch()
    keep = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1, every_n_epochs=1)
    whole = fit(2, watch, keep)
    assert (watch.batches, watch.epochs) == (6, 2)  # 150 steps an epoch are 3 chunks
    assert watch.steps == [1, 2, 3, 4, 5, 6]
    resumed = fit(2, keep, start=tmp_path / "epoch=0.ckpt")
    for found, expected in zip(resumed.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


class TestRowGradient:
    """The rows of new users and items, trained with the net frozen."""

    @pytest.mark.parametrize("of_items", [False, True], ids=["users", "items"])
    @pytest.mark.parametrize("loss", LOSSES, ids=repr)
    @pytest.mark.parametrize("m", [1, 3])
    def test_is_that_of_autograd(self, m: int, loss: Loss, of_items: bool) -> None:
        net = recipe_net()
        side = Side(net, loss, NeighborIndex(csr_matrix((1, 1))), of_items)
        owners, own = [0, 0, m - 1, m - 1, m - 1], [7, 3, 2, 9, 25]
        shared, twice, place = [2, 3, 9, 12, 28], [1, 2, 3], [1, 0, 2]
        cells = Cells(
            side.others[shared],
            5.5,
            side.others[own],
            torch.tensor(owners),
            torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0], dtype=torch.float64),
            torch.tensor(twice),
            torch.tensor(place),
        )
        rows = torch.from_numpy(np.random.default_rng(0).normal(size=(m, side.rows.shape[1])))
        with torch.no_grad():
            closed_form = net.row_gradient(loss, cells, m, of_items=of_items)
            assert closed_form is not None
            found = closed_form(rows)
        expected = _by_autograd(side, cells, rows)
        assert expected.abs().max() > 0.1
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)

    def test_needs_a_loss_that_tells_its_slope(self) -> None:
        log_loss = Calibration(1.0, 0.0, "train", 9).log_loss
        assert recipe_net().row_gradient(log_loss, None, 1, of_items=False) is None  # type: ignore[arg-type]
