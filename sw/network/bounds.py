"""Ranges that no input can leave, worst case over all legal inputs, and the widths that follow from them."""

from dataclasses import dataclass

import numpy as np

from sw.network.checks import NetworkError
from sw.network.layer import Layer

MAX_WIDTH = 40  # bits; wider accumulators have no use and would not fit a signed 64-bit golden model with room

Range = tuple[
    np.ndarray, np.ndarray
]  # lowest and highest value of every channel, Python integers in (C,)


@dataclass(frozen=True)
class Bounds:
    """Ranges that no input of the network can leave (worst case over all legal inputs), inclusive, and their widths."""

    accumulator: tuple[
        int, int
    ]  # every partial sum of w * z, in any order; of a join, sum(scale * x)
    potential: tuple[int, int]  # U, and V as stored; of a layer without a neuron, what it sends
    accumulator_width: int
    potential_width: int


def signed_width(low: int, high: int) -> int:
    """Bits of a two's complement number that holds low..high."""
    return max((-low - 1).bit_length() if low < 0 else 0, high.bit_length() if high > 0 else 0) + 1


def synapse_range(layer: Layer, max_value: int) -> Range:
    """Partial sums of every channel of a layer with weights whose inputs are 0..max_value."""
    assert layer.weights is not None
    scale = max_value * layer.average[0] * layer.average[1]
    flat = layer.weights.reshape(len(layer.weights), -1)
    low = np.minimum(flat, 0).sum(1, dtype=np.int64).astype(object) * scale
    return low, np.maximum(flat, 0).sum(1, dtype=np.int64).astype(object) * scale


def join_range(layer: Layer, sources: list[Range]) -> Range:
    """Sums of every channel of a join of values in these ranges, without its bias."""
    low = high = np.zeros(len(sources[0][0]), object)
    for k, ends in enumerate(sources):
        scale = layer.scale(k)
        products = [end if scale is None else end * scale.astype(object) for end in ends]
        low = low + np.minimum(*products)
        high = high + np.maximum(*products)
    return low, high


def current_range(layer: Layer, sums: Range) -> Range:
    """The sums with the bias of every channel."""
    if layer.bias is None:
        return sums
    bias = layer.bias.astype(object)
    return sums[0] + bias, sums[1] + bias


def bounds_of(layer: Layer, sums: Range, timesteps: int, *, readout: bool) -> Bounds:
    """Bounds of a layer whose sums, without the bias, lie in `sums`.

    Raises NetworkError when a width exceeds MAX_WIDTH bits.
    """
    accumulator = min(0, *sums[0]), max(0, *sums[1])
    u_low, u_high = 0, 0
    for channel, (low, high) in enumerate(zip(*current_range(layer, sums), strict=True)):
        if readout:  # sums the currents of all timesteps
            ends = min(low, low * timesteps), max(high, high * timesteps)
        elif layer.threshold is None:
            ends = low, high
        else:
            ends = _potential_range(layer, low, high, int(layer.threshold[channel]), timesteps)
        u_low, u_high = min(u_low, ends[0]), max(u_high, ends[1])
    widths = signed_width(*accumulator), signed_width(u_low, u_high)
    if max(widths) > MAX_WIDTH:
        raise NetworkError(
            f"potentials need {max(widths)} bits, more than {MAX_WIDTH}; use fewer weight bits"
        )
    return Bounds(accumulator, (u_low, u_high), *widths)


def _potential_range(
    layer: Layer, low: int, high: int, theta: int, timesteps: int
) -> tuple[int, int]:
    """Range of U and V over the timesteps of a neuron whose input current lies in low..high."""
    neuron = layer.neuron
    assert neuron is not None
    v_low, v_high, u_low, u_high = 0, 0, 0, 0
    for _ in range(timesteps):
        step_low, step_high = neuron.decay(v_low) + low, neuron.decay(v_high) + high
        u_low, u_high = min(u_low, step_low), max(u_high, step_high)
        v_low = min(step_low, 0)
        if neuron.reset == "hard":
            v_high = min(max(step_high, 0), theta)
        else:
            top = neuron.coding.max_value * theta
            inside = theta if neuron.kind == "multi-level" else max(theta, top >> 1)
            v_high = max(min(max(step_high, 0), inside), step_high - top)
    return u_low, u_high
