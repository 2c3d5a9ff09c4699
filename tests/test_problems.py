"""What the problems' answers say, held to what their cells show: outputs by `make strict`, words here."""

import inspect
import json
import math
import pathlib
import re

import h5py
import numpy as np
import pytest
import scipy.stats

import nets
from nets.result import Result

ROOT = pathlib.Path(__file__).resolve().parent.parent


def page(number):
    """A page's words, and what its code cells show, by their names."""
    (path,) = (ROOT / "book").glob(f"{number}-*.ipynb")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    prose = " ".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return " ".join(prose.split()), {
        cell["id"]: "".join("".join(output.get("text", "")) for output in cell["outputs"])
        for cell in cells if cell["cell_type"] == "code"}


def runs(name, part):
    """An array (runs, epochs): what the ledger has of this experiment, accuracies in digits of 10,000."""
    record = json.loads((ROOT / "data" / "runs" / f"{name}.json").read_text())
    return (1 if part == "loss" else 1e4) * np.array([run[part] for run in record["runs"]])


def accuracies(name, count=3):
    """The test accuracies of an experiment's first runs, as fractions; most pages show three."""
    record = json.loads((ROOT / "data" / "runs" / f"{name}.json").read_text())
    return Result(name, record["settings"], record["runs"][:count], []).test_accuracies


@pytest.mark.parametrize("number", [f"{number:02}" for number in range(22)])
def test_problems_have_a_level_and_a_time(number):
    titles = re.findall(r"\*\*\d\. [^*]+\*\* (\S+ \S+ \S+)", page(number)[0].split("## Problems")[1])
    assert titles and all(re.match(r"\(★{1,3}, \d+ min", title) for title in titles), titles


def test_problems_of_concepts():
    words, shown = page("00")
    assert "(5 × 5 + 1) =    520\n" in shown["cell-28"] and "30    = 23,550\n" in shown["cell-28"]
    assert "So 20 filters take 520 > learned numbers" in words and "to everything takes 23,550" in words
    poolings = [float(share) for share in re.findall(r"([\d.]+)%", page("02")[1]["windows"])]
    apart = np.ptp(runs("conv-pool-no-fc", "validation_accuracy").max(axis=1)) / 100
    assert max(abs(poolings[which] - poolings[0]) for which in (4, 5)) < apart
    assert "problem 3 of [the first network](02-" in words and ") no difference exceeds luck" in words
    assert shown["cell-41"].startswith(f"outputs [{' '.join(10 * ['0.1'])}]\n")
    assert "in all 289,630" in page("02")[1]["cell-05"] and "has 289,630." in words
    assert "All ten outputs are 0.1" in words and "agrees with our NumPy: True" in shown["cell-43"]
    assert re.findall(r"(\[.*?\])", shown["places"]) == [row for pair in ([26, 13], [24, 12], [22, 11])
                                                          for row in 2 * [str(pair)]]
    assert "by 180°: True" in shown["dot"] and "shows the filter turned by 180°" in words
    rows = re.findall(r"(True|False) +(\d\.\d+) +(\d\.\d+)$", shown["cell-47"], re.M)
    assert [moved for moved, *_ in rows] == 3 * ["True"]
    assert "moves by one neuron and does not change" in words
    assert all(0.65 < float(pooled) / float(change) < 0.9 for _, change, pooled in rows)
    assert "change less than the feature maps themselves, but not by a great deal" in words


def test_problems_of_back_propagation():
    words, shown = page("13")
    assert shown["as-keras"].count("as Keras: True\n") == 4
    assert "All four gradients are those of Keras" in words
    assert shown["way-down"].count("as Keras: True\n") == 2
    cells = json.loads((ROOT / "book" / "13-back-propagation.ipynb").read_text("utf-8"))["cells"]
    (code,) = ("".join(cell["source"]) for cell in cells if cell["id"] == "as-keras")
    assert "rtol=0, atol=1e-6" in code and "those of Keras, to a millionth" in words
    assert re.findall(r"(1e-\d+) .*(yes|no) .*(yes|no)", shown["differences"]) == [
        ("1e-02", "no", "no"), ("1e-04", "yes", "yes"), ("1e-07", "yes", "no"), ("1e-12", "no", "no")]
    assert "Of these steps $10^{-4}$ is best: it gives the derivative to a billionth" in words
    z, h = np.arange(3.0), 1e-6 * np.eye(3)
    slopes = [(np.log(np.exp(z + d).sum()) - np.log(np.exp(z - d).sum())) / 2e-6 for d in h]
    assert np.allclose(slopes, np.exp(z) / np.exp(z).sum())
    assert "its derivative is $\\delta^3_i = -y_i" in words
    assert 3 * 26 + 10 * (3 * 144 + 1) == 4408 and "each of the 4,408 parameters" in words
    assert 24 * 24 == 576 and "over the 576 places of a digit, of which at most 144" in words


