"""Every measure of the project, one entry each: what it is called, what it is computed from, where it is shown.

What logs, shows, chooses, compares or guards reads from here and names no measure of its own. A new measure is an
entry of ENTRIES; where none of the forms of `forms` computes it, a form too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from recsweep.measures import forms, plain

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
    "objective",  # chooses epochs and settings where the configuration names nothing; the first that there is
    "deciding",  # orders models and decides a promotion where nothing is named; the first that there is
    "guard",  # guards a promotion beside that one; the first other one that there is
]

LENGTH = 10
"""Length of the lists that choose and decide where the configuration names no measure; without it the shortest."""

PER_USER = "_per_user"


@dataclass(frozen=True, kw_only=True, eq=False)
class Measure:
    """One measure.

    Attributes:
        name: Plain name as it is logged, without the part; of a family with `{k}` in it, as `ndcg_at_{k}`.
        title: Name in words; of a family with `{k}` in it.
        short: Heading of a column of tables on a terminal, where the title is too long for one.
        column: Heading of its column within `group`.
        group: Group of columns of the page; None keeps it off the page's table.
        better: Whether more or less of it is better.
        form: How its value is computed, plain, of each user and under weights; None for what is no evaluation's.
        views: Where it is shown, and its place there.
        compared: Whether models are compared by it; of a family at `length`.
        bounded: Whether it is at most 1.
        constant: From the prevalence to what a model reaches that predicts it for every cell; None where most of the
            measure's value is not reached so.
        length: Length of the lists, of a family the one that the views show; None for what is not of lists.
        entry: The entry of the family that it is of; None for an entry.
        logged: Name in a run; the part's prefix and the plain name where that is empty.
        user_column: `column` of the mean over users of the same measure of each user's own cells; empty keeps it off.
        user_views: `views` of that.
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
        """More is better; -inf for nan."""
        return float("-inf") if value != value else value if self.maximise else -value  # nan is not itself

    def at(self, length: int | None = None) -> "Measure":
        """The same of lists of a length, by default of the one that the views show.

        A measure that is not of lists is the same at any length.
        """
        if self.length is None:
            return self
        length = length or self.length
        entry = self.entry or self
        words = {key: getattr(entry, key).replace("{k}", str(length)) for key in ("name", "title", "short", "column")}
        return replace(entry, **words, length=length, entry=entry)

    @property
    def per_user(self) -> "Measure | None":
        """The mean over users of the same measure of each user's own cells; None where there is none."""
        form = None if self.form is None else self.form.of_each_user
        if form is None:
            return None
        return replace(self, name=f"{self.name}{PER_USER}", title=f"{self.title} per user", short="",
                       column=self.user_column, group=OF_USERS if self.user_column else None, form=form,
                       views=self.user_views, constant=None)


CHOSEN, HALF, ORDER, PROBABILITIES = "at the chosen threshold", "at 0.5", "of the order", "of the probabilities"
LISTS, OF_USERS = "of what is listed", "means over users"
GROUPS = (CHOSEN, HALF, ORDER, LISTS, PROBABILITIES, OF_USERS)
"""Groups of columns of the page, in their order."""

