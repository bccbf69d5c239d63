"""Optuna Dashboard on the studies: what is stored for programs is shown as a person reads it, and
nothing can be changed.

    python -m recsweep.tuning.dashboard HOST PORT

shows the studies of $RECSWEEP_STUDIES, as `recsweep ui --optuna` does.
"""

import copy
import logging
import os
import sys
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna.storages import BaseStorage

from recsweep.errors import StudyError
from recsweep.tuning.records import TrialRecord
from recsweep.tuning.storage import open_storage, storage_url
from recsweep.tuning.study import trial_record

if TYPE_CHECKING:
    from optuna.study import StudyDirection
    from optuna.trial import FrozenTrial, TrialState

PAGES = "RECSWEEP_RUN_PAGES"
"""Environment variable with the beginning of the address of a run's page in MLflow."""

NAMES_OF_OBJECTIVES = "study:metric_names"
"""Attribute by which Optuna knows the names of a study's objectives (Study.set_metric_names)."""


class Shown(BaseStorage):
    """Optuna's storage, read alone, with attributes for a person.

    Of a study they say what is varied, on what, and who won; of a trial which model it is, its run
    and how it ended. What only programs ask for, as tokens, processes and digests, is left out; it
    stays stored. Studies that others have made are shown as they are.

    Args:
        storage: The storage.
        pages: Beginning of the address of a run's page, before its id; empty where there is none.
    """

    def __init__(self, storage: BaseStorage, pages: str = "") -> None:
        self._storage = storage
        self._pages = pages
        self._measured: dict[int, list[str]] = {}

    def _objectives(self, study_id: int, notes: Mapping[str, Any]) -> list[str]:
        """Names of a study's objectives, as its trials have logged them; empty where none has."""
        if study_id not in self._measured:
            for trial in self._storage.get_all_trials(study_id, deepcopy=False):
                if logged := trial.user_attrs.get("ended", {}).get("objectives"):
                    self._measured[study_id] = list(logged)
                    break
        return self._measured.get(study_id) or list(notes.get("objectives") or ())

    def get_all_studies(self) -> list[Any]:
        studies = {
            self.get_study_id_from_name(study.study_name): study
            for study in self._storage.get_all_studies()
        }
        return [self._shown_study(number, study) for number, study in sorted(studies.items())]

    def _shown_study(self, number: int, study: Any) -> Any:
        shown, objectives = copy.copy(study), self._objectives(number, study.user_attrs)
        shown.system_attrs = _with_names(study.system_attrs, objectives)
        shown.user_attrs = _of_study(study.user_attrs, objectives)
        return shown

    def get_study_id_from_name(self, study_name: str) -> int:
        return self._storage.get_study_id_from_name(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        return self._storage.get_study_name_from_id(study_id)

    def get_study_directions(self, study_id: int) -> "list[StudyDirection]":
        return self._storage.get_study_directions(study_id)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        notes = self._storage.get_study_user_attrs(study_id)
        return _of_study(notes, self._objectives(study_id, notes))

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        notes = self._storage.get_study_user_attrs(study_id)
        attributes = self._storage.get_study_system_attrs(study_id)
        return _with_names(attributes, self._objectives(study_id, notes))

    def get_trial(self, trial_id: int) -> "FrozenTrial":
        return self._shown_trial(self._storage.get_trial(trial_id))

    def _shown_trial(self, trial: "FrozenTrial") -> "FrozenTrial":
        if "slot" not in trial.user_attrs:
            return trial
        shown, record = copy.copy(trial), trial_record(trial)
        shown.user_attrs = _of_trial(record, trial.params)
        if self._pages and record.run_id:
            shown.user_attrs["page"] = self._pages + record.run_id
        return shown

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: "Container[TrialState] | None" = None
    ) -> "list[FrozenTrial]":
        trials = self._storage.get_all_trials(study_id, deepcopy=False, states=states)
        return [self._shown_trial(trial) for trial in trials]

    def create_new_study(
        self, directions: "Sequence[StudyDirection]", study_name: str | None = None
    ) -> int:
        raise _refusal()

    def delete_study(self, study_id: int) -> None:
        raise _refusal()

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        raise _refusal()

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        raise _refusal()

    def create_new_trial(self, study_id: int, template_trial: "FrozenTrial | None" = None) -> int:
        raise _refusal()

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: Any
    ) -> None:
        raise _refusal()

    def set_trial_state_values(
        self, trial_id: int, state: "TrialState", values: Sequence[float] | None = None
    ) -> bool:
        raise _refusal()

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        raise _refusal()

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        raise _refusal()

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        raise _refusal()


def _refusal() -> StudyError:
    return StudyError("Optuna Dashboard shows the studies here, and can't change them.")


def _with_names(attributes: Mapping[str, Any], objectives: Sequence[str]) -> dict[str, Any]:
    """Optuna's own attributes of a study, with the names of its objectives."""
    names = {NAMES_OF_OBJECTIVES: list(objectives)} if objectives else {}
    return {**names, **attributes}


def _of_study(notes: Mapping[str, Any], objectives: Sequence[str]) -> dict[str, Any]:
    """What a person reads of a study's notes."""
    if "fixed" not in notes:
        return dict(notes)
    fixed = notes["fixed"]
    said = {
        "winner": notes.get("verdict"),
        "objective": ", ".join(objectives),
        "varied": "; ".join(f"{name}: {words}" for name, words in notes["space"].items()),
        "data": fixed.get("data.name"),
        "split": fixed.get("split._target_", "").rpartition(".")[2],
        "sampler": notes["sampler"]["kind"],
        "pruner": notes["pruner"]["kind"],
        "planned trials": notes.get("planned"),
        "run in MLflow": notes.get("parent_run"),
    }
    return {name: value for name, value in said.items() if value not in (None, "")}


def _of_trial(trial: TrialRecord, params: Mapping[str, Any]) -> dict[str, Any]:
    """What a person reads of a trial beside its params and values."""
    said = {
        "model": trial.name,
        **{name: str(value) for name, value in trial.params.items() if name not in params},
        "ended": "" if trial.state in ("complete", "running") else trial.state,
        "reason": trial.reason,
        "seed": trial.seed,
        "epochs": trial.epochs or None,
        "best epoch": trial.best_epoch,
        "parameters": trial.num_parameters,
        "attempt": trial.attempt or None,
        "run in MLflow": trial.run_id,
    }
    return {name: value for name, value in said.items() if value not in (None, "")}


Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def application(storage: BaseStorage, pages: str = "") -> Application:
    """The dashboard as a WSGI application, which also answers under `/health` that it is up."""
    from optuna_dashboard import wsgi

    dashboard = wsgi(Shown(storage, pages))

    def answer(environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environment["PATH_INFO"] == "/health":
            start("200 OK", [("Content-Type", "text/plain")])
            return [b"OK"]
        return dashboard(environment, start)

    return answer


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


def serve(host: str, port: int) -> None:
    """Answer until the process is ended."""
    storage = open_storage(storage_url(None))
    shown = application(storage.optuna, os.environ.get(PAGES, ""))
    with make_server(host, port, shown, _Server, WSGIRequestHandler) as server:
        server.serve_forever()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    serve(sys.argv[1], int(sys.argv[2]))
