"""The rows of the ledger: published values with their sources, and the bands that ours must lie in.

A protocol is a file of protocols/: the settings and the files that its rows share, and the rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from recsweep.checks import as_said, check_integer, check_number, check_text, meant
from recsweep.config import override
from recsweep.errors import ConfigError

FOLDER = Path(__file__).parent / "protocols"

WIDEST = 0.05
"""The widest band there may be: a wider one would hold anything."""

WIDE = 0.02
"""The width above which a band has to say why."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A published value of one measure of the test part.

    Attributes:
        metric: The measure's name, as `ndcg_at_10`.
        published: The value as it was published.
        band: Lowest and highest value that ours may have.
    """

    metric: str
    published: float
    band: tuple[float, float]

    def __post_init__(self) -> None:
        check_text("metric", self.metric)
        check_number(f"published of {self.metric}", self.published)
        if len(self.band) != 2 or not self.band[0] < self.band[1]:
            raise ConfigError(
                f"band of {self.metric} must be [low, high], not {as_said(self.band)}."
            )

    @property
    def width(self) -> float:
        return round(self.band[1] - self.band[0], 9)  # as it is written in decimals


@dataclass(frozen=True, kw_only=True)
class Row:
    """A model under a protocol, and what was published of it.

    Attributes:
        protocol: Name of its protocol.
        name: Its own name, unique there.
        overrides: Settings of the model, beside the protocol's.
        targets: What is compared.
        seeds: Seeds of split and weights: the mean over them is compared.
        minutes: CPU minutes of one core that all of them take, about.
        source: Where the values were published.
        known: Why ours differs from what was published; then the band is around what is right, and
            holds no published value.
        wide: Why a band is wider than WIDE.
        watched: Why the row is run by its name alone.
    """

    protocol: str
    name: str
    overrides: tuple[str, ...]
    targets: tuple[Target, ...]
    seeds: tuple[int, ...] = (0,)
    minutes: float
    source: str
    known: str | None = None
    wide: str | None = None
    watched: str | None = None

    def __post_init__(self) -> None:
        for setting in ("name", "source"):
            check_text(f"{setting} of the row {self.id}", getattr(self, setting))
        for setting in ("known", "wide", "watched"):
            check_text(f"{setting} of the row {self.id}", getattr(self, setting), optional=True)
        check_number(f"minutes of the row {self.id}", self.minutes, above=0)
        for seed in self.seeds:
            check_integer(f"seeds of the row {self.id}", seed, minimum=0)
        for target in self.targets:
            self._check(target)

    def _check(self, target: Target) -> None:
        what = f"The band of {target.metric} of the row {self.id}"
        if target.width > WIDEST:
            raise ConfigError(
                f"{what} must be at most {WIDEST} wide, not {target.width:g}. Narrow it."
            )
        if target.width > WIDE and self.wide is None:
            raise ConfigError(
                f"{what} is {target.width:g} wide, more than {WIDE}. Say why under `wide`."
            )
        if self.known is not None and target.band[0] <= target.published <= target.band[1]:
            raise ConfigError(
                f"{what} holds the published {target.published:g}, which is known to be wrong. "
                "Set it around what is right."
            )

    @property
    def id(self) -> str:
        """Protocol and name, as `ncf_ml1m/ease`."""
        return f"{self.protocol}/{self.name}"

    @property
    def seed_minutes(self) -> float:
        """CPU minutes of one of its seeds."""
        return self.minutes / len(self.seeds)


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Data, split and candidates that rows share.

    Attributes:
        name: Name of its file.
        about: What it is, in words.
        origin: Where its files come from.
        files: Setting to the file that it names, below the folder of data.
        overrides: Its settings beside those.
        rows: Its rows.
    """

    name: str
    about: str
    origin: str
    files: Mapping[str, str]
    overrides: tuple[str, ...]
    rows: tuple[Row, ...]

    def found(self, folder: Path) -> dict[str, Path] | str:
        """Setting to the path of its file in a folder of data, or in `ledger` within that; the name
        of the first file that lies in neither."""
        paths = {}
        for setting, file in self.files.items():
            places = [
                place for place in (folder / file, folder / "ledger" / file) if place.exists()
            ]
            if not places:
                return file
            paths[setting] = places[0].absolute()
        return paths

    def presence(self, folder: Path | None) -> str:
        """Whether its files are in a folder of data, in a word or two."""
        if folder is None:
            return "no folder"
        found = self.found(folder)
        return f"no {found}" if isinstance(found, str) else "there"

    def settings(self, row: Row, seed: int, paths: Mapping[str, Path]) -> list[str]:
        """The overrides of a run of a row."""
        return [
            *self.overrides,
            *(override(setting, path) for setting, path in paths.items()),
            *row.overrides,
            f"split.seed={seed}",
            f"seed={seed}",
            "evaluation.test=true",
        ]


