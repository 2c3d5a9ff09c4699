"""`make full`: trains what pages lack, and only that."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import nbformat
import pytest
from experiments import sequential
from test_book import tool

import nets
from nets import groups, ledger, runs

ROOT = pathlib.Path(__file__).resolve().parent.parent
CELLS = ["""
import keras
import nets
if "google.colab" in __import__("sys").modules:
    %pip install nothing
mnist = nets.load_mnist()
few = nets.Dataset(*(nets.Examples(part.images[:300], part.labels[:300]) for part in mnist))
def train(name, **options):
    network = keras.Sequential([keras.layers.Rescaling(1 / 256), nets.Softmax(10)])
    options = {"epochs": 2, "mini_batch_size": 10, "learning_rate": 0.1, **options}
    return nets.train(network, few, name=name, **options)
""", """
result = train("tiny", runs=2, keep_weights=True)
print(result.predictions[0])  # fails as long as there is no record
""", """
train("wild", learning_rate=1e38)
"""]


def repository(folder, pages):
    """A repository in this folder, with these pages, lists of cells by name, and no TensorFlow to import."""
    shutil.copytree(ROOT / "nets", folder / "nets", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "tensorflow.py").write_text("raise ImportError")
    for name in ("tools", "data", "book"):
        (folder / name).mkdir()
    for name in ("full.py", "cluster.py"):
        shutil.copy(ROOT / "tools" / name, folder / "tools")
    (folder / "data/mnist").symlink_to(ROOT / "data/mnist")
    for name, cells in pages.items():
        page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        nbformat.write(page, folder / f"book/{name}.ipynb")
    return folder


@pytest.fixture
def copy(tmp_path):
    """A repository with two pages: one trains, the other diverges."""
    return repository(tmp_path, {"01-tiny": CELLS[:2], "02-wild": [CELLS[0], CELLS[2]]})


def started(copy, *arguments):
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(copy)}
    return subprocess.Popen([sys.executable, copy / "tools/full.py", *arguments], env=environment,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def full(copy, *arguments):
    process = started(copy, *arguments)
    return subprocess.CompletedProcess([], stdout=(output := process.communicate(timeout=300))[0],
                                       stderr=output[1], returncode=process.returncode)


def seeds(copy, name="tiny"):
    return [run["seed"] for run in json.loads((copy / f"data/runs/{name}.json").read_text())["runs"]]


def test_full_trains_what_is_missing_in_processes_and_only_that(copy):
    first = full(copy, "01", "--runs", "1")
    assert first.returncode == 0, first.stderr
    assert "Training 1 run on" in first.stdout and "tiny 0: recorded" in first.stdout and seeds(copy) == [0]
    again = full(copy)
    assert "tiny 1, wild 0" in again.stdout or "wild 0, tiny 1" in again.stdout
    assert "tiny 1: recorded" in again.stdout and seeds(copy) == [0, 1]
    assert "wild 0: Run 0 diverged" in again.stdout
    assert again.returncode == 1 and "1 of 2 runs failed" in again.stderr
    weights = (copy / "data/runs/tiny.weights.h5").stat().st_mtime_ns
    last = full(copy, "01")
    assert last.returncode == 0 and "Training" not in last.stdout and "tiny: 2 runs" in last.stdout
    assert (copy / "data/runs/tiny.weights.h5").stat().st_mtime_ns == weights
    assert not list((copy / "data/checkpoints").glob("tiny*"))

    # a seed that a page names beside its runs
    path = copy / "book/01-tiny.ipynb"
    page = nbformat.read(path, as_version=4)
    page.cells.append(nbformat.v4.new_code_cell('train("tiny", seed=5)'))
    nbformat.write(page, path)
    last = full(copy, "01")
    assert last.returncode == 0 and "Training 1 run on" in last.stdout and seeds(copy) == [0, 1, 5]


def until(condition, seconds=300):
    """What the condition gives once it is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return found


