"""Energy of the engine: what was counted, times what each access costs.

The counts are those of `sw.golden` or of the counters of the hardware; they are equal.  Accesses that depend on no
spike are counted in closed form from the network and its folding.  E(m) is an access to the memory m at its real depth
and width, R the cost of a register's bit, charged whenever the register is written.  Per layer and image, counters in
capitals, T timesteps, P lanes, F fire units::

    weights       WEIGHT_READS * E(weights)
    constants     T * neurons / F * E(bias and threshold words)
    potentials    (POTENTIAL_READS + POTENTIAL_WRITES) * E(potentials)
    accumulators  SYNAPTIC_OPERATIONS * one read-modify-write of an accumulator (1 pJ at 45 nm, an assumption)
                  + passes * (2 P + P / F * (P - F)) * accumulator bits * R      hand over, clear, shift out
    spikes        (SPIKE_READS + SPIKE_WRITES) * E(spikes) + SPIKE_READS * the word's possible events * R
                  a pool: (SPIKE_READS + SPIKE_WRITES) * E(partial maxima)
    census        (pixels + columns that enter a window) * E(census)             how many words of a pixel hold spikes
                  + columns * pixels of a window * bits of a count * R           what the window holds slides on
    streams       beats in * word bits * R + words * (word + index bits) * R     packed into words
                  + beats out * beat bits * R                                    the queue to the next layer
                  first layer: + T * codes * E(1000 words of one code)           as deep as the scatter's FIFO
                  a pool: (2 * beats in + beats out) * beat bits * R
    adds          SYNAPTIC_OPERATIONS * (E_add + shifted operand's bits * R)
                  a layer that multiplies: E_mac instead of E_add, and the product's bits
    fire units    T * neurons * (exponents + 1, + 1 where T > 1, + 1 where that leaks) * E_add
                  + T * neurons * (accumulator + potential + theta + exponents * (potential + theta + code) bits) * R
                  readout: classes * (E_add + 2 * potential bits * R)            the highest score so far
    maxima        T * codes * E_add                                              a pool's comparisons
    addresses     (ACCUMULATIONS + SPIKE_READS + SPIKE_WRITES + census accesses + passes) * E_add
                  + (ACCUMULATIONS + SPIKE_READS) * weight address bits * R + SPIKE_READS * spike address bits * R
                  + positions * pixels of a window * bits of a count * R         the window that is scanned

In neither side: leakage, clock tree, routing, decisions of control (states, handshakes, counters of a few bits, the
search for the next event), loading the weights, the counters themselves, and the pins.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sw.energy.kinds import Energy, by_layer
from sw.energy.sizes import pool_memory, sizes
from sw.energy.technology import Technology, technology
from sw.folding import Folding, beat_codes, check_foldings
from sw.network import Network

NM45 = technology("45 nm")
NM7 = technology("7 nm")

TERMS = {
    "weights": "weights",
    "constants": "weights",
    "potentials": "potentials",
    "accumulators": "potentials",
    "spikes": "spikes",
    "census": "spikes",
    "streams": "spikes",
    "adds": "arithmetic",
    "fire units": "arithmetic",
    "maxima": "arithmetic",
    "addresses": "addressing",
}
FIFO_DEPTH = 1000

Counters = Sequence[Mapping[str, Any]]


def energy(
    network: Network,
    foldings: Sequence[Folding],
    counters: Counters,
    costs: Technology = NM45,
) -> Energy:
    """Energy of the engine.

    counters: for every layer a mapping from the names of `sw.folding.COUNTERS` to counts, scalars or one per image.
    Raises sw.network.NetworkError when the foldings do not suit the network.
    """
    folding = tuple(foldings)
    check_foldings(network, folding)
    layers = []
    for index, layer in enumerate(network.layers):
        count = {name: float(np.mean(values)) for name, values in counters[index].items()}
        price = _pool_layer if layer.kind == "maxpool" else _engine_layer
        layers.append(price(network, folding, index, count, costs))
    return by_layer(TERMS, layers)


def _engine_layer(
    network: Network,
    foldings: tuple[Folding, ...],
    index: int,
    count: Mapping[str, float],
    costs: Technology,
) -> dict[str, float]:
    layer, size, coding = (
        network.layers[index],
        sizes(network, foldings, index),
        network.codings[index],
    )
    lanes, units = foldings[index].lanes, foldings[index].fire_units
    add, bit = costs.add_pj, costs.register_bit_pj
    access = {name: costs.access_pj(m.depth, m.width) for name, m in size.memories.items()}
    accumulate = costs.mac_pj if foldings[index].multiply else add
    operations, reads = count["synaptic_operations"], count["spike_reads"]
    spike_accesses = reads + count["spike_writes"]
    potential_accesses = count["potential_reads"] + count["potential_writes"]
    fired = size.steps * size.neurons

    hand_overs = size.passes * (2 * lanes + lanes // units * (lanes - units))
    census_accesses = size.pixels + size.census_reads
    window_bits = size.window * size.count_bits
    streams = size.beats * size.word_bits * bit
    streams += size.words * size.memories["spikes"].width * bit
    if index == 0:
        codes = size.steps * math.prod(network.input_shape)
        streams += codes * costs.access_pj(FIFO_DEPTH, coding.code_width)

    fire_adds, fire_bits = 1, size.accumulator_bits + size.potential_bits + size.threshold_bits
    if size.steps > 1:
        fire_adds += 1
    fire_units = 0.0
    if layer.neuron is None:
        fire_units = network.class_count * (add + 2 * size.potential_bits * bit)
        streams += network.class_count * size.potential_bits * bit
    else:
        sent = layer.neuron.coding
        fire_adds += sent.exponent_count + (size.steps > 1 and layer.neuron.leak != "none")
        fire_bits += sent.exponent_count * (
            size.potential_bits + size.threshold_bits + sent.code_width
        )
        streams += fired * sent.code_width * bit
    fire_units += fired * (fire_adds * add + fire_bits * bit)

    return {
        "weights": count["weight_reads"] * access["weights"],
        "constants": fired / units * access["constants"],
        "potentials": potential_accesses * access["potentials"] if size.steps > 1 else 0.0,
        "accumulators": operations * costs.accumulator_pj
        + hand_overs * size.accumulator_bits * bit,
        "spikes": spike_accesses * access["spikes"] + reads * size.event_bits * bit,
        "census": census_accesses * access["census"] + size.census_reads * window_bits * bit,
        "streams": streams,
        "adds": operations * (accumulate + size.operand_bits * bit),
        "fire units": fire_units,
        "addresses": (count["accumulations"] + spike_accesses + census_accesses + size.passes) * add
        + (count["accumulations"] + reads) * size.weight_address_bits * bit
        + reads * size.spike_address_bits * bit
        + size.positions * window_bits * bit,
    }


def _pool_layer(
    network: Network,
    foldings: tuple[Folding, ...],
    index: int,
    count: Mapping[str, float],
    costs: Technology,
) -> dict[str, float]:
    memory = pool_memory(network, foldings, index)
    beat = beat_codes(network, foldings, index)
    received = network.timesteps * math.prod(network.shapes[index])
    sent = network.timesteps * math.prod(network.shapes[index + 1])
    accesses = count["spike_reads"] + count["spike_writes"]
    return {
        "spikes": accesses * costs.access_pj(memory.depth, memory.width),
        "streams": (2 * received + sent) / beat * memory.width * costs.register_bit_pj,
        "maxima": received * costs.add_pj,
        "addresses": accesses * costs.add_pj,
    }
