"""The layers, against plain NumPy."""

import io

import keras
import numpy as np
import pytest
from keras import ops

import nets
from nets import epoch
from nets.layers import ConvPool, FullyConnected, Softmax, largest

# ---- sizes ----


def conv_pools(*filters):
    return [ConvPool(n) for n in filters]


@pytest.mark.parametrize("layers, parameters", [
    ([FullyConnected(100), Softmax(10)], 79510),
    ([*conv_pools(20), FullyConnected(100), Softmax(10)], 289630),
    ([*conv_pools(20, 40), FullyConnected(100), Softmax(10)], 85670),
    ([*conv_pools(20, 40), FullyConnected(1000, dropout=0.5), FullyConnected(1000, dropout=0.5),
      Softmax(10, dropout=0.5)], 1672570),
    (conv_pools(20), 520),
    ([FullyConnected(30)], 23550),
], ids=["shallow", "conv-pool", "two-conv-pool", "dropout", "C20", "FC30"])
def test_parameter_counts(layers, parameters):
    network = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Rescaling(1 / 256), *layers])
    assert sum(variable.numpy().size for variable in network.trainable_variables) == parameters
    lines = io.StringIO()
    network.summary(print_fn=lambda line: lines.write(line + "\n"))
    assert f"Trainable params: {parameters:,}" in lines.getvalue()


# ---- ConvPool ----


def conv_pool(images, kernel, bias, strides, pool, pool_size, activation):
    """ConvPool in plain loops, float64: convolve, pool, add the bias, activate."""
    size, _, _, filters = kernel.shape
    rows, columns = ((n - size) // strides + 1 for n in images.shape[1:3])
    maps = np.zeros((len(images), rows, columns, filters))
    for r in range(rows):
        for c in range(columns):
            window = images[:, r * strides:r * strides + size, c * strides:c * strides + size]
            for f in range(filters):
                maps[:, r, c, f] = (window * kernel[..., f]).sum(axis=(1, 2, 3))
    if pool:
        rows, columns = rows // pool_size, columns // pool_size
        pooled = np.zeros((len(images), rows, columns, filters))
        for r in range(rows):
            for c in range(columns):
                cell = maps[:, r * pool_size:(r + 1) * pool_size, c * pool_size:(c + 1) * pool_size]
                pooled[:, r, c] = (cell.max(axis=(1, 2)) if pool == "max"
                                   else np.sqrt((cell**2).sum(axis=(1, 2))))
        maps = pooled
    return activation(maps + bias)


SHAPES = [  # image height and width, channels; kernel size, strides, pool size
    ((8, 8, 1), 5, 1, 2),
    ((9, 12, 3), 4, 1, 2),    # 6 x 9 maps: a column left over
    ((11, 8, 2), 3, 2, 2),    # 5 x 3 maps: a row and a column left over
    ((12, 11, 2), 3, 1, 3),   # 10 x 9 maps: a row left over
    ((7, 6, 4), 1, 2, 1),
]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("pool", ["max", "l2", None])
@pytest.mark.parametrize("shape, size, strides, pool_size", SHAPES)
def test_conv_pool_equals_plain_loops(rng, shape, size, strides, pool_size, pool):
    layer = ConvPool(3, size, strides, pool, pool_size, activation="tanh")
    images = rng.normal(size=(2, *shape)).astype("float32")
    output = ops.convert_to_numpy(layer(images))
    kernel, bias = layer.get_weights()
    expected = conv_pool(images, kernel, bias, strides, pool, pool_size, np.tanh)
    np.testing.assert_allclose(output, expected, atol=1e-5)
    assert layer.compute_output_shape(images.shape) == output.shape
    assert layer(keras.Input(shape)).shape == (None, *output.shape[1:])


@pytest.mark.parametrize("shape, size, strides, pool_size", SHAPES)
def test_conv_pool_equals_keras(rng, shape, size, strides, pool_size):
    layer = ConvPool(3, size, strides, pool_size=pool_size, activation="relu")
    images = rng.normal(size=(2, *shape)).astype("float32")
    output = layer(images)
    cell = (pool_size, pool_size)
    maps = ops.max_pool(ops.conv(images, layer.kernel, strides), cell, cell)
    np.testing.assert_allclose(output, ops.relu(maps + layer.bias), atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 3, 2, 4, 2, 5), (2, 3, 3, 4, 3, 5)])
