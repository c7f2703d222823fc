"""Write the tables of README.md, MODEL_CARD.md and docs/ from the committed metrics.

A table is between `<!-- table: name -->` and `<!-- end -->`; its name is that of a function here.
"""

import argparse
import re
from collections.abc import Iterable
from pathlib import Path
from statistics import mean, stdev

from fer.core.errors import FerError, exit_on_error
from fer.core.files import read_rows
from fer.report.read import read_json

FILES = ("README.md", "MODEL_CARD.md", "docs/results.md", "docs/processors.md", "docs/search.md")
DATASET = "fer2013"
SIZES = [
    size
    for size in ("nano", "small", "base", "large")
    if Path("metrics", DATASET, size, "evaluate.json").exists()
]

Table = Iterable[list[str]]
"""Rows of cells; the first row is the header."""


def sizes() -> Table:
    """The released models by size."""
    kinds = {"VNNI": "Zen 4", "AVX2": "Zen 4, AVX2 kernels"}
    yield [
        *("model", "parameters", "kB", "test accuracy (%)", "balanced (%)"),
        *("damaged, mean (%)", "damaged, worst (%)"),
        *(f"ms per face, {kind}" for kind in kinds),
        *(f"faces per second, {kind}" for kind in kinds),
    ]
    speeds = read_processors()
    for size in SIZES:
        name = "ONNX Runtime, int8" + ("" if size == "nano" else f", {size}")
        measured = [speeds[processor, name] for processor in kinds.values()]
        test, scores = read(f"{size}/evaluate"), read(f"{size}/evaluate")["int8"]
        averaged, damaged = scores["flip_averaged"], scores["damaged"]
        yield [
            f"`{size}`",
            f"{test['parameters'][read(f'{size}/quantize')['model']]:,}",
            kilobytes(read_runtimes(size)["ONNX Runtime, int8"]),
            percent(averaged["accuracy"]),
            percent(averaged["balanced_accuracy"]),
            percent(damaged["mean"]),
            percent(damaged["worst"]),
            *(f"{float(speed['latency_ms']):.2f}" for speed in measured),
            *(f"{int(speed['faces_per_second']):,}" for speed in measured),
        ]


def models() -> Table:
    """Each model of the pipeline on val and test."""
    test, train, tune = (read(f"nano/{stage}") for stage in ("evaluate", "train", "tune"))
    quantize, runtimes = read("nano/quantize"), read_runtimes()
    yield [
        "model",
        "parameters",
        "val (%)",
        "test (%)",
        "test, averaged with mirror image (%)",
        "test, unique faces (%)",
    ]
    float32, int8 = (runtimes[f"ONNX Runtime, {name}"] for name in ("float32", "int8"))
    is_kept, exported = tune["winner"]["trial"] == 0, quantize["model"]
    kept = ", kept by the search" if is_kept else ""
    rows = {
        "baseline": (f"baseline, {train['epochs']} epochs{kept}", train["val_accuracy"]),
        "tuned": ("winner of the search", tune.get("after", {}).get("val_accuracy")),
        "float32": (f"released: {exported} in float32", float(float32["val_accuracy"])),
        "int8": (f"released: {exported} in int8", float(int8["val_accuracy"])),
    }
    for model, (name, val) in rows.items():
        if model not in test:  # the search may have no winner
            continue
        single, averaged = test[model]["single_view"], test[model]["flip_averaged"]
        accuracies = (val, single["accuracy"], averaged["accuracy"], single["accuracy_unique"])
        parameters = test["parameters"].get(model, test["parameters"][exported])
        yield [name, f"{parameters:,}", *map(percent, accuracies)]


def seeds() -> Table:
    """The same configuration with other seeds."""
    columns = {
        "val": "val (%)",
        "test": "test (%)",
        "test_flip": "test, averaged (%)",
        "val_int8": "int8: val (%)",
        "test_int8": "int8: test (%)",
        "test_int8_flip": "int8: test, averaged (%)",
    }
    yield ["seed", *columns.values()]
    for row in read_rows(Path("docs", "seeds.csv")):
        yield [row["seed"], *(percent(float(row[column])) for column in columns)]
    yield ["mean ± standard deviation", *(spread(column) for column in columns)]


