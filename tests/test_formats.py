"""Data sets of pictures: layouts that are read, splits that are cut, and what is refused."""

import shutil
import unicodedata
from itertools import chain
from pathlib import Path

import layouts
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import PARAMS
from PIL import Image

from fer import Recognizer
from fer.core import params
from fer.core.errors import FerError
from fer.core.faces import Faces, digests
from fer.data import formats, pictures, splitting
from fer.data.formats import ferplus

PREPARE = PARAMS.prepare


def noise(path):
    """Write a picture that is another than all others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(list(str(path).encode()))
    Image.fromarray(generator.integers(0, 256, (48, 48), dtype=np.uint8)).save(path)


def fill(folder, *places, count=4):
    for place in places:
        for number in range(count):
            noise(folder / place / f"{number}.png")
    return folder


def read(folder, **changes):
    """The data set in a folder, which stays as it is."""
    before = layouts.contents(folder)
    try:
        data = formats.read(folder, PREPARE.model_copy(update=changes))
    finally:
        assert layouts.contents(folder) == before
    assert list(data.splits) == list(data.sources) == ["train", "val", "test"]
    assert all(len(data.sources[split]) == len(own) > 0 for split, own in data.splits.items())
    return data


def refusal(folder, **changes):
    with pytest.raises(FerError) as error:
        read(folder, **changes)
    message = str(error.value)
    assert message.isprintable()
    return message


def sizes(data):
    return {split: len(own) for split, own in data.splits.items()}


# -- folders ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        ("train", "val", "test"),
        ("Training", "valid", "testing"),
        ("TRAIN", "Validation", "Test"),
        ("training_set", "val_set", "test_set"),
        ("train_data", "PublicTest", "test_data"),
        ("fer_train", "fer_dev", "fer_test"),
        ("FER2013Train", "FER2013Valid", "FER2013Test"),
        ("train", "eval", "PrivateTest-2"),
    ],
)
@pytest.mark.parametrize("root", ["", "a/b"])
def test_folders_of_splits(tmp_path, names, root):
    for split, count in zip(names, (4, 2, 3), strict=True):
        fill(tmp_path / root / split, "happy", "sad/deeper", count=count)
    data = read(tmp_path)
    assert sizes(data) == {"train": 8, "val": 4, "test": 6}
    assert data.classes == ("happy", "sad")
    assert data.format == "folders of pictures"
    for source, label in zip(data.sources["train"], data.splits["train"].labels, strict=True):
        assert f"/{data.classes[label]}/" in f"/{source}"


def test_classes_named_like_splits_beside_each_other_are_no_splits_of_the_rest(tmp_path):
    fill(tmp_path / "train", "devout", "protest/a", "sad", count=10)
    assert "train/protest would be classes, but have the name of a split" in refusal(tmp_path)
    (tmp_path / "train/protest").rename(tmp_path / "train/angry")
    assert read(tmp_path).classes == ("angry", "devout", "sad")


@pytest.mark.parametrize("label", [np.array("1"), np.int64(1), np.array([1])])
def test_affectnet_as_downloaded(tmp_path, label):
    for split, count in (("train_set", 5), ("val_set", 2)):
        for number in range(8 * count):
            noise(tmp_path / split / f"images/{number}.jpg")
            folder = tmp_path / split / "annotations"
            folder.mkdir(exist_ok=True)
            np.save(
                folder / f"{number}_exp.npy", (label.astype(int) * number % 8).astype(label.dtype)
            )
            np.save(folder / f"{number}_val.npy", -0.5)
    data = read(tmp_path)
    assert data.format == "AffectNet"
    assert data.classes[1:3] == ("Happiness", "Sadness")
    assert {split: set(own.counts().values()) for split, own in data.splits.items()}["val"] == {2}
    rows = dict(zip(data.sources["val"], data.splits["val"].labels.tolist(), strict=True))
    assert rows["val_set/images/10.jpg"] == 2
    path = tmp_path / "train_set/annotations/3_exp.npy"
    for content, label in ((8, "8"), (-1, "-1"), (None, "")):
        path.write_bytes(b"\x93NUMPY") if content is None else np.save(path, content)
        message = f"annotations/3_exp.npy: its label is {label!r}; write a label from 0 to 7"
        assert message in refusal(tmp_path)
    path.unlink()
    (tmp_path / "train_set/images/4.jpg").unlink()
    message = "annotations/4_exp.npy: none of the pictures is 'train_set/images/4.jpg'"
    assert message in refusal(tmp_path)


def test_folder_of_a_split_in_itself(tmp_path):
    fill(tmp_path / "train/train", "happy", "sad", count=10)
    assert read(tmp_path).classes == ("happy", "sad")


def assert_as_the_recognizer(folder, data, **options):
    recognizer = Recognizer()
    for split, faces in data.splits.items():
        for source, image in zip(data.sources[split], faces.images, strict=True):
            (face,) = recognizer.predict(folder / source, **options)
            np.testing.assert_array_equal(image, face.pixels)


def test_pictures_are_what_the_recognizer_sees(tmp_path):
    layouts.two_classes(tmp_path)
    Image.new("RGB", (90, 30), "red").save(tmp_path / "happy/wide.jpg")
    assert_as_the_recognizer(tmp_path, read(tmp_path), face=True)


def test_processes_read_what_one_reads(tmp_path, monkeypatch):
    layouts.two_classes(tmp_path)
    (tmp_path / "sad/bad.png").write_bytes(b"no picture")
    one = read(tmp_path, on_error="skip")
    monkeypatch.setattr(pictures, "_FEW", 1)
    several = read(tmp_path, on_error="skip")
    assert several.sources == one.sources
    assert several.dropped == one.dropped
    for split, faces in one.splits.items():
        np.testing.assert_array_equal(several.splits[split].images, faces.images)


def test_detected_faces_are_those_of_the_recognizer(tmp_path, capsys):
    import matplotlib

    photo = Path(matplotlib.get_data_path(), "sample_data", "grace_hopper.jpg")
    for name in ("happy", "sad"):
        for number in range(3):
            target = tmp_path / name / f"{number}.jpg"
            target.parent.mkdir(exist_ok=True)
            with Image.open(photo) as image:
                image.rotate(3 * number + (name == "sad")).save(target)
    noise(tmp_path / "sad/none.png")
    data = read(tmp_path, face="detect")
    (dropped,) = data.dropped
    assert (dropped.source, dropped.reason) == ("sad/none.png", "no face found")
    assert_as_the_recognizer(tmp_path, data)


def test_folders_that_are_numbers_are_named_by_classes_txt(tmp_path):
    fill(tmp_path, "10", "9", "1")
    (tmp_path / "classes.txt").write_text("happy\nsad\nangry\n")
    data = read(tmp_path)
    assert data.classes == ("happy", "sad", "angry")
    assert {s.split("/")[0] for s in data.sources["train"]} == {"1", "9", "10"}


def test_names_in_either_form_of_unicode_are_the_same(tmp_path):
    fill(tmp_path / "train", unicodedata.normalize("NFC", "über"), "sad")
    fill(tmp_path / "test", unicodedata.normalize("NFD", "über"), "sad")
    assert read(tmp_path).classes == ("sad", unicodedata.normalize("NFC", "über"))


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ((), "holds no data: put a folder of pictures for each class there, or a CSV"),
        (("happy",), "has one class only, happy; make a folder for each class"),
        (("",), "0.png is in no folder of a class; make a folder for each class"),
        (("a/happy", "a/sad", "a"), "a/0.png is in no folder of a class"),
        (("train/happy", "train/sad", "train"), "train/0.png is in no folder of a class"),
        (("train/happy", "train/sad", "sad"), "sad/0.png is in no split, but others are in"),
        (("train/Happy", "train/happy"), "the classes 'Happy' and 'happy' differ in case or blan"),
        (("happy", "hap py"), "the classes 'hap py' and 'happy' differ in case or blanks only"),
        (("test/happy", "test/sad"), "has no face for train, only for test"),
        (
            ("train/a", "train/b", "test/c"),
            "class c has 4 faces (test/c/0.png, test/c/1.png, test/c/2.png), 0 of them in train",
        ),
        (("train/images", "val/images"), "has one class only, images; make a folder for each"),
        (("x/train/a", "x/train/b", "y/train/a", "y/train/b"), "are in x/train and y/train; keep"),
        (
            ("happy", "sad", "test_images"),
            "test_images would be classes, but have the name of a spli",
        ),
        (("train_set/a", "train_set/b", "test_set/c"), "class c has 4 faces (test_set/c/0.png, t"),
        (
            ("bob/happy", "bob/sad", "eve/happy", "eve/sad"),
            "bob and eve would be classes, but hold the same",
        ),
        (map(str, range(257)), "has 257 classes; at most 256 are read"),
    ],
)
def test_layout_that_cannot_be_read_is_one_line(tmp_path, places, message):
    fill(tmp_path, *places)
    assert message in refusal(tmp_path)


def test_archive_without_folders_is_one_line(tmp_path):
    fill(tmp_path / "pictures", "")
    shutil.make_archive(tmp_path / "set/faces", "zip", tmp_path / "pictures")
    assert "faces.zip/0.png is in no folder of a class" in refusal(tmp_path / "set")


def test_faces_that_cannot_be_trained_on_are_one_line(tmp_path):
    fill(tmp_path / "one", "happy", "sad")
    noise(tmp_path / "one/angry/only.png")
    assert "class angry has 1 faces (angry/only.png), 1 of" in refusal(tmp_path / "one")
    fill(tmp_path / "leak", "train/happy", "train/sad", "val/happy")
    shutil.copytree(tmp_path / "leak/train", tmp_path / "leak/test")
    assert "every face of test is also in train; add other ones" in refusal(tmp_path / "leak")
    message = refusal(fill(tmp_path / "none", "happy", "sad"), face="detect")
    assert "no face is left for train; add different ones" in message


def test_copies_in_archives_are_refused(tmp_path):
    fill(tmp_path / "beside/faces", "happy", "sad")
    made = shutil.make_archive(str(tmp_path / "beside/faces"), "zip", tmp_path / "beside/faces")
    assert "pictures are in faces and faces.zip; keep one of them" in refusal(tmp_path / "beside")
    for name in ("a", "b"):
        (tmp_path / "two/dl").mkdir(parents=True, exist_ok=True)
        shutil.copy(made, tmp_path / f"two/dl/{name}.zip")
    assert "pictures are in dl/a.zip and dl/b.zip; keep one" in refusal(tmp_path / "two")


def test_unreadable_picture(tmp_path):
    fill(tmp_path, "happy", "sad")
    (tmp_path / "happy/bad.png").write_bytes(b"no picture")
    message = refusal(tmp_path)
    assert f"{tmp_path}/happy/bad.png: is not an image" in message
    assert message.endswith("or skip such pictures with prepare.on_error")
    (dropped,) = read(tmp_path, on_error="skip").dropped
    assert (dropped.source, dropped.reason) == ("happy/bad.png", "unreadable")
    for name in ("angry/1.png", "angry/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"no picture")
    message = refusal(tmp_path, on_error="skip")
    assert "class angry has 0 faces (), 0 of them in train" in message


def test_links_to_a_disk_that_is_not_mounted(tmp_path):
    fill(tmp_path, "happy", "sad")
    (tmp_path / "angry").mkdir()
    for number in range(3):
        (tmp_path / f"angry/{number}.png").symlink_to(tmp_path / f"disk/{number}.png")
    assert "angry/0.png: cannot be read: No such file or directory (1 of 3)" in refusal(tmp_path)
    assert "class angry has 0 faces" in refusal(tmp_path, on_error="skip")
    fill(tmp_path / "disk", "", count=2)
    (tmp_path / "disk").rename(tmp_path.parent / "mounted")
    for number in range(2):
        (tmp_path / f"angry/{number}.png").unlink()
        (tmp_path / f"angry/{number}.png").symlink_to(tmp_path.parent / f"mounted/{number}.png")
    dropped = read(tmp_path, on_error="skip").dropped
    assert [(face.source, face.reason) for face in dropped] == [("angry/2.png", "unreadable")]
    (tmp_path / "surprised").symlink_to(tmp_path / "disk")
    assert "surprised: cannot be read: No such file or directory" in refusal(tmp_path)


@pytest.mark.parametrize("pack", ["", "zip", "gztar"])
def test_empty_folders_are_named(tmp_path, capsys, pack):
    fill(tmp_path / "in", "train/happy", "train/sad", count=20)
    for name in ("train/angry", "train/fear", "val"):
        (tmp_path / "in" / name).mkdir()
    (tmp_path / "in/train/fear/.DS_Store").touch()
    if pack:
        (tmp_path / "out").mkdir()
        shutil.make_archive(str(tmp_path / "out/faces"), pack, tmp_path / "in")
    assert read(tmp_path / ("out" if pack else "in")).classes == ("happy", "sad")
    message = "warning: empty folders, which are no classes: 3, such as "
    assert message in capsys.readouterr().err


def test_warnings(tmp_path, capsys):
    fill(tmp_path / "train", "happy", "sad", count=12)
    fill(tmp_path / "test", "happy")
    (tmp_path / "train/happy/notes.txt").write_text("words")
    (tmp_path / "train/happy/.DS_Store").write_text("")
    assert sum(sizes(read(tmp_path)).values()) == 28
    assert capsys.readouterr().err == (
        "warning: files that are no pictures and are not read: 1, such as train/happy/notes.txt\n"
        "warning: val has 2 faces: a single one changes its accuracy by 50%\n"
        "warning: test has no face of sad\n"
        "warning: test has 4 faces: a single one changes its accuracy by 25%\n"
    )


def test_val_is_cut_without_faces_of_the_given_test(tmp_path):
    fill(tmp_path / "train", "happy", "sad", count=20)
    fill(tmp_path / "test", "happy", "sad", count=3)
    for number in range(10):
        shutil.copy(tmp_path / f"train/sad/{number}.png", tmp_path / f"test/sad/of{number}.png")
    splits = read(tmp_path, split=params.SplitShares(val=0.4, test=0.1)).splits
    assert not set(digests(splits["val"])) & set(digests(splits["test"]))
    assert len(splits["val"]) == 8 + 4


# -- splits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_", "cut"),
    [
        (("train", "test"), {"val": 4}),
        (("train", "val"), {"test": 4}),
        (("train",), {"val": 4, "test": 4}),
    ],
)
def test_missing_splits_are_cut_from_train_alone(tmp_path, given_, cut):
    for split in given_:
        fill(tmp_path / split, "happy", "sad", count=20)
    data = read(tmp_path)
    assert {split: len(data.splits[split]) for split in cut} == cut
    for split in set(given_) - {"train"}:
        assert len(data.splits[split]) == 40
        assert all(source.startswith(f"{split}/") for source in data.sources[split])
    assert len(data.splits["train"]) == 40 - sum(cut.values())
    assert len(set(chain(*data.sources.values()))) == 40 * len(given_)
    assert read(tmp_path, seed=1).sources != data.sources == read(tmp_path).sources


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.integers(2, 40), min_size=2, max_size=5),
    repeats=st.integers(1, 3),
    shares=st.sampled_from([{"val": 0.1, "test": 0.1}, {"val": 0.3}, {"test": 0.45, "val": 0.45}]),
)
def test_cut_is_stratified_and_keeps_identical_faces_together(seed, sizes, repeats, shares):
    labels = np.repeat(np.arange(len(sizes), dtype=np.uint8), sizes)
    images = np.random.default_rng(seed).integers(0, 256, (len(labels), 48, 48), dtype=np.uint8)
    order = np.random.default_rng(seed).permutation(len(labels) * repeats)
    rows = np.tile(np.arange(len(labels)), repeats)[order]
    faces = Faces(images[rows], labels[rows], tuple(map(str, range(len(sizes)))))
    sides = splitting.assign_splits(faces, shares, seed)
    assert (sides == splitting.assign_splits(faces, shares, seed)).all()
    where = {}
    for digest, side in zip(digests(faces), sides, strict=True):
        assert where.setdefault(digest, side) == side
    for label, count in enumerate(sizes):
        own = {split: (sides[faces.labels == label] == split).sum() for split in ("train", *shares)}
        assert own["train"] > 0
        for split, share in shares.items():
            assert own[split] <= max(repeats, np.ceil(share * count) * repeats)
            if count > len(shares):
                assert own[split] > 0


# -- tables ----------------------------------------------------------------------------------------


def table(folder, *lines, header="path,label", name="labels.csv"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *lines, ""]), encoding="utf-8")
    return folder


def listed(folder, count=6):
    fill(folder, "all", count=count)
    return [f"all/{n}.png,{('happy', 'sad')[n % 2]}" for n in range(count)]


def test_table_with_splits_relative_to_its_own_folder(tmp_path):
    lines = [f"{line.removeprefix('all/')},{s}" for line in listed(tmp_path) for s in ("train",)]
    lines[-2:] = [line.replace(",train", ",Valid") for line in lines[-2:]]
    table(tmp_path, *lines, header="Path, Label, split", name="all/labels.txt")
    data = read(tmp_path)
    assert len(data.splits["val"]) == 2
    assert data.sources["val"] == ["all/4.png", "all/5.png"]


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("image,label", "labels.csv"),
        ("pth,label,extra", "labels.csv"),
        ("File_Name;Class", "x.txt"),
        ("img\temotion", "labels.tsv"),
        ("filename,expression", "all/labels.csv"),
        ("", "labels.txt"),
    ],
)
def test_tables_by_usual_names_of_columns_and_lists_of_pictures(tmp_path, header, name):
    extra = ",0" if "extra" in header else ""
    mark = next((mark for mark in "\t;," if mark in header), " ")
    for number in range(12):  # the picture's name alone, as in Kaggle's RAF-DB
        noise(tmp_path / f"all/{number % 2}/{number:04d}.png")
    lines = [f"{n:04d}.png{mark}{('happy', 'sad')[n % 2]}{extra}" for n in range(12)]
    first, *others = lines
    header = [header] if header else []
    path = tmp_path / name
    path.write_text("\n".join([*header, first, *others, ""]))
    data = read(tmp_path)
    assert data.format == "a table of files"
    assert data.classes == ("happy", "sad")
    assert sum(sizes(data).values()) == 12
    for split, faces in data.splits.items():
        assert [source.split("/")[1] for source in data.sources[split]] == [*map(str, faces.labels)]
    noise(tmp_path / "more/0003.png")
    line = 5 if header else 4
    message = f"line {line}: 2 of the pictures is '0003.png'; write its path rel"
    assert message in refusal(tmp_path)


def test_one_list_per_split(tmp_path):
    fill(tmp_path, "all", count=12)
    for place, name in enumerate(("train", "val", "test")):
        numbers = range(4 * place, 4 * place + 4)
        lines = [f"all/{number}.png {number % 2}.0\n" for number in numbers]
        (tmp_path / f"{name}_list.txt").write_text("".join(lines))
    data = read(tmp_path)
    assert data.sources["val"] == [f"all/{number}.png" for number in range(4, 8)]
    assert data.classes == ("0", "1")
    shutil.copy(tmp_path / "val_list.txt", tmp_path / "dev_list.txt")
    assert (
        "has dev_list.txt and test_list.txt; keep one table of files, or one per split"
        in refusal(tmp_path)
    )


def test_absolute_paths_of_a_table(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "set")
    lines = [f"{tmp_path}/link/{line}" for line in listed(tmp_path / "set", 12)]
    assert sum(sizes(read(table(tmp_path / "set", *lines))).values()) == 12
    noise(tmp_path / "other/0.png")
    for path in (f"{tmp_path}/other/0.png", "C:\\Users\\me\\0.png"):
        message = refusal(table(tmp_path / "set", *lines, f"{path},sad"))
        assert "labels.csv: line 14: none of the pictures is" in message
        assert message.endswith("write its path relative to the data set's folder")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("all/9.png,sad", "labels.csv: line 8: none of the pictures is 'all/9.png'"),
        ("all/0.png,sad", "labels.csv: line 8: lists 'all/0.png' again"),
        ("\nall/0.png", "labels.csv: line 9: does not have 2 columns; correct the line"),
        ("all/6.png,", "labels.csv: line 8: its label is ''; write the name of a class"),
    ],
)
def test_line_of_a_table_that_is_wrong(tmp_path, line, message):
    lines = listed(tmp_path)
    noise(tmp_path / "all/6.png")
    assert message in refusal(table(tmp_path, *lines, line))


@pytest.mark.parametrize("mark", [",", ", ", ";", "\t"])
def test_blanks_quotes_and_separators_of_a_table(tmp_path, mark):
    lines = [line.replace(",", f'{mark}"') + '"' for line in listed(tmp_path, 12)]
    assert read(table(tmp_path, *lines, header=f'path{mark}"label"')).classes == ("happy", "sad")
    lines.append(f'all/0.png{mark}"happy')
    assert "labels.csv: is not a CSV" in refusal(table(tmp_path, *lines, header=f"path{mark}label"))


def test_pictures_that_a_table_does_not_list_are_counted(tmp_path, capsys):
    lines = listed(tmp_path, 12)
    noise(tmp_path / "all/more.png")
    read(table(tmp_path, *lines))
    message = "warning: pictures without a label, which are not read: 1, such as all/more.png\n"
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (("train", "train", "dev-test"), "line 4: split is 'dev-test'; write train, val or test"),
        (("train", "", "train"), "line 3: split is ''; write train, val or test"),
        (("test", "test", "test"), "has no face for train, only for test"),
    ],
)
def test_splits_of_a_table(tmp_path, splits, message):
    lines = [f"{line},{split}" for line, split in zip(listed(tmp_path, 3), splits, strict=True)]
    for column in ("split", "Usage", "partition"):
        assert message in refusal(table(tmp_path, *lines, header=f"path,label,{column}"))


def test_rafdb(tmp_path):
    layouts.rafdb(tmp_path)
    data = read(tmp_path)
    assert data.format == "RAF-DB"
    assert data.classes[3] == "Happiness"
    assert len(data.splits["test"]) == 14
    assert set(data.splits["test"].labels.tolist()) == set(range(7))
    rows = dict(zip(data.sources["test"], data.splits["test"].labels.tolist(), strict=True))
    assert rows["Image/aligned/test_00003_aligned.jpg"] == 3  # line `test_00003.jpg 4`
    original = tmp_path / "Image/original/train_00000.jpg"
    noise(original)
    (tmp_path / "Image/aligned/train_00000_aligned.jpg").unlink()
    assert "Image/original/train_00000.jpg" in read(tmp_path).sources["train"]
    original.unlink()
    assert "list_patition_label.txt: line 1: none of the pictures is" in refusal(tmp_path)


# -- FER+ ------------------------------------------------------------------------------------------


def votes(**counts):
    columns = (*ferplus.CLASSES, "unknown", "NF")
    return np.array([counts.get(name, 0) for name in columns])


@pytest.mark.parametrize(
    ("cast", "majority", "shares"),
    [
        ({"anger": 10}, "anger", {"anger": 1.0}),
        ({"anger": 6, "fear": 4}, "anger", {"anger": 0.6, "fear": 0.4}),
        ({"anger": 5, "fear": 5}, "unknown", {"anger": 0.5, "fear": 0.5}),
        ({"anger": 9, "fear": 1}, "anger", {"anger": 1.0}),  # one vote does not count
        ({"NF": 10}, "NF", {"NF": 1.0}),
        ({"unknown": 6, "fear": 4}, "unknown", {"unknown": 1.0}),
        ({"fear": 6, "unknown": 4}, "fear", {"fear": 1.0}),
        ({}, "unknown", {"unknown": 1.0}),
        ({"anger": 3, "fear": 3, "neutral": 2, "sadness": 2}, "unknown", {"unknown": 1.0}),
    ],
)
def test_votes_become_labels_as_in_the_paper(cast, majority, shares):
    np.testing.assert_allclose(ferplus.majority(votes(**cast)), votes(**{majority: 1}))
    np.testing.assert_allclose(ferplus.vote_shares(votes(**cast)), votes(**shares))


def test_ferplus_by_majority_and_soft(tmp_path):
    layouts.ferplus(tmp_path)
    hard, soft = (read(tmp_path, votes=name) for name in ("majority", "soft"))
    assert (hard.format, hard.classes) == ("FER+", ferplus.CLASSES)
    assert {one.reason for one in hard.dropped} == {"no face"}
    assert len(hard.dropped) + sum(sizes(hard).values()) == 84
    assert hard.splits["train"].soft_labels is None
    shares = soft.splits["train"].soft_labels
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(np.unique(shares.round(3)), [0, 0.3, 0.7], rtol=1e-6)
    assert (shares.argmax(1) == soft.splits["train"].labels).all()
    assert (soft.splits["val"].soft_labels.max(1) == 1).all()
    np.testing.assert_array_equal(soft.splits["test"].labels, hard.splits["test"].labels)


def test_ferplus_whose_rows_are_not_those_of_the_csv(tmp_path):
    layouts.ferplus(tmp_path)
    path = tmp_path / "fer2013new.csv"
    header, first, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *rows]))
    assert "fer2013.csv has 84 rows, and fer2013new.csv 83" in refusal(tmp_path)
    path.write_text("\n".join([header, first + "x", *rows]))
    assert "fer2013new.csv: line 2: has no Usage and 10 numbers of votes" in refusal(tmp_path)
    (tmp_path / "fer2013.csv").unlink()
    assert "FER+ needs one CSV of FER2013 and one file of votes" in refusal(tmp_path)


# -- all of them -----------------------------------------------------------------------------------


def test_zip_of_nine_classes(tmp_path):
    layouts.nine_classes(tmp_path)
    data = read(tmp_path)
    assert len(data.classes) == 9
    assert data.sources["test"][0].startswith("faces/some/where/test/$x_1$/")


def test_other_file_is_named(tmp_path):
    (tmp_path / "table.csv").write_text("a,b,c\n1,2,3\n")
    message = refusal(tmp_path)
    assert message.startswith(f"{tmp_path} holds no data that is recognized (found table.csv): put")
