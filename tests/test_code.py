"""Page 21: its plain loop gives the numbers of `nets.train` on both backends, and its mistakes would show.

    python test_code.py   prints as JSON what the loop learns, on the backend that is set
"""

import contextlib
import io
import json
import os
import pathlib
import re
import subprocess
import sys
from unittest import mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import keras  # noqa: E402
import pytest  # noqa: E402
from test_book import NOTEBOOKS, ROOT, cells, prose, text_of  # noqa: E402

import nets  # noqa: E402

(PAGE,) = (path for path in NOTEBOOKS if path.stem.endswith("the-code"))
LOOP = "imports", "plain-network", "plain-loop", "plain-run", "same-run"


def loop(right="", wrong="", digits=None):
    """What the page's loop and `nets.train` print, and the largest difference of their weights.

    `wrong` stands in for what is `right` in the loop; `digits` are as many as are learned from.
    """
    names, shown = {"keras": keras, "nets": nets, "os": os}, io.StringIO()
    sources = {cell["id"]: "".join(cell["source"]) for cell in cells(PAGE, "code")}
    assert not right or any(right in sources[name] for name in LOOP[1:3])
    with contextlib.redirect_stdout(shown):
        for name in LOOP:
            source = sources[name].replace(right, wrong) if name in LOOP[1:3] and right else sources[name]
            exec(source, names)
            if name == "imports" and digits:
                names["mnist"] = nets.Dataset(*(nets.Examples(*(array[:digits] for array in part))
                                                for part in names["mnist"]))
    return shown.getvalue(), float(names["largest"])


def test_the_plain_loop_is_nets_train():
    """On TensorFlow the page's stored outputs say so, and `make strict` runs them again; here on JAX, where
    both are the beginning of the ledger's first run."""
    done = subprocess.run([sys.executable, __file__], env={**os.environ, "KERAS_BACKEND": "jax"},
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shown, largest = json.loads(done.stdout.splitlines()[-1])
    stored = "".join(text_of(output) for cell in cells(PAGE, "code") if cell["id"] in LOOP
                     for output in cell["outputs"])
    first, record = json.loads((ROOT / "data" / "runs" / "shallow.json").read_text())["runs"][0], []
    for epoch in range(3):
        record.append((f"{first['loss'][epoch]:.4f}", f"{first['validation_accuracy'][epoch]:.4f}"))
    assert first["seed"] == 0 and first["backend"] == "jax" and largest < 1e-4
    for text in (shown, stored):
        epochs = re.findall(r"loss (\S+), validation accuracy (\S+)", text)
        assert len(epochs) == 6 and epochs[:3] == epochs[3:]
        assert text.splitlines()[-1] == "largest difference of a weight: 0.0000"
        assert text is stored or epochs[:3] == record
    words = " ".join(prose(PAGE).split())
    assert "after 15,000 steps no weight differs by 0.0001" in words and 3 * 50_000 // 10 == 15_000
    assert "both also give the first three epochs of the ledger's `shallow`, run 0" in words
    assert epochs[:3] != record and "The numbers above are TensorFlow's" in words  # the stored ones, last


def test_the_plain_loop_has_forty_lines():
    lines = [line for cell in cells(PAGE, "code") if cell["id"] in LOOP[1:4]
             for line in "".join(cell["source"]).splitlines() if line.strip()]
    assert 35 <= len(lines) <= 40 and "forty lines of NumPy" in prose(PAGE)


@pytest.mark.parametrize("right, wrong", [
    ("", ""), ("* hidden * (1 - hidden)", "* hidden"), ("/ 256", "/ 255"), ("[seed, epoch]", "[seed, 0]"),
    ("s for w, s", "s * (s.ndim > 1) for w, s"), ("- np.eye(10", "- 0.9 * np.eye(10")])
def test_the_page_would_find_a_mistake_in_the_loop(right, wrong):
    _, largest = loop(right, wrong, digits=1000)
    assert (largest < 1e-5) == (not right)


def test_the_comparison_trains_in_every_mode_and_records_nothing(home, monkeypatch):
    monkeypatch.setenv("NETS_MODE", "recorded")
    with mock.patch("nets.ledger.Entry.add", side_effect=AssertionError):
        shown, largest = loop(digits=300)
    assert shown.count("validation accuracy") == 6 and largest < 1e-5
    assert os.environ["NETS_MODE"] == "recorded" and not list(home.iterdir())


if __name__ == "__main__":
    print(json.dumps(loop()))