def test_problems_of_the_second_convolutional_layer():
    words, shown = page("03")
    pairs = [[float(number) for number in line.split()] for line in shown["cell-20"].splitlines()[1:]]
    assert len(pairs) == 3 and all(won > lost for _, _, won, lost, *_ in pairs)
    assert "In each pair the second layer wins more digits than it loses, but only in the last by" in words
    assert "where one layer has 98.84 %, in > that of five" in words
    for _, _, won, lost, _, chance in pairs:
        assert abs(scipy.stats.binomtest(int(won), int(won + lost)).pvalue - chance) < 5e-4
    assert [round(1 / chance) for *_, chance in pairs] == [19, 5, 1000]
    assert "one in a thousand for the last pair, one in nineteen for the first and one in five" in words
    assert [chance < 1 / 20 / 3 for *_, chance in pairs] == [False, False, True]
    assert "luck is one in twenty. Three pairs have three chances" in words and "third: one in sixty" in words
    for sides, rows, unseen in ((" → 24 → 10 → 3", 20, 0), (" → 13 → 5 → 1", 22, 6)):
        numbers = [int(side) for side in sides.split(" → ")[1:]]
        assert f"sides {numbers} a neuron sees {rows} rows; unseen by all: {unseen}" in shown["third-layer"]
        assert f"28{sides}" in words
    assert "with pooling 20" in words and "22$ pixels. The last six rows" in words
    assert "1,633,000 multiplications; with one convolutional layer 577,000" in shown["multiplications"]
    assert "In all 1,633,000" in words and "it is 288,000 + 288,000 + 1,000 = 577,000" in words
    assert 2.5 < 1633 / 577 < 3 and "nearly three times the work" in words
    assert 0.75 < 1280 / 1633 < 0.8 and "four fifths of it in the second layer" in words
    assert "the same True" in shown["order"] and "change by 0.06" in shown["order"]


def test_problems_of_the_expanded_data():
    words, shown = page("07")
    assert "1,250,000 images, 125,000 mini-batches, 0.98 gigabytes" in shown["copies"]
    assert "$5 \\times 5 = 25$ positions make 1,250,000 images, nearly a gigabyte" in words
    assert "and 125,000 steps an epoch" in words

    relu, expanded = (runs(name, "test_accuracy")[:3] for name in ("relu", "expanded"))
    assert round(expanded[:, 11].mean() - relu[:, 59].mean()) == 4 < np.ptp(relu[:, 59])
    assert "the two are four digits in 10,000 apart, less than runs of one network are" in words
    assert np.ptp(relu[:, 29:].mean(axis=0)) < 3
    assert "from epoch 30 on the mean of `relu` stays within three digits" in words
    assert round(expanded[:, 59].mean() - expanded[:, 11].mean()) == 11
    assert "the last 48 epochs are worth eleven digits more" in words
    gain, lead = np.mean(accuracies("expanded")) - np.mean(accuracies("relu")), np.ptp(accuracies("relu"))
    assert round(1e4 * gain) == 11 < 1e4 * lead
    assert f"{100 * gain:.2f}" == "0.11" and len(expanded) == 2
    assert ("We gain 11 in the mean (0.11 points before rounding), fewer than lie between the best and the "
            "worst run of `relu`, although of `expanded` the ledger has two runs only" in words
            and 1 / 6 < 14 / 77 < 1 / 5 and "gains 14 digits in 10,000, nearly one error in five" in words)
    loss = [runs(name, "loss")[:3] for name in ("relu", "expanded")]
    below = [each * (np.argmax(of < 1e-3, axis=1) + 1) for each, of in zip((5_000, 25_000), loss)]
    assert max(below[0]) <= 100_000 and min(below[1]) > 500_000
    assert "falls below a thousandth within 100,000 steps" in words and "only after 500,000 steps" in words
    assert max(loss[1][:, -1]) < min(loss[0][:, -1]) / 5 and "and ends lower still" in words
    assert 1e-3 < loss[1][:, 10:20].min() < loss[1][:, 10:20].max() < 5e-3
    assert "That of `expanded` hovers at some thousandths" in words


