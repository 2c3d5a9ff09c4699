"""The rooms of nets: each imports only from those below it, and is short enough to be read."""

import ast
import pathlib
import re

import keras
import numpy as np
import pytest

import nets

ROOT = pathlib.Path(__file__).resolve().parent.parent
FLOORS = [
    ["needed", "files", "words", "ensemble"],
    ["machine", "settings", "data", "layers", "epoch"],
    ["ledger", "augment", "plots", "progress"],
    ["runs", "result", "lookup"],
    ["groups"],
    ["training"],
    ["__init__"],
]
FILES = [name for floor in FLOORS for name in floor]


def parsed(name):
    return ast.parse((ROOT / "nets" / f"{name}.py").read_text(encoding="utf-8"))


def imported(name):
    """The files of nets that a file imports."""
    found = set()
    for node in ast.walk(parsed(name)):
        if isinstance(node, ast.ImportFrom) and node.module == "nets":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module.startswith("nets."):
            found.add(node.module.removeprefix("nets."))
    return found


def code(tree, source):
    """Numbers of the lines that are neither empty, nor a comment, nor in a docstring."""
    documented = {line for node in ast.walk(tree)
                  if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node)
                  for line in range(node.body[0].lineno, node.body[0].end_lineno + 1)}
    return {number for number, line in enumerate(source.splitlines(), 1)
            if line.strip() and not line.strip().startswith("#") and number not in documented}


def test_each_room_has_its_floor():
    assert sorted(FILES) == sorted(path.stem for path in (ROOT / "nets").glob("*.py"))


@pytest.mark.parametrize("name", FILES)
def test_a_room_imports_only_from_floors_below(name):
    floor = next(number for number, names in enumerate(FLOORS) if name in names)
    assert imported(name) <= {below for names in FLOORS[:floor] for below in names}


@pytest.mark.parametrize("name", FILES)
def test_a_room_is_read_in_one_sitting(name):
    source = (ROOT / "nets" / f"{name}.py").read_text(encoding="utf-8")
    lines = code(tree := parsed(name), source)
    assert len(source.splitlines()) <= 250
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            length = len(lines & set(range(node.lineno, node.end_lineno + 1)))
            assert length <= 50, f"{node.name} has {length} lines of code"


def test_the_readme_trains_on_the_readers_own_images(monkeypatch):
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    images = np.random.default_rng(0).integers(0, 256, (60_000, 28, 28), "uint8")
    labels = (np.arange(60_000) % 10).astype("uint8")
    asked = []
    monkeypatch.setattr(keras.datasets.fashion_mnist, "load_data",
                        lambda: ((images, labels), (images[:500], labels[:500])))
    train = nets.train
    monkeypatch.setattr(nets, "train", lambda network, data, **options: (
        asked.append([len(part.labels) for part in data]), train(network, data, **options))[1])
    monkeypatch.setenv("NETS_MODE", "quick")
    exec(example, {})
    assert asked == [[50_000, 10_000, 500]]
