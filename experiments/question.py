"""python experiments/question.py data=foodcom data.path=RAW_interactions.csv

Question: does a small deep network beat the simple models on the test part, over seeds and over
random splits? Budget: three nets x 5 seeds x 3 splits; each kind of baseline, tuned on the first
split's validation part by the grids that `recsweep promote` uses, once a split, or with as many
seeds where a seed changes it.

    --seeds 5          of each net on each split
    --splits 3         seeds of the split: 0, 1, 2
    name=value         settings, as of train.py

Every fit is an ordinary run of the MLflow experiment `question NAME`, with the test part evaluated;
what is there already is not trained again. Then: recsweep compare --experiment "question foodcom"
"""

import argparse
from collections.abc import Iterator, Sequence
from itertools import product

from omegaconf import DictConfig, open_dict

from recsweep import pipeline
from recsweep.config import build, composed
from recsweep.errors import TrackingError
from recsweep.promotion.grids import GRIDS
from recsweep.tracking import TrackingOptions, finished_runs

NETS = {
    "the original": ("loss=mse", "trainer.max_epochs=20", "trainer.keep=last"),
    "cross-entropy, best epoch": (
        "loss=bce",
        "trainer.max_epochs=60",
        "trainer.patience=8",
        "trainer.keep=best",
    ),
    "found by the search": (
        "loss=mse",
        "model.user_dim=41",
        "model.item_dim=41",
        "model.hidden_dim=102",
        "optimizer.lr=0.0003567",
        "optimizer.weight_decay=3.64e-5",
        "trainer.batch_size=1024",
        "trainer.max_epochs=10",
    ),
}
"""The original's settings; the same net as cross-entropy is best trained; and the winner of
experiments/search.yaml on Food.com, 60 trials by the first split's validation part.
"""

OBJECTIVE = "validation/average_precision"


def wanted(seeds: int, splits: int) -> Iterator[tuple[str, list[str]]]:
    """A name and the settings of each net's run, split by split."""
    for split in range(splits):
        for net, settings in NETS.items():
            for seed in range(seeds):
                yield f"{net}/{split}/{seed}", [*settings, f"split.seed={split}", f"seed={seed}"]


class Store:
    """Trains what the store lacks.

    Args:
        overrides: Settings of the command line.
    """

    def __init__(self, overrides: Sequence[str]) -> None:
        self._overrides = list(overrides)
        name = self._composed([]).data.name
        self.experiment = f"question {name}"

    def _composed(self, settings: Sequence[str]) -> DictConfig:
        return composed([*settings, *self._overrides])

    def there(self) -> dict[str, float]:
        """The objective of each finished run, by its name."""
        tracking = self._composed([]).tracking
        try:
            found = finished_runs(TrackingOptions(uri=tracking.uri, experiment=self.experiment))
        except TrackingError:
            return {}
        return {each.tags["question"]: each.metrics[OBJECTIVE] for each in found}

    def train(self, name: str, settings: Sequence[str], *, test: bool = True) -> None:
        cfg = self._composed([*settings, f"evaluation.test={str(test).lower()}"])
        cfg.tracking.experiment = self.experiment
        with open_dict(cfg):
            cfg.tags = {"question": name}
        outcome = pipeline.run(cfg)
        print(f"{name:44}{outcome.metrics[OBJECTIVE]:.4f} on validation", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--splits", type=int, default=3)
    options, overrides = parser.parse_known_args()
    store = Store(overrides)
    there = store.there()
    grids = {
        option: [
            [f"model={option}", *(f"model.{name}={value}" for name, value in settings.items())]
            for settings in grid
        ]
        for option, grid in GRIDS.items()
    }
    for grid in grids.values():
        for settings in grid:
            if (name := " ".join(settings)) not in there:
                store.train(name, [*settings, "split.seed=0"], test=False)
    there = store.there()
    best = [max(grid, key=lambda settings: there[" ".join(settings)]) for grid in grids.values()]
    fits = []
    for settings in best:
        seeds = options.seeds if build(composed(settings), "model").is_random else 1
        for split, seed in product(range(options.splits), range(seeds)):
            name = f"{' '.join(settings)}/{split}" + (f"/{seed}" if seed else "")
            fits.append((name, [*settings, f"split.seed={split}", f"seed={seed}"]))
    for name, settings in [*fits, *wanted(options.seeds, options.splits)]:
        if name not in there:
            store.train(name, settings)
    print(f'Compare them with: recsweep compare --experiment "{store.experiment}"')


if __name__ == "__main__":
    main()
