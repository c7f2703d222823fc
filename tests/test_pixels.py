"""CSVs of pixels: what is read, and what is refused."""

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import PARAMS, ROOT
from test_pipeline import run

from fer.core.errors import FerError
from fer.data import formats
from fer.data.dataset import UNSPLIT
from fer.data.fer2013 import CLASSES, USAGES
from fer.data.formats import pixels
from fer.data.raw import open_raw

HEADER = "emotion,pixels,Usage"
SHARED = Path(__file__).parents[2] / "shared" / "data"
PREPARE = PARAMS.prepare
SKIP = PREPARE.model_copy(update={"on_error": "skip"})


def row(emotion=3, pixels=None, usage="Training"):
    pixels = " ".join(["7"] * 2304) if pixels is None else pixels
    return f"{emotion},{pixels},{usage}"


ROWS = [row(emotion=n, usage=usage) for usage in USAGES for n in range(7)]


def write(path, rows, header=HEADER, end="\n"):
    path.write_bytes("".join(line + end for line in [header, *rows]).encode())
    return path


def read(folder, prepare=PREPARE):
    """The data set that the format makes of the folder, before missing splits are cut."""
    with open_raw(folder) as raw:
        return pixels.read(raw, prepare)


def refusal(folder, prepare=PREPARE, reader=read):
    with pytest.raises(FerError) as error:
        reader(folder, prepare)
    message = str(error.value)
    assert message.isprintable()
    return message


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(7, 140))
def test_reads_back_what_was_written(tmp_path_factory, seed, count):
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (count, 48, 48), dtype=np.uint8)
    images[::7] %= 10  # short numbers stand beside long ones
    labels = np.concatenate([np.arange(7), generator.integers(0, 7, count - 7)])
    usages = np.concatenate([np.arange(3), generator.integers(0, 3, count - 3)])
    names = list(USAGES)
    lines = [
        row(label, " ".join(map(str, image.ravel())), names[usage])
        for label, image, usage in zip(labels, images, usages, strict=True)
    ]
    folder = tmp_path_factory.mktemp("csv")
    write(folder / "faces.csv", lines)
    data = read(folder)
    assert data.dropped == []
    for code, split in enumerate(USAGES.values()):
        np.testing.assert_array_equal(data.splits[split].images, images[usages == code])
        np.testing.assert_array_equal(data.splits[split].labels, labels[usages == code])
        places = [f"faces.csv:{n + 2}" for n in np.flatnonzero(usages == code)]
        assert data.sources[split] == places
    assert data.classes == CLASSES


