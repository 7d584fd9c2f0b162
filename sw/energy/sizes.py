"""What a layer of the engine is made of: its memories at their real depth and width, and what it does for every image.

These follow from the network and the folding alone; what depends on the spikes is in the counters.
"""

import math
from dataclasses import dataclass

from sw.clocks import Rows
from sw.folding import Folding, beat_codes, is_flat, pixel_codes
from sw.network import Network


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
            (bias and threshold of F channels), potentials (where there are several timesteps)
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
    """Sizes of layer `index`, which is not a pool."""
    layer, folding = network.layers[index], foldings[index]
    bounds, coding = network.bounds(index), network.codings[index]
    channels, out_h, out_w = network.shapes[index + 1]
    flat = is_flat(layer)
    height, width = (1, 1) if flat else network.shapes[index][1:]
    kernel = (1, 1) if flat else layer.kernel
    window = [k * a for k, a in zip(kernel, layer.average, strict=True)]
    stride = [s * a for s, a in zip(layer.stride, layer.average, strict=True)]
    codes, steps, neurons = pixel_codes(network, index), network.timesteps, channels * out_h * out_w
    words = -(-codes // folding.word_codes)
    rows = Rows.of(network, index, folding).ring
    groups = folding.group_count(channels)
    word_bits, count_bits = folding.word_codes * coding.code_width, words.bit_length()
    threshold_bits = 0 if layer.threshold is None else int(layer.threshold.max()).bit_length()
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
    if steps > 1:
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
    """The row of partial maxima of the pool `index`."""
    beat = beat_codes(network, foldings, index)
    channels, _, out_w = network.shapes[index + 1]
    return Memory(out_w * channels // beat, beat * network.codings[index].code_width)


def engine_memories(network: Network, foldings: tuple[Folding, ...]) -> list[dict[str, Memory]]:
    """Every memory of every layer, by name."""
    return [
        {"partial maxima": pool_memory(network, foldings, index)}
        if layer.kind == "maxpool"
        else sizes(network, foldings, index).memories
        for index, layer in enumerate(network.layers)
    ]
