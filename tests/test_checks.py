"""What goes in is checked, in one place and before anything is done: a clear error, never a wrong number."""

import functools
import os
import pathlib
import subprocess
import sys

import hypothesis
import hypothesis.extra.numpy as arrays
import hypothesis.strategies as st
import keras
import matplotlib.pyplot as plt
import numpy as np
import pytest
from experiments import sequential
from keras import ops

import nets
from nets import plots
from nets.data import check_dataset, check_images, check_labels, check_scales

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 28, 28, 1), "uint8")
LABELS = np.arange(20, dtype="int32") % 10
quickly = hypothesis.settings(deadline=None, max_examples=50, derandomize=True)

BAD_LABELS = {  # what is wrong: the labels, and what the message says
    "(n, 1), as in cifar10": (LABELS[:, None], r"take labels\[:, 0\]"),
    "one-hot": (np.eye(10)[LABELS], r"take labels\.argmax\(axis=1\)"),
    "(1, n)": (LABELS[None], r"must have the shape \(n,\), not \(1, 20\)"),
    "a number": (np.array(3), r"must have the shape \(n,\), not \(\)"),
    "negative": (LABELS - 1, "must be 0 or more, and one is -1"),
    "fractional": (LABELS + 0.5, "must be whole numbers.*float64"),
    "whole, but float": (LABELS.astype("float32"), "must be whole numbers.*float32"),
    "strings": (LABELS.astype(str), "must be whole numbers.*<U"),
    "boolean": (LABELS > 4, "must be whole numbers.*bool"),
    "objects": (np.array([1, None] * 10), "must be whole numbers.*object"),
    "complex": (LABELS * 1j, "must be whole numbers.*complex"),
    "beyond 32 bits": (LABELS.astype("int64") + 2**32, "number the classes from 0"),
    "too few": (LABELS[:-1], "20 images and 19 labels"),
    "too many": (np.tile(LABELS, 2), "20 images and 40 labels"),
    "none": (LABELS[:0], "20 images and 0 labels"),
}
BAD_IMAGES = {
    "no channels": (IMAGES[..., 0], r"write images\[\.\.\., None\]"),
    "flat": (IMAGES.reshape(20, -1), r"must have the shape \(n, height, width, channels\), not \(20, 784\)"),
    "five axes": (IMAGES[None], r"not \(1, 20, 28, 28, 1\)"),
    "a ragged list": ([[1, 2], [3]], "images"),
    "empty": (IMAGES[:0], r"has the shape \(0, 28, 28, 1\): there is no image in it"),
    "without pixels": (IMAGES[:, :0], r"has the shape \(20, 0, 28, 1\)"),
    "not a number": (np.where(IMAGES > 250, np.nan, IMAGES), "no finite numbers"),
    "infinite": (np.where(IMAGES > 250, np.inf, IMAGES).astype("float32"), "no finite numbers"),
    "strings": (IMAGES.astype(str), "must be an array of numbers"),
    "boolean": (IMAGES > 99, "must be an array of numbers, not bool"),
    "complex": (IMAGES * 1j, "must be an array of numbers, not complex128"),
    "from 0 to 1": (IMAGES / np.float32(256), "pixels from 0 to 1.*begins with a rescaling"),
}
labels_of = pytest.mark.parametrize("labels, message", BAD_LABELS.values(), ids=BAD_LABELS)
images_of = pytest.mark.parametrize("images, message", BAD_IMAGES.values(), ids=BAD_IMAGES)


def network():
    return sequential(nets.Softmax(10))


@functools.cache
def trained():
    model = network()
    model.build((None, 28, 28, 1))
    return model


def data(images=IMAGES, labels=LABELS, part="train"):
    good = nets.Examples(IMAGES, LABELS)
    return nets.Dataset(good, good, good)._replace(**{part: nets.Examples(images, labels)})


def train(dataset, model=None, **changes):
    options = {"epochs": 1, "mini_batch_size": 5, "learning_rate": 0.1, **changes}
    return nets.train(network() if model is None else model, dataset, **options)


# ---- one place, every door ----


@pytest.mark.parametrize("part", ["train", "validation", "test"])
@labels_of
def test_train_refuses_labels(home, labels, message, part):
    with pytest.raises(ValueError, match=rf"data\.{part}.*{message}"):
        train(data(labels=labels, part=part), name="bad")
    assert not list(home.iterdir())


@pytest.mark.parametrize("part", ["train", "validation", "test"])
@images_of
def test_train_refuses_images(home, images, message, part):
    with pytest.raises(ValueError, match=message):
        train(data(images, part=part), name="bad")
    assert not list(home.iterdir())


