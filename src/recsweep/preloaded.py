"""Imported by the server of workers before it forks: the libraries of a trial, none of which has
done any work yet, and the modules of our own that import them on demand."""

import gc
from importlib import import_module

from recsweep.libraries import leave_out, quick_imports

leave_out("polars")  # as the commands do
with quick_imports("pytorch_lightning"):
    for name in (
        "scipy.sparse",
        "sqlalchemy",
        "optuna",
        "duckdb",
        "torch",
        "mlflow.store.tracking.sqlalchemy_store",
        "pytorch_lightning",
        "recsweep.models.deep",
        "recsweep.models.nets",
        "recsweep.models.fit.lightning_module",
        "recsweep.models.fit.datamodule",
        "recsweep.tuning.sweep",
    ):
        import_module(name)

gc.freeze()  # a collection in a worker would copy what it shares with the others
