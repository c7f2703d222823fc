import pytest
import wandb
from PIL import Image

from fer.training import wandb_log


@pytest.fixture(autouse=True)
def no_data_folder_of_other_tests(monkeypatch):
    monkeypatch.delenv("WANDB_DATA_DIR", raising=False)


def test_offline_run_is_kept_on_disk(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.new("L", (4, 4)).save(tmp_path / "figure.png")
    with wandb_log.run("offline", "test", {"lr": 0.1}) as run:
        run.log({"loss": 1.0})
        run.add_images([tmp_path / "figure.png"])
        run.add_files("faces", "model", [tmp_path / "figure.png"])
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert list(tmp_path.glob("wandb/offline-run-*/files/media/images/figure*.png"))
    assert list(tmp_path.glob("wandb/artifacts/staging/*"))  # not in the home folder
    assert capsys.readouterr().err == ""


def test_run_of_a_temporary_experiment_is_kept_in_the_repository(tmp_path, monkeypatch):
    """And the variable of W&B wins over params.yaml."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.chdir(tmp_path / "temporary")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "offline")
    with wandb_log.run("disabled", "test", {}) as run:
        run.log({"loss": 1.0})
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))


def test_no_failure_of_wandb_ends_a_run(monkeypatch, capsys):
    def fail(*_, **__):
        raise RuntimeError("no such server\nand more")

    monkeypatch.setattr(wandb, "init", fail)
    done = []
    with wandb_log.run("online", "test", {}) as run:
        run.log({"loss": 1.0})
        done.append(True)
    assert done
    assert capsys.readouterr().err == "warning: W&B logs no more of this run: no such server\n"


@pytest.mark.parametrize(("mode", "environment"), [("disabled", ""), ("offline", "disabled")])
def test_disabled_writes_nothing(tmp_path, monkeypatch, mode, environment):
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_MODE", environment)
    (tmp_path / "model").touch()
    with wandb_log.run(mode, "test", {}) as run:
        run.log({"loss": 1.0})
        run.add_files("faces", "model", [tmp_path / "model"])
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["home", "model"]
