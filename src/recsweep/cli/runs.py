"""`recsweep runs`: the finished runs, side by side."""

import argparse

from recsweep.checks import check_integer
from recsweep.cli.store import add_store_options, store_options, ui_line


def add_to(commands: argparse._SubParsersAction) -> None:
    runs = commands.add_parser("runs", help="a table of the finished runs, side by side")
    runs.add_argument("--last", type=int, default=20, help="how many of the latest runs (default 20)")
    runs.add_argument("--on", choices=("validation", "test"), default="validation", help="which part's metrics")
    add_store_options(runs)
    runs.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from recsweep.evaluation import CANDIDATES
    from recsweep.rendering import print_table
    from recsweep.run.tables import comparison_table
    from recsweep.tracking import finished_runs, grouped, tracking_uri

    check_integer("--last", arguments.last, minimum=1)
    for (data_digest, split_digest, candidates), records in grouped(
            finished_runs(store_options(arguments), last=arguments.last)).items():
        data = records[0].measured_on[0]
        print(f"\n{data} (data {data_digest}, split {split_digest}), {arguments.on}; lists are chosen from "
              f"{CANDIDATES.get(candidates, candidates)}")
        print_table(comparison_table([(each.name, each.metrics) for each in records], arguments.on))
    print(f"\nOpen the runs in a browser: {ui_line(tracking_uri(arguments.tracking_uri))}")
