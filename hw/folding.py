"""Chooses the parallelism of every layer for the lanes, or the memory, that a target offers."""

from collections.abc import Sequence
from math import gcd

from sw.folding import WINDOW_LATENCY, Folding, beat_codes, pixel_codes
from sw.network import Network, NetworkError

from .weights import LOAD_WIDTH, SPRAM_DEPTH

# Spike words as wide as one block RAM of an ECP5; iCE40 block RAM has 16 bits.
WORD_WIDTH = 36
# Weights that fit three iCE40 block RAMs stay in the bitstream when the others are loaded.
BLOCK_BITS = 12288
BLOCK_LANES = 8


def choose_foldings(
    network: Network, lanes: int | Sequence[int] = 16, *, word_width: int = WORD_WIDTH
) -> tuple[Folding, ...]:
    """Foldings with at most `lanes` lanes in every layer (or one number per layer with weights).

    Groups come out evenly filled; fire units are just enough that lanes do not wait for them.
    Raises NetworkError for a number of lanes that is not positive or a sequence of the wrong length.
    """
    weighted = [index for index, layer in enumerate(network.layers) if layer.kind != "maxpool"]
    limits = [lanes] * len(weighted) if isinstance(lanes, int) else list(lanes)
    if len(limits) != len(weighted):
        raise NetworkError(f"{len(limits)} lane counts for {len(weighted)} layers with weights; give one for each")
    if any(limit < 1 for limit in limits):
        raise NetworkError(f"lanes must be at least 1, not {min(limits)}")
    foldings: list[Folding] = [Folding()] * len(network.layers)
    for index, limit in zip(weighted, limits, strict=True):
        channels = network.shapes[index + 1][0]
        used = -(-channels // -(-channels // limit))
        units = 1
        if not network.layers[index].is_readout:
            common = gcd(used, channels)
            units = min(
                (f for f in range(1, common + 1) if common % f == 0 and used // f <= WINDOW_LATENCY),
                default=common,
            )
        beat = beat_codes(network, tuple(foldings), index)
        foldings[index] = Folding(
            lanes=used, fire_units=units, word_codes=_word_codes(network, index, beat, word_width)
        )
    return tuple(foldings)


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


def fold_for_spram(network: Network, blocks: int = 4) -> tuple[tuple[Folding, ...], tuple[int, ...]]:
    """(foldings, loadable layers) for weights in `blocks` single-port RAMs of 16 bits x 16,384.

    Small layers keep their weights in the bitstream.  Every other layer gets at least one block; the blocks left over
    widen the layer with the most work per lane, as long as a wider word is of use.
    Raises NetworkError when the weights do not fit.
    """
    weighted = [index for index, layer in enumerate(network.layers) if layer.kind != "maxpool"]
    width = {i: network.layers[i].weight_width for i in weighted}
    bits = {i: network.layers[i].parameter_count * width[i] for i in weighted}
    loadable = [i for i in weighted if bits[i] > BLOCK_BITS]
    slices = dict.fromkeys(loadable, 1)

    def depth(index: int) -> int:
        channels = network.shapes[index + 1][0]
        groups = -(-channels // (slices[index] * LOAD_WIDTH // width[index]))
        return groups * network.layers[index].parameter_count // channels

    def work(index: int) -> float:
        """Multiply-accumulates per lane."""
        channels, height, wide = network.shapes[index + 1]
        lanes = slices[index] * LOAD_WIDTH // width[index]
        return network.layers[index].parameter_count * height * wide / min(lanes, channels)

    while True:
        deep = [i for i in loadable if depth(i) > SPRAM_DEPTH]
        left = blocks - sum(slices.values())
        useful = [
            i
            for i in loadable
            if slices[i] <= left and slices[i] * LOAD_WIDTH // width[i] < network.shapes[i + 1][0]
        ]
        if deep and not set(deep) & set(useful):
            total = sum(bits[i] for i in loadable)
            raise NetworkError(
                f"{total} bits of weights do not fit {blocks} single-port RAMs of "
                f"{LOAD_WIDTH * SPRAM_DEPTH} bits; use fewer weight bits or channels"
            )
        if left < 0:
            raise NetworkError(
                f"{len(loadable)} layers with large weights need a single-port RAM each, the device has "
                f"{blocks}; make a layer smaller than {BLOCK_BITS} bits or use a larger board"
            )
        if not useful:
            break
        widest = max(set(deep) & set(useful) or useful, key=work)
        slices[widest] *= 2
    lanes = [slices[i] * LOAD_WIDTH // width[i] if i in slices else BLOCK_LANES for i in weighted]
    return choose_foldings(network, lanes, word_width=LOAD_WIDTH), tuple(loadable)
