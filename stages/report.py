"""Draw every figure, and write the headlines and the page that shows it all."""

from pathlib import Path

from fer import faces, files, params, tracking
from fer.errors import exit_on_error
from fer.report import figures, headlines, page
from fer.report.read import read_json, read_table

MODELS = ("baseline", "tuned", "float32", "int8")
STAGES = ("prepare", "train", "tune", "quantize", "evaluate")
TIMED = ("benchmark", "train", "tune", "quantize")
TABLES = (
    *("classes", "intensity", "benchmark", "history", "history_tuned", "trials", "parameters"),
    *("seconds", "quantize", "runtimes", "per_class"),
)


def main() -> None:
    p = params.load()
    name, tops = p.dataset, ("data", "plots", "metrics", "models")
    data, plots, metrics, models = (Path(top, name) for top in tops)
    found = {stage: read_json(metrics / f"{stage}.json") for stage in STAGES}
    timings = {stage: read_json(metrics / "timings" / f"{stage}.json") for stage in TIMED}
    tables = {table: read_table(plots / f"{table}.csv") for table in TABLES}
    confusions = {model: read_table(plots / f"confusion_{model}.csv") for model in MODELS}
    train = faces.load(data / "train")
    tune, cores = found["tune"], timings["benchmark"]["machine"]["cores"]

    figures.classes(plots / "classes.png", tables["classes"], name)
    figures.sample_faces(plots / "faces.png", train, name)
    figures.intensity(plots / "intensity.png", tables["intensity"], name)
    figures.benchmark(plots / "benchmark.png", tables["benchmark"], name, cores)
    figures.history(plots / "history.png", tables["history"], tables["history_tuned"], name)
    figures.seconds(plots / "seconds.png", tables["seconds"], name)
    figures.trials(plots / "trials.png", tables["trials"], tune["importance"], name)
    figures.parallel(plots / "parallel.png", tables["parameters"], tune["scales"], name)
    figures.slices(plots / "slices.png", tables["parameters"], tune["scales"], name)
    ways = tables["quantize"].merge(tables["runtimes"], on="way")
    figures.quantization(plots / "quantize.png", ways, name)
    figures.confusion(plots / "confusion.png", confusions, train.classes, name)
    figures.per_class(plots / "per_class.png", tables["per_class"], name)
    headline = headlines.headlines(found, tables["quantize"])
    speeds = headlines.speeds(timings, tables["runtimes"])
    files.write_json(Path("metrics", "headlines", f"{name}.json"), headline)
    files.write_json(Path("metrics", "speeds", f"{name}.json"), speeds)
    vega = params.home() / "plots" / "vega.js"  # the same for all runs, and so no output
    if not vega.exists():
        page.write_vega(vega)
    with tracking.run(p.settings.wandb, f"report-{name}", found) as run:
        run.log(headline | speeds)
        run.add_images(sorted(plots.glob("*.png")))
        run.add_files(name, "model", sorted(p for p in models.glob("*.*") if p.is_file()))
    page.write(plots / "report.html", name, found, timings, ways)


if __name__ == "__main__":
    exit_on_error(main)