@pytest.mark.parametrize("equals", [True, False])
def test_gradient_of_the_largest_is_that_of_the_library(rng, shape, equals):
    """Shared among equals: of few different values, most cells have some."""
    cells = ops.convert_to_tensor(rng.integers(0, 3, shape) if equals else rng.normal(size=shape), "float32")
    upstream = rng.normal(size=(2, 3, 4, 5)).astype("float32")

    def value_and_gradient(maximum):
        (value, _), (gradient,) = epoch.value_and_gradient(
            lambda tensors: (ops.sum(maximum(tensors[0]) * upstream), ()), [cells])
        return value, gradient

    value, gradient = value_and_gradient(largest)
    expected, expected_gradient = value_and_gradient(lambda cells: ops.max(cells, axis=(2, 4)))
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-6)
    np.testing.assert_allclose(ops.sum(gradient, axis=(2, 4)), upstream, rtol=1e-6)


@pytest.mark.parametrize("pool", ["max", "l2", None])
def test_conv_pool_gradient_equals_numerical_one(rng, pool):
    layer = ConvPool(2, 3, pool=pool, activation="tanh")
    layer.build((None, 7, 8, 2))
    kernel, bias = layer.get_weights()
    arrays = [rng.normal(size=(2, 7, 8, 2)).astype("float32"), kernel, bias]
    direction = rng.normal(size=layer.compute_output_shape((2, 7, 8, 2)))

    def loss(tensors):
        images, *weights = tensors
        output, _ = layer.stateless_call(weights, [], images)
        return ops.sum(output * direction.astype("float32")), ()

    _, gradients = epoch.value_and_gradient(loss, [ops.convert_to_tensor(a) for a in arrays])

    def value(arrays):
        return (conv_pool(*arrays, 1, pool, 2, np.tanh) * direction).sum()

    for which, gradient in enumerate(gradients):
        for place in rng.choice(arrays[which].size, 15):  # 15 of its numbers
            ends = []
            for shift in (1e-5, -1e-5):
                moved = [array.astype("float64") for array in arrays]
                moved[which].flat[place] += shift
                ends.append(value(moved))
            slope = (ends[0] - ends[1]) / 2e-5
            assert float(np.ravel(gradient)[place]) == pytest.approx(slope, abs=1e-4)


def test_conv_pool_normalizes_between_pooling_and_bias(rng):
    layer = ConvPool(3, 3, activation="tanh", normalize=True)
    images = rng.normal(2, 3, size=(5, 8, 9, 2)).astype("float32")
    layer.build(images.shape)
    kernel, bias = layer.get_weights()[:2]
    scale = np.float32([0.5, 1, 2])
    layer.normalization.gamma.assign(scale)
    sums = conv_pool(images, kernel, 0, 1, "max", 2, lambda z: z)
    mean, variance = sums.mean(axis=(0, 1, 2)), sums.var(axis=(0, 1, 2))

    def expected(mean, variance):
        return np.tanh(scale * (sums - mean) / np.sqrt(variance + 0.001) + bias)

    np.testing.assert_allclose(layer(images, training=True), expected(mean, variance), atol=1e-4)
    np.testing.assert_allclose(layer(images), expected(0.01 * mean, 0.99 + 0.01 * variance), atol=1e-4)
    assert [variable.shape for variable in layer.trainable_variables] == [(3, 3, 2, 3), (3,), (3,)]
    assert [variable.shape for variable in layer.non_trainable_variables] == [(3,), (3,)]


def test_l2_pool_has_a_finite_slope_on_paper():
    layer = ConvPool(2, 3, pool="l2")
    layer.build((None, 6, 6, 1))

    def loss(weights):
        return ops.sum(layer.stateless_call(weights, [], np.zeros((1, 6, 6, 1), "float32"))[0]), ()

    _, gradients = epoch.value_and_gradient(loss, [ops.convert_to_tensor(w) for w in layer.get_weights()])
    assert all(np.isfinite(gradient).all() for gradient in gradients)


