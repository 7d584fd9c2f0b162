"""Export: checkpoint -> network artefact, checked against the exact reference.

    python -m sw.export runs/mnist-multilevel-seed0.pt -o networks/mnist-multilevel.npz --data DIR

The trained network (floating point, integer-valued) and the artefact (integers, sw.golden) run the same test images;
every spike is compared, and the export is refused when the accuracies differ by more than the tolerance.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sw import golden
from sw.command import refuse, unwritable
from sw.datasets.common import DataError, TensorSplit
from sw.files import write_json
from sw.inputs import codes_of, load_test
from sw.models.layers import FoldedLayer
from sw.models.spec import INPUT, LayerSpec, NetworkSpec, NeuronSpec
from sw.models.spiking import SpikingNetwork
from sw.network import Layer, Network, NetworkError, Neuron
from sw.training.checkpoint import load_checkpoint


class ExportError(ValueError):
    """An export is refused; the message is one sentence with the value and the remedy."""


def neuron_of(spec: NeuronSpec) -> Neuron:
    """The firing rule of the artefact; a barrier is a multi-level neuron behind a join."""
    return Neuron(
        kind="multi-level" if spec.kind == "barrier" else spec.kind,
        levels=spec.levels,
        boundary=spec.boundary,
        reset=spec.reset,
        leak=spec.leak,
        leak_shift=spec.leak_shift,
    )


@dataclasses.dataclass(frozen=True)
class Placed:
    """Layers of the artefact that one layer of the description became, by index: core computes, last is read."""

    core: int
    last: int


def build_network(network: SpikingNetwork, provenance: dict[str, Any] | None = None) -> Network:
    """The integer network of a trained one; see `place`."""
    return place(network, provenance)[0]


def place(
    network: SpikingNetwork, provenance: dict[str, Any] | None = None
) -> tuple[Network, list[Placed]]:
    """The integer network of a trained one, and where its layers are in it; every pooling is a layer of its own.

    Raises ExportError for a network that cannot be computed in integers.
    """
    spec = network.spec
    if spec.unfoldable:
        raise ExportError(f"{spec.name} cannot be computed in integers; {spec.unfoldable}")
    layers: list[Layer] = []
    placed: list[Placed] = []
    with torch.no_grad():
        folded = network.fold()
    for index, (layer, integers) in enumerate(zip(spec.layers, folded, strict=True)):
        inputs = tuple(INPUT if s == INPUT else placed[s].last for s in spec.sources(index))
        if layer.weighted:
            layers.append(_synapses(layer, integers, inputs))
        elif layer.average == 1 or len(inputs) > 1:
            layers.append(_join(layer, integers, inputs))
        if not layer.weighted and layer.average > 1:
            size = (layer.average, layer.average)
            summed = inputs if len(inputs) == 1 else (len(layers) - 1,)
            layers.append(Layer(kind="sumpool", inputs=summed, pool=size))
        core = len(layers) - 1
        if layer.pool > 1:
            layers.append(Layer(kind="maxpool", inputs=(core,), pool=(layer.pool, layer.pool)))
        placed.append(Placed(core, len(layers) - 1))
    made = Network(
        timesteps=spec.timesteps,
        input_shape=spec.input_shape,
        input_coding=spec.input_coding,
        layers=tuple(layers),
        provenance=provenance or {},
    )
    return made, placed


def _synapses(spec: LayerSpec, folded: FoldedLayer, inputs: tuple[int, ...]) -> Layer:
    assert spec.bits is not None and folded.weights is not None and folded.bias is not None
    dense = spec.kind == "dense"
    return Layer(
        kind=spec.kind,
        inputs=inputs,
        weights=_integers(folded.weights, np.int8),
        bias=_integers(folded.bias, np.int64),
        threshold=None if folded.threshold is None else _integers(folded.threshold, np.int64),
        weight_width=spec.bits,
        stride=(1, 1) if dense else (spec.stride, spec.stride),
        padding=(0, 0) if dense else (spec.padding, spec.padding),
        average=(spec.average, spec.average),
        neuron=None if spec.neuron is None else neuron_of(spec.neuron),
    )


def _join(spec: LayerSpec, folded: FoldedLayer, inputs: tuple[int, ...]) -> Layer:
    scales = tuple(None if x is None else _integers(x, np.int64) for x in folded.scales)
    return Layer(
        kind="join",
        inputs=inputs,
        threshold=None if folded.threshold is None else _integers(folded.threshold, np.int64),
        scales=scales if any(scale is not None for scale in scales) else (),
        neuron=None if spec.neuron is None else neuron_of(spec.neuron),
    )


def _integers(tensor: Tensor, dtype: type) -> np.ndarray:
    array = tensor.detach().double().numpy()
    if not np.isfinite(array).all():
        raise ExportError("the checkpoint has parameters that are not finite numbers; train again")
    return np.ascontiguousarray(array.astype(dtype))


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A trained network beside its artefact on the same images.

    Members
        images, float_correct, integer_correct: counts.
        spikes: compared spikes (neurons times timesteps times images, after pooling too); differing: how many differ.
    """

    images: int
    float_correct: int
    integer_correct: int
    spikes: int
    differing: int

    @property
    def float_accuracy(self) -> float:
        return 100 * self.float_correct / self.images

    @property
    def integer_accuracy(self) -> float:
        return 100 * self.integer_correct / self.images


