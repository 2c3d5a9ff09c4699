"""The checker of readers' answers, and each problem of the book that asks it."""

import json
import pathlib
import re

import numpy as np
import pytest
from answers import RIGHT, check, verdict

BOOK = pathlib.Path(__file__).resolve().parent.parent / "book"


@pytest.mark.parametrize("answer, right, said", [
    (7850, 7850, "right"), (7850.0, 7850, "right"), (1 / 3, 0.3333, "right"), (np.eye(2), np.eye(2), "right"),
    (None, 1, "no answer yet"), ("many", 1, "not a number, nor an array"), ([1, [2]], 1, "cannot be tried"),
    (np.ones((20, 25)), np.ones((20, 5, 5)), "shape (20, 25), expected (20, 5, 5)"),
    (7, np.ones(2), "shape (), expected (2,)"),
    (np.ones(2, "uint8"), np.ones(2), "dtype uint8: fractions are expected"),
    (np.ones(2, bool), np.ones(2, int), "dtype bool: whole numbers are expected"),
    (np.array([np.nan, 1, np.inf]), np.ones(3), "2 of 3 numbers are not finite"),
    (-3, 3, "right size, wrong sign"), (-np.arange(4.0), np.arange(4.0), "right size, wrong sign"),
    (785, 7850, "off by a power of ten"), (7840, 7850, "too small"), (8, 7, "too large"),
    (5, -1, "too large"), (0, 7, "too small"), (3, 0, "too large"),
    (np.array([2.0, 4, 0]), np.array([1.0, 2, 0]), "off by a factor, the same everywhere"),
    (np.array([0.0, 0]), np.array([1.0, 2]), "2 of 2 numbers are wrong, the first at [0]"),
    (np.array([3, 1, 2]), np.array([1, 2, 3]), "the right numbers in the wrong places"),
    (np.array([[1, 2], [3, 5]]), np.array([[1, 2], [3, 4]]), "1 of 4 numbers are wrong, the first at [1, 1]"),
])
def test_says_what_is_wrong(answer, right, said):
    assert said in verdict(answer, right) if said == "cannot be tried" else verdict(answer, right) == said


@pytest.mark.parametrize("function, said", [
    (np.tanh, "right"), (lambda z: 2 / (1 + np.exp(-2 * z)) - 1, "right"), (lambda z: None, "no answer yet"),
    (lambda z: -np.tanh(z), "right size, wrong sign"),
    (lambda z: 1 / 0, "your answer cannot be tried: ZeroDivisionError: division by zero"),
    (None, "no answer yet"), (3.0, "not a function")])
def test_functions_are_compared_by_what_they_give(function, said):
    assert verdict(function, np.tanh, [np.linspace(-3, 3, 7)]) == said


def checked():
    """Of each problem with a check: the cells that end with it, in the order of the pages."""
    cells = {}
    for page in sorted(BOOK.glob("*.ipynb")):
        for cell in json.loads(page.read_text(encoding="utf-8"))["cells"]:
            for problem in re.findall(r'^check\(\w+, "(.*)"\)\Z', "".join(cell["source"]), re.M):
                cells.setdefault(problem, []).append(cell)
    return cells


