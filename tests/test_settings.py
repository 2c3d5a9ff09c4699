"""The fingerprint: whatever decides a run is in it, and what cannot be told apart is refused by name."""

import functools
import importlib
import itertools

import keras
import numpy as np
import pytest
from experiments import sequential
from keras import ops

import nets
from nets import settings
from nets.settings import describe, describe_function, describe_optimizer, digest, fingerprint

STRENGTH, TABLE, ROUND = 2, np.arange(3), functools.partial(np.round, decimals=1)
FLIP = keras.layers.RandomFlip("horizontal", seed=1)


def lighter(images, seed):
    return images // STRENGTH


def helped(images, seed):
    return lighter(images, seed)


def bound_by_default(images, seed, strength=2):
    return images // strength


def indexed(images, seed):
    return images + TABLE[0]


def flipped(images, seed):
    return FLIP(images)


def opaque(images, seed):
    return images + next(COUNTER)


COUNTER = itertools.count()


def closing_over(strength):
    def darker(images, seed):
        return images + strength

    return darker


def sum_of(*functions):
    return {fingerprint(describe_function(function)) for function in functions}


# ---- functions ----


def test_functions_of_nets_are_known_by_name_and_settings():
    """As the ledger's records have them."""
    assert describe_function(functools.partial(nets.elastic, alpha=20.0)) == ["elastic", {"alpha": 20.0}]
    assert describe_function(functools.partial(nets.bend_half, sigma=np.float32(5.5))) == [
        "bend_half",
        {"sigma": 5.5},
    ]
    assert describe_function(nets.affine) == ["affine", {}]


def test_what_a_function_closes_over_counts():
    assert (
        len(
            sum_of(
                closing_over(1),
                closing_over(2),
                closing_over([1]),
                closing_over("1"),
                closing_over(np.ones(2)),
                closing_over(np.ones(2, "uint8")),
                closing_over(lighter),
                closing_over(helped),
            )
        )
        == 8
    )
    assert len(sum_of(closing_over(3), closing_over(3), closing_over(np.int64(3)))) == 1


@pytest.mark.parametrize(
    "function, name, others",
    [
        (lighter, "STRENGTH", [3, 2.5]),
        (helped, "STRENGTH", [3]),
        (indexed, "TABLE", [np.arange(1, 4), [0]]),
        (flipped, "FLIP", [keras.layers.RandomFlip("vertical", seed=1)]),
        (helped, "lighter", [bound_by_default, nets.affine]),
    ],
)
def test_values_and_functions_around_a_function_count(monkeypatch, function, name, others):
    seen = sum_of(function)
    for other in others:
        monkeypatch.setitem(globals(), name, other)
        seen |= sum_of(function)
    assert len(seen) == 1 + len(others)


def test_the_source_and_the_defaults_count():
    def one(images, seed):
        return images // 2

    first = one

    def one(images, seed):
        return images // 3

    assert len(sum_of(first, one, lighter, bound_by_default)) == 4
    before = sum_of(bound_by_default)
    bound_by_default.__defaults__ = (3,)
    try:
        assert sum_of(bound_by_default) != before
    finally:
        bound_by_default.__defaults__ = (2,)


def test_a_function_that_calls_itself_or_libraries_is_described():
    def recursive(images, seed):
        return images if seed else recursive(np.asarray(ops.abs(images)), 1)

    assert describe_function(recursive) == describe_function(recursive)


class Callable:
    def __call__(self, images, seed):
        return images

    def method(self, images, seed):
        return images


@pytest.mark.parametrize(
    "function, message",
    [
        (opaque, "cannot tell COUNTER, which opaque uses, a count"),
        (closing_over(object()), "cannot tell strength, which darker uses, a object"),
        (functools.partial(lighter, seed=object()), "cannot tell seed of lighter, a object"),
        (lambda images, seed: images, "define a function with a name"),
        (Callable(), "define a function with a name"),
        (Callable().method, "define a function with a name"),
        (FLIP, "define a function with a name"),
        (functools.partial(lighter, IndexError), "bind its settings by"),
        ("elastic", "define a function with a name"),
        (eval("exec") and functools.partial(print), "define a function"),
    ],
)
def test_what_cannot_be_told_apart_is_refused_by_name(function, message):
    with pytest.raises(ValueError, match=message):
        describe_function(function)


