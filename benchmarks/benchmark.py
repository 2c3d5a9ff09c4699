"""How fast are `nets.train` and what one might use instead? `make benchmark` writes results.json:

rows    the time of a training step, for three networks and several ways to train them: on one core of
        a CPU, where the book trains a run a core, and on all of them
growth  how it grows with the runs at once, the mini-batch, the images and the hidden neurons
start   seconds from the start of a process to the end of `import nets`, or of the first epoch

This takes about 20 minutes on two idle cores, and 10 GB of memory. Each measurement has a
process of its own. Those of a group live side by side and measure in turns, so that other work on the
machine hurts all of them alike, and the least of several times counts. Compare figures of one file
only: machines differ.

The rows of PyTorch need `.venv/bin/pip install torch==2.13.0`, and a C++ compiler for the compiled one.
Afterwards `make pages` renews the page on speed, and tests/test_benchmarks.py says what to mend in its words.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

HERE = pathlib.Path(__file__).resolve().parent
BACKENDS = [backend for backend in ("tensorflow", "jax") if importlib.util.find_spec(backend)]
NETWORKS = "shallow", "two-conv-pool", "dropout", "large matrices"
GROWTH = {"runs": (1, 2, 4, 8, 16, 32), "mini_batch_size": (10, 30, 100, 300, 1000),
          "images": (10_000, 50_000, 250_000, 1_000_000), "units": (100, 300, 1000, 4000)}


class Task(NamedTuple):
    """A measurement: what it is called in the results, Keras' backend, and what measure.py is told."""

    fields: dict
    backend: str
    spec: dict


def rows(network, torch, compiler, accelerator=False):
    def task(how, backend, note="", runs=1, cores="all", **spec):
        name = how if backend == "torch" else f"{how} {backend}"
        return Task({"network": network, "how": name + note, "runs": runs, "cores": cores}, backend,
                    {"what": "step", "how": how, "network": network, "runs": runs, "cores": cores, **spec})

    where = ["all"] if accelerator else [1, "all"]
    if network == "large matrices":  # how fast is the machine at best?
        return [task("matrix products", "jax", cores=cores) for cores in where]
    tasks = []
    for cores in where:
        tasks += [task("fit", backend, layers="keras", cores=cores) for backend in BACKENDS]
        if torch:
            tasks.append(task("torch eager", "torch", cores=cores))
        if torch and compiler:
            tasks.append(task("torch compiled", "torch", cores=cores))
        tasks += [task("nets.train", backend, cores=cores) for backend in BACKENDS]
        tasks.append(task("matrix products", "jax", cores=cores))
    tasks += [task("nets.train", backend, runs=runs) for backend in BACKENDS for runs in (2, 5)]
    if network == "two-conv-pool":  # what makes the difference?
        tasks += [task("fit", "tensorflow", ", 50 steps a call", layers="keras", steps_per_execution=50,
                       cores=where[0]),
                  task("fit", "jax", ", layers of nets", cores=where[0]),
                  task("nets.train", "jax", ", layers of Keras", layers="keras", cores=where[0]),
                  task("nets.train", "jax", ", batch first", layers="batch first", cores=where[0])]
    return [task for task in tasks if task.backend in (*BACKENDS, "torch")]


def growth(over):
    def task(how, value, **spec):
        return Task({"over": over, "value": value, "how": f"{how} jax"}, "jax",
                    {"what": "step", "how": how, "network": "two-conv-pool", over: value, **spec})

    tasks = [task("nets.train", value) for value in GROWTH[over]]
    if over == "mini_batch_size":
        tasks += [task("fit", value, layers="keras") for value in GROWTH[over]]
    if over in ("mini_batch_size", "units"):
        tasks += [task("matrix products", value) for value in GROWTH[over]]
    return tasks


def starts():
    imports = [Task({"what": "import nets", "how": backend}, backend, {"what": "import nets"})
               for backend in BACKENDS]
    return imports + [Task({"what": "first epoch", "network": "two-conv-pool", "how": f"{how} {backend}"},
                           backend, {"what": "first epoch", "how": how, "network": "two-conv-pool"})
                      for backend in BACKENDS for how in ("fit", "nets.train")]


# ---- processes ----


