"""The one file of code in a logged model: MLflow runs it on loading, and it runs nothing but recsweep's own reader.

A request that can't be answered is refused with HTTP status 400 and one sentence, in front of which MLflow's scoring
server puts the request.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext
from pydantic import BaseModel, ConfigDict, ValidationError, WrapValidator

from recsweep.errors import RecsweepError
from recsweep.serving.service import EXAMPLE, Query, RecommenderService

WANTED = {"user_id": 'a text, as "2312"', "history": 'a list of texts, as ["2886"]', "k": "a whole number, as 10"}
"""What each field of a request holds, in words."""


@dataclass(frozen=True)
class _Wrong:
    """A value of the wrong type, kept until `predict` can say so: MLflow would bury what pydantic says of it."""

    value: Any


def _keep_wrong(value: Any, validate: Callable[[Any], Any]) -> Any:
    try:
        return validate(value)
    except ValidationError:
        return _Wrong(value)


class Request(BaseModel):
    """Who asks, and for how many items.

    Attributes:
        user_id: Raw id, as text also where the data's ids are numbers. One that is unknown gets the most popular items.
        history: Raw ids of items that somebody new liked, as text. Those that are unknown are skipped, and named in the
            answer. A known user is ranked by their own scores; the history is then only left out.
        k: Length of the list, at most the size of the catalogue. 10 unless told, or the catalogue where that is less.
    """

    model_config = ConfigDict(strict=True, extra="allow")

    user_id: Annotated[str | None, WrapValidator(_keep_wrong)] = None
    history: Annotated[list[str] | None, WrapValidator(_keep_wrong)] = None
    k: Annotated[int | None, WrapValidator(_keep_wrong)] = None

    def query(self, default_k: int) -> Query:
        """Raises MlflowException, which the scoring server answers with 400."""
        for name, wanted in WANTED.items():
            if isinstance(value := getattr(self, name), _Wrong):
                raise MlflowException.invalid_parameter_value(f"{name} must be {wanted}, not {value.value!r:.60}.")
        if self.model_extra:
            raise MlflowException.invalid_parameter_value(
                f"A request has the fields {', '.join(WANTED)}, and not {next(iter(self.model_extra))!r:.60}."
            )
        return Query(self.user_id, self.history, default_k if self.k is None else self.k)


class Ranking(BaseModel):
    """Unseen items, best first.

    Attributes:
        user_id: The request's.
        item_ids: Raw ids, as text.
        scores: They order the items of this answer and mean nothing beside another.
        fallback: Why these are the most popular items and not the model's choice; null where they are the model's.
        unknown_items: Items of the history that the catalogue lacks.
    """

    user_id: str | None = None
    item_ids: list[str]
    scores: list[float]
    fallback: str | None = None
    unknown_items: list[str]


class ServedModel(PythonModel):
    """MLflow reads the schema of a request and of an answer off the annotations of `predict`."""

    def load_context(self, context: PythonModelContext) -> None:
        self.service = RecommenderService.load(Path(context.artifacts["model"]))

    def predict(self, model_input: list[Request]) -> list[Ranking]:
        if not model_input:
            raise MlflowException.invalid_parameter_value(f"The list of requests is empty. Send {EXAMPLE}.")
        default_k = min(10, len(self.service.item_ids))
        queries = [each.query(default_k) for each in model_input]
        try:
            answers = self.service.recommend(queries)
        except RecsweepError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error
        return [
            Ranking(user_id=query.user_id, item_ids=list(map(str, each.item_ids)), scores=each.scores,
                    fallback=each.fallback, unknown_items=list(each.unknown_items)).model_dump()
            for query, each in zip(queries, answers, strict=True)
        ]


set_model(ServedModel())
