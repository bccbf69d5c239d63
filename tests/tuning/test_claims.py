"""The exactly-once claim, in both kinds of databases, killed between any two transactions."""

import ast
import json
import os
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import pytest
from optuna.distributions import IntDistribution
from sqlalchemy import update

from recsweep.errors import StudyError
from recsweep.processes import Worker
from recsweep.tuning import study as study_module
from recsweep.tuning.claims import ClaimTable, NewTrial
from recsweep.tuning.opening import open_study
from recsweep.tuning.space import Dimension
from recsweep.tuning.storage import Storage
from recsweep.tuning.study import Claim, Definition, Point, Study

REPOSITORY = Path(__file__).parents[2]
NAMES = ("0", "1", "2", "3")
GRID = Dimension("model.user_dim", options=("5", "6", "7", "8"), values=(5, 6, 7, 8))
POINTS = [
    Point(name, (f"model.user_dim={value}",), {"model.user_dim": value})
    for name, value in zip(NAMES, GRID.values, strict=True)
]


class _KilledError(BaseException):
    pass


def _killed(*_: object, **__: object) -> None:
    raise _KilledError


def _refused(*_: object, **__: object) -> None:
    raise OSError("no space left")


def _open(url: str, name: str = "a", storage: Storage | None = None) -> Study:
    definition = Definition(
        name, ("mse",), ("minimize",), {}, {"seed": 0}, {"kind": "grid"}, {"kind": "none"}
    )
    study = open_study(storage or Storage(url), definition, lambda: [], allow_changes=False)
    study.know_grid([GRID])
    return study


def _complete(study: Study, claim: Claim, value: float = 0.5) -> bool:
    return study.end(
        claim.number,
        claim.trial_id,
        [value],
        kind="complete",
        objectives=["validation/mse"],
        epochs=3,
    )


def _states(study: Study) -> list[tuple[str, str, int]]:
    return [(trial.slot, trial.state, trial.attempt) for trial in study.record().trials]


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Callable:
    """elsewhere(alive): from now on this is another process: dead, or of another machine."""
    here = Worker.here()

    def elsewhere(alive: bool | None) -> pytest.MonkeyPatch:
        host = here.host if alive is not None else "elsewhere"
        started = here.started if alive else "0"
        monkeypatch.setattr(Worker, "here", lambda: Worker(host, here.space, here.pid, started))
        return monkeypatch

    return elsewhere


