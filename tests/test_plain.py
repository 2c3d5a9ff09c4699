"""Page 19: the chapter's networks in Keras' own layers are those of nets, on both backends.

    python test_plain.py   prints as JSON what the page finds, on the backend that is set
"""

import json
import os
import pathlib
import re
import subprocess
import sys
from unittest import mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import keras  # noqa: E402
import pytest  # noqa: E402
from keras import layers  # noqa: E402
from test_book import NOTEBOOKS, cells, text_of  # noqa: E402

import nets  # noqa: E402

(PAGE,) = (path for path in NOTEBOOKS if path.stem.endswith("plain-keras"))
NETWORKS = "shallow", "conv-pool", "two conv-pool", "dropout"


def page(*wanted):
    """What the page defines in its cells that contain one of these words."""
    names = {"keras": keras, "nets": nets}
    for cell in cells(PAGE, "code")[1:]:
        source = "".join(cell["source"])
        if any(words in source for words in wanted):
            exec(source, names)
    return names


DEFINITIONS = "import os", "def rule", "def two_conv_pool", "def dropout", "def drawn", "def compare"


def findings():
    """Of each network and its twin: equal starts, and how far outputs and weights after a step differ."""
    return {name: list(found) for name, found in page(*DEFINITIONS, "checks = ")["checks"].items()}


def test_plain_networks_are_those_of_nets_on_the_other_backend_too():
    """On this one, TensorFlow, the page's stored outputs say so, and `make strict` runs them again."""
    other = {"tensorflow": "jax", "jax": "tensorflow"}[keras.backend.backend()]
    done = subprocess.run([sys.executable, __file__], env={**os.environ, "KERAS_BACKEND": other},
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == {name: [True, "below 1e-6", "below 1e-6"] for name in NETWORKS}
    stored = "".join(text_of(output) for cell in cells(PAGE, "code") for output in cell["outputs"])
    assert all(re.search(rf"^{name} +yes +below 1e-6 +below 1e-6$", stored, re.M) for name in NETWORKS)


@pytest.mark.parametrize("mistake, found", [
    ("start", [False, True, True]), ("scale", [True, False, False]), ("penalty", [True, True, False]),
    ("dropout", [True, False, False]), ("none", [True, True, True])])
def test_the_page_would_find_a_mistake(mistake, found):
    names = page(*DEFINITIONS)
    l2 = keras.regularizers.L2(1000 / 5000 if mistake == "penalty" else 1000 / 10000)
    rule = {**names["rule"](), **({"kernel_initializer": "he_normal"} if mistake == "start" else {})}
    network = keras.Sequential([
        keras.Input((28, 28, 1)), layers.Rescaling(1 / 255 if mistake == "scale" else 1 / 256),
        layers.Flatten(), layers.Dropout(0.5), layers.Rescaling(1.0 if mistake == "dropout" else 0.5),
        layers.Dense(20, "relu", **rule, kernel_regularizer=l2),
        layers.Dense(10, "softmax", kernel_initializer="zeros", kernel_regularizer=l2)])
    ours = nets.FullyConnected(20, "relu", dropout=0.5)
    equal, *differences = names["compare"](network, ours, rate=0.03, l2=1000)
    assert [equal, *(difference == "below 1e-6" for difference in differences)] == found


def test_todays_network_in_the_ledger_is_that_of_the_page():
    with mock.patch.object(nets, "train") as train:
        names = page(*DEFINITIONS, "def today", 'name="modern"')
    (twin, _), options = train.call_args
    twin.build((None, 28, 28, 1))
    assert [array.shape for array in names["drawn"](twin)] == [v.shape for v in names["network"].weights]
    assert all((a == b).all() for a, b in zip(*map(names["drawn"], (names["today"](), twin))))
    twin.set_weights(names["network"].get_weights())
    digits = names["mnist"].test.images[:1000]
    outputs = [network.predict(digits, verbose=0) for network in (names["network"], twin)]
    assert names["largest"](*outputs) == "below 1e-6"
    optimizers = [{**optimizer.get_config(), "name": "adam"}
                  for optimizer in (names["network"].optimizer, options["optimizer"])]
    assert optimizers[0] == optimizers[1]


if __name__ == "__main__":
    print(json.dumps(findings()))
