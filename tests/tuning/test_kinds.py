"""Models that nobody foresaw: a kind with a blank and a number, a net without a loss, a net that is
only drawn."""

import importlib.util
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from recsweep import cli
from recsweep.models.base import Folds, FoldsItems
from recsweep.promotion import contest
from recsweep.promotion.registry import Registry
from recsweep.serving.service import Query, RecommenderService
from recsweep.tracking import TrackingOptions, finished_runs, tracker

from .conftest import runs

OPTIONS = TrackingOptions(uri=None, experiment="recsweep")
YAMLS = {
    "walks": "_target_: recsweep.models.toy.P3Alpha\nalpha: 1.0\n",
    "factors": "_target_: recsweep.models.toy.Factors\nl2: 0.5\n",
    "product": "_target_: recsweep.models.neural.NeuralModel\n"
    "kind: product\n"
    "net: recsweep.models.toy.Product\n"
    "net_settings: {dim: 3}\n"
    + "".join(
        f"{name}: ${{{name}}}\n" for name in ("loss", "optimizer", "trainer", "examples", "fold_in")
    ),
}
WALK, FACTORS = "p3alpha 0.5, alpha 1", "factors 2 l2 0.5"


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The override that puts the YAMLs of `tests.toy_models` beside those of conf/model."""
    spec = importlib.util.spec_from_file_location(
        "recsweep.models.toy", Path(__file__).parents[1] / "toy_models.py"
    )
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    folder = tmp_path / "conf" / "model"
    folder.mkdir(parents=True)
    for name, text in YAMLS.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return f"hydra.searchpath=[file://{folder.parent}]"


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable:
    """said(*arguments): what `recsweep` prints."""
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # the commands set it

    def said(*arguments: str) -> str:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["recsweep", *arguments])
        cli.main()
        return capsys.readouterr().out

    return said


def test_are_what_they_say_in_every_command(
    sweep: Callable, added: str, store: Path, said: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep(added, "model=walks,popularity", "hydra.sweeper.study_name=base")
    record = sweep(added, "model=factors,walks", "model.l2=0.5,1", "hydra.sweeper.study_name=mine")
    assert {trial.name for trial in record.trials} == {FACTORS, "factors 2 l2 1", WALK}

    # the tags of their runs
    opened = tracker(OPTIONS)
    by_label = {run.label: run for run in finished_runs(OPTIONS)}
    assert (by_label[WALK].kind, by_label[WALK].role) == ("p3alpha 0.5", "baseline")
    assert (by_label[FACTORS].kind, by_label[FACTORS].role) == ("factors 2", "net")
    assert by_label[FACTORS].loss is None
    assert by_label[FACTORS].tags["trial_number"] in by_label[FACTORS].name

    # the study has the other study's baselines as lines to beat
    page = opened.client.download_artifacts(record.parent_run, "plots/study.html")
    history = Path(page).read_text(encoding="utf-8")
    assert WALK in history
    assert "popularity" in history

    # tables
    assert WALK in said("runs")
    compared = said("compare", "--study", "mine", "--no-log")
    assert "popularity" in compared
    assert FACTORS in compared
    assert "the best baseline" in compared
    assert "of factors 2 l2" in compared  # no loss whose runs collapse or don't: the net's own
    assert "None" not in compared

    # promotion: the net against the best baseline of each kind
    monkeypatch.setattr(contest, "GRIDS", {"popularity": [{}]})
    winner = by_label[FACTORS].id
    rule = ("--seeds", "1", "--splits", "1", "--guard", "latency=none")
    with pytest.raises(SystemExit):
        said("promote", winner, *rule)
    assert opened.search("tags.promotion LIKE '%'") == [], "a store may not name them by itself"
    monkeypatch.setenv(
        "RECSWEEP_ALLOW_TARGETS", "recsweep.models.toy.P3Alpha, recsweep.models.toy.Factors"
    )
    with pytest.raises(SystemExit):
        said("promote", winner, *rule)
    (decision,) = opened.search("tags.promotion LIKE '%'")
    assert {
        name.partition("/")[0] for name in decision.metrics if name.endswith("/difference")
    } == {WALK.replace(",", " "), "popularity"}  # no name of a metric has a comma
    said("promote", winner, "--seeds", "1", "--splits", "1", "--force", "--reason", "to serve it")
    assert FACTORS in said("champion")

    # serving: the net answers for somebody new, the baseline does not and says so by its label
    assert "popular" not in said("recommend", "--history", "1,2", "-k", "3").lower()
    with opened.saved_model(Registry(opened).champion().model_id) as folder:
        assert (
            RecommenderService.load(folder).recommend([Query(history=[1, 2], k=3)])[0].fallback
            is None
        )
    with opened.saved_model(by_label[WALK].model_id) as folder:
        service = RecommenderService.load(folder)
    (answer,) = service.recommend([Query(history=[1, 2], k=3)])
    assert answer.fallback == f"popularity: {WALK} can't rank by a history"
    assert isinstance(service.model, Folds) is isinstance(service.model, FoldsItems) is False


def test_a_net_is_its_drawing_and_a_yaml(sweep: Callable, added: str, store: Path) -> None:
    sweep(
        added,
        "model=product",
        "model.net_settings.dim=3,5",
        "split=new_users",
        "hydra.sweeper.study_name=drawn",
    )
    found = runs(store)
    assert {name for name in found if name.startswith("#")} == {
        "#0 product 3 mse adam",
        "#1 product 5 mse adam",
    }
    (run, *_) = finished_runs(OPTIONS, study="drawn")
    assert (run.kind, run.role, run.loss) == ("product", "net", "mse")
    with tracker(OPTIONS).saved_model(run.model_id) as folder:
        model = RecommenderService.load(folder).model
    assert model.label == "product 3 mse"
    assert np.isfinite(model.score(np.arange(5))).all()
