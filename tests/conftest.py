import os
import sys

import numpy as np
import pytest

from fer import Recognizer
from fer.core.faces import Faces

# In a project that does not turn it off, DVC reports its use, by a second process a command.
os.environ["DVC_NO_ANALYTICS"] = "true"

_LONGEST = (
    "test_kills.py",
    "test_user_data.py",
    "test_pipeline.py",
    "test_search.py",
    "test_suspects.py",
)


def pytest_collection_modifyitems(items):
    """The longest files first: begun at the end, one would run alone while the other cores rest."""
    items.sort(key=lambda item: item.path.name not in _LONGEST)


@pytest.fixture
def faces():
    """70 faces of noise, 10 of each class."""
    classes = tuple(Recognizer().classes)
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (70, 48, 48), dtype=np.uint8)
    return Faces(images, np.repeat(np.arange(7, dtype=np.uint8), 10), classes)


@pytest.fixture
def run_main(monkeypatch, capfd):
    """Run a `main` with arguments; return exit status, standard output and standard error."""

    def run(main, *arguments):
        monkeypatch.setattr(sys, "argv", ["fer", *map(str, arguments)])
        try:
            main()
        except SystemExit as stop:
            return stop.code, *capfd.readouterr()
        return 0, *capfd.readouterr()

    return run
