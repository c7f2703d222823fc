"""Compute how long to train and search, from params.yaml and the number of training faces."""

from pathlib import Path

from fer import params
from fer.errors import exit_on_error
from fer.report.read import read_json


def main() -> None:
    p = params.load()
    metrics = Path("metrics", p.dataset)
    faces = read_json(metrics / "prepare.json")["faces"]["train"]
    params.save_budget(metrics / "budget.yaml", p.budget_for(faces))


if __name__ == "__main__":
    exit_on_error(main)
