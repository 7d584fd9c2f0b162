"""The network artefact: what was learned, in integers, and nothing about how it is built.

A `Network` is a graph of layers that sw.golden evaluates and hw.generate turns into hardware; both read this package
and nothing else of each other.  On disk it is one ``.npz``: a JSON header (format version, geometry, neurons,
provenance, digest) beside the integer arrays.  `load` refuses whatever it does not know.

Between the layers travel spike codes, or currents: integers in a proven range, from a convolution without a neuron to
a join.  Arithmetic, for every timestep (integers throughout)::

    synapses            I = sum(w * z_in) + b
    join                I = sum_k(scale_k * x_k) + b          x_k: values of spikes, or currents
    sum pool            z = sum of a block's z_in             max pool: the largest
    neuron              U = leak(V) + I
      multi-level (N)   z = clip(floor(U / theta), 0, N)             V = U - z * theta
      one-hot (S)       z = 2^k, k the lane whose window holds U     V = U - z * theta (soft) or 0 (hard)
    no neuron           a convolution or join sends I itself; a join of nothing but spikes, without scales and bias,
                        sends I as a spike of so many levels
    readout             the scores sum I over the timesteps; argmax, the lowest index wins ties

The lower edge of a window is closed (U >= level * theta) or open (U > level * theta), a field of the neuron.

History of the format
    1   chains: every layer reads the one before it
    2   graphs: layers name their inputs; joins, sum pools, convolutions that send currents
"""

from sw.network.bounds import MAX_WIDTH, Bounds
from sw.network.checks import NetworkError
from sw.network.coding import Coding, Neuron
from sw.network.file import load
from sw.network.graph import FORMAT, VERSION, Network
from sw.network.layer import INPUT, Layer

__all__ = [
    "FORMAT",
    "INPUT",
    "MAX_WIDTH",
    "VERSION",
    "Bounds",
    "Coding",
    "Layer",
    "Network",
    "NetworkError",
    "Neuron",
    "load",
]
