"""Whoever can write a store can't run anything through recsweep: poison is put into a store, every
command that reads it is run, and what the poison would leave behind is looked for.

The poison is a module `evil` on sys.path that leaves a file when it is imported or called, so that
it would work wherever something is imported, called or unpickled by its name.
"""

import json
import logging
import os
import pickle
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from recsweep import cli, pipeline, tracking
from recsweep.config import build, conf_dir
from recsweep.errors import ConfigError
from recsweep.promotion import contest
from recsweep.promotion.registry import Registry
from recsweep.run import plan as run_plan
from recsweep.tracking import TrackingOptions, finished_runs, tracker
from recsweep.tuning.storage import open_storage, storage_url
from recsweep.tuning.study import Study
from recsweep.tuning.trial import build_sampler

OPTIONS = TrackingOptions(uri=None, experiment="recsweep")
TINY = ("data.num_users=60", "data.num_items=50", "data.density=0.15", "trainer.max_epochs=1")
STUDY = (*TINY, "model=popularity,knn", "hydra.sweeper.study_name=grid")
CHAMPION, OTHER = "#0 popularity", "#1 knn user 50"
SECRET = "a-secret-of-the-environment"

EVIL = """
from pathlib import Path
RAN = Path({ran!r})
RAN.write_text("imported")

def touch(*args, **kwargs):
    RAN.write_text("called")
    return 0

class Thing:
    __init__ = touch
    restore = classmethod(touch)
"""


