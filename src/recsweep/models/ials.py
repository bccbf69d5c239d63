"""iALS: a factorization of the whole matrix, every cell of it, solved row by row."""

from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from recsweep.checks import check_integer, check_number
from recsweep.data.interactions import Part
from recsweep.errors import FitError, NotFittedError
from recsweep.memory import check_memory
from recsweep.models.base import Fit, FitOptions, Recommender, Role
from recsweep.models.calibration import (
    Calibration,
    calibrate,
    cell_probabilities,
    saved_calibration,
)
from recsweep.models.popularity import positive_rates
from recsweep.models.saved import save_model, sparse_arrays, sparse_matrix

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

START = 0.1
"""Standard deviation of the dot product's start: that of each number is START / sqrt(dim) (Rendle,
Krichene, Zhang and Koren, 2022)."""


CELLS_AT_ONCE = 50_000
"""Cells whose vectors are held in memory at once."""


class Factors(NamedTuple):
    """Vectors of the users (num_users, dim) and of the items (num_items, dim), float32."""

    users: np.ndarray
    items: np.ndarray


class IALS(Recommender):
    """Implicit alternating least squares (Y. Hu, Y. Koren and C. Volinsky, "Collaborative filtering
    for implicit feedback datasets", ICDM 2008), with the penalty of S. Rendle, W. Krichene, L.
    Zhang and Y. Koren, "Revisiting the performance of iALS on item recommendation benchmarks",
    RecSys 2022.

    The scores are <w_u, h_i>, where W and H minimise

        sum over positives (u, i) of (<w_u, h_i> - 1)^2
        + a sum over all (u, i) of <w_u, h_i>^2
        + reg (sum_u (|items of u| + a num_items) ||w_u||^2
               + sum_i (|users of i| + a num_users) ||h_i||^2)

    with a = `unobserved_weight`. With H held each w_u is the solution of `dim` linear equations,
    and with W held each h_i likewise; an iteration solves the users, then the items. The training
    loss is the minimised sum over the number of positives, which no iteration raises. The
    iteration that is kept is the one that `on_epoch` calls the best, as of a net; the last, where
    it calls none so.

    New users are solved for as the trained ones are, and so are new items. Held-out cells are zeros
    like any other, so that a score is no probability of a known cell: two numbers make it one, see
    `recsweep.models.calibration`. A user without a training positive is given each item's share of
    positives; an item without has score 0 for every other user.

    Args:
        dim: Length of a vector.
        unobserved_weight: Weight a of a cell that is no positive, above 0; that of a positive is
            1 + a.
        reg: Weight of the penalty, above 0.
        iterations: Number of iterations at most.
    """

    kind = "ials"
    role: Role = "baseline"
    is_random = True
    calibration: Calibration | None = None

    def __init__(self, *, dim: int, unobserved_weight: float, reg: float, iterations: int) -> None:
        check_integer("model.dim", dim, minimum=1)
        check_number("model.unobserved_weight", unobserved_weight, above=0)
        check_number("model.reg", reg, above=0)
        check_integer("model.iterations", iterations, minimum=1)
        self.dim = dim
        self.unobserved_weight = unobserved_weight
        self.reg = reg
        self.iterations = iterations
        self._positives: csr_matrix | None = None  # (num_users, num_items)
        self._factors: Factors | None = None
        self._rates: Factors | None = None  # shares of positives, (num_users,) and (num_items,)
        self._learns_from: tuple[Part, FitOptions] | None = None  # during the fit

    @property
    def label(self) -> str:
        return f"ials {self.dim} a={self.unobserved_weight:g} reg={self.reg:g}"

    @property
    def max_epochs(self) -> int:
        return self.iterations

    @property
    def num_parameters(self) -> int:
        _, factors, _ = self._fitted()
        return factors.users.size + factors.items.size

    def fit(self, train: Part, options: FitOptions = FitOptions()) -> Fit:  # noqa: B008 - frozen
        """Raises FitError where the penalty is too small for the equations to be solved."""
        check_memory(
            # factors: the latest, the next and the best; one side's sums and vectors as float64
            (3 * 4 + 2 * 8) * self.dim * (train.num_users + train.num_items) + 3 * 8 * self.dim**2,
            f"The vectors of model=ials (model.dim={self.dim}; {train.num_users:,} users, "
            f"{train.num_items:,} items)",
            "Lower model.dim, or set data.num_users and data.num_items to fewer.",
        )
        start, outside = perf_counter(), 0.0
        X = train.positives
        X_of_items = X.T.tocsr()
        self._positives = X
        self._rates = Factors(positive_rates(train, axis=0), positive_rates(train, axis=1))
        rng = np.random.default_rng(options.seed)
        scale = START / np.sqrt(self.dim)
        items = rng.normal(0, scale, (train.num_items, self.dim)).astype(np.float32)
        losses: list[float] = []
        best, kept, stopped = None, None, None
        self._learns_from = train, options
        while stopped is None and len(losses) < self.iterations:
            users, _ = self._solve(X, items)
            items, explained = self._solve(X_of_items, users)
            self._factors, self.calibration = Factors(users, items), None
            losses.append(self._loss(X, users, explained))
            told = perf_counter()
            decision = options.on_epoch(len(losses), self, losses[-1])
            outside += perf_counter() - told
            stopped = decision.stop
            if decision.keep:
                best, kept = (self._factors, self.calibration), len(losses)
        if best is not None:
            self._factors, self.calibration = best
        self._calibrated()
        self._learns_from = None
        return Fit(
            epochs=len(losses),
            kept_epoch=kept or len(losses),
            train_losses=tuple(losses),
            seconds=perf_counter() - start - outside,
            stopped=stopped,
        )

    def _solve(self, rows: "csr_matrix", others: np.ndarray) -> tuple[np.ndarray, float]:
        """The vectors of rows by what they like, with those of the other side held.

        The products of a row's positives are summed in float32, as the vectors are held; all else
        is float64.

        Args:
            rows: (m, k) csr matrix of 0 and 1.
            others: (k, dim) vectors of the other side.

        Returns:
            vectors: (m, dim) float32, zeros for an empty row.
            explained: By how much the rows' own terms of the loss fall below those of zeros, which
                is the sum of <vector, b>, where b is the sum of the vectors of a row's positives.
        """
        from scipy.linalg.lapack import dposv

        a, counts = self.unobserved_weight, np.diff(rows.indptr)
        wide = others.astype(np.float64)
        shared = a * (wide.T @ wide)  # (dim, dim)
        sums = rows @ wide  # (m, dim) the b of each row
        vectors, explained = np.zeros(sums.shape, np.float32), 0.0
        diagonal = np.diag_indices(self.dim)
        for row in np.flatnonzero(counts):
            liked = others[rows.indices[rows.indptr[row] : rows.indptr[row + 1]]]
            A = shared + liked.T @ liked
            A[diagonal] += self.reg * (counts[row] + a * rows.shape[1])
            _, solution, failed = dposv(A, sums[row], lower=True, overwrite_a=True)
            if failed:
                raise FitError(
                    f"The equations of iALS can't be solved with model.reg={self.reg:g}: rounding "
                    "hides so small a penalty. Raise it, as to model.reg=0.001."
                )
            vectors[row] = solution
            explained += solution @ sums[row]
        return vectors, explained

    def _loss(self, X: "csr_matrix", users: np.ndarray, explained: float) -> float:
        """The minimised sum at solved items, over the number of positives.

        Every positive costs 1 at zeros; what the solved items have explained of it is known, and
        the users' penalty is not theirs.
        """
        weights = np.diff(X.indptr) + self.unobserved_weight * X.shape[1]
        penalty = self.reg * weights @ np.square(users, dtype=np.float64).sum(axis=1)
        return float(X.nnz - explained + penalty) / max(X.nnz, 1)

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        positives, _, _ = self._fitted()
        return cell_probabilities(self, self._calibrated(), positives, users, items)

    def _calibrated(self) -> Calibration | None:
        """The calibration, fitted where the factors are new: not in each iteration, as none may ask
        for probabilities."""
        if self.calibration is None and self._learns_from is not None:
            self.calibration = calibrate(self, *self._learns_from)
        return self.calibration

    def score(self, users: np.ndarray) -> np.ndarray:
        positives, factors, rates = self._fitted()
        scores = factors.users[users] @ factors.items.T  # (batch, num_items)
        scores[np.diff(positives.indptr)[users] == 0] = rates.items
        return scores

    def score_cells(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        positives, factors, rates = self._fitted()
        scores = rates.items[items]
        known = np.flatnonzero(np.diff(positives.indptr)[users])
        for start in range(0, len(known), CELLS_AT_ONCE):
            cells = known[start : start + CELLS_AT_ONCE]
            pairs = factors.users[users[cells]], factors.items[items[cells]]
            scores[cells] = np.einsum("nd,nd->n", *pairs)
        return scores

    def score_histories(self, histories: "csr_matrix") -> np.ndarray:
        _, factors, rates = self._fitted()
        return self._fold_in(histories, factors.items, rates.items)

    def score_new_items(self, liked_by: "csr_matrix") -> np.ndarray:
        """Each user's score of new items, (m, num_users) float32; what nobody likes gets each
        user's share of training positives."""
        _, factors, rates = self._fitted()
        return self._fold_in(liked_by, factors.users, rates.users)

    def _fold_in(self, rows: "csr_matrix", others: np.ndarray, rates: np.ndarray) -> np.ndarray:
        """Scores of the other side by new rows, (m, k), of which the positives alone count."""
        rows = (rows > 0).tocsr()
        vectors, _ = self._solve(rows, others)
        scores = vectors @ others.T
        scores[np.diff(rows.indptr) == 0] = rates
        return scores

    def save(self, folder: Path) -> None:
        positives, factors, rates = self._fitted()
        settings = {
            "dim": self.dim,
            "unobserved_weight": self.unobserved_weight,
            "reg": self.reg,
            "iterations": self.iterations,
            "shape": list(positives.shape),
            "calibration": self.calibration and asdict(self.calibration),
        }
        arrays = {"users": factors.users, "items": factors.items}
        arrays |= {"user_rates": rates.users, "item_rates": rates.items}
        save_model(folder, type(self), settings, arrays | sparse_arrays("positives", positives))

    @classmethod
    def restore(cls, settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> "IALS":
        own = ("dim", "unobserved_weight", "reg", "iterations")
        model = cls(**{name: settings[name] for name in own})
        model._positives = sparse_matrix("positives", arrays, tuple(settings["shape"]))
        model._factors = Factors(arrays["users"], arrays["items"])
        model._rates = Factors(arrays["user_rates"], arrays["item_rates"])
        model.calibration = saved_calibration(settings)
        return model

    def _fitted(self) -> "tuple[csr_matrix, Factors, Factors]":
        """Positives, factors and rates."""
        if self._positives is None or self._factors is None or self._rates is None:
            raise NotFittedError(
                "This iALS model has learnt nothing yet: call fit, or load a saved one."
            )
        return self._positives, self._factors, self._rates
