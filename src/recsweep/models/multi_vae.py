"""Mult-VAE: a user's history through a bottleneck and back. The one deep model that keeps nothing
of its own for a user, so that any history is one."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from recsweep.checks import check_integer, check_number, check_part
from recsweep.data.examples import Block
from recsweep.data.interactions import Part
from recsweep.errors import DataError
from recsweep.memory import check_memory
from recsweep.models.base import EpochDecision, FitOptions
from recsweep.models.calibration import cell_probabilities, saved_calibration
from recsweep.models.neural import TrainedModel, TrainerOptions
from recsweep.models.optimizers import OptimizerSpec, check_takes_rows
from recsweep.models.popularity import positive_rates
from recsweep.models.saved import save_model, sparse_arrays, sparse_matrix

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from torch import Tensor

    from recsweep.models.fit.lightning_module import Member
    from recsweep.models.nets.autoencoder import VariationalAutoencoder


@dataclass(frozen=True)
class _Users:
    """Each user with a training positive once an epoch: his positives are what is learnt from."""

    redrawn: ClassVar[bool] = False
    lists: ClassVar[bool] = False

    def num_examples(self, train: Part) -> int:
        """Raises DataError where nobody has a positive."""
        if not train.num_positives:
            raise DataError(
                "multi_vae learns from users' positives, and the training part has none. Lower "
                "data.positive_rating, or take another split."
            )
        return int(np.count_nonzero(np.diff(train.positives.indptr)))

    def draw(self, train: Part, rng: np.random.Generator) -> Iterator[Block]:
        """One block, by user; items and targets say nothing."""
        users = np.flatnonzero(np.diff(train.positives.indptr)).astype(np.int32)
        yield users, np.zeros_like(users), np.ones(len(users), dtype=np.float32)


@dataclass(frozen=True)
class _Mean:
    """The mean of what the module itself says is to be minimised."""

    name: ClassVar[str] = "elbo"
    details: ClassVar[str] = ""
    ranks: ClassVar[bool] = True
    l2_rows: ClassVar[float] = 0.0

    def __call__(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        return outputs.mean()


@dataclass(frozen=True, eq=False)
class _Known:
    """What a model was trained on that it needs to answer: the histories of its users (num_users,
    num_items), and each item's share of positives."""

    positives: "csr_matrix"
    item_rates: np.ndarray


