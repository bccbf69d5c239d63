"""The door for notebooks: from a DataFrame to a comparison and a champion, in the store that the commands use.

Everything that a function returns has `to_frame()`, a DataFrame of pandas, and shows itself in a notebook.
"""

import io
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from omegaconf import OmegaConf

from recsweep.checks import check_choice, check_integer
from recsweep.config import build, composed, conf_dir, multirun, override, override_value
from recsweep.data.interactions import Interactions, Part, Split
from recsweep.errors import ConfigError, DataError, NotFittedError
from recsweep.evaluation import EvaluationProtocol, EvaluationReport, objective_of
from recsweep.models.base import EpochDecision, Fit, FitOptions, OnEpoch, Recommender
from recsweep.tracking import TrackingOptions

if TYPE_CHECKING:
    from pandas import DataFrame

    from recsweep.comparison.compare import Compared
    from recsweep.promotion.audit import Decision
    from recsweep.promotion.chosen import ChosenModel
    from recsweep.serving.service import RecommenderService
    from recsweep.tracking import RunRecord, Tracker
    from recsweep.tuning.records import StudyRecord

EXPERIMENT = "recsweep"
"""Name of the MLflow experiment unless another is asked for."""

SWEEPS = ("choice", "range", "interval", "glob", "tag", "shuffle", "sort", "int", "float", "str", "bool")
"""Functions of Hydra's command line that a text may call to say what a setting is varied over."""


