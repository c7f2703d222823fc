"""Fuzz the CSV reader, guided by coverage: `python tests/reliability/fuzz_csv.py -runs=1000000`.

Each input is read by a plain reference reader too: both find the same faces, or both refuse; and
the memory stays below a multiple of the input. A face is of 2 x 2 pixels here, so that a mutation
reaches every part of a row.
"""

import csv
import sys
import tempfile
import tracemalloc
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["fer.data"]):
    from fer.data.dataset import SPLIT_NAMES
    from fer.data.formats import pixels
    from fer.data.raw import open_raw
from fer.core import faces, params
from fer.core.errors import FerError

SIZE = 2
PREPARE = params.load(Path(__file__).parents[2] / "params.yaml").prepare
SEED = b"emotion,pixels,Usage\n0,1 22 255 0,Training\n1,9 9 9 9,PublicTest\n0,0 0 0 0,PrivateTest\n"
MEMORY = 4_000_000, 60
"""Bytes, and bytes for each of the input, that reading may take."""


def reference(content):
    """Labels and pixels of each split in the order of the file, or None: the format in words.

    Of the files with numbers for labels: for one with words it returns None as well.
    """
    try:
        header, *lines = content.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError:
        return None
    separator = max(",;\t", key=header.count)
    names = [name.strip(' "\r').lower() for name in header.split(separator)]
    labels = [name for name in ("emotion", "label", "class") if name in names]
    usages = [n for n in ("usage", "split", "set", "subset", "partition") if n in names]
    if "pixels" not in names or not labels:
        return None
    actual = {}
    for line in lines:
        if not line or line.isspace():
            continue
        try:
            fields = line.split(separator) if '"' not in line else next(rows(line, separator))
        except csv.Error:
            return None
        if len(fields) != len(names):
            return None
        label = fields[names.index(labels[0])].strip()
        numbers = fields[names.index("pixels")].encode().split()
        usage = fields[names.index(usages[0])].strip().lower() if usages else "unsplit"
        split = SPLIT_NAMES.get(usage, usage)
        if label not in map(str, range(256)) or (usages and usage not in SPLIT_NAMES):
            return None
        if len(numbers) != SIZE * SIZE:
            return None
        if not all(number.isdigit() and int(number) < 256 for number in numbers):
            return None
        actual.setdefault(split, []).append((int(label), [int(n) for n in numbers]))
    return actual or None


def rows(line, separator):
    return csv.reader([line + "\n"], delimiter=separator, skipinitialspace=True)


def read(folder):
    try:
        with open_raw(folder) as raw:
            if not pixels.find(raw):
                return None
            data = pixels.read(raw, PREPARE)
    except FerError:
        return None
    names = "0123456" if data.classes == pixels.CLASSES else data.classes
    if not {*map(str, range(256))}.issuperset(names):
        return None  # words
    return {
        split: [
            (int(names[label]), image.ravel().tolist())
            for label, image in zip(own.labels.tolist(), own.images, strict=True)
        ]
        for split, own in data.splits.items()
    }


def main():
    pixels._PIXELS, pixels.FACE_SIZE, faces.FACE_SIZE = SIZE * SIZE, SIZE, SIZE
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        path = Path(folder, "set", "faces.csv")
        path.parent.mkdir()

        def try_one(content):
            path.write_bytes(content)
            traced = hash(content) % 32 == 0  # as tracing takes ten times as long
            if traced:
                tracemalloc.start()
            actual = read(path.parent)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert actual == reference(content), content
            assert peak < MEMORY[0] + MEMORY[1] * len(content), (peak, len(content))

        assert reference(SEED)
        seeds = Path(folder, "seeds")
        seeds.mkdir()
        (seeds / "good.csv").write_bytes(SEED)
        (seeds / "odd.csv").write_bytes(b"\xef\xbb\xbf" + SEED.replace(b"\n", b"\r\n"))
        (seeds / "quoted.csv").write_bytes(SEED.replace(b"Training", b'"Training"'))
        atheris.Setup([*sys.argv, "-max_len=400", str(seeds)], try_one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
