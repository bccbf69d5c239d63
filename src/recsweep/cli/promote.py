"""`recsweep promote`, `rollback` and `champion`: which model is served, and why."""

import argparse
import textwrap
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from recsweep.cli.store import add_store_options, store_options
from recsweep.errors import ConfigError
from recsweep.rendering import command_line

if TYPE_CHECKING:
    from recsweep.promotion.audit import Decision

REFUSED_STATUS = 3
"""Exit status where the rule is not met: neither a success nor a mistake."""


def add_to(commands: argparse._SubParsersAction) -> None:
    promote = commands.add_parser(
        "promote", help="make a model the champion, where it beats the champion and every baseline",
        description="Register a run's model and make it the champion, where the rule holds on the same data and split: "
        "better than the champion and than every baseline by a 95 %% interval of the paired difference that excludes "
        "zero, over users, seeds and random splits, and no worse than the champion by more than a margin on the "
        "guard-rails. Seeds and splits that the store lacks are trained, as ordinary runs: the same command goes on "
        "after an interrupt. On other data than the champion's, its configuration is trained on those of the candidate "
        "and compared there; popularity, knn (of users and of items), EASE and logistic are tuned on validation by a "
        "small grid where the store has not done so.",
        epilog=f"Exit status: 0 promoted, or champion already; {REFUSED_STATUS} refused by the rule, nothing changed; "
        "1 an error. Every decision, a refusal too, is a run with the tag `promotion`.",
    )
    promote.add_argument("runs", nargs="*", metavar="RUN", help="id, its beginning, or name of a run; several that "
                         "differ in their seed alone are one candidate, of which the best on validation is registered")
    promote.add_argument("--study", metavar="NAME", help="the winner of a study, as `recsweep refit` trained it where "
                         "it did")
    promote.add_argument("--measure", help="that decides (default f1_at_threshold: what matters is to find the items "
                         "that are liked, at the threshold that validation chose; ndcg_at_10 where the data list "
                         "likes alone)")
    promote.add_argument("--on", choices=("validation", "test"), default="test",
                         help="part that is compared on (default test; a run that has not been evaluated there is now)")
    promote.add_argument("--seeds", type=int, default=3, metavar="N", help="a model with randomness is run with so "
                         "many, at least, on each split (default 3)")
    promote.add_argument("--splits", type=int, default=3, metavar="N", help="compare on so many splits of the same "
                         "rule, where that is random (default 3)")
    promote.add_argument("--yes", action="store_true", help="train also where that takes more than ten minutes")
    promote.add_argument("--guard", action="append", default=[], metavar="NAME=MARGIN",
                         help="guard-rail against the champion: coverage=0.1 (share that may be lost), latency=1.5 "
                         "(times the champion's for one user; 5 ms are always quick enough), and a measure, by default "
                         "average_precision=0.01 or ndcg_at_10=0.01 (how far the interval may reach below); NAME=none "
                         "leaves it out")
    promote.add_argument("--force", action="store_true", help="also where the rule is not met; recorded")
    promote.add_argument("--reason", default="", help="why, kept with the decision; --force needs one")
    rollback = commands.add_parser("rollback", help="return to the champion before the present one",
                                   description="Return to the champion before the present one; twice, to the one "
                                   "before that.")
    rollback.add_argument("--reason", default="", help="why, kept with the decision")
    champion = commands.add_parser("champion", help="the model that is served, and where it comes from")
    for command, run in ((promote, _promote), (rollback, _rollback), (champion, _show)):
        command.add_argument("--name", default="recsweep", help="registered model (default recsweep)")
        add_store_options(command)
        command.set_defaults(run=run)


