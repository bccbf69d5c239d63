"""Deep models behind the common protocol. Torch and Lightning are imported when one is fitted,
loaded or asked."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from inspect import signature
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import numpy as np

from recsweep.checks import as_said, check_choice, check_integer, check_part
from recsweep.data.examples import Examples
from recsweep.data.features import FeatureTable
from recsweep.data.interactions import Part
from recsweep.errors import ConfigError, NotFittedError
from recsweep.interrupts import exits_as_interrupts
from recsweep.libraries import quick_imports
from recsweep.losses import Loss, OfCells
from recsweep.memory import check_memory
from recsweep.models.base import EpochDecision, Fit, FitOptions, Recommender, Role
from recsweep.models.calibration import Calibration, calibrate, saved_calibration
from recsweep.models.fold_in import FoldIn, Side, score_by_history
from recsweep.models.neighbors import NeighborIndex
from recsweep.models.optimizers import OptimizerSpec
from recsweep.models.saved import (
    described,
    own_class,
    rebuilt,
    save_model,
    sparse_arrays,
    sparse_matrix,
)

if TYPE_CHECKING:
    import torch
    from scipy.sparse import csr_matrix

    from recsweep.models.fit.lightning_module import Member
    from recsweep.models.nets import Net

N = TypeVar("N", bound="torch.nn.Module")

PAIRS_AT_ONCE = 4096
"""Pairs predicted at once: their hidden layer then stays in a core's cache."""

MAX_THREADS = 1024
"""More threads than any processor runs at once end a process in torch."""

SIDES = {False: "users", True: "items"}
"""Names of the sides of a net in a saved model, by whether its rows are the items."""


@dataclass(frozen=True, kw_only=True)
class TrainerOptions:
    """How a net is trained, whichever net it is.

    Args:
        max_epochs: Passes over the examples.
        batch_size: Examples a step.
        keep: `best` restores the weights of the best epoch by the objective on validation, `last`
            takes the last.
        patience: Number of epochs without a better one after which it stops; null trains them all.
        accelerator: `auto`, `cpu`, `gpu` or `mps`, as Lightning names them.
        threads: Number of torch's threads during the fit. One is the fastest for small batches, and
            leaves the other cores to other processes.
        evaluate_every: Epochs from one evaluation to the next, which alone can be the best; the
            last epoch has one too.
        devices: 1, or a list of one number: which of several GPUs it is.
        strategy: `auto` or `single_device`, which mean the same: no net is trained on several.
    """

    max_epochs: int
    batch_size: int
    keep: str
    patience: int | None
    accelerator: str
    threads: int
    evaluate_every: int = 1
    devices: int | Sequence[int] = 1
    strategy: str = "auto"

    def __post_init__(self) -> None:
        check_integer("trainer.max_epochs", self.max_epochs, minimum=1)
        check_integer("trainer.batch_size", self.batch_size, minimum=1)
        check_choice("trainer.keep", self.keep, ("best", "last"))
        check_integer("trainer.patience", self.patience, minimum=1, optional=True)
        check_choice("trainer.accelerator", self.accelerator, ("auto", "cpu", "gpu", "mps"))
        check_integer("trainer.threads", self.threads, minimum=1, maximum=MAX_THREADS)
        check_integer("trainer.evaluate_every", self.evaluate_every, minimum=1)
        _check_one_device(self.devices, self.strategy)
        if isinstance(self.devices, Sequence):
            object.__setattr__(self, "devices", tuple(self.devices))


def _check_one_device(devices: object, strategy: object) -> None:
    """Raise ConfigError where a net is to be trained on several devices, each of which would train
    it on all the examples."""
    chosen = devices
    if isinstance(devices, Sequence) and not isinstance(devices, str) and len(devices) == 1:
        chosen = 1
        check_integer("trainer.devices", devices[0], minimum=0)
    for name, value, rule, is_one in (
        ("devices", devices, "1, or a list of one, as [0]", type(chosen) is int and chosen == 1),
        ("strategy", strategy, "auto", strategy in ("auto", "single_device")),
    ):
        if not is_one:
            raise ConfigError(
                f"trainer.{name} must be {rule}, not {as_said(value)}: one net trains on one "
                "device. Use several by training several nets at once, with hydra.sweeper.n_jobs "
                "or hydra.sweeper.engine=ray."
            )


