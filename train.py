"""Train what the config describes: `python train.py model=recipe_net data=foodcom
data.path=RAW_interactions.csv`."""

import hydra
from omegaconf import DictConfig

from recsweep.logs import mask_terminal


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> None:
    from recsweep.cli import train

    train(cfg)


if __name__ == "__main__":
    mask_terminal()
    main()