F1_AT_THRESHOLD = Measure(
    name="f1_at_threshold", title="F1 at the chosen threshold", short="F1 tuned", column="F1", group=CHOSEN,
    better="more", form=forms.Share("threshold", plain.f1), user_column="F1, chosen",
    views={"runs": 40, "intervals": 20, "differences": 10, "description": 20, "spread": 20, "leading": 10,
           "spoken": 10, "curves": 20, "truth": 20, "deciding": 10},
)
PRECISION_AT_THRESHOLD = Measure(
    name="precision_at_threshold", title="precision at the chosen threshold", column="precision", group=CHOSEN,
    better="more", form=forms.Share("threshold", plain.precision),
)
RECALL_AT_THRESHOLD = Measure(
    name="recall_at_threshold", title="recall at the chosen threshold", column="recall", group=CHOSEN,
    better="more", form=forms.Share("threshold", plain.recall),
)
F1_AT_HALF = Measure(
    name="f1_at_half", title="F1 at 0.5", short="F1 at .5", column="F1", group=HALF, better="more",
    form=forms.Share("half", plain.f1), user_column="F1 at 0.5",
    views={"runs": 10, "intervals": 10, "differences": 20, "note": 10, "description": 10, "spread": 10,
           "leading": 20, "spoken": 20, "curves": 10},
)
PRECISION_AT_HALF = Measure(
    name="precision_at_half", title="precision at 0.5", short="prec. at .5", column="precision", group=HALF,
    better="more", form=forms.Share("half", plain.precision), views={"runs": 20},
)
RECALL_AT_HALF = Measure(
    name="recall_at_half", title="recall at 0.5", short="recall at .5", column="recall", group=HALF,
    better="more", form=forms.Share("half", plain.recall), views={"runs": 30},
)
SHARE_PREDICTED_POSITIVE = Measure(
    name="share_predicted_positive_at_half", title="share predicted positive at 0.5", better="more",
    form=forms.Share("half", plain.share_predicted_positive, each_user=False), compared=False,
)
AVERAGE_PRECISION = Measure(
    name="average_precision", title="average precision", short="avg prec.", column="average precision",
    group=ORDER, better="more", form=forms.Order("average_precision", plain.average_precision,
                                                 plain.average_precision_per_user),
    user_column="average precision", user_views={"differences": 40},
    views={"runs": 70, "intervals": 30, "differences": 30, "note": 20, "description": 30, "spread": 30,
           "leading": 40, "paid": 40, "truth": 10, "objective": 10, "guard": 10},
)
COVERAGE = Measure(
    name="coverage_at_{k}", title="coverage@{k}", better="more", form=forms.AllLists(plain.coverage_of),
    compared=False, length=LENGTH,
)
TRAIN_LOSS = Measure(name="train_loss", title="training loss", better="less", compared=False, logged="train/loss")

ENTRIES = (
    F1_AT_THRESHOLD, PRECISION_AT_THRESHOLD, RECALL_AT_THRESHOLD,
    Measure(name="accuracy_at_threshold", title="accuracy at the chosen threshold", column="accuracy", group=CHOSEN,
            better="more", form=forms.Share("threshold", plain.accuracy), constant=plain.constant_accuracy),
    F1_AT_HALF, PRECISION_AT_HALF, RECALL_AT_HALF,
    Measure(name="accuracy_at_half", title="accuracy at 0.5", short="acc. at .5", column="accuracy", group=HALF,
            better="more", form=forms.Share("half", plain.accuracy), constant=plain.constant_accuracy,
            views={"runs": 50, "leading": 30, "paid": 10}),
    AVERAGE_PRECISION,
    Measure(name="roc_auc", title="ROC AUC", column="ROC AUC", group=ORDER, better="more", user_column="ROC AUC",
            form=forms.Order("roc_auc", plain.roc_auc, plain.roc_auc_per_user), views={"leading": 50}),
    Measure(name="mse", title="MSE", column="MSE", group=PROBABILITIES, better="less", user_column="MSE",
            form=forms.MeanLoss(plain.mean_squared_error, plain.squared_errors), constant=plain.constant_squared_error,
            views={"runs": 60, "intervals": 40, "note": 30, "leading": 60, "paid": 20, "losses": 10}),
    Measure(name="log_loss", title="log loss", column="log loss", group=PROBABILITIES, better="less",
            user_column="log loss", form=forms.MeanLoss(plain.log_loss, plain.log_losses), bounded=False,
            constant=plain.constant_log_loss, views={"leading": 70, "paid": 30, "losses": 20}),
    Measure(name="ece", title="calibration error (ECE)", short="ECE", column="ECE", group=PROBABILITIES,
            better="less", form=forms.CalibrationError()),
    Measure(name="ndcg_at_{k}", title="NDCG@{k}", short="NDCG @{k}", column="NDCG@{k}", group=ORDER, better="more",
            form=forms.of_hits(plain.ndcg_at_k), length=LENGTH,
            views={"runs": 80, "intervals": 50, "differences": 50, "description": 40, "spread": 40, "leading": 80,
                   "paid": 50, "curves": 30, "objective": 20, "deciding": 20, "guard": 20}),
    Measure(name="recall_at_{k}", title="recall@{k}", short="recall @{k}", column="recall@{k}", group=ORDER,
            better="more", form=forms.of_hits(plain.recall_at_k), length=20,
            views={"runs": 90, "leading": 90, "guard": 30}),
    Measure(name="precision_at_{k}", title="precision@{k}", better="more", form=forms.of_hits(plain.precision_at_k),
            compared=False, length=LENGTH),
    Measure(name="map_at_{k}", title="MAP@{k}", better="more", form=forms.of_hits(plain.map_at_k), compared=False,
            length=LENGTH),
    Measure(name="mrr_at_{k}", title="MRR@{k}", better="more", form=forms.of_hits(plain.mrr_at_k), compared=False,
            length=LENGTH),
    Measure(name="hit_rate_at_{k}", title="hit rate@{k}", better="more", form=forms.of_hits(plain.hit_rate_at_k),
            compared=False, length=LENGTH),
    COVERAGE,
    Measure(name="gini_at_{k}", title="Gini of exposure@{k}", short="Gini @{k}", column="Gini@{k}", group=LISTS,
            better="less", form=forms.AllLists(plain.gini), length=LENGTH),
    Measure(name="novelty_at_{k}", title="novelty@{k}", short="novelty @{k}", column="novelty@{k}", group=LISTS,
            better="more", form=forms.EachList(plain.novelty), length=LENGTH, bounded=False),
    SHARE_PREDICTED_POSITIVE,
    Measure(name="share_predicted_positive_at_threshold", title="share predicted positive at the chosen threshold",
            better="more", form=forms.Share("threshold", plain.share_predicted_positive, each_user=False),
            compared=False),
    TRAIN_LOSS,
    *(Measure(name=name, title=title, better="less", compared=False, logged=name) for name, title in {
        "fit/seconds": "seconds of training", "fit/watch_seconds": "seconds of evaluation",
        "fit/epochs": "epochs", "model/num_parameters": "learnt numbers", "memory/peak_mb": "peak of memory",
    }.items()),
)
"""All that is measured, in reading order."""

