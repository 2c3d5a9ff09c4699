"""More training images from those we have: expanded once, or distorted afresh for each epoch."""

import functools
import inspect

import keras
import numpy as np
from keras import ops

from nets import data, machine
from nets.data import Examples
from nets.epoch import compiled


def expand(examples, seed=0):
    """The images and four copies of each, moved by one pixel: down, up, right, left; `Examples`, 5 n.

    The row or column that enters is paper (0). All five times n pairs are shuffled once.

    examples : Examples, n images of any size; seed : int, of the shuffle

    Source: the chapter, "Expanding the training data".
    """
    images, labels = (data.array(part, "expand: images and labels") for part in examples)
    data.check_images(images, "expand: the images")
    data.check_labels(labels, "expand: the labels", images)
    moved = np.zeros((5, *images.shape), images.dtype)
    moved[0] = images
    moved[1, :, 1:] = images[:, :-1]
    moved[2, :, :-1] = images[:, 1:]
    moved[3, :, :, 1:] = images[:, :, :-1]
    moved[4, :, :, :-1] = images[:, :, 1:]
    order = np.random.default_rng(seed).permutation(5 * len(images))
    return Examples(moved.reshape(-1, *images.shape[1:])[order], np.tile(labels, 5)[order])


def all_of(functions, images, labels, seed, epoch):
    """The images as these functions change them, in turn, for this epoch of the run with this seed.

    A function with a parameter `labels` is given these, an array (n,), too.
    """
    labels = np.array(labels)
    labels.flags.writeable = False
    for i, function in enumerate(functions):
        (own_seed,) = np.random.SeedSequence([seed, epoch, i]).generate_state(1)
        known = {"labels": labels} if "labels" in inspect.signature(function).parameters else {}
        changed = function(images, int(own_seed), **known)
        if not hasattr(changed, "shape"):
            raise ValueError(f"An augmentation must return images, not {type(changed).__name__}.")
        changed = ops.convert_to_tensor(changed)
        if changed.shape != images.shape or changed.dtype != images.dtype:
            raise ValueError(f"An augmentation must keep the images' shape and type: it took {images.dtype} "
                             f"{tuple(images.shape)} and gave {changed.dtype} {tuple(changed.shape)}.")
        images = changed
    return images


def affine(images, seed, rotation=0.0, scale=0.0, shear=0.0, shift=0.0):
    """The images, each stretched, slanted, turned and moved, in this order, by amounts of its own: bytes.

    Each amount is drawn uniformly between minus and plus the one that is given. Paper (0) enters at
    the edges.

    Parameters
    ----------
    images : uint8 array or tensor (n, height, width, channels)
    seed : int; the same seed gives the same images, on one backend and kind of device
    rotation, shear : float, degrees below 90; a shear slants upright lines by so much
    scale : float below 1; height and width are multiplied by two independent factors 1 ± scale
    shift : float, pixels, downwards and to the right, independently

    Source: Ciresan, Meier, Gambardella and Schmidhuber 2010, section 2.
    """
    drawn = _drawn("affine", images, seed, rotation, scale, shear, shift)
    return _compiled(_affine)(ops.convert_to_tensor(images), drawn)


