"""Write what the live figures of the site show, from the ledger and MNIST, into site/extra/live/data.

`make book` runs it: python tools/live.py
"""

import base64
import json
import os
import pathlib

os.environ.setdefault("KERAS_BACKEND", "numpy")  # which starts in a second

import keras
import numpy as np

import nets
from nets import files, ledger

DATA = pathlib.Path(__file__).resolve().parent.parent / "site" / "extra" / "live" / "data"
SAMPLES = 5  # test digits of each kind to try the network on


def recorded(names, suffix):
    """The first of these records that has such a file, and the file."""
    paths = {name: ledger.directory() / f"{name}{suffix}" for name in names}
    return next((name, path) for name, path in paths.items() if path.exists())


def trained_network():
    """The network that reads what is drawn, its record's name, and the test accuracy it ended with."""
    name, path = recorded(["expanded", "relu"], ".weights.h5")
    network = keras.Sequential(
        [
            keras.layers.Rescaling(1 / 256),
            nets.ConvPool(20, activation="relu"),
            nets.ConvPool(40, activation="relu"),
            nets.FullyConnected(100, "relu"),
            nets.Softmax(10),
        ]
    )
    network.build((None, 28, 28, 1))
    network.load_weights(path)
    run = json.loads((ledger.directory() / f"{name}.json").read_text())["runs"][0]
    return network, name, run["test_accuracy"][-1]


def weights(network, record, accuracy, precision="float16"):
    """A trained network: the shapes of its arrays, and all their numbers in a row."""
    arrays = network.get_weights()
    numbers = np.concatenate([array.ravel() for array in arrays]).astype(precision)
    return {"record": record, "accuracy": accuracy, "precision": precision,
            "shapes": [array.shape for array in arrays], "numbers": base64_of(numbers)}


def samples(test):
    """The first test digits of each kind, ordered by kind."""
    chosen = [index for digit in range(10) for index in np.flatnonzero(test.labels == digit)[:SAMPLES]]
    return {"each": SAMPLES, "images": base64_of(test.images[chosen])}


def field(image, network, record):
    """The digit of the introduction, and the longest filter of a trained network."""
    kernels = network.layers[1].get_weights()[0][:, :, 0]  # (5, 5, 20)
    longest = int((kernels**2).sum(axis=(0, 1)).argmax())
    return {"image": base64_of(image), "record": record, "filter": longest,
            "learned": kernels[..., longest].ravel().tolist()}


def errors(test):
    """The test digits that the vote of the page on ensembles misreads, with each network's answer.

    `sure` holds the probability that each network gave to its answer, where the ledger has it.
    """
    name, path = recorded(["dropout", "relu"], ".predictions.npz")
    stored = files.load_arrays(path)
    runs = [stored[seed] for seed in sorted(stored, key=int)]  # probabilities, or only the answers
    answers = np.array([run if run.ndim == 1 else run.argmax(axis=-1) for run in runs], int)
    voted = nets.vote(answers)
    wrong = np.flatnonzero(voted != test.labels)
    digits = [{"index": int(i), "label": int(test.labels[i]), "vote": int(voted[i]),
               "answers": answers[:, i].tolist(),
               "sure": [None if run.ndim == 1 else round(float(run[i].max()), 4) for run in runs]}
              for i in wrong]
    return {"record": name, "digits": digits, "images": base64_of(test.images[wrong])}


def base64_of(array):
    return base64.b64encode(array.tobytes()).decode()


def write(folder=DATA, precision="float16"):
    """Write the four scripts into this folder."""
    mnist = nets.load_mnist()
    network, record, accuracy = trained_network()
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in (("weights", weights(network, record, accuracy, precision)),
                       ("samples", samples(mnist.test)),
                       ("field", field(mnist.train.images[91], network, record)),
                       ("errors", errors(mnist.test))):
        (folder / f"{name}.js").write_text(f"readingDigits.data.{name} = {json.dumps(data)};\n")


if __name__ == "__main__":
    write()
