"""The resampling that tells differences from noise: numbers and words, no tracker."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from recsweep.errors import DataError
from recsweep.evaluation import ALL_USERS, EvaluationReport, sampling_rule
from recsweep.measures import measure as measure_of
from recsweep.measures.forms import Weighted
from recsweep.measures.weighted import WeightedReport

REPLICATES = 500
"""A standard error from so many resamples is itself known to 3 %."""

FEWER_REPLICATES = 250
"""So many make it known to 4.5 %, which is enough (Efron and Tibshirani, chapter 6, find 200 so)
where many models are compared at once."""

LEVEL = 0.95

LARGEST_SHARE = 0.1
"""Share of the jackknife variance that one user may hold before an interval hangs on this user.

Of differences between models of the Food.com block, over fresh samples of 300 of the 1,000 users,
those in which no user holds so much are covered in .90 to 1; where one holds 15 to 50 % it is .62
to .99, above 80 % .40 to .87.
"""

ENOUGH = 4
"""Degrees of freedom from which what users add to the variance between seeds is taken off it.

In simulation without a difference, with seeds and users of any proportion, 2.5 to 6.4 % of the
intervals exclude zero so. Taken off at 1 or 2 degrees it is up to 14 %: the estimate then is zero
too often.
"""

POINTS, ROUNDS = 65, 8
"""A p-value is searched among so many levels, and so often between two of them: to its rounding."""

LEFT_OUT = 30
"""Number of users, those with the most positives, whose leaving out is computed anew and not to
first order."""

ONE_SEED = "one seed: run two more"
"""Reason for no verdict on a random model: its other seeds may be better or worse by any amount."""

METHOD = (
    "What is estimated is the mean over users, over seeds and over random splits of this data "
    "set. Each interval is the measured value ± a quantile times a standard error, and the "
    "p-value of a difference is the level whose interval just reaches zero. {replicates:,} "
    "bootstrap resamples draw the users of the part with replacement, the same users for every "
    "model, every seed and every split, so that differences are paired; F1, average precision, "
    "ROC AUC and the losses are computed again from the cells of the drawn users. The variance "
    "between seeds, pooled within splits, is added as a second level for each of two models, as "
    "the same seed makes nothing alike in both, and the variance between splits as a third, less "
    "what seeds explain. What the sampling of users adds to the variance between seeds is taken "
    "off where that is known by at least {enough} degrees of freedom; with fewer, and between "
    "splits, the intervals then were too narrow in simulation. Random splits of one data set are "
    "drawn independently of each other, so their mean has a variance of one over their number; "
    "what Nadeau and Bengio add for their overlap is what another data set would change, which "
    "the resampling of users stands for. The quantile is Student's t of the levels, weighted by "
    "their variances as Cochran and Cox do, so that few seeds or splits widen the interval. A "
    "model that is trained from random numbers gets no verdict from one seed. p-values are "
    "corrected by Holm for the number of models compared. A measure in whose jackknife variance "
    "one user holds more than {share:.0f} % is marked: its interval hangs on that user and is not "
    "covered. Beside each measure of all cells stands the mean of the same measure of each user's"
    " own cells, in which everybody counts the same. Not covered: another data set, another split"
    " where there is one only, and the choice of a threshold or of settings on validation."
)
SOURCES = (
    "B. Efron, R. Tibshirani, An Introduction to the Bootstrap, 1993, chapters 6, 11 (jackknife) "
    "and 12; L. Jaeckel, The infinitesimal jackknife, 1972; S. Searle, G. Casella, C. McCulloch, "
    "Variance Components, 1992; C. Nadeau, Y. Bengio, Inference for the Generalization Error, "
    "Machine Learning 52, 2003; W. Cochran, G. Cox, Experimental Designs, 1950; S. Holm, A simple"
    " sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 1979."
)


def method(replicates: int) -> str:
    """METHOD with its numbers."""
    return METHOD.format(replicates=replicates, share=100 * LARGEST_SHARE, enough=ENOUGH)


@dataclass(frozen=True)
class Measured:
    """A model as it was measured on one part.

    Attributes:
        name: Name that is unique among those that are compared.
        reports: Reports by split digest and seed, ascending within a split; all of one part.
        is_random: Whether another seed makes another model, as of a net; a baseline that draws
            nothing has one.
    """

    name: str
    reports: Mapping[tuple[str, int], EvaluationReport]
    is_random: bool = True

    @property
    def splits(self) -> list[str]:
        """Digests of the splits, in the order of the reports."""
        return list(dict.fromkeys(split for split, _ in self.reports))

    def seeds(self, split: str) -> list[int]:
        return [seed for of_split, seed in self.reports if of_split == split]

    @property
    def num_seeds(self) -> list[int]:
        """Number of seeds of each split."""
        return [len(self.seeds(split)) for split in self.splits]


@dataclass(frozen=True)
class Influence:
    """The user whose leaving out changes a value most.

    Attributes:
        user: Dense index of the user.
        change: The value without this user, less the value.
        share: Share of the jackknife variance over all users that this one holds.
    """

    user: int
    change: float
    share: float


@dataclass(frozen=True)
class Interval:
    """A measure with its confidence interval, mean over seeds and splits.

    Attributes:
        value: The mean.
        low: Lower end of the interval.
        high: Upper end of the interval.
        levels: What the interval is over, as `1,000 users, 3 seeds, 3 splits`.
        no_verdict: Reason why nothing may be concluded from it; None where something may.
        influence: The user that moves it most; None where that was not asked.
    """

    value: float
    low: float
    high: float
    levels: str = field(default="", kw_only=True)
    no_verdict: str | None = field(default=None, kw_only=True)
    influence: Influence | None = field(default=None, kw_only=True)

    @property
    def hangs(self) -> bool:
        """Whether the interval hangs on one user and is not covered."""
        return self.influence is not None and self.influence.share > LARGEST_SHARE


@dataclass(frozen=True)
class Difference(Interval):
    """One model less another: positive where the first has more.

    Attributes:
        p_value: Two-sided p-value of no difference, not corrected for other comparisons; nan where
            there is no verdict.
    """

    p_value: float

    @property
    def excludes_zero(self) -> bool:
        """Whether there is a verdict, and it is that the two differ."""
        return self.no_verdict is None and (self.low > 0 or self.high < 0)


def turns(difference: Difference, without: Difference) -> bool:
    """Whether the sign or the verdict of a difference becomes another one without a user."""
    sign_turns = (difference.value > 0) != (without.value > 0)
    return sign_turns or difference.excludes_zero != without.excludes_zero


class Resampling:
    """Models measured on the same part, and the same resamples of its users for all of them.

    See METHOD and SOURCES for what is done and why.

    Args:
        models: Models with different names, on the same splits.
        replicates: Number of resamples.
        seed: Seed of the resamples.
        level: Level of the intervals.
        without: Dense index of a user who is left out of everything; None leaves out nobody.

    Raises:
        DataError: The reports are of different parts, splits or candidates.
    """

    def __init__(
        self,
        models: Sequence[Measured],
        *,
        replicates: int = REPLICATES,
        seed: int = 0,
        level: float = LEVEL,
        without: int | None = None,
    ) -> None:
        _check_comparable(models)
        reports = [report for model in models for report in model.reports.values()]
        self.models = {model.name: model for model in models}
        self.replicates, self.level = replicates, level
        self._rng_seed = seed
        tables = [
            table["users"]
            for report in reports
            for table in (report.cells, report.user_counts)
            if table
        ]
        self._users = np.unique(np.concatenate([report.users for report in reports] + tables))
        self._drawn_from = np.flatnonzero(self._users != (-1 if without is None else without))
        self._tables: dict[tuple[str, str, int], WeightedReport] = {}
        self._values: dict[tuple[str, str], list[np.ndarray]] = {}
        self._changes: dict[tuple[str, str], np.ndarray] = {}

    @property
    def num_users(self) -> int:
        return len(self._drawn_from)

    @property
    def splits(self) -> list[str]:
        """Digests of the splits, in the order of the first model's reports."""
        return next(iter(self.models.values())).splits

    @cached_property
    def _weights(self) -> np.ndarray:
        """(num_users, 1 + replicates + left out) float32: how often each user counts.

        All of them once, then as often as each is drawn, then all but one of `_heavy`.
        """
        drawn = np.random.default_rng(self._rng_seed).integers(
            self.num_users, size=(self.replicates, self.num_users)
        )
        drawn += np.arange(self.replicates)[:, None] * self.num_users
        counts = np.bincount(drawn.ravel(), minlength=self.replicates * self.num_users)
        weights = np.zeros(
            (len(self._users), 1 + self.replicates + len(self._heavy)), dtype=np.float32
        )
        weights[self._drawn_from, 0] = 1
        counts = counts.reshape(self.replicates, self.num_users)
        weights[self._drawn_from, 1 : 1 + self.replicates] = counts.T
        weights[:, 1 + self.replicates :] = weights[:, :1]
        weights[self._heavy, 1 + self.replicates + np.arange(len(self._heavy))] = 0
        return weights

    @cached_property
    def _doubles(self) -> np.ndarray:
        """`_weights` in float64, as most measures take them."""
        return self._weights.astype(np.float64)

    @cached_property
    def _heavy(self) -> np.ndarray:
        """Rows of the users with the most positives, of those that count."""
        report = next(iter(next(iter(self.models.values())).reports.values()))
        if report.cells is None:
            return np.empty(0, dtype=int)
        liked = report.cells["users"][report.cells["targets"] == 1]
        positives = np.bincount(np.searchsorted(self._users, liked), minlength=len(self._users))
        order = np.argsort(-positives[self._drawn_from], kind="stable")
        return self._drawn_from[order[: min(LEFT_OUT, self.num_users - 1)]]

    def measures(self, name: str) -> list[str]:
        """Names of the model's measures that can be resampled."""
        reports = list(self.models[name].reports.values())
        return [
            measure
            for measure in reports[0].metrics
            if all(
                measure in report.metrics and measure_of(measure).is_kept_in(report)
                for report in reports
            )
        ]

    def interval(self, name: str, measure: str) -> Interval:
        """The measure of one model, with an interval that stays inside what the measure can be."""
        values = self.values(name, measure)
        value = float(_mean(values)[0])
        margin = self._noise(values, [values]).margin(self.level)
        most = max(1.0, value) if measure_of(measure).bounded else np.inf
        return Interval(
            value,
            max(value - margin, min(0.0, value)),
            min(value + margin, most),
            levels=self.levels(name),
            no_verdict=self._no_verdict(name),
            influence=self._influence(self._influences(name, measure)),
        )

    def difference(self, name: str, other: str, measure: str) -> Difference:
        """The paired difference of two models: the same users and splits; their seeds are
        independent."""
        first, second = self.values(name, measure), self.values(other, measure)
        values = [
            (_over_seeds(ours) - _over_seeds(theirs))[None]
            for ours, theirs in zip(first, second, strict=True)
        ]
        noise = self._noise(values, [first, second])
        value, margin = float(_mean(values)[0]), noise.margin(self.level)
        no_verdict = self._no_verdict(name, other)
        influences = self._influences(name, measure) - self._influences(other, measure)
        return Difference(
            value,
            value - margin,
            value + margin,
            noise.p_value(value) if no_verdict is None else float("nan"),
            levels=self.levels(name, other),
            no_verdict=no_verdict,
            influence=self._influence(influences),
        )

    def without(self, user: int, names: Sequence[str]) -> "Resampling":
        """Some of the models, compared as if a user were not there."""
        return Resampling(
            [self.models[name] for name in names],
            replicates=self.replicates,
            seed=self._rng_seed,
            level=self.level,
            without=user,
        )

    def levels(self, *names: str) -> str:
        """What a claim on these models is over, as `1,000 users, 3 seeds, 3 splits`; seeds where
        one is random."""
        seeds = sorted(
            {
                number
                for name in names
                if self.models[name].is_random
                for number in self.models[name].num_seeds
            }
        )
        parts = [_counted(self.num_users, "user")]
        if len(seeds) == 1:
            parts.append(_counted(seeds[0], "seed"))
        elif seeds:
            parts.append(f"{seeds[0]} to {seeds[-1]} seeds")
        return ", ".join([*parts, _counted(len(self.splits), "split")])

    def _no_verdict(self, *names: str) -> str | None:
        single = any(
            self.models[name].is_random and max(self.models[name].num_seeds) < 2 for name in names
        )
        return ONE_SEED if single else None

    def _influences(self, name: str, measure: str) -> np.ndarray:
        """(num_users,) what the mean becomes without each user, less what it is."""
        if (name, measure) not in self._changes:
            model, means = self.models[name], _mean(self._all_values(name, measure))
            counted = self._weights[:, 0]
            changes = _mean(
                [
                    np.array(
                        [
                            self._weighted(name, split, seed, measure).influences(counted)
                            for seed in model.seeds(split)
                        ]
                    )
                    for split in self.splits
                ]
            )
            changes = changes.copy()
            changes[self._heavy] = means[1 + self.replicates :] - means[0]
            self._changes[name, measure] = changes
        return self._changes[name, measure]

    def _influence(self, influences: np.ndarray) -> Influence:
        changes = influences[self._drawn_from]
        place = int(np.abs(changes).argmax())
        deviations = changes - changes.mean()
        squares = float(deviations @ deviations)
        share = float(deviations[place] ** 2) / squares if squares else 0.0
        return Influence(int(self._users[self._drawn_from[place]]), float(changes[place]), share)

    def _noise(
        self, values: Sequence[np.ndarray], seeded: Sequence[Sequence[np.ndarray]]
    ) -> "_Noise":
        """The noise of the mean of values over seeds and splits.

        The variance over resampled users holds that each seed and each split suits other users. See
        METHOD for what of that is taken off the variances between seeds and between splits.

        Args:
            values: (num_seeds, 1 + replicates) of what is estimated, for each split.
            seeded: What holds the noise of seeds, independent of each other, each like `values`.
        """
        # (num_splits, 1 + replicates)
        of_splits = np.stack([_over_seeds(of_split) for of_split in values])
        variances = [float(_over_seeds(of_splits)[1:].var(ddof=1))]
        degrees = [max(self.num_users - 1, 1)]
        num_splits = len(values)
        seeded = [part for part in seeded if _freedom(part) and _variance(part) > 0]
        known = sum(map(_freedom, seeded)) >= ENOUGH
        for part in seeded:
            variance = max(_variance(part) - known * _of_sampling(part), 0.0)
            variances.append(variance * sum(1 / len(of_split) for of_split in part) / num_splits**2)
            degrees.append(_freedom(part))
        if num_splits > 1:
            of_seeds = sum(variances[1:]) * num_splits
            variances.append(max(_variance([of_splits]) - of_seeds, 0.0) / num_splits)
            degrees.append(num_splits - 1)
        return _Noise(np.array(variances), np.array(degrees))

    def values(self, name: str, measure: str) -> list[np.ndarray]:
        """(num_seeds, 1 + replicates) float64 for each split: the measure as it was found, then of
        each resample.

        Raises:
            DataError: The measure can't be computed again from what the reports hold.
        """
        return [values[:, : 1 + self.replicates] for values in self._all_values(name, measure)]

    def _all_values(self, name: str, measure: str) -> list[np.ndarray]:
        """The measure as `values` has it, and then of all users but one of `_heavy`."""
        if (name, measure) not in self._values:
            model = self.models[name]
            self._values[name, measure] = [
                np.stack(
                    [
                        self._weighted(name, split, seed, measure).values(self._doubles)
                        for seed in model.seeds(split)
                    ]
                )
                for split in self.splits
            ]
        return self._values[name, measure]

    def _weighted(self, name: str, split: str, seed: int, measure: str) -> Weighted:
        report, known = self.models[name].reports[split, seed], measure_of(measure)
        if known.form is None or not known.is_kept_in(report):
            raise DataError(
                f"The measure {measure!r} of {name} can't be resampled: its report keeps "
                f"{', '.join(self.measures(name)) or 'nothing'} alone."
            )
        if (name, split, seed) not in self._tables:
            self._tables[name, split, seed] = WeightedReport(report, self._users, self._weights)
        return known.form.weighted(measure, self._tables[name, split, seed])


