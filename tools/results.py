"""Write the table of results into book/index.md, from the ledger. `make pages` runs it."""

import json
import pathlib

from nets.result import Result, duration, percent

ROOT = pathlib.Path(__file__).resolve().parent.parent
INDEX = ROOT / "book" / "index.md"
BEGIN, END = "<!-- results: written by tools/results.py -->\n", "<!-- end of results -->"

# Record, what it is, page, and the test accuracy that the chapter reports, in percent.
EXPERIMENTS = [
    ("shallow", "100 hidden neurons", "01-shallow-baseline", 97.80),
    ("conv-pool", "a convolutional layer before them", "02-first-convolutional-network", 98.78),
    ("conv-pool-no-fc", "… without the hidden neurons", "02-first-convolutional-network", None),
    ("two-conv-pool", "two convolutional layers", "03-second-convolutional-layer", 99.06),
    ("tanh", "… with tanh, 20 epochs", "04-activations", None),
    ("relu", "… with ReLU", "04-activations", 99.23),
    ("expanded", "… on 250,000 images", "05-expanding-the-data", 99.37),
    ("fc300", "… with 300 hidden neurons", "06-fully-connected-layers", 99.46),
    ("fc1000", "… with 1000 hidden neurons", "06-fully-connected-layers", 99.43),
    ("extra-fc-100", "… with two hidden layers of 100", "06-fully-connected-layers", 99.43),
    ("extra-fc-300", "… with two of 300", "06-fully-connected-layers", 99.48),
    ("extra-fc-1000", "… with two of 1000", "06-fully-connected-layers", 99.47),
    ("dropout", "… with two of 1000 and dropout", "07-dropout", 99.60),
]


def recorded(name):
    """The result that the ledger holds under this name, or None."""
    path = ROOT / "data" / "runs" / f"{name}.json"
    if not path.exists():
        return None
    record = json.loads(path.read_text())
    return Result(name, record["settings"], record["runs"], [], len(record["runs"]))


def table():
    rows = ["| network | chapter, % | our best run, % | our mean ± sd, % | runs | time a run |",
            "|---|---|---|---|---|---|"]
    for name, what, page, claim in EXPERIMENTS:
        result = recorded(name)
        cells = [f"[{what}]({page}.ipynb)", f"{claim:.2f}" if claim else "–"]
        if result is None:
            cells += ["not run yet", "", "", ""]
        else:
            values = 100 * result.test_accuracies
            spread = f" ± {values.std(ddof=1):.2f}" if len(values) > 1 else ""
            seconds = sum(run["seconds"] for run in result.runs) / len(result.runs)
            cells += [percent(result.test_accuracy)[:-2], f"{values.mean():.2f}{spread}",
                      str(len(values)), duration(seconds)]
        rows.append("| " + " | ".join(cells) + " |")
    results = filter(None, (recorded(name) for name, *_ in EXPERIMENTS))
    devices = dict.fromkeys(run["device"] for result in results for run in result.runs)
    return "\n".join(rows) + f"\n\nTrained on {', '.join(devices)}.\n"


def page(text):
    """The index page's text with the table of today."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + "\n" + table() + "\n" + END + rest.split(END)[1]


if __name__ == "__main__":
    INDEX.write_text(page(INDEX.read_text()))
