"""The one file of code in a logged model: MLflow runs it on loading, and it runs nothing but recsweep's own reader."""

from pathlib import Path

from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext
from pydantic import BaseModel

from recsweep.serving import RecommenderService


class Request(BaseModel):
    """Who asks, and for how many items (10 unless told)."""

    user_id: str
    k: int | None = None


class Ranking(BaseModel):
    """Unseen items, best first; a score orders items within one answer only."""

    user_id: str
    item_ids: list[str]
    scores: list[float]


class ServedModel(PythonModel):
    """MLflow reads the schema of a request and of an answer off the annotations of `predict`."""

    def load_context(self, context: PythonModelContext) -> None:
        self.service = RecommenderService.load(Path(context.artifacts["model"]))

    def predict(self, model_input: list[Request]) -> list[Ranking]:
        answers = []
        for request in model_input:
            ranked = self.service.recommend(request.user_id, 10 if request.k is None else request.k)
            items, scores = [str(item) for item, _ in ranked], [score for _, score in ranked]
            answers.append(Ranking(user_id=request.user_id, item_ids=items, scores=scores).model_dump())
        return answers


set_model(ServedModel())
