"""Kinds of files that hold tables and are not read, each with the way to one that is."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from recsweep.checks import short
from recsweep.errors import DataError

SAVE = "Save it as CSV and set data.path to that."
UNPACK = "Unpack it and set data.path to the file with the interactions."


class _Kind(NamedTuple):
    """A kind of file, by how it begins.

    Attributes:
        start: A pattern of its first bytes, or of its first characters.
        what: What it is, with its article.
        remedy: What to do, in a sentence.
    """

    start: re.Pattern
    what: str
    remedy: str


def _by_python(code: str) -> str:
    return f"Write it anew by `python -c '{code}'` and set data.path to that."


_PICKLE_0 = rb"\([ldt]p?\d*\n|c(?:copy_reg|copyreg|__builtin__|builtins|collections|pandas|numpy)"

OF_BYTES = tuple(
    _Kind(re.compile(start, re.DOTALL), what, remedy)
    for start, what, remedy in (
        (
            rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
            "an old Excel workbook, or another file of Office",
            SAVE,
        ),
        (
            rb"MATLAB 7\.3 MAT-file",
            "a MATLAB file",
            'Write it anew by `writematrix(ratings, "ratings.csv")` and set data.path to that.',
        ),
        (
            rb"MATLAB 5\.0 MAT-file",
            "a MATLAB file",
            _by_python(
                'import numpy, scipy.io; m = scipy.io.loadmat("FILE"); print(list(m)); '
                'numpy.savetxt("ratings.csv", m["NAME"], "%g", ",")'
            ),
        ),
        (
            rb"\x89HDF\r\n\x1a\n",
            "an HDF5 file",
            _by_python('import pandas; pandas.read_hdf("FILE").to_csv("ratings.csv", index=False)'),
        ),
        (
            rb"\x80[\x02\x03]|\x80[\x04\x05]\x95|[\]}]q\x00|" + _PICKLE_0,
            "a pickle, which runs the code of whoever made it when it is opened",
            _by_python(
                'import pandas; pandas.read_pickle("FILE").to_csv("ratings.csv", index=False)'
            ),
        ),
        (
            rb"\x93NUMPY",
            "a NumPy array",
            _by_python('import numpy; numpy.savetxt("ratings.csv", numpy.load("FILE"), "%g", ",")'),
        ),
        (
            rb"RD[AX][23]\n|[XB]\n\0\0\0[\x02\x03]|A\n[23]\n\d{5,7}\n",
            "a file of R",
            'Write its table as CSV, as `write.csv(readRDS("FILE"), "ratings.csv", '
            "row.names=FALSE)`, and set data.path to that.",
        ),
        (
            rb"SQLite format 3\0",
            "an SQLite database",
            'Write the table as CSV, as `sqlite3 -header -csv FILE "select * from ratings" > '
            "ratings.csv`, and set data.path to that.",
        ),
        (
            rb".{8}DUCK.\0\0\0",
            "a DuckDB database",
            'Write the table as Parquet, as `COPY ratings TO "ratings.parquet"`, and set '
            "data.path to that.",
        ),
        (
            rb"ORC(?=.*[\0-\x08\x0e-\x1f])",
            "an ORC file",
            _by_python('import pandas; pandas.read_orc("FILE").to_parquet("ratings.parquet")'),
        ),
        (
            rb"Obj\x01",
            "an Avro file",
            "Write its rows as Parquet or CSV and set data.path to that.",
        ),
        (
            rb"FEA1(?=.*\0)",
            "a Feather file of version 1",
            _by_python('import pandas; pandas.read_feather("FILE").to_parquet("ratings.parquet")'),
        ),
        (
            rb"PARE(?=.*[\0-\x08\x0e-\x1f])",
            "an encrypted Parquet file",
            "Write it without encryption.",
        ),
        (
            rb"<stata_dta>",
            "a Stata file",
            _by_python(
                'import pandas; pandas.read_stata("FILE").to_csv("ratings.csv", index=False)'
            ),
        ),
        (rb"\$FL[23]@", "an SPSS file", SAVE),
        (rb"\0{12}\xc2\xea\x81\x60", "a SAS file", SAVE),
        (rb"%PDF-", "a PDF", "Set data.path to the file with the interactions."),
        (rb"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
        (rb"Rar!\x1a\x07", "a rar archive", UNPACK),
        (rb".{257}ustar[\0 ]", "a tar archive", UNPACK),
        (rb"\x04\x22\x4d\x18", "compressed by lz4", UNPACK),
        (rb"\x1f[\x9d\xa0]", "compressed by compress", UNPACK),
    )
)

OF_TEXT = tuple(
    _Kind(re.compile(start, re.IGNORECASE), what, remedy)
    for start, what, remedy in (
        (
            r"\s*(?:<\?xml[^>]*>\s*)?<(?:!doctype\s+html|html|head|body)\b",
            "an HTML page, as one for signing in",
            "Download the file itself, and set data.path to that.",
        ),
        (r"\s*<\?xml\b", "an XML document", "Write its rows as CSV and set data.path to that."),
        (
            r"version https://git-lfs\.github\.com/spec",
            "a pointer of Git LFS, and not the file itself",
            "Fetch that with `git lfs pull`.",
        ),
        (
            r"(?:\.\./)*(?:\.git)?/annex/objects/",
            "a pointer of git-annex, and not the file itself",
            "Fetch that with `git annex get`.",
        ),
        (
            r"\d+:\r?\n\d+(?:,|\r?\n)",
            "in blocks, as those of the Netflix Prize (`1:` and then a line a user)",
            "Write the film into each line, as `awk -F: 'NF==2{film=$1;next}{print film\",\"$0}' "
            "FILE > ratings.csv`, and set data.path to that and "
            "data.columns=[item_id,user_id,rating,date].",
        ),
        (
            r"\d+(?: \d+:[\d.]+){2,}[ \r]*\n\d+(?: \d+:[\d.]+)+[ \r]*(?:\n|$)",
            "in the form of libsvm, a user and `item:rating` for each item a line",
            'Write a line for each, as `awk \'{for(i=2;i<=NF;i++){split($i,p,":");'
            'print $1","p[1]","p[2]}}\' FILE > ratings.csv`, and set data.path to that and '
            "data.columns=[user_id,item_id,rating].",
        ),
        (
            r"\s*\[?\s*\{u?'",
            "in Python's notation of dictionaries, and not in JSON",
            _by_python(
                'import ast, json; out = open("rows.jsonl", "w"); [print(json.dumps('
                'ast.literal_eval(line)), file=out) for line in open("FILE")]'
            ),
        ),
        (
            r"%%MatrixMarket",
            "a Matrix Market file",
            _by_python(
                'import scipy.io, pandas; m = scipy.io.mmread("FILE").tocoo(); pandas.DataFrame({'
                '"user_id": m.row, "item_id": m.col, "rating": m.data}).to_csv("ratings.csv", '
                "index=False)"
            ),
        ),
        (
            r"(?:\s*%[^\n]*\n)*\s*@relation\s",
            "an ARFF file",
            "Delete the lines above its rows, and name the columns by data.columns=[...].",
        ),
    )
)

OF_ARCHIVES = (
    (re.compile(r"xl/"), "an Excel workbook", SAVE),
    (re.compile(r"content\.xml$"), "an OpenDocument file", SAVE),
    (re.compile(r"word/"), "a Word document", SAVE),
    (
        re.compile(r".*\.npy$"),
        "an archive of NumPy arrays",
        _by_python(
            'import numpy; a = numpy.load("FILE"); print(a.files); '
            'numpy.savetxt("ratings.csv", a["NAME"], "%g", ",")'
        ),
    ),
    (
        re.compile(r"[^/]*/data\.pkl$"),
        "a file of PyTorch",
        "Write its tensor as CSV and set data.path to that.",
    ),
)

OF_FOLDERS = {"_delta_log": "a Delta table", ".hoodie": "a Hudi table"}


def refuse_bytes(head: bytes, name: str) -> None:
    """Raise DataError for a kind that is known by its first bytes, and for what is no text."""
    for kind in OF_BYTES:
        if kind.start.match(head):
            raise _refused(name, kind.what, kind.remedy)


def refuse_text(text: str, name: str) -> None:
    """Raise DataError for a text that is no table, or one that would be read wrong."""
    for kind in OF_TEXT:
        if kind.start.match(text):
            raise _refused(name, kind.what, kind.remedy)


def refuse_archive(members: Sequence[str], name: str) -> None:
    """Raise DataError for a zip archive that is another kind of file."""
    for start, what, remedy in OF_ARCHIVES:
        if any(start.match(member) for member in members):
            raise _refused(name, what, remedy)


def refuse_folder(entries: Sequence[str], name: str) -> None:
    """Raise DataError for a folder whose files are a table only together with a log beside them."""
    for entry, what in OF_FOLDERS.items():
        if entry in entries:
            remedy = "Write what it holds now as Parquet and set data.path to that."
            raise _refused(name, what, remedy)


def _refused(name: str, what: str, remedy: str) -> DataError:
    named = remedy.replace("FILE", name) if re.fullmatch(r"[\w./ -]+", name) else remedy
    return DataError(f"{short(name)} is {what}. {named}")
