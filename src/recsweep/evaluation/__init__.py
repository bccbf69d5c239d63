"""From a fitted model and a part of a split to a report: the only evaluation and the only top-k of
the project."""

from recsweep.evaluation.cells import cell_metrics, cell_metrics_per_user, truth_metrics
from recsweep.evaluation.parts import evaluate
from recsweep.evaluation.protocol import (
    CANDIDATES,
    PARTS,
    EvaluationProtocol,
    chosen_by,
    objective_of,
)
from recsweep.evaluation.ranking import top_k
from recsweep.evaluation.report import EvaluationReport, read_report

__all__ = [
    "CANDIDATES",
    "PARTS",
    "EvaluationProtocol",
    "EvaluationReport",
    "cell_metrics",
    "cell_metrics_per_user",
    "chosen_by",
    "evaluate",
    "objective_of",
    "read_report",
    "top_k",
    "truth_metrics",
]
