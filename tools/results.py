"""Write picture and table of the results and the map of the pages into book/index.md. `make pages` runs it.

The picture is also site/story.svg, for the README.
"""

import json
import pathlib
import re

import numpy as np
import pages
import routes
import scipy.stats
import story

import nets
from nets.result import Result

ROOT = pathlib.Path(__file__).resolve().parent.parent
INDEX, PICTURE = ROOT / "book" / "index.md", ROOT / "site" / "story.svg"
BEGIN, END = "<!-- {}: written by tools/results.py -->\n", "<!-- end of {} -->"

# Record, or committees of its runs, what it is, page, whose claim and what, in percent.
RESULTS = [
    ("shallow", "100 hidden neurons", "01-shallow-baseline", "", 97.80),
    ("conv-pool", "a convolutional layer before them", "02-first-convolutional-network", "", 98.78),
    ("conv-pool-no-fc", "that layer alone", "02-first-convolutional-network", "", None),
    ("two-conv-pool", "two convolutional layers", "03-second-convolutional-layer", "", 99.06),
    ("tanh", "two, tanh, 20 epochs", "04-tanh", "", None),
    ("relu", "two, ReLU", "05-relu", "", 99.23),
    ("expanded", "two, ReLU, 250,000 images", "07-expanding-the-data", "", 99.37),
    ("fc300", "the same, 300 hidden neurons", "09-fully-connected-layers", "", 99.46),
    ("fc1000", "the same, 1000 hidden neurons", "09-fully-connected-layers", "", 99.43),
    ("extra-fc-100", "the same, two hidden layers of 100", "09-fully-connected-layers", "", 99.43),
    ("extra-fc-300", "the same, two of 300", "09-fully-connected-layers", "", 99.48),
    ("extra-fc-1000", "the same, two of 1000", "09-fully-connected-layers", "", 99.47),
    ("dropout", "the same, two of 1000, dropout", "10-dropout", "", 99.60),
    ("dropout-vote", "a vote of five of these", "11-ensemble", "", 99.67),
    ("dropout-elastic", "one of these, on bent digits", "08-distortions", "", None),
    ("lstm-rows", "an LSTM that reads row by row", "15-where-next", "", None),
    ("modern", "two convolutional layers, trained as today", "19-plain-keras", "", None),
    ("lenet", "LeNet-5", "16-simard-lenet", "LeCun 1998", 99.05),
    ("lenet-distorted", "LeNet-5, distorted digits", "16-simard-lenet", "LeCun 1998", 99.20),
    ("simard", "Simard's, bent digits", "16-simard-lenet", "Simard 2003", 99.60),
    ("simard-norm", "Simard's, fields of norm 1", "16-simard-lenet", "Simard 2003", 99.60),
    ("ciresan", "Cireșan's, bent digits", "17-plain-deep-network", "Cireșan 2010", 99.65),
    ("ciresan-800", "Cireșan's, the paper's recipe, 800 epochs", "17-plain-deep-network",
     "Cireșan 2010", 99.65),
    ("ciresan-small", "a fifth as wide, bent digits", "17-plain-deep-network", "", None),
    ("ciresan-small-recipe", "a fifth as wide, the paper's recipe", "17-plain-deep-network", "", None),
    ("ciresan-small-plain", "a fifth as wide, plain digits", "17-plain-deep-network", "", None),
    ("committee", "a small modern network", "18-last-thirty-three", "Deotte 2018", 99.64),
    ("committee-together", "ten of these together", "18-last-thirty-three", "Deotte 2018", 99.75),
    ("committee-60000-together", "ten others together, on 60,000 images", "18-last-thirty-three",
     "Deotte 2018", 99.75),
]

# The picture's rows: what of these, and in which words.
STORY = [
    ("shallow", "one hidden layer"),
    ("conv-pool", "a convolutional layer before it"),
    ("two-conv-pool", "two of them"),
    ("relu", "ReLU in place of sigmoids"),
    ("expanded", "five times as many images"),
    ("dropout", "two layers of 1,000, with dropout"),
    ("dropout-vote", "a vote of five such networks"),
    ("lenet-distorted", "LeNet-5 of 1998, on distorted digits"),
    ("simard-norm", "Simard's network of 2003, on bent digits"),
    ("ciresan-800", "Cireșan's of 2010, plain and deep"),
    ("committee", "a small modern network"),
    ("committee-60000-together", "ten such together, on 60,000 images"),
]

MEMBERS = {"vote": 5, "together": 10}  # of a committee


def recorded(name):
    """The result that the ledger holds under this name."""
    record = json.loads((ROOT / "data" / "runs" / f"{name}.json").read_text())
    return Result(name, record["settings"], record["runs"], [])


def accuracies(name):
    """Test accuracies in percent: of a record's runs, or of committees of them; and the number of members."""
    name, how = re.fullmatch("(.*?)(?:-(vote|together))?", name).groups()
    if not how:
        return 100 * recorded(name).test_accuracies, 1
    members, labels = MEMBERS[how], nets.load_mnist().test.labels
    with np.load(ROOT / "data" / "runs" / f"{name}.predictions.npz") as arrays:
        every = [arrays[str(seed)].astype("float32") for seed in range(len(arrays.files))]
    groups = [every[first:first + members] for first in range(0, len(every) - members + 1, members)]
    answers = [nets.vote([each.argmax(axis=1) for each in own]) if how == "vote" else sum(own).argmax(axis=1)
               for own in groups]
    return np.array([100 * np.mean(answer == labels) for answer in answers]), members


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


def picture():
    """The story in one picture."""
    claims, rows = {name: claim for name, *_, claim in RESULTS}, []
    for name, what in STORY:
        errors = 100 * (100 - accuracies(name)[0])
        rows.append((what, errors.mean(), interval(errors), round(100 * (100 - claims[name]))))
    return story.picture(rows)


def table():
    """All results in one table, and which machines they come from."""
    lines = ["| network | source, % | our mean, % (95 % interval) | runs |", "|---|---|---|---|"]
    for name, what, page, source, claim in RESULTS:
        values, members = accuracies(name)
        said = f"{claim:.2f}" + f", {source}" * bool(source) if claim else "–"
        count = str(len(values)) if members == 1 else f"{len(values)} × {members}"
        lines.append(f"| [{what}]({page}.ipynb) | {said} | {mean_and_interval(values)} | {count} |")
    names = dict.fromkeys(re.sub("-(vote|together)$", "", name) for name, *_ in RESULTS)
    runs = [run for name in names for run in recorded(name).runs]
    devices = dict.fromkeys(re.sub(", .*", "", run["device"]) for run in runs)
    return "\n".join(lines) + f"\n\nTrained on {', '.join(devices)}.\n"


def page(text):
    """The index page's text as it is today."""
    for name, lines in {"story": picture(), "results": table(), "map": routes.picture(pages.pages())}.items():
        before, rest = text.split(BEGIN.format(name))
        text = before + BEGIN.format(name) + "\n" + lines + "\n" + END.format(name) + rest.split(
            END.format(name))[1]
    return text


if __name__ == "__main__":
    PICTURE.write_text(story.standing_alone(picture()))
    INDEX.write_text(page(INDEX.read_text()))
