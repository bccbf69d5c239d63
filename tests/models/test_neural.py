"""The recipe net and how it is trained: against an independent implementation, by hand, alone and
in groups."""

import json
import math
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import recsweep as rs
from recsweep.data.examples import AllCells, Examples, SampledNegatives
from recsweep.errors import ConfigError, FitError, RecsweepError
from recsweep.losses import BinaryCrossEntropy, MeanSquaredError
from recsweep.models.base import EpochDecision, FitOptions, fit_many
from recsweep.models.fit.datamodule import EpochBatches, ExamplesDataModule, order_of
from recsweep.models.fit.flat import FlatWeights
from recsweep.models.fit.lightning_module import Member, take_steps
from recsweep.models.nets import Net, RecipeNet
from recsweep.models.optimizers import SGD, Adam
from recsweep.models.saved import NAMES_BEFORE_3, load_model, own_class
from recsweep.run import plan as run_plan

from .conftest import build, part, tastes

EVERYONE = np.arange(40)
REFERENCE = Path(
    os.environ.get("RECSWEEP_REFERENCE") or Path(__file__).parents[3] / "shared" / "reference"
)
LOSSES = {"mse": MeanSquaredError(), "bce": BinaryCrossEntropy(positive_weight=1.0)}
OPTIMIZERS = {
    "sgd": SGD(lr=1e-2, momentum=0.0, weight_decay=0.0),
    "adam": Adam(lr=1e-3, betas=(0.9, 0.999), eps=1e-7, weight_decay=0.0),
}


def member(net: RecipeNet, loss: object, optimizer: object, batch_size: int) -> Member:
    return Member(
        net,
        loss,
        optimizer,
        max_epochs=1,
        batch_size=batch_size,
        keep_best=False,
        patience=None,
        on_epoch=lambda epoch, train_loss: EpochDecision(),
    )


def test_has_the_original_number_of_parameters() -> None:
    net = RecipeNet(1000, 1000, user_dim=15, item_dim=25, hidden_dim=128)
    assert sum(parameter.numel() for parameter in net.parameters()) == 45_377


def test_starts_as_keras_does() -> None:
    net = RecipeNet(
        3000,
        2000,
        user_dim=15,
        item_dim=25,
        hidden_dim=128,
        generator=torch.Generator().manual_seed(0),
    )
    for weight, bound in (
        (net.user_embedding.weight, 0.05),
        (net.item_embedding.weight, 0.05),
        (net.hidden.weight, math.sqrt(6 / (40 + 128))),
        (net.output.weight, math.sqrt(6 / (128 + 1))),
    ):
        assert 0.97 * bound < weight.abs().max() <= bound
        assert weight.std().item() == pytest.approx(
            bound / math.sqrt(3), rel=0.1
        )  # that of a uniform distribution
    assert not net.hidden.bias.any()
    assert not net.output.bias.any()


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_follows_keras_step_by_step(loss: str, optimizer: str) -> None:
    path = REFERENCE / f"keras_{loss}_{optimizer}.npz"
    if not path.exists():
        pytest.skip(
            f"the reference {path.name} is not in {REFERENCE}; set RECSWEEP_REFERENCE to its folder"
        )
    reference = np.load(path)

    def weights(when: str) -> dict[str, torch.Tensor]:
        names = {
            "user_embedding.weight": "user_embedding",
            "item_embedding.weight": "item_embedding",
            "hidden.weight": "hidden_kernel",
            "hidden.bias": "hidden_bias",
            "output.weight": "output_kernel",
            "output.bias": "output_bias",
        }
        arrays = {ours: reference[f"{when}_{theirs}"] for ours, theirs in names.items()}
        # Keras' kernels are (input, output), torch's (output, input)
        return {
            name: torch.from_numpy(
                np.array(array.T if name in ("hidden.weight", "output.weight") else array)
            )
            for name, array in arrays.items()
        }

    net = RecipeNet(40, 30, user_dim=3, item_dim=5, hidden_dim=8)
    net.load_state_dict(weights("initial"))
    trained = member(net, LOSSES[loss], OPTIMIZERS[optimizer], batch_size=16)
    flat = FlatWeights(net)
    steps = trained.optimizer.build([flat.values])
    batches = [
        tuple(torch.from_numpy(reference[name][step]) for name in ("users", "items", "targets"))
        for step in range(60)
    ]
    losses = [take_steps(trained, flat, steps, batch) for batch in batches]
    exact = (
        optimizer == "sgd"
    )  # Keras adds Adam's epsilon before the bias correction, torch after it
    np.testing.assert_allclose(
        losses, reference["loss_before_step"], rtol=0, atol=1e-6 if exact else 1e-3
    )
    for name, expected in weights("final").items():
        np.testing.assert_allclose(
            net.state_dict()[name], expected, rtol=0, atol=1e-6 if exact else 1e-2
        )
    with torch.no_grad():
        predicted = (
            LOSSES[loss].probability(net(*batches[0][:2]))
            if loss == "bce"
            else net(*batches[0][:2])
        )
    np.testing.assert_allclose(
        predicted, reference["final_prediction_first_batch"], atol=1e-6 if exact else 1e-2
    )


