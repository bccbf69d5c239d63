"""What each setting means, as `--help` and the reference say it."""

import re
from pathlib import Path

import pytest

from recsweep.config import conf_dir
from recsweep.settings import groups_of, words_of_target

FOLDERS = sorted(
    {path.parent.relative_to(conf_dir()).as_posix() for path in conf_dir().rglob("*.yaml")} - {"."}
)


@pytest.mark.parametrize("name", FOLDERS)
def test_every_setting_of_every_option_has_words(name: str):
    for path in sorted((conf_dir() / name).glob("*.yaml")):
        (group,) = (
            group
            for group in groups_of([f"{name}={path.stem}"])
            if (group.name, group.option) == (name, path.stem)
        )
        assert group.words, f"{name}={path.stem} says nothing of itself"
        silent = [setting.name for setting in group.settings if not setting.words]
        assert not silent, f"{name}={path.stem}: say what they mean in its YAML or the docstring"
        for setting in group.settings:  # in words of the command line, not of the code
            assert not re.search(r"`recsweep\.|\w\.[A-Z]{3}|\b(AUTO|REPEATS)\b", setting.words)


def test_comments_of_a_file():
    groups = {group.name: group for group in groups_of(["trainer=large_batches"])}
    trainer = {setting.name: setting for setting in groups["trainer"].settings}
    assert trainer["trainer.batch_size"].value == 2048
    assert trainer["trainer.patience"].words == "Epochs without a better one before the fit ends."
    assert groups["trainer"].words.startswith("Many cheap epochs of large batches")
    tracking = {setting.name: setting.words for setting in groups["tracking"].settings}
    assert "training goes on meanwhile" in tracking["tracking.wait_seconds"]
    assert groups["model"].options == tuple(
        sorted(path.stem for path in Path(conf_dir(), "model").glob("*.yaml"))
    )


def test_docstrings_are_found_where_a_name_comes_from():
    assert "seed" in words_of_target("recsweep.data.synthetic.Synthetic")
    assert words_of_target("recsweep.models.optimizers.LazyAdam")["lr"] == (
        "Learning rate: length of a step."
    )
    assert words_of_target("recsweep.no.Such") == {}
    assert words_of_target("optuna.samplers.TPESampler") == {}
    assert all(re.match(r"[\w_]+$", name) for name in words_of_target("recsweep.losses.BPR"))
