"""Each file of conf/ fits the code that it names, and goes together with every other."""

import inspect
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.utils import get_object
from omegaconf import OmegaConf

from recsweep.config import composed, conf_dir, effective_config, option
from recsweep.errors import ConfigError
from recsweep.run import plan as run_plan

CONF = conf_dir()
FILES = sorted(
    path for path in CONF.rglob("*.yaml") if CONF / "hydra" not in path.parents
)  # those: tests/tuning
OPTIONS = [path for path in FILES if path.parent.parent == CONF]
NAMES = [f"{path.parent.name}={path.stem}" for path in OPTIONS]
MODELS = [name for name in NAMES if name.startswith("model=")]
NAMES_BY_GROUP = {
    path.parent.name: sorted(CONF.glob(f"{path.parent.name}/*.yaml")) for path in OPTIONS
}
# what an option leaves to its user
GIVEN = {name: ["data.path=likes.csv"] for name in ("data=csv", "data=file")}
RANKING = {"loss=bpr", "loss=softmax"}
"""Losses of lists alone."""


def _rounds(groups: list[str]) -> list[list[str]]:
    """Lists of overrides, one option of each group in each, that between them name every option."""
    most = max(len(NAMES_BY_GROUP[group]) for group in groups)
    rounds = [
        [
            f"{group}={NAMES_BY_GROUP[group][i % len(NAMES_BY_GROUP[group])].stem}"
            for group in groups
        ]
        for i in range(most)
    ]
    return [
        chosen + [extra for name in chosen for extra in GIVEN.get(name, [])] for chosen in rounds
    ]


def _targets(node: object) -> list[dict]:
    """Every node of a config that names a `_target_`."""
    if isinstance(node, list):
        return [found for each in node for found in _targets(each)]
    if not isinstance(node, dict):
        return []
    return ([node] if "_target_" in node else []) + _targets(list(node.values()))


def test_the_groups_are_the_documented_ones():
    groups = {path.parent.name for path in OPTIONS}
    assert {
        "data",
        "split",
        "examples",
        "model",
        "loss",
        "optimizer",
        "trainer",
        "evaluation",
        "tracking",
    } <= groups


@pytest.mark.parametrize("path", OPTIONS, ids=NAMES)
def test_every_target_accepts_the_keys_beside_it(path):
    nodes = _targets(OmegaConf.to_container(option(path.parent.name, path.stem), resolve=False))
    assert nodes, f"{path.name} names nothing to build"
    for node in nodes:
        keys = {key: value for key, value in node.items() if key != "_target_"}
        inspect.signature(get_object(node["_target_"])).bind(
            **keys
        )  # raises at an unknown or a missing key


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(CONF)) for path in FILES])
def test_the_first_line_is_a_command_that_works(path, compose):
    first = path.read_text(encoding="utf-8").splitlines()[0]
    command, _, _remark = first.partition("    ")
    assert command.startswith("# python train.py ")
    overrides = shlex.split(command.removeprefix("# python train.py "))
    chosen = f"{path.parent.name}={path.stem}"
    cfg = compose(*([chosen] if path in OPTIONS and chosen not in overrides else []), *overrides)
    run_plan.plan(cfg)
    if path in OPTIONS:
        expected = option(path.parent.name, path.stem)["_target_"]
        assert cfg[path.parent.name]["_target_"] == expected


@pytest.mark.parametrize("model", MODELS)
def test_every_model_goes_with_every_other_option(model, compose):
    for overrides in _rounds([group for group in NAMES_BY_GROUP if group != "model"]):
        settings = OmegaConf.to_container(
            compose(model, *overrides), resolve=True, throw_on_missing=True
        )
        for group, _, name in (override.partition("=") for override in [model, *overrides]):
            if group in NAMES_BY_GROUP:
                assert settings[group]["_target_"] == option(group, name)["_target_"]


