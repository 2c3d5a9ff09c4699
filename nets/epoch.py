"""What is compiled: a step of gradient descent, an epoch of them, and classifying."""

import contextlib
import functools

import keras
from keras import ops

from nets import needed


def value_and_gradient(function, weights):
    """((loss, extras), gradients) of `function`, which returns (loss, extras), at `weights`."""
    if keras.backend.backend() == "jax":
        import jax
        return jax.value_and_grad(function, has_aux=True)(weights)
    import tensorflow as tf
    with tf.GradientTape() as tape:
        tape.watch(weights)
        loss, extras = function(weights)
    return (loss, extras), tape.gradient(loss, weights, unconnected_gradients="zero")


@functools.cache
def hush():
    """Let TensorFlow log that it compiles, as it does once, where nobody reads it: no setting prevents it."""
    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf
    with needed.without_log():
        tf.function(lambda: tf.constant(0), jit_compile=True)()


def compiled(function):
    if keras.backend.backend() == "jax":
        import jax
        return jax.jit(function)
    import tensorflow as tf
    hush()
    of_its_own = functools.partial(function)  # TensorFlow warns where the same code is compiled often
    of_its_own.__name__ = function.__name__
    return tf.function(of_its_own, jit_compile=True)


def stateless(optimizer, weights):
    """A fresh copy of a Keras optimizer for these variables; its `stateless_apply` also works on TensorFlow.

    There Keras has methods for tf.distribute in place of the general ones, which here come before them.
    """
    kind = type(optimizer)
    bases = {base.__name__: base for base in kind.__mro__}
    if "TFOptimizer" in bases:
        methods = ("stateless_apply", "assign", "assign_add", "assign_sub", "_var_key", "_apply_weight_decay",
                   "_backend_update_step")
        general = {name: getattr(bases["BaseOptimizer"], name) for name in methods}
        kind = type(kind.__name__, (kind, type("General", (bases["TFOptimizer"],), general)), {})
    copy = kind.from_config(optimizer.get_config())
    copy.build(weights)
    return copy


@contextlib.contextmanager
def _logarithm_of(softmax_layer):
    """Meanwhile, this layer gives the logarithms of its probabilities, exact also where these underflow."""
    softmax_layer.activation = keras.activations.log_softmax
    try:
        yield
    finally:
        softmax_layer.activation = keras.activations.softmax


def knows_logarithm(network, images):
    """Whether `_logarithm_of` its last layer gives the logarithms of what this network answers."""
    images = ops.cast(images, "float32")
    p = network(images, training=False)
    with _logarithm_of(network.layers[-1]):
        log_p = network(images, training=False)
    return bool(ops.all(ops.abs(ops.exp(log_p) - p) < 0.01))


def _at_least_32_bits(number):
    short = keras.backend.standardize_dtype(number.dtype) in ("float16", "bfloat16")
    return ops.cast(number, "float32") if short else number


def decays(variable):
    """Whether the L2 term applies: to kernels and whatever else has two axes or more, and is no bias."""
    return len(variable.shape) > 1 and "bias" not in variable.name


def descent(network, l2_per_batch, optimizer=None):
    """The function that makes a step: of (weights, state, images, labels, learning_rate), it returns
    (weights, state, loss). See `compile_training` for what these are.
    """
    decay = [l2_per_batch if decays(variable) else 0.0 for variable in network.trainable_variables]
    constraints = [variable.constraint for variable in network.trainable_variables]
    own = len(network.non_trainable_variables)  # in state

    def descend(weights, gradients, learning_rate):
        moved = [w - ops.cast(learning_rate, w.dtype) * g for w, g in zip(weights, gradients, strict=True)]
        return [constrain(w) if constrain else w for w, constrain in zip(moved, constraints, strict=True)]

    def step(weights, state, images, labels, learning_rate):
        def loss_of(weights):
            with _logarithm_of(network.layers[-1]):
                log_p, new_state, losses = network.stateless_call(
                    weights, state[:own], images, training=True, return_losses=True)
            log_p = _at_least_32_bits(log_p)
            right = ops.one_hot(labels, log_p.shape[-1], dtype=log_p.dtype)
            data_loss = -ops.mean(ops.sum(log_p * right, axis=-1))
            return data_loss + sum(ops.cast(loss, log_p.dtype) for loss in losses), (data_loss, new_state)

        (_, (loss, new_state)), gradients = value_and_gradient(loss_of, weights)
        gradients = [g + d * w if d else g  # d is 0 for biases
                     for g, d, w in zip(gradients, decay, weights, strict=True)]
        if optimizer is None:
            weights, slots = descend(weights, gradients, learning_rate), []
        else:
            weights, slots = optimizer.stateless_apply(state[own:], gradients, weights)
        return list(weights), [*new_state, *slots], ops.cast(loss, "float32")

    return step


def block(steps):
    """The largest divisor of `steps` up to 100: so many steps in a row are a loop of known length.

    In one of unknown length a GPU waits for the CPU before each step.
    """
    return max(n for n in range(1, min(100, steps) + 1) if steps % n == 0)


def compile_training(network, l2_per_batch, several, optimizer=None):
    """The two compiled functions of a training: an epoch, and classifying.

    weights are the network's trainable variables, and state its others followed by those of the
    optimizer, lists of tensors; with `several`, each tensor has a leading axis of runs, and so have
    the results. Without an optimizer the steps are plain gradient descent.

    Returns
    -------
    epoch(weights, state, images, labels, order, steps, learning_rate, first=0, total=0.0)
        takes `steps` rows of `order`, int32 (batches, [runs,] mini-batch size), from row `first` on as
        mini-batches, both multiples of `block(batches)`; returns the new weights and state, and `total`
        with the mini-batches' losses added.
    classify(weights, state, images)
        takes images (chunks, n, height, width, channels); returns probabilities
        ([runs,] chunks, n, classes).
    """
    step = descent(network, l2_per_batch, optimizer)
    own = len(network.non_trainable_variables)  # in state

    def answers(weights, state, images):
        return _at_least_32_bits(network.stateless_call(weights, state[:own], images, training=False)[0])

    def epoch(weights, state, images, labels, order, steps, learning_rate, first=0, total=0.0):
        def body(i, carry):
            weights, state, total = carry
            batch = ops.take(order, i, axis=0)
            batch_images = ops.cast(ops.take(images, batch, axis=0), "float32")
            arrays = (weights, state, batch_images, ops.take(labels, batch, axis=0))
            if several:
                weights, state, loss = ops.vectorized_map(
                    lambda one: step(*one, learning_rate), arrays)
            else:
                weights, state, loss = step(*arrays, learning_rate)
            return weights, state, total + loss

        in_a_row = block(order.shape[0])

        def known_length(j, carry):
            return ops.fori_loop(0, in_a_row, lambda i, carry: body(j * in_a_row + i, carry), carry)

        start = weights, state, ops.zeros(order.shape[1:-1]) + total
        return ops.fori_loop(first // in_a_row, (first + steps) // in_a_row, known_length, start)

    def classify(weights, state, images):
        def chunk(images):
            images = ops.cast(images, "float32")
            if several:
                return ops.vectorized_map(lambda one: answers(*one, images), (weights, state))
            return answers(weights, state, images)

        probabilities = ops.map(chunk, images)
        return ops.swapaxes(probabilities, 0, 1) if several else probabilities

    return compiled(epoch), compiled(classify)
