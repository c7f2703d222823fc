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
from fer.core.params import Augment
from fer.training import distributed
from fer.training.fit import fit
from fer.training.history import without_seconds
from fer.training.loading import make_loader
from fer.training.run import TrainingRun

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
CONFIG = params.load(ROOT / "params.yaml").config.with_values(
    {"model.width": 0.5, "train.batch_size": 23, "train.average": 0.1}
)
EPOCHS = 3


def train(folder, killed_at=()):
    """Train in one process of several and write its weights and history to `folder`.

    `killed_at` is the rank of the process that is killed, and the epoch after which this happens.
    """
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (70, 48, 48), dtype=np.uint8)
    faces = Faces(images, np.repeat(np.arange(7, dtype=np.uint8), 10), tuple("abcdefg"))

    def on_epoch(row):
        if (distributed.rank(), row["epoch"]) == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)

    with distributed.process_group("cpu") as device:
        checkpoint = folder / f"{distributed.rank()}.ckpt"
        run = TrainingRun(CONFIG, faces, faces[:35], EPOCHS, device)
        network, history = fit(run, on_epoch=on_epoch, checkpoint=checkpoint)
    parameters = dict(network.named_parameters())
    torch.save((parameters, history), checkpoint.with_suffix(".end"))


def torchrun(*command):
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", *command],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def train_in_two_processes(folder, *arguments):
    """Return standard output, and parameters and metrics of both processes."""
    process = torchrun("--nproc-per-node=2", __file__, str(folder), *map(str, arguments))
    if process.returncode:
        return process.stderr, None
    results = [torch.load(folder / f"{rank}.end", weights_only=True) for rank in range(2)]
    return process.stdout, results


def assert_equal(result, expected):
    """Of parameters and metrics; BatchNorm's statistics are those of each process."""
    (parameters, history), (expected_parameters, expected_history) = result, expected
    assert all(torch.equal(parameters[name], expected_parameters[name]) for name in parameters)
    assert without_seconds(history) == without_seconds(expected_history)


@pytest.mark.slow
def test_two_processes_train_one_network_and_resume_after_a_kill(tmp_path):
    folders = tmp_path / "whole", tmp_path / "killed"
    for folder in folders:
        folder.mkdir()
    _, (first, second) = train_in_two_processes(folders[0])
    assert_equal(first, second)
    assert sorted(p.name for p in folders[0].iterdir()) == ["0.ckpt", "0.end", "1.end"]

    _, results = train_in_two_processes(folders[1], 1, 2)
    assert results is None  # one killed process ends all
    assert [p.name for p in folders[1].iterdir()] == ["0.ckpt"]
    output, (resumed, _) = train_in_two_processes(folders[1])
    assert output.count("going on after epoch") == 1
    assert_equal(resumed, first)


@pytest.mark.slow
def test_stage_for_one_process_refuses_several():
    process = torchrun("--nproc-per-node=2", "-m", "stages.tune")
    assert process.returncode != 0
    message = "error: torchrun: stages.tune runs in one process only; run `dvc repro tune`"
    assert message in process.stderr


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_have_equal_parts_of_each_batch(faces, monkeypatch, processes):
    """The batches of 32, 32 and 6 faces; where a batch cannot be divided, faces come twice."""
    labelled = Faces(faces.images, np.arange(70, dtype=np.uint8), tuple(map(str, range(70))))
    monkeypatch.setattr(distributed, "processes", lambda: processes)
    batches, sizes = [[], [], []], []
    for rank in range(processes):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        options = {"batch_size": 32, "seed": 0, "num_workers": 0, "device": CPU}
        for number, (_, labels) in enumerate(make_loader(labelled, Augment(), **options)):
            batches[number] += labels.tolist()
            sizes.append(len(labels))
    assert sizes == [-(-count // processes) for count in (32, 32, 6)] * processes
    assert [len(set(batch)) for batch in batches] == [32, 32, 6]
    assert {label for batch in batches for label in batch} == {*range(70)}


if __name__ == "__main__":
    folder, *killed_at = sys.argv[1:]
    train(Path(folder), tuple(map(int, killed_at)))
