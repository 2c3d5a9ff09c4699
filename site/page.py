"""A Sphinx extension: what link previews, search engines and a steady layout need and Sphinx leaves out.

The one-sentence description of a page stands in its notebook's metadata, or on top of its Markdown.
"""

import html
import pathlib
import re
import struct

from docutils import nodes

REDIRECT = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<link rel="icon" href="_static/{icon}">{head}
<meta http-equiv="refresh" content="0; url={page}.html">
</head>
</html>
"""


def head(title, description, address, site):
    """What the page says of itself to search engines and in a link's preview."""
    title, description = html.escape(title), html.escape(description)
    return f"""
<meta name="description" content="{description}">
<meta property="og:title" content="{title}">
<meta property="og:description" content="{description}">
<meta property="og:type" content="website">
<meta property="og:url" content="{address}">
<meta property="og:image" content="{site}social-card.png">
<meta name="twitter:card" content="summary_large_image">
"""


def size(path):
    """Width and height of a PNG file as attributes of <img>: half of them for one of 200 dots an inch."""
    data = path.read_bytes()
    at = data.find(b"pHYs")
    dots_an_inch = struct.unpack(">I", data[at + 4:at + 8])[0] * 0.0254 if at > 0 else 100
    shrink = max(1, round(dots_an_inch / 100))
    return ' width="{}" height="{}"'.format(*(n // shrink for n in struct.unpack(">II", data[16:24])))


def free_pictures(app, doctree):
    """A notebook's picture comes with a fixed size, which a phone could not shrink, and so with a link."""
    for picture in doctree.findall(nodes.image):
        for side in ("width", "height"):
            picture.attributes.pop(side, None)  # `size` says it


def complete(app, name, template, context, doctree):
    """Add to a page before Sphinx writes it."""
    root, body = app.config.root_doc, context.get("body", "")
    if name == root:
        context["docstitle"] = ""  # the book's name once, not twice
    description = (context.get("meta") or {}).get("description")
    if description:
        title = html.unescape(re.sub("<.*?>", "", context["title"]))
        added = head(title, description, context["pageurl"], app.config.html_baseurl)
        context["metatags"] += added
        if name == root:
            icon = pathlib.Path(app.config.html_favicon).name  # or the browser asks for /favicon.ico
            start = REDIRECT.format(title=html.escape(title), icon=icon, head=added, page=root)
            pathlib.Path(app.outdir, "index.html").write_text(start, encoding="utf-8")
    if 'class="math' not in body:
        context["script_files"] = [file for file in context["script_files"]
                                   if "mathjax" not in f"{file.filename} {file.attributes}".lower()]
    body = body.replace('role="doc-biblioentry"', 'role="listitem"')  # the former is no longer a role
    pictures = {name: app.srcdir / path for path, name in app.builder.images.items()}
    context["body"] = re.sub(r'src="[./]*_images/([^"]+\.png)"',
                             lambda src: src[0] + size(pictures[src[1]]), body)


def setup(app):
    app.connect("doctree-read", free_pictures)
    app.connect("html-page-context", complete)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
