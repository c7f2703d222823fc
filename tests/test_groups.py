"""Pictures of one person in one split, and warnings where they are in several."""

from pathlib import Path

import layouts
import numpy as np
import pytest
from PIL import Image
from test_formats import noise, read, refusal

from fer.core.faces import Faces
from fer.core.params import SplitShares
from fer.data import similar
from fer.tuning import finals


def people(folder, pattern="{person}_{number}.png", count=10):
    """Ten people with 2 to 6 pictures in each of two classes."""
    for person in range(count):
        for label in ("happy", "sad"):
            for number in range(2 + person % 5):
                noise(folder / label / pattern.format(person=f"p{person}", number=number))
    return folder


def grouped(group):
    return SplitShares(val=0.2, test=0.2, group=group)


@pytest.mark.parametrize(
    ("pattern", "group", "person"),
    [
        ("{person}_{number}.png", r"^\w+?_", lambda s: Path(s).name.partition("_")[0]),
        ("{person}/{number}.png", "folder", lambda s: Path(s).parent.name),
        ("{person}/{number}.png", r"/p\d+/", lambda s: Path(s).parent.name),
    ],
)
def test_group_is_in_one_split_and_classes_are_balanced(tmp_path, pattern, group, person):
    people(tmp_path, pattern)
    data = read(tmp_path, split=grouped(group))
    where = {split: {person(source) for source in own} for split, own in data.sources.items()}
    assert sum(map(len, where.values())) == 10
    assert all(where.values())
    for split, faces in data.splits.items():
        assert 0.4 < faces.labels.mean() < 0.6
        assert len(set(data.groups[split])) == len(where[split])
    assert 0.1 < len(data.splits["test"]) / 80 < 0.3
    assert read(tmp_path, split=grouped(group)).sources == data.sources


def test_identical_pictures_join_their_groups(tmp_path):
    people(tmp_path)
    content = (tmp_path / "happy/p0_0.png").read_bytes()
    for person in range(1, 6):  # one picture of each is the same
        (tmp_path / f"sad/p{person}_0.png").write_bytes(content)
    data = read(tmp_path, split=grouped(r"^\w+?_"))
    (split,) = [s for s, own in data.sources.items() if "happy/p0_0.png" in own]
    assert {f"sad/p{person}_1.png" for person in range(6)} <= set(data.sources[split])


@pytest.mark.parametrize(
    ("group", "message"),
    [
        (r"^\d+_", "'^\\\\d+_', which matches no picture, such as happy/p0_0.png; correct it"),
        ("folder", "which gives one group per class, but a class must be in several splits"),
        (r"^p", "finds 1 groups for train, val and test; each needs one"),
    ],
)
def test_pattern_that_gives_no_groups_is_one_line(tmp_path, group, message):
    people(tmp_path)
    assert message in refusal(tmp_path, split=grouped(group))


def test_given_splits_with_shared_groups_are_warned_of(tmp_path, capsys):
    for split in ("train", "val", "test"):
        people(tmp_path / split, count=3)
    read(tmp_path, split=grouped(r"^\w+?_"))
    warning = "groups of prepare.split.group in several splits: 3, such as p0_"
    assert warning in capsys.readouterr().err


@pytest.mark.parametrize(
    ("pattern", "warns"),
    [
        ("{person}_{number}.png", True),
        ("{person}-take-0{number}.png", True),
        ("{number}_{person}x.png", False),
        ("happy_{person}{number}.png", False),  # the class, and a number
        ("img{number}.png", False),  # as most are
    ],
)
def test_names_that_share_a_stem_are_warned_of(tmp_path, capsys, pattern, warns):
    for split in ("train", "val", "test"):
        people(tmp_path / split, pattern)
    read(tmp_path)
    err = capsys.readouterr().err
    assert ("are called like one in train" in err) == warns


def test_same_picture_in_another_size_or_light_is_found():
    generator = np.random.default_rng(0)
    faces = np.stack([layouts.draw("Happy", generator) for _ in range(30)])
    noisy = np.asarray(Image.fromarray(faces[3]).resize((40, 40)).resize((48, 48)))
    darker = (0.6 * faces[4]).astype(np.uint8)
    strangers = generator.integers(0, 256, (2, 48, 48), dtype=np.uint8)
    test = np.concatenate([[noisy, darker, faces[5]], strangers])
    splits = {
        name: Faces(images, np.zeros(len(images), np.uint8), ("a", "b"))
        for name, images in (("train", faces), ("val", strangers), ("test", test))
    }
    sources = {name: [f"{name}/{i}.png" for i in range(len(f))] for name, f in splits.items()}
    pairs = similar.similar_pairs(splits, sources)
    assert {(pair[2], pair[4]) for pair in pairs} == {
        ("test/0.png", "train/3.png"),
        ("test/1.png", "train/4.png"),
        ("test/2.png", "train/5.png"),
    }
    assert pairs[0][2::3] == ("test/2.png", 1.0)
    assert all(pair[-1] < 1 for pair in pairs[1:])


def test_folds_of_the_search_keep_groups(faces):
    groups = np.array([f"person {i}" for i in np.arange(70) // 5 % 7])
    different, folds = finals.split_folds(faces, 3, 0, groups)
    fold = folds[different]
    for name in set(groups):
        assert len(set(fold[groups == name])) == 1
    assert set(fold) == {0, 1, 2}
    plain, ungrouped = (finals.split_folds(faces, 3, 0, own) for own in (None, np.full(70, "")))
    np.testing.assert_array_equal(plain, ungrouped)
    with pytest.raises(Exception, match="there are only 7 groups"):
        finals.split_folds(faces, 8, 0, groups)
