"""The rules by which a part is evaluated, and the measure that chooses."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from recsweep.checks import check_choice, check_flag, check_integer, nearest
from recsweep.data.arrays import counted
from recsweep.data.interactions import Part, Split
from recsweep.errors import ConfigError, ObjectiveError
from recsweep.measures import Measure, available, measure

PARTS = ("validation", "test")
CANDIDATES = {
    "part": "the user's cells of the part",
    "unseen": "all items but the user's cells of earlier parts",
    "not_liked": "all items but what the user liked before",
    "given": "the candidates given for the user and the user's positives",
    "sampled": "items drawn for the user and the user's positives",
}
"""Items that lists are chosen from, in words."""

ALL_USERS = "those with a positive in the part"
"""Users that rankings are measured on, in words."""

SUBSETS = ("given", "sampled")
"""Candidates that are a few of the items beside the positives."""

CAUTION = (
    "Lists of a few candidates can put models in another order than lists of all items (Krichene "
    "and Rendle, KDD 2020): they are for equality with published values."
)

SHORT_LIST = 20
"""A list of so many items is short, and asked for by default."""


@dataclass(frozen=True, kw_only=True)
class EvaluationProtocol:
    """The rules by which a part is evaluated, and the measure that chooses.

    Attributes:
        k: Lengths of the lists that ranking metrics look at; kept ascending.
        candidates: What a user's list is chosen from where the split enumerates cells: `part`, the
            user's cells of the part; `unseen`, all items but the user's cells of earlier parts;
            `not_liked`, all items but the user's earlier positives, which leaves known zeros of
            training among them: the protocol of studies that were begun with it, which rewards a
            model for remembering them. Another split has no known zeros: there it is `not_liked`
            for all three. Of any split `given`, the candidates that the data has for the user, less
            the earlier positives; and `sampled`, `num_candidates` that are drawn from the items
            that are no positive of the user in any part. Both with the user's positives of the
            part, each item once.
        objective: Name of the validation metric that chooses epochs and settings, with or without
            `validation/`. None takes average_precision where the part enumerates cells, else NDCG
            at 10 (at the first k, without a 10).
        test: Whether a single run ends with an evaluation of the test part.
        max_stored_cells: Number of cells above which a report keeps counts per user in place of the
            cells.
        batch_users: Number of users scored at once; fewer where the catalogue is large.
        num_candidates: Number of `sampled` candidates of a user.
        candidates_seed: Fixes them, the same for every model.
        validation_users: Number of users of validation on whom epochs are evaluated while training,
            where it has more of them, see `Sample`; None evaluates each epoch on all.
        validation_seed: Fixes who they are, the same for every model.

    Raises:
        ConfigError: A setting is impossible.
    """

    k: tuple[int, ...]
    candidates: str
    objective: str | None
    test: bool
    max_stored_cells: int
    batch_users: int
    num_candidates: int
    candidates_seed: int
    validation_users: int | None
    validation_seed: int

    def __post_init__(self) -> None:
        listed = isinstance(self.k, Sequence) and not isinstance(self.k, str)
        for length in self.k if listed else ():
            check_integer("evaluation.k", length, minimum=1)
        if not listed or not self.k or len(set(self.k)) < len(self.k):
            raise ConfigError(
                f"evaluation.k must list different whole numbers, as [5, 10, 20], not {self.k!r}."
            )
        object.__setattr__(self, "k", tuple(sorted(self.k)))
        check_choice("evaluation.candidates", self.candidates, tuple(CANDIDATES))
        if self.objective is not None:
            _plain_objective(self.objective)
        check_flag("evaluation.test", self.test)
        check_integer("evaluation.max_stored_cells", self.max_stored_cells, minimum=0)
        check_integer("evaluation.batch_users", self.batch_users, minimum=1)
        check_integer("evaluation.num_candidates", self.num_candidates, minimum=1)
        check_integer("evaluation.candidates_seed", self.candidates_seed, minimum=0)
        check_integer(
            "evaluation.validation_users", self.validation_users, minimum=1, optional=True
        )
        check_integer("evaluation.validation_seed", self.validation_seed, minimum=0)

    def check_lengths(self, num_items: int) -> None:
        """Raise ConfigError where a list would be longer than the catalogue: its measures would be
        those of the whole catalogue under another name.

        Up to SHORT_LIST any is taken, however small the catalogue: the default lengths stand for
        all data.
        """
        for length in self.k:
            if length > max(num_items, SHORT_LIST):
                raise ConfigError(
                    f"evaluation.k must be at most {num_items:,}, the number of items, not "
                    f"{length:,}. Leave that out, as evaluation.k=[5,10,20]."
                )

    def candidates_of(self, split: Split) -> str:
        """The one of CANDIDATES that is in force on a split."""
        if self.candidates in SUBSETS or split.validation.enumerates_cells:
            return self.candidates
        return "not_liked"

    def tag_of(self, split: Split) -> str:
        """The candidates in force, as a run is tagged with them: lists of runs with the same tag
        and the same data and split are chosen from the same items."""
        candidates = self.candidates_of(split)
        if candidates == "sampled":
            return f"sampled {self.num_candidates} {self.candidates_seed}"
        return candidates

    def sample_of(self, split: Split) -> "Sample | None":
        """The users on whom epochs are evaluated while training; None for all of validation."""
        part = split.validation
        users = np.flatnonzero(counted(part.users, part.num_users))
        number = self.validation_users
        if number is None or len(users) <= number:
            return None
        rng = np.random.default_rng([self.validation_seed, int(split.digest, 16)])
        drawn = np.sort(rng.choice(users, number, replace=False, shuffle=False))
        return Sample(drawn.astype(np.int32), len(users), self.validation_seed)


@dataclass(frozen=True, eq=False)
class Sample:
    """Users on whom epochs are evaluated, in place of all who have a cell in the validation part:
    drawn from these by the digest of the split and a seed of their own, so that they are the same
    for every model, seed and process.

    Attributes:
        users: (n,) int32, ascending.
        number_of_all: Number of users that they were drawn from.
        seed: Seed that they were drawn with.
    """

    users: np.ndarray
    number_of_all: int
    seed: int

    @property
    def tag(self) -> str:
        """Who they are, as a run is tagged: `5000 of 41322, seed 0`."""
        return f"{len(self.users)} of {self.number_of_all}, seed {self.seed}"

    def of(self, part: Part) -> Part:
        """The cells of the part that are theirs."""
        is_theirs = np.zeros(part.num_users, dtype=bool)
        is_theirs[self.users] = True
        chosen = is_theirs[part.users]
        users, items, targets = part.users[chosen], part.items[chosen], part.targets[chosen]
        return replace(part, users=users, items=items, targets=targets)


def sampling_rule(tag: str) -> str:
    """What `Sample.tag` says but for the number of all users, which another split may have others
    of; samples of one rule compare."""
    return re.sub(r" of \d+", "", tag)


def is_subset(tag: str) -> bool:
    """Whether `EvaluationProtocol.tag_of` says one of SUBSETS."""
    return tag.partition(" ")[0] in SUBSETS


def candidates_in_words(tag: str) -> str:
    """What `EvaluationProtocol.tag_of` says, in words."""
    name, *numbers = tag.split()
    if name == "sampled" and len(numbers) == 2:
        number, seed = numbers
        return f"{int(number):,} items drawn for each user (seed {seed}) and the user's positives"
    return CANDIDATES.get(tag, tag)


def _plain_objective(name: str) -> str:
    """The objective without `validation/`; raises ConfigError where it is not a metric of
    validation."""
    if not isinstance(name, str) or not name:
        raise ConfigError(
            "evaluation.objective must name a metric, as average_precision, or be null, not "
            f"{name!r}."
        )
    if name.startswith("test/"):
        raise ConfigError(
            f"evaluation.objective must be a metric of validation, not {name!r}: what chooses on "
            f"the test part can't be measured there. Take {name.removeprefix('test/')!r}."
        )
    return name.removeprefix("validation/")


def chosen_by(protocol: EvaluationProtocol, part: Part) -> Measure:
    """The measure that chooses on a validation part: the protocol's, or the default where that
    names none."""
    if protocol.objective is not None:
        return measure(_plain_objective(protocol.objective))
    return available("objective", cells=part.enumerates_cells, lengths=protocol.k)[0]


def objective_of(
    metrics: dict[str, float], protocol: EvaluationProtocol, part: Part
) -> tuple[str, float, bool]:
    """The objective, which chooses between epochs and between settings.

    Args:
        metrics: Plain names to values, as of a report of validation; `train_loss` may stand among
            them.
        protocol: The protocol whose `objective` is asked for.
        part: The validation part, which decides the default.

    Returns:
        The plain name, the value, and whether more is better. nan becomes the worst value of its
        direction.

    Raises:
        ObjectiveError: The metric was not computed.
    """
    chosen = chosen_by(protocol, part)
    name = chosen.name
    if name not in metrics:
        near = nearest(name, metrics)
        remedy = f"Did you mean {near}?" if near else f"Take one of {', '.join(sorted(metrics))}."
        raise ObjectiveError(f"The objective {name!r} was not computed on validation. {remedy}")
    value = float(metrics[name])
    if np.isnan(value):
        value = -np.inf if chosen.maximise else np.inf
    return name, value, chosen.maximise
