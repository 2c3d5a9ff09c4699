"""The chapter's three kinds of layer, as ordinary Keras layers."""

import math
import numbers

import keras
from keras import ops


def _chapter_kernels(scale=1.0):
    """Kernels drawn from N(0, scale / n), n being kernel area times outputs (Keras' "fan out")."""
    return keras.initializers.VarianceScaling(scale, "fan_out", "untruncated_normal")


def _chapter_biases():
    return keras.initializers.RandomNormal(stddev=1.0)


def _sizes(layer, **sizes):
    """The sizes as ints, in order, or ValueError for one that is none."""
    for name, value in sizes.items():
        if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{layer}: {name} must be a whole number of at least 1, not {value!r}.")
    return [int(value) for value in sizes.values()]


def patches(images, size, strides=1):
    """Every `size` x `size` window of the images, laid out along the first axis.

    images (channels, height, width, batch) become (size * size * channels, rows, columns, batch), with
    rows = (height - size) // strides + 1; the first axis runs over window row, window column and
    channel. With the batch last, what is copied lies together in memory; columns first, then rows,
    makes 10 copies of a 5 x 5 window instead of 25, and as many additions in the gradient.
    """
    rows, columns = (strides * ((n - size) // strides) + 1 for n in images.shape[1:3])
    images = ops.concatenate([images[:, :, j:j + columns:strides] for j in range(size)])
    return ops.concatenate([images[:, i:i + rows:strides] for i in range(size)])


@ops.custom_gradient
def largest(cells):
    """The largest value of each cell: (filters, rows, size, columns, size, batch) to the same without sizes.

    The gradient is that of a library's maximum, shared among equals. Counting these slice by slice is
    what makes it faster than the library's.
    """
    values = ops.max(cells, axis=(2, 4))

    def gradient(*arguments, upstream=None):
        upstream = arguments[0] if upstream is None else upstream  # Keras' backends differ in this
        corners = [cells[:, :, i, :, j] for i in range(cells.shape[2]) for j in range(cells.shape[4])]
        equals = sum(ops.cast(corner == values, upstream.dtype) for corner in corners)
        winners = cells == ops.expand_dims(values, (2, 4))
        return ops.where(winners, ops.expand_dims(upstream / equals, (2, 4)), 0.0)

    return values, gradient


@keras.saving.register_keras_serializable("nets")
class ConvPool(keras.layers.Layer):
    """Convolution, pooling, perhaps batch normalisation, bias and activation, in this order.

    Input (batch, height, width, channels), output (batch, rows, columns, filters). No padding, and
    like every deep-learning library's, the convolution does not flip its kernels. For a monotone
    activation, max-pooling before bias and activation gives what pooling after them gives, with a
    quarter of the activations. The convolution is one matrix product of `patches` and kernels, inside
    a compiled loop many times faster than a primitive. Inside, the batch is the last axis.

    Parameters
    ----------
    filters : int, number of feature maps
    kernel_size, strides : int, in pixels
    pool : "max", "l2" (root of the sum of squares) or None
    pool_size : int, in pixels; rows and columns left over at the edge are dropped
    activation : any Keras activation that treats each number by itself
    kernel_initializer, bias_initializer : any Keras initialiser; by default the chapter's:
        kernels N(0, pool_size**2 / (filters * kernel_size**2)), biases N(0, 1). For ReLU prefer
        "he_normal" and "zeros".
    normalize : bool, whether a keras.layers.BatchNormalization follows the pooling. (Its shift is the bias.)

    Raises
    ------
    ValueError for a size below 1, an unknown `pool`, an activation such as softmax, or an input that
        is no stack of images or is smaller than the window.

    Source: the chapter, "Introducing convolutional networks" and its program's ConvPoolLayer.
    """

    def __init__(self, filters, kernel_size=5, strides=1, pool="max", pool_size=2,
                 activation="sigmoid", kernel_initializer=None, bias_initializer=None, normalize=False,
                 **kwargs):
        super().__init__(**kwargs)
        self.filters, self.kernel_size, self.strides, pool_size = _sizes(
            "ConvPool", filters=filters, kernel_size=kernel_size, strides=strides, pool_size=pool_size)
        if pool not in ("max", "l2", None):
            raise ValueError(f'ConvPool: pool must be "max", "l2" or None, not {pool!r}.')
        self.pool, self.pool_size = pool, pool_size if pool else 1
        self.activation = keras.activations.get(activation)
        if getattr(self.activation, "__name__", "") in ("softmax", "log_softmax", "sparsemax", "glu"):
            raise ValueError(f"ConvPool: the activation must treat each number by itself, unlike "
                             f"{activation!r}: put a keras.layers.Activation of it behind this layer.")
        self.normalization = keras.layers.BatchNormalization(axis=0, center=False) if normalize else None
        self.kernel_initializer = keras.initializers.get(
            kernel_initializer or _chapter_kernels(scale=float(self.pool_size**2)))
        self.bias_initializer = keras.initializers.get(bias_initializer or _chapter_biases())

    def build(self, input_shape):
        self.compute_output_shape(input_shape)
        self.input_spec = keras.layers.InputSpec(ndim=4, axes={-1: input_shape[-1]})
        self.kernel = self.add_weight(
            shape=(self.kernel_size, self.kernel_size, input_shape[-1], self.filters),
            initializer=self.kernel_initializer, name="kernel")
        self.bias = self.add_weight(
            shape=(self.filters,), initializer=self.bias_initializer, name="bias")
        if self.normalization:
            self.normalization.build((self.filters, None, None, None))

    def call(self, images, training=False):
        windows = patches(ops.transpose(images, (3, 1, 2, 0)), self.kernel_size, self.strides)
        kernel = ops.transpose(ops.reshape(self.kernel, (-1, self.filters)))
        maps = ops.matmul(kernel, ops.reshape(windows, (kernel.shape[1], -1)))
        maps = self._pool(ops.reshape(maps, (self.filters, *windows.shape[1:3], -1)))
        if self.normalization:
            maps = self.normalization(maps, training=training)
        maps = self.activation(maps + ops.reshape(self.bias, (-1, 1, 1, 1)))
        return ops.transpose(maps, (3, 1, 2, 0))

    def _pool(self, maps):
        if self.pool is None:
            return maps
        size = self.pool_size
        rows, columns = (n // size for n in maps.shape[1:3])
        cells = ops.reshape(maps[:, :rows * size, :columns * size],
                            (self.filters, rows, size, columns, size, -1))
        if self.pool == "max":
            return largest(cells)
        smallest = 1e-6 if maps.dtype == "float16" else 1e-12  # finite slope at 0
        return ops.sqrt(ops.sum(ops.square(cells), axis=(2, 4)) + smallest)

    def compute_output_shape(self, input_shape):
        window = self.kernel_size + self.strides * (self.pool_size - 1)
        if len(input_shape) != 4 or None in input_shape[1:]:
            raise ValueError("ConvPool: the input must have the shape (batch, height, width, channels), of "
                             f"known sizes, not {tuple(input_shape)}.")
        if min(input_shape[1:3]) < window:
            raise ValueError(f"ConvPool: kernel_size and pool_size need images of at least {window} x "
                             f"{window} pixels, not {input_shape[1]} x {input_shape[2]}.")
        rows, columns = (((n - self.kernel_size) // self.strides + 1) // self.pool_size
                         for n in input_shape[1:3])
        return (input_shape[0], rows, columns, self.filters)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "kernel_size": self.kernel_size,
                "strides": self.strides, "pool": self.pool, "pool_size": self.pool_size,
                **({"normalize": True} if self.normalization else {}),  # else as in the ledger's records
                **_serialized(self)}


@keras.saving.register_keras_serializable("nets")
class FullyConnected(keras.layers.Layer):
    """A fully connected layer, with dropout on its inputs.

    Input of any shape (batch, ...), flattened; output (batch, units). In training each input is
    zeroed with probability `dropout` and the others are left as they are; otherwise every input is
    multiplied by 1 - dropout. (`keras.layers.Dropout` scales in training, and learns at other rates.)

    Parameters
    ----------
    units : int, number of neurons
    activation : any Keras activation
    dropout : float in [0, 1), the share of inputs to zero
    kernel_initializer, bias_initializer : any Keras initialiser; by default the chapter's:
        kernels N(0, 1 / units), biases N(0, 1). For ReLU prefer "he_normal" and "zeros".

    Raises
    ------
    ValueError for units below 1 or a rate outside [0, 1).

    Source: the chapter's FullyConnectedLayer; Srivastava et al. 2014 for dropout.
    """

    def __init__(self, units, activation="sigmoid", dropout=0.0, kernel_initializer=None,
                 bias_initializer=None, **kwargs):
        super().__init__(**kwargs)
        name = type(self).__name__
        (self.units,) = _sizes(name, units=units)
        if not isinstance(dropout, numbers.Real) or not 0 <= dropout < 1:
            raise ValueError(f"{name}: dropout must be at least 0 and below 1, not {dropout!r}.")
        self.dropout = float(dropout)
        self.activation = keras.activations.get(activation)
        self.kernel_initializer = keras.initializers.get(kernel_initializer or _chapter_kernels())
        self.bias_initializer = keras.initializers.get(bias_initializer or _chapter_biases())
        self.seed_generator = keras.random.SeedGenerator() if dropout else None

    def build(self, input_shape):
        if len(input_shape) < 2 or None in input_shape[1:]:
            raise ValueError(f"{type(self).__name__}: the input must have a known shape (batch, ...), "
                             f"not {tuple(input_shape)}.")
        self.input_spec = keras.layers.InputSpec(shape=(None, *input_shape[1:]))
        inputs = math.prod(input_shape[1:])
        self.kernel = self.add_weight(
            shape=(inputs, self.units), initializer=self.kernel_initializer, name="kernel")
        self.bias = self.add_weight(
            shape=(self.units,), initializer=self.bias_initializer, name="bias")

    def call(self, inputs, training=False):
        inputs = ops.reshape(inputs, (-1, self.kernel.shape[0]))
        if self.dropout and training:
            inputs = inputs * self.draw_mask(ops.shape(inputs), inputs.dtype)
        elif self.dropout:
            inputs = inputs * (1 - self.dropout)
        return self.activation(ops.matmul(inputs, self.kernel) + self.bias)

    def draw_mask(self, shape, dtype="float32"):
        """A fresh array of ones and zeros, zero with probability `dropout`."""
        if keras.backend.backend() == "tensorflow":  # which otherwise takes a generator 20 times as slow
            import tensorflow as tf
            seed = tf.cast(self.seed_generator.next(), "int32")
            drawn = tf.random.stateless_uniform(shape, seed, alg="philox")
        else:
            drawn = keras.random.uniform(shape, seed=self.seed_generator)
        return ops.cast(drawn >= self.dropout, dtype)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "dropout": self.dropout,
                **_serialized(self)}


@keras.saving.register_keras_serializable("nets")
class Softmax(FullyConnected):
    """A fully connected output layer whose outputs are probabilities.

    As `FullyConnected`, with the softmax activation; weights and biases start at zero.
    """

    def __init__(self, units, dropout=0.0, activation="softmax", kernel_initializer="zeros",
                 bias_initializer="zeros", **kwargs):
        super().__init__(units, activation, dropout, kernel_initializer, bias_initializer, **kwargs)


def _serialized(layer):
    return {"activation": keras.activations.serialize(layer.activation),
            "kernel_initializer": keras.initializers.serialize(layer.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(layer.bias_initializer)}
