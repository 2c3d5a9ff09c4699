"""Train everything that chosen pages still lack in the ledger, at full scale: make full PAGES="05 07"

The pages are the list of experiments: their code runs here once, answered by the ledger, and every named call
of `nets.train` on the way is noted. What is missing is then trained, first one run of each experiment, the
longest first: on a CPU in processes of one core each, on a GPU or TPU an experiment's runs at once, or either
on the machines of a Ray cluster. This process alone writes the ledger. The same command goes on after it.
"""

import argparse
import contextlib
import io
import itertools
import linecache
import marshal
import math
import multiprocessing.pool
import os
import pathlib
import signal
import socket
import sys
import threading
import time
import traceback
import types
from typing import NamedTuple
from unittest import mock

import cloudpickle
import nbformat

ROOT = pathlib.Path(__file__).resolve().parent.parent
cloudpickle.Pickler.dispatch_table[types.CodeType] = (  # as it is, so that its cell is found
    lambda code: (marshal.loads, (marshal.dumps(code),)))


class Experiment(NamedTuple):
    """A call of `nets.train`, what the ledger answered, and seeds of runs that are to be trained together."""

    name: str
    first: int  # seed
    task: object  # of nets.runs
    options: dict
    result: object
    seeds: list = ()

    @property
    def entry(self):
        """Its place in the ledger."""
        from nets import ledger
        return ledger.Entry(self.name, self.result.settings, self.task.data.test, ledger.home() / "runs")

    def missing(self, runs):
        """Seeds of the runs that the ledger lacks; `runs` is their number, or None for the page's own."""
        wanted = range(self.first, self.first + (runs or self.options.get("runs", 1)))
        return sorted({*wanted} - self.entry.runs()[0].keys())

    def jobs(self, runs, together):
        """What is missing, so many runs together; after an interruption the same, for their checkpoints."""
        for _, seeds in itertools.groupby(self.missing(runs), lambda seed: (seed - self.first) // together):
            yield self._replace(seeds=[*seeds])

    def work(self):
        """Multiplications that the forward passes of these runs still take: a measure of their length."""
        from nets import files
        a_step, epochs = 0, len(self.task.rates)
        for layer in self.task.network.layers:
            positions = math.prod(layer.output.shape[1:-1]) * getattr(layer, "pool_size", 1)**2
            a_step += sum(math.prod(weight.shape) for weight in layer.trainable_weights) * positions
        with contextlib.suppress(FileNotFoundError, ValueError):
            epochs -= len(files.load_arrays(self.entry.checkpoint(self.seeds))["loss"])
        return a_step * len(self.task.data.train.labels) * epochs * len(self.seeds)

    def train(self, seed, engine=None):
        """`nets.train`, or with an engine in place of `nets.groups.train`; keeps the first run's weights."""
        import nets
        keep = self.options.get("keep_weights", False) and seed == self.first
        with mock.patch.object(nets.groups, "train", engine or nets.groups.train):
            return nets.train(self.task.network, self.task.data,
                              **{**self.options, "seed": seed, "runs": 1, "keep_weights": keep})

    def add(self, finished):
        """Add these runs, as they come out of `nets.groups.train`, to the ledger."""
        from nets import machine
        for run in finished:
            run.run["commit"] = machine.commit()  # other machines have this code, but not its repository
            self.train(run.run["seed"], lambda task, seeds, *_, run=run: [run] * len(seeds))
        self.entry.checkpoint(self.seeds).unlink(missing_ok=True)

    def described(self):
        """These runs but their images, in bytes, with what a page defines itself and what its cells say."""
        from nets import settings
        task, entry = self.task._replace(data=None), self.entry
        entry.test = None
        own = settings.own_parts(*task.network._flatten_layers(), *filter(None, [task.optimizer]))
        cells = {file: lines for file, lines in linecache.cache.items() if file.startswith("<cell ")}
        return cloudpickle.dumps((cells, {thing.__name__: thing for thing in own}, cloudpickle.dumps(task),
                                  self.seeds, entry))


def run_cell(source, names):
    """Execute a cell with these names. Its source can be read afterwards, as `nets.settings` does."""
    file = f"<cell {len(linecache.cache)}>"
    linecache.cache[file] = len(source), None, source.splitlines(keepends=True), file
    exec(compile(source, file, "exec"), names)


def experiments(pages):
    """The experiments of these pages by name and first seed; and cells that fail, maybe for lack of runs."""
    os.environ["MPLBACKEND"] = "agg"
    sys.path[:0] = [str(ROOT), str(ROOT / "book")]
    from IPython.core.inputtransformer2 import TransformerManager
    from matplotlib import pyplot

    import nets

    found, failed, tasks, train = {}, [], [], nets.train

    def noted(network, data, **options):
        try:
            result = train(network, data, **options)
        except nets.ledger.MissingRecord:  # an empty result, of the same settings
            with mock.patch.dict(os.environ, NETS_MODE="full"):
                result = train(network, data, **options)
        if options.get("name"):
            key = options["name"], options.get("seed", 0)
            asked = [Experiment(*key, tasks[-1], options, result), *filter(None, [found.get(key)])]
            keep = any(each.options.get("keep_weights") for each in asked)
            most = max(asked, key=lambda each: each.options.get("runs", 1))  # of the pages that ask for it
            found[key] = most._replace(options={**most.options, "keep_weights": keep})
        return result

    with (mock.patch.dict(os.environ, NETS_MODE="recorded"), mock.patch.object(nets, "train", noted),
          mock.patch.object(nets.groups, "train", lambda task, *_: tasks.append(task) or [])):
        for page in pages:
            names = {"__name__": "__main__"}
            with contextlib.chdir(page.parent), contextlib.redirect_stdout(io.StringIO()):
                for cell in nbformat.read(page, as_version=4).cells:
                    if cell.cell_type == "code":
                        try:
                            run_cell(TransformerManager().transform_cell(cell.source), names)
                        except Exception as error:
                            failed.append(f"{page.name}: {type(error).__name__}: {error}")
                        pyplot.close("all")
    return found, failed


# ---- who trains; an outcome is a list of `nets.groups.Finished`, or what went wrong, in words ----


def trained(task, seeds, checkpoint):
    """The outcome of these runs in this process."""
    from nets import groups
    try:  # their checkpoint stays until they are recorded
        return list(itertools.islice(groups.train(task, seeds, checkpoint), len(seeds)))
    except Exception as error:
        return str(error) if isinstance(error, FloatingPointError) else traceback.format_exc()


def train_here(experiment):
    """An experiment with its outcome, in this process."""
    return experiment, trained(experiment.task, experiment.seeds, experiment.entry.checkpoint)


def train_described(description, data, own_core):
    """The outcome of runs that another process has described, on these images."""
    if own_core:
        take_core()
    os.environ["CI"] = "true"  # no progress line
    cells, own, task, seeds, entry = cloudpickle.loads(description)
    linecache.cache.update(cells)
    import keras

    from nets import ledger, machine
    if not own_core and not machine.has_accelerator():
        return f"{keras.backend.backend()} sees no GPU on {socket.gethostname()}: install its packages there"
    with keras.utils.custom_object_scope(own):
        task = cloudpickle.loads(task)._replace(data=data)
    return trained(task, seeds, entry.checkpoint if ledger.home().is_dir() else None)


def take_core():
    """On Linux, keep this process to a core that no other such process of this machine has."""
    for core in sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []:
        name = socket.socket(socket.AF_UNIX)
        with contextlib.suppress(OSError):
            name.bind(f"\0reading digits, core {core}")
            name.detach()  # it is taken until this process ends
            return os.sched_setaffinity(0, {core})


def answer(parent):
    """Train in this process what its parent asks for, and end with it."""
    first = multiprocessing.parent_process()
    threading.Thread(target=lambda: (first.join(), os._exit(1)), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the first process to handle
    parent.send(train_described(*parent.recv(), own_core=True))


def train_on_a_core(experiment):
    """An experiment with its outcome, in a process of its own, and in another one if that is killed."""
    spawn, described = multiprocessing.get_context("spawn"), (experiment.described(), experiment.task.data)
    for _ in range(2):
        ours, theirs = spawn.Pipe()
        with contextlib.suppress(OSError, EOFError):
            with theirs:
                spawn.Process(target=answer, args=[theirs], daemon=True).start()
            ours.send(described)  # large arguments of a process killed at its start would wait for ever
            return experiment, ours.recv()
    return experiment, "Its process was killed, twice."


# ---- the whole ----


def show_time_left(left):
    """From now on, say at times how long the experiments in this list will take."""
    from nets.words import counted, duration
    at_first, began = sum(experiment.work() for experiment in left), time.perf_counter()
    while time.sleep(15) is None:
        if (work := sum(experiment.work() for experiment in left)) < at_first:
            runs = counted(sum(len(experiment.seeds) for experiment in left), "run")
            seconds = work / (at_first - work) * (time.perf_counter() - began)
            print(f"\r\033[K{runs} to go, about {duration(seconds)}", end="\r", file=sys.stderr, flush=True)


def record(wanted, over):
    """Record the runs of these experiments as they are over, and say so: how many failed."""
    left, failed = [*wanted], 0
    for experiment in wanted:
        experiment.entry.prepare(experiment.entry.runs()[0].keys())
    if sys.stderr.isatty():
        threading.Thread(target=show_time_left, args=[left], daemon=True).start()
    for experiment, outcome in over:
        left[:] = [other for other in left if other is not experiment]
        if isinstance(outcome, list):
            outcome = experiment.add(outcome) or "recorded"
        else:
            failed += len(experiment.seeds)
        for seed in experiment.seeds:
            print(f"{experiment.name} {seed}: {outcome}", flush=True)
    return failed


def main(chosen, runs, address):
    pages = sorted(page for page in (ROOT / "book").glob("*.ipynb")
                   if not chosen or page.name.split("-")[0] in chosen)
    if not pages or len(pages) < len(set(chosen)):
        sys.exit(f"Choose pages by their numbers, as in PAGES=\"05 07\", not {' '.join(chosen)}.")
    os.environ.setdefault("KERAS_BACKEND", "jax")  # the faster one
    os.environ["NETS_MODE"] = "full"
    if address:
        import cluster
        joined = cluster.join(address, ROOT)
    print(f"Reading {len(pages)} page{'s' * (len(pages) > 1)} …", flush=True)
    found, failed = experiments(pages)
    from nets import machine
    machine.commit()  # remembers which code this is, before anybody checks out another
    gpus, where = joined if address else (machine.has_accelerator(), machine.device())

    asked = sum(runs or one.options.get("runs", 1) for one in found.values())
    together = -(-asked // gpus) if gpus else 1
    wanted = [job for one in found.values() for job in one.jobs(runs, together)]
    wanted.sort(key=lambda one: (one.seeds[0] - one.first, -one.work()))
    if names := [f"{one.name} {seed}" for one in wanted for seed in one.seeds]:
        print(f"Training {len(names)} run{'s' * (len(names) > 1)} on {where}: {', '.join(names)}", flush=True)
        over = (cluster.train(wanted, gpus, train_described) if address else map(train_here, wanted) if gpus
                else multiprocessing.pool.ThreadPool(machine.cores()).imap_unordered(train_on_a_core, wanted))
        if errors := record(wanted, over):
            sys.exit(f"{errors} of {len(names)} runs failed.")
        found, failed = experiments(pages)
    for experiment in found.values():
        print(f"\n{experiment.result}")
    print("\nNow `make pages` renews the pages.")
    if failed:
        sys.exit("\n".join(["These cells fail:", *failed]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="*", help="numbers of pages, as 05; all if none is given")
    parser.add_argument("--runs", type=int, help="runs of each experiment, instead of what its page asks for")
    parser.add_argument("--cluster", help="where a Ray cluster answers: its address, or auto")
    arguments = parser.parse_args()
    try:
        main(arguments.pages, arguments.runs, arguments.cluster)
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on after the last finished epochs.", file=sys.stderr)
        os._exit(1)  # processes and tasks end with this one
