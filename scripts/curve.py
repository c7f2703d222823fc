"""Train networks between the student and the teacher in size, and measure all of them.

    python -m scripts.curve 0.42 0.72

trains `deep` at these widths with the teacher's configuration, after `dvc repro` of FER2013, and
writes plots/fer2013/curve.csv with a row per network. Finished trainings are kept in .checkpoints:
a second call resumes, or only measures again.
"""

import sys
import tempfile
from functools import partial
from pathlib import Path

from fer import faces, files, params, tracking
from fer.bench import runtimes
from fer.deploy import export
from fer.errors import FerError, exit_on_error
from fer.training import checkpoint, runs
from fer.training.device import pick_device
from fer.training.fit import checkpoint_path
from fer.training.networks import Network, parameter_count

DATASET = "fer2013"


def main() -> None:
    p = params.load()
    widths = sys.argv[1:]
    epochs = p.budget[DATASET].teacher_epochs
    if not widths or not epochs:
        raise FerError(
            f"scripts.curve needs widths such as 0.42, and budget.{DATASET}.teacher_epochs above 0"
        )
    data, models = Path("data", DATASET), Path("models", DATASET)
    splits, test = runs.load(data), faces.load(data / "test")
    device, track = pick_device(p.settings.device), partial(tracking.run, p.settings.wandb)
    try:
        configs = {f"deep, {w}": p.teach.with_values({"model.width": float(w)}) for w in widths}
    except ValueError as error:
        raise FerError(
            f"scripts.curve: {' '.join(widths)} are not all numbers above 0; name widths"
        ) from error
    networks = {"compact": checkpoint.load(models / "baseline.pt")[0]}
    for name, config in configs.items():
        fit_arguments = (config, splits.train, splits.val_unique, epochs)
        network, _ = runs.train(
            track,
            f"curve {name}",
            *fit_arguments,
            device,
            checkpoint=checkpoint_path(*fit_arguments),
        )
        networks[name] = network.cpu()
    networks["deep"] = checkpoint.load(models / "teacher" / "teacher.pt")[0]
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(networks, Path(folder), splits.val, test)
    files.write_csv(Path("plots", DATASET, "curve.csv"), rows)


def measure(
    networks: dict[str, Network], folder: Path, val: faces.Faces, test: faces.Faces
) -> list[dict]:
    """Measure parameters, bytes, accuracies (0 to 1) and latency (ms) per network in float32."""
    exported = {}
    for name, network in networks.items():
        path = folder / f"{name}.onnx"
        export.export(path, network)
        exported[name] = (path, runtimes.onnx_runtime(path))
    factories = {name: factory for name, (_, factory) in exported.items()}
    speeds = runtimes.measure(factories, val.images, threads=1)
    return [
        {
            "network": name,
            "parameters": parameter_count(networks[name]),
            "bytes": path.stat().st_size,
            "val_accuracy": accuracy(factory, val),
            "test_accuracy": accuracy(factory, test),
            "latency_ms_1_thread": speeds[name]["latency_ms"],
        }
        for name, (path, factory) in exported.items()
    ]


def accuracy(factory: runtimes.PredictorFactory, split: faces.Faces) -> float:
    """Return the accuracy on a split, 0 to 1."""
    predicted = runtimes.predict(factory, split.images).argmax(1)
    return round(float((predicted == split.labels).mean()), 6)


if __name__ == "__main__":
    exit_on_error(main)
