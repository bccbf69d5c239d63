"""The record of one run in MLflow, from its first entry to its end."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from recsweep.evaluation import (
    EvaluationReport,
    chosen_by,
    evaluate,
    training_threshold,
    truth_metrics,
)
from recsweep.interrupts import interrupts_wait
from recsweep.masking import mask_value
from recsweep.measures import shown
from recsweep.models.base import Fit, Recommender
from recsweep.run.plan import Data, Plan, features_for, sample_for
from recsweep.run.trial import Ending
from recsweep.run.watch import Watch
from recsweep.scratch import scratch_folder
from recsweep.tracking import (
    CHOICES,
    ENVIRONMENT_FILE,
    OBJECTIVE_TAG,
    SAMPLE_TAG,
    TRIAL_TAG,
    DatasetNote,
    Run,
    environment,
    peak_memory_mb,
    tracker,
    with_epochs,
)

log = logging.getLogger(__name__)

PARENT = "parent_run"
"""Name among a config's tags of the id of the run that its run stands under, which is no tag."""


@dataclass(frozen=True)
class Outcome:
    """What became of one config.

    Attributes:
        run_id: Id of the run in MLflow.
        name: Readable name of the run.
        fit: What training left; its `error` says why a run FAILED.
        validation: Report of validation; None where the run failed, or there is no such part.
        test: Report of the test part; None unless it was asked for.
        metrics: The latest value of all that was logged, as `test/f1_at_half` and `fit/seconds`,
            and how many epochs, as `fit/epochs`.
    """

    run_id: str
    name: str
    fit: Fit
    validation: EvaluationReport | None = None
    test: EvaluationReport | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


def start_run(plan: Plan, data: Data) -> Run:
    """Open a run, named and tagged so that it can be found; that of a trial under its study's."""
    model = plan.model
    tags = {
        "model_kind": model.kind,
        "role": model.role,
        "model_label": model.label,
        "random": str(model.is_random).lower(),
        "data": data.interactions.name,
        "seed": plan.seed,
        "candidates": plan.evaluation.tag_of(data.split),
        **({} if (sample := sample_for(plan, data)) is None else {SAMPLE_TAG: sample.tag}),
        **data.digests,
        **_objective_tag(plan, data),
        **({"loss": model.loss_name} if model.loss_name else {}),
        **plan.tags,
        **plan.identity,
    }
    parent = tags.pop(PARENT, None)
    if (trial := plan.trial) is None:
        return tracker(plan.tracking).start(model.label, tags, parent=parent)
    tags |= {TRIAL_TAG: trial.number, "study": trial.study_name, "trial_state": "running"}
    run = tracker(plan.tracking).start(
        f"#{trial.number} {model.label}", tags, parent=trial.parent_run
    )
    trial.started(run.id, model.label, plan.seed, data.digests)
    return run


def _objective_tag(plan: Plan, data: Data) -> dict[str, str]:
    if not data.split.has_validation:
        return {}
    return {OBJECTIVE_TAG: chosen_by(plan.evaluation, data.split.validation).on_validation}


def log_settings(watch: Watch) -> None:
    """Log all that is known before training."""
    run, data = watch.run, watch.data
    interactions, split = data.interactions, data.split
    parts = {f"num_{part}": len(getattr(split, part)) for part in ("train", "validation", "test")}
    sizes = {"num_positives": len(interactions), "density": interactions.density, **parts}
    shape = {"num_users": interactions.num_users, "num_items": interactions.num_items}
    facts = {f"data.{name}": value for name, value in (shape | sizes | data.digests).items()}
    name, source = interactions.name, interactions.source
    chosen = {"data": name, "split": split.kind}
    run.log(params=watch.plan.params | chosen | facts)
    profile = {**shape, **sizes, "dropped": dict(interactions.dropped)}
    if interactions.zeros is not None:
        profile["num_zeros"] = len(interactions.zeros.users)
    if interactions.found:
        profile["found"] = interactions.found
    for table in (interactions.user_features, interactions.item_features):
        if table is not None:
            profile[f"{table.entity}_features"] = table.in_words()
    run.log_datasets(
        [
            DatasetNote(name, interactions.digest, source, profile, "data"),
            DatasetNote(data.split_name, split.digest, source, parts, "split"),
        ]
    )


