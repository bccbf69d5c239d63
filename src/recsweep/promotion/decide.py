"""Promote, roll back, and tell the champion's lineage."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from recsweep.checks import check_integer, check_text
from recsweep.errors import ConfigError, RegistryError
from recsweep.promotion import audit
from recsweep.promotion.audit import (
    FORCED,
    MOVES,
    PROMOTED,
    PROMOTION_TAG,
    REFUSED,
    ROLLED_BACK,
    UNCHANGED,
    Case,
    Decision,
)
from recsweep.promotion.registry import MODEL, RUNS_TAG, Change, Registry, logged_model_of
from recsweep.promotion.rule import Judgement, Rule, judge
from recsweep.tracking import (
    PREVIOUS_TAG,
    RegisteredVersion,
    Run,
    RunRecord,
    Tracker,
    TrackingOptions,
    existing_store,
    open_runs,
)

MAX_REPEATS = 1000
"""Seeds, and splits, beyond which no promotion comes to an end."""

CHAMPION_TAG = "champion"
"""Tag of a run: the registered model whose champion it trained, to be found by in the run table."""


@dataclass(frozen=True, kw_only=True)
class PromotionOptions:
    """The candidate of a promotion, and what it has to meet.

    Args:
        tracking: The store and the MLflow experiment.
        runs: Ids or names of the candidate's runs, which differ in their seed alone.
        study: Name of the study whose winner is the candidate, in place of runs.
        name: Name of the registered model.
        rule: What the candidate has to meet.
        seeds: Least number of seeds that a model with randomness is run with on each split; what
            lacks is trained.
        splits: Number of splits of the candidate's rule that are compared on, where that is random.
        workers: Number of processes that train; None for one a core, where the memory holds them.
        confirmed: Whether training that takes long was agreed to.
        force: Whether to promote also where the rule is not met.
        reason: Reason that is kept with the decision; force asks for one.
    """

    tracking: TrackingOptions
    runs: Sequence[str] = ()
    study: str | None = None
    name: str = MODEL
    rule: Rule
    seeds: int = 3
    splits: int = 3
    workers: int | None = None
    confirmed: bool = False
    force: bool = False
    reason: str = ""

    def __post_init__(self) -> None:
        check_integer("--seeds", self.seeds, minimum=1, maximum=MAX_REPEATS)
        check_integer("--splits", self.splits, minimum=1, maximum=MAX_REPEATS)
        check_integer("--workers", self.workers, minimum=1, optional=True)
        if self.force and not self.reason.strip():
            raise ConfigError(
                '--force says that you know better than the rule: say why, with --reason "...".'
            )
        check_text("--study", self.study, optional=True)


def promote(options: PromotionOptions, conf: Path) -> Decision:
    """Make a candidate the champion where the rule holds; the decision is kept either way.

    Args:
        options: The candidate, and what it has to meet.
        conf: The folder of config groups, for baselines that have to be trained.

    Raises:
        RecsweepError: What a user can mend; the champion is the one it was.
    """
    from recsweep.promotion.candidate import choose
    from recsweep.promotion.contest import Organiser
    from recsweep.promotion.reruns import Reruns

    store = existing_store(options.tracking)
    registry = Registry(store, options.name)
    audit.settle(store, registry)
    champion = registry.champion()
    if champion is not None:
        _check_source(champion)
    records = choose(store, options.tracking, runs=options.runs, study=options.study)
    model_id = logged_model_of(records[0])
    case = _case(store, options.name, champion, records, options.reason)
    if champion is not None and champion.run_id in case.runs:
        return case.decided(UNCHANGED)
    reruns = Reruns(
        store, options.tracking.experiment, conf, options.rule.part, workers=options.workers
    )
    organiser = Organiser(reruns, options.seeds, options.splits, options.confirmed)
    contest = organiser.contest(records, champion)
    judgement = judge(options.rule, contest.candidate, contest.others, contest.latency)
    case = replace(
        case,
        part=options.rule.part,
        judgement=judgement,
        test_uses=contest.test_uses,
        levels=contest.levels,
    )
    with open_runs([lambda: audit.begin(store, options.name)]) as (run,):
        if not judgement.met and not options.force:
            decision = case.decided(REFUSED)
        else:
            outcome = PROMOTED if judgement.met else FORCED
            store.servable(model_id)  # one whose files are gone would serve nobody
            with _refusal_kept(run, case), registry.only_one() as change:
                change.check(champion)
                version = registry.register(
                    records[0],
                    tags=_version_tags(case, judgement, outcome, run, records),
                    description=f"Registered to become champion on {case.moment}.\n\n"
                    + _evidence(case, judgement),
                )
                _move(store, change, run, outcome, champion, version)
            decision = case.decided(outcome, after=version.version)
        audit.conclude(run, decision)
    return decision


def rollback(tracking: TrackingOptions, *, name: str = MODEL, reason: str = "") -> Decision:
    """Make the version champion again that was it before the present one.

    Raises:
        RegistryError: There is no champion, or none before it.
    """
    store = existing_store(tracking)
    registry = Registry(store, name)
    audit.settle(store, registry)
    champion = _champion(registry)
    if champion.previous is None:
        raise RegistryError(
            f"Version {champion.version} is the first champion of {name!r}: there "
            "is none before it to return to."
        )
    before = registry.version(champion.previous)
    if before is None:
        raise RegistryError(
            f"Version {champion.previous} of {name!r}, the champion before version "
            f"{champion.version}, was deleted. Promote another run with: recsweep "
            "promote"
        )
    _check_source(before)
    store.servable(before.model_id)
    record = store.record(before.run_id)
    case = replace(
        _case(store, name, champion, [record], reason),
        runs=before.tags.get(RUNS_TAG, record.id).split(","),
    )
    with open_runs([lambda: audit.begin(store, name)]) as (run,):
        with _refusal_kept(run, case), registry.only_one() as change:
            _move(store, change, run, ROLLED_BACK, champion, before)
        decision = case.decided(ROLLED_BACK, after=before.version)
        audit.conclude(run, decision)
    return decision


@dataclass(frozen=True)
class Lineage:
    """The champion, and where it comes from.

    Attributes:
        version: The champion.
        record: The run that trained it.
        previous: The versions that a rollback returns to, one after another.
        decisions: Tags of every decision on the registered model, the latest first, with `when` in
            milliseconds since 1970, `who` and `run`.
        missing: What was deleted of all this, and how to restore it, in sentences.
    """

    version: RegisteredVersion
    record: RunRecord
    previous: Sequence[RegisteredVersion]
    decisions: Sequence[Mapping[str, str]]
    missing: Sequence[str] = ()

    @property
    def made_by(self) -> Mapping[str, str]:
        """The decision that made it champion; empty where the alias was moved by other means."""
        for decision in self.decisions:
            is_move = decision[PROMOTION_TAG] in MOVES
            if is_move and decision.get("to_version") == self.version.version:
                return decision
        return {}


def lineage(tracking: TrackingOptions, *, name: str = MODEL) -> Lineage:
    """The lineage of a champion; raises RegistryError where there is none."""
    store = existing_store(tracking)
    registry = Registry(store, name)
    champion = _champion(registry)
    previous: list[RegisteredVersion] = []
    number = champion.previous
    while number is not None and (version := registry.version(number)) is not None:
        previous.append(version)
        number = version.previous
    record = store.record(champion.run_id)
    missing = audit.missing(store, name, [champion, *previous])
    if record.deleted:
        missing.insert(0, _deleted_words(store, record))
    if number is not None:
        missing.append(f"Version {number} of {name!r}, which was before these, was deleted.")
    return Lineage(champion, record, previous, audit.trail(store, name), missing)


def _deleted_words(store: Tracker, record: RunRecord) -> str:
    return (
        f"The run {record.id} ({record.name}) was deleted, as in the MLflow UI. Restore it with: "
        f"{store.restoring(record.id)}"
    )


def _champion(registry: Registry) -> RegisteredVersion:
    if (champion := registry.champion()) is None:
        if lost := audit.lost_champion(registry.store, registry.name):
            raise RegistryError(lost)
        raise RegistryError(
            f"{registry.name!r} has no champion yet. Promote a run with: recsweep promote RUN"
        )
    _check_source(champion)
    return champion


def _check_source(version: RegisteredVersion) -> None:
    if not version.run_id or not version.model_id:
        raise RegistryError(
            f"Version {version.version} of {version.name!r} was registered by other "
            "means than `recsweep promote`: its run is not known. Move or delete its "
            "alias in the MLflow UI."
        )


def _case(
    store: Tracker,
    name: str,
    champion: RegisteredVersion | None,
    records: Sequence[RunRecord],
    reason: str,
) -> Case:
    """What is to be decided on the runs of one candidate, the best first."""
    best = records[0]
    return Case(
        name=name,
        before=None if champion is None else champion.version,
        reason=reason,
        candidate=best.name,
        run_id=best.id,
        runs=[record.id for record in records],
        study=best.tags.get("study", ""),
        measured_on=best.measured_on,
        who=store.user,
    )


@contextmanager
def _refusal_kept(run: Run, case: Case) -> Iterator[None]:
    """Keep the reason why nothing was changed, where somebody else came first."""
    try:
        yield
    except RegistryError as error:
        audit.conclude(run, case.decided(REFUSED, reason=str(error)))
        raise


def _move(
    store: Tracker,
    change: Change,
    run: Run,
    outcome: str,
    champion: RegisteredVersion | None,
    version: RegisteredVersion,
) -> None:
    trained = store.record(version.run_id)
    if trained.deleted:  # its tags can't be changed: said before anything is
        raise RegistryError(_deleted_words(store, trained))
    # what `settle` reads if this process dies
    run.log(tags={"intended": outcome, "to_version": version.version})
    change.move_champion(version, champion)
    store.add_to(trained).log(tags={CHAMPION_TAG: version.name})
    if champion is not None and champion.run_id != version.run_id:
        store.untag(champion.run_id, CHAMPION_TAG)


def _version_tags(
    case: Case, judgement: Judgement, outcome: str, run: Run, records: Sequence[RunRecord]
) -> dict[str, str]:
    """What a version says of itself, for people and for `champion`; what there is none of is left
    out."""
    best, value = records[0], judgement.value
    data, data_digest, split_digest = case.measured_on
    tags = {
        PREVIOUS_TAG: case.before,
        RUNS_TAG: ",".join(case.runs),
        "model": best.label,
        "loss": best.loss,
        "seeds": ", ".join(sorted({record.tags["seed"] for record in records}, key=int)),
        "study": case.study,
        "data": data,
        "data_digest": data_digest,
        "split": best.params.get("split"),
        "split_digest": split_digest,
        "part": case.part,
        "measure": judgement.measure,
        "value": str(value.value),
        "low": str(value.low),
        "high": str(value.high),
        "promotion": outcome,
        "promoted_by": case.who,
        "reason": case.reason,
        "decision_run": run.id,
    }
    return {name: text for name, text in tags.items() if text}


def _evidence(case: Case, judgement: Judgement) -> str:
    """The evidence by which a version was registered, as it stands beside it in the UI."""
    value = judgement.value
    leads = [
        f"{line.difference.value:+.4f} ({line.difference.low:+.4f} to "
        f"{line.difference.high:+.4f}) against {line.role} {line.other_name}"
        for line in judgement.lines
        if line.measure == judgement.measure and line.difference is not None
    ]
    return (
        f"**{case.candidate}**"
        + (f", study {case.study}" if case.study else "")
        + f": {judgement.measure} {value.value:.4f} ({value.low:.4f} to {value.high:.4f}) on "
        f"{case.part} of {case.measured_on[0]}; {'; '.join(leads)}."
    )
