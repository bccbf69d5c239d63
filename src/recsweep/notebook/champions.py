"""The champion: who it is, what it recommends, and how a model becomes it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING

from recsweep.config import conf_dir
from recsweep.notebook.shown import html
from recsweep.notebook.studies import Study, asked_for
from recsweep.tracking import TrackingOptions

if TYPE_CHECKING:
    from pandas import DataFrame

    from recsweep.data.ids import RawId
    from recsweep.promotion.audit import Decision
    from recsweep.promotion.chosen import ChosenModel
    from recsweep.serving.service import RecommenderService


@dataclass(frozen=True, eq=False, repr=False)
class Champion:
    """The model that answers, with the ids it was trained on.

    Attributes:
        chosen: The logged model, and what it is in words.
    """

    chosen: "ChosenModel"

    @cached_property
    def service(self) -> "RecommenderService":
        """The service, which ranks by raw ids."""
        return self.chosen.service()

    def recommend(
        self,
        users: "Iterable[RawId] | RawId" = (),
        *,
        k: int | None = None,
        histories: "Iterable[Iterable[RawId]]" = (),
    ) -> "DataFrame":
        """The best items that each has not seen: a row an item, best first, with its title where
        the model's data have titles.

        Args:
            users: Raw ids of users.
            k: Length of the lists; None for 10, or all items where there are fewer.
            histories: Raw ids of items that somebody new liked, in place of users, a list for each:
                `history 1` and so on in the column of users.

        Raises:
            ConfigError: k is no whole number from 1 to the size of the catalogue.
        """
        from pandas import DataFrame

        from recsweep.serving.service import Query

        length = self.service.default_k if k is None else k
        asked = [users] if isinstance(users, str) or not isinstance(users, Iterable) else users
        asked = list(asked)
        queries = [Query(user, k=length) for user in asked]
        queries += [Query(None, list(liked), length) for liked in histories]
        names = [*asked, *(f"history {number + 1}" for number in range(len(queries) - len(asked)))]
        answers = self.service.recommend(queries) if queries else []
        rows = [
            (name, rank, item, score, answer.fallback)
            for name, answer in zip(names, answers, strict=True)
            for rank, (item, score) in enumerate(
                zip(answer.item_ids, answer.scores, strict=True), start=1
            )
        ]
        frame = DataFrame(rows, columns=["user", "rank", "item", "score", "fallback"])
        if (titles := self.service.titles_of(frame["item"].tolist())) is not None:
            frame.insert(3, "title", titles)
        return frame

    def to_frame(self) -> "DataFrame":
        """The champion in a row."""
        from pandas import DataFrame

        row = {
            "model": self.service.model.label,
            "is": self.chosen.words,
            "users": len(self.service.user_ids),
            "items": len(self.service.item_ids),
        }
        return DataFrame([row])

    def __repr__(self) -> str:
        return f"{self.service.model.label} ({self.chosen.words})"

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>"


def champion(
    *,
    name: str = "recsweep",
    run: str | None = None,
    experiment: str = "recsweep",
    tracking_uri: str | None = None,
) -> Champion:
    """The model that is served.

    Args:
        name: Name of the registered model.
        run: Id or name of a run, whose model shall answer in the champion's place.
        experiment: Name of the MLflow experiment.
        tracking_uri: MLflow's tracking URI; None for MLFLOW_TRACKING_URI, else that of the home
            folder.

    Raises:
        RegistryError: There is no champion yet, or the run has no model.
    """
    from recsweep.promotion.chosen import chosen_model

    return Champion(
        chosen_model(TrackingOptions(uri=tracking_uri, experiment=experiment), run, name=name)
    )


@dataclass(frozen=True, eq=False, repr=False)
class Promotion:
    """A decision on the champion, which is kept in MLflow.

    Attributes:
        decision: The decision, and what it was made by.
    """

    decision: "Decision"

    @property
    def outcome(self) -> str:
        """`promoted`, `forced`, `refused`, or `unchanged` where the candidate is the champion."""
        return self.decision.outcome

    @property
    def words(self) -> str:
        """Sentence on what became of it."""
        return self.decision.words

    def to_frame(self) -> "DataFrame":
        """The rule, a row a demand; latencies are milliseconds."""
        from pandas import DataFrame

        columns = "compared_with measure candidate other difference low high needs met note"
        rows = [
            {
                "compared_with": f"{line.role} {line.other_name}",
                **vars(line),
                "difference": line.difference and line.difference.value,
                "low": line.difference and line.difference.low,
                "high": line.difference and line.difference.high,
            }
            for line in self.decision.lines
        ]
        return DataFrame(rows, columns=columns.split())

    def __repr__(self) -> str:
        return self.words

    def _repr_html_(self) -> str:
        scope = [f"{self.decision.over} {self.decision.looks}"] if self.decision.lines else []
        return html(self.to_frame(), self.words, *scope)


def promote(
    what: "Study | DataFrame | str | Sequence[str]",
    *,
    measure: str | None = None,
    on: str = "test",
    guards: Mapping[str, float | None] | None = None,
    seeds: int = 3,
    splits: int = 3,
    workers: int | None = 1,
    yes: bool = False,
    force: bool = False,
    reason: str = "",
    name: str = "recsweep",
    experiment: str = "recsweep",
    tracking_uri: str | None = None,
) -> Promotion:
    """Make a model the champion, where it beats the champion and every baseline.

    What lacks for that is trained, as ordinary runs.

    Args:
        what: A study, whose winner is the candidate; or a run by id or name, or several that differ
            in their seed alone.
        measure: Measure that decides; None for F1 at the chosen threshold, or NDCG at 10 where the
            data list likes alone.
        on: Part that is compared on.
        guards: Guard-rail to its margin, as {"coverage": 0.2}; None leaves it out.
        seeds: Least number of seeds that a model with randomness is run with on each split.
        splits: Number of splits of the same rule that it is compared on, where that is random.
        workers: Processes that train; None for one a core. A worker imports the main module: what a
            script does belongs under `if __name__ == "__main__":`.
        yes: Train also where that takes more than ten minutes.
        force: Promote also where the rule is not met.
        reason: Reason that is kept with the decision; force needs one.
        name: Name of the registered model.
        experiment: Name of the MLflow experiment.
        tracking_uri: MLflow's tracking URI; None for MLFLOW_TRACKING_URI, else that of the home
            folder.

    Raises:
        RecsweepError: What a user can mend; the champion is the one it was.
    """
    from recsweep.promotion.decide import PromotionOptions
    from recsweep.promotion.decide import promote as promoted
    from recsweep.promotion.rule import Rule

    run_ids, study_name = asked_for(what)
    return Promotion(
        promoted(
            PromotionOptions(
                tracking=TrackingOptions(uri=tracking_uri, experiment=experiment),
                runs=run_ids,
                study=study_name,
                name=name,
                rule=Rule(measure=measure, part=on, guards=guards or {}),
                seeds=seeds,
                splits=splits,
                workers=workers,
                confirmed=yes,
                force=force,
                reason=reason,
            ),
            conf_dir(),
        )
    )
