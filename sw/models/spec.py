"""Descriptions of networks: plain data, from which trainable networks and integer artefacts are built.

A `NetworkSpec` is a list of layers in the order in which they are computed.  A layer reads the layer before it unless
it names its inputs, so a chain needs no names and a residual block names two.  The last layer is the readout.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from math import prod
from typing import Any

from torch import Tensor

from sw.datasets.common import PIXELS
from sw.models.quantise import floor_through, largest
from sw.network import Coding
from sw.neurons import Leak

PIXEL_SCALE = 1 / 255
INPUT = -1  # the index by which a layer names the network's input

SPIKING = ("multi-level", "one-hot", "thermometer", "rounding", "barrier")
ANALOGUE = ("relu", "uniform-relu", "log-relu")
FOLDABLE = ("multi-level", "one-hot")


@dataclass(frozen=True, kw_only=True)
class NeuronSpec:
    """A neuron, as in sw.network.Neuron where hardware knows it, with what training adds.

    Parameters
        kind: "multi-level", "one-hot", "thermometer", "rounding", "barrier", or of an analogue twin "relu",
            "uniform-relu" (levels), "log-relu" (levels = bits); see sw.neurons.
        levels: N, S lanes, or bits.
        boundary, reset, leak, leak_shift: as in sw.network.Neuron.
        threshold: initial theta, in units of the batch norm's output.
        learn_threshold, learn_leak: whether they are parameters; a learned leak replaces leak and leak_shift.
        surrogate: of the spike, "" for the kind's own default.
        edge: of a one-hot surrogate, 0.5 in the paper, 1.5 in the published code.
        gamma, alpha: height of a triangle (0.3 in the paper; 1 trains small networks better) and steepness of a
            sigmoid; 0 for the kind's own default.
        normalised, input_decay: of one-hot lanes, see sw.neurons.
        charge: of a multi-level neuron, "once" or "repeated" (N times, as in the paper).
    """

    kind: str = "multi-level"
    levels: int = 4
    boundary: str = "closed"
    reset: str = "soft"
    leak: str = "none"
    leak_shift: int = 0
    threshold: float = 0.5
    learn_threshold: bool = True
    learn_leak: bool = False
    surrogate: str = ""
    edge: float = 0.5
    gamma: float = 0.0
    alpha: float = 0.0
    normalised: bool = False
    input_decay: bool = False
    charge: str = "once"

    def __post_init__(self) -> None:
        if self.kind not in (*SPIKING, *ANALOGUE):
            known = ", ".join((*SPIKING, *ANALOGUE))
            raise ValueError(f"neuron kind must be one of {known}, not {self.kind!r}")
        if self.input_decay and self.leak == "none" and not self.learn_leak:
            raise ValueError(
                "network.neuron.input_decay needs a leak, of which the input gets the rest; set leak to 'shift'"
            )

    @property
    def foldable(self) -> bool:
        """Whether integers and hardware can do this neuron."""
        return (
            self.kind in FOLDABLE
            and not (self.learn_leak or self.normalised or self.input_decay)
            and self.charge == "once"
        )

    @property
    def values(self) -> range | None:
        """The values that a spike can have, None if they are not whole numbers."""
        if self.kind in ("multi-level", "rounding", "barrier"):
            return range(self.levels + 1)
        if self.kind in ("one-hot", "thermometer") and not self.normalised:
            return range(
                (1 << self.levels) if self.kind == "thermometer" else (1 << (self.levels - 1)) + 1
            )
        return None

    def decay(self, *, exact: bool) -> Leak:
        """leak(V): the shift that the hardware does, rounded toward minus infinity if exact."""
        if self.leak == "none":
            return 1.0
        factor = 2.0**-self.leak_shift
        if not exact:
            return 1 - factor if self.leak == "retain" else factor

        def leak(v: Tensor) -> Tensor:
            shifted = floor_through(v * factor)
            return v - shifted if self.leak == "retain" else shifted

        return leak


@dataclass(frozen=True, kw_only=True)
class LayerSpec:
    """A layer: synapses, batch norm, neuron, pooling, each of which may be absent.

    Parameters
        kind: "conv", "dense", or "join", which adds its inputs and has no weights.
        channels: output channels; of a join, those of its inputs.
        inputs: indices of the layers it reads, INPUT for the network's input; () for the layer before.
        bits: of a weight, 2..8, or None for weights that are not quantised.
        kernel, stride, padding: of a conv, the same in both directions.
        average: average pooling of the input (of a join: of the sum), p x p.
        norm: whether batch norm follows the synapses.
        bias: whether the synapses have a bias; without batch norm and neuron (the readout) they do by default.
        neuron: None for the readout, and for a branch whose current a join adds.
        pool: max pooling of the output, p x p; pool_kernel and pool_padding if its windows overlap.
        dropout: probability, of the output.
        quiet: keep every bias below its threshold, so that a silent input stays silent.
    """

    kind: str
    channels: int = 0
    inputs: tuple[int, ...] = ()
    bits: int | None = 8
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    average: int = 1
    norm: bool = True
    bias: bool = False
    neuron: NeuronSpec | None = field(default_factory=NeuronSpec)
    pool: int = 1
    pool_kernel: int = 0
    pool_padding: int = 0
    dropout: float = 0.0
    quiet: bool = True

    def __post_init__(self) -> None:
        if self.kind not in ("conv", "dense", "join"):
            raise ValueError(f"layer kind must be 'conv', 'dense' or 'join', not {self.kind!r}")
        if self.bits is not None:
            largest(self.bits)

    @property
    def weighted(self) -> bool:
        return self.kind != "join"


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

    @property
    def foldable(self) -> bool:
        """Whether the whole network can be computed in integers, and so become an artefact."""
        return all(
            layer.kind != "join"
            and layer.bits is not None
            and (layer.neuron is None or layer.neuron.foldable)
            and not layer.pool_kernel
            and layer.norm == (layer.neuron is not None)
            and self.sources(index) == (index - 1,)
            for index, layer in enumerate(self.layers)
        )

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
