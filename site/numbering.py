"""A Sphinx extension: pages have the number of their file, and figures that of their page.

So book/10-dropout.ipynb is "10. Dropout", and its second figure "Figure 10.2". Sphinx itself would
begin at 1, or number the figures from the first page to the last.
"""

import re

from docutils import nodes


def number(app, env):
    """Put the pages' numbers in place of Sphinx' own, which have just been given."""
    for page in env.found_docs:
        match = re.search(r"/(\d+)-", page)
        if match:
            chapter = int(match[1])
            title, *sections = env.tocs[page].findall(nodes.reference)
            title["secnumber"] = (chapter,)  # in the sidebar
            env.toc_secnumbers[page] = {"": (chapter,), **{ref["anchorname"]: None for ref in sections}}
            figures = env.toc_fignumbers.get(page, {}).get("figure", {})
            figures.update({name: (chapter, i) for i, name in enumerate(figures, start=1)})
    return []


def setup(app):
    app.connect("env-get-updated", number, priority=900)  # after Sphinx
    return {"parallel_read_safe": True}
