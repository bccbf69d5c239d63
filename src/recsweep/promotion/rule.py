"""The rule that a new champion has to meet: numbers and words, no tracker."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from recsweep.checks import as_said, check_choice, check_number, check_text, meant
from recsweep.comparison.resampling import (
    Difference,
    Influence,
    Interval,
    Measured,
    Resampling,
    turns,
)
from recsweep.errors import ConfigError
from recsweep.evaluation import PARTS, EvaluationReport
from recsweep.measures import COMPARED, COVERAGE, LENGTH, View, available
from recsweep.measures import measure as measure_of
from recsweep.statistics import mean_of_means

COVERAGE_MARGIN = 0.1
"""Share of the champion's coverage that may be lost."""

LATENCY_MARGIN = 1.5
"""Multiple of the champion's time for one user that the candidate may take."""

QUICK_MS = 5.0
"""Milliseconds within which an answer is quick enough, whatever the champion takes."""

MEASURE_MARGIN = 0.01
"""Distance by which the second measure may lie below the champion's at the worse end of the
interval."""

METHOD = (
    "The candidate has to beat the champion and every baseline: each by the 95 % interval of the "
    "paired difference. That all have to be beaten is an intersection-union test, whose level "
    "needs no correction for how many they are (R. Berger, Multiparameter hypothesis testing and "
    "acceptance sampling, Technometrics 24, 1982). The guard-rails compare with the champion: a "
    "measure by the worse end of its interval, coverage and latency by their values. What has no "
    "verdict meets no demand. A lead that hangs on one user has to keep its sign and its verdict "
    "without this user."
)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What a promotion is decided by.

    Attributes:
        measure: Plain name of the measure that decides, as `f1_at_threshold`. None takes that where
            the part has cells (to find the ones is what a recommender is for), else NDCG at 10.
        part: The part of the split whose measures count.
        guards: Guard-rail to its margin in place of the default one, None to leave it out:
            `coverage` (relative), `latency` (a ratio), or a measure (absolute).

    Raises:
        ConfigError: A margin is impossible.
    """

    measure: str | None = None
    part: str = "test"
    guards: Mapping[str, float | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_text("--measure", self.measure, optional=True)
        if self.measure is not None and not measure_of(self.measure).compared:
            raise ConfigError(
                f"--measure can't be {as_said(self.measure)}: runs are not compared by it. "
                f"{meant(self.measure, COMPARED)}"
            )
        check_choice("--on", self.part, PARTS)
        for name, margin in self.guards.items():
            if name not in ("coverage", "latency") and not measure_of(name).compared:
                known = ["coverage", "latency", *COMPARED]
                raise ConfigError(f"--guard can't watch {as_said(name)}. {meant(name, known)}")
            if margin is not None:
                check_number(
                    f"--guard {name}",
                    margin,
                    minimum=1 if name == "latency" else 0,
                    maximum=1 if name == "coverage" else math.inf,
                )

    def measure_for(self, report: EvaluationReport) -> str:
        """Name of the measure that decides; by what the report has, where none was named."""
        return self.measure or _available("deciding", report)[0]

    def guards_for(self, report: EvaluationReport, measure: str) -> dict[str, float]:
        """Guard-rails to margins: the defaults, with average precision (where there are cells, else
        NDCG at 10) as the second measure, and `guards` over them.
        """
        second = next(name for name in _available("guard", report) if name != measure)
        defaults = {"coverage": COVERAGE_MARGIN, "latency": LATENCY_MARGIN, second: MEASURE_MARGIN}
        margins = {**defaults, **self.guards}
        return {name: margin for name, margin in margins.items() if margin is not None}


def _available(view: View, report: EvaluationReport) -> list[str]:
    """Names of the measures of a view that the report has."""
    has_cells, lengths = bool(report.counts["cells"]), report.protocol["k"]
    return [measure.name for measure in available(view, cells=has_cells, lengths=lengths)]


@dataclass(frozen=True)
class Contestant:
    """A model that the candidate is compared with, or the candidate itself.

    Attributes:
        role: `candidate`, `champion` or `baseline`.
        measured: The model on the part; its name is unique among the contestants.
    """

    role: str
    measured: Measured

    @property
    def name(self) -> str:
        return self.measured.name

    @property
    def report(self) -> EvaluationReport:
        """Report of the first split and seed."""
        return next(iter(self.measured.reports.values()))

    def mean(self, measure: str) -> float:
        """Mean of a measure over the seeds of each split, then over the splits."""
        measured = self.measured
        return mean_of_means(
            [measured.reports[split, seed].metrics[measure] for seed in measured.seeds(split)]
            for split in measured.splits
        )


@dataclass(frozen=True)
class Line:
    """One demand of the rule.

    Attributes:
        role: Role of the model that the candidate is compared with.
        other_name: Name of that model.
        measure: Name of what is compared; `latency` is in milliseconds.
        candidate: The candidate's value.
        other: The value of the other model.
        difference: Candidate less other with its interval; None where only values are compared.
        needs: What is demanded, in words.
        met: Whether it holds.
        note: Reason why it can't be met, or on whom it hangs; empty where there is nothing to say.
    """

    role: str
    other_name: str
    measure: str
    candidate: float
    other: float
    difference: Difference | None
    needs: str
    met: bool
    note: str = ""


@dataclass(frozen=True)
class Judgement:
    """What the rule says.

    Attributes:
        measure: The measure that decides.
        value: The candidate's value of it, with its interval.
        lines: The rule, demand by demand.
        levels: What the comparison is over, in words.
    """

    measure: str
    value: Interval
    lines: Sequence[Line]
    levels: str = ""

    @property
    def met(self) -> bool:
        return all(line.met for line in self.lines)


def judge(
    rule: Rule,
    candidate: Contestant,
    others: Sequence[Contestant],
    latency: tuple[float, float] | None,
) -> Judgement:
    """Hold a candidate against every demand of the rule.

    Args:
        rule: What is demanded.
        candidate: Who wants to become champion.
        others: The champion, where there is one, and the baselines, measured on the same part of
            the same split.
        latency: Milliseconds for one user, of the candidate and of the champion; None without a
            champion.

    Raises:
        ConfigError: There is nobody to compare with.
        DataError: The measure can't be had from the reports.
    """
    if not others:
        raise ConfigError(
            "A promotion compares with the champion or with baselines, and there is neither."
        )
    contestants = (candidate, *others)
    resampling = Resampling([contestant.measured for contestant in contestants])
    measure = rule.measure_for(candidate.report)
    lines = [
        line for other in others for line in _better_lines(resampling, candidate, other, measure)
    ]
    for champion in (contestant for contestant in others if contestant.role == "champion"):
        for guard, margin in rule.guards_for(candidate.report, measure).items():
            if guard == "latency":
                if latency is not None:
                    lines.append(_latency_line(champion, *latency, margin))
            elif guard == "coverage":
                lines.append(_coverage_line(candidate, champion, margin))
            else:
                lines.append(_no_worse_line(resampling, candidate, champion, guard, margin))
    return Judgement(
        measure,
        resampling.interval(candidate.name, measure),
        lines,
        resampling.levels(*(contestant.name for contestant in contestants)),
    )


def _better_lines(
    resampling: Resampling, candidate: Contestant, other: Contestant, measure: str
) -> list[Line]:
    """The demand that the candidate is better, and where that hangs on one user, that it is so
    without this user too."""
    difference = resampling.difference(candidate.name, other.name, measure)
    less = not measure_of(measure).maximise
    ahead = difference.high < 0 if less else difference.low > 0
    needs = f"interval {'below' if less else 'above'} 0"
    met = ahead and difference.excludes_zero
    lines = [_line(resampling, candidate, other, measure, difference, needs, met)]
    if difference.hangs and difference.influence is not None:
        influence = difference.influence
        lines.append(
            _without_user_line(resampling, candidate, other, measure, difference, influence)
        )
    return lines


def _without_user_line(
    resampling: Resampling,
    candidate: Contestant,
    other: Contestant,
    measure: str,
    difference: Difference,
    influence: Influence,
) -> Line:
    user = influence.user
    fewer = resampling.without(user, [candidate.name, other.name])
    without = fewer.difference(candidate.name, other.name, measure)
    turned = turns(difference, without)
    share = f"{100 * influence.share:.0f} % of the jackknife variance"
    note = f"hangs on one user (index {user}, {share}): not covered" + (
        ", and without this user it turns" if turned else ""
    )
    line = _line(
        fewer, candidate, other, measure, without, "the same sign and verdict", not turned, note
    )
    return replace(line, measure=f"{measure} without user {user}")


def _no_worse_line(
    resampling: Resampling, candidate: Contestant, champion: Contestant, measure: str, margin: float
) -> Line:
    difference = resampling.difference(candidate.name, champion.name, measure)
    less = not measure_of(measure).maximise
    within = difference.high < margin if less else difference.low > -margin
    needs = f"interval {f'below {margin:g}' if less else f'above -{margin:g}'}"
    met = within and difference.no_verdict is None
    return _line(resampling, candidate, champion, measure, difference, needs, met)


def _line(
    resampling: Resampling,
    candidate: Contestant,
    other: Contestant,
    measure: str,
    difference: Difference,
    needs: str,
    met: bool,
    note: str = "",
) -> Line:
    ours, theirs = (
        resampling.interval(contestant.name, measure).value for contestant in (candidate, other)
    )
    if difference.no_verdict and not note:
        note = f"no verdict: {difference.no_verdict}"
    return Line(other.role, other.name, measure, ours, theirs, difference, needs, met, note)


def _coverage_line(candidate: Contestant, champion: Contestant, margin: float) -> Line:
    lengths = candidate.report.protocol["k"]
    measure = COVERAGE.at(LENGTH if LENGTH in lengths else lengths[0]).name
    ours, theirs = candidate.mean(measure), champion.mean(measure)
    needs, met = f"at least {1 - margin:.0%} of the champion's", ours >= (1 - margin) * theirs
    return Line("champion", champion.name, measure, ours, theirs, None, needs, met)


def _latency_line(champion: Contestant, ours: float, theirs: float, margin: float) -> Line:
    needs = f"at most {margin:g} x the champion's, or {QUICK_MS:g} ms"
    met = ours <= max(margin * theirs, QUICK_MS)
    return Line("champion", champion.name, "latency", ours, theirs, None, needs, met)
