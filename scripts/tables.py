"""Write the tables of the README and the model card from the committed metrics.

A table stands between `<!-- table: name -->` and `<!-- end -->`.
"""

import argparse
import csv
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from fer.errors import FerError, exit_on_error
from fer.report.read import read_json

FILES = ("README.md", "MODEL_CARD.md", "docs/processors.md")
DATASET = "fer2013"


def results() -> Iterable[list[str]]:
    found, train, tune = read("evaluate"), read("train"), read("tune")
    quantize, teach = read("quantize"), read("teach")  # without a teacher, its row is left out
    yield ["", "parameters", "val", "test", "test, flip-averaged", "test, faces in no other split"]
    val = {
        "teacher": teach.get("val_accuracy"),
        "baseline": train["val_accuracy"],
        "tuned": tune["after"]["val_accuracy"],
        "float32": ways()["ONNX Runtime"]["val_accuracy"],
        "int8": ways()["ONNX Runtime, our int8"]["val_accuracy"],
    }
    names = {
        "teacher": f"the teacher, {teach['epochs']} epochs",
        "baseline": f"the recipe, {train['epochs']} epochs",
        "tuned": "the search's winner, as long",
        "float32": f"ships: {quantize['model']} in float32",
        "int8": f"ships: {quantize['model']} in int8",
    }
    for model, name in names.items():
        if model not in found:
            continue
        plain, flipped = found[model]["plain"], found[model]["flip_averaged"]
        accuracies = (val[model], plain["accuracy"], flipped["accuracy"], plain["accuracy_new"])
        parameters = found["parameters"].get(model, found["parameters"][quantize["model"]])
        yield [name, f"{parameters:,}", *map(percent, map(float, accuracies))]


def finals() -> Iterable[list[str]]:
    tune = read("tune")
    seeds = ", ".join(map(str, tune["seeds"]))
    yield [f"{tune['epochs']['final']} epochs, seeds {seeds}", "val, faces not in training", "lead"]
    for final in tune["finals"]:
        name = f"trial {final['trial']}" if "lead" in final else "the recipe"
        lead = f"{final['lead']:+.2%} ± {final['noise']:.2%}" if "lead" in final else ""
        yield [name, percent(final["mean"]), lead]


def curve() -> Iterable[list[str]]:
    yield ["network, float32", "parameters", "kB", "val", "test", "ms for a face, 1 thread"]
    for row in table("curve"):
        yield [
            row["network"],
            f"{int(row['parameters']):,}",
            f"{int(row['bytes']) / 1000:.0f}",
            *(percent(float(row[key])) for key in ("val_accuracy", "test_accuracy")),
            f"{float(row['latency_ms_1_thread']):.3f}",
        ]


def runtimes() -> Iterable[list[str]]:
    yield ["", "kB", "val", "ms for a face, 1 thread", "faces a second, 1 thread", "all threads"]
    for name, row in ways().items():
        speeds = (f"{int(row[f'faces_per_second_{n}']):,}" for n in ("1_thread", "all_threads"))
        yield [
            name,
            f"{int(row['bytes']) / 1000:.0f}",
            percent(float(row["val_accuracy"])),
            f"{float(row['latency_ms_1_thread']):.3f}",
            *speeds,
        ]


def processors() -> Iterable[list[str]]:
    """Of each way to run the models, its speeds on each kind of processor."""
    with Path("docs", "processors.csv").open(encoding="utf-8") as file:
        rows = {(row["kernels"], row["way"]): row for row in csv.DictReader(file)}
    kinds, ways = (list(dict.fromkeys(names)) for names in zip(*rows, strict=True))
    titles = ("ms for a face", "faces a second")
    yield ["1 thread", *(f"{title}, {kind}" for title in titles for kind in kinds)]
    for way in ways:
        found = [rows[kind, way] for kind in kinds]
        latencies = (f"{float(row['latency_ms']):.3f}" for row in found)
        yield [way, *latencies, *(f"{int(row['faces_per_second']):,}" for row in found)]


def loading() -> Iterable[list[str]]:
    rows = {row["workers"]: row for row in read("timings/benchmark")["seconds_per_epoch"]}
    best = min(min(row["per_batch"], row["per_batch_kept"]) for row in rows.values())
    yield ["workers", "a face at a time", "workers kept", "a batch at a time", "workers kept"]
    for count, row in rows.items():
        ways = ("per_face", "per_face_kept", "per_batch", "per_batch_kept")
        yield [str(count), *(f"{row[way]:.2f} s ({row[way] / best:.1f}x)" for way in ways)]


def shipped() -> Iterable[list[str]]:
    found = read("evaluate")
    yield ["", "accuracy", "flip-averaged", "balanced", "macro F1", "calibration error"]
    for model in ("float32", "int8"):
        plain = found[model]["plain"]
        accuracies = (plain["accuracy"], found[model]["flip_averaged"]["accuracy"])
        balanced = percent(plain["balanced_accuracy"])
        others = (f"{plain[key]:.3f}" for key in ("macro_f1", "calibration_error"))
        yield [model, *map(percent, accuracies), balanced, *others]


def classes() -> Iterable[list[str]]:
    yield ["class", "faces", "precision", "recall", "F1"]
    for row in table("per_class"):
        if row["model"] == "int8":  # the default
            shares = (f"{float(row[key]):.0%}" for key in ("precision", "recall"))
            yield [row["class"], row["support"], *shares, f"{float(row['f1']):.2f}"]


def machine() -> Iterable[list[str]]:
    found = read("timings/quantize")["machine"]
    yield ["loading and ways to run, measured on", ""]
    yield ["processor", f"{found['cpu']}, {found['cores']} cores; {' '.join(found['features'])}"]
    versions = (("PyTorch", "torch"), ("ONNX Runtime", "onnxruntime"), ("OpenVINO", "openvino"))
    yield ["versions", ", ".join(f"{name} {found[key]}" for name, key in versions)]


TABLES: dict[str, Callable[[], Iterable[list[str]]]] = {
    function.__name__: function
    for function in (
        results,
        finals,
        curve,
        runtimes,
        processors,
        loading,
        shipped,
        classes,
        machine,
    )
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail where one differs")
    check = parser.parse_args().check
    for file in map(Path, FILES):
        text = file.read_text(encoding="utf-8")
        filled = re.sub(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", fill, text, flags=re.DOTALL)
        if filled == text:
            continue
        if check:
            raise FerError(f"{file}: a table is not that of metrics/: python -m scripts.tables")
        file.write_text(filled, encoding="utf-8")


def fill(found: re.Match[str]) -> str:
    head, *rows = TABLES[found[2]]()
    lines = [head, ["---"] * len(head), *rows]
    return found[1] + "".join(f"| {' | '.join(line)} |\n" for line in lines) + found[3]


def read(stage: str) -> dict:
    return read_json(Path("metrics", DATASET, f"{stage}.json"))


def table(name: str) -> list[dict[str, str]]:
    with Path("plots", DATASET, f"{name}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def ways() -> dict[str, dict[str, str]]:
    pairs = zip(table("quantize"), table("runtimes"), strict=True)  # of the same ways
    return {results["way"]: results | speeds for results, speeds in pairs}


def percent(share: float) -> str:
    return f"{share:.2%}"


if __name__ == "__main__":
    exit_on_error(main)
