"""Trials that one of Hydra's launchers trains: found by their overrides alone, each ended once."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, open_dict
from tests.tuning.conftest import runs

from recsweep import cli
from recsweep.tuning.storage import open_storage, storage_url
from recsweep.tuning.study import Study


class InTurn:
    """A launcher whose jobs run in turn, each from its overrides as on another machine.

    Attributes:
        lost: Which jobs of the next batch end without having begun.
        batches: Sizes of the batches so far.
    """

    def __init__(self) -> None:
        self.loader: Any = None
        self.master: DictConfig | None = None
        self.lost: set[int] = set()
        self.batches: list[int] = []

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> list[JobReturn]:
        self.batches.append(len(job_overrides))
        results = [self._run(place, list(lines)) for place, lines in enumerate(job_overrides)]
        self.lost.clear()
        return results

    def _run(self, place: int, overrides: list[str]) -> JobReturn:
        result = JobReturn(status=JobStatus.COMPLETED)
        if place not in self.lost:
            cfg = self.loader.load_sweep_config(self.master, overrides)
            with open_dict(cfg):
                del cfg["hydra"]
            result.return_value = cli.train(cfg)
        return result


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch) -> InTurn:
    launcher = InTurn()

    study = cli.study

    def with_launcher(settings, loader, master, arguments, _):
        launcher.loader, launcher.master = loader, master
        return study(settings, loader, master, arguments, launcher.launch)

    monkeypatch.setattr(cli, "study", with_launcher)
    return launcher


JOBS = ("hydra.sweeper.n_jobs=2", "hydra.sweeper.study_name='it\\'s \"one\"'")


def test_trains_in_batches(sweep: Callable, store, launcher: InTurn):
    record = sweep("model=popularity,knn,logistic", *JOBS)
    assert launcher.batches == [2, 1]
    assert [trial.state for trial in record.trials] == ["complete"] * 3
    found = runs(store)
    assert found["#1 knn user 50"][1]["mlflow.parentRunId"] == record.parent_run
    assert {status for status, _ in found.values()} == {"FINISHED"}


def test_what_fails_or_is_lost_is_that_trials_alone(unfinished: Callable, store, launcher: InTurn):
    launcher.lost = {1}
    record, _ = unfinished("optimizer=sgd", "optimizer.lr=1e9,0.02,0.01", *JOBS)
    assert [trial.state for trial in record.trials] == ["failed", "failed", "complete"]
    assert record.trials[0].reason.startswith("FitError: The training loss became")
    assert record.trials[1].reason.endswith("its job ended without a result")


def test_an_interrupt_gives_back_what_no_job_has_taken(
    sweep: Callable, store, launcher: InTurn, monkeypatch
):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(launcher, "launch", interrupted)
        with pytest.raises(SystemExit):
            sweep("model=popularity,knn", *JOBS)
    name = 'it\'s "one"'
    before = Study(open_storage(storage_url(None)), name).record()
    assert [trial.state for trial in before.trials] == ["interrupted"] * 2
    record = sweep("model=popularity,knn", *JOBS)
    assert [(trial.state, trial.attempt) for trial in record.trials[2:]] == [("complete", 0)] * 2
