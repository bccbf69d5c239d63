"""A study in which each option of a group has ranges, a budget and a search of its own."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from recsweep.config import conf_dir
from recsweep.errors import ConfigError
from recsweep.tuning.refit import RefitOptions, refit
from recsweep.tuning.space import Dimension, grid_points
from recsweep.tuning.storage import open_storage, storage_url
from recsweep.tuning.study import Study

RANGES = (
    "hydra.sweeper.each=model",
    "hydra.sweeper.params_of={knn: {model.num_neighbors: 'interval(5,40)', model.shrink: '0,5'},"
    " ease: {model.l2: 'tag(log, interval(50, 3000))'}, logistic: {model.max_iter: 20}}",
)


def _by_model(record) -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = {}
    for trial in record.trials:
        found.setdefault(trial.params["model"], []).append(dict(trial.params))
    return found


class TestASearchOfEach:
    def test_gives_every_option_its_budget_and_its_ranges(
        self, sweep: Callable, store: Path
    ) -> None:
        record = sweep("model=popularity,knn,ease", *RANGES, "hydra.sweeper.n_trials=3")
        found = _by_model(record)
        assert {name: len(params) for name, params in found.items()} == {
            "popularity": 1,
            "knn": 3,
            "ease": 3,
        }
        assert found["popularity"] == [{"model": "popularity"}]
        assert {tuple(params) for params in found["knn"]} == {
            ("model", "model.num_neighbors", "model.shrink")
        }
        assert all(type(params["model.num_neighbors"]) is int for params in found["knn"])
        assert all(50 <= params["model.l2"] <= 3000 for params in found["ease"])
        assert len({str(sorted(params.items())) for params in found["knn"]}) == 3
        assert record.planned == 7
        assert [trial.params["model"] for trial in record.trials[:3]] == [
            "popularity",
            "knn",
            "ease",
        ]
        assert record.space["ease: model.l2"] == "log interval(50, 3000)"
        assert record.best_of_each("model")[0] == record.leaderboard[0]

    def test_goes_on_where_it_ended_and_with_a_greater_budget(
        self, sweep: Callable, store: Path
    ) -> None:
        command = ("model=popularity,ease", *RANGES, "hydra.sweeper.study_name=grows")
        first = sweep(*command, "hydra.sweeper.n_trials=1")
        assert sweep(*command, "hydra.sweeper.n_trials=1") == first
        record = sweep(*command, "hydra.sweeper.n_trials=2")
        assert Counter(trial.params["model"] for trial in record.trials) == {
            "popularity": 1,
            "ease": 2,
        }
        assert record.trials[:2] == first.trials

    def test_shows_its_sampler_and_its_pruner_no_other_option(
        self, sweep: Callable, store: Path
    ) -> None:
        record = sweep("model=knn,ease", *RANGES, "hydra.sweeper.n_trials=2")
        study = Study(open_storage(storage_url(None)), record.name)
        seen = study._view(study._trials, only=("model", "ease")).get_all_trials(study._id)
        assert [trial.params["model"] for trial in seen] == ["ease", "ease"]

    def test_is_another_study_than_one_without(self, sweep: Callable, store: Path) -> None:
        command = ("model=popularity,ease", "hydra.sweeper.n_trials=1")
        assert sweep(*command).name != sweep(*command, "hydra.sweeper.each=model").name


def test_a_grid_of_each_is_the_product_of_its_own_lists(sweep: Callable, store: Path) -> None:
    record = sweep(
        "model=popularity,knn,ease",
        "hydra.sweeper.each=model",
        "hydra.sweeper.params_of={knn: {model.num_neighbors: '5,10', model.shrink: '0,5'},"
        " ease: {model.l2: '50,100,200'}}",
    )
    assert Counter(trial.params["model"] for trial in record.trials) == {
        "popularity": 1,
        "knn": 4,
        "ease": 3,
    }
    assert record.sampler == "grid"


def test_a_range_of_its_own_stands_in_for_the_one_of_all() -> None:
    model = Dimension("model", ("knn", "ease"), ("knn", "ease"))
    shared = Dimension("seed", ("0", "1"), (0, 1))
    own = Dimension("seed", ("7",), (7,), of="model=ease")
    points = [
        tuple(dimension.override(value) for dimension, value in point)
        for point in grid_points([model, shared, own])
    ]
    assert points == [("model=knn", "seed=0"), ("model=knn", "seed=1"), ("model=ease", "seed=7")]


def test_the_command_line_goes_before_a_range_of_its_own(sweep: Callable, store: Path) -> None:
    record = sweep(
        "model=ease,popularity",
        "hydra.sweeper.each=model",
        "hydra.sweeper.params_of={ease: {seed: '1,2', model.l2: 50}}",
        "seed=3",
    )
    assert [trial.seed for trial in record.trials] == [3, 3]
    assert record.trials[0].params == {"model": "ease", "model.l2": 50}


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (
            ["model=knn,ease", "hydra.sweeper.params_of={ease: {model.l2: '1,2'}}"],
            "name it, as hydra.sweeper.each=model",
        ),
        (["model=knn,ease", "hydra.sweeper.each=loss"], "a config group that the study varies"),
        (["seed=1,2", "hydra.sweeper.each=seed"], "a config group that the study varies"),
        (
            [
                "model=knn,ease",
                "hydra.sweeper.each=model",
                "hydra.sweeper.params_of={eese: {model.l2: '1,2'}}",
            ],
            "params_of has eese, which is no option of model. Did you mean ease?",
        ),
        (
            [
                "model=knn,ease",
                "hydra.sweeper.each=model",
                "hydra.sweeper.params_of={ease: {model.dim: '1,2'}}",
            ],
            "model.dim is no setting of model=ease",
        ),
    ],
)
def test_what_is_impossible_is_said_before_any_is_trained(
    overrides: list[str], says: str, refused: Callable, store: Path
) -> None:
    assert says in refused(*overrides)


def test_its_page_draws_the_settings_of_each_by_themselves(sweep: Callable, store: Path) -> None:
    from mlflow import MlflowClient

    record = sweep("model=popularity,knn,ease", *RANGES, "hydra.sweeper.n_trials=3")
    client = MlflowClient(f"sqlite:///{store}/mlflow.db")
    plots = {Path(file.path).stem for file in client.list_artifacts(record.parent_run, "plots")}
    assert {"optimization_history", "slice_knn", "slice_ease", "parallel_coordinate_ease"} <= plots
    assert not {"slice", "parallel_coordinate", "slice_popularity"} & plots


def test_the_best_of_each_is_refitted_over_splits_once_where_no_seed_changes_it(
    sweep: Callable, store: Path
) -> None:
    record = sweep(
        "model=ease,recipe_net",
        "hydra.sweeper.each=model",
        "hydra.sweeper.params_of={ease: {model.l2: '50,100'}, recipe_net: {model.hidden_dim: 8}}",
    )
    outcomes = refit(
        RefitOptions(study=record.name, best_of="model", seeds=2, splits=2), conf_dir()
    )
    counted = Counter(outcome.name.split()[0] for outcome in outcomes)
    assert counted == {"ease": 2, "recipe_net": 4}


def test_splits_of_a_rule_that_draws_nothing_are_refused(sweep: Callable, store: Path) -> None:
    record = sweep("model=popularity", "hydra.sweeper.study_name=drawn", "split.seed=0,1")
    with pytest.raises(ConfigError, match="--splits 2: the rule of the split of trial 0 draws"):
        refit(
            RefitOptions(study=record.name, trial=0, splits=2, overrides=("split.seed=null",)),
            conf_dir(),
        )
