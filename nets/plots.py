"""Pictures: accuracy curves, digits, and filters or feature maps."""

import matplotlib.pyplot as plt
import numpy as np

from nets.result import percent

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito
RIGHT, WRONG = "#00735c", "#b34700"


def accuracy(*results, labels=None, part="test", claimed=None, source="chapter", bottom=None):
    """Accuracy after each epoch: a line for the mean of the runs, a band from the least to the best.

    Parameters
    ----------
    results : Result
    labels : list of str, one a result; their names by default
    part : "test" or "validation"
    claimed : float, optional: a published figure, a fraction, drawn as a dotted line
    source : str, whose figure this is
    bottom : float, optional: where the axis begins, in percent
    """
    _, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    lowest = []
    for result, label, colour in zip(results, labels or [r.name for r in results], COLOURS):
        runs = [run[f"{part}_accuracy"] for run in result.runs]
        if not runs:
            axes.plot([], [], color=colour, label=f"{label}: not run yet")
            continue
        length = min(map(len, runs))  # runs differ in length only after early stopping
        values = 100 * np.array([run[:length] for run in runs])
        epochs = np.arange(1, length + 1)
        axes.plot(epochs, values.mean(axis=0), color=colour, label=label)
        axes.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.2, lw=0)
        lowest.append(values[:, length // 10:].min())
    if claimed:
        axes.axhline(100 * claimed, color="#555555", ls=":", label=f"the {source}: {percent(claimed)}")
    if lowest:
        axes.set_ylim(bottom=min(lowest) - 0.1 if bottom is None else bottom)
    axes.set(xlabel="epoch", ylabel=f"{part} accuracy in %")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    plt.show()


def digits(images, labels=None, answers=None, columns=10):
    """Digits, dark ink on white: true label at the top right, a network's answer at the bottom right.

    images (n, 28, 28, 1) or (n, 28, 28); labels and answers (n,), optional
    """
    axes = _grid(len(images), columns, side=0.75)
    for i, image in enumerate(images):
        axes[i].imshow(np.squeeze(image), cmap="gray_r", vmin=0, vmax=255)
        for values, y, align, colour in ((labels, 0, "top", RIGHT), (answers, 27, "bottom", WRONG)):
            if values is not None:
                axes[i].text(31, y, values[i], color=colour, weight="bold", size=9, ha="right", va=align)
        axes[i].set_xlim(-1, 31)
    plt.show()


def panels(stack, columns=5, titles=None, side=1.0):
    """Filters or feature maps side by side, darker = larger, each scaled by itself.

    stack (height, width, n): n pictures, as the last axis of a kernel or of a layer's output
    titles : list of str, optional; side : float, inches
    """
    axes = _grid(stack.shape[-1], columns, side)
    for i in range(stack.shape[-1]):
        axes[i].imshow(stack[..., i], cmap="gray_r")
        if titles:
            axes[i].set_title(titles[i], fontsize=9)
    plt.show()


def _grid(count, columns, side):
    columns = min(columns, count)
    rows = -(-count // columns)
    _, axes = plt.subplots(rows, columns, figsize=(side * columns, side * rows), squeeze=False,
                           layout="constrained")
    for axis in axes.flat:
        axis.set_axis_off()
    return axes.flat