F1 = {"half": F1_AT_HALF, "threshold": F1_AT_THRESHOLD}
PRECISION = {"half": PRECISION_AT_HALF, "threshold": PRECISION_AT_THRESHOLD}
RECALL = {"half": RECALL_AT_HALF, "threshold": RECALL_AT_THRESHOLD}

_FAMILIES = {entry.name.removesuffix("{k}"): entry for entry in ENTRIES if entry.length is not None}

MEASURES: Mapping[str, Measure] = {
    entry.name: entry for entry in (
        *(each.at() for each in ENTRIES),
        *filter(None, (each.per_user for each in ENTRIES)))}
"""By plain name in reading order: families at the length that is shown, and then each user's own."""

COMPARED: Mapping[str, Measure] = {name: each for name, each in MEASURES.items() if each.compared}
"""What models are compared by."""


def measure(name: str) -> Measure:
    """The measure of a plain or logged name, of a family at any length: `mse`, `ndcg_at_7`, `validation/f1_at_half`.

    A name that is not a measure's gives one of which more is better, as of a metric that the user's own code logs.
    """
    plain_name = name.removeprefix("validation/").removeprefix("test/")
    if plain_name in MEASURES:
        return MEASURES[plain_name]
    if plain_name == TRAIN_LOSS.logged:
        return TRAIN_LOSS
    family, _, length = plain_name.rpartition("_at_")
    if length.isdecimal() and f"{family}_at_" in _FAMILIES:
        return _FAMILIES[f"{family}_at_"].at(int(length))
    return Measure(name=plain_name, title=plain_name.replace("_", " "), better="more", compared=False)


def shown(view: View) -> list[Measure]:
    """What a view shows, in its order."""
    return sorted((each for each in MEASURES.values() if view in each.views), key=lambda each: each.views[view])


def available(view: View, *, cells: bool, lengths: Sequence[int]) -> list[Measure]:
    """What a view shows of an evaluation, lists at LENGTH or, without that, at the first length.

    Args:
        view: What is asked for, as `objective`.
        cells: Whether the part enumerates its cells.
        lengths: Lengths of the lists that are evaluated; none leaves lists out.
    """
    length = LENGTH if LENGTH in lengths else next(iter(lengths), None)
    return [each if each.length is None else each.at(length) for each in shown(view)
            if (cells if each.length is None else length is not None)]


def lists_in(metrics: Mapping[str, float], prefix: str = "") -> list[int]:
    """Lengths of the lists that metrics are of, ascending; `prefix` is the part's, as `validation/`."""
    names = (name.removeprefix(prefix) for name in metrics if name.startswith(prefix))
    return sorted({known.length for known in map(measure, names) if known.length is not None})