class TestClaims:
    def test_each_slot_once_in_order(self, url):
        study = _open(url)
        claims = [study.claim(NAMES) for _ in range(5)]
        assert [claim and claim.slot for claim in claims] == [*NAMES, None]
        assert [claim.number for claim in claims[:4]] == [0, 1, 2, 3]
        assert [trial.number for trial in study.running()] == [0, 1, 2, 3]

    def test_processes_at_once_share_the_slots(self, url):
        code = (
            "import sys\n"
            "from recsweep.tuning.storage import Storage\n"
            "from recsweep.tuning.opening import open_study\n"
            "from recsweep.tuning.study import Definition\n"
            "kinds = {'kind': 'grid'}, {'kind': 'none'}\n"
            "definition = Definition('a', ('mse',), ('minimize',), {}, {}, *kinds)\n"
            "storage = Storage(sys.argv[1])\n"
            "study = open_study(storage, definition, lambda: None, allow_changes=False)\n"
            "names = [str(number) for number in range(24)]\n"
            "while claim := study.claim(names):\n"
            "    number, notes = claim.number, {'kind': 'complete', 'objectives': ['m'], 'epochs': "
            "1}\n"
            "    study.end(number, claim.trial_id, [0.5], **notes)\n"
            "    print(claim.slot, claim.number)\n"
        )
        processes = [
            subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE, text=True)
            for _ in range(3)
        ]
        lines = [
            line.split()
            for process in processes
            for line in process.communicate(timeout=300)[0].splitlines()
        ]
        assert sorted(int(slot) for slot, _ in lines) == list(range(24))
        assert sorted(int(number) for _, number in lines) == list(range(24))
        record = Study(Storage(url), "a").record()
        assert [trial.state for trial in record.trials] == ["complete"] * 24

    def test_optuna_shows_the_trials(self, url):
        import optuna

        study = _open(url)
        claim = study.claim(POINTS)
        _complete(study, claim)
        study.claim(POINTS)
        done, running = optuna.load_study(study_name="a", storage=url).trials
        assert (done.state.name, done.value, done.params) == (
            "COMPLETE",
            0.5,
            {"model.user_dim": 5},
        )
        assert done.user_attrs["overrides"] == ["model.user_dim=5"]
        assert done.user_attrs["slot"].items() >= {"name": "0", "attempt": 0}.items()
        assert done.user_attrs["ended"]["kind"] == "complete"
        assert (running.state.name, running.params) == ("RUNNING", {"model.user_dim": 6})

    def test_a_plan_may_grow_shrink_and_change(self, url):
        study, other = _open(url), _open(url)
        assert study.claim(["b", "c"]).slot == "b"
        assert other.claim(["a", "b", "c"]).slot == "a"
        assert study.claim(["b"]) is None
        assert other.claim(["a", "d"]).slot == "d"
        assert study.claim(["b", "c"]).slot == "c"
        assert other.claim(["a", "b", "c", "d"]) is None

    def test_a_budget_of_epochs_counts_what_runs(self, url):
        study = _open(url)
        _complete(study, study.claim(NAMES))
        assert study.claim(NAMES, max_epochs=3) is None
        claim = study.claim(NAMES, max_epochs=4)
        study.report(claim.trial_id, 2, 0.5)
        assert study.claim(NAMES, max_epochs=5) is None
        study.end(claim.number, claim.trial_id, kind="interrupted", reason="Ctrl-C")
        assert study.claim(NAMES, max_epochs=5) is None
        assert study.claim(NAMES, max_epochs=6).slot == claim.slot

    def test_what_failed_waits_for_its_reopening(self, url):
        study = _open(url)
        claims = [study.claim(NAMES) for _ in range(3)]
        for claim, kind in zip(claims, ("error", "interrupted", "pruned"), strict=True):
            assert study.end(claim.number, claim.trial_id, kind=kind, reason="why", epochs=1)
            assert not study.end(claim.number, claim.trial_id, kind=kind, reason="why", epochs=1)
        again = study.claim(NAMES)
        assert (again.slot, again.attempt) == ("1", 0)
        study.reopen_failed()
        again = study.claim(NAMES)
        assert (again.slot, again.attempt) == ("0", 1)

    def test_the_first_note_counts(self, url):
        study, other = _open(url), _open(url)
        assert [study.note_first("parent_run", "a"), other.note_first("parent_run", "b")] == [
            "a",
            "a",
        ]
        assert other.notes()["parent_run"] == "a"
        study.note("older", 1)
        assert other.note_first("older", 2) == 1


