"""Groups of runs from start to end: who trains them, how long it takes, epochs, checkpoints."""

import concurrent.futures
import re
import threading
import time
import warnings
from typing import NamedTuple

import numpy as np
from keras import ops

from nets import files, machine
from nets.progress import Progress
from nets.runs import Trainer, tensors
from nets.words import counted, duration, printable

HISTORY = ("loss", "validation_accuracy", "test_accuracy", "seconds")
SAVING = 0.1  # the share of its time that a run writes checkpoints, at most


class Finished(NamedTuple):
    """A run that is over."""

    run: dict  # as the ledger keeps it
    probabilities: np.ndarray  # (test images, classes)
    variables: list  # arrays, as the network's trainable and then its other variables


def train(task, seeds, checkpoint=None, most=None):
    """Train the runs with these seeds; yields a `Finished` for each as it is over.

    On a CPU each has a thread and a core, on a GPU or TPU all are one vectorised call, where the network
    can be vectorised. `checkpoint` gives the file in which a group of runs, a list of seeds, is kept.
    With `most` it is said how long it will take; if it is more than so many seconds, by a RuntimeError.
    """
    if not seeds:
        return
    machine.commit()  # remembers which code this is, before anybody checks out another
    progress, stop = Progress(len(task.rates)), threading.Event()
    several = machine.has_accelerator() and len(seeds) > 1 and not task.early_stopping
    pool = concurrent.futures.ThreadPoolExecutor(machine.cores())  # so that Ctrl-C is heard at any time
    try:
        progress.show("compiling …")
        trainer, groups, starts = _compiled(task, seeds, several, pool)
        paths = [checkpoint and checkpoint(group) for group in groups]
        resumed = [_resumed(*own) for own in zip(starts, paths, strict=True)]
        workers = 1 if trainer.several else min(len(groups), machine.cores())
        timed = [pool.submit(trainer.seconds_per_epoch, *own)
                 for own in zip(groups[:workers], starts[:workers], strict=True)]
        seconds = max(future.result() for future in _as_over(timed))
        progress.expect({group[0]: len(own[-1]["loss"]) for group, own in zip(groups, resumed, strict=True)},
                        workers, seconds)
        if most is not None:
            _say_how_long(task, seeds, progress.time_left(), most)
        futures = {pool.submit(_train_group, trainer, *own, stop, progress): own[-1]
                   for own in zip(groups, resumed, paths, strict=True)}
        for future in _as_over(futures):
            yield from future.result()
            if path := futures[future]:  # its runs are in the ledger now
                path.unlink(missing_ok=True)
    finally:  # after an error or Ctrl-C the other runs stop at the end of their stretch
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)
        progress.clear()


def _as_over(futures):
    """The futures as they are over. No wait is longer than a second: then Ctrl-C is heard on any system."""
    left = set(futures)
    while left:
        over, left = concurrent.futures.wait(left, 1, concurrent.futures.FIRST_COMPLETED)
        yield from over


def _compiled(task, seeds, several, pool):
    """A `Trainer` with all compiled, and its groups of runs with their starts.

    Runs of a network that cannot be vectorised are trained one by one.
    """
    trainer = Trainer(task, several)
    groups = [seeds] if several else [[seed] for seed in seeds]
    starts = [trainer.start(group) for group in groups]  # here: initialisers share one random state
    try:
        for future in _as_over([pool.submit(trainer.compile, groups[0], starts[0])]):
            future.result()
        return trainer, groups, starts
    except Exception as error:
        full = re.search("resource.?exhausted|out of memory", f"{type(error)} {error}", re.IGNORECASE)
        unknown = re.search(r"unsupported operations.*: (\w+) \(", str(error))
        if not several and unknown:
            raise ValueError(f"TensorFlow has no compiled {unknown[1]}, which a layer of this network needs: "
                             "set KERAS_BACKEND=jax, or distort the images by `augment`.") from error
        if not several or full:
            raise
    return _compiled(task, seeds, False, pool)  # where an error of another cause comes again


def _say_how_long(task, seeds, seconds, most):
    what = f"{counted(len(seeds), 'run')} of {counted(len(task.rates), 'epoch')} on {machine.device()}"
    how_long = f"{'at most' if task.early_stopping else 'about'} {duration(seconds)}"
    if seconds > most:
        raise RuntimeError(f"Not trained, as it would take {how_long}: {what}. NETS_MODE=full trains it.")
    print(printable(f"Training {what}: {how_long}."), flush=True)


def _train_group(trainer, seeds, resumed, path, stop, progress):
    """Train a group to its end: a list of `Finished`; or CancelledError, once `stop` is set."""
    task, (weights, state, history) = trainer.task, resumed
    weights, state = tensors(weights), tensors(state)
    not_before = 0.0  # of the next checkpoint

    def watch(share=0.0):
        if stop.is_set():
            raise concurrent.futures.CancelledError
        progress.update(seeds, len(history["loss"]) + share, history)

    while len(history["loss"]) < len(task.rates) and not stalled(history, task.early_stopping):
        watch()
        number, began = len(history["loss"]), time.perf_counter()
        prepared = trainer.prepare(seeds, number)
        weights, state, loss = trainer.epoch(weights, state, prepared, number, watch=watch)
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
            not_before = saving + (time.perf_counter() - saving) / SAVING
    progress.over(seeds)
    return _finished(trainer, seeds, weights, state, history, max(progress.workers, len(seeds)))


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


def _finished(trainer, seeds, weights, state, history, together):
    """What is left of the runs of a group."""
    answers, finished = trainer.probabilities(weights, state, "test"), []
    kept = [np.asarray(value) for value in
            weights + state[:len(trainer.task.network.non_trainable_variables)]]
    for i, seed in enumerate(seeds):
        run = {"seed": seed}
        for key in HISTORY[:3]:
            run[key] = [round(float(values[i]), 6) for values in history[key]]
        run["seconds"] = max(0.1, round(float(sum(history["seconds"])), 1))
        run["together"] = together
        arrays = [value[i] if trainer.several else value for value in kept]
        finished.append(Finished({**run, **machine.provenance()}, answers[i], arrays))
    return finished


def stalled(history, early_stopping):  # whether the best validation accuracy is so many epochs old
    values = history["validation_accuracy"]
    return bool(early_stopping) and len(values) - 1 - int(np.argmax(values or [0])) >= early_stopping


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
    return arrays[:len(weights)], arrays[len(weights):], history


def _like(array, stored):
    """The stored array, which must have the shape and type of `array`."""
    if stored.dtype.kind == "V":  # as NumPy stores bfloat16
        stored = stored.view(array.dtype)
    if stored.shape != array.shape or stored.dtype != array.dtype:
        raise ValueError(f"it has {stored.dtype} {stored.shape} for {array.dtype} {array.shape}")
    return stored
