"""`recsweep promote`, `rollback` and `champion`: which model is served, and why."""

import argparse
import shlex
import textwrap
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from recsweep.cli.output import Output, add_format_option, hint
from recsweep.cli.store import add_store_options, next_here, store_options
from recsweep.errors import ConfigError
from recsweep.promotion.registry import MODEL
from recsweep.rendering import MISSING, Column, Record, Table, shown
from recsweep.terminal import tell

if TYPE_CHECKING:
    from recsweep.promotion.audit import Decision
    from recsweep.promotion.decide import Lineage

DECISIONS_SHOWN = 10
"""Number of the latest decisions that a person sees."""

REFUSED_STATUS = 3
"""Exit status where the rule is not met: neither a success nor a mistake."""


def add_to(commands: argparse._SubParsersAction) -> None:
    promote = commands.add_parser(
        "promote",
        help="make a model the champion, where it beats the champion and every baseline",
        description="Register a run's model and make it the champion, where the rule holds on the "
        "same data and split: better than the champion and than every baseline by a "
        "95 % interval of the paired difference that excludes zero, over users, "
        "seeds and random splits, and no worse than the champion by more than a "
        "margin on the guard-rails. Seeds and splits that the store lacks are "
        "trained, as ordinary runs: the same command goes on after an interrupt. On "
        "other data than the champion's, its configuration is trained on those of the "
        "candidate and compared there; popularity, knn (of users and of items), EASE, "
        "RP3beta, iALS and logistic are tuned on validation by a small grid where the "
        "store has not done so.",
        epilog=f"Exit status: 0 promoted, or champion already; {REFUSED_STATUS} refused by the "
        "rule, nothing changed; 1 an error. Every decision, a refusal too, is a run with "
        "the tag `promotion`.",
    )
    promote.add_argument(
        "runs",
        nargs="*",
        metavar="RUN",
        help="id, its beginning, or name of a run; several that differ in their seed alone are "
        "one candidate, of which the best on validation is registered",
    )
    promote.add_argument(
        "--study",
        metavar="NAME",
        help="the winner of a study, as `recsweep refit` trained it where it did",
    )
    promote.add_argument(
        "--measure",
        help="that decides (default f1_at_threshold: what matters is to find the items "
        "that are liked, at the threshold that validation chose; ndcg_at_10 where the data list "
        "likes alone)",
    )
    promote.add_argument(
        "--on",
        choices=("validation", "test"),
        default="test",
        help="part that is compared on (default test; a run that has not been evaluated there is "
        "now)",
    )
    promote.add_argument(
        "--seeds",
        type=int,
        default=3,
        metavar="N",
        help="a model with randomness is run with so many, at least, on each split (default 3)",
    )
    promote.add_argument(
        "--splits",
        type=int,
        default=3,
        metavar="N",
        help="compare on so many splits of the same rule, where that is random (default 3)",
    )
    promote.add_argument(
        "--workers", type=int, metavar="N", help="processes that train (default: one a core)"
    )
    promote.add_argument(
        "--yes", action="store_true", help="train also where that takes more than ten minutes"
    )
    promote.add_argument(
        "--guard",
        action="append",
        default=[],
        metavar="NAME=MARGIN",
        help="guard-rail against the champion: coverage=0.1 (share that may be lost), latency=1.5 "
        "(times the champion's for one user; 5 ms are always quick enough), and a measure, "
        "by default average_precision=0.01 or ndcg_at_10=0.01 (how far the interval may "
        "reach below); NAME=none leaves it out",
    )
    promote.add_argument(
        "--force", action="store_true", help="also where the rule is not met; recorded"
    )
    promote.add_argument(
        "--reason", default="", help="why, kept with the decision; --force needs one"
    )
    rollback = commands.add_parser(
        "rollback",
        help="return to the champion before the present one",
        description="Return to the champion before the present one; twice, to the one before that.",
    )
    rollback.add_argument("--reason", default="", help="why, kept with the decision")
    champion = commands.add_parser(
        "champion", help="the model that is served, and where it comes from"
    )
    for command, run in ((promote, _promote), (rollback, _rollback), (champion, _show)):
        command.add_argument("--name", default=MODEL, help=f"registered model (default {MODEL})")
        add_store_options(command)
        command.set_defaults(run=run)
        if command is not rollback:
            add_format_option(command)