def test_moved_digits_are_what_their_page_says():
    words, shown = page("07")
    expanded, shallow = shown["moves"].split("shallow")
    relu, expanded, shallow = ([[float(share) for share in re.findall(r"([\d.]+)%", line)]
                                for line in table.splitlines() if "pixel" in line]
                               for table in (shown["cell-31"], expanded, shallow))
    for table, pixels in ((expanded, 1), (expanded, 2), (relu, 2), (expanded, 3), (relu, 3), (shallow, 3)):
        assert f"{min(table[pixels]):.2f} to {max(table[pixels]):.2f} %" in words, (pixels, table[pixels])
    assert (round(np.mean(expanded[2])), round(np.mean(relu[2]))) == (99, 95)
    assert "moved by two pixels a run reads about 99 %, without the copies about 95 %" in words
    assert [round(runs(name, "test_accuracy")[0, -1]) for name in ("relu", "expanded")] == [9931, 9931]
    assert ("Of the whole test set, centred as it is, these two runs both read 99.31 % (the quarter in the "
            f"tables is easier: {relu[0][0]} and {expanded[0][0]} %)") in words
    assert min(relu[0] + expanded[0]) > 99.31
    means = " against ".join(f"{(100 * accuracies(name)).mean():.2f} %" for name in ("expanded", "relu"))
    assert f"{means}, the means of two and three > runs" in words and len(accuracies("expanded")) == 2
    assert round(np.diff([accuracies(name).mean() for name in ("relu", "expanded")])[0], 3) == 0.001
    assert "the copies win nothing there; in the means of the box," in words and "epoch, a tenth" in words
    second = [line.split()[2:] for line in shown["cell-29"].splitlines() if line.startswith("layer 2 ")][1]
    assert second[0] == second[2] == "0.35" and "A move by three is one short of four, hence 0.35" in words
    assert min(np.subtract(expanded[2], relu[2])) > 2.5 and "differ by 2.5 points and more" in words
    assert min(np.subtract(relu[3], shallow[3])) > 20 and "over twenty points fewer than `relu`" in words
    assert 0.15 < 1 - np.mean(relu[3]) / 99.31 < 0.25 and 50 < np.mean(shallow[3]) < 60  # the picture's words


def test_problems_of_the_filters():
    words, shown = page("12")
    assert "\n6 filters never answer, 12 answer on more than a tenth of all windows\n" in shown["cell-13"]
    rows = [line.split() for line in shown["cell-13"].splitlines()[1:21]]
    assert [row[-1] for row in rows].count("dead") == 6
    assert all((row[1], row[2]) == ("1.00", row[4]) for row in rows if row[-1] == "dead")
    assert sum(row[1] == "1.00" for row in rows if row[-1] != "dead") == 2 and rows[9][-1] == "0.000"
    for said in ("six of our twenty are dead", "Six of the twenty filters never answer",
                 "Two more answer so rarely", "filter 9's 0.000 is rounded"):
        assert said in words
    assert "and these were so before the first step (problem 1)" in words  # see the rows of `woken`
    learn = (ROOT / "book" / "learn.md").read_text("utf-8")
    assert "network six [filters](12-filters.ipynb) are dead before training begins" in learn
    with h5py.File(ROOT / "data" / "runs" / "relu.weights.h5") as weights:
        kernel = weights["layers/conv_pool/vars/0"][:, :, 0]
    for f, sideways, sign in ((11, False, 1), (16, False, -1), (3, True, 1), (18, True, -1)):
        turned = kernel[..., f].T if sideways else kernel[..., f]
        most, other = (of[3:].mean() - of[:2].mean() for of in (turned, turned.T))
        assert sign * most > 2 * abs(other), f
    assert "upper edges (map 11), lower edges (16), left sides (3), right sides (18)" in words
    alone, *left = map(float, re.findall(r"length × (\d\.\d{4})", shown["cell-15"]))
    assert len(left) == 6 and max(abs(np.subtract(left, alone))) < 0.001
    assert f"multiplied by {alone}" in words and "agree to within a thousandth" in words
    assert re.findall(r"(\d+) +(\d+)$", shown["woken"], re.M) == [("6", "6"), ("0", "0")]
    assert ("with He's start no filter is dead, neither before training nor after it, where the "
            "chapter's start leaves six of the twenty dead for good") in words
    assert "the same answers: True" in shown["ten-times"]
    assert "0 of 6 dead filters could be woken" in shown["best-sums"]
    assert "It wakes none of the six dead filters" in words
    (least, most), (dead, _) = re.findall(r" (\d\.\d+) (\d\.\d+)$", shown["slopes"], re.M)
    assert (least, most, dead) == ("0.046", "0.250", "0.000") and round(0.250 / 0.046) == 5
    assert f"is {least}, a fifth of the {most} that a sigmoid can have" in words


