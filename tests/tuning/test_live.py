"""The page of a study while it runs: what it says, who writes it, and how often."""

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from mlflow import MlflowClient
from tests.tuning.conftest import runs

from recsweep.errors import TrackingError
from recsweep.tracking import tracking_uri
from recsweep.tracking.spool import Outbox, Spool
from recsweep.tuning import live
from recsweep.tuning.conclusion import first_look, headline, so_far
from recsweep.tuning.publish import ParentRun
from recsweep.tuning.records import StudyRecord, TrialRecord
from recsweep.tuning.state import State, ended, running
from recsweep.tuning.storage import Storage
from recsweep.tuning.tables import leaderboard_table

AP = "validation/average_precision"
NETS = ("model.user_dim=2,3,4", "model.hidden_dim=4", "hydra.sweeper.study_name=dims")


def trial(number: int, state: str = "complete", value: float = 0.25, **more) -> TrialRecord:
    values = {"values": (value,), "objectives": (AP,)} if state == "complete" else {}
    settings = {"slot": str(number), "name": f"net {number}", **values, **more}
    return TrialRecord(number, state, {"dim": number}, (), **settings)


def study(*trials: TrialRecord, planned: int = 18) -> StudyRecord:
    return StudyRecord(
        "dims", (AP,), ("maximize",), {"dim": "0, 1, 2"}, {}, trials, planned, "grid", "none"
    )


def page(run_id: str) -> str:
    path = MlflowClient(tracking_uri()).download_artifacts(run_id, "plots/study.html")
    return Path(path).read_text(encoding="utf-8")


class TestWords:
    def test_who_leads_comes_first_and_nobody_has_won(self):
        record = study(trial(0), trial(1, value=0.5), trial(2, "running"))
        conclusion = so_far(record)
        assert headline(record, conclusion) == (
            "net 1 (trial 1) leads so far: 0.5000 average precision on validation."
        )
        assert (conclusion.winner, conclusion.runs) == (None, ())
        assert running(record).words == "running: 2 of 18 trials, 1 under way"

    def test_who_is_the_best_at_the_end(self):
        record = study(trial(0), trial(1, value=0.5), planned=2)
        assert headline(record, first_look(record)) == (
            "net 1 (trial 1) is the best of 2: 0.5000 average precision on validation."
        )
        assert ended(record, "FINISHED").words == "finished: 2 of 2 trials"

    def test_an_end_before_the_end_says_what_goes_on_with_it(self):
        record = study(trial(0), trial(1, "interrupted"))
        assert ended(record, "KILLED", "interrupted").words == (
            "interrupted: 1 of 18 trials (1 finished, 1 interrupted); the same command goes on "
            "with it"
        )
        assert ended(record, "FINISHED", "the time of 5 s was up").words.startswith("stopped: 1 of")

    def test_the_moment_is_in_utc(self):
        assert State("", is_running=True, written=0).moment == "1970-01-01 00:00:00 UTC"

    def test_a_running_trial_stands_below_the_ranks(self):
        record = study(trial(0), trial(1, "running", intermediate={1: 0.5, 2: 0.75}))
        table = leaderboard_table(record)
        assert [row["trial"] for row in table.rows] == [0]
        assert table.footer[0]["model"] == "net 1: running, 0.7500 in epoch 2"
        assert "running" not in table.csv()


class TestTurns:
    def test_one_process_at_a_time(self, url: str):
        own, other = Storage(url).claims, Storage(url).claims
        own.add_study("dims", "token")
        key = own.study("dims").key
        assert own.take_turn(key, "page", 100)
        assert not other.take_turn(key, "page", 100)
        own.end_turn(key, "page", 100)
        assert not other.take_turn(key, "page", 100), "it has been taken a moment ago"
        own.end_turn(key, "page", 0)
        assert other.take_turn(key, "page", 0)
        assert own.take_turn(key, "page", 100), "whoever took it for no time was killed"
        assert other.take_turn(key, "another", 100)


class Written:
    """A parent run that counts, and a study whose turn is always free."""

    def __init__(self) -> None:
        self.shown: list[StudyRecord] = []
        self.pauses: list[float] = []

    def show(self, record: StudyRecord, conclusion: object) -> bool:
        self.shown.append(record)
        return True

    def take_turn(self, name: str, seconds: float) -> bool:
        return True

    def end_turn(self, name: str, pause: float) -> None:
        self.pauses.append(pause)


