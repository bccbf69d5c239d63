"""The grids of the baselines: what promotion tries is what experiments/baselines.yaml sweeps."""

from itertools import product
from pathlib import Path

import pytest
import yaml
from hydra.utils import instantiate
from omegaconf import OmegaConf

from recsweep.promotion.grids import GRIDS

STUDY = Path(__file__).parents[1] / "experiments" / "baselines.yaml"


def swept() -> dict[str, list[dict[str, object]]]:
    """For each option that the study names, its points: all combinations of its own lists."""
    sweeper = OmegaConf.load(STUDY).hydra.sweeper
    found = {}
    for option in sweeper.params.model.split(","):
        values = {
            name.removeprefix("model."): yaml.safe_load(f"[{listed}]")
            for name, listed in sweeper.params_of.get(option, {}).items()
        }
        found[option] = [
            dict(zip(values, chosen, strict=True)) for chosen in product(*values.values())
        ]
    return found


def _logged(points: list[dict[str, object]]) -> list[list[tuple[str, str]]]:
    """The settings as runs log them, by which a promotion finds the study's runs; in an order of
    their own."""
    return sorted(sorted((name, str(value)) for name, value in point.items()) for point in points)


def test_promotion_and_the_study_try_the_same():
    study = swept()
    assert list(study) == list(GRIDS)
    for option, points in study.items():
        assert _logged(points) == _logged(GRIDS[option])


def test_the_study_states_its_budget():
    fits = sum(map(len, GRIDS.values()))
    assert f"# Budget: {fits} fits" in STUDY.read_text()


@pytest.mark.parametrize("option", GRIDS)
def test_every_point_of_a_grid_is_a_model_of_its_own(option, compose):
    cfg = compose(f"model={option}")
    labels = {
        instantiate(OmegaConf.merge(cfg.model, point), _convert_="all").label
        for point in GRIDS[option]
    }
    assert len(labels) == len(GRIDS[option])
    for point in GRIDS[option]:
        assert point.keys() <= cfg.model.keys()
