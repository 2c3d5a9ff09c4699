"""Images with labels, checked before anything is done with them; and MNIST, verified before use."""

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


class Examples(NamedTuple):
    """Images and what they show.

    images : array (n, height, width, channels); of MNIST uint8 (n, 28, 28, 1), 0 is paper and 255 is ink.
    labels : int32 array (n,), classes counted from 0.
    """

    images: np.ndarray
    labels: np.ndarray


class Dataset(NamedTuple):
    """What a network learns from, what chooses between networks, and what measures them; each `Examples`."""

    train: Examples
    validation: Examples
    test: Examples


def array(values, what):
    """The values as an array of NumPy, or ValueError for lists of different lengths; `what` names them."""
    try:
        values = np.asarray(values)
    except ValueError:
        raise ValueError(f"{what} must be an array: these are lists of different lengths.") from None
    return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))


def check_images(images, what, dtype=None):
    """Raise ValueError, with a remedy, unless `images` is an array or tensor of images; `what` names it.

    That is (n, height, width, channels) with n of at least 1, of whole or of finite real numbers, or of
    `dtype` alone.
    """
    shape, type_ = tuple(getattr(images, "shape", ())), _type(images)
    if dtype and (len(shape) != 4 or type_ != dtype):
        raise ValueError(f"{what} must be bytes, 0 to 255, of the shape (n, height, width, channels), not "
                         f"{type_} {shape}.")
    if not type_.startswith(("int", "uint", "float", "bfloat")):
        raise ValueError(f"{what} must be an array of numbers, not {type_}.")
    if len(shape) != 4:
        raise ValueError(f"{what} must have the shape (n, height, width, channels), not {shape}"
                         + ": write images[..., None] for one channel." * (len(shape) == 3))
    if 0 in shape:
        raise ValueError(f"{what} has the shape {shape}: there is no image in it.")
    if "float" in type_ and not np.isfinite(np.asarray(images)).all():
        raise ValueError(f"{what} has pixels that are no finite numbers.")


def check_labels(labels, what, images=None, classes=None):
    """Raise ValueError, with a remedy, unless `labels` holds a class for each of `images`, one of so many."""
    shape, type_ = tuple(getattr(labels, "shape", ())), _type(labels)
    if len(shape) != 1:
        remedy = {(2, True): ": take labels[:, 0].", (2, False): ": take labels.argmax(axis=1)."}.get(
            (len(shape), shape[-1:] == (1,)), ".")
        raise ValueError(f"{what} must have the shape (n,), not {shape}{remedy}")
    if not type_.startswith(("int", "uint")):
        raise ValueError(f"{what} must be whole numbers, 0 for the first class, not {type_}: "
                         "np.unique(labels, return_inverse=True)[1] numbers them.")
    if images is not None and len(images) != len(labels):
        raise ValueError(f"{what}: there are {len(images)} images and {len(labels)} labels.")
    if len(labels) and np.min(labels) < 0:
        raise ValueError(f"{what} must be 0 or more, and one is {np.min(labels)}.")
    if len(labels) and np.max(labels) >= 2**31:
        raise ValueError(f"{what} go up to {np.max(labels)}: number the classes from 0.")
    if classes is not None and np.max(labels) >= classes:
        raise ValueError(f"{what} go up to {np.max(labels)}, and the network tells only {classes} classes "
                         f"apart, 0 to {classes - 1}.")


def check_fit(images, network, what):
    """Raise ValueError for images of another size than the network's, or with pixels on another scale."""
    shape = tuple(images.shape[1:])
    wanted = tuple(getattr(network, "input_shape", (None, *shape))[1:])  # a class of its own has none
    if len(wanted) != len(shape) or any(n not in (None, m) for n, m in zip(wanted, shape, strict=True)):
        raise ValueError(f"{what} are {shape}, and the network takes {wanted}.")
    layers = [layer for layer in network.layers if not isinstance(layer, keras.layers.InputLayer)]
    scale = getattr(layers[0], "scale", None) if layers else None
    if isinstance(scale, float) and scale < 0.1 and 0 < np.max(images) <= 1:
        raise ValueError(f"{what} have pixels from 0 to 1, and the network begins with a rescaling of those "
                         "from 0 to 255: give it the bytes, or leave out its Rescaling.")


def check_dataset(data):
    """The data set as arrays of NumPy, labels in 32 bits, or ValueError for one that is unfit to train on."""
    if not isinstance(data, Dataset):
        raise ValueError("data must be what nets.load_mnist() returns, or a nets.Dataset(...) of your own, "
                         f"not a {type(data).__name__}.")
    parts = []
    for name, part in data._asdict().items():
        if not isinstance(part, tuple) or len(part) != 2:
            raise ValueError(f"data.{name} must be nets.Examples(images, labels), not a "
                             f"{type(part).__name__}.")
        images, labels = array(part[0], f"data.{name}.images"), array(part[1], f"data.{name}.labels")
        check_images(images, f"data.{name}.images")
        check_labels(labels, f"data.{name}.labels")
        if len(images) != len(labels):
            raise ValueError(f"data.{name} has {len(images)} images and {len(labels)} labels.")
        if parts and images.shape[1:] != (first := parts[0].images.shape[1:]):
            raise ValueError(f"data.{name} has images of {images.shape[1:]}, and data.train of {first}.")
        parts.append(Examples(images, labels.astype("int32")))
    return Dataset(*parts)


def check_scales(data):
    """Raise ValueError for parts of which some have pixels from 0 to 1 and others larger ones."""
    most = {name: float(np.max(part.images)) for name, part in data._asdict().items()}
    if 0 < min(most.values()) <= 1 and max(most.values()) > 10:
        raise ValueError(f"data has pixels on different scales, up to {most}: give all parts the same.")


def _type(array):
    """Name of an array's or tensor's type of numbers; of anything else the name of its class."""
    type_ = getattr(array, "dtype", type(array).__name__)
    numeric = hasattr(array, "dtype") and getattr(type_, "kind", "f") in "biufV"
    return keras.backend.standardize_dtype(type_) if numeric else str(type_)


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
    Dataset

    Raises
    ------
    FileNotFoundError, ValueError, ConnectionError
        A file is missing, is damaged, or could not be downloaded. The message says what to do.

    Source: LeCun, Cortes, Burges, "The MNIST database of handwritten digits".
    """
    local = pathlib.Path(directory).expanduser() if directory is not None else HOME / "mnist"
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
    return Dataset(Examples(images[:50000], labels[:50000]), Examples(images[50000:], labels[50000:]),
                   Examples(test_images, test_labels))


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
    return dict(zip(FILES, (images, labels, test_images, test_labels), strict=True))
