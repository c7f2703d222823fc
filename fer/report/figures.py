"""Draw the figures of the report as PNG files.

Each function takes the path to write, the data from the CSV and JSON files of the stages, and the
name of the data set for the title. Each raises FerError if the file cannot be written.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps, rcParams
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from fer.core.faces import FACE_SIZE, INPUT_SIZE, MARGIN, Faces
from fer.core.files import atomic_path

rcParams["text.parse_math"] = False  # a class may have a $ in its name

# The palette of Okabe and Ito, which color-blind readers can tell apart.
BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#b8b8b8"

_VAL = "val accuracy, without duplicates"
"""Axis label of the accuracy by which epochs and models are selected."""


def accuracy(path: Path, steps: Sequence[Mapping[str, Any]], dataset: str) -> None:
    """Draw the test accuracy after each step of the pipeline, with its standard error.

    Args:
        path: The file to write.
        steps: Rows of `fer.report.headlines.steps`.
        dataset: Name of the data set.
    """
    figure = _figure(8, 0.5 * len(steps) + 1.3)
    axes = figure.subplots()
    positions = np.arange(len(steps))
    values = np.array([100 * step["test_accuracy"] for step in steps])
    errors = np.array([100 * step["standard_error"] for step in steps])
    colors = [GREY if step["gain"] is None else BLUE for step in steps]
    axes.errorbar(values, positions, xerr=errors, fmt="none", ecolor=GREY, capsize=3, zorder=1)
    axes.scatter(values, positions, color=colors, zorder=2)
    for step, position, value in zip(steps, positions, values, strict=True):
        gain = "" if step["gain"] is None else f" ({100 * step['gain']:+.2f})"
        axes.annotate(
            f"{value:.2f} %{gain}",
            (value, position),
            (0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    axes.set_yticks(positions, [step["step"] for step in steps])
    axes.set_ylim(len(steps) - 0.6, -0.7)
    axes.set_xlabel("test accuracy, %; bars: ± 1 standard error; in brackets: gain of the step")
    axes.margins(x=0.15)
    _style(axes, grid="x")
    _save(path, figure, f"{dataset}: what each step gains")


def classes(path: Path, table: pd.DataFrame, dataset: str) -> None:
    """Draw the number of faces per class and split, also before cleaning where that differs.

    Args:
        path: The file to write.
        table: classes.csv.
        dataset: Name of the data set.
    """
    splits = list(table.groupby("split", sort=False))
    count = table["class"].nunique()
    figure = _figure(max(9, 0.9 * count), 3.2)
    x = np.arange(count)
    for axes, (split, rows) in zip(figure.subplots(1, len(splits)), splits, strict=True):
        if (rows["before"] == rows["after"]).all():
            axes.bar(x, rows["after"], 0.6, color=BLUE)
        else:
            axes.bar(x - 0.2, rows["before"], 0.4, color=GREY, label="before cleaning")
            axes.bar(x + 0.2, rows["after"], 0.4, color=BLUE, label="after")
            axes.legend(frameon=False)
        axes.set_title(f"{split}, {rows['after'].sum():,} faces")
        axes.set_xticks(x, rows["class"], rotation=60)
        _style(axes)
    figure.axes[0].set_ylabel("faces")
    _save(path, figure, f"{dataset}: faces per class")


def sample_faces(path: Path, faces: Faces, dataset: str, columns: int = 12) -> None:
    """Draw the first training faces of each class, one row per class.

    Args:
        path: The file to write.
        faces: The training faces.
        dataset: Name of the data set.
        columns: Faces per class.
    """
    step = FACE_SIZE + 3
    count = len(faces.classes)
    sheet = np.full((count * step, columns * step), 255, np.uint8)
    for label in range(count):
        images = faces.images[np.flatnonzero(faces.labels == label)[:columns]]
        for column, image in enumerate(images):
            top, left = label * step, column * step
            sheet[top : top + FACE_SIZE, left : left + FACE_SIZE] = image
    figure = _figure(columns * 0.55, count * 0.56 + (count < 4))  # room for the title
    axes = figure.subplots()
    axes.imshow(sheet, cmap="gray", vmin=0, vmax=255)
    axes.set_yticks(step * np.arange(count) + FACE_SIZE / 2, faces.classes)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    _save(path, figure, f"{dataset}: training faces")


def intensity(path: Path, table: pd.DataFrame, dataset: str) -> None:
    """Draw the histogram of grey values of each class.

    Args:
        path: The file to write.
        table: intensity.csv.
        dataset: Name of the data set.
    """
    figure = _figure(7, 3.5)
    axes = figure.subplots()
    groups = list(table.groupby("class", sort=False))
    for (name, rows), color in zip(groups, _colors(len(groups)), strict=True):
        edges = [*rows["grey"], 256]
        axes.stairs(rows["share"], edges, label=name, linewidth=1.4, color=color)
    axes.set_xlabel("grey value, 0 (black) to 255 (white)")
    axes.set_ylabel("share of pixels")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(frameon=False, fontsize=8, ncols=2)
    _style(axes)
    _save(path, figure, f"{dataset}: grey values of the training faces")


def benchmark(path: Path, table: pd.DataFrame, dataset: str, cores: int) -> None:
    """Draw the seconds per epoch of loading against the number of DataLoader workers.

    Args:
        path: The file to write.
        table: benchmark.csv.
        dataset: Name of the data set.
        cores: Number of cores of the machine.
    """
    figure = _figure(7, 4)
    axes = figure.subplots()
    for column, label, color, style in (
        ("per_face", "one face at a time", ORANGE, "o:"),
        ("per_face_persistent", "one face at a time, persistent workers", ORANGE, "o-"),
        ("per_batch", "one batch at a time", BLUE, "s:"),
        ("per_batch_persistent", "one batch at a time, persistent workers", BLUE, "s-"),
    ):
        axes.plot(range(len(table)), table[column], style, color=color, label=label)
    axes.set_xticks(range(len(table)), table["workers"])
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"DataLoader workers on {cores} cores (0: main process)")
    axes.set_ylabel("seconds per epoch")
    axes.legend(frameon=False, ncols=2, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1))
    _style(axes)
    _save(path, figure, f"{dataset}: loading and augmenting the training faces")


def history(path: Path, runs: Mapping[str, pd.DataFrame], dataset: str) -> None:
    """Draw loss, accuracy and learning rate per epoch of each run.

    Args:
        path: The file to write.
        runs: Histories by name: "baseline" and, if a trial won the search, "tuned".
        dataset: Name of the data set.
    """
    figure = _figure(10, 3.2)
    loss, accuracy, rate = figure.subplots(1, 3)
    for (name, rows), color in zip(runs.items(), (BLUE, GREEN), strict=False):
        full = rows[rows["size"] == rows["size"].max()]
        best = full.loc[full["val_accuracy"].idxmax()]
        for axes, key in ((loss, "loss"), (accuracy, "accuracy")):
            train, val = rows[f"train_{key}"], rows[f"val_{key}"]
            pale = {"color": color, "alpha": 0.4, "linewidth": 1}
            axes.plot(rows["epoch"], train, label=f"{name}, train (augmented)", **pale)
            axes.plot(rows["epoch"], val, color=color, label=f"{name}, val")
            axes.plot(best["epoch"], best[f"val_{key}"], "o", color=ORANGE)
        rate.plot(rows["epoch"], rows["lr"], color=color)
    loss.plot([], [], "o", color=ORANGE, label="selected epoch")
    loss.set_title("loss, nats", fontsize=10)
    accuracy.set_title("accuracy (val: without duplicates)", fontsize=10)
    accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    loss.legend(frameon=False, fontsize=8)
    rate.set_title("learning rate", fontsize=10)
    for axes in (loss, accuracy, rate):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        _style(axes)
    _save(path, figure, f"{dataset}: training")


def seconds(path: Path, table: pd.DataFrame, dataset: str) -> None:
    """Draw the seconds of each part of each epoch of the baseline.

    Args:
        path: The file to write.
        table: seconds.csv.
        dataset: Name of the data set.
    """
    figure = _figure(7, 3)
    axes = figure.subplots()
    parts = ("compute", "data", "validation")
    heights = [table[f"seconds_{part}"] for part in parts]
    axes.stackplot(table["epoch"], heights, labels=parts, colors=[BLUE, ORANGE, GREEN])
    axes.set_xlabel("epoch")
    axes.set_ylabel("seconds")
    axes.set_ylim(top=1.6 * sum(heights).max())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))  # more ticks would overlap
    axes.legend(frameon=False, fontsize=8, loc="upper right")
    _style(axes)
    _save(path, figure, f"{dataset}: seconds per epoch")


def trials(path: Path, table: pd.DataFrame, importance: Mapping[str, float], dataset: str) -> None:
    """Draw the accuracy of the trials in order, and the importance of each parameter.

    Args:
        path: The file to write.
        table: trials.csv.
        importance: Share of each parameter in the variance of the accuracy, 0 to 1.
        dataset: Name of the data set.
    """
    figure = _figure(10, 3.4)
    order, shares = figure.subplots(1, 2, width_ratios=(2, 1))
    order.plot(table["trial"], table["val_accuracy"], "o", color=BLUE, label="trial")
    order.step(table["trial"], table["best"], where="post", color=ORANGE, label="best so far")
    order.set_xlabel("trial (0: baseline)")
    order.set_ylabel(_VAL)
    order.set_xlim(table["trial"].min() - 0.5, table["trial"].max() + 0.5)
    order.xaxis.set_major_locator(MaxNLocator(integer=True))
    order.yaxis.set_major_formatter(PercentFormatter(1))
    order.legend(frameon=False, fontsize=8)
    names = sorted(importance, key=importance.get)
    shares.barh(names, [importance[name] for name in names], color=BLUE)
    shares.set_title("importance (fANOVA)", fontsize=10)
    shares.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _style(order)
    _style(shares, grid="x")
    _save(path, figure, f"{dataset}: trials of the search")


def parallel(
    path: Path,
    table: pd.DataFrame,
    scales: Mapping[str, Mapping[str, float]],
    log_scales: Sequence[str],
    dataset: str,
) -> None:
    """Draw the parameters of the trials as parallel coordinates, one line per trial.

    Args:
        path: The file to write.
        table: parameters.csv.
        scales: Per parameter, the positions (0 to 1) of its choices or of the ends of its range.
        log_scales: The parameters whose scale is logarithmic.
        dataset: Name of the data set.
    """
    figure = _figure(10, 3.8)
    axes = figure.subplots()
    accuracies = table["val_accuracy"]
    colors = ScalarMappable(Normalize(accuracies.min(), accuracies.max()), "viridis")
    for _, rows in table.groupby("trial"):
        trial = rows.set_index("parameter").loc[list(scales)]
        axes.plot(
            range(len(trial)),
            trial["position"],
            "o-",
            markersize=3,
            color=colors.to_rgba(trial["val_accuracy"].iloc[0]),
            linewidth=2,
            zorder=2,
        )
    for x, positions in enumerate(scales.values()):
        axes.axvline(x, color="black", linewidth=0.6)
        for label, position in positions.items():
            # Labels stand left of the axis, because the lines to the next axis start right of it.
            axes.annotate(
                label,
                (x, position),
                (-4, 0),
                textcoords="offset points",
                fontsize=8,
                va="center",
                ha="right",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
                zorder=3,
            )
    axes.set_xticks(range(len(scales)), [_label(name, log_scales) for name in scales])
    axes.set_yticks([])
    axes.set_ylim(-0.05, 1.05)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(colors, ax=axes, label=_VAL)
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=2))
    _save(path, figure, f"{dataset}: parameters of each trial")


def slices(
    path: Path,
    table: pd.DataFrame,
    scales: Mapping[str, Mapping[str, float]],
    log_scales: Sequence[str],
    dataset: str,
) -> None:
    """Draw the accuracy of the trials against each parameter.

    Args:
        path: The file to write.
        table: parameters.csv.
        scales: Per parameter, the positions (0 to 1) of its choices or of the ends of its range.
        log_scales: The parameters whose scale is logarithmic.
        dataset: Name of the data set.
    """
    figure = _figure(2.6 * len(scales), 3.3)
    grid = np.atleast_1d(figure.subplots(1, len(scales), sharey=True))
    for axes, (name, positions) in zip(grid, scales.items(), strict=True):
        rows = table[table["parameter"] == name]
        axes.plot(rows["position"], rows["val_accuracy"], "o", color=BLUE)
        axes.set_xticks(list(positions.values()), list(positions))
        axes.set_xlabel(_label(name, log_scales))
        _style(axes)
    figure.axes[0].set_ylabel(_VAL)
    figure.axes[0].yaxis.set_major_formatter(PercentFormatter(1))
    _save(path, figure, f"{dataset}: accuracy of the trials by parameter")


def quantization(path: Path, table: pd.DataFrame, dataset: str) -> None:
    """Draw size, accuracy, latency and throughput of each runtime.

    Args:
        path: The file to write.
        table: quantize.csv joined with runtimes.csv.
        dataset: Name of the data set.
    """
    figure = _figure(13, 0.4 * len(table) + 1.2)
    positions = np.arange(len(table))
    panels = (
        ("size, kB", ["bytes"], 1e-3, "%.0f"),
        ("val accuracy, % (axis cut)", ["val_accuracy"], 100, "%.2f"),
        ("ms per face, 1 thread", ["latency_ms_1_thread"], 1, "%.3f"),
        (
            "1,000 faces per second (128 per call)",
            ["faces_per_second_1_thread", "faces_per_second_all_threads"],
            1e-3,
            "%.1f",
        ),
    )
    grid = figure.subplots(1, len(panels), sharey=True)
    for axes, (title, keys, scale, form) in zip(grid, panels, strict=True):
        height = 0.8 / len(keys)
        for number, key in enumerate(keys):
            bars = axes.barh(
                positions + (number - (len(keys) - 1) / 2) * height,
                scale * table[key],
                height,
                color=[BLUE, GREY][number],
                label="1 thread" if number == 0 else "all threads",
            )
            axes.bar_label(bars, fmt=form, padding=2, fontsize=7)
        axes.margins(x=0.25)
        axes.set_title(title, fontsize=10)
        _style(axes, grid="x")
    _zoom(grid[1], 100 * table["val_accuracy"])
    grid[0].set_yticks(positions, table["runtime"])
    grid[0].invert_yaxis()
    grid[-1].legend(frameon=False, fontsize=8)
    _save(path, figure, f"{dataset}: size, accuracy and speed of the runtimes")


def confusion(path: Path, table: pd.DataFrame, classes: Sequence[str], title: str) -> None:
    """Draw a confusion matrix, each row as shares of its class.

    Args:
        path: The file to write.
        table: Columns "actual" and "predicted", a row per face.
        classes: Names of the classes, in the order of the rows.
        title: What was measured; the accuracy follows.
    """
    side = max(4.6, 0.7 * len(classes))
    figure = _figure(side + 0.6, side)
    axes = figure.subplots()
    counts = pd.crosstab(table["actual"], table["predicted"])
    counts = counts.reindex(index=classes, columns=classes, fill_value=0).to_numpy()
    share = counts / np.maximum(1, counts.sum(1, keepdims=True))
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(share):
        color = "white" if value > 0.5 else "black"
        axes.text(column, row, f"{value:.0%}", color=color, ha="center", va="center", fontsize=8)
    axes.set_xticks(range(len(classes)), classes, rotation=60)
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("actual class")
    accuracy = np.trace(counts) / counts.sum()
    _save(path, figure, f"{title} ({accuracy:.1%} correct)")


def mistakes(path: Path, images: np.ndarray, captions: Sequence[str], title: str) -> None:
    """Draw faces with captions, seven per row.

    Args:
        path: The file to write.
        images: Faces, uint8 [N, 48, 48].
        captions: A caption of two lines for each.
        title: Title of the figure.
    """
    columns = 7
    rows = -(-len(images) // columns)
    figure = _figure(1.3 * columns, 1.75 * rows + 0.4)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, image, caption in zip(axes.flat, images, captions, strict=False):
        axis.imshow(image, cmap="gray", vmin=0, vmax=255)
        axis.set_title(caption, fontsize=7)
    _save(path, figure, title)


def per_class(path: Path, table: pd.DataFrame, dataset: str) -> None:
    """Draw precision, recall and F1 per class of the int8 model.

    Args:
        path: The file to write.
        table: per_class.csv.
        dataset: Name of the data set.
    """
    rows = table[table["model"] == "int8"]
    figure = _figure(max(9, 1.2 * len(rows)), 3.2)
    axes = figure.subplots()
    x = np.arange(len(rows))
    bars = (("precision", GREY), ("recall", BLUE), ("f1", GREEN))
    for position, (column, color) in enumerate(bars):
        label = "F1" if column == "f1" else column
        axes.bar(x + 0.27 * (position - 1), rows[column], 0.25, color=color, label=label)
    labels = [f"{c}\n{n} faces" for c, n in zip(rows["class"], rows["support"], strict=True)]
    axes.set_xticks(x, labels)
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(frameon=False, ncols=3, fontsize=8, loc="lower right", bbox_to_anchor=(1, 1))
    _style(axes)
    _save(path, figure, f"{dataset}: scores per class, test, int8")


def int8_difference(
    path: Path,
    float32: pd.DataFrame,
    int8: pd.DataFrame,
    classes: Sequence[str],
    dataset: str,
) -> None:
    """Draw what quantization changes: recall per class, and the faces with another prediction.

    Args:
        path: The file to write.
        float32: confusion_float32.csv, a row per test face.
        int8: confusion_int8.csv, the same faces in the same order.
        classes: Names of the classes.
        dataset: Name of the data set.
    """
    actual = float32["actual"]
    correct = {
        name: table["predicted"] == actual for name, table in (("float32", float32), ("int8", int8))
    }
    recalls = {
        name: hits.groupby(actual).mean().reindex(classes, fill_value=np.nan)
        for name, hits in correct.items()
    }
    figure = _figure(11, 0.34 * len(classes) + 1.8)
    recall, counts = figure.subplots(1, 2, width_ratios=(3, 2))
    change = 100 * (recalls["int8"] - recalls["float32"])
    positions = np.arange(len(classes))
    colors = np.where(change < 0, ORANGE, GREEN)
    bars = recall.barh(positions, change.fillna(0), color=colors)
    recall.bar_label(bars, fmt="%+.1f", padding=3, fontsize=8)
    recall.axvline(0, color="black", linewidth=0.6)
    recall.set_yticks(positions, classes)
    recall.invert_yaxis()
    recall.margins(x=0.2)
    recall.set_title("recall of int8 minus recall of float32, points", fontsize=10)
    differs = float32["predicted"] != int8["predicted"]
    changes = {
        "only int8 correct": int((correct["int8"] & ~correct["float32"]).sum()),
        "only float32 correct": int((correct["float32"] & ~correct["int8"]).sum()),
        "both wrong": int((differs & ~correct["float32"] & ~correct["int8"]).sum()),
    }
    bars = counts.barh(list(changes), list(changes.values()), color=[GREEN, ORANGE, GREY])
    counts.bar_label(bars, padding=3, fontsize=8)
    counts.invert_yaxis()
    counts.margins(x=0.2)
    counts.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    counts.set_title(
        f"faces with another prediction: {differs.sum()} of {len(actual):,}", fontsize=10
    )
    for axes in (recall, counts):
        _style(axes, grid="x")
    _save(path, figure, f"{dataset}: int8 against float32, test")


def explained(
    path: Path, faces: Faces, probabilities: np.ndarray, maps: np.ndarray, title: str
) -> None:
    """Draw faces with the class activation map of the predicted class, one row per class.

    The maps are those of Zhou et al. 2016, arXiv:1512.04150, without their negative part.

    Args:
        path: The file to write.
        faces: N faces.
        probabilities: float32 [N, C].
        maps: Class activation maps, float32 [N, C, h, w].
        title: Title of the figure.
    """
    predicted = probabilities.argmax(1)
    rows = [np.flatnonzero(faces.labels == label) for label in range(len(faces.classes))]
    across, down = FACE_SIZE + 5, FACE_SIZE + 17  # distance between faces in pixels
    width, height = 2 * across * max(map(len, rows)), down * len(rows)
    figure = _figure(0.018 * width + 0.8, 0.018 * height + 0.3)
    axes = figure.subplots()  # one for all pictures, which takes a third of the time
    axes.set_axis_off()
    for row, indices in enumerate(rows):
        top = row * down
        axes.text(-4, top + FACE_SIZE / 2, faces.classes[row], ha="right", va="center")
        for column, face in enumerate(indices):
            left = 2 * across * column
            for position in (left, left + across):
                _draw_square(
                    axes, faces.images[face], position, top, FACE_SIZE, cmap="gray", vmax=255
                )
            class_map = maps[face, predicted[face]].clip(min=0)
            inner = (left + across + MARGIN, top + MARGIN, INPUT_SIZE)  # the network's input
            style = {"interpolation": "bilinear", "cmap": "inferno", "alpha": 0.55}
            scaled = class_map / max(class_map.max(), 1e-12)
            _draw_square(axes, scaled, *inner, vmax=1, **style)
            label = f"{faces.classes[predicted[face]]} {probabilities[face].max():.0%}"
            color = GREEN if predicted[face] == faces.labels[face] else ORANGE
            axes.text(left, top - 3, label, color=color, fontsize=8)
    axes.set_xlim(0, width - 5)
    axes.set_ylim(height - 17, -17)
    _save(path, figure, f"{title} (green: correct, orange: wrong)")


def _label(parameter: str, log_scales: Sequence[str]) -> str:
    return parameter.removeprefix("train.") + ("\n(log scale)" if parameter in log_scales else "")


def _draw_square(
    axes: Axes, image: np.ndarray, left: int, top: int, size: int, **style: object
) -> None:
    """Draw an image [h, w] as a square at a position in data coordinates; 0 is the darkest."""
    axes.imshow(image, extent=(left, left + size, top + size, top), vmin=0, **style)


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained", dpi=110)


def _colors(count: int) -> np.ndarray:
    """Return distinct colors, float [count, 4]: matplotlib's ten, or more from a color scale."""
    if count <= 10:
        return colormaps["tab10"](range(count))
    return colormaps["turbo"](np.linspace(0, 1, count))


def _style(axes: Axes, grid: str = "y") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, alpha=0.3)


def _zoom(axes: Axes, values: pd.Series) -> None:
    """Limit the axis to the range of `values` (%), because bars from 0 would hide differences."""
    low, high = values.min(), values.max()
    margin = max(0.5, high - low)
    axes.set_xlim(max(0, low - margin), high + margin)


def _save(path: Path, figure: Figure, title: str) -> None:
    figure.suptitle(title)
    with atomic_path(path) as temporary:
        figure.savefig(temporary)
