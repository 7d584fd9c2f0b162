"""What a step of the shared engine adds up: windows of stored maps.

Only values of spikes are stored.  Currents are not: everything between two neurons is linear, so whoever reads currents
adds up their windows itself, scales included.  What a join or a pool reads as it is becomes a window of one pixel::

    join    sum_k(scale_k * x_k) + b    x_k spikes: a diagonal term; x_k currents: their own terms, scale_k times
    pool    a diagonal term; the blocks of a sum pool are averaged ones, which are sums, too
"""

from dataclasses import dataclass, replace

import numpy as np

from sw.network import INPUT, Network
from sw.network.bounds import signed_width


@dataclass(frozen=True, eq=False)
class Term:
    """One window that a step accumulates.

    Members
        source: layer whose stored map is read, or INPUT; shape: of that map, (C, H, W)
        weights: int8, (C_out, C, k_h, k_w); of a diagonal term, whose channels read only themselves, (C, 1, 1, 1)
        stride, padding, average: as in `Layer`; shift: the weights count 2^shift times
    """

    source: int
    shape: tuple[int, int, int]
    weights: np.ndarray
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    average: tuple[int, int] = (1, 1)
    shift: int = 0
    diagonal: bool = False

    @property
    def kernel(self) -> tuple[int, int]:
        return int(self.weights.shape[2]), int(self.weights.shape[3])


@dataclass(frozen=True, eq=False)
class Sum:
    """Everything that is added up for every channel and position.

    Members
        terms: the input's first; bias: int64, (C_out,); weight_width: bits of all weights
        accumulator_width: bits in which no partial sum overflows, whatever is read
    """

    terms: tuple[Term, ...]
    bias: np.ndarray
    weight_width: int
    accumulator_width: int


def sum_of(network: Network, index: int) -> Sum:
    """What layer `index` adds up at a timestep; of a max pool, what it reads."""
    channels = network.shapes[index + 1][0]
    exact, bias = _exact(network, index, np.ones(channels, np.int64))
    widths = [
        layer.weight_width for layer in map(network.layers.__getitem__, _weighted(network, index))
    ]
    if not widths:  # nothing but diagonal terms
        least = min(int(term.weights.min()) for term in exact)
        most = max(int(term.weights.max()) for term in exact)
        widths = [min(8, max(2, signed_width(least, most)))]
    terms = [
        replace(term, weights=digit, shift=shift)
        for term in exact
        for digit, shift in digits(term.weights, max(widths))
    ]
    low, high = np.zeros(channels, object), np.zeros(channels, object)
    for term in terms:
        coding = network.sent(term.source)
        assert coding is not None
        most = coding.max_value * term.average[0] * term.average[1] << term.shift
        flat = term.weights.reshape(channels, -1)
        low += np.minimum(flat, 0).sum(1, dtype=np.int64).astype(object) * most
        high += np.maximum(flat, 0).sum(1, dtype=np.int64).astype(object) * most
    terms.sort(key=lambda term: term.source != INPUT)
    width = signed_width(int(low.min()), int(high.max()))
    return Sum(tuple(terms), bias, max(widths), width)


def digits(values: np.ndarray, width: int) -> list[tuple[np.ndarray, int]]:
    """Integers as sums of digit << shift: int8 digits of `width` signed bits, the highest shift first; at least one."""
    limit = 1 << (width - 1)
    found: list[tuple[np.ndarray, int]] = []
    while values.any() or not found:
        shift = max(0, signed_width(int(values.min()), int(values.max())) - width)
        digit = np.clip((values + (1 << shift >> 1)) >> shift, -limit, limit - 1)
        found.append((digit.astype(np.int8), shift))
        values = values - (digit << shift)
    return found


def _weighted(network: Network, index: int) -> list[int]:
    """The layers with weights whose windows layer `index` adds up."""
    if network.layers[index].is_weighted:
        return [index]
    currents = [source for source in network.sources(index) if network.sent(source) is None]
    return [found for source in currents for found in _weighted(network, source)]


def _exact(network: Network, index: int, factor: np.ndarray) -> tuple[list[Term], np.ndarray]:
    """Terms, with int64 weights of any size, and bias of factor[c] times what layer `index` adds up on channel c."""
    layer, nothing = network.layers[index], np.zeros(len(factor), np.int64)
    bias = nothing if layer.bias is None else layer.bias * factor
    if layer.weights is not None:
        weights = layer.weights * factor[:, None, None, None]
        source, shape = network.sources(index)[0], network.input_shape_of(index)
        return [Term(source, shape, weights, layer.stride, layer.padding, layer.average)], bias
    terms: list[Term] = []
    for k, source in enumerate(network.sources(index)):
        scale = layer.scale(k)
        scaled = factor if scale is None else scale * factor
        if network.sent(source) is None:
            more, constant = _exact(network, source, scaled)
            terms, bias = [*terms, *more], bias + constant
            continue
        # The values of the input may be in pieces, which have no channel of their own.
        diagonal = source != INPUT
        weights = scaled[:, None] if diagonal else np.diag(scaled)
        terms.append(
            Term(
                source,
                network.input_shape_of(index, k),
                weights[:, :, None, None],
                average=layer.pool if layer.kind == "sumpool" else (1, 1),
                diagonal=diagonal,
            )
        )
    return terms, bias
