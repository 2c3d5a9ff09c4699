"""`train` and `evaluate`: what is asked, what the ledger has, and who trains the rest."""

import contextlib
import numbers

import keras
import numpy as np

from nets import data as checks
from nets import groups, ledger, needed, settings
from nets.data import Dataset, Examples
from nets.epoch import hush, knows_logarithm
from nets.lookup import Lookup
from nets.result import Result
from nets.runs import Task

UNASKED = 600  # seconds of training that are begun unasked, at most


def train(network, data, *, epochs, mini_batch_size, learning_rate=None, optimizer=None, l2=0.0, augment=(),
          runs=1, seed=0, early_stopping=None, name=None, keep_weights=False):
    """Train a classifier by mini-batch stochastic gradient descent, as the chapter does.

    Each step subtracts `learning_rate` times the gradient of
    mean(-log p[label]) + l2 / (2 * mini-batches an epoch) * (sum of squares of all kernels),
    or does with this gradient what `optimizer` does. Kernels are all trainable variables with two or
    more axes and without "bias" in their name. Constraints and regularisers of the layers apply.
    Every epoch visits the training images in a fresh random order (the chapter kept one order).

    Run r is reproducible from `seed + r`: the network's initialisers draw its starting weights (the
    weights that `network` holds do not matter), and a NumPy generator its mini-batches. Several runs
    are trained side by side: on a CPU a thread and a core each, on a GPU or TPU in one vectorised
    call. What happens is up to the environment variable NETS_MODE:

    - "full": runs missing from the ledger are trained. With a `name` they are recorded there, checkpoints
      are written, and the same call resumes after an interruption, bit for bit.
    - "recorded": nothing is trained; the ledger answers, maybe with fewer runs.
    - "quick": a trial with 1,000 images of each part, one epoch, two runs at most; not recorded.
    - unset: the ledger answers if it has any of these runs. Else they are trained, if that takes ten
      minutes at most.

    The ledger is the book's. Where the environment variable NETS_HOME names a folder, as one of your Drive
    on Colab, your records and checkpoints are kept there, and found again by the next machine; in `data` of
    the current folder, where the package alone is installed, which brings the book's along. Yours then come
    before the book's, but in "recorded" mode. The book's is only read, and in "full" mode not even that.

    Parameters
    ----------
    network : Keras model of images (n, height, width, channels) to probabilities (n, classes), Sequential
        or functional. Afterwards it holds the final weights of the first run, if that was trained by
        this call or its weights are in the ledger.
    data : Dataset
    epochs, mini_batch_size : int
    learning_rate : float, or a function from the epoch (0, 1, ...) to one
    optimizer : Keras optimizer, with a rate or a schedule of its own, in place of `learning_rate`
    l2 : float, the chapter's lambda
    augment : list of functions of (images, seed), or of (images, seed, labels), to as many images,
        applied in turn to all training images afresh for each epoch and run: `nets.affine`,
        `nets.elastic` or your own, their settings bound by functools.partial, as in
        [functools.partial(nets.elastic, alpha=20.0)]
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
    OSError, if the ledger cannot be written
    ledger.MissingRecord, in "recorded" mode, for what the ledger does not have
    RuntimeError, without a mode, for a training of more than ten minutes: it says how long it would take

    Source: the chapter, "Convolutional neural networks in practice" and its program's SGD.
    """
    hush()
    mode = ledger.mode()
    data = checks.check_dataset(data)
    _check_network(network, data)
    runs, seed = _whole("runs", runs, 1), _whole("seed", seed, 0)
    if seed + runs > 2**32:
        raise ValueError(f"seed must be below 2**32, for all runs, not {seed!r}.")
    task = _task(network, data, epochs, mini_batch_size, learning_rate, optimizer, l2, augment,
                 early_stopping)
    if mode == "quick":
        task, runs = _shortened(task), min(runs, 2)
    described = _described(task, constant=not callable(learning_rate))
    if name is not None:
        ledger.check_name(name)
    known = Lookup(None if mode == "quick" else name, described, task.data.test, mode)
    seeds = range(seed, seed + runs)
    missing = known.missing(seeds, mode, weights_of=seed if keep_weights else None)
    if keep_weights and seed not in missing:
        known.load_weights(network, seed)

    if missing:
        known.prepare()
    most = UNASKED if mode is None else float("inf") if known.book else None
    for run, probabilities, variables in groups.train(task, missing, known.checkpoint, most):
        if run["seed"] == seed:
            _assign(network, variables)
        known.add(run, probabilities, network if keep_weights and run["seed"] == seed else None)

    done = [s for s in seeds if s in known.runs]
    if mode == "recorded" and not done:
        others = f" (but with the seeds {', '.join(map(str, known.runs))})" if known.runs else ""
        raise ledger.MissingRecord(f"The ledger has no run {name or 'without a name'!r} with the seed {seed}"
                                   f"{others}: set NETS_MODE=full to train it.")
    shown = [known.runs[s] for s in done]
    return Result(name, described, shown, [known.answers[s] for s in done], known.books(shown))


