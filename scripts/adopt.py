"""Write what `tune` found to be better than the recipe into params.yaml."""

from pathlib import Path

from fer import params
from fer.errors import FerError, exit_on_error
from fer.report.read import read_json


def main() -> None:
    p = params.load()
    path = Path("metrics", p.dataset, "tune.json")
    found = read_json(path)
    winner = found["winner"]
    if winner["trial"] == 0:
        recipe, *others = found["finals"]
        leads = (
            ", ".join(f"{f['lead']:+.2%} (noise {f['noise']:.2%})" for f in others)
            or "none was tried"
        )
        raise FerError(
            f"{path}: in the finals, no trial was better on val than the recipe's "
            f"{recipe['mean']:.2%} by more than the noise: {leads}; params.yaml stays as it is"
        )
    before, after = (found[when]["val_new_accuracy"] for when in ("before", "after"))
    if after < before:
        raise FerError(
            f"{path}: trained in full, trial {winner['trial']} was not better on val ({after:.2%}, "
            f"the recipe {before:.2%}); params.yaml stays as it is"
        )
    changed = params.update(Path("params.yaml"), winner["params"])
    print("\n".join(changed) or "params.yaml has the best parameters already")


if __name__ == "__main__":
    exit_on_error(main)