@pytest.mark.parametrize(
    ("header", "line", "end"),
    [
        ("emotion, Usage, pixels", lambda r: ", ".join(r.split(",")[i] for i in (0, 2, 1)), "\n"),
        (HEADER, lambda r: r, "\r\n"),
        ("\ufeff" + HEADER, lambda r: r, "\n"),
        ('"emotion","pixels","Usage"', lambda r: ",".join(f'"{f}"' for f in r.split(",")), "\n"),
        (HEADER, lambda r: r.replace("7 7", "007  7"), "\n"),
        (HEADER, lambda r: r, "\n\n"),
        (f"{HEADER},größe", lambda r: f'{r},"ü, groß"', "\n"),
        (HEADER.replace(",", ";"), lambda r: r.replace(",", ";"), "\n"),
        (HEADER.replace(",", "\t"), lambda r: r.replace(",", "\t"), "\n"),
        ("emotion,pixels,split", lambda r: r.replace("Public", "").replace("PrivateT", "t"), "\n"),
        ("Class,Pixels,Usage", lambda r: r.lower().replace("publictest", "val"), "\n"),
    ],
    ids=[
        *("icml_face_data", "CRLF", "BOM", "quoted", "odd numbers", "blank lines", "more columns"),
        *("semicolons", "tabs", "column split", "lower case"),
    ],
)
def test_accepts_other_ways_to_write_it(tmp_path, header, line, end):
    rows = ROWS if "split" not in header else ROWS[:7] + ROWS[14:]
    write(tmp_path / "faces.csv", [line(r) for r in rows], header, end)
    data = read(tmp_path)
    assert data.dropped == []
    assert data.splits.keys() == {"train", "val", "test"} - ({"val"} if rows != ROWS else set())
    assert all((own.images == 7).all() and len(own) == 7 for own in data.splits.values())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (row(usage="Test set"), "Usage is 'Test set', not one of Training"),
        (row(usage=""), "Usage is ''"),
        (row(emotion=""), "has no label"),
        (row(pixels="7 " * 2302 + "7"), "has 2303 pixels, not 2304"),
        (row(pixels="7 " * 2304 + "7"), "has 2305 pixels, not 2304"),
        (row(pixels="7 " * 2303 + "256"), "pixel 2304 is '256', not an integer 0 to 255"),
        (row(pixels="-1" + " 7" * 2303), "pixel 1 is '-1'"),
        (row(pixels="+7" + " 7" * 2303), r"pixel 1 is '+7'"),
        (row(pixels="7-7" + " 7" * 2302), "pixel 1 is '7-7'"),
        (row(pixels="7 1.5" + " 7" * 2302), "pixel 2 is '1.5'"),
        (row(pixels="1000" + " 7" * 2303), "pixel 1 is '1000'"),
        (row(pixels="7" * 5000), "pixel 1 is '7777"),
        (row(pixels="0000000001000" + " 7" * 2303), "pixel 1 is '0000000001000'"),
        (row(pixels="\u0667" + " 7" * 2303), "pixel 1 is"),
        (row(pixels="\0" + " 7" * 2303), "pixel 1 is"),
        (row(pixels=""), "has 0 pixels"),
        (row()[:-300], "has 2 columns, not 3"),
        (row() + ",1", "has 4 columns"),
    ],
)
def test_bad_row_is_named_or_skipped(tmp_path, text, reason):
    write(tmp_path / "faces.csv", [*ROWS, text, *ROWS])
    message = refusal(tmp_path)
    assert "faces.csv: line 23: " in message
    assert reason in message
    assert message.endswith("; mend it, or skip bad rows with prepare.on_error")
    data = read(tmp_path, SKIP)
    (dropped,) = data.dropped
    assert (dropped.source, dropped.reason) == ("faces.csv:23", "bad row")
    assert reason in dropped.detail
    assert sum(map(len, data.splits.values())) == 42


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=3000))
def test_any_bytes_give_faces_or_one_clear_error(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("csv")
    for prefix in (b"", HEADER.encode() + b"\n" + ROWS[0].encode()):
        (folder / "faces.csv").write_bytes(prefix + data)
        message = refusal(folder, reader=formats.read)
        assert message.startswith(str(folder))


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ("0123456", CLASSES),
        ("01", ("0", "1")),
        ([f"{number}.0" for number in range(7)], CLASSES),
        (("0.", "2.00"), ("0", "2")),
        (("10", "9", "1"), ("1", "9", "10")),
        (("überrascht", "froh", "глад"), ("froh", "überrascht", "глад")),
    ],
)
@pytest.mark.parametrize("column", ["emotion", "Label"])
def test_labels_are_numbers_or_words(tmp_path, column, labels, classes):
    rows = [row(label).rpartition(",")[0] for label in labels]
    write(tmp_path / "mine.csv", rows, header=f"{column},pixels")
    data = read(tmp_path)
    assert data.classes == classes
    order = [classes.index(n) for n in labels] if classes[0] in labels else range(len(labels))
    assert data.splits[UNSPLIT].labels.tolist() == list(order)


