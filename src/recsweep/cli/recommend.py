"""`recsweep recommend`: items for one user, for somebody new, or for a whole file of users."""

import argparse
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from recsweep.checks import as_said, check_integer
from recsweep.cli.chosen import add_model_options, chosen_model, compute_with_one_thread
from recsweep.cli.output import Output, add_format_option
from recsweep.cli.store import next_here
from recsweep.errors import ConfigError
from recsweep.logs import shows_progress
from recsweep.rendering import Column, Table
from recsweep.terminal import tell

if TYPE_CHECKING:
    from recsweep.promotion.chosen import ChosenModel
    from recsweep.serving.service import Recommendation, RecommenderService


def add_to(commands: argparse._SubParsersAction) -> None:
    recommend = commands.add_parser(
        "recommend",
        help="items for a user, for somebody new, or for a file of users",
        description="Rank the items that somebody has not seen, by the champion or by the model of "
        "a run.",
    )
    recommend.add_argument("--user", metavar="ID", help="raw user id")
    recommend.add_argument(
        "--history", metavar="ID,ID", help="raw ids of items that somebody new liked"
    )
    recommend.add_argument(
        "--features",
        metavar="NAME=VALUE,…",
        help="what is known of somebody new, as age=25,gender=F, by the columns of "
        "data.user_features: for a model that has learnt from them",
    )
    many = recommend.add_mutually_exclusive_group()
    many.add_argument(
        "--users",
        metavar="FILE",
        type=Path,
        help="user ids, one a line, or a CSV or Parquet file with a column user_id, as one of "
        "interactions: one list a user; needs --out",
    )
    many.add_argument(
        "--all-users", action="store_true", help="all users of the model's data; needs --out"
    )
    recommend.add_argument(
        "--out", metavar="FILE", type=Path, help="where to write the lists, as .csv or .parquet"
    )
    recommend.add_argument(
        "--for-spreadsheets",
        action="store_true",
        help="in --out FILE.csv put a ' in front of ids that a spreadsheet would take for "
        "formulas, as they begin with =, +, - or @",
    )
    recommend.add_argument("-k", type=int, help="length of the list (default 10)")
    recommend.add_argument(
        "--titles",
        metavar="FILE",
        type=Path,
        help="titles of items: columns id and title (or name), or MovieLens' u.item (default: "
        "those of data.item_titles, where the model was trained with them)",
    )
    add_format_option(recommend)
    add_model_options(recommend)
    recommend.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    many = arguments.users is not None or arguments.all_users
    _check(arguments, many)
    from recsweep.serving.service import Query

    chosen = chosen_model(arguments)
    compute_with_one_thread()
    service = chosen.service()
    k = service.default_k if arguments.k is None else arguments.k
    if many:
        service.check(Query(history=[], k=k))  # before arrays of that width are made
        _write(arguments, service, k)
    else:
        _show(arguments, chosen, service, k)


def _check(arguments: argparse.Namespace, many: bool) -> None:
    """Refuse what can't be answered before the store is opened, which takes a second."""
    one = (arguments.user, arguments.history, arguments.features)
    if many == any(each is not None for each in one):
        raise ConfigError(
            "Say for whom: --user ID, --history ID,ID, or --users FILE or --all-users, one of them."
        )
    _features(arguments.features)
    if many != (arguments.out is not None):
        raise ConfigError(
            "--out names the file for the lists of --users or --all-users: give both, or neither."
        )
    if many and arguments.titles is not None:
        raise ConfigError(
            "--titles is for the table of --user and --history; a file of lists holds ids only."
        )
    if many and arguments.format != "table":
        raise ConfigError(
            "--format is for the table of --user and --history; the name of --out "
            "says in which format the lists are written."
        )
    if arguments.k is not None:
        check_integer("-k", arguments.k, minimum=1)
    if many:
        from recsweep.serving.lists import check_rankings_path

        check_rankings_path(arguments.out, for_spreadsheets=arguments.for_spreadsheets)
    elif arguments.for_spreadsheets:
        raise ConfigError("--for-spreadsheets is for the file of lists that --out names.")


