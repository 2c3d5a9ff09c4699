"""Write what the live figures of the site show, from the ledger and MNIST, into site/extra/live/data.

`make book` runs it: python tools/live.py
"""

import base64
import gzip
import json
import os
import pathlib
import re

os.environ.setdefault("KERAS_BACKEND", "numpy")  # which starts in a second

import keras
import numpy as np

import nets
from nets import files, ledger
from nets.result import Result

ROOT = pathlib.Path(__file__).resolve().parent.parent
DATA = ROOT / "site" / "extra" / "live" / "data"
SAMPLES = 5  # test digits of each kind to try the network on
TRAINING, VALIDATION = 2000, 1000  # digits to train on in the page
MISSED = 40  # test digits that most networks misread


def recorded(names, suffix):
    """The first of these records that has such a file, and the file."""
    paths = {name: ledger.directory() / f"{name}{suffix}" for name in names}
    return next((name, path) for name, path in paths.items() if path.exists())


def trained_network():
    """The network that reads what is drawn, its record's name, and the test accuracy it ended with."""
    name, path = recorded(["expanded", "relu"], ".weights.h5")
    network = keras.Sequential(
        [
            keras.layers.Rescaling(1 / 256),
            nets.ConvPool(20, activation="relu"),
            nets.ConvPool(40, activation="relu"),
            nets.FullyConnected(100, "relu"),
            nets.Softmax(10),
        ]
    )
    network.build((None, 28, 28, 1))
    network.load_weights(path)
    run = json.loads((ledger.directory() / f"{name}.json").read_text())["runs"][0]
    return network, name, run["test_accuracy"][-1]


def weights(network, record, accuracy, precision="float16"):
    """A trained network: the shapes of its arrays, and all their numbers in a row."""
    arrays = network.get_weights()
    numbers = np.concatenate([array.ravel() for array in arrays]).astype(precision)
    return {"record": record, "accuracy": accuracy, "precision": precision,
            "shapes": [array.shape for array in arrays], "numbers": base64_of(numbers)}


def samples(test):
    """The first test digits of each kind, ordered by kind."""
    chosen = [index for digit in range(10) for index in np.flatnonzero(test.labels == digit)[:SAMPLES]]
    return {"each": SAMPLES, "images": base64_of(test.images[chosen])}


def field(image, network, record):
    """The digit of the introduction, and the longest filter of a trained network."""
    kernels = network.layers[1].get_weights()[0][:, :, 0]  # (5, 5, 20)
    longest = int((kernels**2).sum(axis=(0, 1)).argmax())
    return {"image": base64_of(image), "record": record, "filter": longest,
            "learned": kernels[..., longest].ravel().tolist()}


def errors(test):
    """The test digits that the vote of the page on ensembles misreads, with each network's answer.

    `sure` holds the probability that each network gave to its answer, where the ledger has it.
    """
    name, path = recorded(["dropout", "relu"], ".predictions.npz")
    stored = files.load_arrays(path)
    runs = [stored[seed] for seed in sorted(stored, key=int)]  # probabilities, or only the answers
    answers = np.array([run if run.ndim == 1 else run.argmax(axis=-1) for run in runs], int)
    voted = nets.vote(answers)
    wrong = np.flatnonzero(voted != test.labels)
    digits = [{"index": int(i), "label": int(test.labels[i]), "vote": int(voted[i]),
               "answers": answers[:, i].tolist(),
               "sure": [None if run.ndim == 1 else round(float(run[i].max()), 4) for run in runs]}
              for i in wrong]
    return {"record": name, "digits": digits, "images": base64_of(test.images[wrong])}


def described(settings):
    """A network and its training in a line."""
    def layer(layer):
        (kind, options), = layer.items()
        get = options.get
        words = [f"{size:g}" for size in (get("filters"), get("units"), get("rate")) if size]
        words += [word for word, said in (
            (f"{get('kernel_size')} × {get('kernel_size')}", get("kernel_size", 5) != 5),
            (f"stride {get('strides')}", get("strides", 1) != 1),
            ("no pooling", get("pool_size") == 1),
            (get("activation"), get("activation") in ("sigmoid", "tanh", "relu")),
            (f"dropout {get('dropout')}", get("dropout"))) if said]
        return f"{kind}({', '.join(words)})" if words else kind

    layers = [layer(each) for each in settings["network"] if "Rescaling" not in each]
    rates = settings.get("learning_rate")
    said = [f"{settings['epochs']} epochs", f"mini-batches of {settings['mini_batch_size']}"]
    if isinstance(rates, list):
        said.append(f"rate {rates[0]:g} to {rates[-1]:.2g}")
    elif rates is not None:
        said.append(f"rate {rates:g}")
    if "optimizer" in settings:
        said.append(str(settings["optimizer"][0]))
    if settings["l2"]:
        said.append(f"λ {settings['l2']:g}")
    said += [function[0] for function in settings.get("augment", [])]
    return f"{' → '.join(layers)}; {', '.join(said)}"


