"""Which runs are the candidate."""

import pytest

from recsweep import pipeline
from recsweep.errors import ConfigError, RegistryError, TrackingError
from recsweep.promotion.candidate import choose
from recsweep.tracking import finished_runs
from tests.promotion.conftest import OPTIONS


class TestTheCandidate:
    def test_of_several_seeds_the_best_on_validation_is_first(self, on_data, opened):
        pipeline.run_many([on_data("loss=bce", f"seed={seed}") for seed in (3, 4, 5)])
        ids = [each.id for each in finished_runs(OPTIONS, last=3)]
        found = choose(opened, OPTIONS, runs=ids)
        values = [each.metrics["validation/average_precision"] for each in found]
        assert sorted(each.id for each in found) == sorted(ids)
        assert values == sorted(values, reverse=True)

    def test_a_loss_as_the_objective_counts_the_other_way(self, on_data, opened):
        pipeline.run_many(
            [on_data("evaluation.objective=log_loss", f"seed={seed}") for seed in (3, 4)]
        )
        found = choose(opened, OPTIONS, runs=[each.id for each in finished_runs(OPTIONS, last=2)])
        assert found[0].metrics["validation/log_loss"] < found[1].metrics["validation/log_loss"]

    def test_runs_of_several_models_are_none(self, opened):
        with pytest.raises(
            ConfigError, match=r"must differ in their seed alone, not .*knn user 50.*popularity"
        ):
            choose(opened, OPTIONS, runs=["knn user 50", "popularity"])

    @pytest.mark.parametrize(("runs", "study"), [((), None), (("popularity",), "s")])
    def test_runs_or_a_study(self, runs, study, opened):
        with pytest.raises(
            ConfigError, match="runs by their ids, or the best of a study by --study NAME"
        ):
            choose(opened, OPTIONS, runs=runs, study=study)

    def test_a_run_that_is_not_there(self, opened):
        with pytest.raises(TrackingError, match="has no finished run 'nobody'"):
            choose(opened, OPTIONS, runs=["nobody"])


class TestTheWinnerOfAStudy:
    @pytest.fixture
    def study(self, on_data, opened):
        """A study's own run and its two trials, as `tuning` tags them."""
        run = opened.start("mine", {"study_token": "t", "study": "mine"})
        cfgs = [
            on_data(
                "model=logistic", f"model.C={C}", "+tags.study=mine", f"+tags.trial_number={number}"
            )
            for number, C in enumerate((0.5, 2.0))
        ]
        return run, pipeline.run_many(cfgs)

    def test_is_the_run_of_the_best_trial(self, study, opened):
        run, outcomes = study
        run.log(tags={"best_trial": 1})
        assert [each.id for each in choose(opened, OPTIONS, study="mine")] == [outcomes[1].run_id]

    def test_a_second_look_at_the_best_counts_more(self, study, opened):
        run, outcomes = study
        run.log(tags={"best_trial": 1, "winner_trial": 0})
        assert [each.id for each in choose(opened, OPTIONS, study="mine")] == [outcomes[0].run_id]

    def test_the_runs_of_the_second_look_are_longer(self, study, on_data, opened):
        run, _ = study
        looks = pipeline.run_many([on_data("loss=bce", f"seed={seed}") for seed in (5, 6)])
        run.log(
            tags={
                "best_trial": 1,
                "winner_trial": 1,
                "winner_runs": ",".join(each.run_id for each in looks),
            }
        )
        assert {each.id for each in choose(opened, OPTIONS, study="mine")} == {
            each.run_id for each in looks
        }

    def test_its_refits_take_its_place(self, study, on_data, opened):
        run, _ = study
        run.log(tags={"best_trial": 1})
        refits = pipeline.run_many(
            [
                on_data(
                    "model=logistic",
                    "model.C=2.0",
                    f"seed={seed}",
                    "+tags.study=mine",
                    "+tags.refit_of=1",
                )
                for seed in (0, 1)
            ]
        )
        found = choose(opened, OPTIONS, study="mine")
        assert {each.id for each in found} == {each.run_id for each in refits}

    def test_a_study_without_a_winner(self, study, opened):
        with pytest.raises(RegistryError, match="The study 'mine' has no winner yet"):
            choose(opened, OPTIONS, study="mine")

    def test_a_winner_whose_run_is_gone(self, study, opened):
        run, _ = study
        run.log(tags={"best_trial": 7})
        with pytest.raises(RegistryError, match=r"trial 7, is not in .*recsweep refit mine"):
            choose(opened, OPTIONS, study="mine")

    def test_an_unknown_study(self, opened):
        with pytest.raises(TrackingError, match="has no finished run of the study 'nothing'"):
            choose(opened, OPTIONS, study="nothing")
