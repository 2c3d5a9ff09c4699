"""The answers to the problems: what they say of stored results is computed here once more, another way."""

import functools
import json
import math
import re

import numpy as np
import scipy.stats
from test_book import NOTEBOOKS, ROOT, cells, prose, text_of, tool

import nets

LABELS = nets.load_mnist().test.labels


def page(number):
    """A page's sentences in one line, and what each of its cells printed, by the cell's id."""
    (path,) = [path for path in NOTEBOOKS if path.name.startswith(f"{number}-")]
    printed = {cell["id"]: "".join(map(text_of, cell["outputs"])) for cell in cells(path, "code")}
    return " ".join(prose(path).split()), printed


@functools.cache
def probabilities(name, first=0, runs=None):
    """What the runs of a record gave the test images, an array (runs, images, 10)."""
    with np.load(ROOT / "data" / "runs" / f"{name}.predictions.npz") as arrays:
        seeds = sorted(map(int, arrays.files))[first:][:runs]
        return np.array([arrays[str(seed)] for seed in seeds], "float32")


@functools.cache
def runs(name):
    """The runs of a record, as the ledger keeps them."""
    return json.loads((ROOT / "data" / "runs" / f"{name}.json").read_text())["runs"]


def vote_and_sum(answers):
    """Whether each test image is misread by the vote of these networks, and by their sum."""
    return nets.vote(answers.argmax(axis=-1)) != LABELS, answers.sum(axis=0).argmax(axis=-1) != LABELS


def against(one, other):
    """Images that only the first misreads, only the second, and the chance by coins on the first's side."""
    first, second = (one & ~other).sum(), (other & ~one).sum()
    heads = range(first, first + second + 1)
    return first, second, sum(math.comb(first + second, k) for k in heads) / 2 ** int(first + second)


def test_sums_against_votes():
    text, _ = page("11")
    counts = {}
    for name, runs in (("dropout", 5), ("relu", 3), ("conv-pool", 3)):
        vote, total = vote_and_sum(probabilities(name, runs=runs))
        more, less, chance = against(vote, total)
        counts[name] = vote.sum(), total.sum(), round(min(1, 2 * chance), 2)
    assert counts == {"dropout": (38, 36, 0.5), "relu": (63, 58, 0.23), "conv-pool": (107, 107, 1)}
    assert "the five dropout networks misread 36 digits instead of 38. The `relu` networks gain five" in text
    assert "at least as much in half of such comparisons, in a quarter, and always" in text


def test_mixed_committees():
    text, _ = page("11")
    dropout, relu, conv_pool = (probabilities(name, runs=runs).argmax(axis=-1)
                                for name, runs in (("dropout", 5), ("relu", 3), ("conv-pool", 3)))
    errors = [(nets.vote(np.concatenate(every)) != LABELS).sum()
              for every in ([dropout], [dropout, relu], [dropout, conv_pool], [dropout, relu, conv_pool])]
    assert errors == [38, 31, 36, 38]
    assert "the dropout networks misread 31 digits instead of 38, fewer than the chapter's" in text
    assert "With `conv-pool` instead they misread 36, with all three kinds 38 as before" in text


def test_calibration():
    def measured(answers):
        top, right = answers.max(axis=-1), answers.argmax(axis=-1) == LABELS
        bins = np.digitize(top, np.arange(1, 15) / 15)
        error = sum(abs(np.mean((top - right)[bins == k])) * np.mean(bins == k) for k in set(bins))
        return (1 - top).sum(), (~right).sum(), top[~right].mean(), 100 * error

    text, _ = page("11")
    shown = {}
    for name, runs in (("dropout", 5), ("relu", 3)):
        answers = probabilities(name, runs=runs)
        alone, together = np.mean([measured(one) for one in answers], axis=0), measured(answers.mean(axis=0))
        assert alone[2] > 0.8 and alone[1] > 1.9 * alone[0]
        shown[name] = [[round(float(value), digits) for value, digits in zip(row, (0, 0, 0, 2), strict=True)]
                       for row in (alone, together)]
    assert shown == {"dropout": [[22, 44, 1, 0.27], [32, 36, 1, 0.17]],
                     "relu": [[28, 77, 1, 0.55], [54, 58, 1, 0.26]]}
    for words in ("expects 22 errors and makes 44, twice as many; a `relu` network expects 28 and makes 77",
                  "expect 32 errors and make 36, the three `relu` networks 54 and 58",
                  "0.27 % and 0.55 %", "falls to 0.17 % and 0.26 %", "a probability of over 80 percent"):
        assert words in text


