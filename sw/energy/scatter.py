"""Energy of the papers' event-driven scatter on the spikes that were counted.

With the formulas of Lemaire et al. as the published tables of paper 1 follow them, and words of 16 bits.  theta_i,
theta_o: spikes in and out over all T timesteps; N: the largest value of a code; n: neurons; k, s: kernel and stride::

    weights       theta_i * C_out * k^2 * E(one filter)
    bias          T * C_out * E(C_out)
    potentials    2 * (theta_i * C_out * k^2 + T * n) * E(n)
    spikes        (theta_i + theta_o) * E(1000)                                  a FIFO
    operations    (theta_i * C_out * ceil(k / s)^2 * N + T * n + theta_o) * E_add;  a leak: + T * n * E_mac
    addresses     theta_i * (2 * E_mac + k^2 * E_add)                            dense: theta_i * n * E_add

A first layer on pixels is charged one multiply-accumulate a synapse instead of N additions.  Pooling, registers and
accumulators are free, as in the formulas.  A sum of spikes is charged as spikes of its sources' N, which favours the
scatter.  A join of spikes and c currents::

    potentials    (2 * (theta_i + c * T * n + T * n if it fires) + c * T * n) * E(n)
    spikes        (theta_i + theta_o) * E(1000)
    operations    (theta_i * N + c * T * n + theta_o if it fires) * E_add;  a leak: + T * n * E_mac
    addresses     theta_i * E_add
"""

import math

import numpy as np

from sw.energy.counted import FIFO_DEPTH, NM45, Counters
from sw.energy.kinds import Energy, by_layer
from sw.energy.technology import Technology
from sw.network import INPUT, Network

WORD_BITS = 16
PIXEL_LEVELS = 15  # a coding of more levels is of pixels, not of spikes

TERMS = {
    "weights": "weights",
    "bias": "weights",
    "potentials": "potentials",
    "spikes": "spikes",
    "operations": "arithmetic",
    "addresses": "addressing",
}


def scatter(network: Network, counters: Counters, costs: Technology = NM45) -> Energy:
    """Energy of the scatter; `counters` as for `sw.energy.counted.energy`, of any folding."""
    layers: list[dict[str, float]] = []
    for index, layer in enumerate(network.layers):
        received = float(np.mean(counters[index]["input_spikes"]))
        sent = float(np.mean(counters[index]["output_spikes"]))
        if layer.is_pool:
            layers.append({})
        elif layer.kind == "join":
            layers.append(_join(network, index, received, sent, costs))
        else:
            layers.append(_layer(network, index, received, sent, costs))
    return by_layer(TERMS, layers)


def _levels(network: Network, index: int) -> int:
    """N of the neurons whose spikes layer `index`, or INPUT, sends; of a sum, the largest of its sources."""
    layer = None if index == INPUT else network.layers[index]
    if layer is None or layer.neuron is not None or layer.is_weighted:
        coding = network.sent(index)
        return 1 if coding is None else coding.max_value
    return max(_levels(network, source) for source in network.sources(index))


def _join(
    network: Network, index: int, received: float, sent: float, costs: Technology
) -> dict[str, float]:
    layer, sources = network.layers[index], network.sources(index)
    elements = math.prod(network.shapes[index + 1])
    neurons = network.timesteps * elements
    currents = neurons * sum(network.sent(source) is None for source in sources)
    levels = max(_levels(network, source) for source in sources)
    fires, leaks = layer.neuron is not None, False
    if layer.neuron is not None:
        leaks = layer.neuron.leak != "none"
    potentials = 2 * (received + currents + fires * neurons) + currents
    return {
        "potentials": potentials * costs.access_pj(elements, WORD_BITS),
        "spikes": (received + sent) * costs.access_pj(FIFO_DEPTH, WORD_BITS),
        "operations": (received * levels + currents + fires * sent) * costs.add_pj
        + leaks * neurons * costs.mac_pj,
        "addresses": received * costs.add_pj,
    }


def _layer(
    network: Network, index: int, received: float, sent: float, costs: Technology
) -> dict[str, float]:
    layer = network.layers[index]
    c_in, height, width = network.input_shape_of(index)
    channels, out_h, out_w = network.shapes[index + 1]
    neurons, steps = channels * out_h * out_w, network.timesteps
    if layer.kind == "dense":
        fan_out, synapses, taps, filter_words = neurons, neurons, neurons, c_in * height * width
        address_mac = 0.0
    else:
        taps = math.prod(layer.kernel)
        fan_out = channels * taps
        strided = [-(-k // s) for k, s in zip(layer.kernel, layer.stride, strict=True)]
        synapses, filter_words, address_mac = channels * math.prod(strided), c_in * taps, 2.0

    def access(depth: int) -> float:
        return costs.access_pj(depth, WORD_BITS)

    (source,), add, mac = network.sources(index), costs.add_pj, costs.mac_pj
    on_pixels = source == INPUT and network.input_coding.levels > PIXEL_LEVELS
    leaks = layer.neuron is not None and layer.neuron.leak != "none"
    return {
        "weights": received * fan_out * access(filter_words),
        "bias": steps * channels * access(channels),
        "potentials": 2 * (received * fan_out + steps * neurons) * access(neurons),
        "spikes": (received + sent) * access(FIFO_DEPTH),
        "operations": received * synapses * (mac if on_pixels else _levels(network, source) * add)
        + (steps * neurons + sent) * add
        + leaks * steps * neurons * mac,
        "addresses": received * (address_mac * mac + taps * add),
    }