@labels_of
def test_evaluate_refuses_labels_and_then_works(labels, message):
    with pytest.raises(ValueError, match=f"labels.*{message}"):
        nets.evaluate(trained(), IMAGES, labels)
    assert 0 <= nets.evaluate(trained(), IMAGES, LABELS) <= 1


@images_of
def test_evaluate_refuses_images_and_then_works(images, message):
    with pytest.raises(ValueError, match=message):
        nets.evaluate(trained(), images, LABELS)
    assert 0 <= nets.evaluate(trained(), IMAGES, LABELS) <= 1


@labels_of
def test_expand_refuses_labels(labels, message):
    with pytest.raises(ValueError, match=f"expand: the labels.*{message}"):
        nets.expand(nets.Examples(IMAGES, labels))


@pytest.mark.parametrize("images, message", [*BAD_IMAGES.values()][:-1], ids=[*BAD_IMAGES][:-1])
def test_expand_refuses_images(images, message):
    with pytest.raises(ValueError, match=message):
        nets.expand(nets.Examples(images, LABELS))


@pytest.mark.parametrize("distort", [nets.affine, nets.elastic, nets.bend_half])
@images_of
def test_distortions_refuse_images(distort, images, message):
    with pytest.raises(ValueError, match="(affine|elastic): the images (must be bytes|has the shape)"):
        distort(np.asarray(images) if not isinstance(images, list) else images, seed=0)


@pytest.mark.parametrize("what", ["labels", "answers"])
@pytest.mark.parametrize("values", [LABELS[:-1], LABELS[:, None], LABELS[:0], [0] * 21, 3], ids=repr)
def test_pictures_need_a_label_for_each_image(what, values):
    with pytest.raises(ValueError, match=rf"{what} must be one for each image, of the shape \(20,\), not"):
        plots.digits(IMAGES, **{what: values})
    plots.digits(IMAGES[:2], **{what: ["any", "text"]})
    plt.close("all")


@pytest.mark.parametrize(
    "images, message",
    [*BAD_IMAGES.values()][1:4] + [*BAD_IMAGES.values()][5:-1],
    ids=[*BAD_IMAGES][1:4] + [*BAD_IMAGES][5:-1],
)
def test_pictures_refuse_images(images, message):
    with pytest.raises(ValueError, match=message):
        plots.digits(images)


def test_images_of_another_size_in_one_part():
    for part in ("validation", "test"):
        with pytest.raises(
            ValueError, match=rf"data\.{part} has images of \(14, 28, 1\), and data.train of \(28"
        ):
            train(data(IMAGES[:, ::2], part=part))
    with pytest.raises(ValueError, match=r"images are \(14, 28, 1\), and the network takes \(28, 28, 1\)"):
        nets.evaluate(trained(), IMAGES[:, ::2], LABELS)
    with pytest.raises(ValueError, match=r"images are \(14, 28, 1\), and the network takes \(28, 28, 1\)"):
        train(nets.Dataset(*[nets.Examples(IMAGES[:, ::2], LABELS)] * 3), trained())


def test_parts_on_different_scales():
    bright, dim = nets.Examples(IMAGES, LABELS), nets.Examples(IMAGES / np.float32(255), LABELS)
    no_rescaling = keras.Sequential([nets.Softmax(10)])
    with pytest.raises(ValueError, match="pixels on different scales, up to .*'train': 255.0.*'test': 1.0"):
        nets.train(no_rescaling, nets.Dataset(bright, bright, dim), epochs=1, mini_batch_size=10,
                   learning_rate=0.1)
    check_scales(nets.Dataset(dim, dim, dim._replace(images=dim.images / 2)))


def test_labels_beyond_the_classes():
    with pytest.raises(ValueError, match="must end in probabilities of 13 classes"):
        train(data(labels=LABELS + 3))
    with pytest.raises(ValueError, match="labels go up to 12, and the network tells only 10 classes"):
        nets.evaluate(trained(), IMAGES, LABELS + 3)


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda good: tuple(good), "not a tuple"),
        (lambda good: dict(good._asdict()), "not a dict"),
        (lambda good: good._replace(test=good.test.images), r"data\.test must be nets\.Examples"),
        (lambda good: good._replace(train=None), r"data\.train must be nets\.Examples"),
        (lambda good: good.train, "not a Examples"),
    ],
)
def test_a_data_set_of_another_kind(wrong, message):
    with pytest.raises(ValueError, match=message):
        train(wrong(data()))


# ---- what is accepted is honoured ----


def measured(result):
    return [(run["loss"], run["validation_accuracy"], run["test_accuracy"]) for run in result.runs]


