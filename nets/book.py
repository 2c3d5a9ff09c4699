"""The book's ledger: it goes along with the package, and is only read. In a clone it is the reader's, too."""

import pathlib

from nets import ledger

RECORDS = pathlib.Path(__file__).with_name("records")  # data/runs, in the wheel


def directory():
    """The folder of the book's ledger."""
    return RECORDS if RECORDS.is_dir() else ledger.HOME / "runs"


def entry(name, settings, test):
    """The place of an experiment in the book's ledger, or None where it is the reader's."""
    return ledger.Entry(name, settings, test, directory()) if directory() != ledger.directory() else None


def known(own, book, mode):
    """Runs, their answers, and the entry that has them, each a dict by seed; of entries, either may be None.

    Of a run in both ledgers, the reader's counts, but in the mode "recorded" the book's; in "full", which
    trains what the reader lacks, the book's is not asked.

    Raises
    ------
    MissingRecord, in the mode "recorded", if the name stands for other settings only
    """
    places = [place for place in (own, mode != "full" and book) if place]  # the first counts most
    if mode == "recorded":
        places.reverse()
    runs, answers, source = {}, {}, {}
    for place in reversed(places):
        these, arrays = place.runs()
        runs, answers, source = runs | these, answers | arrays, source | dict.fromkeys(these, place)
    if mode == "recorded" and not runs:
        for place in places:
            place.record()
    return runs, answers, source
