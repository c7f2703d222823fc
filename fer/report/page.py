"""Write the report of a run: one HTML file beside its figures, which needs no internet."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined

from fer.core.files import atomic_path
from fer.report.scores import answered, interval


def write_vega(path: Path) -> None:
    """Write the JavaScript that draws DVC's plots, so that `dvc plots show` needs no internet."""
    with atomic_path(path) as temporary:
        temporary.write_text(vl_convert.javascript_bundle(vl_version="5.21"), encoding="utf-8")


def write(
    path: Path,
    dataset: str,
    size: str,
    steps: Sequence[Mapping[str, Any]],
    results: Mapping[str, Mapping[str, Any]],
    timings: Mapping[str, Mapping[str, Any]],
    tables: Mapping[str, pd.DataFrame],
) -> None:
    """Write the report into the folder of its figures.

    `results` and `timings` have the content of the JSON files in metrics/ by stage; `steps` are of
    `headlines.steps`. The tables are "runtimes", quantize.csv joined with runtimes.csv; "loading",
    benchmark.csv; "counts", classes.csv; "classes", per_class.csv; "coverage" and "suspects", the
    files of these names.
    """
    loader = PackageLoader("fer.report", "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    environment.filters["percent"] = lambda value: f"{value:.2%}"
    environment.filters["interval"] = _with_interval
    environment.globals["answered"] = answered
    text = environment.get_template("report.html.j2").render(
        dataset=dataset,
        size=size,
        steps=steps,
        timings=timings,
        **{key: table.to_dict("records") for key, table in tables.items()},
        **results,
    )
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _with_interval(accuracy: float, count: int) -> str:
    """Return an accuracy on a number of faces with its 95 % interval."""
    if not count:  # a class without test faces
        return ""
    low, high = interval(accuracy, count)
    return f"{accuracy:.2%} ({low:.1%} to {high:.1%})"
