"""Write the best parameters that `tune` found into params.yaml, if they were better in full."""

from pathlib import Path

from fer import params
from fer.errors import FerError, exit_on_error
from fer.report.read import read_json


def main() -> None:
    p = params.load()
    path = Path("metrics", p.dataset, "tune.json")
    found = read_json(path)
    before, after = (found[when]["val_new_accuracy"] for when in ("before", "after"))
    if found["best"]["params"] == {name: p.recipe.get(name) for name in p.tune.space}:
        print("params.yaml has the best parameters already")
        return
    if after <= before:
        raise FerError(
            f"{path}: trained in full, the winner of the search was not better on val "
            f"({after:.2%}, the recipe {before:.2%}): params.yaml stays as it is"
        )
    print("\n".join(params.update(Path("params.yaml"), found["best"]["params"])))


if __name__ == "__main__":
    exit_on_error(main)
