"""Train everything that chosen pages still lack in the ledger, at full scale: make full PAGES="05 07"

The pages are the list of experiments: their code runs here once, answered by the ledger, and every named call
of `nets.train` on the way is noted. What is missing is then trained, first one run of each experiment,
the longest first: on a CPU in processes of one core each, on a GPU or TPU an experiment's runs at once.
After an interruption the same command goes on where it stopped.
"""

import argparse
import concurrent.futures
import contextlib
import io
import linecache
import math
import multiprocessing
import os
import pathlib
import queue
import signal
import sys
import threading
import time
from concurrent.futures.process import BrokenProcessPool
from typing import NamedTuple

import nbformat

ROOT = pathlib.Path(__file__).resolve().parent.parent


class Experiment(NamedTuple):
    """A call of `nets.train`: its arguments, and what the ledger answered."""

    network: object
    data: object
    options: dict
    result: object

    @property
    def name(self):
        return self.options["name"]

    @property
    def first(self):
        return self.options.get("seed", 0)

    @property
    def key(self):
        return self.name, self.first

    def missing(self, runs):
        """Seeds of the runs that the ledger lacks; `runs` is their number, or None for the page's own."""
        known = [run["seed"] for run in self.result.runs]
        return [seed for seed in range(self.first, self.first + (runs or self.result.wanted))
                if seed not in known]

    def checkpoint(self, seed):
        """The file in which the run with this seed is kept while it trains on a core."""
        from nets.ledger import Entry
        return Entry(self.name, self.result.settings, self.data.test).checkpoint([seed])

    def work(self):
        """Multiplications of one run's forward passes: a measure of its length."""
        a_step = 0
        for layer in self.network.layers:
            positions = math.prod(layer.output.shape[1:-1]) * getattr(layer, "pool_size", 1)**2
            a_step += sum(math.prod(weight.shape) for weight in layer.trainable_weights) * positions
        return a_step * len(self.data.train.labels) * self.options["epochs"]

    def train(self, seed, runs=1):
        """As `nets.train`, but keeps weights of the page's first run only."""
        import nets
        keep = self.options.get("keep_weights", False) and seed == self.first
        return nets.train(self.network, self.data,
                          **{**self.options, "seed": seed, "runs": runs, "keep_weights": keep})


def run_cell(source, names):
    """Execute a cell with these names. Its source can be read afterwards, as `nets.settings` does."""
    file = f"<cell {len(linecache.cache)}>"
    linecache.cache[file] = len(source), None, source.splitlines(keepends=True), file
    exec(compile(source, file, "exec"), names)


def experiments(pages):
    """The experiments of these notebooks, a dict of `Experiment` by its key, and the cells that failed.

    A cell may fail because it shows results that the ledger does not have yet.
    """
    os.environ.update(NETS_MODE="recorded", MPLBACKEND="agg")
    sys.path[:0] = [str(ROOT), str(ROOT / "book")]
    from IPython.core.inputtransformer2 import TransformerManager
    from matplotlib import pyplot

    import nets

    found, failed, train = {}, [], nets.train

    def noted(network, data, **options):
        def note(result):
            experiment = Experiment(network, data, options, result)
            found.setdefault(experiment.key, experiment)

        try:
            result = train(network, data, **options)
        except nets.ledger.MissingRecord:  # there are other runs
            note(train(network, data, **{**options, "name": None}))
            raise
        if options.get("name"):
            note(result)
        return result

    nets.train = noted
    try:
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
    finally:
        nets.train = train
        os.environ["NETS_MODE"] = "full"
    return found, failed


# ---- on a CPU: processes of one core each ----

known = {}  # what a worker has read from the pages


def start_worker(core, pages, parent):
    """Give this process a core of its own, let it read the pages, and end it when its parent is no more."""
    def outlive_nobody():
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=outlive_nobody, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the first process to handle
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    os.environ["CI"] = "true"  # no progress line of its own
    known.update(experiments(pages)[0])


def train_run(key, seed):
    known[key].train(seed)


