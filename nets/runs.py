"""A group of runs from start to end: starting weights, order of the images, epochs, checkpoints."""

import concurrent.futures
import threading
import time
import warnings
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from nets import augment, epoch, files, machine, settings
from nets.data import Dataset
from nets.progress import Progress
from nets.words import counted, duration, printable

CLASSIFY = 500  # images classified at once
HISTORY = ("loss", "validation_accuracy", "test_accuracy", "seconds")


class Task(NamedTuple):
    """What is trained: everything that decides a run but its seed. See `nets.train`."""

    network: keras.Model
    data: Dataset
    rates: list  # a learning rate for each epoch
    mini_batch_size: int
    l2: float = 0.0
    augment: tuple = ()
    early_stopping: int | None = None
    optimizer: keras.Optimizer | None = None


class Finished(NamedTuple):
    """A run that is over."""

    run: dict  # as the ledger keeps it
    probabilities: np.ndarray  # (test images, classes)
    variables: list  # arrays, as the network's trainable and then its other variables


def starting_point(network, seed):
    """Fresh (weights, state) of the network, two lists of arrays, drawn by its initialisers."""
    keras.utils.set_random_seed(seed)
    own = settings.own_parts(*network._flatten_layers(include_self=False))
    with keras.utils.custom_object_scope({thing.__name__: thing for thing in own}):
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