def test_like_is_beside_like():
    text, shown = page("18")
    dropout, groups = probabilities("dropout", runs=5), [probabilities("committee")]
    groups += [probabilities("committee-60000", first=first, runs=10) for first in (0, 10, 20)]
    rows = [against(vote_and_sum(dropout)[how], vote_and_sum(group)[how])
            for how in (1, 0) for group in groups]
    for fixed, new, chance in rows:
        assert f"{fixed:7} {new:4} {chance:11.3f} {min(1, 2 * chance):10.3f}\n" in shown["coins"]
    both_sides = sorted(2 * chance for *_, chance in rows)
    assert round(both_sides[0], 3) == 0.027 and both_sides[1] > 1 / 7
    assert round(2 * rows[5][2], 2) == 0.40 and rows[5][:2] == (14, 9) and rows[1][:2] == (16, 5)
    for words in ("seven come out as luck alone would have it in one case of seven or more often, two-sided",
                  "the sum of the second committee fixes 16 digits and breaks 5, a chance of 0.027",
                  "the same two groups voting, 14 against 9, have a chance of 0.40",
                  "Only the 16 against 5 would be rare among equals"):
        assert words in text


def test_flattery_is_what_their_page_says():
    text, shown = page("18")
    rng = np.random.default_rng(1)
    least = -np.mean([rng.normal(size=10).min() for _ in range(20_000)])
    assert abs(least - 1.54) < 0.02 and "1.54 standard deviations below the mean" in text
    errors = (probabilities("committee").argmax(axis=-1) != LABELS).sum(axis=1)
    below, spread = errors.mean() - errors.min(), errors.std(ddof=1)
    assert (round(below, 1), round(spread, 1), round(below / spread, 1)) == (5.3, 3.7, 1.4)
    assert "by 3.7 errors, and their best is 5.3 errors below their mean: 1.4 standard deviations" in text
    for heads, coins, sides, chance in ((13, 18, 1, 0.048), (20, 30, 2, 0.099)):
        tail = sides * sum(math.comb(coins, k) for k in range(heads, coins + 1)) / 2**coins
        assert round(tail, 3) == chance and f"a chance of {chance}" in text


def test_the_cost_of_the_chapter():
    text, _ = page("14")
    count = dict.fromkeys("""shallow conv-pool conv-pool-no-fc two-conv-pool tanh relu expanded fc300 fc1000
                          extra-fc-100 extra-fc-300 extra-fc-1000""".split(), 3) | {"dropout": 5}
    steps = hours = 0
    for name, times in count.items():
        settings = json.loads((ROOT / "data" / "runs" / f"{name}.json").read_text())["settings"]
        batches = settings["data"]["train"][0] // settings["mini_batch_size"]
        on_a_core = [run["seconds"] for run in runs(name) if "core" in run["device"]]
        steps += times * settings["epochs"] * batches / 1e6
        hours += times * min(on_a_core) / 3600
    assert (sum(count.values()), round(steps, 1), round(hours)) == (41, 36.8, 16)
    assert ("the chapter's 41 runs take 36.8 million steps: 16 hours on a core, at the pace of our fastest "
            "runs" in text)
    sweeps = [path.stem for path in (ROOT / "data" / "runs").glob("*-l2-*.json")]
    assert len(sweeps) == 8 + 8 and round(3 * 0.3 * len(sweeps), 1) == 14.4
    assert "two sweeps of λ" in text and "add up to 14.4 million steps if each is run three times" in text
    together = [run["seconds"] for run in runs("committee-60000") if run["device"].startswith("NVIDIA H100")]
    alone = [run["seconds"] for run in runs("committee-60000") if "core" in run["device"]]
    assert 9 < min(alone) / min(together) < 11
    assert "ten runs together in about a tenth of the time that a CPU core takes for one" in text


