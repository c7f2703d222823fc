"""Write the report of a run: one HTML file beside its figures, which needs no internet."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined

from fer.core.files import atomic_path


def write_vega(path: Path) -> None:
    """Write the JavaScript that draws DVC's plots, so that `dvc plots show` needs no internet."""
    with atomic_path(path) as temporary:
        temporary.write_text(vl_convert.javascript_bundle(vl_version="5.21"), encoding="utf-8")


def write(
    path: Path,
    dataset: str,
    steps: Sequence[Mapping[str, Any]],
    results: Mapping[str, Mapping[str, Any]],
    timings: Mapping[str, Mapping[str, Any]],
    runtimes: pd.DataFrame,
    classes: pd.DataFrame,
) -> None:
    """Write the report into the folder of its figures.

    `results` and `timings` have the content of the JSON files in metrics/ by stage; `steps` are of
    `headlines.steps`; `runtimes` is quantize.csv joined with runtimes.csv; `classes` has the rows
    of per_class.csv.
    """
    loader = PackageLoader("fer.report", "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    environment.filters["percent"] = lambda value: f"{value:.2%}"
    text = environment.get_template("report.html.j2").render(
        dataset=dataset,
        steps=steps,
        runtimes=runtimes.to_dict("records"),
        classes=classes.to_dict("records"),
        timings=timings,
        **results,
    )
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
