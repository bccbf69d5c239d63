"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real data files, `$RECSWEEP_DATA` or shared/data beside the repository; skips where absent."""
    folder = Path(os.environ.get("RECSWEEP_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} does not exist (set RECSWEEP_DATA)")
    return folder
