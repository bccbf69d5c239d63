"""All benchmarks with settings that take minutes together, and what they print in one page.

    python benchmarks/bench.py [--only NAME ...] [--out FILE] [--minutes 20] [--peers PYTHON]

`make bench` runs it. Each section is a command of its own, with a home and a place for temporary
files of its own, one after the other: what it prints goes into the page as it is. One that fails,
or takes longer than it may, is named there and ends this with status 1, after all others. The page
is benchmarks/RESULTS.md; of chosen sections it is printed, unless --out names a file.
"""

import argparse
import datetime
import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import psutil

from recsweep.interrupts import terminate_as_interrupt
from recsweep.memory import total_bytes
from recsweep.scratch import scratch_folder

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent
RESULTS = FOLDER / "RESULTS.md"
PEERS = ROOT / ".venv-bench" / "bin" / "python"
MINUTES = 20

PACKAGES = (
    "torch",
    "pytorch-lightning",
    "hydra-core",
    "optuna",
    "mlflow",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "polars",
    "duckdb",
    "pyarrow",
)
PEER_PACKAGES = ("tensorflow", "keras", "implicit", "hydra-joblib-launcher", "joblib")


@dataclass(frozen=True)
class Section:
    """A benchmark.

    Attributes:
        name: Name for --only.
        title: What it measures.
        command: The script, a path from this folder, and its arguments.
        minutes: How long it may take, of the MINUTES of all.
        peers: Whether it runs in the environment of the peers.
    """

    name: str
    title: str
    command: str
    minutes: float
    peers: bool = False

    @property
    def shown(self) -> str:
        """The command that repeats it, from the repository's root."""
        python = ".venv-bench/bin/python" if self.peers else "python"
        return f"{python} benchmarks/{self.command}"


@dataclass(frozen=True)
class Outcome:
    """What became of a section.

    Attributes:
        output: What it printed.
        seconds: How long it took.
        cpu: Seconds of the processor of it and all that it started: where the machine had other
            work, `seconds` says more of that.
        fault: What went wrong; None where nothing did.
    """

    section: Section
    output: str
    seconds: float
    cpu: float
    fault: str | None

    @property
    def told(self) -> str:
        return self.fault or f"{self.seconds:.0f} s, {self.cpu:.0f} s of the processor"