def test_a_function_without_a_source_is_refused():
    names = {}
    exec("def hidden(images, seed):\n    return images", names)
    with pytest.raises(ValueError, match="must know what hidden does.*define it in a cell or in a file"):
        describe_function(names["hidden"])


def test_a_mended_augmentation_does_not_get_the_old_record(few):
    """The whole way: another constant in a closure is another experiment."""

    def train(strength):
        network = sequential(nets.Softmax(10))
        return nets.train(
            network,
            few,
            name="mended",
            epochs=1,
            mini_batch_size=50,
            learning_rate=0.1,
            augment=[closing_over(np.uint8(strength))],
        )

    first, second = train(0), train(90)
    assert first.runs[0]["loss"] != second.runs[0]["loss"] and train(0).runs == first.runs


# ---- networks ----


class Twice(keras.layers.Layer):
    def call(self, inputs):
        return 2 * inputs


FirstTwice = Twice


class Twice(keras.layers.Layer):  # noqa: F811 (edited in its cell)
    def call(self, inputs):
        return 3 * inputs


class Thrice(Twice):
    pass


class Gain(keras.layers.Layer):
    gain = 1.0

    def build(self, shape):
        self.weight = self.add_weight(shape=(1,), initializer="ones", name="weight")

    def call(self, inputs):
        return self.gain * self.weight * self.of(inputs) + self.half

    @staticmethod
    def of(inputs):
        return inputs

    @property
    def half(self):
        return 0.5


def static_changed(inputs):
    return -inputs


def wave(values):
    return ops.sin(values)


def steep(values):
    return ops.sin(STRENGTH * values)


def network(*layers):
    model = sequential(keras.layers.Flatten(), *layers, nets.Softmax(10))
    model.build((None, 28, 28, 1))
    return fingerprint(describe(model))


def test_layers_and_functions_of_the_readers_bring_their_source(monkeypatch):
    def nested(activation):
        return network(keras.layers.TimeDistributed(keras.layers.Dense(3, activation)))

    seen = [
        network(FirstTwice()),
        network(Twice()),
        network(Thrice()),
        network(nets.FullyConnected(5, wave)),
        network(nets.FullyConnected(5, steep)),
    ]
    monkeypatch.setitem(globals(), "STRENGTH", 5)
    seen.append(network(nets.FullyConnected(5, steep)))
    assert len(set(seen)) == 6 and network(Twice()) == seen[1]


def test_layers_of_libraries_bring_none():
    model = sequential(
        nets.ConvPool(3, normalize=True), nets.FullyConnected(4, "relu", 0.5), nets.Softmax(10)
    )
    assert "source" not in str(describe(model))


@pytest.mark.parametrize("name, value", [("gain", 50.0), ("of", staticmethod(static_changed)),
                                         ("half", property(lambda self: 2.0)), ("added", [1, 2])])
def test_attributes_and_all_kinds_of_methods_of_a_class_count(monkeypatch, name, value):
    before = network(Gain())
    monkeypatch.setattr(Gain, name, value, raising=False)
    assert network(Gain()) != before


@pytest.mark.parametrize("name, value", [("gain", 7.0), ("_hidden", "x"), ("table", np.ones(3))])
def test_what_is_set_on_a_readers_layer_after_it_was_made_counts(name, value):
    changed, nested = Gain(), Gain()
    setattr(changed, name, value)
    setattr(nested, name, value)
    plain, inside = network(Gain()), network(keras.Sequential([Gain()]))
    assert network(Gain()) == plain != network(changed)
    assert network(keras.Sequential([Gain()])) == inside != network(keras.Sequential([nested]))


def test_a_readers_layer_is_the_same_on_every_backend():
    """TensorFlow writes a number of its own into a layer that has been called, or built."""
    def doubled(z):
        return 2 * z

    network = sequential(nets.ConvPool(2, activation=doubled), nets.Softmax(3))
    network.build((None, 8, 8, 1))
    (state,) = describe(network)[1]["ConvPool"]["state"]
    assert state == dict(filters=2, kernel_size=5, strides=1, pool="max", pool_size=2)


