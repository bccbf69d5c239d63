"""The wheel alone does from any folder what `python train.py` does in the checkout."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from recsweep.tracking import TrackingOptions, finished_runs

REPOSITORY = Path(__file__).parents[1]
TINY = ["data.num_users=60", "data.num_items=50", "data.density=0.15", "trainer.max_epochs=1"]

pytestmark = pytest.mark.slow


def _run(*command: str | Path, cwd: Path, **environ: str) -> str:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "RECSWEEP_HOME")
    }
    done = subprocess.run(
        command, cwd=cwd, env={**kept, **environ}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    _run(
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        folder,
        REPOSITORY,
        cwd=folder,
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def bin_dir(wheel, tmp_path_factory) -> Path:
    """The commands of a new environment that holds the wheel, and sees what it depends on in the
    one of the tests.

    A folder that a .pth file adds to the path comes last, and its own .pth files are not read: so
    the editable recsweep in there stays out of sight.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    _run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--no-deps",
        "--no-index",
        "--quiet",
        wheel,
        cwd=folder,
    )
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python.parent


def test_it_carries_the_configs_and_no_tests(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    conf = REPOSITORY / "conf"
    expected = {f"recsweep/conf/{path.relative_to(conf)}" for path in conf.rglob("*.yaml")}
    assert {name for name in names if name.startswith("recsweep/conf/")} == expected
    studies = {
        f"recsweep/experiments/{path.name}" for path in REPOSITORY.glob("experiments/*.yaml")
    }
    assert {name for name in names if name.startswith("recsweep/experiments/")} == studies
    assert {name.split("/")[0].partition("-")[0] for name in names} <= {"recsweep", "hydra_plugins"}


def test_it_is_what_the_new_environment_imports(bin_dir, tmp_path):
    code = (
        "import sys, recsweep, importlib.metadata as m; from recsweep.config import conf_dir\n"
        "print(recsweep.__file__, conf_dir(), m.version('recsweep'), *sys.path, sep='\\n')"
    )
    module, conf, _, *path = _run(bin_dir / "python", "-c", code, cwd=tmp_path).splitlines()
    assert Path(module).is_relative_to(bin_dir.parent)
    assert Path(conf).is_relative_to(bin_dir.parent)
    assert str(REPOSITORY / "src") not in path


def test_it_trains_into_mlruns_of_the_current_folder(bin_dir, tmp_path):
    said = _run(bin_dir / "recsweep", "train", "model=popularity", *TINY, cwd=tmp_path)
    assert "popularity: epoch 1 of 1" in said
    assert {path.name for path in tmp_path.iterdir()} == {"mlruns"}
    options = TrackingOptions(uri=f"sqlite:///{tmp_path}/mlruns/mlflow.db", experiment="recsweep")
    assert [each.name for each in finished_runs(options)] == ["popularity"]


def test_it_trains_a_net_into_recsweep_home(bin_dir, store, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    _run(bin_dir / "recsweep", "train", *TINY, cwd=empty, RECSWEEP_HOME=str(store))
    assert list(empty.iterdir()) == []
    said = _run(bin_dir / "recsweep", "runs", cwd=empty, RECSWEEP_HOME=str(store))
    assert "recipe_net 15/25/128 mse adam" in said
    assert list(empty.iterdir()) == []


def test_it_has_the_rows_of_the_ledger(bin_dir, tmp_path):
    said = _run(bin_dir / "recsweep", "ledger", "--list", "--format", "json", cwd=tmp_path)
    rows = {(row["protocol"], row["model"]) for row in json.loads(said)["rows"]}
    assert ("recbole_ml1m", "ease") in rows
    refused = next(bin_dir.parent.glob("lib/python*/site-packages/recsweep/ledger/refused.md"))
    assert "refused" in refused.read_text(encoding="utf-8")
