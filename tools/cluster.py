"""Where `make full CLUSTER=…` trains: on the machines of a Ray cluster."""

import os
import sys


def join(address, root):
    """Join the cluster at this address, with this repository's code: its number of GPUs, and it in words."""
    try:
        import ray
    except ImportError:
        sys.exit("CLUSTER needs Ray: .venv/bin/pip install -r requirements-cluster.txt")
    home = os.path.expanduser(os.environ.get("NETS_HOME") or root / "data")  # of checkpoints, where it exists
    variables = {"KERAS_BACKEND": os.environ["KERAS_BACKEND"], "NETS_HOME": os.path.abspath(home),
                 "TF_CPP_MIN_LOG_LEVEL": "3", "TF_FORCE_GPU_ALLOW_GROWTH": "true",
                 "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    try:
        ray.init(address, log_to_driver=False, logging_level="ERROR",
                 runtime_env={"env_vars": variables, "py_modules": [str(root / "nets")]})
    except ConnectionError as error:
        sys.exit(f"No cluster answers at {address}: {error}")
    os.environ.update(CUDA_VISIBLE_DEVICES="", JAX_PLATFORMS="cpu")  # its GPUs are not for this process
    gpus, cores = (int(ray.cluster_resources().get(what, 0)) for what in ("GPU", "CPU"))
    return gpus, f"a cluster of {gpus} GPUs" if gpus else f"a cluster of {cores} cores"


def train(wanted, gpus, train_described):
    """Each experiment on a GPU, or a core; three times more if its process or machine dies."""
    import ray
    task = ray.remote(num_cpus=1, num_gpus=min(gpus, 1), max_retries=3)(train_described)
    images, running = {}, {}
    for experiment in wanted:
        key = str(experiment.result.settings["data"])
        images[key] = images.get(key) or ray.put(experiment.task.data)  # sent once
        running[task.remote(experiment.described(), images[key], own_core=not gpus)] = experiment
    while running:
        (over,), _ = ray.wait(list(running))
        try:
            yield running[over], ray.get(over)
        except ray.exceptions.RayError as error:
            yield running[over], str(error)
        del running[over]
