"""Small trainings that tests run here and in processes of their own.

    python experiments.py two_epochs together_or_alone   prints the numbers of both, as JSON
    python experiments.py killed FOLDER                  trains, with its ledger in FOLDER, until killed
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
from unittest import mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import keras  # noqa: E402
import numpy as np  # noqa: E402

import nets  # noqa: E402
from nets import groups, ledger, machine, runs  # noqa: E402


def sequential(*layers):
    return keras.Sequential([keras.layers.Rescaling(1 / 256), *layers])


def first(train, rest):
    """The first images of each part of MNIST."""
    return nets.Dataset(*(nets.Examples(part.images[:n], part.labels[:n])
                        for part, n in zip(nets.load_mnist(), (train, rest, rest))))


def start(*arguments, backend, compiled):
    """Start this program in a process of its own. XLA writes what it compiles to the folder `compiled`."""
    return subprocess.Popen([sys.executable, __file__, *map(str, arguments)],
                            env={**os.environ, "NETS_MODE": "full", "KERAS_BACKEND": backend,
                                 "XLA_FLAGS": f"--xla_dump_to={compiled} --xla_dump_hlo_as_text"},
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def compilations(folder):
    """How often XLA compiled an epoch and a classification, by what it wrote to this folder."""
    modules = [path.name for path in folder.glob("*.before_optimizations.txt")]
    return [sum(name in module for module in modules) for name in ("epoch", "classify")]


# ---- both backends ----


def numpy_start(network, seed):
    """Starting weights that are the same on every backend."""
    rng = np.random.default_rng(seed)
    return ([rng.normal(0, 0.2, variable.shape).astype("float32")
             for variable in network.trainable_variables], [])


def two_epochs():
    """Losses of two epochs on 2,000 images, from `numpy_start`."""
    network = sequential(nets.ConvPool(4, activation="relu"), nets.FullyConnected(20), nets.Softmax(10))
    with mock.patch.object(runs, "starting_point", numpy_start):
        result = nets.train(network, first(2000, 100), epochs=2, mini_batch_size=10,
                            learning_rate=0.1, l2=0.1)
    return result.runs[0]["loss"]


def with_dropout():
    return sequential(nets.FullyConnected(20, dropout=0.2), nets.Softmax(10, dropout=0.5))


def with_batch_normalization():
    return sequential(nets.ConvPool(3, strides=2, activation="relu", normalize=True),
                      keras.layers.Flatten(), keras.layers.Dense(10, "softmax"))


def together_or_alone():
    """For two networks: three runs in one vectorised call, and the same three one by one."""
    digits, numbers = first(300, 100), {}
    for make in (with_dropout, with_batch_normalization):
        numbers[make.__name__] = {}
        for way, accelerator in (("together", True), ("alone", False)):
            with mock.patch.multiple(machine, has_accelerator=lambda yes=accelerator: yes,
                                     device=lambda: "a test"):
                runs = nets.train(make(), digits, epochs=3, mini_batch_size=10, learning_rate=0.3,
                                  runs=3).runs
            numbers[make.__name__][way] = {
                "size": [run["together"] for run in runs], "loss": [run["loss"] for run in runs],
                "accuracy": [run["validation_accuracy"] for run in runs]}
    return numbers


def moving_statistics():
    """Moving mean and variance of the first of two runs, trained in one vectorised call and one by one."""
    numbers, layers = {}, keras.layers
    for way, accelerator in (("together", True), ("alone", False)):
        normalization = layers.BatchNormalization(momentum=0.9)
        network = sequential(layers.Flatten(), normalization, nets.Softmax(10))
        with mock.patch.multiple(machine, has_accelerator=lambda yes=accelerator: yes,
                                 device=lambda: "a test"):
            nets.train(network, first(300, 100), epochs=2, mini_batch_size=10, learning_rate=0.1, runs=2)
        numbers[way] = [np.asarray(statistic).tolist() for statistic in
                        (normalization.moving_mean, normalization.moving_variance)]
    return numbers


# ---- optimizers, constraints, precision ----

OPTIMIZERS = {
    "momentum": lambda: keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    "adam": lambda: keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(0.01, 100),
                                           weight_decay=0.05, clipnorm=1.0),
}


def optimized():
    """Three runs with each optimizer from `numpy_start`, in one vectorised call and one by one."""
    numbers = {}
    for name, make in OPTIMIZERS.items():
        numbers[name] = {}
        for way, accelerator in (("together", True), ("alone", False)):
            with (mock.patch.multiple(machine, has_accelerator=lambda yes=accelerator: yes,
                                      device=lambda: "a test"),
                  mock.patch.object(runs, "starting_point", numpy_start)):
                network = sequential(nets.ConvPool(2, activation="relu"), nets.Softmax(10))
                numbers[name][way] = nets.train(network, first(300, 100), epochs=2, mini_batch_size=10,
                                                optimizer=make(), l2=0.1, runs=3).runs
    return numbers


POLICIES = ("float32", "float64", "float16", "bfloat16", "mixed_float16", "mixed_bfloat16")
PRECISE = [*((policy, None) for policy in POLICIES), ("float32", "momentum"), ("bfloat16", "momentum")]


def precise():
    """Losses with each of Keras' policies, or the first words of the error; with an optimizer, too."""
    numbers = {}
    for policy, optimizer in PRECISE:
        layers = [keras.layers.Rescaling(1 / 256, dtype=policy),
                  nets.ConvPool(2, pool="l2", activation="tanh", dtype=policy),
                  nets.FullyConnected(20, "tanh", 0.2, dtype=policy), nets.Softmax(10, dtype=policy)]
        way = {"optimizer": OPTIMIZERS[optimizer]()} if optimizer else {"learning_rate": 0.5}
        try:
            result = nets.train(keras.Sequential(layers), first(500, 100), epochs=2, mini_batch_size=10,
                                l2=0.01, **way)
            numbers[f"{policy} {optimizer}"] = result.runs[0]["loss"]
        except ValueError as error:
            numbers[f"{policy} {optimizer}"] = str(error)
    return numbers


# ---- interruption ----


def long_training(optimizer=None):
    way = {"optimizer": OPTIMIZERS[optimizer]()} if optimizer else {"learning_rate": 0.3}
    return nets.train(with_dropout(), first(300, 100), name="long", epochs=4, mini_batch_size=10, runs=2,
                      **way)


def killed(folder, *optimizer):
    """`long_training`, killed when the checkpoint of run 0's third epoch is written but not in place."""
    ledger.HOME, replace, saved = pathlib.Path(folder), os.replace, []
    groups.SAVING = float("inf")  # each epoch

    def deadly_replace(source, target):
        if str(target).endswith("-0.npz"):
            saved.append(target)
        if len(saved) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    os.replace = deadly_replace
    long_training(*optimizer)


if __name__ == "__main__":
    if sys.argv[1] == "killed":
        killed(*sys.argv[2:])
    else:
        print(json.dumps({name: globals()[name]() for name in sys.argv[1:]}))
