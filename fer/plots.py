"""Every figure, as PNG."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from fer.faces import CLASSES, Faces
from fer.files import whole

BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#b8b8b8"  # Okabe and Ito

Ticks = list[tuple[float, str]]
"""Where on an axis from 0 to 1 which values stand."""

Cell = tuple[np.ndarray, np.ndarray, int, float]
"""Of the Grad-CAM sheet: face [48, 48], its map [48, 48] (0 to 1), predicted label, probability."""


def classes(
    path: Path, before: Mapping[str, Faces], after: Mapping[str, Faces], dataset: str
) -> None:
    """Faces of each class in each split, before and after cleaning and balancing."""
    figure = _figure(9, 3.2)
    x = np.arange(len(CLASSES))
    for axes, split in zip(figure.subplots(1, len(before)), before, strict=True):
        axes.bar(x - 0.2, before[split].counts().values(), 0.4, color=GREY, label="before")
        axes.bar(x + 0.2, after[split].counts().values(), 0.4, color=BLUE, label="after")
        axes.set_title(f"{split}, {len(after[split]):,} faces")
        axes.set_xticks(x, CLASSES, rotation=60)
        _plain(axes)
    axes.legend(frameon=False)
    _save(path, figure, f"{dataset}: faces of each class")


def sample_faces(path: Path, faces: Faces, dataset: str, columns: int = 12) -> None:
    """The first `columns` faces of each class, a row each."""
    figure = _figure(columns * 0.55, len(CLASSES) * 0.6)
    grid = figure.subplots(len(CLASSES), columns)
    for label, (name, row) in enumerate(zip(CLASSES, grid, strict=True)):
        images = faces.images[np.flatnonzero(faces.labels == label)[:columns]]
        for axes, image in zip(row, images, strict=False):
            _face(axes, image)
        for axes in row[len(images) :]:
            axes.axis("off")
        row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    _save(path, figure, f"{dataset}: training faces")


def intensity(path: Path, faces: Faces, dataset: str) -> None:
    """Histogram of the pixels of each class."""
    figure = _figure(7, 3.5)
    axes = figure.subplots()
    edges = np.arange(0, 257, 8)
    for label, name in enumerate(CLASSES):
        rows = np.flatnonzero(faces.labels == label)
        counts = np.zeros(256, np.int64)
        for start in range(0, len(rows), 500):  # bincount makes int64 of all it is given
            chunk = faces.images[rows[start : start + 500]]
            counts += np.bincount(chunk.ravel(), minlength=256)
        share = counts.reshape(-1, 8).sum(1) / max(1, counts.sum())
        axes.stairs(share, edges, label=name, linewidth=1.4)
    axes.set_xlabel("pixel, 0 black to 255 white")
    axes.set_ylabel("share of the pixels")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(frameon=False, fontsize=8, ncols=2)
    _plain(axes)
    _save(path, figure, f"{dataset}: grey values of the training faces")


def benchmark(path: Path, rows: Sequence[Mapping], dataset: str, cores: int) -> None:
    """Seconds an epoch against workers, a line for each way of loading.

    A row has workers and the seconds of each way, as the lines below name them.
    """
    figure = _figure(7, 3.8)
    axes = figure.subplots()
    for way, label, color, style in (
        ("per_face", "per face, workers started each epoch", ORANGE, "o:"),
        ("per_face_kept", "per face, workers kept", ORANGE, "o-"),
        ("per_batch", "per batch, workers started each epoch", BLUE, "s:"),
        ("per_batch_kept", "per batch, workers kept", BLUE, "s-"),
    ):
        axes.plot([row[way] for row in rows], style, color=color, label=label)
    axes.set_xticks(range(len(rows)), [row["workers"] for row in rows])
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"DataLoader workers, on {cores} cores; 0 is in process")
    axes.set_ylabel("seconds an epoch")
    axes.legend(frameon=False, fontsize=8)
    _plain(axes)
    _save(path, figure, f"{dataset}: loading and augmenting the training faces")


def history(path: Path, rows: Sequence[Mapping], dataset: str) -> None:
    """Loss, accuracy and learning rate of each epoch (rows of `training.fit`), and its seconds."""
    epochs = [row["epoch"] for row in rows]
    best = max(rows, key=lambda row: row["val_accuracy"])
    figure = _figure(10, 3.2)
    loss, accuracy, rate, seconds = figure.subplots(1, 4)
    for axes, key in ((loss, "loss"), (accuracy, "accuracy")):
        axes.plot(
            epochs, [row[f"train_{key}"] for row in rows], color=GREY, label="train, augmented"
        )
        axes.plot(epochs, [row[f"val_{key}"] for row in rows], color=BLUE, label="val")
        axes.plot(best["epoch"], best[f"val_{key}"], "o", color=ORANGE, label="kept")
        axes.set_title(key)
    accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    loss.legend(frameon=False, fontsize=8)
    rate.plot(epochs, [row["lr"] for row in rows], color=BLUE)
    rate.set_title("learning rate")
    parts = ("compute", "data", "validation")
    heights = [[row[f"seconds_{part}"] for row in rows] for part in parts]
    seconds.stackplot(epochs, heights, labels=parts, colors=[BLUE, ORANGE, GREEN])
    seconds.set_title("seconds")
    seconds.set_ylim(top=1.6 * max(map(sum, zip(*heights, strict=True))))
    seconds.legend(frameon=False, fontsize=8, loc="upper right")
    for axes in (loss, accuracy, rate, seconds):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        _plain(axes)
    _save(path, figure, f"{dataset}: training")


def trials(
    path: Path, rows: Sequence[Mapping], importance: Mapping[str, float], dataset: str
) -> None:
    """Accuracy of the trials in order (rows of `tuning.table`), and what it depends on."""
    figure = _figure(10, 3.4)
    order, shares = figure.subplots(1, 2, width_ratios=(2, 1))
    for state, color, label in (
        ("complete", BLUE, "finished"),
        ("pruned", GREY, "pruned: best epoch until then"),
    ):
        own = [row for row in rows if row["state"] == state]
        order.plot(
            [row["trial"] for row in own],
            [row["val_accuracy"] for row in own],
            "o",
            color=color,
            label=label,
        )
    numbers = [row["trial"] for row in rows]
    order.step(
        numbers, [row["best"] for row in rows], where="post", color=ORANGE, label="best so far"
    )
    order.set_xlabel("trial; 0 is the recipe of params.yaml")
    order.set_ylabel("accuracy on val")
    order.xaxis.set_major_locator(MaxNLocator(integer=True))
    order.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    order.legend(frameon=False, fontsize=8)
    names = sorted(importance, key=importance.get)
    shares.barh(names, [importance[name] for name in names], color=BLUE)
    shares.set_title("importance, by fANOVA", fontsize=10)
    shares.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _plain(order)
    _plain(shares, grid="x")
    _save(path, figure, f"{dataset}: search")


def parallel(
    path: Path, points: Sequence[Mapping], ticks: Mapping[str, Ticks], dataset: str
) -> None:
    """Parallel coordinates: a line a trial, through its parameters (rows of `tuning.points`)."""
    figure = _figure(10, 3.8)
    axes = figure.subplots()
    finished = [point["val_accuracy"] for point in points if point["state"] == "complete"]
    colors = ScalarMappable(Normalize(min(finished), max(finished)), "viridis")
    for trial in dict.fromkeys(point["trial"] for point in points):
        own = [point for point in points if point["trial"] == trial]
        positions = [point["position"] for point in own]
        if own[0]["state"] == "complete":
            color = colors.to_rgba(own[0]["val_accuracy"])
            axes.plot(positions, color=color, linewidth=2, zorder=2)
        else:
            axes.plot(positions, color=GREY, linewidth=1, zorder=1)
    for x, places in enumerate(ticks.values()):
        axes.axvline(x, color="black", linewidth=0.6)
        for position, label in places:
            axes.annotate(
                label, (x, position), (4, 0), textcoords="offset points", fontsize=8, va="center"
            )
    axes.set_xticks(range(len(ticks)), ticks)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(colors, ax=axes, label="accuracy on val")
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _save(path, figure, f"{dataset}: trials, pruned ones grey")


def slices(path: Path, points: Sequence[Mapping], ticks: Mapping[str, Ticks], dataset: str) -> None:
    """Each parameter against accuracy (rows of `tuning.points`)."""
    figure = _figure(2.6 * len(ticks), 3)
    grid = np.atleast_1d(figure.subplots(1, len(ticks), sharey=True))
    for axes, (name, places) in zip(grid, ticks.items(), strict=True):
        for state, color in (("pruned", GREY), ("complete", BLUE)):
            own = [p for p in points if p["parameter"] == name and p["state"] == state]
            axes.plot(
                [point["position"] for point in own],
                [point["val_accuracy"] for point in own],
                "o",
                color=color,
                label={"complete": "finished"}.get(state, state),
            )
        axes.set_xticks(*zip(*places, strict=True))
        axes.set_xlabel(name)
        _plain(axes)
    figure.axes[0].set_ylabel("accuracy on val")
    figure.axes[0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    figure.axes[0].legend(frameon=False, fontsize=8)
    _save(path, figure, f"{dataset}: each parameter of the search")


def quantization(path: Path, rows: Sequence[Mapping], dataset: str) -> None:
    """Size, accuracy and speed of each way to run the model, a row each (of stage quantize)."""
    figure = _figure(12, 0.4 * len(rows) + 1.2)
    places = np.arange(len(rows))
    for axes, (title, keys, scale, form) in zip(
        figure.subplots(1, 4, sharey=True),
        (
            ("kilobytes", ["bytes"], 1e-3, "%.0f"),
            ("accuracy on val, %", ["val_accuracy"], 100, "%.2f"),
            ("ms for a face", ["latency_ms_1_thread"], 1, "%.3f"),
            (
                "thousand faces a second by 128",
                ["faces_per_second_1_thread", "faces_per_second_all_threads"],
                1e-3,
                "%.1f",
            ),
        ),
        strict=True,
    ):
        height = 0.8 / len(keys)
        for number, key in enumerate(keys):
            bars = axes.barh(
                places + (number - (len(keys) - 1) / 2) * height,
                [scale * row[key] for row in rows],
                height,
                color=[BLUE, GREY][number],
                label="1 thread" if number == 0 else "all threads",
            )
            axes.bar_label(bars, fmt=form, padding=2, fontsize=7)
        axes.margins(x=0.25)
        axes.set_title(title, fontsize=10)
        _plain(axes, grid="x")
    figure.axes[0].set_yticks(places, [row["way"] for row in rows])
    figure.axes[0].invert_yaxis()
    figure.axes[-1].legend(frameon=False, fontsize=8)
    _save(path, figure, f"{dataset}: ways to run the model")


def confusion(path: Path, matrices: Mapping[str, np.ndarray], dataset: str) -> None:
    """Confusion matrices by model: counts int [7, 7], rows actual, columns predicted."""
    figure = _figure(9.2, 4.2 * -(-len(matrices) // 2))
    grid = figure.subplots(-(-len(matrices) // 2), 2, squeeze=False).ravel()
    for axes, (model, counts) in zip(grid, matrices.items(), strict=True):
        share = counts / np.maximum(1, counts.sum(1, keepdims=True))
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for (row, column), value in np.ndenumerate(share):
            color = "white" if value > 0.5 else "black"
            axes.text(
                column, row, f"{value:.0%}", color=color, ha="center", va="center", fontsize=8
            )
        axes.set_xticks(range(len(CLASSES)), CLASSES, rotation=60)
        axes.set_yticks(range(len(CLASSES)), CLASSES)
        axes.set_xlabel("predicted")
        axes.set_title(f"{model}: {np.trace(counts) / counts.sum():.1%} right")
    figure.axes[0].set_ylabel("actual")
    _save(path, figure, f"{dataset}: confusion on the test split")


def per_class(path: Path, rows: Sequence[Mapping], dataset: str) -> None:
    """Precision, recall and F1 of each class: rows of `evaluation.per_class`, with their model."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    figure = _figure(9, 2.8 * len(models))
    x = np.arange(len(CLASSES))
    for axes, model in zip(np.atleast_1d(figure.subplots(len(models), 1)), models, strict=True):
        own = [row for row in rows if row["model"] == model]
        for place, (key, color) in enumerate(
            (("precision", GREY), ("recall", BLUE), ("f1", GREEN))
        ):
            axes.bar(x + 0.27 * (place - 1), [r[key] for r in own], 0.25, color=color, label=key)
        axes.set_xticks(x, [f"{r['class']}\n{r['support']} faces" for r in own])
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_title(model)
        axes.legend(frameon=False, ncols=3, fontsize=8, loc="upper left", bbox_to_anchor=(0, 1.16))
        _plain(axes)
    _save(path, figure, f"{dataset}: each class of the test split")