# --- data and models -----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Interactions, and the settings of the command line by which they are read again.

    Attributes:
        interactions: Which user liked which item.
        overrides: Settings, as `data=csv` and `data.path=likes.csv`.
    """

    interactions: Interactions
    overrides: tuple[str, ...]

    def split(self, kind: str = "random_cells", **settings: Any) -> Split:
        """The parts train, validation and test.

        Args:
            kind: Option of `split=`, as `per_user_ratio`.
            settings: Settings of that option, as `seed=0`.

        Raises:
            ConfigError: There is no such option or setting.
            DataError: A part would be empty.
        """
        cfg = composed([*self.overrides, *_chosen("split", kind, settings)])
        return build(cfg, "split").split(self.interactions)

    def __len__(self) -> int:
        return len(self.interactions)

    def to_frame(self) -> "DataFrame":
        """A row a positive, by raw ids."""
        return self.interactions.to_frame()

    def __repr__(self) -> str:
        found = self.interactions
        return (f"{found.name}: {found.num_users:,} users x {found.num_items:,} items, {len(found):,} "
                f"positives (density {100 * found.density:.2f} %)")

    def _repr_html_(self) -> str:
        return _html(self.to_frame().head(), repr(self), *(
            f"{count:,} rows were left out: {reason}" for reason, count in self.interactions.dropped.items()))


def read_interactions(source: Any, *, user: str | None = None, item: str | None = None, rating: str | None = None,
                      time: str | Sequence[str] | None = None, **settings: Any) -> Dataset:
    """Read which user liked which item.

    Args:
        source: A CSV or Parquet file, or several; a DataFrame of pandas or polars, which is kept as a file beside the
            runs; or the name of an option of `data=`, as `movielens_100k` or `synthetic`.
        user: Column of the users; None for that of the option, of a file or DataFrame `user_id`.
        item: Column of the items; None likewise, `item_id`.
        rating: Column of the ratings; None where every row of a file or DataFrame is a positive.
        time: Column of the times; None where there is none.
        settings: Other settings of `data=`, as `positive_rating=4` or `num_users=1000`.

    Raises:
        ConfigError: There is no such setting, or its value is impossible.
        DataError: The file is missing or broken, or a value in it can't be read.
    """
    named = {"user_column": user, "item_column": item, "rating_column": rating, "timestamp_column": time}
    given = {name: column for name, column in named.items() if column is not None} | settings
    if isinstance(source, str) and source in _options("data"):
        option = source
    else:
        option = "csv"
        given = {"rating_column": rating, **given, "path": _path_of(source, given)}
    overrides = tuple(_chosen("data", option, given))
    return Dataset(build(composed(overrides), "data").load(), overrides)


def _path_of(source: Any, given: Mapping[str, Any]) -> str | list[str]:
    if isinstance(source, str | Path):
        return str(Path(source).expanduser().absolute())
    if isinstance(source, list | tuple):
        return [str(Path(path).expanduser().absolute()) for path in source]
    from recsweep.data.frames import stored_frame

    columns = {given.get("user_column", "user_id"), given.get("item_column", "item_id")}
    for column in (given.get("rating_column"), given.get("timestamp_column")):
        columns |= {column} if isinstance(column, str) else set(column or ())
    return str(stored_frame(source, columns))


@dataclass(eq=False, repr=False)
class Model:
    """A model of which user likes which item, without a run of its own.

    Attributes:
        recommender: The model itself.
        evaluation: How validation chooses between epochs.
        fitted: How the last fit went; None before the first.
    """

    recommender: Recommender
    evaluation: EvaluationProtocol
    fitted: Fit | None = None

    def fit(self, on: Split | Part, *, seed: int = 0) -> Self:
        """Learn from scratch.

        Args:
            on: A split trains on its part `train`, and validation chooses the epoch and calibrates probabilities, as
                in a run. A part alone is all there is: the last epoch stays.
            seed: Initial weights, order of batches and sampled negatives.
        """
        if isinstance(on, Split):
            options = FitOptions(seed, _chooser(on, self.evaluation), sys.stderr.isatty(), on.validation)
            self.fitted = self.recommender.fit(on.train, options)
        else:
            self.fitted = self.recommender.fit(on, FitOptions(seed, progress=sys.stderr.isatty()))
        return self

    @property
    def label(self) -> str:
        """A readable name with the settings that matter."""
        return self.recommender.label

    def predict(self, users: Sequence[int] | np.ndarray, items: Sequence[int] | np.ndarray) -> np.ndarray:
        """The probability that each pair of dense indices is a positive."""
        return self.recommender.predict(np.asarray(users), np.asarray(items))

    def score(self, users: Sequence[int] | np.ndarray) -> np.ndarray:
        """How strongly each user wants each item, (len(users), num_items)."""
        return self.recommender.score(np.asarray(users))

    def to_frame(self) -> "DataFrame":
        """How the last fit went, in a row."""
        from pandas import DataFrame

        if self.fitted is None:
            raise NotFittedError(f"{self.label} is not fitted. Call fit(split) first.")
        fit = self.fitted
        return DataFrame([{"model": self.label, "parameters": self.recommender.num_parameters, "epochs": fit.epochs,
                           "kept_epoch": fit.kept_epoch, "seconds": fit.seconds}])

    def __repr__(self) -> str:
        return self.label if self.fitted else f"{self.label}, not fitted"

    def _repr_html_(self) -> str:
        return _html(self.to_frame()) if self.fitted else f"<p>{escape(repr(self))}</p>"


def model(option: str, **settings: Any) -> Model:
    """A model that can be fitted.

    Args:
        option: Option of `model=`, as `ease` or `recipe_net`.
        settings: Settings of that option, as `l2=200`. Of a net also `loss="bce"`, `optimizer="sgd"`, or settings of
            those, as `trainer={"max_epochs": 5}`.

    Raises:
        ConfigError: There is no such model or setting, or a value is impossible.
    """
    cfg = composed(_chosen("model", option, settings))
    return Model(build(cfg, "model"), build(cfg, "evaluation"))


def _chooser(split: Split, protocol: EvaluationProtocol) -> OnEpoch:
    """An `on_epoch` by which the best epoch on validation is kept."""
    from recsweep.evaluation import evaluate as evaluated

    best: float | None = None

    def on_epoch(epoch: int, recommender: Recommender, train_loss: float | None) -> EpochDecision:
        nonlocal best
        metrics = evaluated(recommender, split, protocol=protocol).metrics
        metrics = metrics if train_loss is None else {**metrics, "train_loss": train_loss}
        name, value, maximise = objective_of(metrics, protocol, split.validation)
        worth = value if maximise else -value
        better = best is None or worth > best
        best = worth if best is None or better else best
        return EpochDecision(keep=better, shown={f"validation {name}": value})

    return on_epoch


def evaluate(fitted: Model | Recommender, split: Split, part: str = "validation", **settings: Any) -> EvaluationReport:
    """Measure a fitted model on a part of a split.

    Args:
        fitted: The model.
        split: The split that it was fitted on.
        part: `validation` or `test`; there, the threshold that validation chooses is in force.
        settings: Settings of `evaluation=`, as `k=(5, 10)` or `candidates="unseen"`.

    Raises:
        ConfigError: There is no such part or setting, or its value is impossible.
    """
    from recsweep.evaluation import evaluate as evaluated

    protocol = build(composed(_chosen("evaluation", "default", settings)), "evaluation")
    recommender = fitted.recommender if isinstance(fitted, Model) else fitted
    threshold = None
    if part == "test":
        threshold = evaluated(recommender, split, protocol=protocol).metrics.get("threshold")
    return evaluated(recommender, split, part, protocol=protocol, threshold=threshold)


def _options(group: str) -> list[str]:
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


def _chosen(group: str, option: str, settings: Mapping[str, Any]) -> list[str]:
    """Overrides that choose an option of a config group, and give its settings values.

    Raises:
        ConfigError: There is no such option, or it has no such setting.
    """
    check_choice(group, option, _options(group))
    node = OmegaConf.load(conf_dir() / group / f"{option}.yaml")
    known = [str(name) for name in node if name != "_target_"]
    overrides = [f"{group}={option}"]
    for name, value in settings.items():
        if name not in known:
            raise ConfigError(f"{group}={option} has no setting {name!r}. Its settings are "
                              f"{', '.join(known) or 'none'}.")
        if not _options(name):
            overrides.append(override(f"{group}.{name}", value))
        elif isinstance(value, Mapping):
            overrides += [override(f"{name}.{setting}", part) for setting, part in value.items()]
        else:
            check_choice(name, value, _options(name))
            overrides.append(override(name, value))
    return overrides


def _html(frame: "DataFrame", *sentences: str) -> str:
    """What a notebook shows: sentences, and a table under them."""
    told = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
    return told + frame.to_html(float_format=lambda value: f"{value:.4f}", na_rep="–", max_rows=40)
