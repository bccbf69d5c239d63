"""What every model offers, and how a fit talks to whoever started it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Protocol

import numpy as np

from recsweep.data.interactions import Part

USERS_AT_ONCE = 1024
"""Users whose scores are held in memory at once."""


@dataclass(frozen=True)
class EpochDecision:
    """The answer to one epoch.

    Attributes:
        stop: Why the fit shall end here, in words; None to go on.
        keep: These weights are the best so far.
        shown: Figures for the progress bar, as {"validation F1": 0.21}.
    """

    stop: str | None = None
    keep: bool = False
    shown: dict[str, float] = field(default_factory=dict)


OnEpoch = Callable[[int, "Recommender", float | None], EpochDecision]


def go_on(epoch: int, model: "Recommender", train_loss: float | None) -> EpochDecision:
    """An `on_epoch` that looks at nothing and never stops."""
    return EpochDecision()


@dataclass(frozen=True)
class FitOptions:
    """What one fit is told beside its data.

    Attributes:
        seed: Initial weights, order of batches and sampled negatives.
        on_epoch: Called after each epoch with its number (from 1), the model as it then is, and the mean training
            loss (None where the model has none). A model that is not trained in epochs calls it once, for epoch 1.
        progress: Draw a progress bar.
        validation: Cells on which a model may calibrate its probabilities, and for nothing else:
            what orders a user's items is learnt on the training part alone. None leaves it the
            training part.
    """

    seed: int = 0
    on_epoch: OnEpoch = go_on
    progress: bool = False
    validation: Part | None = None


@dataclass(frozen=True)
class Fit:
    """How one fit went.

    Attributes:
        epochs: Epochs that were trained.
        best_epoch: The last epoch that `on_epoch` called the best so far.
        kept_epoch: The epoch whose weights the model now holds.
        train_losses: Mean training loss of each epoch.
        seconds: Wall time of the fit, without what `on_epoch` took.
        stopped: Why it ended before its last epoch, in words.
        error: What ended it, where it failed; the model is then not to be used.
    """

    epochs: int
    best_epoch: int | None = None
    kept_epoch: int | None = None
    train_losses: tuple[float, ...] = ()
    seconds: float = 0.0
    stopped: str | None = None
    error: BaseException | None = None


class Recommender(Protocol):
    """A model of which user likes which item.

    Users and items are dense indices. Every index below the matrix's size may be asked for, also one without a
    training positive; what a model then answers stands in its own docstring.
    """

    @property
    def label(self) -> str:
        """A readable name with the settings that matter, as `recipe_net 15/25/128 mse adam`."""

    @property
    def num_parameters(self) -> int:
        """How many numbers were learnt and are kept. NotFittedError before `fit`."""

    def fit(self, train: Part, options: FitOptions = FitOptions()) -> Fit:
        """Learn from scratch, also on a second call. Raises what went wrong."""

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """The probability that each pair is a positive, (n,) float32 in [0, 1]. NotFittedError before `fit`."""

    def score(self, users: np.ndarray) -> np.ndarray:
        """How strongly each user wants each item, (batch, num_items) float32, finite and unbounded: only the order
        within a row means something. NotFittedError before `fit`."""

    # Optional, for those it was not trained on; evaluation and the service look whether a model has them:
    # score_histories(histories: csr (m, num_items)) -> (m, num_items) float32: scores of new users by what they like.
    # score_new_items(liked_by: csr (m, num_users)) -> (m, num_users) float32: each user's score of new items by who
    # likes them. Both finite, as `score` is; 1 is a like, and an empty row is somebody or something unknown.

    # Optional, for notes and tags of a run:
    # details -> str: what the last fit says of itself, in a sentence; empty where that is nothing.
    # calibration -> Calibration | None: what makes its scores probabilities.
    # is_random -> bool: whether another seed makes another model; a model without it draws nothing.

    def save(self, folder: Path) -> None:
        """Write everything that `load` needs into an empty or new folder, without pickle."""


def fit_at_once(model: Recommender, options: FitOptions, start: float) -> Fit:
    """Close the fit of a model that is not trained in epochs: its one epoch is told, and is the best.

    Args:
        start: `perf_counter()` when the fit began.
    """
    seconds = perf_counter() - start
    decision = options.on_epoch(1, model, None)
    return Fit(epochs=1, best_epoch=1, kept_epoch=1, seconds=seconds, stopped=decision.stop)


def cell_scores(model: Recommender, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """The model's scores of single cells, (n,) float32."""
    cells = np.empty(len(users), dtype=np.float32)
    asked, places = np.unique(users, return_inverse=True)
    for start in range(0, len(asked) or 1, USERS_AT_ONCE):  # once at least: a model that is not fitted says so
        scores = model.score(asked[start : start + USERS_AT_ONCE])
        chosen = (places >= start) & (places < start + USERS_AT_ONCE)
        cells[chosen] = scores[places[chosen] - start, items[chosen]]
    return cells


def fit_many(models: Sequence[Recommender], train: Part, options: Sequence[FitOptions]) -> list[Fit]:
    """Fit several models on one training part: those that can be trained together are, the others in turn.

    A model class whose members train together offers `fit_group(models, train, options) -> list[Fit]` and
    `group_key` (models with equal keys go together).

    Returns:
        One fit a model, in their order. A model that raised has its exception in `Fit.error`, and the others go on;
        an interrupt ends them all.
    """
    groups: dict[object, list[int]] = {}
    for place, model in enumerate(models):
        key = getattr(model, "group_key", None)
        groups.setdefault(place if key is None else (type(model), key), []).append(place)
    fits: dict[int, Fit] = {}
    for places in groups.values():
        members, their_options = [models[place] for place in places], [options[place] for place in places]
        together = getattr(type(members[0]), "fit_group", None)
        try:
            found = together(members, train, their_options) if together else [members[0].fit(train, their_options[0])]
        except Exception as error:  # becomes this group's outcome; a person's interrupt is no Exception
            found = [Fit(epochs=0, error=error) for _ in members]
        fits.update(zip(places, found, strict=True))
    return [fits[place] for place in range(len(models))]
