"""From a fitted model and a part of a split to a report: the only evaluation and the only top-k of
the project."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recsweep.checks import check_choice, check_flag, check_integer
from recsweep.data.interactions import Part, Split, array_digest, frozen
from recsweep.errors import ConfigError, DataError, FitError, ObjectiveError
from recsweep.measures import (
    ENTRIES,
    MEASURES,
    SHARE_PREDICTED_POSITIVE,
    Measure,
    available,
    measure,
    shown,
)
from recsweep.measures.forms import AllLists, EachList, EachUser, OfCells
from recsweep.measures.plain import Cells, Lists, self_information
from recsweep.models.base import Folds, FoldsItems, Recommender

if TYPE_CHECKING:
    from pandas import DataFrame

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

PARTS = ("validation", "test")
CANDIDATES = {
    "part": "the user's cells of the part",
    "unseen": "all items but the user's cells of earlier parts",
    "not_liked": "all items but what the user liked before",
}
"""What lists are chosen from, in words."""
_CELLS_AT_ONCE = 65_536
_SCORES_AT_ONCE = 16_000_000  # 64 MB of float32; top_k needs about three times as much


@dataclass(frozen=True, kw_only=True)
class EvaluationProtocol:
    """How a part is evaluated, and which of its metrics chooses.

    Attributes:
        k: Lengths of the lists that ranking metrics look at; kept ascending.
        candidates: What a user's list is chosen from where the split enumerates cells: `part`, the
            user's cells of the part; `unseen`, all items but the user's cells of earlier parts;
            `not_liked`, all items but the user's earlier positives, which leaves known zeros of
            training among them: the protocol of studies that were begun with it, which rewards a
            model for remembering them. Another split has no known zeros: there it is always
            `not_liked`.
        objective: The validation metric that chooses epochs and settings, with or without
            `validation/`. None takes average_precision where the part enumerates cells, else NDCG
            at 10 (at the first k, without a 10).
        test: Whether a single run ends with an evaluation of the test part.
        max_stored_cells: A part with more cells than this keeps counts per user in its report, not
            the cells.
        batch_users: Users scored at once; fewer where the catalogue is large.

    Raises:
        ConfigError: A setting is impossible.
    """

    k: tuple[int, ...]
    candidates: str
    objective: str | None
    test: bool
    max_stored_cells: int
    batch_users: int

    def __post_init__(self) -> None:
        listed = isinstance(self.k, Sequence) and not isinstance(self.k, str)
        for length in self.k if listed else ():
            check_integer("evaluation.k", length, minimum=1)
        if not listed or not self.k or len(set(self.k)) < len(self.k):
            raise ConfigError(
                f"evaluation.k must list different whole numbers, as [5, 10, 20], not {self.k!r}."
            )
        object.__setattr__(self, "k", tuple(sorted(self.k)))
        check_choice("evaluation.candidates", self.candidates, tuple(CANDIDATES))
        if self.objective is not None:
            _plain_objective(self.objective)
        check_flag("evaluation.test", self.test)
        check_integer("evaluation.max_stored_cells", self.max_stored_cells, minimum=0)
        check_integer("evaluation.batch_users", self.batch_users, minimum=1)

    def candidates_of(self, split: Split) -> str:
        """The one of CANDIDATES that is in force on a split."""
        return self.candidates if split.validation.enumerates_cells else "not_liked"


def _plain_objective(name: str) -> str:
    """The objective without `validation/`. Raises ConfigError where it is not a metric of
    validation."""
    if not isinstance(name, str) or not name:
        raise ConfigError(
            "evaluation.objective must name a metric, as average_precision, or be null, not "
            f"{name!r}."
        )
    if name.startswith("test/"):
        raise ConfigError(
            f"evaluation.objective must be a metric of validation, not {name!r}: what chooses on "
            f"the test part can't be measured there. Take {name.removeprefix('test/')!r}."
        )
    return name.removeprefix("validation/")


def chosen_by(protocol: EvaluationProtocol, part: Part) -> Measure:
    """The measure that chooses on a validation part: the protocol's, or the default where that
    names none."""
    if protocol.objective is not None:
        return measure(_plain_objective(protocol.objective))
    return available("objective", cells=part.enumerates_cells, lengths=protocol.k)[0]


def objective_of(
    metrics: dict[str, float], protocol: EvaluationProtocol, part: Part
) -> tuple[str, float, bool]:
    """What chooses between epochs and between settings.

    Args:
        metrics: Plain names to values, as of a report of validation; `train_loss` may stand among
            them.
        protocol: Says which one; see its `objective`.
        part: The validation part, which decides the default.

    Returns:
        The plain name, the value, and whether more is better. nan becomes the worst value of its
        direction.

    Raises:
        ObjectiveError: The metric was not computed.
    """
    chosen = chosen_by(protocol, part)
    name = chosen.name
    if name not in metrics:
        raise ObjectiveError(
            f"The objective {name!r} was not computed on validation. Set evaluation.objective "
            f"to one of {', '.join(sorted(metrics))}."
        )
    value = float(metrics[name])
    if np.isnan(value):
        value = -np.inf if chosen.maximise else np.inf
    return name, value, chosen.maximise


def top_k(
    scores: np.ndarray, k: int, excluded: "csr_matrix | None" = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k best items of each row, best first; of equal scores the lower item comes first.

    Args:
        scores: (batch, num_items) float32, left as it is. An item with the score -inf is no
            candidate.
        k: Length of the lists; may exceed num_items.
        excluded: (batch, num_items) sparse; what it stores, whatever the value, is no candidate.

    Returns:
        items: (batch, k) int32; -1 where no candidate is left.
        scores: (batch, k) float32; -inf where no candidate is left.

    Raises:
        FitError: A score is not a number.
    """
    check_integer("k", k, minimum=1)
    _refuse_nan(scores, "scores")
    batch, num_items = scores.shape
    candidates = np.array(scores, dtype=np.float32)
    if excluded is not None:
        rows = np.repeat(np.arange(batch), np.diff(excluded.indptr))
        candidates[rows, excluded.indices] = -np.inf
    chosen = _best_items(
        candidates, min(k, num_items)
    )  # (batch, min(k, num_items)), ascending items
    best = np.take_along_axis(candidates, chosen, axis=1)
    order = np.argsort(
        -best, axis=1, kind="stable"
    )  # stable: equal scores stay in ascending order of items
    items, values = (
        np.full((batch, k), -1, dtype=np.int32),
        np.full((batch, k), -np.inf, dtype=np.float32),
    )
    values[:, :num_items] = np.take_along_axis(best, order, axis=1)
    items[:, :num_items] = np.take_along_axis(chosen, order, axis=1)
    items[values == -np.inf] = -1
    return items, values


