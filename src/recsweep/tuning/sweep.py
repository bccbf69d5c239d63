"""The loop of a study: claim a slot, compose its config, train it, until nothing is open or a
budget is spent."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from recsweep.config import plain
from recsweep.errors import ConfigError, StudyError
from recsweep.interrupts import interrupts_wait
from recsweep.masking import MASK, mask, mask_value
from recsweep.pipeline import run
from recsweep.processes import cores
from recsweep.rendering import train_line
from recsweep.run.plan import plan
from recsweep.tracking import TrackingOptions
from recsweep.trust import check_stored, texts_of
from recsweep.tuning.compose import Composer
from recsweep.tuning.confirm import Confirmation, check_each
from recsweep.tuning.definition import NO_TEST, check_comparable, define, make_points, points_of
from recsweep.tuning.draws import Draws
from recsweep.tuning.earlier import earlier_in_words, later_overrides, stored_earlier
from recsweep.tuning.opening import StoredPoints, open_study
from recsweep.tuning.options import StudyOptions
from recsweep.tuning.records import StudyRecord, TrialRecord
from recsweep.tuning.repeats import option_of, point_of, slot_of
from recsweep.tuning.space import Dimension, check_count, parse_space, plain_key
from recsweep.tuning.storage import Storage, open_storage, storage_url
from recsweep.tuning.stored_lines import is_of_space, stored_lines
from recsweep.tuning.study import Claim, Definition, Point, Study
from recsweep.tuning.trial import TrialHandle
from recsweep.workers import num_workers

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

log = logging.getLogger(__name__)

DEFAULT_TRIALS = 20
POLL_SECONDS = 0.5
NOT_OF_EPOCHS = ("fit/", "model/", "memory/", "train/")
"""Metrics that no report of validation holds, so that they choose between trials but not between
epochs."""


@dataclass(frozen=True)
class Job:
    """What Hydra knows of a multirun.

    Attributes:
        config_loader: Hydra's loader of configs.
        master: The config of the whole multirun, with Hydra's own node.
        arguments: Overrides of the command line, without those of Hydra itself.
        confirmation: Trials of a finished study that are run again; None for a study of its own.
    """

    config_loader: Any
    master: DictConfig
    arguments: tuple[str, ...]
    confirmation: Confirmation | None = None


@dataclass
class Sweep:
    """A study that this process works on.

    Attributes:
        points: Points of a grid, in order; None for a search.
        planned: Number of slots that the budget has.
        searched: Names of the points of a search, in the order in which they are tried.
        deadline: Moment when the time is up, in seconds since 1970; None where there is no limit.
        parent_run: Id of the study's run in MLflow, once it is known.
        second_look: The second look at it, once that has come to an end.
    """

    study: Study
    options: StudyOptions
    job: Job
    composer: Composer
    dimensions: Sequence[Dimension]
    definition: Definition
    points: list[Point] | None
    planned: int
    searched: Sequence[str] = ()
    deadline: float | None = None
    parent_run: str | None = None
    second_look: StudyRecord | None = None

    @classmethod
    def open(cls, options: StudyOptions, job: Job) -> "Sweep":
        """Create the study or join it.

        Raises:
            ConfigError: The settings are impossible, or not those of the stored study.
            StudyError: The storage can't be used.
        """
        master = job.master
        lines = list(job.arguments)
        objectives = options.objectives or ()
        if len(objectives) == 1 and not objectives[0].startswith(NOT_OF_EPOCHS):
            # one measure chooses epochs and settings
            lines.append(f"evaluation.objective={objectives[0]}")
        fixed, dimensions = parse_space(
            options.params or {},
            lines,
            config_loader=job.config_loader,
            current=master,
            seed=OmegaConf.select(master, "seed") or 0,
            each=options.each,
            params_of=options.params_of,
        )
        check_secrets(dimensions, options.confirm.overrides)
        composer = Composer(job.config_loader, master, fixed, dimensions)
        is_grid = job.confirmation is not None or (
            options.n_trials is None and all(dimension.options for dimension in dimensions)
        )
        if is_grid and job.confirmation is None:
            check_count(dimensions)
        elif not is_grid and composer.groups:
            dimensions = [
                dimension.for_present(composer.present(dimension)) for dimension in dimensions
            ]
        definition = define(options, composer, fixed, dimensions, is_grid)
        storage = open_storage(storage_url(options.storage))
        storage.patience.seconds = options.patience
        before = stored_earlier(
            storage, definition, fixed, dimensions, is_named=options.study_name is not None
        )
        if before is not None:
            definition, later = before
            log.info(
                "the study %s was begun by an earlier version and goes on with the settings of "
                "that: %s",
                definition.name,
                earlier_in_words(later),
            )
            overrides = [*fixed, *later_overrides(composer, later)]
            composer = Composer(job.config_loader, master, overrides, dimensions)
        check_each(options.confirm, dimensions)
        if options.confirm.top and options.confirm.overrides:
            plan(composer.compose(options.confirm.overrides))  # not after the first look
        if job.confirmation is not None:
            return cls._open_confirmation(
                storage, options, job, composer, definition, varied=dimensions
            )

        def points_anew() -> StoredPoints | None:
            check_comparable(definition, dimensions, options.confirm)
            return make_points(composer, dimensions, is_grid)

        study = open_study(
            storage,
            definition,
            points_anew,
            allow_changes=options.allow_changes,
            drawn=() if is_grid else dimensions,
        )
        study.keep("command", _command(master, fixed))
        study.keep(JOINING, _joining(job))
        study.seed, study.retries = int(definition.sampler.get("seed") or 0), options.retries
        study.silence = options.silence
        points, planned = None, 0
        if is_grid:
            study.know_grid(dimensions)
            stored_points = study.notes()["points"]
            points = points_of(composer, dimensions, stored_points, definition.repeats)
            planned = len(points)
        sweep = cls(study, options, job, composer, dimensions, definition, points, planned)
        if not is_grid:
            sweep._plan_search(options.n_trials or DEFAULT_TRIALS)
        return sweep

    def words(self) -> str:
        """What the study is about to try."""
        varied = [f"{each.recorded} over {each.values_in_words()}" for each in self.dimensions]
        kind, sampler = "points", self.definition.sampler["kind"]
        if self.points is None:
            kind = f"trials by {sampler}"
        space, count, repeated = "; ".join(varied) or "nothing is varied", self.planned, ""
        if (repeats := self.definition.repeats) is not None:
            count //= len(repeats.values)
            repeated = f", each with {len(repeats.values)} {repeats.kind}"
        if self.definition.each is not None:
            repeated += f", each {self.definition.each} by itself"
        if self.options.n_jobs is None and not self.is_same_in_any_order and cores() > 1:
            space += (
                "; one trial after another, so that the same command draws the same: "
                f"hydra.sweeper.n_jobs={cores()} is faster"
            )
        return f"study {self.study.name}: {count} {kind}{repeated}; {space}"

    @classmethod
    def _open_confirmation(
        cls,
        storage: Storage,
        options: StudyOptions,
        job: Job,
        composer: Composer,
        definition: Definition,
        *,
        varied: Sequence[Dimension],
    ) -> "Sweep":
        confirmation = job.confirmation
        assert confirmation is not None, "there is something to confirm"
        _check_trials(confirmation, composer, varied)
        dimensions, points = confirmation.dimensions, confirmation.points()
        settings = dict(line.split("=", 1) for line in confirmation.overrides)
        space = {dimension.name: dimension.words() for dimension in dimensions}
        definition = replace(
            definition,
            name=confirmation.name,
            space=space,
            fixed={**definition.fixed, **settings},
            repeats=None,
            each=None,
        )
        study = open_study(storage, definition, lambda: [], allow_changes=options.allow_changes)
        study.retries, study.silence = options.retries, options.silence
        study.know_grid(dimensions)
        return cls(study, options, job, composer, dimensions, definition, points, len(points))

    def num_workers(self, left: int) -> int:
        """How many processes work on the study, of which so many trials are left: as many as are
        asked for, else one for each core where what they find does not depend on their number."""
        if self.options.n_jobs is not None:
            return self.options.n_jobs
        if not self.is_same_in_any_order:
            return 1
        return num_workers(left)

    @property
    def is_same_in_any_order(self) -> bool:
        """Whether what is trained, and how it goes, is the same whatever was finished before it: of
        a budget of epochs what is left decides."""
        is_whole_grid = self.points is not None and self.options.max_epochs is None
        return is_whole_grid and self.definition.pruner["kind"] == "none"

    @property
    def time_is_up(self) -> bool:
        return self.deadline is not None and time.time() >= self.deadline

    def claim(self, held: ExitStack) -> TrialHandle | None:
        """An open slot, now taken; None where there is none or the time is up.

        Args:
            held: The stack that holds the trial from now on; an interrupt counts afterwards.
        """
        if self.time_is_up:
            return None
        slots: Sequence[Point] | Sequence[str] = self.slots if self.points is None else self.points
        with interrupts_wait():
            claim = self.study.claim(slots, max_epochs=self.options.max_epochs)
            if claim is None:
                return None
            pruner = self.definition.pruner
            return held.enter_context(TrialHandle(self.study, claim, self.parent_run, pruner))

    def overrides(self, claim: Claim) -> list[str]:
        """The overrides of the claimed trial: a point's, or drawn now."""
        if claim.overrides is not None:
            return list(claim.overrides)
        option = "" if self.definition.each is None else option_of(claim.slot)
        return self.draws[option].draw(claim)

    @cached_property
    def draws(self) -> dict[str, Draws]:
        """The draws of a search: of each option that is searched by itself, else of all together
        under no name."""
        each = self.definition.each
        options = [group.options for group in self.dimensions if group.name == each]
        return {
            option: Draws(
                self.study, self.composer, self.dimensions, self.definition, option or None
            )
            for option in next(iter(options), ("",))
        }

    def _plan_search(self, n_trials: int) -> None:
        """Name the points that are to be tried: the first of each option before the second of any,
        so that each has its share whenever the time is up."""
        counts = {option: draws.planned(n_trials) for option, draws in self.draws.items()}
        self.searched = [
            point_of(option, place) if option else str(place)
            for place in range(max(counts.values()))
            for option, count in counts.items()
            if place < count
        ]
        self.planned = len(self.slots)
        sizes = [draws.size_within(n_trials) for draws in self.draws.values()]
        known = [size for size in sizes if size is not None]
        self.study.keep("size", sum(known) if len(known) == len(sizes) else None)

    def config(self, claim: Claim) -> DictConfig:
        """The claimed trial's config. Raises ConfigError where there is none."""
        cfg = self.composer.to_run(self.overrides(claim))
        if OmegaConf.select(cfg, "evaluation.test"):
            raise ConfigError(NO_TEST)
        return cfg

    def tracking_options(self) -> TrackingOptions:
        """The place where the study's runs are logged."""
        tracking = plain(self.composer.compose([]).tracking)
        return TrackingOptions(uri=tracking["uri"], experiment=tracking["experiment"])

    def check_failures(self, record: StudyRecord) -> None:
        """Raise StudyError where too many trials have failed."""
        if self.options.max_failures is None:
            return
        failed = self.failures(record)
        if len(failed) >= self.options.max_failures:
            raise StudyError(
                f"The study {self.study.name!r} ended: {len(failed)} trials failed, as many as "
                f"hydra.sweeper.max_failures allows. The latest, trial {failed[-1].number}: "
                f"{failed[-1].reason}. The same command with hydra.sweeper.retry_failed=true tries "
                "them again."
            )

    def failures(self, record: StudyRecord) -> list[TrialRecord]:
        """The latest trials of slots that are given up."""
        planned = set(self.slots)
        numbers = {row.number for row in self.study.given_up() if row.slot in planned}
        return [trial for trial in record.trials if trial.number in numbers]

    def missing(self, record: StudyRecord) -> list[TrialRecord]:
        """Failures that leave a gap: what a search draws and can't train is an answer to it."""
        failures = self.failures(record)
        return [trial for trial in failures if self.points is not None or trial.state == "died"]

    def untried(self) -> int:
        """The number of planned slots that no trial has been begun for."""
        tried = {trial.slot for trial in self.study.record().trials}
        return len(set(self.slots) - tried)

    @property
    def slots(self) -> list[str]:
        """Names of the planned slots; those of a point that a search repeats one after another, as
        its sampler learns from their mean."""
        if self.points is not None:
            return [point.slot for point in self.points]
        if (repeats := self.definition.repeats) is None:
            return list(self.searched)
        return [slot_of(point, seed) for point in self.searched for seed in repeats.values]


