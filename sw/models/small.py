"""Small chains that fit the boards."""

from collections.abc import Iterable
from dataclasses import dataclass

from sw.datasets.common import PIXELS
from sw.models.spec import LayerSpec, NetworkSpec, NeuronSpec
from sw.network import Coding


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a network is built for: classes, input (C, H, W), worth and coding of its values, timesteps."""

    classes: int = 10
    input_shape: tuple[int, int, int] = (3, 32, 32)
    input_scale: float = 1 / 255
    input_coding: Coding = PIXELS
    timesteps: int = 1

    def network(self, name: str, layers: Iterable[LayerSpec]) -> NetworkSpec:
        """The network of these layers for this task."""
        return NetworkSpec(
            name=name,
            layers=tuple(layers),
            timesteps=self.timesteps,
            input_shape=self.input_shape,
            input_scale=self.input_scale,
            input_coding=self.input_coding,
        )


def readout(
    classes: int, *, bits: int | None = 8, average: int = 1, bias: bool = True, dropout: float = 0.0
) -> LayerSpec:
    """The last layer: dense, without batch norm and neuron."""
    return LayerSpec(
        kind="dense",
        channels=classes,
        bits=bits,
        average=average,
        norm=False,
        bias=bias,
        neuron=None,
        dropout=dropout,
        quiet=False,
    )


def chain(
    name: str,
    neuron: NeuronSpec,
    task: Task,
    *,
    plan: str,
    bits: int | None = 4,
    edge_bits: int | None = 8,
    quiet: bool = True,
) -> NetworkSpec:
    """A chain from a plan such as "32 64p 96 96p d128": convolutions 3 x 3, p for max pooling 2 x 2, d for dense.

    The readout averages over what is left of the map, unless a dense layer came before.

    Parameters
        bits: of the weights; edge_bits: of the first layer and of the readout.

    Raises ValueError when the plan cannot be read or does not fit the input.
    """
    layers: list[LayerSpec] = []
    dense = False
    for index, word in enumerate(plan.split()):
        digits, pool = word.lstrip("d").rstrip("p"), 2 if word.endswith("p") else 1
        dense = word.startswith("d")
        if not digits.isdigit() or int(digits) < 1 or (dense and pool > 1):
            raise ValueError(
                f"network.plan has the word {word!r}; write 64, 64p (pooled) or d64 (dense)"
            )
        layers.append(
            LayerSpec(
                kind="dense" if dense else "conv",
                channels=int(digits),
                bits=edge_bits if index == 0 else bits,
                pool=pool,
                neuron=neuron,
                quiet=quiet,
            )
        )
    if not layers:
        raise ValueError("network.plan names no layer; write for example '32 64p 64p'")
    body = task.network(name, (*layers, readout(task.classes, bits=edge_bits)))
    _, height, width = body.shapes[-2]
    average = 1 if dense or height != width or layers[-1].pool > 1 else height
    return task.network(name, (*layers, readout(task.classes, bits=edge_bits, average=average)))


def mnist_convolutional(
    name: str, neuron: NeuronSpec, task: Task, *, bits: int | None = 4, edge_bits: int | None = 8
) -> NetworkSpec:
    """conv 12 - pool - conv 24 - pool - conv 32 - dense: 99.3 % of MNIST on an iCEBreaker."""
    return task.network(
        name,
        (
            LayerSpec(kind="conv", channels=12, bits=edge_bits, pool=2, neuron=neuron),
            LayerSpec(kind="conv", channels=24, bits=bits, pool=2, neuron=neuron),
            LayerSpec(kind="conv", channels=32, bits=bits, neuron=neuron),
            readout(task.classes, bits=edge_bits),
        ),
    )


def perceptron(
    name: str,
    neuron: NeuronSpec,
    task: Task,
    *,
    hidden: int = 128,
    bits: int | None = 4,
    edge_bits: int | None = 8,
) -> NetworkSpec:
    """One hidden dense layer."""
    return task.network(
        name,
        (
            LayerSpec(kind="dense", channels=hidden, bits=bits, neuron=neuron),
            readout(task.classes, bits=edge_bits),
        ),
    )
