"""A trained model as a service.

The code file inside a logged model imports these three names from here: they stay.
"""

from recsweep.serving.service import EXAMPLE, Query, RecommenderService

__all__ = ["EXAMPLE", "Query", "RecommenderService"]
