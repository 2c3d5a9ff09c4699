"""Training by mini-batch gradient descent: one compiled call an epoch, several runs at once."""

import concurrent.futures
import contextlib
import inspect
import numbers
import os
import pathlib
import threading
import time

import keras
import numpy as np
from keras import ops

from nets import ledger
from nets.data import MNIST, Digits
from nets.progress import Progress
from nets.result import Result, duration

CLASSIFY = 500  # images classified at once


def train(network, data, *, epochs, mini_batch_size, learning_rate, l2=0.0, augment=(), runs=1, seed=0,
          early_stopping=None, name=None, keep_weights=False):
    """Train a classifier by mini-batch stochastic gradient descent, as the chapter does.

    Each step subtracts `learning_rate` times the gradient of
    mean(-log p[label]) + l2 / (2 * mini-batches an epoch) * (sum of squares of all kernels).
    Every epoch visits the training images in a fresh random order (the chapter kept one order).

    Run r is reproducible from `seed + r`: the network's initialisers draw its starting weights (the
    weights that `network` holds do not matter), and a NumPy generator its mini-batches. Several runs
    are trained side by side: on a CPU a thread and a core each, on a GPU or TPU in one vectorised
    call. What happens is up to the environment variable NETS_MODE:

    - "full": runs missing from the ledger are trained, then recorded there (if `name` is given).
      Every epoch is checkpointed, and the same call resumes after an interruption, bit for bit.
    - "recorded": nothing is trained; the ledger answers. The result is empty, and says so, if the
      ledger has nothing by this name.
    - "quick": a trial with 1,000 images of each part, one epoch, two runs at most; not recorded.
    - unset: "full" where there is a GPU or TPU; else "recorded" if the ledger knows these settings,
      else "full", with the estimated time said first.

    Parameters
    ----------
    network : Keras model of images (n, 28, 28, 1), pixels 0 to 255, to probabilities (n, classes).
        Afterwards it holds the final weights of the first run, if that was trained by this call or
        its weights are in the ledger.
    data : MNIST
    epochs, mini_batch_size : int
    learning_rate : float, or a function from the epoch (0, 1, ...) to one
    l2 : float, the chapter's lambda
    augment : list of functions of (images, seed) to as many images, applied in turn to all training
        images afresh for each epoch and run: `nets.affine`, `nets.elastic` or your own, their
        settings bound by functools.partial, as in [functools.partial(nets.elastic, alpha=20.0)].
        One with a parameter named `labels` is also given the training images' labels.
    runs, seed : int
    early_stopping : int, optional: stop a run after so many epochs without a better validation accuracy
    name : str, optional: the ledger's name for this experiment
    keep_weights : bool, store the first run's final weights with the record

    Returns
    -------
    Result

    Raises
    ------
    ValueError, for arguments that make no sense, or under a backend other than TensorFlow and JAX
    FloatingPointError, if a run diverges
    ledger.MissingRecord, in "recorded" mode, if this name stands for other settings in the ledger

    Source: the chapter, "Convolutional neural networks in practice" and its program's SGD.
    """
    _check_sizes(data, epochs=epochs, mini_batch_size=mini_batch_size, runs=runs,
                 early_stopping=1 if early_stopping is None else early_stopping)
    rates = [learning_rate(epoch) if callable(learning_rate) else learning_rate for epoch in range(epochs)]
    _check_numbers(rates, l2, seed)
    rates = [float(rate) for rate in rates]

    mode = ledger.mode()
    if mode == "quick":
        data = MNIST(*(Digits(part.images[:1000], part.labels[:1000]) for part in data))
        epochs, rates, runs = 1, rates[:1], min(runs, 2)
        mini_batch_size = min(mini_batch_size, len(data.train.labels))
    if not network.built:
        network.build((None, *data.train.images.shape[1:]))
    _check_network(network, classes=1 + max(int(part.labels.max()) for part in data))
    settings = {
        "network": ledger.describe(network), "epochs": epochs, "mini_batch_size": mini_batch_size,
        "learning_rate": rates if callable(learning_rate) else rates[0], "l2": float(l2),
        "data": {part: ledger.digest(getattr(data, part)) for part in data._fields},
    }
    if early_stopping:
        settings["early_stopping"] = early_stopping
    if augment:
        settings["augment"] = [ledger.describe_function(function) for function in augment]

    entry = None if mode == "quick" else name  # in the ledger
    if mode == "recorded" and entry:
        ledger.find(entry, settings)  # or the error that names the settings that differ
    known, probabilities = ledger.runs_of(entry, settings) if entry else ({}, {})
    weights_path = ledger.path_of(entry, settings, ".weights.h5") if entry and keep_weights else None
    seeds = range(seed, seed + runs)
    missing = [s for s in seeds if s not in known]
    if weights_path and not weights_path.exists() and seed not in missing:
        missing.insert(0, seed)
    some_known = any(s in known for s in seeds)
    if mode == "recorded" or (mode is None and some_known and not ledger.has_accelerator()):
        missing = []
    if weights_path and seed in known and seed not in missing:
        ledger.load_weights(weights_path, network)

    for run, answers, weights in _train_runs(network, data, rates, mini_batch_size, l2, augment,
                                             early_stopping, missing, entry and (entry, settings),
                                             announce=mode is None):
        known[run["seed"]], probabilities[run["seed"]] = run, answers
        if run["seed"] == seed:
            _assign(network, weights)
            if weights_path:
                ledger.replace(weights_path, network.save_weights)
        if entry:
            ledger.add(entry, settings, run, answers)
    done = [s for s in seeds if s in known]
    if known and not done:
        raise ledger.MissingRecord(
            f"The ledger has {name!r} with other seeds ({', '.join(map(str, known))}): ask for one of "
            "these, or set NETS_MODE=full to train yours.")
    return Result(name, settings, [known[s] for s in done], [probabilities[s] for s in done], runs)


