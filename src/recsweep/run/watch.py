"""The watch over a training: evaluates, logs, chooses and prunes, epoch by epoch."""

import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol

from recsweep.evaluation import EvaluationReport, evaluate, objective_of
from recsweep.measures import F1_AT_THRESHOLD, TRAIN_LOSS
from recsweep.models.base import EpochDecision, Recommender
from recsweep.run.plan import Data, Plan
from recsweep.tracking import Run

log = logging.getLogger(__name__)


class Trial(Protocol):
    """What a run tells the trial of a study that it is.

    Attributes:
        number: Its number in the study.
        study_name: Name of the study.
        parent_run: Run of the study in MLflow; None where it has none.
    """

    number: int
    study_name: str
    parent_run: str | None

    def run_started(self, run_id: str, name: str, seed: int) -> None:
        """Take note of the run."""

    def report(self, epoch: int, value: float) -> bool:
        """Take note of the objective after an epoch; whether the trial shall be pruned."""

    def pruned(self, reason: str, epochs: int) -> None:
        """The run was ended early."""

    def complete(self, metrics: Mapping[str, float], *, chosen_by: str, epochs: int, num_parameters: int,
                 max_epochs: int | None = None) -> None:
        """The run has ended with these metrics."""


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
    trial: Trial | None = None
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
        metrics = report.metrics if train_loss is None else {**report.metrics, TRAIN_LOSS.name: train_loss}
        self.objective, value, maximise = objective_of(metrics, self.plan.evaluation, self.data.split.validation)
        better = self.best is None or (value > self.best if maximise else value < self.best)
        if better:
            self.best, self.best_epoch = value, epoch
        self.reports = {e: r for e, r in {**self.reports, epoch: report}.items() if e in (epoch, self.best_epoch)}
        for name, number in report.metrics.items():
            self.history.setdefault(name, []).append(number)
        logged = report.prefixed() if train_loss is None else {TRAIN_LOSS.logged: train_loss, **report.prefixed()}
        self.run.log(metrics=logged, step=epoch)
        shown = {} if F1_AT_THRESHOLD.name not in metrics else {"validation F1": metrics[F1_AT_THRESHOLD.name]}
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
