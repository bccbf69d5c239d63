"""Repeats: each point of a study once for each of several seeds, so that their mean decides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recsweep.errors import ConfigError

OF_REPEAT = "@"
"""What stands between a point and its repeat in the name of a slot."""

KINDS = {"seed": "seeds", "split.seed": "splits"}
"""What is drawn anew by a seed, in words."""


@dataclass(frozen=True)
class Repeats:
    """The seeds with which each point is trained.

    Attributes:
        setting: Name of the seed, as `split.seed`.
        values: The seeds, in order.
    """

    setting: str
    values: tuple[int, ...]

    @property
    def kind(self) -> str:
        """What differs between the repeats: seeds, splits or what else a seed draws."""
        return KINDS.get(self.setting, "repeats")

    def override(self, value: int) -> str:
        return f"{self.setting}={value}"

    def stored(self) -> dict[str, Any]:
        return {"setting": self.setting, "values": list(self.values)}

    @classmethod
    def of(cls, stored: Mapping[str, Any] | None) -> "Repeats | None":
        """Those that a study keeps; None for a study without."""
        return None if stored is None else cls(stored["setting"], tuple(stored["values"]))

    def fresh(self, count: int) -> "Repeats":
        """As many seeds that none of these is."""
        first = max(self.values) + 1
        return Repeats(self.setting, tuple(range(first, first + count)))


def slot_of(point: str, repeat: int) -> str:
    """Name of the slot of one repeat of a point."""
    return f"{point}{OF_REPEAT}{repeat}"


def point_and_repeat(slot: str) -> tuple[str, str]:
    """The point of a slot, and its repeat; empty where there are none."""
    point, _, repeat = slot.partition(OF_REPEAT)
    return point, repeat


def point_of(option: str, place: int) -> str:
    """Name of a point of a study that tries each option of a group by itself."""
    return f"{option}/{place}"


def option_of(slot: str) -> str:
    """The option of a slot of such a study; empty where its name says none."""
    return point_and_repeat(slot)[0].rpartition("/")[0]


@dataclass(frozen=True)
class RepeatsAsked:
    """What `hydra.sweeper.repeats` asks for: so many seeds from that of the config on, or these."""

    setting: str
    count: int | None = None
    values: tuple[int, ...] = ()

    @classmethod
    def read(cls, given: Any) -> "RepeatsAsked | None":
        """From `split.seed:5`, `split.seed:1,2,3` or a mapping of the setting to either.

        Raises:
            ConfigError: It is something else.
        """
        if given is None or isinstance(given, cls):
            return given
        if isinstance(given, Mapping) and len(given) == 1:
            ((setting, seeds),) = given.items()
        elif isinstance(given, str):
            setting, _, seeds = given.partition(":")
        else:
            raise ConfigError(_wrong(given))
        setting, texts = str(setting).strip(), _texts(seeds)
        is_seed = setting.rpartition(".")[2] == "seed"
        if not is_seed or not all(text.isascii() and text.isdecimal() for text in texts):
            raise ConfigError(_wrong(given))
        numbers = tuple(map(int, texts))
        is_list = len(numbers) > 1 or not isinstance(seeds, str | int)
        if len(set(numbers)) < (2 if is_list else 1) or (not is_list and numbers[0] < 2):
            raise ConfigError(_wrong(given))
        if is_list:
            return cls(setting, values=tuple(dict.fromkeys(numbers)))
        return cls(setting, count=numbers[0])

    def from_seed(self, present: Any) -> Repeats:
        """The seeds that are asked for.

        Args:
            present: Value of the setting in the config; None where it has none.

        Raises:
            ConfigError: The config has no such seed.
        """
        if type(present) is not int:
            raise ConfigError(
                f"hydra.sweeper.repeats: these settings have no {self.setting} that is a whole "
                f"number, but {present!r}. A rule that draws nothing has nothing to repeat; take "
                "the seed of what is drawn, as seed or split.seed."
            )
        if self.count is None:
            return Repeats(self.setting, self.values)
        return Repeats(self.setting, tuple(range(present, present + self.count)))


def _texts(seeds: Any) -> list[str]:
    if isinstance(seeds, Sequence) and not isinstance(seeds, str):
        return [str(seed) for seed in seeds]
    return [text.strip() for text in str(seeds).split(",")]


def _wrong(given: Any) -> str:
    return (
        "hydra.sweeper.repeats must name a seed and how many of them, at least two, as "
        "split.seed:5 or seed:3, or different seeds in quotes, as '\"split.seed:1,2,3\"', not "
        f"{given!r}."
    )
