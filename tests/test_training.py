"""Training: it computes what the chapter's program computed, on either backend, and survives trouble."""

import json
import os
import random
import signal
import subprocess
import sys
import threading

import experiments
import keras
import numpy as np
import oracle
import pytest
from experiments import sequential
from keras import ops

import nets
from nets import files, groups, ledger, machine, runs, settings
from nets.epoch import compile_training, compiled, decays
from nets.progress import Progress
from nets.result import Result


def small():
    return sequential(nets.FullyConnected(20), nets.Softmax(10))


def train(network, data, **changes):
    return nets.train(network, data, **{"epochs": 2, "mini_batch_size": 10, "learning_rate": 0.3, **changes})


def measured(result):
    """What must be equal when a training is repeated."""
    return [{key: run[key] for key in ("seed", "loss", "validation_accuracy", "test_accuracy")}
            for run in result.runs], result.predictions.tolist()


# ---- faithful to the chapter ----


def masks_of(layer, state, shape, steps):
    """The masks that the layer draws in so many steps from this state of its seed generator."""
    generator = layer.seed_generator.state

    def draw(state):
        with keras.StatelessScope([(generator, state)]) as scope:
            mask = layer.draw_mask(shape)
        return mask, scope.get_current_value(generator)

    draw, masks = compiled(draw), []
    for _ in range(steps):
        mask, state = draw(state)
        masks.append(ops.convert_to_numpy(mask))
    return masks


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("activation, learning_rate", [("sigmoid", 0.1), ("relu", 0.03)])
def test_200_steps_equal_the_original_ones(mnist, activation, learning_rate, dropout):
    network = sequential(nets.ConvPool(4, activation=activation),
                         nets.FullyConnected(20, activation, dropout), nets.Softmax(10, dropout))
    network.build((None, 28, 28, 1))
    weights, state = runs.starting_point(network, seed=0)
    images, labels = mnist.train.images[:2000], mnist.train.labels[:2000]
    order = runs.mini_batches(2000, 10, seed=0, epoch=0)
    l2, steps = 5.0, len(order)
    assert order.shape == (200, 10)

    masks = [[np.ones(1)] * steps] * 2
    if dropout:
        masks = [masks_of(layer, one, (10, layer.kernel.shape[0]), steps)
                 for layer, one in zip(network.layers[2:], state, strict=True)]
    expected, expected_loss = oracle.descend(
        weights, images / 256, labels, order, zip(*masks), activation, learning_rate, l2)

    epoch, classify = compile_training(network, l2 / steps, several=False)
    tensors = [[ops.convert_to_tensor(array) for array in arrays] for arrays in (weights, state)]
    new, state, loss = epoch(*tensors, ops.convert_to_tensor(images), ops.convert_to_tensor(labels),
                             ops.convert_to_tensor(order), ops.convert_to_tensor(steps, "int32"),
                             ops.convert_to_tensor(learning_rate, "float32"))
    assert float(loss) / steps == pytest.approx(expected_loss, abs=1e-4)
    for ours, theirs, start in zip(new, expected, weights, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
        assert abs(theirs - start).max() > 0.001  # there was something to compute

    test = mnist.test.images[:500]
    ours = classify(new, state, ops.convert_to_tensor(test[None]))
    kept = 1 - dropout
    *_, theirs = oracle.forward(expected, test / 256, activation, kept, kept)
    np.testing.assert_allclose(ours[0], theirs, atol=1e-3)


def test_l2_of_the_chapter_is_a_keras_regularizer(few):
    """lambda is Keras' L2(lambda / (2 * mini-batches)), for kernels of any layer; regularisers count."""
    def network(regularizer):
        layers, options = keras.layers, {"kernel_regularizer": regularizer}
        return sequential(layers.Conv2D(3, 5, 2, activation="relu", **options), layers.MaxPooling2D(),
                          layers.Flatten(), layers.Dense(10, "softmax", **options))

    chapter = measured(train(network(None), few, l2=3.0))
    regularized = measured(train(network(keras.regularizers.L2(3.0 / (2 * 30))), few))
    assert chapter[0][0]["loss"] == pytest.approx(regularized[0][0]["loss"], abs=1e-5)
    assert chapter[1] == regularized[1]
    assert abs(chapter[0][0]["loss"][1] - measured(train(network(None), few))[0][0]["loss"][1]) > 0.01


# ---- both backends, one run or several ----


@pytest.fixture(scope="module")
def numbers(tmp_path_factory):
    """What experiments.py measures on this backend, and meanwhile on the other one."""
    names = "two_epochs", "together_or_alone", "moving_statistics", "optimized", "precise"
    other = {"tensorflow": "jax", "jax": "tensorflow"}[keras.backend.backend()]
    compiled = tmp_path_factory.mktemp("compiled")
    with (experiments.start(*names, backend=other, compiled=compiled) as process,
          pytest.MonkeyPatch.context() as patch):
        patch.setenv("NETS_MODE", "full")
        here = {name: getattr(experiments, name)() for name in names}
        output, errors = process.communicate()
    assert process.returncode == 0, errors
    return {"this backend": here, "other backend": json.loads(output.splitlines()[-1]),
            "compilations": experiments.compilations(compiled)}


def test_backends_agree(numbers):
    here, there = (numbers[backend]["two_epochs"] for backend in ("this backend", "other backend"))
    assert here == pytest.approx(there, abs=1e-4)
    assert here[1] < here[0] < 2


@pytest.mark.parametrize("network", ["with_dropout", "with_batch_normalization"])
@pytest.mark.parametrize("backend", ["this backend", "other backend"])
def test_runs_trained_together_equal_runs_trained_alone(numbers, backend, network):
    together, alone = (numbers[backend]["together_or_alone"][network][way] for way in ("together", "alone"))
    assert together["size"] == [3, 3, 3] and 3 not in alone["size"]
    np.testing.assert_allclose(together["loss"], alone["loss"], atol=1e-4)
    np.testing.assert_allclose(together["accuracy"], alone["accuracy"], atol=0.011)
    assert len({losses[0] for losses in together["loss"]}) == 3  # three different runs


@pytest.mark.parametrize("optimizer", experiments.OPTIMIZERS)
def test_optimizers_agree_on_both_backends_together_and_alone(numbers, optimizer):
    losses = {(backend, way): [run["loss"] for run in numbers[backend]["optimized"][optimizer][way]]
              for backend in ("this backend", "other backend") for way in ("together", "alone")}
    for values in losses.values():
        np.testing.assert_allclose(values, losses["this backend", "alone"], atol=1e-4)
    assert all(second < first for first, second in values)


@pytest.mark.parametrize("policy, optimizer", experiments.PRECISE)
@pytest.mark.parametrize("backend", ["this backend", "other backend"])
def test_every_precision_trains_or_is_refused(numbers, backend, policy, optimizer):
    jax = (keras.backend.backend() == "jax") == (backend == "this backend")
    measured = numbers[backend]["precise"]
    loss = measured[f"{policy} {optimizer}"]
    if policy == "float64" and jax:
        assert "asks for float64" in loss and "jax_enable_x64" in loss
        return
    np.testing.assert_allclose(loss, measured[f"float32 {optimizer}"], rtol=0.25)
    assert loss[1] < 0.9 * loss[0]


@pytest.mark.parametrize("way", ["together", "alone"])
@pytest.mark.parametrize("backend", ["this backend", "other backend"])
def test_batch_normalization_keeps_its_moving_statistics(numbers, few, backend, way):
    pixels = few.train.images.reshape(300, 784) / 256
    mean, variance = np.zeros(784), np.ones(784)
    for epoch in range(2):
        for batch in runs.mini_batches(300, 10, 0, epoch):
            mean = 0.9 * mean + 0.1 * pixels[batch].mean(axis=0)
            variance = 0.9 * variance + 0.1 * pixels[batch].var(axis=0)
    np.testing.assert_allclose(numbers[backend]["moving_statistics"][way], [mean, variance], atol=1e-5)


def test_the_same_call_gives_the_same_numbers(few):
    first = measured(train(experiments.with_dropout(), few, runs=2))
    keras.utils.set_random_seed(99)
    assert measured(train(experiments.with_dropout(), few, runs=2)) == first


def test_a_run_depends_on_its_seed_alone(few):
    (zero, one), _ = measured(train(small(), few, runs=2))
    (alone,), _ = measured(train(small(), few, seed=1))
    assert alone == one
    assert zero["loss"] != one["loss"]


def test_weights_held_by_the_network_do_not_matter(few):
    network = small()
    first = measured(train(network, few))
    assert measured(train(network, few)) == first


# ---- batches and sizes ----


@pytest.mark.parametrize("images, batches", [(105, 10), (50, 5), (10, 1)])
def test_mini_batches_visit_each_image_once(images, batches):
    order = runs.mini_batches(images, 10, seed=0, epoch=0)
    assert order.shape == (batches, 10) and order.dtype == np.int32
    assert len(set(order.ravel())) == 10 * batches and order.min() >= 0 and order.max() < images


def test_mini_batches_differ_by_seed_and_epoch_only():
    pairs = [(0, 0), (0, 1), (1, 0), (1, 1)]  # seed, epoch
    first, again = ([runs.mini_batches(50, 10, *pair).tolist() for pair in pairs] for _ in range(2))
    assert first == again
    assert all(first[i] != first[j] for i in range(4) for j in range(i))


@pytest.mark.parametrize("sizes", [(105, 37, 501), (20, 500, 1)])
def test_sizes_that_do_not_divide(mnist, sizes):
    digits = nets.Dataset(*(nets.Examples(part.images[:n], part.labels[:n]) for part, n in zip(mnist, sizes)))
    network = small()
    result = train(network, digits, mini_batch_size=20, epochs=3)
    assert result.predictions.shape == (1, sizes[2])
    for part in ("validation", "test"):
        expected = nets.evaluate(network, *getattr(digits, part))
        assert result.runs[0][f"{part}_accuracy"][-1] == pytest.approx(expected, abs=1e-6)
    assert (result.predictions[0] == digits.test.labels).mean() == pytest.approx(expected)


def test_evaluate_is_the_share_of_right_answers(few):
    network = small()
    network.build((None, 28, 28, 1))
    network.layers[-1].bias.assign([0, 0, 0, 9, 0, 0, 0, 0, 0, 0])  # always answers 3
    expected = (few.test.labels == 3).mean()
    assert 0 < nets.evaluate(network, *few.test) == pytest.approx(expected)


def test_the_network_holds_the_first_runs_weights_afterwards(few):
    network = experiments.with_batch_normalization()
    result = train(network, few, runs=2)
    probabilities = network.predict(few.test.images, verbose=0)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    answers = probabilities.argmax(axis=1)
    assert (answers == result.predictions[0]).all() and (answers != result.predictions[1]).any()


def test_training_learns(mnist):
    digits = nets.Dataset(*(nets.Examples(part.images[:2000], part.labels[:2000]) for part in mnist))
    assert train(small(), digits, epochs=5).test_accuracy > 0.8


# ---- stretches, interrupts ----


def test_an_epoch_in_stretches_is_the_same(few, monkeypatch):
    """To the last bit; and what is told meanwhile."""
    monkeypatch.setattr("nets.epoch.block", lambda steps: 3)
    network, shares, ends = experiments.with_dropout(), [], []
    network.build((None, 28, 28, 1))
    trainer = runs.Trainer(runs.Task(network, few, [0.1], 10), several=False)
    for trainer.stretch in (30, 12):
        start = ([ops.convert_to_tensor(array) for array in arrays] for arrays in trainer.start([0]))
        weights, state, loss = trainer.epoch(*start, trainer.prepare([0], 0), 0, watch=shares.append)
        ends.append([np.asarray(array).tobytes() for array in (*weights, *state, loss)])
    assert ends[0] == ends[1] and shares == [12 / 30, 24 / 30]


@pytest.fixture
def interrupt():
    """Interrupts the main thread, as Ctrl-C does, and waits until that has ended the call."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job in the background ignores it
    ended, late = threading.Event(), []

    def send():
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        if not ended.wait(60):
            late.append(True)

    def wait():
        ended.set()
        for thread in threading.enumerate():
            if thread.name.startswith("ThreadPoolExecutor"):
                thread.join(60)
        assert not late

    yield send, wait
    ended.set()


@pytest.mark.skipif(os.name != "posix", reason="no such signal")
@pytest.mark.parametrize("when", ["compiling", "measuring", "training"])
def test_an_interrupt_ends_the_call_whatever_is_computed(home, few, interrupt, when, monkeypatch):
    calls, (send, wait) = [], interrupt

    def endless(functions, images, labels, seed, epoch):
        calls.append(epoch)
        if len(calls) == 1 + ["compiling", "measuring", "training"].index(when):
            send()
        return images

    monkeypatch.setattr("nets.augment.all_of", endless)
    with pytest.raises(KeyboardInterrupt):
        train(small(), few, augment=[nets.affine], name="stopped")
    wait()
    assert not (home / "runs").exists()


@pytest.mark.skipif(os.name != "posix", reason="no such signal")
def test_an_interrupted_run_stops_within_its_epoch_and_goes_on_later(home, few, interrupt, monkeypatch):
    undisturbed = measured(train(small(), few, epochs=3))
    monkeypatch.setattr("nets.epoch.block", lambda steps: 3)
    monkeypatch.setattr(runs.Trainer, "seconds_per_epoch", lambda trainer, *_: setattr(trainer, "stretch", 6)
                        or 1.0)
    told, update, (send, wait) = [], Progress.update, interrupt

    def interrupting(progress, group, epoch, history):
        told.append(epoch)
        update(progress, group, epoch, history)
        if epoch == 1.4:
            send()

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Progress, "update", interrupting)
        train(small(), few, epochs=3, name="stopped")
    wait()
    assert told == [0, 0.2, 0.4, 0.6, 0.8, 1, 1.2, 1.4]
    assert len(files.load_arrays(next((home / "checkpoints").iterdir()))["loss"]) == 1
    assert measured(train(small(), few, epochs=3, name="stopped")) == undisturbed


def test_an_epoch_is_over_when_it_returns(few):
    """So that what is timed has ended: on JAX an array may stand for one that is still being computed."""
    network = sequential(nets.Softmax(10))
    network.build((None, 28, 28, 1))
    trainer = runs.Trainer(runs.Task(network, few, [0.1], 10), several=False)
    start = ([ops.convert_to_tensor(array) for array in arrays] for arrays in trainer.start([0]))
    *_, loss = trainer.epoch(*start, trainer.prepare([0], 0), 0)
    assert type(loss) is np.ndarray and loss.shape == (1,)
    assert trainer.seconds_per_epoch([0], trainer.start([0])) > 0


# ---- compilation ----


def test_a_page_may_train_many_networks(caplog):
    """TensorFlow complains where it compiles the same code often, unless told apart."""
    for number in range(7):
        def plus(value, number=number):
            return value + number
        assert float(compiled(plus)(ops.ones(()))) == 1 + number
    assert not caplog.records


@pytest.mark.parametrize("together", [False, True])
def test_the_epoch_is_traced_once(few, monkeypatch, together):
    traced = []

    def counting(function):
        def traced_function(*arguments):
            traced.append(function.__name__)
            return function(*arguments)
        return compiled(traced_function)

    monkeypatch.setattr("nets.epoch.compiled", counting)
    monkeypatch.setattr("nets.runs._kept", {})
    monkeypatch.setattr(machine, "has_accelerator", lambda: together)
    monkeypatch.setattr(machine, "device", lambda: "a test")
    train(small(), few, epochs=3, runs=3, learning_rate=lambda epoch: 0.1 / (epoch + 1))
    assert traced.count("epoch") == 1
    assert traced.count("classify") == 1  # validation and test sets have one size here
    train(small(), few, runs=3, seed=3, learning_rate=0.5)
    assert len(traced) == 2  # the same network again
    train(small(), few, runs=3, l2=1.0)
    assert len(traced) == 4


def test_kept_programs_train_as_fresh_ones(few, monkeypatch):
    """What differs in anything but data, rates and seeds has programs of its own; the oldest go."""
    adam = {"learning_rate": None, "optimizer": keras.optimizers.Adam()}

    def results():
        return [measured(train(sequential(nets.FullyConnected(20, dropout=dropout), nets.Softmax(10)), few,
                               **options))
                for dropout in (0.0, 0.5) for options in ({}, {"l2": 2.0}, adam)]

    monkeypatch.setattr("nets.runs._kept", {})
    monkeypatch.setattr("nets.runs.KEPT", 2)
    fresh = results()
    assert len(runs._kept) == 2 and len({str(result) for result in fresh}) == 6
    monkeypatch.setattr("nets.runs.KEPT", 6)
    assert results() == fresh == results()


def test_each_network_is_compiled_once_for_all_epochs_and_runs(numbers):
    """Of what the other backend trained: one network, three in two ways each, two optimizers in two ways
    each, and what it does in eight precisions, for several epochs.

    For this backend, see the training that is killed.
    """
    refused = keras.backend.backend() == "tensorflow"  # then the other one is JAX, which has no float64
    assert numbers["compilations"] == [7 + 4 + 8 - refused] * 2


# ---- what cannot be vectorised ----


class NotInOneCall(NotImplementedError):
    """As TensorFlow and JAX raise errors of their own."""


@pytest.fixture
def pretended(monkeypatch):
    monkeypatch.setattr(machine, "has_accelerator", lambda: True)
    monkeypatch.setattr(machine, "device", lambda: "a test")
    monkeypatch.setattr(machine, "cores", lambda: 1)


def test_what_cannot_be_vectorised_is_trained_one_by_one(few, monkeypatch, pretended):
    alone = [measured(train(small(), few, seed=seed))[0][0] for seed in range(2)]

    def refuse(function, elements):
        raise NotInOneCall

    monkeypatch.setattr(ops, "vectorized_map", refuse)
    result = train(small(), few, runs=2)
    assert measured(result)[0] == alone and [run["together"] for run in result.runs] == [1, 1]


def test_an_lstm_trains_on_an_accelerator(few, pretended):
    """TensorFlow cannot vectorise its loop, JAX can."""
    def network():
        return sequential(keras.layers.Reshape((28, 28)), keras.layers.LSTM(4), nets.Softmax(10))
    result = train(network(), few, runs=2, epochs=1)
    assert {run["together"] for run in result.runs} == {1 if keras.backend.backend() == "tensorflow" else 2}
    alone = train(network(), few, epochs=1)
    np.testing.assert_allclose(result.runs[0]["loss"], alone.runs[0]["loss"], atol=1e-4)


class Broken(keras.layers.Layer):
    def call(self, inputs, training=False):
        if training:
            raise TypeError("a slip of the reader's")
        return inputs


def test_errors_of_another_cause_are_shown(few, monkeypatch, pretended):
    with pytest.raises(TypeError, match="a slip of the reader's"):
        train(sequential(Broken(), nets.Softmax(10)), few, runs=2)
    with pytest.raises(ValueError, match="An augmentation must return images"):
        train(small(), few, runs=2, augment=[no_images])

    def exhausted(function, elements):
        raise RuntimeError("RESOURCE_EXHAUSTED: no room for 2 runs")

    monkeypatch.setattr(ops, "vectorized_map", exhausted)
    with pytest.raises(RuntimeError, match="no room for 2 runs"):
        train(small(), few, runs=2)


def no_images(images, seed):
    return "no images"


# ---- learning rate, early stopping, the reporting rule ----


def test_learning_rate_can_be_a_function_of_the_epoch(few):
    constant = measured(train(small(), few))
    assert measured(train(small(), few, learning_rate=lambda epoch: 0.3)) == constant
    result = train(small(), few, epochs=3, learning_rate=lambda epoch: [0.3, 1e-12, 1e-12][epoch])
    (run,), _ = measured(result)
    assert run["loss"][0] == constant[0][0]["loss"][0]
    assert run["loss"][1] == pytest.approx(run["loss"][2], abs=1e-5)  # it stands still
    assert len(set(run["validation_accuracy"])) == 1
    assert result.settings["learning_rate"] == [0.3, 1e-12, 1e-12]


@pytest.mark.parametrize("patience", [1, 3])
def test_early_stopping(few, patience):
    """After its first epoch this network does not change: so many more epochs, then it stops."""
    result = train(small(), few, epochs=9, early_stopping=patience,
                   learning_rate=lambda epoch: 1e-12 if epoch else 0.3)
    assert [len(result.runs[0][key]) for key in ("loss", "test_accuracy")] == [1 + patience] * 2


def test_early_stopping_waits_while_the_network_gets_better():
    history = {"validation_accuracy": [0.1, 0.3, 0.2, 0.25, 0.31, 0.31, 0.3]}
    assert not groups.stalled(history, 3) and groups.stalled(history, 2)
    assert not groups.stalled(history, None) and not groups.stalled({"validation_accuracy": []}, 1)


def result_of(*runs):
    runs = [{"seed": seed, "validation_accuracy": validation, "test_accuracy": test}
            for seed, (validation, test) in enumerate(runs)]
    return Result("rule", {}, runs, np.zeros((len(runs), 1)))


def test_best_validation_rule():
    """The test accuracy that belongs to the best validation accuracy of any run; not the best on test."""
    result = result_of(([0.90, 0.95, 0.91], [0.89, 0.93, 0.94]), ([0.94, 0.92], [0.98, 0.97]))
    assert result.test_accuracies.tolist() == [0.93, 0.98]
    assert result.best_run == 0 and result.test_accuracy == 0.93


def test_ties_take_the_later_epoch():
    result = result_of(([0.9, 0.95, 0.95, 0.91], [0.1, 0.2, 0.3, 0.4]))
    assert result.best_epoch(result.runs[0]) == 2 and result.test_accuracy == 0.3


# ---- what Keras' optimizers apply ----


def test_plain_descent_is_keras_sgd(few):
    plain = train(small(), few)
    sgd = train(small(), few, learning_rate=None, optimizer=keras.optimizers.SGD(0.3))
    assert plain.runs[0]["loss"] == pytest.approx(sgd.runs[0]["loss"], abs=1e-5)
    assert "learning_rate" not in sgd.settings and sgd.settings["optimizer"][0] == "SGD"


OPTIMIZERS = {**experiments.OPTIMIZERS, "nadam": lambda: keras.optimizers.Nadam(0.002, weight_decay=0.1)}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizers_do_what_they_do_in_fit(few, optimizer):
    """Same start, same mini-batches: what an optimizer remembers lasts over steps and epochs."""
    network, make = small(), OPTIMIZERS[optimizer]
    result = train(network, few, learning_rate=None, optimizer=make())
    fitted = small()
    fitted.build((None, 28, 28, 1))
    fitted.set_weights(runs.starting_point(fitted, 0)[0])
    fitted.compile(make(), "sparse_categorical_crossentropy", jit_compile=False)
    losses = []
    noting = keras.callbacks.LambdaCallback(on_epoch_end=lambda _, logs: losses.append(logs["loss"]))
    for number in range(2):
        order = runs.mini_batches(300, 10, 0, number).ravel()
        fitted.fit(few.train.images[order], few.train.labels[order], batch_size=10, shuffle=False, verbose=0,
                   callbacks=[noting])
    assert result.runs[0]["loss"] == pytest.approx(losses, abs=1e-4)
    for ours, theirs in zip(network.get_weights(), fitted.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-3)  # Adam divides by what may be small


@pytest.mark.parametrize("way", [{"learning_rate": 0.3}, {"optimizer": keras.optimizers.SGD(0.3)}])
def test_constraints_hold(few, way):
    layer = keras.layers.Dense(10, "softmax", kernel_constraint=keras.constraints.NonNeg(),
                                bias_constraint=keras.constraints.MaxNorm(0.01))
    train(sequential(keras.layers.Flatten(), layer), few, **{"learning_rate": None, **way})
    assert layer.kernel.numpy().min() == 0 and layer.kernel.numpy().max() > 0.1
    assert 0.009 < np.linalg.norm(layer.bias.numpy()) < 0.0101
    free = keras.layers.Dense(10, "softmax")
    train(sequential(keras.layers.Flatten(), free), few)
    assert free.kernel.numpy().min() < -0.1


@pytest.mark.parametrize("way", [{"learning_rate": 0.3}, {"optimizer": keras.optimizers.Adam()}])
def test_frozen_layers_stay_as_they_started(few, way):
    network = small()
    network.layers[1].trainable = False
    train(network, few, **{"learning_rate": None, **way})
    start = runs.starting_point(network, 0)
    np.testing.assert_array_equal(network.layers[1].kernel, start[1][0])
    assert np.ptp(network.layers[2].kernel.numpy()) > 0


def test_what_is_frozen_or_adapted_keeps_its_weights_and_tells_networks_apart(few):
    """As for a pretrained part: neither drawn anew nor learned, and another part is another network."""
    normalization = keras.layers.Normalization(axis=None)
    normalization.adapt(few.train.images.astype("float32"))
    network = keras.Sequential([keras.Input((28, 28, 1)), normalization, nets.FullyConnected(20),
                                nets.Softmax(10)])
    network.layers[1].trainable = False
    before = [weights.copy() for layer in network.layers[:2] for weights in layer.get_weights()]
    train(network, few)
    after = [weights for layer in network.layers[:2] for weights in layer.get_weights()]
    assert len(before) == 5 and before[0] == few.train.images.mean().astype("float32")
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)

    seen = [settings.describe(network)]
    normalization.adapt(few.test.images.astype("float32"))
    seen.append(settings.describe(network))
    network.layers[1].set_weights([0 * weights for weights in network.layers[1].get_weights()])
    seen.append(settings.describe(network))
    assert len({settings.fingerprint(each) for each in seen}) == 3


def test_the_readers_random_numbers_go_on_after_training(few):
    network = small()
    np.random.seed(7)
    random.seed(7)
    expected = np.random.random(), random.random()
    np.random.seed(7)
    random.seed(7)
    train(network, few)
    assert (np.random.random(), random.random()) == expected


class Readers(keras.layers.Layer):
    """A layer of a reader's, with weights under names of his own."""

    def build(self, shape):
        self.mixing = self.add_weight(shape=(shape[-1], 4), name="mixing")
        self.bias_table = self.add_weight(shape=(4, 4), name="bias_table")
        self.scale = self.add_weight(shape=(4,), name="scale")

    def call(self, inputs):
        return ops.matmul(ops.matmul(inputs, self.mixing), self.bias_table) * self.scale


@pytest.mark.parametrize("layer, decayed", [
    (lambda: keras.layers.LSTM(3), ["kernel", "recurrent_kernel"]),
    (lambda: keras.layers.GRU(3), ["kernel", "recurrent_kernel"]),
    (lambda: keras.layers.TimeDistributed(keras.layers.Dense(3)), ["kernel"]),
    (lambda: keras.layers.SeparableConv1D(3, 2), ["depthwise_kernel", "pointwise_kernel"]),
    (lambda: keras.layers.BatchNormalization(), []), (lambda: Readers(), ["mixing"])],
    ids=["LSTM", "GRU", "wrapped", "separable", "normalisation", "a reader's"])
def test_l2_applies_to_whatever_multiplies_inputs(layer, decayed):
    layer = layer()
    layer.build((None, 5, 6))
    assert [variable.name for variable in layer.trainable_variables if decays(variable)] == decayed


def test_l2_shrinks_the_recurrent_kernel(few):
    layers = keras.layers
    networks = [sequential(layers.Reshape((28, 28)), layers.LSTM(4), nets.Softmax(10)) for _ in range(2)]
    for network, l2 in zip(networks, (0.0, 3000.0)):
        train(network, few, l2=l2, epochs=1, learning_rate=1e-3)
    free, shrunk = (network.layers[2].cell.recurrent_kernel.numpy() for network in networks)
    np.testing.assert_allclose(abs(shrunk).mean() / abs(free).mean(), (1 - 1e-3 * 3000 / 30)**30, rtol=0.05)


def excluding():
    optimizer = keras.optimizers.AdamW(weight_decay=0.1)
    optimizer.exclude_from_weight_decay(var_names=["kernel"])
    return optimizer


@pytest.mark.parametrize("optimizer, message", [
    ("adam", "must be one of Keras', as keras.optimizers.Adam"),
    (keras.optimizers.Adam, "must be one of Keras'"),
    (keras.optimizers.Adam(use_ema=True), "cannot average weights"), (excluding(), "exclude variables"),
    (keras.optimizers.SGD(loss_scale_factor=8.0), "scale the loss"),
    (keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()), "scale the loss")])
