"""One measurement of `make benchmark`, in a process of its own: python benchmarks/measure.py SPEC

SPEC is a JSON object with the arguments of `step` or of `start` below, as benchmark.py lists them. For a
step, this process prepares it, says so with a line of JSON, and then measures once for each line it reads.
"""

import gzip
import json
import math
import os
import pathlib
import resource
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # its nets


class Stopwatch:
    """Seconds by the clock, and those that the process's threads computed, since `start`."""

    def start(self, *_):
        self.began = time.perf_counter(), time.process_time()

    def read(self):
        return time.perf_counter() - self.began[0], time.process_time() - self.began[1]


watch = Stopwatch()


def training_images(count):
    """(images, labels), over again from the first after 50,000. Read here, for PyTorch to need no Keras."""
    import numpy as np
    raw = (gzip.decompress((ROOT / "data" / "mnist" / f"train-{name}-ubyte.gz").read_bytes())
           for name in ("images-idx3", "labels-idx1"))
    images, labels = (np.frombuffer(part, np.uint8, offset=offset) for part, offset in zip(raw, (16, 8)))
    numbers = np.arange(count) % 50_000
    return images.reshape(-1, 28, 28, 1)[numbers], labels.astype("int32")[numbers]


# ---- networks ----


def nets_network(network, units, conv_pool=None):
    import keras

    import nets
    conv_pool = conv_pool or nets.ConvPool
    layers = {
        "shallow": lambda: [nets.FullyConnected(units)],
        "two-conv-pool": lambda: [conv_pool(20, activation="relu"), conv_pool(40, activation="relu"),
                                  nets.FullyConnected(units, "relu")],
        "dropout": lambda: [nets.ConvPool(20, activation="relu"), nets.ConvPool(40, activation="relu"),
                            nets.FullyConnected(1000, "relu", dropout=0.5),
                            nets.FullyConnected(1000, "relu", dropout=0.5)],
    }[network]()
    last = nets.Softmax(10, dropout=0.5 if network == "dropout" else 0.0)
    return keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Rescaling(1 / 256), *layers, last])


def keras_network(network, units):
    """The same of Keras' own layers, with the same starting weights."""
    import keras
    from keras.layers import Conv2D, Dense, Dropout, Flatten, MaxPooling2D

    from nets.runs import starting_point
    convolutions = [Conv2D(20, 5, activation="relu"), MaxPooling2D(),
                    Conv2D(40, 5, activation="relu"), MaxPooling2D(), Flatten()]
    layers = {
        "shallow": [Flatten(), Dense(units, "sigmoid")],
        "two-conv-pool": [*convolutions, Dense(units, "relu")],
        "dropout": [*convolutions, Dropout(0.5), Dense(1000, "relu"), Dropout(0.5), Dense(1000, "relu"),
                    Dropout(0.5)],
    }[network]
    model = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Rescaling(1 / 256), *layers,
                              Dense(10, "softmax")])
    model.set_weights(starting_point(nets_network(network, units), seed=0)[0])
    return model