class Core:
    """Trains one run after the other in a process of its own, and once more if that was killed."""

    context, stopped = multiprocessing.get_context("spawn"), False

    def __init__(self, number, pages):
        self.start = number, pages, os.getpid()
        self.pool = None

    def train(self, key, seed):
        for last in (False, True):
            self.pool = self.pool or concurrent.futures.ProcessPoolExecutor(
                1, self.context, start_worker, self.start)
            try:
                return self.pool.submit(train_run, key, seed).result()
            except BrokenProcessPool:  # what it had done is in the checkpoint
                self.pool = None
                if last or Core.stopped:
                    raise


def epochs_done(experiment, seed):
    """How far the checkpoint of a run is."""
    from nets import files
    try:
        return len(files.load_arrays(experiment.checkpoint(seed))["loss"])
    except (FileNotFoundError, ValueError):
        return 0


def train_on_cores(wanted, pages):
    """Train the runs, pairs (experiment, seed), in this order; yields each with its error or None."""
    from nets import machine
    from nets.words import duration

    numbers = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(machine.cores())
    free = queue.SimpleQueue()
    for number in numbers:
        free.put(Core(number, pages))

    def train(key, seed):
        core = free.get()
        try:
            core.train(key, seed)
        finally:
            free.put(core)

    def work_left(runs):
        return sum(experiment.work() * (1 - epochs_done(experiment, seed) / experiment.options["epochs"])
                   for experiment, seed in runs)

    at_first, began = work_left(wanted), time.perf_counter()
    threads = concurrent.futures.ThreadPoolExecutor(len(numbers))
    futures = {threads.submit(train, experiment.key, seed): (experiment, seed) for experiment, seed in wanted}
    waiting = set(futures)
    try:
        while waiting:
            done, waiting = concurrent.futures.wait(waiting, 15, concurrent.futures.FIRST_COMPLETED)
            left = work_left(futures[future] for future in waiting)
            if sys.stderr.isatty() and left < at_first:
                seconds = left / (at_first - left) * (time.perf_counter() - began)
                print(f"\r\033[K{len(waiting)} of {len(wanted)} runs to go, about {duration(seconds)}",
                      end="\r", file=sys.stderr, flush=True)
            for future in done:
                yield *futures[future], future.exception()
    finally:
        Core.stopped = True
        threads.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()


# ---- on a GPU or TPU: in this process ----


def train_together(wanted):
    """Train the runs, those of an experiment in one call; yields each pair with its error or None."""
    seeds = {}
    for experiment, seed in wanted:
        seeds.setdefault(experiment.key, (experiment, []))[1].append(seed)
    for experiment, missing in seeds.values():
        error = None
        try:
            experiment.train(experiment.first, max(missing) + 1 - experiment.first)
        except FloatingPointError as diverged:
            error = diverged
        for seed in missing:
            yield experiment, seed, error


def main(chosen, runs):
    pages = sorted(page for page in (ROOT / "book").glob("*.ipynb")
                   if not chosen or page.name.split("-")[0] in chosen)
    if not pages or len(pages) < len(set(chosen)):
        sys.exit(f"Choose pages by their numbers, as in PAGES=\"05 07\", not {' '.join(chosen)}.")
    os.environ.setdefault("KERAS_BACKEND", "jax")  # the faster one
    print(f"Reading {len(pages)} page{'s' * (len(pages) > 1)} …", flush=True)
    found, failed = experiments(pages)
    from nets import machine

    wanted = [(experiment, seed) for experiment in found.values() for seed in experiment.missing(runs)]
    wanted.sort(key=lambda pair: (pair[1] - pair[0].first, -pair[0].work()))
    if wanted:
        print(f"Training {len(wanted)} run{'s' * (len(wanted) > 1)} on {machine.device()}: "
              + ", ".join(f"{experiment.name} {seed}" for experiment, seed in wanted), flush=True)
        errors = 0
        trained = train_together(wanted) if machine.has_accelerator() else train_on_cores(wanted, pages)
        for experiment, seed, error in trained:
            print(f"{experiment.name} {seed}: {error or 'recorded'}", flush=True)
            errors += error is not None
        if errors:
            sys.exit(f"{errors} of {len(wanted)} runs failed.")
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
    arguments = parser.parse_args()
    try:
        main(arguments.pages, arguments.runs)
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The same command goes on after the last finished epochs.")
