"""A trained model as a service.

The code file inside a logged model imports EXAMPLE, Query and RecommenderService from here, and
since `messages` exists Ranking, Request and answer from there: these names stay importable.
"""

from recsweep.serving.service import EXAMPLE, Query, RecommenderService

__all__ = ["EXAMPLE", "Query", "RecommenderService"]
