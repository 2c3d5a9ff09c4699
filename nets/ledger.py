"""The ledger: one JSON file for each experiment, written only by a training run.

`data/runs/<name>.json` holds the settings, their fingerprint, and what every run measured; the
probabilities given to the test images (`<name>.predictions.npz`, an array a run) and, where a page
shows them, the first run's weights (`<name>.weights.h5`) lie beside it.
"""

import contextlib
import datetime
import functools
import hashlib
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile

import keras
import numpy as np

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

from nets.data import HOME

MODES = ("full", "recorded", "quick")


class MissingRecord(LookupError):
    """The ledger holds something else than what is asked for."""


def mode():
    """What `train` is to do: NETS_MODE, one of "full", "recorded" and "quick", or None if unset."""
    value = os.environ.get("NETS_MODE") or None
    if value not in (*MODES, None):
        raise ValueError(f"NETS_MODE is {value!r}; set it to one of {', '.join(MODES)}, or unset it.")
    return value


def directory():
    """The ledger's folder."""
    return HOME / "runs"


def describe(network):
    """A network as plain data, the same for equal networks: a list with a dict for each layer.

    Names are left out, and so is the type float32. A layer that is not simply fed by the one before
    it lists the numbers of those that feed it.
    """
    def plain(value):
        if isinstance(value, dict) and "class_name" in value and "config" in value:
            return {value["class_name"]: plain(value["config"])}
        if isinstance(value, dict):
            return {key: plain(v) for key, v in value.items() if v is not None}
        return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value

    def sources(value):
        if isinstance(value, dict):
            if "keras_history" in value:
                return [numbers[value["keras_history"][0]]]
            value = value.values()
        elif not isinstance(value, (list, tuple)):
            return []
        return [source for part in value for source in sources(part)]

    described = []
    for layer in network.layers:
        config = {k: v for k, v in plain(layer.get_config()).items()
                  if k not in ("name", "dtype", "trainable")}
        if layer.dtype_policy.name != "float32":
            config["dtype"] = layer.dtype_policy.name
        if not layer.trainable:
            config["trainable"] = False
        described.append({type(layer).__name__: config})
    if not isinstance(network, keras.Sequential):
        numbers = {layer.name: number for number, layer in enumerate(network.layers)}
        for layer, node in zip(described, network.get_config()["layers"]):
            layer["from"] = sources(node["inbound_nodes"])
    return described


def describe_function(function):
    """A function, and what functools.partial bound to it, as plain data: ["elastic", {"alpha": 20.0}]."""
    bound = function if isinstance(function, functools.partial) else functools.partial(function)
    name = getattr(bound.func, "__name__", "<lambda>")
    if name == "<lambda>" or bound.args:
        raise ValueError("The ledger must be able to tell augmentations apart: define a function with a "
                         "name, and bind its settings by their names, as in "
                         "functools.partial(nets.elastic, alpha=20.0).")
    return [name, bound.keywords]


def digest(part):
    """Number of images of a `Digits` and the start of a SHA-256 sum of its images and labels."""
    total = hashlib.sha256(np.ascontiguousarray(part.images))
    total.update(np.ascontiguousarray(part.labels))
    return [len(part.labels), total.hexdigest()[:16]]