class Process:
    """measure.py at work on a task."""

    def __init__(self, task, enough, folder):
        spec = task.spec | ({"enough": enough} if task.spec["what"] == "step" else {})
        self.task, self.log = task, tempfile.TemporaryFile("w+", dir=folder)
        environment = {**os.environ, "KERAS_BACKEND": task.backend, "CI": "true",
                       "NETS_MODE": "full" if enough else "quick", "TORCHINDUCTOR_CACHE_DIR": folder,
                       "XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
        self.began = time.perf_counter()
        self.process = subprocess.Popen([sys.executable, HERE / "measure.py", json.dumps(spec)], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
                                        env=environment)

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            self.log.seek(0)
            raise RuntimeError(f"{self.task.fields} failed:\n{self.log.read()[-2000:]}")
        return json.loads(line)

    def measure(self):
        print(file=self.process.stdin, flush=True)
        return self.answer()

    def end(self):
        self.process.kill()
        self.process.communicate()
        self.log.close()


def measured(tasks, repeats, enough, folder):
    """The tasks' steps, measured in turns: their fields with the least time and the peak memory."""
    processes = []
    try:
        for task in tasks:
            processes.append(Process(task, enough, folder))
            task.fields.update(processes[-1].answer())
        answers = [[process.measure() for process in processes] for _ in range(repeats)]
    finally:
        for process in processes:
            process.end()
    for task, own in zip(tasks, zip(*answers)):
        task.fields.update(min(own, key=lambda answer: answer["ms_per_step"]),
                           memory_mb=max(answer["memory_mb"] for answer in own))
    return [rounded(task.fields) for task in tasks]


def started(tasks, repeats, enough, folder):
    """The tasks, begun from nothing in turns: their fields with the least time."""
    for _ in range(repeats):
        for task in tasks:
            process = Process(task, enough, folder)
            try:
                answer = process.answer() | {"seconds": time.perf_counter() - process.began}
            finally:
                process.end()
            if answer["seconds"] < task.fields.get("seconds", float("inf")):
                task.fields.update(answer)
    return [rounded(task.fields) for task in tasks]


def rounded(fields):
    return {key: float(f"{value:.4g}") if isinstance(value, float) else value
            for key, value in fields.items()}


# ---- the whole ----


def table(rows):
    """The rows as lines; the last column says how many times as fast as the first on so many cores."""
    yield f"{'':38} runs cores  ms a step  CPU ms   memory   speed"
    for row in rows:
        name = " ".join(str(row[key]) for key in ("over", "value", "how") if key in row)
        runs, cores = row.get("runs", ""), row.get("cores", "")
        first = next(other for other in rows if other.get("cores", "") == cores)
        yield (f"{name:38} {runs:>4} {cores:>5} {row['ms_per_step']:10.3f} {row['cpu_ms_per_step']:7.3f} "
               f"{row['memory_mb']:5.0f} MB {first['ms_per_step'] / row['ms_per_step']:6.2f} x")


def first_of_each(key, tasks):
    found = {}
    for task in tasks:
        found.setdefault(task.spec[key], task)
    return list(found.values())


def main(path, quick):
    torch, compiler = importlib.util.find_spec("torch") is not None, shutil.which("g++") is not None
    if not torch:
        print("PyTorch is not installed: its rows are left out.")
    elif not compiler:
        print("There is no C++ compiler: PyTorch's compiled rows are left out.")
    start_tasks, repeats, enough = starts(), 4, 0.5
    if quick:
        start_tasks, repeats, enough = start_tasks[1:4], 1, 0

    with tempfile.TemporaryDirectory() as folder:
        answer = started([Task({}, "jax", {"what": "machine"})], 1, enough, folder)[0]
        machine, accelerator = answer["machine"], answer["accelerator"]
        step_groups = [rows(network, torch, compiler, accelerator) for network in NETWORKS]
        growth_groups = [growth(over) for over in GROWTH]
        if quick:
            step_groups, growth_groups = [first_of_each("how", step_groups[0])], [growth("runs")[1:2]]
        libraries = ["keras", *BACKENDS, "numpy"] + ["torch"] * torch
        versions = {"python": platform.python_version(),
                    **{library: importlib.metadata.version(library) for library in libraries}}
        results = {"machine": machine, "versions": versions, "rows": [], "growth": []}
        print(machine, *(f"{name} {version}" for name, version in versions.items()), sep=", ")
        for part, groups in (("rows", step_groups), ("growth", growth_groups)):
            for tasks in groups:
                group = measured(tasks, repeats, enough, folder)
                results[part] += group
                print(f"\n{group[0].get('network', '')}", *table(group), sep="\n", flush=True)
        results["start"] = started(start_tasks, max(1, repeats // 2), enough, folder)

    print("\nfrom the start of a process")
    for row in results["start"]:
        accuracy = f"  test accuracy {row['accuracy']:.4f}" if "accuracy" in row else ""
        print(f"{row['what'] + ', ' + row['how']:38} {row['seconds']:6.1f} s{accuracy}")
    path.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few rows and steps: does it work?")
    parser.add_argument("--output", type=pathlib.Path, default=HERE / "results.json")
    arguments = parser.parse_args()
    main(arguments.output, arguments.quick)
