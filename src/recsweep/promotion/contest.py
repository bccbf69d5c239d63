"""Who stands against whom: candidate, champion and baselines, measured on one part of the same split."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from recsweep.errors import ConfigError, DataError, FitError, RecsweepError, RegistryError
from recsweep.evaluation import MINIMISED, evaluate, truth_metrics
from recsweep.models.saved import load_model
from recsweep.pipeline import Data, build, prepare, run_many
from recsweep.promotion.rule import Contestant
from recsweep.registry import RUNS_TAG, RegisteredVersion
from recsweep.serving import Query, RecommenderService
from recsweep.standings import Model, models_of, settings_of, standings
from recsweep.tracking import TRIAL_TAG, RunRecord, Tracker, TrackingOptions, finished_runs

log = logging.getLogger(__name__)

BASELINES = ("popularity", "knn", "item_knn", "logistic")
"""Options of conf/model that are trained where the store has no such model on the candidate's data and split."""

MODEL_NODES = ("model", "loss", "optimizer", "trainer", "examples", "fold_in")
"""What a champion keeps of its configuration when it is trained on other data."""

REFIT_TAG = "refit_of_champion"
"""On a run that trained a champion's configuration on a candidate's data: registered model and version."""

TIMED_USERS = 200


@dataclass(frozen=True)
class Contest:
    """A candidate and its opponents.

    Attributes:
        candidate: Measured over all its seeds.
        records: Its runs, the best on validation first: that one is registered.
        others: The champion, where there is one, and the baselines.
        latency: Milliseconds for one user, of the candidate and of the champion; None without a champion.
        test_uses: Runs that had been evaluated on the test part of this split before.
    """

    candidate: Contestant
    records: Sequence[RunRecord]
    others: Sequence[Contestant]
    latency: tuple[float, float] | None
    test_uses: int


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
    objective = _objective(records[0])
    best = max(models, key=lambda model: _mean_worth(model, objective))
    return sorted(best.records.values(), key=lambda record: -_worth(record, objective))


def _winners(opened: Tracker, options: TrackingOptions, study: str) -> list[RunRecord]:
    records, found = finished_runs(options, study=study), opened.study(study)
    number = None if found is None else found.tags.get("winner_trial", found.tags.get("best_trial"))
    if number is None:
        raise RegistryError(f"The study {study!r} has no winner yet. Finish it, or promote one of its runs by its id.")
    refitted = [each for each in records if each.tags.get("refit_of") == number]
    winners = refitted or [each for each in records if each.tags.get(TRIAL_TAG) == number]
    if not winners:
        raise RegistryError(f"The run of the winner of the study {study!r}, trial {number}, is not in {opened.uri}. "
                            f"Train it again with: recsweep refit {study}")
    return winners


def _objective(record: RunRecord) -> str:
    """The logged metric that chose the run's epochs and settings."""
    name = record.params.get("evaluation.objective", "None").removeprefix("validation/")
    if name == "None":
        ranked = sorted((int(each.rpartition("_")[2]), each) for each in record.metrics
                        if each.startswith("validation/ndcg_at_"))
        defaults = ["validation/average_precision", "validation/ndcg_at_10", *(each for _, each in ranked)]
        return next((each for each in defaults if each in record.metrics), defaults[0])
    return "train/loss" if name == "train_loss" else f"validation/{name}"


def _worth(record: RunRecord, objective: str) -> float:
    """More is better; the worst where the run has no such metric."""
    less = objective.rpartition("/")[2] in (*MINIMISED, "loss")
    value = record.metrics.get(objective, np.nan)
    return -np.inf if np.isnan(value) else -value if less else value


def _mean_worth(model: Model, objective: str) -> float:
    """Over the seeds."""
    return float(np.mean([_worth(record, objective) for record in model.records.values()]))