class TestKilled:
    """A process is killed between any two transactions; another one goes on."""

    @pytest.mark.parametrize("step", ["note", "add_params"])
    def test_in_a_claim(self, step, url, elsewhere):
        study = _open(url)
        with elsewhere(False).context() as patch:
            patch.setattr(study.storage.claims._trials, step, _killed)
            with pytest.raises(_KilledError):
                study.claim(POINTS)
        elsewhere(True)
        other = _open(url)
        assert other.running() == []
        assert other.settle(thoroughly=True) == []
        assert _states(other) == []
        claims = [other.claim(POINTS) for _ in range(4)]
        assert [(claim.slot, claim.number) for claim in claims] == [
            (name, place) for place, name in enumerate(NAMES)
        ]

    @pytest.mark.parametrize("retries", [0, 1])
    def test_after_a_claim(self, retries, url, elsewhere):
        study = _open(url)
        with elsewhere(False).context():
            study.claim(POINTS)
        elsewhere(True)
        other = _open(url)
        other.retries = retries
        assert len(other.running()) == 1
        assert other.settle() == [0]
        assert other.settle() == []
        assert _states(other) == [("0", "died", 0)]
        claims = [other.claim(POINTS) for _ in range(4)]
        slots = [(claim.slot, claim.attempt) for claim in claims if claim]
        assert slots == ([("0", 1)] if retries else []) + [("1", 0), ("2", 0), ("3", 0)]

    def test_at_an_end(self, url, elsewhere):
        study = _open(url)
        with elsewhere(False).context() as patch:
            claim = study.claim(NAMES)
            patch.setattr(study.storage.claims._trials, "end", _killed)
            with pytest.raises(_KilledError):
                _complete(study, claim)
        elsewhere(True)
        other = _open(url)
        assert other.claim(["0"]) is None, "it is running"
        assert other.settle() == [0]
        assert _states(other) == [("0", "died", 0)]
        other.retries = 1
        assert other.claim(["0"]).attempt == 1

    def test_while_a_study_is_made(self, url, monkeypatch):
        with monkeypatch.context() as patch:
            patch.setattr(study_module, "_complete", _killed)
            with pytest.raises(_KilledError):
                _open(url)
        with pytest.raises(StudyError, match="There is no study 'b'"):
            Study(Storage(url), "b")
        assert Study(Storage(url), "a").notes()["fixed"] == {"seed": 0}
        assert _open(url).claim(NAMES).slot == "0"

    @pytest.mark.parametrize("step", ["in the middle", "before Optuna knows"])
    def test_while_a_study_is_changed(self, step, url, monkeypatch):
        changed = {"fixed": {"seed": 1}, "space": {"a": "1, 2"}, "directions": ["minimize"]}
        study = _open(url)
        with monkeypatch.context() as patch:
            if step == "in the middle":
                patch.setattr(study.storage.claims, "study_is_made", _killed)
            else:
                patch.setattr(study_module, "_complete", _killed)
            with pytest.raises(_KilledError):
                study.change(changed)
        other = Study(Storage(url), "a")
        assert other.notes().items() >= changed.items()
        other.note("space", {})
        assert Study(Storage(url), "a").notes()["space"] == {}, "it is changed once"

    def test_an_error_leaves_no_claim(self, url, monkeypatch):
        study = _open(url)
        with monkeypatch.context() as patch:
            patch.setattr(study.storage.claims._trials, "begin", _refused)
            with pytest.raises(StudyError, match="can't be used"):
                study.claim(NAMES)
        assert study.running() == []
        assert study.claim(NAMES).slot == "0"

    def test_one_that_was_silent_for_long_does_no_harm(self, url, elsewhere):
        """It comes back to tell its end, when another process has done its slot."""
        study, other = _open(url), _open(url)
        study.silence, other.retries = 0, 1
        elsewhere(None)
        claim = study.claim(["0"])
        elsewhere(True)
        assert other.settle() == [0]
        again = other.claim(["0"])
        assert _complete(other, again)
        elsewhere(None)
        assert not _complete(study, claim, 0.75)
        assert _states(study) == [("0", "died", 0), ("0", "complete", 1)]
        assert study.record().trials[1].values == (0.5,)

    def test_after_an_outage_nobody_is_silent(self, url, elsewhere, monkeypatch):
        """All are silent then: those that live beat before their silence is seen to go on."""
        study, other = _open(url), _open(url)
        elsewhere(None)
        study.silence = 0.5
        study.claim(["0"])
        time.sleep(1.1)  # CURRENT_TIMESTAMP of sqlite has no fractions
        elsewhere(True)
        assert other.settle() == []
        other.storage.patience.outages += 1
        time.sleep(0.2)
        assert other.settle() == [], "what was seen before does not count"
        time.sleep(0.2)
        assert other.settle() == [0]


class TestLost:
    """The connection is lost at a commit, and nobody knows whether that was done."""

    @pytest.fixture(params=["before", "after"])
    def losing(self, request, monkeypatch):
        """losing(): the next transaction loses its connection before it is committed, or after."""
        exclusive, due = ClaimTable.exclusive, []

        @contextmanager
        def losing_one(table, study=None):
            is_due = bool(due) and due.pop()
            with exclusive(table, study) as connection:
                yield connection
                if is_due and request.param == "before":
                    raise _lost()
            if is_due and request.param == "after":
                raise _lost()

        monkeypatch.setattr(ClaimTable, "exclusive", losing_one)
        return lambda: due.append(True)

    def test_a_claim_is_found_by_its_token(self, losing, url):
        study = _open(url)
        study.claim(POINTS)
        losing()
        claim = study.claim(POINTS)
        assert (claim.slot, claim.number, claim.params) == ("1", 1, {"model.user_dim": 6})
        assert [trial.number for trial in study.running()] == [0, 1]
        assert len(study.record().trials) == 2
        assert study.claim(POINTS).slot == "2"

    @pytest.mark.parametrize("kind", ["complete", "error", "interrupted"])
    def test_an_end_is_found_by_its_note(self, kind, losing, url):
        study = _open(url)
        claim = study.claim(POINTS)
        study.report(claim.trial_id, 2, 0.5)
        losing()
        values = [0.25] if kind == "complete" else None
        assert study.end(claim.number, claim.trial_id, values, kind=kind, reason="why")
        assert not study.end(claim.number, claim.trial_id, values, kind=kind, reason="why")
        (trial,) = study.record().trials
        assert trial.state == {"error": "failed"}.get(kind, kind)
        assert trial.epochs == 2

    def test_a_draw_is_kept_once(self, losing, url):
        study = _open(url)
        claim = study.claim(NAMES)
        new = NewTrial({"overrides": ["a=1"]}, {"a": 1}, {"a": IntDistribution(0, 3)})
        losing()
        kept = study.keep_draw("0", {"a": 1}, "digest", claim, new)
        assert kept["params"] == {"a": 1}
        assert study.record().trials[0].params == {"a": 1}
        assert study.keep_draw("1", {"a": 1}, "digest") is None