@pytest.fixture(scope="module")
def made(database: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a study, two logged models and a champion."""
    folder = tmp_path_factory.mktemp("poisoned")
    shutil.copy(database, folder / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        _use(patch, folder)
        tracking.tracker.cache_clear()
        run_plan._prepared.clear()
        _sweep(*STUDY)
        _run("promote", CHAMPION, *_BRIEF, "--force", "--reason", "to begin with")
    return folder


@pytest.fixture
def home(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That store, in force by RECSWEEP_HOME."""
    _use(monkeypatch, made)
    return made


def _use(patch: pytest.MonkeyPatch, folder: Path) -> None:
    patch.setenv("RECSWEEP_HOME", str(folder))
    patch.setenv("SECRET_OF_MINE", SECRET)
    patch.setenv("OMP_NUM_THREADS", "1")  # the commands set it
    patch.delenv("RECSWEEP_ALLOW_TARGETS", raising=False)
    patch.setattr(contest, "GRIDS", {"popularity": [{}]})
    patch.setattr(logging.root, "handlers", [])


_BRIEF = ("--seeds", "1", "--splits", "1")


def _sweep(*overrides: str) -> None:
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        hydra.multirun("config", cli.train, list(overrides), with_log_configuration=False)


def _run(*arguments: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["recsweep", *arguments])
        cli.main()


@pytest.fixture
def said(home: Path, capsys: pytest.CaptureFixture) -> Callable[..., str]:
    """said(*arguments): what a command prints."""

    def said(*arguments: str) -> str:
        capsys.readouterr()
        _run(*arguments)
        return capsys.readouterr().out

    return said


@pytest.fixture
def refused(home: Path, capsys: pytest.CaptureFixture) -> Callable[..., str]:
    """refused(action, *arguments): the one line of an error with which a command ends."""

    def refused(*arguments: str, action: Callable[..., None] = _run) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            action(*arguments)
        assert stopped.value.code == 1
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        assert SECRET not in printed.out + printed.err
        (error,) = [line for line in printed.err.splitlines() if line.startswith("error: ")]
        assert "\n".join(printed.err.splitlines()).endswith(error), "one line, the last one"
        return error

    return refused


@pytest.fixture(scope="module", autouse=True)
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The file that the poison leaves behind; `evil` can be imported."""
    folder = tmp_path_factory.mktemp("evil")
    (folder / "evil.py").write_text(EVIL.format(ran=str(folder / "ran")), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield folder / "ran"
    sys.modules.pop("evil", None)


@pytest.fixture(autouse=True)
def _nothing_ran(ran: Path) -> Iterator[None]:
    yield
    has_run = ran.exists()
    ran.unlink(missing_ok=True)
    assert not has_run, "what the store holds was run"


@contextmanager
def restored(folder: Path) -> Iterator[None]:
    """Put a folder back as it was afterwards."""
    kept = folder.with_name(folder.name + ".kept")
    shutil.copytree(folder, kept)
    try:
        yield
    finally:
        shutil.rmtree(folder)
        kept.rename(folder)


@pytest.fixture
def model(home: Path) -> Iterator[Path]:
    """The folder of the champion's logged model, put back afterwards."""
    store = tracker(OPTIONS)
    location, _ = store.servable(Registry(store).champion().model_id)
    folder = Path(location.removeprefix("file://"))
    with restored(folder):
        yield folder


@pytest.fixture(scope="module")
def pickled(ran: Path) -> bytes:
    """A pickle that calls the poison."""
    poison = b"cevil\ntouch\n(tR."
    pickle.loads(poison)
    assert ran.read_text() == "called", "the check would see it"
    ran.unlink()
    del sys.modules["evil"]
    return poison


def test_the_check_would_see_what_runs(ran: Path) -> None:
    """A command's own settings may name anything: they are the user's."""
    build(OmegaConf.create({"data": {"_target_": "evil.touch"}}), "data")
    assert ran.read_text() == "called"
    ran.unlink()
    del sys.modules["evil"]


# --- logged models as MLflow would load them ---


def _flavor(**changes: object) -> Callable[[Path, bytes], None]:
    def poison(model: Path, pickled: bytes) -> None:
        described = yaml.safe_load((model / "MLmodel").read_text())
        described["flavors"]["python_function"].update(changes)
        (model / "MLmodel").write_text(yaml.safe_dump(described))
        for name in ("model.pkl", "python_model.pkl"):
            (model / name).write_bytes(pickled)

    return poison


def _code(model: Path, pickled: bytes) -> None:
    (model / "code").mkdir()
    for place in (model, model / "code", model / "artifacts", model / "artifacts" / "model"):
        for name in ("sitecustomize.py", "recsweep.py", "numpy.py", "__init__.py", "conftest.py"):
            (place / name).write_text("import evil\n")
    _flavor(code="code")(model, pickled)


def _yaml_tag(model: Path, pickled: bytes) -> None:
    (model / "MLmodel").write_text("x: !!python/object/apply:evil.touch []\n")


def _edited(model: Path, pickled: bytes) -> None:
    (model / "served_model.py").write_text("import evil\n")


def _pickles(model: Path, pickled: bytes) -> None:
    for name in ("model.pkl", "catalogue.pkl", "model.pt", "arrays.npz", "data.pickle"):
        (model / "artifacts" / "model" / name).write_bytes(pickled)


MLFLOWS = {
    "sklearn": _flavor(loader_module="mlflow.sklearn", model_path="model.pkl"),
    "a loader of its own": _flavor(loader_module="evil"),
    "a pickled model": _flavor(loader_module="mlflow.pyfunc.model", python_model="model.pkl"),
    "other code": _flavor(model_code_path="../../evil.py"),
    "artifacts elsewhere": _flavor(artifacts={"model": {"path": "../../../..", "uri": "/"}}),
    "a config": _flavor(config={"_target_": "evil.touch"}),
    "code beside it": _code,
    "edited code": _edited,
    "a tag of YAML": _yaml_tag,
    "pickles beside it": _pickles,
}


@pytest.mark.parametrize("poison", MLFLOWS.values(), ids=MLFLOWS)
def test_what_mlflow_would_run_is_not_even_read(
    poison: Callable, model: Path, pickled: bytes, said: Callable
) -> None:
    before = said("recommend", "--user", "1", "-k", "3")
    poison(model, pickled)
    assert said("recommend", "--user", "1", "-k", "3") == before
    assert "popularity" in said("champion")


def test_the_other_commands_and_a_notebook_do_not_read_it_either(
    model: Path, pickled: bytes, said: Callable
) -> None:
    import recsweep as rs

    for poison in MLFLOWS.values():
        if poison is not _yaml_tag:
            poison(model, pickled)
    assert len(rs.champion().recommend("1", k=3)) == 3
    assert "popularity" in said("compare", "--on", "validation", "--no-log")
    promoted = said("promote", OTHER, *_BRIEF, "--force", "--reason", "another")
    assert "was made the champion by force" in promoted
    assert "is the champion again" in said("rollback")
    assert "popularity" in said("champion")


# --- saved models as recsweep loads them ---


def _kind(path: str, /, **settings: object) -> Callable[[Path, bytes], None]:
    def poison(saved: Path, pickled: bytes) -> None:
        header = json.loads((saved / "model.json").read_text())
        header["kind"] = path
        header["settings"].update(settings)
        (saved / "model.json").write_text(json.dumps(header))

    return poison


NEURAL = {
    "kind": "net",
    "net": "recsweep.models.nets.RecipeNet",
    "net_settings": {},
    "num_users": 60,
    "num_items": 50,
    "loss": {"_target_": "recsweep.losses.MeanSquaredError"},
    "fold_in": {"_target_": "evil.Thing"},
}


def _net(**settings: object) -> Callable[[Path, bytes], None]:
    return _kind("recsweep.models.neural.NeuralModel", **{**NEURAL, **settings})


def _written(name: str, content: str | None = None) -> Callable[[Path, bytes], None]:
    """Another content of a file; None for a pickle."""

    def poison(saved: Path, pickled: bytes) -> None:
        (saved / name).write_bytes(pickled if content is None else content.encode())

    return poison


def _link(name: str) -> Callable[[Path, bytes], None]:
    """A file as a link to the same file outside of the store."""

    def poison(saved: Path, pickled: bytes) -> None:
        elsewhere = saved.parents[2] / f"{saved.parents[1].name}.elsewhere"
        elsewhere.mkdir(exist_ok=True)
        (saved / name).replace(elsewhere / name)
        (saved / name).symlink_to(elsewhere / name)

    return poison


def _linked_folder(saved: Path, pickled: bytes) -> None:
    elsewhere = saved.parents[2] / f"{saved.parents[1].name}.folder"
    shutil.rmtree(elsewhere, ignore_errors=True)
    saved.rename(elsewhere)
    saved.symlink_to(elsewhere)


def _fifo(saved: Path, pickled: bytes) -> None:
    (saved / "model.json").unlink()
    os.mkfifo(saved / "model.json")


DEEP = "[" * 200_000
SAVED = {
    "a kind of somebody else's": (_kind("evil.Thing"), "can't be loaded"),
    "a function": (_kind("os.system"), "can't be loaded"),
    "what a module of ours imports": (_kind("recsweep.models.saved.Path"), "can't be loaded"),
    "what one imports below": (_kind("recsweep.config.os.system"), "can't be loaded"),
    "a module below ours": (_kind("recsweep.models.evil.Thing"), "can't be loaded"),
    "no name": (_kind("recsweep.models..evil.Thing"), "can't be loaded"),
    "a class that is no model": (
        _kind("recsweep.models.neural.TrainerOptions"),
        "no kind of models",
    ),
    "a loss": (_net(loss={"_target_": "evil.Thing"}), "'evil.Thing' must be a class in recsweep"),
    "a fold-in": (_net(), "'evil.Thing' must be a class in recsweep"),
    "a part that is none": (
        _net(fold_in={"_target_": "recsweep.models.knn.KNN", "by": "user"}),
        "is no part of a model",
    ),
    "pickled arrays": (_written("arrays.safetensors"), "truncated or foreign"),
    "pickled likes": (_written("seen.safetensors"), "is not whole"),
    "a pickle for settings": (_written("model.json"), "not a recsweep model"),
    "settings without an end": (_written("model.json", DEEP), "not a recsweep model"),
    "a catalogue without an end": (_written("catalogue.json", DEEP), "is not whole"),
    "a catalogue of others": (
        _written("catalogue.json", '{"user_ids": [[1, 2], [3, 4]], "item_ids": [1]}'),
        "is not whole",
    ),
    "linked settings": (_link("model.json"), "it is not read"),
    "linked arrays": (_link("arrays.safetensors"), "it is not read"),
    "a linked folder": (_linked_folder, "it is not read"),
    "a pipe": (_fifo, "it is not read"),
}


@pytest.mark.parametrize(("poison", "words"), SAVED.values(), ids=SAVED)
def test_a_poisoned_model_is_refused_in_one_line(
    poison: Callable, words: str, model: Path, pickled: bytes, refused: Callable
) -> None:
    poison(model / "artifacts" / "model", pickled)
    assert words in refused("recommend", "--user", "1", "-k", "3")


# --- configs of runs ---


def _set(place: str, value: object) -> Callable[[str], str]:
    def poison(text: str) -> str:
        cfg = OmegaConf.create(text)
        OmegaConf.update(cfg, place, value, force_add=True)
        return OmegaConf.to_yaml(cfg)

    return poison


CALL = {"_target_": "evil.touch"}
CONFIGS = {
    "data": (_set("data", CALL), "names 'evil.touch' as data._target_"),
    "a pickle": (
        _set("data", {"_target_": "pandas.read_pickle", "filepath_or_buffer": "x.pkl"}),
        "names 'pandas.read_pickle' as data._target_",
    ),
    "a shell": (_set("model", {"_target_": "os.system", "_args_": ["id"]}), "is run"),
    "through a module of ours": (
        _set("split._target_", "recsweep.config.os.system"),
        "names 'recsweep.config.os.system' as split._target_",
    ),
    "ours at another place": (
        _set("data._target_", "recsweep.models.knn.KNN"),
        "names 'recsweep.models.knn.KNN' as data._target_",
    ),
    "ours that is no target": (
        _set("data._target_", "recsweep.pipeline.run"),
        "names 'recsweep.pipeline.run' as data._target_",
    ),
    "Hydra's own": (
        _set("data._target_", "hydra.utils.instantiate"),
        "names 'hydra.utils.instantiate' as data._target_",
    ),
    "below a node": (_set("model.loss", CALL), "as model.loss._target_"),
    "in a list": (_set("evaluation.k", [CALL]), "as evaluation.k.0._target_"),
    "beside the nodes": (_set("loss", CALL), "as loss._target_"),
    "positional": (_set("model._args_", [CALL]), "has _args_ at model"),
    "partial": (_set("evaluation._partial_", True), "has _partial_ at evaluation"),
    "no text": (_set("data._target_", ["evil.touch"]), "as data._target_"),
    "through another place": (
        lambda text: _set("data._target_", "${tags.x}")(_set("tags.x", "evil.touch")(text)),
        "names 'evil.touch' as data._target_",
    ),
    "of the environment": (
        _set("data.name", "${oc.env:SECRET_OF_MINE}"),
        "looks up '${oc.env:SECRET_OF_MINE}' at data.name",
    ),
    "of the environment, hidden": (
        _set("data.name", r"\${${tags.x}.env:SECRET_OF_MINE}"),
        "looks up",
    ),
    "a node out of a text": (
        _set("data", "${oc.create:{_target_:evil.touch}}"),
        "looks up '${oc.create:",
    ),
    "a tag of YAML": (
        lambda text: text + "x: !!python/object/apply:evil.touch []\n",
        "can't be read as settings",
    ),
    "without an end": (lambda text: DEEP, "can't be read as settings"),
    "a circle": (_set("seed", "${seed}"), "can't be resolved"),
    "a node that is gone": (lambda text: _set("split", None)(text), "is not whole: split"),
}


@pytest.mark.parametrize(("poison", "words"), CONFIGS.values(), ids=CONFIGS)
def test_a_poisoned_config_is_refused_in_one_line(
    poison: Callable, words: str, home: Path, refused: Callable
) -> None:
    (record,) = finished_runs(OPTIONS, ids=[OTHER])
    with tracker(OPTIONS).artifact(record, "config.yaml") as path:
        text = path.read_text(encoding="utf-8")
        path.write_text(poison(text), encoding="utf-8")
        try:
            error = refused("promote", OTHER, *_BRIEF, "--force", "--reason", "x")
        finally:
            path.write_text(text, encoding="utf-8")
    assert words in error


def test_the_champions_config_is_looked_through_too(home: Path, refused: Callable) -> None:
    (record,) = finished_runs(OPTIONS, ids=[CHAMPION])
    with tracker(OPTIONS).artifact(record, "config.yaml") as path:
        text = path.read_text(encoding="utf-8")
        path.write_text(_set("model", CALL)(text), encoding="utf-8")
        try:
            error = refused("promote", OTHER, *_BRIEF)
        finally:
            path.write_text(text, encoding="utf-8")
    assert "names 'evil.touch' as model._target_" in error
    assert "If it is your own code and you trust it, set RECSWEEP_ALLOW_TARGETS=evil.touch" in error


# --- studies ---


@contextmanager
def noted(**notes: object) -> Iterator[Study]:
    """Other notes of the study, put back afterwards."""
    study = Study(open_storage(storage_url(None)), "grid")
    before = study.notes()
    for name, value in notes.items():
        study.note(name, value)
    try:
        yield study
    finally:
        for name in notes:
            study.note(name, before.get(name))


@contextmanager
def trial_noted(number: int, overrides: object) -> Iterator[None]:
    """Other overrides of a finished trial: no API of Optuna's changes them."""
    from sqlalchemy import create_engine, text

    engine = create_engine(storage_url(None))
    where = "key = 'overrides' and trial_id in (select trial_id from trials where number = :number)"

    def write(value: str) -> None:
        with engine.begin() as connection:
            connection.execute(
                text(f"update trial_user_attributes set value_json = :value where {where}"),
                {"value": value, "number": number},
            )

    with engine.connect() as connection:
        query = text(f"select value_json from trial_user_attributes where {where}")
        before = connection.execute(query, {"number": number}).scalar_one()
    write(json.dumps(overrides))
    open_storage.cache_clear()
    try:
        yield
    finally:
        write(before)
        open_storage.cache_clear()


LINES = {
    "data": ("data._target_=evil.touch", "names 'evil.touch' as data._target_"),
    "a node": ("+extra={_target_:evil.touch}", "as extra._target_"),
    "the environment": ("data.name=${oc.env:SECRET_OF_MINE}", "looks up"),
    "a tag of the environment": ("+tags.x='${oc.env:SECRET_OF_MINE}'", "looks up"),
    "Hydra": ("hydra.searchpath=[pkg://evil]", "stores 'hydra.searchpath"),
    "a callback": ("+hydra.callbacks.x._target_=evil.touch", "stores '+hydra.callbacks"),
    "a launcher": ("hydra/launcher=evil", "stores 'hydra/launcher"),
    "another store": ("tracking.uri=http://evil", "stores 'tracking.uri"),
    "a trial of another": ("+trial.storage=sqlite:///x", "stores '+trial.storage"),
    "no text": (7, "for its settings"),
}


@pytest.mark.parametrize(("line", "words"), LINES.values(), ids=LINES)
def test_a_poisoned_study_is_not_refitted(line: object, words: str, refused: Callable) -> None:
    command = Study(open_storage(storage_url(None)), "grid").notes()["command"]
    with noted(command={**command, "overrides": [*command["overrides"], line]}):
        assert words in refused("refit", "grid")
    with noted(second_look={"seeds": [1], "overrides": [line], "trials": [0], "study": "x"}):
        assert words in refused("refit", "grid", "--trial", "0")
    with trial_noted(0, ["model=popularity", line]):
        assert words in refused("refit", "grid", "--trial", "0")


def test_a_folder_that_a_study_names_has_no_say(tmp_path: Path, refused: Callable) -> None:
    (tmp_path / "evil_conf.yaml").write_text(
        "defaults: [config, _self_]\n"
        "hydra: {searchpath: ['pkg://evil'], callbacks: {x: {_target_: evil.touch}}}\n"
        "data: {_target_: evil.touch}\n"
    )
    folders = [str(tmp_path), f"{tmp_path},pkg://evil"]
    command = Study(open_storage(storage_url(None)), "grid").notes()["command"]
    for dirs in (folders[:1], folders):
        with noted(command={**command, "config_name": "evil_conf", "config_dirs": dirs}):
            assert "names 'evil.touch' as data._target_" in refused("refit", "grid")


def test_what_the_user_names_at_that_moment_is_made(
    said: Callable, ran: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    allowed = "recsweep.models.popularity.Popularity"
    assert "popularity" in said("refit", "grid", "--trial", "0", f"model._target_={allowed}")
    with pytest.raises(SystemExit):  # which is no source of data
        said("refit", "grid", "--trial", "0", "data._target_=evil.touch")
    assert "AttributeError" in capsys.readouterr().err
    assert ran.read_text() == "called", "an override of the command is the user's"
    ran.unlink()
    command = Study(open_storage(storage_url(None)), "grid").notes()["command"]
    monkeypatch.setenv("RECSWEEP_ALLOW_TARGETS", "my.Other, evil.touch")
    lines = [*command["overrides"], "data._target_=evil.touch"]
    with noted(command={**command, "overrides": lines}), pytest.raises(SystemExit):
        said("refit", "grid", "--trial", "0")
    assert "AttributeError" in capsys.readouterr().err
    assert ran.read_text() == "called", "so is what the environment allows"
    ran.unlink()


def test_the_second_look_at_a_poisoned_trial(refused: Callable) -> None:
    again = (*STUDY, "hydra.sweeper.confirm.top=2", "hydra.sweeper.confirm.seeds=2")
    for line, words in [
        ("data._target_=evil.touch", "names 'evil.touch' as data._target_"),
        ("+hydra.callbacks.x._target_=evil.touch", "stores '+hydra.callbacks"),
        ("+tags.x='${oc.env:SECRET_OF_MINE}'", "looks up"),
    ]:
        with trial_noted(0, ["model=popularity", line]):
            assert words in refused(*again, action=_sweep)


@pytest.mark.parametrize(
    "name", ["optuna.samplers.CmaEsSampler", "optuna.samplers._cmaes.CmaEsSampler"]
)
def test_a_sampler_that_unpickles_is_not_taken(name: str) -> None:
    nested = {"_target_": "optuna.samplers.PartialFixedSampler", "base_sampler": {"_target_": name}}
    for settings in ({"_target_": name}, nested):
        with pytest.raises(ConfigError, match="keeps pickles in the database of studies"):
            build_sampler(settings, 0)


# --- evaluations, which compare reads ---


@pytest.mark.parametrize(
    "content", [DEEP, None, '{"part": "validation"}'], ids=["deep", "pickle", "part"]
)
@pytest.mark.parametrize("name", ["validation.json", "validation_users.parquet"])
def test_a_poisoned_evaluation_is_no_evaluation(
    content: str | None, name: str, home: Path, pickled: bytes, refused: Callable
) -> None:
    (record,) = finished_runs(OPTIONS, ids=[OTHER])
    with tracker(OPTIONS).artifact(record, "evaluation") as folder, restored(folder):
        (folder / name).write_bytes(pickled if content is None else content.encode())
        _run("compare", "--on", "validation", "--no-log")


# --- what is the user's own ---

MINE = """
from recsweep.models.popularity import Popularity

class Mine(Popularity):
    kind = "mine"
    label = "mine"
"""


def test_a_users_own_model_is_trained_and_where_the_environment_allows_it_served(
    home: Path,
    said: Callable,
    refused: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    compose: Callable,
) -> None:
    (tmp_path / "models_of_mine.py").write_text(MINE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    cfg = compose("model=popularity", "model._target_=models_of_mine.Mine")
    cfg.tracking.uri = None  # that of the fixture `home`
    run = pipeline.run(cfg).run_id
    promote = ("promote", run, *_BRIEF, "--force", "--reason", "mine", "--name", "mine")
    for command in (("recommend", "--run", run, "--user", "1"), promote):
        error = refused(*command)
        assert "models_of_mine.Mine" in error
        assert "set RECSWEEP_ALLOW_TARGETS=models_of_mine.Mine" in error
    monkeypatch.setenv("RECSWEEP_ALLOW_TARGETS", "models_of_mine.Mine")
    assert "by mine" in said("recommend", "--run", run, "--user", "1")
    assert "mine was made the champion by force" in said(*promote)
    monkeypatch.setenv("RECSWEEP_ALLOW_TARGETS", "nowhere_at_all.Mine")
    assert "RECSWEEP_ALLOW_TARGETS=models_of_mine.Mine" in refused(
        "recommend", "--run", run, "--user", "1"
    )
    tracker(OPTIONS).client.delete_run(run)  # a promotion of another one would compare with it


# --- in processes of their own ---

COMMAND = """
import sys
from recsweep import cli

if "promote" in sys.argv:
    from recsweep.promotion import contest

    contest.GRIDS = {"popularity": [{}]}  # the real ones take a minute
cli.main()
"""


@pytest.mark.slow
def test_a_server_and_a_promotion_run_nothing(
    made: Path, model: Path, pickled: bytes, ran: Path, tmp_path: Path
) -> None:
    """`recsweep serve` and `promote --force` on a model that MLflow's own loader would run."""
    for name, poison in MLFLOWS.items():
        if name not in ("a tag of YAML", "other code"):
            poison(model, pickled)
    environ = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ran.parent), os.environ.get("PYTHONPATH", "")]),
    }

    def command(*arguments: str) -> list[str]:
        return [sys.executable, "-c", COMMAND, *arguments]

    def end(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            command(*arguments),
            env=environ,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )

    load = "import sys, mlflow; mlflow.pyfunc.load_model(sys.argv[1])"
    subprocess.run([sys.executable, "-c", load, model], env=environ, capture_output=True)
    assert ran.exists(), "MLflow's loader would run it"
    ran.unlink()

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    served = command("serve", "--run", CHAMPION, "--port", str(port))
    with subprocess.Popen(served, env=environ, cwd=tmp_path, stdout=subprocess.PIPE) as server:
        try:
            answer = _asked(port, {"inputs": [{"user_id": "1", "k": 3}]})
        finally:
            server.terminate()
    assert len(answer["predictions"][0]["item_ids"]) == 3
    forced = end("promote", OTHER, *_BRIEF, "--force", "--reason", "x", "--name", "other", "--yes")
    assert "was made the champion by force" in forced.stdout, forced.stderr
    assert "version 1" in end("champion", "--name", "other").stdout


def _asked(port: int, body: dict) -> dict:
    """The server's answer, as soon as it is up."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read())
        except urllib.error.URLError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
