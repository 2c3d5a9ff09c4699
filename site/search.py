"""A Sphinx extension: the search knows words by their plain letters, too, so that "Ciresan" finds Cireșan."""

import unicodedata

from sphinx.search import languages
from sphinx.search.en import SearchEnglish

SPLIT = r"""
var splitQuery = (query) => query.normalize("NFKD").replace(/\p{Mark}/gu, "")
    .split(/[^\p{Letter}\p{Number}_]+/gu).filter((word) => word);
"""


class PlainLetters(SearchEnglish):
    """English, without accents: in the index, and in what is asked for."""

    js_splitter_code = SPLIT

    def split(self, text):
        letters = unicodedata.normalize("NFKD", text)
        return super().split("".join(letter for letter in letters if not unicodedata.combining(letter)))


def setup(app):
    languages["en"] = PlainLetters
    return {"parallel_read_safe": True, "parallel_write_safe": True}
