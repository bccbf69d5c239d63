"""What a run names its params by: options that were chosen, whatever came of their settings."""

import pytest
from omegaconf import OmegaConf

from recsweep.config import CHOSEN, composed
from recsweep.data.examples import AllCells
from recsweep.losses import BinaryCrossEntropy
from recsweep.run.plan import plan


class Halved(BinaryCrossEntropy):
    name = "halved"


class EveryCell(AllCells):
    pass


def _params(*overrides: str, without: str | None = None, **changed: str) -> dict[str, str]:
    """The params without a dot in their name.

    Args:
        without: A node that is taken out of the composed config.
        changed: Classes of nodes of the model, in place of their own.
    """
    cfg = composed(overrides)
    if without is not None:
        OmegaConf.set_struct(cfg, False)
        del cfg[without]
    for node, target in changed.items():
        cfg.model[node]["_target_"] = target
    params = plan(cfg).params
    return {name: value for name, value in params.items() if "." not in name and name != "seed"}


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["model=recipe_net", "optimizer=quick_adam", "optimizer.lr=0.1"],
            {
                "model": "recipe_net",
                "loss": "mse",
                "optimizer": "quick_adam",
                "examples": "all_cells",
                "trainer": "default",
                "fold_in": "row_steps",
            },
        ),
        (
            ["model=bpr", "trainer.max_epochs=3"],
            {
                "model": "bpr",
                "loss": "bpr",
                "optimizer": "adam",
                "examples": "listwise",
                "trainer": "large_batches",
                "fold_in": "row_steps",
            },
        ),
        (["model=item_knn", "model.normalize=true"], {"model": "item_knn"}),
    ],
)
def test_they_are_the_options_that_were_chosen(overrides, expected):
    params = _params(*overrides)
    assert {name: value for name, value in params.items() if value != "none"} == expected


def test_a_config_without_a_note_of_them_is_named_by_what_it_holds():
    nets = ["model=mf", "optimizer=quick_adam", "trainer=large_batches", "examples=sampled"]
    assert _params(*nets, without=CHOSEN) == {
        "model": "mf",
        "loss": "bce",
        "optimizer": "adam",
        "examples": "sampled",
        "trainer": "default",
        "fold_in": "row_steps",
    }
    assert _params("model=item_knn", without=CHOSEN)["model"] == "knn"


def test_a_class_of_ones_own_is_named_itself():
    own = _params("loss=bce", loss="tests.test_choices.Halved")
    assert (own["loss"], own["optimizer"]) == ("halved", "adam")
    own = _params(examples="tests.test_choices.EveryCell")
    assert (own["examples"], own["model"]) == ("EveryCell", "recipe_net")
