"""Judge each model on the test split, which no other stage reads."""

import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import confusion_matrix

from fer import evaluation, faces, files, model, params, plots, quality
from fer.errors import FerError, exit_on_error
from fer.explain import grad_cam
from fer.faces import CLASSES
from fer.recognition import Recognizer
from fer.timing import machine

TRAINED = ("baseline", "tuned")
EXPORTED = {"float32": "fer.onnx", "int8": "fer.int8.onnx"}
SHOWN = 2
"""Faces of each class on the Grad-CAM sheet, right ones and as many wrong ones."""


def main() -> None:
    p = params.load()
    data, plot_dir = Path("data", p.dataset), Path("plots", p.dataset)
    test, train = faces.load(data / "test"), faces.load(data / "train")
    new = ~quality.is_in(test, train)
    if not new.any():
        raise FerError(f"{data}: every test face stands in the training split too")
    models = Path("models", p.dataset)
    networks = {name: model.load(models / f"{name}.pt")[0] for name in TRAINED}
    recognizers = {name: Recognizer(models / file) for name, file in EXPORTED.items()}

    images, labels = torch.tensor(test.images), np.array(test.labels)
    outputs = {
        name: [evaluation.logits(network, images, flip=flip) for flip in (False, True)]
        for name, network in networks.items()
    } | {name: exported_logits(recognizer, images) for name, recognizer in recognizers.items()}
    bins = p.evaluate.calibration_bins
    figures, class_rows, matrices = {}, [], {}
    for name, (output, flipped) in outputs.items():
        figures[name] = {
            key: evaluation.scores(out, labels, bins)
            | {"accuracy_not_in_train": float((out.argmax(1).numpy() == labels)[new].mean())}
            for key, out in (("plain", output), ("flip_averaged", flipped))
        }
        class_rows += [{"model": name} | row for row in evaluation.per_class(output, labels)]
        predicted = output.argmax(1).numpy()
        matrices[name] = confusion_matrix(labels, predicted, labels=range(len(CLASSES)))
        files.write_csv(
            plot_dir / f"confusion_{name}.csv",
            [
                {"actual": CLASSES[a], "predicted": CLASSES[b]}
                for a, b in zip(labels, predicted, strict=True)
            ],
        )
        print(
            f"{name}: {figures[name]['plain']['accuracy']:.2%} of {len(test)} test faces",
            flush=True,
        )

    warning = recognizers["int8"].about["warning"]  # of stage quantize
    files.write_json(
        Path("metrics", p.dataset, "evaluate.json"),
        {
            "dataset": p.dataset,
            "faces": {"test": len(test), "test_not_in_train": int(new.sum())},
            **figures,
            "warning": warning,
            "machine": machine(torch.device("cpu")),
            "int8_against_float32": evaluation.mcnemar(
                *(outputs[name][0].argmax(1).numpy() == labels for name in ("int8", "float32"))
            ),
        },
    )
    if warning:
        print(f"warning: {warning}", file=sys.stderr)
    files.write_csv(plot_dir / "per_class.csv", class_rows)
    plots.confusion(plot_dir / "confusion.png", matrices, p.dataset)
    plots.per_class(plot_dir / "per_class.png", class_rows, p.dataset)
    last = TRAINED[-1]
    sheet = gradcam_sheet(networks[last], images, labels, p.evaluate.gradcam_seed)
    plots.gradcam(plot_dir / "gradcam.png", sheet, p.dataset, last)


def exported_logits(recognizer: Recognizer, images: torch.Tensor) -> list[torch.Tensor]:
    """As `evaluation.logits` gives them, plain and flip-averaged, but for a constant a face."""

    def run(faces: torch.Tensor) -> torch.Tensor:
        found = [recognizer.classify(batch.numpy()) for batch in faces.split(256)]
        return torch.from_numpy(np.concatenate(found)).clamp(min=1e-12).log()

    plain = run(images)
    return [plain, (plain + run(images.flip(-1).contiguous())) / 2]


def gradcam_sheet(
    network: model.MiniXception, images: torch.Tensor, labels: np.ndarray, seed: int
) -> list[list[plots.Cell | None]]:
    """For each class SHOWN right and SHOWN wrong faces as `plots.gradcam` takes them."""
    generator = np.random.default_rng(seed)
    confidence, predicted = evaluation.logits(network, images).softmax(1).max(1)
    right = predicted.numpy() == labels
    rows = []
    for label in range(len(CLASSES)):
        row = []
        for fits in (right, ~right):
            chosen = generator.permutation(np.flatnonzero((labels == label) & fits))[:SHOWN]
            row += [*chosen.tolist(), *[None] * (SHOWN - len(chosen))]
        rows.append(row)

    shown = [index for row in rows for index in row if index is not None]
    maps = dict(zip(shown, grad_cam(network, images[shown], predicted[shown]), strict=True))

    def cell(index: int) -> plots.Cell:
        return images[index].numpy(), maps[index], int(predicted[index]), float(confidence[index])

    return [[None if index is None else cell(index) for index in row] for row in rows]


if __name__ == "__main__":
    exit_on_error(main)
