"""Chooses the parallelism of every layer for the lanes, or the memory, that a target offers."""

from argparse import ArgumentTypeError
from collections.abc import Mapping, Sequence, Set
from math import gcd

from sw.folding import Folding, beat_codes, beat_partners, pixel_codes
from sw.network import INPUT, Network, NetworkError

from .weights import LOAD_WIDTH, SPRAM_DEPTH

# Spike words as wide as one block RAM of an ECP5; iCE40 block RAM has 16 bits.
WORD_WIDTH = 36
# Weights that fit three iCE40 block RAMs stay in the bitstream when the others are loaded.
BLOCK_BITS = 12288
BLOCK_LANES = 8
# Clocks in which the fire units drain a group; windows with fewer events are rare.
PASS_CLOCKS = 4
# Events per input code that the estimate of a layer's slots assumes: of pixels, and of spikes.
PIXEL_EVENTS, SPIKE_EVENTS = 1.0, 0.15


def choose_foldings(
    network: Network, lanes: int | Sequence[int] = 16, *, word_width: int = WORD_WIDTH
) -> tuple[Folding, ...]:
    """Foldings with at most `lanes` lanes in every layer (or one number per layer with weights).

    Groups come out evenly filled; fire units are just enough that lanes do not wait for them.
    Raises NetworkError for a number of lanes that is not positive or a sequence of the wrong length.
    """
    weighted = [index for index, layer in enumerate(network.layers) if layer.is_weighted]
    limits = [lanes] * len(weighted) if isinstance(lanes, int) else list(lanes)
    if len(limits) != len(weighted):
        raise NetworkError(
            f"{len(limits)} lane counts for {len(weighted)} layers with weights; give one for each"
        )
    if any(limit < 1 for limit in limits):
        raise NetworkError(f"lanes must be at least 1, not {min(limits)}")
    used = {}
    for index, limit in zip(weighted, limits, strict=True):
        channels = network.shapes[index + 1][0]
        used[index] = -(-channels // -(-channels // limit))
    foldings: list[Folding] = [Folding()] * len(network.layers)
    for index, partners in enumerate(beat_partners(network)):
        if network.layers[index].is_pool:
            continue
        units = _fire_units(network, partners, used)
        if network.layers[index].kind == "join":
            foldings[index] = Folding(fire_units=units)
            continue
        beat = beat_codes(network, tuple(foldings), index)
        word = _word_codes(network, index, beat, word_width)
        foldings[index] = Folding(lanes=used[index], fire_units=units, word_codes=word)
    return tuple(foldings)


def _fire_units(network: Network, partners: Set[int], lanes: Mapping[int, int]) -> int:
    """The fewest fire units with which no lanes of `partners`, who send as many codes a beat, wait for them."""
    if INPUT in partners or network.is_readout(max(partners)):
        return 1
    senders = [index for index in partners if index in lanes]
    common = gcd(*(gcd(lanes[index], network.shapes[index + 1][0]) for index in senders))
    most = max(lanes[index] for index in senders)
    return min(
        (f for f in range(1, common + 1) if common % f == 0 and most // f <= PASS_CLOCKS),
        default=common,
    )


def _word_codes(network: Network, index: int, beat: int, word_width: int) -> int:
    """The most codes, in whole beats, that a word of `word_width` bits holds together with its number."""
    pixel, code_width = pixel_codes(network, index), network.codings[index].code_width
    best = beat
    for count in range(beat, pixel + 1, beat):
        words = -(-pixel // count)
        if count * code_width + (words - 1).bit_length() <= word_width:
            # a pixel in fewer words, or in the same number of narrower ones
            if words < -(-pixel // best):
                best = count
    return best


def estimate_slots(network: Network, index: int, lanes: int) -> float:
    """Slots of layer `index` for one frame of average activity; see `sw.folding` for what a slot is."""
    layer = network.layers[index]
    channels, height, width = network.shapes[index + 1]
    density = SPIKE_EVENTS if index else PIXEL_EVENTS
    events = layer.parameter_count / channels * density
    return -(-channels // lanes) * height * width * max(events, PASS_CLOCKS)


def fold_for_spram(
    network: Network, blocks: int = 4
) -> tuple[tuple[Folding, ...], tuple[int, ...]]:
    """(foldings, loadable layers) for weights in `blocks` single-port RAMs of 16 bits x 16,384.

    Small layers keep their weights in the bitstream.  The layer with the most estimated slots is widened until it
    cannot be: a pipeline is as fast as its slowest layer.  The others then give back the lanes that they do not need.
    Raises NetworkError when the weights do not fit.
    """
    weighted = [index for index, layer in enumerate(network.layers) if layer.is_weighted]
    width = {i: network.layers[i].weight_width for i in weighted}
    bits = {i: network.layers[i].parameter_count * width[i] for i in weighted}
    channels = {i: network.shapes[i + 1][0] for i in weighted}
    loadable = [i for i in weighted if bits[i] > BLOCK_BITS]
    lanes = {i: LOAD_WIDTH // width[i] if i in loadable else BLOCK_LANES // 2 for i in weighted}

    def used() -> int:
        return sum(-(-lanes[i] * width[i] // LOAD_WIDTH) for i in loadable)

    def may_widen(index: int) -> bool:
        if lanes[index] >= channels[index]:
            return False
        if index not in loadable:
            return lanes[index] < BLOCK_LANES
        return lanes[index] * width[index] <= (blocks - used()) * LOAD_WIDTH

    def slots(index: int) -> float:
        return estimate_slots(network, index, lanes[index])

    def too_deep(index: int, count: int) -> bool:
        groups = -(-channels[index] // count)
        return groups * network.layers[index].parameter_count // channels[index] > SPRAM_DEPTH

    if used() > blocks:
        raise NetworkError(
            f"{len(loadable)} layers have large weights and need a single-port RAM each, the device has {blocks}; "
            f"make layers smaller than {BLOCK_BITS} bits or use a larger board"
        )
    for index in loadable:
        while too_deep(index, lanes[index]):
            if not may_widen(index):
                raise NetworkError(
                    f"{sum(bits[i] for i in loadable)} bits of weights do not fit {blocks} single-port RAMs of "
                    f"{LOAD_WIDTH * SPRAM_DEPTH} bits; use fewer weight bits or channels"
                )
            lanes[index] *= 2
    while may_widen(slowest := max(weighted, key=slots)):
        lanes[slowest] *= 2
    limit = slots(slowest)
    for index in weighted:
        while (
            (fewer := lanes[index] - 1)
            and estimate_slots(network, index, fewer) <= limit
            and not (index in loadable and too_deep(index, fewer))
        ):
            lanes[index] = fewer
    return choose_foldings(network, list(lanes.values()), word_width=LOAD_WIDTH), tuple(loadable)


def parse_lanes(text: str) -> int | tuple[int, ...]:
    """The value of a command line's --lanes: one number, or one for each layer with weights."""
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ArgumentTypeError(f"expected integers like 8 or 4,8,2, not {text!r}") from None
    return numbers if len(numbers) > 1 else numbers[0]
