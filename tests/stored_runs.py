"""Runs as the main path stores them, without training: reports of made-up models with a known skill."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from recsweep.evaluation import EvaluationReport, cell_metrics, cell_metrics_per_user
from recsweep.tracking import Tracker, TrackingOptions

OPTIONS = TrackingOptions(uri=None, experiment="recsweep")
USERS, CELLS_A_USER = 60, 20


def made_report(skill: float, *, part: str = "validation", seed: int = 0, shift: float = -1.0, cells: bool = True,
                split: str = "s1") -> EvaluationReport:
    """Of a model that tells positives from zeros the better, the more skill it has; the same cells for all.

    Args:
        shift: Of the log odds: below zero fewer cells are predicted positive at 0.5, the order stays.
        cells: Without them the part lists likes alone.
    """
    rng = np.random.default_rng(len(part))
    users = np.repeat(np.arange(USERS), CELLS_A_USER).astype(np.int32)
    targets = (rng.random(len(users)) < 0.2).astype(np.uint8)
    noise = np.random.default_rng([seed, int(100 * skill)]).normal(size=len(users))
    probabilities = (1 / (1 + np.exp(-(skill * (2 * targets - 1.0) + noise + shift)))).astype(np.float32)
    ranked = np.clip(0.2 + skill / 5 + np.random.default_rng(seed).normal(0, 0.1, USERS), 0, 1).astype(np.float32)
    measured = cell_metrics(targets, probabilities, float(np.quantile(probabilities, 0.75))) if cells else {}
    own = cell_metrics_per_user(users, targets, probabilities, measured["threshold"]) if cells else {}
    measured |= {name: float(np.nanmean(column)) for name, column in own.items()}
    return EvaluationReport(
        part=part, metrics=measured | {"ndcg_at_10": float(ranked.mean())},
        protocol={"k": [10], "split_digest": split}, counts={"cells": len(users) if cells else 0},
        users=np.arange(USERS), per_user={"ndcg_at_10": ranked} | own,
        cells={"users": users, "items": np.tile(np.arange(CELLS_A_USER, dtype=np.int32), USERS), "targets": targets,
               "probabilities": probabilities} if cells else None,
        user_counts=None, collapsed=measured.get("share_predicted_positive_at_half") == 0,
    )


def store_run(opened: Tracker, name: str, *reports: EvaluationReport, loss: str | None = None, seed: int = 0,
              data: str = "toy", digest: str = "d1", split: str = "s1", tags: dict[str, str] | None = None,
              split_settings: dict[str, object] | None = None, **settings: object) -> str:
    """A finished run with these reports; its id.

    Args:
        loss: Makes it a net, with a history of two epochs.
        split_settings: Of the rule that made the split, its seed among them.
        settings: Of the model, beside its name.
    """
    labels = {"model_kind": name.split()[0], "data": data, "data_digest": digest, "split_digest": split,
              "seed": seed, **({"loss": loss} if loss else {}), **(tags or {})}
    run = opened.start(name, labels)
    if loss:
        for epoch in (1, 2):
            run.log(metrics={"train/loss": 1 / epoch, "validation/average_precision": 0.1 * epoch,
                             "validation/share_predicted_positive_at_half": 0.01 * epoch}, step=epoch)
    metrics = {name: value for report in reports for name, value in report.prefixed().items()}
    run.log(metrics={**metrics, "fit/seconds": 30.0 if loss else 0.1, "model/num_parameters": 1000, "fit/epochs": 2},
            params={"model.name": name, "seed": seed} | {f"model.{key}": value for key, value in settings.items()}
            | {f"split.{key}": value for key, value in (split_settings or {}).items()},
            step=3)
    with TemporaryDirectory() as scratch:
        for report in reports:
            report.write(Path(scratch) / "evaluation")
        run.log_folder(Path(scratch))
    run.end("FINISHED")
    return run.id
