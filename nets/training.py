"""Training by mini-batch gradient descent: one compiled call an epoch, several runs at once."""

import concurrent.futures
import functools
import os
import pathlib
import sys
import threading
import time

import keras
import numpy as np
from keras import ops

from nets import ledger
from nets.data import MNIST, Digits

CLASSIFY = 500  # images classified at once


class Result:
    """What `train` measured.

    name : str or None
    settings : dict, everything that decides the outcome
    runs : list of dicts, one a run: `seed`; `loss`, `validation_accuracy` and `test_accuracy` with a
        value an epoch, accuracies as fractions; `seconds` and the number of runs trained `together`;
        and where it ran: `device`, `backend`, `versions`, `commit`, `finished`
    predictions : int array (runs, test images), each run's answers on the test set after its last epoch
    wanted : int, the number of runs asked for; `runs` is shorter where the ledger holds fewer
    """

    def __init__(self, name, settings, runs, predictions, wanted):
        self.name, self.settings, self.runs = name, settings, runs
        self.predictions, self.wanted = predictions, wanted

    def best_epoch(self, run):
        """Index of the epoch with the best validation accuracy; of equals the last."""
        values = run["validation_accuracy"]
        return max(range(len(values)), key=lambda epoch: (values[epoch], epoch))

    @property
    def test_accuracies(self):
        """Each run's test accuracy at its best validation epoch, an array of fractions."""
        return np.array([run["test_accuracy"][self.best_epoch(run)] for run in self.runs])

    @property
    def best_run(self):
        """Index of the run with the best validation accuracy: the chapter reports this one."""
        return max(range(len(self.runs)), key=lambda r: max(self.runs[r]["validation_accuracy"]))

    @property
    def test_accuracy(self):
        """The chapter's figure: test accuracy of the best run at its best validation epoch."""
        return float(self.test_accuracies[self.best_run])

    def plot(self, **options):
        """Draw accuracy against epochs; the options are those of `nets.plots.accuracy`."""
        from nets import plots
        plots.accuracy(self, **options)

    def __str__(self):
        count = f"{len(self.runs)} run" + "s" * (len(self.runs) > 1)
        if len(self.runs) < self.wanted:
            count += f" of the {self.wanted} planned"
        lines = [f"{self.name or 'network'}: {count}", "run  validation  test     epoch  time"]
        for i, run in enumerate(self.runs):
            epoch = self.best_epoch(run)
            lines.append(f"{run['seed']:3}  {run['validation_accuracy'][epoch]:8.2%}    "
                         f"{run['test_accuracy'][epoch]:.2%}  {epoch + 1:5}  "
                         f"{duration(run['seconds'])}" + "  <- best" * (i == self.best_run))
        accuracies = self.test_accuracies
        if len(accuracies) > 1:
            lines.append(f"test accuracy {accuracies.mean():.2%} ± {100 * accuracies.std(ddof=1):.2f} "
                         f"(mean and standard deviation); best run {self.test_accuracy:.2%}")
        for where in dict.fromkeys(f"{run['backend']} on {run['device']}" for run in self.runs):
            lines.append(where)
        return "\n".join(lines)


