"""The deep models of the shelf beside the recipe net: each a NeuralModel around its net."""

from collections.abc import Sequence

from recsweep.checks import as_said, check_flag, check_integer, check_number, check_part
from recsweep.data.examples import Examples
from recsweep.errors import ConfigError
from recsweep.losses import Loss
from recsweep.models.fold_in import FoldIn
from recsweep.models.neural import NeuralModel, TrainerOptions, neural_model
from recsweep.models.optimizers import OptimizerSpec, check_takes_rows


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
    """A factorization machine; without features it is a matrix factorization.

    Args:
        dim: Length of the vectors of users, items and features.
        bias: Whether each of them has a number of its own too.
        features: Whether it learns from data.user_features and data.item_features.
    """
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
    """DeepFM: a factorization machine plus a dense network on the same embeddings.

    Args:
        dim: Length of the vectors of users, items and features.
        hidden: Widths of the dense layers.
        dropout: Share of a dense layer's inputs that are zero in a training step.
        features: Whether it learns from data.user_features and data.item_features.
    """
    check_integer("model.dim", dim, minimum=1)
    _check_widths("model.hidden", hidden)
    if not hidden:
        raise ConfigError(
            "model.hidden=[] leaves DeepFM no layer. Set model.hidden=[64,32], or take model=fm."
        )
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


def neumf(
    *,
    mf_dim: int,
    mlp_dim: int,
    hidden: Sequence[int],
    loss: Loss,
    optimizer: OptimizerSpec,
    trainer: TrainerOptions,
    examples: Examples,
    fold_in: FoldIn,
) -> NeuralModel:
    """NeuMF; without a tower (mlp_dim 0, hidden []) GMF, without a product (mf_dim 0) NCF's MLP.

    Args:
        mf_dim: Length of the vectors whose product counts.
        mlp_dim: Length of the vectors that go into the dense layers.
        hidden: Widths of the dense layers.
    """
    check_integer("model.mf_dim", mf_dim, minimum=0)
    check_integer("model.mlp_dim", mlp_dim, minimum=0)
    _check_widths("model.hidden", hidden)
    if bool(mlp_dim) != bool(hidden):
        raise ConfigError(
            f"model.mlp_dim and model.hidden make the tower together, and model.mlp_dim={mlp_dim} "
            f"does not go with model.hidden={as_said(hidden)}. Set both, or model.mlp_dim=0 "
            "model.hidden=[] for none."
        )
    if not mf_dim and not hidden:
        raise ConfigError(
            "model.mf_dim=0 leaves a net without a tower nothing to learn. Set model.mf_dim=32, or "
            "model.mlp_dim=32 model.hidden=[32,16,8]."
        )
    return neural_model(
        kind="neumf" if mf_dim and hidden else "ncf_mlp" if hidden else "gmf",
        net="recsweep.models.nets.neumf.NeuMF",
        net_settings={"mf_dim": mf_dim, "mlp_dim": mlp_dim, "hidden": list(hidden)},
        loss=loss,
        optimizer=optimizer,
        trainer=trainer,
        examples=examples,
        fold_in=fold_in,
    )


def lightgcn(
    *,
    dim: int,
    num_layers: int,
    loss: Loss,
    optimizer: OptimizerSpec,
    trainer: TrainerOptions,
    examples: Examples,
    fold_in: FoldIn,
) -> NeuralModel:
    """LightGCN: a dot product of vectors that were sent along the graph of positives.

    Args:
        dim: Length of the vectors.
        num_layers: How many times they are averaged with their neighbours'.
    """
    check_integer("model.dim", dim, minimum=1)
    check_integer("model.num_layers", num_layers, minimum=1)
    check_part("model.optimizer", optimizer)
    check_takes_rows(optimizer, "a step of lightgcn moves the vectors of all users and items")
    return neural_model(
        kind="lightgcn",
        net="recsweep.models.nets.lightgcn.LightGCN",
        net_settings={"dim": dim, "num_layers": num_layers},
        loss=loss,
        optimizer=optimizer,
        trainer=trainer,
        examples=examples,
        fold_in=fold_in,
    )


def _check_widths(name: str, widths: object) -> None:
    """Raise ConfigError unless it is a list of widths of layers, each at least 1."""
    if isinstance(widths, str) or not isinstance(widths, Sequence):
        raise ConfigError(
            f"{name} must be a list of widths, one a layer, as [64,32], not {as_said(widths)}."
        )
    for width in widths:
        check_integer(name, width, minimum=1)
