"""The model that answers: the champion, or that of a run."""

from dataclasses import dataclass

from recsweep.errors import RegistryError
from recsweep.promotion.registry import MODEL, Registry
from recsweep.rendering import command_line
from recsweep.tracking import Tracker, TrackingOptions, existing_store, finished_runs


@dataclass(frozen=True)
class ChosenModel:
    """MLflow's logged model, the open store that holds it, and what it is in words."""

    store: Tracker
    model_id: str
    words: str


def chosen_model(tracking: TrackingOptions, run_id: str | None = None, *, name: str = MODEL) -> ChosenModel:
    """Find a model that answers.

    Args:
        tracking: The store and the MLflow experiment.
        run_id: Id or name of a run; None takes the champion.
        name: Name of the registered model.

    Raises:
        RegistryError: There is no champion, or the run or the version has no model.
    """
    store = existing_store(tracking)
    if run_id is not None:
        record = finished_runs(tracking, ids=[run_id])[0]
        model_id, words = record.model_id, f"run {record.id} ({record.name})"
    else:
        champion = Registry(store, name).champion()
        if champion is None:
            raise RegistryError(
                f"{store.uri} has no champion yet. Promote a run with: {command_line('promote')}, or choose one with "
                f"--run ID; list them with: {command_line('runs')}"
            )
        model_id, words = champion.model_id, f"champion, {champion.name} version {champion.version}"
    if not model_id:
        raise RegistryError(f"The {words} has no logged model. Choose a run with --run ID, or train it again.")
    return ChosenModel(store, model_id, words)
