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
accumulators are free, as in the formulas.
"""

import math

import numpy as np

from sw.energy.counted import FIFO_DEPTH, NM45, Counters
from sw.energy.kinds import Energy, by_layer
from sw.energy.technology import Technology
from sw.network import Network

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
        layers.append(
            {} if layer.kind == "maxpool" else _layer(network, index, received, sent, costs)
        )
    return by_layer(TERMS, layers)


def _layer(
    network: Network, index: int, received: float, sent: float, costs: Technology
) -> dict[str, float]:
    layer = network.layers[index]
    c_in, height, width = network.shapes[index]
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

    coding, add, mac = network.codings[index], costs.add_pj, costs.mac_pj
    on_pixels = index == 0 and coding.levels > PIXEL_LEVELS
    leaks = layer.neuron is not None and layer.neuron.leak != "none"
    return {
        "weights": received * fan_out * access(filter_words),
        "bias": steps * channels * access(channels),
        "potentials": 2 * (received * fan_out + steps * neurons) * access(neurons),
        "spikes": (received + sent) * access(FIFO_DEPTH),
        "operations": received * synapses * (mac if on_pixels else coding.max_value * add)
        + (steps * neurons + sent) * add
        + leaks * steps * neurons * mac,
        "addresses": received * (address_mac * mac + taps * add),
    }
