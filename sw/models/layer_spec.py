"""Descriptions of neurons and layers: plain data."""

from dataclasses import dataclass, field

from torch import Tensor

from sw.models.quantise import floor_through, largest
from sw.neurons import Leak

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
        """Whether integers and hardware can do this neuron; a barrier only behind a join."""
        return (
            self.kind in (*FOLDABLE, "barrier")
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
