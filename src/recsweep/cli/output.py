"""The tables of a command: shown to a person, or alone on stdout as JSON, CSV or Markdown."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from recsweep.errors import DataError
from recsweep.logs import is_quiet
from recsweep.rendering import Table, print_tables, to_json
from recsweep.terminal import printable, tell

FORMATS = ("table", "json", "csv", "md")


def add_format_option(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--format",
        choices=FORMATS,
        default="table",
        help="table for people (default), or json, csv or md, which stand alone on stdout; "
        "json and csv have numbers in full precision, and sentences go to stderr",
    )
    command.add_argument(
        "--wide",
        action="store_true",
        help="tables with all their columns, however narrow the terminal: for `| less -S`",
    )


def hint(line: str, *, file: TextIO | None = None) -> None:
    """Tell a person what could be done next; nothing with `--quiet`."""
    if not is_quiet():
        tell(line, file=file)


class Output:
    """Takes what a command has to show; the with-statement ends it.

    A table is printed as it comes. JSON is one object a table, with its records under `rows`, what
    they have in common and the sentences beside it; CSV is one file of all tables, with columns for
    what tells them apart.

    Args:
        form: One of FORMATS.
        wide: Whether a terminal gets all columns of a table, however narrow it is.
        several: Whether there may be several tables: JSON is a list then.
    """

    def __init__(self, form: str, *, wide: bool = False, several: bool = False) -> None:
        self.is_for_people = form == "table"
        self._form = form
        self._wide = wide
        self._several = several
        self._objects: list[dict[str, Any]] = []
        self._records: list[Mapping[str, Any]] = []
        self._columns: Table | None = None

    def __enter__(self) -> "Output":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            return
        if self._form == "json":
            shown = self._objects if self._several else self._objects[0]
            tell(to_json(shown, only_ascii=not sys.stdout.encoding.lower().startswith("utf")))
        if self._form == "csv" and self._columns is not None:
            columns = self._columns
            text = Table(columns.columns, self._records, names=columns.names).csv()
            # a file gets the ids as they are
            print(printable(text) if sys.stdout.isatty() else text, end="")

    def say(self, sentence: str = "") -> None:
        """Tell a person something that is no table."""
        tell(sentence, file=sys.stdout if self.is_for_people else sys.stderr)

    def hint(self, line: str) -> None:
        """Tell a person what could be done next; nothing with `--quiet`."""
        hint(line, file=sys.stdout if self.is_for_people else sys.stderr)

    def show(
        self,
        table: Table,
        *,
        heading: str = "",
        common: Mapping[str, Any] | None = None,
        beside: Mapping[str, Any] | None = None,
    ) -> None:
        """Show a table.

        Args:
            table: Table as a person sees it, with the records for programs.
            heading: Words above it.
            common: Plain name to a value that all records share, as the digest of the data.
            beside: Plain name to what JSON has beside the records, as sentences; another table
                among them follows in Markdown.
        """
        common, beside = common or {}, beside or {}
        if self._form == "table":
            if heading:
                tell(f"\n{heading}")
            print_tables(table, wide=self._wide, more=": --wide")
        elif self._form == "md":
            others = [other for other in beside.values() if isinstance(other, Table)]
            parts = [f"### {heading}" if heading else ""]
            for shown in (table, *others):
                parts += [shown.title, shown.markdown()]
            tell("\n\n".join(part for part in parts if part) + "\n")
        else:
            parts_beside = {
                name: value.records() if isinstance(value, Table) else value
                for name, value in beside.items()
            }
            self._objects.append({**common, **parts_beside, "rows": table.records()})
            self._records += [{**common, **record} for record in table.records()]
            self._columns = self._columns or table


def check_place(path: Path) -> None:
    """Refuse a place that takes no file before what is written there is made, which may take
    minutes."""
    if path.is_dir() or not path.parent.is_dir():
        reason = "it is a folder" if path.is_dir() else f"there is no folder {path.parent}"
        raise DataError(f"The page can't be written to {path}: {reason}. Choose another --out.")


def write_page(path: Path, page: str) -> None:
    """Write what `--out` asks for."""
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise DataError(
            f"The page can't be written to {path}: {error.strerror}. Choose another --out."
        ) from error
