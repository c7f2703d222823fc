"""What the reliability tests have in common: small projects, and processes to be stopped."""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

SMALL = {
    "settings": {"wandb": "disabled"},
    "sample": {"train": 140, "val": 35, "test": 35},
    "benchmark": {"workers": [0, 2], "batch_size": 32},
    "prepare": {"balance": "oversample"},
    "train": {"batch_size": 16},
    "teach": {"model": {"name": "deep", "width": 0.1}},
    "quantize": {"calibration_faces": 20},
    "budget": {
        "sample": {
            "epochs": 5,
            "teacher_epochs": 1,
            "timings": {"loader_epochs": 1, "runtime_rounds": 1},
            "search": {
                "trials": 3,
                "epochs": 2,
                "minutes": 5,
                "finalists": 1,
                "final_epochs": 2,
                "folds": 2,
            },
        }
    },
}

TIMINGS = ("timings", "metrics/speeds", "benchmark.csv", "runtimes.csv", "seconds.csv")
TIMINGS += ("quantize.png", "benchmark.png", "seconds.png", "report.html")
"""What is another after a rerun, by a part of its path."""


def start(folder, *command, **environment):
    """Start a command as the leader of a group of processes that can be stopped together."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    given = {"PATH": path, "OMP_NUM_THREADS": "1"} | environment
    return subprocess.Popen(
        command,
        cwd=folder,
        env=os.environ | given,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell starts what runs in the background without it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def results(folder, stage):
    """Digests of the outputs of a stage that are no timings, by path."""
    actual = {}
    place = "data/raw/dvc.yaml" if stage == "sample" else "dvc.yaml"
    for out in YAML(typ="safe").load(folder / place)["stages"][stage]["outs"]:
        path = folder / next(iter(out)).replace("${item.dataset}", "sample")
        if not any(part in str(path) for part in TIMINGS):
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                actual[file.relative_to(folder)] = hashlib.md5(file.read_bytes()).hexdigest()
    return actual


def leftovers(folder):
    """What a kill may leave, but not the next run: folders of half-written files."""
    return list(folder.rglob(".writing-*"))
