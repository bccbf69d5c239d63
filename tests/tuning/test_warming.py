"""The server of workers, begun before a study is open, with what its trials need."""

import subprocess
import sys
from collections.abc import Sequence

import pytest

from recsweep.config import conf_dir, multirun, option
from recsweep.tuning import warming
from recsweep.tuning.options import StudyOptions
from recsweep.tuning.warming import WITHOUT_TORCH, begin_workers

FIT_ALL = """
import json, sys
from recsweep.config import composed
from recsweep.run import plan as run_plan
from recsweep.run.plan import plan_data, prepare
from recsweep.models.base import FitOptions
for name in sys.argv[1:]:
    cfg = composed([f"model={name}", "data.num_users=40", "data.num_items=30"])
    plan, data = run_plan.plan(cfg), prepare(plan_data(cfg))
    plan.model.fit(data.split.train, FitOptions())
    print(name, "torch" in sys.modules)
"""


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether nets are to be trained, of each server that is begun."""
    begun: list[bool] = []
    monkeypatch.setattr(warming, "warm_up", lambda *, nets: begun.append(nets))
    monkeypatch.setattr(warming, "num_workers", lambda tasks: min(tasks, 2))
    return begun


def _begin(arguments: Sequence[str], **settings: object) -> None:
    _, master = multirun([line for line in arguments if line.startswith("hydra")])
    given = {"sampler": {"kind": "tpe"}, "pruner": {"kind": "auto"}, **settings}
    begin_workers(StudyOptions.of(given), master, arguments)


@pytest.mark.parametrize(
    ("arguments", "nets"),
    [
        (["model.user_dim=4,8"], [True]),  # of the default model
        (["model=popularity,knn"], [False]),
        (["model=knn", "model.num_neighbors=range(5,20)"], [False]),
        (["model=knn,neumf"], [True]),
        (["model=choice(knn,ease)"], [True]),  # which is not read here
        (["model=theirs,knn"], [True]),
        (["model=knn", "model._target_=theirs.Net", "seed=1,2"], [True]),
        (["model=knn"], []),  # one trial
        (["optimizer.lr=interval(0.1,0.2)"], []),  # a search goes one after the other
    ],
)
def test_of_a_grid_it_begins_with_what_the_models_need(
    arguments: list[str], nets: list[bool], begun: list[bool]
) -> None:
    _begin(arguments)
    assert begun == nets


@pytest.mark.parametrize(
    ("settings", "nets"),
    [
        ({"n_jobs": 1}, []),
        ({"n_jobs": 3, "n_trials": 7}, [True]),
        ({"n_trials": 7}, []),
        ({"max_epochs": 7}, []),
        ({"pruner": {"kind": "median"}}, []),
        ({"params": {"model": "knn,ease"}}, [False]),
    ],
)
def test_as_the_options_say(settings: dict, nets: list[bool], begun: list[bool]) -> None:
    _begin(["seed=1,2"], **settings)
    assert begun == nets


def test_models_that_are_said_to_need_no_torch_are_fitted_without_it() -> None:
    names = [
        path.stem
        for path in sorted((conf_dir() / "model").glob("*.yaml"))
        if option("model", path.stem)._target_.startswith(WITHOUT_TORCH)
    ]
    done = subprocess.run(
        [sys.executable, "-c", FIT_ALL, *names], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.splitlines() == [f"{name} False" for name in names], done.stderr
    assert {"popularity", "knn", "ease", "ials"} <= set(names)
