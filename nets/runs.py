"""What a run consists of: starting weights, order of the images, epochs, answers."""

import json
import math
import random
import time
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from nets import augment, epoch, settings
from nets.data import Dataset

CLASSIFY = 500  # images classified at once
CHUNKS = 4  # of so many images, in a call
KEPT = 8  # compiled programs


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


def starting_point(network, seed):
    """Fresh (weights, state) of the network, two lists of arrays, drawn by its initialisers.

    Layers that are frozen, or adapted to data, keep what they have.
    """
    readers = random.getstate(), np.random.get_state()
    keras.utils.set_random_seed(seed)
    own = settings.own_parts(*network._flatten_layers(include_self=False))
    with keras.utils.custom_object_scope({thing.__name__: thing for thing in own}):
        fresh = keras.models.clone_model(network)
    if not fresh.built:
        fresh.build(network.input_shape)
    random.setstate(readers[0])
    np.random.set_state(readers[1])
    for old, new in zip(settings.kept(network), settings.kept(fresh), strict=True):
        new.set_weights(old.get_weights())
    return tuple([ops.convert_to_numpy(variable) for variable in variables]
                 for variables in (fresh.trainable_variables, fresh.non_trainable_variables))


def mini_batches(images, mini_batch_size, seed, epoch):
    """The order of an epoch: int32 array (batches, mini_batch_size) of image numbers.

    Images left over by the last full mini-batch wait for another epoch.
    """
    order = np.random.default_rng([seed, epoch]).permutation(images).astype("int32")
    batches = images // mini_batch_size
    return order[:batches * mini_batch_size].reshape(batches, mini_batch_size)


_kept = {}  # the last compiled programs, by what decides them


def _programs(task, steps, several):
    """(optimizer, epoch, classify) for this task: compiled anew, or those of one like it."""
    network, optimizer = task.network, task.optimizer
    key = json.dumps([settings.describe(network), optimizer and settings.describe_optimizer(optimizer),
                      task.l2, steps, several])
    if key not in _kept:
        while len(_kept) >= KEPT:
            _kept.pop(next(iter(_kept)))
        optimizer = optimizer and epoch.stateless(optimizer, network.trainable_variables)
        _kept[key] = optimizer, *epoch.compile_training(network, task.l2 / steps, several, optimizer)
    return _kept[key]


class Trainer:
    """A task with its compiled functions and its images on the device; with `several`, for runs at once."""

    def __init__(self, task, several):
        self.task, self.several = task, several
        images, labels = task.data.train
        self.steps = self.stretch = len(labels) // task.mini_batch_size  # an epoch; in a call
        self.optimizer, self._epoch, self._classify = _programs(task, self.steps, several)
        self.images, self.labels = ops.convert_to_tensor(images), ops.convert_to_tensor(labels, "int32")
        self.parts = {part: tensors(_in_chunks(getattr(task.data, part).images))
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

    def epoch(self, weights, state, prepared, number, steps=None, watch=None):
        """(weights, state, mean loss of each run) after an epoch, or after its first steps.

        It is done in stretches, and `watch`, if given, called after each but the last with the share done.
        """
        steps = self.steps if steps is None else steps
        done, total = 0, ops.zeros(prepared[2].shape[1:-1])
        rate = ops.convert_to_tensor(self.task.rates[number], "float32")
        while True:
            some = min(self.stretch, steps - done)
            count, first = (ops.convert_to_tensor(value, "int32") for value in (some, done))
            weights, state, total = self._epoch(weights, state, *prepared, count, rate, first, total)
            loss = np.asarray(total).reshape(-1)  # waits until it is computed
            done += some
            if done >= steps:
                return weights, state, loss / max(steps, 1)
            if watch:
                watch(done / steps)

    def probabilities(self, weights, state, part):
        """What each run answers to the images of "validation" or "test": an array (runs, n, classes)."""
        p = np.concatenate([np.asarray(self._classify(weights, state, images))
                            for images in self.parts[part]], axis=-3)
        count = len(getattr(self.task.data, part).labels)
        return p.reshape(len(p) if self.several else 1, -1, p.shape[-1])[:, :count]

    def compile(self, seeds, start):
        """Compile whatever an epoch of these runs needs."""
        weights, state = map(tensors, start)
        self.epoch(weights, state, self.prepare(seeds, 0), 0, steps=0)
        for parts in self.parts.values():
            np.asarray(self._classify(weights, state, parts[0]))

    def seconds_per_epoch(self, seeds, start):
        """How long an epoch of these runs takes, by a part of it; from now on a stretch has half a second."""
        (weights, state), block = map(tensors, start), epoch.block(self.steps)
        began, few, learning = time.perf_counter(), 0, 0.0
        prepared = self.prepare(seeds, 0)
        np.asarray(prepared[0][:1])  # waits, too
        preparing = time.perf_counter() - began
        while few < self.steps and learning < 0.2:  # what takes less says little
            few = min(self.steps, block * max(1, math.ceil(few / block * 0.3 / (learning or 1))))
            began = time.perf_counter()
            self.epoch(weights, state, prepared, 0, steps=few)
            learning = time.perf_counter() - began
        began = time.perf_counter()
        np.asarray(self._classify(weights, state, self.parts["test"][0]))
        answering = time.perf_counter() - began
        self.stretch = block * max(1, int(few / block * 0.5 / learning))
        return (preparing + learning * self.steps / few
                + answering * sum(len(images) for images in self.parts.values()))


def _in_chunks(images):  # (calls, chunks, CLASSIFY, ...), the last filled up with zeros
    chunks = min(CHUNKS, -(-len(images) // CLASSIFY))
    filled = np.pad(images, [(0, -len(images) % (chunks * CLASSIFY)), (0, 0), (0, 0), (0, 0)])
    return filled.reshape(-1, chunks, CLASSIFY, *images.shape[1:])


def tensors(arrays):
    return [ops.convert_to_tensor(array) for array in arrays]