def test_layers_and_functions_of_the_readers_train(few):
    """Without being registered with Keras, with weights of their own, and found again in the ledger."""
    def train():
        model = sequential(Gain(), nets.FullyConnected(5, wave), nets.Softmax(10))
        return nets.train(model, few, name="mine", epochs=2, mini_batch_size=50, learning_rate=0.1)

    first = train()
    assert first.runs[0]["loss"][1] < first.runs[0]["loss"][0] and train().runs == first.runs


def test_nested_networks_are_found_again_whatever_their_names():
    def nested():
        return network(keras.Sequential([keras.layers.Dense(4), keras.layers.Dense(3)]))

    assert nested() == nested() != network(keras.Sequential([keras.layers.Dense(4), keras.layers.Dense(2)]))


def test_operators_between_layers_are_refused():
    images = keras.Input((28, 28, 1))
    model = keras.Model(images, nets.Softmax(10)(images / 256))
    with pytest.raises(ValueError, match=r"computes with operators.*keras\.layers\.Add"):
        describe(model)


# ---- optimizers ----


class Steps(keras.optimizers.schedules.LearningRateSchedule):
    rate = 0.1

    def __call__(self, step):
        return self.rate

    def get_config(self):
        return {}


def test_the_source_of_a_schedule_counts(monkeypatch):
    before = describe_optimizer(keras.optimizers.SGD(Steps()))
    assert describe_optimizer(keras.optimizers.SGD(Steps())) == before
    monkeypatch.setattr(Steps, "rate", 0.2)
    assert describe_optimizer(keras.optimizers.SGD(Steps())) != before


def test_optimizers_and_their_schedules_count():
    schedule = keras.optimizers.schedules.CosineDecay
    all_ = [
        keras.optimizers.Adam(),
        keras.optimizers.Adam(0.01),
        keras.optimizers.SGD(0.01),
        keras.optimizers.SGD(0.01, momentum=0.9),
        keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True),
        keras.optimizers.SGD(schedule(0.01, 100)),
        keras.optimizers.SGD(schedule(0.01, 200)),
        keras.optimizers.Adam(clipnorm=1.0),
        keras.optimizers.Adam(weight_decay=0.1),
    ]
    assert len({fingerprint(describe_optimizer(optimizer)) for optimizer in all_}) == len(all_)
    named = keras.optimizers.Adam(name="mine")
    assert describe_optimizer(named) == describe_optimizer(all_[0])


# ---- data ----


def test_the_same_bytes_in_another_shape_or_type_are_other_data(mnist):
    images, labels = mnist.test.images[:8], mnist.test.labels[:8]
    others = [
        nets.Examples(images, labels),
        nets.Examples(images.reshape(8, 14, 56, 1), labels),
        nets.Examples(images.reshape(8, 56, 14, 1), labels),
        nets.Examples(images.reshape(8, 14, 14, 4), labels),
        nets.Examples(images.view("int8"), labels),
        nets.Examples(images.reshape(32, 14, 14, 1), labels),
        nets.Examples(images, labels.view("uint32")),
        nets.Examples(images, labels[:, None]),
    ]
    assert len({str(digest(part)) for part in others}) == len(others)


def test_the_digest_of_the_books_data_is_the_recorded_one(mnist):
    assert digest(mnist.train) == [50000, "aef3674af023d67a"]


def test_plain_numbers_are_pythons():
    value = settings.plain({"a": np.float64(0.5), "b": (np.int32(3), np.bool_(True)), "c": None, 4: "x"})
    assert value == {"a": 0.5, "b": [3, True], "4": "x"}
    assert [type(v) for v in (value["a"], *value["b"])] == [float, int, bool]


def test_a_library_is_known_wherever_pip_put_it(tmp_path, monkeypatch):
    """As with pip install --target: its code is no part of the settings, and its modules are not refused."""
    for name in ("installed", "readers"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"its_{name}.py").write_text("def double(images, seed):\n    return images\n")
        monkeypatch.syspath_prepend(tmp_path / name)
    (tmp_path / "installed" / "its_installed-1.0.dist-info").mkdir()
    installed, readers = (importlib.import_module(f"its_{name}") for name in ("installed", "readers"))
    assert settings.describe_function(installed.double) == ["double", {}]
    assert len(settings.describe_function(readers.double)) == 3
