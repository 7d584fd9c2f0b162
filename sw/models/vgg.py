"""The VGG networks of both papers."""

from dataclasses import replace

from sw.models.small import Task, readout
from sw.models.spec import LayerSpec, NetworkSpec, NeuronSpec

GROUPS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def scaled(channels: int, width: float) -> int:
    """A channel count times a width, at least 1."""
    return max(1, round(channels * width))


def _convolutions(
    neuron: NeuronSpec, bits: int | None, width: float, *, average: bool
) -> list[LayerSpec]:
    """The 13 convolutions; a group is pooled at its end, or its average read by the first layer of the next."""
    layers: list[LayerSpec] = []
    for group in GROUPS:
        for position, channels in enumerate(group):
            layers.append(
                LayerSpec(
                    kind="conv",
                    channels=scaled(channels, width),
                    bits=bits,
                    average=2 if average and layers and position == 0 else 1,
                    pool=2 if not average and position == len(group) - 1 else 1,
                    neuron=neuron,
                    quiet=False,
                )
            )
    return layers


def vgg16(
    name: str,
    neuron: NeuronSpec,
    task: Task,
    *,
    bits: int | None = None,
    width: float = 1.0,
    hidden: int = 512,
    pooling: str = "max",
    dropout: float = 0.0,
) -> NetworkSpec:
    """VGG16 of paper 1: 13 convolutions with batch norm, 2 x 2 pooling after each group, two dense layers of 512.

    Parameters
        pooling: "max" of the spikes, or "average" of them (read by the next layer's synapses).
    """
    average = _average(pooling)
    layers = _convolutions(neuron, bits, width, average=average)
    for position in range(2):
        layers.append(
            LayerSpec(
                kind="dense",
                channels=scaled(hidden, width),
                bits=bits,
                average=2 if average and position == 0 else 1,
                neuron=neuron,
                quiet=False,
                dropout=dropout,
            )
        )
    return task.network(name, (*layers, readout(task.classes, bits=bits)))


def vgg16_wide(
    name: str,
    neuron: NeuronSpec,
    task: Task,
    *,
    bits: int | None = None,
    width: float = 1.0,
    hidden: int = 4096,
    dropout: float = 0.0,
) -> NetworkSpec:
    """VGG16 of paper 2: average pooling, no pooling after the last group at 32 x 32, two dense layers of 4096.

    39.92 M parameters and 338,403,328 MACs for CIFAR-10; 15,470,264,320 MACs for ImageNet, where the last group is
    pooled as well.  Dense layers have neither bias nor batch norm.
    """
    layers = _convolutions(neuron, bits, width, average=True)
    for position in range(2):
        pooled = position == 0 and task.input_shape[1] >= 64
        layers.append(
            LayerSpec(
                kind="dense",
                channels=scaled(hidden, width),
                bits=bits,
                average=2 if pooled else 1,
                norm=False,
                neuron=neuron,
                quiet=False,
                dropout=dropout,
            )
        )
    return task.network(name, (*layers, replace(readout(task.classes, bits=bits), bias=False)))


def vggsnn(
    name: str,
    neuron: NeuronSpec,
    task: Task,
    *,
    bits: int | None = None,
    width: float = 1.0,
) -> NetworkSpec:
    """VGGSNN of paper 2 for event cameras, 2 x 48 x 48: eight convolutions, strides instead of pooling; 9.27 M."""
    plan = ((64, 1), (128, 2), (256, 1), (256, 2), (512, 1), (512, 2), (512, 1), (512, 2))
    layers = tuple(
        LayerSpec(
            kind="conv",
            channels=scaled(channels, width),
            stride=stride,
            bits=bits,
            neuron=neuron,
            quiet=False,
        )
        for channels, stride in plan
    )
    return task.network(name, (*layers, readout(task.classes, bits=bits)))


def _average(pooling: str) -> bool:
    if pooling not in ("max", "average"):
        raise ValueError(f"network.pooling must be 'max' or 'average', not {pooling!r}")
    return pooling == "average"
