"""The main path: configs in, runs in MLflow out."""

from collections.abc import Callable, Sequence
from functools import partial

from omegaconf import DictConfig

from recsweep.errors import ConfigError
from recsweep.evaluation import check_candidates
from recsweep.models.base import fit_many
from recsweep.run.plan import NO_VALIDATION, plan, prepare
from recsweep.run.record import Outcome, conclude, log_settings, start_run
from recsweep.run.trial import Trial
from recsweep.run.watch import Watch
from recsweep.tracking import open_runs


def run(cfg: DictConfig, trial: Trial | None = None) -> Outcome:
    """Train, evaluate and log what one config describes.

    Raises:
        RecsweepError: What a user can mend; the run, if it was started, is marked FAILED.
    """
    (outcome,) = run_many([cfg], [trial])
    if outcome.fit.error is not None:
        raise outcome.fit.error
    return outcome


def run_many(
    cfgs: Sequence[DictConfig],
    trials: Sequence[Trial | None] | None = None,
    *,
    tell: Callable[[DictConfig, Outcome], None] = lambda cfg, outcome: None,
) -> list[Outcome]:
    """All of the main path: one run a config, trained together where their models can be.

    Args:
        cfgs: Configs with the same data and split.
        trials: The trial of a study that each run is, one a config; None for single runs.
        tell: Called with each outcome as soon as it is logged: a later one may be interrupted.

    Returns:
        One outcome a config, in their order; the error of a run that failed stands in its `fit`.
    """
    trials = trials or [None] * len(cfgs)
    plans = [plan(cfg, trial) for cfg, trial in zip(cfgs, trials, strict=True)]
    if len({member.data_plan.settings for member in plans}) > 1:
        raise ConfigError(
            "Configs that are run together must have the same data and split. Run them one by one."
        )
    data = prepare(plans[0].data_plan)
    for member in plans:
        if member.trial is not None and not data.split.has_validation:
            raise ConfigError(NO_VALIDATION)
        member.evaluation.check_lengths(data.interactions.num_items)
        check_candidates(
            member.evaluation,
            data.split,
            ["validation", "test"] if member.evaluation.test else ["validation"],
            data.interactions.user_ids,
        )
    with open_runs([partial(start_run, member, data) for member in plans]) as runs:
        watches = [Watch(run, member, data) for run, member in zip(runs, plans, strict=True)]
        for watch in watches:
            log_settings(watch)
        models = [member.model for member in plans]
        fits = fit_many(models, data.split.train, [watch.options for watch in watches])
        outcomes = []
        for cfg, watch, fit in zip(cfgs, watches, fits, strict=True):
            outcomes.append(conclude(watch, fit))
            tell(cfg, outcomes[-1])
        return outcomes
