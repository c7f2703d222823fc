"""Write the best parameters that `tune` found into params.yaml."""

import json
from pathlib import Path

from fer import params
from fer.errors import FerError, exit_on_error


def main() -> None:
    p = params.load()
    found = Path("metrics", p.dataset, "tune.json")
    try:
        best = json.loads(found.read_text(encoding="utf-8"))["best"]["params"]
    except (OSError, ValueError, KeyError) as error:
        raise FerError(f"{found}: no finished search here; run `dvc repro tune`") from error
    changes = params.update(Path("params.yaml"), best)
    print("\n".join(changes) or "params.yaml has the best parameters already")


if __name__ == "__main__":
    exit_on_error(main)