class Trainer:
    """A task with its compiled functions and its images on the device; with `several`, for runs at once."""

    def __init__(self, task, several):
        self.task, self.several = task, several
        network, (images, labels) = task.network, task.data.train
        self.steps = len(labels) // task.mini_batch_size  # an epoch
        self.optimizer = task.optimizer and epoch.stateless(task.optimizer, network.trainable_variables)
        self._epoch, self._classify = epoch.compile_training(
            network, task.l2 / self.steps, several, self.optimizer)
        self.images, self.labels = ops.convert_to_tensor(images), ops.convert_to_tensor(labels, "int32")
        self.parts = {part: ops.convert_to_tensor(_in_chunks(getattr(task.data, part).images))
                      for part in ("validation", "test")}

    def start(self, seeds):
        """(weights, state) of these runs before the first step, lists of arrays."""
        slots = [ops.convert_to_numpy(slot) for slot in self.optimizer.variables] if self.optimizer else []
        starts = [starting_point(self.task.network, seed) for seed in seeds]
        starts = [(weights, [*state, *slots]) for weights, state in starts]
        return tuple([np.stack(values) if self.several else values[0] for values in zip(*parts, strict=True)]
                     for parts in zip(*starts, strict=True))

    def prepare(self, seeds, number):
        """(images, labels, order) of an epoch, tensors."""
        images, labels = self.images, self.labels
        orders = [mini_batches(len(labels), self.task.mini_batch_size, seed, number) for seed in seeds]
        if self.task.augment:
            orders = [order + i * len(labels) for i, order in enumerate(orders)]  # each in its own images
            known = self.task.data.train.labels
            images = [augment.all_of(self.task.augment, images, known, seed, number) for seed in seeds]
            images = ops.concatenate(images) if len(seeds) > 1 else images[0]
            labels = ops.tile(labels, len(seeds))
        return images, labels, ops.convert_to_tensor(np.stack(orders, axis=1) if self.several else orders[0])

    def epoch(self, weights, state, prepared, number, steps=None):
        """(weights, state, mean loss of each run) after an epoch, or after its first steps."""
        steps = steps or self.steps
        weights, state, loss = self._epoch(weights, state, *prepared, ops.convert_to_tensor(steps, "int32"),
                                           ops.convert_to_tensor(self.task.rates[number], "float32"))
        return weights, state, np.asarray(loss).reshape(-1) / steps  # waits until it is computed

    def probabilities(self, weights, state, part):
        """What each run answers to the images of "validation" or "test": an array (runs, n, classes)."""
        p = np.asarray(self._classify(weights, state, self.parts[part]))
        count = len(getattr(self.task.data, part).labels)
        return p.reshape(len(p) if self.several else 1, -1, p.shape[-1])[:, :count]

    def seconds_per_epoch(self, seeds, start):
        """How long an epoch of these runs takes, estimated; this compiles it."""
        weights, state = map(_tensors, start)
        few = epoch.block(self.steps)
        self.epoch(weights, state, self.prepare(seeds, 0), 0, steps=few)  # compiles
        began = time.perf_counter()
        prepared = self.prepare(seeds, 0)
        np.asarray(prepared[0][:1])  # waits, too
        ready = time.perf_counter()
        few *= -(-min(50, self.steps) // few)
        self.epoch(weights, state, prepared, 0, steps=few)
        return ready - began + (time.perf_counter() - ready) * self.steps / few


def train(task, seeds, checkpoint=None, announce=False):
    """Train the runs with these seeds; yields a `Finished` for each as it is over.

    On a CPU each has a thread and a core, on a GPU or TPU all are one vectorised call. `checkpoint`
    gives the file in which a group of runs, a list of seeds, is kept. With `announce` the estimated
    time is said first.
    """
    machine.commit()  # remembers which code this is, before anybody checks out another
    seeds = list(seeds)
    several = machine.has_accelerator() and len(seeds) > 1 and not task.early_stopping
    groups = [seeds] if several else [[seed] for seed in seeds]
    workers = 1 if several else min(len(groups), machine.cores())
    trainer, stop = Trainer(task, several), threading.Event()
    starts = [trainer.start(group) for group in groups]  # here: initialisers share one random state
    seconds = trainer.seconds_per_epoch(groups[0], starts[0])
    progress = Progress(len(groups), workers, len(task.rates), seconds)
    if announce:
        print(printable(f"Training {counted(len(seeds), 'run')} of {len(task.rates)} epochs on "
                        f"{machine.device()}: about {duration(progress.time_left())}."), flush=True)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        paths = [checkpoint and checkpoint(group) for group in groups]
        futures = [pool.submit(_train_group, trainer, *own, stop, progress)
                   for own in zip(groups, starts, paths, strict=True)]
        try:
            for future in concurrent.futures.as_completed(futures):
                variables, history, path = future.result()
                for i, seed in enumerate(history and groups[futures.index(future)]):
                    yield _finished(trainer, seed, i, variables, history, workers)
                if path:  # its runs are in the ledger now
                    path.unlink(missing_ok=True)
        finally:  # after an error or Ctrl-C the other runs stop at the end of their epoch
            stop.set()
            for future in futures:
                future.cancel()
            progress.clear()


def _train_group(trainer, seeds, start, path, stop, progress):
    """Train a group to its end: ((weights, state), history, checkpoint), or no history if it was stopped."""
    task = trainer.task
    weights, state, history = _resumed(start, path)
    not_before = 0.0  # of the next checkpoint, so that large ones take a tenth of the time at most
    while len(history["loss"]) < len(task.rates) and not stalled(history, task.early_stopping):
        if stop.is_set():
            return None, {}, None
        number, began = len(history["loss"]), time.perf_counter()
        weights, state, loss = trainer.epoch(weights, state, trainer.prepare(seeds, number), number)
        answers = {part: trainer.probabilities(weights, state, part) for part in trainer.parts}
        _check_finite(task, seeds, number, {"loss": loss, "answers": answers["test"], "weights": weights})
        history["loss"].append(loss)
        for part, p in answers.items():
            right = p.argmax(axis=-1) == getattr(task.data, part).labels
            history[f"{part}_accuracy"].append(right.mean(axis=1))
        history["seconds"].append(time.perf_counter() - began)
        if path and (saving := time.perf_counter()) >= not_before:
            arrays = {f"variable{i}": np.asarray(value) for i, value in enumerate(weights + state)}
            files.save_arrays(path, arrays | {key: np.array(history[key]) for key in HISTORY})
            seconds = time.perf_counter() - saving
            not_before = saving + (10 * seconds if seconds > 0.5 else 0)
        progress.update(seeds, number + 1, history)
    return (weights, state), history, path


def _check_finite(task, seeds, number, values):
    for what, value in values.items():
        arrays = value if isinstance(value, list) else [value]
        finite = [bool(ops.all(ops.isfinite(array[i] if len(seeds) > 1 else array)))
                  for i in range(len(seeds)) for array in arrays]
        if not all(finite):
            seed = seeds[finite.index(False) // len(arrays)]
            rate = "optimizer's rate" if task.optimizer else f"learning_rate, {task.rates[number]:g},"
            short = {layer.compute_dtype for layer in task.network.layers} & {"float16", "bfloat16"}
            raise FloatingPointError(
                f"Run {seed} diverged in epoch {number + 1} ({what} not finite). Most often the {rate} is "
                "too large: try a third of it."
                + f" It computes in {', '.join(short)}: does it diverge in float32, too?" * bool(short))


def _finished(trainer, seed, i, variables, history, workers):
    """What is left of the run that is number `i` of its group."""
    weights, state = variables
    run = {"seed": seed}
    for key in HISTORY[:3]:
        run[key] = [round(float(values[i]), 6) for values in history[key]]
    run["seconds"] = round(float(sum(history["seconds"])), 1)
    run["together"] = len(history["loss"][0]) if trainer.several else workers
    kept = weights + state[:len(trainer.task.network.non_trainable_variables)]
    arrays = [np.asarray(value)[i] if trainer.several else np.asarray(value) for value in kept]
    answers = trainer.probabilities(weights, state, "test")[i]
    return Finished({**run, **machine.provenance()}, answers, arrays)


def stalled(history, early_stopping):  # whether the best validation accuracy is so many epochs old
    values = history["validation_accuracy"]
    return bool(early_stopping) and len(values) - 1 - int(np.argmax(values or [0])) >= early_stopping


def _in_chunks(images):  # (chunks, CLASSIFY, ...), the last chunk filled up with zeros
    filled = np.pad(images, [(0, -len(images) % CLASSIFY), (0, 0), (0, 0), (0, 0)])
    return filled.reshape(-1, CLASSIFY, *images.shape[1:])


def _tensors(arrays):
    return [ops.convert_to_tensor(array) for array in arrays]


def _resumed(start, path):
    """(weights, state, history) of a group of runs: from its checkpoint or else from the start."""
    weights, state = start
    arrays, history = weights + state, {key: [] for key in HISTORY}
    if path and path.exists():
        try:
            stored = files.load_arrays(path)
            arrays = [_like(array, stored[f"variable{i}"]) for i, array in enumerate(arrays)]
            history = {key: list(stored[key]) for key in HISTORY}
            if len({len(values) for values in history.values()}) > 1:
                raise ValueError("its histories differ in length")
        except (ValueError, KeyError) as error:
            warnings.warn(f"The checkpoint {path} is of no use ({error}): it starts afresh.", stacklevel=2)
            arrays, history = weights + state, {key: [] for key in HISTORY}
    return _tensors(arrays[:len(weights)]), _tensors(arrays[len(weights):]), history


def _like(array, stored):
    """The stored array, which must have the shape and type of `array`."""
    if stored.dtype.kind == "V":  # as NumPy stores bfloat16
        stored = stored.view(array.dtype)
    if stored.shape != array.shape or stored.dtype != array.dtype:
        raise ValueError(f"it has {stored.dtype} {stored.shape} for {array.dtype} {array.shape}")
    return stored
