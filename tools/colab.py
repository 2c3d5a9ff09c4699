"""Run the pages as on Colab: python tools/colab.py --sets now --backends tensorflow --pages 01 08

Each set of versions in tools/colab/ has a virtual environment, .venv-colab-<set>, with `nets` from its wheel.
A page is run alone in an empty folder, by a kernel that takes the machine for Colab's; it finds MNIST as
Keras downloads it, nothing else comes from outside, and what pip and nvidia-smi answer is made up. The form
field of its set-up cell is set to --mode. Fails if a cell does, or writes to stderr. What the pages then show
is in _build/colab/.
"""

import argparse
import concurrent.futures
import gzip
import itertools
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import nbformat
import numpy as np
from jupyter_client import AsyncKernelManager
from jupyter_core.utils import run_sync
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

ROOT = pathlib.Path(__file__).resolve().parent.parent
SETS = sorted(path.stem for path in (ROOT / "tools" / "colab").glob("*.txt"))
MODES = {"recorded": "recorded runs", "full": "full training here", "quick": "quick trial"}
FIELD = 'mode = "recorded runs"  # @param'


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--backends", nargs="+", choices=["tensorflow", "jax"], default=["tensorflow", "jax"])
    parser.add_argument("--accelerators", nargs="+", choices=["none", "pretended"],
                        default=["none", "pretended"])
    parser.add_argument("--mode", choices=MODES, default="quick")
    parser.add_argument("--pages", nargs="+", metavar="NN", help="beginnings of names; all by default")
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    asked.pages = [path for path in sorted((ROOT / "book").glob("*.ipynb"), reverse=True)  # the longest first
                   if not asked.pages or path.name.startswith(tuple(asked.pages))]
    return asked


def environment(name):
    """The Python of a set, installed, with today's `nets`."""
    wanted, venv = ROOT / "tools" / "colab" / f"{name}.txt", ROOT / f".venv-colab-{name}"
    python, installed = venv / "bin" / "python", venv / wanted.name
    install = [pathlib.Path(sys.executable).with_name("uv"), "pip", "install", "-q", "--python", python]
    if not installed.exists() or installed.read_text() != wanted.read_text():
        shutil.rmtree(venv, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([*install, "-r", wanted], check=True)
        shutil.copy(wanted, installed)
    subprocess.run([*install, "--no-deps", "--reinstall", ROOT], check=True)
    return python


def machine(folder):
    """Lay out in `folder` what a page finds on Colab's machine."""
    datasets, programs = folder / "keras" / "datasets", folder / "bin"
    start = folder / "ipython" / "profile_default" / "startup"
    for made in (datasets, programs, start, folder / "modules"):
        made.mkdir(parents=True)
    raw = {path.name[:-3]: np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8)
           for path in (ROOT / "data" / "mnist").glob("*.gz")}
    np.savez(datasets / "mnist.npz", **{
        f"{short}_{part}": raw[f"{file}-{what}"][header:].reshape(shape)
        for part, file in (("train", "train"), ("test", "t10k"))
        for short, what, header, shape in (("x", "images-idx3-ubyte", 16, (-1, 28, 28)),
                                           ("y", "labels-idx1-ubyte", 8, -1))})
    shutil.copy(ROOT / "benchmarks" / "results.json", datasets)
    shutil.copy(ROOT / "tools" / "colab" / "startup.py", start)
    (folder / "modules" / "pip.py").write_text("")
    smi = programs / "nvidia-smi"
    smi.write_text('#!/bin/sh\n[ "$PRETENDED_GPU" ] && echo "GPU 0: $PRETENDED_GPU"\n')
    smi.chmod(0o755)


def kernel(folder, python, backend, accelerator):
    """A manager of the kernel that takes the machine in `folder` for Colab's."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("NETS_", "PYTHON", "PYTEST", "TF_", "MPL")) and name != "CI"}
    away = dict.fromkeys(["http_proxy", "https_proxy"], "http://127.0.0.1:9")
    env = {**kept, **away, "KERAS_BACKEND": backend, "KERAS_HOME": f"{folder}/keras",
           "IPYTHONDIR": f"{folder}/ipython", "PYTHONPATH": f"{folder}/modules",
           "PATH": f"{folder}/bin:{os.environ['PATH']}",
           "PRETENDED_GPU": "a pretended GPU" if accelerator == "pretended" else ""}
    manager = AsyncKernelManager()
    manager.kernel_spec.argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    return manager, env


def run(folder, path, kept, mode, python, backend, accelerator):
    """(what failed or "", seconds, lines on stderr) of a page, which is stored in the folder `kept`."""
    page = nbformat.read(path, as_version=4)
    set_up = next(cell for cell in page.cells if cell.cell_type == "code")
    if FIELD not in set_up.source:
        raise ValueError(f"{path.name} has no form field: {FIELD}")
    set_up.source = set_up.source.replace(FIELD, FIELD.replace(MODES["recorded"], MODES[mode]))
    manager, env = kernel(folder, python, backend, accelerator)
    began, failed = time.perf_counter(), ""
    with tempfile.TemporaryDirectory(dir=folder) as empty:
        client = NotebookClient(page, km=manager, timeout=None, resources={"metadata": {"path": empty}})
        try:
            client.execute(env=env, stderr=subprocess.DEVNULL)  # what cells write is in the page
        except (CellExecutionError, DeadKernelError) as error:
            failed = str(error).strip()
        finally:
            run_sync(manager.shutdown_kernel)(now=True)
    kept.mkdir(parents=True, exist_ok=True)
    nbformat.write(page, kept / path.name)
    outputs = [output for cell in page.cells if cell.cell_type == "code" for output in cell.outputs]
    if not failed and "GPU" not in "".join(output.get("text", "") for output in set_up.outputs):
        failed = "the set-up cell did not take it for Colab"
    said = "".join(output.text for output in outputs if output.get("name") == "stderr")
    return failed, time.perf_counter() - began, said.splitlines()


def main():
    asked = arguments()
    pythons, bad = {name: environment(name) for name in asked.sets}, []
    folder = pathlib.Path(tempfile.mkdtemp(prefix="colab-"))
    try:
        machine(folder)
        combinations = list(itertools.product(asked.sets, asked.backends, asked.accelerators, asked.pages))
        print(f"{'page':34} {'set':7} {'backend':11} {'GPU':10} {'ok':4} {'seconds':>7}  lines on stderr")
        with concurrent.futures.ThreadPoolExecutor(asked.jobs) as pool:
            waited = [pool.submit(run, folder, path,
                                  ROOT / "_build" / "colab" / f"{name}-{backend}-{accelerator}-{asked.mode}",
                                  asked.mode, pythons[name], backend, accelerator)
                      for name, backend, accelerator, path in combinations]
            for (name, backend, accelerator, path), future in zip(combinations, waited):
                failed, seconds, said = future.result()
                row = f"{path.stem:34} {name:7} {backend:11} {accelerator:10}"
                print(f"{row} {'FAIL' if failed else 'ok':4} {seconds:7.0f}  {len(said)}", flush=True)
                if failed or said:
                    bad.append("\n".join([row, *said[:20], failed]))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit("\n\n".join(["", *bad]) if bad else 0)


if __name__ == "__main__":
    main()
