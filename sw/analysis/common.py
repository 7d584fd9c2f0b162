"""What the analyses share: trained networks and their images, plots, and the face of a command."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import argparse
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.console import Console
from torch import Tensor

from sw.command import refuse, unwritable
from sw.datasets import load_described
from sw.datasets.common import Split
from sw.datasets.mnist import load_shipped
from sw.files import write_json, write_text
from sw.models.spec import INPUT, NetworkSpec
from sw.models.spiking import SpikingNetwork
from sw.models.trainable import Trainable, TransformerNetwork
from sw.training.checkpoint import load_checkpoint
from sw.training.trainer import network_input

# Okabe and Ito's colours, which colour-blind people can tell apart, and markers for prints without colour.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

console = Console(markup=False, highlight=False)

# ------------------------------------------------------------------------------------------ networks and images


def load_test(log: dict[str, Any], folder: Path | None) -> Split:
    """The test images of the data set of a run log; without a folder, of MNIST the 1,000 that are shipped."""
    section = log["recipe"]["data"]
    if folder is None and section["set"] == "mnist":
        return load_shipped()
    return load_described(section, folder).test


def load_networks(paths: Sequence[Path]) -> list[tuple[str, Trainable, dict[str, Any]]]:
    """Name, network and run log of every checkpoint; names are the files' as far as these differ.

    Raises ValueError with one sentence, also for a checkpoint that is given twice.
    """
    stems = [path.stem for path in paths]
    names = stems if len(set(stems)) == len(stems) else [str(path) for path in paths]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name} is given twice; name every checkpoint once")
    return [(name, *load_checkpoint(path)) for name, path in zip(names, paths, strict=True)]


def layer_name(network: Trainable, index: int) -> str:
    """Index and kind of a layer with neurons; of a transformer, the name of its module."""
    if isinstance(network, TransformerNetwork):
        return network.transformer.neurons()[index][0]
    return f"{index} {network.spec.layers[index].kind}"


def batches(split: Split, count: int | None, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """(images, labels) of the first `count` images, all for None, ready for a network.

    Raises ValueError when there are not that many.
    """
    count = len(split) if count is None else count
    if not 1 <= count <= len(split):
        raise ValueError(f"{count} images were asked for; this set has 1 to {len(split)}")
    for start in range(0, count, size):
        chosen = torch.arange(start, min(start + size, count))
        yield network_input(split.take(chosen)), split.labels[chosen]


def residual_sums(spec: NetworkSpec) -> list[int]:
    """The joins that add a block and its shortcut, in order."""
    return [index for index in range(len(spec.layers)) if len(spec.sources(index)) > 1]


def residual(network: Trainable) -> SpikingNetwork:
    """The network itself.  Raises ValueError with one sentence if it has no residual sums."""
    if not isinstance(network, SpikingNetwork) or not residual_sums(network.spec):
        raise ValueError(
            f"{network.spec.name} has no residual sums; give a network such as cifar10-resnet18-sparse"
        )
    return network


def sends_spikes(network: Trainable, index: int) -> bool:
    """Whether a layer sends spikes, or sums of them, not currents."""
    if isinstance(network, SpikingNetwork):
        if index == INPUT:
            return False
        layer = network.spec.layers[index]
        if layer.neuron is None and not layer.weighted:
            return all(sends_spikes(network, source) for source in network.spec.sources(index))
    return network.fires_spikes(index)


# -------------------------------------------------------------------------------------------------------- plots


def style(index: int) -> dict[str, Any]:
    """Colour and marker of the line `index` of a plot."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKERS[index % len(MARKERS)],
        "markersize": 5,
        "linewidth": 1.4,
    }


def figure(rows: int, columns: int, *, height: float = 3.6) -> tuple[Figure, list[Axes]]:
    """A figure of rows x columns axes, row by row."""
    made = Figure(figsize=(5.2 * columns, height * rows), layout="constrained")
    axes = list(made.subplots(rows, columns, squeeze=False).flat)
    for one in axes:
        one.grid(alpha=0.3)
    return made, axes


def whole_numbers(axes: Axes) -> None:
    """Ticks of the x axis at whole numbers only."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def write(output: Path, name: str, content: Any, plot: Figure) -> None:
    """Write NAME.json and NAME.svg into a folder that is made if need be; the same numbers, the same bytes.

    Raises OSError.
    """
    write_json(output / f"{name}.json", content)
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        plot.savefig(buffer, format="svg", metadata={"Date": None})
    write_text(output / f"{name}.svg", buffer.getvalue())
    console.print(f"wrote {output / name}.json and {output / name}.svg", soft_wrap=True)


# ------------------------------------------------------------------------------------------------- command line


def parser(name: str, description: str, examples: str) -> argparse.ArgumentParser:
    """The parser of an analysis, with its --output."""
    p = argparse.ArgumentParser(
        prog=f"python -m sw.analysis.{name}",
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument(
        "--output",
        type=Path,
        default=Path("runs/analysis"),
        metavar="DIR",
        help=f"write {name}.json and {name}.svg here (default: runs/analysis)",
    )
    return p


def add_checkpoints(p: argparse.ArgumentParser) -> None:
    """The arguments of an analysis of trained networks on their test images."""
    p.add_argument(
        "checkpoints", type=Path, nargs="+", metavar="CHECKPOINT", help="networks of sw.train (.pt)"
    )
    p.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="read the data set from here (default: ./data; of MNIST the 1,000 test images that are shipped)",
    )
    p.add_argument(
        "--images", type=int, metavar="N", help="use the first N test images (default: all)"
    )


def guarded(command: str, work: Callable[[], None]) -> int:
    """Exit status of a command: 0, or 2 and one sentence on stderr."""
    try:
        work()
    except ValueError as error:
        return refuse(command, error)
    except OSError as error:
        return refuse(command, unwritable(error.filename, error))
    return 0
