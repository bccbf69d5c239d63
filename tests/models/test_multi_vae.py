"""Mult-VAE: against a plain dense module, its losses by hand, and what it does with a history."""

from typing import cast

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from recsweep.errors import ConfigError, DataError
from recsweep.models import multi_vae
from recsweep.models.base import EpochDecision, FitOptions, fit_many
from recsweep.models.multi_vae import MultiVAE
from recsweep.models.nets.autoencoder import VariationalAutoencoder

from .conftest import build, part, tastes

EVERYONE = np.arange(40)


def autoencoder(positives: csr_matrix, **settings: float) -> VariationalAutoencoder:
    sizes = {"hidden_dim": 8, "latent_dim": 3, "dropout": 0.0, "beta": 0.3, "anneal_steps": 0}
    generator = torch.Generator().manual_seed(0)
    return VariationalAutoencoder(
        positives.shape[1], **{**sizes, **settings}, positives=positives, generator=generator
    )


@pytest.fixture
def positives() -> csr_matrix:
    """Of users who have some."""
    return part(tastes()).positives[:39]


@pytest.mark.parametrize(("latent_dim", "expected"), [(200, 1_562_600), (64, 1_317_528)])
def test_has_the_published_number_of_parameters(latent_dim: int, expected: int) -> None:
    net = autoencoder(csr_matrix((1, 1000)), hidden_dim=600, latent_dim=latent_dim)
    assert sum(parameter.numel() for parameter in net.parameters()) == expected


class Plain(nn.Module):
    """The same in dense layers, without noise."""

    def __init__(self, net: VariationalAutoencoder) -> None:
        super().__init__()
        self.input = nn.Linear(*net.input.shape)
        self.input.load_state_dict({"weight": net.input.T, "bias": net.input_bias})
        self.latent, self.hidden, self.output = net.latent, net.hidden, net.output

    def forward(self, x: Tensor, beta: float) -> Tensor:
        hidden = torch.tanh(self.input(nn.functional.normalize(x, dim=1)))
        mean, log_variance = self.latent(hidden).split(self.hidden.in_features, dim=1)
        latent = torch.distributions.Normal(mean, (log_variance / 2).exp())
        prior = torch.distributions.Normal(0.0, 1.0)
        logits = self.output(torch.tanh(self.hidden(mean)))
        likelihood = (x * logits.log_softmax(dim=1)).sum(dim=1)
        return beta * torch.distributions.kl_divergence(latent, prior).sum(dim=1) - likelihood


def test_is_the_plain_module(positives: csr_matrix) -> None:
    net = autoencoder(positives).eval()
    for weight in net.parameters():
        nn.init.normal_(weight, std=0.5, generator=torch.Generator().manual_seed(1))
    plain = Plain(net)
    users = torch.tensor([4, 0, 38, 4])
    x = torch.from_numpy(positives[users.numpy()].toarray())
    ours, expected = net(users, users), plain(x, net.beta)
    torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-5)
    ours.sum().backward()
    gradients = {name: weight.grad for name, weight in net.named_parameters()}
    net.zero_grad()
    expected.sum().backward()
    torch.testing.assert_close(gradients["input"], plain.input.weight.grad.T, rtol=1e-5, atol=1e-5)
    for name in ("latent.weight", "hidden.bias", "output.weight"):
        torch.testing.assert_close(
            gradients[name], net.get_parameter(name).grad, rtol=1e-5, atol=1e-5
        )


def test_the_divergence_comes_in_over_the_first_steps(positives: csr_matrix) -> None:
    users = torch.arange(39)
    without = autoencoder(positives, beta=0.0)(users, users)
    annealed = autoencoder(positives, beta=0.4, anneal_steps=4)
    once = autoencoder(positives, beta=0.1)(users, users)
    torch.testing.assert_close(annealed(users, users), once)  # a quarter at the first step
    assert (once > without).all()


def test_a_step_draws_what_it_leaves_out_and_the_noise(positives: csr_matrix) -> None:
    users = torch.arange(39)
    net = autoencoder(positives, dropout=0.5)
    assert (net(users, users) != net(users, users)).all()
    again = autoencoder(positives, dropout=0.5)
    torch.testing.assert_close(
        net.train()(users, users), [again(users, users) for _ in range(3)][2], rtol=0, atol=0
    )
    net.eval()
    torch.testing.assert_close(net(users, users), net(users, users), rtol=0, atol=0)