def _best_items(scores: np.ndarray, k: int) -> np.ndarray:
    """(batch, k) items of the k highest scores of each row, in ascending order; ties at the edge:
    the lower items."""
    batch, num_items = scores.shape
    edge = np.partition(scores, num_items - k, axis=1)[
        :, num_items - k, None
    ]  # (batch, 1) k-th highest score
    chosen = scores >= edge
    surplus = chosen.sum(axis=1) - k  # (batch,) more than 0 where several items tie at the edge
    rows = np.flatnonzero(surplus)
    tied = scores[rows] == edge[rows]  # (len(rows), num_items)
    place = np.cumsum(tied, axis=1, dtype=np.int32)
    chosen[rows] &= ~tied | (place <= place[:, -1:] - surplus[rows, None])
    return (np.flatnonzero(chosen) % num_items).reshape(batch, k)  # every row has k


def _refuse_nan(values: np.ndarray, what: str) -> None:
    if missing := int(np.count_nonzero(np.isnan(values))):
        raise FitError(
            f"The model gave {missing:,} of {values.size:,} {what} that are not numbers (NaN): its "
            "training has diverged. Lower the learning rate or raise the regularisation."
        )


@dataclass(frozen=True, eq=False)
class EvaluationReport:
    """What one evaluation of one part found.

    Attributes:
        part: `validation` or `test`.
        metrics: Plain names to values, as `f1_at_half` and `ndcg_at_10`; what is undefined on the
            part is left out.
        protocol: How it was measured, in words and numbers: what makes two reports comparable.
        counts: Sizes: users ranked, items of the catalogue, positives and cells of the part (0
            where not enumerated).
        users: (m,) int32, the users of the ranking metrics, ascending.
        per_user: Ranking metrics, and cell metrics of each user's own cells, to (m,) float32, in
            the order of `users`; their means stand in `metrics`. nan where a user has none.
        cells: users, items (int32), targets (uint8) and probabilities, (n,) each; None where the
            part enumerates no cells or has too many.
        user_counts: In place of too many cells: users (int32) and their confusion counts, as
            `true_positives_at_half`, (users with cells,) int32 each.
        collapsed: No cell was predicted positive at 0.5. False where there are no cells.
    """

    part: str
    metrics: dict[str, float]
    protocol: dict[str, Any]
    counts: dict[str, int]
    users: np.ndarray
    per_user: dict[str, np.ndarray]
    cells: dict[str, np.ndarray] | None
    user_counts: dict[str, np.ndarray] | None
    collapsed: bool

    def __post_init__(self) -> None:
        object.__setattr__(self, "users", frozen(self.users, np.int32))
        for name in ("per_user", "cells", "user_counts"):
            if (columns := getattr(self, name)) is not None:
                object.__setattr__(
                    self, name, {key: frozen(column) for key, column in columns.items()}
                )

    def prefixed(self) -> dict[str, float]:
        """The metrics as a run logs them, as `validation/f1_at_half`."""
        return {f"{self.part}/{name}": value for name, value in self.metrics.items()}

    def to_dict(self) -> dict[str, object]:
        """All but the arrays, ready for JSON."""
        return {
            "part": self.part,
            "metrics": self.metrics,
            "protocol": self.protocol,
            "counts": self.counts,
            "collapsed": self.collapsed,
        }

    def to_frame(self) -> "DataFrame":
        """A row a measure, its value in a column that is named as the part."""
        from pandas import DataFrame, Index

        names = Index(list(self.metrics), name="measure")
        return DataFrame({self.part: list(self.metrics.values())}, index=names)

    def _repr_html_(self) -> str:
        return self.to_frame().to_html(float_format=lambda value: f"{value:.4f}")

    def write(self, folder: Path) -> None:
        """Write `<part>.json` and a parquet file for each table; an earlier report of the part is
        replaced."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        summary, *tables = _report_paths(folder, self.part)
        summary.unlink(missing_ok=True)  # written last, so that a summary vouches for its tables
        for path, columns in zip(
            tables,
            [{"users": self.users, **self.per_user}, self.cells, self.user_counts],
            strict=True,
        ):
            path.unlink(missing_ok=True)
            if columns is not None:
                _write_table(path, columns)
        summary.write_text(
            json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n", encoding="utf-8"
        )


def read_report(folder: Path, part: str) -> EvaluationReport:
    """Read what `EvaluationReport.write` wrote.

    Raises:
        DataError: The folder holds no whole report of the part.
    """
    summary_path, users_path, *cell_paths = _report_paths(Path(folder), part)
    try:
        summary = json.loads(summary_path.read_text(encoding="utf-8"))
        per_user = _read_table(users_path)
        cells, user_counts = (_read_table(path) if path.exists() else None for path in cell_paths)
        if summary["counts"]["cells"] and cells is None and user_counts is None:
            raise FileNotFoundError(
                f"neither {cell_paths[0].name} nor {cell_paths[1].name} is there"
            )
        return EvaluationReport(
            **summary,
            users=per_user.pop("users"),
            per_user=per_user,
            cells=cells,
            user_counts=user_counts,
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"{folder} holds no whole evaluation of the part {part!r}: {error}. "
            "Evaluate the model again."
        ) from error


def _report_paths(folder: Path, part: str) -> list[Path]:
    return [
        folder / f"{part}{ending}"
        for ending in (".json", "_users.parquet", "_cells.parquet", "_user_counts.parquet")
    ]


def _write_table(path: Path, columns: dict[str, np.ndarray]) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    pyarrow.parquet.write_table(pa.table(columns), path)


def _read_table(path: Path) -> dict[str, np.ndarray]:
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path)
    return {name: table[name].to_numpy() for name in table.column_names}


def evaluate(
    model: Recommender,
    split: Split,
    part: str = "validation",
    *,
    protocol: EvaluationProtocol,
    threshold: float | None = None,
) -> EvaluationReport:
    """Measure a fitted model on one part.

    Cell metrics are of the part's own cells, pooled and as means over users, and left out where it
    lists positives only. Means over users are over those with a positive in the part. The
    candidates of rankings are those of `EvaluationProtocol.candidates`; where a part lists
    positives only, all items but the positives of the user that come before the part: of training,
    on test also of validation, and of the given history of a held-out user.

    Args:
        model: Scores held-out users by `score_histories` where it has that, else by `score` like
            the others.
        split: The part and what comes before it.
        part: `validation` or `test`.
        protocol: k, and the bounds of memory.
        threshold: For the metrics `_at_threshold`. None takes the one that maximises F1, on
            validation only; on test pass what validation chose.

    Raises:
        ConfigError: The test part enumerates cells and no threshold was passed.
        FitError: The model gave something that is not a number.
    """
    check_choice("part", part, PARTS)
    measured: Part = getattr(split, part)
    has_cells = measured.enumerates_cells and len(measured) > 0
    if has_cells and part == "test" and threshold is None:
        raise ConfigError(
            "Evaluating the test part takes the threshold that was chosen on validation, not None: "
            "pass threshold=report.metrics['threshold'] of the validation report."
        )
    metrics, cells, user_counts = {}, None, None
    if has_cells:
        probabilities = _probabilities(model, measured)
        sorted_once = Cells(measured.targets, probabilities, threshold, measured.users)
        metrics = _cell_metrics(sorted_once)
        if len(measured) <= protocol.max_stored_cells:
            cells = {
                "users": measured.users,
                "items": measured.items,
                "targets": measured.targets,
                "probabilities": probabilities,
            }
        else:
            user_counts = _user_counts(measured, probabilities, metrics["threshold"])
    ranking_metrics, users, per_user = _evaluate_rankings(model, split, part, protocol)
    if has_cells and len(users):
        own = _cell_metrics_per_user(sorted_once)
        per_user |= own
        metrics |= {name: _mean(values) for name, values in own.items()}
    return EvaluationReport(
        part=part,
        metrics={
            name: value
            for name, value in (metrics | ranking_metrics).items()
            if not np.isnan(value)
        },
        protocol=_describe(split, part, protocol, threshold),
        counts={
            "users": len(users),
            "items": split.num_items,
            "positives": measured.num_positives,
            "cells": len(measured) if has_cells else 0,
        },
        users=users,
        per_user=per_user,
        cells=cells,
        user_counts=user_counts,
        collapsed=metrics.get(SHARE_PREDICTED_POSITIVE.name) == 0,
    )


def _describe(
    split: Split, part: str, protocol: EvaluationProtocol, threshold: float | None
) -> dict[str, Any]:
    candidates, excluded = _candidates_in_words(split, part, protocol)
    return {
        "split": split.kind,
        "split_seed": split.seed,
        "split_digest": split.digest,
        "k": list(protocol.k),
        "candidates": candidates,
        "excluded": excluded,
        "digest": array_digest([split.digest, candidates, excluded]),
        "users": "those with a positive in the part",
        "threshold": "maximises F1 on this part" if threshold is None else "given",
    }


def _candidates_in_words(split: Split, part: str, protocol: EvaluationProtocol) -> tuple[str, str]:
    """What a list is chosen from, and what it may not hold."""
    kind, on_test = protocol.candidates_of(split), part == "test"
    if kind == "part":
        return CANDIDATES["part"], "all other cells"
    if kind == "unseen":
        return "all items but the excluded", "the user's training cells" + (
            " and validation cells" if on_test else ""
        )
    gives = split.histories is not None or split.item_histories is not None
    excluded = "the user's training positives" + (" and validation positives" if on_test else "")
    return (
        ("all items" if split.item_histories is None else "the part's new items")
        + " but the excluded",
        excluded + (" and given history" if gives else ""),
    )


def cell_metrics(
    targets: np.ndarray, probabilities: np.ndarray, threshold: float | None = None
) -> dict[str, float]:
    """Every metric of at least one cell, by its plain name; nan where one is undefined.

    Args:
        targets: (n,), 0 or 1.
        probabilities: (n,), not nan.
        threshold: None takes the one that maximises F1 on these cells.
    """
    return _cell_metrics(Cells(targets, probabilities, threshold))


def _cell_metrics(cells: Cells) -> dict[str, float]:
    facts = {
        "threshold": cells.threshold,
        "prevalence": cells.ranked.num_positives / cells.ranked.num_cells,
    }
    return facts | {
        entry.name: entry.form.value(cells)
        for entry in MEASURES.values()
        if isinstance(entry.form, OfCells)
    }


def cell_metrics_per_user(
    users: np.ndarray, targets: np.ndarray, probabilities: np.ndarray, threshold: float
) -> dict[str, np.ndarray]:
    """The cell metrics of each user's own cells by name, as `f1_at_half_per_user`, of the users
    with a positive.

    Args:
        users: (n,), of each cell.
        targets: (n,), 0 or 1.
        probabilities: (n,), not nan.
        threshold: The same for all users.

    Returns:
        (m,) float32 each, users ascending; ROC AUC is nan for a user without a negative.
    """
    return _cell_metrics_per_user(Cells(targets, probabilities, threshold, users))


def _cell_metrics_per_user(cells: Cells) -> dict[str, np.ndarray]:
    ranked = cells.by_user.num_positives > 0
    return {
        entry.name: entry.form.values(cells)[ranked].astype(np.float32)
        for entry in MEASURES.values()
        if isinstance(entry.form, EachUser)
    }


def _mean(values: np.ndarray) -> float:
    """Mean of those that are no nan; nan where there is none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean(dtype=np.float64)) if len(defined) else float("nan")