def test_optimizers_that_are_not_honoured_are_refused(few, optimizer, message):
    with pytest.raises(ValueError, match=message):
        train(small(), few, learning_rate=None, optimizer=optimizer)


def test_an_optimizer_keeps_its_variables(few):
    """The caller's optimizer is not used up: the same call gives the same numbers."""
    optimizer = keras.optimizers.Adam()
    first = measured(train(small(), few, learning_rate=None, optimizer=optimizer))
    assert measured(train(small(), few, learning_rate=None, optimizer=optimizer)) == first
    assert not optimizer.built
    with pytest.raises(ValueError, match="learning_rate or optimizer, not both"):
        train(small(), few, optimizer=optimizer)
    with pytest.raises(ValueError, match="learning_rate must be a positive number.*or name an optimizer"):
        train(small(), few, learning_rate=None)


# ---- trouble ----


@pytest.mark.parametrize("optimizer", [[], ["momentum"], ["adam"]], ids=["descent", "momentum", "adam"])
def test_killed_training_goes_on_where_it_stopped(home, monkeypatch, optimizer):
    """Killed while a checkpoint is written, then called again: as if nothing had happened."""
    with experiments.start("killed", home / "killed", *optimizer, backend=keras.backend.backend(),
                           compiled=home / "compiled") as process:
        _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors
    assert experiments.compilations(home / "compiled") == [1, 1]  # for both runs, three epochs each
    assert not (home / "killed/runs/long.json").exists()

    trained, mini_batches = [], runs.mini_batches
    monkeypatch.setattr(runs, "mini_batches", lambda images, size, seed, epoch: (
        trained.append((seed, epoch)), mini_batches(images, size, seed, epoch))[1])
    records = {}
    for way in ("killed", "undisturbed"):
        trained.clear()
        monkeypatch.setattr(ledger, "HOME", home / way)
        experiments.long_training(*optimizer)
        zero = [epoch for seed, epoch in trained if seed == 0]
        assert zero == [0, 0] + {"killed": [2, 3], "undisturbed": [0, 1, 2, 3]}[way]  # 0, 0: to compile
        assert not list((home / way / "checkpoints").glob("*.npz"))
        record = json.loads((home / way / "runs/long.json").read_text())
        for run in record["runs"]:
            del run["seconds"], run["finished"]
        with np.load(home / way / "runs/long.predictions.npz") as predictions:
            records[way] = record, {seed: array.tolist() for seed, array in predictions.items()}
    assert records["killed"] == records["undisturbed"]
    assert [run["seed"] for run in records["killed"][0]["runs"]] == [0, 1]


