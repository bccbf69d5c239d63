"""`recsweep study`: the named studies, and one of them on data of one's own."""

import argparse

from recsweep.rendering import Column, Table, print_tables


def add_to(commands: argparse._SubParsersAction) -> None:
    study = commands.add_parser(
        "study",
        help="a named study, as `recsweep study baselines data.path=likes.csv`",
        description="Run a named study; settings follow as name=value, as those of `recsweep "
        "train`. Without a name: which there are.",
    )
    study.add_argument("name", nargs="?", metavar="NAME [name=value ...]")
    study.set_defaults(run=_list)


def _list(arguments: argparse.Namespace) -> None:
    """Show what the studies ask, and what they cost; one with a name never comes here."""
    from recsweep.config import experiments_dir

    rows = []
    for path in sorted(experiments_dir().glob("*.yaml")):
        said: dict[str, str] = {}
        for line in path.read_text(encoding="utf-8").splitlines()[1:]:
            if not line.startswith("#"):
                break
            word, colon, rest = line.lstrip("# ").partition(": ")
            key = word.lower() if colon and word in ("Question", "Budget") else ""
            last = key or (list(said)[-1] if said else "question")
            said[last] = f"{said.get(last, '')} {rest if key else line.lstrip('# ')}".strip()
        rows.append({"name": path.stem, **said})
    columns = [
        Column("name", "study", left=True),
        Column("question", "question", left=True, wraps=True),
        Column("budget", "budget", left=True, wraps=True),
    ]
    print_tables(Table(columns, rows))
