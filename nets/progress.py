"""What a reader sees while a network trains."""

import os
import sys
import threading

import numpy as np

from nets.words import duration, printable


class Progress:
    """One line that updates; quiet under CI and where nobody watches."""

    def __init__(self, groups, workers, epochs, seconds_per_epoch):
        self.groups, self.workers, self.epochs = groups, workers, epochs
        self.seconds, self.done, self.handle = seconds_per_epoch, {}, None
        application = sys.modules.get("ipykernel.kernelapp")
        self.in_notebook = bool(application and application.IPKernelApp.initialized())
        self.watched = not os.environ.get("CI") and (self.in_notebook or sys.stderr.isatty())
        self.lock = threading.Lock()

    def time_left(self):
        epochs = self.groups * self.epochs - sum(self.done.values())
        return epochs * self.seconds / self.workers

    def update(self, group, epoch, history):
        with self.lock:
            self.done[group[0]] = epoch
            self.seconds = history["seconds"][-1]
            self._show(f"epoch {epoch}/{self.epochs} of run{'s' * (len(group) > 1)} "
                       f"{', '.join(map(str, group))} · loss {np.mean(history['loss'][-1]):.4f} · "
                       f"validation {np.mean(history['validation_accuracy'][-1]):.2%} · "
                       f"{duration(self.time_left())} left")

    def clear(self):
        if self.handle or not self.in_notebook:
            self._show("")

    def _show(self, text):
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