def test_the_speed_of_relu():
    text, _ = page("14")

    def epochs(name):
        curve = np.mean([run["validation_accuracy"] for run in runs(name)[:3]], axis=0)
        return np.array([np.argmax(curve >= height) + 1 for height in (0.97, 0.98, 0.985, 0.9875)])

    best = {name: np.mean([run["validation_accuracy"] for run in runs(name)[:3]], axis=0)
            for name in ("two-conv-pool", "tanh", "relu")}
    assert np.argmax(best["relu"] >= 0.99) + 1 == 21 and best["relu"].max() >= 0.99
    assert max(best["two-conv-pool"].max(), best["tanh"].max()) < 0.99
    assert len(best["two-conv-pool"]) == 60 and 2.8 < 60 / 21
    assert "99.00 % ReLU reaches in 21 epochs, and the others never" in text
    assert ("between 1 and 3 up to 98.75 %, by the height at which one measures, and over 2.8 at 99.00 %, "
            "where sigmoids never arrive") in text
    sigmoid = epochs("two-conv-pool")
    assert np.round(sigmoid / epochs("relu"), 1).tolist() == [3, 1.3, 2, 1]
    assert np.round(sigmoid / epochs("tanh"), 2).tolist() == [3, 1, 1.6, 1.25]
    assert "ReLU is 3, 1.3, 2 and 1 times as fast as sigmoids, and tanh 3, 1, 1.6 and 1.25 times" in text


def test_mini_batches():
    text, _ = page("14")
    names = [f"{size}-rate-{rate}" for size, rate in ((1, 0.1), (1, 0.01), (10, 0.1), (100, 0.1), (100, 1),
                                                      (1000, 0.1), (1000, 10))]
    every = {name: runs(f"shallow-batch-{name}") for name in names}
    assert {len(three) for three in every.values()} == {3}
    after = {name: 100 * np.array([run["validation_accuracy"] for run in three])
             for name, three in every.items()}
    last = {name: f"{curves[:, -1].mean():.2f}" for name, curves in after.items()}
    assert [last[name] for name in names] == ["97.84", "97.82", "97.89", "96.05", "97.77", "90.71", "94.69"]
    for words in ("97.84 % and 97.89 % with 1 and 10 images, 96.05 % with 100, 90.71 % with 1,000",
                  "they do, too: 97.82, 97.89 and 97.77 %", "too large: 94.69 ± 0.87 %"):
        assert words in text
    assert after["10-rate-0.1"][:, -1].mean() - after["100-rate-1"][:, -1].mean() < 2 * np.hypot(
        *(after[name][:, -1].std(ddof=1) for name in ("10-rate-0.1", "100-rate-1")))

    third = [f"{after[name][:, 2].mean():.2f}" for name in ("1-rate-0.01", "10-rate-0.1", "100-rate-1")]
    assert third == ["95.68", "95.70", "95.68"]
    assert "come to the same after three epochs: 95.68, 95.70 and 95.68 %" in text
    assert abs(after["1-rate-0.1"][:, -1].mean() - after["1-rate-0.01"][:, -1].mean()) < 0.03
    assert "by then single images end at either rate alike" in text

    seconds = {}  # by size
    for name, three in every.items():
        seconds.setdefault(name.split("-")[0], []).extend(run["seconds"] / 30 for run in three)
    in_time = {name: after[name][:, int(3 * min(seconds["1"]) / min(seconds[name.split("-")[0]])) - 1].mean()
               for name in names}
    assert max(in_time, key=in_time.get) == "100-rate-1" and round(in_time["100-rate-1"], 2) == 97.43
    assert "100 images at the rate 1 lead, with 97.43 %" in text
    assert round(min(seconds["1"]) / min(seconds["100"])) == 4 and "about a quarter of the time" in text
    assert 9 < max(seconds["100"]) < 10 and "The seconds are rough" in text


