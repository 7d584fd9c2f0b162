"""The exact integer reference: every layer's spikes and potentials, the scores, and what the hardware will count.

Sums are evaluated by PyTorch in floating point wide enough that every integer is exact (the network's own bounds
prove it), so a batch of thousands of images takes seconds and no rounding can occur.  Everything else is int64.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sw.folding import COUNTERS, Folding, beat_codes, check_foldings, is_flat, pixel_codes
from sw.network import Coding, Layer, Network, NetworkError


@dataclass(frozen=True)
class LayerTrace:
    """What one layer did.

    Members
        codes: uint8, (batch, step, channel, height, width): spike codes sent; None for the readout.
        potentials: int64, same shape: V after reset (the readout: the running scores); None unless kept.
        counters: one int64 array of shape (batch,) for every name in COUNTERS.
    """

    codes: np.ndarray | None
    potentials: np.ndarray | None
    counters: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Trace:
    """The run of a batch: scores int64 (batch, class), classes int64 (batch,), and one `LayerTrace` per layer."""

    scores: np.ndarray
    classes: np.ndarray
    layers: tuple[LayerTrace, ...]


def frames_of(network: Network, images: np.ndarray) -> np.ndarray:
    """The input as uint8 codes of shape (batch, step, C, H, W).

    A batch of static images (batch, C, H, W) is presented at every timestep; (batch, step, C, H, W) is taken as it is.
    Raises NetworkError for another shape, dtype or a code that the input coding does not have.
    """
    expected = (network.timesteps, *network.input_shape)
    if images.dtype != np.uint8:
        raise NetworkError(f"input must be uint8 codes, not {images.dtype}")
    if images.shape[1:] == network.input_shape:
        images = np.repeat(images[:, None], network.timesteps, axis=1)
    if images.shape[1:] != expected:
        raise NetworkError(
            f"input of shape {images.shape} does not fit the network's (batch, step, C, H, W) {expected}"
        )
    if images.size and images.max() > network.input_coding.levels:
        raise NetworkError(
            f"input code {images.max()} exceeds the {network.input_coding.levels} levels of the coding"
        )
    return images


def run(
    network: Network,
    images: np.ndarray,
    foldings: Sequence[Folding] | None = None,
    *,
    keep_codes: bool = True,
    keep_potentials: bool = False,
) -> Trace:
    """Evaluate `images` (see `frames_of`).

    `foldings` decides only the counters that depend on it (clocks and words); None counts one lane, one unit, one code.
    Raises NetworkError when the images or foldings do not fit.
    """
    frames = frames_of(network, images)
    folding = tuple(foldings) if foldings is not None else (Folding(),) * len(network.layers)
    check_foldings(network, folding)
    codes = torch.from_numpy(np.ascontiguousarray(frames))
    traces: list[LayerTrace] = []
    scores = np.zeros((len(frames), network.class_count), np.int64)
    for index, layer in enumerate(network.layers):
        sent, potentials = _evaluate(network, index, codes)
        counters = _count(
            network, index, codes, sent, folding[index], beat_codes(network, folding, index)
        )
        if layer.is_readout:
            assert potentials is not None
            scores = potentials[:, -1, :, 0, 0].numpy()
        traces.append(
            LayerTrace(
                codes=sent.numpy() if keep_codes and sent is not None else None,
                potentials=potentials.numpy()
                if keep_potentials and potentials is not None
                else None,
                counters=counters,
            )
        )
        if sent is not None:
            codes = sent
    return Trace(scores=scores, classes=scores.argmax(1), layers=tuple(traces))


def window_events(network: Network, images: np.ndarray) -> tuple[np.ndarray | None, ...]:
    """Events in the window of every output position: int64 (batch, step, H, W) for each layer, None for a pool.

    What `sw.clocks` predicts from; no folding changes it.  Raises NetworkError when the images do not fit.
    """
    codes = frames_of(network, images)
    trace = run(network, codes)
    found: list[np.ndarray | None] = []
    for index, (layer, done) in enumerate(zip(network.layers, trace.layers, strict=True)):
        if layer.kind == "maxpool":
            found.append(None)
        else:
            events = _events(network.codings[index], torch.from_numpy(codes))
            found.append(_window_sums(layer, events).numpy())
        if done.codes is not None:
            codes = done.codes
    return tuple(found)


# ------------------------------------------------------------------------------------------------- spikes


def _evaluate(network: Network, index: int, codes: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Codes sent and potentials of one layer, both (batch, step, C, H, W); None where there are none."""
    layer = network.layers[index]
    batch, steps = codes.shape[:2]
    if layer.kind == "maxpool":
        pooled = F.max_pool2d(codes.flatten(0, 1).float(), layer.pool).to(torch.uint8)
        return pooled.unflatten(0, (batch, steps)), None
    current = _currents(network, index, codes)
    potentials = torch.zeros_like(current)
    if layer.is_readout:
        return None, current.cumsum(1)
    assert layer.neuron is not None and layer.threshold is not None
    threshold = torch.from_numpy(layer.threshold)[None, :, None, None]
    sent = torch.zeros(current.shape, dtype=torch.uint8)
    v = torch.zeros_like(current[:, 0])
    for step in range(steps):
        v, sent[:, step] = step_neuron(layer, v, current[:, step], threshold)
        potentials[:, step] = v
    return sent, potentials


