"""Geometry of the layers that an energy metric is computed for, written down, or of a description or an artefact.

Poolings and averages are layers of their own here, whatever layer they belong to elsewhere.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sw.models.spec import INPUT, NetworkSpec
from sw.network import Network

Shape = tuple[int, int, int]
KINDS = ("conv", "dense", "pool", "add")


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """One layer.

    Parameters
        kind: "conv", "dense", "pool", or "add": the sum of its inputs, element by element, or bare neurons.
        input_shape, output_shape: (C, H, W) of one input, and of the output.
        kernel, stride: (vertical, horizontal) of a conv.
        sources: indices of the layers that it reads, INPUT for the network's input; () for the layer before.
        bias: whether there is one; leak: whether its neurons multiply their potential every timestep.
        fires: whether neurons follow.
        spikes: whether spikes travel out of it, or sums or pools of spikes, not currents or scores.

    Raises ValueError for an unknown kind or a size below 1.
    """

    name: str
    kind: str
    input_shape: Shape
    output_shape: Shape
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    sources: tuple[int, ...] = ()
    bias: bool = True
    leak: bool = False
    fires: bool = True
    spikes: bool = True

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(
                f"layer {self.name}: kind must be one of {', '.join(KINDS)}, not {self.kind!r}"
            )
        sizes = (*self.input_shape, *self.output_shape, *self.kernel, *self.stride)
        if min(sizes) < 1:
            raise ValueError(f"layer {self.name}: a size is {min(sizes)}; every one is at least 1")

    @property
    def weighted(self) -> bool:
        return self.kind in ("conv", "dense")

    @property
    def inputs(self) -> int:
        """N_i, elements of one input."""
        return math.prod(self.input_shape)

    @property
    def outputs(self) -> int:
        """N_o."""
        return math.prod(self.output_shape)

    @property
    def channels(self) -> int:
        """C_out."""
        return self.output_shape[0]

    @property
    def taps(self) -> int:
        """k^2 of a conv; 1."""
        return math.prod(self.kernel)

    @property
    def strided_taps(self) -> int:
        """ceil(k / s)^2, the most kernel positions that one input of a conv meets; 1."""
        return math.prod(-(-k // s) for k, s in zip(self.kernel, self.stride, strict=True))

    @property
    def filter_words(self) -> int:
        """Weights of one output channel: C_in k^2, of a dense layer N_i."""
        return self.inputs if self.kind == "dense" else self.input_shape[0] * self.taps

    @property
    def weights(self) -> int:
        """Weights of the layer, 0 for a layer without."""
        return self.channels * self.filter_words if self.weighted else 0

    @property
    def macs(self) -> int:
        """Synapses of one timestep, those of the borders included: N_o C_in k^2, N_i N_o; 0 without weights."""
        return self.outputs * self.filter_words if self.weighted else 0


def sources(layers: Sequence[Geometry], index: int) -> tuple[int, ...]:
    """The layers that layer `index` reads."""
    return layers[index].sources or (index - 1,)


# ------------------------------------------------------------------------------------------------- written down


def conv(
    name: str, input_shape: Shape, channels: int, *, kernel: int = 3, stride: int = 1
) -> Geometry:
    """A convolution with bias and neurons, padded by kernel // 2."""
    height, width = ((n + 2 * (kernel // 2) - kernel) // stride + 1 for n in input_shape[1:])
    return Geometry(
        name=name,
        kind="conv",
        input_shape=input_shape,
        output_shape=(channels, height, width),
        kernel=(kernel, kernel),
        stride=(stride, stride),
    )


def dense(name: str, input_shape: Shape, channels: int, *, fires: bool = True) -> Geometry:
    """A dense layer with bias, and neurons unless it is the readout."""
    return Geometry(
        name=name,
        kind="dense",
        input_shape=input_shape,
        output_shape=(channels, 1, 1),
        fires=fires,
        spikes=fires,
    )


def pool(
    name: str,
    input_shape: Shape,
    output_shape: Shape,
    read: tuple[int, ...] = (),
    *,
    spikes: bool = True,
) -> Geometry:
    """A pooling of spikes, or of currents."""
    return Geometry(
        name=name,
        kind="pool",
        input_shape=input_shape,
        output_shape=output_shape,
        sources=read,
        bias=False,
        fires=False,
        spikes=spikes,
    )


# ------------------------------------------------------------------- of a description, and of an integer artefact

# A layer elsewhere averages what it reads, does what it is for, and pools what it sends.
Part = tuple[int, str]  # (layer of the description, "average", "core" or "pool")


def from_spec(spec: NetworkSpec) -> tuple[Geometry, ...]:
    """Layers of a description.

    Raises ValueError for a join that averages its sum and has neurons or several inputs.
    """
    return tuple(geometry for geometry, _ in parts_of_spec(spec))


def parts_of_spec(spec: NetworkSpec) -> list[tuple[Geometry, Part]]:
    """`from_spec`, and where each layer comes from."""
    made: list[tuple[Geometry, Part]] = []
    sender = {INPUT: INPUT}  # layer of the description -> geometry that sends its output
    for index, layer in enumerate(spec.layers):
        before, after = spec.input_shape_of(index), spec.shapes[index]
        sums = spec.current_shape(layer, [before], index)
        read = tuple(sender[source] for source in spec.sources(index))
        spikes = all(i == INPUT or made[i][0].spikes for i in read)
        if not layer.weighted and layer.average > 1 and (layer.neuron or len(read) > 1):
            raise ValueError(
                f"layer {index} averages a sum within a join; let the layer that reads it average"
            )
        if layer.average > 1:
            small = (before[0], before[1] // layer.average, before[2] // layer.average)
            averaged = pool(f"{index} average", before, small, read, spikes=spikes)
            made.append((averaged, (index, "average")))
            before, read = small, (len(made) - 1,)
        if layer.weighted or layer.average == 1:
            fires = layer.neuron is not None
            size, step = (layer.kernel, layer.stride) if layer.kind == "conv" else (1, 1)
            core = Geometry(
                name=f"{index} {layer.kind}",
                kind=layer.kind if layer.weighted else "add",
                input_shape=before,
                output_shape=sums,
                kernel=(size, size),
                stride=(step, step),
                sources=read,
                bias=layer.weighted and (layer.norm or layer.bias),
                leak=layer.neuron is not None and layer.neuron.learn_leak,
                fires=fires,
                spikes=fires or (spikes and not layer.weighted),
            )
            made.append((core, (index, "core")))
        if layer.pool > 1:
            spikes, read = made[-1][0].spikes, (len(made) - 1,)
            made.append((pool(f"{index} pool", sums, after, read, spikes=spikes), (index, "pool")))
        sender[index] = len(made) - 1
    return made


def from_network(network: Network) -> tuple[Geometry, ...]:
    """Layers of an integer artefact."""
    return tuple(geometry for geometry, _ in parts_of_network(network))


def parts_of_network(network: Network) -> list[tuple[Geometry, Part]]:
    """`from_network`, and where each layer comes from."""
    made: list[tuple[Geometry, Part]] = []
    sender = {INPUT: INPUT}  # layer of the artefact -> geometry that sends its output
    for index, layer in enumerate(network.layers):
        before, after = network.input_shape_of(index), network.shapes[index + 1]
        read = tuple(sender[source] for source in network.sources(index))
        if layer.average != (1, 1):
            small = (before[0], before[1] // layer.average[0], before[2] // layer.average[1])
            made.append((pool(f"{index} average", before, small, read), (index, "average")))
            before, read = small, (len(made) - 1,)
        if layer.is_pool:
            made.append((pool(f"{index} pool", before, after, read), (index, "pool")))
        else:
            core = Geometry(
                name=f"{index} {layer.kind}",
                kind="add" if layer.kind == "join" else layer.kind,
                input_shape=before,
                output_shape=after,
                kernel=layer.kernel if layer.kind == "conv" else (1, 1),
                stride=layer.stride,
                sources=read,
                bias=layer.is_weighted,
                fires=layer.neuron is not None,
                spikes=network.sent(index) is not None,
            )
            made.append((core, (index, "core")))
        sender[index] = len(made) - 1
    return made