def test_gradients():
    text, shown = page("14")
    rows = [line[18:].split("  ") for line in shown["through-training-chart"].splitlines()[1:5]]
    assert [[word.strip() for word in row if word.strip()] for row in rows] == [
        ["under 1 %", "over 1 %", "some"], ["under 1 %", "under 1 %", "no"],
        ["over 1 %", "over 1 %", "some"], ["over 1 %", "over 1 %", "much"]]
    assert "and they meet" in text and "With $x + g(x)$ it has learned much more" in text

    def lengths(cell, layers):
        lines = [line for line in shown[cell].splitlines()[1:] if line.strip() and "Figure" not in line]
        return [[float(length) for length in line.split()[-layers:]] for line in lines]

    (sigmoid, relu, he), (conv_sigmoid, conv_relu) = lengths("cell-07", 5), lengths("cell-10", 4)
    assert round((sigmoid[-1] / sigmoid[0]) ** 0.25) == 5 and 200 < sigmoid[-1] / sigmoid[0] < 1000
    assert "loses a factor of five at each layer" in text and "hundreds of times less" in text
    assert "of sigmoids, as long as they guess" in text.replace("> ", "")
    assert "After three epochs its front layers get out, all lines rise, and they meet (problem 1)" in text
    assert 1 < relu[-1] / relu[0] < 5 and max(he) < 1.5 * min(he) and "it is level" in text
    factors = [deep / front for front, deep in zip(conv_sigmoid, conv_sigmoid[1:])]
    assert (round(min(factors)), round(max(factors))) == (3, 6) and "a factor of three to six a layer" in text
    assert conv_relu[0] > conv_relu[-1] and "at least as much gradient as the last" in text
    tanh, small = lengths("tanh", 5)
    assert 1.8 < (tanh[-1] / tanh[0]) ** 0.25 < 2.3 and round(small[-1] / small[0], 1) == 2.3
    assert "a factor of about two at each layer" in text and "a factor of 2.3 over all five layers" in text


def test_normalised_gradients():
    text, shown = page("14")
    rows = [list(map(float, line.split())) for line in shown["normalised"].splitlines()[1:]]
    assert [row[0] for row in rows] == [20, 50] and all(row[1] < 1 for row in rows)
    assert round(rows[0][2]) == 25 and 10_000 < rows[1][2] < 20_000
    assert ("the first of 20 layers gets 25 times the last one's, the first of 50 over ten thousand times; "
            "without normalisation it gets less") in text


def test_the_first_sign():
    text, shown = page("14")
    assert [line.split(maxsplit=1)[1].strip() for line in shown["overfit-chart"].splitlines()[1:4]] == [
        "over a tenth        under two points", "all training images are read; the loss is least earlier",
        "under a tenth        under two points"]
    assert "and then rises by more than a tenth" in text and "the validation accuracy never tells" in text
    assert "Its validation loss stops falling and does not rise as much" in text


def test_six_networks():
    text, shown = page("09")
    names = ("expanded", "fc300", "fc1000", "extra-fc-100", "extra-fc-300", "extra-fc-1000")
    first, last = ({name: np.mean([run["loss"][epoch] for run in runs(name)]) for name in names}
                   for epoch in (0, -1))
    assert max(last.values()) < 0.0001 and "all six have a loss below 0.0001" in text
    assert first["fc1000"] < first["fc300"] < first["expanded"]
    assert first["extra-fc-1000"] < first["extra-fc-300"] < first["extra-fc-100"]
    validation = {name: np.mean([max(run["validation_accuracy"]) for run in runs(name)]) for name in names}
    assert max(validation, key=validation.get) == "expanded"
    assert abs(max(validation.values()) - min(validation.values()) - 0.01 / 8) < 1e-6
    assert "chosen: expanded, which reads 99.36 %" in shown["chosen"] and "promises 99.36 %" in text
    assert "the six lie within an eighth of a point by validation" in text
    gains = [list(map(float, line.replace(",", "").split()[1::4])) for line in shown["cell-20"].splitlines()]
    assert [len(gain) for gain in gains] == [2] * 5 and all(abs(gain) < error for gain, error in gains)
    assert max(abs(gain) for gain, _ in gains) == 0.09 and {error for _, error in gains} == {0.10}
    said = text.replace("> ", "")  # of the box
    assert "lie within 0.09 points of the one with 100 neurons, at a standard error of 0.10" in said
    assert "No difference reaches even one standard error" in text
    two = 1 / (2 * scipy.stats.t.sf(2, 3))  # by luck, with three degrees of freedom
    assert "from 5 runs of 2 networks" in shown["cell-16"] and round(two) == 7
    assert ("one of seven while $s$ has three degrees of freedom: ours comes from five runs of two networks. "
            "For one of twenty it then takes 3.2") in text and round(scipy.stats.t.ppf(0.975, 3), 1) == 3.2
    by_luck, claimed = (float(line.split()[-count]) for line, count in zip(
        shown["cell-18"].splitlines()[2:], (2, 1), strict=True))
    assert by_luck > claimed == 0.11
    assert "six equally good networks lie farther apart on average than the chapter's six do" in text
    assert "of three and three equal runs luck does that once in ten" in text
    assert 2 / math.comb(6, 3) == 1 / 10


