"""Pages of the documentation, followed by a stranger: their files and their commands, word for
word."""

import os
import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
TINY = "data.num_users=80 data.num_items=60 data.density=0.15"


def blocks(page: str, kind: str) -> list[str]:
    """The fenced blocks of a kind, as `python`, of a page of docs/, without their fences."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{kind}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def on_tiny_data(script: str, *settings: str) -> str:
    """The script with small data wherever it trains."""
    line = " ".join((TINY, *settings))
    return re.sub(r"^((?:recsweep train|python train\.py) .*)", rf"\1 {line}", script, flags=re.M)


def run(script: str, folder: Path, **environ: str) -> subprocess.CompletedProcess:
    """Run a script in a folder, with the commands of the environment of the tests."""
    left_out = ("RECSWEEP_HOME", "MLFLOW_TRACKING_URI", "RECSWEEP_ALLOW_TARGETS")
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=folder,
        env={**kept, "PATH": path, "OMP_NUM_THREADS": "1", **environ},
        capture_output=True,
        text=True,
    )
