"""How results are shown beside a claim."""

import io
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest

from nets import compare, plots
from nets.progress import Progress
from nets.result import Result
from nets.words import duration, percent, printable


def result(name, *accuracies):
    runs = [{"seed": seed, "validation_accuracy": [0.5, 0.9], "test_accuracy": [0.4, accuracy]}
            for seed, accuracy in enumerate(accuracies)]
    return Result(name, {}, runs, [np.zeros(1)] * len(runs))


@pytest.mark.parametrize("source", ["chapter", "paper", "a long source"])
def test_compare_names_the_source(capsys, source):
    several = [result("one", 0.9912), result("several", 0.9910, 0.9930), result("last", 0.9960)]
    compare(several, claimed=[0.9905, None, 0.9960], source=source)
    heading, *lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [
        ["one", "99.05", "99.12", "99.12", "1"], ["several", "–", "99.10", "99.20", "±", "0.14", "2"],
        ["last", "99.60", "99.60", "99.60", "1"]]
    end = heading.index(source) + len(source)  # figures stand under the last letters
    assert [line[:end].split()[-1] for line in lines] == ["99.05", "–", "99.60"]


def test_compare_names_the_chapter_if_nothing_is_said(capsys):
    compare([result("one", 0.9912)], claimed=[0.9905])
    assert capsys.readouterr().out.split()[0] == "chapter"


@pytest.mark.parametrize("options, expected", [
    ({"claimed": 0.9960}, ["one", "the chapter: 99.60 %"]),
    ({"claimed": 0.9960, "source": "paper"}, ["one", "the paper: 99.60 %"]), ({}, ["one"])])
def test_chart_names_the_source(options, expected):
    plots.accuracy(result("one", 0.9912, 0.9921), **options)
    legend = plt.gca().get_legend()
    assert [text.get_text() for text in legend.get_texts()] == expected
    plt.close("all")


@pytest.mark.parametrize("show", [
    lambda: plots.accuracy(), lambda: plots.digits([]), lambda: plots.panels(np.zeros((5, 5, 0))),
    lambda: compare([], [])])
def test_where_there_is_nothing_to_show_this_is_said(capsys, show):
    show()
    output, errors = capsys.readouterr()
    assert output.startswith("There are no ") and output.count("\n") == 1 and not errors
    assert not plt.get_fignums()


# ---- nothing is left out ----


def drawn():
    axes = plt.gca()
    lines = [line for line in axes.get_lines() if len(line.get_xdata())]
    looks = {(line.get_color(), line.get_linestyle()) for line in lines}
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    plt.close("all")
    return names, looks


@pytest.mark.parametrize("count", [1, 6, 7, 12, 24])
def test_every_result_is_drawn_and_looks_its_own_way(count):
    results = [result(f"number {i}", 0.99) for i in range(count)]
    plots.accuracy(*results)
    names, looks = drawn()
    assert names == [f"number {i}" for i in range(count)] and len(looks) == count
    plots.accuracy(*results, labels=[str(i) for i in range(count)])
    assert drawn()[0] == [str(i) for i in range(count)]


@pytest.mark.parametrize("labels", [[], ["a"], ["a", "b", "c"], "a"])
def test_a_chart_needs_a_label_for_each_result(labels):
    with pytest.raises(ValueError, match=f"there are 2 results and {len(labels)} labels"):
        plots.accuracy(result("one", 0.99), result("two", 0.98), labels=labels)
    plt.close("all")


@pytest.mark.parametrize("claims", [[], [0.99], [0.99] * 3, (None,)])
def test_compare_needs_a_claim_for_each_result(capsys, claims):
    with pytest.raises(ValueError, match=f"there are 2 results and {len(claims)} claims"):
        compare([result("one", 0.99), result("two", 0.98)], claims)
    assert not capsys.readouterr().out


def test_compare_takes_iterators_and_a_claim_of_zero(capsys):
    compare((result(name, 0.99) for name in "ab"), claimed=iter([0.0, None]))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["a", "0.00"], ["b", "–"]]


@pytest.mark.parametrize("titles", [[], ["a"], list("abcd")])
def test_panels_need_a_title_for_each_picture(titles):
    with pytest.raises(ValueError, match=f"there are 3 pictures and {len(titles)} titles"):
        plots.panels(np.zeros((4, 4, 3)), titles=titles)
    plt.close("all")


# ---- any console ----


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437", "utf-8"])
def test_printing_works_on_any_console(monkeypatch, encoding):
    console = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", console)
    several = result("Cireșan – α", 0.991, 0.993)
    for run in several.runs:
        run.update(seconds=1, backend="jax", device="a test")
    print(several)
    compare([several, several], [None, 0.99])
    console.flush()
    text = console.buffer.getvalue().decode(encoding)
    assert "99.20" in text and ("±" in text) == (encoding != "ascii")
    assert ("+-" in text) == (encoding == "ascii")


def test_the_progress_line_works_on_any_console(monkeypatch):
    console = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stderr", console)
    progress = Progress(5)
    progress.watched, progress.in_notebook = True, False
    progress.show("compiling …")
    progress.expect({0: 0}, 1, 2.0)
    progress.update([0], 0.25, {"seconds": []})
    history = {"seconds": [1.0], "loss": [0.5], "validation_accuracy": [0.9]}
    progress.update([0], 2, history)
    progress.clear()
    progress.update([0], 2.5, history)  # it was stopped
    console.flush()
    assert console.buffer.getvalue().decode().split("\r\033[K") == [
        "", "compiling ...", "25% of epoch 1/5 of run 0 | 10 s left",
        "epoch 2/5 of run 0 | loss 0.5000 | validation 90.00% | 3 s left", ""]


@pytest.mark.parametrize("done, workers, epochs_left", [
    ([0], 1, 10), ([0, 0, 0], 1, 30), ([0, 0, 0], 2, 20), ([4, 0.5, 0], 2, 16), ([10, 8, 0], 2, 10),
    ([10, 10, 10], 2, 0)])
def test_the_time_left_counts_workers_and_the_last_run_alone(done, workers, epochs_left):
    progress = Progress(10)
    progress.expect(dict(enumerate(done)), workers, 3.0)
    assert progress.time_left() == 3 * epochs_left


def test_words():
    assert [duration(s) for s in (0.4, 59.4, 59.6, 3599, 3600, 86400)] == [
        "0 s", "59 s", "1 min 0 s", "59 min 59 s", "1 h 0 min", "24 h 0 min"]
    assert percent(0.98784) == "98.78 %" and printable("±") == "±"
