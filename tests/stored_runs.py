"""Reports of made-up models with a known skill, and runs of them as the main path stores them,
without training."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from recsweep.evaluation import SAMPLE_PREFIX, EvaluationReport, cell_metrics, cell_metrics_per_user
from recsweep.tracking import SAMPLE_TAG, Tracker, TrackingOptions

OPTIONS = TrackingOptions(uri=None, experiment="recsweep")
USERS, CELLS_A_USER = 60, 20


def report_of(
    users: np.ndarray,
    targets: np.ndarray,
    probabilities: np.ndarray,
    *,
    part: str = "test",
    threshold: float | None = 0.3,
    ranking: np.ndarray | None = None,
    per_user: bool = False,
    metrics: dict[str, float] | None = None,
    protocol: dict[str, object] | None = None,
    cells: bool = True,
) -> EvaluationReport:
    """What evaluating a model gives that answers these cells so.

    Args:
        users: (num_cells,), ascending.
        targets: (num_cells,), 1 where the cell is a positive.
        probabilities: (num_cells,)
        threshold: None takes the one at which a quarter of the cells is predicted positive.
        ranking: NDCG at 10 of each user; None for one that was not measured.
        per_user: Whether measures of cells have a value for each user too.
        metrics: Further ones.
        cells: Without them the part lists likes alone.
    """
    targets, probabilities = targets.astype(np.uint8), probabilities.astype(np.float32)
    threshold = float(np.quantile(probabilities, 0.75)) if threshold is None else threshold
    own = (
        cell_metrics_per_user(users, targets, probabilities, threshold)
        if cells and per_user
        else {}
    )
    measured = cell_metrics(targets, probabilities, threshold) if cells else {}
    measured |= {name: float(np.nanmean(column)) for name, column in own.items()}
    if ranking is not None:
        measured["ndcg_at_10"] = float(ranking.mean())
        own = {"ndcg_at_10": ranking.astype(np.float32)} | own
    return EvaluationReport(
        part=part,
        metrics=measured | (metrics or {}),
        protocol=protocol or {},
        counts={"cells": len(users) if cells else 0},
        users=np.unique(users),
        per_user=own,
        cells={
            "users": users,
            "items": _places(users),
            "targets": targets,
            "probabilities": probabilities,
        }
        if cells
        else None,
        user_counts=None,
        collapsed=measured.get("share_predicted_positive_at_half") == 0,
    )


def _places(users: np.ndarray) -> np.ndarray:
    """Of each cell among those of its user: its item."""
    starts = np.unique(users, return_index=True)[1]
    return (np.arange(len(users)) - starts[np.searchsorted(np.unique(users), users)]).astype(
        np.int32
    )


def made_report(
    skill: float,
    *,
    part: str = "validation",
    seed: int = 0,
    shift: float = -1.0,
    cells: bool = True,
    split: str = "s1",
) -> EvaluationReport:
    """Of a model that tells positives from zeros the better, the more skill it has; the same cells
    for all.

    Args:
        shift: Of the log odds: below zero fewer cells are predicted positive at 0.5, the order
            stays.
        cells: Without them the part lists likes alone.
    """
    rng = np.random.default_rng(len(part))
    users = np.repeat(np.arange(USERS), CELLS_A_USER).astype(np.int32)
    targets = (rng.random(len(users)) < 0.2).astype(np.uint8)
    noise = np.random.default_rng([seed, int(100 * skill)]).normal(size=len(users))
    probabilities = (1 / (1 + np.exp(-(skill * (2 * targets - 1.0) + noise + shift)))).astype(
        np.float32
    )
    ranked = np.clip(
        0.2 + skill / 5 + np.random.default_rng(seed).normal(0, 0.1, USERS), 0, 1
    ).astype(np.float32)
    return report_of(
        users,
        targets,
        probabilities,
        part=part,
        threshold=None,
        ranking=ranked,
        per_user=True,
        protocol={"k": [10], "split_digest": split},
        cells=cells,
    )


def log_run(
    opened: Tracker,
    name: str,
    status: str = "FINISHED",
    *,
    split: str = "s1",
    tags: dict[str, object] | None = None,
    metrics: dict[str, float] | None = None,
    artifacts: Path | None = None,
) -> str:
    """A run that has ended with so much logged; its id."""
    measured_on = {"data": "toy", "data_digest": "d1", "split_digest": split}
    run = opened.start(name, {"model_kind": name.split()[0], **measured_on, **(tags or {})})
    run.log(metrics=metrics or {})
    if artifacts is not None:
        run.log_folder(artifacts)
    run.end(status)
    return run.id


def store_run(
    opened: Tracker,
    name: str,
    *reports: EvaluationReport,
    loss: str | None = None,
    seed: int = 0,
    data: str = "toy",
    digest: str = "d1",
    split: str = "s1",
    tags: dict[str, str] | None = None,
    split_settings: dict[str, object] | None = None,
    **settings: object,
) -> str:
    """A finished run with these reports; its id.

    Args:
        loss: Makes it a net, with a history of two epochs.
        split_settings: Of the rule that made the split, its seed among them.
        settings: Of the model, beside its name.
    """
    labels = {
        "model_kind": name.split()[0],
        "data": data,
        "data_digest": digest,
        "split_digest": split,
        "seed": seed,
        **({"loss": loss} if loss else {}),
        **(tags or {}),
    }
    run = opened.start(name, labels)
    if loss:
        prefix = SAMPLE_PREFIX if SAMPLE_TAG in labels else "validation"
        for epoch in (1, 2):
            run.log(
                metrics={
                    "train/loss": 1 / epoch,
                    f"{prefix}/average_precision": 0.1 * epoch,
                    f"{prefix}/share_predicted_positive_at_half": 0.01 * epoch,
                },
                step=epoch,
            )
    metrics = {name: value for report in reports for name, value in report.prefixed().items()}
    run.log(
        metrics={
            **metrics,
            "fit/seconds": 30.0 if loss else 0.1,
            "model/num_parameters": 1000,
            "fit/epochs": 2,
        },
        params={"model.name": name, "seed": seed}
        | {f"model.{key}": value for key, value in settings.items()}
        | {f"split.{key}": value for key, value in (split_settings or {}).items()},
        step=3,
    )
    with TemporaryDirectory() as scratch:
        for report in reports:
            report.write(Path(scratch) / "evaluation")
        run.log_folder(Path(scratch))
    run.end("FINISHED")
    return run.id
