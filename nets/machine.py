"""The machine: what trains here, and with which versions."""

import datetime
import functools
import os
import pathlib
import platform
import subprocess
import sys

import keras


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
            name = next((line.split(":")[1].strip() for line in cpuinfo.read_text("utf-8").splitlines()
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
    git = functools.partial(subprocess.run, cwd=pathlib.Path(__file__).parent, capture_output=True,
                            encoding="utf-8")
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
