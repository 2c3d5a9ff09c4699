"""The ledger: one JSON file for each experiment, written only by a training run.

`data/runs/<name>.json` holds the settings, their fingerprint, and what every run measured; the
probabilities given to the test images (`<name>.predictions.npz`, an array a run) and, where a page
shows them, the first run's weights (`<name>.weights.h5`) lie beside it.
"""

import json
import os
import pathlib
import re
import shutil

import keras
import numpy as np

from nets import files
from nets.data import HOME
from nets.settings import fingerprint

MODES = ("full", "recorded", "quick")
HISTORY = ("loss", "validation_accuracy", "test_accuracy")  # of a run, a value an epoch
RECORDS = pathlib.Path(__file__).with_name("records")  # not there in a clone
CHECKED = 500  # test images on which stored weights must answer as recorded


class MissingRecord(LookupError):
    """The ledger does not have what is asked for."""


def mode():
    """What `train` is to do: NETS_MODE, one of "full", "recorded" and "quick", or None if unset."""
    value = os.environ.get("NETS_MODE") or None
    if value not in (*MODES, None):
        raise ValueError(f"NETS_MODE is {value!r}; set it to one of {', '.join(MODES)}, or unset it.")
    return value


def home():
    """The folder of the reader's records and checkpoints: NETS_HOME, or else `data`."""
    named = os.environ.get("NETS_HOME")
    return pathlib.Path(named).expanduser() if named else HOME


def directory():
    """The folder of the book's ledger: in the wheel `nets/records`, which is never written."""
    return RECORDS if RECORDS.is_dir() else HOME / "runs"


def check_name(name):
    """Raise ValueError for a name that makes no file in the ledger's folder."""
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w. -]*", name) or len(name.encode()) > 100:
        raise ValueError("name must be letters, digits, '-', '_', '.' and spaces, begin with a letter or a "
                         f"digit, and have a hundred bytes at most, not {name!r}.")