def _check_trials(
    confirmation: Confirmation, composer: Composer, varied: Sequence[Dimension]
) -> None:
    """Raise UntrustedError where a trial, as it is stored, is composed of what the command does not
    vary and a store may not name."""
    for trial in confirmation.trials:
        what = f"Trial {trial.number} of the study {confirmation.study!r}"
        lines = stored_lines(trial.overrides, what)
        if not all(is_of_space(line, varied) for line in lines):
            said = frozenset(texts_of(plain(composer.compose([]), resolve=False)))
            check_stored(composer.compose(lines), what, said)


def run_trial(sweep: Sweep, trial: TrialHandle) -> None:
    """Train what was claimed; whatever goes wrong is raised, to whoever holds the trial."""
    run(sweep.config(trial.claim), trial)


def work(
    sweep: Sweep,
    *,
    after_trial: Callable[[], None] = lambda: None,
    while_waiting: Callable[[], None] = lambda: None,
) -> None:
    """Train trial after trial in this process; wait for those of others, as theirs may have to be
    tried again."""
    while True:
        with ExitStack() as held:
            trial = next_trial(sweep, held, while_waiting)
            if trial is None:
                return
            run_trial(sweep, trial)
        after_trial()


def next_trial(
    sweep: Sweep, held: ExitStack, while_waiting: Callable[[], None]
) -> TrialHandle | None:
    """An open slot, as soon as there is one; None where none will come any more."""
    while (trial := sweep.claim(held)) is None and not sweep.time_is_up:
        if not sweep.study.running():
            # what the last of the others gave back, before it was no longer running
            return sweep.claim(held)
        sweep.study.settle()
        while_waiting()
        time.sleep(POLL_SECONDS)
    return trial


