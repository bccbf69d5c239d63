"""How the time of `grid18` grows with its trials, and with the cells that each of them learns from.

    python benchmarks/growth.py [name=value ...] [--trials 1 2 4 9 18 36]
    [--cells 1e5 3e5 1e6 3e6 1e7] [--trials-of-cells 2]

Each line is the command `python train.py -cd experiments -cn grid18` on synthetic data with other
lists, from its start to its leaderboard, in a home of its own and with a worker on each core: three
epochs a trial, of 70 % of the cells. Other numbers of trials than 18 are parts of its grid, with a
hidden layer of 96 where only one width is tried; 36 are the 18 with both losses. `a trial` is the
seconds over the trials. Below each table stands the line of least squares through its seconds: what
there is beside the trials, and what one more trial, or a million more cells in each, adds.
Settings, as trainer.max_epochs=1, are those of train.py.
"""

import argparse
import math
import sys

import numpy as np

from multirun import timed
from recsweep.processes import cores
from recsweep.scratch import scratch_folder

GRIDS = {
    1: ("15", "20", "96", "mse"),
    2: ("15", "20", "64,128", "mse"),
    4: ("10,20", "20", "64,128", "mse"),
    9: ("10,15,20", "15,20,25", "96", "mse"),
    18: ("10,15,20", "15,20,25", "64,128", "mse"),
    36: ("10,15,20", "15,20,25", "64,128", "mse,bce"),
}
"""Lists of user_dim, item_dim, hidden_dim and loss, by the number of their combinations."""

HEADINGS = f"{'seconds':>10}{'a trial':>10}{'cpu':>10}"


def study(trials: int, side: int, overrides: list[str]) -> tuple[float, float]:
    """Wall and processor seconds of the command."""
    names = ("model.user_dim", "model.item_dim", "model.hidden_dim", "loss")
    lists = [f"{name}={values}" for name, values in zip(names, GRIDS[trials], strict=True)]
    size = [f"data.num_users={side}", f"data.num_items={side}"]
    command = [sys.executable, "train.py", "-cd", "experiments", "-cn", "grid18"]
    with scratch_folder() as home:
        return timed([*command, *lists, *size, *overrides], home)


def line(xs: list[float], ys: list[float]) -> tuple[float, float]:
    """Intercept and slope."""
    slope, intercept = np.polyfit(xs, ys, 1)
    return float(intercept), float(slope)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, nargs="*", choices=GRIDS, default=list(GRIDS))
    parser.add_argument("--cells", type=float, nargs="*", default=[1e5, 3e5, 1e6, 3e6, 1e7])
    parser.add_argument("--trials-of-cells", type=int, choices=GRIDS, default=2)
    options, overrides = parser.parse_known_args()
    print(f"{cores()} workers, one round")
    if options.trials:
        print(f"{'trials, of 1,000,000 cells':<30}{HEADINGS}")
        walls = []
        for trials in options.trials:
            wall, cpu = study(trials, 1000, overrides)
            walls.append(wall)
            print(f"{trials:<30}{wall:>10.1f}{wall / trials:>10.2f}{cpu:>10.1f}", flush=True)
        if len(walls) > 1:
            fixed, slope = line(options.trials, walls)
            print(f"{fixed:.1f} s, and {slope:.2f} s a trial")
    if options.cells:
        print(f"{f'cells, {options.trials_of_cells} trials':<30}{HEADINGS}")
        walls, millions = [], []
        for cells in options.cells:
            side = math.isqrt(round(cells))
            wall, cpu = study(options.trials_of_cells, side, overrides)
            walls.append(wall)
            millions.append(side * side / 1e6)
            each = wall / options.trials_of_cells
            print(f"{side * side:<30,}{wall:>10.1f}{each:>10.2f}{cpu:>10.1f}", flush=True)
        if len(walls) > 1:
            fixed, slope = line(millions, walls)
            print(f"{fixed:.1f} s, and {slope:.2f} s a million cells")


if __name__ == "__main__":
    main()