# For each: three answers that a reader might give, and what he is told.
WRONG = {
    "geometric-mean": [
        (lambda x, W, b, p: np.exp((1 - p) * x @ W + b), "off by a factor, the same everywhere"),  # no sum
        (lambda x, W, b, p: (1 - p) * x @ W + b, "3 of 3 numbers are wrong, the first at [0]"),  # no softmax
        (lambda x, W, b, p: np.exp(z := x @ W / 2 + b) / np.exp(z).sum(),
         "3 of 3 numbers are wrong, the first at [0]"),  # all masks weighted alike
        (lambda x, W, b, p: ((1 - p) * x @ W + b).argmax(), "shape (), expected (3,)"),
    ],
    "copies": [
        ([250_000, 25_000, 196_000_000], "off by a factor, the same everywhere"),  # no diagonals
        ([1_250_000, 125_000, 1_250_000], "1 of 3 numbers are wrong, the first at [2]"),
        (1_250_000, "shape (), expected (3,)"),
    ],
    "scatter": [
        (lambda n: np.sqrt(n) / 2, "3 of 3 numbers are wrong, the first at [0]"),  # in neurons
        (lambda n: 0.5 / np.sqrt(n), "off by a factor, the same everywhere"),  # of all of them
        (lambda n: 1 / np.sqrt(n).mean(), "shape (), expected (3,)"),
    ],
    "best-patch": [
        (lambda kernel: kernel > 0, "dtype bool: fractions are expected"),
        (lambda kernel: 255.0 * (kernel > 0), "off by a factor, the same everywhere"),
        (lambda kernel: (kernel < 0).astype(float), "25 of 25 numbers are wrong, the first at [0, 0]"),
        (lambda kernel: (kernel > 0).ravel(), "shape (25,), expected (5, 5)"),
    ],
    "biases": [
        (lambda kernel, bias: bias - kernel.sum(axis=0), "off by a factor, the same everywhere"),
        (lambda kernel, bias: 2 * (kernel.sum(axis=0) - bias), "right size, wrong sign"),
        (lambda kernel, bias: 2 * (bias + kernel.sum(axis=0)), "3 of 3 numbers are wrong, the first at [0]"),
        (lambda kernel, bias: 2 * (bias - kernel.sum()), "3 of 3 numbers are wrong, the first at [0]"),
    ],
    "halved": [
        (lambda epoch: 0.1 * 0.5 ** (epoch / 10), "54 of 60 numbers are wrong, the first at [1]"),
        (lambda epoch: 0.2 * 0.5 ** (epoch // 10), "off by a factor, the same everywhere"),
        (lambda epoch: 0.1, "shape (), expected (60,)"),
    ],
    "places": [
        ([[25, 13], [23, 12], [21, 11]], "3 of 6 numbers are wrong, the first at [0, 0]"),  # moves
        ([26, 24, 22], "shape (3,), expected (3, 2)"),
        ([[26, 13.5], [24, 12.5], [22, 11.5]], "dtype float64: whole numbers are expected"),  # not rounded
    ],
    "shared-out": [
        (lambda a, e: e * a, "off by a factor, the same everywhere"),  # no root
        (lambda a, e: e * (a == a.max()), "4 of 4 numbers are wrong, the first at [0]"),  # max-pooling
        (lambda a, e: e / 4, "shape (), expected (4,)"),
    ],
    "luck": [(0.5, "too small"), (1.0, "too large"), (-0.846, "right size, wrong sign")],
    "multiplications": [
        ([500, 20_000, 64_000, 1_000], "2 of 4 numbers are wrong, the first at [0]"),  # weights
        (1_633_000, "shape (), expected (4,)"),
        ([288_000, 64_000, 64_000, 1_000], "1 of 4 numbers are wrong, the first at [1]"),  # one map only
    ],
    "penalty": [
        ([2e-5, 4e-6], "off by a factor, the same everywhere"),  # the 2 forgotten
        ([1e-5, 1e-5], "1 of 2 numbers are wrong, the first at [1]"),
        (1e-5, "shape (), expected (2,)"),
    ],
    "parameters": [(7_840, "too small"), (79_510, "too large"), (785, "off by a power of ten"),
                   ((7_840, 10), "shape (2,), expected ()")],
}


@pytest.mark.parametrize("problem", RIGHT)
def test_a_problem_has_a_cell_for_the_readers_answer_and_a_folded_one_with_ours(problem):
    """Nothing that is right stands in the first."""
    yours, ours = checked()[problem]
    assert yours["id"] == f"{problem}-yours" and not yours["metadata"].get("tags")
    assert re.search(r"(= |return )None  # your .*; then run this cell$", "".join(yours["source"]), re.M)
    assert "".join(yours["outputs"][0]["text"]) == "no answer yet\n"
    assert ours["id"] == problem and ours["metadata"]["tags"] == ["hide-cell"]
    assert ours["outputs"][0]["text"][-1] == "right\n"


def test_each_checked_problem_knows_wrong_answers():
    assert set(checked()) == set(RIGHT) == set(WRONG)
    assert all(len(wrong) >= 3 for wrong in WRONG.values())


@pytest.mark.parametrize("problem, answer, said", [
    (problem, *wrong) for problem, answers in WRONG.items() for wrong in answers])
def test_wrong_answers_are_turned_away(problem, answer, said, capsys):
    check(answer, problem)
    assert capsys.readouterr().out == f"{said}\n"


def test_a_function_may_change_its_inputs():
    def in_place(values):
        values *= 2
        return values

    assert verdict(in_place, lambda values: 2 * values, [np.ones(3)]) == "right"


@pytest.mark.parametrize("within, said", [(1e-3, "too large"), (0.02, "right")])
def test_a_simulated_answer_may_be_near(within, said):
    assert verdict(0.85, 0.8463, within=within) == said