def step_neuron(
    layer: Layer, v: Tensor, current: Tensor, threshold: Tensor
) -> tuple[Tensor, Tensor]:
    """One timestep of the firing rule in int64: (V, current, theta) -> (V after reset, code)."""
    neuron = layer.neuron
    assert neuron is not None
    if neuron.leak == "retain":
        v = v - (v >> neuron.leak_shift)
    elif neuron.leak == "shift":
        v = v >> neuron.leak_shift
    u = v + current
    tested = u - 1 if neuron.boundary == "open" else u
    if neuron.kind == "multi-level":
        code = torch.div(tested, threshold, rounding_mode="floor").clamp(0, neuron.levels)
        value = code
    else:
        code = torch.zeros_like(u)
        for lane in range(neuron.levels):
            code += tested >= (threshold << lane)
        value = torch.where(code > 0, 1 << (code - 1).clamp(min=0), 0)
    fired_v = torch.zeros_like(u) if neuron.reset == "hard" else u - value * threshold
    return torch.where(code > 0, fired_v, u), code.to(torch.uint8)


def _currents(network: Network, index: int, codes: Tensor) -> Tensor:
    """sum(w * z) + b, int64, (batch, step, C_out, H_out, W_out)."""
    layer = network.layers[index]
    assert layer.weights is not None and layer.bias is not None
    bounds = network.bounds(index)
    largest = max(abs(x) for x in bounds.accumulator)
    dtype = torch.float32 if largest < 1 << 24 else torch.float64
    values = torch.from_numpy(network.codings[index].values).to(dtype)[codes.flatten(0, 1).long()]
    if layer.average != (1, 1):
        values = F.avg_pool2d(values, layer.average, divisor_override=1)
    weights = torch.from_numpy(layer.weights).to(dtype)
    if layer.kind == "dense":
        sums = (values.flatten(1) @ weights.flatten(1).T)[:, :, None, None]
    else:
        sums = F.conv2d(values, weights, stride=layer.stride, padding=layer.padding)
    current = sums.to(torch.int64) + torch.from_numpy(layer.bias)[None, :, None, None]
    return current.unflatten(0, codes.shape[:2])


# ----------------------------------------------------------------------------------------------- counters


