"""Levels as binary neurons: at one timestep, a neuron of value z is as many binary ones, of which z fire.

Programs that know only binary spikes can then run a multi-level network: every output channel appears once for each
unit of its largest value, with the threshold at which the value first reaches that unit, and the next layer reads all
copies with the same weights.  The scores are the same; the network is wider by the largest value.
"""

from dataclasses import replace

import numpy as np

from sw.interchange.convention import InterchangeError
from sw.network import Layer, Network, Neuron


def thermometer(network: Network) -> Network:
    """The binary network with the same scores.

    Raises InterchangeError for more than one timestep, where the copies would need each other's spikes to reset, and
    NetworkError when the wider network breaks a limit.
    """
    if network.timesteps != 1:
        raise InterchangeError(
            f"a thermometer of binary neurons needs one timestep; this network has {network.timesteps}"
        )
    layers, copies = [], 1
    for layer in network.layers:
        if layer.weights is None:
            layers.append(layer)
            continue
        layer = replace(layer, weights=np.repeat(layer.weights, copies, axis=1))
        copies = 1
        if layer.neuron is not None:
            values = layer.neuron.coding.values[1:]
            # The lowest value that reaches each unit: 1, 2, 3, 4 for N = 4, and 1, 2, 4, 4 for S = 3.
            units = values[np.searchsorted(values, np.arange(1, values[-1] + 1))]
            copies = len(units)
            layer = _repeated(layer, units)
        layers.append(layer)
    return replace(network, layers=tuple(layers))


def _repeated(layer: Layer, units: np.ndarray) -> Layer:
    """A layer with a binary neuron for each unit, side by side: channel c becomes c * n .. c * n + n - 1."""
    assert layer.weights is not None and layer.bias is not None and layer.threshold is not None
    assert layer.neuron is not None
    return replace(
        layer,
        weights=np.repeat(layer.weights, len(units), axis=0),
        bias=np.repeat(layer.bias, len(units)),
        threshold=(layer.threshold[:, None] * units).reshape(-1),
        neuron=Neuron(kind="multi-level", levels=1, boundary=layer.neuron.boundary),
    )
