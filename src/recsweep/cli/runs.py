"""`recsweep runs`: the finished runs, side by side."""

import argparse

from recsweep.checks import check_integer
from recsweep.cli.output import Output, add_format_option
from recsweep.cli.store import add_store_options, store_options, ui_line


def add_to(commands: argparse._SubParsersAction) -> None:
    runs = commands.add_parser("runs", help="a table of the finished runs, side by side")
    runs.add_argument(
        "--last", type=int, default=20, help="how many of the latest runs (default 20)"
    )
    runs.add_argument(
        "--on",
        choices=("validation", "test"),
        help="which part's metrics (default: validation, and test of runs without such a part)",
    )
    add_format_option(runs)
    add_store_options(runs)
    runs.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from recsweep.evaluation import candidates_in_words
    from recsweep.run.tables import comparison_table
    from recsweep.tracking import finished_runs, grouped, tracking_uri

    check_integer("--last", arguments.last, minimum=1)
    groups = grouped(finished_runs(store_options(arguments), last=arguments.last))
    with Output(arguments.format, wide=arguments.wide, several=True) as output:
        for (data_digest, split_digest, candidates), records in groups.items():
            data = records[0].measured_on[0]
            part = arguments.on or (
                "test" if all(record.has_no_validation for record in records) else "validation"
            )
            table = comparison_table(
                [(record.name, record.metrics) for record in records],
                part,
                [record.id for record in records],
            )
            output.show(
                table,
                heading=f"{data} (data {data_digest}, split {split_digest}), {part}; "
                f"lists are chosen from {candidates_in_words(candidates)}",
                common={
                    "data": data,
                    "data_digest": data_digest,
                    "split_digest": split_digest,
                    "candidates": candidates,
                    "part": part,
                },
            )
        output.say(f"\nOpen the runs in a browser: {ui_line(tracking_uri(arguments.tracking_uri))}")
