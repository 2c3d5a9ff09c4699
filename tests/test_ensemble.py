"""The plurality vote against plain Python, and its ties."""

import numpy as np
import pytest

from nets.ensemble import vote


def plain_vote(predictions):
    """The same, answer by answer, with lists."""
    result = []
    for answers in zip(*predictions):
        most = max(answers.count(answer) for answer in answers)
        result.append(next(answer for answer in answers if answers.count(answer) == most))
    return result


@pytest.mark.parametrize("networks", [1, 2, 3, 4, 5, 6, 35])
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_against_plain_python(networks, classes):
    predictions = np.random.default_rng(networks).integers(0, classes, (networks, 500))
    assert vote(predictions).tolist() == plain_vote(predictions.tolist())


@pytest.mark.parametrize("answers, expected", [
    ([4], 4),
    ([4, 9], 4),  # of two that differ, the first
    ([9, 4, 4], 4),  # most votes
    ([7, 4, 9], 7),  # all differ: the first
    ([9, 4, 4, 9], 9),  # a tie of two: the earliest network that gave either
    ([7, 4, 9, 9, 4], 4),  # … which need not be the first network
    ([7, 9, 4, 4, 9], 9),  # … and not the smallest digit
    ([1, 1, 2, 3, 4], 1),  # a plurality is no majority
    ([0, 8, 8, 8, 0], 8),
])
def test_who_wins(answers, expected):
    assert vote(np.array(answers)[:, None]).tolist() == [expected]


def test_order_of_networks_matters_only_in_ties():
    rng = np.random.default_rng(0)
    predictions = rng.integers(0, 10, (5, 2000))
    counts = np.sort((predictions[:, :, None] == np.arange(10)).sum(axis=0), axis=1)
    clear = counts[:, -1] > counts[:, -2]
    assert 0 < clear.sum() < 2000
    shuffled = vote(predictions[rng.permutation(5)])
    np.testing.assert_array_equal(vote(predictions)[clear], shuffled[clear])


def test_images_are_judged_each_by_itself():
    predictions = np.random.default_rng(1).integers(0, 10, (3, 40))
    one_by_one = [vote(predictions[:, i:i + 1])[0] for i in range(40)]
    assert vote(predictions).tolist() == one_by_one


@pytest.mark.parametrize("kind", ["uint8", "int32", "int64"])
def test_keeps_the_type_and_its_argument(kind):
    predictions = np.array([[200, 3], [200, 4], [1, 4]], kind)
    before = predictions.copy()
    assert vote(predictions).tolist() == [200, 4] and vote(predictions).dtype == kind
    np.testing.assert_array_equal(predictions, before)


def test_takes_lists():
    assert vote([[1, 2], [3, 2], [3, 5]]).tolist() == [3, 2]


def test_no_images():
    assert vote(np.zeros((3, 0), int)).shape == (0,)


@pytest.mark.parametrize("predictions", [
    np.array([]),  # an empty result's predictions
    np.zeros((0, 10000), int), np.zeros(10000, int), np.zeros((5, 100, 10), int), np.array(3)])
def test_wrong_shapes(predictions):
    with pytest.raises(ValueError, match=r"array \(networks, images\) with at least one network.*shape \("):
        vote(predictions)


@pytest.mark.parametrize("predictions", [np.full((5, 10), 0.1), np.ones((2, 3), bool), [["4", "9"]]])
def test_answers_must_be_whole_numbers(predictions):
    with pytest.raises(ValueError, match="whole numbers.*argmax"):
        vote(predictions)
