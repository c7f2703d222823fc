"""Draw every figure, and write the headline numbers and the HTML report."""

from pathlib import Path

from fer.core import faces, files, params
from fer.core.errors import exit_on_error
from fer.report import figures, headlines, page
from fer.report.read import read_json, read_table
from fer.training import wandb_log

STAGES = ("train", "tune", "quantize", "evaluate")
TIMED = ("train", "tune", "quantize")
TABLES = ("history", "trials", "quantize", "runtimes", "per_class", "coverage", "confusion_int8")


def main() -> None:
    p = params.load()
    name, data = p.name, Path("data", p.dataset)
    models, plots, metrics = (Path(top) / p.folder for top in ("models", "plots", "metrics"))
    # The first of each are of the data set, whatever the size.
    results = {"prepare": read_json(metrics.parent / "prepare.json")}
    results |= {stage: read_json(metrics / f"{stage}.json") for stage in STAGES}
    timings = {"benchmark": read_json(metrics.parent / "timings" / "benchmark.json")}
    timings |= {stage: read_json(metrics / "timings" / f"{stage}.json") for stage in TIMED}
    tables = {name: read_table(plots.parent / f"{name}.csv") for name in ("classes", "benchmark")}
    tables |= {table: read_table(plots / f"{table}.csv") for table in TABLES}
    train = faces.load(data / "train")
    steps = headlines.steps(results, tables["quantize"])

    figures.accuracy(plots / "accuracy.png", steps, name)
    figures.sample_faces(plots / "faces.png", train, name)
    runs, tuned = {"baseline": tables["history"]}, models / "tuned" / "history.csv"
    if tuned.exists():
        runs["tuned"] = read_table(tuned)
    figures.history(plots / "history.png", runs, name)
    distributions = results["tune"]["distributions"]
    figures.trials(plots / "trials.png", tables["trials"], distributions, name)
    title = f"{name}: confusion matrix, test, int8, averaged with mirror image"
    figures.confusion(plots / "confusion.png", tables["confusion_int8"], train.classes, title)
    test = results["evaluate"]
    on_damaged = {
        model: {"clean": test[model]["flip_averaged"]["accuracy"]} | test[model]["damaged"]
        for model in ("baseline", "tuned", "float32", "int8")
        if "damaged" in test.get(model, {})
    }
    figures.damaged(plots / "damaged.png", on_damaged, name)
    figures.coverage(plots / "coverage.png", tables["coverage"], test["faces"]["test"], name)
    suspects = read_table(data / p.size / "suspects.csv")
    pictures = files.read_rows(data / "train" / "pictures.csv")
    figures.suspects(plots / "suspects.png", suspects, pictures, train, name)
    headline = headlines.headlines(results, tables["quantize"])
    speeds = headlines.speeds(timings, tables["runtimes"])
    files.write_json(Path("metrics", "scores", f"{name}.json"), headline)
    files.write_json(Path("metrics", "speeds", f"{name}.json"), speeds)
    vega = params.repository_root() / "plots" / "vega.js"  # no output: the same for all runs
    if not vega.exists():
        page.write_vega(vega)
    with wandb_log.run(p.settings.wandb, f"report-{name}", results) as run:
        run.log(headline | speeds | {path.stem: path for path in sorted(plots.glob("*.png"))})
    page.write(
        plots / "report.html",
        p.dataset,
        p.size,
        steps,
        results,
        timings,
        {
            "runtimes": tables["quantize"].merge(tables["runtimes"], on="runtime"),
            "loading": tables["benchmark"],
            "counts": tables["classes"],
            "classes": tables["per_class"],
            "coverage": tables["coverage"],
            "suspects": suspects,
        },
    )


if __name__ == "__main__":
    exit_on_error(main)
