"""Runs evaluated or trained again, from the config and the model that they keep."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from recsweep.comparison.models import evaluates_cells
from recsweep.config import CHOSEN, SAME, build, flat, plain
from recsweep.errors import DataError, FitError, RecsweepError, RegistryError
from recsweep.evaluation import PARTS, evaluate, is_subset
from recsweep.masking import MASK
from recsweep.models.saved import load_model
from recsweep.pipeline import run_each
from recsweep.run.plan import Data, features_for, plan_data, prepare
from recsweep.run.record import Outcome, logged_metrics
from recsweep.scratch import scratch_folder
from recsweep.tracking import REFIT_TAG, RunRecord, Tracker
from recsweep.trust import check_stored

log = logging.getLogger(__name__)


EARLIER = {"validation_users": None}
"""What runs meant that were trained before there were such settings of their evaluation."""


@dataclass(frozen=True)
class Reruns:
    """Makes of runs what a comparison on one part needs.

    Attributes:
        store: The open store.
        experiment: MLflow experiment of the runs that are trained.
        conf: The folder of config groups.
        part: The part that the models are compared on.
        workers: Number of processes that train; None for one a core, where the memory holds them.
    """

    store: Tracker
    experiment: str
    conf: Path
    part: str
    workers: int | None = None

    def config(self, record: RunRecord) -> DictConfig:
        """The config that a run was trained by; what is younger than the run is the default, but
        for what decides which epoch is kept.

        Raises:
            UntrustedError: It would run what a store may not name.
            DataError: It is not whole.
        """
        with self.store.artifact(record, "config.yaml") as path:
            cfg = node_of(path)
        what = f"The config of the run {record.id} ({record.name})"
        check_stored(cfg, what)
        for node in (*SAME["run"].nodes, "tracking"):
            if node != "seed" and not OmegaConf.is_dict(OmegaConf.select(cfg, node)):
                raise DataError(f"{what} is not whole: {node} is missing. Train it again.")
        nodes = ("data", "split", "examples", "model", "loss", "optimizer", "trainer", "evaluation")
        settings = flat({node: plain(cfg, resolve=False).get(node, {}) for node in nodes})
        if masked := [name for name, value in settings.items() if MASK in str(value)]:
            raise DataError(
                f"The run {record.id} ({record.name}) was stored without the secret in "
                f"{', '.join(masked)}, and can't be made again by what is stored. Train it again "
                "with evaluation.test=true."
            )
        cfg.evaluation = {**self._default_evaluation, **EARLIER, **cfg.evaluation}
        return cfg

    def candidates(self, record: RunRecord) -> str:
        """What lists are to be chosen from: what the run's config says, and where it is from before
        that setting, the present default, if its split enumerates cells."""
        if is_subset(record.candidates):
            return record.candidates
        if not evaluates_cells(record):
            return "not_liked"
        if "candidates" in record.tags:
            return record.candidates
        return self._default_evaluation["candidates"]

    @property
    def _default_evaluation(self) -> dict[str, Any]:
        return plain(node_of(self.conf / "evaluation" / "default.yaml"))

    def is_measured(self, record: RunRecord) -> bool:
        """Whether a run has a report of the part under the present protocol."""
        evaluated = any(name.startswith(f"{self.part}/") for name in record.metrics)
        return evaluated and record.candidates == self.candidates(record)

    def evaluated(self, record: RunRecord) -> RunRecord:
        """The run with a report of the part under the present protocol: made now from its logged
        model where it had none, or one of another protocol.

        Raises:
            RegistryError: It has no logged model.
            DataError: Its data can't be read again, or are others now.
        """
        if self.is_measured(record):
            return record
        if record.model_id is None:
            raise RegistryError(
                f"The run {record.id} ({record.name}) has no evaluation of the "
                f"{self.part} part and no logged model to make one with. Train it "
                "again with evaluation.test=true."
            )
        cfg = self.config(record)
        data = self._data(record, cfg)
        with self.store.saved_model(record.model_id) as folder:
            model = load_model(folder)
        known = {
            part for part in PARTS if any(name.startswith(f"{part}/") for name in record.metrics)
        }
        stale = known if record.candidates != self.candidates(record) else set()
        threshold = record.metrics.get("validation/threshold")
        reports = [
            evaluate(
                model,
                data.split,
                part,
                protocol=build(cfg, "evaluation"),
                threshold=threshold if part == "test" else None,
                sample=None,
                **features_for(model, data),
            )
            for part in sorted({self.part} | stale, reverse=True)
        ]
        run = self.store.add_to(record)
        with run.guarded(), scratch_folder() as scratch:
            for report in reports:
                report.write(scratch / "evaluation")
            run.log_folder(scratch)
        # after the report, so that a run with these metrics has one
        run.log(
            metrics=logged_metrics(reports, data),
            tags={"candidates": self.candidates(record)},
            step=record.final_step,
        )
        log.info(
            "%s: evaluated on %s now, from its logged model",
            record.name,
            " and ".join(report.part for report in reports),
        )
        return self.store.record(record.id)

    def new(
        self,
        like: RunRecord,
        nodes: Mapping[str, Any],
        seed: int,
        split_seed: int | None,
        tags: Mapping[str, str],
    ) -> DictConfig:
        """The config of a new run on the data of another and a split of its rule.

        Args:
            like: The other run.
            nodes: Nodes that replace those of its config.
            seed: Seed of weights and batches.
            split_seed: Seed of the split; None for a rule that draws nothing.
            tags: Further tags of the new run.

        Raises:
            DataError: The data can't be read again, or are others now.
        """
        cfg = self.config(like)
        if nodes:
            cfg.pop(CHOSEN, None)  # it tells of the nodes that are replaced
        for node, content in nodes.items():
            cfg[node] = content
        cfg.seed = seed
        with open_dict(cfg):
            cfg.pop("trial", None)  # of a run of an earlier version, which was a launcher's job
        if split_seed is not None:
            cfg.split.seed = split_seed
        cfg.evaluation.test = self.part == "test"
        cfg.tracking.uri, cfg.tracking.experiment = self.store.uri, self.experiment
        cfg.tags = {REFIT_TAG: "true", **tags}
        if split_seed == like.split_seed:
            self._data(like, cfg)
        return cfg

    def trained(
        self,
        cfgs: Sequence[DictConfig],
        like: RunRecord,
        tell: Callable[[DictConfig, Outcome], None] = lambda cfg, outcome: None,
    ) -> list[RunRecord]:
        """Finished runs of new configs, in their order.

        Args:
            cfgs: Configs as `new` makes them.
            like: The run that they are to be compared with.
            tell: Called with each as soon as it is trained.

        Raises:
            FitError: One can't be trained; the others are, and are found again.
        """
        outcomes = run_each(cfgs, workers=self.workers, tell=tell)
        for outcome in outcomes:
            if outcome.fit.error is not None:
                raise FitError(
                    f"{outcome.name} can't be trained on the data of {like.name}, to be "
                    f"compared with: {outcome.fit.error}"
                ) from outcome.fit.error
        return [self.store.record(outcome.run_id) for outcome in outcomes]

    def _data(self, record: RunRecord, cfg: DictConfig) -> Data:
        """The run's data and split, read again."""
        try:
            data = prepare(plan_data(cfg))
        except RecsweepError as error:
            raise DataError(
                f"The data of the run {record.id} ({record.name}) can't be read again: {error}"
            ) from error
        for name, digest in data.digests.items():
            if digest != record.tags[name]:
                raise DataError(
                    f"The data of the run {record.id} ({record.name}) are others now: their {name} "
                    f"was {record.tags[name]} and is {digest}. Bring the old ones back, or train "
                    "it again."
                )
        return data


def node_of(path: Path) -> DictConfig:
    """The settings of a YAML file. DataError where it holds none."""
    try:
        node = OmegaConf.load(path)
    except (OSError, ValueError, YAMLError, OmegaConfBaseException, RecursionError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"{path} can't be read as settings: {reason}. Train it again.") from error
    if not isinstance(node, DictConfig):
        raise DataError(f"{path} must hold names and their values, not a list.")
    return node
