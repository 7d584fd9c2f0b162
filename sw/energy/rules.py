"""What paper 1's metric leaves open, what it counts in a layer, and what that costs; see `sw.energy.lemaire`."""

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import Self

from sw.energy.technology import Technology

CHOICES = {
    "bank": ("filter", "layer", "layer and bias"),
    "bias": ("channel", "neuron"),
    "spike": ("levels", "value", "bits"),
    "address": ("taps", "synapses"),
    "weightless": ("free", "counted"),
}


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the metric leaves open.  The defaults are those with which paper 1's tables come out.

    Parameters
        word_bits: of weights, biases, potentials, activations and events.
        fifo_words: of the FIFO between two spiking layers.
        bank: the memory that a weight is read from: one "filter" (C_in k^2 words, as the tables imply), the "layer"
            (as the authors' code has it), or the "layer and bias".
        bias: one read a "channel" and timestep (as the tables imply), or a "neuron" (equations 6 and 7).
        spike: additions of one spike at one synapse: "levels", N for each (paper 1; bias, reset and addresses too),
            its "value", or its set "bits", shift-and-adds as hardware does.
        address: of one spike: "taps", k^2 ACC and next to none in dense layers (the authors' code, as the tables
            imply), or "synapses", C_out k^2 and N_o (eq. 16.3).  Of a dense ReLU layer N_i N_o or N_i + N_o.
        weightless: whether pooling, and sums of spikes, are "free" (the authors' code: every unit of a sum without
            neurons is one event for its reader), or "counted": accesses, additions, firing.

    Raises ValueError for what is not a choice.
    """

    word_bits: int = 16
    fifo_words: int = 1000
    bank: str = "filter"
    bias: str = "channel"
    spike: str = "levels"
    address: str = "taps"
    weightless: str = "free"

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                known = ", ".join(repr(choice) for choice in choices)
                raise ValueError(f"{name} must be one of {known}, not {value!r}")
        for name in ("word_bits", "fifo_words"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")


TABLES = Rules()
ARTICLE = Rules(
    word_bits=32, bank="layer and bias", bias="neuron", spike="value", address="synapses"
)


@dataclass(frozen=True, kw_only=True)
class Work:
    """Operations and memory accesses of a layer and an inference, and the words of each memory."""

    macs: float = 0.0
    adds: float = 0.0
    address_macs: float = 0.0
    address_adds: float = 0.0
    potentials: float = 0.0  # reads and writes
    potential_words: int = 0
    weights: float = 0.0
    weight_words: int = 0
    biases: float = 0.0
    bias_words: int = 0
    inputs: float = 0.0
    input_words: int = 0
    outputs: float = 0.0
    output_words: int = 0


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Energy in pJ by the rows of paper 1's tables 3 and 4."""

    potentials: float = 0.0
    weights: float = 0.0
    bias: float = 0.0
    in_out: float = 0.0
    operations: float = 0.0
    addresses: float = 0.0

    def __add__(self, other: Self) -> "Cells":
        pairs = zip(NAMES, astuple(self), astuple(other), strict=True)
        return Cells(**{name: mine + its for name, mine, its in pairs})

    @property
    def memory(self) -> float:
        return self.potentials + self.weights + self.bias + self.in_out

    @property
    def total(self) -> float:
        return self.memory + self.operations + self.addresses


NAMES = tuple(Cells.__dataclass_fields__)


def total(layers: Iterable[Cells]) -> Cells:
    """The network."""
    return sum(layers, Cells())


def price(work: Work, technology: Technology, rules: Rules) -> Cells:
    """Counts times costs."""

    def access(count: float, words: int) -> float:
        return count * technology.access_pj(words, rules.word_bits)

    return Cells(
        potentials=access(work.potentials, work.potential_words),
        weights=access(work.weights, work.weight_words),
        bias=access(work.biases, work.bias_words),
        in_out=access(work.inputs, work.input_words) + access(work.outputs, work.output_words),
        operations=work.macs * technology.mac_pj + work.adds * technology.add_pj,
        addresses=work.address_macs * technology.mac_pj + work.address_adds * technology.add_pj,
    )