def test_problems_of_the_shallow_network():
    words, shown = page("01")
    every = 100 * accuracies("shallow", 9)
    assert f"{every.mean():.2f} % of the test digits, in the mean of six runs" in words and len(every) == 6
    assert min(every) < 97.80 < 97.90 < max(every) and "Our runs lie around both" in words
    assert round(100 * (0.98 * 0.02 / 10_000) ** 0.5, 2) == 0.14 and "or 0.14 of a point" in words
    assert "0.846; a million trials give 0.846" in shown["luck"] and "\\approx 0.85$" in words
    assert "7,850 parameters" in shown["parameters"] and "has 7,850 parameters, a tenth of" in words
    few, shallow = (accuracies(name, 9) for name in ("softmax-only", "shallow"))
    missed, before = (100 * (1 - result.mean()) for result in (few, shallow))
    assert f"misreads {missed:.1f} % of the test digits" in words and f"misreads {before:.1f} %: the" in words
    assert 0.7 < 1 - before / missed < 0.75 and "nearly three errors of four" in words
    assert {round(loss, 2) for loss in runs("softmax-only", "loss")[:, -1]} == {0.25}
    assert "the loss on the training images stays at 0.25" in words
    mixed, plain = (np.sort(100 * accuracies(name, 9)) for name in ("shallow-shuffled", "shallow"))
    assert (len(mixed), len(plain)) == (3, 6)
    assert f"The three runs with shuffled pixels read from {mixed[0]:.2f} to {mixed[-1]:.2f} %" in words
    (luck,) = re.findall(r"as far from even by luck: ([\d.]+)", shown["shuffled"])
    exact = scipy.stats.permutation_test(
        (mixed, plain), lambda x, y: abs(scipy.stats.mannwhitneyu(x, y).statistic - 9),
        n_resamples=np.inf, alternative="greater").pvalue
    assert abs(exact - float(luck)) < 5e-4 and round(1 / exact) == 8
    assert "luck alone orders nine equal runs as far from even as this in one case of eight" in words
    for values in (mixed, plain):
        assert " ".join(f"{value:.2f}%" for value in values) in shown["shuffled"]
    assert f"The six without read from {plain[0]:.2f} to {plain[-1]:.2f} %. By their ranks" in words


def test_problems_of_the_code():
    """What stopping early would have saved and cost, over all runs of the chapter's networks."""
    words, shown = page("21")
    rows = [line.split() for line in shown["early-stopping"].splitlines()[1:-1]]
    total = shown["early-stopping"].splitlines()[-1].split()[4:]
    assert total[0].rstrip("%") in re.search(r"saved (\d+) percent of the epochs and lost", words).groups()
    for column, (saved, mean), said in ((3, total[:2], "five"), (5, total[2:], "ten")):
        worst = max(float(row[column]) for row in rows)
        assert re.search(rf"a patience of {said}.*?{saved[:-1]} percent.*?{mean} points.*?at worst {worst}",
                         words)
    of = {name: [row for row in rows if row[0] == name] for name in ("shallow", "expanded")}
    five, ten = (np.mean([float(row[column]) for row in of["shallow"]]) for column in (3, 5))
    assert f"loses most: {five:.2f} and {ten:.2f} points" in words
    assert [row[4] for row in of["expanded"]] == ["22", "23"]
    assert re.findall(r"(\d+)\.\d+%", shown["accuracy"]) == ["100", "99", "99"]
    assert "reads all of its training images, and of the others 99 in a hundred" in words
    assert "`expanded` stops after 22 and 23 of 60 epochs" in words
    many = [row for row in rows if row[0] in ("expanded", "fc300", "fc1000") or row[0].startswith("extra-fc")]
    five, ten = (np.mean([float(row[column]) for row in many]) for column in (3, 5))
    assert len(many) == 7 and f"lose {ten:.2f} points in the mean with patience ten" in words
    assert f"but {five:.2f} with five: `extra-fc-300` stops after epoch 8 and loses 32 digits" in words
    assert ["extra-fc-300", "60", "8", "0.32"] in [row[:4] for row in rows]
    relu = [runs("relu", f"{part}_accuracy")[0, -1] / 1e4 for part in ("validation", "test")]
    assert [f"{share:.2%}" for share in relu] == re.findall(r"\d+\.\d+%", shown["accuracy"])[1:]
    assert "run 0 after its last epoch" in words


