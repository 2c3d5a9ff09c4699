"""Write the picture and the tables of results into book/index.md, from the ledger. `make pages` runs it.

The picture is also site/story.svg, for the README.
"""

import json
import pathlib

import numpy as np
import scipy.stats
import story

import nets
from nets.result import Result
from nets.words import duration, percent

ROOT = pathlib.Path(__file__).resolve().parent.parent
INDEX, PICTURE = ROOT / "book" / "index.md", ROOT / "site" / "story.svg"
BEGIN, END = "<!-- {}: written by tools/results.py -->\n", "<!-- end of {} -->"

# Record, what it is, page, and the test accuracy that the chapter reports, in percent.
EXPERIMENTS = [
    ("shallow", "100 hidden neurons", "01-shallow-baseline", 97.80),
    ("conv-pool", "a convolutional layer before them", "02-first-convolutional-network", 98.78),
    ("conv-pool-no-fc", "… without the hidden neurons", "02-first-convolutional-network", None),
    ("two-conv-pool", "two convolutional layers", "03-second-convolutional-layer", 99.06),
    ("tanh", "… with tanh, 20 epochs", "04-tanh", None),
    ("relu", "… with ReLU", "05-relu", 99.23),
    ("expanded", "… on 250,000 images", "07-expanding-the-data", 99.37),
    ("fc300", "… with 300 hidden neurons", "09-fully-connected-layers", 99.46),
    ("fc1000", "… with 1000 hidden neurons", "09-fully-connected-layers", 99.43),
    ("extra-fc-100", "… with two hidden layers of 100", "09-fully-connected-layers", 99.43),
    ("extra-fc-300", "… with two of 300", "09-fully-connected-layers", 99.48),
    ("extra-fc-1000", "… with two of 1000", "09-fully-connected-layers", 99.47),
    ("dropout", "… with two of 1000 and dropout", "10-dropout", 99.60),
]

# What others found, before and after the chapter: also with the source of the figure.
BEYOND = [
    ("lenet", "LeNet-5", "16-simard-lenet", "LeCun 1998", 99.05),
    ("lenet-distorted", "… on distorted digits", "16-simard-lenet", "LeCun 1998", 99.20),
    ("simard", "two convolutions, bent digits", "16-simard-lenet", "Simard 2003", 99.60),
    ("simard-norm", "… its fields of norm 1", "16-simard-lenet", "Simard 2003", 99.60),
    ("ciresan", "plain and deep, bent digits", "17-plain-deep-network", "Cireșan 2010", 99.65),
    ("ciresan-800", "… by the paper's recipe, 800 epochs", "17-plain-deep-network", "Cireșan 2010", 99.65),
    ("ciresan-small", "… a fifth as wide", "17-plain-deep-network", None, None),
    ("ciresan-small-recipe", "… with the paper's recipe", "17-plain-deep-network", None, None),
    ("ciresan-small-plain", "… and on plain digits", "17-plain-deep-network", None, None),
    ("lstm-rows", "an LSTM that reads row by row", "15-where-next", None, None),
    ("modern", "two convolutional layers, trained as today", "19-plain-keras", None, None),
    ("dropout-elastic", "the chapter's dropout network, bent digits", "08-distortions", None, None),
    ("committee", "a small modern network", "18-last-thirty-three", "Deotte 2018", 99.64),
]

# Committees, on page 18: what ten runs in a row answer together.
TOGETHER = [
    ("committee", "… ten of them together"),
    ("committee-60000", "… ten others together, on 60,000 images"),
]
# The picture's rows: record, what it is, and what the source says, in percent.
STORY = [
    ("shallow", "one hidden layer", 97.80),
    ("conv-pool", "a convolutional layer before it", 98.78),
    ("two-conv-pool", "two of them", 99.06),
    ("relu", "ReLU in place of sigmoids", 99.23),
    ("expanded", "five times as many images", 99.37),
    ("dropout", "two layers of 1,000, with dropout", 99.60),
    ("dropout-vote", "a vote of five such networks", 99.67),
    ("lenet-distorted", "LeNet-5 of 1998, on distorted digits", 99.20),
    ("simard-norm", "Simard's network of 2003, on bent digits", 99.60),
    ("ciresan-800", "Cireșan's of 2010, plain and deep", 99.65),
    ("committee", "a small modern network", 99.64),
    ("committee-60000", "ten such together, on 60,000 images", 99.75),
]

COMMITTEE = 10  # before all of them are there, nobody asks what they answer together


def recorded(name):
    """The result that the ledger holds under this name, or None."""
    path = ROOT / "data" / "runs" / f"{name}.json"
    if not path.exists():
        return None
    record = json.loads(path.read_text())
    return Result(name, record["settings"], record["runs"], [], len(record["runs"]))


