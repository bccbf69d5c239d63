"""`recsweep compare`: which model is ahead, by how much, and whether that is more than chance."""

import argparse
import shlex
from pathlib import Path

from recsweep.cli.chosen import compute_with_one_thread
from recsweep.cli.output import Output, add_format_option, check_place, write_page
from recsweep.cli.store import add_store_options, next_here, store_options, ui_here


def add_to(commands: argparse._SubParsersAction) -> None:
    compare = commands.add_parser(
        "compare",
        help="which model is ahead, and whether that is more than chance",
        description="Compare runs with 95 % intervals, against the best baseline, in a table, in "
        "words and on one HTML page that is logged to MLflow. Runs on different data "
        "or splits stand apart; runs that differ by their seed alone are one model.",
    )
    compare.add_argument(
        "runs",
        nargs="*",
        metavar="RUN",
        help="run ids, their beginnings, or names (default: all finished runs of the experiment)",
    )
    compare.add_argument(
        "--study", metavar="NAME", help="only the runs of this study, its refits among them"
    )
    compare.add_argument("--last", type=int, metavar="N", help="only the latest so many")
    compare.add_argument(
        "--on",
        choices=("validation", "test"),
        help="which part (default: test where a run was evaluated on it, else validation)",
    )
    compare.add_argument(
        "--measure",
        help="orders the models and chooses the best baseline (default f1_at_threshold, "
        "or ndcg_at_10 where the data list likes alone)",
    )
    compare.add_argument("--out", type=Path, metavar="FILE.html", help="write the page there too")
    compare.add_argument(
        "--no-log", action="store_true", help="do not log the comparison to MLflow"
    )
    add_format_option(compare)
    add_store_options(compare)
    compare.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    compute_with_one_thread()  # each core resamples a model of its own
    from recsweep.comparison.compare import PAGE_FILE, CompareOptions, compare
    from recsweep.comparison.tables import SHOWN_MODELS, contrast_table

    if arguments.out is not None:
        check_place(arguments.out)
    compared, store = compare(
        CompareOptions(
            tracking=store_options(arguments),
            runs=arguments.runs,
            study=arguments.study,
            last=arguments.last,
            part=arguments.on,
            measure=arguments.measure,
        )
    )
    if arguments.out is not None:
        write_page(arguments.out, compared.page)
    run = None if arguments.no_log else compared.log(store)
    with Output(arguments.format, wide=arguments.wide, several=True) as output:
        if compared.apart:
            output.say(compared.apart)
        for section in compared.sections:
            contrast = section.contrast
            number = SHOWN_MODELS if output.is_for_people else len(contrast.rows)
            output.show(
                contrast_table(contrast, number),
                heading=contrast.where,
                common={
                    "data": contrast.data,
                    "data_digest": contrast.data_digest,
                    "splits": list(contrast.splits),
                    "candidates": contrast.candidates,
                    "part": contrast.part,
                    "measure": contrast.measure,
                },
                beside={
                    "words": section.words,
                    "left_out": contrast.left_out,
                    "of_truth": contrast.of_truth,
                },
            )
            if len(contrast.rows) > number:
                output.say(
                    f"The table has the best of {len(contrast.rows)} models; the page has all."
                )
            output.say("\n".join(["", *section.words]))
            for reason in contrast.left_out:
                output.say(f"Left out: {reason}")
        output.say()
        if arguments.out is not None:
            output.say(f"The page: {arguments.out}")
        if run is not None:
            output.say(f"Logged with the page, {PAGE_FILE}, as run {run.id}.")
            output.hint(f"In a browser: {ui_here(arguments)}")
        chosen = compared.sections[0].contrast.rows[0].runs[0][:8]
        if arguments.study is not None:
            chosen = f"--study {shlex.quote(arguments.study)}"
        output.hint(next_here(f"promote {chosen}", arguments))
