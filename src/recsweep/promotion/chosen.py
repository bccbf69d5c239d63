"""The model that answers: the champion, or that of a run."""

from dataclasses import dataclass

from recsweep.errors import RegistryError
from recsweep.promotion.audit import lost_champion
from recsweep.promotion.registry import MODEL, Registry
from recsweep.rendering import command_line
from recsweep.serving.service import RecommenderService
from recsweep.tracking import Tracker, TrackingOptions, existing_store, finished_runs


@dataclass(frozen=True)
class ChosenModel:
    """A logged model to answer with.

    Attributes:
        store: The open store that holds it.
        model_id: Id of MLflow's logged model.
        words: What the model is, in words.
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

    def service(self) -> RecommenderService:
        """The service that answers with the model."""
        with self.store.saved_model(self.model_id) as folder:
            return RecommenderService.load(folder)


def chosen_model(
    tracking: TrackingOptions, run_id: str | None = None, *, name: str = MODEL
) -> ChosenModel:
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
        words = f"run {record.id} ({record.name})"
        chosen = ChosenModel(store, record.model_id or "", words, record.id)
    else:
        version = Registry(store, name).champion()
        if version is None and (lost := lost_champion(store, name)):
            raise RegistryError(lost)
        if version is None:
            raise RegistryError(
                f"{store.uri} has no champion yet. Promote a run with: {command_line('promote')}, "
                f"or choose one with --run ID; list them with: {command_line('runs')}"
            )
        words = f"champion, {version.name} version {version.version}"
        chosen = ChosenModel(
            store, version.model_id, words, version.run_id, version.name, version.version
        )
    if not chosen.model_id:
        raise RegistryError(
            f"The {chosen.words} has no logged model. Choose a run with --run ID, or train it "
            "again."
        )
    return chosen
