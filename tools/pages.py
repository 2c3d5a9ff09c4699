"""Count the book's words, pages and cells: python tools/pages.py

Body text is what stands in Markdown outside the problems; formulas, tables and links' addresses are no words.
"""

import pathlib
import re
import statistics
from typing import NamedTuple

import nbformat

ROOT = pathlib.Path(__file__).resolve().parent.parent
NO_WORDS = [r"(?ms)^```.*?^```", r"(?m)^\|.*$", r"(?s)\$\$.*?\$\$", r"(?<=\])\([^)]*\)", r"<[^>]*>",
            r"\$[^$]*\$"]
FRAME = re.compile(r"""> - \*\*Question:\*\* (?P<question>.+\?)
> - \*\*Answer:\*\* (?P<answer>.+)
> - \*\*You need:\*\* (?P<needs>.+)
> - \*\*Afterwards\*\* you can (?P<aims>.+)
> - \*\*Time:\*\* (?P<minutes>\d+) minutes? to read(?P<training>.+)""")


class Page(NamedTuple):
    path: pathlib.Path
    words: int  # of body text
    cells: int  # of code
    longest: int  # lines of a cell
    frame: dict | None  # what the box on top says

    @property
    def number(self):
        return int(self.path.name[:2])

    @property
    def needs(self):
        """The numbers of the pages that the box asks for."""
        return [int(number) for number in re.findall(r"\((\d\d)-[^)]*\.ipynb", self.frame["needs"])]


def body(markdown):
    """The text outside the section of problems."""
    kept, inside = [], False
    for line in markdown.splitlines():
        if line.startswith("## "):
            inside = line.startswith("## Problem")
        if not inside:
            kept.append(line)
    return "\n".join(kept)


def words(markdown):
    for pattern in NO_WORDS:
        markdown = re.sub(pattern, " ", markdown)
    return len(re.findall(r"[^\W\d_][\w’'.-]*|\d[\d.,]*", markdown))


def read(path):
    cells = nbformat.read(path, as_version=4).cells
    code = [cell.source.splitlines() for cell in cells if cell.cell_type == "code"]
    text = [cell.source for cell in cells if cell.cell_type == "markdown"]
    lines = "\n".join(" ".join(item.split("\n> ")) for item in re.split(r"\n(?=> - )", text[0]))
    frame = FRAME.search(lines)
    return Page(path, words(body("\n\n".join(text))), len(code), max(map(len, code)),
                frame and frame.groupdict())


def pages():
    return [read(path) for path in sorted((ROOT / "book").glob("*.ipynb"))]


def main():
    every = pages()
    print(f"{'page':34} words  cells  longest")
    for page in every:
        print(f"{page.path.stem:34}{page.words:6}{page.cells:7}{page.longest:9}")
    print(f"{len(every)} pages, {sum(page.words for page in every):,} words,"
          f" {statistics.median(page.words for page in every):,.0f} in the median")


if __name__ == "__main__":
    main()
