"""Imported by the server of workers after `preloaded`, where nets are trained."""

import gc
from importlib import import_module

import recsweep.preloaded  # noqa: F401
from recsweep.libraries import quick_imports

with quick_imports("pytorch_lightning"):
    for name in (
        "torch",
        "pytorch_lightning",
        "recsweep.models.deep",
        "recsweep.models.nets",
        "recsweep.models.fit.lightning_module",
        "recsweep.models.fit.datamodule",
    ):
        import_module(name)

gc.freeze()  # a collection in a worker would copy what it shares with the others
