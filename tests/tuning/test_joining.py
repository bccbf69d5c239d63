"""A worker that knows nothing but the database of studies."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from recsweep.errors import ConfigError, StudyError, UntrustedError
from recsweep.tuning.conduct import conduct
from recsweep.tuning.joining import join
from recsweep.tuning.storage import open_storage, storage_url
from recsweep.tuning.study import Study
from recsweep.tuning.sweep import JOINING

SEARCH = (
    "model=knn",
    "model.num_neighbors=range(5,30)",
    "hydra.sweeper.study_name=joined",
    "hydra.sweeper.n_trials=3",
    "hydra/sweeper/sampler=random",
    "hydra.sweeper.retries=1",
    "+tags.owner=me",
)


def _opened() -> Study:
    return Study(open_storage(storage_url(None)), "joined")


def test_goes_on_with_what_the_command_began(sweep: Callable, store: Path) -> None:
    first = sweep(*SEARCH, "hydra.sweeper.n_jobs=1", "hydra.sweeper.timeout=1e-9")
    assert first.trials == ()
    options, job = join("joined", n_jobs=1)
    assert (options.n_trials, options.retries, options.timeout) == (3, 1, None)
    assert options.sampler["kind"] == "random"
    assert "+tags.owner=me" in job.arguments
    record = conduct(options, job)
    assert len(record.of_state("complete")) == 3
    assert sweep(*SEARCH).trials == record.trials, "it is the same study"


def test_what_it_can_not_join(sweep: Callable, store: Path, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="There is no study 'joined'"):
        join("joined")
    sweep(*SEARCH, "hydra.sweeper.timeout=1e-9")
    study = _opened()
    command = study.notes()[JOINING]
    study.note(JOINING, command | {"config_dirs": [f"{tmp_path}/gone"]})
    with pytest.raises(ConfigError, match="which is not there on this machine"):
        join("joined")
    study.note(JOINING, command | {"overrides": ["tracking.uri=http://evil"]})
    with pytest.raises(UntrustedError, match="which no study of recsweep's does"):
        join("joined")
    evil = "hydra.sweeper.sampler={kind: x, _target_: evil.touch}"
    study.note(JOINING, command | {"overrides": ["model=knn", f"'{evil}'"]})
    with pytest.raises((UntrustedError, ConfigError)):
        join("joined")
    study.note(JOINING, command | {"overrides": ["model=knn", "data._target_=evil.touch"]})
    with pytest.raises(UntrustedError, match=r"evil\.touch"):
        join("joined")
    study.note(JOINING, None)
    with pytest.raises(StudyError, match=r"python train.py -m .*study_name=joined"):
        join("joined")


def test_other_data_are_refused(sweep: Callable, store: Path, tmp_path: Path) -> None:
    for name, users in (("same", 12), ("other", 13)):
        lines = [f"{user},{item}" for user in range(users) for item in range(user % 3, 9)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["user_id,item_id", *lines]))
    sweep(
        "data=file",
        f"data.path={tmp_path}/same.csv",
        "data.name=likes",
        *SEARCH,
        "hydra.sweeper.timeout=1e-9",
    )
    (tmp_path / "moved.csv").write_bytes((tmp_path / "same.csv").read_bytes())
    conduct(*join("joined", [f"data.path={tmp_path}/moved.csv"], n_jobs=1))
    with pytest.raises(ConfigError, match=r"exists with other settings: data\.path: sha256"):
        conduct(*join("joined", [f"data.path={tmp_path}/other.csv"], n_jobs=1))


def test_joins_a_study_of_a_config_of_its_own(sweep: Callable, store: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("defaults:\n  - config\n  - _self_\n")
    lines = [f"{user},{item}" for user in range(12) for item in range(user % 3, 9)]
    (tmp_path / "likes.csv").write_text("\n".join(["user_id,item_id", *lines]))
    data = ("data=file", f"data.path={tmp_path}/likes.csv", "data.name=likes")
    sweep(*data, *SEARCH, "hydra.sweeper.timeout=1e-9")
    own = {"config_name": "mine", "config_dirs": [str(tmp_path)]}
    study = _opened()
    study.note(JOINING, study.notes()[JOINING] | own)
    record = conduct(*join("joined", n_jobs=1))
    assert len(record.of_state("complete")) == 3


def test_its_command_says_what_is_wrong_at_once(tmp_path: Path) -> None:
    environment = {**os.environ, "RECSWEEP_HOME": str(tmp_path / "home")}

    def worker(**more: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", "from recsweep.cli import main; main()", "worker", "nobody"],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=tmp_path,
            env=environment | more,
        )
        assert done.returncode == 1, done.stderr
        return done.stderr

    assert "There is no study 'nobody'" in worker()
    said = worker(RECSWEEP_STUDIES="postgresql://me:hush-hush@127.0.0.1:1/studies")
    assert "Connection refused" in said
    assert "hush-hush" not in said
