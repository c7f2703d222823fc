import wandb
from PIL import Image

from fer import tracking


def test_offline_run_is_kept_on_disk(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.new("L", (4, 4)).save(tmp_path / "figure.png")
    with tracking.run("offline", "test", {"lr": 0.1}) as run:
        run.log({"loss": 1.0})
        run.add_images([tmp_path / "figure.png"])
        run.add_files("faces", "model", [tmp_path / "figure.png"])
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert list(tmp_path.glob("wandb/offline-run-*/files/media/images/figure*.png"))
    assert capsys.readouterr().err == ""


def test_run_of_a_temporary_experiment_is_kept_in_the_repository(tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.chdir(tmp_path / "temporary")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    with tracking.run("offline", "test", {}) as run:
        run.log({"loss": 1.0})
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))


def test_no_failure_of_wandb_ends_a_run(monkeypatch, capsys):
    def fail(*_, **__):
        raise RuntimeError("no such server\nand more")

    monkeypatch.setattr(wandb, "init", fail)
    done = []
    with tracking.run("online", "test", {}) as run:
        run.log({"loss": 1.0})
        done.append(True)
    assert done
    assert capsys.readouterr().err == "warning: W&B logs no more of this run: no such server\n"
