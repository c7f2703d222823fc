"""The networks that scripts/architectures.py compares."""

import pytest
import torch

from fer.params import Model
from fer.training.networks import build
from scripts.architectures import BASELINE, CANDIDATES, Candidate, best_third, multiply_adds


def test_the_baseline_is_compact() -> None:
    torch.manual_seed(0)
    expected = build(Model(name="compact", width=1.0), 7).eval()
    torch.manual_seed(0)
    network = Candidate(BASELINE, 1.0, 7).eval()
    faces = torch.rand(2, 1, 44, 44)
    assert torch.equal(network(faces), expected(faces))


@pytest.mark.parametrize("notation", CANDIDATES)
@pytest.mark.parametrize("size", [24, 44])
def test_every_network_takes_faces_of_every_size(notation: str, size: int) -> None:
    logits = Candidate(notation, 1.0, 7)(torch.rand(2, 1, size, size))
    assert logits.shape == (2, 7)
    logits.sum().backward()


def test_multiply_adds_count_every_convolution() -> None:
    # 3x3 to 8 channels at 44x44, 3x3 depthwise and 1x1 to 16 at 22x22, the head at 22x22.
    expected = 44 * 44 * 9 * 8 + 22 * 22 * (9 * 8 + 8 * 16 + 16 * 7)
    assert multiply_adds(Candidate("8 p s16", 1.0, 7)) == expected


def test_the_best_third_keeps_the_baseline() -> None:
    correct = {BASELINE: torch.zeros(4).numpy()}
    for count in range(3):
        correct[f"{count} p"] = (torch.arange(4) < count).numpy()
    assert list(best_third(correct)) == [BASELINE, "2 p"]