@pytest.mark.parametrize("model", ["knn", "item_knn", "popularity", "popularity_by_activity"])
def test_what_does_not_train_in_epochs_takes_no_loss_into_its_node(model, compose):
    cfg = compose(f"model={model}", "loss=bce", "optimizer=sgd")
    assert (
        effective_config(cfg)["model"]
        .keys()
        .isdisjoint({"loss", "optimizer", "trainer", "examples"})
    )


def test_a_net_takes_loss_optimizer_trainer_and_examples_into_its_node(compose):
    cfg = compose(
        "model=recipe_net", "loss=bce", "optimizer=sgd", "trainer.max_epochs=7", "examples=sampled"
    )
    model = effective_config(cfg)["model"]
    assert model["loss"]["_target_"].endswith("BinaryCrossEntropy")
    assert model["optimizer"]["_target_"].endswith("SGD")
    assert model["trainer"]["max_epochs"] == 7
    assert model["examples"]["num_negatives"] == 4


def test_a_setting_at_the_value_that_was_meant_before_it_is_none(compose):
    """What is stored without it is the same run."""
    before, every, other = (
        effective_config(compose("model=recipe_net", *more))["model"]["trainer"]
        for more in ((), ("trainer.evaluate_every=1",), ("trainer.evaluate_every=2",))
    )
    assert before == every == {name: other[name] for name in other if name != "evaluate_every"}
    assert other["evaluate_every"] == 2


def test_settings_that_a_model_does_not_take_leave_it_the_same_run(compose):
    one, other = (effective_config(compose("model=knn", f"loss={loss}")) for loss in ("mse", "bce"))
    assert one == other
    one, other = (
        effective_config(compose("model=recipe_net", f"loss={loss}")) for loss in ("mse", "bce")
    )
    assert one != other


HEAVY = [
    "torch",
    "pytorch_lightning",
    "mlflow",
    "pandas",
    "sklearn",
    "scipy",
    "pyarrow",
    "matplotlib",
]
PLAN_ALL = f"""
import json, sys
from recsweep.config import composed
from recsweep.run import plan as run_plan
for overrides in json.loads(sys.argv[1]):
    run_plan.plan(composed(overrides))
    print(*overrides, [name for name in {HEAVY} if name in sys.modules])
"""


def test_every_option_is_built_without_a_heavy_import():
    def that_fits(name: str, names: list[str]) -> str:
        if not name.startswith("examples="):
            return name
        if "model=logistic" in names:
            return "examples=sampled"  # it learns from no lists
        return "examples=listwise" if RANKING & set(names) else name

    rounds = _rounds(list(NAMES_BY_GROUP))
    wanted = [[that_fits(name, names) for name in names] for names in rounds]
    assert {name for overrides in wanted for name in overrides} >= set(NAMES)
    done = subprocess.run(
        [sys.executable, "-c", PLAN_ALL, json.dumps(wanted)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(wanted)
    assert [line for line in lines if not line.endswith(" []")] == []


def test_the_conf_folder_of_a_checkout_is_the_one_that_the_wheel_takes():
    assert Path(__file__).parents[1] / "conf" == CONF


class TestTheCommandLine:
    def test_overrides_may_stand_before_between_and_behind_flags(self):
        from recsweep.cli.arguments import parted

        words = ["seed=1", "-m", "model=knn,ease", "-cn", "grid", "+tags.a=1"]
        assert parted(words, "train") == (
            ["-m", "-cn", "grid"],
            ["seed=1", "model=knn,ease", "+tags.a=1"],
        )

    def test_a_setting_that_another_one_reads_may_be_added(self):
        from recsweep.mistakes import refuse_unused

        refuse_unused(composed(["+width=3", "model.user_dim=${width}", "+tags.team=a"]))
        with pytest.raises(ConfigError, match=r"setting sed\. Did you mean seed\?"):
            refuse_unused(composed(["+sed=3"]))