def conclude(watch: Watch, fit: Fit) -> Outcome:
    """End the run: FINISHED with what training left, KILLED where its study pruned it, or FAILED
    with the reason, which is this run's alone.

    A trial is told its end before the run is: killed in between, the study knows it, and the same
    command ends the run.
    """
    error = fit.error
    if error is None:
        try:
            ending, outcome = (log_pruned if watch.pruned else log_results)(watch, fit)
            with interrupts_wait():
                if watch.plan.trial is not None:
                    watch.plan.trial.ended(ending)
                status = "KILLED" if watch.pruned else "FINISHED"
                watch.run.end(status, ending.reason, trial_state=ending.state)
            return outcome
        except Exception as raised:
            error = raised
    watch.run.fail(error)
    return Outcome(watch.run.id, watch.run.name, replace(fit, error=error))


def log_pruned(watch: Watch, fit: Fit) -> tuple[Ending, Outcome]:
    """Log what is left of a run that its study has ended early: the values of its last epoch stand
    where those of others' kept weights do, unless they are of a sample."""
    run, report = watch.run, watch.reports.get(fit.epochs)
    last = {} if report is None or watch.sample is not None else report.prefixed()
    run.log(metrics={**last, "fit/seconds": fit.seconds}, tags={"epochs": fit.epochs})
    ending = Ending(state="pruned", reason=watch.pruned, epochs=fit.epochs)
    return ending, Outcome(run.id, run.name, fit)


def log_results(watch: Watch, fit: Fit) -> tuple[Ending, Outcome]:
    """Evaluate the kept weights, and log everything that is known after training."""
    run, plan, data = watch.run, watch.plan, watch.data
    assert fit.kept_epoch is not None, "what was trained to its end has kept an epoch"
    validation = watch.reports.get(fit.kept_epoch)
    if watch.sample is not None:
        validation = watch.validated()
    test, threshold = None, None
    if plan.evaluation.test:
        if validation is None:
            threshold = training_threshold(plan.model, data.split)
        else:
            threshold = validation.metrics.get("threshold")
        test = evaluate(
            plan.model,
            data.split,
            "test",
            protocol=plan.evaluation,
            threshold=threshold,
            sample=None,
            **features_for(plan.model, data),
        )
    reports = [report for report in (validation, test) if report is not None]
    epochs = {"epochs": fit.epochs, "best_epoch": watch.best_epoch, "kept_epoch": fit.kept_epoch}
    metrics: dict[str, float] = {
        "fit/seconds": fit.seconds,
        "fit/watch_seconds": watch.seconds,
        "model/num_parameters": plan.model.num_parameters,
        "memory/peak_mb": peak_memory_mb(),
    }
    metrics |= logged_metrics(reports, data)
    collapsed = _can_collapse(plan.model) and any(report.collapsed for report in reports[:1])
    tags = {"collapsed": str(collapsed).lower()} | {name: str(n) for name, n in epochs.items()}
    if plan.model.calibration is not None:
        tags["calibrated"] = plan.model.calibration.fitted_on
    run.begin_model(model_name(plan.model), model_settings(run.params))
    # under names that no epoch has, and of no step: bars in MLflow's charts, and in its run table
    run.log(
        metrics=metrics,
        tags=tags,
        note=describe(watch, fit, reports),
        measured_on=(data.split_name, data.split.digest),
    )
    # a study tells of its trials in its own way; the tag says it of each
    if collapsed and plan.trial is None:
        log.warning(
            "%s predicts no positive at 0.5, of %.1f %% that are: it has collapsed to zeros at "
            "that threshold.",
            run.name,
            100 * reports[0].metrics["prevalence"],
        )
    with run.guarded(), scratch_folder() as scratch:
        write_artifacts(Path(scratch), watch, fit, reports)
        run.log_folder(Path(scratch))
    log_model(run, plan.model, data, fit)
    known = with_epochs(run.metrics, tags)
    ending = Ending(
        state="complete",
        epochs=fit.epochs,
        metrics=known,
        chosen_by=watch.objective,
        num_parameters=plan.model.num_parameters,
        max_epochs=plan.model.max_epochs,
    )
    return ending, Outcome(run.id, run.name, fit, validation, test, known)


def logged_metrics(reports: Sequence[EvaluationReport], data: Data) -> dict[str, float]:
    """Metrics of reports as a run logs them, those of the true probabilities among them."""
    metrics: dict[str, float] = {}
    for report in reports:
        truth = truth_metrics(data.interactions.probabilities, getattr(data.split, report.part))
        metrics |= report.prefixed()
        metrics |= {f"{report.part}/{name}": value for name, value in truth.items()}
    return metrics