def test_divergence_is_an_error_and_leaves_nothing(home, few):
    with pytest.raises(FloatingPointError, match=r"Run 0 diverged in epoch 2.*learning_rate, 1e\+38, is too"):
        train(sequential(nets.Softmax(10)), few, epochs=3, name="wild",
              learning_rate=lambda epoch: 1e38 if epoch else 0.1)
    assert not (home / "runs").exists()
    (checkpoint,) = (home / "checkpoints").iterdir()
    arrays = files.load_arrays(checkpoint)
    assert len(arrays["loss"]) == 1  # the good epoch
    assert all(np.isfinite(array).all() for array in arrays.values())


@pytest.mark.parametrize("way", [{"learning_rate": 1e38}, {"optimizer": keras.optimizers.SGD(1e38)}])
def test_divergence_in_the_last_step_is_noticed(home, few, way):
    """One step: its loss, taken before, is finite, and what it leaves is not."""
    network = sequential(nets.FullyConnected(20, "relu"), nets.FullyConnected(20, "relu"),
                         keras.layers.Flatten(), keras.layers.Dense(10, "softmax"))
    options = {"learning_rate": None, "epochs": 1, "mini_batch_size": 300, "name": "last", **way}
    with pytest.raises(FloatingPointError, match=r"Run 0 diverged in epoch 1 \((answers|weights) not fin"):
        train(network, few, **options)
    assert not (home / "runs").exists() and not (home / "checkpoints").exists()