def evaluate(network, images, labels):
    """The share of images that the network gets right: a float from 0 to 1.

    images (n, height, width, channels), as the network takes them; labels (n,), whole numbers.

    Raises
    ------
    ValueError, for a network that has no weights yet, or images or labels that do not fit it
    """
    if not isinstance(network, keras.Model) or not network.built:
        raise ValueError("evaluate needs a Keras model that has weights: train or load it first.")
    images, labels = checks.array(images, "images"), checks.array(labels, "labels")
    checks.check_images(images, "images")
    checks.check_fit(images, network, "images")
    checks.check_labels(labels, "labels", images, classes=getattr(network, "output_shape", [None])[-1])
    hush()
    probabilities = network.predict(images, batch_size=500, verbose=0)
    return float(np.mean(np.argmax(probabilities, axis=-1) == labels))


def _task(network, data, epochs, mini_batch_size, learning_rate, optimizer, l2, augment, early_stopping):
    """The `Task` of these arguments, or ValueError for what cannot be worked with."""
    if keras.backend.backend() not in ("tensorflow", "jax"):
        raise ValueError(f"nets.train needs TensorFlow or JAX, and Keras runs on "
                         f"{keras.backend.backend()}: set KERAS_BACKEND before importing keras.")
    if not isinstance(augment, (list, tuple)):
        raise ValueError(f"augment must be a list of functions, as in [nets.elastic], not {augment!r}.")
    epochs, mini_batch_size = _whole("epochs", epochs, 1), _whole("mini_batch_size", mini_batch_size, 1)
    if mini_batch_size > len(data.train.labels):
        raise ValueError(f"mini_batch_size is {mini_batch_size}, but there are only "
                         f"{len(data.train.labels)} training images.")
    if early_stopping is not None:
        early_stopping = _whole("early_stopping", early_stopping, 1)
    if not isinstance(l2, numbers.Real) or not 0 <= l2 < float("inf"):
        raise ValueError(f"l2 must be a number of at least 0, not {l2!r}.")
    if optimizer is not None:
        _check_optimizer(optimizer, learning_rate)
        rates = [0.0] * epochs
    else:
        rates = [learning_rate(e) if callable(learning_rate) else learning_rate for e in range(epochs)]
        for rate in rates:
            if not isinstance(rate, numbers.Real) or not 0 < rate < float("inf"):
                raise ValueError(f"learning_rate must be a positive number, or give one, not {rate!r}; or "
                                 "name an optimizer in its place.")
    return Task(network, data, [float(rate) for rate in rates], mini_batch_size, float(l2),
                     tuple(augment), early_stopping, optimizer)


def _whole(argument, value, least):
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{argument} must be a whole number of at least {least}, not {value!r}.")
    return int(value)