def describe(watch: Watch, fit: Fit, reports: Sequence[EvaluationReport]) -> str:
    """The run's note in Markdown: what it is, what it reached, and what to know when reading its
    numbers."""
    split, interactions = watch.data.split, watch.data.interactions
    stopped = f"; stopped early: {fit.stopped}" if fit.stopped else ""
    lines = [
        f"**{watch.run.name}** on {interactions.name} ({interactions.num_users:,} x "
        f"{interactions.num_items:,}, {len(interactions):,} positives), split `{split.kind}`. "
        f"{fit.epochs} epoch(s), weights of epoch {fit.kept_epoch} kept{stopped}."
    ]
    for report in reports:
        values = ", ".join(
            f"{measure.name} {report.metrics[measure.name]:.4f}"
            for measure in shown("description")
            if measure.name in report.metrics
        )
        lines.append(f"{report.part}: {values}")
    if watch.sample is not None:
        lines.append(
            f"Epochs were compared on a sample of {len(watch.sample.users):,} of "
            f"{watch.sample.number_of_all:,} users of validation (seed {watch.sample.seed}), as "
            "`validation_sample/...`; what is told of validation here is of all."
        )
    if not split.has_validation:
        lines.append(
            "There is no validation part: nothing was chosen on one, and the last epoch stays."
        )
    if reports and "threshold" in reports[0].metrics:
        lines.append(
            f"Metrics `_at_threshold` use {reports[0].metrics['threshold']:.4f}, chosen on "
            f"{'validation' if split.has_validation else 'the training cells'}."
        )
    if details := watch.plan.model.details:
        lines.append(f"{details[0].upper()}{details[1:]}.")
    for report in reports[:1]:
        if _can_collapse(watch.plan.model) and report.collapsed:
            lines.append(f"**Collapsed**: no cell of {report.part} is predicted positive at 0.5.")
        if caution := report.protocol.get("caution"):
            lines.append(caution)
    return "\n\n".join(lines)


def _can_collapse(model: Recommender) -> bool:
    """Whether no cell above 0.5 says anything of the training: low probabilities that are
    calibrated are what is asked for."""
    return model.role == "net" and model.calibration is None


def write_artifacts(
    folder: Path, watch: Watch, fit: Fit, reports: Sequence[EvaluationReport]
) -> None:
    """Config, environment, reports and plots, as files that become the run's artifacts."""
    import json

    from recsweep.run.plots import plot_precision_recall, plot_training_curves

    # masked before it is YAML, which breaks long lines
    resolved = OmegaConf.to_yaml(OmegaConf.create(mask_value("", watch.plan.settings)))
    surroundings = json.dumps(environment(), indent=2)
    (folder / "config.yaml").write_text(resolved, encoding="utf-8")
    (folder / ENVIRONMENT_FILE).write_text(surroundings + "\n", encoding="utf-8")
    plots = {}
    for report in reports:
        report.write(folder / "evaluation")
        if report.cells is not None:
            plots[f"{report.part}_precision_recall"] = plot_precision_recall(report, watch.run.name)
    if fit.train_losses:
        plots["training_curves"] = plot_training_curves(
            fit.train_losses,
            watch.epochs,
            watch.history,
            watch.objective,
            fit.kept_epoch,
            watch.sample,
        )
    for name, drawing in plots.items():
        (folder / "plots").mkdir(exist_ok=True)
        (folder / "plots" / f"{name}.svg").write_text(drawing, encoding="utf-8")


NOT_IN_NAMES = str.maketrans({"/": "-", ".": ",", ":": "=", "%": None, "'": None, '"': None})
"""What MLflow does not take in the name of a logged model, and what stands for it."""

NAME_LENGTH = 250
"""Characters of that name."""


def model_name(model: Recommender) -> str:
    """What its logged model is called: its label, as far as MLflow takes it, with its kind."""
    label = model.label if model.kind in model.label else f"{model.kind} {model.label}"
    return label.translate(NOT_IN_NAMES).strip()[:NAME_LENGTH] or "model"


def model_settings(params: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's params say of its model: what was chosen, and the settings without classes."""
    return {
        name: value
        for name, value in params.items()
        if name in (*CHOICES, "seed")
        or (name.startswith("model.") and not name.endswith("._target_"))
    }


def log_model(run: Run, model: Recommender, data: Data, fit: Fit) -> None:
    """Log the model as something that MLflow can load and serve."""
    from recsweep.serving.messages import SIGNATURE
    from recsweep.serving.service import service_of

    requirements = [f"{name}=={version}" for name, version in environment()["packages"].items()]
    interactions = data.interactions
    user = str(interactions.user_ids.ids[0])
    liked = [str(item) for item in interactions.item_ids.ids[:2]]
    service = service_of(model, interactions, data.split.train)
    k = service.default_k
    run.log_model(
        service.save,
        entry=Path(__file__).parents[1] / "serving" / "served_model.py",
        signature=SIGNATURE,
        requirements=requirements,
        input_example=[{"user_id": user, "k": k}, {"history": liked, "k": k}],
        step=fit.kept_epoch or 0,
    )
