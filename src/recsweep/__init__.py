"""recsweep: sweep, track, compare and promote recommender models.

The main path stands on one screen in :mod:`recsweep.pipeline`, what a notebook uses in
:mod:`recsweep.notebook`:

    import recsweep as rs
    data = rs.read_interactions("likes.csv", user="person", item="dish")
"""

TYPE_CHECKING = False  # as type checkers read it: importing typing takes longer than all of this
if TYPE_CHECKING:
    from recsweep.notebook import (
        champion,
        compare,
        evaluate,
        model,
        promote,
        read_interactions,
        runs,
        study,
    )

__version__ = "0.1.0"

__all__ = [
    "champion",
    "compare",
    "evaluate",
    "model",
    "promote",
    "read_interactions",
    "runs",
    "study",
]


def __getattr__(name: str) -> object:
    """What __all__ names is imported when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from recsweep import notebook

    return getattr(notebook, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