def _check_comparable(models: Sequence[Measured]) -> None:
    """Raise DataError unless all were measured on the same part, with the same candidates, on all
    users of it or a sample by one rule, on the same splits."""
    reports = [report for model in models for report in model.reports.values()]
    parts = {report.part for report in reports}
    if len(parts) != 1:
        raise DataError(f"Only reports of one part compare, not of {' and '.join(sorted(parts))}.")
    protocols = {
        (report.protocol.get("candidates"), report.protocol.get("excluded")) for report in reports
    }
    if len(protocols) != 1:
        several = " and of ".join(
            sorted(f"{candidates}, without {excluded}" for candidates, excluded in protocols)
        )
        raise DataError(
            f"Only reports of the same candidates compare, not of {several}. Evaluate the models "
            "again."
        )
    users = {sampling_rule(report.protocol.get("users", ALL_USERS)) for report in reports}
    if len(users) != 1:
        raise DataError(
            f"Only reports on the same users compare, not on {' and on '.join(sorted(users))}. "
            "Evaluate the models again."
        )
    splits = {tuple(sorted(model.splits)) for model in models}
    if len(splits) != 1:
        several = " and on ".join(sorted(", ".join(digests) for digests in splits))
        raise DataError(f"Only models on the same splits compare, not on {several}.")


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _mean(values: Sequence[np.ndarray]) -> np.ndarray:
    """(n,): over the seeds of each split (num_seeds, n), then over the splits."""
    means = [_over_seeds(of_split) for of_split in values]
    return means[0] if len(means) == 1 else np.mean(means, axis=0)


