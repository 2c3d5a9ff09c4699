"""What must be there before anything else of `nets` is imported, or one sentence that says what to do."""

import contextlib
import os
import sys


@contextlib.contextmanager
def without_log():
    """Meanwhile, what C++ writes to standard error is dropped: TensorFlow's lines on how it was built."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


try:
    with contextlib.nullcontext() if "keras" in sys.modules else without_log():
        import keras
except ModuleNotFoundError as error:
    missing = error.name.partition(".")[0]
    if missing not in ("tensorflow", "jax"):
        raise
    other = "jax" if missing == "tensorflow" else "tensorflow"
    raise ImportError(f"Keras is to run on {missing}, which is not installed: run `pip install {missing}`, "
                      f"or set the environment variable KERAS_BACKEND to {other} before Keras is imported."
                      ) from None

if tuple(map(int, keras.__version__.split(".")[:2])) < (3, 10):
    raise ImportError(f"nets needs Keras 3.10 or later, and this is {keras.__version__}: run "
                      "`pip install --upgrade keras`, and start Python anew.")