# ---- initialisers ----


def assert_normal(values, variance):
    """At least 4,000 values look drawn from N(0, variance), tails included."""
    scores = np.ravel(values) / np.sqrt(variance)
    assert len(scores) >= 4000
    error = 4 / np.sqrt(len(scores))  # four standard errors
    assert abs(scores.mean()) < error
    assert abs(scores.std() - 1) < error
    assert abs((abs(scores) > 2).mean() - 0.0455) < 0.21 * error


def built(layer, shape):
    keras.utils.set_random_seed(1)
    layer = type(layer).from_config(layer.get_config())  # so that the seed counts
    layer.build((None, *shape))
    return layer.get_weights()


@pytest.mark.parametrize("pool_size", [2, 3])
def test_conv_pool_starts_as_in_the_chapter(pool_size):
    kernel, bias = built(ConvPool(4000, pool_size=pool_size), (28, 28, 1))
    assert_normal(kernel, pool_size**2 / (25 * 4000))
    assert_normal(bias, 1)


def test_conv_pool_ignores_the_number_of_inputs():
    kernel, _ = built(ConvPool(40), (12, 12, 20))
    assert_normal(kernel, 4 / (25 * 40))


def test_convolution_without_pooling_starts_with_all_its_outputs():
    kernel, _ = built(ConvPool(200, pool=None), (12, 12, 1))
    assert_normal(kernel, 1 / (25 * 200))


def test_fully_connected_starts_as_in_the_chapter():
    kernel, bias = built(FullyConnected(4000), (7,))
    assert_normal(kernel, 1 / 4000)
    assert_normal(bias, 1)


def test_softmax_starts_at_zero():
    assert all((weights == 0).all() for weights in built(Softmax(10), (100,)))


def test_initialisers_can_be_chosen():
    for layer, shape in ((ConvPool(2, kernel_initializer="ones", bias_initializer="zeros"), (8, 8, 1)),
                         (FullyConnected(2, kernel_initializer="ones", bias_initializer="zeros"), (8,))):
        kernel, bias = built(layer, shape)
        assert (kernel == 1).all() and (bias == 0).all()


# ---- fully connected layers and dropout ----


@pytest.mark.parametrize("layer, activation", [
    (FullyConnected(3, "tanh"), np.tanh),
    (Softmax(3, kernel_initializer="he_normal"),
     lambda z: np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)),
], ids=["FullyConnected", "Softmax"])
def test_fully_connected_flattens_and_multiplies(rng, layer, activation):
    inputs = rng.normal(size=(2, 2, 3, 4)).astype("float32")
    output = ops.convert_to_numpy(layer(inputs))
    kernel, bias = layer.get_weights()
    np.testing.assert_allclose(output, activation(inputs.reshape(2, 24) @ kernel + bias), atol=1e-5)
    assert layer.compute_output_shape(inputs.shape) == output.shape
    assert layer(keras.Input((2, 3, 4))).shape == (None, 3)


def transparent(kind, dropout):
    """A layer of this kind whose outputs are its 500 inputs, after dropout."""
    layer = kind(500, dropout=dropout, activation="linear", kernel_initializer="identity",
                 bias_initializer="zeros")
    layer.build((None, 500))
    return layer


@pytest.mark.parametrize("kind", [FullyConnected, Softmax])
@pytest.mark.parametrize("dropout", [0.2, 0.5])
def test_training_zeroes_inputs_and_does_not_scale_the_rest(rng, kind, dropout):
    inputs = rng.normal(size=(40, 500)).astype("float32")
    output = ops.convert_to_numpy(transparent(kind, dropout)(inputs, training=True))
    kept = output != 0
    np.testing.assert_allclose(output[kept], inputs[kept], rtol=1e-6)
    assert abs((~kept).mean() - dropout) < 0.015  # four standard errors


@pytest.mark.parametrize("kind", [FullyConnected, Softmax])
@pytest.mark.parametrize("dropout", [0.0, 0.2, 0.5])
def test_inference_multiplies_inputs_by_the_share_kept(rng, kind, dropout):
    inputs = rng.normal(size=(4, 500)).astype("float32")
    np.testing.assert_allclose(transparent(kind, dropout)(inputs), inputs * (1 - dropout), rtol=1e-5)


