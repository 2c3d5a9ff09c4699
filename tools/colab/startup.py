"""What a kernel runs first, so that a page takes the machine for Colab's: see tools/colab.py."""

import os
import sys
import types

from IPython import get_ipython

sys.modules["google.colab"] = types.ModuleType("google.colab")
sys.modules["google.colab"].output = None  # which JAX imports


def after_set_up(result):
    """Let Keras take mnist.npz as it lies there, and `nets`, if it shall, the machine for one with a GPU."""
    if "nets" not in sys.modules:
        return
    from keras.src.utils import file_utils

    from nets import machine
    file_utils.validate_file = lambda *path_and_sum, **options: True  # nets has sums of its own
    if os.environ.get("PRETENDED_GPU"):
        machine.has_accelerator, machine.device = lambda: True, lambda: "a pretended GPU"
    get_ipython().events.unregister("post_run_cell", after_set_up)


get_ipython().events.register("post_run_cell", after_set_up)