@pytest.mark.parametrize("what, value", [
    ("loss", np.array([0.1, np.nan])), ("answers", np.array([[[0.5]], [[np.inf]]])),
    ("weights", [np.ones((2, 3)), np.array([[0.0], [-np.inf]])])])
def test_divergence_is_noticed_wherever_it_shows(few, what, value):
    """Of two runs trained together, the second; also where a sigmoid makes a finite answer of it."""
    task = runs.Task(small(), few, [0.1] * 3, 10)
    finite = {"loss": np.ones(2), "answers": np.ones((2, 1, 1)), "weights": [np.ones((2, 3))]}
    groups._check_finite(task, [7, 8], 2, finite)
    with pytest.raises(FloatingPointError, match=rf"Run 8 diverged in epoch 3 \({what} not finite"):
        groups._check_finite(task, [7, 8], 2, {**finite, what: value})


def test_divergence_of_weights_behind_finite_answers_is_noticed(few, monkeypatch):
    """A sigmoid makes 0 of a bias that is minus infinity."""
    one_epoch = runs.Trainer.epoch

    def overflowing(*arguments, **options):
        weights, state, loss = one_epoch(*arguments, **options)
        return [weights[0], weights[1] - np.inf, *weights[2:]], state, loss

    monkeypatch.setattr(runs.Trainer, "epoch", overflowing)
    monkeypatch.setattr(runs.Trainer, "seconds_per_epoch", lambda *arguments: 1.0)
    with pytest.raises(FloatingPointError, match=r"Run 0 diverged in epoch 1 \(weights not finite"):
        train(small(), few)