SECTIONS = (
    Section("step", "A training step", "step.py", 1),
    Section(
        "epoch",
        "An epoch: bare PyTorch, recsweep, Keras, Lightning with a DataLoader",
        "epoch.py --repeats 3",
        3,
        peers=True,
    ),
    Section(
        "multirun",
        "grid18: recsweep and a plain Hydra multirun with joblib",
        "multirun.py --rounds 2",
        7,
        peers=True,
    ),
    Section("growth", "grid18 by its trials and cells", "growth.py --cells 1e5 1e6 1e7", 6),
    Section("study", "What a study adds to a trial", "study_overhead.py --rounds 2 --points 10", 2),
    Section("claims", "Claims in a large study", "claims.py --sizes 10 1000", 2),
    Section("logging", "What tracking adds to a run", "logging_cost.py --repeats 3", 1),
    Section("server", "Logging through a server", "server.py --runs 5 --clients 2", 3),
    Section("start", "From a command to its end", "start.py --rounds 1", 2),
    Section("first_hour", "Commands of a first hour, on a terminal", "first_hour.py", 3.5),
    Section("shelf", "Models of the shelf", "shelf.py popularity item_knn ease ials logistic", 2),
    Section("als", "iALS and implicit", "als.py", 2, peers=True),
    Section("logistic", "Solvers of logistic regression", "logistic.py --repeats 1", 1),
    Section("reading", "Reading a file", "reading.py --memory-gb 1.5", 1),
    Section("large", "Data in files", "large.py --positives 10_000_000 --users 100_000", 2),
    Section("end_to_end", "From files to a logged model", "end_to_end.py --millions 1", 1),
    Section(
        "large_tables",
        "Adam and lazy Adam on large tables",
        "large_tables.py --models recipe_net --threads 1 --repeats 1",
        2,
    ),
    Section(
        "ranking",
        "Full ranking of a large catalogue",
        "ranking.py --users 10_000 --items 20_000 --rounds 2",
        1,
    ),
    Section(
        "validation", "Evaluating the epochs of a large catalogue", "validation.py --epochs 1", 1.5
    ),
    Section("compare", "Comparing runs", "compare.py --runs 20", 2),
    Section("fold_in", "Folding new users in", "fold_in.py", 1),
    Section("recommend", "Lists for many users", "recommend.py --sample 500", 2.5),
    Section(
        "serving",
        "Recommendations over HTTP",
        "serving.py --requests 200 --starts 1 --models recipe_net --no-mlflow",
        3,
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [section.name for section in SECTIONS]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--out", type=Path, help="file of the page")
    parser.add_argument(
        "--minutes",
        type=float,
        default=MINUTES,
        help="how long all may take; what each section may take grows with it",
    )
    parser.add_argument(
        "--peers", type=Path, default=PEERS, help="Python that sees what is measured beside"
    )
    options = parser.parse_args()
    sections = [each for each in SECTIONS if options.only is None or each.name in options.only]
    machine = describe(options.peers)
    with terminate_as_interrupt():
        outcomes = run_all(sections, options.minutes, options.peers)
    text = page(outcomes, machine)
    if out := options.out or (None if options.only else RESULTS):
        out.write_text(text, encoding="utf-8")
    else:
        print(text)
    if faults := [f"{each.section.name}: {each.fault}" for each in outcomes if each.fault]:
        raise SystemExit("\n".join(faults))


def run_all(sections: Sequence[Section], minutes: float, peers: Path) -> list[Outcome]:
    """Every section in turn, each within its time and all within `minutes`."""
    ends, outcomes = perf_counter() + 60 * minutes, []
    for section in sections:
        limit = 60 * section.minutes * minutes / MINUTES
        left = ends - perf_counter()
        if left > 0:
            outcome = run(section, min(limit, left), peers)
        else:
            outcome = Outcome(section, "", 0, 0, f"not begun, the {minutes:g} minutes were over")
        print(f"{section.name}: {outcome.told}", flush=True)
        outcomes.append(outcome)
    return outcomes


def run(section: Section, limit: float, peers: Path) -> Outcome:
    """One section, which is ended with all its processes after `limit` seconds."""
    script, *arguments = section.command.split()
    python = peers if section.peers else Path(sys.executable)
    start, cpu = perf_counter(), _cpu()
    with scratch_folder() as folder:
        for place in ("home", "tmp"):
            (folder / place).mkdir()
        said, complaint = folder / "stdout", folder / "stderr"
        fault = None
        with said.open("wb") as stdout, complaint.open("wb") as stderr:
            try:
                process = psutil.Popen(
                    [python, FOLDER / script, *arguments],
                    cwd=ROOT,
                    env={
                        **os.environ,
                        "RECSWEEP_HOME": str(folder / "home"),
                        "TMPDIR": str(folder / "tmp"),
                    },
                    stdout=stdout,
                    stderr=stderr,
                )
            except FileNotFoundError:
                return Outcome(
                    section, "", 0, 0, f"no {python.name} in {python.parent}: `make bench`"
                )
            try:
                if status := process.wait(limit):
                    fault = f"ended with status {status}"
            except psutil.TimeoutExpired:
                fault = f"took longer than {limit:.0f} s"
            finally:
                end(process)
        lines = complaint.read_text(encoding="utf-8", errors="replace").splitlines()
        if fault and lines:
            print(*lines[-30:], sep="\n", file=sys.stderr)
            last = lines[-1].strip().replace(f"{ROOT}/", "")
            fault += f": {last}" if "status" in fault else ""
        output = said.read_text(encoding="utf-8", errors="replace")
        return Outcome(section, output.strip("\n"), perf_counter() - start, _cpu() - cpu, fault)


def _cpu() -> float:
    """Seconds of the processor of all processes that this one started and saw end."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def end(process: psutil.Process) -> None:
    """End it and all that it started; nothing where it has ended."""
    if process.is_running():
        for each in [*process.children(recursive=True), process]:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait()


def describe(peers: Path) -> dict[str, str]:
    """The machine, the versions and the commit, by their headings."""
    memory = f"{total_bytes() / 1e9:.0f} GB"
    rows = {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": memory,
        "system": f"{_system()}, {platform.machine()}",
        "load before": f"{os.getloadavg()[0]:.1f}",
        "commit": _commit(),
        "Python": platform.python_version(),
        "packages": _versions(Path(sys.executable), PACKAGES),
    }
    if peers.exists():
        rows["peers"] = _versions(peers, PEER_PACKAGES)
    return rows


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _system() -> str:
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        name = platform.platform(terse=True)
    return f"{name}, {platform.system()} {platform.release()}"


def _commit() -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
        return done.stdout.strip()

    commit = git("rev-parse", "--short=12", "HEAD")
    if not commit:
        return "none: no checkout"
    changed = git("status", "--porcelain", "--", ".", f":!{RESULTS.relative_to(ROOT)}")
    return f"{commit}, with changes that are not committed" if changed else commit


def _versions(python: Path, packages: Sequence[str]) -> str:
    asks = (
        "import importlib.metadata as m, json, sys;"
        "print(json.dumps({name: m.version(name) for name in sys.argv[1:]}))"
    )
    done = subprocess.run([python, "-c", asks, *packages], stdout=subprocess.PIPE, check=True)
    return ", ".join(f"{name} {version}" for name, version in json.loads(done.stdout).items())


def page(outcomes: Sequence[Outcome], machine: dict[str, str]) -> str:
    """The page in Markdown."""
    minutes, cpu = (sum(getattr(each, of) for each in outcomes) / 60 for of in ("seconds", "cpu"))
    rows = {
        "date": datetime.date.today().isoformat(),
        "took": f"{minutes:.1f} minutes, {cpu:.1f} of the processor",
        **machine,
        "load after": f"{os.getloadavg()[0]:.1f}",
    }
    faulty = [outcome for outcome in outcomes if outcome.fault]
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`, which runs one section after the other; its command repeats it. "
        "`python` is that of `.venv`, and `.venv-bench` has what recsweep is measured beside. "
        "Seconds are of this machine, and ratios carry over better: what is compared ran in turn, "
        "in one run.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in rows.items()),
        "",
    ]
    if len(outcomes) < len(SECTIONS):
        chosen = ", ".join(outcome.section.name for outcome in outcomes)
        lines += [f"Chosen sections alone: {chosen}.", ""]
    if faulty:
        named = ", ".join(f"{each.section.name} ({each.fault})" for each in faulty)
        lines += [f"**Not measured to the end: {named}.**", ""]
    for outcome in outcomes:
        lines += [
            f"## {outcome.section.title}",
            "",
            f"`{outcome.section.shown}`: {outcome.told}",
            "",
        ]
        if outcome.output:
            lines += ["```", *(line.rstrip() for line in outcome.output.splitlines()), "```", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