def elastic(images, seed, sigma=4.0, alpha=34.0, rotation=0.0, scale=0.0, shear=0.0, shift=0.0, *,
            normalize=None, either=False, labels=None):
    """The images, each bent by a smooth random field of displacements of its own: bytes, of their shape.

    For every pixel a displacement downwards and one to the right are drawn uniformly from [-1, 1]; both
    fields are smoothed by a Gaussian, and multiplied by `alpha`. So a displacement is about
    alpha * sqrt(1/3) / (2 * sqrt(pi) * sigma) pixels (1.4 with the defaults, less at the edges), and
    displacements d pixels apart have the correlation exp(-(d / (2 * sigma))**2).

    With some of the strengths of `affine`, the images are first stretched, slanted, turned and moved.
    All is done in one resampling; each resampling blurs a little, and two in a row do so twice.

    Parameters
    ----------
    images : uint8 array or tensor (n, height, width, channels)
    seed : int; the same seed gives the same images, on one backend and kind of device
    sigma : float, standard deviation of the Gaussian, pixels
    alpha : float, strength; 0 changes nothing
    rotation, scale, shear, shift : float, as for `affine`
    sigma, alpha, scale : or a pair of floats, between which each call draws one for all its images
    rotation, shear : or a list of floats, a strength for each label
    normalize : what has the Euclidean norm 1 before it is multiplied by `alpha`: None, nothing (as
        above); "component", each of an image's two fields, so that a displacement downwards is
        alpha / sqrt(height * width) pixels, root mean square over the image; "field", both together,
        which makes it smaller by sqrt(2)
    either : bool, turn or slant an image, by the toss of a coin, never both
    labels : int array (n,); `nets.train` gives those of the training images

    Source: Simard, Steinkraus and Platt 2003, section 2; for the ranges, the labels and `either`, Ciresan,
    Meier, Gambardella and Schmidhuber 2010, section 2.
    """
    rng = np.random.default_rng([seed, 2])
    sigma, alpha, scale = (_between(rng, "elastic", *pair) for pair in (
        ("sigma", sigma), ("alpha", alpha), ("scale", scale)))
    _check("elastic", images, {"alpha": (alpha, np.inf), "sigma": (sigma, np.inf)})
    if not sigma:
        raise ValueError("elastic: sigma must be above 0.")
    if normalize not in NORMS:
        raise ValueError(f'elastic: normalize must be None, "component" or "field", not {normalize!r}.')
    count, height, width = images.shape[:3]
    rotation, shear = (_by_label("elastic", *pair, labels, count) for pair in (
        ("rotation", rotation), ("shear", shear)))
    if either:
        turned = rng.random(count) < 0.5
        rotation, shear = np.where(turned, rotation, 0), np.where(turned, 0, shear)

    noise = _noise((2, count, height, width), seed, normalize)
    (other_seed,) = np.random.SeedSequence([seed, 1]).generate_state(1)
    drawn = _drawn("elastic", images, int(other_seed), rotation, scale, shear, shift)
    smooth_down, smooth_right = (ops.convert_to_tensor(gaussian(size, sigma)) for size in (height, width))
    return _compiled(_elastic, normalize=normalize)(
        ops.convert_to_tensor(images), noise, smooth_down * alpha, smooth_right, drawn,
        ops.convert_to_tensor(alpha, "float32"))


NORMS = {None: None, "component": (2, 3), "field": (0, 2, 3)}  # of fields (2, n, height, width), the axes


def bend_half(images, seed, labels=None, **strengths):
    """About half of the images as they are, the others bent by `elastic` with these strengths."""
    keep = np.random.default_rng(seed).random((len(images), 1, 1, 1)) < 0.5
    return ops.where(keep, images, elastic(images, seed, labels=labels, **strengths))


def gaussian(size, sigma):
    """The matrix (size, size) that smooths a column of pixels by a Gaussian; beyond the ends is nothing."""
    distance = np.arange(size)
    weights = np.exp(-0.5 * (distance / sigma)**2)
    reach = np.arange(1, int(8 * sigma) + 2)
    weights /= 1 + 2 * np.exp(-0.5 * (reach / sigma)**2).sum()
    return weights[abs(distance[:, None] - distance)].astype("float32")


def _check(name, images, strengths):
    data.check_images(images, f"{name}: the images", "uint8")
    for strength, (value, limit) in strengths.items():
        if not np.all((0 <= np.asarray(value)) & (np.asarray(value) < limit)):
            raise ValueError(f"{name}: {strength} must be at least 0 and below {limit}, not {value!r}.")


def _noise(shape, seed, normalize):
    """Uniform between -1 and 1. With a norm, columns come before rows, and on a CPU from NumPy: faster."""
    if normalize:
        shape = (*shape[:2], shape[3], shape[2])
    if normalize and not machine.has_accelerator():
        return ops.convert_to_tensor(2 * np.random.default_rng(seed).random(shape, "float32") - 1)
    return keras.random.uniform(shape, -1, 1, seed=seed)