def test_one_step_by_hand() -> None:
    """user 2 and item 3 -> hidden relu(1*2 + 2*3 + 1) = 9 -> output 0.5*9 - 1 = 3.5; target 1, lr
    0.1, one example."""
    net = RecipeNet(1, 1, user_dim=1, item_dim=1, hidden_dim=1)
    net.load_state_dict(
        {
            "user_embedding.weight": torch.tensor([[2.0]]),
            "item_embedding.weight": torch.tensor([[3.0]]),
            "hidden.weight": torch.tensor([[1.0, 2.0]]),
            "hidden.bias": torch.tensor([1.0]),
            "output.weight": torch.tensor([[0.5]]),
            "output.bias": torch.tensor([-1.0]),
        }
    )
    trained = member(net, LOSSES["mse"], SGD(lr=0.1, momentum=0.0, weight_decay=0.0), batch_size=1)
    zero = torch.zeros(1, dtype=torch.int32)
    flat = FlatWeights(net)
    steps = trained.optimizer.build([flat.values])
    loss = take_steps(trained, flat, steps, (zero, zero, torch.ones(1)))
    assert loss == pytest.approx(2.5**2)
    # d loss / d output = 2 * 2.5 = 5; the hidden unit is on, so its gradient is 5 * 0.5 = 2.5
    expected = {
        "output.bias": -1 - 0.5,
        "output.weight": 0.5 - 0.5 * 9,
        "hidden.bias": 1 - 0.25,
        "user_embedding.weight": 2 - 0.25 * 1,
        "item_embedding.weight": 3 - 0.25 * 2,
    }
    for name, value in expected.items():
        assert net.state_dict()[name].item() == pytest.approx(value), name
    torch.testing.assert_close(net.hidden.weight.data, torch.tensor([[1 - 0.25 * 2, 2 - 0.25 * 3]]))


def test_a_chunk_is_its_batches_in_turn() -> None:
    nets = [
        RecipeNet(
            40, 30, user_dim=3, item_dim=5, hidden_dim=8, generator=torch.Generator().manual_seed(0)
        )
        for _ in range(2)
    ]
    chunk, apart = (member(net, LOSSES["bce"], OPTIMIZERS["adam"], batch_size=16) for net in nets)
    rng = torch.Generator().manual_seed(1)
    users, items = torch.randint(40, (70,), generator=rng), torch.randint(30, (70,), generator=rng)
    targets = torch.randint(2, (70,), generator=rng).float()
    flats = [FlatWeights(net) for net in nets]
    optimizers = [chunk.optimizer.build([flat.values]) for flat in flats]
    mean = take_steps(chunk, flats[0], optimizers[0], (users, items, targets))
    sums = [
        take_steps(apart, flats[1], optimizers[1], batch) * len(batch[0])
        for batch in zip(users.split(16), items.split(16), targets.split(16), strict=True)
    ]
    assert mean == pytest.approx(float(sum(sums)) / 70)
    for ours, theirs in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_scores_all_items_as_it_scores_pairs() -> None:
    net = RecipeNet(
        7, 2100, user_dim=3, item_dim=5, hidden_dim=16
    )  # more items than are scored at once
    torch.nn.init.normal_(net.hidden.bias)
    torch.nn.init.normal_(net.output.bias)
    with torch.no_grad():
        scores = net.score_items(net.user_embedding.weight)
        for user in range(7):
            pairs = net(torch.full((2100,), user), torch.arange(2100))
            torch.testing.assert_close(scores[user], pairs, rtol=0, atol=1e-6)


