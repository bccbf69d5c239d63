"""The main path: configs in, runs in MLflow out."""

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from recsweep.checks import check_integer
from recsweep.data.interactions import Interactions, Split
from recsweep.errors import ConfigError, RecsweepError
from recsweep.evaluation import EvaluationProtocol, EvaluationReport, evaluate, objective_of, truth_metrics
from recsweep.masking import mask
from recsweep.models.base import EpochDecision, Fit, FitOptions, Recommender, fit_many
from recsweep.tracking import (
    TRIAL_TAG,
    DatasetNote,
    Run,
    TrackingOptions,
    environment,
    interrupts_wait,
    open_runs,
    peak_memory_mb,
    tracker,
)
from recsweep.tuning.definition import flat
from recsweep.tuning.trial import TrialHandle, attach

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What became of one config.

    Attributes:
        run_id: MLflow's.
        name: The run's readable name.
        fit: How training went; its `error` says why a run FAILED.
        validation: None where the run failed.
        test: None unless it was asked for.
        metrics: The latest value of all that was logged, as `test/f1_at_half` and `fit/seconds`.
    """

    run_id: str
    name: str
    fit: Fit
    validation: EvaluationReport | None = None
    test: EvaluationReport | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


def run(cfg: DictConfig) -> Outcome:
    """Train, evaluate and log what one config describes.

    Raises:
        RecsweepError: What a user can mend; the run, if it was started, is marked FAILED.
    """
    outcome = run_many([cfg])[0]
    if outcome.fit.error is not None:
        raise outcome.fit.error
    return outcome


def run_many(cfgs: Sequence[DictConfig]) -> list[Outcome]:
    """All of the main path. The configs share data, split, evaluation and tracking."""
    plans = [plan(cfg) for cfg in cfgs]
    if len({data_settings(cfg) for cfg in cfgs}) > 1:
        raise ConfigError("Configs that are run together must have the same data and split. Run them one by one.")
    data = prepare(cfgs[0])
    trials = [attach(cfg.get("trial")) for cfg in cfgs]
    with open_runs([lambda each=each, trial=trial: start_run(each, data, trial)
                    for each, trial in zip(plans, trials, strict=True)]) as runs:
        for run, each in zip(runs, plans, strict=True):
            log_settings(run, each, data)
        watches = [Watch(run, each, data, trial) for run, each, trial in zip(runs, plans, trials, strict=True)]
        options = [FitOptions(watch.plan.seed, watch, watch.trial is None and sys.stderr.isatty(),
                              validation=data.split.validation) for watch in watches]
        fits = fit_many([each.model for each in plans], data.split.train, options)
        return [conclude(watch, fit) for watch, fit in zip(watches, fits, strict=True)]


@dataclass(frozen=True)
class Plan:
    """One config made into objects, before any data is read: an impossible setting ends here."""

    cfg: DictConfig
    model: Recommender
    evaluation: EvaluationProtocol
    tracking: TrackingOptions
    seed: int

    @property
    def loss(self) -> str | None:
        """Name of the loss that a net is trained with; None for a model that has no such setting."""
        loss = getattr(self.model, "loss", None)
        return loss and loss.name


def plan(cfg: DictConfig) -> Plan:
    """Raises ConfigError for a setting that is impossible, unknown or missing."""
    from omegaconf.errors import OmegaConfBaseException

    try:
        OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"The setting {error.full_key} can't be used: {str(error).splitlines()[0]}.") from error
    check_integer("seed", cfg.seed, minimum=0)
    for node in ("data", "split"):
        build(cfg, node)
    return Plan(cfg, build(cfg, "model"), build(cfg, "evaluation"), build(cfg, "tracking"), cfg.seed)


def build(cfg: DictConfig, node: str) -> Any:
    """The object that one node of the config describes."""
    from hydra.errors import InstantiationException
    from omegaconf.errors import OmegaConfBaseException

    try:
        return instantiate(cfg[node], _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, RecsweepError):
            raise cause from None
        raise ConfigError(f"The settings under {node!r} can't be used: {cause or error}") from error
    except OmegaConfBaseException as error:
        raise ConfigError(f"The settings under {node!r} can't be used: {error}") from error


@dataclass(frozen=True)
class Data:
    """What `prepare` reads."""

    interactions: Interactions
    split: Split

    @property
    def digests(self) -> dict[str, str]:
        return {"data_digest": self.interactions.digest, "split_digest": self.split.digest}


_prepared: dict[str, Data] = {}


def prepare(cfg: DictConfig) -> Data:
    """Read the data and split it: once a process for the same settings, the latest kept."""
    key = data_settings(cfg)
    if key not in _prepared:
        interactions = build(cfg, "data").load()
        split = build(cfg, "split").split(interactions)
        log.info(
            "%s: %s users x %s items, %s positives (density %.2f %%), split %s, digest %s",
            interactions.name, f"{interactions.num_users:,}", f"{interactions.num_items:,}", f"{len(interactions):,}",
            100 * interactions.density, split.kind, interactions.digest,
        )
        _prepared.clear()
        _prepared[key] = Data(interactions, split)
    return _prepared[key]


def data_settings(cfg: DictConfig) -> str:
    """What decides the data and the split: configs with equal ones share them."""
    return OmegaConf.to_yaml(OmegaConf.create({name: cfg[name] for name in ("data", "split")}), resolve=True)


def effective_config(cfg: DictConfig) -> dict[str, Any]:
    """The resolved settings that make a run what it is: two runs with the same ones are the same run."""
    resolved = OmegaConf.to_container(cfg, resolve=True)
    return {name: resolved[name] for name in ("data", "split", "model", "evaluation", "seed")}


def start_run(plan: Plan, data: Data, trial: TrialHandle | None) -> Run:
    """Open a run, named and tagged so that it can be found; that of a trial under its study's."""
    tags = {"model_kind": plan.model.label.split()[0], "data": data.interactions.name, "seed": plan.seed,
            "candidates": plan.evaluation.candidates_of(data.split),
            "random": str(getattr(plan.model, "is_random", False)).lower(), **data.digests,
            **({"loss": plan.loss} if plan.loss else {}), **(plan.cfg.get("tags") or {})}
    if trial is None:
        return tracker(plan.tracking).start(plan.model.label, tags)
    tags |= {TRIAL_TAG: trial.number, "study": trial.study_name, "trial_state": "running"}
    if trial.parent_run is not None:
        tags["mlflow.parentRunId"] = trial.parent_run
    run = tracker(plan.tracking).start(f"#{trial.number} {plan.model.label}", tags)
    trial.run_started(run.id, plan.model.label, plan.seed)
    return run