@dataclass(frozen=True)
class Organiser:
    """Brings a candidate and its opponents together; trains and evaluates what is missing.

    Attributes:
        opened: The store.
        options: Which MLflow experiment what is trained goes to.
        conf: The folder of config groups.
        part: On which the models are compared.
    """

    opened: Tracker
    options: TrackingOptions
    conf: Path
    part: str

    def contest(self, records: Sequence[RunRecord], champion: RegisteredVersion | None) -> Contest:
        """Everything the rule looks at.

        Args:
            records: The candidate's, the best first.
            champion: None where there is none.

        Raises:
            DataError: Data that have to be read again are gone, or are other ones now.
            FitError: What has to be trained can't be.
        """
        test_uses = self._test_uses(records[0])
        records = self._evaluated(records)
        defending = [] if champion is None else self._defending(champion, records)
        baselines = self._baselines(records, defending)
        (model,) = models_of(records, self.opened, self.part)
        models = [("candidate", model)]
        if champion is not None:
            (model,) = models_of(defending, self.opened, self.part)
            models.append(("champion", replace(model, name=f"{model.name} (version {champion.version})")))
        models += [("baseline", model) for model in models_of(baselines, self.opened, self.part)]
        candidate, *others = _contestants(models)
        latency = None if champion is None else self._latencies(records[0], defending[0])
        return Contest(candidate, records, others, latency, test_uses)

    def _test_uses(self, record: RunRecord) -> int:
        found = self.opened.search(f"tags.split_digest = '{record.tags['split_digest']}'")
        return sum(any(name.startswith("test/") for name in each.data.metrics) for each in found)

    def _evaluated(self, records: Sequence[RunRecord]) -> list[RunRecord]:
        """The runs, each with a report of the part: made now from the logged model where there was none."""
        return [record if any(name.startswith(f"{self.part}/") for name in record.metrics) else self._evaluate(record)
                for record in records]

    def _evaluate(self, record: RunRecord) -> RunRecord:
        if record.model_id is None:
            raise RegistryError(f"The run {record.id} ({record.name}) has no evaluation of the {self.part} part and no "
                                "logged model to make one with. Train it again with evaluation.test=true.")
        cfg = self._config(record)
        data = self._data(record, cfg)
        with self.opened.saved_model(record.model_id) as folder:
            model = load_model(folder)
        report = evaluate(model, data.split, self.part, protocol=build(cfg, "evaluation"),
                          threshold=record.metrics.get("validation/threshold"))
        truth = truth_metrics(data.interactions.probabilities, getattr(data.split, self.part))
        run = self.opened.add_to(record)
        with run.guarded(), TemporaryDirectory() as scratch:
            report.write(Path(scratch) / "evaluation")
            run.log_folder(Path(scratch))
        # after the report, so that a run with these metrics has one
        run.log(metrics={**report.prefixed(), **{f"{self.part}/{name}": value for name, value in truth.items()}},
                step=int(record.metrics.get("fit/epochs", 0)))
        log.info("%s: evaluated on %s now, from its logged model", record.name, self.part)
        return self.opened.record(record.id)

    def _config(self, record: RunRecord) -> DictConfig:
        with self.opened.artifact(record, "config.yaml") as path:
            return OmegaConf.load(path)

    def _data(self, record: RunRecord, cfg: DictConfig) -> Data:
        """The run's data and split, read again."""
        try:
            data = prepare(cfg)
        except RecsweepError as error:
            raise DataError(f"The data of the run {record.id} ({record.name}) can't be read again: {error}") from error
        for name, now in data.digests.items():
            if now != record.tags[name]:
                raise DataError(f"The data of the run {record.id} ({record.name}) are others now: their {name} was "
                                f"{record.tags[name]} and is {now}. Bring the old ones back, or train it again.")
        return data

    def _defending(self, champion: RegisteredVersion, records: Sequence[RunRecord]) -> list[RunRecord]:
        """The champion's runs where it was trained on the candidate's data and split, else refits of it there."""
        ids = champion.tags.get(RUNS_TAG, champion.run_id).split(",")
        own = [self.opened.record(each) for each in ids]
        if own[0].measured_on[1:] == records[0].measured_on[1:]:
            return self._evaluated(own)
        name = f"{champion.name} {champion.version}"
        found = {each.tags["seed"]: each for each in self._same_data(records[0])[::-1]
                 if each.tags.get(REFIT_TAG) == name}
        missing = [each for each in records if each.tags["seed"] not in found]
        if missing:
            log.info("the champion, version %s, is of other data: its configuration is trained on those of %s",
                     champion.version, records[0].name)
            theirs = self._config(next((each for each in own if each.id == champion.run_id), own[0]))
            changes = {node: theirs[node] for node in MODEL_NODES if node in theirs}
            for each in self._trained(missing[0], [(changes, int(each.tags["seed"])) for each in missing],
                                      {REFIT_TAG: name}):
                found[each.tags["seed"]] = each
        return self._evaluated([found[each.tags["seed"]] for each in records])

    def _same_data(self, record: RunRecord) -> list[RunRecord]:
        """Finished runs of models on the data and the split of a run, the latest first."""
        same = " and ".join(f"tags.{name} = '{record.tags[name]}'" for name in ("data_digest", "split_digest"))
        return [RunRecord.of(each) for each in
                self.opened.search(f"attributes.status = 'FINISHED' and tags.model_kind LIKE '%' and {same}")]

    def _baselines(self, records: Sequence[RunRecord], defending: Sequence[RunRecord]) -> list[RunRecord]:
        """The best of each family on the candidate's data and split, by the candidate's objective on validation.

        Families of BASELINES that the store lacks are trained. Neither the candidate nor the champion stands against
        the candidate once more.
        """
        candidate, objective = records[0], _objective(records[0])
        known = [settings_of(each) for each in (candidate, *defending)]
        pool = [each for each in self._same_data(candidate)[::-1]
                if "loss" not in each.tags and objective in each.metrics and settings_of(each) not in known]
        best: dict[str, Model] = {}
        for model in models_of(pool, self.opened, "validation") if pool else []:
            family = _family(model.name.partition(",")[0])
            best[family] = max(best.get(family, model), model, key=lambda each: _mean_worth(each, objective))
        there = {_family(each.name) for each in (candidate, *defending)} | set(best)
        missing = {}
        cfg = self._config(candidate)
        for option in BASELINES:
            cfg.model = node = OmegaConf.load(self.conf / "model" / f"{option}.yaml")
            if (family := _family(build(cfg, "model").label)) not in there:
                missing[family] = node
        found = self._evaluated([record for model in best.values() for record in model.records.values()])
        if missing:
            log.info("baselines that are not in the store yet are trained on %s: %s", candidate.tags["data"],
                     ", ".join(missing))
            found += self._trained(candidate, [({"model": node}, int(candidate.tags["seed"]))
                                               for node in missing.values()], {})
        return found

    def _trained(self, like: RunRecord, fits: Sequence[tuple[Mapping[str, Any], int]],
                 tags: Mapping[str, str]) -> list[RunRecord]:
        """New runs on the data and split of another: nodes of its config replaced, and a seed, for each."""
        cfgs = []
        for changes, seed in fits:
            cfg = self._config(like)
            for node, content in changes.items():
                cfg[node] = content
            cfg.seed, cfg.trial = seed, None
            cfg.evaluation.test = self.part == "test"
            cfg.tracking.uri, cfg.tracking.experiment = self.opened.uri, self.options.experiment
            cfg.tags = {"promotion_refit": "true", **tags}
            cfgs.append(cfg)
        self._data(like, cfgs[0])
        outcomes = run_many(cfgs)
        for outcome in outcomes:
            if outcome.fit.error is not None:
                raise FitError(f"{outcome.name} can't be trained on the data of {like.name}, to be compared with: "
                               f"{outcome.fit.error}") from outcome.fit.error
        return [self.opened.record(outcome.run_id) for outcome in outcomes]

    def _latencies(self, first: RunRecord, second: RunRecord) -> tuple[float, float]:
        """Median milliseconds that each run's service takes for the list of one user, measured in turns."""
        services = []
        for record in (first, second):
            with self.opened.saved_model(record.model_id) as folder:
                services.append(RecommenderService.load(folder))
        return time_in_turns(*services)


def _contestants(models: Sequence[tuple[str, Model]]) -> list[Contestant]:
    """By role and model, with names that differ: two may come of the same settings."""
    found: list[Contestant] = []
    for role, model in models:
        first = next(iter(model.records.values()))
        taken = any(model.name == each.name for each in found)
        name = f"{model.name} (run {first.id[:8]})" if taken else model.name
        found.append(Contestant(role, replace(model.measured, name=name)))
    return found


def _family(name: str) -> str:
    """A model's name without its numbers and its trial: `knn user 50` and `#3 knn user 100` are of one family."""
    return " ".join(word for word in name.split() if not any(letter.isdigit() for letter in word))


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
