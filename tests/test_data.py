"""MNIST and the expansion: what is loaded is the true data, or an error says what to do."""

import collections
import gzip
import hashlib
import importlib.util
import shutil

import keras
import numpy as np
import pytest

import nets
from nets import data

MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
REMEDY = "git checkout data/mnist"


# ---- the data ----


@pytest.mark.parametrize("name", MD5)
def test_files_are_the_published_ones(name):
    content = gzip.decompress((data.HOME / "mnist" / f"{name}.gz").read_bytes())
    assert hashlib.md5(content).hexdigest() == MD5[name]


@pytest.mark.parametrize("part, images", [("train", 50000), ("validation", 10000), ("test", 10000)])
def test_shapes_and_types(mnist, part, images):
    digits = getattr(mnist, part)
    assert digits.images.shape == (images, 28, 28, 1) and digits.images.dtype == np.uint8
    assert digits.labels.shape == (images,) and digits.labels.dtype == np.int32
    assert digits.images.min() == 0 and digits.images.max() == 255


def test_label_counts(mnist):
    """The published counts of the 60,000 and the 10,000."""
    sixty = np.concatenate([mnist.train.labels, mnist.validation.labels])
    assert np.bincount(sixty).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(mnist.test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_split_keeps_the_order_of_the_files(mnist):
    raw = gzip.decompress((data.HOME / "mnist/train-labels-idx1-ubyte.gz").read_bytes())[8:]
    assert bytes(mnist.train.labels.astype("uint8")) == raw[:50000]
    assert bytes(mnist.validation.labels.astype("uint8")) == raw[50000:]


# ---- damage ----


@pytest.fixture
def folder(tmp_path):
    """A copy of the four files."""
    return shutil.copytree(data.HOME / "mnist", tmp_path / "mnist")


def rewrite(path, change):
    """Unpack, change and pack the file again."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    change(content)
    path.write_bytes(gzip.compress(bytes(content), compresslevel=1))


@pytest.mark.parametrize("name", MD5)
def test_missing_file(folder, name):
    (folder / f"{name}.gz").unlink()
    with pytest.raises(FileNotFoundError, match=f"{name}.gz is missing.*{REMEDY}"):
        nets.load_mnist(folder)


@pytest.mark.parametrize("name", MD5)
def test_truncated_file(folder, name):
    path = folder / f"{name}.gz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=f"{name}.gz cannot be unpacked.*{REMEDY}"):
        nets.load_mnist(folder)


def test_file_that_is_no_gzip_file(folder):
    (folder / "t10k-labels-idx1-ubyte.gz").write_text("<html>404</html>")
    with pytest.raises(ValueError, match=f"t10k-labels-idx1-ubyte.gz cannot be unpacked.*{REMEDY}"):
        nets.load_mnist(folder)


def test_overwritten_bytes(folder):
    path = folder / "t10k-images-idx3-ubyte.gz"
    content = bytearray(path.read_bytes())
    content[5000:5100] = bytes([255]) * 100
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"t10k-images-idx3-ubyte.gz cannot be unpacked.*{REMEDY}"):
        nets.load_mnist(folder)


def test_shorter_content(folder):
    rewrite(folder / "t10k-labels-idx1-ubyte.gz", lambda content: content.pop())
    with pytest.raises(ValueError, match=f"t10k-labels-idx1-ubyte.gz holds 10007 bytes.*{REMEDY}"):
        nets.load_mnist(folder)


@pytest.mark.parametrize("name", MD5)
def test_one_altered_pixel_or_label(folder, name):
    def change(content):
        content[-1] ^= 1
    rewrite(folder / f"{name}.gz", change)
    with pytest.raises(ValueError, match=f"{name} is not the MNIST file.*{REMEDY}"):
        nets.load_mnist(folder)


# ---- without the files ----


@pytest.fixture
def download(mnist, tmp_path, monkeypatch):
    """`load_mnist` finds no files; a dict holds what keras.datasets.mnist then "downloads"."""
    images, labels = (np.concatenate(parts) for parts in zip(mnist.train, mnist.validation))
    arrays = {"images": images[..., 0], "labels": labels.astype("uint8"),
              "test_images": mnist.test.images[..., 0], "test_labels": mnist.test.labels.astype("uint8")}

    def load_data():
        images, labels, test_images, test_labels = arrays.values()
        return (images, labels), (test_images, test_labels)

    monkeypatch.setattr(data, "HOME", tmp_path)
    monkeypatch.setattr(keras.datasets.mnist, "load_data", load_data)
    return arrays


def test_download_gives_the_same_data(download, mnist):
    for loaded, expected in zip(nets.load_mnist(), mnist):
        assert loaded.images.dtype == np.uint8 and loaded.labels.dtype == np.int32
        np.testing.assert_array_equal(loaded.images, expected.images)
        np.testing.assert_array_equal(loaded.labels, expected.labels)


@pytest.mark.parametrize("array", ["images", "labels", "test_images", "test_labels"])
def test_altered_download(download, array):
    download[array] = download[array].copy()
    download[array].flat[-1] ^= 1
    with pytest.raises(ValueError, match="keras.datasets.mnist.*is not the MNIST file.*delete mnist.npz"):
        nets.load_mnist()


def test_shortened_download(download):
    download["images"] = download["images"][:-1]
    with pytest.raises(ValueError, match="train-images.*is not the MNIST file.*delete mnist.npz"):
        nets.load_mnist()


def test_failing_download(download, monkeypatch):
    def load_data():
        raise OSError("HTTP Error 403: Forbidden")
    monkeypatch.setattr(keras.datasets.mnist, "load_data", load_data)
    with pytest.raises(ConnectionError, match="403.*Clone the repository.*load_mnist"):
        nets.load_mnist()


def test_a_folder_that_was_named_is_never_downloaded(download, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        nets.load_mnist(tmp_path / "nowhere")


def test_package_alone_keeps_its_data_in_the_current_folder(tmp_path):
    copy = shutil.copy(data.__file__, tmp_path)
    spec = importlib.util.spec_from_file_location("copy_of_data", copy)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert str(module.HOME) == "data"


# ---- expand ----


@pytest.fixture(scope="module")
def noise():
    """Images with ink up to the edge (MNIST's edges are all paper), all different."""
    rng = np.random.default_rng(0)
    return nets.Examples(rng.integers(1, 256, (20, 28, 28, 1), "uint8"), rng.integers(0, 10, 20, "int32"))


def moved(image, down, right):
    """The image moved by so many pixels, pixel by pixel; zeros enter."""
    result = np.zeros_like(image)
    for row in range(28):
        for column in range(28):
            if 0 <= row - down < 28 and 0 <= column - right < 28:
                result[row, column] = image[row - down, column - right]
    return result


def test_expand_gives_each_image_and_its_four_neighbours(noise):
    expected = collections.Counter(
        (moved(image, *shift).tobytes(), label) for image, label in zip(*noise)
        for shift in [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)])
    expanded = nets.expand(noise)
    assert collections.Counter((image.tobytes(), label) for image, label in zip(*expanded)) == expected
    assert expanded.images.shape == (100, 28, 28, 1) and expanded.images.dtype == np.uint8


def test_expand_leaves_its_argument_alone(noise):
    before = noise.images.copy()
    nets.expand(noise)
    np.testing.assert_array_equal(noise.images, before)


def test_expand_shuffles_by_seed(noise):
    same, again, other = (nets.expand(noise, seed).images for seed in (3, 3, 4))
    np.testing.assert_array_equal(same, again)
    assert (same != other).any()
    assert (same[:20] != noise.images).any()
