"""What all tests share. No test reads or writes the real ledger unless it says so."""

import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "book"), str(ROOT / "tools")]  # nets, the checker of answers, tools

import pytest  # noqa: E402

import nets  # noqa: E402
from nets import ledger  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("filterwarnings", "ignore:__array__ implementation:DeprecationWarning")  # Keras'


def pytest_collection_modifyitems(items):
    """The longest files begin, so that no process is left alone with one of them in the end."""
    longest = ["test_training.py", "test_full.py", "test_plain.py", "test_benchmarks.py"]
    items.sort(key=lambda item: longest.index(name) if (name := item.path.name) in longest else len(longest))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A ledger of the test's own, in the mode "full" unless the test changes it."""
    monkeypatch.setattr(ledger, "HOME", tmp_path)
    monkeypatch.setenv("NETS_MODE", "full")
    monkeypatch.setenv("CI", "true")  # no progress line
    monkeypatch.delenv("NETS_HOME", raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def mnist():
    return nets.load_mnist()


@pytest.fixture(scope="session")
def few(mnist):
    """Few digits: 300 to train on, 100 to validate, 100 to test."""
    return nets.Dataset(*(nets.Examples(part.images[:n], part.labels[:n])
                        for part, n in zip(mnist, (300, 100, 100))))


@pytest.fixture(scope="session")
def chromium():
    """Debian's Chromium. Playwright can be started only once in a process."""
    from playwright.sync_api import sync_playwright
    path = "/usr/bin/chromium"
    if not pathlib.Path(path).exists():
        pytest.fail("These tests need Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()
