"""Plots of ours as SVG: one style, without a library that takes longer than what it draws."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

COLORS = ("#1f5fa8", "#d1731f", "#7a3b8f", "#3f7d4e", "#a01515", "#2b8a99", "#8a6d1f", "#5c5c5c")
GREY = "#777777"
RED = "#a01515"

WIDTH, HEIGHT = 550.0, 400.0
"""Pixels of a panel."""

FONT, SMALL = 12, 11
LETTER = 0.58
"""Mean width of a letter, as a share of its height: names of models are mostly small letters."""

MAX_TICKS = 7

Values = Sequence[float] | np.ndarray
Marker = Literal["o", "s", "x", "open"]


def color_of(share: float) -> str:
    """A colour between grey blue and deep blue, of a share between 0 and 1."""
    light, dark = (201, 214, 230), (16, 62, 118)
    mixed = (round(low + (high - low) * share) for low, high in zip(light, dark, strict=True))
    return "#" + "".join(f"{part:02x}" for part in mixed)


@dataclass(frozen=True)
class Axis:
    """One direction of a panel.

    Attributes:
        words: What it shows.
        limits: Its ends; None for one that the data sets.
        kind: `symlog` is linear up to 0.01 and logarithmic above; `names` has a place a name.
        whole: Whether only whole numbers are marked.
        names: Of `names`, from place 0.
        room: Share of its length that is left free at each end that the data sets.
        marks: Values at which something is written, in place of round numbers.
    """

    words: str = ""
    limits: tuple[float | None, float | None] = (None, None)
    kind: Literal["linear", "log", "symlog", "names"] = "linear"
    whole: bool = False
    names: Sequence[str] = ()
    room: float = 0.04
    marks: Sequence[float] = ()

    def scaled(self, values: Values) -> np.ndarray:
        """Values on a scale on which equal lengths are drawn equal."""
        numbers = np.asarray(values, dtype=np.float64)
        if self.kind == "log":
            return np.log10(np.maximum(numbers, 1e-300))
        if self.kind == "symlog":
            beyond = np.sign(numbers) * (1 + np.log10(np.maximum(np.abs(numbers), 0.01) / 0.01))
            return np.where(np.abs(numbers) <= 0.01, numbers / 0.01, beyond)
        return numbers

    def ends(self, values: Values) -> tuple[float, float]:
        """Its two ends on the scale, where it shows these values."""
        if self.kind == "names":
            return -0.6, max(len(self.names), 1) - 0.4
        numbers = self.scaled(values)
        numbers = numbers[np.isfinite(numbers)]
        low, high = (numbers.min(), numbers.max()) if len(numbers) else (0.0, 1.0)
        if low == high:
            low, high = low - (abs(low) * 0.05 or 0.5), high + (abs(high) * 0.05 or 0.5)
        room = (high - low) * self.room
        given = [None if limit is None else float(self.scaled([limit])[0]) for limit in self.limits]
        low, high = (
            float(end) if limit is None else limit
            for end, limit in zip((low - room, high + room), given, strict=True)
        )
        return low, high if high > low else low + 1.0

    def ticks(self, ends: tuple[float, float]) -> list[tuple[float, str]]:
        """Where something is written, on the scale, and what."""
        low, high = ends
        if self.kind == "names":
            return [(float(place), name) for place, name in enumerate(self.names)]
        if self.marks:
            places = self.scaled(self.marks)
            return [(float(place), f"{v:g}") for place, v in zip(places, self.marks, strict=True)]
        if self.kind == "symlog":
            marks = [(float(self.scaled([value])[0]), f"{value:g}") for value in (0, 0.01, 0.1, 1)]
            return [mark for mark in marks if low <= mark[0] <= high]
        if self.kind == "log" and high - low >= 1:
            powers = range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)
            every = max(1, math.ceil(len(powers) / MAX_TICKS))
            steps = (1, 2, 5) if len(powers) <= 2 else (1,)
            marks = [
                (p + math.log10(s), f"{s * 10.0**p:g}") for p in powers[::every] for s in steps
            ]
            return [mark for mark in marks if low <= mark[0] <= high]
        if self.kind == "log":
            values = _round_numbers(10**low, 10**high, False)
            return [(math.log10(value), f"{value:g}") for value in values if value > 0]
        values = _round_numbers(low, high, self.whole)
        step = values[1] - values[0] if len(values) > 1 else 1.0
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        if round(step, decimals) != round(step, decimals + 1):
            decimals += 1  # of 0.25
        large = max(abs(low), abs(high)) >= 1e9 or 0 < step < 1e-6
        return [(v, f"{v:g}" if large else f"{v:,.{decimals}f}") for v in values]


def _round_numbers(low: float, high: float, whole: bool) -> list[float]:
    """Round numbers between two others, at most MAX_TICKS of them."""
    rough = (high - low) / (MAX_TICKS - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    if whole:
        step = max(1.0, float(math.ceil(step)))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]


@dataclass(frozen=True)
class _Marks:
    """What is drawn at once: a line through points, markers on them, or both.

    Attributes:
        titles: What a browser shows of each marker under the mouse.
        sizes: Of the markers, across.
        colors: Of the markers, where each has its own.
    """

    xs: np.ndarray
    ys: np.ndarray
    color: str
    width: float
    dash: str
    marker: Marker | None
    sizes: np.ndarray
    opacity: float
    titles: Sequence[str]
    colors: Sequence[str]


@dataclass
class Panel:
    """A pair of axes, and what is drawn between them; its legend stands above it, so that it hides
    nothing.

    Attributes:
        title: Written above all.
    """

    across: Axis = field(default_factory=Axis)
    up: Axis = field(default_factory=Axis)
    title: str = ""
    width: float = WIDTH
    height: float = HEIGHT
    _marks: list[_Marks] = field(default_factory=list)
    _rules: list[tuple[float, bool, str, str]] = field(default_factory=list)
    _bars: list[tuple[float, float, float, float, str]] = field(default_factory=list)
    _texts: list[tuple[float, float, str]] = field(default_factory=list)
    _legend: dict[str, str] = field(default_factory=dict)

    def draw(
        self,
        xs: Values,
        ys: Values,
        label: str = "",
        *,
        color: str = COLORS[0],
        width: float = 1.5,
        dash: str = "",
        marker: Marker | None = None,
        size: float | np.ndarray = 5.0,
        opacity: float = 1.0,
        titles: Sequence[str] = (),
        colors: Sequence[str] = (),
    ) -> None:
        """Draw a line through points, or markers where its width is 0, or both.

        Args:
            label: Name in the legend; empty keeps it out.
            dash: Lengths of dashes and gaps, as `5 3`.
            size: Of the markers, across; of all or of each.
            titles: What a browser shows of each marker under the mouse.
            colors: Colour of each marker, in place of `color`.
        """
        points = np.asarray(xs, dtype=np.float64), np.asarray(ys, dtype=np.float64)
        sizes = np.broadcast_to(np.asarray(size, dtype=np.float64), points[0].shape)
        marks = _Marks(*points, color, width, dash, marker, sizes, opacity, titles, colors)
        self._marks.append(marks)
        if label:
            sample = ""
            if width:
                sample = _path([0, 22], [0, 0], color, max(width, 1.2), dash)
            if marker is not None:
                sample += _marker(marker, 11, 0, min(float(sizes.max(initial=5)), 8), color)
            self._legend.setdefault(label, sample)

    def steps(self, xs: Values, ys: Values, label: str = "", *, color: str = COLORS[0]) -> None:
        """Draw a line that keeps each value up to the next point."""
        self.draw(
            np.repeat(np.asarray(xs), 2)[1:], np.repeat(np.asarray(ys), 2)[:-1], label, color=color
        )

    def rule(
        self, at: float, label: str = "", *, vertical: bool = False, color: str = GREY
    ) -> None:
        """Draw a dotted line from end to end."""
        self._rules.append((float(at), vertical, "", color))
        if label:
            self._legend.setdefault(label, _path([0, 22], [0, 0], color, 1.1, "2 3"))

    def named_rule(self, at: float, name: str) -> None:
        """Draw a dotted line across, with its name at its right end."""
        self._rules.append((float(at), False, name, GREY))

    def bar(self, place: float, length: float, text: str = "", color: str = COLORS[0]) -> None:
        """Draw a bar to the right, at a place of the axis up, with words at its end."""
        self._bars.append((place - 0.32, place + 0.32, 0.0, length, color))
        if text:
            self._texts.append((length, place, text))

    def note(self, x: float, y: float, text: str) -> None:
        """Write words beside a point, on the side where there is room for them."""
        self._texts.append((x, y, text))


class _Drawn:
    """A panel whose margins and scales are settled."""

    def __init__(self, panel: Panel) -> None:
        self.panel = panel
        marks = panel._marks
        xs = [mark.xs for mark in marks] + [np.array(bar[2:4], dtype=float) for bar in panel._bars]
        ys = [mark.ys for mark in marks] + [np.array(bar[:2], dtype=float) for bar in panel._bars]
        xs += [np.array([rule[0]]) for rule in panel._rules if rule[1]]
        ys += [np.array([rule[0]]) for rule in panel._rules if not rule[1]]
        self.x_ends = panel.across.ends(np.concatenate(xs or [np.empty(0)]))
        self.y_ends = panel.up.ends(np.concatenate(ys or [np.empty(0)]))
        self.x_ticks = [(at, _shortened(name, 150)) for at, name in panel.across.ticks(self.x_ends)]
        self.y_ticks = [(at, _shortened(name, 320)) for at, name in panel.up.ticks(self.y_ends)]
        left = 14 + max((_width(text) for _, text in self.y_ticks), default=0)
        names = [rule[2] for rule in panel._rules if rule[2]]
        right = 14 + max((min(_width(name), 180) for name in names), default=0)
        self.left = left + (18 if panel.up.words else 0)
        self.right = panel.width - right
        self.legend = self._rows_of_legend()
        self.top = 10.0 + (22 if panel.title else 0) + 17 * len(self.legend)
        self.slanted = self._is_slanted()
        lowest = max((_width(text) for _, text in self.x_ticks), default=0)
        ticks = 10 + lowest * 0.6 if self.slanted else 20
        self.bottom = panel.height - 6 - ticks - (18 if panel.across.words else 0)

    def _rows_of_legend(self) -> list[list[tuple[float, str, str]]]:
        """(place across, sample, label) of each entry, row after row."""
        rows: list[list[tuple[float, str, str]]] = []
        place = math.inf
        for label, sample in self.panel._legend.items():
            length = 30 + _width(label) + 14
            if place + length > self.panel.width:
                rows.append([])
                place = min(self.left, max(self.panel.width - length, 4.0))
            rows[-1].append((place, sample, label))
            place += length
        return rows

    def _is_slanted(self) -> bool:
        """Whether what is written below would run into each other."""
        if len(self.x_ticks) < 2:
            return False
        each = (self.right - self.left) / len(self.x_ticks)
        return any(_width(text) + 8 > each for _, text in self.x_ticks)

    def x(self, values: Values) -> np.ndarray:
        low, high = self.x_ends
        share = (self.panel.across.scaled(values) - low) / (high - low)
        return self.left + share * (self.right - self.left)

    def y(self, values: Values) -> np.ndarray:
        low, high = self.y_ends
        share = (self.panel.up.scaled(values) - low) / (high - low)
        return self.bottom - share * (self.bottom - self.top)

    def svg(self) -> str:
        panel, middle = self.panel, (self.left + self.right) / 2
        parts = []
        if panel.title:
            parts.append(_text(middle, 18, panel.title, "middle", 13))
        for row, entries in enumerate(self.legend):
            height = (34 if panel.title else 12) + 17 * row
            for place, sample, label in entries:
                parts.append(f'<g transform="translate({place:.1f},{height})">{sample}</g>')
                parts.append(_text(place + 28, height + 4, label))
        parts += self._grid()
        parts += self._inside()
        parts += self._markers()
        if panel.across.words:
            parts.append(_text(middle, panel.height - 7, panel.across.words, "middle"))
        if panel.up.words:
            up = (self.top + self.bottom) / 2
            words = _text(0, 0, panel.up.words, "middle")
            parts.append(f'<g transform="translate(14,{up:.1f}) rotate(-90)">{words}</g>')
        return "\n".join(parts)

    def _grid(self) -> list[str]:
        low, high = self.x_ends
        across = self.left + (np.array([tick[0] for tick in self.x_ticks]) - low) / (high - low) * (
            self.right - self.left
        )
        low, high = self.y_ends
        up = self.bottom - (np.array([tick[0] for tick in self.y_ticks]) - low) / (high - low) * (
            self.bottom - self.top
        )
        lines = [f"M{self.left:.1f} {y:.1f}H{self.right:.1f}" for y in up]
        lines += [f"M{x:.1f} {self.top:.1f}V{self.bottom:.1f}" for x in across]
        frame = f"M{self.left:.1f} {self.top:.1f}V{self.bottom:.1f}H{self.right:.1f}"
        parts = [
            f'<path d="{"".join(lines)}" stroke="#e6e6e6" fill="none"/>',
            f'<path d="{frame}" stroke="#888" fill="none"/>',
        ]
        for x, (_, text) in zip(across, self.x_ticks, strict=True):
            if self.slanted:
                words = _text(0, 0, text, "end", SMALL)
                at = f"translate({x + 3:.1f},{self.bottom + 13:.1f}) rotate(-35)"
                parts.append(f'<g transform="{at}">{words}</g>')
            else:
                parts.append(_text(x, self.bottom + 16, text, "middle", SMALL))
        for y, (_, text) in zip(up, self.y_ticks, strict=True):
            parts.append(_text(self.left - 6, y + 4, text, "end", SMALL))
        return parts

    def _inside(self) -> list[str]:
        """What is cut off at the axes, in an SVG of its own."""
        width, height = self.right - self.left, self.bottom - self.top
        parts = [
            f'<svg x="{self.left:.1f}" y="{self.top:.1f}" width="{width:.1f}" '
            f'height="{height:.1f}" viewBox="{self.left:.1f} {self.top:.1f} {width:.1f} '
            f'{height:.1f}">'
        ]
        for low, high, start, end, color in self.panel._bars:
            (above, below), (begin, stop) = self.y([high, low]), self.x([start, end])
            parts.append(
                f'<rect x="{begin:.1f}" y="{above:.1f}" width="{max(stop - begin, 0):.1f}" '
                f'height="{below - above:.1f}" fill="{color}"/>'
            )
        for at, vertical, _, color in self.panel._rules:
            if vertical:
                place = float(self.x([at])[0])
                ends = [place, place], [self.top, self.bottom]
            else:
                place = float(self.y([at])[0])
                ends = [self.left, self.right], [place, place]
            parts.append(_path(*ends, color, 1.1, "2 3"))
        for mark in self.panel._marks:
            if mark.width and len(mark.xs) > 1:
                xs, ys = self.x(mark.xs), self.y(mark.ys)
                known = np.isfinite(xs) & np.isfinite(ys)
                line = _path(xs[known], ys[known], mark.color, mark.width, mark.dash, mark.opacity)
                parts.append(line)
        parts.append("</svg>")
        return parts

    def _markers(self) -> list[str]:
        """Markers, and words beside points, which may lie on an axis."""
        parts = []
        for mark in self.panel._marks:
            if mark.marker is None:
                continue
            xs, ys = self.x(mark.xs), self.y(mark.ys)
            inside = np.isfinite(xs) & np.isfinite(ys) & (ys >= self.top - 1)
            inside &= (ys <= self.bottom + 1) & (xs >= self.left - 1) & (xs <= self.right + 1)
            for place in np.flatnonzero(inside).tolist():
                color = mark.colors[place] if mark.colors else mark.color
                title = mark.titles[place] if mark.titles else ""
                size = float(mark.sizes[place])
                parts.append(_marker(mark.marker, xs[place], ys[place], size, color, title))
        parts += self._notes()
        named = sorted(
            (float(self.y([rule[0]])[0]), rule[2]) for rule in self.panel._rules if rule[2]
        )
        lowest = -math.inf
        for height, name in named:  # those that lie close are written one below the other
            lowest = max(height + 4, lowest + 12)
            parts.append(_text(self.right + 5, lowest, _shortened(name, 180), size=SMALL))
        return parts

    def _marked(self) -> list[tuple[float, float, float]]:
        """From, to and height of the markers, as of a word that is written there."""
        return [
            (x - size / 2, x + size / 2, y + 4)
            for mark in self.panel._marks
            if mark.marker is not None and not mark.width
            for x, y, size in zip(self.x(mark.xs), self.y(mark.ys), mark.sizes, strict=True)
        ]

    def _notes(self) -> list[str]:
        """Words beside points, moved up or down where they would lie on others."""
        parts = []
        middle = (self.left + self.right) / 2
        taken = self._marked()  # from, to, height
        points = [(float(self.x([x])[0]), float(self.y([y])[0])) for x, y, _ in self.panel._texts]
        for (at, height), (_, _, text) in zip(points, self.panel._texts, strict=True):
            width, color = _width(text), "#333"
            right = at < middle
            if self.panel._bars:
                right = at + 7 + width < self.right
                color = "#333" if right else "#fff"
            start = at + 7 if right else at - 7 - width
            moves = (0, -13, 13, -26, 26, -39, 39)
            for height_moved in (height + 4 + move for move in moves):
                if not any(
                    start < stop and begin < start + width and abs(height_moved - other) < 12
                    for begin, stop, other in taken
                ):
                    break
            taken.append((start, start + width, height_moved))
            side = (at + 7, "start") if right else (at - 7, "end")
            parts.append(_text(side[0], height_moved, text, side[1], SMALL, color))
        return parts


def svg(*panels: Panel, columns: int = 0, title: str = "") -> str:
    """Panels side by side in an SVG.

    Args:
        columns: Panels of one row; 0 for all.
        title: Written above all panels.
    """
    columns = columns or max(len(panels), 1)
    rows = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    top = 26.0 if title else 0.0
    width, parts = 0.0, []
    for row in rows:
        left = 0.0
        drawn = [_Drawn(panel) for panel in row]
        for each in drawn:
            each.top = max(other.top for other in drawn)
            parts.append(f'<g transform="translate({left:g},{top:g})">{each.svg()}</g>')
            left += each.panel.width
        width = max(width, left)
        top += max(panel.height for panel in row)
    if title:
        parts.insert(0, _text(width / 2, 19, title, "middle", 13))
    return framed(width, top, "\n".join(parts))


def framed(width: float, height: float, drawn: str, kind: str = "") -> str:
    """An SVG of a size around what is drawn, on white; a page finds it by its kind."""
    named = f' class="{kind}"' if kind else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg"{named} width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" font-family="Arial, Helvetica, sans-serif" '
        f'font-size="{FONT}"><rect width="100%" height="100%" fill="#fff"/>\n{drawn}\n</svg>\n'
    )


def _path(
    xs: Values, ys: Values, color: str, width: float, dash: str = "", opacity: float = 1.0
) -> str:
    points = np.round(np.clip(np.column_stack([xs, ys]), -9999, 9999), 1).tolist()
    line = " ".join(f"{x:g},{y:g}" for x, y in points)
    more = f' stroke-dasharray="{dash}"' if dash else ""
    more += f' stroke-opacity="{opacity:g}"' if opacity < 1 else ""
    return (
        f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="{width:g}" '
        f'stroke-linejoin="round"{more}/>'
    )


def _marker(kind: Marker, x: float, y: float, size: float, color: str, title: str = "") -> str:
    half = size / 2
    inside = f"<title>{html.escape(title)}</title>" if title else ""
    if kind == "s":
        place = f'x="{x - half:.1f}" y="{y - half:.1f}" width="{size:.1f}" height="{size:.1f}"'
        return f'<rect {place} fill="#fff" stroke="{color}" stroke-width="1.4">{inside}</rect>'
    if kind == "x":
        line = f"M{x - half:.1f} {y - half:.1f}l{size:.1f} {size:.1f}m0 {-size:.1f}"
        line += f"l{-size:.1f} {size:.1f}"
        return f'<path d="{line}" stroke="{color}" stroke-width="1.5" fill="none">{inside}</path>'
    fill = f'fill="{color}"' if kind == "o" else f'fill="#fff" stroke="{color}" stroke-width="1.4"'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{half:.1f}" {fill}>{inside}</circle>'


def _text(
    x: float, y: float, words: str, anchor: str = "start", size: int = FONT, color: str = "#333"
) -> str:
    at = "" if anchor == "start" else f' text-anchor="{anchor}"'
    larger = "" if size == FONT else f' font-size="{size}"'
    return f'<text x="{x:.1f}" y="{y:.1f}"{at}{larger} fill="{color}">{html.escape(words)}</text>'


def _width(words: str) -> float:
    """Pixels that words take, about."""
    return LETTER * FONT * len(words)


def _shortened(words: str, pixels: float) -> str:
    most = int(pixels / (LETTER * FONT))
    return words if len(words) <= most else words[: most - 1] + "…"


def parallel(
    names: Sequence[str],
    columns: Sequence[tuple[np.ndarray, Axis]],
    shares: Values,
    titles: Sequence[str],
    title: str = "",
) -> str:
    """One vertical axis each, and a line a thing through its values on all of them, as SVG.

    Args:
        names: Words above the axes.
        columns: Values of the things on each axis.
        shares: 0 to 1, how dark each line is.
        titles: What a browser shows of each line under the mouse.
    """
    step = max(140.0, 700.0 / max(len(names) - 1, 1))
    left, top, bottom = 70.0, 70.0 if title else 50.0, 340.0
    width = left * 2 + step * (len(names) - 1) + 40
    heights, parts = [], []
    for values, axis in columns:
        low, high = axis.ends(values)
        heights.append(bottom - (axis.scaled(values) - low) / (high - low) * (bottom - top))
    across = left + step * np.arange(len(names))
    dark = np.asarray(shares, dtype=np.float64)
    for place in np.argsort(dark, kind="stable"):
        line = _path(across, [height[place] for height in heights], color_of(dark[place]), 1.4)
        parts.append(line[:-2] + f"><title>{html.escape(titles[place])}</title></polyline>")
    for x, name, (values, axis) in zip(across, names, columns, strict=True):
        low, high = axis.ends(values)
        parts.append(f'<path d="M{x:.1f} {top:g}V{bottom:g}" stroke="#555"/>')
        parts.append(_text(x, top - 12, _shortened(name, step * 0.95), "middle"))
        for at, words in axis.ticks((low, high)):
            y = bottom - (at - low) / (high - low) * (bottom - top)
            parts.append(_halo(x + 5, y + 4, _shortened(words, step - 12)))
    if title:
        parts.append(_text(width / 2, 20, title, "middle", 13))
    return framed(width, bottom + 24, "\n".join(parts), kind="parallel")


def _halo(x: float, y: float, words: str) -> str:
    """Words that can be read on lines."""
    written = _text(x, y, words, size=SMALL)
    return written.replace("<text", '<text stroke="#fff" stroke-width="3" paint-order="stroke"', 1)