def protocols(folder: Path = FOLDER) -> list[Protocol]:
    """All protocols, by name.

    Raises:
        ConfigError: A row breaks a rule: it has no source, or a band that is too wide.
    """
    return [_protocol(path) for path in sorted(folder.glob("*.yaml"))]


def _protocol(path: Path) -> Protocol:
    content = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    assert isinstance(content, dict)
    known = ("about", "origin", "files", "overrides", "rows")
    for setting in set(map(str, content)) ^ set(known):
        raise ConfigError(f"{path.name} must have {', '.join(known)} alone: not so {setting}.")
    return Protocol(
        name=path.stem,
        about=_in_one_line(content["about"]),
        origin=_in_one_line(content["origin"]),
        files=content["files"],
        overrides=tuple(content["overrides"]),
        rows=tuple(_row(path.stem, row | {"name": name}) for name, row in content["rows"].items()),
    )


def _row(protocol: str, content: dict[str, Any]) -> Row:
    texts = {
        name: _in_one_line(content[name])
        for name in ("source", "known", "wide", "watched")
        if content.get(name)
    }
    targets = tuple(
        Target(metric=metric, published=value[0], band=tuple(value[1:]))
        for metric, value in content.pop("metrics").items()
    )
    lists = {"overrides": tuple(content["overrides"]), "seeds": tuple(content.get("seeds", [0]))}
    try:
        return Row(protocol=protocol, targets=targets, **(content | {"source": ""} | texts | lists))
    except TypeError as error:
        raise ConfigError(f"The row {protocol}/{content['name']} can't be used: {error}") from error


def _in_one_line(text: str) -> str:
    return " ".join(text.split())


def chosen(
    known: Sequence[Protocol], names: Sequence[str], protocol: str | None, *, watched: bool
) -> list[Row]:
    """Rows by name, in the order of the ledger.

    Args:
        known: All protocols.
        names: Names of rows, as `ease` for that of each protocol or `ncf_ml1m/ease` for one; none
            of them for all rows that are not watched.
        protocol: The only protocol whose rows are taken; None for all.
        watched: Take the watched rows, too, where no row is named.

    Raises:
        ConfigError: There is no such row or protocol.
    """
    if protocol is not None and protocol not in (all_names := [each.name for each in known]):
        raise ConfigError(f"There is no protocol {protocol!r}. {meant(protocol, all_names)}")
    rows = [row for each in known if protocol in (None, each.name) for row in each.rows]
    for name in names:
        if not any(name in (row.name, row.id) for row in rows):
            ids = list(dict.fromkeys([*(row.name for row in rows), *(row.id for row in rows)]))
            where = "" if protocol is None else f" of {protocol}"
            raise ConfigError(f"There is no row {as_said(name)}{where}. {meant(name, ids)}")
    if names:
        return [row for row in rows if row.name in names or row.id in names]
    return [row for row in rows if watched or row.watched is None]
