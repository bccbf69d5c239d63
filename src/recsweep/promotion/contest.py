"""Who stands against whom: candidate, champion and baselines, measured on one part of the same
splits, and trained where the store lacks a run."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from omegaconf import DictConfig, OmegaConf

from recsweep.comparison.models import (
    Model,
    best_baselines,
    objective_of_run,
    standing_of,
    worth_of_run,
)
from recsweep.config import CHOSEN, SAME, build, effective_config
from recsweep.errors import ConfigError
from recsweep.processes import cores
from recsweep.promotion.grids import GRIDS
from recsweep.promotion.latency import latencies
from recsweep.promotion.registry import RUNS_TAG
from recsweep.promotion.reruns import Reruns, node_of
from recsweep.promotion.rule import Contestant
from recsweep.run.plan import identity_of
from recsweep.run.record import Outcome
from recsweep.tracking import RegisteredVersion, RunRecord
from recsweep.tuning.progress import duration

log = logging.getLogger(__name__)

CHAMPION_REFIT_TAG = "refit_of_champion"
"""Tag of a run that trained a champion's configuration on a candidate's data; its value is the
registered model and the version."""

ASK_SECONDS = 600
"""Seconds above which training is agreed to before it begins."""

GRID_SECONDS = 2.0
"""Seconds that a fit of a baseline is taken to last before one was timed, with its evaluation and
logging."""

LOG_SECONDS = 0.5
"""Seconds that logging a run takes."""


@dataclass(frozen=True)
class Contest:
    """A candidate and its opponents.

    Attributes:
        candidate: The candidate, measured over all its seeds and splits.
        others: The champion, where there is one, and the baselines.
        latency: Milliseconds for one user, of the candidate and of the champion; None without a
            champion.
        test_uses: Runs that had been evaluated on the test part of this split before.
        levels: Seeds and splits that they are compared over, in words.
    """

    candidate: Contestant
    others: Sequence[Contestant]
    latency: tuple[float, float] | None
    test_uses: int
    levels: str


@dataclass(frozen=True, eq=False)
class Entrant:
    """A configuration that takes part.

    Attributes:
        role: `candidate`, `champion` or `baseline`.
        record: The run that it is known by.
        nodes: Nodes that replace those of the candidate's config; none for the candidate.
        own: Runs of it that are known, in addition to those that its settings find.
        tags: Tags of the runs that are trained of it.
    """

    role: str
    record: RunRecord
    nodes: Mapping[str, Any]
    own: Sequence[RunRecord] = ()
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Seconds that one more run of it is expected to take."""
        fit = (self.record.metrics.get(f"fit/{name}", 0.0) for name in ("seconds", "watch_seconds"))
        return sum(fit) + LOG_SECONDS


@dataclass(frozen=True)
class Wanted:
    """A run that the contest needs: a configuration, a seed and a split.

    Attributes:
        entrant: The configuration.
        seed: Seed of weights and batches.
        split_seed: Seed of the split, of the candidate's rule; None where that draws nothing.
    """

    entrant: Entrant
    seed: int
    split_seed: int | None


Runs = Mapping[Entrant, Sequence[Wanted]]


