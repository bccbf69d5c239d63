"""What a run was made with and by: versions, the git checkout, the person and the memory."""

import os
import platform
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from recsweep import __version__

PACKAGES = (
    "torch",
    "pytorch-lightning",
    "scikit-learn",
    "numpy",
    "scipy",
    "pandas",
    "mlflow",
    "hydra-core",
)
"""Packages whose versions are recorded with each run."""


@cache
def environment() -> dict[str, Any]:
    """Versions, platform and the state of the git checkout that the program was started in."""
    commit = _git("rev-parse", "HEAD")
    versions = {name: number for name in PACKAGES if (number := _version(name))}
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "packages": {"recsweep": __version__, **versions},
        "git_commit": commit,
        "git_dirty": None if commit is None else bool(_git("status", "--porcelain")),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    try:
        command = ["git", *arguments]
        git = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return git.stdout.strip()


def peak_memory_mb() -> float:
    """The process's highest resident memory so far, in 10^6 bytes."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6  # KiB on Linux


def person() -> str:
    """Who runs the program, as the system names them."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may have no name for its user
        return "unknown"