def torch_network(network):
    """The same of PyTorch's layers, without the softmax, which its loss contains; pixels from 0 to 1."""
    from torch import nn
    convolutions = [nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2),
                    nn.Conv2d(20, 40, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    layers = {
        "shallow": [nn.Flatten(), nn.Linear(784, 100), nn.Sigmoid(), nn.Linear(100, 10)],
        "two-conv-pool": [*convolutions, nn.Linear(640, 100), nn.ReLU(), nn.Linear(100, 10)],
        "dropout": [*convolutions, nn.Dropout(), nn.Linear(640, 1000), nn.ReLU(), nn.Dropout(),
                    nn.Linear(1000, 1000), nn.ReLU(), nn.Dropout(), nn.Linear(1000, 10)],
    }[network]
    return nn.Sequential(*layers)


def batch_first():
    """ConvPool with the windows laid along the channels, the last axis, and the batch first."""
    from keras import ops

    import nets

    class BatchFirst(nets.ConvPool):
        def call(self, images):
            rows, columns = (n - self.kernel_size + 1 for n in images.shape[1:3])
            windows = ops.concatenate([images[:, i:i + rows, j:j + columns] for i in range(self.kernel_size)
                                       for j in range(self.kernel_size)], axis=-1)
            maps = ops.matmul(windows, ops.reshape(self.kernel, (-1, self.filters)))
            cells = ops.reshape(maps, (-1, rows // 2, 2, columns // 2, 2, self.filters))
            return self.activation(ops.max(cells, axis=(2, 4)) + self.bias)
    return BatchFirst


def products(network, mini_batch_size):
    """The matrix products of a step: for each layer (m, k, n), and whether the kernel is the left matrix.

    A convolution multiplies its kernel (m, k) by the windows (k, n), a fully connected layer its inputs
    (m, k) by its kernel (k, n). The first layer stands in front.
    """
    found = []
    for layer in network.layers:
        if layer.trainable_variables:
            *window, units = layer.kernel.shape
            if len(window) == 3:
                places = math.prod(layer.output.shape[1:-1]) * layer.pool_size**2
                found.append((units, math.prod(window), places * mini_batch_size, True))
            else:
                found.append((mini_batch_size, *window, units, False))
    return found


def mflop(shapes):
    """Millions of additions and multiplications: the forward product, the gradient of the kernel, and,
    but for the first layer, that of the inputs."""
    return sum(2 * (3 if i else 2) * math.prod(shape[:3]) for i, shape in enumerate(shapes)) / 1e6


# ---- ways to train; each gives a function that makes so many steps ----


def fit(network, digits, mini_batch_size, steps_per_execution):
    import keras
    network.compile(keras.optimizers.SGD(0.03), "sparse_categorical_crossentropy",
                    steps_per_execution=steps_per_execution)

    start = keras.callbacks.LambdaCallback(on_epoch_begin=watch.start)  # what comes before is once a call

    def run(steps):
        images, labels = (array[:mini_batch_size * steps] for array in digits)
        network.fit(images, labels, batch_size=mini_batch_size, verbose=0, callbacks=[start])
    return run


def nets_train(network, digits, mini_batch_size, runs):
    """As `nets.train`: on a CPU a thread a core, on a GPU or TPU all runs in one vectorised call."""
    import concurrent.futures

    from keras import ops

    import nets
    from nets import machine
    from nets.runs import Task, Trainer
    few = nets.Examples(*(array[:10] for array in digits))
    several = runs > 1 and machine.has_accelerator()
    data = nets.Dataset(nets.Examples(*digits), few, few)
    trainer = Trainer(Task(network, data, [0.03], mini_batch_size), several)
    groups = []
    for seeds in [range(runs)] if several else [[seed] for seed in range(runs)]:
        start = ([ops.convert_to_tensor(array) for array in arrays] for arrays in trainer.start(seeds))
        groups.append((*start, trainer.prepare(seeds, 0)))
    pool = concurrent.futures.ThreadPoolExecutor(1 if several else min(runs, machine.cores()))

    def run(steps):
        list(pool.map(lambda group: trainer.epoch(*group, 0, steps), groups))
    return run


def torch_loop(network, digits, mini_batch_size, compiled):
    import torch
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = torch_network(network).to(device)
    forward = torch.compile(network) if compiled else network
    optimizer = torch.optim.SGD(network.parameters(), 0.03)
    loss_of = torch.nn.CrossEntropyLoss()
    images = (torch.tensor(digits[0]).permute(0, 3, 1, 2) / 256).to(device)
    labels = torch.tensor(digits[1]).long().to(device)
    order = torch.randperm(len(labels), device=device).split(mini_batch_size)

    def run(steps):
        for batch in order[:steps]:
            optimizer.zero_grad()
            loss = loss_of(forward(images[batch]), labels[batch])
            loss.backward()
            optimizer.step()
        loss.item()
    return run


def matrix_products(shapes):
    """A compiled loop of nothing but these products (of zeros: other numbers take as long)."""
    import numpy as np
    from keras import ops

    from nets.epoch import compiled

    def body(_, pairs):
        after = []
        for i, (left, right) in enumerate(pairs):
            outputs, kernel_left = ops.matmul(left, right), shapes[i][3]
            after.append((ops.matmul(outputs, ops.transpose(right)) if kernel_left or i else left,
                          ops.matmul(ops.transpose(left), outputs) if not kernel_left or i else right))
        return after

    loop = compiled(lambda steps, pairs: ops.fori_loop(0, steps, body, pairs))
    pairs = [(ops.zeros((m, k)), ops.zeros((k, n))) for m, k, n, _ in shapes]
    return lambda steps: np.asarray(loop(ops.convert_to_tensor(steps, "int32"), pairs)[-1][0])


# ---- what benchmark.py asks for ----


def step(how, network, layers="nets", runs=1, mini_batch_size=10, images=50_000, units=100,
         steps_per_execution=1):
    """(function that makes so many steps, facts about them, fewest steps, most steps)"""
    if how == "matrix products":
        shapes = ([(1024, 1024, 1024, True)] * 2 if network == "large matrices"
                  else products(nets_network(network, units), mini_batch_size))
        return matrix_products(shapes), {"mflop": mflop(shapes)}, 1, 100_000
    digits, facts, fewest, most = training_images(images), {}, 1, images // mini_batch_size
    if how.startswith("torch"):
        run = torch_loop(network, digits, mini_batch_size, compiled=how == "torch compiled")
    else:
        if layers == "keras":
            network = keras_network(network, units)
        else:
            network = nets_network(network, units, batch_first() if layers == "batch first" else None)
            facts = {"mflop": mflop(products(network, mini_batch_size))}
        if how == "fit":
            run = fit(network, digits, mini_batch_size, steps_per_execution)
        else:
            from nets.epoch import block
            run, fewest = nets_train(network, digits, mini_batch_size, runs), block(most)
    return run, facts, fewest, most


def answer_steps(answer, enough, runs=1, cores="all", **spec):
    """Prepare a step, then time as many as take `enough` seconds whenever asked."""
    if cores == 1 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    run, facts, steps, most = step(runs=runs, **spec)

    def timed(steps):
        watch.start()
        run(steps)
        return watch.read()

    began = time.perf_counter()
    run(steps)
    compilation = time.perf_counter() - began
    while min(timed(steps), timed(steps))[0] < enough and steps < most:  # twice: the first call may be slow
        steps = min(2 * steps, most)
    answer({"seconds_to_compile": compilation, "steps": steps, **facts})
    for _ in sys.stdin:
        wall, cpu = timed(steps)
        answer({"ms_per_step": 1000 * wall / steps / runs, "cpu_ms_per_step": 1000 * cpu / steps / runs,
                "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000})


def first_epoch(how, network):
    """Test accuracy after one epoch from nothing, with the validation images classified on the way."""
    import keras

    import nets
    mnist = nets.load_mnist()
    if how == "nets.train":
        result = nets.train(nets_network(network, 100), mnist, epochs=1, mini_batch_size=10,
                            learning_rate=0.03)
        return {"accuracy": result.test_accuracy}
    if os.environ["NETS_MODE"] == "quick":
        mnist = nets.Dataset(*(nets.Examples(images[:1000], labels[:1000]) for images, labels in mnist))
    model = keras_network(network, 100)
    model.compile(keras.optimizers.SGD(0.03), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(*mnist.train, batch_size=10, validation_data=mnist.validation, verbose=0)
    return {"accuracy": model.evaluate(*mnist.test, verbose=0)[1]}


def main(spec):
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print is not an answer

    def answer(values):
        print(json.dumps(values), file=answers, flush=True)

    what = spec.pop("what")
    if what == "step":
        answer_steps(answer, **spec)
    elif what == "first epoch":
        answer(first_epoch(**spec))
    elif what == "import nets":
        import nets  # noqa: F401
        answer({})
    else:
        from nets import machine
        answer({"machine": machine.device(), "accelerator": machine.has_accelerator()})


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
