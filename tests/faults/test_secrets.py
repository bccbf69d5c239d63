"""Every form of a secret through every door: in no file, table, log or message of a home is it
found again."""

import logging
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import recsweep as rs
from recsweep import cli
from recsweep.config import conf_dir
from recsweep.data.synthetic import Synthetic
from recsweep.errors import ConfigError, DataError, StudyError
from recsweep.promotion import audit
from recsweep.promotion.reruns import Reruns
from recsweep.serving.http import RefusedError
from recsweep.tracking import Tracker, TrackingOptions, finished_runs
from recsweep.tuning.refit import RefitOptions, refit
from recsweep.tuning.storage import open_storage, storage_url
from recsweep.tuning.study import Study
from tests.secret_forms import FORMS, SECRET, SHAPED

REPOSITORY = Path(__file__).parents[2]
OURS = TrackingOptions(uri=None, experiment="recsweep")
WRITTEN = {name: form.format(SECRET) for name, form in FORMS.items()}
TAGS = {f"+tags.form{place}": text for place, text in enumerate(WRITTEN.values())}
TINY = {"data.num_users": 60, "data.num_items": 50, "data.density": 0.15, "model": "popularity"}


@dataclass(frozen=True, kw_only=True)
class Database(Synthetic):
    """Interactions of a database that asks for a password."""

    dsn: str

    def load(self):
        if SECRET not in self.dsn:
            raise DataError(f"The database refuses {self.dsn!r}.")
        return super().load()


TARGET = f"{__name__}.Database"
SETTINGS = TINY | {
    "model": ["popularity", "popularity_by_activity"],
    "+data.dsn": WRITTEN["password"],
    "data._target_": TARGET,
}


