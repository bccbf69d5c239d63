"""From a fitted model and a part of a split to a report: the only evaluation of the project."""

from typing import Any

import numpy as np

from recsweep.checks import check_choice
from recsweep.data.features import FeatureTable
from recsweep.data.interactions import Part, Split, array_digest
from recsweep.errors import ConfigError
from recsweep.evaluation.cells import (
    metrics_of_cells,
    metrics_of_each_user,
    probabilities_of,
    user_counts_of,
)
from recsweep.evaluation.nan import mean_of_defined
from recsweep.evaluation.protocol import (
    ALL_USERS,
    CANDIDATES,
    CAUTION,
    PARTS,
    SUBSETS,
    EvaluationProtocol,
    Sample,
    candidates_in_words,
)
from recsweep.evaluation.ranking import evaluate_rankings
from recsweep.evaluation.report import EvaluationReport
from recsweep.measures import SHARE_PREDICTED_POSITIVE
from recsweep.measures.of_cells import Cells
from recsweep.models.base import Recommender


def evaluate(
    model: Recommender,
    split: Split,
    part: str = "validation",
    *,
    protocol: EvaluationProtocol,
    threshold: float | None = None,
    sample: Sample | None = None,
    user_features: FeatureTable | None = None,
    item_features: FeatureTable | None = None,
) -> EvaluationReport:
    """Measure a fitted model on one part.

    Cell metrics are of the part's own cells, pooled and as means over users, and left out where it
    lists positives only. Means over users are over those with a positive in the part. The
    candidates of rankings are those of `EvaluationProtocol.candidates`; where a part lists
    positives only, all items but the positives of the user that come before the part: of training,
    on test also of validation, and of the given history of a held-out user.

    Args:
        model: Scores held-out users by `score_histories` and held-out items by `score_new_items`
            where it has those, else by `score` like the others.
        split: The part and what comes before it.
        part: `validation` or `test`.
        protocol: Lengths of the lists, and the bounds of memory.
        threshold: Threshold of the metrics `_at_threshold`. None takes the one that maximises F1,
            on validation only; on test pass what validation chose.
        sample: Users on whom alone it is measured, of cells and of rankings; None for all. What
            their lists are chosen from stays the same.
        user_features: What a model that `takes_features` was told of the users: held-out ones are
            scored by theirs too. None for other models.
        item_features: Likewise of the items.

    Raises:
        ConfigError: The test part enumerates cells and no threshold was passed, or there is no
            validation part.
        FitError: The model gave something that is not a number.
    """
    check_choice("part", part, PARTS)
    measured: Part = getattr(split, part)
    if part == "validation" and not split.has_validation:
        raise ConfigError(
            "There is no validation part to evaluate on, as of split.validation=0. Evaluate the "
            "test part: evaluation.test=true, of a notebook part='test'."
        )
    has_cells = measured.enumerates_cells and len(measured) > 0
    if has_cells and part == "test" and threshold is None:
        raise ConfigError(
            "Evaluating the test part takes the threshold that was chosen on validation, not None: "
            "pass threshold=report.metrics['threshold'] of the validation report."
        )
    if sample is not None:
        measured = sample.of(measured)
    metrics, stored_cells, user_counts = {}, None, None
    if has_cells:
        probabilities = probabilities_of(model, measured)
        cells = Cells(measured.targets, probabilities, threshold, measured.users)
        metrics = metrics_of_cells(cells)
        if len(measured) <= protocol.max_stored_cells:
            stored_cells = {
                "users": measured.users,
                "items": measured.items,
                "targets": measured.targets,
                "probabilities": probabilities,
            }
        else:
            user_counts = user_counts_of(cells)
    ranking_metrics, users, per_user = evaluate_rankings(
        model,
        split,
        part,
        protocol,
        among=None if sample is None else sample.users,
        user_features=user_features,
        item_features=item_features,
    )
    if has_cells and len(users):
        own = metrics_of_each_user(cells)
        per_user |= own
        metrics |= {name: mean_of_defined(values) for name, values in own.items()}
    metrics |= ranking_metrics
    return EvaluationReport(
        part=part,
        metrics={name: value for name, value in metrics.items() if not np.isnan(value)},
        protocol=_describe(split, part, protocol, threshold, sample),
        counts={
            "users": len(users),
            "items": split.num_items,
            "positives": measured.num_positives,
            "cells": len(measured) if has_cells else 0,
        },
        users=users,
        per_user=per_user,
        cells=stored_cells,
        user_counts=user_counts,
        collapsed=metrics.get(SHARE_PREDICTED_POSITIVE.name) == 0,
    )


def training_threshold(model: Recommender, split: Split) -> float | None:
    """The threshold that maximises F1 on the training cells, where there are no others to choose
    it on; None where the training part enumerates none."""
    if not split.train.enumerates_cells:
        return None
    probabilities = probabilities_of(model, split.train)
    return Cells(split.train.targets, probabilities).threshold


def _describe(
    split: Split,
    part: str,
    protocol: EvaluationProtocol,
    threshold: float | None,
    sample: Sample | None,
) -> dict[str, Any]:
    candidates, excluded = _candidates_in_words(split, part, protocol)
    content: list[np.ndarray | str] = [split.digest, candidates, excluded]
    kind = protocol.candidates_of(split)
    if kind == "given" and split.candidates is not None:
        content += [split.candidates.indptr, split.candidates.indices]
    users = ALL_USERS
    if sample is not None:
        content.append(sample.users)
        users += f", of a sample of its users: {sample.tag}"
    return {
        "split": split.kind,
        "split_seed": split.seed,
        "split_digest": split.digest,
        "k": list(protocol.k),
        "candidates": candidates,
        "excluded": excluded,
        "digest": array_digest(content),
        "users": users,
        "threshold": "maximises F1 on this part" if threshold is None else "given",
        **({"caution": CAUTION} if kind in SUBSETS else {}),
    }


def _candidates_in_words(split: Split, part: str, protocol: EvaluationProtocol) -> tuple[str, str]:
    """What a list is chosen from, and what it may not hold."""
    kind = protocol.candidates_of(split)
    if kind == "part":
        return CANDIDATES["part"], "all other cells"
    if kind == "sampled":
        words = candidates_in_words(protocol.tag_of(split))
        return words, "the user's positives of all other parts"
    noun = "cells" if kind == "unseen" else "positives"
    excluded = f"the user's training {noun}" + (f" and validation {noun}" if part == "test" else "")
    if kind == "unseen":
        return "all items but the excluded", excluded
    items = "all items" if split.item_histories is None else "the part's new items"
    if split.histories is not None or split.item_histories is not None:
        excluded += " and given history"
    if kind == "given":
        return CANDIDATES["given"], excluded
    return f"{items} but the excluded", excluded
