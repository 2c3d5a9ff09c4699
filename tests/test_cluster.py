"""`make full CLUSTER=…` on a Ray cluster of two nodes, both here: processes and a node are killed."""

import contextlib
import json
import os
import pathlib
import re
import signal
import tempfile
import time
import uuid

import h5py
import numpy as np
import psutil
import pytest
from test_book import tool
from test_full import repository, started, until

from nets import files

pytest.importorskip("ray", reason="needs Ray: make cluster installs it")
pytestmark = pytest.mark.skipif(not pathlib.Path("/proc").exists(), reason="needs Linux' list of processes")
MARK = "READING_DIGITS_TEST"  # an environment variable of all processes of a test
CELLS = ["""
import functools
import keras
import nets
mnist = nets.load_mnist()
few = nets.Dataset(*(nets.Examples(part.images[:500], part.labels[:500]) for part in mnist))
slope = 2
class Doubled(keras.layers.Layer):
    def call(self, x):
        return slope * x
def swish(x):
    return x * keras.ops.sigmoid(slope * x)
def darker(images, seed, by):
    return images - keras.ops.minimum(images, by)
def rate(epoch):
    return 0.1 / (1 + epoch)
def train(name, *layers, **options):
    network = keras.Sequential([keras.layers.Rescaling(1 / 256), *layers, nets.Softmax(10)])
    options = {"epochs": 800, "mini_batch_size": 10, "learning_rate": 0.1, "runs": 2, **options}
    return nets.train(network, few, name=name, **options)
""", """
train("plain", epochs=20, runs=8, keep_weights=True)
train("own", Doubled(), nets.FullyConnected(5, activation=swish), learning_rate=rate)
train("augmented", nets.FullyConnected(5), augment=[functools.partial(darker, by=9)])
"""]


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A cluster of two nodes, with a core each, and without TensorFlow, which takes long to import."""
    from ray.cluster_utils import Cluster
    (tmp_path / "tensorflow.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv(MARK, uuid.uuid4().hex)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # as urgent as all else here
    node = {"num_cpus": 1, "object_store_memory": 80 << 20}
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:  # sockets need a short name
        started = Cluster(True, head_node_args={**node, "include_dashboard": False, "temp_dir": folder})
        started.node = node
        started.add_node(**node)
        yield started
        started.shutdown()
        until(lambda: not processes(b""), seconds=20)


def processes(what):
    """Numbers of the test's processes whose command line has `what` in it."""
    found, mark = [], f"{MARK}={os.environ[MARK]}".encode()
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if what in (folder / "cmdline").read_bytes() and mark in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:  # it has just ended
            pass
    return [number for number in found if number != os.getpid()]


def ledger(folder):
    """What the records in this folder say of the runs, and the numbers that lie beside them."""
    numbers = {}
    for path in folder.glob("*.json"):
        record = json.loads(path.read_text())
        for run in record["runs"]:
            for key in ("seconds", "together", "device", "backend", "versions", "commit", "finished"):
                del run[key]
        numbers[path.name] = record
    for path in folder.glob("*.npz"):
        numbers[path.name] = {seed: array.tobytes() for seed, array in files.load_arrays(path).items()}
    for path in folder.glob("*.h5"):
        with h5py.File(path) as file:
            file.visititems(lambda name, item: numbers.update(  # noqa: B023
                {name: np.asarray(item).tobytes()} if isinstance(item, h5py.Dataset) else {}))
    return numbers


def test_what_is_killed_on_a_cluster_goes_on(tmp_path, home, cluster):
    """A worker, a node, the driver: the ledger is that of runs that nobody disturbed, to the last digit."""
    there, names = repository(tmp_path / "there", {"01-twelve": CELLS}), {"__name__": "__main__"}
    for cell in CELLS:
        tool("full").run_cell(cell, names)
    furthest = {}

    def epochs():
        """How many epochs the checkpoints have, by name: never fewer than they had."""
        now = {}
        for path in (there / "data/checkpoints").glob("*.npz"):
            with contextlib.suppress(FileNotFoundError):
                now[path.name] = len(files.load_arrays(path)["loss"])
        assert all(now[name] >= furthest.get(name, 0) for name in now)
        furthest.update(now)
        return now

    def amid(node=None):
        """The workers, of all nodes or one, when a long run has a checkpoint and is far from its end."""
        far = [number for name, number in epochs().items() if not name.startswith("plain")]
        here = psutil.Process(node.all_processes["raylet"][0].process.pid).children(True) if node else []
        return [worker for worker in processes(b"ray::train_described") if any(n < 600 for n in far)
                and (not node or worker in [process.pid for process in here])]

    driver, (node,) = started(there, "--cluster", cluster.address), cluster.worker_nodes
    os.kill(until(amid)[0], signal.SIGKILL)
    time.sleep(1)
    until(lambda: amid(node))
    cluster.remove_node(node, allow_graceful=False)
    until(lambda: ledger(there / "data/runs") and amid())
    driver.kill()
    said = re.findall(r"^\w+ \d: .*", driver.communicate()[0], re.MULTILINE)
    assert said and all(line.endswith(": recorded") for line in said)
    until(lambda: not processes(b"ray::train_described"))
    assert epochs()

    cluster.add_node(**cluster.node)
    driver = started(there, "--cluster", cluster.address)
    output, errors = driver.communicate(timeout=300)
    assert driver.returncode == 0, output + errors
    assert 0 < output.count(": recorded") < 12
    assert ledger(there / "data/runs") == ledger(home / "runs") and len(ledger(home / "runs")) > 6
    assert not list((there / "data/checkpoints").glob("*.npz"))
