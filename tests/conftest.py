import numpy as np
import pytest

from fer.faces import CLASSES, Faces


@pytest.fixture(autouse=True)
def _no_tracking(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")


@pytest.fixture
def faces():
    """70 faces of noise, 10 of each class."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (70, 48, 48), dtype=np.uint8)
    return Faces(images, np.repeat(np.arange(len(CLASSES), dtype=np.uint8), 10))