class _LostError(Exception):
    sqlstate = "08006"


def _lost() -> Exception:
    return _LostError("server closed the connection unexpectedly")


class TestLeftByEarlierVersions:
    """Earlier versions stored a claim, its trial and its end one after another."""

    DEAD = Worker("here", "", 1, "")

    def _change(self, study: Study, **values: object) -> None:
        with study.storage.claims.exclusive() as connection:
            slots = study.storage.claims._slots
            connection.execute(update(slots).where(slots.c.slot == "0").values(**values))

    @pytest.mark.parametrize("has_trial", [True, False])
    def test_a_claim_without_its_trial(self, has_trial, url, elsewhere):
        study = _open(url)
        with elsewhere(False).context():
            dead = Worker.here()
            if has_trial:
                study.claim(["0"])
            else:
                study._plan(["0"])
        self._change(study, state="claimed", worker=dead.text, number=None, trial_id=None)
        elsewhere(True)
        other = _open(url)
        assert len(other.running()) == 1
        other.settle(thoroughly=True)
        assert other.running() == []
        assert _states(other) == ([("0", "interrupted", 0)] if has_trial else [])
        assert other.claim(["0"]) is None
        other.retries = 1
        assert other.claim(["0"]).attempt == 1

    @pytest.mark.parametrize("kind", ["complete", "interrupted"])
    def test_an_end_that_optuna_was_not_told(self, kind, url, elsewhere):
        study = _open(url)
        with elsewhere(False).context():
            study.claim(NAMES)
        values = [0.25] if kind == "complete" else None
        notes = {"kind": kind, "reason": "why", "epochs": 3, "objectives": ["validation/mse"]}
        state = "complete" if kind == "complete" else "open"
        self._change(study, state=state, untold=json.dumps({"values": values, "notes": notes}))
        elsewhere(True)
        other = _open(url)
        assert other.claim(["0"]) is None, "Optuna may not know of the end"
        assert other.settle() == []
        assert other.running() == []
        (trial,) = other.record().trials
        assert (trial.state, trial.epochs) == (kind, 3)
        again = other.claim(["0"])
        assert again is None if kind == "complete" else (again.slot, again.attempt) == ("0", 0)


def test_optuna_reads_what_was_written(url):
    """What is written into its tables is what its own storage would have written."""
    import optuna

    study = _open(url)
    claims = [study.claim(POINTS) for _ in range(4)]
    for number, value in enumerate((0.5, float("inf"))):
        study.report(claims[number].trial_id, 1, float("nan"))
        study.report(claims[number].trial_id, 1, value)
        study.report(claims[number].trial_id, 2, value)
    _complete(study, claims[0], float("-inf"))
    study.end(claims[1].number, claims[1].trial_id, kind="pruned", reason="why", epochs=2)
    study.end(claims[2].number, claims[2].trial_id, kind="error", reason="why")
    ours = optuna.load_study(study_name="a", storage=url)
    theirs = optuna.create_study(study_name="b", storage=url)
    theirs.add_trials(ours.trials)
    for own, copied in zip(ours.trials, theirs.trials, strict=True):
        assert (own.number, own.state, own.values) == (copied.number, copied.state, copied.values)
        assert own.params == copied.params
        assert own.distributions == copied.distributions
        assert own.user_attrs == copied.user_attrs
        assert own.intermediate_values == copied.intermediate_values
        assert own.datetime_start == copied.datetime_start
    states = [trial.state.name for trial in ours.trials]
    assert states == ["COMPLETE", "PRUNED", "FAIL", "RUNNING"]
    assert ours.trials[0].value == float("-inf")
    assert ours.trials[0].duration is not None
    assert ours.ask().number == 4, "Optuna counts on"
    assert study.claim(["more"]).number == 5


