"""Lanes -> foldings: what follows from the number of lanes of every layer; `hw.search` chooses the lanes themselves."""

from argparse import ArgumentTypeError
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import replace
from math import gcd

from sw.folding import Folding, beat_codes, beat_partners, pixel_codes
from sw.network import INPUT, Network, NetworkError
from sw.rows import Rows

from .costs import SHAPES

# Clocks in which the fire units drain a group; windows with fewer events are rare.
PASS_CLOCKS = 4
# Rows that a spike memory gets beyond those that it needs where its block RAM has them: more hardly help.  The census
# of a row costs some 40 LUTs, of which small devices have few.
SPARE_ROWS = {"ecp5": 2, "ice40": 0, "gowin": 0, "xilinx": 2}


def weighted_layers(network: Network) -> list[int]:
    """Layers with lanes."""
    return [index for index, layer in enumerate(network.layers) if layer.is_weighted]


def choose_foldings(
    network: Network,
    lanes: int | Sequence[int] = 16,
    *,
    family: str = "ecp5",
    multiply: Collection[int] = (),
) -> tuple[Folding, ...]:
    """Foldings with at most `lanes` lanes in every layer (or one number per layer with weights).

    Groups come out evenly filled; fire units are just enough that lanes do not wait for them, and the same for all
    layers that a join adds up; words of spikes are as wide as a block RAM of `family`, and rows fill it.
    multiply: layers whose lanes multiply.
    Raises NetworkError for a number of lanes that is not positive, a sequence of the wrong length, or a layer without
    lanes that should multiply.
    """
    weighted = weighted_layers(network)
    limits = [lanes] * len(weighted) if isinstance(lanes, int) else list(lanes)
    if len(limits) != len(weighted):
        raise NetworkError(
            f"{len(limits)} lane counts for {len(weighted)} layers with weights; give one for each"
        )
    if any(limit < 1 for limit in limits):
        raise NetworkError(f"lanes must be at least 1, not {min(limits)}")
    for index in multiply:
        if index not in weighted:
            raise NetworkError(
                f"layer {index} has no lanes that could multiply; choose one of {weighted}"
            )
    used = {}
    for index, limit in zip(weighted, limits, strict=True):
        channels = network.shapes[index + 1][0]
        used[index] = -(-channels // -(-channels // limit))
    foldings: list[Folding] = []
    for index, partners in enumerate(beat_partners(network)):
        if network.layers[index].is_pool:
            foldings.append(Folding())
            continue
        units = _fire_units(network, partners, used)
        foldings.append(Folding(lanes=used.get(index, 1), fire_units=units))
        if network.layers[index].is_weighted:
            beat = beat_codes(network, tuple(foldings), index)
            bare = replace(foldings[index], multiply=index in multiply)
            foldings[index] = _fill_memory(network, index, bare, beat, family)
    return tuple(foldings)


def _fire_units(network: Network, partners: Set[int], lanes: Mapping[int, int]) -> int:
    """The fewest fire units with which no lanes of `partners`, who send as many codes a beat, wait for them."""
    if INPUT in partners or network.is_readout(max(partners)):
        return 1
    senders = [index for index in partners if index in lanes]
    common = gcd(*(gcd(lanes[index], network.shapes[index + 1][0]) for index in senders))
    return enough_units(max(lanes[index] for index in senders), common)


def enough_units(lanes: int, common: int) -> int:
    """The fewest fire units, a divisor of `common`, that drain so many lanes in PASS_CLOCKS; else the most."""
    units = [f for f in range(1, common + 1) if common % f == 0 and lanes <= PASS_CLOCKS * f]
    return min(units, default=common)


def _fill_memory(network: Network, index: int, folding: Folding, beat: int, family: str) -> Folding:
    """The folding with the words and rows that suit a block RAM."""
    words, width = SHAPES[family][0]
    pixel, code_width = pixel_codes(network, index), network.codings[index].code_width
    codes = beat
    for count in range(beat, pixel + 1, beat):
        number = -(-pixel // count)
        if count * code_width + (number - 1).bit_length() <= width:
            # a pixel in fewer words, or in the same number of narrower ones
            if number < -(-pixel // codes):
                codes = count
    rows = Rows.of(network, index, folding)
    row_words = rows.width * -(-pixel // codes)
    fitting = -(-rows.ring * row_words // words) * words // row_words - rows.ring
    return replace(folding, word_codes=codes, spare_rows=min(SPARE_ROWS[family], fitting))


def parse_lanes(text: str) -> int | tuple[int, ...]:
    """The value of a command line's --lanes: one number, or one for each layer with weights."""
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ArgumentTypeError(f"expected integers like 8 or 4,8,2, not {text!r}") from None
    return numbers if len(numbers) > 1 else numbers[0]


def parse_layers(text: str) -> tuple[int, ...]:
    """The value of a command line's --multiply: "none", "first", or numbers of layers."""
    named: dict[str, tuple[int, ...]] = {"none": (), "first": (0,)}
    try:
        return named[text] if text in named else tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ArgumentTypeError(
            f"expected none, first, or layers like 0 or 0,2, not {text!r}"
        ) from None
