"""Check the built site, offline: python tools/check_site.py _build/html

Every link and anchor inside it must lead somewhere, and no page may load anything from outside.
"""

import pathlib
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The anchors of a page, its links, and what it loads."""

    def __init__(self, path):
        super().__init__()
        self.anchors, self.links, self.loads = {"", "top"}, [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.anchors.update(attributes[key] for key in ("id", "name") if attributes.get(key))
        if attributes.get("src"):
            self.loads.append(attributes["src"])
        if attributes.get("href") and attributes.get("rel") != "canonical":  # that is its own public address
            (self.loads if tag == "link" else self.links).append(attributes["href"])


def problems(site):
    """Every broken link, missing anchor and outside file of the site in this folder, a line each."""
    pages = {path: Page(path) for path in sorted(site.rglob("*.html"))
             if "_static" not in path.relative_to(site).parts}
    for path, page in pages.items():
        for address in page.loads + page.links:
            scheme, host, there, _, anchor = urlsplit(address)
            target = (path.parent / unquote(there)).resolve() if there else path
            if target.is_dir():
                target /= "index.html"
            if scheme or host:
                if address in page.loads and scheme != "data":
                    yield f"{path.relative_to(site)} loads {address} from outside"
            elif not target.exists():
                yield f"{path.relative_to(site)} links to {address}: no such file"
            elif target in pages and unquote(anchor) not in pages[target].anchors:
                yield f"{path.relative_to(site)} links to {address}: no such anchor"
    if not pages:
        yield f"{site} holds no pages"


if __name__ == "__main__":
    found = list(problems(pathlib.Path(sys.argv[1]).resolve()))
    print("\n".join(found) or "All links and anchors lead somewhere, and nothing comes from outside.")
    sys.exit(bool(found))
