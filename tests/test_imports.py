"""Imports go down only, each library has its doors, and light commands stay light."""

import ast
import gc
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from recsweep.libraries import quick_imports

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "src" / "recsweep"

DOORS = {
    "mlflow": {"tracking", "serving.served_model"},
    "pytorch_lightning": {"models.neural", "models.fit.lightning_module", "models.fit.datamodule"},
    "hydra": {"config", "mistakes", "cli.__init__", "tuning"},
    "optuna": {"tuning"},
    "optuna_dashboard": {"tuning.dashboard"},
    "ray": {"tuning.ray_engine"},
    "fastapi": {"serving.http"},
    "uvicorn": {"serving.connections"},
    "kagglehub": {"data.download"},
    "duckdb": {"data.door", "data.readers"},
    "pandas": {"data.door", "data.interactions", "evaluation", "notebook"},
    "sklearn": {"models.logistic"},
    "jinja2": {"rendering"},
}
"""Which modules, or packages, may import a library, at their top or inside a function."""

LAZY = {
    "torch",
    "pytorch_lightning",
    "mlflow",
    "pandas",
    "sklearn",
    "scipy",
    "pyarrow",
    "duckdb",
    "rich",
    "optuna",
    "sqlalchemy",
    "jinja2",
}
"""Imported where they are used: `--help` and an error in the settings must not wait for them."""

ON_DEMAND = {
    "serving.served_model",
    "models.nets",
    "models.fit.lightning_module",
    "models.fit.datamodule",
    "models.fit.flat",
    "models.fit.lazy_adam",
    "tuning.dashboard",
}
"""Modules, or packages, that are imported only where a model is trained or served, or in a process
of their own."""


def test_what_is_printed_goes_through_one_door():
    """`terminal.tell`: nothing that a terminal acts on reaches it."""
    found = [
        name
        for name, module in _modules().items()
        for node in ast.walk(module)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
    ]
    # of cli.output: CSV is printed raw where no terminal is
    assert set(found) == {"terminal", "cli.output"}


def _modules() -> dict[str, ast.Module]:
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): ast.parse(
            path.read_text(encoding="utf-8")
        )
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def _imported(nodes: list[ast.AST]) -> set[str]:
    """Top-level packages that import statements among the nodes name."""
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return {name.partition(".")[0] for name in names}


def test_imports_go_down_only():
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 kept, 0 broken" in done.stdout


@pytest.mark.parametrize("library", DOORS)
def test_a_library_has_its_doors(library):
    users = {
        name for name, tree in _modules().items() if library in _imported(list(ast.walk(tree)))
    }
    packages = tuple(f"{door}." for door in DOORS[library])
    assert {user for user in users if not user.startswith(packages)} <= DOORS[library]


def test_heavy_libraries_are_imported_where_they_are_used():
    on_demand = tuple(f"{module}." for module in ON_DEMAND)
    early = {
        name: found
        for name, tree in _modules().items()
        if not f"{name}.".startswith(on_demand) and (found := _imported(tree.body) & LAZY)
    }
    assert early == {}
    assert _imported(_modules()["models.nets.__init__"].body) & LAZY == {"torch"}, (
        "the check sees no import at all"
    )


def test_mlflows_tag_names_stay_inside_tracking():
    outside = {name for name in _modules() if not name.startswith("tracking.")}
    users = {
        name
        for name in outside
        if re.search(r"""["']mlflow\.""", _path(name).read_text(encoding="utf-8"))
    }
    # a model that is served is MLflow's; the server of workers imports a module by its name
    assert users <= {"serving.served_model", "preloaded"}


def _path(module: str) -> Path:
    return PACKAGE / Path(*module.split(".")).with_suffix(".py")


# --- what a command imports ---

NEVER = {"polars", "pandas", "sklearn", "optuna", "duckdb", "matplotlib", "mlflow.pyfunc", "jinja2"}
"""What neither training on data that is drawn nor reading the store has a use for."""

