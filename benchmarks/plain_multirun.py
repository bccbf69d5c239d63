"""The grid of `grid18` as one writes it without recsweep: a Hydra application with a training loop
of PyTorch, and hydra-joblib-launcher for its trials: what multirun.py runs.

    .venv-bench/bin/python benchmarks/plain_multirun.py -m cells=/tmp/cells.npz
    user_dim=10,15,20 item_dim=15,20,25 hidden_dim=64,128 hydra.launcher.n_jobs=2 [tracking=URI]

Each trial trains three epochs with fused Adam on one thread and, after each, measures the
validation part: average precision, MSE, and F1 and accuracy at 0.5. With `tracking` it logs these,
its settings and its weights to MLflow.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hydra
import numpy as np
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig


@dataclass
class Settings:
    """Settings of a trial; `cells` is a file of the training and validation cells."""

    cells: str
    tracking: str | None = None
    user_dim: int = 15
    item_dim: int = 25
    hidden_dim: int = 128
    epochs: int = 3
    batch_size: int = 256
    seed: int = 0
    defaults: list[Any] = field(
        default_factory=lambda: [{"override hydra/launcher": "joblib"}, "_self_"]
    )


ConfigStore.instance().store("config", Settings)


@hydra.main(config_path=None, config_name="config", version_base="1.3")
def main(settings: Settings) -> float:
    if settings.tracking is None:
        return train(settings, lambda epoch, measured: None)
    import mlflow
    import torch

    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    mlflow.set_tracking_uri(settings.tracking)
    mlflow.set_experiment("grid18")
    with (
        mlflow.start_run(run_name=HydraConfig.get().job.override_dirname),
        TemporaryDirectory() as folder,
    ):
        mlflow.log_params(dict(settings))
        weights: dict[str, Any] = {}
        best = train(
            settings, lambda epoch, measured: mlflow.log_metrics(measured, step=epoch), weights
        )
        torch.save(weights, Path(folder) / "weights.pt")
        mlflow.log_artifact(str(Path(folder) / "weights.pt"))
    return best


def train(
    settings: Settings,
    log: Callable[[int, dict[str, float]], None],
    weights: dict[str, Any] | None = None,
) -> float:
    """Average precision after the last epoch; the last weights are put into `weights`."""
    import torch
    from sklearn.metrics import accuracy_score, average_precision_score, f1_score

    torch.set_num_threads(1)
    torch.manual_seed(settings.seed)
    cells = np.load(settings.cells)

    def part(name: str) -> list[torch.Tensor]:
        kinds = {"users": np.int64, "items": np.int64, "targets": np.float32}
        return [
            torch.from_numpy(cells[f"{name}_{key}"].astype(kind)) for key, kind in kinds.items()
        ]

    training, (users, items, targets) = part("train"), part("validation")

    class RecipeNet(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.users = torch.nn.Embedding(int(cells["num_users"]), settings.user_dim)
            self.items = torch.nn.Embedding(int(cells["num_items"]), settings.item_dim)
            self.hidden = torch.nn.Linear(
                settings.user_dim + settings.item_dim, settings.hidden_dim
            )
            self.output = torch.nn.Linear(settings.hidden_dim, 1)

        def forward(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
            both = torch.cat([self.users(users), self.items(items)], dim=1)
            return self.output(torch.relu(self.hidden(both))).squeeze(1)

    net = RecipeNet()
    adam = torch.optim.Adam(net.parameters(), lr=1e-3, eps=1e-7, fused=True)
    for epoch in range(1, settings.epochs + 1):
        order = torch.randperm(len(training[0]))
        shuffled = (array[order].split(settings.batch_size) for array in training)
        for batch_users, batch_items, batch_targets in zip(*shuffled, strict=True):
            adam.zero_grad(set_to_none=True)
            loss = torch.nn.functional.mse_loss(net(batch_users, batch_items), batch_targets)
            loss.backward()
            adam.step()
        with torch.inference_mode():
            batches = zip(users.split(8192), items.split(8192), strict=True)
            scores = torch.cat([net(*batch) for batch in batches]).numpy()
        measured = {
            "average_precision": float(average_precision_score(targets, scores)),
            "mse": float(np.mean((scores - targets.numpy()) ** 2)),
            "f1": float(f1_score(targets, scores >= 0.5)),
            "accuracy": float(accuracy_score(targets, scores >= 0.5)),
        }
        log(epoch, measured)
    if weights is not None:
        weights.update(net.state_dict())
    return measured["average_precision"]


if __name__ == "__main__":
    main()
