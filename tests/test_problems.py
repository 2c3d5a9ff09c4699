"""What the problems' answers say, held to what their cells show: outputs by `make strict`, words here."""

import json
import pathlib
import re

import pytest

BOOK = pathlib.Path(__file__).resolve().parent.parent / "book"


def page(number):
    """A page's words, and what its code cells show, by their names."""
    (path,) = BOOK.glob(f"{number}-*.ipynb")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    prose = " ".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return " ".join(prose.split()), {
        cell["id"]: "".join("".join(output.get("text", "")) for output in cell["outputs"])
        for cell in cells if cell["cell_type"] == "code"}


@pytest.mark.parametrize("number", ["03"])
def test_problems_have_a_level_and_a_time(number):
    titles = re.findall(r"\*\*\d\. [^*]+\*\* (\S+ \S+ \S+)", page(number)[0].split("## Problems")[1])
    assert titles and all(re.match(r"\(★{1,3}, \d+ min", title) for title in titles), titles


def test_page_03():
    words, shown = page("03")
    for sides, rows, unseen in ((" → 24 → 10 → 3", 20, 0), (" → 13 → 5 → 1", 22, 6)):
        numbers = [int(side) for side in sides.split(" → ")[1:]]
        assert f"sides {numbers} a unit sees {rows} rows; unseen by all: {unseen}" in shown["third-layer"]
        assert f"28{sides}" in words
    assert "with pooling 20" in words and "22$ pixels. The last six rows" in words
    assert "1,633,000 multiplications; with one convolutional layer 577,000" in shown["multiplications"]
    assert "In all 1,633,000" in words and "it is 288,000 + 288,000 + 1,000 = 577,000" in words
    assert 2.5 < 1633 / 577 < 3 and "nearly three times the work" in words
    assert 0.75 < 1280 / 1633 < 0.8 and "four fifths of it in the second layer" in words
    assert "the same True" in shown["order"] and "change by 0.06" in shown["order"]
