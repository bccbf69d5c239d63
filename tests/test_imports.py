"""Imports go down only, each library has its doors, and light commands stay light."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "src" / "recsweep"

DOORS = {
    "mlflow": {"tracking", "serving.served_model"},
    "pytorch_lightning": {"models.neural", "models.fit.lightning_module", "models.fit.datamodule"},
    "hydra": {"config", "mistakes", "cli.__init__", "tuning"},
    "optuna": {"tuning"},
    "fastapi": {"serving.http"},
    "uvicorn": {"cli.serve", "serving.connections"},
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
    "matplotlib",
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
}
"""Modules, or packages, that are imported only where a model is trained or served."""


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
    assert users <= {"serving.served_model", "workers"}  # which names modules, to import them early


def _path(module: str) -> Path:
    return PACKAGE / Path(*module.split(".")).with_suffix(".py")