def test_no_dropout_leaves_training_alone(rng):
    inputs = rng.normal(size=(4, 500)).astype("float32")
    np.testing.assert_allclose(transparent(FullyConnected, 0)(inputs, training=True), inputs, rtol=1e-5)


def test_masks_differ_between_layers_calls_and_images():
    ones = np.ones((2, 500), "float32")
    layers = transparent(FullyConnected, 0.5), transparent(FullyConnected, 0.5)
    first, again, other = (ops.convert_to_numpy(layer(ones, training=True))
                           for layer in (layers[0], layers[0], layers[1]))
    assert (first != again).any() and (first != other).any() and (first[0] != first[1]).any()


# ---- as Keras layers ----

UNUSUAL = [
    ConvPool(3, 4, 2, "l2", 3, "relu", "he_normal", "ones"),
    ConvPool(3, pool=None, normalize=True),
    FullyConnected(7, "tanh", 0.25, "he_normal", "zeros"),
    Softmax(4, 0.5),
]


@pytest.mark.parametrize("layer", UNUSUAL, ids=lambda layer: layer.name)
def test_config_round_trip(layer):
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(layer)).get_config() == layer.get_config()


def test_config_holds_every_argument():
    assert ConvPool(3, 4, 2, "l2", 3, "relu").get_config().items() >= {
        "filters": 3, "kernel_size": 4, "strides": 2, "pool": "l2", "pool_size": 3,
        "activation": "relu"}.items()
    assert ConvPool(3, normalize=True).get_config()["normalize"]
    assert "normalize" not in ConvPool(3).get_config()  # records made before there was such a thing fit
    assert Softmax(7, 0.25).get_config().items() >= {
        "units": 7, "dropout": 0.25, "activation": "softmax"}.items()


def test_saved_network_predicts_the_same(few, tmp_path):
    network = keras.Sequential([
        keras.Input((28, 28, 1)), keras.layers.Rescaling(1 / 256),
        ConvPool(3, 3, 2, "l2"), ConvPool(4, 3, pool=None, activation="relu", normalize=True),
        FullyConnected(9, "tanh", 0.2), Softmax(10, 0.5, kernel_initializer="he_normal")])
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    images = few.test.images[:20]
    np.testing.assert_array_equal(loaded.predict(images, verbose=0), network.predict(images, verbose=0))
    assert [type(layer) for layer in loaded.layers] == [type(layer) for layer in network.layers]


