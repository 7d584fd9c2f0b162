"""The exact integer reference: every layer's spikes and potentials, the scores, and what the hardware will count.

Sums are evaluated by PyTorch in floating point wide enough that every integer is exact (the network's own bounds
prove it), so a batch of thousands of images takes seconds and no rounding can occur.  Everything else is int64.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sw.folding import COUNTERS, Folding, beat_codes, check_foldings, is_flat, pixel_codes
from sw.frames import frames_of
from sw.network import INPUT, Coding, Layer, Network
from sw.skips import QUEUE, skip_depths
from sw.terms import Term


@dataclass(frozen=True)
class LayerTrace:
    """What one layer did.

    Members
        codes: uint8, (batch, step, channel, height, width): spike codes sent; None for the readout, for a layer that
            sends currents, and unless kept.
        currents: int64, same shape: what a layer without a neuron sends to a join; None for others and unless kept.
        potentials: int64, same shape: V after reset (the readout: the running scores); None unless kept.
        counters: one int64 array of shape (batch,) for every name in COUNTERS.
    """

    codes: np.ndarray | None
    currents: np.ndarray | None
    potentials: np.ndarray | None
    counters: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Trace:
    """The run of a batch: scores int64 (batch, class), classes int64 (batch,), and one `LayerTrace` per layer."""

    scores: np.ndarray
    classes: np.ndarray
    layers: tuple[LayerTrace, ...]


def run(
    network: Network,
    images: np.ndarray,
    foldings: Sequence[Folding] | None = None,
    *,
    keep_codes: bool = True,
    keep_potentials: bool = False,
) -> Trace:
    """Evaluate `images` (see `sw.frames`).

    `foldings` decides only the counters that depend on it (clocks and words); None counts one lane, one unit, one code.
    Raises NetworkError when the images or foldings do not fit.
    """
    frames = frames_of(network, images)
    folding = tuple(foldings) if foldings is not None else (Folding(),) * len(network.layers)
    check_foldings(network, folding)
    depths = skip_depths(network, folding)
    # What every layer sent, codes (uint8) or currents (int64), kept until its last reader has had it.
    sent = {INPUT: torch.from_numpy(np.ascontiguousarray(frames))}
    last_reader = {
        index: max(network.readers(index), default=index)
        for index in range(INPUT, len(network.layers))
    }
    traces: list[LayerTrace] = []
    for index in range(len(network.layers)):
        sources = network.sources(index)
        inputs = [sent[source] for source in sources]
        result, potentials = _evaluate(network, index, inputs)
        buffered = tuple(depths.get((index, k), 0) > QUEUE for k in range(len(sources)))
        counters = _count(network, index, inputs, result, folding, buffered)
        is_code = result.dtype == torch.uint8
        traces.append(
            LayerTrace(
                codes=result.numpy() if keep_codes and is_code else None,
                currents=result.numpy()
                if keep_codes and not is_code and not network.is_readout(index)
                else None,
                potentials=potentials.numpy()
                if keep_potentials and potentials is not None
                else None,
                counters=counters,
            )
        )
        sent[index] = result
        for source in sources:
            if last_reader[source] == index:
                del sent[source]
    scores = result[:, -1, :, 0, 0].numpy()
    return Trace(scores=scores, classes=scores.argmax(1), layers=tuple(traces))


def window_events(
    network: Network, images: np.ndarray, multiply: Sequence[int] = ()
) -> tuple[np.ndarray | None, ...]:
    """Events in the window of every output position: int64 (batch, step, H, W) for each layer, None for pool, join.

    What `sw.clocks` predicts from.  multiply: layers that do; nothing else of a folding changes the events.
    Raises NetworkError when the images do not fit.
    """
    codes = frames_of(network, images)
    trace = run(network, codes)
    found: list[np.ndarray | None] = []
    for index, layer in enumerate(network.layers):
        if not layer.is_weighted:
            found.append(None)
            continue
        source = network.sources(index)[0]
        read = codes if source == INPUT else trace.layers[source].codes
        assert read is not None
        coding = network.codings[index]
        events = _events(coding, torch.from_numpy(read), multiply=index in multiply)
        found.append(window_sums(layer, events).numpy())
    return tuple(found)


# ------------------------------------------------------------------------------------------------- spikes


def _evaluate(network: Network, index: int, inputs: list[Tensor]) -> tuple[Tensor, Tensor | None]:
    """What one layer sends and its potentials, both (batch, step, C, H, W).

    Codes are uint8, currents and the running scores of the readout, which are its potentials, too, int64.
    """
    layer = network.layers[index]
    if layer.is_pool:
        return _pool(network, index, inputs[0]), None
    if layer.kind == "join":
        current = _join(network, index, inputs)
    else:
        current = _currents(network, index, inputs[0])
    if network.is_readout(index):
        scores = current.cumsum(1)
        return scores, scores
    if layer.neuron is None:
        return (current if network.sent(index) is None else current.to(torch.uint8)), None
    assert layer.threshold is not None
    potentials = torch.zeros_like(current)
    threshold = torch.from_numpy(layer.threshold)[None, :, None, None]
    sent = torch.zeros(current.shape, dtype=torch.uint8)
    v = torch.zeros_like(current[:, 0])
    for step in range(current.shape[1]):
        v, sent[:, step] = step_neuron(layer, v, current[:, step], threshold)
        potentials[:, step] = v
    return sent, potentials


def _pool(network: Network, index: int, codes: Tensor) -> Tensor:
    """The largest code, or the sum of the values, of every block; uint8, (batch, step, C, H_out, W_out)."""
    layer, flat = network.layers[index], codes.flatten(0, 1)
    if layer.kind == "maxpool":
        pooled = F.max_pool2d(flat.float(), layer.pool)
    else:
        values = torch.from_numpy(network.codings[index].values).float()[flat.long()]
        pooled = F.avg_pool2d(values, layer.pool, divisor_override=1)
    return pooled.to(torch.uint8).unflatten(0, codes.shape[:2])


def _join(network: Network, index: int, inputs: list[Tensor]) -> Tensor:
    """sum(scale * x) + b, int64, (batch, step, C, H, W)."""
    layer = network.layers[index]
    total = torch.zeros(inputs[0].shape, dtype=torch.int64)
    for k, (source, sent) in enumerate(zip(network.sources(index), inputs, strict=True)):
        coding, scale = network.sent(source), layer.scale(k)
        values = sent if coding is None else torch.from_numpy(coding.values)[sent.long()]
        total += values if scale is None else values * _per_channel(scale)
    return total if layer.bias is None else total + _per_channel(layer.bias)


def _per_channel(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array)[:, None, None]


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
    network: Network,
    index: int,
    inputs: list[Tensor],
    sent: Tensor,
    foldings: tuple[Folding, ...],
    buffered: tuple[bool, ...],
) -> dict[str, np.ndarray]:
    """Every counter of one layer, int64 (batch,); buffered: which sources wait in a memory before a join."""
    layer = network.layers[index]
    counts = {name: torch.zeros(len(sent), dtype=torch.int64) for name in COUNTERS}
    counts["input_spikes"] += sum(_spikes(codes) for codes in inputs)
    counts["output_spikes"] += _spikes(sent)
    if layer.is_pool:
        _count_pool(network, index, counts, beat_codes(network, foldings, index))
    elif layer.kind == "join":
        beats = (
            network.timesteps * math.prod(network.shapes[index + 1]) // foldings[index].fire_units
        )
        counts["clocks"] += beats
        counts["spike_reads"] += beats * sum(buffered)
        counts["spike_writes"] += beats * sum(buffered)
    else:
        _count_synapses(network, index, inputs[0], counts, foldings[index])
    if layer.neuron is not None or network.is_readout(index):
        size = math.prod(network.shapes[index + 1]) // foldings[index].fire_units
        counts["potential_reads"] += (network.timesteps - 1) * size
        counts["potential_writes"] += (network.timesteps - 1) * size
    return {name: counts[name].numpy() for name in COUNTERS}


def _spikes(sent: Tensor) -> Tensor:
    """Codes that are not silent, (batch,); there are none among currents and scores."""
    if sent.dtype != torch.uint8:
        return torch.zeros(len(sent), dtype=torch.int64)
    return (sent != 0).flatten(1).sum(1)


def _count_pool(network: Network, index: int, counts: dict[str, Tensor], beat: int) -> None:
    """A pool unit takes a beat a clock; a window's first beat reads no partial result, its last writes none."""
    (c, h, w), (_, out_h, out_w) = network.input_shape_of(index), network.shapes[index + 1]
    area = network.layers[index].pool[0] * network.layers[index].pool[1]
    beats = network.timesteps * (c // beat)
    counts["clocks"] += beats * h * w
    partial = beats * out_h * out_w * (area - 1)
    counts["spike_reads"] += partial
    counts["spike_writes"] += partial


def _count_synapses(
    network: Network, index: int, codes: Tensor, counts: dict[str, Tensor], folding: Folding
) -> None:
    layer = network.layers[index]
    channels = network.shapes[index + 1][0]
    groups = folding.group_count(channels)
    coding = network.codings[index]
    events = window_sums(layer, _events(coding, codes, multiply=folding.multiply))
    words = _word_counts(network, index, codes, folding.word_codes)
    counts["clocks"] = groups * events.clamp(min=folding.minimum_pass).flatten(1).sum(1)
    counts["accumulations"] = groups * events.flatten(1).sum(1)
    spikes = window_sums(layer, (codes != 0).sum(2))  # the events of one code share a read
    counts["weight_reads"] = groups * spikes.flatten(1).sum(1)
    counts["synaptic_operations"] = channels * events.flatten(1).sum(1)
    counts["spike_writes"] = words.flatten(1).sum(1)
    counts["spike_reads"] = groups * window_sums(layer, words).flatten(1).sum(1)


def _events(coding: Coding, codes: Tensor, *, multiply: bool = False) -> Tensor:
    """Events at every pixel, (batch, step, height, width)."""
    if multiply:
        return (codes != 0).sum(2)
    return torch.from_numpy(coding.event_counts)[codes.long()].sum(2)


def _word_counts(network: Network, index: int, codes: Tensor, word_codes: int) -> Tensor:
    """Non-empty words of every stored pixel, (batch, step, height, width); a flat map is one pixel."""
    fired = (codes != 0).permute(0, 1, 3, 4, 2)  # stream order: y, x, channel
    if is_flat(network.layers[index]):
        fired = fired.flatten(2)[:, :, None, None, :]
    fired = F.pad(fired, (0, -pixel_codes(network, index) % word_codes))
    return fired.unflatten(-1, (-1, word_codes)).any(-1).sum(-1)


def window_sums(window: Layer | Term, counts: Tensor) -> Tensor:
    """Sum of a per-pixel count over the window of every output position, int64, (batch, step, height, width)."""
    if isinstance(window, Layer) and window.kind == "dense":  # its map may be stored as one pixel
        return counts.flatten(2).sum(2)[:, :, None, None]
    size = [k * a for k, a in zip(window.kernel, window.average, strict=True)]
    stride = [s * a for s, a in zip(window.stride, window.average, strict=True)]
    padding = [p * a for p, a in zip(window.padding, window.average, strict=True)]
    kernel = torch.ones(1, 1, *size, dtype=torch.float64)
    sums = F.conv2d(counts.flatten(0, 1)[:, None].double(), kernel, stride=stride, padding=padding)
    return sums[:, 0].to(torch.int64).unflatten(0, counts.shape[:2])
