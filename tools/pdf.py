"""Print the built site as one PDF: python tools/pdf.py _build/html _build/reading-digits.pdf

Chromium joins the pages into one, with a title and a table of contents before them, and prints it.
"""

import pathlib
import sys

import yaml
from playwright.sync_api import sync_playwright

ROOT = pathlib.Path(__file__).resolve().parent.parent
CHROMIUM = "/usr/bin/chromium"

STYLE = """
@page { size: A4; margin: 20mm 18mm }
.bd-article { break-before: page; padding: 0 !important }
/* or Chromium 156.0.8078.108 writes a heading that begins a page twice into the outline */
.bd-article::before { content: ""; display: block; height: 1px }
.bd-article a { color: inherit }
h1, h2, h3, h4, details > summary { break-after: avoid }
#title { text-align: center; padding-top: 25vh }
#contents li { list-style: none }
"""

# Anchors and links get the page's name, so that they stay apart and lead from page to page.
JOIN = r"""([pages, title]) => {
    const book = document.createElement("main"), contents = document.createElement("nav")
    book.className = "bd-main bd-content"
    contents.id = "contents"
    contents.className = "bd-article"
    for (const [part, name, html] of pages) {
        const article = new DOMParser().parseFromString(html, "text/html").querySelector("article")
        for (const element of article.querySelectorAll("[id]")) element.id = `${name}--${element.id}`
        for (const link of article.querySelectorAll("a[href]")) {
            const inside = link.getAttribute("href").match(/^(?:([\w-]+)\.html)?(?:#(.*))?$/)
            const place = inside?.[2] ? `--${inside[2]}` : ""
            if (inside) link.setAttribute("href", `#${inside[1] ?? name}${place}`)
        }
        article.id = name
        article.querySelectorAll(".headerlink").forEach(link => link.remove())
        book.append(article)
        const heading = article.querySelector("h1").innerHTML
        if (part) contents.insertAdjacentHTML("beforeend", `<h3>${part}</h3>`)
        contents.insertAdjacentHTML("beforeend", `<li><a href="#${name}">${heading}</a></li>`)
    }
    contents.insertAdjacentHTML("afterbegin", "<h1>Contents</h1>")
    book.prepend(contents)
    book.insertAdjacentHTML("afterbegin", title)
    document.body.replaceChildren(book)
    document.title = book.querySelector("h1").textContent
    return MathJax.typesetPromise()
}"""


def pages(site, toc):
    """Part, name and HTML of each page."""
    yield "", pathlib.Path(toc["root"]).name, (site / f"{toc['root']}.html").read_text(encoding="utf-8")
    for part in toc["parts"]:
        for i, chapter in enumerate(part["chapters"]):
            path = site / f"{chapter['file']}.html"
            yield "" if i else part["caption"], path.stem, path.read_text(encoding="utf-8")


def write(site, path):
    """Print the site in the folder `site` to the file `path`."""
    toc, config = (yaml.safe_load((ROOT / name).read_text()) for name in ("_toc.yml", "_config.yml"))
    title = f"""<div id="title"><img src="../_static/logo.svg" width="160"><h1>{config["title"]}</h1>
        <p>{config["author"]}</p><p>{config["html"]["baseurl"]}</p><p>{config["html"]["extra_footer"]}</p></div>"""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(color_scheme="light")
        page.goto((site / f"{toc['parts'][0]['chapters'][0]['file']}.html").resolve().as_uri())
        page.evaluate("MathJax.startup.promise")
        page.add_style_tag(content=STYLE)
        page.evaluate(JOIN, [list(pages(site, toc)), title])
        page.pdf(path=path, scale=0.8, outline=True, tagged=True, prefer_css_page_size=True,
                 print_background=True, display_header_footer=True, header_template="<span></span>",
                 footer_template='<div style="font-size: 8px; width: 100%; text-align: center">'
                                 '<span class="pageNumber"></span></div>')
        browser.close()


if __name__ == "__main__":
    write(*map(pathlib.Path, sys.argv[1:]))
