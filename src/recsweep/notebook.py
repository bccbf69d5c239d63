"""The door for notebooks: from a DataFrame to a comparison and a champion, in the store that the commands use.

Everything that a function returns has `to_frame()`, a DataFrame of pandas, and shows itself in a notebook.
"""

import io
import sys
import warnings
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
from recsweep.config import build, composed, conf_dir, multirun, override, override_value, resolved
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


# --- studies and runs ----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class Study:
    """A study as it stands: its trials, best first, and what it concludes.

    Attributes:
        record: The study and its trials.
        words: Who wins and how, or why nobody does.
    """

    record: "StudyRecord"
    words: str

    @property
    def name(self) -> str:
        """Name by which the commands find it, as `recsweep refit NAME`."""
        return self.record.name

    @property
    def best(self) -> dict[str, Any]:
        """What is varied, as the first of the leaderboard has it; empty where no trial has finished."""
        return {} if self.record.best is None else dict(self.record.best.params)

    def to_frame(self) -> "DataFrame":
        """The leaderboard: a row a finished trial, the best first."""
        from pandas import DataFrame

        rows = [{"trial": trial.number, "name": trial.name, **trial.params,
                 **dict(zip(map(_plain, self.record.objectives), trial.values, strict=True)), "epochs": trial.epochs,
                 "seconds": trial.seconds, "parameters": trial.num_parameters, "run": trial.run_id}
                for trial in self.record.leaderboard]
        return DataFrame(rows)

    def __repr__(self) -> str:
        from recsweep.tuning.records import counts

        return f"study {self.name}: {counts(self.record)}. {self.words}"

    def _repr_html_(self) -> str:
        return _html(self.to_frame(), repr(self))


def study(settings: Mapping[str, Any], *, data: Dataset | None = None, name: str | None = None,
          n_trials: int | None = None, n_jobs: int = 1, verbose: bool = False, **options: Any) -> Study:
    """Conduct a study, or go on with it: the same as `python train.py -m` with these settings makes.

    Args:
        settings: Name of a setting to its value, as {"model": "recipe_net", "model.user_dim": [10, 15, 20]}. A list,
            a range or an array is varied over; a tuple is one value; a text as "interval(1e-4, 1e-1)" is a sweep of
            the command line's.
        data: What the models learn from; None for what the settings say, by default `data=synthetic`.
        name: Name of the study; None for one that follows from the settings and the data.
        n_trials: How many trials a search has; None for 20, or for every combination of lists and ranges.
        n_jobs: Trials at once, in worker processes.
        verbose: Print each trial and the leaderboard, as the command does.
        options: Other settings of `hydra.sweeper`, as `timeout=600` or `confirm={"top": 3}`.

    Raises:
        RecsweepError: What a user can mend; the same call goes on with the study.
    """
    overrides = [] if data is None else list(data.overrides)
    _check_keys(settings, overrides)
    overrides += [f"{key}={_sweep(key, value)}" for key, value in settings.items()]
    given = {"study_name": name, "n_trials": n_trials, "n_jobs": None if n_jobs == 1 else n_jobs} | options
    for key, value in given.items():
        if key not in _sweeper_settings():
            raise ConfigError(f"A study has no setting {key!r}. Its settings are {', '.join(_sweeper_settings())}.")
        if value is not None:
            overrides.append(override(f"hydra.sweeper.{key}", value))
    with warnings.catch_warnings(), nullcontext() if verbose else redirect_stdout(io.StringIO()):
        warnings.filterwarnings("ignore", "IProgress not found")  # of tqdm, whose bars are not shown
        record, tags = _conducted(overrides)
    return Study(record, _conclusion(record, tags))


def _sweeper_settings() -> list[str]:
    from dataclasses import fields

    from recsweep.tuning.options import StudyOptions

    return [field.name for field in fields(StudyOptions) if field.name not in ("sampler", "pruner")]


