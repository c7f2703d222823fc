"""Evaluate each model on the test split, which no other stage reads."""

import sys
from functools import partial
from pathlib import Path

from fer.core import faces, files, params
from fer.core.errors import FerError, exit_on_error
from fer.core.machine import cores
from fer.core.prior import with_uniform_prior
from fer.deploy import runtimes
from fer.report import figures, scores
from fer.report.read import read_table
from fer.training import evaluation, model_file
from fer.training.networks import parameter_count
from fer.training.robustness import damaged

EXPORTED = {"float32": "fer.onnx", "int8": "fer.int8.onnx"}
"""Files of the model that stage quantize exported; quantize.json says which one."""


def main() -> None:
    p = params.load()
    data = Path("data", p.dataset)
    models, plots, metrics = (Path(top) / p.folder for top in ("models", "plots", "metrics"))
    train, val, test = (faces.load(data / split) for split in ("train", "val", "test"))
    unique = ~faces.is_in(test, train, val)
    if not unique.any():
        raise FerError(f"{data}: every test face is also in train or val; add other test faces")
    paths = {"baseline": models / "baseline.pt"} | dict([model_file.winner(models)])
    networks = {name: model_file.load(path, test.classes)[0] for name, path in paths.items()}
    predictors = {
        name: partial(evaluation.predict_probabilities, network)
        for name, network in networks.items()
    } | {name: runtimes.onnx_predictor(models / file, cores()) for name, file in EXPORTED.items()}

    copies = damaged(test.images, p.damage)
    results, class_rows, predictions = {}, [], {}
    for name, predictor in predictors.items():
        views = runtimes.predict_views(predictor, test.images)
        views["uniform_prior"] = with_uniform_prior(views["flip_averaged"], train.shares())
        predictions[name] = views["flip_averaged"].argmax(1)
        results[name] = {
            view: scores.scores(output, test.labels, unique, p.evaluate.calibration_bins)
            for view, output in views.items()
        }
        accuracy = results[name]["flip_averaged"]["accuracy"]
        print(f"{name}: accuracy {accuracy:.2%} on {len(test)} test faces", flush=True)
        accuracies = runtimes.accuracy_on_damaged(predictor, copies, test.labels)
        results[name]["damaged"] = accuracies
        print(f"{name}: accuracy {accuracies['mean']:.2%} on damaged ones", flush=True)
        if name not in EXPORTED:
            continue
        rows = scores.per_class(predictions[name], test.labels, test.classes)
        class_rows += [{"model": name} | row for row in rows]
        answers = scores.coverage(views["flip_averaged"], test.labels)

    warning = runtimes.read_metadata(models / "fer.int8.onnx")["warning"]
    correct = {name: predicted == test.labels for name, predicted in predictions.items()}
    report = {
        "dataset": p.dataset,
        "faces": {"test": len(test), "test_unique": int(unique.sum())},
        "parameters": {name: parameter_count(network) for name, network in networks.items()},
        **results,
        "warning": warning,
        "int8_against_float32": {
            "same_prediction": float((predictions["int8"] == predictions["float32"]).mean()),
            **scores.mcnemar(correct["int8"], correct["float32"]),
        },
    }
    files.write_json(metrics / "evaluate.json", report)
    files.write_csv(plots / "per_class.csv", class_rows)
    pairs = scores.confusions(predictions["int8"], test.labels, test.classes)
    files.write_csv(plots / "confusion_int8.csv", pairs)
    files.write_csv(plots / "coverage.csv", answers)  # of int8, the last model
    examples = test[scores.examples(test, correct["float32"], p.evaluate.examples_seed)]
    session = runtimes.onnx_session(models / "fer.onnx", cores())
    outputs = session.run(["probabilities", "maps"], {"faces": examples.images})
    # Drawn here, because no other stage may read test faces.
    figures.explained(
        plots / "explained.png",
        examples,
        *outputs,
        f"{p.name}: class activation maps of float32 on test faces",
    )
    pairs = read_table(data / "pairs.csv")
    splits = {"train": train, "val": val, "test": test}
    figures.pairs(plots / "pairs.png", pairs, splits, p.dataset)
    if warning:
        print(f"warning: {warning}", file=sys.stderr)


if __name__ == "__main__":
    exit_on_error(main)
