"""`recsweep runs`: the finished runs, side by side."""

import argparse
import operator
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from recsweep.checks import check_integer, short
from recsweep.cli.output import Output, add_format_option
from recsweep.cli.store import add_store_options, store_options, ui_here
from recsweep.errors import ConfigError

if TYPE_CHECKING:
    from recsweep.tracking import RunRecord

COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    "=": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}


def add_to(commands: argparse._SubParsersAction) -> None:
    runs = commands.add_parser(
        "runs",
        help="a table of the finished runs, side by side",
        description="The finished runs, those on the same data and split in one table, the best "
        "first. Names are those of measures, as f1_at_threshold, of settings, as model.user_dim, "
        "and run, model, name, study, seed, loss, role, started.",
    )
    runs.add_argument(
        "--last", type=int, default=20, help="how many of the latest runs (default 20)"
    )
    runs.add_argument(
        "--on",
        choices=("validation", "test"),
        help="which part's metrics (default: validation, and test of runs without such a part)",
    )
    runs.add_argument("--study", metavar="NAME", help="only the runs of this study")
    runs.add_argument(
        "--sort",
        metavar="MEASURE",
        help="whose best value comes first, or started (default: what the runs' epochs were "
        "chosen by)",
    )
    runs.add_argument(
        "--columns", metavar="NAME,NAME", help="what is shown beside the run and its model"
    )
    runs.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="only runs with that; also !=, >, >=, <, <=; may be given several times",
    )
    add_format_option(runs)
    add_store_options(runs)
    runs.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from recsweep.evaluation import candidates_in_words
    from recsweep.run.tables import STARTED, objective_in, runs_table
    from recsweep.tracking import finished_runs, grouped

    check_integer("--last", arguments.last, minimum=1)
    conditions = [_condition(words) for words in arguments.where]
    columns = [name for name in (arguments.columns or "").split(",") if name]
    options = store_options(arguments)
    last = None if conditions else arguments.last
    groups = grouped(finished_runs(options, last=last, study=arguments.study))
    with Output(arguments.format, wide=arguments.wide, several=True) as output:
        for (data_digest, split_digest, candidates), of_group in groups.items():
            data = of_group[0].measured_on[0]
            part = arguments.on or (
                "test" if all(run.has_no_validation for run in of_group) else "validation"
            )
            heading = (
                f"{data} (data {data_digest}, split {split_digest}), {part}; "
                f"lists are chosen from {candidates_in_words(candidates)}"
            )
            measured = [run for run in of_group if _has(run, part)]
            chosen = _chosen(measured, part, conditions)[-arguments.last :]
            without = len(of_group) - len(measured)
            if chosen:
                output.show(
                    runs_table(
                        chosen, part, arguments.sort or objective_in(chosen) or STARTED, columns
                    ),
                    heading=heading,
                    common={
                        "data": data,
                        "data_digest": data_digest,
                        "split_digest": split_digest,
                        "candidates": candidates,
                        "part": part,
                    },
                )
            elif without and not conditions:
                output.say(f"\n{heading}")
            if without:
                runs = "1 run is" if without == 1 else f"{without} runs are"
                output.say(f"{runs} not shown, without the {part} part.")
        output.hint(f"\nOpen the runs in a browser: {ui_here(arguments)}")


def _has(run: "RunRecord", part: str) -> bool:
    return any(name.startswith(f"{part}/") for name in run.metrics)


def _condition(words: str) -> tuple[str, str, str]:
    """Name, comparison and value of what `--where` was given."""
    found = re.fullmatch(r"([\w./@-]+?)\s*(!=|>=|<=|=|>|<)\s*(.*)", words)
    if found is None:
        raise ConfigError(
            f"--where takes NAME=VALUE, as seed=3 or 'f1_at_threshold>0.2', not {short(words)!r}."
        )
    name, sign, value = found.groups()
    return name, sign, value


def _chosen(
    runs: Sequence["RunRecord"], part: str, conditions: Sequence[tuple[str, str, str]]
) -> list["RunRecord"]:
    from recsweep.run.tables import check_told, told

    told_of = [told(run, part) for run in runs]
    for name, _, _ in conditions:
        check_told(name, told_of)
    return [
        run
        for run, values in zip(runs, told_of, strict=True)
        if all(_holds(values.get(name), sign, value) for name, sign, value in conditions)
    ]


def _holds(known: object, sign: str, value: str) -> bool:
    """Whether a comparison holds: of numbers where both are, else of texts."""
    if known is None:
        return False
    try:
        return COMPARISONS[sign](float(str(known)), float(value))
    except ValueError:
        return COMPARISONS[sign](str(known), value)
