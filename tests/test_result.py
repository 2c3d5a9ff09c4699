"""How results are shown beside a claim."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from nets import compare, plots
from nets.result import Result


def result(name, *accuracies):
    runs = [{"seed": seed, "validation_accuracy": [0.5, 0.9], "test_accuracy": [0.4, accuracy]}
            for seed, accuracy in enumerate(accuracies)]
    return Result(name, {}, runs, [np.zeros(1)] * len(runs), 3)


@pytest.mark.parametrize("source", ["chapter", "paper", "a long source"])
def test_compare_names_the_source(capsys, source):
    several = [result("one", 0.9912), result("several", 0.9910, 0.9930), result("none")]
    compare(several, claimed=[0.9905, None, 0.9960], source=source)
    heading, *lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [
        ["one", "99.05", "99.12", "99.12", "1"], ["several", "–", "99.10", "99.20", "±", "0.14", "2"],
        ["none", "99.60", "not", "run", "yet"]]
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
