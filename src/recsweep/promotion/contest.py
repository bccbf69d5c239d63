"""Who stands against whom: candidate, champion and baselines, measured on one part of the same split."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from recsweep.comparison.models import (
    FAMILY_SETTINGS,
    Family,
    Model,
    best_baselines,
    evaluates_cells,
    family_of,
    objective_of_run,
    settings_of,
    standing_of,
    standings,
    worth_of_run,
)
from recsweep.config import SAME, build, flat
from recsweep.errors import ConfigError, DataError, FitError, RecsweepError, RegistryError
from recsweep.evaluation import PARTS, evaluate, truth_metrics
from recsweep.models.saved import load_model
from recsweep.pipeline import run_many
from recsweep.promotion.grids import GRIDS
from recsweep.promotion.registry import RUNS_TAG
from recsweep.promotion.rule import Contestant
from recsweep.run.plan import Data, plan_data, prepare
from recsweep.serving.service import Query, RecommenderService
from recsweep.tracking import (
    REFIT_TAG,
    TRIAL_TAG,
    RegisteredVersion,
    RunRecord,
    Tracker,
    TrackingOptions,
    finished_runs,
)
from recsweep.tuning.progress import duration

log = logging.getLogger(__name__)

CHAMPION_REFIT_TAG = "refit_of_champion"
"""On a run that trained a champion's configuration on a candidate's data: registered model and version."""

TIMED_USERS = 200

ASK_SECONDS = 600
"""Longer training is agreed to before it begins."""

GRID_SECONDS = 2.0
"""What a fit of a baseline is taken to last before one was timed, with its evaluation and logging."""

LOG_SECONDS = 0.5
"""What logging a run takes."""


@dataclass(frozen=True)
class Contest:
    """A candidate and its opponents.

    Attributes:
        candidate: Measured over all its seeds and splits.
        others: The champion, where there is one, and the baselines.
        latency: Milliseconds for one user, of the candidate and of the champion; None without a champion.
        test_uses: Runs that had been evaluated on the test part of this split before.
        levels: Seeds and splits that they are compared over, in words.
    """

    candidate: Contestant
    others: Sequence[Contestant]
    latency: tuple[float, float] | None
    test_uses: int
    levels: str


def choose(opened: Tracker, options: TrackingOptions, *, runs: Sequence[str] = (),
           study: str | None = None) -> list[RunRecord]:
    """The runs of one candidate, the best on validation first.

    Args:
        opened: The store.
        options: Which MLflow experiment of it.
        runs: Ids or names of runs that differ in their seed alone.
        study: In place of runs, the name of a study: its winner, as it was refitted where it was.

    Raises:
        ConfigError: The runs are of several models, or neither or both of the two were given.
        RegistryError: The study has no winner.
        TrackingError: There is no such run or study.
    """
    if bool(runs) == (study is not None):
        raise ConfigError("Say what to promote: runs by their ids, or the best of a study by --study NAME.")
    records = finished_runs(options, ids=runs) if study is None else _winners(opened, options, study)
    models = [model for standing in standings(records, opened, "validation") for model in standing.models]
    if study is None and len(models) > 1:
        names = ", ".join(f"{record.id[:8]} ({record.name})" for record in records)
        raise ConfigError(f"Runs that are promoted together must differ in their seed alone, not {names}. Promote one "
                          "model at a time.")
    objective = objective_of_run(records[0])
    best = max(models, key=lambda model: _mean_worth(model, objective))
    return sorted(best.records.values(), key=lambda record: -worth_of_run(record, objective))


def _winners(opened: Tracker, options: TrackingOptions, study: str) -> list[RunRecord]:
    records, found = finished_runs(options, study=study), opened.study(study)
    number = None if found is None else found.tags.get("winner_trial", found.tags.get("best_trial"))
    if number is None:
        raise RegistryError(f"The study {study!r} has no winner yet. Finish it, or promote one of its runs by its id.")
    refitted = [each for each in records if each.tags.get("refit_of") == number]
    looked_at = [opened.record(each) for each in filter(None, found.tags.get("winner_runs", "").split(","))]
    winners = refitted or looked_at or [each for each in records if each.tags.get(TRIAL_TAG) == number]
    if not winners:
        raise RegistryError(f"The run of the winner of the study {study!r}, trial {number}, is not in {opened.uri}. "
                            f"Train it again with: recsweep refit {study}")
    return winners


def _mean_worth(model: Model, objective: str) -> float:
    """Over the seeds."""
    return float(np.mean([worth_of_run(record, objective) for record in model.records.values()]))


@dataclass(frozen=True)
class Wanted:
    """A run that the contest needs: a configuration, a seed and a split.

    Attributes:
        entrant: Whose run it is.
        seed: Of weights and batches.
        split_seed: Of the candidate's rule; None where that draws nothing.
    """

    entrant: "Entrant"
    seed: int
    split_seed: int | None


@dataclass(frozen=True, eq=False)
class Entrant:
    """A configuration that takes part.

    Attributes:
        role: `candidate`, `champion` or `baseline`.
        record: The run that it is known by.
        nodes: What replaces nodes of the candidate's config; none of its own for the candidate.
    """

    role: str
    record: RunRecord
    nodes: Mapping[str, Any]
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """What one more run of it is expected to take."""
        return sum(self.record.metrics.get(f"fit/{name}", 0.0) for name in ("seconds", "watch_seconds")) + LOG_SECONDS


@dataclass(frozen=True)
class Organiser:
    """Brings a candidate and its opponents together; trains and evaluates what is missing.

    What it trains are ordinary runs, found again by their settings, so that an interrupted promotion goes on.

    Attributes:
        opened: The store.
        options: Which MLflow experiment what is trained goes to.
        conf: The folder of config groups.
        part: On which the models are compared.
        seeds: How many a model with randomness is run with, at least, on each split.
        splits: How many splits of the candidate's rule are compared on, where that is random.
        confirmed: Whether more than ASK_SECONDS of training have been agreed to.
    """

    opened: Tracker
    options: TrackingOptions
    conf: Path
    part: str
    seeds: int = 1
    splits: int = 1
    confirmed: bool = False

    def contest(self, records: Sequence[RunRecord], champion: RegisteredVersion | None) -> Contest:
        """Everything the rule looks at.

        Args:
            records: The candidate's, the best first.
            champion: None where there is none.

        Raises:
            ConfigError: The training would take longer than what was agreed to.
            DataError: Data that have to be read again are gone, or are other ones now.
            FitError: What has to be trained can't be.
        """
        first = records[0]
        test_uses = self._test_uses(first)
        split_seeds = self._split_seeds(first)
        candidate = Entrant("candidate", first, {})
        contenders = [candidate]
        if champion is not None:
            contenders.append(self._defender(champion, first))
        own = {candidate: records} | {each: self._own_runs(champion, first) for each in contenders[1:]}
        wanted = {each: self._wanted(each, own[each] or records, split_seeds) for each in contenders}
        known = [each.record for each in contenders]
        grids = self._missing_baselines(first, known)
        baselines = {} if grids else self._chosen_baselines(first, known, split_seeds)
        self._announce(wanted | baselines, own, grids, split_seeds)
        if grids:
            self._tune(first, grids)
            baselines = self._chosen_baselines(first, known, split_seeds)
        found = self._runs(wanted | baselines, own, first)
        models = [self._model(each, found[each]) for each in found]
        latency = None if champion is None else self._latencies(first, found[contenders[1]][0])
        mine, *others = _contestants(list(zip((each.role for each in found), models, strict=True)), champion,
                                     random=self.seeds > 1)
        levels = self._levels(split_seeds, random=any(model.is_random for model in models))
        return Contest(mine, others, latency, test_uses, levels)

    def _levels(self, split_seeds: Sequence[int | None], *, random: bool) -> str:
        """What is averaged over, and what its intervals do not cover."""
        seeds = f"at least {self.seeds} seeds of each model with randomness"
        if not random:
            seeds = "no model draws anything but its data"
        elif self.seeds == 1:
            seeds = "one seed, by --seeds 1: the noise between seeds is not covered"
        listed = ", ".join(map(str, split_seeds))
        splits = (f"{len(split_seeds)} splits (seeds {listed}); settings were chosen on the first one's validation "
                  "part, whose cells the test parts of the others share")
        if split_seeds == [None]:
            splits = "one split, whose rule draws nothing"
        elif len(split_seeds) == 1:
            splits = f"one split (seed {listed}), by --splits 1: another one is not covered"
        return f"{seeds[0].upper()}{seeds[1:]}; {splits}."

    def _split_seeds(self, record: RunRecord) -> list[int | None]:
        """The candidate's own split first."""
        if record.split_seed is None:
            return [None]
        return list(range(record.split_seed, record.split_seed + self.splits))

    def _test_uses(self, record: RunRecord) -> int:
        found = self.opened.search(f"tags.split_digest = '{record.tags['split_digest']}'")
        return sum(any(name.startswith("test/") for name in each.metrics) for each in found)

    def _defender(self, champion: RegisteredVersion, candidate: RunRecord) -> Entrant:
        """The champion's configuration; on other data or another split it is trained anew."""
        record = self.opened.record(champion.run_id)
        theirs = self._config(record)
        nodes = {node: theirs[node] for node in SAME["model"].nodes if node in theirs}
        return Entrant("champion", record, nodes, {CHAMPION_REFIT_TAG: f"{champion.name} {champion.version}"})

    def _own_runs(self, champion: RegisteredVersion, candidate: RunRecord) -> list[RunRecord]:
        """The champion's runs on the candidate's data and split."""
        runs = [self.opened.record(each) for each in champion.tags.get(RUNS_TAG, champion.run_id).split(",")]
        return [each for each in runs if each.measured_on[1:] == candidate.measured_on[1:]]

    def _wanted(self, entrant: Entrant, known: Sequence[RunRecord], split_seeds: Sequence[int | None]) -> list[Wanted]:
        """The runs of one that takes part: the seeds that are known and as many more as are asked for; on other splits
        no more than that.

        Args:
            known: Runs whose seeds are taken first, on the first split.
        """
        if not entrant.record.is_random:
            return [Wanted(entrant, int(entrant.record.tags["seed"]), split) for split in split_seeds]
        seeds = sorted({int(each.tags["seed"]) for each in known})
        seeds += range(seeds[-1] + 1, seeds[-1] + 1 + self.seeds - len(seeds))
        return [Wanted(entrant, seed, split) for place, split in enumerate(split_seeds)
                for seed in (seeds if place == 0 else seeds[:self.seeds])]

    def _runs(self, wanted: Mapping[Entrant, Sequence[Wanted]], own: Mapping[Entrant, Sequence[RunRecord]],
              like: RunRecord) -> dict[Entrant, list[RunRecord]]:
        """A finished run for each that is wanted, evaluated on the part: found, or trained now, split by split."""
        pool = self._same_data(like)
        found: dict[Wanted, RunRecord] = {}
        for each in (each for group in wanted.values() for each in group):
            if (record := self._find(each, own.get(each.entrant, []), pool, like)) is not None:
                found[each] = record
        missing = [each for group in wanted.values() for each in group if each not in found]
        for place, each in enumerate(sorted(missing, key=lambda each: (each.split_seed or 0, each.seed)), start=1):
            log.info("fit %d of %d: %s %s, seed %d%s", place, len(missing), each.entrant.role,
                     each.entrant.record.label, each.seed,
                     "" if each.split_seed is None else f", split {each.split_seed}")
            found[each] = self._trained(like, each.entrant.nodes, each.seed, each.split_seed, each.entrant.tags)
        return {entrant: self._evaluated([found[each] for each in group]) for entrant, group in wanted.items()}

    def _find(self, wanted: Wanted, own: Sequence[RunRecord], pool: Sequence[RunRecord],
              like: RunRecord) -> RunRecord | None:
        """A finished run of the same settings, seed and split: one that was evaluated on the part, of its own first."""
        settings = settings_of(wanted.entrant.record)

        def fits(record: RunRecord) -> bool:
            return (record.split_settings == like.split_settings and record.split_seed == wanted.split_seed
                    and settings_of(record) == settings and self._candidates(record) == self._candidates(like)
                    and (not record.is_random or int(record.tags["seed"]) == wanted.seed))

        found = [each for each in (*own, *pool) if fits(each)]
        return max(found, key=self._measured_now, default=None)

    def _same_data(self, record: RunRecord) -> list[RunRecord]:
        """Finished runs of models on the data of a run, the latest first."""
        same = f"tags.data_digest = '{record.tags['data_digest']}'"
        return self.opened.search(
            f"attributes.status = 'FINISHED' and tags.model_kind LIKE '%' and {same}")

    def _evaluated(self, records: Sequence[RunRecord]) -> list[RunRecord]:
        """The runs, each with a report of the part under the present protocol: made now from the logged model where
        there was none, or one of another protocol."""
        return [record if self._measured_now(record) else self._evaluate(record) for record in records]

    def _measured_now(self, record: RunRecord) -> bool:
        there = any(name.startswith(f"{self.part}/") for name in record.metrics)
        return there and record.candidates == self._candidates(record)

    def _candidates(self, record: RunRecord) -> str:
        """What lists are to be chosen from: what the run's config says, and where it is from before that setting, the
        present default, if its split enumerates cells."""
        return (record.params.get("evaluation.candidates", self._default_candidates) if evaluates_cells(record)
                else "not_liked")

    @property
    def _default_candidates(self) -> str:
        return OmegaConf.load(self.conf / "evaluation" / "default.yaml").candidates

    def _evaluate(self, record: RunRecord) -> RunRecord:
        if record.model_id is None:
            raise RegistryError(f"The run {record.id} ({record.name}) has no evaluation of the {self.part} part and no "
                                "logged model to make one with. Train it again with evaluation.test=true.")
        cfg = self._config(record)
        data = self._data(record, cfg)
        with self.opened.saved_model(record.model_id) as folder:
            model = load_model(folder)
        known = {part for part in PARTS if any(name.startswith(f"{part}/") for name in record.metrics)}
        stale = known if record.candidates != self._candidates(record) else set()
        reports = [evaluate(model, data.split, part, protocol=build(cfg, "evaluation"),
                            threshold=record.metrics.get("validation/threshold") if part == "test" else None)
                   for part in sorted({self.part} | stale, reverse=True)]
        run = self.opened.add_to(record)
        with run.guarded(), TemporaryDirectory() as scratch:
            for report in reports:
                report.write(Path(scratch) / "evaluation")
            run.log_folder(Path(scratch))
        metrics: dict[str, float] = {}
        for report in reports:
            truth = truth_metrics(data.interactions.probabilities, getattr(data.split, report.part))
            metrics |= {**report.prefixed(), **{f"{report.part}/{name}": value for name, value in truth.items()}}
        # after the report, so that a run with these metrics has one
        run.log(metrics=metrics, tags={"candidates": self._candidates(record)},
                step=int(record.metrics.get("fit/epochs", 0)) + bool(stale))
        log.info("%s: evaluated on %s now, from its logged model", record.name,
                 " and ".join(report.part for report in reports))
        return self.opened.record(record.id)

    def _config(self, record: RunRecord) -> DictConfig:
        with self.opened.artifact(record, "config.yaml") as path:
            cfg = OmegaConf.load(path)
        if "candidates" not in cfg.evaluation:
            cfg.evaluation.candidates = self._default_candidates
        return cfg

    def _data(self, record: RunRecord, cfg: DictConfig) -> Data:
        """The run's data and split, read again."""
        try:
            data = prepare(plan_data(cfg))
        except RecsweepError as error:
            raise DataError(f"The data of the run {record.id} ({record.name}) can't be read again: {error}") from error
        for name, now in data.digests.items():
            if now != record.tags[name]:
                raise DataError(f"The data of the run {record.id} ({record.name}) are others now: their {name} was "
                                f"{record.tags[name]} and is {now}. Bring the old ones back, or train it again.")
        return data

    def _missing_baselines(self, candidate: RunRecord, known: Sequence[RunRecord]) -> list[DictConfig]:
        """Model nodes of the grids of baselines that the store has not tuned on the candidate's data and split.

        A family counts as tuned where it was run with as many settings as its grid has. Neither the candidate's nor
        the champion's own settings stand against the candidate once more.
        """
        pool = [each for each in self._same_data(candidate) if self._same_split(each, candidate)]
        there = [settings_of(each) for each in (*pool, *known)]
        missing = []
        for option, grid in GRIDS.items():
            node = OmegaConf.load(self.conf / "model" / f"{option}.yaml")
            cfg = self._config(candidate)
            cfg.model = node
            family = _family_of(cfg)
            tuned = {tuple(settings_of(each).items()) for each in pool if family_of(each) == family}
            if len(tuned) >= len(grid):
                continue
            for settings in grid:
                cfg = self._config(candidate)
                cfg.model = OmegaConf.merge(node, settings)
                if _model_settings(cfg) not in there:
                    missing.append(cfg.model)
        return missing

    def _same_split(self, record: RunRecord, other: RunRecord) -> bool:
        """Whether two runs are on the same data and split, with lists of the same candidates."""
        return (record.measured_on[1:] == other.measured_on[1:]
                and self._candidates(record) == self._candidates(other))

    def _tune(self, candidate: RunRecord, grids: Sequence[DictConfig]) -> None:
        log.info("baselines that are not in the store yet are trained on %s, with %d settings", candidate.tags["data"],
                 len(grids))
        for node in grids:
            self._trained(candidate, {"model": node}, int(candidate.tags["seed"]), candidate.split_seed, {})

    def _chosen_baselines(self, candidate: RunRecord, known: Sequence[RunRecord],
                          split_seeds: Sequence[int | None]) -> dict[Entrant, list[Wanted]]:
        """The best of each family on the candidate's data and split, by the candidate's objective on validation; not of
        a family of which the candidate or the champion is the best."""
        objective = objective_of_run(candidate)
        own = [settings_of(each) for each in known]
        pool = [each for each in self._same_data(candidate)[::-1]
                if self._same_split(each, candidate) and settings_of(each) not in own]
        here = [each for each in known if self._same_split(each, candidate)]

        def is_best(record: RunRecord) -> bool:
            return all(family_of(record) != family_of(each)
                       or worth_of_run(record, objective) > worth_of_run(each, objective) for each in here)

        chosen = [Entrant("baseline", record, {"model": self._config(record).model})
                  for record in best_baselines(pool, objective) if is_best(record)]
        return {each: self._wanted(each, [each.record], split_seeds) for each in chosen}

    def _announce(self, wanted: Mapping[Entrant, Sequence[Wanted]], own: Mapping[Entrant, Sequence[RunRecord]],
                  grids: Sequence[DictConfig], split_seeds: Sequence[int | None]) -> None:
        """Say what will be trained and how long that takes; ConfigError where it is long and was not agreed to."""
        first = next(iter(wanted)).record
        pool = self._same_data(first)
        told, seconds = [], len(grids) * GRID_SECONDS
        for entrant, group in wanted.items():
            missing = sum(self._find(each, own.get(entrant, []), pool, first) is None for each in group)
            seconds += missing * entrant.seconds
            told.append(f"{entrant.role} {entrant.record.label}: {len(group)} runs, of which "
                        f"{len(group) - missing} are there")
        if grids:
            others = len(split_seeds) - 1
            seconds += len(GRIDS) * others * GRID_SECONDS
            told.append(f"baselines: {len(grids)} settings to tune on the first split"
                        + (f", the best of each kind on {others} more" if others else ""))
        estimate = (f"About {duration(seconds)} of training, from the times of earlier fits" if seconds
                    else "Nothing has to be trained")
        log.info("%s. %s.", "; ".join(told), estimate)
        if seconds > ASK_SECONDS and not self.confirmed:
            raise ConfigError(f"The promotion has to train for about {duration(seconds)}: {'; '.join(told)}. Add --yes "
                              "to go on, or ask for less with --seeds and --splits.")

    def _trained(self, like: RunRecord, nodes: Mapping[str, Any], seed: int, split_seed: int | None,
                 tags: Mapping[str, str]) -> RunRecord:
        """A new run on the data of another and a split of its rule: nodes of its config replaced, and the seeds."""
        cfg = self._config(like)
        for node, content in nodes.items():
            cfg[node] = content
        cfg.seed, cfg.trial = seed, None
        if split_seed is not None:
            cfg.split.seed = split_seed
        cfg.evaluation.test = self.part == "test"
        cfg.tracking.uri, cfg.tracking.experiment = self.opened.uri, self.options.experiment
        cfg.tags = {REFIT_TAG: "true", **tags}
        if split_seed == like.split_seed:
            self._data(like, cfg)
        (outcome,) = run_many([cfg])
        if outcome.fit.error is not None:
            raise FitError(f"{outcome.name} can't be trained on the data of {like.name}, to be compared with: "
                           f"{outcome.fit.error}") from outcome.fit.error
        return self.opened.record(outcome.run_id)

    def _model(self, entrant: Entrant, records: Sequence[RunRecord]) -> Model:
        (model,) = standing_of(records, self.opened, self.part).models
        return model

    def _latencies(self, first: RunRecord, second: RunRecord) -> tuple[float, float]:
        """Median milliseconds that each run's service takes for the list of one user, measured in turns."""
        services = []
        for record in (first, second):
            with self.opened.saved_model(record.model_id) as folder:
                services.append(RecommenderService.load(folder))
        return time_in_turns(*services)