def test_scores_pairs_of_vectors_with_the_gradients_of_its_head() -> None:
    net = RecipeNet(7, 9, user_dim=3, item_dim=5, hidden_dim=16).double()
    torch.nn.init.normal_(net.hidden.bias)
    torch.nn.init.normal_(net.output.bias)
    parameters = list(net.parameters())
    weights = torch.rand(7, 9, dtype=torch.float64)
    users, items = net.user_embedding.weight, net.item_embedding.weight
    by_pair = net(torch.arange(7).repeat_interleave(9), torch.arange(9).repeat(7)).view(7, 9)
    together = net.pairwise(users, items)
    torch.testing.assert_close(together, by_pair)
    gradients = (
        torch.autograd.grad((weights * outputs).sum(), parameters)
        for outputs in (together, by_pair)
    )
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)
    with torch.no_grad():
        torch.testing.assert_close(net.score_items(users[:2], items[3:]), by_pair[:2, 3:])


def test_its_own_ways_to_score_are_those_of_any_net(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsweep.models.nets.PAIRS_AT_ONCE", 30)  # some users at once
    net = RecipeNet(7, 9, user_dim=3, item_dim=5, hidden_dim=16)
    torch.nn.init.normal_(net.output.bias)
    users, items = net.user_embedding.weight, net.item_embedding.weight
    torch.testing.assert_close(net.pairwise(users, items), Net.pairwise(net, users, items))
    torch.testing.assert_close(net.score_items(users), Net.score_items(net, users))
    torch.testing.assert_close(
        net.score_items(users[:0], items[:4]), Net.score_items(net, users[:0], items[:4])
    )


class _Epoch:
    current_epoch = 4


def test_an_epoch_shows_each_example_once_and_in_an_order_of_its_own() -> None:
    train = part(tastes(), np.ones((40, 30), bool))
    data = ExamplesDataModule(train, AllCells(max_cells=10_000), batch_size=7, seeds=[0, 1])
    chunks = list(EpochBatches(data, _Epoch()))
    assert len(chunks) == len(EpochBatches(data, _Epoch())) == math.ceil(1200 / (64 * 7))
    orders = []
    for place in range(2):
        users, items, targets = (
            torch.cat([chunk[place][array] for chunk in chunks]).numpy() for array in range(3)
        )
        np.testing.assert_array_equal(np.sort(users * 30 + items), np.arange(1200))
        np.testing.assert_array_equal(targets, tastes()[users, items])
        orders.append(users * 30 + items)
    assert (orders[0] != orders[1]).any()
    assert (order_of(50, seed=0, epoch=1) != order_of(50, seed=0, epoch=2)).any()
    torch.testing.assert_close(order_of(50, seed=0, epoch=1), order_of(50, seed=0, epoch=1))


@pytest.mark.parametrize("at_once", [25_000_000, 500])
@pytest.mark.parametrize("batch_size", [2, 5, 1200])
@pytest.mark.parametrize(
    "examples", [AllCells(max_cells=10_000), SampledNegatives(num_negatives=3)], ids=["all", "some"]
)
def test_an_epoch_in_blocks_shows_each_example_once_in_full_chunks(
    examples: Examples, batch_size: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("data.examples", "models.fit.datamodule"):
        monkeypatch.setattr(f"recsweep.{module}.EXAMPLES_AT_ONCE", at_once)
    data = ExamplesDataModule(part(tastes()), examples, batch_size, seeds=[0, 1])
    epochs = [list(EpochBatches(data, _Epoch())) for _ in range(2)]
    number = examples.num_examples(data.train)
    size = min(64 * batch_size, number)
    assert len(epochs[0]) == len(EpochBatches(data, _Epoch())) == math.ceil(number / size)
    for place, seed in enumerate(data.seeds):
        drawn = list(examples.draw(data.train, np.random.default_rng([seed, 1, 4])))
        assert (len(drawn) > 1) == (at_once == 500)
        orders = [order_of(len(block[0]), seed, 4, place) for place, block in enumerate(drawn)]
        for array in range(3):
            chunks = [chunk[place][array] for chunk in epochs[0]]
            assert all(len(chunk) == size for chunk in chunks[:-1])
            expected = [block[array][order] for block, order in zip(drawn, orders, strict=True)]
            np.testing.assert_array_equal(torch.cat(chunks), np.concatenate(expected))
            again = torch.cat([chunk[place][array] for chunk in epochs[1]])
            torch.testing.assert_close(torch.cat(chunks), again)


@pytest.mark.parametrize("examples", ["all_cells", "sampled"])
def test_a_group_trains_each_member_as_alone(examples: str) -> None:
    train = part(tastes())
    settings = [
        ["model.user_dim=3", "loss=mse"],
        ["model.user_dim=5", "loss=bce", "optimizer=sgd"],
        ["model.hidden_dim=16", "trainer.max_epochs=4", "trainer.keep=last"],
    ]
    settings = [[*each, f"examples={examples}"] for each in settings]
    alone, together = ([build("recipe_net", *each) for each in settings] for _ in range(2))
    assert len({model.group_key for model in together}) == 1
    options = [FitOptions(seed=seed) for seed in (1, 2, 2)]
    fits = fit_many(together, train, options)
    for model, option, grouped, fit in zip(alone, options, together, fits, strict=True):
        by_itself = model.fit(train, option)
        assert by_itself.train_losses == fit.train_losses
        np.testing.assert_array_equal(model.score(EVERYONE), grouped.score(EVERYONE))
    assert [fit.epochs for fit in fits] == [2, 2, 4]


def test_one_member_stops_and_its_neighbours_go_on() -> None:
    train = part(tastes())
    models = [build("recipe_net", "trainer.max_epochs=4") for _ in range(2)]
    stop_at_2 = FitOptions(
        on_epoch=lambda epoch, *_: EpochDecision(stop="pruned" if epoch == 2 else None)
    )
    fits = fit_many(models, train, [stop_at_2, FitOptions()])
    assert [(fit.epochs, fit.stopped) for fit in fits] == [(2, "pruned"), (4, None)]


def test_a_member_that_diverges_says_when_and_leaves_its_neighbours() -> None:
    train = part(tastes())
    good, bad = build("recipe_net"), build("recipe_net", "optimizer=sgd", "optimizer.lr=1e6")
    fits = fit_many([good, bad], train, [FitOptions(), FitOptions()])
    assert fits[0].error is None
    assert isinstance(fits[1].error, FitError)
    assert "in epoch 1" in str(fits[1].error)
    assert "optimizer.lr (now 1e+06)" in str(fits[1].error)
    with pytest.raises(FitError, match=r"training loss became (nan|inf) in epoch"):
        build("recipe_net", "optimizer=sgd", "optimizer.lr=1e6").fit(train)


def test_a_late_divergence_names_the_last_value() -> None:
    def spoil(epoch: int, model: object, train_loss: float) -> EpochDecision:
        with torch.no_grad():
            model._net.output.bias.fill_(float("nan"))
        return EpochDecision()

    with pytest.raises(FitError, match=r"became nan in epoch 2, after a last value of 0\.\d+"):
        build("recipe_net").fit(part(tastes()), FitOptions(on_epoch=spoil))


@pytest.mark.parametrize(("keep", "kept_epoch"), [("best", 2), ("last", 5)])
def test_keeps_the_weights_that_were_asked_for(keep: str, kept_epoch: int) -> None:
    scores = {}

    def on_epoch(epoch: int, model: object, train_loss: float) -> EpochDecision:
        scores[epoch] = model.score(EVERYONE)
        return EpochDecision(keep=epoch == 2)

    model = build("recipe_net", "trainer.max_epochs=5", f"trainer.keep={keep}")
    fit = model.fit(part(tastes()), FitOptions(on_epoch=on_epoch))
    assert fit.kept_epoch == kept_epoch
    np.testing.assert_array_equal(model.score(EVERYONE), scores[kept_epoch])


def test_patience_stops_after_epochs_without_a_better_one() -> None:
    model = build("recipe_net", "trainer.max_epochs=9", "trainer.patience=2")
    fit = model.fit(
        part(tastes()), FitOptions(on_epoch=lambda epoch, *_: EpochDecision(keep=epoch in (1, 3)))
    )
    assert (fit.epochs, fit.kept_epoch, fit.stopped) == (5, 3, "no better epoch in 2")


def test_an_interrupt_reaches_whoever_started_the_fit() -> None:
    def interrupt(*_: object) -> EpochDecision:
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        build("recipe_net").fit(part(tastes()), FitOptions(on_epoch=interrupt))
    assert signal.getsignal(signal.SIGINT) is before


def test_an_accelerator_that_is_not_there_is_said_in_words() -> None:
    missing = "mps" if torch.cuda.is_available() or not torch.backends.mps.is_available() else "gpu"
    with pytest.raises(ConfigError, match=f"trainer.accelerator={missing} can't be used"):
        build("recipe_net", f"trainer.accelerator={missing}").fit(part(tastes()))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_a_device_that_is_not_there_is_said_in_words() -> None:
    with pytest.raises(ConfigError, match=r"trainer.accelerator=auto with trainer.devices=\[3\]"):
        build("recipe_net", "trainer.devices=[3]").fit(part(tastes()))


@pytest.mark.parametrize(
    "several", [{"devices": 2}, {"devices": "auto"}, {"devices": [0, 1]}, {"strategy": "ddp"}]
)
def test_several_devices_are_refused_of_an_api_too(several: dict) -> None:
    (name,) = several
    with pytest.raises(ConfigError, match=f"trainer.{name} must be .*one net trains on one device"):
        rs.model("recipe_net", trainer=several)
    with pytest.raises(ConfigError, match="one net trains on one device"):
        replace(build("recipe_net").trainer, **several)


def test_a_task_of_slurm_trains_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning would take it for a part of one training, and refuse."""
    variables = {"NTASKS": 4, "JOB_NAME": "x", "JOB_ID": 5, "PROCID": 1, "LOCALID": 1, "NODEID": 0}
    for name, value in variables.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    assert build("recipe_net").fit(part(tastes())).epochs >= 1


def test_puts_the_threads_back() -> None:
    before = torch.get_num_threads()
    inside = []
    torch.set_num_threads(2)
    try:
        build("recipe_net").fit(
            part(tastes()),
            FitOptions(
                on_epoch=lambda *_: inside.append(torch.get_num_threads()) or EpochDecision()
            ),
        )
        assert (inside, torch.get_num_threads()) == ([1, 1], 2)
    finally:
        torch.set_num_threads(before)


def test_mse_outputs_are_clipped_and_bce_outputs_are_logits() -> None:
    outputs = torch.tensor([-0.5, 0.25, 3.0])
    torch.testing.assert_close(LOSSES["mse"].probability(outputs), torch.tensor([0.0, 0.25, 1.0]))
    torch.testing.assert_close(
        LOSSES["bce"].probability(torch.tensor([0.0, 1.0])),
        torch.tensor([0.5, 1 / (1 + math.exp(-1))]),
    )


def test_losses_by_hand() -> None:
    outputs, targets = torch.tensor([0.0, 2.0]), torch.tensor([1.0, 0.0])
    assert LOSSES["mse"](outputs, targets).item() == pytest.approx((1 + 4) / 2)
    expected = (math.log(2), math.log(1 + math.exp(2)))
    assert LOSSES["bce"](outputs, targets).item() == pytest.approx(sum(expected) / 2)
    weighted = BinaryCrossEntropy(positive_weight=3.0)(outputs, targets).item()
    assert weighted == pytest.approx((3 * expected[0] + expected[1]) / 2)


@pytest.mark.parametrize(
    "setting",
    [
        "model.user_dim=0",
        "model.hidden_dim=-1",
        "model.item_dim=2.5",
        "optimizer.lr=0",
        "optimizer.betas=[1,0]",
        "trainer.max_epochs=0",
        "trainer.keep=first",
        "trainer.patience=0",
        "trainer.batch_size=x",
        "trainer.threads=0",
    ],
)
def test_refuses_impossible_settings_by_name(setting: str) -> None:

    from .conftest import _config

    with pytest.raises(ConfigError, match=setting.partition("=")[0]):
        run_plan.plan(_config(setting))


@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_a_model_of_an_earlier_format_is_the_same_model(loss: str, tmp_path: Path) -> None:
    model = build("recipe_net", f"loss={loss}", "fold_in=neighbor_scores")
    model.fit(part(tastes()))
    model.save(tmp_path)
    header = json.loads((tmp_path / "model.json").read_text())
    now = header["settings"]
    settings = {
        "name": "recipe_net",
        "net": "RecipeNet",
        "dims": now["net_settings"],
        "num_users": 40,
        "num_items": 30,
        "loss": {**now["loss"], "name": loss},
        "fold_in": {**now["fold_in"], "kind": "neighbor_scores"},
    }
    del settings["loss"]["_target_"], settings["fold_in"]["_target_"]
    (tmp_path / "model.json").write_text(
        json.dumps({**header, "format_version": 2, "settings": settings})
    )
    loaded = load_model(tmp_path)
    assert (loaded.loss, loaded.fold_in, loaded.net_settings) == (
        model.loss,
        model.fold_in,
        model.net_settings,
    )
    np.testing.assert_array_equal(loaded.score(EVERYONE), model.score(EVERYONE))
    np.testing.assert_array_equal(
        loaded.score_histories(model._known.positives),
        model.score_histories(model._known.positives),
    )


@pytest.mark.parametrize("name", NAMES_BEFORE_3)
def test_a_name_of_an_earlier_format_is_a_class(name: str) -> None:
    assert own_class(NAMES_BEFORE_3[name]).__name__ == NAMES_BEFORE_3[name].rpartition(".")[2]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"net": "os.system"}, "'os.system' must be a class in recsweep.models or recsweep.losses"),
        ({"net": "recsweep.models.nets.Nothing"}, "has none of that name"),
        ({"net": "recsweep.models.ease.EASE"}, "must be a subclass of recsweep.models.nets.Net"),
        (
            {"net_settings": {"user_dim": 2, "depth": 1}},
            r"model\.net_settings must be those that .*RecipeNet takes",
        ),
    ],
)
def test_says_what_is_wrong_with_the_name_or_the_settings_of_a_net(
    settings: dict[str, object], words: str
) -> None:
    model = build("recipe_net")
    vars(model).update(settings)
    with pytest.raises(RecsweepError, match=words):
        model.fit(part(tastes()))


def test_a_loaded_model_can_not_be_trained_again(tmp_path: Path) -> None:
    model = build("recipe_net")
    model.fit(part(tastes()))
    model.save(tmp_path)
    loaded = load_model(tmp_path)
    assert loaded.max_epochs is None
    with pytest.raises(ConfigError, match="build it from its config"):
        loaded.fit(part(tastes()))