def answers_of_first_runs(names):
    """What the first run of each of these records answers to the test digits, by name."""
    found = {}
    for name in names:
        stored = files.load_arrays(ledger.directory() / f"{name}.predictions.npz")
        run = stored[min(stored, key=int)]
        found[name] = run if run.ndim == 1 else run.argmax(axis=-1)
    return found


def homes(names):
    """The page that trains each experiment, by name.

    Its code has the name, or the most of it, as name=f"relu-l2-{l2:g}". Of several, it is the page whose box
    says how long a run took; or the first.
    """
    found = {name: [] for name in names}
    for page in sorted((ROOT / "book").glob("*.ipynb")):
        cells = json.loads(page.read_text("utf-8"))["cells"]
        code, words = ("\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == kind)
                       for kind in ("code", "markdown"))
        for said in dict.fromkeys(re.findall(r'"([^"\n]+)"', code)):
            known = len(re.sub("{.*?}", "", said))
            pattern = re.compile(re.sub(r"\\{.*?\\}", ".+", re.escape(said)))
            for name in filter(pattern.fullmatch, names):
                found[name].append((-known, f"a run of `{name}` took" not in words, page.stem))
    return {name: min(pages)[-1] for name, pages in found.items() if pages}


def runs(test):
    """Every run of the ledger by epoch, its page, what the first of each record misreads, what most misread.

    Losses to four digits, accuracies in digits of 10,000. Of networks that read less than nine digits of ten
    only the curves.
    """
    def counts(accuracies):
        return [round(10_000 * accuracy) for accuracy in accuracies]

    paths, experiments = sorted(ledger.directory().glob("*.json")), {}
    pages = homes([path.stem for path in paths])
    for path in paths:
        record = json.loads(path.read_text())
        result = Result(record["name"], record["settings"], record["runs"], [])
        experiments[record["name"]] = {
            "what": described(record["settings"]),
            "page": pages.get(record["name"]),
            "test": counts(result.test_accuracies),
            "runs": [[[float(f"{loss:.4g}") for loss in run["loss"]], counts(run["validation_accuracy"]),
                      counts(run["test_accuracy"])] for run in record["runs"]]}
    misses = np.zeros(len(test.labels), int)
    for name, answers in answers_of_first_runs(experiments).items():
        wrong = np.flatnonzero(answers != test.labels)
        if 10 * len(wrong) < len(test.labels):
            experiments[name]["wrong"] = np.diff(wrong, prepend=0).tolist()  # steps, which are short to write
            experiments[name]["answers"] = "".join(map(str, answers[wrong]))
            misses[wrong] += 1
    most = np.argsort(-misses, kind="stable")[:MISSED]
    return {"experiments": experiments,
            "missed": {"digits": most.tolist(), "labels": test.labels[most].tolist(),
                       "images": base64_of(test.images[most])}}


def digits(mnist):
    """Digits to train on in the page, and after them some to validate on, packed."""
    parts = [(part.images[:n], part.labels[:n]) for part, n in zip(mnist, (TRAINING, VALIDATION))]
    images, labels = map(np.concatenate, zip(*parts))
    return {"packed": base64.b64encode(gzip.compress(images.tobytes(), mtime=0)).decode(),
            "labels": "".join(map(str, labels)), "training": TRAINING}


def base64_of(array):
    return base64.b64encode(array.tobytes()).decode()


def write(folder=DATA, precision="float16"):
    """Write the six scripts into this folder."""
    mnist = nets.load_mnist()
    network, record, accuracy = trained_network()
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in (("weights", weights(network, record, accuracy, precision)),
                       ("samples", samples(mnist.test)),
                       ("field", field(mnist.train.images[91], network, record)),
                       ("errors", errors(mnist.test)),
                       ("runs", runs(mnist.test)),
                       ("digits", digits(mnist))):
        text = json.dumps(data, separators=(",", ":"))
        (folder / f"{name}.js").write_text(f"readingDigits.data.{name} = {text};\n")


if __name__ == "__main__":
    write()