def test_problems_of_the_first_convolutional_network():
    words, shown = page("02")
    shallow, one_layer = (runs(name, "test_accuracy") for name in ("shallow", "conv-pool"))
    assert (one_layer.min(axis=0) > shallow.max(axis=0)).all()
    assert "is better than the shallow one in every run and after every epoch" in words
    assert (len(shallow), len(one_layer)) == (6, 5)
    before, after = (10_000 - 1e4 * accuracies(name, 9).mean() for name in ("shallow", "conv-pool"))
    assert 0.4 < 1 - after / before < 0.5 and "More than four in ten" in words
    for name, said in (("conv-pool", "98.84"), ("shallow", "97.86")):
        assert f"{100 * accuracies(name, 9).mean():.2f}" == said and f"{said} %" in words
    assert "98.84 % of the test digits are read, in the mean of five runs" in words
    assert "without the layer, > in the mean of six" in words
    assert "tenth of the one above" in words and round(289_630 / (520 + 28_810)) == 10
    assert "29,330" in shown["windows"] and "115,730" in shown["windows"] and round(115_730 / 29_330) == 4
    shuffled, windows = (re.findall(r"([\d.]+)%", shown[cell]) for cell in ("shuffled", "windows"))
    assert shuffled == ["97.34", "98.43", "97.32"]
    for share in ("97.32 % of the validation digits", "the shallow network's 97.34 %", "it reads 98.43 %"):
        assert share in words
    assert windows == ["98.43", "97.57", "98.67", "97.98", "98.60", "98.31"]
    assert ("They choose windows of 7 × 7, with 98.67 %, before L2 pooling, with 98.60 %, and both before "
            "5 × 5 with max-pooling, with 98.43 %. Windows of 3 × 3 are the worst, with 97.57 %") in words
    assert 0.4 < 98.43 - 97.98 < 0.5 and "A stride of 2 costs half a point and saves three" in words
    assert 7_730 / 29_330 < 0.27 and "parameters of four" in words
    best = runs("conv-pool-no-fc", "validation_accuracy").max(axis=1)
    assert round(np.ptp(best)) == 23 and "differ by 0.23 points at the best of all sixty" in words
    assert len(best) == 5 and "Five runs of 5 × 5 with max-pooling" in words
    plain, *others = map(float, windows)
    assert [abs(other - plain) > 0.23 for other in others] == [True, True, True, False, False]
    assert round(98.67 - plain, 2) == 0.24
    assert "the windows of 3 × 3 and the stride stand apart from it" in words
    assert "those of 7 × 7 only just, by 0.24, and the two poolings do not" in words
    defaults = list(inspect.signature(nets.ConvPool).parameters.values())[1:6]
    said = ", ".join(f"{each.name}={json.dumps(each.default)}" for each in defaults)
    assert f"`ConvPool(20)` is short for `ConvPool(20, {said})`" in words


def test_tanh_is_what_its_page_says():
    words, shown = page("04")
    names = ("two-conv-pool", "sigmoid-rate-0.3", "sigmoid-rate-1", "sigmoid-rate-3", "sigmoid-lowered",
             "sigmoid-steep", "sigmoid-centred", "tanh")
    each = {name: runs(name, "validation_accuracy")[:3, :2] / 100 for name in names}
    lines = shown["trials-table"].splitlines()[1:]
    assert [[float(figure) for figure in re.findall(r"\d+\.\d\d", line)] for line in lines[:-1]] == [
        [round(figure, 2) for epoch in each[name].T for figure in (*epoch, epoch.mean())] for name in names]
    first, thrice, tenfold, most = (each[name][0] for name in names[:4])
    plain, lowered, steep, centred, tanh = (each[name].mean(axis=0) for name in names[:1] + names[4:])
    assert (f"it reads {tanh[0]:.2f} % of the validation digits in the mean of three runs, the sigmoid "
            f"{plain[0]:.2f} %") in words.replace("> ", "")
    assert round(thrice[0] - first[0]) == 3 and "Three times the chapter's gains three points" in words
    assert tenfold[0] < 12 < 90 < tenfold[1] and "Ten times is under way only in the second epoch" in words
    assert max(most) < 12 and "at thirty times the network guesses in both" in words
    gain = tanh[0] - plain[0]
    assert round(2 * gain) == 11 and round(lowered[0] - plain[0]) == round(steep[0] - plain[0]) == 4
    assert f"It reads {lowered[0]:.2f} % after one epoch, and gains four of tanh's five and a half" in words
    assert f"with the slope of tanh and outputs around 1, reads {steep[0]:.2f} %, in runs two" in words
    assert round(np.ptp(each["sigmoid-steep"][:, 0])) == 2
    assert abs(centred[0] - tanh[0]) < 0.2 and "half the slope of tanh, reads as much as tanh" in words
    second = [lowered[1], steep[1], centred[1], tanh[1]]
    assert max(second) - plain[1] < 1.5 and "a point and a half behind at most" in words
    assert min(each["sigmoid-centred"][:, 1]) > max(max(each[name][:, 1]) for name in names[4:6] + names[7:])
    assert "After the second epoch $2\\sigma(z) - 1$ leads in every run" in words
    assert np.ptp([second[0], second[1], second[3]]) < 0.2 and "other three lie within 0.2 points" in words
    losses = [np.mean(runs(name, "loss")[:3, 0]) for name in ("two-conv-pool", "tanh")]
    assert lines[-1] == "mean loss in epoch 1: σ(z) {:.2f}, tanh(z) {:.2f}".format(*losses)
    assert 0.7 < losses[0] / math.log(10) and "it guessed for most of the first epoch" in words
    apart = [round(100 * spread) for spread in np.ptp(each["two-conv-pool"], axis=0)]
    assert apart == [229, 43] and "lie two points apart after one epoch, and half a point after two" in words
    assert 5 < gain < 6 and "After one epoch the sigmoid was over five points behind tanh" in words
    for name, start in (("tanh", "they read"), ("two-conv-pool", "and")):
        values = 100 * accuracies(name)
        assert f"{start} {values.mean():.2f} ± {values.std(ddof=1):.2f} %" in words
    rates = re.findall(r"(sigmoid|tanh) .* ([\d.]+)%", shown["deep"])
    assert [test for name, test in rates if name == "sigmoid"] == 3 * ["10.28"]
    assert [test for name, test in rates if name == "tanh"] == ["97.49", "97.59", "91.62"]
    assert "still guesses, at each of three learning rates; with tanh it reads 97.59 %" in words
    assert "with the best of three rates and in a single run" in words