def check_secrets(dimensions: Sequence[Dimension], confirming: Sequence[str]) -> None:
    """Raise ConfigError where a study would have to store what it must not.

    Args:
        confirming: Overrides of the second look.
    """
    varied = [(each.name, [*each.values, *each.options]) for each in dimensions]
    again = [(plain_key(line.partition("=")[0]), [line.partition("=")[2]]) for line in confirming]
    for name, values in varied + again:
        if name == "tracking" or name.startswith("tracking."):
            raise ConfigError(
                f"{name} can't be varied: a study and its runs are logged in one place, and that "
                "may hold a password. Set it for all, as in: "
                f"{train_line('-m tracking.uri=...')}"
            )
        for value in values:
            if (masked := mask_value(name, value)) != value:
                raise ConfigError(
                    f"{name} can't be varied over values with a password or a token in them "
                    f"({name}={masked}): a study stores what it varies. Put the secret into an "
                    "environment variable, and vary something else."
                )


JOINING = "joining"
"""Name of the note by which a worker joins that knows nothing but the storage."""

OWN_SETTINGS = (
    "storage",
    "study_name",
    "n_jobs",
    "engine",
    "resources",
    "ray_address",
    "timeout",
    "retry_failed",
    "allow_changes",
    "patience",
    "silence",
)
"""Settings of hydra.sweeper that are those of one command and not of a study."""


