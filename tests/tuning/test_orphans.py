"""Runs of trials that nobody will end: each is closed by its own id."""

from types import SimpleNamespace

from tests.tuning.conftest import runs

from recsweep.tracking import TRIAL_TAG, TrackingOptions, tracker
from recsweep.tuning.publish import ParentRun


def test_of_a_trial_that_was_begun_twice_the_run_that_it_names_is_the_finished_one(sweep, store):
    study = ("model=popularity", "model.scale_by_activity=true,false", "hydra.sweeper.study_name=s")
    record = sweep(*study)
    opened = tracker(TrackingOptions(uri=None, experiment="recsweep"))
    above = runs(store)["s"][1]["run_id"]
    left = opened.start("begun before", {TRIAL_TAG: 0, "trial_state": "running"}, parent=above)
    parent = ParentRun.__new__(ParentRun)  # of a study that is over nobody opens one
    parent._study, parent._tracker = SimpleNamespace(record=lambda: record), opened
    parent.run = SimpleNamespace(id=above)
    parent.end_orphans()
    status, tags = runs(store)["begun before"]
    assert (status, tags["trial_state"], tags["run_id"]) == ("KILLED", "died", left.id)
    named = record.trials[0].run_id
    assert named in tags["reason"]
    (whole,) = [tags for _, tags in runs(store).values() if tags["run_id"] == named]
    assert whole["trial_state"] == "complete"
