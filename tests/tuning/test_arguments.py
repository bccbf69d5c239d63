"""Overrides that Hydra would read otherwise than they are meant."""

import pytest

from recsweep.tuning.arguments import as_meant


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["hydra.sweeper.study_name=2024_11_25"], ["hydra.sweeper.study_name='2024_11_25'"]),
        (["tracking.experiment=1e3"], ["tracking.experiment='1e3'"]),
        (["hydra.sweeper.study_name=2024"], ["hydra.sweeper.study_name=2024"]),
        (["hydra.sweeper.study_name=null"], ["hydra.sweeper.study_name=null"]),
        (["seed=1_000"], ["seed=1_000"]),
        (
            ["model=knn,item_knn", "model.by=item", "model.num_neighbors=20", "seed=1"],
            [
                "model=knn,item_knn",
                "seed=1",
                "++hydra.sweeper.params={model.by:item,model.num_neighbors:'20'}",
            ],
        ),
        (["model=knn", "model.num_neighbors=20"], ["model=knn", "model.num_neighbors=20"]),
        (
            ["model=a,b", "+model.new=1", "model.x=1,2"],
            ["model=a,b", "+model.new=1", "model.x=1,2"],
        ),
        (
            ["hydra/sweeper=basic", "model=a,b", "model.x=1"],
            ["hydra/sweeper=basic", "model=a,b", "model.x=1"],
        ),
        (["a=1,", "b"], ["a=1,", "b"]),
    ],
)
def test_as_meant(given, meant):
    assert as_meant(given) == meant


def test_any_text_comes_through():
    from hydra.core.override_parser.overrides_parser import OverridesParser

    value = "'it\\'s {a}: \"b\", [c]'"
    *_, line = as_meant(["data=csv,foodcom", f"data.name={value}"])
    (read,) = OverridesParser.create().parse_overrides([line])
    assert read.value() == {"data.name": value}


@pytest.mark.parametrize(
    ("experiment", "added"),
    [
        (None, ["data=file"]),
        ("# a study of likes\nmodel: knn\n", ["data=file", "data.name=likes"]),
        ("defaults:\n  - override /data: foodcom\n", []),
    ],
)
def test_a_path_alone_is_a_file(experiment, added):
    line = "data.path=there/likes.csv.gz"
    assert as_meant([line, "seed=1"], experiment) == [*added, line, "seed=1"]
    assert as_meant(["data=csv", line], experiment) == ["data=csv", line]
