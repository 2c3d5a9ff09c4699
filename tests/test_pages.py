"""Pages keep to their frame and to their length (tools/pages.py counts)."""

import ast
import pathlib
import re
import statistics
import sys
from xml.etree import ElementTree

import nbformat
import pytest

from nets.words import duration

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import pages  # noqa: E402
import results  # noqa: E402
import routes  # noqa: E402

PAGES = pages.pages()
NEW = {19, 20}  # came in while the others were cut; their own limit is 1,200 words
per_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path.stem)


@per_page
def test_a_box_on_top_says_what_it_holds(page):
    assert page.frame, "after the link to Colab, as on page 03"
    assert "nothing" in page.frame["needs"].lower() or page.needs
    assert all(number < page.number for number in page.needs), "what it needs comes before it"
    assert len(page.frame["question"].split()) < 40 and len(page.frame["answer"].split()) < 60


@per_page
def test_the_box_says_how_long_it_takes(page):
    """To read, 200 words a minute; to train, the least time of a run on a core of a CPU."""
    assert abs(int(page.frame["minutes"]) - page.words / 200) <= 1
    took = re.findall(r"a run of `([^`]+)` took (.+?) on a core", page.frame["training"])
    assert took or "nothing is trained" in page.frame["training"]
    for name, said in took:
        seconds = [run["seconds"] for run in results.recorded(name).runs if " core" in run["device"]]
        assert said == duration(min(seconds)), name


@per_page
def test_a_page_is_short(page):
    assert page.words <= (1200 if page.number in NEW else 1800)


def test_the_book_is_short():
    words = [page.words for page in PAGES if page.number not in NEW]
    assert sum(words) <= 24_000 and statistics.median(words) < 1400


@per_page
def test_nothing_is_announced(page):
    """A page enters the book with its runs."""
    said = page.path.read_text("utf-8").lower()
    assert not re.search("not (been )?run yet|not yet run|not complete yet|so far [\\w ]*runs", said)


def test_body_text_is_counted():
    """Not problems, code, tables, formulas, addresses."""
    text = """# A title\n\nFive words [of text](address.html).\n\n| a | b |\n|---|---|\n\n```\ncode\n```
## Problems\n\nWords that count for nothing.\n\n## After\n\nIt is $x + y$ of 2."""
    assert pages.words(pages.body(text)) == 2 + 4 + 1 + 4


def test_a_box_is_read(tmp_path):
    top = """# T\n\n[Open](x)\n\n> - **Question:** Is it\n>   so?\n> - **Answer:** 99.05 %.
> - **You need:** [page 02](02-first.ipynb) and [03](03-x.ipynb#y)
> - **Afterwards** you can do it.\n> - **Time:** 5 minutes to read; a run of `relu` took
>   3 s on a core.\n\nMore."""
    cells = [nbformat.v4.new_markdown_cell(top), nbformat.v4.new_code_cell("1\n2")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "04-x.ipynb")
    page = pages.read(tmp_path / "04-x.ipynb")
    assert page.frame["question"].split() == ["Is", "it", "so?"]
    assert page.needs == [2, 3] and page.longest == 2
    assert "a run of `relu` took 3 s on a core" in " ".join(page.frame["training"].split())


def test_the_map_shows_what_each_page_needs():
    svg = ElementTree.fromstring(routes.picture(PAGES))
    links = {link.get("href"): link.get("class") for link in svg.findall("{*}a")}
    assert sorted(links) == [f"{page.path.stem}.html" for page in PAGES]
    assert {int(link[:2]) for link, how in links.items() if how == "short"} == routes.TWO_HOURS

    needs = {page.number: page.needs for page in PAGES}
    kept = routes.needed(needs)

    def before(number, needs):
        return set(needs[number]).union(*(before(other, needs) for other in needs[number]))

    assert all(before(number, kept) == before(number, needs) for number in needs), "nothing is lost"
    at = routes.places(kept)
    assert all(at[other][1] + routes.HEIGHT < at[number][1] for number in kept for other in kept[number])
    assert len(svg.findall("{*}path")) == sum(map(len, kept.values()))
    boxes = sorted((y, x) for x, y in at.values())
    assert all(y != below or after - x >= routes.BOX for (y, x), (below, after) in zip(boxes, boxes[1:]))
    assert all(number in routes.TWO_HOURS for two in routes.TWO_HOURS for number in before(two, needs))
    assert routes.needed({0: [], 1: [0], 2: [0, 1]}) == {0: set(), 1: {0}, 2: {1}}


def test_the_ways_through_are_those_of_the_pages():
    index = (ROOT / "book" / "index.md").read_text("utf-8")
    minutes = sum(int(page.frame["minutes"]) for page in PAGES if page.number in routes.TWO_HOURS)
    assert 35 <= minutes <= 65, "one hour to read"
    assert "pages 0 to 7 and 9 to 12, framed in blue" in index
    assert routes.TWO_HOURS == {*range(8), *range(9, 13)}
    rows = re.findall(r"^\| \d\. .*", index, re.M)
    assert len(rows) == 4
    for row in rows:
        _, _, taught, _, problems, _ = row.split("|")
        pages_taught = re.findall(r"\((\S+)\)", taught)
        minutes = 0
        for address, numbers in re.findall(r"\((\S+)\): (.+?)(?:; | \()", problems):
            assert address in pages_taught
            text = (ROOT / "book" / address).read_text("utf-8")
            for link, number in re.findall(r"(?:<a href=\"(.+?)\">)?(\d+)(?=[,<]|$)", numbers):
                problem = re.search(rf"\*\*{number}\. [^*]+\*\* \(★+, (\d+) min", text)
                assert problem, f"{address} has no problem {number}"
                minutes += int(problem[1])
                assert link in ("", address.replace(".ipynb", f".html#problem-{number}"))
        assert f" ({minutes} minutes) " in problems


@per_page
def test_problems_can_be_linked_to(page):
    """By a line before each, which shows nowhere; the course on the first page uses it."""
    lines = [line for cell in nbformat.read(page.path, as_version=4).cells if cell.cell_type == "markdown"
             for line in cell.source.splitlines()]
    before = {line[2:4].strip(".").strip(): lines[at - 1] for at, line in enumerate(lines)
              if re.match(r"\*\*\d\. .*\(★", line)}
    anchored = [number for number, line in before.items() if line == f'<a id="problem-{number}"></a>']
    assert anchored == [f"{n}" for n in range(1, 1 + len(before))]
    index = (ROOT / "book" / "index.md").read_text("utf-8")
    assert set(re.findall(rf"{page.path.stem}\.html#problem-(\d)", index)) <= set(anchored)


@per_page
def test_imports_stand_on_top_and_are_public(page):
    """In the set-up cell and the next; only the code page and plain Keras look inside `nets`."""
    cells = [cell.source for cell in nbformat.read(page.path, as_version=4).cells if cell.cell_type == "code"]
    found = [(number, node) for number, cell in enumerate(cells) if "%pip" not in cell
             for node in ast.parse(cell).body if isinstance(node, (ast.Import, ast.ImportFrom))]
    late = {ast.unparse(node) for number, node in found if number > 1}
    assert late <= {"from answers import check"}, "but for what a reader's own cell needs"
    named = {node.module for _, node in found if isinstance(node, ast.ImportFrom)}
    inner = {name for name in named if name.startswith("nets.")}
    assert not inner or page.number in (19, 21), f"a page shows public names only, not {inner}"
