"""The runs that want to become champion: those that were named, or of the winner of a study."""

from collections.abc import Sequence
from statistics import fmean

from recsweep.comparison.models import Model, objective_of_run, standings, worth_of_run
from recsweep.errors import ConfigError, RegistryError
from recsweep.tracking import TRIAL_TAG, RunRecord, Tracker, TrackingOptions, finished_runs


def choose(
    store: Tracker, options: TrackingOptions, *, runs: Sequence[str] = (), study: str | None = None
) -> list[RunRecord]:
    """The runs of one candidate, the best on validation first.

    Args:
        store: The open store.
        options: The MLflow experiment that the runs are in.
        runs: Ids or names of runs that differ in their seed alone.
        study: Name of a study, in place of runs: its winner, as it was refitted where it was.

    Raises:
        ConfigError: The runs are of several models, or neither or both of the two were given.
        RegistryError: The study has no winner, or a run has no validation part.
        TrackingError: There is no such run or study.
    """
    if bool(runs) == (study is not None):
        raise ConfigError(
            "Say what to promote: runs by their ids, or the best of a study by --study NAME."
        )
    records = finished_runs(options, ids=runs) if study is None else _winners(store, options, study)
    for record in records:
        if record.has_no_validation:
            raise RegistryError(
                f"The run {record.id} ({record.name}) has no validation part, as of "
                "split.validation=0: nothing was chosen on one, and what is promoted is chosen "
                "there. Train it with a part, as split.validation=0.1."
            )
    models = [
        model for standing in standings(records, store, "validation") for model in standing.models
    ]
    if study is None and len(models) > 1:
        names = ", ".join(f"{record.id[:8]} ({record.name})" for record in records)
        raise ConfigError(
            f"Runs that are promoted together must differ in their seed alone, not "
            f"{names}. Promote one model at a time."
        )
    objective = objective_of_run(records[0])

    def mean_worth(model: Model) -> float:
        return fmean(worth_of_run(record, objective) for record in model.records.values())

    best = max(models, key=mean_worth)
    return sorted(best.records.values(), key=lambda record: -worth_of_run(record, objective))


def _winners(store: Tracker, options: TrackingOptions, study: str) -> list[RunRecord]:
    """Runs of a study's winner: refits of it, else its runs of the second look, else its trial."""
    records = finished_runs(options, study=study)
    own = store.study(study)
    tags = {} if own is None else own.tags
    number = tags.get("winner_trial", tags.get("best_trial"))
    if number is None:
        raise RegistryError(
            f"The study {study!r} has no winner yet. Finish it, or promote one of "
            "its runs by its id."
        )
    refitted = [record for record in records if record.tags.get("refit_of") == number]
    looked_at = [store.record(run) for run in tags.get("winner_runs", "").split(",") if run]
    trained = [record for record in records if record.tags.get(TRIAL_TAG) == number]
    winners = refitted or looked_at or trained
    if not winners:
        raise RegistryError(
            f"The run of the winner of the study {study!r}, trial {number}, is not "
            f"in {store.uri}. Train it again with: recsweep refit {study}"
        )
    return winners
