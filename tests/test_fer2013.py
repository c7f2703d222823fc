import gzip
import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer.data import fer2013, raw
from fer.errors import FerError

HEADER = "emotion,pixels,Usage"
SHARED = Path(__file__).parents[2] / "shared" / "data"


def row(emotion=3, pixels=None, usage="Training"):
    pixels = " ".join(["7"] * 2304) if pixels is None else pixels
    return f"{emotion},{pixels},{usage}"


ROWS = [row(usage=usage) for usage in fer2013.USAGES]


def write(path, rows, header=HEADER, end="\n"):
    path.write_bytes("".join(line + end for line in [header, *rows]).encode())
    return path


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(3, 140))
def test_reads_back_what_was_written(tmp_path_factory, seed, count):
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (count, 48, 48), dtype=np.uint8)
    images[::7] %= 10  # short numbers stand beside long ones
    labels = generator.integers(0, 7, count)
    usages = np.concatenate([np.arange(3), generator.integers(0, 3, count - 3)])
    names = list(fer2013.USAGES)
    lines = [
        row(label, " ".join(map(str, image.ravel())), names[usage])
        for label, image, usage in zip(labels, images, usages, strict=True)
    ]
    path = write(tmp_path_factory.mktemp("csv") / "faces.csv", lines)
    splits, bad = fer2013.read(path)
    assert bad == 0
    for code, split in enumerate(fer2013.USAGES.values()):
        np.testing.assert_array_equal(splits[split].images, images[usages == code])
        np.testing.assert_array_equal(splits[split].labels, labels[usages == code])


@pytest.mark.parametrize(
    ("header", "line", "end"),
    [
        ("emotion, Usage, pixels", lambda r: ", ".join(r.split(",")[i] for i in (0, 2, 1)), "\n"),
        (HEADER, lambda r: r, "\r\n"),
        ("\ufeff" + HEADER, lambda r: r, "\n"),
        ('"emotion","pixels","Usage"', lambda r: ",".join(f'"{f}"' for f in r.split(",")), "\n"),
        (HEADER, lambda r: r.replace("7 7", "007  7"), "\n"),
        (HEADER, lambda r: r, "\n\n"),
        (f"{HEADER},größe", lambda r: f"{r},ü", "\n"),
    ],
    ids=["icml_face_data", "CRLF", "BOM", "quoted", "odd numbers", "blank lines", "another column"],
)
def test_accepts_other_ways_to_write_it(tmp_path, header, line, end):
    path = write(tmp_path / "faces.csv", [line(r) for r in ROWS], header, end)
    splits, bad = fer2013.read(path)
    assert bad == 0
    assert all((faces.images == 7).all() and len(faces) == 1 for faces in splits.values())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (row(emotion=7), "emotion is '7', not 0 to 6"),
        (row(emotion="x"), "emotion is 'x'"),
        (row(usage="Test"), "Usage is 'Test', not one of Training"),
        (row(pixels="7 " * 2302 + "7"), "has 2303 pixels, not 2304"),
        (row(pixels="7 " * 2304 + "7"), "has 2305 pixels, not 2304"),
        (row(pixels="7 " * 2303 + "256"), "pixel 2304 is '256', not an integer 0 to 255"),
        (row(pixels="-1" + " 7" * 2303), "pixel 1 is '-1'"),
        (row(pixels="7 1.5" + " 7" * 2302), "pixel 2 is '1.5'"),
        (row(pixels="1000" + " 7" * 2303), "pixel 1 is '1000'"),
        (row(pixels="7" * 5000), "pixel 1 is '7777"),
        (row(pixels="0000000001000" + " 7" * 2303), "pixel 1 is '0000000001000'"),
        (row(pixels="\ufffd" + " 7" * 2303), "pixel 1 is"),
        (row(pixels=""), "has 0 pixels"),
        (row()[:-300], "has 2 columns, not 3"),
        (row() + ",1", "has 4 columns"),
    ],
)
def test_bad_row_is_named_or_skipped(tmp_path, text, reason):
    # Among enough others that it stands in a later block, beside good rows.
    path = write(tmp_path / "faces.csv", [*ROWS * 30, text, *ROWS])
    with pytest.raises(FerError) as error:
        fer2013.read(path)
    assert "faces.csv: line 92: " in str(error.value)
    assert reason in str(error.value)
    splits, bad = fer2013.read(path, on_bad_row="skip")
    assert bad == 1
    assert sum(map(len, splits.values())) == 93