def _promote(arguments: argparse.Namespace) -> None:
    from recsweep.promotion.rule import Rule

    rule = Rule(measure=arguments.measure, part=arguments.on, guards=guards(arguments.guard))
    from recsweep.config import conf_dir
    from recsweep.promotion.audit import REFUSED
    from recsweep.promotion.decide import PromotionOptions, promote

    options = PromotionOptions(
        tracking=store_options(arguments), runs=arguments.runs, study=arguments.study, name=arguments.name, rule=rule,
        seeds=arguments.seeds, splits=arguments.splits, confirmed=arguments.yes, force=arguments.force,
        reason=arguments.reason,
    )
    decision = promote(options, conf_dir())
    _print(decision)
    if decision.outcome == REFUSED:
        raise SystemExit(REFUSED_STATUS)


def guards(given: Sequence[str]) -> dict[str, float | None]:
    """Guard-rails to margins, None for one that is left out. Raises ConfigError for what is not NAME=MARGIN."""
    found: dict[str, float | None] = {}
    for each in given:
        name, _, margin = each.partition("=")
        try:
            found[name] = None if margin == "none" else float(margin)
        except ValueError:
            raise ConfigError(f"--guard must be NAME=MARGIN with a number or none, as coverage=0.2, not {each!r}."
                              ) from None
    return found


def _rollback(arguments: argparse.Namespace) -> None:
    from recsweep.promotion.decide import rollback

    _print(rollback(store_options(arguments), name=arguments.name, reason=arguments.reason))


def _print(decision: "Decision") -> None:
    if decision.lines:
        from rich.table import Table

        from recsweep.rendering import print_table

        header, rows = decision.rows()
        table = Table(title=f"{decision.candidate} on {decision.part} of {decision.measured_on[0]}",
                      title_justify="left")
        for heading in header:
            table.add_column(heading, justify="left" if heading in (header[0], header[1], "needs") else "right")
        for row in rows:
            table.add_row(*row, style=None if row[-1] == "yes" else "bold red")
        print_table(table)
        print(f"{decision.over} {decision.looks}")
    print(decision.words)


def _show(arguments: argparse.Namespace) -> None:
    from recsweep.promotion.decide import lineage

    found = lineage(store_options(arguments), name=arguments.name)
    version, record, made = found.version, found.record, found.made_by
    print(f"{version.name} version {version.version}: {record.name}\n")
    settings = " ".join(f"{name}={value}" for name, value in sorted(record.params.items())
                        if name.startswith(("model.", "seed")) and not name.endswith("_target_"))
    tags = {**record.tags, **version.tags}
    measured = "not known" if "measure" not in tags else (
        f"{tags['measure']} {float(tags['value']):.4f} ({float(tags['low']):.4f} to {float(tags['high']):.4f}) on "
        f"{tags['part']}")
    how = made.get("promotion", "alias moved by hand").replace("_", " ")
    rows = {
        "since": f"{_moment(version.since)}, {how} by {made.get('mlflow.user', 'unknown')}",
        "reason": made.get("reason"),
        "measure": measured,
        "run": f"{record.id}, {_moment(record.started)}",
        "study": tags.get("study"),
        "data": f"{tags.get('data')}, digest {tags.get('data_digest')}, split {tags.get('split_digest')}",
        "settings": textwrap.fill(settings, 100, subsequent_indent=" " * 11, break_long_words=False),
        "commit": tags.get("mlflow.source.git.commit"),
        "model": f"models:/{version.name}@champion (models:/{version.model_id})",
        "before it": ", ".join(f"version {each.version} (run {each.run_id[:8]})" for each in found.previous)
        or "nothing: it is the first",
    }
    for label, text in rows.items():
        if text:
            print(f"{label:<10} {text}")
    if found.decisions:
        print("\ndecisions, the latest first")
        for each in found.decisions[:10]:
            versions = f"{each.get('from_version', '–')} -> {each.get('to_version', '–')}"
            print(f"  {_moment(int(each['when']))}  {each['promotion']:<11} version {versions:<8} "
                  f"{each.get('candidate', '')}  {each.get('mlflow.user', '')}  {each.get('reason', '')}".rstrip())
    print(f"\nAsk it with: {command_line('recommend --user ID -k 10')}")


def _moment(milliseconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(milliseconds / 1000))
