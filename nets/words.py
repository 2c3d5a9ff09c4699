"""Numbers in words, and text for any console."""

import sys

PLAIN = {"±": "+-", "–": "-", "·": "|", "…": "...", "×": "x", "ș": "s"}


def percent(fraction):
    """A fraction in percent, two decimals: "98.78 %"."""
    return f"{100 * fraction:.2f} %"


def duration(seconds):
    """Seconds in words: "41 s", "8 min 2 s", "1 h 20 min"."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def counted(number, thing):
    """A number of things: "1 run", "3 runs"."""
    return f"{number} {thing}" + "s" * (number != 1)


def printable(text, stream=None):
    """The text, or what comes nearest to it on a console (standard output by default) lacking letters."""
    encoding = getattr(stream or sys.stdout, "encoding", None) or "utf-8"

    def nearest(letter):
        try:
            letter.encode(encoding)
            return letter
        except UnicodeEncodeError:
            return PLAIN.get(letter, "?")

    return "".join(map(nearest, text))
