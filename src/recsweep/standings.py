"""From runs in the store to models that stand side by side: runs that differ by their seed alone are one model."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from recsweep.comparison import Measured
from recsweep.errors import DataError, TrackingError
from recsweep.evaluation import EvaluationReport, read_report
from recsweep.tracking import TRIAL_TAG, RunRecord, Tracker

NOT_OF_THE_MODEL = ("seed", "evaluation.", "data.", "split.", "model.trainer.accelerator", "model.trainer.threads")
"""Settings that do not tell models apart: data and split are told by their digests."""


@dataclass(frozen=True, eq=False)
class Model:
    """What was run with the same settings on the same data and split, once a seed.

    Attributes:
        name: Unique among the models it was made with: the runs' own, with what sets it apart where that is shared.
        kind: As `recipe_net` or `knn`.
        loss: None for a baseline.
        records: By split digest and seed, ascending; of two runs with the same ones the later one.
        reports: By the same.
    """

    name: str
    kind: str
    loss: str | None
    records: Mapping[tuple[str, int], RunRecord]
    reports: Mapping[tuple[str, int], EvaluationReport] = field(repr=False)

    @property
    def is_baseline(self) -> bool:
        return self.loss is None

    @property
    def is_random(self) -> bool:
        """Whether another seed makes another model."""
        return not self.is_baseline

    @property
    def measured(self) -> Measured:
        return Measured(self.name, self.reports, self.is_random)

    def mean(self, metric: str) -> float:
        """Mean over seeds and splits of a logged metric, as `fit/seconds`; nan where a run has none."""
        return float(np.mean([record.metrics.get(metric, np.nan) for record in self.records.values()]))


@dataclass(frozen=True)
class Standing:
    """Models that were measured on the same part of the same data and split, best of the store's own order first.

    Attributes:
        data: Name of the data.
        models: In the order of their first runs.
        left_out: Why runs are not among them, in words.
    """

    data: str
    data_digest: str
    split_digest: str
    part: str
    models: Sequence[Model]
    left_out: Sequence[str]


def standings(records: Sequence[RunRecord], opened: Tracker, part: str, *,
              without_unreadable: bool = False) -> list[Standing]:
    """Group runs by data and split, and then into models.

    Args:
        records: In the order they were started.
        part: Runs that were not evaluated on it are left out, and counted.
        without_unreadable: Leave out runs whose report can't be read, and say so, as long as one is left.

    Raises:
        DataError: No run was evaluated on the part, or a report is not whole.
        TrackingError: A run's report is gone.
    """
    groups: dict[tuple, dict[tuple, list[RunRecord]]] = {}
    absent: dict[tuple[str, str, str], int] = {}
    for record in records:
        if not any(name.startswith(f"{part}/") for name in record.metrics):
            absent[record.measured_on] = absent.get(record.measured_on, 0) + 1
            continue
        groups.setdefault(record.measured_on, {}).setdefault(tuple(settings_of(record).items()), []).append(record)
    if not groups:
        remedy = " Set evaluation.test=true, or look at validation with --on validation." if part == "test" else ""
        raise DataError(f"None of the {len(records)} runs was evaluated on {part}.{remedy}")
    found = []
    for key, by_settings in groups.items():
        chosen = [{_seed(each): each for each in runs} for runs in by_settings.values()]
        left_out = [f"{_runs(absent[key])} without an evaluation on {part}"] if key in absent else []
        if repeated := sum(map(len, by_settings.values())) - sum(map(len, chosen)):
            left_out.append(f"{_runs(repeated)} before another one of the same settings and seed")
        reports, unreadable = _reports([each for by_seed in chosen for each in by_seed.values()], opened, part)
        if unreadable and not without_unreadable:
            raise next(iter(unreadable.values()))
        left_out += [f"run {run_id}: {error}" for run_id, error in unreadable.items()]
        models = _models(list(by_settings.values()), chosen, reports)
        found.append(Standing(*key, part, models, left_out))
    if not any(standing.models for standing in found):
        raise DataError("None of the runs has a report that can be read: "
                        + " ".join(reason for standing in found for reason in standing.left_out))
    return [standing for standing in found if standing.models]


def _runs(number: int) -> str:
    return "1 run" if number == 1 else f"{number} runs"


def _seed(record: RunRecord) -> int:
    return int(record.tags.get("seed", 0))


def _reports(records: Sequence[RunRecord], opened: Tracker,
             part: str) -> tuple[dict[str, EvaluationReport], dict[str, Exception]]:
    """By run id: the reports, and why the others can't be read."""

    def read(record: RunRecord) -> EvaluationReport | Exception:
        try:
            with opened.artifact(record, "evaluation") as folder:
                return read_report(folder, part)
        except (DataError, TrackingError) as error:
            return error

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        read_of = dict(zip((each.id for each in records), pool.map(read, records), strict=True))
    whole = {run_id: each for run_id, each in read_of.items() if isinstance(each, EvaluationReport)}
    return whole, {run_id: each for run_id, each in read_of.items() if run_id not in whole}


def models_of(records: Sequence[RunRecord], opened: Tracker, part: str) -> list[Model]:
    """The models of runs on one data set and split.

    Raises:
        DataError: They are of several, or none was evaluated on the part.
    """
    found = standings(records, opened, part)
    if len(found) > 1:
        raise DataError("Only runs on the same data and split compare, not on " + " and ".join(
            f"{each.data} (data {each.data_digest}, split {each.split_digest})" for each in found) + ".")
    return list(found[0].models)


def settings_of(record: RunRecord) -> dict[str, str]:
    """What makes a model the one it is, by name."""
    return {name: value for name, value in sorted(record.params.items()) if not name.startswith(NOT_OF_THE_MODEL)}


def _models(same: Sequence[Sequence[RunRecord]], chosen: Sequence[Mapping[int, RunRecord]],
            reports: Mapping[str, EvaluationReport]) -> list[Model]:
    """The models that have a report.

    Args:
        same: Runs of the same settings, a model each.
        chosen: Of these, by seed.
        reports: By run id.
    """
    models = []
    for name, by_seed in zip(_names(same), chosen, strict=True):
        records = {(record.tags["split_digest"], seed): record for seed, record in sorted(by_seed.items())
                   if record.id in reports}
        if records:
            first = next(iter(records.values()))
            models.append(Model(name, first.tags["model_kind"], first.tags.get("loss"), records,
                                {key: reports[record.id] for key, record in records.items()}))
    return models


def _names(same: Sequence[Sequence[RunRecord]]) -> list[str]:
    """The runs' own names, with the settings that differ where several models share one."""
    names = [_own_name(runs[0]) for runs in same]
    shared = {name for name in names if names.count(name) > 1}
    for name in shared:
        places = [place for place, each in enumerate(names) if each == name]
        settings = [settings_of(same[place][0]) for place in places]
        differing = [key for key in settings[0] if len({each.get(key) for each in settings}) > 1]
        for place, each in zip(places, settings, strict=True):
            told = [f"{key.rpartition('.')[2]} {each.get(key)}" for key in differing]
            names[place] = f"{name}, {', '.join(told)}" if told else f"{name}, run {same[place][0].id[:8]}"
    return names


def _own_name(record: RunRecord) -> str:
    return record.name.partition(" ")[2] if TRIAL_TAG in record.tags else record.name