class MultiVAE(TrainedModel["VariationalAutoencoder"]):
    """A variational autoencoder with a multinomial likelihood (D. Liang, R. Krishnan, M. Hoffman
    and T. Jebara, "Variational autoencoders for collaborative filtering", WWW 2018).

    Its examples are users, and `trainer.batch_size` counts them. The scores are log-probabilities
    of the next item of a history, and more than the paper's by the log of its length: of a user
    with twice the positives each item is twice as likely one of them. A user without a known
    positive is given each item's share of positives.

    Args:
        hidden_dim: Width of the layer on either side of the latent vector.
        latent_dim: Length of the latent vector.
        dropout: Share of a history's entries that a training step leaves out.
        beta: Weight of the KL divergence in the end; 1 is the bound itself.
        anneal_steps: Training steps over which that weight rises linearly from 0.
        optimizer: The optimizer that updates the weights.
        trainer: Epochs, batches of users, which weights to keep.
    """

    kind = "multi_vae"

    def __init__(
        self,
        *,
        hidden_dim: int,
        latent_dim: int,
        dropout: float,
        beta: float,
        anneal_steps: int,
        optimizer: OptimizerSpec | None,
        trainer: TrainerOptions | None,
    ) -> None:
        check_integer("model.hidden_dim", hidden_dim, minimum=1)
        check_integer("model.latent_dim", latent_dim, minimum=1)
        check_number("model.dropout", dropout, minimum=0, below=1)
        check_number("model.beta", beta, minimum=0)
        check_integer("model.anneal_steps", anneal_steps, minimum=0)
        if optimizer is not None or trainer is not None:  # a loaded one has neither
            check_part("model.optimizer", optimizer)
            check_takes_rows(
                cast(OptimizerSpec, optimizer), "a step of multi_vae moves the weights of all items"
            )
            check_part("model.trainer", trainer)
        self.hidden_dim, self.latent_dim = hidden_dim, latent_dim
        self.dropout, self.beta, self.anneal_steps = dropout, beta, anneal_steps
        self.optimizer = optimizer
        self.trainer = trainer
        self.examples = _Users()
        self._known: _Known | None = None

    @property
    def label(self) -> str:
        optimizer = "" if self.optimizer is None else self.optimizer.kind
        return f"{self.kind} {self.hidden_dim}/{self.latent_dim} {optimizer}".strip()

    @property
    def _settings(self) -> dict[str, Any]:
        return {
            "hidden_dim": self.hidden_dim,
            "latent_dim": self.latent_dim,
            "dropout": self.dropout,
            "beta": self.beta,
            "anneal_steps": self.anneal_steps,
        }

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        positives = self._trained_on().positives
        return cell_probabilities(self, self._calibrated(), positives, users, items)

    def score(self, users: np.ndarray) -> np.ndarray:
        return self.score_histories(self._trained_on().positives[users])

    def score_histories(self, histories: "csr_matrix") -> np.ndarray:
        """As of users who were trained, (m, num_items); an item that nobody liked in training says
        nothing."""
        from scipy.sparse import diags_array

        net, rates = self._fitted(), self._trained_on().item_rates
        likes = (histories @ diags_array((rates > 0).astype(np.float32))).tocsr()
        likes.eliminate_zeros()
        lengths = np.diff(likes.indptr)
        scores = np.tile(rates, (len(lengths), 1))
        some = np.flatnonzero(lengths)
        if len(some):
            log_lengths = np.log(lengths[some], dtype=np.float32)
            scores[some] = net.score(likes[some]).cpu().numpy() + log_lengths[:, None]
        return scores

    def save(self, folder: Path) -> None:
        net, known = self._fitted(), self._trained_on()
        weights = {f"net.{name}": weight.cpu().numpy() for name, weight in net.state_dict().items()}
        arrays = weights | sparse_arrays("positives", known.positives)
        arrays["item_rates"] = known.item_rates
        settings = {
            **self._settings,
            "shape": list(known.positives.shape),
            "calibration": self.calibration and asdict(self.calibration),
        }
        save_model(folder, type(self), settings, arrays)

    @classmethod
    def restore(cls, settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> "MultiVAE":
        """A model that predicts; to train again, build it from its config."""
        import torch

        saved, calibration = dict(settings), saved_calibration(settings)
        del saved["calibration"]
        positives = sparse_matrix("positives", arrays, tuple(saved.pop("shape")))
        model = cls(**saved, optimizer=None, trainer=None)
        model._known = _Known(positives, arrays["item_rates"])
        net = model._net = model._build(model._known, seed=0)
        weights = {name: arrays[f"net.{name}"] for name in net.state_dict()}
        net.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
        net.eval().requires_grad_(False)
        model.calibration = calibration
        return model

    @property
    def _ranks(self) -> bool:
        return True

    def _trained_on(self) -> "_Known":
        self._fitted()
        return cast(_Known, self._known)

    def _build(self, known: "_Known", seed: int) -> "VariationalAutoencoder":
        import torch

        from recsweep.models.nets.autoencoder import VariationalAutoencoder

        generator, positives = torch.Generator().manual_seed(seed), known.positives
        return VariationalAutoencoder(
            positives.shape[1], **self._settings, positives=positives, generator=generator
        )

    def _member(self, train: Part, options: FitOptions) -> "Member":
        from recsweep.models.fit.lightning_module import Member

        optimizer, trainer, _ = self._training()
        self._check_memory(train, optimizer, trainer)
        known = self._known = _Known(train.positives, positive_rates(train, axis=1))
        self._learns_from = train, options
        net = self._net = self._build(known, options.seed)

        def on_epoch(epoch: int, train_loss: float) -> EpochDecision:
            self._new_weights()
            return options.on_epoch(epoch, self, train_loss)

        return Member(
            net=net,
            loss=_Mean(),
            optimizer=optimizer,
            max_epochs=trainer.max_epochs,
            batch_size=trainer.batch_size,
            keep_best=trainer.keep == "best",
            patience=trainer.patience,
            evaluate_every=trainer.evaluate_every,
            on_epoch=on_epoch,
        )

    def _check_memory(self, train: Part, optimizer: OptimizerSpec, trainer: TrainerOptions) -> None:
        """Raise ConfigError where the weights, and what training keeps beside them, don't fit."""
        hidden, latent = self.hidden_dim, self.latent_dim
        weights = 2 * train.num_items * hidden + 3 * hidden * latent
        copies = 2 + optimizer.moments + (trainer.keep == "best")  # 2: with the gradients
        batch = min(trainer.batch_size, train.num_users) * train.num_items
        check_memory(
            4 * (weights * copies + 4 * batch),
            f"The weights of {self.kind} (hidden_dim={hidden}, latent_dim={latent}; "
            f"{train.num_items:,} items), what training keeps beside them, and a batch's outputs",
            "Lower model.hidden_dim, trainer.batch_size or data.num_items.",
        )
