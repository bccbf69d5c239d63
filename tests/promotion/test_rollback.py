"""Back to the champion before, and where a champion comes from."""

import pytest

from recsweep.errors import RegistryError
from recsweep.promotion.audit import PROMOTION_TAG
from recsweep.promotion.chosen import chosen_model
from recsweep.promotion.decide import CHAMPION_TAG, lineage, rollback
from recsweep.promotion.registry import Registry
from tests.promotion.conftest import (
    GOOD,
    OPTIONS,
    WEAK,
    audits_of,
    champion_of,
    outcomes_of,
    run_named,
)


class TestRollback:
    def test_goes_back_step_by_step(self, promoting, opened):
        for name in ("popularity", "knn user 50", WEAK):
            promoting(name, force=True, reason="to begin with")
        assert rollback(OPTIONS, reason="it was bad").after == "2"
        assert champion_of(opened).run_id == run_named("knn user 50").id
        assert rollback(OPTIONS).after == "1"
        with pytest.raises(RegistryError, match="Version 1 is the first champion of 'recsweep'"):
            rollback(OPTIONS)
        assert outcomes_of(opened) == ["forced"] * 3 + ["rolled_back"] * 2
        last_but_one = audits_of(opened)[1]
        assert (
            last_but_one.tags.items()
            >= {"from_version": "3", "to_version": "2", "reason": "it was bad"}.items()
        )
        assert CHAMPION_TAG in run_named("popularity").tags
        assert CHAMPION_TAG not in run_named("knn user 50").tags

    def test_what_was_left_behind_is_not_returned_to(self, promoting, opened):
        """A rollback says that a version was bad: the next champion follows the one before it."""
        for name in ("popularity", "knn user 50"):
            promoting(name, force=True, reason="to begin with")
        rollback(OPTIONS)
        promoting(WEAK, force=True, reason="again")
        assert champion_of(opened).version == "3"
        assert rollback(OPTIONS).after == "1"

    def test_there_must_be_a_champion(self, opened):
        with pytest.raises(
            RegistryError, match=r"'recsweep' has no champion yet\. Promote a run with: recsweep"
        ):
            rollback(OPTIONS)

    def test_a_version_that_was_deleted(self, promoting, opened):
        for name in ("popularity", "knn user 50"):
            promoting(name, force=True, reason="to begin with")
        opened.client.delete_model_version("recsweep", "1")
        with pytest.raises(
            RegistryError,
            match="Version 1 of 'recsweep', the champion before version 2, was deleted",
        ):
            rollback(OPTIONS)
        assert champion_of(opened).version == "2"


class TestLineage:
    def test_tells_where_the_champion_comes_from(self, promoting, opened):
        promoting(WEAK, force=True, reason="to begin with")
        promoting(GOOD, guards={"coverage": None})
        found = lineage(OPTIONS)
        assert (found.version.version, found.record.id) == ("2", run_named(GOOD).id)
        assert [each.version for each in found.previous] == ["1"]
        assert [each[PROMOTION_TAG] for each in found.decisions] == ["promoted", "forced"]
        assert found.made_by["to_version"] == "2"

    def test_after_a_rollback_the_rollback_made_it(self, promoting, opened):
        promoting(WEAK, force=True, reason="to begin with")
        promoting(GOOD, guards={"coverage": None})
        rollback(OPTIONS)
        assert lineage(OPTIONS).made_by[PROMOTION_TAG] == "rolled_back"

    def test_an_alias_that_was_moved_by_hand(self, promoting, opened):
        version = Registry(opened).register(run_named(GOOD), tags={}, description="")
        opened.client.set_registered_model_alias("recsweep", "champion", version.version)
        found = lineage(OPTIONS)
        assert (found.made_by, found.previous, found.decisions) == ({}, [], [])


class TestDeletedInTheUI:
    @pytest.fixture
    def champion(self, promoting, opened) -> str:
        """Id of the run of version 2, the champion after version 1."""
        promoting(WEAK, force=True, reason="to begin with")
        promoting(GOOD, guards={"coverage": None})
        return run_named(GOOD).id

    def test_decisions_and_runs_are_named_with_what_restores_them(self, champion, opened):
        assert lineage(OPTIONS).missing == []
        decision = lineage(OPTIONS).decisions[0]["run"]
        for run_id in (champion, decision):
            opened.client.delete_run(run_id)
        run, other = lineage(OPTIONS).missing
        assert f"runs restore --run-id {champion}" in run
        assert "The decision promoted of " in other
        assert (
            f"MLFLOW_TRACKING_URI='{opened.uri}' mlflow runs restore --run-id {decision}" in other
        )
        for run_id in (champion, decision):
            opened.client.restore_run(run_id)
        assert lineage(OPTIONS).missing == []

    def test_what_is_gone_for_good_is_named_too(self, champion, opened):
        opened.client.set_model_version_tag("recsweep", "2", "decision_run", "gone")
        opened.client.delete_model_version("recsweep", "1")
        assert lineage(OPTIONS).missing == [
            "The decision that made version 2 is gone for good (run gone).",
            "Version 1 of 'recsweep', which was before these, was deleted.",
        ]

    def test_a_champion_that_was_deleted_is_no_first_one(self, champion, opened):
        opened.client.delete_model_version("recsweep", "2")
        for ask in (lambda: lineage(OPTIONS), lambda: chosen_model(OPTIONS)):
            with pytest.raises(RegistryError, match="has no champion any more: version 2") as said:
                ask()
            assert str(said.value).endswith(f"recsweep promote {champion}")

    def test_back_to_a_version_whose_run_was_deleted_changes_nothing(self, champion, opened):
        opened.client.delete_run(run_named(WEAK).id)
        with pytest.raises(RegistryError, match="was deleted, as in the MLflow UI"):
            rollback(OPTIONS)
        assert champion_of(opened).version == "2"

    def test_from_a_version_whose_run_was_deleted_it_works(self, champion, opened):
        opened.client.delete_run(champion)
        rollback(OPTIONS)
        assert champion_of(opened).version == "1"