class Entry:
    """The place of one experiment in the ledger: a name and settings, bound once.

    Its files are `<name><suffix>`, unless a record with other settings already has this name: then
    `<name>~<fingerprint><suffix>`, so that no result is overwritten by another experiment's.

    test : Examples, what the runs' predictions are held against; folder : path, the book's by default
    """

    def __init__(self, name, settings, test, folder=None):
        check_name(name)
        self.name, self.settings, self.test, self.folder = name, settings, test, folder or directory()
        self.fingerprint = fingerprint(settings)

    def path(self, suffix=".json"):
        """Where this experiment's file is or belongs."""
        plain = self.folder / f"{self.name}.json"
        taken = plain.exists() and read(plain)["fingerprint"] != self.fingerprint
        return self.folder / ((f"{self.name}~{self.fingerprint[:8]}" if taken else self.name) + suffix)

    def record(self):
        """The record with exactly these settings, or None if nothing has this name.

        Raises
        ------
        MissingRecord, if the name stands for other settings only. The message names those that differ.
        """
        own = self.path()
        if own.exists() and (record := read(own))["fingerprint"] == self.fingerprint:
            return record
        plain = self.folder / f"{self.name}.json"
        if not plain.exists():
            return None
        other = read(plain)["settings"]
        differ = [key for key in {**self.settings, **other} if self.settings.get(key) != other.get(key)]
        raise MissingRecord(f"The ledger's run {self.name!r} was made with other settings "
                            f"({', '.join(differ)} differ): restore them, or set NETS_MODE=full to "
                            "train with these.")

    def runs(self):
        """Runs and their test images' probabilities, two dicts by seed; empty without a record."""
        try:
            record = self.record()
        except MissingRecord:
            record = None
        if record is None:
            return {}, {}
        path, remedy = self.path(".predictions.npz"), f"remove {self.path().name} too and train again"
        try:
            arrays = {int(seed): array for seed, array in files.load_arrays(path).items()}
        except FileNotFoundError:
            raise MissingRecord(f"{path.name} is missing from the ledger: restore it, or {remedy}.") from None
        except ValueError as error:
            raise _damaged(path, error, remedy) from error
        runs = {run["seed"]: run for run in record["runs"]}
        for seed, run in runs.items():
            if abs(self._accuracy(arrays.get(seed)) - run["test_accuracy"][-1]) > 1e-5:
                why = f"it does not belong to its record: run {seed} ended with another accuracy"
                raise _damaged(path, why, remedy)
        return runs, arrays

    def _accuracy(self, answers):
        """The test accuracy of these probabilities or classes; infinite if they do not fit the images."""
        labels = self.test.labels
        if answers is None or answers.ndim not in (1, 2) or len(answers) != len(labels):
            return float("inf")
        return np.mean((answers if answers.ndim == 1 else answers.argmax(axis=-1)) == labels)

    def prepare(self, known):
        """Make sure, before anything is trained, that a run can be added; sweep what killed calls left.

        known : seeds of the recorded runs, whose checkpoints are of no more use
        """
        folder, new = self.folder, not self.folder.exists()
        try:
            with files.locked(folder):
                files.write_text(folder / ".trial", "")
                (folder / ".trial").unlink(missing_ok=True)
            if new:  # until there is something to record
                shutil.rmtree(folder)
        except OSError as error:
            raise OSError(f"The ledger {folder} cannot be written ({error}): name another folder in "
                          "NETS_HOME, or leave out `name`, so that nothing is recorded.") from error
        for folder in (self.folder, home() / "checkpoints"):
            files.sweep(folder)
        mine = self.checkpoint(["*"])
        for path in mine.parent.glob(mine.name):
            seeds = path.stem.removeprefix(mine.stem[:-1]).split("-")
            if all(seed.isdecimal() and int(seed) in known for seed in seeds):
                path.unlink(missing_ok=True)  # it was killed after recording

    def checkpoint(self, seeds):
        """The file for the runs with these seeds while they train."""
        parts = [self.name, self.fingerprint, keras.backend.backend(), *map(str, seeds)]
        return home() / "checkpoints" / ("-".join(parts) + ".npz")

    def add(self, run, probabilities, network=None):
        """Add a finished run and its `rounded` probabilities to the record, or start one.

        With a network, which then holds the run's weights, these are stored, too.
        """
        with files.locked(self.folder):
            runs, arrays = self.runs()
            if not runs:
                self.path(".weights.h5").unlink(missing_ok=True)  # of a record that somebody removed
            runs[run["seed"]], arrays[run["seed"]] = run, probabilities
            if network is not None:
                files.replace(self.path(".weights.h5"),
                              lambda aside: self._save_weights(aside, network, run["seed"]))
            files.save_arrays(self.path(".predictions.npz"),
                              {str(seed): arrays[seed] for seed in sorted(arrays)})
            head = json.dumps({"name": self.name, "fingerprint": self.fingerprint, "settings": self.settings,
                               "runs": []}, indent=1)
            lines = ",\n".join("  " + json.dumps(runs[seed]) for seed in sorted(runs))  # a line a run
            files.write_text(self.path(), head.replace('"runs": []', f'"runs": [\n{lines}\n ]') + "\n")

    def _save_weights(self, path, network, seed):
        import h5py
        network.save_weights(path)
        with h5py.File(path, "a") as file:
            file.attrs["nets"] = json.dumps([self.fingerprint, seed])

    def has_weights(self, seed):
        """Whether the weights of the run with this seed are there."""
        import h5py
        path = self.path(".weights.h5")
        if not path.exists():
            return False
        try:
            with h5py.File(path, "r") as file:  # weights of before November 27, 2026 are of seed 0
                fingerprint, stored = json.loads(file.attrs.get("nets", f'["{self.fingerprint}", 0]'))
        except (OSError, ValueError, TypeError) as error:
            raise _damaged(path, error) from error
        return [fingerprint, stored] == [self.fingerprint, seed]

    def load_weights(self, network, seed, answers):
        """Give the network the stored weights of the run with this seed, which gave these test `answers`."""
        path = self.path(".weights.h5")
        if not self.has_weights(seed):
            raise MissingRecord(f"{path} is missing, or of another run: set NETS_MODE=full to train the "
                                "network again.")
        before, why = network.get_weights(), None
        try:
            network.load_weights(path)
        except Exception as error:  # h5py's and Keras', by what is damaged
            why = error
        else:
            answers = answers[:CHECKED]
            given = np.asarray(network(self.test.images[:CHECKED], training=False))
            same = (abs(given - answers).max() < 0.02 if answers.ndim == 2  # rounded, and of another backend
                    else np.mean(given.argmax(axis=-1) == answers) > 0.995)
            why = None if same else f"it does not belong to its record: run {seed} gave other answers"
        if why is not None:
            network.set_weights(before)
            raise _damaged(path, why)


def read(path):
    """The record in the file `path`, complete."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        most = record["settings"]["epochs"]
        for run in record["runs"]:
            lengths = {len(run[key]) for key in HISTORY}
            short = most > min(lengths) and "early_stopping" not in record["settings"]
            shares = [*run["validation_accuracy"], *run["test_accuracy"]]
            if len(lengths) > 1 or short or not 0 < max(lengths) <= most or not run["seconds"] > 0:
                raise ValueError(f"run {run['seed']} is not complete")
            if not isinstance(run["seed"], int) or not all(0 <= share <= 1 for share in shares):
                raise ValueError(f"run {run['seed']} has values that no run has")
        if fingerprint(record["settings"]) != record["fingerprint"]:
            raise ValueError("the fingerprint is not that of its settings")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, repr(error)) from error
    return record


def _damaged(path, why, remedy="remove it and train again with NETS_MODE=full"):
    return ValueError(f"{path.name} in the ledger is damaged ({why}): restore it, for example with "
                      f"`git checkout`, or {remedy}.")


def rounded(probabilities):
    """Probabilities (..., classes) to three digits, as float16; each image's largest stays the largest."""
    small = np.round(probabilities, 3).astype(np.float16)
    top = probabilities.argmax(axis=-1)
    tied = small.argmax(axis=-1) != top
    small[tied, top[tied]] = np.nextafter(small[tied].max(axis=-1), np.float16(2))
    return small
