"""Files that are cut short, corrupt, change while they are read, or hold ids of any length."""

import bz2
import gzip
import io
import lzma
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from recsweep.data import door
from recsweep.data.readers import InteractionFile
from recsweep.errors import DataError

ROWS = [(n * 7919 % 100_003, n * 104_729 % 99_991, n % 5 + 1, n * 31) for n in range(20_000)]
HEADER = ("user_id", "item_id", "rating", "time")
TEXT = "\n".join(",".join(map(str, row)) for row in [HEADER, *ROWS]) + "\n"


def read(path: Path, **settings: Any) -> Any:
    return InteractionFile(**{"name": "test", "path": str(path)} | settings).load()


def zstd(content: bytes) -> bytes:
    import pyarrow

    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return bytes(sink.getvalue())


def zipped(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ratings.csv", content)
    return stream.getvalue()


def framed(content: bytes, kind: str) -> bytes:
    import pandas

    frame, stream = pandas.read_csv(io.BytesIO(content)), io.BytesIO()
    if kind == "parquet":
        frame.to_parquet(stream, row_group_size=3000)
    else:
        frame.to_feather(stream, chunksize=3000)
    return stream.getvalue()


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lambda content: lzma.compress(content, preset=1),
    "zstd": zstd,
    "zip": zipped,
    "parquet": lambda content: framed(content, "parquet"),
    "arrow": lambda content: framed(content, "arrow"),
}


@cache
def packed(kind: str) -> bytes:
    return PACK[kind](TEXT.encode())


@pytest.mark.parametrize("kind", PACK)
def test_the_whole_file_is_read(tmp_path: Path, kind: str) -> None:
    (tmp_path / "whole").write_bytes(packed(kind))
    interactions = read(tmp_path / "whole")
    assert len(interactions) + sum(interactions.dropped.values()) == len(ROWS)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.9999])
@pytest.mark.parametrize("kind", PACK)
def test_a_file_cut_short_is_refused(tmp_path: Path, kind: str, share: float) -> None:
    path = tmp_path / "cut"
    path.write_bytes(packed(kind)[: int(len(packed(kind)) * share)])
    with pytest.raises(DataError, match=r"cut .*whole"):
        read(path)


@pytest.mark.parametrize("kind", ["gzip", "bz2", "xz", "zstd", "zip", "parquet"])
def test_a_corrupt_file_is_refused(tmp_path: Path, kind: str) -> None:
    broken = bytearray(packed(kind))
    middle = len(broken) // 2
    broken[middle : middle + 40] = bytes(40)
    (tmp_path / "corrupt").write_bytes(broken)
    with pytest.raises(DataError, match=r"/corrupt\b"):
        read(tmp_path / "corrupt")


def appended(path: Path) -> None:
    with path.open("a") as stream:
        stream.write("1,2,5,3\n")


def cut(path: Path) -> None:
    os.truncate(path, 1000)


def replaced(path: Path) -> None:
    """By a file of one size and one time, as a copy that keeps times does."""
    before, other = path.stat(), path.with_suffix(".new")
    other.write_bytes(path.read_bytes().replace(b"5", b"4"))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


def removed(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("change", [appended, cut, replaced, removed])
def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    path, read_rows = tmp_path / "growing.csv", door.read_rows
    path.write_text(TEXT)

    def changed_meanwhile(*args: Any, **settings: Any) -> dict[str, int]:
        lost = read_rows(*args, **settings)
        change(path)
        return lost

    monkeypatch.setattr(door, "read_rows", changed_meanwhile)
    with pytest.raises(DataError, match=r"growing\.csv"):
        read(path)


@pytest.mark.slow
def test_long_ids_among_many_take_memory_in_proportion(tmp_path: Path) -> None:
    """An array of one width for all would be 60 GB."""
    path = tmp_path / "long.csv"
    with path.open("w") as stream:
        stream.write("user_id,item_id,rating\n")
        for n in range(300_000):
            length = 50_000 if n % 30_000 == 7 else 2_000 if n % 3_000 == 5 else 0
            stream.write(f"user {n} {'x' * length},{n * 7919 % 1009},{n % 5 + 1}\n")
    code = f"""
import resource
from recsweep.data.readers import InteractionFile
import duckdb, pandas, pyarrow, scipy.sparse
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
interactions = InteractionFile(name="long", path={str(path)!r}).load()
assert interactions.num_users == 300_000
assert len(interactions) == 120_000
assert max(len(user) for user in interactions.user_ids.ids.tolist()) > 50_000
index = interactions.user_ids.indices(["user 5 " + "x" * 2000])
assert interactions.user_ids.ids[index[0]].startswith("user 5 x")
interactions.digest
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 200e6 + 10 * path.stat().st_size
