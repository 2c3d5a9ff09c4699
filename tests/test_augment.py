"""Distortions: what they do to a picture, held against SciPy, and how training uses them."""

import functools
import os
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest
from experiments import sequential
from keras import ops
from scipy import ndimage

import nets
from nets import augment, epoch, machine

DISTORTIONS = {
    "elastic": functools.partial(nets.elastic, sigma=3.0, alpha=30.0),
    "affine": functools.partial(nets.affine, rotation=20.0, scale=0.2, shear=10.0, shift=2.0),
    "both": functools.partial(nets.elastic, sigma=3.0, alpha=30.0, rotation=20.0, shift=2.0),
}
each = pytest.mark.parametrize("distort", DISTORTIONS.values(), ids=DISTORTIONS)


@pytest.fixture(scope="module")
def noise():
    """Images with ink up to the edge, not square, all different."""
    return np.random.default_rng(0).integers(1, 256, (20, 28, 24, 1), "uint8")


@pytest.fixture
def drawn(monkeypatch):
    """Lets a test say what is drawn: an array, or a dict of them by the number of dimensions."""
    def draw(values):
        def uniform(shape, minval, maxval, seed):
            assert (minval, maxval) == (-1, 1)
            own = values[len(shape)] if isinstance(values, dict) else values
            return ops.convert_to_tensor(np.broadcast_to(own, shape).astype("float32"))
        monkeypatch.setattr(keras.random, "uniform", uniform)
        monkeypatch.setattr(machine, "has_accelerator", lambda: True)  # no noise by NumPy
    return draw


def resampled(image, rows, columns):
    return np.round(ndimage.map_coordinates(image[..., 0].astype(float), [rows, columns], order=1,
                                            mode="grid-constant"))


@pytest.mark.parametrize("distort", [functools.partial(nets.elastic, alpha=0.0), nets.affine])
def test_no_strength_changes_nothing(noise, distort):
    np.testing.assert_array_equal(distort(noise, seed=0), noise)


