"""One answer from several networks."""

import numpy as np


def vote(predictions):
    """The plurality vote: for each image the answer that most networks give.

    Where several answers have equally many votes, the earliest network that gave one of them decides.
    So one network alone, and two that differ, answer as the first does.

    Parameters
    ----------
    predictions : int array (networks, images), each network's answers, as in `Result.predictions`

    Returns
    -------
    int array (images,)

    Raises
    ------
    ValueError, without a network, or for anything but whole numbers in two dimensions

    Source: the chapter, "Using an ensemble of networks".
    """
    predictions = np.asarray(predictions)
    if predictions.ndim != 2 or not len(predictions):
        raise ValueError("vote needs an array (networks, images) with at least one network, and got "
                         f"the shape {predictions.shape}.")
    if not np.issubdtype(predictions.dtype, np.integer):
        raise ValueError(f"vote needs answers, which are whole numbers, and got {predictions.dtype}: take "
                         "argmax over the classes first.")
    votes = (predictions[:, None] == predictions).sum(axis=0)  # for each network: how many answer as it does
    winner = votes.argmax(axis=0)  # the earliest of equals
    return np.take_along_axis(predictions, winner[None], axis=0)[0]
