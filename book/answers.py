"""Check your own answer to a problem: `check(yours, "luck")` says what is wrong, not what would be right.

What is right is kept here, out of the sight of who answers, by the names of the problems.
"""

import copy

import numpy as np

_random = np.random.default_rng(0)
RIGHT = {
    "places": dict(right=[[26, 13], [24, 12], [22, 11]]),
    "luck": dict(right=3 / (2 * np.pi**0.5), within=0.02),  # or found by trials
    "parameters": dict(right=784 * 10 + 10),
    "multiplications": dict(right=[24 * 24 * 20 * 25, 8 * 8 * 40 * 500, 640 * 100, 100 * 10]),
    "biases": dict(right=lambda kernel, bias: 2 * (bias - kernel.sum(axis=0)),
                   inputs=(np.arange(12.0).reshape(4, 3) - 4, np.arange(3.0))),
    "penalty": dict(right=[0.1 / (2 * 5_000), 0.1 / (2 * 25_000)]),
    "copies": dict(right=[1_250_000, 125_000, 1_250_000 * 784]),
    "geometric-mean": dict(
        right=lambda x, W, b, p: np.exp(z := (1 - p) * x @ W + b) / np.exp(z).sum(),
        inputs=(_random.normal(size=8), _random.normal(size=(8, 3)), _random.normal(size=3), 0.2)),
    "scatter": dict(right=lambda n: 1 / np.sqrt(n), inputs=(np.array([100.0, 300.0, 1000.0]),)),
    "best-patch": dict(right=lambda kernel: (kernel > 0).astype(float),
                       inputs=(_random.normal(size=(5, 5)),)),
    "shared-out": dict(right=lambda activations, error: error * activations / np.sqrt((activations**2).sum()),
                       inputs=(_random.random(4), 0.5)),
    "halved": dict(right=lambda epoch: 0.1 * 0.5 ** (epoch // 10), inputs=(np.arange(60),)),
}


def check(answer, problem):
    """Print "right", or the first thing that is wrong with an answer to the problem of this name."""
    print(verdict(answer, **RIGHT[problem]))


def verdict(answer, right, inputs=(), within=1e-3):
    """What `check` prints of an answer, a number or an array.

    Whole numbers must agree, fractions to the share `within`. With `inputs`, both are functions of them,
    and what these give is compared.
    """
    try:
        if inputs and answer is not None:
            if not callable(answer):
                return "not a function"
            answer, right = (function(*copy.deepcopy(inputs)) for function in (answer, right))
        return _wrong(np.asarray(answer), np.asarray(right), within) or "right"
    except Exception as error:
        return f"your answer cannot be tried: {type(error).__name__}: {error}"


def _wrong(answer, right, within):
    if answer.dtype.kind not in "biuf":
        return "no answer yet" if answer.size == 1 and answer.item() is None else "not a number, nor an array"
    if answer.shape != right.shape:
        return f"shape {answer.shape}, expected {right.shape}"
    kinds = {"b": "true or false", "i": "whole numbers", "u": "whole numbers", "f": "fractions"}
    if right.ndim and kinds[answer.dtype.kind] != kinds[right.dtype.kind]:
        return f"dtype {answer.dtype}: {kinds[right.dtype.kind]} are expected"
    if not np.isfinite(answer).all():
        return f"{(~np.isfinite(answer)).sum()} of {answer.size} numbers are not finite"
    fine = within if right.dtype.kind == "f" else 1e-9
    answer, right = answer.astype(float), right.astype(float)

    def close(a, b=right):
        return np.isclose(a, b, rtol=fine, atol=fine * 1e-2 * np.abs(right).max(initial=0))

    def same(*both):
        return close(*both).all()

    if same(answer):
        return None
    if same(-answer):
        return "right size, wrong sign"
    if not right.ndim:
        power = np.log10(answer / right) if answer * right > 0 else 0.5
        return "off by a power of ten" if same(power, np.round(power)) else (
            "too large" if answer > right else "too small")
    factor = (answer * right).sum() / max((right**2).sum(), np.finfo(float).tiny)
    if factor and same(answer / factor):
        return "off by a factor, the same everywhere"
    if same(np.sort(answer, axis=None), np.sort(right, axis=None)):
        return "the right numbers in the wrong places"
    wrong = ~close(answer)
    return f"{wrong.sum()} of {wrong.size} numbers are wrong, the first at {np.argwhere(wrong)[0].tolist()}"