def train(network, data, *, epochs, mini_batch_size, learning_rate, l2=0.0, runs=1, seed=0,
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
    - "recorded": nothing is trained; the ledger answers.
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
    ledger.MissingRecord, in "recorded" mode, if the ledger has no run with these settings

    Source: the chapter, "Convolutional neural networks in practice" and its program's SGD.
    """
    if keras.backend.backend() not in ("tensorflow", "jax"):
        raise ValueError(f"nets.train needs TensorFlow or JAX, and Keras runs on "
                         f"{keras.backend.backend()}: set KERAS_BACKEND before importing keras.")
    for argument, value in {"epochs": epochs, "mini_batch_size": mini_batch_size, "runs": runs}.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{argument} must be a whole number of at least 1, not {value!r}.")
    if mini_batch_size > len(data.train.labels):
        raise ValueError(f"mini_batch_size is {mini_batch_size}, but there are only "
                         f"{len(data.train.labels)} training images.")
    if l2 < 0:
        raise ValueError(f"l2 must not be negative, and is {l2}.")
    rates = [float(learning_rate(epoch)) if callable(learning_rate) else float(learning_rate)
             for epoch in range(epochs)]
    if min(rates) <= 0:
        raise ValueError(f"learning_rate must be positive, and is {min(rates)}.")

    chosen = ledger.mode()
    if chosen == "quick":
        data = MNIST(*(Digits(part.images[:1000], part.labels[:1000]) for part in data))
        epochs, rates, runs, name = 1, rates[:1], min(runs, 2), None
    if not network.built:
        network.build((None, *data.train.images.shape[1:]))
    settings = {
        "network": ledger.describe(network), "epochs": epochs, "mini_batch_size": mini_batch_size,
        "learning_rate": rates if callable(learning_rate) else rates[0], "l2": float(l2),
        "data": {part: ledger.digest(getattr(data, part)) for part in data._fields},
    }
    if early_stopping:
        settings["early_stopping"] = early_stopping
    record = {"name": name, "fingerprint": ledger.fingerprint(settings), "settings": settings,
              "runs": []}
    stored = {}
    try:
        record = ledger.find(name, settings)
        stored = _load_predictions(name, settings)
    except ledger.MissingRecord:
        if chosen == "recorded":
            raise
    known = {run["seed"]: run for run in record["runs"]}
    seeds = range(seed, seed + runs)
    missing = [s for s in seeds if s not in known]
    if chosen == "recorded" or (chosen is None and known and not ledger.has_accelerator()):
        missing = []

    finals = {}
    if missing:
        lock = threading.Lock()

        def finish(run, weights, predictions):
            with lock:
                finals[run["seed"]], stored[run["seed"]] = weights, predictions
                known[run["seed"]] = run
                if name is None:
                    return
                if keep_weights and run["seed"] == seed:
                    _assign(network, weights)
                    ledger.replace(ledger.path_of(name, settings, ".weights.h5"), network.save_weights)
                _save_predictions(name, settings, stored)
                ledger.write({**record, "runs": [known[s] for s in sorted(known)]})

        _train_all(network, data, rates, mini_batch_size, float(l2), early_stopping, missing,
                   f"{name}-{record['fingerprint']}" if name else None, finish,
                   announce=chosen is None)
    if seed in finals:
        _assign(network, finals[seed])
    elif keep_weights and name:
        network.load_weights(ledger.path_of(name, settings, ".weights.h5"))
    done = [s for s in seeds if s in known]
    return Result(name, settings, [known[s] for s in done], np.array([stored[s] for s in done]), runs)


def evaluate(network, images, labels):
    """The share of images that the network gets right: a float from 0 to 1.

    images (n, height, width, channels), as the network takes them; labels (n,), whole numbers.
    """
    probabilities = network.predict(images, batch_size=CLASSIFY, verbose=0)
    return float(np.mean(np.argmax(probabilities, axis=-1) == labels))


# ---- the compiled part ----


def _value_and_gradient(function, weights):
    """((loss, extras), gradients) of `function`, which returns (loss, extras), at `weights`."""
    if keras.backend.backend() == "jax":
        import jax
        return jax.value_and_grad(function, has_aux=True)(weights)
    import tensorflow as tf
    with tf.GradientTape() as tape:
        tape.watch(weights)
        loss, extras = function(weights)
    return (loss, extras), tape.gradient(loss, weights)


def _compiled(function):
    if keras.backend.backend() == "jax":
        import jax
        return jax.jit(function)
    import tensorflow as tf
    return tf.function(function, jit_compile=True)


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
        takes images (chunks, n, height, width, channels); returns digits, int32 ([runs,] chunks, n).
    """
    decay = [l2_per_batch if variable.name == "kernel" else 0.0
             for variable in network.trainable_variables]

    def step(weights, state, images, labels, learning_rate):
        def loss_of(weights):
            probabilities, new_state, losses = network.stateless_call(
                weights, state, images, training=True, return_losses=True)
            right = ops.sum(probabilities * ops.one_hot(labels, probabilities.shape[-1]), axis=-1)
            data_loss = -ops.mean(ops.log(ops.maximum(right, 1e-37)))  # 1e-37: about float32's least
            return data_loss + sum(losses), (data_loss, new_state)

        (_, (loss, state)), gradients = _value_and_gradient(loss_of, weights)
        weights = [w - learning_rate * (g + d * w) if d else w - learning_rate * g
                   for w, g, d in zip(weights, gradients, decay)]
        return weights, list(state), loss

    def answers(weights, state, images):
        probabilities, _ = network.stateless_call(weights, state, images, training=False)
        return ops.cast(ops.argmax(probabilities, axis=-1), "int32")

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

        digits = ops.map(chunk, images)
        return ops.swapaxes(digits, 0, 1) if several else digits

    return _compiled(epoch), _compiled(classify)


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


def _train_all(network, data, rates, mini_batch_size, l2, early_stopping, seeds, checkpoint, finish,
               announce):
    """Train the runs with these seeds and call `finish(run, weights, predictions)` after each."""
    several = len(seeds) > 1 and ledger.has_accelerator()
    groups = [list(seeds)] if several else [[seed] for seed in seeds]
    images = len(data.train.labels)
    program = compile_training(network, l2 / (images // mini_batch_size), several)
    train_images, train_labels = (ops.convert_to_tensor(array) for array in data.train)
    chunks = [ops.convert_to_tensor(_in_chunks(part.images)) for part in (data.validation, data.test)]
    starts = {seed: starting_point(network, seed) for seed in seeds}
    workers = 1 if several else min(len(groups), ledger.cores())
    stop = threading.Event()

    def epoch(weights, state, group, number, steps=None):
        order = [mini_batches(images, mini_batch_size, seed, number) for seed in group]
        order = np.stack(order, axis=1) if several else order[0]
        return program[0](weights, state, train_images, train_labels, ops.convert_to_tensor(order),
                          ops.convert_to_tensor(steps or len(order), "int32"),
                          ops.convert_to_tensor(rates[number], "float32"))

    def train_group(group):
        path = _checkpoint_path(checkpoint, group)
        weights, state, history = _load_checkpoint(path, group, [starts[seed] for seed in group], several)
        finished = set()
        for number in range(len(rates)):
            open_runs = [seed for seed in group if seed not in finished]
            if not open_runs or stop.is_set():
                break
            if number >= len(history["seconds"]):
                began = time.perf_counter()
                weights, state, loss = epoch(weights, state, group, number)
                loss = np.reshape(loss, -1) / (images // mini_batch_size)
                for seed, value in zip(group, loss):
                    if not np.isfinite(value):
                        raise FloatingPointError(
                            f"Run {seed} diverged in epoch {number + 1}: its loss is {value}. The "
                            f"learning_rate, {rates[number]:g}, is too large here; try a third of it.")
                digits = [np.reshape(program[1](weights, state, c), (len(group), -1)) for c in chunks]
                history["loss"].append(loss)
                for key, answers, part in zip(("validation_accuracy", "test_accuracy"), digits, data[1:]):
                    history[key].append((answers[:, :len(part.labels)] == part.labels).mean(axis=1))
                history["seconds"].append(time.perf_counter() - began)
                if path:
                    _save_checkpoint(path, weights, state, history)
                progress.update(group, number + 1, history)
            for i, seed in enumerate(group):
                so_far = [values[i] for values in history["validation_accuracy"][:number + 1]]
                since = number - int(np.argmax(so_far))
                if seed not in finished and (number + 1 == len(rates) or
                                             (early_stopping and since >= early_stopping)):
                    finished.add(seed)
                    digits = np.reshape(program[1](weights, state, chunks[1]), (len(group), -1))
                    run = {"seed": seed}
                    for key in ("loss", "validation_accuracy", "test_accuracy"):
                        run[key] = [round(float(v[i]), 6) for v in history[key][:number + 1]]
                    run["seconds"] = round(sum(history["seconds"][:number + 1]), 1)
                    run["together"] = len(group) if several else workers
                    one = [np.asarray(w)[i] if several else np.asarray(w) for w in weights + state]
                    finish({**run, **ledger.provenance()}, one, digits[i, :len(data.test.labels)])
        if path and not stop.is_set():
            path.unlink(missing_ok=True)

    weights, state, _ = _load_checkpoint(None, groups[0], [starts[s] for s in groups[0]], several)
    probes = min(100, images // mini_batch_size)
    np.asarray(epoch(weights, state, groups[0], 0, steps=1)[2])  # compiles
    began = time.perf_counter()
    np.asarray(epoch(weights, state, groups[0], 0, steps=probes)[2])
    seconds = (time.perf_counter() - began) / probes * (images // mini_batch_size)
    progress = Progress(len(groups), workers, len(rates), seconds)
    if announce:
        print(f"Training {len(seeds)} run{'s' * (len(seeds) > 1)} of {len(rates)} epochs on "
              f"{ledger.device()}: about {duration(progress.time_left())}.", flush=True)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(train_group, group) for group in groups]
        try:
            for future in concurrent.futures.as_completed(futures):
                future.result()
        finally:  # an error or Ctrl-C in one run: let the others stop after their epoch
            stop.set()
            for future in futures:
                future.cancel()
            progress.clear()


def _in_chunks(images):
    """Images as (chunks, CLASSIFY, ...), the last chunk filled up with zeros."""
    full = -len(images) % CLASSIFY
    return np.concatenate([images, np.zeros((full, *images.shape[1:]), images.dtype)]).reshape(
        -1, CLASSIFY, *images.shape[1:])


def _assign(network, values):
    for variable, value in zip(network.trainable_variables + network.non_trainable_variables, values):
        variable.assign(value)


# ---- what is kept on disk ----


def _save_predictions(name, settings, stored):
    def save(path):
        with open(path, "wb") as file:
            np.savez_compressed(file, **{str(s): np.asarray(d, np.uint8) for s, d in stored.items()})
    ledger.replace(ledger.path_of(name, settings, ".predictions.npz"), save)


def _load_predictions(name, settings):
    with np.load(ledger.path_of(name, settings, ".predictions.npz"), allow_pickle=False) as arrays:
        return {int(seed): arrays[seed].astype(int) for seed in arrays.files}


def _checkpoint_path(checkpoint, group):
    """Checkpoints lie in NETS_CHECKPOINTS, by default beside the ledger; on Colab, name a Drive folder."""
    if checkpoint is None:
        return None
    folder = pathlib.Path(os.environ.get("NETS_CHECKPOINTS") or ledger.directory().parent / "checkpoints")
    return folder / f"{checkpoint}-{keras.backend.backend()}-{'-'.join(map(str, group))}.npz"


HISTORY = ("loss", "validation_accuracy", "test_accuracy", "seconds")


def _save_checkpoint(path, weights, state, history):
    arrays = {f"variable{i}": np.asarray(value) for i, value in enumerate(weights + state)}
    def save(aside):
        with open(aside, "wb") as file:
            np.savez(file, **arrays, **{key: np.array(history[key]) for key in HISTORY})
    ledger.replace(path, save)


def _load_checkpoint(path, group, starts, several):
    """(weights, state, history) from the checkpoint or, without one, from the starting points."""
    weights, state = ([np.stack(values) if several else values[0] for values in zip(*parts)]
                      for parts in zip(*starts))
    history = {key: [] for key in HISTORY}
    if path and path.exists():
        with np.load(path, allow_pickle=False) as arrays:
            values = [arrays[f"variable{i}"] for i in range(len(weights) + len(state))]
            weights, state = values[:len(weights)], values[len(weights):]
            history = {key: list(arrays[key]) for key in HISTORY}
    return ([ops.convert_to_tensor(value) for value in weights],
            [ops.convert_to_tensor(value) for value in state], history)


# ---- what the reader sees meanwhile ----


def duration(seconds):
    """Seconds in words: "41 s", "8 min 2 s", "1 h 20 min"."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


class Progress:
    """One line that updates; quiet under CI and where nobody watches."""

    def __init__(self, groups, workers, epochs, seconds_per_epoch):
        self.groups, self.workers, self.epochs = groups, workers, epochs
        self.seconds, self.done, self.handle = seconds_per_epoch, {}, None
        self.in_notebook = "ipykernel" in sys.modules
        self.watched = not os.environ.get("CI") and (self.in_notebook or sys.stderr.isatty())
        self.lock = threading.Lock()

    def time_left(self):
        epochs = self.groups * self.epochs - sum(self.done.values())
        return epochs * self.seconds / self.workers

    def update(self, group, epoch, history):
        with self.lock:
            self.done[group[0]] = epoch
            self.seconds = history["seconds"][-1]
            self._show(f"epoch {epoch}/{self.epochs} of run{'s' * (len(group) > 1)} "
                       f"{', '.join(map(str, group))} · loss {np.mean(history['loss'][-1]):.4f} · "
                       f"validation {np.mean(history['validation_accuracy'][-1]):.2%} · "
                       f"{duration(self.time_left())} left")

    def clear(self):
        if self.handle or not self.in_notebook:
            self._show("")

    def _show(self, text):
        if not self.watched:
            return
        if not self.in_notebook:
            print("\r\033[K" + text, end="", file=sys.stderr, flush=True)
        else:
            from IPython.display import Markdown, display
            if self.handle is None:
                self.handle = display(Markdown(text), display_id=True)
            else:
                self.handle.update(Markdown(text))
