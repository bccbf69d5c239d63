"""Repeats: each point with each seed, whose mean decides."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from tests.tuning.conftest import runs
from tests.tuning.test_after_the_search import artifacts

from recsweep.config import conf_dir
from recsweep.errors import ConfigError
from recsweep.tuning.conclusion import first_look
from recsweep.tuning.confirm import confirmation_of
from recsweep.tuning.importance import seed_noise
from recsweep.tuning.options import SecondLook
from recsweep.tuning.records import StudyRecord, TrialRecord
from recsweep.tuning.refit import RefitOptions, refit
from recsweep.tuning.repeats import Repeats, RepeatsAsked
from recsweep.tuning.storage import open_storage, storage_url
from recsweep.tuning.study import Study
from recsweep.tuning.tables import leaderboard_table

AP = "validation/average_precision"
SPLITS = Repeats("split.seed", (0, 1, 2))
VALUES = np.array([[0.1, 0.2, 0.3], [0.3, 0.1, 0.35], [0.2, 0.15, 0.1]])  # (points, splits)


def study(values: np.ndarray = VALUES, repeats: Repeats = SPLITS) -> StudyRecord:
    """Points with these values, trained with one seed after the other; nan was not trained."""
    trials = [
        TrialRecord(
            number=number,
            state="complete",
            params={"dim": point},
            overrides=(f"dim={point}", repeats.override(seed)),
            values=(float(values[point, place]),),
            name=f"net {point}",
            run_id=f"{point} on {seed}",
            slot=f"{point}@{seed}",
            seed=0,
            objectives=(AP,),
            digests=("d", f"split {seed}"),
            seconds=1.0,
        )
        for number, (place, seed, point) in enumerate(
            (place, seed, point)
            for place, seed in enumerate(repeats.values)
            for point in range(len(values))
        )
    ]
    return StudyRecord(
        name="any",
        objectives=(AP,),
        directions=("maximize",),
        space={"dim": "0, 1, 2"},
        fixed={"seed": 0},
        trials=tuple(trial for trial in trials if not np.isnan(trial.values[0])),
        planned=values.size,
        sampler="grid",
        pruner="none",
        repeats=repeats,
    )


class TestPoints:
    def test_are_ranked_by_their_means_over_the_splits(self) -> None:
        board = study().leaderboard
        assert [point.name for point in board] == ["net 1", "net 0", "net 2"]
        assert [point.values[0] for point in board] == pytest.approx([0.25, 0.2, 0.15])
        assert board[0].deviations[0] == pytest.approx(VALUES[1].std(ddof=1))
        assert [run.run_id for run in board[0].runs] == ["1 on 0", "1 on 1", "1 on 2"]

    def test_that_lack_a_repeat_are_marked_and_never_win(self) -> None:
        values = VALUES.copy()
        values[1, 2] = np.nan  # its mean would still be the best
        values[1, 0] = 0.9
        record = study(values)
        assert record.best.name == "net 0"
        rows = leaderboard_table(record, [record.best]).rows
        assert [(row["rank"], row["model"], row["repeats"]) for row in rows] == [
            (1, "net 0", "3"),
            (2, "net 2", "3"),
            (None, "net 1", "2 of 3: incomplete"),
        ]
        assert [row["winner"] for row in rows] == ["yes", None, None]
        assert "1 that lack repeats are not ranked" in first_look(record).words
        nothing = study(np.where(np.arange(3) == 2, np.nan, VALUES))
        assert (nothing.best, nothing.leaderboard) == (None, [])
        assert first_look(nothing).words == "No setting has finished with all 3 splits."

    def test_conclude_with_the_mean_and_how_sure_its_lead_is(self) -> None:
        found = first_look(study())
        p = stats.ttest_rel(VALUES[1], VALUES[0]).pvalue
        assert found.value == pytest.approx(0.25)
        assert found.runs == ("1 on 0", "1 on 1", "1 on 2")
        assert f"best mean: trial 1, net 1, {AP} 0.2500 over 3 splits, 1 seed" in found.words
        assert "lead of 0.0500 over trial 0 (net 0) is within the noise between splits" in (
            found.words
        )
        assert p > 0.05
        sure = study(VALUES * 0.01 + np.array([[0.1], [0.5], [0.2]]))
        assert "is more than the noise between splits" in first_look(sure).words

    def test_on_different_data_too_are_grouped(self) -> None:
        record = study()
        other = tuple(
            replace(each, digests=("e", each.digests[1])) if each.params["dim"] == 2 else each
            for each in record.trials
        )
        assert [len(group.trials) for group in replace(record, trials=other).groups] == [2, 1]

    def test_tell_the_noise_of_one_setting(self) -> None:
        noise = seed_noise(study(), None)
        assert noise.degrees == 6
        assert "splits" in noise.source
        assert noise.deviation == pytest.approx(np.sqrt(VALUES.var(axis=1, ddof=1).mean() / 3))

    def test_are_looked_at_again_on_fresh_splits_with_fresh_seeds(self) -> None:
        confirmation = confirmation_of(study(), SecondLook(top=2, seeds=2), used=0)
        points = confirmation.points()
        assert [point.overrides[-2:] for point in points] == [
            ("split.seed=3", "seed=1"),
            ("split.seed=3", "seed=1"),
            ("split.seed=4", "seed=2"),
            ("split.seed=4", "seed=2"),
        ]
        assert points[0].params == {"trial": 1, "seed": 1, "split.seed": 3}
        assert "each with a split.seed of its own, 3 to 4" in confirmation.words()
        seeds = confirmation_of(study(repeats=Repeats("seed", (0, 1, 2))), SecondLook(top=2), 2)
        assert seeds.repeats is None
        assert seeds.seeds == (3, 4, 5, 6, 7)


class TestAsked:
    @pytest.mark.parametrize(
        ("given", "seeds"),
        [
            ("split.seed:3", (7, 8, 9)),
            ("split.seed:1,2,5", (1, 2, 5)),
            ({"split.seed": 2}, (7, 8)),
            ({"split.seed": [4, 6]}, (4, 6)),
        ],
    )
    def test_as_a_number_or_as_seeds(self, given: object, seeds: tuple) -> None:
        assert RepeatsAsked.read(given).from_seed(7) == Repeats("split.seed", seeds)

    @pytest.mark.parametrize(
        "given",
        ["split.seed", "split.seed:1", "split.seed:0", "model:3", "seed:x", "seed:2,2", ["seed:3"]],
    )
    def test_impossible_ones(self, given: object) -> None:
        with pytest.raises(ConfigError, match="must name a seed and how many of them"):
            RepeatsAsked.read(given)


class TestAStudy:
    GRID = ("model=popularity,knn", "hydra.sweeper.study_name=repeated")
    SPLITS = "hydra.sweeper.repeats=split.seed:2"

    def test_trains_each_point_on_each_split(
        self, sweep: Callable, store: Path, capsys: pytest.CaptureFixture
    ) -> None:
        record = sweep(*self.GRID, self.SPLITS)
        trained = [(trial.params["model"], trial.repeat) for trial in record.trials]
        assert trained == [("popularity", "0"), ("knn", "0"), ("popularity", "1"), ("knn", "1")]
        assert len({trial.digests for trial in record.trials}) == 2
        told = capsys.readouterr().out
        assert "over 2 splits, 1 seed" in told
        assert "split.seed=1" in told
        _, tags = runs(store)["repeated"]
        assert tags["best_runs"].split(",") == [run.run_id for run in record.best.runs]
        rows = csv.DictReader(artifacts(record.parent_run)["leaderboard.csv"].open())
        row = next(rows)
        assert float(row[AP]) == pytest.approx(record.best.values[0])
        assert row["repeats"] == "2"
        before = runs(store)
        assert sweep(*self.GRID, self.SPLITS) == record
        assert runs(store) == before
        longer = sweep(
            *self.GRID, "hydra.sweeper.repeats=split.seed:3", "hydra.sweeper.allow_changes=true"
        )
        assert [trial.repeat for trial in longer.trials] == ["0", "0", "1", "1", "2", "2"]
        (outcome,) = refit(RefitOptions(study="repeated"), conf_dir())
        assert outcome.name == longer.best.name

    def test_searches_by_the_mean(self, sweep: Callable, store: Path) -> None:
        record = sweep(
            "model=knn",
            "model.num_neighbors=interval(5,40)",
            "hydra.sweeper.n_trials=2",
            self.SPLITS,
        )
        assert [trial.slot for trial in record.trials] == ["0@0", "0@1", "1@0", "1@1"]
        assert record.trials[0].params == record.trials[1].params != record.trials[2].params
        seen = Study(open_storage(storage_url(None)), record.name).optuna().trials
        assert [trial.value for trial in seen] == pytest.approx(
            [
                np.mean([trial.values[0] for trial in record.trials[each : each + 2]])
                for each in (0, 2)
            ]
        )
        assert record.pruner == "none"

    @pytest.mark.parametrize(
        ("overrides", "said"),
        [
            (("split=temporal",), "these settings have no split.seed"),
            (("split.seed=0,1",), "split.seed is varied and repeated"),
            (("hydra/sweeper/pruner=median",), "can't be used with repeats"),
        ],
    )
    def test_that_can_not_be_repeated_is_refused(
        self, refused: Callable, overrides: tuple, said: str
    ) -> None:
        assert said in refused("model=popularity,knn", self.SPLITS, *overrides)
