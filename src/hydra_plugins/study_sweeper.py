"""Hydra's door to studies: `-m` is one, unless hydra/sweeper=basic is chosen.

Hydra imports this file at every command: whatever is heavy is imported where a study starts. No
`from __future__ import annotations` here, which Hydra's structured configs do not bear.
"""

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class StudySweeper(Sweeper):
    """Runs a multirun as a study.

    Args:
        settings: Settings of the study, which conf/hydra/sweeper/study.yaml explains.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.hydra_context = hydra_context
        self.config = config

    def sweep(self, arguments: list[str]) -> Any:
        from recsweep.cli import study

        assert self.hydra_context is not None, "setup comes first"
        assert self.config is not None
        return study(self.settings, self.hydra_context.config_loader, self.config, arguments)
