"""Seconds from each command of a first hour to the first thing it says, and to its end or to the
address of its server, on a terminal.

    python benchmarks/first_hour.py [FILE] [--promote] [--columns 120]

The file is one of interactions, as the README's likes.csv; without one it is drawn, of the size of
MovieLens 100K. The commands run one after the other in one new home, once each, as somebody would
type them; a server is asked to end once it has said its address. `--promote` trains on the test
part and promotes by `--force`, with one seed and one split, so that the champion is served in the
end: the last line then says what all took together.
"""

import argparse
import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path
from time import perf_counter
from typing import Any

RECSWEEP = Path(sys.executable).parent / "recsweep"
MODELS = "popularity,item_knn,ease,ials,recipe_net"
USERS, ITEMS, DENSITY = 943, 1682, 0.0349
ADDRESS = rb"http://127\.0\.0\.1:\d+"
PATIENCE = 1800  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--promote", action="store_true", help="also from the runs to a champion")
    parser.add_argument("--columns", type=int, default=120, help="of the terminal")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        hour = Hour(Path(folder), arguments.columns)
        file = arguments.file.resolve() if arguments.file else drawn(Path(folder))
        load = os.getloadavg()[0]
        print(f"{file.name}, {os.cpu_count()} cores (load {load:.1f}); seconds, once each")
        print(f"{'first':>7} {'end':>7}")
        hour.take("recsweep --version")
        hour.take("recsweep --help")
        hour.take("recsweep train --help")
        hour.take("recsweep train model=nonsense", status=1)
        hour.take(f"recsweep inspect {file}")
        hour.take(f"recsweep train model=ease data.path={file}")
        hour.take(f"recsweep train -m model={MODELS} data.path={file}")
        hour.take("recsweep runs")
        hour.take("recsweep studies")
        hour.take("recsweep compare")
        (study,) = hour.asked("recsweep studies")["rows"]
        user = hour.user()
        hour.take(f"recsweep refit {study['study']} --best-of model")
        hour.take(f"recsweep recommend --run '{hour.run('ease')}' --user {user}")
        hour.take(f"recsweep serve --run '{hour.run('ease')}' --port {free_port()}", until=ADDRESS)
        hour.take(f"recsweep ui --port {free_port()}", until=ADDRESS)
        if arguments.promote:
            run = hour.run("ials")
            force = "--force --reason 'the first of all'"
            hour.take(f"recsweep promote '{run}' --seeds 1 --splits 1 --yes {force}")
            hour.take("recsweep champion")
            hour.take(f"recsweep recommend --user {user}")
            hour.take(f"recsweep serve --port {free_port()}", until=ADDRESS)
        print(f"{sum(hour.ends):15.1f}  all together")


class Hour:
    """A directory and a home, in which commands run one after the other.

    Args:
        folder: An empty folder.
        columns: Width of the terminal.

    Attributes:
        ends: Seconds that each command took.
    """

    def __init__(self, folder: Path, columns: int) -> None:
        self.ends: list[float] = []
        self._folder, self._size = folder, struct.pack("HHHH", 40, columns, 0, 0)
        self._environment = {
            **os.environ,
            "PATH": f"{RECSWEEP.parent}:{os.environ['PATH']}",
            "RECSWEEP_HOME": str(folder / "mlruns"),
            "TERM": "xterm-256color",
        }

    def take(self, command: str, *, status: int = 0, until: bytes | None = None) -> None:
        """Run it on a terminal, and print its two times."""
        terminal, end = pty.openpty()
        fcntl.ioctl(end, termios.TIOCSWINSZ, self._size)
        start = perf_counter()
        process = subprocess.Popen(
            f"exec {command}",
            shell=True,
            cwd=self._folder,
            env=self._environment,
            stdin=end,
            stdout=end,
            stderr=end,
            start_new_session=True,
        )
        os.close(end)
        first, took, said = None, None, b""
        try:
            while part := _read(terminal, start + PATIENCE - perf_counter()):
                first = first or perf_counter() - start
                said += part
                if until and took is None and re.search(until, said):
                    took = perf_counter() - start
                    process.send_signal(signal.SIGINT)
            ended = process.wait()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            os.close(terminal)
        took = took or perf_counter() - start
        if first is None or (ended != status and until is None):
            sys.exit(f"{command}: status {ended}\n{said.decode(errors='replace')}")
        self.ends.append(took)
        shown = re.sub(r"/\S*/", "", command)  # without folders, which differ
        print(f"{first:7.2f} {took:7.2f}  {shown}", flush=True)

    def asked(self, command: str) -> Any:
        """What a command answers as JSON, unmeasured."""
        done = subprocess.run(
            f"{command} --format json --quiet",
            shell=True,
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            check=True,
        )
        return json.loads(done.stdout)

    def run(self, kind: str) -> str:
        """The id of the latest run of a model."""
        runs = [run for table in self.asked("recsweep runs") for run in table["rows"]]
        found = [run for run in runs if kind in run["model"].split()]
        return max(found, key=lambda run: run["started"])["run_id"]

    def user(self) -> str:
        """A user of the data, by the example of a logged model."""
        example = next((self._folder / "mlruns").rglob("serving_input_example.json"))
        return json.loads(example.read_text())["inputs"][0]["user_id"]


def _read(terminal: int, seconds: float) -> bytes:
    """What a terminal shows next; nothing at its end."""
    if not select.select([terminal], [], [], max(0, seconds))[0]:
        sys.exit(f"nothing was said for {PATIENCE} s")
    try:
        return os.read(terminal, 65536)
    except OSError:  # EIO: nobody has the other end open any more
        return b""


def drawn(folder: Path) -> Path:
    """A file of interactions from the built-in data."""
    from hydra.utils import instantiate

    from recsweep.config import composed

    size = (f"data.num_users={USERS}", f"data.num_items={ITEMS}", f"data.density={DENSITY}")
    data = instantiate(composed(size).data).load()
    users, items = data.user_ids.ids[data.users], data.item_ids.ids[data.items]
    lines = (f"{user},{item}\n" for user, item in zip(users, items, strict=True))
    path = folder / "likes.csv"
    path.write_text("user,item\n" + "".join(lines), encoding="utf-8")
    return path


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return trial.getsockname()[1]


if __name__ == "__main__":
    main()
