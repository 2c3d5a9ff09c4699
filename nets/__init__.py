"""The networks of Reading Digits: a thin module on Keras 3."""

from nets.augment import affine, bend_half, elastic, expand
from nets.data import MNIST, Digits, load_mnist
from nets.ensemble import vote
from nets.layers import ConvPool, FullyConnected, Softmax
from nets.result import compare
from nets.training import evaluate, train

__all__ = ["MNIST", "ConvPool", "Digits", "FullyConnected", "Softmax", "affine", "bend_half", "compare",
           "elastic", "evaluate", "expand", "load_mnist", "train", "vote"]
