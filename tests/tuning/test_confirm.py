"""The second look: which trials run again, with which seeds and settings."""

from dataclasses import replace

import pytest

from recsweep.errors import ConfigError
from recsweep.tuning.confirm import check_each, confirmation_of, greatest_seed
from recsweep.tuning.options import SecondLook, StudyOptions
from recsweep.tuning.records import StudyRecord, TrialRecord
from recsweep.tuning.space import Dimension

LONGER = ("trainer.max_epochs=60", "trainer.keep=best")


def trial(number: int, value: float, *, loss: str | None = None, seed: int = 0) -> TrialRecord:
    return TrialRecord(
        number=number,
        state="complete",
        params={"loss": loss} if loss else {},
        values=(value,),
        overrides=(f"model.user_dim={number}",),
        name=f"net {number}",
        seed=seed,
    )


def study(*trials: TrialRecord, fixed: dict | None = None) -> StudyRecord:
    return StudyRecord(
        name="dims",
        objectives=("validation/average_precision",),
        directions=("maximize",),
        space={},
        fixed=fixed or {},
        trials=trials,
        planned=len(trials),
        sampler="grid",
        pruner="none",
    )


def test_the_best_run_again_with_seeds_that_did_not_choose_them() -> None:
    record = study(
        trial(0, 0.1),
        trial(1, 0.3),
        trial(2, 0.2),
        replace(trial(3, 0.9), state="pruned", values=()),
    )
    confirmation = confirmation_of(record, SecondLook(top=2, seeds=3), used=0)
    assert [each.number for each in confirmation.trials] == [1, 2]
    assert confirmation.seeds == (1, 2, 3)
    points = confirmation.points()
    assert [point.params for point in points[:2]] == [
        {"trial": 1, "seed": 1},
        {"trial": 2, "seed": 1},
    ]
    assert points[0].overrides == ("model.user_dim=1", "seed=1")
    assert len({point.slot for point in points}) == len(points) == 6
    assert confirmation.name == "dims confirmed 1-2 x 3"  # studies stored under this name go on


def test_the_best_of_each_with_settings_of_their_own() -> None:
    record = study(
        trial(0, 0.1, loss="bce"),
        trial(1, 0.3, loss="mse"),
        trial(2, 0.2, loss="mse"),
        trial(3, 0.25, loss="bce"),
        trial(4, 0.28, loss="mse"),
    )
    look = SecondLook(top=1, seeds=2, each="loss", overrides=LONGER)
    confirmation = confirmation_of(record, look, used=0)
    assert [each.number for each in confirmation.trials] == [1, 3]
    assert confirmation.points()[1].overrides == ("model.user_dim=3", *LONGER, "seed=1")
    assert [each.number for each in confirmation_of(record, replace(look, top=2), 0).trials] == [
        1,
        4,
        3,
        0,
    ]
    assert confirmation.words() == (
        "the best of each loss, trials 1, 3, with seeds 1 to 2 and trainer.max_epochs=60 "
        "trainer.keep=best"
    )


def test_other_settings_and_other_seeds_are_another_study() -> None:
    record, look = study(trial(0, 0.1), trial(1, 0.3)), SecondLook(top=2, seeds=2)
    names = {
        confirmation_of(record, each, used).name
        for each, used in [
            (look, 0),
            (look, 5),
            (replace(look, overrides=LONGER), 0),
            (replace(look, overrides=LONGER[:1]), 0),
        ]
    }
    assert len(names) == 4


def test_nothing_to_choose_between_is_not_looked_at_again() -> None:
    assert confirmation_of(study(trial(0, 0.1)), SecondLook(top=5), used=0) is None
    assert confirmation_of(study(trial(0, 0.1), trial(1, 0.2)), SecondLook(), used=0) is None
    one_loss = study(trial(0, 0.1, loss="mse"), trial(1, 0.2, loss="mse"))
    assert confirmation_of(one_loss, SecondLook(top=1, each="loss"), used=0) is None


class TestFreshSeeds:
    def test_are_beyond_those_of_every_trial_however_it_ended(self) -> None:
        trials = [
            trial(0, 0.3),
            *(
                replace(trial(number, 0.1, seed=seed), state=state, values=())
                for number, seed, state in [(1, 4, "failed"), (2, 7, "running"), (3, 5, "died")]
            ),
        ]
        record = study(*trials, fixed={"seed": 2})
        assert greatest_seed(record, []) == 7
        assert greatest_seed(study(trial(0, 0.3, seed=0), fixed={"seed": 2}), []) == 2

    @pytest.mark.parametrize(
        ("dimension", "greatest"),
        [
            (Dimension("seed", ("0", "30", "4"), (0, 30, 4)), 30),
            (Dimension("seed", low=0, high=99, whole=True), 99),
            (Dimension("split.seed", ("0", "30"), (0, 30)), 1),
        ],
    )
    def test_are_beyond_what_the_study_may_yet_draw(
        self, dimension: Dimension, greatest: int
    ) -> None:
        assert greatest_seed(study(trial(0, 0.3, seed=1)), [dimension]) == greatest


class TestOptions:
    def test_what_stood_in_older_files_still_works(self) -> None:
        options = StudyOptions(sampler={}, pruner={}, confirm={"top": 3, "seeds": 4})
        assert options.confirm == SecondLook(top=3, seeds=4)
        assert StudyOptions(sampler={}, pruner={}).confirm.top == 0

    @pytest.mark.parametrize(
        ("settings", "says"),
        [
            ({"top": -1}, "confirm.top must be a whole number of at least 0"),
            ({"seeds": 1}, "confirm.seeds must be a whole number of at least 2"),
            ({"overrides": "trainer.max_epochs=60"}, "must be a list of settings"),
            ({"overrides": ["trainer.max_epochs"]}, "must be a list of settings"),
            ({"overrides": ["seed=3"]}, "must not set the seed"),
            ({"tops": 3}, "has top, seeds, each, overrides, not tops"),
        ],
    )
    def test_impossible_ones(self, settings: dict, says: str) -> None:
        with pytest.raises(ConfigError, match=says):
            SecondLook.of(settings)

    def test_each_is_a_setting_that_is_varied(self) -> None:
        varied = [Dimension("loss", ("mse", "bce"), ("mse", "bce"))]
        check_each(SecondLook(top=1, each="loss"), varied)
        with pytest.raises(ConfigError, match=r"that the study varies \(loss\), not 'optimizer'"):
            check_each(SecondLook(top=1, each="optimizer"), varied)