PROBE = """
import atexit, runpy, sys
sys.argv = sys.argv[1:]
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a script, and names at its end what it imported."""


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """imported(command): the modules that a command has imported in the end."""
    folder = tmp_path_factory.mktemp("imported")

    def imported(*command: str | Path) -> set[str]:
        arguments = [sys.executable, "-c", PROBE, *command]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            arguments, cwd=folder, capture_output=True, text=True, timeout=120, env=environment
        )
        *said, modules = done.stderr.splitlines()
        assert done.returncode == 0, said
        return set(modules.split())

    return imported


@pytest.fixture(scope="module")
def trained(imported) -> set[str]:
    """What training a baseline has imported; its run is in the store that the commands read."""
    return imported(REPOSITORY / "train.py", "model=popularity", *TINY)


TINY = ("data.num_users=60", "data.num_items=50", "data.density=0.15", "trainer.max_epochs=1")
RECSWEEP = Path(sys.executable).with_name("recsweep")


class TestCommands:
    """Each waits for what it uses, and for no other library."""

    def test_training_a_baseline(self, trained):
        assert trained & (NEVER | {"torch", "pytorch_lightning"}) == set()
        assert {"mlflow", "recsweep.drawing"} <= trained, "the check sees no import at all"

    def test_training_a_net(self, imported):
        modules = imported(REPOSITORY / "train.py", "model=recipe_net", *TINY)
        assert (
            modules & (NEVER - {"matplotlib"}) == set()
        )  # which Lightning's torchmetrics asks for
        assert "pytorch_lightning" in modules

    def test_training_a_class_of_the_user(self, imported, tmp_path, monkeypatch):
        """MLflow keeps its parts for pandas, which the class may ask for."""
        (tmp_path / "theirs.py").write_text(
            "from recsweep.models.popularity import Popularity\n\n\n"
            "class Theirs(Popularity):\n"
            "    def fit(self, *arguments, **settings):\n"
            "        import mlflow.pyfunc\n\n"
            "        return super().fit(*arguments, **settings)\n"
        )
        monkeypatch.setenv("RECSWEEP_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
        words = ("model=popularity", "model._target_=theirs.Theirs")
        assert {"mlflow.pyfunc", "theirs"} <= imported(REPOSITORY / "train.py", *words, *TINY)

    def test_listing_runs(self, trained, imported):
        modules = imported(RECSWEEP, "runs")
        assert modules & (NEVER | {"torch", "scipy", "hydra"}) == set()
        assert "mlflow" in modules

    def test_recommending(self, trained, imported):
        modules = imported(RECSWEEP, "recommend", "--run", "popularity", "--user", "1")
        assert modules & (NEVER | {"torch", "hydra"}) == set()
        assert "mlflow" in modules


class TestQuickImports:
    @pytest.fixture
    def library(self, tmp_path, monkeypatch):
        """The name of a library that says whether an extra was there, and the collector on."""
        (tmp_path / "an_extra.py").touch()
        (tmp_path / "a_library.py").write_text(
            "import gc\n"
            "collects = gc.isenabled()\n"
            "try:\n    import an_extra as extra\nexcept ImportError:\n    extra = None\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        yield "a_library"
        for name in ("a_library", "an_extra"):
            sys.modules.pop(name, None)

    def test_what_is_left_out_is_missing_there_alone(self, library, monkeypatch):
        monkeypatch.setattr("recsweep.libraries._left_out", lambda: {"an_extra": None})
        with quick_imports(library):
            module = import_module(library)
        assert (module.extra, module.collects) == (None, False)
        assert gc.isenabled()
        assert import_module("an_extra") is not None

    def test_what_is_imported_already_stays(self, library, monkeypatch):
        monkeypatch.setattr("recsweep.libraries._left_out", lambda: {"an_extra": None})
        extra = import_module("an_extra")
        with quick_imports(library):
            assert import_module(library).extra is extra
        assert sys.modules["an_extra"] is extra

    def test_nothing_is_left_out_unless_it_is_asked_for(self, library):
        with quick_imports(library):
            assert import_module(library).extra is not None