def _show(
    arguments: argparse.Namespace, chosen: "ChosenModel", service: "RecommenderService", k: int
) -> None:
    from recsweep.data.id_files import read_titles
    from recsweep.serving.service import Query

    history = None
    if arguments.history is not None:
        history = [item for part in arguments.history.split(",") if (item := part.strip())]
    features = _features(arguments.features)
    (answer,) = service.recommend([Query(arguments.user, history, k, features)])
    titles: Mapping[str, str] | None = None
    if arguments.titles is not None:
        titles = read_titles(arguments.titles, answer.item_ids)
    elif service.item_titles:
        titles = service.item_titles
    asked = f"user {arguments.user}" if arguments.user is not None else "somebody new"
    with Output(arguments.format, wide=arguments.wide) as output:
        output.say(f"\n{asked}, by {service.model.label} ({chosen.words})")
        if answer.fallback is not None:
            reason = answer.fallback.partition(": ")[2]
            output.say(f"The most popular items, not the model's choice: {reason}.")
        if answer.held_out:
            output.say("Held out of training: ranked by the likes that are known, as a history.")
        if answer.unknown_items:
            unknown = ", ".join(map(str, answer.unknown_items))
            output.say(f"Skipped, as the catalogue lacks them: {unknown}.")
        if not answer.item_ids:
            output.say("No item is left: all have been seen.")
        if answer.item_ids or not output.is_for_people:
            output.show(
                _ranked(answer, titles),
                beside={
                    "user_id": arguments.user,
                    "model": service.model.label,
                    "chosen_as": chosen.words,
                    "fallback": answer.fallback,
                    "unknown_items": answer.unknown_items,
                },
            )
        if 0 < len(answer.item_ids) < k:
            output.say(
                f"No more than {len(answer.item_ids)} items are left: the others have been seen."
            )
        run = "" if arguments.run_id is None else f" --run {shlex.quote(arguments.run_id)}"
        output.hint(next_here(f"serve{run}", arguments))


def _features(text: str | None) -> dict[str, str] | None:
    """The features that a text as `age=25,gender=F` writes; None where there is none."""
    if text is None:
        return None
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(name.strip() and equals for name, equals, _ in pairs):
        raise ConfigError(
            f"--features must hold names and values, as age=25,gender=F, not {as_said(text)}."
        )
    return {name.strip(): value.strip() for name, _, value in pairs}


def _ranked(answer: "Recommendation", titles: Mapping[str, str] | None) -> Table:
    """The items of one answer, best first, with their titles where there are any."""
    columns = [
        Column("rank", "rank"),
        Column("item_id", "item", left=True),
        *([] if titles is None else [Column("title", "title", left=True, wraps=True)]),
        Column("score", "score", ".4f"),
    ]
    rows = []
    for place, (item, score) in enumerate(zip(answer.item_ids, answer.scores, strict=True)):
        title = {} if titles is None else {"title": titles.get(str(item))}
        rows.append({"rank": place + 1, "item_id": item, **title, "score": score})
    return Table(columns, rows)


def _write(arguments: argparse.Namespace, service: "RecommenderService", k: int) -> None:
    from recsweep.data.id_files import read_user_ids
    from recsweep.serving.lists import distinct_users, formulas, write_rankings

    users: Sequence[int | str] = service.user_ids.ids.tolist()
    if arguments.users is not None:
        users = distinct_users(service, read_user_ids(arguments.users))
    start = perf_counter()
    with _progress(len(users)) as on_users:
        fallbacks = write_rankings(
            service, users, k, arguments.out, on_users, for_spreadsheets=arguments.for_spreadsheets
        )
    seconds = perf_counter() - start
    tell(
        f"{arguments.out}: lists for {len(users):,} users in {seconds:.1f} s "
        f"({len(users) / seconds:,.0f} a second)."
    )
    for fallback, count in fallbacks.items():
        tell(
            f"The most popular items, marked in the column fallback, for {count:,} of them: "
            f"{fallback.partition(': ')[2]}."
        )
    is_exact = arguments.out.suffix == ".csv" and not arguments.for_spreadsheets
    if is_exact and (found := formulas([*users, *service.item_ids.ids.tolist()])):
        tell(
            f"A spreadsheet would take ids as {found[0]!r} for formulas: for one, add "
            "--for-spreadsheets."
        )


@contextmanager
def _progress(num_users: int) -> Iterator[Callable[[int], None]]:
    """A function that advances a bar on a terminal by so many users, and elsewhere does nothing."""
    if not shows_progress():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = TextColumn("users"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("users", total=num_users)
        yield lambda done: bar.advance(task, done)
