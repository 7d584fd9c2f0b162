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
                  a pool: (SPIKE_READS + SPIKE_WRITES) * E(partial maxima or sums)
                  a join: a read and a write of every skip buffer a beat
    census        (pixels + columns that enter a window) * E(census)             how many words of a pixel hold spikes
                  + columns * pixels of a window * bits of a count * R           what the window holds slides on
    streams       beats in * word bits * R + words * (word + index bits) * R     packed into words
                  + beats out * beat bits * R                                    the queue to the next layer
                  first layer: + T * codes * E(1000 words of one code)           as deep as the scatter's FIFO
                  a pool: (2 * beats in + beats out) * beat bits * R
                  a join: (beats in + beats out) * their bits * R, and those of the sum and of what scaling keeps
    adds          SYNAPTIC_OPERATIONS * (E_add + shifted operand's bits * R)
                  a layer that multiplies: E_mac instead of E_add, and the product's bits
                  a join: an addition a further source; a scaled spike its exponents, a scaled current E_mac
    fire units    T * neurons * (exponents + 1, + 1 where T > 1, + 1 where that leaks) * E_add
                  + T * neurons * (accumulator + potential + theta + exponents * (potential + theta + code) bits) * R
                  readout: classes * (E_add + 2 * potential bits * R)            the highest score so far
                  currents: as neurons without exponents
    maxima        T * codes * E_add                                              a pool's comparisons, or additions
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
from sw.energy.sizes import (
    adds_codes,
    carries,
    join_memories,
    pool_memory,
    sent_bits,
    sizes,
    threshold_bits_of,
)
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
        price = {"join": _join_layer, "maxpool": _pool_layer, "sumpool": _pool_layer}
        layers.append(price.get(layer.kind, _engine_layer)(network, folding, index, count, costs))
    return by_layer(TERMS, layers)


def _engine_layer(
    network: Network,
    foldings: tuple[Folding, ...],
    index: int,
    count: Mapping[str, float],
    costs: Technology,
) -> dict[str, float]:
    size, coding = sizes(network, foldings, index), network.codings[index]
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

    fire_units = fired * _fire(network, index, costs)
    if network.is_readout(index):
        fire_units += network.class_count * (add + 2 * size.potential_bits * bit)
        streams += network.class_count * size.potential_bits * bit
    else:
        streams += fired * sent_bits(network, index) * bit

    return {
        "weights": count["weight_reads"] * access["weights"],
        "constants": fired / units * access["constants"],
        "potentials": potential_accesses * access.get("potentials", 0.0),
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


def _fire(network: Network, index: int, costs: Technology) -> float:
    """pJ of one sum that becomes a potential and a spike, a current or a score."""
    layer, steps = network.layers[index], network.timesteps
    potential_bits, threshold_bits = network.firing_width(index), threshold_bits_of(network, index)
    adds = 1 + (steps > 1 and carries(network, index))
    bits = network.bounds(index).accumulator_width + potential_bits + threshold_bits
    if layer.neuron is not None:
        sent = layer.neuron.coding
        adds += sent.exponent_count + (steps > 1 and layer.neuron.leak != "none")
        bits += sent.exponent_count * (potential_bits + threshold_bits + sent.code_width)
    return adds * costs.add_pj + bits * costs.register_bit_pj


def _join_layer(
    network: Network,
    foldings: tuple[Folding, ...],
    index: int,
    count: Mapping[str, float],
    costs: Technology,
) -> dict[str, float]:
    layer, sources = network.layers[index], network.sources(index)
    memories = join_memories(network, foldings, index)
    access = {name: costs.access_pj(m.depth, m.width) for name, m in memories.items()}
    skips = [pj for name, pj in access.items() if name.startswith("skip")]
    values = network.timesteps * math.prod(network.shapes[index + 1])
    beats = values / foldings[index].fire_units
    sum_bits = network.bounds(index).accumulator_width
    bits = sum_bits + sent_bits(network, index)
    added = (len(sources) - 1) * costs.add_pj
    for k, source in enumerate(sources):
        bits += sent_bits(network, source)
        if "scales" in memories:  # two more stages, of what came and of its product
            bits += sent_bits(network, source) + sum_bits
        if layer.scale(k) is not None:
            coding = network.sent(source)
            added += costs.mac_pj if coding is None else coding.exponent_count * costs.add_pj
    spike_accesses = count["spike_reads"] + count["spike_writes"]
    potential_accesses = count["potential_reads"] + count["potential_writes"]
    return {
        "constants": beats * (access.get("constants", 0.0) + access.get("scales", 0.0)),
        "potentials": potential_accesses * access.get("potentials", 0.0),
        "spikes": spike_accesses * (sum(skips) / len(skips) if skips else 0.0),
        "streams": values * bits * costs.register_bit_pj,
        "adds": values * added,
        "fire units": 0.0 if adds_codes(network, index) else values * _fire(network, index, costs),
        "addresses": (spike_accesses + potential_accesses) * costs.add_pj,
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
    received = network.timesteps * math.prod(network.input_shape_of(index))
    sent = network.timesteps * math.prod(network.shapes[index + 1])
    accesses = count["spike_reads"] + count["spike_writes"]
    return {
        "spikes": accesses * costs.access_pj(memory.depth, memory.width),
        "streams": (2 * received + sent) / beat * memory.width * costs.register_bit_pj,
        "maxima": received * costs.add_pj,
        "addresses": accesses * costs.add_pj,
    }
