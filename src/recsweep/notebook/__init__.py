"""The door for notebooks: from a DataFrame to a comparison and a champion.

It uses the store of the commands. Everything that a function returns has `to_frame()`, a DataFrame
of pandas, and shows itself in a notebook.
"""

from recsweep.notebook.champions import Champion, Promotion, champion, promote
from recsweep.notebook.comparisons import Comparison, compare, runs
from recsweep.notebook.data import Dataset, read_interactions
from recsweep.notebook.models import Model, evaluate, model
from recsweep.notebook.studies import Study, study

__all__ = [
    "Champion",
    "Comparison",
    "Dataset",
    "Model",
    "Promotion",
    "Study",
    "champion",
    "compare",
    "evaluate",
    "model",
    "promote",
    "read_interactions",
    "runs",
    "study",
]
