"""A stage that is killed or stopped at any moment: the same command goes on from there."""

import os
import random
import re
import shutil
import signal
import time

import pytest
from harness import results, start_stage
from test_pipeline import update

pytestmark = pytest.mark.reliability

KILLS = 8
VARIED = {
    **{"prepare": "seed", "train": "seed", "tune": "seed", "quantize": "seed"},
    "evaluate": "examples_seed",
}
"""The parameter by which each stage is made to compute something else."""


def finish(project, stage):
    process = start_stage(project, stage)
    out, err = process.communicate()
    assert process.returncode == 0, out + err
    return out


@pytest.mark.parametrize("stage", VARIED)
def test_killed_stage_goes_on(project, stage):
    """And ends with the same bits. A stopped search may have other trials than a whole one."""
    before = results(project, stage)
    update(project, {stage: {VARIED[stage]: 7}})
    start_of_run = time.monotonic()
    finish(project, stage)
    seconds, whole = time.monotonic() - start_of_run, results(project, stage)
    assert whole.keys() == before.keys()
    moments = random.Random(stage)
    for _ in range(KILLS):
        shutil.rmtree(project / ".optuna", ignore_errors=True)
        process = start_stage(project, stage)
        moment = moments.uniform(0, seconds)
        time.sleep(moment)
        os.killpg(process.pid, signal.SIGKILL)
        killed, _ = process.communicate()
        resumed = finish(project, stage)
        message = f"{stage}, killed after {moment:.2f} s:\n{killed}\n---\n{resumed}"
        if stage != "tune":
            assert results(project, stage) == whole, message
        epochs = re.findall(r"^epoch (\d+)/5", killed, re.MULTILINE)
        if stage == "train" and epochs and epochs[-1] != "5":
            assert int(re.search(r"going on after epoch (\d+)", resumed)[1]) >= int(epochs[-1]), (
                message
            )
