"""The glossary: in order, and each term on the page that is said to define it."""

import re

import pytest
from test_book import ROOT, prose

TEXT = (ROOT / "book" / "glossary.md").read_text(encoding="utf-8")
ENTRIES = {term: " ".join(said.split()) for term, said in re.findall(
    r"^(\S.*)\n((?:  .+\n)+)", TEXT.split("```{glossary}")[1].rstrip("`\n") + "\n", re.M)}


def test_the_glossary_is_in_order():
    assert len(ENTRIES) > 80 and list(ENTRIES) == sorted(ENTRIES, key=str.lower)


@pytest.mark.parametrize("term", ENTRIES)
def test_a_term_is_on_its_pages(term):
    """Whether the pages exist is for tools/check_site.py to see."""
    pages = re.findall(r"\]\((\d\d-[^)]+\.ipynb)\)", ENTRIES[term])
    other = re.search(r"See \*(.+?)\*", ENTRIES[term])
    assert other[1] in ENTRIES if other else pages
    word = re.split(r"\W", term.lower())[0]
    stem = word[:max(3, len(word) - 3)]
    for page in pages:
        if (path := ROOT / "book" / page).exists():
            assert stem in prose(path).lower(), page
