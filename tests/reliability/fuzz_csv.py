"""Fuzz the CSV reader, guided by coverage: `python tests/reliability/fuzz_csv.py -runs=1000000`.

Each input is read by a plain reference reader too: both find the same faces, or both refuse; and
the memory stays below a multiple of the input. A face is of 2 x 2 pixels here, so that a mutation
reaches every part of a row.
"""

import sys
import tempfile
import tracemalloc
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["fer.data"]):
    from fer.data import fer2013
from fer import faces
from fer.errors import FerError

SIZE = 2
USAGES = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
SEED = b"emotion,pixels,Usage\n0,1 22 255 0,Training\n6,9 9 9 9,PublicTest\n3,0 0 0 0,PrivateTest\n"
MEMORY = 4_000_000, 60
"""Bytes, and bytes for each of the input, that reading may take."""


def reference(text):
    """Labels and pixels of each split in the order of the file, or None: the format in words."""
    header, *lines = text.split(b"\n")
    header = header.removeprefix(b"\xef\xbb\xbf")
    names = [name.strip(b' "\r').lower() for name in header.split(b",")]
    if not {b"emotion", b"pixels", b"usage"} <= set(names):
        return None
    places = [names.index(name) for name in (b"emotion", b"pixels", b"usage")]
    found = {split: [] for split in USAGES.values()}
    for line in lines:
        if not line or line.isspace():
            continue
        fields = [field.strip(b' "\r') for field in line.split(b",")]
        if len(fields) != len(names):
            return None
        emotion, pixels, usage = (fields[place] for place in places)
        numbers = pixels.split()
        if emotion not in [b"%d" % label for label in range(7)]:
            return None
        if usage.decode("latin-1") not in USAGES or len(numbers) != SIZE * SIZE:
            return None
        if not all(number.isdigit() and int(number) < 256 for number in numbers):
            return None
        found[USAGES[usage.decode()]].append((int(emotion), [int(n) for n in numbers]))
    return found if all(found.values()) else None


def read(path):
    try:
        splits, _ = fer2013.read(path)
    except FerError:
        return None
    return {
        split: [
            (label, image.ravel().tolist())
            for label, image in zip(own.labels.tolist(), own.images, strict=True)
        ]
        for split, own in splits.items()
    }


def main():
    fer2013._PIXELS, fer2013.FACE_SIZE, faces.FACE_SIZE = SIZE * SIZE, SIZE, SIZE
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        path = Path(folder, "faces.csv")

        def try_one(content):
            path.write_bytes(content)
            traced = hash(content) % 32 == 0  # as tracing takes ten times as long
            if traced:
                tracemalloc.start()
            found = read(path)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert found == reference(content), content
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
