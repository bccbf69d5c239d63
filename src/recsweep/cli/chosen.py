"""The model that a command answers with: the champion, or that of a run."""

import argparse
import os
from typing import TYPE_CHECKING

from recsweep.cli.store import add_store_options, store_options

if TYPE_CHECKING:
    from recsweep.promotion.chosen import ChosenModel


def add_model_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--run",
        metavar="ID",
        dest="run_id",
        help="id or name of a run, as `recsweep runs` shows it (default: the champion)",
    )
    add_store_options(command)


def chosen_model(arguments: argparse.Namespace) -> "ChosenModel":
    """The model; raises RegistryError where there is no champion, or the run has no model."""
    from recsweep.promotion import chosen

    return chosen.chosen_model(store_options(arguments), arguments.run_id)


def compute_with_one_thread() -> None:
    """Make torch, which is imported later, take one thread, unless OMP_NUM_THREADS says otherwise.

    A second thread gains a short product nothing, and where the cores are busy each product waits
    for it, a hundred times as long as it takes.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
