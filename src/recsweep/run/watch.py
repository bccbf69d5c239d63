"""The watch over a training: evaluates, logs, chooses and prunes, epoch by epoch."""

import logging
import math
import multiprocessing
from dataclasses import dataclass, field
from functools import cached_property
from time import perf_counter

from recsweep.evaluation import EvaluationReport, Sample, evaluate, objective_of
from recsweep.logs import shows_progress
from recsweep.measures import F1_AT_THRESHOLD, TRAIN_LOSS
from recsweep.models.base import EpochDecision, FitOptions, Recommender
from recsweep.run.plan import Data, Plan, features_for, sample_for
from recsweep.tracking import Run

log = logging.getLogger(__name__)

TELL_SECONDS = 10
"""Time between two epochs that a worker process tells of a run, beside those of others."""


@dataclass
class Watch:
    """One run as it is trained: its `on_epoch` evaluates on validation, logs, and says which epoch
    is the best.

    A trial of a study is told the objective too, and may be pruned, though not after its last
    epoch: that would save nothing. A model that is not trained in epochs has nothing that others
    could be compared with on the way.

    Epochs are evaluated on a sample of the users where validation has many. All that compares them
    is then of the sample: the best epoch, the early stop, and what a pruner is told. Without a
    validation part there is nothing to evaluate on: then `history`, `reports`, `best` and
    `objective` stay empty.

    Attributes:
        history: Validation metrics by plain name, one value an epoch of `epochs`.
        epochs: The epochs that were evaluated, from 1.
        reports: Epoch to report, of the best epoch and of the latest; of the sample, where there is
            one.
        best: Value of the objective in the best epoch.
        best_epoch: Number of the best epoch, from 1.
        objective: Plain name of the measure that chooses the epoch.
        seconds: Seconds that all of this took.
        pruned: Reason why the trial ends early; empty as long as it does not.
    """

    run: Run
    plan: Plan
    data: Data
    history: dict[str, list[float]] = field(default_factory=dict)
    epochs: list[int] = field(default_factory=list)
    reports: dict[int, EvaluationReport] = field(default_factory=dict)
    best: float | None = None
    best_epoch: int = 0
    objective: str = ""
    seconds: float = 0.0
    pruned: str = ""
    _told: float = -math.inf

    @cached_property
    def sample(self) -> Sample | None:
        """The users on whom epochs are evaluated; None for all."""
        return sample_for(self.plan, self.data)

    def validated(self, sample: Sample | None = None) -> EvaluationReport:
        """The model as it is now, on validation: on a sample, or on all."""
        return evaluate(
            self.plan.model,
            self.data.split,
            "validation",
            protocol=self.plan.evaluation,
            threshold=None,
            sample=sample,
            **features_for(self.plan.model, self.data),
        )

    @property
    def options(self) -> FitOptions:
        """What the fit is told beside its data."""
        progress = self.plan.trial is None and shows_progress()
        return FitOptions(
            self.plan.seed,
            self,
            progress,
            validation=self.data.split.validation if self.data.split.has_validation else None,
            **features_for(self.plan.model, self.data),
        )

    def __call__(self, epoch: int, model: Recommender, train_loss: float | None) -> EpochDecision:
        if not self.data.split.has_validation:
            return self._without_validation(epoch, train_loss)
        start = perf_counter()
        report = self.validated(self.sample)
        metrics = dict(report.metrics)
        logged = {}
        if self.plan.model.max_epochs is not None:
            logged = report.of_epoch(of_sample=self.sample is not None)
        if train_loss is not None:
            metrics[TRAIN_LOSS.name] = logged[TRAIN_LOSS.logged] = train_loss
        self.objective, value, maximise = objective_of(
            metrics, self.plan.evaluation, self.data.split.validation
        )
        better = self.best is None or (value > self.best if maximise else value < self.best)
        if better:
            self.best, self.best_epoch = value, epoch
        kept = {self.best_epoch: self.reports[self.best_epoch]} if not better else {}
        self.reports = {**kept, epoch: report}
        self.epochs.append(epoch)
        for name, number in report.metrics.items():
            self.history.setdefault(name, []).append(number)
        if logged:
            self.run.log(metrics=logged, step=epoch)
        shown = {}
        if F1_AT_THRESHOLD.name in metrics:
            shown["validation F1"] = metrics[F1_AT_THRESHOLD.name]
        shown[f"validation {self.objective}"] = value
        if train_loss is not None:
            self._tell(epoch, train_loss, value, shown)
        self.seconds += perf_counter() - start
        return EpochDecision(self.pruned or None, better, shown)

    def _without_validation(self, epoch: int, train_loss: float | None) -> EpochDecision:
        """Nothing chooses: each epoch is the best so far, and the last one stays."""
        self.best_epoch = epoch
        if train_loss is not None:
            self.run.log(metrics={TRAIN_LOSS.logged: train_loss}, step=epoch)
            if not shows_progress() and self._is_due():
                log.info("%s  %s  loss %.5f", self.run.name, self._epoch(epoch), train_loss)
        return EpochDecision(keep=True)

    def _tell(self, epoch: int, train_loss: float, value: float, shown: dict[str, float]) -> None:
        """Tell the trial of an epoch, or the person at a terminal without a progress bar."""
        if self.plan.trial is not None:
            prune, max_epochs = self.plan.trial.report(epoch, value), self.plan.model.max_epochs
            if prune and (max_epochs is None or epoch < max_epochs):
                self.pruned = f"pruned after epoch {epoch} with {self.objective} {value:.4f}"
        elif not shows_progress() and self._is_due():
            figures = ", ".join(f"{name} {figure:.4f}" for name, figure in shown.items())
            words = self._epoch(epoch)
            log.info("%s  %s  loss %.5f, %s", self.run.name, words, train_loss, figures)

    def _is_due(self) -> bool:
        """Whether an epoch is told: each of a run by itself, and of several at once one every few
        seconds."""
        now = perf_counter()
        if multiprocessing.parent_process() is not None and now - self._told < TELL_SECONDS:
            return False
        self._told = now
        return True

    def _epoch(self, epoch: int) -> str:
        most = self.plan.model.max_epochs
        return f"epoch {epoch}" if most is None else f"epoch {epoch} of {most}"