def committees(result):
    """Accuracies of summed probabilities, in percent: one for each complete committee of a result's runs."""
    count = len(result.runs) // COMMITTEE
    with np.load(ROOT / "data" / "runs" / f"{result.name}.predictions.npz") as arrays:
        answers = [sum(arrays[str(COMMITTEE * i + member)].astype("float32") for member in range(COMMITTEE))
                   for i in range(count)]
    labels = nets.load_mnist().test.labels
    return np.array([100 * np.mean(sums.argmax(axis=1) == labels) for sums in answers])


def together(name):
    """Cells with what the complete committees of a record answer together."""
    result = recorded(name)
    if result is None:
        return ["not run yet", "", "", ""]
    values = committees(result)
    if not len(values):
        return ["not complete yet", "", f"{len(result.runs)} of {COMMITTEE}", ""]
    number = f"{len(values)} × {COMMITTEE}" if len(values) > 1 else str(COMMITTEE)
    return ["–", mean_and_interval(values), number, ""]


def interval(values):
    """The interval for the mean of many, with 95 % confidence; None of fewer than three values."""
    if len(values) < 3:
        return None
    half = scipy.stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values)**0.5
    return values.mean() - half, values.mean() + half


def mean_and_interval(values):
    """The mean and, from three values on, its interval."""
    ends = interval(values)
    return f"{values.mean():.2f}" + (f" ({ends[0]:.2f} to {ends[1]:.2f})" if ends else "")


def errors(name):
    """How many test digits the runs of a record misread, or its committees, or its vote of five."""
    result = recorded(name.removesuffix("-vote"))
    if result is None:
        return np.array([])
    if name == "dropout-vote":
        if len(result.runs) < 5:
            return np.array([])
        with np.load(ROOT / "data" / "runs" / "dropout.predictions.npz") as arrays:
            answers = [arrays[str(seed)].argmax(axis=1) for seed in range(5)]
        return np.array([np.sum(nets.vote(answers) != nets.load_mnist().test.labels)])
    accuracies = committees(result) if name == "committee-60000" else 100 * result.test_accuracies
    return 100 * (100 - accuracies)


def picture():
    """The story in one picture."""
    return story.picture([(what, values.mean(), interval(values), round(100 * (100 - claim)))
                          for name, what, claim in STORY if len(values := errors(name))])


def measured(name):
    """Cells with the best run, the mean, the number of runs and the least time of one on a CPU's core."""
    result = recorded(name)
    if result is None:
        return ["not run yet", "", "", ""]
    values = 100 * result.test_accuracies
    seconds = [run["seconds"] for run in result.runs if " core" in run["device"]]
    return [percent(result.test_accuracy)[:-2], mean_and_interval(values), str(len(values)),
            duration(min(seconds)) if seconds else "–"]


def table(names, heading, *rows):
    """The rows under their heading, both lists of cells, and where the results of these names come from."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (heading, *rows)]
    lines.insert(1, "|" + "---|" * len(heading))
    results = filter(None, map(recorded, names))
    devices = dict.fromkeys(run["device"] for result in results for run in result.runs)
    return "\n".join(lines) + f"\n\nTrained on {', '.join(devices)}.\n" * bool(devices)


def tables():
    """The text between the marks, by their names."""
    def percentage(claim):
        return f"{claim:.2f}" if claim else "–"

    ours = ["our best run, %", "our mean (95 % interval), %", "runs", "least time, one core"]
    chapter = [[f"[{what}]({page}.ipynb)", percentage(claim), *measured(name)]
               for name, what, page, claim in EXPERIMENTS]
    beyond = [[f"[{what}]({page}.ipynb)", source or "–", percentage(claim), *measured(name)]
              for name, what, page, source, claim in BEYOND]
    beyond += [[f"[{what}](18-last-thirty-three.ipynb)", "Deotte 2018", "99.75", *together(name)]
               for name, what in TOGETHER]
    return {
        "results": table([name for name, *_ in EXPERIMENTS], ["network", "chapter, %", *ours], *chapter),
        "beyond": table([name for name, *_ in BEYOND + TOGETHER],
                        ["network", "source", "claimed, %", *ours], *beyond),
    }


def page(text):
    """The index page's text with the picture and the tables of today."""
    for name, lines in {"story": picture(), **tables()}.items():
        before, rest = text.split(BEGIN.format(name))
        text = before + BEGIN.format(name) + "\n" + lines + "\n" + END.format(name) + rest.split(
            END.format(name))[1]
    return text


if __name__ == "__main__":
    PICTURE.write_text(story.standing_alone(picture()))
    INDEX.write_text(page(INDEX.read_text()))
