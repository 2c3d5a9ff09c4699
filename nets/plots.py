"""Pictures: accuracy curves, digits, and filters or feature maps."""

import matplotlib.pyplot as plt
import numpy as np

from nets import data
from nets.words import percent

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito
STYLES = ("-", "--", ":", "-.")  # once the colours are used up
RIGHT, WRONG = "#00735c", "#b34700"


def accuracy(*results, labels=None, part="test", claimed=None, source="chapter", bottom=None):
    """Accuracy after each epoch: a line for the mean of the runs, a band from the least to the best.

    Parameters
    ----------
    results : Result, any number
    labels : list of str, one a result; their names by default
    part : "test" or "validation"
    claimed : float, optional: a published figure, a fraction, drawn as a dotted line
    source : str, whose figure this is
    bottom : float, optional: where the axis begins, in percent
    """
    labels = [result.name for result in results] if labels is None else list(labels)
    if len(labels) != len(results):
        raise ValueError(f"accuracy needs a label for each result: there are {len(results)} results and "
                         f"{len(labels)} labels.")
    if not results:
        print("There are no results to show.")
        return
    _, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    lowest = []
    for number, (result, label) in enumerate(zip(results, labels, strict=True)):
        style = dict(color=COLOURS[number % len(COLOURS)], ls=STYLES[number // len(COLOURS) % len(STYLES)])
        runs = [run[f"{part}_accuracy"] for run in result.runs]
        length = min(map(len, runs))  # runs differ in length only after early stopping
        values = 100 * np.array([run[:length] for run in runs])
        epochs = np.arange(1, length + 1)
        axes.plot(epochs, values.mean(axis=0), **style, label=label)
        axes.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=style["color"], alpha=0.2,
                          lw=0)
        lowest.append(values[:, length // 10:].min())
    if claimed:
        axes.axhline(100 * claimed, color="#555555", ls=":", label=f"the {source}: {percent(claimed)}")
    axes.set_ylim(bottom=min(lowest) - 0.1 if bottom is None else bottom)
    axes.set(xlabel="epoch", ylabel=f"{part} accuracy in %")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    plt.show()


def digits(images, labels=None, answers=None, columns=10):
    """Images, dark ink on white: true label at the top right, a network's answer at the bottom right.

    images (n, height, width, channels) or (n, height, width); labels and answers (n,), optional
    """
    images = data.array(images, "images")
    if not len(images):
        print("There are no images to show.")
        return
    data.check_images(images[..., None] if images.ndim == 3 else images, "images")
    for what, values in (("labels", labels), ("answers", answers)):
        if values is not None:
            if np.shape(values) != (len(images),):
                raise ValueError(f"{what} must be one for each image, of the shape ({len(images)},), not "
                                 f"{np.shape(values)}.")
    axes = _grid(len(images), columns, side=0.75)
    height, width = images.shape[1:3]
    edge = width * 31 / 28
    for i, image in enumerate(images):
        axes[i].imshow(np.squeeze(image), cmap="gray_r", vmin=0, vmax=255)
        for values, y, align, colour in ((labels, 0, "top", RIGHT), (answers, height - 1, "bottom", WRONG)):
            if values is not None:
                axes[i].text(edge, y, values[i], color=colour, weight="bold", size=9, ha="right", va=align)
        axes[i].set_xlim(-1, edge)
    plt.show()


def panels(stack, columns=5, titles=None, side=1.0):
    """Filters or feature maps side by side, darker = larger, each scaled by itself.

    stack (height, width, n): n pictures, as the last axis of a kernel or of a layer's output
    titles : list of str, optional; side : float, inches
    """
    if titles is not None and len(titles) != stack.shape[-1]:
        raise ValueError(f"panels needs a title for each picture: there are {stack.shape[-1]} pictures and "
                         f"{len(titles)} titles.")
    if not np.size(stack):
        print("There are no pictures to show.")
        return
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