def test_fit_and_predict_take_uint8_images(few):
    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.layers.Rescaling(1 / 256), nets.ConvPool(4),
                                nets.FullyConnected(20, dropout=0.1), nets.Softmax(10)])
    network.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy")
    history = network.fit(*few.train, batch_size=16, epochs=8, verbose=0).history["loss"]
    assert history[-1] < history[0] - 0.3
    probabilities = network.predict(few.test.images, verbose=0)
    assert probabilities.shape == (100, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


# ---- errors ----



@pytest.mark.parametrize("name", ["filters", "kernel_size", "strides", "pool_size"])
@pytest.mark.parametrize("value", [0, -1, 2.0, "3", None, True])
def test_conv_pool_names_a_wrong_size(name, value):
    with pytest.raises(ValueError, match=f"ConvPool: {name} must be .* not {value!r}"):
        ConvPool(**{"filters": 3, name: value})


@pytest.mark.parametrize("pool", ["average", 2, True])
def test_conv_pool_names_a_wrong_pool(pool):
    with pytest.raises(ValueError, match=f'ConvPool: pool must be "max", "l2" or None, not {pool!r}'):
        ConvPool(3, pool=pool)


@pytest.mark.parametrize("activation", ["softmax", keras.activations.log_softmax])
def test_conv_pool_refuses_an_activation_across_numbers(activation):
    with pytest.raises(ValueError, match="ConvPool: the activation must treat each number by itself"):
        ConvPool(3, activation=activation)


@pytest.mark.parametrize("kind", [FullyConnected, Softmax])
@pytest.mark.parametrize("units", [0, -1, 2.0, None])
def test_fully_connected_names_wrong_units(kind, units):
    with pytest.raises(ValueError, match=f"{kind.__name__}: units must be .* not {units!r}"):
        kind(units)


@pytest.mark.parametrize("kind", [FullyConnected, Softmax])
@pytest.mark.parametrize("dropout", [-0.1, 1, 1.5, float("nan"), "half",
                                     None])
def test_fully_connected_names_a_wrong_dropout(kind, dropout):
    with pytest.raises(ValueError, match=f"{kind.__name__}: dropout must be .* not {dropout!r}"):
        kind(10, dropout=dropout)


@pytest.mark.parametrize("kind", [ConvPool, FullyConnected, Softmax])
@pytest.mark.parametrize("argument, word", [
    ("activation", "activation"), ("kernel_initializer", "initializer"), ("bias_initializer", "initializer")])
def test_unknown_activation_or_initialiser_is_named(kind, argument, word):
    with pytest.raises(ValueError, match=f"{word}.*wonderful"):
        kind(3, **{argument: "wonderful"})


@pytest.mark.parametrize("shape", [(28, 28), (28,), (2, 28, 28, 1)])
def test_conv_pool_wants_images(shape):
    with pytest.raises(ValueError, match="ConvPool: the input must have the shape"):
        ConvPool(3)(keras.Input(shape))


@pytest.mark.parametrize("shape, least", [((5, 28, 1), "6 x 6"), ((28, 5, 1), "6 x 6")])
def test_conv_pool_wants_images_larger_than_its_window(shape, least):
    with pytest.raises(ValueError, match=f"kernel_size and pool_size need images of at least {least}"):
        ConvPool(3)(keras.Input(shape))
    ConvPool(3)(keras.Input((6, 6, 1)))


def test_conv_pool_wants_images_of_known_size():
    with pytest.raises(ValueError, match="ConvPool: the input must have"):
        ConvPool(3)(keras.Input((None, None, 1)))


def test_fully_connected_wants_inputs_of_known_size():
    with pytest.raises(ValueError, match="FullyConnected: the input must have a known shape"):
        FullyConnected(3)(keras.Input((None, 4)))


# ---- a layer takes what it was built for ----


@pytest.mark.parametrize("layer", [FullyConnected(3), Softmax(3), FullyConnected(3, dropout=0.5)])
@pytest.mark.parametrize("shape", [(4, 14, 14, 1), (1, 56, 14, 1), (1, 784), (2, 14, 28, 1),
                                   (1, 28, 28, 1, 1)])
def test_a_dense_layer_refuses_another_shape_of_as_many_numbers(layer, shape):
    layer(np.zeros((1, 28, 28, 1), "float32"))
    with pytest.raises(ValueError, match="incompatible with the layer: expected"):
        layer(np.zeros(shape, "float32"))
    assert layer(np.zeros((5, 28, 28, 1), "float32")).shape == (5, 3)


@pytest.mark.parametrize("shape", [(1, 28, 28, 2), (2, 28, 28, 3), (28, 28, 4), (4, 28, 28, 1), (1, 784)])
def test_a_convolution_refuses_other_channels(shape):
    layer = ConvPool(3)
    layer(np.zeros((1, 28, 28, 4), "float32"))
    with pytest.raises(ValueError, match="incompatible with the layer: expected"):
        layer(np.zeros(shape, "float32"))
    assert layer(np.zeros((1, 20, 24, 4), "float32")).shape == (1, 8, 10, 3)  # of another size it may be


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_l2_pooling_has_a_finite_slope_at_zero_in_any_precision(dtype):
    layer = ConvPool(2, pool="l2", activation="linear", dtype=dtype)
    images = ops.zeros((1, 6, 6, 1), dtype)
    layer(images)

    def loss(weights):
        return ops.sum(layer.stateless_call(weights, [], images)[0]), None

    weights = [ops.convert_to_tensor(variable.value) for variable in layer.trainable_variables]
    _, gradients = epoch.value_and_gradient(loss, weights)
    assert all(np.isfinite(ops.convert_to_numpy(ops.cast(g, "float32"))).all() for g in gradients)