def test_divergence_in_half_precision_names_the_precision(few):
    layers = [keras.layers.Rescaling(200.0, dtype="float16"),
              nets.FullyConnected(20, "relu", dtype="float16"), nets.Softmax(10, dtype="float16")]
    with pytest.raises(FloatingPointError, match="It computes in float16: does it diverge in float32, too"):
        train(keras.Sequential(layers), few)


def test_divergence_of_a_deep_network_is_noticed(few):
    network = sequential(nets.FullyConnected(20, "relu"), nets.FullyConnected(20, "relu"), nets.Softmax(10))
    with pytest.raises(FloatingPointError, match="learning_rate"):
        train(network, few, epochs=3, learning_rate=1e6)


def test_gradient_of_hopeless_answers():
    """A network that is very sure and wrong learns from its error as fast as the formula p - y says."""
    network = keras.Sequential([keras.Input((1, 1, 1)), nets.Softmax(2)])
    epoch, _ = compile_training(network, 0.0, several=False)
    arrays = ([np.zeros((1, 2), "float32"), np.array([200, 0], "float32")], [],
              np.zeros((1, 1, 1, 1), "uint8"), np.array([1], "int32"), np.array([[0]], "int32"),
              np.array(1, "int32"), np.array(1.0, "float32"))
    (_, bias), _, _ = epoch(*([ops.convert_to_tensor(a) for a in array] if isinstance(array, list)
                              else ops.convert_to_tensor(array) for array in arrays))
    np.testing.assert_allclose(bias, [199, 1])


