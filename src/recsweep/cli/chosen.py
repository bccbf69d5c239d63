"""The model that a command answers with: the champion, or that of a run."""

import argparse
import os
from dataclasses import dataclass

from recsweep.cli.store import add_store_options, command_line, store_options
from recsweep.errors import RegistryError
from recsweep.tracking import Tracker


def add_model_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--run", metavar="ID", dest="run_id",
                         help="id or name of a run, as `recsweep runs` shows it (default: the champion)")
    add_store_options(command)


@dataclass(frozen=True)
class ChosenModel:
    """MLflow's logged model, the open store that holds it, and what it is in words."""

    store: Tracker
    model_id: str
    words: str


def chosen_model(arguments: argparse.Namespace) -> ChosenModel:
    """Raises RegistryError where there is no champion, or the run or the version has no model."""
    from recsweep.promotion.registry import Registry
    from recsweep.tracking import existing_store, finished_runs

    options = store_options(arguments)
    store = existing_store(options)
    if arguments.run_id is not None:
        record = finished_runs(options, ids=[arguments.run_id])[0]
        model_id, words = record.model_id, f"run {record.id} ({record.name})"
    else:
        registry = Registry(store)
        champion = registry.champion()
        if champion is None:
            raise RegistryError(
                f"{store.uri} has no champion yet. Promote a run with: {command_line('promote')}, or choose one with "
                f"--run ID; list them with: {command_line('runs')}"
            )
        model_id, words = champion.model_id, f"champion, {champion.name} version {champion.version}"
    if not model_id:
        raise RegistryError(f"The {words} has no logged model. Choose a run with --run ID, or train it again.")
    return ChosenModel(store, model_id, words)


def compute_with_one_thread() -> None:
    """Unless OMP_NUM_THREADS says otherwise: a second thread gains a short product nothing, and where the cores are
    busy each product waits for it, a hundred times as long as it takes. To be called before torch is imported."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
