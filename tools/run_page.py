"""Run a page in place: python tools/run_page.py book/01-shallow-baseline.ipynb

`make run` and `make pages` call it, and then nb-clean. What TensorFlow says on starting up, in the first
code cell, is not stored. Pictures are, for sharp screens, twice as large as they are shown.
"""

import base64
import io
import os
import pathlib
import subprocess
import sys
import time

import nbformat
from nbclient import NotebookClient
from PIL import Image

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def small(data):
    """A PNG picture, as base64 text, in 256 colours, a third of the bytes; its resolution stays."""
    picture, file = Image.open(io.BytesIO(base64.b64decode(data))), io.BytesIO()
    picture.convert("RGB").quantize(256).save(file, "PNG", optimize=True, dpi=picture.info.get("dpi"))
    return base64.b64encode(file.getvalue()).decode()


def run(path):
    """Execute every cell of the page at `path` and store the outputs in it, unless a cell fails."""
    page = nbformat.read(path, as_version=4)
    folder = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(page, timeout=None, record_timing=False, coalesce_streams=True, resources=folder,
                            extra_arguments=["--InlineBackend.figure_formats={'retina'}"])
    client.execute(stderr=subprocess.DEVNULL)  # of the kernel itself; what cells write is in their outputs
    set_up = next(cell for cell in page.cells if cell.cell_type == "code")
    set_up.outputs = [output for output in set_up.outputs if output.get("name") != "stderr"]
    for cell in page.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = small(output.data["image/png"])
    nbformat.write(page, path)


if __name__ == "__main__":
    began = time.perf_counter()
    run(pathlib.Path(sys.argv[1]))
    print(f"{sys.argv[1]}  {time.perf_counter() - began:.0f} s")
