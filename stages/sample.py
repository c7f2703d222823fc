"""Draw the faces of the built-in sample and write them as a CSV in Kaggle's format."""

from pathlib import Path

from fer import params
from fer.data import sample
from fer.errors import exit_on_error


def main() -> None:
    p = params.load()
    sample.write_csv(Path("data", "raw", "sample", "sample.csv"), p.sample)


if __name__ == "__main__":
    exit_on_error(main)
