"""Folding: how many lanes each layer gets, and what the hardware counts with them.

The second half of the contract between sw.golden and hw.  A `Folding` never changes a spike, only clocks and memory
words; the closed forms that turn spikes into counts are written here once, beside the names of the counters.

A pass is one group of P output channels at one output position.  It costs one slot (clock) for every event of its
window, and at least `minimum_pass` slots, the time in which the fire units drain the previous group::

    slots(pass) = max(events(window), minimum_pass)

An event is a set bit of a multi-level code or a one-hot spike; in a layer that multiplies, any code but a silent one.
A pool takes a beat a clock, a join sends one; sw.skips says how many beats wait before a join.
"""

from dataclasses import dataclass

import numpy as np

from sw.network import INPUT, Layer, Network, NetworkError

COUNTERS = (
    "clocks",  # slots in which the layer works: events, waits for its own fire units; beats of joins, pools
    "accumulations",  # slots in which the lanes add
    "input_spikes",  # non-zero codes received
    "output_spikes",  # non-zero codes sent (0 for the readout)
    "synaptic_operations",  # shift-and-adds or multiply-adds, lanes without a channel not counted
    "weight_reads",  # words of P weights
    "spike_reads",  # words of L codes; of pools and joins beats
    "spike_writes",  # words of L codes; of pools and joins beats
    "potential_reads",  # words of F potentials
    "potential_writes",  # words of F potentials
)

# The window unit needs this many clocks to present the next window, whatever the folding.
WINDOW_LATENCY = 3


@dataclass(frozen=True, kw_only=True)
class Folding:
    """Parallelism of one layer.

    Parameters
        lanes: P, output channels that accumulate in parallel.
        fire_units: F, neurons that fire per clock; divides P and the output channels, codes per beat of the output.
        word_codes: L, input codes per word of the spike memory.
        spare_rows: rows that the spike memory holds beyond those that it needs, so that a crowded row of this layer
            holds up the one before less.
        multiply: add weight * value of each code, by a multiplier in every lane, instead of shifts.

    A pool uses none of them, a join only fire_units, which are the codes per beat of all its sources.
    """

    lanes: int = 1
    fire_units: int = 1
    word_codes: int = 1
    spare_rows: int = 0
    multiply: bool = False

    def check(self, network: Network, index: int) -> None:
        """Raise NetworkError when the folding does not suit layer `index` of `network`."""
        layer = network.layers[index]
        if layer.is_pool:
            return
        channels = network.shapes[index + 1][0]
        for name in ("lanes", "fire_units", "word_codes"):
            value = getattr(self, name)
            if not isinstance(value, int) or not 1 <= value <= 1024:
                raise NetworkError(
                    f"layer {index}: {name} must be an integer in 1..1024, not {value!r}"
                )
        if layer.kind == "join":
            return
        if not isinstance(self.spare_rows, int) or not 0 <= self.spare_rows <= 64:
            raise NetworkError(
                f"layer {index}: spare_rows must be an integer in 0..64, not {self.spare_rows!r}"
            )
        if not isinstance(self.multiply, bool):
            raise NetworkError(
                f"layer {index}: multiply must be true or false, not {self.multiply!r}"
            )
        if self.lanes % self.fire_units or channels % self.fire_units:
            raise NetworkError(
                f"layer {index}: fire_units {self.fire_units} must divide both the {self.lanes} lanes "
                f"and the {channels} output channels"
            )
        if network.is_readout(index) and self.fire_units != 1:
            raise NetworkError(
                f"layer {index}: the readout reads one score a clock; fire_units must be 1"
            )

    def group_count(self, channels: int) -> int:
        """Passes per output position."""
        return -(-channels // self.lanes)

    @property
    def minimum_pass(self) -> int:
        """Fewest slots of one pass."""
        return max(self.lanes // self.fire_units, WINDOW_LATENCY)


def pass_slots(events: np.ndarray, folding: Folding) -> np.ndarray:
    """Slots of one pass over windows of so many events, int64."""
    return np.maximum(events, folding.minimum_pass)


def sent_codes(network: Network, foldings: tuple["Folding", ...], index: int) -> int:
    """Codes (or currents) per beat of the stream that layer `index`, or INPUT, sends."""
    while index != INPUT:
        if not network.layers[index].is_pool:
            return foldings[index].fire_units
        index = network.sources(index)[0]
    return 1


def beat_codes(network: Network, foldings: tuple["Folding", ...], index: int, k: int = 0) -> int:
    """Codes per beat of the stream that enters layer `index` from its source `k`."""
    return sent_codes(network, foldings, network.sources(index)[k])


def beat_partners(network: Network) -> tuple[frozenset[int], ...]:
    """For each layer, all that send as many codes a beat as it: what meets in a join does, and pools pass beats on.

    Only sets with INPUT, -1, have members that send the input's one code a beat.
    """
    partners = {index: {index} for index in range(INPUT, len(network.layers))}
    for index, layer in enumerate(network.layers):
        if layer.is_weighted:
            continue
        for source in network.sources(index):
            partners[index] |= partners[source]
            for other in partners[index]:
                partners[other] = partners[index]
    return tuple(frozenset(partners[index]) for index in range(len(network.layers)))


def check_foldings(network: Network, foldings: tuple["Folding", ...]) -> None:
    """Raise NetworkError when a folding does not suit its layer, or the layers do not suit each other."""
    if len(foldings) != len(network.layers):
        raise NetworkError(
            f"{len(foldings)} foldings for {len(network.layers)} layers; give one for each"
        )
    for index, (layer, folding) in enumerate(zip(network.layers, foldings, strict=True)):
        folding.check(network, index)
        beat = beat_codes(network, foldings, index)
        if layer.is_weighted and folding.word_codes % beat:
            raise NetworkError(
                f"layer {index}: word_codes {folding.word_codes} must be a multiple of the {beat} codes "
                "that arrive a beat (fire_units of the layer before)"
            )
        if layer.kind != "join":
            continue
        for source in network.sources(index):
            beat = sent_codes(network, foldings, source)
            if beat != folding.fire_units:
                name = "the network's input" if source == INPUT else f"layer {source}"
                raise NetworkError(
                    f"layer {index}: a join's fire_units {folding.fire_units} must be the {beat} codes that {name} "
                    "sends a beat, and those of all its sources"
                )


def is_flat(layer: Layer) -> bool:
    """A dense layer without averaging sees its map as one pixel of C * H * W channels, in stream order (y, x, c)."""
    return layer.kind == "dense" and layer.average == (1, 1)


def pixel_codes(network: Network, index: int) -> int:
    """Codes of one stored input pixel of layer `index`: C, or C * H * W where the map is flat."""
    c, h, w = network.input_shape_of(index)
    return c * h * w if is_flat(network.layers[index]) else c
