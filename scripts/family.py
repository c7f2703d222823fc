"""Train networks of several sizes on FER2013, with an ensemble of large networks as their teacher.

    python -m scripts.family teachers            # 5 minutes on an H200
    python -m scripts.family students --seed 0   # 7 minutes
    python -m scripts.family release             # on a CPU: int8 files, plots/fer2013/family.csv

FER2013 must be prepared (`dvc repro prepare` with `dataset: fer2013`). On a GPU each network trains
in a process of its own, all at once. Start NVIDIA's MPS before (`nvidia-cuda-mps-control -d`):
their kernels then run side by side. A stopped training resumes, and a finished one is not repeated.
"""

import argparse
import multiprocessing
import shutil
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from torch import nn

from fer.core import faces, files, params
from fer.core.errors import FerError, exit_on_error
from fer.core.faces import Faces
from fer.core.machine import cores
from fer.core.params import Damage, Params, TrainingConfig
from fer.core.prior import with_uniform_prior
from fer.deploy import export, quantize, runtimes, temperature
from fer.report import scores
from fer.training import model_file, workflow
from fer.training.device import pick_device, shortage_as_fer_error
from fer.training.fit import fit
from fer.training.history import Row
from fer.training.networks import Network, parameter_count
from fer.training.robustness import damaged
from fer.training.run import TrainingRun

DATA, MODELS, WEIGHTS = Path("data/fer2013"), Path("models/fer2013"), Path("fer/weights")
STUDENTS_FOLDER, TEACHERS_FOLDER = MODELS / "family", Path(".checkpoints/family")


class Plan(NamedTuple):
    """The epochs of a network, and the values that only this one has."""

    epochs: int
    values: dict[str, Any]