def test_number_missing_here_and_too_many_there_is_two_bad_rows(tmp_path):
    short, long = row(pixels="7 " * 2302 + "7"), row(pixels="7 " * 2304 + "7")
    path = write(tmp_path / "faces.csv", [*ROWS, short, long])
    assert fer2013.read(path, on_bad_row="skip")[1] == 2


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=3000))
def test_any_bytes_give_faces_or_one_clear_error(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("csv") / "faces.csv"
    for prefix in (b"", HEADER.encode() + b"\n" + ROWS[0].encode()):
        path.write_bytes(prefix + data)
        with pytest.raises(FerError, match=r"faces\.csv: "):
            fer2013.read(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n\0\0", "is not a CSV"),
        (b"a,b,c\n", "no column emotion or pixels or Usage"),
        (HEADER.encode() + b"\n", "has no rows with Usage Training"),
        (f"{HEADER}\n{ROWS[0]}\n{ROWS[1]}\n".encode(), "has no rows with Usage PrivateTest"),
    ],
)
def test_file_that_is_no_fer2013(tmp_path, content, reason):
    path = tmp_path / "faces.csv"
    path.write_bytes(content)
    with pytest.raises(FerError, match=reason):
        fer2013.read(path)


def pack(folder, suffix, content):
    path = folder / f"fer2013{suffix}"
    if suffix.endswith("zip"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("example_submission.csv", "x")
            archive.writestr("__MACOSX/._fer2013.csv", "x")
            archive.writestr("fer2013/fer2013.csv", content)
    elif ".t" in suffix:
        with tarfile.open(path, "w:gz") as archive:
            member = tarfile.TarInfo("fer2013/fer2013.csv")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    else:
        path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".zip", ".gz", ".tar.gz", ".tgz"])
def test_finds_and_reads_archives(tmp_path, suffix):
    content = "\n".join([HEADER, *ROWS]).encode()
    path = pack(tmp_path, suffix, content)
    assert raw.find(tmp_path) == path
    assert sum(map(len, fer2013.read(path)[0].values())) == 3


@pytest.mark.parametrize("suffix", [".csv.gz", ".zip", ".tar.gz"])
def test_broken_archive_is_one_error(tmp_path, suffix):
    path = pack(tmp_path, suffix, "\n".join([HEADER, *ROWS * 9]).encode())
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(FerError, match="cannot be read"):
        fer2013.read(path)
    path.write_bytes(b"not an archive")
    with pytest.raises(FerError, match="cannot be read"):
        fer2013.read(path)


@pytest.mark.skipif(not (SHARED / "fer2013.xz").exists(), reason="needs the real FER2013")
@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory from /proc")
@pytest.mark.slow
def test_real_fer2013_in_little_memory(tmp_path):
    path = tmp_path / "fer2013.csv"
    subprocess.run([sys.executable, SHARED / "write_csv.py", path], check=True)
    code = (
        "import re, sys; from pathlib import Path; from fer.data import cleaning, fer2013\n"
        "splits, bad = fer2013.read(sys.argv[1])\n"
        # Not ru_maxrss, which a process inherits from the one that started it.
        "status = Path('/proc/self/status').read_text()\n"
        "peak = int(re.search(r'VmHWM:\\s+(\\d+)', status)[1]) // 1024\n"
        "found = cleaning.report(splits)\n"
        "print(bad, *map(len, splits.values()), found['val_faces_in_train'],"
        " found['test_faces_in_train'], peak)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
    )
    *figures, peak = map(int, result.stdout.split())
    assert figures == [0, 28709, 3589, 3589, 280, 288]
    assert peak < 400