def log_settings(run: Run, plan: Plan, data: Data) -> None:
    """Log all that is known before training."""
    interactions, split = data.interactions, data.split
    parts = {f"num_{part}": len(getattr(split, part)) for part in ("train", "validation", "test")}
    sizes = {"num_positives": len(interactions), "density": interactions.density, **parts}
    shape = {"num_users": interactions.num_users, "num_items": interactions.num_items}
    found = {f"data.{name}": value for name, value in (shape | sizes | data.digests).items()}
    run.log(params=flat(effective_config(plan.cfg)) | found)
    run.log_datasets([
        DatasetNote(interactions.name, interactions.digest, interactions.source,
                    {**shape, **sizes, "dropped": dict(interactions.dropped)}, "data"),
        DatasetNote(f"{interactions.name} {split.kind}", split.digest, interactions.source, parts, "split"),
    ])


@dataclass
class Watch:
    """The `on_epoch` of one run: evaluates on validation, logs, and says which epoch is the best.

    A trial of a study is told the objective too, and may be pruned, though not after its last epoch: that would save
    nothing. A model that is not trained in epochs has nothing that others could be compared with on the way.

    Attributes:
        trial: None for a single run.
        pruned: Why the trial ends early; empty as long as it does not.
        history: Validation metrics by plain name, one value an epoch.
        reports: By epoch, of the best epoch and of the latest.
    """

    run: Run
    plan: Plan
    data: Data
    trial: TrialHandle | None = None
    history: dict[str, list[float]] = field(default_factory=dict)
    reports: dict[int, EvaluationReport] = field(default_factory=dict)
    best: float | None = None
    best_epoch: int = 0
    objective: str = ""
    seconds: float = 0.0
    pruned: str = ""

    def __call__(self, epoch: int, model: Recommender, train_loss: float | None) -> EpochDecision:
        start = perf_counter()
        report = evaluate(model, self.data.split, "validation", protocol=self.plan.evaluation)
        metrics = report.metrics if train_loss is None else {**report.metrics, "train_loss": train_loss}
        self.objective, value, maximise = objective_of(metrics, self.plan.evaluation, self.data.split.validation)
        better = self.best is None or (value > self.best if maximise else value < self.best)
        if better:
            self.best, self.best_epoch = value, epoch
        self.reports = {e: r for e, r in {**self.reports, epoch: report}.items() if e in (epoch, self.best_epoch)}
        for name, number in report.metrics.items():
            self.history.setdefault(name, []).append(number)
        logged = report.prefixed() if train_loss is None else {"train/loss": train_loss, **report.prefixed()}
        self.run.log(metrics=logged, step=epoch)
        shown = {} if "f1_at_threshold" not in metrics else {"validation F1": metrics["f1_at_threshold"]}
        shown |= {f"validation {self.objective}": value}
        if train_loss is not None and self.trial is None and not sys.stderr.isatty():
            figures = ", ".join(f"{name} {figure:.4f}" for name, figure in shown.items())
            log.info("%s  epoch %d  loss %.5f, %s", self.run.name, epoch, train_loss, figures)
        if self.trial is not None and train_loss is not None:
            prune = self.trial.report(epoch, value)
            if prune and epoch < self.plan.model.trainer.max_epochs:
                self.pruned = f"pruned after epoch {epoch} with {self.objective} {value:.4f}"
        self.seconds += perf_counter() - start
        return EpochDecision(self.pruned or None, better, shown)