def _contestants(models: Sequence[tuple[str, Model]], champion: RegisteredVersion | None, *,
                 random: bool) -> list[Contestant]:
    """By role and model, with names that differ: two may come of the same settings.

    Args:
        random: Whether models with randomness count as such: with one seed, where that was asked for, they do not.
    """
    found: list[Contestant] = []
    for role, model in models:
        first = next(iter(model.records.values()))
        name = f"{model.name} (version {champion.version})" if role == "champion" else model.name
        if any(name == each.name for each in found):
            name = f"{name} (run {first.id[:8]})"
        measured = replace(model.measured, name=name, is_random=random and model.is_random)
        found.append(Contestant(role, measured))
    return found


def _family_of(cfg: DictConfig) -> Family:
    """The family of what a run of this config will train."""
    settings = (str(cfg.model[name]) if name in cfg.model else None for name in FAMILY_SETTINGS)
    return build(cfg, "model").kind, *settings


def _model_settings(cfg: DictConfig) -> dict[str, str]:
    """What a run of this config will log of its model."""
    resolved = OmegaConf.to_container(cfg.model, resolve=True)
    return {f"model.{name}": str(value) for name, value in flat(resolved).items()}


def time_in_turns(first: RecommenderService, second: RecommenderService) -> tuple[float, float]:
    """Median milliseconds of each for one known user and 10 items, in turns, so that a busy machine slows both alike.
    """
    services = (first, second)
    rng = np.random.default_rng(0)
    asked = [[[Query(user_id=user, k=min(10, len(service.item_ids)))] for user in
              rng.choice(service.user_ids.ids, TIMED_USERS).tolist()] for service in services]
    seconds = np.empty((2, TIMED_USERS))
    for turn in range(-5, TIMED_USERS):  # what comes before 0 warms up, and is overwritten
        for place, service in enumerate(services):
            start = perf_counter()
            service.recommend(asked[place][turn])
            seconds[place, turn] = perf_counter() - start
    ours, theirs = (1000 * np.median(seconds, axis=1)).tolist()
    return ours, theirs
