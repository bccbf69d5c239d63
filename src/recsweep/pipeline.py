"""The main path: configs in, runs in MLflow out."""

import sys
from collections.abc import Sequence

from omegaconf import DictConfig

from recsweep.config import data_settings
from recsweep.errors import ConfigError
from recsweep.models.base import FitOptions, fit_many
from recsweep.run.plan import plan, prepare
from recsweep.run.record import Outcome, conclude, log_settings, start_run
from recsweep.run.watch import Trial, Watch
from recsweep.tracking import open_runs


def run(cfg: DictConfig) -> Outcome:
    """Train, evaluate and log what one config describes.

    Raises:
        RecsweepError: What a user can mend; the run, if it was started, is marked FAILED.
    """
    outcome = run_many([cfg])[0]
    if outcome.fit.error is not None:
        raise outcome.fit.error
    return outcome


def run_many(cfgs: Sequence[DictConfig], trials: Sequence[Trial | None] | None = None) -> list[Outcome]:
    """All of the main path. The configs share data and split.

    Args:
        cfgs: One a run.
        trials: Of a study, one a config; None for single runs.
    """
    plans = [plan(cfg) for cfg in cfgs]
    if len({data_settings(cfg) for cfg in cfgs}) > 1:
        raise ConfigError("Configs that are run together must have the same data and split. Run them one by one.")
    data = prepare(cfgs[0])
    trials = trials or [None] * len(cfgs)
    with open_runs([lambda each=each, trial=trial: start_run(each, data, trial)
                    for each, trial in zip(plans, trials, strict=True)]) as runs:
        for run, each in zip(runs, plans, strict=True):
            log_settings(run, each, data)
        watches = [Watch(run, each, data, trial) for run, each, trial in zip(runs, plans, trials, strict=True)]
        options = [FitOptions(watch.plan.seed, watch, watch.trial is None and sys.stderr.isatty(),
                              validation=data.split.validation) for watch in watches]
        fits = fit_many([each.model for each in plans], data.split.train, options)
        return [conclude(watch, fit) for watch, fit in zip(watches, fits, strict=True)]
