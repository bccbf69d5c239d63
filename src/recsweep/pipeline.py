"""The main path: configs in, runs in MLflow out."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby

from omegaconf import DictConfig

from recsweep.config import data_settings, plain
from recsweep.errors import ConfigError, FitError, RecsweepError
from recsweep.evaluation import check_candidates
from recsweep.models.base import Fit, fit_many
from recsweep.run.plan import NO_VALIDATION, plan, prepare
from recsweep.run.record import Outcome, conclude, log_settings, start_run
from recsweep.run.trial import Trial
from recsweep.run.watch import Watch
from recsweep.tracking import open_runs
from recsweep.workers import Died, in_workers, num_workers


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


def run_each(
    cfgs: Sequence[DictConfig],
    *,
    workers: int | None = None,
    tell: Callable[[DictConfig, Outcome], None] = lambda cfg, outcome: None,
) -> list[Outcome]:
    """Runs of any data, which do not depend on each other: in worker processes of one thread each,
    or, where there is one, in this process, those that differ by their seed trained together.

    Args:
        workers: Number of processes; None for one a core, where the memory holds them.
        tell: Called with each outcome as soon as it is known, in any order.

    Returns:
        One outcome a config, in their order; of a process that was killed without an id of a run.
    """
    workers = num_workers(len(cfgs)) if workers is None else min(workers, len(cfgs))
    if workers < 2:
        same = groupby(cfgs, lambda cfg: (data_settings(cfg), plain(cfg.model)))
        groups = [list(together) for _, together in same]
        return [outcome for together in groups for outcome in run_many(together, tell=tell)]
    outcomes: dict[int, Outcome] = {}
    tasks = [[(place, cfg)] for place, cfg in enumerate(cfgs)]
    for (place, cfg), outcome in in_workers(_outcome, tasks, workers):
        if isinstance(outcome, RecsweepError):
            raise outcome
        if isinstance(outcome, Died):
            killed = Fit(epochs=0, error=FitError(outcome.words))
            outcome = Outcome("", f"run {place + 1} of {len(cfgs)}, seed {cfg.seed}", killed)
        outcomes[place] = outcome
        tell(cfg, outcome)
    return [outcomes[place] for place in range(len(cfgs))]


def _outcome(task: tuple[int, DictConfig]) -> Outcome | RecsweepError:
    """What becomes of a config in a worker; errors as such that go through a pipe."""
    try:
        (outcome,) = run_many([task[1]])
    except RecsweepError as error:
        return error
    raised = outcome.fit.error
    if raised is None or isinstance(raised, RecsweepError):
        return outcome
    fit = replace(outcome.fit, error=FitError(f"{type(raised).__name__}: {raised}"))
    return replace(outcome, fit=fit)
