"""Descriptions of networks: plain data, from which trainable networks and integer artefacts are built.

A `NetworkSpec` is a list of layers in the order in which they are computed.  A layer reads the layer before it unless
it names its inputs, so a chain needs no names and a residual block names two.  The last layer is the readout.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

from sw.datasets.common import PIXELS
from sw.models.layer_spec import INPUT, SPIKING, LayerSpec, NeuronSpec
from sw.models.units import Graph, code_units, current_groups, current_ratios, unfoldable
from sw.network import Coding

__all__ = ["INPUT", "PIXEL_SCALE", "SPIKING", "LayerSpec", "NetworkSpec", "NeuronSpec"]

PIXEL_SCALE = 1 / 255


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """A network: input_shape (C, H, W), T timesteps, and its layers, the readout last.

    Parameters
        input_scale: what one unit of an input value is worth: 1/255 for pixels, 1 for counts and levels.
        input_coding: how input values travel in hardware.
    """

    name: str
    layers: tuple[LayerSpec, ...]
    timesteps: int = 1
    input_shape: tuple[int, int, int] = (1, 28, 28)
    input_scale: float = PIXEL_SCALE
    input_coding: Coding = PIXELS

    def __post_init__(self) -> None:
        for index, layer in enumerate(self.layers):
            last = index == len(self.layers) - 1
            if last and (layer.neuron is not None or not layer.weighted):
                raise ValueError(f"layer {index}: the last layer has weights and no neuron")
            for source in layer.inputs:
                if not INPUT <= source < index:
                    raise ValueError(f"layer {index} reads layer {source}, which is not before it")
            if layer.weighted and len(layer.inputs) > 1:
                raise ValueError(f"layer {index}: only a join reads several layers")
        _ = self.shapes

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> "NetworkSpec":
        layers = []
        for layer in entry["layers"]:
            neuron = layer["neuron"]
            inputs = tuple(layer.get("inputs", ()))
            neuron = None if neuron is None else NeuronSpec(**neuron)
            layers.append(LayerSpec(**{**layer, "neuron": neuron, "inputs": inputs}))
        return cls(
            **{
                **entry,
                "layers": tuple(layers),
                "input_shape": tuple(entry["input_shape"]),
                "input_coding": Coding(**entry["input_coding"]),
            }
        )

    # ------------------------------------------------------------------------------------------------- geometry

    def sources(self, index: int) -> tuple[int, ...]:
        """The layers that layer `index` reads; INPUT is the network's input."""
        return self.layers[index].inputs or (index - 1,)

    @cached_property
    def shapes(self) -> tuple[tuple[int, int, int], ...]:
        """Output shape (C, H, W) of every layer, after its pooling.  Raises ValueError when the maps do not fit."""
        shapes: list[tuple[int, int, int]] = []
        for index, layer in enumerate(self.layers):
            inputs = [shapes[s] if s != INPUT else self.input_shape for s in self.sources(index)]
            channels, height, width = self.current_shape(layer, inputs, index)
            if layer.pool > 1:
                kernel = layer.pool_kernel or layer.pool
                height, width = (
                    (n + 2 * layer.pool_padding - kernel) // layer.pool + 1 for n in (height, width)
                )
            if min(height, width) < 1:
                raise ValueError(f"layer {index}: nothing is left of the map after pooling")
            shapes.append((channels, height, width))
        return tuple(shapes)

    @staticmethod
    def current_shape(
        layer: LayerSpec, inputs: Sequence[tuple[int, int, int]], index: int = 0
    ) -> tuple[int, int, int]:
        """Shape of the sums of a layer, before its pooling."""
        channels, height, width = inputs[0]
        if len(set(inputs)) > 1:
            raise ValueError(f"layer {index} joins maps of different shapes: {inputs}")
        if height % layer.average or width % layer.average:
            raise ValueError(
                f"layer {index}: average pooling {layer.average} does not divide the {height} x {width} map"
            )
        if layer.kind == "join":
            return channels, height // layer.average, width // layer.average
        if layer.kind == "dense":
            return layer.channels, 1, 1
        size = [
            (n // layer.average + 2 * layer.padding - layer.kernel) // layer.stride + 1
            for n in (height, width)
        ]
        if min(size) < 1:
            raise ValueError(
                f"layer {index}: the kernel {layer.kernel} is larger than the {height} x {width} map"
            )
        return layer.channels, size[0], size[1]

    def input_shape_of(self, index: int) -> tuple[int, int, int]:
        """Shape of what layer `index` reads, before its average pooling."""
        source = self.sources(index)[0]
        return self.input_shape if source == INPUT else self.shapes[source]

    # --------------------------------------------------------------------------------------------------- counts

    def weight_shape(self, index: int) -> tuple[int, int, int, int]:
        """(C_out, C_in, k_h, k_w) of a layer with weights; a dense kernel covers its whole averaged map."""
        layer, (channels, height, width) = self.layers[index], self.input_shape_of(index)
        if layer.kind == "dense":
            return layer.channels, channels, height // layer.average, width // layer.average
        return layer.channels, channels, layer.kernel, layer.kernel

    def macs(self) -> list[int]:
        """Multiply-accumulates of every layer for one timestep; 0 for joins."""
        result = []
        for index, layer in enumerate(self.layers):
            if not layer.weighted:
                result.append(0)
                continue
            _, height, width = self.current_shape(layer, [self.input_shape_of(index)], index)
            result.append(prod(self.weight_shape(index)) * height * width)
        return result

    def parameter_count(self) -> int:
        """Weights and biases when batch norm is folded into one bias a channel, as the papers count them."""
        count = 0
        for index, layer in enumerate(self.layers):
            if layer.weighted:
                count += prod(self.weight_shape(index))
                count += layer.channels if layer.norm or layer.bias else 0
        return count

    # ------------------------------------------------------------------------------------------------- variants

    @cached_property
    def units(self) -> tuple[float | None, ...]:
        """What one unit of every layer's integers is worth; see `sw.models.units`."""
        return code_units(self._graph, self.input_scale)

    @cached_property
    def groups(self) -> tuple[int | None, ...]:
        """Layers whose currents are added have the same number; see `sw.models.units`."""
        return current_groups(self._graph, self.units)

    @cached_property
    def ratios(self) -> tuple[int, ...]:
        """How many units of its group one unit of a layer's currents is; see `sw.models.units`."""
        return current_ratios(self._graph, self.units, self.groups, self.input_scale)

    @cached_property
    def unfoldable(self) -> str:
        """Why the network cannot be computed in integers, and so become an artefact, one sentence; "" if it can."""
        return unfoldable(self._graph, self.units, self.input_scale, self.input_coding.max_value)

    @property
    def foldable(self) -> bool:
        """Whether the whole network can be computed in integers, and so become an artefact."""
        return not self.unfoldable

    @property
    def _graph(self) -> Graph:
        return tuple((layer, self.sources(index)) for index, layer in enumerate(self.layers))

    @property
    def bits(self) -> tuple[int | None, ...]:
        """Bits of the weights of every layer that has some."""
        return tuple(layer.bits for layer in self.layers if layer.weighted)

    @property
    def weighted_count(self) -> int:
        return sum(layer.weighted for layer in self.layers)

    def with_bits(self, bits: Sequence[int | None]) -> "NetworkSpec":
        """The same network with other weight bits, one for every layer with weights."""
        given = iter(bits)
        layers = tuple(
            replace(layer, bits=next(given)) if layer.weighted else layer for layer in self.layers
        )
        return replace(self, layers=layers)
