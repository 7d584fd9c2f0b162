"""Energy of the ReLU twin: the network of the same layers with activations instead of spikes, computed densely.

With the formulas of Lemaire et al. for layers without spikes, as the published tables of paper 1 follow them, and words
of 16 bits as for the scatter.  n_i, n: inputs (after average pooling) and outputs; M: multiply-accumulates, n * C_in *
k^2, dense n * n_i::

    weights       M * E(one filter)
    bias          C_out * E(C_out)
    activations   M * E(n_i) + n * E(n)                                          dense: n_i * E(n_i) + n * E(n)
    operations    M * E_mac + n * E_add
    addresses     (n_i + n + C_out * k^2) * E_add                                dense: n_i * n * E_add

Assumptions: one timestep, whatever the spiking network has; zeros are not skipped; synapses that padding adds are
counted; sums in the making, pooling and ReLU are free.  A join of m inputs adds n (m - 1) times, reads m n activations,
writes n of them and computes n addresses; one of a single input is a lone ReLU.
"""

import math

from sw.energy.counted import NM45
from sw.energy.kinds import Energy, by_layer
from sw.energy.scatter import WORD_BITS
from sw.energy.technology import Technology
from sw.network import Network

TERMS = {
    "weights": "weights",
    "bias": "weights",
    "activations": "spikes",
    "operations": "arithmetic",
    "addresses": "addressing",
}


def twin(network: Network, costs: Technology = NM45) -> Energy:
    """Energy of the ReLU network of the same layers as `network`."""
    return by_layer(
        TERMS,
        [
            {}
            if layer.is_pool
            else _join(network, index, costs)
            if layer.kind == "join"
            else _layer(network, index, costs)
            for index, layer in enumerate(network.layers)
        ],
    )


def _join(network: Network, index: int, costs: Technology) -> dict[str, float]:
    elements, count = math.prod(network.shapes[index + 1]), len(network.sources(index))
    if count == 1:
        return {}
    return {
        "activations": (count + 1) * elements * costs.access_pj(elements, WORD_BITS),
        "operations": (count - 1) * elements * costs.add_pj,
        "addresses": elements * costs.add_pj,
    }


def _layer(network: Network, index: int, costs: Technology) -> dict[str, float]:
    layer = network.layers[index]
    c_in, height, width = network.input_shape_of(index)
    inputs = c_in * height * width // math.prod(layer.average)
    channels, outputs = network.shapes[index + 1][0], math.prod(network.shapes[index + 1])
    filter_words = c_in * math.prod(layer.kernel)
    synapses = outputs * filter_words
    if layer.kind == "dense":
        reads, addresses = inputs, inputs * outputs
    else:
        reads = synapses
        addresses = inputs + outputs + channels * math.prod(layer.kernel)

    def access(depth: int) -> float:
        return costs.access_pj(depth, WORD_BITS)

    return {
        "weights": synapses * access(filter_words),
        "bias": channels * access(channels),
        "activations": reads * access(inputs) + outputs * access(outputs),
        "operations": synapses * costs.mac_pj + outputs * costs.add_pj,
        "addresses": addresses * costs.add_pj,
    }
