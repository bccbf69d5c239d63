"""Promote, roll back, and tell the champion's lineage."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from recsweep.checks import check_integer, check_text
from recsweep.errors import ConfigError, RegistryError
from recsweep.promotion import audit
from recsweep.promotion.audit import FORCED, MOVES, PROMOTED, PROMOTION_TAG, REFUSED, ROLLED_BACK, Decision
from recsweep.promotion.registry import MODEL, PREVIOUS_TAG, RUNS_TAG, Lock, RegisteredVersion, Registry
from recsweep.promotion.rule import Rule, judge
from recsweep.tracking import Run, RunRecord, Tracker, TrackingOptions, existing_store, open_runs

CHAMPION_TAG = "champion"
"""On a run: the registered model whose champion it trained, so that it is found in the run table."""


@dataclass(frozen=True, kw_only=True)
class PromotionOptions:
    """Who shall become champion of what.

    Args:
        tracking: The store and the MLflow experiment.
        runs: Ids or names of the candidate's runs, which differ in their seed alone.
        study: In place of runs, the study whose winner is the candidate.
        name: Of the registered model.
        rule: That it has to meet.
        seeds: With how many a model with randomness has to be run, at least, on each split; what lacks is trained.
        splits: On how many splits of the candidate's rule it is compared, where that is random.
        confirmed: Whether training that takes long was agreed to.
        force: Promote also where it does not.
        reason: Why, kept with the decision; force asks for one.
    """

    tracking: TrackingOptions
    runs: Sequence[str] = ()
    study: str | None = None
    name: str = MODEL
    rule: Rule
    seeds: int = 3
    splits: int = 3
    confirmed: bool = False
    force: bool = False
    reason: str = ""

    def __post_init__(self) -> None:
        check_integer("--seeds", self.seeds, minimum=1)
        check_integer("--splits", self.splits, minimum=1)
        if self.force and not self.reason.strip():
            raise ConfigError('--force says that you know better than the rule: say why, with --reason "...".')
        check_text("--study", self.study, optional=True)


def promote(options: PromotionOptions, conf: Path) -> Decision:
    """Make a candidate the champion where the rule holds; the decision is kept in MLflow either way.

    Args:
        options: Who shall become champion of what.
        conf: The folder of config groups, for baselines that have to be trained.

    Raises:
        RecsweepError: What a user can mend; the champion is the one it was.
    """
    from recsweep.promotion.contest import Organiser, choose

    opened = existing_store(options.tracking)
    registry = Registry(opened, options.name)
    audit.settle(opened, registry)
    champion = registry.champion()
    if champion is not None:
        _check_source(champion)
    records = choose(opened, options.tracking, runs=options.runs, study=options.study)
    if records[0].model_id is None:
        raise RegistryError(f"The run {records[0].id} ({records[0].name}) has no logged model to register. Train it "
                            "again.")
    before = champion and champion.version
    decision = Decision(
        outcome=REFUSED, name=options.name, before=before, after=before, reason=options.reason,
        candidate=records[0].name, run_id=records[0].id, runs=[each.id for each in records],
        study=records[0].tags.get("study", ""), measured_on=records[0].measured_on, part=options.rule.part,
    )
    if champion is not None and champion.run_id in decision.runs:
        return replace(decision, outcome="unchanged")
    organiser = Organiser(opened, options.tracking, conf, options.rule.part, options.seeds, options.splits,
                          options.confirmed)
    contest = organiser.contest(records, champion)
    judgement = judge(options.rule, contest.candidate, contest.others, contest.latency)
    decision = replace(decision, judgement=judgement, test_uses=contest.test_uses, levels=contest.levels)
    if not (judgement.met or options.force):
        return _decide(opened, decision, lambda run: decision)

    def crown(run: Run) -> Decision:
        outcome = PROMOTED if judgement.met else FORCED
        opened.servable(records[0].model_id)  # a model whose files are gone would serve nobody
        with registry.only_one() as lock:
            lock.check(champion)
            version = registry.register(records[0], tags=_version_tags(decision, outcome, run), description=(
                f"Registered to become champion on {decision.moment}.\n\n" + _evidence(decision)))
            _move(opened, lock, run, outcome, champion, version)
        return replace(decision, outcome=outcome, after=version.version)

    return _decide(opened, decision, crown)


def rollback(tracking: TrackingOptions, *, name: str = MODEL, reason: str = "") -> Decision:
    """Make the version champion again that was it before the present one.

    Raises:
        RegistryError: There is no champion, or none before it.
    """
    opened = existing_store(tracking)
    registry = Registry(opened, name)
    audit.settle(opened, registry)
    champion = _champion(registry)
    if champion.previous is None:
        raise RegistryError(f"Version {champion.version} is the first champion of {name!r}: there is none before it "
                            "to return to.")
    before = registry.version(champion.previous)
    if before is None:
        raise RegistryError(f"Version {champion.previous} of {name!r}, the champion before version "
                            f"{champion.version}, was deleted. Promote another run with: recsweep promote")
    _check_source(before)
    opened.servable(before.model_id)
    record = opened.record(before.run_id)
    decision = Decision(
        outcome=REFUSED, name=name, before=champion.version, after=champion.version, reason=reason,
        candidate=record.name, run_id=record.id, runs=before.tags.get(RUNS_TAG, record.id).split(","),
        study=record.tags.get("study", ""), measured_on=record.measured_on,
    )

    def restore(run: Run) -> Decision:
        with registry.only_one() as lock:
            _move(opened, lock, run, ROLLED_BACK, champion, before)
        return replace(decision, outcome=ROLLED_BACK, after=before.version)

    return _decide(opened, decision, restore)


@dataclass(frozen=True)
class Lineage:
    """Where a champion comes from.

    Attributes:
        version: The champion.
        record: The run that trained it.
        previous: The versions that a rollback returns to, one after another.
        decisions: Tags of every decision on the registered model, the latest first, with `when` in milliseconds since
            1970.
    """

    version: RegisteredVersion
    record: RunRecord
    previous: Sequence[RegisteredVersion]
    decisions: Sequence[Mapping[str, str]]

    @property
    def made_by(self) -> Mapping[str, str]:
        """The decision that made it champion; empty where the alias was moved by other means."""
        return next((each for each in self.decisions if each[PROMOTION_TAG] in MOVES
                     and each.get("to_version") == self.version.version), {})


def lineage(tracking: TrackingOptions, *, name: str = MODEL) -> Lineage:
    """Raises RegistryError where there is no champion."""
    opened = existing_store(tracking)
    registry = Registry(opened, name)
    champion = _champion(registry)
    previous: list[RegisteredVersion] = []
    version: RegisteredVersion | None = champion
    while version is not None and version.previous is not None:
        version = registry.version(version.previous)
        if version is not None:
            previous.append(version)
    return Lineage(champion, opened.record(champion.run_id), previous, audit.trail(opened, name))


def _champion(registry: Registry) -> RegisteredVersion:
    if (champion := registry.champion()) is None:
        raise RegistryError(f"{registry.name!r} has no champion yet. Promote a run with: recsweep promote RUN")
    _check_source(champion)
    return champion


def _check_source(version: RegisteredVersion) -> None:
    if not version.run_id or not version.model_id:
        raise RegistryError(f"Version {version.version} of {version.name!r} was registered by other means than "
                            "`recsweep promote`: its run is not known. Move or delete its alias in the MLflow UI.")


def _decide(opened: Tracker, decision: Decision, carry_out: Callable[[Run], Decision]) -> Decision:
    """Carry a decision out, and keep what became of it in a run of its own."""
    with open_runs([lambda: audit.begin(opened, decision.name)]) as (run,):
        try:
            done = carry_out(run)
        except RegistryError as error:  # somebody else came first
            audit.conclude(run, replace(decision, reason=str(error)))
            raise
        audit.conclude(run, done)
    return done


def _move(opened: Tracker, lock: Lock, run: Run, outcome: str, champion: RegisteredVersion | None,
          version: RegisteredVersion) -> None:
    run.log(tags={"intended": outcome, "to_version": version.version})  # what `settle` reads if this process dies
    lock.move_champion(version, champion)
    opened.add_to(opened.record(version.run_id)).log(tags={CHAMPION_TAG: version.name})
    if champion is not None and champion.run_id != version.run_id:
        opened.untag(champion.run_id, CHAMPION_TAG)


def _version_tags(decision: Decision, outcome: str, run: Run) -> dict[str, str | float]:
    value = decision.judgement.value
    data, data_digest, split_digest = decision.measured_on
    return {
        PREVIOUS_TAG: decision.before or "", RUNS_TAG: ",".join(decision.runs), "study": decision.study, "data": data,
        "data_digest": data_digest, "split_digest": split_digest, "part": decision.part, "measure": decision.measure,
        "value": value.value, "low": value.low, "high": value.high, "promotion": outcome, "decision_run": run.id,
    }


def _evidence(decision: Decision) -> str:
    """Why a version was registered, in the words that stand beside it in the UI."""
    value, others = decision.judgement.value, [line for line in decision.lines if line.measure == decision.measure]
    told = "; ".join(f"{line.difference.value:+.4f} ({line.difference.low:+.4f} to {line.difference.high:+.4f}) "
                     f"against {line.role} {line.other_name}" for line in others)
    return (f"**{decision.candidate}**" + (f", study {decision.study}" if decision.study else "")
            + f": {decision.measure} {value.value:.4f} ({value.low:.4f} to {value.high:.4f}) on {decision.part} of "
            f"{decision.measured_on[0]}; {told}.")
