"""Decisions about the champion as MLflow keeps them: a run each, which is no model's."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from recsweep.processes import Worker
from recsweep.promotion.registry import Registry
from recsweep.promotion.rule import METHOD, Judgement, Line
from recsweep.rendering import MISSING, Column, Record, Table, shown
from recsweep.scratch import scratch_folder
from recsweep.tracking import SINCE_TAG, RegisteredVersion, Run, Tracker, person

PROMOTION_TAG = "promotion"
"""Tag of the run of a decision; its value is PENDING or an outcome."""

PENDING = "pending"
PROMOTED, FORCED, REFUSED, ROLLED_BACK = "promoted", "forced", "refused", "rolled_back"
UNCHANGED, ABANDONED = "unchanged", "abandoned"

MOVES = (PROMOTED, FORCED, ROLLED_BACK)
"""Outcomes after which another version is the champion."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is to be decided, with all that it is decided by.

    Attributes:
        name: Name of the registered model.
        before: Version of the champion before; None where there was none.
        reason: Reason in the words of whoever asked for it.
        candidate: Name of the candidate.
        run_id: Id of the candidate's run that is registered.
        runs: Ids of all the candidate's runs.
        study: Study that they belong to; empty where they belong to none.
        measured_on: Data, data digest and split digest.
        part: The part of the split that is compared on.
        judgement: What the rule says; None where it was not asked.
        test_uses: Number of runs that had been evaluated on the test part of the split before.
        levels: Seeds and splits that the candidate was compared over, in words.
        who: The person who asked for it.
        when: Moment at which it was asked for, in seconds since 1970.
    """

    name: str
    before: str | None
    reason: str
    candidate: str
    run_id: str
    runs: Sequence[str]
    study: str
    measured_on: tuple[str, str, str]
    part: str = ""
    judgement: Judgement | None = None
    test_uses: int | None = None
    levels: str = ""
    who: str = field(default_factory=person)
    when: float = field(default_factory=time.time)

    @property
    def lines(self) -> Sequence[Line]:
        """The rule, demand by demand."""
        return self.judgement.lines if self.judgement else ()

    @property
    def measure(self) -> str:
        """Name of the measure that decides; empty where the rule was not asked."""
        return self.judgement.measure if self.judgement else ""

    @property
    def moment(self) -> str:
        """Moment at which it was asked for, in words."""
        return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(self.when))

    def decided(
        self, outcome: str, *, after: str | None = None, reason: str | None = None
    ) -> "Decision":
        """The decision on it.

        Args:
            outcome: One of the outcomes of `Decision`.
            after: Version of the champion afterwards; None where that did not change.
            reason: Reason of a refusal, in place of the reason of whoever asked for it.
        """
        after = self.before if after is None else after
        reason = self.reason if reason is None else reason
        return Decision(**vars(self) | {"outcome": outcome, "after": after, "reason": reason})


@dataclass(frozen=True, kw_only=True)
class Decision(Case):
    """One decision, with all that it was made by.

    Attributes:
        outcome: `promoted`, `forced`, `refused`, `rolled_back`, or `unchanged` where the candidate
            is the champion.
        after: Version of the champion afterwards.
    """

    outcome: str
    after: str | None

    @property
    def over(self) -> str:
        """Sentences on what it was compared over and what that leaves open."""
        return f"Over {self.judgement.levels}. {self.levels}" if self.judgement else ""

    @property
    def looks(self) -> str:
        """Sentence on how far the test part has been used up."""
        runs = "1 run" if self.test_uses == 1 else f"{self.test_uses} runs"
        return f"Before this, {runs} had been evaluated on the test part of the split."

    @property
    def words(self) -> str:
        """Sentence on what became of it."""
        champion = f"version {self.before} was champion" if self.before else "there was no champion"
        unmet = sum(not line.met for line in self.lines)
        demands = f"{unmet} of {len(self.lines)} demands" if len(self.lines) > 1 else "the demand"
        refused = f"it does not meet {demands} of the rule. " if unmet else ""
        return {
            PROMOTED: f"{self.candidate} is the champion now, as version {self.after} of "
            f"{self.name}; {champion}.",
            FORCED: f"{self.candidate} was made the champion by force, as version {self.after} of "
            f"{self.name}, though it does not meet {demands} of the rule; {champion}.",
            REFUSED: f"{self.candidate} does not become champion of {self.name}"
            f"{': ' if unmet else '. '}{refused}Nothing was changed.",
            ROLLED_BACK: f"Version {self.after} of {self.name} is the champion again, after "
            f"version {self.before}.",
            UNCHANGED: f"{self.candidate} is the champion of {self.name} already, as version "
            f"{self.before}: nothing to change.",
        }[self.outcome]

    def metrics(self) -> dict[str, float]:
        """Figures of the decision, as `champion/f1_at_threshold/difference`."""
        figures: dict[str, float] = {}
        if self.judgement is not None:
            value, place = self.judgement.value, f"candidate/{self.measure}"
            figures = {place: value.value, f"{place}_low": value.low, f"{place}_high": value.high}
        for line in self.lines:
            other = _metric_name(line.other_name) if line.role == "baseline" else line.role
            place, difference = f"{other}/{line.measure}", line.difference
            figures |= {f"{place}/candidate": line.candidate, f"{place}/other": line.other}
            if difference is not None:
                figures |= {
                    f"{place}/difference": difference.value,
                    f"{place}/low": difference.low,
                    f"{place}/high": difference.high,
                }
        return figures

    def tags(self) -> dict[str, str]:
        """The tags by which its run is found."""
        data, data_digest, split_digest = self.measured_on
        tags = {
            PROMOTION_TAG: self.outcome,
            "registered_model": self.name,
            "from_version": self.before or "",
            "to_version": self.after or "",
            "candidate": self.candidate,
            "candidate_run": self.run_id,
            "study": self.study,
            "data": data,
            "data_digest": data_digest,
            "split_digest": split_digest,
            "measure": self.measure,
            "part": self.part,
            "test_uses_before": "" if self.test_uses is None else str(self.test_uses),
            "reason": self.reason,
        }
        return {name: value for name, value in tags.items() if value}

    def table(self) -> Table:
        """The rule, demand by demand, with those that are not met standing out."""
        columns = [
            Column("compared_with", "compared with", left=True, wraps=True),
            Column("measure", "measure", left=True),
            Column("candidate", "candidate", lambda line: _value(line, "candidate")),
            Column("other", "other", lambda line: _value(line, "other")),
            Column("difference", "difference", "+.4f"),
            Column("low", "95 % interval", _interval),
            Column("needs", "needs", left=True, wraps=True),
            Column("met", "met", lambda line: "yes" if line["met"] else "no"),
        ]
        return Table(
            columns,
            [_record(line) for line in self.lines],
            title=f"{self.candidate} on {self.part} of {self.measured_on[0]}",
            styles={place: "bold red" for place, line in enumerate(self.lines) if not line.met},
        )

    def markdown(self) -> str:
        """The decision as MLflow shows it."""
        reason = f" Reason: {self.reason}" if self.reason else ""
        parts = [f"**{self.words}**", f"Decided by {self.who} on {self.moment}.{reason}"]
        if self.lines:
            runs = ", ".join(f"`{run_id}`" for run_id in self.runs)
            study = f" of the study {self.study}" if self.study else ""
            data, data_digest, split_digest = self.measured_on
            parts += [
                replace(self.table(), styles={}).markdown(),
                f"Candidate: {self.candidate}, run(s) {runs}{study}. Compared by {self.measure} on "
                f"{self.part} of {data}, data `{data_digest}`, split `{split_digest}`. {self.over} "
                f"{self.looks}",
                METHOD,
            ]
        return "\n\n".join(parts)


def _metric_name(name: str) -> str:
    """The name as MLflow takes it: of letters, digits and a few signs."""
    name = name.replace("/", "-")
    return "".join(letter if letter.isalnum() or letter in "_-. " else " " for letter in name)


def _record(line: Line) -> dict[str, Any]:
    """The record of a demand; latencies are milliseconds."""
    difference = line.difference
    return {
        "compared_with": f"{line.role} {line.other_name}",
        "measure": line.measure,
        "candidate": line.candidate,
        "other": line.other,
        "difference": difference and difference.value,
        "low": difference and difference.low,
        "high": difference and difference.high,
        "needs": f"{line.needs}; {line.note}" if line.note else line.needs,
        "met": line.met,
    }


def _value(line: Record, key: str) -> str:
    return f"{line[key]:.2f} ms" if line["measure"] == "latency" else shown(line[key], ".4f")


def _interval(line: Record) -> str:
    return MISSING if line["low"] is None else f"{line['low']:+.4f} to {line['high']:+.4f}"


def begin(store: Tracker, name: str) -> Run:
    """The run of a decision that is being made: what a process leaves that dies before it is
    done."""
    worker = json.dumps(Worker.here().stored())
    tags = {PROMOTION_TAG: PENDING, "registered_model": name, "worker": worker}
    return store.start(f"decision on {name}", tags)


def conclude(run: Run, decision: Decision) -> None:
    """Write the decision into its run and end that."""
    run.log(metrics=decision.metrics(), tags=decision.tags(), note=decision.markdown())
    with run.guarded(), scratch_folder() as folder:
        (folder / "decision.md").write_text(decision.markdown() + "\n", encoding="utf-8")
        content = json.dumps(asdict(decision), indent=2)
        (folder / "decision.json").write_text(content + "\n", encoding="utf-8")
        run.log_folder(folder)
    run.end("FINISHED")


def trail(store: Tracker, name: str) -> list[Mapping[str, str]]:
    """Tags of the decisions on a registered model, the latest first, with `when` (milliseconds
    since 1970), `who` and `run`.
    """
    records = store.search(f"tags.{PROMOTION_TAG} LIKE '%' and tags.registered_model = '{name}'")
    return [
        {**record.tags, "when": str(record.started), "who": record.who, "run": record.id}
        for record in records
    ]


def lost_champion(store: Tracker, name: str) -> str:
    """Sentence on the champion that was decided on last, where there is none now; empty where none
    was ever decided on."""
    moves = (tags for tags in trail(store, name) if tags[PROMOTION_TAG] in MOVES)
    latest = next((tags for tags in moves if tags.get("to_version")), None)
    if latest is None:
        return ""
    return (
        f"{name!r} has no champion any more: version {latest['to_version']} "
        f"({latest.get('candidate', 'unknown')}), which became it on {_when(int(latest['when']))}, "
        "or its alias, was deleted, as in the MLflow UI. Give the alias `champion` to a version "
        f"there, or promote its run again: recsweep promote {latest.get('candidate_run', 'RUN')}"
    )


def missing(store: Tracker, name: str, versions: Sequence[RegisteredVersion]) -> list[str]:
    """What is missing of the decisions on a registered model, in sentences: runs that were deleted,
    and those that the versions name and the store lacks."""
    condition = f"tags.{PROMOTION_TAG} LIKE '%' and tags.registered_model = '{name}'"
    deleted = {record.id: record for record in store.search(condition, deleted=True)}
    lines = [
        f"The decision {record.tags[PROMOTION_TAG]} of {_when(record.started)} was deleted. "
        f"Restore it with: {store.restoring(record.id)}"
        for record in deleted.values()
    ]
    known = deleted.keys() | {tags["run"] for tags in trail(store, name)}
    lines += [
        f"The decision that made version {version.version} is gone for good (run {run_id})."
        for version in versions
        if (run_id := version.tags.get("decision_run")) and run_id not in known
    ]
    return lines


def _when(milliseconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(milliseconds / 1000))


def settle(store: Tracker, registry: Registry) -> None:
    """End the runs of decisions whose process died, by what the registry says became of them."""
    pending = f"tags.{PROMOTION_TAG} = '{PENDING}' and tags.registered_model = '{registry.name}'"
    for record in store.search(pending):
        tags = record.tags
        worker = Worker.of(json.loads(tags["worker"]))
        if record.status == "RUNNING" and worker.alive is not False:
            continue
        version = registry.version(tags["to_version"]) if "to_version" in tags else None
        happened = version is not None and _became_champion(registry, version, record.started)
        run = store.reopen(record.id)
        run.log(tags={PROMOTION_TAG: tags["intended"] if happened else ABANDONED})
        run.end("KILLED", "the process ended before it had written its decision")


def _became_champion(registry: Registry, version: RegisteredVersion, started: int) -> bool:
    """Whether the alias moved to a version after a decision was begun (milliseconds since 1970)."""
    champion = registry.champion()
    return (SINCE_TAG in version.tags and version.since >= started) or (
        champion is not None and champion.version == version.version
    )
