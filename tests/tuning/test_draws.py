"""A search trains each setting of its space once, and ends where there are no more."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from recsweep.config import multirun
from recsweep.tuning.compose import Composer
from recsweep.tuning.draws import Draws
from recsweep.tuning.opening import open_study
from recsweep.tuning.space import parse_space
from recsweep.tuning.storage import Storage, open_storage, storage_url
from recsweep.tuning.study import Definition, Study


def draws(*arguments: str, study: Study | None = None, definition: Definition | None = None):
    loader, master = multirun(arguments)
    fixed, dimensions = parse_space({}, arguments, config_loader=loader, current=master, seed=0)
    return Draws(study, Composer(loader, master, fixed, dimensions), dimensions, definition)


@pytest.mark.parametrize(
    ("space", "size"),
    [
        (("model=knn", "model.num_neighbors=5,10"), 2),
        (("model=knn", "model.num_neighbors=interval(5,8)"), 4),
        (("model=knn", "model.num_neighbors=range(5,15,5)", "model.weighting=none,tfidf"), 6),
        (("model=logistic", "model.C=interval(0.1,1)"), None),
        (("model=popularity,logistic", "model.C=interval(0.1,1)"), None),
        (("model=popularity,knn", "model.num_neighbors=5,10"), 3),
        # what means nothing to a model makes no other of it
        (("model=popularity", "loss=mse,bce", "optimizer.lr=interval(0.1,0.2)"), 1),
        (("model=recipe_net,knn", "loss=mse,bce"), 3),
        (("model=knn", "model.num_neighbors=interval(1,1000)"), None),
    ],
)
def test_the_size_of_a_space(space: tuple[str, ...], size: int | None) -> None:
    assert draws(*space).size_within(100) == size


def _params(record) -> list[tuple]:
    return sorted(tuple(trial.params.values()) for trial in record.trials)


class TestASearch:
    @pytest.mark.parametrize("sampler", ["tpe", "random"])
    def test_ends_when_its_space_is_used_up_and_says_so(
        self, sampler: str, sweep: Callable, store: Path, capsys: pytest.CaptureFixture
    ) -> None:
        command = (
            "model=popularity,knn",
            "model.num_neighbors=5,10",
            "hydra.sweeper.n_trials=6",
            f"hydra/sweeper/sampler={sampler}",
        )
        record = sweep(*command)
        assert _params(record) == [("knn", 5), ("knn", 10), ("popularity",)]
        assert record.planned == 3
        assert "All 3 settings of the space are tried: the search ends." in capsys.readouterr().out
        assert sweep(*command) == record
        assert "All 3 settings of the space are tried" in capsys.readouterr().out

    def test_that_grows_goes_on_with_what_is_new(self, sweep: Callable, store: Path) -> None:
        named = ("model=knn", "hydra.sweeper.study_name=grows", "hydra.sweeper.n_trials=6")
        sweep(*named, "model.num_neighbors=range(5,6)")
        record = sweep(*named, "model.num_neighbors=range(5,8)", "hydra.sweeper.allow_changes=true")
        assert _params(record) == [(5,), (6,), (7,), (8,)]

    def test_of_an_earlier_version_does_not_repeat_what_that_has_trained(
        self, sweep: Callable, store: Path
    ) -> None:
        command = ("model=knn", "model.num_neighbors=5,10,15", "hydra.sweeper.n_trials=2")
        first = sweep(*command)
        study = Study(open_storage(storage_url(None)), first.name)
        with study.storage.claims.exclusive(study._key) as connection:  # it kept no draws
            connection.exec_driver_sql("delete from recsweep_notes where name like 'draw %'")
        record = sweep(*command[:2], "hydra.sweeper.n_trials=9")
        assert _params(record) == [(5,), (10,), (15,)]


KINDS = {"kind": "random", "_target_": "optuna.samplers.RandomSampler"}, {"kind": "none"}


def test_processes_at_once_draw_nothing_twice(url: str) -> None:
    definition = Definition("a", ("mse",), ("minimize",), {}, {}, *KINDS)
    space = ("model=knn", "model.num_neighbors=range(1,12)")
    names = [str(number) for number in range(12)]
    drawn: list[str] = []

    def worker() -> Callable:
        study = open_study(Storage(url), definition, lambda: None, allow_changes=False)
        own = draws(*space, study=study, definition=definition)

        def work() -> None:
            while claim := study.claim(names):
                drawn.extend(own.draw(claim))
                study.end(claim.number, claim.trial_id, [0.5], kind="complete", objectives=["m"])

        return work

    threads = [threading.Thread(target=worker()) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(drawn) == sorted(f"model.num_neighbors={number}" for number in range(1, 13))


def test_a_point_keeps_what_it_drew_first(url: str) -> None:
    definition = Definition("a", ("mse",), ("minimize",), {}, {}, *KINDS)
    study = open_study(Storage(url), definition, lambda: None, allow_changes=False)
    assert study.keep_draw("0", {"a": 1}, "x")["params"] == {"a": 1}
    assert study.keep_draw("0", {"a": 2}, "y")["params"] == {"a": 1}
    assert study.keep_draw("1", {"a": 1}, "x") is None
    assert study.keep_draw("1", {"a": 2}, "y")["params"] == {"a": 2}
    assert study.draws("1") == {"1": {"params": {"a": 2}, "settings": "y"}}
