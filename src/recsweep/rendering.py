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
    from rich.console import Console, Group
    from rich.table import Table as RichTable

MISSING = "–"
"""Text for a number that is not known: None or nan."""

CARDS_BELOW = 100
"""Characters of a line below which a table that does not fit becomes cards."""

PIPE_WIDTH, PROSE_WIDTH = 1_000, 240
"""Characters of a line where no terminal is: nothing is cut that a file or a log will keep, but
what wraps does so, where it can, within the second."""

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
        wraps: Whether a narrow terminal may break the cells into lines, between their words.
        drops: Place among the columns that a terminal which is too narrow for all goes without, the
            highest first; 0 for one that it never goes without.
    """

    key: str
    heading: str
    form: str | Callable[[Record], str] = ""
    left: bool = False
    wraps: bool = False
    drops: int = 0

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

    def rich(self, width: int | None = None) -> "RichTable":
        """The table for a terminal.

        Args:
            width: Characters of a line, into which cells that may wrap are broken; None for as many
                as it takes.
        """
        from rich.table import Table as RichTable
        from rich.text import Text

        title = Text(printable(self.title), style="table.title") if self.title else None
        table = RichTable(title=title, title_justify="left")
        for column, size in zip(self.columns, self._sizes(width), strict=True):
            table.add_column(
                Text(printable(column.heading)),
                justify="left" if column.left else "right",
                width=size,  # in which only a heading is broken, and what may wrap
            )
        for place, row in enumerate(self.rows):  # as Text: no cell is read as markup
            cells = [Text(column.text(row), self._style(place, column)) for column in self.columns]
            table.add_row(*cells, style=self.styles.get(place))
        if self.footer:
            table.add_section()
        for row in self.footer:
            table.add_row(*(Text(column.text(row)) for column in self.columns))
        return table

    def within(self, width: int) -> tuple["Table", int] | None:
        """The table without the columns for which a line of so many characters has no room, and
        their number; None where even those do not fit that are never dropped, or where the room is
        less than CARDS_BELOW and not all fit."""
        table, dropped = self, 0
        while table.least_width > width:
            place, last = max(enumerate(table.columns), key=lambda each: (each[1].drops, each[0]))
            if width < CARDS_BELOW or not last.drops:
                return None
            columns = [*table.columns[:place], *table.columns[place + 1 :]]
            table, dropped = replace(table, columns=columns), dropped + 1
        return table, dropped

    @property
    def least_width(self) -> int:
        """Characters of a line below which a number or a word would be broken."""
        return sum(least for least, _ in self._bounds()) + 3 * len(self.columns) + 1

    def cards(self, width: int) -> "Group":
        """The rows one below the other for a terminal that is too narrow for a table: the name of
        each, and its values behind their headings, in the same places of each card."""
        from rich.console import Group
        from rich.padding import Padding
        from rich.text import Text

        named = next((column for column in self.columns if column.left), self.columns[0])
        others = [column for column in self.columns if column is not named]
        sizes = {
            column.key: longest(column.text(row) for row in [*self.rows, *self.footer])
            for column in others
        }
        parts: list[Any] = [Text(printable(self.title), "italic")] if self.title else []
        for place, row in enumerate([*self.rows, *self.footer]):
            is_row = place < len(self.rows)
            parts.append(
                Text(named.text(row), (self.styles.get(place) if is_row else "") or "bold")
            )
            lines = [Text()]
            for column in others:
                text = column.text(row)
                if text in ("", MISSING):
                    continue
                pair = Text(f"{printable(column.heading)} ", "dim")
                pair.append(text, self._style(place, column) if is_row else "not dim")
                if lines[-1] and lines[-1].cell_len + 3 + pair.cell_len > width - 2:
                    lines.append(Text())
                if lines[-1]:
                    lines[-1].append("   ")
                lines[-1].append_text(pair)
                lines[-1].append(" " * (sizes[column.key] - longest([text])))
            parts += [Padding(line, (0, 0, 0, 2)) for line in lines]
        return Group(*parts)

    def _style(self, place: int, column: Column) -> str:
        return "bold" if (place, column.key) in self.bold else ""

    def _sizes(self, width: int | None) -> list[int]:
        """Characters of each column: as many as its cells have, and fewer where they wrap and a
        line of `width` has no room."""
        bounds = self._bounds()
        sizes = [most for _, most in bounds]
        excess = 0 if width is None else sum(sizes) + 3 * len(sizes) + 1 - width
        while excess > 0:
            place = max(range(len(sizes)), key=lambda each: sizes[each] - bounds[each][0])
            if sizes[place] <= bounds[place][0]:
                break
            sizes[place] -= 1
            excess -= 1
        return sizes

    def _bounds(self) -> list[tuple[int, int]]:
        """The least and the most characters of a line that each column has a use for."""
        bounds = []
        for column in self.columns:
            heading = printable(column.heading)
            texts = [column.text(row) for row in [*self.rows, *self.footer]]
            lines = [line for text in texts for line in text.split("\n")]
            whole = [word for line in lines for word in line.split()] if column.wraps else lines
            least = longest([*heading.split(), *whole])
            bounds.append((least, max(least, longest([heading, *lines]))))
        return bounds

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


def print_tables(*tables: Table, wide: bool = False, more: str = " in a wider terminal") -> None:
    """Print tables, several side by side, where the terminal is wide enough.

    A number and a name are never broken. A table that is too wide goes without columns, or in a
    narrow terminal becomes cards.

    Args:
        wide: Whether a table has all its columns whatever the terminal, and wraps nothing.
        more: What shows the columns that are left out, as `: --wide`.
    """
    from rich.columns import Columns

    console = wide_console()
    if len(tables) > 1:
        console.print(Columns([table.rich() for table in tables]))
        return
    (table,) = tables
    if wide:
        console.width = max(
            console.width, table.rich().__rich_measure__(console, console.options).maximum
        )
        console.print(table.rich(), soft_wrap=True)
    elif not console.is_terminal:
        console.print(table.rich(PROSE_WIDTH), no_wrap=True, crop=False)
    elif (fitting := table.within(console.width)) is None:
        console.print(table.cards(console.width))
    else:
        shown, dropped = fitting
        console.print(shown.rich(console.width))
        if dropped:
            plural = "" if dropped == 1 else "s"
            console.print(f"{dropped} more column{plural}{more}", markup=False, highlight=False)


def wide_console() -> "Console":
    """The console that tables are printed on."""
    from rich.console import Console

    console = Console(force_jupyter=False)  # else it goes past whoever holds sys.stdout
    # a pipe has no width: do not cut what a file or a log will keep
    return console if console.is_terminal else Console(width=PIPE_WIDTH, force_jupyter=False)


def longest(texts: Iterable[str]) -> int:
    """Characters that the longest of the texts takes on a terminal."""
    from rich.cells import cell_len

    return max(map(cell_len, texts), default=0)


def train_line(words: str = "") -> str:
    """The command that trains, as it works in the current directory: train.py lies in a checkout
    alone."""
    if Path("train.py").is_file():
        return f"python train.py {words}".rstrip()
    return command_line(f"train {words}".rstrip())


def command_line(words: str) -> str:
    """A `recsweep` command as it works in the current directory."""
    script = Path(sys.executable).with_name("recsweep")
    on_path = not script.is_file() or shutil.which("recsweep") == str(script)
    return f"{'recsweep' if on_path else os.path.relpath(script)} {words}"
