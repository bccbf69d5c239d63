"""recsweep: sweep, track, compare and promote recommender models.

The main path stands on one screen in :mod:`recsweep.pipeline`.
"""

__version__ = "0.1.0"
