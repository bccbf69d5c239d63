"""What is asked of a served model and what it answers, as JSON holds it: one shape everywhere."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WrapValidator

from recsweep.errors import DataError
from recsweep.serving.service import Query, Recommendation

WANTED = {
    "user_id": 'a text, as "2312"',
    "history": 'a list of texts, as ["2886"]',
    "k": "a whole number, as 10",
    "features": 'names with values, as {"age": 25, "gender": "F"}',
}
"""What each field of a request holds, in words."""


Value = str | int | float | bool | None
"""A value of a feature; several stand in a list."""


@dataclass(frozen=True)
class _Wrong:
    """A value of the wrong type, kept until `query` can say so in a sentence of its own."""

    value: Any


def _shown(value: Any) -> str:
    try:
        return f"{value!r:.60}"
    except RecursionError:
        return "something nested so deeply"


def _keep_wrong(value: Any, validate: Callable[[Any], Any]) -> Any:
    try:
        return validate(value)
    except ValidationError:
        return _Wrong(value)


class Request(BaseModel):
    """Who asks, and for how many items."""

    model_config = ConfigDict(strict=True, extra="allow")

    user_id: Annotated[
        str | None,
        WrapValidator(_keep_wrong),
        Field(
            description=(
                "Raw id, as text also where the data's ids are numbers: 3 and 3.0 are the same "
                "number, 007 is another text. One that is unknown gets the most popular items; one "
                "whom the model was not trained on is ranked by the likes that are known."
            )
        ),
    ] = None
    history: Annotated[
        list[str] | None,
        WrapValidator(_keep_wrong),
        Field(
            description=(
                "Raw ids of items that somebody new liked, as text. Those that are unknown are "
                "skipped and named in the answer. A known user is ranked by their own scores; the "
                "history is then only left out."
            )
        ),
    ] = None
    k: Annotated[
        int | None,
        WrapValidator(_keep_wrong),
        Field(
            description=(
                "Length of the list, at most the size of the catalogue. 10 unless told, or the "
                "catalogue where that is less."
            )
        ),
    ] = None

    features: Annotated[
        dict[str, Value | list[Value]] | None,
        WrapValidator(_keep_wrong),
        Field(
            description=(
                "What is known of somebody new beside a history, by the columns of the features of "
                "users that the model has learnt from. Without a history they are ranked by it "
                "alone. Of a known user it changes nothing."
            )
        ),
    ] = None

    @classmethod
    def read(cls, content: dict[str, Any]) -> "Request":
        """Raise DataError where no request can be made of an object's names."""
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise DataError(
                f"A request has the fields {', '.join(WANTED)}, and no name that is not Unicode."
            ) from error

    def query(self, default_k: int) -> Query:
        """The request as the service takes it; DataError where it holds what no request does."""
        for name, wanted in WANTED.items():
            if isinstance(value := getattr(self, name), _Wrong):
                raise DataError(f"{name} must be {wanted}, not {_shown(value.value)}.")
        if self.model_extra:
            raise DataError(
                f"A request has the fields {', '.join(WANTED)}, and not "
                f"{next(iter(self.model_extra))!r:.60}."
            )
        k = default_k if self.k is None else self.k
        return Query(self.user_id, self.history, k, self.features)


class Ranking(BaseModel):
    """Unseen items, best first."""

    user_id: str | None = Field(None, description="Raw id of who asked.")
    item_ids: list[str] = Field(description="Raw ids, as text.")
    titles: list[str | None] | None = Field(
        None,
        description=(
            "Titles of the items, null where one is unknown; left away where the model's data have "
            "no titles."
        ),
    )
    scores: list[float] = Field(
        description=("They order the items of this answer and mean nothing beside another.")
    )
    fallback: str | None = Field(
        None,
        description=(
            "Why these are the most popular items and not the model's choice; null where they are "
            "the model's."
        ),
    )
    unknown_items: list[str] = Field(description="Items of the history that the catalogue lacks.")


def _text(*, required: bool = False) -> dict[str, Any]:
    return {"type": "string", "required": required}


def _array(of: str, *, required: bool = False) -> dict[str, Any]:
    return {"type": "array", "items": {"type": of}, "required": required}


def _object(properties: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"type": "object", "properties": properties, "required": True}]


SIGNATURE = {
    "inputs": _object(
        {
            "features": {"type": "map", "values": {"type": "any"}, "required": False},
            "history": _array("string"),
            "k": {"type": "long", "required": False},
            "user_id": _text(),
        }
    ),
    "outputs": _object(
        {
            "fallback": _text(),
            "item_ids": _array("string", required=True),
            "scores": _array("double", required=True),
            "titles": _array("string"),
            "unknown_items": _array("string", required=True),
            "user_id": _text(),
        }
    ),
}
"""A request and an answer in MLflow's types, as it reads them off these classes."""


class Mistake(BaseModel):
    """Stands in the place of a request that can't be answered, among others that are."""

    error: str = Field(description="One sentence: the rule, and the value that breaks it.")


class Answers(BaseModel):
    """One answer a request, in the order of the requests."""

    predictions: list[Ranking | Mistake]


class Refusal(BaseModel):
    """Why nothing was answered."""

    error_code: str
    message: str = Field(description="One sentence.")


def answer(query: Query, recommendation: Recommendation) -> dict[str, Any]:
    """A ranking as plain values, in the order of its fields."""
    ranking = Ranking(
        user_id=None if query.user_id is None else str(query.user_id),
        item_ids=[str(item) for item in recommendation.item_ids],
        titles=recommendation.titles,
        scores=recommendation.scores,
        fallback=recommendation.fallback,
        unknown_items=[str(item) for item in recommendation.unknown_items],
    )
    return ranking.model_dump(exclude={"titles"} if recommendation.titles is None else None)
