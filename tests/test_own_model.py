"""docs/own-model.md, followed by a stranger: its files and its commands, word for word."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOC = Path(__file__).parents[1] / "docs" / "own-model.md"
TINY = "data.num_users=80 data.num_items=60 data.density=0.15"


@pytest.mark.slow
def test_the_page_word_for_word(tmp_path):
    text = DOC.read_text(encoding="utf-8")
    (code,), (settings,), commands = (
        re.findall(rf"```{kind}\n(.*?)```", text, flags=re.DOTALL)
        for kind in ("python", "yaml", "sh")
    )
    (tmp_path / "mine.py").write_text(code)
    (tmp_path / "my_conf" / "model").mkdir(parents=True)
    (tmp_path / "my_conf" / "model" / "cosine.yaml").write_text(settings)
    script = re.sub(r"(recsweep train .*)", rf"\1 {TINY}", "".join(commands))
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("RECSWEEP_HOME", "MLFLOW_TRACKING_URI", "RECSWEEP_ALLOW_TARGETS")
    }
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    def run(script: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["bash", "-e", "-c", script],
            cwd=tmp_path,
            env={**environment, "PATH": path, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )

    done = run(script)
    assert done.returncode == 0, done.stderr
    for words in (
        "cosine 0: epoch 1 of 1",
        "study mine: 3 finished",
        "#2 cosine 0.5",
        "user 5, by",
    ):
        assert words in done.stdout
    refused = run("PYTHONPATH=. recsweep recommend --run 'cosine 0' --user 5")
    assert refused.returncode == 1
    assert "set RECSWEEP_ALLOW_TARGETS=mine.Cosine" in refused.stderr
    lost = run("recsweep train -cd my_conf model=cosine")
    assert "a module that is not found. Name its folder in PYTHONPATH" in lost.stderr
