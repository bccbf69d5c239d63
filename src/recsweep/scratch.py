"""Folders for a moment, in the system's place for such: none outlives its process for long, not
even one that was killed."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

PREFIX = "recsweep-"
LOCK = ".held"
"""Name of a file beside the folder's content, which its process holds locked while it lives: a pid
would say nothing across containers."""

YOUNG_SECONDS = 60
"""Age up to which a folder may have no lock yet."""


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A new and empty folder, which is deleted in the end, or, where this process is killed, by
    the next one that makes one."""
    from filelock import FileLock

    _remove_abandoned()
    with (
        tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as outer,
        FileLock(Path(outer) / LOCK),
    ):
        inner = Path(outer) / "files"
        inner.mkdir()
        yield inner


@cache  # once a process
def _remove_abandoned() -> None:
    from filelock import FileLock, Timeout

    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        lock = folder / LOCK
        try:
            if time.time() - folder.stat().st_mtime < YOUNG_SECONDS:
                continue
            if not lock.exists():  # killed before it had one; what holds anything is not ours
                folder.rmdir()
                continue
            with FileLock(lock, timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
        except (OSError, Timeout):  # of somebody else, or in use
            continue
