"""Provide data/<dataset>.csv: draw the built-in faces, or unpack what the user put there."""

import shutil
from pathlib import Path

from fer import fer2013, files, params, sample
from fer.errors import FerError, exit_on_error

COMPETITION = (
    "https://www.kaggle.com/c/"
    "challenges-in-representation-learning-facial-expression-recognition-challenge"
)


def main() -> None:
    p = params.load()
    path = Path("data", f"{p.dataset}.csv")
    if p.dataset == "sample":
        sample.write_csv(path, p.sample)
        return
    found = fer2013.find(path.parent, p.dataset)
    if found is None:
        raise FerError(
            f"{path} is missing: put Kaggle's fer2013.csv there, or its fer2013.tar.gz, a .zip or "
            f"a .gz as data/{p.dataset}.*, from {COMPETITION} ; `dataset: sample` needs nothing"
        )
    if found == path:
        return
    with (
        fer2013.open_csv(found) as archive,
        files.whole(path) as temporary,
        temporary.open("wb") as file,
    ):
        shutil.copyfileobj(archive, file)


if __name__ == "__main__":
    exit_on_error(main)