@torch.no_grad()
def compare(
    network: SpikingNetwork, artefact: Network, split: TensorSplit, batch: int = 500
) -> Comparison:
    """Run both on `split` and compare every spike and every decision.

    Raises ExportError when the artefact was not made from a network of this shape.
    """
    network.eval()
    expected, placed = place(network)
    if [expected.shapes, expected.codings] != [artefact.shapes, artefact.codings]:
        raise ExportError(
            f"the checkpoint of {network.spec.name} and the artefact "
            f"{artefact.provenance.get('name', 'without a name')} differ in shape; name the ones that belong together"
        )
    seen: list[tuple[Tensor, Tensor]] = []
    hooks = [
        layer.register_forward_hook(lambda _, given, output: seen.append(output))
        for layer in network.chain()
    ]
    float_correct = integer_correct = total = differing = 0
    try:
        for start in range(0, len(split), batch):
            part = TensorSplit(*(x[start : start + batch] for x in (split.images, split.labels)))
            labels = part.labels.numpy()
            seen.clear()
            scores = network(part.images.float())
            trace = golden.run(artefact, codes_of(artefact, part.images.numpy()))
            float_correct += int((scores.argmax(1).numpy() == labels).sum())
            integer_correct += int((trace.classes == labels).sum())
            for at, (spikes, pooled), unit in zip(placed, seen, network.spec.units, strict=True):
                for index, values in {at.core: spikes, at.last: pooled}.items():
                    if (sent := _values_sent(artefact, trace, index)) is not None:
                        total += sent.size
                        worth = 1.0 if network.folded or unit is None else unit
                        differing += int((sent * worth != values.transpose(0, 1).numpy()).sum())
    finally:
        for hook in hooks:
            hook.remove()
    return Comparison(len(split), float_correct, integer_correct, total, differing)


def _values_sent(artefact: Network, trace: golden.Trace, index: int) -> np.ndarray | None:
    """Values of the spikes of layer `index`, int64 (batch, step, C, H, W); None where it sends currents."""
    coding, codes = artefact.sent(index), trace.layers[index].codes
    return None if coding is None or codes is None else coding.values[codes]


def export(
    checkpoint: Path, output: Path, *, data: Path | None = None, tolerance: float = 0.1
) -> tuple[Network, Comparison]:
    """Write the artefact of `checkpoint` to `output`.

    Parameters
        data: folder of the data set; None compares on the shipped 1,000 MNIST test images.
        tolerance: largest difference between float and integer accuracy, in points.

    Raises ExportError, DataError, NetworkError or ValueError with one sentence; nothing is written then.
    """
    network, log = load_checkpoint(checkpoint)
    if not isinstance(network, SpikingNetwork) or not log["folded"]:
        raise ExportError(
            f"{checkpoint} was not trained in integers; train with training.folded_epochs of 1 or more"
        )
    split = load_test({"data": log["recipe"]["data"]}, data)
    comparison = compare(network, build_network(network), split)
    difference = abs(comparison.float_accuracy - comparison.integer_accuracy)
    if difference > tolerance:
        raise ExportError(
            f"integer accuracy {comparison.integer_accuracy:.2f} % is {difference:.2f} points from the trained "
            f"network's {comparison.float_accuracy:.2f} %, more than {tolerance}; train with more folded epochs "
            "or raise --tolerance"
        )
    artefact = build_network(network, provenance(network.spec, log, comparison))
    artefact.save(output)
    return artefact, comparison


def provenance(spec: NetworkSpec, log: dict[str, Any], comparison: Comparison) -> dict[str, Any]:
    """Where an artefact comes from, as JSON."""
    training = log["recipe"]["training"]
    return {
        "name": spec.name,
        "data_set": log["data"]["name"],
        "data": log["recipe"]["data"],
        "data_note": log["data"]["note"],
        "split": log["split"],
        "command": f"python -m sw.train {spec.name} --seed {training['seed']}",
        "seed": training["seed"],
        "epochs": training["epochs"],
        "bits": list(spec.bits),
        "source_digest": log["source_digest"],
        "versions": log["versions"],
        "validation_accuracy": log["validation"]["accuracy"],
        "float_accuracy": round(comparison.float_accuracy, 4),
        "integer_accuracy": round(comparison.integer_accuracy, 4),
        "test_images": comparison.images,
        "differing_spikes": comparison.differing,
        "compared_spikes": comparison.spikes,
    }


# --------------------------------------------------------------------------------------------------------- main

EXAMPLES = """examples:
  python -m sw.export runs/mnist-multilevel-seed0.pt -o networks/mnist-multilevel.npz --data ~/mnist
  python -m sw.export runs/mnist-onehot-seed0.pt -o onehot.npz --json export.json
"""


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m sw.export",
        description="Turn a checkpoint into an integer network artefact, and prove that they agree.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="read this checkpoint of sw.train"
    )
    p.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="write the artefact here (.npz)",
    )
    p.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="compare on all test images from here (default: the shipped 1,000)",
    )
    p.add_argument(
        "--tolerance",
        type=float,
        default=0.1,
        metavar="POINTS",
        help="refuse above this difference of accuracy, float to integer (default: 0.1)",
    )
    p.add_argument("--json", type=Path, metavar="FILE", help="write every printed figure here too")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    try:
        artefact, comparison = export(
            arguments.checkpoint,
            arguments.output,
            data=arguments.data,
            tolerance=arguments.tolerance,
        )
        if arguments.json is not None:
            write_json(arguments.json, {"digest": artefact.digest, **artefact.provenance})
    except (DataError, NetworkError, ValueError) as error:
        return refuse("sw.export", error)
    except OSError as error:
        return refuse("sw.export", unwritable(error.filename or arguments.output, error))
    print(f"images             {comparison.images}")
    print(f"float accuracy     {comparison.float_accuracy:.2f} %")
    print(f"integer accuracy   {comparison.integer_accuracy:.2f} %")
    print(f"differing spikes   {comparison.differing} of {comparison.spikes}")
    print(f"digest             {artefact.digest[:12]}")
    print(f"wrote {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
