"""From runs in the store to their comparison: numbers, words and page, and what MLflow keeps of
them."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from recsweep.checks import check_choice, check_integer
from recsweep.comparison.contrasts import chosen_measure, contrast, with_new_users
from recsweep.comparison.models import Standing, best_baselines, objective_of_run, standings
from recsweep.comparison.page import Section, comparison_page
from recsweep.comparison.plots import HISTORY, DrawnModel, Histories, draw, shown_models
from recsweep.comparison.resampling import method
from recsweep.comparison.words import words
from recsweep.errors import ConfigError, TrackingError
from recsweep.evaluation import EPOCHS_PREFIX, SAMPLE_PREFIX
from recsweep.measures import COMPARED
from recsweep.measures import measure as measure_of
from recsweep.rendering import Column, Table, plain
from recsweep.scratch import scratch_folder
from recsweep.tracking import (
    ENVIRONMENT_FILE,
    EXPERIMENT,
    SAMPLE_TAG,
    VERSION_TAG,
    Run,
    RunRecord,
    Tracker,
    TrackingOptions,
    existing_store,
    finished_runs,
    open_runs,
)

COMPARISON_TAG = "comparison"
"""Tag of the run of a comparison, with the part as its value. Such a run has no model kind, and is
compared with nothing."""

PAGE_FILE = "comparison.html"

NOTE_ROWS = 10

NOTE_LENGTH = 8000
"""Length that MLflow lets a tag have."""


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """The runs that are compared, and what they are compared by.

    Args:
        tracking: The store, and the MLflow experiment of it.
        runs: Ids or names of runs; none takes all.
        study: Name of the study whose runs alone are compared.
        last: Number of the latest runs that are compared; None takes all.
        part: Part that is compared on; None takes test where a run was evaluated on it, else
            validation.
        measure: Name of one of COMPARED; None takes the default of what was evaluated.
    """

    tracking: TrackingOptions
    runs: Sequence[str] = ()
    study: str | None = None
    last: int | None = None
    part: str | None = None
    measure: str | None = None

    def __post_init__(self) -> None:
        if self.last is not None:
            check_integer("--last", self.last, minimum=1)
            if self.runs:
                raise ConfigError("Name the runs, or take the latest with --last, not both.")
        if self.measure is not None:
            check_choice("--measure", self.measure, COMPARED)


@dataclass(frozen=True)
class Compared:
    """The comparison of some runs on one part, a section for each data set and split.

    Attributes:
        page: The page in HTML.
    """

    part: str
    sections: Sequence[Section]
    page: str

    @property
    def apart(self) -> str:
        """Reason why there is more than one section; empty where there is not."""
        contrasts = [section.contrast for section in self.sections]
        if len(contrasts) == 1:
            return ""
        kinds = {contrast.candidates for contrast in contrasts}
        what = "data sets or splits" if len(kinds) == 1 else "data sets, splits or protocols"
        reason = (
            f"The runs are of {len(contrasts)} different {what}, which do not compare: a table for "
            "each."
        )
        if len(kinds) > 1 and any(
            contrast.candidates == "not_liked" and contrast.prevalence is not None
            for contrast in contrasts
        ):
            reason += (
                " Lists of all items but earlier likes hold known zeros of training, which rewards "
                "a model that remembers them: runs of before evaluation.candidates are to be "
                "trained again."
            )
        return reason

    def to_dict(self) -> dict[str, Any]:
        """All numbers and words, ready for JSON; nan becomes null."""
        replicates = max(section.contrast.replicates for section in self.sections)
        return plain(
            {
                "part": self.part,
                "method": method(replicates),
                "groups": [
                    {**plain(section.contrast), "words": section.words} for section in self.sections
                ],
            }
        )

    def log(self, store: Tracker) -> Run:
        """Log page, numbers and words as a run of its own, FINISHED."""
        tags = {COMPARISON_TAG: self.part}
        contrasts = [section.contrast for section in self.sections]
        rows = [row for contrast in contrasts for row in contrast.rows]
        measures = dict.fromkeys(contrast.measure for contrast in contrasts)
        params = {
            "part": self.part,
            "measure": ", ".join(measures),
            "models": len(rows),
            "runs": sum(len(row.runs) for row in rows),
        }
        with open_runs([lambda: store.start(f"comparison on {self.part}", tags)]) as (run,):
            run.log(note=note(self.sections, self.part), params=params)
            with run.guarded(), scratch_folder() as scratch:
                (scratch / PAGE_FILE).write_text(self.page, encoding="utf-8")
                numbers = json.dumps(self.to_dict(), allow_nan=False)  # slow where it is indented
                (scratch / "comparison.json").write_text(numbers + "\n", encoding="utf-8")
                run.log_folder(scratch)
            run.end("FINISHED")
        return run


def compare(options: CompareOptions) -> tuple[Compared, Tracker]:
    """Compare runs; the store that they come from is open afterwards.

    Raises:
        ConfigError: The measure was not evaluated.
        DataError: No run was evaluated on the part, or none has a report left.
        TrackingError: There is no store, no run, or not the one that was named.
    """
    store = existing_store(options.tracking)
    records = finished_runs(
        options.tracking, last=options.last, study=options.study, ids=options.runs
    )
    if options.study is not None:
        records += baselines_beside(records, finished_runs(options.tracking))
    part = options.part or _default_part(records)
    sections = [
        _section(standing, options.measure, store)
        for standing in standings(records, store, part, without_unreadable=True)
    ]
    page = comparison_page(sections, part, store, command=_again(options, sections, part, store))
    return Compared(part, sections, page), store


def _again(options: CompareOptions, sections: Sequence[Section], part: str, store: Tracker) -> str:
    """The command that compares the same runs again, without a path of this machine."""
    ids = dict.fromkeys(run_id for section in sections for run_id in section.records)
    words = ["recsweep", "compare", *ids, "--on", part]
    if options.measure is not None:
        words += ["--measure", options.measure]
    if options.tracking.experiment != EXPERIMENT:
        words += ["--experiment", options.tracking.experiment]
    if store.uri.startswith(("http://", "https://")):
        words += ["--tracking-uri", store.ui]
    return shlex.join([*words, "--out", PAGE_FILE])


def baselines_beside(records: Sequence[RunRecord], others: Sequence[RunRecord]) -> list[RunRecord]:
    """The baselines to compare a study with: of each family on its data and splits the best on
    validation, by the measure that chose in the study.
    """
    ids, objective = {record.id for record in records}, objective_of_run(records[0])
    keys = {record.comparable for record in records}
    near = [record for record in others if record.comparable in keys and record.role == "baseline"]
    on_first = [record for record in near if record.comparable == records[0].comparable]
    best = [baseline.model_digest for baseline in best_baselines(on_first, objective)]
    return [record for record in near if record.id not in ids and record.model_digest in best]


def _default_part(records: Sequence[RunRecord]) -> str:
    tested = any(name.startswith("test/") for record in records for name in record.metrics)
    return "test" if tested else "validation"


def _section(standing: Standing, measure: str | None, store: Tracker) -> Section:
    numbers = with_new_users(contrast(standing, chosen_measure(standing, measure)), standing, store)
    histories = _histories(shown_models(numbers, standing), store)
    records = {
        record.id: _with_version(record, store)
        for model in standing.models
        for record in model.records.values()
    }
    return Section(numbers, words(numbers), draw(numbers, standing, histories), records)


def _with_version(record: RunRecord, store: Tracker) -> RunRecord:
    """The run with the version that made it, which a run of an earlier one has in a file alone."""
    if record.version is not None:
        return record
    try:
        with store.artifact(record, ENVIRONMENT_FILE) as path:
            made_by = json.loads(path.read_text(encoding="utf-8"))["packages"]["recsweep"]
    except (TrackingError, OSError, ValueError, KeyError, TypeError):
        return record
    return replace(record, tags={**record.tags, VERSION_TAG: str(made_by)})


def _histories(models: Sequence[DrawnModel], store: Tracker) -> Histories:
    """Every epoch of the nets that the plots show, by the names that metrics of all users have."""
    return {
        drawn.row.name: {
            place: _history(record, store) for place, record in drawn.model.records.items()
        }
        for drawn in models
        if not drawn.row.is_baseline
    }


def _history(record: RunRecord, store: Tracker) -> dict[str, list[tuple[int, float]]]:
    """The epochs of a run. Those of earlier versions had the names of the final values, which stood
    after the last epoch."""
    epochs, prefix = record.metrics.get("fit/epochs", 0), "validation"
    if SAMPLE_TAG in record.tags:
        prefix = SAMPLE_PREFIX
    elif any(name.startswith(f"{EPOCHS_PREFIX}/") for name in record.metrics):
        prefix = EPOCHS_PREFIX
    names = {name.replace("validation/", f"{prefix}/"): name for name in HISTORY}
    return {
        names[name]: [(step, value) for step, value in points if 1 <= step <= epochs]
        for name, points in store.histories(record, list(names)).items()
    }


def note(sections: Sequence[Section], part: str) -> str:
    """The words and the best models in Markdown: as many whole lines as MLflow keeps."""
    lines = [
        f"Comparison on {part}. The artifact `{PAGE_FILE}` has every number, interval and plot."
    ]
    for section in sections:
        numbers = section.contrast
        lines += [f"### {numbers.where}", "\n".join(f"- {sentence}" for sentence in section.words)]
        columns = numbers.shown_in("note")
        table = Table(
            [
                Column("model", "model", left=True),
                Column("seeds", "seeds"),
                *(Column(name, measure_of(name).title, ".4f") for name in columns),
            ],
            [
                {
                    "model": row.name,
                    "seeds": row.num_seeds,
                    **{name: row.values.get(name) for name in columns},
                }
                for row in numbers.top(NOTE_ROWS)
            ],
        )
        lines.append(table.markdown())
    text = "\n\n".join(lines)
    if len(text) > NOTE_LENGTH:
        text = text[: text.rindex("\n", 0, NOTE_LENGTH - 3)] + "\n\n…"
    return text
