"""What a reader sees while a network trains."""

import math
import os
import sys
import threading

import numpy as np

from nets.words import duration, printable


class Progress:
    """One line that updates; quiet under CI and where nobody watches."""

    def __init__(self, epochs):
        self.epochs, self.handle, self.lock = epochs, None, threading.Lock()
        application = sys.modules.get("ipykernel.kernelapp")
        self.in_notebook = bool(application and application.IPKernelApp.initialized())
        self.watched = not os.environ.get("CI") and (self.in_notebook or sys.stderr.isatty())

    def expect(self, done, workers, seconds):
        """From now on `workers` train groups of runs at once, of which `done`, a dict by the group's first
        seed, has the epochs that are over; an epoch takes so many seconds."""
        self.done, self.workers, self.seconds = done, workers, seconds

    def time_left(self):
        """Seconds until the last group is over, when each free worker takes the next one."""
        busy = [0.0] * self.workers
        for done in sorted(self.done.values(), reverse=True):  # first those that have begun
            busy[busy.index(min(busy))] += self.epochs - done
        return max(busy) * self.seconds

    def update(self, group, epoch, history):
        """So many epochs of this group are done, the last of them perhaps in part."""
        with self.lock:
            self.done[group[0]], share = epoch, epoch % 1
            words = [f"{share:.0%} of " * bool(share) + f"epoch {math.ceil(epoch)}/{self.epochs} of "
                     f"run{'s' * (len(group) > 1)} {', '.join(map(str, group))}"]
            if history["seconds"]:
                self.seconds = history["seconds"][-1]
                words += [f"loss {np.mean(history['loss'][-1]):.4f}",
                          f"validation {np.mean(history['validation_accuracy'][-1]):.2%}"]
            self.show(" · ".join([*words, f"{duration(self.time_left())} left"]))

    def over(self, group):
        """This group needs no more epochs."""
        self.done[group[0]] = self.epochs

    def show(self, text):
        if not self.watched:
            return
        if not self.in_notebook:
            print("\r\033[K" + printable(text, sys.stderr), end="", file=sys.stderr, flush=True)
        else:
            from IPython.display import Markdown, display
            if self.handle is None:
                self.handle = display(Markdown(text), display_id=True)
            else:
                self.handle.update(Markdown(text))

    def clear(self):
        """Leave an empty line for good: runs that were stopped may still be about to say something."""
        with self.lock:
            if self.handle or not self.in_notebook:
                self.show("")
            self.watched = False
