"""Several that decide at once, one that dies meanwhile: one champion, and no decision is lost."""

import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from recsweep.config import conf_dir
from recsweep.errors import RegistryError
from recsweep.processes import Worker
from recsweep.promotion import audit, contest
from recsweep.promotion.audit import PROMOTION_TAG
from recsweep.promotion.decide import PromotionOptions, promote
from recsweep.promotion.registry import Change, Registry
from recsweep.promotion.rule import Rule
from recsweep.tracking import TrackingOptions
from tests.promotion.conftest import (
    GOOD,
    GRIDS,
    WEAK,
    audits_of,
    champion_of,
    outcomes_of,
    run_named,
)


class TestTwoAtOnce:
    def test_a_champion_that_changed_meanwhile_is_not_replaced(
        self, promoting, opened, monkeypatch
    ):
        check = Change.check

        def late(self, expected):
            monkeypatch.setattr(Change, "check", check)
            version = self.registry.register(run_named("popularity"), tags={}, description="")
            opened.client.set_registered_model_alias("recsweep", "champion", version.version)
            check(self, expected)

        monkeypatch.setattr(Change, "check", late)
        with pytest.raises(
            RegistryError, match="changed meanwhile: there was none, and it is version 1"
        ):
            promoting(GOOD)
        assert champion_of(opened).run_id == run_named("popularity").id
        (logged,) = audits_of(opened)
        assert logged.tags[PROMOTION_TAG] == "refused"
        assert "changed meanwhile" in logged.tags["reason"]

    @pytest.mark.parametrize(("moved", "outcome"), [(False, "abandoned"), (True, "promoted")])
    def test_what_a_dead_process_left_is_settled_by_the_registry(
        self, moved, outcome, promoting, opened, monkeypatch
    ):
        dead = replace(Worker.here(), started="another start")
        monkeypatch.setattr(audit.Worker, "here", classmethod(lambda cls: dead))
        run = audit.begin(opened, "recsweep")
        monkeypatch.undo()
        monkeypatch.setenv("RECSWEEP_HOME", str(Path(opened.uri.removeprefix("sqlite:///")).parent))
        version = Registry(opened).register(run_named(WEAK), tags={}, description="")
        run.log(tags={"intended": "promoted", "to_version": version.version})
        if moved:
            opened.client.set_registered_model_alias("recsweep", "champion", version.version)
        audit.settle(opened, Registry(opened))
        (logged,) = audits_of(opened)
        assert logged.tags[PROMOTION_TAG] == outcome
        assert opened.client.get_run(run.id).info.status == "KILLED"

    def test_what_a_living_process_decides_is_left_alone(self, opened):
        run = audit.begin(opened, "recsweep")
        audit.settle(opened, Registry(opened))
        assert opened.client.get_run(run.id).data.tags[PROMOTION_TAG] == "pending"
        run.end("FINISHED")

    def test_an_error_on_the_way_leaves_no_decision_pending(self, promoting, opened, monkeypatch):
        monkeypatch.setattr(opened.client, "create_model_version", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            promoting(GOOD)
        monkeypatch.undo()
        monkeypatch.setenv("RECSWEEP_HOME", str(Path(opened.uri.removeprefix("sqlite:///")).parent))
        assert champion_of(opened) is None
        promoting(GOOD)
        assert outcomes_of(opened) == ["abandoned", "promoted"]


def _promote_at_once(uri: str, run: str, barrier, results) -> None:
    """Force a run, all of them at the moment when each has made up its mind."""
    only_one = Registry.only_one

    def after_all(self, **options):
        barrier.wait(120)
        return only_one(self, **options)

    Registry.only_one = after_all
    contest.GRIDS = GRIDS
    tracking_options = TrackingOptions(uri=uri, experiment="recsweep")
    options = PromotionOptions(
        tracking=tracking_options,
        runs=[run],
        rule=Rule(guards={"latency": None}),
        force=True,
        reason="at once",
        splits=1,
    )
    try:
        results.put((run, promote(options, conf_dir()).outcome))
    except RegistryError as error:
        results.put((run, str(error)))


def _stop_before_the_move(uri: str, run: str, there) -> None:
    """Register a version, and never come to give it the alias."""

    def never(self, version, expected):
        there.set()
        time.sleep(600)

    Change.move_champion = never
    contest.GRIDS = GRIDS
    options = PromotionOptions(
        tracking=TrackingOptions(uri=uri, experiment="recsweep"),
        runs=[run],
        splits=1,
        rule=Rule(guards={"latency": None}),
        force=True,
        reason="killed",
    )
    promote(options, conf_dir())


@pytest.mark.slow
class TestProcesses:
    context = multiprocessing.get_context("spawn")

    def test_of_several_at_the_same_moment_one_wins(self, opened, promoting):
        promoting("popularity", force=True, reason="to begin with")
        names = ["knn user 50", "knn item 50", GOOD, WEAK]
        barrier, results = self.context.Barrier(len(names)), self.context.Queue()
        processes = [
            self.context.Process(target=_promote_at_once, args=(opened.uri, name, barrier, results))
            for name in names
        ]
        for process in processes:
            process.start()
        found = dict(results.get(timeout=180) for _ in names)
        for process in processes:
            process.join(60)
        outcome = {
            name: "promoted" if name == GOOD else "forced" for name in names
        }  # that one needs no force
        winners = [name for name, told in found.items() if told == outcome[name]]
        assert len(winners) == 1, found
        assert all(
            "changed meanwhile: it was version 1, and it is version 2" in told
            for name, told in found.items()
            if name not in winners
        )
        champion = champion_of(opened)
        assert (champion.version, champion.run_id) == ("2", run_named(winners[0]).id)
        assert sorted(outcomes_of(opened)) == sorted(
            ["forced", outcome[winners[0]], "refused", "refused", "refused"]
        )

    def test_a_kill_between_registering_and_moving(self, opened, promoting):
        promoting("popularity", force=True, reason="to begin with")
        there = self.context.Event()
        process = self.context.Process(target=_stop_before_the_move, args=(opened.uri, WEAK, there))
        process.start()
        assert there.wait(120)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert champion_of(opened).version == "1"
        assert (
            promoting(GOOD, guards={"coverage": None}).after == "3"
        )  # 2 was registered, and never champion
        assert champion_of(opened).previous == "1"
        assert outcomes_of(opened) == ["forced", "abandoned", "promoted"]