@each
def test_the_seed_decides(noise, distort):
    first, again, other = (ops.convert_to_numpy(distort(noise, seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.uint8 and first.shape == noise.shape
    assert (first != other).mean() > 0.5 and (first != noise).mean() > 0.5


@each
def test_each_image_is_distorted_in_its_own_way(noise, distort):
    same = ops.convert_to_numpy(distort(np.repeat(noise[:1], 5, axis=0), seed=1))
    assert all((same[i] != same[j]).any() for i in range(5) for j in range(i))


@each
def test_tensors_and_channels(noise, distort):
    tensor = distort(ops.convert_to_tensor(noise), seed=1)
    np.testing.assert_array_equal(tensor, distort(noise, seed=1))
    two = ops.convert_to_numpy(distort(np.concatenate([noise, 255 - noise], axis=-1), seed=1))
    np.testing.assert_array_equal(two[..., :1], tensor)
    assert (two[..., 1] != two[..., 0]).any()


def test_elastic_is_what_scipy_computes(noise, drawn):
    fields = np.random.default_rng(1).uniform(-1, 1, (2, *noise.shape[:3]))
    drawn({4: fields, 2: 0})
    sigma, alpha = 2.5, 40.0
    ours = ops.convert_to_numpy(nets.elastic(noise, 0, sigma, alpha))[..., 0].astype(float)
    smooth = [[ndimage.gaussian_filter(field, sigma, mode="constant", truncate=10) for field in half]
              for half in fields]
    for image, result, down, right in zip(noise, ours, *smooth):
        rows, columns = np.indices(down.shape)
        expected = resampled(image, rows + alpha * down, columns + alpha * right)
        assert abs(result - expected).max() <= 1 and (result == expected).mean() > 0.99  # one: rounding


@pytest.mark.parametrize("alpha", [0, 20.0])
@pytest.mark.parametrize("rotation, shear, scale, shift", [(30, 0, 0, 0), (0, 20, 0, 0), (0, 0, 0.3, 0),
                                                           (0, 0, 0, 2.25), (20, 10, 0.2, 1.5)])
def test_affine_is_what_scipy_computes(noise, drawn, alpha, rotation, shear, scale, shift):
    """With `alpha`, by `elastic`: bent after all that, in one resampling."""
    rng = np.random.default_rng(2)
    amounts, fields = rng.uniform(-1, 1, (6, len(noise))), rng.uniform(-1, 1, (2, *noise.shape[:3]))
    drawn({2: amounts, 4: fields})
    strengths = dict(rotation=rotation, shear=shear, scale=scale, shift=shift)
    ours = nets.elastic(noise, 0, 3.0, alpha, **strengths) if alpha else nets.affine(noise, 0, **strengths)
    ours = ops.convert_to_numpy(ours)[..., 0].astype(float)
    smooth = ndimage.gaussian_filter(fields, (0, 0, 3.0, 3.0), mode="constant", truncate=10)
    centre = (np.array(noise.shape[1:3]) - 1) / 2
    for i, (turn, slant, taller, wider, down, right) in enumerate(amounts.T):
        angle = np.radians(rotation * turn)
        turned = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        slanted = np.array([[1, 0], [np.tan(np.radians(shear * slant)), 1]])
        matrix = turned @ slanted @ np.diag([1 + scale * taller, 1 + scale * wider])  # stretched first
        back = np.linalg.inv(matrix)
        places = np.indices(noise.shape[1:3]) + alpha * smooth[:, i]
        places = np.moveaxis(places, 0, -1) - centre - shift * np.array([down, right])
        expected = resampled(noise[i], *np.moveaxis(places @ back.T + centre, -1, 0))
        assert abs(ours[i] - expected).max() <= 1 and (ours[i] == expected).mean() > 0.99


def test_paper_enters_at_the_edges(drawn):
    ink = np.full((1, 9, 7, 1), 200, "uint8")
    drawn(np.array([0, 0, 0, 0, 1, -1])[:, None])  # down by three pixels and to the left by three
    moved = ops.convert_to_numpy(nets.affine(ink, 0, shift=3.0))[0, ..., 0]
    assert (moved[:3] == 0).all() and (moved[:, -3:] == 0).all() and (moved[3:, :-3] == 200).all()


@pytest.mark.parametrize("sigma, alpha", [(2.0, 8.0), (4.0, 34.0)])
def test_size_and_smoothness_of_the_field_are_those_that_sigma_and_alpha_mean(sigma, alpha):
    """A ramp of grey shows the displacement of each of its pixels."""
    slope, count = 4, 2000
    ramp = np.broadcast_to(slope * np.arange(60, dtype="uint8")[:, None], (count, 60, 60))[..., None]
    shown = ops.convert_to_numpy(nets.elastic(ramp, 3, sigma, alpha))[..., 0].astype(float)
    rows, columns = shown[:, 28:33, 30], shown[:, 30, 26:35]  # far from the edges
    down = columns / slope - 30
    size = alpha * np.sqrt(1 / 3) / (2 * np.sqrt(np.pi) * sigma)
    assert abs(down.mean()) < 5 * size / np.sqrt(count)
    assert down.std() == pytest.approx(size, rel=0.05)
    for distance in (2, 4, 8):
        measured = np.corrcoef(down[:, 0], down[:, distance])[0, 1]
        assert measured == pytest.approx(np.exp(-(distance / (2 * sigma))**2), abs=0.06)
    assert np.corrcoef(rows[:, 0] / slope - 28, rows[:, 4] / slope - 32)[0, 1] == pytest.approx(
        np.exp(-(4 / (2 * sigma))**2), abs=0.06)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 5.0])
def test_gaussian_matrix_keeps_the_sum_far_from_the_ends(sigma):
    matrix = augment.gaussian(81, sigma)
    np.testing.assert_allclose(matrix, matrix.T)
    assert matrix[40].sum() == pytest.approx(1, abs=1e-5)
    expected = ndimage.gaussian_filter1d(np.eye(81), sigma, mode="constant", truncate=12)
    np.testing.assert_allclose(matrix, expected, atol=1e-5)


@pytest.mark.parametrize("normalize, axes", [("component", (2, 3)), ("field", (0, 2, 3))])
def test_a_normalised_field_is_what_numpy_computes(noise, drawn, normalize, axes):
    fields = np.random.default_rng(1).uniform(-1, 1, (2, *noise.shape[:3]))
    drawn({4: np.swapaxes(fields, 2, 3), 2: 0})
    sigma, alpha = 4.0, 34.0
    smooth = ndimage.gaussian_filter(fields, (0, 0, sigma, sigma), mode="constant", truncate=10)
    displaced = alpha * smooth / np.linalg.norm(
        np.moveaxis(smooth, 1, 0).reshape(len(noise), *((1, -1) if normalize == "field" else (2, -1))),
        axis=-1).T[..., None, None]
    length = np.sqrt((displaced**2).sum(axis=axes))
    np.testing.assert_allclose(length, alpha)
    ours = ops.convert_to_numpy(nets.elastic(noise, 0, sigma, alpha, normalize=normalize))[..., 0]
    for image, result, down, right in zip(noise, ours, *displaced):
        rows, columns = np.indices(down.shape)
        expected = resampled(image, rows + down, columns + right)
        assert abs(result.astype(float) - expected).max() <= 1 and (result == expected).mean() > 0.99
    np.testing.assert_array_equal(nets.elastic(noise, 0, sigma, 0.0, normalize=normalize), noise)


@pytest.mark.parametrize("normalize, accelerator", [(None, False), ("field", False), ("field", True)])
def test_noise_is_uniform(monkeypatch, normalize, accelerator):
    monkeypatch.setattr(machine, "has_accelerator", lambda: accelerator)
    noise, again, other = (ops.convert_to_numpy(augment._noise((2, 50, 28, 24), seed, normalize))
                           for seed in (1, 1, 2))
    assert noise.shape == ((2, 50, 24, 28) if normalize else (2, 50, 28, 24)) and noise.dtype == np.float32
    assert (noise == again).all() and (noise != other).mean() > 0.99
    assert np.quantile(noise, [0, 0.25, 0.5, 0.75, 1]) == pytest.approx([-1, -0.5, 0, 0.5, 1], abs=0.02)
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.02


def test_an_image_is_turned_or_slanted(drawn):
    """A cross of ink: its arms lie where they lay, or both have moved; and the coin decides."""
    cross = np.zeros((1000, 21, 21, 1), "uint8")
    cross[:, 10], cross[:, :, 10] = 255, 255
    drawn({4: 0, 2: 1})
    moved = ops.convert_to_numpy(nets.elastic(cross, 0, rotation=15.0, shear=15.0, either=True))[..., 0]
    for by in (dict(rotation=15.0), dict(shear=15.0)):
        alone = ops.convert_to_numpy(nets.elastic(cross[:1], 0, **by))[0, ..., 0]
        alike = (moved == alone).all(axis=(1, 2))
        assert 400 < alike.sum() < 600
        moved = moved[~alike]
    assert len(moved) == 0


def test_strengths_by_label(noise, drawn):
    drawn({4: 0, 2: 1})
    labels = np.arange(20) % 3
    strengths = dict(rotation=[10.0, 0.0, 20.0], shear=[0.0, 5.0, 10.0])
    mixed = ops.convert_to_numpy(nets.elastic(noise, 0, labels=labels, **strengths))
    for label in range(3):
        own = nets.elastic(noise, 0, **{what: each[label] for what, each in strengths.items()})
        np.testing.assert_array_equal(mixed[labels == label], ops.convert_to_numpy(own)[labels == label])


def test_half_of_the_images_are_bent_and_the_rest_are_not(noise):
    many = np.repeat(noise, 50, axis=0)
    half, all_of_them = (ops.convert_to_numpy(bend(many, 3, rotation=20.0, normalize="field"))
                         for bend in (nets.bend_half, nets.elastic))
    changed = (half != many).any(axis=(1, 2, 3))
    assert 440 < changed.sum() < 560 and (all_of_them != many).any(axis=(1, 2, 3)).all()
    np.testing.assert_array_equal(half[changed], all_of_them[changed])


def test_a_call_draws_from_ranges(noise, monkeypatch):
    seen = []
    monkeypatch.setattr(augment, "gaussian",
                        lambda size, sigma: seen.append(sigma) or np.eye(size, dtype="f4"))
    monkeypatch.setattr(augment, "_drawn", lambda *given: seen.append(given[4]) or np.zeros((6, 20), "f4"))
    for seed in range(200):
        nets.elastic(noise, seed, sigma=(5.0, 6.0), alpha=0.0, scale=[0.15, 0.2])
    scales, sigmas, sigmas_again = (np.array(seen[first::3]) for first in range(3))
    assert (sigmas == sigmas_again).all() and len(set(sigmas)) == len(set(scales)) == 200
    for values, low, high in ((sigmas, 5, 6), (scales, 0.15, 0.2)):
        assert values.min() >= low and values.max() <= high
        assert np.quantile((values - low) / (high - low), [0.1, 0.5, 0.9]) == pytest.approx(
            [0.1, 0.5, 0.9], abs=0.1)
    assert abs(np.corrcoef(sigmas, scales)[0, 1]) < 0.2
    bent = functools.partial(nets.elastic, noise, 5, sigma=5.5)
    monkeypatch.undo()
    np.testing.assert_array_equal(nets.elastic(noise, 5, 5.5, alpha=(9.0, 9.0)), bent(alpha=9.0))


@pytest.mark.parametrize("wrong, message", [
    (lambda images: nets.elastic(images, 0, normalize="both"), 'normalize must be None, "component" or "f'),
    (lambda images: nets.elastic(images, 0, sigma=(6.0, 5.0)), r"sigma must be .* pair .*\(6.0, 5.0\)"),
    (lambda images: nets.elastic(images, 0, alpha=(-1.0, -0.5)), "alpha must be at least 0"),
    (lambda images: nets.elastic(images, 0, rotation=[1.0] * 10), "rotation has 10 values.*`labels`"),
    (lambda images: nets.elastic(images, 0, shear=[1.0] * 10, labels=np.full(20, 10)), "shear has 10"),
    (lambda images: nets.elastic(images, 0, rotation=[1.0, 90.0], labels=np.arange(20) % 2), "rotation mu"),
    (lambda images: nets.elastic(images / 255, 0), "elastic: the images must be bytes.*float64"),
    (lambda images: nets.affine(images[..., 0], 0), r"affine: the images must be.*uint8 \(20, 28, 24\)"),
    (lambda images: nets.elastic(images, 0, sigma=0.0), "sigma must be above 0"),
    (lambda images: nets.elastic(images, 0, alpha=-1.0), "elastic: alpha must be at least 0"),
    (lambda images: nets.elastic(images, 0, scale=1.0), "elastic: scale must be at least 0 and below 1"),
    (lambda images: nets.affine(images, 0, rotation=90.0), "affine: rotation must be .* below 90"),
    (lambda images: nets.affine(images, 0, scale=1.0), "affine: scale must be at least 0 and below 1"),
])
def test_wrong_arguments(noise, wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong(noise)


# ---- in training ----


def train(few, augment=(), **changes):
    return nets.train(sequential(nets.Softmax(10)), few, **{"epochs": 2, "mini_batch_size": 10,
                      "learning_rate": 0.1, "augment": augment, **changes})


def losses(result):
    return [run["loss"] for run in result.runs]


def same(images, seed):
    return images


def test_an_augmentation_that_changes_nothing_changes_nothing(few):
    assert losses(train(few, [same, functools.partial(nets.elastic, alpha=0.0)])) == losses(train(few))


def test_functions_are_applied_in_turn_with_fresh_seeds_for_each_run_and_epoch(few):
    seen, order = [], {}  # of each thread: runs are trained side by side

    def note(name, seed):
        seen.append((name, seed))
        order.setdefault(threading.get_ident(), []).append(name)

    def first(images, seed):
        note("first", seed)
        return images // 2

    def second(images, seed):
        assert int(ops.max(images)) <= 127
        note("second", seed)
        return images

    train(few, [first, second], runs=2)
    assert all(names == ["first", "second"] * (len(names) // 2) for names in order.values())
    assert len(set(seen)) == 8  # two functions, epochs and runs
    train(few, [first, second], seed=1, runs=1)
    assert len(set(seen)) == 8


def test_an_augmentation_may_know_labels(few):
    seen = []

    def knowing(images, seed, labels):
        seen.append(labels)
        return images

    train(few, [same, knowing, functools.partial(knowing)], runs=2)
    assert len(seen) > 8 and all((labels == few.train.labels).all() for labels in seen)


def test_an_augmentation_cannot_change_labels(few):
    def careless(images, seed, labels):
        labels[:] = 0
        return images

    with pytest.raises(ValueError, match="read-only"):
        nets.train(sequential(nets.Softmax(10)), few, epochs=1, mini_batch_size=10, learning_rate=0.1,
                   augment=[careless])
    halved = [10.0, 5.0] + 8 * [10.0]
    result = train(few, [functools.partial(nets.elastic, rotation=halved, either=True)])
    assert losses(result) != losses(train(few, [functools.partial(nets.elastic, rotation=10.0, either=True)]))


@pytest.mark.parametrize("accelerator", [False, True])
def test_each_run_trains_on_its_own_images(few, monkeypatch, accelerator):
    monkeypatch.setattr(machine, "has_accelerator", lambda: accelerator)
    monkeypatch.setattr(machine, "device", lambda: "a test")
    augment = [DISTORTIONS["affine"], DISTORTIONS["elastic"]]
    result = train(few, augment, runs=2)
    assert {run["together"] for run in result.runs} == {2 if accelerator else min(2, machine.cores())}
    monkeypatch.setattr(machine, "has_accelerator", lambda: False)
    for run, loss in enumerate(losses(result)):
        np.testing.assert_allclose(loss, losses(train(few, augment, seed=run))[0], atol=1e-5)
    assert abs(np.subtract(*losses(result))).min() > 1e-3
    assert abs(np.subtract(losses(result), losses(train(few, runs=2)))).min() > 1e-3


def test_the_record_says_how_images_were_augmented(few, home):
    both = [DISTORTIONS["elastic"], DISTORTIONS["affine"]]
    plain, bent = train(few, name="tiny"), train(few, both, name="bent")
    assert "augment" not in plain.settings
    assert bent.settings["augment"] == [
        ["elastic", {"sigma": 3.0, "alpha": 30.0}],
        ["affine", {"rotation": 20.0, "scale": 0.2, "shear": 10.0, "shift": 2.0}]]
    assert losses(train(few, both, name="bent")) == losses(bent)  # found again
    train(few, [nets.elastic], name="bent")
    assert len(list((home / "runs").glob("bent~*.json"))) == 1


@pytest.mark.parametrize("wrong, message", [
    (lambda images, seed: images, "define a function with a name"),
    (functools.partial(nets.elastic, 3), "bind its settings by their names"),
])
def test_augmentations_that_the_ledger_could_not_tell_apart(few, wrong, message):
    with pytest.raises(ValueError, match=message):
        train(few, [wrong])


def test_an_augmentation_must_keep_shape_and_type(few):
    def cropped(images, seed):
        return images[:, :20]

    def scaled(images, seed):
        return images / 256

    for wrong in (cropped, scaled):
        with pytest.raises(ValueError, match="must keep the images' shape and type"):
            train(few, [wrong])


def test_a_distortion_is_compiled_once(few, monkeypatch):
    traced, compiled = [], epoch.compiled

    def counting(function):
        return compiled(lambda *arguments: (traced.append(len(arguments)), function(*arguments))[1])

    monkeypatch.setattr(augment, "compiled", counting)
    augment._compiled.cache_clear()
    ranging = functools.partial(nets.elastic, sigma=(2.0, 3.0), alpha=[10.0, 20.0])
    train(few, [DISTORTIONS["elastic"], ranging], epochs=3, runs=2)
    assert len(traced) == 1
    train(few, [functools.partial(nets.elastic, normalize="field")], epochs=2)
    augment._compiled.cache_clear()
    assert len(traced) == 2


def test_all_this_on_the_other_backend():
    if os.environ.get("OTHER_BACKEND"):
        pytest.skip("this is the other backend")
    other = {"tensorflow": "jax", "jax": "tensorflow"}[keras.backend.backend()]
    run = subprocess.run([sys.executable, "-m", "pytest", "-q", __file__], capture_output=True, text=True,
                         env={**os.environ, "KERAS_BACKEND": other, "OTHER_BACKEND": "yes"})
    assert run.returncode == 0, run.stdout
