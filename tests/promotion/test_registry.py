"""The champion's alias and the lock under which it moves."""

import multiprocessing
import os
import signal
import time

import pytest
from filelock import FileLock, Timeout

from recsweep import pipeline
from recsweep.errors import ConfigError, RegistryError
from recsweep.processes import Worker
from recsweep.promotion.registry import Registry
from recsweep.tracking import TrackingOptions, finished_runs, tracker

OPTIONS = TrackingOptions(uri=None, experiment="recsweep")


@pytest.fixture
def opened(store):
    return tracker(OPTIONS)


@pytest.fixture
def trained(compose, store):
    """Two runs of models."""
    pipeline.run_many([compose("model=popularity"), compose("model=popularity_by_activity")])
    return finished_runs(OPTIONS)


def _lock_models(opened) -> list[str]:
    """Registered models by which earlier versions kept others out."""
    return [each.name for each in opened.client.search_registered_models("name LIKE '%.lock.%'")]


def _lock_file(opened) -> FileLock:
    return FileLock(f"{opened.uri.removeprefix('sqlite:///')}.champion.lock", timeout=0)


def _is_held(opened) -> bool:
    try:
        with _lock_file(opened):
            return False
    except Timeout:
        return True


class TestVersions:
    def test_there_is_no_champion_before_the_first(self, opened):
        assert Registry(opened).champion() is None
        assert Registry(opened).version("1") is None

    def test_a_registered_version_is_not_yet_the_champion(self, opened, trained):
        version = Registry(opened).register(
            trained[0], tags={"measure": "mse"}, description="words"
        )
        assert (version.version, version.run_id, version.model_id) == (
            "1",
            trained[0].id,
            trained[0].model_id,
        )
        assert version.tags["measure"] == "mse"
        assert Registry(opened).champion() is None

    def test_the_alias_moves_under_the_lock(self, opened, trained):
        ours = Registry(opened)
        before = int(time.time() * 1000)
        for record, expected in ((trained[0], None), (trained[1], "1")):
            with ours.only_one() as lock:
                assert _is_held(opened)
                version = ours.register(record, tags={}, description="words")
                lock.move_champion(version, None if expected is None else ours.version(expected))
        champion = ours.champion()
        assert (champion.version, champion.run_id) == ("2", trained[1].id)
        assert before <= champion.since <= time.time() * 1000
        assert not _is_held(opened)

    def test_mlflow_loads_what_is_the_champion(self, opened, trained, monkeypatch):
        import mlflow

        ours = Registry(opened, "likes of ours")
        with ours.only_one() as lock:
            lock.move_champion(ours.register(trained[0], tags={}, description="words"), None)
        before = mlflow.get_tracking_uri()
        monkeypatch.setenv(
            "MLFLOW_TRACKING_URI", opened.uri
        )  # set_tracking_uri sets it too, and leaves it behind
        mlflow.set_tracking_uri(opened.uri)
        try:
            (answer,) = mlflow.pyfunc.load_model("models:/likes of ours@champion").predict(
                [{"user_id": "1", "k": 3}]
            )
        finally:
            mlflow.set_tracking_uri(before)
        assert len(answer["item_ids"]) == 3

    @pytest.mark.parametrize("name", ["", "a/b", "a:b", "x'y", " x", None])
    def test_a_name_that_mlflow_does_not_take(self, name, opened):
        with pytest.raises(ConfigError, match="The name of a registered model must begin with"):
            Registry(opened, name)


