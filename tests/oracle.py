"""The chapter's training in NumPy, float64, from the description of it: an oracle for nets.training.

The network is one convolution with max-pooling, one fully connected layer and a softmax layer.
"""

import numpy as np

ACTIVATIONS = {  # the function, and its slope where it has the value a
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda a: a * (1 - a)),
    "relu": (lambda z: np.maximum(z, 0), lambda a: (a > 0).astype(float)),
}


def forward(weights, images, activation, mask1=1, mask2=1):
    """Everything that backpropagation needs; masks multiply the inputs of the two dense layers."""
    kernel, bias, w1, b1, w2, b2 = weights
    size, _, channels, filters = kernel.shape
    act, _ = ACTIVATIONS[activation]
    windows = np.lib.stride_tricks.sliding_window_view(images, (size, size), axis=(1, 2))
    maps = np.einsum("nrcdij,ijdf->nrcf", windows, kernel)
    n, rows, columns, _ = maps.shape
    cells = maps.reshape(n, rows // 2, 2, columns // 2, 2, filters)
    pooled = cells.max(axis=(2, 4), keepdims=True)
    a0 = act(pooled[:, :, 0, :, 0] + bias)
    x1 = a0.reshape(n, -1) * mask1
    a1 = act(x1 @ w1 + b1)
    x2 = a1 * mask2
    z2 = x2 @ w2 + b2
    p = np.exp(z2 - z2.max(axis=1, keepdims=True))
    return windows, cells == pooled, a0, x1, a1, x2, p / p.sum(axis=1, keepdims=True)


def gradients(weights, images, labels, activation, mask1, mask2):
    """The loss (mean of -log of the right class's probability) and its gradient for each weight."""
    _, _, w1, _, w2, _ = weights
    _, slope = ACTIVATIONS[activation]
    windows, winners, a0, x1, a1, x2, p = forward(weights, images, activation, mask1, mask2)
    n = len(labels)
    loss = -np.log(p[np.arange(n), labels]).mean()
    d2 = (p - np.eye(10)[labels]) / n
    d1 = d2 @ w2.T * mask2 * slope(a1)
    d0 = (d1 @ w1.T * mask1).reshape(a0.shape) * slope(a0)
    shares = winners / winners.sum(axis=(2, 4), keepdims=True)
    d_maps = (d0[:, :, None, :, None] * shares).reshape(*windows.shape[:3], -1)
    return loss, [np.einsum("nrcdij,nrcf->ijdf", windows, d_maps), d0.sum(axis=(0, 1, 2)),
                  x1.T @ d1, d1.sum(axis=0), x2.T @ d2, d2.sum(axis=0)]


def descend(weights, images, labels, order, masks, activation, learning_rate, l2):
    """One epoch: the mini-batches in `order`, with `masks`. Returns the new weights and the mean loss."""
    weights = [np.asarray(array, "float64") for array in weights]
    losses = []
    for batch, (mask1, mask2) in zip(order, masks):
        loss, slopes = gradients(weights, images[batch], labels[batch], activation, mask1, mask2)
        losses.append(loss)
        for i, gradient in enumerate(slopes):
            if i % 2 == 0:  # a kernel: the cost has 0.5 * l2 * (sum of squares) / (number of mini-batches)
                gradient = gradient + l2 * weights[i] / len(order)
            weights[i] = weights[i] - learning_rate * gradient
    return weights, np.mean(losses)
