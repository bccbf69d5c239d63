"""From runs in the store to models that stand side by side: runs that differ by their seed alone,
or by that of their split, are one model.
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import chain, combinations

import numpy as np

from recsweep.comparison.resampling import Measured
from recsweep.config import SAME
from recsweep.errors import DataError, TrackingError
from recsweep.evaluation import PARTS, EvaluationReport, candidates_in_words, read_report
from recsweep.measures import available, lists_in, measure, shown
from recsweep.statistics import mean_of_means
from recsweep.tracking import CHOICES, OBJECTIVE_TAG, TRIAL_TAG, RunRecord, Tracker

Key = tuple[str, int]
"""Digest of the split, and seed, of a run."""


@dataclass(frozen=True, eq=False)
class Model:
    """What was run with the same settings on the same data and splits, once a split and seed.

    Attributes:
        name: Name that is unique among the models it was made with: the runs' own, with what sets
            it apart where that is shared.
        kind: Kind of the model, as `recipe_net` or `knn`.
        role: `net` or `baseline`.
        loss: Name of the loss that it was trained with; None where none was chosen for it.
        is_random: Whether another seed makes another model of it.
        records: Runs by split digest and seed, in the order of the standing's splits, seeds
            ascending; of two runs with the same ones the later one.
        reports: Reports of these runs, by the same.
    """

    name: str
    kind: str
    role: str
    loss: str | None
    is_random: bool
    records: Mapping[Key, RunRecord]
    reports: Mapping[Key, EvaluationReport] = field(repr=False)

    @property
    def is_baseline(self) -> bool:
        return self.role == "baseline"

    @property
    def splits(self) -> list[str]:
        return list(dict.fromkeys(split for split, _ in self.records))

    @property
    def seeds(self) -> list[int]:
        """Seeds on any split, ascending."""
        return sorted({seed for _, seed in self.records})

    @property
    def measured(self) -> Measured:
        return Measured(self.name, self.reports, self.is_random)

    def mean(self, metric: str) -> float:
        """Mean of a logged metric, as `fit/seconds`, over the seeds of each split and then over the
        splits; nan where a run has none.
        """
        return mean_of_means(
            [
                record.metrics.get(metric, np.nan)
                for (of, _), record in self.records.items()
                if of == split
            ]
            for split in self.splits
        )

    def on(self, splits: Sequence[str]) -> "Model":
        """The same model on these splits alone."""
        keys = [key for split in splits for key in self.records if key[0] == split]
        return replace(
            self,
            records={key: self.records[key] for key in keys},
            reports={key: self.reports[key] for key in keys},
        )


@dataclass(frozen=True)
class Standing:
    """Models that were measured on the same part of the same data and splits, in the order of their
    first runs.

    Attributes:
        data: Name of the data, as the first of the runs calls it: the digest is what tells data
            sets apart.
        splits: Digests of the splits, in the order of their seeds.
        split_seeds: Seeds of the splits; None for a rule that draws nothing.
        candidates: What lists were chosen from, as `EvaluationProtocol.tag_of` says it.
        left_out: Reasons why runs are not among them.
    """

    data: str
    data_digest: str
    splits: Sequence[str]
    split_seeds: Sequence[int | None]
    candidates: str
    part: str
    models: Sequence[Model]
    left_out: Sequence[str]

    @property
    def split_digest(self) -> str:
        return ", ".join(self.splits)


def standings(
    records: Sequence[RunRecord], store: Tracker, part: str, *, without_unreadable: bool = False
) -> list[Standing]:
    """Group runs by data, rule of the split and candidates, and then into models.

    Models that were run on the same several splits of one rule stand together over all of those; a
    split of its own follows where it has models that are not among them.

    Args:
        records: The runs, in the order they were started.
        store: The open store that they are in.
        part: Part that is compared on; runs that were not evaluated on it are left out, and
            counted.
        without_unreadable: Leave out runs whose report can't be read, and say so, as long as one is
            left.

    Raises:
        DataError: No run was evaluated on the part, or a report is not whole.
        TrackingError: A run's report is gone.
    """
    families = [
        _Family.of(runs, store, part, without_unreadable) for runs in _by_family(records).values()
    ]
    if not any(family.measured for family in families):
        remedy = " Set evaluation.test=true, or look at validation with --on validation."
        raise DataError(
            f"None of the {len(records)} runs was evaluated on {part}."
            + (remedy if part == "test" else "")
        )
    standing_list = [standing for family in families for standing in family.standings(part)]
    if not standing_list:
        left_out = [reasons for family in families for reasons in family.left_out.values()]
        raise DataError(
            f"None of the runs has a report that can be read: {' '.join(chain(*left_out))}"
        )
    return standing_list


def _by_family(records: Sequence[RunRecord]) -> dict[tuple, list[RunRecord]]:
    """Runs on the same data, by splits of the same rule and with the same candidates. What the
    settings call a split does not count where its digest is the same.
    """
    rules: dict[tuple[str, str], str] = {}
    families: dict[tuple, list[RunRecord]] = {}
    for record in records:
        _, data_digest, split_digest = record.measured_on
        own = record.rule_digest or split_digest
        rule = rules.setdefault((data_digest, split_digest), own)
        families.setdefault((data_digest, rule, record.candidates), []).append(record)
    return families


@dataclass(frozen=True)
class _Family:
    """Models on splits of one rule.

    Attributes:
        measured: Number of runs that were evaluated on the part, whether their report can be read
            or not.
        splits: Digest to seed, in the order of the seeds.
        left_out: Digest of a split to the reasons why runs on it are not among the models.
    """

    first: RunRecord
    measured: int
    splits: Mapping[str, int | None]
    models: Sequence[Model]
    left_out: Mapping[str, Sequence[str]]

    @classmethod
    def of(
        cls, records: Sequence[RunRecord], store: Tracker, part: str, without_unreadable: bool
    ) -> "_Family":
        """The family of some runs; raises what can't be read, unless it may be left out."""
        with_part = [
            record
            for record in records
            if any(name.startswith(f"{part}/") for name in record.metrics)
        ]
        by_model: dict[str, list[RunRecord]] = {}
        for record in with_part:
            by_model.setdefault(record.model_digest, []).append(record)
        chosen = [{_key(record): record for record in runs} for runs in by_model.values()]
        kept = [record for by_key in chosen for record in by_key.values()]
        reports, unreadable = _reports(kept, store, part)
        if unreadable and not without_unreadable:
            raise next(iter(unreadable.values()))
        seeds = {record.measured_on[2]: record.split_seed for record in records}
        splits = dict(sorted(seeds.items(), key=lambda pair: -1 if pair[1] is None else pair[1]))
        left_out = {}
        for split in splits:
            started, evaluated, left = (
                [record for record in group if record.measured_on[2] == split]
                for group in (records, with_part, kept)
            )
            reasons = []
            if absent := len(started) - len(evaluated):
                reasons.append(f"{_runs(absent)} without an evaluation on {part}")
            if repeated := len(evaluated) - len(left):
                words = "before another one of the same settings and seed"
                reasons.append(f"{_runs(repeated)} {words}")
            left_out[split] = reasons + [
                f"run {record.id}: {unreadable[record.id]}"
                for record in left
                if record.id in unreadable
            ]
        models = _models(list(by_model.values()), chosen, reports, list(splits))
        return cls(records[0], len(with_part), splits, models, left_out)

    def standings(self, part: str) -> list[Standing]:
        together = self._shared()
        over = [model for model in self.models if set(together) <= set(model.splits)]
        standings = [self._standing(together, over, part)] if together else []
        for split in self.splits:
            alone = [model for model in self.models if split in model.splits]
            if alone and not (split in together and all(model in over for model in alone)):
                standings.append(self._standing([split], alone, part))
        return standings

    def _shared(self) -> list[str]:
        """The most splits that at least two models were run on, or the only model; none where those
        are fewer than two."""
        sets = [frozenset(model.splits) for model in self.models]
        shared = {first & second for first, second in combinations(sets, 2)} or set(sets)
        best = max(
            shared,
            key=lambda splits: (len(splits), sum(splits <= other for other in sets)),
            default=frozenset(),
        )
        return [split for split in self.splits if split in best] if len(best) > 1 else []

    def _standing(self, splits: Sequence[str], models: Sequence[Model], part: str) -> Standing:
        data, data_digest, _ = self.first.measured_on
        return Standing(
            data,
            data_digest,
            splits,
            [self.splits[split] for split in splits],
            self.first.candidates,
            part,
            [model.on(splits) for model in models],
            [reason for split in splits for reason in self.left_out[split]],
        )


