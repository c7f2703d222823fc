"""Draw the figures of the report as PNG files.

Each function takes the file to write, the data from the CSV and JSON files of the stages, and the
name of the data set for the title. Each raises FerError if the file cannot be written.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps, rcParams
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, PercentFormatter
from PIL import Image
from sklearn.metrics import ConfusionMatrixDisplay

from fer.core.faces import FACE_SIZE, INPUT_SIZE, MARGIN, Faces
from fer.core.files import atomic_path
from fer.report import scores

rcParams["text.parse_math"] = False  # a class may have a $ in its name
rcParams.update({"axes.titlesize": 10, "legend.frameon": False, "legend.fontsize": 8})

# The palette of Okabe and Ito, which color-blind readers can tell apart.
BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#b8b8b8"


def accuracy(path: Path, steps: Sequence[Mapping[str, Any]], dataset: str) -> None:
    """Draw the test accuracy after each step, with its 95 % interval; `headlines.steps`."""
    size = 8, 0.5 * len(steps) + 1.3
    with _figure(path, f"{dataset}: what each step gains", size, "x") as axes:
        names = [step["step"] for step in steps]
        values = np.array([100 * step["test_accuracy"] for step in steps])
        ends = np.array([step["interval"] for step in steps]).T
        errors = np.abs(100 * ends - values)
        colors = [GREY if step["gain"] is None else BLUE for step in steps]
        axes.errorbar(values, names, xerr=errors, fmt="none", ecolor=GREY, capsize=3, zorder=1)
        axes.scatter(values, names, color=colors, zorder=2)
        for step, value in zip(steps, values, strict=True):
            gain = "" if step["gain"] is None else f" ({100 * step['gain']:+.2f})"
            style = {"textcoords": "offset points", "ha": "center", "fontsize": 8}
            axes.annotate(f"{value:.2f} %{gain}", (value, step["step"]), (0, 6), **style)
        axes.set_ylim(len(steps) - 0.6, -0.7)
        axes.set_xlabel("test accuracy, %; bars: 95 % interval; in brackets: gain of the step")
        axes.margins(x=0.15)


def sample_faces(path: Path, faces: Faces, dataset: str) -> None:
    """Draw the first 12 training faces of each class, one row per class."""
    step, count, columns = FACE_SIZE + 3, len(faces.classes), 12
    tiles = np.full((count, columns, step, step), 255, np.uint8)
    for label in range(count):
        images = faces.images[np.flatnonzero(faces.labels == label)[:columns]]
        tiles[label, : len(images), :FACE_SIZE, :FACE_SIZE] = images
    sheet = tiles.swapaxes(1, 2).reshape(count * step, -1)
    size = columns * 0.55, count * 0.56 + (count < 4)  # room for the title
    with _figure(path, f"{dataset}: training faces", size) as axes:
        axes.imshow(sheet, cmap="gray", vmin=0, vmax=255)
        axes.set_yticks(step * np.arange(count) + FACE_SIZE / 2, faces.classes)
        axes.set_xticks([])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)


def history(path: Path, runs: Mapping[str, pd.DataFrame], dataset: str) -> None:
    """Draw loss, accuracy and learning rate per epoch of runs by name: "baseline", "tuned"."""
    with _figure(path, f"{dataset}: training", (10, 3.2), "y", ncols=3) as panels:
        loss, accuracy, rate = panels
        for (name, rows), color in zip(runs.items(), (BLUE, GREEN), strict=False):
            full = rows[rows["size"] == rows["size"].max()]
            val_score = full[["val_accuracy", "val_damaged_accuracy"]].mean(axis="columns")
            best = full.loc[val_score.idxmax()]
            for axes, key in ((loss, "loss"), (accuracy, "accuracy")):
                train, val = rows[f"train_{key}"], rows[f"val_{key}"]
                pale = {"color": color, "alpha": 0.4, "linewidth": 1}
                axes.plot(rows["epoch"], train, label=f"{name}, train (augmented)", **pale)
                axes.plot(rows["epoch"], val, color=color, label=f"{name}, val")
                axes.plot(best["epoch"], best[f"val_{key}"], "o", color=ORANGE)
            damaged = rows["val_damaged_accuracy"]
            accuracy.plot(rows["epoch"], damaged, ":", color=color, label=f"{name}, damaged val")
            rate.plot(rows["epoch"], rows["lr"], color=color)
        loss.plot([], [], "o", color=ORANGE, label="selected epoch")
        loss.set_title("loss, nats")
        accuracy.set_title("accuracy (val: without duplicates)")
        accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        loss.legend()
        accuracy.legend(handles=accuracy.get_lines()[3::4])
        rate.set_title("learning rate")
        for axes in panels:
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def confusion(path: Path, table: pd.DataFrame, classes: Sequence[str], title: str) -> None:
    """Draw a confusion matrix, each row as shares of its class; the title gets the accuracy.

    `table` has a row per face, with the columns "actual" and "predicted".
    """
    side = max(4.6, 0.7 * len(classes))
    actual, predicted = table["actual"], table["predicted"]
    style = {"cmap": "Blues", "colorbar": False, "im_kw": {"vmin": 0, "vmax": 1}}
    style |= {"values_format": ".0%", "text_kw": {"fontsize": 8}, "normalize": "true"}
    title = f"{title} ({(actual == predicted).mean():.1%} correct)"
    with _figure(path, title, (side + 0.6, side)) as axes:
        style |= {"labels": list(classes), "ax": axes}
        ConfusionMatrixDisplay.from_predictions(actual, predicted, **style)
        axes.tick_params("x", rotation=60)


def sheet(
    path: Path,
    images: Sequence[np.ndarray] | np.ndarray,
    captions: Sequence[str],
    title: str,
    columns: int = 7,
) -> None:
    """Draw N images, uint8 [H, W] or RGB, with a caption of two lines for each; N may be 0."""
    rows = max(1, -(-len(images) // columns))
    height, width = images[0].shape[:2] if len(images) else (1, 1)
    size = 1.3 * columns, (1.3 * height / width + 0.45) * rows + 0.4
    with _figure(path, title, size, nrows=rows, ncols=columns, squeeze=False) as panels:
        for axes in panels.flat:
            axes.set_axis_off()
        for axes, image, caption in zip(panels.flat, images, captions, strict=False):
            axes.imshow(image, cmap="gray", vmin=0, vmax=255)
            axes.set_title(caption, fontsize=7)


def suspects(
    path: Path,
    table: pd.DataFrame,
    pictures: Sequence[Mapping[str, str]],
    train: Faces,
    dataset: str,
) -> None:
    """Draw the 60 faces whose label looks most wrong, with their label and the suggested one.

    `table` is suspects.csv; `pictures` are the rows of pictures.csv, in the order of the faces.
    """
    rows = {row["picture"]: number for number, row in enumerate(pictures)}
    shown = table[:60]
    rows_shown = enumerate(zip(shown["class"], shown["suggested"], strict=True), start=1)
    captions = [f"{row}. {label}\n{suggested}?" for row, (label, suggested) in rows_shown]
    images = train.images[[rows[picture] for picture in shown["picture"]]]
    sheet(path, images, captions, f"{dataset}: labels that look wrong", columns=10)


def pairs(path: Path, table: pd.DataFrame, splits: Mapping[str, Faces], dataset: str) -> None:
    """Draw 28 faces of val and test beside training faces that look nearly the same.

    `table` is pairs.csv. Pairs that are not of equal pixels come first.
    """
    images, captions = [], []
    shown = table.sort_values("similarity", key=lambda values: values == 1, kind="stable")[:28]
    for row in shown.to_dict("records"):
        face = splits[row["split"]].images[row["row"]]
        images.append(np.hstack([face, splits["train"].images[row["train_row"]]]))
        captions.append(f"{row['split']}: {row['picture'][-22:]}\n{row['train_picture'][-22:]}")
    sheet(path, images, captions, f"{dataset}: val or test (left) and train (right)")


def damaged(path: Path, results: Mapping[str, Mapping[str, float]], dataset: str) -> None:
    """Draw the test accuracy of each model on faces damaged in each way, and on clean ones.

    `results` have the accuracies (0 to 1) by model and way: of evaluate.json, "damaged".
    """
    ways = [way for way in next(iter(results.values())) if way not in ("mean", "worst")]
    size = 8, 0.3 * len(ways) + 1.6
    with _figure(path, f"{dataset}: damaged faces", size, "both") as axes:
        styles = ("o-", BLUE), ("s-", ORANGE), ("D-", GREEN), ("^-", GREY)
        for (model, accuracies), (style, color) in zip(results.items(), styles, strict=False):
            values = [100 * accuracies[way] for way in ways]
            axes.plot(values, ways, style, color=color, label=model, markersize=4)
        axes.invert_yaxis()
        axes.set_xlabel("test accuracy, %, averaged with the mirror image")
        axes.legend(ncols=len(results), loc="lower center", bbox_to_anchor=(0.5, 1))


def trials(
    path: Path, table: pd.DataFrame, distributions: Mapping[str, Mapping[str, Any]], dataset: str
) -> None:
    """Draw the accuracy of the trials against each parameter; a darker trial is later.

    `table` is trials.csv; `distributions` are those of tune.json.
    """
    style = {"c": table["trial"], "cmap": "Blues", "vmin": -len(table), "edgecolors": "grey"}
    title, count = f"{dataset}: trials of the search", len(distributions)
    options = {"ncols": count, "sharey": True, "squeeze": False}
    with _figure(path, title, (2.6 * count, 3), "both", **options) as (panels,):
        for axes, (name, distribution) in zip(panels, distributions.items(), strict=True):
            attributes = distribution["attributes"]
            values = table[name].astype(str) if "choices" in attributes else table[name]
            axes.scatter(values, table["val_score"], **style)
            if attributes.get("log"):
                axes.set_xscale("log")
                axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
                axes.xaxis.set_major_formatter("{x:g}")
                axes.xaxis.set_minor_locator(NullLocator())
            axes.tick_params("x", rotation=30)
            axes.set_xlabel(name)
        panels[0].set_ylabel("val score")


def coverage(path: Path, table: pd.DataFrame, count: int, dataset: str) -> None:
    """Draw the test accuracy of int8 against the share of the faces that are answered.

    `table` is coverage.csv, of a number of faces. The band is the 95 % interval.
    """
    share, accuracy = 100 * table["share"], 100 * table["accuracy"]
    answers = (table["share"] * count).round().astype(int)
    pairs = zip(table["accuracy"], answers, strict=True)
    low, high = 100 * np.array([scores.interval(*pair) for pair in pairs]).T
    title = f"{dataset}: accuracy if int8 answers only when it is sure"
    with _figure(path, title, (6, 3.6), "both") as axes:
        axes.fill_between(share, low, high, color=BLUE, alpha=0.2, linewidth=0)
        axes.plot(share, accuracy, color=BLUE)
        axes.set_xlabel("share of the test faces that are answered, %, the surest first")
        axes.set_ylabel("accuracy of the answers, %")
        axes.set_xlim(0, 100)


def explained(
    path: Path, faces: Faces, probabilities: np.ndarray, maps: np.ndarray, title: str
) -> None:
    """Draw faces with the class activation map of the predicted class.

    The maps are those of Zhou et al. 2016, arXiv:1512.04150, without their negative part.
    `probabilities` are float32 [N, C], `maps` float32 [N, C, h, w].
    """
    pictures, captions = [], []
    outputs = zip(faces.images, faces.labels, probabilities, maps, strict=True)
    for image, label, values, class_maps in outputs:
        predicted = values.argmax()
        class_map = Image.fromarray(class_maps[predicted].clip(min=0))
        class_map = class_map.resize((INPUT_SIZE, INPUT_SIZE), Image.Resampling.BILINEAR)
        heat = np.pad(np.asarray(class_map), MARGIN)  # the network sees no margin
        colors = colormaps["inferno"](heat / max(heat.max(), 1e-12))[..., :3]
        grey = np.dstack([image / 255] * 3)
        pictures.append(np.hstack([grey, (grey + colors) / 2]))
        verdict = "correct" if predicted == label else f"wrong: {faces.classes[label]}"
        captions.append(f"{faces.classes[predicted]} {values.max():.0%}\n{verdict}")
    sheet(path, pictures, captions, title, columns=8)


@contextmanager
def _figure(
    path: Path, title: str, size: tuple[float, float], grid: Any = None, **panels: Any
) -> Iterator[Any]:
    """Yield the axes of a figure, `Figure.subplots(**panels)`, and save it after the block.

    `size` is width and height in inches; `grid` is "x", "y" or "both" for plots with a grid.
    """
    figure = Figure(figsize=size, layout="constrained", dpi=110)
    yield figure.subplots(**panels)
    for axes in figure.axes if grid else []:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis=grid, alpha=0.3)
    figure.suptitle(title)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, bbox_inches="tight")  # a title may be wider than the figure