@pytest.mark.parametrize(
    "change",
    [
        lambda array: array.astype("int64"),
        lambda array: array.tolist(),
        ops.convert_to_tensor,
        lambda array: np.asfortranarray(array),
        lambda array: array.astype(array.dtype.newbyteorder(">")),
    ],
    ids=["int64", "list", "tensor", "Fortran", "big-endian"],
)
def test_numbers_may_come_in_other_containers(change):
    """The same numbers: the same training, and of labels alone the same settings."""
    expected = train(data())
    parts = [nets.Examples(change(IMAGES), change(LABELS))] * 3
    assert measured(train(nets.Dataset(*parts))) == measured(expected)
    labels_only = [nets.Examples(IMAGES, change(LABELS))] * 3
    assert train(nets.Dataset(*labels_only)).settings == expected.settings
    assert nets.evaluate(trained(), change(IMAGES), change(LABELS)) == nets.evaluate(
        trained(), IMAGES, LABELS
    )


def test_pixels_from_0_to_1_without_a_rescaling():
    """The chapter's own: the same training but for a rounding or two."""
    scaled = data(IMAGES / np.float32(256))._asdict()
    scaled = nets.Dataset(
        *(
            nets.Examples(
                part.images / np.float32(256) if part.images.dtype == np.uint8 else part.images, part.labels
            )
            for part in scaled.values()
        )
    )
    expected, result = train(data()), train(scaled, keras.Sequential([nets.Softmax(10)]))
    assert result.runs[0]["loss"] == pytest.approx(expected.runs[0]["loss"], abs=1e-5)


@pytest.mark.parametrize("shape, classes", [((10, 8, 1), 3), ((8, 12, 3), 26), ((9, 9, 2), 2)])
def test_any_image_size_channels_and_classes(home, shape, classes):
    """Through training, ledger, result, evaluation and pictures."""
    rng = np.random.default_rng(1)
    parts = [
        nets.Examples(rng.integers(0, 256, (30, *shape), "uint8"), np.arange(30) % classes) for _ in range(3)
    ]
    model = sequential(nets.ConvPool(4, 3), nets.FullyConnected(7), nets.Softmax(classes))
    result = train(nets.Dataset(*parts), model, name="other", runs=2, keep_weights=True)
    again = train(nets.Dataset(*parts), model, name="other", runs=2, keep_weights=True)
    assert again.runs == result.runs and result.probabilities.shape == (2, 30, classes)
    assert nets.evaluate(model, *parts[2]) == pytest.approx(result.runs[0]["test_accuracy"][-1], abs=1e-6)
    assert nets.expand(parts[0]).images.shape == (150, *shape)
    for distort in (nets.affine, nets.elastic, nets.bend_half):
        assert tuple(distort(parts[0].images, 0).shape) == (30, *shape)
    if shape[-1] != 2:  # matplotlib shows one channel or three
        plots.digits(parts[0].images, parts[0].labels, result.predictions[0])
        assert len(plt.gcf().axes) == 30
    result.plot()
    plt.close("all")
    assert str(result).startswith("other: 2 runs")


def test_no_digits_make_no_picture(capsys):
    plots.digits(IMAGES[:0], LABELS[:0])
    assert "no images to show" in capsys.readouterr().out and not plt.get_fignums()


# ---- properties ----

GOOD = st.tuples(*[st.integers(1, 5)] * 3, st.integers(1, 3)).flatmap(
    lambda shape: st.tuples(
        arrays.arrays(st.sampled_from(["uint8", "int32", "float32"]), shape, elements=st.integers(0, 255)),
        arrays.arrays(st.sampled_from(["uint8", "int32", "int64"]), shape[:1], elements=st.integers(0, 9)),
    )
)


@quickly
@hypothesis.given(GOOD)
def test_good_data_pass_unchanged(pair):
    images, labels = pair
    part = nets.Examples(images, labels)
    for checked in check_dataset(nets.Dataset(part, part, part)):
        assert checked.images is images and checked.labels.dtype == np.int32
        np.testing.assert_array_equal(checked.labels, labels)


@quickly
@hypothesis.given(GOOD, st.data())
def test_data_that_were_damaged_are_refused(pair, draw):
    """Whatever is wrong with one part, and whichever it is."""
    images, labels = pair
    damage = draw.draw(
        st.sampled_from(
            [
                lambda: (images[..., 0], labels),
                lambda: (images[:0], labels[:0]),
                lambda: (images, labels[:, None]),
                lambda: (images, labels.astype("float64")),
                lambda: (images, labels.astype("int64") - 1 - labels.min()),
                lambda: (images, np.append(labels, 0)),
                lambda: (np.concatenate([images, images], axis=1), labels),
                lambda: (np.full(images.shape, np.nan), labels),
                lambda: (images.astype(object), labels),
            ]
        )
    )
    part = draw.draw(st.sampled_from(["validation", "test"]))
    good = nets.Examples(images, labels)
    with pytest.raises(ValueError, match=f"data.{part}"):
        check_dataset(nets.Dataset(good, good, good)._replace(**{part: nets.Examples(*damage())}))