def test_relu_is_what_its_page_says():
    words, shown = page("05")
    relu, sigmoid = (100 * accuracies(name) for name in ("relu", "two-conv-pool"))
    read = [f"{values.mean():.2f} ± {values.std(ddof=1):.2f} %" for values in (relu, sigmoid)]
    assert round(10 * (relu.mean() - sigmoid.mean())) == 2
    assert "Better by two tenths of a point" in words
    assert f"{read[0]} of the test digits against {read[1]}" in words
    assert 15 < 100 * (relu.mean() - sigmoid.mean()) < 21 and "by about the 17 digits in 10,000" in words
    best = runs("relu", "validation_accuracy")[:3].max(axis=1)
    assert np.ptp(best) < 3.5 and relu.argmin() == best.argmax()
    assert "picks the lowest of our three" in words and "that differ by three digits in 10,000" in words
    assert re.search(r"ConvPool +25 +125 ", shown["cell-27"]) and "/ 4 = 125$" in words
    dead = [re.findall(r": (\d+) of", shown[cell]) for cell in ("cell-25", "he-table")]
    assert dead == [["6", "2", "0"], ["0", "0", "0"]]
    assert "Six of the first layer's twenty filters are dead" in words
    assert "six of the first layer's filters and two of the second's never answer after training" in words

    assert re.findall(r"of random cells (\d+)% differ, by ([\d.]+)", shown["silu"]) == [("3", "0.10")]
    assert "3 percent differ, by 0.10 in the mean" in words


def test_regularisation_is_what_its_page_says():
    words, shown = page("06")
    assert re.findall(r"all (\d+) runs with λ up to 1", shown["cell-23"]) == ["9", "12"]
    chosen = re.findall(r"best by validation: λ = ([\d.]+);", shown["cell-23"])
    assert chosen == ["0.1", "0"] and "The λ chosen for ReLU, 0, reads fewer test digits" in words
    assert math.comb(12, 2) == 66 and "Two named runs of twelve come last by luck once in 66 cases" in words
    assert round(0.1 / 0.03) == 3 and "makes λ act three times as fast on it" in words
    assert round(math.exp(-0.03 * 0.1 * 60), 2) == 0.84 and "this makes 0.84 after 60 epochs" in words
    assert round(1 / math.exp(-0.03 * 100)) == 20
    assert "With $\\lambda = 100$ a single epoch leaves a twentieth" in words
    for sentence in ("of each network differ by less than a quarter of a point",  # see test_book.py
                     "all ReLU runs but two of twelve read more digits than every sigmoid run",
                     "Both ReLU runs without λ read fewer test digits than the ten others up to λ = 1",
                     "on the validation digits only one of the ten beats these two",
                     "On the test digits they are ahead, too, with λ; "
                     "without, the two ReLU runs are not ahead of the three sigmoid runs",
                     "λ = 10 costs the sigmoid network more than a point and ReLU nothing to speak of",
                     "With 100 ReLU loses two points, and the sigmoid network learns nothing"):
        assert sentence in words

    assert "digits: 1e-05 2e-06" in shown["penalty"]
    assert "0.00001 with 5,000 mini-batches in an epoch, 0.000002 with 25,000" in words
    free, light, relu, light_relu = (runs(name, "loss")[0, -1] for name in (
        "two-conv-pool", "sigmoid-l2-1", "relu-l2-0", "relu-l2-1"))
    assert [round(factor, -1) for factor in (light / free, light_relu / relu)] == [40, 140]
    assert "forty times as high with sigmoids, and over a hundred times with ReLU" in words
    assert round(light, 2) == 0.03 and "a loss of 0.03 gains them none" in words