def _probabilities(model: Recommender, part: Part) -> np.ndarray:
    """(n,) float32 in the order of the part's cells."""
    probabilities = np.empty(len(part), dtype=np.float32)
    for start in range(0, len(part), _CELLS_AT_ONCE):
        block = slice(start, start + _CELLS_AT_ONCE)
        probabilities[block] = model.predict(part.users[block], part.items[block])
    _refuse_nan(probabilities, "probabilities")
    return probabilities


def _user_counts(part: Part, probabilities: np.ndarray, threshold: float) -> dict[str, np.ndarray]:
    users = np.flatnonzero(np.bincount(part.users))
    columns = {"users": users.astype(np.int32)}
    positive = part.targets == 1
    for suffix, value in (("half", 0.5), ("threshold", threshold)):
        predicted = probabilities >= value
        for name, chosen in (
            ("true_positives", predicted & positive),
            ("false_positives", predicted & ~positive),
            ("false_negatives", ~predicted & positive),
            ("true_negatives", ~predicted & ~positive),
        ):
            counts = np.bincount(part.users[chosen], minlength=part.num_users)[users]
            columns[f"{name}_at_{suffix}"] = counts.astype(np.int32)
    return columns


def _evaluate_rankings(
    model: Recommender, split: Split, part: str, protocol: EvaluationProtocol
) -> tuple[dict[str, float], np.ndarray, dict[str, np.ndarray]]:
    """Means by name, users (m,) and values of each user by name; no means where no user has a
    positive."""
    positives = getattr(split, part).positives
    num_positives = positives.getnnz(axis=1)
    users = np.flatnonzero(num_positives).astype(np.int32)
    items = np.empty((len(users), protocol.k[-1]), dtype=np.int32)
    hits = np.empty(items.shape, dtype=bool)
    new_items = (
        None if split.item_histories is None else _new_items(model, split.item_histories, positives)
    )
    num_candidates = split.num_items if new_items is None else max(len(new_items.items), 1)
    candidates = protocol.candidates_of(split)
    for rows in _batches(len(users), split.num_items, protocol.batch_users):
        batch = users[rows]
        scores = _scores(model, split, batch, new_items)
        if candidates == "part":
            scores = _only(scores, getattr(split, part).cells[batch])
        items[rows], _ = top_k(scores, protocol.k[-1], _excluded(split, part, batch, candidates))
        hits[rows] = _hits(items[rows], positives[batch])
    likes = split.train.positives
    bits = self_information(likes.getnnz(axis=0), int(np.count_nonzero(likes.getnnz(axis=1))))
    longest = Lists(items, hits, num_positives[users], split.num_items, num_candidates, bits)
    metrics, per_user = {}, {}
    for k in protocol.k:  # the longest list holds the shorter ones
        lists = longest.first(k)
        for known in (entry.at(k) for entry in ENTRIES):
            if isinstance(known.form, EachList):
                values = known.form.values(lists).astype(np.float32)
                per_user[known.name], metrics[known.name] = values, _mean(values)
            elif isinstance(known.form, AllLists):
                metrics[known.name] = known.form.value(lists)
    return metrics, users, per_user


