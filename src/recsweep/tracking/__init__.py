"""Runs and how they are stored: the only door to MLflow's tracking and its registered models."""

from recsweep.tracking.environment import environment, peak_memory_mb, person
from recsweep.tracking.mlflow_store import Tracker
from recsweep.tracking.options import EXPERIMENT, UI_HOST, UI_PORT, TrackingOptions, tracking_uri
from recsweep.tracking.protocols import DatasetNote, Run, Store
from recsweep.tracking.records import (
    CHOICES,
    ENVIRONMENT_FILE,
    OBJECTIVE_TAG,
    REFIT_TAG,
    SAMPLE_TAG,
    STUDY_TAG,
    TRIAL_TAG,
    VERSION_TAG,
    RunRecord,
    grouped,
    identity,
    with_epochs,
)
from recsweep.tracking.registered import PREVIOUS_TAG, SINCE_TAG, RegisteredModel, RegisteredVersion
from recsweep.tracking.runs import existing_store, finished_runs, open_runs, tracker
from recsweep.tracking.spool import Synced, send_rest, stop_waiting, sync
from recsweep.tracking.users import is_up, remove_user, set_user

__all__ = [
    "CHOICES",
    "ENVIRONMENT_FILE",
    "EXPERIMENT",
    "OBJECTIVE_TAG",
    "PREVIOUS_TAG",
    "REFIT_TAG",
    "SAMPLE_TAG",
    "SINCE_TAG",
    "STUDY_TAG",
    "TRIAL_TAG",
    "UI_HOST",
    "UI_PORT",
    "VERSION_TAG",
    "DatasetNote",
    "RegisteredModel",
    "RegisteredVersion",
    "Run",
    "RunRecord",
    "Store",
    "Synced",
    "Tracker",
    "TrackingOptions",
    "environment",
    "existing_store",
    "finished_runs",
    "grouped",
    "identity",
    "is_up",
    "open_runs",
    "peak_memory_mb",
    "person",
    "remove_user",
    "send_rest",
    "set_user",
    "stop_waiting",
    "sync",
    "tracker",
    "tracking_uri",
    "with_epochs",
]