@dataclass(frozen=True)
class Organiser:
    """Brings a candidate and its opponents together; trains and evaluates what is missing.

    What it trains are ordinary runs, found again by their settings, so that an interrupted
    promotion goes on.

    Attributes:
        reruns: Evaluates and trains runs of the store on the part that is compared on.
        seeds: Least number of seeds that a model with randomness is run with on each split.
        splits: Number of splits of the candidate's rule that are compared on, where that is random.
        confirmed: Whether more than ASK_SECONDS of training have been agreed to.
    """

    reruns: Reruns
    seeds: int = 1
    splits: int = 1
    confirmed: bool = False

    def contest(self, records: Sequence[RunRecord], champion: RegisteredVersion | None) -> Contest:
        """Everything the rule looks at.

        Args:
            records: The candidate's runs, the best first.
            champion: Version that is champion; None where there is none.

        Raises:
            ConfigError: The training would take longer than what was agreed to.
            DataError: Data that have to be read again are gone, or are other ones now.
            FitError: What has to be trained can't be.
        """
        first = records[0]
        test_uses = self._test_uses(first)
        split_seeds = self._split_seeds(first)
        contenders = [Entrant("candidate", first, {}, records)]
        if champion is not None:
            contenders.append(self._defender(champion, first))
        wanted = {
            entrant: self._wanted(entrant, entrant.own or records, split_seeds)
            for entrant in contenders
        }
        known = [entrant.record for entrant in contenders]
        grids = self._missing_baselines(first, known)
        baselines = {} if grids else self._chosen_baselines(first, known, split_seeds)
        self._announce(wanted | baselines, grids, split_seeds)
        if grids:
            self._tune(first, grids)
            baselines = self._chosen_baselines(first, known, split_seeds)
        runs = self._runs(wanted | baselines, first)
        models = {entrant: self._model(runs[entrant]) for entrant in runs}
        latency = None
        if champion is not None:
            latency = latencies(self.reruns.store, first, runs[contenders[1]][0])
        candidate, *others = _contestants(models, champion, random=self.seeds > 1)
        levels = self._levels(split_seeds, random=any(model.is_random for model in models.values()))
        return Contest(candidate, others, latency, test_uses, levels)

    def _levels(self, split_seeds: Sequence[int | None], *, random: bool) -> str:
        """Seeds and splits that are averaged over, and what the intervals do not cover."""
        seeds = f"at least {self.seeds} seeds of each model with randomness"
        if not random:
            seeds = "no model draws anything but its data"
        elif self.seeds == 1:
            seeds = "one seed, by --seeds 1: the noise between seeds is not covered"
        listed = ", ".join(map(str, split_seeds))
        splits = (
            f"{len(split_seeds)} splits (seeds {listed}); settings were chosen on the first "
            "one's validation part, whose cells the test parts of the others share"
        )
        if split_seeds == [None]:
            splits = "one split, whose rule draws nothing"
        elif len(split_seeds) == 1:
            splits = f"one split (seed {listed}), by --splits 1: another one is not covered"
        return f"{seeds[0].upper()}{seeds[1:]}; {splits}."

    def _split_seeds(self, record: RunRecord) -> list[int | None]:
        """Seeds of the splits, that of the candidate's own first."""
        if record.split_seed is None:
            return [None]
        return list(range(record.split_seed, record.split_seed + self.splits))

    def _test_uses(self, record: RunRecord) -> int:
        same = self.reruns.store.search(f"tags.split_digest = '{record.tags['split_digest']}'")
        return sum(any(name.startswith("test/") for name in run.metrics) for run in same)

    def _defender(self, champion: RegisteredVersion, candidate: RunRecord) -> Entrant:
        """The champion's configuration, with its runs on the candidate's data and split; on others
        it is trained anew."""
        store = self.reruns.store
        record = store.record(champion.run_id)
        config = self.reruns.config(record)
        nodes = {node: config[node] for node in (*SAME["model"].nodes, CHOSEN) if node in config}
        runs = [
            store.record(run) for run in champion.tags.get(RUNS_TAG, champion.run_id).split(",")
        ]
        own = [run for run in runs if run.measured_on[1:] == candidate.measured_on[1:]]
        tags = {CHAMPION_REFIT_TAG: f"{champion.name} {champion.version}"}
        return Entrant("champion", record, nodes, own, tags)

    def _wanted(
        self, entrant: Entrant, known: Sequence[RunRecord], split_seeds: Sequence[int | None]
    ) -> list[Wanted]:
        """The runs of an entrant: the seeds that are known and as many more as are asked for; on
        other splits no more than that.

        Args:
            entrant: The configuration.
            known: Runs whose seeds are taken first, on the first split.
            split_seeds: Seeds of the splits, the candidate's own first.
        """
        if not entrant.record.is_random:
            seed = int(entrant.record.tags["seed"])
            return [Wanted(entrant, seed, split) for split in split_seeds]
        seeds = sorted({int(record.tags["seed"]) for record in known})
        seeds += range(seeds[-1] + 1, seeds[-1] + 1 + self.seeds - len(seeds))
        return [
            Wanted(entrant, seed, split)
            for place, split in enumerate(split_seeds)
            for seed in (seeds if place == 0 else seeds[: self.seeds])
        ]

    def _runs(self, wanted: Runs, like: RunRecord) -> dict[Entrant, list[RunRecord]]:
        """A finished run for each that is wanted, evaluated on the part: found, or trained now,
        split by split."""
        pool = self._same_data(like)
        runs = {run: self._find(run, pool, like) for group in wanted.values() for run in group}
        missing = [run for run, record in runs.items() if record is None]
        missing.sort(key=lambda run: (run.split_seed or 0, run.seed))
        cfgs = [
            self.reruns.new(like, run.entrant.nodes, run.seed, run.split_seed, run.entrant.tags)
            for run in missing
        ]
        done = count(1)

        def tell(cfg: DictConfig, outcome: Outcome) -> None:
            of_split = "" if cfg.split.get("seed") is None else f", split {cfg.split.seed}"
            place, fits = next(done), len(missing)
            log.info("fit %d of %d: %s, seed %d%s", place, fits, outcome.name, cfg.seed, of_split)

        runs.update(zip(missing, self.reruns.trained(cfgs, like, tell), strict=True))
        return {
            entrant: [self.reruns.evaluated(record) for run in group if (record := runs[run])]
            for entrant, group in wanted.items()
        }

    def _find(self, wanted: Wanted, pool: Sequence[RunRecord], like: RunRecord) -> RunRecord | None:
        """A finished run of the same settings, seed and split: one that was evaluated on the part
        where there is one, and of the entrant's own first."""
        model = wanted.entrant.record.model_digest
        candidates = self.reruns.candidates(like)

        def fits(record: RunRecord) -> bool:
            return (
                record.rule_digest == like.rule_digest
                and record.split_seed == wanted.split_seed
                and record.model_digest == model
                and self.reruns.candidates(record) == candidates
                and (not record.is_random or int(record.tags["seed"]) == wanted.seed)
            )

        fitting = [record for record in (*wanted.entrant.own, *pool) if fits(record)]
        return max(fitting, key=self.reruns.is_measured, default=None)

    def _same_data(self, record: RunRecord) -> list[RunRecord]:
        """Finished runs of models on the data of a run, the latest first."""
        same = f"tags.data_digest = '{record.tags['data_digest']}'"
        return self.reruns.store.search(
            f"attributes.status = 'FINISHED' and tags.model_kind LIKE '%' and {same}"
        )

    def _missing_baselines(
        self, candidate: RunRecord, known: Sequence[RunRecord]
    ) -> list[Mapping[str, Any]]:
        """Nodes of the models of baselines' grids that the store has not tuned on the candidate's
        data and split.

        A family counts as tuned where it was run with as many settings as its grid has. Neither the
        candidate's nor the champion's own settings stand against the candidate once more.
        """
        pool = [
            record for record in self._same_data(candidate) if self._same_split(record, candidate)
        ]
        known_models = {record.model_digest for record in (*pool, *known)}
        missing: list[Mapping[str, Any]] = []
        cfg = self.reruns.config(candidate)
        for option, grid in GRIDS.items():
            cfg.model = node = node_of(self.reruns.conf / "model" / f"{option}.yaml")
            kind = build(cfg, "model").kind
            family = identity_of(kind, effective_config(cfg))["model_family"]
            tuned = {record.model_digest for record in pool if record.model_family == family}
            if len(tuned) >= len(grid):
                continue
            for settings in grid:
                cfg.model = OmegaConf.merge(node, settings)
                own = identity_of(kind, effective_config(cfg))
                if own["model_digest"] not in known_models:
                    missing.append({"model": cfg.model, CHOSEN: {"model": option}})
        return missing

    def _same_split(self, record: RunRecord, other: RunRecord) -> bool:
        """Whether two runs are on the same data and split, with lists of the same candidates."""
        return record.measured_on[1:] == other.measured_on[1:] and self.reruns.candidates(
            record
        ) == self.reruns.candidates(other)

    def _tune(self, candidate: RunRecord, grids: Sequence[Mapping[str, Any]]) -> None:
        log.info(
            "baselines that are not in the store yet are trained on %s, with %d settings",
            candidate.tags["data"],
            len(grids),
        )
        seed = int(candidate.tags["seed"])
        cfgs = [
            self.reruns.new(candidate, nodes, seed, candidate.split_seed, {}) for nodes in grids
        ]
        self.reruns.trained(cfgs, candidate)

    def _chosen_baselines(
        self, candidate: RunRecord, known: Sequence[RunRecord], split_seeds: Sequence[int | None]
    ) -> dict[Entrant, list[Wanted]]:
        """The best of each family on the candidate's data and split, by the candidate's objective
        on validation; not of a family of which the candidate or the champion is the best."""
        objective = objective_of_run(candidate)
        own = {record.model_digest for record in known}
        pool = [
            record
            for record in self._same_data(candidate)[::-1]
            if self._same_split(record, candidate) and record.model_digest not in own
        ]
        here = [record for record in known if self._same_split(record, candidate)]

        def is_best(record: RunRecord) -> bool:
            return all(
                record.model_family != other.model_family
                or worth_of_run(record, objective) > worth_of_run(other, objective)
                for other in here
            )

        chosen = [
            Entrant("baseline", record, self._model_of(record))
            for record in best_baselines(pool, objective)
            if is_best(record)
        ]
        return {entrant: self._wanted(entrant, [entrant.record], split_seeds) for entrant in chosen}

    def _model_of(self, record: RunRecord) -> Mapping[str, Any]:
        config = self.reruns.config(record)
        return {node: config[node] for node in ("model", CHOSEN) if node in config}

    def _announce(
        self, wanted: Runs, grids: Sequence[Mapping[str, Any]], split_seeds: Sequence[int | None]
    ) -> None:
        """Say what will be trained and how long that takes; ConfigError where it is long and was
        not agreed to."""
        first = next(iter(wanted)).record
        pool = self._same_data(first)
        words, seconds = [], len(grids) * GRID_SECONDS
        for entrant, group in wanted.items():
            missing = sum(self._find(run, pool, first) is None for run in group)
            seconds += missing * entrant.seconds
            words.append(
                f"{entrant.role} {entrant.record.label}: {len(group)} runs, of which "
                f"{len(group) - missing} are there"
            )
        if grids:
            others = len(split_seeds) - 1
            seconds += len(GRIDS) * others * GRID_SECONDS
            words.append(
                f"baselines: {len(grids)} settings to tune on the first split"
                + (f", the best of each kind on {others} more" if others else "")
            )
        seconds /= self.reruns.workers or cores()
        estimate, what = duration(seconds), "; ".join(words)
        training = f"About {estimate} of training, from the times of earlier fits"
        log.info("%s. %s.", what, training if seconds else "Nothing has to be trained")
        if seconds > ASK_SECONDS and not self.confirmed:
            raise ConfigError(
                f"The promotion has to train for about {estimate}: {what}. Add --yes to go on, or "
                "ask for less with --seeds and --splits."
            )

    def _model(self, records: Sequence[RunRecord]) -> Model:
        (model,) = standing_of(records, self.reruns.store, self.reruns.part).models
        return model


def _contestants(
    models: Mapping[Entrant, Model], champion: RegisteredVersion | None, *, random: bool
) -> list[Contestant]:
    """The models in their roles, with names that differ: two may come of the same settings.

    Args:
        models: Each entrant's model, in the order of the contest.
        champion: Version that is champion; None where there is none.
        random: Whether models with randomness count as such: with one seed, where that was asked
            for, they do not.
    """
    contestants: list[Contestant] = []
    for entrant, model in models.items():
        first = next(iter(model.records.values()))
        name = model.name
        if champion is not None and entrant.role == "champion":
            name = f"{name} (version {champion.version})"
        if any(name == other.name for other in contestants):
            name = f"{name} (run {first.id[:8]})"
        measured = replace(model.measured, name=name, is_random=random and model.is_random)
        contestants.append(Contestant(entrant.role, measured))
    return contestants