def finals() -> Table:
    """The finals of the search."""
    tune = read("nano/tune")
    folds = len(tune["finals"][0]["fold_accuracy"])
    yield [
        f"{tune['epochs']['final']} epochs, {folds} folds",
        "held-out training faces (%)",
        "gain, 95 % confidence interval (points)",
    ]
    for final in tune["finals"]:
        name, gain = "baseline", ""
        if "gain" in final:
            name = f"trial {final['trial']}"
            gain = f"{100 * final['gain']:+.2f} ± {100 * final['margin_of_error']:.2f}"
        yield [name, percent(final["mean"]), gain]


def family() -> Table:
    """The released models by size, in float32 and int8, averaged with the mirror image."""
    precisions = ("float32", "int8")
    yield [
        "model",
        *(f"{p}: val, one view (%)" for p in precisions),
        *(f"{p}: test (%)" for p in precisions),
    ]
    for size in SIZES:
        test, runtimes = read(f"{size}/evaluate"), read_runtimes(size)
        val = (runtimes[f"ONNX Runtime, {p}"]["val_accuracy"] for p in precisions)
        accuracies = (test[p]["flip_averaged"]["accuracy"] for p in precisions)
        yield [size, *(percent(float(value)) for value in (*val, *accuracies))]


def runtimes() -> Table:
    """Size, accuracy and speed of each runtime."""
    yield [
        "runtime",
        "kB",
        "val (%)",
        "ms per face, 1 thread",
        "faces per second, 1 thread",
        "faces per second, all threads",
    ]
    for name, row in read_runtimes().items():
        speeds = (f"{int(row[f'faces_per_second_{n}']):,}" for n in ("1_thread", "all_threads"))
        latency = f"{float(row['latency_ms_1_thread']):.3f}"
        yield [name, kilobytes(row), percent(float(row["val_accuracy"])), latency, *speeds]


def processors() -> Table:
    """The speed of each runtime on each processor."""
    rows = read_processors()
    processors, names = (list(dict.fromkeys(keys)) for keys in zip(*rows, strict=True))
    titles = ("ms per face", "faces per second")
    yield ["1 thread", *(f"{title}, {name}" for title in titles for name in processors)]
    for name in names:
        measured = [rows.get((processor, name)) for processor in processors]
        latencies = (f"{float(row['latency_ms']):.3f}" if row else "" for row in measured)
        speeds = (f"{int(row['faces_per_second']):,}" if row else "" for row in measured)
        yield [name, *latencies, *speeds]


def loading() -> Table:
    """Seconds per epoch of each data loader, and how many times those of the fastest."""
    rows = {row["workers"]: row for row in read("timings/benchmark")["seconds_per_epoch"]}
    best = min(min(row["per_batch"], row["per_batch_persistent"]) for row in rows.values())
    yield [
        "workers",
        "one face at a time (s)",
        "one face at a time, persistent workers (s)",
        "one batch at a time (s)",
        "one batch at a time, persistent workers (s)",
    ]
    columns = ("per_face", "per_face_persistent", "per_batch", "per_batch_persistent")
    for count, row in rows.items():
        seconds = (row[column] for column in columns)
        yield [str(count), *(f"{value:.2f} ({value / best:.1f}x)" for value in seconds)]


def scores() -> Table:
    """Scores of the released models on test."""
    test = read("nano/evaluate")
    yield [
        "",
        "accuracy (%)",
        "accuracy, averaged with mirror image (%)",
        "balanced accuracy (%)",
        "macro F1",
        "calibration error",
    ]
    for model in ("float32", "int8"):
        single, averaged = test[model]["single_view"], test[model]["flip_averaged"]
        accuracies = (single["accuracy"], averaged["accuracy"], single["balanced_accuracy"])
        others = (f"{single[key]:.3f}" for key in ("macro_f1", "calibration_error"))
        yield [model, *map(percent, accuracies), *others]


def damage() -> Table:
    """Accuracy of each size in int8 on test faces, clean and damaged in each way."""
    test = {size: read(f"{size}/evaluate")["int8"] for size in SIZES}
    yield ["averaged with mirror image (%)", *SIZES]
    yield ["clean", *(percent(scores["flip_averaged"]["accuracy"]) for scores in test.values())]
    for way in test["nano"]["damaged"]:
        yield [way, *(percent(scores["damaged"][way]) for scores in test.values())]


