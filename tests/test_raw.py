import pytest

from fer.data import raw
from fer.errors import FerError


def fill(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["README.md", "mine.csv"], "mine.csv"),
        (["mine.tar.gz", "any.csv"], "any.csv"),
        (["example_submission.csv", "fer2013.tar.gz"], "fer2013.tar.gz"),
        (["fer2013.csv", "icml_face_data.csv", "fer2013.tar.gz"], "fer2013.csv"),
        (["FER2013.CSV", "notes.txt"], "FER2013.CSV"),
        (["fer2013.gz", "fer2013.tar.gz"], "fer2013.tar.gz"),
        (["icml_face_data.csv", "fer2013_notes.csv"], "icml_face_data.csv"),
        (["mine.csv", "fer2013.bib.zip"], "mine.csv"),
        (["x.zip", "x.tar.gz"], "x.zip"),
        (["README.md", "x.zip"], "x.zip"),
        (["fer2013/fer2013.csv", "fer2013/README"], "fer2013/fer2013.csv"),
        (["icml_face_data.csv", "train.csv", "test.csv"], "icml_face_data.csv"),
        (["._mine.csv", "mine.csv", ".DS_Store"], "mine.csv"),
        ([".writing-x/mine.csv", "mine.csv"], "mine.csv"),
    ],
)
def test_finds_what_the_user_put_there(tmp_path, names, found):
    assert raw.find(fill(tmp_path, *names)) == tmp_path / found


def test_nothing_there_says_what_to_put_where(tmp_path):
    with pytest.raises(FerError, match="put Kaggle's fer2013") as error:
        raw.find(fill(tmp_path, "README.md"))
    assert str(tmp_path) in str(error.value)
    assert "https://www.kaggle.com/" in str(error.value)
    assert "`dataset: sample` in params.yaml" in str(error.value)


def test_two_that_it_may_be_is_an_error(tmp_path):
    with pytest.raises(FerError, match=r"needs one file of faces .*a\.csv.*b\.csv"):
        raw.find(fill(tmp_path, "a.csv", "b.csv"))


def test_links_are_read_and_the_files_stay(tmp_path):
    source = fill(tmp_path / "source", "README.md", "folder/mine.csv")
    folder = fill(tmp_path / "run", "README.md")
    raw.link(source, folder)
    raw.link(source, folder)
    found = raw.find(folder)
    assert found == folder / "folder/mine.csv"
    assert found.read_text() == "folder/mine.csv"
    assert not (folder / "README.md").is_symlink()
    found.unlink()
    assert raw.find(source).read_text() == "folder/mine.csv"


def test_folder_is_not_linked_to_itself(tmp_path):
    fill(tmp_path, "mine.csv")
    raw.link(tmp_path, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.csv"]
    assert not raw.find(tmp_path).is_symlink()


def test_reads_linked_folders(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/linked").symlink_to(fill(tmp_path / "elsewhere", "mine.csv"))
    assert raw.find(tmp_path / "raw") == tmp_path / "raw/linked/mine.csv"


def test_link_that_cannot_be_made_is_a_clear_error(tmp_path):
    source = fill(tmp_path / "source", "mine.csv")
    (tmp_path / "file").write_text("")
    with pytest.raises(FerError, match="cannot be linked: Not a directory"):
        raw.link(source, tmp_path / "file" / "folder")
