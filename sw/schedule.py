"""What one engine shared by all layers does for a network, step after step.

The contract between sw and hw for the shared engine, as `sw.folding` is for the pipeline.  A `Step` computes one layer:
for every group of P output channels, for every output position, it accumulates the windows of its terms, fires and
stores.  A max pooling that follows is part of the step: the positions of a pooled block come one after another, and
only their largest code is stored; rows and columns that the pooling drops are not computed at all.

Values, not codes, lie in the memory of maps: E bits a value, L values a word, a pixel in successive words.  An input
value of more than E bits lies in pieces of E bits, all pieces of a channel in the same word.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sw.folding import is_flat
from sw.network import INPUT, Coding, Network, NetworkError

# Clocks from the start of a step to its first slot, and from its last slot to the next start, besides those in which
# the last pass is fired.
STEP_LATENCY = 20

# Counters of the shared engine, for every step; what each counts is said in `sw.folding`.
COUNTERS = (
    "clocks",
    "accumulations",
    "synaptic_operations",
    "weight_reads",
    "spike_reads",
    "spike_writes",
    "output_spikes",
)


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """Parallelism of the shared engine.

    Parameters
        lanes: P, output channels that accumulate in parallel.
        fire_units: F, neurons that fire a clock; divides L.
        word_codes: L, values of a word; a power of two that divides P.
    """

    lanes: int = 16
    fire_units: int = 1
    word_codes: int = 16

    def __post_init__(self) -> None:
        for name in ("lanes", "fire_units", "word_codes"):
            value = getattr(self, name)
            if not isinstance(value, int) or not 1 <= value <= 1024:
                raise NetworkError(f"{name} must be an integer in 1..1024, not {value!r}")
        if self.word_codes & (self.word_codes - 1) or self.lanes % self.word_codes:
            raise NetworkError(
                f"word_codes {self.word_codes} must be a power of two that divides the {self.lanes} lanes"
            )
        if self.word_codes % self.fire_units:
            raise NetworkError(
                f"fire_units {self.fire_units} must divide the {self.word_codes} codes of a word"
            )

    @classmethod
    def of(cls, lanes: int, fire_units: int = 1) -> "Sharing":
        """`lanes` lanes with the widest words that suit them, of at most 32 values."""
        return cls(
            lanes=lanes,
            fire_units=fire_units,
            word_codes=min(32, lanes & -lanes) if lanes > 0 else 1,
        )

    @property
    def minimum_pass(self) -> int:
        """Fewest slots of one pass: the fire units drain P lanes."""
        return self.lanes // self.fire_units


@dataclass(frozen=True, eq=False)
class Term:
    """One window that a step accumulates.

    Members
        source: layer whose stored map is read, or INPUT; shape: of that map, (C, H, W)
        weights: int8, (C_out, C, k_h, k_w); stride, padding, average: as in `Layer`
    """

    source: int
    shape: tuple[int, int, int]
    weights: np.ndarray
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    average: tuple[int, int] = (1, 1)

    @property
    def kernel(self) -> tuple[int, int]:
        return int(self.weights.shape[2]), int(self.weights.shape[3])


@dataclass(frozen=True, eq=False)
class Step:
    """One layer on the shared engine.

    Members
        layer: whose codes, or scores, are computed; stored: whose output is kept, `layer` or its last max pooling
        terms: windows of every output position; weight_width: bits of their weights
        channels: C_out; map: (H, W) of what is stored; pool: (p_h, p_w), (1, 1) without pooling
        bias: int64 (C_out,), one less where the boundary is open; threshold: int64 (C_out,), None for scores
        coding: of the codes that are fired, None for scores
        accumulator_width, potential_width: bits
    """

    layer: int
    stored: int
    terms: tuple[Term, ...]
    weight_width: int
    channels: int
    map: tuple[int, int]
    pool: tuple[int, int]
    bias: np.ndarray
    threshold: np.ndarray | None
    coding: Coding | None
    accumulator_width: int
    potential_width: int

    @property
    def passes(self) -> int:
        """Output positions, and so passes of every group."""
        return self.map[0] * self.map[1] * self.pool[0] * self.pool[1]


@dataclass(frozen=True, eq=False)
class Schedule:
    """A network on a shared engine.  Raises NetworkError, on construction, for what the engine cannot run."""

    network: Network
    sharing: Sharing

    def __post_init__(self) -> None:
        if self.network.timesteps != 1:
            raise NetworkError(
                "the shared engine keeps no potentials and runs networks of one timestep, not of "
                f"{self.network.timesteps}; generate the pipeline of all layers"
            )
        if not self.network.is_chain:
            raise NetworkError(
                "the shared engine runs chains of layers, not joins, sum pools and forks; generate the pipeline"
            )
        if self.planes > self.sharing.word_codes:
            raise NetworkError(
                f"words of {self.sharing.word_codes} codes cannot hold an input value in {self.planes} pieces; "
                "use more lanes"
            )

    @cached_property
    def flat_input(self) -> bool:
        """The input is one pixel of C * H * W channels, because the layer that reads it is a flat dense one."""
        return is_flat(self.network.layers[0])

    @cached_property
    def input_shape(self) -> tuple[int, int, int]:
        c, h, w = self.network.input_shape
        return (c * h * w, 1, 1) if self.flat_input else (c, h, w)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        network, steps = self.network, []
        index, source = 0, INPUT
        while index < len(network.layers):
            layer = network.layers[index]
            if layer.weights is None or layer.bias is None:
                raise NetworkError(
                    f"layer {index}: the shared engine pools what it has fired; the network must not begin with a "
                    f"{layer.kind} layer"
                )
            stored, pool = index, (1, 1)
            for behind in network.layers[index + 1 :]:
                if behind.kind != "maxpool":
                    break
                stored += 1
                pool = (pool[0] * behind.pool[0], pool[1] * behind.pool[1])
            weights, shape = layer.weights, network.shapes[index]
            if source == INPUT and self.flat_input:
                shape = self.input_shape
                weights = weights.transpose(0, 2, 3, 1).reshape(len(weights), -1, 1, 1)
            is_open = layer.neuron is not None and layer.neuron.boundary == "open"
            steps.append(
                Step(
                    layer=index,
                    stored=stored,
                    terms=(
                        Term(source, shape, weights, layer.stride, layer.padding, layer.average),
                    ),
                    weight_width=layer.weight_width,
                    channels=len(weights),
                    map=network.shapes[stored + 1][1:],
                    pool=pool,
                    bias=layer.bias - is_open,
                    threshold=layer.threshold,
                    coding=None if layer.neuron is None else layer.neuron.coding,
                    accumulator_width=network.bounds(index).accumulator_width,
                    potential_width=network.firing_width(index),
                )
            )
            source, index = stored, stored + 1
        return tuple(steps)

    # ------------------------------------------------------------------------------------------- words of values

    @cached_property
    def value_width(self) -> int:
        """E, bits of a stored value: those of the largest value that a layer fires."""
        fired = [
            layer.neuron.coding for layer in self.network.layers if layer.neuron is not None
        ] or [self.network.input_coding]
        return max(coding.max_value.bit_length() for coding in fired)

    @property
    def planes(self) -> int:
        """Pieces of an input value."""
        return -(-self.network.input_coding.max_value.bit_length() // self.value_width)

    @property
    def input_codes(self) -> int:
        """Input values of a word."""
        return min(self.sharing.word_codes // self.planes, self.input_shape[0])

    def word_rows(self, source: int) -> int:
        """Channels of a word of the map of layer `source`, and so rows of weights that it needs."""
        return self.input_codes if source == INPUT else self.sharing.word_codes

    def words(self, source: int, channels: int) -> int:
        """Words of a pixel of `channels` channels in the map of layer `source`."""
        return -(-channels // self.word_rows(source))

    # --------------------------------------------------------------------------------------------------- weights

    def groups(self, step: Step) -> int:
        return -(-step.channels // self.sharing.lanes)

    def rows(self, step: Step) -> int:
        """Words of P weights that one group needs."""
        return sum(
            term.kernel[0]
            * term.kernel[1]
            * self.words(term.source, term.shape[0])
            * self.word_rows(term.source)
            for term in step.terms
        )

    @property
    def largest_group(self) -> int:
        """Words of P weights of the group that needs most: the least that a buffer must hold."""
        return max(self.rows(step) for step in self.steps)

    @property
    def streamed_rows(self) -> int:
        """Words of P weights that come in for every image."""
        return sum(self.groups(step) * self.rows(step) for step in self.steps)

    # ---------------------------------------------------------------------------------------------------- clocks

    def forecast(self, work: np.ndarray, *, depth: int, beats: Sequence[int]) -> np.ndarray:
        """The clock at which each image of a batch ends, images back to back; int64 (batch,).

        A group of output channels begins when the one before has ended and its weights are there; its weights come in
        behind those of the groups before, as far as the buffer has room.  A step begins when the one before is stored.

        work: `SharedTrace.work`; depth: words of the buffer; beats: of the weight stream for a word, of every step
        """
        latency = STEP_LATENCY + self.sharing.minimum_pass + self.value_width
        ends, queue = (
            [],
            deque[tuple[int, float]](),
        )  # words and end of every group whose words lie in the buffer
        room, arrived, now = depth, 0.0, 0.0
        for clocks in work.tolist():
            for step, step_clocks, step_beats in zip(self.steps, clocks, beats, strict=True):
                now += latency
                rows, groups = self.rows(step), self.groups(step)
                for _ in range(groups):
                    awaited = rows
                    while awaited:
                        while queue and (queue[0][1] <= arrived or not room):
                            freed, end = queue.popleft()
                            room, arrived = room + freed, max(arrived, end)
                        taken = min(awaited, room)
                        arrived += taken * step_beats
                        room, awaited = room - taken, awaited - taken
                    now = max(now, arrived) + step_clocks / groups
                    queue.append((rows, now))
            ends.append(round(now))
        return np.array(ends, np.int64)