@pytest.mark.slow
class TestStoredBefore:
    """Studies that know no table of claims."""

    SCRIPT = """
import os, sys
from recsweep.tuning.space import Dimension
from recsweep.tuning.storage import open_storage
from recsweep.tuning.study import Definition, Point, open_study
from recsweep.tuning.trial import attach

grid = Dimension("model.user_dim", options=("5", "6", "7", "8"), values=(5, 6, 7, 8))
points = [Point(str(place), (f"model.user_dim={value}",), {"model.user_dim": value})
          for place, value in enumerate(grid.values)]
kinds = {"kind": "grid"}, {"kind": "none"}
definition = Definition("a", ("mse",), ("minimize",), {}, {"seed": 0}, *kinds)
study = open_study(open_storage(sys.argv[1]), definition, lambda: [], allow_changes=False)
study.know_grid([grid])

def handle():
    claim = study.claim(points)
    return attach({"study": "a", "storage": sys.argv[1], "id": claim.trial_id,
                   "number": claim.number, "parent_run": None})

trial = handle()
trial.report(1, 0.5)
trial.complete({"validation/mse": 0.25}, chosen_by="mse", epochs=4, num_parameters=10)
handle().failed("no memory", 2)
handle().released("interrupted")
handle().report(3, 0.5)
os._exit(9)  # one that is running
"""

    @pytest.fixture(params=["7a14e07", "f2ffba7"])
    def stored(self, request, url, tmp_path):
        """The URL of a database in which an earlier version has left a study."""
        archive = subprocess.run(
            ["git", "archive", request.param, "src"], cwd=REPOSITORY, capture_output=True
        )
        if archive.returncode:
            pytest.skip(f"no history: {request.param} is not there")
        (tmp_path / "src.tar").write_bytes(archive.stdout)
        with tarfile.open(tmp_path / "src.tar") as packed:
            packed.extractall(tmp_path, filter="data")
        done = subprocess.run(
            [sys.executable, "-c", self.SCRIPT, url],
            capture_output=True,
            text=True,
            timeout=200,
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": f"{tmp_path / 'src'}:{os.environ.get('PYTHONPATH', '')}",
            },
        )
        assert done.returncode == 9, done.stderr
        return url

    def test_go_on_where_they_were(self, stored):
        study = _open(stored)
        assert _states(study) == [
            ("0", "complete", 0),
            ("1", "failed", 0),
            ("2", "interrupted", 0),
            ("2", "running", 0),
        ]
        assert study.settle(thoroughly=True) == [3]
        claims = [study.claim(POINTS) for _ in range(2)]
        assert [claim and (claim.slot, claim.number) for claim in claims] == [("3", 4), None]
        study.retries = 1
        claim = study.claim(POINTS)
        assert (claim.slot, claim.attempt, claim.number) == ("2", 1, 5)
        study.reopen_failed()
        claim = study.claim(POINTS)
        assert (claim.slot, claim.attempt) == ("1", 1)
        assert study.claim(POINTS, max_epochs=9) is None
        assert _open(stored).claim(POINTS) is None, "nothing is learnt twice"

    def test_opened_by_two_at_once(self, stored):
        storages, studies = [Storage(stored) for _ in range(2)], []
        threads = [
            threading.Thread(
                target=lambda storage=storage: studies.append(_open(stored, storage=storage))
            )
            for storage in storages
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({study._key for study in studies}) == 1
        with studies[0].storage.claims.exclusive() as connection:
            rows = studies[0].storage.claims.slots(connection, studies[0]._key)
            assert {name: (row.state, row.epochs) for name, row in rows.items()} == {
                "0": ("complete", 4),
                "1": ("failed", 2),
                "2": ("running", 0),
            }
        assert sum(len(study.settle(thoroughly=True)) for study in studies) == 1
        claims = [study.claim(POINTS) for study in studies]
        assert [claim and claim.slot for claim in claims] == ["3", None]

    def test_a_copy_and_one_that_was_deleted(self, url):
        import optuna

        study = _open(url)
        _complete(study, study.claim(POINTS))
        study.claim(POINTS)
        optuna.copy_study(from_study_name="a", from_storage=url, to_storage=url, to_study_name="b")
        copied = _open(url, "b")
        assert copied.claim(POINTS).slot == "2"
        optuna.delete_study(study_name="a", storage=url)
        again = _open(url)
        assert again.record().trials == ()
        assert again.claim(POINTS).slot == "0"


def test_no_private_name_of_optuna_is_used():
    import optuna

    public = optuna.create_study()
    trial = public.ask()
    objects = [
        public,
        trial,
        public.trials[0],
        optuna.storages.InMemoryStorage(),
        optuna.storages.RDBStorage,
    ]
    private = {
        name
        for each in objects
        for name in dir(each)
        if name.startswith("_") and not name.startswith("__")
    }
    for path in sorted((REPOSITORY / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = (
                    [alias.name for alias in node.names]
                    if isinstance(node, ast.Import)
                    else [f"{node.module}.{alias.name}" for alias in node.names]
                )
                assert not any(
                    module.startswith("optuna") and "._" in module for module in modules
                ), path
            elif isinstance(node, ast.Attribute) and "tuning" in path.parts:
                owner = node.value.id if isinstance(node.value, ast.Name) else ""
                assert owner in ("self", "cls") or node.attr not in private, (
                    f"{path}: {ast.unparse(node)}"
                )