def fingerprint(settings):
    """16 hexadecimal digits that differ whenever any setting does."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def read(path):
    """The record in the file `path`."""
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path.name} in the ledger is damaged ({error}): restore it, for example with "
                         "`git checkout`, or remove it and train again.") from error


def find(name, settings):
    """The record of `name` with exactly these settings, or None if nothing has this name.

    Raises
    ------
    MissingRecord, if the name stands for other settings only. The message names those that differ.
    """
    folder, wanted = directory(), fingerprint(settings)
    other = None
    for path in [folder / f"{name}.json", folder / f"{name}~{wanted[:8]}.json"]:
        if path.exists():
            record = read(path)
            if record["fingerprint"] == wanted:
                return record
            other = record
    if other:
        differ = [key for key in {**settings, **other["settings"]}
                  if settings.get(key) != other["settings"].get(key)]
        raise MissingRecord(f"The ledger's run {name!r} was made with other settings "
                            f"({', '.join(differ)} differ): restore them, or set NETS_MODE=full to "
                            "train with these.")
    return None


def path_of(name, settings, suffix=".json"):
    """Where this experiment's file is or belongs.

    That is `<name><suffix>`, unless a record with other settings already has this name: then
    `<name>~<fingerprint><suffix>`, so that no result is overwritten by another experiment's.
    """
    plain, wanted = directory() / f"{name}.json", fingerprint(settings)
    taken = plain.exists() and read(plain)["fingerprint"] != wanted
    return directory() / ((f"{name}~{wanted[:8]}" if taken else name) + suffix)


def add(name, settings, run, probabilities):
    """Add a finished run and its `rounded` probabilities to the record of these settings, or start one."""
    with locked():
        runs, arrays = runs_of(name, settings)
        runs[run["seed"]], arrays[run["seed"]] = run, probabilities
        save_arrays(path_of(name, settings, ".predictions.npz"),
                    {str(seed): arrays[seed] for seed in sorted(arrays)})
        head = json.dumps({"name": name, "fingerprint": fingerprint(settings), "settings": settings,
                           "runs": []}, indent=1)
        lines = ",\n".join("  " + json.dumps(runs[seed]) for seed in sorted(runs))  # a line a run
        text = head.replace('"runs": []', f'"runs": [\n{lines}\n ]') + "\n"
        replace(path_of(name, settings), lambda aside: aside.write_text(text))


def runs_of(name, settings):
    """Runs of a record and their test images' probabilities, two dicts by seed; empty without a record."""
    try:
        record = find(name, settings)
    except MissingRecord:
        record = None
    if record is None:
        return {}, {}
    path = path_of(name, settings, ".predictions.npz")
    if not path.exists():
        raise MissingRecord(f"{path.name} is missing from the ledger: restore it, or remove {name}.json "
                            "too and train again.")
    return ({run["seed"]: run for run in record["runs"]},
            {int(seed): array for seed, array in load_arrays(path).items()})


def rounded(probabilities):
    """Probabilities (..., classes) to three digits, as float16; each image's largest stays the largest."""
    small = np.round(probabilities, 3).astype(np.float16)
    top = probabilities.argmax(axis=-1)
    tied = small.argmax(axis=-1) != top
    small[tied, top[tied]] = np.nextafter(small[tied].max(axis=-1), np.float16(2))
    return small


def load_weights(path, network):
    """Give the network the weights stored at `path`."""
    if not path.exists():
        raise MissingRecord(f"{path} is missing: set NETS_MODE=full to train the network again.")
    network.load_weights(path)


def save_arrays(path, arrays):
    """Write a dict of arrays as an .npz file, whole or not at all."""
    def save(aside):
        with open(aside, "wb") as file:
            np.savez_compressed(file, **arrays)
    replace(path, save)


def load_arrays(path):
    """The dict of arrays in an .npz file."""
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def replace(path, save):
    """Let `save` write a file aside, then move it to `path`: there is never half a file there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".aside-") as folder:
        aside = pathlib.Path(folder) / path.name
        save(aside)
        with open(aside, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(aside, path)


@contextlib.contextmanager
def locked():
    """Meanwhile, no other process adds to the ledger. (Windows has no such lock.)"""
    directory().mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    folder = os.open(directory(), os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def has_accelerator():
    """Whether Keras' backend sees a GPU or TPU."""
    return any(not device.startswith("cpu") for device in keras.distribution.list_devices())


@functools.cache
def device():
    """The hardware that trains, in words: "NVIDIA T4" or "AMD EPYC, 2 cores"."""
    if not has_accelerator():
        name = platform.processor() or platform.machine()
        cpuinfo = pathlib.Path("/proc/cpuinfo")
        if cpuinfo.exists():
            name = next((line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines()
                         if line.startswith("model name")), name)
        return f"{name}, {cores()} core{'s' * (cores() > 1)}"
    if keras.backend.backend() == "jax":
        import jax
        return jax.devices()[0].device_kind
    import tensorflow as tf
    details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
    return details.get("device_name", "GPU")


def cores():
    """Number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@functools.cache
def commit():
    """The commit of the code that this process runs, or None outside a repository."""
    git = functools.partial(subprocess.run, cwd=pathlib.Path(__file__).parent, capture_output=True, text=True)
    try:
        head = git(["git", "rev-parse", "HEAD"]).stdout.strip()
        changed = git(["git", "status", "--porcelain", "."]).stdout.strip()
    except OSError:  # no git
        return None
    return (head + " (with uncommitted changes)" * bool(changed)) or None


def provenance():
    """Device, backend, versions, commit and time of a run that ends now."""
    backend = keras.backend.backend()
    return {
        "device": device(), "backend": backend, "commit": commit(),
        "versions": {"python": platform.python_version(),
                     **{name: sys.modules[name].__version__ for name in ("keras", backend, "numpy")}},
        "finished": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
