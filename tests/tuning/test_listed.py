"""`recsweep studies`: what lies in a database of studies."""

import json
import sys
from collections.abc import Callable

import pytest

from recsweep import cli


@pytest.fixture
def listed(
    store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> Callable[..., list[dict]]:
    """listed(): the rows of `recsweep studies`, for programs."""

    def listed() -> list[dict]:
        monkeypatch.setattr(sys, "argv", ["recsweep", "studies", "--format", "json"])
        capsys.readouterr()
        cli.main()
        return json.loads(capsys.readouterr().out)["rows"]

    return listed


def test_how_far_each_is_and_its_best(sweep, listed):
    first = sweep("model=popularity,knn", "hydra.sweeper.study_name=b")
    search = ("model.num_neighbors=interval(1,9)", "hydra.sweeper.max_epochs=1")
    sweep("model=knn", *search, "hydra.sweeper.study_name=a")
    one, two = listed()
    assert (one["study"], one["state"], one["done"], one["planned"]) == ("b", "2 finished", 2, 2)
    assert one["value"] == first.best.values[0]
    assert (one["model"], one["measure"]) == (first.best.name, "average_precision")
    assert (two["study"], two["state"], two["sampler"]) == ("a", "1 of 9 finished", "tpe")


def test_none_are_said(store, listed, capsys):
    with pytest.raises(SystemExit):
        listed()
    assert "error: There are no studies in sqlite:///" in capsys.readouterr().err


def test_a_name_that_is_mistyped(sweep, monkeypatch, capsys):
    sweep("model=popularity,knn", "hydra.sweeper.study_name=simple")
    monkeypatch.setattr(sys, "argv", ["recsweep", "refit", "simpel"])
    with pytest.raises(SystemExit):
        cli.main()
    assert "Did you mean 'simple'?" in capsys.readouterr().err
