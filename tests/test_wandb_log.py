import pytest
import wandb
from PIL import Image

from fer.core.errors import FerError
from fer.training import wandb_log


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.mark.parametrize(("mode", "environment"), [("offline", None), ("disabled", "offline")])
def test_offline_run_is_kept_in_the_repository(tmp_path, monkeypatch, capsys, mode, environment):
    """Also the run of a temporary experiment, which works in another folder."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.chdir(tmp_path / "temporary")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("WANDB_MODE", raising=False)
    if environment:
        monkeypatch.setenv("WANDB_MODE", environment)
    Image.new("L", (4, 4)).save("figure.png")
    with wandb_log.run(mode, "test", {"lr": 0.1}) as run:
        run.log({"loss": 1.0, "figure": tmp_path / "temporary" / "figure.png"})
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert list(tmp_path.glob("wandb/offline-run-*/files/media/images/figure*.png"))
    assert capsys.readouterr().err == ""
    assert not list((tmp_path / "home").rglob("*figure*"))


@pytest.mark.parametrize(("mode", "environment"), [("disabled", ""), ("offline", "disabled")])
def test_disabled_writes_nothing(tmp_path, monkeypatch, mode, environment):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", environment)
    with wandb_log.run(mode, "test", {}) as run:
        run.log({"loss": 1.0})
    assert [path.name for path in tmp_path.rglob("*")] == ["home"]


def test_unknown_mode_is_one_line(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "nonsense")
    message = "^WANDB_MODE is 'nonsense'; set it to offline, online"
    with pytest.raises(FerError, match=message), wandb_log.run("offline", "test", {}):
        pass


def test_no_failure_of_wandb_ends_a_run(monkeypatch, capsys):
    def fail(*_, **__):
        raise RuntimeError("no such server\nand more")

    monkeypatch.setattr(wandb, "init", fail)
    with wandb_log.run("online", "test", {}) as run:
        run.log({"loss": 1.0})
    assert capsys.readouterr().err == "warning: W&B logs no more of this run: no such server\n"
