"""benchmarks/bench.py: sections in turn, each within its time, and the page."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import psutil
import pytest

SCRIPTS = {
    "quick.py": "import os, sys; print('rows', sys.argv[1:]); print(os.environ['RECSWEEP_HOME'])",
    "broken.py": "print('a row'); raise ValueError('no data')",
    "slow.py": """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
""",
}


BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench", BENCHMARKS / "bench.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "bench", module)  # where dataclasses look up their module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def bench(module: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The module, with sections of its own."""
    for name, text in SCRIPTS.items():
        (tmp_path / name).write_text(text)
    sections = (
        module.Section("quick", "A quick one", "quick.py --repeats 2", 10),
        module.Section("broken", "A broken one", "broken.py", 10),
        module.Section("slow", "A slow one", "slow.py", 0.05),
        module.Section("beside", "Beside others", "quick.py", 10, peers=True),
    )
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    monkeypatch.setattr(module, "SECTIONS", sections)
    return module


def called(bench: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["bench.py", *map(str, arguments)])
    bench.main()


def test_what_fails_or_takes_too_long_is_named_after_all_others(
    bench, monkeypatch, tmp_path, capsys
) -> None:
    out = tmp_path / "page.md"
    with pytest.raises(SystemExit) as ended:
        called(bench, monkeypatch, "--out", out, "--peers", tmp_path / "python")
    faults = {
        "broken": "ended with status 1: ValueError: no data",
        "slow": "took longer than 3 s",
        "beside": f"no python in {tmp_path}: `make bench`",
    }
    assert ended.value.code == "\n".join(": ".join(each) for each in faults.items())
    page = out.read_text()
    named = ", ".join(f"{name} ({fault})" for name, fault in faults.items())
    assert f"**Not measured to the end: {named}.**" in page
    for heading in ("processor", "memory", "system", "commit", "Python", "packages", "took"):
        assert f"| {heading} | " in page
    assert "torch 2" in page
    quick = page.split("## A quick one\n")[1].split("\n## ")[0].splitlines()
    assert quick[1].startswith("`python benchmarks/quick.py --repeats 2`: ")
    assert quick[3:5] == ["```", "rows ['--repeats', '2']"]
    assert not Path(quick[5]).exists()  # its home went with it
    assert "```\na row\n```" in page
    child = int(page.split("## A slow one\n")[1].split("```\n")[1].splitlines()[0])
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == [
        section.name for section in bench.SECTIONS
    ]


def test_chosen_sections_are_printed(bench, monkeypatch, capsys) -> None:
    called(bench, monkeypatch, "--only", "quick")
    printed = capsys.readouterr().out
    assert "## A quick one" in printed
    assert "Chosen sections alone: quick." in printed
    assert "## A slow one" not in printed
    assert "Not measured" not in printed


def test_what_the_time_is_over_for_is_not_begun(bench) -> None:
    outcomes = bench.run_all(bench.SECTIONS[:2], 0, Path("python"))
    assert [each.fault for each in outcomes] == ["not begun, the 0 minutes were over"] * 2


def test_every_script_has_a_section(module) -> None:
    """But coverage.py, which `make coverage` runs, and what a section's script runs itself."""
    there = {path.name for path in BENCHMARKS.glob("*.py")}
    runs = {section.command.split()[0] for section in module.SECTIONS}
    assert there - runs == {"bench.py", "coverage.py", "keras_epoch.py", "plain_multirun.py"}
    names = [section.name for section in module.SECTIONS]
    assert len(set(names)) == len(names)
