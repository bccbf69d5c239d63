"""Plots as SVG: where things are drawn, and what is written there."""

import re
from itertools import combinations, pairwise
from xml.etree import ElementTree

import numpy as np
import pytest

from recsweep.drawing import Axis, Panel, parallel, svg

SVG = "{http://www.w3.org/2000/svg}"


def _lines(drawing: str) -> list[np.ndarray]:
    """The points of each line, but those of the legend, whose samples are 22 long."""
    lines = [
        np.array([point.split(",") for point in line.get("points", "").split()], dtype=float)
        for line in ElementTree.fromstring(drawing).iter(f"{SVG}polyline")
    ]
    return [line for line in lines if np.ptp(line[:, 0]) != 22]


def _texts(drawing: str) -> list[str]:
    return [text.text or "" for text in ElementTree.fromstring(drawing).iter(f"{SVG}text")]


@pytest.mark.parametrize(
    ("axis", "values", "shares"),
    [
        (Axis(limits=(0, 10)), [0, 5, 10], [0, 0.5, 1]),
        (Axis(limits=(0.01, 100), kind="log"), [0.01, 1, 100], [0, 0.5, 1]),
        (Axis(limits=(0, 1), kind="symlog"), [0, 0.01, 0.1, 1], [0, 1 / 3, 2 / 3, 1]),
    ],
)
def test_a_line_goes_where_its_values_are(axis, values, shares):
    panel = Panel(axis, Axis(limits=(0, 1)))
    panel.draw(values, [0] * len(values))
    panel.draw([values[0], values[-1]], [1, 1])
    first, second = _lines(svg(panel))
    left, right = second[:, 0]
    assert (first[:, 0] - left) / (right - left) == pytest.approx(shares, abs=1e-3)
    assert first[0, 1] > second[0, 1] + 200, "more is higher"


@pytest.mark.parametrize(
    ("low", "high", "whole", "written"),
    [
        (0, 1, False, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (1, 3, True, ["1", "2", "3"]),
        (0, 1_400_000, False, ["0", "250,000", "500,000", "750,000", "1,000,000", "1,250,000"]),
        (0.1, 0.13, False, ["0.100", "0.105", "0.110", "0.115", "0.120", "0.125", "0.130"]),
        (0, 0.0, False, ["-0.4", "-0.2", "0.0", "0.2", "0.4"]),
    ],
)
def test_ticks_are_round_numbers(low, high, whole, written):
    axis = Axis(whole=whole, room=0)
    ends = axis.ends([low, high])
    assert [text for _, text in axis.ticks(ends)] == written


def test_ticks_of_a_logarithmic_axis():
    axis = Axis(kind="log", room=0)
    assert [text for _, text in axis.ticks(axis.ends([1e-4, 0.1]))] == [
        "0.0001",
        "0.001",
        "0.01",
        "0.1",
    ]
    assert [text for _, text in axis.ticks(axis.ends([2, 7]))] == ["2", "3", "4", "5", "6", "7"]


def test_what_is_not_known_is_left_out():
    panel = Panel()
    panel.draw([1, 2, 3, 4], [0.5, np.nan, np.inf, 1], marker="o")
    drawing = svg(panel)
    assert [len(line) for line in _lines(drawing)] == [2]
    assert drawing.count("<circle") == 2
    assert "nan" not in drawing
    assert "inf" not in drawing


def test_words_are_written_as_they_are():
    panel = Panel(Axis("a < b & c"), title="<script>alert(1)</script>")
    panel.draw([1], [1], "x<y", width=0, marker="o", titles=["trial <1>"])
    drawing = svg(panel)
    assert "<script>" not in drawing
    assert {"a < b & c", "<script>alert(1)</script>", "x<y"} <= set(_texts(drawing))
    titles = ElementTree.fromstring(drawing).iter(f"{SVG}title")
    assert [title.text for title in titles] == ["trial <1>"]


def test_names_of_rules_lie_below_each_other():
    panel = Panel(up=Axis(limits=(0, 1)))
    for place, name in enumerate(("knn", "logistic", "popularity")):
        panel.named_rule(0.5 + place / 1000, name)
    heights = sorted(_heights_of(svg(panel), ("knn", "logistic", "popularity")))
    assert all(second - first >= 12 for first, second in pairwise(heights))


def test_words_beside_points_do_not_lie_on_each_other():
    panel = Panel(Axis(limits=(0, 1)), Axis(limits=(0, 1)))
    names = ("one model", "another model", "a third model")
    for name in names:
        panel.note(0.2, 0.5, name)
    heights = _heights_of(svg(panel), names)
    assert all(abs(first - second) >= 12 for first, second in combinations(heights, 2))


def _heights_of(drawing: str, words: tuple[str, ...]) -> list[float]:
    found = {
        text.text: float(text.get("y", "nan"))
        for text in ElementTree.fromstring(drawing).iter(f"{SVG}text")
    }
    return [found[each] for each in words]


def test_a_legend_is_above_the_axes_and_within_the_panel():
    panel = Panel()
    for place in range(9):
        panel.draw([0, 1], [place, place + 1], f"model with a long name {place}")
    drawing = svg(panel)
    entries = [f"model with a long name {place}" for place in range(9)]
    top = min(line[:, 1].min() for line in _lines(drawing))
    assert max(_heights_of(drawing, tuple(entries))) < top
    rows = re.findall(r'<text x="([\d.]+)" y="[\d.]+" [^>]*>model', drawing)
    assert len(rows) == 9
    assert all(float(x) < panel.width - 100 for x in rows)


def test_parallel_axes_have_a_line_a_thing():
    columns = [
        (np.array([0.1, 0.3]), Axis()),
        (np.array([0.0, 1.0]), Axis(kind="names", names=["mse", "bce"])),
    ]
    drawing = parallel(["value", "loss"], columns, [0, 1], ["trial 0", "trial 1"])
    worse, better = _lines(drawing)
    assert worse.shape == better.shape == (2, 2)
    assert worse[0, 1] > better[0, 1]
    assert worse[1, 1] > better[1, 1]
    assert {"mse", "bce", "loss", "value"} <= set(_texts(drawing))
