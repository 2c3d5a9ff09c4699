"""Run a page in place: python tools/run_page.py book/01-shallow-baseline.ipynb

`make run` and `make pages` call it, and then nb-clean. What TensorFlow says on starting up, in the first
code cell, is not stored.
"""

import os
import pathlib
import subprocess
import sys
import time

import nbformat
from nbclient import NotebookClient

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def run(path):
    """Execute every cell of the page at `path` and store the outputs in it, unless a cell fails."""
    page = nbformat.read(path, as_version=4)
    folder = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(page, timeout=None, record_timing=False, coalesce_streams=True, resources=folder)
    client.execute(stderr=subprocess.DEVNULL)  # of the kernel itself; what cells write is in their outputs
    set_up = next(cell for cell in page.cells if cell.cell_type == "code")
    set_up.outputs = [output for output in set_up.outputs if output.get("name") != "stderr"]
    nbformat.write(page, path)


if __name__ == "__main__":
    began = time.perf_counter()
    run(pathlib.Path(sys.argv[1]))
    print(f"{sys.argv[1]}  {time.perf_counter() - began:.0f} s")
