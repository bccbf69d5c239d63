"""What a person may type wrongly: the lines of inputs.tsv, the files they name, and how `recsweep`
answers them."""

import gzip
import io
import logging
import os
import pickle
import random
import shlex
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

TABLE = Path(__file__).with_name("inputs.tsv")
SECONDS = 60
SMALL = ("data.num_users=60", "data.num_items=50", "data.density=0.15")


@dataclass(frozen=True)
class Case:
    """A line of the table.

    Attributes:
        line: The command line behind `recsweep`, quoted as for a shell; %name% stands for a file, a
            port or a long text.
        fragment: What the answer says, among other words.
    """

    line: str
    fragment: str

    def words(self, things: dict[str, str]) -> list[str]:
        """The command line as the program gets it; data are small where no file is named."""
        line = self.line
        for name, thing in things.items():
            line = line.replace(f"%{name}%", thing)
        words = shlex.split(line)
        if words[:1] == ["recsweep"]:
            return words[1:]
        if words[:1] == ["train"]:
            named = ("data=csv", "data=file", "data@", "data.path=")
            own = any(word.startswith(named) for word in words)
            small = () if own else SMALL
            return ["train", *small, "trainer.max_epochs=1", "trainer.threads=1", *words[1:]]
        return words


@dataclass(frozen=True)
class Answer:
    """How a command ended."""

    status: int
    said: str
    errors: str

    def fault(self, case: Case) -> str:
        """What is wrong with it, as the answer to a mistake; empty where nothing is."""
        lines = [line for line in self.errors.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("error: ")]
        if "Traceback" in self.errors + self.said:
            return "a traceback"
        if self.status <= 0:
            return f"status {self.status}"
        if len(errors) != 1 or lines[-1] != errors[0]:
            return f"{len(errors)} errors in {len(lines)} lines"
        if len(errors[0]) > 1000:
            return f"an error of {len(errors[0])} characters"
        if case.fragment not in errors[0]:
            return f"no {case.fragment!r}"
        return ""


def cases() -> list[Case]:
    rows = TABLE.read_text(encoding="utf-8").splitlines()
    return [Case(*row.split("\t")) for row in rows if row and not row.startswith("#")]


def make_things(folder: Path) -> dict[str, str]:
    """Name -> what stands for %name%: files in a new folder, texts, and a port that is taken."""
    header, rows = "user_id,item_id,rating\n", "1,2,5\n1,3,1\n2,2,5\n2,4,5\n3,3,4\n"
    texts = {
        "likes": header + rows,
        "empty": "",
        "header_only": header,
        "other_ids": "user_id,item_id\n91,92\n",
        "other_columns": "customer,product,stars\n1,2,5\n",
        "nan_rating": header + "1,2,nan\n",
        "text_rating": header + "1,2,good\n",
        "nul_bytes": header + "1,2,\0\0\n\0,\0,\0\n",
        "huge_line": header + "1,2," + "5" * 5_000_000 + "\n",
        "one_row": header + "1,2,5\n",
        "low_ratings": header + "1,2,1\n2,3,2\n",
        "ragged": header + "1,2,5\n1,2,3,4,5,6\n",
        "empty_id": header + ",2,5\n",
        "bad_time": "user_id,item_id,rating,time\n1,2,5,2017-08-18\n1,3,5,soon\n",
        "full_matrix": "user_id,item_id\n"
        + "".join(f"{user},{item}\n" for user in range(12) for item in range(12)),
        "one_column": "a\nb\n",
    }
    things = {"nowhere": str(folder / "nowhere"), "folder": str(folder / "folder")}
    (folder / "folder").mkdir()
    for name, text in texts.items():
        path = folder / f"{name}.csv"
        path.write_text(text, encoding="utf-8")
        things[name] = str(path)
    whole = gzip.compress((header + rows * 1000).encode())
    for name, content in {
        "binary": random.Random(0).randbytes(5000),
        "torn.gz": whole[: len(whole) // 2],
        "torn.zip": b"PK\x03\x04" + random.Random(1).randbytes(500),
        "torn.parquet": b"PAR1" + random.Random(1).randbytes(500),
        "pickle": pickle.dumps([1, 2, 5]),
        "page": b"<!DOCTYPE html>\n<title>Sign in</title>\n",
        "blocks": b"1:\n5,3,2005-09-06\n6,5,2005-05-13\n",
        "latin": header.encode() + b"\xe9,2,5\n",
    }.items():
        (folder / name).write_bytes(content)
        things[name] = str(folder / name)
    with zipfile.ZipFile(folder / "two.zip", "w") as archive:
        archive.writestr("a.csv", header)
        archive.writestr("b.csv", header)
    things["two.zip"] = str(folder / "two.zip")
    with zipfile.ZipFile(folder / "workbook", "w") as archive:
        archive.writestr("xl/workbook.xml", "")
    things["workbook"] = str(folder / "workbook")
    (folder / "given").mkdir()
    for part in ("train", "test"):
        (folder / "given" / f"{part}.csv").write_text(header + rows, encoding="utf-8")
    things["given"] = str(folder / "given")
    os.mkfifo(folder / "fifo")
    things["fifo"] = str(folder / "fifo")
    conf = folder / "conf"
    conf.mkdir()
    things["bad_conf"] = str(conf)
    for name, content in {
        "broken": "seed: [1\n",
        "list": "- 1\n- 2\n",
        "unknown_group": "defaults:\n  - config\n  - nonsense: x\n",
        "no_loop": "defaults:\n  - no_loop\n",
    }.items():
        (conf / f"{name}.yaml").write_text(content, encoding="utf-8")
    return things | {
        "long300": "x" * 300,
        "long600": "x" * 600,
        "long5000": "x" * 5000,
        "digits400": "9" * 400,
        "digits5000": "9" * 5000,
        "deep": "[" * 3000 + "]" * 3000,
    }


@contextmanager
def ports(things: dict[str, str]) -> Iterator[None]:
    """A port that is taken, and one that is free, among the things."""
    with socket.socket() as taken, socket.socket() as left:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        left.bind(("127.0.0.1", 0))
        things |= {"busy": str(taken.getsockname()[1]), "free": str(left.getsockname()[1])}
        left.close()
        yield


def answer_here(words: list[str], main: Callable[[], None]) -> Answer:
    """What `main`, which is `recsweep`, answers in this process."""
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    out, err = io.StringIO(), io.StringIO()
    handlers, logging.root.handlers = logging.root.handlers, []
    status = 0
    with (
        redirect_stdout(out),
        redirect_stderr(err),
        patch.object(sys, "argv", ["recsweep", *words]),
        patch.object(os, "execv", side_effect=AssertionError("it opens")),
        _alarm(),
    ):
        try:
            main()
        except SystemExit as stopped:
            status = stopped.code if isinstance(stopped.code, int) else 1
        finally:
            logging.root.handlers = handlers
    return Answer(status, out.getvalue(), err.getvalue())


@contextmanager
def _alarm() -> Iterator[None]:
    def ring(number: int, frame: object) -> None:
        raise TimeoutError(f"no end within {SECONDS} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def answer_of_a_process(words: list[str], folder: Path) -> Answer:
    """What the installed command answers in a folder; a negative status where it did not end."""
    command = [sys.executable, "-c", "from recsweep.cli import main; main()", *words]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return Answer(-1, "", "")
    return Answer(done.returncode, done.stdout, done.stderr)