@quickly
@hypothesis.given(
    arrays.arrays(
        st.sampled_from(["bool", "complex64", "float16", "float64", "int8", "uint16", "U3"]),
        arrays.array_shapes(min_dims=0, max_dims=5, max_side=4),
    )
)
def test_every_array_is_accepted_or_refused_by_name(array):
    """Nothing else than a ValueError that names the argument, and only for arrays that are no images."""
    for check in (check_images, check_labels):
        try:
            check(array, "this")
        except ValueError as error:
            assert str(error).startswith("this")
        else:
            assert array.dtype.kind in ("iuf" if check is check_images else "iu")
            assert array.ndim == (4 if check is check_images else 1)


UINT8 = arrays.arrays("uint8", st.sampled_from([(1, 2, 9, 1), (3, 7, 4, 2)]))  # each shape is compiled


@quickly
@hypothesis.given(
    UINT8,
    st.integers(0, 2**32 - 1),
    st.sampled_from(
        [
            nets.affine,
            functools.partial(nets.affine, rotation=45.0, scale=0.5, shear=30.0, shift=3.0),
            functools.partial(nets.elastic, sigma=2.0, alpha=9.0),
            nets.bend_half,
        ]
    ),
)
def test_distorted_images_keep_shape_type_and_range(images, seed, distort):
    """What is interpolated lies between paper and the darkest pixel; the same seed gives the same images."""
    bent = ops.convert_to_numpy(distort(images, seed))
    assert bent.shape == images.shape and bent.dtype == np.uint8 and bent.max() <= images.max()
    np.testing.assert_array_equal(bent, distort(images, seed))


@quickly
@hypothesis.given(UINT8, st.integers(0, 1000))
def test_without_strength_nothing_changes(images, seed):
    for distort in (nets.affine, functools.partial(nets.elastic, alpha=0.0)):
        np.testing.assert_array_equal(distort(images, seed), images)


@quickly
@hypothesis.given(UINT8, st.integers(0, 1000))
def test_expand_keeps_every_pixel_that_stays_inside(images, seed):
    labels = np.arange(len(images))
    expanded = nets.expand(nets.Examples(images, labels), seed)
    for i, image in enumerate(images):
        mine = expanded.images[expanded.labels == i].astype(int)
        assert len(mine) == 5 and (mine == image).all(axis=(1, 2, 3)).any()
        edges = [image[0], image[-1], image[:, 0], image[:, -1]]
        assert mine.sum() == 5 * image.astype(int).sum() - sum(edge.astype(int).sum() for edge in edges)


# ---- what is needed ----


def imported(code, **environment):
    """What `import nets` says in a process of its own after this code."""
    process = subprocess.run([sys.executable, "-c", f"import sys\n{code}\nimport nets"], text=True,
                             capture_output=True, cwd=pathlib.Path(nets.__file__).parent.parent,
                             env={**os.environ, **environment})
    return process.returncode, process.stderr


@pytest.mark.parametrize("backend, other", [("tensorflow", "jax"), ("jax", "tensorflow")])
def test_without_its_backend_import_says_what_to_do(backend, other):
    code, errors = imported(f"sys.modules[{backend!r}] = None", KERAS_BACKEND=backend)
    assert code and errors.splitlines()[-1] == (
        f"ImportError: Keras is to run on {backend}, which is not installed: run `pip install {backend}`, or "
        f"set the environment variable KERAS_BACKEND to {other} before Keras is imported.")


def test_a_keras_that_is_too_old_is_refused():
    code, errors = imported("import keras; keras.__version__ = '3.9.2'", KERAS_BACKEND="jax")
    assert code and errors.splitlines()[-1] == (
        "ImportError: nets needs Keras 3.10 or later, and this is 3.9.2: run `pip install --upgrade keras`, "
        "and start Python anew.")


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_no_line_of_a_library_is_shown(backend):
    training = """import nets, keras, numpy as np
part = nets.Examples(np.zeros((20, 2, 2, 1), 'uint8'), np.arange(20) % 2)
nets.train(keras.Sequential([nets.Softmax(2)]), nets.Dataset(part, part, part), epochs=1, mini_batch_size=10,
           learning_rate=0.1)"""
    assert imported(training, KERAS_BACKEND=backend) == (0, "")