@pytest.mark.parametrize("argument, value", [
    ("epochs", 0), ("epochs", 2.5), ("mini_batch_size", 0), ("mini_batch_size", 301), ("runs", 0),
    ("runs", "3"), ("l2", -0.1), ("learning_rate", 0), ("learning_rate", -0.1),
    ("learning_rate", lambda epoch: 0.1 - epoch),
    ("l2", None),
    ("l2", float("nan")),
    ("learning_rate", "fast"), ("learning_rate", 1j), ("l2", np.array([0.1, 0.2])),
    ("learning_rate", float("nan")),
    ("seed", -1), ("early_stopping", -1), ("early_stopping", 1.5),
    ("seed", "x"),
])
def test_wrong_argument_is_named(few, argument, value):
    with pytest.raises(ValueError, match=f"(?i){argument}"):
        train(small(), few, **{argument: value})


@pytest.mark.parametrize("layers", [
    [nets.Softmax(5)], [nets.FullyConnected(10)], [keras.layers.Dense(10, "softmax")],
    [nets.Softmax(10), keras.layers.Softmax()]],
    ids=["too few classes", "no probabilities", "not flattened", "no softmax activation"])
def test_a_network_without_a_probability_for_each_class_is_refused(few, layers):
    with pytest.raises(ValueError, match="must end in probabilities of 10 classes.*nets.Softmax"):
        train(sequential(*layers), few)


