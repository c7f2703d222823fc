"""Write the winner of the search into params.yaml, if it is better than the baseline."""

from collections.abc import Mapping
from functools import reduce
from operator import getitem
from pathlib import Path
from statistics import fmean

from ruamel.yaml import YAML

from fer.core import params
from fer.core.errors import FerError, exit_on_error
from fer.core.files import atomic_path
from fer.core.params import Params
from fer.report.read import read_json


def main() -> None:
    p = params.load()
    path = Path("metrics") / p.folder / "tune.json"
    results = read_json(path)
    winner = results["winner"]
    if winner["trial"] == 0:
        baseline, *trials = results["finals"]
        gains = ", ".join(
            f"{trial['gain']:+.2%} (margin of error: {trial['margin_of_error']:.2%})"
            for trial in trials
        )
        print(
            f"{path}: no trial won the finals against the baseline's {baseline['mean']:.2%} in "
            f"cross-validation: {gains or 'none took part'}; params.yaml stays as it is"
        )
        return
    keys = ("val_unseen_accuracy", "val_damaged_accuracy")
    before, after = (fmean(results[name][key] for key in keys) for name in ("before", "after"))
    if after < before:
        raise FerError(
            f"{path}: trained in full, trial {winner['trial']} is not better on val ({after:.2%}, "
            f"the baseline {before:.2%}); params.yaml stays as it is"
        )
    changed = update_file(Path("params.yaml"), winner["params"], p)
    print("\n".join(changed) or "params.yaml has the best parameters already")


def update_file(path: Path, values: Mapping[str, params.Value], p: Params) -> list[str]:
    """Change values in params.yaml, given by path, and keep its comments and order.

    In a mapping by data set or size, the value is set for those of `p` alone. Returns a line such
    as "train.lr: 0.1 -> 0.2" per value that differs from before.
    """
    yaml = YAML()
    yaml.width = 1000  # long lines stay unbroken
    data = yaml.load(path)
    lines = []
    for name, value in values.items():
        *folders, last = name.split(".")
        target = reduce(getitem, folders, data)
        before = p.config.get(name)
        if before != value:
            lines.append(f"{name}: {before} -> {value}")
            is_mapping = isinstance(target.get(last), dict)
            target, key = (target[last], p.name) if is_mapping else (target, last)
            target[key] = value
    with atomic_path(path) as temporary:
        yaml.dump(data, temporary)
    return lines


if __name__ == "__main__":
    exit_on_error(main)
