"""Imported by the server of workers before it forks: the libraries of a trial, none of which has
done any work yet, and the modules of our own that import them on demand."""

import atexit
import gc
from importlib import import_module

from recsweep.libraries import leave_out, quick_imports

leave_out("polars")  # as the commands do
with quick_imports("mlflow.store.tracking.sqlalchemy_store"):
    for name in (
        "scipy.sparse",
        "sqlalchemy",
        "optuna",
        "duckdb",
        "mlflow.store.tracking.sqlalchemy_store",
        "recsweep.tuning.sweep",
    ):
        import_module(name)

atexit.register(gc.unfreeze)  # else extensions say at the server's end what they leak
gc.freeze()  # a collection in a worker would copy what it shares with the others
