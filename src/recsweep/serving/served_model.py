"""The one file of code in a logged model: MLflow runs it on loading, to serve the model by itself.

A request that can't be answered is refused with HTTP status 400 and one sentence, in front of which
MLflow's scoring server puts the request.
"""

from pathlib import Path
from typing import cast

from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from recsweep.errors import RecsweepError
from recsweep.serving import EXAMPLE, RecommenderService
from recsweep.serving.messages import Ranking, Request, answer


class ServedModel(PythonModel):
    """The service as MLflow runs it, which reads its schema off the annotations of `predict`."""

    def load_context(self, context: PythonModelContext) -> None:
        self.service = RecommenderService.load(Path(context.artifacts["model"]))

    def predict(self, model_input: list[Request]) -> list[Ranking]:  # type: ignore[override]
        """One answer a request; a request that can't be answered refuses all, as the schema of
        an answer holds nothing else."""
        if not model_input:
            raise MlflowException.invalid_parameter_value(
                f"The list of requests is empty. Send {EXAMPLE}."
            )
        try:
            queries = [request.query(self.service.default_k) for request in model_input]
            recommendations = self.service.recommend(queries)
        except RecsweepError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error
        answers = [answer(*pair) for pair in zip(queries, recommendations, strict=True)]
        return cast("list[Ranking]", answers)  # as plain values, which MLflow writes as JSON


set_model(ServedModel())