class Ensemble(Network):
    """Several networks as one. Its logits are the mean over the networks and the mirror image.

    An exported ensemble has the mean of the maps, without the mirror image.
    """

    def __init__(self, networks: list[Network]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def maps(self, x: torch.Tensor) -> torch.Tensor:
        """Return the mean of the networks' maps, which must be of one size."""
        return torch.stack([network.maps(x) for network in self.networks]).mean(0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits, float [N, classes], of faces, float [N, 1, H, W], 0 to 1."""
        views = torch.cat([x, x.flip(3)])
        logits = torch.stack([network(views) for network in self.networks]).float().mean(0)
        return logits.view(2, len(x), -1).mean(0)


class Job(NamedTuple):
    """A training: the file to write, its configuration, how val is damaged, files of teachers."""

    path: Path
    config: TrainingConfig
    epochs: int
    damage: Damage
    teachers: tuple[Path, ...] = ()


TEACHER = {
    **{"model.name": "vgg", "train.batch_size": 256, "train.weight_decay": 0.001},
    **{"train.average": 0.02, "train.input_sizes": [24, 32, 44, 44]},
    **{"train.augment.shift": 5, "train.augment.scale": 0.2, "train.augment.contrast": 0.4},
    **{"train.augment.erase": 0.5},
}
"""How all teachers differ from section `teach` of params.yaml."""

TEACHERS = {
    "vgg": Plan(232, {}),
    "vgg-mixup": Plan(228, {"train.augment.mixup": 0.4, "train.weight_decay": 0.0005}),
    "deep": Plan(225, {"model.name": "deep", "model.width": 2.25, "train.seed": 1}),
}

STUDENT = {"train.average": 0.02, "train.distill.weight": 0.9, "train.distill.views": 12}
"""How all students differ from sections `model` and `train` of params.yaml."""

STUDENTS = {
    "nano": Plan(375, {}),
    "small": Plan(336, {"model.width": 2.0}),
    "base": Plan(284, {"model.width": 3.38}),
}

RELEASED = ("small", "base")
"""Students whose int8 file is part of the package. The pipeline makes the smallest one, `nano`."""

ENSEMBLE = "large"
"""Name of the released model that is the mean of all others."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("command", choices=["teachers", "students", "release"])
    parser.add_argument("--seed", type=int, default=0, help="of the students")
    arguments = parser.parse_args()
    if arguments.seed < 0:
        raise FerError(f"--seed is {arguments.seed}; use 0 or more")
    p = params.load()
    if arguments.command == "release":
        release(p, arguments.seed)
        return
    device = pick_device(p.settings.device)
    is_teachers = arguments.command == "teachers"
    run(teacher_jobs(p) if is_teachers else student_jobs(p, arguments.seed), device)


def teacher_jobs(p: Params) -> list[Job]:
    return [
        Job(teacher_path(name), p.teach.with_values(TEACHER | plan.values), plan.epochs, p.damage)
        for name, plan in TEACHERS.items()
    ]


def student_jobs(p: Params, seed: int) -> list[Job]:
    config = p.config.with_values(STUDENT | {"train.seed": seed})
    teachers = tuple(existing([teacher_path(name) for name in TEACHERS], "teachers"))
    return [
        Job(
            student_path(name, seed),
            config.with_values(plan.values),
            plan.epochs,
            p.damage,
            teachers,
        )
        for name, plan in STUDENTS.items()
    ]


def teacher_path(name: str) -> Path:
    return TEACHERS_FOLDER / f"{name}.pt"  # too large for git


def student_path(name: str, seed: int) -> Path:
    return STUDENTS_FOLDER / f"{name}-{seed}.pt"


def run(jobs: list[Job], device: torch.device) -> None:
    """Train all networks that have no file yet: on a GPU side by side, otherwise in turn."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(jobs) if device.type == "cuda" else 1, context) as pool:
        for path in pool.map(partial(train, device=device), jobs):
            print(f"{path}: done; delete it to train it anew", flush=True)


def existing(paths: list[Path], command: str) -> list[Path]:
    for path in paths:
        if not path.exists():
            raise FerError(f"{path}: no model here; run python -m scripts.family {command}")
    return paths


def train(job: Job, device: torch.device) -> Path:
    """Write the model file of a network, a student's fine-tuned for int8, and return its path."""
    if job.path.exists():
        return job.path
    splits = workflow.load(DATA)
    networks = [model_file.load(path)[0] for path in job.teachers]
    teacher = Ensemble(networks).eval().to(memory_format=torch.channels_last) if networks else None
    options = {"teacher": teacher, "damage": job.damage}
    run = TrainingRun(job.config, splits.train, splits.val_unseen, job.epochs, device, **options)
    show = partial(print_epoch, job)
    with shortage_as_fer_error(device, "train fewer networks at once"):
        network, history = fit(run, on_epoch=show, checkpoint=run.checkpoint, quiet=True)
    if not job.teachers:
        network = network.half().float()  # a teacher is stored in half the bytes
    network, scores = workflow.finetune_and_score(network, job.config.train, splits, job.damage)
    origin = {"classes": splits.train.classes, "dataset": DATA.name}
    stored = network if job.teachers else network.half()
    model_file.save(job.path, stored, job.config.model, **origin, scores=scores, history=history)
    run.checkpoint.unlink(missing_ok=True)
    return job.path


def print_epoch(job: Job, row: Row) -> None:
    """Print every tenth part of a training."""
    if row["epoch"] % max(1, job.epochs // 10) == 0:
        accuracies = f"train {row['train_accuracy']:.2%}, val {row['val_accuracy']:.2%}"
        print(f"{job.path.stem}: epoch {row['epoch']}/{job.epochs}: {accuracies}", flush=True)


def release(p: Params, seed: int) -> None:
    """Export the students and their mean to int8, and measure all sizes on val and test.

    The accuracies are averaged over each face and its mirror image, as in `Recognizer`.
    """
    train_faces, val, test = (faces.load(DATA / split) for split in ("train", "val", "test"))
    unseen = val[~faces.is_in(val, train_faces)]
    checkpoints = {"nano": MODELS / "baseline.pt"}
    checkpoints |= {name: student_path(name, seed) for name in RELEASED}
    existing([*checkpoints.values()], "students")
    networks = {name: model_file.load(path)[0] for name, path in checkpoints.items()}
    networks[ENSEMBLE] = Ensemble(list(networks.values()))
    graphs = {"nano": (MODELS / "fer.onnx", MODELS / "fer.int8.onnx")}
    calibration = quantize.pick_calibration_faces(
        train_faces.images, p.quantize.calibration_faces, p.quantize.seed
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in (*RELEASED, ENSEMBLE):
            float32, int8 = Path(folder, f"{name}.onnx"), Path(folder, f"{name}.int8.onnx")
            export.export(float32, networks[name])
            quantize.quantize(float32, int8, calibration, p.quantize.calibration_method)
            quantize.check_portable(int8)
            predictors = [runtimes.onnx_predictor(file, cores()) for file in (float32, int8)]
            accuracy, int8_accuracy = (
                float((runtimes.predict(predictor, val.images).argmax(1) == val.labels).mean())
                for predictor in predictors
            )
            fitted = temperature.fit(predictors[1], unseen.images, unseen.labels)
            for file in (float32, int8):
                temperature.write(file, fitted)
            limit = p.quantize.max_accuracy_drop
            metadata = {
                "dataset": DATA.name,
                "model": name,
                "licence": "see MODEL_CARD.md",
                "scores": {"val_accuracy": int8_accuracy},
                "class_shares": train_faces.shares(),
                "temperature": fitted,
                "warning": quantize.accuracy_drop_warning(accuracy, int8_accuracy, limit),
            }
            for file in (float32, int8):
                export.write_metadata(file, metadata, train_faces.classes)
            graphs[name] = float32, int8
        rows = [
            {
                "model": name,
                "parameters": parameter_count(networks[name]),
                "bytes": int8.stat().st_size,
                **accuracies(float32, "float32", val, test),
                **accuracies(int8, "int8", val, test),
                **robustness(int8, train_faces, test, p.damage),
            }
            for name, (float32, int8) in graphs.items()
        ]
        released = {WEIGHTS / f"{name}.int8.onnx": int8 for name, (_, int8) in graphs.items()}
        released[WEIGHTS / "nano.float32.onnx"] = graphs["nano"][0]
        for target, file in released.items():
            with files.atomic_path(target) as temporary:
                shutil.copyfile(file, temporary)
    files.write_csv(Path("plots/fer2013/family.csv"), rows)


def accuracies(path: Path, precision: str, val: Faces, test: Faces) -> dict[str, float]:
    """Return the accuracies of an ONNX file on val and test, 0 to 1."""
    predictor = runtimes.onnx_predictor(path, cores())
    rows = {}
    for name, split in (("val", val), ("test", test)):
        averaged = runtimes.predict_views(predictor, split.images)["flip_averaged"]
        rows[f"{name}_accuracy_{precision}"] = round(
            float((averaged.argmax(1) == split.labels).mean()), 6
        )
    return rows


def robustness(path: Path, train: Faces, test: Faces, damage: Damage) -> dict[str, float]:
    """Return the accuracies of an ONNX file on damaged test faces, and balanced over the classes.

    "uniform" is with a uniform prior. "answered_80" is the share of the faces that are answered if
    80 % of the answers must be correct.
    """
    predictor = runtimes.onnx_predictor(path, cores())
    on_damaged = runtimes.accuracy_on_damaged(predictor, damaged(test.images, damage), test.labels)
    probabilities = runtimes.predict_views(predictor, test.images)["flip_averaged"]
    rows = {f"test_damaged_{key}": on_damaged[key] for key in ("mean", "worst")}
    for prior, values in (
        ("training", probabilities),
        ("uniform", with_uniform_prior(probabilities, train.shares())),
    ):
        predicted = values.argmax(1)
        rows[f"test_accuracy_{prior}"] = accuracy_score(test.labels, predicted)
        rows[f"test_balanced_{prior}"] = balanced_accuracy_score(test.labels, predicted)
    answers = scores.coverage(probabilities, test.labels)
    for percent in (80, 85, 90, 95):
        row = scores.answered(answers, percent / 100)
        rows[f"test_answered_{percent}"] = row["share"] if row else 0
    rows["test_calibration_error"] = scores.calibration_error(probabilities, test.labels, 15)
    return {key: round(float(value), 6) for key, value in rows.items()}


if __name__ == "__main__":
    exit_on_error(main)