def _promote(arguments: argparse.Namespace) -> None:
    from recsweep.promotion.rule import Rule

    rule = Rule(measure=arguments.measure, part=arguments.on, guards=guards(arguments.guard))
    from recsweep.config import conf_dir
    from recsweep.promotion.audit import REFUSED
    from recsweep.promotion.decide import PromotionOptions, promote

    options = PromotionOptions(
        tracking=store_options(arguments),
        runs=arguments.runs,
        study=arguments.study,
        name=arguments.name,
        rule=rule,
        seeds=arguments.seeds,
        splits=arguments.splits,
        workers=arguments.workers,
        confirmed=arguments.yes,
        force=arguments.force,
        reason=arguments.reason,
    )
    decision = promote(options, conf_dir())
    _show_decision(decision, arguments)
    if decision.outcome == REFUSED:
        raise SystemExit(REFUSED_STATUS)


def guards(given: Sequence[str]) -> dict[str, float | None]:
    """Guard-rails to margins, None for one that is left out. Raises ConfigError for what is not
    NAME=MARGIN."""
    margins: dict[str, float | None] = {}
    for text in given:
        name, _, margin = text.partition("=")
        try:
            margins[name] = None if margin == "none" else float(margin)
        except ValueError:
            raise ConfigError(
                f"--guard must be NAME=MARGIN with a number or none, as coverage=0.2, not {text!r}."
            ) from None
    return margins


def _rollback(arguments: argparse.Namespace) -> None:
    from recsweep.promotion.decide import rollback

    tell(rollback(store_options(arguments), name=arguments.name, reason=arguments.reason).words)
    hint(_next(arguments))


def _next(arguments: argparse.Namespace) -> str:
    """What the champion is asked with, where `recommend` knows its name."""
    is_known = arguments.name == MODEL
    other = f"champion --name {shlex.quote(arguments.name)}"
    return next_here("recommend --user ID -k 10" if is_known else other, arguments)


def _show_decision(decision: "Decision", arguments: argparse.Namespace) -> None:
    from recsweep.promotion.audit import FORCED, PROMOTED

    with Output(arguments.format, wide=arguments.wide) as output:
        if decision.lines or not output.is_for_people:
            output.show(
                decision.table(),
                common={
                    "registered_model": decision.name,
                    "outcome": decision.outcome,
                    "version": decision.after,
                    "candidate_model": decision.candidate,
                    "run_id": decision.run_id,
                    "part": decision.part,
                },
                beside={"words": decision.words, "over": decision.over, "looks": decision.looks},
            )
        if decision.lines:
            output.say(f"{decision.over} {decision.looks}")
        output.say(decision.words)
        if decision.outcome in (PROMOTED, FORCED):
            output.hint(_next(arguments))


def _show(arguments: argparse.Namespace) -> None:
    from recsweep.promotion.decide import lineage

    origin = lineage(store_options(arguments), name=arguments.name)
    champion, decisions = _champion_table(origin), _decisions_table(origin)
    with Output(arguments.format, wide=arguments.wide) as output:
        if not output.is_for_people:
            output.show(champion, beside={"decisions": decisions, "missing": list(origin.missing)})
            return
        (facts,), (cells,) = champion.rows, champion.cells()
        output.say(f"{facts['registered_model']} version {facts['version']}: {facts['run_name']}\n")
        for heading, text in zip(champion.headings(), cells, strict=True):
            if text and text != MISSING:
                output.say(f"{heading:<10} {text}")
        if decisions.rows:
            output.say(f"\n{decisions.title}")
        for moment, outcome, versions, *others in decisions.head(DECISIONS_SHOWN).cells():
            output.say(
                f"  {moment}  {outcome:<11} version {versions:<8} {'  '.join(others)}".rstrip()
            )
        for sentence in origin.missing:
            output.say(f"\n{sentence}")
        if arguments.name == MODEL:
            output.say(f"\n{_next(arguments)}")


