"""Memory: how much there is, and whether what is about to be made fits into it."""

from pathlib import Path

from recsweep.errors import ConfigError

SMALL_BYTES = 200_000_000
"""What is no larger is not looked at: every machine has that."""

CGROUPS = Path("/sys/fs/cgroup")


def check_memory(needed: int, what: str, remedy: str) -> None:
    """Raise ConfigError where something takes more bytes than there are, before it asks for them: a
    system that is short of memory kills processes without a word.

    Args:
        what: What takes them, with the settings that make it so large, as a sentence begins.
        remedy: What to do, as a sentence.
    """
    if needed <= SMALL_BYTES or needed <= (there := available_bytes()):
        return
    raise ConfigError(
        f"{what} would take about {_gigabytes(needed)} of memory, and {_gigabytes(there)} are free "
        f"here. {remedy}"
    )


def available_bytes() -> int:
    """Bytes that this process may still take: those of the machine, or of its container where that
    has fewer."""
    import psutil

    return min([psutil.virtual_memory().available, *(most - used for most, used in _cgroups())])


def total_bytes() -> int:
    """Bytes of memory of the machine, or of its container where that has fewer."""
    import psutil

    return min([psutil.virtual_memory().total, *(most for most, _ in _cgroups())])


def _cgroups() -> list[tuple[int, int]]:
    """The limits of the control groups of this process, and what is used of each; of no system but
    Linux there are any."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if controllers not in ("", "memory"):
            continue
        root = CGROUPS / controllers
        limit, used = ("memory.max", "memory.current") if not controllers else V1_FILES
        # inside a container its own group is at the root
        for folder in {root, root / path.lstrip("/")}:
            try:
                most = int((folder / limit).read_text(encoding="utf-8"))
                found.append((most, int((folder / used).read_text(encoding="utf-8"))))
            except (OSError, ValueError):  # there is no limit: "max", or no such file
                continue
    return found


V1_FILES = ("memory.limit_in_bytes", "memory.usage_in_bytes")


def _gigabytes(number: int) -> str:
    return f"{number / 1e9:,.1f} GB"
