"""The deep models of the shelf beside the recipe net: each a NeuralModel around its net."""

from recsweep.checks import check_flag, check_integer
from recsweep.data.examples import Examples
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
