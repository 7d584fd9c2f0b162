"""Residual networks: where the shortcut joins, before or after the neuron, is what tells them apart.

spiking   z = fire(conv(...) + s)               the shortcut adds to the current (also paper 2's ResNet20, and ReLU)
sew       z = fire(conv(...)) + s               spikes are added, and grow from block to block
sparse    z = barrier(fire(conv(...)) + s)      paper 1: a second neuron of threshold 1 keeps spikes within 0..N
ms        u = conv(fire(...)) + u'              membrane shortcut: currents are added, and fire before a convolution
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from sw.models.small import Task, readout
from sw.models.spec import INPUT, LayerSpec, NetworkSpec, NeuronSpec

RESIDUALS = ("spiking", "sew", "sparse", "ms")


@dataclass
class _Builder:
    """Collects layers; every method returns the index of what it added."""

    neuron: NeuronSpec
    barrier: NeuronSpec
    bits: int | None
    dropout: float
    residual: str
    layers: list[LayerSpec] = field(default_factory=list)

    def add(self, layer: LayerSpec) -> int:
        self.layers.append(layer)
        return len(self.layers) - 1

    def conv(
        self,
        source: int,
        channels: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        fires: bool = True,
        dropout: float = 0.0,
    ) -> int:
        return self.add(
            LayerSpec(
                kind="conv",
                channels=channels,
                inputs=(source,),
                bits=self.bits,
                kernel=kernel,
                stride=stride,
                padding=kernel // 2,
                neuron=self.neuron if fires else None,
                dropout=dropout,
                quiet=False,
            )
        )

    def join(self, *sources: int, neuron: NeuronSpec | None) -> int:
        return self.add(LayerSpec(kind="join", inputs=sources, neuron=neuron, quiet=False))

    def stages(self, last: int, before: int, blocks: Sequence[int], channels: Sequence[int]) -> int:
        """Stages of basic blocks; every stage but the first halves the map."""
        for stage, (count, size) in enumerate(zip(blocks, channels, strict=True)):
            for position in range(count):
                stride = 2 if stage and position == 0 else 1
                last = self.block(last, size, stride, widen=stride > 1 or before != size)
                before = size
        return last

    def block(self, source: int, channels: int, stride: int, *, widen: bool) -> int:
        """A basic block: two 3 x 3 convolutions and their shortcut, 1 x 1 where the map changes."""
        fires_last = self.residual in ("sew", "sparse")
        inner = self.join(source, neuron=self.neuron) if self.residual == "ms" else source
        first = self.conv(inner, channels, stride=stride, dropout=self.dropout)
        second = self.conv(first, channels, fires=fires_last)
        shortcut = source
        if widen:
            shortcut = self.conv(inner, channels, kernel=1, stride=stride, fires=fires_last)
        after = {"spiking": self.neuron, "sparse": self.barrier}.get(self.residual)
        return self.join(second, shortcut, neuron=after)


def resnet(
    name: str,
    neuron: NeuronSpec,
    task: Task,
    *,
    blocks: tuple[int, ...],
    channels: tuple[int, ...],
    residual: str = "sparse",
    barrier: str = "",
    bits: int | None = None,
    width: float = 1.0,
    stem: str = "",
    hidden: int = 0,
    dropout: float = 0.0,
) -> NetworkSpec:
    """A residual network of basic blocks.

    Parameters
        blocks, channels: per stage; every stage but the first halves the map.
        residual: see the module.
        barrier: surrogate of the barrier neuron, "" for its straight-through gradient.
        stem: "small" (one 3 x 3 convolution), "large" (7 x 7, stride 2, max pooling 3 x 3 stride 2), "" by the size.
        hidden: neurons of a dense layer before the readout, 0 for none.

    Raises ValueError for an unknown residual or stem.
    """
    if residual not in RESIDUALS:
        raise ValueError(
            f"network.residual must be one of {', '.join(RESIDUALS)}, not {residual!r}"
        )
    if stem not in ("", "small", "large"):
        raise ValueError(f"network.stem must be 'small' or 'large', not {stem!r}")
    wide = [max(1, round(c * width)) for c in channels]
    built = _Builder(neuron, _barrier(neuron, barrier), bits, dropout, residual)
    fires = residual != "ms"
    if stem == "large" or (not stem and task.input_shape[1] > 64):
        first = LayerSpec(
            kind="conv",
            channels=wide[0],
            bits=bits,
            kernel=7,
            stride=2,
            padding=3,
            pool=2,
            pool_kernel=3,
            pool_padding=1,
            neuron=neuron if fires else None,
            quiet=False,
        )
        last = built.add(first)
    else:
        last = built.conv(INPUT, wide[0], fires=fires)
    last = built.stages(last, wide[0], blocks, wide)
    if residual == "ms":
        built.join(last, neuron=neuron)
    spec = _finish(name, built, task, replace(readout(task.classes, bits=bits)))
    average = spec.shapes[-2][1]
    tail = [readout(task.classes, bits=bits, average=average)]
    if hidden:
        dense = LayerSpec(
            kind="dense", channels=hidden, bits=bits, average=average, neuron=neuron, quiet=False
        )
        tail = [dense, readout(task.classes, bits=bits)]
    return _finish(name, built, task, *tail)


def resnet20_wide(
    name: str,
    neuron: NeuronSpec,
    task: Task,
    *,
    bits: int | None = None,
    width: float = 1.0,
    dropout: float = 0.0,
) -> NetworkSpec:
    """ResNet20 of paper 2: a stem of three convolutions, average pooling, stages of 64 to 512; 11.26 M parameters.

    Not the classic ResNet-20 of 16 to 64 channels.  The shortcut adds to the current.
    """
    wide = [max(1, round(c * width)) for c in (64, 128, 256, 512)]
    built = _Builder(neuron, neuron, bits, dropout, "spiking")
    last = INPUT
    for position in range(3):
        last = built.conv(last, wide[0], dropout=dropout if position < 2 else 0.0)
    last = built.add(LayerSpec(kind="join", inputs=(last,), average=2, neuron=None, quiet=False))
    last = built.stages(last, wide[0], (2, 2, 2, 2), wide)
    return _finish(name, built, task, replace(readout(task.classes, bits=bits), bias=False))


def _barrier(neuron: NeuronSpec, surrogate: str) -> NeuronSpec:
    return NeuronSpec(
        kind="barrier",
        levels=neuron.levels,
        threshold=1.0,
        learn_threshold=False,
        surrogate=surrogate,
    )


def _finish(name: str, built: _Builder, task: Task, *tail: LayerSpec) -> NetworkSpec:
    return task.network(name, (*built.layers, *tail))
