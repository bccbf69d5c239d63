"""What can't be compared is not ranked: other data, another split, another measure."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.tuning.conftest import runs
from tests.tuning.test_after_the_search import artifacts

from recsweep.config import conf_dir
from recsweep.errors import StudyError
from recsweep.tuning.conclusion import first_look, stored
from recsweep.tuning.confirm import confirmation_of
from recsweep.tuning.options import SecondLook
from recsweep.tuning.records import StudyRecord, TrialRecord
from recsweep.tuning.refit import RefitOptions, refit
from recsweep.tuning.tables import leaderboard_table

AP = "validation/average_precision"


def trial(number: int, value: float, digest: str | None = "d0", **settings: object) -> TrialRecord:
    return TrialRecord(
        number=number,
        state="complete",
        params={name.replace("__", "."): each for name, each in settings.items()},
        overrides=(),
        values=(value,),
        name=f"model {number}",
        run_id=f"run{number}",
        objectives=(AP,),
        digests=None if digest is None else (digest, "s"),
    )


def study(*trials: TrialRecord) -> StudyRecord:
    return StudyRecord(
        name="any",
        objectives=(AP,),
        directions=("maximize",),
        space={},
        fixed={},
        trials=trials,
        planned=len(trials),
        sampler="grid",
        pruner="none",
    )


TWO = study(
    trial(0, 0.1, "thin", data__density=0.05, model="knn"),
    trial(1, 0.5, "thick", data__density=0.3, model="knn"),
    trial(2, 0.2, "thin", data__density=0.05, model="ease"),
    trial(3, 0.4, "thick", data__density=0.3, model="ease"),
)


class TestGroups:
    def test_are_ranked_each_by_itself_and_nobody_is_the_best(self) -> None:
        assert [group.label for group in TWO.groups] == ["data.density=0.05", "data.density=0.3"]
        assert [each.number for each in TWO.leaderboard] == [2, 0, 1, 3]
        assert TWO.best is None
        rows = leaderboard_table(TWO).rows
        assert [(row["measured_on"], row["rank"]) for row in rows] == [
            ("data.density=0.05", 1),
            ("data.density=0.05", 2),
            ("data.density=0.3", 1),
            ("data.density=0.3", 2),
        ]

    def test_are_said_and_name_no_winner(self) -> None:
        found = first_look(TWO)
        assert (found.winner, found.value, found.runs) == (None, None, ())
        assert found.words.startswith("No winner: the trials were measured in 2 ways")
        assert f"on data.density=0.05 trial 2, model 2, {AP} 0.2000" in found.words
        assert f"on data.density=0.3 trial 1, model 1, {AP} 0.5000" in found.words

    def test_are_not_looked_at_again_and_take_back_what_was_said(self) -> None:
        assert confirmation_of(TWO, SecondLook(top=2), used=0) is None
        assert stored(TWO, {"winner": 1, "verdict": "winner: trial 1"}) is None

    def test_the_best_of_each_value_is_one_in_each(self) -> None:
        assert [each.number for each in TWO.best_of_each("data.density")] == [2, 1]
        assert [each.number for each in TWO.best_of_each("model")] == [2, 0, 1, 3]

    def test_splits_that_differ_by_their_seed_say_how_their_mean_decides(self) -> None:
        seeds = study(*(trial(each, 0.1, f"d{each}", split__seed=each) for each in range(3)))
        assert "hydra.sweeper.repeats=split.seed:3" in first_look(seeds).words

    def test_follow_from_the_digests_and_not_from_names(self) -> None:
        same = study(trial(0, 0.1, "d", data__name="a"), trial(1, 0.2, "d", data__name="b"))
        assert same.best == same.trials[1]
        hidden = study(trial(0, 0.1, "d", seed=0), trial(1, 0.2, "e", seed=1))  # split.seed=${seed}
        assert [group.label for group in hidden.groups] == ["seed=0", "seed=1"]

    def test_of_trials_that_knew_no_digests_follow_from_their_settings(self) -> None:
        old = [replace(each, digests=None) for each in TWO.trials]
        assert [len(group.trials) for group in study(*old).groups] == [2, 2]
        assert len(study(trial(0, 0.1, None), trial(1, 0.2, "d")).groups) == 1

    def test_are_of_one_measure_each(self) -> None:
        mixed = study(trial(0, 0.1), replace(trial(1, 0.2), objectives=("validation/mse",)))
        table = leaderboard_table(mixed)
        assert [group.label for group in mixed.groups] == [AP, "validation/mse"]
        assert [row["validation/mse"] for row in table.rows] == [None, 0.2]
        protocol = study(
            trial(0, 0.1, evaluation__candidates="part"),
            trial(1, 0.2, evaluation__candidates="unseen"),
        )
        assert protocol.best is None


class TestAStudy:
    def test_of_different_data_is_grouped_in_all_that_it_leaves(
        self, sweep: Callable, store: Path, capsys: pytest.CaptureFixture
    ) -> None:
        record = sweep(
            "model=popularity", "data.density=0.1,0.3", "hydra.sweeper.study_name=densities"
        )
        told = capsys.readouterr().out
        assert "best" not in told.partition("study densities")[0]
        assert "No winner: the trials were measured in 2 ways" in told
        assert "measured on" in told
        assert {trial.digests for trial in record.trials} == {
            (tags["data_digest"], tags["split_digest"])
            for _, tags in runs(store).values()
            if "data_digest" in tags
        }
        _, tags = runs(store)["densities"]
        assert not {"best_trial", "best_run", "best_model"} & set(tags)
        files, plots = artifacts(record.parent_run), artifacts(record.parent_run, "plots")
        rows = list(csv.DictReader(files["leaderboard.csv"].open(encoding="utf-8")))
        assert [(row["measured_on"], row["rank"], row["winner"]) for row in rows] == [
            ("data.density=0.1", "1", ""),
            ("data.density=0.3", "1", ""),
        ]
        assert "No winner" in files["summary.md"].read_text(encoding="utf-8")
        assert "No winner" in plots["study.html"].read_text(encoding="utf-8")
        assert not {"optimization_history.svg", "param_importances.svg"} & set(plots)
        for options in ({}, {"top": 1}):
            with pytest.raises(StudyError, match=r"has no winner: .* --best-of data\.density"):
                refit(RefitOptions(study="densities", **options), conf_dir())

    @pytest.mark.parametrize(
        ("overrides", "said"),
        [
            (
                ("evaluation.objective=mse,average_precision",),
                "hydra.sweeper.objectives=[mse,average_precision]",
            ),
            (("evaluation.candidates=part,unseen",), "Give it one value"),
            (("evaluation.k=[5],[10]",), "evaluation.k can't be varied"),
            (
                ("data.density=interval(0.1,0.3)",),
                "hydra/sweeper/sampler=random hydra/sweeper/pruner=none",
            ),
            (
                ("split.seed=0,1,2", "hydra.sweeper.n_trials=2"),
                "hydra.sweeper.repeats=split.seed:3",
            ),
            (("split=random_cells,per_user_ratio", "hydra.sweeper.n_trials=2"), "split can't be"),
            (
                ("data.density=0.1,0.3", "hydra.sweeper.confirm.top=2"),
                "take hydra.sweeper.confirm.top=0",
            ),
            (
                ("model=recipe_net", "loss=mse,bce", "hydra.sweeper.objectives=train/loss"),
                "Choose a measure of validation",
            ),
        ],
    )
    def test_that_could_not_compare_is_refused_before_anything_is_trained(
        self, refused: Callable, store: Path, overrides: tuple, said: str
    ) -> None:
        assert said in refused("model=popularity", *overrides)
        assert runs(store) == {}
