"""Studies whose trials evaluate their epochs on a sample of the users of validation."""

import pytest
from tests.stored_runs import OPTIONS

from recsweep.tracking import SAMPLE_TAG, tracker

LISTS = ("split=per_user_ratio", "examples=sampled")
SAMPLED = (*LISTS, "evaluation.validation_users=20")


class TestAStudy:
    SEARCH = (
        *SAMPLED,
        "hydra.sweeper.study_name=sampled",
        "optimizer.lr=tag(log,interval(0.001,0.1))",
        "trainer.max_epochs=3",
        "hydra/sweeper/pruner=median",
    )

    def test_prunes_by_the_sample_and_ranks_by_all(self, sweep, store):
        first = sweep(*self.SEARCH, "hydra.sweeper.n_trials=2")
        record = sweep(*self.SEARCH, "hydra.sweeper.n_trials=4")  # gone on with in another pass
        assert record.name == first.name
        assert len(record.trials) == 4
        opened = tracker(OPTIONS)
        tags = set()
        for trial in record.of_state("complete"):
            run = opened.record(trial.run_id)
            tags.add(run.tags[SAMPLE_TAG])
            epochs = dict(
                opened.histories(run, ["validation_sample/ndcg_at_10"])[
                    "validation_sample/ndcg_at_10"
                ]
            )
            assert trial.intermediate == pytest.approx(epochs)
            assert trial.values == (run.metrics["validation/ndcg_at_10"],)
            assert trial.values[0] not in epochs.values()
        assert len(tags) == 1
        values = [trial.values[0] for trial in record.leaderboard]
        assert values == sorted(values, reverse=True)

    @pytest.mark.parametrize("other", ["10", "null"])
    @pytest.mark.parametrize("allow", ["true", "false"])
    def test_is_not_joined_with_another_number(self, other, allow, sweep, refused, store):
        sweep(*self.SEARCH, "hydra.sweeper.n_trials=1")
        error = refused(
            *self.SEARCH,
            "hydra.sweeper.n_trials=2",
            f"evaluation.validation_users={other}",
            f"hydra.sweeper.allow_changes={allow}",
        )
        assert "evaluation.validation_users: 20 -> " in error
        assert "With another evaluation.validation_users its trials could not be" in error

    def test_that_number_makes_it_another_study(self, sweep, store):
        space = (*LISTS, "optimizer.lr=0.01,0.02", "trainer.max_epochs=1")
        names = {
            sweep(*space, f"evaluation.validation_users={number}").name
            for number in ("20", "30", "null")
        }
        assert len(names) == 3

    def test_can_not_vary_it(self, refused, store):
        error = refused("model=popularity", "evaluation.validation_users=10,20")
        assert "evaluation.validation_users can't be varied" in error
