"""The finished runs in a table, and models side by side with their intervals."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsweep.checks import check_choice, check_integer
from recsweep.errors import DataError
from recsweep.evaluation import PARTS
from recsweep.measures import COMPARED
from recsweep.notebook.shown import html
from recsweep.notebook.studies import Study, asked_for
from recsweep.tracking import TrackingOptions, finished_runs

if TYPE_CHECKING:
    from pandas import DataFrame

    from recsweep.comparison.compare import Compared
    from recsweep.tracking import RunRecord, Tracker


def runs(
    *,
    on: str = "validation",
    last: int | None = None,
    study: str | None = None,
    experiment: str = "recsweep",
    tracking_uri: str | None = None,
) -> "DataFrame":
    """The finished runs, the latest last, with their measures in columns.

    Args:
        on: Part whose measures are shown, `validation` or `test`.
        last: Number of the latest runs that are shown; None for all.
        study: Name of the study whose runs alone are shown.
        experiment: Name of the MLflow experiment.
        tracking_uri: MLflow's tracking URI; None for MLFLOW_TRACKING_URI, else that of the home
            folder.

    Raises:
        TrackingError: There is no store, or it has no such run.
    """
    from pandas import DataFrame

    check_choice("on", on, PARTS)
    if last is not None:
        check_integer("last", last, minimum=1)
    records = finished_runs(
        TrackingOptions(uri=tracking_uri, experiment=experiment), last=last, study=study
    )
    facts = [_facts(record) for record in records]
    measured = [
        {
            name.removeprefix(f"{on}/"): value
            for name, value in record.metrics.items()
            if name.startswith(f"{on}/")
        }
        for record in records
    ]
    rows = [values | known for values, known in zip(measured, facts, strict=True)]
    names = set().union(*measured) - facts[0].keys()
    ordered = [name for name in COMPARED if name in names] + sorted(names - COMPARED.keys())
    return DataFrame(rows, columns=[*facts[0], *ordered])


def _facts(record: "RunRecord") -> dict[str, Any]:
    """The columns of a run that are no measures."""
    from pandas import Timestamp

    data, data_digest, split_digest = record.measured_on
    return {
        "run": record.id,
        "name": record.name,
        "kind": record.tags.get("model_kind"),
        "study": record.tags.get("study"),
        "trial": _whole(record.tags.get("trial_number")),
        "seed": _whole(record.tags.get("seed")),
        "data": data,
        "data_digest": data_digest,
        "split_digest": split_digest,
        "candidates": record.candidates,
        "started": Timestamp(record.started, unit="ms", tz="UTC"),
        "epochs": record.metrics.get("fit/epochs"),
        "seconds": record.metrics.get("fit/seconds"),
        "parameters": record.metrics.get("model/num_parameters"),
    }


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Models side by side: numbers with their intervals, what these say, and a page with plots.

    Attributes:
        compared: Sections of models that compare with each other, and the page.
        store: The open store that the runs are in.
    """

    compared: "Compared"
    store: "Tracker"

    @property
    def words(self) -> list[str]:
        """Sentences on what the numbers say, the most important first."""
        apart = [self.compared.apart] if self.compared.apart else []
        return apart + [
            sentence for section in self.compared.sections for sentence in section.words
        ]

    def to_frame(self) -> "DataFrame":
        """A row a model, best first, with the mean of each measure over its seeds and splits."""
        from pandas import DataFrame

        rows = [
            {
                **_place(contrast),
                "model": row.name,
                "role": "baseline" if row.is_baseline else "net",
                "seeds": row.num_seeds,
                **{name: row.values.get(name) for name in contrast.measures},
                "seconds": row.seconds,
                "parameters": row.num_parameters,
            }
            for contrast in self._contrasts
            for row in contrast.rows
        ]
        return DataFrame(rows)

    def intervals(self) -> "DataFrame":
        """A row a model and measure: the value with its 95 % interval."""
        from pandas import DataFrame

        rows = [
            {
                **_place(contrast),
                "model": row.name,
                "measure": name,
                "value": interval.value,
                "low": interval.low,
                "high": interval.high,
                "hangs_on_one_user": interval.hangs,
                "over": interval.levels,
            }
            for contrast in self._contrasts
            for row in contrast.rows
            for name, interval in row.intervals.items()
        ]
        return DataFrame(rows)

    def differences(self) -> "DataFrame":
        """A row a model and measure: its distance from the best baseline with a 95 % interval."""
        from pandas import DataFrame

        rows = [
            {
                **_place(contrast),
                "model": name,
                "less": versus.reference,
                "measure": measure,
                "difference": difference.value,
                "low": difference.low,
                "high": difference.high,
                "p": difference.p_value,
                "p_holm": versus.corrected[name],
                "excludes_zero": difference.excludes_zero,
                "no_verdict": difference.no_verdict,
                "hangs_on_one_user": difference.hangs,
                "over": difference.levels,
            }
            for contrast in self._contrasts
            for measure, versus in contrast.versus.items()
            for name, difference in versus.differences.items()
        ]
        return DataFrame(rows)

    def save(self, folder: str | Path) -> Path:
        """Write the page, its numbers and the three tables as CSV files; the page's path.

        Raises:
            DataError: The folder can't be written.
        """
        from recsweep.comparison.compare import PAGE_FILE

        folder = Path(folder).expanduser()
        tables = {
            "models": self.to_frame(),
            "intervals": self.intervals(),
            "differences": self.differences(),
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / PAGE_FILE).write_text(self.compared.page, encoding="utf-8")
            numbers = json.dumps(self.compared.to_dict(), indent=1, allow_nan=False)
            (folder / "comparison.json").write_text(numbers + "\n", encoding="utf-8")
            for name, frame in tables.items():
                frame.to_csv(folder / f"{name}.csv", index=False)
        except OSError as error:
            raise DataError(
                f"The comparison can't be written to {folder}: {error.strerror}. Choose another "
                "folder."
            ) from error
        return folder / PAGE_FILE

    def log(self) -> str:
        """Log page, numbers and words to MLflow; the id of the run that holds them."""
        return self.compared.log(self.store).id

    @property
    def _contrasts(self) -> list[Any]:
        return [section.contrast for section in self.compared.sections]

    def __repr__(self) -> str:
        return "\n".join(self.words)

    def _repr_html_(self) -> str:
        shown = self.to_frame()
        counted = [name for name in ("data", "split") if shown[name].nunique() == 1]
        return html(shown.drop(columns=[*counted, "part"]), *self.words)