def test_so_many_runs_see_five_digits():
    """The power of a t-test, two-sided at 5 percent, for two times n runs with a spread of the difference."""
    def power(n):
        least, apart = scipy.stats.t.ppf(0.975, 2 * n - 2), np.sqrt(n / 2)
        return scipy.stats.nct.sf(least, 2 * n - 2, apart) + scipy.stats.nct.cdf(-least, 2 * n - 2, apart)

    words, _ = page("16")
    assert round(100 * power(8)) == 46 and 5 * np.sqrt(2 / 8) == 2.5
    assert power(16) < 0.8 < power(17) and power(26) < 0.95 < power(27)
    assert "for $n = 8$ runs of each, and a $t$-test" in words and "in 46 cases of 100" in words
    assert "Four cases of five take 17 runs of each, and 95 of 100 take 27" in words


def test_two_starts_are_what_their_page_says():
    """He's start against the chapter's, in the first 20 epochs of the runs that both have."""
    words, shown = page("05")
    assert [len(runs(name, "loss")) for name in ("relu-he", "two-conv-pool")] == [5, 3]
    assert "compares runs of the same seed, five with ReLU and three with the sigmoid" in words
    tests, fifth = {}, {}
    for name, before in (("relu-he", "relu"), ("sigmoid-he", "two-conv-pool")):
        count = min(len(runs(which, "loss")) for which in (name, before))
        validation, test = ([runs(which, part)[:count, :20] for which in (name, before)]
                            for part in ("validation_accuracy", "test_accuracy"))
        best = [19 - of[:, ::-1].argmax(axis=1) for of in validation]
        he, chapter = (of[range(count), epoch] for of, epoch in zip(test, best))
        tests[name] = np.round(he - chapter).tolist()
        fifth[name] = validation[0][:, 4].mean() - validation[1][:, 4].mean()
    assert round(fifth["sigmoid-he"]) == 6
    assert "After five epochs the sigmoid's lead is down to six digits in 10,000" in words
    assert tests == {"relu-he": [3, 23, 5, 4, 3], "sigmoid-he": [-9, 0, -17]}
    assert "which reads 9, 0 and 17 test digits fewer" in words
    assert "in each of the five pairs: it reads 3, 23, 5, 4 and 3 test digits more" in words
    assert 2 * 0.5**5 == 1 / 16 and "Five coins fall alike, one way or the other, once in sixteen" in words
    dead = re.findall(r"(\d+)% dead", shown["dead-at-start"])
    assert dead == ["30", "0", "7", "0"] and "It takes both, small weights and random biases" in words
    assert "He's weights alone would leave 7 % of the filters dead, biases of 0 alone none" in words
    rows = re.findall(r"start +([\d.]+)%", shown["he-table"])
    assert f"ReLU reads {rows[1]} % of the validation digits instead of {rows[0]} %" in words
    assert f"the sigmoid network {rows[3]} % instead of {rows[2]} %" in words