def _check_optimizer(optimizer, learning_rate):
    if learning_rate is not None:
        raise ValueError("Give learning_rate or optimizer, not both: an optimizer brings a rate of its own.")
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise ValueError(f"optimizer must be one of Keras', as keras.optimizers.Adam(), not {optimizer!r}.")
    excluding = getattr(optimizer, "_exclude_from_weight_decay_pattern", None)
    if (excluding or optimizer.use_ema or optimizer.loss_scale_factor
            or isinstance(optimizer, keras.optimizers.LossScaleOptimizer)):
        raise ValueError("nets.train cannot average weights (use_ema), scale the loss or exclude variables "
                         "from weight decay for an optimizer: leave these options out.")


@needed.without_log()  # of TensorFlow, which Keras imports on JAX, too, when it describes a network
def _check_network(network, data):
    """Build the network, and raise ValueError unless it is a chain or graph from images to probabilities."""
    if not isinstance(network, keras.Model):
        raise ValueError(f"network must be a Keras model, not {type(network).__name__}.")
    images, classes = data.train.images, 1 + max(int(part.labels.max()) for part in data)
    if isinstance(network, keras.Sequential) and not network.built:
        if not network.layers:
            raise ValueError("The network has no layers.")
        with contextlib.suppress(NotImplementedError):  # of layers that do not say
            network.compute_output_shape((None, *images.shape[1:]))  # or an error that leaves no half built
        network.build((None, *images.shape[1:]))
    readable = isinstance(network, keras.Sequential) or "layers" in network.get_config()
    if not hasattr(network, "outputs") or not readable:
        raise ValueError("nets.train needs a keras.Sequential or functional model, whose layers it can read, "
                         f"not a class of its own ({type(network).__name__}).")
    if len(network.inputs) != 1 or len(network.outputs) != 1 or isinstance(network.output_shape, dict):
        raise ValueError(f"The network must have one input and one output, not {len(network.inputs)} and "
                         f"{len(network.outputs)}.")
    softmax = getattr(network.layers[-1], "activation", None) is keras.activations.softmax
    shape = network.output_shape
    if not softmax or len(shape) != 2 or shape[1] < classes:
        raise ValueError(f"The network must end in probabilities of {classes} classes, in a layer with the "
                         f"softmax activation such as nets.Softmax({classes}); its outputs have the shape "
                         f"{shape}.")
    for name, part in data._asdict().items():
        checks.check_fit(part.images, network, f"data.{name}.images")
    unusual = settings.own_parts(network.layers[-1]) or not isinstance(network, keras.Sequential)
    if unusual and not knows_logarithm(network, images[:4]):
        raise ValueError("The last layer must end in its softmax activation, and be used but once.")
    checks.check_scales(data)
    for layer in network.layers:
        if layer.dtype_policy.quantization_mode:
            raise ValueError(f"{layer.name} is quantised ({layer.dtype_policy.name}), and cannot learn so.")
    types = {variable.dtype: keras.ops.convert_to_numpy(variable).dtype.name for variable in network.weights}
    if types.get("float64", "float64") != "float64":
        raise ValueError("The network asks for float64, which JAX gives only after "
                         'jax.config.update("jax_enable_x64", True).')


def _shortened(task):
    """The task as a quick trial of its code."""
    data = Dataset(*(Examples(part.images[:1000], part.labels[:1000]) for part in task.data))
    return task._replace(data=data, rates=task.rates[:1],
                         mini_batch_size=min(task.mini_batch_size, len(data.train.labels)))


@needed.without_log()
def _described(task, constant):
    """Everything that decides the outcome, as plain data."""
    rate = ({"optimizer": settings.describe_optimizer(task.optimizer)} if task.optimizer
            else {"learning_rate": task.rates[0] if constant else task.rates})
    described = {
        "network": settings.describe(task.network), "epochs": len(task.rates),
        "mini_batch_size": task.mini_batch_size, **rate, "l2": task.l2,
        "data": {part: settings.digest(getattr(task.data, part)) for part in task.data._fields},
    }
    if task.early_stopping:
        described["early_stopping"] = task.early_stopping
    if task.augment:
        described["augment"] = [settings.describe_function(function) for function in task.augment]
    return described


def _assign(network, values):
    for variable, value in zip(network.trainable_variables + network.non_trainable_variables, values,
                               strict=True):
        variable.assign(value)