def _runs(number: int) -> str:
    return "1 run" if number == 1 else f"{number} runs"


def _key(record: RunRecord) -> Key:
    return record.measured_on[2], int(record.tags.get("seed", 0))


def _reports(
    records: Sequence[RunRecord], store: Tracker, part: str
) -> tuple[dict[str, EvaluationReport], dict[str, Exception]]:
    """Run id to report, and run id to why its report can't be read."""

    def read(record: RunRecord) -> EvaluationReport | Exception:
        try:
            with store.artifact(record, "evaluation") as folder:
                return read_report(folder, part)
        except (DataError, TrackingError) as error:
            return error

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        read_of = dict(zip((result.id for result in records), pool.map(read, records), strict=True))
    whole = {
        run_id: result for run_id, result in read_of.items() if isinstance(result, EvaluationReport)
    }
    return whole, {
        run_id: result for run_id, result in read_of.items() if isinstance(result, Exception)
    }


def standing_of(records: Sequence[RunRecord], store: Tracker, part: str) -> Standing:
    """The one standing of runs that compare, over all of their splits.

    Raises:
        DataError: They do not compare, none was evaluated on the part, or one was run on fewer
            splits than another.
    """
    standing_list = standings(records, store, part)
    if len(standing_list) > 1:
        several = " and ".join(
            f"{standing.data} (data {standing.data_digest}, split {standing.split_digest}, lists "
            f"from {candidates_in_words(standing.candidates)})"
            for standing in standing_list
        )
        raise DataError(
            "Only runs on the same data and split, with lists of the same candidates, compare, not "
            f"on {several}."
        )
    return standing_list[0]


