"""Nets that learn an order from lists: the losses by hand, the penalty of rows, calibration, new
users and items."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import spearmanr

from recsweep.data.examples import Listwise, SampledNegatives
from recsweep.data.interactions import Part
from recsweep.errors import ConfigError, NotFittedError
from recsweep.losses import (
    BayesianPersonalizedRanking,
    BinaryCrossEntropy,
    Loss,
    MeanSquaredError,
    OfCells,
    SampledSoftmax,
)
from recsweep.models.base import EpochDecision, FitOptions, cell_scores, fit_many
from recsweep.models.calibration import calibrate
from recsweep.models.fit.flat import FlatWeights
from recsweep.models.fit.lightning_module import Member, take_steps
from recsweep.models.nets import RecipeNet, dots
from recsweep.models.neural import NeuralModel
from recsweep.models.optimizers import SGD
from recsweep.models.saved import load_model
from recsweep.run import plan as run_plan

from .conftest import _config, build, part, tastes

RANKING = ["bpr", "softmax"]
LISTS = ("examples=listwise", "examples.num_negatives=3")
EVERYONE = np.arange(40)
PAIRS = tuple(np.array(index) for index in zip(*product(range(40), range(30)), strict=True))


def ranker(loss: str, *overrides: str) -> NeuralModel:
    model = build("recipe_net", f"loss={loss}", *LISTS, "optimizer.lr=0.01", *overrides)
    assert isinstance(model, NeuralModel)
    return model


def lists(rows: int = 5, length: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    outputs = torch.randn(rows, length, generator=torch.Generator().manual_seed(0)).double()
    return outputs, torch.eye(1, length).expand(rows, -1).double()


def test_bpr_by_hand() -> None:
    outputs, targets = lists()
    rows = outputs.numpy()
    expected = np.mean([np.log1p(np.exp(row[j] - row[0])) for row in rows for j in (1, 2, 3)])
    loss = BayesianPersonalizedRanking(l2_rows=0.5)
    assert float(loss(outputs, targets)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 0.2])
def test_softmax_by_hand(temperature: float) -> None:
    outputs, targets = lists()
    rows = outputs.numpy() / temperature
    expected = np.mean([logsumexp(row) - row[0] for row in rows])
    loss = SampledSoftmax(temperature=temperature, l2_rows=0.0)
    assert float(loss(outputs, targets)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("loss", [MeanSquaredError(), BinaryCrossEntropy(positive_weight=2.0)])
def test_losses_of_cells_take_lists_as_their_cells(loss: OfCells) -> None:
    outputs, targets = lists()
    cells = loss(outputs.flatten(), targets.flatten())
    torch.testing.assert_close(loss(outputs, targets), cells)


def test_which_losses_rank() -> None:
    ranking = [
        BayesianPersonalizedRanking(l2_rows=0.0),
        SampledSoftmax(temperature=1.0, l2_rows=0.0),
    ]
    assert all(loss.ranks and not isinstance(loss, OfCells) for loss in ranking)
    cells = [MeanSquaredError(), BinaryCrossEntropy(positive_weight=1.0)]
    assert all(isinstance(loss, OfCells) and not (loss.ranks or loss.l2_rows) for loss in cells)


def stepped(loss: Loss, net: RecipeNet, *batch: torch.Tensor) -> float:
    member = Member(
        net,
        loss,
        SGD(lr=1.0, momentum=0.0, weight_decay=0.0),
        max_epochs=1,
        batch_size=8,
        keep_best=False,
        patience=None,
        on_epoch=lambda epoch, train_loss: EpochDecision(),
    )
    flat = FlatWeights(net)
    return take_steps(member, flat, member.optimizer.build([flat.values]), batch)


def test_l2_pulls_the_rows_of_a_batch_alone_once_for_each_time_they_stand_in_it() -> None:
    nets = [
        RecipeNet(
            6, 9, user_dim=3, item_dim=5, hidden_dim=4, generator=torch.Generator().manual_seed(0)
        ).double()
        for _ in range(2)
    ]
    before = {name: value.clone() for name, value in nets[0].state_dict().items()}
    users, items = torch.tensor([1, 1, 4]), torch.tensor([[0, 2, 2], [5, 0, 2], [7, 8, 0]])
    targets = torch.eye(1, 3).expand(3, -1)
    losses = [
        stepped(BayesianPersonalizedRanking(l2_rows=l2), net, users, items, targets)
        for l2, net in zip((0.0, 0.3), nets, strict=True)
    ]
    assert losses[0] == losses[1]  # what is told is the loss alone
    plain, pulled = (net.state_dict() for net in nets)
    counts = {
        "user_embedding.weight": torch.bincount(users, minlength=6),
        "item_embedding.weight": torch.bincount(items.flatten(), minlength=9),
    }
    for name, value in before.items():
        pull = 0.3 / 3 * counts[name][:, None] * value if name in counts else 0.0 * value
        torch.testing.assert_close(plain[name] - pulled[name], pull, msg=name)


@pytest.mark.parametrize("loss", RANKING)
@pytest.mark.parametrize("examples", ["all_cells", "sampled"])
def test_a_loss_that_ranks_needs_lists(loss: str, examples: str) -> None:
    cfg = _config(f"loss={loss}", f"examples={examples}")
    with pytest.raises(ConfigError, match=f"loss={loss} sets .* Take examples=listwise with it"):
        run_plan.plan(cfg)


@pytest.mark.parametrize(
    "setting",
    ["loss=bpr loss.l2_rows=-1", "loss=softmax loss.temperature=0", "trainer.evaluate_every=0"],
)
def test_refuses_impossible_settings_by_name(setting: str) -> None:
    with pytest.raises(ConfigError, match=setting.split()[-1].partition("=")[0]):
        run_plan.plan(_config("examples=listwise", *setting.split()))


@pytest.mark.parametrize("loss", [*RANKING, "mse", "bce"])
def test_learns_the_tastes_from_lists(loss: str, train: Part) -> None:
    model = ranker(loss, "trainer.max_epochs=15")
    fit = model.fit(train, FitOptions(seed=1))
    assert fit.train_losses[-1] < fit.train_losses[0]
    scores = model.score(EVERYONE[:-1])[:, :-1]
    same = np.arange(39)[:, None] % 2 == np.arange(29) % 2
    assert np.mean(scores[same]) > np.mean(scores[~same]) + scores.std() / 2


@pytest.mark.parametrize("loss", RANKING)
def test_probabilities_are_calibrated_and_keep_the_order(loss: str, train: Part) -> None:
    told: list[float] = []

    def on_epoch(epoch: int, model: NeuralModel, train_loss: float) -> EpochDecision:
        assert model.calibration is None  # until it is asked for
        told.append(float(model.predict(*PAIRS).mean()))
        assert model.calibration == calibrate(model, train, options)
        return EpochDecision(keep=epoch == 1)

    model, options = ranker(loss, "trainer.max_epochs=3"), FitOptions(seed=1, on_epoch=on_epoch)
    assert model.details == ""
    model.fit(train, options)
    probabilities, scores = model.predict(*PAIRS), cell_scores(model, *PAIRS)
    assert model.details == str(model.calibration)
    assert model.calibration == calibrate(model, train, options)  # of the weights that are kept
    assert told[0] == pytest.approx(float(probabilities.mean()))
    assert len(set(told)) == 3
    assert spearmanr(probabilities, scores).statistic == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(scores, model.score(EVERYONE).ravel(), atol=1e-5)
    known = (train.users, train.items) if train.enumerates_cells else PAIRS
    share = tastes()[known].mean()
    assert model.predict(*known).mean() == pytest.approx(share, abs=0.03)


def test_members_of_a_group_are_calibrated_each_by_itself(train: Part) -> None:
    settings = [("bpr", FitOptions(seed=1)), ("mse", FitOptions(seed=1)), ("softmax", FitOptions())]
    alone, together = ([ranker(loss) for loss, _ in settings] for _ in range(2))
    fit_many(together, train, [options for _, options in settings])
    for model, grouped, (loss, options) in zip(alone, together, settings, strict=True):
        model.fit(train, options)
        assert grouped.calibration == model.calibration
        assert (model.calibration is None) == (loss == "mse")


@pytest.mark.parametrize("loss", RANKING)
def test_a_saved_ranker_answers_alike(loss: str, tmp_path: Path) -> None:
    model = ranker(loss, "loss.l2_rows=0.01")
    with pytest.raises(NotFittedError):
        model.score_cells(*PAIRS)
    model.fit(part(tastes()))
    model.save(tmp_path)
    loaded = load_model(tmp_path)
    assert (loaded.loss, loaded.calibration) == (model.loss, model.calibration)
    np.testing.assert_array_equal(loaded.predict(*PAIRS), model.predict(*PAIRS))
    histories = model._known.positives
    np.testing.assert_array_equal(
        loaded.score_histories(histories), model.score_histories(histories)
    )


@pytest.mark.parametrize("side", ["users", "items"])
@pytest.mark.parametrize("loss", RANKING)
def test_row_steps_find_new_rows_by_the_calibrated_loss(loss: str, side: str) -> None:
    """A new item is placed among the others, too, which no list of its own users tells."""
    model = ranker(loss, "trainer.max_epochs=15", "fold_in.num_zeros=30", "fold_in.map_l2=0.1")
    model.fit(part(tastes()), FitOptions(seed=1))
    positives, own = model._known.positives, model.score(EVERYONE)
    folded = model.score_histories(positives)
    if side == "items":
        folded = model.score_new_items(positives.T.tocsr()).T
    correlations = [
        spearmanr(*pair).statistic for pair in zip(own[:-1, :-1], folded[:-1, :-1], strict=True)
    ]
    assert np.median(correlations) > 0.8


def test_examples_need_not_be_lists_for_losses_of_cells() -> None:
    for kind in ("listwise", "sampled"):
        examples = build("recipe_net", f"examples={kind}").examples
        assert isinstance(examples, Listwise if kind == "listwise" else SampledNegatives)


def evaluated(every: int, **trainer: object) -> tuple[list[int], object]:
    epochs = []

    def on_epoch(epoch: int, *_: object) -> EpochDecision:
        epochs.append(epoch)
        return EpochDecision(keep=epoch == every)

    settings = [f"trainer.{name}={value}" for name, value in trainer.items()]
    model = build("recipe_net", f"trainer.evaluate_every={every}", *settings)
    return epochs, model.fit(part(tastes()), FitOptions(on_epoch=on_epoch))


def test_evaluates_every_so_many_epochs_and_the_last() -> None:
    epochs, fit = evaluated(3, max_epochs=7)
    assert epochs == [3, 6, 7]
    assert (fit.epochs, len(fit.train_losses), fit.kept_epoch) == (7, 7, 3)


def test_patience_counts_epochs_and_ends_at_an_evaluation() -> None:
    epochs, fit = evaluated(3, max_epochs=20, patience=4)
    assert epochs == [3, 6, 9]
    assert (fit.epochs, fit.kept_epoch, fit.stopped) == (9, 3, "no better epoch in 4")


def test_products_of_lists_are_autograds() -> None:
    generator = torch.Generator().manual_seed(0)
    users = torch.randn(5, 3, generator=generator).double().requires_grad_()
    items = torch.randn(5, 4, 3, generator=generator).double().requires_grad_()
    torch.testing.assert_close(dots(users, items), (users[:, None] * items).sum(dim=2))
    assert torch.autograd.gradcheck(dots, (users, items))
