"""The live figures, in Debian's Chromium, from files: no server, as in a local copy of the site.

Each test opens a page that holds nothing but a figure, embedded by the block of HTML on the book's page.
"""

import base64
import gzip
import io
import json
import pathlib
import re
import shutil

import keras
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

import nets
from nets import files
from nets.data import HOME
from nets.epoch import descent
from nets.runs import mini_batches, starting_point
from tools import live, results

pytestmark = pytest.mark.browser

ROOT = pathlib.Path(__file__).resolve().parent.parent
SITE = ROOT / "_build" / "html"
FIGURES = {"draw": "index.md", "field": "00-convolutional-networks.ipynb", "errors": "11-ensemble.ipynb",
           "runs": "runs.md", "learn": "learn.md"}


def block(figure, page):
    """The HTML that embeds a figure in a page of the book."""
    text = (ROOT / "book" / page).read_text()
    if page.endswith(".ipynb"):
        text = "\n\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    return re.search(rf'<div id="live-{figure}".*?(?=\n\n|\Z)', text, re.S)[0]


@pytest.fixture(scope="session")
def network():
    """The network of the figures, in Keras."""
    return live.trained_network()[0]


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """A folder with a page for each figure, and what they load. `float32` has the weights in full."""
    folder = tmp_path_factory.mktemp("site")
    for precision in ("float16", "float32"):
        copy = folder / precision
        shutil.copytree(ROOT / "site" / "extra" / "live", copy / "live", ignore=lambda *_: ["data"])
        shutil.copytree(ROOT / "site" / "extra" / "vendor" / "uplot", copy / "vendor" / "uplot")
        live.write(copy / "live" / "data", precision)
        (copy / "book").mkdir()
        for figure, page in FIGURES.items():
            (copy / "book" / f"{figure}.html").write_text(
                f'<!doctype html><meta charset="utf-8"><title>{figure}</title>{block(figure, page)}')
    return folder


@pytest.fixture
def show(chromium, site):
    """Open a figure; at the end, no page may have complained or asked for anything outside the site."""
    contexts, complaints, requests = [], [], []

    def show(figure, folder="float16", path=None, script="", failing=None, wait=True, **options):
        contexts.append(chromium.new_context(**options))
        page = contexts[-1].new_page()
        page.add_init_script(script)
        if failing:
            name, fault = failing
            page.route(f"**/{name}", lambda route: route.abort() if fault == "not there" else route.fulfill(
                body="/* the rest is missing", content_type="text/javascript"))
        page.on("console", lambda message: message.type == "error" and not failing
                and complaints.append(message.text))
        page.on("pageerror", lambda error: failing or complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto((path or site / folder / "book" / f"{figure}.html").as_uri())
        page.locator(f"#live-{figure}").scroll_into_view_if_needed()
        if wait:
            page.wait_for_selector(f"#live-{figure}[data-ready]")
        page.requests = requests
        return page

    yield show
    for context in contexts:
        context.close()
    assert not complaints
    assert all(url.startswith((site.as_uri(), SITE.as_uri(), "blob:")) for url in requests)


def base64_of(array):
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


@pytest.mark.parametrize("name, figure", [("index", "draw"), ("12-filters", "draw"),
                                          ("00-convolutional-networks", "field"), ("11-ensemble", "errors"),
                                          ("runs", "runs"), ("learn", "learn")])
def test_figure_is_in_the_built_site(show, name, figure):
    page = show(figure, path=SITE / "book" / f"{name}.html")
    assert page.locator(f"#live-{figure} canvas").first.is_visible()
    assert not page.locator(f"#live-{figure} > p").is_visible()
    page.emulate_media(media="print")
    assert not page.locator(f"#live-{figure} canvas").first.is_visible()
    assert page.locator(f"#live-{figure} > p").is_visible()


# ---- draw a digit ----

STROKES = {  # on a pad of 1 × 1, as one would write them
    0: [[(.5, .15), (.35, .2), (.27, .4), (.27, .6), (.35, .8),
         (.5, .85), (.65, .8), (.73, .6), (.73, .4), (.65, .2), (.5, .15)]],
    1: [[(.55, .12), (.5, .5), (.47, .88)]],
    2: [[(.28, .3), (.4, .17), (.6, .17), (.7, .32), (.6, .5), (.4, .7), (.27, .85), (.75, .83)]],
    3: [[(.3, .2), (.5, .14), (.68, .25), (.62, .42), (.47, .48),
         (.66, .56), (.7, .72), (.55, .86), (.3, .82)]],
    4: [[(.35, .15), (.28, .5), (.7, .5)], [(.66, .15), (.62, .88)]],
    7: [[(.25, .2), (.5, .18), (.73, .2), (.6, .45), (.5, .65), (.42, .88)]],
}


def within(target, x, y):
    """A place in the target, given from 0 to 1, in pixels of the window."""
    box = target.bounding_box()
    return box["x"] + box["width"] * x, box["y"] + box["height"] * y


def draw(page, strokes, size=1.0, x=0.0, y=0.0):
    """Draw with the mouse, the drawing smaller and moved by shares of the pad."""
    page.get_by_role("button", name="clear").click()
    pad = page.locator(".live-pad")
    for stroke in strokes:
        places = [within(pad, x + size * a, y + size * b) for a, b in stroke]
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place, steps=2)
        page.mouse.up()
    settle(page)


def settle(page):
    """Two frames later, with the network there."""
    page.evaluate("""async () => {
        await readingDigits.draw.ready();
        for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);
    }""")


def answer(page):
    probabilities = page.evaluate("readingDigits.draw.probabilities")
    return probabilities and int(np.argmax(probabilities))


def test_the_network_reads_strokes_of_the_mouse(show):
    page = show("draw")
    for digit, strokes in STROKES.items():
        draw(page, strokes)
        assert answer(page) == digit
        assert page.locator(".live-answer").inner_text() == f"The network reads: {digit}"
        draw(page, strokes, size=0.5, x=0.45, y=0.1)  # small, at the upper right
        assert answer(page) == digit
    assert page.locator("li.live-best").inner_text().startswith(str(digit))


def test_it_costs_nothing_until_used_and_little_then(show, site):
    page = show("draw")

    def files():
        return [site / url.removeprefix(site.as_uri() + "/") for url in page.requests]

    assert sorted(file.name for file in files()) == ["draw.html", "draw.js", "live.css", "live.js"]
    before = [file for file in files() if file.suffix != ".html"]
    draw(page, STROKES[1])
    assert len(files()) == 8
    sizes = [sum(file.stat().st_size for file in each) for each in (before, files())]
    print("{:,} bytes before the first use, {:,} after it".format(*sizes))
    assert sizes[0] < 40_000 and sizes[1] < 400_000


def test_a_blank_pad_has_no_answer(show):
    page = show("draw")
    draw(page, STROKES[1])
    assert answer(page) == 1
    page.locator(".live-pad").press("Delete")
    settle(page)
    assert answer(page) is None
    assert page.evaluate("readingDigits.draw.preprocess(new Uint8Array(100), 10)") is None
    assert "%" not in page.locator(".live-bars").inner_text()


def test_keyboard_alone_can_take_test_digits(show, mnist):
    page = show("draw")
    page.keyboard.press("Tab")
    assert "Pad to draw" in page.evaluate("document.activeElement.ariaLabel")
    for _ in range(6):  # the pad, "clear", "undo", 0, 1, 2, 3
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_function("readingDigits.draw.probabilities")
    assert answer(page) == 3
    page.wait_for_function("document.querySelector('output').textContent.startsWith('The network reads 3')")


def toucher(page):
    """A function that sends a touch event at these places on the pad."""
    pad, session = page.locator(".live-pad"), page.context.new_cdp_session(page)

    def touch(kind, *places):
        points = [dict(zip("xy", within(pad, x, y))) for x, y in places]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    return touch


def test_the_drawing_stays_while_another_page_is_read(show, site):
    page = show("draw")
    draw(page, [])
    draw(page, STROKES[4])
    for back in ("field", "draw"):
        page.goto((site / "float16" / "book" / f"{back}.html").as_uri())
    page.wait_for_function("readingDigits.draw.probabilities")
    assert answer(page) == 4
    page.get_by_role("button", name="undo").click()
    page.get_by_role("button", name="take a 3").click()
    page.wait_for_function("document.querySelector('.live-answer').textContent.endsWith('3')")
    page.reload()
    page.wait_for_function("readingDigits.draw.probabilities")
    assert answer(page) == 3
    page = show("draw", script="Object.defineProperty(window, 'sessionStorage', { get() { throw Error() } })")
    draw(page, STROKES[1])
    page.reload()
    assert answer(page) is None