def _between(rng, name, strength, value):
    """The value itself, or one drawn between a pair."""
    if np.ndim(value) == 0:
        return value
    if len(value) != 2 or value[0] > value[1]:
        raise ValueError(f"{name}: {strength} must be a number, or a pair of them, the smaller one first, "
                         f"not {value!r}.")
    return rng.uniform(*value)


def _by_label(name, strength, value, labels, count):
    """The value itself, or for a list of values an array (n,) of those of the labels."""
    if np.ndim(value) == 0:
        return value
    if labels is None or len(labels) != count or not len(value) > np.max(labels):
        raise ValueError(f"{name}: {strength} has {len(value)} values, one for each label from 0, so "
                         f"`labels` must say which of these the {count} images have.")
    return np.asarray(value)[np.asarray(labels)]


def _drawn(name, images, seed, rotation, scale, shear, shift):
    """What `affine` does to each image: a tensor (6, n). Strengths may differ from image to image, (n,)."""
    limits = {"rotation": (rotation, 90), "shear": (shear, 90), "scale": (scale, 1), "shift": (shift, np.inf)}
    _check(name, images, limits)
    each = np.broadcast_arrays(np.radians(rotation), np.radians(shear), scale, scale, shift, shift,
                               np.empty(len(images)))[:6]
    return keras.random.uniform((6, len(images)), -1, 1, seed=seed) * np.array(each, "float32")


@functools.cache
def _compiled(function, **fixed):
    def with_fixed(*arrays):
        return function(*arrays, **fixed)
    return compiled(with_fixed)


def _grid(images):
    """Row and column number of each pixel: tensors (height, 1) and (width,)."""
    return ops.arange(images.shape[1], dtype="float32")[:, None], ops.arange(images.shape[2], dtype="float32")


def _affine(images, drawn):
    return _resampled(images, *_origins(images, drawn, *_grid(images)))


def _elastic(images, noise, smooth_down, smooth_right, drawn, alpha, normalize):
    if normalize:  # in this order both products are large ones
        fields = ops.matmul(ops.swapaxes(ops.matmul(noise, smooth_down), 2, 3), smooth_right)
        norm = ops.sqrt(ops.sum(fields**2, axis=NORMS[normalize], keepdims=True))
        fields = fields * (alpha / ops.maximum(norm, 1e-30))  # without a strength there is nothing to divide
    else:
        fields = ops.matmul(ops.matmul(smooth_down, noise), smooth_right)
    down, right = ops.unstack(fields, num=2)
    rows, columns = _grid(images)
    return _resampled(images, *_origins(images, drawn, rows + down, columns + right))


def _origins(images, drawn, rows, columns):
    """Where the pixels at these positions come from, when the images are moved as drawn."""
    turn, slant, taller, wider, down, right = ops.unstack(drawn[:, :, None, None], num=6)
    middle, centre = (images.shape[1] - 1) / 2, (images.shape[2] - 1) / 2
    rows, columns = rows - middle - down, columns - centre - right  # every step backwards, the last one first
    rows, columns = (ops.cos(turn) * rows - ops.sin(turn) * columns,
                     ops.sin(turn) * rows + ops.cos(turn) * columns)
    columns = columns - ops.tan(slant) * rows
    return rows / (1 + taller) + middle, columns / (1 + wider) + centre


def _resampled(images, rows, columns):
    """The images at these positions, (n, height, width) each, interpolated between four pixels."""
    count, height, width, channels = images.shape
    pixels = ops.reshape(ops.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0))), (count, -1, channels))
    rows, columns = ops.clip(rows, -1, height) + 1, ops.clip(columns, -1, width) + 1  # in the padded image
    top, left = (ops.minimum(ops.floor(rows), height), ops.minimum(ops.floor(columns), width))
    corner = ops.reshape(ops.cast(top * (width + 2) + left, "int32"), (count, -1, 1))

    def pixel(offset):
        values = ops.take_along_axis(pixels, corner + offset, axis=1)
        return ops.cast(ops.reshape(values, images.shape), "float32")

    down, right = (rows - top)[..., None], (columns - left)[..., None]
    upper = (1 - right) * pixel(0) + right * pixel(1)
    lower = (1 - right) * pixel(width + 2) + right * pixel(width + 3)
    return ops.cast(ops.round((1 - down) * upper + down * lower), "uint8")