class TestHowOften:
    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        now = [1000.0]
        monkeypatch.setattr(live.time, "monotonic", lambda: now[0])
        monkeypatch.setattr(live.time, "process_time", lambda: now[0] / 1000)
        return now

    def test_by_time_and_only_where_something_is_new(self, clock: list[float]):
        written = Written()
        page = live.Live(written, written)
        record = study(trial(0))
        for _ in range(600):  # ten minutes of looks, and a trial a second in the first of them
            if clock[0] < 1060:
                record = study(*record.trials, trial(len(record.trials)))
            page.look(lambda record=record: record)
            clock[0] += 1
        assert [len(each.trials) for each in written.shown] == [12, 27, 42, 57, 61]
        assert set(written.pauses) == {live.EVERY_SECONDS}

    def test_epochs_alone_are_shown_each_minute(self, clock: list[float]):
        written = Written()
        page = live.Live(written, written)
        for second in range(200):
            under_way = trial(1, "running", intermediate={second + 1: 0.5})
            page.look(lambda under_way=under_way: study(trial(0), under_way))
            clock[0] += 1
        assert len(written.shown) == 4

    def test_what_takes_long_is_done_seldom(self, clock: list[float]):
        written = Written()

        def slowly(record: StudyRecord, conclusion: object) -> bool:
            clock[0] += 10
            return Written.show(written, record, conclusion)

        written.show = slowly
        page = live.Live(written, written)
        for number in range(1000):
            page.look(lambda number=number: study(*map(trial, range(1 + number // 10))))
            clock[0] += 1
        assert len(written.shown) == 11, "a tenth of the time, at most"

    def test_nothing_where_no_trial_has_finished(self, clock: list[float]):
        written = Written()
        page = live.Live(written, written)
        for _ in range(100):
            page.look(lambda: study(trial(0, "running")))
            clock[0] += 1
        assert written.shown == []

    def test_a_store_that_is_away_is_no_end(self, clock: list[float]):
        written = Written()

        def away(record: StudyRecord, conclusion: object) -> bool:
            raise TrackingError("The store is away.")

        written.show = away
        clock[0] += 60
        live.Live(written, written).look(lambda: study(trial(0)))
        clock[0] += 60
        assert written.pauses == [] or written.pauses == [0.0]


class TestInAStudy:
    @pytest.fixture
    def pages(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
        """Status of the study's run and its page, each time it was written while it ran."""
        monkeypatch.setattr(live, "FIRST_SECONDS", 0)
        monkeypatch.setattr(live, "EVERY_SECONDS", 0)
        monkeypatch.setattr(live, "SHARE", 1e9)
        monkeypatch.setattr(live, "CPU_SHARE", 1e9)
        pages, show = [], ParentRun.show

        def watched(self: ParentRun, *arguments: object) -> bool:
            done = show(self, *arguments)
            status = MlflowClient(tracking_uri()).get_run(self.run.id).info.status
            pages.append((status, page(self.run.id)))
            return done

        monkeypatch.setattr(ParentRun, "show", watched)
        return pages

    def test_it_is_written_while_it_runs_and_at_its_end(
        self, sweep: Callable, store: Path, pages: list[tuple[str, str]]
    ):
        record = sweep(*NETS, "hydra.sweeper.n_jobs=1")
        assert [status for status, _ in pages] == ["RUNNING"] * len(pages)
        for number in (1, 2):
            assert any(f"running: {number} of 3 trials" in text for _, text in pages)
        text = pages[0][1]
        sentence = re.search(r'<div class="words">\s*<p>(.*)</p>', text)
        assert sentence[1].startswith("recipe_net ")
        assert "leads so far" in sentence[1]
        moment = datetime.strptime(re.search(r"Written (.* UTC)", text)[1], "%Y-%m-%d %H:%M:%S UTC")
        assert moment.year >= 2026
        assert "best_trial" not in text
        last = page(record.parent_run)
        assert "finished: 3 of 3 trials" in last
        assert f"(trial {record.best.number}) is the best of 3" in last
        assert "leads so far" not in last
        assert "location.reload" not in last, "what is over needs no look"

    def test_an_interrupt_leaves_a_page_that_says_so(
        self,
        sweep: Callable,
        store: Path,
        pages: list[tuple[str, str]],
        monkeypatch: pytest.MonkeyPatch,
    ):
        look = live.Live.look

        def interrupted(self: live.Live, read: Callable) -> None:
            look(self, read)
            if len(read().of_state("complete")) == 2:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(live.Live, "look", interrupted)
            with pytest.raises(SystemExit):
                sweep(*NETS, "hydra.sweeper.n_jobs=1")
        status, tags = runs(store)["dims"]
        assert status == "KILLED"
        for text in (page(tags["run_id"]), tags["mlflow.note.content"]):
            assert "interrupted: 2 of 3 trials" in text
            assert "the same command goes on with it" in text
        record = sweep(*NETS, "hydra.sweeper.n_jobs=1")
        assert "finished: 3 of 3 trials" in page(record.parent_run)

    def test_a_second_look_stands_first_in_the_end(
        self, sweep: Callable, store: Path, pages: list[tuple[str, str]]
    ):
        record = sweep(
            *NETS,
            "hydra.sweeper.n_jobs=1",
            "hydra.sweeper.confirm.top=2",
            "hydra.sweeper.confirm.seeds=2",
        )
        own = [text for _, text in pages if "<h1>dims</h1>" in text]
        assert all("A second look with fresh seeds names the winner." in text for text in own)
        last = page(record.parent_run)
        assert "wins the second look: a mean of" in last
        tables = re.findall(r"<caption>(.*)</caption>", last)
        assert tables == ["the best again, with fresh seeds", "first look, all trials"]
        assert "first look" in last

    def test_each_kind_of_study_has_one(
        self, sweep: Callable, store: Path, pages: list[tuple[str, str]]
    ):
        sweep(
            "model=popularity,knn",
            "hydra.sweeper.repeats=split.seed:2",
            "hydra.sweeper.study_name=repeated",
            "hydra.sweeper.n_jobs=1",
        )
        assert "leads so far: a mean of" in pages[-1][1]
        assert "over 2 splits on validation" in pages[-1][1]
        pages.clear()
        sweep(
            "model=popularity,knn",
            "hydra.sweeper.objectives=[average_precision,mse]",
            "hydra.sweeper.study_name=both",
            "hydra.sweeper.n_jobs=1",
        )
        assert "So far: " in pages[-1][1]
        assert "on the Pareto front" in pages[-1][1]


class TestAway:
    def test_nothing_is_kept_of_it_while_a_server_is_away(self, tmp_path: Path):
        box = Outbox(client=None, uri="http://127.0.0.1:9", wait_seconds=0)
        assert box.is_within_reach("run")
        box.spools["run"] = Spool(tmp_path, {}, [])
        assert not box.is_within_reach("run"), "what is kept comes first"
        assert box.is_within_reach("another")
        box._away_since, box._next_look = 1.0, float("inf")
        assert not box.is_within_reach("another")