def priors() -> Table:
    """Accuracy of the released models with both priors."""
    kinds, priors = (
        ("accuracy", "balanced_accuracy"),
        {"training": "flip_averaged", "uniform": "uniform_prior"},
    )
    yield [
        "model",
        *(f"{kind.replace('_', ' ')}, prior: {prior} (%)" for prior in priors for kind in kinds),
    ]
    for size in SIZES:
        scores = read(f"{size}/evaluate")["int8"]
        yield [size, *(percent(scores[view][kind]) for view in priors.values() for kind in kinds)]


def answered() -> Table:
    """The share of the test faces that each size answers at an accuracy, the surest first."""
    percents = (80, 85, 90, 95)
    yield ["model", *(f"answered at {n} % accuracy (%)" for n in percents), "calibration error"]
    for size in SIZES:
        rows = [(float(r["share"]), float(r["accuracy"])) for r in read_plot(f"{size}/coverage")]
        shares = (max((s for s, value in rows if value >= n / 100), default=0) for n in percents)
        error = read(f"{size}/evaluate")["int8"]["flip_averaged"]["calibration_error"]
        yield [f"`{size}`", *(f"{100 * share:.0f}" for share in shares), f"{error:.3f}"]


def classes() -> Table:
    """Scores per class of int8, the default model."""
    yield ["class", "faces", "precision (%)", "recall (%)", "F1"]
    for row in read_plot("nano/per_class"):
        if row["model"] == "int8":
            shares = (f"{100 * float(row[key]):.0f}" for key in ("precision", "recall"))
            yield [row["class"], row["support"], *shares, f"{float(row['f1']):.2f}"]


def machine() -> Table:
    """The machine on which loading and runtimes were measured."""
    info = read("nano/timings/quantize")["machine"]
    yield ["measured on", ""]
    yield ["processor", f"{info['cpu']}, {info['cores']} cores; {' '.join(info['features'])}"]
    versions = (("PyTorch", "torch"), ("ONNX Runtime", "onnxruntime"), ("OpenVINO", "openvino"))
    yield ["versions", ", ".join(f"{name} {info[key]}" for name, key in versions)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if a table is out of date")
    check = parser.parse_args().check
    for file in map(Path, FILES):
        text = file.read_text(encoding="utf-8")
        filled = re.sub(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", fill, text, flags=re.DOTALL)
        if check and filled != text:
            raise FerError(f"{file}: a table is not that of metrics/; run python -m scripts.tables")
        file.write_text(filled, encoding="utf-8")


def fill(match: re.Match[str]) -> str:
    header, *rows = globals()[match[2]]()
    lines = [header, ["---"] * len(header), *rows]
    return match[1] + "".join(f"| {' | '.join(line)} |\n" for line in lines) + match[3]


def read(stage: str) -> dict:
    return read_json(Path("metrics", DATASET, f"{stage}.json"))


def read_plot(name: str) -> list[dict[str, str]]:
    return read_rows(Path("plots", DATASET, f"{name}.csv"))


def read_processors() -> dict[tuple[str, str], dict[str, str]]:
    rows = read_rows(Path("docs", "processors.csv"))
    return {(row["processor"], row["runtime"]): row for row in rows}


def read_runtimes(size: str = "nano") -> dict[str, dict[str, str]]:
    tables = (read_plot(f"{size}/{name}") for name in ("quantize", "runtimes"))
    pairs = zip(*tables, strict=True)  # of the same runtimes
    return {accuracies["runtime"]: accuracies | speeds for accuracies, speeds in pairs}


def kilobytes(row: dict[str, str]) -> str:
    return f"{int(row['bytes']) / 1000:.0f}"


def percent(share: float) -> str:
    return f"{100 * share:.2f}"


def spread(column: str) -> str:
    values = [100 * float(row[column]) for row in read_rows(Path("docs", "seeds.csv"))]
    return f"{mean(values):.2f} ± {stdev(values):.2f}"


if __name__ == "__main__":
    exit_on_error(main)
