"""Draw the faces of the built-in sample and write them as a CSV in Kaggle's format."""

from pathlib import Path

from fer.core import params
from fer.core.errors import exit_on_error
from fer.data import sample


def main() -> None:
    p = params.load()
    sample.write_csv(Path("data", "raw", "sample", "sample.csv"), p.sample)


if __name__ == "__main__":
    exit_on_error(main)