def trained(*overrides: str) -> MultiVAE:
    sizes = ["model.hidden_dim=20", "model.latent_dim=5", "model.anneal_steps=10"]
    model = cast(MultiVAE, build("multi_vae", *sizes, "trainer.batch_size=8", *overrides))
    model.fit(part(tastes()), FitOptions(seed=1))
    return model


def test_a_user_is_his_history() -> None:
    model = trained()
    histories = part(tastes()).positives
    np.testing.assert_array_equal(model.score(EVERYONE), model.score_histories(histories))
    order = np.random.default_rng(0).permutation(40)
    np.testing.assert_allclose(
        model.score_histories(histories[order]), model.score(order), rtol=0, atol=1e-5
    )


def test_scores_are_expected_numbers_of_positives() -> None:
    scores = trained().score(np.arange(39))
    lengths = np.diff(part(tastes()).positives.indptr)[:39]
    np.testing.assert_allclose(np.exp(scores).sum(axis=1), lengths, rtol=1e-5)


def test_what_nobody_likes_says_nothing() -> None:
    model = trained()
    liked = csr_matrix(([1.0, 1.0], ([0, 0], [2, 4])), shape=(1, 30))
    with_unknown = csr_matrix(([1.0, 1.0, 1.0], ([0, 0, 0], [2, 4, 29])), shape=(1, 30))
    np.testing.assert_array_equal(model.score_histories(liked), model.score_histories(with_unknown))
    alone = csr_matrix(([1.0], ([0], [29])), shape=(1, 30))
    rates = tastes().mean(axis=0)
    np.testing.assert_allclose(model.score_histories(alone)[0], rates, rtol=1e-6)


def test_a_group_trains_each_member_as_alone() -> None:
    settings = [["model.latent_dim=3"], ["model.dropout=0.2", "optimizer.lr=0.01"]]
    alone, together = ([build("multi_vae", *each) for each in settings] for _ in range(2))
    assert len({model.group_key for model in together}) == 1
    train = part(tastes())
    fit_many(together, train, [FitOptions(seed=seed) for seed in (1, 2)])
    for seed, model, grouped in zip((1, 2), alone, together, strict=True):
        model.fit(train, FitOptions(seed=seed))
        np.testing.assert_array_equal(model.score(EVERYONE), grouped.score(EVERYONE))


def test_keeps_the_best_epoch() -> None:
    scores = {}

    def on_epoch(epoch: int, model: MultiVAE, train_loss: float) -> EpochDecision:
        scores[epoch] = model.score(EVERYONE)
        return EpochDecision(keep=epoch == 2)

    model = build("multi_vae", "trainer.max_epochs=4", "trainer.keep=best")
    assert model.fit(part(tastes()), FitOptions(on_epoch=on_epoch)).kept_epoch == 2
    np.testing.assert_array_equal(model.score(EVERYONE), scores[2])


def test_learns_two_tastes() -> None:
    model = trained("trainer.max_epochs=60", "optimizer.lr=0.01")
    scores = model.score_histories(csr_matrix(np.eye(30, dtype=np.float32)))[:29, :29]
    same_taste = np.arange(29)[:, None] % 2 == np.arange(29) % 2
    assert scores[same_taste].mean() > scores[~same_taste].mean() + 0.5


@pytest.mark.parametrize(
    "setting",
    [
        "model.hidden_dim=0",
        "model.latent_dim=x",
        "model.dropout=1",
        "model.beta=-1",
        "model.anneal_steps=-1",
        "model.trainer=3",
        "model.optimizer=adam",
    ],
)
def test_says_what_is_wrong_with_a_setting(setting: str) -> None:
    with pytest.raises(Exception, match=setting.split("=")[0]) as error:
        build("multi_vae", setting)
    assert isinstance(error.value.__cause__ or error.value, ConfigError)


def test_says_that_nothing_is_positive() -> None:
    with pytest.raises(DataError, match="multi_vae learns from users' positives"):
        build("multi_vae").fit(part(np.zeros((40, 30), np.uint8), np.ones((40, 30), bool)))


def test_refuses_what_memory_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    def needs(needed: int, what: str, remedy: str) -> None:
        asked.append(needed)

    asked: list[int] = []
    monkeypatch.setattr(multi_vae, "check_memory", needs)
    trained()
    # weights, gradients, two moments and the best epoch's copy; the outputs of 8 users, four times
    assert asked == [4 * (5 * (2 * 30 * 20 + 3 * 20 * 5) + 4 * 8 * 30)]
