"""Cross-validate networks of the size of `nano`, for docs/experiments.md.

    python -m scripts.architectures [--epochs 18] [--folds 5] [--processes 2]

FER2013 must be prepared (`dvc repro prepare` with `dataset: fer2013`). Training is without a
teacher, each process on one core. All networks are trained on the first fold. The best third go
on, and are compared with the baseline on the other folds. The table is printed after each fold. A
stopped run resumes. With 18 epochs it takes 70 minutes on two cores with bfloat16.
"""

import argparse
import hashlib
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fer import params, tracking
from fer.errors import FerError, exit_on_error, stop_in_one_line
from fer.machine import cores
from fer.params import Model, Params, TrainingConfig
from fer.training import checkpoint, runs
from fer.training.device import pick_device
from fer.training.evaluation import predict_logits
from fer.training.fit import DivergedError
from fer.training.networks import NETWORKS, Network, parameter_count
from fer.training.networks.compact import Convolution
from fer.training.networks.network import batch_norm
from fer.tuning import finals
from fer.tuning.search import SearchTask
from fer.tuning.space import Space, Trial

DATA = Path("data/fer2013")

BASELINE = "16 p 32 32 p 40 40 s64 s64 s64"
"""`compact`."""

CANDIDATES = (
    BASELINE,
    "16 16 p 32 32 p 40 40 s64 s64",
    "16 p 24 24 24 p 40 40 s64 s64 s64 s64",
    "16 p 32 32 32 p 40 s64 s64 s64 s64",
    "16 p 32 32 p 40 s64 s64 s64 s64 s64",
    "16 p 32 32 p s80 s80 s80 s80 s80",
    "16 p 32 32 p 40 40 s64 p s64 s64",
    "16 p 32 32 p 40 40 k64 k64 k64",
    "16 p 32 32 p 40 40 + s64 s64 s64",
    "16 p r32 r32 p r40 r40 s64 s64 s64",
    "16 p d12 d12 d12 p d12 d12 d12 d12 s64 s64",
    "16 p 32 32 p 40 i40 i40 i40 s64",
    "16 p 32 32 32 p 40 k64 k64 k64 k64",
    "16 p 32 32 p 40 k64 k64 k64 k64 k64",
    "16 p 32 32 p 40 40 l64 l64 l64",
)
"""Networks, layer by layer; `layer` explains the notation."""


class LargeKernel(nn.Module):
    """Separable convolution like that of `compact`, with a larger kernel."""

    def __init__(self, inputs: int, outputs: int, *, size: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            inputs, inputs, size, padding=size // 2, groups=inputs, bias=False
        )
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn = batch_norm(outputs)
        self.residual = inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map float [N, inputs, H, W] to [N, outputs, H, W]."""
        y = self.bn(self.pointwise(self.depthwise(x)))
        return (x + y if self.residual else y).relu()


class InvertedResidual(nn.Module):
    """Inverted residual with twice the channels inside (Sandler et al. 2018, arXiv:1801.04381)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        inside = 2 * outputs
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, inside, 1, bias=False),
            batch_norm(inside),
            nn.ReLU(),
            nn.Conv2d(inside, inside, 3, padding=1, groups=inside, bias=False),
            batch_norm(inside),
            nn.ReLU(),
            nn.Conv2d(inside, outputs, 1, bias=False),
            batch_norm(outputs),
        )
        self.residual = inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map float [N, inputs, H, W] to [N, outputs, H, W]."""
        y = self.layers(x)
        return x + y if self.residual else y


class Dense(nn.Module):
    """Appends channels to its input (Huang et al. 2017, arXiv:1608.06993)."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.layer = Convolution(inputs, growth)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map float [N, inputs, H, W] to [N, inputs + growth, H, W]."""
        return torch.cat((x, self.layer(x)), 1)


class Branches(nn.Module):
    """3x3 convolution with a parallel 1x1 convolution while it is trained (RepVGG).

    Both and the residual connection can be fused into one 3x3 convolution afterwards (Ding et al.
    2021, arXiv:2101.03697).
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn = batch_norm(outputs)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.pointwise_bn = batch_norm(outputs)
        self.identity_bn = batch_norm(outputs) if inputs == outputs else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map float [N, inputs, H, W] to [N, outputs, H, W]."""
        y = self.bn(self.conv(x)) + self.pointwise_bn(self.pointwise(x))
        return (y + self.identity_bn(x) if self.identity_bn else y).relu()


class Position(nn.Module):
    """Adds a trained map per channel, so that later layers know where in the face they are."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.maps = nn.Parameter(torch.zeros(1, channels, 11, 11))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map float [N, inputs, H, W] to [N, inputs, H, W]."""
        maps = self.maps
        if x.shape[2:] != maps.shape[2:]:
            maps = nn.functional.interpolate(maps, x.shape[2:], mode="bilinear")
        return x + maps


def layer(token: str, inputs: int) -> tuple[nn.Module, int]:
    """Return a layer of a network and the number of its output channels.

    Args:
        token: "p": max pooling that halves the size. "+": a trained map per channel. "64": 3x3
            convolution to 64 channels. "s64": a separable one. "k64", "l64": the same with kernels
            of 5x5 and 7x7. "i64": an inverted residual. "r64": 3x3 convolution with branches that
            can be fused. "d12": 3x3 convolution that appends 12 channels.
        inputs: Number of input channels.
    """
    if token == "p":
        return nn.MaxPool2d(3, stride=2, padding=1), inputs
    if token == "+":
        return Position(inputs), inputs
    kind, channels = token.rstrip("0123456789"), int(token.lstrip("sklird"))
    kinds = {
        "": Convolution,
        "s": partial(Convolution, separable=True),
        "k": partial(LargeKernel, size=5),
        "l": partial(LargeKernel, size=7),
        "i": InvertedResidual,
        "r": Branches,
        "d": Dense,
    }
    return kinds[kind](inputs, channels), channels + inputs if kind == "d" else channels


