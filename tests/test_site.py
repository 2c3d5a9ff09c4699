"""The built site in a real browser: `make browser` builds it and runs these. They need Debian's Chromium."""

import functools
import http.server
import pathlib
import re
import struct
import subprocess
import sys
import threading

import pytest
import yaml

from tools import repository

pytestmark = pytest.mark.browser

ROOT = pathlib.Path(__file__).resolve().parent.parent
SITE = ROOT / "_build" / "html"
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
CHAPTERS = [f"{name}.html" for name in [TOC["root"]] + [
    chapter["file"] for part in TOC["parts"] for chapter in part["chapters"]]]

per_page = pytest.mark.parametrize("name", [*CHAPTERS, "search.html"])


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def address():
    """The site, served."""
    assert (SITE / "index.html").exists(), "first run `make book`"
    handler = functools.partial(Handler, directory=SITE)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def page(chromium, address):
    """A browser's page. In the end, nothing may have gone wrong on it and nothing come from elsewhere."""
    complaints, requests = [], []
    context = chromium.new_context(base_url=address, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.on("console", lambda message: complaints.append(f"{message.text} {message.location['url']}")
            if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.on("response", lambda response: complaints.append(f"{response.status} {response.url}")
            if response.status >= 400 else None)
    yield page
    context.close()
    assert not complaints
    outside = [url for url in requests if not url.startswith((address, SITE.as_uri(), "data:", "blob:"))]
    assert requests and not outside


def wait_for_maths(page):
    page.evaluate("window.MathJax?.startup.promise")


# ---- every page ----


@per_page
def test_page_is_whole(page, name):
    page.goto(name)
    wait_for_maths(page)
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("main h1:visible").count() == 1

    formulas = page.locator("article .math").count()
    assert page.locator("article .math mjx-container").count() == formulas
    assert page.locator("mjx-merror").count() == 0
    assert bool(formulas) == page.evaluate("'MathJax' in window"), "MathJax where formulas are, only there"

    assert page.locator("article :is(img[style], a > img)").count() == 0
    for picture in page.locator("article img").all():
        said, real, drawn = picture.evaluate(
            "e => [[e.getAttribute('width'), e.getAttribute('height')].map(Number),"
            "      [e.naturalWidth, e.naturalHeight], Boolean(e.closest('.cell_output'))]")
        assert min(real) > 1 and said == [side // (2 if drawn else 1) for side in real], (  # sharp
            f"{picture.get_attribute('src')}: run `make pages`")

    page.set_viewport_size({"width": 320, "height": 640})  # a small phone
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def use_figures(page):
    """Bring the figures to play with to where a reader would."""
    for figure in page.locator(".live").all():
        figure.scroll_into_view_if_needed()
    page.wait_for_function("[...document.querySelectorAll('.live')].every(e => 'ready' in e.dataset)")
    if page.locator("#live-draw").count():
        page.get_by_role("button", name="take a 3").click()
        page.get_by_label("look into").select_option("first convolution")
        page.get_by_role("button", name="slide this kernel").click()
        page.locator("#live-draw select").nth(3).wait_for()
    if page.locator("#live-learn").count():
        page.get_by_role("button", name="train").click()
        page.locator(".live-missed canvas").first.wait_for()
        page.get_by_role("button", name="pause").click()


@per_page
def test_page_is_accessible(page, name):
    page.goto(name)
    wait_for_maths(page)
    page.add_style_tag(content="* { animation: none !important; transition: none !important }")
    page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
    page.evaluate("""() => {  // of code and formulas one token of each kind will do, in a tenth of the time
        const seen = new Set()
        for (const e of document.querySelectorAll("pre span, mjx-container *")) {
            const kind = `${e.tagName} ${e.className}`
            if (seen.has(kind)) e.remove()
            seen.add(kind)
        }
    }""")
    use_figures(page)
    assert_accessible(page)
    if page.locator("#live-draw").count():
        page.get_by_role("button", name="why 3 and not").click()
        assert_accessible(page)


def assert_accessible(page):
    from axe_playwright_python.sync_playwright import Axe
    for theme, forced in (("light", "none"), ("dark", "none"), ("dark", "active")):
        page.emulate_media(color_scheme=theme, forced_colors=forced)
        page.locator(f"html[data-theme={theme}]").wait_for()
        found = Axe().run(page, options={"runOnly": WCAG, "resultTypes": ["violations"], "preload": False})
        assert found.violations_count == 0, f"{theme}, forced colours {forced}: {found.generate_report()}"


@pytest.mark.parametrize("name", CHAPTERS)
def test_head_describes_the_page(name):
    text = (SITE / name).read_text(encoding="utf-8")
    said = dict(re.findall(r'<meta (?:name|property)="([\w:]+)" content="(.*?)"', text))
    assert said["description"] == said["og:description"]
    title = re.search("<title>(.*?)( &#8212; Reading Digits)?</title>", text)[1]
    assert title == said["og:title"] and f"<h1>{title}<" in text
    assert said["og:url"].startswith("https://") and said["og:url"].endswith(f"/{name}")
    assert said["og:image"].removesuffix("social-card.png") == said["og:url"].removesuffix(name)
    icon = re.search('<link rel="icon" href="(.*?)"', text)[1]
    assert (SITE / name).parent.joinpath(icon).exists()


@pytest.mark.parametrize("name", [name for name in CHAPTERS if re.search(r"/\d", name)])
def test_colab_opens_the_page_from_its_link_and_from_the_launch_button(name):
    notebook = "{}/{}/blob/main/".format(*repository.owner_and_name()) + name.replace(".html", ".ipynb")
    text = (SITE / name).read_text(encoding="utf-8")
    assert text.count(f'href="https://colab.research.google.com/github/{notebook}"') == 2


# ---- the site ----


def test_the_start_leads_to_the_first_page(page):
    icon = re.search('rel="icon" href="(.*?)"', (SITE / "index.html").read_text())  # or it asks for another
    assert icon and (SITE / icon[1]).exists()
    page.goto("/")
    page.wait_for_url(f"**/{CHAPTERS[0]}")


def test_previous_and_next_lead_through_the_book(page):
    page.goto(CHAPTERS[0])
    for before, after in zip(CHAPTERS, CHAPTERS[1:]):
        page.locator("a.right-next").click()
        page.wait_for_url(f"**/{after}")
        assert page.locator("a.left-prev").evaluate("e => e.href").endswith(before)
    assert page.locator("a.right-next").count() == 0


def test_search_finds_a_word(page):
    page.goto(CHAPTERS[0])
    page.keyboard.press("Control+k")
    page.keyboard.type("dropout")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=dropout")
    page.locator("#search-results a[href*='10-dropout.html']").first.click()
    page.wait_for_url("**/10-dropout.html*")


@pytest.mark.parametrize("written", ["Cireșan", "Cireşan", "Ciresan"])  # a comma, a cedilla, neither
def test_search_finds_a_name_however_it_is_written(page, written):
    page.goto(f"search.html?q={written}")
    page.locator("#search-results a[href*='17-plain-deep-network.html']").first.wait_for()


def test_the_theme_can_be_chosen_and_stays(page):
    page.goto(CHAPTERS[0])
    background, seen = "getComputedStyle(document.body).backgroundColor", {}
    for _ in range(3):
        page.locator(".theme-switch-button").click()
        seen[page.locator("html").get_attribute("data-mode")] = page.evaluate(background)
    assert set(seen) == {"light", "dark", "auto"} and seen["light"] != seen["dark"]
    while page.locator("html").get_attribute("data-mode") != "dark":
        page.locator(".theme-switch-button").click()
    page.goto(CHAPTERS[1])
    assert page.evaluate(background) == seen["dark"]


def test_the_site_opens_from_files(page):
    page.goto((SITE / CHAPTERS[1]).as_uri())
    wait_for_maths(page)
    assert page.locator("mjx-container").count() > 0


def test_print_shows_solutions_and_whole_lines_but_no_navigation(page):
    page.goto("book/05-relu.html")
    wait_for_maths(page)
    page.emulate_media(media="print")
    for part in ("#pst-primary-sidebar", "#pst-secondary-sidebar", ".prev-next-footer", ".bd-header-article"):
        assert not page.locator(part).is_visible(), part
    page.set_viewport_size({"width": 640, "height": 900})  # about A4
    solutions = page.locator("article details:not(.hide) > :not(summary)")
    assert solutions.count() > 0 and all(solutions.evaluate_all("all => all.map(e => e.checkVisibility())"))
    cut = page.locator("article pre").evaluate_all("all => all.filter(e => e.scrollWidth > e.clientWidth)")
    assert not cut


def test_the_pdf_holds_the_whole_book(address, tmp_path):
    path = tmp_path / "book.pdf"
    subprocess.run([sys.executable, ROOT / "tools" / "pdf.py", SITE, path], check=True)
    content = path.read_bytes()
    assert content.count(b"/Type /Page\n") > 100 and b"/URI (file:" not in content
    for heading in ("Contents", "Introducing convolutional ?networks", "Dropout", "Glossary"):
        assert re.search(rf"/Title \((\d+\. )?{heading}\)".encode(), content), heading


def test_the_social_card_is_small():
    card = (SITE / "social-card.png").read_bytes()
    assert struct.unpack(">II", card[16:24]) == (1200, 630) and len(card) < 60_000