class OfItsOwn(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(10, "softmax")

    def call(self, images):
        return self.dense(ops.reshape(images, (-1, 784)))


class Sharpened(nets.Softmax):
    def call(self, inputs, training=False):
        return ops.softmax(5 * super().call(inputs, training))


class Renamed(nets.Softmax):
    pass


def twice():
    """A functional network whose last layer is also in its middle."""
    images, last = keras.Input((28, 28, 1)), nets.Softmax(10, kernel_initializer="glorot_uniform")
    return keras.Model(images, last(last(nets.FullyConnected(10)(images))))


def functional(inputs, outputs):
    images = [keras.Input((28, 28, 1)) for _ in range(inputs)]
    flat = keras.layers.Flatten()(images[0] if inputs == 1 else keras.layers.Add()(images))
    return keras.Model(images, [keras.layers.Dense(10, "softmax")(flat) for _ in range(outputs)])


@pytest.mark.parametrize("make, message", [
    (OfItsOwn, "needs a keras.Sequential or functional model.*OfItsOwn"),
    (lambda: functional(2, 1), "one input and one output, not 2 and 1"),
    (lambda: functional(1, 2), "one input and one output, not 1 and 2"),
    (lambda: keras.Sequential(), "has no layers"),
    (lambda: nets.Softmax(10), "must be a Keras model, not Softmax"),
    (lambda: [nets.Softmax(10)], "must be a Keras model, not list"),
    (lambda: sequential(nets.ConvPool(3, kernel_size=40), nets.Softmax(10)), "need images of at least 41"),
    (lambda: sequential(Sharpened(10)), "must end in its softmax activation"),
    (twice, "be used but once"),
    (lambda: sequential(nets.Softmax(10, dtype="int8_from_float32")), "is quantised")])
def test_networks_that_cannot_be_trained_get_a_sentence(few, make, message):
    with pytest.raises(ValueError, match=message):
        train(make(), few)


def test_a_layer_that_tensorflow_cannot_compile_gets_a_sentence(few):
    turned = sequential(keras.layers.RandomRotation(0.1), nets.Softmax(10))
    for count in (1, 2):
        with pytest.raises(ValueError, match="no compiled ImageProjectiveTransform.*KERAS_BACKEND=jax"):
            train(turned, few, runs=count)


def test_a_last_layer_of_the_readers_own_may_be_a_softmax(few):
    assert measured(train(sequential(Renamed(10)), few)) == measured(train(sequential(nets.Softmax(10)), few))


def test_after_a_refusal_the_right_call_works(few):
    """Images too small leave nothing half built."""
    network = sequential(nets.ConvPool(3), nets.Softmax(10))
    tiny = nets.Dataset(*(part._replace(images=part.images[:, :5, :5]) for part in few))
    with pytest.raises(ValueError, match="at least 6"):
        train(network, tiny)
    fresh = sequential(nets.ConvPool(3), nets.Softmax(10))
    assert measured(train(network, few)) == measured(train(fresh, few))


def test_evaluate_needs_weights(few):
    for wrong in (small(), OfItsOwn(), "network"):
        with pytest.raises(ValueError, match="needs a Keras model that has weights"):
            nets.evaluate(wrong, *few.test)


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_labels_that_do_not_match_the_images_are_refused(few, part):
    digits = getattr(few, part)
    broken = few._replace(**{part: digits._replace(labels=digits.labels[:-1])})
    with pytest.raises(ValueError, match=f"data.{part} has {len(digits.images)} images and"):
        train(small(), broken)


@pytest.mark.parametrize("changes, message", [
    ({"augment": nets.elastic}, "augment must be a list of functions"), ({"augment": None}, "must be a list"),
    ({"seed": 2**32 - 1, "runs": 2}, r"seed must be below 2\*\*32")])
def test_ordinary_slips_get_a_sentence(few, changes, message):
    with pytest.raises(ValueError, match=message):
        train(small(), few, **changes)


def test_data_must_be_named_parts(few):
    with pytest.raises(ValueError, match="data must be what nets.load_mnist.* not a tuple"):
        train(small(), tuple(few))


def test_numbers_may_be_of_numpy(few):
    rate = np.float32(0.1)
    assert train(small(), few, learning_rate=rate).settings["learning_rate"] == float(rate)
    numbers = {"epochs": 3, "mini_batch_size": 20, "seed": 1, "runs": 1, "l2": 0.5, "early_stopping": 2}
    theirs = {name: (np.float64 if name == "l2" else np.int64)(value) for name, value in numbers.items()}
    first, second = (
        train(sequential(nets.ConvPool(whole(3), whole(5), strides=whole(2)),
                         nets.FullyConnected(whole(4), dropout=part(0.5)), nets.Softmax(whole(10))),
              few, **options)
        for whole, part, options in ((int, float, numbers), (np.int64, np.float32, theirs)))
    assert first.settings == second.settings and measured(first) == measured(second)


@pytest.mark.parametrize("argument", ["epochs", "mini_batch_size", "runs", "seed", "early_stopping"])
def test_true_is_no_number(few, argument):
    with pytest.raises(ValueError, match=f"{argument} must be a whole number"):
        train(small(), few, **{argument: True})


def test_other_backends_are_refused(few, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(ValueError, match="needs TensorFlow or JAX.*torch.*KERAS_BACKEND"):
        train(small(), few)


def test_no_library_logs_under_a_readers_cell():
    code = ("import sys, keras, nets; from experiments import sequential; print('loaded', file=sys.stderr);"
            "nets.train(sequential(nets.Softmax(10)), nets.load_mnist(), epochs=1, mini_batch_size=10,"
            " learning_rate=0.1)")
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "NETS_MODE": "quick",
                   "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr.endswith("loaded\n"), done.stderr
