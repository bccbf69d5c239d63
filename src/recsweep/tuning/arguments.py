"""Overrides of a command line as they are meant, where Hydra would read them otherwise."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recsweep.config import override, override_value
from recsweep.tuning.space import plain_key

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

NAMES = ("hydra.sweeper.study_name", "tracking.experiment", "data.name")
"""Settings that are a text, even where it looks like a number."""


def as_meant(overrides: Sequence[str], experiment: str | None = None) -> list[str]:
    """The overrides for Hydra.

    - `data.path=likes.csv` without an option of data means data=file, unless the experiment that
      they change, as it is written, has one; studies of an experiment are named by their data.
    - A name stays a text: `study_name=2024_11_25` is no number.
    - `model=knn,item_knn model.num_neighbors=20`: Hydra would look for the setting in the option
      that is no part of the study, the default one. The study itself gives it to the options that
      have it.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except (HydraException, ValueError, RecursionError):  # which Hydra says itself
        return list(overrides)
    keys = [plain_key(each.key_or_group) for each in parsed]
    varied = [
        f"{key.replace('/', '.')}."
        for key, each in zip(keys, parsed, strict=True)
        if each.is_sweep_override()
    ]
    is_study = "hydra/sweeper" not in keys
    lines, loose = [], {}
    for line, key, each in zip(overrides, keys, parsed, strict=True):
        is_change = each.type.name == "CHANGE" and not each.is_sweep_override()
        if is_study and is_change and key.startswith(tuple(varied)):
            loose[key] = each.get_value_string()
        elif key in NAMES and _is_number_by_its_looks(each):
            lines.append(override(key, each.get_value_string()))
        else:
            lines.append(line)
    if "data.path" in keys and "data" not in keys and not re.search(r"\bdata *:", experiment or ""):
        lines.insert(0, "data=file")
        path = parsed[keys.index("data.path")].value()
        if experiment is not None and "data.name" not in keys and isinstance(path, str):
            lines.insert(1, override("data.name", Path(path).name.split(".")[0]))
    if loose:
        settings = (f"{key}:{override_value(key, value)}" for key, value in loose.items())
        lines.append(f"++hydra.sweeper.params={{{','.join(settings)}}}")
    return lines


def _is_number_by_its_looks(each: "Override") -> bool:
    value = each.value()
    return type(value) in (int, float) and str(value) != each.get_value_string()