def settings_of(record: RunRecord) -> dict[str, str]:
    """The settings of a model as its run logged them, by name, to be told apart by in words."""
    return {
        name: value
        for name, value in sorted(record.params.items())
        if SAME["model"].counts(name) and name not in CHOICES
    }


def _models(
    same: Sequence[Sequence[RunRecord]],
    chosen: Sequence[Mapping[Key, RunRecord]],
    reports: Mapping[str, EvaluationReport],
    splits: Sequence[str],
) -> list[Model]:
    """The models that have a report.

    Args:
        same: Runs of the same settings, a model each.
        chosen: Those of these runs that count, by split and seed.
        reports: Run id to report.
        splits: Digests of the splits, in their order.
    """
    models = []
    for name, by_key in zip(_names(same), chosen, strict=True):
        keys = sorted(
            (key for key, record in by_key.items() if record.id in reports),
            key=lambda key: (splits.index(key[0]), key[1]),
        )
        if keys:
            first = by_key[keys[0]]
            models.append(
                Model(
                    name,
                    first.kind,
                    first.role,
                    first.loss,
                    first.is_random,
                    {key: by_key[key] for key in keys},
                    {key: reports[by_key[key].id] for key in keys},
                )
            )
    return models


def _names(same: Sequence[Sequence[RunRecord]]) -> list[str]:
    """The runs' own names, with the settings that differ where several models share one."""
    names = [name_of(runs[0]) for runs in same]
    shared = {name for name in names if names.count(name) > 1}
    for name in shared:
        places = [place for place, other in enumerate(names) if other == name]
        settings = [settings_of(same[place][0]) for place in places]
        differing = [
            key for key in settings[0] if len({values.get(key) for values in settings}) > 1
        ]
        for place, values in zip(places, settings, strict=True):
            words = [f"{key.rpartition('.')[2]} {values.get(key)}" for key in differing]
            names[place] = (
                f"{name}, {', '.join(words)}" if words else f"{name}, run {same[place][0].id[:8]}"
            )
    return names


def name_of(record: RunRecord) -> str:
    """The run's name, which somebody may have changed; of a trial its model's label."""
    return record.label if TRIAL_TAG in record.tags else record.name


def objective_of_run(record: RunRecord) -> str:
    """The logged metric that chose the run's epochs and settings."""
    if OBJECTIVE_TAG in record.tags:
        return record.tags[OBJECTIVE_TAG]
    name = record.params.get("evaluation.objective", "None")  # of a run of before that tag
    if name != "None":
        return measure(name).on_validation
    lengths = lists_in(record.metrics, "validation/")
    defaults = available("objective", cells=evaluates_cells(record) or not lengths, lengths=lengths)
    return defaults[0].on_validation


def evaluates_cells(record: RunRecord) -> bool:
    """Whether the parts of a run enumerate their cells."""
    return any(
        f"{part}/{measure.name}" in record.metrics
        for measure in shown("objective")
        if measure.needs == "cells"
        for part in PARTS
    )


def worth_of_run(record: RunRecord, objective: str) -> float:
    """Number of which more is better; the worst where the run has no such metric."""
    return measure(objective).worth(record.metrics.get(objective, np.nan))


def best_baselines(records: Sequence[RunRecord], objective: str) -> list[RunRecord]:
    """The best baseline of each family by a logged metric, of runs on one split; of equal ones the
    first."""
    best: dict[str, RunRecord] = {}
    for record in records:
        if record.role == "baseline" and objective in record.metrics:
            family = record.model_family
            best[family] = max(
                best.get(family, record),
                record,
                key=lambda baseline: worth_of_run(baseline, objective),
            )
    return list(best.values())
