import wandb

from fer import tracking


def test_offline_run_is_kept_on_disk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_MODE")
    with tracking.run("offline", "test", {"lr": 0.1}) as log:
        log({"loss": 1.0})
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))


def test_no_failure_of_wandb_ends_a_run(monkeypatch, capsys):
    def fail(*_, **__):
        raise RuntimeError("no such server\nand more")

    monkeypatch.setattr(wandb, "init", fail)
    done = []
    with tracking.run("online", "test", {}) as log:
        log({"loss": 1.0})
        done.append(True)
    assert done
    assert capsys.readouterr().err == "warning: not tracked by W&B: no such server\n"
