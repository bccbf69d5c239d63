"""`recsweep refit`: retrain what a study chose, and evaluate the test part."""

import argparse
import shlex

from recsweep.cli.output import Output, add_format_option
from recsweep.cli.store import next_line
from recsweep.errors import FitError


def add_to(commands: argparse._SubParsersAction) -> None:
    refit = commands.add_parser(
        "refit",
        help="retrain what a study chose, and evaluate the test part",
        description="Retrain the winner of a study, or --trial, --top or --best-of, with the "
        "test part evaluated. Where the study has a second look, a refit "
        "has the settings of that one and the seeds after its seeds. "
        "Settings are overridden as name=value.",
    )
    refit.add_argument("study", help="its name, as the leaderboard's title shows it")
    refit.add_argument(
        "overrides", nargs="*", metavar="name=value", help="as trainer.max_epochs=20"
    )
    refit.add_argument("--trial", type=int, help="number of the trial (default: the winner)")
    refit.add_argument("--top", type=int, help="so many of the leaderboard")
    refit.add_argument(
        "--best-of", metavar="SETTING", help="the best trial for each value of a setting, as model"
    )
    refit.add_argument(
        "--seeds", type=int, default=1, help="train each with so many seeds (default 1)"
    )
    refit.add_argument(
        "--splits",
        type=int,
        help="train each on so many splits, from the study's seed of the split on, once where no "
        "seed changes the model; the same command goes on where it was interrupted",
    )
    refit.add_argument(
        "--workers", type=int, metavar="N", help="processes that train (default: one a core)"
    )
    refit.add_argument("--storage", help="database of studies (default: optuna.db in the store)")
    add_format_option(refit)
    refit.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from recsweep.config import conf_dir
    from recsweep.run.tables import comparison_table
    from recsweep.tuning.refit import (
        RefitOptions,
        count_test_uses,
        failures,
        refit,
        rows_of,
        spreads_of,
    )

    options = RefitOptions(
        study=arguments.study,
        storage=arguments.storage,
        trial=arguments.trial,
        top=arguments.top,
        best_of=arguments.best_of,
        seeds=arguments.seeds,
        splits=arguments.splits,
        workers=arguments.workers,
        overrides=tuple(arguments.overrides),
    )
    outcomes = refit(options, conf_dir())
    kind = "seeds" if arguments.splits in (None, 1) else "seeds and splits"
    spreads = spreads_of(outcomes, kind)
    uses = count_test_uses(arguments.study, arguments.storage)
    with Output(arguments.format, wide=arguments.wide) as output:
        output.show(
            comparison_table(rows_of(outcomes, kind), "test"),
            heading=f"refit of {arguments.study}: test",
            common={"study": arguments.study, "part": "test"},
            beside={"words": spreads, "test_uses": uses},
        )
        output.say("\n".join(spreads))
        output.say(f"The test part has been looked at {uses} times for this study.")
        output.hint(next_line(f"compare --study {shlex.quote(arguments.study)}"))
    if failed := failures(outcomes):
        raise FitError("; ".join(failed))
