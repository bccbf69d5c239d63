"""docs/ci.md, followed by a job: its script, on a small file, with the statuses that it names."""

import json
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from tests.walked import blocks, run

PAGE = "ci.md"


def _likes(path: Path) -> None:
    rng = np.random.default_rng(0)
    pairs = np.argwhere(rng.random((80, 40)) < rng.beta(1, 4, 40))
    np.savetxt(path, pairs, fmt="u%d,i%d", header="user,item", comments="")


@pytest.mark.slow
def test_the_script_word_for_word(tmp_path):
    (script,) = blocks(PAGE, "bash")
    (tmp_path / "ci.sh").write_text(script)
    _likes(tmp_path / "likes.csv")
    home = {"RECSWEEP_HOME": str(tmp_path / "home")}
    done = run("bash ci.sh likes.csv", tmp_path, **home)
    assert done.returncode == 0, done.stderr
    assert f"study ci-{date.today()}: 3 finished" in done.stdout
    decision = json.loads((tmp_path / "decision.json").read_text())
    said = {"refused": "The rule refuses", "promoted": "The champion is"}[decision["outcome"]]
    assert said in done.stdout
    assert "| ease 200 |" in (tmp_path / "comparison.md").read_text()
    again = run(f"recsweep promote --study ci-{date.today()} --yes", tmp_path, **home)
    assert again.returncode == {"refused": 3, "promoted": 0}[decision["outcome"]], again.stderr
    broken = run("bash ci.sh gone.csv", tmp_path, **home)
    assert broken.returncode == 1
    assert "gone.csv can't be read" in broken.stderr