def _joining(job: Job) -> dict[str, Any]:
    """The command of a study, for who joins it from a machine that knows nothing but the storage:
    without secrets, and less where it was logged and what is that command's own."""
    own = tuple(f"hydra.sweeper.{name}" for name in OWN_SETTINGS)
    given = [*job.arguments, *(OmegaConf.select(job.master, "hydra.overrides.hydra") or ())]
    lines = []
    for line in given:
        key = plain_key(line.partition("=")[0])
        is_hydra = key.replace("/", ".").startswith("hydra.")
        if key.startswith(("tracking", *own)) or (
            is_hydra and not key.replace("/", ".").startswith("hydra.sweeper.")
        ):
            continue
        if (masked := mask(line)) == line or not key.startswith("tags."):
            lines.append(masked)
    return _place(job.master) | {"overrides": lines}


def _place(master: DictConfig) -> dict[str, Any]:
    """Where the primary config lies."""
    sources = OmegaConf.select(master, "hydra.runtime.config_sources") or []
    return {
        "config_name": OmegaConf.select(master, "hydra.job.config_name"),
        "config_dirs": [source.path for source in sources if source.provider == "command-line"],
    }


def _command(master: DictConfig, fixed: Sequence["Override"]) -> dict[str, Any]:
    """What composes the study's config again, for refits, without secrets and less where it was
    logged, which may be elsewhere then."""
    lines: list[str | None] = []
    for override in fixed:
        key, line, value = plain_key(override.key_or_group), override.input_line, override.value()
        is_secret = mask_value(key, value) != value or mask(line or "") != line
        if key.startswith("tracking") or (is_secret and key.startswith("tags.")):
            continue
        lines.append(f"{override.get_key_element()}={MASK}" if is_secret else line)
    return _place(master) | {"overrides": lines}