def _over_seeds(values: np.ndarray) -> np.ndarray:
    """(n,) mean of (num_seeds, n), which np.mean takes longer for where there is one."""
    return values[0] if len(values) == 1 else values.mean(axis=0)


def _variance(groups: Sequence[np.ndarray]) -> float:
    """Variance of what was found, pooled within groups of (n, 1 + replicates) each."""
    squares = sum(float(((group[:, 0] - group[:, 0].mean()) ** 2).sum()) for group in groups)
    return squares / _freedom(groups)


def _freedom(groups: Sequence[np.ndarray]) -> int:
    """Degrees of freedom of a variance that is pooled within groups."""
    return sum(len(group) - 1 for group in groups)


def _of_sampling(groups: Sequence[np.ndarray]) -> float:
    """What the sampling of users adds to `_variance`: its expectation over the resamples."""
    variances = sum(
        float((group - group.mean(axis=0))[:, 1:].var(axis=1, ddof=1).sum()) for group in groups
    )
    return variances / _freedom(groups)


@dataclass(frozen=True)
class _Noise:
    """Independent sources of noise: the variance that each adds, (n,), and the degrees of freedom
    it is known by, (n,).

    The quantile that the standard error is multiplied by is the mean of Student's, weighted by the
    variances: the approximation of Cochran and Cox to the problem of Behrens and Fisher.
    """

    variances: np.ndarray
    degrees: np.ndarray

    def margin(self, level: float) -> float:
        return float(self._margins(np.array([(1 - level) / 2]))[0])

    def _margins(self, tails: np.ndarray) -> np.ndarray:
        """(n,) the margin whose interval leaves out so much at each end, for each of (n,)."""
        # what scipy.stats asks too, which takes half a second to import
        from scipy.special import stdtrit

        total = self.variances.sum()
        if total <= 0:
            return np.zeros(len(tails))
        quantiles = -stdtrit(self.degrees[:, None], tails)  # (number of variances, n)
        return self.variances @ quantiles / total**0.5

    def p_value(self, difference: float) -> float:
        """The two-sided p-value: the level whose interval just reaches zero."""
        low, high = 1e-12, 1.0
        if difference == 0:
            return high
        if self.margin(1 - low) <= abs(difference):
            return low
        for _ in range(ROUNDS):
            levels = np.geomspace(low, high, POINTS)
            reached = self._margins(levels / 2) > abs(difference)  # fewer and fewer
            last = int(reached.sum()) - 1
            low, high = levels[last], levels[min(last + 1, POINTS - 1)]
        return float(low)
