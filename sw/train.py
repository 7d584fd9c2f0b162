"""Training: MNIST -> checkpoint and run log.

    python -m sw.train mnist-multilevel --data DIR --output runs

The last epoch's weights are the result; nothing is selected, and the test images are used once, at the end.
"""

import os

# On a machine with few cores the thread pools of the forward and the backward pass spin against each other (an epoch
# took up to fifteen times as long); waiting without spinning has to be asked for before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import argparse
import dataclasses
import hashlib
import json
import math
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.nn import functional

from sw.datasets.augment import distort
from sw.datasets.common import DataError, DataSet, Draw, Split
from sw.datasets.mnist import load_mnist
from sw.files import write_json
from sw.models.layers import NETWORKS, NetworkSpec, SpikingNetwork
from sw.models.quantise import parse_bits

SOURCES = (
    "datasets/augment.py",
    "datasets/common.py",
    "datasets/mnist.py",
    "models/layers.py",
    "models/quantise.py",
    "neurons/steps.py",
    "train.py",
)
CHECKPOINT_FORMAT = "stairspike-checkpoint"
CHECKPOINT_VERSION = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """Everything that a run depends on besides the data, the network and the versions.

    Parameters
        seed: of weights, order and augmentation.
        epochs, folded_epochs: all, and how many of them at the end train the folded integers.
        batch: images per step.
        rate: peak of the one-cycle learning rate; warm_up: the fraction of the steps before the peak.
        decay: weight decay of the weights.
        activity: weight of the penalty on the mean level of each layer's (pooled) spikes.
        silence: weight of the penalty on biases that fire without input.
        smoothing: of the labels.
        degrees, scale, shear, move: augmentation, see sw.datasets.augment.distort.
        threads: of torch; the sums of two threads differ from those of one in the last bit.
    """

    seed: int = 0
    epochs: int = 18
    folded_epochs: int = 4
    batch: int = 256
    rate: float = 0.006
    warm_up: float = 0.2
    decay: float = 1e-4
    activity: float = 0.02
    silence: float = 0.01
    smoothing: float = 0.0
    degrees: float = 8.0
    scale: float = 0.1
    shear: float = 0.08
    move: float = 2.0
    threads: int = 1

    def __post_init__(self) -> None:
        for name, low in (
            ("seed", 0),
            ("epochs", 1),
            ("folded_epochs", 1),
            ("batch", 2),
            ("threads", 1),
        ):
            if getattr(self, name) < low:
                raise ValueError(
                    f"--{name.replace('_', '-')} must be at least {low}, not {getattr(self, name)}"
                )
        if not self.rate > 0:
            raise ValueError(f"--rate must be above zero, not {self.rate}")
        for name in ("warm_up", "scale", "shear", "smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(
                    f"--{name.replace('_', '-')} must be in 0..1, below 1, not {getattr(self, name)}"
                )
        for name in ("decay", "activity", "silence", "degrees", "move"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"--{name} must be a number from 0 up, not {getattr(self, name)}")


# Per network, what differs from the defaults.
RECIPES: dict[str, dict[str, Any]] = {
    "mnist-multilevel": {},
    "mnist-onehot": {},
    "mnist-perceptron": {"epochs": 30, "folded_epochs": 6, "activity": 0.005},
}


def source_digest() -> str:
    """SHA-256 over the sources that decide the result of a run."""
    digest = hashlib.sha256()
    for name in SOURCES:
        digest.update((Path(__file__).resolve().parent / name).read_bytes())
    return digest.hexdigest()


def rate_at(step: int, steps: int, parameters: Hyperparameters) -> float:
    """One-cycle learning rate: cosine from rate/25 up to rate, cosine down to rate/1000."""
    position, warm_up = (step + 0.5) / steps, parameters.warm_up
    if position < warm_up:
        low, fraction = parameters.rate / 25, 1 - position / warm_up
    else:
        low, fraction = parameters.rate / 1000, (position - warm_up) / (1 - warm_up)
    return low + (parameters.rate - low) * (1 + math.cos(math.pi * fraction)) / 2