def test_a_halved_rate_is_what_its_page_says():
    """Both schedules' runs of the same seeds."""
    words, _ = page("21")
    plain, halved = ({part: runs(name, part)[:3] for part in ("loss", "validation_accuracy", "test_accuracy")}
                     for name in ("shallow", "shallow-halved"))
    assert np.array_equal(*(of["validation_accuracy"][:, :10] for of in (plain, halved)))
    assert "at the constant rate, with which they share the first ten epochs" in words
    (won, before), (less, after) = (
        (of["validation_accuracy"].max(axis=1), 1e4 * accuracies(name))
        for of, name in ((plain, "shallow"), (halved, "shallow-halved")))
    assert np.round(won - less).tolist() == [7, 12, 13]
    assert "fewer validation digits at best, by 7, 12 and 13 in 10,000" in words
    assert sorted(np.round(before - after)) == [17, 23, 27] and "17 to 27 test digits fewer" in words
    means = (f"{values.mean() / 100:.2f} %" for values in (after, before))
    assert " in the mean instead of ".join(means) in words
    moves = [sorted(np.round(np.ptp(of["validation_accuracy"][:, -20:], axis=1))) for of in (halved, plain)]
    assert [(least, most) for least, *_, most in moves] == [(6, 11), (10, 19)]
    assert "moves by 6 to 11 digits, at the constant rate by 10 to 19" in words
    assert [{round(loss, digits) for loss in of["loss"][:, -1]}
            for of, digits in ((plain, 3), (halved, 2))] == [{0.003}, {0.02}]
    assert "the training loss falls to 0.003; with the halved one it stops at 0.02" in words


def test_widths_under_dropout_are_what_their_page_says():
    words, shown = page("10")
    assert re.findall(r"(\d+) neurons: +([\d.]+)%", shown["scatter"]) == [("300", "5.8"), ("1000", "3.2")]
    assert "$1 / \\sqrt n$ of it: 5.8 percent with 300 neurons, 3.2 with 1,000" in words
    narrow, wide = (100 * accuracies(f"dropout-few-{n}") for n in (300, 1000))
    assert len(narrow) == 3 and np.round(100 * (wide - narrow)).tolist() == [21, 16, 18]
    assert "reads 21, 16 and 18 test digits more than the run of the same seed with 300" in words
    gain, error = re.search(r"\+(0\.\d+) points, standard error (0\.\d+)", shown["widths-table"]).groups()
    assert scipy.stats.ttest_ind(wide, narrow).statistic == pytest.approx(2, abs=0.1)
    assert (f"{wide.mean():.2f} and {narrow.mean():.2f} %, are {gain} points apart, two standard errors of "
            f"{error}") in words
    best = {n: runs(f"dropout-few-{n}", "validation_accuracy")[:, ::-1].argmax(axis=1) for n in (300, 1000)}
    assert max(map(max, best.values())) == 1 and "one of the last two in every run" in words
    losses = [sorted(run[19 - back] for run, back in zip(runs(f"dropout-few-{n}", "loss"), best[n]))
              for n in (300, 1000)]
    assert "a loss of {:.3f} to {:.3f} instead of {:.3f} to {:.3f}.".format(
        *(end for least, *_, most in losses for end in (least, most))) in words


def test_optimizers_under_dropout_are_what_their_page_says():
    words, shown = page("10")
    pairs = [("plain", 0.1), ("momentum", 0.003), ("momentum", 0.01), ("adam", 0.0003), ("adam", 0.001)]
    curves = {pair: runs("dropout-few-{}-{:g}".format(*pair), "validation_accuracy") / 100 for pair in pairs}
    curves["plain", 0.03] = runs("dropout-few-300", "validation_accuracy")[:, :5] / 100
    assert len(shown["optimizers-table"].splitlines()) == 1 + len(curves)
    slow = curves["plain", 0.03]
    assert "its run reads {:.2f} % of the validation digits, and their three {:.2f} % in the mean".format(
        curves["momentum", 0.003][0, 4], slow[:, 4].mean()) in words

    chosen = [max((pair for pair in curves if pair[0] == way), key=lambda pair: curves[pair][0].max())
              for way in ("adam", "plain", "momentum")]
    assert [rate for _, rate in chosen] == [0.001, 0.1, 0.01] and "The larger one wins each time" in words
    adam, plain, momentum = (curves[pair] for pair in chosen)
    assert {len(of) for of in (adam, plain, momentum, slow)} == {3}
    assert f"{plain[:, 4].mean() - slow[:, 4].mean():.1f}" == "1.4" and "Plain steps gain 1.4 points" in words
    assert f"{plain[:, 4].mean():.2f} % instead of {slow[:, 4].mean():.2f} %" in words
    assert (adam[:, 0] > np.maximum(plain, momentum)[:, 0]).all() and "in all three runs: " in words
    first, last = ([of[:, epoch].mean() for of in (adam, plain, momentum)] for epoch in (0, 4))
    assert "{:.2f} % in the mean, plain steps {:.2f} %, momentum {:.2f} %".format(*first) in words
    assert "{:.2f}, {:.2f} and {:.2f} %, closer together than three runs of any".format(*last) in words
    assert np.ptp(last) < min(np.ptp(of[:, 4]) for of in (adam, plain, momentum))
    assert min(last) - slow[:, 4].mean() > 1 and "either would have seemed to gain over a point" in words