def test_touch_draws(show):
    page = show("draw", has_touch=True, viewport={"width": 390, "height": 400})  # there is room to scroll
    touch = toucher(page)

    def stroke(end):
        touch("touchStart", (.5, .85))
        for step in range(1, 15):
            touch("touchMove", (.5, .85 - .05 * step))
        touch(end)
        settle(page)

    before = page.evaluate("scrollY")
    stroke("touchEnd")
    assert answer(page) == 1
    assert page.evaluate("scrollY") == before
    page.get_by_role("button", name="clear").click()
    stroke("touchCancel")
    assert answer(page) == 1
    draw(page, STROKES[7])  # after a stroke was broken off the pad still works
    assert answer(page) == 7


def shown(page):
    """How much ink the pad shows, in pixels."""
    return page.locator(".live-pad").evaluate("""(pad) => {
        const { data } = pad.getContext("2d").getImageData(0, 0, 280, 280);
        let ink = 0;
        for (let i = 0; i < data.length; i += 4) ink += (255 - data[i]) * data[i + 3] / 255 ** 2;
        return ink;
    }""")


def test_small_digits_are_read(show):
    """The pen is a ninth of the digit, for the network, however fat it looks beside it."""
    page = show("draw")
    for digit, strokes in STROKES.items():
        draw(page, strokes, size=0.2, x=0.7, y=0.1)
        assert answer(page) == digit


def test_a_tap_is_a_dot(show):
    page = show("draw")
    page.mouse.click(*within(page.locator(".live-pad"), .5, .5))
    settle(page)
    assert shown(page) == pytest.approx(np.pi * 11**2, rel=0.02)
    assert answer(page) is not None


def test_undo_takes_the_last_stroke_back(show):
    page = show("draw")
    draw(page, STROKES[4][:1])
    one = shown(page)
    draw(page, STROKES[4])
    assert answer(page) == 4
    page.get_by_role("button", name="undo").click()
    settle(page)
    assert shown(page) == one
    page.locator(".live-pad").press("Control+z")
    settle(page)
    assert shown(page) == 0 and answer(page) is None
    page.get_by_role("button", name="undo").click()
    page.get_by_role("button", name="take a 3").click()
    page.wait_for_function("readingDigits.draw.probabilities")
    assert answer(page) == 3


BROKEN_BROWSERS = {  # what they answer, where others do as they should
    "no coalesced events": "PointerEvent.prototype.getCoalescedEvents = () => []",
    "blank canvases": """CanvasRenderingContext2D.prototype.getImageData =
        (x, y, width, height) => new ImageData(width, height)""",
    "noisy canvases": """const read = CanvasRenderingContext2D.prototype.getImageData;
        CanvasRenderingContext2D.prototype.getImageData = function (...at) {
            const image = read.apply(this, at);
            image.data.forEach((_, i) => image.data[i] ^= 127 * Math.random());
            return image;
        }""",
}


@pytest.mark.parametrize("broken", BROKEN_BROWSERS)
def test_broken_browsers_read_as_well(show, broken):
    page = show("draw", script=BROKEN_BROWSERS[broken])
    draw(page, STROKES[7])
    assert answer(page) == 7 and shown(page) if broken == "no coalesced events" else answer(page) == 7


def point(page, kind, pointer, device, place, buttons=1):
    """Send a pointer event of a device to the pad."""
    x, y = within(page.locator(".live-pad"), *place)
    event = {"pointerId": pointer, "pointerType": device, "clientX": x, "clientY": y, "buttons": buttons}
    page.locator(".live-pad").evaluate("""(pad, [kind, event]) => {
        pad.setPointerCapture = () => {};
        pad.dispatchEvent(new PointerEvent(kind, { ...event, button: 0, isPrimary: true }));
    }""", [kind, event])


def test_a_pen_writes_while_the_palm_rests(show):
    page = show("draw")
    point(page, "pointerdown", 5, "touch", (.9, .9))
    point(page, "pointermove", 5, "touch", (.91, .9))
    (first, *rest), = STROKES[1]
    point(page, "pointerdown", 6, "pen", first)
    point(page, "pointerdown", 7, "touch", (.9, .95))  # the palm again
    for place in rest:
        point(page, "pointermove", 6, "pen", place)
        point(page, "pointermove", 5, "touch", (.92, .9))
    point(page, "pointerup", 6, "pen", rest[-1], 0)
    point(page, "pointermove", 5, "touch", (.95, .9))
    settle(page)
    assert answer(page) == 1
    corner = "[...readingDigits.draw.ink()].some((ink, i) => ink && i % 280 > 200 && i / 280 > 200)"
    assert not page.evaluate(corner), "nothing of the palm is left"


def test_a_lost_release_ends_the_stroke(show):
    page = show("draw")
    point(page, "pointerdown", 1, "mouse", (.5, .1))
    point(page, "pointermove", 1, "mouse", (.5, .8))
    point(page, "pointermove", 1, "mouse", (.9, .8), buttons=0)  # released where no one heard it
    point(page, "pointermove", 1, "mouse", (.9, .1))
    settle(page)
    assert answer(page) == 1
    page.get_by_role("button", name="clear").click()
    point(page, "pointerdown", 8, "touch", (.1, .1))  # and its release is lost
    point(page, "pointerdown", 9, "touch", (.5, .1))
    point(page, "pointermove", 9, "touch", (.5, .8))
    settle(page)
    page.get_by_role("button", name="undo").click()
    settle(page)
    assert 300 < shown(page) < 420, "the other finger's dot"


@pytest.mark.parametrize("fault", ["not there", "cut off"])
def test_a_failed_download_is_tried_again(show, fault):
    page = show("draw", failing=("data/weights.js", fault))
    draw(page, STROKES[7])
    assert answer(page) is None
    assert "could not be loaded" in page.locator(".live-answer").inner_text()
    page.unroute_all()
    draw(page, STROKES[7])
    assert answer(page) == 7


@pytest.mark.parametrize("figure", ["field", "errors", "runs"])
def test_a_figure_that_failed_to_load_can_be_tried_again(show, figure):
    page = show(figure, failing=(f"data/{figure}.js", "not there"), wait=False)
    page.get_by_text("could not be loaded").wait_for()
    page.unroute_all()
    page.get_by_role("button", name="try again").click()
    page.wait_for_selector(f"#live-{figure}[data-ready] canvas")
    assert page.get_by_text("could not be loaded").count() == 0


def greys(page, target):
    """The grey levels of a picture of this element and 3 pixels around it, from 0 to 255."""
    box = target.bounding_box()
    clip = {"x": box["x"] - 3, "y": box["y"] - 3, "width": box["width"] + 6, "height": box["height"] + 6}
    return np.array(Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("L")).astype(int)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_forced_colours_hide_nothing(show, theme):
    """Ink, the pad's edge and the bars differ from what is around them, in the reader's own colours too."""
    page = show("draw", forced_colors="active", color_scheme=theme, viewport={"width": 1000, "height": 1000})
    draw(page, STROKES[1])
    page.mouse.move(0, 0)
    pad = greys(page, page.locator(".live-pad"))
    assert pad[143:146, 60].min() > 150 and pad[143:146, 130:160].min() < 100, "ink on paper"
    for row in (60, 200):
        line = pad[row, :6]
        assert np.ptp(line) > 60, f"an edge: {line}"
    bar = greys(page, page.locator(".live-best .live-bar"))
    assert np.ptp(bar[:, 20]) > 100, "a bar"
    page.evaluate("document.querySelector('.live-best').classList.remove('live-best')")
    bar = greys(page, page.locator(".live-bars li").nth(1).locator(".live-bar"))
    assert np.ptp(bar[:, 20]) > 100, "a bar"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_forced_colours_keep_what_colours_say(show, theme):
    page = show("field", forced_colors="active", color_scheme=theme, viewport={"width": 1000, "height": 1000})
    cells = page.locator(".live-grid td").evaluate_all(
        "all => all.map(e => getComputedStyle(e).backgroundColor)")
    assert len(set(cells)) > 2, "orange, blue and white"
    hatched = page.locator(".live-handle").nth(1).evaluate("e => getComputedStyle(e).backgroundImage")
    assert "gradient" in hatched
    page = show("errors", forced_colors="active", color_scheme=theme)
    page.get_by_role("button", name="0", exact=True).click()
    outlines = page.locator(".live-errors button, .live-gallery button, .live-reading button").evaluate_all(
        "all => all.filter(e => getComputedStyle(e).outlineStyle === 'solid').map(e => e.textContent)")
    assert "0" in outlines and "" in outlines, "the guess, and the digit in hand"


@pytest.mark.parametrize("figure", FIGURES)
def test_figures_fit_320_pixels(show, figure):
    page = show(figure, viewport={"width": 320, "height": 640}, reduced_motion="reduce")
    if figure == "draw":
        draw(page, STROKES[7])
        for layer, stage in ((3, "probabilities"), (2, "hidden"), (1, "maps2")):
            assert look(page, stage, 0)["layer"] == layer
            fits(page, 320)
    fits(page, 320)


