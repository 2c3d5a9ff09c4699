"""What is known of an experiment before anything is trained: by the reader's ledger, and by the book's."""

from nets import ledger


class Lookup:
    """The runs that are known of an experiment, from the reader's ledger, and after it the book's.

    Without a name nothing is known, and nothing kept. In "full" mode the book's ledger is not asked, where
    the reader has one of his own; in "recorded" mode its runs come before his.

    runs, answers : dicts by seed, of runs and of the probabilities that they gave the test images

    Raises
    ------
    ledger.MissingRecord, in "recorded" mode, if this name stands for other settings only
    """

    def __init__(self, name, settings, test, mode):
        self.runs, self.answers, self.own, self.book = {}, {}, None, None
        self._holders = {}
        if name is None:
            return
        self.own = ledger.Entry(name, settings, test, ledger.home() / "runs")
        if self.own.folder != ledger.directory():
            self.book = ledger.Entry(name, settings, test)
        entries = [self.own] if mode == "full" or not self.book else [self.own, self.book]
        for entry in entries if mode == "recorded" else entries[::-1]:  # those that count most come last
            runs, answers = entry.runs()
            self.runs.update(runs)
            self.answers.update(answers)
            self._holders.update(dict.fromkeys(runs, entry))
        for entry in entries[::-1] if mode == "recorded" and not self.runs else []:
            entry.record()  # or the error that names the settings that differ

    def missing(self, seeds, mode, weights_of=None):
        """Those of the seeds that are to be trained, also for weights that are asked for and not there."""
        holder = self._holders.get(weights_of)
        bare = holder and not holder.has_weights(weights_of)
        if mode == "recorded" or (mode is None and self.runs.keys() & set(seeds)):
            return []
        return [seed for seed in seeds if seed not in self.runs or (bare and seed == weights_of)]

    def load_weights(self, network, seed):
        """Give the network the stored weights of this run, where its record is known."""
        if holder := self._holders.get(seed):
            holder.load_weights(network, seed, self.answers[seed])

    def prepare(self):
        """Make sure, before anything is trained, that a run can be added."""
        if self.own:
            self.own.prepare([seed for seed, holder in self._holders.items() if holder is self.own])

    def checkpoint(self, seeds):
        """The file for the runs with these seeds while they train, or None."""
        return self.own and self.own.checkpoint(seeds)

    def add(self, run, probabilities, network=None):
        """Add a finished run; with a network, which holds its weights, these too."""
        self.runs[run["seed"]] = run
        self.answers[run["seed"]] = probabilities = ledger.rounded(probabilities)
        if self.own:
            self.own.add(run, probabilities, network)

    def books(self, shown):
        """The book's runs, where some of those shown are none of them."""
        runs = list(self.book.runs()[0].values()) if self.book else []
        return runs if any(run not in runs for run in shown) else []