class Candidate(Network):
    """A network in the notation of `CANDIDATES`.

    Args:
        notation: The layers.
        width: Not used.
        classes: Number of classes.
    """

    def __init__(self, notation: str, width: float, classes: int) -> None:
        super().__init__()
        layers, channels = [], 1
        for token in notation.split():
            module, channels = layer(token, channels)
            layers.append(module)
        self.layers = nn.Sequential(*layers)
        self.head = nn.Conv2d(channels, classes, 1)

    def maps(self, x: torch.Tensor) -> torch.Tensor:
        """Return class maps float [N, classes, H/4, W/4], sizes rounded up.

        Args:
            x: Faces, float [N, 1, H, W], 0 to 1.
        """
        return self.head(self.layers(x))


def multiply_adds(network: nn.Module) -> int:
    """Return the multiply-adds of all convolutions for one face of 44x44 pixels."""
    total = 0

    def count(module: nn.Conv2d, _: object, output: torch.Tensor) -> None:
        nonlocal total
        total += module.weight.numel() * output[0, 0].numel()

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d)]
    network.eval()(torch.zeros(1, 1, 44, 44))
    for hook in hooks:
        hook.remove()
    return total


def main() -> None:
    stop_in_one_line()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=18, help="epochs per fold")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=cores())
    arguments = parser.parse_args()
    for name, least in (("epochs", 1), ("folds", 2), ("processes", 1)):
        if getattr(arguments, name) < least:
            raise FerError(f"--{name} is {getattr(arguments, name)}; use {least} or more")
    p = params.load()  # once: a change of params.yaml during the run must not mix configurations
    folds = finals.split_folds(runs.load(DATA).train, arguments.folds, p.tune.seed)
    correct = {notation: np.zeros(len(folds), bool) for notation in CANDIDATES}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.processes, mp_context=context) as pool:
        for fold in range(arguments.folds):
            results = pool.map(partial(train, p, folds, arguments.epochs, fold), correct)
            for notation, answers in zip(correct, results, strict=True):
                correct[notation][folds == fold] = answers
            print_table(correct, folds, fold + 1)
            if fold == 0:
                correct = best_third(correct)


def best_third(correct: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the baseline and the best third of the other networks."""
    others = sorted(set(correct) - {BASELINE}, key=lambda name: -correct[name].sum())
    return {name: correct[name] for name in [BASELINE, *others[: len(others) // 3]]}


def train(p: Params, folds: np.ndarray, epochs: int, fold: int, notation: str) -> np.ndarray:
    """Train a network without the faces of a fold, or read the kept result of an earlier run.

    Args:
        p: The parameters; their network is replaced.
        folds: The fold of each training face.
        epochs: Number of epochs.
        fold: The fold that is held out.
        notation: The network.

    Returns:
        bool [M], whether each of the M held-out faces is classified correctly. All are False if
        the training diverges.
    """
    stop_in_one_line()
    torch.set_num_threads(1)
    NETWORKS[notation] = partial(Candidate, notation)
    splits, device = runs.load(DATA), pick_device(p.settings.device)
    task = SearchTask(splits.train, splits.val_unique, p.config, Space(p.config, p.tune), device)
    held_out, others, config = list(finals.runs(task, Trial(0, {}, None), folds))[fold]
    config = with_network(config, notation)
    # The key of a run covers the code of the library, but not the layers of this file.
    code = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    result = Path(".checkpoints/architectures", code, others.checkpoint(config, epochs).name)
    if not result.exists():
        correct = np.zeros(held_out.sum(), bool)
        try:
            track = partial(tracking.run, "disabled")
            network, _ = others.run(notation, config, epochs, track, quiet=True)
            images = torch.tensor(splits.train.images[held_out], device=device)
            predicted = predict_logits(network, images).argmax(1).numpy()
            correct = predicted == splits.train.labels[held_out]
        except DivergedError as error:
            print(f"warning: {error}; {notation} counts as wrong", file=sys.stderr)
        checkpoint.write(result, {"correct": torch.tensor(correct)})
        others.remove_checkpoints([config], epochs)
    correct = checkpoint.read(result)["correct"].numpy()
    print(f"fold {fold}, {notation}: {correct.mean():.2%}", flush=True)
    return correct


def with_network(config: TrainingConfig, notation: str) -> TrainingConfig:
    """Return a configuration with a network that params.yaml cannot name."""
    model = Model.model_construct(name=notation, width=1.0)
    return config.model_copy(update={"model": model})


def print_table(correct: dict[str, np.ndarray], folds: np.ndarray, done: int) -> None:
    """Print the accuracy of each network on the faces of the first folds."""
    seen = folds < done
    print("| network | parameters | million multiply-adds | held-out (%) | difference (points) |")
    print("|---|---|---|---|---|")
    for notation, answers in correct.items():
        network = Candidate(notation, 1.0, 7)
        row = [f"`{notation}`", f"{parameter_count(network):,}"]
        row += [f"{multiply_adds(network) / 1e6:.1f}", f"{100 * answers[seen].mean():.2f}"]
        difference = ""
        if notation != BASELINE and done > 2:
            later = seen & (folds > 0)  # the first fold selected the networks
            gain, margin = finals.accuracy_gain(
                answers[later], correct[BASELINE][later], folds[later] - 1
            )
            difference = f"{100 * gain:+.2f} ± {100 * margin:.2f}"
        print("|", " | ".join([*row, difference]), "|", flush=True)


if __name__ == "__main__":
    exit_on_error(main)
