"""A comparison as one HTML page that needs nothing else: it opens from a disk, in the MLflow UI, and prints."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from recsweep.comparison.contrasts import Contrast, Row
from recsweep.comparison.plots import Plot
from recsweep.comparison.resampling import SOURCES, method
from recsweep.comparison.tables import HANGS, largest_change, mark, no_verdict, p_value
from recsweep.evaluation import CANDIDATES
from recsweep.measures import COMPARED, GROUPS, shown
from recsweep.measures import measure as measure_of
from recsweep.rendering import shown as number

PIXELS_AN_INCH = 110

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1d1d1d; background: #fff; margin: 2rem auto; max-width: 1440px;
       padding: 0 1rem; }
h1 { font-size: 1.6rem; } 
h2 { font-size: 1.3rem; margin-top: 2.2rem; border-top: 2px solid #1f5fa8; padding-top: .8rem; }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
.words { max-width: 1180px; background: #f3f6fa; border-left: 4px solid #1f5fa8; padding: .6rem 1rem .6rem 2rem; }
.words li { margin: .35rem 0; } .words li:first-child { font-weight: 600; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .8rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .3rem; text-align: right; border-bottom: 1px solid #dedede; vertical-align: top; }
th { font-weight: 600; border-bottom: 1px solid #888; } thead tr:first-child th[colspan] { text-align: center; }
td:first-child, thead tr:first-child th:first-child { text-align: left; min-width: 11rem; }
td small { display: block; color: #666; white-space: nowrap; font-size: .76rem; font-weight: 400; }
.best { font-weight: 700; } .baseline td:first-child::after { content: " (baseline)"; color: #666; font-weight: 400; }
.truth td { color: #666; font-style: italic; }
.plots { display: grid; grid-template-columns: 1fr 1fr; grid-auto-flow: dense; gap: 1.2rem; max-width: 1180px; }
figure { margin: 0; break-inside: avoid; } figure.full { grid-column: 1 / -1; }
figure img { max-width: 100%; height: auto; } figcaption { font-size: .84rem; color: #444; }
.fine { font-size: .84rem; color: #444; } code { font-size: .95em; overflow-wrap: anywhere; }
@media (max-width: 800px) { .plots { grid-template-columns: 1fr; } }
@media print { @page { size: A4 landscape; margin: 12mm; } html { font-size: 11px; }
  body { margin: 0; max-width: none; font-size: 1rem; } .wide { overflow: visible; } table { font-size: .64rem; }
  th, td { padding: .12rem .2rem; } td:first-child, thead tr:first-child th:first-child { min-width: 8rem; }
  tr { break-inside: avoid; } td small { font-size: .6rem; } }
"""


@dataclass(frozen=True)
class Section:
    """The models on one data set and split: their numbers, what these say, and plots."""

    found: Contrast
    words: Sequence[str]
    plots: Sequence[Plot]


def comparison_page(sections: Sequence[Section], part: str) -> str:
    """The page, the same for the same runs."""
    title = f"Comparison on {part}"
    body = [f"<h1>{title}</h1>"]
    if len(sections) > 1:
        body.append(f"<p>The runs are of {len(sections)} different data sets or splits. Each stands by itself: numbers "
                    "of different tables do not compare.</p>")
    for section in sections:
        body += _section(section)
    replicates = max(section.found.replicates for section in sections)
    body += ["<h2>How the intervals are made</h2>", f"<p>{escape(method(replicates))}</p>",
             f'<p class="fine">Sources: {escape(SOURCES)}</p>']
    return "\n".join([
        "<!doctype html>", '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title><style>{STYLE}</style></head><body>", *body, "</body></html>", "",
    ])


def _section(section: Section) -> list[str]:
    found = section.found
    named = f"{len(found.rows)} models" if len(found.rows) > 1 else "1 model"
    prevalence = "" if found.prevalence is None else f", {100 * found.prevalence:.1f} % of its cells are positive"
    html = [
        f"<h2>{escape(found.data)}</h2>",
        f'<p class="fine">data <code>{escape(found.data_digest)}</code>, split '
        f"<code>{escape(', '.join(found.splits))}</code>, part {found.part}{prevalence}; lists are chosen from "
        f"{escape(CANDIDATES.get(found.candidates, found.candidates))}; {found.num_users:,} users; {named}, "
        f"best by {escape(measure_of(found.measure).title)} first.</p>",
        '<ul class="words">', *(f"<li>{escape(each)}</li>" for each in section.words), "</ul>",
        "<h3>All measures</h3>", '<div class="wide">', *_measures(found), "</div>",
        f'<p class="fine">{_reading(found)}</p>', *_differences(found), '<div class="plots">',
    ]
    for plot in section.plots:
        wide = ' class="full"' if plot.figure.get_figwidth() > 6 else ""
        html += [f"<figure{wide}><h3>{escape(plot.title)}</h3>{_image(plot)}"
                 f"<figcaption>{escape(plot.caption)}</figcaption></figure>"]
    return [*html, "</div>", *_runs(found)]


def _reading(found: Contrast) -> str:
    """What a reader of the table of measures must know."""
    text = ("Small figures are 95 % intervals, bold the best mean. Seconds are of training alone, mean over the runs. "
            "Means over users are of each user's own cells.")
    if any(interval.hangs for row in found.rows for interval in row.intervals.values()):
        text += f" {HANGS} not covered: the interval hangs on one user."
    without = [measure_of(measure).title for measure in found.measures
               if any(measure in row.values and measure not in row.intervals for row in found.rows)]
    if without:
        text += (f" A value without an interval can't be resampled, as its report holds neither cells nor counts for "
                 f"it: {', '.join(without)}.")
    return escape(text)