def _count(
    network: Network, index: int, codes: Tensor, sent: Tensor | None, folding: Folding, beat: int
) -> dict[str, np.ndarray]:
    """Every counter of one layer, int64 (batch,)."""
    layer = network.layers[index]
    counts = {name: torch.zeros(len(codes), dtype=torch.int64) for name in COUNTERS}
    counts["input_spikes"] = _spikes(codes)
    if sent is not None:
        counts["output_spikes"] = _spikes(sent)
    if layer.kind == "maxpool":
        _count_pool(network, index, counts, beat)
    else:
        _count_engine(network, index, codes, counts, folding)
    return {name: counts[name].numpy() for name in COUNTERS}


def _spikes(codes: Tensor) -> Tensor:
    return (codes != 0).flatten(1).sum(1)


def _count_pool(network: Network, index: int, counts: dict[str, Tensor], beat: int) -> None:
    """A pool unit takes a beat a clock; a window's first beat reads no partial maximum, its last writes none."""
    (c, h, w), (_, out_h, out_w) = network.shapes[index], network.shapes[index + 1]
    area = network.layers[index].pool[0] * network.layers[index].pool[1]
    beats = network.timesteps * (c // beat)
    counts["clocks"] += beats * h * w
    partial = beats * out_h * out_w * (area - 1)
    counts["spike_reads"] += partial
    counts["spike_writes"] += partial


def _count_engine(
    network: Network, index: int, codes: Tensor, counts: dict[str, Tensor], folding: Folding
) -> None:
    layer = network.layers[index]
    channels, out_h, out_w = network.shapes[index + 1]
    groups = folding.group_count(channels)
    events = _window_sums(layer, _events(network.codings[index], codes))
    words = _word_counts(network, index, codes, folding.word_codes)
    counts["clocks"] = groups * (events + 1).clamp(min=folding.minimum_pass).flatten(1).sum(1)
    counts["accumulations"] = groups * events.flatten(1).sum(1)
    spikes = _window_sums(layer, (codes != 0).sum(2))  # the events of one code share a read
    counts["weight_reads"] = groups * spikes.flatten(1).sum(1)
    counts["synaptic_operations"] = channels * events.flatten(1).sum(1)
    counts["spike_writes"] = words.flatten(1).sum(1)
    counts["spike_reads"] = groups * _window_sums(layer, words).flatten(1).sum(1)
    carried = (network.timesteps - 1) * out_h * out_w * channels // folding.fire_units
    counts["potential_reads"] += carried
    counts["potential_writes"] += carried


def _events(coding: Coding, codes: Tensor) -> Tensor:
    """Events at every pixel, (batch, step, height, width)."""
    return torch.from_numpy(coding.event_counts)[codes.long()].sum(2)


def _word_counts(network: Network, index: int, codes: Tensor, word_codes: int) -> Tensor:
    """Non-empty words of every stored pixel, (batch, step, height, width); a flat map is one pixel."""
    fired = (codes != 0).permute(0, 1, 3, 4, 2)  # stream order: y, x, channel
    if is_flat(network.layers[index]):
        fired = fired.flatten(2)[:, :, None, None, :]
    fired = F.pad(fired, (0, -pixel_codes(network, index) % word_codes))
    return fired.unflatten(-1, (-1, word_codes)).any(-1).sum(-1)


def _window_sums(layer: Layer, counts: Tensor) -> Tensor:
    """Sum of a per-pixel count over the window of every output position, int64, (batch, step, height, width)."""
    if layer.kind == "dense":
        return counts.flatten(2).sum(2)[:, :, None, None]
    size = [k * a for k, a in zip(layer.kernel, layer.average, strict=True)]
    stride = [s * a for s, a in zip(layer.stride, layer.average, strict=True)]
    padding = [p * a for p, a in zip(layer.padding, layer.average, strict=True)]
    kernel = torch.ones(1, 1, *size, dtype=torch.float64)
    sums = F.conv2d(counts.flatten(0, 1)[:, None].double(), kernel, stride=stride, padding=padding)
    return sums[:, 0].to(torch.int64).unflatten(0, counts.shape[:2])
