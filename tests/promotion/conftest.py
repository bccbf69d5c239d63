"""A store with baselines and two models, and a promotion in it."""

import shutil
from pathlib import Path

import pytest

from recsweep import pipeline
from recsweep.config import conf_dir
from recsweep.promotion import contest
from recsweep.promotion.audit import PROMOTION_TAG
from recsweep.promotion.decide import PromotionOptions, promote
from recsweep.promotion.registry import Registry
from recsweep.promotion.rule import Rule
from recsweep.run import plan as run_plan
from recsweep.tracking import RunRecord, TrackingOptions, finished_runs, tracker
from tests.conftest import copy_database

OPTIONS = TrackingOptions(uri=None, experiment="recsweep")
DATA = (
    "data.num_users=150",
    "data.num_items=100",
    "data.density=0.15",
    "data.activity_scale=1.5",
    "data.taste_scale=0",
    "data.factor_scale=0",
)
"""Nothing but activity and popularity: a logistic regression is the truth, and beats neighbours
beyond doubt."""

GOOD, WEAK = "logistic C=1", "knn user 1"

GRIDS = {"popularity": [{}], "knn": [{}], "item_knn": [{}], "logistic": [{}]}
"""In place of the real ones: a setting a family, so that nothing has to be trained beside what the
store has."""


@pytest.fixture(autouse=True)
def _small_grids():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contest, "GRIDS", GRIDS)
        yield


@pytest.fixture(scope="session")
def trained(compose_into, database, tmp_path_factory) -> Path:
    """A store with baselines that were evaluated on test, and two models that were not: a good and
    a weak one."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copy(database, folder / "mlflow.db")
    run_plan._prepared.clear()
    baselines = [
        compose_into(folder, *DATA, f"model={model}", "evaluation.test=true")
        for model in ("popularity", "knn", "item_knn")
    ]
    pipeline.run_many(baselines)
    pipeline.run_many(
        [
            compose_into(folder, *DATA, *model)
            for model in (["model=logistic"], ["model=knn", "model.num_neighbors=1"])
        ]
    )
    return folder


@pytest.fixture
def opened(trained, store):
    """A copy of that store; the artifacts of its runs stay where they are."""
    copy_database(trained / "mlflow.db", store / "mlflow.db")
    (store / "artifacts").symlink_to(trained / "artifacts")  # else it would count as moved
    return tracker(OPTIONS)


@pytest.fixture
def promoting(opened):
    """promoting(*runs, **options): what `recsweep promote` does, without the guard-rail of time, on
    one split."""

    def promoting(*runs: str, guards=None, **options):
        rule = Rule(
            measure=options.pop("measure", None),
            part=options.pop("part", "test"),
            guards={"latency": None, **(guards or {})},
        )
        options = {"seeds": 1, "splits": 1, **options}
        return promote(
            PromotionOptions(tracking=OPTIONS, runs=runs, rule=rule, **options), conf_dir()
        )

    return promoting


def champion_of(opened):
    return Registry(opened).champion()


def audits_of(opened) -> list[RunRecord]:
    """The latest first."""
    return opened.search(f"tags.{PROMOTION_TAG} LIKE '%'")


def outcomes_of(opened) -> list[str]:
    return [each.tags[PROMOTION_TAG] for each in audits_of(opened)][::-1]


def run_named(name: str) -> RunRecord:
    return finished_runs(OPTIONS, ids=[name])[0]


@pytest.fixture
def on_data(compose):
    """on_data(*overrides): a config on the module's data."""
    return lambda *overrides: compose(*DATA, *overrides)
