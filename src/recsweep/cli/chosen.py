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
    """A logged model to answer with.

    Attributes:
        store: The open store that holds it.
        model_id: Id of MLflow's logged model.
        words: What it is, in words.
        run_id: Id of the run that trained it.
        name: Name of the registered model; None where a run was chosen.
        version: Number of the registered version, as text; None where a run was chosen.
    """

    store: Tracker
    model_id: str
    words: str
    run_id: str
    name: str | None = None
    version: str | None = None


def chosen_model(arguments: argparse.Namespace) -> ChosenModel:
    """Raises RegistryError where there is no champion, or the run or the version has no model."""
    from recsweep.promotion.registry import Registry
    from recsweep.tracking import existing_store, finished_runs

    options = store_options(arguments)
    store = existing_store(options)
    if arguments.run_id is not None:
        record = finished_runs(options, ids=[arguments.run_id])[0]
        chosen = ChosenModel(store, record.model_id or "",
                             f"run {record.id} ({record.name})", record.id)
    else:
        registry = Registry(store)
        champion = registry.champion()
        if champion is None:
            raise RegistryError(
                f"{store.uri} has no champion yet. Promote a run with: {command_line('promote')}, or choose one with "
                f"--run ID; list them with: {command_line('runs')}"
            )
        chosen = ChosenModel(
            store, champion.model_id, f"champion, {champion.name} version {champion.version}",
            champion.run_id, champion.name, champion.version,
        )
    if not chosen.model_id:
        raise RegistryError(f"The {chosen.words} has no logged model. Choose a run with --run ID, "
                            "or train it again.")
    return chosen


def compute_with_one_thread() -> None:
    """Unless OMP_NUM_THREADS says otherwise: a second thread gains a short product nothing, and where the cores are
    busy each product waits for it, a hundred times as long as it takes. To be called before torch is imported."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
