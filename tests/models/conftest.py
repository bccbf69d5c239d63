"""Every model of conf/model, small data to fit it on, and ways to build it."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import DictConfig

from recsweep.config import composed, conf_dir
from recsweep.data.feature_files import feature_table
from recsweep.data.features import FeatureTable
from recsweep.data.interactions import IdMap, Part
from recsweep.data.readers import InteractionFile
from recsweep.models.base import Recommender

MODELS = sorted(path.stem for path in (conf_dir() / "model").glob("*.yaml"))


@cache
def _config(*overrides: str) -> DictConfig:
    return composed(overrides)


def build(name: str, *overrides: str) -> Recommender:
    """The model of conf/model/`name`.yaml, with few epochs."""
    cfg = _config(f"model={name}", "trainer.max_epochs=2", "trainer.batch_size=64", *overrides)
    return instantiate(cfg.model, _convert_="all")


def foodcom(real_data: Path) -> InteractionFile:
    """The Food.com block among the real data."""
    cfg = _config("data=foodcom", f"data.path={real_data / 'foodcom_dense.csv.gz'}")
    return instantiate(cfg.data, _convert_="all")


def part(matrix: np.ndarray, known: np.ndarray | None = None) -> Part:
    """The known cells of a 0/1 matrix; positives only where `known` is None."""
    users, items = np.nonzero(matrix if known is None else known)
    return Part(
        users, items, matrix[users, items], *matrix.shape, enumerates_cells=known is not None
    )


def tastes(num_users: int = 40, num_items: int = 30, seed: int = 0) -> np.ndarray:
    """A 0/1 matrix: two tastes and some noise. The last user and the last item have no positive."""
    rng = np.random.default_rng(seed)
    same_taste = np.arange(num_users)[:, None] % 2 == np.arange(num_items)[None, :] % 2
    matrix = (rng.random((num_users, num_items)) < np.where(same_taste, 0.5, 0.08)).astype(np.uint8)
    matrix[-1], matrix[:, -1] = 0, 0
    return matrix


def features(num_users: int = 40, num_items: int = 30) -> dict[str, FeatureTable]:
    """Features by which the two tastes of `tastes` can be told, for `FitOptions`. The last user and
    the last item have none."""
    users = {
        "user_id": [*map(str, range(num_users - 1))],
        "side": ["left" if user % 2 else "right" for user in range(num_users - 1)],
        "age": [f"{20 + user / 2}" for user in range(num_users - 1)],
    }
    genres = ["war|drama", "comedy", "drama", "comedy|romance|drama"]
    items = {
        "item_id": [*map(str, range(num_items - 1))],
        "genres": [genres[item % 4] for item in range(num_items - 1)],
        "country": ["fr" if item % 3 else "" for item in range(num_items - 1)],
    }
    return {
        "user_features": feature_table(users, IdMap(np.arange(num_users), "user"), source="users"),
        "item_features": feature_table(items, IdMap(np.arange(num_items), "item"), source="items"),
    }


@pytest.fixture(params=["cells", "positives"])
def train(request: pytest.FixtureRequest) -> Part:
    """A training part of either kind: one that enumerates three quarters of the cells, one of
    positives only."""
    matrix = tastes()
    known = np.random.default_rng(1).random(matrix.shape) < 0.75
    known[-1], known[:, -1] = False, False  # a user and an item without any training cell
    return part(matrix, known) if request.param == "cells" else part(matrix)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "model"