def evaluate(network, images, labels):
    """The share of images that the network gets right: a float from 0 to 1.

    images (n, height, width, channels), as the network takes them; labels (n,), whole numbers.
    """
    probabilities = network.predict(images, batch_size=CLASSIFY, verbose=0)
    return float(np.mean(np.argmax(probabilities, axis=-1) == labels))


def _check_sizes(data, mini_batch_size, **others):
    """Raise ValueError for data and whole numbers that `train` cannot work with."""
    if keras.backend.backend() not in ("tensorflow", "jax"):
        raise ValueError(f"nets.train needs TensorFlow or JAX, and Keras runs on "
                         f"{keras.backend.backend()}: set KERAS_BACKEND before importing keras.")
    for argument, value in {"mini_batch_size": mini_batch_size, **others}.items():
        if type(value) is not int or value < 1:
            raise ValueError(f"{argument} must be a whole number of at least 1, not {value!r}.")
    if not isinstance(data, MNIST):
        raise ValueError("data must be what nets.load_mnist() returns, or nets.MNIST(...) of your own, "
                         f"not a {type(data).__name__}.")
    for part, (images, labels) in data._asdict().items():
        if len(images) != len(labels):
            raise ValueError(f"data.{part} has {len(images)} images and {len(labels)} labels.")
    if mini_batch_size > len(data.train.labels):
        raise ValueError(f"mini_batch_size is {mini_batch_size}, but there are only "
                         f"{len(data.train.labels)} training images.")


def _check_numbers(rates, l2, seed):
    for rate in rates:
        if not isinstance(rate, numbers.Real) or not 0 < rate < float("inf"):
            raise ValueError(f"learning_rate must be a positive number, or give one, not {rate!r}.")
    if not isinstance(l2, numbers.Real) or not 0 <= l2 < float("inf"):
        raise ValueError(f"l2 must be a number of at least 0, not {l2!r}.")
    if type(seed) is not int or seed < 0:
        raise ValueError(f"seed must be a whole number of at least 0, not {seed!r}.")


def _check_network(network, classes):
    softmax = getattr(network.layers[-1], "activation", None) is keras.activations.softmax
    shape = network.output_shape
    if not softmax or len(shape) != 2 or shape[1] < classes:
        raise ValueError(f"The network must end in probabilities of {classes} classes, in a layer with the "
                         f"softmax activation such as nets.Softmax({classes}); its outputs have the shape "
                         f"{shape}.")


