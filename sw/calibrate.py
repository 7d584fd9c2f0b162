"""Networks of any recipe with random weights that spike like trained ones, to measure hardware without a training.

    python -m sw.calibrate cifar10-vgg16 --set network.bits=8 --data DIR -o vgg16.npz

Weights are drawn as for a training that never comes (He et al. 2015).  On real images, layer by layer, batch norm gets
its statistics and the neurons a threshold at which a given share of them fires; so every layer is as busy as in the
papers, whose networks fire at 0.1 to 0.25.  The network is folded, compared with its artefact on test images, spike for
spike, and written.  It has learned nothing: its provenance says so, and its accuracy is that of guessing.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from sw.command import refuse, unwritable
from sw.datasets import load_described
from sw.datasets.common import DataError, DataSet, Split, TensorSplit
from sw.evaluate import evaluate
from sw.export import ExportError, compare, place
from sw.files import write_json
from sw.models.spec import SPIKING, NetworkSpec
from sw.models.spiking import SpikingNetwork
from sw.network import Network, NetworkError
from sw.training.recipe import Recipe, RecipeError, load_recipe

STEPS = 16  # of the bisection for a threshold
MOMENTUM = 0.1  # of the running statistics in one pass of batch norm, see sw.models.batch_norm


@torch.no_grad()
def calibrated(spec: NetworkSpec, images: Tensor, *, rate: float, seed: int) -> SpikingNetwork:
    """An untrained network, folded, in which about `rate` of every layer's neurons fire on `images`.

    images: uint8 or float, as for `SpikingNetwork.forward`.  Barrier neurons keep their threshold of 1.
    Raises ExportError for a network that cannot be computed in integers or that has learned leaks.
    """
    if spec.unfoldable:
        raise ExportError(f"{spec.name} cannot be computed in integers; {spec.unfoldable}")
    torch.manual_seed(seed)
    network = SpikingNetwork(spec).eval()

    def set_threshold(neuron: nn.Module, given: tuple[Any, ...]) -> None:
        threshold = neuron.get_parameter("threshold")
        low, high = 0.0, max(1e-3, float(given[0].max()))
        for _ in range(STEPS):
            threshold.fill_((low + high) / 2)
            fires = float((neuron.forward(*given) != 0).float().mean())
            low, high = (low, (low + high) / 2) if fires < rate else ((low + high) / 2, high)

    handles = []
    for layer in network.chain():
        if (
            layer.norm is not None
        ):  # statistics of this batch, at once: from zero, one pass moves them by MOMENTUM
            for statistic in (layer.norm.running_mean, layer.norm.running_var):
                assert statistic is not None
                statistic.zero_()
            layer.norm.train()
        kind = "" if layer.spec.neuron is None else layer.spec.neuron.kind
        if kind in SPIKING and kind != "barrier":
            assert layer.neuron is not None
            handles.append(layer.neuron.register_forward_pre_hook(set_threshold))
    network(images.float())
    for handle in handles:
        handle.remove()
    for layer in network.chain():
        if layer.norm is not None:
            for statistic in (layer.norm.running_mean, layer.norm.running_var):
                assert statistic is not None
                statistic.div_(MOMENTUM)
    network.eval()
    network.folded = True
    return network


def first(split: Split, count: int) -> TensorSplit:
    """The first images of a split, in memory.  Raises DataError when there are not that many."""
    if not 1 <= count <= len(split):
        raise DataError(f"{count} images were asked for; this set has 1 to {len(split)}")
    indices = torch.arange(count)
    return TensorSplit(split.take(indices), split.labels[:count])


def make(
    recipe: Recipe, data: DataSet, *, rate: float, images: int, checked: int, seed: int
) -> tuple[Network, dict[str, Any]]:
    """The calibrated artefact of a recipe, and what `sw.evaluate` says of it on the first test images.

    Parameters
        images: of the training part, to calibrate on.
        checked: test images on which every spike of the folded network is compared with the artefact.

    Raises ExportError, DataError, NetworkError or ValueError with one sentence.
    """
    if not 0 < rate < 1:
        raise ExportError(f"the share of neurons that fire must be between 0 and 1, not {rate}")
    spec = recipe.spec(data)
    if not isinstance(spec, NetworkSpec):
        raise ExportError(f"{recipe.name} is a transformer, which has no artefact")
    network = calibrated(spec, first(data.train, images).images, rate=rate, seed=seed)
    provenance = {
        "name": recipe.name,
        "data_set": data.name,
        "data": dict(recipe.data),
        "data_note": data.note,
        "weights": "random, not trained",
        "seed": seed,
        "bits": list(spec.bits),
        "calibration": {"images": images, "rate": rate},
    }
    artefact, _ = place(network, provenance)
    split = first(data.test, checked)
    comparison = compare(network, artefact, split)
    if comparison.differing:
        raise ExportError(
            f"{comparison.differing} of {comparison.spikes} spikes of {spec.name} differ between the folded network "
            "and its artefact; this is a fault of the program"
        )
    return artefact, {**evaluate(artefact, split), "compared_spikes": comparison.spikes}


EXAMPLES = """examples:
  python -m sw.calibrate cifar10-vgg16 --set network.bits=8 --data ~/data -o vgg16.npz
  python -m sw.calibrate cifar10-resnet18-sparse --set network.bits=4 --data ~/data -o sparse.npz
  python -m sw.calibrate paper2-cifar10-resnet20-onehot --set network.bits=8 --set network.neuron.learn_leak=false \\
      --set training.fuse=false --data ~/data -o resnet20.npz
  python -m sw.calibrate paper2-dvs-vggsnn --set network.bits=8 --set data.set=nmnist --set data.size=48 \\
      --set data.pool=1 --data ~/data -o vggsnn.npz