def _check_keys(settings: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Raise ConfigError for a setting that there is not, unless a group is varied: then the study looks itself."""
    groups = {key: value for key, value in settings.items() if "/" not in key and _options(key)}
    if not all(isinstance(value, str) and value in _options(key) for key, value in groups.items()):
        return
    cfg = composed([*overrides, *(override(key, value) for key, value in groups.items())])
    for key in settings:
        node, _, name = key.rpartition(".")
        beside = OmegaConf.select(cfg, node) if node else cfg
        if key in groups or key.startswith(("+", "~", "hydra")) or OmegaConf.is_dict(beside) and name in beside:
            continue
        known = [str(name) for name in beside if name != "_target_"] if OmegaConf.is_dict(beside) else []
        raise ConfigError(f"There is no setting {key!r}. {node or 'The config'} has {', '.join(known) or 'none'}.")


def _sweep(key: str, value: Any) -> str:
    """What the command line writes for a setting that is fixed, or varied over several values."""
    if isinstance(value, str) and value.partition("(")[0] in SWEEPS and value.endswith(")"):
        return value
    if "/" not in key and _options(key):
        for option in [value] if isinstance(value, str) else value:
            check_choice(key, option, _options(key))
    if isinstance(value, list | range | np.ndarray):
        if len(value) == 0:
            raise ConfigError(f"{key} is varied over an empty list. Give it values.")
        return ",".join(override_value(key, each) for each in value)
    return override_value(key, value)


def _conducted(overrides: Sequence[str]) -> "tuple[StudyRecord, Mapping[str, str]]":
    """The study that a command line with `-m` and these overrides makes, conducted to its end, and its run's tags."""
    from recsweep.config import effective_config
    from recsweep.run.plan import plan
    from recsweep.tracking import existing_store
    from recsweep.tuning.conduct import conduct
    from recsweep.tuning.options import StudyOptions
    from recsweep.tuning.sweep import Job, Tools

    loader, master = multirun(overrides)
    settings = {key: value for key, value in resolved(master.hydra.sweeper).items()
                if key not in ("_target_", "_recursive_", "_convert_")}
    job = Job(loader, master, tuple(str(line) for line in master.hydra.overrides.task))
    record = conduct(StudyOptions(**settings), job, Tools(_run_many, plan, effective_config))
    if record.parent_run is None:
        return record, {}
    return record, existing_store(build(master, "tracking")).record(record.parent_run).tags


def _run_many(cfgs: Sequence[Any]) -> Sequence[Any]:
    """The main path, in whatever process a study trains."""
    from recsweep.pipeline import run_many
    from recsweep.tuning.trial import attach

    return run_many(cfgs, [attach(cfg.get("trial")) for cfg in cfgs])


def _conclusion(record: "StudyRecord", tags: Mapping[str, str]) -> str:
    """What a study concludes, as the tags of its own run say."""
    from recsweep.tuning.conclusion import first_look

    if "verdict" in tags:
        return tags["verdict"]
    if record.best is None or "best_trial" in tags:
        return first_look(record).words
    return "The second look is missing: no winner is named before it. The same call goes on with it."


def _plain(name: str) -> str:
    return name.removeprefix("validation/")


def runs(*, on: str = "validation", last: int | None = None, study: str | None = None,
         experiment: str = EXPERIMENT, tracking_uri: str | None = None) -> "DataFrame":
    """The finished runs, the latest last, with their measures in columns.

    Args:
        on: Part whose measures are shown, `validation` or `test`.
        last: Only the latest so many.
        study: Only those of the study of this name.
        experiment: Name of the MLflow experiment.
        tracking_uri: MLflow's tracking URI; None for MLFLOW_TRACKING_URI, else that of the home folder.

    Raises:
        TrackingError: There is no store, or it has no such run.
    """
    from pandas import DataFrame

    from recsweep.evaluation import PARTS
    from recsweep.tracking import finished_runs

    check_choice("on", on, PARTS)
    if last is not None:
        check_integer("last", last, minimum=1)
    records = finished_runs(TrackingOptions(uri=tracking_uri, experiment=experiment), last=last, study=study)
    rows = [_row(record, f"{on}/") for record in records]
    first = ["run", "name", "kind", "study", "trial", "seed", "data", "data_digest", "split_digest", "candidates",
             "started", "epochs", "seconds", "parameters"]
    measured = {name for row in rows for name in row if name not in first}
    return DataFrame(rows, columns=[*first, *_in_reading_order(measured)])


def _row(record: "RunRecord", prefix: str) -> dict[str, Any]:
    from pandas import Timestamp

    data, data_digest, split_digest = record.measured_on
    measured = {name.removeprefix(prefix): value for name, value in record.metrics.items() if name.startswith(prefix)}
    return {
        **measured, "run": record.id, "name": record.name, "kind": record.tags.get("model_kind"),
        "study": record.tags.get("study"), "trial": _whole(record.tags.get("trial_number")),
        "seed": _whole(record.tags.get("seed")), "data": data, "data_digest": data_digest,
        "split_digest": split_digest, "candidates": record.candidates,
        "started": Timestamp(record.started, unit="ms", tz="UTC"), "epochs": record.metrics.get("fit/epochs"),
        "seconds": record.metrics.get("fit/seconds"), "parameters": record.metrics.get("model/num_parameters"),
    }


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None


def _in_reading_order(names: set[str]) -> list[str]:
    """Measures that are compared first, in their order; then the others by name."""
    from recsweep.comparison.contrasts import MEASURES

    return [name for name in MEASURES if name in names] + sorted(names - set(MEASURES))


# --- comparisons and the champion ----------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Models side by side: numbers with their intervals, what these say in words, and a page with plots.

    Attributes:
        compared: Sections of models that compare with each other, and the page.
        store: The open store that the runs are in.
    """

    compared: "Compared"
    store: "Tracker"

    @property
    def words(self) -> list[str]:
        """What the numbers say, the most important first."""
        apart = [self.compared.apart] if self.compared.apart else []
        return apart + [sentence for section in self.compared.sections for sentence in section.words]

    def to_frame(self) -> "DataFrame":
        """A row a model, best first, with the mean of each measure over its seeds and splits."""
        from pandas import DataFrame

        rows = [{**_place(found), "model": row.name, "role": "baseline" if row.is_baseline else "net",
                 "seeds": row.num_seeds, **{name: row.values.get(name) for name in found.measures},
                 "seconds": row.seconds, "parameters": row.num_parameters}
                for found in self._found for row in found.rows]
        return DataFrame(rows)

    def intervals(self) -> "DataFrame":
        """A row a model and measure: the value with its 95 % interval."""
        from pandas import DataFrame

        rows = [{**_place(found), "model": row.name, "measure": name, "value": interval.value, "low": interval.low,
                 "high": interval.high, "hangs_on_one_user": interval.hangs, "over": interval.levels}
                for found in self._found for row in found.rows for name, interval in row.intervals.items()]
        return DataFrame(rows)

    def differences(self) -> "DataFrame":
        """A row a model and measure: how far it is from the best baseline, with the 95 % interval of that."""
        from pandas import DataFrame

        rows = [{**_place(found), "model": name, "less": versus.reference, "measure": measure,
                 "difference": difference.value, "low": difference.low, "high": difference.high,
                 "p": difference.p_value, "p_holm": versus.corrected[name],
                 "excludes_zero": difference.excludes_zero, "no_verdict": difference.no_verdict,
                 "hangs_on_one_user": difference.hangs, "over": difference.levels}
                for found in self._found for measure, versus in found.versus.items()
                for name, difference in versus.differences.items()]
        return DataFrame(rows)

    def save(self, folder: str | Path) -> Path:
        """Write the page, its numbers and the three tables as CSV files; the page's path.

        Raises:
            DataError: The folder can't be written.
        """
        import json

        from recsweep.comparison.compare import PAGE_FILE

        folder = Path(folder).expanduser()
        tables = {"models": self.to_frame(), "intervals": self.intervals(), "differences": self.differences()}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / PAGE_FILE).write_text(self.compared.page, encoding="utf-8")
            numbers = json.dumps(self.compared.to_dict(), indent=1, allow_nan=False)
            (folder / "comparison.json").write_text(numbers + "\n", encoding="utf-8")
            for name, frame in tables.items():
                frame.to_csv(folder / f"{name}.csv", index=False)
        except OSError as error:
            raise DataError(f"The comparison can't be written to {folder}: {error.strerror}. Choose another "
                            "folder.") from error
        return folder / PAGE_FILE

    def log(self) -> str:
        """Log page, numbers and words to MLflow; the id of the run that holds them."""
        return self.compared.log(self.store).id

    @property
    def _found(self) -> list[Any]:
        return [section.found for section in self.compared.sections]

    def __repr__(self) -> str:
        return "\n".join(self.words)

    def _repr_html_(self) -> str:
        shown = self.to_frame()
        counted = [name for name in ("data", "split") if shown[name].nunique() == 1]
        return _html(shown.drop(columns=[*counted, "part"]), *self.words)


def _place(found: Any) -> dict[str, str]:
    """What tells the rows of one section from those of another."""
    return {"data": found.data, "split": ", ".join(found.splits), "part": found.part}


def compare(what: "Study | DataFrame | str | Sequence[str]" = (), *, on: str | None = None,
            measure: str | None = None, last: int | None = None, experiment: str = EXPERIMENT,
            tracking_uri: str | None = None) -> Comparison:
    """Which model is ahead, by how much, and whether that is more than chance.

    Args:
        what: A study, with the best baselines on its data beside it; rows of `runs()`; ids or names of runs; or none
            for all finished runs.
        on: Part that is compared on; None for test where a run was evaluated on it, else validation.
        measure: Measure that orders the models; None for F1 at the chosen threshold, or NDCG at 10 where the data list
            likes alone.
        last: Only the latest so many runs.
        experiment: Name of the MLflow experiment.
        tracking_uri: MLflow's tracking URI; None for MLFLOW_TRACKING_URI, else that of the home folder.

    Raises:
        RecsweepError: There is nothing to compare, or not by this measure.
    """
    from recsweep.comparison.compare import CompareOptions
    from recsweep.comparison.compare import compare as compared
    from recsweep.evaluation import PARTS

    if on is not None:
        check_choice("on", on, PARTS)
    run_ids, study_name = _asked_for(what)
    return Comparison(*compared(CompareOptions(
        tracking=TrackingOptions(uri=tracking_uri, experiment=experiment), runs=run_ids, study=study_name, last=last,
        part=on, measure=measure,
    )))


def _asked_for(what: "Study | DataFrame | str | Sequence[str]") -> tuple[list[str], str | None]:
    """Ids of runs, and the name of a study: one of them."""
    if isinstance(what, Study):
        return [], what.name
    if isinstance(what, str):
        return [what], None
    ids: Any = what
    if hasattr(ids, "columns"):
        ids = ids.get("run", ())
        if not len(ids):
            raise ConfigError("A table of runs must have rows, and their ids in the column 'run', as that of runs() has.")
    return [str(run_id) for run_id in ids], None


@dataclass(frozen=True, eq=False, repr=False)
class Champion:
    """The model that answers, with the ids it was trained on.

    Attributes:
        chosen: Where its saved files lie, and what it is in words.
    """

    chosen: "ChosenModel"

    @cached_property
    def service(self) -> "RecommenderService":
        """What ranks by raw ids."""
        from recsweep.serving.service import RecommenderService

        with self.chosen.store.saved_model(self.chosen.model_id) as folder:
            return RecommenderService.load(folder)

    def recommend(self, users: Sequence[int | str] | int | str = (), *, k: int | None = None,
                  histories: Sequence[Sequence[int | str]] = ()) -> "DataFrame":
        """The best items that each has not seen: a row an item, best first.

        Args:
            users: Raw ids of users.
            k: Length of the lists; None for 10, or all items where there are fewer.
            histories: In place of users, raw ids of items that somebody new liked, a list for each: `history 1` and
                so on in the column of users.

        Raises:
            ConfigError: k is no whole number from 1 to the size of the catalogue.
        """
        from pandas import DataFrame

        from recsweep.serving.service import Query

        length = min(10, len(self.service.item_ids)) if k is None else k
        asked = [users] if isinstance(users, str | int) else list(users)
        queries = [Query(user, k=length) for user in asked] + [Query(None, list(liked), length) for liked in histories]
        names = [*asked, *(f"history {number}" for number in range(1, len(histories) + 1))]
        found = self.service.recommend(queries) if queries else []
        rows = [(name, rank, item, score, one.fallback)
                for name, one in zip(names, found, strict=True)
                for rank, (item, score) in enumerate(zip(one.item_ids, one.scores, strict=True), start=1)]
        return DataFrame(rows, columns=["user", "rank", "item", "score", "fallback"])

    def to_frame(self) -> "DataFrame":
        """What it is, in a row."""
        from pandas import DataFrame

        return DataFrame([{"model": self.service.model.label, "is": self.chosen.words,
                           "users": len(self.service.user_ids), "items": len(self.service.item_ids)}])

    def __repr__(self) -> str:
        return f"{self.service.model.label} ({self.chosen.words})"

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>"


def champion(*, name: str = "recsweep", run: str | None = None, experiment: str = EXPERIMENT,
             tracking_uri: str | None = None) -> Champion:
    """The model that is served.

    Args:
        name: Name of the registered model.
        run: Id or name of a run, whose model shall answer in the champion's place.
        experiment: Name of the MLflow experiment.
        tracking_uri: MLflow's tracking URI; None for MLFLOW_TRACKING_URI, else that of the home folder.

    Raises:
        RegistryError: There is no champion yet, or the run has no model.
    """
    from recsweep.promotion.chosen import chosen_model

    return Champion(chosen_model(TrackingOptions(uri=tracking_uri, experiment=experiment), run, name=name))


@dataclass(frozen=True, eq=False, repr=False)
class Promotion:
    """A decision on the champion, which is kept in MLflow.

    Attributes:
        decision: What was decided, and by what.
    """

    decision: "Decision"

    @property
    def outcome(self) -> str:
        """`promoted`, `forced`, `refused`, or `unchanged` where the candidate is the champion."""
        return self.decision.outcome

    @property
    def words(self) -> str:
        """What became of it, in a sentence."""
        return self.decision.words

    def to_frame(self) -> "DataFrame":
        """The rule, a row a demand."""
        from pandas import DataFrame

        header, rows = self.decision.rows()
        return DataFrame(rows, columns=header)

    def __repr__(self) -> str:
        return self.words

    def _repr_html_(self) -> str:
        told = [f"{self.decision.over} {self.decision.looks}"] if self.decision.lines else []
        return _html(self.to_frame(), self.words, *told)


def promote(what: "Study | DataFrame | str | Sequence[str]", *, measure: str | None = None, on: str = "test",
            guards: Mapping[str, float | None] | None = None, seeds: int = 3, splits: int = 3, yes: bool = False,
            force: bool = False, reason: str = "", name: str = "recsweep", experiment: str = EXPERIMENT,
            tracking_uri: str | None = None) -> Promotion:
    """Make a model the champion, where it beats the champion and every baseline; what lacks for that is trained.

    Args:
        what: A study, whose winner is the candidate; or a run by id or name, or several that differ in their seed
            alone.
        measure: Measure that decides; None for F1 at the chosen threshold, or NDCG at 10 where the data list likes
            alone.
        on: Part that is compared on.
        guards: Guard-rail to its margin, as {"coverage": 0.2}; None leaves it out.
        seeds: How many seeds, at least, a model with randomness is run with on each split.
        splits: How many splits of the same rule it is compared on, where that is random.
        yes: Train also where that takes more than ten minutes.
        force: Promote also where the rule is not met.
        reason: Why, kept with the decision; force needs one.
        name: Name of the registered model.
        experiment: Name of the MLflow experiment.
        tracking_uri: MLflow's tracking URI; None for MLFLOW_TRACKING_URI, else that of the home folder.

    Raises:
        RecsweepError: What a user can mend; the champion is the one it was.
    """
    from recsweep.promotion.decide import PromotionOptions
    from recsweep.promotion.decide import promote as promoted
    from recsweep.promotion.rule import Rule

    run_ids, study_name = _asked_for(what)
    return Promotion(promoted(PromotionOptions(
        tracking=TrackingOptions(uri=tracking_uri, experiment=experiment), runs=run_ids, study=study_name, name=name,
        rule=Rule(measure=measure, part=on, guards=guards or {}), seeds=seeds, splits=splits, confirmed=yes,
        force=force, reason=reason,
    ), conf_dir()))
