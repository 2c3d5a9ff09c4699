"""The networks of Reading Digits: a thin module on Keras 3."""

import sys

from nets import needed  # noqa: F401 (before all others)
from nets.augment import affine, bend_half, elastic, expand
from nets.data import Dataset, Examples, load_mnist
from nets.ensemble import vote
from nets.epoch import hush
from nets.layers import ConvPool, FullyConnected, Softmax
from nets.result import compare
from nets.training import evaluate, train

__all__ = ["ConvPool", "Dataset", "Examples", "FullyConnected", "Softmax", "affine", "bend_half", "compare",
           "elastic", "evaluate", "expand", "load_mnist", "train", "vote"]

if "google.colab" in sys.modules:
    hush()  # also for what Keras' own methods compile