def _batches(num_users: int, num_items: int, batch_users: int) -> Iterator[slice]:
    size = max(1, min(batch_users, _SCORES_AT_ONCE // num_items))
    return (slice(start, start + size) for start in range(0, num_users, size))


@dataclass(frozen=True)
class _NewItems:
    """The held-out items (c,) of a part and each user's scores of them (num_users, c); None where a
    model can't."""

    items: np.ndarray
    scores: np.ndarray | None


def _new_items(model: Recommender, item_histories: Part, positives: "csr_matrix") -> _NewItems:
    items = np.flatnonzero(
        positives.getnnz(axis=0)
    )  # each held-out item has a positive in its part
    if not isinstance(model, FoldsItems):
        return _NewItems(items, None)
    liked_by = item_histories.positives.T.tocsr()[items]  # (c, num_users)
    return _NewItems(items, model.score_new_items(liked_by).T)


def _scores(
    model: Recommender, split: Split, users: np.ndarray, new: _NewItems | None
) -> np.ndarray:
    """(batch, num_items); users who gave a history, and new items, are scored by what is given,
    where the model can.

    All but new items are no candidates where there are such.
    """
    if new is not None:
        scores = np.full((len(users), split.num_items), -np.inf, dtype=np.float32)
        scores[:, new.items] = (
            model.score(users)[:, new.items] if new.scores is None else new.scores[users]
        )
        return scores
    if split.histories is None or not isinstance(model, Folds):
        return model.score(users)
    histories = split.histories.positives[users]
    given = histories.getnnz(axis=1) > 0
    scores = np.empty((len(users), split.num_items), dtype=np.float32)
    if given.any():
        scores[given] = model.score_histories(histories[given])
    if not given.all():
        scores[~given] = model.score(users[~given])
    return scores


def _only(scores: np.ndarray, candidates: "csr_matrix") -> np.ndarray:
    """The scores (batch, num_items) of what `candidates` (batch, num_items) stores; -inf of all
    other items."""
    rows = np.repeat(np.arange(len(scores)), np.diff(candidates.indptr))
    chosen = np.full_like(scores, -np.inf)
    chosen[rows, candidates.indices] = scores[rows, candidates.indices]
    return chosen


def _excluded(split: Split, part: str, users: np.ndarray, candidates: str) -> "csr_matrix | None":
    """(batch, num_items) sparse: what comes before the part, which no list may hold; None where the
    candidates say it."""
    if candidates == "part":
        return None
    before = [split.train] + [split.validation] * (part == "test")
    if candidates == "unseen":
        first, *others = (known.cells[users] for known in before)
        return sum(others, start=first)
    before += [given for given in (split.histories, split.item_histories) if given is not None]
    first, *others = (known.positives[users] for known in before)
    return sum(others, start=first)


def _hits(items: np.ndarray, positives: "csr_matrix") -> np.ndarray:
    """(batch, k) bool: whether each item of the lists (batch, k) is stored in its row of
    positives."""
    relevant = np.zeros(positives.shape, dtype=bool)
    relevant[np.repeat(np.arange(len(items)), np.diff(positives.indptr)), positives.indices] = True
    return np.take_along_axis(relevant, items, axis=1) & (items >= 0)  # -1 looks up the last item


def truth_metrics(probabilities: np.ndarray | None, part: Part) -> dict[str, float]:
    """How far any model can get on synthetic data: the metrics of the true probabilities
    themselves.

    Args:
        probabilities: (num_users, num_items), the truth of each cell; None where nobody knows it.
        part: The cells to measure on.

    Returns:
        average_precision_of_truth and f1_at_threshold_of_truth, the latter with the threshold that
        is best on the same cells. Empty without the truth, or where the part has no positive or
        does not enumerate its cells.
    """
    if probabilities is None or not part.enumerates_cells or not part.num_positives:
        return {}
    metrics = cell_metrics(part.targets, probabilities[part.users, part.items])
    return {f"{entry.name}_of_truth": metrics[entry.name] for entry in shown("truth")}
