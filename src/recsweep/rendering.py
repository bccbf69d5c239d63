"""What a person or a program sees of numbers: tables in every form, HTML pages, and the console."""

import csv
import io
import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsweep.terminal import ACTED_ON, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable

MISSING = "–"
"""Text for a number that is not known: None or nan."""

Record = Mapping[str, Any]
"""A row of a table: plain name of a value to the value, in full precision."""


@dataclass(frozen=True)
class Column:
    """What a person sees of a record under one heading.

    Attributes:
        key: Name of the value in the records.
        heading: Words above the column.
        form: Format of numbers, as `.4f`, or a function from the record to the cell's text.
        left: Whether the column is aligned left, as words are, and not right, as numbers are.
        wraps: Whether a narrow terminal may break the cells into lines.
    """

    key: str
    heading: str
    form: str | Callable[[Record], str] = ""
    left: bool = False
    wraps: bool = True

    def text(self, record: Record) -> str:
        """The cell, which holds nothing that a terminal acts on: blank where the record has no such
        key, as the value does not apply to it."""
        if self.key not in record:
            return ""
        form, value = self.form, record[self.key]
        return printable(form(record) if callable(form) else shown(value, form))


@dataclass(frozen=True)
class Table:
    """A table that is built once: a person sees the columns, a program gets the whole records.

    Attributes:
        columns: What a person sees.
        rows: The records, with numbers in full precision; those that no column shows are for
            programs alone.
        title: Words above the table; empty for none.
        footer: Records below a line, which are no rows for programs.
        bold: Cells that stand out, each as the number of its row and the key of its column.
        styles: Rows that stand out: number of the row to rich's style, as `bold red`.
        names: Key to the heading in a CSV file, where that is not the key.
    """

    columns: Sequence[Column]
    rows: Sequence[Record]
    title: str = ""
    footer: Sequence[Record] = ()
    bold: Collection[tuple[int, str]] = frozenset()
    styles: Mapping[int, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)

    def head(self, number: int) -> "Table":
        """The table of the first so many rows."""
        return replace(self, rows=self.rows[:number])

    def headings(self) -> list[str]:
        return [column.heading for column in self.columns]

    def cells(self) -> list[list[str]]:
        """The rows as a person sees them, without the footer."""
        return [[column.text(row) for column in self.columns] for row in self.rows]

    def records(self) -> list[dict[str, Any]]:
        """The rows for a program, each with the same keys, and None for what is missing."""
        keys = self._keys()
        return [{key: plain(row.get(key)) for key in keys} for row in self.rows]

    def rich(self) -> "RichTable":
        """The table for a terminal."""
        from rich.table import Table as RichTable
        from rich.text import Text

        title = Text(printable(self.title), style="table.title") if self.title else None
        table = RichTable(title=title, title_justify="left")
        for column in self.columns:
            table.add_column(
                Text(printable(column.heading)),
                justify="left" if column.left else "right",
                no_wrap=not column.wraps,
            )
        for place, row in enumerate(self.rows):  # as Text: no cell is read as markup
            cells = [
                Text(column.text(row), style="bold" if (place, column.key) in self.bold else "")
                for column in self.columns
            ]
            table.add_row(*cells, style=self.styles.get(place))
        if self.footer:
            table.add_section()
        for row in self.footer:
            table.add_row(*(Text(column.text(row)) for column in self.columns))
        return table

    def markdown(self) -> str:
        """The table in Markdown, without the title."""
        lines = [
            list(map(_in_one_line, self.headings())),
            ["---" if column.left else "---:" for column in self.columns],
        ]
        for place, row in enumerate([*self.rows, *self.footer]):
            texts = [_in_one_line(column.text(row)) for column in self.columns]
            if place < len(self.rows):
                texts = [
                    f"**{text}**" if text and self._stands_out(place, column) else text
                    for text, column in zip(texts, self.columns, strict=True)
                ]
            lines.append(texts)
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)

    def html(self) -> str:
        """The table in HTML, without a style of its own but for the alignment of cells."""
        bold = [
            [self._stands_out(place, column) for column in self.columns]
            for place in range(len(self.rows))
        ]
        return page("table.html", table=self, bold=bold).strip()

    def csv(self) -> str:
        """The records as the text of a CSV file: empty where a value is missing."""
        keys, stream = self._keys(), io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([self.names.get(key, key) for key in keys])
        writer.writerows(
            [_csv_value(value) for value in record.values()] for record in self.records()
        )
        return stream.getvalue()

    def json(self) -> str:
        """The records as a JSON list: null where a value is missing."""
        return to_json(self.records())

    def _keys(self) -> list[str]:
        """Names of the values, in the order in which the rows have them."""
        keys = dict.fromkeys(key for row in self.rows for key in row)
        return list(keys) or [column.key for column in self.columns]

    def _stands_out(self, place: int, column: Column) -> bool:
        return (place, column.key) in self.bold or bool(self.styles.get(place))

    def _repr_html_(self) -> str:
        return self.html()

    __html__ = _repr_html_
    """A template takes the table as it is."""


def shown(value: Any, form: str = "") -> str:
    """A value as a person sees it: MISSING for None and nan, a number by its format, else words."""
    if is_missing(value):
        return MISSING
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    return format(value, form) if is_number else str(value)


def is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, Real) and value != value)  # nan is not itself


def plain(value: Any) -> Any:
    """A value ready for JSON: numpy's become Python's, a dataclass a mapping of its fields, and
    numbers that are not finite None."""
    if type(value) is float:
        return value if math.isfinite(value) else None
    if value is None or type(value) in (str, int, bool):
        return value
    if is_dataclass(value):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_json(value: Any, *, only_ascii: bool = False) -> str:
    """The text of a JSON document, for people and programs; what is not finite becomes null."""
    text = json.dumps(plain(value), indent=1, ensure_ascii=only_ascii, allow_nan=False)
    return ACTED_ON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _csv_value(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return " ".join(map(str, value)) if isinstance(value, list) else value


def _in_one_line(text: str) -> str:
    """A cell of Markdown: neither a pipe nor the end of a line ends it."""
    return " ".join(line.strip() for line in text.split("\n")).replace("|", r"\|")


def page(template: str, **values: Any) -> str:
    """The text of a template of the package; what is no table and not marked safe is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("recsweep", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(**values)


def print_tables(*tables: Table) -> None:
    """Print tables, side by side where the terminal is wide enough."""
    from rich.columns import Columns

    drawn: Iterable[RichTable] = [table.rich() for table in tables]
    wide_console().print(*drawn if len(tables) == 1 else [Columns(drawn)])


def wide_console() -> "Console":
    """The console that tables are printed on."""
    from rich.console import Console

    console = Console(force_jupyter=False)  # else it goes past whoever holds sys.stdout
    # a pipe has no width: do not cut what a file or a log will keep
    return console if console.is_terminal else Console(width=240, force_jupyter=False)


def command_line(words: str) -> str:
    """A `recsweep` command as it works in the current directory."""
    script = Path(sys.executable).with_name("recsweep")
    on_path = not script.is_file() or shutil.which("recsweep") == str(script)
    return f"{'recsweep' if on_path else os.path.relpath(script)} {words}"
