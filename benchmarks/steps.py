"""Time of one training step: `nets.train` against what a reader would use instead.

    make benchmark            all rows, each in a process of its own; writes benchmarks/results.json

Every row trains the same network on the same images with mini-batches of ten and plain gradient
descent. `fit` is Keras' own loop with Keras' own layers; `nets.train` is the compiled epoch of
nets/training.py, with one run, or two side by side in threads (then a step is half a pair of steps).
A figure is the least of five measurements. Compare within one results.json only: machines differ.
"""

import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys
import time

RESULTS = pathlib.Path(__file__).with_name("results.json")
HOWS = [("fit", "tensorflow", 1), ("fit", "jax", 1), ("nets.train", "tensorflow", 1),
        ("nets.train", "jax", 1), ("nets.train", "tensorflow", 2), ("nets.train", "jax", 2)]
STEPS = {"shallow": 5000, "two-conv-pool": 1000, "dropout": 200}


def keras_layers(network):
    from keras import layers
    convolutions = [layers.Conv2D(20, 5, activation="relu"), layers.MaxPooling2D(),
                    layers.Conv2D(40, 5, activation="relu"), layers.MaxPooling2D(), layers.Flatten()]
    return {
        "shallow": [layers.Flatten(), layers.Dense(100, "sigmoid")],
        "two-conv-pool": [*convolutions, layers.Dense(100, "relu")],
        "dropout": [*convolutions, layers.Dropout(0.5), layers.Dense(1000, "relu"), layers.Dropout(0.5),
                    layers.Dense(1000, "relu"), layers.Dropout(0.5)],
    }[network] + [layers.Dense(10, "softmax")]


def nets_layers(network):
    import nets
    convolutions = [nets.ConvPool(20, activation="relu"), nets.ConvPool(40, activation="relu")]
    return {
        "shallow": [nets.FullyConnected(100), nets.Softmax(10)],
        "two-conv-pool": [*convolutions, nets.FullyConnected(100, "relu"), nets.Softmax(10)],
        "dropout": [*convolutions, nets.FullyConnected(1000, "relu", dropout=0.5),
                    nets.FullyConnected(1000, "relu", dropout=0.5), nets.Softmax(10, dropout=0.5)],
    }[network]


def measure(network, how, runs):
    """Milliseconds a step, in this process."""
    import keras

    import nets
    from nets import training
    train, steps = nets.load_mnist().train, STEPS[network]
    start = [keras.Input((28, 28, 1)), keras.layers.Rescaling(1 / 256)]
    if how == "fit":
        steps = max(100, steps // 4)
        model = keras.Sequential(start + keras_layers(network))
        model.compile(keras.optimizers.SGD(0.03), "sparse_categorical_crossentropy")
        images, labels = (array[:10 * steps] for array in train)

        def run():
            model.fit(images, labels, batch_size=10, verbose=0)
    else:
        import concurrent.futures

        import numpy as np
        from keras import ops
        model = keras.Sequential(start + nets_layers(network))
        epoch, _ = training.compile_training(model, 0.0, several=False)
        arrays = [[ops.convert_to_tensor(a) for a in part] for part in training.starting_point(model, 0)]
        order = training.mini_batches(len(train.labels), 10, seed=0, epoch=0)
        arguments = [*map(ops.convert_to_tensor, (*train, order)), ops.convert_to_tensor(steps, "int32"),
                     ops.convert_to_tensor(0.03, "float32")]
        pool = concurrent.futures.ThreadPoolExecutor(runs)

        def run():
            futures = [pool.submit(lambda: np.asarray(epoch(*arrays, *arguments)[2])) for _ in range(runs)]
            concurrent.futures.wait(futures)
    run()
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return 1000 * min(seconds) / steps / runs


def main():
    from nets import ledger
    rows = []
    print(f"{ledger.device()}; milliseconds a step (and times the first row of the network)")
    for network in STEPS:
        for how, backend, runs in HOWS:
            output = subprocess.run([sys.executable, __file__, network, how, str(runs)], check=True,
                                    text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                    env={**os.environ, "KERAS_BACKEND": backend}).stdout
            rows.append({"network": network, "how": f"{how} {backend}", "runs": runs,
                         "ms_per_step": round(float(output.split()[-1]), 4)})
            first = next(row for row in rows if row["network"] == network)["ms_per_step"]
            print("{network:14} {how:22} {runs} at once {ms_per_step:8.3f}".format(**rows[-1]),
                  f"  {first / rows[-1]['ms_per_step']:5.1f} x", flush=True)
    versions = {name: importlib.metadata.version(name) for name in ("keras", "tensorflow", "jax", "numpy")}
    results = {"machine": ledger.device(), "versions": versions, "rows": rows}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(measure(sys.argv[1], sys.argv[2], int(sys.argv[3])))
    else:
        main()
