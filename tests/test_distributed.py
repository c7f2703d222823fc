"""Training by two processes on the CPU, which torchrun starts."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fer import params
from fer.faces import Faces
from fer.training import distributed
from fer.training.fit import fit

ROOT = Path(__file__).parents[1]
RECIPE = params.load(ROOT / "params.yaml").recipe.changed(
    {
        # 70 faces: a last batch of 1, of which one of two processes has none.
        **{"model.width": 0.5, "train.batch_size": 23, "train.precision": "float32"},
        # Low, as a higher one makes any rounding grow until the weights have nothing in common.
        "train.lr": 0.003,
    }
)
EPOCHS = 3


def train(folder, die=()):
    """What each process does: train, and leave in `folder` what it ended with.

    die: (process, epoch) of one that is killed
    """
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (70, 48, 48), dtype=np.uint8)
    faces = Faces(images, np.repeat(np.arange(7, dtype=np.uint8), 10), tuple("abcdefg"))
    rank = int(os.environ.get("RANK", 0))

    def on_epoch(history):
        if (rank, len(history)) == die:
            os.kill(os.getpid(), signal.SIGKILL)

    with distributed.group("cpu") as device:
        network, history = fit(
            RECIPE,
            faces,
            faces[:35],
            EPOCHS,
            device,
            on_epoch=on_epoch,
            checkpoint=folder / f"{rank}.ckpt",
        )
    torch.save((network.state_dict(), history), folder / f"{rank}.end")


def torchrun(*command, cwd=ROOT, **environment):
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", *command],
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=280,  # less than what a process waits for one that is gone
    )


def by_two(folder, *arguments):
    return torchrun("--nproc-per-node=2", __file__, str(folder), *map(str, arguments))


def end(folder, rank=0):
    return torch.load(folder / f"{rank}.end", weights_only=True)


def figures(history):
    return [
        [v for k, v in row.items() if not k.startswith("seconds") and k != "lr"] for row in history
    ]


def assert_close(found, expected):
    # Sums in another order: float32 rounding, which eleven steps let grow (measured 1e-4).
    np.testing.assert_allclose(figures(found[1]), figures(expected[1]), atol=1e-3)
    for name, value in expected[0].items():
        torch.testing.assert_close(found[0][name], value, atol=2e-3, rtol=2e-3, msg=name)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    train(folder)
    return end(folder)


pytestmark = pytest.mark.slow


def test_two_processes_give_what_one_gives(tmp_path, alone):
    result = by_two(tmp_path)
    assert result.returncode == 0, result.stderr
    assert_close(end(tmp_path), alone)
    ours, theirs = end(tmp_path, 0)[0], end(tmp_path, 1)[0]
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.ckpt", "0.end", "1.end"]


def test_dead_process_ends_all_and_all_go_on(tmp_path, alone):
    result = by_two(tmp_path, 1, 2)
    assert result.returncode != 0
    assert [p.name for p in tmp_path.iterdir()] == ["0.ckpt"]
    again = by_two(tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("going on after epoch") == 1
    assert_close(end(tmp_path), alone)


@pytest.mark.parametrize("stage", ["teach", "tune"])
def test_stages_for_one_process_say_so(stage):
    result = torchrun("--nproc-per-node=2", "-m", f"stages.{stage}")
    assert result.returncode != 0
    assert f"error: stages.{stage} is for one process, stages.train for several" in result.stderr


def test_shares_are_all_of_the_batch_once(monkeypatch):
    monkeypatch.setattr(distributed, "several", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)
    for count in (1, 2, 3, 7, 128):
        shares = []
        for rank in range(3):
            monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
            shares += range(count)[distributed.share(count)]
        assert shares == list(range(count))


if __name__ == "__main__":
    folder, *rest = sys.argv[1:]
    train(Path(folder), tuple(map(int, rest)))
