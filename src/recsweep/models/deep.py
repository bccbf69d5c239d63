"""The deep models of the shelf beside the recipe net: each a NeuralModel around its net."""

from collections.abc import Sequence

from recsweep.checks import as_said, check_flag, check_integer, check_number
from recsweep.data.examples import Examples
from recsweep.errors import ConfigError
from recsweep.losses import Loss
from recsweep.models.fold_in import FoldIn
from recsweep.models.neural import NeuralModel, TrainerOptions, neural_model
from recsweep.models.optimizers import OptimizerSpec


def fm(
    *,
    dim: int,
    bias: bool,
    features: bool,
    loss: Loss,
    optimizer: OptimizerSpec,
    trainer: TrainerOptions,
    examples: Examples,
    fold_in: FoldIn,
) -> NeuralModel:
    """A factorization machine; without features it is a matrix factorization."""
    check_integer("model.dim", dim, minimum=1)
    check_flag("model.bias", bias)
    check_flag("model.features", features)
    return neural_model(
        kind="fm" if features else "mf",
        net="recsweep.models.nets.factorization.FM",
        net_settings={"dim": dim, "bias": bias},
        loss=loss,
        optimizer=optimizer,
        trainer=trainer,
        examples=examples,
        fold_in=fold_in,
        takes_features=features,
    )


def deepfm(
    *,
    dim: int,
    hidden: Sequence[int],
    dropout: float,
    features: bool,
    loss: Loss,
    optimizer: OptimizerSpec,
    trainer: TrainerOptions,
    examples: Examples,
    fold_in: FoldIn,
) -> NeuralModel:
    """DeepFM: a factorization machine plus a dense network on the same embeddings."""
    check_integer("model.dim", dim, minimum=1)
    _check_widths("model.hidden", hidden)
    check_number("model.dropout", dropout, minimum=0, below=1)
    check_flag("model.features", features)
    return neural_model(
        kind="deepfm",
        net="recsweep.models.nets.factorization.DeepFM",
        net_settings={"dim": dim, "hidden": list(hidden), "dropout": dropout},
        loss=loss,
        optimizer=optimizer,
        trainer=trainer,
        examples=examples,
        fold_in=fold_in,
        takes_features=features,
    )


def _check_widths(name: str, widths: object) -> None:
    if not isinstance(widths, list | tuple) or not widths:
        raise ConfigError(f"{name} must be a list of widths, as [64,32], not {as_said(widths)}.")
    for width in widths:
        check_integer(name, width, minimum=1)
