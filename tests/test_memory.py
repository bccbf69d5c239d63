"""What does not fit into memory is refused before it is asked for."""

import subprocess
import sys

import pytest

from recsweep import memory
from recsweep.errors import ConfigError
from recsweep.memory import available_bytes, check_memory


def test_there_is_some() -> None:
    assert available_bytes() > 0


def test_what_fits_passes() -> None:
    check_memory(10**6, "It", "Lower it.")
    check_memory(memory.SMALL_BYTES + 1, "It", "Lower it.")


def test_what_does_not_fit_is_refused_with_its_size() -> None:
    with pytest.raises(ConfigError, match=r"^It would take about 1,000,000\.0 GB of memory"):
        check_memory(10**15, "It", "Lower it.")


def test_a_container_with_less_than_the_machine_counts(tmp_path, monkeypatch) -> None:
    (tmp_path / "memory.max").write_text("300000000\n")
    (tmp_path / "memory.current").write_text("100000000\n")
    monkeypatch.setattr(memory, "CGROUPS", tmp_path)
    if memory._cgroups():  # of a system that has control groups of the second version
        assert available_bytes() == 200_000_000


LARGE = """
import resource
import numpy as np
from pathlib import Path
from recsweep.config import build, composed
from recsweep.data.interactions import Part, Split
from recsweep.evaluation import evaluate
from recsweep.processes import threads

USERS, ITEMS, MORE = 20_000, 44_000, 500_000_000
rng = np.random.default_rng(0)
each = np.arange(USERS)
train, validation = (
    Part(each, rng.integers(first, first + ITEMS // 2, USERS), np.ones(USERS), USERS, ITEMS, False)
    for first in (0, ITEMS // 2)
)
test = Part(each[:0], each[:0], np.ones(0), USERS, ITEMS, False)
split = Split(train, validation, test, "leave_last_out", None)
settings = ["trainer=large_batches", "trainer.max_epochs=1", "examples=sampled"]
cfg = composed(["model=mf", "evaluation.k=[20]", *settings])
model, protocol = build(cfg, "model"), build(cfg, "evaluation")
model.fit(split.train)
assert threads() == 2
pages = int(Path("/proc/self/statm").read_text().split()[0])
held = pages * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + MORE, held + MORE))
try:
    np.empty((USERS, ITEMS), np.float32)
except MemoryError:
    print("too much at once")
print(evaluate(model, split, protocol=protocol).counts["users"])
"""


@pytest.mark.slow
def test_a_large_catalogue_is_ranked_in_little_memory(tmp_path, monkeypatch) -> None:
    """20,000 x 44,000 scores take 3.5 GB at once; two threads get 0.5 more than the model has."""
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("RECSWEEP_CORES", "2")
    # addresses are counted, of which each thread's share of malloc reserves 64 MB or 128 at once
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    done = subprocess.run(
        [sys.executable, "-c", LARGE], capture_output=True, text=True, timeout=300, cwd=tmp_path
    )
    assert done.stdout.splitlines()[-2:] == ["too much at once", "20000"], done.stderr[-2000:]
