"""Training in two processes of torchrun on the CPU."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fer.core import params
from fer.core.faces import Faces
from fer.training import distributed
from fer.training.fit import fit

ROOT = Path(__file__).parents[1]
CONFIG = params.load(ROOT / "params.yaml").config.with_values(
    {
        # The last batch has one of the 70 faces, so one of the two processes has none.
        **{"model.width": 0.5, "train.batch_size": 23, "train.precision": "float32"},
        # A higher rate would amplify rounding errors until the weights have nothing in common.
        "train.lr": 0.003,
    }
)
EPOCHS = 3


def train(folder, killed_at=()):
    """Train in one process and write its weights and history to `folder`.

    Args:
        folder: Where the checkpoint and the result are written.
        killed_at: Rank of the process that is killed, and the epoch after which this happens.
    """
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (70, 48, 48), dtype=np.uint8)
    faces = Faces(images, np.repeat(np.arange(7, dtype=np.uint8), 10), tuple("abcdefg"))
    rank = int(os.environ.get("RANK", 0))

    def on_epoch(history):
        if (rank, len(history)) == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)

    with distributed.process_group("cpu") as device:
        network, history = fit(
            CONFIG,
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
        timeout=280,  # seconds; shorter than the wait for a lost process
    )


def train_in_two_processes(folder, *arguments):
    return torchrun("--nproc-per-node=2", __file__, str(folder), *map(str, arguments))


def load_result(folder, rank=0):
    """Return the weights and the history of a process."""
    return torch.load(folder / f"{rank}.end", weights_only=True)


def metrics(history):
    return [
        [v for k, v in row.items() if not k.startswith("seconds") and k != "lr"] for row in history
    ]


def assert_close(result, expected):
    # Sums in another order round differently in float32; eleven steps amplify it (measured 1e-4).
    np.testing.assert_allclose(metrics(result[1]), metrics(expected[1]), atol=1e-3)
    for name, value in expected[0].items():
        torch.testing.assert_close(result[0][name], value, atol=2e-3, rtol=2e-3, msg=name)


@pytest.fixture(scope="module")
def single_process_result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("single")
    train(folder)
    return load_result(folder)


pytestmark = pytest.mark.slow


def test_two_processes_train_the_same_network_as_one(tmp_path, single_process_result):
    process = train_in_two_processes(tmp_path)
    assert process.returncode == 0, process.stderr
    assert_close(load_result(tmp_path), single_process_result)
    first, second = load_result(tmp_path, 0)[0], load_result(tmp_path, 1)[0]
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.ckpt", "0.end", "1.end"]


def test_killed_process_ends_all_and_the_next_start_resumes(tmp_path, single_process_result):
    killed = train_in_two_processes(tmp_path, 1, 2)
    assert killed.returncode != 0
    assert [p.name for p in tmp_path.iterdir()] == ["0.ckpt"]
    resumed = train_in_two_processes(tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.count("going on after epoch") == 1
    assert_close(load_result(tmp_path), single_process_result)


@pytest.mark.parametrize("stage", ["teach", "tune"])
def test_stages_for_one_process_refuse_several(stage):
    process = torchrun("--nproc-per-node=2", "-m", f"stages.{stage}")
    assert process.returncode != 0
    message = f"error: torchrun: stages.{stage} runs in one process only; run `dvc repro {stage}`"
    assert message in process.stderr


def test_slices_of_all_processes_cover_the_batch_once(monkeypatch):
    monkeypatch.setattr(distributed, "is_distributed", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)
    for count in (1, 2, 3, 7, 128):
        items = []
        for rank in range(3):
            monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
            items += range(count)[distributed.local_slice(count)]
        assert items == list(range(count))


if __name__ == "__main__":
    folder, *killed_at = sys.argv[1:]
    train(Path(folder), tuple(map(int, killed_at)))
