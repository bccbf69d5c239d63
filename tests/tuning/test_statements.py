"""How often a trial asks the database of studies, and how often it commits."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine
from tests.tuning.conftest import TINY

from recsweep.tuning.storage import open_storage

STATEMENTS, COMMITS = 25, 6
"""The most of a trial, besides one of each for an epoch that is reported."""

FEW, MANY = 3, 7


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.team)])
def studies(request: pytest.FixtureRequest, tmp_path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty database, which the environment names."""
    url = f"sqlite:///{tmp_path}/studies.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql").new_database()
    monkeypatch.setenv("RECSWEEP_STUDIES", url)
    open_storage.cache_clear()
    return url


@contextmanager
def counted(url: str) -> Iterator[Counter]:
    """Statements and commits of all engines of a database, as they come."""
    counts: Counter = Counter()
    name = url.rpartition("/")[2]

    def is_ours(connection) -> bool:
        return str(connection.engine.url).endswith(name)

    def statement(connection, cursor, words, *_: object) -> None:
        if not is_ours(connection):
            return
        verb = words.lstrip().split(None, 1)[0].upper()
        if verb not in ("BEGIN", "COMMIT", "PRAGMA"):
            counts["statements"] += 1
        counts["commits"] += verb == "COMMIT"  # sqlite's, which are statements of ours

    def commit(connection) -> None:
        counts["commits"] += is_ours(connection)

    event.listen(Engine, "before_cursor_execute", statement)
    event.listen(Engine, "commit", commit)
    try:
        yield counts
    finally:
        event.remove(Engine, "before_cursor_execute", statement)
        event.remove(Engine, "commit", commit)


@pytest.mark.parametrize(("kind", "epochs"), [("grid", 4), ("search", 1), ("pruned search", 3)])
def test_of_a_trial(
    kind: str, epochs: int, studies: str, sweep: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def study(trials: int) -> Counter:
        command = [
            *(line for line in TINY if "max_epochs" not in line),
            f"trainer.max_epochs={epochs}",
            f"hydra.sweeper.study_name={kind} of {trials}",
        ]
        if kind == "grid":
            command += [f"optimizer.lr={','.join(f'0.0{n:02d}' for n in range(1, trials + 1))}"]
        else:
            command += ["optimizer.lr=interval(0.0001,0.1)", f"hydra.sweeper.n_trials={trials}"]
        if kind == "search":
            command += ["hydra/sweeper/pruner=none"]
        with counted(studies) as counts:
            record = sweep(*command)
        assert len(record.of_state("complete", "pruned")) == trials
        return counts

    few, many = study(FEW), study(MANY)
    of_a_trial = {name: (many[name] - few[name]) / (MANY - FEW) for name in many}
    assert of_a_trial["statements"] <= STATEMENTS + epochs
    assert of_a_trial["commits"] <= COMMITS + epochs
