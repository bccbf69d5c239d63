"""`recsweep inspect`: how a file of interactions is read, before anything is trained."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from recsweep.checks import short
from recsweep.cli.output import Output, add_format_option
from recsweep.errors import ConfigError, DataError
from recsweep.rendering import Column, Table, train_line

if TYPE_CHECKING:
    from recsweep.data.files import File
    from recsweep.data.forms import Found
    from recsweep.data.readers import InteractionFile

SHOWN_ROWS = 5
SHOWN_COLUMNS = 12
LONGEST_CELL = 40
"""Characters of a cell."""

LONGEST_LINE = 100
"""Characters of a line of a file that shows what a question is about."""

ROWS_READ = 1_000
"""Rows whose ratings tell what would be a positive."""


def add_to(commands: argparse._SubParsersAction) -> None:
    inspect = commands.add_parser(
        "inspect",
        help="how a file of interactions is read, before anything is trained",
        description="Show what is found in a file of interactions, its first rows, and the setting "
        "that says otherwise. Settings of the data are given as name=value.",
    )
    inspect.add_argument("file", metavar="FILE", help="a file, a folder of parts, or a glob")
    inspect.add_argument(
        "overrides", nargs="*", metavar="data.name=value", help="as data.separator=tab"
    )
    add_format_option(inspect)
    inspect.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from recsweep.config import override
    from recsweep.data.forms.questions import in_command

    source = _source(arguments.file, arguments.overrides)
    question: DataError | None = None
    with Output(arguments.format, wide=arguments.wide, several=True) as output:
        tables = list(source.tables())
        files = tables[0].files
        output.say(f"{arguments.file}: {_in_words(files)}")
        found = _found(output, files, source)
        columns, rows = _first_rows(files, found)
        positive = ""
        try:
            positive = _positive(source, found, columns, rows)
        except DataError as error:
            question = error
        output.show(_notes(found, positive), common={"table": "found"})
        output.show(_rows(columns, rows[:SHOWN_ROWS]), common={"table": "rows"})
        if len(columns) > SHOWN_COLUMNS:
            output.say(f"and {len(columns) - SHOWN_COLUMNS:,} more columns")
        for entity in ("user", "item"):
            if (features := getattr(source, f"{entity}_features")) is not None:
                output.show(
                    _features(source, entity, features),
                    heading=f"{features}: features of {entity}s",
                    common={"table": f"{entity}_features"},
                )
        if question is None:
            words = [override("data.path", arguments.file), *arguments.overrides]
            settings = " ".join(map(in_command, words))
            output.say(f"\nRead it so with: {train_line(settings)}")
    if question is not None:
        raise question


def _source(path: str, overrides: Sequence[str]) -> "InteractionFile":
    """The data set that a command line with this file trains on."""
    from recsweep.config import build, composed, override
    from recsweep.mistakes import composed_in_words

    for word in overrides:
        if not word.lstrip("+~").startswith(("data.", "data=")):
            raise ConfigError(
                f"recsweep inspect takes settings of the data, as data.separator=tab, not "
                f"{short(word)!r}. Leave it out."
            )
        if word.lstrip("+~").startswith("data.path="):
            raise ConfigError(
                f"recsweep inspect takes the file by itself, and {short(word)!r} names one again. "
                "Leave it out."
            )
    option = [] if any(word.startswith("data=") for word in overrides) else ["data=file"]
    words = [*option, override("data.path", path), *overrides]
    with composed_in_words(words):
        cfg = composed(words)
    source: InteractionFile = build(cfg, "data")
    return source


def _found(output: Output, files: Sequence["File"], source: "InteractionFile") -> "Found":
    """What is found; where that is a question, the first lines before it."""
    from recsweep.data.files import sample
    from recsweep.data.forms.guess import guess

    try:
        return guess(files, source.asked)
    except DataError:
        if files[0].encoding is not None:
            lines = sample(files[0], 20_000).split("\n")[:SHOWN_ROWS]
            output.say("\n".join(["", *(_short(line, LONGEST_LINE) for line in lines), ""]))
        raise


def _first_rows(files: Sequence["File"], found: "Found") -> tuple[list[str], list[tuple[str, ...]]]:
    from recsweep.data.door import first_rows

    columns, rows = first_rows(files, found.format, ROWS_READ)
    width = max(map(len, rows), default=0)
    return columns or [str(place + 1) for place in range(width)], rows


def _positive(
    source: "InteractionFile", found: "Found", columns: Sequence[str], rows: Sequence[Sequence[str]]
) -> str:
    """What makes a row a positive, by the first rows."""
    from recsweep.data.forms.dialect import as_number, is_number
    from recsweep.data.forms.guess import threshold

    form = found.format
    if form.rating is None and not form.values:
        return "every row"
    if source.positive_values is not None:
        return f"rated {source.positive_values}"
    if source.positive_rating != "auto":
        return f"rated at least {source.positive_rating:g}"
    places = [columns.index(name) for name in ([form.rating] if form.rating else form.values)]
    texts = [row[place].strip() for row in rows for place in places if place < len(row)]
    ratings = {as_number(text) for text in texts if is_number(text)}.difference(
        source.unrated_of(found)
    )
    if not ratings:
        return ""
    whole = all(rating.is_integer() for rating in ratings)
    least, words = threshold(min(ratings), max(ratings), whole, form.rating)
    return f"{words if least is None else f'rated {words}'} (by the first {len(rows):,} rows)"


def _notes(found: "Found", positive: str) -> Table:
    columns = [
        Column("what", "what", left=True),
        Column("found", "found", left=True, wraps=True),
        Column("setting", "setting", left=True, wraps=True),
    ]
    records = [
        {"what": note.what, "found": note.value, "setting": note.setting} for note in found.notes
    ]
    if positive:
        records.append(
            {"what": "positives", "found": positive, "setting": "data.positive_rating=NUMBER"}
        )
    return Table(columns, records)


def _rows(names: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    shown = names[:SHOWN_COLUMNS]
    keys = [
        name if names.count(name) == 1 else f"{name} ({place + 1})"
        for place, name in enumerate(shown)
    ]
    columns = [Column(key, key, left=True, wraps=True) for key in keys]
    records = [{key: _short(text) for key, text in zip(keys, row, strict=False)} for row in rows]
    return Table(columns, records)


def _features(source: "InteractionFile", entity: str, path: str) -> Table:
    """The columns of a file of features, and as what they are read."""
    from recsweep.data.feature_files import described_features

    id_column = getattr(source, f"{entity}_column")
    rows = described_features(path, entity, id_column=id_column, ignore=source.ignore_features)
    columns = [
        Column(name, name, left=True, wraps=True)
        for name in ("column", "kind", "values", "example")
    ]
    return Table(columns, [row._asdict() for row in rows])


def _in_words(files: Sequence["File"]) -> str:
    """Kind and size of the parts of a table."""
    first = files[0]
    kinds = {"text": "text", "json": "JSON", "parquet": "Parquet", "arrow": "Arrow"}
    size = sum(path.stat().st_size for path in {file.path for file in files})
    words = [
        kinds[first.kind] if first.encoding is None else f"{kinds[first.kind]} in {first.encoding}",
        *([first.compression] if first.compression else []),
        f"{size:,} bytes" if size < 100_000 else f"{size / 1e6:,.1f} MB",
        *([f"{len(files):,} parts"] if len(files) > 1 else []),
    ]
    return ", ".join(words)


def _short(text: str, longest: int = LONGEST_CELL) -> str:
    return text if len(text) <= longest else f"{text[:longest]}…"