@torch.no_grad()
def evaluate(network: SpikingNetwork, split: Split, batch: int = 500) -> dict[str, Any]:
    """Accuracy in per cent, mean spikes and mean level sum per image of every spiking layer, after its pooling."""
    network.eval()
    correct = 0
    spikes = [0.0] * len(network.spiking_layers())
    levels = list(spikes)

    def observe(index: int, _: Tensor, pooled: Tensor) -> None:
        spikes[index] += float((pooled > 0).sum())
        levels[index] += float(pooled.sum())

    for start in range(0, len(split), batch):
        scores = network(
            split.take(torch.arange(start, min(start + batch, len(split)))).float(),
            observe,
            pool_first=True,
        )
        correct += int((scores.argmax(1) == split.labels[start : start + batch]).sum())
    count = len(split)
    return {
        "accuracy": round(100 * correct / count, 4),
        "spikes": [round(x / count, 2) for x in spikes],
        "levels": [round(x / count, 2) for x in levels],
    }


def train(
    spec: NetworkSpec,
    parameters: Hyperparameters,
    data: DataSet,
    report: Callable[[dict[str, Any]], None] = lambda entry: None,
    advance: Callable[[], None] = lambda: None,
) -> tuple[SpikingNetwork, dict[str, Any]]:
    """Train a network from scratch.

    Parameters
        report: called with every epoch's entry of the log.
        advance: called after every step.

    Returns the folded network of the last epoch and the run log.
    """
    digest = source_digest()
    torch.set_num_threads(parameters.threads)
    torch.manual_seed(parameters.seed)
    generator = torch.Generator().manual_seed(parameters.seed)
    network = SpikingNetwork(spec)
    decayed = [
        p for name, p in network.named_parameters() if name.endswith(".weight") and p.dim() > 1
    ]
    others = [p for p in network.parameters() if all(p is not q for q in decayed)]
    optimiser = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": parameters.decay},
            {"params": others, "weight_decay": 0.0},
        ],
        betas=(0.9, 0.99),
    )
    count = len(data.train)
    steps_per_epoch = max(1, count // parameters.batch)
    steps = steps_per_epoch * parameters.epochs
    free_epochs = max(0, parameters.epochs - parameters.folded_epochs)
    means: list[Tensor] = []

    def observe(_: int, __: Tensor, pooled: Tensor) -> None:
        means.append(pooled.mean())

    epochs: list[dict[str, Any]] = []
    step = 0
    for epoch in range(parameters.epochs):
        started = time.perf_counter()
        network.folded = epoch >= free_epochs
        network.train(not network.folded)
        order = torch.randperm(count, generator=generator)
        loss_sum, correct, seen = 0.0, 0, 0
        for batch in range(steps_per_epoch):
            chosen = order[batch * parameters.batch : (batch + 1) * parameters.batch]
            labels = data.train.labels[chosen]
            images = distort(
                data.train.take(chosen).float(),
                Draw(generator, len(chosen)),
                degrees=parameters.degrees,
                scale=parameters.scale,
                shear=parameters.shear,
                move=parameters.move,
            )
            for group in optimiser.param_groups:
                group["lr"] = rate_at(step, steps, parameters)
            means.clear()
            scores = network(images, observe, pool_first=True)
            loss = functional.cross_entropy(scores, labels, label_smoothing=parameters.smoothing)
            penalty = (
                parameters.activity * torch.stack(means).sum()
                + parameters.silence * network.loudness()
            )
            optimiser.zero_grad(set_to_none=True)
            (loss + penalty).backward()
            optimiser.step()
            step += 1
            loss_sum += float(loss.detach()) * len(labels)
            correct += int((scores.detach().argmax(1) == labels).sum())
            seen += len(labels)
            advance()
        validation = evaluate(network, data.validation)
        entry = {
            "epoch": epoch + 1,
            "phase": "folded" if network.folded else "free",
            "loss": round(loss_sum / seen, 5),
            "train_accuracy": round(100 * correct / seen, 3),
            "validation_accuracy": validation["accuracy"],
            "validation_spikes": validation["spikes"],
            "seconds": round(time.perf_counter() - started, 1),
        }
        epochs.append(entry)
        report(entry)
    network.folded = True
    log = {
        "network": spec.to_json(),
        "hyperparameters": dataclasses.asdict(parameters),
        "split": {"train": count, "validation": len(data.validation), "test": len(data.test)},
        "source_digest": digest,
        "versions": {
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "numpy": np.__version__,
        },
        "epochs": epochs,
        "validation": evaluate(network, data.validation),
        "test": evaluate(network, data.test),
    }
    return network, log


def save_checkpoint(path: Path, network: SpikingNetwork, log: dict[str, Any]) -> None:
    """Write parameters, description and log beside `path`, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    content = {
        "format": CHECKPOINT_FORMAT,
        "version": CHECKPOINT_VERSION,
        "log": json.dumps(log),
        "state": network.state_dict(),
    }
    try:
        torch.save(content, partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> tuple[SpikingNetwork, dict[str, Any]]:
    """The folded network and the run log of a checkpoint.  Raises ValueError with one sentence."""
    if not path.is_file():
        raise ValueError(f"{path} does not exist; make a checkpoint with python -m sw.train")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content["format"] != CHECKPOINT_FORMAT:
            raise KeyError(content["format"])
        version = content["version"]
        log = json.loads(content["log"])
        if version == CHECKPOINT_VERSION:
            network = SpikingNetwork(NetworkSpec.from_json(log["network"]))
            network.load_state_dict(content["state"])
    except Exception:
        raise ValueError(
            f"{path} is not a Stairspike checkpoint, or is damaged; train again"
        ) from None
    if version != CHECKPOINT_VERSION:
        raise ValueError(
            f"{path} has checkpoint version {version}, this program reads {CHECKPOINT_VERSION}; train again"
        )
    network.folded = True
    network.eval()
    return network, log


# --------------------------------------------------------------------------------------------------------- main

EXAMPLES = """examples:
  python -m sw.train mnist-multilevel
  python -m sw.train mnist-onehot --data ~/mnist --seed 1 --output runs
  python -m sw.train mnist-perceptron --bits 4,8 --epochs 3 --json result.json
"""


def parser() -> argparse.ArgumentParser:
    defaults = Hyperparameters()
    p = argparse.ArgumentParser(
        prog="python -m sw.train",
        description="Train a multi-level spiking network on MNIST, quantised, from scratch.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument(
        "network", choices=sorted(NETWORKS), metavar="NETWORK", help=", ".join(sorted(NETWORKS))
    )
    p.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="read MNIST from here (default: download into ./data)",
    )
    p.add_argument(
        "--output",
        type=Path,
        default=Path("runs"),
        metavar="DIR",
        help="write here (default: runs)",
    )
    p.add_argument(
        "--bits",
        metavar="LIST",
        help="bits of the weights, 8 or 8,4,4,8 (default: the network's own)",
    )
    p.add_argument("--json", type=Path, metavar="FILE", help="write the run log here too")
    for f in dataclasses.fields(defaults):
        recipe = {name: r[f.name] for name, r in RECIPES.items() if f.name in r}
        note = "".join(f"; {value} for {name}" for name, value in recipe.items())
        text = f"set {f.name.replace('_', ' ')} (default: {f.default}{note})"
        p.add_argument(
            f"--{f.name.replace('_', '-')}", type=type(f.default), metavar="X", help=text
        )
    return p


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    spec = NETWORKS[arguments.network]
    chosen = dict(RECIPES[arguments.network])
    for f in dataclasses.fields(Hyperparameters):
        if (value := getattr(arguments, f.name)) is not None:
            chosen[f.name] = value
    try:
        parameters = Hyperparameters(**chosen)
        if arguments.bits is not None:
            spec = spec.with_bits(parse_bits(arguments.bits, len(spec.layers)))
        data = load_mnist(arguments.data)
        for folder in (arguments.output, arguments.json.parent if arguments.json else None):
            if folder is not None:  # now, not after the training
                folder.mkdir(parents=True, exist_ok=True)
    except (DataError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error.filename} cannot be written ({error.strerror})", file=sys.stderr)
        return 2
    console = Console()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        total = max(1, len(data.train) // parameters.batch) * parameters.epochs
        task = progress.add_task(spec.name, total=total)

        def report(entry: dict[str, Any]) -> None:
            console.print(
                f"epoch {entry['epoch']:3d} {entry['phase']:6s} loss {entry['loss']:.4f} "
                f"train {entry['train_accuracy']:.2f} % validation {entry['validation_accuracy']:.2f} % "
                f"spikes {sum(entry['validation_spikes']):.0f} {entry['seconds']:.0f} s",
                highlight=False,
            )

        network, log = train(
            spec, parameters, data, report, lambda: progress.update(task, advance=1)
        )
    stem = arguments.output / f"{spec.name}-seed{parameters.seed}"
    checkpoint, log_path = stem.with_suffix(".pt"), stem.with_suffix(".json")
    save_checkpoint(checkpoint, network, log)
    for path in (log_path, arguments.json):
        if path is not None:
            write_json(path, log)
    console.print(
        f"{spec.name} seed {parameters.seed}: validation {log['validation']['accuracy']:.2f} %, "
        f"test {log['test']['accuracy']:.2f} % (last epoch)",
        highlight=False,
    )
    console.print(f"wrote {checkpoint} and {log_path}", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