def test_what_dropout_gains():
    """By the spread of the page on wider and deeper layers, ours and the chapter's."""
    (_, shown), (text, _) = page("09"), page("10")
    names = ("dropout", "expanded", "extra-fc-1000")
    mean = {name: 100 * tool("results").recorded(name).test_accuracies.mean() for name in names}
    count = {name: len(runs(name)) for name in names}
    spread = max(float(number) for number in re.findall(r"(\d\.\d+) points", shown["cell-16"]))

    def error(m, n):
        return spread * (1 / m + 1 / n)**0.5

    against = {name: (mean["dropout"] - mean[name], error(count["dropout"], count[name]))
               for name in names[1:]}
    assert [f"{gain:.2f}, {error:.2f}" for gain, error in against.values()] == ["0.21, 0.07", "0.15, 0.09"]
    assert 2.9 < np.divide(*against["expanded"]) < 3.1 and np.divide(*against["extra-fc-1000"]) < 2
    assert list(count.values()) == [5, 2, 1] and f"{error(1, 1):.2f}" == "0.12" and 0.23 < 2 * error(1, 1)
    freedom = len(runs("relu")[:3]) + count["expanded"] - 2  # of the spread
    assert freedom == 3 and round(scipy.stats.t.ppf(0.975, freedom), 1) == 3.2
    assert [round(1 / (2 * scipy.stats.t.sf(gain / error, freedom))) for gain, error in against.values()] == [
        18, 5]
    for words in ("0.15 points, at a standard error of 0.09: 99.57 % of the test digits in the mean of five",
                  "asks for 3.2 standard errors, since the spread comes from five runs of two networks. Our "
                  "gain of 0.21 points over 100 neurons is three of 0.07, just short of it: luck does as "
                  "much in one case of 18",
                  "That of 0.15 over the same shape without dropout, which has one run, is less than two of "
                  "0.09 (one case of five)",
                  "as a difference of single runs, neither reaches two of 0.12"):
        assert words in text.replace("> ", ""), words


def test_adam_under_the_map():
    text, shown = page("10")
    differences = [float(line.split()[-1]) for line in shown["adam-by-hand"].splitlines()]
    assert differences[0] == 0 and min(differences[1:]) > 0.1
    assert "With the one factor the two forms stay the same network over 500 steps" in text


def test_masks_weighted_alike():
    text, shown = page("10")
    rows = {float(rate): tuple(map(float, figures)) for rate, *figures in re.findall(
        r"^p = (\d\.\d): .* (\d\.\d+), alike (\d\.\d+)$", shown["masks-alike"], re.M)}
    assert list(rows) == [0.2, 0.5, 0.8] and all(weighted == 0 for weighted, _ in rows.values())
    assert rows[0.5][1] == 0 and min(rows[0.2][1], rows[0.8][1]) > 0.01
    assert "the second figures are zero at $p = 0.5$ only" in text


def test_ten_copies():
    text, shown = page("08")
    once, _, *rows = shown["ask-ten-times"].splitlines()
    rows = [[int(number) for number in row.split()[-3:]] for row in rows]
    assert once == "asked once: 14 of 1000 misread" and (min(rows)[0], max(rows)[0]) == (10, 15)
    assert [row[0] for row in rows] == [14 - fixed + new for _, fixed, new in rows]
    assert min(rows) == rows[1] == [10, 4, 0] and rows[2] == [15, 4, 5]
    assert "misreads 14 of 1,000 digits; asked with ten copies, 10 to 15" in text
    assert ("fix four digits and break none (four coins all fall on one side, either one, once in eight "
            "times)" in text.replace("[coins](11-ensemble.ipynb)", "coins") and 2 * 0.5**4 == 1 / 8)


