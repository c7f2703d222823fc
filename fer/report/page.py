"""Write the report of a run: one HTML file beside its figures, which needs no internet."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined

from fer.core.files import atomic_path


def write_vega(path: Path) -> None:
    """Write the JavaScript that draws DVC's plots, so that `dvc plots show` needs no internet.

    Args:
        path: The file to write.

    Raises:
        FerError: If the file cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(vl_convert.javascript_bundle(vl_version="5.21"), encoding="utf-8")


def write(
    path: Path,
    dataset: str,
    steps: Sequence[Mapping[str, Any]],
    results: Mapping[str, Mapping[str, Any]],
    timings: Mapping[str, Mapping[str, Any]],
    runtimes: pd.DataFrame,
) -> None:
    """Write the report.

    Args:
        path: The file to write; the figures are expected in its folder.
        dataset: Name of the data set.
        steps: Rows of `fer.report.headlines.steps`.
        results: Per stage, the content of its JSON file.
        timings: Per stage, the content of its JSON file in timings/.
        runtimes: quantize.csv joined with runtimes.csv.

    Raises:
        FerError: If the file cannot be written.
    """
    loader = PackageLoader("fer.report", "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    environment.filters["percent"] = lambda value: f"{value:.2%}"
    template = environment.get_template("report.html.j2")
    text = template.render(
        dataset=dataset,
        steps=steps,
        runtimes=runtimes.to_dict("records"),
        timings=timings,
        **results,
    )
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
