"""Large libraries, imported in less time than they take by themselves."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import cast

from recsweep.interrupts import interrupts_wait


@contextmanager
def quick_imports(library: str) -> Iterator[None]:
    """Import a library with the garbage collector off, as its hundred thousand objects stay, and
    without what this process leaves out. An interrupt waits for its end: in a callback of the
    import system it would come to nothing.

    Args:
        library: The last module of it that is imported: where it is there already, nothing is
            done.
    """
    if library in sys.modules:
        yield
        return
    enabled = gc.isenabled()
    absent = [name for name in _left_out() if name not in sys.modules]
    gc.disable()
    try:
        for name in absent:  # None is what `import` takes for a module that is not installed
            sys.modules[name] = cast(ModuleType, None)
        with interrupts_wait():
            yield
    finally:
        for name in absent:
            del sys.modules[name]
        if enabled:
            gc.enable()


def leave_out(*packages: str) -> None:
    """Let a library find optional packages missing when it is imported, for parts of it that this
    process does not use; by themselves they can be imported as ever.

    For a process that is recsweep's alone: in a notebook somebody may use those parts.
    """
    _left_out().update(dict.fromkeys(packages))


@cache
def _left_out() -> dict[str, None]:
    return {}