"""


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m sw.calibrate",
        description="Write the artefact of a recipe's network with random weights that spikes like a trained one.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("recipe", metavar="RECIPE", help="name or .toml file, as for sw.train")
    p.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="write here")
    p.add_argument("--data", type=Path, metavar="DIR", help="read the data set from here")
    p.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="replace a recipe's value"
    )
    p.add_argument(
        "--rate",
        type=float,
        default=0.15,
        metavar="R",
        help="share of every layer's neurons that fire (default: %(default)s)",
    )
    p.add_argument(
        "--images",
        type=int,
        default=64,
        metavar="N",
        help="training images to calibrate on (default: %(default)s)",
    )
    p.add_argument(
        "--check",
        type=int,
        default=10,
        metavar="N",
        help="test images on which every spike is compared (default: %(default)s)",
    )
    p.add_argument("--seed", type=int, default=0, help="of the weights (default: %(default)s)")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    try:
        recipe = load_recipe(arguments.recipe, arguments.set)
        data = load_described(recipe.data, arguments.data)
        artefact, figures = make(
            recipe,
            data,
            rate=arguments.rate,
            images=arguments.images,
            checked=arguments.check,
            seed=arguments.seed,
        )
        artefact.save(arguments.output)
        if arguments.json is not None:
            write_json(arguments.json, {"digest": artefact.digest, **figures})
    except (DataError, NetworkError, RecipeError, ValueError) as error:
        return refuse("sw.calibrate", error)
    except OSError as error:
        return refuse("sw.calibrate", unwritable(error.filename or arguments.output, error))
    _show(Console(), artefact, figures)
    print(f"{figures['compared_spikes']:,} spikes equal in network and artefact")
    print(f"digest {artefact.digest[:12]}, wrote {arguments.output}")
    return 0


def _show(console: Console, artefact: Network, figures: dict[str, Any]) -> None:
    table = Table("layer", "reads", "output", "sends", "rate", "synaptic operations")
    for index, (layer, entry) in enumerate(zip(artefact.layers, figures["layers"], strict=True)):
        channels, height, width = artefact.shapes[index + 1]
        coding = artefact.sent(index)
        sends = "scores" if artefact.is_readout(index) else "currents"
        if coding is not None:
            sends = f"{coding.kind} {coding.levels}"
        rate = entry["output_spikes"] / (artefact.timesteps * channels * height * width)
        table.add_row(
            f"{index} {layer.kind}",
            " ".join("input" if s < 0 else str(s) for s in artefact.sources(index)),
            f"{channels} x {height} x {width}",
            sends,
            "" if coding is None else f"{rate:.3f}",
            f"{entry['synaptic_operations']:,.0f}",
        )
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
