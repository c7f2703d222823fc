"""Judge each model on the test split, which no other stage reads."""

import sys
from functools import partial
from pathlib import Path

import numpy as np

from fer import faces, files, params
from fer.errors import FerError, exit_on_error
from fer.predict.recognizer import Recognizer
from fer.report import figures, scores
from fer.training import checkpoint, evaluation
from fer.training.networks import parameter_count

EXPORTED = {"float32": "fer.onnx", "int8": "fer.int8.onnx"}


def main() -> None:
    p = params.load()
    data, models, plots = (Path(top, p.dataset) for top in ("data", "models", "plots"))
    train, val, test = (faces.load(data / split) for split in ("train", "val", "test"))
    new = ~faces.is_in(test, train, val)
    if not new.any():
        raise FerError(f"{data}: every test face stands in the training split or in val too")
    networks = {
        name: checkpoint.load(models / f"{name}.pt", test.classes)[0]
        for name in ("baseline", "tuned")
    }
    if params.load_budget(p.dataset).teacher_epochs:
        networks["teacher"], _ = checkpoint.load(models / "teacher" / "teacher.pt", test.classes)
    recognizers = {name: Recognizer(models / file, flip=False) for name, file in EXPORTED.items()}
    classifiers = {
        name: partial(evaluation.probabilities, network) for name, network in networks.items()
    } | {name: recognizer.classify for name, recognizer in recognizers.items()}

    mirrored = np.ascontiguousarray(test.images[..., ::-1])
    judged, class_rows, right = {}, [], {}
    for name, classify in classifiers.items():
        plain, flipped = classify(test.images), classify(mirrored)
        predicted = plain.argmax(1)
        right[name] = predicted == test.labels
        judged[name] = {
            way: scores.scores(found, test.labels, new, p.evaluate.calibration_bins)
            for way, found in (("plain", plain), ("flip_averaged", (plain + flipped) / 2))
        }
        print(f"{name}: {right[name].mean():.2%} of {len(test)} test faces", flush=True)
        if name == "teacher":  # only there to compare with
            continue
        rows = scores.per_class(predicted, test.labels, test.classes)
        class_rows += [{"model": name} | row for row in rows]
        pairs = scores.confusions(predicted, test.labels, test.classes)
        files.write_csv(plots / f"confusion_{name}.csv", pairs)

    warning = recognizers["int8"].about["warning"]  # of stage quantize
    report = {
        "dataset": p.dataset,
        "faces": {"test": len(test), "test_new": int(new.sum())},
        "parameters": {name: parameter_count(network) for name, network in networks.items()},
        **judged,
        "warning": warning,
        "int8_against_float32": scores.mcnemar(right["int8"], right["float32"]),
    }
    files.write_json(Path("metrics", p.dataset, "evaluate.json"), report)
    files.write_csv(plots / "per_class.csv", class_rows)
    shown = scores.examples(test, right["float32"], p.evaluate.shown_seed)
    seen = recognizers["float32"].predict(list(test.images[shown]), face=True)
    # Drawn here, as no other stage may read test faces.
    figures.explained(
        plots / "explained.png",
        test[shown],
        np.array([list(found[0].probabilities.values()) for found in seen]),
        np.array([found[0].maps for found in seen]),
        f"{p.dataset}: what float32 looked at",
    )
    if warning:
        print(f"warning: {warning}", file=sys.stderr)


if __name__ == "__main__":
    exit_on_error(main)
