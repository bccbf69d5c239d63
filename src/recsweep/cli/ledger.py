"""`recsweep ledger`: published results beside what this code gives under the same protocol."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from recsweep.cli.output import Output, add_format_option, check_place, write_page
from recsweep.cli.store import ui_line

if TYPE_CHECKING:
    from recsweep.ledger.conduct import LedgerOptions


def add_to(commands: argparse._SubParsersAction) -> None:
    ledger = commands.add_parser(
        "ledger",
        help="rerun published results, and say whether ours are theirs",
        description="Run models under the protocols of published results, and print ours beside "
        "the published values. The status is 1 where a row lies outside its band. Each row is a "
        "run of the MLflow experiment `ledger`; what is in the store already, by the same code, "
        "settings and data, is not run again.",
    )
    ledger.add_argument(
        "rows",
        nargs="*",
        metavar="ROW",
        help="as ease, or ncf_ml1m/ease for that of one protocol (default: all but watched ones)",
    )
    ledger.add_argument("--protocol", metavar="NAME", help="only the rows of this protocol")
    ledger.add_argument(
        "--within",
        type=float,
        metavar="MINUTES",
        help="CPU minutes that a row may take (default 10, or any where rows are named)",
    )
    ledger.add_argument("--data", metavar="DIR", help="the folder of data (default $RECSWEEP_DATA)")
    ledger.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes of one thread (default 1)"
    )
    ledger.add_argument("--watched", action="store_true", help="the watched rows, too")
    ledger.add_argument(
        "--again", action="store_true", help="run also what is in the store already"
    )
    ledger.add_argument("--list", action="store_true", help="list the rows, and run nothing")
    ledger.add_argument(
        "--out", type=Path, metavar="FILE.md", help="write the page there, as docs/ledger.md"
    )
    ledger.add_argument(
        "--tracking-uri", help="default: MLFLOW_TRACKING_URI, else $RECSWEEP_HOME, else ./mlruns"
    )
    add_format_option(ledger)
    ledger.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from recsweep.ledger.conduct import EXPERIMENT, LedgerOptions, conduct
    from recsweep.ledger.lines import table

    given = os.environ.get("RECSWEEP_DATA") if arguments.data is None else arguments.data
    options = LedgerOptions(
        rows=tuple(arguments.rows),
        protocol=arguments.protocol,
        within=arguments.within,
        data=Path(given) if given else None,
        workers=arguments.workers,
        watched=arguments.watched,
        again=arguments.again,
        uri=arguments.tracking_uri,
    )
    if arguments.list:
        _list(arguments, options)
        return
    if arguments.out is not None:
        check_place(arguments.out)
    ledger = conduct(options)
    if arguments.out is not None:
        write_page(arguments.out, ledger.page)
    with Output(arguments.format, wide=arguments.wide) as output:
        output.show(table(ledger.entries), beside={"words": [ledger.summary, *ledger.remarks]})
        output.say("\n".join(["", ledger.summary, *ledger.remarks]))
        if arguments.out is not None:
            output.say(f"The page: {arguments.out}")
        if ledger.is_run:
            output.hint(f"The runs in a browser: {ui_line(options.uri, EXPERIMENT)}")
    ledger.check()


def _list(arguments: argparse.Namespace, options: "LedgerOptions") -> None:
    from recsweep.ledger.conduct import rows_of
    from recsweep.ledger.lines import listing

    protocols, rows = rows_of(options)
    used = [each for each in protocols if each.name in {row.protocol for row in rows}]
    with Output(arguments.format, wide=arguments.wide) as output:
        output.show(listing(rows, {each.name: each.presence(options.data) for each in used}))
        output.say()
        for each in used:
            output.say(f"{each.name} reads {', '.join(each.files.values())}. {each.origin}")