# ---- the compiled part ----


def value_and_gradient(function, weights):
    """((loss, extras), gradients) of `function`, which returns (loss, extras), at `weights`."""
    if keras.backend.backend() == "jax":
        import jax
        return jax.value_and_grad(function, has_aux=True)(weights)
    import tensorflow as tf
    with tf.GradientTape() as tape:
        tape.watch(weights)
        loss, extras = function(weights)
    return (loss, extras), tape.gradient(loss, weights)


def compiled(function):
    if keras.backend.backend() == "jax":
        import jax
        return jax.jit(function)
    import tensorflow as tf
    return tf.function(function, jit_compile=True)


@contextlib.contextmanager
def _logarithm_of(softmax_layer):
    """Meanwhile, this layer gives the logarithms of its probabilities, exact also where these underflow."""
    softmax_layer.activation = keras.activations.log_softmax
    try:
        yield
    finally:
        softmax_layer.activation = keras.activations.softmax


def compile_training(network, l2_per_batch, several):
    """The two compiled functions of a training: an epoch, and classifying.

    weights are the network's trainable and state its other variables, lists of tensors; with
    `several`, each tensor has a leading axis of runs, and so have the results.

    Returns
    -------
    epoch(weights, state, images, labels, order, steps, learning_rate)
        takes the first `steps` rows of `order`, int32 (batches, [runs,] mini-batch size), as
        mini-batches; returns the new weights and state, and the sum of the mini-batches' losses.
    classify(weights, state, images)
        takes images (chunks, n, height, width, channels); returns probabilities
        ([runs,] chunks, n, classes).
    """
    decay = [l2_per_batch if variable.name == "kernel" else 0.0
             for variable in network.trainable_variables]

    def step(weights, state, images, labels, learning_rate):
        def loss_of(weights):
            with _logarithm_of(network.layers[-1]):
                log_p, new_state, losses = network.stateless_call(
                    weights, state, images, training=True, return_losses=True)
            data_loss = -ops.mean(ops.sum(log_p * ops.one_hot(labels, log_p.shape[-1]), axis=-1))
            return data_loss + sum(losses), (data_loss, new_state)

        (_, (loss, state)), gradients = value_and_gradient(loss_of, weights)
        weights = [w - learning_rate * (g + d * w if d else g)  # d is 0 for biases
                   for w, g, d in zip(weights, gradients, decay, strict=True)]
        return weights, list(state), loss

    def answers(weights, state, images):
        return network.stateless_call(weights, state, images, training=False)[0]

    def epoch(weights, state, images, labels, order, steps, learning_rate):
        def body(i, carry):
            weights, state, total = carry
            batch = ops.take(order, i, axis=0)
            batch_images = ops.cast(ops.take(images, batch, axis=0), "float32")
            arrays = (weights, state, batch_images, ops.take(labels, batch, axis=0))
            if several:
                weights, state, loss = ops.vectorized_map(
                    lambda one: step(*one, learning_rate), arrays)
            else:
                weights, state, loss = step(*arrays, learning_rate)
            return weights, state, total + loss

        return ops.fori_loop(0, steps, body, (weights, state, ops.zeros(order.shape[1:-1])))

    def classify(weights, state, images):
        def chunk(images):
            images = ops.cast(images, "float32")
            if several:
                return ops.vectorized_map(lambda one: answers(*one, images), (weights, state))
            return answers(weights, state, images)

        probabilities = ops.map(chunk, images)
        return ops.swapaxes(probabilities, 0, 1) if several else probabilities

    return compiled(epoch), compiled(classify)


# ---- around it ----


def starting_point(network, seed):
    """Fresh (weights, state) of the network, two lists of arrays, drawn by its initialisers."""
    keras.utils.set_random_seed(seed)
    fresh = keras.models.clone_model(network)
    if not fresh.built:
        fresh.build(network.input_shape)
    return tuple([ops.convert_to_numpy(variable) for variable in variables]
                 for variables in (fresh.trainable_variables, fresh.non_trainable_variables))


