"""The book's story in one picture: each network's errors beside what its source says, as an SVG of text."""

import html
import math

WIDTH, ROW, TOP = 480, 38, 74
MOST, FEWEST = 300, 18  # errors in 10,000, at the ends of the axis, which is logarithmic
TICKS = 200, 100, 50, 25
STYLE = """
.story { width: 100%; max-width: 640px; color: #222; font: 14px system-ui, sans-serif; }
.story text { fill: currentColor; }
.story line { stroke: currentColor; opacity: 0.25; }
.story .ours { fill: #0072b2; stroke: #0072b2; }
.story .interval { stroke: #0072b2; stroke-width: 6; opacity: 0.45; }
.story .claim { fill: none; stroke: #d55e00; stroke-width: 2; }
@media (prefers-color-scheme: dark) { .story { color: #ddd; background: #121212; } }
"""


def place(errors):
    """Where so many errors are on the axis: fewer to the right."""
    share = math.log(MOST / min(max(errors, FEWEST), MOST)) / math.log(MOST / FEWEST)
    return round(8 + share * (WIDTH - 16), 1)


def diamond(x, y):
    return f'<path class="claim" d="M{x} {y - 6}l6 6l-6 6l-6 -6z"/>'


def row(number, what, ours, interval, claim):
    """The lines of a network: its name and figures, and under them the strip with both."""
    y = TOP + number * ROW
    figures = f"{ours:.0f}" + (f" · {claim:.0f}" if claim else "")
    yield f'<text x="8" y="{y}">{html.escape(what)}</text>'
    yield f'<text x="{WIDTH - 8}" y="{y}" text-anchor="end">{figures}</text>'
    y += 12
    yield f'<line x1="8" x2="{WIDTH - 8}" y1="{y}" y2="{y}"/>'
    if interval:
        low, high = map(place, interval)
        yield f'<path class="interval" d="M{high} {y}H{low}"/>'
    if claim:
        yield diamond(place(claim), y)
    yield f'<circle class="ours" cx="{place(ours)}" cy="{y}" r="4.5"/>'


def picture(rows):
    """The SVG of these rows (what, our mean, its interval or None, the claim or None), in errors."""
    height = TOP + ROW * len(rows)
    told = "; ".join(f"{what} {ours:.0f}" + (f", said {claim:.0f}" if claim else "")
                     for what, ours, _, claim in rows)
    lines = [f'<svg class="story" viewBox="0 0 {WIDTH} {height}" xmlns="http://www.w3.org/2000/svg"',
             f' role="img" aria-label="Misread digits of 10,000, by network: {html.escape(told)}.">',
             '<circle class="ours" cx="14" cy="15" r="4.5"/><text x="26" y="20">our mean, interval</text>',
             diamond(172, 15), '<text x="186" y="20">the source</text>',
             f'<text x="{WIDTH - 8}" y="20" text-anchor="end">errors in 10,000</text>']
    for tick in TICKS:
        x = place(tick)
        lines += [f'<line x1="{x}" x2="{x}" y1="48" y2="{height - 14}"/>',
                  f'<text x="{x}" y="42" text-anchor="middle">{tick}</text>']
    for number, cells in enumerate(rows):
        lines += row(number, *cells)
    return "\n".join([*lines, "</svg>"])


def standing_alone(svg):
    """The picture as a file that brings its colours along."""
    first, rest = svg.split("\n", 1)
    head, rest = rest.split(">", 1)
    return f"{first}\n{head}><style>{STYLE}</style>{rest}\n"