@pytest.mark.skipif(not pathlib.Path("/proc").exists(), reason="needs Linux' list of processes")
def test_killed_processes_cost_no_more_than_their_own_work(copy):
    """The first one's workers end with it; a worker's run goes on in another, and others are left alone."""
    path = copy / "book/01-tiny.ipynb"
    page = nbformat.read(path, as_version=4)
    page.cells[1].source = 'train("tiny", runs=2, epochs=1000)'
    nbformat.write(page, path)

    def training(process):
        """The workers, once there is a checkpoint."""
        tasks = pathlib.Path(f"/proc/{process.pid}/task").glob("*/children")
        lists = [path.read_text().split() for path in tasks]
        return list((copy / "data/checkpoints").glob("tiny*.npz")) and [
            int(number) for number in sum(lists, [])
            if b"spawn_main" in pathlib.Path(f"/proc/{number}/cmdline").read_bytes()]

    driver = started(copy, "01")
    workers = until(lambda: training(driver))
    driver.kill()
    driver.wait()
    until(lambda: not any(pathlib.Path(f"/proc/{worker}").exists() for worker in workers), seconds=20)

    driver = started(copy, "01")
    until(lambda: "Training" in driver.stdout.readline())
    os.kill(until(lambda: training(driver))[0], signal.SIGKILL)
    output, errors = driver.communicate(timeout=300)
    assert driver.returncode == 0, output + errors
    assert "tiny 0: recorded" in output and "tiny 1: recorded" in output and seeds(copy) == [0, 1]


TWO_CORES = """
import os, sys
sys.path.insert(0, sys.argv[1])
import full
cores = os.sched_getaffinity(0)
full.take_core()
first = os.sched_getaffinity(0)
os.sched_setaffinity(0, cores)
full.take_core()
print(len(cores), len(first), len(first | os.sched_getaffinity(0)))
"""


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux' ways to choose a core")
def test_a_core_is_taken_once():
    shown = subprocess.run([sys.executable, "-c", TWO_CORES, ROOT / "tools"], capture_output=True, text=True)
    cores, first, both = map(int, shown.stdout.split())
    assert first == 1 and both == 2 or cores == 1


def test_full_names_pages_that_are_not_there(copy):
    wrong = full(copy, "01", "77")
    assert wrong.returncode == 1 and "77" in wrong.stderr


def test_on_an_accelerator_the_runs_of_an_experiment_are_one_call(few, home, monkeypatch):
    module = tool("full")
    options = {"epochs": 1, "mini_batch_size": 10, "learning_rate": 0.1, "name": "tiny", "runs": 3}
    network = sequential(nets.Softmax(10))
    result = nets.train(network, few, **{**options, "runs": 1})
    task = runs.Task(network, few, [0.1], 10)
    experiment = module.Experiment("tiny", 0, task, options, result, seeds=[1, 2])
    assert experiment._replace(seeds=[1]).work() == 784 * 10 * 300 + 10 * 300
    assert experiment.missing(None) == [1, 2]
    calls, train = [], groups.train
    monkeypatch.setattr(groups, "train", lambda task, seeds, *rest: (
        calls.append(list(seeds)), train(task, seeds, *rest))[1])
    assert module.record([experiment], map(module.train_here, [experiment])) == 0
    assert calls == [[1, 2]]
    assert [run["seed"] for run in ledger.read(home / "runs/tiny.json")["runs"]] == [0, 1, 2]

    # the ledger says what is missing, also of runs that the page did not ask for; groups stay as they were
    assert [run["seed"] for run in result.runs] == [0] and experiment.missing(6) == [3, 4, 5]
    assert [job.seeds for job in experiment.jobs(8, together=2)] == [[3], [4, 5], [6, 7]]
    monkeypatch.setenv("NETS_HOME", str(home / "of a reader"))
    assert experiment.missing(None) == [0, 1, 2]


def test_of_two_pages_that_ask_for_an_experiment_the_larger_number_of_runs_counts(tmp_path, home):
    cells = ['train("tiny", keep_weights=True)', 'train("tiny", runs=3)', 'train("tiny", runs=2)']
    repository(tmp_path / "there", {"01-tiny": [CELLS[0], *cells]})
    found, failed = tool("full").experiments([tmp_path / "there/book/01-tiny.ipynb"])
    assert not failed and list(found) == [("tiny", 0)]
    assert found["tiny", 0].missing(None) == [0, 1, 2] and found["tiny", 0].options["keep_weights"]


def test_with_an_empty_folder_pages_go_on_with_the_books_results(tmp_path, home, monkeypatch):
    """What a cell needs is there, so that experiments after it are found; in the folder all is missing."""
    cells = [CELLS[0], 'rate = train("tiny").test_accuracy', 'train("next", learning_rate=rate)']
    repository(tmp_path / "there", {"01-tiny": cells})
    pages = [tmp_path / "there/book/01-tiny.ipynb"]
    found, failed = tool("full").experiments(pages)
    assert len(failed) == 2 and list(found) == [("tiny", 0)]
    found["tiny", 0].train(0)
    monkeypatch.setenv("NETS_HOME", str(home / "of a reader"))
    found, failed = tool("full").experiments(pages)
    assert not failed and list(found) == [("tiny", 0), ("next", 0)]
    assert all(experiment.missing(None) == [0] for experiment in found.values())