def fits(page, width):
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    outside = page.locator(".live-figure *:not(.live-unseen, .live-scroll *)").evaluate_all("""(all) => {
        const figure = document.querySelector(".live-figure").getBoundingClientRect();
        return all.filter(e => e.getBoundingClientRect().right > figure.right).map(e => e.outerHTML);
    }""")
    assert outside == []


# ---- look into the network ----

def look(page, stage, map, row=0, column=0):
    """Click a place of a map of a stage, to a whole pixel; then, exactly, what the figure says of it."""
    page.emulate_media(reduced_motion="reduce")  # the page does not move under the pointer
    canvas = page.locator(f".live-stage-{stage} canvas").nth(map)
    side = canvas.evaluate("canvas => canvas.width")
    canvas.scroll_into_view_if_needed()
    page.mouse.click(*within(canvas, (column + .5) / side, (row + .5) / side))
    if stage.startswith("maps"):
        clicked = page.evaluate("readingDigits.looking.explained")
        assert abs(clicked["row"] - row) <= 1 and abs(clicked["column"] - column) <= 1
        page.get_by_label("row", exact=True).fill(str(row))
        page.get_by_label("column", exact=True).fill(str(column))
    return page.evaluate("readingDigits.looking.explained")


def test_a_click_explains_any_number(show, network):
    page = show("draw", viewport={"width": 1000, "height": 1400})
    draw(page, STROKES[4])
    image = np.reshape(page.evaluate("[...readingDigits.draw.preprocess(readingDigits.draw.ink(), 280)]"),
                       (1, 28, 28, 1))
    stages = {name: values[0] for name, values in keras_stages(network, image.astype("float32")).items()}
    for layer, stage, side, maps in ((0, "maps1", 24, 20), (1, "maps2", 8, 40)):
        for map, row, column in ((0, 0, 0), (maps - 1, side - 1, side - 1), (5, 3, 6)):
            found = look(page, stage, map, row, column)
            assert [found[key] for key in ("layer", "map", "row", "column")] == [layer, map, row, column]
            expected = stages[stage].reshape(side, side, maps)
            assert found["value"] == pytest.approx(expected[row, column, map], abs=5e-3)
            assert max(0, found["sum"] + found["bias"]) == pytest.approx(found["value"], abs=1e-4)
            assert np.sum(found["products"]) == pytest.approx(found["sum"], abs=1e-6)
            y, x = row // 2 * 2, column // 2 * 2
            square = expected[y:y + 2, x:x + 2, map].ravel()
            np.testing.assert_allclose(found["square"], square, atol=5e-3)
        found = look(page, f"pooled{layer + 1}", 5, 1, 2)  # leads to the neuron that wins
        assert found["map"] == 5 and found["value"] == max(found["square"])
    found = look(page, "hidden", 0, 4, 2)
    assert found["map"] == 42 and found["value"] == pytest.approx(stages["hidden"][42], abs=5e-3)
    assert max(0, found["sum"] + found["bias"]) == pytest.approx(found["value"], abs=1e-4)
    found = look(page, "probabilities", 4)
    assert found["value"] == pytest.approx(stages["probabilities"][4], abs=1e-3)
    powers = [look(page, "probabilities", digit) for digit in range(10)]
    powers = np.exp([found["sum"] + found["bias"] for found in powers])
    assert found["value"] == pytest.approx((powers / powers.sum())[4], abs=1e-5)


def shares(page):
    """What the lists say for and against: neurons, and their numbers."""
    lists = [side.locator("li:visible").all_inner_texts() for side in page.locator(".live-side").all()]
    row = re.compile(r"neuron (\d+)\s+([+−]\d+\.\d+)\s")
    found = [[row.match(text).groups() for text in texts] for texts in lists]
    return [[(int(neuron), float(number.replace("−", "-"))) for neuron, number in side] for side in found]


def number(text):
    """What is written with a minus sign."""
    return float(text.replace("−", "-").replace(",", ""))


def in_favour(odds, pair):
    """Log-odds as the figure writes them, as a number for the first of the pair."""
    value, digit = odds.split(" for ")
    return float(value) if int(digit) == pair[0] else -float(value)


def input_of(page):
    image = page.evaluate("[...readingDigits.draw.preprocess(readingDigits.draw.ink(), 280)]")
    return np.reshape(image, (1, 28, 28, 1)).astype("float32")


def test_one_answer_against_another(show, network):
    page = show("draw", "float32", viewport={"width": 1000, "height": 1400})
    draw(page, STROKES[7])
    hidden = keras_stages(network, input_of(page))["hidden"][0]
    kernel, bias = network.layers[4].get_weights()
    logits = hidden @ kernel + bias
    ranks = [int(digit) for digit in logits.argsort()[::-1]]  # the most likely first
    page.get_by_role("button", name=f"why {ranks[0]} and not {ranks[1]}?").click()
    choice, pair = page.get_by_label("compare it with"), ()
    for one, other, chosen in ((0, 1, False), (1, 0, False), (0, 2, True), (5, 2, False), (2, 0, False),
                               (4, 9, True)):
        one, other = ranks[one], ranks[other]
        page.get_by_label("number", exact=True).fill(str(one))
        if chosen:
            choice.select_option(str(other))
        assert choice.input_value() == str(other)
        found = page.evaluate("readingDigits.looking.explained")
        assert (found["layer"], found["map"]) == (3, one)
        if set(pair) != {one, other}:
            pair = one, other  # or each keeps its colour
        against, difference = found["against"], logits[pair[0]] - logits[pair[1]]
        assert (against["one"], against["other"]) == pair
        expected = hidden * (kernel[:, pair[0]] - kernel[:, pair[1]])
        np.testing.assert_allclose(against["shares"], expected, atol=1e-3)
        assert against["total"] == pytest.approx(difference, abs=1e-3)
        assert sum(against["shares"]) + against["bias"] == pytest.approx(difference, abs=1e-3)
        titles = page.locator(".live-shares").locator("xpath=../p").all_inner_texts()
        for sign, side, digit, title in zip((1, -1), shares(page), pair, titles, strict=True):
            order = [n for n in (-sign * expected).argsort() if sign * expected[n] > 0]
            assert [n for n, _ in side] == order[:4]
            np.testing.assert_allclose([value for _, value in side], expected[order[:4]], atol=0.006)
            many, amount = re.match(rf"(\d+) neurons? for {digit}: ([\d.]+)", title).groups()
            assert int(many) == len(order)
            assert float(amount) == pytest.approx(abs(expected[order].sum()), abs=0.006)
        said = page.locator("p.live-best").inner_text()
        words = r"(\d) is (.+) times as likely as (\d): (.+ for \d)\.$"
        first, times, second, odds = re.match(words, said).groups()
        assert (int(first), int(second)) == (pair if difference > 0 else pair[::-1])
        assert in_favour(odds, pair) == pytest.approx(difference, abs=0.006)
        ratio = np.exp(abs(difference))
        if ratio > 1e6:
            assert times == "over a million"
        else:
            assert number(times) == pytest.approx(ratio, rel=0.06)


def gradient(network, image, one, other):
    """What each pixel, from 0 to 1, does to the difference of the two sums before the softmax."""
    import tensorflow as tf
    image = tf.convert_to_tensor(image)
    with tf.GradientTape() as tape:
        tape.watch(image)
        values = image
        for layer in network.layers[:4]:
            values = layer(values)
        kernel, bias = network.layers[4].get_weights()
        sums = values @ kernel + bias
        difference = sums[0, one] - sums[0, other]
    return 256 * np.ravel(tape.gradient(difference, image)), float(difference)


