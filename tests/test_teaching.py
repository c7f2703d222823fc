from pathlib import Path

import pytest
import torch

from fer import params
from fer.faces import Faces
from fer.training.fit import checkpoint_path, fit
from fer.training.loading import loader
from fer.training.networks import build
from fer.training.teaching import ask

CPU = torch.device("cpu")
RECIPE = params.load(Path(__file__).parents[1] / "params.yaml").recipe.changed(
    {
        **{"model.width": 0.5, "train.batch_size": 16, "train.augment.rotation": 30.0},
        **{"train.distill.weight": 1.0, "train.distill.views": 2},
    }
)


@pytest.fixture(scope="module")
def teacher():
    torch.manual_seed(1)
    return build(RECIPE.model, 7).eval()


def train(faces, teacher, recipe=RECIPE, epochs=3, checkpoint=None, on_epoch=lambda history: None):
    return fit(
        recipe, faces, faces, epochs, CPU, on_epoch=on_epoch, checkpoint=checkpoint, teacher=teacher
    )


def batches(faces):
    return loader(faces, RECIPE.train.augment, batch_size=16, seed=0, num_workers=0, device=CPU)


def test_the_words_are_of_the_views_that_the_student_gets(faces, teacher):
    words = ask(teacher, batches(faces), 2, torch.float32, quiet=True)
    assert [each.shape for each in words] == [(len(faces), 7)] * 2
    again = batches(faces)
    for again.sampler.epoch, said in enumerate(words):
        with torch.inference_mode():
            expected = torch.cat([teacher(images) for images, _ in again])
        torch.testing.assert_close(said.float(), expected, rtol=2e-3, atol=2e-3)  # of float16
    assert not torch.equal(words[0].sort(0).values, words[1].sort(0).values)


def test_with_a_weight_of_1_only_the_teacher_counts(faces, teacher):
    def weights(train_faces, teacher):
        network, _ = fit(
            RECIPE, train_faces, faces, 2, CPU, on_epoch=lambda history: None, teacher=teacher
        )
        return torch.cat([p.flatten() for p in network.parameters()])

    ours = weights(faces, teacher)
    turned = Faces(faces.images, faces.labels[::-1].copy(), faces.classes)
    assert torch.equal(ours, weights(turned, teacher))
    assert not torch.equal(ours, weights(faces, build(RECIPE.model, 7).eval()))


def test_goes_on_after_a_stop_without_asking_again(faces, teacher, tmp_path, monkeypatch):
    whole, _ = train(faces, teacher)
    path = tmp_path / "run.ckpt"

    def stop(history):
        if len(history) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(faces, teacher, checkpoint=path, on_epoch=stop)
    monkeypatch.setattr("fer.training.fit.ask", None)
    resumed, _ = train(faces, teacher, checkpoint=path)
    for ours, theirs in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_asking_is_told_in_lines(faces, teacher, capsys):
    ask(teacher, batches(faces), 2, torch.float32, quiet=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"asked the teacher: {n} of 2 views" for n in (1, 2)]


def test_another_teacher_is_another_run(faces, teacher):
    other = build(RECIPE.model, 7)
    paths = {checkpoint_path(RECIPE, faces, faces, 3, each) for each in (None, teacher, other)}
    assert len(paths) == 3
