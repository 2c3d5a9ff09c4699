"""MNIST: 70,000 handwritten digits, verified before use."""

import gzip
import hashlib
import pathlib
import zlib
from typing import NamedTuple

import keras
import numpy as np

# Data and ledger: `data` of the repository, or of the current folder where there is only the package.
HOME = pathlib.Path(__file__).resolve().parent.parent / "data"
if not (HOME / "mnist").is_dir():
    HOME = pathlib.Path("data")

# SHA-256 of the uncompressed idx files, and the shape of the array in each.
FILES = {
    "train-images-idx3-ubyte": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db", (60000, 28, 28)),
    "train-labels-idx1-ubyte": (
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5", (60000,)),
    "t10k-images-idx3-ubyte": (
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7", (10000, 28, 28)),
    "t10k-labels-idx1-ubyte": (
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2", (10000,)),
}


class Digits(NamedTuple):
    """Images and the digits they show.

    images : uint8 array (n, 28, 28, 1), 0 is paper and 255 is ink.
    labels : int32 array (n,), 0 to 9.
    """

    images: np.ndarray
    labels: np.ndarray


class MNIST(NamedTuple):
    """The chapter's split of MNIST: each part is a `Digits`."""

    train: Digits
    validation: Digits
    test: Digits


def load_mnist(directory=None):
    """Load MNIST, split as in the chapter.

    The first 50,000 of the 60,000 training images are `train`, the last 10,000 `validation`; the
    10,000 test images are `test`. Pixels stay integers from 0 to 255, which keeps a set at a quarter
    of the size of floats; every network of the book begins with `keras.layers.Rescaling(1 / 256)`.

    Parameters
    ----------
    directory : path, optional
        Where the four gzipped idx files are; `data/mnist` of this repository by default. Without
        that folder (`nets` installed alone), they come through `keras.datasets.mnist`. Either way
        the contents must match the known SHA-256 sums.

    Returns
    -------
    MNIST

    Raises
    ------
    FileNotFoundError, ValueError, ConnectionError
        A file is missing, is damaged, or could not be downloaded. The message says what to do.

    Source: LeCun, Cortes, Burges, "The MNIST database of handwritten digits".
    """
    local = pathlib.Path(directory) if directory is not None else HOME / "mnist"
    if directory is not None or local.exists():
        arrays = {name: _read(local / f"{name}.gz", shape) for name, (_, shape) in FILES.items()}
        origin, remedy = f"{local}/", "restore it with `git checkout data/mnist`"
    else:
        arrays = _download()
        origin = "keras.datasets.mnist: "
        remedy = "delete mnist.npz in the datasets folder of Keras (~/.keras) and load again"
    for name, (digest, _) in FILES.items():
        if hashlib.sha256(_idx(arrays[name])).hexdigest() != digest:
            raise ValueError(f"{origin}{name} is not the MNIST file (SHA-256 differs): {remedy}.")
    images, labels, test_images, test_labels = arrays.values()
    images, test_images = images[..., None], test_images[..., None]
    labels, test_labels = labels.astype("int32"), test_labels.astype("int32")
    return MNIST(Digits(images[:50000], labels[:50000]), Digits(images[50000:], labels[50000:]),
                 Digits(test_images, test_labels))


def _read(path, shape):
    """The array of a gzipped idx file: a header of 4 + 4 * ndim bytes, then the values, one byte each."""
    remedy = "restore it with `git checkout data/mnist`"
    try:
        raw = gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing: {remedy}, or give load_mnist the folder that "
                                "holds the four gzipped MNIST files.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be unpacked ({error}): {remedy}.") from None
    header = 4 + 4 * len(shape)
    if len(raw) != header + np.prod(shape):
        raise ValueError(f"{path} holds {len(raw)} bytes, not {header + np.prod(shape)}: {remedy}.")
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


def _idx(array):
    """The bytes of `array` as an idx file of unsigned bytes: what the sums in FILES are taken of."""
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + np.ascontiguousarray(array, np.uint8).tobytes()


def _download():
    try:
        (images, labels), (test_images, test_labels) = keras.datasets.mnist.load_data()
    except Exception as error:
        raise ConnectionError(
            f"MNIST could not be downloaded ({error}). Clone the repository, which holds it in "
            "data/mnist, or call load_mnist(directory) with the folder of the four files.") from error
    return dict(zip(FILES, (images, labels, test_images, test_labels)))