@dataclass(frozen=True, eq=False)
class Known:
    """What a net is trained on that it may need to answer, too.

    Attributes:
        positives: (num_users, num_items) training positives.
        user_features: Features of the users, of a net that takes them.
        item_features: Features of the items, likewise.
    """

    positives: "csr_matrix"
    user_features: FeatureTable | None = None
    item_features: FeatureTable | None = None

    @property
    def features(self) -> dict[str, FeatureTable]:
        """The tables that there are, by their names here."""
        tables = {"user_features": self.user_features, "item_features": self.item_features}
        return {name: table for name, table in tables.items() if table is not None}


class TrainedModel(Recommender, Generic[N]):
    """A model around a module that is trained in epochs: what such models share.

    One of its own makes a `Member` of itself for each fit, and forgets what it made of its weights
    where they are new.

    Attributes:
        optimizer: The optimizer that updates the weights; None of a loaded one, as `trainer` and
            `examples`.
        trainer: Epochs, batches, which weights to keep.
        examples: What is learnt from.
    """

    role: Role = "net"
    is_random = True
    calibration: Calibration | None = None
    optimizer: OptimizerSpec | None
    trainer: TrainerOptions | None
    examples: Examples | None
    _net: N | None = None
    # what a model whose scores are no probabilities is calibrated on, during the fit
    _learns_from: tuple[Part, FitOptions] | None = None

    @property
    def max_epochs(self) -> int | None:
        return None if self.trainer is None else self.trainer.max_epochs

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self._fitted().parameters())

    @property
    def group_key(self) -> object:
        """Models with the same examples and batches can be trained in one Lightning fit."""
        if self.trainer is None:  # a loaded one can't be trained with any other
            return id(self)
        trainer = self.trainer
        device = trainer.accelerator, trainer.devices
        return self.examples, trainer.batch_size, device, trainer.threads

    def fit(self, train: Part, options: FitOptions = FitOptions()) -> Fit:  # noqa: B008 - frozen
        fit = self.fit_group([self], train, [options])[0]
        if fit.error is not None:
            raise fit.error
        return fit

    @staticmethod
    def fit_group(
        models: Sequence["TrainedModel[Any]"], train: Part, options: Sequence[FitOptions]
    ) -> list[Fit]:
        """Train models of one `group_key` in one Lightning fit; each fit's time is the whole
        group's."""
        pl = _import_lightning()
        from pytorch_lightning.plugins.environments import LightningEnvironment
        from pytorch_lightning.utilities.exceptions import MisconfigurationException

        from recsweep.models.fit.datamodule import ExamplesDataModule
        from recsweep.models.fit.lightning_module import FitProgressBar, GroupModule

        _, shared, examples = models[0]._training()
        with _threads(shared.threads):
            pairs = zip(models, options, strict=True)
            members = [model._member(train, option) for model, option in pairs]
            module = GroupModule(members)
            seeds = [option.seed for option in options]
            data = ExamplesDataModule(train, examples, shared.batch_size, seeds)
            progress = options[0].progress
            chosen = None if isinstance(shared.devices, int) else shared.devices[0]
            try:
                trainer = pl.Trainer(
                    max_epochs=max(member.max_epochs for member in members),
                    accelerator=shared.accelerator,
                    devices=1 if chosen is None else [chosen],
                    # the tasks of a job of SLURM are workers here, none a part of this fit
                    plugins=[LightningEnvironment()],
                    logger=False,
                    enable_checkpointing=False,
                    enable_model_summary=False,
                    enable_progress_bar=progress,
                    callbacks=[FitProgressBar()] if progress else [],
                    num_sanity_val_steps=0,
                )
            except (MisconfigurationException, TypeError) as error:  # no such device here
                which = f"trainer.accelerator={shared.accelerator}"
                if chosen is not None:
                    which += f" with trainer.devices=[{chosen}]"
                raise ConfigError(f"{which} can't be used: {error}") from error
            start = perf_counter()
            _fit_quietly(trainer, module, data)
            seconds = perf_counter() - start - module.seconds_outside
            module.cpu()
            fits = [member.finish(seconds) for member in members]
        for model, fit in zip(models, fits, strict=True):
            model._new_weights()
            if model._ranks and fit.error is None:
                model._calibrated()
            model._learns_from = None
        return fits

    def _calibrated(self) -> Calibration:
        """The calibration of a model that ranks, fitted where the weights are new."""
        if self.calibration is None and self._learns_from is not None:
            self.calibration = calibrate(self, *self._learns_from)
        return cast(Calibration, self.calibration)  # nothing is learnt without a training positive

    @property
    def _ranks(self) -> bool:
        """Whether its scores are no probabilities, so that they are calibrated."""
        raise NotImplementedError

    def _member(self, train: Part, options: FitOptions) -> "Member":
        """A new module, and how it is to be trained."""
        raise NotImplementedError

    def _new_weights(self) -> None:
        """Forget what was learnt from other weights."""
        self.calibration = None

    def _training(self) -> tuple[OptimizerSpec, TrainerOptions, Examples]:
        if self.optimizer is None or self.trainer is None or self.examples is None:
            raise ConfigError(
                f"This {self.kind} was loaded, and how it is trained is not saved with "
                "it. To train again, build it from its config."
            )
        return self.optimizer, self.trainer, self.examples

    def _fitted(self) -> N:
        if self._net is None:
            raise NotFittedError(
                f"This {self.kind} has learnt nothing yet: call fit, or load a saved one."
            )
        return self._net


