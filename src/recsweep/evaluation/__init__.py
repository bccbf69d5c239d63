"""From a fitted model and a part of a split to a report: the only evaluation and the only top-k of
the project."""

from recsweep.evaluation.candidates import check_candidates
from recsweep.evaluation.cells import cell_metrics, cell_metrics_per_user, truth_metrics
from recsweep.evaluation.parts import evaluate, training_threshold
from recsweep.evaluation.protocol import (
    ALL_USERS,
    CANDIDATES,
    CAUTION,
    PARTS,
    EvaluationProtocol,
    Sample,
    candidates_in_words,
    chosen_by,
    is_subset,
    objective_of,
    sampling_rule,
)
from recsweep.evaluation.ranking import top_k
from recsweep.evaluation.report import EPOCHS_PREFIX, SAMPLE_PREFIX, EvaluationReport, read_report

__all__ = [
    "ALL_USERS",
    "CANDIDATES",
    "CAUTION",
    "EPOCHS_PREFIX",
    "PARTS",
    "SAMPLE_PREFIX",
    "EvaluationProtocol",
    "EvaluationReport",
    "Sample",
    "candidates_in_words",
    "cell_metrics",
    "cell_metrics_per_user",
    "check_candidates",
    "chosen_by",
    "evaluate",
    "is_subset",
    "objective_of",
    "read_report",
    "sampling_rule",
    "top_k",
    "training_threshold",
    "truth_metrics",
]