def _place(contrast: Any) -> dict[str, str]:
    """The columns that tell the rows of one section from those of another."""
    return {"data": contrast.data, "split": ", ".join(contrast.splits), "part": contrast.part}


def compare(
    what: "Study | DataFrame | str | Sequence[str]" = (),
    *,
    on: str | None = None,
    measure: str | None = None,
    last: int | None = None,
    experiment: str = "recsweep",
    tracking_uri: str | None = None,
) -> Comparison:
    """Find out which model is ahead, by how much, and whether that is more than chance.

    Args:
        what: A study, with the best baselines on its data beside it; rows of `runs()`; ids or names
            of runs; or none for all finished runs.
        on: Part that is compared on; None for test where a run was evaluated on it, else
            validation.
        measure: Measure that orders the models; None for F1 at the chosen threshold, or NDCG at 10
            where the data list likes alone.
        last: Number of the latest runs that are compared; None for all.
        experiment: Name of the MLflow experiment.
        tracking_uri: MLflow's tracking URI; None for MLFLOW_TRACKING_URI, else that of the home
            folder.

    Raises:
        RecsweepError: There is nothing to compare, or not by this measure.
    """
    from recsweep.comparison.compare import CompareOptions
    from recsweep.comparison.compare import compare as compared

    if on is not None:
        check_choice("on", on, PARTS)
    run_ids, study_name = asked_for(what)
    return Comparison(
        *compared(
            CompareOptions(
                tracking=TrackingOptions(uri=tracking_uri, experiment=experiment),
                runs=run_ids,
                study=study_name,
                last=last,
                part=on,
                measure=measure,
            )
        )
    )
