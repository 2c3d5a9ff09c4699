"""More training images from those we have."""

import numpy as np

from nets.data import Digits


def expand(digits, seed=0):
    """The digits and four copies of each, moved by one pixel: down, up, right, left.

    The row or column that enters is paper (0). All five times n pairs are shuffled once.

    Parameters
    ----------
    digits : Digits, n images
    seed : int, of the shuffle

    Returns
    -------
    Digits, 5 n images

    Source: the chapter, "Expanding the training data".
    """
    images = digits.images
    moved = np.zeros((5, *images.shape), images.dtype)
    moved[0] = images
    moved[1, :, 1:] = images[:, :-1]
    moved[2, :, :-1] = images[:, 1:]
    moved[3, :, :, 1:] = images[:, :, :-1]
    moved[4, :, :, :-1] = images[:, :, 1:]
    order = np.random.default_rng(seed).permutation(5 * len(images))
    return Digits(moved.reshape(-1, *images.shape[1:])[order], np.tile(digits.labels, 5)[order])