def mini_batches(images, mini_batch_size, seed, epoch):
    """The order of an epoch: int32 array (batches, mini_batch_size) of image numbers.

    Images left over by the last full mini-batch wait for another epoch.
    """
    order = np.random.default_rng([seed, epoch]).permutation(images).astype("int32")
    batches = images // mini_batch_size
    return order[:batches * mini_batch_size].reshape(batches, mini_batch_size)


def augmented(images, labels, augment, seed, epoch):
    """The images as the functions of `augment` change them for this epoch of the run with this seed."""
    for i, function in enumerate(augment):
        (own_seed,) = np.random.SeedSequence([seed, epoch, i]).generate_state(1)
        told = {"labels": labels} if "labels" in inspect.signature(function).parameters else {}
        changed = ops.convert_to_tensor(function(images, int(own_seed), **told))
        if changed.shape != images.shape or changed.dtype != images.dtype:
            raise ValueError(f"An augmentation must keep the images' shape and type: it took {images.dtype} "
                             f"{tuple(images.shape)} and gave {changed.dtype} {tuple(changed.shape)}.")
        images = changed
    return images


def _train_runs(network, data, rates, mini_batch_size, l2, augment, early_stopping, seeds, record, announce):
    """Train the runs with these seeds; yields (run, test probabilities, weights) as each is finished."""
    if not seeds:
        return
    ledger.commit()  # remembers which code this is, before anybody checks out another
    several = len(seeds) > 1 and not early_stopping and ledger.has_accelerator()
    groups = [list(seeds)] if several else [[seed] for seed in seeds]
    workers = 1 if several else min(len(groups), ledger.cores())
    images = len(data.train.labels)
    batches = images // mini_batch_size
    run_epoch, classify = compile_training(network, l2 / batches, several)
    train_images, train_labels = (ops.convert_to_tensor(array) for array in data.train)
    chunks = {part: ops.convert_to_tensor(_in_chunks(getattr(data, part).images))
              for part in ("validation", "test")}
    starts = {seed: starting_point(network, seed) for seed in seeds}
    stop = threading.Event()

    def prepare(group, number):
        """Images, labels and order of an epoch."""
        orders = [mini_batches(images, mini_batch_size, seed, number) for seed in group]
        pictures, labels = train_images, train_labels
        if augment:  # the images of each run follow those of the run before
            pictures = ops.concatenate([augmented(train_images, data.train.labels, augment, seed, number)
                                        for seed in group])
            labels = ops.tile(train_labels, len(group))
            orders = [order + i * images for i, order in enumerate(orders)]
        return pictures, labels, ops.convert_to_tensor(np.stack(orders, axis=1) if several else orders[0])

    def one_epoch(weights, state, prepared, number, steps=batches):
        weights, state, loss = run_epoch(weights, state, *prepared, ops.convert_to_tensor(steps, "int32"),
                                         ops.convert_to_tensor(rates[number], "float32"))
        return weights, state, np.reshape(loss, -1) / steps

    def predict(weights, state, part):
        p = np.asarray(classify(weights, state, chunks[part]))
        return p.reshape(len(p) if several else 1, -1, p.shape[-1])[:, :len(getattr(data, part).labels)]

    def train_group(group):
        path = record and checkpoint_path(*record, group)
        weights, state, history = _begin([starts[seed] for seed in group], several, path)
        while len(history["loss"]) < len(rates) and not _stalled(history, early_stopping):
            if stop.is_set():
                return [], None
            number, began = len(history["loss"]), time.perf_counter()
            weights, state, loss = one_epoch(weights, state, prepare(group, number), number)
            if not np.isfinite(loss).all():
                raise FloatingPointError(
                    f"Run {group[int(np.argmin(np.isfinite(loss)))]} diverged in epoch {number + 1}: its "
                    f"loss is not finite. The learning_rate, {rates[number]:g}, is too large for this "
                    "network; try a third of it.")
            history["loss"].append(loss)
            for part in chunks:
                right = predict(weights, state, part).argmax(axis=-1) == getattr(data, part).labels
                history[f"{part}_accuracy"].append(right.mean(axis=1))
            history["seconds"].append(time.perf_counter() - began)
            if path:
                _save_checkpoint(path, weights, state, history)
            progress.update(group, number + 1, history)
        answers = ledger.rounded(predict(weights, state, "test"))
        finished = []
        for i, seed in enumerate(group):
            run = {"seed": seed}
            for key in ("loss", "validation_accuracy", "test_accuracy"):
                run[key] = [round(float(values[i]), 6) for values in history[key]]
            run["seconds"] = round(float(sum(history["seconds"])), 1)
            run["together"] = len(group) if several else workers
            one = [np.asarray(value)[i] if several else np.asarray(value) for value in weights + state]
            finished.append(({**run, **ledger.provenance()}, answers[i], one))
        return finished, path

    weights, state, _ = _begin([starts[seed] for seed in groups[0]], several)
    one_epoch(weights, state, prepare(groups[0], 0), 0, steps=1)  # compiles
    times = [time.perf_counter()]
    prepared = prepare(groups[0], 0)
    times.append(time.perf_counter())
    one_epoch(weights, state, prepared, 0, steps=min(100, batches))
    times.append(time.perf_counter())
    preparing, stepping = np.diff(times)
    progress = Progress(len(groups), workers, len(rates), preparing + stepping * max(1, batches / 100))
    if announce:
        print(f"Training {len(seeds)} run{'s' * (len(seeds) > 1)} of {len(rates)} epochs on "
              f"{ledger.device()}: about {duration(progress.time_left())}.", flush=True)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(train_group, group) for group in groups]
        try:
            for future in concurrent.futures.as_completed(futures):
                finished, path = future.result()
                yield from finished
                if path:  # its runs are in the ledger now
                    path.unlink(missing_ok=True)
        finally:  # after an error or Ctrl-C the other runs stop at the end of their epoch
            stop.set()
            for future in futures:
                future.cancel()
            progress.clear()