def gradcam(
    path: Path,
    rows: Sequence[Sequence[Cell | None]],
    dataset: str,
    model: str,
) -> None:
    """Faces with what the network looked at, a row a class: two right ones, then two wrong ones.

    A cell is None where there is no such face.
    """
    figure = _figure(7.2, 1.12 * len(rows) + 0.3)
    grid = figure.subplots(len(rows), 8)
    for name, axes_row, cells in zip(CLASSES, grid, rows, strict=True):
        for axes in axes_row:
            axes.axis("off")
        for place, cell in enumerate(cells):
            if cell is None:
                continue
            face, heat, label, probability = cell
            plain, marked = axes_row[2 * place : 2 * place + 2]
            color = GREEN if CLASSES[label] == name else ORANGE
            for axes in (plain, marked):
                _face(axes, face)
                axes.axis("on")
            marked.imshow(heat, cmap="inferno", alpha=0.55, vmin=0, vmax=1)
            plain.set_title(
                f"{CLASSES[label]} {probability:.0%}", color=color, fontsize=8, loc="left"
            )
        axes_row[0].axis("on")
        axes_row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    _save(path, figure, f"{dataset}: Grad-CAM of {model}, two right and two wrong of each class")


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained", dpi=110)


def _face(axes: Axes, image: np.ndarray) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    axes.set_xticks([])
    axes.set_yticks([])


def _plain(axes: Axes, grid: str = "y") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, alpha=0.3)


def _save(path: Path, figure: Figure, title: str) -> None:
    figure.suptitle(title)
    with whole(path) as temporary:
        figure.savefig(temporary)