def test_classes_txt_names_the_numbers(tmp_path):
    write(tmp_path / "mine.csv", [row(0), row(2)])
    (tmp_path / "classes.txt").write_text("wütend\nmüde\n", encoding="utf-8")
    data = read(tmp_path)
    assert data.classes == ("wütend", "müde")
    assert data.splits["train"].labels.tolist() == [0, 1]
    (tmp_path / "classes.txt").write_text("wütend\nfroh\nmüde\n", encoding="utf-8")
    assert read(tmp_path).classes == ("wütend", "müde")
    message = "classes.txt: does not have one line with a name of its own for each of the"
    for names in ("wütend\n", "froh\nfroh\n"):
        (tmp_path / "classes.txt").write_text(names, encoding="utf-8")
        assert message in refusal(tmp_path)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (("happy", "Happy "), "the classes 'Happy' and 'happy' differ in case or blanks only"),
        ((0, 0, 1, 1, 2, 2, "x"), "the label 'x' is no number as others are"),
        (range(257), "has 257 classes; at most 256 are read"),
    ],
)
def test_labels_that_make_no_classes_are_refused(tmp_path, labels, reason):
    rows = [row(label, f"{n % 256} " + "7 " * 2303) for n, label in enumerate(labels)]
    rows += [row(labels[0], "8 " * 2304, usage) for usage in list(USAGES)[1:]]
    write(tmp_path / "mine.csv", rows)
    assert reason in refusal(tmp_path, reader=formats.read)


ONE = "has one class only, 0"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (f"{HEADER}\n".encode(), "faces.csv: has no rows of faces"),
        ("\n".join([HEADER, *ROWS]).encode("utf-16"), "line 1: is not text in UTF-8; save"),
        ("\n".join(ROWS).encode(), "holds no data that is recognized (found faces.csv)"),
        (b"pixels,Usage\n", "line 1: has no column emotion or label or class or expression"),
        ("\n".join([HEADER, *ROWS[7:]]).encode(), "has no face for train"),
        ("\n".join([HEADER, *(row(0, f"{n} {'7 ' * 2303}") for n in range(9))]).encode(), ONE),
    ],
)
def test_file_that_is_written_otherwise_is_refused(tmp_path, content, reason):
    (tmp_path / "faces.csv").write_bytes(content)
    assert reason in refusal(tmp_path, reader=formats.read)


def test_kaggles_file_with_all_labels_is_preferred_to_its_train_and_test(tmp_path):
    write(tmp_path / "train.csv", [r.rpartition(",")[0] for r in ROWS], header="emotion,pixels")
    write(tmp_path / "test.csv", [ROWS[0].split(",")[1]], header="pixels")
    assert "holds test.csv and train.csv; keep one file of faces, such" in refusal(tmp_path)
    write(tmp_path / "icml_face_data.csv", ROWS)
    assert len(read(tmp_path).splits["test"]) == 7


def test_unpacked_file_is_preferred_to_its_archive_and_two_files_are_refused(tmp_path):
    path = write(tmp_path / "faces.csv", ROWS)
    (tmp_path / "faces.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert read(tmp_path).sources["train"][0] == "faces.csv:2"
    path.rename(tmp_path / "others.csv")
    assert "holds faces.csv.gz and others.csv; keep one file of faces" in refusal(tmp_path)


@pytest.mark.skipif(not (SHARED / "fer2013.xz").exists(), reason="needs the real FER2013")
@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory from /proc")
@pytest.mark.long
def test_real_fer2013_in_little_memory(tmp_path):
    subprocess.run([sys.executable, SHARED / "write_csv.py", tmp_path / "fer2013.csv"], check=True)
    code = (
        "import re, sys; from pathlib import Path; from fer.core import params\n"
        "from fer.data import cleaning, formats\n"
        "data = formats.read(Path(sys.argv[1]), params.load(Path(sys.argv[2])).prepare)\n"
        # Not ru_maxrss, which a process inherits from the one that started it.
        "status = Path('/proc/self/status').read_text()\n"
        "peak = int(re.search(r'VmHWM:\\s+(\\d+)', status)[1]) // 1024\n"
        "found = cleaning.count_problems(data.splits)\n"
        "print(len(data.dropped), *map(len, data.splits.values()), found['val_faces_in_train'],"
        " found['test_faces_in_train'], peak)"
    )
    result = run(ROOT, sys.executable, "-c", code, tmp_path, ROOT / "params.yaml")
    *figures, peak = map(int, result.stdout.splitlines()[-1].split())
    assert figures == [0, 28709, 3589, 3589, 280, 288]
    assert peak < 400