def _stalled(history, early_stopping):
    values = history["validation_accuracy"]
    return bool(early_stopping) and len(values) - 1 - int(np.argmax(values or [0])) >= early_stopping


def _in_chunks(images):
    """Images as (chunks, CLASSIFY, ...), the last chunk filled up with zeros."""
    full = -len(images) % CLASSIFY
    return np.concatenate([images, np.zeros((full, *images.shape[1:]), images.dtype)]).reshape(
        -1, CLASSIFY, *images.shape[1:])


def _assign(network, values):
    for variable, value in zip(network.trainable_variables + network.non_trainable_variables, values,
                               strict=True):
        variable.assign(value)


# ---- checkpoints ----

HISTORY = ("loss", "validation_accuracy", "test_accuracy", "seconds")


def checkpoint_path(name, settings, seeds):
    """A file in NETS_CHECKPOINTS (on Colab, name a folder of your Drive) or beside the ledger."""
    folder = pathlib.Path(os.environ.get("NETS_CHECKPOINTS") or ledger.directory().parent / "checkpoints")
    run = "-".join([name, ledger.fingerprint(settings), keras.backend.backend(), *map(str, seeds)])
    return folder / f"{run}.npz"


def _save_checkpoint(path, weights, state, history):
    variables = {f"variable{i}": np.asarray(value) for i, value in enumerate(weights + state)}
    ledger.save_arrays(path, {**variables, **{key: np.array(history[key]) for key in HISTORY}})


def _begin(starts, several, path=None):
    """(weights, state, history) of a group of runs: from its checkpoint or else from the start."""
    weights, state = ([np.stack(values) if several else values[0] for values in zip(*parts)]
                      for parts in zip(*starts))
    history = {key: [] for key in HISTORY}
    if path and path.exists():
        arrays = ledger.load_arrays(path)
        variables = [arrays[f"variable{i}"] for i in range(len(weights) + len(state))]
        weights, state = variables[:len(weights)], variables[len(weights):]
        history = {key: list(arrays[key]) for key in HISTORY}
    return ([ops.convert_to_tensor(value) for value in weights],
            [ops.convert_to_tensor(value) for value in state], history)
