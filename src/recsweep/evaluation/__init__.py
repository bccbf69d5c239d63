"""From a fitted model and a part of a split to a report: the only evaluation and the only top-k of
the project."""

from recsweep.evaluation.candidates import check_candidates
from recsweep.evaluation.cells import cell_metrics, cell_metrics_per_user, truth_metrics
from recsweep.evaluation.parts import evaluate, training_threshold
from recsweep.evaluation.protocol import (
    CANDIDATES,
    CAUTION,
    PARTS,
    EvaluationProtocol,
    candidates_in_words,
    chosen_by,
    is_subset,
    objective_of,
)
from recsweep.evaluation.ranking import top_k
from recsweep.evaluation.report import EvaluationReport, read_report

__all__ = [
    "CANDIDATES",
    "CAUTION",
    "PARTS",
    "EvaluationProtocol",
    "EvaluationReport",
    "candidates_in_words",
    "cell_metrics",
    "cell_metrics_per_user",
    "check_candidates",
    "chosen_by",
    "evaluate",
    "is_subset",
    "objective_of",
    "read_report",
    "top_k",
    "training_threshold",
    "truth_metrics",
]