def test_pixels_speak_for_one_answer_or_the_other(show, network):
    """A 7 with a short bar is read as 1. The picture shows where ink is missing; there, it is a 7."""
    page = show("draw", "float32", viewport={"width": 1000, "height": 1800}, forced_colors="active")
    draw(page, [[(.45, .2), (.6, .2), (.52, .85)]])
    assert answer(page) == 1
    page.get_by_role("button", name="why 1 and not 7?").click()
    image, against = input_of(page), page.evaluate("readingDigits.looking.explained.against")
    slopes, difference = gradient(network, image, 1, 7)
    weights, ink = np.array(against["weights"]), np.ravel(image) / 256
    np.testing.assert_allclose(weights, slopes, atol=1e-3)
    assert ink @ weights + against["inputBias"] == pytest.approx(difference, abs=1e-3)
    effect = page.locator(".live-effect")
    said = effect.locator("xpath=../..").inner_text()
    for_1, for_7 = (float(re.search(rf"your ink for {digit}: ([\d.]+)", said)[1]) for digit in (1, 7))
    biases, total = re.search(r"biases: (.+ for \d); in all, log-odds (.+ for \d)\.", said).groups()
    assert for_1 == pytest.approx((ink * weights).clip(0).sum(), abs=0.006)
    assert for_1 - for_7 + in_favour(biases, (1, 7)) == pytest.approx(difference, abs=0.02)
    assert in_favour(total, (1, 7)) == pytest.approx(difference, abs=0.006)

    strongest = (ink * weights).argmax(), (ink * weights).argmin()
    for pixel, colour in zip(strongest, ((213, 94, 0), (0, 114, 178))):
        row, column = divmod(int(pixel), 28)
        shown = effect.locator("canvas").evaluate(f"""(canvas) =>
            [...canvas.getContext("2d").getImageData({9 * column + 4}, {9 * row + 4}, 1, 1).data]""")
        assert np.argmax(shown[:3]) == np.argmax(colour), "its colour, on grey"
    borders = effect.locator(".live-frame").evaluate_all(
        "all => all.map(e => getComputedStyle(e)).map(e => `${e.borderTopStyle} ${e.borderTopColor}`)")
    assert borders == ["solid rgb(213, 94, 0)", "dashed rgb(0, 114, 178)"], "not by colour alone"
    bar = np.argwhere(image[0, :, :, 0] > 25)[0]  # its left end
    hint = against["blankAt"]
    assert hint["row"] <= bar[0] < hint["row"] + 5
    assert hint["column"] < bar[1] < hint["column"] + 8
    assert f"A dot would speak most for 7: rows {hint['row']} to {hint['row'] + 4}" in effect.locator(
        "canvas").get_attribute("aria-label")

    page.get_by_role("button", name="draw there and see").click()
    assert page.evaluate("document.activeElement.className") == "live-pad"
    pad = page.locator(".live-pad")
    page.mouse.move(*within(pad, .45, .2))
    page.mouse.down()
    page.mouse.move(*within(pad, .33, .2), steps=3)
    page.mouse.up()
    settle(page)
    verdict = page.locator("p.live-best").inner_text()
    assert re.match(rf"7 is .* times as likely as 1: .* for 7 \(was {re.escape(total)}\)", verdict), verdict
    assert np.argsort(page.evaluate("readingDigits.draw.probabilities"))[-2] != 1, "another comes second now"
    why = page.get_by_role("button", name="why 7 and not 1?")
    why.click()
    assert effect.locator("xpath=../..").inner_text().startswith("your ink for 1: "), "orange, as before"
    page.get_by_role("button", name="undo").click()
    settle(page)
    assert re.search(r"for 1 \(was .* for 7\)", page.locator("p.live-best").inner_text())


SMALL = """() => [...document.querySelectorAll(".live-figure :is(button, select, input, .live-maps canvas)")]
    .filter((e) => e.checkVisibility())
    .map((e) => [e.getBoundingClientRect(), e.width === 10 ? 10 : 1, e.outerHTML])  // 10 × 10 neurons
    .filter(([{ width, height }, parts]) => Math.min(width, height) < 24 * parts).map((all) => all[2])"""


def test_a_finger_finds_its_way_on_a_phone(show):
    page = show("draw", path=SITE / "book" / "index.html", has_touch=True, is_mobile=True,
                viewport={"width": 375, "height": 720}, reduced_motion="reduce")
    page.get_by_role("button", name="take a 7").tap()
    page.wait_for_function("readingDigits.draw.probabilities")
    page.mouse.wheel(0, -50)
    assert not page.locator("#pst-back-to-top").is_visible(), "it covered the bars"
    header = page.locator(".bd-header-article").bounding_box()["height"]

    def in_view(target):
        box = target.bounding_box()
        return header <= box["y"] and box["y"] + box["height"] <= page.evaluate("innerHeight")

    assert not page.locator(".live-input").is_visible(), "the network's input is shown once"
    best = page.locator(".live-best > :last-child").evaluate("""(number) => {
        number.textContent = ">\u00a099.9\u00a0%";
        return number.scrollWidth - number.clientWidth;
    }""")
    assert best <= 0
    pictures, chooser = page.locator(".live-explained .live-views").last, page.get_by_label("look into")
    for stage in ("maps1", "pooled2", "hidden"):
        page.locator(f".live-stage-{stage} canvas").last.tap()
        assert in_view(chooser) and in_view(pictures), stage
    page.get_by_role("button", name="on to map").tap()
    assert in_view(chooser)
    before = page.evaluate("scrollY")
    page.get_by_label("number", exact=True).fill("5")
    assert page.evaluate("scrollY") == before
    page.get_by_role("button", name="why 7 and not").tap()
    assert in_view(page.get_by_label("compare it with")) and in_view(page.locator(".live-effect"))
    page.get_by_role("button", name="draw there and see").tap()
    assert in_view(page.locator(".live-pad"))
    assert page.evaluate(SMALL) == []
    page.set_viewport_size({"width": 720, "height": 375})
    assert page.evaluate(SMALL) == []


