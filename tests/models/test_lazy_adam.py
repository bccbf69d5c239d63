"""Lazy Adam: as Adam where a row is in every batch, still where it is in none, for every net that
has rows of its own."""

import logging
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_lightning.callbacks import ModelCheckpoint
from sklearn.metrics import roc_auc_score

from recsweep.data.examples import AllCells
from recsweep.errors import ConfigError, FitError
from recsweep.losses import BinaryCrossEntropy, MeanSquaredError
from recsweep.models.base import EpochDecision, FitOptions
from recsweep.models.fit import lightning_module
from recsweep.models.fit.datamodule import ExamplesDataModule
from recsweep.models.fit.flat import FlatWeights
from recsweep.models.fit.lazy_adam import Distinct
from recsweep.models.fit.lightning_module import GroupModule, Member, take_steps
from recsweep.models.nets import Net, RecipeNet
from recsweep.models.nets.factorization import FM
from recsweep.models.optimizers import Adam, LazyAdam, OptimizerSpec
from recsweep.models.saved import load_model

from .conftest import build, features, part, tastes

SETTINGS = {"lr": 0.01, "betas": (0.8, 0.99), "eps": 1e-6}
BY_ROWS = ["recipe_net", "mf", "fm", "bpr", "deepfm", "neumf", "gmf"]
BCE = BinaryCrossEntropy(positive_weight=1.0)


class ByAutograd(RecipeNet):
    gradient = Net.gradient


def recipe_net(kind: type[RecipeNet] = RecipeNet) -> RecipeNet:
    generator = torch.Generator().manual_seed(0)
    net = kind(40, 30, user_dim=3, item_dim=5, hidden_dim=8, generator=generator).double()
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.5, generator=generator)
    return net


def trained(net: Net, optimizer: OptimizerSpec, chunks: list, size: int) -> dict[str, torch.Tensor]:
    """The weights after the steps of the chunks, in batches of that size."""
    decide = lambda epoch, train_loss: EpochDecision()  # noqa: E731
    member = Member(net, BCE, optimizer, 1, size, False, None, decide)
    flat = FlatWeights(net, by_rows=optimizer.by_rows)
    steps = optimizer.build([flat.values], flat.tables)
    for chunk in chunks:
        take_steps(member, flat, steps, chunk)
    return {name: weight.clone() for name, weight in net.state_dict().items()}


