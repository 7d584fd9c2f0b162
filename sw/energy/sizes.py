"""What a layer of the engine is made of: its memories at their real depth and width, and what it does for every image.

These follow from the network and the folding alone; what depends on the spikes is in the counters.
"""

import math
from dataclasses import dataclass

import numpy as np

from sw.folding import Folding, beat_codes, is_flat, pixel_codes
from sw.network import Network
from sw.rows import Rows
from sw.skips import QUEUE, skip_depths


@dataclass(frozen=True)
class Memory:
    """Words, and bits of a word."""

    depth: int
    width: int

    @property
    def bits(self) -> int:
        return self.depth * self.width


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """One convolution or dense layer.

    Members
        memories: by name: weights, spikes, census (non-empty words of each pixel in each row of the ring), constants
            (bias and threshold of F channels), potentials (where there are several timesteps and a neuron or scores)
        steps, neurons, positions: timesteps; neurons; output positions (a pixel of the output map)
        passes, pixels, words, beats: of an image over all timesteps: groups of lanes at a position, stored pixels,
            words of pixels (empty ones too), beats that arrive
        census_reads: of an image, one a column that enters the window
        window: stored pixels that a window holds
        word_bits, event_bits, count_bits: of the codes of a word, of the events that they may be, of a census entry
        accumulator_bits, potential_bits, threshold_bits, operand_bits: of one lane or neuron
        weight_address_bits, spike_address_bits
    """

    memories: dict[str, Memory]
    steps: int
    neurons: int
    positions: int
    passes: int
    pixels: int
    words: int
    beats: int
    census_reads: int
    window: int
    word_bits: int
    event_bits: int
    count_bits: int
    accumulator_bits: int
    potential_bits: int
    threshold_bits: int
    operand_bits: int
    weight_address_bits: int
    spike_address_bits: int


def sizes(network: Network, foldings: tuple[Folding, ...], index: int) -> Sizes:
    """Sizes of layer `index`, a convolution or dense layer."""
    layer, folding = network.layers[index], foldings[index]
    bounds, coding = network.bounds(index), network.codings[index]
    channels, out_h, out_w = network.shapes[index + 1]
    flat = is_flat(layer)
    height, width = (1, 1) if flat else network.input_shape_of(index)[1:]
    kernel = (1, 1) if flat else layer.kernel
    window = [k * a for k, a in zip(kernel, layer.average, strict=True)]
    stride = [s * a for s, a in zip(layer.stride, layer.average, strict=True)]
    codes, steps, neurons = pixel_codes(network, index), network.timesteps, channels * out_h * out_w
    words = -(-codes // folding.word_codes)
    rows = Rows.of(network, index, folding).ring
    groups = folding.group_count(channels)
    word_bits, count_bits = folding.word_codes * coding.code_width, words.bit_length()
    threshold_bits = threshold_bits_of(network, index)
    # A product needs a bit more than the largest shift; a code that is multiplied is one event.
    operand_bits = coding.exponent_count - (0 if folding.multiply else 1)
    event_bits = coding.code_width if folding.multiply else coding.exponent_count
    units, potential_bits = folding.fire_units, network.firing_width(index)
    memories = {
        "weights": Memory(groups * math.prod(kernel) * codes, folding.lanes * layer.weight_width),
        "spikes": Memory(rows * width * words, word_bits + (words - 1).bit_length()),
        "census": Memory(width, rows * count_bits),
        "constants": Memory(channels // units, units * (threshold_bits + potential_bits)),
    }
    if steps > 1 and carries(network, index):
        memories["potentials"] = Memory(neurons // units, units * potential_bits)
    columns = window[1] + (out_w - 1) * min(window[1], stride[1])
    return Sizes(
        memories=memories,
        steps=steps,
        neurons=neurons,
        positions=steps * out_h * out_w,
        passes=steps * out_h * out_w * groups,
        pixels=steps * height * width,
        words=steps * height * width * words,
        beats=steps * height * width * codes // beat_codes(network, foldings, index),
        census_reads=steps * out_h * columns,
        window=math.prod(window),
        word_bits=word_bits,
        event_bits=folding.word_codes * event_bits,
        count_bits=count_bits,
        accumulator_bits=bounds.accumulator_width,
        potential_bits=potential_bits,
        threshold_bits=threshold_bits,
        operand_bits=min(layer.weight_width + operand_bits, bounds.accumulator_width),
        weight_address_bits=(memories["weights"].depth - 1).bit_length(),
        spike_address_bits=(memories["spikes"].depth - 1).bit_length(),
    )


def pool_memory(network: Network, foldings: tuple[Folding, ...], index: int) -> Memory:
    """The row of partial maxima or sums of the pool `index`."""
    beat = beat_codes(network, foldings, index)
    channels, _, out_w = network.shapes[index + 1]
    return Memory(out_w * channels // beat, beat * sent_bits(network, index))


def join_memories(network: Network, foldings: tuple[Folding, ...], index: int) -> dict[str, Memory]:
    """Memories of the join `index`, by name: "skip K" in front of source K where it may run far ahead, scales,
    constants (bias and threshold of F channels), potentials."""
    layer, units = network.layers[index], foldings[index].fire_units
    channels, height, width = network.shapes[index + 1]
    depths, memories = skip_depths(network, foldings), {}
    for k, source in enumerate(network.sources(index)):
        if depths[index, k] > QUEUE:  # the memory's output register is one of the entries
            memories[f"skip {k}"] = Memory(depths[index, k] - 1, units * sent_bits(network, source))
    if scale_bits := sum(signed_bits(scale) for scale in layer.scales if scale is not None):
        memories["scales"] = Memory(channels // units, units * scale_bits)
    if not adds_codes(network, index):
        bits = network.firing_width(index) + threshold_bits_of(network, index)
        memories["constants"] = Memory(channels // units, units * bits)
    if network.timesteps > 1 and carries(network, index):
        depth = channels * height * width // units
        memories["potentials"] = Memory(depth, units * network.firing_width(index))
    return memories


def adds_codes(network: Network, index: int) -> bool:
    """Whether join `index` sends the plain sum of its sources' spikes as a spike."""
    return network.layers[index].neuron is None and network.sent(index) is not None


def carries(network: Network, index: int) -> bool:
    """Whether layer `index` keeps potentials, or scores, from one timestep to the next."""
    return network.layers[index].neuron is not None or network.is_readout(index)


def sent_bits(network: Network, index: int) -> int:
    """Bits of one code or current that layer `index`, or INPUT, sends."""
    coding = network.sent(index)
    return network.bounds(index).potential_width if coding is None else coding.code_width


def signed_bits(values: np.ndarray) -> int:
    """Bits of a two's complement number that holds each of these."""
    return max(int(values.max()), -int(values.min()) - 1, 0).bit_length() + 1


def threshold_bits_of(network: Network, index: int) -> int:
    threshold = network.layers[index].threshold
    return 0 if threshold is None else int(threshold.max()).bit_length()


def engine_memories(network: Network, foldings: tuple[Folding, ...]) -> list[dict[str, Memory]]:
    """Every memory of every layer, by name."""
    memories = []
    for index, layer in enumerate(network.layers):
        if layer.is_pool:
            name = "partial maxima" if layer.kind == "maxpool" else "partial sums"
            memories.append({name: pool_memory(network, foldings, index)})
        elif layer.kind == "join":
            memories.append(join_memories(network, foldings, index))
        else:
            memories.append(sizes(network, foldings, index).memories)
    return memories
