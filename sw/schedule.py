"""What one engine shared by all layers does for a network, step after step.

The contract between sw and hw for the shared engine, as `sw.folding` is for the pipeline.  A `Step` computes one layer:
for every group of P output channels, for every output position, at every timestep, it accumulates the windows of its
terms, fires and stores.  All timesteps of one layer are done before the next layer begins, and those of one position
one after another: a potential lives only that long, and every weight comes in once an image, whatever T is.

A max pooling that follows is part of the step: the positions of a pooled block come one after another, and only their
largest code is stored; rows and columns that the pooling drops are not computed at all.  Joins and pools of their own
are steps like others, see `sw.terms`; a sum of spikes fires at the threshold 1.

Values, not codes, lie in the memory of maps: E bits a value, L values a word, a pixel in successive words.  An input
value of more than E bits lies in pieces of E bits, all pieces of a channel in the same word.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from sw.folding import is_flat
from sw.network import INPUT, Coding, Network, NetworkError, Neuron
from sw.terms import Term, sum_of

# Clocks from the start of a step to its first slot, and from its last slot to the next start, besides those in which
# the last pass is fired.
STEP_LATENCY = 20

# Clocks until a potential is back, besides one for every exponent.
POTENTIAL_LATENCY = 3

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
        """`lanes` lanes with the widest words that suit them, of at most 16 values."""
        return cls(
            lanes=lanes,
            fire_units=fire_units,
            word_codes=min(16, lanes & -lanes) if lanes > 0 else 1,
        )

    @property
    def minimum_pass(self) -> int:
        """Fewest slots of one pass: the fire units drain P lanes."""
        return self.lanes // self.fire_units


@dataclass(frozen=True, eq=False)
class Step:
    """One layer on the shared engine.

    Members
        layer: whose codes, or scores, are computed; stored: whose output is kept, `layer` or its last max pooling
        terms: windows of every output position; weight_width: bits of their weights
        channels: C_out; map: (H, W) of what is stored; pool: (p_h, p_w), (1, 1) without pooling; timesteps: T
        bias: int64 (C_out,), one less where the boundary is open; threshold: int64 (C_out,), None for scores
        coding: of the codes that are fired, None for scores
        neuron: whose potential lasts to the next timestep; None for scores, which add up, and for sums of spikes
        accumulator_width, potential_width: bits
    """

    layer: int
    stored: int
    terms: tuple[Term, ...]
    weight_width: int
    channels: int
    map: tuple[int, int]
    pool: tuple[int, int]
    timesteps: int
    bias: np.ndarray
    threshold: np.ndarray | None
    coding: Coding | None
    neuron: Neuron | None
    accumulator_width: int
    potential_width: int

    @property
    def passes(self) -> int:
        """Passes of every group: output positions at every timestep."""
        return self.map[0] * self.map[1] * self.pool[0] * self.pool[1] * self.timesteps

    @property
    def carries(self) -> bool:
        """Potentials, or scores, last from one timestep to the next."""
        return self.timesteps > 1 and (self.neuron is not None or self.coding is None)


@dataclass(frozen=True, eq=False)
class Schedule:
    """A network on a shared engine.  Raises NetworkError, on construction, for what the engine cannot run."""

    network: Network
    sharing: Sharing

    def __post_init__(self) -> None:
        if self.planes > self.sharing.word_codes:
            raise NetworkError(
                f"words of {self.sharing.word_codes} codes cannot hold an input value in {self.planes} pieces; "
                "use more lanes"
            )

    @cached_property
    def flat_input(self) -> bool:
        """The input is one pixel of C * H * W channels, because only flat dense layers read it."""
        return all(is_flat(self.network.layers[index]) for index in self.network.readers(INPUT))

    @cached_property
    def input_shape(self) -> tuple[int, int, int]:
        c, h, w = self.network.input_shape
        return (c * h * w, 1, 1) if self.flat_input else (c, h, w)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        network, steps, done = self.network, [], set()
        for index, layer in enumerate(network.layers):
            readout = network.is_readout(index)
            if index in done or (network.sent(index) is None and not readout):
                continue  # stored with the map before it, or a current, which its readers add up
            computed, stored, pool = index, index, (1, 1)
            if layer.kind == "maxpool":  # of a map that others read, too: fired again
                (computed,), pool = network.sources(index), layer.pool
            while [network.layers[reader].kind for reader in network.readers(stored)] == [
                "maxpool"
            ]:
                (stored,) = network.readers(stored)
                done.add(stored)
                more = network.layers[stored].pool
                pool = (pool[0] * more[0], pool[1] * more[1])
            steps.append(self._step(index, computed, stored, pool))
        return tuple(steps)

    def _step(self, index: int, computed: int, stored: int, pool: tuple[int, int]) -> Step:
        """What layer `index` adds up becomes the codes of layer `computed`; `stored` is kept."""
        network, layer = self.network, self.network.layers[index]
        coding = None if network.is_readout(index) else network.sent(computed)
        channels, total = network.shapes[index + 1][0], sum_of(network, index)
        bias, threshold, width = total.bias, layer.threshold, network.firing_width(index)
        if layer.neuron is None and coding is not None:  # a sum of spikes fires itself
            threshold, width = np.ones(channels, np.int64), coding.max_value.bit_length() + 1
        elif layer.neuron is not None and layer.neuron.boundary == "open":
            bias = bias - 1
        return Step(
            layer=computed,
            stored=stored,
            terms=tuple(map(self._placed, total.terms)),
            weight_width=total.weight_width,
            channels=channels,
            map=network.shapes[stored + 1][1:],
            pool=pool,
            timesteps=network.timesteps,
            bias=bias,
            threshold=threshold,
            coding=coding,
            neuron=layer.neuron,
            accumulator_width=total.accumulator_width,
            potential_width=width,
        )

    def _placed(self, term: Term) -> Term:
        """The same term on the map as it is stored."""
        if term.source != INPUT or not self.flat_input:
            return term
        weights = term.weights.transpose(0, 2, 3, 1).reshape(len(term.weights), -1, 1, 1)
        return replace(term, shape=self.input_shape, weights=weights)

    # ------------------------------------------------------------------------------------------- words of values

    @cached_property
    def value_width(self) -> int:
        """E, bits of a stored value: those of the largest value that a layer fires."""
        fired = [step.coding for step in self.steps if step.coding is not None]
        return max(coding.max_value.bit_length() for coding in fired or [self.network.input_coding])

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

    def group_words(self, term: Term) -> int:
        """Words of a pixel that one group reads: all, or of a diagonal term those of its own channels."""
        words = self.words(term.source, term.shape[0])
        return min(words, self.sharing.lanes // self.sharing.word_codes) if term.diagonal else words

    def numbers(self, step: Step) -> list[int]:
        """Number of the first word of every term within the window, and at last the number of all.

        A word has `word_rows` rows of weights; what follows the input begins with a row that word_codes divides.
        """
        found = [0]
        for n, term in enumerate(step.terms):
            words = term.kernel[0] * term.kernel[1] * self.group_words(term)
            found.append(found[-1] + words)
            last_of_input = term.source == INPUT and n + 1 < len(step.terms)
            if last_of_input and step.terms[n + 1].source != INPUT:
                found[-1] = -(-found[-1] * self.input_codes // self.sharing.word_codes)
        return found

    def rows(self, step: Step) -> int:
        """Words of P weights that one group needs."""
        return self.numbers(step)[-1] * self.word_rows(step.terms[-1].source)

    @property
    def largest_group(self) -> int:
        """Words of P weights of the group that needs most: the least that a buffer must hold."""
        return max(self.rows(step) for step in self.steps)

    @property
    def streamed_rows(self) -> int:
        """Words of P weights that come in for every image."""
        return sum(self.groups(step) * self.rows(step) for step in self.steps)

    # ---------------------------------------------------------------------------------------------------- clocks

    @property
    def turn(self) -> int:
        """Clocks until a potential is back for the next timestep, or 0 without one."""
        return self.value_width + POTENTIAL_LATENCY if self.network.timesteps > 1 else 0

    def forecast(self, work: np.ndarray, *, depth: int, beats: Sequence[float]) -> np.ndarray:
        """The clock at which each image of a batch ends, images back to back; int64 (batch,).

        A group of output channels begins when the one before has ended and its weights are there; its weights come in
        behind those of the groups before, as far as the buffer has room.  A step begins when the one before is stored.

        work: `SharedTrace.work`; depth: words of the buffer; beats: clocks of the weight stream for a word, of
        every step
        """
        firing = self.sharing.minimum_pass
        latency = STEP_LATENCY + firing + self.value_width
        latency -= max(0, self.turn - firing)  # after the last pass nobody waits for potentials
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
