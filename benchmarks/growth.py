"""How long the whole book would train on a cluster: a sum for book/cluster.md, which `make pages` renews.

On a core a run takes the least time that one took there. On a GPU a job, some runs of an experiment, takes
what they took on a core divided by the least gain in the ledger, but for each step at least as long as the
slowest group of runs with small mini-batches took. What only a GPU has trained takes what it took there.
"""

import heapq
import json
import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "book" / "cluster.md"
BEGIN, END = "<!-- growth: written by benchmarks/growth.py -->\n", "<!-- end of growth -->"
RUNS = 5
ROWS = [("cores", 1, 1), ("cores", 64, 1), ("GPUs", 1, 5), ("GPUs", 8, 5), ("GPUs", 64, 5), ("GPUs", 64, 1)]


def records():
    return [json.loads(path.read_text("utf-8")) for path in sorted((ROOT / "data" / "runs").glob("*.json"))]


def steps(record):
    settings = record["settings"]
    return settings["epochs"] * (settings["data"]["train"][0] // settings["mini_batch_size"])


def seconds(record, gpu):
    """What a run took at least, on a core or as its share of a group on a GPU; None if there is none."""
    return min((run["seconds"] / (run["together"] if gpu else 1) for run in record["runs"]
                if ("NVIDIA" in run["device"]) == gpu), default=None)


def measured():
    """(least gain of a GPU over a core, most seconds a step of small mini-batches of several runs there)."""
    both = [(seconds(record, False), seconds(record, True)) for record in records()]
    groups = [run["seconds"] / steps(record) for record in records() for run in record["runs"]
              if "NVIDIA" in run["device"] and run["together"] > 1
              and record["settings"]["mini_batch_size"] <= 10]
    return min(core / gpu for core, gpu in both if core and gpu), max(groups)


def jobs(gpu, together):
    """(seconds, name) of each job: so many runs of an experiment on a GPU, or one on a core."""
    (gain, step), found = measured(), []
    for record in records():
        core, own = seconds(record, False), seconds(record, True)
        alone = core or own * gain
        length = max(steps(record) * step, together * (core / gain if core else own)) if gpu else alone
        found += [(length, record["name"])] * (RUNS // together)
    return sorted(found, reverse=True)


def span(lengths, workers):
    """Seconds until all is over, when whoever is free takes the longest job that is left."""
    free = [0.0] * workers
    for length in lengths:
        heapq.heapreplace(free, free[0] + length)
    return max(free)


def table():
    lines = ["| on | runs a job | all jobs, one after the other | the longest | until all is over |",
             "|---|---|---|---|---|"]
    for what, workers, together in ROWS:
        todo = jobs(what == "GPUs", together)
        (longest, name), lengths = todo[0], [length for length, _ in todo]
        lines.append(f"| {workers} {what if workers > 1 else what[:-1]} | {together} | "
                     f"{sum(lengths) / 3600:.1f} h | `{name}`, {longest / 60:.0f} min | "
                     f"{span(lengths, workers) / 3600:.1f} h |")
    return "\n".join(lines) + "\n"


def page(text):
    """The page with the table of today."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