class TestTheLock:
    def test_a_champion_that_changed_meanwhile_stays(self, opened, trained):
        ours = Registry(opened)
        with ours.only_one() as lock:
            first = lock.move_champion(ours.register(trained[0], tags={}, description=""), None)
        with ours.only_one() as lock:
            second = ours.register(trained[1], tags={}, description="")
            with pytest.raises(
                RegistryError, match=r"changed meanwhile: there was none, and it is version 1"
            ):
                lock.move_champion(second, None)
        assert ours.champion().version == first.version

    def test_a_held_lock_is_waited_for_and_then_said_in_words(self, opened):
        with (
            _lock_file(opened),
            pytest.raises(
                RegistryError,
                match=r"Another process is changing the champion of "
                r"'recsweep', and holds /.*mlflow.db.champion.lock \(`fuser` names",
            ),
            Registry(opened).only_one(wait=0.3),
        ):
            pytest.fail("two hold it")

    def test_what_an_earlier_version_left_behind_is_no_lock_and_is_deleted(self, opened):
        dead = Worker.here()
        opened.client.create_registered_model(
            "recsweep.lock.4",
            tags={
                "host": dead.host,
                "space": dead.space,
                "pid": str(dead.pid),
                "started": "another",
                "token": "of 4",
            },
        )
        opened.client.create_registered_model("recsweep.lock.by hand")
        with Registry(opened).only_one(wait=0):
            assert _lock_models(opened) == ["recsweep.lock.by hand"]

    def test_without_a_lock_file_a_champion_is_looked_at_after_the_move_too(
        self, opened, trained, monkeypatch
    ):
        """As on a server, whose aliases have no compare-and-set."""
        ours = Registry(opened)
        monkeypatch.setattr(ours, "_database", None)
        give_alias = Registry._give_alias

        def beaten(self, version):
            moved = give_alias(self, version)
            other = ours.register(trained[1], tags={}, description="")
            opened.client.set_registered_model_alias("recsweep", "champion", other.version)
            return moved

        monkeypatch.setattr(Registry, "_give_alias", beaten)
        with ours.only_one() as change:
            assert not _is_held(opened)
            version = ours.register(trained[0], tags={}, description="")
            with pytest.raises(RegistryError, match="at the same moment: version 1 is not it"):
                change.move_champion(version, None)
        assert ours.champion().version == "2"

    def test_a_crash_between_registering_and_moving_leaves_the_old_champion(
        self, opened, trained, monkeypatch
    ):
        ours = Registry(opened)
        with ours.only_one() as lock:
            lock.move_champion(ours.register(trained[0], tags={}, description=""), None)
        monkeypatch.setattr(opened.client, "set_registered_model_alias", lambda *_: 1 / 0)
        with ours.only_one() as lock:
            version = ours.register(trained[1], tags={}, description="")
            with pytest.raises(ZeroDivisionError):
                lock.move_champion(version, ours.version("1"))
        assert ours.champion().version == "1"
        assert not _is_held(opened)


def _hold_and_count(uri: str, path: str, times: int) -> None:
    """Add one to a number in a file, under the lock alone."""
    ours = Registry(tracker(TrackingOptions(uri=uri, experiment="recsweep")))
    for _ in range(times):
        with ours.only_one(wait=120):
            with open(path) as stream:
                number = int(stream.read())
            time.sleep(0.02)
            with open(path, "w") as stream:
                stream.write(str(number + 1))


def _hold_for_ever(uri: str, held: "multiprocessing.Event") -> None:
    with Registry(tracker(TrackingOptions(uri=uri, experiment="recsweep"))).only_one():
        held.set()
        time.sleep(600)


@pytest.mark.slow
class TestWithProcesses:
    context = multiprocessing.get_context("spawn")

    def test_one_at_a_time_though_one_is_killed(self, opened, tmp_path):
        held = self.context.Event()
        killed = self.context.Process(target=_hold_for_ever, args=(opened.uri, held))
        killed.start()
        assert held.wait(60)
        os.kill(killed.pid, signal.SIGKILL)
        killed.join()
        path = tmp_path / "number"
        path.write_text("0")
        processes = [
            self.context.Process(target=_hold_and_count, args=(opened.uri, str(path), 5))
            for _ in range(4)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(120)
        assert [process.exitcode for process in processes] == [0] * 4
        assert path.read_text() == "20"
        assert not _is_held(opened)
