"""What more parameters give: networks between the recipe's and the teacher's, beside both.

    python -m scripts.curve 0.42 0.72

trains `deep` at these widths by the teacher's recipe, after `dvc repro` of FER2013, and writes
plots/fer2013/curve.csv, a row for each of these networks. What is trained is kept in .checkpoints,
so that a second call goes on, or only measures again.
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
    if not sys.argv[1:] or not p.budget[DATASET].teacher_epochs:
        raise FerError(f"needs widths, as 0.42, and budget.{DATASET}.teacher_epochs above 0")
    data, models = Path("data", DATASET), Path("models", DATASET)
    splits, test = runs.load(data), faces.load(data / "test")
    device, track = pick_device(p.settings.device), partial(tracking.run, p.settings.wandb)
    try:
        recipes = {f"deep, {w}": p.teach.changed({"model.width": float(w)}) for w in sys.argv[1:]}
    except ValueError as error:
        raise FerError(f"widths are numbers above 0, not {' '.join(sys.argv[1:])}") from error
    networks = {"compact": checkpoint.load(models / "baseline.pt")[0]}
    for name, recipe in recipes.items():
        given = (recipe, splits.train, splits.new, p.budget[DATASET].teacher_epochs)
        state = checkpoint_path(*given)
        network, _ = runs.run(track, f"curve {name}", *given, device, checkpoint=state)
        networks[name] = network.cpu()
    networks["deep"] = checkpoint.load(models / "teacher" / "teacher.pt")[0]
    with tempfile.TemporaryDirectory() as folder:
        files.write_csv(
            Path("plots", DATASET, "curve.csv"), rows(networks, Path(folder), splits.val, test)
        )


def rows(networks: dict[str, Network], folder: Path, val: faces.Faces, test: faces.Faces) -> list:
    """Parameters, bytes, accuracies (0 to 1) and speed of each network, in float32."""
    makers = {}
    for name, network in networks.items():
        path = folder / f"{name}.onnx"
        export.export(path, network)
        makers[name] = (path, runtimes.by_onnx_runtime(path))
    speeds = runtimes.measure({name: maker for name, (_, maker) in makers.items()}, val.images, 1)
    return [
        {
            "network": name,
            "parameters": parameter_count(networks[name]),
            "bytes": path.stat().st_size,
            "val_accuracy": accuracy(maker, val),
            "test_accuracy": accuracy(maker, test),
            "latency_ms_1_thread": speeds[name]["latency_ms"],
        }
        for name, (path, maker) in makers.items()
    ]


def accuracy(maker: runtimes.Maker, split: faces.Faces) -> float:
    """Share of the faces whose label a predictor says, 0 to 1."""
    found = runtimes.predict(maker, split.images)
    return round(float((found.argmax(1) == split.labels).mean()), 6)


if __name__ == "__main__":
    exit_on_error(main)
