"""The page that shows a run: one HTML file beside its figures, which opens without internet."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined

from fer.files import atomic_path


def write_vega(path: Path) -> None:
    """Write the scripts that draw DVC's plots, so that `dvc plots show` needs no internet."""
    with atomic_path(path) as temporary:
        temporary.write_text(vl_convert.javascript_bundle(vl_version="5.21"), encoding="utf-8")


def write(
    path: Path,
    dataset: str,
    found: Mapping[str, Mapping[str, Any]],
    timings: Mapping[str, Mapping[str, Any]],
    ways: pd.DataFrame,
) -> None:
    """Write the page to `path`; the figures are expected in its folder.

    found, timings: the JSON of each stage
    ways: quantize.csv with runtimes.csv
    """
    loader = PackageLoader("fer.report", "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    environment.filters["percent"] = lambda value: f"{value:.2%}"
    template = environment.get_template("report.html.j2")
    text = template.render(dataset=dataset, ways=ways.to_dict("records"), timings=timings, **found)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