def chunks(users: np.ndarray, items: np.ndarray, num_batches: int, size: int) -> list:
    """Two chunks of batches, each with every one of the users and of the items, some of them
    repeatedly."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(2):
        columns = [
            np.concatenate([rng.permutation(np.resize(some, size)) for _ in range(num_batches)])
            for some in (users, items)
        ]
        targets = torch.from_numpy(rng.integers(2, size=num_batches * size).astype(float))
        made.append((*map(torch.from_numpy, columns), targets))
    return made


def sparse(rows: torch.Tensor, values: torch.Tensor, num_rows: int) -> torch.Tensor:
    """The gradient (num_rows, dim) of values (n, dim) at rows (1, n)."""
    shape = num_rows, values.shape[1]
    return torch.sparse_coo_tensor(rows, values, shape, check_invariants=True)


@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
@pytest.mark.parametrize("kind", [RecipeNet, ByAutograd])
def test_rows_in_every_batch_go_where_adam_takes_them_and_the_others_stay(
    kind: type[RecipeNet], weight_decay: float
) -> None:
    users, items = np.array([7, 0, 39, 12, 3]), np.array([29, 4, 5, 0, 11, 17, 8])
    steps = chunks(users, items, num_batches=6, size=16)
    before = recipe_net().state_dict()
    dense = trained(recipe_net(kind), Adam(**SETTINGS, weight_decay=weight_decay), steps, 16)
    lazy = trained(recipe_net(kind), LazyAdam(**SETTINGS, weight_decay=weight_decay), steps, 16)
    for name, rows in (("user_embedding.weight", users), ("item_embedding.weight", items)):
        torch.testing.assert_close(lazy[name][rows], dense[name][rows], rtol=1e-9, atol=1e-12)
        assert (lazy[name][rows] - before[name][rows]).abs().min() > 0
        others = np.setdiff1d(np.arange(len(lazy[name])), rows)
        # Adam's penalty decays them all, lazy Adam's those of a batch
        assert torch.equal(lazy[name][others], before[name][others])
        assert torch.equal(dense[name][others], before[name][others]) == (weight_decay == 0)
    for name in ("hidden.weight", "hidden.bias", "output.weight", "output.bias"):
        torch.testing.assert_close(lazy[name], dense[name], rtol=1e-9, atol=1e-12)


def test_a_row_that_returns_goes_on_from_its_own_moments() -> None:
    """By hand: the moments decay in the steps that have the row, the correction counts all."""
    lr, (beta1, beta2), eps, decay = 0.1, (0.8, 0.99), 1e-6, 0.3
    optimizer = LazyAdam(lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=decay)
    table = torch.nn.Parameter(torch.tensor([[1.0, -2.0], [3.0, 4.0]], dtype=torch.float64))
    steps = optimizer.build([], [table])
    value, mean, square = np.array([3.0, 4.0]), np.zeros(2), np.zeros(2)
    for step, gradient in enumerate([[0.5, -1.0], None, None, [0.25, 2.0]], start=1):
        row = int(gradient is not None)
        values = torch.tensor([gradient or [1.0, 1.0]], dtype=torch.float64)
        table.grad = sparse(torch.tensor([[row]]), values, 2)
        steps.step()
        if gradient is not None:
            whole = np.array(gradient) + decay * value
            mean = beta1 * mean + (1 - beta1) * whole
            square = beta2 * square + (1 - beta2) * whole**2
            root = np.sqrt(square / (1 - beta2**step)) + eps
            value = value - lr * mean / (1 - beta1**step) / root
        np.testing.assert_allclose(table[1].detach(), value, rtol=1e-12)


def test_is_torchs_sparse_adam_but_for_where_epsilon_is_added() -> None:
    settings = {"lr": 0.01, "betas": (0.8, 0.99), "eps": 1e-20}
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(50, 4, generator=generator, dtype=torch.float64)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    steps = [
        LazyAdam(**settings, weight_decay=0.0).build([], [ours]),
        torch.optim.SparseAdam([theirs], **settings),
    ]
    for _ in range(20):
        rows = torch.randint(50, (1, 30), generator=generator)
        values = torch.randn(30, 4, generator=generator, dtype=torch.float64)
        for table, optimizer in zip((ours, theirs), steps, strict=True):
            table.grad = sparse(rows, values, 50)
            optimizer.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    assert not torch.equal(ours, start)


@given(st.lists(st.lists(st.integers(0, 9), max_size=30), max_size=3))
def test_finds_distinct_indices(calls: list[list[int]]) -> None:
    distinct = Distinct(10, torch.device("cpu"))
    for call in calls:  # each in what the one before it left
        indices = torch.tensor(call, dtype=torch.int64)
        found, places = distinct(indices)
        assert sorted(found.tolist()) == sorted(set(call))
        assert torch.equal(found[places], indices)


def test_closed_form_and_autograd_take_the_same_steps() -> None:
    rng = np.random.default_rng(0)
    users, items = (torch.from_numpy(rng.integers(n, size=200)) for n in (40, 30))
    steps = [(users, items, torch.from_numpy(rng.integers(2, size=200).astype(float)))]
    optimizer = LazyAdam(**SETTINGS, weight_decay=0.01)
    nets = [recipe_net(kind) for kind in (RecipeNet, ByAutograd)]
    by_closed_form, by_autograd = (trained(net, optimizer, steps, 16) for net in nets)
    for name, weight in by_closed_form.items():
        torch.testing.assert_close(weight, by_autograd[name], rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("name", BY_ROWS)
def test_every_net_learns_what_it_learns_by_adam(name: str) -> None:
    liked = tastes(120, 90).astype(bool)
    known = np.random.default_rng(1).random(liked.shape) < 0.7
    settings = ["trainer.max_epochs=6", "trainer.batch_size=128", "optimizer.lr=0.02"]
    known_features = features(120, 90) if name in ("fm", "deepfm") else {}
    areas = {}
    for optimizer in ("adam", "lazy_adam"):
        model = build(name, f"optimizer={optimizer}", *settings)
        assert model.label.endswith(f" {optimizer}")
        model.fit(part(liked, known), FitOptions(seed=3, **known_features))
        areas[optimizer] = roc_auc_score(liked[~known], model.score(np.arange(120))[~known])
    assert min(areas.values()) > 0.62
    assert areas["lazy_adam"] == pytest.approx(areas["adam"], abs=0.03)


@pytest.mark.parametrize("name", ["recipe_net", "bpr", "deepfm"])
def test_moves_no_row_outside_its_batches(name: str) -> None:
    """The last user and the last item have no positive; `given` examples hold none of them."""
    matrix = tastes()
    known = np.ones(matrix.shape, dtype=bool)
    known[-1], known[:, -1] = False, False
    known[5], known[:, 7] = False, False
    model = build(name, "optimizer=lazy_adam", "optimizer.weight_decay=0.1")
    start = build(name, "optimizer=lazy_adam", "optimizer.weight_decay=0.1", "optimizer.lr=1e-30")
    rows = []
    for each in (model, start):
        each.fit(part(matrix, known), FitOptions(seed=1, **features()))
        rows.append([table.weight.numpy() for table in each._net.embeddings])
    for found, before, absent in zip(*rows, ([5, 39], [7, 29]), strict=True):
        moved = (found != before).any(axis=1)
        assert sorted(np.flatnonzero(~moved)) == absent


def test_many_rows_of_features_keep_to_the_rows_of_the_batch() -> None:
    """Where a list has more rows than the table, FM looks each one up once: of the whole table."""
    sides = features()
    generator = torch.Generator().manual_seed(0)
    net = FM(40, 30, dim=4, bias=True, generator=generator, **sides)
    users, items = torch.arange(4).repeat(30), torch.arange(3).repeat(40)
    weights = trained(net, LazyAdam(**SETTINGS, weight_decay=0.0), [(users, items, users / 3)], 120)
    other = FM(40, 30, dim=4, bias=True, generator=torch.Generator().manual_seed(0), **sides)
    dense = trained(other, Adam(**SETTINGS, weight_decay=0.0), [(users, items, users / 3)], 120)
    for name, weight in weights.items():
        torch.testing.assert_close(weight, dense[name])


def test_a_saved_model_answers_alike(tmp_path: Path) -> None:
    model = build("mf", "optimizer=lazy_adam", "trainer.keep=best", "trainer.max_epochs=4")
    scores = {}

    def on_epoch(epoch: int, fitted: object, train_loss: float | None) -> EpochDecision:
        scores[epoch] = model.score(np.arange(40))
        return EpochDecision(keep=epoch == 2)

    fit = model.fit(part(tastes()), FitOptions(on_epoch=on_epoch))
    assert fit.kept_epoch == 2
    np.testing.assert_array_equal(model.score(np.arange(40)), scores[2])
    assert not np.array_equal(scores[2], scores[4])
    model.save(tmp_path)
    loaded = load_model(tmp_path)
    np.testing.assert_array_equal(loaded.score(np.arange(40)), scores[2])


def test_a_checkpoint_goes_on(tmp_path: Path) -> None:
    def fit(epochs: int, start: Path | None = None) -> GroupModule:
        decide = lambda epoch, train_loss: EpochDecision()  # noqa: E731
        optimizer = LazyAdam(**SETTINGS, weight_decay=0.01)
        net = recipe_net().float()
        module = GroupModule(
            [Member(net, MeanSquaredError(), optimizer, epochs, 8, False, None, decide)]
        )
        data = ExamplesDataModule(part(tastes()), AllCells(max_cells=10_000), 8, seeds=[0])
        keep = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1, every_n_epochs=1)
        trainer = pl.Trainer(
            max_epochs=epochs,
            callbacks=[keep],
            logger=False,
            accelerator="cpu",
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, datamodule=data, ckpt_path=start)
        return module

    whole = fit(2)
    resumed = fit(2, tmp_path / "epoch=0.ckpt")
    for found, expected in zip(resumed.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["lightgcn", "multi_vae"])
def test_is_refused_where_a_step_moves_everything(name: str) -> None:
    words = f"optimizer=lazy_adam updates the rows of a batch alone, and a step of {name} moves"
    with pytest.raises(Exception, match=f"{words}.* Take optimizer=adam") as error:
        build(name, "optimizer=lazy_adam")
    assert isinstance(error.value.__cause__, ConfigError)


def test_says_of_a_net_of_ones_own_that_takes_whole_tables() -> None:
    class Whole(ByAutograd):
        def user_vectors(self, users: torch.Tensor | None = None) -> torch.Tensor:
            return (
                self.user_embedding.weight if users is None else self.user_embedding.weight[users]
            )

    steps = chunks(np.arange(3), np.arange(3), 2, 4)
    with pytest.raises(FitError, match="takes a whole table in a step"):
        trained(recipe_net(Whole), LazyAdam(**SETTINGS, weight_decay=0.0), steps, 4)


def test_is_suggested_where_tables_are_large_and_never_chosen(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lightning_module, "LARGE", 100)
    lightning_module._say_lazy.cache_clear()
    caplog.set_level(logging.INFO, "recsweep")

    def fit(name: str, size: int, *settings: str) -> list[str]:
        caplog.clear()
        model = build(name, *settings)
        model.trainer = build(name, f"trainer.batch_size={size}", "trainer.max_epochs=1").trainer
        model.fit(part(tastes()))
        return [message for message in caplog.messages if "lazy_adam" in message]

    assert fit("mf", 32, "optimizer=adam") == []  # a batch takes a tenth of the tables and more
    assert fit("lightgcn", 2, "optimizer=adam") == []
    assert fit("mf", 2, "optimizer=lazy_adam") == []
    assert fit("mf", 2, "optimizer=sgd") == []
    (said,) = fit("mf", 2, "optimizer=adam")
    assert said.startswith("optimizer=adam updates the rows of all 40 users and 30 items at each")
    assert fit("recipe_net", 2, "optimizer=adam") == []  # once for tables of a size
