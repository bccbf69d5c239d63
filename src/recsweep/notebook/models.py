"""One model, fitted and measured without a run in the store."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from recsweep.config import build
from recsweep.data.interactions import Part, Split
from recsweep.errors import NotFittedError
from recsweep.evaluation import (
    EvaluationProtocol,
    EvaluationReport,
    objective_of,
    training_threshold,
)
from recsweep.evaluation import evaluate as evaluate_part
from recsweep.measures import TRAIN_LOSS
from recsweep.models.base import EpochDecision, Fit, FitOptions, OnEpoch, Recommender
from recsweep.notebook.settings import choice, composition
from recsweep.notebook.shown import html

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(eq=False, repr=False)
class Model:
    """A model of which user likes which item, without a run of its own.

    Attributes:
        recommender: The model itself.
        evaluation: Protocol by which validation chooses between epochs.
        fitted: Result of the last fit; None before the first.
    """

    recommender: Recommender
    evaluation: EvaluationProtocol
    fitted: Fit | None = None

    def fit(self, on: Split | Part, *, seed: int = 0) -> Self:
        """Learn from scratch.

        Args:
            on: A split trains on its part `train`, and validation chooses the epoch, on a sample of
                its users where it has many, and calibrates probabilities, as in a run. A part
                alone, or a split without validation, is all there is: the last epoch stays.
            seed: Initial weights, order of batches and sampled negatives.
        """
        options = FitOptions(seed, progress=sys.stderr.isatty())
        if isinstance(on, Split) and on.has_validation:
            chooser = _chooser(on, self.evaluation)
            options = replace(options, on_epoch=chooser, validation=on.validation)
        self.fitted = self.recommender.fit(on.train if isinstance(on, Split) else on, options)
        return self

    @property
    def label(self) -> str:
        """A readable name with the settings that matter."""
        return self.recommender.label

    def predict(
        self, users: Sequence[int] | np.ndarray, items: Sequence[int] | np.ndarray
    ) -> np.ndarray:
        """The probability that each pair of dense indices is a positive."""
        return self.recommender.predict(np.asarray(users), np.asarray(items))

    def score(self, users: Sequence[int] | np.ndarray) -> np.ndarray:
        """Strength with which each user wants each item, (len(users), num_items)."""
        return self.recommender.score(np.asarray(users))

    def to_frame(self) -> "DataFrame":
        """The last fit in a row."""
        from pandas import DataFrame

        if self.fitted is None:
            raise NotFittedError(f"{self.label} is not fitted. Call fit(split) first.")
        row = {
            "model": self.label,
            "parameters": self.recommender.num_parameters,
            "epochs": self.fitted.epochs,
            "kept_epoch": self.fitted.kept_epoch,
            "seconds": self.fitted.seconds,
        }
        return DataFrame([row])

    def __repr__(self) -> str:
        return self.label if self.fitted else f"{self.label}, not fitted"

    def _repr_html_(self) -> str:
        return html(self.to_frame()) if self.fitted else f"<p>{escape(repr(self))}</p>"


def model(option: str, **settings: Any) -> Model:
    """A model that can be fitted.

    Args:
        option: Option of `model=`, as `ease` or `recipe_net`.
        settings: Settings of that option, as `l2=200`. Of a net also `loss="bce"`,
            `optimizer="sgd"`, or settings of those, as `trainer={"max_epochs": 5}`.

    Raises:
        ConfigError: There is no such model or setting, or a value is impossible.
    """
    cfg = composition(choice("model", option, settings))
    return Model(build(cfg, "model"), build(cfg, "evaluation"))


def _chooser(split: Split, protocol: EvaluationProtocol) -> OnEpoch:
    """An `on_epoch` by which the best epoch on validation is kept."""
    sample = protocol.sample_of(split)
    best: float | None = None

    def on_epoch(epoch: int, recommender: Recommender, train_loss: float | None) -> EpochDecision:
        nonlocal best
        metrics = evaluate_part(recommender, split, protocol=protocol, sample=sample).metrics
        metrics = metrics if train_loss is None else {**metrics, TRAIN_LOSS.name: train_loss}
        name, value, maximise = objective_of(metrics, protocol, split.validation)
        worth = value if maximise else -value
        better = best is None or worth > best
        best = worth if best is None or better else best
        return EpochDecision(keep=better, shown={f"validation {name}": value})

    return on_epoch


def evaluate(
    fitted: Model | Recommender, split: Split, part: str = "validation", **settings: Any
) -> EvaluationReport:
    """Measure a fitted model on a part of a split.

    Args:
        fitted: The model.
        split: The split that it was fitted on.
        part: `validation` or `test`; there, the threshold that validation chooses is in force, or
            the training cells where there is no validation.
        settings: Settings of `evaluation=`, as `k=(5, 10)` or `candidates="unseen"`.

    Raises:
        ConfigError: There is no such part or setting, or its value is impossible.
    """
    protocol = build(composition(choice("evaluation", "default", settings)), "evaluation")
    recommender = fitted.recommender if isinstance(fitted, Model) else fitted
    threshold = None
    if part == "test" and not split.has_validation:
        threshold = training_threshold(recommender, split)
    elif part == "test":
        threshold = evaluate_part(recommender, split, protocol=protocol).metrics.get("threshold")
    return evaluate_part(recommender, split, part, protocol=protocol, threshold=threshold)
