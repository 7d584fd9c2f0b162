"""What a layer takes of an FPGA, estimated from its sizes: block RAM as the families really pack it, and LUTs.

A block RAM of 18 kbit is one of a few shapes: a word wider than the shape takes several side by side, more words
several behind each other, and what is left over in the last of them is lost.  That decides whether a network of
700,000 weights fits 208 of them.  LUTs are a fit to `hw.scaling` and whole builds; synthesis has the last word on both.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from sw.folding import Folding, sent_codes
from sw.network import Network

from .geometry import Geometry
from .weights import LOAD_WIDTH, SPRAM_DEPTH, slice_count

# (words, bits) of the shapes of one block with a port to write and one to read, the widest first.
_18_KBIT = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))
SHAPES: Mapping[str, tuple[tuple[int, int], ...]] = {
    "ecp5": _18_KBIT,
    "ice40": ((256, 16), (512, 8), (1024, 4), (2048, 2)),
    "gowin": _18_KBIT,
    "xilinx": _18_KBIT,
}
SPRAM_BITS = SPRAM_DEPTH * LOAD_WIDTH
# A memory that is cheaper as RAMs in LUTs (words, bits, and how many cost as much as a block) takes no block, nor does
# one that is cheaper as constants in LUTs.
LUT_RAMS: Mapping[str, tuple[int, int, int]] = {
    "ecp5": (16, 4, 32),
    "gowin": (16, 4, 32),
    "xilinx": (32, 6, 16),
}
CONSTANT_BITS = 2048
# LUTs of a layer and of each bit of what grows with it.
FITS: Mapping[str, Mapping[str, float]] = {
    "ecp5": {
        "layer": 720, "lane bit": 2.3, "shift bit": 1.5, "fire bit": 2.3, "code bit": 8, "tap": 4,
    },
    "ice40": {
        "layer": 300, "lane bit": 3, "shift bit": 1, "fire bit": 3, "code bit": 7, "tap": 4,
    },
    "gowin": {
        "layer": 500, "lane bit": 3, "shift bit": 1.5, "fire bit": 3, "code bit": 8, "tap": 4,
    },
    "xilinx": {
        "layer": 500, "lane bit": 2, "shift bit": 1, "fire bit": 2, "code bit": 6, "tap": 4,
    },
}  # fmt: skip
# LUTs of the serial line, the host, the reset and what the estimate of the layers falls short of; the host's buffer
# and its answers; share of a device that place and route fills without losing speed.
HOST_LUTS = 1600
HOST_BLOCKS = 2
LOGIC_SHARE = 0.95
COUNTER_LUTS = 450  # of a layer's activity counters
NEVER = 1 << 20  # single-port RAMs of a layer whose weights are too many words for one


@dataclass(frozen=True)
class Cost:
    """LUTs, block RAMs, single-port RAMs (16,384 words of 16 bits) and multipliers."""

    luts: int = 0
    blocks: int = 0
    sprams: int = 0
    multipliers: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.luts + other.luts,
            self.blocks + other.blocks,
            self.sprams + other.sprams,
            self.multipliers + other.multipliers,
        )

    def fits(self, limit: "Cost") -> bool:
        """Nothing exceeds `limit`."""
        return (
            self.luts <= limit.luts
            and self.blocks <= limit.blocks
            and self.sprams <= limit.sprams
            and self.multipliers <= limit.multipliers
        )


def for_layers(device: Cost) -> Cost:
    """What of a whole device its layers may take, beside the serial line and the host."""
    luts = round(LOGIC_SHARE * device.luts) - HOST_LUTS
    return replace(device, luts=luts, blocks=device.blocks - HOST_BLOCKS)


def block_bits(family: str) -> int:
    """Bits of one block, parity included."""
    words, bits = SHAPES[family][0]
    return words * bits


def lane_count(family: str, luts: int) -> int:
    """Lanes that so many LUTs hold: sums of 16 bits, weights of 4, spikes up to 4, a fire unit for every four lanes."""
    fit = FITS[family]
    lane = 16 * fit["lane bit"] + 2 * (4 + 2) * fit["shift bit"] + 4 * 16 * fit["fire bit"] / 4
    return max(int((luts - fit["layer"]) / lane), 0)


def block_rams(family: str, words: int, width: int) -> int:
    """Blocks of one memory of so many words of `width` bits."""
    return min(-(-words // depth) * -(-width // bits) for depth, bits in SHAPES[family])


def variable_blocks(family: str, words: int, width: int) -> int:
    """Blocks of a memory that is written, too; 0 where LUTs are cheaper."""
    blocks = block_rams(family, words, width)
    if family not in LUT_RAMS:
        return blocks
    depth, bits, count = LUT_RAMS[family]
    return 0 if -(-words // depth) * -(-width // bits) < count * blocks else blocks


def constant_blocks(family: str, words: int, width: int) -> int:
    """Blocks of a memory that only the bitstream writes; 0 where LUTs hold it."""
    return 0 if words * width <= CONSTANT_BITS else block_rams(family, words, width)


def network_cost(
    network: Network,
    foldings: tuple[Folding, ...],
    family: str,
    *,
    loadable: Collection[int] = (),
    counters: bool = False,
) -> Cost:
    """All layers; loadable: those whose weights are in single-port RAM; counters: with the activity counters."""
    total = Cost(luts=COUNTER_LUTS * len(network.layers) if counters else 0)
    for index in range(len(network.layers)):
        total += layer_cost(network, foldings, index, family, loadable=index in loadable)
    return total


def layer_cost(
    network: Network,
    foldings: tuple[Folding, ...],
    index: int,
    family: str,
    *,
    loadable: bool = False,
) -> Cost:
    """One layer of any kind."""
    if network.layers[index].is_weighted:
        return _engine_cost(network, foldings, index, family, loadable=loadable)
    channels, _, width = network.shapes[index + 1]
    beat = sent_codes(network, foldings, index)
    coding = network.sent(index)
    bits = coding.code_width if coding is not None else network.bounds(index).potential_width
    if network.layers[index].is_pool:
        return Cost(
            80 + 6 * beat * bits, variable_blocks(family, width * channels // beat, beat * bits)
        )
    return Cost(100 + 40 * beat)


def _engine_cost(
    network: Network, foldings: tuple[Folding, ...], index: int, family: str, *, loadable: bool
) -> Cost:
    g, layer, bounds = (
        Geometry.of(network, foldings, index),
        network.layers[index],
        network.bounds(index),
    )
    index_bits, count_bits = (g.words - 1).bit_length(), g.words.bit_length()
    blocks = variable_blocks(family, g.spike_depth, g.word * g.coding.code_width + index_bits)
    blocks += variable_blocks(family, g.map[1], g.rows * count_bits)
    sprams = 0
    if loadable:
        sprams = slice_count(network, foldings, index)
        if g.weight_depth > SPRAM_DEPTH:
            sprams += NEVER
    else:
        blocks += constant_blocks(family, g.weight_depth, g.lanes * layer.weight_width)
    potential = bounds.potential_width
    theta = 0 if layer.threshold is None else int(layer.threshold.max()).bit_length()
    blocks += constant_blocks(
        family, g.channels // g.fire_units, g.fire_units * (potential + theta)
    )
    if network.timesteps > 1:
        neurons = g.channels * g.output[0] * g.output[1]
        blocks += variable_blocks(family, neurons // g.fire_units, g.fire_units * potential)

    # Bits that pass a shifter, an adder and its registers; bits that the fire units compare; the words of the window.
    exponents = g.coding.exponent_count
    shifts = 0 if g.multiply else (exponents - 1) * (layer.weight_width + exponents - 1)
    fired = 0 if layer.neuron is None else layer.neuron.coding.exponent_count
    counts = FITS[family]
    luts = counts["layer"]
    luts += counts["lane bit"] * g.lanes * bounds.accumulator_width
    luts += counts["shift bit"] * g.lanes * shifts
    luts += counts["fire bit"] * g.fire_units * (fired + 1) * potential
    luts += counts["code bit"] * g.word * (exponents if not g.multiply else g.coding.code_width)
    luts += counts["tap"] * g.window[0] * g.window[1] * count_bits
    return Cost(
        luts=round(luts), blocks=blocks, sprams=sprams, multipliers=g.lanes if g.multiply else 0
    )
