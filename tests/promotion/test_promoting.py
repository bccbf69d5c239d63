"""A promotion as a whole: who becomes champion, and what the decision leaves behind."""

import json

import numpy as np
import pytest

from recsweep import pipeline, tracking
from recsweep.errors import ConfigError, RegistryError
from recsweep.promotion.audit import PROMOTION_TAG
from recsweep.promotion.decide import CHAMPION_TAG, lineage, rollback
from recsweep.promotion.registry import Registry
from recsweep.tracking import finished_runs
from tests.promotion.conftest import (
    GOOD,
    OPTIONS,
    WEAK,
    audits_of,
    champion_of,
    outcomes_of,
    run_named,
)
from tests.stored_runs import log_run


class TestPromoting:
    def test_the_first_champion_has_to_beat_the_baselines(self, promoting, opened):
        decision = promoting(GOOD)
        assert (decision.outcome, decision.before, decision.after) == ("promoted", None, "1")
        assert {line.other_name for line in decision.lines} == {
            "popularity",
            "knn user 50",
            "knn item 50",
        }
        champion = champion_of(opened)
        run = run_named(GOOD)
        assert (champion.version, champion.run_id, champion.model_id) == ("1", run.id, run.model_id)
        assert champion.tags["measure"] == "f1_at_threshold"
        assert float(champion.tags["value"]) == pytest.approx(run.metrics["test/f1_at_threshold"])
        named = {"model": run.label, "split": "random_cells"}
        assert {name: champion.tags.get(name) for name in named} == named
        assert champion.tags["champion_since"].endswith(" UTC")
        assert champion.tags["data_digest"] == run.tags["data_digest"]
        described = opened.client.get_model_version("recsweep", "1").description
        assert "Registered to become champion on" in described
        assert "against baseline popularity" in described
        assert "recsweep rollback" in opened.client.get_registered_model("recsweep").description
        assert run.tags[CHAMPION_TAG] == "recsweep"

    def test_the_decision_is_a_run_with_its_figures(self, promoting, opened):
        decision = promoting(GOOD, reason="the first one")
        (logged,) = audits_of(opened)
        assert (
            logged.tags.items()
            >= {
                PROMOTION_TAG: "promoted",
                "registered_model": "recsweep",
                "to_version": "1",
                "measure": "f1_at_threshold",
                "candidate_run": run_named(GOOD).id,
                "reason": "the first one",
                "split_digest": run_named(GOOD).tags["split_digest"],
            }.items()
        )
        assert "from_version" not in logged.tags
        assert logged.tags["mlflow.user"] == tracking.person()
        lead = decision.lines[0]
        place = f"{lead.other_name}/f1_at_threshold"
        assert logged.metrics[f"{place}/difference"] == pytest.approx(lead.difference.value)
        assert logged.metrics[f"{place}/low"] == pytest.approx(lead.difference.low)
        assert (
            logged.tags["test_uses_before"] == "3"
        )  # the baselines; the candidate's is made by this very look
        with opened.artifact(logged, "decision.json") as path:
            stored = json.loads(path.read_text())
        assert stored["outcome"] == "promoted"
        assert stored["judgement"]["lines"][0]["met"] is True
        with opened.artifact(logged, "decision.md") as path:
            assert path.read_text().strip() == logged.tags["mlflow.note.content"]
        assert "Reason: the first one" in logged.tags["mlflow.note.content"]
        assert (
            "Before this, 3 runs had been evaluated on the test part"
            in logged.tags["mlflow.note.content"]
        )

    def test_a_decision_is_no_models_run(self, promoting, opened):
        before = [each.id for each in finished_runs(OPTIONS)]
        promoting(GOOD)
        promoting("popularity")
        assert [each.id for each in finished_runs(OPTIONS)] == before

    def test_a_refusal_changes_nothing_and_is_kept(self, promoting, opened):
        decision = promoting("popularity")
        assert decision.outcome == "refused"
        assert "does not meet" in decision.words
        assert champion_of(opened) is None
        assert opened.client.search_registered_models() == []
        (logged,) = audits_of(opened)
        assert (logged.tags[PROMOTION_TAG], logged.tags.get("to_version")) == ("refused", None)
        assert CHAMPION_TAG not in run_named("popularity").tags

    def test_the_champion_itself_needs_no_decision(self, promoting, opened):
        promoting(GOOD)
        decision = promoting(GOOD)
        assert decision.outcome == "unchanged"
        assert "already, as version 1" in decision.words
        assert outcomes_of(opened) == ["promoted"]

    def test_a_better_one_follows_the_champion(self, promoting, opened):
        promoting(WEAK, force=True, reason="to begin with")
        decision = promoting(GOOD, guards={"coverage": None})
        assert (decision.outcome, decision.before, decision.after) == ("promoted", "1", "2")
        assert (decision.lines[0].role, decision.lines[0].other_name) == (
            "champion",
            f"{WEAK} (version 1)",
        )
        assert champion_of(opened).previous == "1"
        assert CHAMPION_TAG not in run_named(WEAK).tags

    def test_a_worse_one_does_not(self, promoting, opened):
        promoting(GOOD)
        assert promoting(WEAK).outcome == "refused"
        assert champion_of(opened).version == "1"

    def test_force_asks_for_a_reason_and_is_recorded(self, promoting, opened):
        with pytest.raises(ConfigError, match="say why, with --reason"):
            promoting("popularity", force=True)
        decision = promoting("popularity", force=True, reason="everybody likes it")
        assert decision.outcome == "forced"
        assert champion_of(opened).tags["promotion"] == "forced"
        (logged,) = audits_of(opened)
        assert (logged.tags[PROMOTION_TAG], logged.tags["reason"]) == (
            "forced",
            "everybody likes it",
        )

    def test_several_seeds_are_one_candidate(self, on_data, promoting, opened):
        pipeline.run_many([on_data("loss=bce", f"seed={seed}") for seed in (3, 4)])
        ids = [each.id for each in finished_runs(OPTIONS, last=2)]
        promoting(*ids, force=True, reason="seeds")
        champion = champion_of(opened)
        best = max(
            (run_named(each) for each in ids),
            key=lambda each: each.metrics["validation/average_precision"],
        )
        assert champion.run_id == best.id
        assert sorted(champion.tags["runs"].split(",")) == sorted(ids)
        assert promoting(*ids).outcome == "unchanged"
        decision = promoting(
            GOOD, measure="mse"
        )  # the champion is compared with by both of its seeds
        values = [run_named(each).metrics["test/mse"] for each in ids]
        assert decision.lines[0].other == pytest.approx(np.mean(values))

    def test_validation_can_be_compared_on_too(self, promoting, opened):
        decision = promoting(GOOD, part="validation")
        run = run_named(GOOD)
        assert decision.lines[0].candidate == pytest.approx(
            run.metrics["validation/f1_at_threshold"]
        )
        assert not any(name.startswith("test/") for name in run.metrics)

    def test_a_run_without_a_model_is_refused(self, promoting, opened):
        same = {
            name: run_named(GOOD).tags[name]
            for name in ("data", "data_digest", "split_digest", "seed")
        }
        with opened.artifact(run_named(GOOD), "evaluation") as folder:
            log_run(
                opened,
                "bare",
                tags=same,
                metrics={"validation/average_precision": 1.0},
                artifacts=folder.parent,
            )
        with pytest.raises(
            RegistryError, match=r"has no logged model to register\. Train it again\."
        ):
            promoting("bare")

    def test_a_champion_that_somebody_else_registered(self, promoting, opened):
        opened.client.create_registered_model("recsweep")
        opened.client.create_model_version("recsweep", "/somewhere")
        opened.client.set_registered_model_alias("recsweep", "champion", "1")
        for change in (
            lambda: promoting(GOOD),
            lambda: rollback(OPTIONS),
            lambda: lineage(OPTIONS),
        ):
            with pytest.raises(
                RegistryError, match="Version 1 of 'recsweep' was registered by other means"
            ):
                change()

    def test_other_names_have_their_own_champions(self, promoting, opened):
        promoting(GOOD, name="shop a")
        promoting(WEAK, name="shop b", force=True, reason="try")
        assert Registry(opened, "shop a").champion().run_id == run_named(GOOD).id
        assert Registry(opened, "shop b").champion().run_id == run_named(WEAK).id
        assert champion_of(opened) is None