def conclude(watch: Watch, fit: Fit) -> Outcome:
    """End the run: FINISHED with what training left, KILLED where its study pruned it, or FAILED with the reason, which
    is this run's alone."""
    if fit.error is None and watch.pruned:
        watch.run.log(metrics={"fit/epochs": fit.epochs, "fit/seconds": fit.seconds}, step=fit.epochs)
        with interrupts_wait():
            watch.trial.pruned(watch.pruned, fit.epochs)
            watch.run.end("KILLED", watch.pruned, trial_state="pruned")
        return Outcome(watch.run.id, watch.run.name, fit)
    if fit.error is None:
        try:
            return log_results(watch, fit)
        except Exception as error:
            fit = replace(fit, error=error)
    watch.run.fail(fit.error)
    return Outcome(watch.run.id, watch.run.name, fit)


def log_results(watch: Watch, fit: Fit) -> Outcome:
    """Evaluate the kept weights, log everything that is known after training, and end the run."""
    run, plan, data = watch.run, watch.plan, watch.data
    validation = watch.reports[fit.kept_epoch]
    reports = [validation]
    if plan.evaluation.test:
        threshold = validation.metrics.get("threshold")
        reports.append(evaluate(plan.model, data.split, "test", protocol=plan.evaluation, threshold=threshold))
    metrics = {
        "fit/epochs": fit.epochs, "fit/best_epoch": watch.best_epoch, "fit/kept_epoch": fit.kept_epoch,
        "fit/seconds": fit.seconds, "fit/watch_seconds": watch.seconds,
        "model/num_parameters": plan.model.num_parameters, "memory/peak_mb": peak_memory_mb(),
    }
    for report in reports:
        metrics |= report.prefixed()
        truth = truth_metrics(data.interactions.probabilities, getattr(data.split, report.part))
        metrics |= {f"{report.part}/{name}": value for name, value in truth.items()}
    collapsed = plan.loss is not None and validation.collapsed
    tags = {"mlflow.note.content": describe(watch, fit, reports), "collapsed": str(collapsed).lower()}
    if (calibration := getattr(plan.model, "calibration", None)) is not None:
        tags["calibrated"] = calibration.fitted_on
    # one step later than the last epoch: the restored weights' metrics are then what MLflow's run table shows
    run.log(metrics=metrics, tags=tags, step=fit.epochs + (fit.kept_epoch != fit.epochs))
    if collapsed and watch.trial is None:  # a study tells of its trials in its own way; the tag says it of each
        log.warning("%s predicts no positive at 0.5, of %.1f %% that are: it has collapsed to zeros at that threshold.",
                    run.name, 100 * validation.metrics["prevalence"])
    with run.guarded(), TemporaryDirectory() as scratch:
        write_artifacts(Path(scratch), watch, fit, reports)
        run.log_folder(Path(scratch))
    log_model(run, plan.model, data.interactions, fit)
    with interrupts_wait():  # the trial and its run end together
        if watch.trial is not None:
            max_epochs = plan.model.trainer.max_epochs if fit.train_losses else None
            watch.trial.complete(run.metrics, chosen_by=watch.objective, epochs=fit.epochs,
                                 num_parameters=plan.model.num_parameters, max_epochs=max_epochs)
        run.end("FINISHED")
    test = reports[1] if len(reports) > 1 else None
    return Outcome(run.id, run.name, fit, validation, test, dict(run.metrics))


