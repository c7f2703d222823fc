"""Every figure, as PNG, drawn from what the stages wrote.

Each function takes the path to write, the rows of a CSV or an entry of a JSON file, and the name of
the data set.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import colormaps, rcParams
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from fer.faces import FACE_SIZE, INPUT_SIZE, MARGIN, Faces
from fer.files import atomic_path

rcParams["text.parse_math"] = False  # a class may have a $ in its name

BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#b8b8b8"  # Okabe and Ito


def classes(path: Path, table: pd.DataFrame, dataset: str) -> None:
    """Faces of each class in each split (classes.csv), also before cleaning where that differs."""
    splits = list(table.groupby("split", sort=False))
    count = table["class"].nunique()
    figure = _figure(max(9, 0.9 * count), 3.2)
    x = np.arange(count)
    for axes, (split, rows) in zip(figure.subplots(1, len(splits)), splits, strict=True):
        if (rows["before"] == rows["after"]).all():
            axes.bar(x, rows["after"], 0.6, color=BLUE)
        else:
            axes.bar(x - 0.2, rows["before"], 0.4, color=GREY, label="before")
            axes.bar(x + 0.2, rows["after"], 0.4, color=BLUE, label="after")
            axes.legend(frameon=False)
        axes.set_title(f"{split}, {rows['after'].sum():,} faces")
        axes.set_xticks(x, rows["class"], rotation=60)
        _plain(axes)
    _save(path, figure, f"{dataset}: faces of each class")


def sample_faces(path: Path, faces: Faces, dataset: str, columns: int = 12) -> None:
    """The first `columns` faces of each class, a row each."""
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
    """Histogram of the pixels of each class (intensity.csv)."""
    figure = _figure(7, 3.5)
    axes = figure.subplots()
    groups = list(table.groupby("class", sort=False))
    for (name, rows), color in zip(groups, _colors(len(groups)), strict=True):
        edges = [*rows["grey"], 256]
        axes.stairs(rows["share"], edges, label=name, linewidth=1.4, color=color)
    axes.set_xlabel("pixel, 0 black to 255 white")
    axes.set_ylabel("share of the pixels")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(frameon=False, fontsize=8, ncols=2)
    _plain(axes)
    _save(path, figure, f"{dataset}: grey values of the training faces")


def benchmark(path: Path, table: pd.DataFrame, dataset: str, cores: int) -> None:
    """Seconds an epoch against workers (benchmark.csv), a line for each way of loading."""
    figure = _figure(7, 4)
    axes = figure.subplots()
    for way, label, color, style in (
        ("per_face", "per face, workers started each epoch", ORANGE, "o:"),
        ("per_face_kept", "per face, workers kept", ORANGE, "o-"),
        ("per_batch", "per batch, workers started each epoch", BLUE, "s:"),
        ("per_batch_kept", "per batch, workers kept", BLUE, "s-"),
    ):
        axes.plot(range(len(table)), table[way], style, color=color, label=label)
    axes.set_xticks(range(len(table)), table["workers"])
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"DataLoader workers, on {cores} cores; 0 is in process")
    axes.set_ylabel("seconds an epoch")
    axes.legend(frameon=False, ncols=2, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1))
    _plain(axes)
    _save(path, figure, f"{dataset}: loading and augmenting the training faces")


def history(path: Path, baseline: pd.DataFrame, tuned: pd.DataFrame, dataset: str) -> None:
    """Loss, accuracy and learning rate of each epoch of both runs (history*.csv)."""
    figure = _figure(10, 3.2)
    loss, accuracy, rate = figure.subplots(1, 3)
    runs = {"baseline": (baseline, BLUE), "tuned": (tuned, GREEN)}
    if len(tuned) == len(baseline) and (tuned["val_loss"] == baseline["val_loss"]).all():
        del runs["tuned"]  # the recipe stayed
    for name, (rows, color) in runs.items():
        full = rows[rows["size"] == rows["size"].max()]
        best = full.loc[full["val_accuracy"].idxmax()]
        for axes, key in ((loss, "loss"), (accuracy, "accuracy")):
            axes.plot(rows["epoch"], rows[f"train_{key}"], color=color, alpha=0.4, linewidth=1)
            axes.plot(rows["epoch"], rows[f"val_{key}"], color=color, label=name)
            axes.plot(best["epoch"], best[f"val_{key}"], "o", color=ORANGE)
        rate.plot(rows["epoch"], rows["lr"], color=color)
    loss.set_title("loss; pale: train; dot: kept, then refined", fontsize=10)
    accuracy.set_title("accuracy, val: new faces", fontsize=10)
    accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    loss.legend(frameon=False, fontsize=8)
    rate.set_title("learning rate", fontsize=10)
    for axes in (loss, accuracy, rate):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        _plain(axes)
    _save(path, figure, f"{dataset}: training")


def seconds(path: Path, table: pd.DataFrame, dataset: str) -> None:
    """Seconds of each part of each epoch of the baseline (seconds.csv)."""
    figure = _figure(7, 3)
    axes = figure.subplots()
    parts = ("compute", "data", "validation")
    heights = [table[f"seconds_{part}"] for part in parts]
    axes.stackplot(table["epoch"], heights, labels=parts, colors=[BLUE, ORANGE, GREEN])
    axes.set_xlabel("epoch")
    axes.set_ylabel("seconds")
    axes.set_ylim(top=1.6 * sum(heights).max())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))  # more, found after the layout, have no room
    axes.legend(frameon=False, fontsize=8, loc="upper right")
    _plain(axes)
    _save(path, figure, f"{dataset}: seconds of an epoch")


def trials(path: Path, table: pd.DataFrame, importance: Mapping[str, float], dataset: str) -> None:
    """Accuracy of the trials in order (trials.csv), and what it depends on (tune.json)."""
    figure = _figure(10, 3.4)
    order, shares = figure.subplots(1, 2, width_ratios=(2, 1))
    order.plot(table["trial"], table["val_accuracy"], "o", color=BLUE, label="trial")
    order.step(table["trial"], table["best"], where="post", color=ORANGE, label="best so far")
    order.set_xlabel("trial; 0 is the recipe of params.yaml")
    order.set_ylabel("accuracy on new val faces")
    order.set_xlim(table["trial"].min() - 0.5, table["trial"].max() + 0.5)
    order.xaxis.set_major_locator(MaxNLocator(integer=True))
    order.yaxis.set_major_formatter(PercentFormatter(1))
    order.legend(frameon=False, fontsize=8)
    names = sorted(importance, key=importance.get)
    shares.barh(names, [importance[name] for name in names], color=BLUE)
    shares.set_title("importance, by fANOVA", fontsize=10)
    shares.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _plain(order)
    _plain(shares, grid="x")
    _save(path, figure, f"{dataset}: search")


def parallel(
    path: Path, table: pd.DataFrame, scales: Mapping[str, Mapping[str, float]], dataset: str
) -> None:
    """Parallel coordinates: a line a trial, through its parameters (parameters.csv).

    scales: of each parameter, where its choices or ends stand (tune.json)
    """
    figure = _figure(10, 3.8)
    axes = figure.subplots()
    accuracies = table["val_accuracy"]
    colors = ScalarMappable(Normalize(accuracies.min(), accuracies.max()), "viridis")
    for _, rows in table.groupby("trial"):
        own = rows.set_index("parameter").loc[list(scales)]
        axes.plot(
            range(len(own)),
            own["position"],
            "o-",
            markersize=3,
            color=colors.to_rgba(own["val_accuracy"].iloc[0]),
            linewidth=2,
            zorder=2,
        )
    for x, places in enumerate(scales.values()):
        axes.axvline(x, color="black", linewidth=0.6)
        for label, position in places.items():
            # Left of the axis, on white: lines between two axes start right of it.
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
    axes.set_xticks(range(len(scales)), [name.removeprefix("train.") for name in scales])
    axes.set_yticks([])
    axes.set_ylim(-0.05, 1.05)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(colors, ax=axes, label="accuracy on new val faces")
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=2))
    _save(path, figure, f"{dataset}: trials")


def slices(
    path: Path, table: pd.DataFrame, scales: Mapping[str, Mapping[str, float]], dataset: str
) -> None:
    """Each parameter against accuracy (parameters.csv, and the scales of tune.json)."""
    figure = _figure(2.6 * len(scales), 3)
    grid = np.atleast_1d(figure.subplots(1, len(scales), sharey=True))
    for axes, (name, places) in zip(grid, scales.items(), strict=True):
        own = table[table["parameter"] == name]
        axes.plot(own["position"], own["val_accuracy"], "o", color=BLUE)
        axes.set_xticks(list(places.values()), list(places))
        axes.set_xlabel(name.removeprefix("train."))
        _plain(axes)
    figure.axes[0].set_ylabel("accuracy on new val faces")
    figure.axes[0].yaxis.set_major_formatter(PercentFormatter(1))
    _save(path, figure, f"{dataset}: each parameter of the search")


def quantization(path: Path, table: pd.DataFrame, dataset: str) -> None:
    """Size, accuracy and speed of each way to run the model (quantize.csv with runtimes.csv)."""
    figure = _figure(12, 0.4 * len(table) + 1.2)
    places = np.arange(len(table))
    panels = (
        ("kilobytes", ["bytes"], 1e-3, "%.0f"),
        ("accuracy on val, %", ["val_accuracy"], 100, "%.2f"),
        ("ms for a face", ["latency_ms_1_thread"], 1, "%.3f"),
        (
            "thousand faces a second by 128",
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
                places + (number - (len(keys) - 1) / 2) * height,
                scale * table[key],
                height,
                color=[BLUE, GREY][number],
                label="1 thread" if number == 0 else "all threads",
            )
            axes.bar_label(bars, fmt=form, padding=2, fontsize=7)
        axes.margins(x=0.25)
        axes.set_title(title, fontsize=10)
        _plain(axes, grid="x")
    _zoom(grid[1], 100 * table["val_accuracy"])
    grid[0].set_yticks(places, table["way"])
    grid[0].invert_yaxis()
    grid[-1].legend(frameon=False, fontsize=8)
    _save(path, figure, f"{dataset}: ways to run the model")


def confusion(
    path: Path, tables: Mapping[str, pd.DataFrame], classes: Sequence[str], dataset: str
) -> None:
    """Confusion matrices by model (confusion_<model>.csv): rows actual, columns predicted.

    classes: in the order of the rows
    """
    side = max(4.2, 0.6 * len(classes))
    figure = _figure(max(9.2, 2 * side), side * -(-len(tables) // 2))
    grid = figure.subplots(-(-len(tables) // 2), 2, squeeze=False).ravel()
    for axes, (model, table) in zip(grid, tables.items(), strict=True):
        counts = pd.crosstab(table["actual"], table["predicted"])
        counts = counts.reindex(index=classes, columns=classes, fill_value=0).to_numpy()
        share = counts / np.maximum(1, counts.sum(1, keepdims=True))
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for (row, column), value in np.ndenumerate(share):
            color = "white" if value > 0.5 else "black"
            axes.text(
                column, row, f"{value:.0%}", color=color, ha="center", va="center", fontsize=8
            )
        axes.set_xticks(range(len(classes)), classes, rotation=60)
        axes.set_yticks(range(len(classes)), classes)
        axes.set_xlabel("predicted")
        axes.set_title(f"{model}: {np.trace(counts) / counts.sum():.1%} right")
    figure.axes[0].set_ylabel("actual")
    _save(path, figure, f"{dataset}: confusion on the test split")


def per_class(path: Path, table: pd.DataFrame, dataset: str) -> None:
    """Precision, recall and F1 of each class and model (per_class.csv)."""
    models = list(table.groupby("model", sort=False))
    count = table["class"].nunique()
    figure = _figure(max(9, 1.2 * count), 2.8 * len(models))
    x = np.arange(count)
    for axes, (model, rows) in zip(figure.subplots(len(models), 1), models, strict=True):
        for place, (key, color) in enumerate(
            (("precision", GREY), ("recall", BLUE), ("f1", GREEN))
        ):
            axes.bar(x + 0.27 * (place - 1), rows[key], 0.25, color=color, label=key)
        labels = [f"{c}\n{n} faces" for c, n in zip(rows["class"], rows["support"], strict=True)]
        axes.set_xticks(x, labels)
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_title(model)
        axes.legend(frameon=False, ncols=3, fontsize=8, loc="upper left", bbox_to_anchor=(0, 1.16))
        _plain(axes)
    _save(path, figure, f"{dataset}: each class of the test split")


def explained(
    path: Path, faces: Faces, probabilities: np.ndarray, maps: np.ndarray, title: str
) -> None:
    """Faces with what the model looked at, a row a class.

    That is the class activation map of the emotion it chose (Zhou et al. 2016, arXiv:1512.04150).

    probabilities: [N, C]
    maps: [N, C, h, w]
    """
    guesses = probabilities.argmax(1)
    rows = [np.flatnonzero(faces.labels == label) for label in range(len(faces.classes))]
    across, down = FACE_SIZE + 5, FACE_SIZE + 17  # from face to face, in their pixels
    width, height = 2 * across * max(map(len, rows)), down * len(rows)
    figure = _figure(0.018 * width + 0.8, 0.018 * height + 0.3)
    axes = figure.subplots()  # one, which is drawn in a third of the time of one for each picture
    axes.set_axis_off()
    for row, own in enumerate(rows):
        top = row * down
        axes.text(-4, top + FACE_SIZE / 2, faces.classes[row], ha="right", va="center")
        for column, face in enumerate(own):
            left = 2 * across * column
            for place in (left, left + across):
                _lay(axes, faces.images[face], place, top, FACE_SIZE, cmap="gray", vmax=255)
            heat = maps[face, guesses[face]].clip(min=0)
            inner = (left + across + MARGIN, top + MARGIN, INPUT_SIZE)  # what the network sees
            style = {"interpolation": "bilinear", "cmap": "inferno", "alpha": 0.55}
            _lay(axes, heat / max(heat.max(), 1e-12), *inner, vmax=1, **style)
            guess = f"{faces.classes[guesses[face]]} {probabilities[face].max():.0%}"
            color = GREEN if guesses[face] == faces.labels[face] else ORANGE
            axes.text(left, top - 3, guess, color=color, fontsize=8)
    axes.set_xlim(0, width - 5)
    axes.set_ylim(height - 17, -17)
    _save(path, figure, f"{title}; green: right, orange: wrong")


def _lay(axes: Axes, image: np.ndarray, left: int, top: int, size: int, **style: object) -> None:
    """Draw an image [h, w], its values from 0, as a square; its place is in the axes' units."""
    axes.imshow(image, extent=(left, left + size, top + size, top), vmin=0, **style)


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained", dpi=110)


def _colors(count: int) -> np.ndarray:
    """Colors float [count, 4] that can be told apart: matplotlib's ten, or a scale of more."""
    if count <= 10:
        return colormaps["tab10"](range(count))
    return colormaps["turbo"](np.linspace(0, 1, count))


def _plain(axes: Axes, grid: str = "y") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, alpha=0.3)


def _zoom(axes: Axes, values: pd.Series) -> None:
    """Show the differences among `values` (%), which bars from 0 on would hide."""
    low, high = values.min(), values.max()
    margin = max(0.5, high - low)
    axes.set_xlim(max(0, low - margin), high + margin)


def _save(path: Path, figure: Figure, title: str) -> None:
    figure.suptitle(title)
    with atomic_path(path) as temporary:
        figure.savefig(temporary)
