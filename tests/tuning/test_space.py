"""Hydra's sweep overrides as a search space."""

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from recsweep.config import conf_dir
from recsweep.errors import ConfigError
from recsweep.tuning.space import Dimension, check_count, grid_points, parse_space

PRESENT = OmegaConf.create({"model": {"user_dim": 15, "C": 1.0}, "seed": 0})


def _parse(*arguments: str, params=None, seed=0):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        return parse_space(
            params or {}, arguments, config_loader=loader, current=PRESENT, seed=seed
        )


def _one(override: str, **options):
    _, (dimension,) = _parse(override, **options)
    return dimension


@pytest.mark.parametrize(
    ("value", "values"),
    [
        ("10,15,20", (10, 15, 20)),
        ("choice(10,15)", (10, 15)),
        ("3,1,3,2", (3, 1, 2)),
        ("sort(3,1,2)", (1, 2, 3)),
        ("range(10,20,5)", (10, 15, 20)),
        ("range(10,19,5)", (10, 15)),
        ("range(3)", (0, 1, 2, 3)),
        ("range(20,10,-5)", (20, 15, 10)),
        ("range(0.1,0.3,0.1)", (0.1, 0.2, 0.3)),
        ("range(0,1,0.25)", (0.0, 0.25, 0.5, 0.75, 1.0)),
        ("a,'b c'", ("a", "b c")),
        ("true,null", (True, None)),
        ("1,true,1.0", ("1", "True")),
        ("0,0.0", (0,)),
        ("0.5,.5,5e-1", (0.5,)),
        ("a,'a',\"a\"", ("a",)),
        ("1,'1'", (1, "1")),
        ("nan,nan", (float("nan"),)),
        ("[1,2],[3]", ("[1,2]", "[3]")),
    ],
)
def test_values_of_a_list_or_a_range(value, values):
    found = _one(f"model.user_dim={value}").values
    assert str(found) == str(values)
    assert [type(each) for each in found] == [type(each) for each in values]


def test_a_glob_names_options_of_a_group():
    assert _one("model=glob(popularity*)").values == ("popularity", "popularity_by_activity")


def test_a_value_becomes_the_override_that_gives_it():
    dimension = _one('+data.name=one,"two words"')
    assert [dimension.override(value) for value in dimension.values] == [
        "+data.name=one",
        '+data.name="two words"',
    ]


def test_a_shuffle_is_the_same_for_the_same_seed():
    first, second, other = (_one("a=shuffle(range(1,30))", seed=seed).values for seed in (1, 1, 2))
    assert first == second != other
    assert sorted(first) == list(range(1, 31))


@pytest.mark.parametrize(
    ("override", "whole", "low", "high", "log"),
    [
        ("model.user_dim=interval(16,256)", True, 16, 256, False),
        ("model.user_dim=interval(16,25.5)", False, 16.0, 25.5, False),
        ("model.C=interval(1,2)", False, 1.0, 2.0, False),
        ("model.C=int(interval(1,2))", True, 1, 2, False),
        ("model.C=tag(log, interval(1e-4,1e-1))", False, 1e-4, 1e-1, True),
        ("model.unknown=interval(1,2)", False, 1.0, 2.0, False),
    ],
)
def test_an_interval_holds_whole_numbers_where_the_setting_does(override, whole, low, high, log):
    found = _one(override)
    assert (found.whole, found.low, found.high, found.log) == (whole, low, high, log)
    assert found.values == ()


def test_params_are_overrides_and_the_command_line_goes_first():
    fixed, varied = _parse(
        "model.C=3", params={"model.user_dim": "1,2", "model.C": "1,2", "seed": 7}
    )
    assert {each.input_line for each in fixed} == {"model.C=3", "seed=7"}
    assert [each.key for each in varied] == ["model.user_dim"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("a=interval(2,1)", "two finite bounds, the lower one first"),
        ("a=tag(log, interval(0,1))", "must start above 0"),
        ("a=tag(log, choice(1,2))", "a list has no logarithmic scale"),
        ("a=range(1,5,-1)", "has no values"),
        ("a=range(1,5,0)", "has no values"),
        ("a=sort(range(1,8,2),reverse=true)", "write the range in the order that you want"),
        ("a=1,", "can't be read"),
        ("model=glob(nothing*)", "varied over nothing"),
    ],
)
def test_what_is_no_space(override, said):
    with pytest.raises(ConfigError, match=said):
        _parse(override)


@pytest.mark.parametrize(
    ("present", "drawn"),
    [([50, 20], "int(interval(5, 50))"), ([50, 2.0], "interval(5, 50)"), ([], "interval(5, 50)")],
)
def test_an_interval_is_whole_where_every_option_of_a_varied_group_is(present, drawn):
    assert _one("model.unknown=interval(5,50)").for_present(present).words() == drawn


def test_a_range_shows_that_its_end_is_in_it():
    assert _one("a=range(1,4)").values_in_words() == "range(1, 4, 1): 1, 2, 3, 4"
    assert _one("a=range(1,400)").values_in_words() == "range(1, 400, 1): 1, 2, ..., 400"


def test_a_range_without_end_is_refused_before_it_is_counted_out():
    with pytest.raises(ConfigError, match=r"1,000,000,000,000 values.*'int\(interval\(1,"):
        _one("seed=range(1,1000000000000)")


def test_a_grid_of_too_many_points_is_refused_with_their_number():
    many = Dimension("a", tuple("abcdefghijk"), tuple("abcdefghijk"))
    check_count([many] * 3)
    with pytest.raises(ConfigError, match=r"14,641: 11 of a x .* Set hydra.sweeper.n_trials"):
        check_count([many] * 4)


def test_the_last_setting_changes_fastest():
    _, dimensions = _parse("a=1,2", "b=x,y")
    assert [tuple(value for _, value in point) for point in grid_points(dimensions)] == [
        (1, "x"),
        (1, "y"),
        (2, "x"),
        (2, "y"),
    ]