class NeuralModel(TrainedModel["Net"]):
    """A net of `recsweep.models.nets`, its loss, and how it is trained.

    A user or an item without training examples keeps its initial vector, which is close to zero:
    the net then answers about as for an average one. Somebody new is folded in by what he likes,
    see `fold_in`.

    Args:
        kind: Name of the net, as `recipe_net`.
        net: The net's class, as `recsweep.models.nets.RecipeNet`.
        net_settings: Settings of that class beside the sizes of the matrix, as `user_dim`; their
            values stand in the label.
        loss: Trained on the net's raw output; turns that output into a probability, which the
            output of one that ranks becomes by two numbers, see `recsweep.models.calibration`.
        optimizer: The optimizer that updates the weights.
        trainer: Epochs, batches, which weights to keep.
        examples: Which cells are learnt from.
        fold_in: The way in which new users and new items are scored; may be set to another one at
            any time.
        takes_features: Whether the net learns from features of users and items; only for one that
            can.
    """

    kind: str = "net"
    takes_features: bool = False

    def __init__(
        self,
        *,
        kind: str,
        net: str,
        net_settings: Mapping[str, Any],
        loss: Loss,
        optimizer: OptimizerSpec | None,
        trainer: TrainerOptions | None,
        examples: Examples | None,
        fold_in: FoldIn,
        takes_features: bool = False,
    ) -> None:
        self.takes_features = takes_features
        self.kind = kind
        self.net = net
        self.net_settings = dict(net_settings)
        self.loss = loss
        self.optimizer = optimizer
        self.trainer = trainer
        self.examples = examples
        self.fold_in = fold_in
        self._known: Known | None = None  # what it was trained on
        # graphs of the sides' neighbour indexes, as they were saved
        self._graphs: dict[str, np.ndarray | None] = {}
        # the sides of the items (True) and of the users (False), once asked for
        self._sides: dict[bool, Side] = {}

    @property
    def label(self) -> str:
        settings = self.net_settings.values()
        sizes = "/".join(
            filter(None, (_in_label(size) for size in settings if not isinstance(size, bool)))
        )
        optimizer = "" if self.optimizer is None else self.optimizer.kind
        return " ".join(filter(None, [self.kind, sizes, self.loss.name, optimizer]))

    @property
    def loss_name(self) -> str:
        return self.loss.name

    @property
    def details(self) -> str:
        return self.loss.details or super().details

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        if isinstance(self.loss, OfCells):
            return _joined([self.loss.probability(block) for block in self._outputs(users, items)])
        scores = self.score_cells(users, items)
        return self._calibrated().probabilities(scores)

    def score_cells(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        return _joined(list(self._outputs(users, items)))

    def _outputs(self, users: np.ndarray, items: np.ndarray) -> "Iterator[torch.Tensor]":
        """Raw outputs of pairs in blocks, (m,) each."""
        import torch

        net = self._fitted()
        user_blocks = _indices(users, net).split(PAIRS_AT_ONCE)
        item_blocks = _indices(items, net).split(PAIRS_AT_ONCE)
        with torch.no_grad():
            for pair in zip(user_blocks, item_blocks, strict=True):
                yield net(*pair)

    @property
    def _ranks(self) -> bool:
        return self.loss.ranks

    def _new_weights(self) -> None:
        super()._new_weights()
        self._sides.clear()

    def score(self, users: np.ndarray) -> np.ndarray:
        import torch

        net = self._fitted()
        with torch.no_grad():
            return net.score_items(net.user_vectors(_indices(users, net))).cpu().numpy()

    def score_histories(
        self, histories: "csr_matrix", features: "csr_matrix | None" = None
    ) -> np.ndarray:
        """Scores of new users by what they like, (m, num_items) float32; the net stays as it is.

        Who likes nothing that is known is scored by his features alone; without any, or of a net
        that knows none, he gets each item's share of training positives.

        Args:
            histories: (m, num_items) of 1 at each liked item, and of -1, where known, at each
                disliked one.
            features: (m, width) as `FeatureTable.encode` makes it; None where they aren't known.
        """
        return self._fold_in(histories, features, of_items=False)

    def score_new_items(
        self, liked_by: "csr_matrix", features: "csr_matrix | None" = None
    ) -> np.ndarray:
        """Each user's score of new items by who likes them, (m, num_users) float32; the net stays
        as it is.

        What nobody likes is scored by its features alone; without any, or of a net that knows none,
        it gets each user's share of training positives.

        Args:
            liked_by: (m, num_users) of 1 at each user who likes the item, and of -1, where known,
                who dislikes it.
            features: (m, width) as `FeatureTable.encode` makes it; None where they aren't known.
        """
        return self._fold_in(liked_by, features, of_items=True)

    def _fold_in(
        self, histories: "csr_matrix", features: "csr_matrix | None", *, of_items: bool
    ) -> np.ndarray:
        self._fitted()
        return score_by_history(self.fold_in, self._side(of_items), histories, features)

    def _side(self, of_items: bool) -> Side:
        if of_items not in self._sides:
            net, known = self._fitted(), cast(Known, self._known)
            rows = known.positives.T.tocsr() if of_items else known.positives
            index = NeighborIndex(rows, self._graphs.get(SIDES[of_items]))
            table = known.item_features if of_items else known.user_features
            features = None if table is None else table.matrix
            loss = self._calibrated().log_loss if self.loss.ranks else self.loss
            self._sides[of_items] = Side(net, loss, index, of_items, features)
        return self._sides[of_items]

    def save(self, folder: Path) -> None:
        net, known = self._fitted(), cast(Known, self._known)
        settings = {
            "kind": self.kind,
            "net": self.net,
            "net_settings": self.net_settings,
            "num_users": net.user_embedding.num_embeddings,
            "num_items": net.item_embedding.num_embeddings,
            "loss": described(self.loss),
            "fold_in": described(self.fold_in),
            "takes_features": self.takes_features,
            "features": {name: table.settings for name, table in known.features.items()},
            "calibration": self.calibration and asdict(self.calibration),
        }
        weights = {f"net.{name}": weight.cpu().numpy() for name, weight in net.state_dict().items()}
        arrays = weights | sparse_arrays("positives", known.positives)
        for name, table in known.features.items():
            arrays |= {f"{name}.{part}": array for part, array in table.arrays.items()}
        for of_items, name in SIDES.items() if self.fold_in.asks_neighbors else ():
            if (graph := self._side(of_items).index.graph) is not None:
                arrays[f"neighbors.{name}"] = graph
        save_model(folder, type(self), settings, arrays)

    @classmethod
    def restore(cls, settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> "NeuralModel":
        """A model that predicts; to train again, build it from its config."""
        import torch

        model = cls(
            kind=settings["kind"],
            net=settings["net"],
            net_settings=settings["net_settings"],
            loss=rebuilt(settings["loss"]),
            fold_in=rebuilt(settings["fold_in"]),
            optimizer=None,
            trainer=None,
            examples=None,
            takes_features=settings.get("takes_features", False),
        )
        shape = settings["num_users"], settings["num_items"]
        tables = {
            name: FeatureTable.restore(saved, _below(name, arrays))
            for name, saved in settings.get("features", {}).items()
        }
        model._known = Known(sparse_matrix("positives", arrays, shape), **tables)
        model.calibration = saved_calibration(settings)
        model._graphs = {name: arrays.get(f"neighbors.{name}") for name in SIDES.values()}
        net = model._build(model._known, seed=0)
        weights = _below("net", arrays)
        net.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
        net.eval().requires_grad_(False)
        model._net = net
        return model

    def _build(self, known: "Known", seed: int) -> "Net":
        import torch

        from recsweep.models.nets import Net

        net, generator = own_class(self.net), torch.Generator().manual_seed(seed)
        if not issubclass(net, Net):
            raise ConfigError(
                f"model.net must be a subclass of recsweep.models.nets.Net, not {self.net}. "
                "Name one."
            )
        num_users, num_items = known.positives.shape
        settings = dict(self.net_settings)
        if self.takes_features and net.takes_features:
            settings |= {"user_features": known.user_features, "item_features": known.item_features}
        if net.takes_positives:
            settings["positives"] = known.positives
        try:
            signature(net).bind(num_users, num_items, **settings, generator=generator)
        except TypeError as error:
            raise ConfigError(
                f"model.net_settings must be those that {self.net} takes: {error}."
            ) from error
        self._check_memory(net, num_users, num_items, settings)
        return net(num_users, num_items, **settings, generator=generator)

    def _check_memory(
        self, net: "type[Net]", num_users: int, num_items: int, settings: Mapping[str, Any]
    ) -> None:
        """Raise ConfigError where the weights, and what training keeps beside each, don't fit."""
        import torch

        try:
            with torch.device("meta"):  # shapes alone
                shaped = net(num_users, num_items, **settings)
            numbers = sum(weight.numel() for weight in shaped.parameters())
        except RuntimeError:  # torch counts to 2**63
            numbers = 2**63
        copies = 1
        if self.optimizer is not None and self.trainer is not None:
            copies += self.optimizer.moments + (self.trainer.keep == "best")
            copies += not self.optimizer.by_rows  # gradients
        sizes = ", ".join(f"{name}={size}" for name, size in self.net_settings.items())
        check_memory(
            4 * numbers * copies,
            f"The weights of {self.kind} ({sizes}; {num_users:,} users, {num_items:,} items), "
            "their gradients, the optimizer's moments and the best epoch's copy",
            "Lower those settings of model, or data.num_users and data.num_items.",
        )

    def _member(self, train: Part, options: FitOptions) -> "Member":
        from recsweep.models.fit.lightning_module import Member

        optimizer, trainer, _ = self._training()
        features = (options.user_features, options.item_features) if self.takes_features else ()
        self._known, self._graphs = Known(train.positives, *features), {}
        net = self._net = self._build(self._known, options.seed)
        self._learns_from = train, options

        def on_epoch(epoch: int, train_loss: float) -> EpochDecision:
            self._new_weights()
            return options.on_epoch(epoch, self, train_loss)

        return Member(
            net=net,
            loss=self.loss,
            optimizer=optimizer,
            max_epochs=trainer.max_epochs,
            batch_size=trainer.batch_size,
            keep_best=trainer.keep == "best",
            patience=trainer.patience,
            evaluate_every=trainer.evaluate_every,
            on_epoch=on_epoch,
        )


def recipe_net(
    *,
    user_dim: int,
    item_dim: int,
    hidden_dim: int,
    loss: Loss,
    optimizer: OptimizerSpec,
    trainer: TrainerOptions,
    examples: Examples,
    fold_in: FoldIn,
) -> NeuralModel:
    """The recipe net: user and item embeddings -> concatenation -> dense ReLU -> one output.

    Args:
        user_dim: Length of a user's embedding.
        item_dim: Length of an item's embedding.
        hidden_dim: Width of the dense layer.
    """
    sizes = {"user_dim": user_dim, "item_dim": item_dim, "hidden_dim": hidden_dim}
    for name, size in sizes.items():
        check_integer(f"model.{name}", size, minimum=1)
    return neural_model(
        kind="recipe_net",
        net="recsweep.models.nets.RecipeNet",
        net_settings=sizes,
        loss=loss,
        optimizer=optimizer,
        trainer=trainer,
        examples=examples,
        fold_in=fold_in,
    )


def neural_model(
    *,
    kind: str,
    net: str,
    net_settings: Mapping[str, Any],
    loss: Loss,
    optimizer: OptimizerSpec,
    trainer: TrainerOptions,
    examples: Examples,
    fold_in: FoldIn,
    takes_features: bool = False,
) -> NeuralModel:
    """A net of the shelf, each of its parts checked to be there."""
    parts = {
        "loss": loss,
        "optimizer": optimizer,
        "trainer": trainer,
        "examples": examples,
        "fold_in": fold_in,
    }
    for name, part in parts.items():
        check_part(f"model.{name}", part)
    if loss.ranks and not examples.lists:
        raise ConfigError(
            f"loss={loss.name} sets a positive against zeros of the same user, and learns nothing "
            "from single cells. Take examples=listwise with it."
        )
    return NeuralModel(
        kind=kind,
        net=net,
        net_settings=net_settings,
        loss=loss,
        optimizer=optimizer,
        trainer=trainer,
        examples=examples,
        fold_in=fold_in,
        takes_features=takes_features,
    )


def _in_label(setting: object) -> str:
    """A setting of a net; of several widths, as 64-32."""
    if isinstance(setting, float):
        return f"{setting:g}"
    return "-".join(map(str, setting)) if isinstance(setting, list | tuple) else str(setting)


def _below(name: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays whose names begin with this one and a dot, by what comes after it."""
    start = f"{name}."
    return {key[len(start) :]: array for key, array in arrays.items() if key.startswith(start)}


def _joined(blocks: "Sequence[torch.Tensor]") -> np.ndarray:
    import torch

    return torch.cat(list(blocks)).cpu().numpy() if blocks else np.empty(0, dtype=np.float32)


def _indices(values: np.ndarray, net: "Net") -> "torch.Tensor":
    import torch

    device = net.user_embedding.weight.device
    return torch.as_tensor(np.array(values, dtype=np.int64), device=device)


def _import_lightning() -> Any:
    with quick_imports("pytorch_lightning"):
        import pytorch_lightning as pl
    # no hardware report and tips, a line each fit
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    return pl


def _fit_quietly(trainer: Any, module: Any, data: Any) -> None:
    with warnings.catch_warnings():
        # there is no validation loop on purpose: on_epoch evaluates; and no DataLoader to give
        # workers to
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        with exits_as_interrupts():
            trainer.fit(module, datamodule=data)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
