"""What the reliability tests have in common: a small project, and processes to be stopped."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML
from test_pipeline import TINY

SMALL = TINY | {
    "settings": {"wandb": "disabled"},
    "sample": {"train": 140, "val": 35, "test": 35},
    "prepare": {"balance": "oversample"},
    "train": {"epochs": 5, "batch_size": 16},
}

TIMINGS = ("timings", "metrics/speeds", "benchmark.csv", "runtimes.csv", "seconds.csv")
TIMINGS += ("seconds.png", "report.html")
"""Parts of the paths of outputs that differ after each run."""


def start(folder, *command, **environment):
    """Start a command as the leader of a group of processes that can be stopped together."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.Popen(
        command,
        cwd=folder,
        env=os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def start_stage(folder, name, *before, **environment):
    command = (*before, sys.executable, "-m", f"stages.{name}")
    return start(folder, *command, DVC_ROOT=str(folder), **environment)


def results(folder, stage):
    """Digests of the outputs of a stage that are no timings, by path."""
    digests = {}
    for out in YAML(typ="safe").load(folder / "dvc.yaml")["stages"][stage]["outs"]:
        path = folder / next(iter(out)).replace("${item.dataset}", "sample")
        path = Path(str(path).replace("${item.size}", "nano"))
        if not any(part in str(path) for part in TIMINGS):
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                digests[file.relative_to(folder)] = hashlib.md5(file.read_bytes()).hexdigest()
    return digests
