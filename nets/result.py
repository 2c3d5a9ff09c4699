"""What a training measured, and how it is shown."""

import numpy as np

from nets.words import counted, duration, percent, printable


class Result:
    """What `train` measured.

    name : str
    settings : dict, everything that decides the outcome
    runs : list of dicts, one a run: `seed`; `loss`, `validation_accuracy` and `test_accuracy` with a
        value an epoch, accuracies as fractions; `seconds` and the number of runs trained `together`;
        and where it ran: `device`, `backend`, `versions`, `commit`, `finished`
    probabilities : array (runs, test images, classes), what each run gave the test images after its last
        epoch, to three digits; None where a record made before November 2026 holds only the answers
    predictions : int array (runs, test images), the digits with the largest probabilities
    book : list of the runs that the book shows, where `runs` are the reader's own
    """

    def __init__(self, name, settings, runs, answers, book=()):
        self.name, self.settings, self.runs = name or "network", settings, runs
        self.book = list(book)
        self.predictions = np.array([a if a.ndim == 1 else a.argmax(axis=-1) for a in answers], int)
        self.probabilities = None if any(a.ndim == 1 for a in answers) else np.array(answers)

    def best_epoch(self, run):
        """Index of the epoch with the best validation accuracy; the last of equals."""
        values = run["validation_accuracy"]
        return max(range(len(values)), key=lambda epoch: (values[epoch], epoch))

    @property
    def test_accuracies(self):
        """Each run's test accuracy at its best validation epoch, an array of fractions."""
        return np.array([run["test_accuracy"][self.best_epoch(run)] for run in self.runs])

    @property
    def best_run(self):
        """Index of the run with the best validation accuracy, of equals the first: the chapter's choice."""
        return max(range(len(self.runs)), key=lambda r: max(self.runs[r]["validation_accuracy"]))

    @property
    def test_accuracy(self):
        """The chapter's figure: test accuracy of the best run at its best validation epoch."""
        return float(self.test_accuracies[self.best_run])

    def plot(self, **options):
        """Draw accuracy against epochs; the options are those of `nets.plots.accuracy`."""
        from nets import plots  # and matplotlib, only where a picture is drawn
        plots.accuracy(self, **options)

    def __str__(self):
        lines = [f"{self.name}: {counted(len(self.runs), 'run')}", "run  validation     test  epoch  time"]
        for i, run in enumerate(self.runs):
            epoch = self.best_epoch(run)
            lines.append(f"{run['seed']:3}  {percent(run['validation_accuracy'][epoch]):>10}  "
                         f"{percent(run['test_accuracy'][epoch])}  {epoch + 1:5}  "
                         f"{duration(run['seconds'])}" + "  <- best" * (i == self.best_run))
        accuracies = 100 * self.test_accuracies
        if len(accuracies) > 1:
            lines.append(f"test accuracy {accuracies.mean():.2f} ± {accuracies.std(ddof=1):.2f} % "
                         f"(mean ± standard deviation), best run {percent(self.test_accuracy)}")
        if self.book:
            lines.append(self._beside_the_book())
        for where in dict.fromkeys(f"{run['backend']} on {run['device']}" for run in self.runs):
            lines.append(where)
        return printable("\n".join(lines))

    def _beside_the_book(self):
        """The book's result, and how this differs; the spread is twice the standard deviation of both."""
        ours, book = (100 * result.test_accuracies for result in (self, Result("", {}, self.book, [])))
        seeds, histories = ([run[key] for run in self.runs] for key in ("seed", "test_accuracy"))
        same = [run["test_accuracy"] for run in self.book if run["seed"] in seeds] == histories
        difference = round(ours.mean() - book.mean(), 2)
        spread, own = (values.std(ddof=1) if len(values) > 1 else 0 for values in (book, ours))
        verdict = "the same" if same else "yours is as good"
        if difference and not same:
            verdict = (f"yours is {abs(difference):.2f} {'higher' if difference > 0 else 'lower'}"
                       + ", within the spread" * bool(abs(difference) <= 2 * np.hypot(spread, own)))
        theirs = f"{book.mean():.2f}" + f" ± {spread:.2f}" * bool(spread)
        return f"the book: {theirs} %, {counted(len(book), 'run')}: {verdict}"


def compare(results, claimed, source="chapter"):
    """Print claimed test accuracies beside ours.

    results : list of Result; claimed : list of fractions, None where there is no claim
    source : str, whose claims these are
    """
    results, claimed = list(results), list(claimed)
    if len(results) != len(claimed):
        raise ValueError(f"compare needs a claim, or None, for each result: there are {len(results)} results "
                         f"and {len(claimed)} claims.")
    if not results:
        print("There are no results to compare.")
        return
    width, column = max(len(result.name) for result in results), max(7, len(source))
    lines = [f"{'':{width}}  {source:>{column}}  best run  mean ± sd, %   runs"]
    for result, claim in zip(results, claimed, strict=True):
        claim = "–" if claim is None else f"{100 * claim:.2f}"
        values = 100 * result.test_accuracies
        spread = f" ± {values.std(ddof=1):.2f}" if len(values) > 1 else ""
        lines.append(f"{result.name:{width}}  {claim:>{column}}  {100 * result.test_accuracy:8.2f}  "
                     f"{f'{values.mean():.2f}{spread}':14} {len(values)}")
    print(printable("\n".join(lines)))
