"""The map of the pages, an SVG of text: each stands below those that its box asks for, and joined to them."""

import html
import textwrap

WIDTH, BOX, HEIGHT, GAP = 360, 98, 46, 26
IN_A_ROW = 3
NAMES = {5: "ReLU", 13: "back propagation", 16: "Simard, LeNet", 18: "last thirty-three", 19: "plain Keras"}
TWO_HOURS = {*range(8), *range(9, 13)}


def needed(every):
    """The pages that each needs, without those that another of them needs already: sets of numbers."""
    def all_before(number):
        return set(every[number]) | {other for need in every[number] for other in all_before(need)}

    return {number: set(needs) - {other for need in needs for other in all_before(need)}
            for number, needs in every.items()}


def rows(needs):
    """Rows of numbers, each page below those that it needs; no row has more than fit beside each other."""
    depth = {}
    for number in sorted(needs):  # what is needed has a smaller number
        depth[number] = 1 + max((depth[other] for other in needs[number]), default=-1)
    level = [[number for number in depth if depth[number] == at] for at in range(1 + max(depth.values()))]
    return [numbers[first:first + IN_A_ROW]
            for numbers in level for first in range(0, len(numbers), IN_A_ROW)]


def places(needs):
    """Where the middle of each page's top edge is: (x, y) by number, near those that it needs."""
    found = {}
    for at, row in enumerate(rows(needs)):
        def above(number):
            return sum(found[other][0] for other in needs[number]) / max(1, len(needs[number]))

        step = WIDTH / len(row)
        for i, number in enumerate(sorted(row, key=lambda number: (above(number), number))):
            found[number] = (round(step * (i + 0.5), 1), 4 + at * (HEIGHT + GAP))
    return found


def way(at, start, end):
    """The line from one page down to another, through the gaps of the rows between: a path's data."""
    (x, y), (x_end, y_end) = at[start], at[end]
    y += HEIGHT
    path = f"M{x} {y}"
    while y + GAP < y_end:
        row = sorted(place for place, top in at.values() if top == y + GAP)
        gaps = [4, *((a + b) / 2 for a, b in zip(row, row[1:])), WIDTH - 4]
        gap = min(gaps, key=lambda gap: abs(gap - x_end))
        path += f"C{x} {y + GAP} {gap:g} {y} {gap:g} {y + GAP}V{y + GAP + HEIGHT}"
        x, y = f"{gap:g}", y + GAP + HEIGHT
    return path + f"C{x} {y_end} {x_end} {y} {x_end} {y_end}"


def picture(every):
    """The SVG of these pages, objects of `pages.Page`."""
    paths = {page.number: page.path for page in every}
    needs = needed({page.number: page.needs for page in every})
    at = places(needs)
    height = max(y for _, y in at.values()) + HEIGHT + 4
    lines = [f'<svg class="routes" viewBox="0 0 {WIDTH} {height}" xmlns="http://www.w3.org/2000/svg"',
             ' role="group" aria-label="The pages; a line leads from each down to those that need it">']
    for number, before in needs.items():
        lines += [f'<path d="{way(at, other, number)}"/>' for other in sorted(before)]
    for number, (x, y) in at.items():
        short = ' class="short"' if number in TWO_HOURS else ""
        name = NAMES.get(number, paths[number].stem[3:].replace("-", " "))
        words = textwrap.wrap(f"{number} {name}", 14, break_on_hyphens=False)
        lines += [f'<a href="{paths[number].stem}.html"{short}>',
                  f'<rect x="{x - BOX / 2}" y="{y}" width="{BOX}" height="{HEIGHT}" rx="5"/>']
        top = y + HEIGHT / 2 + 4 - 6.5 * (len(words) - 1)
        lines += [f'<text x="{x}" y="{top + 13 * i:g}" text-anchor="middle">{html.escape(line)}</text>'
                  for i, line in enumerate(words)]
        lines.append("</a>")
    return "\n".join([*lines, "</svg>"])
