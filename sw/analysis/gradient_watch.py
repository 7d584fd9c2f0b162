"""Gradient norms on the connections of a network: what every layer sends back to each layer that it reads.

A residual block is a join, its first source the end of the direct path, its second one that of the shortcut.
"""

import dataclasses
import statistics
from collections import defaultdict
from functools import partial
from typing import Any, Self

from torch import Tensor, nn

from sw.analysis.common import residual_sums
from sw.models.spec import NetworkSpec
from sw.models.spiking import SpikingNetwork

Edge = tuple[int, int]  # (source, reader): one of the layers that a layer reads


@dataclasses.dataclass(frozen=True)
class Block:
    """A residual block, by indices of layers.

    Parameters
        join: the sum.
        sum: an addend of it.
        direct, residual: how the block's input enters the convolutions, and how the shortcut.
    """

    join: int
    sum: Edge
    direct: Edge
    residual: Edge


def blocks_of(spec: NetworkSpec) -> list[Block]:
    """The residual blocks, in order."""
    blocks = []
    for join in residual_sums(spec):
        second, shortcut = spec.sources(join)
        direct, residual = _back(spec, second, join), _back(spec, shortcut, join)
        start = next(source for source, _ in direct if source in dict(residual))
        blocks.append(
            Block(
                join, (second, join), (start, dict(direct)[start]), (start, dict(residual)[start])
            )
        )
    return blocks


def _back(spec: NetworkSpec, source: int, reader: int) -> list[Edge]:
    """The edges from a layer back to the input, along first sources; the nearest first."""
    edges = [(source, reader)]
    while source >= 0:
        source, reader = spec.sources(source)[0], source
        edges.append((source, reader))
    return edges


class GradientWatch:
    """Norms of the gradients on every edge of a network, and of every join's output, while the context lasts.

    Every backward pass appends one number to edges[(source, reader)] and to outputs[join].
    """

    def __init__(self, network: SpikingNetwork) -> None:
        self.network = network
        self.edges: dict[Edge, list[float]] = defaultdict(list)
        self.outputs: dict[int, list[float]] = defaultdict(list)

    def __enter__(self) -> Self:
        chain = self.network.chain()
        self._hooks = [
            layer.register_forward_pre_hook(partial(self._read, index))
            for index, layer in enumerate(chain)
        ]
        self._hooks += [
            chain[index].register_forward_hook(partial(self._sent, index))
            for index in residual_sums(self.network.spec)
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _read(self, index: int, _: nn.Module, arguments: tuple[list[Tensor]]) -> Any:
        """Give the layer a view of its own of each input, so that its gradient is what this layer sends back."""
        views = [x.view_as(x) for x in arguments[0]]
        for source, view in zip(self.network.spec.sources(index), views, strict=True):
            if view.requires_grad:
                view.register_hook(partial(_append, self.edges[source, index]))
        return (views,)

    def _sent(
        self, index: int, _: nn.Module, arguments: Any, output: tuple[Tensor, Tensor]
    ) -> None:
        if output[1].requires_grad:
            output[1].register_hook(partial(_append, self.outputs[index]))

    def blocks(self) -> list[dict[str, Any]]:
        """Per block {"block", "layer", and the medians "output", "sum", "direct", "residual"}."""
        return [
            {
                "block": number,
                "layer": block.join,
                "output": statistics.median(self.outputs[block.join]),
                "sum": statistics.median(self.edges[block.sum]),
                "direct": statistics.median(self.edges[block.direct]),
                "residual": statistics.median(self.edges[block.residual]),
            }
            for number, block in enumerate(blocks_of(self.network.spec), start=1)
        ]


def _append(norms: list[float], gradient: Tensor) -> None:
    norms.append(float(gradient.float().norm()))
