"""Seconds of one epoch of the recipe net 15/25/128 by Keras on TensorFlow, over cells that lie in a
file: what epoch.py runs.

    .venv-bench/bin/python benchmarks/keras_epoch.py CELLS.npz

MSE, Adam and batches of 256, as a Keras program is written first: `fit` on arrays, with its own
shuffling and as many threads as TensorFlow takes. A short fit goes before it, so that building the
graph isn't counted.
"""

import os
import sys
from time import perf_counter

import numpy as np

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras

BATCH = 256


def recipe_net(num_users: int, num_items: int) -> keras.Model:
    user, item = (keras.Input((), dtype="int32") for _ in range(2))
    vectors = [
        keras.layers.Embedding(num_users, 15)(user),
        keras.layers.Embedding(num_items, 25)(item),
    ]
    hidden = keras.layers.Dense(128, activation="relu")(keras.layers.Concatenate()(vectors))
    return keras.Model([user, item], keras.layers.Dense(1)(hidden))


def main() -> None:
    cells = np.load(sys.argv[1])
    users, items = cells["users"].astype(np.int32), cells["items"].astype(np.int32)
    targets = cells["targets"].astype(np.float32)
    net = recipe_net(int(users.max()) + 1, int(items.max()) + 1)
    net.compile(keras.optimizers.Adam(1e-3, epsilon=1e-7), keras.losses.MeanSquaredError())
    # one full batch and one as short as an epoch's last: a graph for each
    short = slice(0, BATCH + len(users) % BATCH)
    net.fit([users[short], items[short]], targets[short], batch_size=BATCH, verbose=0)
    start = perf_counter()
    net.fit([users, items], targets, batch_size=BATCH, verbose=0)
    print(perf_counter() - start)


if __name__ == "__main__":
    main()