def describe(watch: Watch, fit: Fit, reports: Sequence[EvaluationReport]) -> str:
    """The run's note in Markdown: what it is, what it reached, and what to know when reading its numbers."""
    split, interactions = watch.data.split, watch.data.interactions
    lines = [
        f"**{watch.run.name}** on {interactions.name} ({interactions.num_users:,} x {interactions.num_items:,}, "
        f"{len(interactions):,} positives), split `{split.kind}`. {fit.epochs} epoch(s), weights of epoch "
        f"{fit.kept_epoch} kept" + (f"; stopped early: {fit.stopped}." if fit.stopped else "."),
    ]
    for report in reports:
        named = {name: report.metrics[name] for name in ("f1_at_half", "f1_at_threshold", "average_precision",
                                                         "ndcg_at_10") if name in report.metrics}
        lines.append(f"{report.part}: " + ", ".join(f"{name} {value:.4f}" for name, value in named.items()))
    if "threshold" in reports[0].metrics:
        lines.append(f"Metrics `_at_threshold` use {reports[0].metrics['threshold']:.4f}, chosen on validation.")
    if details := getattr(watch.plan.model, "details", ""):
        lines.append(f"{details[0].upper()}{details[1:]}.")
    if watch.plan.loss == "mse":
        lines.append("Raw outputs are clipped to [0, 1] to be read as probabilities; log loss is of those.")
    if watch.plan.loss and reports[0].collapsed:
        lines.append("**Collapsed**: no cell of validation is predicted positive at 0.5.")
    return "\n\n".join(lines)


def write_artifacts(folder: Path, watch: Watch, fit: Fit, reports: Sequence[EvaluationReport]) -> None:
    """Config, environment, reports and plots, as files that become the run's artifacts."""
    import json

    from recsweep.report import plot_precision_recall, plot_training_curves, save_plot

    resolved = OmegaConf.to_yaml(OmegaConf.create(OmegaConf.to_container(watch.plan.cfg, resolve=True)))
    (folder / "config.yaml").write_text(mask(resolved), encoding="utf-8")
    (folder / "environment.json").write_text(json.dumps(environment(), indent=2) + "\n", encoding="utf-8")
    for report in reports:
        report.write(folder / "evaluation")
        if report.cells is not None:
            figure = plot_precision_recall(report, watch.run.name)
            save_plot(figure, folder / "plots" / f"{report.part}_precision_recall.png")
    if fit.train_losses:
        figure = plot_training_curves(fit.train_losses, watch.history, watch.objective, fit.kept_epoch)
        save_plot(figure, folder / "plots" / "training_curves.png")


def log_model(run: Run, model: Recommender, interactions: Interactions, fit: Fit) -> None:
    """Log the model as something that MLflow can load and serve."""
    from recsweep.serving import service_of

    requirements = [f"{name}=={found}" for name, found in environment()["packages"].items()]
    user, liked = str(interactions.user_ids.ids[0]), [str(item) for item in interactions.item_ids.ids[:2]]
    k = min(10, interactions.num_items)
    with run.guarded(), TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        service_of(model, interactions).save(folder)
        run.log_model(
            folder, entry=Path(__file__).with_name("served_model.py"), requirements=requirements,
            input_example=[{"user_id": user, "k": k}, {"history": liked, "k": k}], step=fit.kept_epoch or 0,
        )