def _measures(found: Contrast) -> list[str]:
    groups = [(title, {each.column: each.name for each in COMPARED.values()
                       if each.group == title and each.name in found.measures}) for title in GROUPS]
    groups = [(title, columns) for title, columns in groups if columns]
    over = "".join(f'<th colspan="{len(columns)}">{title}</th>' for title, columns in groups)
    heads = "".join(f"<th>{head}</th>" for _, columns in groups for head in columns)
    shown = [name for _, columns in groups for name in columns.values()]
    leaders = {name: found.leader(name).name for name in shown} if len(found.rows) > 1 else {}
    lines = [f'<table><thead><tr><th rowspan="2">model</th><th rowspan="2">seeds</th>{over}<th rowspan="2">seconds</th>'
             f'<th rowspan="2">parameters</th></tr><tr>{heads}</tr></thead><tbody>']
    for row in found.rows:
        cells = "".join(f'<td{_best(leaders.get(name) == row.name)}>{_with_interval(row, name)}</td>' for name in shown)
        kind = ' class="baseline"' if row.is_baseline else ""
        lines.append(f"<tr{kind}><td>{escape(row.name)}</td><td>{row.num_seeds}</td>{cells}"
                     f"<td>{number(row.seconds, '.3g' if row.seconds < 1 else ',.1f')}</td>"
                     f"<td>{number(row.num_parameters, ',.0f')}</td></tr>")
    if found.of_truth:
        cells = "".join(f"<td>{number(found.of_truth[name], '.4f') if name in found.of_truth else ''}</td>"
                        for name in shown)
        lines.append(f'<tr class="truth"><td>the true probabilities</td><td></td>{cells}<td></td><td></td></tr>')
    return [*lines, "</tbody></table>"]


def _best(is_best: bool) -> str:
    return ' class="best"' if is_best else ""


def _with_interval(row: Row, measure: str) -> str:
    if measure not in row.values:
        return "–"
    interval = row.intervals.get(measure)
    small = "" if interval is None else f"<small>{_short(interval.low)}–{_short(interval.high)}{mark(interval)}</small>"
    return f"{row.values[measure]:.4f}{small}"


def _short(value: float) -> str:
    """`.0312`: many columns have to stand side by side."""
    return f"{value:.4f}".removeprefix("0")


def _differences(found: Contrast) -> list[str]:
    """A table of differences by the measures that matter most."""
    columns = [name for name in dict.fromkeys([found.measure, *(each.name for each in shown("differences"))])
               if name in found.versus and found.versus[name].differences]
    if not columns:
        return []
    against = "baseline" if found[found.versus[columns[0]].reference].is_baseline else "model, as there is no baseline"
    parts = sorted({found.versus[name].chosen_on for name in columns})
    heads = "".join(f"<th>{escape(measure_of(name).title)}<br>less that of {escape(found.versus[name].reference)}</th>"
                    "<th>p (Holm)</th>" for name in columns)
    lines = [f"<h3>Differences from the best {against}</h3>",
             f'<p class="fine">For each measure the best one by its mean on {" or ".join(parts)}. Paired: the same '
             "resampled users for both. p is of no difference, in brackets before Holm's correction for the models "
             "compared; bold where the corrected one is at most .05. The last line is the largest change when one user "
             "is left out, and this user's share of the jackknife variance.</p>",
             f'<div class="wide"><table><thead><tr><th>model</th>{heads}</tr></thead><tbody>']
    for row in found.rows:
        cells = []
        for name in columns:
            versus = found.versus[name]
            if row.name not in versus.differences:
                cells.append(f"<td>{'the reference' if row.name == versus.reference else '–'}</td><td></td>")
                continue
            difference, corrected = versus.differences[row.name], versus.corrected[row.name]
            before = "" if difference.no_verdict else f"<small>({escape(p_value(difference.p_value))})</small>"
            cells.append(f"<td{_best(corrected <= 0.05)}>{difference.value:+.4f}<small>{difference.low:+.4f} to "
                         f"{difference.high:+.4f}{mark(difference)}</small><small>{largest_change(difference)}</small>"
                         f"</td><td>{escape(no_verdict(difference) or p_value(corrected))}{before}</td>")
        kind = ' class="baseline"' if row.is_baseline else ""
        lines.append(f"<tr{kind}><td>{escape(row.name)}</td>{''.join(cells)}</tr>")
    return [*lines, "</tbody></table></div>"]


def _place(found: Contrast, split: str, seed: int) -> str:
    return str(seed) if len(found.splits) == 1 else f"{escape(split)}/{seed}"


def _image(plot: Plot) -> str:
    buffer = io.BytesIO()
    plot.figure.savefig(buffer, format="png", dpi=PIXELS_AN_INCH, pil_kwargs={"compress_level": 1},
                        metadata={"Software": None})
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{escape(plot.title)}" src="data:image/png;base64,{encoded}">'


def _runs(found: Contrast) -> list[str]:
    by = "by seed" if len(found.splits) == 1 else "by split and seed"
    lines = ["<h3>Runs</h3>", f'<div class="wide"><table><thead><tr><th>model</th><th>runs, {by}</th></tr></thead>'
             "<tbody>"]
    for row in found.rows:
        runs = ", ".join(f"{_place(found, *place)}: <code>{escape(run)}</code>"
                         for place, run in zip(row.measured_on, row.runs, strict=True))
        lines.append(f'<tr><td>{escape(row.name)}</td><td style="text-align: left">{runs}</td></tr>')
    lines.append("</tbody></table></div>")
    if found.left_out:
        lines += ["<p>Left out:</p><ul>", *(f"<li>{escape(reason)}</li>" for reason in found.left_out), "</ul>"]
    return lines
