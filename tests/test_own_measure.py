"""docs/own-measure.md, followed by a stranger in a checkout: what it adds, and its commands."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.walked import blocks, on_tiny_data, run

PAGE = "own-measure.md"


def _insert(path: Path, text: str, before: str) -> None:
    """Write text above the only line that begins with `before`."""
    content = path.read_text(encoding="utf-8")
    assert len(re.findall(rf"^{re.escape(before)}", content, flags=re.MULTILINE)) == 1
    path.write_text(re.sub(rf"^({re.escape(before)})", rf"{text}\1", content, flags=re.MULTILINE))


@pytest.mark.slow
def test_the_page_word_for_word(tmp_path):
    for name in ("src", "conf", "tests"):
        shutil.copytree(
            REPOSITORY / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("train.py", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, tmp_path)
    function, entry, by_hand = blocks(PAGE, "python")
    measures = tmp_path / "src" / "recsweep" / "measures"
    with (measures / "of_lists.py").open("a") as file:
        file.write(f"\n\n{function}")
    _insert(measures / "entries.py", entry, before="    COVERAGE,")
    checkout = {"PYTHONPATH": str(tmp_path / "src"), "COLUMNS": "200"}
    done = run(on_tiny_data("".join(blocks(PAGE, "sh"))), tmp_path, **checkout)
    assert done.returncode == 0, done.stderr
    assert "study rbp: 2 finished" in done.stdout
    assert "RBP @10" in done.stdout
    assert "best by rank-biased precision@10 first; ± half a 95 % interval" in done.stdout
    test = f"{sys.executable} -m pytest -q -p no:cacheprovider tests/test_metrics.py -k by_hand"
    lacks = run(test, tmp_path, **checkout)
    assert lacks.returncode == 1
    assert "rbp" in lacks.stdout
    _insert(tmp_path / "tests" / "test_metrics.py", by_hand, before='        "hit_rate": [')
    tested = run(test, tmp_path, **checkout)
    assert tested.returncode == 0, tested.stdout
