"""What a measure is: what it is called, how it is computed, and where it is shown."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import isnan
from typing import Literal

from recsweep.measures import forms

View = Literal[
    "runs",  # columns of the table that puts runs side by side
    "intervals",  # columns of the terminal's table of models with intervals; a page has all
    "differences",  # the page's table of differences, after the measure that orders the models
    "note",  # columns of the note of a comparison
    "description",  # the note of a run
    "spread",  # told with its spread over the seeds of a refit
    "leading",  # sentences on who leads by what
    "paid",  # sentences on what a net gains or loses beside the measure that was chosen
    "spoken",  # sentences and a plot that set nets against baselines, whatever was chosen
    "losses",  # the curves of a run beside its training loss
    "curves",  # the curves of a run on validation
    "truth",  # also told of the true probabilities of synthetic data
    "objective",  # chooses epochs and settings where no measure is named; the first that there is
    "deciding",  # orders models and decides promotions where none is named; the first there is
    "guard",  # guards a promotion beside that one; the first other one that there is
]

CHOSEN, HALF, ORDER, PROBABILITIES = (
    "at the chosen threshold",
    "at 0.5",
    "of the order",
    "of the probabilities",
)
LISTS, OF_USERS = "of what is listed", "means over users"
GROUPS = (CHOSEN, HALF, ORDER, LISTS, PROBABILITIES, OF_USERS)
"""Groups of columns of the page, in their order."""

LENGTH = 10
"""Length of the lists that choose and decide where no measure is named; else the first."""

PER_USER = "_per_user"


@dataclass(frozen=True, kw_only=True, eq=False)
class Measure:
    """One measure.

    Attributes:
        name: Plain name as it is logged, without the part; of a family as `ndcg_at_{k}`.
        title: Name in words; of a family with `{k}` in it.
        short: Heading of a column of tables on a terminal, where the title is too long for one.
        column: Heading of its column within `group`.
        group: Group of columns of the page; None keeps it off the page's table.
        better: Whether more or less of it is better.
        form: Way to compute its value; None for what is not measured by an evaluation.
        views: Views that show it, each to its place there.
        compared: Whether models are compared by it; of a family at `length`.
        bounded: Whether it is at most 1.
        constant: Function from the prevalence to what a model reaches that predicts it for every
            cell; None where that is little of what can be reached.
        length: Length of the lists, of a family the one shown; None for what is not of lists.
        entry: The entry of the family that it is of; None for an entry.
        logged: Name in a run; the part's prefix and the plain name where that is empty.
        user_column: `column` of the mean over users of each user's own cells; empty keeps it off.
        user_views: `views` of that mean.
    """

    name: str
    title: str
    short: str = ""
    column: str = ""
    group: str | None = None
    better: Literal["more", "less"]
    form: forms.Form | None = None
    views: Mapping[View, int] = field(default_factory=dict)
    compared: bool = True
    bounded: bool = True
    constant: Callable[[float], float] | None = None
    length: int | None = None
    entry: "Measure | None" = None
    logged: str = ""
    user_column: str = ""
    user_views: Mapping[View, int] = field(default_factory=dict)

    @property
    def maximise(self) -> bool:
        """Whether more of it is better."""
        return self.better == "more"

    @property
    def heading(self) -> str:
        """Heading of a column of tables on a terminal."""
        return self.short or self.title

    @property
    def needs(self) -> forms.Needs:
        """What it is computed from."""
        return "training" if self.form is None else self.form.needs

    def is_kept_in(self, report: forms.Kept) -> bool:
        """Whether a report keeps what its values under weights of the users are made of."""
        return self.form is not None and self.form.is_kept(self.name, report)

    @property
    def on_validation(self) -> str:
        """Name of the logged metric that chooses by it, as `validation/mse` or `train/loss`."""
        return self.logged or f"validation/{self.name}"

    def worth(self, value: float) -> float:
        """Number of which more is better; -inf for nan."""
        if isnan(value):
            return float("-inf")
        return value if self.maximise else -value

    def at(self, length: int | None = None) -> "Measure":
        """The same of lists of a length, by default of the one that the views show.

        A measure that is not of lists is the same at any length.
        """
        if self.length is None:
            return self
        length = length or self.length
        entry = self.entry or self
        words = {
            key: getattr(entry, key).replace("{k}", str(length))
            for key in ("name", "title", "short", "column")
        }
        return replace(entry, **words, length=length, entry=entry)

    @property
    def per_user(self) -> "Measure | None":
        """The mean over users of the same of each user's own cells; None where there is none."""
        form = None if self.form is None else self.form.of_each_user
        if form is None:
            return None
        return replace(
            self,
            name=f"{self.name}{PER_USER}",
            title=f"{self.title} per user",
            short="",
            column=self.user_column,
            group=OF_USERS if self.user_column else None,
            form=form,
            views=self.user_views,
            constant=None,
        )
