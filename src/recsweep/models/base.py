"""What every model offers, and how a fit talks to whoever started it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np

from recsweep.data.interactions import Part

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from recsweep.data.features import FeatureTable
    from recsweep.models.calibration import Calibration

USERS_AT_ONCE = 1024
"""Users whose scores are held in memory at once."""


@dataclass(frozen=True)
class EpochDecision:
    """The answer to one epoch.

    Attributes:
        stop: The reason why the fit is to end here, in words; None to go on.
        keep: Whether these weights are the best so far.
        shown: Figures for the progress bar, as {"validation F1": 0.21}.
    """

    stop: str | None = None
    keep: bool = False
    shown: dict[str, float] = field(default_factory=dict)


OnEpoch = Callable[[int, "Recommender", float | None], EpochDecision]


def go_on(epoch: int, model: "Recommender", train_loss: float | None) -> EpochDecision:
    """An `on_epoch` that looks at nothing and never stops: each epoch is the best so far."""
    return EpochDecision(keep=True)


@dataclass(frozen=True)
class FitOptions:
    """What one fit is told beside its data.

    Attributes:
        seed: Seed of the initial weights, the order of batches and sampled negatives.
        on_epoch: Called after each epoch that is to be evaluated with its number (from 1), the
            model as it then is, and the mean training loss (None where the model has none). A model
            that is not trained in epochs calls it once, for epoch 1.
        progress: Whether a progress bar is drawn.
        validation: Cells on which a model may calibrate its probabilities, and for nothing else:
            what orders a user's items is learnt on the training part alone. None leaves it the
            training part.
        user_features: What else is known of the users, with bins of the training part; only for a
            model that `takes_features`.
        item_features: What else is known of the items, likewise.
    """

    seed: int = 0
    on_epoch: OnEpoch = go_on
    progress: bool = False
    validation: Part | None = None
    user_features: "FeatureTable | None" = None
    item_features: "FeatureTable | None" = None


@dataclass(frozen=True)
class Fit:
    """How one fit went.

    Attributes:
        epochs: Epochs that were trained.
        kept_epoch: The epoch whose weights the model now holds.
        train_losses: Mean training loss of each epoch.
        seconds: Wall time of the fit, without what `on_epoch` took.
        stopped: Why it ended before its last epoch, in words.
        error: The error that ended it, where it failed; the model is then not to be used.
    """

    epochs: int
    kept_epoch: int | None = None
    train_losses: tuple[float, ...] = ()
    seconds: float = 0.0
    stopped: str | None = None
    error: BaseException | None = None


Role = Literal["baseline", "net"]
"""What a model is in a comparison: a net, or kept to compare nets with."""


class Recommender(Protocol):
    """A model of which user likes which item.

    Users and items are dense indices. Every index below the matrix's size may be asked for, also
    one without a training positive; what a model then answers stands in its own docstring.

    A class that names this one as its base gets the members that have a value here.
    """

    @property
    def kind(self) -> str:
        """What kind of model it is, whatever its settings, in any words, as `recipe_net`."""

    @property
    def role(self) -> Role:
        """Whether it is a net, or a baseline that nets are compared with."""

    @property
    def label(self) -> str:
        """A readable name with the settings that matter, as `recipe_net 15/25/128 mse adam`."""

    @property
    def loss_name(self) -> str | None:
        """Name of the loss that it is trained with, as `mse`; None where none is chosen for it."""
        return None

    @property
    def max_epochs(self) -> int | None:
        """The number of epochs that it is trained for at most; None where it is not trained in
        epochs."""
        return None

    @property
    def is_random(self) -> bool:
        """Whether another seed makes another model of it."""
        return False

    @property
    def takes_features(self) -> bool:
        """Whether a fit learns from the features of users and items too."""
        return False

    @property
    def calibration(self) -> "Calibration | None":
        """What makes its scores probabilities; None where they need nothing, or before `fit`."""
        return None

    @property
    def details(self) -> str:
        """What the last fit says of itself, in a sentence; empty where that is nothing."""
        return "" if self.calibration is None else str(self.calibration)

    @property
    def num_parameters(self) -> int:
        """The number of parameters that were learnt and are kept. NotFittedError before `fit`."""

    def fit(self, train: Part, options: FitOptions = FitOptions()) -> Fit:
        """Learn from scratch, also on a second call. Raises what went wrong."""

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """The probability that each pair is a positive, (n,) float32 in [0, 1]. NotFittedError
        before `fit`."""

    def score(self, users: np.ndarray) -> np.ndarray:
        """How strongly each user wants each item, (batch, num_items) float32, finite and unbounded:
        only the order within a row means something. Several threads may ask at once. NotFittedError
        before `fit`.
        """

    def save(self, folder: Path) -> None:
        """Write everything that `restore` needs into an empty or new folder, without pickle."""

    @classmethod
    def restore(cls, settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> "Recommender":
        """The model that `save` wrote with these settings and arrays; it answers, which is all that
        is asked of it."""


@runtime_checkable
class Folds(Protocol):
    """A model that answers for new users, as it is."""

    def score_histories(self, histories: "csr_matrix") -> np.ndarray:
        """Scores of new users by what they like, (m, num_items) float32, finite as in `score`.

        Args:
            histories: (m, num_items), 1 at each liked item; an empty row is somebody unknown.
        """


@runtime_checkable
class FoldsItems(Protocol):
    """A model that answers for new items, as it is."""

    def score_new_items(self, liked_by: "csr_matrix") -> np.ndarray:
        """Scores of new items by who likes them, (m, num_users) float32, finite as in `score`.

        Args:
            liked_by: (m, num_users), 1 at each user who likes the item; an empty row is an item
                that nobody likes.
        """


@runtime_checkable
class ScoresCells(Protocol):
    """A model that scores single cells for less than their users' whole rows."""

    def score_cells(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Scores of pairs, (n,) float32: those of `score`, but for rounding."""


class FoldsFeatures(Protocol):
    """A model that `takes_features`, and answers for new users and new items by theirs too."""

    def score_histories(
        self, histories: "csr_matrix", features: "csr_matrix | None" = None
    ) -> np.ndarray:
        """As in `Folds`; features (m, width) as `FeatureTable.encode` makes them, a row without an
        entry where nothing is known."""

    def score_new_items(
        self, liked_by: "csr_matrix", features: "csr_matrix | None" = None
    ) -> np.ndarray:
        """As in `FoldsItems`, likewise."""


@runtime_checkable
class FitsTogether(Protocol):
    """A model of which several are trained side by side."""

    @property
    def group_key(self) -> object:
        """Models of one class with equal keys go together."""

    @staticmethod
    def fit_group(models: Sequence[Any], train: Part, options: Sequence[FitOptions]) -> list[Fit]:
        """Fit models of one class and one `group_key`; one fit a model, in their order."""


def fit_at_once(model: Recommender, options: FitOptions, start: float) -> Fit:
    """Close the fit of a model that is not trained in epochs: `on_epoch` is told of one epoch.

    Args:
        start: `perf_counter()` when the fit began.
    """
    seconds = perf_counter() - start
    decision = options.on_epoch(1, model, None)
    return Fit(epochs=1, kept_epoch=1, seconds=seconds, stopped=decision.stop)


def cell_scores(model: Recommender, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """The model's scores of single cells, (n,) float32."""
    if isinstance(model, ScoresCells):
        return model.score_cells(users, items)
    cells = np.empty(len(users), dtype=np.float32)
    asked, places = np.unique(users, return_inverse=True)
    # once at least: a model that is not fitted says so
    for start in range(0, len(asked) or 1, USERS_AT_ONCE):
        scores = model.score(asked[start : start + USERS_AT_ONCE])
        chosen = (places >= start) & (places < start + USERS_AT_ONCE)
        cells[chosen] = scores[places[chosen] - start, items[chosen]]
    return cells


def fit_many(
    models: Sequence[Recommender], train: Part, options: Sequence[FitOptions]
) -> list[Fit]:
    """Fit several models on one training part: those that can be trained together are, the others
    in turn.

    Returns:
        One fit a model, in their order. A model that raised has its exception in `Fit.error`, and
        the others go on; an interrupt ends them all.
    """
    groups: dict[object, list[int]] = {}
    for place, model in enumerate(models):
        key = (type(model), model.group_key) if isinstance(model, FitsTogether) else place
        groups.setdefault(key, []).append(place)
    fits: dict[int, Fit] = {}
    for places in groups.values():
        members = [models[place] for place in places]
        their_options = [options[place] for place in places]
        first = members[0]
        try:
            if isinstance(first, FitsTogether):
                group_fits = first.fit_group(members, train, their_options)
            else:
                group_fits = [first.fit(train, their_options[0])]
        except Exception as error:  # this group's outcome; a person's interrupt is no Exception
            group_fits = [Fit(epochs=0, error=error) for _ in members]
        fits.update(zip(places, group_fits, strict=True))
    return [fits[place] for place in range(len(models))]