def _champion_table(origin: "Lineage") -> Table:
    """The champion in one row, with all that is known of it."""
    version, record, made = origin.version, origin.record, origin.made_by
    tags = {**record.tags, **version.tags}
    row = {
        "registered_model": version.name,
        "version": version.version,
        "run_name": record.name,
        "since": _moment(version.since),
        "how": made.get("promotion", "alias moved by hand").replace("_", " "),
        "who": made.get("who", "unknown"),
        "reason": made.get("reason"),
        "measure": tags.get("measure"),
        **{name: float(tags[name]) if name in tags else None for name in ("value", "low", "high")},
        "part": tags.get("part"),
        "run_id": record.id,
        "started": _moment(record.started),
        "study": tags.get("study"),
        "data": tags.get("data"),
        "data_digest": tags.get("data_digest"),
        "split_digest": tags.get("split_digest"),
        "settings": " ".join(
            f"{name}={value}"
            for name, value in sorted(record.params.items())
            if name.startswith(("model.", "seed")) and not name.endswith("_target_")
        ),
        "commit": record.commit,
        "model_id": version.model_id,
        "previous": [earlier.version for earlier in origin.previous],
    }
    before = ", ".join(
        f"version {earlier.version} (run {earlier.run_id[:8]})" for earlier in origin.previous
    )
    return Table(
        [
            Column(
                "since",
                "since",
                lambda row: f"{row['since']}, {row['how']} by {row['who']}",
                left=True,
                wraps=True,
            ),
            Column("reason", "reason", left=True, wraps=True),
            Column("measure", "measure", _measured, left=True, wraps=True),
            Column(
                "run_id",
                "run",
                lambda row: f"{row['run_id']}, {row['started']}",
                left=True,
                wraps=True,
            ),
            Column("study", "study", left=True, wraps=True),
            Column(
                "data",
                "data",
                lambda row: (
                    f"{row['data']}, digest {row['data_digest']}, split {row['split_digest']}"
                ),
                left=True,
                wraps=True,
            ),
            Column(
                "settings",
                "settings",
                lambda row: textwrap.fill(
                    row["settings"], 100, subsequent_indent=" " * 11, break_long_words=False
                ),
                left=True,
                wraps=True,
            ),
            Column("commit", "commit", left=True, wraps=True),
            Column(
                "model_id",
                "model",
                lambda row: (
                    f"models:/{row['registered_model']}@champion (models:/{row['model_id']})"
                ),
                left=True,
                wraps=True,
            ),
            Column(
                "previous",
                "before it",
                lambda row: before or "nothing: it is the first",
                left=True,
                wraps=True,
            ),
        ],
        [row],
        title=f"{version.name} version {version.version}: {record.name}",
    )


def _measured(champion: Record) -> str:
    if champion["measure"] is None:
        return "not known"
    return (
        f"{champion['measure']} {champion['value']:.4f} "
        f"({champion['low']:.4f} to {champion['high']:.4f}) on {champion['part']}"
    )


def _decisions_table(origin: "Lineage") -> Table:
    rows = [
        {
            "when": _moment(int(tags["when"])),
            "outcome": tags["promotion"],
            "from_version": tags.get("from_version"),
            "to_version": tags.get("to_version"),
            "candidate": tags.get("candidate", ""),
            "who": tags["who"],
            "reason": tags.get("reason", ""),
            "run_id": tags["run"],
        }
        for tags in origin.decisions
    ]
    return Table(
        [
            Column("when", "when", left=True),
            Column("outcome", "outcome", left=True),
            Column(
                "to_version",
                "version",
                lambda row: f"{shown(row['from_version'])} -> {shown(row['to_version'])}",
                left=True,
            ),
            Column("candidate", "candidate", left=True),
            Column("who", "who", left=True),
            Column("reason", "reason", left=True, wraps=True),
        ],
        rows,
        title="decisions, the latest first",
    )


def _moment(milliseconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(milliseconds / 1000))