def test_sequences():
    text, shown = page("15")
    after_five = {name: 100 * np.array([run["validation_accuracy"][4] for run in runs(f"lstm-{name}")])
                  for name in ("rows", "columns", "shuffled-rows")}
    means = {name: f"{values.mean():.2f} %" for name, values in after_five.items()}
    assert means == {"rows": "97.93 %", "columns": "97.85 %", "shuffled-rows": "95.97 %"}
    assert np.ptp(after_five["rows"]) > after_five["rows"].mean() - after_five["columns"].mean() > 0
    assert after_five["rows"].min() - after_five["shuffled-rows"].max() > 1.5
    for words in ("97.85 % in the mean and the three by rows 97.93 %", "Runs of one kind lie farther apart",
                  "95.97 % in the mean, two points less"):
        assert words in text


def test_covered_digits():
    text, shown = page("15")

    def shares(line):
        return [int(share.rstrip("%")) for share in line.split()[-7:]]

    (_, over_paper, at_once, knows), (_, trained, loss) = (
        shown[name].strip().splitlines() for name in ("covered", "early-answers"))
    over_paper, at_once, knows, trained = map(shares, (over_paper, at_once, knows, trained))
    assert (over_paper[3], at_once[3], knows[3]) == (50, 7, 90) and loss.endswith("5 epochs: 0.55")
    assert (trained[1], trained[3], trained[6], over_paper[6]) == (61, 93, 97, 98)
    box = "its own answer is right for 7 % of them, and a probe reads 90 % off the same state"
    assert box in text.replace("> ", "")
    assert min(np.subtract(trained, knows)) == -1 and "reads 93 percent, after 8 rows 61" in text
    for words in ("reads half of the digits", "reads one in fourteen, although a probe reads nine of ten",
                  "It pays with a point on whole digits", "The training loss stays at 0.55"):
        assert words in text


def test_without_gates():
    text, shown = page("15")
    fast, slow = (np.array([run["validation_accuracy"] for run in runs(f"rnn-rows-rate-{rate}")])
                  for rate in (0.5, 0.05))
    assert fast.shape == (3, 5) and fast.max() < 0.12 and "At 0.5 all three runs guess" in text
    assert 0.9 < slow[:, -1].min() and slow[:, -1].max() < 0.935
    assert round(100 * slow.min()) == 61 and (slow[:, 1:] < 0.8).sum() == 1
    assert "one of them falls back to 61 on its way" in text
    assert min(run["validation_accuracy"][4] for run in runs("lstm-rows")) > 0.97


def test_problems_of_your_digits():
    text, shown = page("20")
    boxed, filled = (np.array(line.split()[1:], int) for line in shown["proportions"].splitlines()[1:3])
    assert (filled[1], boxed[1]) == (36, 85) and "36 percent of them are read, 85 with" in text
    others = np.delete(filled - boxed, 1)
    assert others.min() == others[-1] == -3 and np.abs(others[:-1]).max() == 2
    assert "The nines lose three points, and no other digit changes by more than two" in text
    assert shown["half-a-pixel"].split()[-2:] == ["14.00", "14.01"]
    assert "At 14.00 down and 14.01 across" in text


def test_depth():
    text, shown = page("17")
    ((deep,), (wide,)) = (runs(f"{shape}-rate-0.03") for shape in ("five-layers", "one-layer"))
    assert [f"{100 * run['validation_accuracy'][-1]:.2f} %" for run in (deep, wide)] == ["97.70 %", "96.70 %"]
    assert [round(run["loss"][-1], 2) for run in (deep, wide)] == [0.05, 0.11]
    assert "the five layers read 97.70 % of the validation digits, the one layer 96.70 %, a point" in text
    assert "Its last training loss says why: 0.11 against 0.05" in text