def found(folder: Path) -> list[str]:
    """Where a secret stands below a folder: files by their bytes, databases by each cell too."""
    places, secrets = [], (SECRET, *SHAPED.values())
    for path in (path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        places += [f"{path}: {each}" for each in secrets if each.encode() in content]
        if content.startswith(b"SQLite format 3"):
            places += [
                f"{path}, {table}: {cell}"
                for table, cell in _cells(path)
                for each in secrets
                if each in cell
            ]
    return places


def _cells(path: Path) -> Iterator[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute(
            "select name from sqlite_master where type = 'table'"
        ).fetchall()
        for (table,) in tables:
            for row in connection.execute(f'select * from "{table}"'):
                yield from ((table, str(cell)) for cell in row)


@pytest.fixture
def said(capfd, caplog, monkeypatch):
    """said(): what was written to the terminal and logged, of which nothing may be secret."""
    monkeypatch.setattr(logging.root, "handlers", [])

    def said() -> str:
        sys.stdout.flush()
        text = "".join(capfd.readouterr())
        assert SECRET not in text
        return text

    return said


def test_the_search_finds_what_is_there(tmp_path):
    (tmp_path / "a.txt").write_text(f"x{SECRET}")
    with closing(sqlite3.connect(tmp_path / "b.db")) as connection, connection:
        connection.execute("create table t (c)")
        connection.execute("insert into t values (?)", [SECRET])
    assert len(found(tmp_path)) == 3


def test_a_run(compose, store, said, monkeypatch):
    monkeypatch.setenv("RECSWEEP_ALLOW_TARGETS", TARGET)
    cfg = compose("model=popularity")
    OmegaConf.set_struct(cfg, False)
    cfg.data._target_, cfg.data.dsn = TARGET, f"postgresql://anna:{SECRET}@db/likes"
    tags = [*WRITTEN.values(), *SHAPED.values()]
    cfg.tags = {f"form{place}": text for place, text in enumerate(tags)}
    cfg.tags.update({"api_key": SECRET, "nested": {"password": SECRET, "list": tags}})
    cli.train(cfg)
    assert "popularity" in said()
    assert found(store) == []
    (run,) = finished_runs(OURS)
    assert run.tags["api_key"] == "***"
    assert run.params["data.dsn"] == "postgresql://anna:***@db/likes"
    with pytest.raises(
        DataError, match=r"without the secret in data\.dsn, and can't be made again"
    ):
        Reruns(Tracker(OURS), "recsweep", conf_dir(), "test").config(run)


@pytest.mark.parametrize("form", WRITTEN.values(), ids=WRITTEN)
def test_an_error(form, compose, store, said):
    cfg = compose("data=csv", "model=popularity")
    cfg.data.path = form
    with pytest.raises(SystemExit):
        cli.train(cfg)
    assert "error: " in said()
    for kind in (ConfigError, StudyError, RefusedError):
        error = kind(400, f"not {form}") if kind is RefusedError else kind(f"not {form}")
        assert SECRET not in str(error)


def test_a_run_that_fails(compose, store, said, monkeypatch):
    def broken(self, *_):
        raise RuntimeError("\n".join(WRITTEN.values()))

    monkeypatch.setattr("recsweep.models.popularity.Popularity.fit", broken)
    with pytest.raises(SystemExit):
        cli.train(compose("model=popularity"))
    assert "RuntimeError" in said()
    assert found(store) == []


class TestAStudy:
    def test_and_its_refit(self, store, said):
        rs.study(SETTINGS | TAGS | {"+tags.api_key": SECRET}, name="masked")
        assert found(store) == []
        with pytest.raises(ConfigError, match="Give it again: recsweep refit masked") as refused:
            refit(RefitOptions(study="masked"), conf_dir())
        assert "'+data.dsn=...'" in str(refused.value)
        assert SECRET not in str(refused.value)
        again = (f"+data.dsn={WRITTEN['password']}", f"data._target_={TARGET}")
        (outcome,) = refit(RefitOptions(study="masked", overrides=again), conf_dir())
        assert outcome.fit.error is None
        said()
        assert found(store) == []

    def test_goes_on_with_another_password(self, store, said):
        first = rs.study(SETTINGS, name="rotated")
        other = SETTINGS | {"+data.dsn": f"postgresql://anna:new{SECRET}@db/runs"}
        assert rs.study(other, name="rotated").record == first.record

    def test_whose_trials_fail(self, store, said, monkeypatch):
        def broken(self, *_):
            raise RuntimeError("; ".join(WRITTEN.values()))

        monkeypatch.setattr("recsweep.models.popularity.Popularity.fit", broken)
        with pytest.raises(StudyError, match="None of the 1 trials"):
            rs.study(TINY, name="failed", verbose=True)
        said()
        assert found(store) == []

    @pytest.mark.parametrize(
        ("settings", "options"),
        [
            ({"tracking.uri": [f"http://a:{SECRET}@h", "http://b"]}, {}),
            ({"tracking.experiment": ["a", "b"]}, {}),
            ({}, {"params": {"tracking.uri": f"choice('http://a:{SECRET}@h',b)"}}),
            ({}, {"confirm": {"top": 1, "overrides": [f"tracking.uri=http://a:{SECRET}@h"]}}),
            ({"+tags.source": [f"http://a:{SECRET}@h", "b"]}, {}),
            ({"+tags.api_key": [SECRET, "b"]}, {}),
        ],
    )
    def test_that_varies_what_it_may_not(self, settings, options, store, said):
        with pytest.raises(ConfigError, match="can't be varied") as refused:
            rs.study(TINY | settings, name="varied", **options)
        assert SECRET not in str(refused.value)
        assert not (store / "optuna.db").exists(), "refused before anything is stored"


def test_notes_of_a_study_and_of_a_decision(store, said):
    rs.study(TINY, name="noted")
    study = Study(open_storage(storage_url(None)), "noted")
    for place, form in enumerate(WRITTEN.values()):
        study.note(f"note{place}", {"a": [form]})
        study.note_first(f"first{place}", form)
    case = audit.Case(
        name="recsweep",
        before=None,
        reason="; ".join(WRITTEN.values()),
        candidate="popularity",
        run_id="abc",
        runs=["abc"],
        study="noted",
        measured_on=("a", "b", "c"),
    )
    tracker = Tracker(OURS)
    audit.conclude(audit.begin(tracker, "recsweep"), case.decided(audit.REFUSED))
    assert found(store) == []


def test_the_environment_and_a_traceback(said, monkeypatch):
    monkeypatch.setenv("LIKES_PASSWORD", SECRET)
    cli.log_to_stderr()
    print(f"they said {SECRET}, {WRITTEN}")
    logging.getLogger("sqlalchemy").error("%s", WRITTEN)
    sys.stderr.writelines([f"{form}\n" for form in WRITTEN.values()])
    text = said()
    assert "they said ***" in text


@pytest.mark.slow
def test_a_folder_that_hydra_writes(train, store, tmp_path):
    overrides = [
        "model=popularity",
        "hydra.output_subdir=.hydra",
        f"+tags.url='http://a:{SECRET}@h'",
    ]
    overrides += [f"{name}={value}" for name, value in TINY.items()]
    done = train(*overrides)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / ".hydra" / "overrides.yaml").is_file()
    assert found(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["{train}", "model=popularity", "tracking.uri=http://a:{}@h x"],
        ["{train}", "+tags.password={}!", "seed=[", "data.path=https://anna:{}!x@h"],
        ["{train}", "model=popularity", "tracking.uri='http://anna:{}@127.0.0.1:9'"],
        ["{train}", "-m", "model=popularity,knn", "hydra.sweeper.storage='nosuch://a:{}@h/d'"],
        ["{recsweep}", "runs", "--token", "{}"],
        ["{recsweep}", "runs", "--tracking-uri", "http://anna:{}@127.0.0.1:9"],
        ["{recsweep}", "refit", "a", "--storage", "nosuch://anna:{}@h/d"],
        ["{recsweep}", "postgresql://anna:{}@h"],
    ],
)
def test_what_was_mistyped(command, tmp_path):
    home = tmp_path / "home"
    programs = {
        "{train}": [sys.executable, REPOSITORY / "train.py"],
        "{recsweep}": [Path(sys.executable).with_name("recsweep")],
    }
    words = [word.replace("{}", SECRET) for word in command[1:]]
    done = subprocess.run(
        [*programs[command[0]], *words],
        cwd=tmp_path,
        env=os.environ | {"RECSWEEP_HOME": str(home), "HYDRA_FULL_ERROR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode != 0
    assert SECRET not in done.stdout + done.stderr
    assert found(tmp_path) == []
