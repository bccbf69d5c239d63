"""The report of one evaluation of one part, in memory and in files."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recsweep.data.interactions import frozen
from recsweep.errors import DataError

if TYPE_CHECKING:
    from pandas import DataFrame
    from pyarrow import Array


EPOCHS_PREFIX, SAMPLE_PREFIX = "validation_epochs", "validation_sample"
"""Stand in the names of logged metrics of epochs: of all users of validation, and of a sample."""


@dataclass(frozen=True, eq=False)
class EvaluationReport:
    """The report of one evaluation of one part.

    Attributes:
        part: `validation` or `test`.
        metrics: Plain names to values, as `f1_at_half` and `ndcg_at_10`; what is undefined on the
            part is left out.
        protocol: Words and numbers of how it was measured: what makes two reports comparable.
        counts: Number of users ranked, of items of the catalogue, and of positives and cells of the
            part (0 where not enumerated).
        users: (m,) int32, the users of the ranking metrics, ascending.
        per_user: Ranking metrics, and cell metrics of each user's own cells, to (m,) float32, in
            the order of `users`; their means stand in `metrics`. nan where a user has none.
        cells: The columns users, items (int32), targets (uint8) and probabilities, (n,) each; None
            where the part enumerates no cells or has too many.
        user_counts: Users (int32) and their confusion counts, in place of too many cells, as
            `true_positives_at_half`, (users with cells,) int32 each.
        collapsed: Whether no cell was predicted positive at 0.5; False where there are no cells.
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
                columns = {key: frozen(column) for key, column in columns.items()}
                object.__setattr__(self, name, columns)

    def prefixed(self) -> dict[str, float]:
        """The metrics as a run logs them, as `validation/f1_at_half`."""
        return self._under(self.part)

    def of_epoch(self, *, of_sample: bool) -> dict[str, float]:
        """The same of an epoch, as `validation_epochs/f1_at_half`, or `validation_sample/...` where
        it is on a sample of the users: under names of their own nobody takes them for those of the
        weights that are kept, nor for those of all users."""
        return self._under(SAMPLE_PREFIX if of_sample else EPOCHS_PREFIX)

    def _under(self, prefix: str) -> dict[str, float]:
        return {f"{prefix}/{name}": value for name, value in self.metrics.items()}

    def to_dict(self) -> dict[str, object]:
        """The report without its arrays, ready for JSON."""
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
        per_user = {"users": self.users, **self.per_user}
        for path, columns in zip(tables, (per_user, self.cells, self.user_counts), strict=True):
            path.unlink(missing_ok=True)
            if columns is not None:
                _write_table(path, columns)
        content = json.dumps(self.to_dict(), indent=2, allow_nan=False)
        summary.write_text(content + "\n", encoding="utf-8")


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
            names = " nor ".join(path.name for path in cell_paths)
            raise FileNotFoundError(f"neither {names} is there")
        users = per_user.pop("users")
        return EvaluationReport(
            **summary, users=users, per_user=per_user, cells=cells, user_counts=user_counts
        )
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
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

    table = pa.Table.from_arrays(list(map(_column, columns.values())), list(columns))
    pyarrow.parquet.write_table(table, path)


def _column(values: np.ndarray) -> "Array":
    """Numbers as Arrow holds them, from their bytes: `pyarrow.array` imports pandas to ask whether
    they are its own."""
    import pyarrow as pa

    if values.dtype.kind not in "iuf":  # booleans are bits there
        return pa.array(values)
    kind = pa.from_numpy_dtype(values.dtype)
    buffer = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(kind, len(values), [None, buffer])


def _read_table(path: Path) -> dict[str, np.ndarray]:
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path)
    return {name: table[name].to_numpy() for name in table.column_names}