def test_pictures_in_large_can_be_tapped(show):
    page = show("draw", viewport={"width": 1000, "height": 1400})
    draw(page, STROKES[7])

    def tap(n, row, column, side):
        page.mouse.click(*within(page.locator(".live-explained .live-picture:visible > :first-child").nth(n),
                                 (column + .5) / side, (row + .5) / side))
        found = page.evaluate("readingDigits.looking.explained")
        return [found[key] for key in ("layer", "map", "row", "column")]

    page.emulate_media(reduced_motion="reduce")
    page.locator(".live-stage-input canvas").click()
    assert page.evaluate("readingDigits.looking.explained.layer") == 0
    assert tap(0, 12, 20, 28) == [0, 0, 10, 18], "the window with this pixel in its middle"
    look(page, "maps2", 5, 4, 4)
    assert tap(1, 6, 2, 12) == [1, 5, 4, 0]
    assert tap(0, 14, 20, 28) == [1, 5, 4, 7]
    layer, map_, row, column = tap(3, 1, 2, 4)
    assert (layer, map_, row // 2, column // 2) == (1, 5, 1, 2)
    frame, whole = (page.locator(selector).first.bounding_box() for selector in
                    (".live-explained .live-frame:visible", ".live-explained .live-view:visible canvas"))
    assert frame["width"] == pytest.approx(whole["width"] / 2, abs=1), "the window of the window in the digit"
    look(page, "hidden", 0, 4, 5)
    channel = page.evaluate("readingDigits.looking.explained.channel")
    layer, map_, row, column = tap(1, 3, 1, 4)
    assert (layer, map_, row // 2, column // 2) == (1, channel, 3, 1)
    look(page, "probabilities", 3)
    page.locator(".live-explained").scroll_into_view_if_needed()
    assert tap(1, 6, 7, 10) == [2, 67, 0, 0]  # the second picture


def test_buttons_lead_from_an_answer_down_to_the_drawing(show):
    """By keyboard: each explains a number that the one before is made of."""
    page = show("draw", viewport={"width": 1000, "height": 1400})
    page.get_by_role("button", name="take a 7").press("Enter")
    page.wait_for_function("readingDigits.draw.probabilities")
    page.get_by_role("button", name="why 7 and not").press("Enter")
    page.wait_for_function("""[...document.querySelectorAll("output")].some(({ textContent }) =>
        textContent.startsWith("Answers, number 7. 7 is "))""")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") == "SELECT"
    other = page.get_by_label("compare it with").input_value()
    for side, (neuron, _) in enumerate([shares(page)[0][1], shares(page)[1][0]]):
        page.locator(".live-side").nth(side).get_by_text(f"neuron {neuron}", exact=True).press("Enter")
        found = page.evaluate("readingDigits.looking.explained")
        assert (found["layer"], found["map"]) == (2, neuron)
        assert page.evaluate("document.activeElement.ariaLabel") == "How this number comes about"
        page.get_by_role("button", name=f"back to 7 against {other}").press("Enter")
        assert page.evaluate("readingDigits.looking.explained.layer") == 3
    page.locator(".live-side button").first.press("Enter")
    for layer in (1, 0):
        above = page.evaluate("readingDigits.looking.explained")
        page.get_by_role("button", name=f"on to map {above['channel']}, row ").press("Enter")
        found = page.evaluate("readingDigits.looking.explained")
        inputs, products = (above[name][above["channel"]] for name in ("inputs", "products"))
        assert (found["layer"], found["map"]) == (layer, above["channel"])
        largest = inputs[np.argmax(np.abs(products))]
        assert found["value"] == max(found["square"]) == pytest.approx(largest, abs=1e-6)
    assert page.get_by_role("button", name="on to").count() == 0
    page.get_by_role("button", name=f"back to 7 against {other}").click()
    assert page.evaluate("readingDigits.looking.explained.map") == 7


def test_what_a_hidden_neuron_sees_most_is_framed_in_the_drawing(show):
    """The frame holds all that the largest product of the chosen map is made of: nothing else changes it."""
    page = show("draw", viewport={"width": 1000, "height": 1400})
    draw(page, STROKES[7])
    page.get_by_role("button", name="why 7 and not").click()
    page.locator(".live-side button").first.click()
    channel = page.evaluate("readingDigits.looking.explained.channel")
    picture = page.locator(".live-explained .live-picture:visible").first
    frame, whole = picture.locator(".live-frame").bounding_box(), picture.locator("canvas").bounding_box()
    pixel = whole["width"] / 28
    column, row = (round((frame[axis] - whole[axis]) / pixel) for axis in "xy")
    assert frame["width"] == pytest.approx(14 * pixel, abs=0.5)
    assert picture.locator("canvas").evaluate("canvas => canvas.width") == 28
    page.get_by_role("button", name="on to map").click()
    found = page.evaluate("readingDigits.looking.explained")
    assert (found["map"], 2 * found["row"], 2 * found["column"]) == (channel, row, column)
    alone = page.evaluate("""([map, row, column]) => {
        const { classify, ink, preprocess } = readingDigits.draw;
        const inside = (i, from) => i >= from && i < from + 14;
        const pixels = preprocess(ink(), 280).map((value, i) =>
            (inside(Math.floor(i / 28), row) && inside(i % 28, column) ? value : 0));
        return classify(pixels).maps2[40 * (8 * row / 2 + column / 2) + map];
    }""", [channel, row, column])
    assert alone == pytest.approx(found["value"], abs=1e-6) and alone > 0


def test_the_picture_grows_out_of_the_map_that_is_clicked(show):
    page = show("draw", viewport={"width": 1000, "height": 1400})
    draw(page, STROKES[4])
    page.locator(".live-stage-maps1 canvas").nth(3).click()
    map_shown = page.locator(".live-explained .live-handle")
    assert map_shown.evaluate("(map) => map.getAnimations().length") == 1
    page.emulate_media(reduced_motion="reduce")
    page.locator(".live-stage-maps2 canvas").nth(3).click()
    page.wait_for_function("!document.querySelector('.live-explained .live-handle').getAnimations().length")


def test_the_number_in_hand_follows_the_drawing(show):
    page = show("draw", viewport={"width": 1000, "height": 1400})
    draw(page, STROKES[4])
    before = look(page, "maps1", 3, 12, 12)
    draw(page, STROKES[0])
    after = page.evaluate("readingDigits.looking.explained")
    assert (after["map"], after["row"]) == (3, 12) and after["inputs"] != before["inputs"]
    page.get_by_role("button", name="clear").click()
    settle(page)
    assert not page.locator(".live-formula").first.is_visible()
    page.get_by_label("look into").select_option("answers")  # nothing is drawn
    assert not page.locator(".live-formula").first.is_visible()
    draw(page, STROKES[0])
    assert page.evaluate("readingDigits.looking.explained.layer") == 3


def test_the_kernel_slides_over_the_drawing(show, network):
    page = show("draw", viewport={"width": 1000, "height": 1400})
    draw(page, STROKES[4])
    explained = look(page, "maps1", 7, 10, 10)
    page.get_by_role("button", name="slide this kernel").click()
    page.wait_for_function("readingDigits.field?.sums")
    field = page.evaluate("readingDigits.field")
    assert field["sums"][24 * 10 + 10] == pytest.approx(explained["sum"], abs=1e-5)
    kernel = network.layers[1].get_weights()[0][:, :, 0, 7]
    np.testing.assert_allclose(field["weights"], kernel.ravel(), atol=1e-3)


def test_keyboard_and_screen_reader_get_to_any_number(show):
    page = show("draw", viewport={"width": 1000, "height": 1400})
    page.get_by_role("button", name="take a 3").press("Enter")
    page.wait_for_function("readingDigits.draw.probabilities")
    page.get_by_label("look into").select_option("second convolution")
    for label, value in (("number", 39), ("row", 7), ("column", 4)):
        page.get_by_label(label, exact=True).fill(str(value))
    explained = page.evaluate("readingDigits.looking.explained")
    assert [explained[key] for key in ("layer", "map", "row", "column")] == [1, 39, 7, 4]
    page.locator(".live-handle").press("ArrowUp")
    page.locator(".live-handle").press("ArrowRight")
    page.get_by_role("button", name="map 11: ").press("Enter")
    explained = page.evaluate("readingDigits.looking.explained")
    assert [explained[key] for key in ("row", "column", "channel")] == [6, 5, 11]
    page.wait_for_function("""[...document.querySelectorAll("output")].some(({ textContent }) =>
        textContent.startsWith("Second convolution, map 39, row 6, column 5. Sum over map 11 before it"))""")
    page.get_by_label("number", exact=True).fill("77")  # there are 40
    assert page.evaluate("readingDigits.looking.explained.map") == 39


def test_an_update_is_fast(show):
    """Printed, not asserted: other processes share the machine."""
    page = show("draw", viewport={"width": 1000, "height": 1400})
    draw(page, STROKES[3])
    look(page, "maps2", 3, 4, 4)
    times = page.evaluate("""() => [...Array(50)].map(() => {
        const start = performance.now();
        readingDigits.draw.update();
        return performance.now() - start;
    })""")
    print(f"an update takes {np.median(times):.1f} ms, in the median of 50; the longest {max(times):.1f} ms")
    assert len(times) == 50


# Each digit at a random size and place on a pad of its own, through preprocessing and network.
READ_PLACED = """async ([images, places]) => {
    await readingDigits.draw.ready();
    const { bytes, draw } = readingDigits, inks = bytes(images);
    const small = new OffscreenCanvas(28, 28).getContext("2d");
    const pad = new OffscreenCanvas(280, 280).getContext("2d", { willReadFrequently: true });
    return places.map(([x, y, side], n) => {
        const image = small.createImageData(28, 28);
        for (let i = 0; i < 784; i++) image.data[4 * i + 3] = inks[784 * n + i];
        small.putImageData(image, 0, 0);
        pad.clearRect(0, 0, 280, 280);
        pad.drawImage(small.canvas, x, y, side, side);
        const colours = pad.getImageData(0, 0, 280, 280).data, ink = new Uint8Array(280 * 280);
        for (let i = 0; i < ink.length; i++) ink[i] = colours[4 * i + 3];
        const probabilities = draw.classify(draw.preprocess(ink, 280)).probabilities;
        return probabilities.indexOf(Math.max(...probabilities));
    });
}"""


def test_real_digits_at_any_size_and_place_are_read(show, mnist):
    rng = np.random.default_rng(0)
    chosen = rng.choice(10000, 1000, replace=False)
    places = []
    for image in mnist.test.images[chosen, :, :, 0]:
        side = rng.uniform(100, 350)
        ink = np.argwhere(image)[:, ::-1] * side / 28  # x, y
        low, high = ink.min(axis=0), ink.max(axis=0) + side / 28
        fit = min(1.0, 280 / (high - low).max())
        low, high, side = fit * low, fit * high, fit * side
        places.append([*rng.uniform(-low, 280 - high), side])
    answers = show("draw").evaluate(READ_PLACED, [base64_of(mnist.test.images[chosen]), places])
    right = (np.array(answers) == mnist.test.labels[chosen]).mean()
    print(f"{right:.1%} of 1,000 placed digits are read correctly")
    assert right >= 0.97


def keras_stages(network, images):
    """Each stage of the network in Keras, by the name that the figure has for it."""
    values = network.layers[0](images)
    stages = {"input": values}
    for n, layer in enumerate(network.layers[1:3], start=1):
        kernel, bias = layer.get_weights()
        stages[f"maps{n}"] = keras.ops.relu(keras.ops.conv(values, kernel, padding="valid") + bias)
        stages[f"pooled{n}"] = values = layer(values)
    stages["hidden"] = network.layers[3](values)
    stages["probabilities"] = network.layers[4](stages["hidden"])
    return {name: np.reshape(keras.ops.convert_to_numpy(stage), (len(images), -1))
            for name, stage in stages.items()}


@pytest.mark.parametrize("precision, tolerance", [("float16", 1e-3), ("float32", 1e-5)])
def test_every_stage_is_that_of_keras(show, mnist, network, precision, tolerance):
    page, images = show("draw", precision), mnist.test.images[:100]
    theirs = page.evaluate("""async (images) => {
        const { bytes, draw } = readingDigits, inks = bytes(images);
        await draw.ready();
        return [...Array(100).keys()].map((n) => Object.fromEntries(
            Object.entries(draw.classify(inks.subarray(784 * n, 784 * (n + 1))))
                .map(([name, values]) => [name, Array.from(values)])));
    }""", base64_of(images))
    for name, ours in keras_stages(network, images).items():
        difference = np.abs(np.array([stages[name] for stages in theirs]) - ours).max()
        print(f"{precision}, {name}: largest difference from Keras {difference:.1e}")
        assert difference < tolerance * max(1, np.abs(ours).max())


def as_mnist():
    """The preparation of the page on digits from elsewhere, from its cells."""
    names = {}
    for cell in json.loads((ROOT / "book" / "20-your-digits.ipynb").read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and ("def shares" in source or "def as_mnist" in source):
            exec(f"import numpy as np\nfrom scipy import ndimage\n{source}", names)
    return names["as_mnist"]


PREPROCESS = "([ink, n]) => Array.from(readingDigits.draw.preprocess(ink, n))"


def inks(mnist):
    """What may be on a pad of 100 × 100, from 0 to 255, by name: real digits, and cases that no one draws."""
    rng, digit = np.random.default_rng(0), mnist.test.images[61, :, :, 0]
    named = {}
    for side in (28, 41, 77, 100):  # at the upper right
        margins = (0, 100 - side), (100 - side, 0)
        named[f"{side} pixels"] = np.pad(ndimage.zoom(digit, side / 28, order=1), margins)
    named["faint"] = named["77 pixels"] // 8
    named["stained"] = np.maximum(named["41 pixels"], rng.integers(0, 26, (100, 100)))  # no more than a tenth
    for name, place in {"a dot": (3, 96), "a bar": (slice(40, 44), slice(0, 100)), "all": ()}.items():
        named[name] = np.zeros((100, 100), int)
        named[name][place] = 200
    named["noise"] = rng.integers(0, 256, (100, 100)) * (rng.random((100, 100)) < 0.01)
    named["an unequal pair"] = np.zeros((100, 100), int)
    named["an unequal pair"][[5, 90], [5, 90]] = 255, 30  # most of the mass in a corner
    return named


def test_the_pad_prepares_as_the_page_on_your_digits_does(show, mnist):
    """One rule, in two languages: the same image, to a grey level."""
    page, prepare = show("draw"), as_mnist()
    for name, ink in inks(mnist).items():
        theirs = np.reshape(page.evaluate(PREPROCESS, [ink.ravel().tolist(), 100]), (28, 28))
        assert np.abs(theirs - prepare(ink.astype(float))).max() < 1, name
    draw(page, STROKES[4], size=0.6, x=0.3, y=0.3)
    ink, theirs = page.evaluate("""() => {
        const { ink, preprocess } = readingDigits.draw;
        return [Array.from(ink()), Array.from(preprocess(ink(), 280))];
    }""")
    ink = np.reshape(ink, (280, 280)).astype(float)
    assert (ink > 0).any() and np.abs(np.reshape(theirs, (28, 28)) - prepare(ink)).max() < 1


def test_preprocessing_keeps_a_digit_that_is_in_place(show, mnist):
    """A digit whose longer side has 20 pixels is only moved, until its centre of mass is in the middle."""
    page = show("draw")
    digits = np.where(mnist.test.images[:, :, :, 0] > 25, mnist.test.images[:, :, :, 0], 0).astype(int)
    image = next(image for image in digits if max(np.ptp(np.argwhere(image), axis=0)) == 19)
    moved = np.zeros((100, 100), int)
    moved[50:78, 30:58] = image
    size = np.indices((28, 28)) + 0.5
    prepared = np.reshape(page.evaluate(PREPROCESS, [moved.ravel().tolist(), 100]), (28, 28))
    assert (size * prepared).sum(axis=(1, 2)) / prepared.sum() == pytest.approx([14.5, 14.5], abs=1e-6)
    assert prepared.sum() == pytest.approx(image.sum())


# ---- move the receptive field ----

def test_field_computes_what_numpy_does(show, mnist, network):
    page = show("field", viewport={"width": 1000, "height": 900})
    digit = mnist.train.images[91, :, :, 0] / 256
    learned = network.layers[1].get_weights()[0][:, :, 0]
    learned = learned[..., np.linalg.norm(learned, axis=(0, 1)).argmax()]
    edge = np.repeat([1.0, 1, 0, -1, -1], 5).reshape(5, 5)
    rising = np.array([2.0, 0, -1, -1, 0])[np.abs(np.add.outer(np.arange(5), np.arange(5)) - 4)]
    kernels = [edge, edge.T, rising, np.full((5, 5), 0.04), learned]
    selects = page.locator("select")
    rng = np.random.default_rng(0)
    for k, kernel in enumerate(kernels):
        selects.nth(0).select_option(index=k)
        for stride in (1, 2):
            selects.nth(1).select_option(str(stride))
            windows = np.lib.stride_tricks.sliding_window_view(digit, (5, 5))[::stride, ::stride]
            sums = np.einsum("jklm,lm->jk", windows, kernel)
            squares = sums.reshape(len(sums) // 2, 2, -1, 2)
            for pooling, pooled in (("max", squares.max(axis=(1, 3))),
                                    ("L2", np.sqrt((squares**2).sum(axis=(1, 3))))):
                selects.nth(2).select_option(pooling)
                row, column = map(int, rng.integers(len(sums), size=2))
                middle = ((stride * place + 2.5) / 28 for place in (column, row))
                page.mouse.click(*within(page.locator(".live-handle").first, *middle))
                field = page.evaluate("readingDigits.field")
                assert (field["row"], field["column"]) == (row, column)
                assert field["inputs"] == windows[row, column].ravel().tolist()
                products = windows[row, column] * kernel
                for name, numbers in (("products", products), ("sum", products.sum()),
                                      ("sums", sums), ("pooled", pooled)):
                    np.testing.assert_allclose(field[name], np.ravel(numbers).squeeze(), atol=1e-9)
                text = page.locator(".live-answer").first.inner_text()
                assert float(text.split()[-1].replace("−", "-")) == pytest.approx(products.sum(), abs=0.005)


def drawn(page, canvas):
    """How many pixels of a canvas are filled in."""
    return page.evaluate("""(n) => {
        const canvas = document.querySelectorAll("canvas")[n];
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return data.filter((_, i) => i % 4 === 3).reduce((count, opaque) => count + opaque / 255, 0);
    }""", canvas)


def test_the_maps_fill_as_the_window_moves(show):
    page = show("field", viewport={"width": 1000, "height": 900})
    image, feature_map = page.locator(".live-handle").all()
    assert (drawn(page, 1), drawn(page, 2)) == (4, 1)
    image.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft"):  # the second leaves the square
        page.keyboard.press(key)
    assert page.evaluate("[readingDigits.field.row, readingDigits.field.column]") == [11, 13]
    assert (drawn(page, 1), drawn(page, 2)) == (6, 1)
    feature_map.focus()
    page.keyboard.press("ArrowRight")
    assert (drawn(page, 1), drawn(page, 2)) == (8, 2)
    for key, edge in (("ArrowUp", 0), ("ArrowDown", 23)):
        for _ in range(13):
            page.keyboard.press(key)
        assert page.evaluate("readingDigits.field.row") == edge
    page.get_by_role("button", name="empty the maps").click()
    assert (drawn(page, 1), drawn(page, 2)) == (4, 1)


def test_sliding_fills_the_maps(show):
    page = show("field", reduced_motion="reduce")
    page.get_by_role("button", name="slide").click()
    page.wait_for_function("readingDigits.field.row === 23")
    assert (drawn(page, 1), drawn(page, 2)) == (576, 144)


def test_moves_are_announced_once_the_reader_pauses(show):
    page = show("field")
    page.evaluate("""() => {
        window.said = [];
        new MutationObserver(() => said.push(document.querySelector("output").textContent))
            .observe(document.querySelector("output"), { childList: true });
    }""")
    page.locator(".live-handle").first.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("said.some((words) => words.includes('column 17'))")
    said = page.evaluate("said")
    assert len(said) <= 2 and said[-1].startswith("Row 10, column 17: sum ")


def test_touch_moves_the_window(show):
    page = show("field", has_touch=True, viewport={"width": 390, "height": 844})
    page.touchscreen.tap(*within(page.locator(".live-handle").first, 0.01, 0.01))
    assert page.evaluate("[readingDigits.field.row, readingDigits.field.column]") == [0, 0]


# ---- explore the errors ----

ERRORS, SCRIPT = "live/data/errors.js", "readingDigits.data.errors = "


def written(site, name):
    """The data of a figure, as the build writes them."""
    text = (site / "float16" / "live" / "data" / f"{name}.js").read_text()
    return json.loads(text.removeprefix(f"readingDigits.data.{name} = ").removesuffix(";\n"))


def test_gallery_is_that_of_the_ledger(site, mnist):
    shown = written(site, "errors")
    stored = files.load_arrays(HOME / "runs" / f"{shown['record']}.predictions.npz")
    answers = np.array([a if a.ndim == 1 else a.argmax(axis=1) for a in stored.values()], int)
    wrong = (nets.vote(answers) != mnist.test.labels).nonzero()[0]
    assert [digit["index"] for digit in shown["digits"]] == wrong.tolist()
    assert [digit["label"] for digit in shown["digits"]] == mnist.test.labels[wrong].tolist()
    assert np.array([digit["answers"] for digit in shown["digits"]]).T.tolist() == answers[:, wrong].tolist()
    assert base64.b64decode(shown["images"]) == mnist.test.images[wrong].tobytes()


def test_probabilities_are_in_the_gallery_where_the_ledger_has_them(home, mnist):
    probabilities = np.full((10000, 10), 0.02, np.float16)
    probabilities[:, 0] = 0.82  # reads everything as 0
    (home / "runs").mkdir()
    files.save_arrays(home / "runs" / "relu.predictions.npz",
                       {"0": probabilities, "1": np.zeros(10000, np.uint8)})  # an older run, answers alone
    digits = live.errors(mnist.test)["digits"]
    assert len(digits) == (mnist.test.labels != 0).sum()
    assert digits[0] == {"index": 0, "label": 7, "vote": 0, "answers": [0, 0], "sure": [0.8198, None]}


def test_probabilities_are_shown_where_they_are_known(show, site):
    shutil.copytree(site / "float16", site / "sure")
    path, data = site / "sure" / ERRORS, written(site, "errors")
    data["digits"][0].update(answers=[0, 0], sure=[0.987, 0.9999])
    path.write_text(f"{SCRIPT}{json.dumps(data)};\n")
    page = show("errors", "sure")
    page.get_by_role("button", name="0", exact=True).click()
    first, second = page.locator(".live-reading li").all_inner_texts()
    assert first.endswith(", 98.7\u00a0% sure") and second.endswith(", >\u00a099.9\u00a0% sure")


def test_label_and_votes_show_only_after_a_guess(show):
    page = show("errors")
    digits = page.evaluate("readingDigits.data.errors.digits")
    figure = page.locator(".live-reading")
    assert page.locator(".live-gallery button").count() == len(digits)
    for n, digit in enumerate(digits[:3]):
        before = figure.inner_text()
        assert "label" not in before and "network" not in before
        guess = digit["label"] if n else (digit["label"] + 1) % 10
        page.get_by_role("button", name=str(guess), exact=True).click()
        after = figure.inner_text()
        assert f"You read {guess}. The label is {digit['label']}." in after
        for i, answer in enumerate(digit["answers"], start=1):
            assert f"network {i}: {answer}" in after
        assert f"the vote: {digit['vote']}" in after
        page.get_by_role("button", name=str((guess + 1) % 10), exact=True).click(force=True)  # too late
        assert figure.inner_text() == after
        page.get_by_role("button", name="next digit").click()
    assert "the label of 2 of the 3" in page.locator(".live-note").inner_text()


def test_guessing_by_keyboard(show):
    page = show("errors")
    page.locator(".live-gallery button").nth(4).press("Enter")
    page.keyboard.press("5")
    assert page.evaluate("readingDigits.errors.guesses[4]") == 5
    assert page.evaluate("document.activeElement.textContent") == "next digit"
    page.keyboard.press("Enter")
    page.keyboard.press("3")
    assert page.evaluate("readingDigits.errors.guesses[5]") == 3


# ---- all runs ----


def first_answers(name):
    """What the first run of a record answers to the test digits."""
    stored = files.load_arrays(HOME / "runs" / f"{name}.predictions.npz")
    first = stored[min(stored, key=int)]
    return first.argmax(axis=1) if first.ndim == 2 else first


def test_all_runs_are_those_of_the_ledger(site, mnist):
    shown, misses = written(site, "runs"), np.zeros(10000, int)
    records = {path.stem: json.loads(path.read_text()) for path in (HOME / "runs").glob("*.json")}
    assert sorted(shown["experiments"]) == sorted(records)
    for name, experiment in shown["experiments"].items():
        for run, (losses, validation, test) in zip(records[name]["runs"], experiment["runs"], strict=True):
            np.testing.assert_allclose(losses, run["loss"], rtol=1e-3)
            np.testing.assert_allclose(np.divide(validation, 10000), run["validation_accuracy"], atol=1e-9)
            np.testing.assert_allclose(np.divide(test, 10000), run["test_accuracy"], atol=1e-9)
        wrong = (first_answers(name) != mnist.test.labels).nonzero()[0]
        assert ("wrong" in experiment) == (len(wrong) < 1000)
        if "wrong" in experiment:
            assert np.cumsum(experiment["wrong"]).tolist() == wrong.tolist()
            assert list(map(int, experiment["answers"])) == first_answers(name)[wrong].tolist()
            misses[wrong] += 1
    digits = shown["missed"]["digits"]
    assert misses[digits].tolist() == sorted(misses, reverse=True)[:len(digits)]
    assert shown["missed"]["labels"] == mnist.test.labels[digits].tolist()
    assert base64.b64decode(shown["missed"]["images"]) == mnist.test.images[digits].tobytes()


def test_a_line_describes_an_experiment(site):
    experiments = written(site, "runs")["experiments"]
    assert experiments["relu"]["what"] == (
        "ConvPool(20, relu) → ConvPool(40, relu) → FullyConnected(100, relu) → Softmax(10); "
        "60 epochs, mini-batches of 10, rate 0.03, λ 0.1")
    assert "ConvPool(20, 3 × 3, sigmoid)" in experiments["conv-pool-no-fc-3x3"]["what"]
    assert experiments["modern"]["what"].endswith("12 epochs, mini-batches of 128, Adam")


def test_an_experiment_is_of_the_page_that_trains_it(site):
    pages = {name: experiment["page"] for name, experiment in written(site, "runs")["experiments"].items()}
    assert all(pages.values())
    for name, _, page, *_ in results.RESULTS:
        if name in pages:  # committees are no experiments
            assert pages[name] == page, name
    for name, page in (("sigmoid-centred", "04-tanh"), ("sigmoid-l2-0.1", "06-regularisation"),
                       ("deep-tanh-rate-0.1", "04-tanh"), ("one-layer-rate-0.03", "17-plain-deep-network"),
                       ("simard-step-maps", "16-simard-lenet")):
        assert pages[name] == page, name


def test_a_chosen_experiment_leads_to_its_page(show):
    page = show("runs", path=SITE / "book" / "runs.html", viewport={"width": 1000, "height": 1400})
    page.get_by_label("sigmoid-he", exact=True).check()
    results = page.get_by_role("group", name="Results")
    assert results.get_by_role("link").all_inner_texts() == [f"page {n}" for n in (1, 2, 5, 10, 5)]
    results.get_by_role("link", name="page 5").last.click()
    page.wait_for_url("**/05-relu.html")


def test_curves_of_chosen_runs(show):
    page = show("runs", viewport={"width": 1000, "height": 1400})
    record = json.loads((HOME / "runs" / "shallow.json").read_text())
    accuracies = 100 * np.array([run["validation_accuracy"] for run in record["runs"]])
    columns = page.evaluate("readingDigits.runs.columns")
    assert columns[0] == list(range(1, 61))
    np.testing.assert_allclose(columns[1:4], [accuracies.mean(0), accuracies.max(0), accuracies.min(0)])
    for name in page.evaluate("readingDigits.runs.chosen")[1:]:
        page.get_by_label(name, exact=True).uncheck()
    show_, of = page.locator("#live-runs select").all()
    of.select_option("each run")
    np.testing.assert_allclose(page.evaluate("readingDigits.runs.columns")[1:], accuracies)
    page.get_by_label("logarithmic values").check()  # of what is misread
    np.testing.assert_allclose(page.evaluate("readingDigits.runs.columns")[1:], 100 - accuracies)
    show_.select_option("loss")
    losses = page.evaluate("readingDigits.runs.columns")[1:]
    np.testing.assert_allclose(losses, [run["loss"] for run in record["runs"]], rtol=1e-3)
    page.get_by_label("names with").fill("lstm")
    names = page.locator(".live-choice label:visible").all_inner_texts()
    assert len(names) == 4 and all("lstm" in name for name in names)


def test_no_more_than_eight_are_chosen(show):
    page = show("runs")
    boxes = page.locator(".live-choice input")
    while page.locator(".live-choice input:checked").count() < 8:
        page.locator(".live-choice input:not(:checked)").first.check()
    assert page.locator(".live-choice input:enabled").count() == 8 < boxes.count()
    for _ in range(8):
        page.locator(".live-choice input:checked").first.uncheck()
    assert page.locator(".live-choice input:enabled").count() == boxes.count()


def test_errors_in_common_and_who_misread_a_digit(show, mnist):
    page = show("runs", viewport={"width": 1000, "height": 1400})
    matrix = page.locator(".live-scroll").nth(1).locator("tbody tr").all()
    names = ["shallow", "conv-pool", "relu", "dropout"]
    wrong = [first_answers(name) != mnist.test.labels for name in names]
    for i, row in enumerate(matrix):
        assert row.locator("td").all_inner_texts() == [str((wrong[i] & other).sum()) for other in wrong]
    page.locator(".live-gallery button").nth(7).press("Enter")
    index = page.evaluate("readingDigits.data.runs.missed.digits[7]")
    said = page.locator(".live-verdict").inner_text()
    assert f"Test digit {index}, label {mnist.test.labels[index]}: " in said
    known = [name for name, experiment in page.evaluate("readingDigits.data.runs.experiments").items()
             if "wrong" in experiment]
    answers = {name: int(first_answers(name)[index]) for name in known}
    for answer in set(answers.values()):
        who = [name for name in known if answers[name] == answer]
        kind = "correctly" if answer == mnist.test.labels[index] else f"as {answer}"
        assert f"{kind}, {len(who)}: {', '.join(who)}" in said


def test_what_the_page_says_of_the_runs(site):
    experiments = written(site, "runs")["experiments"]
    for name in ("shallow", "relu"):
        for loss, validation, _ in experiments[name]["runs"]:
            risen = next(i for i, count in enumerate(validation) if count > max(validation) - 20)
            assert risen < len(loss) / 2 and loss[-1] < loss[risen] / 2
    relu, he = (experiments[name]["test"] for name in ("relu", "relu-he"))
    assert min(relu) < max(he) and min(he) < max(relu)


# ---- watch it learn ----


def test_digits_to_learn_are_mnist(site, mnist):
    shown = written(site, "digits")
    images, training = gzip.decompress(base64.b64decode(shown["packed"])), shown["training"]
    train, validation = (part.images[:n].tobytes() for part, n in zip(mnist, (training, 1000)))
    assert images == train + validation
    labels = list(map(int, shown["labels"]))
    assert labels == [*mnist.train.labels[:training], *mnist.validation.labels[:1000]]


STEPS = """([weights, activation, images, labels, order, rate, decay]) => {
    const { bytes, learning } = readingDigits, inks = bytes(images);
    const arrays = weights.map((text) => new Float32Array(bytes(text).buffer));
    return order.map((batch) => learning.step(arrays, activation, inks, labels, batch, rate, decay));
}"""


@pytest.mark.parametrize("activation, l2", [("sigmoid", 0.0), ("relu", 1.0), ("tanh", 0.1)])
def test_it_learns_what_nets_train_learns(show, mnist, activation, l2):
    """The same start and order: the loss of each of 200 steps, and their mean as `nets.train` has it."""
    digits = nets.Dataset(*(nets.Examples(part.images[:2000], part.labels[:2000]) for part in mnist))
    network = keras.Sequential([keras.layers.Rescaling(1 / 256), nets.FullyConnected(100, activation),
                                nets.Softmax(10)])
    network.build((None, 28, 28, 1))
    (weights, state), order = starting_point(network, 0), mini_batches(2000, 10, 0, 0)
    theirs = show("learn").evaluate(STEPS, [
        [base64_of(array.astype("float32")) for array in weights], activation, base64_of(digits.train.images),
        digits.train.labels.tolist(), order.tolist(), 0.1, l2 / 200])
    step, ours = descent(network, l2 / 200), []
    weights = [keras.ops.convert_to_tensor(array) for array in weights]
    for batch in order:
        weights, state, loss = step(weights, state, digits.train.images[batch].astype("float32"),
                                    digits.train.labels[batch].astype("int32"), np.float32(0.1))
        ours.append(float(loss))
    difference = np.abs(np.subtract(theirs, ours)).max()
    print(f"{activation}, λ {l2:g}: largest difference of 200 losses {difference:.1e}")
    assert difference < 1e-4 and ours[-1] < ours[0]
    trained = nets.train(network, digits, name="page", epochs=1, mini_batch_size=10, learning_rate=0.1, l2=l2)
    assert np.mean(theirs) == pytest.approx(trained.runs[0]["loss"][0], abs=1e-4)


def learned(page, steps):
    """Train until so many steps are done, then pause; what the figure has."""
    page.get_by_role("button", name="train").click()
    page.wait_for_function("(steps) => readingDigits.learn?.steps >= steps", arg=steps, timeout=120_000)
    page.get_by_role("button", name="pause").click()
    return page.evaluate("readingDigits.learn")


def option(page, name, value):
    page.locator("#live-learn label", has_text=name).locator("select").select_option(value)


def test_it_trains_in_the_page(show):
    page = show("learn", viewport={"width": 1000, "height": 1400})
    first = learned(page, 200)
    assert first["accuracy"] > 0.3 and np.isfinite(first["points"][1]).all()
    assert page.locator(".live-missed canvas").count() == 24
    assert "of the validation digits correct" in page.locator(".live-answer").inner_text()
    page.wait_for_timeout(600)  # a report that was on its way
    before = page.evaluate("readingDigits.learn.steps")
    option(page, "learning rate", "0.3")
    page.wait_for_timeout(600)
    assert page.evaluate("readingDigits.learn.steps") == before, "it pauses"
    after = learned(page, before + 200)
    assert after["accuracy"] > first["accuracy"] and after["points"][0][0] == first["points"][0][0]


def test_it_starts_anew(show):
    page = show("learn")
    first = learned(page, 1)["steps"]  # as many as this machine can do until it reports
    before = learned(page, 5 * first)["steps"]
    page.get_by_role("button", name="train").click()
    page.get_by_role("button", name="start anew").click()  # while the worker is at a report of the old one
    page.wait_for_function("readingDigits.learn?.points[0].length >= 3", timeout=120_000)
    steps = page.evaluate("readingDigits.learn.points[0]")
    assert steps[0] < before and steps == sorted(steps)


def test_a_high_rate_kills_relu_neurons_for_good(show):
    page = show("learn")
    option(page, "activation", "relu")
    option(page, "learning rate", "1")
    dead = learned(page, 200)["dead"]
    assert dead > 50
    option(page, "learning rate", "0.01")
    assert learned(page, 400)["dead"] >= dead - 5
    assert "neurons answer to none of them" in page.locator(".live-answer").inner_text()


def test_zeros_never_part(show):
    page = show("learn")
    option(page, "start", "zeros")
    learned(page, 100)
    pictures = page.locator(".live-units canvas").evaluate_all("all => all.map((e) => e.toDataURL())")
    assert len(set(pictures)) == 1
    option(page, "activation", "relu")
    assert learned(page, 100)["dead"] == 100


def test_digits_that_failed_to_load_can_be_loaded_again(show):
    page = show("learn", failing=("data/digits.js", "cut off"))
    page.get_by_role("button", name="train").click()
    page.get_by_text("could not be loaded").wait_for()
    page.unroute_all()
    assert learned(page, 20)["steps"] >= 20


def test_a_training_that_diverges_says_so_and_stops(show):
    page = show("learn")
    option(page, "activation", "relu")
    option(page, "learning rate", "10")
    option(page, "λ", "10")
    option(page, "mini-batch", "1000")
    page.get_by_role("button", name="train").click()
    page.wait_for_function("readingDigits.learn?.diverged", timeout=120_000)
    assert "diverged" in page.locator(".live-answer").inner_text()
    assert page.get_by_role("button", name="train").is_visible()


TRAIN = """async ([activation, start, rate, l2, epochs]) => {
    const { bytes, data, learning, load } = readingDigits;
    await load("data/digits.js");
    const packed = new Blob([bytes(data.digits.packed)]).stream();
    const unpacked = new Response(packed.pipeThrough(new DecompressionStream("gzip")));
    const images = new Uint8Array(await unpacked.arrayBuffer()), labels = [...data.digits.labels].map(Number);
    const weights = learning.start(start, learning.generator(0)), initial = weights[0].slice();
    let loss = 0;
    for (let epoch = 0; epoch < epochs; epoch++) {
        loss = 0;
        for (let n = 0; n < 2000; n += 10) {
            const batch = [...Array(10).keys()].map((i) => n + i);
            loss += learning.step(weights, activation, images, labels, batch, rate, l2 / 200) / 200;
        }
    }
    const change = weights[0].reduce((sum, weight, i) => sum + (weight - initial[i]) ** 2, 0);
    const length = (all) => all.reduce((sum, weight) => sum + weight ** 2, 0);
    return { loss, change: change / length(initial), length: length(weights[0]) / length(initial) };
}"""


def test_what_the_page_says_of_learning(show):
    page = show("learn")

    def trained(activation="sigmoid", start="chapter", rate=0.1, l2=0, epochs=1):
        return page.evaluate(TRAIN, [activation, start, rate, l2, epochs])

    sigmoid, two, decayed = trained(), trained(epochs=2), trained(l2=10, epochs=2)
    assert trained("relu")["loss"] < 0.7 * sigmoid["loss"]
    assert trained(rate=1)["loss"] < sigmoid["loss"]
    assert trained(rate=10)["loss"] > 2
    assert two["change"] < 0.1, "little beside the start"
    assert decayed["length"] < 0.3 and decayed["loss"] > 1.3 * two["loss"]
