"""`recsweep recommend`: items for one user, for somebody new, or for a whole file of users."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from recsweep.checks import check_integer
from recsweep.cli.chosen import add_model_options, chosen_model, compute_with_one_thread
from recsweep.errors import ConfigError

if TYPE_CHECKING:
    from recsweep.promotion.chosen import ChosenModel
    from recsweep.serving.service import RecommenderService


def add_to(commands: argparse._SubParsersAction) -> None:
    recommend = commands.add_parser(
        "recommend", help="items for a user, for somebody new, or for a file of users",
        description="Rank the items that somebody has not seen, by the champion or by the model of a run.",
    )
    recommend.add_argument("--user", metavar="ID", help="raw user id")
    recommend.add_argument("--history", metavar="ID,ID", help="raw ids of items that somebody new liked")
    many = recommend.add_mutually_exclusive_group()
    many.add_argument("--users", metavar="FILE", type=Path,
                      help="user ids, one a line, or a CSV or Parquet file with a column user_id; needs --out")
    many.add_argument("--all-users", action="store_true", help="all users of the model's data; needs --out")
    recommend.add_argument("--out", metavar="FILE", type=Path, help="where to write the lists, as .csv or .parquet")
    recommend.add_argument("-k", type=int, help="length of the list (default 10)")
    recommend.add_argument("--titles", metavar="FILE", type=Path,
                           help="titles of items: columns id and title (or name), or MovieLens' u.item")
    add_model_options(recommend)
    recommend.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    many = arguments.users is not None or arguments.all_users
    _check(arguments, many)
    chosen = chosen_model(arguments)
    compute_with_one_thread()
    service = _load(chosen)
    k = min(10, len(service.item_ids)) if arguments.k is None else arguments.k
    if many:
        _write(arguments, service, k)
    else:
        _show(arguments, chosen, service, k)


def _check(arguments: argparse.Namespace, many: bool) -> None:
    """Refuse what can't be answered before the store is opened, which takes a second."""
    one = arguments.user is not None or arguments.history is not None
    if one == many:
        raise ConfigError("Say for whom: --user ID, --history ID,ID, or --users FILE or --all-users, one of them.")
    if many != (arguments.out is not None):
        raise ConfigError("--out names the file for the lists of --users or --all-users: give both, or neither.")
    if many and arguments.titles is not None:
        raise ConfigError("--titles is for the table of --user and --history; a file of lists holds ids only.")
    if arguments.k is not None:
        check_integer("-k", arguments.k, minimum=1)
    if many:
        from recsweep.serving.lists import check_rankings_path

        check_rankings_path(arguments.out)


def _load(chosen: "ChosenModel") -> "RecommenderService":
    from recsweep.serving.service import RecommenderService

    with chosen.store.saved_model(chosen.model_id) as folder:
        return RecommenderService.load(folder)


def _show(arguments: argparse.Namespace, chosen: "ChosenModel", service: "RecommenderService", k: int) -> None:
    from rich.markup import escape
    from rich.table import Table

    from recsweep.data.id_files import read_titles
    from recsweep.rendering import print_table
    from recsweep.serving.service import Query

    history = None
    if arguments.history is not None:
        history = [raw for each in arguments.history.split(",") if (raw := each.strip())]
    (found,) = service.recommend([Query(arguments.user, history, k)])
    titles = None if arguments.titles is None else read_titles(arguments.titles, found.item_ids)
    asked = f"user {arguments.user}" if arguments.user is not None else "somebody new"
    print(f"\n{asked}, by {service.model.label} ({chosen.words})")
    if found.fallback is not None:
        print(f"The most popular items, not the model's choice: {found.fallback.partition(': ')[2]}.")
    if found.unknown_items:
        print(f"Skipped, as the catalogue lacks them: {', '.join(map(str, found.unknown_items))}.")
    if not found.item_ids:
        print("No item is left: all have been seen.")
        return
    table = Table()
    table.add_column("rank", justify="right")
    table.add_column("item", no_wrap=True)
    if titles is not None:
        table.add_column("title")
    table.add_column("score", justify="right")
    for rank, (item, score) in enumerate(zip(found.item_ids, found.scores, strict=True), start=1):
        named = [] if titles is None else [escape(titles.get(str(item), "–"))]
        table.add_row(str(rank), escape(str(item)), *named, f"{score:.4f}")
    print_table(table)
    if len(found.item_ids) < k:
        print(f"No more than {len(found.item_ids)} items are left: the others have been seen.")


def _write(arguments: argparse.Namespace, service: "RecommenderService", k: int) -> None:
    from recsweep.data.id_files import read_user_ids
    from recsweep.serving.lists import write_rankings

    users: Sequence[int | str]
    users = service.user_ids.ids.tolist() if arguments.all_users else read_user_ids(arguments.users)
    start = perf_counter()
    with _progress(len(users)) as on_users:
        unknown = write_rankings(service, users, k, arguments.out, on_users)
    seconds = perf_counter() - start
    print(f"{arguments.out}: lists for {len(users):,} users in {seconds:.1f} s ({len(users) / seconds:,.0f} a second).")
    if unknown:
        print(f"Unknown users: {unknown:,}. Theirs are the most popular items, marked in the column fallback.")


@contextmanager
def _progress(num_users: int) -> Iterator[Callable[[int], None]]:
    """Yields what advances a bar on a terminal by so many users, and elsewhere does nothing."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("users"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("users", total=num_users)
        yield lambda done: bar.advance(task, done)
